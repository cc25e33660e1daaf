/* SPDX-License-Identifier: MIT
 *
 * The oracle at rest: what must hold when nobody can run (O6), and at the end (O4, O9). oracle.c has the list.
 */
#include "model.h"

static uint64_t word_of(unsigned slot)
{
    return np_load64(&world.look.words[slot], memory_order_relaxed); /* relaxed: nobody runs */
}

static struct np_lane_shared *lane_of(unsigned lane)
{
    return lane >= 1 && lane <= world.limits.lanes ? world.kept_lanes[lane] : NULL;
}

static uint64_t released_of(struct np_lane_shared *lane)
{
    return np_load64(&lane->released, memory_order_relaxed);
}

static unsigned client_of_sender(const struct np_lane_entry *entry)
{
    uint32_t endpoint = np_load32(&entry->sender, memory_order_relaxed);
    return endpoint ? world.board.endpoints[endpoint].client : 0;
}

/* ---------------------------------------------------------------- sleepers (O6) */

/* A sleeper's own bell is the first of its words. */
static bool sleeps_on(const struct process *p, const struct np_bell *bell)
{
    return p->state == PROCESS_SLEEPING && p->sleep->words[0].word == &bell->ring;
}

bool sleeps_for_slot(const struct process *p)
{
    return p->client != 0 && sleeps_on(p, &world.bells[p->client]);
}

static bool sleeps_as(const struct process *p, const struct np_endpoint *endpoint)
{
    return sleeps_on(p, endpoint->bell);
}

static struct process *process_of_client(unsigned client)
{
    int index = client < sizeof world.kept_clients / sizeof world.kept_clients[0] ? world.kept_clients[client] : -1;
    return index >= 0 && !world.processes[index].reaped ? &world.processes[index] : NULL;
}

static struct process *somebody_sleeps_for_slot(void)
{
    for (unsigned i = 1; i < world.process_count; i++)
        if (sleeps_for_slot(&world.processes[i]))
            return &world.processes[i];
    return NULL;
}

static void check_sent_word(unsigned slot, uint64_t word)
{
    unsigned number = np_word_owner(word);
    uint64_t position = np_word_seq(word);
    struct np_lane_shared *lane = lane_of(number);
    if (!lane || !np_entry_is(&world.board.lanes[number].state, NP_ACTIVE))
        model_fail("word %u names lane %u, which is gone", slot, number);
    struct np_lane_entry *entry = &world.board.lanes[number];
    uint64_t where = np_load64(&np_lane_cells(lane)[position & (entry->capacity - 1)].where, memory_order_relaxed);
    if (position >= released_of(lane)) {
        if (!np_cell_is_announced(where, position))
            model_fail("nobody runs, and message %llu of lane %u is sent and not announced", (unsigned long long)position,
                       number);
        return;
    }
    struct process *sender = process_of_client(client_of_sender(entry));
    if (!sender)
        model_fail("slot %u stays on lane %u, released, and its sender is gone", slot, number);
    if (sleeps_for_slot(sender))
        model_fail("%s sleeps, and slot %u has been released to it on lane %u", sender->name, slot, number);
}

static void check_words(void)
{
    struct process *sleeper = somebody_sleeps_for_slot();
    for (unsigned i = 0; i < world.look.slots; i++) {
        uint64_t word = word_of(i);
        switch (np_word_state(word)) {
        case NP_WORD_FREE:
            if (sleeper)
                model_fail("%s sleeps for a slot, and slot %u is free", sleeper->name, i);
            break;
        case NP_WORD_HELD:
            if (np_word_owner(word) != NP_CLIENTS_LIMIT && !process_of_client(np_word_owner(word)))
                model_fail("slot %u is held by client %u, which is gone", i, np_word_owner(word));
            break;
        case NP_WORD_SENT: check_sent_word(i, word); break;
        case NP_WORD_SHARED: kinds_check_shared_word(i, word); break;
        default: model_fail("word %u is %llx", i, (unsigned long long)word);
        }
    }
}

static void check_lanes_known(const struct process *p, const struct np_endpoint *endpoint)
{
    for (uint32_t lane = 1; lane <= world.limits.lanes; lane++) {
        struct np_lane_entry *entry = &world.board.lanes[lane];
        if (np_entry_is(&entry->state, NP_ACTIVE) && np_load64(&entry->stamp, memory_order_relaxed) > endpoint->stamp &&
            (np_load32(&entry->sender, memory_order_relaxed) == endpoint->id ||
             np_load32(&entry->receiver, memory_order_relaxed) == endpoint->id))
            model_fail("%s sleeps and does not know that its lane %u has changed", p->name, lane);
    }
}

static void check_receiver(const struct process *p)
{
    const struct numapool_receiver *receiver = p->receiver;
    check_lanes_known(p, &receiver->endpoint);
    kinds_check_receiver(p);
    for (unsigned i = 0; i < receiver->lane_count; i++) {
        const struct np_receiver_lane *lane = &receiver->lanes[i];
        if (lane->shared && lane->head - lane->done <= lane->mask &&
            np_cell_is_announced(np_load64(&lane->cells[lane->head & lane->mask].where, memory_order_relaxed), lane->head))
            model_fail("%s sleeps for a message, and message %llu of lane %u is there", p->name, (unsigned long long)lane->head,
                       lane->id);
    }
}

