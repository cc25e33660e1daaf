/* SPDX-License-Identifier: MIT
 *
 * Senders. A send is: room (L2), payload (the caller's), cell, word SENT, announcement, tail, a look at the sleeper's flag.
 */
#include "channel/sender.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/error.h"
#include "core/wipe.h"

/* Released slots are taken back every so many sends, so that an idle sender parks few and reads `released` seldom. */
#define TAKE_BACK_EVERY 32u
#define CELLS_AHEAD 8u
/* How many loans ahead the beginning of a slot is fetched: its receiver's processor has it. */
#define LOANS_AHEAD 8u
/* What is taken back and not loaned again beyond this goes into the magazine: a forwarder never loans. */
#define RECYCLE_MAX (4 * TAKE_BACK_EVERY)

static const char closed_sentence[] = "this sender is closed, or belongs to the parent of this forked process: open one here";
static const char full_sentence[] = "every lane of this sender is full: its receivers have not released what they were sent";

static inline bool is_live(const struct numapool_sender *sender)
{
    if (__builtin_expect(sender != NULL && sender->live == NP_SENDER_LIVE, 1))
        return true;
    np_error_static(-EINVAL, closed_sentence);
    return false;
}

/* ---------------------------------------------------------------- taking back */

/* Slots that were taken back, but the youngest `keep`, go into the magazine. */
static void spill_recycled(struct numapool_sender *sender, struct np_sender_lane *lane, uint64_t keep)
{
    for (; lane->reclaimed - lane->recycled > keep; lane->recycled++) {
        void *slot = lane->sent[lane->recycled & lane->mask].slot;
        if (slot)
            np_magazine_return(sender->magazine, slot);
    }
}

/* Re-marks what has been released; how many slots came back. */
static unsigned take_back_lane(struct numapool_sender *sender, struct np_sender_lane *lane)
{
    uint64_t released = np_load64(&lane->shared->released, memory_order_acquire); /* pairs with the receiver's release store */
    lane->take_back_at = lane->head + TAKE_BACK_EVERY;
    if (released - lane->reclaimed > lane->head - lane->reclaimed)
        return 0; /* scribbled: nobody can release what was not sent */
    /* In locals, for a store to a word might be one to any of these for all that the compiler knows. */
    struct np_sent *sent = lane->sent;
    const uint64_t held = np_word_held(sender->endpoint.pool->client, 0), mask = lane->mask;
    const uint32_t id = lane->id;
    unsigned took = 0;
    for (uint64_t position = lane->reclaimed; position < released; position++) {
        struct np_sent *was = &sent[position & mask];
        uint64_t word = np_load64(was->word, memory_order_relaxed); /* relaxed: ordered by the acquire of released */
        if (__builtin_expect(!np_word_is_sent_as(word, id, position), 0)) {
            was->slot = NULL;
            continue;
        }
        /* relaxed: from one state of ours to another, seen by nobody but a scavenger after our death */
        np_store64(was->word, held | np_word_gen(word), memory_order_relaxed);
        took++;
    }
    lane->reclaimed = released;
    /* in a pool that counts exactly each loan is a get of the magazine */
    spill_recycled(sender, lane, sender->endpoint.pool->flags & NUMAPOOL_EXACT_COUNTS ? 0 : RECYCLE_MAX);
    return took;
}

static void drop_lane(struct numapool_sender *sender, unsigned which)
{
    struct np_sender_lane *lane = &sender->lanes[which];
    const struct np_authority *authority = sender->endpoint.pool->authority;
    spill_recycled(sender, lane, 0);
    authority->unmap_lane(sender->endpoint.pool->authority_context, lane->shared, lane->mask + 1);
    free(lane->sent);
    *lane = sender->lanes[--sender->lane_count];
    sender->loan_lane = sender->lane_count > 0 ? sender->lanes : NULL;
}

/* Takes back on every lane; leaves lanes that were to be drained and are. */
static unsigned take_back_all(struct numapool_sender *sender)
{
    unsigned took = 0;
    for (unsigned i = sender->lane_count; i-- > 0;) {
        struct np_sender_lane *lane = &sender->lanes[i];
        took += take_back_lane(sender, lane);
        if (lane->state == NP_LANE_DRAIN && lane->reclaimed == lane->head && np_endpoint_may_ask(&sender->endpoint)) {
            struct numapool_pool *pool = sender->endpoint.pool;
            if (np_endpoint_asked(&sender->endpoint,
                                  pool->authority->leave_lane(pool->authority_context, sender->endpoint.id, lane->id,
                                                              lane->generation)) == 0)
                drop_lane(sender, i);
        }
    }
    return took;
}

