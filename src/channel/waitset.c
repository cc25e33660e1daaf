/* SPDX-License-Identifier: MIT
 * Wait-sets: what the owner's thread does. See waitset.h. */
#include "channel/waitset.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "core/error.h"
#include "core/pool.h"
#include "core/wipe.h"

static int check(const struct numapool_waitset *waitset)
{
    if (waitset && waitset->live == NP_WAITSET_LIVE)
        return 0;
    return np_error_static(-EINVAL, "this wait-set is closed, or belongs to the parent of this forked process: open one here");
}

/* ---------------------------------------------------------------- arming */

/* Names the words and raises the flags. */
static void arm(struct numapool_waitset *waitset, struct np_waiting *waiting)
{
    np_sleep_reset(&waitset->sleep);
    np_sleep_on_own(&waitset->sleep, &waitset->wakes);
    for (unsigned i = 0; i < waitset->count; i++) {
        struct numapool_receiver *receiver = waitset->members[i].receiver;
        if (!receiver) {
            np_pool_sleep_on_events(waitset->members[i].pool, &waitset->sleep);
            continue;
        }
        np_sleep_on(&waitset->sleep, &receiver->endpoint.bell->ring);
        np_receiver_raise_flags(receiver, &waitset->sleep);
        receiver->keeps_flags = true;
    }
    waitset->flags_up = true;
    np_waiting_fence(waiting, &waitset->sleep);
    waitset->longest_ns = waiting->longest_ns;
}

/* Until when a sleep may last, for one that has until `deadline_ns`. Reckoned after the second look, which may itself
 * have asked in vain: for what nobody answered nobody need ring again. */
static int64_t sleeps_until_ns(const struct numapool_waitset *waitset, int64_t deadline_ns)
{
    for (unsigned i = 0; i < waitset->count; i++) {
        const struct np_waitset_member *member = &waitset->members[i];
        if (member->receiver)
            deadline_ns = np_endpoint_until_ns(&member->receiver->endpoint, deadline_ns);
        else if (np_pool_has_grown(member->pool)) /* a hint that could not be followed up: nothing is bumped for it again */
            deadline_ns = np_sooner_ns(deadline_ns, NP_LEARN_PAUSE_NS);
    }
    deadline_ns = np_sooner_ns(deadline_ns, waitset->longest_ns);
    return waitset->sleep.crowded ? np_sooner_ns(deadline_ns, NP_SLEEP_BOUNDED_NS) : deadline_ns;
}

static void lower(struct numapool_receiver *receiver)
{
    receiver->keeps_flags = false;
    np_receiver_lower_flags(receiver);
}

static void disarm(struct numapool_waitset *waitset)
{
    for (unsigned i = 0; waitset->flags_up && i < waitset->count; i++)
        if (waitset->members[i].receiver)
            lower(waitset->members[i].receiver);
    waitset->flags_up = false;
}

/* How often lanes have come, gone or changed: what is armed is not all any more when this has moved. */
static uint32_t changes(const struct numapool_waitset *waitset)
{
    uint32_t sum = 0;
    for (unsigned i = 0; i < waitset->count; i++)
        sum += waitset->members[i].receiver ? waitset->members[i].receiver->changes : 0;
    return sum;
}

/* ---------------------------------------------------------------- waiting */

static unsigned look(struct numapool_waitset *waitset, void **tags, unsigned n)
{
    unsigned got = 0, turn = waitset->turn;
    for (unsigned i = 0; i < waitset->count && got < n; i++) {
        unsigned which = (turn + i) % waitset->count;
        const struct np_waitset_member *member = &waitset->members[which];
        if (member->receiver ? !np_receiver_peek(member->receiver) : !np_pool_has_events(member->pool))
            continue;
        if (got == 0)
            waitset->turn = (which + 1) % waitset->count;
        tags[got++] = member->tag;
    }
    return got;
}

static bool was_woken(struct numapool_waitset *waitset)
{
    uint32_t wakes = np_load32(&waitset->wakes, memory_order_acquire); /* pairs with wake's ring */
    if (wakes == waitset->wakes_seen)
        return false;
    waitset->wakes_seen = wakes;
    return true;
}

