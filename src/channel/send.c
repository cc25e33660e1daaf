/* SPDX-License-Identifier: MIT
 *
 * Sending. A send is: room (L2), payload (the caller's), cell, word SENT, announcement, tail, a look at the sleeper's flag. */
#include <errno.h>

#include "channel/broadcast.h"
#include "channel/keys.h"
#include "channel/small.h"
#include "core/error.h"

#define CELLS_AHEAD 8u

static const char full_sentence[] = "every lane of this sender is full: its receivers have not released what they were sent";
static const char key_sentence[] = "earlier messages with this key, or one that shares a bucket with it, have to be released first: their lane is full or changes its receiver";
static const char directed_sentence[] = "the lane to this receiver is full, or not known at this moment";

/* The next lane in turn that has room, or NULL. */
static struct np_sender_lane *pick_lane(struct numapool_sender *sender, uint32_t *room)
{
    for (unsigned tried = 0; tried < sender->lane_count; tried++) {
        if (++sender->turn >= sender->lane_count)
            sender->turn = 0;
        struct np_sender_lane *lane = &sender->lanes[sender->turn];
        if (lane->state == NP_LANE_ACTIVE && (*room = np_sender_room(sender, lane)) > 0)
            return lane;
    }
    return NULL;
}

/* The lane that this keyed message may go on, or NULL: there is none now. */
static struct np_sender_lane *pick_keyed(struct numapool_sender *sender, const struct numapool_msg *message, uint32_t *room)
{
    struct np_sender_lane *lane = np_keys_lane(sender, message->key);
    if (!lane)
        return pick_lane(sender, room);
    if (NP_MUTANT(KEYS_LEAVE_LANES_TO_DRAIN) && lane->state == NP_LANE_DRAIN)
        return pick_lane(sender, room);
    return lane->state == NP_LANE_ACTIVE && (*room = np_sender_room(sender, lane)) > 0 ? lane : NULL;
}

/* The lane to the receiver of that address, whether or not it has room, or NULL. */
static struct np_sender_lane *lane_to(struct numapool_sender *sender, uint64_t address)
{
    for (unsigned i = 0; i < sender->lane_count; i++)
        if (sender->lanes[i].state == NP_LANE_ACTIVE && sender->lanes[i].peer == address)
            return &sender->lanes[i];
    return NULL;
}

/* ---------------------------------------------------------------- sending */

/* Fills the cell of a message and, that done, stores its word: here it is sent. */
static inline void fill_and_store(struct np_cell *cell, struct np_sent *sent, uint32_t lane, uint64_t position,
                                  const struct numapool_msg *message, uint64_t arena, unsigned flags, uint64_t key, uint32_t slot,
                                  np_shm64 *address, unsigned gen)
{
    const uint64_t as_sent = np_word_sent(lane, position, gen);
    if (NP_MUTANT(WORD_BEFORE_CELL))
        np_store64(address, as_sent, memory_order_release);
    /* relaxed: all before the word, by its release (L1) */
    np_store64(&cell->what, np_cell_what(message->length, (unsigned)arena, flags, message->type), memory_order_relaxed);
    np_store64(&cell->id, message->id, memory_order_relaxed);
    np_store64(&cell->key, key, memory_order_relaxed);
    np_store64(&cell->where, np_cell_where_unannounced(position, slot), memory_order_relaxed);
    sent->slot = message->data;
    sent->word = address;
    /* release: pairs with the scavenger's and the hand-over's acquire load of the word */
    np_store64(address, as_sent, memory_order_release);
}

np_shm64 *np_sender_claimed(struct numapool_sender *sender, const struct numapool_msg *message, uint64_t claim, struct np_claimed *claimed)
{
    struct numapool_pool *pool = sender->endpoint.pool;
    struct np_pool_arena *pa = np_pool_locate(pool, message->data, &claimed->index);
    if (!pa) {
        if (pool->checks)
            np_guard_bad_pointer(pool, message->data);
        else
            np_error(-EINVAL, "%p is not the beginning of a slot of pool '%s': it was not sent", message->data, pool->name);
        return NULL;
    }
    sender->home = &pa->arena;
    np_shm64 *address = &pa->arena.words[claimed->index];
    uint64_t word = np_load64(address, memory_order_relaxed); /* relaxed: the claim is ours or it is refused */
    if (__builtin_expect(message->length >= pa->arena.length_end, 0)) {
        if (message->length > pa->arena.slot_bytes) {
            np_error(-EINVAL, "a message of %u bytes does not fit a slot of %llu of pool '%s'", message->length,
                     (unsigned long long)pa->arena.slot_bytes, pool->name);
            return NULL;
        }
        if (np_guard_send(pool, pa, claimed->index, claim) < 0)
            return NULL;
    }
    if (np_word_claim(word) != claim) {
        np_error(-EINVAL, "slot %llu of node %d of pool '%s' is not this process's to send: it was put, sent or never taken here",
                 (unsigned long long)claimed->index, pa->arena.node, pool->name);
        return NULL;
    }
    claimed->arena = pa->arena.index;
    claimed->generation = np_word_gen(word);
    return address;
}

