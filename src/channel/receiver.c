/* SPDX-License-Identifier: MIT
 *
 * Receivers. Receiving and releasing writes no word: a load of the cell's own announcement, the payload where it lies, one store of
 * `released` for a whole batch. Keeping and forwarding store the word first (L4).
 */
#include "channel/receiver.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "channel/sender.h"
#include "core/error.h"
#include "core/wipe.h"

static const char closed_sentence[] = "this receiver is closed, or belongs to the parent of this forked process: open one here";

static bool is_live(const struct numapool_receiver *receiver)
{
    if (__builtin_expect(receiver != NULL && receiver->live == NP_RECEIVER_LIVE, 1))
        return true;
    np_error_static(-EINVAL, closed_sentence);
    return false;
}

/* ---------------------------------------------------------------- lanes */

/* The elder first: a successor may have died too. */
static void sort_by_age(struct numapool_receiver *receiver, unsigned n)
{
    unsigned *order = receiver->order;
    for (unsigned i = 1; i < n; i++)
        for (unsigned j = i; j > 0 && receiver->lanes[order[j - 1]].orphaned > receiver->lanes[order[j]].orphaned; j--) {
            unsigned elder = order[j];
            order[j] = order[j - 1];
            order[j - 1] = elder;
        }
}

/* Orphans first: what a dead sender has sent is received before what its successor sends. */
static void set_order(struct numapool_receiver *receiver)
{
    receiver->order_count = receiver->orphan_count = 0;
    for (unsigned orphans = 2; orphans-- > 0;) {
        for (unsigned i = 0; i < receiver->lane_count; i++)
            if (receiver->lanes[i].shared && (receiver->lanes[i].state == NP_LANE_ORPHAN) == (orphans == 1))
                receiver->order[receiver->order_count++] = i;
        if (orphans == 0)
            continue;
        receiver->orphan_count = receiver->order_count;
        sort_by_age(receiver, receiver->orphan_count);
    }
}

static void forget_lane(struct numapool_receiver *receiver, struct np_receiver_lane *lane)
{
    struct numapool_pool *pool = receiver->endpoint.pool;
    free(lane->done_bits);
    pool->authority->unmap_lane(pool->authority_context, lane->shared, lane->mask + 1);
    memset(lane, 0, sizeof *lane);
}

static int grow(struct numapool_receiver *receiver)
{
    unsigned room = receiver->lane_room ? receiver->lane_room * 2 : 8;
    struct np_receiver_lane *lanes = realloc(receiver->lanes, room * sizeof *lanes);
    if (lanes)
        receiver->lanes = lanes;
    unsigned *order = realloc(receiver->order, room * sizeof *order);
    if (order)
        receiver->order = order;
    if (!lanes || !order)
        return np_error(-ENOMEM, "no memory for %u lanes of a receiver", room);
    receiver->lane_room = room;
    return 0;
}

