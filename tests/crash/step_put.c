/* SPDX-License-Identifier: MIT
 * Operations that put slots, and ends of magazines and threads. */
#include <errno.h>
#include <stdio.h>

#include "core/pool.h"
#include "numapool.h"
#include "step_pool.h"

#define OTHER_POOL "grown"

/* ---------------------------------------------------------------- before */

static int one_held(struct step_actor *actor)
{
    return step_open_with(actor, 1);
}

static int twenty_held(struct step_actor *actor)
{
    return step_open_with(actor, 20);
}

/* The magazine is full, the depot is not. */
static int full_magazine(struct step_actor *actor)
{
    return step_open_with(actor, 20) != 0 ? -1 : step_put_some(actor, 8);
}

/* Both are. */
static int full_depot(struct step_actor *actor)
{
    return step_open_with(actor, 100) != 0 ? -1 : step_put_some(actor, 72);
}

static int node_is_low(struct step_actor *actor)
{
    return step_open_magazine(actor) != 0 ? -1 : step_get_rest(actor);
}

/* The depot has something by the time that the node runs low. */
static int depot_and_low(struct step_actor *actor)
{
    if (step_open_with(actor, 20) != 0 || step_put_some(actor, 16) != 0)
        return -1;
    np_store32(&actor->pool->arenas[0].home->arena.header->low, 1, memory_order_relaxed); /* relaxed: a hint, as somebody else sets it */
    return 0;
}

/* A bit in the map of sleepers: whose he is may be dead. */
static int sleeps(struct step_actor *peer)
{
    if (step_connect(peer) != 0)
        return -1;
    np_arena_sleep_begin(&peer->pool->arenas[0].arena, peer->pool->client);
    return 0;
}

static int wakes(struct step_actor *peer)
{
    np_arena_sleep_end(&peer->pool->arenas[0].arena, peer->pool->client);
    return 0;
}

/* Slots of a pool's second arena, and a magazine of its first. */
static int slots_of_another_arena(struct step_actor *actor, unsigned n)
{
    struct numapool_options options = NUMAPOOL_OPTIONS_INIT;
    struct numapool_magazine *whole;
    options.name = OTHER_POOL;
    options.slot_bytes = 128;
    options.slots = 256;
    options.sharers = 1;
    if (step_ok("numapool_connect", numapool_connect(&actor->client, actor->socket)) != 0 ||
        step_ok("numapool_admin_create", numapool_admin_create(actor->client, &options)) != 0 ||
        step_ok("numapool_admin_grow", numapool_admin_grow(actor->client, OTHER_POOL, NUMAPOOL_ANY_NODE, 192)) != 0 ||
        step_ok("numapool_open", numapool_open(actor->client, OTHER_POOL, 0, &actor->pool)) != 0)
        return -1;
    if (step_ok("numapool_magazine_open", numapool_magazine_open(actor->pool, NUMAPOOL_ANY_NODE, 0, &actor->magazine)) != 0 ||
        step_ok("numapool_magazine_open", numapool_magazine_open(actor->pool, NUMAPOOL_ANY_NODE, 0, &whole)) != 0)
        return -1;
    const struct np_pool_arena *second = &actor->pool->arenas[1];
    while (actor->slot_count < n) {
        void *slot[1];
        if (np_arena_take(&actor->pool->arenas[1].arena, slot, 1) != 1)
            return -1;
        if (np_arena_index_of(&second->arena, slot[0]) < 0)
            return -1;
        actor->slots[actor->slot_count++] = slot[0];
    }
    return step_ok("numapool_magazine_close", numapool_magazine_close(whole));
}

static int one_of_another_arena(struct step_actor *actor)
{
    return slots_of_another_arena(actor, 1);
}

static int many_of_another_arena(struct step_actor *actor)
{
    return slots_of_another_arena(actor, 40);
}

/* ---------------------------------------------------------------- putting */

static int put_one(struct step_actor *actor)
{
    return numapool_put(actor->magazine, actor->slots[0]);
}

static int put_one_by_call(struct step_actor *actor)
{
    return numapool_put_call(actor->magazine, actor->slots[0]);
}

static int put_four(struct step_actor *actor)
{
    return numapool_put_bulk(actor->magazine, actor->slots, 4);
}

static int put_twenty(struct step_actor *actor)
{
    return numapool_put_bulk(actor->magazine, actor->slots, 20);
}

static int put_rest(struct step_actor *actor)
{
    return numapool_put_bulk(actor->magazine, actor->slots, actor->slot_count);
}

static int flush(struct step_actor *actor)
{
    return numapool_flush(actor->magazine);
}

static int close_magazine(struct step_actor *actor)
{
    return numapool_magazine_close(actor->magazine);
}

