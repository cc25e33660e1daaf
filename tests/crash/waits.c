/* SPDX-License-Identifier: MIT
 *
 * Waiting under deaths: senders sleep for slots and for room, receivers in wait-sets over several channels, by sleeping or by poll on the
 * eventfd; two or all three receivers have opened the pool read-only, so that both ends wake each other on their lane, and the daemon does not hear what
 * they release on the lanes of the dead. Receivers, senders and the daemon's worker are killed. Nobody has a time limit: a wake-up that is lost is found because nothing goes on any more.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "harness.h"

#define POOL "waits"
#define GET(field) atomic_load_explicit(&(field), memory_order_relaxed)
#define SET(field, value) atomic_store_explicit(&(field), (value), memory_order_relaxed)
#define COUNT(field) atomic_fetch_add_explicit(&(field), 1, memory_order_relaxed)

enum { KILLS = 400, SENDERS = 2, RECEIVERS = 3, CHANNELS = 3, NUMBERS_MAX = 1 << 21, LANE_SLOTS = 4, BATCH = 6, QUIET_EVERY = 20,
       WORKER_EVERY = 25, SENDER_EVERY = 4, DELAY_NS_MAX = 2000000 };
#define GOES_ON_NS INT64_C(20000000000)
static const char *const channel_names[CHANNELS] = { "a", "b", "c" };

/* Written by all processes; outlives them. */
struct record {
    _Atomic uint8_t seen[SENDERS][NUMBERS_MAX];
    _Atomic uint64_t sent[SENDERS];
    _Atomic uint64_t received[2]; /* by who only reads, by who maps all */
    _Atomic uint64_t again, strange;
    _Atomic uint32_t failures, stop;
    _Atomic uint32_t at_work[RECEIVERS];
};

struct start {
    struct record *record;
    const char *socket;
    unsigned place;
    uint64_t seed;
};

struct payload {
    uint64_t sender, number;
};

static int failed(struct record *record, const char *call, int result)
{
    char line[300];
    int bytes = snprintf(line, sizeof line, "waits: %s gave %d: %s\n", call, result, numapool_errormsg());
    fwrite(line, 1, (size_t)bytes, stderr);
    COUNT(record->failures);
    return 1;
}

static int open_pool(const struct start *start, uint64_t flags, struct numapool_pool **pool)
{
    struct numapool_client *client;
    int result = numapool_connect(&client, start->socket);
    return result < 0 ? result : numapool_open(client, POOL, flags, pool);
}

/* ---------------------------------------------------------------- senders */

static int run_sender(void *context)
{
    const struct start *start = context;
    struct record *record = start->record;
    struct numapool_channel_options options = NUMAPOOL_CHANNEL_OPTIONS_INIT;
    struct numapool_sender *senders[CHANNELS];
    struct numapool_magazine *magazine = NULL;
    struct numapool_pool *pool;
    uint64_t random = start->seed | 1;
    int result = open_pool(start, 0, &pool);
    if (result == 0)
        result = numapool_magazine_open(pool, NUMAPOOL_ANY_NODE, 0, &magazine);
    options.lane_slots = LANE_SLOTS;
    options.spin_ns = harness_below(&random, 3) == 0 ? 0 : -1; /* who spins settles before it sleeps */
    options.magazine = magazine; /* so that one that waits for a slot hears of what all its receivers release */
    for (unsigned i = 0; i < CHANNELS && result == 0; i++)
        result = numapool_sender_open(pool, channel_names[i], &options, &senders[i]);
    if (result < 0)
        return failed(record, "joining as a sender", result);
    for (uint64_t number = GET(record->sent[start->place]); number < NUMBERS_MAX && !GET(record->stop); number++) {
        struct numapool_sender *sender = senders[harness_below(&random, CHANNELS)];
        struct numapool_msg message = NUMAPOOL_MSG_INIT;
        result = numapool_loan_wait(sender, &message.data, NUMAPOOL_FOREVER);
        if (result < 0)
            return failed(record, "loan_wait", result);
        *(struct payload *)message.data = (struct payload){ start->place, number };
        message.length = sizeof(struct payload);
        result = numapool_send(sender, &message, NUMAPOOL_FOREVER);
        if (result < 0)
            return failed(record, "send", result);
        SET(record->sent[start->place], number + 1);
        if (harness_below(&random, 16) == 0)
            harness_sleep_ns(harness_below(&random, 200000)); /* its receivers fall asleep */
    }
    for (unsigned i = 0; i < CHANNELS; i++) {
        result = numapool_sender_close(senders[i], NUMAPOOL_FOREVER);
        if (result != 0)
            return failed(record, "closing a sender", result);
    }
    return 0;
}

