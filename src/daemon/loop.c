/* SPDX-License-Identifier: MIT */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "daemon/loop.h"

#include <errno.h>
#include <liburing.h>
#include <linux/futex.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "core/bell.h"
#include "core/error.h"
#include "daemon/log.h"

/* Names that the headers of older systems lack. */
enum {
    OP_FUTEX_WAIT = 51, /* IORING_OP_FUTEX_WAIT */
    FUTEX_WORD_U32 = 2  /* FUTEX2_SIZE_U32; without FUTEX2_PRIVATE: between processes */
};
#ifndef FUTEX_BITSET_MATCH_ANY
#define FUTEX_BITSET_MATCH_ANY 0xffffffffu
#endif

enum {
    ENTRIES_MIN = 64,
    ENTRIES_MAX = 1024, /* submitted at once; more are submitted in several goes */
    COMPLETIONS_MAX = 65536,
    SUBMIT_TRIES_MAX = 100000,
    DISPATCHED_MAX = 256 /* between two looks at the timers */
};

struct np_loop {
    struct io_uring ring;
    struct np_timer *timers;
    struct np_operation *accept; /* the one that is re-armed here */
    int accept_fd;
    bool accept_multishot;
    bool futex;
};

int np_loop_start(struct np_loop **made, unsigned operations)
{
    struct np_loop *loop = calloc(1, sizeof *loop);
    if (!loop)
        return np_error(-ENOMEM, "no memory for the worker's loop");
    unsigned completions = operations * 2 < ENTRIES_MIN ? ENTRIES_MIN : operations * 2;
    unsigned entries = operations < ENTRIES_MIN ? ENTRIES_MIN : operations;
    struct io_uring_params parameters = { .flags = IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP,
                                          .cq_entries = completions > COMPLETIONS_MAX ? COMPLETIONS_MAX : completions };
    int result = io_uring_queue_init_params(entries > ENTRIES_MAX ? ENTRIES_MAX : entries, &loop->ring, &parameters);
    if (result < 0) {
        free(loop);
        return np_error(result,
                        "cannot make an io_uring (%s), which this daemon runs on: it needs Linux 5.15 or later, "
                        "kernel.io_uring_disabled = 0 (sysctl), a seccomp profile that allows io_uring_setup, "
                        "io_uring_enter and io_uring_register, and enough LimitMEMLOCK= on kernels before 5.12",
                        strerror(-result));
    }
    (void)io_uring_ring_dontfork(&loop->ring);
    /* Multishot accept came with 5.19, and no bit of the probe says so: it is tried, and given up at the first -EINVAL. */
    loop->accept_multishot = true;
    struct io_uring_probe *probe = io_uring_get_probe_ring(&loop->ring);
    loop->futex = probe && probe->last_op >= OP_FUTEX_WAIT && probe->ops_len > OP_FUTEX_WAIT &&
                  (probe->ops[OP_FUTEX_WAIT].flags & IO_URING_OP_SUPPORTED);
    io_uring_free_probe(probe);
    *made = loop;
    return 0;
}

void np_loop_stop(struct np_loop *loop)
{
    io_uring_queue_exit(&loop->ring);
    free(loop);
}

/* ---------------------------------------------------------------- starting operations */

static struct io_uring_sqe *take_entry(struct np_loop *loop)
{
    struct io_uring_sqe *entry = io_uring_get_sqe(&loop->ring);
    /* A full queue empties by submitting it. -EBUSY and -EAGAIN (the kernel is short of memory or of room for completions)
     * pass when it has got on with what it has. */
    for (unsigned tries = 0; !entry && tries < SUBMIT_TRIES_MAX; tries++) {
        io_uring_submit(&loop->ring);
        entry = io_uring_get_sqe(&loop->ring);
    }
    if (entry)
        return entry;
    np_log(NP_LOG_ERROR, "the io_uring takes nothing any more: the worker ends, and another begins with a new one");
    _exit(EX_SOFTWARE);
}

static void begin(struct io_uring_sqe *entry, struct np_operation *operation)
{
    io_uring_sqe_set_data(entry, operation);
    operation->pending = true;
}

static void arm_accept(struct np_loop *loop)
{
    struct io_uring_sqe *entry = take_entry(loop);
    if (loop->accept_multishot)
        io_uring_prep_multishot_accept(entry, loop->accept_fd, NULL, NULL, SOCK_CLOEXEC);
    else
        io_uring_prep_accept(entry, loop->accept_fd, NULL, NULL, SOCK_CLOEXEC);
    begin(entry, loop->accept);
}

void np_loop_accept(struct np_loop *loop, struct np_operation *operation, int fd)
{
    loop->accept = operation;
    loop->accept_fd = fd;
    arm_accept(loop);
}

void np_loop_receive(struct np_loop *loop, struct np_operation *operation, int fd, void *buffer, unsigned bytes)
{
    struct io_uring_sqe *entry = take_entry(loop);
    io_uring_prep_recv(entry, fd, buffer, bytes, 0);
    begin(entry, operation);
}

