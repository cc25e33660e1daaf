/* SPDX-License-Identifier: MIT
 *
 * Floor: one cache line bounced between two processes, which is what any message between them must cost at least.
 * The harness takes it to tell how far the two CPUs are from each other.
 */
#ifndef NP_BENCH_FLOOR_LINE_H
#define NP_BENCH_FLOOR_LINE_H

#include "../bench.h"

extern const struct bench_variant floor_line;

#endif
