/* SPDX-License-Identifier: MIT
 * Stepped: messages that the lane itself carries. */
#include <errno.h>

#include "channel/receiver.h"
#include "channel/sender.h"
#include "step_lanes.h"

#define KEY 7u

/* ---------------------------------------------------------------- sending */

static int run_send(struct step_actor *stepped)
{
    int result = numapool_send(stepped->senders[0], &stepped->messages[0], 0);
    if (result < 0)
        return step_failed(stepped, "send", result);
    step_sent(stepped, 0, 1);
    return 0;
}

static int run_bulk(struct step_actor *stepped)
{
    int result = numapool_send_bulk(stepped->senders[0], stepped->messages, 3, 0);
    if (result != 3)
        return step_failed(stepped, "send_bulk", result);
    step_sent(stepped, 0, 3);
    return 0;
}

static int peer_receives(struct step_actor *peer)
{
    return step_open_receiver(peer, 0, "a", NUMAPOOL_SMALL);
}

static int open_and_send(struct step_actor *stepped, unsigned sent, unsigned composed)
{
    if (step_open_sender(stepped, 0, "a", 4, NUMAPOOL_SMALL) < 0 || step_send(stepped, 0, sent) < 0)
        return -1;
    return step_compose(stepped, 0, 0, composed);
}

static int prepare_warm(struct step_actor *stepped)
{
    return open_and_send(stepped, 1, 1);
}

static int prepare_full(struct step_actor *stepped)
{
    return open_and_send(stepped, 4, 1);
}

static int prepare_across_the_end(struct step_actor *stepped)
{
    return open_and_send(stepped, 3, 3);
}

static int prepare_full_for_three(struct step_actor *stepped)
{
    return open_and_send(stepped, 4, 3);
}

static int peer_releases_one(struct step_actor *peer)
{
    return step_receive(peer, 0, 0, 1) < 0 ? -1 : step_release(peer, 0, 0, 1);
}

/* What is not released is not written over. */
static int run_one_of_three(struct step_actor *stepped)
{
    int result = numapool_send_bulk(stepped->senders[0], stepped->messages, 3, 0);
    if (result != 1)
        return step_failed(stepped, "send_bulk of three where there is room for one", result);
    step_sent(stepped, 0, 1);
    return 0;
}

static int prepare_keyed(struct step_actor *stepped)
{
    if (step_open_sender(stepped, 0, "a", 4, NUMAPOOL_SMALL) < 0 || step_send_keyed(stepped, 0, KEY) < 0 ||
        step_compose(stepped, 0, 0, 1) < 0)
        return -1;
    stepped->messages[0].flags = NUMAPOOL_KEYED;
    stepped->messages[0].key = KEY;
    return 0;
}

static int peer_releases_three(struct step_actor *peer)
{
    return step_receive(peer, 0, 0, 3) < 0 ? -1 : step_release(peer, 0, 0, 3);
}

static int peer_sleeps(struct step_actor *peer)
{
    return step_receive(peer, 0, 0, 1) < 0 || step_release(peer, 0, 0, 1) < 0 ? -1 : step_sleep_receiver(peer, 0);
}

/* ---------------------------------------------------------------- to one alone */

static int peer_is_alone(struct step_actor *peer)
{
    return step_open_receiver(peer, 0, "c/alone", NUMAPOOL_SMALL);
}

static int prepare_send_to(struct step_actor *stepped)
{
    return step_open_sender(stepped, 0, "c/alone", 4, NUMAPOOL_SMALL) < 0 ? -1 : step_compose(stepped, 0, 0, 1);
}

static int run_send_to(struct step_actor *stepped)
{
    int result = numapool_send_to(stepped->senders[0], stepped->senders[0]->lanes[0].peer, &stepped->messages[0], 0);
    if (result < 0)
        return step_failed(stepped, "send_to", result);
    step_sent(stepped, 0, 1);
    return 0;
}