/* Sends one message of any kind: from any node, of any stride, of any claim. */
static bool send_any(struct numapool_sender *sender, struct np_sender_lane *lane, const struct numapool_msg *message, unsigned flags,
                     uint64_t key, uint64_t claim, uint64_t position)
{
    struct np_claimed claimed;
    np_shm64 *address = np_sender_claimed(sender, message, claim, &claimed);
    if (!address)
        return false;
    fill_and_store(&lane->cells[position & lane->mask], &lane->sent[position & lane->mask], lane->id, position, message, claimed.arena,
                   flags, key, (uint32_t)claimed.index, address, claimed.generation);
    return true;
}

/* Sends of the common kind: slots that this process holds, of the arena of the last one, of a stride that is a power of
 * two; all keyed or, with flags 0, none. Stops at the first that is of another kind; how many were sent. */
static inline __attribute__((always_inline)) unsigned send_common(struct numapool_sender *sender, const struct np_sender_lane *lane,
                                                                  const struct numapool_msg *messages, unsigned n, unsigned flags)
{
    const struct np_arena *home = sender->home;
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
        unsigned keyed = message->flags & NUMAPOOL_KEYED;
        if (__builtin_expect((index >= slots) | (message->length > slot_bytes) | (flags == 0 ? keyed : !keyed), 0))
            break;
        uint64_t gen = np_load64(&words[index], memory_order_relaxed) ^ held; /* relaxed: the claim is ours or it is refused */
        if (__builtin_expect(gen > NP_WORD_GEN_MASK, 0))
            break;
        fill_and_store(&cells[position & mask], &sent[position & mask], id, position, message, arena, flags, message->key,
                       (uint32_t)index, &words[index], (unsigned)gen);
    }
    return (unsigned)(message - messages);
}

/* Announces `sent` messages whose words say SENT, and wakes their receiver. */
static inline void announce(struct numapool_sender *sender, struct np_sender_lane *lane, unsigned sent)
{
    const uint64_t first = lane->head, mask = lane->mask;
    struct np_cell *const cells = lane->cells;
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
}

/* Sends up to n on one lane that has room for them, until one is keyed. claims[i], or HELD by this client where claims is
 * NULL. */
static int send_run(struct numapool_sender *sender, struct np_sender_lane *lane, const struct numapool_msg *messages,
                    const uint64_t *claims, unsigned n)
{
    if (__builtin_expect(lane->kind == NP_LANE_SMALL, 0))
        return np_small_send_run(sender, lane, messages, n, 0, 0);
    const uint64_t held = np_word_held(sender->endpoint.pool->client, 0), first = lane->head;
    unsigned sent = claims ? 0 : send_common(sender, lane, messages, n, 0);
    while (__builtin_expect(sent < n, 0) && (messages[sent].flags & NUMAPOOL_KEYED) == 0 &&
           send_any(sender, lane, &messages[sent], 0, messages[sent].key, claims ? claims[sent] : held, first + sent))
        sent++;
    if (__builtin_expect(sent == 0, 0))
        return -EINVAL;
    announce(sender, lane, sent);
    return (int)sent;
}

/* The same of n that are all keyed. */
static __attribute__((noinline)) int send_keyed(struct numapool_sender *sender, struct np_sender_lane *lane,
                                                const struct numapool_msg *messages, const uint64_t *claims, unsigned n)
{
    const uint64_t held = np_word_held(sender->endpoint.pool->client, 0), first = lane->head;
    if (lane->kind == NP_LANE_SMALL) {
        int went = np_small_send_run(sender, lane, messages, n, NP_CELL_KEYED, 0);
        if (went > 0)
            np_keys_sent(sender, lane, messages, (unsigned)went, first);
        return went;
    }
    unsigned sent = claims ? 0 : send_common(sender, lane, messages, n, NP_CELL_KEYED);
    while (sent < n && send_any(sender, lane, &messages[sent], NP_CELL_KEYED, messages[sent].key, claims ? claims[sent] : held,
                                first + sent))
        sent++;
    if (sent == 0)
        return -EINVAL;
    announce(sender, lane, sent);
    np_keys_sent(sender, lane, messages, sent, first);
    return (int)sent;
}

