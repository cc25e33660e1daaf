/* SPDX-License-Identifier: MIT
 *
 * Pools are made, enlarged and destroyed under load while the daemon's worker is killed at random moments. Each call is done once or
 * not at all: no pool is half there, a pool has exactly the slots that it was given, the keeper holds nothing of what is gone, and a
 * client that had a pool open before it grew gets every slot of it.
 */
#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "harness.h"

#define POOL "steady"
#define SECOND_NS INT64_C(1000000000)

enum { SLOTS = 2000, SLOTS_MORE = 300, GROWTHS_MAX = 30, KILLS = 24, ADMINS = 2, USERS = 2, BURST = 6, WIDE = 300, CALM_NS = 1200000000 };

/* What the processes tell; memory of the test's own. */
struct told {
    _Atomic uint32_t made, destroyed, grown, stop, take;
    _Atomic uint64_t messages;
    _Atomic uint32_t ready, held, growths;
    _Atomic int breaches;
    char breach[256];
};

struct trial {
    struct harness_daemon daemon;
    struct harness_look look;
    struct told *told;
    uint64_t random;
    unsigned number; /* of an admin or user */
};

static int broken(struct trial *trial, const char *what, const char *pool, int result)
{
    if (atomic_fetch_add_explicit(&trial->told->breaches, 1, memory_order_relaxed) == 0)
        snprintf(trial->told->breach, sizeof trial->told->breach, "%s of pool '%s' gave %d: %.150s", what, pool, result, numapool_errormsg());
    return 1;
}

static void count(_Atomic uint32_t *counter)
{
    atomic_fetch_add_explicit(counter, 1, memory_order_relaxed);
}

static bool goes_on(struct trial *trial)
{
    return atomic_load_explicit(&trial->told->stop, memory_order_relaxed) == 0;
}

/* ---------------------------------------------------------------- who makes, uses and destroys pools */

/* Gets, writes, sends, receives and puts in a pool that is new. */
static const char *use(struct numapool_pool *pool)
{
    struct numapool_magazine *magazine;
    struct numapool_sender *sender;
    struct numapool_receiver *receiver;
    struct numapool_msg message = NUMAPOOL_MSG_INIT;
    if (numapool_magazine_open(pool, NUMAPOOL_ANY_NODE, 0, &magazine) < 0)
        return "magazine_open";
    void *slot = numapool_get(magazine);
    if (!slot)
        return "get";
    memset(slot, 0x5a, numapool_slot_bytes(pool));
    if (numapool_receiver_open(pool, "c", NULL, &receiver) < 0)
        return "receiver_open";
    if (numapool_sender_open(pool, "c", NULL, &sender) < 0)
        return "sender_open";
    message.data = slot;
    message.length = 1;
    if (numapool_send(sender, &message, SECOND_NS) < 0)
        return "send";
    if (numapool_receive(receiver, &message, 1, 5 * SECOND_NS) != 1 || numapool_release(receiver, &message, 1) < 0)
        return "receive";
    if (numapool_sender_close(sender, SECOND_NS) < 0)
        return "sender_close";
    if (numapool_receiver_close(receiver) < 0)
        return "receiver_close";
    return numapool_magazine_close(magazine) < 0 ? "magazine_close" : NULL;
}

/* -EAGAIN says that it was not done and may be asked again. */
static int until_done(int (*call)(struct numapool_client *client, const char *name, uint64_t *random), struct numapool_client *client,
                      const char *name, uint64_t *random)
{
    int result;
    while ((result = call(client, name, random)) == -EAGAIN)
        ;
    return result;
}

static int create(struct numapool_client *client, const char *name, uint64_t *random)
{
    struct numapool_options options = NUMAPOOL_OPTIONS_INIT;
    options.name = name;
    options.slot_bytes = 64u << harness_below(random, 6);
    options.slots = 100 + harness_below(random, 4000);
    return numapool_admin_create(client, &options);
}

static int destroy(struct numapool_client *client, const char *name, uint64_t *random)
{
    (void)random;
    return numapool_admin_destroy(client, name, 0);
}

static int destroy_when_unused(struct numapool_client *client, const char *name, uint64_t *random)
{
    (void)random;
    return numapool_admin_destroy(client, name, NUMAPOOL_DESTROY_WHEN_UNUSED | NUMAPOOL_DESTROY_DISCARD);
}

