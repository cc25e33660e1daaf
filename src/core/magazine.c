/* SPDX-License-Identifier: MIT
 *
 * Magazines: the slow half of get and put. The fast half is inline in numapool.h.
 *
 * A magazine lies in a page that a forked child finds zeroed: top, bottom and limit alike send its inline calls here, where `live` is 0.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/error.h"
#include "core/pool.h"
#include "core/wipe.h"

static const char closed_sentence[] =
    "this magazine is closed, or belongs to the parent of this forked process: open one here";
static const char empty_sentence[] = "the pool is empty: every slot is in use, in flight or cached by another process";

static struct np_magazine *live_magazine(struct numapool_magazine *fast)
{
    struct np_magazine *magazine = (struct np_magazine *)fast;
    if (__builtin_expect(magazine != NULL && magazine->live == NP_MAGAZINE_LIVE, 1))
        return magazine;
    np_error_static(-EINVAL, closed_sentence);
    return NULL;
}

static bool is_exact(const struct np_magazine *magazine)
{
    return (magazine->pool->flags & NUMAPOOL_EXACT_COUNTS) != 0;
}

/* The top that is really used, in the magazine of a counting pool as in any other. */
static void ***top_of(struct np_magazine *magazine)
{
    return is_exact(magazine) ? &magazine->top : &magazine->fast.top;
}

static uint32_t count_of(struct np_magazine *magazine)
{
    return (uint32_t)(*top_of(magazine) - magazine->slots);
}

static void tally(_Atomic uint64_t *counter, uint64_t n)
{
    /* relaxed, and no read-modify-write: only the magazine's owner writes it */
    atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + n, memory_order_relaxed);
}

static void publish_tallies(struct np_magazine *magazine)
{
    struct np_account_row *account = magazine->pool->arenas[magazine->arena].account;
    uint64_t gets = atomic_load_explicit(&magazine->gets, memory_order_relaxed);
    uint64_t puts = atomic_load_explicit(&magazine->puts, memory_order_relaxed);
    if ((gets | puts) == 0)
        return;
    np_count(&account->gets, gets);
    np_count(&account->puts, puts);
    atomic_store_explicit(&magazine->gets, 0, memory_order_relaxed);
    atomic_store_explicit(&magazine->puts, 0, memory_order_relaxed);
}

/* ---------------------------------------------------------------- opening and closing */

/* An own node without slots is any node. */
static int arena_for_node(const struct numapool_pool *pool, int node, unsigned *arena)
{
    bool own = node == NUMAPOOL_OWN_NODE;
    *arena = 0;
    if (node == NUMAPOOL_ANY_NODE)
        return 0;
    if (own)
        node = pool->own_node();
    for (unsigned i = 0; i < np_pool_arena_count(pool); i++)
        if (pool->arenas[i].arena.node == node) {
            *arena = i;
            return 0;
        }
    if (own)
        return 0;
    return np_error(-EINVAL, "pool '%s' has no slots on node %d: use NUMAPOOL_ANY_NODE, or give it some there", pool->name, node);
}

/* As much capacity as the pool's size and this process's allowance permit; maybe none. */
static uint32_t granted_capacity(const struct numapool_pool *pool, unsigned arena, unsigned wanted)
{
    uint64_t capacity = wanted ? wanted : pool->magazine_slots;
    uint64_t share = pool->arenas[arena].arena.slots / 32;
    uint64_t half = pool->cache_slots_max / 2;
    uint64_t left = half > pool->magazine_slots_used ? half - pool->magazine_slots_used : 0;
    if (capacity > NP_MAGAZINE_SLOTS_MAX)
        capacity = NP_MAGAZINE_SLOTS_MAX;
    if (capacity > share)
        capacity = share;
    return (uint32_t)(capacity > left ? left : capacity);
}

