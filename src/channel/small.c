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

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the last bytes of a message are the low ones of its last word");

/* The last bytes of a message, fewer than 8, as a word. Nothing beyond them is read: what comes before them is, if there is
 * enough. */
static inline uint64_t last_word(const char *from, unsigned length)
{
    const unsigned bytes = length % 8;
    uint64_t value = 0;
    if (length >= 8) {
        memcpy(&value, from + length - 8, 8);
        return value >> (8 - bytes) * 8;
    }
    for (unsigned i = 0; i < bytes; i++)
        value |= (uint64_t)(unsigned char)from[i] << i * 8;
    return value;
}

/* ---------------------------------------------------------------- sending */

static inline void copy_word(struct np_small_cell *cell, const char *from, unsigned which)
{
    uint64_t word;
    memcpy(&word, from + which * sizeof word, sizeof word);
    np_store64(&cell->data[which], word, memory_order_relaxed); /* relaxed: before the announcement, by its release (M1) */
}

/* Apart, so that what is sent in whole words keeps to few registers. */
static __attribute__((noinline)) void store_last_word(struct np_small_cell *cell, const char *from, unsigned length)
{
    np_store64(&cell->data[length / 8], last_word(from, length), memory_order_relaxed); /* relaxed: as in copy_word */
}

/* Everything of the cell but its announcement. */
static inline __attribute__((always_inline)) void fill(struct np_small_cell *cell, const struct numapool_msg *message, uint64_t key)
{
    const char *from = message->data;
    const unsigned length = message->length;
    _Static_assert(NP_SMALL_WORDS == 6, "each word has a line here");
    switch (length / 8) { /* from there on down: a loop would count */
    case 6: copy_word(cell, from, 5); /* fall through */
    case 5: copy_word(cell, from, 4); /* fall through */
    case 4: copy_word(cell, from, 3); /* fall through */
    case 3: copy_word(cell, from, 2); /* fall through */
    case 2: copy_word(cell, from, 1); /* fall through */
    case 1: copy_word(cell, from, 0); break;
    default: break;
    }
    if (__builtin_expect(length % 8 != 0, 0))
        store_last_word(cell, from, length);
    /* relaxed, both: as in copy_word */
    if (length <= NP_SMALL_KEY_BYTES)
        np_store64(&cell->data[NP_SMALL_WORDS - 1], key, memory_order_relaxed);
    np_store64(&cell->id, message->id, memory_order_relaxed);
}

/* Of messages up to `next`, which are announced: the rest of sending them. */
static inline __attribute__((always_inline)) void finish(struct numapool_sender *sender, struct np_sender_lane *lane, uint64_t next)
{
    struct np_lane_shared *const shared = lane->shared;
    lane->head = next;
    np_store64(&shared->tail, next, memory_order_release); /* for who counts */
    np_endpoint_wake(&sender->endpoint, &shared->receiver_sleeps, &shared->receiver_bell, &shared->receiver_ring);
}

static __attribute__((noinline)) bool make_room(struct numapool_sender *sender)
{
    return np_sender_room(sender, sender->small) > 0;
}

bool np_small_is_ready(struct numapool_sender *sender)
{
    return !np_endpoint_has_news(&sender->endpoint) && !sender->endpoint.asked_in_vain &&
           (sender->small->head < sender->small->room_until || make_room(sender));
}

bool np_small_send_one(struct numapool_sender *sender, const struct numapool_msg *message)
{
    struct np_sender_lane *const lane = sender->small;
    if (__builtin_expect(!np_small_is_ready(sender), 0))
        return false;
    struct np_small_cell *const cells = np_small_cells(lane->shared);
    const uint64_t position = lane->head, mask = lane->mask;
    struct np_small_cell *const cell = &cells[position & mask];
    if (__builtin_expect((message->length > NUMAPOOL_SMALL_BYTES) | ((message->flags & NUMAPOOL_KEYED) != 0) |
                         ((message->data == NULL) & (message->length > 0)), 0))
        return false;
    fill(cell, message, message->key);
    /* release: pairs with the receiver's acquire of the announcement */
    np_store64(&cell->where, where_of(position, message->length, 0, message->type), memory_order_release);
    np_prefetch_write(&cells[(position + 1 + CELLS_AHEAD) & mask]);
    finish(sender, lane, position + 1);
    return true;
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
        struct np_small_cell *cell = &cells[(first + sent) & mask];
        if (cell_flags != NP_CELL_DIRECTED && (message->flags & NUMAPOOL_KEYED) != keyed)
            break;
        if (__builtin_expect(message->length > most || (!message->data && message->length > 0), 0)) {
            refuse(sender, message, cell_flags);
            break;
        }
        fill(cell, message, cell_flags == NP_CELL_DIRECTED ? address : message->key);
        np_prefetch_write(&cells[(first + n + CELLS_AHEAD + sent) & mask]);
        if (sent > 0) /* release: pairs with the receiver's acquire, should it look here before it has seen the first (it does not) */
            np_store64(&cell->where, where_of(first + sent, message->length, cell_flags, message->type), memory_order_release);
    }
    if (__builtin_expect(sent == 0, 0))
        return -EINVAL;
    /* The first one last, and with it the others (M1). release: pairs with the receiver's acquire of the announcement. */
    np_store64(&cells[first & mask].where, where_of(first, messages->length, cell_flags, messages->type), memory_order_release);
    finish(sender, lane, first + sent);
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

unsigned np_small_take(const struct np_receiver_lane *lane, unsigned place, struct numapool_msg *messages, unsigned n)
{
    /* In locals, for a store to a message might be one to any of these for all that the compiler knows. */
    const struct np_small_cell *const cells = np_small_cells(lane->shared);
    const uint64_t mask = lane->mask, redelivered_until = lane->redelivered_until;
    uint64_t position = lane->head;
    struct numapool_msg *message = messages, *const end = messages + n;
    while (message < end && np_small_take_one(&cells[position & mask], position, redelivered_until, place, message)) {
        message++;
        position++;
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
                np_small_describe(&messages[got++], cell, where, lane->head++, lane->redelivered_until, place);
            else
                np_receiver_finish(lane, lane->head++); /* to somebody else, who is gone: the lane was his */
            continue;
        }
        if (np_small_is_common(where))
            continue; /* announced since np_small_take looked */
        *scribbled = true;
        if (!first || got > 0)
            break;
        np_receiver_finish(lane, lane->head++);
        np_error(-EBADMSG, "lane %u: the cell of small message %llu says that it has %u bytes and flags %x: its sender scribbled; the message was "
                 "passed over", lane->id, (unsigned long long)(lane->head - 1), length, np_small_flags(where));
        break;
    }
    np_receiver_publish(receiver, lane); /* what was passed over: who holds what follows may not look at this lane again */
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