/* ---------------------------------------------------------------- receivers */

static int receive_from(struct record *record, bool direct, struct numapool_receiver *receiver, uint64_t *random)
{
    struct numapool_msg messages[BATCH];
    int got = numapool_receive(receiver, messages, BATCH, 0);
    if (got == -EAGAIN)
        return 0; /* a lane has gone meanwhile */
    for (int i = 0; i < got; i++) {
        const struct payload *payload = messages[i].data;
        if (payload->sender >= SENDERS || payload->number >= NUMBERS_MAX) {
            COUNT(record->strange);
            continue;
        }
        if (atomic_fetch_or_explicit(&record->seen[payload->sender][payload->number], 1, memory_order_relaxed) != 0)
            COUNT(record->again);
        COUNT(record->received[direct]);
    }
    if (harness_below(random, 3) != 0)
        harness_sleep_ns(harness_below(random, 150000)); /* in hand when it is killed; its senders fall asleep */
    return got < 0 ? got : numapool_release(receiver, messages, (unsigned)got);
}

static int run_receiver(void *context)
{
    const struct start *start = context;
    struct record *record = start->record;
    struct numapool_channel_options options = NUMAPOOL_CHANNEL_OPTIONS_INIT;
    struct numapool_receiver *receivers[CHANNELS];
    struct numapool_waitset *set;
    struct numapool_pool *pool;
    uint64_t random = start->seed | 1;
    bool polls = harness_below(&random, 2) == 0, direct = start->place == 0 && harness_below(&random, 2) == 0;
    options.spin_ns = harness_below(&random, 3) == 0 ? 0 : -1;
    int fd = -1, result = open_pool(start, direct ? 0 : NUMAPOOL_READONLY, &pool);
    if (result == 0)
        result = numapool_waitset_open(&set);
    for (unsigned i = 0; i < CHANNELS && result == 0; i++) {
        result = numapool_receiver_open(pool, channel_names[i], &options, &receivers[i]);
        if (result == 0)
            result = numapool_waitset_add(set, receivers[i], receivers[i]);
    }
    if (result == 0 && polls)
        fd = result = numapool_waitset_eventfd(set);
    if (result < 0)
        return failed(record, "joining as a receiver", result);
    SET(record->at_work[start->place], 1);
    for (;;) { /* until it is killed */
        void *ready[2];
        int n = numapool_waitset_wait(set, ready, 2, polls ? 0 : NUMAPOOL_FOREVER);
        if (polls && n == -EAGAIN) {
            struct pollfd polled = { .fd = fd, .events = POLLIN };
            poll(&polled, 1, -1);
            continue;
        }
        if (n <= 0)
            return failed(record, "wait", n);
        for (int i = 0; i < n; i++)
            if ((result = receive_from(record, direct, ready[i], &random)) < 0)
                return failed(record, "receiving", result);
    }
}

/* ---------------------------------------------------------------- the test */

static pid_t spawn(int (*body)(void *context), struct record *record, const char *socket, unsigned place, uint64_t *random)
{
    struct start start = { record, socket, place, harness_random(random) };
    return harness_fork(body, &start);
}

static struct {
    struct record *record;
    uint64_t sent;
} goal;

static bool both_have_sent(void *context)
{
    (void)context;
    return GET(goal.record->failures) > 0 || (GET(goal.record->sent[0]) + GET(goal.record->sent[1]) >= goal.sent);
}

/* Nobody dies, whose death would ring everybody: what is asleep by mistake stays so. */
static bool goes_on(struct record *record)
{
    goal.record = record;
    goal.sent = GET(record->sent[0]) + GET(record->sent[1]) + 1000;
    return harness_wait_until(both_have_sent, NULL, GOES_ON_NS);
}

static bool is_at_work(void *context)
{
    return GET(*(_Atomic uint32_t *)context) != 0;
}

