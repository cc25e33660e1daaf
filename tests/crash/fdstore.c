/* SPDX-License-Identifier: MIT
 *
 * Where a service manager keeps descriptors, keeper and worker may both die: at random moments under load, at each of the keeper's
 * own system calls, in the middle of taking over. Nothing is lost, no client is told that its daemon is gone, and who dies while
 * nobody watches is given back by the next worker.
 */
#include "fdstore.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { KILLS = 120, MESSAGES_EACH_KILL = 2000, ABSENCES = 3, TOOK_MAX = 512, AT_ONCE = 40000 };

#define GET(field) atomic_load_explicit(&(field), memory_order_acquire)
#define ADD(field, n) atomic_fetch_add_explicit(&(field), (n), memory_order_acq_rel)

static const enum role roles[FDSTORE_ROLES] = { ROLE_SENDER, ROLE_SENDER, ROLE_FORWARDER, ROLE_RECEIVER, ROLE_RECEIVER, ROLE_KEEPER };

enum victim { KEEPER, WORKER, WORKER_THEN_KEEPER, KEEPER_THEN_WORKER, RESTART, VICTIMS };

struct tally {
    unsigned of[VICTIMS], clients, young;
    int64_t took_ns[TOOK_MAX];
    unsigned took;
};

/* ---------------------------------------------------------------- who opens and closes all the time */

const char *fdstore_visit(const char *socket)
{
    struct numapool_client *client;
    struct numapool_pool *pool;
    struct numapool_sender *sender;
    struct numapool_receiver *receiver;
    struct numapool_msg message = { .length = 8 };
    char channel[24];
    uint64_t number = (uint64_t)getpid();
    snprintf(channel, sizeof channel, "visit%d", (int)getpid());
    if (numapool_connect(&client, socket) < 0)
        return "connect";
    if (numapool_open(client, ROLES_POOL, 0, &pool) < 0)
        return "open";
    if (numapool_receiver_open(pool, channel, NULL, &receiver) < 0)
        return "receiver_open";
    if (numapool_sender_open(pool, channel, NULL, &sender) < 0)
        return "sender_open";
    message.data = numapool_loan(sender);
    if (!message.data)
        return "loan";
    memcpy(message.data, &number, sizeof number);
    if (numapool_send(sender, &message, FDSTORE_LONG_NS) < 0)
        return "send";
    if (numapool_receive(receiver, &message, 1, FDSTORE_LONG_NS) != 1 || memcmp(message.data, &number, sizeof number) != 0)
        return "receive";
    if (numapool_release(receiver, &message, 1) < 0)
        return "release";
    if (numapool_sender_close(sender, FDSTORE_LONG_NS) < 0 || numapool_receiver_close(receiver) < 0)
        return "close of the channel";
    if (numapool_close(pool) < 0)
        return "close";
    return numapool_disconnect(client) < 0 ? "disconnect" : NULL;
}

int fdstore_visit_once(void *context)
{
    struct fdstore_trial *trial = context;
    const char *wrong = fdstore_visit(trial->daemon.socket);
    if (wrong)
        ledger_breach(trial->ledger, "a visitor: %s: %s", wrong, numapool_errormsg());
    return wrong != NULL;
}

static int visit_always(void *context)
{
    struct fdstore_trial *trial = context;
    while (!GET(trial->told->stop)) {
        int64_t begun_ns = harness_now_ns();
        if (fdstore_visit_once(trial) != 0)
            return 1;
        uint64_t took_ns = (uint64_t)(harness_now_ns() - begun_ns);
        if (took_ns > GET(trial->told->slowest_ns))
            atomic_store_explicit(&trial->told->slowest_ns, took_ns, memory_order_release);
        ADD(trial->told->visits, 1);
    }
    return 0;
}

/* ---------------------------------------------------------------- those with messages */

static void start_role(struct fdstore_trial *trial, unsigned place)
{
    struct role_start start = { .ledger = trial->ledger, .socket = trial->daemon.socket, .role = roles[place],
                                .incarnation = ++trial->incarnation, .place = place, .seed = harness_random(&trial->random),
                                .lane_slots = 128 };
    trial->pids[place] = role_spawn(&start);
}

