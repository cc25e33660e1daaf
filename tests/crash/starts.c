/* SPDX-License-Identifier: MIT
 *
 * The daemon while it starts: workers that are killed before they are ready, again and again; a keeper that is killed while it
 * starts a worker; an end that is asked for while a large pool is being made. What of it clients notice is as design.md section 8
 * says.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

#include "harness.h"

#define POOL       "s"
#define POOL_SPEC  POOL ",size=64,count=1024"
#define LARGE_SPEC "large,size=4096,count=400k" /* 1.6 GiB: making it takes a while */
#define SOON_NS    INT64_C(20000000000)

enum {
    ROUNDS = 20,           /* of a keeper that is killed while it starts a worker */
    MOMENT_NS_MAX = 8000000,
    TRIES_WITHOUT_CLIENTS = 5,
    TRIES_WITH_CLIENTS = 8, /* more than a daemon without clients makes */
    BURST = 16
};

static const char *const no_options[] = { NULL };

/* ---------------------------------------------------------------- two clients */

struct told {
    const char *socket;
    _Atomic uint64_t received;
    _Atomic uint32_t wrong, ask, asked;
    _Atomic int32_t answer;
    char sentence[200];
};

#define GET(field) atomic_load_explicit(&(field), memory_order_acquire)
#define SET(field, value) atomic_store_explicit(&(field), (value), memory_order_release)

static int join(const struct told *told, struct numapool_pool **pool)
{
    struct numapool_client *client;
    return numapool_connect(&client, told->socket) < 0 || numapool_open(client, POOL, 0, pool) < 0 ? -1 : 0;
}

static int send_always(void *context)
{
    struct told *told = context;
    struct numapool_pool *pool;
    struct numapool_sender *sender, *other;
    if (join(told, &pool) < 0 || numapool_sender_open(pool, "c", NULL, &sender) < 0)
        return 1;
    for (uint64_t number = 1;;) {
        for (unsigned i = 0; i < BURST; i++) {
            struct numapool_msg message = { .length = 8, .id = number, .data = numapool_loan(sender) };
            if (message.data && numapool_send(sender, &message, 0) == 0)
                number++;
            else if (message.data)
                numapool_unloan(sender, message.data);
        }
        if (GET(told->ask) > GET(told->asked)) {
            int result = numapool_sender_open(pool, "other", NULL, &other);
            snprintf(told->sentence, sizeof told->sentence, "%s", result < 0 ? numapool_errormsg() : "");
            if (result == 0)
                numapool_sender_close(other, 0);
            SET(told->answer, result);
            atomic_fetch_add_explicit(&told->asked, 1, memory_order_release);
        }
        harness_sleep_ns(200000);
    }
}

static int receive_always(void *context)
{
    struct told *told = context;
    struct numapool_pool *pool;
    struct numapool_receiver *receiver;
    struct numapool_msg messages[BURST];
    if (join(told, &pool) < 0 || numapool_receiver_open(pool, "c", NULL, &receiver) < 0)
        return 1;
    for (uint64_t expected = 1;;) {
        int got = numapool_receive(receiver, messages, BURST, 10000000);
        for (int i = 0; i < got; i++)
            if (messages[i].id != expected++)
                atomic_fetch_add_explicit(&told->wrong, 1, memory_order_relaxed); /* relaxed: only counted */
        if ((got < 0 && got != -ETIMEDOUT) || (got > 0 && numapool_release(receiver, messages, (unsigned)got) < 0))
            atomic_fetch_add_explicit(&told->wrong, 1, memory_order_relaxed);
        if (got > 0)
            atomic_fetch_add_explicit(&told->received, (uint64_t)got, memory_order_release);
    }
}

struct trial {
    struct harness_daemon daemon;
    struct told *told;
    pid_t sender, receiver;
    uint64_t random, wanted;
};

static bool has_received(void *context)
{
    const struct trial *trial = context;
    return GET(trial->told->received) >= trial->wanted;
}

/* So many messages more, in order. */
static bool messages_flow(struct trial *trial, uint64_t more)
{
    trial->wanted = GET(trial->told->received) + more;
    return harness_wait_until(has_received, trial, SOON_NS) && GET(trial->told->wrong) == 0;
}

static bool start_pair(struct trial *trial)
{
    memset(trial->told, 0, sizeof *trial->told);
    trial->told->socket = trial->daemon.socket;
    trial->receiver = harness_fork(receive_always, trial->told);
    trial->sender = harness_fork(send_always, trial->told);
    return messages_flow(trial, 100);
}

static void end_pair(struct trial *trial)
{
    harness_kill(trial->sender);
    harness_kill(trial->receiver);
}

static bool has_asked(void *context)
{
    const struct told *told = context;
    return GET(told->asked) >= GET(told->ask);
}

/* A slow call of a client that is at work. */
static void begin_slow_call(struct trial *trial)
{
    atomic_fetch_add_explicit(&trial->told->ask, 1, memory_order_release);
}

static int slow_call_answer(struct trial *trial)
{
    return harness_wait_until(has_asked, trial->told, SOON_NS) ? GET(trial->told->answer) : -EINPROGRESS;
}

/* ---------------------------------------------------------------- workers that are killed before they are ready */

/* Kills the next worker as soon as it is there. False: none came. */
static bool kill_next(struct trial *trial, pid_t *last)
{
    pid_t worker = harness_daemon_next_worker(&trial->daemon, *last);
    if (worker <= 0)
        return false;
    kill(worker, SIGKILL);
    *last = worker;
    return true;
}

