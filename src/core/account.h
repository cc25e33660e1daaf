/* SPDX-License-Identifier: MIT
 * What is counted, and where: pages of rows for each client and pool, which the client writes and the daemon reads without asking. */
#ifndef NP_CORE_ACCOUNT_H
#define NP_CORE_ACCOUNT_H

#include "core/arena.h"
#include "core/shm.h"

/* One client at one arena. All relaxed: statistics. */
struct np_account_row {
    np_shm64 gets, puts, refills, flushes, home_returns, failures, spilled;
    np_shm64 faults; /* misuse found, in a pool with checks */
    /* Slots that were moved out of this arena (foreign: that were not), as numastat has it: see struct numapool_stats. Refills of
     * depots and magazines, flushes and bulks count, gets and puts do not. `spilled` is above. */
    np_shm64 local, remote, foreign, homeless;
    np_shm64 followed; /* magazines that were bound to it because their thread had moved */
    np_shm64 tiered;   /* part of spilled: of a memory-only node, while the wanted one ran low but was not empty */
    np_shm64 reserved[2];
};
_Static_assert(sizeof(struct np_account_row) == 2 * NP_CACHE_LINE, "a row is lines of its own, written by one process");

/* Of a client and pool: a row for each arena that the pool may ever get. */
#define NP_ACCOUNT_BYTES (NP_ARENAS_MAX * sizeof(struct np_account_row))
_Static_assert(NP_ACCOUNT_BYTES % 4096 == 0, "whole pages");

static inline void np_count(np_shm64 *counter, uint64_t n)
{
    np_add64(counter, n, memory_order_relaxed); /* relaxed: a statistic */
}

/* Adds one row's counts to another's. */
static inline void np_account_add(struct np_account_row *sum, const struct np_account_row *row)
{
    np_count(&sum->gets, np_load64(&row->gets, memory_order_relaxed)); /* relaxed, all of them: statistics */
    np_count(&sum->puts, np_load64(&row->puts, memory_order_relaxed));
    np_count(&sum->refills, np_load64(&row->refills, memory_order_relaxed));
    np_count(&sum->flushes, np_load64(&row->flushes, memory_order_relaxed));
    np_count(&sum->home_returns, np_load64(&row->home_returns, memory_order_relaxed));
    np_count(&sum->failures, np_load64(&row->failures, memory_order_relaxed));
    np_count(&sum->spilled, np_load64(&row->spilled, memory_order_relaxed));
    np_count(&sum->faults, np_load64(&row->faults, memory_order_relaxed));
    np_count(&sum->local, np_load64(&row->local, memory_order_relaxed));
    np_count(&sum->remote, np_load64(&row->remote, memory_order_relaxed));
    np_count(&sum->foreign, np_load64(&row->foreign, memory_order_relaxed));
    np_count(&sum->homeless, np_load64(&row->homeless, memory_order_relaxed));
    np_count(&sum->followed, np_load64(&row->followed, memory_order_relaxed));
    np_count(&sum->tiered, np_load64(&row->tiered, memory_order_relaxed));
}

#endif
