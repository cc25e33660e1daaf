/* SPDX-License-Identifier: MIT
 *
 * Every instruction (step.h). Two processes, each with a daemon of its own and on a processor of its own, share the operations out.
 *
 * Options: --operation NAME   that operation alone
 *          --k N              killed at that instruction alone
 *          --steps            no kills, only what is judged in copies
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness.h"
#include "step.h"
#include "step_trial.h"

enum { OPERATIONS_MAX = 256, HANDS = 2 };

#pragma weak step_pool_group
#pragma weak step_put_group
#pragma weak step_attach_group
#pragma weak step_send_group
#pragma weak step_wait_group
#pragma weak step_receive_group
#pragma weak step_forward_group
#pragma weak step_small_group
#pragma weak step_broadcast_group
#pragma weak step_service_group
#pragma weak step_ends_group

static const struct step_group *const groups[] = { &step_pool_group, &step_put_group, &step_attach_group, &step_send_group,
                                                   &step_wait_group, &step_receive_group, &step_forward_group, &step_small_group, &step_broadcast_group,
                                                   &step_service_group, &step_ends_group };

struct program {
    const struct step_operation *operations[OPERATIONS_MAX];
    unsigned count;
    struct step_plan plan;
    struct step_result *results; /* shared */
    _Atomic unsigned *next;      /* shared: the operation that nobody has taken */
};

static const char *option(int argc, char **argv, const char *name)
{
    for (int i = 1; i + 1 < argc; i++)
        if (strcmp(argv[i], name) == 0)
            return argv[i + 1];
    return NULL;
}

/* Those with the same pool come one after the other. */
static void choose(struct program *program, const char *name)
{
    for (unsigned g = 0; g < sizeof groups / sizeof groups[0]; g++)
        for (unsigned i = 0; groups[g] && i < groups[g]->count; i++) {
            const struct step_operation *operation = &groups[g]->operations[i];
            if (name && strcmp(name, operation->name) != 0 && strcmp(name, groups[g]->name) != 0)
                continue;
            unsigned at = program->count++;
            for (unsigned before = at; before > 0; before--)
                if (strcmp(program->operations[before - 1]->pool_options, operation->pool_options) == 0) {
                    memmove(&program->operations[before + 1], &program->operations[before], (at - before) * sizeof operation);
                    at = before;
                    break;
                }
            program->operations[at] = operation;
        }
}

static int work(void *context)
{
    struct program *program = context;
    /* relaxed: only who takes which */
    struct step_hand *hand = NULL;
    for (;;) {
        unsigned i = atomic_fetch_add_explicit(program->next, 1, memory_order_relaxed);
        if (i >= program->count)
            break;
        if (!hand)
            hand = step_hand_new(i);
        struct step_plan plan = program->plan;
        plan.seed = harness_seed() + i;
        step_operate(hand, program->operations[i], &plan, &program->results[i]);
    }
    if (hand)
        step_hand_end(hand);
    return 0;
}

static void report(const struct program *program)
{
    struct step_result sum = { 0 };
    unsigned done = 0;
    harness_note("%-52s %8s %7s %7s %6s %6s %7s %7s", "operation", "instr.", "states", "judged", "kills", "other", "step ms", "kill ms");
    for (unsigned i = 0; i < program->count; i++) {
        const struct step_result *result = &program->results[i];
        harness_note("%-52s %8u %7u %7u %6u %6u %7.0f %7.0f", program->operations[i]->name, result->instructions, result->states,
                     result->judged, result->kills, result->others, (double)result->stepping_ns / 1e6, (double)result->killing_ns / 1e6);
        for (unsigned f = 0; f < result->failures && f < STEP_FAILURES_MAX; f++)
            harness_note("  %s", result->failure[f]);
        done += result->is_done;
        sum.instructions += result->instructions;
        sum.states += result->states;
        sum.judged += result->judged;
        sum.kills += result->kills;
        sum.others += result->others;
        sum.failures += result->failures;
    }
    harness_figure("stepped.operations", "%u", program->count);
    harness_figure("stepped.instructions", "%u", sum.instructions);
    harness_figure("stepped.states", "%u", sum.states);
    harness_figure("stepped.kills", "%u", sum.kills);
    harness_expect(program->count > 0 && done == program->count, "each of %u operations was stepped through", program->count);
    harness_expect(sum.failures == 0, "after each of %u instructions, in each of %u distinct states of shared memory: each slot has one owner, free + "
                   "held + in flight is all, nothing names the dead, what was sent arrives, in order, once or as REDELIVERED, and every "
                   "slot can be got again", sum.instructions, sum.states);
    harness_expect(sum.kills > sum.others, "%u processes really killed, %u of them at the instruction that was meant", sum.kills,
                   sum.kills - sum.others);
}

int main(int argc, char **argv)
{
    static struct program program;
    const char *k = option(argc, argv, "--k");
    pid_t hands[HANDS];
    harness_begin("stepped", argc, argv);
#if !defined(__x86_64__)
    printf("NOT RUN: single steps are written for x86-64\n");
    harness_expect(true, "nothing was looked at");
    return harness_end();
#endif
    program.plan.only = k ? atol(k) : -1;
    for (int i = 1; i < argc; i++)
        program.plan.is_stepped_only |= strcmp(argv[i], "--steps") == 0;
    choose(&program, option(argc, argv, "--operation"));
    const size_t bytes = OPERATIONS_MAX * sizeof *program.results + 64;
    program.results = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (program.results == MAP_FAILED) {
        perror("results");
        return 2;
    }
    program.next = (_Atomic unsigned *)(program.results + OPERATIONS_MAX);
    for (unsigned i = 0; i < HANDS; i++)
        hands[i] = harness_fork(work, &program);
    for (unsigned i = 0; i < HANDS; i++) {
        int status = harness_join(hands[i], INT64_C(600000000000));
        harness_expect(status == 0, "process %u of the test came to its end", i);
    }
    report(&program);
    return harness_end();
}