/* ---------------------------------------------------------------- waiting */

/* What a send waits for: a lane for this message. address 0: it is not directed. */
struct wanted {
    const struct numapool_msg *message;
    uint64_t address;
};

/* Whether it may be worth trying again. */
static bool look_again(struct numapool_sender *sender, const struct wanted *wanted)
{
    uint32_t room;
    if (wanted->address == 0)
        return (wanted->message->flags & NUMAPOOL_KEYED ? pick_keyed(sender, wanted->message, &room) : pick_lane(sender, &room)) != NULL;
    struct np_sender_lane *lane = lane_to(sender, wanted->address);
    if (lane)
        return np_sender_room(sender, lane) > 0;
    unsigned lanes = sender->lane_count;
    np_sender_take_back_all(sender); /* the lane may be held back until others have been left */
    return sender->lane_count != lanes;
}

/* Nothing has room: waits until something has. 0: look again. The flag goes up on all lanes, whatever is wanted: which of
 * them will be the one may change meanwhile. */
static int wait_for_room(struct numapool_sender *sender, struct np_waiting *waiting, const struct wanted *wanted)
{
    if (np_waiting_spins(waiting)) {
        np_pause();
        return 0;
    }
    np_waiting_arm(&sender->endpoint);
    np_sender_raise_flags(sender, sender->endpoint.bell_id, &sender->endpoint.sleep);
    np_waiting_fence(waiting, &sender->endpoint.sleep);
    int result = 0;
    bool again = np_endpoint_has_news(&sender->endpoint) && np_endpoint_may_ask(&sender->endpoint);
    if (!NP_MUTANT(SLEEP_NO_SECOND_LOOK) && !again)
        again = look_again(sender, wanted);
    if (!again)
        result = np_waiting_sleep(waiting, &sender->endpoint);
    np_sender_lower_flags(sender);
    np_sender_take_back_all(sender); /* lanes that are only to be drained have been released on too */
    return result;
}

/* What there is to know of lanes is known: the last question was answered, and nothing has changed since. */
static inline void sync_if_news(struct numapool_sender *sender)
{
    if (np_endpoint_has_news(&sender->endpoint) || __builtin_expect(sender->endpoint.asked_in_vain, 0))
        np_sender_sync(sender); /* when it cannot be answered now, the lanes that are known will do */
}

/* ---------------------------------------------------------------- sending */

/* Sends those at the front that are keyed, as many as may go on the lane of the first. A count, 0: no lane has room;
 * -errno. *tried: how many that would have been. */
static __attribute__((noinline)) int send_keyed_run(struct numapool_sender *sender, const struct numapool_msg *messages,
                                                    const uint64_t *claims, unsigned n, unsigned *tried)
{
    uint32_t room;
    int result = np_keys_start(sender);
    if (result < 0)
        return result;
    struct np_sender_lane *lane = pick_keyed(sender, messages, &room);
    if (!lane)
        return 0;
    *tried = np_keys_run(sender, lane, messages, n < room ? n : room);
    return send_keyed(sender, lane, messages, claims, *tried);
}

int np_sender_send(struct numapool_sender *sender, const struct numapool_msg *messages, const uint64_t *claims, unsigned n,
                   int64_t timeout_ns)
{
    struct np_waiting waiting;
    bool waits = false;
    unsigned done = 0;
    if (__builtin_expect(sender->kind == NP_LANE_BROADCAST, 0))
        return np_broadcast_send(sender, messages, claims, n, timeout_ns);
    while (done < n) {
        uint32_t room;
        unsigned some;
        int result = 0;
        sync_if_news(sender);
        bool keyed = (messages[done].flags & NUMAPOOL_KEYED) != 0;
        struct np_sender_lane *lane;
        if (__builtin_expect(keyed, 0)) {
            result = send_keyed_run(sender, messages + done, claims ? claims + done : NULL, n - done, &some);
        } else if (__builtin_expect((lane = pick_lane(sender, &room)) != NULL, 1)) {
            some = n - done < room ? n - done : room;
            result = send_run(sender, lane, messages + done, claims ? claims + done : NULL, some);
        }
        if (result < 0)
            return done > 0 ? (int)done : result;
        if (__builtin_expect(result > 0, 1)) {
            done += (unsigned)result;
            if ((unsigned)result < some && (keyed || (messages[done].flags & NUMAPOOL_KEYED) == 0))
                break; /* the next one was refused */
            continue;
        }
        const char *sentence = keyed ? key_sentence : full_sentence;
        if (timeout_ns == 0)
            return done > 0 ? (int)done : np_error_static(-EAGAIN, sentence);
        if (!waits)
            np_waiting_begin(&waiting, sender->endpoint.spin_ns, timeout_ns);
        waits = true;
        if (wait_for_room(sender, &waiting, &(struct wanted){ &messages[done], 0 }) == -ETIMEDOUT)
            return done > 0 ? (int)done : np_error_static(-ETIMEDOUT, sentence);
    }
    return (int)done;
}

