/* SPDX-License-Identifier: MIT
 *
 * No slot drifts to another node, and none is lost: embedded, and three clients of a daemon that send each other
 * messages. A run in which the library does not take slots home (drift_mutant, of the same sources) must show the
 * drift, and a page that this test moves itself must be found: else this test could not see what it looks for.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "drift.h"

/* ---------------------------------------------------------------- what is expected of a run */

/* Every page, as the kernel says to this test and to numapool. */
static void look_where_pages_are(struct drift_plan *plan, struct numapool_pool *pool)
{
    uint64_t misplaced = 0;
    struct machine_pages pages = { 0 };
    int result = look_at_pages(pool, &pages);
    if (result < 0)
        drift_wrong(plan, "move_pages: %s", strerror(-result));
    if (numapool_verify(pool, &misplaced) < 0)
        drift_wrong(plan, "verify: %s", numapool_errormsg());
    atomic_fetch_add_explicit(&plan->pages_looked_at, pages.looked_at,
                              memory_order_relaxed); /* relaxed, all: read when all have ended */
    atomic_fetch_add_explicit(&plan->pages_elsewhere, pages.elsewhere + pages.not_there, memory_order_relaxed);
    atomic_fetch_add_explicit(&plan->verify_misplaced, misplaced, memory_order_relaxed);
    plan->pages = pages;
}

static void tell_nodes(const struct drift_plan *plan, struct numapool_pool *pool)
{
    for (unsigned i = 0; i < plan->machine.node_count; i++) {
        struct numapool_stats stats = { .size = sizeof stats };
        const int node = plan->machine.nodes[i].number;
        if (numapool_stats_read(pool, node, &stats) == 0)
            harness_note("node %d: %llu slots moved locally, %llu to threads elsewhere, %llu spilled, %llu foreign, "
                         "%llu came home, "
                         "%llu magazines followed their threads here",
                         node, (unsigned long long)stats.local, (unsigned long long)stats.remote,
                         (unsigned long long)stats.spilled, (unsigned long long)stats.foreign,
                         (unsigned long long)stats.home_returns, (unsigned long long)stats.followed);
    }
}

static void expect_no_error(const struct drift_plan *plan, const char *run)
{
    harness_expect(drift_told(&plan->errors) == 0,
                   "%s: no call failed and no slot was two threads' (%llu times; first: %s)", run,
                   (unsigned long long)drift_told(&plan->errors), plan->first_error[0] ? plan->first_error : "-");
}

static void expect_of_slots(const struct drift_plan *plan, const char *run)
{
    drift_tell_run(plan, run);
    expect_no_error(plan, run);
    harness_expect(drift_told(&plan->done.gets) > 0 && drift_told(&plan->done.sent) > 0 &&
                       drift_told(&plan->done.handed) > 0 && drift_told(&plan->done.hops) > 0,
                   "%s: slots went every way there is", run);
    harness_expect(
        drift_told(&plan->slots_looked_at) > 0 && drift_told(&plan->foreign) == 0 && drift_told(&plan->unknown) == 0,
        "%s: every slot of every magazine and depot is of its node (%llu of %llu are not)", run,
        (unsigned long long)drift_told(&plan->foreign), (unsigned long long)drift_told(&plan->slots_looked_at));
    for (unsigned round = 0; round < plan->rounds; round++)
        if (plan->lost_in_round[round] > 0)
            harness_note("%s: round %u: %llu slots are HELD and nobody has them", run, round,
                         (unsigned long long)plan->lost_in_round[round]);
    harness_expect(plan->words_looked_at > 0 && plan->lost == 0 && plan->twice == 0,
                   "%s: none is lost (%llu) or two's (%llu)", run, (unsigned long long)plan->lost,
                   (unsigned long long)plan->twice);
}

static void expect_of_pages(const struct drift_plan *plan, const char *run)
{
    harness_expect(drift_told(&plan->pages_looked_at) > 0 && drift_told(&plan->pages_elsewhere) == 0,
                   "%s: every page of words and payload is on its node (%llu of %llu are not)", run,
                   (unsigned long long)drift_told(&plan->pages_elsewhere),
                   (unsigned long long)drift_told(&plan->pages_looked_at));
    harness_expect(drift_told(&plan->verify_misplaced) == 0, "%s: numapool_verify finds so too", run);
}

/* ---------------------------------------------------------------- embedded */

static void run_embedded(unsigned steps)
{
    static struct drift_crew crew;
    struct drift_plan *plan = drift_plan_make(1, steps);
    struct numapool_stats stats = { .size = sizeof stats };
    crew.plan = plan;
    crew.pool = drift_pool_create(&plan->machine, DRIFT_SLOTS_A_NODE, DRIFT_SLOT_BYTES, DRIFT_POOL);
    drift_crew_run(&crew);
    expect_of_slots(plan, "embedded");
    tell_nodes(plan, crew.pool);
    look_where_pages_are(plan, crew.pool);
    expect_of_pages(plan, "embedded");
    harness_expect(numapool_stats_read(crew.pool, NUMAPOOL_ANY_NODE, &stats) == 0 && stats.home_returns > 0 &&
                       (machine_nodes_with_cpus(&plan->machine) < 2 || stats.followed > 0),
                   "embedded: slots were taken home and magazines followed their threads");
    harness_expect(numapool_close(crew.pool) == 0, "embedded: the pool can be closed");
}

