/* SPDX-License-Identifier: MIT
 *
 * Where the memory of a pool is, by each policy: asked of the kernel page by page. The sizes of nodes and where devices
 * are come from /sys as well. Embedded pools, made by threads of each node.
 */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../crash/harness.h"
#include "look.h"

enum { SLOTS = 6000, SLOT_BYTES = 256, MIB = 1 << 20 };

static struct machine machine;
static struct machine_pages all_pages;

/* ---------------------------------------------------------------- a pool, and where it is */

struct outcome {
    int result;
    char sentence[512];
    uint64_t slots[MACHINE_NODES_MAX]; /* by number of the node */
    uint64_t page_bytes;
    bool pages_right; /* all of them, as the kernel says to this test, and to numapool_verify */
};

static struct numapool_options options_of(enum numapool_policy policy, uint64_t flags, uint64_t slots)
{
    struct numapool_options options = NUMAPOOL_OPTIONS_INIT;
    options.name = "where";
    options.slot_bytes = SLOT_BYTES;
    options.slots = slots;
    options.flags = flags;
    options.policy = policy;
    return options;
}

static void look_at(struct numapool_pool *pool, struct outcome *outcome)
{
    struct machine_pages pages = { 0 };
    uint64_t misplaced = 0, counted = 0;
    for (unsigned i = 0; i < np_pool_arena_count(pool); i++) {
        const struct np_pool_arena *pa = &pool->arenas[i];
        outcome->slots[pa->arena.node] += pa->arena.slots;
        outcome->page_bytes = pa->page_bytes;
        counted += (pa->arena.data_bytes + 4095) / 4096 + pa->meta_bytes / 4096;
    }
    int looked = look_at_pages(pool, &pages), verified = numapool_verify(pool, &misplaced);
    outcome->pages_right = looked == 0 && verified == 0 && misplaced == 0 && pages.looked_at == counted &&
                           pages.elsewhere + pages.not_there == 0;
    all_pages.looked_at += pages.looked_at;
    all_pages.elsewhere += pages.elsewhere + pages.not_there;
    for (int node = 0; node < MACHINE_NODES_MAX; node++)
        all_pages.on[node] += pages.on[node];
}

static struct outcome make(const struct numapool_options *options)
{
    struct outcome outcome = { 0 };
    struct numapool_pool *pool;
    outcome.result = numapool_create(&pool, options);
    if (outcome.result < 0) {
        snprintf(outcome.sentence, sizeof outcome.sentence, "%s", numapool_errormsg());
        return outcome;
    }
    look_at(pool, &outcome);
    numapool_close(pool);
    return outcome;
}

static const char *tell(const struct outcome *outcome)
{
    static char text[640];
    size_t length = 0;
    if (outcome->result < 0) {
        snprintf(text, sizeof text, "%d: %s", outcome->result, outcome->sentence);
        return text;
    }
    for (int node = 0; node < MACHINE_NODES_MAX; node++)
        if (outcome->slots[node] > 0)
            length += (size_t)snprintf(text + length, sizeof text - length, "%s%llu on %d", length ? ", " : "",
                                       (unsigned long long)outcome->slots[node], node);
    return text;
}

static bool is_all_on(const struct outcome *outcome, int node, uint64_t slots)
{
    return outcome->result == 0 && outcome->pages_right && outcome->slots[node] == slots;
}

/* ---------------------------------------------------------------- shares */

static void evenly(void)
{
    const unsigned nodes = machine_nodes_with_cpus(&machine);
    uint64_t sum = 0;
    bool right = true;
    struct numapool_options options = options_of(NUMAPOOL_EVEN, 0, SLOTS);
    struct outcome outcome = make(&options);
    for (unsigned i = 0; i < machine.node_count; i++) {
        const struct machine_node *node = &machine.nodes[i];
        uint64_t slots = outcome.slots[node->number];
        right &= node->cpu_count > 0 ? slots == SLOTS / nodes || slots == SLOTS / nodes + 1 : slots == 0;
        sum += slots;
    }
    harness_expect(outcome.result == 0 && right && sum == SLOTS && outcome.pages_right,
                   "even: the same on each node with CPUs (%s)", tell(&outcome));
}

