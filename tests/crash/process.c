/* SPDX-License-Identifier: MIT
 *
 * The rules of numapool_process(7) that need a daemon: a process that becomes a daemon after it connected, a child that closes what it
 * inherited, two daemons in one process, cancellation while the daemon does not answer, signals all the time, what is logged. Exec, fork, stopping and a closed socket
 * are in identity.c; threads and handlers without a daemon in tests/unit/test_process.c. */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness.h"

#define POOL_SPEC "p,size=128,count=4096"

enum { SLOTS = 4096, HELD = 200 };

#define GET(field) atomic_load_explicit(&(field), memory_order_acquire)
#define SET(field, value) atomic_store_explicit(&(field), (value), memory_order_release)

static const int64_t LONG_NS = INT64_C(20000000000);

struct told {
    _Atomic uint32_t step, go_on;
    _Atomic int32_t client, child;
    char sentence[240];
};

struct context {
    struct harness_daemon *daemon, *other;
    struct harness_look *look;
    struct told *told;
};

struct session {
    struct numapool_client *client;
    struct numapool_pool *pool;
    struct numapool_magazine *magazine;
};

static int wrong(struct told *told, const char *what)
{
    snprintf(told->sentence, sizeof told->sentence, "%s: %s", what, numapool_errormsg());
    SET(told->step, UINT32_MAX);
    return 1;
}

static bool open_session(const struct harness_daemon *daemon, struct session *session)
{
    return numapool_connect(&session->client, daemon->socket) == 0 && numapool_open(session->client, "p", 0, &session->pool) == 0 &&
           numapool_magazine_open(session->pool, NUMAPOOL_ANY_NODE, 0, &session->magazine) == 0;
}

static bool close_session(struct session *session)
{
    return numapool_magazine_close(session->magazine) == 0 && numapool_close(session->pool) == 0 &&
           numapool_disconnect(session->client) == 0;
}

struct wanted_step {
    struct told *told;
    uint32_t step;
};

static bool has_reached(void *argument)
{
    struct wanted_step *wanted = argument;
    return GET(wanted->told->step) >= wanted->step;
}

static bool reached(struct context *context, uint32_t step)
{
    struct wanted_step wanted = { context->told, step };
    return harness_wait_until(has_reached, &wanted, LONG_NS) && GET(context->told->step) == step;
}

static void wait_go_on(struct told *told, uint32_t step)
{
    SET(told->step, step);
    while (GET(told->go_on) < step)
        harness_sleep_ns(1000000);
}

static void expect_all_free(struct context *context, const char *whose)
{
    int64_t took_ns;
    harness_expect(harness_wait_all_free(context->look, INT64_C(5000000000), &took_ns) == SLOTS, "all slots of %s are free", whose);
}

/* ---------------------------------------------------------------- becoming a daemon after connecting */

static int connect_and_daemonize(void *argument)
{
    struct context *context = argument;
    struct session before, after;
    void *slots[HELD];
    if (!open_session(context->daemon, &before) || numapool_get_bulk(before.magazine, slots, HELD) < 0)
        return wrong(context->told, "opening");
    SET(context->told->client, numapool_client_id(before.client));
    if (daemon(1, 1) != 0) /* the process that was the client ends here */
        return wrong(context->told, "daemon");
    SET(context->told->child, getpid());
    if (numapool_get(before.magazine) != NULL || !strstr(numapool_errormsg(), "fork") || numapool_put(before.magazine, slots[0]) != -EINVAL)
        return wrong(context->told, "what was opened before is not refused afterwards");
    if (numapool_child() != 1)
        return wrong(context->told, "the inherited socket was not closed");
    wait_go_on(context->told, 1);
    if (!open_session(context->daemon, &after) || numapool_get_bulk(after.magazine, slots, HELD) < 0 ||
        numapool_put_bulk(after.magazine, slots, HELD) < 0 || !close_session(&after))
        return wrong(context->told, "connecting after becoming a daemon");
    SET(context->told->step, 2);
    return 0;
}

