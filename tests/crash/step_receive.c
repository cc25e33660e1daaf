/* SPDX-License-Identifier: MIT
 * Stepped: receiving and releasing. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include "channel/receiver.h"
#include "channel/sender.h"
#include "step_lanes.h"

#define WAIT_NS INT64_C(10000000000)

/* They are there; a lane that the daemon has to tell of is waited for. */
static int run_receive(struct step_actor *stepped, unsigned n)
{
    int result = numapool_receive(stepped->receivers[0], stepped->messages, n, NUMAPOOL_FOREVER);
    if (result != (int)n)
        return step_failed(stepped, "receive", result);
    step_seen(stepped, LEDGER_A, 0, n);
    return 0;
}

/* Released, and not done with for certain before its elders are. */
static int release(struct step_actor *stepped, unsigned first, unsigned n)
{
    step_finishing(stepped, LEDGER_A, first, n);
    int result = numapool_release(stepped->receivers[0], &stepped->messages[first], n);
    return result < 0 ? step_failed(stepped, "release", result) : 0;
}

static int run_release(struct step_actor *stepped, unsigned first, unsigned n)
{
    if (release(stepped, first, n) < 0)
        return -1;
    step_finished(stepped, LEDGER_A, first, n);
    return 0;
}

/* ---------------------------------------------------------------- from a lane of one's own */

static int run_one(struct step_actor *stepped)
{
    return run_receive(stepped, 1) < 0 ? -1 : run_release(stepped, 0, 1);
}

static int run_three(struct step_actor *stepped)
{
    return run_receive(stepped, 3) < 0 ? -1 : run_release(stepped, 0, 3);
}

static int peer_fills(struct step_actor *peer)
{
    return step_open_sender(peer, 0, "a", 4, 0) < 0 ? -1 : step_send(peer, 0, 4);
}

static int peer_sleeps(struct step_actor *peer)
{
    return step_sleep_sender(peer, 0);
}

static int prepare_received(struct step_actor *stepped)
{
    return step_opens_receiver(stepped) < 0 ? -1 : step_receive(stepped, 0, 0, 3);
}

static int prepare_only_reading(struct step_actor *stepped)
{
    return step_connect_readonly(stepped) < 0 ? -1 : step_opens_receiver(stepped);
}

static int prepare_received_only_reading(struct step_actor *stepped)
{
    return prepare_only_reading(stepped) < 0 ? -1 : step_receive(stepped, 0, 0, 3);
}

/* Three of four are released; the sender's next two stand where the ring begins again. */
static int prepare_at_the_end(struct step_actor *stepped)
{
    if (step_opens_receiver(stepped) < 0 || step_receive(stepped, 0, 0, 3) < 0)
        return -1;
    return step_release(stepped, 0, 0, 3);
}

static int peer_sends_two_more(struct step_actor *peer)
{
    return step_send(peer, 0, 2);
}

static int run_release_one(struct step_actor *stepped)
{
    return run_release(stepped, 0, 1);
}

static int run_release_three(struct step_actor *stepped)
{
    return run_release(stepped, 0, 3);
}

/* The second and the third wait for the first. */
static int run_release_youngest(struct step_actor *stepped)
{
    if (release(stepped, 2, 1) < 0 || release(stepped, 1, 1) < 0 || release(stepped, 0, 1) < 0)
        return -1;
    step_finished(stepped, LEDGER_A, 0, 3);
    return 0;
}

static int peer_sends_twice(struct step_actor *peer)
{
    for (unsigned i = 0; i < 2; i++)
        if (step_open_sender(peer, i, "a", 8, 0) < 0 || step_send(peer, i, 2) < 0)
            return -1;
    return 0;
}

static int prepare_received_of_two_lanes(struct step_actor *stepped)
{
    return step_opens_receiver(stepped) < 0 ? -1 : step_receive(stepped, 0, 0, 4);
}

static int run_release_two_lanes(struct step_actor *stepped)
{
    return run_release(stepped, 0, 4);
}

/* ---------------------------------------------------------------- what is passed over */

/* Of three messages the peer keeps the first and leaves: whoever gets the lane passes over it. */
static int peer_keeps_one_and_leaves(struct step_actor *peer)
{
    if (step_peer_sends_three(peer) < 0 || step_open_receiver(peer, 0, "a", 0) < 0 || step_receive(peer, 0, 0, 3) < 0)
        return -1;
    int result = numapool_keep(peer->receivers[0], &peer->messages[0]);
    if (result < 0)
        return step_failed(peer, "keep", result);
    ledger_finish(&peer->readers[0], &peer->messages[0]);
    peer->slots[peer->slot_count++] = peer->messages[0].data;
    return step_close_receiver(peer, 0);
}

