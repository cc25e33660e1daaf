/* SPDX-License-Identifier: MIT
 * What the files that make up magazines share: magazine.c gets and puts, bind.c says which arena one belongs to and how much it may hold,
 * nodes.c from which nodes it takes, where its thread is, and what is counted of that. */
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
/* Of the thread's own node, or else of the nearest that has slots. False: the pool is STRICT, and has none on that node. */
bool np_magazine_choose_own(const struct numapool_pool *pool, int node, unsigned *arena);

/* Makes a magazine whose stack is empty one of `arena`, with as much capacity as the pool's size and this process's
 * allowance permit; maybe none. -ENOMEM: it is what it was before. */
int np_magazine_bind(struct np_magazine *magazine, unsigned arena);

/* A magazine whose stack and arena are empty goes to another arena of its node that has free slots. False: there is none. */
bool np_magazine_move(struct np_magazine *magazine);

/* Looks where its thread runs, and goes there if it follows it: what it holds goes to the depot of the arena that it leaves, and it is
 * bound to one on its thread's node, or on the nearest that has any. True: it has gone. On slow paths, before slots are taken. */
bool np_magazine_look(struct np_magazine *magazine);

/* For who knows better than the thread: slots of that node from now on, wherever the thread runs; NUMAPOOL_OWN_NODE: it follows its thread
 * (again). True: it has gone to another node. */
bool np_magazine_lead(struct np_magazine *magazine, int node);

/* Whether it takes from memory-only nodes now, because its own runs low. */
bool np_magazine_spills(const struct np_magazine *magazine);
/* Up to n slots of the nearest memory-only node that has some, for the caller and not for its stack. */
unsigned np_magazine_take_far(struct np_magazine *magazine, void **slots, unsigned n);
/* One slot of the nearest arena that has one, in a STRICT pool only of its node; NULL: there is none. */
void *np_magazine_take_anywhere(struct np_magazine *magazine);

/* n slots have come out of the arena or its depot, into the magazine or for its caller, whose node it has looked for. */
void np_magazine_note_remote(struct np_magazine *magazine, unsigned arena, unsigned n);
static inline void np_magazine_note_taken(struct np_magazine *magazine, unsigned arena, unsigned n)
{
    const struct np_pool_arena *pa = &magazine->pool->arenas[arena];
    if (__builtin_expect(n > 0 && pa->arena.node == magazine->node, 1))
        np_count(&pa->account->local, n);
    else if (n > 0)
        np_magazine_note_remote(magazine, arena, n);
}

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
