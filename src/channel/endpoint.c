/* SPDX-License-Identifier: MIT */
#include "channel/endpoint.h"

#include <errno.h>
#include <string.h>
#include <time.h>

#include "core/cancel.h"
#include "core/error.h"

int np_channel_options(struct numapool_channel_options *known, const struct numapool_channel_options *given)
{
    static const struct numapool_channel_options defaults = NUMAPOOL_CHANNEL_OPTIONS_INIT;
    *known = defaults;
    if (!given)
        return 0;
    if (given->size < offsetof(struct numapool_channel_options, lane_slots) + sizeof given->lane_slots)
        return np_error(-EINVAL, "channel options: size is %zu; begin with NUMAPOOL_CHANNEL_OPTIONS_INIT", given->size);
    size_t shared = given->size < sizeof *known ? given->size : sizeof *known;
    for (size_t i = sizeof *known; i < given->size; i++)
        if (((const char *)given)[i] != 0)
            return np_error(-E2BIG, "channel options: byte %zu is set, which this library does not know: it is older than the program", i);
    memcpy(known, given, shared);
    if ((known->flags & ~(uint32_t)(NUMAPOOL_SMALL | NUMAPOOL_BROADCAST)) != 0)
        return np_error(-EINVAL, "channel options: flags %x has a bit that is not known here", known->flags);
    if ((known->flags & NUMAPOOL_SMALL) && (known->flags & NUMAPOOL_BROADCAST))
        return np_error(-EINVAL, "channel options: a channel is SMALL or BROADCAST: without a slot there is nothing that would make a message "
                        "everybody's at once");
    if (known->lane_slots > NP_LANE_SLOTS_MAX)
        return np_error(-EINVAL, "channel options: lane_slots is %u; a lane holds at most %u messages", known->lane_slots,
                        NP_LANE_SLOTS_MAX);
    return 0;
}

static _Atomic uint64_t next_tag = 1;

int np_endpoint_open(struct np_endpoint *endpoint, struct numapool_pool *pool, enum np_role role, const char *channel,
                     const struct numapool_channel_options *options)
{
    struct np_endpoint_request request = { .pool = pool->id, .role = role, .lane_slots = options->lane_slots, .flags = options->flags,
                                           .node = pool->own_node() };
    struct np_endpoint_grant grant;
    size_t length = channel ? strlen(channel) : 0;
    if (length == 0 || length >= sizeof request.channel)
        return np_error(-EINVAL, "a channel's name has 1 to %zu bytes; '%.60s' has %zu", sizeof request.channel - 1,
                        channel ? channel : "", length);
    memcpy(request.channel, channel, length + 1);
    request.tag = atomic_fetch_add_explicit(&next_tag, 1, memory_order_relaxed); /* relaxed: only unique */
    memset(endpoint, 0, sizeof *endpoint);
    endpoint->pool = pool;
    endpoint->registered = np_bell_registered();
    endpoint->foreign = pool->mode == NUMAPOOL_MODE_READONLY;
    endpoint->spin_ns = options->spin_ns == 0 ? NP_SPIN_NS_DEFAULT : options->spin_ns < 0 ? 0 : options->spin_ns;
    int result = pool->authority->endpoint_open(pool->authority_context, &request, &grant);
    if (result < 0)
        return np_error_within(result, "cannot join channel '%s' of pool '%s'", channel, pool->name);
    if (grant.bell >= pool->bell_count)
        return np_error(-EBADMSG, "the daemon gave bell %u of %u: it is not of this library's kind", grant.bell, pool->bell_count);
    endpoint->id = grant.endpoint;
    endpoint->generation = grant.generation;
    endpoint->bell_id = grant.bell;
    endpoint->bell = &pool->bells[grant.bell];
    endpoint->news_seen = np_load32(&endpoint->bell->news, memory_order_acquire) - 1; /* the first sync is due */
    return 0;
}

