/* SPDX-License-Identifier: MIT
 * Operations on slots. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/pool.h"
#include "step.h"

#define SMALL_POOL "size=128,count=128"
/* One process is granted half of it to cache: magazines and depots that are warm. */
#define CACHING_POOL "size=128,count=256,sharers=1"

static int open_magazine(struct step_actor *actor, unsigned capacity)
{
    if (step_connect(actor) != 0)
        return -1;
    return step_ok("numapool_magazine_open", numapool_magazine_open(actor->pool, NUMAPOOL_ANY_NODE, capacity, &actor->magazine));
}

static int get_some(struct step_actor *actor, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        actor->slots[actor->slot_count] = numapool_get(actor->magazine);
        if (!actor->slots[actor->slot_count++])
            return step_ok("numapool_get", -EAGAIN);
    }
    return 0;
}

/* ---------------------------------------------------------------- get */

static int one_is_warm(struct step_actor *actor)
{
    if (open_magazine(actor, 8) != 0 || get_some(actor, 1) != 0)
        return -1;
    return 0;
}

static int get_inline(struct step_actor *actor)
{
    void *slot = numapool_get(actor->magazine);
    return slot ? 0 : -1;
}

static int get_by_call(struct step_actor *actor)
{
    void *slot = numapool_get_call(actor->magazine);
    return slot ? 0 : -1;
}

static int nothing_is_cached(struct step_actor *actor)
{
    return open_magazine(actor, 8);
}

static int put_one(struct step_actor *actor)
{
    return numapool_put(actor->magazine, actor->slots[0]);
}

static const struct step_operation operations[] = {
    { .name = "get, warm, inline", .pool_options = CACHING_POOL, .prepare = one_is_warm, .run = get_inline, .flags = STEP_NOTHING },
    { .name = "get, warm, by call", .pool_options = CACHING_POOL, .prepare = one_is_warm, .run = get_by_call, .flags = STEP_NOTHING },
    { .name = "get, out of the arena", .pool_options = CACHING_POOL, .prepare = nothing_is_cached, .run = get_inline },
    { .name = "put, warm", .pool_options = CACHING_POOL, .prepare = one_is_warm, .run = put_one, .flags = STEP_NOTHING },
};
const struct step_group step_pool_group = { "pool", operations, sizeof operations / sizeof operations[0] };
