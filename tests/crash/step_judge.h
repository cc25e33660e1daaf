/* SPDX-License-Identifier: MIT
 * A copy of all shared memory is repaired as after a death, and judged. */
#ifndef NUMAPOOL_TESTS_CRASH_STEP_JUDGE_H
#define NUMAPOOL_TESTS_CRASH_STEP_JUDGE_H

#include "step_image.h"

struct step_case {
    const struct step_operation *operation;
    pid_t victim;     /* whose clients are dead */
    bool worker_dead; /* too: another one recovers first */
};

/* Whether the image, once repaired, is as it must be; else what is wrong. */
bool step_judge(struct step_memory *memory, const struct step_case *of, char sentence[320]);

#endif
