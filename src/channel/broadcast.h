/* SPDX-License-Identifier: MIT
 *
 * Broadcasting: one slot, many lanes.
 *
 * Each receiver has its own lane from each sender, as always; besides them a broadcasting sender has a home, a lane
 * without cells, whose positions number all that it sends. A slot that is broadcast says SHARED(home, q). On a lane that
 * was there from home position `start` - 1 on, message q is at position q - (start - 1). Who has it still is said by the
 * lanes: a receiver has q until its `released` is beyond that position, or it is gone (its lane is CLOSED).
 *
 * Invariants
 *   B1  A message is sent to all at the instant its slot's word says SHARED(home, q). Its cells on all lanes, and their
 *       `start`, are complete before that.
 *   B2  Its cells are announced after that, lane by lane, on each lane the last of a batch first (L5).
 *   B3  The slot changes hands no more (no keep, no forward), but comes home: the sender takes q back, in order, once no
 *       lane has it; when the sender is gone, the broker does, once every lane of it has been rolled forward.
 *   B4  Cells are written again only after their words were taken back (L2): all lanes of a home have the home's
 *       capacity.
 */
#ifndef NP_CHANNEL_BROADCAST_H
#define NP_CHANNEL_BROADCAST_H

#include "channel/sender.h"

#define NP_BROADCAST_RECEIVERS_MAX 64u

/* The home of a sender that broadcasts. */
static inline struct np_sender_lane *np_broadcast_home(struct numapool_sender *sender)
{
    return &sender->lanes[0];
}

/* As np_sender_send. -EAGAIN also when a receiver has joined or left and the daemon does not say which: nothing is sent
 * past it. */
int np_broadcast_send(struct numapool_sender *sender, const struct numapool_msg *messages, const uint64_t *claims, unsigned n,
                      int64_t timeout_ns);

/* Re-marks what no receiver has any more; how many slots came back. */
unsigned np_broadcast_take_back(struct numapool_sender *sender);

/* ---- repairs, as those of lane.h */

/* The home position that 0 is on the lane; false: nothing was sent on it. */
bool np_broadcast_start(struct np_lane_shared *lane, uint64_t *start);

/* The sender is dead: announces what is SHARED by `home` and not announced here; sets tail; state ORPHAN. How many. */
unsigned np_broadcast_roll_forward(struct np_lane_shared *lane, uint32_t home, uint32_t capacity, const struct np_lane_pool *pool,
                                   uint64_t stamp);

/* Orphan, rolled forward: whether its receiver, who is there, has the message of whose home position these are
 * the low 28 bits. */
bool np_broadcast_has(struct np_lane_shared *lane, uint32_t capacity, uint64_t seq);

#endif
