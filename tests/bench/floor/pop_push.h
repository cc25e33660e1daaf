/* SPDX-License-Identifier: MIT
 *
 * Floors: a bare stack of pointers in an array. No check of anything, no second level: what is left of get and put when they
 * promise nothing.
 */
#ifndef NP_BENCH_FLOOR_POP_PUSH_H
#define NP_BENCH_FLOOR_POP_PUSH_H

#include "../bench.h"

extern const struct bench_variant floor_pop_push;          /* pairs, inline */
extern const struct bench_variant floor_pop_push_call;     /* pairs, each a function call */
extern const struct bench_variant floor_pop_push_thousand; /* 1,000 pops, then 1,000 pushes, each a function call */
extern const struct bench_variant floor_pop_push_thousand_inline; /* the same, inline */

#endif
