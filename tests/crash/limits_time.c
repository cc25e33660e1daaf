/* SPDX-License-Identifier: MIT
 * Clocks that jump, and processes that are stopped: a receiver, a sender in the middle of a batch, a client in a call, the
 * worker. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "limits.h"
#include "service/wire.h"

#define PARTS(...) ((const char *const[]){ __VA_ARGS__, NULL })

enum { LANE = 64, BATCH = 16, YEAR_SECONDS = 365 * 86400 };

/* ---------------------------------------------------------------- clocks that jump */

struct waiter {
    struct limits_session session;
    int64_t timeout_ns;
};

/* Waits in vain in every kind of wait; each must last as long as it was asked to. */
static int wait_in_vain(void *context)
{
    struct waiter *waiter = context;
    struct limits_session *session = &waiter->session;
    struct numapool_channel_options options = NUMAPOOL_CHANNEL_OPTIONS_INIT;
    struct numapool_waitset *waitset;
    struct numapool_msg message = { .length = 8 };
    struct numapool_event event = { .size = sizeof event };
    void *tag;
    options.lane_slots = 2;
    if (numapool_connect(&session->client, session->daemon->socket) < 0 ||
        numapool_open(session->client, LIMITS_POOL, 0, &session->pool) < 0 ||
        numapool_sender_open(session->pool, "full", &options, &session->sender) < 0 ||
        numapool_receiver_open(session->pool, "empty", NULL, &session->receiver) < 0 || numapool_waitset_open(&waitset) < 0)
        return 1;
    for (unsigned i = 0; i < 2; i++)
        if (!(message.data = numapool_loan(session->sender)) || numapool_send(session->sender, &message, 0) < 0)
            return 1;
    message.data = numapool_loan(session->sender);
    limits_wait_go_on(session->answer, 1);
    for (unsigned kind = 0; kind < 4; kind++) {
        struct numapool_msg received;
        int64_t begun_ns = harness_now_ns();
        int result = kind == 0   ? numapool_receive(session->receiver, &received, 1, waiter->timeout_ns)
                     : kind == 1 ? numapool_send(session->sender, &message, waiter->timeout_ns)
                     : kind == 2 ? numapool_next_event(session->pool, &event, waiter->timeout_ns)
                     : numapool_waitset_add(waitset, session->receiver, &tag) < 0
                         ? 0
                         : numapool_waitset_wait(waitset, &tag, 1, waiter->timeout_ns);
        int64_t took_ns = harness_now_ns() - begun_ns;
        if (result != -ETIMEDOUT || took_ns < waiter->timeout_ns) {
            snprintf(session->answer->sentence, sizeof session->answer->sentence, "wait %u: %d after %.0f ms", kind, result,
                     (double)took_ns / 1e6);
            return 1;
        }
    }
    return numapool_receiver_open(session->pool, "full", NULL, &session->receiver) < 0 ||
           numapool_receive(session->receiver, &message, 1, LIMITS_SECOND_NS) != 1 ||
           numapool_release(session->receiver, &message, 1) < 0 ||
           numapool_receive(session->receiver, &message, 1, LIMITS_SECOND_NS) != 1 ||
           numapool_release(session->receiver, &message, 1) < 0;
}

static int64_t real_less_monotonic_ns(void)
{
    struct timespec real;
    clock_gettime(CLOCK_REALTIME, &real);
    return (int64_t)real.tv_sec * 1000000000 + real.tv_nsec - harness_now_ns();
}

