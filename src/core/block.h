/* SPDX-License-Identifier: MIT
 *
 * NUMAPOOL_MALLOC: each slot of an arena is a block of malloc while somebody has it, so that checkers and profilers of the heap see get as
 * malloc and put as free. Words, lanes and counts are as in any pool; only where a slot lies is looked up. One process's alone.
 */
#ifndef NP_CORE_BLOCK_H
#define NP_CORE_BLOCK_H

#include <stdint.h>

struct np_arena;
struct np_blocks;

/* Makes the arena's table. -ENOMEM. */
int np_blocks_begin(struct np_arena *arena);
/* Frees it, and the blocks of all slots but those in use: a checker of the heap will name who leaked them. */
void np_blocks_end(struct np_arena *arena);

/* Number of the slot whose block begins there, or -1. Any thread. */
int64_t np_blocks_index_of(struct np_blocks *blocks, const void *block);
/* NULL: nobody has it. */
void *np_blocks_at(struct np_blocks *blocks, uint64_t index);

#endif
