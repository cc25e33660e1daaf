/* SPDX-License-Identifier: MIT
 *
 * How long until a pool is ready: embedded, and made by a daemon as an admin asks for it; against memory for as many payloads,
 * and a word for each, of the same kind of pages, that is there and zero and nothing more.
 *
 * The pages are those that a pool takes by itself, which the row names: hugetlb where enough are free (sysctl vm.nr_hugepages, which
 * this program leaves as it is: 64 for the pool of 1M, 1,024 for that of 16M, and some 400 for others of its daemon), else transparent huge ones, else small ones.
 */
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "daemon_pool.h"
#include "floor/populate.h"
#include "groups.h"
#include "numapool.h"
#include "shots.h"

#define MILLION (UINT64_C(1) << 20)
#define WORD_BYTES 8u
#define POOL_NAME "ready"
#define SETTLE_NS 5000000 /* until the daemon's keeper has let go of what was destroyed */
#define SETTLE_TRIES 2000u /* somebody else may have taken the pages that were free */
#define PARAMS_BYTES 160
#define WARMED_CPUS_MAX 4u

/* Written when the pages are known, which is before a row is reported. */
static char params[4][PARAMS_BYTES];
enum params_of { OF_1M, OF_16M, OF_1M_DAEMON, OF_16M_DAEMON };

struct creation {
    uint64_t slots;
    bool hugetlb; /* there are enough */
    char *params;
    struct numapool_pool *pool;
    enum bench_pages pages, word_pages;
    struct bench_memory payload, words;
};

static void note_pages(const struct creation *creation, uint64_t page_bytes)
{
    snprintf(creation->params, PARAMS_BYTES, "\"slots\": %llu, \"slot_bytes\": %u, \"pages\": \"%s\"",
             (unsigned long long)creation->slots, BENCH_PAYLOAD_BYTES, bench_pages_text(page_bytes, creation->hugetlb));
}

static uint64_t huge_pages_of(uint64_t slots)
{
    return slots * BENCH_PAYLOAD_BYTES >> 21;
}

static struct creation *new_creation(uint64_t slots, char *text)
{
    struct creation *creation = calloc(1, sizeof *creation);
    if (!creation)
        bench_fail("no memory for a benchmark");
    bench_daemon_admin(); /* first, for the daemon's pools take such pages too */
    creation->slots = slots;
    creation->hugetlb = bench_free_huge_pages() >= huge_pages_of(slots);
    creation->params = text;
    return creation;
}

/* Memory that was free for a while a virtual machine may have given back to its host, which takes many times longer to get again
 * than to zero. So as much is taken and freed before each chunk; on each CPU that it may be made on, since it is each virtual CPU
 * by itself that pays. */
static void warm_memory(void *state)
{
    const struct creation *creation = state;
    cpu_set_t own, all;
    unsigned warmed = 0;
    sched_getaffinity(0, sizeof own, &own);
    bench_unpin();
    sched_getaffinity(0, sizeof all, &all);
    for (int cpu = 0; cpu < CPU_SETSIZE && warmed < WARMED_CPUS_MAX; cpu++) {
        struct bench_memory memory;
        if (!CPU_ISSET(cpu, &all))
            continue;
        bench_pin(cpu);
        bench_memory_make(&memory, creation->slots * (BENCH_PAYLOAD_BYTES + WORD_BYTES), BENCH_PAGES_PRIVATE);
        bench_memory_unmake(&memory);
        warmed++;
    }
    sched_setaffinity(0, sizeof own, &own);
}

/* ---------------------------------------------------------------- embedded */

static void *open_1m(void)
{
    return new_creation(MILLION, params[OF_1M]);
}

static void *open_16m(void)
{
    return new_creation(16 * MILLION, params[OF_16M]);
}

static void create(void *state)
{
    struct creation *creation = state;
    struct numapool_options options = NUMAPOOL_OPTIONS_INIT;
    options.name = POOL_NAME;
    options.slot_bytes = BENCH_PAYLOAD_BYTES;
    options.slots = creation->slots;
    if (numapool_create(&creation->pool, &options) < 0)
        bench_fail("%s", numapool_errormsg());
}

