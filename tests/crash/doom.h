/* SPDX-License-Identifier: MIT
 *
 * How a process of a test dies in one of its own calls, so that the same seed gives the same death as far as real processes
 * allow: in the n-th call of its life, after so many instructions of it (single-stepped by its own trap flag, on x86-64), or
 * before it, or some time after its beginning (a timer: that time is not the same twice).
 */
#ifndef NUMAPOOL_TESTS_CRASH_DOOM_H
#define NUMAPOOL_TESTS_CRASH_DOOM_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum doom_way { DOOM_NEVER, DOOM_STEP, DOOM_TIMER, DOOM_BETWEEN };

struct doom_plan {
    enum doom_way way;
    uint32_t call;   /* the first is 1 */
    uint32_t detail; /* STEP: instructions, TIMER: nanoseconds */
};

/* In memory that outlives the process. */
struct doom_grave {
    _Atomic int64_t killed_ns; /* 0: not by its own doom */
    _Atomic uint32_t calls;    /* begun */
    _Atomic uint32_t in_call;  /* whether it is in one */
};

/* Way, call and detail: most die in a call; one in sixteen while it joins, which takes the first four calls. */
void doom_draw(struct doom_plan *plan, uint64_t *random, unsigned calls_max);

/* In the process that is to die: from now on its thread's calls count. grave may be NULL. 0 or -errno. */
int doom_begin(const struct doom_plan *plan, struct doom_grave *grave);
/* It is to live after all. */
void doom_forgive(void);

void doom_call(void);
void doom_return(void);

/* A call of the library, in which the process may die. */
#define DOOMED(expression) \
    __extension__({ \
        doom_call(); \
        __auto_type returned_ = (expression); \
        doom_return(); \
        returned_; \
    })

#endif