int numapool_magazine_open_abi(struct numapool_pool *pool, int node, unsigned capacity, struct numapool_magazine **result_magazine,
                               unsigned abi)
{
    unsigned arena = 0;
    int result = np_pool_check(pool);
    if (result < 0)
        return result;
    if (abi != NUMAPOOL_ABI)
        return np_error(-EPROTO, "this program was compiled for magazine layout %u, the library has %u: compile it again", abi,
                        NUMAPOOL_ABI);
    result = arena_for_node(pool, node, &arena);
    if (result < 0)
        return result;

    struct np_magazine *magazine = np_wipe_alloc(sizeof *magazine);
    if (!magazine)
        return -ENOMEM;
    pthread_mutex_lock(&pool->lock);
    uint32_t granted = granted_capacity(pool, arena, capacity);
    magazine->slots = aligned_alloc(NP_CACHE_LINE, np_arena_stride((granted + 1) * sizeof *magazine->slots));
    if (np_pool_arena_count(pool) > 1) {
        magazine->outbound = calloc((size_t)np_pool_arena_count(pool) * NP_OUTBOUND_SLOTS, sizeof *magazine->outbound);
        magazine->outbound_count = calloc(np_pool_arena_count(pool), sizeof *magazine->outbound_count);
    }
    if (!magazine->slots || (np_pool_arena_count(pool) > 1 && (!magazine->outbound || !magazine->outbound_count))) {
        pthread_mutex_unlock(&pool->lock);
        free(magazine->slots);
        free(magazine->outbound);
        free(magazine->outbound_count);
        np_wipe_free(magazine, sizeof *magazine);
        return np_error(-ENOMEM, "no memory for a magazine of %u slots", granted);
    }
    magazine->pool = pool;
    magazine->arena = arena;
    magazine->capacity = granted;
    magazine->outbound_max = granted / 8 < NP_OUTBOUND_SLOTS ? granted / 8 : NP_OUTBOUND_SLOTS;
    if (magazine->outbound_max == 0)
        magazine->outbound_max = 1;
    magazine->cache_slots = granted + (np_pool_arena_count(pool) - 1) * (uint64_t)(magazine->outbound_max - 1);
    *top_of(magazine) = magazine->slots;
    magazine->fast.base = (uintptr_t)pool->arenas[arena].arena.data;
    magazine->fast.span = pool->arenas[arena].arena.data_bytes;
    if (!(pool->flags & NUMAPOOL_EXACT_COUNTS))
        magazine->fast.bottom = magazine->slots, magazine->fast.limit = magazine->slots + granted;
    magazine->live = NP_MAGAZINE_LIVE;
    magazine->next = pool->magazines;
    pool->magazines = magazine;
    pool->magazine_count++;
    pool->magazine_slots_used += magazine->cache_slots;
    pthread_mutex_unlock(&pool->lock);
    *result_magazine = &magazine->fast;
    return 0;
}

static void send_home(struct np_magazine *magazine, unsigned arena)
{
    uint32_t n = magazine->outbound_count[arena];
    if (n == 0)
        return;
    np_depot_put(magazine->pool, arena, magazine->outbound + (size_t)arena * NP_OUTBOUND_SLOTS, n);
    np_count(&magazine->pool->arenas[arena].account->home_returns, n);
    magazine->outbound_count[arena] = 0;
}

static void empty_into_depots(struct np_magazine *magazine)
{
    np_depot_put(magazine->pool, magazine->arena, magazine->slots, count_of(magazine));
    *top_of(magazine) = magazine->slots;
    if (magazine->outbound)
        for (unsigned i = 0; i < np_pool_arena_count(magazine->pool); i++)
            send_home(magazine, i);
    publish_tallies(magazine);
}

int numapool_magazine_close(struct numapool_magazine *fast)
{
    struct np_magazine *magazine = live_magazine(fast);
    if (!magazine)
        return -EINVAL;
    if (magazine->reclaimers)
        return np_error_static(-EBUSY, "a sender gives its slots back into this magazine: close the sender first");
    struct numapool_pool *pool = magazine->pool;
    empty_into_depots(magazine);
    pthread_mutex_lock(&pool->lock);
    struct np_magazine **link = &pool->magazines;
    while (*link != magazine)
        link = &(*link)->next;
    *link = magazine->next;
    pool->magazine_count--;
    pool->magazine_slots_used -= magazine->cache_slots;
    pthread_mutex_unlock(&pool->lock);
    free(magazine->slots);
    free(magazine->outbound);
    free(magazine->outbound_count);
    np_wipe_free(magazine, sizeof *magazine);
    return 0;
}

/* ---------------------------------------------------------------- get */

static void take_back(struct np_magazine *magazine)
{
    for (struct np_reclaimer *reclaimer = magazine->reclaimers; reclaimer; reclaimer = reclaimer->next)
        reclaimer->take_back(reclaimer);
}

/* How many to move at once: half a magazine, but few when the arena has few left, so that nobody hoards the last ones. */
static unsigned refill_slots(const struct np_magazine *magazine)
{
    uint64_t n = magazine->capacity / 2, few = np_arena_free_hint(&magazine->pool->arenas[magazine->arena].arena) / 8;
    n = n < few ? n : few;
    return n ? (unsigned)n : 1;
}

