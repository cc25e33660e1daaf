/* SPDX-License-Identifier: MIT
 *
 * Order of keys under deaths: senders number the messages of each of their keys; receivers join, leave with messages in hand and are killed,
 * the daemon's worker now and then too. No message is received for the first time before the one with the number below it, and none is lost.
 * Between them go messages without a key, and some to one receiver alone, which nobody else gets.
 */
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "harness.h"

#define POOL "keys"
#define GET(field) atomic_load_explicit(&(field), memory_order_relaxed)
#define SET(field, value) atomic_store_explicit(&(field), (value), memory_order_relaxed)

enum { KILLS = 600, SENDERS = 2, RECEIVERS = 4, KEYS = 40, BATCH = 24, DELAY_NS_MAX = 3000000, WORKER_EVERY = 60, LANE_SLOTS = 16 };
#define SHORT_NS INT64_C(2000000)
#define ONLY_ONE UINT64_C(0x8000000000000000) /* key of a message without a key; with it, id is the address of the only receiver */

/* Written by all processes; outlives them. A number is stored as seen before its message is released: who gets the next one,
 * wherever, gets it after that. */
struct record {
    _Atomic uint64_t sent[SENDERS][KEYS];
    _Atomic uint64_t seen[SENDERS][KEYS]; /* numbers below it have been received */
    _Atomic uint64_t address[RECEIVERS];
    _Atomic uint64_t received, again, directed, unreachable, plain;
    _Atomic uint32_t inversions, unmarked, strayed, failures, stop, end;
    _Atomic uint32_t at_work[RECEIVERS];
};

struct start {
    struct record *record;
    const char *socket;
    unsigned place;
    uint64_t seed;
};

struct payload {
    uint64_t sender, key, number;
};

static int failed(struct record *record, const char *call, int result)
{
    char line[300];
    int bytes = snprintf(line, sizeof line, "keys: %s gave %d: %s\n", call, result, numapool_errormsg());
    fwrite(line, 1, (size_t)bytes, stderr);
    atomic_fetch_add_explicit(&record->failures, 1, memory_order_relaxed);
    return 1;
}

static bool is_only_late(int result)
{
    return result == -EAGAIN || result == -ETIMEDOUT;
}

static int open_pool(const struct start *start, struct numapool_pool **pool)
{
    struct numapool_client *client;
    int result = numapool_connect(&client, start->socket);
    return result < 0 ? result : numapool_open(client, POOL, 0, pool);
}

/* ---------------------------------------------------------------- senders */

static int send_directed(struct record *record, struct numapool_sender *sender, uint64_t address)
{
    struct numapool_msg message = NUMAPOOL_MSG_INIT;
    if (address == 0 || (message.data = numapool_loan(sender)) == NULL)
        return 0;
    *(struct payload *)message.data = (struct payload){ 0, ONLY_ONE, 0 };
    message.length = sizeof(struct payload);
    message.id = address;
    int result = numapool_send_to(sender, address, &message, SHORT_NS);
    if (result == 0)
        atomic_fetch_add_explicit(&record->directed, 1, memory_order_relaxed);
    else if (result == -EHOSTUNREACH)
        atomic_fetch_add_explicit(&record->unreachable, 1, memory_order_relaxed);
    else if (!is_only_late(result))
        return failed(record, "send_to", result);
    if (result < 0)
        numapool_unloan(sender, message.data);
    return 0;
}

