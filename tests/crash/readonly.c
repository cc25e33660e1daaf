/* SPDX-License-Identifier: MIT
 *
 * Receivers that may only read, of another user where this test is root's, are killed and join again under load, and the
 * daemon's worker is killed besides. Every message is received, by whomever; what two have received is marked so; a
 * receiver that says nothing for long stays what it is; and nothing is left.
 */
#include <errno.h>
#include <grp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "harness.h"

enum {
    READERS = 4,
    SENDERS = 2,
    MESSAGES_MAX = 8000000, /* of a sender, which would need longer for them than this test */
    PAUSE_EVERY = 64,
    KILLS = 150,
    WORKER_KILL_EVERY = 15,
    /* until the daemon has looked at who did not connect to its next worker: 1 s, and what it does twice again */
    QUIET_NS = 1900000000,
    USER = 65534
};
#define SECOND_NS INT64_C(1000000000)

struct payload {
    uint64_t sender, number, check;
};

/* Pairs: who stores releases, who looks acquires; counts are relaxed, for they are looked at when their processes have been
 * waited for. */
struct shared {
    _Atomic uint64_t sent[SENDERS];
    _Atomic uint64_t received, again, unmarked, torn, failed;
    _Atomic uint32_t ending, quiet_ready, quiet_go, quiet_got;
    char sentence[256];
    _Atomic uint8_t seen[SENDERS][MESSAGES_MAX];
};

static struct shared *shared;
static struct harness_daemon the_daemon;

static uint64_t check_of(uint64_t sender, uint64_t number)
{
    return (sender << 32 ^ number) * UINT64_C(0x9e3779b97f4a7c15) + 1;
}

static uint64_t count_of(_Atomic uint64_t *count)
{
    return atomic_load_explicit(count, memory_order_acquire);
}

static int fail(const char *what)
{
    snprintf(shared->sentence, sizeof shared->sentence, "%s: %s", what, numapool_errormsg());
    atomic_fetch_add_explicit(&shared->failed, 1, memory_order_relaxed);
    return 1;
}

static int become_user(void)
{
    if (geteuid() != 0)
        return 0;
    if (setgroups(0, NULL) != 0 || setresgid(USER, USER, USER) != 0 || setresuid(USER, USER, USER) != 0)
        return fail("becoming another user");
    return 0;
}

/* ---------------------------------------------------------------- processes */

static int send_all(void *context)
{
    uint64_t sender = (uintptr_t)context, number = 0;
    struct numapool_client *client;
    struct numapool_pool *pool;
    struct numapool_sender *out;
    if (numapool_connect(&client, the_daemon.socket) < 0 || numapool_open(client, "storm", 0, &pool) < 0 ||
        numapool_sender_open(pool, "c", NULL, &out) < 0)
        return fail("joining as a sender");
    while (!atomic_load_explicit(&shared->ending, memory_order_acquire) && number < MESSAGES_MAX) {
        void *slot;
        if (number % PAUSE_EVERY == 0)
            harness_sleep_ns(50000); /* so that receivers sleep, too */
        int result = numapool_loan_wait(out, &slot, 50000000);
        if (result == -ETIMEDOUT)
            continue;
        if (result < 0)
            return fail("loan");
        *(struct payload *)slot = (struct payload){ sender, number, check_of(sender, number) };
        result = numapool_send(out, &(struct numapool_msg){ .data = slot, .length = sizeof(struct payload), .id = number },
                               50000000);
        if (result == 0)
            atomic_store_explicit(&shared->sent[sender], ++number, memory_order_release);
        else if (numapool_unloan(out, slot) < 0 || result != -ETIMEDOUT)
            return fail("send");
    }
    /* what is not released yet stays on its lanes */
    return numapool_sender_close(out,
                                 0) < 0 || numapool_close(pool) < 0 || numapool_disconnect(client) < 0 ? fail("leaving") : 0;
}

static void take(const struct numapool_msg *message)
{
    const struct payload *payload = message->data;
    uint64_t sender = payload->sender, number = payload->number;
    if (message->length != sizeof *payload || sender >= SENDERS || number >= MESSAGES_MAX || number != message->id ||
        payload->check != check_of(sender, number)) {
        atomic_fetch_add_explicit(&shared->torn, 1, memory_order_relaxed);
        return;
    }
    if (atomic_exchange_explicit(&shared->seen[sender][number], 1, memory_order_acq_rel)) {
        atomic_fetch_add_explicit(&shared->again, 1, memory_order_relaxed);
        if (!(message->flags & NUMAPOOL_REDELIVERED))
            atomic_fetch_add_explicit(&shared->unmarked, 1, memory_order_relaxed);
    }
    atomic_fetch_add_explicit(&shared->received, 1, memory_order_relaxed);
}