static void revive(struct fdstore_trial *trial)
{
    for (unsigned place = 0; place < FDSTORE_ROLES; place++)
        if (trial->pids[place] == 0)
            start_role(trial, place);
}

static void kill_role(struct fdstore_trial *trial, unsigned place)
{
    uint32_t client = (uint32_t)GET(trial->ledger->workers[place].client);
    uint64_t cookie = harness_look_cookie(&trial->look, client);
    if (trial->pids[place] == 0)
        return;
    harness_kill(trial->pids[place]);
    trial->pids[place] = 0;
    if (cookie != 0 && trial->dead_count < FDSTORE_ROLES) {
        trial->dead[trial->dead_count] = client;
        trial->dead_cookies[trial->dead_count++] = cookie;
    }
}

static unsigned wait_for_the_dead(struct fdstore_trial *trial)
{
    unsigned still_there = 0;
    for (unsigned i = 0; i < trial->dead_count; i++)
        still_there += harness_look_wait_gone(&trial->look, trial->dead[i], trial->dead_cookies[i], FDSTORE_LONG_NS) < 0;
    trial->dead_count = 0;
    return still_there;
}

static uint64_t arrived(const struct fdstore_trial *trial)
{
    return GET(trial->ledger->received[LEDGER_B]);
}

static bool messages_arrive(struct fdstore_trial *trial, uint64_t more)
{
    uint64_t wanted = arrived(trial) + more;
    int64_t until_ns = harness_now_ns() + 2 * FDSTORE_LONG_NS;
    ADD(trial->ledger->allowance, (uint32_t)more * 2);
    while (arrived(trial) < wanted && harness_now_ns() < until_ns)
        harness_sleep_ns(500000);
    return arrived(trial) >= wanted;
}

/* ---------------------------------------------------------------- killing */

static void kill_keeper(struct fdstore_trial *trial)
{
    pid_t keeper = GET(trial->manager.told->keeper);
    if (keeper > 0)
        kill(keeper, SIGKILL);
}

static bool kill_one(struct fdstore_trial *trial, enum victim victim)
{
    pid_t worker = harness_daemon_worker(&trial->daemon);
    uint32_t before = GET(trial->manager.told->starts);
    switch (victim) {
    case WORKER:
        return worker > 0 && kill(worker, SIGKILL) == 0 && harness_daemon_next_worker(&trial->daemon, worker) != 0;
    case RESTART:
        manager_do(&trial->manager, MANAGER_RESTART);
        break;
    case WORKER_THEN_KEEPER:
        if (worker > 0)
            kill(worker, SIGKILL);
        harness_sleep_ns(harness_below(&trial->random, 3) * harness_below(&trial->random, 1000000));
        kill_keeper(trial);
        break;
    case KEEPER_THEN_WORKER:
        kill_keeper(trial);
        if (worker > 0)
            kill(worker, SIGKILL);
        break;
    default:
        kill_keeper(trial);
        break;
    }
    return manager_wait(&trial->manager, before, FDSTORE_LONG_NS);
}

/* The next keeper dies too, before its worker is ready. */
static void kill_young(struct fdstore_trial *trial, struct tally *tally)
{
    uint32_t before = GET(trial->manager.told->starts);
    kill_keeper(trial);
    while (GET(trial->manager.told->starts) == before || GET(trial->manager.told->keeper) == 0)
        harness_sleep_ns(100000);
    harness_sleep_ns(harness_below(&trial->random, 12000000));
    kill_keeper(trial);
    tally->young++;
    trial->daemon.keeper = GET(trial->manager.told->keeper);
}

