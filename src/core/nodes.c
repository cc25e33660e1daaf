/* SPDX-License-Identifier: MIT
 *
 * Whose node's slots a magazine takes: where its thread runs and that it follows it, in what order it goes to other nodes, and what is
 * counted of that. Slow paths of the magazine's owner: the inline calls know none of it.
 *
 * Invariants
 *   M1  Every slot of a magazine's stack is of its arena; what it takes of another goes to the caller, never into the stack.
 *   M2  A STRICT pool's magazine takes of the node of its arena alone; one that follows its thread takes none where there is none on the
 *       thread's node.
 *   M3  local + remote, over all arenas, are the slots that were moved out of arenas and depots into magazines or to callers;
 *       spilled over all arenas is foreign over all arenas; homeless is part of remote, tiered of spilled.
 *
 * Everything here is private to the process: a slot on its way from one level to another is HELD by this client in its word, so a
 * death at any instruction leaves it to the sweep.
 */
#include "core/error.h"
#include "core/magazine.h"

/* ---------------------------------------------------------------- where its thread is */

/* What it holds goes to the depot of its arena; what waited for the way to the new one is at home there. */
static bool go_to(struct np_magazine *magazine, unsigned arena)
{
    np_magazine_spill(magazine, 0);
    np_magazine_send_home(magazine, arena);
    np_magazine_publish_tallies(magazine);
    return np_magazine_bind(magazine, arena) == 0;
}

/* Its thread has been found on another node, or the pool has more arenas. */
static bool follow(struct np_magazine *magazine, bool thread_moved)
{
    struct numapool_pool *pool = magazine->pool;
    unsigned arena;
    if (!magazine->follows || NP_MUTANT(MAGAZINE_STAYS))
        return false;
    magazine->stranded = !np_magazine_choose_own(pool, magazine->node, &arena);
    if (magazine->stranded) {
        np_magazine_adapt(magazine); /* it holds nothing from here on, so that every call comes by here */
        return false;
    }
    if (pool->arenas[arena].arena.node == pool->arenas[magazine->arena].arena.node || !go_to(magazine, arena))
        return false;
    if (thread_moved)
        np_count(&pool->arenas[arena].account->followed, 1);
    return true;
}

bool np_magazine_look(struct np_magazine *magazine)
{
    struct numapool_pool *pool = magazine->pool;
    const int node = pool->own_node();
    const unsigned arenas = np_pool_arena_count(pool);
    const bool thread_moved = node != magazine->node;
    if (__builtin_expect(!thread_moved && arenas == magazine->looked_arenas, 1))
        return false;
    magazine->node = node;
    magazine->looked_arenas = arenas;
    magazine->order_arenas = 0;
    magazine->homeless = !np_pool_has_node(pool, node);
    return follow(magazine, thread_moved);
}

bool np_magazine_lead(struct np_magazine *magazine, int node)
{
    struct numapool_pool *pool = magazine->pool;
    const int before = pool->arenas[magazine->arena].arena.node;
    unsigned arena;
    if (node == NUMAPOOL_OWN_NODE) {
        magazine->follows = true;
        magazine->looked_arenas = 0; /* as if it had never looked */
        return np_magazine_look(magazine);
    }
    if (np_magazine_choose(pool, node, &arena) < 0)
        return false;
    magazine->follows = magazine->stranded = false;
    magazine->order_arenas = 0;
    return node != before && go_to(magazine, arena);
}

/* ---------------------------------------------------------------- what is counted */

void np_magazine_note_remote(struct np_magazine *magazine, unsigned arena, unsigned n)
{
    struct np_account_row *account = magazine->pool->arenas[arena].account;
    np_count(&account->remote, n);
    if (magazine->homeless)
        np_count(&account->homeless, n);
}

/* n slots of an arena on another node than its own. */
static void note_spilled(struct np_magazine *magazine, unsigned arena, unsigned n)
{
    struct numapool_pool *pool = magazine->pool;
    np_count(&pool->arenas[arena].account->spilled, n);
    np_count(&pool->arenas[magazine->arena].account->foreign, n);
}

/* ---------------------------------------------------------------- the order */

