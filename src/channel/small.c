/* SPDX-License-Identifier: MIT */
#include "channel/small.h"

#include <errno.h>
#include <string.h>

#include "core/error.h"

#define CELLS_AHEAD 4u

/* ---------------------------------------------------------------- the cell */

static inline uint64_t where_of(uint64_t position, uint32_t length, unsigned flags, uint16_t type)
{
    return (uint32_t)(position + 1) | (uint64_t)length << 32 | (uint64_t)(flags & 0xff) << 40 | (uint64_t)type << 48;
}

/* Fewer than 8 bytes as a word, by pieces: nothing beyond them is read. */
static inline uint64_t last_word(const char *from, unsigned bytes)
{
    char word[8] = { 0 };
    unsigned at = 0;
    uint64_t value;
    if (bytes & 4) {
        memcpy(word, from, 4);
        at = 4;
    }
    if (bytes & 2) {
        memcpy(word + at, from + at, 2);
        at += 2;
    }
    if (bytes & 1)
        word[at] = from[at];
    memcpy(&value, word, sizeof value);
    return value;
}

/* ---------------------------------------------------------------- sending */

/* Everything of the cell but its announcement. */
static inline void fill(struct np_small_cell *cell, const struct numapool_msg *message, uint64_t key)
{
    const char *from = message->data;
    unsigned length = message->length, words = length / 8;
    uint64_t word;
    for (unsigned i = 0; i < words; i++) { /* relaxed, all of these: before the announcement, by its release (M1) */
        memcpy(&word, from + i * sizeof word, sizeof word);
        np_store64(&cell->data[i], word, memory_order_relaxed);
    }
    if (length % 8 != 0)
        np_store64(&cell->data[words], last_word(from + words * sizeof word, length % 8), memory_order_relaxed);
    if (length <= NP_SMALL_KEY_BYTES)
        np_store64(&cell->data[NP_SMALL_WORDS - 1], key, memory_order_relaxed);
    np_store64(&cell->id, message->id, memory_order_relaxed);
}

static void refuse(const struct numapool_sender *sender, const struct numapool_msg *message, unsigned cell_flags)
{
    if (cell_flags & NP_CELL_DIRECTED)
        np_error(-EINVAL, "a message of %u bytes at %p to one receiver alone: on a channel for small messages of pool '%s' it has at most %u, "
                 "beside the address", message->length, message->data, sender->endpoint.pool->name, NP_SMALL_KEY_BYTES);
    else
        np_error(-EINVAL, "a message of %u bytes at %p: a channel for small messages of pool '%s' carries at most %u",
                 message->length, message->data, sender->endpoint.pool->name, NUMAPOOL_SMALL_BYTES);
}

int np_small_send_run(struct numapool_sender *sender, struct np_sender_lane *lane, const struct numapool_msg *messages, unsigned n,
                      unsigned cell_flags, uint64_t address)
{
    struct np_small_cell *const cells = np_small_cells(lane->shared);
    const uint64_t first = lane->head, mask = lane->mask;
    const unsigned keyed = cell_flags == 0 ? 0 : NUMAPOOL_KEYED;
    const uint32_t most = cell_flags == NP_CELL_DIRECTED ? NP_SMALL_KEY_BYTES : NUMAPOOL_SMALL_BYTES;
    unsigned sent = 0;
    for (; sent < n; sent++) {
        const struct numapool_msg *message = &messages[sent];
        if (cell_flags != NP_CELL_DIRECTED && (message->flags & NUMAPOOL_KEYED) != keyed)
            break;
        if (__builtin_expect(message->length > most || (!message->data && message->length > 0), 0)) {
            refuse(sender, message, cell_flags);
            break;
        }
        fill(&cells[(first + sent) & mask], message, cell_flags == NP_CELL_DIRECTED ? address : message->key);
    }
    if (__builtin_expect(sent == 0, 0))
        return -EINVAL;
    for (uint64_t position = first + sent; position-- > first;) {
        const struct numapool_msg *message = &messages[position - first];
        /* release: pairs with the receiver's acquire of the announcement. Last first (L5). */
        np_store64(&cells[position & mask].where, where_of(position, message->length, cell_flags, message->type), memory_order_release);
    }
    for (unsigned i = 0; i < sent; i++)
        np_prefetch_write(&cells[(first + sent + CELLS_AHEAD + i) & mask]);
    lane->head = first + sent;
    np_store64(&lane->shared->tail, lane->head, memory_order_release); /* for who counts */
    np_endpoint_wake(&sender->endpoint, &lane->shared->receiver_sleeps, &lane->shared->receiver_bell, &lane->shared->receiver_ring);
    return (int)sent;
}

void np_small_take_back(struct np_sender_lane *lane)
{
    uint64_t released = np_load64(&lane->shared->released, memory_order_acquire); /* pairs with the receiver's release store */
    lane->take_back_at = UINT64_MAX; /* room is looked for when there seems to be none */
    if (NP_MUTANT(SMALL_ROOM_IGNORED))
        released = lane->head;
    if (released - lane->released > lane->head - lane->released)
        return; /* scribbled: nobody can release what was not sent */
    lane->released = lane->recycled = released;
}

