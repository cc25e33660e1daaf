/* SPDX-License-Identifier: MIT
 *
 * What happens to a pool seldom and is to be heard of: a node runs low and recovers, the pool grows, it is going to end. Said in the headers
 * of arenas, where all who have the pool see it:
 *
 *   low, lows        in the header of a node's first arena, for all arenas there; by whoever moves slots, or sweeps
 *   arenas, ending   in the header of arena 0; by who makes and destroys the pool
 *   notices          bumped after any of these has changed, in the same header: the futex of those who wait for events
 *
 * These are hints, in memory that every direct client writes. Who acts on one asks the pool's maker (growth), or loses no more than
 * some caching by a lie (low).
 */
#ifndef NP_CORE_NOTICE_H
#define NP_CORE_NOTICE_H

#include <stddef.h>
#include <stdint.h>

#include "core/arena.h"

/* Bumps the notices of an arena and wakes who waits on them. Bumped in vain costs a comparison there. */
void np_notice_bump(struct np_arena *arena);

/* The pool of which `first` is arena 0 has so many arenas now. The caller wakes who sleeps for slots. */
void np_notice_growth(struct np_arena *first, uint32_t arenas);
void np_notice_ending(struct np_arena *first);

/* Compares the free slots of a node with its low watermark, the sum of its arenas' shares, and says so when they have
 * crossed it: down, or an eighth above it. arenas: `count` of them, `stride` bytes from one to the next. */
void np_notice_level(struct np_arena *arenas, unsigned count, size_t stride, int node);

/* How many free slots a node with that watermark wants so as to have recovered; at most all it has. */
static inline uint64_t np_notice_recovered(uint64_t low_watermark, uint64_t slots)
{
    uint64_t enough = low_watermark + (low_watermark / 8 ? low_watermark / 8 : 1);
    return enough < slots ? enough : slots;
}

#endif