/* A year back, and a year forward again: what is written meanwhile is old, which does no harm to others' builds. */
static void clocks_that_jump(void)
{
    struct harness_daemon daemon;
    struct limits_bystanders bystanders;
    struct waiter waiter = { .timeout_ns = LIMITS_SECOND_NS / 10 };
    if (!limits_daemon_usual(&daemon) || !limits_bystanders_start(&bystanders, &daemon))
        return;
    waiter.session = (struct limits_session){ .daemon = &daemon, .answer = limits_answer_new() };
    int64_t difference_ns = real_less_monotonic_ns();
    pid_t pid = harness_fork(wait_in_vain, &waiter), worker = harness_daemon_worker(&daemon);
    limits_comes_to(waiter.session.answer, 1);
    if (!limits_clock_move(-YEAR_SECONDS)) {
        limits_not_run("CLOCK_REALTIME that jumps", "it may not be set here");
        harness_kill(pid);
    } else {
        SET(waiter.session.answer->go_on, 1);
        harness_sleep_ns(LIMITS_SECOND_NS / 20); /* in the middle of the first wait it jumps back */
        limits_restore_all();
        harness_sleep_ns(LIMITS_SECOND_NS / 10);
        bool moved = limits_clock_move(-YEAR_SECONDS);
        kill(worker, SIGKILL);
        harness_daemon_next_worker(&daemon, worker);
        limits_restore_all();
        int status = harness_join(pid, LIMITS_LONG_NS);
        if (harness_expect(moved && status == 0,
                           "CLOCK_REALTIME jumps by a year, back and forth: each wait is as long as was asked (%x %s)",
                           (unsigned)status, waiter.session.answer->sentence))
            limits_reached("CLOCK_REALTIME that jumps");
        int64_t off_ns = real_less_monotonic_ns() - difference_ns;
        harness_expect(off_ns < LIMITS_SECOND_NS && off_ns > -LIMITS_SECOND_NS, "the clock is right again (%.3f ms off)",
                       (double)off_ns / 1e6);
        limits_bystanders_expect(&bystanders, "clocks that jump");
    }
    limits_bystanders_end(&bystanders, &daemon);
    limits_daemon_end(&daemon);
}

/* CLOCK_BOOTTIME goes on while a machine is suspended, and CLOCK_MONOTONIC does not. */
static void be_elsewhere_in_time(void *context)
{
    static const char offsets[] = "monotonic 1000000 0\nboottime 3000000 0\n";
    (void)context;
    int file, own;
    if (unshare(CLONE_NEWTIME) != 0 || (file = open("/proc/self/timens_offsets", O_WRONLY | O_CLOEXEC)) < 0 ||
        write(file, offsets, sizeof offsets - 1) != (ssize_t)sizeof offsets - 1 ||
        (own = open("/proc/self/ns/time_for_children", O_RDONLY | O_CLOEXEC)) < 0 || setns(own, CLONE_NEWTIME) != 0)
        _exit(100);
}

static int live_a_session(void *context)
{
    return limits_session_run(context, NULL);
}

static void another_time(void)
{
    struct harness_daemon daemon;
    struct limits_bystanders bystanders;
    harness_daemon_prepare(&daemon);
    int status = limits_daemon_start(&daemon, &(struct limits_start){ .before = be_elsewhere_in_time });
    if (status >= 0 && WIFEXITED(status) && WEXITSTATUS(status) == 100) {
        limits_not_run("a machine that was suspended (a time namespace)", "none can be had here");
        harness_daemon_remove(&daemon);
        return;
    }
    if (harness_expect(status == 0, "a daemon starts whose clocks differ from its clients', as after a suspend (%x)",
                       (unsigned)status) &&
        limits_bystanders_start(&bystanders, &daemon)) {
        struct limits_session session = { .daemon = &daemon, .answer = limits_answer_new() };
        SET(session.answer->go_on, 2);
        pid_t worker = harness_daemon_worker(&daemon);
        kill(worker, SIGKILL);
        harness_daemon_next_worker(&daemon, worker);
        status = limits_run(live_a_session, &session);
        if (harness_expect(status == 0 && GET(session.answer->number) == 0, "it serves, also by another worker (%d \"%s\")",
                           status,
                           session.answer->sentence))
            limits_reached("clocks of daemon and clients that differ");
        limits_bystanders_expect(&bystanders, "clocks that differ");
        limits_bystanders_end(&bystanders, &daemon);
    }
    limits_daemon_end(&daemon);
}