static int grow(struct numapool_client *client, const char *name, uint64_t *random)
{
    (void)random;
    return numapool_admin_grow(client, name, NUMAPOOL_ANY_NODE, SLOTS_MORE);
}

static int administer_once(struct trial *trial, struct numapool_client *client, const char *name)
{
    struct numapool_pool *pool, *again;
    bool when_unused = harness_below(&trial->random, 2) == 0, two_arenas = harness_below(&trial->random, 2) == 0;
    int result = until_done(create, client, name, &trial->random);
    if (result < 0)
        return broken(trial, "create", name, result);
    count(&trial->told->made);
    if ((result = until_done(create, client, name, &trial->random)) != -EEXIST)
        return broken(trial, "the second create", name, result);
    if ((result = numapool_open(client, name, 0, &pool)) < 0)
        return broken(trial, "open", name, result);
    if (two_arenas && (result = until_done(grow, client, name, &trial->random)) < 0)
        return broken(trial, "grow", name, result);
    const char *wrong = use(pool);
    if (wrong)
        return broken(trial, wrong, name, -1);
    if ((result = until_done(destroy, client, name, &trial->random)) != -EBUSY)
        return broken(trial, "destroy while it is open", name, result);
    if (when_unused && (result = until_done(destroy_when_unused, client, name, &trial->random)) < 0)
        return broken(trial, "destroy when unused", name, result);
    if ((result = numapool_close(pool)) < 0)
        return broken(trial, "close", name, result);
    if (!when_unused && (result = until_done(destroy, client, name, &trial->random)) < 0)
        return broken(trial, "destroy", name, result);
    count(&trial->told->destroyed);
    if ((result = numapool_open(client, name, 0, &again)) != -ENOENT)
        return broken(trial, "open after its end", name, result);
    return 0;
}

static int administer(void *context)
{
    struct trial *trial = context;
    struct numapool_client *client;
    char name[32];
    trial->random += trial->number * 7919 + 1;
    if (numapool_connect(&client, trial->daemon.socket) < 0)
        return broken(trial, "connect", "", -1);
    for (unsigned round = 0; goes_on(trial); round++) {
        snprintf(name, sizeof name, "t%u.%u", trial->number, round % 3);
        if (administer_once(trial, client, name) != 0)
            return 1;
        if (round % 8 == 7) {
            if (numapool_disconnect(client) < 0 || numapool_connect(&client, trial->daemon.socket) < 0)
                return broken(trial, "disconnect or connect", "", -1);
        }
    }
    return 0;
}

/* Enlarges the pool that all use, as often as the test allows. */
static int enlarge(void *context)
{
    struct trial *trial = context;
    struct numapool_client *client;
    if (numapool_connect(&client, trial->daemon.socket) < 0)
        return broken(trial, "connect", "", -1);
    while (goes_on(trial)) {
        if (atomic_load_explicit(&trial->told->grown, memory_order_relaxed) < atomic_load_explicit(&trial->told->growths, memory_order_relaxed)) {
            int result = until_done(grow, client, POOL, &trial->random);
            if (result < 0)
                return broken(trial, "grow", POOL, result);
            count(&trial->told->grown);
        }
        harness_sleep_ns(1000000);
    }
    return 0;
}

/* ---------------------------------------------------------------- who uses the pool that grows */

static int send_to_itself(void *context)
{
    struct trial *trial = context;
    struct numapool_client *client;
    struct numapool_pool *pool;
    struct numapool_sender *sender;
    struct numapool_receiver *receiver;
    struct numapool_msg messages[32];
    char channel[16];
    snprintf(channel, sizeof channel, "own.%u", trial->number);
    if (numapool_connect(&client, trial->daemon.socket) < 0 || numapool_open(client, POOL, 0, &pool) < 0 ||
        numapool_receiver_open(pool, channel, NULL, &receiver) < 0 || numapool_sender_open(pool, channel, NULL, &sender) < 0)
        return broken(trial, "joining", POOL, -1);
    for (uint64_t sent = 0, got = 0; goes_on(trial);) {
        for (unsigned i = 0; i < 16; i++) {
            struct numapool_msg message = { .data = numapool_loan(sender), .length = 8, .id = sent };
            if (!message.data)
                break;
            memcpy(message.data, &sent, sizeof sent);
            int result = numapool_send(sender, &message, 0);
            if (result < 0) {
                numapool_unloan(sender, message.data);
                break;
            }
            sent++;
        }
        int n = numapool_receive(receiver, messages, 32, 1000000);
        for (int i = 0; i < n; i++) {
            uint64_t payload;
            memcpy(&payload, messages[i].data, sizeof payload);
            if (messages[i].id != got || payload != got)
                return broken(trial, "a message was lost or came twice", POOL, -1);
            got++;
        }
        if (n > 0 && numapool_release(receiver, messages, (unsigned)n) < 0)
            return broken(trial, "release", POOL, -1);
        atomic_store_explicit(&trial->told->messages, got, memory_order_relaxed);
    }
    return 0;
}

