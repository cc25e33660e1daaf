/* SPDX-License-Identifier: MIT
 *
 * Ten thousand deaths: senders, forwarders, receivers, keepers and getters at work on one pool, one of them killed at a random
 * moment, another started in its place. Afterwards everything that was sent has arrived and every slot has come back.
 */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness.h"
#include "ledger.h"
#include "roles.h"

#ifdef CHECKED /* the same on a pool with checks, where no death may look like somebody's misuse */
#define NAME "checked"
#define POOL_SPEC ROLES_POOL_SPEC ",checks=sites"
#else
#define NAME "storm"
#define POOL_SPEC ROLES_POOL_SPEC
#endif

enum {
#ifdef CHECKED
    KILLS = 1500,
#else
    KILLS = 10000,       /* of senders, forwarders, receivers and keepers that were at work; others come on top */
#endif
    WORKERS_MIN = 4,
    WORKERS_MAX = 8,
    DELAY_NS_MAX = 1000000,
    STOPPED_NS_MAX = 3000000,
    MESSAGES_EACH_KILL = 300, /* so that the load lasts as long as the storm */
    DOOM = 60,                /* one call in so many has a timer's SIGKILL in it */
    MEASURE_EVERY = 8,
    CROWDED_MAX = 50,
    LANES_CROWDED = 24,       /* so many lanes, most of them of the dead, are drained before the next is killed */
    RECOVERIES_MAX = 65536
};

struct victim {
    pid_t pid;
    enum role role;
    bool is_stopped;
    int64_t cont_at_ns;
};

struct storm {
    struct harness_daemon daemon;
    struct harness_look look;
    struct ledger *ledger;
    uint64_t random;
    struct victim workers[WORKERS_MAX];
    unsigned worker_count;
    uint32_t incarnation;
    uint64_t kills[ROLE_COUNT], kills_at_work, kills_stopped, kills_in_call;
    uint32_t *recovered_us;
    unsigned recovered_count;
    unsigned never_recovered;
    unsigned crowded; /* times in a row that lanes were not drained */
};

/* The roles at the front are always there, so that messages flow; those behind them are drawn. */
static enum role role_for(struct storm *storm, unsigned place)
{
    static const enum role always[] = { ROLE_SENDER, ROLE_FORWARDER, ROLE_RECEIVER };
    static const enum role drawn[] = { ROLE_SENDER, ROLE_SENDER, ROLE_FORWARDER, ROLE_FORWARDER, ROLE_RECEIVER, ROLE_KEEPER,
                                       ROLE_KEEPER, ROLE_GETTER };
    if (place < sizeof always / sizeof always[0])
        return always[place];
    return drawn[harness_below(&storm->random, sizeof drawn / sizeof drawn[0])];
}

static void start_worker(struct storm *storm, unsigned place)
{
    static const uint32_t lane_slots[] = { 32, 128, 256 };
    struct role_start start = { .ledger = storm->ledger, .socket = storm->daemon.socket, .role = role_for(storm, place),
                                .incarnation = ++storm->incarnation, .place = place, .seed = harness_random(&storm->random),
                                .lane_slots = lane_slots[harness_below(&storm->random, 3)] };
    start.doom = start.role == ROLE_FORWARDER ? DOOM / 4 : DOOM; /* a forwarder has the most to lose in a call */
    storm->workers[place] = (struct victim){ .pid = role_spawn(&start), .role = start.role };
}

/* From the kill to the moment when the daemon has given the last slot back and forgets the client. */
static void measure(struct storm *storm, uint32_t client, uint64_t cookie, int64_t killed_ns)
{
    if (harness_look_wait_gone(&storm->look, client, cookie, INT64_C(2000000000)) < 0)
        storm->never_recovered++;
    else
        storm->recovered_us[storm->recovered_count++] = (uint32_t)((harness_now_ns() - killed_ns) / 1000);
}

static bool is_at_work(const struct storm *storm, unsigned place)
{
    return atomic_load_explicit(&storm->ledger->workers[place].phase, memory_order_relaxed) == 2;
}

/* Nearly always one of those who are at work, for whom it waits: else all would die while they join. */
static unsigned choose_victim(struct storm *storm)
{
    bool anybody = harness_below(&storm->random, 16) == 0;
    unsigned place = harness_below(&storm->random, storm->worker_count);
    for (unsigned tries = 0; tries < 64 && !anybody && !is_at_work(storm, place); tries++) {
        place = harness_below(&storm->random, storm->worker_count);
        if (tries % 8 == 7)
            harness_sleep_ns(50000);
    }
    return place;
}