static void daemonize_trial(struct context *context)
{
    memset(context->told, 0, sizeof *context->told);
    harness_join(harness_fork(connect_and_daemonize, context), LONG_NS);
    harness_expect(reached(context, 1), "daemon(3) after connecting: what was opened before is refused with a sentence (%s)",
                   context->told->sentence);
    expect_all_free(context, "the process that ended in it");
    SET(context->told->go_on, 1);
    harness_expect(reached(context, 2), "it connects anew and works (%s)", context->told->sentence);
}

/* ---------------------------------------------------------------- a child that closes what it inherited */

static int fork_and_close(void *argument)
{
    struct context *context = argument;
    struct session own, of_child;
    void *slots[HELD];
    if (!open_session(context->daemon, &own) || numapool_get_bulk(own.magazine, slots, HELD) < 0)
        return wrong(context->told, "opening");
    pid_t child = fork();
    if (child == 0) {
        if (numapool_child() != 1 || numapool_child() != 0)
            _exit(wrong(context->told, "the inherited socket was not closed once"));
        _exit(open_session(context->daemon, &of_child) && close_session(&of_child) ? 0 : wrong(context->told, "the child's own session"));
    }
    int status;
    if (waitpid(child, &status, 0) != child || status != 0)
        return 1;
    struct numapool_sender *sender; /* asks the daemon on the very socket that the child has closed a copy of */
    if (numapool_child() != 0 || numapool_sender_open(own.pool, "c", NULL, &sender) < 0 || numapool_sender_close(sender, 0) < 0 ||
        numapool_put_bulk(own.magazine, slots, HELD) < 0 || !close_session(&own))
        return wrong(context->told, "going on after the child has closed its copy");
    return 0;
}

static void child_trial(struct context *context)
{
    memset(context->told, 0, sizeof *context->told);
    harness_expect(harness_join(harness_fork(fork_and_close, context), LONG_NS) == 0,
                   "a child closes the socket that it inherited; parent and child go on (%s)", context->told->sentence);
    expect_all_free(context, "both");
}

/* ---------------------------------------------------------------- two daemons */

static int use_two(void *argument)
{
    struct context *context = argument;
    struct session one, other;
    struct numapool_sender *senders[2];
    struct numapool_receiver *receivers[2];
    void *slots[2];
    if (!open_session(context->daemon, &one) || !open_session(context->other, &other))
        return wrong(context->told, "opening");
    struct numapool_pool *pools[2] = { one.pool, other.pool };
    for (unsigned i = 0; i < 2; i++)
        if (numapool_sender_open(pools[i], "c", NULL, &senders[i]) < 0 || numapool_receiver_open(pools[i], "c", NULL, &receivers[i]) < 0)
            return wrong(context->told, "channels of both");
    slots[0] = numapool_get(one.magazine);
    slots[1] = numapool_get(other.magazine);
    if (numapool_put(other.magazine, slots[0]) != -EINVAL || !strstr(numapool_errormsg(), "pool 'p'"))
        return wrong(context->told, "a slot of the one was put into the other");
    for (unsigned i = 0; i < 2; i++) {
        struct numapool_msg sent = { .data = slots[i], .length = 8, .id = i }, got;
        if (numapool_send(senders[i], &sent, 0) < 0 || numapool_receive(receivers[i], &got, 1, 0) != 1 || got.id != i ||
            numapool_release(receivers[i], &got, 1) < 0 || numapool_receiver_close(receivers[i]) < 0 ||
            numapool_sender_close(senders[i], 0) < 0)
            return wrong(context->told, "messages of both");
    }
    wait_go_on(context->told, 1); /* the other daemon is killed */
    if (numapool_receiver_open(other.pool, "c", NULL, &receivers[1]) != -ESTALE && numapool_receiver_open(other.pool, "c", NULL, &receivers[1]) != -ENOTCONN)
        return wrong(context->told, "the daemon that is gone");
    void *slot = numapool_get(one.magazine);
    if (!slot || numapool_put(one.magazine, slot) < 0 || numapool_receiver_open(one.pool, "c", NULL, &receivers[0]) < 0 ||
        numapool_receiver_close(receivers[0]) < 0 || !close_session(&one))
        return wrong(context->told, "the one that is there");
    return close_session(&other) ? 0 : wrong(context->told, "closing what the dead daemon had");
}

