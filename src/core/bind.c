/* SPDX-License-Identifier: MIT
 * Which arena a magazine takes from, how much it may hold, and the way home of what is another's. Slow paths of the magazine's owner. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/error.h"
#include "core/magazine.h"

/* ---------------------------------------------------------------- choosing */

/* The arena of that node with most free slots; false: the node has none. */
static bool fullest(const struct numapool_pool *pool, int node, unsigned *arena, uint64_t *free_slots)
{
    bool found = false;
    for (unsigned i = 0; i < np_pool_arena_count(pool); i++) {
        if (pool->arenas[i].arena.node != node)
            continue;
        uint64_t here = np_arena_free_hint(&pool->arenas[i].arena);
        if (found && here <= *free_slots)
            continue;
        found = true;
        *arena = i;
        *free_slots = here;
    }
    return found;
}

/* Of a memory-only node, while there are others: taken only when it is asked for by its number, or spilled to. */
static bool is_far(const struct numapool_pool *pool, unsigned arena)
{
    /* relaxed: as note_tiers */
    return pool->arenas[arena].tier != 0 && atomic_load_explicit(&pool->has_tiers, memory_order_relaxed);
}

/* The node nearest to that one, of those that have slots and are not far. */
static int nearest(const struct numapool_pool *pool, int node)
{
    unsigned best = 0, least = 0;
    bool found = false;
    for (unsigned i = 0; i < np_pool_arena_count(pool); i++) {
        unsigned distance = np_pool_distance(pool, node, pool->arenas[i].arena.node);
        if (is_far(pool, i) || (found && distance >= least))
            continue;
        found = true;
        best = i;
        least = distance;
    }
    return pool->arenas[best].arena.node;
}

bool np_magazine_choose_own(const struct numapool_pool *pool, int node, unsigned *arena)
{
    uint64_t free_slots;
    if (fullest(pool, node, arena, &free_slots) && !is_far(pool, *arena))
        return true;
    return (pool->flags & NUMAPOOL_STRICT) == 0 && fullest(pool, nearest(pool, node), arena, &free_slots);
}

int np_magazine_choose(const struct numapool_pool *pool, int node, unsigned *arena)
{
    uint64_t free_slots;
    if (node == NUMAPOOL_OWN_NODE) {
        int own = pool->own_node();
        if (np_magazine_choose_own(pool, own, arena))
            return 0;
        return np_error(-EINVAL, "pool '%s' is strict and has no slots on node %d, where this thread runs: bind the thread to a node that "
                        "has some, or give the pool some there (numapoolctl pool grow)", pool->name, own);
    }
    unsigned first = 0;
    while (is_far(pool, first))
        first++;
    if (fullest(pool, node == NUMAPOOL_ANY_NODE ? pool->arenas[first].arena.node : node, arena, &free_slots))
        return 0;
    return np_error(-EINVAL, "pool '%s' has no slots on node %d: use NUMAPOOL_ANY_NODE, or give it some there", pool->name, node);
}

/* Under pool.lock. */
static uint32_t granted_capacity(const struct numapool_pool *pool, unsigned arena, unsigned wanted)
{
    const bool told = wanted || pool->magazine_slots;
    uint64_t capacity = wanted ? wanted : told ? pool->magazine_slots : NP_MAGAZINE_SLOTS_DEFAULT;
    uint64_t share = pool->arenas[arena].arena.slots / 32;
    uint64_t half = pool->cache_slots_max / 2;
    uint64_t left = half > pool->magazine_slots_used ? half - pool->magazine_slots_used : 0;
    if (!told && capacity > left / NP_MAGAZINE_DEFAULT_SHARE) {
        capacity = left / NP_MAGAZINE_DEFAULT_SHARE;
        capacity = capacity < NP_MAGAZINE_SLOTS_LEAST ? NP_MAGAZINE_SLOTS_LEAST : capacity;
    }
    if (capacity > NP_MAGAZINE_SLOTS_MAX)
        capacity = NP_MAGAZINE_SLOTS_MAX;
    if (capacity > share)
        capacity = share;
    return (uint32_t)(capacity > left ? left : capacity);
}

static void set_capacity(struct np_magazine *magazine, uint32_t capacity)
{
    magazine->capacity = capacity;
    if (np_magazine_is_exact(magazine))
        return;
    magazine->fast.bottom = magazine->slots;
    magazine->fast.limit = magazine->slots + capacity;
}

/* ---------------------------------------------------------------- binding */

/* How many slots of other arenas may wait here for their way home. */
static uint64_t outbound_allowance(const struct np_magazine *magazine, unsigned arenas)
{
    return (arenas - 1) * (uint64_t)(magazine->outbound_max - 1);
}

/* Room for `granted` slots; what there is room for. 0 with no array at all: no memory. */
static uint32_t make_room(struct np_magazine *magazine, uint32_t granted)
{
    if (magazine->slots && granted <= magazine->room)
        return granted;
    void **slots = aligned_alloc(NP_CACHE_LINE, np_arena_stride((granted + (size_t)1) * sizeof *slots));
    if (!slots)
        return magazine->room;
    free(magazine->slots);
    magazine->slots = slots;
    magazine->room = granted;
    return granted;
}

