/* SPDX-License-Identifier: MIT
 *
 * The patrol: every `patrol` seconds the worker looks where all pages of all pools are, one slice after the other with
 * pauses between, and has the keeper bring back those that are not where they should be (mend.h).
 *
 *   RESTING -> LOOKING -> RESTING                      a round: the topology, then every arena of every pool
 *               |    ^
 *               v    |
 *              AWAITING                                a slice with pages that are elsewhere: until the keeper has
 *                                                      answered, or was waited for too long. Then the slice is looked
 *                                                      at again, and that is what counts
 *
 * States of an arena (np_place_state), on the board, by the worker alone:
 *   RIGHT      a look has found every page where it should be
 *   STRAYED    a look has found some that are not, and nothing has been tried yet, or it is being tried
 *   STUCK      it was tried, and some are still elsewhere. Tried again after 1, 2, 4 ... 64 rounds, and when
 *              somebody verifies
 *   NODE_GONE  its node is not there any more; nothing is tried. A node that comes back is one whose arena has strayed
 *   UNTOLD     the system does not answer where they are
 *
 * A worker that dies leaves the states as they are, and a look that nobody finishes. The next begins a round when it has
 * been there for a period, and tries at once what its predecessor had paused with. A keeper that dies in a move leaves some
 * pages moved and some not.
 */
#ifndef NP_DAEMON_PATROL_H
#define NP_DAEMON_PATROL_H

#include "broker/board.h"
#include "daemon/look.h"
#include "daemon/loop.h"

struct np_worker;

enum np_patrol_step { NP_PATROL_RESTING, NP_PATROL_LOOKING, NP_PATROL_AWAITING };

struct np_patrol {
    enum np_patrol_step step;
    struct np_timer timer;
    struct np_look look;
    int64_t period_ns;    /* 0: off */
    int64_t slice_ns;     /* how long the last slice took */
    uint64_t moved;       /* of this arena, in this round */
    bool begun;           /* this arena's look */
    bool looked_again;    /* at the last slice, after the keeper's answer */
    bool gave_up;         /* nothing more of this arena is tried in this round */
    int result;           /* why */
    bool hurry;           /* another round after this one, at once */
    struct {
        uint8_t failures, pause; /* rounds without a try */
    } of[NP_POOLS_MAX][NP_ARENAS_MAX];
};

void np_patrol_start(struct np_worker *worker);
/* What the keeper says became of a MEND. */
void np_patrol_mended(struct np_worker *worker, const struct np_record *record);
/* Somebody had an arena looked at: what was found counts, and if pages have strayed a round begins at once. */
void np_patrol_verified(struct np_worker *worker, const struct np_look *look);
/* The pool is being destroyed. */
void np_patrol_pool_gone(struct np_worker *worker, uint32_t pool);

#endif
