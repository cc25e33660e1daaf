/* SPDX-License-Identifier: MIT
 *
 * Lanes for small messages: the cell carries the message itself, and there is no slot and no word.
 *
 * A cell is one line of 64 bytes: `where` (position + 1 in its low half; length, flags and type in its high half), id,
 * and 48 bytes of data. A message of at most 40 bytes leaves the last word to its key.
 *
 * Invariants
 *   M1  A message is sent at the instant its cell is announced, a batch when its first cell is, which is announced last
 *       (L5).
 *   M2  Cell s + capacity is written only after `released` has passed s: the receiver's pointers into cell s are good
 *       until then.
 *   M3  Nothing is to be taken back: no word names the lane, and a death leaves a run of announced cells and nothing
 *       else.
 */
#ifndef NP_CHANNEL_SMALL_H
#define NP_CHANNEL_SMALL_H

#include "channel/receiver.h"
#include "channel/sender.h"

/* Bytes of a message beyond which its key is not carried. */
#define NP_SMALL_KEY_BYTES (NUMAPOOL_SMALL_BYTES - 8)

/* What a cell's `where` says of the message's length, which may be too much. */
static inline uint32_t np_small_length(uint64_t where)
{
    return (uint32_t)(where >> 32 & 0xff);
}

/* Sends up to n on one lane that has room for them, as long as they are of the kind of cell_flags: 0, KEYED, or DIRECTED,
 * one message whose key becomes `address`. How many; -EINVAL with the sentence: not even the first. */
int np_small_send_run(struct numapool_sender *sender, struct np_sender_lane *lane, const struct numapool_msg *messages, unsigned n,
                      unsigned cell_flags, uint64_t address);

/* Looks how far the receiver has released (M2). */
void np_small_take_back(struct np_sender_lane *lane);

/* The common kind: addressed to nobody alone. Stops at the first that is not there or of another kind; how many. */
unsigned np_small_take(const struct np_receiver_lane *lane, unsigned place, struct numapool_msg *messages, unsigned n);

/* As poll_lane of receive.c. */
unsigned np_small_poll(struct numapool_receiver *receiver, unsigned place, struct numapool_msg *messages, unsigned n, bool first,
                       bool *scribbled);

/* ---- repairs, as those of lane.h */
void np_small_roll_forward(struct np_lane_shared *lane, uint32_t capacity, uint64_t stamp);
unsigned np_small_prepare_handover(struct np_lane_shared *lane, uint32_t capacity);
void np_small_orphan_duty(struct np_lane_shared *lane);

#endif
