/* SPDX-License-Identifier: MIT
 *
 * Sending. A send is: room (L2), payload (the caller's), cell, word SENT, announcement, tail, a look at the sleeper's flag. */
#include <errno.h>

#include "channel/sender.h"
#include "core/error.h"

#define CELLS_AHEAD 8u

static const char full_sentence[] = "every lane of this sender is full: its receivers have not released what they were sent";

static uint32_t room_on(struct numapool_sender *sender, struct np_sender_lane *lane)
{
    uint64_t used = lane->head - lane->recycled;
    if (__builtin_expect(used > lane->mask || lane->head >= lane->take_back_at, 0)) {
        if (NP_MUTANT(ROOM_BY_RELEASED)) {
            used = lane->head - np_load64(&lane->shared->released, memory_order_acquire);
            return used > lane->mask ? 0 : (uint32_t)(lane->mask + 1 - used);
        }
        np_sender_take_back(sender, lane);
        if (lane->head - lane->recycled > lane->mask)
            np_sender_spill(sender, lane, 0);
        used = lane->head - lane->recycled;
    }
    return (uint32_t)(lane->mask + 1 - used);
}

/* The next lane in turn that has room, or NULL. */
static struct np_sender_lane *pick_lane(struct numapool_sender *sender, uint32_t *room)
{
    for (unsigned tried = 0; tried < sender->lane_count; tried++) {
        if (++sender->turn >= sender->lane_count)
            sender->turn = 0;
        struct np_sender_lane *lane = &sender->lanes[sender->turn];
        if (lane->state == NP_LANE_ACTIVE && (*room = room_on(sender, lane)) > 0)
            return lane;
    }
    return NULL;
}

/* ---------------------------------------------------------------- sending */

/* Fills the cell of a message and, that done, stores its word: here it is sent. */
static inline void fill_and_store(struct np_cell *cell, struct np_sent *sent, uint32_t lane, uint64_t position,
                                  const struct numapool_msg *message, uint64_t arena, uint32_t slot, np_shm64 *address, unsigned gen)
{
    const uint64_t as_sent = np_word_sent(lane, position, gen);
    if (NP_MUTANT(WORD_BEFORE_CELL))
        np_store64(address, as_sent, memory_order_release);
    /* relaxed: all before the word, by its release (L1) */
    np_store64(&cell->what, np_cell_what(message->length, (unsigned)arena, 0, message->type), memory_order_relaxed);
    np_store64(&cell->id, message->id, memory_order_relaxed);
    np_store64(&cell->key, message->key, memory_order_relaxed);
    np_store64(&cell->where, np_cell_where_unannounced(position, slot), memory_order_relaxed);
    sent->slot = message->data;
    sent->word = address;
    /* release: pairs with the scavenger's and the hand-over's acquire load of the word */
    np_store64(address, as_sent, memory_order_release);
}

/* Sends one message of any kind: from any node, of any stride, of any claim. */
static bool send_any(struct numapool_sender *sender, struct np_sender_lane *lane, const struct numapool_msg *message, uint64_t claim,
                     uint64_t position)
{
    struct numapool_pool *pool = sender->endpoint.pool;
    uint64_t index;
    struct np_pool_arena *pa = np_pool_locate(pool, message->data, &index);
    if (!pa) {
        np_error(-EINVAL, "%p is not the beginning of a slot of pool '%s': it was not sent", message->data, pool->name);
        return false;
    }
    if (message->length > pa->arena.slot_bytes) {
        np_error(-EINVAL, "a message of %u bytes does not fit a slot of %llu of pool '%s'", message->length,
                 (unsigned long long)pa->arena.slot_bytes, pool->name);
        return false;
    }
    np_shm64 *address = &pa->arena.words[index];
    uint64_t word = np_load64(address, memory_order_relaxed); /* relaxed: the claim is ours or it is refused */
    if (np_word_claim(word) != claim) {
        np_error(-EINVAL, "slot %llu of node %d of pool '%s' is not this process's to send: it was put, sent or never taken here",
                 (unsigned long long)index, pa->arena.node, pool->name);
        return false;
    }
    fill_and_store(&lane->cells[position & lane->mask], &lane->sent[position & lane->mask], lane->id, position, message, pa->arena.index,
                   (uint32_t)index, address, np_word_gen(word));
    return true;
}

/* Sends of the common kind: slots that this process holds, of the magazine's node, of a stride that is a power of two.
 * Stops at the first that is of another kind; how many were sent. */
static inline unsigned send_common(struct numapool_sender *sender, const struct np_sender_lane *lane, const struct numapool_msg *messages,
                                   unsigned n)
{
    const struct np_arena *home = &sender->endpoint.pool->arenas[sender->arena].arena;
    /* In locals, for a store to a word might be one to any of these for all that the compiler knows. */
    struct np_cell *const cells = lane->cells;
    struct np_sent *const sent = lane->sent;
    const uint64_t mask = lane->mask;
    const uint32_t id = lane->id;
    const uintptr_t base = (uintptr_t)home->data;
    const uint64_t slots = home->slots, slot_bytes = home->slot_bytes, arena = home->index;
    const uint64_t held = np_word_held(sender->endpoint.pool->client, 0);
    const unsigned shift = home->stride_shift;
    np_shm64 *const words = home->words;
    const struct numapool_msg *message = messages, *const end = messages + (shift ? n : 0);
    for (uint64_t position = lane->head; message < end; message++, position++) {
        uint64_t offset = (uintptr_t)message->data - base;
        uint64_t index = offset >> shift | offset << (64 - shift); /* beyond all slots unless it is a slot's beginning */
        if (__builtin_expect((index >= slots) | (message->length > slot_bytes), 0))
            break;
        uint64_t gen = np_load64(&words[index], memory_order_relaxed) ^ held; /* relaxed: the claim is ours or it is refused */
        if (__builtin_expect(gen > NP_WORD_GEN_MASK, 0))
            break;
        fill_and_store(&cells[position & mask], &sent[position & mask], id, position, message, arena, (uint32_t)index, &words[index],
                       (unsigned)gen);
    }
    return (unsigned)(message - messages);
}

