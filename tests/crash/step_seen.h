/* SPDX-License-Identifier: MIT
 * A set of hashes of states. */
#ifndef NUMAPOOL_TESTS_CRASH_STEP_SEEN_H
#define NUMAPOOL_TESTS_CRASH_STEP_SEEN_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

enum { STEP_SEEN_ROOM = 1 << 17 };

struct step_seen {
    uint64_t *places; /* [STEP_SEEN_ROOM]; 0: vacant */
    unsigned count;
};

/* True: it was not there before. */
static inline bool step_see(struct step_seen *seen, uint64_t hash)
{
    hash = hash ? hash : 1;
    for (uint64_t place = hash % STEP_SEEN_ROOM;; place = (place + 1) % STEP_SEEN_ROOM) {
        if (seen->places[place] == hash)
            return false;
        if (seen->places[place] != 0)
            continue;
        if (seen->count < STEP_SEEN_ROOM / 2) {
            seen->places[place] = hash;
            seen->count++;
        }
        return true;
    }
}

static inline void step_forget(struct step_seen *seen)
{
    memset(seen->places, 0, STEP_SEEN_ROOM * sizeof *seen->places);
    seen->count = 0;
}

#endif