/* Has it open from the beginning. Told so at the end, it takes every slot there is. */
static int hoard(void *context)
{
    struct trial *trial = context;
    struct numapool_client *client;
    struct numapool_pool *pool;
    struct numapool_magazine *magazine;
    if (numapool_connect(&client, trial->daemon.socket) < 0 || numapool_open(client, POOL, 0, &pool) < 0 ||
        numapool_magazine_open(pool, NUMAPOOL_ANY_NODE, 0, &magazine) < 0)
        return broken(trial, "joining", POOL, -1);
    atomic_store_explicit(&trial->told->ready, 1, memory_order_release);
    while (atomic_load_explicit(&trial->told->take, memory_order_relaxed) == 0)
        harness_sleep_ns(1000000);
    uint32_t held = 0;
    for (void *slot; (slot = numapool_get(magazine)) != NULL; held++)
        memset(slot, 0xa5, numapool_slot_bytes(pool)); /* is there, and nobody else's */
    atomic_store_explicit(&trial->told->held, held, memory_order_release);
    pause();
    return 0;
}

/* What the killed had sent and nobody received waits for whoever comes. */
static int receive_the_rest(void *context)
{
    struct trial *trial = context;
    struct numapool_client *client;
    struct numapool_pool *pool;
    struct numapool_receiver *receiver;
    struct numapool_msg messages[32];
    if (numapool_connect(&client, trial->daemon.socket) < 0 || numapool_open(client, POOL, 0, &pool) < 0)
        return 1;
    for (unsigned i = 0; i < USERS; i++) {
        char channel[16];
        int n;
        snprintf(channel, sizeof channel, "own.%u", i);
        if (numapool_receiver_open(pool, channel, NULL, &receiver) < 0)
            return 1;
        while ((n = numapool_receive(receiver, messages, 32, SECOND_NS / 5)) > 0)
            if (numapool_release(receiver, messages, (unsigned)n) < 0)
                return 1;
        if (numapool_receiver_close(receiver) < 0)
            return 1;
    }
    return numapool_close(pool) < 0 || numapool_disconnect(client) < 0;
}

static bool is_ready(void *context)
{
    return atomic_load_explicit(&((struct trial *)context)->told->ready, memory_order_acquire) != 0;
}

static bool has_hoarded(void *context)
{
    return atomic_load_explicit(&((struct trial *)context)->told->held, memory_order_acquire) != 0;
}

/* ---------------------------------------------------------------- what is looked at */

static const struct np_pool_entry *find(const struct trial *trial, const char *name)
{
    for (uint32_t i = 0; i < NP_POOLS_MAX; i++) {
        const struct np_pool_entry *entry = &trial->look.board.pools[i];
        if (!np_entry_is(&entry->state, NP_NONE) && strncmp(entry->name, name, sizeof entry->name) == 0)
            return entry;
    }
    return NULL;
}

static unsigned pools_there(const struct trial *trial)
{
    unsigned there = 0;
    for (uint32_t i = 0; i < NP_POOLS_MAX; i++)
        there += !np_entry_is(&trial->look.board.pools[i].state, NP_NONE);
    return there;
}

static uint64_t slots_of(const struct np_pool_entry *entry)
{
    uint64_t slots = 0;
    for (unsigned i = 0; entry && i < np_pool_arenas(entry); i++)
        slots += entry->arena[i].slots;
    return slots;
}