static int lane_changed(void *self, const struct np_lane_grant *grant)
{
    struct numapool_receiver *receiver = self;
    struct numapool_pool *pool = receiver->endpoint.pool;
    unsigned place = receiver->lane_count;
    for (unsigned i = 0; i < receiver->lane_count; i++) {
        struct np_receiver_lane *known = &receiver->lanes[i];
        if (known->shared && known->id == grant->lane && known->generation == grant->generation) {
            pool->authority->unmap_lane(pool->authority_context, grant->memory, grant->capacity);
            known->state = grant->state;
            known->orphaned = np_load64(&known->shared->orphaned, memory_order_acquire);
            set_order(receiver);
            return 0;
        }
        if (!known->shared && place == receiver->lane_count)
            place = i;
    }
    uint64_t *done_bits = calloc((grant->capacity + 63) / 64, sizeof *done_bits);
    if (!done_bits || (place == receiver->lane_room && grow(receiver) < 0)) {
        free(done_bits);
        pool->authority->unmap_lane(pool->authority_context, grant->memory, grant->capacity);
        return np_error(-ENOMEM, "no memory for a lane of %u messages", grant->capacity);
    }
    if (place == receiver->lane_count)
        receiver->lane_count++;
    struct np_lane_shared *shared = grant->memory;
    struct np_receiver_lane *lane = &receiver->lanes[place];
    *lane = (struct np_receiver_lane){ .shared = shared, .cells = np_lane_cells(shared), .done_bits = done_bits,
                                       .mask = grant->capacity - 1, .id = grant->lane, .generation = grant->generation,
                                       .state = grant->state };
    /* acquire: what an earlier receiver and the hand-over stored */
    lane->head = lane->done = lane->released = np_load64(&shared->released, memory_order_acquire);
    lane->orphaned = np_load64(&shared->orphaned, memory_order_acquire);
    lane->redelivered_until = np_load64(&shared->redelivered_until, memory_order_acquire);
    /* relaxed: read by people; the bell is the sender's when the flag goes up */
    np_store32(&shared->receiver_registered, receiver->endpoint.registered, memory_order_relaxed);
    np_store32(&shared->receiver_sleeps, 0, memory_order_relaxed); /* it may be up since an earlier receiver's death */
    np_store32(&shared->receiver_bell, receiver->endpoint.bell_id, memory_order_release);
    set_order(receiver);
    return 0;
}

/* ---------------------------------------------------------------- releasing */

static void publish(struct numapool_receiver *receiver, struct np_receiver_lane *lane)
{
    if (lane->released == lane->done)
        return;
    lane->released = lane->done;
    /* release: our loads of payload and our word stores are before it. Pairs with the sender's acquire. */
    np_store64(&lane->shared->released, lane->done, memory_order_release);
    np_endpoint_wake(&receiver->endpoint, &lane->shared->sender_sleeps, &lane->shared->sender_bell);
}

/* Marks one as done; `released` follows by publish. */
static void finish(struct np_receiver_lane *lane, uint64_t position)
{
    if (__builtin_expect(position != lane->done, 0)) {
        uint64_t *bits = &lane->done_bits[(position & lane->mask) / 64], bit = UINT64_C(1) << (position & lane->mask) % 64;
        lane->waiting += (*bits & bit) == 0; /* a SKIP that was put back is passed over twice */
        *bits |= bit;
        return;
    }
    lane->done++;
    while (__builtin_expect(lane->waiting > 0, 0)) {
        uint64_t *bits = &lane->done_bits[(lane->done & lane->mask) / 64], bit = UINT64_C(1) << (lane->done & lane->mask) % 64;
        if (!(*bits & bit))
            break;
        *bits &= ~bit;
        lane->waiting--;
        lane->done++;
    }
}

static struct np_receiver_lane *lane_of(struct numapool_receiver *receiver, const struct numapool_msg *message)
{
    struct np_receiver_lane *lane = message->lane < receiver->lane_count ? &receiver->lanes[message->lane] : NULL;
    if (__builtin_expect(!lane || !lane->shared || message->lane_seq - lane->done >= lane->head - lane->done, 0) ||
        (lane->waiting > 0 &&
         (lane->done_bits[(message->lane_seq & lane->mask) / 64] >> (message->lane_seq & lane->mask) % 64 & 1))) {
        np_error(-EINVAL, "message %llu of lane %u is not an unreleased message of this receiver: released twice, or changed?",
                 (unsigned long long)message->lane_seq, message->lane);
        return NULL;
    }
    return lane;
}

/* The lane whose next n to be released these are, in order; NULL: they are not so simple. */
static struct np_receiver_lane *next_in_line(struct numapool_receiver *receiver, const struct numapool_msg *messages, unsigned n)
{
    const uint32_t place = messages[0].lane;
    struct np_receiver_lane *lane = place < receiver->lane_count ? &receiver->lanes[place] : NULL;
    if (!lane || !lane->shared || lane->waiting > 0 || n > lane->head - lane->done)
        return NULL;
    uint64_t others = 0;
    for (unsigned i = 0; i < n; i++)
        others |= (messages[i].lane_seq ^ (lane->done + i)) | (messages[i].lane ^ place);
    return others == 0 ? lane : NULL;
}

