/* SPDX-License-Identifier: MIT */
#include "core/block.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "core/arena.h"
#include "core/error.h"

struct np_blocks {
    pthread_mutex_t lock; /* of `places`; the blocks themselves are changed by who has the slot */
    uint64_t room;        /* a power of two, twice the slots or more, so that there always is a vacant place */
    uint32_t *places;     /* a hash table of slot numbers, plus 1, by block */
    _Atomic(void *) of[]; /* by slot */
};

/* ---------------------------------------------------------------- from block to slot */

static uint64_t home_of(const struct np_blocks *blocks, const void *block)
{
    return ((uintptr_t)block / NP_CACHE_LINE * UINT64_C(0x9e3779b97f4a7c15) >> 20) & (blocks->room - 1);
}

void *np_blocks_at(struct np_blocks *blocks, uint64_t index)
{
    return atomic_load_explicit(&blocks->of[index], memory_order_relaxed); /* relaxed: the caller learned of the slot by its word or a cell */
}

/* Under the lock: where it is, or the vacant place where it would go. */
static uint64_t place_of(struct np_blocks *blocks, const void *block)
{
    uint64_t at = home_of(blocks, block);
    while (blocks->places[at] != 0 && np_blocks_at(blocks, blocks->places[at] - 1) != block)
        at = (at + 1) & (blocks->room - 1);
    return at;
}

int64_t np_blocks_index_of(struct np_blocks *blocks, const void *block)
{
    pthread_mutex_lock(&blocks->lock);
    int64_t index = (int64_t)blocks->places[place_of(blocks, block)] - 1;
    pthread_mutex_unlock(&blocks->lock);
    return index;
}

/* Under the lock. Those behind the hole move up unless that would take them before their home, so that no search ends too
 * early. */
static void forget(struct np_blocks *blocks, const void *block)
{
    uint64_t hole = place_of(blocks, block), mask = blocks->room - 1;
    for (uint64_t at = (hole + 1) & mask; blocks->places[at] != 0; at = (at + 1) & mask) {
        uint64_t home = home_of(blocks, np_blocks_at(blocks, blocks->places[at] - 1));
        if (((at - home) & mask) >= ((at - hole) & mask)) {
            blocks->places[hole] = blocks->places[at];
            hole = at;
        }
    }
    blocks->places[hole] = 0;
}

/* ---------------------------------------------------------------- get and put */

static void free_block(struct np_blocks *blocks, uint64_t index)
{
    void *block = np_blocks_at(blocks, index);
    if (!block)
        return;
    pthread_mutex_lock(&blocks->lock);
    forget(blocks, block);
    atomic_store_explicit(&blocks->of[index], NULL, memory_order_relaxed); /* relaxed: published by the word that says FREE */
    pthread_mutex_unlock(&blocks->lock);
    free(block);
}

static void *make_block(struct np_blocks *blocks, uint64_t index, uint64_t bytes)
{
    void *block = NULL;
    free_block(blocks, index); /* of one who did not put it: a message that the broker took out of an orphan lane */
    if (posix_memalign(&block, NP_CACHE_LINE, bytes) != 0)
        return NULL;
    pthread_mutex_lock(&blocks->lock);
    uint64_t at = place_of(blocks, block);
    atomic_store_explicit(&blocks->of[index], block, memory_order_relaxed); /* relaxed: published by the cell or by the user */
    blocks->places[at] = (uint32_t)index + 1;
    pthread_mutex_unlock(&blocks->lock);
    return block;
}

/* Slots come as their numbers times the stride, for the arena has no payload. */
static unsigned taken(struct np_arena *arena, void **slots, unsigned n)
{
    unsigned made = 0;
    for (unsigned i = 0; i < n; i++) {
        uint64_t index = (uintptr_t)slots[i] / arena->stride;
        void *block = make_block(arena->blocks, index, arena->slot_bytes);
        if (block) {
            slots[made++] = block;
            continue;
        }
        /* no memory: it stays free, and the pool looks empty */
        np_arena_reclaim(arena, index, np_load64(&arena->words[index], memory_order_relaxed)); /* relaxed: ours */
        np_arena_note_reclaimed(arena, 1);
        np_arena_show_free(arena, index / 64, UINT64_C(1) << index % 64);
    }
    return made;
}

static bool giving(struct np_arena *arena, uint64_t index, uint64_t word)
{
    if (!np_word_is_held_by(word, arena->client))
        return false;
    free_block(arena->blocks, index);
    return true;
}

static const struct np_arena_hooks hooks = { taken, giving };

/* ---------------------------------------------------------------- the table */

int np_blocks_begin(struct np_arena *arena)
{
    struct np_blocks *blocks = calloc(1, sizeof *blocks + arena->slots * sizeof blocks->of[0]);
    uint64_t room = 2;
    while (room < 2 * arena->slots)
        room *= 2;
    uint32_t *places = calloc(room, sizeof *places);
    if (!blocks || !places) {
        free(blocks);
        free(places);
        return np_error(-ENOMEM, "no memory for a table of %llu blocks", (unsigned long long)arena->slots);
    }
    pthread_mutex_init(&blocks->lock, NULL);
    blocks->room = room;
    blocks->places = places;
    arena->blocks = blocks;
    arena->hooks = &hooks;
    return 0;
}

void np_blocks_end(struct np_arena *arena)
{
    struct np_blocks *blocks = arena->blocks;
    if (!blocks)
        return;
    for (uint64_t index = 0; index < arena->slots; index++)
        if (np_word_state(np_load64(&arena->words[index], memory_order_relaxed)) != NP_WORD_HELD) /* relaxed: nobody uses the pool any more */
            free(np_blocks_at(blocks, index));
    pthread_mutex_destroy(&blocks->lock);
    free(blocks->places);
    free(blocks);
    arena->blocks = NULL;
    arena->hooks = NULL;
}