static void two_daemons_trial(struct context *context)
{
    memset(context->told, 0, sizeof *context->told);
    pid_t pid = harness_fork(use_two, context);
    harness_expect(reached(context, 1), "one process uses pools of one name of two daemons (%s)", context->told->sentence);
    harness_daemon_kill(context->other, true);
    SET(context->told->go_on, 1);
    harness_expect(harness_join(pid, LONG_NS) == 0, "the end of the one daemon leaves the other alone (%s)", context->told->sentence);
    expect_all_free(context, "the one");
}

/* ---------------------------------------------------------------- cancellation while the daemon does not answer */

struct cancelled {
    struct session session;
    int result;
    _Atomic int asks;
};

static void *ask_stopped_daemon(void *argument)
{
    struct cancelled *cancelled = argument;
    struct numapool_receiver *receiver = NULL;
    SET(cancelled->asks, 1);
    cancelled->result = numapool_receiver_open(cancelled->session.pool, "c", NULL, &receiver);
    if (cancelled->result == 0)
        cancelled->result = numapool_receiver_close(receiver);
    pthread_testcancel();
    return NULL;
}

static int be_cancelled(void *argument)
{
    struct context *context = argument;
    struct cancelled cancelled = { .result = 1 };
    struct numapool_sender *sender;
    pthread_t thread;
    void *how;
    if (!open_session(context->daemon, &cancelled.session))
        return wrong(context->told, "opening");
    wait_go_on(context->told, 1); /* the worker is stopped */
    if (pthread_create(&thread, NULL, ask_stopped_daemon, &cancelled) != 0)
        return wrong(context->told, "pthread_create");
    while (!GET(cancelled.asks))
        harness_sleep_ns(1000000);
    harness_sleep_ns(50000000);
    pthread_cancel(thread);
    wait_go_on(context->told, 2); /* it goes on */
    if (pthread_join(thread, &how) != 0 || how != PTHREAD_CANCELED || cancelled.result != 0)
        return wrong(context->told, "the call of a cancelled thread was not finished");
    if (numapool_sender_open(cancelled.session.pool, "c", NULL, &sender) < 0 || numapool_sender_close(sender, 0) < 0 ||
        !close_session(&cancelled.session))
        return wrong(context->told, "the session after a thread was cancelled in it");
    return 0;
}

static void cancel_trial(struct context *context)
{
    memset(context->told, 0, sizeof *context->told);
    pid_t worker = harness_daemon_worker(context->daemon), pid = harness_fork(be_cancelled, context);
    bool opened = reached(context, 1);
    kill(worker, SIGSTOP);
    SET(context->told->go_on, 1);
    bool cancelled = opened && reached(context, 2);
    kill(worker, SIGCONT);
    SET(context->told->go_on, 2);
    harness_expect(cancelled && harness_join(pid, LONG_NS) == 0,
                   "a thread cancelled while it waits for the daemon finishes its call, and leaves the session usable (%s)",
                   context->told->sentence);
}

/* ---------------------------------------------------------------- signals all the time; what is logged */

static _Atomic unsigned long signals_heard;

static void hear(int number)
{
    (void)number;
    atomic_fetch_add_explicit(&signals_heard, 1, memory_order_acq_rel);
}

static _Atomic unsigned lines_heard[4];

static void listen_to(void *argument, int level, const char *line)
{
    (void)argument, (void)line;
    atomic_fetch_add_explicit(&lines_heard[level & 3], 1, memory_order_acq_rel);
}

