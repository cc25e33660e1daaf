/* SPDX-License-Identifier: MIT
 *
 * The worker's loop: operations under way, and timers. There are two of them, which keep the same promises:
 *
 *   loop.c        chooses one of them, and has the timers
 *   loop_ring.c   on io_uring; the only file that knows liburing
 *   loop_epoll.c  on epoll, where the system refuses io_uring (a sysctl, a container's seccomp filter)
 *   loop_helper.c a thread that does for the latter what epoll cannot wait for: reading files, futexes
 *
 * Invariants
 *   - An operation's memory, and the buffers it was given, stay where they are until its `done` was called for the last
 *     time (pending is false then).
 *   - `done` is called from np_loop_turn alone, never from the call that starts an operation.
 *   - Starting an operation cannot fail: what the kernel does not take comes back as a result.
 *   - A descriptor that is given to an operation may be closed, and its number be another file's, once a turn was made
 *     since: the operation is about the file that it was. Where there are no descriptors left to hold that file by,
 *     loop_epoll.c goes by the number.
 */
#ifndef NP_DAEMON_LOOP_H
#define NP_DAEMON_LOOP_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "core/shm.h"

struct np_loop;

/* What to run on; of what np_loop_start made, never AUTO. */
enum np_loop_choice { NP_LOOP_AUTO, NP_LOOP_IO_URING, NP_LOOP_EPOLL };

/* What loop_epoll.c and its helpers know of an operation; with io_uring the kernel knows it. */
enum np_loop_what { NP_LOOP_ACCEPT, NP_LOOP_RECEIVE, NP_LOOP_SEND, NP_LOOP_READ, NP_LOOP_POLL, NP_LOOP_FUTEX };
struct np_loop_task {
    struct np_operation *next, *before; /* in the list of its place */
    enum np_loop_what what;
    uint32_t place;
    int fd;   /* the caller's; its number may be another's by now */
    int held; /* the same file under a number of our own, by which epoll waits for it; -1: none yet */
    uint32_t events;
    unsigned bytes;
    int result;
    union {
        void *buffer;
        const struct msghdr *message;
        np_shm32 *word;
    } at;
    uint64_t offset; /* or the value that the word had */
};

struct np_operation {
    /* result: 0 or a count or a descriptor, or -errno. -ECANCELED after np_loop_cancel, if that was in time. */
    void (*done)(struct np_operation *operation, int result);
    void *context;
    bool pending;
    struct np_loop_task task; /* the loop's */
};

struct np_timer {
    void (*due)(struct np_timer *timer);
    void *context;
    int64_t deadline_ns; /* CLOCK_MONOTONIC; INT64_MAX: not set */
    struct np_timer *next;
};

/* -errno with the sentence that says what the system must allow. `operations`: how many are under way at most. AUTO: on
 * io_uring, or, whatever the reason why that is not to be had, on epoll. */
int np_loop_start(struct np_loop **loop, unsigned operations, enum np_loop_choice choice);
/* What is under way ends without a `done`. */
void np_loop_stop(struct np_loop *loop);
enum np_loop_choice np_loop_kind(const struct np_loop *loop);
/* Why AUTO did not become io_uring: a number of errno(3). 0: it did, or was not asked for. */
int np_loop_refusal(const struct np_loop *loop);

/* Waits for something to happen, and calls `done` and `due` for all that has. 0; -errno: the loop is broken. */
int np_loop_turn(struct np_loop *loop);

/* `done` for every connection, close-on-exec, until an error ends it. One at a time. */
void np_loop_accept(struct np_loop *loop, struct np_operation *operation, int fd);
void np_loop_receive(struct np_loop *loop, struct np_operation *operation, int fd, void *buffer, unsigned bytes);
void np_loop_send_message(struct np_loop *loop, struct np_operation *operation, int fd, const struct msghdr *message);
/* Of a file that has positions: `offset` as in pread(2). */
void np_loop_read(struct np_loop *loop, struct np_operation *operation, int fd, void *buffer, unsigned bytes, uint64_t offset);
/* Once. events as in poll(2). */
void np_loop_poll(struct np_loop *loop, struct np_operation *operation, int fd, unsigned events);

/* Whether this loop can wait for a futex: on io_uring from Linux 6.7 on, on epoll where futex_waitv(2) is to be had. */
bool np_loop_has_futex(const struct np_loop *loop);
/* Done when *word is no longer `seen` (-EAGAIN: it was not when asked) and somebody woke it. Shared between processes. On
 * epoll one at a time (-EBUSY). */
void np_loop_futex_wait(struct np_loop *loop, struct np_operation *operation, np_shm32 *word, uint32_t seen);

/* Asks for the end of an operation; its `done` follows. */
void np_loop_cancel(struct np_loop *loop, struct np_operation *operation);

/* A timer is added once and for ever; it is set and unset by its deadline. */
void np_loop_timer_add(struct np_loop *loop, struct np_timer *timer);
void np_timer_set(struct np_timer *timer, int64_t deadline_ns);
/* The earlier of what it is set to and this. */
void np_timer_set_earlier(struct np_timer *timer, int64_t deadline_ns);

#endif