static int run_sender(void *context)
{
    const struct start *start = context;
    struct record *record = start->record;
    struct numapool_channel_options options = NUMAPOOL_CHANNEL_OPTIONS_INIT;
    struct numapool_msg messages[BATCH];
    struct numapool_pool *pool;
    struct numapool_sender *sender;
    uint64_t random = start->seed | 1, next[KEYS] = { 0 };
    options.lane_slots = LANE_SLOTS;
    options.spin_ns = start->place % 2 ? -1 : 0;
    int result = open_pool(start, &pool);
    if (result == 0)
        result = numapool_sender_open(pool, "c", &options, &sender);
    if (result < 0)
        return failed(record, "joining as a sender", result);
    while (!GET(record->stop)) {
        unsigned n = 1 + harness_below(&random, harness_below(&random, 2) ? BATCH : 2), done = 0, had = 0;
        memset(messages, 0, sizeof messages);
        for (; had < n && (messages[had].data = numapool_loan(sender)) != NULL; had++) {
            unsigned key = harness_below(&random, KEYS);
            bool keyed = harness_below(&random, 8) != 0;
            messages[had].length = sizeof(struct payload);
            messages[had].flags = keyed ? NUMAPOOL_KEYED : 0;
            messages[had].key = keyed ? start->place * UINT64_C(1000) + key : ONLY_ONE;
            *(struct payload *)messages[had].data = (struct payload){ start->place, keyed ? key : ONLY_ONE, keyed ? next[key]++ : 0 };
        }
        while (done < had) { /* also those that have to wait for a lane to be drained */
            result = numapool_send_bulk(sender, messages + done, had - done, SHORT_NS);
            if (result < 0 && !is_only_late(result))
                return failed(record, "send", result);
            done += result > 0 ? (unsigned)result : 0;
        }
        for (unsigned key = 0; key < KEYS; key++)
            SET(record->sent[start->place][key], next[key]);
        if (harness_below(&random, 4) == 0 && send_directed(record, sender, GET(record->address[harness_below(&random, RECEIVERS)])) != 0)
            return 1;
    }
    result = numapool_sender_close(sender, NUMAPOOL_FOREVER);
    return result != 0 ? failed(record, "closing a sender", result) : 0;
}

/* ---------------------------------------------------------------- receivers */

static void enter(struct record *record, const struct numapool_msg *message, uint64_t own_address)
{
    const struct payload *payload = message->data;
    atomic_fetch_add_explicit(&record->received, 1, memory_order_relaxed);
    if (payload->key == ONLY_ONE) {
        if (message->id != 0 && message->id != own_address)
            atomic_fetch_add_explicit(&record->strayed, 1, memory_order_relaxed);
        atomic_fetch_add_explicit(&record->plain, message->id == 0, memory_order_relaxed);
        return;
    }
    _Atomic uint64_t *seen = &record->seen[payload->sender][payload->key];
    uint64_t before = GET(*seen);
    if (payload->number > before)
        atomic_fetch_add_explicit(&record->inversions, 1, memory_order_relaxed);
    if (payload->number == before)
        SET(*seen, before + 1);
    if (payload->number < before) {
        atomic_fetch_add_explicit(&record->again, 1, memory_order_relaxed);
        if (!(message->flags & NUMAPOOL_REDELIVERED))
            atomic_fetch_add_explicit(&record->unmarked, 1, memory_order_relaxed);
    }
}

static int join(const struct start *start, struct numapool_pool *pool, struct numapool_receiver **receiver)
{
    struct numapool_channel_options options = NUMAPOOL_CHANNEL_OPTIONS_INIT;
    options.spin_ns = start->place % 2 ? -1 : 0;
    int result = numapool_receiver_open(pool, "c", &options, receiver);
    if (result == 0)
        SET(start->record->address[start->place], numapool_receiver_address(*receiver));
    return result;
}

static int run_receiver(void *context)
{
    const struct start *start = context;
    struct record *record = start->record;
    struct numapool_msg messages[BATCH];
    struct numapool_pool *pool;
    struct numapool_receiver *receiver;
    uint64_t random = start->seed | 1;
    int result = open_pool(start, &pool);
    if (result == 0)
        result = join(start, pool, &receiver);
    if (result < 0)
        return failed(record, "joining as a receiver", result);
    SET(record->at_work[start->place], 1);
    while (!GET(record->end)) {
        int got = numapool_receive(receiver, messages, 1 + harness_below(&random, BATCH), SHORT_NS);
        if (got < 0 && !is_only_late(got))
            return failed(record, "receive", got);
        if (got < 0)
            continue;
        uint64_t own_address = numapool_receiver_address(receiver);
        for (int i = 0; i < got; i++)
            enter(record, &messages[i], own_address);
        if (harness_below(&random, 4) == 0)
            harness_sleep_ns(harness_below(&random, 100000)); /* in hand when it is killed */
        bool leaves = harness_below(&random, 100) == 0;
        for (int i = 0; i < got; i++) {
            if (leaves && harness_below(&random, 2) == 0)
                continue;
            result = numapool_release(receiver, &messages[i], 1);
            if (result < 0)
                return failed(record, "release", result);
        }
        if (leaves) {
            result = numapool_receiver_close(receiver);
            if (result == 0)
                result = join(start, pool, &receiver);
            if (result < 0)
                return failed(record, "leaving and joining", result);
        }
    }
    result = numapool_receiver_close(receiver);
    return result < 0 ? failed(record, "closing a receiver", result) : 0;
}

