/* SPDX-License-Identifier: MIT
 *
 * The shared memory of a run; the keeper, who remembers clients and memory over a daemon's death; the daemon; and the questions
 * that clients ask it. A question is asked and answered outside of shared memory, as through a socket: the one who
 * asks may die meanwhile, and so may the daemon.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model.h"

/* ---------------------------------------------------------------- making */

static void *pages(size_t bytes)
{
    void *memory = aligned_alloc(4096, (bytes + 4095) / 4096 * 4096);
    if (!memory) {
        fprintf(stderr, "no memory for a simulation\n");
        exit(1);
    }
    return memory;
}

static void *zeroed(size_t bytes)
{
    return memset(pages(bytes), 0, bytes);
}

static bool starts_free(const struct scenario *scenario, unsigned slot)
{
    if (!scenario->free_slots)
        return true;
    for (unsigned i = 0; i < scenario->free_count; i++)
        if (scenario->free_slots[i] == slot)
            return true;
    return false;
}

/* A client that is none of the simulated ones has the others, for ever: large pools with few free slots cost few
 * accesses. */
static void hoard(const struct scenario *scenario)
{
    struct np_arena *arena = &world.look;
    unsigned taken = 0;
    for (unsigned slot = 0; slot < scenario->slots; slot++) {
        if (starts_free(scenario, slot))
            continue;
        taken++;
        np_store64(&arena->words[slot], np_word_held(NP_CLIENTS_LIMIT, 0), memory_order_relaxed); /* relaxed: nobody runs */
        np_and64(&arena->level[0][slot / 64], ~(UINT64_C(1) << slot % 64), memory_order_relaxed);
        if (arena->levels > 1 && np_load64(&arena->level[0][slot / 64], memory_order_relaxed) == 0)
            np_and64(&arena->level[1][slot / 4096], ~(UINT64_C(1) << slot / 64 % 64), memory_order_relaxed);
    }
    np_add64(&arena->header->taken, taken, memory_order_relaxed);
}

/* The table, and behind it the pages of those who have none of it. */
size_t world_bells(void)
{
    return world.bell_count + (world.limits.clients + 1) * (size_t)FOREIGN_BELLS;
}

static int no_lane_memory(void *context, uint32_t lane, size_t bytes, int *node, void **address)
{
    (void)context, (void)lane, (void)bytes, (void)node, (void)address;
    return -ENOMEM;
}

static void no_lane_gone(void *context, uint32_t lane, void *address, size_t bytes)
{
    (void)context, (void)lane, (void)address, (void)bytes;
}

static void make_pool_entry(const struct scenario *scenario)
{
    const struct np_broker_environment environment = { NULL, no_lane_memory, no_lane_gone, true };
    struct np_broker broker;
    struct np_pool_entry *entry;
    np_broker_start(&broker, &world.board, world.bells, &environment);
    np_broker_pool_add(&broker, "model", &entry);
    entry->slot_bytes = SLOT_BYTES;
    entry->arenas = 1;
    entry->arena[0].slots = scenario->slots;
    np_store32(&entry->state, NP_ACTIVE, memory_order_release);
    np_broker_stop(&broker);
}

void world_make(const struct scenario *scenario)
{
    unsigned processes = 2;
    memset(&world, 0, sizeof world);
    for (unsigned i = 0; i < sizeof scenario->roles / sizeof scenario->roles[0]; i++)
        processes += scenario->roles[i].count * (1 + scenario->roles[i].respawns);
    world.limits = (struct np_board_limits){ .clients = processes + 1, .channels = CHANNELS_MAX + 1, .endpoints = 2 * processes,
                                             .lanes = LANES_MAX - 1 };
    world.board_bytes = np_board_bytes(&world.limits);
    world.board_memory = zeroed(world.board_bytes);
    np_board_format(world.board_memory, &world.limits);
    np_board_attach(&world.board, world.board_memory, world.board_bytes);
    world.bell_count = np_board_bells(&world.limits);
    world.bells = zeroed(world_bells() * sizeof *world.bells);
    world.meta_bytes = np_arena_meta_bytes(scenario->slots, world.limits.clients + 1, 0);
    world.meta = zeroed(world.meta_bytes);
    world.data = zeroed((size_t)scenario->slots * SLOT_BYTES);
    world.lanes = pages((size_t)LANE_GENERATIONS_MAX * LANE_ROOM);
    np_arena_format(world.meta, scenario->slots, SLOT_BYTES, 0, 0, 0, world.limits.clients + 1, 0);
    np_arena_attach(&world.look, world.meta, world.meta_bytes, world.data, scenario->slots, SLOT_BYTES, 0, 0, 0, world.bells,
                    world.bell_count, 0);
    hoard(scenario);
    make_pool_entry(scenario);
    for (unsigned i = 0; i < sizeof world.kept_clients / sizeof world.kept_clients[0]; i++)
        world.kept_clients[i] = -1;
}