int numapool_release(struct numapool_receiver *receiver, const struct numapool_msg *messages, unsigned n)
{
    if (!is_live(receiver))
        return -EINVAL;
    struct np_receiver_lane *last = NULL;
    int result = 0;
    unsigned i = 0;
    if (n > 0 && (last = next_in_line(receiver, messages, n)) != NULL) {
        last->done += n;
        i = n;
    }
    for (; i < n; i++) {
        struct np_receiver_lane *lane = lane_of(receiver, &messages[i]);
        if (__builtin_expect(!lane, 0)) {
            result = -EINVAL;
            break;
        }
        if (lane != last && last)
            publish(receiver, last);
        last = lane;
        finish(lane, messages[i].lane_seq);
    }
    if (last)
        publish(receiver, last);
    return result;
}

/* ---------------------------------------------------------------- receiving */

/* Takes messages of the common kind: in slots of the first node, never delivered before. Stops at the first that is not
 * there or of another kind; how many. */
static inline unsigned take_common(const struct np_receiver_lane *lane, const struct np_arena *arena, unsigned place,
                                   struct numapool_msg *messages, unsigned n)
{
    /* In locals, for a store to a message might be one to any of these for all that the compiler knows. */
    const struct np_cell *const cells = lane->cells;
    const uint64_t mask = lane->mask, slots = arena->slots, slot_bytes = arena->slot_bytes, stride = arena->stride;
    char *const data = arena->data;
    uint64_t position = lane->head;
    struct numapool_msg *message = messages, *const end = messages + (position < lane->redelivered_until ? 0 : n);
    for (; message < end; message++, position++) {
        const struct np_cell *cell = &cells[position & mask];
        uint64_t where = np_load64(&cell->where, memory_order_acquire); /* pairs with the sender's announcement */
        if (!np_cell_is_announced(where, position))
            break;
        uint64_t what = np_load64(&cell->what, memory_order_relaxed); /* relaxed: ordered by the acquire of where */
        uint64_t slot = np_cell_slot(where);
        /* arena and flags are 0 where length, below 2^32, is in its place */
        if (__builtin_expect((np_cell_without_type(what) > slot_bytes) | (slot >= slots), 0))
            break;
        message->data = data + slot * stride;
        message->length = np_cell_length(what);
        message->type = np_cell_type(what);
        message->flags = 0;
        message->id = np_load64(&cell->id, memory_order_relaxed); /* relaxed, both: ordered by the acquire of where */
        message->key = np_load64(&cell->key, memory_order_relaxed);
        message->lane_seq = position;
        message->lane = place;
        message->reserved = 0;
    }
    return (unsigned)(message - messages);
}

/* Takes what is announced on a lane. A count. A cell that does not fit ends it and sets *scribbled; when nothing came
 * before it in this call (`first`), it is passed over, else it is left for the next call, which begins with it and reports
 * it. */