/* ---------------------------------------------------------------- clients of a daemon */

struct client_start {
    struct drift_plan *plan;
    const char *socket;
    unsigned process;
};

static int run_client(void *context)
{
    const struct client_start *start = context;
    static struct drift_crew crew;
    struct numapool_client *client;
    crew.plan = start->plan;
    crew.process = start->process;
    if (numapool_connect(&client, start->socket) < 0 ||
        numapool_open(client, DRIFT_POOL, NUMAPOOL_PREFAULT, &crew.pool) < 0) {
        harness_note("client %u: %s", start->process, numapool_errormsg());
        return 1;
    }
    drift_crew_run(&crew);
    if (start->process == 0)
        tell_nodes(start->plan, crew.pool);
    look_where_pages_are(start->plan, crew.pool);
    if (numapool_close(crew.pool) < 0 || numapool_disconnect(client) < 0)
        drift_wrong(start->plan, "close: %s", numapool_errormsg());
    return 0;
}

static void run_clients(unsigned steps)
{
    struct drift_plan *plan = drift_plan_make(DRIFT_PROCESSES_MAX, steps);
    struct client_start starts[DRIFT_PROCESSES_MAX];
    struct harness_daemon daemon;
    pid_t pids[DRIFT_PROCESSES_MAX];
    char spec[256];
    unsigned ended = 0;
    harness_daemon_prepare(&daemon);
    int length = snprintf(spec, sizeof spec, DRIFT_POOL ",size=%d,node_slots=", DRIFT_SLOT_BYTES);
    for (int node = 0; node <= plan->machine.nodes[plan->machine.node_count - 1].number; node++)
        length += snprintf(spec + length, sizeof spec - (size_t)length, "%s%d", node ? ":" : "",
                           machine_node(&plan->machine, node) ? DRIFT_SLOTS_A_NODE : 0);
    if (harness_expect(harness_daemon_start(&daemon, spec), "a daemon on %u nodes", plan->machine.node_count)) {
        for (unsigned i = 0; i < plan->processes; i++) {
            starts[i] = (struct client_start){ plan, daemon.socket, i };
            pids[i] = harness_fork(run_client, &starts[i]);
        }
        for (unsigned i = 0; i < plan->processes; i++)
            ended += harness_join(pids[i], INT64_C(1000000000) * DRIFT_LIMIT_S) == 0;
        harness_expect(ended == plan->processes, "clients: all %u ended well", plan->processes);
        expect_of_slots(plan, "clients");
        expect_of_pages(plan, "clients");
        const char *const verify[] = { "verify", NULL };
        harness_expect(harness_tool(&daemon, verify) == 0, "clients: numapoolctl verify finds every page on its node");
        harness_expect_nothing_left(&daemon);
        harness_daemon_stop(&daemon);
    }
    harness_daemon_remove(&daemon);
}

/* ---------------------------------------------------------------- what must be seen */

/* A page of 4 KiB that this test moves itself; a pool so small that none of its pages are huge. */
static void one_page_elsewhere(void)
{
    struct machine machine;
    struct machine_pages before = { 0 }, after = { 0 }, mended = { 0 };
    uint64_t misplaced = 0;
    machine_read(&machine);
    if (machine.node_count < 2) {
        harness_note("NOT RUN: a page cannot be moved to another node where there is one");
        return;
    }
    struct numapool_pool *pool = drift_pool_create(&machine, 1024, 512, "small");
    const struct np_pool_arena *pa = &pool->arenas[0];
    char *page = pa->arena.data + 5 * 4096;
    const int other = pool->arenas[np_pool_arena_count(pool) - 1].arena.node;
    int looked = look_at_pages(pool, &before), moved = machine_page_move(page, other);
    harness_expect(looked == 0 && before.looked_at > 0 && before.elsewhere + before.not_there == 0,
                   "all %llu pages are right at first", (unsigned long long)before.looked_at);
    harness_expect(moved == 0, "one page is moved to node %d (%s)", other,
                   moved < 0 ? strerror(-moved) : "it is there");
    looked = look_at_pages(pool, &after);
    harness_expect(looked == 0 && after.elsewhere == 1 && after.not_there == 0,
                   "this test sees exactly one elsewhere (%llu)", (unsigned long long)after.elsewhere);
    looked = numapool_verify(pool, &misplaced);
    harness_expect(looked == 0 && misplaced == 1, "numapool_verify sees exactly one (%llu)",
                   (unsigned long long)misplaced);
    moved = machine_page_move(page, pa->arena.node);
    harness_expect(moved == 0 && look_at_pages(pool, &mended) == 0 && mended.elsewhere == 0 &&
                       numapool_verify(pool, &misplaced) == 0 && misplaced == 0,
                   "and none when it is back");
    harness_expect(numapool_close(pool) == 0, "the small pool can be closed");
}

int main(int argc, char **argv)
{
    struct machine machine;
    harness_begin("drift", argc, argv);
    machine_read(&machine);
    machine_tell(&machine);
    run_embedded(2000);
    run_clients(1000);
    one_page_elsewhere();
    return harness_end();
}