void world_unmake(void)
{
    free(world.board_memory);
    free(world.bells);
    free(world.meta);
    free(world.data);
    free(world.lanes);
    if (world.broker) {
        np_broker_stop(world.broker);
        free(world.broker);
        world.broker = NULL;
    }
}

/* ---------------------------------------------------------------- daemon */

static int lane_memory(void *context, uint32_t lane, size_t bytes, int *node, void **address)
{
    (void)context, (void)node;
    if (world.lanes_used == LANE_GENERATIONS_MAX || bytes > LANE_ROOM)
        return -ENOMEM;
    *address = world.lanes + (size_t)world.lanes_used++ * LANE_ROOM;
    memset(*address, 0, LANE_ROOM);
    world.kept_lanes[lane] = *address;
    return 0;
}

static void lane_memory_gone(void *context, uint32_t lane, void *address, size_t bytes)
{
    (void)context, (void)bytes;
    if (world.kept_lanes[lane] == address)
        world.kept_lanes[lane] = NULL;
}

void daemon_died(void)
{
    if (world.broker) {
        np_broker_stop(world.broker);
        free(world.broker);
        world.broker = NULL;
    }
    /* what is asked on the fast paths is not waited for; the rest is asked again of the next daemon */
    for (unsigned i = 1; i < world.process_count; i++) {
        struct question *question = &world.processes[i].question;
        if (question->pending && (question->kind == ASK_NEXT_LANE || question->kind == ASK_LEAVE_LANE) && model_random(2) == 0) {
            question->result = -ENOTCONN;
            question->pending = false;
        }
    }
}

static bool is_due(const struct process *p)
{
    return p->index != 0 && !model_is_alive(p) && !p->reaped && p->death_due_step <= world.step;
}

bool daemon_has_work(void)
{
    /* relaxed: there is one thread */
    if (atomic_load_explicit(&world.bells[NP_BELL_OF_DAEMON].ring, memory_order_relaxed) != world.daemon_seen)
        return true;
    if (foreign_duty_is_due())
        return true;
    for (unsigned i = 1; i < world.process_count; i++)
        if (is_due(&world.processes[i]) || (world.processes[i].question.pending && !world.processes[i].reaped))
            return true;
    return false;
}

static int admit(struct process *client)
{
    for (uint32_t number = 1; number <= world.limits.clients; number++)
        if (world.kept_clients[number] == (int)client->index && np_entry_is(&world.board.clients[number].state, NP_ACTIVE))
            return (int)number; /* an answer that a predecessor did not live to give */
    struct np_client_entry *entry;
    int number = np_broker_client_add(world.broker, &entry);
    if (number < 0)
        return number;
    const struct process *former = world.kept_clients[number] >= 0 ? &world.processes[world.kept_clients[number]] : NULL;
    if (former && former != client && former->client == (unsigned)number && !former->reaped)
        model_fail("client number %d of %s is given to %s before its death was dealt with", number, former->name, client->name);
    for (uint32_t other = 1; other <= world.limits.clients; other++)
        if (world.kept_clients[other] == (int)client->index)
            world.kept_clients[other] = -1;
    world.kept_clients[number] = (int)client->index;
    foreign_admit((uint32_t)number, foreign_is(client));
    np_broker_client_activate(world.broker, (uint32_t)number);
    return number;
}

