/* SPDX-License-Identifier: MIT
 *
 * Giving back what the dead held. The order matters:
 *   1  lanes that the dead sent on: what they had sent is announced (rolled forward), before anything else of theirs is
 *      handed over, so that what a dead forwarder had forwarded cannot be overtaken by what he had not
 *   2  lanes that they received from: what has moved on is marked SKIP, then the lane waits for a receiver
 *   3  channels are reconciled: other receivers take the lanes
 *   4  words: HELD by the dead becomes FREE; all hint bits are set right
 *   5  everybody who sleeps is woken, every lane of the dead rung at both ends, whether or not anything was moved
 *   6  only then is the number of the dead free
 * Each step can be done twice, and a scavenger that dies is followed by another that begins at 1.
 *
 * While the kernel may still do I/O into what the dead held (np_broker_client_stopped) only 1 is done, and 3 and 5 for it; nobody
 * sends to the dead any more. 2 and 4, by which a slot could come to another, follow when the kernel has let go: then all is done from 1.
 */
#include <stdlib.h>

#include "broker/reconcile.h"
#include "channel/small.h"
#include "core/bell.h"
#include "core/probe.h"

struct np_lane_pool np_broker_lane_pool(struct np_broker *broker, uint32_t pool)
{
    struct np_broker_pool *bp = &broker->pools[pool];
    return (struct np_lane_pool){ bp->arenas, bp->arena_count, sizeof bp->arenas[0], broker->bells, broker->bell_count };
}

/* ---------------------------------------------------------------- lanes */

static void sender_gone(struct np_broker *broker, uint32_t lane, struct np_scavenged *what)
{
    unsigned rolled = np_broker_orphan(broker, lane);
    np_add64(&broker->board.lanes[lane].rolled_forward, rolled, memory_order_relaxed); /* relaxed: a statistic */
    np_add64(&broker->board.header->messages_rolled_forward, rolled, memory_order_relaxed);
    NP_PROBE2(roll_forward, lane, rolled);
    what->rolled_forward += rolled;
    what->lanes++;
}

unsigned np_broker_orphan(struct np_broker *broker, uint32_t lane)
{
    struct np_lane_entry *entry = &broker->board.lanes[lane];
    struct np_lane_shared *shared = broker->lane_memory[lane];
    struct np_lane_pool pool = np_broker_lane_pool(broker, broker->board.channels[entry->channel].pool);
    const uint64_t stamp = np_broker_next_stamp(broker);
    unsigned rolled = 0;
    if (entry->kind == NP_LANE_BROADCAST && np_load32(&entry->receiver, memory_order_acquire) == 0) {
        np_store32(&entry->sender, 0, memory_order_release); /* nobody receives from it */
        return 0;
    }
    np_store32(&entry->orphaning, 1, memory_order_release); /* before anything that a successor would have to go on with */
    if (entry->kind == NP_LANE_SMALL)
        np_small_roll_forward(shared, entry->capacity, stamp);
    else if (entry->kind == NP_LANE_BROADCAST)
        rolled = np_broadcast_roll_forward(shared, entry->home, entry->capacity, &pool, stamp);
    else
        rolled = np_lane_roll_forward(shared, lane, entry->capacity, &pool, stamp);
    /* The daemon is the sender now, and always asleep: who releases rings it. A failed barrier is made good by the timer
     * that runs while there are orphans; the look after the flag is the caller's orphan duty. */
    np_store32(&shared->sender_bell, NP_BELL_OF_DAEMON, memory_order_relaxed); /* relaxed: before the flag, by its release */
    np_store32(&shared->sender_sleeps, NP_SLEEPS_ON_BELL, memory_order_release);
    np_bell_heavy_barrier();
    np_store32(&entry->sender, 0, memory_order_release);
    np_broker_lane_changed(broker, lane);
    return rolled;
}