/* ---------------------------------------------------------------- the test */

static pid_t spawn(int (*body)(void *context), struct record *record, const char *socket, unsigned place, uint64_t *random)
{
    struct start start = { record, socket, place, harness_random(random) };
    return harness_fork(body, &start);
}

static void rage(struct record *record, struct harness_daemon *daemon, pid_t *receivers, uint64_t *random, unsigned kills)
{
    for (unsigned killed = 0; killed < kills && GET(record->failures) == 0; killed++) {
        unsigned place = harness_below(random, RECEIVERS);
        harness_sleep_ns(harness_below(random, DELAY_NS_MAX));
        for (unsigned waits = 0; waits < 2000 && !GET(record->at_work[place]); waits++)
            harness_sleep_ns(100000); /* else all would die while they join */
        harness_kill(receivers[place]);
        SET(record->at_work[place], 0);
        if (killed % WORKER_EVERY == WORKER_EVERY - 1) {
            pid_t worker = harness_daemon_worker(daemon);
            kill(worker, SIGKILL);
            harness_daemon_next_worker(daemon, worker);
        }
        receivers[place] = spawn(run_receiver, record, daemon->socket, place, random);
    }
}

int main(int argc, char **argv)
{
    static struct harness_daemon daemon;
    pid_t senders[SENDERS], receivers[RECEIVERS];
    uint64_t sent = 0, seen = 0, fewest = UINT64_MAX;
    harness_begin("keys", argc, argv);
    uint64_t random = harness_seed();
    unsigned kills = harness_scaled(KILLS, 40);
    struct record *record = mmap(NULL, sizeof *record, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    harness_daemon_prepare(&daemon);
    if (!harness_expect(record != MAP_FAILED && harness_daemon_start(&daemon, POOL ",size=128,count=2048"), "the daemon starts"))
        return harness_end();
    for (unsigned i = 0; i < RECEIVERS; i++)
        receivers[i] = spawn(run_receiver, record, daemon.socket, i, &random);
    for (unsigned i = 0; i < SENDERS; i++)
        senders[i] = spawn(run_sender, record, daemon.socket, i, &random);
    rage(record, &daemon, receivers, &random, kills);
    SET(record->stop, 1);
    for (unsigned i = 0; i < SENDERS; i++)
        harness_expect(harness_join(senders[i], INT64_C(20000000000)) == 0, "sender %u sends all it had begun, and sees it released", i);
    SET(record->end, 1);
    for (unsigned i = 0; i < RECEIVERS; i++)
        harness_expect(harness_join(receivers[i], INT64_C(10000000000)) == 0, "receiver %u ends in order", i);
    for (unsigned s = 0; s < SENDERS; s++)
        for (unsigned key = 0; key < KEYS; key++) {
            uint64_t of_key = GET(record->sent[s][key]);
            sent += of_key;
            seen += GET(record->seen[s][key]);
            fewest = of_key < fewest ? of_key : fewest;
        }
    harness_note("%u receivers killed; %llu keyed messages (of each key %llu and more), %llu without, %llu to one alone (%llu to who was gone), %llu again",
                 kills, (unsigned long long)sent, (unsigned long long)fewest, (unsigned long long)GET(record->plain),
                 (unsigned long long)GET(record->directed), (unsigned long long)GET(record->unreachable),
                 (unsigned long long)GET(record->again));
    harness_expect(GET(record->failures) == 0, "no call failed");
    harness_expect(GET(record->inversions) == 0, "no message of a key came before the one below it (%u)", GET(record->inversions));
    harness_expect(seen == sent, "each of %llu keyed messages came (%llu)", (unsigned long long)sent, (unsigned long long)seen);
    harness_expect(GET(record->unmarked) == 0, "what came again was marked (%u not)", GET(record->unmarked));
    harness_expect(GET(record->strayed) == 0, "what was for one receiver came to nobody else (%u)", GET(record->strayed));
    harness_expect(GET(record->directed) > 0 && GET(record->again) > 0, "there was something to go wrong");
    harness_expect_nothing_left(&daemon);
    harness_expect(harness_daemon_stop(&daemon) == 0, "SIGTERM ends the daemon with status 0");
    harness_daemon_remove(&daemon);
    return harness_end();
}
