/* SPDX-License-Identifier: MIT
 * A broker and several clients in one process, in plain memory: a client "dies" when its private memory is forgotten, with
 * nothing given back, and the broker is told. Death in the middle of a call is written by hand into cells and words. */
#ifndef NP_TEST_WORLD_HELP_H
#define NP_TEST_WORLD_HELP_H

#include <sys/mman.h>

#include "broker/broker.h"
#include "channel/receiver.h"
#include "channel/sender.h"
#include "core/wipe.h"
#include "pool_help.h"

enum { WORLD_ARENAS = 2, WORLD_SLOTS = 100, WORLD_CLIENTS = 6, WORLD_CHANNELS = 4, WORLD_ENDPOINTS = 12, WORLD_LANES = 12 };

struct world {
    struct np_broker broker;
    struct np_board board;
    void *board_memory;
    struct np_bell *bells;
    uint32_t pool;
    void *meta[WORLD_ARENAS], *data[WORLD_ARENAS];
    size_t meta_bytes;
    unsigned lanes_mapped; /* how many lanes there are, by their memory */
};

static struct world world;
static const struct np_board_limits world_limits = { WORLD_CLIENTS, WORLD_CHANNELS, WORLD_ENDPOINTS, WORLD_LANES };

static inline void *plain_pages(size_t bytes)
{
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ck_assert_ptr_ne(memory, MAP_FAILED);
    return memory;
}

static int world_lane_memory(void *context, uint32_t lane, size_t bytes, int *node, void **address)
{
    (void)context, (void)lane, (void)node;
    *address = plain_pages(bytes);
    world.lanes_mapped++;
    return 0;
}

static void world_lane_memory_gone(void *context, uint32_t lane, void *address, size_t bytes)
{
    (void)context, (void)lane;
    munmap(address, bytes);
    world.lanes_mapped--;
}

static inline void start_broker(void)
{
    const struct np_broker_environment environment = { &world, world_lane_memory, world_lane_memory_gone, false };
    ck_assert_int_eq(np_board_attach(&world.board, world.board_memory, np_board_bytes(&world_limits)), 0);
    ck_assert_int_eq(np_broker_start(&world.broker, &world.board, world.bells, &environment), 0);
}

static void make_world(void)
{
    struct np_pool_entry *entry;
    memset(&world, 0, sizeof world);
    world.board_memory = plain_pages(np_board_bytes(&world_limits));
    np_board_format(world.board_memory, &world_limits);
    world.bells = plain_pages(np_board_bells(&world_limits) * sizeof *world.bells);
    start_broker();
    ck_assert_int_eq(np_broker_pool_add(&world.broker, "pay", &entry), 0);
    world.pool = entry->id;
    entry->slot_bytes = SLOT_BYTES;
    entry->arenas = WORLD_ARENAS;
    world.meta_bytes = np_arena_meta_bytes(WORLD_SLOTS, WORLD_CLIENTS + 1, 0);
    for (unsigned i = 0; i < WORLD_ARENAS; i++) {
        entry->arena[i].slots = WORLD_SLOTS;
        world.meta[i] = plain_pages(world.meta_bytes);
        world.data[i] = plain_pages(WORLD_SLOTS * SLOT_BYTES);
        np_arena_format(world.meta[i], WORLD_SLOTS, SLOT_BYTES, world.pool, i, 0, WORLD_CLIENTS + 1, 0);
        ck_assert_int_eq(np_broker_attach_pool(&world.broker, world.pool, i, world.meta[i], world.meta_bytes), 0);
    }
    np_store32(&entry->state, NP_ACTIVE, memory_order_release);
}

/* The worker dies where it stands, and another begins with the board alone. */
static inline void restart_broker(void)
{
    struct np_lane_shared *lanes[WORLD_LANES + 1];
    memcpy(lanes, world.broker.lane_memory, sizeof lanes);
    np_broker_stop(&world.broker);
    start_broker();
    for (unsigned i = 0; i < WORLD_ARENAS; i++)
        ck_assert_int_eq(np_broker_attach_pool(&world.broker, world.pool, i, world.meta[i], world.meta_bytes), 0);
    for (uint32_t lane = 1; lane <= WORLD_LANES; lane++)
        if (lanes[lane])
            ck_assert_int_eq(np_broker_attach_lane(&world.broker, lane, lanes[lane]), 0);
    np_broker_recover(&world.broker);
}

/* ---------------------------------------------------------------- clients */

struct member {
    uint32_t number;
    struct numapool_pool *pool;
    struct numapool_magazine *magazine;
    struct np_account_row *account;
};

static int member_endpoint_open(void *context, const struct np_endpoint_request *request, struct np_endpoint_grant *grant)
{
    return np_broker_endpoint_open(&world.broker, ((struct member *)context)->number, request, grant);
}

static int member_endpoint_close(void *context, uint32_t endpoint)
{
    return np_broker_endpoint_close(&world.broker, ((struct member *)context)->number, endpoint);
}

static int member_next_lane(void *context, uint32_t endpoint, uint64_t stamp, struct np_lane_grant *grant)
{
    return np_broker_next_lane(&world.broker, ((struct member *)context)->number, endpoint, stamp, grant);
}

static int member_leave_lane(void *context, uint32_t endpoint, uint32_t lane, uint32_t generation)
{
    return np_broker_leave_lane(&world.broker, ((struct member *)context)->number, endpoint, lane, generation);
}

static void member_unmap_lane(void *context, struct np_lane_shared *memory, uint32_t capacity, uint32_t kind)
{
    (void)context, (void)memory, (void)capacity, (void)kind;
}

static void member_ring(void *context, uint32_t bell)
{
    (void)context;
    if (bell == NP_BELL_OF_DAEMON)
        np_broker_orphan_duty(&world.broker);
    else if (bell < np_board_bells(&world_limits))
        np_bell_ring(&world.bells[bell]);
}

