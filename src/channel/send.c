/* SPDX-License-Identifier: MIT
 *
 * Sending. A send is: room (L2), payload (the caller's), cell, word SENT, announcement, tail, a look at the sleeper's flag. */
#include <errno.h>

#include "channel/broadcast.h"
#include "channel/keys.h"
#include "channel/small.h"
#include "core/error.h"

#define PAUSES_WHEN_FULL_MAX 32u /* less than a microsecond */
#define CELLS_AHEAD 8u /* beyond those just sent */

static const char full_sentence[] = "every lane of this sender is full: its receivers have not released what they were sent";
static const char key_sentence[] = "earlier messages with this key, or one that shares a bucket with it, have to be released first: their lane is full or changes its receiver";
static const char directed_sentence[] = "the lane to this receiver is full, or not known at this moment";

/* The next lane in turn that has room, or NULL. */
static struct np_sender_lane *pick_lane(struct numapool_sender *sender, uint32_t *room)
{
    struct np_sender_lane *lane = sender->usual;
    for (unsigned tried = 0; lane && tried < sender->lane_count; tried++, lane = lane->next)
        if ((*room = np_sender_room(sender, lane)) > 0) {
            sender->usual = lane->next;
            return lane;
        }
    if (sender->usual)
        return NULL;
    for (unsigned tried = 0; tried < sender->lane_count; tried++) {
        if (++sender->turn >= sender->lane_count)
            sender->turn = 0;
        lane = &sender->lanes[sender->turn];
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

/* Fills label and cell of a message and, that done, stores its word: here it is sent. `what` has arena and flags, `where` the
 * announcement or not yet (L3). */
static inline __attribute__((always_inline)) void fill_and_store(struct np_cell *cell, struct np_label *label, struct np_sent *sent,
                                                                 void *data, uint64_t id, uint64_t key, uint64_t what, uint64_t where,
                                                                 np_shm64 *word, uint64_t as_sent)
{
    if (NP_MUTANT(WORD_BEFORE_CELL))
        np_store64(word, as_sent, memory_order_release);
    sent->slot = data;
    /* relaxed, all of these: before the word, by its release (L1) */
    if ((id | key) != 0) {
        what |= np_cell_flag_bits(NP_CELL_LABELLED);
        np_store64(&label->id, id, memory_order_relaxed);
        np_store64(&label->key, key, memory_order_relaxed);
        np_prefetch_write(label + CELLS_AHEAD); /* behind the ring's end it is a hint that leads nowhere */
    }
    np_store64(&cell->what, what, memory_order_relaxed);
    sent->word = word;
    np_store64(&cell->where, where, memory_order_relaxed);
    /* release: pairs with the scavenger's and the hand-over's acquire load of the word */
    np_store64(word, as_sent, memory_order_release);
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
    np_sender_set_home(sender, &pa->arena);
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
    const uint64_t at = position & lane->mask;
    const uint32_t slot = (uint32_t)claimed.index;
    fill_and_store(&lane->cells[at], &lane->labels[at], &lane->sent[at], message->data, message->id, key,
                   np_cell_what(message->length, claimed.arena, flags, message->type),
                   position == lane->head ? np_cell_where_unannounced(position, slot) : np_cell_where(position, slot), address,
                   np_word_sent_on(lane->word, position, claimed.generation));
    return true;
}

/* Sends one of the common kind: in a slot that this process holds, of the arena of the last one, of a stride that is a power of two;
 * all keyed or none. False: it is of another kind. at: its place in the ring; mark: the low half of `where`; *slot: the number of its slot. */
static inline __attribute__((always_inline)) bool send_common(const struct np_sender_lane *lane, uint64_t at, const struct np_arena *home,
                                                              uint64_t arena_and_flags, uint64_t held, const struct numapool_msg *message,
                                                              bool keyed, uint32_t mark, uint64_t as_sent, uint64_t *slot)
{
    const uint64_t offset = (uintptr_t)message->data - (uintptr_t)home->data;
    const uint64_t index = offset >> home->stride_shift | offset << (-home->stride_shift & 63); /* beyond all slots unless it is a slot's beginning */
    if (__builtin_expect(index >= home->shifted_slots || np_cell_misfits(message, keyed, home->slot_bytes), 0))
        return false;
    np_shm64 *word = &home->words[index];
    const uint64_t gen = np_load64(word, memory_order_relaxed) ^ held; /* relaxed: the claim is ours or it is refused */
    if (__builtin_expect(gen > NP_WORD_GEN_MASK, 0))
        return false;
    fill_and_store(&lane->cells[at], &lane->labels[at], &lane->sent[at], message->data, message->id, message->key,
                   np_cell_what_of(message, arena_and_flags), index << 32 | mark, word, as_sent | gen);
    *slot = index;
    return true;
}

/* Sends those of the common kind at the front, as far as the ring's end, so that the number in the word cannot overflow; all keyed or, with
 * flags 0, none. claims[i]: what the word says but for its generation, where it is not HELD by this client (claims NULL). How many were
 * sent. */
static inline __attribute__((always_inline)) unsigned send_stretch(const struct numapool_sender *sender, const struct np_sender_lane *lane,
                                                                   const struct numapool_msg *messages, const uint64_t *claims, unsigned n,
                                                                   unsigned flags)
{
    /* Copies, for a store to a word might be one to any of these for all that the compiler knows. */
    const uint64_t at = lane->head & lane->mask, held = sender->held;
    const struct np_sender_lane here = { .cells = &lane->cells[at], .labels = &lane->labels[at], .sent = &lane->sent[at] };
    const struct np_arena home = { .data = sender->home->data, .words = sender->home->words, .shifted_slots = sender->home->shifted_slots,
                                   .slot_bytes = sender->home->slot_bytes, .stride_shift = sender->home->stride_shift };
    const uint64_t arena_and_flags = sender->home_bits | np_cell_flag_bits(flags), until_end = lane->mask + 1 - at;
    const bool keyed = (flags & NP_CELL_KEYED) != 0;
    uint64_t as_sent = np_word_sent_on(lane->word, lane->head, 0), slot;
    uint32_t mark = (uint32_t)lane->head, step = 2; /* the first is not announced, the second and all others are (L3) */
    unsigned sent = 0;
    n = n < until_end ? n : (unsigned)until_end;
    for (; sent < n && send_common(&here, sent, &home, arena_and_flags, claims ? claims[sent] : held, &messages[sent], keyed, mark, as_sent, &slot); sent++) {
        mark += step;
        step = 1;
        as_sent += UINT64_C(1) << 16;
    }
    return sent;
}

/* Announces the first of `sent` messages whose words say SENT, and with it all of them (L5), and wakes their receiver. */
static inline __attribute__((always_inline)) void announce(struct numapool_sender *sender, struct np_sender_lane *lane, struct np_cell *cell,
                                                           uint64_t where, uint64_t head, unsigned sent)
{
    const uint64_t next = head + sent;
    struct np_lane_shared *const shared = lane->shared;
    np_store64(&cell->where, where, memory_order_release); /* release: pairs with the receiver's acquire of the announcement */
    lane->head = next;
    np_store64(&shared->tail, next, memory_order_release); /* for who counts */
    np_endpoint_wake(&sender->endpoint, &shared->receiver_sleeps, &shared->receiver_bell, &shared->receiver_ring);
    for (unsigned i = 0; i < sent; i += NP_CACHE_LINE / sizeof *cell)
        np_prefetch_write(&lane->cells[(next + CELLS_AHEAD + i) & lane->mask]);
}

/* The same of so many as have been filled. */
static inline __attribute__((always_inline)) void announce_run(struct numapool_sender *sender, struct np_sender_lane *lane, unsigned sent)
{
    struct np_cell *first = &lane->cells[lane->head & lane->mask];
    uint32_t slot = np_cell_slot(np_load64(&first->where, memory_order_relaxed)); /* relaxed: our own store */
    announce(sender, lane, first, np_cell_where(lane->head, slot), lane->head, sent);
}

/* The next lane in turn, when there is nothing else to be thought of than whether it has room: no news, no open question. A sender that has
 * such lanes is live. */
static inline __attribute__((always_inline)) struct np_sender_lane *next_usual(const struct numapool_sender *sender)
{
    struct np_sender_lane *lane = sender->usual;
    if (__builtin_expect(lane == NULL || np_endpoint_has_news(&sender->endpoint) || sender->endpoint.asked_in_vain, 0))
        return NULL;
    return lane;
}

/* Sends one message of the common kind on the next lane, if that has room. False: it is not so simple. */
static inline __attribute__((always_inline)) bool send_one(struct numapool_sender *sender, const struct numapool_msg *message)
{
    struct np_sender_lane *lane = next_usual(sender);
    uint64_t slot;
    if (__builtin_expect(lane == NULL || lane->head >= lane->room_until, 0))
        return false;
    const uint64_t head = lane->head, at = head & lane->mask;
    if (!send_common(lane, at, sender->home, sender->home_bits, sender->held, message, false, (uint32_t)head,
                     np_word_sent_on(lane->word, head, 0), &slot))
        return false;
    sender->usual = lane->next;
    if (__builtin_expect(lane->sent_bytes != message->length, 0))
        lane->sent_bytes = message->length;
    announce(sender, lane, &lane->cells[at], np_cell_where(head, (uint32_t)slot), head, 1);
    return true;
}

/* Sends up to n on one lane that has room for them, until one is keyed. claims[i], or HELD by this client where claims is
 * NULL. */
static int send_run(struct numapool_sender *sender, struct np_sender_lane *lane, const struct numapool_msg *messages,
                    const uint64_t *claims, unsigned n)
{
    if (__builtin_expect(lane->kind == NP_LANE_SMALL, 0))
        return np_small_send_run(sender, lane, messages, n, 0, 0);
    const uint64_t held = np_word_held(sender->endpoint.pool->client, 0), first = lane->head;
    unsigned sent = claims ? send_stretch(sender, lane, messages, claims, n, 0) : send_stretch(sender, lane, messages, NULL, n, 0);
    while (__builtin_expect(sent < n, 0) && (messages[sent].flags & NUMAPOOL_KEYED) == 0 &&
           send_any(sender, lane, &messages[sent], 0, messages[sent].key, claims ? claims[sent] : held, first + sent))
        sent++;
    if (__builtin_expect(sent == 0, 0))
        return -EINVAL;
    announce_run(sender, lane, sent);
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
    unsigned sent = send_stretch(sender, lane, messages, claims, n, NP_CELL_KEYED);
    while (sent < n && send_any(sender, lane, &messages[sent], NP_CELL_KEYED, messages[sent].key, claims ? claims[sent] : held,
                                first + sent))
        sent++;
    if (sent == 0)
        return -EINVAL;
    announce_run(sender, lane, sent);
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

/* How long to let a full lane alone before the next look: its receiver has enough to do, and each look takes the line from it where it
 * says what it has released. */
static unsigned pauses_when_full(const struct numapool_sender *sender)
{
    const unsigned part = sender->usual ? (sender->usual->mask + 1) / 32 : 1;
    return part < 1 ? 1 : part > PAUSES_WHEN_FULL_MAX ? PAUSES_WHEN_FULL_MAX : part;
}

/* Nothing has room: waits until something has. 0: look again. The flag goes up on all lanes, whatever is wanted: which of
 * them will be the one may change meanwhile. */
static int wait_for_room(struct numapool_sender *sender, struct np_waiting *waiting, const struct wanted *wanted)
{
    if (np_waiting_spins(waiting)) {
        for (unsigned i = 0, pauses = pauses_when_full(sender); i < pauses; i++)
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
            announce_run(sender, lane, 1);
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

/* Looks what has been released; NULL: there is no room. */
static __attribute__((noinline)) struct np_sender_lane *make_room(struct numapool_sender *sender, struct np_sender_lane *lane)
{
    return np_sender_room(sender, lane) > 0 ? lane : NULL;
}

/* Of whatever kind; of who has not been admitted yet as well. */
static __attribute__((noinline)) int send_bulk(struct numapool_sender *sender, const struct numapool_msg *messages, unsigned n,
                                               int64_t timeout_ns, const char *call, const void *return_address)
{
    if ((sender == NULL || sender->live != NP_SENDER_LIVE) && !np_sender_admit(sender, call, return_address))
        return -EINVAL;
    if (n == 0 || n > NP_LANE_SLOTS_MAX || timeout_ns < 0)
        return np_error(-EINVAL, "send_bulk of %u messages with timeout %lld: 1 to %u, and 0 or more", n, (long long)timeout_ns,
                        NP_LANE_SLOTS_MAX);
    int sent = 0;
    if (sender->small != NULL && (messages->flags & NUMAPOOL_KEYED) == 0 && np_small_is_ready(sender)) {
        uint64_t room = sender->small->room_until - sender->small->head;
        sent = np_small_send_run(sender, sender->small, messages, n < room ? n : (unsigned)room, 0, 0);
        if (sent < 0 || sent == (int)n)
            return sent;
    }
    int result = np_sender_send(sender, messages + sent, NULL, n - (unsigned)sent, timeout_ns);
    return result >= 0 ? sent + result : sent > 0 ? sent : result;
}

static inline struct np_sender_lane *usual_lane(struct numapool_sender *sender)
{
    struct np_sender_lane *lane = next_usual(sender);
    return lane == NULL || __builtin_expect(lane->head < lane->room_until, 1) ? lane : make_room(sender, lane);
}

static __attribute__((noinline)) int numapool_send_slow(struct numapool_sender *sender, const struct numapool_msg *message, int64_t timeout_ns,
                                                 const void *return_address)
{
    if (sender != NULL && sender->small != NULL && timeout_ns >= 0 && np_small_send_one(sender, message))
        return 0;
    if (sender && timeout_ns >= 0 && usual_lane(sender) && send_one(sender, message))
        return 0; /* there was no room but for a look */
    int result = send_bulk(sender, message, 1, timeout_ns, "numapool_send", return_address);
    return result < 0 ? result : 0;
}

int numapool_send_bulk(struct numapool_sender *sender, const struct numapool_msg *messages, unsigned n, int64_t timeout_ns)
{
    struct np_sender_lane *lane = sender ? usual_lane(sender) : NULL;
    unsigned sent = 0;
    if (__builtin_expect(lane != NULL && n - 1 < NP_LANE_SLOTS_MAX && timeout_ns >= 0, 1)) {
        uint64_t room = lane->room_until - lane->head;
        sender->usual = lane->next;
        sent = send_stretch(sender, lane, messages, NULL, n < room ? n : (unsigned)room, 0);
        if (__builtin_expect(sent > 0, 1)) {
            lane->sent_bytes = messages->length;
            announce_run(sender, lane, sent);
        }
        if (__builtin_expect(sent == n, 1))
            return (int)n;
    }
    int result = send_bulk(sender, messages + sent, n - sent, timeout_ns, __func__, __builtin_return_address(0));
    return result >= 0 ? (int)sent + result : sent > 0 ? (int)sent : result;
}

int numapool_send(struct numapool_sender *sender, const struct numapool_msg *message, int64_t timeout_ns)
{
    if (__builtin_expect(sender != NULL && timeout_ns >= 0 && send_one(sender, message), 1))
        return 0;
    return numapool_send_slow(sender, message, timeout_ns, __builtin_return_address(0));
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
