/* SPDX-License-Identifier: MIT
 *
 * Floors: what a program calls in a shared library costs that much at least.
 */
#ifndef NP_BENCH_FLOOR_CALLED_H
#define NP_BENCH_FLOOR_CALLED_H

#include "../bench.h"

extern const struct bench_variant floor_called_pop_push; /* a bare stack's pop and push, each called in a shared library */
extern const struct bench_variant floor_called_nothing;  /* two functions there that do nothing */
extern const struct bench_variant floor_called_thousand; /* 1,000 pops, then 1,000 pushes, each called there */

#endif
