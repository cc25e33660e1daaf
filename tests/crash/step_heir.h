/* SPDX-License-Identifier: MIT
 * Who takes what is left when the stepped process and its peer are gone, and whether that is all that had to be left, and no more. */
#ifndef NUMAPOOL_TESTS_CRASH_STEP_HEIR_H
#define NUMAPOOL_TESTS_CRASH_STEP_HEIR_H

#include "broker/board.h"
#include "step.h"

enum { STEP_CHANNELS_MAX = 8 };

/* What there is to be taken, as the board says. */
struct step_legacy {
    unsigned channel_count;
    struct {
        char name[NUMAPOOL_NAME_BYTES];
        uint32_t flags;
    } channels[STEP_CHANNELS_MAX];
    bool is_whole;  /* there is no channel but these: what was sent and is not finished must come */
    uint64_t slots; /* of the pool */
};
struct step_legacy step_legacy_of(const struct np_board *board, uint32_t pool);

/* Receives all, releases it, gets every slot of the pool and puts it back. What is wrong becomes a breach of the ledger. */
void step_inherit(struct numapool_pool *pool, struct ledger *ledger, const struct step_legacy *legacy);
/* Compares what came with what the ledger said before. Breaches go to `after`. */
void step_compare(const struct step_legacy *legacy, bool forwards, const struct ledger *before, struct ledger *after);

#endif