/* One slot for a caller whose stack is empty; the stack may be refilled by the way. */
static void *refill(struct np_magazine *magazine)
{
    struct numapool_pool *pool = magazine->pool;
    void ***top = top_of(magazine);
    void *slot;
    if (magazine->capacity == 0) {
        if (np_depot_get(pool, magazine->arena, &slot, 1) == 1)
            return slot;
    } else {
        uint32_t got = np_depot_get(pool, magazine->arena, magazine->slots, refill_slots(magazine));
        if (got > 0) {
            *top = magazine->slots + got - 1;
            return **top;
        }
    }
    /* The stack is looked at whatever they count: a lane that is left by the way, and in a pool that counts exactly all that comes
     * back, goes there at once. */
    take_back(magazine);
    if (*top > magazine->slots)
        return *--*top;
    for (unsigned step = 0; step < np_pool_arena_count(pool); step++) { /* with capacity 0 what was taken back is in the depot */
        unsigned arena = (magazine->arena + step) % np_pool_arena_count(pool);
        if (magazine->outbound)
            send_home(magazine, arena);
        if (np_depot_get(pool, arena, &slot, 1) == 1) {
            if (step > 0)
                np_count(&pool->arenas[arena].account->spilled, 1);
            return slot;
        }
    }
    np_count(&pool->arenas[magazine->arena].account->failures, 1);
    np_error_static(-EAGAIN, empty_sentence);
    return NULL;
}

void *numapool_get_slow(struct numapool_magazine *fast)
{
    struct np_magazine *magazine = live_magazine(fast);
    if (!magazine)
        return NULL;
    void ***top = top_of(magazine);
    void *slot = *top > magazine->slots ? *--*top : refill(magazine);
    if (is_exact(magazine) && slot)
        tally(&magazine->gets, 1);
    return slot;
}

void *numapool_get_call(struct numapool_magazine *magazine)
{
    return numapool_get(magazine);
}

static int wait_for_slot(struct np_magazine *magazine, void **slot, int64_t timeout_ns)
{
    struct numapool_pool *pool = magazine->pool;
    struct np_sleep sleep;
    int64_t deadline_ns = np_deadline_ns(timeout_ns);
    int result = 0;
    while (!*slot && result == 0) {
        np_sleep_reset(&sleep);
        np_sleep_on(&sleep, &pool->bells[pool->client].ring);
        np_pool_sleep_begin(pool);
        if (!NP_MUTANT(GET_WAIT_POOL_ONLY))
            for (struct np_reclaimer *r = magazine->reclaimers; r; r = r->next)
                r->sleep_begin(r, pool->client, &sleep);
        bool reached = np_bell_heavy_barrier();
        if (!NP_MUTANT(SLEEP_NO_SECOND_LOOK))
            *slot = numapool_get(&magazine->fast);
        if (!*slot) {
            np_sleep_until(&sleep, reached ? deadline_ns : np_sooner_ns(deadline_ns, NP_BELL_BOUNDED_NS));
            result = np_monotonic_ns() < deadline_ns ? 0 : -ETIMEDOUT; /* the clock decides: a bell that others ring too may never be silent */
        }
        if (!NP_MUTANT(GET_WAIT_POOL_ONLY))
            for (struct np_reclaimer *r = magazine->reclaimers; r; r = r->next)
                r->sleep_end(r);
        np_pool_sleep_end(pool);
        if (!*slot)
            *slot = numapool_get(&magazine->fast);
    }
    return *slot ? 0 : np_error_static(-ETIMEDOUT, "no slot came free in time: the pool stayed empty");
}

int numapool_get_wait(struct numapool_magazine *fast, void **slot, int64_t timeout_ns)
{
    struct np_magazine *magazine = live_magazine(fast);
    if (!magazine)
        return -EINVAL;
    if (timeout_ns < 0)
        return np_error_static(-EINVAL, "timeout_ns is negative: 0 means at once, NUMAPOOL_FOREVER for ever");
    *slot = numapool_get(fast);
    if (*slot || timeout_ns == 0)
        return *slot ? 0 : -EAGAIN;
    return wait_for_slot(magazine, slot, timeout_ns);
}

int numapool_get_bulk(struct numapool_magazine *fast, void **slots, unsigned n)
{
    struct np_magazine *magazine = live_magazine(fast);
    if (!magazine)
        return -EINVAL;
    if (n == 0 || n > 1u << 20)
        return np_error(-EINVAL, "get_bulk of %u slots: 1 to 1048576 can be had at once", n);
    void ***top = top_of(magazine);
    unsigned got = 0;
    for (bool more = true; got < n && more;) {
        unsigned count = count_of(magazine);
        unsigned came = n - got < count ? n - got : count; /* the stack, then the levels below, then whatever can be found */
        *top -= came;
        memcpy(slots + got, *top, came * sizeof *slots);
        if (came == 0)
            came = np_depot_get(magazine->pool, magazine->arena, slots + got, n - got);
        if (came == 0 && (slots[got] = refill(magazine)) != NULL)
            came = 1;
        got += came;
        more = came > 0;
    }
    if (got == n) {
        if (is_exact(magazine))
            tally(&magazine->gets, n);
        return 0;
    }
    for (unsigned i = 0; i < got; i++)
        np_magazine_return(magazine, slots[i]);
    return np_error(-EAGAIN, "pool '%s' has not %u slots left", magazine->pool->name, n);
}

