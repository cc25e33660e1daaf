/* SPDX-License-Identifier: MIT
 * Stepped: two at the same time. At some instruction of the stepped process its peer does what changes the lanes of
 * both, or what the stepped one waits for; then that one goes on, to its end or its death. */
#include <errno.h>

#include "channel/receiver.h"
#include "channel/sender.h"
#include "step_lanes.h"

#define BROADCAST "c/all"

/* ---------------------------------------------------------------- who is stepped sends */

static int prepare_send(struct step_actor *stepped)
{
    return step_open_sender(stepped, 0, "a", 8, 0) < 0 || step_send(stepped, 0, 2) < 0 ? -1 : step_compose(stepped, 0, 0, 3);
}

/* One, then two. */
static int run_send(struct step_actor *stepped)
{
    int result = numapool_send(stepped->senders[0], &stepped->messages[0], 0);
    if (result < 0)
        return step_failed(stepped, "send", result);
    step_sent(stepped, 0, 1);
    result = numapool_send_bulk(stepped->senders[0], &stepped->messages[1], 2, 0);
    if (result != 2)
        return step_failed(stepped, "send_bulk", result);
    step_sent(stepped, 1, 2);
    return 0;
}

static int peer_receives_twice(struct step_actor *peer)
{
    return step_open_receiver(peer, 0, "a", 0) < 0 ? -1 : step_open_receiver(peer, 1, "a", 0);
}

static int peer_joins(struct step_actor *peer)
{
    return step_open_receiver(peer, 1, "a", 0);
}

static int peer_leaves(struct step_actor *peer)
{
    return step_close_receiver(peer, 0);
}

static int peer_leaves_one(struct step_actor *peer)
{
    return step_close_receiver(peer, 1);
}

/* The other has received, and goes with what it has not released. */
static int peer_receives_and_leaves_one(struct step_actor *peer)
{
    return step_receive(peer, 1, 0, 1) < 0 ? -1 : step_close_receiver(peer, 1);
}

static int peer_receives_two(struct step_actor *peer)
{
    return step_receive(peer, 0, 0, 2) < 0 ? -1 : step_release(peer, 0, 0, 2);
}

static int prepare_keyed(struct step_actor *stepped)
{
    if (step_open_sender(stepped, 0, "a", 8, 0) < 0)
        return -1;
    for (uint64_t key = 1; key <= 2; key++) /* one on each lane */
        if (step_send_keyed(stepped, 0, key) < 0)
            return -1;
    if (step_compose(stepped, 0, 0, 3) < 0)
        return -1;
    for (unsigned i = 0; i < 3; i++) {
        stepped->messages[i].flags = NUMAPOOL_KEYED;
        stepped->messages[i].key = 1 + i % 2;
    }
    return 0;
}

/* With the lane to be drained a key has to wait for its elders: what could not be sent is not. */
static int run_send_keyed(struct step_actor *stepped)
{
    for (unsigned i = 0; i < 3; i++) {
        int result = numapool_send(stepped->senders[0], &stepped->messages[i], 0);
        if (result == -EAGAIN)
            return 0;
        if (result < 0)
            return step_failed(stepped, "send", result);
        step_sent(stepped, i, 1);
    }
    return 0;
}

/* ---------------------------------------------------------------- who is stepped waits */

static int prepare_full(struct step_actor *stepped)
{
    return step_open_sender(stepped, 0, "a", 2, 0) < 0 || step_send(stepped, 0, 2) < 0 ? -1 : step_compose(stepped, 0, 0, 1);
}

static int prepare_full_with_spin(struct step_actor *stepped)
{
    step_spin(STEP_SPIN_NS);
    return prepare_full(stepped);
}

static int run_send_and_wait(struct step_actor *stepped)
{
    int result = numapool_send(stepped->senders[0], &stepped->messages[0], NUMAPOOL_FOREVER);
    if (result < 0)
        return step_failed(stepped, "send", result);
    step_sent(stepped, 0, 1);
    return 0;
}

static int peer_makes_room(struct step_actor *peer)
{
    return step_receive(peer, 0, 0, 1) < 0 ? -1 : step_release(peer, 0, 0, 1);
}