static int work_under_signals(void *argument)
{
    struct context *context = argument;
    const struct sigaction action = { .sa_handler = hear };
    const struct itimerval often = { { 0, 300 }, { 0, 300 } }, never = { { 0, 0 }, { 0, 0 } };
    numapool_log_set(NUMAPOOL_LOG_DEBUG, listen_to, NULL);
    sigaction(SIGALRM, &action, NULL);
    setitimer(ITIMER_REAL, &often, NULL);
    for (unsigned i = 0; i < 20; i++) {
        struct session session;
        struct numapool_sender *sender;
        struct numapool_receiver *receiver;
        struct numapool_msg message;
        if (!open_session(context->daemon, &session) || numapool_sender_open(session.pool, "c", NULL, &sender) < 0 ||
            numapool_receiver_open(session.pool, "c", NULL, &receiver) < 0)
            return wrong(context->told, "opening under signals");
        message = (struct numapool_msg){ .data = numapool_loan(sender), .length = 8 };
        if (!message.data || numapool_send(sender, &message, 0) < 0 || numapool_receive(receiver, &message, 1, LONG_NS) != 1 ||
            numapool_release(receiver, &message, 1) < 0 || numapool_receive(receiver, &message, 1, 2000000) != -ETIMEDOUT)
            return wrong(context->told, "messages under signals");
        if (i == 10) {
            wait_go_on(context->told, 1); /* another worker */
            struct numapool_receiver *another;
            if (numapool_receiver_open(session.pool, "d", NULL, &another) < 0 || numapool_receiver_close(another) < 0)
                return wrong(context->told, "another worker under signals");
        }
        if (numapool_receiver_close(receiver) < 0 || numapool_sender_close(sender, 0) < 0 || !close_session(&session))
            return wrong(context->told, "closing under signals");
    }
    setitimer(ITIMER_REAL, &never, NULL);
    if (GET(signals_heard) < 20)
        return wrong(context->told, "there were too few signals to tell");
    if (GET(lines_heard[NUMAPOOL_LOG_INFO]) < 1)
        return wrong(context->told, "that it connected again was not logged");
    return 0;
}

static void signals_trial(struct context *context)
{
    memset(context->told, 0, sizeof *context->told);
    pid_t pid = harness_fork(work_under_signals, context);
    bool there = reached(context, 1);
    pid_t worker = harness_daemon_worker(context->daemon);
    kill(worker, SIGKILL);
    harness_daemon_next_worker(context->daemon, worker);
    SET(context->told->go_on, 1);
    harness_expect(there && harness_join(pid, LONG_NS) == 0,
                   "with a signal every 300 us every call does its work, also when the worker is killed, and the log has it (%s)", context->told->sentence);
    harness_look_close(context->look); /* its connection was the dead worker's */
    if (harness_expect(harness_look_open(context->look, context->daemon->socket), "the new worker's board can be looked at"))
        expect_all_free(context, "it");
}

int main(int argc, char **argv)
{
    struct harness_daemon daemon, other;
    struct harness_look look;
    harness_begin("process", argc, argv);
    struct told *told = mmap(NULL, sizeof *told, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    harness_daemon_prepare(&daemon);
    harness_daemon_prepare(&other);
    if (told == MAP_FAILED || !harness_expect(harness_daemon_start(&daemon, POOL_SPEC), "the daemon starts") ||
        !harness_expect(harness_daemon_start(&other, POOL_SPEC), "and another") ||
        !harness_expect(harness_look_open(&look, daemon.socket), "its board can be looked at"))
        return harness_end();
    struct context context = { &daemon, &other, &look, told };
    daemonize_trial(&context);
    child_trial(&context);
    two_daemons_trial(&context);
    cancel_trial(&context);
    signals_trial(&context);
    harness_look_close(&look);
    harness_expect_nothing_left(&daemon);
    harness_expect(harness_daemon_stop(&daemon) == 0, "SIGTERM ends the daemon with status 0");
    harness_daemon_remove(&daemon);
    harness_daemon_remove(&other);
    return harness_end();
}
