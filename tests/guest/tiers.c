/* SPDX-License-Identifier: MIT
 *
 * A pool that spills to a memory-only node: below the watermark slots come from there, and no magazine keeps one of
 * them; when the far ones are used up the rest of the near node is taken, so that nothing fails while there is a slot;
 * what is given back goes home; and when the node has recovered slots are near again. From each node with CPUs.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../crash/harness.h"
#include "look.h"

enum {
    SLOTS_A_NODE = 1024,
    FAR_SLOTS = 256,
    WATERMARK = 128,
    TAKEN_MAX = (SLOTS_A_NODE + FAR_SLOTS) * MACHINE_NODES_MAX
};

static struct machine machine;
static void *taken[TAKEN_MAX];
static int taken_of[TAKEN_MAX];

static struct numapool_pool *create(void)
{
    struct numapool_options options = NUMAPOOL_OPTIONS_INIT;
    struct numapool_pool *pool;
    options.name = "tiers";
    options.slot_bytes = 64;
    options.slots = SLOTS_A_NODE * machine_nodes_with_cpus(&machine);
    options.low_watermark = WATERMARK;
    options.spill_slots = FAR_SLOTS;
    if (numapool_create(&pool, &options) == 0)
        return pool;
    harness_expect(false, "a pool that spills: %s", numapool_errormsg());
    exit(harness_end());
}

static struct numapool_stats stats_of(struct numapool_pool *pool, int node)
{
    struct numapool_stats stats = { .size = sizeof stats };
    if (numapool_stats_read(pool, node, &stats) < 0)
        harness_expect(false, "statistics of node %d: %s", node, numapool_errormsg());
    return stats;
}

static bool is_far(int node)
{
    return machine_node(&machine, node)->cpu_count == 0;
}

/* Slots in caches of other nodes than their own. */
static uint64_t foreign_in_caches(const struct numapool_pool *pool)
{
    struct look_claims *claims = calloc(1, look_claims_bytes(np_pool_arena_count(pool), SLOTS_A_NODE));
    struct look_caches caches = { 0 };
    look_claims_begin(claims, np_pool_arena_count(pool), SLOTS_A_NODE);
    look_at_caches(pool, claims, &caches);
    free(claims);
    return caches.foreign + caches.unknown;
}

static uint64_t sum_over_far(struct numapool_pool *pool, bool spilled)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < machine.node_count; i++)
        if (is_far(machine.nodes[i].number)) {
            struct numapool_stats stats = stats_of(pool, machine.nodes[i].number);
            sum += spilled ? stats.spilled : stats.free_slots;
        }
    return sum;
}

/* Takes all that the thread's magazine gives. */
static unsigned take_all(struct numapool_pool *pool, struct numapool_magazine *magazine, uint64_t *foreign)
{
    unsigned count = 0;
    while (count < TAKEN_MAX && (taken[count] = numapool_get(magazine)) != NULL) {
        taken_of[count] = numapool_slot_node(pool, taken[count]);
        count++;
        if (count % 64 == 0)
            *foreign += foreign_in_caches(pool);
    }
    return count;
}

/* The order in which they came. `near_before`: of the node before the first far one. */
static void judge_order(int node, unsigned count)
{
    unsigned near_before = 0, far = 0, near_after = 0, far_after_other = 0, others = 0, near_after_other = 0;
    for (unsigned i = 0; i < count; i++) {
        if (is_far(taken_of[i])) {
            far++;
            far_after_other += others > 0;
        } else if (taken_of[i] == node) {
            *(far ? &near_after : &near_before) += 1;
            near_after_other += others > 0;
        } else
            others++;
    }
    harness_expect(near_before <= SLOTS_A_NODE - WATERMARK + 64 && near_before + 2 * WATERMARK >= SLOTS_A_NODE,
                   "node %d: the first far slot comes when it runs low: after %u of %d, watermark %d", node,
                   near_before, SLOTS_A_NODE, WATERMARK);
    harness_expect(far == FAR_SLOTS && near_before + near_after == SLOTS_A_NODE &&
                       far_after_other + near_after_other == 0,
                   "node %d: all %u far ones and then the %u that it had left, before any of another node (%u)", node,
                   far, near_after, others);
    harness_expect(others == count - far - SLOTS_A_NODE &&
                       count == SLOTS_A_NODE * machine_nodes_with_cpus(&machine) + FAR_SLOTS,
                   "node %d: nothing fails while there is a slot (%u)", node, count);
}

static void spill_from(int node)
{
    uint64_t foreign = 0;
    struct numapool_pool *pool = create();
    machine_run_on_node(&machine, node);
    struct numapool_magazine *magazine = numapool_thread_magazine(pool);
    unsigned count = take_all(pool, magazine, &foreign), failed = 0;
    judge_order(node, count);
    harness_expect(foreign == 0, "node %d: no magazine or depot kept a far one (%llu)", node,
                   (unsigned long long)foreign);
    harness_expect(sum_over_far(pool, true) == FAR_SLOTS, "node %d: each of these is counted as spilled (%llu)", node,
                   (unsigned long long)sum_over_far(pool, true));
    for (unsigned i = 0; i < count; i++)
        failed += numapool_put(magazine, taken[i]) < 0;
    numapool_flush(magazine);
    harness_expect(failed == 0 && foreign_in_caches(pool) == 0 && sum_over_far(pool, false) == FAR_SLOTS &&
                       stats_of(pool, NUMAPOOL_ANY_NODE).free_slots == count,
                   "node %d: given back they all went home (%llu free)", node,
                   (unsigned long long)stats_of(pool, NUMAPOOL_ANY_NODE).free_slots);
    unsigned again = 0, far = 0;
    for (; again < SLOTS_A_NODE / 2 && (taken[again] = numapool_get(magazine)) != NULL; again++)
        far += numapool_slot_node(pool, taken[again]) != node;
    harness_expect(again == SLOTS_A_NODE / 2 && far == 0,
                   "node %d: when it has recovered slots are near again (%u are not)", node, far);
    for (unsigned i = 0; i < again; i++)
        numapool_put(magazine, taken[i]);
    harness_expect(numapool_close(pool) == 0, "node %d: the pool is closed", node);
}

/* A thread of the memory-only kind there is none; a strict pool does not spill. */
static void strict_does_not_spill(void)
{
    struct numapool_options options = NUMAPOOL_OPTIONS_INIT;
    struct numapool_pool *pool;
    options.name = "strict";
    options.slot_bytes = 64;
    options.slots = SLOTS_A_NODE;
    options.spill_slots = FAR_SLOTS;
    options.flags = NUMAPOOL_STRICT;
    harness_expect(numapool_create(&pool, &options) < 0, "a strict pool that spills is refused: %s",
                   numapool_errormsg());
}

int main(int argc, char **argv)
{
    harness_begin("tiers", argc, argv);
    machine_read(&machine);
    machine_tell(&machine);
    if (machine_nodes_with_cpus(&machine) == machine.node_count)
        harness_note("NOT RUN: there is no memory-only node");
    for (unsigned i = 0; i < machine.node_count && machine_nodes_with_cpus(&machine) < machine.node_count; i++)
        if (machine.nodes[i].cpu_count > 0)
            spill_from(machine.nodes[i].number);
    strict_does_not_spill();
    return harness_end();
}