static int peer_only_reads(struct step_actor *peer)
{
    return step_connect_readonly(peer) < 0 ? -1 : step_open_receiver(peer, 0, "a", 0);
}

static int prepare_dearth(struct step_actor *stepped)
{
    if (step_open_sender(stepped, 0, "a", 2, 0) < 0 || step_send(stepped, 0, 2) < 0)
        return -1;
    for (void *slot; stepped->slot_count < STEP_SLOTS_MAX - 1 && (slot = numapool_loan(stepped->senders[0]));)
        stepped->slots[stepped->slot_count++] = slot;
    return 0;
}

static int run_loan(struct step_actor *stepped)
{
    int result = numapool_loan_wait(stepped->senders[0], &stepped->slots[stepped->slot_count], NUMAPOOL_FOREVER);
    return result < 0 ? step_failed(stepped, "loan_wait", result) : 0;
}

static int peer_will_send(struct step_actor *peer)
{
    return step_open_sender(peer, 0, "a", 8, 0);
}

static int peer_sends_one(struct step_actor *peer)
{
    return step_send(peer, 0, 1);
}

/* A sender that comes is a lane that has no flag up yet. */
static int peer_comes_and_sends(struct step_actor *peer)
{
    if (!peer->senders[1] && step_open_sender(peer, 1, "a", 8, 0) < 0)
        return -1;
    return step_send(peer, 1, 1);
}

static int prepare_set(struct step_actor *stepped)
{
    if (step_opens_receiver(stepped) < 0)
        return -1;
    int result = numapool_waitset_open(&stepped->waitset);
    if (result == 0)
        result = numapool_waitset_add(stepped->waitset, stepped->receivers[0], stepped->receivers[0]);
    return result < 0 ? step_failed(stepped, "waitset_open or _add", result) : 0;
}

static int run_wait(struct step_actor *stepped)
{
    void *tag;
    int result = numapool_waitset_wait(stepped->waitset, &tag, 1, NUMAPOOL_FOREVER);
    return result == 1 && tag == stepped->receivers[0] ? 0 : step_failed(stepped, "waitset_wait", result);
}

/* ---------------------------------------------------------------- who is stepped receives */

static int peer_sends_two(struct step_actor *peer)
{
    return peer_will_send(peer) < 0 ? -1 : step_send(peer, 0, 2);
}

/* All that is there, one after the other, in the order of numbers: what a sender that has gone had sent comes before what
 * its successor sends. */
static int run_receive(struct step_actor *stepped)
{
    uint64_t last = 0;
    for (unsigned i = 0;; i++) {
        int result = numapool_receive(stepped->receivers[0], &stepped->messages[i], 1, 0);
        if (result == -EAGAIN)
            return i > 0 ? 0 : step_failed(stepped, "receive", result);
        if (result != 1 || stepped->messages[i].id <= last)
            return step_failed(stepped, "receiving in the order of numbers", result == 1 ? (int)stepped->messages[i].id
                               : result);
        last = stepped->messages[i].id;
        step_seen(stepped, LEDGER_A, i, 1);
        step_finishing(stepped, LEDGER_A, i, 1);
        result = numapool_release(stepped->receivers[0], &stepped->messages[i], 1);
        if (result < 0)
            return step_failed(stepped, "release", result);
        step_finished(stepped, LEDGER_A, i, 1);
    }
}

static int peer_goes(struct step_actor *peer)
{
    return step_close_sender(peer, 0);
}

/* Sends one more and goes; its successor, whose lane is there already, sends two. */
static int peer_has_a_successor(struct step_actor *peer)
{
    return step_send(peer, 0, 1) < 0 || step_close_sender(peer, 0) < 0 ? -1 : step_send(peer, 1, 2);
}

static int peer_with_successor_sends_two(struct step_actor *peer)
{
    if (peer_will_send(peer) < 0 || step_open_sender(peer, 1, "a", 8, 0) < 0)
        return -1;
    return step_send(peer, 0, 2);
}

static int peer_receives_too(struct step_actor *peer)
{
    return step_open_receiver(peer, 0, "a", 0);
}

/* ---------------------------------------------------------------- who is stepped forwards */

