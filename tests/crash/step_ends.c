/* SPDX-License-Identifier: MIT
 * Stepped: senders and receivers that come and go, with lanes that get another owner by it. All of these ask the daemon. */
#include "step_lanes.h"

static int prepare_connected(struct step_actor *stepped)
{
    return step_connect(stepped);
}

/* ---------------------------------------------------------------- senders */

static int run_open_sender(struct step_actor *stepped)
{
    return step_open_sender(stepped, 0, "a", 8, 0);
}

static int peer_receives_twice(struct step_actor *peer)
{
    return step_open_receiver(peer, 0, "a", 0) < 0 ? -1 : step_open_receiver(peer, 1, "a", 0);
}

static int prepare_sent_four(struct step_actor *stepped)
{
    return step_open_sender(stepped, 0, "a", 4, 0) < 0 ? -1 : step_send(stepped, 0, 4);
}

static int peer_releases_two(struct step_actor *peer)
{
    return step_receive(peer, 0, 0, 4) < 0 ? -1 : step_release(peer, 0, 0, 2);
}

static int peer_releases_all(struct step_actor *peer)
{
    return step_receive(peer, 0, 0, 4) < 0 ? -1 : step_release(peer, 0, 0, 4);
}

static int run_close_sender(struct step_actor *stepped)
{
    int result = numapool_sender_close(stepped->senders[0], 0);
    return result < 0 ? step_failed(stepped, "sender_close", result) : 0;
}

static int run_drain_sender(struct step_actor *stepped)
{
    int result = numapool_sender_close(stepped->senders[0], NUMAPOOL_FOREVER);
    return result != 0 ? step_failed(stepped, "sender_close until all is released", result) : 0;
}

/* ---------------------------------------------------------------- receivers */

static int run_open_receiver(struct step_actor *stepped)
{
    return step_opens_receiver(stepped);
}

static int peer_sends_and_receives(struct step_actor *peer)
{
    return step_peer_sends_three(peer) < 0 ? -1 : step_open_receiver(peer, 0, "a", 0);
}

/* An orphan with three messages waits. */
static int peer_leaves_three(struct step_actor *peer)
{
    return step_peer_sends_three(peer) < 0 ? -1 : step_close_sender(peer, 0);
}

/* Three received: the second is released, the third kept, the first not done with. */
static int prepare_receiver_in_the_middle(struct step_actor *stepped)
{
    if (step_opens_receiver(stepped) < 0 || step_receive(stepped, 0, 0, 3) < 0)
        return -1;
    step_finishing(stepped, LEDGER_A, 1, 1); /* it may come again, for its elder may */
    int result = numapool_release(stepped->receivers[0], &stepped->messages[1], 1);
    if (result == 0)
        result = numapool_keep(stepped->receivers[0], &stepped->messages[2]);
    if (result < 0)
        return step_failed(stepped, "release or keep", result);
    ledger_finish(&stepped->readers[0], &stepped->messages[2]);
    return 0;
}

static int run_close_receiver(struct step_actor *stepped)
{
    int result = numapool_receiver_close(stepped->receivers[0]);
    return result < 0 ? step_failed(stepped, "receiver_close", result) : 0;
}

/* ---------------------------------------------------------------- both */

static int run_open_requester(struct step_actor *stepped)
{
    int result = numapool_requester_open(stepped->pool, "a", NULL, &stepped->requester);
    return result < 0 ? step_failed(stepped, "requester_open", result) : 0;
}

static int run_open_responder(struct step_actor *stepped)
{
    int result = numapool_responder_open(stepped->pool, "a", NULL, &stepped->responder);
    return result < 0 ? step_failed(stepped, "responder_open", result) : 0;
}

static int run_close_requester(struct step_actor *stepped)
{
    int result = numapool_requester_close(stepped->requester, 0);
    return result < 0 ? step_failed(stepped, "requester_close", result) : 0;
}

static int run_close_responder(struct step_actor *stepped)
{
    int result = numapool_responder_close(stepped->responder, 0);
    return result < 0 ? step_failed(stepped, "responder_close", result) : 0;
}

static int prepare_requester(struct step_actor *stepped)
{
    return step_connect(stepped) < 0 ? -1 : run_open_requester(stepped);
}

static int prepare_responder(struct step_actor *stepped)
{
    return step_connect(stepped) < 0 ? -1 : run_open_responder(stepped);
}

#define TALKS .pool_options = STEP_LANES_POOL, .flags = STEP_TALKS | STEP_LONG

static const struct step_operation operations[] = {
    { .name = "a sender joins where nobody receives", TALKS, .prepare = prepare_connected, .run = run_open_sender },
    { .name = "a sender joins two who receive", TALKS, .peer = peer_receives_twice, .prepare = prepare_connected,
      .run = run_open_sender },
    { .name = "a sender leaves, and nothing is left", TALKS, .peer = step_peer_receives, .prepare = prepare_sent_four,
      .peer_again = peer_releases_all, .run = run_close_sender },
    { .name = "a sender leaves, and two of four are left", TALKS, .peer = step_peer_receives, .prepare = prepare_sent_four,
      .peer_again = peer_releases_two, .run = run_close_sender },
    { .name = "a sender leaves, and nobody has received", TALKS, .prepare = prepare_sent_four, .run = run_close_sender },
    { .name = "a sender waits until all is released, and leaves", .pool_options = STEP_LANES_POOL,
      .flags = STEP_TALKS | STEP_LONG | STEP_SLEEPS, .peer = step_peer_receives, .prepare = prepare_sent_four,
      .run = run_drain_sender,
      .meanwhile = peer_releases_all },
    { .name = "a receiver joins where nobody sends", TALKS, .prepare = prepare_connected, .run = run_open_receiver },
    { .name = "a receiver joins where messages wait", TALKS, .peer = step_peer_sends_three, .prepare = prepare_connected,
      .run = run_open_receiver },
    { .name = "a receiver joins another", TALKS, .peer = peer_sends_and_receives, .prepare = prepare_connected,
      .run = run_open_receiver },
    { .name = "a receiver joins where an orphan waits", TALKS, .peer = peer_leaves_three, .prepare = prepare_connected,
      .run = run_open_receiver },
    { .name = "a receiver leaves in the middle", TALKS, .peer = step_peer_sends_three,
      .prepare = prepare_receiver_in_the_middle,
      .run = run_close_receiver },
    { .name = "a receiver leaves to another", TALKS, .peer = peer_sends_and_receives, .prepare = step_opens_receiver,
      .run = run_close_receiver },
    { .name = "a requester joins", TALKS, .prepare = prepare_connected, .run = run_open_requester },
    { .name = "a requester leaves", TALKS, .prepare = prepare_requester, .run = run_close_requester },
    { .name = "a responder joins", TALKS, .prepare = prepare_connected, .run = run_open_responder },
    { .name = "a responder leaves", TALKS, .prepare = prepare_responder, .run = run_close_responder },
};

const struct step_group step_ends_group = { "ends", operations, sizeof operations / sizeof operations[0] };