static unsigned kill_often(struct fdstore_trial *trial, unsigned kills, struct tally *tally)
{
    unsigned done = 0;
    for (unsigned i = 0; i < kills && GET(trial->ledger->breaches) == 0; i++) {
        enum victim victim = (enum victim)harness_below(&trial->random, VICTIMS);
        bool with_client = harness_below(&trial->random, 2) == 0, client_first = harness_below(&trial->random, 2) == 0;
        unsigned place = harness_below(&trial->random, FDSTORE_ROLES);
        ADD(trial->ledger->allowance, MESSAGES_EACH_KILL);
        if (with_client && client_first)
            kill_role(trial, place);
        int64_t begun_ns = harness_now_ns();
        if (victim != WORKER && harness_below(&trial->random, 4) == 0)
            kill_young(trial, tally);
        if (!kill_one(trial, victim))
            break;
        if (victim != WORKER && tally->took < TOOK_MAX)
            tally->took_ns[tally->took++] = harness_now_ns() - begun_ns;
        if (with_client && !client_first)
            kill_role(trial, place);
        tally->of[victim]++;
        tally->clients += with_client;
        done++;
        revive(trial);
        harness_sleep_ns(harness_below(&trial->random, 8000000));
        if (trial->dead_count + 1 >= FDSTORE_ROLES && wait_for_the_dead(trial) > 0)
            ledger_breach(trial->ledger, "who had died was not given back");
    }
    return done;
}

/* Both are dead for a while. Messages pass; a sender, a receiver and who has kept messages die, and are given back at once. */
static void absence(struct fdstore_trial *trial)
{
    uint32_t before = GET(trial->manager.told->starts);
    atomic_store_explicit(&trial->ledger->stay, 1, memory_order_release);
    atomic_store_explicit(&trial->manager.told->pause_ns, INT64_C(400000000), memory_order_release);
    harness_sleep_ns(20000000);
    pid_t worker = harness_daemon_worker(&trial->daemon);
    kill_keeper(trial);
    while (harness_is_alive(worker))
        harness_sleep_ns(100000);
    ADD(trial->ledger->allowance, AT_ONCE);
    uint64_t until = arrived(trial) + 2000, from = arrived(trial);
    while (arrived(trial) < until && GET(trial->manager.told->starts) == before)
        harness_sleep_ns(500000);
    uint64_t passed = arrived(trial) - from;
    kill_role(trial, 0);
    kill_role(trial, 3);
    kill_role(trial, 5);
    bool absent = GET(trial->manager.told->starts) == before;
    bool ready = manager_wait(&trial->manager, before, FDSTORE_LONG_NS);
    int64_t ready_ns = harness_now_ns();
    harness_expect(absent && ready && passed >= 2000, "%llu messages pass while there is neither keeper nor worker", (unsigned long long)passed);
    unsigned dead = trial->dead_count;
    harness_expect(wait_for_the_dead(trial) == 0, "%u clients that died while nobody watched are given back, %.1f ms after the next was ready",
                   dead, (double)(harness_now_ns() - ready_ns) / 1e6);
    atomic_store_explicit(&trial->manager.told->pause_ns, 0, memory_order_release);
    atomic_store_explicit(&trial->ledger->stay, 0, memory_order_release);
    revive(trial);
    harness_expect(messages_arrive(trial, 5000), "messages go on");
}

static int compare(const void *x, const void *y)
{
    int64_t a = *(const int64_t *)x, b = *(const int64_t *)y;
    return a < b ? -1 : a > b;
}

static void tell(struct fdstore_trial *trial, struct tally *tally, unsigned done, unsigned at_calls)
{
    qsort(tally->took_ns, tally->took, sizeof tally->took_ns[0], compare);
    harness_figure("fdstore.kills", "%u: %u of the keeper, %u of both, %u of the worker alone, %u in the middle of taking over, %u restarts; %u clients died besides",
                   done + tally->young, tally->of[KEEPER], tally->of[WORKER_THEN_KEEPER] + tally->of[KEEPER_THEN_WORKER], tally->of[WORKER],
                   tally->young, tally->of[RESTART], tally->clients);
    harness_figure("fdstore.calls", "%u kills of the keeper at its own system calls", at_calls);
    if (tally->took > 0)
        harness_figure("fdstore.takeover", "%.0f ms in the middle, %.0f ms at most, until the next keeper was ready",
                       (double)tally->took_ns[tally->took / 2] / 1e6, (double)tally->took_ns[tally->took - 1] / 1e6);
    harness_figure("fdstore.visits", "%llu clients attached, sent, received and left meanwhile; the slowest took %.0f ms",
                   (unsigned long long)GET(trial->told->visits), (double)GET(trial->told->slowest_ns) / 1e6);
    const struct manager_told *told = trial->manager.told;
    harness_figure("fdstore.descriptors", "%u stored with the manager, %u taken back, %u at most at once", GET(told->stored), GET(told->removed),
                   GET(told->kept_most));
}

