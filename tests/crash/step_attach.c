/* SPDX-License-Identifier: MIT
 * Operations on sessions and pools: all of them ask the daemon. */
#include <errno.h>
#include <liburing.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "numapool.h"
#include "numapool/uring.h"
#include "step_pool.h"

#define OTHER_POOL "second"

/* ---------------------------------------------------------------- before */

static int nothing(struct step_actor *actor)
{
    (void)actor;
    return 0;
}

static int connected(struct step_actor *actor)
{
    return step_ok("numapool_connect", numapool_connect(&actor->client, actor->socket));
}

static int make_other_pool(struct step_actor *actor)
{
    struct numapool_options options = NUMAPOOL_OPTIONS_INIT;
    options.name = OTHER_POOL;
    options.slot_bytes = 64;
    options.slots = 48;
    return numapool_admin_create(actor->client, &options);
}

static int other_pool_is_there(struct step_actor *actor)
{
    return step_connect(actor) != 0 ? -1 : step_ok("numapool_admin_create", make_other_pool(actor));
}

static int some_held(struct step_actor *actor)
{
    return step_open_with(actor, 20) != 0 ? -1 : step_put_some(actor, 12);
}

static int some_cached(struct step_actor *actor)
{
    if (step_open_with(actor, 20) != 0 || step_put_some(actor, 20) != 0)
        return -1;
    return step_ok("numapool_magazine_close", numapool_magazine_close(actor->magazine));
}

static int pool_is_closed(struct step_actor *actor)
{
    return step_connect(actor) != 0 ? -1 : step_ok("numapool_close", numapool_close(actor->pool));
}

/* The other pool is open here and has grown since. */
static int pool_has_grown(struct step_actor *actor)
{
    struct numapool_pool *pool;
    if (other_pool_is_there(actor) != 0 || step_ok("numapool_open", numapool_open(actor->client, OTHER_POOL, 0, &pool)) != 0 ||
        step_ok("numapool_magazine_open", numapool_magazine_open(pool, NUMAPOOL_ANY_NODE, 0, &actor->magazine)) != 0 ||
        step_get_more(actor, 48) != 0)
        return -1;
    return step_ok("numapool_admin_grow", numapool_admin_grow(actor->client, OTHER_POOL, NUMAPOOL_ANY_NODE, 40));
}

static struct io_uring ring;

static int ring_is_there(struct step_actor *actor)
{
    return some_held(actor) != 0 ? -1 : step_ok("io_uring_queue_init", io_uring_queue_init(4, &ring, 0));
}

static int ring_is_guarded(struct step_actor *actor)
{
    return ring_is_there(actor) != 0 ? -1 : step_ok("numapool_ring_guard", numapool_ring_guard(actor->client, &ring));
}

/* ---------------------------------------------------------------- running */

static int attach(struct step_actor *actor)
{
    int result = numapool_connect(&actor->client, actor->socket);
    return result == 0 ? numapool_open(actor->client, STEP_POOL, 0, &actor->pool) : result;
}

static int open_readonly(struct step_actor *actor)
{
    return numapool_open(actor->client, STEP_POOL, NUMAPOOL_READONLY, &actor->pool);
}

static int open_other(struct step_actor *actor)
{
    struct numapool_pool *pool;
    return numapool_open(actor->client, OTHER_POOL, 0, &pool);
}

static int detach(struct step_actor *actor)
{
    int result = numapool_close(actor->pool);
    return result == 0 ? numapool_disconnect(actor->client) : result;
}

static int leave_without_a_word(struct step_actor *actor)
{
    (void)actor;
    _exit(0);
}

static int disconnect(struct step_actor *actor)
{
    return numapool_disconnect(actor->client);
}

static int create(struct step_actor *actor)
{
    return make_other_pool(actor);
}

static int grow(struct step_actor *actor)
{
    return numapool_admin_grow(actor->client, OTHER_POOL, NUMAPOOL_ANY_NODE, 40);
}

static int destroy(struct step_actor *actor)
{
    return numapool_admin_destroy(actor->client, OTHER_POOL, 0);
}

static int get_learns(struct step_actor *actor)
{
    void *slot = numapool_get(actor->magazine);
    return slot ? 0 : -1;
}

static int io_token(struct step_actor *actor)
{
    return numapool_io_token(actor->client) < 0 ? -1 : 0;
}

static int io_begins(struct step_actor *actor)
{
    return numapool_ring_guard(actor->client, &ring);
}

static int io_ends(struct step_actor *actor)
{
    (void)actor;
    io_uring_queue_exit(&ring);
    return 0;
}

#define TALKS (STEP_TALKS | STEP_LONG)

static const struct step_operation operations[] = {
    { .name = "connect and open", .pool_options = STEP_CACHING, .flags = TALKS, .prepare = nothing, .run = attach },
    { .name = "open, read-only", .pool_options = STEP_CACHING, .flags = TALKS, .prepare = connected, .run = open_readonly },
    { .name = "open, a second pool", .pool_options = STEP_CACHING, .flags = TALKS, .prepare = other_pool_is_there, .run = open_other },
    { .name = "close and disconnect", .pool_options = STEP_CACHING, .flags = TALKS, .prepare = some_cached, .run = detach },
    { .name = "disconnect", .pool_options = STEP_CACHING, .flags = TALKS, .prepare = pool_is_closed, .run = disconnect },
    { .name = "exit without a word", .pool_options = STEP_CACHING, .flags = STEP_EXITS, .prepare = some_held, .run = leave_without_a_word },
    { .name = "get, out of an arena that it has to learn of", .pool_options = STEP_CACHING, .flags = TALKS, .prepare = pool_has_grown,
      .run = get_learns },
    { .name = "admin_create", .pool_options = STEP_CACHING, .flags = TALKS, .prepare = step_connect, .run = create },
    { .name = "admin_grow", .pool_options = STEP_CACHING, .flags = TALKS, .prepare = other_pool_is_there, .run = grow },
    { .name = "admin_destroy", .pool_options = STEP_CACHING, .flags = TALKS, .prepare = other_pool_is_there, .run = destroy },
    { .name = "io_token", .pool_options = STEP_CACHING, .flags = TALKS, .prepare = some_held, .run = io_token },
    { .name = "I/O begins: the token is registered", .pool_options = STEP_CACHING, .flags = TALKS, .prepare = ring_is_there, .run = io_begins },
    { .name = "I/O ends: the ring is closed", .pool_options = STEP_CACHING, .flags = TALKS, .prepare = ring_is_guarded, .run = io_ends },
};
const struct step_group step_attach_group = { "attach", operations, sizeof operations / sizeof operations[0] };