unsigned np_broker_receiver_off(struct np_broker *broker, uint32_t lane, uint32_t endpoint)
{
    struct np_lane_entry *entry = &broker->board.lanes[lane];
    struct np_lane_shared *shared = broker->lane_memory[lane];
    struct np_lane_pool pool = np_broker_lane_pool(broker, broker->board.channels[entry->channel].pool);
    unsigned again = 0;
    if (entry->kind == NP_LANE_BROADCAST) {
        np_store32(&shared->state, NP_LANE_CLOSED, memory_order_release); /* pairs with the sender's look for room */
        np_lane_ring(shared, &pool); /* a getter that raised its flag and did not see it is rung */
    } else if (entry->kind == NP_LANE_SMALL) {
        again = np_small_prepare_handover(shared, entry->capacity);
    } else {
        again = np_lane_prepare_handover(shared, lane, entry->capacity, &pool);
    }
    /* acq_rel: the marks before it; handed over once, from this endpoint only */
    np_cas32(&entry->receiver, &endpoint, 0, memory_order_acq_rel);
    return again;
}

static void receiver_gone(struct np_broker *broker, uint32_t lane, uint32_t endpoint, struct np_scavenged *what)
{
    unsigned again = np_broker_receiver_off(broker, lane, endpoint);
    np_add64(&broker->board.lanes[lane].redelivered, again, memory_order_relaxed); /* relaxed: a statistic */
    np_add64(&broker->board.header->messages_redelivered, again, memory_order_relaxed);
    NP_PROBE2(hand_over, lane, again);
    what->redelivered += again;
    what->lanes++;
    np_broker_lane_changed(broker, lane);
}

static bool lane_is_usable(struct np_broker *broker, uint32_t lane)
{
    return np_entry_is(&broker->board.lanes[lane].state, NP_ACTIVE) && broker->lane_memory[lane] != NULL;
}

/* A lane whose memory the broker has not: its number is kept until both ends are gone and no word names it. */
static void detach_from_lost(struct np_broker *broker, uint32_t lane, uint32_t endpoint)
{
    struct np_lane_entry *entry = &broker->board.lanes[lane];
    np_shm32 *ends[2] = { &entry->sender, &entry->receiver };
    for (unsigned i = 0; i < 2; i++)
        if (np_load32(ends[i], memory_order_relaxed) == endpoint) /* relaxed: one writer */
            np_store32(ends[i], 0, memory_order_release);
    if (np_load32(&entry->sender, memory_order_relaxed) != 0 || np_load32(&entry->receiver, memory_order_relaxed) != 0)
        return;
    if (entry->kind == NP_LANE_HOME && np_broker_home_is_named(broker, lane))
        return;
    if (entry->kind == NP_LANE_SLOTS || entry->kind == NP_LANE_HOME)
        np_broker_sweep(broker, broker->board.channels[entry->channel].pool, entry->kind == NP_LANE_HOME ? NP_WORD_SHARED : NP_WORD_SENT, lane);
    np_store32(&entry->state, NP_NONE, memory_order_release);
    if (entry->kind == NP_LANE_BROADCAST)
        np_broker_broadcast_lost(broker, entry->home);
}

static void detach_endpoint(struct np_broker *broker, uint32_t endpoint, bool as_sender, struct np_scavenged *what)
{
    uint32_t home = 0;
    for (uint32_t lane = 1; lane <= broker->board.limits.lanes; lane++) {
        struct np_lane_entry *entry = &broker->board.lanes[lane];
        if (np_entry_is(&entry->state, NP_DYING))
            detach_from_lost(broker, lane, endpoint);
        if (!lane_is_usable(broker, lane))
            continue;
        if (as_sender && np_load32(&entry->sender, memory_order_relaxed) == endpoint) {
            if (entry->kind == NP_LANE_HOME)
                home = lane;
            else
                sender_gone(broker, lane, what);
        }
        if (!as_sender && np_load32(&entry->receiver, memory_order_relaxed) == endpoint)
            receiver_gone(broker, lane, endpoint, what);
    }
    if (home)
        np_broker_home_off(broker, home); /* all its lanes have been rolled forward */
}

void np_broker_endpoint_gone(struct np_broker *broker, uint32_t endpoint, struct np_scavenged *what)
{
    struct np_endpoint_entry *entry = &broker->board.endpoints[endpoint];
    detach_endpoint(broker, endpoint, entry->role == NP_ROLE_SENDER, what);
    what->endpoints++;
    np_store32(&entry->state, NP_NONE, memory_order_release); /* no lane names it any more */
}

/* ---------------------------------------------------------------- words */