int np_endpoint_sync(struct np_endpoint *endpoint, int (*changed)(void *self, const struct np_lane_grant *grant), void *self)
{
    if (!np_endpoint_may_ask(endpoint))
        return -EAGAIN;
    const struct np_authority *authority = endpoint->pool->authority;
    /* read before asking, so that what changes while we ask is news again; acquire: as in np_endpoint_has_news */
    uint32_t news = np_load32(&endpoint->bell->news, memory_order_acquire);
    struct np_lane_grant grant;
    int result;
    while ((result = authority->next_lane(endpoint->pool->authority_context, endpoint->id, endpoint->stamp, &grant)) > 0) {
        result = changed(self, &grant);
        if (result < 0)
            break;
        endpoint->stamp = grant.stamp;
    }
    if (np_endpoint_asked(endpoint, result) < 0)
        return result;
    endpoint->news_seen = news;
    return 0;
}

int np_endpoint_first_sync(struct np_endpoint *endpoint, int (*changed)(void *self, const struct np_lane_grant *grant), void *self)
{
    int64_t deadline_ns = np_deadline_ns(NP_FIRST_SYNC_NS);
    int result = np_endpoint_sync(endpoint, changed, self);
    while ((result == -ENOTCONN || result == -EAGAIN || result == -ETIMEDOUT) && np_monotonic_ns() < deadline_ns) {
        struct timespec pause = { 0, NP_SYNC_RETRY_NS };
        int cancel = np_cancel_defer();
        nanosleep(&pause, NULL);
        np_cancel_restore(cancel);
        endpoint->asked_in_vain = false; /* who opens waits for the answer */
        result = np_endpoint_sync(endpoint, changed, self);
    }
    return result;
}

void np_endpoint_ring(const struct np_endpoint *endpoint, uint32_t sleeps, const np_shm32 *bell, np_shm32 *ring)
{
    /* A foreign end that finds ON_BELL meets a sender that slept before the lane was its: the broker has rung that one's
     * bell, or is about to. */
    if ((sleeps == NP_SLEEPS_ON_LANE && !NP_MUTANT(FOREIGN_RINGS_BELL)) || endpoint->foreign)
        np_ring(ring);
    else
        endpoint->pool->authority->ring(endpoint->pool->authority_context, np_load32(bell, memory_order_acquire));
}

void np_waiting_begin(struct np_waiting *waiting, int64_t spin_ns, int64_t timeout_ns)
{
    const int64_t now_ns = np_monotonic_ns();
    waiting->deadline_ns = np_after_ns(now_ns, timeout_ns);
    waiting->settles = spin_ns >= 2 * NP_BELL_SETTLE_NS && timeout_ns > spin_ns;
    waiting->spin_until_ns = np_after_ns(now_ns, waiting->settles ? spin_ns - NP_BELL_SETTLE_NS : spin_ns < timeout_ns ? spin_ns : timeout_ns);
    waiting->spins = spin_ns > 0;
    waiting->longest_ns = 0;
    waiting->looks = 0;
}

bool np_waiting_spins(struct np_waiting *waiting)
{
    enum { LOOKS_A_CLOCK = 16 }; /* reading the clock costs as much as the look at a lane */
    if (waiting->spins && ++waiting->looks % LOOKS_A_CLOCK == 0)
        waiting->spins = np_monotonic_ns() < waiting->spin_until_ns;
    return waiting->spins;
}

void np_waiting_arm(struct np_endpoint *endpoint)
{
    np_sleep_reset(&endpoint->sleep);
    np_sleep_on(&endpoint->sleep, &endpoint->bell->ring);
}

void np_waiting_fence(struct np_waiting *waiting, const struct np_sleep *sleep)
{
    waiting->longest_ns = waiting->settles ? np_bell_settle_ns(sleep) : np_bell_fence_ns();
    waiting->settles = false;
}

int64_t np_endpoint_until_ns(const struct np_endpoint *endpoint, int64_t until_ns)
{
    return endpoint->asked_in_vain ? np_sooner_ns(until_ns, endpoint->retry_ns) : until_ns;
}

int np_waiting_sleep(struct np_waiting *waiting, const struct np_endpoint *endpoint)
{
    int64_t until_ns = np_sooner_ns(np_endpoint_until_ns(endpoint, waiting->deadline_ns), waiting->longest_ns);
    np_sleep_until(&endpoint->sleep, until_ns);
    /* the clock decides: a bell that is rung all the time must not put the end off */
    return np_monotonic_ns() < waiting->deadline_ns ? 0 : -ETIMEDOUT;
}
