/* SPDX-License-Identifier: MIT
 *
 * Processes on all nodes that send, forward, receive, keep, take and give back are killed one after the other, the
 * daemon's worker among them. Nothing is lost, every word is right, and every page is where it was.
 *
 * Environment: NUMAPOOL_TEST_SECONDS  no more kills after so many seconds (12)
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../crash/harness.h"
#include "../crash/ledger.h"
#include "../crash/roles.h"
#include "machine.h"

enum { PLACES = 10, KILLS = 1000, MESSAGES_EACH_KILL = 60, SECONDS = 12 };
static const enum role roles[PLACES] = { ROLE_SENDER, ROLE_FORWARDER, ROLE_RECEIVER, ROLE_KEEPER, ROLE_GETTER,
                                         ROLE_SENDER, ROLE_FORWARDER, ROLE_RECEIVER, ROLE_GETTER, ROLE_GETTER };

static struct machine machine;
static uint64_t random_state;
static unsigned born; /* processes that were started: each on another CPU */

static void run_on_next_cpu(void)
{
    machine_run_on_cpu(machine.cpus[born % machine.cpu_count]);
}

static pid_t start_role(struct ledger *ledger, const char *socket, unsigned place)
{
    struct role_start start = { .ledger = ledger,
                                .socket = socket,
                                .role = roles[place],
                                .incarnation = ++born,
                                .place = place,
                                .seed = harness_random(&random_state),
                                .lane_slots = 64 };
    return role_spawn(&start);
}

static bool have_arrived(void *context)
{
    const struct ledger *ledger = context;
    return atomic_load_explicit(&ledger->received[LEDGER_B], memory_order_relaxed) > 0; /* relaxed: a number */
}

static void kill_them(const struct harness_daemon *daemon, struct ledger *ledger)
{
    const char *seconds = getenv("NUMAPOOL_TEST_SECONDS");
    const int64_t until_ns = harness_now_ns() + (seconds ? strtol(seconds, NULL, 10) : SECONDS) * INT64_C(1000000000);
    unsigned kills = 0, workers = 0, wanted = harness_scaled(KILLS, 50);
    pid_t pids[PLACES];
    atomic_store_explicit(&ledger->allowance, 2 * MESSAGES_EACH_KILL, memory_order_relaxed); /* relaxed, all: numbers */
    for (unsigned place = 0; place < PLACES; place++)
        pids[place] = start_role(ledger, daemon->socket, place);
    harness_expect(harness_wait_until(have_arrived, ledger, INT64_C(20000000000)), "messages flow");
    while (kills < wanted && harness_now_ns() < until_ns) {
        unsigned place = harness_below(&random_state, PLACES);
        pid_t worker = harness_below(&random_state, 50) == 0 ? harness_daemon_worker(daemon) : 0;
        atomic_fetch_add_explicit(&ledger->allowance, MESSAGES_EACH_KILL, memory_order_relaxed);
        harness_sleep_ns(harness_below(&random_state, 8000000));
        if (worker > 0) {
            kill(worker, SIGKILL);
            workers += harness_daemon_next_worker(daemon, worker) != 0;
        } else {
            harness_kill(pids[place]);
            pids[place] = start_role(ledger, daemon->socket, place);
            kills++;
        }
    }
    for (unsigned place = 0; place < PLACES; place++)
        harness_kill(pids[place]);
    harness_note("figures: %u processes on %u nodes killed at work, %u workers of the daemon", kills,
                 machine_nodes_with_cpus(&machine), workers);
    harness_expect(kills > 0 && born == kills + PLACES, "all who were killed were followed by others");
}

int main(int argc, char **argv)
{
    static const char *const nothing_more[] = { NULL }, *const verify[] = { "verify", NULL };
    struct harness_daemon daemon;
    harness_begin("kills", argc, argv);
    random_state = harness_seed();
    machine_read(&machine);
    machine_tell(&machine);
    harness_daemon_prepare(&daemon);
    if (!harness_expect(harness_daemon_start_with(&daemon, ROLES_POOL_SPEC, nothing_more), "the daemon starts"))
        return harness_end();
    struct ledger *ledger = ledger_new((KILLS + 8) * MESSAGES_EACH_KILL);
    harness_confine = run_on_next_cpu;
    kill_them(&daemon, ledger);
    roles_drain(ledger, daemon.socket, born + 1, true);
    harness_confine = NULL;
    ledger_expect(ledger, true);
    ledger_delete(ledger);
    harness_expect_nothing_left(&daemon);
    harness_expect(harness_tool(&daemon, verify) == 0, "numapoolctl verify finds every page on its node");
    harness_expect(harness_daemon_stop(&daemon) == 0, "SIGTERM ends the daemon with status 0");
    harness_daemon_remove(&daemon);
    return harness_end();
}