static int judge_send_to(struct np_broker *broker, struct ledger *ledger)
{
    const unsigned times = step_on_channel(broker, ledger, "c/alone", 1);
    if (times > 1 || (times == 0 && ledger->messages[1].sent))
        ledger_breach(ledger, "a small message to one alone is there %u times (sent %u)", times,
                      (unsigned)ledger->messages[1].sent);
    return 0;
}

/* ---------------------------------------------------------------- receiving */

static int peer_sends_three(struct step_actor *peer)
{
    return step_open_sender(peer, 0, "a", 4, NUMAPOOL_SMALL) < 0 ? -1 : step_send(peer, 0, 3);
}

static int peer_falls_asleep(struct step_actor *peer)
{
    return step_sleep_sender(peer, 0);
}

static int prepare_receive(struct step_actor *stepped)
{
    return step_open_receiver(stepped, 0, "a", NUMAPOOL_SMALL);
}

static int receive(struct step_actor *stepped, unsigned first, unsigned n)
{
    int result = numapool_receive(stepped->receivers[0], &stepped->messages[first], n, 0);
    if (result != (int)n)
        return step_failed(stepped, "receive", result);
    step_seen(stepped, LEDGER_A, first, n);
    return 0;
}

static int release(struct step_actor *stepped, unsigned first, unsigned n)
{
    step_finishing(stepped, LEDGER_A, first, n);
    int result = numapool_release(stepped->receivers[0], &stepped->messages[first], n);
    if (result < 0)
        return step_failed(stepped, "release", result);
    return 0;
}

static int run_receive_one(struct step_actor *stepped)
{
    if (receive(stepped, 0, 1) < 0 || release(stepped, 0, 1) < 0)
        return -1;
    step_finished(stepped, LEDGER_A, 0, 1);
    return 0;
}

static int run_receive_three(struct step_actor *stepped)
{
    if (receive(stepped, 0, 3) < 0 || release(stepped, 1, 2) < 0 || release(stepped, 0, 1) < 0)
        return -1;
    step_finished(stepped, LEDGER_A, 0, 3);
    return 0;
}

/* The second of three was for the peer's receiver alone, which has left: nobody gets it. The others come as REDELIVERED. */
static int peer_sends_to_itself_and_leaves(struct step_actor *peer)
{
    if (step_open_sender(peer, 0, "a", 4, NUMAPOOL_SMALL) < 0 || peer_receives(peer) < 0 || step_send(peer, 0, 1) < 0 ||
        step_compose(peer, 0, 0, 1) < 0)
        return -1;
    int result = numapool_send_to(peer->senders[0], numapool_receiver_address(peer->receivers[0]), &peer->messages[0], 0);
    if (result < 0)
        return step_failed(peer, "send_to", result);
    step_finished(peer, LEDGER_A, 0, 1); /* it is done with: not to be expected */
    return step_send(peer, 0, 1) < 0 ? -1 : step_close_receiver(peer, 0);
}

static int run_receive_two(struct step_actor *stepped)
{
    if (receive(stepped, 0, 1) < 0 || release(stepped, 0, 1) < 0 || receive(stepped, 1, 1) < 0 || release(stepped, 1, 1) < 0)
        return -1;
    step_finished(stepped, LEDGER_A, 0, 2);
    return 0;
}

/* With three there, of which it has received one; it goes without a release. */
static int peer_sends_and_leaves(struct step_actor *peer)
{
    if (peer_sends_three(peer) < 0 || peer_receives(peer) < 0 || step_receive(peer, 0, 0, 1) < 0)
        return -1;
    return step_close_receiver(peer, 0);
}

static int run_receive_all(struct step_actor *stepped)
{
    if (receive(stepped, 0, 3) < 0 || release(stepped, 0, 3) < 0)
        return -1;
    step_finished(stepped, LEDGER_A, 0, 3);
    return 0;
}

