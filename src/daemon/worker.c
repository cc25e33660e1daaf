/* SPDX-License-Identifier: MIT */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "daemon/worker.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sysexits.h>
#include <unistd.h>

#include "core/bell.h"
#include "core/error.h"
#include "daemon/patrol.h"
#include "daemon/privileges.h"
#include "numa/shield.h"

#define DUTY_STEADY_NS INT64_C(100000000) /* where the bell is heard: for rings that were lost with a worker */
#define DUTY_FIRST_NS  INT64_C(1000000)   /* where it is not, or by receivers that cannot ring it */
#define DUTY_MOST_NS   INT64_C(20000000)

/* ---------------------------------------------------------------- orphan lanes */

void np_worker_duty(struct np_worker *worker)
{
    unsigned orphans = np_broker_orphan_duty(&worker->broker);
    if (np_loop_has_futex(worker->loop) && worker->broker.unheard_orphans == 0)
        worker->duty_period_ns = DUTY_STEADY_NS;
    else if (orphans != worker->orphans || worker->duty_period_ns == 0 || worker->duty_period_ns > DUTY_MOST_NS)
        worker->duty_period_ns = DUTY_FIRST_NS;
    else
        worker->duty_period_ns = worker->duty_period_ns * 2 > DUTY_MOST_NS ? DUTY_MOST_NS : worker->duty_period_ns * 2;
    worker->orphans = orphans;
    np_timer_set(&worker->duty, orphans > 0 ? np_monotonic_ns() + worker->duty_period_ns : INT64_MAX);
}

static void duty_due(struct np_timer *timer)
{
    np_worker_duty(timer->context);
}

static void wait_for_bell(struct np_worker *worker)
{
    np_loop_futex_wait(worker->loop, &worker->bell, &worker->bells[NP_BELL_OF_DAEMON].ring, worker->bell_seen);
}

static void bell_rung(struct np_operation *operation, int result)
{
    struct np_worker *worker = operation->context;
    if (result < 0 && result != -EAGAIN && result != -EINTR) {
        np_log(NP_LOG_WARN, "the daemon's bell cannot be heard (%s): orphan lanes are looked at by time alone", strerror(-result));
        np_worker_duty(worker);
        return;
    }
    /* Before the duty, so that who rings during it is heard. acquire: pairs with np_bell_ring's release */
    worker->bell_seen = np_load32(&worker->bells[NP_BELL_OF_DAEMON].ring, memory_order_acquire);
    np_worker_duty(worker);
    wait_for_bell(worker);
}

/* ---------------------------------------------------------------- signals and the keeper */

static void signal_heard(struct np_operation *operation, int result)
{
    struct np_worker *worker = operation->context;
    struct signalfd_siginfo heard;
    (void)result;
    /* Whether a hang-up is of a terminal that is gone the keeper decides, which hears it too. */
    while (read(worker->signal_fd, &heard, sizeof heard) == (ssize_t)sizeof heard)
        if (heard.ssi_signo == SIGHUP)
            np_nodes_reload(worker, true);
        else
            worker->ending = true;
    np_loop_poll(worker->loop, &worker->signal, worker->signal_fd, POLLIN);
}

static void wait_for_records(struct np_worker *worker)
{
    np_loop_poll(worker->loop, &worker->records, worker->records_fd, POLLIN);
}

static void leave(struct np_worker *worker)
{
    if (worker->leaving)
        return;
    np_log(NP_LOG_INFO, "leaves to the worker of another build");
    worker->leaving = true;
    np_connections_leave(worker);
}

