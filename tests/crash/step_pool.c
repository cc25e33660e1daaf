/* SPDX-License-Identifier: MIT
 * Operations that get slots. */
#include "step_pool.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "core/pool.h"

#define SET(field, value) atomic_store_explicit(&(field), (value), memory_order_relaxed) /* relaxed: as in ledger.c */
#define LONG_NS INT64_C(30000000000)

enum { SENT = 6 };

int step_open_magazine(struct step_actor *actor)
{
    if (step_connect(actor) != 0)
        return -1;
    return step_ok("numapool_magazine_open", numapool_magazine_open(actor->pool, NUMAPOOL_ANY_NODE, 0, &actor->magazine));
}

int step_get_more(struct step_actor *actor, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        actor->slots[actor->slot_count] = numapool_get(actor->magazine);
        if (!actor->slots[actor->slot_count++])
            return step_ok("numapool_get", -EAGAIN);
    }
    return 0;
}

int step_get_rest(struct step_actor *actor)
{
    void *slot;
    while (actor->slot_count < STEP_SLOTS_MAX && (slot = numapool_get(actor->magazine)) != NULL)
        actor->slots[actor->slot_count++] = slot;
    return 0;
}

int step_put_some(struct step_actor *actor, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        if (step_ok("numapool_put", numapool_put(actor->magazine, actor->slots[--actor->slot_count])) != 0)
            return -1;
    return 0;
}

int step_open_with(struct step_actor *actor, unsigned n)
{
    return step_open_magazine(actor) != 0 || step_get_more(actor, n) != 0 || step_ok("numapool_flush", numapool_flush(actor->magazine)) != 0 ? -1
                                                                                                                                              : 0;
}

/* ---------------------------------------------------------------- before */

static int some_in_the_magazine(struct step_actor *actor)
{
    return step_open_with(actor, 4) != 0 ? -1 : step_put_some(actor, 4);
}

static int one_held(struct step_actor *actor)
{
    return step_open_with(actor, 1);
}

static void *another_thread(void *context)
{
    struct step_actor *actor = context;
    struct numapool_magazine *magazine = numapool_thread_magazine(actor->pool);
    for (unsigned i = 0; magazine && i < actor->slot_count; i++)
        if (numapool_put(magazine, actor->slots[i]) != 0)
            return NULL;
    return magazine ? actor : NULL;
}

/* Another thread has put slots and ended: its magazine's are in the process depot. */
static int some_in_the_depot(struct step_actor *actor)
{
    pthread_t thread;
    void *done = NULL;
    if (step_open_with(actor, 12) != 0 || pthread_create(&thread, NULL, another_thread, actor) != 0)
        return -1;
    pthread_join(thread, &done);
    actor->slot_count = 0;
    return done ? 0 : -1;
}

static int all_but(struct step_actor *actor, unsigned n)
{
    return step_open_magazine(actor) != 0 || step_get_rest(actor) != 0 ? -1 : step_put_some(actor, n);
}

static int all_but_two(struct step_actor *actor)
{
    return all_but(actor, 2);
}

static int all_but_none(struct step_actor *actor)
{
    return all_but(actor, 0);
}

static int all_but_five(struct step_actor *actor)
{
    return all_but(actor, 5);
}

/* As somebody leaves them who dies between taking bits and taking words. */
static int no_bit_shows_any(struct step_actor *actor)
{
    if (step_open_magazine(actor) != 0)
        return -1;
    struct np_arena *arena = &actor->pool->arenas[0].arena;
    for (unsigned level = 0; level < arena->levels; level++)
        for (uint64_t i = 0; i < arena->level_words[level]; i++)
            np_and64(&arena->level[level][i], 0, memory_order_acq_rel); /* as np_arena_take's */
    return 0;
}

/* ---------------------------------------------------------------- a sender whose receiver has released */

static int receives(struct step_actor *peer)
{
    if (step_connect(peer) != 0)
        return -1;
    peer->readers[0] = (struct ledger_reader){ .ledger = peer->ledger, .channel = LEDGER_A, .role = "peer", .incarnation = peer->incarnation };
    return step_ok("numapool_receiver_open", numapool_receiver_open(peer->pool, "a", NULL, &peer->receivers[0]));
}

static int send_one(struct step_actor *actor, void *slot)
{
    uint32_t number = ledger_numbers(actor->ledger, actor->incarnation, 1);
    struct numapool_msg message = { .data = slot, .length = LEDGER_PAYLOAD_BYTES, .id = number };
    struct ledger_message *told = &actor->ledger->messages[number];
    ledger_fill(slot, number);
    SET(told->about_to_send, 1);
    if (step_ok("numapool_send", numapool_send(actor->senders[0], &message, 0)) != 0)
        return -1;
    SET(told->sent, 1);
    return 0;
}

/* All slots are its own, but for those that are on their way. */
static int all_held_or_sent(struct step_actor *actor)
{
    struct numapool_channel_options options = NUMAPOOL_CHANNEL_OPTIONS_INIT;
    if (step_open_magazine(actor) != 0)
        return -1;
    options.magazine = actor->magazine;
    if (step_ok("numapool_sender_open", numapool_sender_open(actor->pool, "a", &options, &actor->senders[0])) != 0 || step_get_rest(actor) != 0)
        return -1;
    for (unsigned i = 0; i < SENT; i++)
        if (send_one(actor, actor->slots[--actor->slot_count]) != 0)
            return -1;
    return 0;
}