/* ---------------------------------------------------------------- a receiver that is stopped */

/* Counts of one channel: 0 has a stopped receiver alone, 1 has another one besides. */
struct traffic {
    const struct harness_daemon *daemon;
    _Atomic uint64_t sent[2], received[3], full, wrong; /* received: by the stopped one of 0, of 1, and the other of 1 */
    _Atomic uint32_t ready, done;
    struct limits_answer *answer; /* of the sender that found its lane full */
};

struct part {
    struct traffic *traffic;
    unsigned channel, place;
};

static const char *const channel_names[2] = { "alone", "shared" };

static int send_much(void *context)
{
    struct part *part = context;
    struct traffic *traffic = part->traffic;
    struct limits_session session = { .daemon = traffic->daemon };
    struct numapool_channel_options options = NUMAPOOL_CHANNEL_OPTIONS_INIT;
    options.lane_slots = LANE;
    if (numapool_connect(&session.client, session.daemon->socket) < 0 ||
        numapool_open(session.client, LIMITS_POOL, 0, &session.pool) < 0 ||
        numapool_sender_open(session.pool, channel_names[part->channel], &options, &session.sender) < 0)
        return 1;
    ADD(traffic->ready);
    for (uint64_t number = 1; !GET(traffic->done);) {
        struct numapool_msg message = { .length = 8, .id = number, .data = numapool_loan(session.sender) };
        if (!message.data) {
            harness_sleep_ns(100000);
            continue;
        }
        int result = numapool_send(session.sender, &message, number % 2 ? 0 : 2000000);
        if (result == 0) {
            ADD(traffic->sent[part->channel]);
            number++;
            harness_sleep_ns(100000);
            continue;
        }
        numapool_unloan(session.sender, message.data);
        if (result != -EAGAIN && result != -ETIMEDOUT)
            ADD(traffic->wrong);
        if (ADD(traffic->full) == 0)
            limits_keep(traffic->answer, result);
        harness_sleep_ns(1000000);
    }
    for (;;)
        pause();
}

static int receive_much(void *context)
{
    struct part *part = context;
    struct traffic *traffic = part->traffic;
    struct limits_session session = { .daemon = traffic->daemon };
    struct numapool_msg messages[BATCH];
    uint64_t last = 0;
    if (numapool_connect(&session.client, session.daemon->socket) < 0 ||
        numapool_open(session.client, LIMITS_POOL, 0, &session.pool) < 0 ||
        numapool_receiver_open(session.pool, channel_names[part->channel], NULL, &session.receiver) < 0)
        return 1;
    ADD(traffic->ready);
    for (;;) {
        int got = numapool_receive(session.receiver, messages, BATCH, 10000000);
        if (got < 0 && got != -ETIMEDOUT)
            ADD(traffic->wrong);
        for (int i = 0; i < got; i++) {
            if (messages[i].id <= last ||
                messages[i].flags & NUMAPOOL_REDELIVERED) /* numbers of one sender rise on its lane */
                ADD(traffic->wrong);
            last = messages[i].id;
            ADD(traffic->received[part->place]);
        }
        if (got > 0 && numapool_release(session.receiver, messages, (unsigned)got) < 0)
            ADD(traffic->wrong);
    }
}

static bool all_are_ready(void *context)
{
    struct traffic *traffic = context;
    return GET(traffic->ready) == 5 && GET(traffic->received[0]) > 100 && GET(traffic->received[1]) > 50 &&
           GET(traffic->received[2]) > 50;
}

static bool all_has_arrived(void *context)
{
    struct traffic *traffic = context;
    return GET(traffic->received[0]) == GET(traffic->sent[0]) &&
           GET(traffic->received[1]) + GET(traffic->received[2]) == GET(traffic->sent[1]);
}

