/* SPDX-License-Identifier: MIT */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "daemon/loop_helper.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* ---------------------------------------------------------------- in the thread */

static int read_file(const struct np_loop_task *task)
{
    ssize_t got;
    do
        got = pread(task->held >= 0 ? task->held : task->fd, task->at.buffer, task->bytes, (off_t)task->offset);
    while (got < 0 && errno == EINTR);
    return got < 0 ? -errno : (int)got;
}

/* acquire, here and below: pairs with np_helper_cancel's release; what it would say more is under the lock */
static bool is_to_stop(const struct np_helper *helper)
{
    return np_load32(&helper->awake, memory_order_acquire) != 0;
}

static int wait_for_futex(struct np_helper *helper, const struct np_loop_task *task)
{
    struct futex_waitv words[2] = {
        { .val = task->offset, .uaddr = (uintptr_t)task->at.word, .flags = FUTEX_32 },
        { .val = 0, .uaddr = (uintptr_t)&helper->awake, .flags = FUTEX_32 | FUTEX_PRIVATE_FLAG },
    };
    long result;
    do
        result = syscall(SYS_futex_waitv, words, 2, 0, NULL, CLOCK_MONOTONIC);
    while (result < 0 && errno == EINTR && !is_to_stop(helper));
    if (result == 0)
        return 0;
    return is_to_stop(helper) ? -ECANCELED : result < 0 ? -errno : 0;
}

static void *help(void *argument)
{
    struct np_helper *helper = argument;
    const uint64_t one = 1;
    pthread_mutex_lock(&helper->lock);
    for (;;) {
        while (!helper->waiting && !helper->ending)
            pthread_cond_wait(&helper->more, &helper->lock);
        if (helper->ending)
            break;
        struct np_operation *operation = helper->waiting;
        helper->waiting = operation->task.next;
        helper->current = operation;
        np_store32(&helper->awake, 0, memory_order_relaxed); /* relaxed: under the lock, as those who set it */
        pthread_mutex_unlock(&helper->lock);
        int result = operation->task.what == NP_LOOP_READ ? read_file(&operation->task) : wait_for_futex(helper, &operation->task);
        pthread_mutex_lock(&helper->lock);
        helper->current = NULL;
        operation->task.result = result;
        operation->task.next = helper->finished;
        helper->finished = operation;
        while (write(helper->event_fd, &one, sizeof one) < 0 && errno == EINTR)
            ;
    }
    pthread_mutex_unlock(&helper->lock);
    return NULL;
}

/* ---------------------------------------------------------------- in the loop */

int np_helper_start(struct np_helper *helper, int event_fd)
{
    /* Signals are the loop's, but for those that a thread's own instructions raise. */
    static const int own[] = { SIGBUS, SIGSEGV, SIGFPE, SIGILL, SIGTRAP };
    sigset_t blocked, before;
    sigfillset(&blocked);
    for (unsigned i = 0; i < sizeof own / sizeof own[0]; i++)
        sigdelset(&blocked, own[i]);
    *helper = (struct np_helper){ .event_fd = event_fd };
    pthread_mutex_init(&helper->lock, NULL);
    pthread_cond_init(&helper->more, NULL);
    pthread_sigmask(SIG_BLOCK, &blocked, &before);
    int code = pthread_create(&helper->thread, NULL, help, helper);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    helper->running = code == 0;
    return -code;
}

/* Under the lock. */
static void stop_waiting(struct np_helper *helper)
{
    np_store32(&helper->awake, 1, memory_order_release); /* pairs with is_to_stop */
    syscall(SYS_futex, &helper->awake, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, INT_MAX, NULL, NULL, 0);
}

void np_helper_stop(struct np_helper *helper)
{
    if (!helper->running)
        return;
    pthread_mutex_lock(&helper->lock);
    helper->ending = true;
    stop_waiting(helper);
    pthread_cond_signal(&helper->more);
    pthread_mutex_unlock(&helper->lock);
    pthread_join(helper->thread, NULL);
    while (helper->waiting) {
        struct np_operation *operation = helper->waiting;
        helper->waiting = operation->task.next;
        operation->task.next = helper->finished;
        helper->finished = operation;
    }
    helper->running = false;
}

void np_helper_give(struct np_helper *helper, struct np_operation *operation)
{
    pthread_mutex_lock(&helper->lock);
    struct np_operation **last = &helper->waiting;
    while (*last)
        last = &(*last)->task.next;
    operation->task.next = NULL;
    *last = operation;
    pthread_cond_signal(&helper->more);
    pthread_mutex_unlock(&helper->lock);
}

bool np_helper_is_idle(struct np_helper *helper)
{
    pthread_mutex_lock(&helper->lock);
    bool idle = !helper->waiting && !helper->current && !helper->finished;
    pthread_mutex_unlock(&helper->lock);
    return idle;
}

bool np_helper_cancel(struct np_helper *helper, struct np_operation *operation)
{
    bool mine = false;
    pthread_mutex_lock(&helper->lock);
    if (helper->current == operation) {
        stop_waiting(helper);
    } else {
        struct np_operation **at = &helper->waiting;
        while (*at && *at != operation)
            at = &(*at)->task.next;
        mine = *at != NULL;
        if (mine)
            *at = operation->task.next;
    }
    pthread_mutex_unlock(&helper->lock);
    return mine;
}

struct np_operation *np_helper_take(struct np_helper *helper)
{
    pthread_mutex_lock(&helper->lock);
    struct np_operation *finished = helper->finished;
    helper->finished = NULL;
    pthread_mutex_unlock(&helper->lock);
    return finished;
}

bool np_helper_has_futex(void)
{
    return syscall(SYS_futex_waitv, NULL, 0, 0, NULL, CLOCK_MONOTONIC) < 0 && errno == EINVAL;
}
