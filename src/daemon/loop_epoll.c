/* SPDX-License-Identifier: MIT
 *
 * An operation is tried; what would have to wait is tried again when epoll says that it may not have to any more. epoll
 * goes by files and numbers: one registration for both together, which lives on when the number is closed and somebody
 * else (the keeper) has the file too. So each operation that waits has a number of its own for its file (`held`), which
 * nobody else closes; then several on one file, and numbers that are closed and given out again, need no care. It costs
 * each a descriptor. Where there are none left, the operation goes by the caller's number, and by time.
 *
 * An operation is in one place at a time:
 *
 *   READY     to be tried in the next turn
 *   TRYING    to be tried in this one
 *   WAITING   registered with epoll
 *   BY_TIME   no descriptor or registration could be had for it: tried every 10 ms
 *   ASIDE     a helper has it
 *   FINISHED  it has a result, and `done` will be called in the next turn
 *   TELLING   in this one
 *   BUSY      an accept whose `done` is just being called, and may be again
 *
 * `done` may start, cancel and free operations. So what epoll tells is sorted into READY before the first `done`, and what is begun
 * meanwhile is for the next turn, so that each comes to an end.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/bell.h"
#include "core/error.h"
#include "daemon/log.h"
#include "daemon/loop_helper.h"
#include "daemon/loop_kind.h"

#define BY_TIME_NS INT64_C(10000000)

enum place { NOWHERE, READY, TRYING, WAITING, BY_TIME, FINISHED, TELLING, LISTED, ASIDE = LISTED, BUSY };

enum {
    EVENTS_MAX = 256,  /* told of between two looks at the timers */
    HELD_MIN = 3       /* never a standard descriptor */
};

struct list {
    struct np_operation *first, *last;
};

struct epoll_loop {
    struct np_loop loop;
    int epoll_fd, event_fd;
    struct list lists[LISTED]; /* by place */
    int64_t by_time_ns;        /* when to try those again */
    struct np_helper reader, listener;
};

static struct epoll_loop *epoll_of(struct np_loop *loop)
{
    return (struct epoll_loop *)loop;
}

/* ---------------------------------------------------------------- places */

static bool is_listed(enum place place)
{
    return place != NOWHERE && place < LISTED;
}

static void move(struct epoll_loop *epoll, struct np_operation *operation, enum place place)
{
    struct np_loop_task *task = &operation->task;
    if (is_listed(task->place)) {
        struct list *list = &epoll->lists[task->place];
        *(task->before ? &task->before->task.next : &list->first) = task->next;
        *(task->next ? &task->next->task.before : &list->last) = task->before;
    }
    task->place = place;
    task->next = task->before = NULL;
    if (!is_listed(place))
        return;
    struct list *list = &epoll->lists[place];
    task->before = list->last;
    *(list->last ? &list->last->task.next : &list->first) = operation;
    list->last = operation;
}

static void move_all(struct epoll_loop *epoll, enum place from, enum place to)
{
    while (epoll->lists[from].first)
        move(epoll, epoll->lists[from].first, to);
}

/* ---------------------------------------------------------------- the file of an operation */

static int fd_of(const struct np_loop_task *task)
{
    return task->held >= 0 ? task->held : task->fd;
}

/* Explicitly out of epoll: the file lives on where others have it too, and with it the registration would. */
static void let_go(struct epoll_loop *epoll, struct np_loop_task *task)
{
    if (task->held < 0)
        return;
    epoll_ctl(epoll->epoll_fd, EPOLL_CTL_DEL, task->held, NULL);
    close(task->held);
    task->held = -1;
}

static void finish(struct epoll_loop *epoll, struct np_operation *operation, int result)
{
    let_go(epoll, &operation->task);
    operation->task.result = result;
    move(epoll, operation, FINISHED);
}