static void stopped_receivers(struct harness_daemon *daemon, int64_t duration_ns)
{
    struct traffic *traffic = limits_shared(sizeof *traffic);
    struct part parts[5] = { { traffic, 0, 0 }, { traffic, 1, 1 }, { traffic, 1, 2 }, { traffic, 0, 0 }, { traffic, 1, 0 } };
    pid_t pids[5];
    traffic->daemon = daemon;
    traffic->answer = limits_answer_new();
    for (unsigned i = 0; i < 5; i++)
        pids[i] = harness_fork(i < 3 ? receive_much : send_much, &parts[i]);
    harness_expect(harness_wait_until(all_are_ready, traffic, LIMITS_LONG_NS),
                   "three receivers have messages from two senders");
    pid_t worker = harness_daemon_worker(daemon);
    kill(pids[0], SIGSTOP);
    kill(pids[1], SIGSTOP);
    uint64_t before = GET(traffic->received[2]), turns = limits_switches(worker);
    unsigned lines = limits_log_lines(daemon);
    harness_sleep_ns(duration_ns);
    turns = limits_switches(worker) - turns;
    uint64_t meanwhile = GET(traffic->received[2]) - before, waiting = GET(traffic->sent[0]) - GET(traffic->received[0]);
    bool alive = harness_is_alive(pids[0]) && harness_is_alive(pids[1]);
    harness_expect(alive && harness_daemon_worker(daemon) == worker,
                   "two receivers are stopped for %.0f s: they, and the worker, live",
                   (double)duration_ns / 1e9);
    harness_figure("limits.stopped",
                   "two receivers stopped for %.0f s: %llu messages wait, %llu are received by another meanwhile",
                   (double)duration_ns / 1e9, (unsigned long long)waiting, (unsigned long long)meanwhile);
    harness_expect(waiting == LANE && GET(traffic->full) > 0,
                   "the lane of the one that is alone is full: %llu of %d wait, %llu sends were refused",
                   (unsigned long long)waiting, LANE, (unsigned long long)GET(traffic->full));
    if (limits_expect_sentence(traffic->answer, GET(traffic->answer->result) == -ETIMEDOUT ? -ETIMEDOUT : -EAGAIN,
                               "a full lane",
                               PARTS("every lane of this sender is full")))
        limits_reached("a receiver that is stopped, with a full lane");
    harness_expect(meanwhile > 200, "the other receiver of the second went on meanwhile (%llu messages)",
                   (unsigned long long)meanwhile);
    harness_expect(limits_log_lines(daemon) == lines && turns < 1000 + 100 * (uint64_t)(duration_ns / LIMITS_SECOND_NS),
                   "the worker is not disturbed (%llu switches)", (unsigned long long)turns);
    kill(pids[0], SIGCONT);
    kill(pids[1], SIGCONT);
    harness_sleep_ns(LIMITS_SECOND_NS / 5);
    SET(traffic->done, 1);
    bool arrived = harness_wait_until(all_has_arrived, traffic, LIMITS_LONG_NS);
    harness_expect(arrived && GET(traffic->wrong) == 0,
                   "afterwards all arrives, in order, once: %llu and %llu of %llu and %llu (%llu wrong)",
                   (unsigned long long)GET(traffic->received[0]),
                   (unsigned long long)(GET(traffic->received[1]) + GET(traffic->received[2])),
                   (unsigned long long)GET(traffic->sent[0]), (unsigned long long)GET(traffic->sent[1]),
                   (unsigned long long)GET(traffic->wrong));
    for (unsigned i = 0; i < 5; i++)
        harness_kill(pids[i]);
}

void limits_stopped_for(unsigned seconds)
{
    struct harness_daemon daemon;
    struct limits_bystanders bystanders;
    if (!limits_daemon_usual(&daemon) || !limits_bystanders_start(&bystanders, &daemon))
        return;
    stopped_receivers(&daemon, seconds * LIMITS_SECOND_NS);
    limits_bystanders_expect(&bystanders, "receivers that were stopped");
    limits_bystanders_end(&bystanders, &daemon);
    limits_daemon_end(&daemon);
}

