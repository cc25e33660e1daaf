/* SPDX-License-Identifier: MIT
 *
 * What floors that sleep have in common: the bare system calls, and a spin by the same rule as the library's.
 */
#ifndef NP_BENCH_FLOOR_SLEEPER_H
#define NP_BENCH_FLOOR_SLEEPER_H

#include <linux/futex.h>
#include <linux/membarrier.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../bench.h"

/* Reading the clock costs as much as one look, so it is read this seldom. */
#define BENCH_LOOKS_A_CLOCK 16u

static inline void bench_futex_wait(_Atomic uint32_t *word, uint32_t seen)
{
    syscall(SYS_futex, word, FUTEX_WAIT, seen, NULL, NULL, 0);
}

static inline void bench_futex_wake(_Atomic uint32_t *word)
{
    syscall(SYS_futex, word, FUTEX_WAKE, 1, NULL, NULL, 0);
}

/* In each end before it relies on the other's barrier. */
static inline void bench_barrier_register(void)
{
    if (syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED, 0, 0) != 0)
        bench_fail("membarrier is refused here, so there is no floor for who sleeps");
}

static inline void bench_barrier(void)
{
    syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL_EXPEDITED, 0, 0);
}

/* Looks until `there` says so or the time is over. */
static inline __attribute__((always_inline)) bool bench_spin(void *state, uint64_t number, int64_t spin_ns,
                                                             bool (*there)(void *state, uint64_t number))
{
    if (there(state, number))
        return true;
    if (spin_ns == 0)
        return false;
    int64_t stop_ns = bench_now_ns() + spin_ns;
    do
        for (unsigned i = 0; i < BENCH_LOOKS_A_CLOCK; i++) {
            if (there(state, number))
                return true;
            bench_pause();
        }
    while (bench_now_ns() < stop_ns);
    return there(state, number);
}

#endif
