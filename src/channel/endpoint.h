/* SPDX-License-Identifier: MIT
 * What senders and receivers have in common: their bell, and how they learn of new lanes. */
#ifndef NP_CHANNEL_ENDPOINT_H
#define NP_CHANNEL_ENDPOINT_H

#include <stdbool.h>
#include <stdint.h>

#include "channel/authority.h"
#include "core/pool.h"
#include "numapool.h"

#define NP_SPIN_NS_DEFAULT INT64_C(20000)
/* After a question that the authority could not answer (its worker is being replaced), ask again no sooner than this, and
 * twice as late each time, for asking may take long where the fast path goes on well without. */
#define NP_SYNC_RETRY_NS INT64_C(2000000)
#define NP_SYNC_RETRY_MAX_NS INT64_C(512000000)
#define NP_FIRST_SYNC_NS INT64_C(10000000000)

struct np_endpoint {
    struct numapool_pool *pool;
    struct np_bell *bell;
    uint32_t id;
    uint32_t generation; /* of that number */
    uint32_t bell_id;
    uint32_t news_seen;
    bool registered; /* this process's light barrier is a compiler barrier (bell.h) */
    bool foreign;    /* it has no table of bells: it sleeps on its lanes, and rings the other end there */
    bool asked_in_vain;
    int64_t spin_ns;
    int64_t ask_again_ns;
    int64_t retry_ns;
    uint64_t stamp; /* the last change of a lane that is known here */
    struct np_sleep sleep; /* what it sleeps on; here rather than on the stack of a warm call */
};

/* The name of an endpoint, never used again: np_broker_endpoint_open gives a number whose generation is used up to
 * nobody. */
static inline uint64_t np_address(uint32_t endpoint, uint32_t generation)
{
    return (uint64_t)generation << 32 | endpoint;
}

/* Who is at the other end of the lane; 0: nobody. */
static inline uint64_t np_peer_address(const struct np_lane_grant *grant)
{
    return grant->peer == 0 ? 0 : np_address(grant->peer, grant->peer_generation);
}

/* Asks the authority to admit the endpoint; `options` have been checked. */
int np_endpoint_open(struct np_endpoint *endpoint, struct numapool_pool *pool, enum np_role role, const char *channel,
                     const struct numapool_channel_options *options);

/* The kind of the lanes of a channel with these flags of numapool_channel_flags. */
static inline uint32_t np_channel_kind(uint32_t flags)
{
    return flags & NUMAPOOL_BROADCAST ? NP_LANE_BROADCAST : flags & NUMAPOOL_SMALL ? NP_LANE_SMALL : NP_LANE_SLOTS;
}

/* Copies the caller's options over the defaults; refuses what is not known. */
int np_channel_options(struct numapool_channel_options *known, const struct numapool_channel_options *given);

/* True when the lanes of this endpoint have changed since the last sync. One load of a line that seldom changes. */
static inline bool np_endpoint_has_news(const struct np_endpoint *endpoint)
{
    /* acquire: pairs with the broker's bump, before which the lane's change is complete */
    return __builtin_expect(np_load32(&endpoint->bell->news, memory_order_acquire) != endpoint->news_seen, 0);
}

/* Asks for all changes of lanes; calls `changed` for each. */
int np_endpoint_sync(struct np_endpoint *endpoint, int (*changed)(void *self, const struct np_lane_grant *grant), void *self);

/* The same when the endpoint is new, whose lanes must be there when its opening returns: asks again while the authority
 * is being replaced. */
int np_endpoint_first_sync(struct np_endpoint *endpoint, int (*changed)(void *self, const struct np_lane_grant *grant), void *self);

/* Whether a question may be asked now. */
static inline bool np_endpoint_may_ask(const struct np_endpoint *endpoint)
{
    return !endpoint->asked_in_vain || np_monotonic_ns() >= endpoint->ask_again_ns;
}

/* Notes what came of a question, and when the next may be asked; returns `result`. */
static inline int np_endpoint_asked(struct np_endpoint *endpoint, int result)
{
    endpoint->asked_in_vain = result < 0;
    endpoint->retry_ns = result == 0 || endpoint->retry_ns == 0 ? NP_SYNC_RETRY_NS : endpoint->retry_ns * 2;
    if (endpoint->retry_ns > NP_SYNC_RETRY_MAX_NS)
        endpoint->retry_ns = NP_SYNC_RETRY_MAX_NS;
    if (result < 0)
        endpoint->ask_again_ns = np_deadline_ns(endpoint->retry_ns);
    return result;
}

/* Rings who sleeps as its flag says (enum np_sleeps): on its bell, or on the lane's ring where one of the two ends has no
 * bells. */
void np_endpoint_ring(const struct np_endpoint *endpoint, uint32_t sleeps, const np_shm32 *bell, np_shm32 *ring);

/* Fast side: after an announcement or release, rings the other end when its flag is up. */
static inline void np_endpoint_wake(const struct np_endpoint *endpoint, const np_shm32 *sleeps, const np_shm32 *bell, np_shm32 *ring)
{
    np_bell_light_barrier(endpoint->registered);
    uint32_t how = np_load32(sleeps, memory_order_relaxed); /* relaxed: ordered by the barrier */
    if (__builtin_expect(how != NP_SLEEPS_NOT, 0))
        np_endpoint_ring(endpoint, how, bell, ring);
}

/* A wait: looks again and again until spin_until_ns, then raises flags, looks once more and sleeps, as bell.h describes. */
struct np_waiting {
    int64_t deadline_ns, spin_until_ns;
    int64_t longest_ns; /* how long the sleep that comes may last */
    uint32_t looks;
    bool spins;
    bool settles; /* before its first sleep, instead of a heavy barrier: its spin is long enough (bell.h) */
};
void np_waiting_begin(struct np_waiting *waiting, int64_t spin_ns, int64_t timeout_ns);
/* The first looks of a wait are made without a pause between them: the other end may be about to answer. */
#define NP_LOOKS_WITHOUT_PAUSE 64u
/* True while there is still spinning to do; false once flags should be raised. */
bool np_waiting_spins(struct np_waiting *waiting);
/* Before the flags are raised: what is slept on begins with the endpoint's bell; lanes may add their words. */
void np_waiting_arm(struct np_endpoint *endpoint);
/* After the flags are raised, before the second look. `sleep`: what is slept on. */
void np_waiting_fence(struct np_waiting *waiting, const struct np_sleep *sleep);
/* After a second look in vain. 0: look again; -ETIMEDOUT. */
int np_waiting_sleep(struct np_waiting *waiting, const struct np_endpoint *endpoint);
/* Until when a sleep of this endpoint may last: no longer than `until_ns`, nor than what it could not ask is to be asked
 * again. */
int64_t np_endpoint_until_ns(const struct np_endpoint *endpoint, int64_t until_ns);

#endif