/* ---------------------------------------------------------------- stopped in the middle of something */

struct batches {
    const struct harness_daemon *daemon;
    _Atomic uint64_t sent, received, wrong;
    _Atomic uint32_t calls, done;
};

static int send_batches(void *context)
{
    struct batches *batches = context;
    struct limits_session session = { .daemon = batches->daemon };
    struct numapool_channel_options options = NUMAPOOL_CHANNEL_OPTIONS_INIT;
    struct numapool_msg messages[BATCH];
    void *slots[BATCH];
    options.lane_slots = 4 * BATCH;
    if (numapool_connect(&session.client, session.daemon->socket) < 0 ||
        numapool_open(session.client, LIMITS_POOL, 0, &session.pool) < 0 ||
        numapool_sender_open(session.pool, "batches", &options, &session.sender) < 0)
        return 1;
    for (uint64_t number = 1; !GET(batches->done);) {
        int loaned = numapool_loan_bulk(session.sender, slots, BATCH);
        for (int i = 0; i < loaned; i++)
            messages[i] = (struct numapool_msg){ .data = slots[i], .length = 8, .id = number + (uint64_t)i };
        for (int done = 0; done < loaned;) {
            int result = numapool_send_bulk(session.sender, messages + done, (unsigned)(loaned - done), 10000000);
            if (result > 0) {
                done += result;
                number += (uint64_t)result;
                atomic_fetch_add_explicit(&batches->sent, (uint64_t)result, memory_order_release);
            } else if (result != -EAGAIN && result != -ETIMEDOUT) {
                ADD(batches->wrong);
            }
        }
    }
    for (;;)
        pause();
}

static int receive_batches(void *context)
{
    struct batches *batches = context;
    struct limits_session session = { .daemon = batches->daemon };
    struct numapool_msg messages[BATCH];
    uint64_t last = 0;
    if (numapool_connect(&session.client, session.daemon->socket) < 0 ||
        numapool_open(session.client, LIMITS_POOL, 0, &session.pool) < 0 ||
        numapool_receiver_open(session.pool, "batches", NULL, &session.receiver) < 0)
        return 1;
    for (;;) {
        int got = numapool_receive(session.receiver, messages, BATCH, 1000000);
        for (int i = 0; i < got; i++)
            if (messages[i].id != ++last)
                ADD(batches->wrong);
        if (got > 0 && numapool_release(session.receiver, messages, (unsigned)got) < 0)
            ADD(batches->wrong);
        if (got > 0)
            atomic_fetch_add_explicit(&batches->received, (uint64_t)got, memory_order_release);
    }
}

/* Slow calls without end. */
static int call_always(void *context)
{
    struct batches *batches = context;
    struct limits_session session = { .daemon = batches->daemon };
    if (numapool_connect(&session.client, session.daemon->socket) < 0 ||
        numapool_open(session.client, LIMITS_POOL, 0, &session.pool) < 0)
        return 1;
    while (!GET(batches->done)) {
        if (numapool_receiver_open(session.pool, "calls", NULL, &session.receiver) < 0 ||
            numapool_receiver_close(session.receiver) < 0)
            ADD(batches->wrong);
        ADD(batches->calls);
    }
    return numapool_close(session.pool) < 0 || numapool_disconnect(session.client) < 0;
}

static bool has_begun(void *context)
{
    struct batches *batches = context;
    return GET(batches->received) > 1000 && GET(batches->calls) > 10;
}

static bool has_settled(void *context)
{
    struct batches *batches = context;
    return GET(batches->received) == GET(batches->sent);
}

