/* SPDX-License-Identifier: MIT
 *
 * The daemon's worker is killed two hundred times under load. Clients on mapped memory go on as if nothing were, those who open
 * something wait for the next worker by themselves, who dies meanwhile is given back by it, and nothing is lost.
 */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "harness.h"
#include "ledger.h"
#include "roles.h"

enum {
    KILLS = 200,
    BURST = 20,               /* then calm, for what only time tells: see CALM_NS */
    CALM_NS = 1300000000,     /* after which a worker has seen who is gone without a word */
    ROLES = 6,
    ABSENCES = 3,
    WITHOUT_WORKER = 100000,  /* messages that pass while there is no worker */
    MESSAGES_EACH_KILL = 3000
};

/* What processes of this test, but not those of the ledger, tell of themselves. */
struct told {
    _Atomic uint64_t probes;     /* rounds of the slow path */
    _Atomic uint64_t slowest_ns; /* of their messages, from the call to receive it */
    _Atomic uint64_t sends;      /* of the steady sender */
    _Atomic uint64_t longest_ns; /* of its calls since it was last asked */
    _Atomic uint32_t receivers;  /* steady ones that have joined */
};

struct trial {
    struct harness_daemon daemon;
    struct harness_look look;
    struct ledger *ledger;
    uint64_t random;
    pid_t pids[ROLES];
    pid_t prober;
    uint32_t incarnation;
    struct told *told;
    uint32_t dead[ROLES];     /* clients killed while there was no worker */
    uint64_t dead_cookies[ROLES];
    unsigned dead_count;
};

/* A receiver whose goodbye a dying worker did not hear gets messages until the next one finds that nothing is mapped there
 * any more. */
#define PROBE_NS_MAX INT64_C(15000000000)

static const enum role roles[ROLES] = { ROLE_SENDER, ROLE_SENDER, ROLE_FORWARDER, ROLE_RECEIVER, ROLE_RECEIVER, ROLE_KEEPER };

static void start_role(struct trial *trial, unsigned place)
{
    struct role_start start = { .ledger = trial->ledger, .socket = trial->daemon.socket, .role = roles[place],
                                .incarnation = ++trial->incarnation, .place = place, .seed = harness_random(&trial->random),
                                .lane_slots = 128 };
    trial->pids[place] = role_spawn(&start);
}

/* ---------------------------------------------------------------- the slow path */

static const char *probe_once(struct numapool_pool *pool, uint64_t number, _Atomic uint64_t *slowest_ns)
{
    struct numapool_sender *sender;
    struct numapool_receiver *receiver;
    struct numapool_msg message = { .length = 8, .id = number };
    if (numapool_receiver_open(pool, "probe", NULL, &receiver) < 0)
        return "receiver_open";
    if (numapool_sender_open(pool, "probe", NULL, &sender) < 0)
        return "sender_open";
    message.data = numapool_loan(sender);
    if (!message.data)
        return "loan";
    memcpy(message.data, &number, 8);
    if (numapool_send(sender, &message, INT64_C(1000000000)) < 0)
        return "send";
    message.id = 0;
    int64_t begun_ns = harness_now_ns();
    if (numapool_receive(receiver, &message, 1, PROBE_NS_MAX) != 1)
        return "receive";
    uint64_t took_ns = (uint64_t)(harness_now_ns() - begun_ns);
    if (took_ns > atomic_load_explicit(slowest_ns, memory_order_relaxed))
        atomic_store_explicit(slowest_ns, took_ns, memory_order_relaxed);
    if (message.id != number || numapool_release(receiver, &message, 1) < 0)
        return "release";
    if (numapool_sender_close(sender, INT64_C(1000000000)) < 0)
        return "sender_close";
    return numapool_receiver_close(receiver) < 0 ? "receiver_close" : NULL;
}

static int probe(void *context)
{
    struct trial *trial = context;
    struct numapool_client *client = NULL;
    struct numapool_pool *pool;
    for (uint64_t number = 1;; number++) {
        const char *wrong = NULL;
        if (!client && (numapool_connect(&client, trial->daemon.socket) < 0 || numapool_open(client, ROLES_POOL, 0, &pool) < 0))
            wrong = "connect or open";
        if (!wrong)
            wrong = probe_once(pool, number, &trial->told->slowest_ns);
        if (!wrong && number % 16 == 0) { /* all of it anew */
            if (numapool_close(pool) < 0 || numapool_disconnect(client) < 0)
                wrong = "close or disconnect";
            client = NULL;
        }
        if (wrong) {
            ledger_breach(trial->ledger, "slow path, round %llu: %s: %s", (unsigned long long)number, wrong, numapool_errormsg());
            return 1;
        }
        atomic_fetch_add_explicit(&trial->told->probes, 1, memory_order_relaxed);
    }
}

