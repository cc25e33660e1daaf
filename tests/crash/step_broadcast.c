/* SPDX-License-Identifier: MIT
 * Stepped: what goes to everybody. Nobody who comes later gets it: it is judged by what lies on the lanes of those who
 * are there, and received by the peer when the stepped process was really killed. */
#include <errno.h>

#include "channel/receiver.h"
#include "channel/sender.h"
#include "step_lanes.h"

#define CHANNEL "c/all"

/* ---------------------------------------------------------------- judging */

/* Numbers are drawn in the order in which they are sent, by one sender: number n is number n - 1 of its home. */
static void judge_lane(struct ledger *ledger, const struct step_lane *read)
{
    for (unsigned i = 0; i < read->count; i++)
        if (read->numbers[i] != read->first + i + 1)
            ledger_breach(ledger, "lane %u of a broadcast has message %llu where number %llu belongs", read->lane,
                          (unsigned long long)read->numbers[i], (unsigned long long)(read->first + i + 1));
}

/* Everybody who is there has the same end, which is that of all whose sending has returned, or of those that were being
 * sent. */
static int judge(struct np_broker *broker, struct ledger *ledger)
{
    uint64_t sent = 0, begun = 0, end = UINT64_MAX;
    struct step_lane read;
    for (uint32_t number = 1; number < ledger->next; number++) {
        sent += ledger->messages[number].sent;
        begun += ledger->messages[number].about_to_send;
    }
    for (uint32_t lane = 1; lane <= broker->board.limits.lanes; lane++) {
        if (!step_read_lane(broker, ledger, lane, CHANNEL, &read) || read.receiver == 0 || !read.began)
            continue;
        judge_lane(ledger, &read);
        const uint64_t own_end = read.first + read.count;
        if (end != UINT64_MAX && own_end != end)
            ledger_breach(ledger, "lane %u of a broadcast ends at %llu, another at %llu", read.lane,
                          (unsigned long long)own_end,
                          (unsigned long long)end);
        end = own_end;
    }
    if (end != UINT64_MAX && (end < sent || end > begun))
        ledger_breach(ledger, "a broadcast ends at %llu: %llu were sent, %llu begun", (unsigned long long)end,
                      (unsigned long long)sent,
                      (unsigned long long)begun);
    return 0;
}

/* Each of the peer's receivers gets all up to one and the same end, in order and whole. */
static int survive(struct step_actor *peer)
{
    uint64_t sent = 0, end = 0;
    for (uint32_t number = 1; number < peer->ledger->next; number++)
        sent += peer->ledger->messages[number].sent;
    for (unsigned i = 0; i < STEP_RECEIVERS_MAX; i++) {
        struct numapool_msg message;
        uint64_t last = 0;
        int result;
        if (!peer->receivers[i])
            continue;
        while ((result = numapool_receive(peer->receivers[i], &message, 1, 0)) == 1) {
            if ((last != 0 && message.id != last + 1) || !ledger_message_is(&message, message.id))
                return step_failed(peer, "receiving a broadcast, whole and in its order,", (int)message.id);
            last = message.id;
            if ((result = numapool_release(peer->receivers[i], &message, 1)) < 0)
                return step_failed(peer, "release", result);
        }
        if (result != -EAGAIN)
            return step_failed(peer, "receive", result);
        if (last != 0 && (last < sent || (end != 0 && last != end)))
            return step_failed(peer, "receiving as much as the others of a broadcast", (int)last);
        end = last ? last : end;
    }
    return 0;
}

/* ---------------------------------------------------------------- sending */

static int peer_hears(struct step_actor *peer, unsigned receivers)
{
    for (unsigned i = 0; i < receivers; i++)
        if (step_open_receiver(peer, i, CHANNEL, NUMAPOOL_BROADCAST) < 0)
            return -1;
    return 0;
}

static int peer_hears_once(struct step_actor *peer)
{
    return peer_hears(peer, 1);
}

