/* SPDX-License-Identifier: MIT
 *
 * How long until a pool is ready: embedded, and made by a daemon as an admin asks for it; against memory for as many payloads,
 * and a word for each, of the same kind of pages, that is there and zero and nothing more.
 *
 * The pages are transparent huge ones, or small ones where the kernel has none: the row says which. Hugetlb pages have a row
 * of their own, which is measured when enough of them are free (vm.nr_hugepages, which this program leaves as it is).
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "daemon_pool.h"
#include "floor/populate.h"
#include "groups.h"
#include "numapool.h"

#define MILLION (UINT64_C(1) << 20)
#define WORD_BYTES 8u
#define POOL_NAME "ready"
#define SETTLE_NS 5000000 /* until the daemon's keeper has let go of what was destroyed */
#define PARAMS_BYTES 160

/* Written when the pages are known, which is before a row is reported. */
static char params[4][PARAMS_BYTES];
enum params_of { OF_1M, OF_16M, OF_1M_DAEMON, OF_16M_DAEMON };
static char params_hugetlb[PARAMS_BYTES];

struct creation {
    uint64_t slots, flags;
    char *params;
    struct numapool_pool *pool;
    enum bench_pages pages;
    struct bench_memory payload, words;
};

static void note_pages(char *text, uint64_t slots, uint64_t page_bytes, uint64_t flags)
{
    snprintf(text, PARAMS_BYTES, "\"slots\": %llu, \"slot_bytes\": %u, \"pages\": \"%s\"", (unsigned long long)slots,
             BENCH_PAYLOAD_BYTES, bench_pages_text(page_bytes, flags));
}

static struct creation *new_creation(uint64_t slots, uint64_t flags, char *text)
{
    struct creation *creation = calloc(1, sizeof *creation);
    if (!creation)
        bench_fail("no memory for a benchmark");
    creation->slots = slots;
    creation->flags = flags;
    creation->params = text;
    return creation;
}

/* ---------------------------------------------------------------- embedded */

static void *open_1m(void)
{
    return new_creation(MILLION, bench_transparent_flags(), params[OF_1M]);
}

static void *open_16m(void)
{
    return new_creation(16 * MILLION, bench_transparent_flags(), params[OF_16M]);
}

static void *open_hugetlb(void)
{
    return new_creation(MILLION, NUMAPOOL_HUGE_2M, params_hugetlb);
}

static void create(void *state)
{
    struct creation *creation = state;
    struct numapool_options options = NUMAPOOL_OPTIONS_INIT;
    options.name = POOL_NAME;
    options.slot_bytes = BENCH_PAYLOAD_BYTES;
    options.slots = creation->slots;
    options.flags = creation->flags;
    if (numapool_create(&creation->pool, &options) < 0)
        bench_fail("%s", numapool_errormsg());
}

static void close_created(void *state)
{
    struct creation *creation = state;
    struct numapool_stats stats = { .size = sizeof stats };
    if (numapool_stats_read(creation->pool, NUMAPOOL_ANY_NODE, &stats) < 0 || numapool_close(creation->pool) < 0)
        bench_fail("%s", numapool_errormsg());
    note_pages(creation->params, creation->slots, stats.page_bytes, creation->flags);
}

/* ---------------------------------------------------------------- by a daemon */

static void *open_daemon_1m(void)
{
    bench_daemon_admin();
    return new_creation(MILLION, bench_transparent_flags(), params[OF_1M_DAEMON]);
}

static void *open_daemon_16m(void)
{
    bench_daemon_admin();
    return new_creation(16 * MILLION, bench_transparent_flags(), params[OF_16M_DAEMON]);
}

static void create_by_daemon(void *state)
{
    const struct creation *creation = state;
    bench_daemon_pool_make(POOL_NAME, creation->slots, creation->flags);
}

static void end_by_daemon(void *state)
{
    const struct creation *creation = state;
    const struct timespec settle = { .tv_nsec = SETTLE_NS };
    note_pages(creation->params, creation->slots, bench_daemon_page_bytes(POOL_NAME), creation->flags);
    bench_daemon_pool_end(POOL_NAME);
    nanosleep(&settle, NULL);
}

/* ---------------------------------------------------------------- floors */

static void *new_floor(uint64_t slots, enum bench_pages pages)
{
    struct creation *creation = new_creation(slots, 0, NULL);
    creation->pages = pages;
    return creation;
}

static void *open_private_1m(void)
{
    return new_floor(MILLION, BENCH_PAGES_PRIVATE);
}

static void *open_private_16m(void)
{
    return new_floor(16 * MILLION, BENCH_PAGES_PRIVATE);
}

static void *open_shared_1m(void)
{
    return new_floor(MILLION, BENCH_PAGES_SHARED);
}

static void *open_shared_16m(void)
{
    return new_floor(16 * MILLION, BENCH_PAGES_SHARED);
}

static void *open_floor_hugetlb(void)
{
    return new_floor(MILLION, BENCH_PAGES_HUGETLB);
}