static void check_sender(const struct process *p)
{
    const struct numapool_sender *sender = p->sender;
    kinds_check_sender(p);
    if (!p->leaving) /* who leaves wants no new lanes */
        check_lanes_known(p, &sender->endpoint);
    for (unsigned i = 0; i < sender->lane_count; i++) {
        const struct np_sender_lane *lane = &sender->lanes[i];
        /* a lane to be drained gives no room, except to one who leaves and waits for all, or whose key is on it */
        if (released_of(lane->shared) > lane->released && (lane->state == NP_LANE_ACTIVE || p->leaving || world.run.scenario->keyed))
            model_fail("%s sleeps for room, and lane %u has been released up to %llu", p->name, lane->id,
                       (unsigned long long)released_of(lane->shared));
    }
}

static void check_waiting_lanes(void)
{
    for (uint32_t lane = 1; lane <= world.limits.lanes; lane++) {
        struct np_lane_entry *entry = &world.board.lanes[lane];
        if (!np_entry_is(&entry->state, NP_ACTIVE) || np_load32(&entry->receiver, memory_order_relaxed) != 0 ||
            entry->kind == NP_LANE_HOME || entry->kind == NP_LANE_BROADCAST)
            continue; /* what broadcasts is nobody else's */
        for (uint32_t e = 1; e <= world.limits.endpoints; e++)
            if (np_entry_is(&world.board.endpoints[e].state, NP_ACTIVE) && world.board.endpoints[e].role == NP_ROLE_RECEIVER &&
                world.board.endpoints[e].channel == entry->channel)
                model_fail("lane %u waits for a receiver, and its channel has one", lane);
    }
}

/* Every free slot is shown by its bits: nobody is between two of his steps, and the dead have been swept up after. */
static void check_hints(void)
{
    for (unsigned i = 0; i < world.look.slots; i++) {
        uint64_t unit = i;
        if (np_word_state(word_of(i)) != NP_WORD_FREE)
            continue;
        for (unsigned level = 0; level < world.look.levels; level++, unit /= 64)
            if (!(np_load64(&world.look.level[level][unit / 64], memory_order_relaxed) >> unit % 64 & 1))
                model_fail("slot %u is free, and level %u of the bitmap hides it", i, level);
    }
}

void oracle_quiescent(void)
{
    check_words();
    check_waiting_lanes();
    check_hints();
    for (unsigned i = 1; i < world.process_count; i++) {
        struct process *p = &world.processes[i];
        if (p->receiver && sleeps_as(p, &p->receiver->endpoint))
            check_receiver(p);
        if (p->sender && sleeps_as(p, &p->sender->endpoint))
            check_sender(p);
    }
}

/* ---------------------------------------------------------------- the end (O4, O9) */

static void check_messages(void)
{
    for (unsigned i = 0; i < world.message_count; i++) {
        const struct message_book *message = &world.messages[i];
        if (!message->sent[0] || message->kept)
            continue;
        if (message->seen[message->hop] == 0)
            model_fail("message %u was sent%s and is never received", i, message->hop ? " on" : "");
        if (!message->release_begun)
            model_fail("message %u was received by one who is gone, and by nobody after him", i);
    }
}

static void check_board(void)
{
    const struct np_board *board = &world.board;
    for (uint32_t i = 1; i <= world.limits.clients; i++)
        if (!np_entry_is(&board->clients[i].state, NP_NONE))
            model_fail("everybody is gone, and client number %u is in use", i);
    for (uint32_t i = 1; i <= world.limits.endpoints; i++)
        if (!np_entry_is(&board->endpoints[i].state, NP_NONE))
            model_fail("everybody is gone, and endpoint %u is in use", i);
    for (uint32_t i = 1; i <= world.limits.lanes; i++)
        if (!np_entry_is(&board->lanes[i].state, NP_NONE))
            model_fail("everything is received, and lane %u is in use", i);
    for (uint32_t i = 1; i <= world.limits.channels; i++)
        if (!np_entry_is(&board->channels[i].state, NP_NONE))
            model_fail("everybody is gone, and channel %u is in use", i);
}

void oracle_end(void)
{
    uint64_t free_slots = 0;
    check_messages();
    kinds_check_end();
    for (unsigned i = 0; i < world.look.slots; i++) {
        uint64_t word = word_of(i);
        free_slots += np_word_state(word) == NP_WORD_FREE;
        if (np_word_state(word) != NP_WORD_FREE && word != np_word_held(NP_CLIENTS_LIMIT, 0))
            model_fail("everybody is gone, and word %u is %llx", i, (unsigned long long)word);
    }
    check_board();
    check_hints();
    if (np_arena_free_hint(&world.look) != free_slots)
        model_fail("%llu slots are free, and the counters say %llu", (unsigned long long)free_slots,
                   (unsigned long long)np_arena_free_hint(&world.look));
    if (np_load64(&world.look.header->sleepers_summary, memory_order_relaxed) != 0)
        model_fail("everybody is gone, and somebody stands in the map of sleepers");
}
