/* SPDX-License-Identifier: MIT
 * One operation: stepped once through all its instructions, then fresh processes are killed in it. */
#ifndef NUMAPOOL_TESTS_CRASH_STEP_TRIAL_H
#define NUMAPOOL_TESTS_CRASH_STEP_TRIAL_H

#include "step.h"

enum { STEP_FAILURES_MAX = 3 };

/* In memory that the program's processes share. */
struct step_result {
    bool is_done;
    unsigned instructions;
    unsigned states;  /* distinct, of shared memory */
    unsigned judged;  /* images, each with what the ledger said then */
    unsigned kills;   /* real ones, at the instruction that was meant */
    unsigned cuts;    /* repairs that were cut short and begun again */
    unsigned others;  /* where the path was another one: killed at its end */
    unsigned meetings; /* with the peer, at an instruction */
    unsigned failures;
    char failure[STEP_FAILURES_MAX][480];
    int64_t stepping_ns, killing_ns;
};

struct step_plan {
    long only;      /* -1, or the one step to kill at */
    uint64_t seed;
    bool is_stepped_only;
    /* where the library has hooks */
    unsigned cuts; /* of each image's repair */
    int mutant_of_stepped, mutant_of_repair; /* enum np_mutant; 0: none */
};

struct step_hand;
/* One of the processes that go through the operations, with a daemon of its own. */
struct step_hand *step_hand_new(unsigned number);
void step_hand_end(struct step_hand *hand);
void step_operate(struct step_hand *hand, const struct step_operation *operation, const struct step_plan *plan, struct step_result *result);

#endif