static unsigned poll_lane(struct numapool_receiver *receiver, unsigned place, struct numapool_msg *messages, unsigned n,
                          bool first, bool *scribbled)
{
    struct np_receiver_lane *lane = &receiver->lanes[place];
    /* In locals, for a store to a message might be one to any of these for all that the compiler knows. */
    const struct np_pool_arena *arenas = receiver->endpoint.pool->arenas;
    const unsigned arena_count = receiver->endpoint.pool->arena_count;
    const struct np_cell *cells = lane->cells;
    const uint64_t mask = lane->mask, redelivered_until = lane->redelivered_until;
    uint64_t position = lane->head, limit = lane->done + lane->mask + 1;
    const struct np_arena *arena = &arenas[0].arena;
    uint64_t slots = arena->slots, slot_bytes = arena->slot_bytes, stride = arena->stride;
    char *data = arena->data;
    unsigned got = take_common(lane, arena, place, messages, limit - position < n ? (unsigned)(limit - position) : n), known_arena = 0;
    position += got;
    while (got < n && position < limit) {
        const struct np_cell *cell = &cells[position & mask];
        uint64_t where = np_load64(&cell->where, memory_order_acquire); /* pairs with the sender's announcement */
        if (!np_cell_is_announced(where, position))
            break;
        uint64_t what = np_load64(&cell->what, memory_order_relaxed); /* relaxed: ordered by the acquire of where */
        uint64_t slot = np_cell_slot(where), length = np_cell_length(what);
        if (__builtin_expect((what >> 32 & 0xffff) != known_arena, 0)) { /* another node, or flags */
            if ((np_cell_flags(what) & NP_CELL_SKIP) != 0) {
                finish(lane, position++);
                limit = lane->done + lane->mask + 1;
                continue;
            }
            if (np_cell_arena(what) < arena_count) {
                known_arena = np_cell_arena(what);
                arena = &arenas[known_arena].arena;
                slots = arena->slots, slot_bytes = arena->slot_bytes, stride = arena->stride, data = arena->data;
            }
        }
        if (__builtin_expect((np_cell_arena(what) != known_arena) | (slot >= slots) | (length > slot_bytes), 0)) {
            *scribbled = true;
            if (!first || got > 0)
                break;
            finish(lane, position++);
            np_error(-EBADMSG, "lane %u: the cell of message %llu names slot %llu of node number %u with %llu bytes, which pool '%s' has not: "
                     "its sender scribbled; the message was passed over", lane->id, (unsigned long long)(position - 1),
                     (unsigned long long)slot, np_cell_arena(what), (unsigned long long)length, receiver->endpoint.pool->name);
            break;
        }
        messages[got++] = (struct numapool_msg){
            .data = data + slot * stride, .length = (uint32_t)length, .type = np_cell_type(what),
            .flags = position < redelivered_until ? NUMAPOOL_REDELIVERED : 0,
            .id = np_load64(&cell->id, memory_order_relaxed), .key = np_load64(&cell->key, memory_order_relaxed),
            .lane_seq = position, .lane = place,
        };
        position++;
    }
    lane->head = position;
    if (got == 0)
        publish(receiver, lane); /* what was only passed over */
    return got;
}

/* An orphan lane from which all has been received and released is left. */
static void leave_drained_orphans(struct numapool_receiver *receiver)
{
    struct numapool_pool *pool = receiver->endpoint.pool;
    bool left = false;
    if (!np_endpoint_may_ask(&receiver->endpoint))
        return;
    for (unsigned i = 0; i < receiver->orphan_count; i++) {
        struct np_receiver_lane *lane = &receiver->lanes[receiver->order[i]];
        if (lane->done != lane->head || lane->done != np_load64(&lane->shared->tail, memory_order_acquire))
            continue;
        publish(receiver, lane);
        if (np_endpoint_asked(&receiver->endpoint, pool->authority->leave_lane(pool->authority_context, receiver->endpoint.id, lane->id,
                                                                               lane->generation)) < 0)
            break;
        forget_lane(receiver, lane);
        left = true;
    }
    if (left)
        set_order(receiver);
}

static unsigned poll_lanes(struct numapool_receiver *receiver, struct numapool_msg *messages, unsigned n, bool *scribbled)
{
    unsigned got = 0;
    for (unsigned i = 0; i < receiver->orphan_count && got < n && !*scribbled; i++)
        got += poll_lane(receiver, receiver->order[i], messages + got, n - got, got == 0, scribbled);
    if (receiver->orphan_count > 0 && !*scribbled) {
        if (got > 0)
            return got; /* the successors of the dead wait */
        leave_drained_orphans(receiver);
    }
    unsigned others = receiver->order_count - receiver->orphan_count;
    for (unsigned tried = 0; tried < others && got < n && !*scribbled; tried++) {
        if (++receiver->turn >= others)
            receiver->turn = 0;
        got += poll_lane(receiver, receiver->order[receiver->orphan_count + receiver->turn], messages + got, n - got, got == 0,
                         scribbled);
    }
    if (*scribbled && got > 0)
        receiver->turn = (receiver->turn + others - 1) % (others ? others : 1);
    return got;
}

