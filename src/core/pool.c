/* SPDX-License-Identifier: MIT */
#include "core/pool.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/single_threaded.h>
#include <unistd.h>

#include "core/cancel.h"
#include "core/error.h"
#include "core/fault.h"
#include "core/notice.h"
#include "core/thread_magazine.h"

int np_pool_check(const struct numapool_pool *pool)
{
    if (__builtin_expect(pool != NULL && pool->live == NP_POOL_LIVE, 1))
        return 0;
    return np_error_static(-EINVAL, pool ? "this pool is closed, or belongs to the parent of this forked process: open it anew here"
                                         : "the pool is NULL");
}

int np_pool_check_writable(const struct numapool_pool *pool, const char *call)
{
    int result = np_pool_check(pool);
    if (result < 0 || pool->mode != NUMAPOOL_MODE_READONLY)
        return result;
    return np_error(-EROFS, "%s: pool '%s' is open read-only here: open it without NUMAPOOL_READONLY, for which its access list must say "
                    "direct", call, pool->name);
}

static int depot_start(struct np_depot *depot, uint64_t capacity)
{
    depot->capacity = (uint32_t)(capacity > NP_DEPOT_SLOTS_MAX ? NP_DEPOT_SLOTS_MAX : capacity);
    depot->slots = malloc(((size_t)depot->capacity + 1) * sizeof *depot->slots);
    if (!depot->slots)
        return np_error(-ENOMEM, "no memory for a process depot of %u slots", depot->capacity);
    pthread_mutex_init(&depot->lock, NULL);
    return 0;
}

static uint64_t slots_of(const struct numapool_pool *pool, unsigned arenas)
{
    uint64_t slots = 0;
    for (unsigned i = 0; i < arenas; i++)
        slots += pool->arenas[i].arena.slots;
    return slots;
}

/* What the process may cache of so many: nothing where each slot is to be checked, or malloc's. */
static uint64_t cache_slots_of(const struct numapool_pool *pool, uint64_t slots)
{
    return pool->flags & (NUMAPOOL_CHECKS | NUMAPOOL_MALLOC) ? 0 : slots / 2 / pool->sharers;
}

/* A depot's share of one half of what may be cached; 128 bits, for a large pool's product would not fit 64. */
static uint64_t depot_share(uint64_t cache_slots_max, uint64_t slots_here, uint64_t slots)
{
    return (uint64_t)((unsigned __int128)(cache_slots_max / 2) * slots_here / slots);
}

static int start_arena(struct numapool_pool *pool, struct np_pool_arena *pa, uint64_t cache_slots_max, uint64_t slots)
{
    int result = depot_start(&pa->depot, depot_share(cache_slots_max, pa->arena.slots, slots));
    if (result == 0 && pool->checks && (result = np_guard_begin(pool, pa)) < 0)
        free(pa->depot.slots);
    return result;
}

/* What is known of its node from now on, and that nobody here needs to be told what was before. */
static void join_node(struct numapool_pool *pool, unsigned index)
{
    struct np_pool_arena *pa = &pool->arenas[index], *home = pool->arenas;
    while (home->arena.node != pa->arena.node)
        home++;
    pa->home = home;
    uint64_t slots = 0, low_watermark = 0;
    for (struct np_pool_arena *other = home; other <= pa; other++)
        if (other->arena.node == pa->arena.node) {
            slots += other->arena.slots;
            low_watermark += other->arena.low_watermark;
        }
    atomic_store_explicit(&home->enough_slots, np_notice_recovered(low_watermark, slots), memory_order_relaxed); /* relaxed: a hint */
    if (home == pa && pa->arena.header)
        pa->told_lows = np_load64(&pa->arena.header->lows, memory_order_relaxed); /* relaxed: a statistic */
}

/* Below that number of arenas. relaxed: a refill that does not know yet takes as if there were none. */
static void note_tiers(struct numapool_pool *pool, unsigned arenas)
{
    unsigned far = 0;
    for (unsigned i = 0; i < arenas; i++)
        far += pool->arenas[i].tier != 0;
    atomic_store_explicit(&pool->has_tiers, far > 0 && far < arenas, memory_order_relaxed);
}

static _Atomic uint64_t next_born = 1;

