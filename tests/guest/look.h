/* SPDX-License-Identifier: MIT
 *
 * Looks below the public interface of a pool whose threads all stand still: what is in which magazine and depot, what
 * each word says, where each page is.
 */
#ifndef NUMAPOOL_TESTS_GUEST_LOOK_H
#define NUMAPOOL_TESTS_GUEST_LOOK_H

#include "core/pool.h"
#include "machine.h"

/* How often somebody said of a slot that he has it; by arena and number, for all processes. */
struct look_claims {
    uint32_t arenas;
    uint32_t slots; /* room for so many of each arena */
    _Atomic uint8_t of[];
};
size_t look_claims_bytes(unsigned arenas, uint64_t slots);
void look_claims_begin(struct look_claims *claims, unsigned arenas, uint64_t slots);
/* False: no slot of the pool. */
bool look_claim(struct look_claims *claims, const struct numapool_pool *pool, const void *slot);

struct look_caches {
    uint64_t magazines, looked_at; /* slots */
    uint64_t foreign;              /* in a magazine or depot of another node, or on the way to one */
    uint64_t unknown;              /* no slot of the pool at all */
    uint64_t by_node[MACHINE_NODES_MAX][MACHINE_NODES_MAX]; /* [node of the magazine][node of the slot], by number */
};
/* Every slot in this process's magazines, outbound batches and depots, claimed and added up. */
void look_at_caches(const struct numapool_pool *pool, struct look_claims *claims, struct look_caches *caches);

/* Every word beside what was claimed. FREE: by nobody; HELD: by one; SENT: by nobody. */
struct look_words {
    uint64_t looked_at, free_slots, held, sent;
    uint64_t lost;  /* HELD, and nobody has it */
    uint64_t twice; /* two say that they have it, or one does whose it is not */
};
void look_at_words(const struct numapool_pool *pool, struct look_claims *claims, struct look_words *words);

/* Every page of payload and words, by move_pages(2). -errno. */
int look_at_pages(const struct numapool_pool *pool, struct machine_pages *pages);

#endif
