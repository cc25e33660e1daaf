/* SPDX-License-Identifier: MIT
 * Stepped: falling asleep, being woken, and wait-sets. */
#include <errno.h>

#include "channel/sender.h"
#include "step_lanes.h"


/* ---------------------------------------------------------------- for room */

static int prepare_full(struct step_actor *stepped)
{
    return step_open_sender(stepped, 0, "a", 2, 0) < 0 || step_send(stepped, 0, 2) < 0 ? -1 : step_compose(stepped, 0, 0, 1);
}

static int prepare_full_with_spin(struct step_actor *stepped)
{
    step_spin(STEP_SPIN_NS);
    return prepare_full(stepped);
}

static int run_send(struct step_actor *stepped)
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

/* To one receiver alone, whose lane is full. */
static int peer_is_alone(struct step_actor *peer)
{
    return step_open_receiver(peer, 0, "c/alone", 0);
}

static int prepare_full_alone(struct step_actor *stepped)
{
    if (step_open_sender(stepped, 0, "c/alone", 2, 0) < 0 || step_compose(stepped, 0, 0, 3) < 0)
        return -1;
    for (unsigned i = 1; i < 3; i++) {
        int result = numapool_send_to(stepped->senders[0], stepped->senders[0]->lanes[0].peer, &stepped->messages[i], 0);
        if (result < 0)
            return step_failed(stepped, "send_to", result);
        step_sent(stepped, i, 1);
    }
    return 0;
}

static int run_send_to(struct step_actor *stepped)
{
    int result = numapool_send_to(stepped->senders[0], stepped->senders[0]->lanes[0].peer, &stepped->messages[0],
                                  NUMAPOOL_FOREVER);
    if (result < 0)
        return step_failed(stepped, "send_to", result);
    step_sent(stepped, 0, 1);
    return 0;
}

/* Each that was sent is on the lane, or has been released. */
static int judge_sent_to(struct np_broker *broker, struct ledger *ledger)
{
    for (uint32_t number = 1; number < ledger->next; number++) {
        const struct ledger_message *entry = &ledger->messages[number];
        const unsigned times = step_on_channel(broker, ledger, "c/alone", number);
        const bool is_due = entry->sent && !entry->finished[LEDGER_A];
        if (times > 1 || (is_due && times == 0) || (entry->finished[LEDGER_A] && times > 0))
            ledger_breach(ledger, "message %u, to one alone, is there %u times (released %u)", number, times,
                          (unsigned)entry->finished[LEDGER_A]);
    }
    return 0;
}

/* Who reads only knows no bells: both ends sleep on the lane. */
static int peer_only_reads(struct step_actor *peer)
{
    return step_connect_readonly(peer) < 0 ? -1 : step_open_receiver(peer, 0, "a", 0);
}

static int peer_receives_small(struct step_actor *peer)
{
    return step_open_receiver(peer, 0, "a", NUMAPOOL_SMALL);
}

static int prepare_full_small(struct step_actor *stepped)
{
    if (step_open_sender(stepped, 0, "a", 2, NUMAPOOL_SMALL) < 0 || step_send(stepped, 0, 2) < 0)
        return -1;
    return step_compose(stepped, 0, 0, 1);
}

/* ---------------------------------------------------------------- for a slot */

/* Every slot of the pool: two are on the lane, and what is released of these is all that will ever come. */
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

/* ---------------------------------------------------------------- for a message */

static int peer_sends(struct step_actor *peer)
{
    return step_open_sender(peer, 0, "a", 8, 0);
}

static int peer_sends_one(struct step_actor *peer)
{
    return step_send(peer, 0, 1);
}

/* ---------------------------------------------------------------- sets */

static int prepare_set(struct step_actor *stepped)
{
    if (step_opens_receiver(stepped) < 0)
        return -1;
    int result = numapool_waitset_open(&stepped->waitset);
    if (result == 0)
        result = numapool_waitset_add(stepped->waitset, stepped->receivers[0], stepped->receivers[0]);
    if (result == 0)
        result = numapool_waitset_add_pool(stepped->waitset, stepped->pool, stepped->pool);
    return result < 0 ? step_failed(stepped, "waitset_open or _add", result) : 0;
}

