/* SPDX-License-Identifier: MIT
 *
 * Where a slot comes from when a node has none left: of a pool that prefers, from the nearest node by the distances of
 * /sys, one node after the other; of a strict one, from nowhere, and who waits is woken by a slot of his own node. And
 * a thread's magazine is on the node that the thread runs on, or on the nearest where there are slots.
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../crash/harness.h"
#include "look.h"

enum { SLOTS = 512, SLOTS_MAX = SLOTS * MACHINE_NODES_MAX };

static struct machine machine;
static unsigned with_memory; /* nodes */
static uint64_t slots_taken;

static bool has_memory(unsigned place)
{
    return machine.nodes[place].memory_bytes > 0;
}

/* ---------------------------------------------------------------- pools */

/* With that many slots on each node that `has` names (NULL: on all that have memory). */
static struct numapool_pool *create(const char *name, uint64_t flags, const bool *has)
{
    uint64_t node_slots[MACHINE_NODES_MAX] = { 0 };
    struct numapool_options options = NUMAPOOL_OPTIONS_INIT;
    struct numapool_pool *pool;
    for (unsigned i = 0; i < machine.node_count; i++)
        node_slots[machine.nodes[i].number] = (has ? has[i] : has_memory(i)) ? SLOTS : 0;
    options.name = name;
    options.slot_bytes = 64;
    options.flags = flags;
    options.node_slots = node_slots;
    options.nodes = (uint32_t)machine.nodes[machine.node_count - 1].number + 1;
    options.policy = NUMAPOOL_EXPLICIT;
    if (numapool_create(&pool, &options) == 0)
        return pool;
    harness_expect(false, "pool %s is made: %s", name, numapool_errormsg());
    exit(harness_end());
}

static struct numapool_magazine *open_magazine(struct numapool_pool *pool, int node)
{
    struct numapool_magazine *magazine;
    if (numapool_magazine_open(pool, node, 0, &magazine) == 0)
        return magazine;
    harness_expect(false, "a magazine for node %d: %s", node, numapool_errormsg());
    exit(harness_end());
}

static void put_all(struct numapool_magazine *magazine, void *const *slots, unsigned count)
{
    unsigned failed = 0;
    for (unsigned i = 0; i < count; i++)
        failed += numapool_put(magazine, slots[i]) < 0;
    if (failed)
        harness_expect(false, "%u slots could not be given back: %s", failed, numapool_errormsg());
}

static void end_pool(struct numapool_pool *pool)
{
    if (numapool_close(pool) < 0)
        harness_expect(false, "the pool is closed: %s", numapool_errormsg());
}

/* ---------------------------------------------------------------- the nearest first */

static int compare_from;
static int compare_nearness(const void *a, const void *b)
{
    const int one = *(const int *)a, other = *(const int *)b;
    const unsigned near = machine_distance(&machine, compare_from, one),
                   far = machine_distance(&machine, compare_from, other);
    return near != far ? (near < far ? -1 : 1) : one - other;
}

static void expected_order(int from, int *order)
{
    unsigned count = 0;
    for (unsigned i = 0; i < machine.node_count; i++)
        if (has_memory(i))
            order[count++] = machine.nodes[i].number;
    compare_from = from;
    qsort(order, count, sizeof *order, compare_nearness);
}

static void tell_order(char *text, size_t bytes, const int *order)
{
    size_t length = 0;
    for (unsigned i = 0; i < with_memory; i++)
        length += (size_t)snprintf(text + length, bytes - length, "%s%d (%u)", i ? ", " : "", order[i],
                                   machine_distance(&machine, order[0], order[i]));
}