static void wait_for_file(struct epoll_loop *epoll, struct np_operation *operation)
{
    struct np_loop_task *task = &operation->task;
    if (task->held < 0) {
        int held = fcntl(task->fd, F_DUPFD_CLOEXEC, HELD_MIN);
        if (held < 0 && errno == EBADF) {
            finish(epoll, operation, -EBADF);
            return;
        }
        struct epoll_event event = { .events = task->events, .data.ptr = operation };
        if (held >= 0 && epoll_ctl(epoll->epoll_fd, EPOLL_CTL_ADD, held, &event) != 0) {
            close(held);
            held = -1;
        }
        task->held = held;
    }
    move(epoll, operation, task->held >= 0 ? WAITING : BY_TIME);
}

/* ---------------------------------------------------------------- trying */

static int poll_now(const struct np_loop_task *task, short events)
{
    struct pollfd polled = { .fd = fd_of(task), .events = events };
    int result = poll(&polled, 1, 0);
    if (result < 0)
        return errno == EINTR ? 0 : -errno;
    return polled.revents & POLLNVAL ? -EBADF : polled.revents;
}

/* -EAGAIN: not yet. */
static int try_once(const struct np_loop_task *task)
{
    ssize_t result;
    switch (task->what) {
    case NP_LOOP_ACCEPT:
        return np_loop_accept_now(fd_of(task));
    case NP_LOOP_POLL:
        result = poll_now(task, (short)task->events);
        return result == 0 ? -EAGAIN : (int)result;
    case NP_LOOP_RECEIVE:
        result = recv(fd_of(task), task->at.buffer, task->bytes, MSG_DONTWAIT);
        break;
    case NP_LOOP_SEND:
        result = sendmsg(fd_of(task), task->at.message, MSG_DONTWAIT | MSG_NOSIGNAL);
        break;
    default: /* READ, where there is no helper */
        result = pread(fd_of(task), task->at.buffer, task->bytes, (off_t)task->offset);
        break;
    }
    return result >= 0 ? (int)result : errno == EINTR ? -EAGAIN : -errno;
}

static void accept_some(struct epoll_loop *epoll, struct np_operation *operation)
{
    for (unsigned i = 0; i < NP_LOOP_ACCEPTS_MAX; i++) {
        int result = try_once(&operation->task);
        if (result == -EAGAIN) {
            wait_for_file(epoll, operation);
            return;
        }
        if (result < 0) {
            finish(epoll, operation, result);
            return;
        }
        move(epoll, operation, BUSY);
        operation->done(operation, result);
        if (operation->task.place != BUSY)
            return; /* cancelled */
    }
    move(epoll, operation, READY);
}

static void try(struct epoll_loop *epoll, struct np_operation *operation)
{
    if (operation->task.what == NP_LOOP_ACCEPT) {
        accept_some(epoll, operation);
        return;
    }
    int result = try_once(&operation->task);
    if (result == -EAGAIN)
        wait_for_file(epoll, operation);
    else
        finish(epoll, operation, result);
}

/* ---------------------------------------------------------------- starting operations */

static void begin(struct epoll_loop *epoll, struct np_operation *operation, enum np_loop_what what, int fd, uint32_t events)
{
    operation->pending = true;
    operation->task = (struct np_loop_task){ .what = what, .fd = fd, .held = -1, .events = events };
    move(epoll, operation, READY);
}

static void start_accept(struct np_loop *loop, struct np_operation *operation, int fd)
{
    begin(epoll_of(loop), operation, NP_LOOP_ACCEPT, fd, EPOLLIN);
}

static void start_receive(struct np_loop *loop, struct np_operation *operation, int fd, void *buffer, unsigned bytes)
{
    begin(epoll_of(loop), operation, NP_LOOP_RECEIVE, fd, EPOLLIN);
    operation->task.at.buffer = buffer;
    operation->task.bytes = bytes;
}

static void start_send_message(struct np_loop *loop, struct np_operation *operation, int fd, const struct msghdr *message)
{
    begin(epoll_of(loop), operation, NP_LOOP_SEND, fd, EPOLLOUT);
    operation->task.at.message = message;
}