/* What news there may be of the lanes that are known, when nobody answers: their states lie in their own memory. True: some have changed. */
static bool look_at_states(struct numapool_receiver *receiver)
{
    bool changed = false;
    for (unsigned i = 0; i < receiver->lane_count; i++) {
        struct np_receiver_lane *lane = &receiver->lanes[i];
        uint32_t state = lane->shared ? np_load32(&lane->shared->state, memory_order_acquire) : lane->state; /* pairs with roll forward */
        if (state == lane->state)
            continue;
        lane->state = state;
        lane->orphaned = np_load64(&lane->shared->orphaned, memory_order_relaxed); /* relaxed: ordered by the acquire of the state */
        changed = true;
    }
    if (changed)
        set_order(receiver);
    return changed;
}

/* Undoes poll_lanes. A dead sender's lane is an orphan before its successor can send what follows, so who has read a
 * successor's message and looks for news then finds it. */
static void put_back(struct numapool_receiver *receiver, const struct numapool_msg *messages, unsigned n)
{
    while (n-- > 0)
        receiver->lanes[messages[n].lane].head = messages[n].lane_seq;
}

static void set_flags(struct numapool_receiver *receiver, uint32_t up)
{
    for (unsigned i = 0; i < receiver->order_count; i++) /* relaxed: the heavy barrier follows; lowered late costs a vain ring */
        np_store32(&receiver->lanes[receiver->order[i]].shared->receiver_sleeps, up, memory_order_relaxed);
}

static int receive_or_wait(struct numapool_receiver *receiver, struct numapool_msg *messages, unsigned n, int64_t timeout_ns);

int numapool_receive(struct numapool_receiver *receiver, struct numapool_msg *messages, unsigned n, int64_t timeout_ns)
{
    if (!is_live(receiver))
        return -EINVAL;
    if (n == 0 || n > NP_LANE_SLOTS_MAX || timeout_ns < 0)
        return np_error(-EINVAL, "receive of %u messages with timeout %lld: 1 to %u, and 0 or more", n, (long long)timeout_ns,
                        NP_LANE_SLOTS_MAX);
    if (receiver->order_count == 1 && receiver->orphan_count == 0) { /* the usual case: one sender, and nothing new */
        struct np_receiver_lane *lane = &receiver->lanes[receiver->order[0]];
        uint64_t room = lane->done + lane->mask + 1 - lane->head;
        unsigned got = take_common(lane, &receiver->endpoint.pool->arenas[0].arena, receiver->order[0], messages, room < n ? (unsigned)room : n);
        if (got > 0 && !np_endpoint_has_news(&receiver->endpoint)) {
            lane->head += got;
            return (int)got;
        }
    }
    return receive_or_wait(receiver, messages, n, timeout_ns);
}

