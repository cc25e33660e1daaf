/* SPDX-License-Identifier: MIT
 * Stepped: sending, and what comes back to who sends. */
#include <errno.h>

#include "channel/sender.h"
#include "step_lanes.h"

#define KEY 7u

/* ---------------------------------------------------------------- one message */

static int run_send(struct step_actor *stepped)
{
    int result = numapool_send(stepped->senders[0], &stepped->messages[0], 0);
    if (result < 0)
        return step_failed(stepped, "send", result);
    step_sent(stepped, 0, 1);
    return 0;
}

static int prepare_first(struct step_actor *stepped)
{
    return step_open_sender(stepped, 0, "a", 8, 0) < 0 ? -1 : step_compose(stepped, 0, 0, 1);
}

static int prepare_warm(struct step_actor *stepped)
{
    return step_open_sender(stepped, 0, "a", 8, 0) < 0 || step_send(stepped, 0, 1) < 0 ? -1 : step_compose(stepped, 0, 0, 1);
}

static int peer_falls_asleep(struct step_actor *peer)
{
    return step_receive(peer, 0, 0, 1) < 0 || step_release(peer, 0, 0, 1) < 0 ? -1 : step_sleep_receiver(peer, 0);
}

/* It knows no bells, and sleeps on the lane. */
static int peer_only_reads(struct step_actor *peer)
{
    return step_connect_readonly(peer) < 0 ? -1 : step_peer_receives(peer);
}

/* ---------------------------------------------------------------- room */

static int prepare_full(struct step_actor *stepped)
{
    return step_open_sender(stepped, 0, "a", 4, 0) < 0 || step_send(stepped, 0, 4) < 0 ? -1 : step_compose(stepped, 0, 0, 1);
}

static int peer_releases_two(struct step_actor *peer)
{
    return step_receive(peer, 0, 0, 4) < 0 ? -1 : step_release(peer, 0, 0, 2);
}

/* The second of four that are released is kept: its word is not the sender's any more. */
static int peer_keeps_one(struct step_actor *peer)
{
    if (step_receive(peer, 0, 0, 4) < 0 || step_release(peer, 0, 0, 1) < 0)
        return -1;
    int result = numapool_keep(peer->receivers[0], &peer->messages[1]);
    if (result < 0)
        return step_failed(peer, "keep", result);
    ledger_finish(&peer->readers[0], &peer->messages[1]);
    peer->slots[peer->slot_count++] = peer->messages[1].data;
    return step_release(peer, 0, 2, 2);
}

/* ---------------------------------------------------------------- bulks */

static int run_bulk(struct step_actor *stepped)
{
    const unsigned n = stepped->message_count;
    int result = numapool_send_bulk(stepped->senders[0], stepped->messages, n, 0);
    if (result != (int)n)
        return step_failed(stepped, "send_bulk", result);
    step_sent(stepped, 0, n);
    return 0;
}

static int prepare_full_for_three(struct step_actor *stepped)
{
    return step_open_sender(stepped, 0, "a", 4, 0) < 0 || step_send(stepped, 0, 4) < 0 ? -1 : step_compose(stepped, 0, 0, 3);
}

/* Of three, as many as there is room for. */
static int run_two_of_three(struct step_actor *stepped)
{
    int result = numapool_send_bulk(stepped->senders[0], stepped->messages, 3, 0);
    if (result != 2)
        return step_failed(stepped, "send_bulk of three where there is room for two", result);
    step_sent(stepped, 0, 2);
    return 0;
}

static int prepare_eight(struct step_actor *stepped)
{
    return step_open_sender(stepped, 0, "a", 16, 0) < 0 || step_send(stepped, 0, 1) < 0 ? -1
        : step_compose(stepped, 0, 0, 8);
}

/* Of a lane of four one place is left: the first of the bulk takes it, the others go where the ring begins again. */
static int prepare_across_the_end(struct step_actor *stepped)
{
    return step_open_sender(stepped, 0, "a", 4, 0) < 0 || step_send(stepped, 0, 3) < 0 ? -1 : step_compose(stepped, 0, 0, 3);
}

static int peer_releases_three(struct step_actor *peer)
{
    return step_receive(peer, 0, 0, 3) < 0 ? -1 : step_release(peer, 0, 0, 3);
}

static int peer_receives_twice(struct step_actor *peer)
{
    return step_open_receiver(peer, 0, "a", 0) < 0 ? -1 : step_open_receiver(peer, 1, "a", 0);
}

static int prepare_six_for_two_lanes(struct step_actor *stepped)
{
    return step_open_sender(stepped, 0, "a", 4, 0) < 0 ? -1 : step_compose(stepped, 0, 0, 6);
}

/* ---------------------------------------------------------------- to one alone, keyed */

