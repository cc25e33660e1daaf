/* SPDX-License-Identifier: MIT
 *
 * Stepping: the worker is stopped, so that nothing changes but by the stepped process; with STEP_TALKS it runs while that one is in a
 * system call. After each instruction shared memory is compared with what it was, and each state that was not seen before is judged.
 */
#include "step_trial.h"

#include <string.h>

#include "step_hand.h"
#include "step_judge.h"

/* relaxed: a system call lies between who writes and who reads */
#define GET(field) atomic_load_explicit(&(field), memory_order_relaxed)

enum {
    ROUNDS = 32,  /* of an instruction that repeats itself, that are stepped */
    TRIES_MAX = 3
};

static void judge(struct step_hand *hand, bool worker_dead, unsigned cut)
{
    char sentence[320];
    struct step_case of = { .operation = hand->operation, .victim = hand->traced.victim, .worker_dead = worker_dead, .cut = cut };
    if (!step_judge(&hand->memory, &of, sentence))
        step_fail(hand, "%s (accesses of the repair: %u): %s", worker_dead ? "it and the worker dead" : "dead", cut, sentence);
    if (cut == 0)
        hand->accesses = of.accesses;
    else
        hand->result->cuts++;
}

static void look_and_judge(struct step_hand *hand, bool with_board)
{
    char sentence[200];
    bool told, changed = step_memory_changed(&hand->memory, with_board, &told, sentence, sizeof sentence);
    if (sentence[0] != '\0')
        step_fail(hand, "%s", sentence);
    if (!changed && !told && hand->states.count > 0)
        return;
    const uint64_t hash = step_memory_hash(&hand->memory);
    if (step_see(&hand->states, hash) && hand->change_count < STEP_CHANGES_MAX)
        hand->changes[hand->change_count++] = (unsigned)hand->step;
    if (!step_see(&hand->images, hash ^ hand->memory.ledger_hash) || hand->result->failures >= STEP_FAILURES_MAX)
        return;
    hand->result->judged++;
    judge(hand, true, 0);
    if (!(hand->operation->flags & STEP_TALKS)) /* otherwise the worker may be in the middle of something */
        judge(hand, false, 0);
    for (unsigned i = 0; i < hand->plan->cuts; i++)
        judge(hand, i % 2 == 0, 1 + harness_below(&hand->random, hand->accesses));
}

static bool asleep_when_stepped(void *context)
{
    struct step_hand *hand = context;
    step_stop_worker(hand);
    look_and_judge(hand, true);
    step_continue_worker(hand);
    step_ask(hand, &hand->peer, STEP_WISH_MEANWHILE, "what ends the sleep");
    return true;
}

/* A fill or copy that has gone round some times and goes on: what it does to shared memory after that is seen at its end. */
static bool is_tedious(const struct step_hand *hand)
{
    const uint64_t address = hand->path[hand->step];
    return hand->step >= ROUNDS && hand->path[hand->step - ROUNDS] == address && step_repeats(address) > 0;
}

static enum step_stop step_and_look(struct step_hand *hand)
{
    const uint64_t address = step_address(&hand->traced);
    const bool calls = step_is_system_call(address);
    const bool worker_runs = calls && hand->operation->flags & (STEP_TALKS | STEP_SLEEPS);
    hand->path[hand->step] = address;
    if (worker_runs)
        step_continue_worker(hand);
    enum step_stop stop = is_tedious(hand) ? step_to(&hand->traced, address + step_repeats(address), 0) : step_once(&hand->traced);
    if (worker_runs) {
        step_stop_worker(hand);
        step_memory_scan(&hand->memory);
    }
    hand->step++;
    look_and_judge(hand, worker_runs);
    return stop;
}

static void step_through(struct step_hand *hand)
{
    const unsigned flags = hand->operation->flags;
    enum step_stop stop = STEP_STOPPED;
    hand->step = 0;
    hand->change_count = 0;
    step_stop_worker(hand);
    step_memory_scan(&hand->memory);
    look_and_judge(hand, true);
    while (stop == STEP_STOPPED && hand->step < STEP_STEPS_MAX && hand->result->failures < STEP_FAILURES_MAX)
        stop = step_and_look(hand);
    step_continue_worker(hand);
    hand->has_ended = stop == STEP_AT_END;
    hand->result->instructions = (unsigned)hand->step;
    hand->result->states = hand->states.count;
    if (hand->result->failures >= STEP_FAILURES_MAX)
        return;
    if (stop != (flags & STEP_EXITS ? STEP_ENDED : STEP_AT_END))
        step_fail(hand, "the operation did not come to its end (%d)", (int)stop);
    else if (stop == STEP_AT_END && GET(hand->stage->result) != 0)
        step_fail(hand, "the operation says that it failed");
    if (flags & STEP_NOTHING && hand->states.count > 1)
        step_fail(hand, "it has changed shared memory: %u states", hand->states.count);
}

/* ---------------------------------------------------------------- the whole */

/* False: to be tried again. For who is stepped time flies a thousand times as fast, or more where others want the processor, and a call
 * that waits no longer than so and so much may come to nothing; that says nothing of deaths. */
static bool step_one_through(struct step_hand *hand)
{
    step_forget(&hand->states);
    step_forget(&hand->images);
    *hand->result = (struct step_result){ .judged = hand->result->judged, .kills = hand->result->kills + 1, .cuts = hand->result->cuts };
    if (step_trial_begin(hand, asleep_when_stepped))
        step_through(hand);
    const bool is_late = hand->result->failures == 1 && hand->has_ended && GET(hand->stage->result) != 0;
    step_trial_end(hand);
    return !is_late;
}

void step_operate(struct step_hand *hand, const struct step_operation *operation, const struct step_plan *plan, struct step_result *result)
{
    int64_t begun_ns = harness_now_ns();
    hand->operation = operation;
    hand->plan = plan;
    hand->result = result;
    hand->random = plan->seed | 1;
#ifdef NUMAPOOL_HOOKS
    step_mutant_of_stepped = (enum np_mutant)plan->mutant_of_stepped;
    step_mutant_of_repair = (enum np_mutant)plan->mutant_of_repair;
#endif
    hand->step = -1;
    if (!step_daemon_for(hand, operation->pool_options)) {
        step_fail(hand, "no daemon with a pool '%s'", operation->pool_options);
        return;
    }
    for (unsigned tries = 0; tries < TRIES_MAX && !step_one_through(hand); tries++)
        continue;
    result->stepping_ns = harness_now_ns() - begun_ns;
    if (result->failures == 0 && !plan->is_stepped_only)
        step_kill_all(hand);
    step_trial_last(hand);
    result->killing_ns = harness_now_ns() - begun_ns - result->stepping_ns;
    result->is_done = true;
}
