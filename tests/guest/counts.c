/* SPDX-License-Identifier: MIT
 *
 * The counters of placement, exactly: a script of gets and puts by a thread that is now on the one and now on the other
 * node, each step with what it must add to the counters of both nodes and of no other.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../crash/harness.h"
#include "machine.h"

enum { SLOTS = 1024, BULK = 100, OVER = 16 };

struct counters {
    uint64_t local, remote, foreign, spilled, homeless, home_returns, followed;
};

static struct machine machine;
static int here, there; /* the two nodes */
static struct numapool_pool *pool;
static struct counters before[MACHINE_NODES_MAX];
static uint64_t moved;

/* ---------------------------------------------------------------- counters */

static struct counters read_node(int node)
{
    struct numapool_stats stats = { .size = sizeof stats };
    if (numapool_stats_read(pool, node, &stats) < 0)
        return (struct counters){ 0 }; /* a node without slots */
    return (struct counters){ stats.local,    stats.remote,       stats.foreign, stats.spilled,
                              stats.homeless, stats.home_returns, stats.followed };
}

static void tell(const char *whose, const struct counters *c)
{
    harness_note(
        "%s: local %llu, remote %llu, foreign %llu, spilled %llu, homeless %llu, home returns %llu, followed %llu",
        whose, (unsigned long long)c->local, (unsigned long long)c->remote, (unsigned long long)c->foreign,
        (unsigned long long)c->spilled, (unsigned long long)c->homeless, (unsigned long long)c->home_returns,
        (unsigned long long)c->followed);
}

static struct counters since(const struct counters *now, const struct counters *then)
{
    return (struct counters){ now->local - then->local,       now->remote - then->remote,
                              now->foreign - then->foreign,   now->spilled - then->spilled,
                              now->homeless - then->homeless, now->home_returns - then->home_returns,
                              now->followed - then->followed };
}

static void expect_added(const char *step, struct counters of_here, struct counters of_there)
{
    bool right = true;
    struct counters wrong_ones[MACHINE_NODES_MAX];
    for (unsigned i = 0; i < machine.node_count; i++) {
        const int node = machine.nodes[i].number;
        const struct counters now = read_node(node), added = since(&now, &before[node]);
        const struct counters expected = node == here ? of_here : node == there ? of_there : (struct counters){ 0 };
        wrong_ones[i] = added;
        right &= memcmp(&added, &expected, sizeof added) == 0;
        moved += added.local + added.remote;
        before[node] = now;
    }
    if (!harness_expect(right, "%s", step))
        for (unsigned i = 0; i < machine.node_count; i++) {
            char whose[24];
            snprintf(whose, sizeof whose, "node %d added", machine.nodes[i].number);
            tell(whose, &wrong_ones[i]);
        }
}

/* ---------------------------------------------------------------- what is done */

static void *slots[SLOTS * MACHINE_NODES_MAX];
static unsigned count;

static struct numapool_magazine *open_magazine(int node)
{
    struct numapool_magazine *magazine;
    if (numapool_magazine_open(pool, node, 0, &magazine) == 0)
        return magazine;
    harness_expect(false, "a magazine of node %d: %s", node, numapool_errormsg());
    exit(harness_end());
}

static void take(struct numapool_magazine *magazine, unsigned n)
{
    if (numapool_get_bulk(magazine, slots + count, n) < 0)
        harness_expect(false, "%u slots: %s", n, numapool_errormsg());
    else
        count += n;
}

static void give_all(struct numapool_magazine *magazine)
{
    if (numapool_put_bulk(magazine, slots, count) < 0 || numapool_flush(magazine) < 0)
        harness_expect(false, "%u slots are given back: %s", count, numapool_errormsg());
    count = 0;
}

