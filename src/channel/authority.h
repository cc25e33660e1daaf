/* SPDX-License-Identifier: MIT
 *
 * Who gives out lanes: the broker, either inside this process (embedded) or behind the daemon's socket. Senders and receivers
 * ask it through these calls, all of them on slow paths, and learn by their bell's `news` that there is something to ask.
 * Everything is asked for by the client ("what has changed since"), nothing is pushed: so a daemon's worker that died in
 * the middle of an answer is asked again and gives the same one.
 */
#ifndef NP_CHANNEL_AUTHORITY_H
#define NP_CHANNEL_AUTHORITY_H

#include <stdint.h>

#include "channel/lane.h"
#include "numapool.h"

/* A sender that has so many lanes to leave (DRAIN) gets no more until it leaves some. */
#define NP_DRAINING_LANES_MAX 8u

enum np_role { NP_ROLE_SENDER = 1, NP_ROLE_RECEIVER = 2 };

struct np_endpoint_request {
    uint32_t pool;
    uint32_t role;
    uint32_t lane_slots;
    uint32_t flags; /* numapool_channel_flags */
    uint64_t tag; /* chosen by the client, never twice: the same request asked again gives the same endpoint */
    char channel[NUMAPOOL_NAME_BYTES];
    int32_t node; /* that the asking thread runs on: lanes to a receiver are on its node */
    uint32_t reserved;
};

struct np_endpoint_grant {
    uint32_t endpoint;
    uint32_t bell;       /* a foreign client's: in its own page */
    uint32_t generation; /* of the endpoint's number, which is used again: both together are its address */
    uint32_t reserved;
};

/* One lane of an endpoint, as of `stamp`. */
struct np_lane_grant {
    uint64_t stamp;
    uint32_t lane;
    uint32_t generation; /* of the lane's number, which is used again */
    uint32_t capacity;
    uint32_t state; /* enum np_lane_state */
    uint32_t kind;  /* enum np_lane_kind */
    uint32_t home;  /* BROADCAST: its home lane */
    uint32_t peer;  /* endpoint at the other end, or 0 */
    uint32_t peer_generation;
    /* NULL: its header does not say that it is the one. Its other end can write that, and harms itself alone: who does not have the lane
     * yet goes on without it. */
    struct np_lane_shared *memory; /* remote: mapped by the authority for this caller, who gives it back by unmap_lane */
};

struct np_authority {
    /* 0, or -errno with the sentence. */
    int (*endpoint_open)(void *context, const struct np_endpoint_request *request, struct np_endpoint_grant *grant);
    /* All lanes of the endpoint are the daemon's from now on. */
    int (*endpoint_close)(void *context, uint32_t endpoint);
    /* The lane of this endpoint whose last change comes next after `stamp`: 1, or 0: no more. This and leave_lane are
     * asked from send and receive: they try once and do not wait for an authority that is being replaced (-ENOTCONN). */
    int (*next_lane)(void *context, uint32_t endpoint, uint64_t stamp, struct np_lane_grant *grant);
    /* Sender: a DRAIN lane is empty and all slots taken back. Receiver: an ORPHAN lane is drained. The generation tells a
     * lane that was left before, by a question whose answer was lost, from one that has its number now. */
    int (*leave_lane)(void *context, uint32_t endpoint, uint32_t lane, uint32_t generation);
    void (*unmap_lane)(void *context, struct np_lane_shared *memory, uint32_t capacity, uint32_t kind);
    /* Rings a bell. The daemon's own bell (number 0) makes an embedded broker look at its orphan lanes at once. */
    void (*ring)(void *context, uint32_t bell);
};

#endif
