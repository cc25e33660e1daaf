/* SPDX-License-Identifier: MIT
 * Stepped: what is received goes on to another channel, or is kept. */
#include "channel/receiver.h"
#include "channel/sender.h"
#include "step_lanes.h"

/* ---------------------------------------------------------------- forwarding */

/* Receives the three that the peer has sent. */
static int prepare_with_room_for(struct step_actor *stepped, uint32_t lane_slots)
{
    return step_opens_receiver(stepped) < 0 || step_open_sender(stepped, 0, "b", lane_slots, 0) < 0 ? -1
        : step_receive(stepped, 0, 0, 3);
}

static int prepare_forward(struct step_actor *stepped)
{
    return prepare_with_room_for(stepped, 8);
}

static int run_forward(struct step_actor *stepped)
{
    step_finishing(stepped, LEDGER_A, 0, 1);
    int result = numapool_forward(stepped->receivers[0], &stepped->messages[0], stepped->senders[0], 0);
    if (result < 0)
        return step_failed(stepped, "forward", result);
    step_finished(stepped, LEDGER_A, 0, 1);
    return 0;
}

/* Of three, as many as there is room for. */
static int run_forward_bulk(struct step_actor *stepped)
{
    step_finishing(stepped, LEDGER_A, 0, 3);
    int result = numapool_forward_bulk(stepped->receivers[0], stepped->messages, 3, stepped->senders[0], 0);
    if (result < 2)
        return step_failed(stepped, "forward_bulk", result);
    step_finished(stepped, LEDGER_A, 0, (unsigned)result);
    return 0;
}

static int prepare_for_two(struct step_actor *stepped)
{
    return prepare_with_room_for(stepped, 2);
}

/* The youngest goes first: `released` waits for its elders. */
static int run_forward_youngest(struct step_actor *stepped)
{
    for (unsigned i = 2; i > 0; i--) {
        step_finishing(stepped, LEDGER_A, i, 1);
        int result = numapool_forward(stepped->receivers[0], &stepped->messages[i], stepped->senders[0], 0);
        if (result < 0)
            return step_failed(stepped, "forward", result);
        step_finished(stepped, LEDGER_A, i, 1);
    }
    return 0;
}

/* Both ends of the message's way have somebody who sleeps: the sender on a, for room, and the receiver on b. */
static int peer_sends_and_receives(struct step_actor *peer)
{
    return step_peer_sends_three(peer) < 0 ? -1 : step_open_receiver(peer, 0, "b", 0);
}

static int peer_sleeps_at_both_ends(struct step_actor *peer)
{
    return step_sleep_sender(peer, 0) < 0 ? -1 : step_sleep_receiver(peer, 0);
}

static int run_forward_and_wait(struct step_actor *stepped)
{
    step_finishing(stepped, LEDGER_A, 0, 3);
    int result = numapool_forward_bulk(stepped->receivers[0], stepped->messages, 3, stepped->senders[0], NUMAPOOL_FOREVER);
    if (result != 3)
        return step_failed(stepped, "forward_bulk", result);
    step_finished(stepped, LEDGER_A, 0, 3);
    return 0;
}

static int peer_makes_room(struct step_actor *peer)
{
    return step_receive(peer, 0, 0, 2) < 0 ? -1 : step_release(peer, 0, 0, 2);
}

static int peer_sends_keyed(struct step_actor *peer)
{
    if (step_open_sender(peer, 0, "a", 8, 0) < 0)
        return -1;
    for (uint64_t key = 1; key <= 3; key++)
        if (step_send_keyed(peer, 0, key) < 0)
            return -1;
    return 0;
}

static int prepare_ends(struct step_actor *stepped)
{
    return step_opens_receiver(stepped) < 0 ? -1 : step_open_sender(stepped, 0, "b", 8, 0);
}

