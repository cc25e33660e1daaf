/* SPDX-License-Identifier: MIT
 *
 * Where the pages of an arena are: of its words, its payload, and the pool's lanes whose memory was asked for on its node.
 * The worker has no page tables over payload, and building them takes a second for each few gigabytes: so it maps, asks
 * about and unmaps a slice at a time, and does its other work in between. Nothing is read or written in a slice.
 */
#ifndef NP_DAEMON_LOOK_H
#define NP_DAEMON_LOOK_H

#include <stdbool.h>
#include <stdint.h>

#include "broker/board.h"
#include "daemon/store.h"
#include "numa/where.h"

struct np_worker;

enum np_look_piece { NP_LOOK_WORDS, NP_LOOK_PAYLOAD, NP_LOOK_LANES, NP_LOOK_PIECES };

/* A part of one file. */
struct np_look_slice {
    struct np_store_key key;
    uint64_t offset, bytes;
    uint64_t elsewhere; /* pages of it that are not where they should be */
};

struct np_look {
    uint32_t pool;
    unsigned arena;
    enum np_look_piece piece;
    uint32_t lane;     /* LANES: this one, or the next that is one of them */
    uint64_t offset;   /* in words, payload, lane */
    struct np_where where[NP_LOOK_PIECES];
    uint64_t lanes;    /* that were looked at */
    struct np_look_slice last;
    struct np_where before; /* what the last slice's piece had been counted to */
};

enum np_look_progress { NP_LOOK_FINISHED = 0, NP_LOOK_GOES_ON = 1 };

void np_look_begin(struct np_look *look, uint32_t pool, unsigned arena);
/* Looks at the next slice. enum np_look_progress, or -errno: it cannot be told. The pool is there. */
int np_look_next(struct np_worker *worker, struct np_look *look);
/* The last slice is looked at again next, and is not counted twice. */
void np_look_again(struct np_look *look);

/* Pages that are not where they should be, of all pieces. */
uint64_t np_look_elsewhere(const struct np_look *look);
/* Those of payload, node by node: most first, in `list`; those beyond `capacity` nodes with the last. How many. */
unsigned np_look_list(const struct np_look *look, struct np_whereabouts *list, unsigned capacity);

/* The machine's node where the arena's pages should be; -1: anywhere. */
int np_look_node(const struct np_pool_entry *entry, unsigned arena);

/* Puts what a finished look found on the board, for who looks at that. */
void np_look_publish(struct np_worker *worker, const struct np_look *look);
/* The arena's state, and one line in the log when it is another than it was. `why`: half a sentence for STUCK, or NULL. */
void np_look_set_state(struct np_worker *worker, uint32_t pool, unsigned arena, enum np_place_state state,
                       uint64_t elsewhere, const char *why);

#endif
