/* SPDX-License-Identifier: MIT
 * A copy of all shared memory is repaired as after a death, and judged. */
#ifndef NUMAPOOL_TESTS_CRASH_STEP_JUDGE_H
#define NUMAPOOL_TESTS_CRASH_STEP_JUDGE_H

#include "step_image.h"

struct step_case {
    const struct step_operation *operation;
    pid_t victim;     /* whose clients are dead */
    bool worker_dead; /* too: another one recovers first */
    unsigned cut;     /* where the library has hooks: the one who repairs dies before so many accesses to shared memory, and another follows;
                         0: nobody does */
    unsigned accesses; /* told: how many accesses the repair was, where it was not cut */
};

/* Whether the image, once repaired, is as it must be; else what is wrong. */
bool step_judge(struct step_memory *memory, struct step_case *of, char sentence[320]);

#ifdef NUMAPOOL_HOOKS
/* An answer of the design that is taken away from who repairs. */
extern enum np_mutant step_mutant_of_repair;
#endif

#endif