static int receive_as(uint64_t flags, int64_t idle_end_ns)
{
    struct numapool_client *client;
    struct numapool_pool *pool;
    struct numapool_receiver *in;
    struct numapool_msg messages[16];
    int n;
    if (numapool_connect(&client, the_daemon.socket) < 0 || numapool_open(client, "storm", flags, &pool) < 0 ||
        numapool_receiver_open(pool, "c", NULL, &in) < 0)
        return fail("joining as a receiver");
    while ((n = numapool_receive(in, messages, 16, idle_end_ns)) > 0) {
        for (int i = 0; i < n; i++)
            take(&messages[i]);
        if (messages[0].id % 8 == 0)
            harness_sleep_ns(30000); /* so that some die here, with what they have seen and not released */
        if (numapool_release(in, messages, (unsigned)n) < 0)
            return fail("release");
    }
    if (n != -ETIMEDOUT)
        return fail("receive");
    if (numapool_receiver_close(in) < 0 || numapool_close(pool) < 0 || numapool_disconnect(client) < 0)
        return fail("leaving");
    return 0;
}

static int read_until_killed(void *context)
{
    (void)context;
    int code = become_user();
    return code ? code : receive_as(NUMAPOOL_READONLY, 60 * SECOND_NS);
}

static int drain(void *context)
{
    (void)context;
    return receive_as(0, SECOND_NS / 4);
}

/* Joins, and calls nothing of the library until it is told to: who sleeps in it is woken by the next worker, and connects
 * again. */
static int wait_quietly(void *context)
{
    struct numapool_client *client;
    struct numapool_pool *pool;
    struct numapool_receiver *in;
    struct numapool_msg message;
    (void)context;
    if (become_user() != 0)
        return 1;
    if (numapool_connect(&client, the_daemon.socket) < 0 || numapool_open(client, "storm", NUMAPOOL_READONLY, &pool) < 0 ||
        numapool_receiver_open(pool, "quiet", NULL, &in) < 0)
        return fail("joining quietly");
    atomic_store_explicit(&shared->quiet_ready, 1, memory_order_release);
    while (!atomic_load_explicit(&shared->quiet_go, memory_order_acquire))
        harness_sleep_ns(SECOND_NS / 100);
    if (numapool_receive(in, &message, 1, 10 * SECOND_NS) != 1)
        return fail("receiving after being quiet");
    atomic_store_explicit(&shared->quiet_got, 1, memory_order_release);
    return numapool_release(in, &message, 1) < 0 || numapool_receiver_close(in) < 0 || numapool_close(pool) < 0 ||
                   numapool_disconnect(client) < 0
               ? fail("leaving quietly")
               : 0;
}

/* ---------------------------------------------------------------- the trial */

static bool is_ready(void *context)
{
    return atomic_load_explicit((_Atomic uint32_t *)context, memory_order_acquire) != 0;
}

/* How many messages were sent and seen by nobody. */
static uint64_t lost(void)
{
    uint64_t missing = 0;
    for (unsigned sender = 0; sender < SENDERS; sender++)
        for (uint64_t number = 0; number < count_of(&shared->sent[sender]); number++)
            missing += atomic_load_explicit(&shared->seen[sender][number], memory_order_acquire) == 0;
    return missing;
}