int np_pool_start(struct numapool_pool *pool, unsigned clients)
{
    unsigned count = np_pool_arena_count(pool);
    uint64_t slots = slots_of(pool, count);
    pool->born = atomic_fetch_add_explicit(&next_born, 1, memory_order_relaxed); /* relaxed: only unique */
    pool->sharers = clients ? clients : 1;
    pool->process = (uint32_t)getpid();
    pool->checks = (pool->flags & NUMAPOOL_CHECKS) != 0 && pool->mode != NUMAPOOL_MODE_READONLY;
    pool->cache_slots_max = cache_slots_of(pool, slots);
    pthread_mutex_init(&pool->lock, NULL);
    for (unsigned i = 0; i < count; i++) {
        struct np_pool_arena *pa = &pool->arenas[i];
        int result = start_arena(pool, pa, pool->cache_slots_max, slots);
        if (result < 0) {
            while (i-- > 0) {
                np_guard_end(&pool->arenas[i]);
                free(pool->arenas[i].depot.slots);
            }
            return result;
        }
        join_node(pool, i);
    }
    note_tiers(pool, count);
    pool->told_arenas = count;
    pool->live = NP_POOL_LIVE;
    return 0;
}

int np_pool_add_arena(struct numapool_pool *pool)
{
    pthread_mutex_lock(&pool->lock);
    unsigned count = np_pool_arena_count(pool);
    struct np_pool_arena *pa = &pool->arenas[count];
    uint64_t slots = slots_of(pool, count) + pa->arena.slots, cache_slots_max = cache_slots_of(pool, slots);
    bool somebody_sleeps = false;
    for (unsigned i = 0; i < count; i++)
        somebody_sleeps |= pool->arenas[i].sleepers > 0;
    /* the share of those that are there already is the same of more, and does not change */
    int result = start_arena(pool, pa, cache_slots_max, slots);
    if (result == 0) {
        pool->cache_slots_max = cache_slots_max;
        pa->sleepers = 0;
        join_node(pool, count);
        note_tiers(pool, count + 1);
        atomic_store_explicit(&pool->arena_count, count + 1, memory_order_release); /* pairs with np_pool_arena_count */
    }
    pthread_mutex_unlock(&pool->lock);
    /* Who sleeps has raised its bit in those that it knew, and is woken so that it looks at the new one too; who goes to sleep after this
     * finds it under the lock. */
    if (result == 0 && somebody_sleeps)
        np_bell_ring(&pool->bells[pool->client]);
    return result;
}

int np_pool_learn(struct numapool_pool *pool)
{
    return pool->learn ? pool->learn(pool) : 0;
}

bool np_pool_learn_hinted(struct numapool_pool *pool)
{
    if (__builtin_expect(!np_pool_has_grown(pool), 1))
        return false;
    int64_t now_ns = np_monotonic_ns();
    /* relaxed, all of these: threads that ask at the same time ask once more than they need */
    if (now_ns < atomic_load_explicit(&pool->learn_again_ns, memory_order_relaxed))
        return false;
    unsigned before = np_pool_arena_count(pool);
    uint64_t hint = np_pool_growth_hint(pool);
    int learned = np_pool_learn(pool);
    bool came = np_pool_arena_count(pool) > before;
    if (learned == 0 && !came)
        atomic_store_explicit(&pool->denied_hint, hint, memory_order_relaxed); /* it lies */
    int64_t pause_ns = atomic_load_explicit(&pool->learn_pause_ns, memory_order_relaxed) * 2;
    if (came || pause_ns < NP_LEARN_PAUSE_NS)
        pause_ns = NP_LEARN_PAUSE_NS;
    if (pause_ns > NP_LEARN_PAUSE_MAX_NS)
        pause_ns = NP_LEARN_PAUSE_MAX_NS;
    atomic_store_explicit(&pool->learn_pause_ns, came ? 0 : pause_ns, memory_order_relaxed);
    atomic_store_explicit(&pool->learn_again_ns, came ? 0 : np_deadline_ns(pause_ns), memory_order_relaxed);
    return came;
}

void np_pool_note_level(struct numapool_pool *pool, struct np_pool_arena *pa)
{
    uint64_t enough = atomic_load_explicit(&pa->home->enough_slots, memory_order_relaxed); /* relaxed: a hint */
    bool low = np_pool_is_low(pa);
    if (__builtin_expect(!low && np_arena_free_hint(&pa->arena) >= enough, 1))
        return;
    if (!low)
        np_pool_learn_hinted(pool); /* before it is called low for what is not known here */
    if (low || !np_pool_has_grown(pool))
        np_notice_level(&pool->arenas[0].arena, np_pool_arena_count(pool), sizeof pool->arenas[0], pa->arena.node);
}

