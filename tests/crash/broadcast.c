/* SPDX-License-Identifier: MIT
 *
 * Broadcast under load, with senders and receivers killed at any time and replaced, and the worker now and then: each receiver sees each
 * sender's numbers from its joining on, without gap or double; of what a killed sender had begun all see it or none; nothing changes
 * while it is read; at the end every slot is free.
 */
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "harness.h"

enum {
    KILLS = 240,
    KILLS_A_WORKER = 12,  /* one in so many is the worker's */
    SENDERS = 2,
    READERS = 4,
    STEADY = 2,           /* of the readers, never killed */
    SENDERS_MAX = KILLS + SENDERS + 1,
    LANE_SLOTS = 16,
    HELD_MAX = 12,
    BODY_WORDS = 12
};

#define POOL "fan"
#define POOL_SPEC POOL ",size=128,count=1024"
#define PATIENCE_NS INT64_C(20000000000)

/* What one reader, whose place is filled again when it is killed, has seen of each sender. */
struct seen {
    _Atomic uint64_t received;
    _Atomic uint64_t joined[SENDERS_MAX]; /* number that the sender had begun to send when it joined, plus 1; 0: not joined */
    _Atomic uint64_t last[SENDERS_MAX];
};

struct told {
    _Atomic uint64_t begun[SENDERS_MAX]; /* by sender: the number of its send under way, or of the last */
    _Atomic uint32_t stop;
    _Atomic uint32_t breaches;
    char breach[256];
    struct seen readers[READERS];
};

struct start {
    struct told *told;
    const char *socket;
    uint32_t sender; /* 1 and up, another for each process */
    unsigned place;
    uint64_t seed;
};

static uint64_t load(const _Atomic uint64_t *value)
{
    return atomic_load_explicit(value, memory_order_acquire); /* pairs with the store of the process that counts there */
}

static __attribute__((format(printf, 2, 3))) int breach(struct told *told, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    if (atomic_fetch_add_explicit(&told->breaches, 1, memory_order_relaxed) == 0)
        vsnprintf(told->breach, sizeof told->breach, format, arguments);
    va_end(arguments);
    return 1;
}

static void fill(uint64_t *body, uint64_t id)
{
    for (unsigned i = 0; i < BODY_WORDS; i++)
        body[i] = id * 0x9e3779b97f4a7c15u + i;
}

static bool is_intact(const struct numapool_msg *message)
{
    uint64_t body[BODY_WORDS];
    fill(body, message->id);
    return message->length == sizeof body && memcmp(message->data, body, sizeof body) == 0;
}

static int join_pool(const struct start *start, struct numapool_pool **pool, struct numapool_channel_options *options)
{
    struct numapool_client *client;
    *options = (struct numapool_channel_options)NUMAPOOL_CHANNEL_OPTIONS_INIT;
    options->flags = NUMAPOOL_BROADCAST;
    options->lane_slots = LANE_SLOTS;
    int result = numapool_connect(&client, start->socket);
    return result < 0 ? result : numapool_open(client, POOL, 0, pool);
}

/* ---------------------------------------------------------------- roles */

static int send_on(void *context)
{
    const struct start *start = context;
    struct numapool_channel_options options;
    struct numapool_pool *pool;
    struct numapool_sender *sender;
    uint64_t random = start->seed, number = 0;
    if (join_pool(start, &pool, &options) < 0 || numapool_sender_open(pool, "news", &options, &sender) < 0)
        return breach(start->told, "sender %u cannot join: %s", start->sender, numapool_errormsg());
    for (;;) {
        struct numapool_msg messages[4];
        unsigned n = 1 + harness_below(&random, 4);
        for (unsigned i = 0; i < n; i++) {
            messages[i] = (struct numapool_msg){ .length = BODY_WORDS * 8, .id = (uint64_t)start->sender << 32 | (number + 1 + i) };
            if (numapool_loan_wait(sender, &messages[i].data, PATIENCE_NS) < 0)
                return breach(start->told, "sender %u gets no slot: %s", start->sender, numapool_errormsg());
            fill(messages[i].data, messages[i].id);
        }
        atomic_store_explicit(&start->told->begun[start->sender], number + n, memory_order_seq_cst); /* before the send begins */
        int sent = numapool_send_bulk(sender, messages, n, PATIENCE_NS);
        if (sent != (int)n)
            return breach(start->told, "sender %u: %d of %u sent: %s", start->sender, sent, n, numapool_errormsg());
        number += n;
    }
}

