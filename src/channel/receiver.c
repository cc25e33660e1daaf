/* SPDX-License-Identifier: MIT
 *
 * Receivers: their lanes, releasing, their beginning and end. receive.c receives, forward.c keeps and forwards. Receiving and releasing
 * writes no word: a load of the cell's own announcement, the payload where it lies, one store of `released` for a whole batch. */
#include "channel/receiver.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "channel/waitset.h"
#include "core/error.h"
#include "core/fault.h"
#include "core/wipe.h"

bool np_receiver_refuse(void)
{
    np_error_static(-EINVAL, "this receiver is closed, or belongs to the parent of this forked process: open one here");
    return false;
}

bool np_receiver_admit(const struct numapool_receiver *receiver, const char *call, const void *return_address)
{
    if (!receiver || receiver->live != NP_RECEIVER_CHECKED)
        return np_receiver_refuse();
    np_call_enter(call, return_address);
    return true;
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

enum precedence { ORPHANS, TO_DRAIN, OTHERS, PRECEDENCES };

static enum precedence precedence_of(const struct np_receiver_lane *lane)
{
    if (lane->state == NP_LANE_ORPHAN)
        return ORPHANS;
    return lane->state == NP_LANE_DRAIN && lane->head < lane->first_until ? TO_DRAIN : OTHERS;
}

/* Orphans first: what a dead sender has sent is received before what its successor sends. Then lanes to be drained, for
 * whose messages their senders may wait before they send more with the same keys. */
void np_receiver_set_order(struct numapool_receiver *receiver)
{
    unsigned counts[PRECEDENCES] = { 0 };
    receiver->order_count = 0;
    receiver->changes++;
    for (unsigned precedence = 0; precedence < PRECEDENCES; precedence++) {
        unsigned before = receiver->order_count;
        for (unsigned i = 0; i < receiver->lane_count; i++)
            if (receiver->lanes[i].shared && precedence_of(&receiver->lanes[i]) == precedence)
                receiver->order[receiver->order_count++] = i;
        counts[precedence] = receiver->order_count - before;
    }
    receiver->orphan_count = counts[ORPHANS];
    receiver->drain_count = counts[TO_DRAIN];
    receiver->usual = receiver->order_count == 1 && receiver->orphan_count == 0 && receiver->live == NP_RECEIVER_LIVE ? &receiver->lanes[receiver->order[0]] : NULL;
    sort_by_age(receiver, receiver->orphan_count);
}

/* A sender that has heard of it sends no more on a lane that is to be drained: what is there is a capacity at most, and
 * has precedence. One that goes on does not put others off for ever. */
void np_receiver_set_state(struct np_receiver_lane *lane, uint32_t state)
{
    if (state == NP_LANE_DRAIN && lane->state != NP_LANE_DRAIN)
        lane->first_until = lane->head + lane->mask + 1;
    lane->state = state;
}

void np_receiver_forget_lane(struct numapool_receiver *receiver, struct np_receiver_lane *lane)
{
    struct numapool_pool *pool = receiver->endpoint.pool;
    if (receiver->waitset)
        np_watcher_disturb(receiver->waitset); /* it may sleep on this lane */
    free(lane->done_bits);
    pool->authority->unmap_lane(pool->authority_context, lane->shared, lane->mask + 1, lane->kind);
    memset(lane, 0, sizeof *lane);
    receiver->usual = NULL;
}

static int grow(struct numapool_receiver *receiver)
{
    unsigned room = receiver->lane_room ? receiver->lane_room * 2 : 8;
    struct np_receiver_lane *lanes = realloc(receiver->lanes, room * sizeof *lanes);
    if (lanes) {
        receiver->lanes = lanes;
        receiver->usual = NULL; /* it pointed into what was moved */
    }
    unsigned *order = realloc(receiver->order, room * sizeof *order);
    if (order)
        receiver->order = order;
    if (!lanes || !order)
        return np_error(-ENOMEM, "no memory for %u lanes of a receiver", room);
    receiver->lane_room = room;
    return 0;
}

int np_receiver_lane_changed(void *self, const struct np_lane_grant *grant)
{
    struct numapool_receiver *receiver = self;
    struct numapool_pool *pool = receiver->endpoint.pool;
    unsigned place = receiver->lane_count;
    if (grant->kind != receiver->kind) {
        pool->authority->unmap_lane(pool->authority_context, grant->memory, grant->capacity, grant->kind);
        return np_error(-EBADMSG, "the daemon gave lane %u of kind %u to a receiver of kind %u", grant->lane, grant->kind, receiver->kind);
    }
    for (unsigned i = 0; i < receiver->lane_count; i++) {
        struct np_receiver_lane *known = &receiver->lanes[i];
        if (known->shared && known->id == grant->lane && known->generation == grant->generation) {
            pool->authority->unmap_lane(pool->authority_context, grant->memory, grant->capacity, grant->kind);
            np_receiver_set_state(known, grant->state);
            known->orphaned = np_load64(&known->shared->orphaned, memory_order_acquire);
            np_receiver_set_order(receiver);
            return 0;
        }
        if (!known->shared && place == receiver->lane_count)
            place = i;
    }
    if (!grant->memory)
        return 0; /* what was sent on it is lost to whoever gets the lane, until both its ends are gone */
    uint64_t *done_bits = calloc((grant->capacity + 63) / 64, sizeof *done_bits);
    if (!done_bits || (place == receiver->lane_room && grow(receiver) < 0)) {
        free(done_bits);
        pool->authority->unmap_lane(pool->authority_context, grant->memory, grant->capacity, grant->kind);
        return np_error(-ENOMEM, "no memory for a lane of %u messages", grant->capacity);
    }
    if (place == receiver->lane_count)
        receiver->lane_count++;
    struct np_lane_shared *shared = grant->memory;
    struct np_receiver_lane *lane = &receiver->lanes[place];
    *lane = (struct np_receiver_lane){ .shared = shared, .cells = np_lane_cells(shared),
                                       .labels = np_lane_labels(shared, grant->capacity), .done_bits = done_bits, .place = place,
                                       .mask = grant->capacity - 1, .id = grant->lane, .generation = grant->generation,
                                       .kind = grant->kind };
    /* acquire: what an earlier receiver and the hand-over stored */
    lane->head = lane->done = lane->released = np_load64(&shared->released, memory_order_acquire);
    np_receiver_set_state(lane, grant->state);
    lane->orphaned = np_load64(&shared->orphaned, memory_order_acquire);
    lane->redelivered_until = np_load64(&shared->redelivered_until, memory_order_acquire);
    /* relaxed: read by people; the bell is the sender's when the flag goes up */
    np_store32(&shared->receiver_registered, receiver->endpoint.registered, memory_order_relaxed);
    np_store32(&shared->receiver_node, (uint32_t)(pool->own_node() + 1), memory_order_relaxed); /* a hint for the sender's loans */
    np_store32(&shared->receiver_sleeps, 0, memory_order_relaxed); /* it may be up since an earlier receiver's death */
    /* a foreign one's is in a page of its own, and nobody's number in the table */
    np_store32(&shared->receiver_bell, receiver->endpoint.foreign ? UINT32_MAX : receiver->endpoint.bell_id, memory_order_release);
    np_receiver_set_order(receiver);
    return 0;
}

/* ---------------------------------------------------------------- releasing */

struct np_receiver_lane *np_receiver_lane_of(struct numapool_receiver *receiver, const struct numapool_msg *message)
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

/* Whether it is the oldest unreleased one of a lane on which none waits for an elder. */
static inline bool is_next(const struct np_receiver_lane *lane, const struct numapool_msg *message)
{
    return (message->lane_seq == lane->done) & (message->lane == lane->place) & (lane->waiting == 0) & (lane->done < lane->head);
}

/* The lane whose next n to be released these are, in order; NULL: they are not so simple. */
static inline struct np_receiver_lane *next_in_line(struct numapool_receiver *receiver, const struct numapool_msg *messages, unsigned n)
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

/* In a pool with checks: one by one, each looked at before. */
static int release_checked(struct numapool_receiver *receiver, const struct numapool_msg *messages, unsigned n)
{
    struct numapool_pool *pool = receiver->endpoint.pool;
    for (unsigned i = 0; i < n; i++) {
        const struct numapool_msg *message = &messages[i];
        struct np_receiver_lane *lane = np_receiver_lane_of(receiver, message);
        if (!lane)
            return np_receiver_bad_message(receiver, message);
        if (lane->kind == NP_LANE_SLOTS) { /* the slot of a broadcast is not given away by one receiver */
            int result = np_guard_release(pool, message->data, lane->id, message->lane_seq);
            if (result < 0)
                return result;
        }
        np_receiver_finish(lane, message->lane_seq);
        np_receiver_publish(receiver, lane);
    }
    return 0;
}

int np_receiver_bad_message(struct numapool_receiver *receiver, const struct numapool_msg *message)
{
    const struct np_receiver_lane *lane = message->lane < receiver->lane_count ? &receiver->lanes[message->lane] : NULL;
    if (!np_receiver_is_checked(receiver))
        return -EINVAL;
    if (message->flags & NUMAPOOL_IN_CELL)
        return np_fault(receiver->endpoint.pool, NULL, 0, message->data, NUMAPOOL_FAULT_DOUBLE_PUT,
                        "message %llu of lane %u of pool '%s', a small one, is not an unreleased message of this receiver: it was released "
                        "already", (unsigned long long)message->lane_seq, message->lane, receiver->endpoint.pool->name);
    return np_guard_bad_message(receiver->endpoint.pool, message, lane && lane->shared ? lane->id : 0);
}

/* Of whatever kind and number; of who has not been admitted yet as well. */
static __attribute__((noinline)) int numapool_release_slow(struct numapool_receiver *receiver, const struct numapool_msg *messages, unsigned n,
                                             const void *return_address)
{
    if ((receiver == NULL || receiver->live != NP_RECEIVER_LIVE) && !np_receiver_admit(receiver, "numapool_release", return_address))
        return -EINVAL;
    if (np_receiver_is_checked(receiver))
        return release_checked(receiver, messages, n);
    struct np_receiver_lane *last = NULL;
    int result = 0;
    unsigned i = 0;
    if (n > 0 && (last = next_in_line(receiver, messages, n)) != NULL) {
        last->done += n;
        i = n;
    }
    for (; i < n; i++) {
        struct np_receiver_lane *lane = np_receiver_lane_of(receiver, &messages[i]);
        if (__builtin_expect(!lane, 0)) {
            result = -EINVAL;
            break;
        }
        if (lane != last && last)
            np_receiver_publish(receiver, last);
        last = lane;
        np_receiver_finish(lane, messages[i].lane_seq);
    }
    if (last)
        np_receiver_publish(receiver, last);
    return result;
}

int numapool_release(struct numapool_receiver *receiver, const struct numapool_msg *messages, unsigned n)
{
    struct np_receiver_lane *lane;
    if (__builtin_expect(receiver != NULL && n == 1 && (lane = receiver->usual) != NULL && is_next(lane, messages), 1)) {
        lane->done++;
        np_receiver_publish(receiver, lane);
        return 0;
    }
    return numapool_release_slow(receiver, messages, n, __builtin_return_address(0));
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
    receiver->kind = np_channel_kind(known.flags);
    receiver->first = &pool->arenas[0].arena;
    receiver->live = pool->checks ? NP_RECEIVER_CHECKED : NP_RECEIVER_LIVE;
    pthread_mutex_lock(&pool->lock);
    pool->receiver_count++;
    pthread_mutex_unlock(&pool->lock);
    result = np_endpoint_first_sync(&receiver->endpoint, np_receiver_lane_changed, receiver);
    if (result < 0) {
        numapool_receiver_close(receiver);
        return result;
    }
    *result_receiver = receiver;
    return 0;
}

uint64_t numapool_receiver_address(const struct numapool_receiver *receiver)
{
    return np_receiver_is_live(receiver) ? np_receiver_address(receiver) : 0;
}

bool np_receiver_is_in_set(const struct numapool_receiver *receiver)
{
    if (!receiver->waitset)
        return false;
    np_error_static(-EBUSY, "this receiver is in a wait-set: remove it there first; it is still open");
    return true;
}

int numapool_receiver_close(struct numapool_receiver *receiver)
{
    if (!np_receiver_is_live(receiver))
        return -EINVAL;
    if (np_receiver_is_in_set(receiver))
        return -EBUSY;
    if (receiver->is_part)
        return np_error_static(-EBUSY, "this receiver is an end of a requester or responder: close that; it is still open");
    struct numapool_pool *pool = receiver->endpoint.pool;
    int result = pool->authority->endpoint_close(pool->authority_context, receiver->endpoint.id);
    for (unsigned i = 0; i < receiver->lane_count; i++)
        if (receiver->lanes[i].shared)
            np_receiver_forget_lane(receiver, &receiver->lanes[i]);
    free(receiver->lanes);
    free(receiver->order);
    pthread_mutex_lock(&pool->lock);
    pool->receiver_count--;
    pthread_mutex_unlock(&pool->lock);
    np_wipe_free(receiver, sizeof *receiver);
    return result;
}