/* Descriptors of payload or slot words, and any at all. */
static unsigned descriptors_of(pid_t pid, unsigned *all)
{
    char path[64], target[256];
    unsigned memory = 0;
    struct dirent *entry;
    snprintf(path, sizeof path, "/proc/%d/fd", (int)pid);
    DIR *directory = opendir(path);
    *all = 0;
    while (directory && (entry = readdir(directory)) != NULL) {
        ssize_t length = readlinkat(dirfd(directory), entry->d_name, target, sizeof target - 1);
        if (length < 0)
            continue;
        target[length] = '\0';
        (*all)++;
        memory += strstr(target, "payload") != NULL || strstr(target, "slot words") != NULL;
    }
    if (directory)
        closedir(directory);
    return memory;
}

struct descriptors {
    pid_t keeper, worker;
    unsigned memory;
};

static bool has_descriptors(void *context)
{
    struct descriptors *wanted = context;
    unsigned all;
    return descriptors_of(wanted->keeper, &all) == wanted->memory && descriptors_of(wanted->worker, &all) == wanted->memory;
}

/* ---------------------------------------------------------------- the trial */

static unsigned kill_workers(struct trial *trial, unsigned kills)
{
    unsigned done = 0;
    for (unsigned i = 0; i < kills; i++) {
        pid_t worker = harness_daemon_worker(&trial->daemon);
        if (worker == 0)
            break;
        atomic_store_explicit(&trial->told->growths, GROWTHS_MAX * (i + 1) / kills, memory_order_relaxed);
        harness_sleep_ns(harness_below(&trial->random, 30000000));
        done += kill(worker, SIGKILL) == 0;
        if (harness_daemon_next_worker(&trial->daemon, worker) == 0)
            break;
        if (i % BURST == BURST - 1)
            harness_sleep_ns(CALM_NS); /* or the keeper waits longer and longer before it starts another */
        if (atomic_load_explicit(&trial->told->breaches, memory_order_relaxed) > 0)
            break;
    }
    return done;
}

/* Memory that takes its time is made while a client dies: its slots come back before the memory is there. */
static int make_a_large_one(void *context)
{
    struct trial *trial = context;
    struct numapool_client *client;
    struct numapool_options options = NUMAPOOL_OPTIONS_INIT;
    options.name = "large";
    options.slot_bytes = 4096;
    options.slots = 200000;
    options.flags = NUMAPOOL_PAGES_FALLBACK;
    if (numapool_connect(&client, trial->daemon.socket) < 0)
        return broken(trial, "connect", "large", -1);
    int result = numapool_admin_create(client, &options);
    return result < 0 ? broken(trial, "create", "large", result) : 0;
}

static bool large_is_forming(void *context)
{
    const struct np_pool_entry *entry = find(context, "large");
    return entry && np_entry_is(&entry->state, NP_FORMING);
}

static void die_meanwhile(struct trial *trial)
{
    atomic_store_explicit(&trial->told->ready, 0, memory_order_relaxed);
    atomic_store_explicit(&trial->told->take, 0, memory_order_relaxed);
    pid_t victim = harness_fork(hoard, trial);
    harness_expect(harness_wait_until(is_ready, trial, 10 * SECOND_NS), "a client has the pool open");
    uint32_t number = 0;
    for (uint32_t i = 1; i <= trial->look.board.limits.clients; i++)
        if (np_entry_is(&trial->look.board.clients[i].state, NP_ACTIVE) && trial->look.board.clients[i].pid == victim)
            number = i;
    uint64_t cookie = harness_look_cookie(&trial->look, number);
    pid_t maker = harness_fork(make_a_large_one, trial);
    bool forming = harness_wait_until(large_is_forming, trial, 10 * SECOND_NS);
    kill(victim, SIGKILL);
    bool gone = harness_look_wait_gone(&trial->look, number, cookie, 20 * SECOND_NS) >= 0;
    bool still_forming = large_is_forming(trial);
    harness_join(victim, SECOND_NS);
    harness_expect(forming && gone && still_forming, "a client that dies while memory is made is scavenged before the memory is there");
    kill(harness_daemon_worker(&trial->daemon), SIGKILL);
    int status = harness_join(maker, 60 * SECOND_NS);
    const struct np_pool_entry *entry = find(trial, "large");
    harness_expect(status == 0 && entry && np_entry_is(&entry->state, NP_ACTIVE) && slots_of(entry) == 200000,
                   "who asked for it gets it from the next worker when the one that made it was killed");
    const char *const arguments[] = { "pool", "destroy", "large", NULL };
    harness_expect(harness_tool(&trial->daemon, arguments) == 0, "numapoolctl destroys it");
}

