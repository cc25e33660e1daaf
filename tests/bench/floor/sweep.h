/* SPDX-License-Identifier: MIT
 *
 * Looking at every word of a million, and taking those that are some owner's away from him, one by one: what is to be done at
 * least where an owner's death frees what he held, and others may write the words meanwhile.
 */
#ifndef NP_BENCH_FLOOR_SWEEP_H
#define NP_BENCH_FLOOR_SWEEP_H

#include <stdint.h>

#define BENCH_SWEEP_FREE UINT64_C(0)
#define BENCH_SWEEP_HELD UINT64_C(7)
#define BENCH_SWEEP_OTHER UINT64_C(5)

struct bench_sweep;

/* Of zeroed words, on huge pages where there are some. */
struct bench_sweep *bench_sweep_open(uint64_t words);
void bench_sweep_close(struct bench_sweep *sweep);

/* The first `held` are the dead's, the others somebody else's. */
void bench_sweep_prepare(struct bench_sweep *sweep, uint64_t held);

/* Frees what is the dead's by CAS; how many. */
uint64_t bench_sweep_run(struct bench_sweep *sweep);

#endif
