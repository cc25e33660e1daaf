/* SPDX-License-Identifier: MIT
 *
 * Floor: three processes and two bare rings of indexes. The first writes payload, the one in the middle moves indexes from ring to ring,
 * the last reads payload, and says to the first what is free again. 128 bytes, by 8. The waiting is that of fan.h.
 */
#ifndef NP_BENCH_FLOOR_CHAIN_H
#define NP_BENCH_FLOOR_CHAIN_H

#include "../bench.h"

enum chain_role { CHAIN_FIRST, CHAIN_MIDDLE, CHAIN_LAST, CHAIN_ROLES };

/* Which end is who. Even ends are on one CPU, odd ones on the other: across, the one in the middle has a CPU for itself; beside,
 * the last one has. The first leads. */
static const enum chain_role chain_across[CHAIN_ROLES] = { CHAIN_FIRST, CHAIN_MIDDLE, CHAIN_LAST };
static const enum chain_role chain_beside[CHAIN_ROLES] = { CHAIN_FIRST, CHAIN_LAST, CHAIN_MIDDLE };

extern const struct bench_variant floor_chain_across, floor_chain_beside;

#endif