static int peer_goes(struct step_actor *peer)
{
    return step_close_sender(peer, 0);
}

/* The look in vain leaves the lane. */
static int run_receive_orphan(struct step_actor *stepped)
{
    if (run_receive_all(stepped) < 0)
        return -1;
    int result = numapool_receive(stepped->receivers[0], stepped->messages, 1, 0);
    return result == -EAGAIN ? 0 : step_failed(stepped, "receive", result);
}

/* ---------------------------------------------------------------- forwarding, which copies */

static int prepare_forward(struct step_actor *stepped)
{
    if (step_open_receiver(stepped, 0, "a", NUMAPOOL_SMALL) < 0 || step_open_sender(stepped, 0, "b", 4, NUMAPOOL_SMALL) < 0)
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

/* At least once: there is no word that would be in one place alone. */
static int judge_forward(struct np_broker *broker, struct ledger *ledger)
{
    for (uint32_t number = 1; number < ledger->next; number++) {
        const unsigned from = step_on_channel(broker, ledger, "a", number),
            to = step_on_channel(broker, ledger, "b", number);
        if (from + to == 0 || from > 1 || to > 1 || (ledger->messages[number].finished[LEDGER_A] && from > 0))
            ledger_breach(ledger, "small message %u is on a %u times and on b %u times (forwarded %u)", number, from, to,
                          (unsigned)ledger->messages[number].finished[LEDGER_A]);
    }
    return 0;
}

#define HERE .pool_options = STEP_LANES_POOL
#define RECEIVED HERE, .peer = peer_receives, .survive = step_survive_receiving
#define SENT HERE, .peer = peer_sends_three, .survive = step_survive_sending

static const struct step_operation operations[] = {
    { .name = "sent, one, warm", RECEIVED, .prepare = prepare_warm, .run = run_send },
    { .name = "sent, one, on a full lane that has room again", RECEIVED, .prepare = prepare_full,
      .peer_again = peer_releases_three,
      .run = run_send },
    { .name = "sent, three, across the ring's end", RECEIVED, .prepare = prepare_across_the_end,
      .peer_again = peer_releases_three,
      .run = run_bulk },
    { .name = "sent, three, with room for one", RECEIVED, .prepare = prepare_full_for_three, .peer_again = peer_releases_one,
      .run = run_one_of_three },
    { .name = "sent, one, keyed", RECEIVED, .prepare = prepare_keyed, .run = run_send },
    { .name = "sent, one, to who sleeps", RECEIVED, .prepare = prepare_warm, .peer_again = peer_sleeps, .run = run_send },
    { .name = "sent, one, to one alone", HERE, .peer = peer_is_alone, .prepare = prepare_send_to, .run = run_send_to,
      .only_judge = true,
      .judge = judge_send_to },
    { .name = "received, one, and its release", SENT, .prepare = prepare_receive, .run = run_receive_one },
    { .name = "received, three, the eldest released last", SENT, .prepare = prepare_receive, .peer_again = peer_falls_asleep,
      .run = run_receive_three },
    { .name = "received, two, with another's between them", HERE, .peer = peer_sends_to_itself_and_leaves,
      .prepare = prepare_receive,
      .run = run_receive_two, .survive = step_survive_sending },
    { .name = "received, three, left by another", HERE, .peer = peer_sends_and_leaves, .prepare = prepare_receive,
      .run = run_receive_all, .survive = step_survive_sending },
    { .name = "received, an orphan's three", HERE, .flags = STEP_TALKS | STEP_LONG, .peer = peer_sends_three,
      .prepare = prepare_receive,
      .peer_again = peer_goes, .run = run_receive_orphan },
    { .name = "forwarded, three", HERE, .peer = peer_sends_three, .prepare = prepare_forward, .run = run_forward,
      .only_judge = true,
      .judge = judge_forward },
};

const struct step_group step_small_group = { "small", operations, sizeof operations / sizeof operations[0] };