static const struct np_authority member_authority = { member_endpoint_open, member_endpoint_close, member_next_lane,
                                                      member_leave_lane,    member_unmap_lane,     member_ring };

static int member_own_node(void)
{
    return 0;
}

static inline struct member *join_world(void)
{
    struct np_client_entry *entry;
    struct member *member = calloc(1, sizeof *member);
    int number = np_broker_client_add(&world.broker, &entry);
    ck_assert_int_gt(number, 0);
    np_broker_client_activate(&world.broker, (uint32_t)number);
    struct numapool_pool *pool = np_wipe_alloc(sizeof *pool);
    member->number = (uint32_t)number;
    member->pool = pool;
    member->account = calloc(WORLD_ARENAS, sizeof *member->account);
    strcpy(pool->name, "pay");
    pool->mode = NUMAPOOL_MODE_DIRECT;
    pool->id = world.pool;
    pool->client = member->number;
    pool->slot_bytes = SLOT_BYTES;
    pool->magazine_slots = 1;
    pool->arena_count = WORLD_ARENAS;
    pool->arenas = calloc(WORLD_ARENAS, sizeof *pool->arenas);
    pool->bells = world.bells;
    pool->bell_count = np_board_bells(&world_limits);
    pool->own_node = member_own_node;
    pool->authority = &member_authority;
    pool->authority_context = member;
    pool->opens = 1;
    for (unsigned i = 0; i < WORLD_ARENAS; i++) {
        ck_assert_int_eq(np_arena_attach(&pool->arenas[i].arena, world.meta[i], world.meta_bytes, world.data[i], WORLD_SLOTS,
                                         SLOT_BYTES, i, 0, member->number, world.bells, pool->bell_count, 0), 0);
        pool->arenas[i].account = &member->account[i];
    }
    ck_assert_int_eq(np_pool_start(pool, WORLD_CLIENTS), 0);
    member->magazine = open_magazine(pool, 1);
    return member;
}

/* Its private memory goes; what it had in shared memory stays as it is, for the scavenger. */
static inline void forget_member(struct member *member)
{
    while (member->pool->magazines) {
        struct np_magazine *magazine = member->pool->magazines;
        member->pool->magazines = magazine->next;
        free(magazine->slots);
        free(magazine->outbound);
        free(magazine->outbound_count);
        np_wipe_free(magazine, sizeof *magazine);
    }
    for (unsigned i = 0; i < WORLD_ARENAS; i++)
        free(member->pool->arenas[i].depot.slots);
    free(member->pool->arenas);
    np_wipe_free(member->pool, sizeof *member->pool);
    free(member->account);
    free(member);
}

static inline void forget_sender(struct numapool_sender *sender)
{
    for (unsigned i = 0; i < sender->lane_count; i++)
        free(sender->lanes[i].sent);
    free(sender->lanes);
    np_wipe_free(sender, sizeof *sender);
}

static inline void forget_receiver(struct numapool_receiver *receiver)
{
    for (unsigned i = 0; i < receiver->lane_count; i++)
        free(receiver->lanes[i].done_bits);
    free(receiver->lanes);
    free(receiver->order);
    np_wipe_free(receiver, sizeof *receiver);
}

/* The kernel has said that it is gone: told twice, as by a worker that died after the first time. */
static inline struct np_scavenged bury(struct member *member)
{
    struct np_scavenged what, again;
    np_broker_client_gone(&world.broker, member->number, &what);
    np_broker_client_gone(&world.broker, member->number, &again);
    ck_assert_uint_eq(again.slots + again.rolled_forward + again.redelivered + again.lanes, 0);
    forget_member(member);
    return what;
}

static inline struct np_arena_census world_census(void)
{
    struct np_arena_census sum = { 0 };
    for (unsigned i = 0; i < WORLD_ARENAS; i++) {
        struct np_arena_census one;
        np_arena_census(&world.broker.pools[world.pool].arenas[i], &one);
        sum.free_slots += one.free_slots;
        sum.held += one.held;
        sum.sent += one.sent;
    }
    ck_assert_uint_eq(sum.free_slots + sum.held + sum.sent, WORLD_ARENAS * WORLD_SLOTS);
    return sum;
}

static inline void assert_world(uint64_t held, uint64_t sent)
{
    struct np_arena_census now = world_census();
    ck_assert_uint_eq(now.held, held);
    ck_assert_uint_eq(now.sent, sent);
    uint64_t hint = 0;
    for (unsigned i = 0; i < WORLD_ARENAS; i++)
        hint += np_arena_free_hint(&world.broker.pools[world.pool].arenas[i]);
    ck_assert_uint_eq(hint, now.free_slots);
}

/* All members are gone: nothing is left of them. */
static inline void unmake_world(void)
{
    np_broker_orphan_duty(&world.broker);
    assert_world(0, 0);
    ck_assert_uint_eq(world.lanes_mapped, 0);
    for (uint32_t i = 1; i <= WORLD_CHANNELS; i++)
        ck_assert(np_entry_is(&world.board.channels[i].state, NP_NONE));
    for (uint32_t i = 1; i <= WORLD_ENDPOINTS; i++)
        ck_assert(np_entry_is(&world.board.endpoints[i].state, NP_NONE));
    np_broker_stop(&world.broker);
    for (unsigned i = 0; i < WORLD_ARENAS; i++) {
        munmap(world.meta[i], world.meta_bytes);
        munmap(world.data[i], WORLD_SLOTS * SLOT_BYTES);
    }
    munmap(world.board_memory, np_board_bytes(&world_limits));
    munmap(world.bells, np_board_bells(&world_limits) * sizeof *world.bells);
}

#endif