/* Under pool.lock. of_threads: magazines that other threads have by numapool_thread_magazine. */
static int refuse_to_stop(const struct numapool_pool *pool, unsigned of_threads)
{
    if (of_threads > 0)
        return np_error(-EBUSY, "pool '%s' is in use by %u magazines, %u senders and %u receivers of this process; %u of the magazines are "
                        "other threads' own: end those threads, or let each call numapool_thread_magazine_close", pool->name,
                        pool->magazine_count, pool->sender_count, pool->receiver_count, of_threads);
    return np_error(-EBUSY, "pool '%s' is in use by %u magazines, %u senders and %u receivers of this process: close them first", pool->name,
                    pool->magazine_count, pool->sender_count, pool->receiver_count);
}

int np_pool_stop(struct numapool_pool *pool)
{
    struct np_magazine *own = np_thread_magazine_of(pool);
    pthread_mutex_lock(&pool->lock);
    /* The calling thread's own is closed with the pool, but not before it is known that the pool is: else a thread that
     * goes on would have lost it. */
    if (pool->magazine_count - (own != NULL) + pool->sender_count + pool->receiver_count > 0) {
        int result = refuse_to_stop(pool, pool->thread_magazine_count - (own != NULL));
        pthread_mutex_unlock(&pool->lock);
        return result;
    }
    if (pool->waitset) {
        pthread_mutex_unlock(&pool->lock);
        return np_error(-EBUSY, "pool '%s' is in a wait-set, for its events: remove it there first", pool->name);
    }
    pool->live = 0;
    pthread_mutex_unlock(&pool->lock);
    if (own)
        numapool_magazine_close(&own->fast);
    if (pool->checks)
        np_guard_tell_left(pool);
    for (unsigned i = 0; i < np_pool_arena_count(pool); i++) {
        struct np_pool_arena *pa = &pool->arenas[i];
        np_arena_give(&pa->arena, pa->depot.slots, pa->depot.count);
        pthread_mutex_destroy(&pa->depot.lock);
        free(pa->depot.slots);
        pa->depot.slots = NULL;
        np_guard_end(pa);
    }
    pthread_mutex_destroy(&pool->lock);
    return 0;
}

struct np_pool_arena *np_pool_locate(const struct numapool_pool *pool, const void *slot, uint64_t *index)
{
    for (unsigned i = 0; i < np_pool_arena_count(pool); i++) {
        int64_t found = np_arena_index_of(&pool->arenas[i].arena, slot);
        if (found >= 0) {
            *index = (uint64_t)found;
            return &pool->arenas[i];
        }
    }
    return NULL;
}

/* ---------------------------------------------------------------- process depot */

void np_depot_lock(struct np_depot *depot)
{
    unsigned pauses = __libc_single_threaded ? NP_DEPOT_PAUSES : 0; /* then the C library's lock needs nothing atomic */
    /* relaxed: a hint, so that who waits does not take the line away from who works */
    while (pauses < NP_DEPOT_PAUSES &&
           (atomic_load_explicit(&depot->busy, memory_order_relaxed) || pthread_mutex_trylock(&depot->lock) != 0)) {
        np_pause();
        pauses++;
    }
    if (pauses == NP_DEPOT_PAUSES)
        pthread_mutex_lock(&depot->lock);
    atomic_store_explicit(&depot->busy, true, memory_order_relaxed);
}

void np_depot_unlock(struct np_depot *depot)
{
    atomic_store_explicit(&depot->busy, false, memory_order_relaxed);
    pthread_mutex_unlock(&depot->lock);
}

