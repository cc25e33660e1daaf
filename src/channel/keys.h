/* SPDX-License-Identifier: MIT
 *
 * Keys of one sender: a key whose last message is unreleased stays on the lane of that message, so that the order of a key is the order of
 * one lane, or of a release before the next send. Private to the sender; what receivers see is NP_CELL_KEYED in the cell.
 *
 * Keys share buckets by a hash. A bucket is busy while its last message has not been taken back from its lane. A lane that the sender has
 * left had nothing unreleased on it.
 */
#ifndef NP_CHANNEL_KEYS_H
#define NP_CHANNEL_KEYS_H

#include "channel/sender.h"

#define NP_KEY_BUCKETS_LOG2 12u

/* Before the first keyed message. -ENOMEM. */
int np_keys_start(struct numapool_sender *sender);
void np_keys_end(struct numapool_sender *sender);

/* The lane on which the key has messages that are still unreleased after a look at what its receiver has released; NULL:
 * none, any lane will do. */
struct np_sender_lane *np_keys_lane(struct numapool_sender *sender, uint64_t key);

/* How many of the keyed messages at the front of these n may go on `lane` one after the other, without a look at other
 * lanes. The first may. */
unsigned np_keys_run(struct numapool_sender *sender, const struct np_sender_lane *lane, const struct numapool_msg *messages, unsigned n);

/* Notes that n keyed messages have been sent on `lane`, from position `first`. */
void np_keys_sent(struct numapool_sender *sender, const struct np_sender_lane *lane, const struct numapool_msg *messages, unsigned n,
                  uint64_t first);

#endif
