/* SPDX-License-Identifier: MIT
 * A process that is stepped: begun, stepped, taken to a step, killed. */
#ifndef NUMAPOOL_TESTS_CRASH_STEP_TRACE_H
#define NUMAPOOL_TESTS_CRASH_STEP_TRACE_H

#include <sys/types.h>

#include "step.h"

/* What the stepped process tells the tracer; memory of the test's own. */
struct step_stage {
    _Atomic int32_t thread;     /* which is stepped, once it has come to `run` */
    _Atomic int32_t victim;     /* its process */
    _Atomic int32_t client;     /* its number, or 0: prepare has not connected */
    _Atomic uint32_t is_traced; /* by the tracer: go on */
    _Atomic int32_t result;     /* of run */
};
struct step_stage *step_stage_new(void);

#ifdef NUMAPOOL_HOOKS
/* An answer of the design that is taken away from who is stepped. */
extern enum np_mutant step_mutant_of_stepped;
#endif

enum step_stop {
    STEP_STOPPED, /* at the next instruction, or at the address that was wanted */
    STEP_AT_END,  /* of run */
    STEP_ENDED,   /* the process has ended */
    STEP_ASLEEP,  /* in a system call that waits for somebody, and `asleep` wants to leave it there */
    STEP_LOST     /* it neither goes on nor sleeps: the trial is void */
};

struct step_traced {
    struct step_stage *stage;
    pid_t child;  /* that was forked for it */
    pid_t victim; /* who is stepped: the child or a child of the child */
    pid_t thread;
    bool has_ended;
    bool was_asleep;
    /* With STEP_SLEEPS: it sleeps for the first time. True: wait until it was woken. */
    bool (*asleep)(void *context);
    void *context;
};

/* What the process does: prepare, run, as the operation says. `actor` is what it begins with. Returns when it stands before the first
 * instruction of run. False: it did not come so far. */
bool step_begin(struct step_traced *traced, const struct step_operation *operation, const struct step_actor *actor, struct step_stage *stage);
/* Address of the instruction that comes next. */
uint64_t step_address(const struct step_traced *traced);
/* Whether it is a system call. Its code is here as well, since the process is a fork of this one. */
bool step_is_system_call(uint64_t address);
/* How long it is, if it copies or fills and repeats itself; each time round is a step. 0: it is another one. */
unsigned step_repeats(uint64_t address);
/* One instruction. */
enum step_stop step_once(struct step_traced *traced);
/* Goes on until `address` is come to for the (passed + 1)th time. */
enum step_stop step_to(struct step_traced *traced, uint64_t address, uint64_t passed);
/* Lets it go on to the end of its operation. */
enum step_stop step_on(struct step_traced *traced);
/* Kills the victim, and waits until it is gone. */
void step_kill(struct step_traced *traced);
/* The forked child is gone too. */
void step_end(struct step_traced *traced);

#endif
