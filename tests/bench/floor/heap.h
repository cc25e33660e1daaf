/* SPDX-License-Identifier: MIT
 *
 * Not a floor but what a program does that has no pool: malloc and free of the C library.
 */
#ifndef NP_BENCH_FLOOR_HEAP_H
#define NP_BENCH_FLOOR_HEAP_H

#include "../bench.h"

extern const struct bench_variant floor_heap_thousand;

#endif
