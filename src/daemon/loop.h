/* SPDX-License-Identifier: MIT
 *
 * The worker's loop: one io_uring, and timers. loop.c is the only file that knows liburing.
 *
 * Invariants
 *   - An operation's memory, and the buffers it was given, stay where they are until its `done` was called for the last
 *     time (pending is false then).
 *   - `done` is called from np_loop_turn alone, never from the call that starts an operation.
 *   - Starting an operation cannot fail: what the kernel does not take comes back as a result.
 */
#ifndef NP_DAEMON_LOOP_H
#define NP_DAEMON_LOOP_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "core/shm.h"

struct np_loop;

struct np_operation {
    /* result: 0 or a count or a descriptor, or -errno. -ECANCELED after np_loop_cancel, if that was in time. */
    void (*done)(struct np_operation *operation, int result);
    void *context;
    bool pending;
};

struct np_timer {
    void (*due)(struct np_timer *timer);
    void *context;
    int64_t deadline_ns; /* CLOCK_MONOTONIC; INT64_MAX: not set */
    struct np_timer *next;
};

/* -errno with the sentence that says what the system must allow. `operations`: how many are under way at most. */
int np_loop_start(struct np_loop **loop, unsigned operations);
void np_loop_stop(struct np_loop *loop);

/* Waits for something to happen, and calls `done` and `due` for all that has. 0; -errno: the ring is broken. */
int np_loop_turn(struct np_loop *loop);

/* `done` for every connection, close-on-exec, until an error ends it. Where the kernel cannot do that by one request, by
 * several. */
void np_loop_accept(struct np_loop *loop, struct np_operation *operation, int fd);
void np_loop_receive(struct np_loop *loop, struct np_operation *operation, int fd, void *buffer, unsigned bytes);
void np_loop_send_message(struct np_loop *loop, struct np_operation *operation, int fd, const struct msghdr *message);
/* Positioned: `offset` as in pread(2). */
void np_loop_read(struct np_loop *loop, struct np_operation *operation, int fd, void *buffer, unsigned bytes, uint64_t offset);
/* Once. events as in poll(2). */
void np_loop_poll(struct np_loop *loop, struct np_operation *operation, int fd, unsigned events);

/* Whether this kernel can wait for a futex by the ring (6.7 and later). */
bool np_loop_has_futex(const struct np_loop *loop);
/* Done when *word is no longer `seen` (-EAGAIN: it was not when asked) and somebody woke it. Shared between processes. */
void np_loop_futex_wait(struct np_loop *loop, struct np_operation *operation, np_shm32 *word, uint32_t seen);

/* Asks for the end of an operation; its `done` follows. */
void np_loop_cancel(struct np_loop *loop, struct np_operation *operation);

/* A timer is added once and for ever; it is set and unset by its deadline. */
void np_loop_timer_add(struct np_loop *loop, struct np_timer *timer);
void np_timer_set(struct np_timer *timer, int64_t deadline_ns);
/* The earlier of what it is set to and this. */
void np_timer_set_earlier(struct np_timer *timer, int64_t deadline_ns);

#endif
