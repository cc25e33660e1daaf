/* SPDX-License-Identifier: MIT
 *
 * Whether stepping sees a hole where there is one. The library that is linked in has hooks (core/shm.h), so that
 *
 *   repairs can be cut short: who repairs the copy dies before one of its accesses, another follows, and all must be as without that;
 *   answers of the design can be taken away, from the stepped process or from who repairs, and then stepping must find something wrong.
 *
 * Options: --mutant NAME   that row alone
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "step_program.h"

enum { CUTS = 2 };

struct row {
    const char *name;
    enum np_mutant mutant;
    bool of_repair;     /* taken away from who repairs, else from who is stepped */
    const char *where;  /* operation or group that must find it */
};

#define REPAIR(mutant, where) { #mutant, NP_MUTANT_##mutant, true, where }
#define STEPPED(mutant, where) { #mutant, NP_MUTANT_##mutant, false, where }

static const struct row rows[] = {
    REPAIR(NO_ROLL_FORWARD, "forward"),
    REPAIR(ANNOUNCEMENTS_STAY, "send"),
    REPAIR(NO_SKIP, "forward"),
    REPAIR(NO_ORPHAN_DUTY, "send"),
    REPAIR(SWEEP_NO_WAKE, "put, somebody sleeps"),
    REPAIR(SMALL_NO_REDELIVERED, "small"),
    REPAIR(BROADCAST_NO_ROLL_FORWARD, "broadcast"),
    REPAIR(BROADCAST_FREES_EARLY, "broadcast"),
    REPAIR(SHARED_SWEPT_EARLY, "broadcast"),
    STEPPED(WORD_BEFORE_CELL, "send"),
    STEPPED(RELEASE_BEFORE_KEEP, "forward"),
    STEPPED(ROOM_BY_RELEASED, "send"),
    STEPPED(EMPTY_NO_SCAN, "get"),
    STEPPED(FREE_KEEPS_GENERATION, "put"),
    STEPPED(GETTER_LEAVES_WORDS, "get"),
    STEPPED(BROADCAST_WORD_LAST, "broadcast"),
    STEPPED(BROADCAST_TAKES_EARLY, "broadcast"),
    STEPPED(ROOM_UNTIL_RELEASED, "send"),
    STEPPED(KEYS_LEAVE_THEIR_LANE, "send"),
    STEPPED(KEYS_LEAVE_LANES_TO_DRAIN, "keyed, and its lane is to be drained"),
    STEPPED(SMALL_ROOM_IGNORED, "small"),
};
enum { ROWS = sizeof rows / sizeof rows[0] };

static void report_cuts(const struct step_program *program, unsigned count)
{
    unsigned cuts = 0, judged = 0, failures = 0;
    for (unsigned i = 0; i < program->count; i++) {
        const struct step_result *result = &program->results[i];
        if (program->tasks[i].row > 0)
            continue;
        cuts += result->cuts;
        judged += result->judged;
        failures += result->failures;
        for (unsigned f = 0; f < result->failures && f < STEP_FAILURES_MAX; f++)
            harness_note("  %s", result->failure[f]);
    }
    harness_figure("stepped_mutants.cuts", "%u", cuts);
    harness_expect(count > 0 && failures == 0, "repairs of %u images were cut short %u times, and what follows makes everything good", judged, cuts);
}

static void report_row(const struct step_program *program, unsigned row)
{
    const char *sentence = "nothing was found";
    bool is_found = false;
    unsigned tried = 0;
    for (unsigned i = 0; i < program->count; i++) {
        const struct step_result *result = &program->results[i];
        if (program->tasks[i].row != row + 1 || !result->is_done)
            continue;
        tried++;
        if (result->failures > 0 && !is_found)
            sentence = result->failure[0];
        is_found |= result->failures > 0;
    }
    harness_expect(is_found, "%s taken away from %s is found (%u operations): %s", rows[row].name,
                   rows[row].of_repair ? "who repairs" : "who is stepped", tried, sentence);
}

int main(int argc, char **argv)
{
    static struct step_program program;
    const char *only = step_option(argc, argv, "--mutant");
    unsigned cut_operations = 0, shown = 0;
    harness_begin("stepped_mutants", argc, argv);
#if !defined(__x86_64__)
    printf("NOT RUN: single steps are written for x86-64\n");
    harness_expect(true, "nothing was looked at");
    return harness_end();
#endif
    const struct step_plan cut = { .only = -1, .is_stepped_only = true, .cuts = harness_scaled(CUTS, 1) };
    if (!only)
        cut_operations = step_choose(&program, step_option(argc, argv, "--operation"), &cut, 0);
    for (unsigned row = 0; row < ROWS; row++) {
        struct step_plan plan = { .only = -1, .is_stepped_only = true };
        if (only && strcmp(only, rows[row].name) != 0)
            continue;
        *(rows[row].of_repair ? &plan.mutant_of_repair : &plan.mutant_of_stepped) = rows[row].mutant;
        harness_expect(step_choose(&program, rows[row].where, &plan, row + 1) > 0, "there are operations '%s'", rows[row].where);
    }
    step_sort(&program);
    harness_expect(step_run(&program), "the processes of the test came to their end");
    if (!only)
        report_cuts(&program, cut_operations);
    for (unsigned row = 0; row < ROWS; row++)
        if (!only || strcmp(only, rows[row].name) == 0) {
            report_row(&program, row);
            shown++;
        }
    harness_figure("stepped_mutants.mutants", "%u", shown);
    return harness_end();
}
