/* SPDX-License-Identifier: MIT
 *
 * Which bell is whose. Who opens a pool to write to it maps the table of all bells, where an endpoint has the one of its
 * number. Who opens pools read-only does not get that table: with it he could ring everybody, and hide news from them. His
 * endpoints have bells in a page that is his and the daemon's alone, and he and a sender to him wake each other on their
 * lane.
 */
#include <errno.h>

#include "broker/broker.h"
#include "core/error.h"

struct np_bell *np_broker_bell(struct np_broker *broker, uint32_t endpoint)
{
    const struct np_endpoint_entry *entry = &broker->board.endpoints[endpoint];
    if (entry->bell == 0)
        return &broker->bells[np_bell_of_endpoint(&broker->board, endpoint)];
    struct np_bell *page = broker->pages[entry->client];
    return page && entry->bell <= NP_PAGE_BELLS ? &page[entry->bell - 1] : NULL;
}

int np_broker_bell_for(struct np_broker *broker, uint32_t client, const struct np_endpoint_request *request)
{
    struct np_board *board = &broker->board;
    uint64_t used[(NP_PAGE_BELLS + 63) / 64] = { 0 };
    /* relaxed: written by this thread only */
    if (!(np_load64(&board->clients[client].readonly, memory_order_relaxed) >> request->pool & 1))
        return 0;
    if (request->role != NP_ROLE_RECEIVER)
        return np_error(-EROFS, "pool '%.47s' is open read-only here, and sending writes: open it without NUMAPOOL_READONLY",
                        board->pools[request->pool].name);
    for (uint32_t e = 1; e <= board->limits.endpoints; e++) {
        const struct np_endpoint_entry *entry = &board->endpoints[e];
        if (np_entry_is(&entry->state, NP_ACTIVE) && entry->client == client && entry->bell >= 1 &&
            entry->bell <= NP_PAGE_BELLS)
            used[(entry->bell - 1) / 64] |= UINT64_C(1) << (entry->bell - 1) % 64;
    }
    for (uint32_t bell = 0; bell < NP_PAGE_BELLS; bell++)
        if (!(used[bell / 64] >> bell % 64 & 1))
            return (int)bell + 1;
    return np_error(-ENOSPC,
                    "client %u has %u receivers of pools that it opened read-only, and can have no more: close one", client,
                    NP_PAGE_BELLS);
}

struct np_endpoint_grant np_broker_grant(struct np_broker *broker, uint32_t endpoint)
{
    const struct np_endpoint_entry *entry = &broker->board.endpoints[endpoint];
    uint32_t bell = entry->bell ? entry->bell - 1 : np_bell_of_endpoint(&broker->board, endpoint);
    return (struct np_endpoint_grant){ endpoint, bell, entry->generation, 0 };
}

bool np_broker_is_foreign(const struct np_broker *broker, uint32_t endpoint)
{
    return endpoint != 0 && endpoint <= broker->board.limits.endpoints && broker->board.endpoints[endpoint].bell != 0;
}

void np_broker_ring_getters(struct np_broker *broker, uint32_t sender, uint32_t receiver)
{
    if (sender == 0 || sender > broker->board.limits.endpoints || !np_broker_is_foreign(broker, receiver) ||
        NP_MUTANT(GETTERS_NOT_RUNG))
        return;
    uint32_t client = broker->board.endpoints[sender].client;
    if (client <= broker->board.limits.clients)
        np_bell_ring(&broker->bells[client]);
}

void np_broker_note_receiver(struct np_broker *broker, struct np_lane_shared *shared, uint32_t receiver)
{
    /* relaxed: before the next, by its release; a hint for the sender's loans, which the receiver says anew when it gets the lane */
    if (receiver != 0 && receiver <= broker->board.limits.endpoints && broker->board.endpoints[receiver].node >= 0)
        np_store32(&shared->receiver_node, (uint32_t)broker->board.endpoints[receiver].node + 1, memory_order_relaxed);
    np_store32(&shared->receiver_foreign, np_broker_is_foreign(broker, receiver), memory_order_release);
}
