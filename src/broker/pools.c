/* SPDX-License-Identifier: MIT
 *
 * Pools that grow and end while there are clients. Ending a pool has steps, each of which can be done twice:
 *   1  its entry is DYING (the caller): nobody finds it any more
 *   2  its lanes are gone, whatever waited on them
 *   3  its endpoints are gone; there are none but of clients that did not close them
 *   4  its channels are gone, which is what steps 2 and 3 find lanes and endpoints by
 *   5  no client may hold slots of it any more
 *   6  its memory is forgotten and its entry NONE (the caller)
 * Words are not looked at: they go with the memory. So a broker that has not even mapped the pool can end it, which is how
 * the next worker goes on where one died.
 */
#include "broker/broker.h"

static bool lane_is_of(const struct np_board *board, uint32_t lane, uint32_t pool)
{
    const struct np_lane_entry *entry = &board->lanes[lane];
    return !np_entry_is(&entry->state, NP_NONE) && entry->channel >= 1 && entry->channel <= board->limits.channels &&
           np_entry_is(&board->channels[entry->channel].state, NP_ACTIVE) && board->channels[entry->channel].pool == pool;
}

/* Messages on it that somebody would still receive: what was marked as moved on is none. */
static uint64_t waiting_on(struct np_lane_shared *shared, uint32_t capacity, uint32_t kind)
{
    uint64_t depth = np_lane_depth(shared, capacity), first = np_load64(&shared->released, memory_order_acquire), waiting = 0;
    if (kind != NP_LANE_SLOTS) /* others have no marks; a home has no messages of its own */
        return kind == NP_LANE_HOME ? 0 : depth;
    for (uint64_t i = 0; i < depth; i++) {
        const struct np_cell *cell = &np_lane_cells(shared)[(first + i) & (capacity - 1)];
        waiting += !(np_cell_flags(np_load64(&cell->what, memory_order_relaxed)) & NP_CELL_SKIP); /* relaxed: a count */
    }
    return waiting;
}

void np_broker_pool_use(struct np_broker *broker, uint32_t pool, struct np_pool_use *use)
{
    struct np_board *board = &broker->board;
    *use = (struct np_pool_use){ 0 };
    for (uint32_t client = 1; client <= board->limits.clients; client++)
        use->clients += !np_entry_is(&board->clients[client].state, NP_NONE) &&
                        (np_load64(&board->clients[client].pools, memory_order_relaxed) >> pool & 1); /* relaxed: one writer */
    for (uint32_t lane = 1; lane <= board->limits.lanes; lane++)
        if (lane_is_of(board, lane, pool) && broker->lane_memory[lane])
            use->waiting += waiting_on(broker->lane_memory[lane], board->lanes[lane].capacity, board->lanes[lane].kind);
}

void np_broker_pool_remove(struct np_broker *broker, uint32_t pool)
{
    struct np_board *board = &broker->board;
    for (uint32_t lane = 1; lane <= board->limits.lanes; lane++) {
        if (!lane_is_of(board, lane, pool))
            continue;
        struct np_lane_entry *entry = &board->lanes[lane];
        struct np_lane_shared *shared = broker->lane_memory[lane];
        broker->lane_memory[lane] = NULL;
        np_store32(&entry->sender, 0, memory_order_relaxed); /* relaxed, both: before the state, by its release */
        np_store32(&entry->receiver, 0, memory_order_relaxed);
        np_store32(&entry->state, NP_NONE, memory_order_release);
        broker->environment.lane_memory_gone(broker->environment.context, lane, shared, np_lane_bytes(entry->capacity, entry->kind));
    }
    for (uint32_t e = 1; e <= board->limits.endpoints; e++) {
        struct np_endpoint_entry *entry = &board->endpoints[e];
        if (!np_entry_is(&entry->state, NP_NONE) && entry->channel >= 1 && entry->channel <= board->limits.channels &&
            np_entry_is(&board->channels[entry->channel].state, NP_ACTIVE) && board->channels[entry->channel].pool == pool)
            np_store32(&entry->state, NP_NONE, memory_order_release);
    }
    for (uint32_t channel = 1; channel <= board->limits.channels; channel++)
        if (np_entry_is(&board->channels[channel].state, NP_ACTIVE) && board->channels[channel].pool == pool)
            np_store32(&board->channels[channel].state, NP_NONE, memory_order_release);
    for (uint32_t client = 1; client <= board->limits.clients; client++) {
        np_and64(&board->clients[client].opened, ~(UINT64_C(1) << pool), memory_order_release);
        np_and64(&board->clients[client].pools, ~(UINT64_C(1) << pool), memory_order_release);
    }
    broker->pools[pool] = (struct np_broker_pool){ 0 };
}