void np_loop_send_message(struct np_loop *loop, struct np_operation *operation, int fd, const struct msghdr *message)
{
    struct io_uring_sqe *entry = take_entry(loop);
    io_uring_prep_sendmsg(entry, fd, message, MSG_NOSIGNAL);
    begin(entry, operation);
}

void np_loop_read(struct np_loop *loop, struct np_operation *operation, int fd, void *buffer, unsigned bytes, uint64_t offset)
{
    struct io_uring_sqe *entry = take_entry(loop);
    io_uring_prep_read(entry, fd, buffer, bytes, offset);
    begin(entry, operation);
}

void np_loop_poll(struct np_loop *loop, struct np_operation *operation, int fd, unsigned events)
{
    struct io_uring_sqe *entry = take_entry(loop);
    io_uring_prep_poll_add(entry, fd, events);
    begin(entry, operation);
}

bool np_loop_has_futex(const struct np_loop *loop)
{
    return loop->futex;
}

void np_loop_futex_wait(struct np_loop *loop, struct np_operation *operation, np_shm32 *word, uint32_t seen)
{
    struct io_uring_sqe *entry = take_entry(loop);
    /* As io_uring_prep_futex_wait of later liburings: the kind of word where a descriptor goes, the value as offset. */
    io_uring_prep_rw(OP_FUTEX_WAIT, entry, FUTEX_WORD_U32, word, 0, seen);
    entry->addr3 = FUTEX_BITSET_MATCH_ANY;
    begin(entry, operation);
}

void np_loop_cancel(struct np_loop *loop, struct np_operation *operation)
{
    if (!operation->pending)
        return;
    struct io_uring_sqe *entry = take_entry(loop);
    io_uring_prep_cancel(entry, operation, 0);
    io_uring_sqe_set_data(entry, NULL);
}

/* ---------------------------------------------------------------- timers */

void np_loop_timer_add(struct np_loop *loop, struct np_timer *timer)
{
    timer->deadline_ns = INT64_MAX;
    timer->next = loop->timers;
    loop->timers = timer;
}

void np_timer_set(struct np_timer *timer, int64_t deadline_ns)
{
    timer->deadline_ns = deadline_ns;
}

void np_timer_set_earlier(struct np_timer *timer, int64_t deadline_ns)
{
    if (deadline_ns < timer->deadline_ns)
        timer->deadline_ns = deadline_ns;
}

static void run_timers(struct np_loop *loop)
{
    int64_t now_ns = np_monotonic_ns();
    for (struct np_timer *timer = loop->timers; timer; timer = timer->next)
        if (timer->deadline_ns <= now_ns) {
            timer->deadline_ns = INT64_MAX;
            timer->due(timer);
        }
}

/* ---------------------------------------------------------------- turning */

static void dispatch(struct np_loop *loop, struct np_operation *operation, int result, unsigned flags)
{
    operation->pending = (flags & IORING_CQE_F_MORE) != 0;
    if (operation == loop->accept && !operation->pending) {
        if (result == -EINVAL && loop->accept_multishot) {
            loop->accept_multishot = false;
            arm_accept(loop);
            return;
        }
        if (result >= 0)
            arm_accept(loop);
    }
    operation->done(operation, result);
}

static int wait_for_something(struct np_loop *loop)
{
    int64_t deadline_ns = INT64_MAX;
    struct io_uring_cqe *first;
    for (const struct np_timer *timer = loop->timers; timer; timer = timer->next)
        if (timer->deadline_ns < deadline_ns)
            deadline_ns = timer->deadline_ns;
    int result;
    if (deadline_ns == INT64_MAX) {
        result = io_uring_submit_and_wait(&loop->ring, 1);
    } else {
        int64_t left_ns = deadline_ns - np_monotonic_ns();
        if (left_ns < 0)
            left_ns = 0;
        struct __kernel_timespec left = { .tv_sec = left_ns / 1000000000, .tv_nsec = left_ns % 1000000000 };
        result = io_uring_submit_and_wait_timeout(&loop->ring, &first, 1, &left, NULL);
    }
    switch (result) {
    case -ETIME:
    case -EINTR:
    case -EAGAIN:
    case -EBUSY:
        return 0;
    default:
        return result < 0 ? np_error(result, "the io_uring does not work any more: %s", strerror(-result)) : 0;
    }
}

int np_loop_turn(struct np_loop *loop)
{
    int result = wait_for_something(loop);
    if (result < 0)
        return result;
    for (unsigned i = 0; i < DISPATCHED_MAX; i++) {
        struct io_uring_cqe *completion;
        if (io_uring_peek_cqe(&loop->ring, &completion) != 0)
            break;
        struct np_operation *operation = io_uring_cqe_get_data(completion);
        int outcome = completion->res;
        unsigned flags = completion->flags;
        /* Given back before `done`, which may start others that need the room. */
        io_uring_cqe_seen(&loop->ring, completion);
        if (operation)
            dispatch(loop, operation, outcome, flags);
    }
    run_timers(loop);
    return 0;
}
