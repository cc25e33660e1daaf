/* SPDX-License-Identifier: MIT
 * One of the processes that go through the operations: its daemon, its helpers, and a trial, from the fork of who is stepped to when nothing
 * is left of it. */
#ifndef NUMAPOOL_TESTS_CRASH_STEP_HAND_H
#define NUMAPOOL_TESTS_CRASH_STEP_HAND_H

#include "step_helper.h"
#include "step_image.h"
#include "step_seen.h"
#include "step_trace.h"
#include "step_trial.h"

enum {
    STEP_STEPS_MAX = 1000000,
    STEP_CHANGES_MAX = 400
};

struct step_hand {
    struct harness_daemon daemon;
    char options[128];
    bool is_running;
    pid_t worker;
    int worker_stat; /* /proc/WORKER/stat */
    struct ledger *ledger;
    struct step_stage *stage;
    struct step_memory memory;
    struct step_helper peer, heir;
    struct step_seen states, images;
    uint64_t *path; /* [STEP_STEPS_MAX]: address of each instruction */
    uint64_t *passed; /* [STEP_STEPS_MAX]: how often it had been come to before */
    unsigned changes[STEP_CHANGES_MAX]; /* instructions before which there was a state that had not been there */
    unsigned change_count;

    const struct step_operation *operation;
    const struct step_plan *plan;
    struct step_result *result;
    struct step_traced traced;
    long step; /* the instruction that comes next */
    uint64_t random;
    unsigned accesses; /* of the last repair */
    bool has_ended; /* run did, when it was stepped */
    bool has_met; /* operation->between was done in this trial */
    bool is_void; /* the daemon is to be another one */
};

__attribute__((format(printf, 2, 3))) void step_fail(struct step_hand *hand, const char *format, ...);

void step_stop_worker(struct step_hand *hand);
void step_continue_worker(struct step_hand *hand);
/* The daemon that the operation wants runs. */
bool step_daemon_for(struct step_hand *hand, const char *options);
bool step_ask(struct step_hand *hand, struct step_helper *helper, enum step_wish wish, const char *what);

/* From the peer's part to the first instruction of run. asleep: struct step_traced. */
bool step_trial_begin(struct step_hand *hand, bool (*asleep)(void *context));
/* The process is killed where it is, and the living see to what it leaves. */
void step_trial_end(struct step_hand *hand);
/* The peer is gone too. */
void step_trial_last(struct step_hand *hand);

/* step_kill.c: fresh processes are killed on the way that was stepped. */
void step_kill_all(struct step_hand *hand);

#endif
