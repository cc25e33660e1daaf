/* SPDX-License-Identifier: MIT */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "daemon/loop_kind.h"

#include <errno.h>
#include <liburing.h>
#include <linux/futex.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

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

struct ring_loop {
    struct np_loop loop;
    struct io_uring ring;
    struct np_operation *accept; /* the one that is re-armed here */
    int accept_fd;
    bool accepting, accept_cancelled; /* its `done` is being called, and has cancelled it */
};

static struct ring_loop *ring_of(struct np_loop *loop)
{
    return (struct ring_loop *)loop;
}

/* A filter may allow the ring to be made and not to be used. */
static int try_ring(struct io_uring *ring)
{
    struct io_uring_cqe *completion;
    struct io_uring_sqe *entry = io_uring_get_sqe(ring);
    io_uring_prep_nop(entry);
    int result = io_uring_submit(ring);
    if (result < 0)
        return result;
    result = io_uring_wait_cqe(ring, &completion);
    if (result == 0)
        io_uring_cqe_seen(ring, completion);
    return result;
}

static int start(struct np_loop **made, unsigned operations)
{
    struct ring_loop *ring = calloc(1, sizeof *ring);
    if (!ring)
        return np_error(-ENOMEM, "no memory for the worker's loop");
    unsigned completions = operations * 2 < ENTRIES_MIN ? ENTRIES_MIN : operations * 2;
    unsigned entries = operations < ENTRIES_MIN ? ENTRIES_MIN : operations;
    struct io_uring_params parameters = { .flags = IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP,
                                          .cq_entries = completions > COMPLETIONS_MAX ? COMPLETIONS_MAX : completions };
    int result = io_uring_queue_init_params(entries > ENTRIES_MAX ? ENTRIES_MAX : entries, &ring->ring, &parameters);
    if (result == 0 && (result = try_ring(&ring->ring)) < 0)
        io_uring_queue_exit(&ring->ring);
    if (result < 0) {
        free(ring);
        return np_error(result,
                        "cannot make an io_uring (%s): it needs Linux 5.15 or later, kernel.io_uring_disabled = 0 (sysctl), a "
                        "seccomp profile that allows io_uring_setup, io_uring_enter and io_uring_register, and enough "
                        "LimitMEMLOCK= where the kernel counts rings as locked memory; or do without it (--loop=auto, --loop=epoll)",
                        strerror(-result));
    }
    ring->loop.kind = &np_loop_ring;
    (void)io_uring_ring_dontfork(&ring->ring);
    struct io_uring_probe *probe = io_uring_get_probe_ring(&ring->ring);
    ring->loop.futex = probe && probe->last_op >= OP_FUTEX_WAIT && probe->ops_len > OP_FUTEX_WAIT &&
                       (probe->ops[OP_FUTEX_WAIT].flags & IO_URING_OP_SUPPORTED);
    io_uring_free_probe(probe);
    *made = &ring->loop;
    return 0;
}

static void stop(struct np_loop *loop)
{
    io_uring_queue_exit(&ring_of(loop)->ring);
    free(ring_of(loop));
}

/* ---------------------------------------------------------------- starting operations */