static void answer(struct process *client)
{
    struct question *q = &client->question;
    switch (q->kind) {
    case ASK_CONNECT: q->result = admit(client); break;
    case ASK_OPEN: q->result = np_broker_endpoint_open(world.broker, client->client, &q->open, &q->opened); break;
    case ASK_CLOSE: q->result = np_broker_endpoint_close(world.broker, client->client, q->endpoint); break;
    case ASK_NEXT_LANE:
        q->result = np_broker_next_lane(world.broker, client->client, q->endpoint, q->stamp, &q->lane);
        break;
    case ASK_LEAVE_LANE:
        q->result = np_broker_leave_lane(world.broker, client->client, q->endpoint, q->lane_id, q->generation);
        break;
    }
    q->pending = false;
}

static void give_back(struct process *dead)
{
    struct np_scavenged what;
    oracle_client_gone(dead);
    for (uint32_t number = 1; number <= world.limits.clients; number++)
        if (world.kept_clients[number] == (int)dead->index)
            np_broker_client_gone(world.broker, number, &what);
    dead->question.pending = false;
    dead->reaped = true;
}

static void work(struct process *self)
{
    struct process *chosen = NULL;
    unsigned n = 0;
    uint32_t rings = np_load32(&world.bells[NP_BELL_OF_DAEMON].ring, memory_order_acquire);
    for (unsigned i = 1; i < world.process_count; i++) {
        struct process *p = &world.processes[i];
        if ((is_due(p) || (p->question.pending && !p->reaped)) && model_random(++n) == 0)
            chosen = p;
    }
    actor_begin(self);
    if (rings != world.daemon_seen || foreign_duty_is_due()) {
        world.daemon_seen = rings;
        np_broker_orphan_duty(world.broker);
    }
    if (chosen && chosen->question.pending)
        answer(chosen); /* also of one who has died since: the socket still had it */
    else if (chosen && is_due(chosen))
        give_back(chosen);
    actor_end(self);
}

/* After recovery the keeper's record of a client whose number is free again is of one who has been dealt with. It must go
 * before anybody is admitted, or it would be taken for the next one of that number. */
static void forget_finished(void)
{
    for (uint32_t number = 1; number <= world.limits.clients; number++) {
        struct process *former = world.kept_clients[number] >= 0 ? &world.processes[world.kept_clients[number]] : NULL;
        if (!former || !np_entry_is(&world.board.clients[number].state, NP_NONE))
            continue;
        world.kept_clients[number] = -1;
        if (former->client == number && !model_is_alive(former)) {
            former->question.pending = false;
            former->reaped = true;
        }
    }
}

void daemon_body(struct process *self)
{
    static const struct np_broker_environment environment = { NULL, lane_memory, lane_memory_gone, true };
    struct np_broker *broker = calloc(1, sizeof *broker);
    if (!broker || np_broker_start(broker, &world.board, world.bells, &environment) < 0)
        model_fail("no memory for a broker");
    world.broker = broker;
    foreign_take_over();
    if (np_broker_attach_pool(broker, 0, 0, world.meta, world.meta_bytes) < 0)
        model_fail("the daemon cannot attach the pool: %s", numapool_errormsg());
    for (uint32_t lane = 1; lane <= world.limits.lanes; lane++)
        if (world.kept_lanes[lane] && !np_entry_is(&world.board.lanes[lane].state, NP_NONE))
            np_broker_attach_lane(broker, lane, world.kept_lanes[lane]); /* one that was not finished is refused, and made anew */
    actor_begin(self);
    if (world.daemon_starts > 0)
        np_broker_recover(broker);
    actor_end(self);
    forget_finished();
    for (;;) {
        model_block(self, PROCESS_IDLE);
        work(self);
    }
}

/* ---------------------------------------------------------------- authority: questions to the daemon */

static int ask(struct process *self)
{
    oracle_settle(self);
    self->question.pending = true;
    model_block(self, PROCESS_ASKING);
    return self->question.result;
}

