/* SPDX-License-Identifier: MIT
 *
 * Floors: a payload beside a bare futex in each direction, with as much spinning before the sleep as the subject does.
 */
#ifndef NP_BENCH_FLOOR_FUTEX_H
#define NP_BENCH_FLOOR_FUTEX_H

#include "../bench.h"

extern const struct bench_variant floor_futex;      /* never spins */
extern const struct bench_variant floor_futex_spin; /* BENCH_SPIN_NS first */

#define BENCH_SPIN_NS INT64_C(20000)

#endif