static struct io_uring_sqe *take_entry(struct np_loop *loop)
{
    struct ring_loop *ring = ring_of(loop);
    struct io_uring_sqe *entry = io_uring_get_sqe(&ring->ring);
    /* A full queue empties by submitting it. -EBUSY and -EAGAIN (the kernel is short of memory or of room for completions)
     * pass when it has got on with what it has. */
    for (unsigned tries = 0; !entry && tries < SUBMIT_TRIES_MAX; tries++) {
        io_uring_submit(&ring->ring);
        entry = io_uring_get_sqe(&ring->ring);
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

/* By a poll, and not by the ring's own accept: that waits for connections as one of whom only one is woken, and the ring of a worker
 * that was killed is such a one until the kernel has ended it, some tens of milliseconds later. A connection that it was woken
 * for is nobody's to hear of, until another comes. Polls are all woken. */
static void arm_accept(struct ring_loop *ring)
{
    struct io_uring_sqe *entry = take_entry(&ring->loop);
    io_uring_prep_poll_add(entry, ring->accept_fd, POLLIN);
    begin(entry, ring->accept);
}

static void start_accept(struct np_loop *loop, struct np_operation *operation, int fd)
{
    ring_of(loop)->accept = operation;
    ring_of(loop)->accept_fd = fd;
    arm_accept(ring_of(loop));
}

static void start_receive(struct np_loop *loop, struct np_operation *operation, int fd, void *buffer, unsigned bytes)
{
    struct io_uring_sqe *entry = take_entry(loop);
    io_uring_prep_recv(entry, fd, buffer, bytes, 0);
    begin(entry, operation);
}

static void start_send_message(struct np_loop *loop, struct np_operation *operation, int fd, const struct msghdr *message)
{
    struct io_uring_sqe *entry = take_entry(loop);
    io_uring_prep_sendmsg(entry, fd, message, MSG_NOSIGNAL);
    begin(entry, operation);
}

static void start_read(struct np_loop *loop, struct np_operation *operation, int fd, void *buffer, unsigned bytes, uint64_t offset)
{
    struct io_uring_sqe *entry = take_entry(loop);
    io_uring_prep_read(entry, fd, buffer, bytes, offset);
    begin(entry, operation);
}

static void start_poll(struct np_loop *loop, struct np_operation *operation, int fd, unsigned events)
{
    struct io_uring_sqe *entry = take_entry(loop);
    io_uring_prep_poll_add(entry, fd, events);
    begin(entry, operation);
}

static void start_futex_wait(struct np_loop *loop, struct np_operation *operation, np_shm32 *word, uint32_t seen)
{
    struct io_uring_sqe *entry = take_entry(loop);
    /* As io_uring_prep_futex_wait of later liburings: the kind of word where a descriptor goes, the value as offset. */
    io_uring_prep_rw(OP_FUTEX_WAIT, entry, FUTEX_WORD_U32, word, 0, seen);
    entry->addr3 = FUTEX_BITSET_MATCH_ANY;
    begin(entry, operation);
}

static void cancel(struct np_loop *loop, struct np_operation *operation)
{
    struct ring_loop *ring = ring_of(loop);
    if (operation == ring->accept && ring->accepting) {
        ring->accept_cancelled = true;
        return;
    }
    struct io_uring_sqe *entry = take_entry(loop);
    io_uring_prep_cancel(entry, operation, 0);
    io_uring_sqe_set_data(entry, NULL);
}

/* ---------------------------------------------------------------- turning */

/* The error that ends it, or 0: it waits for more. */
static int accept_some(struct ring_loop *ring, struct np_operation *operation)
{
    ring->accept_cancelled = false;
    for (unsigned i = 0; i < NP_LOOP_ACCEPTS_MAX; i++) {
        int fd = np_loop_accept_now(ring->accept_fd);
        if (fd == -EAGAIN)
            break;
        if (fd < 0)
            return fd;
        ring->accepting = true;
        operation->done(operation, fd);
        ring->accepting = false;
        if (ring->accept_cancelled)
            return -ECANCELED;
    }
    arm_accept(ring);
    return 0;
}

static void dispatch(struct ring_loop *ring, struct np_operation *operation, int result)
{
    if (operation == ring->accept && result >= 0 && (result = accept_some(ring, operation)) == 0)
        return;
    operation->pending = false;
    operation->done(operation, result);
}

static int wait_for_something(struct ring_loop *ring, int64_t timeout_ns)
{
    struct io_uring_cqe *first;
    int result;
    if (timeout_ns == INT64_MAX) {
        result = io_uring_submit_and_wait(&ring->ring, 1);
    } else {
        struct __kernel_timespec left = { .tv_sec = timeout_ns / 1000000000, .tv_nsec = timeout_ns % 1000000000 };
        result = io_uring_submit_and_wait_timeout(&ring->ring, &first, 1, &left, NULL);
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

static int turn(struct np_loop *loop, int64_t timeout_ns)
{
    struct ring_loop *ring = ring_of(loop);
    int result = wait_for_something(ring, timeout_ns);
    if (result < 0)
        return result;
    for (unsigned i = 0; i < DISPATCHED_MAX; i++) {
        struct io_uring_cqe *completion;
        if (io_uring_peek_cqe(&ring->ring, &completion) != 0)
            break;
        struct np_operation *operation = io_uring_cqe_get_data(completion);
        int outcome = completion->res;
        /* Given back before `done`, which may start others that need the room. */
        io_uring_cqe_seen(&ring->ring, completion);
        if (operation)
            dispatch(ring, operation, outcome);
    }
    return 0;
}

const struct np_loop_kind np_loop_ring = {
    .choice = NP_LOOP_IO_URING,
    .start = start,
    .stop = stop,
    .turn = turn,
    .accept = start_accept,
    .receive = start_receive,
    .send_message = start_send_message,
    .read = start_read,
    .poll = start_poll,
    .futex_wait = start_futex_wait,
    .cancel = cancel,
};