/* Whether the broker may hold back a lane to a receiver that is there: the sender has too many to leave, or cannot ask. */
static bool lane_may_be_missing(struct numapool_sender *sender)
{
    unsigned draining = 0;
    for (unsigned i = 0; i < sender->lane_count; i++)
        draining += sender->lanes[i].state == NP_LANE_DRAIN;
    return draining >= NP_DRAINING_LANES_MAX || sender->endpoint.asked_in_vain;
}

int np_sender_send_to(struct numapool_sender *sender, uint64_t address, const struct numapool_msg *message, const uint64_t *claim,
                      int64_t timeout_ns)
{
    struct np_waiting waiting;
    const uint64_t held = np_word_held(sender->endpoint.pool->client, 0);
    if (sender->kind == NP_LANE_BROADCAST)
        return np_error_static(-EINVAL, "what is broadcast goes to every receiver: to send to one alone, open another channel");
    for (bool waits = false;; waits = true) {
        sync_if_news(sender);
        struct np_sender_lane *lane = lane_to(sender, address);
        if (lane && np_sender_room(sender, lane) > 0) {
            if (lane->kind == NP_LANE_SMALL)
                return np_small_send_run(sender, lane, message, 1, NP_CELL_DIRECTED, address) < 0 ? -EINVAL : 0;
            if (!send_any(sender, lane, message, NP_CELL_DIRECTED, address, claim ? *claim : held, lane->head))
                return -EINVAL;
            announce(sender, lane, 1);
            return 0;
        }
        if (!lane && np_endpoint_has_news(&sender->endpoint) && np_endpoint_may_ask(&sender->endpoint))
            continue;
        if (!lane && !lane_may_be_missing(sender))
            return np_error(-EHOSTUNREACH, "receiver %llx has left this channel, or died: the message was not sent",
                            (unsigned long long)address);
        if (timeout_ns == 0 && !look_again(sender, &(struct wanted){ message, address }))
            return np_error_static(-EAGAIN, directed_sentence);
        if (timeout_ns == 0)
            continue;
        if (!waits)
            np_waiting_begin(&waiting, sender->endpoint.spin_ns, timeout_ns);
        if (wait_for_room(sender, &waiting, &(struct wanted){ message, address }) == -ETIMEDOUT)
            return np_error_static(-ETIMEDOUT, directed_sentence);
    }
}

static inline int send_bulk(struct numapool_sender *sender, const struct numapool_msg *messages, unsigned n, int64_t timeout_ns)
{
    if (n == 0 || n > NP_LANE_SLOTS_MAX || timeout_ns < 0)
        return np_error(-EINVAL, "send_bulk of %u messages with timeout %lld: 1 to %u, and 0 or more", n, (long long)timeout_ns,
                        NP_LANE_SLOTS_MAX);
    return np_sender_send(sender, messages, NULL, n, timeout_ns);
}

int numapool_send_bulk(struct numapool_sender *sender, const struct numapool_msg *messages, unsigned n, int64_t timeout_ns)
{
    return np_sender_is_live(sender) ? send_bulk(sender, messages, n, timeout_ns) : -EINVAL;
}

int numapool_send(struct numapool_sender *sender, const struct numapool_msg *message, int64_t timeout_ns)
{
    int result = np_sender_is_live(sender) ? send_bulk(sender, message, 1, timeout_ns) : -EINVAL;
    return result < 0 ? result : 0;
}

int numapool_send_to(struct numapool_sender *sender, uint64_t address, const struct numapool_msg *message, int64_t timeout_ns)
{
    if (!np_sender_is_live(sender))
        return -EINVAL;
    if (address == 0 || timeout_ns < 0)
        return np_error(-EINVAL, "send_to address %llx with timeout %lld: an address is what numapool_receiver_address gave, and the timeout 0 or more",
                        (unsigned long long)address, (long long)timeout_ns);
    return np_sender_send_to(sender, address, message, NULL, timeout_ns);
}