static struct numapool_sender *of_reclaimer(struct np_reclaimer *self)
{
    return (struct numapool_sender *)((char *)self - offsetof(struct numapool_sender, reclaimer));
}

/* For a getter of the magazine: everything that this sender has. */
static unsigned reclaimer_take_back(struct np_reclaimer *self)
{
    struct numapool_sender *sender = of_reclaimer(self);
    unsigned took = 0;
    take_back_all(sender);
    for (unsigned i = 0; i < sender->lane_count; i++) {
        took += (unsigned)(sender->lanes[i].reclaimed - sender->lanes[i].recycled);
        spill_recycled(sender, &sender->lanes[i], 0);
    }
    return took;
}

static void raise_flags(struct numapool_sender *sender, uint32_t bell)
{
    for (unsigned i = 0; i < sender->lane_count; i++) {
        struct np_lane_shared *shared = sender->lanes[i].shared;
        np_store32(&shared->sender_bell, bell, memory_order_relaxed); /* relaxed: before the flag, by its release */
        np_store32(&shared->sender_sleeps, 1, memory_order_release);
    }
}

static void lower_flags(struct numapool_sender *sender)
{
    for (unsigned i = 0; i < sender->lane_count; i++) /* relaxed: a flag up too long costs a vain ring */
        np_store32(&sender->lanes[i].shared->sender_sleeps, 0, memory_order_relaxed);
}

static void reclaimer_sleep_begin(struct np_reclaimer *self, uint32_t bell)
{
    raise_flags(of_reclaimer(self), bell);
}

static void reclaimer_sleep_end(struct np_reclaimer *self)
{
    lower_flags(of_reclaimer(self));
}

/* ---------------------------------------------------------------- lanes */

static int lane_changed(void *self, const struct np_lane_grant *grant)
{
    struct numapool_sender *sender = self;
    struct numapool_pool *pool = sender->endpoint.pool;
    for (unsigned i = 0; i < sender->lane_count; i++) {
        struct np_sender_lane *lane = &sender->lanes[i];
        if (lane->id == grant->lane && lane->generation == grant->generation) {
            pool->authority->unmap_lane(pool->authority_context, grant->memory, grant->capacity);
            lane->state = grant->state;
            return 0;
        }
    }
    if (sender->lane_count == sender->lane_room) {
        unsigned room = sender->lane_room ? sender->lane_room * 2 : 8;
        struct np_sender_lane *more = realloc(sender->lanes, room * sizeof *more);
        if (!more) {
            pool->authority->unmap_lane(pool->authority_context, grant->memory, grant->capacity);
            return np_error(-ENOMEM, "no memory for %u lanes of a sender", room);
        }
        sender->lanes = more;
        sender->lane_room = room;
        sender->loan_lane = sender->lane_count > 0 ? more : NULL; /* it pointed into what was moved */
    }
    struct np_sent *sent = calloc(grant->capacity, sizeof *sent);
    if (!sent) {
        pool->authority->unmap_lane(pool->authority_context, grant->memory, grant->capacity);
        return np_error(-ENOMEM, "no memory for a lane of %u messages", grant->capacity);
    }
    sender->lanes[sender->lane_count++] = (struct np_sender_lane){
        .shared = grant->memory, .cells = np_lane_cells(grant->memory), .sent = sent, .mask = grant->capacity - 1,
        .id = grant->lane, .generation = grant->generation, .state = grant->state, .take_back_at = TAKE_BACK_EVERY,
    };
    sender->loan_lane = sender->lanes;
    /* relaxed: read by people, not by the protocol */
    np_store32(&grant->memory->sender_registered, sender->endpoint.registered, memory_order_relaxed);
    return 0;
}

int np_sender_sync(struct numapool_sender *sender)
{
    int result = np_endpoint_sync(&sender->endpoint, lane_changed, sender);
    if (result == 0)
        take_back_all(sender);
    return result;
}

static uint32_t room_on(struct numapool_sender *sender, struct np_sender_lane *lane)
{
    uint64_t used = lane->head - lane->recycled;
    if (__builtin_expect(used > lane->mask || lane->head >= lane->take_back_at, 0)) {
        if (NP_MUTANT(ROOM_BY_RELEASED)) {
            used = lane->head - np_load64(&lane->shared->released, memory_order_acquire);
            return used > lane->mask ? 0 : (uint32_t)(lane->mask + 1 - used);
        }
        take_back_lane(sender, lane);
        if (lane->head - lane->recycled > lane->mask)
            spill_recycled(sender, lane, 0);
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
    np_endpoint_wake(&sender->endpoint, &lane->shared->receiver_sleeps, &lane->shared->receiver_bell);
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
    np_waiting_arm(waiting, &sender->endpoint);
    raise_flags(sender, sender->endpoint.bell_id);
    np_waiting_fence(waiting);
    int result = 0;
    bool again = np_endpoint_has_news(&sender->endpoint) && np_endpoint_may_ask(&sender->endpoint);
    if (!NP_MUTANT(SLEEP_NO_SECOND_LOOK) && !again)
        again = pick_lane(sender, &room) != NULL;
    if (!again)
        result = np_waiting_sleep(waiting, &sender->endpoint);
    lower_flags(sender);
    take_back_all(sender); /* lanes that are only to be drained have been released on too */
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
            np_waiting_begin(&waiting, &sender->endpoint, timeout_ns);
        waits = true;
        if (wait_for_room(sender, &waiting) == -ETIMEDOUT)
            return done > 0 ? (int)done : np_error_static(-ETIMEDOUT, full_sentence);
    }
    return (int)done;
}

