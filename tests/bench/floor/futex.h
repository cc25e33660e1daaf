/* SPDX-License-Identifier: MIT
 *
 * Floors: a payload beside a bare futex in each direction, with as much spinning before the sleep as the subject does.
 *
 * "With a barrier": as in the library the sleeper pays (membarrier) for the order between the other end's store and its look
 * at the flag, and that end pays nothing. That saves 20 to 30 ns a round trip while nobody sleeps, for a fenced store waits
 * until its line has come, so it is the floor where the spin sees the answer. Where there is none, or where it is in vain, the
 * fenced one is, whose sleeper does less: with the barrier the waiter of an answer that comes after the spin takes 40 us of CPU
 * time, fenced 29.
 */
#ifndef NP_BENCH_FLOOR_FUTEX_H
#define NP_BENCH_FLOOR_FUTEX_H

#include "../bench.h"

#define BENCH_SPIN_NS INT64_C(20000)
/* What an end that takes its time does before it answers: longer than that spin. */
#define BENCH_THINK_NS INT64_C(50000)

extern const struct bench_variant floor_futex;         /* never spins */
extern const struct bench_variant floor_futex_barrier; /* the same with a barrier */
extern const struct bench_variant floor_futex_spin_2us, floor_futex_spin_20us, floor_futex_spin_100us; /* with a barrier */
extern const struct bench_variant floor_futex_late;    /* spins BENCH_SPIN_NS, and the answer takes BENCH_THINK_NS */
extern const struct bench_variant floor_futex_one_cpu, floor_futex_one_cpu_spin;
extern const struct bench_variant floor_futex_empty;   /* without a payload */

/* Goes on for so long, without sleeping. */
static inline void bench_think(int64_t think_ns)
{
    for (int64_t stop_ns = bench_now_ns() + think_ns; bench_now_ns() < stop_ns;)
        bench_pause();
}

#endif