static void kill_worker(struct storm *storm, unsigned place)
{
    struct victim *victim = &storm->workers[place];
    struct ledger_worker *told = &storm->ledger->workers[place];
    uint32_t client = (uint32_t)atomic_load_explicit(&told->client, memory_order_relaxed);
    uint64_t cookie = harness_look_cookie(&storm->look, client);
    int64_t killed_ns = harness_now_ns();
    harness_kill(victim->pid);
    storm->kills[victim->role]++;
    storm->kills_at_work += victim->role != ROLE_GETTER && is_at_work(storm, place);
    storm->kills_stopped += victim->is_stopped;
    if (cookie != 0 && storm->recovered_count < RECOVERIES_MAX && harness_below(&storm->random, MEASURE_EVERY) == 0)
        measure(storm, client, cookie, killed_ns);
}

static void stop_or_continue(struct storm *storm, bool may_stop)
{
    int64_t now_ns = harness_now_ns();
    for (unsigned i = 0; i < storm->worker_count; i++)
        if (storm->workers[i].is_stopped && now_ns >= storm->workers[i].cont_at_ns) {
            kill(storm->workers[i].pid, SIGCONT);
            storm->workers[i].is_stopped = false;
        }
    if (!may_stop || harness_below(&storm->random, 20) > 0)
        return;
    struct victim *stopped = &storm->workers[harness_below(&storm->random, storm->worker_count)];
    kill(stopped->pid, SIGSTOP);
    stopped->is_stopped = true;
    stopped->cont_at_ns = now_ns + 1 + harness_below(&storm->random, STOPPED_NS_MAX);
}

/* Those whose own timer has killed them. One that ended otherwise has written why. */
static void replace_ended(struct storm *storm)
{
    for (unsigned place = 0; place < storm->worker_count; place++) {
        struct victim *victim = &storm->workers[place];
        int status;
        if (waitpid(victim->pid, &status, WNOHANG) != victim->pid)
            continue;
        if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL)
            ledger_breach(storm->ledger, "a %s ended by itself (status %x)", role_names[victim->role], (unsigned)status);
        storm->kills[victim->role]++;
        storm->kills_in_call++;
        storm->kills_at_work += victim->role != ROLE_GETTER;
        start_worker(storm, place);
    }
}

/* A receiver that comes asks for each lane, and one that dies over it leaves them all: without this all slots would end up
 * on lanes of the dead, and those who are killed would have nothing to do. */
static void let_them_catch_up(struct storm *storm)
{
    int64_t until_ns = harness_now_ns() + INT64_C(100000000);
    for (;;) {
        unsigned lanes = 0;
        for (uint32_t lane = 1; lane <= 4 * LANES_CROWDED; lane++) /* the lowest number that is free is given out */
            lanes += !np_entry_is(&storm->look.board.lanes[lane].state, NP_NONE);
        if (lanes <= LANES_CROWDED) {
            storm->crowded = 0;
            return;
        }
        if (harness_now_ns() > until_ns) {
            storm->crowded++;
            return;
        }
        stop_or_continue(storm, false);
        replace_ended(storm);
        harness_sleep_ns(100000);
    }
}

static void rage(struct storm *storm, uint64_t kills)
{
    struct ledger *ledger = storm->ledger;
    for (unsigned place = 0; place < storm->worker_count; place++)
        start_worker(storm, place);
    while (storm->kills_at_work < kills && storm->never_recovered == 0 && storm->crowded < CROWDED_MAX &&
           atomic_load_explicit(&ledger->breaches, memory_order_relaxed) < LEDGER_BREACHES_MAX) {
        atomic_store_explicit(&ledger->allowance, (uint32_t)(storm->kills_at_work + 4) * MESSAGES_EACH_KILL, memory_order_relaxed);
        harness_sleep_ns(harness_below(&storm->random, DELAY_NS_MAX));
        stop_or_continue(storm, true);
        let_them_catch_up(storm);
        replace_ended(storm);
        unsigned place = choose_victim(storm);
        kill_worker(storm, place);
        if (harness_below(&storm->random, 500) == 0 && storm->worker_count < WORKERS_MAX)
            start_worker(storm, storm->worker_count++);
        start_worker(storm, place);
    }
    for (unsigned place = 0; place < storm->worker_count; place++)
        kill_worker(storm, place);
}

/* ---------------------------------------------------------------- report */

static int by_value(const void *left, const void *right)
{
    uint32_t l = *(const uint32_t *)left, r = *(const uint32_t *)right;
    return (l > r) - (l < r);
}