static void start_poll(struct np_loop *loop, struct np_operation *operation, int fd, unsigned events)
{
    begin(epoll_of(loop), operation, NP_LOOP_POLL, fd, events);
}

static void start_read(struct np_loop *loop, struct np_operation *operation, int fd, void *buffer, unsigned bytes, uint64_t offset)
{
    struct epoll_loop *epoll = epoll_of(loop);
    begin(epoll, operation, NP_LOOP_READ, fd, 0);
    operation->task.at.buffer = buffer;
    operation->task.bytes = bytes;
    operation->task.offset = offset;
    if (!epoll->reader.running)
        return;
    operation->task.held = fcntl(fd, F_DUPFD_CLOEXEC, HELD_MIN); /* without it, the caller's: it stays open while it is read */
    move(epoll, operation, ASIDE);
    np_helper_give(&epoll->reader, operation);
}

static void start_futex_wait(struct np_loop *loop, struct np_operation *operation, np_shm32 *word, uint32_t seen)
{
    struct epoll_loop *epoll = epoll_of(loop);
    begin(epoll, operation, NP_LOOP_FUTEX, -1, 0);
    operation->task.at.word = word;
    operation->task.offset = seen;
    if (!epoll->listener.running || !np_helper_is_idle(&epoll->listener)) {
        finish(epoll, operation, epoll->listener.running ? -EBUSY : -ENOSYS);
        return;
    }
    move(epoll, operation, ASIDE);
    np_helper_give(&epoll->listener, operation);
}

static void cancel(struct np_loop *loop, struct np_operation *operation)
{
    struct epoll_loop *epoll = epoll_of(loop);
    struct np_helper *helper = operation->task.what == NP_LOOP_READ ? &epoll->reader : &epoll->listener;
    if (operation->task.place == FINISHED || operation->task.place == TELLING)
        return;
    if (operation->task.place != ASIDE || np_helper_cancel(helper, operation))
        finish(epoll, operation, -ECANCELED);
}

/* ---------------------------------------------------------------- turning */

static void take_from(struct epoll_loop *epoll, struct np_helper *helper)
{
    struct np_operation *operation = np_helper_take(helper);
    while (operation) {
        struct np_operation *next = operation->task.next;
        finish(epoll, operation, operation->task.result);
        operation = next;
    }
}

static void hear_helpers(struct epoll_loop *epoll)
{
    uint64_t count;
    if (read(epoll->event_fd, &count, sizeof count) < 0 && errno != EAGAIN)
        np_log(NP_LOG_WARN, "the loop's eventfd cannot be read: %s", strerror(errno));
    take_from(epoll, &epoll->reader);
    take_from(epoll, &epoll->listener);
}

/* epoll_wait(2) counts milliseconds. */
static int wait_for_something(struct epoll_loop *epoll, int64_t timeout_ns)
{
    struct epoll_event events[EVENTS_MAX];
    int timeout_ms = timeout_ns == INT64_MAX ? -1 : 0;
    if (timeout_ns > 0 && timeout_ns != INT64_MAX) {
        struct pollfd polled = { .fd = epoll->epoll_fd, .events = POLLIN };
        struct timespec left = { .tv_sec = timeout_ns / 1000000000, .tv_nsec = timeout_ns % 1000000000 };
        if (ppoll(&polled, 1, &left, NULL) == 0)
            return 0;
    }
    int count = epoll_wait(epoll->epoll_fd, events, EVENTS_MAX, timeout_ms);
    if (count < 0)
        return errno == EINTR ? 0 : np_error(-errno, "epoll does not work any more: %s", strerror(errno));
    for (int i = 0; i < count; i++)
        if (events[i].data.ptr)
            move(epoll, events[i].data.ptr, READY);
        else
            hear_helpers(epoll);
    return 0;
}