static int run_send_to(struct step_actor *stepped)
{
    int result = numapool_send_to(stepped->senders[0], stepped->senders[0]->lanes[0].peer, &stepped->messages[0], 0);
    if (result < 0)
        return step_failed(stepped, "send_to", result);
    step_sent(stepped, 0, 1);
    return 0;
}

/* What is sent to the peer alone is for nobody else: whether it is there is judged while he lives. */
static int judge_sent_to(struct np_broker *broker, struct ledger *ledger)
{
    for (uint32_t number = 1; number < ledger->next; number++) {
        const struct ledger_message *entry = &ledger->messages[number];
        unsigned times = step_on_channel(broker, ledger, "c/alone", number);
        if (times > 1 || (times == 0 && entry->sent && !entry->finished[LEDGER_A]) || (times == 1 && !entry->about_to_send))
            ledger_breach(ledger, "message %u, to one receiver alone, is there %u times (sent %u)", number, times,
                          (unsigned)entry->sent);
    }
    return 0;
}

static int peer_is_alone(struct step_actor *peer)
{
    return step_open_receiver(peer, 0, "c/alone", 0);
}

static int prepare_send_to(struct step_actor *stepped)
{
    if (step_open_sender(stepped, 0, "c/alone", 8, 0) < 0 || step_compose(stepped, 0, 0, 1) < 0 || run_send_to(stepped) < 0)
        return -1;
    return step_compose(stepped, 0, 0, 1);
}

/* All that was sent, and what may have been, in its order. */
static int survive_sent_to(struct step_actor *peer)
{
    struct numapool_msg message;
    uint64_t last = 0, sent = 0;
    int result;
    while ((result = numapool_receive(peer->receivers[0], &message, 1, 0)) == 1) {
        if (message.id <= last || !ledger_message_is(&message, message.id))
            return step_failed(peer, "receiving what was sent to one alone, in its order and whole,", (int)message.id);
        last = message.id;
        sent++;
    }
    for (uint32_t number = 1; number < peer->ledger->next; number++)
        sent -= peer->ledger->messages[number].sent && sent > 0;
    return result == -EAGAIN && sent <= 1 && (last == 1 || last == 2) ? 0 : step_failed(peer, "receive", result);
}

static int prepare_key_again(struct step_actor *stepped)
{
    if (step_open_sender(stepped, 0, "a", 8, 0) < 0 || step_send_keyed(stepped, 0, KEY) < 0 ||
        step_compose(stepped, 0, 0, 1) < 0)
        return -1;
    stepped->messages[0].flags = NUMAPOOL_KEYED;
    stepped->messages[0].key = KEY;
    return 0;
}

/* Whichever receiver has it. */
static int peer_releases_the_keyed(struct step_actor *peer)
{
    struct numapool_msg message;
    for (unsigned i = 0; i < 2; i++) {
        if (numapool_receive(peer->receivers[i], &message, 1, 0) < 0)
            continue;
        ledger_receive(&peer->readers[i], peer->receivers[i], &message);
        int result = numapool_release(peer->receivers[i], &message, 1);
        ledger_finish(&peer->readers[i], &message);
        return result < 0 ? step_failed(peer, "release", result) : 0;
    }
    return step_failed(peer, "receive on either lane", -EAGAIN);
}

/* Two keys that are busy on two lanes, and one that is not keyed. */
static int prepare_keys(struct step_actor *stepped)
{
    static const uint64_t keys[] = { KEY, KEY + 1, KEY, 0 };
    if (step_open_sender(stepped, 0, "a", 8, 0) < 0 || step_send_keyed(stepped, 0, KEY) < 0 ||
        step_send_keyed(stepped, 0, KEY + 1) < 0 ||
        step_compose(stepped, 0, 0, 4) < 0)
        return -1;
    for (unsigned i = 0; i < 4; i++) {
        stepped->messages[i].flags = keys[i] ? NUMAPOOL_KEYED : 0;
        stepped->messages[i].key = keys[i];
    }
    return 0;
}

/* One key on each of two lanes; the next one has the second's. */
static int prepare_key_to_drain(struct step_actor *stepped)
{
    if (step_open_sender(stepped, 0, "a", 8, 0) < 0 || step_send_keyed(stepped, 0, KEY) < 0 ||
        step_send_keyed(stepped, 0, KEY + 1) < 0 ||
        step_compose(stepped, 0, 0, 2) < 0)
        return -1;
    for (unsigned i = 0; i < 2; i++) {
        stepped->messages[i].flags = NUMAPOOL_KEYED;
        stepped->messages[i].key = KEY + i;
    }
    return 0;
}