static int receive_or_wait(struct numapool_receiver *receiver, struct numapool_msg *messages, unsigned n, int64_t timeout_ns)
{
    struct np_waiting waiting;
    bool waits = false, armed = false;
    for (int result = 0;;) {
        bool scribbled = false;
        if (np_endpoint_has_news(&receiver->endpoint) && np_endpoint_may_ask(&receiver->endpoint)) {
            if (armed)
                set_flags(receiver, 0);
            armed = false; /* a lane that comes now has no flag up */
            np_endpoint_sync(&receiver->endpoint, lane_changed, receiver); /* unanswered: the lanes that are known will do */
        }
        unsigned got = armed && NP_MUTANT(SLEEP_NO_SECOND_LOOK) ? 0 : poll_lanes(receiver, messages, n, &scribbled);
        if (got > 0 && np_endpoint_has_news(&receiver->endpoint) &&
            (np_endpoint_may_ask(&receiver->endpoint) || look_at_states(receiver))) {
            put_back(receiver, messages, got); /* what came may have overtaken a lane that is an orphan since */
            continue;
        }
        if (got > 0 || scribbled) {
            if (armed)
                set_flags(receiver, 0);
            return got > 0 ? (int)got : -EBADMSG;
        }
        if (timeout_ns == 0)
            return np_error_static(-EAGAIN, "no message is there");
        if (result == -ETIMEDOUT)
            return np_error_static(-ETIMEDOUT, "no message came in time");
        if (!waits)
            np_waiting_begin(&waiting, &receiver->endpoint, timeout_ns);
        waits = true;
        if (armed) {
            result = np_waiting_sleep(&waiting, &receiver->endpoint); /* the second look was in vain */
            set_flags(receiver, 0);
            armed = false;
        } else if (np_waiting_spins(&waiting)) {
            if (waiting.looks > NP_LOOKS_WITHOUT_PAUSE)
                np_pause();
        } else {
            np_waiting_arm(&waiting, &receiver->endpoint);
            set_flags(receiver, 1);
            np_waiting_fence(&waiting);
            armed = true;
        }
    }
}

/* ---------------------------------------------------------------- keeping and forwarding */

/* The word of a received message, which must still say that it is that message; what it says goes to *word. */
static np_shm64 *word_of(struct numapool_receiver *receiver, const struct np_receiver_lane *lane, const struct numapool_msg *message,
                         uint64_t *word)
{
    uint64_t index;
    struct np_pool_arena *pa = np_pool_locate(receiver->endpoint.pool, message->data, &index);
    if (pa) {
        np_shm64 *address = &pa->arena.words[index];
        *word = np_load64(address, memory_order_relaxed); /* relaxed: ours to write while it says this message (L4) */
        if (np_word_is_sent_as(*word, lane->id, message->lane_seq))
            return address;
    }
    np_error(-EINVAL, "%p is not the slot of message %llu of lane %u", message->data, (unsigned long long)message->lane_seq, lane->id);
    return NULL;
}

int numapool_keep(struct numapool_receiver *receiver, const struct numapool_msg *message)
{
    if (!is_live(receiver))
        return -EINVAL;
    uint64_t word;
    struct np_receiver_lane *lane = lane_of(receiver, message);
    np_shm64 *address = lane ? word_of(receiver, lane, message, &word) : NULL;
    if (!address)
        return -EINVAL;
    if (NP_MUTANT(RELEASE_BEFORE_KEEP)) {
        finish(lane, message->lane_seq);
        publish(receiver, lane);
    }
    /* release: before `released` moves past it; pairs with the sender's load of the word */
    np_store64(address, np_word_held(receiver->endpoint.pool->client, np_word_gen(word)), memory_order_release);
    if (NP_MUTANT(RELEASE_BEFORE_KEEP))
        return 0;
    finish(lane, message->lane_seq);
    publish(receiver, lane);
    return 0;
}

int numapool_forward(struct numapool_receiver *receiver, const struct numapool_msg *message, struct numapool_sender *sender,
                     int64_t timeout_ns)
{
    int result = numapool_forward_bulk(receiver, message, 1, sender, timeout_ns);
    return result < 0 ? result : 0;
}