static void populate(void *state)
{
    struct creation *creation = state;
    /* words are never on hugetlb pages */
    enum bench_pages word_pages = creation->pages == BENCH_PAGES_HUGETLB ? BENCH_PAGES_PRIVATE : creation->pages;
    bench_memory_make(&creation->payload, creation->slots * BENCH_PAYLOAD_BYTES, creation->pages);
    bench_memory_make(&creation->words, creation->slots * WORD_BYTES, word_pages);
}

static void unpopulate(void *state)
{
    struct creation *creation = state;
    bench_memory_unmake(&creation->payload);
    bench_memory_unmake(&creation->words);
}

/* ---------------------------------------------------------------- groups */

static const struct bench_variant create_1m = {
    .name = "numapool_create", .open = open_1m, .close = free, .chunk = create, .after = close_created, .operations = 1,
};
static const struct bench_variant create_16m = {
    .name = "numapool_create", .open = open_16m, .close = free, .chunk = create, .after = close_created, .operations = 1,
};
static const struct bench_variant create_hugetlb = {
    .name = "numapool_create", .open = open_hugetlb, .close = free, .chunk = create, .after = close_created, .operations = 1,
};
static const struct bench_variant create_1m_daemon = {
    .name = "numapool_admin_create", .open = open_daemon_1m, .close = free, .chunk = create_by_daemon, .after = end_by_daemon,
    .operations = 1,
};
static const struct bench_variant create_16m_daemon = {
    .name = "numapool_admin_create", .open = open_daemon_16m, .close = free, .chunk = create_by_daemon, .after = end_by_daemon,
    .operations = 1,
};
static const struct bench_variant floor_private_1m = {
    .name = "populated memory", .open = open_private_1m, .close = free, .chunk = populate, .after = unpopulate, .operations = 1,
};
static const struct bench_variant floor_private_16m = {
    .name = "populated memory", .open = open_private_16m, .close = free, .chunk = populate, .after = unpopulate, .operations = 1,
};
static const struct bench_variant floor_shared_1m = {
    .name = "populated memory files", .open = open_shared_1m, .close = free, .chunk = populate, .after = unpopulate,
    .operations = 1,
};
static const struct bench_variant floor_shared_16m = {
    .name = "populated memory files", .open = open_shared_16m, .close = free, .chunk = populate, .after = unpopulate,
    .operations = 1,
};
static const struct bench_variant floor_hugetlb_1m = {
    .name = "populated hugetlb memory", .open = open_floor_hugetlb, .close = free, .chunk = populate, .after = unpopulate,
    .operations = 1,
};

#define SAMPLE "one pool"

static const struct bench_row rows_1m[] = {
    { "create_1m", 0, 1, SAMPLE, params[OF_1M], 1.3, 0, 0 },
    { "create_1m_daemon", 2, 3, SAMPLE, params[OF_1M_DAEMON], 1.3, 0, 0 },
};
const struct bench_group bench_creation = {
    .about = "until a pool of 1M slots of 128 bytes is ready",
    .variants = { &create_1m, &floor_private_1m, &create_1m_daemon, &floor_shared_1m }, .variant_count = 4, .rows = rows_1m,
    .row_count = 2, .sleeps = true, .slices_max = 24,
};

static const struct bench_row rows_16m[] = {
    { "create_16m", 0, 1, SAMPLE, params[OF_16M], 1.3, 0, 0 },
    { "create_16m_daemon", 2, 3, SAMPLE, params[OF_16M_DAEMON], 1.3, 0, 0 },
};
const struct bench_group bench_creation_16m = {
    .about = "until a pool of 16M slots of 128 bytes is ready",
    .variants = { &create_16m, &floor_private_16m, &create_16m_daemon, &floor_shared_16m }, .variant_count = 4, .rows = rows_16m,
    .row_count = 2, .sleeps = true, .slices_max = 6,
};

static const struct bench_row rows_hugetlb[] = {
    { "create_1m_hugetlb", 0, 1, SAMPLE, params_hugetlb, 1.3, 0, 0 },
};
static const struct bench_group creation_hugetlb = {
    .about = "until a pool of 1M slots of 128 bytes is ready, on hugetlb pages",
    .variants = { &create_hugetlb, &floor_hugetlb_1m }, .variant_count = 2, .rows = rows_hugetlb, .row_count = 1, .slices_max = 24,
};

static bool any(const char *name)
{
    (void)name;
    return true;
}

static void measure_hugetlb(struct bench_report *report, const struct bench_options *options)
{
    const uint64_t wanted = MILLION * BENCH_PAYLOAD_BYTES >> 21, there = bench_free_huge_pages();
    if (there >= wanted)
        bench_run_group(&creation_hugetlb, options, report, any);
    else
        fprintf(stderr, "bench: %llu hugetlb pages of 2 MiB are free, so create_1m_hugetlb is not measured; sysctl vm.nr_hugepages=%llu "
                "makes it so\n", (unsigned long long)there, (unsigned long long)wanted);
}

const struct bench_special bench_creation_hugetlb = { .name = "create_1m_hugetlb", .measure = measure_hugetlb };