static int prepare_eventfd(struct step_actor *stepped)
{
    if (prepare_set(stepped) < 0)
        return -1;
    int result = numapool_waitset_eventfd(stepped->waitset);
    return result < 0 ? step_failed(stepped, "waitset_eventfd", result) : 0;
}

static int run_wait(struct step_actor *stepped)
{
    void *tag;
    int result = numapool_waitset_wait(stepped->waitset, &tag, 1, NUMAPOOL_FOREVER);
    return result == 1 && tag == stepped->receivers[0] ? 0 : step_failed(stepped, "waitset_wait", result);
}

static int run_arm(struct step_actor *stepped)
{
    void *tag;
    int result = numapool_waitset_wait(stepped->waitset, &tag, 1, 0);
    return result == -EAGAIN ? 0 : step_failed(stepped, "waitset_wait", result);
}

static int run_remove(struct step_actor *stepped)
{
    int result = numapool_waitset_remove(stepped->waitset, stepped->receivers[0]);
    return result < 0 ? step_failed(stepped, "waitset_remove", result) : 0;
}

static int prepare_armed(struct step_actor *stepped)
{
    return prepare_eventfd(stepped) < 0 ? -1 : run_arm(stepped);
}

static const struct step_operation operations[] = {
    { .name = "for room", .pool_options = STEP_LANES_POOL, .flags = STEP_SLEEPS, .peer = step_peer_receives,
      .prepare = prepare_full,
      .run = run_send, .meanwhile = peer_makes_room },
    { .name = "for room, behind a spin", .pool_options = STEP_LANES_POOL, .flags = STEP_SLEEPS, .peer = step_peer_receives,
      .prepare = prepare_full_with_spin, .run = run_send, .meanwhile = peer_makes_room },
    { .name = "for room, of who only reads", .pool_options = STEP_LANES_POOL, .flags = STEP_SLEEPS | STEP_FRESH_PEER,
      .peer = peer_only_reads,
      .prepare = prepare_full, .run = run_send, .meanwhile = peer_makes_room },
    { .name = "for room, to one alone", .pool_options = STEP_LANES_POOL, .flags = STEP_SLEEPS, .peer = peer_is_alone,
      .prepare = prepare_full_alone, .run = run_send_to, .meanwhile = peer_makes_room, .only_judge = true,
          .judge = judge_sent_to },
    { .name = "for room for a small message", .pool_options = STEP_LANES_POOL, .flags = STEP_SLEEPS,
      .peer = peer_receives_small,
      .prepare = prepare_full_small, .run = run_send, .meanwhile = peer_makes_room },
    { .name = "for a slot that a receiver releases", .pool_options = STEP_LANES_POOL, .flags = STEP_SLEEPS,
      .peer = step_peer_receives,
      .prepare = prepare_dearth, .run = run_loan, .meanwhile = peer_makes_room },
    { .name = "for a message", .pool_options = STEP_LANES_POOL, .flags = STEP_SLEEPS, .peer = peer_sends,
      .prepare = step_opens_receiver,
      .run = step_waits_for_one, .meanwhile = peer_sends_one },
    { .name = "for a message, behind a spin", .pool_options = STEP_LANES_POOL, .flags = STEP_SLEEPS, .peer = peer_sends,
      .prepare = step_opens_spinning, .run = step_waits_for_one, .meanwhile = peer_sends_one },
    { .name = "for a message, of who only reads", .pool_options = STEP_LANES_POOL, .flags = STEP_SLEEPS, .peer = peer_sends,
      .prepare = step_opens_only_reading, .run = step_waits_for_one, .meanwhile = peer_sends_one },
    { .name = "in a set", .pool_options = STEP_LANES_POOL, .flags = STEP_SLEEPS, .peer = peer_sends, .prepare = prepare_set,
      .run = run_wait, .meanwhile = peer_sends_one },
    { .name = "an eventfd is armed", .pool_options = STEP_LANES_POOL, .peer = peer_sends, .prepare = prepare_eventfd,
      .run = run_arm },
    { .name = "a receiver goes out of an armed set", .pool_options = STEP_LANES_POOL, .peer = peer_sends,
      .prepare = prepare_armed,
      .run = run_remove },
};

const struct step_group step_wait_group = { "wait", operations, sizeof operations / sizeof operations[0] };
