/* SPDX-License-Identifier: MIT
 *
 * Pools at the daemon: those of the configuration, made before the worker is ready, and those that admins have made, enlarged and
 * destroyed afterwards. What is under way is known to the worker alone, and a worker that dies leaves
 *   - a FORMING entry and memory that no entry counts: forgotten by the next, and the admin's library asks it again;
 *   - a DYING entry: the next ends it (np_broker_pool_remove says in which steps);
 *   - an entry that is `ending` and that nobody has open: the next ends it too.
 * The tag of a request stands in what it made, so that the same request finds it done.
 */
#ifndef NP_DAEMON_POOLS_H
#define NP_DAEMON_POOLS_H

#include "broker/board.h"
#include "daemon/loop.h"
#include "daemon/maker.h"
#include "service/wire.h"

struct np_worker;

/* A pool that somebody wants; everything has been checked. */
struct np_pool_order {
    const char *name;
    uint64_t slot_bytes, flags, low_watermark;
    uint32_t magazine_slots, sharers;
    uint64_t tag;
    uint32_t uid;
    const struct np_access *access; /* [NP_ACCESS_MAX]; NULL: as `access_text` says */
    const char *access_text;        /* as in struct numapool_options; NULL: nobody else */
    uint32_t policy;
    uint64_t spill_slots;
    struct np_plan plan;
};

/* What is being made; at most one at a time. */
struct np_pool_making {
    struct np_maker maker;
    struct np_maker_work work;
    struct np_pool_entry *entry; /* NULL: nothing is being made */
    uint64_t tag;
    unsigned kept;               /* descriptors that the keeper has */
    struct np_timer keep_on;
    int64_t keep_until_ns;
    /* The last that failed, until it is asked for. One that nobody asks for is overwritten: who asks later begins anew. */
    uint64_t failed_tag;
    int failed_result;
    char failed_sentence[NP_WIRE_SENTENCE_BYTES];
};

int np_pools_start(struct np_worker *worker);

/* Those of the configuration, once in the life of the board: what an admin has destroyed does not come back. Waits. */
int np_pools_make_configured(struct np_worker *worker);

/* What became of the request with that tag: NP_WIRE_UNDER_WAY; -EAGAIN: another is under way; 0: nothing is known of it,
 * and it may begin; else why it failed, which is told once. */
int np_pools_outcome(struct np_worker *worker, uint64_t tag);

/* Both: NP_WIRE_UNDER_WAY, or -errno. np_pools_outcome has said 0. */
int np_pools_begin_create(struct np_worker *worker, const struct np_pool_order *order);
int np_pools_begin_grow(struct np_worker *worker, struct np_pool_entry *entry, const struct np_plan *plan, uint64_t tag);

/* Whether the pool is just being enlarged. */
bool np_pools_is_growing(const struct np_worker *worker, const struct np_pool_entry *entry);

/* Ends a pool that nobody has open. `why`: for the log. */
void np_pools_end(struct np_worker *worker, struct np_pool_entry *entry, const char *why);
/* Goes on with what a predecessor had begun to end, before anything of it is attached. */
void np_pools_end_dying(struct np_worker *worker, struct np_pool_entry *entry);
/* Those that are to end when nobody has them open, and nobody has. After anybody closed a pool or is gone. */
void np_pools_end_unused(struct np_worker *worker);

#endif