/* All slots of the pool, one by one or by `bulk`, from a magazine of `node`: whether they come in that order. */
static void take_in_order(int node, unsigned bulk)
{
    static void *slots[SLOTS_MAX];
    int order[MACHINE_NODES_MAX];
    char text[256];
    unsigned taken = 0, wrong = 0;
    void *slot;
    struct numapool_pool *pool = create("preferred", 0, NULL);
    struct numapool_magazine *magazine = open_magazine(pool, node);
    expected_order(node, order);
    tell_order(text, sizeof text, order);
    if (bulk > 0)
        while (taken + bulk <= SLOTS_MAX && numapool_get_bulk(magazine, slots + taken, bulk) == 0) {
            unsigned of[MACHINE_NODES_MAX] = { 0 }; /* a bulk is in no order of its own */
            for (unsigned i = 0; i < bulk; i++)
                of[numapool_slot_node(pool, slots[taken + i])]++;
            for (unsigned i = 0; i < bulk; i++)
                of[order[(taken + i) / SLOTS]]--;
            for (unsigned i = 0; i < MACHINE_NODES_MAX; i++)
                wrong += of[i] != 0;
            taken += bulk;
        }
    while ((slot = numapool_get(magazine)) != NULL && taken < SLOTS_MAX) {
        wrong += numapool_slot_node(pool, slot) != order[taken / SLOTS];
        slots[taken++] = slot;
    }
    slots_taken += taken;
    harness_expect(taken == SLOTS * with_memory && wrong == 0,
                   "preferred, a magazine of node %d, %s: %u slots come from nodes %s, each exhausted before the next "
                   "(%u did not)",
                   node, bulk ? "in bulks" : "one by one", taken, text, wrong);
    harness_expect(numapool_get_wait(magazine, &slot, 0) == -EAGAIN, "and then it is empty");
    put_all(magazine, slots, taken);
    numapool_magazine_close(magazine);
    end_pool(pool);
}

/* ---------------------------------------------------------------- strict */

struct waiter {
    struct numapool_magazine *magazine;
    void *slot;
    int result;
    _Atomic int thread; /* its number; 0: it has not begun */
    _Atomic bool ended;
};

static void *wait_for_slot(void *argument)
{
    struct waiter *waiter = argument;
    atomic_store_explicit(&waiter->thread, (int)gettid(), memory_order_release); /* pairs with the look in sleeps */
    waiter->result = numapool_get_wait(waiter->magazine, &waiter->slot, INT64_C(30000000000));
    atomic_store_explicit(&waiter->ended, true, memory_order_release); /* pairs with the looks below */
    return NULL;
}

/* A value of the thread's /proc/.../status; the first letter of a text. -1: none. */
static long thread_status(int thread, const char *label)
{
    char path[64], line[128];
    long value = -1;
    snprintf(path, sizeof path, "/proc/self/task/%d/status", thread);
    FILE *file = fopen(path, "r");
    while (file && fgets(line, sizeof line, file))
        if (strncmp(line, label, strlen(label)) == 0) {
            const char *text = line + strlen(label) + strspn(line + strlen(label), ": \t");
            value = *text >= '0' && *text <= '9' ? strtol(text, NULL, 10) : *text;
        }
    if (file)
        fclose(file);
    return value;
}

static bool sleeps(void *context)
{
    struct waiter *waiter = context;
    int thread = atomic_load_explicit(&waiter->thread, memory_order_acquire);
    return thread > 0 && thread_status(thread, "State") == 'S';
}

