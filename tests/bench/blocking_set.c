/* SPDX-License-Identifier: MIT
 *
 * Round trips whose lead waits for one of several receivers, with a wait-set or with its eventfd in poll(2), and for a slot
 * that another process puts.
 */
#include "groups.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

#include "daemon.h"
#include "ends.h"
#include "floor/futex.h"
#include "floor/futex_set.h"

#define SAMPLE "one round trip of 64"

/* One message goes there; its answer comes back on the next of the members. */
struct set {
    struct bench_ends there;                      /* the lead's sender, the peer's receiver */
    struct bench_ends back[BENCH_SET_MEMBERS];    /* the lead's receivers, the peer's senders */
    struct numapool_waitset *waitset;             /* the lead's */
    int eventfd;                                  /* the same; -1: it waits in the wait-set */
    bool polls;
    const char *name;
    struct numapool_client *client;
    struct numapool_pool *pool;
};

static struct set *set_open(const char *name, int64_t spin_ns, bool polls)
{
    struct set *set = calloc(1, sizeof *set);
    if (!set)
        bench_fail("no memory for %s", name);
    bench_daemon_socket(); /* so that both processes know it */
    set->name = name;
    set->polls = polls;
    set->there.spin_ns = spin_ns;
    return set;
}

static void *open_sleep(void)
{
    return set_open("waitset", -1, false);
}

static void *open_spin(void)
{
    return set_open("waitset-spin", BENCH_SPIN_NS, false);
}

static void *open_polls(void)
{
    return set_open("waitset-eventfd", -1, true);
}

static void must(const struct set *set, int result)
{
    if (result < 0)
        bench_fail("%s: %s", set->name, numapool_errormsg());
}

static void set_join(void *state, unsigned end)
{
    struct set *set = state;
    bool leads = end == BENCH_LEAD;
    char channel[NUMAPOOL_NAME_BYTES];
    struct numapool_channel_options options = NUMAPOOL_CHANNEL_OPTIONS_INIT;
    options.spin_ns = set->there.spin_ns;
    must(set, numapool_connect(&set->client, bench_daemon_socket()));
    must(set, numapool_open(set->client, BENCH_POOL, NUMAPOOL_PREFAULT, &set->pool));
    if (leads)
        must(set, numapool_waitset_open(&set->waitset));
    for (unsigned i = 0; i <= BENCH_SET_MEMBERS; i++) {
        struct bench_ends *ends = i < BENCH_SET_MEMBERS ? &set->back[i] : &set->there;
        ends->name = set->name;
        snprintf(channel, sizeof channel, "%s-%u", set->name, i);
        if (leads == (i < BENCH_SET_MEMBERS))
            must(set, numapool_receiver_open(set->pool, channel, &options, &ends->receiver));
        else
            must(set, numapool_sender_open(set->pool, channel, &options, &ends->sender));
        if (leads && ends->receiver)
            must(set, numapool_waitset_add(set->waitset, ends->receiver, ends));
    }
    if (leads && set->polls)
        must(set, set->eventfd = numapool_waitset_eventfd(set->waitset));
}

static void set_leave(void *state, unsigned end)
{
    struct set *set = state;
    if (end == BENCH_LEAD)
        must(set, numapool_waitset_close(set->waitset));
    for (unsigned i = 0; i <= BENCH_SET_MEMBERS; i++) {
        struct bench_ends *ends = i < BENCH_SET_MEMBERS ? &set->back[i] : &set->there;
        if (ends->receiver)
            must(set, numapool_receiver_close(ends->receiver));
        if (ends->sender)
            must(set, numapool_sender_close(ends->sender, BENCH_TIMEOUT_NS));
    }
    must(set, numapool_close(set->pool));
    must(set, numapool_disconnect(set->client));
}

/* What the next answer has come to. */
static inline struct bench_ends *await(struct set *set)
{
    void *tag;
    if (!set->polls) {
        must(set, numapool_waitset_wait(set->waitset, &tag, 1, BENCH_TIMEOUT_NS));
        return tag;
    }
    struct pollfd readable = { .fd = set->eventfd, .events = POLLIN };
    int result;
    while ((result = numapool_waitset_wait(set->waitset, &tag, 1, 0)) == -EAGAIN)
        poll(&readable, 1, -1);
    must(set, result);
    return tag;
}

static void trip(void *state, uint64_t number)
{
    struct set *set = state;
    bench_ends_send(&set->there, number, 1);
    bench_ends_receive(await(set), 1);
}

static void lead(void *state, uint64_t operations, struct bench_histogram *samples)
{
    struct set *set = state;
    uint64_t sum = 0;
    bench_trips(state, operations, samples, trip);
    for (unsigned i = 0; i < BENCH_SET_MEMBERS; i++) {
        sum += set->back[i].sum;
        set->back[i].sum = 0;
    }
    bench_payload_check(set->name, sum, operations);
}

static void peer(void *state, uint64_t operations)
{
    struct set *set = state;
    set->there.sum = 0;
    for (uint64_t number = 0; number < operations; number++) {
        bench_ends_receive(&set->there, 1);
        bench_ends_send(&set->back[number % BENCH_SET_MEMBERS], number, 1);
    }
    bench_payload_check(set->name, set->there.sum, operations);
}

