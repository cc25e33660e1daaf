/* SPDX-License-Identifier: MIT
 * What the parts of reconciling share: reconcile.c pairs senders and receivers by lanes, broadcast.c does it for channels
 * that broadcast. */
#ifndef NP_BROKER_RECONCILE_H
#define NP_BROKER_RECONCILE_H

#include "broker/broker.h"
#include "channel/broadcast.h"

/* The ends and lanes of a channel, as they were when reconciling began. A lane that has been ended since has no memory
 * any more. */
struct np_channel_ends {
    uint32_t *senders, *receivers, *lanes;
    unsigned sender_count, receiver_count, lane_count;
};

/* A lane of that kind, FORMING, then ACTIVE and told to both ends. 0 or -errno. */
int np_broker_make_lane(struct np_broker *broker, uint32_t channel, uint32_t sender, uint32_t receiver, uint32_t kind,
                        uint32_t home, uint32_t *made);
/* An orphan on which nothing is left, and that nobody needs any more. Its receiver may be there still, where it has a
 * mapping of its own: one that is stopped, or calls nothing for hours, would otherwise keep a lane for each sender that came
 * and went meanwhile. */
bool np_broker_lane_is_over(struct np_broker *broker, uint32_t lane);
/* The number may be used again, once no word names it. */
void np_broker_end_lane(struct np_broker *broker, uint32_t lane);
/* Makes B1 to B4 true of a channel that broadcasts (broadcast.c). */
int np_broker_reconcile_broadcast(struct np_broker *broker, uint32_t channel, const struct np_channel_ends *ends);

/* A receiver's end of a lane is gone, or leaves it: what is there is marked for the next, or counts as released. How many
 * will be received again. */
unsigned np_broker_receiver_off(struct np_broker *broker, uint32_t lane, uint32_t endpoint);

/* The state of a lane of which both board and memory are there. */
uint32_t np_broker_lane_state(struct np_broker *broker, uint32_t lane);

/* ---- broadcast.c */

/* 0, or -ENOSPC: the channel broadcasts and has as many receivers as it can have. */
int np_broker_broadcast_admits(struct np_broker *broker, uint32_t channel);
/* Every lane of the home has been rolled forward: the broker is its sender from now on, and frees what no receiver has. */
void np_broker_home_off(struct np_broker *broker, uint32_t home);
/* Orphan lane of an orphan home: frees what has been released since the last time and no other receiver has. How many
 * slots. */
unsigned np_broker_broadcast_duty(struct np_broker *broker, uint32_t lane);
/* Whether a lane, of whatever state, belongs to the home. */
bool np_broker_home_is_named(struct np_broker *broker, uint32_t home);
/* A lane whose memory was lost has ended: frees what was on it alone. */
void np_broker_broadcast_lost(struct np_broker *broker, uint32_t home);

#endif