static void close_created(void *state)
{
    struct creation *creation = state;
    struct numapool_stats stats = { .size = sizeof stats };
    if (numapool_stats_read(creation->pool, NUMAPOOL_ANY_NODE, &stats) < 0 || numapool_close(creation->pool) < 0)
        bench_fail("%s", numapool_errormsg());
    note_pages(creation, stats.page_bytes);
}

/* ---------------------------------------------------------------- by a daemon */

static void *open_daemon_1m(void)
{
    return new_creation(MILLION, params[OF_1M_DAEMON]);
}

static void *open_daemon_16m(void)
{
    return new_creation(16 * MILLION, params[OF_16M_DAEMON]);
}

static void create_by_daemon(void *state)
{
    const struct creation *creation = state;
    bench_daemon_pool_make(POOL_NAME, creation->slots, 0);
}

static void end_by_daemon(void *state)
{
    const struct creation *creation = state;
    const struct timespec settle = { .tv_nsec = SETTLE_NS };
    note_pages(creation, bench_daemon_page_bytes(POOL_NAME));
    bench_daemon_pool_end(POOL_NAME);
    unsigned tries = 0;
    do
        nanosleep(&settle, NULL);
    while (creation->hugetlb && bench_free_huge_pages() < huge_pages_of(creation->slots) && ++tries < SETTLE_TRIES);
}

/* ---------------------------------------------------------------- floors */

static void *new_floor(uint64_t slots, enum bench_pages pages)
{
    struct creation *creation = new_creation(slots, NULL);
    creation->pages = creation->hugetlb ? BENCH_PAGES_HUGETLB : pages;
    creation->word_pages = pages; /* words are never on hugetlb pages */
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

static void populate(void *state)
{
    struct creation *creation = state;
    bench_memory_make(&creation->payload, creation->slots * BENCH_PAYLOAD_BYTES, creation->pages);
    bench_memory_make(&creation->words, creation->slots * WORD_BYTES, creation->word_pages);
}

static void unpopulate(void *state)
{
    struct creation *creation = state;
    bench_memory_unmake(&creation->payload);
    bench_memory_unmake(&creation->words);
}

/* ---------------------------------------------------------------- groups */

static const struct bench_variant create_1m = {
    .name = "numapool_create", .open = open_1m, .close = free, .before = warm_memory, .chunk = create, .after = close_created, .operations = 1,
};
static const struct bench_variant create_16m = {
    .name = "numapool_create", .open = open_16m, .close = free, .before = warm_memory, .chunk = create, .after = close_created, .operations = 1,
};
static const struct bench_variant create_1m_daemon = {
    .name = "numapool_admin_create", .open = open_daemon_1m, .close = free, .before = warm_memory, .chunk = create_by_daemon, .after = end_by_daemon,
    .operations = 1,
};
static const struct bench_variant create_16m_daemon = {
    .name = "numapool_admin_create", .open = open_daemon_16m, .close = free, .before = warm_memory, .chunk = create_by_daemon, .after = end_by_daemon,
    .operations = 1,
};
static const struct bench_variant floor_private_1m = {
    .name = "populated memory", .open = open_private_1m, .close = free, .before = warm_memory, .chunk = populate, .after = unpopulate, .operations = 1,
};
static const struct bench_variant floor_private_16m = {
    .name = "populated memory", .open = open_private_16m, .close = free, .before = warm_memory, .chunk = populate, .after = unpopulate, .operations = 1,
};
static const struct bench_variant floor_shared_1m = {
    .name = "populated memory files", .open = open_shared_1m, .close = free, .before = warm_memory, .chunk = populate, .after = unpopulate,
    .operations = 1,
};
static const struct bench_variant floor_shared_16m = {
    .name = "populated memory files", .open = open_shared_16m, .close = free, .before = warm_memory, .chunk = populate, .after = unpopulate,
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
    .row_count = 2, .sleeps = true, .slices_max = 5, .needs_bytes = BENCH_BYTES_16M,
};