static void run_script(const char *name)
{
    struct numapool_magazine *of_here, *of_there, *own;
    const struct counters nothing = { 0 };
    machine_run_on_node(&machine, here);
    of_here = open_magazine(here);
    of_there = open_magazine(there);
    own = numapool_thread_magazine(pool);
    for (unsigned i = 0; i < machine.node_count; i++)
        before[machine.nodes[i].number] = read_node(machine.nodes[i].number);
    harness_note("%s: nodes %d and %d", name, here, there);
    take(of_here, BULK);
    expect_added("taken by a thread on the node: local", (struct counters){ .local = BULK }, nothing);
    numapool_put_bulk(of_here, slots, count);
    count = 0;
    expect_added("given back where they are at home: nothing", nothing, nothing);
    const unsigned kept = (unsigned)(of_here->top - of_here->bottom); /* these are not moved again */
    take(of_here, BULK);
    expect_added("taken again, out of the process's depot: local", (struct counters){ .local = BULK - kept }, nothing);
    machine_run_on_node(&machine, there);
    take(of_here, BULK);
    expect_added("taken by a thread on the other node: remote", (struct counters){ .remote = BULK }, nothing);
    give_all(of_there);
    expect_added("given to a magazine of the other node: home returns", (struct counters){ .home_returns = 2 * BULK },
                 nothing);
    take(own, BULK);
    expect_added("the thread's own magazine followed it: followed, and local there", nothing,
                 (struct counters){ .local = BULK, .followed = 1 });
    give_all(own);
    expect_added("and nothing had to go home", nothing, nothing);
    machine_run_on_node(&machine, here);
    take(of_here, SLOTS + OVER);
    expect_added("more than the node has: foreign, and spilled and remote on the other",
                 (struct counters){ .local = SLOTS, .foreign = OVER },
                 (struct counters){ .remote = OVER, .spilled = OVER });
    give_all(of_here);
    expect_added("the others' go home", nothing, (struct counters){ .home_returns = OVER });
    numapool_magazine_close(of_here);
    numapool_magazine_close(of_there);
}

static bool create(bool on_both)
{
    uint64_t node_slots[MACHINE_NODES_MAX] = { 0 };
    struct numapool_options options = NUMAPOOL_OPTIONS_INIT;
    node_slots[here] = SLOTS;
    node_slots[there] = on_both ? SLOTS : 0;
    options.name = "counts";
    options.slot_bytes = 64;
    options.node_slots = node_slots;
    options.nodes = MACHINE_NODES_MAX;
    options.policy = NUMAPOOL_EXPLICIT;
    return harness_expect(numapool_create(&pool, &options) == 0, "a pool on %s is made",
                          on_both ? "both nodes" : "one node");
}

static void without_home(void)
{
    const struct counters nothing = { 0 };
    machine_run_on_node(&machine, there);
    for (unsigned i = 0; i < machine.node_count; i++)
        before[machine.nodes[i].number] = read_node(machine.nodes[i].number);
    take(numapool_thread_magazine(pool), BULK);
    expect_added("taken by a thread whose node has no slots: remote and homeless",
                 (struct counters){ .remote = BULK, .homeless = BULK }, nothing);
    give_all(numapool_thread_magazine(pool));
    expect_added("given back: nothing", nothing, nothing);
}

int main(int argc, char **argv)
{
    int with_cpus[MACHINE_NODES_MAX];
    unsigned nodes = 0;
    harness_begin("counts", argc, argv);
    machine_read(&machine);
    machine_tell(&machine);
    for (unsigned i = 0; i < machine.node_count; i++)
        if (machine.nodes[i].cpu_count > 0)
            with_cpus[nodes++] = machine.nodes[i].number;
    if (!harness_expect(nodes > 1, "there are two nodes with CPUs"))
        return harness_end();
    for (unsigned turn = 0; turn < 2; turn++) {
        here = with_cpus[turn ? nodes - 1 : 0];
        there = with_cpus[turn ? 0 : nodes - 1];
        if (create(true)) {
            run_script("embedded");
            harness_expect(numapool_close(pool) == 0, "closed");
        }
        if (create(false)) {
            without_home();
            harness_expect(numapool_close(pool) == 0, "closed");
        }
    }
    harness_note("figures: %llu slots moved, each counted once as local or remote", (unsigned long long)moved);
    return harness_end();
}