/* ---------------------------------------------------------------- put */

/* Makes room on a full stack: the older half goes to the depot, the younger, warmer one stays. */
static void spill_half(struct np_magazine *magazine)
{
    uint32_t count = count_of(magazine), half = (count + 1) / 2;
    np_depot_put(magazine->pool, magazine->arena, magazine->slots, half);
    *top_of(magazine) -= half;
    memmove(magazine->slots, magazine->slots + half, (count - half) * sizeof *magazine->slots);
    publish_tallies(magazine);
}

int np_magazine_return(struct np_magazine *magazine, void *slot)
{
    if ((uintptr_t)slot - magazine->fast.base < magazine->fast.span) {
        if (magazine->capacity == 0) {
            np_depot_put(magazine->pool, magazine->arena, &slot, 1);
            return 0;
        }
        if (count_of(magazine) >= magazine->capacity)
            spill_half(magazine);
        *(*top_of(magazine))++ = slot;
        return 0;
    }
    uint64_t index;
    struct np_pool_arena *pa = np_pool_locate(magazine->pool, slot, &index);
    if (!pa)
        return np_error(-EINVAL, "%p is not the beginning of a slot of pool '%s': it was not put", slot, magazine->pool->name);
    unsigned arena = pa->arena.index;
    magazine->outbound[(size_t)arena * NP_OUTBOUND_SLOTS + magazine->outbound_count[arena]++] = slot;
    if (magazine->outbound_count[arena] >= magazine->outbound_max)
        send_home(magazine, arena);
    return 0;
}

int numapool_put_slow(struct numapool_magazine *fast, void *slot)
{
    struct np_magazine *magazine = live_magazine(fast);
    if (!magazine)
        return -EINVAL;
    int result = np_magazine_return(magazine, slot);
    if (result == 0 && is_exact(magazine))
        tally(&magazine->puts, 1);
    return result;
}

int numapool_put_call(struct numapool_magazine *magazine, void *slot)
{
    return numapool_put(magazine, slot);
}

/* Whether all of them are of this magazine's arena, by one comparison: no offset is larger than all of them or-ed together.
 * Where that says no they may be all the same. */
static bool all_surely_here(const struct np_magazine *magazine, void *const *slots, unsigned n)
{
    const uintptr_t base = magazine->fast.base;
    uintptr_t first = 0, second = 0, third = 0, fourth = 0; /* four chains: one would wait for itself */
    unsigned i = 0;
    for (; n - i >= 4; i += 4) {
        first |= (uintptr_t)slots[i] - base;
        second |= (uintptr_t)slots[i + 1] - base;
        third |= (uintptr_t)slots[i + 2] - base;
        fourth |= (uintptr_t)slots[i + 3] - base;
    }
    for (; i < n; i++)
        first |= (uintptr_t)slots[i] - base;
    return (first | second | third | fourth) < magazine->fast.span;
}

int numapool_put_bulk(struct numapool_magazine *fast, void *const *slots, unsigned n)
{
    struct np_magazine *magazine = live_magazine(fast);
    int result = 0;
    unsigned done = 0;
    if (!magazine)
        return -EINVAL;
    void ***top = top_of(magazine);
    if (n <= magazine->capacity - count_of(magazine) && all_surely_here(magazine, slots, n)) {
        memcpy(*top, slots, n * sizeof *slots);
        *top += n;
        done = n;
    }
    for (unsigned i = done; i < n; i++) {
        int one = np_magazine_return(magazine, slots[i]);
        result = one < 0 ? one : result;
        done += one == 0;
    }
    if (is_exact(magazine))
        tally(&magazine->puts, done);
    return result;
}

int numapool_flush(struct numapool_magazine *fast)
{
    struct np_magazine *magazine = live_magazine(fast);
    if (!magazine)
        return -EINVAL;
    take_back(magazine);
    empty_into_depots(magazine);
    for (unsigned i = 0; i < np_pool_arena_count(magazine->pool); i++) {
        struct np_pool_arena *pa = &magazine->pool->arenas[i];
        pthread_mutex_lock(&pa->depot.lock);
        np_arena_give(&pa->arena, pa->depot.slots, pa->depot.count);
        pa->depot.count = 0;
        pthread_mutex_unlock(&pa->depot.lock);
    }
    np_count(&magazine->pool->arenas[magazine->arena].account->flushes, 1);
    return 0;
}
