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

/* A length that fits, and no flag but KEYED, by one comparison: flags lie above the length. */
static inline bool np_small_is_common(uint64_t where)
{
    return (where >> 32 & (0xff | (0xff & ~NP_CELL_KEYED) << 8)) <= NUMAPOOL_SMALL_BYTES;
}

static inline __attribute__((always_inline)) void np_small_describe(struct numapool_msg *message, const struct np_small_cell *cell,
                                                                    uint64_t where, uint64_t position, uint64_t redelivered_until,
                                                                    uint32_t place)
{
    uint32_t length = np_small_length(where);
    message->data = (void *)(uintptr_t)cell->data;
    message->length = length;
    message->type = (uint16_t)(where >> 48);
    message->flags = (uint16_t)(NUMAPOOL_IN_CELL | (position < redelivered_until ? NUMAPOOL_REDELIVERED : 0) |
                                (np_small_flags(where) & NP_CELL_KEYED ? NUMAPOOL_KEYED : 0));
    message->id = np_load64(&cell->id, memory_order_relaxed); /* relaxed, both: ordered by the acquire of where */
    message->key = length <= NP_SMALL_KEY_BYTES ? np_load64(&cell->data[NP_SMALL_WORDS - 1], memory_order_relaxed) : 0;
    message->lane_seq = position;
    message->lane = place;
    message->reserved = 0;
}

/* Takes the message at `position` if it is of the common kind: directed to nobody. False: it is not there, or of another kind. */
static inline __attribute__((always_inline)) bool np_small_take_one(const struct np_small_cell *cell, uint64_t position,
                                                                    uint64_t redelivered_until, uint32_t place,
                                                                    struct numapool_msg *message)
{
    uint64_t where = np_load64(&cell->where, memory_order_acquire); /* pairs with the sender's announcement */
    if (!np_cell_is_announced(where, position) || __builtin_expect(!np_small_is_common(where), 0))
        return false;
    np_small_describe(message, cell, where, position, redelivered_until, place);
    return true;
}

/* Of a sender that has one lane, of small messages (sender->small): no news, no question open, and room. */
bool np_small_is_ready(struct numapool_sender *sender);
/* Sends one message that is neither keyed nor directed on sender->small, its only lane. False: there is more to be thought of. */
bool np_small_send_one(struct numapool_sender *sender, const struct numapool_msg *message);

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
