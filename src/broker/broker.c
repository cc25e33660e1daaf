/* SPDX-License-Identifier: MIT */
#include "broker/broker.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/error.h"

/* ---------------------------------------------------------------- starting */

int np_broker_start(struct np_broker *broker, const struct np_board *board, struct np_bell *bells,
                    const struct np_broker_environment *environment)
{
    *broker = (struct np_broker){ .board = *board, .bells = bells, .bell_count = np_board_bells(&board->limits),
                                  .environment = *environment };
    broker->pools = calloc(NP_POOLS_MAX, sizeof *broker->pools);
    broker->pages = calloc(board->limits.clients + 1, sizeof *broker->pages);
    broker->lane_memory = calloc(board->limits.lanes + 1, sizeof *broker->lane_memory);
    broker->scratch = malloc((2 * (size_t)board->limits.endpoints + board->limits.lanes) * sizeof *broker->scratch);
    if (broker->pools && broker->pages && broker->lane_memory && broker->scratch)
        return 0;
    np_broker_stop(broker);
    return np_error(-ENOMEM, "no memory for a broker of %u lanes", board->limits.lanes);
}

void np_broker_stop(struct np_broker *broker)
{
    free(broker->pools);
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
    int result = np_lane_check(memory, lane, entry->capacity);
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
    /* A predecessor may have died between freeing a slot and showing it: no word names client 0, so nothing is freed here, but all that is
     * free is shown. */
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
    return np_error(-ENOSPC, "no room for pool '%.47s': there can be %u", name, NP_POOLS_MAX);
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

static int channel_for(struct np_broker *broker, const struct np_endpoint_request *request, uint32_t *channel)
{
    struct np_board *board = &broker->board;
    uint32_t vacant = 0;
    for (uint32_t i = 1; i <= board->limits.channels; i++) {
        struct np_channel_entry *entry = &board->channels[i];
        if (np_entry_is(&entry->state, NP_ACTIVE) && entry->pool == request->pool &&
            strncmp(entry->name, request->channel, sizeof entry->name) == 0) {
            *channel = i;
            return 0;
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
    entry->lane_slots = request->lane_slots;
    memcpy(entry->name, request->channel, sizeof entry->name);
    np_store32(&entry->state, NP_ACTIVE, memory_order_release);
    *channel = vacant;
    return 0;
}

/* A channel that nobody joins and nothing waits on is gone. */
static void end_channel_if_idle(struct np_broker *broker, uint32_t channel)
{
    struct np_board *board = &broker->board;
    for (uint32_t e = 1; e <= board->limits.endpoints; e++)
        if (!np_entry_is(&board->endpoints[e].state, NP_NONE) && board->endpoints[e].channel == channel)
            return;
    for (uint32_t lane = 1; lane <= board->limits.lanes; lane++)
        if (!np_entry_is(&board->lanes[lane].state, NP_NONE) && board->lanes[lane].channel == channel)
            return;
    np_store32(&board->channels[channel].state, NP_NONE, memory_order_release);
}

static int check_request(struct np_broker *broker, const struct np_endpoint_request *request)
{
    if (request->pool >= NP_POOLS_MAX || !broker->pools[request->pool].mapped)
        return np_error(-EINVAL, "there is no pool number %u", request->pool);
    if (request->role != NP_ROLE_SENDER && request->role != NP_ROLE_RECEIVER)
        return np_error(-EINVAL, "role %u is neither sender nor receiver", request->role);
    if (request->lane_slots > NP_LANE_SLOTS_MAX)
        return np_error(-EINVAL, "lane_slots is %u: a lane holds at most %u messages", request->lane_slots, NP_LANE_SLOTS_MAX);
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
    result = bell < 0 ? bell : channel_for(broker, request, &channel);
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
                                     np_load32(&broker->lane_memory[found]->state, memory_order_acquire), entry->kind, entry->home, peer,
                                     peer > 0 && peer <= board->limits.endpoints ? board->endpoints[peer].generation : 0,
                                     broker->lane_memory[found] };
    return 1;
}

/* Both ends are gone and nothing is on it: the number may be used again, once no word names it. */
static void end_lane(struct np_broker *broker, uint32_t lane)
{
    struct np_lane_entry *entry = &broker->board.lanes[lane];
    np_broker_sweep(broker, broker->board.channels[entry->channel].pool, NP_WORD_SENT, lane);
    struct np_lane_shared *shared = broker->lane_memory[lane];
    broker->lane_memory[lane] = NULL;
    np_store32(&entry->state, NP_NONE, memory_order_release);
    broker->environment.lane_memory_gone(broker->environment.context, lane, shared, np_lane_bytes(entry->capacity));
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
    struct np_lane_shared *shared = broker->lane_memory[lane];
    struct np_lane_pool pool = np_broker_lane_pool(broker, broker->board.channels[entry->channel].pool);
    uint32_t expected = endpoint;
    if (np_load32(&entry->sender, memory_order_acquire) == endpoint) {
        uint32_t state = np_load32(&shared->state, memory_order_acquire);
        if (state != NP_LANE_DRAIN && state != NP_LANE_ORPHAN) /* ORPHAN: a predecessor died in the middle of this */
            return np_error(-EINVAL, "lane %u is in use: its sender can leave it when it is to be drained", lane);
        np_broker_orphan(broker, lane);
    } else if (np_load32(&entry->receiver, memory_order_acquire) == endpoint) {
        if (np_load32(&shared->state, memory_order_acquire) != NP_LANE_ORPHAN)
            return np_error(-EINVAL, "lane %u has a sender: its receiver cannot leave it", lane);
        np_lane_prepare_handover(shared, lane, entry->capacity, &pool);
        np_cas32(&entry->receiver, &expected, 0, memory_order_acq_rel);
    }
    np_broker_orphan_duty(broker);
    np_broker_reconcile(broker, entry->channel);
    return 0; /* it has been left, and may be gone, whatever else could not be done */
}

/* ---------------------------------------------------------------- reconciling */

static uint32_t capacity_for(struct np_broker *broker, uint32_t channel, uint32_t sender)
{
    struct np_broker_pool *pool = &broker->pools[broker->board.channels[channel].pool];
    uint32_t wanted = broker->board.endpoints[sender].lane_slots;
    uint64_t slots = 0;
    for (unsigned i = 0; i < pool->arena_count; i++)
        slots += pool->arenas[i].slots;
    if (wanted == 0)
        wanted = broker->board.channels[channel].lane_slots;
    if (wanted == 0)
        wanted = NP_LANE_SLOTS_DEFAULT;
    uint32_t capacity = np_lane_capacity(wanted);
    /* an idle sender may leave as many released slots as its lane holds where nobody else can take them: a quarter at most */
    while (capacity > NP_LANE_SLOTS_MIN && capacity > slots / 4)
        capacity /= 2;
    return capacity;
}

static int make_lane(struct np_broker *broker, uint32_t channel, uint32_t sender, uint32_t receiver)
{
    struct np_board *board = &broker->board;
    uint32_t lane = 1;
    while (lane <= board->limits.lanes && !np_entry_is(&board->lanes[lane].state, NP_NONE))
        lane++;
    if (lane > board->limits.lanes)
        return np_error(-ENOSPC, "there are %u lanes and there can be no more: raise the daemon's limit (--lanes)", board->limits.lanes);
    struct np_lane_entry *entry = &board->lanes[lane];
    np_store32(&entry->state, NP_FORMING, memory_order_release);
    entry->generation++;
    entry->channel = channel;
    entry->capacity = capacity_for(broker, channel, sender);
    np_store32(&entry->sender, sender, memory_order_relaxed); /* relaxed, all of these: before the state, by its release */
    np_store32(&entry->receiver, receiver, memory_order_relaxed);
    np_store32(&entry->orphaning, 0, memory_order_relaxed);
    np_store64(&entry->redelivered, 0, memory_order_relaxed);
    np_store64(&entry->rolled_forward, 0, memory_order_relaxed);
    void *memory;
    int result = broker->environment.lane_memory(broker->environment.context, lane, np_lane_bytes(entry->capacity), &memory);
    if (result < 0) {
        np_store32(&entry->state, NP_NONE, memory_order_release);
        return result;
    }
    np_lane_format(memory, lane, entry->capacity, board->channels[channel].pool, channel);
    np_broker_note_receiver(broker, memory, receiver);
    broker->lane_memory[lane] = memory;
    np_store32(&entry->state, NP_ACTIVE, memory_order_release);
    np_broker_lane_changed(broker, lane);
    return 0;
}

static unsigned collect(struct np_broker *broker, uint32_t channel, enum np_role role, uint32_t *list)
{
    unsigned n = 0;
    for (uint32_t e = 1; e <= broker->board.limits.endpoints; e++) {
        struct np_endpoint_entry *entry = &broker->board.endpoints[e];
        if (np_entry_is(&entry->state, NP_ACTIVE) && entry->channel == channel && entry->role == (uint32_t)role)
            list[n++] = e;
    }
    return n;
}

/* How many ACTIVE lanes of the list the pair has, not counting `but`. receiver 0: that wait. */
static unsigned active_lanes(struct np_broker *broker, const uint32_t *lanes, unsigned n, uint32_t sender, uint32_t receiver, uint32_t but)
{
    unsigned count = 0;
    for (unsigned i = 0; i < n; i++) {
        struct np_lane_entry *entry = &broker->board.lanes[lanes[i]];
        count += lanes[i] != but && broker->lane_memory[lanes[i]] && np_load32(&entry->sender, memory_order_relaxed) == sender &&
                 np_load32(&entry->receiver, memory_order_relaxed) == receiver &&
                 np_load32(&broker->lane_memory[lanes[i]]->state, memory_order_relaxed) == NP_LANE_ACTIVE;
    }
    return count;
}

/* Lanes that the sender has still to leave. One that is idle leaves none until it sends again. */
static unsigned draining_lanes(struct np_broker *broker, const uint32_t *lanes, unsigned n, uint32_t sender)
{
    unsigned count = 0;
    for (unsigned i = 0; i < n; i++)
        count += broker->lane_memory[lanes[i]] &&
                 np_load32(&broker->board.lanes[lanes[i]].sender, memory_order_relaxed) == sender &&
                 np_load32(&broker->lane_memory[lanes[i]]->state, memory_order_relaxed) == NP_LANE_DRAIN;
    return count;
}

/* R1 and R4 for one lane that waits. */
static void give_lane(struct np_broker *broker, const uint32_t *lanes, unsigned lane_count, uint32_t lane, const uint32_t *receivers,
                      unsigned receiver_count)
{
    struct np_lane_entry *entry = &broker->board.lanes[lane];
    struct np_channel_entry *channel = &broker->board.channels[entry->channel];
    uint32_t sender = np_load32(&entry->sender, memory_order_relaxed), nobody = 0;
    struct np_lane_shared *shared = broker->lane_memory[lane];
    uint32_t receiver = receivers[channel->turn++ % receiver_count];
    bool active = np_load32(&shared->state, memory_order_relaxed) == NP_LANE_ACTIVE;
    if (active)
        for (unsigned i = 0; i < receiver_count; i++)
            if (active_lanes(broker, lanes, lane_count, sender, receivers[i], lane) == 0) {
                receiver = receivers[i]; /* one that has none from this sender goes on with this lane */
                break;
            }
    if (active && active_lanes(broker, lanes, lane_count, sender, receiver, lane) > 0)
        np_store32(&shared->state, NP_LANE_DRAIN, memory_order_release); /* R2; read by the sender at its next sync */
    np_broker_note_receiver(broker, shared, receiver);
    if (np_cas32(&entry->receiver, &nobody, receiver, memory_order_acq_rel))
        np_broker_lane_changed(broker, lane);
}

int np_broker_reconcile(struct np_broker *broker, uint32_t channel)
{
    struct np_board *board = &broker->board;
    uint32_t *list = broker->scratch, *senders = list, *receivers = list + board->limits.endpoints, *lanes = receivers + board->limits.endpoints;
    unsigned sender_count = collect(broker, channel, NP_ROLE_SENDER, senders);
    unsigned receiver_count = collect(broker, channel, NP_ROLE_RECEIVER, receivers);
    unsigned lane_count = 0;
    int result = 0;
    for (uint32_t lane = 1; lane <= board->limits.lanes; lane++)
        if (np_entry_is(&board->lanes[lane].state, NP_ACTIVE) && board->lanes[lane].channel == channel && broker->lane_memory[lane])
            lanes[lane_count++] = lane;

    for (unsigned i = 0; i < lane_count; i++) {
        struct np_lane_entry *entry = &board->lanes[lanes[i]];
        if (np_load32(&entry->receiver, memory_order_acquire) != 0)
            continue;
        if (np_load32(&entry->sender, memory_order_acquire) == 0 && np_lane_is_drained(broker->lane_memory[lanes[i]], entry->capacity))
            end_lane(broker, lanes[i]); /* R4 */
        else if (receiver_count > 0)
            give_lane(broker, lanes, lane_count, lanes[i], receivers, receiver_count);
    }
    for (unsigned s = 0; s < sender_count; s++) {
        if (receiver_count == 0 && active_lanes(broker, lanes, lane_count, senders[s], 0, 0) == 0) {
            int made = make_lane(broker, channel, senders[s], 0); /* R3 */
            result = made < 0 ? made : result;
        }
        bool may_have_more = draining_lanes(broker, lanes, lane_count, senders[s]) < NP_DRAINING_LANES_MAX; /* R2 */
        for (unsigned r = 0; r < receiver_count && may_have_more; r++) {
            if (active_lanes(broker, lanes, lane_count, senders[s], receivers[r], 0) > 0)
                continue;
            int made = make_lane(broker, channel, senders[s], receivers[r]); /* R2 */
            result = made < 0 ? made : result;
        }
    }
    end_channel_if_idle(broker, channel);
    return result;
}
