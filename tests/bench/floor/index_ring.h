/* SPDX-License-Identifier: MIT
 *
 * Floors: two processes, a bare ring of indexes in each direction, and the payload that the indexes name, written whole by one and
 * read whole by the other.
 */
#ifndef NP_BENCH_FLOOR_INDEX_RING_H
#define NP_BENCH_FLOOR_INDEX_RING_H

#include "../bench.h"

/* There through one ring, back through another; payload of so many bytes, 0: not touched. */
extern const struct bench_variant floor_ring_trip_0, floor_ring_trip_16, floor_ring_trip_128, floor_ring_trip_1024,
    floor_ring_trip_4096;

/* One way: bytes, and messages at a time. */
#define FLOOR_RING_WAYS(BYTES) floor_ring_way_##BYTES##_1, floor_ring_way_##BYTES##_8, floor_ring_way_##BYTES##_32
extern const struct bench_variant FLOOR_RING_WAYS(0), FLOOR_RING_WAYS(16), FLOOR_RING_WAYS(128), FLOOR_RING_WAYS(1024),
    FLOOR_RING_WAYS(4096);

#endif
