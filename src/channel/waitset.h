/* SPDX-License-Identifier: MIT
 *
 * A wait-set: receivers and pools that one thread waits on together. waitset.c is that thread's, watcher.c writes the eventfd.
 *
 * Arming is what any sleeper does (bell.h), for all members at once: name the words (each receiver's bell, a foreign one's lanes too,
 * each pool's notices, `wakes`), raise the receivers' flags, one barrier, look again. Then either the thread sleeps itself, or,
 * with an eventfd, it leaves flags and words to the watcher and goes: the set is armed until its next wait.
 *
 * Invariants
 *   S1  Flags are raised and lowered, members added and removed, receivers looked at by the owner's thread alone. The watcher sees words only,
 *       its own copy of them, and under its lock.
 *   S2  While the set is armed a receiver's own waits leave the flags up (keeps_flags). A lane that it gets meanwhile has none, but the
 *       bell rang for it, and so the watcher has written.
 *   S3  Memory that the watcher may read is not unmapped before it is disturbed: who removes a receiver, or gives back a lane of one in
 *       a set, does that first. Disturbed, it writes, so that the next wait looks and arms anew.
 *   S4  The eventfd is written at most once an arming, besides by wake and by what disturbs.
 */
#ifndef NP_CHANNEL_WAITSET_H
#define NP_CHANNEL_WAITSET_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "channel/receiver.h"
#include "core/sleep.h"
#include "numapool.h"

#define NP_WAITSET_LIVE UINT64_C(0x7465737469617770)
#define NP_WAITSET_MEMBERS_MAX 120u /* each has a word at least, and `wakes` and `orders` are two more */

struct np_waitset_member {
    struct numapool_receiver *receiver; /* NULL: a pool, for its events */
    struct numapool_pool *pool;
    void *tag;
};

/* The thread that writes the eventfd. */
struct np_watcher {
    pthread_mutex_t lock;  /* over `ending` to `sleep` */
    pthread_t thread;
    np_shm32 orders;       /* own futex: rung after one of these has changed */
    bool ending;
    bool armed;            /* watch `sleep`, write when it is over, and disarm */
    int64_t until_ns;      /* write then in any case: what is slept on may not tell of everything */
    struct np_sleep sleep;
    _Atomic int eventfd;   /* the descriptor plus 1; 0: there is no watcher. Read by wake in any thread or handler */
};

struct numapool_waitset {
    uint64_t live; /* zero in a forked child */
    np_shm32 wakes; /* own futex: how often wake was called */
    uint32_t wakes_seen;
    unsigned count;
    unsigned turn;     /* the member to look at first */
    bool flags_up;     /* of the receivers: armed */
    int64_t longest_ns; /* how long a sleep may last after that */
    struct np_waitset_member members[NP_WAITSET_MEMBERS_MAX];
    struct np_sleep sleep;
    struct np_watcher watcher;
};

/* 0 or -errno: makes the eventfd and the thread. */
int np_watcher_start(struct numapool_waitset *waitset);
void np_watcher_end(struct numapool_waitset *waitset);
static inline bool np_watcher_runs(const struct numapool_waitset *waitset)
{
    return atomic_load_explicit(&waitset->watcher.eventfd, memory_order_relaxed) != 0; /* relaxed: written by the asking thread */
}
/* Watches waitset->sleep until it is over, or until_ns. */
void np_watcher_arm(struct numapool_waitset *waitset, int64_t until_ns);
/* When this returns nothing is written for that arming any more, and what was is read. */
void np_watcher_disarm(struct numapool_waitset *waitset);
/* Something that it watches goes away: disarms it, and writes. */
void np_watcher_disturb(struct numapool_waitset *waitset);

#endif
