/* SPDX-License-Identifier: MIT
 *
 * Channels that broadcast: who has which lane, and what the dead leave there (channel/broadcast.h).
 *
 *   Q1  every live sender has one home, made before its lanes; it is gone when its sender is, and no lane belongs to it
 *   Q2  every (sender, receiver) pair of live endpoints has exactly one ACTIVE lane of the sender's home; but a sender
 *       that has NP_DRAINING_LANES_MAX closed lanes to leave gets no more until it does, which it does before it next
 *       sends
 *   Q3  a lane whose receiver is gone is CLOSED: what is on it counts as released. It is never another's. It is gone when
 *       its sender has left it, or is gone
 *   Q4  of an orphan home, which is one only after every lane of it has been rolled forward, a slot is freed when no lane
 *       has it
 *
 * Each step can be done twice.
 */
#include "broker/reconcile.h"

#include <errno.h>

#include "core/error.h"

/* ---------------------------------------------------------------- who has a slot */

/* The lanes of a home that this process has the memory of. */
struct home {
    uint32_t number;
    uint32_t *lanes; /* scratch */
    unsigned count;
    bool lost; /* there are others, of which nobody can tell what is on them */
    struct np_broker *broker;
};

static bool is_of(const struct np_lane_entry *entry, uint32_t home)
{
    return entry->kind == NP_LANE_BROADCAST && entry->home == home &&
           (np_entry_is(&entry->state, NP_ACTIVE) || np_entry_is(&entry->state, NP_DYING));
}

static struct home lanes_of(struct np_broker *broker, uint32_t number)
{
    const struct np_board *board = &broker->board;
    struct home home = { .number = number, .broker = broker,
                         .lanes = broker->scratch + 2 * (size_t)board->limits.endpoints + board->limits.lanes };
    for (uint32_t lane = 1; lane <= board->limits.lanes; lane++) {
        if (!is_of(&board->lanes[lane], number))
            continue;
        if (broker->lane_memory[lane])
            home.lanes[home.count++] = lane;
        else
            home.lost = true;
    }
    return home;
}

static bool somebody_has(const void *context, uint64_t word)
{
    const struct home *home = context;
    if (home->lost)
        return true;
    for (unsigned i = 0; i < home->count; i++) {
        struct np_lane_entry *entry = &home->broker->board.lanes[home->lanes[i]];
        if (np_load32(&entry->receiver, memory_order_acquire) != 0 &&
            np_broadcast_has(home->broker->lane_memory[home->lanes[i]], entry->capacity, np_word_seq(word)))
            return true;
    }
    return false;
}

/* Frees every slot of the home that no lane has. */
static void sweep_unread(struct np_broker *broker, uint32_t number)
{
    struct home home = lanes_of(broker, number);
    uint32_t pool = broker->board.channels[broker->board.lanes[number].channel].pool;
    np_broker_sweep_but(broker, pool, NP_WORD_SHARED, number, NP_MUTANT(SHARED_SWEPT_EARLY) ? NULL : somebody_has, &home);
}

static bool is_orphan_home(struct np_broker *broker, uint32_t home)
{
    const struct np_lane_entry *entry = &broker->board.lanes[home];
    return home >= 1 && home <= broker->board.limits.lanes && entry->kind == NP_LANE_HOME && !np_entry_is(&entry->state, NP_NONE) &&
           np_load32(&entry->sender, memory_order_acquire) == 0;
}

bool np_broker_home_is_named(struct np_broker *broker, uint32_t home)
{
    for (uint32_t lane = 1; lane <= broker->board.limits.lanes; lane++)
        if (is_of(&broker->board.lanes[lane], home))
            return true;
    return false;
}

void np_broker_home_off(struct np_broker *broker, uint32_t home)
{
    sweep_unread(broker, home); /* what only receivers had whose lanes have ended since */
    np_store32(&broker->board.lanes[home].sender, 0, memory_order_release);
}

void np_broker_broadcast_lost(struct np_broker *broker, uint32_t home)
{
    if (is_orphan_home(broker, home))
        sweep_unread(broker, home);
}

unsigned np_broker_broadcast_duty(struct np_broker *broker, uint32_t lane)
{
    struct np_lane_entry *entry = &broker->board.lanes[lane];
    struct np_lane_shared *shared = broker->lane_memory[lane];
    const uint32_t capacity = entry->capacity;
    uint64_t start, position = np_load64(&shared->reclaimed, memory_order_relaxed); /* relaxed: one writer */
    bool closed = np_broker_lane_state(broker, lane) == NP_LANE_CLOSED;
    if (NP_MUTANT(NO_ORPHAN_DUTY) || !is_orphan_home(broker, entry->home) || !np_broadcast_start(shared, &start))
        return 0;
    uint64_t released = closed ? np_load64(&shared->tail, memory_order_acquire) : np_lane_released_until(shared);
    struct home home = lanes_of(broker, entry->home);
    struct np_lane_pool pool = np_broker_lane_pool(broker, broker->board.channels[entry->channel].pool);
    unsigned freed = 0;
    if (released > position + 2 * (uint64_t)capacity)
        position = released - 2 * (uint64_t)capacity;
    for (; position < released; position++) {
        struct np_arena *arena;
        uint64_t index;
        np_shm64 *address = np_lane_word_at(shared, capacity, position, &pool, &arena, &index);
        if (!address)
            continue;
        uint64_t word = np_load64(address, memory_order_acquire);
        if (np_word_claim(word) != np_word_shared(entry->home, start + position, 0) ||
            (!NP_MUTANT(BROADCAST_FREES_EARLY) && somebody_has(&home, word)) || !np_arena_reclaim(arena, index, word))
            continue;
        np_arena_note_reclaimed(arena, 1);
        np_arena_show_free(arena, index / 64, UINT64_C(1) << index % 64);
        freed++;
    }
    np_store64(&shared->reclaimed, position, memory_order_release);
    for (unsigned i = 0; freed > 0 && i < pool.arena_count; i++)
        np_arena_wake(np_lane_arena(&pool, i));
    if (freed > 0)
        np_broker_pool_freed(broker, broker->board.channels[entry->channel].pool);
    return freed;
}

