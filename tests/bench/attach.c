/* SPDX-License-Identifier: MIT
 *
 * How long until a process that connects to a daemon can use its pool of a million slots, or of sixteen million: what is to be
 * mapped is the same few pieces. With NUMAPOOL_PREFAULT the page tables are built as well, which takes as long as there are pages.
 */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "daemon.h"
#include "daemon_pool.h"
#include "floor/attach.h"
#include "groups.h"
#include "numapool.h"
#include "shots.h"

#define MILLION (UINT64_C(1) << 20)
#define PARAMS_BYTES 200
#define BELLS_BYTES ((size_t)384 << 10) /* of a daemon with default limits */

struct attach {
    uint64_t slots, flags;
    const char *pool_name;
    char *params; /* NULL: of a floor */
    struct numapool_client *client;
    struct numapool_pool *pool;
    struct bench_giver *giver;
    int connection;
    struct bench_memory pieces[BENCH_ATTACH_PIECES];
};

static char params_1m[PARAMS_BYTES], params_16m[PARAMS_BYTES], params_prefault_1m[PARAMS_BYTES], params_prefault_16m[PARAMS_BYTES];

static struct attach *new_attach(uint64_t slots, uint64_t flags)
{
    struct attach *attach = calloc(1, sizeof *attach);
    if (!attach)
        bench_fail("no memory for a benchmark");
    attach->slots = slots;
    attach->flags = flags;
    return attach;
}

/* ---------------------------------------------------------------- a client of the daemon */

static void make_pool(struct attach *attach)
{
    bench_daemon_pool_make(attach->pool_name, attach->slots, bench_transparent_flags());
    snprintf(attach->params, PARAMS_BYTES, "\"slots\": %llu, \"slot_bytes\": %u, \"pages\": \"%s\", \"prefault\": %s",
             (unsigned long long)attach->slots, BENCH_PAYLOAD_BYTES,
             bench_pages_text(bench_daemon_page_bytes(attach->pool_name), false),
             attach->flags & NUMAPOOL_PREFAULT ? "true" : "false");
}

static void *open_client(uint64_t slots, uint64_t flags, const char *pool_name, char *params)
{
    struct attach *attach = new_attach(slots, flags);
    attach->pool_name = pool_name;
    attach->params = params;
    bench_daemon_admin();
    return attach;
}

static void *open_1m(void)
{
    struct attach *attach = open_client(MILLION, 0, "attach-1m", params_1m);
    make_pool(attach);
    return attach;
}

static void *open_16m(void)
{
    struct attach *attach = open_client(16 * MILLION, 0, "attach-16m", params_16m);
    make_pool(attach);
    return attach;
}

static void close_client(void *state)
{
    struct attach *attach = state;
    bench_daemon_pool_end(attach->pool_name);
    free(attach);
}

static void attach_client(void *state)
{
    struct attach *attach = state;
    if (numapool_connect(&attach->client, bench_daemon_socket()) < 0 ||
        numapool_open(attach->client, attach->pool_name, attach->flags, &attach->pool) < 0)
        bench_fail("%s", numapool_errormsg());
}

static void detach_client(void *state)
{
    struct attach *attach = state;
    if (numapool_close(attach->pool) < 0 || numapool_disconnect(attach->client) < 0)
        bench_fail("%s", numapool_errormsg());
}

/* ---------------------------------------------------------------- floors */

/* As much as the client maps: bells, words with a bitmap of them, payload. */
static void start_giver(struct attach *attach, bool filled)
{
    const size_t bytes[BENCH_ATTACH_PIECES] = { BELLS_BYTES, attach->slots * 8 + attach->slots / 63 * 8, attach->slots * BENCH_PAYLOAD_BYTES };
    attach->giver = bench_giver_start(bytes, filled);
}

static void *open_floor(uint64_t slots)
{
    struct attach *attach = new_attach(slots, 0);
    start_giver(attach, false);
    return attach;
}

static void *open_floor_1m(void)
{
    return open_floor(MILLION);
}

static void *open_floor_16m(void)
{
    return open_floor(16 * MILLION);
}

static void close_floor(void *state)
{
    struct attach *attach = state;
    bench_giver_stop(attach->giver);
    free(attach);
}

static void attach_floor(void *state)
{
    struct attach *attach = state;
    bench_giver_attach(attach->giver, attach->flags & NUMAPOOL_PREFAULT, &attach->connection, attach->pieces);
}

static void detach_floor(void *state)
{
    struct attach *attach = state;
    for (unsigned i = 0; i < BENCH_ATTACH_PIECES; i++)
        bench_memory_unmake(&attach->pieces[i]);
    close(attach->connection);
}

/* ---------------------------------------------------------------- prefaulted */

/* Memory is made before each chunk and taken away after it: subject and floor need gigabytes, which need not be there at the
 * same time. */

static void *open_prefault_1m(void)
{
    return open_client(MILLION, NUMAPOOL_PREFAULT, "prefault-1m", params_prefault_1m);
}