static void stopped_anywhere(struct harness_daemon *daemon)
{
    struct batches *batches = limits_shared(sizeof *batches);
    uint64_t random = harness_seed();
    unsigned stops = harness_scaled(40, 5), served = 0;
    batches->daemon = daemon;
    pid_t receiver = harness_fork(receive_batches, batches), sender = harness_fork(send_batches, batches);
    pid_t caller = harness_fork(call_always, batches);
    harness_expect(harness_wait_until(has_begun, batches, LIMITS_LONG_NS), "one sends batches, one makes slow calls");
    for (unsigned i = 0; i < stops; i++) {
        struct limits_session session = { .daemon = daemon, .answer = limits_answer_new() };
        harness_sleep_ns(harness_below(&random, 3000000));
        kill(sender, SIGSTOP);
        kill(caller, SIGSTOP);
        SET(session.answer->go_on, 2);
        served += limits_run(live_a_session, &session) == 0 && GET(session.answer->number) == 0;
        kill(sender, SIGCONT);
        kill(caller, SIGCONT);
    }
    harness_expect(served == stops, "both are stopped anywhere, %u times: others are served %u times", stops, served);
    SET(batches->done, 1);
    int status = harness_join(caller, LIMITS_LONG_NS);
    bool settled = harness_wait_until(has_settled, batches, LIMITS_LONG_NS);
    if (harness_expect(settled && status == 0 && GET(batches->wrong) == 0,
                       "and go on: %llu messages of batches arrive in order, none is missing; %u slow calls (%llu wrong)",
                       (unsigned long long)GET(batches->received), GET(batches->calls),
                       (unsigned long long)GET(batches->wrong))) {
        limits_reached("a sender that is stopped in a batch");
        limits_reached("a client that is stopped in a call");
    }
    harness_kill(sender);
    harness_kill(receiver);
}

/* Asks, and never reads an answer. */
static void answers_not_read(struct harness_daemon *daemon, struct limits_bystanders *bystanders)
{
    struct np_wire_request request = { .magic = NP_WIRE_MAGIC, .operation = NP_WIRE_LOOK };
    struct limits_session session = { .daemon = daemon, .answer = limits_answer_new() };
    unsigned asked = 0;
    int deaf = np_wire_connect(daemon->socket);
    request.of.hello.layout = np_wire_layout();
    while (deaf >= 0 && send(deaf, &request, sizeof request, MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t)sizeof request)
        asked++;
    SET(session.answer->go_on, 2);
    int status = limits_run(live_a_session, &session);
    if (harness_expect(deaf >= 0 && asked > 0 && status == 0 && GET(session.answer->number) == 0,
                       "one asks %u times and reads no answer: others are served (%d)", asked, status))
        limits_reached("a client that reads no answers");
    limits_bystanders_expect(bystanders, "answers that are not read");
    close(deaf);
}

/* ---------------------------------------------------------------- a worker that is stopped */

static int ask_stopped(void *context)
{
    struct limits_session *session = context;
    if (numapool_connect(&session->client, session->daemon->socket) < 0 ||
        numapool_open(session->client, LIMITS_POOL, 0, &session->pool) < 0)
        return 1;
    limits_wait_go_on(session->answer, 1);
    int result = limits_keep(session->answer, numapool_receiver_open(session->pool, "later", NULL, &session->receiver));
    limits_wait_go_on(session->answer, 2);
    if (result < 0)
        result = numapool_receiver_open(session->pool, "later", NULL, &session->receiver);
    limits_wait_go_on(session->answer, 3);
    return result < 0 || numapool_receiver_close(session->receiver) < 0 || numapool_close(session->pool) < 0 ||
           numapool_disconnect(session->client) < 0;
}

static int connect_to_stopped(void *context)
{
    struct limits_session *session = context;
    limits_wait_go_on(session->answer, 1);
    int result = limits_keep(session->answer, numapool_connect(&session->client, session->daemon->socket));
    limits_wait_go_on(session->answer, 2);
    if (result < 0)
        result = numapool_connect(&session->client, session->daemon->socket);
    limits_wait_go_on(session->answer, 3);
    return result < 0 || numapool_disconnect(session->client) < 0;
}