static int endpoint_open(void *context, const struct np_endpoint_request *request, struct np_endpoint_grant *grant)
{
    struct process *self = context;
    self->question.kind = ASK_OPEN;
    self->question.open = *request;
    int result = ask(self);
    *grant = self->question.opened;
    return result;
}

static int endpoint_close(void *context, uint32_t endpoint)
{
    struct process *self = context;
    unsigned starts = world.daemon_starts;
    self->question.kind = ASK_CLOSE;
    self->question.endpoint = endpoint;
    int result = ask(self);
    return starts != world.daemon_starts ? 0 : result; /* a predecessor may have done it */
}

static int next_lane(void *context, uint32_t endpoint, uint64_t stamp, struct np_lane_grant *grant)
{
    struct process *self = context;
    self->question.kind = ASK_NEXT_LANE;
    self->question.endpoint = endpoint;
    self->question.stamp = stamp;
    int result = ask(self);
    *grant = self->question.lane;
    return result;
}

static int leave_lane(void *context, uint32_t endpoint, uint32_t lane, uint32_t generation)
{
    struct process *self = context;
    self->question.kind = ASK_LEAVE_LANE;
    self->question.endpoint = endpoint;
    self->question.lane_id = lane;
    self->question.generation = generation;
    return ask(self);
}

static void unmap_lane(void *context, struct np_lane_shared *memory, uint32_t capacity, uint32_t kind)
{
    (void)context, (void)memory, (void)capacity, (void)kind; /* a run never uses a lane's memory again */
}

static void ring(void *context, uint32_t bell)
{
    (void)context;
    if (bell < world.bell_count)
        np_bell_ring(&world.bells[bell]);
}

static const struct np_authority authority = { endpoint_open, endpoint_close, next_lane, leave_lane, unmap_lane, ring };

/* ---------------------------------------------------------------- clients */

static int node_zero(void)
{
    return 0;
}

static void nothing_to_unmap(struct numapool_pool *pool)
{
    (void)pool;
}

int client_connect(struct process *self)
{
    self->question.kind = ASK_CONNECT;
    int number = ask(self);
    if (number <= 0)
        return number;
    self->client = (unsigned)number;
    struct numapool_pool *pool = calloc(1, sizeof *pool);
    struct np_pool_arena *arena = aligned_alloc(128, (sizeof *arena + 127) / 128 * 128);
    struct np_account_row *account = calloc(1, sizeof *account);
    if (!pool || !arena || !account)
        model_fail("no memory for a client");
    memset(arena, 0, sizeof *arena);
    snprintf(pool->name, sizeof pool->name, "model");
    pool->mode = NUMAPOOL_MODE_DIRECT;
    pool->client = self->client;
    pool->slot_bytes = SLOT_BYTES;
    pool->magazine_slots = NP_MAGAZINE_SLOTS_DEFAULT;
    pool->arena_count = 1;
    pool->arenas = arena;
    pool->bells = world.bells;
    pool->bell_count = world.bell_count;
    pool->own_node = node_zero;
    pool->authority = &authority;
    pool->authority_context = self;
    pool->destroy = nothing_to_unmap;
    pool->opens = 1;
    arena->account = account;
    if (np_arena_attach(&arena->arena, world.meta, world.meta_bytes, world.data, world.run.scenario->slots, SLOT_BYTES, 0, 0,
                        self->client, world.bells, world.bell_count, 0) < 0 ||
        np_pool_start(pool, world.run.scenario->sharers) < 0)
        model_fail("%s cannot open the pool: %s", self->name, numapool_errormsg());
    self->pool = pool;
    if (foreign_is(self))
        foreign_set_up(self, &authority);
    return 0;
}

void client_disconnect(struct process *self)
{
    int result = numapool_close(self->pool);
    if (result < 0)
        model_fail("%s cannot close the pool: %s", self->name, numapool_errormsg());
    oracle_settle(self);
    free(self->pool->arenas[0].account);
    free(self->pool->arenas);
    free(self->pool);
    self->pool = NULL;
}