void np_depot_put(struct numapool_pool *pool, unsigned arena, void *const *slots, unsigned n)
{
    struct np_pool_arena *pa = &pool->arenas[arena];
    struct np_depot *depot = &pa->depot;
    unsigned cached = 0;
    const bool low = np_pool_is_low(pa);
    if (depot->capacity > 0) {
        np_depot_lock(depot);
        /* Under the lock, so that a thread of this process that has raised its flag and found the depot empty is seen (its
         * look at the depot was under the lock too). relaxed: ordered by the lock; other processes' sleepers are A4's. */
        if (low) {
            np_arena_give(&pa->arena, depot->slots, depot->count); /* what is cached here may be what others lack */
            depot->count = 0;
        } else if (np_load64(&pa->arena.header->sleepers_summary, memory_order_relaxed) == 0) {
            uint32_t room = depot->capacity - depot->count;
            cached = n < room ? n : room;
            /* Another thread has read them last: all are fetched at once, where the copy would wait for one after the other. */
            for (unsigned i = 0; i < cached; i += NP_CACHE_LINE / sizeof *slots)
                np_prefetch_write(depot->slots + depot->count + i);
            memcpy(depot->slots + depot->count, slots, cached * sizeof *slots);
            depot->count += cached;
        }
        np_depot_unlock(depot);
    }
    if (cached < n) {
        np_arena_give(&pa->arena, slots + cached, n - cached);
        np_count(&pa->account->flushes, 1);
    }
    if (low || cached < n)
        np_pool_note_level(pool, pa);
}

unsigned np_depot_take(struct np_depot *depot, void **slots, unsigned n)
{
    if (depot->capacity == 0) /* nothing ever comes into it */
        return 0;
    np_depot_lock(depot);
    unsigned got = n < depot->count ? n : depot->count;
    depot->count -= got;
    memcpy(slots, depot->slots + depot->count, got * sizeof *slots);
    np_depot_unlock(depot);
    return got;
}

static unsigned take_out_of_arena(struct numapool_pool *pool, struct np_pool_arena *pa, void **slots, unsigned n)
{
    unsigned got = np_arena_take(&pa->arena, slots, n);
    if (got > 0)
        np_count(&pa->account->refills, 1);
    np_pool_note_level(pool, pa);
    return got;
}

unsigned np_depot_get(struct numapool_pool *pool, unsigned arena, void **slots, unsigned n)
{
    struct np_pool_arena *pa = &pool->arenas[arena];
    unsigned got = np_depot_take(&pa->depot, slots, n);
    return got > 0 ? got : take_out_of_arena(pool, pa, slots, n);
}

unsigned np_pool_refill(struct numapool_pool *pool, unsigned arena, void **slots, unsigned n)
{
    return take_out_of_arena(pool, &pool->arenas[arena], slots, n < NP_ARENA_REFILL_SLOTS ? n : NP_ARENA_REFILL_SLOTS);
}

/* ---------------------------------------------------------------- sleepers */

_Static_assert(NP_ARENAS_MAX <= 64, "a bit for each arena");

uint64_t np_pool_sleep_begin(struct numapool_pool *pool, int node)
{
    uint64_t arenas = 0;
    pthread_mutex_lock(&pool->lock);
    for (unsigned i = 0; i < np_pool_arena_count(pool); i++) {
        struct np_pool_arena *pa = &pool->arenas[i];
        if (node != NUMAPOOL_ANY_NODE && pa->arena.node != node)
            continue;
        arenas |= UINT64_C(1) << i;
        if (pa->sleepers++ == 0)
            np_arena_sleep_begin(&pa->arena, pool->client);
    }
    pthread_mutex_unlock(&pool->lock);
    np_fence(); /* pairs with np_arena_wake's */
    return arenas;
}

void np_pool_sleep_end(struct numapool_pool *pool, uint64_t arenas)
{
    pthread_mutex_lock(&pool->lock);
    for (; arenas != 0; arenas &= arenas - 1) {
        struct np_pool_arena *pa = &pool->arenas[__builtin_ctzll(arenas)];
        if (--pa->sleepers == 0)
            np_arena_sleep_end(&pa->arena, pool->client);
    }
    pthread_mutex_unlock(&pool->lock);
}

/* ---------------------------------------------------------------- public: looking */

int numapool_pool_mode(const struct numapool_pool *pool)
{
    int result = np_pool_check(pool);
    return result < 0 ? result : pool->mode;
}

uint64_t numapool_slot_bytes(const struct numapool_pool *pool)
{
    return np_pool_check(pool) < 0 ? 0 : pool->arenas[0].arena.slot_bytes;
}

static int not_a_slot(const struct numapool_pool *pool, const void *slot)
{
    return np_error(-EINVAL, "%p is not the beginning of a slot of pool '%s'", slot, pool->name);
}