/* Its calls last as long as patience does, so others are made meanwhile. */
struct stopped_worker {
    struct harness_daemon daemon;
    struct limits_bystanders bystanders;
    struct limits_session asker, newcomer;
    pid_t worker, asking, coming;
};

static bool begin_stopped_worker(struct stopped_worker *stopped)
{
    if (!limits_daemon_usual(&stopped->daemon) || !limits_bystanders_start(&stopped->bystanders, &stopped->daemon))
        return false;
    stopped->asker = (struct limits_session){ .daemon = &stopped->daemon, .answer = limits_answer_new() };
    stopped->newcomer = (struct limits_session){ .daemon = &stopped->daemon, .answer = limits_answer_new() };
    stopped->worker = harness_daemon_worker(&stopped->daemon);
    stopped->asking = harness_fork(ask_stopped, &stopped->asker);
    stopped->coming = harness_fork(connect_to_stopped, &stopped->newcomer);
    limits_comes_to(stopped->asker.answer, 1);
    limits_comes_to(stopped->newcomer.answer, 1);
    kill(stopped->worker, SIGSTOP);
    SET(stopped->asker.answer->go_on, 1);
    SET(stopped->newcomer.answer->go_on, 1);
    return true;
}

static void end_stopped_worker(struct stopped_worker *stopped)
{
    bool came = limits_comes_to(stopped->asker.answer, 2) && limits_comes_to(stopped->newcomer.answer, 2);
    limits_bystanders_expect(&stopped->bystanders, "the worker is stopped");
    bool said = limits_expect_sentence(stopped->asker.answer, -ETIMEDOUT, "the worker is stopped, and a client calls",
                                       PARTS(stopped->daemon.socket, "did not answer within", "is it stopped?"));
    said &= limits_expect_sentence(stopped->newcomer.answer, -ETIMEDOUT, "the worker is stopped, and a client connects",
                                   PARTS(stopped->daemon.socket, "did not answer within", "is it stopped?"));
    if (came && said)
        limits_reached("a worker that is stopped");
    kill(stopped->worker, SIGCONT);
    SET(stopped->asker.answer->go_on, 2);
    SET(stopped->newcomer.answer->go_on, 2);
    came = limits_comes_to(stopped->asker.answer, 3) && limits_comes_to(stopped->newcomer.answer, 3);
    harness_expect(came && limits_come_to_be(&stopped->daemon, 4),
                   "when it goes on who was not answered is no client twice: there are four");
    SET(stopped->asker.answer->go_on, 3);
    SET(stopped->newcomer.answer->go_on, 3);
    int asked = harness_join(stopped->asking, LIMITS_LONG_NS), connected = harness_join(stopped->coming, LIMITS_LONG_NS);
    harness_expect(asked == 0 && connected == 0, "when it goes on the same calls work (%x, %x)", (unsigned)asked,
                   (unsigned)connected);
    harness_expect(harness_daemon_worker(&stopped->daemon) == stopped->worker, "it is the same worker");
    limits_bystanders_end(&stopped->bystanders, &stopped->daemon);
    limits_daemon_end(&stopped->daemon);
}

void limits_time(void)
{
    struct stopped_worker stopped;
    struct harness_daemon daemon;
    struct limits_bystanders bystanders;
    bool is_stopped = begin_stopped_worker(&stopped);
    clocks_that_jump();
    another_time();
    if (limits_daemon_usual(&daemon) && limits_bystanders_start(&bystanders, &daemon)) {
        stopped_receivers(&daemon, 2 * LIMITS_SECOND_NS);
        stopped_anywhere(&daemon);
        answers_not_read(&daemon, &bystanders);
        limits_bystanders_end(&bystanders, &daemon);
        limits_daemon_end(&daemon);
    }
    if (is_stopped)
        end_stopped_worker(&stopped);
}
