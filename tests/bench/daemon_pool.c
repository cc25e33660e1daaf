/* SPDX-License-Identifier: MIT */
#include "daemon_pool.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "bench.h"
#include "daemon.h"

static struct numapool_client *admin;
static pid_t admin_of;

/* Before the daemon ends: it would wait for its memory to be let go of. */
static void leave(void)
{
    if (admin && getpid() == admin_of)
        numapool_disconnect(admin);
    admin = NULL;
}

struct numapool_client *bench_daemon_admin(void)
{
    if (admin)
        return admin;
    if (numapool_connect(&admin, bench_daemon_socket()) < 0)
        bench_fail("%s", numapool_errormsg());
    admin_of = getpid();
    atexit(leave);
    return admin;
}

void bench_daemon_pool_make(const char *name, uint64_t slots, uint64_t flags)
{
    struct numapool_options options = NUMAPOOL_OPTIONS_INIT;
    options.name = name;
    options.slot_bytes = BENCH_PAYLOAD_BYTES;
    options.slots = slots;
    options.flags = flags;
    if (numapool_admin_create(bench_daemon_admin(), &options) < 0)
        bench_fail("%s", numapool_errormsg());
}

void bench_daemon_pool_end(const char *name)
{
    if (numapool_admin_destroy(bench_daemon_admin(), name, NUMAPOOL_DESTROY_DISCARD) < 0)
        bench_fail("%s", numapool_errormsg());
}

uint64_t bench_daemon_page_bytes(const char *name)
{
    struct numapool_stats stats = { .size = sizeof stats };
    struct numapool_pool *pool;
    if (numapool_open(bench_daemon_admin(), name, 0, &pool) < 0 || numapool_stats_read(pool, NUMAPOOL_ANY_NODE, &stats) < 0 ||
        numapool_close(pool) < 0)
        bench_fail("%s", numapool_errormsg());
    return stats.page_bytes;
}

uint64_t bench_free_huge_pages(void)
{
    FILE *file = fopen("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages", "re");
    unsigned long long pages = 0;
    if (!file)
        return 0;
    if (fscanf(file, "%llu", &pages) != 1)
        pages = 0;
    fclose(file);
    return pages;
}

uint64_t bench_transparent_flags(void)
{
    return bench_free_huge_pages() > 0 ? NUMAPOOL_HUGE_THP | NUMAPOOL_PAGES_FALLBACK : 0;
}

const char *bench_pages_text(uint64_t page_bytes, bool hugetlb)
{
    if (page_bytes < 2 << 20)
        return "4 KiB";
    return hugetlb ? "hugetlb 2 MiB" : "transparent 2 MiB";
}