static void by_memory(void)
{
    uint64_t memory = 0, sum = 0;
    bool right = true;
    struct numapool_options options = options_of(NUMAPOOL_BY_MEMORY, 0, SLOTS);
    struct outcome outcome = make(&options);
    for (unsigned i = 0; i < machine.node_count; i++)
        memory += machine.nodes[i].cpu_count > 0 ? machine.nodes[i].memory_bytes : 0;
    for (unsigned i = 0; i < machine.node_count; i++) {
        const struct machine_node *node = &machine.nodes[i];
        const uint64_t share = node->cpu_count > 0
                                   ? (uint64_t)((double)SLOTS * (double)node->memory_bytes / (double)memory)
                                   : 0;
        const uint64_t slots = outcome.slots[node->number];
        right &= node->cpu_count > 0 ? slots + 2 > share && slots < share + machine.node_count + 1 : slots == 0;
        sum += slots;
    }
    harness_expect(outcome.result == 0 && right && sum == SLOTS && outcome.pages_right,
                   "by memory: in proportion to what nodes with CPUs have (%s)", tell(&outcome));
}

static void explicitly(void)
{
    uint64_t node_slots[MACHINE_NODES_MAX] = { 0 };
    bool right = true;
    struct numapool_options options = options_of(NUMAPOOL_EXPLICIT, 0, 0);
    for (unsigned i = 0; i < machine.node_count; i++)
        node_slots[machine.nodes[i].number] = 700 * (i + 1) + i;
    options.node_slots = node_slots;
    options.nodes = (uint32_t)machine.nodes[machine.node_count - 1].number + 1;
    struct outcome outcome = make(&options);
    for (int node = 0; node < MACHINE_NODES_MAX; node++)
        right &= outcome.slots[node] == node_slots[node];
    harness_expect(outcome.result == 0 && right && outcome.pages_right,
                   "explicit: as many as were asked for, memory-only nodes too (%s)", tell(&outcome));
}

/* ---------------------------------------------------------------- one node */

static void locally(void)
{
    for (unsigned i = 0; i < machine.node_count; i++) {
        const struct machine_node *node = &machine.nodes[i];
        if (node->cpu_count == 0)
            continue;
        struct numapool_options options = options_of(NUMAPOOL_LOCAL, i % 2 ? NUMAPOOL_STRICT : 0, SLOTS);
        machine_run_on_node(&machine, node->number);
        struct outcome outcome = make(&options);
        harness_expect(is_all_on(&outcome, node->number, SLOTS), "local%s, made on node %d: all there (%s)",
                       i % 2 ? ", strict" : "", node->number, tell(&outcome));
    }
}

/* The nearest node with CPUs, other than `from`, with that much free. -1: none. */
static int nearest_with_room(int from, uint64_t bytes)
{
    int nearest = -1;
    for (unsigned i = 0; i < machine.node_count; i++) {
        const struct machine_node *node = &machine.nodes[i];
        if (node->number == from || node->cpu_count == 0 || machine_node_bytes(node->number, "MemFree") < bytes)
            continue;
        if (nearest < 0 || machine_distance(&machine, from, node->number) < machine_distance(&machine, from, nearest))
            nearest = node->number;
    }
    return nearest;
}

/* More than the smallest node with CPUs has. */
static void without_room(void)
{
    const struct machine_node *small = NULL;
    for (unsigned i = 0; i < machine.node_count; i++)
        if (machine.nodes[i].cpu_count > 0 && (!small || machine.nodes[i].memory_bytes < small->memory_bytes))
            small = &machine.nodes[i];
    const uint64_t bytes = small->memory_bytes + 4 * MIB, slots = bytes / SLOT_BYTES;
    const int other = nearest_with_room(small->number, bytes + bytes / 4);
    if (other < 0) {
        harness_note("NOT RUN: no other node has %llu MiB free, which the smallest has not",
                     (unsigned long long)(bytes / MIB));
        return;
    }
    machine_run_on_node(&machine, small->number);
    struct numapool_options options = options_of(NUMAPOOL_LOCAL, NUMAPOOL_STRICT, slots);
    struct outcome outcome = make(&options);
    char node_text[16];
    snprintf(node_text, sizeof node_text, "node %d", small->number);
    harness_expect(outcome.result == -ENOMEM && strstr(outcome.sentence, node_text),
                   "local, strict, %llu MiB on node %d that has %llu: refused (%s)", (unsigned long long)(bytes / MIB),
                   small->number, (unsigned long long)(small->memory_bytes / MIB), tell(&outcome));
    options.flags = 0;
    outcome = make(&options);
    harness_expect(outcome.result == 0 && outcome.pages_right && outcome.slots[other] > 0 &&
                       outcome.slots[small->number] + outcome.slots[other] == slots,
                   "local, preferred: what does not fit is on node %d, the nearest with room (%s)", other,
                   tell(&outcome));
}

/* ---------------------------------------------------------------- devices */

static int node_of_device(const char *path)
{
    char text[320], line[32] = "";
    snprintf(text, sizeof text, "%s/numa_node", path);
    FILE *file = fopen(text, "r");
    int node = file && fgets(line, sizeof line, file) ? (int)strtol(line, NULL, 10) : -1;
    if (file)
        fclose(file);
    return node;
}

