/* SPDX-License-Identifier: MIT
 *
 * The control run of drift: the same threads with a library that does not take slots home. They must be seen to drift.
 */
#include <stdio.h>
#include <unistd.h>

#include "drift.h"

/* Without home return: slots of other nodes must be seen in magazines, and more of them as time goes on. */
static int see_the_drift(void *context)
{
    (void)context;
    np_mutant_now = NP_MUTANT_NO_HOME_RETURN;
    struct drift_plan *plan = drift_plan_make(1, 400);
    static struct drift_crew crew;
    crew.plan = plan;
    crew.pool = drift_pool_create(&plan->machine, DRIFT_SLOTS_A_NODE, DRIFT_SLOT_BYTES, DRIFT_POOL);
    drift_crew_run(&crew);
    drift_tell_run(plan, "without home return");
    uint64_t early = 0, late = 0;
    for (unsigned round = 0; round < plan->rounds; round++) {
        *(round < plan->rounds / 2 ? &early : &late) += drift_told(&plan->foreign_in_round[round]);
        harness_note("round %u: %llu slots in magazines of other nodes", round,
                     (unsigned long long)drift_told(&plan->foreign_in_round[round]));
    }
    bool seen = harness_expect(
        drift_told(&plan->foreign_in_round[0]) > 0 && late > early,
        "without home return slots are seen to drift: %llu in the first half of the rounds, %llu in the second",
        (unsigned long long)early, (unsigned long long)late);
    fflush(stdout);
    _exit(seen ? 0 : 1); /* a pool whose slots are elsewhere cannot be closed */
}

int main(int argc, char **argv)
{
    harness_begin("drift_mutant", argc, argv);
    harness_expect(harness_join(harness_fork(see_the_drift, NULL), INT64_C(1000000000) * DRIFT_LIMIT_S) == 0,
                   "the run in which nothing is taken home went to its end, and the drift was seen");
    return harness_end();
}