static bool check(const struct start *start, const struct numapool_msg *message)
{
    struct seen *seen = &start->told->readers[start->place];
    uint64_t sender = message->id >> 32, number = message->id & UINT32_MAX;
    if (sender == 0 || sender >= SENDERS_MAX || !is_intact(message) || message->flags != 0)
        return breach(start->told, "reader %u: a message %llx of which something is wrong", start->place, (unsigned long long)message->id) == 0;
    uint64_t last = load(&seen->last[sender]), joined = load(&seen->joined[sender]) - 1;
    if (last != 0 ? number != last + 1 : number > joined + 1)
        return breach(start->told, "reader %u: number %llu of sender %llu after %llu, joined at %llu", start->place, (unsigned long long)number,
                      (unsigned long long)sender, (unsigned long long)last, (unsigned long long)joined) == 0;
    atomic_store_explicit(&seen->last[sender], number, memory_order_release);
    atomic_fetch_add_explicit(&seen->received, 1, memory_order_release);
    return true;
}

static int read_on(void *context)
{
    const struct start *start = context;
    struct seen *seen = &start->told->readers[start->place];
    struct numapool_channel_options options;
    struct numapool_pool *pool;
    struct numapool_receiver *receiver;
    struct numapool_msg held[HELD_MAX];
    unsigned count = 0;
    uint64_t random = start->seed;
    if (join_pool(start, &pool, &options) < 0 || numapool_receiver_open(pool, "news", &options, &receiver) < 0)
        return breach(start->told, "reader %u cannot join: %s", start->place, numapool_errormsg());
    for (unsigned sender = 1; sender < SENDERS_MAX; sender++)
        atomic_store_explicit(&seen->joined[sender], load(&start->told->begun[sender]) + 1, memory_order_release);
    while (!atomic_load_explicit(&start->told->stop, memory_order_relaxed)) {
        int got = numapool_receive(receiver, held + count, 1 + harness_below(&random, HELD_MAX - count), INT64_C(50000000));
        for (int i = 0; i < got; i++)
            if (!check(start, &held[count + (unsigned)i]))
                return 1;
        if (got < 0 && got != -ETIMEDOUT)
            return breach(start->told, "reader %u: %d, %s", start->place, got, numapool_errormsg());
        count += got > 0 ? (unsigned)got : 0;
        unsigned done = got > 0 && count < HELD_MAX ? harness_below(&random, count + 1) : count; /* the eldest */
        for (unsigned i = 0; i < done; i++)
            if (!is_intact(&held[i]))
                return breach(start->told, "reader %u: message %llx changed while it was read", start->place, (unsigned long long)held[i].id);
        if (done > 0 && numapool_release(receiver, held, done) < 0)
            return breach(start->told, "reader %u cannot release: %s", start->place, numapool_errormsg());
        count -= done;
        memmove(held, held + done, count * sizeof held[0]);
    }
    return numapool_release(receiver, held, count) < 0 || numapool_receiver_close(receiver) < 0 || numapool_close(pool) < 0
               ? breach(start->told, "reader %u cannot leave: %s", start->place, numapool_errormsg())
               : 0;
}

/* ---------------------------------------------------------------- the trial */

struct trial {
    struct harness_daemon daemon;
    struct told *told;
    uint64_t random;
    pid_t senders[SENDERS], readers[READERS];
    uint32_t last_sender;
    struct start starts[SENDERS + READERS];
};

static void start_sender(struct trial *trial, unsigned place)
{
    struct start *start = &trial->starts[place];
    *start = (struct start){ trial->told, trial->daemon.socket, ++trial->last_sender, place, harness_random(&trial->random) };
    trial->senders[place] = harness_fork(send_on, start);
}

static void start_reader(struct trial *trial, unsigned place)
{
    struct start *start = &trial->starts[SENDERS + place];
    memset(&trial->told->readers[place], 0, sizeof trial->told->readers[place]);
    *start = (struct start){ trial->told, trial->daemon.socket, 0, place, harness_random(&trial->random) };
    trial->readers[place] = harness_fork(read_on, start);
}

