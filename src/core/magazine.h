/* SPDX-License-Identifier: MIT
 * What the files that make up magazines share: magazine.c gets and puts, bind.c says which arena one belongs to and how much it may hold. */
#ifndef NP_CORE_MAGAZINE_H
#define NP_CORE_MAGAZINE_H

#include "core/pool.h"

static inline bool np_magazine_is_exact(const struct np_magazine *magazine)
{
    return (magazine->pool->flags & NUMAPOOL_EXACT_COUNTS) != 0;
}

/* The top that is really used, in the magazine of a counting pool as in any other. */
static inline void ***np_magazine_top(struct np_magazine *magazine)
{
    return np_magazine_is_exact(magazine) ? &magazine->top : &magazine->fast.top;
}

static inline uint32_t np_magazine_count(struct np_magazine *magazine)
{
    return (uint32_t)(*np_magazine_top(magazine) - magazine->slots);
}

/* The arena for a magazine of `node` (numapool_magazine_open): of those on the node the one with most free slots.
 * -EINVAL. */
int np_magazine_choose(const struct numapool_pool *pool, int node, unsigned *arena);

/* Makes a magazine whose stack is empty one of `arena`, with as much capacity as the pool's size and this process's
 * allowance permit; maybe none. -ENOMEM: it is what it was before. */
int np_magazine_bind(struct np_magazine *magazine, unsigned arena);

/* A magazine whose stack and arena are empty goes to another arena of its node that has free slots. False: there is none. */
bool np_magazine_move(struct np_magazine *magazine);

/* Gives its allowance back. */
void np_magazine_unbind(struct np_magazine *magazine);

/* Sets its capacity by whether its node runs low: an eighth of what was granted then. What it holds beyond that goes to
 * the depot. */
void np_magazine_adapt(struct np_magazine *magazine);

/* The older slots go to the depot, the younger, warmer ones stay: `keep` of them. */
void np_magazine_spill(struct np_magazine *magazine, uint32_t keep);

/* Slots of another arena that wait to be sent there. */
void np_magazine_send_home(struct np_magazine *magazine, unsigned arena);
void np_magazine_put_outbound(struct np_magazine *magazine, unsigned arena, void *slot);

/* Its thread has ended: closes it now, or with the last sender that uses it. */
void np_magazine_let_go(struct np_magazine *magazine);

/* What an exact-count pool's magazine has counted goes into the account of its arena. */
void np_magazine_publish_tallies(struct np_magazine *magazine);

#endif
