/* SPDX-License-Identifier: MIT
 *
 * Floor: 32 pointers copied off a stack and 32 copied back.
 */
#ifndef NP_BENCH_FLOOR_COPY_H
#define NP_BENCH_FLOOR_COPY_H

#include "../bench.h"

extern const struct bench_variant floor_copy;

#endif
