/* SPDX-License-Identifier: MIT
 * Both loops under test, and operations that remember what they were told. */
#ifndef NP_TEST_LOOP_HELP_H
#define NP_TEST_LOOP_HELP_H

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "core/bell.h"
#include "core/error.h"
#include "daemon/log.h"
#include "daemon/loop.h"

enum { LOOPS = 2, OPERATIONS = 1024 };
static const enum np_loop_choice choices[LOOPS] = { NP_LOOP_IO_URING, NP_LOOP_EPOLL };

#define PATIENCE_NS INT64_C(10000000000)

/* One operation, started again and again. */
struct asked {
    struct np_operation operation;
    unsigned told;
    int result;
};

static struct np_loop *loop;
static struct np_timer guard, passing;
static unsigned turns;

/* loop_ring.c and loop_epoll.c log what ends a worker. */
void np_log(enum np_log_level level, const char *format, ...)
{
    (void)level;
    fprintf(stderr, "%s\n", format);
}

static inline void tell(struct np_operation *operation, int result)
{
    struct asked *asked = operation->context;
    ck_assert(!operation->pending || result >= 0);
    asked->told++;
    asked->result = result;
}

static inline struct asked new_asked(void)
{
    return (struct asked){ .operation.done = tell };
}

/* Its memory does not move from here on. */
static inline struct np_operation *begin(struct asked *asked)
{
    asked->operation.context = asked;
    asked->told = 0;
    asked->result = INT32_MIN;
    return &asked->operation;
}

static inline void lose_patience(struct np_timer *timer)
{
    (void)timer;
    ck_abort_msg("what should happen does not (%u turns)", turns);
}

static inline void pass_time(struct np_timer *timer)
{
    timer->context = timer;
}

/* Whether there is this loop on this machine: io_uring may be refused. */
static inline bool open_loop(unsigned which)
{
    loop = NULL;
    int result = np_loop_start(&loop, OPERATIONS, choices[which]);
    if (result < 0 && choices[which] == NP_LOOP_IO_URING) {
        fprintf(stderr, "\n*** NOT RUN: with io_uring: %s ***\n\n", np_error_sentence());
        return false;
    }
    ck_assert_msg(result == 0, "%s", np_error_sentence());
    ck_assert_int_eq(np_loop_kind(loop), choices[which]);
    ck_assert_int_eq(np_loop_refusal(loop), 0);
    guard = (struct np_timer){ .due = lose_patience };
    passing = (struct np_timer){ .due = pass_time };
    np_loop_timer_add(loop, &guard);
    np_loop_timer_add(loop, &passing);
    return true;
}

static inline void turn(void)
{
    turns++;
    np_timer_set(&guard, np_monotonic_ns() + PATIENCE_NS);
    ck_assert_msg(np_loop_turn(loop) == 0, "%s", np_error_sentence());
    np_timer_set(&guard, INT64_MAX);
}

/* Waits until the operation was told so often. */
static inline void await(const struct asked *asked, unsigned times)
{
    while (asked->told < times)
        turn();
    ck_assert_uint_eq(asked->told, times);
}

static inline int result_of(const struct asked *asked)
{
    await(asked, 1);
    ck_assert(!asked->operation.pending);
    return asked->result;
}

/* Turns for a while, in which nothing needs to happen: so long that what is wrong may. */
static inline void turn_for_ms(int64_t ms)
{
    passing.context = NULL;
    np_timer_set(&passing, np_monotonic_ns() + ms * 1000000);
    while (!passing.context)
        turn();
}

static inline void pair(int ends[2])
{
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
}

static inline unsigned open_descriptors(void)
{
    unsigned n = 0;
    for (int fd = 0; fd < 4096; fd++)
        n += fcntl(fd, F_GETFD) >= 0;
    return n;
}

#endif