/* Two lanes of a, two messages each: `released` of the first moves before the second's words. */
static int peer_sends_on_two_lanes(struct step_actor *peer)
{
    for (unsigned i = 0; i < 2; i++)
        if (step_open_sender(peer, i, "a", 8, 0) < 0 || step_send(peer, i, 2) < 0)
            return -1;
    return 0;
}

static int prepare_four(struct step_actor *stepped)
{
    return prepare_ends(stepped) < 0 ? -1 : step_receive(stepped, 0, 0, 4);
}

static int run_forward_four(struct step_actor *stepped)
{
    step_finishing(stepped, LEDGER_A, 0, 4);
    int result = numapool_forward_bulk(stepped->receivers[0], stepped->messages, 4, stepped->senders[0], 0);
    if (result != 4)
        return step_failed(stepped, "forward_bulk", result);
    step_finished(stepped, LEDGER_A, 0, 4);
    return 0;
}

/* The sender's end is gone before the forwarder looks: its lane is an orphan, which is left once all has gone on. */
static int peer_leaves_an_orphan(struct step_actor *peer)
{
    return step_send(peer, 0, 2) < 0 ? -1 : step_close_sender(peer, 0);
}

static int peer_will_send(struct step_actor *peer)
{
    return step_open_sender(peer, 0, "a", 8, 0);
}

static int run_forward_orphan(struct step_actor *stepped)
{
    int result = numapool_receive(stepped->receivers[0], stepped->messages, 2, 0);
    if (result != 2)
        return step_failed(stepped, "receive", result);
    step_seen(stepped, LEDGER_A, 0, 2);
    step_finishing(stepped, LEDGER_A, 0, 2);
    result = numapool_forward_bulk(stepped->receivers[0], stepped->messages, 2, stepped->senders[0], 0);
    if (result != 2)
        return step_failed(stepped, "forward_bulk", result);
    step_finished(stepped, LEDGER_A, 0, 2);
    result = numapool_receive(stepped->receivers[0], stepped->messages, 1, 0); /* leaves the lane */
    return result < 0 ? 0 : step_failed(stepped, "receive", result);
}

/* ---------------------------------------------------------------- into a broadcast */

static int peer_sends_and_hears(struct step_actor *peer)
{
    if (step_peer_sends_three(peer) < 0)
        return -1;
    for (unsigned i = 0; i < 2; i++)
        if (step_open_receiver(peer, i, "c/all", NUMAPOOL_BROADCAST) < 0)
            return -1;
    return 0;
}

static int prepare_into_broadcast(struct step_actor *stepped)
{
    if (step_opens_receiver(stepped) < 0 || step_open_sender(stepped, 0, "c/all", 8, NUMAPOOL_BROADCAST) < 0)
        return -1;
    return step_receive(stepped, 0, 0, 3);
}

/* Each is on a, or everybody's: never both, and never neither. */
static int judge_into_broadcast(struct np_broker *broker, struct ledger *ledger)
{
    for (uint32_t number = 1; number < ledger->next; number++) {
        unsigned plain = step_on_channel(broker, ledger, "a", number),
            shared = step_on_channel(broker, ledger, "c/all", number);
        const bool finished = ledger->messages[number].finished[LEDGER_A];
        if (!(plain == 1 && shared == 0 && !finished) && !(plain == 0 && shared == 2))
            ledger_breach(ledger, "message %u is on a %u times and on %u of two lanes of a broadcast (forwarded %u)", number,
                          plain, shared,
                          (unsigned)finished);
    }
    return 0;
}

/* ---------------------------------------------------------------- keeping */

static int prepare_keep(struct step_actor *stepped)
{
    return step_opens_receiver(stepped) < 0 ? -1 : step_receive(stepped, 0, 0, 3);
}

static int keep(struct step_actor *stepped, unsigned which)
{
    step_finishing(stepped, LEDGER_A, which, 1);
    int result = numapool_keep(stepped->receivers[0], &stepped->messages[which]);
    if (result < 0)
        return step_failed(stepped, "keep", result);
    step_finished(stepped, LEDGER_A, which, 1);
    return 0;
}