static void never_ready(struct trial *trial)
{
    int ready, status = -1;
    unsigned killed = 0;
    pid_t last = 0;
    harness_daemon_launch(&trial->daemon, LARGE_SPEC, no_options, &ready);
    /* no more: at its end a sanitizer's keeper has another child, which looks for leaks, and would wait for it for ever */
    while (killed < TRIES_WITHOUT_CLIENTS && kill_next(trial, &last))
        killed++;
    status = harness_join(trial->daemon.keeper, SOON_NS);
    close(ready);
    harness_expect(killed == TRIES_WITHOUT_CLIENTS && WIFEXITED(status) && WEXITSTATUS(status) == EX_CONFIG,
                   "a daemon whose workers are killed before one was ready gives up after five (%u killed, status %x)", killed,
                   (unsigned)status);
    harness_expect(harness_daemon_said(&trial->daemon, "no worker became ready, in 5 tries; the last was killed (signal 9)") &&
                   harness_daemon_said(&trial->daemon, "memory"), "and says why that may be");
}

static void not_ready_for_long(struct trial *trial)
{
    if (!harness_expect(harness_daemon_start(&trial->daemon, POOL_SPEC) && start_pair(trial), "two clients are at work"))
        return;
    pid_t last = 0;
    unsigned killed = 0;
    begin_slow_call(trial);
    for (unsigned i = 0; i < TRIES_WITH_CLIENTS; i++)
        killed += kill_next(trial, &last);
    harness_expect(killed == TRIES_WITH_CLIENTS && harness_is_alive(trial->daemon.keeper),
                   "with clients it is tried on, however often the worker is killed before it is ready");
    harness_expect(messages_flow(trial, 1000), "clients go on sending and receiving meanwhile");
    int answer = slow_call_answer(trial);
    harness_expect(answer == 0 || trial->told->sentence[0] != '\0', "a slow call of that time waits, or says why not: %d \"%s\"", answer,
                   trial->told->sentence);
    begin_slow_call(trial);
    harness_expect(slow_call_answer(trial) == 0, "with the next worker slow calls go on by themselves");
    end_pair(trial);
    harness_expect_nothing_left(&trial->daemon);
    harness_expect(harness_daemon_stop(&trial->daemon) == 0, "SIGTERM ends it with status 0");
}

/* ---------------------------------------------------------------- a keeper that is killed while it starts a worker */

static bool has_ended(void *context)
{
    return !harness_is_alive(*(const pid_t *)context);
}

static void keeper_killed_in_between(struct trial *trial)
{
    unsigned rounds = harness_scaled(ROUNDS, 2), right = 0, stale = 0;
    for (unsigned i = 0; i < rounds; i++) {
        if (!harness_daemon_start(&trial->daemon, POOL_SPEC) || !start_pair(trial))
            break;
        pid_t first = harness_daemon_worker(&trial->daemon);
        kill(first, SIGKILL);
        harness_sleep_ns(harness_below(&trial->random, MOMENT_NS_MAX));
        pid_t second = harness_daemon_worker(&trial->daemon);
        harness_kill(trial->daemon.keeper);
        bool ended = second <= 0 || harness_wait_until(has_ended, &second, SOON_NS);
        bool flows = messages_flow(trial, 200);
        if (!harness_daemon_start(&trial->daemon, POOL_SPEC))
            break;
        begin_slow_call(trial);
        stale += slow_call_answer(trial) == -ESTALE && trial->told->sentence[0] != '\0';
        right += ended && flows && messages_flow(trial, 200);
        end_pair(trial);
        if (harness_daemon_stop(&trial->daemon) != 0)
            break;
    }
    harness_expect(right == rounds, "keeper killed within %d ms of its worker: no worker stays, clients go on (%u of %u)", MOMENT_NS_MAX / 1000000,
                   right, rounds);
    harness_expect(stale == rounds, "and are told by the next daemon that its memory is another (-ESTALE, %u of %u)", stale, rounds);
}

/* ---------------------------------------------------------------- an end while memory is made */

static void ended_while_populating(struct trial *trial)
{
    int ready;
    harness_daemon_launch(&trial->daemon, LARGE_SPEC, no_options, &ready);
    pid_t worker = harness_daemon_next_worker(&trial->daemon, 0);
    harness_sleep_ns(100000000);
    struct pollfd polled = { .fd = ready, .events = POLLIN };
    bool was_alive = worker > 0 && harness_is_alive(worker) && poll(&polled, 1, 0) == 0;
    int status = harness_daemon_stop(&trial->daemon);
    close(ready);
    harness_expect(was_alive && status == 0, "SIGTERM while a large pool is being made ends it with status 0 (%x)", (unsigned)status);
    harness_expect(!harness_is_alive(worker), "and its worker with it");
}

int main(int argc, char **argv)
{
    static struct trial trial;
    harness_begin("starts", argc, argv);
    trial.random = harness_seed();
    trial.told = mmap(NULL, sizeof *trial.told, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (trial.told == MAP_FAILED)
        return 2;
    harness_daemon_prepare(&trial.daemon);
    never_ready(&trial);
    not_ready_for_long(&trial);
    keeper_killed_in_between(&trial);
    ended_while_populating(&trial);
    harness_expect(harness_daemon_start(&trial.daemon, POOL_SPEC), "and the next start is as any");
    harness_expect_nothing_left(&trial.daemon);
    harness_expect(harness_daemon_stop(&trial.daemon) == 0, "SIGTERM ends it with status 0");
    harness_daemon_remove(&trial.daemon);
    return harness_end();
}