void np_worker_take_record(struct np_worker *worker, const struct np_record *record, int fd)
{
    switch (record->verb) {
    case NP_RECORD_UPGRADE:
        np_upgrade_heard(worker, fd);
        break;
    case NP_RECORD_MENDED:
        np_patrol_mended(worker, record);
        break;
    case NP_RECORD_END:
        worker->ending = true;
        break;
    case NP_RECORD_LEAVE:
        worker->told_to_leave = true; /* between two turns: a request may be under way here */
        break;
    case NP_RECORD_RELOAD:
        worker->told_to_reload = true;
        break;
    case NP_RECORD_STORED:
        worker->stored = record->key.a;
        worker->keeper_is_slow = false;
        worker->depository = (enum np_depository_state)record->key.b;
        if (worker->board.header)
            np_store64(&worker->board.header->depository, record->key.b, memory_order_relaxed); /* relaxed: for people */
        break;
    default:
        break;
    }
    if (fd >= 0)
        close(fd);
}

static void records_there(struct np_operation *operation, int polled)
{
    struct np_worker *worker = operation->context;
    struct np_record record;
    int fd, result;
    (void)polled;
    while ((result = np_record_receive(worker->records_fd, &record, &fd)) == 1) {
        np_worker_take_record(worker, &record, fd);
    }
    if (result == -EAGAIN) {
        wait_for_records(worker);
        return;
    }
    if (!worker->ending)
        np_log(NP_LOG_WARN, "the keeper is gone: the worker ends, and its clients with what they have mapped go on alone");
    worker->ending = true;
}

/* Everything that the keeper has, until it says that this was all, or that the worker is to end: then what has come is a
 * part, with which nothing may be taken over. Waits: nothing can be done without. */
static int receive_store(struct np_worker *worker)
{
    for (;;) {
        struct np_record record;
        int fd, result = np_record_receive(worker->records_fd, &record, &fd);
        if (result == -EAGAIN) {
            struct pollfd polled = { .fd = worker->records_fd, .events = POLLIN };
            poll(&polled, 1, -1);
            continue;
        }
        if (result == 0)
            return np_error(-EPIPE, "the keeper is gone");
        if (result < 0)
            return result;
        if (record.verb == NP_RECORD_READY || record.verb == NP_RECORD_END) {
            worker->ending = record.verb == NP_RECORD_END;
            worker->depository = (enum np_depository_state)record.key.a;
            return 0;
        }
        if (record.verb == NP_RECORD_UPGRADE) {
            np_upgrade_heard(worker, fd);
            if (fd >= 0)
                close(fd);
            continue;
        }
        if (fd >= 0 && (result = np_store_put(&worker->store, record.key, fd)) < 0) {
            close(fd);
            return result;
        }
    }
}

void np_worker_ending_signals(sigset_t *signals)
{
    static const int may_be_ignored[] = { SIGINT, SIGHUP };
    struct sigaction action;
    sigemptyset(signals);
    sigaddset(signals, SIGTERM);
    for (unsigned i = 0; i < sizeof may_be_ignored / sizeof may_be_ignored[0]; i++)
        if (sigaction(may_be_ignored[i], NULL, &action) == 0 && action.sa_handler != SIG_IGN)
            sigaddset(signals, may_be_ignored[i]);
}

static int hear_signals(struct np_worker *worker)
{
    sigset_t heard;
    np_worker_ending_signals(&heard);
    signal(SIGPIPE, SIG_IGN);
    sigprocmask(SIG_BLOCK, &heard, NULL);
    worker->signal_fd = signalfd(-1, &heard, SFD_CLOEXEC | SFD_NONBLOCK);
    return worker->signal_fd < 0 ? np_error(-errno, "cannot make a signalfd: %s", strerror(errno)) : 0;
}

/* ---------------------------------------------------------------- start */

/* Most that can be under way at once: a request and an answer never are for one connection; a pidfd and a token for each
 * client; and the rest is one each. */
static unsigned operations_of(const struct np_config *config)
{
    enum { ACCEPT_SIGNAL_RECORDS_BELL_MAPS_MAKER = 6 };
    return 3 * (config->limits.clients + NP_CONNECTIONS_SPARE) + ACCEPT_SIGNAL_RECORDS_BELL_MAPS_MAKER;
}

