/* SPDX-License-Identifier: MIT
 *
 * Every change of a word is one store or CAS of one process. A FREE one becomes HELD, and of the same generation; one that becomes FREE
 * is of the next. What is SENT or SHARED becomes HELD, SENT or FREE, never the other kind of the two.
 */
#include "step_words.h"

#include <stdio.h>
#include <string.h>

static bool may_become(uint64_t was, uint64_t is)
{
    static const bool may[5][5] = {
        [NP_WORD_FREE] = { [NP_WORD_HELD] = true },
        [NP_WORD_HELD] = { [NP_WORD_FREE] = true, [NP_WORD_HELD] = true, [NP_WORD_SENT] = true, [NP_WORD_SHARED] = true },
        [NP_WORD_SENT] = { [NP_WORD_FREE] = true, [NP_WORD_HELD] = true, [NP_WORD_SENT] = true, [NP_WORD_SHARED] = true },
        [NP_WORD_SHARED] = { [NP_WORD_FREE] = true, [NP_WORD_HELD] = true },
    };
    const unsigned from = np_word_state(was), to = np_word_state(is);
    if (from > NP_WORD_SHARED || to > NP_WORD_SHARED || !may[from][to])
        return false;
    return to == NP_WORD_FREE ? is == np_word_freed(was) : np_word_gen(is) == np_word_gen(was);
}

bool step_words_are_right(const struct step_region *meta, char *sentence, size_t bytes)
{
    const struct np_arena_header *header = (const void *)meta->live;
    const np_shm64 *before = (const void *)(meta->image + NP_ARENA_HEADER_BYTES), *now = (const void *)(meta->live + NP_ARENA_HEADER_BYTES);
    unsigned changes = 0;
    if (memcmp((const void *)before, (const void *)now, header->slots * sizeof *now) == 0)
        return true;
    for (uint64_t slot = 0; slot < header->slots; slot++) {
        const uint64_t was = np_load64(&before[slot], memory_order_relaxed), is = np_load64(&now[slot], memory_order_relaxed);
        if (was == is) /* relaxed, both: who writes is stopped */
            continue;
        changes++;
        if (!may_become(was, is)) {
            snprintf(sentence, bytes, "the word of slot %llu was %016llx and became %016llx", (unsigned long long)slot, (unsigned long long)was,
                     (unsigned long long)is);
            return false;
        }
    }
    if (changes > 1)
        snprintf(sentence, bytes, "one instruction has changed %u words", changes);
    return changes <= 1;
}