int numapool_forward_bulk(struct numapool_receiver *receiver, const struct numapool_msg *messages, unsigned n,
                          struct numapool_sender *sender, int64_t timeout_ns)
{
    enum { AT_ONCE = 64 };
    uint64_t claims[AT_ONCE];
    unsigned done = 0;
    int64_t deadline_ns = 0;
    if (!is_live(receiver))
        return -EINVAL;
    if (!sender || sender->live != NP_SENDER_LIVE || sender->endpoint.pool != receiver->endpoint.pool || n == 0 || timeout_ns < 0)
        return np_error_static(-EINVAL, "forward wants an open sender of the same pool as the receiver, one message or more, and a timeout of 0 or more");
    while (done < n) {
        unsigned some = 0;
        for (; some < AT_ONCE && done + some < n; some++) {
            struct np_receiver_lane *lane = lane_of(receiver, &messages[done + some]);
            if (!lane)
                break;
            claims[some] = np_word_sent(lane->id, messages[done + some].lane_seq, 0);
        }
        if (some == 0)
            return done > 0 ? (int)done : -EINVAL;
        struct np_receiver_lane *last = NULL;
        if (NP_MUTANT(RELEASE_BEFORE_KEEP))
            numapool_release(receiver, messages + done, some);
        /* It waits for one alone, and with all that went before released: who waits for us may be who we wait for. */
        int sent = np_sender_send(sender, messages + done, claims, some, 0);
        if (sent == -EAGAIN && timeout_ns > 0) {
            deadline_ns = deadline_ns ? deadline_ns : np_deadline_ns(timeout_ns);
            int64_t left_ns = deadline_ns == INT64_MAX ? INT64_MAX : deadline_ns - np_monotonic_ns();
            sent = np_sender_send(sender, messages + done, claims, 1, left_ns > 0 ? left_ns : 1);
        }
        if (sent < 0)
            return done > 0 ? (int)done : sent;
        for (int i = 0; i < sent && !NP_MUTANT(RELEASE_BEFORE_KEEP); i++) {
            struct np_receiver_lane *lane = &receiver->lanes[messages[done + (unsigned)i].lane];
            if (last && lane != last)
                publish(receiver, last);
            last = lane;
            finish(lane, messages[done + (unsigned)i].lane_seq);
        }
        if (last)
            publish(receiver, last);
        done += (unsigned)sent;
    }
    return (int)done;
}

/* ---------------------------------------------------------------- opening and closing */

int numapool_receiver_open(struct numapool_pool *pool, const char *channel, const struct numapool_channel_options *options,
                           struct numapool_receiver **result_receiver)
{
    struct numapool_channel_options known;
    int result = np_pool_check(pool);
    if (result == 0)
        result = np_channel_options(&known, options);
    if (result < 0)
        return result;
    struct numapool_receiver *receiver = np_wipe_alloc(sizeof *receiver);
    if (!receiver)
        return -ENOMEM;
    result = np_endpoint_open(&receiver->endpoint, pool, NP_ROLE_RECEIVER, channel, &known);
    if (result < 0) {
        np_wipe_free(receiver, sizeof *receiver);
        return result;
    }
    receiver->live = NP_RECEIVER_LIVE;
    pthread_mutex_lock(&pool->lock);
    pool->receiver_count++;
    pthread_mutex_unlock(&pool->lock);
    result = np_endpoint_first_sync(&receiver->endpoint, lane_changed, receiver);
    if (result < 0) {
        numapool_receiver_close(receiver);
        return result;
    }
    *result_receiver = receiver;
    return 0;
}

int numapool_receiver_close(struct numapool_receiver *receiver)
{
    if (!is_live(receiver))
        return -EINVAL;
    struct numapool_pool *pool = receiver->endpoint.pool;
    int result = pool->authority->endpoint_close(pool->authority_context, receiver->endpoint.id);
    for (unsigned i = 0; i < receiver->lane_count; i++)
        if (receiver->lanes[i].shared)
            forget_lane(receiver, &receiver->lanes[i]);
    free(receiver->lanes);
    free(receiver->order);
    pthread_mutex_lock(&pool->lock);
    pool->receiver_count--;
    pthread_mutex_unlock(&pool->lock);
    np_wipe_free(receiver, sizeof *receiver);
    return result;
}