static int take_over(struct np_worker *worker)
{
    int result = np_premises_take_over(worker);
    if (result == 0)
        result = np_connections_start(worker);
    if (result == 0)
        result = np_watches_start(worker);
    if (result == 0)
        result = np_inflights_start(worker);
    if (result < 0)
        return result;
    np_broker_recover(&worker->broker);
    np_premises_forget_strays(worker);
    np_inflights_take_over(worker);
    result = np_watches_take_over(worker);
    if (result == 0)
        result = np_pools_make_configured(worker);
    if (result == 0)
        np_pools_end_unused(worker); /* a predecessor may have died before it got to that */
    return result;
}

static void start_operations(struct np_worker *worker)
{
    worker->signal = (struct np_operation){ .done = signal_heard, .context = worker };
    np_loop_poll(worker->loop, &worker->signal, worker->signal_fd, POLLIN);
    worker->records = (struct np_operation){ .done = records_there, .context = worker };
    wait_for_records(worker);
    worker->bell = (struct np_operation){ .done = bell_rung, .context = worker };
    worker->bell_seen = np_load32(&worker->bells[NP_BELL_OF_DAEMON].ring, memory_order_acquire); /* pairs with np_bell_ring */
    if (np_loop_has_futex(worker->loop))
        wait_for_bell(worker);
    np_worker_duty(worker);
    np_connections_accept(worker);
}

/* Once for each answer, not for each worker. */
static void tell_loop(struct np_worker *worker)
{
    struct np_board_header *header = worker->board.header;
    uint32_t kind = np_loop_kind(worker->loop) == NP_LOOP_EPOLL ? NP_BOARD_LOOP_EPOLL : NP_BOARD_LOOP_IO_URING;
    uint32_t refusal = (uint32_t)np_loop_refusal(worker->loop);
    /* relaxed, all: written by the worker alone, for people */
    bool known = np_load32(&header->loop, memory_order_relaxed) == kind && np_load32(&header->loop_refusal, memory_order_relaxed) == refusal;
    np_store32(&header->loop_refusal, refusal, memory_order_relaxed);
    np_store32(&header->loop, kind, memory_order_relaxed);
    if (known)
        return;
    if (refusal != 0)
        np_log(NP_LOG_WARN, "there is no io_uring here (%s): the daemon does the same on epoll, a little slower; clients' get, put, send and "
               "receive are as they were. io_uring needs Linux 5.15 or later, kernel.io_uring_disabled = 0 (sysctl), and in a container a "
               "seccomp profile that allows io_uring_setup, io_uring_enter and io_uring_register; --loop=epoll does not ask for it",
               strerror((int)refusal));
    else
        np_log(NP_LOG_DEBUG, "the worker runs on %s", kind == NP_BOARD_LOOP_EPOLL ? "epoll" : "io_uring");
}

static int start(struct np_worker *worker)
{
    int result = hear_signals(worker);
    if (result == 0)
        result = receive_store(worker);
    if (result == 0 && !worker->ending)
        result = np_premises_lock(worker);
    if (result < 0)
        worker->status = EX_TEMPFAIL;
    if (result < 0 || worker->ending)
        return result;
    np_bell_register();
    worker->status = EX_CONFIG; /* what the system does not give from here on it would not give the next time either */
    result = np_loop_start(&worker->loop, operations_of(worker->config), worker->config->loop);
    if (result < 0)
        return result;
    worker->duty = (struct np_timer){ .due = duty_due, .context = worker };
    np_loop_timer_add(worker->loop, &worker->duty);
    np_verify_start(worker);
    np_patrol_start(worker);
    np_premises_start(worker);
    result = np_pools_start(worker);
    if (result == 0)
        result = take_over(worker);
    if (result < 0) {
        /* There were clients already, or the keeper did not answer in time: whatever is short now, the next try may find. */
        if (result == -EAGAIN || (worker->board.header && np_load64(&worker->board.header->worker_starts, memory_order_relaxed) > 0))
            worker->status = EX_TEMPFAIL; /* relaxed above: its only writer was reaped */
        return result;
    }
    worker->status = 0;
    tell_loop(worker);
    np_store64(&worker->board.header->depository, (uint64_t)worker->depository, memory_order_relaxed); /* relaxed: for people */
    np_add64(&worker->board.header->worker_starts, 1, memory_order_relaxed); /* relaxed: a statistic */
    np_upgrade_tell_board(worker);
    np_rights_set_socket_mode(worker);
    start_operations(worker);
    result = np_worker_tell_ready(worker);
    worker->ready = true;
    if (worker->config->pool_count == 0)
        np_log(NP_LOG_WARN, "the configuration has no pool: give some by --pool or --config, or make them by numapoolctl pool create");
    return result;
}

