/* SPDX-License-Identifier: MIT
 *
 * Operations whose instructions are counted. Each is a function that does so many rounds of it; callgrind counts between
 * counts_on and counts_off alone, so that what a round needs around the operation costs nothing.
 */
#ifndef NP_TEST_COUNTS_H
#define NP_TEST_COUNTS_H

#include <stdbool.h>

#ifdef HAVE_VALGRIND_CALLGRIND_H
#include <valgrind/callgrind.h>
#else
#define CALLGRIND_TOGGLE_COLLECT ((void)0)
#define CALLGRIND_ZERO_STATS ((void)0)
#define CALLGRIND_DUMP_STATS_AT(name) ((void)(name))
#endif

#include "numapool.h"

#define COUNTS_HALF 64u /* messages of a round of which one half is counted: what is at the edges of a count is divided by it */

struct counts_operation {
    const char *name;
    const char *per;  /* what one operation is: "pair", "message" */
    const char *rest; /* the operation whose count is taken off: the same loops with nothing in them */
    unsigned each;    /* operations of a round */
    bool halves;      /* it calls counts_on and counts_off by itself */
    void (*open)(void); /* before it is warmed; NULL: nothing */
    void (*run)(unsigned rounds);
    void (*close)(void);
};

/* Ended by one without a name. */
extern const struct counts_operation counts_local[], counts_channels[], counts_others[];

extern struct numapool_pool *counts_pool;

/* Ends the program with the library's sentence. */
_Noreturn void counts_fail(const char *what);

static inline void counts_on(void)
{
    CALLGRIND_TOGGLE_COLLECT;
}

static inline void counts_off(void)
{
    CALLGRIND_TOGGLE_COLLECT;
}

/* The compiler knows nothing of the pointer behind this, nor of memory after it. */
static inline void *counts_opaque(void *pointer)
{
    __asm__ volatile("" : "+r"(pointer) : : "memory");
    return pointer;
}

/* A call that must not fail: one comparison, as its callers have it. */
static inline void counts_check(bool good, const char *what)
{
    if (__builtin_expect(!good, 0))
        counts_fail(what);
}

#endif
