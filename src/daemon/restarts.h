/* SPDX-License-Identifier: MIT
 *
 * How soon the keeper starts another worker after one has ended, and when it gives up.
 *
 *   ended after it was ready    another at once, as long as that does not happen again and again: NP_RESTARTS_AT_ONCE in a row,
 *                               then one for each NP_RESTARTS_EACH_NS
 *   ended before it was ready   another after a pause that doubles; where none was ever ready, and so nobody has anything of
 *                               this daemon yet, NP_RESTARTS_TRIES_MAX of them are enough to say that it cannot be started
 *
 * With clients there is no giving up: they hold memory that only a worker of this keeper can give back.
 */
#ifndef NP_DAEMON_RESTARTS_H
#define NP_DAEMON_RESTARTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NP_RESTARTS_EACH_NS       INT64_C(50000000)
#define NP_RESTARTS_PAUSE_NS      INT64_C(10000000)
#define NP_RESTARTS_PAUSE_MOST_NS INT64_C(200000000) /* well below the 2 s that a client's call waits for a worker */

enum { NP_RESTARTS_AT_ONCE = 32, NP_RESTARTS_TRIES_MAX = 5 };

struct np_restarts {
    bool is_ready;        /* the present worker, or the last one, was */
    bool may_have_clients; /* some worker was: there is no giving up any more */
    unsigned failed;      /* how many in a row ended before they were ready */
    int64_t credit_ns;    /* spent by restarts at once, earned back by time */
    int64_t earned_at_ns; /* when that was last reckoned; 0: never */
};

void np_restarts_born(struct np_restarts *restarts);
void np_restarts_ready(struct np_restarts *restarts);
/* A worker has ended, or could not be started. Nanoseconds until the next is to be started; -1: give up. */
int64_t np_restarts_after(struct np_restarts *restarts, int64_t now_ns);

/* The exit status for who gives up, and a sentence that says why: `how` is what waitpid said of the last worker, or -1 where
 * there was none. */
int np_restarts_give_up(const struct np_restarts *restarts, int how, char *sentence, size_t bytes);

#endif