static void try_all(struct epoll_loop *epoll)
{
    int64_t now_ns = epoll->lists[BY_TIME].first ? np_monotonic_ns() : 0;
    if (epoll->lists[BY_TIME].first && now_ns >= epoll->by_time_ns) {
        epoll->by_time_ns = now_ns + BY_TIME_NS;
        move_all(epoll, BY_TIME, READY);
    }
    move_all(epoll, READY, TRYING);
    while (epoll->lists[TRYING].first)
        try(epoll, epoll->lists[TRYING].first);
}

static void call_all(struct epoll_loop *epoll)
{
    move_all(epoll, FINISHED, TELLING);
    for (struct np_operation *operation; (operation = epoll->lists[TELLING].first) != NULL;) {
        int result = operation->task.result;
        move(epoll, operation, NOWHERE);
        operation->pending = false;
        operation->done(operation, result);
    }
}

static int turn(struct np_loop *loop, int64_t timeout_ns)
{
    struct epoll_loop *epoll = epoll_of(loop);
    if (epoll->lists[READY].first || epoll->lists[FINISHED].first)
        timeout_ns = 0;
    else if (epoll->lists[BY_TIME].first && timeout_ns > BY_TIME_NS)
        timeout_ns = BY_TIME_NS;
    int result = wait_for_something(epoll, timeout_ns);
    if (result < 0)
        return result;
    try_all(epoll);
    call_all(epoll);
    return 0;
}

/* ---------------------------------------------------------------- start and stop */

static void stop(struct np_loop *loop)
{
    struct epoll_loop *epoll = epoll_of(loop);
    np_helper_stop(&epoll->reader);
    np_helper_stop(&epoll->listener);
    take_from(epoll, &epoll->reader);
    for (unsigned place = READY; place < LISTED; place++)
        for (struct np_operation *operation = epoll->lists[place].first; operation; operation = operation->task.next)
            let_go(epoll, &operation->task);
    if (epoll->event_fd >= 0)
        close(epoll->event_fd);
    if (epoll->epoll_fd >= 0)
        close(epoll->epoll_fd);
    free(epoll);
}

/* A process with threads whose table of descriptors grows waits until all processors have looked elsewhere once (RCU), which
 * takes from milliseconds to, on a busy machine, seconds. So it grows before there are threads. */
static void widen_table(int fd, unsigned descriptors)
{
    int high = fcntl(fd, F_DUPFD_CLOEXEC, (int)descriptors);
    if (high >= 0) /* else beyond the limit, where it need not reach */
        close(high);
}

static int start(struct np_loop **made, unsigned operations)
{
    struct epoll_loop *epoll = calloc(1, sizeof *epoll);
    if (!epoll)
        return np_error(-ENOMEM, "no memory for the worker's loop");
    epoll->loop.kind = &np_loop_epoll;
    epoll->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    epoll->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    struct epoll_event event = { .events = EPOLLIN };
    if (epoll->epoll_fd < 0 || epoll->event_fd < 0 || epoll_ctl(epoll->epoll_fd, EPOLL_CTL_ADD, epoll->event_fd, &event) != 0) {
        int code = errno;
        stop(&epoll->loop);
        return np_error(-code, "cannot make an epoll and an eventfd (%s): raise LimitNOFILE=, or allow epoll_create1, epoll_ctl and "
                        "eventfd2 in the seccomp profile", strerror(code));
    }
    widen_table(epoll->epoll_fd, 2 * operations); /* each may have a file of its own besides the one that it is about */
    /* Without a thread, files are read in the turn, and the duties that a bell would call to go by time. */
    (void)np_helper_start(&epoll->reader, epoll->event_fd);
    epoll->loop.futex = np_helper_has_futex() && np_helper_start(&epoll->listener, epoll->event_fd) == 0;
    *made = &epoll->loop;
    return 0;
}

const struct np_loop_kind np_loop_epoll = {
    .choice = NP_LOOP_EPOLL,
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
