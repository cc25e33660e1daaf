/* SPDX-License-Identifier: MIT */
#include "ends.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon.h"

#define POOLS_MAX 8u

/* One session of each process, shared by its variants. */
static struct numapool_client *client;
static struct {
    const char *name;
    struct numapool_pool *pool;
} pools[POOLS_MAX];
static unsigned pool_count, users;

struct numapool_pool *bench_ends_pool(const char *name)
{
    if (users == 0 && numapool_connect(&client, bench_daemon_socket()) < 0)
        bench_fail("no session for pool %s: %s", name, numapool_errormsg());
    users++;
    for (unsigned i = 0; i < pool_count; i++)
        if (strcmp(pools[i].name, name) == 0)
            return pools[i].pool;
    if (pool_count == POOLS_MAX || numapool_open(client, name, NUMAPOOL_PREFAULT, &pools[pool_count].pool) < 0)
        bench_fail("pool %s: %s", name, numapool_errormsg());
    pools[pool_count].name = name;
    return pools[pool_count++].pool;
}

void bench_ends_pool_done(void)
{
    if (--users > 0)
        return;
    while (pool_count > 0)
        if (numapool_close(pools[--pool_count].pool) < 0)
            bench_fail("pool %s: %s", pools[pool_count].name, numapool_errormsg());
    if (numapool_disconnect(client) < 0)
        bench_fail("the session: %s", numapool_errormsg());
}

struct bench_ends *bench_ends_open_as(const struct bench_ends_options *options)
{
    struct bench_ends *ends = calloc(1, sizeof *ends);
    if (!ends)
        bench_fail("no memory for %s", options->name);
    bench_daemon_socket(); /* so that both processes know it */
    ends->name = options->name;
    ends->pool = options->pool;
    ends->spin_ns = options->spin_ns;
    ends->channel_flags = options->channel_flags;
    return ends;
}

struct bench_ends *bench_ends_open(const char *name, int64_t spin_ns)
{
    return bench_ends_open_as(&(struct bench_ends_options){ .name = name, .pool = BENCH_POOL, .spin_ns = spin_ns });
}

void bench_ends_close(void *state)
{
    free(state);
}

void bench_ends_join(void *state, unsigned end)
{
    struct bench_ends *ends = state;
    char there[NUMAPOOL_NAME_BYTES], back[NUMAPOOL_NAME_BYTES];
    struct numapool_channel_options options = NUMAPOOL_CHANNEL_OPTIONS_INIT;
    options.spin_ns = ends->spin_ns;
    options.flags = ends->channel_flags;
    snprintf(there, sizeof there, "%s-there", ends->name);
    snprintf(back, sizeof back, "%s-back", ends->name);
    struct numapool_pool *pool = bench_ends_pool(ends->pool);
    if (numapool_receiver_open(pool, end == BENCH_LEAD ? back : there, &options, &ends->receiver) < 0 ||
        numapool_sender_open(pool, end == BENCH_LEAD ? there : back, &options, &ends->sender) < 0)
        bench_fail("%s: %s", ends->name, numapool_errormsg());
}

void bench_ends_leave(void *state, unsigned end)
{
    (void)end;
    struct bench_ends *ends = state;
    if (numapool_sender_close(ends->sender, BENCH_TIMEOUT_NS) < 0 || numapool_receiver_close(ends->receiver) < 0)
        bench_fail("%s: %s", ends->name, numapool_errormsg());
    bench_ends_pool_done();
}

static void trip(void *state, uint64_t number)
{
    bench_ends_send(state, number, 1);
    bench_ends_receive(state, 1);
}

void bench_ends_trips_lead(void *state, uint64_t operations, struct bench_histogram *samples)
{
    struct bench_ends *ends = state;
    ends->sum = 0;
    bench_trips(state, operations, samples, trip);
    bench_payload_check(ends->name, ends->sum, operations);
}

void bench_ends_trips_peer(void *state, uint64_t operations)
{
    struct bench_ends *ends = state;
    ends->sum = 0;
    for (uint64_t number = 0; number < operations; number++) {
        bench_ends_receive(ends, 1);
        bench_ends_send(ends, number, 1);
    }
    bench_payload_check(ends->name, ends->sum, operations);
}