/* Whether a magazine takes of arena `a` before it takes of `b`: of its own; of its node; of nodes with CPUs; of near ones. */
static bool comes_first(const struct np_magazine *magazine, int from, unsigned a, unsigned b)
{
    const struct numapool_pool *pool = magazine->pool;
    const struct np_pool_arena *pa = &pool->arenas[a], *pb = &pool->arenas[b];
    const int own = pool->arenas[magazine->arena].arena.node;
    if ((a == magazine->arena) != (b == magazine->arena))
        return a == magazine->arena;
    if ((pa->arena.node == own) != (pb->arena.node == own))
        return pa->arena.node == own;
    if (pa->tier != pb->tier)
        return pa->tier < pb->tier;
    unsigned to_a = np_pool_distance(pool, from, pa->arena.node), to_b = np_pool_distance(pool, from, pb->arena.node);
    return to_a != to_b ? to_a < to_b : a < b;
}

/* Made when it is needed for the first time since arena, thread's node or number of arenas have changed. How many there are. */
static unsigned order(struct np_magazine *magazine)
{
    struct numapool_pool *pool = magazine->pool;
    const unsigned count = np_pool_arena_count(pool);
    if (__builtin_expect(magazine->order_arenas == count, 1))
        return count;
    /* who has no home goes by where its thread is */
    const int from = magazine->follows ? magazine->node : pool->arenas[magazine->arena].arena.node;
    for (unsigned i = 0; i < count; i++) {
        unsigned at = i;
        for (; at > 0 && comes_first(magazine, from, i, magazine->order[at - 1]); at--)
            magazine->order[at] = magazine->order[at - 1];
        magazine->order[at] = (uint8_t)i;
    }
    return magazine->order_arenas = count;
}

/* ---------------------------------------------------------------- taking */

bool np_magazine_spills(const struct np_magazine *magazine)
{
    const struct numapool_pool *pool = magazine->pool;
    const struct np_pool_arena *own = &pool->arenas[magazine->arena];
    /* relaxed: as note_tiers */
    return __builtin_expect(atomic_load_explicit(&pool->has_tiers, memory_order_relaxed), 0) && own->tier == 0 && np_pool_is_low(own) &&
           (pool->flags & NUMAPOOL_STRICT) == 0;
}

static bool has_free(const struct numapool_pool *pool, int node)
{
    for (unsigned i = 0; i < np_pool_arena_count(pool); i++)
        if (pool->arenas[i].arena.node == node && np_arena_free_hint(&pool->arenas[i].arena) > 0)
            return true;
    return false;
}

unsigned np_magazine_take_far(struct np_magazine *magazine, void **slots, unsigned n)
{
    struct numapool_pool *pool = magazine->pool;
    unsigned got = 0, count = order(magazine);
    for (unsigned i = 0; i < count && got == 0; i++) {
        const unsigned arena = magazine->order[i];
        if (pool->arenas[arena].tier == 0)
            continue;
        np_magazine_send_home(magazine, arena);
        got = np_depot_get(pool, arena, slots, n);
        if (NP_MUTANT(SPILL_INTO_STACK) && got > 0)
            *np_magazine_top(magazine) += np_depot_get(pool, arena, magazine->slots, magazine->capacity);
        if (got == 0)
            continue;
        np_magazine_note_taken(magazine, arena, got);
        note_spilled(magazine, arena, got);
        if (has_free(pool, pool->arenas[magazine->arena].arena.node))
            np_count(&pool->arenas[arena].account->tiered, got);
    }
    return got;
}

void *np_magazine_take_anywhere(struct np_magazine *magazine)
{
    struct numapool_pool *pool = magazine->pool;
    const int own = pool->arenas[magazine->arena].arena.node;
    const bool strict = (pool->flags & NUMAPOOL_STRICT) != 0;
    const unsigned count = order(magazine);
    void *slot;
    for (unsigned i = 0; i < count; i++) {
        const unsigned arena = magazine->order[i];
        const bool is_own = pool->arenas[arena].arena.node == own;
        np_magazine_send_home(magazine, arena); /* whoever waits for slots of that node lacks them */
        if ((!is_own && strict) || np_depot_get(pool, arena, &slot, 1) != 1)
            continue;
        np_magazine_note_taken(magazine, arena, 1);
        if (!is_own)
            note_spilled(magazine, arena, 1);
        return slot;
    }
    return NULL;
}