static void *open_prefault_16m(void)
{
    return open_client(16 * MILLION, NUMAPOOL_PREFAULT, "prefault-16m", params_prefault_16m);
}

static void before_prefault(void *state)
{
    make_pool(state);
}

static void after_prefault(void *state)
{
    const struct attach *attach = state;
    detach_client(state);
    bench_daemon_pool_end(attach->pool_name);
}

static void *open_prefault_floor_1m(void)
{
    return new_attach(MILLION, NUMAPOOL_PREFAULT);
}

static void *open_prefault_floor_16m(void)
{
    return new_attach(16 * MILLION, NUMAPOOL_PREFAULT);
}

static void before_prefault_floor(void *state)
{
    start_giver(state, true);
}

static void after_prefault_floor(void *state)
{
    struct attach *attach = state;
    detach_floor(state);
    bench_giver_stop(attach->giver);
}

/* ---------------------------------------------------------------- groups */

static const struct bench_variant client_1m = {
    .name = "numapool_connect, numapool_open", .open = open_1m, .close = close_client, .chunk = attach_client, .after = detach_client,
    .operations = 1,
};
static const struct bench_variant client_16m = {
    .name = "numapool_connect, numapool_open", .open = open_16m, .close = close_client, .chunk = attach_client, .after = detach_client,
    .operations = 1,
};
static const struct bench_variant floor_1m = {
    .name = "three descriptors, mapped", .open = open_floor_1m, .close = close_floor, .chunk = attach_floor, .after = detach_floor,
    .operations = 1,
};
static const struct bench_variant floor_16m = {
    .name = "three descriptors, mapped", .open = open_floor_16m, .close = close_floor, .chunk = attach_floor, .after = detach_floor,
    .operations = 1,
};
static const struct bench_variant prefault_1m = {
    .name = "numapool_open, PREFAULT", .open = open_prefault_1m, .close = free, .before = before_prefault, .chunk = attach_client,
    .after = after_prefault, .operations = 1,
};
static const struct bench_variant prefault_16m = {
    .name = "numapool_open, PREFAULT", .open = open_prefault_16m, .close = free, .before = before_prefault, .chunk = attach_client,
    .after = after_prefault, .operations = 1,
};
static const struct bench_variant prefault_floor_1m = {
    .name = "three descriptors, mapped and populated", .open = open_prefault_floor_1m, .close = free, .before = before_prefault_floor,
    .chunk = attach_floor, .after = after_prefault_floor, .operations = 1,
};
static const struct bench_variant prefault_floor_16m = {
    .name = "three descriptors, mapped and populated", .open = open_prefault_floor_16m, .close = free, .before = before_prefault_floor,
    .chunk = attach_floor, .after = after_prefault_floor, .operations = 1,
};

#define SAMPLE "one client"
#define FIGURE_NS 2e6 /* bare, whatever the size */
#define SHOTS 60u

static void measure(const char *name, const struct bench_variant *subject, const struct bench_variant *floor_variant, const char *params,
                    struct bench_report *report, const struct bench_options *options)
{
    struct bench_result result = { .name = name, .unit = "ns", .sample = SAMPLE, .params = params, .median_max = FIGURE_NS };
    bench_shots_run(subject, floor_variant, SHOTS, &result, report, options);
}

static void measure_1m(struct bench_report *report, const struct bench_options *options)
{
    measure("attach_1m", &client_1m, &floor_1m, params_1m, report, options);
}

static void measure_16m(struct bench_report *report, const struct bench_options *options)
{
    if (bench_has_memory(BENCH_BYTES_16M, "attach_16m"))
        measure("attach_16m", &client_16m, &floor_16m, params_16m, report, options);
}

const struct bench_special bench_attach_1m = { .name = "attach_1m", .measure = measure_1m };
const struct bench_special bench_attach_16m = { .name = "attach_16m", .measure = measure_16m };

static const struct bench_row rows_prefault_1m[] = {
    { "attach_prefault_1m", 0, 1, SAMPLE, params_prefault_1m, 0, 0, 0 },
};
const struct bench_group bench_attach_prefault = {
    .about = "until a client of a daemon has page tables of its whole pool of 1M slots", .variants = { &prefault_1m, &prefault_floor_1m },
    .variant_count = 2, .rows = rows_prefault_1m, .row_count = 1, .sleeps = true, .slices_max = 20,
};

static const struct bench_row rows_prefault_16m[] = {
    { "attach_prefault_16m", 0, 1, SAMPLE, params_prefault_16m, 0, 0, 0 },
};
const struct bench_group bench_attach_prefault_16m = {
    .about = "until a client of a daemon has page tables of its whole pool of 16M slots", .variants = { &prefault_16m, &prefault_floor_16m },
    .variant_count = 2, .rows = rows_prefault_16m, .row_count = 1, .sleeps = true, .slices_max = 5, .needs_bytes = BENCH_BYTES_16M,
};