static int prepare_forward(struct step_actor *stepped)
{
    if (step_opens_receiver(stepped) < 0 || step_open_sender(stepped, 0, "b", 8, 0) < 0)
        return -1;
    return step_receive(stepped, 0, 0, 3);
}

static int run_forward(struct step_actor *stepped)
{
    step_finishing(stepped, LEDGER_A, 0, 3);
    int result = numapool_forward_bulk(stepped->receivers[0], stepped->messages, 3, stepped->senders[0], 0);
    if (result != 3)
        return step_failed(stepped, "forward_bulk", result);
    step_finished(stepped, LEDGER_A, 0, 3);
    return 0;
}

static int peer_sends_and_receives(struct step_actor *peer)
{
    return step_peer_sends_three(peer) < 0 ? -1 : step_open_receiver(peer, 0, "b", 0);
}

static int peer_receives_on_b(struct step_actor *peer)
{
    return step_open_receiver(peer, 0, "b", 0);
}

/* ---------------------------------------------------------------- broadcasts */

/* Waits until the daemon has said who has come or left. */
static int run_broadcast(struct step_actor *stepped)
{
    int result = numapool_send(stepped->senders[0], &stepped->messages[0], NUMAPOOL_FOREVER);
    if (result < 0)
        return step_failed(stepped, "send", result);
    step_sent(stepped, 0, 1);
    result = numapool_send_bulk(stepped->senders[0], &stepped->messages[1], 2, NUMAPOOL_FOREVER);
    if (result != 2)
        return step_failed(stepped, "send_bulk", result);
    step_sent(stepped, 1, 2);
    return 0;
}

static int peer_hears(struct step_actor *peer)
{
    for (unsigned i = 0; i < 2; i++)
        if (step_open_receiver(peer, i, BROADCAST, NUMAPOOL_BROADCAST) < 0)
            return -1;
    return 0;
}

static int peer_hears_more(struct step_actor *peer)
{
    return step_open_receiver(peer, 2, BROADCAST, NUMAPOOL_BROADCAST);
}

static int prepare_broadcast(struct step_actor *stepped)
{
    if (step_open_sender(stepped, 0, BROADCAST, 8, NUMAPOOL_BROADCAST) < 0 || step_send(stepped, 0, 2) < 0)
        return -1;
    return step_compose(stepped, 0, 0, 3);
}

/* Each gets all that was sent, in its order, from the beginning on, or from when it has come. */
static int survive_broadcast(struct step_actor *peer)
{
    uint64_t sent = 0;
    for (uint32_t number = 1; number < peer->ledger->next; number++)
        sent += peer->ledger->messages[number].sent;
    for (unsigned i = 0; i < STEP_RECEIVERS_MAX; i++) {
        const bool has_come = i == 2;
        struct numapool_msg message;
        uint64_t last = 0;
        int result = -EAGAIN;
        while (peer->receivers[i] && (result = numapool_receive(peer->receivers[i], &message, 1, 0)) == 1) {
            if ((message.id != last + 1 && !(has_come && last == 0)) || !ledger_message_is(&message, message.id))
                return step_failed(peer, "receiving a broadcast, whole and in its order,", (int)message.id);
            last = message.id;
        }
        if (result != -EAGAIN || (peer->receivers[i] && last < sent && !(has_come && last == 0)))
            return step_failed(peer, "receiving all of a broadcast", result == -EAGAIN ? (int)last : result);
    }
    return 0;
}

/* ---------------------------------------------------------------- services, and ends that come and go */

static int prepare_connected(struct step_actor *stepped)
{
    return step_connect(stepped);
}

static int run_open_sender_and_send(struct step_actor *stepped)
{
    if (step_open_sender(stepped, 0, "a", 8, 0) < 0 || step_send(stepped, 0, 2) < 0)
        return -1;
    return 0;
}

static int run_close_sender(struct step_actor *stepped)
{
    int result = numapool_sender_close(stepped->senders[0], 0);
    return result < 0 ? step_failed(stepped, "sender_close", result) : 0;
}

static int prepare_sent(struct step_actor *stepped)
{
    return step_open_sender(stepped, 0, "a", 4, 0) < 0 ? -1 : step_send(stepped, 0, 4);
}