/* The second receiver leaves, and the first gets its lane, with the message that is there. */
static int peer_leaves_keys_behind(struct step_actor *peer)
{
    return step_close_receiver(peer, 1);
}

/* One of the two keys waits for its elder, on a lane that gets nothing more. */
static int run_send_keyed(struct step_actor *stepped)
{
    for (unsigned i = 0; i < 2; i++) {
        int result = numapool_send(stepped->senders[0], &stepped->messages[i], 0);
        if (result == 0)
            step_sent(stepped, i, 1);
        else if (result != -EAGAIN)
            return step_failed(stepped, "send", result);
    }
    return 0;
}

/* Messages with one key lie on one lane, as long as they are not released. */
static int judge_keys(struct np_broker *broker, struct ledger *ledger)
{
    uint64_t keys[STEP_MESSAGES_MAX];
    uint32_t lanes[STEP_MESSAGES_MAX];
    struct step_lane read;
    unsigned n = 0;
    for (uint32_t lane = 1; lane <= broker->board.limits.lanes; lane++) {
        if (!step_read_lane(broker, ledger, lane, "a", &read))
            continue;
        for (unsigned i = 0; i < read.count && n < STEP_MESSAGES_MAX; i++) {
            for (unsigned j = 0; j < n; j++)
                if (keys[j] != 0 && keys[j] == read.keys[i] && lanes[j] != lane)
                    ledger_breach(ledger, "key %llu is on lane %u and on lane %u", (unsigned long long)keys[j], lanes[j],
                                  lane);
            keys[n] = read.keys[i];
            lanes[n++] = lane;
        }
    }
    return 0;
}

/* ---------------------------------------------------------------- lanes that come and go */

static int peer_joins_again(struct step_actor *peer)
{
    return step_open_receiver(peer, 1, "a", 0);
}

static int prepare_two_on_each_lane(struct step_actor *stepped)
{
    if (step_open_sender(stepped, 0, "a", 8, 0) < 0)
        return -1;
    for (unsigned i = 0; i < 4; i++) /* in turn */
        if (step_send(stepped, 0, 1) < 0)
            return -1;
    return step_compose(stepped, 0, 0, 1);
}

/* The second receiver releases one of its two and leaves; the first takes the lane over and releases the rest: it is
 * drained, and has words that say SENT, released. */
static int peer_leaves_a_lane(struct step_actor *peer)
{
    if (step_receive(peer, 1, 0, 2) < 0 || step_release(peer, 1, 0, 1) < 0 || step_close_receiver(peer, 1) < 0)
        return -1;
    return step_receive(peer, 0, 0, 3) < 0 ? -1 : step_release(peer, 0, 0, 3);
}

/* ---------------------------------------------------------------- loans */

static int run_loan_two(struct step_actor *stepped)
{
    stepped->slots[0] = numapool_loan(stepped->senders[0]);
    stepped->slots[1] = numapool_loan(stepped->senders[0]);
    return stepped->slots[0] && stepped->slots[1] ? 0 : step_failed(stepped, "loan", 0);
}

static int run_loan_bulk(struct step_actor *stepped)
{
    stepped->slots[0] = numapool_loan(stepped->senders[0]); /* looks what was released; the others are known then */
    int result = numapool_loan_bulk(stepped->senders[0], stepped->slots + 1, 2);
    return stepped->slots[0] && result == 2 ? 0 : step_failed(stepped, "loan_bulk", result);
}

/* What the magazine has is loaned: the next loan is of what was released. */
static void empty_magazine(struct step_actor *stepped)
{
    const struct numapool_magazine *magazine = &stepped->senders[0]->magazine->fast;
    while (magazine->top != magazine->bottom && stepped->slot_count < STEP_SLOTS_MAX)
        stepped->slots[stepped->slot_count++] = numapool_loan(stepped->senders[0]);
}

static int prepare_loans(struct step_actor *stepped)
{
    if (step_open_sender(stepped, 0, "a", 4, 0) < 0 || step_send(stepped, 0, 4) < 0)
        return -1;
    empty_magazine(stepped);
    return 0;
}

/* Three sent and three to be sent, on a lane of four; the magazine is empty, so that a loan looks what was released. */
static int prepare_loan_and_three(struct step_actor *stepped)
{
    if (step_open_sender(stepped, 0, "a", 4, 0) < 0 || step_send(stepped, 0, 3) < 0 || step_compose(stepped, 0, 0, 3) < 0)
        return -1;
    empty_magazine(stepped);
    return 0;
}

/* What was released is known and, but for the loan, not re-marked yet: the cells of those are not free. */
static int run_loan_and_three(struct step_actor *stepped)
{
    stepped->slots[0] = numapool_loan(stepped->senders[0]);
    for (unsigned i = 0; i < 3; i++) {
        int result = numapool_send(stepped->senders[0], &stepped->messages[i], 0);
        if (result < 0)
            return step_failed(stepped, "send", result);
        step_sent(stepped, i, 1);
    }
    return stepped->slots[0] ? 0 : step_failed(stepped, "loan", 0);
}

