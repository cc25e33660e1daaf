/* SPDX-License-Identifier: MIT */
#ifndef NP_CHANNEL_RECEIVER_H
#define NP_CHANNEL_RECEIVER_H

#include "channel/endpoint.h"

#define NP_RECEIVER_LIVE    UINT64_C(0x76696563657270)
#define NP_RECEIVER_CHECKED UINT64_C(0x76696563657271) /* live, of a pool with checks */

/* A lane as its receiver sees it. Private.
 *
 *     released <= done <= head <= the announced run
 *
 * [done, head) has been received and not released, but for those whose bit in `done_bits` is set: they wait for an elder. */
struct np_receiver_lane {
    struct np_lane_shared *shared; /* NULL: this place is free */
    struct np_cell *cells;
    struct np_label *labels;
    uint64_t *done_bits;
    uint64_t head;      /* next to receive */
    uint64_t done;      /* one past the oldest complete run of released ones */
    uint64_t released;  /* what `shared->released` says */
    uint64_t redelivered_until;
    uint64_t orphaned;  /* of an orphan: when it became one */
    uint64_t first_until; /* DRAIN: up to this position it is received before ACTIVE lanes */
    uint32_t waiting;   /* bits set in done_bits */
    uint32_t mask;
    uint32_t id;
    uint32_t generation;
    uint32_t state;
    uint32_t kind; /* enum np_lane_kind */
    uint32_t place; /* of this lane among its receiver's */
    bool denied;    /* its memory says that it is an orphan, and the daemon that it is not */
};

struct numapool_receiver {
    uint64_t live; /* zero in a forked child */
    struct np_endpoint endpoint;
    const struct np_arena *first;   /* of the pool: what most messages are in */
    struct np_receiver_lane *usual; /* its only lane, when that is no orphan and nothing is to be checked; NULL: not so simple */
    struct np_receiver_lane *lanes; /* a message's `lane` is an index into it, stable while the message is unreleased */
    unsigned lane_count, lane_room;
    unsigned *order;                /* indices of lanes: orphans first, then those to be drained, then the others in turn */
    unsigned order_count, orphan_count, drain_count;
    unsigned turn;
    bool unknown; /* the lane looked at last goes on with an arena that cannot be learned of now */
    uint32_t changes; /* goes up when lanes come, go or change: flags that are up are not on all of them any more */
    struct numapool_waitset *waitset; /* that it is in; NULL: none */
    bool is_part; /* of a requester or responder, with which it is closed */
    bool keeps_flags; /* its wait-set sleeps on it, so that its own waits leave the flags up (waitset.h) */
    uint32_t kind; /* of its lanes */
};

/* False, with the sentence: closed, or the parent's of a forked process. */
bool np_receiver_refuse(void);
/* The same but for one of a pool with checks, for which it notes the call (fault.h). */
bool np_receiver_admit(const struct numapool_receiver *receiver, const char *call, const void *return_address);
/* In a public function, whose name and caller are noted: inlined always, so that it is its return address. */
#define np_receiver_is_live(receiver) np_receiver_is_live_in(receiver, __func__)
static inline __attribute__((always_inline)) bool np_receiver_is_live_in(const struct numapool_receiver *receiver, const char *call)
{
    return __builtin_expect(receiver != NULL && receiver->live == NP_RECEIVER_LIVE, 1) ||
           np_receiver_admit(receiver, call, __builtin_return_address(0));
}
/* Of one that is live: whether its pool has checks. Where that is asked, np_receiver_is_live has compared the same just
 * before. */
static inline bool np_receiver_is_checked(const struct numapool_receiver *receiver)
{
    return __builtin_expect(receiver->live != NP_RECEIVER_LIVE, 0);
}

/* Who is in a wait-set cannot be closed: true, with the sentence. */
bool np_receiver_is_in_set(const struct numapool_receiver *receiver);

/* The authority's news of a lane; a callback of np_endpoint_sync. */
int np_receiver_lane_changed(void *self, const struct np_lane_grant *grant);
void np_receiver_set_order(struct numapool_receiver *receiver);
void np_receiver_set_state(struct np_receiver_lane *lane, uint32_t state);
/* Whether a receive would have something to say: looks as it would, and leaves all as it was. Asks for news. */
bool np_receiver_peek(struct numapool_receiver *receiver);
/* "The receiver sleeps", on every lane: on its bell, or, when it is foreign, on the lanes, whose words are added. */
void np_receiver_raise_flags(struct numapool_receiver *receiver, struct np_sleep *sleep);
void np_receiver_lower_flags(struct numapool_receiver *receiver);
void np_receiver_forget_lane(struct numapool_receiver *receiver, struct np_receiver_lane *lane);
static inline uint64_t np_receiver_address(const struct numapool_receiver *receiver)
{
    return np_address(receiver->endpoint.id, receiver->endpoint.generation);
}
/* The lane of a received and unreleased message; NULL with the sentence: it is none. */
struct np_receiver_lane *np_receiver_lane_of(struct numapool_receiver *receiver, const struct numapool_msg *message);

/* Of a message that is none of this receiver's: -EINVAL, and in a pool with checks what is known of its slot is told as a
 * fault. */
int np_receiver_bad_message(struct numapool_receiver *receiver, const struct numapool_msg *message);

/* Stores `released` and wakes a sender that sleeps. */
static inline void np_receiver_publish(struct numapool_receiver *receiver, struct np_receiver_lane *lane)
{
    if (lane->released == lane->done)
        return;
    lane->released = lane->done;
    /* release: our loads of payload and our word stores are before it. Pairs with the sender's acquire. */
    np_store64(&lane->shared->released, lane->done, memory_order_release);
    np_endpoint_wake(&receiver->endpoint, &lane->shared->sender_sleeps, &lane->shared->sender_bell, &lane->shared->sender_ring);
}

/* Marks one as done; `released` follows by np_receiver_publish. */
static inline void np_receiver_finish(struct np_receiver_lane *lane, uint64_t position)
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
#endif
