/* SPDX-License-Identifier: MIT */
#include "step_lanes.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "channel/broadcast.h"
#include "channel/receiver.h"
#include "channel/sender.h"

static int64_t spin_ns = -1;
static bool receiver_sleeps, sender_sleeps; /* of a peer: receiver or sender 0 has raised its flags */

int step_failed(const struct step_actor *actor, const char *call, int result)
{
    fprintf(stderr, "process %u of a stepped operation: %s gave %d: %s\n", actor->incarnation, call, result,
            numapool_errormsg());
    return -1;
}

/* ---------------------------------------------------------------- ends */

int step_connect_readonly(struct step_actor *actor)
{
    int result = numapool_connect(&actor->client, actor->socket);
    if (result == 0)
        result = numapool_open(actor->client, STEP_POOL, NUMAPOOL_READONLY, &actor->pool);
    return result < 0 ? step_failed(actor, "connect or open", result) : 0;
}

void step_spin(int64_t new_spin_ns)
{
    spin_ns = new_spin_ns;
}

static struct numapool_channel_options options_of(uint32_t lane_slots, uint32_t flags)
{
    struct numapool_channel_options options = NUMAPOOL_CHANNEL_OPTIONS_INIT;
    options.lane_slots = lane_slots;
    options.flags = flags;
    options.spin_ns = spin_ns;
    return options;
}

int step_open_sender(struct step_actor *actor, unsigned which, const char *channel, uint32_t lane_slots, uint32_t flags)
{
    struct numapool_channel_options options = options_of(lane_slots, flags);
    if (step_connect(actor) < 0)
        return -1;
    int result = numapool_sender_open(actor->pool, channel, &options, &actor->senders[which]);
    return result < 0 ? step_failed(actor, "sender_open", result) : 0;
}

int step_open_receiver(struct step_actor *actor, unsigned which, const char *channel, uint32_t flags)
{
    struct numapool_channel_options options = options_of(0, flags);
    if (step_connect(actor) < 0)
        return -1;
    actor->readers[which] = (struct ledger_reader){ .ledger = actor->ledger, .channel = channel[0] == 'b' ? LEDGER_B
                                                    : LEDGER_A,
                                                    .role = "process", .incarnation = actor->incarnation };
    int result = numapool_receiver_open(actor->pool, channel, &options, &actor->receivers[which]);
    return result < 0 ? step_failed(actor, "receiver_open", result) : 0;
}

int step_close_receiver(struct step_actor *actor, unsigned which)
{
    int result = numapool_receiver_close(actor->receivers[which]);
    actor->receivers[which] = NULL;
    return result < 0 ? step_failed(actor, "receiver_close", result) : 0;
}

int step_close_sender(struct step_actor *actor, unsigned which)
{
    int result = numapool_sender_close(actor->senders[which], 0);
    actor->senders[which] = NULL;
    return result < 0 ? step_failed(actor, "sender_close", result) : 0;
}

/* A look in vain first: it learns of lanes that have come, which get their flag too. */
int step_sleep_receiver(struct step_actor *actor, unsigned which)
{
    struct numapool_receiver *receiver = actor->receivers[which];
    struct numapool_msg none;
    int result = numapool_receive(receiver, &none, 1, 0);
    if (result >= 0)
        return step_failed(actor, "receive", result);
    np_waiting_arm(&receiver->endpoint);
    np_receiver_raise_flags(receiver, &receiver->endpoint.sleep);
    receiver_sleeps |= which == 0;
    return 0;
}

int step_sleep_sender(struct step_actor *actor, unsigned which)
{
    struct numapool_sender *sender = actor->senders[which];
    np_sender_sync(sender);
    np_waiting_arm(&sender->endpoint);
    np_sender_raise_flags(sender, sender->endpoint.bell_id, &sender->endpoint.sleep);
    sender_sleeps |= which == 0;
    return 0;
}

/* ---------------------------------------------------------------- messages */

int step_compose(struct step_actor *actor, unsigned which, unsigned first, unsigned n)
{
    static char bodies[STEP_MESSAGES_MAX][LEDGER_PAYLOAD_BYTES]; /* of small messages */
    struct numapool_sender *sender = actor->senders[which];
    const bool small = sender->kind == NP_LANE_SMALL;
    uint32_t number = ledger_numbers(actor->ledger, actor->incarnation, n);
    if (number == 0)
        return step_failed(actor, "drawing a number", 0);
    for (unsigned i = 0; i < n; i++) {
        struct numapool_msg *message = &actor->messages[first + i];
        *message = (struct numapool_msg)NUMAPOOL_MSG_INIT;
        message->data = small ? bodies[first + i] : numapool_loan(sender);
        if (!message->data)
            return step_failed(actor, "loan", 0);
        message->length = small ? LEDGER_SMALL_BYTES : LEDGER_PAYLOAD_BYTES;
        message->id = number + i;
        ledger_fill(message->data, message->id);
        step_mark(&step_entry(actor, first + i)->about_to_send);
    }
    actor->message_count = first + n;
    return 0;
}