/* Whether its last message was sent nobody knows; it is taken for one that came. */
static void replace_sender(struct record *record, const struct harness_daemon *daemon, pid_t *senders, uint64_t *random)
{
    unsigned place = harness_below(random, SENDERS);
    harness_kill(senders[place]);
    uint64_t sent = GET(record->sent[place]);
    if (sent < NUMBERS_MAX) {
        SET(record->seen[place][sent], 1);
        SET(record->sent[place], sent + 1);
    }
    senders[place] = spawn(run_sender, record, daemon->socket, place, random);
}

static bool rage(struct record *record, struct harness_daemon *daemon, pid_t *senders, pid_t *receivers, uint64_t *random, unsigned kills)
{
    for (unsigned killed = 0; killed < kills && GET(record->failures) == 0; killed++) {
        unsigned place = harness_below(random, RECEIVERS);
        harness_sleep_ns(harness_below(random, DELAY_NS_MAX));
        harness_wait_until(is_at_work, &record->at_work[place], GOES_ON_NS); /* else all would die while they join */
        harness_kill(receivers[place]);
        SET(record->at_work[place], 0);
        if (killed % WORKER_EVERY == WORKER_EVERY - 1) {
            pid_t worker = harness_daemon_worker(daemon);
            kill(worker, SIGKILL);
            harness_daemon_next_worker(daemon, worker);
        }
        receivers[place] = spawn(run_receiver, record, daemon->socket, place, random);
        if (killed % SENDER_EVERY == 0)
            replace_sender(record, daemon, senders, random);
        if (killed % QUIET_EVERY == QUIET_EVERY - 1 && !goes_on(record))
            return false;
    }
    return true;
}

static uint64_t count_unseen(struct record *record)
{
    uint64_t unseen = 0;
    for (unsigned s = 0; s < SENDERS; s++)
        for (uint64_t number = 0; number < GET(record->sent[s]); number++)
            unseen += GET(record->seen[s][number]) == 0;
    return unseen;
}

int main(int argc, char **argv)
{
    static struct harness_daemon daemon;
    pid_t senders[SENDERS], receivers[RECEIVERS];
    harness_begin("waits", argc, argv);
    uint64_t random = harness_seed();
    unsigned kills = harness_scaled(KILLS, 40);
    struct record *record = mmap(NULL, sizeof *record, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    harness_daemon_prepare(&daemon);
    /* few slots: senders wait for them, too */
    if (!harness_expect(record != MAP_FAILED && harness_daemon_start(&daemon, POOL ",size=128,count=64"), "the daemon starts"))
        return harness_end();
    for (unsigned i = 0; i < RECEIVERS; i++)
        receivers[i] = spawn(run_receiver, record, daemon.socket, i, &random);
    for (unsigned i = 0; i < SENDERS; i++)
        senders[i] = spawn(run_sender, record, daemon.socket, i, &random);
    bool went_on = rage(record, &daemon, senders, receivers, &random, kills);
    harness_expect(went_on, "whatever died, those who live go on without another death to wake them");
    SET(record->stop, 1);
    for (unsigned i = 0; i < SENDERS; i++)
        harness_expect(harness_join(senders[i], GOES_ON_NS) == 0, "sender %u sends all it had begun, and sees it released", i);
    for (unsigned i = 0; i < RECEIVERS; i++)
        harness_kill(receivers[i]);
    harness_note("%u receivers and every %uth time a sender killed; %llu and %llu messages, %llu by direct receivers, %llu by those who only read; %llu again", kills, SENDER_EVERY,
                 (unsigned long long)GET(record->sent[0]), (unsigned long long)GET(record->sent[1]),
                 (unsigned long long)GET(record->received[1]), (unsigned long long)GET(record->received[0]),
                 (unsigned long long)GET(record->again));
    harness_expect(GET(record->failures) == 0, "no call failed");
    harness_expect(count_unseen(record) == 0, "each message came");
    harness_expect(GET(record->strange) == 0, "no message was another than was sent");
    harness_expect(GET(record->received[0]) > 0 && GET(record->received[1]) > 0, "everybody had some");
    harness_expect_nothing_left(&daemon);
    harness_expect(harness_daemon_stop(&daemon) == 0, "SIGTERM ends the daemon with status 0");
    harness_daemon_remove(&daemon);
    return harness_end();
}
