/* SPDX-License-Identifier: MIT
 * The thread of a wait-set that writes its eventfd, so that an event loop can wait for messages beside its other descriptors. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "channel/waitset.h"
#include "core/error.h"

static int descriptor(struct np_watcher *watcher)
{
    return atomic_load_explicit(&watcher->eventfd, memory_order_relaxed) - 1; /* relaxed: it lives as long as the thread */
}

static void write_eventfd(struct np_watcher *watcher)
{
    const uint64_t one = 1;
    /* It fails when the count is full, and then it is readable anyway. */
    ssize_t written = write(descriptor(watcher), &one, sizeof one);
    (void)written;
}

/* Under the lock: what to sleep on now. False: something is to be done first. */
static bool look_at_orders(struct np_watcher *watcher, struct np_sleep *sleep, int64_t *until_ns)
{
    np_sleep_reset(sleep);
    np_sleep_on_own(sleep, &watcher->orders); /* rung after what is read below has changed: no order is missed */
    *until_ns = INT64_MAX;
    if (!watcher->armed)
        return true;
    if (np_sleep_is_over(&watcher->sleep) || np_monotonic_ns() >= watcher->until_ns) {
        watcher->armed = false;
        write_eventfd(watcher);
        return false;
    }
    /* The words as they were when the set was armed, not as they are now: what has changed since does not let it sleep. */
    const struct np_sleep *watched = &watcher->sleep;
    unsigned n = watched->count < NP_SLEEP_WORDS_MAX - 1 ? watched->count : NP_SLEEP_WORDS_MAX - 1;
    memcpy(sleep->words + 1, watched->words, n * sizeof sleep->words[0]);
    sleep->count = 1 + n;
    sleep->crowded = watched->crowded || n < watched->count;
    *until_ns = watcher->until_ns;
    return true;
}

static void *watch(void *argument)
{
    struct np_watcher *watcher = argument;
    struct np_sleep sleep;
    int64_t until_ns;
    pthread_mutex_lock(&watcher->lock);
    while (!watcher->ending) {
        if (!look_at_orders(watcher, &sleep, &until_ns))
            continue;
        pthread_mutex_unlock(&watcher->lock);
        np_sleep_until(&sleep, until_ns); /* before memory goes `orders` is rung: it does not sleep on what is there instead */
        pthread_mutex_lock(&watcher->lock);
    }
    pthread_mutex_unlock(&watcher->lock);
    return NULL;
}

static int start_thread(struct np_watcher *watcher)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* the program's signals are not this thread's to take */
    int result = pthread_create(&watcher->thread, NULL, watch, watcher);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return -result;
}

int np_watcher_start(struct numapool_waitset *waitset)
{
    struct np_watcher *watcher = &waitset->watcher;
    int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (fd < 0)
        return np_error(-errno, "no eventfd for this wait-set: %s", strerror(errno));
    watcher->ending = watcher->armed = false;
    pthread_mutex_init(&watcher->lock, NULL);
    /* release: pairs with wake's acquire, which may be in another thread at once */
    atomic_store_explicit(&watcher->eventfd, fd + 1, memory_order_release);
    int result = start_thread(watcher);
    if (result == 0) {
        pthread_setname_np(watcher->thread, "numapool-wait");
        return 0;
    }
    atomic_store_explicit(&watcher->eventfd, 0, memory_order_relaxed); /* relaxed: a wake that has read it writes in vain */
    pthread_mutex_destroy(&watcher->lock);
    close(fd);
    return np_error(result, "no thread for the eventfd of this wait-set: %s", strerror(-result));
}

void np_watcher_arm(struct numapool_waitset *waitset, int64_t until_ns)
{
    struct np_watcher *watcher = &waitset->watcher;
    pthread_mutex_lock(&watcher->lock);
    watcher->sleep.count = waitset->sleep.count;
    watcher->sleep.crowded = waitset->sleep.crowded;
    memcpy(watcher->sleep.words, waitset->sleep.words, waitset->sleep.count * sizeof waitset->sleep.words[0]);
    watcher->until_ns = until_ns;
    watcher->armed = true;
    pthread_mutex_unlock(&watcher->lock);
    np_ring_own(&watcher->orders);
}

static bool end_arming(struct np_watcher *watcher)
{
    pthread_mutex_lock(&watcher->lock);
    bool was_armed = watcher->armed;
    watcher->armed = false;
    pthread_mutex_unlock(&watcher->lock);
    if (was_armed)
        np_ring_own(&watcher->orders);
    return was_armed;
}

void np_watcher_disarm(struct numapool_waitset *waitset)
{
    uint64_t count;
    end_arming(&waitset->watcher);
    ssize_t taken = read(descriptor(&waitset->watcher), &count, sizeof count); /* fails when nothing is there */
    (void)taken;
}

void np_watcher_disturb(struct numapool_waitset *waitset)
{
    if (np_watcher_runs(waitset) && end_arming(&waitset->watcher))
        write_eventfd(&waitset->watcher);
}

void np_watcher_end(struct numapool_waitset *waitset)
{
    struct np_watcher *watcher = &waitset->watcher;
    int fd = descriptor(watcher);
    pthread_mutex_lock(&watcher->lock);
    watcher->ending = true;
    pthread_mutex_unlock(&watcher->lock);
    np_ring_own(&watcher->orders);
    pthread_join(watcher->thread, NULL);
    atomic_store_explicit(&watcher->eventfd, 0, memory_order_relaxed); /* relaxed: who closes a set lets nobody wake it */
    pthread_mutex_destroy(&watcher->lock);
    close(fd);
}