static int peer_hears_twice(struct step_actor *peer)
{
    return peer_hears(peer, 2);
}

static int peer_hears_thrice(struct step_actor *peer)
{
    return peer_hears(peer, 3);
}

static int open_and_send(struct step_actor *stepped, unsigned sent, unsigned composed)
{
    if (step_open_sender(stepped, 0, CHANNEL, 4, NUMAPOOL_BROADCAST) < 0 || (sent > 0 && step_send(stepped, 0, sent) < 0))
        return -1;
    return composed ? step_compose(stepped, 0, 0, composed) : 0;
}

static int prepare_first(struct step_actor *stepped)
{
    return open_and_send(stepped, 0, 1);
}

static int prepare_three(struct step_actor *stepped)
{
    return open_and_send(stepped, 1, 3);
}

static int prepare_full(struct step_actor *stepped)
{
    return open_and_send(stepped, 4, 1);
}

/* There is room; but where somebody has come or left it waits until the daemon has said who. */
static int run_send(struct step_actor *stepped)
{
    const unsigned n = stepped->message_count;
    int result = numapool_send_bulk(stepped->senders[0], stepped->messages, n, NUMAPOOL_FOREVER);
    if (result != (int)n)
        return step_failed(stepped, "send_bulk", result);
    step_sent(stepped, 0, n);
    return 0;
}

static int run_send_and_wait(struct step_actor *stepped)
{
    int result = numapool_send(stepped->senders[0], stepped->messages, NUMAPOOL_FOREVER);
    if (result < 0)
        return step_failed(stepped, "send", result);
    step_sent(stepped, 0, 1);
    return 0;
}

/* One is done with all four and the other with one: what only one has released does not come back. */
static int peer_releases_four_and_one(struct step_actor *peer)
{
    if (step_receive(peer, 0, 0, 4) < 0 || step_release(peer, 0, 0, 4) < 0 || step_receive(peer, 1, 0, 1) < 0)
        return -1;
    return step_release(peer, 1, 0, 1);
}

static int peer_sleeps(struct step_actor *peer)
{
    return step_receive(peer, 0, 0, 1) < 0 || step_release(peer, 0, 0, 1) < 0 ? -1 : step_sleep_receiver(peer, 0);
}

static int peer_hears_once_more(struct step_actor *peer)
{
    return step_open_receiver(peer, 1, CHANNEL, NUMAPOOL_BROADCAST);
}

/* It has released one of four and leaves: what it has not counts as released. */
static int peer_hears_no_more(struct step_actor *peer)
{
    if (step_receive(peer, 1, 0, 1) < 0 || step_release(peer, 1, 0, 1) < 0 || step_close_receiver(peer, 1) < 0)
        return -1;
    return step_receive(peer, 0, 0, 3) < 0 ? -1 : step_release(peer, 0, 0, 3);
}

static int run_close(struct step_actor *stepped)
{
    int result = numapool_sender_close(stepped->senders[0], 0);
    return result < 0 ? step_failed(stepped, "sender_close", result) : 0;
}

/* ---------------------------------------------------------------- receiving */

static int peer_sends_and_hears(struct step_actor *peer)
{
    if (step_open_receiver(peer, 0, CHANNEL, NUMAPOOL_BROADCAST) < 0)
        return -1;
    return step_open_sender(peer, 0, CHANNEL, 4, NUMAPOOL_BROADCAST);
}

static int prepare_hearing(struct step_actor *stepped)
{
    return step_open_receiver(stepped, 0, CHANNEL, NUMAPOOL_BROADCAST);
}

static int peer_sends_three(struct step_actor *peer)
{
    return step_send(peer, 0, 3);
}

static int peer_sends_four_and_sleeps(struct step_actor *peer)
{
    return step_send(peer, 0, 4) < 0 ? -1 : step_sleep_sender(peer, 0);
}