static int run_open_receiver_and_receive(struct step_actor *stepped)
{
    if (step_opens_receiver(stepped) < 0)
        return -1;
    int result = numapool_receive(stepped->receivers[0], stepped->messages, 8, 0);
    if (result > 0)
        step_seen(stepped, LEDGER_A, 0, (unsigned)result);
    return result > 0 || result == -EAGAIN ? 0 : step_failed(stepped, "receive", result);
}

static int peer_sends_and_receives_a(struct step_actor *peer)
{
    if (peer_will_send(peer) < 0 || step_open_receiver(peer, 0, "a", 0) < 0)
        return -1;
    return step_send(peer, 0, 3);
}

/* With one of three received. */
static int peer_receives_one_and_leaves(struct step_actor *peer)
{
    return step_receive(peer, 0, 0, 1) < 0 ? -1 : step_close_receiver(peer, 0);
}

static int run_close_receiver(struct step_actor *stepped)
{
    int result = numapool_receiver_close(stepped->receivers[0]);
    return result < 0 ? step_failed(stepped, "receiver_close", result) : 0;
}

#define HERE .pool_options = STEP_LANES_POOL
#define SHORT HERE, .flags = STEP_TALKS
#define TALKS HERE, .flags = STEP_TALKS | STEP_LONG
#define SLEEPS HERE, .flags = STEP_SLEEPS | STEP_LONG