/* ---------------------------------------------------------------- reconciling */

int np_broker_broadcast_admits(struct np_broker *broker, uint32_t channel)
{
    const struct np_board *board = &broker->board;
    unsigned receivers = 0;
    if (np_channel_kind(board->channels[channel].flags) != NP_LANE_BROADCAST)
        return 0;
    for (uint32_t e = 1; e <= board->limits.endpoints; e++)
        receivers += np_entry_is(&board->endpoints[e].state, NP_ACTIVE) && board->endpoints[e].channel == channel &&
                     board->endpoints[e].role == NP_ROLE_RECEIVER;
    return receivers < NP_BROADCAST_RECEIVERS_MAX
               ? 0
               : np_error(-ENOSPC, "channel '%.47s' broadcasts to %u receivers and can have no more: let one of them send on to others",
                          board->channels[channel].name, receivers);
}

/* The sender's home, or 0. */
static uint32_t home_of(struct np_broker *broker, const struct np_channel_ends *ends, uint32_t sender)
{
    for (unsigned i = 0; i < ends->lane_count; i++) {
        struct np_lane_entry *entry = &broker->board.lanes[ends->lanes[i]];
        if (broker->lane_memory[ends->lanes[i]] && entry->kind == NP_LANE_HOME && np_load32(&entry->sender, memory_order_acquire) == sender)
            return ends->lanes[i];
    }
    return 0;
}

/* How many lanes of that state the sender has; receiver 0: to whomever. */
static unsigned lanes_in(struct np_broker *broker, const struct np_channel_ends *ends, uint32_t sender, uint32_t receiver, uint32_t state)
{
    unsigned count = 0;
    for (unsigned i = 0; i < ends->lane_count; i++) {
        struct np_lane_entry *entry = &broker->board.lanes[ends->lanes[i]];
        count += broker->lane_memory[ends->lanes[i]] && entry->kind == NP_LANE_BROADCAST &&
                 np_load32(&entry->sender, memory_order_acquire) == sender &&
                 (receiver == 0 || np_load32(&entry->receiver, memory_order_acquire) == receiver) &&
                 np_broker_lane_state(broker, ends->lanes[i]) == state;
    }
    return count;
}

static int serve_sender(struct np_broker *broker, uint32_t channel, const struct np_channel_ends *ends, uint32_t sender)
{
    uint32_t home = home_of(broker, ends, sender), lane;
    int result = home ? 0 : np_broker_make_lane(broker, channel, sender, 0, NP_LANE_HOME, 0, &home); /* Q1 */
    if (result < 0 || lanes_in(broker, ends, sender, 0, NP_LANE_CLOSED) >= NP_DRAINING_LANES_MAX)
        return result;
    for (unsigned r = 0; r < ends->receiver_count; r++) { /* Q2 */
        if (lanes_in(broker, ends, sender, ends->receivers[r], NP_LANE_ACTIVE) > 0)
            continue;
        int failed = np_broker_make_lane(broker, channel, sender, ends->receivers[r], NP_LANE_BROADCAST, home, &lane);
        result = failed < 0 ? failed : result;
    }
    return result;
}

int np_broker_reconcile_broadcast(struct np_broker *broker, uint32_t channel, const struct np_channel_ends *ends)
{
    int result = 0;
    for (unsigned i = 0; i < ends->lane_count; i++) {
        struct np_lane_entry *entry = &broker->board.lanes[ends->lanes[i]];
        if (entry->kind != NP_LANE_BROADCAST || np_load32(&entry->sender, memory_order_acquire) != 0 ||
            np_load32(&entry->receiver, memory_order_acquire) != 0)
            continue;
        np_broker_broadcast_duty(broker, ends->lanes[i]); /* Q3: it is CLOSED; what it alone had is freed */
        np_broker_end_lane(broker, ends->lanes[i]);
    }
    for (unsigned i = 0; i < ends->lane_count; i++) {
        uint32_t lane = ends->lanes[i];
        if (broker->lane_memory[lane] && is_orphan_home(broker, lane) &&
            (!np_broker_home_is_named(broker, lane) || NP_MUTANT(SHARED_SWEPT_EARLY)))
            np_broker_end_lane(broker, lane); /* Q1 */
    }
    for (unsigned s = 0; s < ends->sender_count; s++) {
        int failed = serve_sender(broker, channel, ends, ends->senders[s]);
        result = failed < 0 ? failed : result;
    }
    return result;
}
