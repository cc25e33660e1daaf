/* SPDX-License-Identifier: MIT */
#ifndef NP_CHANNEL_RECEIVER_H
#define NP_CHANNEL_RECEIVER_H

#include "channel/endpoint.h"

#define NP_RECEIVER_LIVE UINT64_C(0x76696563657270)

/* A lane as its receiver sees it. Private.
 *
 *     released <= done <= head <= the announced run
 *
 * [done, head) has been received and not released, but for those whose bit in `done_bits` is set: they wait for an elder. */
struct np_receiver_lane {
    struct np_lane_shared *shared; /* NULL: this place is free */
    struct np_cell *cells;
    uint64_t *done_bits;
    uint64_t head;      /* next to receive */
    uint64_t done;      /* one past the oldest complete run of released ones */
    uint64_t released;  /* what `shared->released` says */
    uint64_t redelivered_until;
    uint64_t orphaned;  /* of an orphan: when it became one */
    uint32_t waiting;   /* bits set in done_bits */
    uint32_t mask;
    uint32_t id;
    uint32_t generation;
    uint32_t state;
};

struct numapool_receiver {
    uint64_t live; /* zero in a forked child */
    struct np_endpoint endpoint;
    struct np_receiver_lane *lanes; /* a message's `lane` is an index into it, stable while the message is unreleased */
    unsigned lane_count, lane_room;
    unsigned *order;                /* indices of lanes: orphans first, then the others in turn */
    unsigned order_count, orphan_count;
    unsigned turn;
};

#endif