static void under_load(unsigned kills)
{
    static struct fdstore_trial trial;
    static struct tally tally;
    trial.random = harness_seed();
    trial.told = mmap(NULL, sizeof *trial.told, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    trial.ledger = ledger_new(kills * MESSAGES_EACH_KILL + ABSENCES * (AT_ONCE + 20000) + 200000);
    harness_daemon_prepare(&trial.daemon);
    manager_begin(&trial.manager, &trial.daemon, ROLES_POOL_SPEC);
    atomic_store_explicit(&trial.manager.told->says_most, (uint32_t)(harness_seed() >> 3 & 1), memory_order_release);
    atomic_store_explicit(&trial.ledger->allowance, 3000, memory_order_release);
    manager_do(&trial.manager, MANAGER_START);
    if (!harness_expect(manager_wait(&trial.manager, 0, FDSTORE_LONG_NS), "a service manager starts the daemon (%s)", trial.manager.told->status) ||
        !harness_expect(harness_look_open(&trial.look, trial.daemon.socket), "its board can be looked at"))
        return;
    revive(&trial);
    trial.visitor = harness_fork(visit_always, &trial);
    harness_expect(messages_arrive(&trial, 2000), "messages flow");
    for (unsigned i = 0; i < harness_scaled(ABSENCES, 1); i++)
        absence(&trial);
    unsigned done = kill_often(&trial, kills, &tally);
    unsigned not_given_back = wait_for_the_dead(&trial);
    harness_expect(done == kills && not_given_back == 0, "%u of %u kills, after each of which the next keeper takes over and the dead are given back",
                   done, kills);
    harness_expect(messages_arrive(&trial, 5000), "messages go on");
    atomic_store_explicit(&trial.told->stop, 1, memory_order_release);
    harness_expect(harness_join(trial.visitor, 2 * FDSTORE_LONG_NS) == 0, "who opens and closes all the time has seen no failure, and no -ESTALE");
    unsigned at_calls = fdstore_kill_at_calls(&trial);
    for (unsigned place = 0; place < FDSTORE_ROLES; place++)
        kill_role(&trial, place);
    wait_for_the_dead(&trial);
    roles_drain(trial.ledger, trial.daemon.socket, trial.incarnation + 1, true);
    ledger_expect(trial.ledger, true);
    tell(&trial, &tally, done, at_calls);
    harness_expect(GET(trial.manager.told->strangers) == 0, "nobody but the keeper has spoken to the manager");
    harness_look_close(&trial.look);
    harness_expect_nothing_left(&trial.daemon);
    uint32_t kept = GET(trial.manager.told->kept);
    harness_expect(kept == 5, "the manager has board, bells, socket and the pool's memory, and nothing of anybody who is gone (%u)", kept);
    manager_do(&trial.manager, MANAGER_STOP);
    harness_expect(GET(trial.manager.told->last_status) == 0, "SIGTERM ends the daemon with status 0");
    manager_end(&trial.manager);
    harness_daemon_remove(&trial.daemon);
    ledger_delete(trial.ledger);
}

int main(int argc, char **argv)
{
    harness_begin("fdstore", argc, argv);
    under_load(harness_scaled(KILLS, 8));
    fdstore_without_room(false);
    fdstore_without_room(true);
    fdstore_other_version();
    fdstore_stopped();
    fdstore_locked_board();
    fdstore_activated();
    fdstore_deaf_manager();
    fdstore_slow_manager();
    fdstore_token();
    fdstore_cost();
    return harness_end();
}
