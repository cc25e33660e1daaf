/* SPDX-License-Identifier: MIT */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "daemon/loop.h"

#include <errno.h>
#include <poll.h>
#include <stddef.h>
#include <sys/socket.h>

#include "core/bell.h"
#include "daemon/loop_kind.h"

int np_loop_start(struct np_loop **loop, unsigned operations, enum np_loop_choice choice)
{
    int refusal = 0;
    if (choice != NP_LOOP_EPOLL) {
        int result = np_loop_ring.start(loop, operations);
        if (result == 0 || choice == NP_LOOP_IO_URING)
            return result;
        refusal = -result;
    }
    int result = np_loop_epoll.start(loop, operations);
    if (result == 0)
        (*loop)->refusal = refusal;
    return result;
}

void np_loop_stop(struct np_loop *loop)
{
    loop->kind->stop(loop);
}

enum np_loop_choice np_loop_kind(const struct np_loop *loop)
{
    return loop->kind->choice;
}

int np_loop_refusal(const struct np_loop *loop)
{
    return loop->refusal;
}

/* ---------------------------------------------------------------- operations */

int np_loop_accept_now(int fd)
{
    struct pollfd polled = { .fd = fd, .events = POLLIN };
    int ready = poll(&polled, 1, 0);
    if (ready <= 0)
        return ready == 0 || errno == EINTR ? -EAGAIN : -errno;
    if (polled.revents & POLLNVAL)
        return -EBADF;
    int accepted = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
    return accepted >= 0 ? accepted : errno == EINTR ? -EAGAIN : -errno;
}

void np_loop_accept(struct np_loop *loop, struct np_operation *operation, int fd)
{
    loop->kind->accept(loop, operation, fd);
}

void np_loop_receive(struct np_loop *loop, struct np_operation *operation, int fd, void *buffer, unsigned bytes)
{
    loop->kind->receive(loop, operation, fd, buffer, bytes);
}

void np_loop_send_message(struct np_loop *loop, struct np_operation *operation, int fd, const struct msghdr *message)
{
    loop->kind->send_message(loop, operation, fd, message);
}

void np_loop_read(struct np_loop *loop, struct np_operation *operation, int fd, void *buffer, unsigned bytes, uint64_t offset)
{
    loop->kind->read(loop, operation, fd, buffer, bytes, offset);
}

void np_loop_poll(struct np_loop *loop, struct np_operation *operation, int fd, unsigned events)
{
    loop->kind->poll(loop, operation, fd, events);
}

bool np_loop_has_futex(const struct np_loop *loop)
{
    return loop->futex;
}

void np_loop_futex_wait(struct np_loop *loop, struct np_operation *operation, np_shm32 *word, uint32_t seen)
{
    loop->kind->futex_wait(loop, operation, word, seen);
}

void np_loop_cancel(struct np_loop *loop, struct np_operation *operation)
{
    if (operation->pending)
        loop->kind->cancel(loop, operation);
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

static int64_t time_left_ns(const struct np_loop *loop)
{
    int64_t deadline_ns = INT64_MAX;
    for (const struct np_timer *timer = loop->timers; timer; timer = timer->next)
        if (timer->deadline_ns < deadline_ns)
            deadline_ns = timer->deadline_ns;
    if (deadline_ns == INT64_MAX)
        return INT64_MAX;
    int64_t now_ns = np_monotonic_ns();
    return deadline_ns > now_ns ? deadline_ns - now_ns : 0;
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

int np_loop_turn(struct np_loop *loop)
{
    int result = loop->kind->turn(loop, time_left_ns(loop));
    if (result == 0)
        run_timers(loop);
    return result;
}