/* The second of three was for the peer's receiver alone, which has left: nobody gets it. */
static int peer_sends_to_itself_and_leaves(struct step_actor *peer)
{
    if (step_open_sender(peer, 0, "a", 8, 0) < 0 || step_open_receiver(peer, 0, "a", 0) < 0 || step_send(peer, 0, 1) < 0 ||
        step_compose(peer, 0, 0, 1) < 0)
        return -1;
    int result = numapool_send_to(peer->senders[0], numapool_receiver_address(peer->receivers[0]), &peer->messages[0], 0);
    if (result < 0)
        return step_failed(peer, "send_to", result);
    step_finished(peer, LEDGER_A, 0, 1); /* it is done with: not to be expected */
    return step_send(peer, 0, 1) < 0 ? -1 : step_close_receiver(peer, 0);
}

static int run_two(struct step_actor *stepped)
{
    return run_receive(stepped, 2) < 0 ? -1 : run_release(stepped, 0, 2);
}

/* ---------------------------------------------------------------- from lanes of others */

/* Both have a lane. */
static int peer_sends_to_both(struct step_actor *peer)
{
    return step_open_receiver(peer, 0, "a", 0) < 0 ? -1 : step_open_sender(peer, 0, "a", 8, 0);
}

/* Each has three; the peer leaves with two of its three unreleased, of which it has seen one. */
static int peer_leaves_its_lane(struct step_actor *peer)
{
    for (unsigned i = 0; i < 6; i++) /* in turn */
        if (step_send(peer, 0, 1) < 0)
            return -1;
    return step_receive(peer, 0, 0, 2) < 0 || step_release(peer, 0, 0, 1) < 0 ? -1 : step_close_receiver(peer, 0);
}

/* Its own three and the two that were left to it. */
static int run_lane_of_another(struct step_actor *stepped)
{
    unsigned got = 0;
    while (got < 5) {
        int result = numapool_receive(stepped->receivers[0], &stepped->messages[got], 5 - got, NUMAPOOL_FOREVER);
        if (result < 0)
            return step_failed(stepped, "receive", result);
        step_seen(stepped, LEDGER_A, got, (unsigned)result);
        got += (unsigned)result;
    }
    return run_release(stepped, 0, 5);
}

/* A process of its own that dies with what it has received, in the peer's hands. */
static struct mate {
    pid_t pid;
    int to[2], from[2]; /* pipes: "go on", and what the other is waiting for */
} mate;

static int live_as_mate(void *context)
{
    const struct step_actor *peer = context;
    struct step_actor own = { .ledger = peer->ledger, .socket = peer->socket, .incarnation = peer->incarnation + 100 };
    char go;
    if (step_open_receiver(&own, 0, "a", 0) < 0)
        return 1;
    const uint32_t number = (uint32_t)numapool_client_id(own.client);
    if (write(mate.from[1], &number, sizeof number) != sizeof number || read(mate.to[0], &go, 1) != 1)
        return 1;
    if (step_receive(&own, 0, 0, 2) < 0)
        return 1;
    int result = numapool_keep(own.receivers[0], &own.messages[1]);
    if (result < 0)
        return 1;
    ledger_finish(&own.readers[0], &own.messages[1]);
    raise(SIGKILL);
    return 1;
}

static int peer_has_a_mate(struct step_actor *peer)
{
    if (pipe2(mate.to, O_CLOEXEC) < 0 || pipe2(mate.from, O_CLOEXEC) < 0)
        return step_failed(peer, "pipe2", -errno);
    mate.pid = harness_fork(live_as_mate, peer);
    return step_open_sender(peer, 0, "a", 8, 0);
}

/* Each has been sent three; the mate has received two of its own, kept the second, and is killed. */
static int peer_loses_its_mate(struct step_actor *peer)
{
    struct harness_look look;
    uint32_t number;
    if (read(mate.from[0], &number, sizeof number) != sizeof number)
        return step_failed(peer, "reading what the mate says", -errno);
    for (unsigned i = 0; i < 6; i++) /* in turn */
        if (step_send(peer, 0, 1) < 0)
            return -1;
    if (!harness_look_open(&look, peer->socket))
        return step_failed(peer, "looking at the board", -1);
    const uint64_t cookie = harness_look_cookie(&look, number);
    const bool went = write(mate.to[1], "", 1) == 1 && harness_join(mate.pid, WAIT_NS) == SIGKILL &&
                      harness_look_wait_gone(&look, number, cookie, WAIT_NS) >= 0;
    harness_look_close(&look);
    for (unsigned i = 0; i < 2; i++) {
        close(mate.to[i]);
        close(mate.from[i]);
    }
    return went ? 0 : step_failed(peer, "waiting for the mate's end", -1);
}