int np_magazine_bind(struct np_magazine *magazine, unsigned arena)
{
    struct numapool_pool *pool = magazine->pool;
    pthread_mutex_lock(&pool->lock); /* the allowance; and who reads statistics looks at `arena` under it */
    pool->magazine_slots_used -= magazine->cache_slots;
    uint32_t granted = make_room(magazine, granted_capacity(pool, arena, magazine->wanted));
    if (magazine->slots) {
        magazine->granted = granted;
        magazine->outbound_max = granted / 8 < NP_OUTBOUND_SLOTS ? granted / 8 : NP_OUTBOUND_SLOTS;
        if (magazine->outbound_max == 0)
            magazine->outbound_max = 1;
        magazine->counted_arenas = np_pool_arena_count(pool);
        magazine->cache_slots = granted + outbound_allowance(magazine, magazine->counted_arenas);
        magazine->arena = arena;
        magazine->order_arenas = 0;
    }
    pool->magazine_slots_used += magazine->cache_slots;
    pthread_mutex_unlock(&pool->lock);
    if (!magazine->slots)
        return np_error(-ENOMEM, "no memory for a magazine of %u slots", magazine->wanted);
    *np_magazine_top(magazine) = magazine->slots;
    magazine->fast.base = (uintptr_t)pool->arenas[arena].arena.data;
    magazine->fast.span = pool->arenas[arena].arena.data_bytes;
    set_capacity(magazine, granted);
    for (unsigned i = 0; i < magazine->outbound_arenas; i++)
        if (magazine->outbound_count[i] >= magazine->outbound_max) /* less is counted for it now than waits there */
            np_magazine_send_home(magazine, i);
    return 0;
}

bool np_magazine_move(struct np_magazine *magazine)
{
    struct numapool_pool *pool = magazine->pool;
    unsigned arena;
    uint64_t free_slots;
    if (!fullest(pool, pool->arenas[magazine->arena].arena.node, &arena, &free_slots) || arena == magazine->arena || free_slots == 0)
        return false;
    np_magazine_send_home(magazine, arena); /* the ones that waited for the way there are at home here now */
    np_magazine_publish_tallies(magazine);
    return np_magazine_bind(magazine, arena) == 0;
}

void np_magazine_unbind(struct np_magazine *magazine)
{
    pthread_mutex_lock(&magazine->pool->lock);
    magazine->pool->magazine_slots_used -= magazine->cache_slots;
    magazine->cache_slots = 0;
    pthread_mutex_unlock(&magazine->pool->lock);
}

/* ---------------------------------------------------------------- holding less */

void np_magazine_spill(struct np_magazine *magazine, uint32_t keep)
{
    uint32_t count = np_magazine_count(magazine);
    if (count <= keep)
        return;
    np_depot_put(magazine->pool, magazine->arena, magazine->slots, count - keep);
    *np_magazine_top(magazine) -= count - keep;
    memmove(magazine->slots, magazine->slots + (count - keep), keep * sizeof *magazine->slots);
}

void np_magazine_adapt(struct np_magazine *magazine)
{
    bool low = np_pool_is_low(&magazine->pool->arenas[magazine->arena]);
    uint32_t capacity = magazine->stranded ? 0 : low ? magazine->granted / NP_LOW_SHARE : magazine->granted;
    if (__builtin_expect(capacity == magazine->capacity, 1))
        return;
    np_magazine_spill(magazine, capacity / 2); /* the capacity is nowhere below what is held */
    set_capacity(magazine, capacity);
}

/* ---------------------------------------------------------------- the way home */

/* Room for the arenas that there are now; false: no memory. */
static bool grow_outbound(struct np_magazine *magazine)
{
    struct numapool_pool *pool = magazine->pool;
    unsigned arenas = np_pool_arena_count(pool), had = magazine->outbound_arenas;
    void **outbound = realloc(magazine->outbound, (size_t)arenas * NP_OUTBOUND_SLOTS * sizeof *outbound);
    if (!outbound)
        return false;
    magazine->outbound = outbound;
    uint32_t *counts = realloc(magazine->outbound_count, arenas * sizeof *counts);
    if (!counts)
        return false;
    memset(counts + had, 0, (arenas - had) * sizeof *counts);
    magazine->outbound_count = counts;
    magazine->outbound_arenas = arenas;
    uint64_t more = outbound_allowance(magazine, arenas) - outbound_allowance(magazine, magazine->counted_arenas);
    magazine->counted_arenas = arenas;
    pthread_mutex_lock(&pool->lock);
    magazine->cache_slots += more;
    pool->magazine_slots_used += more;
    pthread_mutex_unlock(&pool->lock);
    return true;
}

void np_magazine_send_home(struct np_magazine *magazine, unsigned arena)
{
    uint32_t n = arena < magazine->outbound_arenas ? magazine->outbound_count[arena] : 0;
    if (n == 0)
        return;
    np_depot_put(magazine->pool, arena, magazine->outbound + (size_t)arena * NP_OUTBOUND_SLOTS, n);
    np_count(&magazine->pool->arenas[arena].account->home_returns, n);
    magazine->outbound_count[arena] = 0;
}

void np_magazine_put_outbound(struct np_magazine *magazine, unsigned arena, void *slot)
{
    if (arena >= magazine->outbound_arenas && !grow_outbound(magazine)) {
        np_depot_put(magazine->pool, arena, &slot, 1); /* at once, then */
        np_count(&magazine->pool->arenas[arena].account->home_returns, 1);
        return;
    }
    magazine->outbound[(size_t)arena * NP_OUTBOUND_SLOTS + magazine->outbound_count[arena]++] = slot;
    if (magazine->outbound_count[arena] >= magazine->outbound_max || np_pool_is_low(&magazine->pool->arenas[arena])) {
        np_magazine_send_home(magazine, arena);
        np_magazine_look(magazine); /* so many of another node: perhaps its thread is there */
    }
}