/* ---------------------------------------------------------------- news that nobody can tell */

static int send_steadily(void *context)
{
    struct trial *trial = context;
    struct numapool_client *client;
    struct numapool_pool *pool;
    struct numapool_sender *sender;
    if (numapool_connect(&client, trial->daemon.socket) < 0 || numapool_open(client, ROLES_POOL, 0, &pool) < 0 ||
        numapool_sender_open(pool, "steady", NULL, &sender) < 0)
        return 1;
    for (;;) {
        int64_t begun_ns = harness_now_ns();
        struct numapool_msg message = { .length = 8, .data = numapool_loan(sender) };
        int result = message.data ? numapool_send(sender, &message, 1000000) : 1;
        int64_t took_ns = harness_now_ns() - begun_ns;
        if (result < 0)
            numapool_unloan(sender, message.data);
        if (result == 0)
            atomic_fetch_add_explicit(&trial->told->sends, 1, memory_order_relaxed);
        if ((uint64_t)took_ns > atomic_load_explicit(&trial->told->longest_ns, memory_order_relaxed))
            atomic_store_explicit(&trial->told->longest_ns, (uint64_t)took_ns, memory_order_relaxed);
    }
}

static int receive_steadily(void *context)
{
    struct trial *trial = context;
    struct numapool_client *client;
    struct numapool_pool *pool;
    struct numapool_receiver *receiver;
    struct numapool_msg messages[64];
    if (numapool_connect(&client, trial->daemon.socket) < 0 || numapool_open(client, ROLES_POOL, 0, &pool) < 0 ||
        numapool_receiver_open(pool, "steady", NULL, &receiver) < 0)
        return 1;
    atomic_fetch_add_explicit(&trial->told->receivers, 1, memory_order_relaxed);
    for (;;) {
        int got = numapool_receive(receiver, messages, 64, 1000000);
        if (got > 0 && numapool_release(receiver, messages, (unsigned)got) < 0)
            return 1;
    }
}

struct joined {
    struct trial *trial;
    uint32_t receivers;
    uint64_t sends;
};

static bool have_joined(void *context)
{
    struct joined *joined = context;
    return atomic_load_explicit(&joined->trial->told->receivers, memory_order_relaxed) >= joined->receivers &&
           atomic_load_explicit(&joined->trial->told->sends, memory_order_relaxed) >= joined->sends;
}

/* A receiver joins while the sender is stopped; when the sender goes on it has a lane to ask for, and nobody to ask. */
static void unanswered_news(struct trial *trial)
{
    struct joined joined = { trial, 1, 1000 };
    pid_t first = harness_fork(receive_steadily, trial), sender = harness_fork(send_steadily, trial);
    harness_expect(harness_wait_until(have_joined, &joined, INT64_C(10000000000)), "a sender and a receiver are at work");
    kill(sender, SIGSTOP);
    joined.receivers = 2;
    pid_t second = harness_fork(receive_steadily, trial);
    harness_expect(harness_wait_until(have_joined, &joined, INT64_C(10000000000)), "another receiver joins");
    pid_t worker = harness_daemon_worker(&trial->daemon);
    kill(trial->daemon.keeper, SIGSTOP);
    kill(worker, SIGKILL);
    while (harness_is_alive(worker))
        harness_sleep_ns(100000);
    uint64_t before = atomic_load_explicit(&trial->told->sends, memory_order_relaxed);
    atomic_store_explicit(&trial->told->longest_ns, 0, memory_order_relaxed);
    kill(sender, SIGCONT);
    harness_sleep_ns(INT64_C(1500000000));
    uint64_t sent = atomic_load_explicit(&trial->told->sends, memory_order_relaxed) - before;
    uint64_t longest_ns = atomic_load_explicit(&trial->told->longest_ns, memory_order_relaxed);
    kill(trial->daemon.keeper, SIGCONT);
    harness_expect(sent >= 10000 && longest_ns < 500000000,
                   "a sender with a lane to ask for sends on while there is no worker: %llu messages, the longest call %.1f ms",
                   (unsigned long long)sent, (double)longest_ns / 1e6);
    harness_daemon_next_worker(&trial->daemon, worker);
    harness_kill(sender);
    harness_kill(first);
    harness_kill(second);
}

