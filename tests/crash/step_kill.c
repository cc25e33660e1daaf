/* SPDX-License-Identifier: MIT
 *
 * Killing: the way of the stepped process is known by then. A fresh process is taken to its k-th instruction by a breakpoint at the
 * nearest place before it that is easily come to, and a few steps; then it is killed, and the living daemon has to give all back.
 */
#include "step_hand.h"

/* relaxed: a system call lies between who writes and who reads */
#define GET(field) atomic_load_explicit(&(field), memory_order_relaxed)

enum {
    ALL_BELOW = 1000,   /* instructions: a process is killed at each of them */
    SAMPLE = 40,        /* otherwise: at so many of them, and at each that changed shared memory */
    PASSING_COST = 3,   /* of a breakpoint that is passed, in steps */
    DEAR_COST = 500     /* places that take longer to come to are left out of the sample where there are others */
};

/* How often each instruction of the path had been come to before. */
static void count_passed(struct step_hand *hand)
{
    const unsigned n = hand->result->instructions;
    uint64_t *keys = hand->images.places, room = STEP_SEEN_ROOM / 2, *counts = keys + room;
    step_forget(&hand->images);
    for (unsigned i = 0; i < n; i++) {
        uint64_t place = hand->path[i] * UINT64_C(0x9e3779b97f4a7c15) % room;
        while (keys[place] != 0 && keys[place] != hand->path[i])
            place = (place + 1) % room;
        keys[place] = hand->path[i];
        hand->passed[i] = counts[place]++;
    }
    step_forget(&hand->images);
}

static bool stays_asleep(void *context)
{
    (void)context;
    return false;
}

static bool asleep_when_killed(void *context)
{
    struct step_hand *hand = context;
    return hand->has_met || step_ask(hand, &hand->peer, STEP_WISH_MEANWHILE, "what ends the sleep");
}

/* From where the way to step k goes on in single steps; *cost of the whole way. */
static unsigned anchor_of(const struct step_hand *hand, unsigned k, uint64_t *cost)
{
    unsigned best = 0;
    *cost = k;
    for (unsigned j = k; j > 0 && k - j < *cost; j--) {
        uint64_t its_cost = PASSING_COST * (hand->passed[j] + 1) + (k - j);
        if (its_cost < *cost) {
            *cost = its_cost;
            best = j;
        }
    }
    return best;
}

/* The peer acts where the stepped process is. */
static void meet(struct step_hand *hand)
{
    enum { AFTER = 200 };
    enum step_stop stop = STEP_STOPPED;
    hand->has_met = true;
    hand->result->meetings++;
    if (!step_ask(hand, &hand->peer, STEP_WISH_BETWEEN, "what the peer does between"))
        return;
    if (harness_below(&hand->random, 3) == 0) { /* and is killed soon after it */
        for (unsigned left = harness_below(&hand->random, AFTER); left > 0 && stop == STEP_STOPPED; left--)
            stop = step_once(&hand->traced);
        return;
    }
    stop = step_on(&hand->traced);
    if (stop != STEP_AT_END || GET(hand->stage->result) != 0)
        step_fail(hand, "after the peer's part in between it did not come to a good end (%d)", (int)stop);
}

static void kill_at(struct step_hand *hand, unsigned k)
{
    const unsigned n = hand->result->instructions;
    hand->step = k;
    if (!step_trial_begin(hand, asleep_when_killed))
        return;
    enum step_stop stop = STEP_STOPPED;
    uint64_t cost;
    unsigned at = k < n ? anchor_of(hand, k, &cost) : n;
    if (k < n) {
        if (at > 0)
            stop = step_to(&hand->traced, hand->path[at], hand->passed[at]);
        for (; stop == STEP_STOPPED && at < k; at++)
            stop = step_once(&hand->traced);
        stop = stop == STEP_STOPPED && step_address(&hand->traced) != hand->path[k] ? STEP_LOST : stop;
    }
    hand->result->kills++;
    hand->result->others += stop != STEP_STOPPED;
    if (hand->operation->between && stop == STEP_STOPPED && k < n)
        meet(hand);
    step_trial_end(hand);
}

/* One of [from, end), and one that is come to in short time where there is one. */
static unsigned draw(struct step_hand *hand, unsigned from, unsigned end)
{
    unsigned drawn = from;
    uint64_t cost = UINT64_MAX;
    for (unsigned tries = 0; tries < 8 && cost > DEAR_COST; tries++) {
        drawn = from + harness_below(&hand->random, end - from);
        if (drawn >= hand->result->instructions)
            break;
        anchor_of(hand, drawn, &cost);
    }
    return drawn;
}

/* At so many instructions, or all, drawn from equal parts of the way. */
static void kill_at_sample(struct step_hand *hand, unsigned wanted)
{
    const uint64_t places = hand->result->instructions + 1;
    const unsigned chosen = harness_scaled(wanted, 4);
    for (unsigned i = 0; i < chosen && hand->result->failures == 0; i++) {
        unsigned from = (unsigned)(places * i / chosen), end = (unsigned)(places * (i + 1) / chosen);
        kill_at(hand, end > from + 1 ? draw(hand, from, end) : from);
    }
}

/* In the system call that it sleeps in. */
static void kill_asleep(struct step_hand *hand)
{
    hand->step = -1;
    if (!step_trial_begin(hand, stays_asleep))
        return;
    enum step_stop stop = step_on(&hand->traced);
    if (stop != STEP_ASLEEP)
        step_fail(hand, "it was to be killed asleep, and did not fall asleep (%d)", (int)stop);
    hand->result->kills++;
    step_trial_end(hand);
}

void step_kill_all(struct step_hand *hand)
{
    const unsigned n = hand->result->instructions;
    count_passed(hand);
    if (hand->plan->only >= 0) {
        kill_at(hand, (unsigned)hand->plan->only);
        return;
    }
    if (hand->operation->flags & STEP_SLEEPS)
        kill_asleep(hand);
    if (n < ALL_BELOW && !(hand->operation->flags & STEP_LONG)) {
        kill_at_sample(hand, n + 1);
        return;
    }
    kill_at_sample(hand, SAMPLE);
    const unsigned chosen = harness_scaled(hand->change_count, 1);
    for (unsigned i = 0; i < chosen && hand->result->failures == 0; i++)
        kill_at(hand, hand->changes[(uint64_t)hand->change_count * i / chosen]);
}