static void correct_counters(struct np_arena *arena, uint64_t moved_before, uint64_t counted)
{
    struct np_arena_header *header = arena->header;
    uint64_t taken = np_load64(&header->taken, memory_order_relaxed), given = np_load64(&header->given, memory_order_relaxed);
    if (taken + given != moved_before)
        return; /* not quiet: another sweep will find it so */
    np_store64(&header->correction, counted - (arena->slots - taken + given), memory_order_relaxed); /* relaxed: a statistic */
}

static uint64_t sweep_arena(struct np_arena *arena, unsigned state, unsigned owner, bool (*is_kept)(const void *context, uint64_t word),
                            const void *context)
{
    uint64_t freed = 0, counted = 0;
    uint64_t moved_before = np_load64(&arena->header->taken, memory_order_relaxed) +
                            np_load64(&arena->header->given, memory_order_relaxed);
    for (uint64_t group = 0; group * 64 < arena->slots; group++) {
        uint64_t free_mask = 0, first = group * 64, freed_before = freed;
        for (unsigned i = 0; i < 64 && first + i < arena->slots; i++) {
            uint64_t word = np_load64(&arena->words[first + i], memory_order_relaxed); /* relaxed: the CAS decides */
            if (np_word_state(word) == state && np_word_owner(word) == owner && !(is_kept && is_kept(context, word)) &&
                np_arena_reclaim(arena, first + i, word)) {
                freed++;
                word = 0;
            }
            if (np_word_state(word) == NP_WORD_FREE)
                free_mask |= UINT64_C(1) << i;
        }
        np_arena_note_reclaimed(arena, freed - freed_before);
        counted += (unsigned)__builtin_popcountll(free_mask);
        np_arena_show_free(arena, group, free_mask);
    }
    correct_counters(arena, moved_before + freed, counted);
    return freed;
}

uint64_t np_broker_sweep(struct np_broker *broker, uint32_t pool, unsigned state, unsigned owner)
{
    return np_broker_sweep_but(broker, pool, state, owner, NULL, NULL);
}

uint64_t np_broker_sweep_but(struct np_broker *broker, uint32_t pool, unsigned state, unsigned owner,
                             bool (*is_kept)(const void *context, uint64_t word), const void *context)
{
    struct np_broker_pool *bp = &broker->pools[pool];
    uint64_t freed = 0;
    for (unsigned i = 0; i < bp->arena_count; i++) {
        freed += sweep_arena(&bp->arenas[i], state, owner, is_kept, context);
        if (!NP_MUTANT(SWEEP_NO_WAKE))
            np_arena_wake_all(&bp->arenas[i]);
    }
    if (state == NP_WORD_HELD)
        np_broker_pool_swept(broker, pool);
    else if (freed > 0)
        np_broker_pool_freed(broker, pool);
    np_add64(&broker->board.header->slots_scavenged, freed, memory_order_relaxed); /* relaxed: a statistic */
    return freed;
}

/* ---------------------------------------------------------------- clients */

static void ring_lanes_of_channel(struct np_broker *broker, uint32_t channel)
{
    struct np_lane_pool pool = np_broker_lane_pool(broker, broker->board.channels[channel].pool);
    for (uint32_t lane = 1; lane <= broker->board.limits.lanes; lane++)
        if (lane_is_usable(broker, lane) && broker->board.lanes[lane].channel == channel && !NP_MUTANT(NO_LANE_RING))
            np_lane_ring(broker->lane_memory[lane], &pool);
}

/* What one client's end goes through. Without memory for the list of channels every one is looked at, which comes to the
 * same. */
struct ending {
    struct np_broker *broker;
    uint32_t client;
    uint8_t *touched; /* [limits.channels + 1], or NULL */
    struct np_scavenged *what;
};

static struct ending begin_ending(struct np_broker *broker, uint32_t client, struct np_scavenged *what)
{
    np_store32(&broker->board.clients[client].state, NP_DYING, memory_order_release);
    return (struct ending){ broker, client, calloc(broker->board.limits.channels + 1, 1), what };
}

static bool is_touched(const struct ending *ending, uint32_t channel)
{
    return (!ending->touched || ending->touched[channel]) && np_entry_is(&ending->broker->board.channels[channel].state, NP_ACTIVE);
}