#define HERE .pool_options = STEP_LANES_POOL
#define RECEIVED HERE, .peer = step_peer_receives, .survive = step_survive_receiving
#define RECEIVED_TWICE HERE, .peer = peer_receives_twice, .survive = step_survive_receiving
#define CHECKED .pool_options = STEP_LANES_POOL ",checks", .peer = step_peer_receives, .survive = step_survive_receiving
#define EXACT .pool_options = STEP_LANES_POOL ",exact", .peer = step_peer_receives, .survive = step_survive_receiving
#define TALKS .flags = STEP_TALKS | STEP_LONG

static const struct step_operation operations[] = {
    { .name = "the first, on a lane that waits", HERE, .prepare = prepare_first, .run = run_send },
    { .name = "one, warm", RECEIVED, .prepare = prepare_warm, .run = run_send },
    { .name = "one, to who sleeps", RECEIVED, .prepare = prepare_warm, .peer_again = peer_falls_asleep, .run = run_send },
    { .name = "one, to who sleeps and only reads", HERE, .flags = STEP_FRESH_PEER, .peer = peer_only_reads,
      .prepare = prepare_warm,
      .peer_again = peer_falls_asleep, .run = run_send, .survive = step_survive_receiving },
    { .name = "one, on a full lane that has room again", RECEIVED, .prepare = prepare_full, .peer_again = peer_releases_two,
      .run = run_send },
    { .name = "one, on a full lane of which one was kept", RECEIVED, .prepare = prepare_full, .peer_again = peer_keeps_one,
      .run = run_send },
    { .name = "one, counted exactly", EXACT, .prepare = prepare_full, .peer_again = peer_releases_two, .run = run_send },
    { .name = "one, with checks", CHECKED, .prepare = prepare_full, .peer_again = peer_releases_two, .run = run_send },
    { .name = "a bulk of eight", RECEIVED, .prepare = prepare_eight, .run = run_bulk },
    { .name = "a bulk across the ring's end", RECEIVED, .prepare = prepare_across_the_end, .peer_again = peer_releases_three,
      .run = run_bulk },
    { .name = "a bulk that has room for two of three", RECEIVED, .prepare = prepare_full_for_three,
      .peer_again = peer_releases_two,
      .run = run_two_of_three },
    { .name = "a loan of what was released, and three", RECEIVED, .prepare = prepare_loan_and_three,
      .peer_again = peer_releases_three,
      .run = run_loan_and_three },
    { .name = "a bulk over two lanes", RECEIVED_TWICE, .prepare = prepare_six_for_two_lanes, .run = run_bulk },
    { .name = "to one alone", HERE, .peer = peer_is_alone, .prepare = prepare_send_to, .run = run_send_to,
      .only_judge = true,
      .judge = judge_sent_to, .survive = survive_sent_to },
    { .name = "keyed, behind its elder", RECEIVED_TWICE, .prepare = prepare_key_again, .run = run_send,
      .judge = judge_keys },
    { .name = "keyed, behind its elder, with checks", CHECKED, .prepare = prepare_key_again, .run = run_send,
      .judge = judge_keys },
    { .name = "keyed, on another lane than before", RECEIVED_TWICE, .prepare = prepare_key_again,
      .peer_again = peer_releases_the_keyed,
      .run = run_send, .judge = judge_keys },
    { .name = "keys of two lanes in a bulk", RECEIVED_TWICE, .prepare = prepare_keys, .run = run_bulk, .judge = judge_keys },
    { .name = "keyed, and its lane is to be drained", RECEIVED_TWICE, TALKS, .prepare = prepare_key_to_drain,
      .peer_again = peer_leaves_keys_behind, .run = run_send_keyed, .judge = judge_keys },
    { .name = "one, when a lane has come", RECEIVED, TALKS, .prepare = prepare_warm, .peer_again = peer_joins_again,
      .run = run_send },
    { .name = "one, when a lane is to be left", RECEIVED_TWICE, TALKS, .prepare = prepare_two_on_each_lane,
      .peer_again = peer_leaves_a_lane, .run = run_send },
    { .name = "two loans of what was released", RECEIVED, .prepare = prepare_loans, .peer_again = peer_releases_two,
      .run = run_loan_two },
    { .name = "a bulk of loans of what was released", RECEIVED, .prepare = prepare_loans, .peer_again = peer_keeps_one,
      .run = run_loan_bulk },
};

const struct step_group step_send_group = { "send", operations, sizeof operations / sizeof operations[0] };
