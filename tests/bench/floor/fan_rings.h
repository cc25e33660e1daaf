/* SPDX-License-Identifier: MIT
 *
 * Floors: as many bare rings of indexes, with payload of their own, as there are pairs of a sender and a receiver; polled or
 * filled in turn. 128 bytes, by 8. The waiting is that of fan.h.
 */
#ifndef NP_BENCH_FLOOR_FAN_RINGS_H
#define NP_BENCH_FLOOR_FAN_RINGS_H

#include "../bench.h"

extern const struct bench_variant floor_fan_in_2, floor_fan_in_4, floor_fan_out_2, floor_fan_out_4;
/* One payload, whose index goes through two rings. */
extern const struct bench_variant floor_broadcast_2;

#endif