static int run_keep(struct step_actor *stepped)
{
    return keep(stepped, 0);
}

static int run_keep_youngest(struct step_actor *stepped)
{
    return keep(stepped, 2) < 0 || keep(stepped, 1) < 0 ? -1 : keep(stepped, 0);
}

static const struct step_operation operations[] = {
    { .name = "one", .pool_options = STEP_LANES_POOL, .peer = step_peer_sends_three, .prepare = prepare_forward,
      .run = run_forward,
      .forwards = true },
    { .name = "one, with checks", .pool_options = STEP_LANES_POOL ",checks", .peer = step_peer_sends_three,
      .prepare = prepare_forward,
      .run = run_forward, .forwards = true },
    { .name = "one, between two who sleep", .pool_options = STEP_LANES_POOL, .peer = peer_sends_and_receives,
      .prepare = prepare_forward,
      .peer_again = peer_sleeps_at_both_ends, .run = run_forward, .forwards = true, .survive = step_survive_receiving },
    { .name = "a bulk of three", .pool_options = STEP_LANES_POOL, .peer = step_peer_sends_three, .prepare = prepare_forward,
      .run = run_forward_bulk, .forwards = true },
    { .name = "a bulk for which there is half room", .pool_options = STEP_LANES_POOL, .peer = step_peer_sends_three,
      .prepare = prepare_for_two, .run = run_forward_bulk, .forwards = true },
    { .name = "a bulk that waits for room", .pool_options = STEP_LANES_POOL, .flags = STEP_SLEEPS,
      .peer = peer_sends_and_receives,
      .prepare = prepare_for_two, .run = run_forward_and_wait, .meanwhile = peer_makes_room, .forwards = true },
    { .name = "the youngest first", .pool_options = STEP_LANES_POOL, .peer = step_peer_sends_three,
      .prepare = prepare_forward,
      .run = run_forward_youngest, .forwards = true },
    { .name = "keyed ones", .pool_options = STEP_LANES_POOL, .peer = peer_sends_keyed, .prepare = prepare_forward,
      .run = run_forward_bulk,
      .forwards = true },
    { .name = "a bulk of two lanes", .pool_options = STEP_LANES_POOL, .peer = peer_sends_on_two_lanes,
      .prepare = prepare_four,
      .run = run_forward_four, .forwards = true },
    { .name = "what an orphan has", .pool_options = STEP_LANES_POOL, .flags = STEP_TALKS | STEP_LONG, .peer = peer_will_send,
      .prepare = prepare_ends, .peer_again = peer_leaves_an_orphan, .run = run_forward_orphan, .forwards = true },
    { .name = "one, into a broadcast", .pool_options = STEP_LANES_POOL, .peer = peer_sends_and_hears,
      .prepare = prepare_into_broadcast,
      .run = run_forward, .judge = judge_into_broadcast },
    { .name = "three, into a broadcast", .pool_options = STEP_LANES_POOL, .peer = peer_sends_and_hears,
      .prepare = prepare_into_broadcast,
      .run = run_forward_bulk, .judge = judge_into_broadcast },
    { .name = "kept instead", .pool_options = STEP_LANES_POOL, .peer = step_peer_sends_three, .prepare = prepare_keep,
      .run = run_keep },
    { .name = "kept instead, the youngest first", .pool_options = STEP_LANES_POOL, .peer = step_peer_sends_three,
      .prepare = prepare_keep,
      .run = run_keep_youngest },
    { .name = "kept instead, with checks", .pool_options = STEP_LANES_POOL ",checks", .peer = step_peer_sends_three,
      .prepare = prepare_keep, .run = run_keep },
};

const struct step_group step_forward_group = { "forward", operations, sizeof operations / sizeof operations[0] };
