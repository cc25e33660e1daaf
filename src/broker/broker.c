/* SPDX-License-Identifier: MIT */
#include "broker/broker.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "broker/reconcile.h"
#include "core/error.h"

/* ---------------------------------------------------------------- starting */

int np_broker_start(struct np_broker *broker, const struct np_board *board, struct np_bell *bells,
                    const struct np_broker_environment *environment)
{
    *broker = (struct np_broker){ .board = *board, .bells = bells, .bell_count = np_board_bells(&board->limits),
                                  .environment = *environment };
    /* mapped, not cleared: it is large, and most of it is never touched */
    broker->pools = mmap(NULL, NP_POOLS_MAX * sizeof *broker->pools, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (broker->pools == MAP_FAILED)
        broker->pools = NULL;
    broker->pages = calloc(board->limits.clients + 1, sizeof *broker->pages);
    broker->lane_memory = calloc(board->limits.lanes + 1, sizeof *broker->lane_memory);
    broker->scratch = malloc(2 * ((size_t)board->limits.endpoints + board->limits.lanes) * sizeof *broker->scratch);
    if (broker->pools && broker->pages && broker->lane_memory && broker->scratch)
        return 0;
    np_broker_stop(broker);
    return np_error(-ENOMEM, "no memory for a broker of %u lanes", board->limits.lanes);
}

void np_broker_stop(struct np_broker *broker)
{
    if (broker->pools)
        munmap(broker->pools, NP_POOLS_MAX * sizeof *broker->pools);
    free(broker->pages);
    free(broker->lane_memory);
    free(broker->scratch);
    broker->pools = NULL;
    broker->pages = NULL;
    broker->scratch = NULL;
    broker->lane_memory = NULL;
}

int np_broker_attach_pool(struct np_broker *broker, uint32_t pool, unsigned arena, void *meta, size_t meta_bytes)
{
    struct np_broker_pool *bp = &broker->pools[pool];
    struct np_pool_entry *entry = &broker->board.pools[pool];
    int result = np_arena_attach(&bp->arenas[arena], meta, meta_bytes, NULL, entry->arena[arena].slots, entry->slot_bytes, arena,
                                 entry->arena[arena].node, 0, broker->bells, broker->bell_count, entry->flags);
    if (result < 0)
        return np_error_within(result, "pool '%.47s'", entry->name);
    if (arena >= bp->arena_count)
        bp->arena_count = arena + 1;
    bp->mapped = bp->arena_count >= np_pool_arenas(entry); /* one that is being added is attached before it counts */
    return 0;
}

int np_broker_attach_lane(struct np_broker *broker, uint32_t lane, void *memory)
{
    struct np_lane_entry *entry = &broker->board.lanes[lane];
    int result = np_lane_check(memory, lane, entry->capacity, entry->kind);
    if (result == 0)
        broker->lane_memory[lane] = memory;
    return result;
}

static void ring_everybody(struct np_broker *broker)
{
    for (uint32_t pool = 0; pool < NP_POOLS_MAX; pool++)
        for (unsigned i = 0; i < broker->pools[pool].arena_count; i++)
            np_arena_wake_all(&broker->pools[pool].arenas[i]);
    for (uint32_t lane = 1; lane <= broker->board.limits.lanes; lane++)
        if (broker->lane_memory[lane]) {
            struct np_lane_pool pool =
                np_broker_lane_pool(broker, broker->board.channels[broker->board.lanes[lane].channel].pool);
            np_lane_ring(broker->lane_memory[lane], &pool);
        }
}

void np_broker_recover(struct np_broker *broker)
{
    struct np_board *board = &broker->board;
    struct np_scavenged what = { 0 };
    for (uint32_t lane = 1; lane <= board->limits.lanes; lane++)
        if (np_entry_is(&board->lanes[lane].state, NP_FORMING))
            np_store32(&board->lanes[lane].state, NP_NONE, memory_order_release);
        else if (np_entry_is(&board->lanes[lane].state, NP_ACTIVE) && !broker->lane_memory[lane])
            np_store32(&board->lanes[lane].state, NP_DYING, memory_order_release); /* its ends have it, and words name it */
    for (uint32_t lane = 1; lane <= board->limits.lanes; lane++)
        if (broker->lane_memory[lane] && np_load32(&board->lanes[lane].sender, memory_order_acquire) != 0 &&
            np_load32(&board->lanes[lane].orphaning, memory_order_acquire) != 0)
            np_broker_orphan(broker, lane); /* its state says nothing: the receiver can write that */
    for (uint32_t e = 1; e <= board->limits.endpoints; e++) {
        struct np_endpoint_entry *endpoint = &board->endpoints[e];
        /* FORMING, or a client's who has been cleared: nobody was told its number */
        if (np_entry_is(&endpoint->state, NP_FORMING) ||
            (np_entry_is(&endpoint->state, NP_ACTIVE) && np_entry_is(&board->clients[endpoint->client].state, NP_NONE)))
            np_broker_endpoint_gone(broker, e, &what);
    }
    for (uint32_t client = 1; client <= board->limits.clients; client++) {
        if (np_entry_is(&board->clients[client].state, NP_FORMING))
            np_store32(&board->clients[client].state, NP_NONE, memory_order_release);
        if (!np_entry_is(&board->clients[client].state, NP_DYING))
            continue;
        if (np_load32(&board->clients[client].has_io, memory_order_acquire) != 0)
            np_broker_client_stopped(broker, client, &what); /* whoever can ask the kernel goes on with it */
        else
            np_broker_client_gone(broker, client, &what);
    }
    for (uint32_t channel = 1; channel <= board->limits.channels; channel++) {
        if (np_entry_is(&board->channels[channel].state, NP_FORMING))
            np_store32(&board->channels[channel].state, NP_NONE, memory_order_release);
        if (np_entry_is(&board->channels[channel].state, NP_ACTIVE))
            np_broker_reconcile(broker, channel);
    }
    np_broker_orphan_duty(broker);
    /* A predecessor may have died between freeing a slot and showing it: no word names client 0, so nothing is freed
     * here, but all that is free is shown. */
    for (uint32_t pool = 0; pool < NP_POOLS_MAX; pool++)
        if (broker->pools[pool].mapped) {
            np_broker_sweep(broker, pool, NP_WORD_HELD, 0);
            np_broker_pool_changed(broker, pool);
        }
    /* a predecessor may have died between changing a lane and telling its ends: everybody asks again */
    for (uint32_t lane = 1; lane <= board->limits.lanes; lane++)
        if (broker->lane_memory[lane] && np_entry_is(&board->lanes[lane].state, NP_ACTIVE))
            np_broker_lane_changed(broker, lane);
    ring_everybody(broker);
}

/* ---------------------------------------------------------------- pools and clients */

int np_broker_pool_find(struct np_broker *broker, const char *name, struct np_pool_entry **entry)
{
    for (uint32_t i = 0; i < NP_POOLS_MAX; i++) {
        struct np_pool_entry *pool = &broker->board.pools[i];
        if (np_entry_is(&pool->state, NP_ACTIVE) && strncmp(pool->name, name, sizeof pool->name) == 0) {
            *entry = pool;
            return 0;
        }
    }
    return np_error(-ENOENT, "there is no pool '%.47s' here: numapoolctl pools lists those there are", name);
}

int np_broker_pool_add(struct np_broker *broker, const char *name, struct np_pool_entry **entry)
{
    if (np_broker_pool_find(broker, name, entry) == 0)
        return np_error(-EEXIST, "there is a pool '%.47s' already", name);
    for (uint32_t i = 0; i < NP_POOLS_MAX; i++) {
        struct np_pool_entry *pool = &broker->board.pools[i];
        if (!np_entry_is(&pool->state, NP_NONE))
            continue;
        memset((char *)pool + sizeof pool->state, 0, sizeof *pool - sizeof pool->state);
        pool->id = i;
        snprintf(pool->name, sizeof pool->name, "%s", name);
        np_store32(&pool->state, NP_FORMING, memory_order_release);
        *entry = pool;
        return 0;
    }
    return np_error(-ENOSPC, "no room for pool '%.47s': there can be %u; destroy one that is not needed (numapoolctl pools lists them)", name, NP_POOLS_MAX);
}

int np_broker_client_add(struct np_broker *broker, struct np_client_entry **entry)
{
    struct np_board *board = &broker->board;
    for (uint32_t i = 1; i <= board->limits.clients; i++) {
        struct np_client_entry *client = &board->clients[i];
        if (!np_entry_is(&client->state, NP_NONE))
            continue;
        memset((char *)client + sizeof client->state, 0, sizeof *client - sizeof client->state);
        np_store64(&client->opened, UINT64_MAX, memory_order_relaxed); /* relaxed: before the state, by its release */
        np_store32(&client->state, NP_FORMING, memory_order_release);
        *entry = client;
        return (int)i;
    }
    return np_error(-EUSERS, "the daemon has %u clients and can have no more: raise its limit (--clients)", board->limits.clients);
}

void np_broker_client_activate(struct np_broker *broker, uint32_t client)
{
    np_add64(&broker->board.header->clients_admitted, 1, memory_order_relaxed); /* relaxed: a statistic */
    np_store32(&broker->board.clients[client].state, NP_ACTIVE, memory_order_release);
}

/* ---------------------------------------------------------------- endpoints */

static const char *kind_text(uint32_t flags)
{
    static const char *const texts[] = { [NP_LANE_SLOTS] = "of slots", [NP_LANE_SMALL] = "SMALL", [NP_LANE_BROADCAST] = "BROADCAST" };
    return texts[np_channel_kind(flags)];
}

static int channel_for(struct np_broker *broker, const struct np_endpoint_request *request, bool readonly, uint32_t *channel)
{
    struct np_board *board = &broker->board;
    uint32_t vacant = 0;
    for (uint32_t i = 1; i <= board->limits.channels; i++) {
        struct np_channel_entry *entry = &board->channels[i];
        if (np_entry_is(&entry->state, NP_ACTIVE) && entry->pool == request->pool &&
            strncmp(entry->name, request->channel, sizeof entry->name) == 0) {
            *channel = i;
            return entry->flags == request->flags ? 0
                                                  : np_error(-EINVAL, "channel '%.47s' is %s, and this end wants one that is %s: all its ends say the same",
                                                             entry->name, kind_text(entry->flags), kind_text(request->flags));
        }
        if (vacant == 0 && np_entry_is(&entry->state, NP_NONE))
            vacant = i;
    }
    if (vacant == 0)
        return np_error(-ENOSPC, "there are %u channels and there can be no more: raise the daemon's limit (--channels)",
                        board->limits.channels);
    struct np_channel_entry *entry = &board->channels[vacant];
    memset((char *)entry + sizeof entry->state, 0, sizeof *entry - sizeof entry->state);
    entry->pool = request->pool;
    /* Lanes are made when senders join, and of small messages are as long as is wished: those are not to pay for a
     * reader's wish. */
    entry->lane_slots = readonly ? 0 : request->lane_slots;
    entry->flags = request->flags;
    memcpy(entry->name, request->channel, sizeof entry->name);
    np_store32(&entry->state, NP_ACTIVE, memory_order_release);
    *channel = vacant;
    return 0;
}

static int check_request(struct np_broker *broker, const struct np_endpoint_request *request)
{
    if (request->pool >= NP_POOLS_MAX || !broker->pools[request->pool].mapped)
        return np_error(-EINVAL, "there is no pool number %u", request->pool);
    if (request->role != NP_ROLE_SENDER && request->role != NP_ROLE_RECEIVER)
        return np_error(-EINVAL, "role %u is neither sender nor receiver", request->role);
    if (request->lane_slots > NP_LANE_SLOTS_MAX)
        return np_error(-EINVAL, "lane_slots is %u: a lane holds at most %u messages", request->lane_slots, NP_LANE_SLOTS_MAX);
    if ((request->flags & ~(uint32_t)(NUMAPOOL_SMALL | NUMAPOOL_BROADCAST)) != 0 ||
        request->flags == (uint32_t)(NUMAPOOL_SMALL | NUMAPOOL_BROADCAST))
        return np_error(-EINVAL, "channel flags %x: a channel is SMALL, or BROADCAST, or neither", request->flags);
    if (request->channel[0] == '\0' || !memchr(request->channel, '\0', sizeof request->channel))
        return np_error(-EINVAL, "a channel's name has 1 to %zu bytes", sizeof request->channel - 1);
    return 0;
}

int np_broker_endpoint_open(struct np_broker *broker, uint32_t client, const struct np_endpoint_request *request,
                            struct np_endpoint_grant *grant)
{
    struct np_board *board = &broker->board;
    uint32_t channel = 0, vacant = 0;
    int result = check_request(broker, request);
    if (result < 0)
        return result;
    for (uint32_t e = 1; e <= board->limits.endpoints; e++) {
        struct np_endpoint_entry *entry = &board->endpoints[e];
        if (np_entry_is(&entry->state, NP_ACTIVE) && entry->client == client && entry->tag == request->tag) {
            *grant = np_broker_grant(broker, e);
            return 0;
        }
        /* an address, number and generation, is given out once: a number that has had them all is not used any more */
        if (vacant == 0 && np_entry_is(&entry->state, NP_NONE) && entry->generation < UINT32_MAX)
            vacant = e;
    }
    if (vacant == 0)
        return np_error(-ENOSPC, "there are %u senders and receivers and there can be no more: raise the daemon's limit (--endpoints)",
                        board->limits.endpoints);
    int bell = np_broker_bell_for(broker, client, request);
    result = bell < 0 ? bell : channel_for(broker, request, bell > 0, &channel);
    if (result == 0 && request->role == NP_ROLE_RECEIVER)
        result = np_broker_broadcast_admits(broker, channel);
    if (result < 0)
        return result;
    struct np_endpoint_entry *entry = &board->endpoints[vacant];
    entry->role = request->role;
    entry->client = client;
    entry->channel = channel;
    entry->tag = request->tag;
    entry->lane_slots = request->lane_slots;
    entry->generation++;
    entry->bell = (uint32_t)bell;
    entry->node = request->node; /* of no consequence but for what is nearer to whom: whether it is one is looked at there */
    np_store32(&entry->state, NP_ACTIVE, memory_order_release);
    result = np_broker_reconcile(broker, channel);
    if (result < 0) { /* not all its lanes could be had: it does not join by halves */
        struct np_scavenged what = { 0 };
        np_broker_endpoint_gone(broker, vacant, &what);
        np_broker_reconcile(broker, channel);
        return result;
    }
    *grant = np_broker_grant(broker, vacant);
    return 0;
}

static int check_endpoint(struct np_broker *broker, uint32_t client, uint32_t endpoint)
{
    if (endpoint == 0 || endpoint > broker->board.limits.endpoints ||
        !np_entry_is(&broker->board.endpoints[endpoint].state, NP_ACTIVE) || broker->board.endpoints[endpoint].client != client)
        return np_error(-EINVAL, "endpoint %u is not one of client %u", endpoint, client);
    return 0;
}

int np_broker_endpoint_close(struct np_broker *broker, uint32_t client, uint32_t endpoint)
{
    struct np_scavenged what = { 0 };
    if (endpoint == 0 || endpoint > broker->board.limits.endpoints)
        return check_endpoint(broker, client, endpoint);
    if (check_endpoint(broker, client, endpoint) < 0)
        return 0; /* asked again after it was done: a worker died before it could answer */
    uint32_t channel = broker->board.endpoints[endpoint].channel;
    np_broker_endpoint_gone(broker, endpoint, &what);
    np_broker_reconcile(broker, channel);
    np_broker_orphan_duty(broker);
    return 0;
}

/* ---------------------------------------------------------------- lanes */

uint32_t np_broker_lane_state(struct np_broker *broker, uint32_t lane)
{
    struct np_lane_entry *entry = &broker->board.lanes[lane];
    if (entry->kind != NP_LANE_BROADCAST) {
        /* Whether it is an orphan says the board: an earlier receiver may have written that, or written over it, and who
         * has the lane now would never leave it, or leave it to its sender's dismay. */
        if (np_load32(&entry->sender, memory_order_acquire) == 0)
            return NP_LANE_ORPHAN;
        uint32_t state = np_lane_state_of(broker->lane_memory[lane]);
        bool is_over = np_load32(&entry->orphaning, memory_order_acquire) != 0; /* a predecessor died in this */
        return state == NP_LANE_ACTIVE || is_over ? state : NP_LANE_DRAIN;
    }
    /* by the board, for what is on it depends on what other receivers have, and one of them can write its state */
    if (np_load32(&entry->receiver, memory_order_acquire) == 0)
        return NP_LANE_CLOSED;
    return np_load32(&entry->sender, memory_order_acquire) == 0 ? NP_LANE_ORPHAN : NP_LANE_ACTIVE;
}

uint64_t np_broker_next_stamp(struct np_broker *broker)
{
    return np_load64(&broker->board.header->stamp, memory_order_relaxed) + 1; /* relaxed: one writer */
}

void np_broker_lane_changed(struct np_broker *broker, uint32_t lane)
{
    struct np_board *board = &broker->board;
    struct np_lane_entry *entry = &board->lanes[lane];
    uint64_t stamp = np_add64(&board->header->stamp, 1, memory_order_relaxed) + 1; /* relaxed: one writer */
    np_store64(&entry->stamp, stamp, memory_order_release);
    uint32_t ends[2] = { np_load32(&entry->sender, memory_order_relaxed), np_load32(&entry->receiver, memory_order_relaxed) };
    for (unsigned i = 0; i < 2; i++) {
        if (ends[i] == 0 || ends[i] > board->limits.endpoints)
            continue;
        struct np_bell *bell = np_broker_bell(broker, ends[i]);
        if (!bell)
            continue;
        np_add32(&bell->news, 1, memory_order_release); /* pairs with np_endpoint_has_news */
        np_bell_ring(bell);
    }
    np_broker_ring_getters(broker, ends[0], ends[1]);
}

int np_broker_next_lane(struct np_broker *broker, uint32_t client, uint32_t endpoint, uint64_t stamp, struct np_lane_grant *grant)
{
    int result = check_endpoint(broker, client, endpoint);
    if (result < 0)
        return result;
    struct np_board *board = &broker->board;
    uint32_t found = 0;
    uint64_t found_stamp = UINT64_MAX;
    for (uint32_t lane = 1; lane <= board->limits.lanes; lane++) {
        struct np_lane_entry *entry = &board->lanes[lane];
        if (!np_entry_is(&entry->state, NP_ACTIVE))
            continue;
        if (np_load32(&entry->sender, memory_order_acquire) != endpoint &&
            np_load32(&entry->receiver, memory_order_acquire) != endpoint)
            continue;
        uint64_t its_stamp = np_load64(&entry->stamp, memory_order_acquire);
        if (its_stamp > stamp && its_stamp < found_stamp) {
            found = lane;
            found_stamp = its_stamp;
        }
    }
    if (found == 0)
        return 0;
    struct np_lane_entry *entry = &board->lanes[found];
    uint32_t sender = np_load32(&entry->sender, memory_order_acquire), receiver = np_load32(&entry->receiver, memory_order_acquire);
    uint32_t peer = sender == endpoint ? receiver : sender;
    *grant = (struct np_lane_grant){ found_stamp, found, entry->generation, entry->capacity,
                                     np_broker_lane_state(broker, found), entry->kind, entry->home, peer,
                                     peer > 0 && peer <= board->limits.endpoints ? board->endpoints[peer].generation : 0,
                                     broker->lane_memory[found] };
    return 1;
}

int np_broker_leave_lane(struct np_broker *broker, uint32_t client, uint32_t endpoint, uint32_t lane, uint32_t generation)
{
    int result = check_endpoint(broker, client, endpoint);
    if (result < 0)
        return result;
    if (lane == 0 || lane > broker->board.limits.lanes || !broker->lane_memory[lane] ||
        broker->board.lanes[lane].generation != generation)
        return 0; /* asked again after it was done */
    struct np_lane_entry *entry = &broker->board.lanes[lane];
    uint32_t state = np_broker_lane_state(broker, lane);
    if (np_load32(&entry->sender, memory_order_acquire) == endpoint) {
        bool may_leave = entry->kind == NP_LANE_BROADCAST ? state == NP_LANE_CLOSED
                                                          : state == NP_LANE_DRAIN || state == NP_LANE_ORPHAN; /* a predecessor died in this */
        if (!may_leave || entry->kind == NP_LANE_HOME)
            return np_error(-EINVAL, "lane %u is in use: its sender can leave it when it is to be drained", lane);
        np_broker_orphan(broker, lane);
    } else if (np_load32(&entry->receiver, memory_order_acquire) == endpoint) {
        if (state != NP_LANE_ORPHAN)
            return np_error(-EINVAL, "lane %u has a sender: its receiver cannot leave it", lane);
        np_broker_receiver_off(broker, lane, endpoint);
    }
    np_broker_orphan_duty(broker);
    np_broker_reconcile(broker, entry->channel);
    return 0; /* it has been left, and may be gone, whatever else could not be done */
}
