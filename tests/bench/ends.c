/* SPDX-License-Identifier: MIT */
#include "ends.h"

#include <stdio.h>
#include <stdlib.h>

#include "daemon.h"

/* One session of each process, shared by its variants. */
static struct numapool_client *client;
static struct numapool_pool *pool;
static unsigned joined;

struct bench_ends *bench_ends_open(const char *name, int64_t spin_ns)
{
    struct bench_ends *ends = calloc(1, sizeof *ends);
    if (!ends)
        bench_fail("no memory for %s", name);
    bench_daemon_socket(); /* so that both processes know it */
    ends->name = name;
    ends->spin_ns = spin_ns;
    return ends;
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
    snprintf(there, sizeof there, "%s-there", ends->name);
    snprintf(back, sizeof back, "%s-back", ends->name);
    if (joined == 0 && (numapool_connect(&client, bench_daemon_socket()) < 0 ||
                        numapool_open(client, BENCH_POOL, NUMAPOOL_PREFAULT, &pool) < 0))
        bench_fail("%s: %s", ends->name, numapool_errormsg());
    joined++;
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
    if (--joined == 0 && (numapool_close(pool) < 0 || numapool_disconnect(client) < 0))
        bench_fail("%s: %s", ends->name, numapool_errormsg());
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