int step_send(struct step_actor *actor, unsigned which, unsigned n)
{
    if (step_compose(actor, which, 0, n) < 0)
        return -1;
    int result = numapool_send_bulk(actor->senders[which], actor->messages, n, 0);
    if (result != (int)n)
        return step_failed(actor, "send_bulk", result);
    step_sent(actor, 0, n);
    return 0;
}

int step_send_keyed(struct step_actor *actor, unsigned which, uint64_t key)
{
    if (step_compose(actor, which, 0, 1) < 0)
        return -1;
    actor->messages[0].key = key;
    actor->messages[0].flags = NUMAPOOL_KEYED;
    int result = numapool_send(actor->senders[which], actor->messages, 0);
    if (result < 0)
        return step_failed(actor, "send", result);
    step_sent(actor, 0, 1);
    return 0;
}

int step_receive(struct step_actor *actor, unsigned which, unsigned first, unsigned n)
{
    for (unsigned got = 0; got < n;) {
        struct numapool_msg *messages = &actor->messages[first + got];
        int result = numapool_receive(actor->receivers[which], messages, n - got, STEP_PATIENCE_NS);
        if (result < 0)
            return step_failed(actor, "receive", result);
        for (int i = 0; i < result && actor->receivers[which]->kind != NP_LANE_BROADCAST; i++)
            ledger_receive(&actor->readers[which], actor->receivers[which], &messages[i]);
        got += (unsigned)result;
    }
    actor->message_count = first + n;
    return 0;
}

int step_release(struct step_actor *actor, unsigned which, unsigned first, unsigned n)
{
    int result = numapool_release(actor->receivers[which], &actor->messages[first], n);
    if (result < 0)
        return step_failed(actor, "release", result);
    for (unsigned i = first; i < first + n && actor->receivers[which]->kind != NP_LANE_BROADCAST; i++)
        ledger_finish(&actor->readers[which], &actor->messages[i]);
    return 0;
}

static int survive_sleep(struct step_actor *peer)
{
    const bool lost = (receiver_sleeps && peer->receivers[0] && !np_sleep_is_over(&peer->receivers[0]->endpoint.sleep)) ||
                      (sender_sleeps && peer->senders[0] && !np_sleep_is_over(&peer->senders[0]->endpoint.sleep));
    receiver_sleeps = sender_sleeps = false;
    return lost ? step_failed(peer, "waking who sleeps", -1) : 0;
}

/* All that is there, of one receiver. Nothing is released: it may have received elders in the trial that it keeps. */
static int take_all(struct step_actor *peer, unsigned which)
{
    struct numapool_msg message;
    int result;
    while ((result = numapool_receive(peer->receivers[which], &message, 1, 0)) == 1)
        ledger_receive(&peer->readers[which], peer->receivers[which], &message);
    return result == -EAGAIN ? 0 : step_failed(peer, "receive", result);
}

int step_survive_receiving(struct step_actor *peer)
{
    if (survive_sleep(peer) < 0)
        return -1;
    for (unsigned i = 0; i < STEP_RECEIVERS_MAX; i++)
        if (peer->receivers[i] && take_all(peer, i) < 0)
            return -1;
    for (uint32_t number = 1; number < peer->ledger->next; number++) {
        const struct ledger_message *entry = &peer->ledger->messages[number];
        const enum ledger_channel channel = peer->readers[0].channel;
        const bool is_due = channel == LEDGER_A ? entry->sent : entry->finished[LEDGER_A];
        if (is_due && entry->received[channel] == 0)
            return step_failed(peer, "receiving what was sent, of which this number did not come,", (int)number);
    }
    return 0;
}

int step_survive_sending(struct step_actor *peer)
{
    struct np_lane_shared *shared = peer->senders[0]->lanes[0].shared;
    const uint64_t capacity = peer->senders[0]->lanes[0].mask + 1, released = np_load64(&shared->released,
                                                                                        memory_order_acquire);
    /* and no word that was not released is in the way */
    const bool has_room = peer->senders[0]->lanes[0].head - released < capacity;
    if (survive_sleep(peer) < 0 || step_compose(peer, 0, 0, 1) < 0)
        return -1;
    int result = numapool_send(peer->senders[0], peer->messages, 0);
    if (result == 0)
        step_sent(peer, 0, 1);
    else if (peer->senders[0]->kind != NP_LANE_SMALL)
        numapool_unloan(peer->senders[0], peer->messages[0].data);
    return result == 0 || (result == -EAGAIN && !has_room) ? 0 : step_failed(peer, "send", result);
}

int step_peer_receives(struct step_actor *peer)
{
    return step_open_receiver(peer, 0, "a", 0);
}

int step_peer_sends_three(struct step_actor *peer)
{
    return step_open_sender(peer, 0, "a", 8, 0) < 0 ? -1 : step_send(peer, 0, 3);
}