/* ---------------------------------------------------------------- killed while a pool is ended */

/* Leaves a lane with a message on each of many channels. */
static int fill_channels(void *context)
{
    struct trial *trial = context;
    struct numapool_client *client;
    struct numapool_pool *pool;
    if (numapool_connect(&client, trial->daemon.socket) < 0 || numapool_open(client, "wide", 0, &pool) < 0)
        return broken(trial, "connect or open", "wide", -1);
    for (unsigned i = 0; i < WIDE; i++) {
        struct numapool_sender *sender;
        struct numapool_msg message = NUMAPOOL_MSG_INIT;
        char channel[16];
        snprintf(channel, sizeof channel, "w.%u", i);
        if (numapool_sender_open(pool, channel, NULL, &sender) < 0 || !(message.data = numapool_loan(sender)) ||
            numapool_send(sender, &message, 0) < 0)
            return broken(trial, "sending", "wide", -1);
    }
    return 0;
}

static int end_it(void *context)
{
    struct trial *trial = context;
    struct numapool_client *client;
    int result;
    if (numapool_connect(&client, trial->daemon.socket) < 0)
        return 1;
    while ((result = numapool_admin_destroy(client, "wide", NUMAPOOL_DESTROY_DISCARD)) == -EBUSY)
        harness_sleep_ns(1000000); /* who filled it is not given up yet */
    return result < 0 ? broken(trial, "destroy", "wide", result) : numapool_disconnect(client) < 0;
}

static void die_while_ending(struct trial *trial)
{
    const char *const make[] = { "pool", "create", "wide", "--size=64", "--count=1000", NULL };
    unsigned rounds = harness_scaled(4, 2), caught = 0, ended = 0;
    for (unsigned round = 0; round < rounds; round++) {
        if (harness_tool(&trial->daemon, make) != 0 || harness_join(harness_fork(fill_channels, trial), 30 * SECOND_NS) != 0)
            break;
        pid_t worker = harness_daemon_worker(&trial->daemon), asks = harness_fork(end_it, trial);
        const struct np_pool_entry *entry = find(trial, "wide");
        int64_t until_ns = harness_now_ns() + 20 * SECOND_NS;
        while (np_entry_is(&entry->state, NP_ACTIVE) && harness_now_ns() < until_ns)
            ;
        kill(worker, SIGKILL);
        caught += np_entry_is(&entry->state, NP_DYING);
        ended += harness_join(asks, 30 * SECOND_NS) == 0 && !find(trial, "wide");
    }
    harness_note("the worker was killed in the middle of ending a pool %u times of %u", caught, rounds);
    harness_expect(ended == rounds, "a pool whose end was interrupted is ended by the next worker, and who asked is told so");
    harness_expect(harness_look_left(&trial->look).lanes == 0 && harness_look_left(&trial->look).channels == 0,
                   "none of its lanes and channels is left");
}

/* ---------------------------------------------------------------- the whole */

static void judge(struct trial *trial, unsigned kills)
{
    struct told *told = trial->told;
    uint32_t grown = atomic_load_explicit(&told->grown, memory_order_relaxed);
    uint64_t slots = slots_of(find(trial, POOL));
    harness_note("%u kills of the worker, %u pools made and %u destroyed, %u growths, %llu messages", kills,
                 atomic_load_explicit(&told->made, memory_order_relaxed), atomic_load_explicit(&told->destroyed, memory_order_relaxed), grown,
                 (unsigned long long)atomic_load_explicit(&told->messages, memory_order_relaxed));
    harness_expect(atomic_load_explicit(&told->breaches, memory_order_relaxed) == 0, "no call failed that a worker's death does not excuse: %s",
                   told->breach[0] ? told->breach : "none");
    harness_expect(atomic_load_explicit(&told->made, memory_order_relaxed) > 0 && grown > 0, "pools were made and enlarged");
    harness_expect(slots == SLOTS + (uint64_t)SLOTS_MORE * grown, "a growth that was asked again was done once: %llu slots",
                   (unsigned long long)slots);
}