static int64_t longest_spin_ns(const struct numapool_waitset *waitset)
{
    int64_t longest_ns = 0;
    for (unsigned i = 0; i < waitset->count; i++)
        if (waitset->members[i].receiver && waitset->members[i].receiver->endpoint.spin_ns > longest_ns)
            longest_ns = waitset->members[i].receiver->endpoint.spin_ns;
    return longest_ns;
}

/* Looks, and, with `timeout_ns` or an eventfd to arm, arms and looks again. 0: woken. With -EAGAIN flags are up if there
 * is an eventfd. */
static int wait_for_any(struct numapool_waitset *waitset, void **tags, unsigned n, int64_t timeout_ns)
{
    struct np_waiting waiting = { 0 };
    bool watched = np_watcher_runs(waitset);
    uint32_t armed_changes = 0;
    for (bool waits = false, late = false;;) {
        if (was_woken(waitset))
            return 0;
        unsigned got = waitset->flags_up && NP_MUTANT(SLEEP_NO_SECOND_LOOK) ? 0 : look(waitset, tags, n);
        if (got > 0)
            return (int)got;
        if (late)
            return np_error_static(-ETIMEDOUT, "nothing came in time to a member of this wait-set");
        if (timeout_ns == 0 && (!watched || (waitset->flags_up && changes(waitset) == armed_changes))) {
            if (watched)
                np_watcher_arm(waitset, sleeps_until_ns(waitset, INT64_MAX));
            return np_error_static(-EAGAIN, "nothing is there for a member of this wait-set");
        }
        if (!waits)
            np_waiting_begin(&waiting, longest_spin_ns(waitset), timeout_ns);
        waits = true;
        if (waitset->flags_up) {
            if (changes(waitset) == armed_changes) { /* else a lane has no flag up */
                np_sleep_until(&waitset->sleep, sleeps_until_ns(waitset, waiting.deadline_ns));
                late = np_monotonic_ns() >= waiting.deadline_ns;
            }
            disarm(waitset);
        } else if (timeout_ns > 0 && np_waiting_spins(&waiting)) {
            if (waiting.looks > NP_LOOKS_WITHOUT_PAUSE)
                np_pause();
        } else {
            arm(waitset, &waiting);
            armed_changes = changes(waitset);
        }
    }
}

int numapool_waitset_wait(struct numapool_waitset *waitset, void **tags, unsigned n, int64_t timeout_ns)
{
    int result = check(waitset);
    if (result < 0)
        return result;
    if (!tags || n == 0 || timeout_ns < 0)
        return np_error(-EINVAL, "a wait for %u tags with timeout %lld: 1 or more, a place to put them, and a timeout of 0 or more", n,
                        (long long)timeout_ns);
    if (np_watcher_runs(waitset))
        np_watcher_disarm(waitset);
    disarm(waitset);
    result = wait_for_any(waitset, tags, n, timeout_ns);
    if (result != -EAGAIN)
        disarm(waitset);
    return result;
}

int numapool_waitset_wake(struct numapool_waitset *waitset)
{
    const uint64_t one = 1;
    if (!waitset || waitset->live != NP_WAITSET_LIVE)
        return -EINVAL; /* without a sentence, which a signal handler could tear */
    int before = errno;
    np_ring_own(&waitset->wakes);
    int eventfd = atomic_load_explicit(&waitset->watcher.eventfd, memory_order_acquire); /* pairs with np_watcher_start */
    ssize_t written = eventfd ? write(eventfd - 1, &one, sizeof one) : 0; /* fails when the count is full, and then it is readable anyway */
    (void)written;
    errno = before;
    return 0;
}

int numapool_waitset_eventfd(struct numapool_waitset *waitset)
{
    int result = check(waitset);
    if (result == 0 && !np_watcher_runs(waitset))
        result = np_watcher_start(waitset);
    return result < 0 ? result : atomic_load_explicit(&waitset->watcher.eventfd, memory_order_relaxed) - 1; /* relaxed: as in np_watcher_runs */
}

/* ---------------------------------------------------------------- members */

/* What is armed is not what the set will be: it is disturbed before a member goes, and when one has come. */
static int add(struct numapool_waitset *waitset, struct np_waitset_member member)
{
    if (waitset->count == NP_WAITSET_MEMBERS_MAX)
        return np_error(-ENOSPC, "this wait-set has %u members and can have no more: use a second one, in another thread",
                        NP_WAITSET_MEMBERS_MAX);
    waitset->members[waitset->count++] = member;
    np_watcher_disturb(waitset);
    return 0;
}