static const struct bench_variant sleeps = {
    .name = "wait-set of four", .open = open_sleep, .close = free, .join = set_join, .leave = set_leave, .lead = lead,
    .peer = peer,
};
static const struct bench_variant spins = {
    .name = "wait-set of four, after 20 us", .open = open_spin, .close = free, .join = set_join, .leave = set_leave,
    .lead = lead, .peer = peer,
};
static const struct bench_variant polls = {
    .name = "wait-set's eventfd", .open = open_polls, .close = free, .join = set_join, .leave = set_leave, .lead = lead,
    .peer = peer,
};

/* ---------------------------------------------------------------- a slot that another process puts */

/* Three pools of one slot each. In trip k the lead puts the slot of pool k modulo 3, for which the peer waits, and the peer
 * that of the one before, for which the lead waits: so nobody waits for what he himself has put last. */
#define TOKENS 3u

struct tokens {
    struct numapool_client *client;
    struct numapool_pool *pools[TOKENS];
    struct numapool_magazine *magazines[TOKENS];
    void *slots[TOKENS];
    uint64_t trips;
};

static void *open_tokens(void)
{
    struct tokens *tokens = calloc(1, sizeof *tokens);
    if (!tokens)
        bench_fail("no memory for %u pools", TOKENS);
    bench_daemon_socket();
    return tokens;
}

static void check_token(int result)
{
    if (result < 0)
        bench_fail("waiting for a slot: %s", numapool_errormsg());
}

static inline void await_token(struct tokens *tokens, uint64_t which)
{
    check_token(numapool_get_wait(tokens->magazines[which % TOKENS], &tokens->slots[which % TOKENS], BENCH_TIMEOUT_NS));
}

static inline void put_token(struct tokens *tokens, uint64_t which)
{
    check_token(numapool_put(tokens->magazines[which % TOKENS], tokens->slots[which % TOKENS]));
    tokens->slots[which % TOKENS] = NULL;
}

static void tokens_join(void *state, unsigned end)
{
    static const char *const names[TOKENS] = { BENCH_TOKEN_POOL_0, BENCH_TOKEN_POOL_1, BENCH_TOKEN_POOL_2 };
    struct tokens *tokens = state;
    check_token(numapool_connect(&tokens->client, bench_daemon_socket()));
    for (unsigned i = 0; i < TOKENS; i++) {
        check_token(numapool_open(tokens->client, names[i], NUMAPOOL_PREFAULT, &tokens->pools[i]));
        check_token(numapool_magazine_open(tokens->pools[i], NUMAPOOL_ANY_NODE, 0, &tokens->magazines[i]));
        if ((i == TOKENS - 1) == (end == BENCH_PEER))
            await_token(tokens, i);
    }
}

static void tokens_leave(void *state, unsigned end)
{
    struct tokens *tokens = state;
    (void)end;
    for (unsigned i = 0; i < TOKENS; i++) {
        if (tokens->slots[i])
            put_token(tokens, i);
        check_token(numapool_magazine_close(tokens->magazines[i]));
        check_token(numapool_close(tokens->pools[i]));
    }
    check_token(numapool_disconnect(tokens->client));
}

static void token_trip(void *state, uint64_t number)
{
    struct tokens *tokens = state;
    (void)number;
    put_token(tokens, tokens->trips);
    await_token(tokens, tokens->trips++ + TOKENS - 1);
}

static void tokens_lead(void *state, uint64_t operations, struct bench_histogram *samples)
{
    bench_trips(state, operations, samples, token_trip);
}

static void tokens_peer(void *state, uint64_t operations)
{
    struct tokens *tokens = state;
    for (uint64_t number = 0; number < operations; number++) {
        await_token(tokens, tokens->trips);
        put_token(tokens, tokens->trips++ + TOKENS - 1);
    }
}

static const struct bench_variant slots = {
    .name = "a slot is put, and another one back", .open = open_tokens, .close = free, .join = tokens_join,
    .leave = tokens_leave, .lead = tokens_lead, .peer = tokens_peer,
};

/* ---------------------------------------------------------------- rows */

static const struct bench_row rows[] = {
    { "blocking_waitset_4", 0, 1, SAMPLE, "\"bytes\": 128, \"members\": 4, \"spin_ns\": 0, \"ends\": \"processes\"",
      1.1, 0, 0 },
    { "blocking_waitset_4_spin_20us", 2, 3, SAMPLE,
      "\"bytes\": 128, \"members\": 4, \"spin_ns\": 20000, \"ends\": \"processes\"", 1.1, 0, 0 },
    { "blocking_waitset_eventfd", 4, 5, SAMPLE,
      "\"bytes\": 128, \"members\": 4, \"ends\": \"processes\"", 0, 0, 0 },
    { "blocking_get_wait", 6, 7, SAMPLE, "\"ends\": \"processes\"", 1.1, 0, 0 },
};
const struct bench_group bench_blocking_set = {
    .about = "Waiting for one of four receivers, by a wait-set or its eventfd, and for a slot that another process puts.",
    .variants = { &sleeps, &floor_futex_set, &spins, &floor_futex_set_spin, &polls, &floor_eventfd, &slots,
                  &floor_futex_empty },
    .variant_count = 8, .rows = rows, .row_count = 4, .ends = 2, .sleeps = true,
};
