/* SPDX-License-Identifier: MIT
 * Operations are chosen, and shared out among processes that each have a daemon and a processor of their own. */
#ifndef NUMAPOOL_TESTS_CRASH_STEP_PROGRAM_H
#define NUMAPOOL_TESTS_CRASH_STEP_PROGRAM_H

#include "step_trial.h"

enum { STEP_TASKS_MAX = 1024, STEP_ROWS_MAX = 64 };

struct step_task {
    const struct step_operation *operation;
    struct step_plan plan;
    unsigned row; /* tasks of a row are left out once one of it has failed; 0: none is left out */
};

struct step_program {
    struct step_task tasks[STEP_TASKS_MAX];
    unsigned count;
    /* shared by the processes */
    struct step_result *results;
    _Atomic unsigned *next; /* the task that nobody has taken */
    _Atomic bool *found;    /* [STEP_ROWS_MAX] */
};

const char *step_option(int argc, char **argv, const char *name);
bool step_has_option(int argc, char **argv, const char *name);
/* Adds the operation or the group of that name, or all: NULL. How many. */
unsigned step_choose(struct step_program *program, const char *name, const struct step_plan *plan, unsigned row);
/* Those with the same pool one after the other. */
void step_sort(struct step_program *program);
/* Does all tasks. Whether all processes came to their end. */
bool step_run(struct step_program *program);

#endif