/* ---------------------------------------------------------------- receiving */

static inline void describe(struct numapool_msg *message, const struct np_small_cell *cell, uint64_t where, uint64_t position,
                            uint64_t redelivered_until, uint32_t place)
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

unsigned np_small_take(const struct np_receiver_lane *lane, unsigned place, struct numapool_msg *messages, unsigned n)
{
    /* In locals, for a store to a message might be one to any of these for all that the compiler knows. */
    const struct np_small_cell *const cells = np_small_cells(lane->shared);
    const uint64_t mask = lane->mask, redelivered_until = lane->redelivered_until;
    uint64_t position = lane->head;
    struct numapool_msg *message = messages, *const end = messages + n;
    for (; message < end; message++, position++) {
        const struct np_small_cell *cell = &cells[position & mask];
        uint64_t where = np_load64(&cell->where, memory_order_acquire); /* pairs with the sender's announcement */
        if (!np_cell_is_announced(where, position))
            break;
        if (__builtin_expect((np_small_flags(where) & ~NP_CELL_KEYED) != 0 || np_small_length(where) > NUMAPOOL_SMALL_BYTES, 0))
            break;
        describe(message, cell, where, position, redelivered_until, place);
    }
    return (unsigned)(message - messages);
}

unsigned np_small_poll(struct numapool_receiver *receiver, unsigned place, struct numapool_msg *messages, unsigned n, bool first,
                       bool *scribbled)
{
    struct np_receiver_lane *lane = &receiver->lanes[place];
    unsigned got = 0;
    for (uint64_t limit; got < n && lane->head < (limit = lane->done + lane->mask + 1);) {
        unsigned some = limit - lane->head < n - got ? (unsigned)(limit - lane->head) : n - got;
        unsigned more = np_small_take(lane, place, messages + got, some);
        got += more;
        lane->head += more;
        if (more == some)
            continue;
        const struct np_small_cell *cell = &np_small_cells(lane->shared)[lane->head & lane->mask];
        uint64_t where = np_load64(&cell->where, memory_order_acquire); /* pairs with the sender's announcement */
        if (!np_cell_is_announced(where, lane->head))
            break;
        uint32_t length = np_small_length(where);
        if (np_small_flags(where) == NP_CELL_DIRECTED && length <= NP_SMALL_KEY_BYTES) {
            uint64_t address = np_load64(&cell->data[NP_SMALL_WORDS - 1], memory_order_relaxed); /* relaxed: ordered by the acquire of where */
            if (address == np_receiver_address(receiver))
                describe(&messages[got++], cell, where, lane->head++, lane->redelivered_until, place);
            else
                np_receiver_finish(lane, lane->head++); /* to somebody else, who is gone: the lane was his */
            continue;
        }
        if ((np_small_flags(where) & ~NP_CELL_KEYED) == 0 && length <= NUMAPOOL_SMALL_BYTES)
            continue; /* announced since np_small_take looked */
        *scribbled = true;
        if (!first || got > 0)
            break;
        np_receiver_finish(lane, lane->head++);
        np_error(-EBADMSG, "lane %u: the cell of small message %llu says that it has %u bytes and flags %x: its sender scribbled; the message was "
                 "passed over", lane->id, (unsigned long long)(lane->head - 1), length, np_small_flags(where));
        break;
    }
    if (got == 0)
        np_receiver_publish(receiver, lane); /* what was only passed over */
    return got;
}

/* ---------------------------------------------------------------- repairs */

void np_small_roll_forward(struct np_lane_shared *lane, uint32_t capacity, uint64_t stamp)
{
    uint64_t released = np_load64(&lane->released, memory_order_acquire);
    uint64_t until = np_lane_announced_until(lane, capacity, NP_LANE_SMALL, released, released + capacity);
    np_lane_orphan(lane, capacity, until, stamp); /* what is announced beyond a gap was never sent (M1) */
}

unsigned np_small_prepare_handover(struct np_lane_shared *lane, uint32_t capacity)
{
    uint64_t released = np_load64(&lane->released, memory_order_acquire);
    uint64_t until = np_lane_announced_until(lane, capacity, NP_LANE_SMALL, released, released + capacity);
    if (until > np_load64(&lane->redelivered_until, memory_order_relaxed) && !NP_MUTANT(SMALL_NO_REDELIVERED)) /* relaxed: one writer */
        np_store64(&lane->redelivered_until, until, memory_order_release);
    return (unsigned)(until - released);
}

void np_small_orphan_duty(struct np_lane_shared *lane)
{
    if (!NP_MUTANT(NO_ORPHAN_DUTY))
        np_store64(&lane->reclaimed, np_lane_released_until(lane), memory_order_release);
}