static const struct step_operation operations[] = {
    { .name = "sends, and a receiver joins", SHORT, .peer = step_peer_receives, .prepare = prepare_send, .run = run_send,
      .between = peer_joins, .survive = step_survive_receiving },
    { .name = "sends, and the receiver leaves", TALKS, .peer = step_peer_receives, .prepare = prepare_send, .run = run_send,
      .between = peer_leaves },
    { .name = "sends, and one of two receivers leaves", TALKS, .peer = peer_receives_twice, .prepare = prepare_send,
      .run = run_send,
      .between = peer_leaves_one },
    { .name = "sends, and messages are released", TALKS, .peer = step_peer_receives, .prepare = prepare_send,
      .run = run_send,
      .between = peer_receives_two },
    { .name = "sends keyed ones, and one of two receivers leaves", TALKS, .peer = peer_receives_twice,
      .prepare = prepare_keyed,
      .run = run_send_keyed, .between = peer_receives_and_leaves_one },
    { .name = "waits for room, which is made", SLEEPS, .peer = step_peer_receives, .prepare = prepare_full,
      .run = run_send_and_wait,
      .meanwhile = peer_makes_room, .between = peer_makes_room },
    { .name = "waits for room behind a spin", SLEEPS, .peer = step_peer_receives, .prepare = prepare_full_with_spin,
      .run = run_send_and_wait, .meanwhile = peer_makes_room, .between = peer_makes_room },
    { .name = "waits for room that one who reads only makes", HERE, .flags = STEP_SLEEPS | STEP_LONG | STEP_FRESH_PEER,
      .peer = peer_only_reads, .prepare = prepare_full, .run = run_send_and_wait, .meanwhile = peer_makes_room,
      .between = peer_makes_room },
    { .name = "waits for a slot, which is released", SLEEPS, .peer = step_peer_receives, .prepare = prepare_dearth,
      .run = run_loan,
      .meanwhile = peer_makes_room, .between = peer_makes_room },
    { .name = "waits for a message, which is sent", SLEEPS, .peer = peer_will_send, .prepare = step_opens_receiver,
      .run = step_waits_for_one, .meanwhile = peer_sends_one, .between = peer_sends_one },
    { .name = "waits for a message behind a spin", SLEEPS, .peer = peer_will_send, .prepare = step_opens_spinning,
      .run = step_waits_for_one, .meanwhile = peer_sends_one, .between = peer_sends_one },
    { .name = "waits for a message, and only reads", SLEEPS, .peer = peer_will_send, .prepare = step_opens_only_reading,
      .run = step_waits_for_one, .meanwhile = peer_sends_one, .between = peer_sends_one },
    { .name = "waits for a message, and a new sender sends it", HERE, .flags = STEP_SLEEPS | STEP_LONG | STEP_TALKS,
      .peer = peer_will_send, .prepare = step_opens_receiver, .run = step_waits_for_one, .meanwhile = peer_comes_and_sends,
      .between = peer_comes_and_sends },
    { .name = "waits in a set, and a message is sent", SLEEPS, .peer = peer_will_send, .prepare = prepare_set,
      .run = run_wait,
      .meanwhile = peer_sends_one, .between = peer_sends_one },
    { .name = "waits in a set, and a new sender sends", HERE, .flags = STEP_SLEEPS | STEP_LONG | STEP_TALKS,
      .peer = peer_will_send,
      .prepare = prepare_set, .run = run_wait, .meanwhile = peer_comes_and_sends, .between = peer_comes_and_sends },
    { .name = "receives, and the sender leaves", TALKS, .peer = peer_sends_two, .prepare = step_opens_receiver,
      .run = run_receive,
      .between = peer_goes },
    { .name = "receives, and the sender has a successor", SHORT, .peer = peer_with_successor_sends_two,
      .prepare = step_opens_receiver,
      .run = run_receive, .between = peer_has_a_successor },
    { .name = "receives, and another joins", TALKS, .peer = peer_sends_two, .prepare = step_opens_receiver,
      .run = run_receive,
      .between = peer_receives_too },
    { .name = "forwards, and a receiver joins", TALKS, .peer = step_peer_sends_three, .prepare = prepare_forward,
      .run = run_forward,
      .between = peer_receives_on_b, .forwards = true, .survive = step_survive_receiving },
    { .name = "forwards, and the receiver leaves", SHORT, .peer = peer_sends_and_receives, .prepare = prepare_forward,
      .run = run_forward, .between = peer_leaves, .forwards = true },
    { .name = "forwards, and the sender leaves", TALKS, .peer = step_peer_sends_three, .prepare = prepare_forward,
      .run = run_forward,
      .between = peer_goes, .forwards = true },
    { .name = "broadcasts, and a receiver joins", TALKS, .peer = peer_hears, .prepare = prepare_broadcast,
      .run = run_broadcast,
      .between = peer_hears_more, .only_judge = true, .survive = survive_broadcast },
    { .name = "broadcasts, and a receiver leaves", TALKS, .peer = peer_hears, .prepare = prepare_broadcast,
      .run = run_broadcast,
      .between = peer_leaves_one, .only_judge = true, .survive = survive_broadcast },
    { .name = "a sender joins and sends, and a receiver joins", TALKS, .peer = step_peer_receives,
      .prepare = prepare_connected,
      .run = run_open_sender_and_send, .between = peer_joins, .survive = step_survive_receiving },
    { .name = "a sender joins and sends, and the receiver leaves", TALKS, .peer = step_peer_receives,
      .prepare = prepare_connected,
      .run = run_open_sender_and_send, .between = peer_leaves },
    { .name = "a sender leaves, and so does the receiver", TALKS, .peer = step_peer_receives, .prepare = prepare_sent,
      .run = run_close_sender, .between = peer_leaves },
    { .name = "a sender leaves, and messages are released", TALKS, .peer = step_peer_receives, .prepare = prepare_sent,
      .run = run_close_sender, .between = peer_receives_two },
    { .name = "a receiver joins, and another leaves", TALKS, .peer = peer_sends_and_receives_a, .prepare = prepare_connected,
      .run = run_open_receiver_and_receive, .between = peer_receives_one_and_leaves },
    { .name = "a receiver joins, and the sender leaves", TALKS, .peer = peer_sends_two, .prepare = prepare_connected,
      .run = run_open_receiver_and_receive, .between = peer_goes },
    { .name = "a receiver leaves, and another joins", TALKS, .peer = peer_sends_two, .prepare = step_opens_receiver,
      .run = run_close_receiver, .between = peer_receives_too },
    { .name = "a receiver leaves, and the sender sends", TALKS, .peer = peer_sends_two, .prepare = step_opens_receiver,
      .run = run_close_receiver, .between = peer_sends_one },
};

const struct step_group step_meet_group = { "meet", operations, sizeof operations / sizeof operations[0] };
