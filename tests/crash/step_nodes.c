/* SPDX-License-Identifier: MIT
 * Operations of a thread that goes from node to node, and of one whose node runs low: it takes the second arena of a pool for another
 * node, which this machine has not, and says itself where it runs. */
#include <errno.h>
#include <stdio.h>

#include "core/pool.h"
#include "numapool.h"
#include "step_pool.h"

#define TWO_NODES "grown"

static int node_of_thread;

static int own_node(void)
{
    return node_of_thread;
}

/* Private to this process; whoever repairs what it leaves, and the daemon, know one node. */
static void take_for_another_node(struct numapool_pool *pool, bool far)
{
    struct np_pool_arena *second = &pool->arenas[1];
    second->arena.node = 1;
    second->home = second;
    second->tier = far;
    atomic_store_explicit(&pool->has_tiers, far, memory_order_relaxed); /* relaxed: one thread */
    pool->own_node = own_node;
    node_of_thread = 0;
}

static int two_nodes(struct step_actor *actor, uint64_t flags, bool far)
{
    struct numapool_options options = NUMAPOOL_OPTIONS_INIT;
    options.name = TWO_NODES;
    options.slot_bytes = 128;
    options.slots = 256;
    options.sharers = 1;
    options.flags = flags;
    if (step_ok("numapool_connect", numapool_connect(&actor->client, actor->socket)) != 0 ||
        step_ok("numapool_admin_create", numapool_admin_create(actor->client, &options)) != 0 ||
        step_ok("numapool_admin_grow", numapool_admin_grow(actor->client, TWO_NODES, NUMAPOOL_ANY_NODE, 192)) != 0 ||
        step_ok("numapool_open", numapool_open(actor->client, TWO_NODES, 0, &actor->pool)) != 0)
        return -1;
    take_for_another_node(actor->pool, far);
    return step_ok("numapool_magazine_open", numapool_magazine_open(actor->pool, NUMAPOOL_OWN_NODE, 0, &actor->magazine));
}

/* What is in the stack is out of it again: the next get refills. */
static int drain_stack(struct step_actor *actor)
{
    while (actor->magazine->top != actor->magazine->bottom)
        if (step_get_more(actor, 1) != 0)
            return -1;
    return 0;
}

/* Some are held, some on their way to the other node, and the thread is there. */
static int moved_and_empty(struct step_actor *actor)
{
    struct numapool_magazine *there;
    if (two_nodes(actor, 0, false) != 0 || step_get_more(actor, 4) != 0 ||
        step_ok("numapool_magazine_open", numapool_magazine_open(actor->pool, 1, 0, &there)) != 0)
        return -1;
    void *away = numapool_get(there);
    if (!away || step_ok("numapool_put", numapool_put(actor->magazine, away)) != 0 ||
        step_ok("numapool_magazine_close", numapool_magazine_close(there)) != 0 || drain_stack(actor) != 0)
        return -1;
    node_of_thread = 1;
    return 0;
}

/* The stack is full, and so is the depot that its slots go to when it is left, unless `room`. */
static int moved_and_full(struct step_actor *actor, bool room)
{
    if (two_nodes(actor, 0, false) != 0 || step_get_more(actor, 200) != 0)
        return -1;
    if (step_put_some(actor, room ? 24 : 150) != 0)
        return -1;
    while (actor->magazine->top != actor->magazine->limit)
        if (step_put_some(actor, 1) != 0)
            return -1;
    node_of_thread = 1;
    return 0;
}

static int moved_and_full_with_room(struct step_actor *actor)
{
    return moved_and_full(actor, true);
}

static int moved_and_full_without(struct step_actor *actor)
{
    return moved_and_full(actor, false);
}

static int stranded(struct step_actor *actor)
{
    if (two_nodes(actor, NUMAPOOL_STRICT, false) != 0 || step_get_more(actor, 20) != 0 || step_put_some(actor, 10) != 0 ||
        drain_stack(actor) != 0 || step_put_some(actor, 1) != 0)
        return -1;
    node_of_thread = 7;
    return drain_stack(actor);
}

/* Its node is low, and its stack empty; the far one has all. */
static int low_beside_far(struct step_actor *actor)
{
    if (two_nodes(actor, 0, true) != 0)
        return -1;
    while (!np_pool_is_low(&actor->pool->arenas[0]))
        if (step_get_more(actor, 1) != 0)
            return -1;
    return drain_stack(actor);
}

/* The far node is empty too. */
static int low_beside_empty(struct step_actor *actor)
{
    if (low_beside_far(actor) != 0)
        return -1;
    void *slot[1];
    while (np_arena_take(&actor->pool->arenas[1].arena, slot, 1) == 1)
        ; /* held by this process, and by its death come back */
    return 0;
}

/* A far slot in its hands. */
static int far_held(struct step_actor *actor)
{
    if (low_beside_far(actor) != 0 || step_get_more(actor, 1) != 0)
        return -1;
    return numapool_slot_node(actor->pool, actor->slots[actor->slot_count - 1]) == 1 ? 0 : -1;
}

/* ---------------------------------------------------------------- doing */

static int get_on(struct step_actor *actor, int node)
{
    void *slot = numapool_get(actor->magazine);
    return slot && numapool_slot_node(actor->pool, slot) == node ? 0 : -1;
}

static int get_there(struct step_actor *actor)
{
    return get_on(actor, 1);
}

static int get_here(struct step_actor *actor)
{
    return get_on(actor, 0);
}

static int get_thirty_there(struct step_actor *actor)
{
    static void *slots[30]; /* the actor's own are nearly full */
    return numapool_get_bulk(actor->magazine, slots, 30);
}

static int get_in_vain(struct step_actor *actor)
{
    return numapool_get(actor->magazine) ? -1 : 0;
}

static int put_last(struct step_actor *actor)
{
    return numapool_put(actor->magazine, actor->slots[--actor->slot_count]);
}

static int put_four(struct step_actor *actor)
{
    actor->slot_count -= 4;
    return numapool_put_bulk(actor->magazine, actor->slots + actor->slot_count, 4);
}

static const struct step_operation operations[] = {
    { .name = "get, the thread has moved", .pool_options = STEP_CACHING, .prepare = moved_and_empty, .run = get_there },
    { .name = "get_bulk, the thread has moved", .pool_options = STEP_CACHING, .prepare = moved_and_empty, .run = get_thirty_there },
    { .name = "put, the thread has moved", .pool_options = STEP_CACHING, .prepare = moved_and_full_with_room, .run = put_last },
    { .name = "put, the thread has moved and the depot is full", .pool_options = STEP_CACHING, .prepare = moved_and_full_without,
      .run = put_last },
    { .name = "put_bulk, the thread has moved", .pool_options = STEP_CACHING, .prepare = moved_and_full_without, .run = put_four },
    { .name = "get, strict, the thread has moved to where nothing is", .pool_options = STEP_CACHING, .prepare = stranded, .run = get_in_vain },
    { .name = "get, spilled", .pool_options = STEP_CACHING, .prepare = low_beside_far, .run = get_there },
    { .name = "get_bulk, spilled", .pool_options = STEP_CACHING, .prepare = low_beside_far, .run = get_thirty_there },
    { .name = "get, the far node is empty too", .pool_options = STEP_CACHING, .prepare = low_beside_empty, .run = get_here },
    { .name = "put, of what was spilled", .pool_options = STEP_CACHING, .prepare = far_held, .run = put_last },
};
const struct step_group step_nodes_group = { "nodes", operations, sizeof operations / sizeof operations[0] };