int numapool_slot_node(const struct numapool_pool *pool, const void *slot)
{
    uint64_t index;
    int result = np_pool_check(pool);
    if (result < 0)
        return result;
    struct np_pool_arena *pa = np_pool_locate(pool, slot, &index);
    return pa ? pa->arena.node : not_a_slot(pool, slot);
}

/* Handle: arena 8 bits (one more than its number, so that 0 is no handle), index 32, unused 8, generation 16. */
int numapool_handle_of(const struct numapool_pool *pool, const void *slot, numapool_handle *handle)
{
    uint64_t index;
    int result = np_pool_check_writable(pool, "numapool_handle_of");
    if (result < 0)
        return result;
    struct np_pool_arena *pa = np_pool_locate(pool, slot, &index);
    if (!pa && pool->checks) {
        NP_CALL_ENTER();
        return np_guard_bad_pointer((struct numapool_pool *)(uintptr_t)pool, slot);
    }
    if (!pa)
        return not_a_slot(pool, slot);
    uint64_t word = np_load64(&pa->arena.words[index], memory_order_relaxed); /* relaxed: the caller has the slot, its generation stands */
    handle->bits = (uint64_t)(pa->arena.index + 1) << 56 | index << 24 | np_word_gen(word);
    return 0;
}

int numapool_resolve(const struct numapool_pool *pool, numapool_handle handle, void **slot)
{
    int result = np_pool_check_writable(pool, "numapool_resolve");
    if (result < 0)
        return result;
    uint64_t arena = (handle.bits >> 56) - 1, index = handle.bits >> 24 & UINT32_MAX;
    if (arena < NP_ARENAS_MAX && arena >= np_pool_arena_count(pool) && index < NP_SLOTS_MAX)
        np_pool_learn((struct numapool_pool *)(uintptr_t)pool); /* of slots that another process had before this one */
    if (arena >= np_pool_arena_count(pool) || index >= pool->arenas[arena].arena.slots)
        return np_error(-EINVAL, "handle %016llx was never one of pool '%s'", (unsigned long long)handle.bits, pool->name);
    const struct np_arena *a = &pool->arenas[arena].arena;
    uint64_t word = np_load64(&a->words[index], memory_order_acquire); /* pairs with the FREE store that made it stale */
    if (np_word_gen(word) != (handle.bits & NP_WORD_GEN_MASK) || np_word_state(word) == NP_WORD_FREE) {
        if (pool->checks) {
            NP_CALL_ENTER();
            np_guard_stale((struct numapool_pool *)(uintptr_t)pool, &pool->arenas[arena], index, handle.bits & NP_WORD_GEN_MASK);
        }
        return np_error(-ESTALE, "handle %016llx of pool '%s': its slot %llu of node %d has been freed since",
                        (unsigned long long)handle.bits, pool->name, (unsigned long long)index, a->node);
    }
    if (pool->checks)
        np_guard_looked_at(&pool->arenas[arena], index);
    *slot = np_arena_slot(a, index);
    return 0;
}

/* ---------------------------------------------------------------- public: closing */

/* The last closer takes `opens` from 1 to 0 first, so that nobody who opens the pool again at that moment gets one that is
 * going away; who finds 0 waits until it is gone (or, when it was in use, 1 again). */
int numapool_close(struct numapool_pool *pool)
{
    int result = np_pool_check(pool);
    if (result < 0)
        return result;
    unsigned opens = atomic_load_explicit(&pool->opens, memory_order_relaxed); /* relaxed: the exchange decides */
    do {
        if (opens == 0)
            return np_error(-EINVAL, "pool '%s' is being closed by another thread", pool->name);
        /* acq_rel: what other closers did with the pool is over before the last one takes it apart */
    } while (!atomic_compare_exchange_weak_explicit(&pool->opens, &opens, opens - 1, memory_order_acq_rel, memory_order_relaxed));
    if (opens > 1)
        return 0;
    result = np_pool_stop(pool);
    if (result < 0) {
        atomic_store_explicit(&pool->opens, 1, memory_order_release); /* pairs with the exchange of the next closer or opener */
        return result;
    }
    int cancel = np_cancel_defer();
    pool->destroy(pool);
    np_cancel_restore(cancel);
    return 0;
}