static bool all_is_read(void *context)
{
    struct trial *trial = context;
    static uint64_t before[STEADY];
    bool same = true;
    for (unsigned place = 0; place < STEADY; place++) {
        uint64_t now = load(&trial->told->readers[place].received);
        same = same && now == before[place];
        before[place] = now;
    }
    harness_sleep_ns(200000000);
    return same;
}

/* Of each sender's last: whoever had joined before it was sent has it, or nobody has. */
static unsigned unequal_ends(struct trial *trial)
{
    unsigned unequal = 0;
    for (unsigned sender = 1; sender <= trial->last_sender; sender++) {
        uint64_t most = 0;
        for (unsigned place = 0; place < READERS; place++)
            most = load(&trial->told->readers[place].last[sender]) > most ? load(&trial->told->readers[place].last[sender]) : most;
        for (unsigned place = 0; place < READERS; place++) {
            const struct seen *seen = &trial->told->readers[place];
            unequal += load(&seen->joined[sender]) != 0 && load(&seen->joined[sender]) - 1 < most && load(&seen->last[sender]) != most;
        }
    }
    return unequal;
}

static void kill_somebody(struct trial *trial)
{
    unsigned place = harness_below(&trial->random, SENDERS + READERS - STEADY);
    if (harness_below(&trial->random, KILLS_A_WORKER) == 0) {
        pid_t worker = harness_daemon_worker(&trial->daemon);
        if (worker > 0)
            kill(worker, SIGKILL);
    } else if (place < SENDERS) {
        harness_kill(trial->senders[place]);
        start_sender(trial, place);
    } else {
        place = place - SENDERS + STEADY;
        harness_kill(trial->readers[place]);
        start_reader(trial, place);
    }
}

int main(int argc, char **argv)
{
    static struct trial trial;
    struct harness_look look;
    struct np_check check;
    harness_begin("broadcast", argc, argv);
    trial.random = harness_seed();
    trial.told = mmap(NULL, sizeof *trial.told, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    harness_daemon_prepare(&trial.daemon);
    if (trial.told == MAP_FAILED || !harness_daemon_start(&trial.daemon, POOL_SPEC) || !harness_look_open(&look, trial.daemon.socket))
        return harness_expect(false, "a daemon"), harness_end();
    for (unsigned place = 0; place < READERS; place++)
        start_reader(&trial, place);
    for (unsigned place = 0; place < SENDERS; place++)
        start_sender(&trial, place);
    unsigned kills = harness_scaled(KILLS, 40), wrong = 0;
    for (unsigned i = 0; i < kills && !atomic_load_explicit(&trial.told->breaches, memory_order_relaxed); i++) {
        harness_sleep_ns(5000000 + harness_below(&trial.random, 40000000));
        kill_somebody(&trial);
        if (i % 16 == 15 && harness_look_check(&look, &check))
            wrong += check.wrong > 0;
    }
    for (unsigned place = 0; place < SENDERS; place++)
        harness_kill(trial.senders[place]);
    harness_wait_until(all_is_read, &trial, PATIENCE_NS);
    uint64_t received = load(&trial.told->readers[0].received);
    harness_expect(trial.told->breaches == 0, "each receiver sees each sender's numbers from its joining on, without gap or double%s%s",
                   trial.told->breaches ? ": " : "", trial.told->breach);
    harness_expect(received > kills, "%llu messages came to the first receiver, of %u senders, through %u deaths", (unsigned long long)received,
                   trial.last_sender, kills);
    unsigned unequal = unequal_ends(&trial);
    harness_expect(unequal == 0, "of what a dying sender had begun all see it or none: %u ends unequal", unequal);
    harness_expect(wrong == 0, "a check finds nothing while it goes on");
    atomic_store_explicit(&trial.told->stop, 1, memory_order_relaxed);
    unsigned ended = 0;
    for (unsigned place = 0; place < READERS; place++)
        ended += harness_join(trial.readers[place], PATIENCE_NS) == 0;
    harness_expect(ended == READERS, "those that were not killed leave as they should%s%s", trial.told->breaches ? ": " : "", trial.told->breach);
    harness_look_close(&look);
    harness_expect_nothing_left(&trial.daemon);
    harness_expect(harness_daemon_stop(&trial.daemon) == 0, "the daemon ends");
    harness_daemon_remove(&trial.daemon);
    return harness_end();
}