static pid_t begin(struct trial *trial, int (*body)(void *context), unsigned number)
{
    trial->number = number;
    return harness_fork(body, trial);
}

static void storm(struct trial *trial)
{
    pid_t pids[ADMINS + USERS + 2];
    unsigned n = 0;
    pid_t hoarder = begin(trial, hoard, 0);
    harness_expect(harness_wait_until(is_ready, trial, 10 * SECOND_NS), "a client has the pool open from the beginning");
    for (unsigned i = 0; i < ADMINS; i++)
        pids[n++] = begin(trial, administer, i);
    for (unsigned i = 0; i < USERS; i++)
        pids[n++] = begin(trial, send_to_itself, i);
    pids[n++] = begin(trial, enlarge, 0);
    unsigned wanted = harness_scaled(KILLS, 6), kills = kill_workers(trial, wanted);
    harness_expect(kills == wanted, "the worker was killed %u times, and always there was another", kills);
    /* The users end first, by being killed: what they held is to come back. */
    for (unsigned i = ADMINS; i < ADMINS + USERS; i++)
        harness_kill(pids[i]);
    atomic_store_explicit(&trial->told->stop, 1, memory_order_relaxed);
    unsigned in_order = 0;
    for (unsigned i = 0; i < n; i++)
        in_order += i >= ADMINS && i < ADMINS + USERS ? 1 : harness_join(pids[i], 60 * SECOND_NS) == 0;
    harness_expect(in_order == n, "admins end in order");
    judge(trial, kills);
    const char *const refused[] = { "pool", "destroy", POOL, "--discard", NULL };
    harness_expect(harness_tool(&trial->daemon, refused) == 2, "a pool that somebody has open is not destroyed");
    harness_expect(harness_join(harness_fork(receive_the_rest, trial), 30 * SECOND_NS) == 0, "what the killed had sent is received");
    atomic_store_explicit(&trial->told->take, 1, memory_order_relaxed);
    harness_expect(harness_wait_until(has_hoarded, trial, 30 * SECOND_NS), "the hoarder takes what there is");
    uint32_t held = atomic_load_explicit(&trial->told->held, memory_order_relaxed);
    harness_expect(held == slots_of(find(trial, POOL)), "who had the pool open before it grew gets every slot of it: %u of %llu", held,
                   (unsigned long long)slots_of(find(trial, POOL)));
    harness_kill(hoarder);
    harness_expect(pools_there(trial) == 1, "no other pool is left, whole or in part");
}

int main(int argc, char **argv)
{
    static struct trial trial;
    char spec[64];
    harness_begin("pools", argc, argv);
    trial.random = harness_seed();
    trial.told = mmap(NULL, sizeof *trial.told, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    harness_daemon_prepare(&trial.daemon);
    snprintf(spec, sizeof spec, POOL ",size=128,count=%d", SLOTS);
    if (!harness_daemon_start(&trial.daemon, spec) || !harness_look_open(&trial.look, trial.daemon.socket))
        return 1;
    storm(&trial);
    die_meanwhile(&trial);
    die_while_ending(&trial);
    pid_t worker = harness_daemon_worker(&trial.daemon);
    struct descriptors left = { trial.daemon.keeper, worker, 2 * np_pool_arenas(find(&trial, POOL)) };
    harness_expect(harness_wait_until(has_descriptors, &left, 10 * SECOND_NS), "keeper and worker hold the memory of one pool and no other");
    const char *const end[] = { "pool", "destroy", POOL, NULL };
    harness_expect(harness_tool(&trial.daemon, end) == 0, "the pool of the configuration is destroyed");
    kill(worker, SIGKILL);
    left.worker = harness_daemon_next_worker(&trial.daemon, worker);
    left.memory = 0;
    harness_expect(harness_wait_until(has_descriptors, &left, 10 * SECOND_NS) && pools_there(&trial) == 0,
                   "and the next worker does not make it again");
    harness_expect(harness_daemon_stop(&trial.daemon) == 0, "the daemon ends in order");
    harness_look_close(&trial.look);
    harness_daemon_remove(&trial.daemon);
    return harness_end();
}
