/* SPDX-License-Identifier: MIT
 *
 * Floors: two processes, and a bare ring of cells of a line each, which carry the payload themselves.
 */
#ifndef NP_BENCH_FLOOR_CELL_RING_H
#define NP_BENCH_FLOOR_CELL_RING_H

#include "../bench.h"

/* There and back, with so many bytes. */
extern const struct bench_variant floor_cells_trip_16, floor_cells_trip_48;
/* One way: bytes, and messages at a time. */
extern const struct bench_variant floor_cells_way_16_1, floor_cells_way_16_8, floor_cells_way_16_32;
extern const struct bench_variant floor_cells_way_48_1, floor_cells_way_48_8, floor_cells_way_48_32;

#endif
