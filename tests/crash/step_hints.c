/* SPDX-License-Identifier: MIT
 *
 * A getter finds slots that no bit shows by a scan of all words, so none of this loses a slot; but after a sweep it must be right, or
 * scans would become the rule, sleepers would sleep on, and handles of before would be good again.
 *
 *   each free slot is shown by its bit and every summary above it
 *   the counters say as many free slots as there are
 *   a slot that was freed is of the next generation
 *   everybody whose bit is in the map of sleepers was rung
 */
#include "step_hints.h"

#include <stdio.h>

/* relaxed everywhere: one thread */
#define LOAD(word) np_load64(&(word), memory_order_relaxed)

static bool is_shown(const struct np_arena *arena, uint64_t slot)
{
    for (unsigned level = 0; level < arena->levels; level++, slot /= 64)
        if (!(LOAD(arena->level[level][slot / 64]) >> slot % 64 & 1))
            return false;
    return true;
}

static bool slots_are_right(const struct np_arena *arena, const np_shm64 *before, char *sentence, size_t bytes)
{
    uint64_t count = 0;
    for (uint64_t slot = 0; slot < arena->slots; slot++) {
        const uint64_t was = LOAD(before[slot]), is = LOAD(arena->words[slot]);
        if (np_word_state(is) != NP_WORD_FREE)
            continue;
        count++;
        if (!is_shown(arena, slot)) {
            snprintf(sentence, bytes, "slot %llu is free, and no bit shows it", (unsigned long long)slot);
            return false;
        }
        if (np_word_state(was) != NP_WORD_FREE && is != np_word_freed(was)) {
            snprintf(sentence, bytes, "slot %llu was freed, and its generation is %u after %u", (unsigned long long)slot, np_word_gen(is),
                     np_word_gen(was));
            return false;
        }
    }
    if (np_arena_free_hint(arena) == count)
        return true;
    snprintf(sentence, bytes, "%llu slots are free, and the counters say %llu", (unsigned long long)count,
             (unsigned long long)np_arena_free_hint(arena));
    return false;
}

static bool sleepers_are_rung(const struct np_broker *broker, const struct np_arena *arena, const struct np_bell *before, char *sentence,
                              size_t bytes)
{
    for (uint32_t client = 1; client <= broker->board.limits.clients; client++) {
        const bool sleeps = LOAD(arena->sleepers[client / 64]) >> client % 64 & 1;
        const uint32_t was = np_load32(&before[client].ring, memory_order_relaxed);
        if (!sleeps || np_load32(&broker->bells[client].ring, memory_order_relaxed) != was)
            continue;
        snprintf(sentence, bytes, "client %u sleeps for a slot, and was not rung", client);
        return false;
    }
    return true;
}

bool step_hints_are_right(const struct np_broker *broker, struct step_memory *memory, uint64_t swept, char *sentence, size_t bytes)
{
    const struct step_region *bells = step_memory_find(memory, NP_STORE_BELLS, 0, 0);
    for (uint32_t pool = 0; pool < NP_POOLS_MAX; pool++) {
        const struct np_broker_pool *view = &broker->pools[pool];
        for (unsigned i = 0; swept >> pool & 1 && view->mapped && i < view->arena_count; i++) {
            const struct step_region *meta = step_memory_find(memory, NP_STORE_META, pool, i);
            const np_shm64 *before = (const void *)(meta->image + NP_ARENA_HEADER_BYTES);
            if (!slots_are_right(&view->arenas[i], before, sentence, bytes) ||
                !sleepers_are_rung(broker, &view->arenas[i], (const void *)bells->image, sentence, bytes))
                return false;
        }
    }
    return true;
}
