/* SPDX-License-Identifier: MIT
 *
 * Makes the memory of arenas: gigabytes take seconds to populate and verify. Before the worker is ready it does that itself;
 * afterwards a thread does, while the worker goes on serving and scavenging. The thread knows nothing of board, store and
 * broker: it is given numbers and gives back memory. One piece of work at a time.
 *
 * A worker that ends, in whatever way, takes the thread with it and all that it had made so far: nobody else knew of it.
 */
#ifndef NP_DAEMON_MAKER_H
#define NP_DAEMON_MAKER_H

#include "core/arena.h"
#include "daemon/loop.h"
#include "numa/placement.h"
#include "numa/plan.h"
#include "numapool.h"
#include "service/wire.h"

struct np_maker_arena {
    int node; /* that it was made on; until then -1 */
    struct np_memory data; /* not mapped any more: payload is none of the daemon's business */
    struct np_memory meta; /* mapped and formatted */
};

struct np_maker_work {
    char pool_name[NUMAPOOL_NAME_BYTES];
    uint32_t pool;
    uint64_t slot_bytes, flags;
    uint64_t low_watermark; /* of the pool, as in its options */
    uint32_t sleepers_max;
    unsigned first; /* number of arenas[0] in the pool */
    struct np_plan plan; /* its arenas are numbers first, first + 1, ... */
    struct np_maker_arena arenas[NP_ARENAS_MAX];
    int nodes_before[NP_ARENAS_MAX]; /* of the `first` arenas that there are already */
    char moved[NP_PLAN_NOTE_BYTES]; /* what had to be made elsewhere than was planned, and why; "": nothing */
    /* Lists as in struct numapool_options, and what they come to: names are looked up here, since that may take its time. */
    char access_text[sizeof((struct np_wire_pool *)0)->access];
    struct np_access access[NP_ACCESS_MAX];
    int result; /* 0, or -errno and why; nothing is left then */
    char sentence[NP_WIRE_SENTENCE_BYTES];
};

/* On the calling thread. work->result. */
int np_maker_make(struct np_maker_work *work);

/* Unmaps and closes what of it is still there. */
void np_maker_discard(struct np_maker_work *work);

struct np_maker {
    struct np_loop *loop;
    int event_fd;
    struct np_operation heard;
    void (*done)(void *context, struct np_maker_work *work);
    void *context;
    struct np_maker_work *work; /* NULL: idle */
    _Atomic int finished;       /* release by the thread, acquire by the worker: `work` is the worker's again */
};

/* `done` is called from np_loop_turn when work is finished. -errno: no eventfd. */
int np_maker_start(struct np_maker *maker, struct np_loop *loop, void (*done)(void *context, struct np_maker_work *work), void *context);

/* Another thread makes it; *work stays where it is until `done`. -EAGAIN: busy, or no thread to be had. */
int np_maker_begin(struct np_maker *maker, struct np_maker_work *work);

#endif
