/* SPDX-License-Identifier: MIT
 *
 * Sleeping until one of several futex words changes (futex_waitv(2), Linux 5.16). One word alone is slept on by the older futex call.
 * Where the kernel or a seccomp filter refuses several, or there are more than it takes, a sleep lasts NP_SLEEP_BOUNDED_NS at
 * most, and the sleeper looks again.
 *
 * A word is named (np_sleep_on) before the sleeper raises its flag and looks a last time: what is rung after that differs from
 * what was seen, and the kernel does not let the sleep begin.
 */
#ifndef NP_CORE_SLEEP_H
#define NP_CORE_SLEEP_H

#include <stdbool.h>
#include <stdint.h>

#include "core/shm.h"

#define NP_SLEEP_WORDS_MAX 128u /* FUTEX_WAITV_MAX */
#define NP_SLEEP_BOUNDED_NS INT64_C(1000000)

struct np_sleep_word {
    np_shm32 *word;
    uint32_t seen;
    uint32_t own; /* 1: only this process sleeps on it and rings it (np_ring_own) */
};

struct np_sleep {
    unsigned count;
    bool crowded; /* there were more words than fit: sleep bounded */
    struct np_sleep_word words[NP_SLEEP_WORDS_MAX];
};

static inline void np_sleep_reset(struct np_sleep *sleep)
{
    sleep->count = 0;
    sleep->crowded = false;
}

/* One more word to sleep on, from what it says now. */
void np_sleep_on(struct np_sleep *sleep, np_shm32 *word);
void np_sleep_on_own(struct np_sleep *sleep, np_shm32 *word);

/* One of the words has changed since it was named. */
bool np_sleep_is_over(const struct np_sleep *sleep);

/* Sleeps until one of the words has changed, a signal, or `deadline_ns` (CLOCK_MONOTONIC; INT64_MAX: none). 0: look
 * again, for whatever reason; -ETIMEDOUT. */
int np_sleep_until(const struct np_sleep *sleep, int64_t deadline_ns);

/* Changes a word and wakes who sleeps on it. Async-signal-safe; may change errno. */
void np_ring(np_shm32 *word);
void np_ring_own(np_shm32 *word);

int64_t np_monotonic_ns(void);
/* now + timeout, saturating. */
int64_t np_deadline_ns(int64_t timeout_ns);
static inline int64_t np_after_ns(int64_t now_ns, int64_t timeout_ns)
{
    return timeout_ns > INT64_MAX - now_ns ? INT64_MAX : now_ns + timeout_ns;
}

/* The earlier of a deadline and `bound_ns` from now. */
static inline int64_t np_sooner_ns(int64_t deadline_ns, int64_t bound_ns)
{
    int64_t bounded = bound_ns == INT64_MAX ? INT64_MAX : np_deadline_ns(bound_ns);
    return bounded < deadline_ns ? bounded : deadline_ns;
}

#ifdef NUMAPOOL_HOOKS
/* Replaces sleeping in simulations: returns when the test's scheduler says so. NULL: really sleep. */
extern int (*np_sleep_hook)(const struct np_sleep *sleep, int64_t deadline_ns);
#endif

#endif
