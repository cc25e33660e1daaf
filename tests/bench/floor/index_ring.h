/* SPDX-License-Identifier: MIT
 *
 * Floors: two processes, a bare ring of 32-bit indexes, and the payload that they name, written whole by one and read whole by
 * the other. A cell carries its own sequence beside the index, so that a message costs its receiver one line and not two. No
 * owner, no check, no sleep, nothing to be found again after a death.
 */
#ifndef NP_BENCH_FLOOR_INDEX_RING_H
#define NP_BENCH_FLOOR_INDEX_RING_H

#include "../bench.h"

extern const struct bench_variant floor_index_ring_trip;       /* there through one ring, back through another */
extern const struct bench_variant floor_index_ring_one_way;    /* one message at a time */
extern const struct bench_variant floor_index_ring_one_way_8;  /* eight at a time */

#endif