static int receive_what_is_left(void *context)
{
    static const char *const channels[] = { "steady", "probe" };
    struct trial *trial = context;
    struct numapool_client *client;
    struct numapool_pool *pool;
    struct numapool_receiver *receiver;
    struct numapool_msg messages[64];
    if (numapool_connect(&client, trial->daemon.socket) < 0 || numapool_open(client, ROLES_POOL, 0, &pool) < 0)
        return 1;
    for (unsigned i = 0; i < 2; i++) {
        int got;
        if (numapool_receiver_open(pool, channels[i], NULL, &receiver) < 0)
            return 1;
        while ((got = numapool_receive(receiver, messages, 64, INT64_C(300000000))) > 0)
            if (numapool_release(receiver, messages, (unsigned)got) < 0)
                return 1;
        if (numapool_receiver_close(receiver) < 0)
            return 1;
    }
    return 0;
}

/* ---------------------------------------------------------------- killing */

static uint64_t arrived(const struct trial *trial)
{
    return atomic_load_explicit(&trial->ledger->received[LEDGER_B], memory_order_relaxed);
}

static void allow(struct trial *trial, uint32_t more)
{
    atomic_fetch_add_explicit(&trial->ledger->allowance, more, memory_order_relaxed);
}

/* Kills a client that the board knows; it is looked for when the next worker is there. */
static void kill_role(struct trial *trial, unsigned place)
{
    uint32_t client = (uint32_t)atomic_load_explicit(&trial->ledger->workers[place].client, memory_order_relaxed);
    uint64_t cookie = harness_look_cookie(&trial->look, client);
    harness_kill(trial->pids[place]);
    trial->pids[place] = 0;
    if (cookie != 0) {
        trial->dead[trial->dead_count] = client;
        trial->dead_cookies[trial->dead_count++] = cookie;
    }
}

static void revive(struct trial *trial)
{
    for (unsigned place = 0; place < ROLES; place++)
        if (trial->pids[place] == 0)
            start_role(trial, place);
}

static unsigned wait_for_the_dead(struct trial *trial)
{
    unsigned still_there = 0;
    for (unsigned i = 0; i < trial->dead_count; i++)
        still_there += harness_look_wait_gone(&trial->look, trial->dead[i], trial->dead_cookies[i], INT64_C(5000000000)) < 0;
    trial->dead_count = 0;
    return still_there;
}

static bool wait_for_arrivals(struct trial *trial, uint64_t count, int64_t timeout_ns)
{
    int64_t until_ns = harness_now_ns() + timeout_ns;
    while (arrived(trial) < count && harness_now_ns() < until_ns)
        harness_sleep_ns(500000);
    return arrived(trial) >= count;
}

/* The keeper is stopped, so that nobody starts another worker: messages pass meanwhile as ever. */
static void absence(struct trial *trial, bool with_deaths)
{
    pid_t worker = harness_daemon_worker(&trial->daemon);
    atomic_store_explicit(&trial->ledger->stay, 1, memory_order_relaxed);
    harness_sleep_ns(20000000); /* for who is about to join */
    kill(trial->daemon.keeper, SIGSTOP);
    kill(worker, SIGKILL);
    int64_t begun_ns = harness_now_ns();
    while (harness_is_alive(worker))
        harness_sleep_ns(100000);
    allow(trial, 3 * WITHOUT_WORKER);
    uint64_t before = arrived(trial), wanted = before + harness_scaled(WITHOUT_WORKER, 5000);
    wait_for_arrivals(trial, wanted, INT64_C(1500000000));
    uint64_t passed = arrived(trial) - before;
    bool absent = harness_daemon_worker(&trial->daemon) == 0;
    if (with_deaths) {
        kill_role(trial, 0); /* a sender, */
        kill_role(trial, 3); /* a receiver */
        kill_role(trial, 5); /* and who holds slots that it has kept */
    }
    kill(trial->daemon.keeper, SIGCONT);
    atomic_store_explicit(&trial->ledger->stay, 0, memory_order_relaxed);
    pid_t next = harness_daemon_next_worker(&trial->daemon, worker);
    harness_expect(absent && next != 0 && passed >= wanted - before, "%llu messages passed in %.0f ms while there was no worker",
                   (unsigned long long)passed, (double)(harness_now_ns() - begun_ns) / 1e6);
    if (with_deaths)
        harness_expect(wait_for_the_dead(trial) == 0, "the next worker gives back what clients held that died meanwhile");
    revive(trial);
    uint64_t more = arrived(trial) + 20000;
    allow(trial, 40000);
    harness_expect(wait_for_arrivals(trial, more, INT64_C(20000000000)), "messages go on, on the lanes of the dead receiver too");
}