/* ---------------------------------------------------------------- threads and forks */

static int thread_has_some(struct step_actor *actor)
{
    if (step_connect(actor) != 0 || !(actor->magazine = numapool_thread_magazine(actor->pool)))
        return -1;
    return step_get_more(actor, 100) != 0 ? -1 : step_put_some(actor, 72);
}

static int return_from_thread(struct step_actor *actor)
{
    (void)actor;
    return 0;
}

static int close_thread_magazine(struct step_actor *actor)
{
    return numapool_thread_magazine_close(actor->pool);
}

/* A forked child has no slots and no mappings: whatever it tries, nothing that is shared changes. */
static int child_tries(struct step_actor *actor)
{
    void *slots[4];
    bool refused = numapool_get(actor->magazine) == NULL;
    refused = numapool_put(actor->magazine, actor->slots[0]) == -EINVAL && refused;
    refused = numapool_get_bulk(actor->magazine, slots, 4) == -EINVAL && refused;
    refused = numapool_flush(actor->magazine) == -EINVAL && refused;
    refused = numapool_magazine_close(actor->magazine) == -EINVAL && refused;
    refused = numapool_close(actor->pool) == -EINVAL && refused;
    return refused ? 0 : -1;
}

static int child_lets_go(struct step_actor *actor)
{
    (void)actor;
    return numapool_child() == 1 ? 0 : -1;
}

static const struct step_operation operations[] = {
    { .name = "put, warm, inline", .pool_options = STEP_CACHING, .prepare = one_held, .run = put_one, .flags = STEP_NOTHING },
    { .name = "put, warm, by call", .pool_options = STEP_CACHING, .prepare = one_held, .run = put_one_by_call, .flags = STEP_NOTHING },
    { .name = "put_bulk, warm", .pool_options = STEP_CACHING, .prepare = twenty_held, .run = put_four, .flags = STEP_NOTHING },
    { .name = "put, into the depot", .pool_options = STEP_CACHING, .prepare = full_magazine, .run = put_one, .flags = STEP_NOTHING },
    { .name = "put, the depot is full", .pool_options = STEP_CACHING, .prepare = full_depot, .run = put_one },
    { .name = "put_bulk, the depot is full", .pool_options = STEP_CACHING, .prepare = full_depot, .run = put_rest },
    { .name = "put, the depot is full and the node low", .pool_options = STEP_CACHING, .prepare = depot_and_low, .run = put_one },
    { .name = "put, nothing is cached", .pool_options = STEP_TIGHT, .prepare = one_held, .run = put_one },
    { .name = "put_bulk, nothing is cached", .pool_options = STEP_TIGHT, .prepare = twenty_held, .run = put_twenty },
    { .name = "put_bulk, the node recovers by it", .pool_options = STEP_TIGHT, .prepare = node_is_low, .run = put_four },
    { .name = "put, somebody sleeps", .pool_options = STEP_TIGHT, .peer = sleeps, .prepare = one_held, .run = put_one, .survive = wakes },
    { .name = "put, of a pool that counts exactly", .pool_options = STEP_EXACT, .prepare = full_depot, .run = put_one },
    { .name = "put, in a pool with checks", .pool_options = STEP_CHECKED, .prepare = one_held, .run = put_one },
    { .name = "put_bulk, in a pool with checks", .pool_options = STEP_CHECKED, .prepare = twenty_held, .run = put_four },
    { .name = "put, of another arena", .pool_options = STEP_CACHING, .prepare = one_of_another_arena, .run = put_one },
    { .name = "put_bulk, of another arena, which they go home to", .pool_options = STEP_CACHING, .prepare = many_of_another_arena, .run = put_rest },
    { .name = "flush", .pool_options = STEP_CACHING, .prepare = full_depot, .run = flush },
    { .name = "magazine_close", .pool_options = STEP_CACHING, .prepare = full_depot, .run = close_magazine },
    { .name = "thread_magazine_close", .pool_options = STEP_CACHING, .prepare = thread_has_some, .run = close_thread_magazine },
    { .name = "end of a thread that has a magazine", .pool_options = STEP_CACHING, .flags = STEP_THREAD, .prepare = thread_has_some,
      .run = return_from_thread },
    { .name = "a forked child tries", .pool_options = STEP_CACHING, .flags = STEP_FORKED | STEP_NOTHING, .prepare = full_depot, .run = child_tries },
    { .name = "numapool_child", .pool_options = STEP_CACHING, .flags = STEP_FORKED | STEP_NOTHING, .prepare = full_depot, .run = child_lets_go },
};
const struct step_group step_put_group = { "put", operations, sizeof operations / sizeof operations[0] };