static void each_endpoint(struct ending *ending, bool senders, void (*end)(struct np_broker *, uint32_t, struct np_scavenged *))
{
    struct np_board *board = &ending->broker->board;
    for (uint32_t e = 1; e <= board->limits.endpoints; e++) {
        struct np_endpoint_entry *endpoint = &board->endpoints[e];
        if (np_entry_is(&endpoint->state, NP_NONE) || endpoint->client != ending->client ||
            (endpoint->role == NP_ROLE_SENDER) != senders)
            continue;
        if (ending->touched && endpoint->channel <= board->limits.channels)
            ending->touched[endpoint->channel] = 1;
        end(ending->broker, e, ending->what);
    }
}

static void reconcile_touched(const struct ending *ending)
{
    for (uint32_t channel = 1; channel <= ending->broker->board.limits.channels; channel++)
        if (is_touched(ending, channel))
            np_broker_reconcile(ending->broker, channel);
}

static void finish_ending(struct ending *ending)
{
    np_broker_orphan_duty(ending->broker);
    for (uint32_t channel = 1; channel <= ending->broker->board.limits.channels; channel++)
        if (is_touched(ending, channel))
            ring_lanes_of_channel(ending->broker, channel);
    free(ending->touched);
}

void np_broker_client_gone(struct np_broker *broker, uint32_t client, struct np_scavenged *what)
{
    struct np_board *board = &broker->board;
    struct np_client_entry *entry = &board->clients[client];
    *what = (struct np_scavenged){ 0 };
    if (np_entry_is(&entry->state, NP_NONE))
        return;
    struct ending ending = begin_ending(broker, client, what);
    if (NP_MUTANT(ID_REUSED_EARLY))
        np_store32(&entry->state, NP_NONE, memory_order_release);
    each_endpoint(&ending, !NP_MUTANT(RECEIVERS_FIRST), np_broker_endpoint_gone);
    each_endpoint(&ending, NP_MUTANT(RECEIVERS_FIRST), np_broker_endpoint_gone);
    reconcile_touched(&ending);
    for (uint32_t pool = 0; pool < NP_POOLS_MAX; pool++) {
        if (!broker->pools[pool].mapped || !(np_load64(&entry->opened, memory_order_acquire) >> pool & 1))
            continue;
        for (unsigned i = 0; i < broker->pools[pool].arena_count; i++)
            np_arena_sleep_end(&broker->pools[pool].arenas[i], client);
        what->slots += np_broker_sweep(broker, pool, NP_WORD_HELD, client);
    }
    finish_ending(&ending);
    NP_PROBE2(scavenged, client, what->slots);
    np_store64(&entry->pools, 0, memory_order_relaxed); /* relaxed, both: before the state, by its release */
    np_store64(&entry->readonly, 0, memory_order_relaxed);
    np_store32(&entry->state, NP_NONE, memory_order_release);
}

/* ---------------------------------------------------------------- I/O in flight */

/* A receiver that is dead while the kernel may still use what it had received: nobody gets its messages yet, and nobody
 * is to send it more. So its lanes are to be drained, which makes reconciling give their senders others; a DRAIN lane
 * that has lost its receiver is handed over like any other. */
static void receiver_stopped(struct np_broker *broker, uint32_t endpoint, struct np_scavenged *what)
{
    (void)what;
    np_store32(&broker->board.endpoints[endpoint].state, NP_DYING, memory_order_release); /* first: it gets no more lanes */
    for (uint32_t lane = 1; lane <= broker->board.limits.lanes; lane++) {
        if (!lane_is_usable(broker, lane) || np_load32(&broker->board.lanes[lane].receiver, memory_order_relaxed) != endpoint)
            continue; /* relaxed above: one writer */
        struct np_lane_shared *shared = broker->lane_memory[lane];
        if (broker->board.lanes[lane].kind == NP_LANE_BROADCAST || np_load32(&shared->state, memory_order_relaxed) != NP_LANE_ACTIVE)
            continue; /* a broadcaster waits for a reader that is dead like this as for one that is slow */
        np_store32(&shared->state, NP_LANE_DRAIN, memory_order_release); /* read by the sender at its next sync */
        np_broker_lane_changed(broker, lane);
    }
}