int step_opens_receiver(struct step_actor *stepped)
{
    return step_open_receiver(stepped, 0, "a", 0);
}

/* ---------------------------------------------------------------- judging */

static void read_plain(struct np_lane_shared *shared, uint32_t lane, uint64_t position, uint64_t word,
                       struct step_lane *read)
{
    const struct np_label *label = &np_lane_labels(shared, shared->capacity)[position & (shared->capacity - 1)];
    if (!np_word_is_sent_as(word, lane, position))
        return;
    read->keys[read->count] = np_load64(&label->key, memory_order_relaxed); /* relaxed, both: nobody else has this copy */
    read->numbers[read->count++] = np_load64(&label->id, memory_order_relaxed);
}

static void read_small(struct np_lane_shared *shared, uint64_t position, struct step_lane *read)
{
    const struct np_small_cell *cell = &np_small_cells(shared)[position & (shared->capacity - 1)];
    read->numbers[read->count++] = np_load64(&cell->id, memory_order_relaxed); /* relaxed: nobody else has this copy */
}

static void read_shared(struct np_lane_shared *shared, struct ledger *ledger, const struct np_lane_entry *entry,
                        uint64_t position,
                        uint64_t word, struct step_lane *read)
{
    const struct np_label *label = &np_lane_labels(shared, shared->capacity)[position & (shared->capacity - 1)];
    const uint64_t number = np_load64(&label->id, memory_order_relaxed); /* relaxed: nobody else has this copy */
    if (np_word_claim(word) != np_word_shared(entry->home, read->first + read->count, 0))
        ledger_breach(ledger, "message %llu, number %llu of its home, is announced, and its slot's word says %llx",
                      (unsigned long long)number, (unsigned long long)(read->first + read->count), (unsigned long long)word);
    read->numbers[read->count++] = number;
}

bool step_read_lane(struct np_broker *broker, struct ledger *ledger, uint32_t lane, const char *channel,
                    struct step_lane *read)
{
    struct np_lane_entry *entry = &broker->board.lanes[lane];
    struct np_lane_shared *shared = broker->lane_memory[lane];
    const bool shares = entry->kind == NP_LANE_BROADCAST;
    uint64_t start = 0;
    if (!shared || !np_entry_is(&entry->state, NP_ACTIVE) || entry->kind == NP_LANE_HOME ||
        strcmp(broker->board.channels[entry->channel].name, channel) != 0)
        return false;
    uint64_t position = np_load64(&shared->released, memory_order_acquire);
    const uint64_t until = np_lane_announced_until(shared, entry->capacity, entry->kind, position,
                                                   position + entry->capacity);
    *read = (struct step_lane){ .lane = lane, .kind = entry->kind, .began = !shares || np_broadcast_start(shared, &start),
                                /* relaxed, all: nobody else has this copy */
                                .sender = np_load32(&entry->sender, memory_order_relaxed),
                                .receiver = np_load32(&entry->receiver, memory_order_relaxed) };
    read->first = position + (read->began ? start : 0);
    for (; position < until && read->count < STEP_MESSAGES_MAX; position++) {
        struct np_lane_pool pool = np_broker_lane_pool(broker, broker->board.channels[entry->channel].pool);
        struct np_arena *arena;
        uint64_t index;
        if (entry->kind == NP_LANE_SMALL) {
            read_small(shared, position, read);
            continue;
        }
        np_shm64 *word = np_lane_word_at(shared, entry->capacity, position, &pool, &arena, &index);
        if (!word)
            ledger_breach(ledger, "the cell of message %llu of lane %u names no slot", (unsigned long long)position, lane);
        else if (shares)
            read_shared(shared, ledger, entry, position, np_load64(word, memory_order_acquire), read);
        else
            read_plain(shared, lane, position, np_load64(word, memory_order_acquire), read);
    }
    return true;
}

unsigned step_on_channel(struct np_broker *broker, struct ledger *ledger, const char *channel, uint64_t number)
{
    struct step_lane read;
    unsigned times = 0;
    for (uint32_t lane = 1; lane <= broker->board.limits.lanes; lane++) {
        if (!step_read_lane(broker, ledger, lane, channel, &read))
            continue;
        for (unsigned i = 0; i < read.count; i++)
            times += read.numbers[i] == number;
    }
    return times;
}

int step_opens_spinning(struct step_actor *stepped)
{
    step_spin(STEP_SPIN_NS);
    return step_opens_receiver(stepped);
}

int step_opens_only_reading(struct step_actor *stepped)
{
    return step_connect_readonly(stepped) < 0 ? -1 : step_opens_receiver(stepped);
}

int step_waits_for_one(struct step_actor *stepped)
{
    int result = numapool_receive(stepped->receivers[0], stepped->messages, 1, NUMAPOOL_FOREVER);
    if (result != 1)
        return step_failed(stepped, "receive", result);
    step_seen(stepped, LEDGER_A, 0, 1);
    return 0;
}
