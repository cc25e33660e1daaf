/* SPDX-License-Identifier: MIT */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "numa/budget.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/error.h"
#include "numa/cgroup.h"
#include "numa/imagined.h"
#include "numa/placement.h"
#include "numa/system_files.h"
#include "numa/topology.h"

enum {
    MIB = 1 << 20,
    CREDIT_BYTES_MAX = 16 * MIB,
    CREDIT_DIVISOR = 16 /* of what is to spare: others would have to take the rest of it within CREDIT_NS */
};

#define CREDIT_NS INT64_C(50000000) /* as long as a slice of large memory takes between two looks */

static uint64_t at_most(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint64_t less(uint64_t from, uint64_t by)
{
    return from > by ? from - by : 0;
}

static uint64_t plus(uint64_t a, uint64_t b)
{
    return a <= UINT64_MAX - b ? a + b : UINT64_MAX;
}

static const char *size_text(char *text, uint64_t bytes, uint64_t round_up_by)
{
    static const char *const units[] = {"bytes", "KiB", "MiB", "GiB", "TiB", "PiB"};
    size_t unit = 0;
    while (bytes >= 10240 && unit + 1 < sizeof units / sizeof units[0]) {
        bytes = bytes / 1024 + (bytes % 1024 != 0 ? round_up_by : 0);
        unit++;
    }
    snprintf(text, NP_SIZE_TEXT_BYTES, "%" PRIu64 " %s", bytes, units[unit]);
    return text;
}

const char *np_size_text_up(char *text, uint64_t bytes)
{
    return size_text(text, bytes, 1);
}

const char *np_size_text_down(char *text, uint64_t bytes)
{
    return size_text(text, bytes, 0);
}

/* ---------------------------------------------------------------- nodes */

/* What is left to the rest of the machine: MemAvailable is an estimate, and whoever takes all of it makes others starve. */
static uint64_t reserve_bytes(uint64_t total_bytes)
{
    return at_most(total_bytes / 64, 256u * MIB);
}

static uint64_t machine_bytes(const char *root)
{
    char text[NP_SYSTEM_TEXT_BYTES];
    uint64_t total = 0, available;
    if (np_system_file_read(root, "/proc/meminfo", text, sizeof text) <= 0 ||
        !np_system_text_value(text, "MemAvailable", &available))
        return UINT64_MAX;
    np_system_text_value(text, "MemTotal", &total);
    return less(available, reserve_bytes(total));
}

uint64_t np_budget_node_bytes(const char *root, int node)
{
    /* On virtual machines whose memory is plugged in as it is used, a node's own MemTotal and MemFree lag behind;
     * where there is just one node the machine's figures are the truth. */
    if (node < 0 || np_topology_machine_nodes(root) == 1)
        return machine_bytes(root);

    char path[PATH_MAX], text[NP_SYSTEM_TEXT_BYTES];
    snprintf(path, sizeof path, "/sys/devices/system/node/node%d/meminfo", node);
    uint64_t total = 0, unused, cached = 0, slab = 0, kept = 0;
    if (np_system_file_read(root, path, text, sizeof text) <= 0 || !np_system_text_value(text, "MemFree", &unused))
        return machine_bytes(root);
    np_system_text_value(text, "MemTotal", &total);
    np_system_text_value(text, "Inactive(file)", &cached);
    np_system_text_value(text, "SReclaimable", &slab);
    /* A node's MemFree includes what only the kernel itself may take (MemAvailable does not). */
    if (np_system_file_number(root, "/proc/sys/vm/min_free_kbytes", &kept))
        kept = at_most(kept, UINT32_MAX) * 1024;
    return at_most(less(plus(unused, plus(cached, slab)), plus(kept, reserve_bytes(total))), machine_bytes(root));
}

uint64_t np_budget_huge_pages(const char *root, int node, size_t page_bytes)
{
    size_t page_kib = page_bytes / 1024;
    char path[PATH_MAX];
    uint64_t unused, promised = 0;
    snprintf(path, sizeof path, "/sys/kernel/mm/hugepages/hugepages-%zukB/free_hugepages", page_kib);
    if (!np_system_file_number(root, path, &unused))
        return 0;
    /* Promised pages still count as free, and no node says which of its own they will be. */
    snprintf(path, sizeof path, "/sys/kernel/mm/hugepages/hugepages-%zukB/resv_hugepages", page_kib);
    np_system_file_number(root, path, &promised);
    unused = less(unused, promised);
    if (node < 0)
        return unused;

    uint64_t on_node;
    snprintf(path, sizeof path, "/sys/devices/system/node/node%d/hugepages/hugepages-%zukB/free_hugepages", node,
             page_kib);
    if (np_system_file_number(root, path, &on_node))
        return at_most(unused, on_node);
    return np_topology_machine_nodes(root) == 1 ? unused : 0;
}

/* ---------------------------------------------------------------- cgroups */

struct cgroup_search {
    const char *root;
    uint64_t bytes; /* the least that any of them leaves */
    char *file;     /* whose limit that is */
    size_t capacity;
};

/* One limit file against the usage beside it. Page cache that nobody uses counts as usage, but goes before anybody is
 * killed. */
static void weigh_limit(struct cgroup_search *search, const char *directory, const char *limit_name, const char *usage_name,
                        const char *cache_key)
{
    char path[PATH_MAX], text[NP_SYSTEM_TEXT_BYTES];
    uint64_t limit, usage, cached = 0;
    /* the limit first: where there is none, as in most cgroups, the rest need not be read */
    if (snprintf(path, sizeof path, "%s/%s", directory, limit_name) >= (int)sizeof path ||
        !np_system_file_number(search->root, path, &limit) || limit >= UINT64_C(1) << 62)
        return;
    snprintf(path, sizeof path, "%s/memory.stat", directory);
    if (np_system_file_read(search->root, path, text, sizeof text) > 0)
        np_system_text_value(text, cache_key, &cached);
    if (snprintf(path, sizeof path, "%s/%s", directory, usage_name) >= (int)sizeof path ||
        !np_system_file_number(search->root, path, &usage))
        return;

    /* Each CPU is charged in advance for pages that it may want, and the process must go on living as well. */
    uint64_t left = less(less(limit, at_most(limit / 32, 16u * MIB)), less(usage, cached));
    if (left < search->bytes) {
        search->bytes = left;
        snprintf(search->file, search->capacity, "%s/%s", directory, limit_name);
    }
}

static void weigh_level(void *argument, const char *directory, bool version_2)
{
    struct cgroup_search *search = argument;
    if (!version_2) {
        weigh_limit(search, directory, "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file");
        return;
    }
    weigh_limit(search, directory, "memory.max", "memory.current", "inactive_file");
    /* Above memory.high nobody is killed, but who cannot be shrunk is slowed down without end. */
    weigh_limit(search, directory, "memory.high", "memory.current", "inactive_file");
}

uint64_t np_budget_cgroup_bytes(const char *root, char *file, size_t capacity)
{
    assert(capacity > 0);
    struct cgroup_search search = {root, UINT64_MAX, file, capacity};
    file[0] = '\0';
    np_cgroup_each_level(root, "memory", weigh_level, &search);
    return search.bytes;
}

/* ---------------------------------------------------------------- the verdict */

/* 4 KiB pages cost 1/512 for page tables and about as much for the file's index; twice that is on the safe side. */
static uint64_t needed_for(size_t bytes)
{
    return plus(bytes, bytes / 128);
}

/* *spare: what is left beyond the bytes, by the tightest of all limits. */
static int look(const char *root, const char *what, size_t bytes, int node, uint64_t *spare)
{
    uint64_t needed = needed_for(bytes);
    char needed_text[NP_SIZE_TEXT_BYTES], left_text[NP_SIZE_TEXT_BYTES], file[PATH_MAX];
    np_size_text_up(needed_text, needed);

    uint64_t left = np_budget_node_bytes(root, node);
    if (needed > left && node >= 0)
        return np_error(-ENOMEM,
                        "%s needs %s on node %d, which has %s to spare: make it smaller, place part of it on another node, "
                        "or free memory on node %d",
                        what, needed_text, node, np_size_text_down(left_text, left), node);
    if (needed > left)
        return np_error(-ENOMEM, "%s needs %s, and the machine has %s to spare: make it smaller or free memory", what,
                        needed_text, np_size_text_down(left_text, left));
    *spare = left - needed;

    left = np_budget_cgroup_bytes(root, file, sizeof file);
    if (needed > left)
        return np_error(-ENOMEM,
                        "%s needs %s, and the limit %.200s leaves %s: make it smaller or raise the limit (MemoryMax= of the "
                        "service, --memory of the container)",
                        what, needed_text, file, np_size_text_down(left_text, left));
    *spare = at_most(*spare, left - needed);
    return 0;
}

int np_budget_check(const char *root, const char *what, size_t bytes, int node)
{
    uint64_t spare;
    return look(root, what, bytes, node, &spare);
}

int np_budget_check_small(struct np_budget_credit *credit, const char *root, const char *what, size_t bytes, int64_t now_ns)
{
    uint64_t needed = needed_for(bytes), spare = 0;
    bool is_good = now_ns < credit->until_ns;
    if (is_good && needed <= credit->bytes) {
        credit->bytes -= needed;
        return 0;
    }
    int result = look(root, what, bytes, -1, &spare);
    credit->bytes = result < 0 ? 0 : at_most(spare / CREDIT_DIVISOR, CREDIT_BYTES_MAX);
    credit->until_ns = now_ns + CREDIT_NS;
    return result;
}

/* Each thread has a credit of its own, so no lock: there are few that make memory. */
int np_budget_now(const char *what, size_t bytes, int node)
{
    static _Thread_local struct np_budget_credit credit;
    struct timespec now;
    if (node >= 0 || bytes > NP_BUDGET_SMALL_BYTES)
        return np_budget_check(NP_SYSTEM_ROOT, what, bytes, node);
    clock_gettime(CLOCK_MONOTONIC, &now);
    return np_budget_check_small(&credit, NP_SYSTEM_ROOT, what, bytes, (int64_t)now.tv_sec * 1000000000 + now.tv_nsec);
}

int np_memory_budget(const char *what, size_t bytes, int node)
{
    int result = np_imagined_take(what, node, bytes);
    if (result < 0)
        return result;
    np_imagined_give(node, bytes);
    return np_budget_now(what, bytes, np_node_physical(node));
}