/* One of another node comes free, then one of its own: which wakes it? */
static void wake_by_own_node(struct numapool_pool *pool, struct numapool_magazine *magazine, int node, void *own_slot)
{
    struct waiter waiter = { .magazine = magazine };
    struct numapool_magazine *others[MACHINE_NODES_MAX], *own = open_magazine(pool, node);
    void *far_slots[MACHINE_NODES_MAX];
    pthread_t thread;
    unsigned count = 0;
    for (unsigned i = 0; i < machine.node_count; i++)
        if (has_memory(i) && machine.nodes[i].number != node) {
            others[count] = open_magazine(pool, machine.nodes[i].number);
            far_slots[count] = numapool_get(others[count]);
            count++;
        }
    if (pthread_create(&thread, NULL, wait_for_slot, &waiter) != 0)
        exit(2);
    harness_expect(harness_wait_until(sleeps, &waiter, INT64_C(10000000000)),
                   "strict, node %d: somebody waits for a slot", node);
    const long slept_before = thread_status(waiter.thread, "voluntary_ctxt_switches");
    for (unsigned i = 0; i < count; i++) {
        put_all(others[i], &far_slots[i], 1);
        numapool_flush(others[i]);
    }
    harness_sleep_ns(20000000);
    const long wakes = thread_status(waiter.thread, "voluntary_ctxt_switches") - slept_before;
    harness_expect(!atomic_load_explicit(&waiter.ended, memory_order_acquire) && wakes <= 2 * (long)count + 2,
                   "strict, node %d: %u slots of other nodes are not his, and he was woken %ld times", node, count,
                   wakes);
    put_all(own, &own_slot, 1);
    numapool_flush(own);
    pthread_join(thread, NULL);
    harness_expect(waiter.result == 0 && waiter.slot && numapool_slot_node(pool, waiter.slot) == node,
                   "strict, node %d: he is woken by one of his own (%d, node %d)", node, waiter.result,
                   waiter.slot ? numapool_slot_node(pool, waiter.slot) : -1);
    if (waiter.slot)
        put_all(magazine, &waiter.slot, 1);
    for (unsigned i = 0; i < count; i++)
        numapool_magazine_close(others[i]);
    numapool_magazine_close(own);
}

static void strict(int node)
{
    static void *slots[SLOTS_MAX];
    unsigned taken = 0, wrong = 0;
    void *slot, *bulk[2];
    struct numapool_pool *pool = create("strict", NUMAPOOL_STRICT, NULL);
    struct numapool_magazine *magazine = open_magazine(pool, node);
    while ((slot = numapool_get(magazine)) != NULL && taken < SLOTS_MAX) {
        wrong += numapool_slot_node(pool, slot) != node;
        slots[taken++] = slot;
    }
    slots_taken += taken;
    harness_expect(taken == SLOTS && wrong == 0, "strict, node %d: its %u slots and no other (%u of others)", node,
                   taken, wrong);
    harness_note("%s", numapool_errormsg());
    harness_expect(numapool_get_wait(magazine, &slot, 0) == -EAGAIN && numapool_get_bulk(magazine, bulk, 2) == -EAGAIN,
                   "strict, node %d: then -EAGAIN, though other nodes have slots", node);
    harness_expect(numapool_get_wait(magazine, &slot, 5000000) == -ETIMEDOUT,
                   "strict, node %d: who waits in vain is told so", node);
    if (taken > 0 && with_memory > 1)
        wake_by_own_node(pool, magazine, node, slots[--taken]);
    put_all(magazine, slots, taken);
    numapool_magazine_close(magazine);
    end_pool(pool);
}

/* ---------------------------------------------------------------- threads that move */

/* Takes slots until the magazine must have been refilled, and says on which node the last one is. */
static int node_after_refill(struct numapool_pool *pool, struct numapool_magazine *magazine, void **slots,
                             unsigned *count)
{
    unsigned in_stack = (unsigned)(magazine->top - magazine->bottom);
    for (unsigned i = 0; i <= in_stack; i++)
        if ((slots[*count] = numapool_get(magazine)) != NULL)
            ++*count;
    return *count ? numapool_slot_node(pool, slots[*count - 1]) : -1;
}

static uint64_t followed(struct numapool_pool *pool, int node)
{
    struct numapool_stats stats = { .size = sizeof stats };
    return numapool_stats_read(pool, node, &stats) < 0 ? 0 : stats.followed;
}