/* Sends up to n on one lane that has room for them. claims[i], or HELD by this client where claims is NULL. */
static int send_run(struct numapool_sender *sender, struct np_sender_lane *lane, const struct numapool_msg *messages,
                    const uint64_t *claims, unsigned n)
{
    const uint64_t held = np_word_held(sender->endpoint.pool->client, 0), first = lane->head, mask = lane->mask;
    struct np_cell *const cells = lane->cells;
    unsigned sent = claims ? 0 : send_common(sender, lane, messages, n);
    while (__builtin_expect(sent < n, 0) && send_any(sender, lane, &messages[sent], claims ? claims[sent] : held, first + sent))
        sent++;
    if (__builtin_expect(sent == 0, 0))
        return -EINVAL;
    /* release: pairs with the receiver's acquire of the announcement. Last first (L5). */
    for (uint64_t position = first + sent; position-- > first;) {
        np_shm64 *where = &cells[position & mask].where;
        uint32_t slot = np_cell_slot(np_load64(where, memory_order_relaxed)); /* relaxed: our own store */
        np_store64(where, np_cell_where(position, slot), memory_order_release);
    }
    for (unsigned i = 0; i < sent; i += 2) /* two cells a line */
        np_prefetch_write(&cells[(first + sent + CELLS_AHEAD + i) & mask]);
    lane->head = first + sent;
    np_store64(&lane->shared->tail, lane->head, memory_order_release); /* for who counts */
    np_endpoint_wake(&sender->endpoint, &lane->shared->receiver_sleeps, &lane->shared->receiver_bell,
                     &lane->shared->receiver_ring);
    return (int)sent;
}

/* Nothing has room: waits until something has. 0: look again. */
static int wait_for_room(struct numapool_sender *sender, struct np_waiting *waiting)
{
    uint32_t room;
    if (np_waiting_spins(waiting)) {
        np_pause();
        return 0;
    }
    np_waiting_arm(&sender->endpoint);
    np_sender_raise_flags(sender, sender->endpoint.bell_id, &sender->endpoint.sleep);
    np_waiting_fence(waiting);
    int result = 0;
    bool again = np_endpoint_has_news(&sender->endpoint) && np_endpoint_may_ask(&sender->endpoint);
    if (!NP_MUTANT(SLEEP_NO_SECOND_LOOK) && !again)
        again = pick_lane(sender, &room) != NULL;
    if (!again)
        result = np_waiting_sleep(waiting, &sender->endpoint);
    np_sender_lower_flags(sender);
    np_sender_take_back_all(sender); /* lanes that are only to be drained have been released on too */
    return result;
}

int np_sender_send(struct numapool_sender *sender, const struct numapool_msg *messages, const uint64_t *claims, unsigned n,
                   int64_t timeout_ns)
{
    struct np_waiting waiting;
    bool waits = false;
    unsigned done = 0;
    while (done < n) {
        uint32_t room;
        if (np_endpoint_has_news(&sender->endpoint) || __builtin_expect(sender->endpoint.asked_in_vain, 0))
            np_sender_sync(sender); /* when it cannot be answered now, the lanes that are known will do */
        struct np_sender_lane *lane = pick_lane(sender, &room);
        if (__builtin_expect(lane != NULL, 1)) {
            unsigned some = n - done < room ? n - done : room;
            int result = send_run(sender, lane, messages + done, claims ? claims + done : NULL, some);
            if (result < 0)
                return done > 0 ? (int)done : result;
            done += (unsigned)result;
            if ((unsigned)result < some)
                break;
            continue;
        }
        if (timeout_ns == 0)
            return done > 0 ? (int)done : np_error_static(-EAGAIN, full_sentence);
        if (!waits)
            np_waiting_begin(&waiting, sender->endpoint.spin_ns, timeout_ns);
        waits = true;
        if (wait_for_room(sender, &waiting) == -ETIMEDOUT)
            return done > 0 ? (int)done : np_error_static(-ETIMEDOUT, full_sentence);
    }
    return (int)done;
}

int numapool_send_bulk(struct numapool_sender *sender, const struct numapool_msg *messages, unsigned n, int64_t timeout_ns)
{
    if (!np_sender_is_live(sender))
        return -EINVAL;
    if (n == 0 || n > NP_LANE_SLOTS_MAX || timeout_ns < 0)
        return np_error(-EINVAL, "send_bulk of %u messages with timeout %lld: 1 to %u, and 0 or more", n, (long long)timeout_ns,
                        NP_LANE_SLOTS_MAX);
    return np_sender_send(sender, messages, NULL, n, timeout_ns);
}

int numapool_send(struct numapool_sender *sender, const struct numapool_msg *message, int64_t timeout_ns)
{
    int result = numapool_send_bulk(sender, message, 1, timeout_ns);
    return result < 0 ? result : 0;
}