static int receive_all(struct step_actor *peer)
{
    int got = numapool_receive(peer->receivers[0], peer->messages, SENT, LONG_NS);
    if (step_ok("numapool_receive", got) != 0)
        return -1;
    peer->message_count = (unsigned)got;
    for (int i = 0; i < got; i++)
        ledger_receive(&peer->readers[0], peer->receivers[0], &peer->messages[i]);
    return got == SENT ? 0 : -1;
}

static int release_all(struct step_actor *peer)
{
    for (unsigned i = 0; i < peer->message_count; i++)
        SET(peer->ledger->messages[peer->messages[i].id].about_to_finish[LEDGER_A], 1);
    if (step_ok("numapool_release", numapool_release(peer->receivers[0], peer->messages, peer->message_count)) != 0)
        return -1;
    for (unsigned i = 0; i < peer->message_count; i++)
        ledger_finish(&peer->readers[0], &peer->messages[i]);
    return 0;
}

static int receive_and_release_all(struct step_actor *peer)
{
    return receive_all(peer) != 0 ? -1 : release_all(peer);
}

/* ---------------------------------------------------------------- waiting */

static int has_all(struct step_actor *peer)
{
    return step_open_magazine(peer) != 0 ? -1 : step_get_rest(peer);
}

static int put_two(struct step_actor *peer)
{
    return step_put_some(peer, 2) != 0 ? -1 : step_ok("numapool_flush", numapool_flush(peer->magazine));
}

static int get_wait(struct step_actor *actor)
{
    void *slot;
    return numapool_get_wait(actor->magazine, &slot, LONG_NS);
}

/* ---------------------------------------------------------------- getting */

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

static int get_in_vain(struct step_actor *actor)
{
    void *slot = numapool_get(actor->magazine);
    return slot ? -1 : 0;
}

static int get_three(struct step_actor *actor)
{
    return numapool_get_bulk(actor->magazine, actor->slots, 3);
}

static int get_twenty(struct step_actor *actor)
{
    return numapool_get_bulk(actor->magazine, actor->slots, 20);
}

static int get_ten_in_vain(struct step_actor *actor)
{
    return numapool_get_bulk(actor->magazine, actor->slots + actor->slot_count, 10) == -EAGAIN ? 0 : -1;
}

static const struct step_operation operations[] = {
    { .name = "get, warm, inline", .pool_options = STEP_CACHING, .prepare = some_in_the_magazine, .run = get_inline, .flags = STEP_NOTHING },
    { .name = "get, warm, by call", .pool_options = STEP_CACHING, .prepare = some_in_the_magazine, .run = get_by_call, .flags = STEP_NOTHING },
    { .name = "get_bulk, warm", .pool_options = STEP_CACHING, .prepare = some_in_the_magazine, .run = get_three, .flags = STEP_NOTHING },
    { .name = "get, out of the depot", .pool_options = STEP_CACHING, .prepare = some_in_the_depot, .run = get_inline },
    { .name = "get, out of the arena", .pool_options = STEP_CACHING, .prepare = step_open_magazine, .run = get_inline },
    { .name = "get_bulk, small, out of the arena", .pool_options = STEP_CACHING, .prepare = step_open_magazine, .run = get_three },
    { .name = "get_bulk, large, out of magazine, depot, arena", .pool_options = STEP_CACHING, .prepare = some_in_the_depot, .run = get_twenty },
    { .name = "get, of a pool that counts exactly", .pool_options = STEP_EXACT, .prepare = step_open_magazine, .run = get_inline },
    { .name = "get, nothing is cached", .pool_options = STEP_TIGHT, .prepare = one_held, .run = get_inline },
    { .name = "get_bulk, nothing is cached", .pool_options = STEP_TIGHT, .prepare = one_held, .run = get_twenty },
    { .name = "get, the node runs low by it", .pool_options = STEP_TIGHT, .prepare = all_but_two, .run = get_inline },
    { .name = "get, by a scan of the words", .pool_options = STEP_TIGHT, .prepare = no_bit_shows_any, .run = get_inline },
    { .name = "get, there is none", .pool_options = STEP_TIGHT, .prepare = all_but_none, .run = get_in_vain },
    { .name = "get_bulk, there are too few", .pool_options = STEP_TIGHT, .prepare = all_but_five, .run = get_ten_in_vain },
    { .name = "get, what its receiver has released", .pool_options = STEP_TIGHT, .peer = receives, .prepare = all_held_or_sent,
      .peer_again = receive_and_release_all, .run = get_inline },
    { .name = "get, what its receiver has released, and cache", .pool_options = STEP_CACHING, .peer = receives, .prepare = all_held_or_sent,
      .peer_again = receive_and_release_all, .run = get_inline },
    { .name = "get_wait, until somebody puts", .pool_options = STEP_TIGHT, .flags = STEP_SLEEPS, .peer = has_all, .prepare = step_open_magazine,
      .run = get_wait, .meanwhile = put_two },
    { .name = "get_wait, until its receiver releases", .pool_options = STEP_TIGHT, .flags = STEP_SLEEPS, .peer = receives,
      .prepare = all_held_or_sent, .peer_again = receive_all, .run = get_wait, .meanwhile = release_all },
    { .name = "get, in a pool with checks", .pool_options = STEP_CHECKED, .prepare = step_open_magazine, .run = get_inline },
    { .name = "get_bulk, in a pool with checks", .pool_options = STEP_CHECKED, .prepare = step_open_magazine, .run = get_three },
};
const struct step_group step_pool_group = { "get", operations, sizeof operations / sizeof operations[0] };
