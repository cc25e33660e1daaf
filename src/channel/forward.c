/* SPDX-License-Identifier: MIT
 * Keeping and forwarding: the word is stored first, then `released` moves past it (L4). */
#include <errno.h>

#include "channel/receiver.h"
#include "channel/sender.h"
#include "core/error.h"
#include "core/fault.h"

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

static inline __attribute__((always_inline)) int keep(struct numapool_receiver *receiver, const struct numapool_msg *message)
{
    int result = np_pool_check_writable(receiver->endpoint.pool, "numapool_keep");
    if (result < 0)
        return result;
    uint64_t word;
    struct np_receiver_lane *lane = np_receiver_lane_of(receiver, message);
    if (lane && lane->kind == NP_LANE_SMALL)
        return np_error_static(-EINVAL, "a small message has no slot to keep: copy it");
    if (lane && lane->kind == NP_LANE_BROADCAST)
        return np_error_static(-EINVAL, "a broadcast message is not one receiver's to keep, others read it: copy it");
    np_shm64 *address = lane ? word_of(receiver, lane, message, &word) : NULL;
    if (!address)
        return np_receiver_bad_message(receiver, message);
    if (NP_MUTANT(RELEASE_BEFORE_KEEP)) {
        np_receiver_finish(lane, message->lane_seq);
        np_receiver_publish(receiver, lane);
    }
    /* release: before `released` moves past it; pairs with the sender's load of the word */
    np_store64(address, np_word_held(receiver->endpoint.pool->client, np_word_gen(word)), memory_order_release);
    if (NP_MUTANT(RELEASE_BEFORE_KEEP))
        return 0;
    np_receiver_finish(lane, message->lane_seq);
    np_receiver_publish(receiver, lane);
    return 0;
}

static __attribute__((noinline)) int keep_checked(struct numapool_receiver *receiver, const struct numapool_msg *message)
{
    int result = keep(receiver, message);
    if (result == 0)
        np_guard_kept(receiver->endpoint.pool, message->data);
    return result;
}

int numapool_keep(struct numapool_receiver *receiver, const struct numapool_msg *message)
{
    if (!np_receiver_is_live(receiver))
        return -EINVAL;
    return np_receiver_is_checked(receiver) ? keep_checked(receiver, message) : keep(receiver, message);
}

/* Whether it is an unreleased message of this lane, on which none waits for an elder. */
static inline bool is_simply_of(const struct np_receiver_lane *lane, const struct numapool_msg *message)
{
    return (message->lane == lane->place) & (lane->waiting == 0) & (message->lane_seq - lane->done < lane->head - lane->done);
}

static int forward(struct numapool_receiver *receiver, const struct numapool_msg *messages, unsigned n, struct numapool_sender *sender,
                   int64_t timeout_ns)
{
    enum { AT_ONCE = 64 };
    uint64_t claims[AT_ONCE];
    unsigned done = 0;
    int64_t deadline_ns = 0;
    int result = np_pool_check_writable(receiver->endpoint.pool, "numapool_forward");
    if (result < 0)
        return result;
    if (!np_sender_is_open(sender) || sender->endpoint.pool != receiver->endpoint.pool || n == 0 || timeout_ns < 0)
        return np_error_static(-EINVAL, "forward wants an open sender of the same pool as the receiver, one message or more, and a timeout of 0 or more");
    const bool small = receiver->kind == NP_LANE_SMALL;
    if (receiver->kind == NP_LANE_BROADCAST)
        return np_error_static(-EINVAL, "a broadcast message is not one receiver's to forward, others read it: copy it into a slot of your own");
    if (small != (sender->kind == NP_LANE_SMALL))
        return np_error_static(-EINVAL, "small messages cannot be forwarded to a channel with slots, nor the other way round: copy");
    while (done < n) {
        unsigned some = 0;
        const struct np_receiver_lane *of = NULL; /* of the message before */
        for (; some < AT_ONCE && done + some < n; some++) {
            const struct numapool_msg *message = &messages[done + some];
            if (!of || !is_simply_of(of, message))
                of = np_receiver_lane_of(receiver, message);
            if (!of)
                break;
            claims[some] = np_word_sent(of->id, message->lane_seq, 0);
        }
        if (some == 0)
            return done > 0 ? (int)done : np_receiver_bad_message(receiver, &messages[done]);
        struct np_receiver_lane *last = NULL;
        if (NP_MUTANT(RELEASE_BEFORE_KEEP))
            numapool_release(receiver, messages + done, some);
        /* It waits for one alone, and with all that went before released: who waits for us may be who we wait for. */
        int sent = np_sender_send(sender, messages + done, small ? NULL : claims, some, 0); /* small: copies */
        if (sent == -EAGAIN && timeout_ns > 0) {
            deadline_ns = deadline_ns ? deadline_ns : np_deadline_ns(timeout_ns);
            int64_t left_ns = deadline_ns == INT64_MAX ? INT64_MAX : deadline_ns - np_monotonic_ns();
            sent = np_sender_send(sender, messages + done, small ? NULL : claims, 1, left_ns > 0 ? left_ns : 1);
        }
        if (sent < 0)
            return done > 0 ? (int)done : sent;
        for (int i = 0; i < sent && !NP_MUTANT(RELEASE_BEFORE_KEEP); i++) {
            struct np_receiver_lane *lane = &receiver->lanes[messages[done + (unsigned)i].lane];
            if (last && lane != last)
                np_receiver_publish(receiver, last);
            last = lane;
            /* a small message that is in the list twice has been copied twice, and no word said so: it is released once
             * all the same */
            if (!small || np_receiver_lane_of(receiver, &messages[done + (unsigned)i]))
                np_receiver_finish(lane, messages[done + (unsigned)i].lane_seq);
        }
        if (last)
            np_receiver_publish(receiver, last);
        done += (unsigned)sent;
    }
    return (int)done;
}

int numapool_forward(struct numapool_receiver *receiver, const struct numapool_msg *message, struct numapool_sender *sender,
                     int64_t timeout_ns)
{
    int result = np_receiver_is_live(receiver) ? forward(receiver, message, 1, sender, timeout_ns) : -EINVAL;
    return result < 0 ? result : 0;
}

int numapool_forward_bulk(struct numapool_receiver *receiver, const struct numapool_msg *messages, unsigned n,
                          struct numapool_sender *sender, int64_t timeout_ns)
{
    return np_receiver_is_live(receiver) ? forward(receiver, messages, n, sender, timeout_ns) : -EINVAL;
}