static void forget(struct numapool_waitset *waitset, unsigned which)
{
    struct np_waitset_member gone = waitset->members[which];
    np_watcher_disturb(waitset);
    waitset->count--;
    memmove(&waitset->members[which], &waitset->members[which + 1], (waitset->count - which) * sizeof waitset->members[0]);
    if (waitset->turn > which || waitset->turn == waitset->count)
        waitset->turn = waitset->turn > which ? waitset->turn - 1 : 0;
    if (gone.receiver) {
        gone.receiver->waitset = NULL;
        lower(gone.receiver);
        return;
    }
    pthread_mutex_lock(&gone.pool->lock);
    gone.pool->waitset = NULL;
    pthread_mutex_unlock(&gone.pool->lock);
}

int numapool_waitset_add(struct numapool_waitset *waitset, struct numapool_receiver *receiver, void *tag)
{
    int result = check(waitset);
    if (result < 0)
        return result;
    if (!np_receiver_is_live(receiver))
        return -EINVAL;
    if (receiver->waitset)
        return np_error_static(-EEXIST, "this receiver is in a wait-set already: remove it there first");
    result = add(waitset, (struct np_waitset_member){ .receiver = receiver, .tag = tag });
    if (result == 0)
        receiver->waitset = waitset;
    return result;
}

int numapool_waitset_add_pool(struct numapool_waitset *waitset, struct numapool_pool *pool, void *tag)
{
    int result = check(waitset);
    if (result == 0)
        result = np_pool_check(pool);
    if (result < 0)
        return result;
    if (pool->mode == NUMAPOOL_MODE_READONLY)
        return np_error(-EROFS, "pool '%s' is open read-only, and its events are not told there: add its receivers", pool->name);
    pthread_mutex_lock(&pool->lock); /* another thread may add it to a set of its own */
    if (pool->waitset)
        result = np_error(-EEXIST, "pool '%s' is in a wait-set already: remove it there first", pool->name);
    else
        pool->waitset = waitset;
    pthread_mutex_unlock(&pool->lock);
    if (result < 0)
        return result;
    result = add(waitset, (struct np_waitset_member){ .pool = pool, .tag = tag });
    if (result == 0)
        return 0;
    pthread_mutex_lock(&pool->lock);
    pool->waitset = NULL;
    pthread_mutex_unlock(&pool->lock);
    return result;
}

/* Compares the addresses alone: it may be asked for what has never been in a set, or is closed. */
static int remove_member(struct numapool_waitset *waitset, const struct numapool_receiver *receiver, const struct numapool_pool *pool)
{
    int result = check(waitset);
    if (result < 0)
        return result;
    for (unsigned i = 0; i < waitset->count; i++)
        if (waitset->members[i].receiver == receiver && waitset->members[i].pool == pool) {
            forget(waitset, i);
            return 0;
        }
    return np_error_static(-ENOENT, "it is not in this wait-set");
}

int numapool_waitset_remove(struct numapool_waitset *waitset, struct numapool_receiver *receiver)
{
    return remove_member(waitset, receiver, NULL);
}

int numapool_waitset_remove_pool(struct numapool_waitset *waitset, struct numapool_pool *pool)
{
    return remove_member(waitset, NULL, pool);
}

/* ---------------------------------------------------------------- opening and closing */

int numapool_waitset_open(struct numapool_waitset **result_waitset)
{
    struct numapool_waitset *waitset = np_wipe_alloc(sizeof *waitset);
    if (!waitset)
        return -ENOMEM;
    waitset->live = NP_WAITSET_LIVE;
    *result_waitset = waitset;
    return 0;
}

int numapool_waitset_close(struct numapool_waitset *waitset)
{
    int result = check(waitset);
    if (result < 0)
        return result;
    if (np_watcher_runs(waitset))
        np_watcher_end(waitset);
    while (waitset->count > 0)
        forget(waitset, waitset->count - 1);
    waitset->live = 0;
    np_wipe_free(waitset, sizeof *waitset);
    return 0;
}