static void follow(void)
{
    static void *slots[SLOTS_MAX];
    unsigned count = 0, moves = 0, wrong = 0, not_counted = 0;
    struct numapool_pool *pool = create("follow", 0, NULL);
    machine_run_on_cpu(machine.cpus[0]);
    struct numapool_magazine *magazine = numapool_thread_magazine(pool),
                             *fixed = open_magazine(pool, machine.nodes[0].number);
    for (unsigned from = 0; from < machine.cpu_count; from++)
        for (unsigned to = 0; to < machine.cpu_count; to++) {
            const int start = machine_node_of_cpu(&machine, machine.cpus[from]),
                      node = machine_node_of_cpu(&machine, machine.cpus[to]);
            if (start == node || !machine_node(&machine, start)->memory_bytes ||
                !machine_node(&machine, node)->memory_bytes)
                continue;
            machine_run_on_cpu(machine.cpus[from]);
            wrong += node_after_refill(pool, magazine, slots, &count) != start;
            uint64_t before = followed(pool, node);
            machine_run_on_cpu(machine.cpus[to]);
            wrong += node_after_refill(pool, magazine, slots, &count) != node;
            not_counted += followed(pool, node) != before + 1;
            put_all(magazine, slots, count);
            count = 0;
            moves++;
        }
    harness_expect(moves > 0 && wrong == 0,
                   "%u moves of a thread to another node: at its next refill its magazine is there (%u times not)",
                   moves, wrong);
    harness_expect(moves > 0 && not_counted == 0, "each is counted once (%u were not)", not_counted);
    machine_run_on_cpu(machine.cpus[machine.cpu_count - 1]);
    harness_expect(node_after_refill(pool, fixed, slots, &count) == machine.nodes[0].number,
                   "a magazine of a node by number stays there");
    put_all(fixed, slots, count);
    numapool_magazine_close(fixed);
    end_pool(pool);
}

/* Slots on two other nodes: the nearer is taken, whichever comes first in the pool. */
static void nearest_for_the_homeless(void)
{
    unsigned cases = 0, wrong = 0;
    for (unsigned own = 0; own < machine.node_count; own++)
        for (unsigned a = 0; a < machine.node_count; a++)
            for (unsigned b = a + 1; b < machine.node_count; b++) {
                bool has[MACHINE_NODES_MAX] = { false };
                int order[MACHINE_NODES_MAX];
                unsigned place = 0;
                if (machine.nodes[own].cpu_count == 0 || own == a || own == b || !has_memory(a) || !has_memory(b))
                    continue;
                has[a] = has[b] = true;
                struct numapool_pool *pool = create("homeless", 0, has);
                machine_run_on_node(&machine, machine.nodes[own].number);
                expected_order(machine.nodes[own].number, order);
                while (order[place] != machine.nodes[a].number && order[place] != machine.nodes[b].number)
                    place++;
                void *slot = numapool_get(numapool_thread_magazine(pool));
                wrong += !slot || numapool_slot_node(pool, slot) != order[place];
                if (slot)
                    put_all(numapool_thread_magazine(pool), &slot, 1);
                end_pool(pool);
                cases++;
            }
    if (cases > 0)
        harness_expect(wrong == 0, "%u threads whose node has no slots take the nearest node's (%u do not)", cases,
                       wrong);
}

int main(int argc, char **argv)
{
    harness_begin("order", argc, argv);
    machine_read(&machine);
    machine_tell(&machine);
    for (unsigned i = 0; i < machine.node_count; i++)
        with_memory += has_memory(i);
    for (unsigned i = 0; i < machine.node_count; i++) {
        if (!has_memory(i))
            continue;
        take_in_order(machine.nodes[i].number, 0);
        take_in_order(machine.nodes[i].number, 32);
        strict(machine.nodes[i].number);
    }
    if (machine_nodes_with_cpus(&machine) > 1)
        follow();
    nearest_for_the_homeless();
    harness_note("figures: %llu slots taken from %u nodes until these were empty, each looked at",
                 (unsigned long long)slots_taken, with_memory);
    return harness_end();
}