int numapool_send_bulk(struct numapool_sender *sender, const struct numapool_msg *messages, unsigned n, int64_t timeout_ns)
{
    if (!is_live(sender))
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

/* The slot that was taken back first of those that wait, or NULL. */
static void *recycle(struct numapool_sender *sender)
{
    for (unsigned i = 0; i < sender->lane_count; i++) {
        struct np_sender_lane *lane = &sender->lanes[i];
        while (lane->recycled < lane->reclaimed) {
            void *slot = lane->sent[lane->recycled++ & lane->mask].slot;
            if (slot) {
                sender->loan_lane = lane;
                return slot;
            }
        }
    }
    return NULL;
}

static __attribute__((noinline)) void *loan_slow(struct numapool_sender *sender)
{
    if (!is_live(sender))
        return NULL;
    void *slot = recycle(sender);
    if (slot)
        return slot;
    const struct numapool_magazine *magazine = &sender->magazine->fast;
    if (magazine->top == magazine->bottom && take_back_all(sender) > 0 && (slot = recycle(sender)) != NULL)
        return slot; /* rather than one more from the pool */
    return numapool_get(&sender->magazine->fast);
}

/* Begins to fetch a slot's beginning from its receiver's processor. */
static inline void fetch_slot(const char *slot)
{
    np_prefetch_write(slot);
    np_prefetch_write((const char *)((uintptr_t)slot + NP_CACHE_LINE)); /* slot may be NULL: a hint, nothing is accessed */
}

int numapool_loan_bulk(struct numapool_sender *sender, void **slots, unsigned n)
{
    if (!is_live(sender))
        return -EINVAL;
    if (n == 0 || n > NP_LANE_SLOTS_MAX)
        return np_error(-EINVAL, "loan_bulk of %u slots: 1 to %u", n, NP_LANE_SLOTS_MAX);
    struct np_sender_lane *lane = sender->loan_lane;
    unsigned got = 0;
    if (__builtin_expect(lane != NULL, 1)) {
        const struct np_sent *sent = lane->sent;
        const uint64_t mask = lane->mask, end = lane->reclaimed;
        uint64_t recycled = lane->recycled;
        while (got < n && recycled < end) {
            slots[got] = sent[recycled & mask].slot;
            got += slots[got] != NULL;
            recycled++;
        }
        for (uint64_t ahead = recycled; ahead < end && ahead < recycled + got; ahead++)
            fetch_slot(sent[ahead & mask].slot);
        lane->recycled = recycled;
    }
    while (got < n && (slots[got] = numapool_loan(sender)) != NULL)
        got++;
    return got > 0 ? (int)got : -EAGAIN;
}

void *numapool_loan(struct numapool_sender *sender)
{
    if (__builtin_expect(sender != NULL && sender->live == NP_SENDER_LIVE && sender->loan_lane != NULL, 1)) {
        struct np_sender_lane *lane = sender->loan_lane;
        uint64_t recycled = lane->recycled;
        if (__builtin_expect(recycled < lane->reclaimed, 1)) {
            void *slot = lane->sent[recycled & lane->mask].slot;
            char *ahead = lane->sent[(recycled + LOANS_AHEAD) & lane->mask].slot;
            lane->recycled = recycled + 1;
            if (__builtin_expect(slot != NULL, 1)) {
                fetch_slot(ahead);
                return slot;
            }
        }
    }
    return loan_slow(sender);
}

int numapool_loan_wait(struct numapool_sender *sender, void **slot, int64_t timeout_ns)
{
    if (!is_live(sender))
        return -EINVAL;
    *slot = timeout_ns < 0 ? NULL : recycle(sender); /* numapool_get_wait refuses it */
    return *slot ? 0 : numapool_get_wait(&sender->magazine->fast, slot, timeout_ns);
}

int numapool_unloan(struct numapool_sender *sender, void *slot)
{
    if (!is_live(sender))
        return -EINVAL;
    return numapool_put(&sender->magazine->fast, slot);
}

/* ---------------------------------------------------------------- opening and closing */

int numapool_sender_open(struct numapool_pool *pool, const char *channel, const struct numapool_channel_options *options,
                         struct numapool_sender **result_sender)
{
    struct numapool_channel_options known;
    int result = np_pool_check(pool);
    if (result == 0)
        result = np_channel_options(&known, options);
    if (result < 0)
        return result;
    struct numapool_sender *sender = np_wipe_alloc(sizeof *sender);
    if (!sender)
        return -ENOMEM;
    struct numapool_magazine *magazine = known.magazine;
    if (!magazine) {
        result = numapool_magazine_open(pool, NUMAPOOL_OWN_NODE, 0, &magazine);
        sender->owns_magazine = true;
    } else if (((struct np_magazine *)magazine)->live != NP_MAGAZINE_LIVE || ((struct np_magazine *)magazine)->pool != pool) {
        result = np_error(-EINVAL, "channel '%s': options.magazine is not an open magazine of pool '%s'", channel, pool->name);
    }
    if (result < 0) {
        np_wipe_free(sender, sizeof *sender);
        return result;
    }
    result = np_endpoint_open(&sender->endpoint, pool, NP_ROLE_SENDER, channel, &known);
    if (result < 0) {
        if (sender->owns_magazine)
            numapool_magazine_close(magazine);
        np_wipe_free(sender, sizeof *sender);
        return result;
    }
    sender->magazine = (struct np_magazine *)magazine;
    sender->arena = sender->magazine->arena;
    sender->reclaimer = (struct np_reclaimer){ sender->magazine->reclaimers, reclaimer_take_back, reclaimer_sleep_begin,
                                               reclaimer_sleep_end };
    sender->magazine->reclaimers = &sender->reclaimer;
    sender->live = NP_SENDER_LIVE;
    pthread_mutex_lock(&pool->lock);
    pool->sender_count++;
    pthread_mutex_unlock(&pool->lock);
    result = np_endpoint_first_sync(&sender->endpoint, lane_changed, sender);
    if (result < 0) {
        numapool_sender_close(sender, 0);
        return result;
    }
    *result_sender = sender;
    return 0;
}

static uint64_t unreleased(struct numapool_sender *sender)
{
    uint64_t left = 0;
    take_back_all(sender);
    for (unsigned i = 0; i < sender->lane_count; i++)
        left += sender->lanes[i].head - sender->lanes[i].reclaimed;
    return left;
}

static void wait_until_released(struct numapool_sender *sender, int64_t timeout_ns)
{
    struct np_waiting waiting;
    np_waiting_begin(&waiting, &sender->endpoint, timeout_ns);
    while (unreleased(sender) > 0) {
        if (np_endpoint_has_news(&sender->endpoint) || sender->endpoint.asked_in_vain)
            np_sender_sync(sender);
        if (np_waiting_spins(&waiting)) {
            np_pause();
            continue;
        }
        np_waiting_arm(&waiting, &sender->endpoint);
        raise_flags(sender, sender->endpoint.bell_id);
        np_waiting_fence(&waiting);
        int result = unreleased(sender) > 0 ? np_waiting_sleep(&waiting, &sender->endpoint) : 0;
        lower_flags(sender);
        if (result == -ETIMEDOUT)
            return;
    }
}

int numapool_sender_close(struct numapool_sender *sender, int64_t drain_ns)
{
    if (!is_live(sender))
        return -EINVAL;
    if (drain_ns < 0)
        return np_error_static(-EINVAL, "drain_ns is negative: 0 does not wait, NUMAPOOL_FOREVER waits for ever; the sender is still open");
    struct numapool_pool *pool = sender->endpoint.pool;
    if (drain_ns > 0)
        wait_until_released(sender, drain_ns);
    uint64_t left = unreleased(sender);
    int result = pool->authority->endpoint_close(pool->authority_context, sender->endpoint.id);
    while (sender->lane_count > 0)
        drop_lane(sender, sender->lane_count - 1);
    free(sender->lanes);
    struct np_reclaimer **link = &sender->magazine->reclaimers;
    while (*link != &sender->reclaimer)
        link = &(*link)->next;
    *link = sender->reclaimer.next;
    if (sender->owns_magazine)
        numapool_magazine_close(&sender->magazine->fast);
    pthread_mutex_lock(&pool->lock);
    pool->sender_count--;
    pthread_mutex_unlock(&pool->lock);
    np_wipe_free(sender, sizeof *sender);
    if (result < 0)
        return result;
    return left > INT32_MAX ? INT32_MAX : (int)left;
}
