/* SPDX-License-Identifier: MIT
 *
 * Reconciling: who has which lane is made to be as broker.h says (R1 to R4), whatever was going on before. */
#include "broker/reconcile.h"

#include <errno.h>

#include "core/error.h"

/* ---------------------------------------------------------------- lanes begin and end */

void np_broker_end_lane(struct np_broker *broker, uint32_t lane)
{
    struct np_lane_entry *entry = &broker->board.lanes[lane];
    uint32_t pool = broker->board.channels[entry->channel].pool;
    if (entry->kind == NP_LANE_SLOTS)
        np_broker_sweep(broker, pool, NP_WORD_SENT, lane);
    else if (entry->kind == NP_LANE_HOME)
        np_broker_sweep(broker, pool, NP_WORD_SHARED, lane); /* no word names lanes of other kinds */
    struct np_lane_shared *shared = broker->lane_memory[lane];
    broker->lane_memory[lane] = NULL;
    np_store32(&entry->state, NP_NONE, memory_order_release);
    broker->environment.lane_memory_gone(broker->environment.context, lane, shared, np_lane_bytes(entry->capacity, entry->kind));
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

static uint32_t capacity_for(struct np_broker *broker, uint32_t channel, uint32_t sender, uint32_t kind, uint32_t home)
{
    if (kind == NP_LANE_BROADCAST)
        return broker->board.lanes[home].capacity; /* B4 */
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
    if (kind == NP_LANE_SMALL)
        return capacity < NP_SMALL_LANE_SLOTS_MAX ? capacity : NP_SMALL_LANE_SLOTS_MAX;
    /* an idle sender may leave as many released slots as its lane holds where nobody else can take them: a quarter at
     * most */
    while (capacity > NP_LANE_SLOTS_MIN && capacity > slots / 4)
        capacity /= 2;
    return capacity;
}

int np_broker_make_lane(struct np_broker *broker, uint32_t channel, uint32_t sender, uint32_t receiver, uint32_t kind, uint32_t home,
                        uint32_t *made)
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
    entry->kind = kind;
    entry->home = home;
    entry->capacity = capacity_for(broker, channel, sender, kind, home);
    np_store32(&entry->sender, sender, memory_order_relaxed); /* relaxed, all of these: before the state, by its release */
    np_store32(&entry->receiver, receiver, memory_order_relaxed);
    np_store32(&entry->orphaning, 0, memory_order_relaxed);
    np_store64(&entry->redelivered, 0, memory_order_relaxed);
    np_store64(&entry->rolled_forward, 0, memory_order_relaxed);
    void *memory;
    /* On the side that reads it: the receiver's. One that waits for a receiver is on its sender's, and stays there. */
    int node = board->endpoints[receiver != 0 ? receiver : sender].node;
    int result = broker->environment.lane_memory(broker->environment.context, lane, np_lane_bytes(entry->capacity, kind), &node, &memory);
    entry->node = node;
    if (result < 0) {
        np_store32(&entry->state, NP_NONE, memory_order_release);
        return result;
    }
    np_lane_format(memory, lane, entry->capacity, kind, home, board->channels[channel].pool, channel);
    np_broker_note_receiver(broker, memory, receiver);
    broker->lane_memory[lane] = memory;
    np_store32(&entry->state, NP_ACTIVE, memory_order_release);
    np_broker_lane_changed(broker, lane);
    *made = lane;
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

/* Dead, and the kernel may still do I/O into what it had received. */
static bool is_in_quarantine(const struct np_broker *broker, uint32_t receiver)
{
    return receiver != 0 && np_entry_is(&broker->board.endpoints[receiver].state, NP_DYING);
}

/* Lanes that the sender has still to leave. One that is idle leaves none until it sends again. Those of receivers in
 * quarantine it cannot leave however much it sends: they would keep it from all who come, and are no more than there
 * are clients. */
static unsigned draining_lanes(struct np_broker *broker, const uint32_t *lanes, unsigned n, uint32_t sender)
{
    unsigned count = 0;
    for (unsigned i = 0; i < n; i++)
        count += broker->lane_memory[lanes[i]] &&
                 np_load32(&broker->board.lanes[lanes[i]].sender, memory_order_relaxed) == sender &&
                 !is_in_quarantine(broker, np_load32(&broker->board.lanes[lanes[i]].receiver, memory_order_relaxed)) &&
                 np_lane_state_of(broker->lane_memory[lanes[i]]) != NP_LANE_ACTIVE; /* of whatever kind a scribbler makes it */
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

bool np_broker_lane_is_over(struct np_broker *broker, uint32_t lane)
{
    struct np_lane_entry *entry = &broker->board.lanes[lane];
    return np_load32(&entry->sender, memory_order_acquire) == 0 &&
           (np_load32(&entry->receiver, memory_order_acquire) == 0 || broker->environment.ends_map_themselves) &&
           np_lane_is_drained(broker->lane_memory[lane], entry->capacity, entry->kind);
}

/* R1 to R4, and R3's lanes for who has no receiver. */
static int pair(struct np_broker *broker, uint32_t channel, uint32_t kind, const struct np_channel_ends *ends)
{
    int result = 0;
    uint32_t made;
    for (unsigned i = 0; i < ends->lane_count; i++) {
        struct np_lane_entry *entry = &broker->board.lanes[ends->lanes[i]];
        if (np_broker_lane_is_over(broker, ends->lanes[i])) {
            np_broker_end_lane(broker, ends->lanes[i]); /* R4 */
            continue;
        }
        if (np_load32(&entry->receiver, memory_order_acquire) != 0)
            continue;
        if (np_lane_pass_over(broker->lane_memory[ends->lanes[i]], entry->capacity, entry->kind) > 0) {
            struct np_lane_pool pool = np_broker_lane_pool(broker, broker->board.channels[channel].pool);
            np_lane_ring(broker->lane_memory[ends->lanes[i]], &pool); /* its sender may wait for room */
        }
        if (np_broker_lane_is_over(broker, ends->lanes[i]))
            np_broker_end_lane(broker, ends->lanes[i]); /* R4: what was on it was for one who is gone */
        else if (ends->receiver_count > 0)
            give_lane(broker, ends->lanes, ends->lane_count, ends->lanes[i], ends->receivers, ends->receiver_count);
    }
    for (unsigned s = 0; s < ends->sender_count; s++) {
        uint32_t sender = ends->senders[s];
        if (ends->receiver_count == 0 && active_lanes(broker, ends->lanes, ends->lane_count, sender, 0, 0) == 0) {
            int failed = np_broker_make_lane(broker, channel, sender, 0, kind, 0, &made); /* R3 */
            result = failed < 0 ? failed : result;
        }
        bool may_have_more = draining_lanes(broker, ends->lanes, ends->lane_count, sender) < NP_DRAINING_LANES_MAX; /* R2 */
        for (unsigned r = 0; r < ends->receiver_count && may_have_more; r++) {
            if (active_lanes(broker, ends->lanes, ends->lane_count, sender, ends->receivers[r], 0) > 0)
                continue;
            int failed = np_broker_make_lane(broker, channel, sender, ends->receivers[r], kind, 0, &made); /* R2 */
            result = failed < 0 ? failed : result;
        }
    }
    return result;
}

int np_broker_reconcile(struct np_broker *broker, uint32_t channel)
{
    struct np_board *board = &broker->board;
    struct np_channel_ends ends = { .senders = broker->scratch };
    ends.receivers = ends.senders + board->limits.endpoints;
    ends.lanes = ends.receivers + board->limits.endpoints;
    ends.sender_count = collect(broker, channel, NP_ROLE_SENDER, ends.senders);
    ends.receiver_count = collect(broker, channel, NP_ROLE_RECEIVER, ends.receivers);
    for (uint32_t lane = 1; lane <= board->limits.lanes; lane++)
        if (np_entry_is(&board->lanes[lane].state, NP_ACTIVE) && board->lanes[lane].channel == channel && broker->lane_memory[lane])
            ends.lanes[ends.lane_count++] = lane;
    uint32_t kind = np_channel_kind(board->channels[channel].flags);
    int result = kind == NP_LANE_BROADCAST ? np_broker_reconcile_broadcast(broker, channel, &ends) : pair(broker, channel, kind, &ends);
    end_channel_if_idle(broker, channel);
    return result;
}