static void report_times(struct storm *storm)
{
    unsigned n = storm->recovered_count, counts[24] = { 0 };
    uint32_t *times = storm->recovered_us;
    if (n == 0)
        return;
    qsort(times, n, sizeof *times, by_value);
    for (unsigned i = 0; i < n; i++)
        counts[times[i] == 0 ? 0 : 32 - (unsigned)__builtin_clz(times[i]) > 23 ? 23 : 32 - (unsigned)__builtin_clz(times[i])]++;
    harness_note("from kill to last slot free: median %u us, p99 %u us, max %u us (%u measured)", times[n / 2], times[n - 1 - n / 100],
                 times[n - 1], n);
    for (unsigned i = 0; i < 24; i++)
        if (counts[i] > 0)
            harness_note("  below %8u us  %5u", 1u << i, counts[i]);
}

static void report(struct storm *storm)
{
    const struct np_board_header *header = storm->look.board.header;
    struct np_board_header *counters = (struct np_board_header *)(uintptr_t)header;
    harness_note("killed: %llu senders, %llu forwarders, %llu receivers, %llu keepers, %llu getters; %llu in a call, %llu while stopped",
                 (unsigned long long)storm->kills[ROLE_SENDER], (unsigned long long)storm->kills[ROLE_FORWARDER],
                 (unsigned long long)storm->kills[ROLE_RECEIVER], (unsigned long long)storm->kills[ROLE_KEEPER],
                 (unsigned long long)storm->kills[ROLE_GETTER], (unsigned long long)storm->kills_in_call,
                 (unsigned long long)storm->kills_stopped);
    harness_note("the daemon: %llu deaths, %llu slots given back, %llu messages rolled forward, %llu redelivered, "
                 "%llu starts of its worker",
                 (unsigned long long)np_load64(&counters->clients_died, memory_order_relaxed),
                 (unsigned long long)np_load64(&counters->slots_scavenged, memory_order_relaxed),
                 (unsigned long long)np_load64(&counters->messages_rolled_forward, memory_order_relaxed),
                 (unsigned long long)np_load64(&counters->messages_redelivered, memory_order_relaxed),
                 (unsigned long long)np_load64(&counters->worker_starts, memory_order_relaxed));
    report_times(storm);
}

static void fault_told(void *ledger, const struct numapool_fault *fault)
{
    ledger_breach(ledger, "a false alarm: %s", fault->sentence);
}

int main(int argc, char **argv)
{
    static struct storm storm;
    harness_begin(NAME, argc, argv);
    uint64_t kills = harness_scaled(KILLS, 50);
    storm.random = harness_seed();
    storm.worker_count = WORKERS_MIN + 2;
    storm.ledger = ledger_new((uint32_t)(kills + 64) * MESSAGES_EACH_KILL);
    storm.recovered_us = calloc(RECOVERIES_MAX, sizeof *storm.recovered_us);
    numapool_fault_set(fault_told, storm.ledger); /* in those that are forked */
    harness_daemon_prepare(&storm.daemon);
    if (!harness_expect(storm.recovered_us && harness_daemon_start(&storm.daemon, POOL_SPEC), "the daemon starts") ||
        !harness_expect(harness_look_open(&storm.look, storm.daemon.socket), "its board can be looked at"))
        return harness_end();
    pid_t worker = harness_daemon_worker(&storm.daemon);
    rage(&storm, kills);
    harness_expect(storm.kills_at_work >= kills, "%llu senders, forwarders, receivers and keepers were killed at their work",
                   (unsigned long long)storm.kills_at_work);
    harness_expect(storm.never_recovered == 0, "what a killed process held comes back within 2 s each time");
    harness_expect(storm.crowded < CROWDED_MAX, "the lanes of the dead are drained and end");
    roles_drain(storm.ledger, storm.daemon.socket, storm.incarnation + 1, true);
    ledger_expect(storm.ledger, true);
    harness_expect(harness_is_alive(storm.daemon.keeper) && harness_daemon_worker(&storm.daemon) == worker,
                   "the daemon lived through it, the same worker throughout");
    report(&storm);
    harness_look_close(&storm.look);
    harness_expect_nothing_left(&storm.daemon);
    harness_expect(harness_daemon_stop(&storm.daemon) == 0, "SIGTERM ends the daemon with status 0");
    harness_daemon_remove(&storm.daemon);
    ledger_delete(storm.ledger);
    free(storm.recovered_us);
    return harness_end();
}
