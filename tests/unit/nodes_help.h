/* SPDX-License-Identifier: MIT
 * Pools of several arenas that this process takes for nodes, with distances of the test's own; and threads that say themselves where they
 * run. Memory is on node 0 whatever they say. */
#ifndef NP_TEST_NODES_HELP_H
#define NP_TEST_NODES_HELP_H

#include "pool_help.h"

enum { NODES_MAX = 8 };

static _Thread_local int nodes_here; /* where the calling thread says that it runs */
static unsigned nodes_distances[NODES_MAX][NODES_MAX];
static _Atomic unsigned nodes_asked; /* how often somebody was asked where he runs */

static int nodes_own(void)
{
    atomic_fetch_add_explicit(&nodes_asked, 1, memory_order_relaxed); /* relaxed: only counted */
    return nodes_here;
}

static unsigned nodes_distance(int from, int to)
{
    return nodes_distances[from][to];
}

static inline void nodes_set_distance(int one, int other, unsigned distance)
{
    nodes_distances[one][other] = nodes_distances[other][one] = distance;
}

/* One arena on each of the given nodes; -1 ends them. All nodes are 20 from each other until the test says otherwise. */
static inline struct numapool_pool *make_nodes(const int *nodes, uint64_t slots_each, uint64_t flags)
{
    struct numapool_options options = NUMAPOOL_OPTIONS_INIT;
    struct numapool_pool *pool = NULL;
    uint64_t slots[NP_ARENAS_MAX] = { 0 };
    int memory[NP_ARENAS_MAX] = { 0 };
    unsigned arenas = 0;
    options.name = "pay";
    options.slot_bytes = SLOT_BYTES;
    options.flags = flags;
    while (nodes[arenas] >= 0)
        slots[arenas++] = slots_each;
    options.slots = arenas * slots_each;
    for (unsigned i = 0; i < NODES_MAX; i++)
        for (unsigned j = 0; j < NODES_MAX; j++)
            nodes_distances[i][j] = i == j ? 10 : 20;
    ck_assert_int_eq(np_embedded_create(&pool, &options, slots, memory, arenas), 0);
    for (unsigned i = 0; i < arenas; i++) {
        struct np_pool_arena *pa = &pool->arenas[i];
        pa->arena.node = nodes[i];
        pa->home = pa;
        for (unsigned j = 0; j < i && pa->home == pa; j++)
            if (nodes[j] == nodes[i])
                pa->home = &pool->arenas[j];
        atomic_store_explicit(&pa->enough_slots, np_notice_recovered(pa->arena.low_watermark, pa->arena.slots), memory_order_relaxed);
    }
    pool->own_node = nodes_own;
    pool->distance = nodes_distance;
    nodes_here = nodes[0];
    return pool;
}
#define NODES(...) ((const int[]){ __VA_ARGS__, -1 })

/* The arena's node has no CPU. */
static inline void make_far(struct numapool_pool *pool, unsigned arena)
{
    pool->arenas[arena].tier = 1;
    atomic_store_explicit(&pool->has_tiers, true, memory_order_relaxed);
}

static inline struct numapool_magazine *open_on(struct numapool_pool *pool, int node, unsigned capacity)
{
    struct numapool_magazine *magazine = NULL;
    ck_assert_msg(numapool_magazine_open(pool, node, capacity, &magazine) == 0, "%s", numapool_errormsg());
    return magazine;
}

static inline int node_of(const struct numapool_pool *pool, const void *slot)
{
    return numapool_slot_node(pool, slot);
}

/* The arena that the magazine belongs to. */
static inline unsigned arena_of(const struct numapool_magazine *magazine)
{
    return ((const struct np_magazine *)magazine)->arena;
}

static inline uint64_t nodes_count(const np_shm64 *counter)
{
    return np_load64(counter, memory_order_relaxed); /* relaxed: a statistic */
}
#define COUNT(pool, arena, name) nodes_count(&(pool)->arenas[arena].account->name)
#define SUM(pool, name) nodes_sum((pool), offsetof(struct np_account_row, name))

static inline uint64_t nodes_sum(const struct numapool_pool *pool, size_t offset)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < np_pool_arena_count(pool); i++)
        sum += nodes_count((const np_shm64 *)((const char *)pool->arenas[i].account + offset));
    return sum;
}

/* M1: what a magazine and the depots hold is of their arena. */
static inline void assert_all_at_home(const struct numapool_pool *pool)
{
    for (const struct np_magazine *magazine = pool->magazines; magazine; magazine = magazine->next) {
        void *const *top = pool->flags & NUMAPOOL_EXACT_COUNTS ? magazine->top : magazine->fast.top;
        for (void *const *slot = magazine->slots; slot < top; slot++)
            ck_assert_int_ge(np_arena_index_of(&pool->arenas[magazine->arena].arena, *slot), 0);
        for (unsigned a = 0; a < magazine->outbound_arenas; a++)
            for (unsigned i = 0; i < magazine->outbound_count[a]; i++)
                ck_assert_int_ge(np_arena_index_of(&pool->arenas[a].arena, magazine->outbound[a * NP_OUTBOUND_SLOTS + i]), 0);
    }
    for (unsigned i = 0; i < np_pool_arena_count(pool); i++)
        for (unsigned s = 0; s < pool->arenas[i].depot.count; s++)
            ck_assert_int_ge(np_arena_index_of(&pool->arenas[i].arena, pool->arenas[i].depot.slots[s]), 0);
}

/* M3, as far as sums go. */
static inline void assert_sums(const struct numapool_pool *pool)
{
    ck_assert_uint_eq(SUM(pool, spilled), SUM(pool, foreign));
    for (unsigned i = 0; i < np_pool_arena_count(pool); i++) {
        ck_assert_uint_le(COUNT(pool, i, homeless), COUNT(pool, i, remote));
        ck_assert_uint_le(COUNT(pool, i, tiered), COUNT(pool, i, spilled));
    }
}

static inline void close_on(struct numapool_magazine *magazine)
{
    ck_assert_int_eq(numapool_magazine_close(magazine), 0);
}

static inline unsigned get_until(struct numapool_magazine *magazine, void **slots, unsigned n)
{
    unsigned got = 0;
    while (got < n && (slots[got] = numapool_get(magazine)) != NULL)
        got++;
    return got;
}

static inline void put_all(struct numapool_magazine *magazine, void *const *slots, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        ck_assert_int_eq(numapool_put(magazine, slots[i]), 0);
}

/* Gets one slot after what the stack had is out of it. */
static inline void *get_after_refill(struct numapool_magazine *magazine, void **held, unsigned *n)
{
    while (magazine->top != magazine->bottom)
        held[(*n)++] = numapool_get(magazine);
    return held[(*n)++] = numapool_get(magazine);
}

static inline void all_back(struct numapool_pool *pool, struct numapool_magazine *magazine, void *const *slots, unsigned n)
{
    put_all(magazine, slots, n);
    assert_all_at_home(pool);
    assert_sums(pool);
    close_on(magazine);
    close_pool(pool);
}

#endif