void np_broker_client_stopped(struct np_broker *broker, uint32_t client, struct np_scavenged *what)
{
    *what = (struct np_scavenged){ 0 };
    if (np_entry_is(&broker->board.clients[client].state, NP_NONE))
        return;
    struct ending ending = begin_ending(broker, client, what);
    each_endpoint(&ending, true, np_broker_endpoint_gone);
    each_endpoint(&ending, false, receiver_stopped);
    reconcile_touched(&ending);
    finish_ending(&ending);
}

static uint64_t count_held(const struct np_arena *arena, const uint8_t *owners, uint32_t owners_max)
{
    uint64_t held = 0;
    for (uint64_t i = 0; i < arena->slots; i++) {
        uint64_t word = np_load64(&arena->words[i], memory_order_relaxed); /* relaxed: only counted */
        uint32_t owner = np_word_owner(word);
        held += np_word_state(word) == NP_WORD_HELD && owner <= owners_max && owners[owner];
    }
    return held;
}

uint64_t np_broker_count_quarantined(struct np_broker *broker)
{
    const struct np_board *board = &broker->board;
    uint8_t *waiting = calloc((size_t)board->limits.clients + 1, 1);
    uint64_t sum = 0, opened = 0;
    for (uint32_t client = 1; waiting && client <= board->limits.clients; client++) {
        const struct np_client_entry *entry = &board->clients[client];
        waiting[client] = np_entry_is(&entry->state, NP_DYING) && np_load32(&entry->has_io, memory_order_relaxed) != 0;
        if (waiting[client]) /* relaxed, here and above: written by this thread only */
            opened |= np_load64(&entry->opened, memory_order_relaxed);
    }
    for (uint32_t pool = 0; waiting && pool < NP_POOLS_MAX; pool++) {
        for (unsigned i = 0; broker->pools[pool].mapped && i < broker->pools[pool].arena_count; i++) {
            struct np_arena *arena = &broker->pools[pool].arenas[i];
            uint64_t held = opened >> pool & 1 ? count_held(arena, waiting, board->limits.clients) : 0;
            np_store64(&arena->header->quarantined, held, memory_order_relaxed); /* relaxed: a statistic */
            sum += held;
        }
    }
    free(waiting);
    return sum;
}

unsigned np_broker_orphan_duty(struct np_broker *broker)
{
    struct np_board *board = &broker->board;
    unsigned orphans = 0, unheard = 0;
    for (uint32_t lane = 1; lane <= board->limits.lanes; lane++) {
        struct np_lane_entry *entry = &board->lanes[lane];
        if (np_entry_is(&entry->state, NP_DYING)) {
            detach_from_lost(broker, lane, 0); /* both ends may have been gone before it was lost */
            if (np_entry_is(&entry->state, NP_NONE))
                np_broker_reconcile(broker, entry->channel); /* which may be idle now */
        }
        if (!lane_is_usable(broker, lane) || np_load32(&entry->sender, memory_order_acquire) != 0)
            continue;
        struct np_lane_shared *shared = broker->lane_memory[lane];
        struct np_lane_pool pool = np_broker_lane_pool(broker, board->channels[entry->channel].pool);
        unsigned freed = 0;
        if (entry->kind == NP_LANE_SLOTS)
            freed = np_lane_orphan_duty(shared, lane, entry->capacity, &pool);
        else if (entry->kind == NP_LANE_SMALL)
            np_small_orphan_duty(shared);
        else if (entry->kind == NP_LANE_BROADCAST)
            freed = np_broker_broadcast_duty(broker, lane);
        if (freed > 0 && entry->kind == NP_LANE_SLOTS)
            np_broker_pool_freed(broker, board->channels[entry->channel].pool);
        np_add64(&board->header->slots_scavenged, freed, memory_order_relaxed); /* relaxed: a statistic */
        bool left = np_load32(&entry->receiver, memory_order_acquire) == 0;
        if (entry->kind == NP_LANE_HOME)
            left = !np_broker_home_is_named(broker, lane);
        else if (entry->kind != NP_LANE_BROADCAST)
            left = np_broker_lane_is_over(broker, lane);
        if (left)
            np_broker_reconcile(broker, entry->channel);
        else
            orphans++;
        unheard += np_broker_is_foreign(broker, np_load32(&entry->receiver, memory_order_acquire));
    }
    broker->unheard_orphans = unheard;
    return orphans;
}