/* ---------------------------------------------------------------- memory that is gone */

/* Whose words or lane lie there; NULL: nobody's alone. */
static struct np_pool_entry *pool_of_memory(struct np_worker *worker, const void *address)
{
    const struct np_board *board = &worker->board;
    for (uint32_t pool = 0; pool < NP_POOLS_MAX; pool++)
        for (unsigned i = 0; i < worker->broker.pools[pool].arena_count; i++)
            if (worker->broker.pools[pool].arenas[i].header == address)
                return &board->pools[pool];
    for (uint32_t lane = 1; lane <= board->limits.lanes; lane++)
        if (worker->broker.lane_memory[lane] == address)
            return &board->pools[board->channels[board->lanes[lane].channel].pool % NP_POOLS_MAX];
    return NULL;
}

/* Zeros are there now (numa/shield.h), and are believed as little as anything that clients can write. */
static void tell_losses(struct np_worker *worker)
{
    struct np_shield_loss loss;
    while (np_shield_next_loss(&loss)) {
        struct np_pool_entry *pool = pool_of_memory(worker, loss.address);
        np_add64(&worker->board.header->pages_lost, loss.pages, memory_order_relaxed); /* relaxed, both: statistics */
        if (pool)
            np_add32(&pool->damaged, loss.pages, memory_order_relaxed);
        if (loss.first)
            np_log(NP_LOG_ERROR, "memory of %s%s%s%s is gone: a client punched holes into it and used up what would fill them, or the machine "
                   "lost it; the daemon goes on without, and what was in it is lost", loss.what, pool ? " (pool '" : "",
                   pool ? pool->name : "", pool ? "')" : "");
    }
}

int np_worker_run(const struct np_config *config, int listen_fd, int records_fd)
{
    static struct np_worker the_worker; /* too large for a stack, and one for ever */
    struct np_worker *worker = &the_worker;
    *worker = (struct np_worker){ .config = config, .listen_fd = listen_fd, .records_fd = records_fd };
    np_log_start("worker", config->log_level, config->log_to, NP_LOG_JOURNAL_SOCKET);
    if (!np_privileges_drop())
        np_log(NP_LOG_WARN, "the worker cannot give up CAP_SYS_NICE: it keeps what only the keeper needs");
    int result = np_shield_start();
    if (result == 0)
        result = start(worker);
    if (result == 0 && worker->told_to_leave)
        leave(worker);
    while (result == 0 && !worker->ending && !(worker->leaving && np_connections_have_left(worker))) {
        tell_losses(worker);
        result = np_loop_turn(worker->loop);
        if (worker->told_to_reload && !worker->ending) {
            worker->told_to_reload = false;
            np_nodes_reload(worker, true);
        }
        if (worker->told_to_leave)
            leave(worker);
    }
    if (result < 0 && !worker->ending) {
        np_log(NP_LOG_ERROR, "%s", np_error_sentence());
        return worker->status ? worker->status : EX_SOFTWARE;
    }
    return worker->leaving && !worker->ending ? NP_WORKER_LEFT : 0;
}