static unsigned kill_worker_often(struct trial *trial, unsigned kills, unsigned *not_scavenged)
{
    unsigned done = 0;
    for (unsigned i = 0; i < kills; i++) {
        pid_t worker = harness_daemon_worker(&trial->daemon);
        if (worker == 0)
            break;
        allow(trial, MESSAGES_EACH_KILL);
        bool with_client = harness_below(&trial->random, 2) == 0, client_first = harness_below(&trial->random, 2) == 0;
        unsigned place = harness_below(&trial->random, ROLES);
        if (with_client && client_first) {
            kill_role(trial, place); /* the worker is killed while it gives back */
            harness_sleep_ns(harness_below(&trial->random, 300000));
        }
        done += kill(worker, SIGKILL) == 0;
        if (with_client && !client_first)
            kill_role(trial, place);
        if (harness_daemon_next_worker(&trial->daemon, worker) == 0)
            break;
        revive(trial);
        harness_sleep_ns(harness_below(&trial->random, 20000000)); /* often before it is ready */
        if (i % BURST == BURST - 1) {
            *not_scavenged += wait_for_the_dead(trial);
            harness_sleep_ns(CALM_NS);
        } else if (trial->dead_count + 2 > ROLES) {
            *not_scavenged += wait_for_the_dead(trial);
        }
        if (atomic_load_explicit(&trial->ledger->breaches, memory_order_relaxed) >= LEDGER_BREACHES_MAX)
            break;
    }
    return done;
}

int main(int argc, char **argv)
{
    static struct trial trial;
    unsigned not_scavenged = 0;
    harness_begin("worker", argc, argv);
    unsigned kills = harness_scaled(KILLS, 6);
    trial.random = harness_seed();
    trial.told = mmap(NULL, sizeof *trial.told, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    trial.ledger = ledger_new(kills * MESSAGES_EACH_KILL + ABSENCES * (3 * WITHOUT_WORKER + 40000) + 10000);
    atomic_store_explicit(&trial.ledger->allowance, 5000, memory_order_relaxed);
    harness_daemon_prepare(&trial.daemon);
    if (trial.told == MAP_FAILED || !harness_expect(harness_daemon_start(&trial.daemon, ROLES_POOL_SPEC), "the daemon starts") ||
        !harness_expect(harness_look_open(&trial.look, trial.daemon.socket), "its board can be looked at"))
        return harness_end();
    unanswered_news(&trial);
    revive(&trial);
    trial.prober = harness_fork(probe, &trial);
    harness_expect(wait_for_arrivals(&trial, 2000, INT64_C(10000000000)), "messages flow");
    for (unsigned i = 0; i < ABSENCES; i++)
        absence(&trial, i > 0);
    uint64_t probes_before = atomic_load_explicit(&trial.told->probes, memory_order_relaxed);
    unsigned done = kill_worker_often(&trial, kills, &not_scavenged);
    not_scavenged += wait_for_the_dead(&trial);
    harness_expect(done == kills, "%u kills of the worker", done);
    harness_expect(not_scavenged == 0, "what the dead had held comes back though workers die over it (%u did not)", not_scavenged);
    uint64_t rounds = 0;
    for (unsigned i = 0; i < 2000 && rounds <= kills / 4; i++) { /* few kills may be over before one round is */
        rounds = atomic_load_explicit(&trial.told->probes, memory_order_relaxed) - probes_before;
        harness_sleep_ns(10000000);
    }
    harness_expect(rounds > kills / 4, "%llu rounds of opening, sending, receiving and closing meanwhile, none failed",
                   (unsigned long long)rounds);
    harness_expect(harness_is_alive(trial.prober), "who opens and closes all the time has seen no failure");
    harness_kill(trial.prober);
    for (unsigned place = 0; place < ROLES; place++)
        harness_kill(trial.pids[place]);
    harness_expect(harness_join(harness_fork(receive_what_is_left, &trial), INT64_C(20000000000)) == 0,
                   "what those have sent who were killed last is received");
    harness_note("the slowest message between two that had just joined took %.1f ms",
                 (double)atomic_load_explicit(&trial.told->slowest_ns, memory_order_relaxed) / 1e6);
    roles_drain(trial.ledger, trial.daemon.socket, trial.incarnation + 1, true);
    ledger_expect(trial.ledger, true);
    harness_note("%llu starts of the worker", (unsigned long long)np_load64(&trial.look.board.header->worker_starts, memory_order_relaxed));
    harness_look_close(&trial.look);
    harness_expect_nothing_left(&trial.daemon);
    harness_expect(harness_daemon_stop(&trial.daemon) == 0, "SIGTERM ends the daemon with status 0");
    harness_daemon_remove(&trial.daemon);
    ledger_delete(trial.ledger);
    return harness_end();
}