/* ---------------------------------------------------------------- orphans */

static int peer_sends_and_goes(struct step_actor *peer)
{
    return step_send(peer, 0, 2) < 0 ? -1 : step_close_sender(peer, 0);
}

static int peer_will_send(struct step_actor *peer)
{
    return step_open_sender(peer, 0, "a", 8, 0);
}

/* The look in vain leaves the lane. */
static int run_orphan(struct step_actor *stepped)
{
    if (run_two(stepped) < 0)
        return -1;
    int result = numapool_receive(stepped->receivers[0], stepped->messages, 1, 0);
    return result == -EAGAIN ? 0 : step_failed(stepped, "receive", result);
}

/* One has gone with two messages, and its successor has sent two: the orphan's come first. */
static int peer_has_a_successor(struct step_actor *peer)
{
    return peer_sends_and_goes(peer) < 0 || step_open_sender(peer, 1, "a", 8, 0) < 0 ? -1 : step_send(peer, 1, 2);
}

static int run_orphan_and_successor(struct step_actor *stepped)
{
    return run_two(stepped) < 0 ? -1 : run_two(stepped);
}

#define HERE .pool_options = STEP_LANES_POOL
#define SENT HERE, .peer = step_peer_sends_three, .survive = step_survive_sending
#define TALKS HERE, .flags = STEP_TALKS | STEP_LONG

static const struct step_operation operations[] = {
    { .name = "one, and its release", SENT, .prepare = step_opens_receiver, .run = run_one },
    { .name = "three, and their release", SENT, .prepare = step_opens_receiver, .run = run_three },
    { .name = "three, and their release, by who only reads", SENT, .prepare = prepare_only_reading, .run = run_three },
    { .name = "three, and their release, with checks", .pool_options = STEP_LANES_POOL ",checks",
      .peer = step_peer_sends_three,
      .prepare = step_opens_receiver, .run = run_three, .survive = step_survive_sending },
    { .name = "three, across the ring's end", HERE, .peer = peer_fills, .prepare = prepare_at_the_end,
      .peer_again = peer_sends_two_more,
      .run = run_three, .survive = step_survive_sending },
    { .name = "released, and the sender sleeps", HERE, .peer = peer_fills, .prepare = prepare_received,
      .peer_again = peer_sleeps,
      .run = run_release_one, .survive = step_survive_sending },
    { .name = "released, and the sender sleeps on the lane", HERE, .peer = peer_fills,
      .prepare = prepare_received_only_reading,
      .peer_again = peer_sleeps, .run = run_release_three, .survive = step_survive_sending },
    { .name = "released, the youngest first", SENT, .prepare = prepare_received, .run = run_release_youngest },
    { .name = "released, of two lanes", HERE, .peer = peer_sends_twice, .prepare = prepare_received_of_two_lanes,
      .run = run_release_two_lanes, .survive = step_survive_sending },
    { .name = "two, behind one that has moved on", HERE, .peer = peer_keeps_one_and_leaves, .prepare = step_opens_receiver,
      .run = run_two, .survive = step_survive_sending },
    { .name = "two, with another's between them", HERE, .peer = peer_sends_to_itself_and_leaves,
      .prepare = step_opens_receiver,
      .run = run_two, .survive = step_survive_sending },
    { .name = "the lane of one who left", TALKS, .peer = peer_sends_to_both, .prepare = step_opens_receiver,
      .peer_again = peer_leaves_its_lane, .run = run_lane_of_another, .survive = step_survive_sending },
    { .name = "the lane of one who was killed", HERE, .flags = STEP_TALKS | STEP_LONG | STEP_FRESH_PEER,
      .peer = peer_has_a_mate,
      .prepare = step_opens_receiver, .peer_again = peer_loses_its_mate, .run = run_lane_of_another,
          .survive = step_survive_sending },
    { .name = "an orphan, which is left", TALKS, .peer = peer_will_send, .prepare = step_opens_receiver,
      .peer_again = peer_sends_and_goes, .run = run_orphan },
    { .name = "an orphan, before its successor", TALKS, .peer = peer_will_send, .prepare = step_opens_receiver,
      .peer_again = peer_has_a_successor, .run = run_orphan_and_successor },
};

const struct step_group step_receive_group = { "receive", operations, sizeof operations / sizeof operations[0] };
