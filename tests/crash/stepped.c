/* SPDX-License-Identifier: MIT
 *
 * Every instruction (step.h).
 *
 * Options: --operation NAME   that operation, or group of operations, alone
 *          --k N              killed at that instruction alone
 *          --steps            no kills, only what is judged in copies
 */
#include <stdio.h>
#include <stdlib.h>

#include "step_program.h"

static void report(const struct step_program *program)
{
    struct step_result sum = { 0 };
    unsigned done = 0;
    harness_note("%-52s %8s %7s %7s %6s %6s %7s %7s", "operation", "instr.", "states", "judged", "kills", "other", "step ms", "kill ms");
    for (unsigned i = 0; i < program->count; i++) {
        const struct step_result *result = &program->results[i];
        harness_note("%-52s %8u %7u %7u %6u %6u %7.0f %7.0f", program->tasks[i].operation->name, result->instructions, result->states,
                     result->judged, result->kills, result->others, (double)result->stepping_ns / 1e6, (double)result->killing_ns / 1e6);
        for (unsigned f = 0; f < result->failures && f < STEP_FAILURES_MAX; f++)
            harness_note("  %s", result->failure[f]);
        done += result->is_done;
        sum.instructions += result->instructions;
        sum.states += result->states;
        sum.kills += result->kills;
        sum.meetings += result->meetings;
        sum.others += result->others;
        sum.failures += result->failures;
    }
    harness_figure("stepped.operations", "%u", program->count);
    harness_figure("stepped.instructions", "%u", sum.instructions);
    harness_figure("stepped.states", "%u", sum.states);
    harness_figure("stepped.kills", "%u", sum.kills);
    harness_figure("stepped.meetings", "%u", sum.meetings);
    harness_expect(program->count > 0 && done == program->count, "each of %u operations was stepped through", program->count);
    harness_expect(sum.failures == 0, "after each of %u instructions, in each of %u distinct states of shared memory: each slot has one owner, free + "
                   "held + in flight is all, nothing names the dead, what was sent arrives, in order, once or as REDELIVERED, and every "
                   "slot can be got again", sum.instructions, sum.states);
    harness_expect(sum.kills > 2 * sum.others, "%u processes really killed, %u of them at the instruction that was meant", sum.kills,
                   sum.kills - sum.others);
}

int main(int argc, char **argv)
{
    static struct step_program program;
    const char *k = step_option(argc, argv, "--k");
    struct step_plan plan = { .only = k ? atol(k) : -1, .is_stepped_only = step_has_option(argc, argv, "--steps") };
    harness_begin("stepped", argc, argv);
#if !defined(__x86_64__)
    printf("NOT RUN: single steps are written for x86-64\n");
    harness_expect(true, "nothing was looked at");
    return harness_end();
#endif
    step_choose(&program, step_option(argc, argv, "--operation"), &plan, 0);
    step_sort(&program);
    harness_expect(step_run(&program), "the processes of the test came to their end");
    report(&program);
    return harness_end();
}