/* The youngest first: `released` moves with the eldest. */
static int run_receive(struct step_actor *stepped)
{
    int result = numapool_receive(stepped->receivers[0], stepped->messages, 3, 0);
    if (result == 3)
        result = numapool_release(stepped->receivers[0], &stepped->messages[1], 2);
    if (result == 0)
        result = numapool_release(stepped->receivers[0], &stepped->messages[0], 1);
    return result == 0 ? 0 : step_failed(stepped, "receive or release", result);
}

static int run_leave(struct step_actor *stepped)
{
    int result = numapool_receiver_close(stepped->receivers[0]);
    return result < 0 ? step_failed(stepped, "receiver_close", result) : 0;
}

static int peer_sends_three_first(struct step_actor *peer)
{
    return peer_sends_and_hears(peer) < 0 ? -1 : step_send(peer, 0, 3);
}

static int prepare_connected(struct step_actor *stepped)
{
    return step_connect(stepped);
}

static int run_join(struct step_actor *stepped)
{
    return step_open_receiver(stepped, 0, CHANNEL, NUMAPOOL_BROADCAST);
}

static int run_join_as_sender(struct step_actor *stepped)
{
    return step_open_sender(stepped, 0, CHANNEL, 4, NUMAPOOL_BROADCAST);
}

#define HERE .pool_options = STEP_LANES_POOL, .only_judge = true, .judge = judge, .survive = survive
#define TALKS HERE, .flags = STEP_TALKS | STEP_LONG

static const struct step_operation operations[] = {
    { .name = "the first, to two", HERE, .peer = peer_hears_twice, .prepare = prepare_first, .run = run_send },
    { .name = "three, to three", HERE, .peer = peer_hears_thrice, .prepare = prepare_three, .run = run_send },
    { .name = "one, to who sleeps and who does not", HERE, .peer = peer_hears_twice, .prepare = prepare_three,
      .peer_again = peer_sleeps,
      .run = run_send },
    { .name = "one, when a slow one has released one", HERE, .peer = peer_hears_twice, .prepare = prepare_full,
      .peer_again = peer_releases_four_and_one, .run = run_send },
    { .name = "one, waiting for the slow one", HERE, .flags = STEP_SLEEPS, .peer = peer_hears_twice, .prepare = prepare_full,
      .run = run_send_and_wait, .meanwhile = peer_releases_four_and_one },
    { .name = "one, when nobody is there", .pool_options = STEP_LANES_POOL, .only_judge = true, .judge = judge,
      .prepare = prepare_first,
      .run = run_send },
    { .name = "one, when another has come", TALKS, .peer = peer_hears_once, .prepare = prepare_three,
      .peer_again = peer_hears_once_more,
      .run = run_send },
    { .name = "one, when another has left", TALKS, .peer = peer_hears_twice, .prepare = prepare_full,
      .peer_again = peer_hears_no_more,
      .run = run_send },
    { .name = "its sender leaves", TALKS, .peer = peer_hears_twice, .prepare = prepare_full,
      .peer_again = peer_releases_four_and_one,
      .run = run_close },
    { .name = "three received, and released the eldest last", HERE, .peer = peer_sends_and_hears, .prepare = prepare_hearing,
      .peer_again = peer_sends_three, .run = run_receive },
    { .name = "received, and the sender sleeps", HERE, .peer = peer_sends_and_hears, .prepare = prepare_hearing,
      .peer_again = peer_sends_four_and_sleeps, .run = run_receive },
    { .name = "a receiver leaves", TALKS, .peer = peer_sends_and_hears, .prepare = prepare_hearing,
      .peer_again = peer_sends_three,
      .run = run_leave },
    { .name = "a receiver joins", TALKS, .peer = peer_sends_three_first, .prepare = prepare_connected, .run = run_join },
    { .name = "a sender joins", TALKS, .peer = peer_sends_three_first, .prepare = prepare_connected,
      .run = run_join_as_sender },
};

const struct step_group step_broadcast_group = { "broadcast", operations, sizeof operations / sizeof operations[0] };