static unsigned near_each(const char *directory, const char *suffix, const char *prefix)
{
    unsigned devices = 0;
    const struct dirent *entry;
    DIR *list = opendir(directory);
    while (list && (entry = readdir(list)) != NULL) {
        char path[300];
        snprintf(path, sizeof path, "%.64s/%.128s%s", directory, entry->d_name, suffix);
        const int node = node_of_device(path);
        if (entry->d_name[0] == '.' || strncmp(entry->d_name, prefix, strlen(prefix)) != 0 || node < 0)
            continue;
        for (unsigned strict = 0; strict < 2; strict++) {
            struct numapool_options options = options_of(NUMAPOOL_NEAR_DEVICE, strict ? NUMAPOOL_STRICT : 0, SLOTS);
            options.device = entry->d_name;
            struct outcome outcome = make(&options);
            harness_expect(is_all_on(&outcome, node, SLOTS), "near %s, which is on node %d: all there (%s)",
                           entry->d_name, node, tell(&outcome));
        }
        devices++;
    }
    if (list)
        closedir(list);
    return devices;
}

static void near_devices(void)
{
    unsigned cards = near_each("/sys/class/net", "/device", ""),
             disks = near_each("/sys/class/block", "/device/device", "nvme");
    unsigned functions = near_each("/sys/bus/pci/devices", "", "");
    struct numapool_options options = options_of(NUMAPOOL_NEAR_DEVICE, 0, SLOTS);
    options.device = "no-such-device";
    struct outcome outcome = make(&options);
    harness_expect(outcome.result == -ENODEV && strstr(outcome.sentence, "no-such-device"),
                   "near a device that is not there: refused (%s)", tell(&outcome));
    if (cards + disks + functions == 0)
        harness_note("NOT RUN: no device here says on which node it is");
    else
        harness_note("near %u network cards, %u disks, %u PCI functions", cards, disks, functions);
}

/* ---------------------------------------------------------------- huge pages */

static void huge_pages(void)
{
    const uint64_t huge_bytes = 2 * MIB, slots = 2 * huge_bytes / SLOT_BYTES;
    int with = -1, without = -1;
    for (unsigned i = 0; i < machine.node_count; i++) {
        const struct machine_node *node = &machine.nodes[i];
        const uint64_t pages = machine_node_bytes(node->number, "HugePages_Free") >>
                               10; /* no unit: the reader took KiB */
        if (node->cpu_count > 0)
            *(pages >= 2 ? &with : &without) = node->number;
    }
    if (with < 0 || without < 0) {
        harness_note("NOT RUN: huge pages are to be on one node with CPUs, and not on another");
        return;
    }
    struct numapool_options options = options_of(NUMAPOOL_LOCAL, NUMAPOOL_STRICT | NUMAPOOL_HUGE_2M, slots);
    machine_run_on_node(&machine, with);
    struct outcome outcome = make(&options);
    harness_expect(is_all_on(&outcome, with, slots) && outcome.page_bytes == huge_bytes,
                   "local, strict, 2 MiB pages: of node %d (%s, pages of %llu)", with, tell(&outcome),
                   (unsigned long long)outcome.page_bytes);
    machine_run_on_node(&machine, without);
    outcome = make(&options);
    harness_expect(outcome.result == -ENOSPC,
                   "local, strict, 2 MiB pages on node %d, which has none: refused, though node %d has some (%s)",
                   without, with, tell(&outcome));
    options.flags = NUMAPOOL_HUGE_2M;
    outcome = make(&options);
    harness_expect(is_all_on(&outcome, with, slots) && outcome.page_bytes == huge_bytes,
                   "preferred: those of node %d (%s, pages of %llu)", with, tell(&outcome),
                   (unsigned long long)outcome.page_bytes);
    options.flags = NUMAPOOL_STRICT | NUMAPOOL_HUGE_2M | NUMAPOOL_PAGES_FALLBACK;
    outcome = make(&options);
    harness_expect(is_all_on(&outcome, without, slots) && outcome.page_bytes <= huge_bytes,
                   "strict, other pages allowed: on node %d (%s, pages of %llu)", without, tell(&outcome),
                   (unsigned long long)outcome.page_bytes);
}

int main(int argc, char **argv)
{
    harness_begin("policies", argc, argv);
    machine_read(&machine);
    machine_tell(&machine);
    evenly();
    by_memory();
    explicitly();
    locally();
    near_devices();
    huge_pages();
    without_room();
    harness_expect(all_pages.elsewhere == 0, "of all these pools no page was elsewhere");
    harness_note("figures: %llu pages of 4 KiB looked at", (unsigned long long)all_pages.looked_at);
    return harness_end();
}