static void storm(uint64_t *random)
{
    pid_t readers[READERS], senders[SENDERS];
    unsigned kills = harness_scaled(KILLS, 20), worker_kills = 0;
    for (unsigned i = 0; i < READERS; i++)
        readers[i] = harness_fork(read_until_killed, NULL);
    for (unsigned i = 0; i < SENDERS; i++)
        senders[i] = harness_fork(send_all, (void *)(uintptr_t)i);
    for (unsigned i = 0; i < kills; i++) {
        unsigned place = harness_below(random, READERS);
        harness_sleep_ns(harness_below(random, 30) * INT64_C(1000000));
        harness_kill(readers[place]);
        readers[place] = harness_fork(read_until_killed, NULL);
        if (i % WORKER_KILL_EVERY == WORKER_KILL_EVERY - 1) {
            pid_t worker = harness_daemon_worker(&the_daemon);
            if (worker > 0 && kill(worker, SIGKILL) == 0) {
                harness_daemon_next_worker(&the_daemon, worker);
                worker_kills++;
            }
        }
    }
    uint64_t before = count_of(&shared->received);
    harness_sleep_ns(SECOND_NS / 5);
    harness_expect(count_of(&shared->received) > before,
                   "after %u deaths of receivers and %u of the worker messages still come", kills,
                   worker_kills);
    atomic_store_explicit(&shared->ending, 1, memory_order_release);
    for (unsigned i = 0; i < SENDERS; i++)
        harness_expect(harness_join(senders[i], 10 * SECOND_NS) == 0, "sender %u ends in order: %s", i, shared->sentence);
    for (unsigned i = 0; i < READERS; i++)
        harness_kill(readers[i]);
    harness_expect(harness_join(harness_fork(drain, NULL), 20 * SECOND_NS) == 0, "who comes last receives what is left: %s",
                   shared->sentence);
}

static void stay_quiet(void)
{
    struct numapool_client *client;
    struct numapool_pool *pool;
    struct numapool_sender *out;
    pid_t quiet = harness_fork(wait_quietly, NULL);
    bool ready = harness_wait_until(is_ready, &shared->quiet_ready, 10 * SECOND_NS);
    bool joined = numapool_connect(&client, the_daemon.socket) == 0 && numapool_open(client, "storm", 0, &pool) == 0 &&
                  numapool_sender_open(pool, "quiet", NULL, &out) == 0;
    if (!harness_expect(ready && joined, "one that is quiet joins: %s %s", shared->sentence, numapool_errormsg()))
        return;
    pid_t worker = harness_daemon_worker(&the_daemon);
    kill(worker, SIGKILL);
    harness_daemon_next_worker(&the_daemon, worker);
    harness_sleep_ns(QUIET_NS);
    struct numapool_msg message = { .data = numapool_loan(out), .length = 1 };
    atomic_store_explicit(&shared->quiet_go, 1, memory_order_release);
    harness_expect(message.data && numapool_send(out, &message, SECOND_NS) == 0, "it can be sent to: %s",
                   numapool_errormsg());
    harness_expect(harness_join(quiet, 10 * SECOND_NS) == 0 && atomic_load_explicit(&shared->quiet_got,
                                                                                    memory_order_acquire),
                   "it is a client still, though it has said nothing to the next worker: %s", shared->sentence);
    harness_expect(numapool_sender_close(out, SECOND_NS) == 0 && numapool_close(pool) == 0 &&
                   numapool_disconnect(client) == 0,
                   "its sender ends in order: %s", numapool_errormsg());
    harness_expect(!harness_daemon_said(&the_daemon, "became another program"), "nobody was taken for another program");
}

int main(int argc, char **argv)
{
    harness_begin("readonly", argc, argv);
    uint64_t random = harness_seed();
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED)
        return 1;
    if (geteuid() != 0)
        harness_note("NOT RUN: readers as another user (only root may become one)");
    harness_daemon_prepare(&the_daemon);
    chmod(the_daemon.directory, 0755);
    if (harness_daemon_start(&the_daemon, "storm,size=128,count=4096,readonly=65534")) {
        storm(&random);
        stay_quiet();
        uint64_t missing = lost();
        harness_expect(missing == 0, "of %llu messages none was lost (%llu)",
                       (unsigned long long)(count_of(&shared->sent[0]) + count_of(&shared->sent[1])), (unsigned long long)missing);
        harness_expect(count_of(&shared->torn) == 0, "none was torn, nor another's");
        harness_expect(count_of(&shared->unmarked) == 0,
                       "the %llu that came twice were marked so (%llu not)",
                       (unsigned long long)count_of(&shared->again), (unsigned long long)count_of(&shared->unmarked));
        harness_expect(count_of(&shared->failed) == 0,
                       "no call failed that should not: %s", shared->sentence);
        harness_expect_nothing_left(&the_daemon);
        harness_expect(harness_daemon_stop(&the_daemon) == 0, "the daemon ends in order");
    }
    harness_daemon_remove(&the_daemon);
    return harness_end();
}
