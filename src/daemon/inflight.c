/* SPDX-License-Identifier: MIT */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "daemon/inflight.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/bell.h"
#include "core/error.h"
#include "daemon/log.h"
#include "daemon/worker.h"

#define SLOW_NS INT64_C(1000000000) /* a ring that nobody uses ends within milliseconds */

static struct np_store_key io_key(uint32_t client)
{
    return (struct np_store_key){ NP_STORE_IO, client, 0 };
}

static struct np_client_entry *entry_of(const struct np_worker *worker, uint32_t client)
{
    return &worker->board.clients[client];
}

/* ---------------------------------------------------------------- the token */

/* Each write end is opened anew from the read end, so that the same pipe serves a request that is asked again. */
static int open_write_end(int read_end, uint32_t client)
{
    char path[40];
    snprintf(path, sizeof path, "/proc/self/fd/%d", read_end);
    int fd = open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
    return fd >= 0 ? fd : np_error(-errno, "cannot open the pipe of client %u's I/O token (%s): the daemon needs /proc, and descriptors "
                                           "to spare", client, strerror(errno));
}

int np_inflight_token(struct np_worker *worker, uint32_t client)
{
    int read_end = np_store_get(&worker->store, io_key(client));
    struct np_client_entry *entry = entry_of(worker, client);
    if (read_end < 0 && np_load32(&entry->has_io, memory_order_relaxed) != 0) /* relaxed: written by this thread only */
        return np_error(-EIO, "the daemon has lost the pipe of client %u's I/O token: connect anew", client);
    if (read_end < 0) {
        int ends[2];
        if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0)
            return np_error(-errno, "cannot make a pipe for client %u's I/O token: %s", client, strerror(errno));
        close(ends[1]);
        (void)fcntl(ends[0], F_SETPIPE_SZ, 4096); /* nothing goes through it, and a user's share of pipe memory is limited */
        read_end = ends[0];
        int result = np_worker_keep(worker, io_key(client), read_end);
        if (result < 0)
            return result;
    }
    int fd = open_write_end(read_end, client);
    /* After it was stored and before anybody has it (W2). From here on the client's end is the kernel's to tell. */
    if (fd >= 0)
        np_store32(&entry->has_io, 1, memory_order_release);
    return fd;
}

/* ---------------------------------------------------------------- waiting for the kernel */

static bool has_let_go(const struct np_worker *worker, uint32_t client)
{
    struct pollfd polled = { .fd = np_store_get(&worker->store, io_key(client)) };
    /* Without the pipe nobody can know, and so it is not believed. */
    return polled.fd >= 0 && poll(&polled, 1, 0) == 1 && (polled.revents & POLLHUP) != 0;
}

static void wait_for_kernel(struct np_inflight *inflight)
{
    int fd = np_store_get(&inflight->worker->store, io_key(inflight->client));
    if (fd >= 0)
        np_loop_poll(inflight->worker->loop, &inflight->poll, fd, 0); /* hanging up is always told */
}

static void hung_up(struct np_operation *operation, int result)
{
    struct np_inflight *inflight = operation->context;
    struct np_worker *worker = inflight->worker;
    uint32_t client = inflight->client;
    (void)result; /* a poll that failed says nothing: the pipe is asked */
    if (!has_let_go(worker, client)) {
        wait_for_kernel(inflight);
        return;
    }
    int64_t waited_ns = np_monotonic_ns() - inflight->since_ns;
    bool was_told = inflight->tell_at_ns == INT64_MAX;
    inflight->tell_at_ns = INT64_MAX;
    char why[80];
    snprintf(why, sizeof why, "was waited for %lld ms, until the kernel had ended its I/O", (long long)(waited_ns / 1000000));
    if (was_told)
        np_log(NP_LOG_WARN, "client %u: the kernel has let go of its slots", client);
    np_watch_give_back(worker, client, why);
    np_broker_count_quarantined(&worker->broker);
}

static void begin(struct np_worker *worker, uint32_t client)
{
    struct np_inflight *inflight = &worker->inflights.of[client];
    inflight->worker = worker;
    inflight->client = client;
    inflight->since_ns = np_monotonic_ns();
    inflight->tell_at_ns = inflight->since_ns + SLOW_NS;
    inflight->poll = (struct np_operation){ .done = hung_up, .context = inflight };
    np_timer_set_earlier(&worker->inflights.slow, inflight->tell_at_ns);
    wait_for_kernel(inflight);
    np_broker_count_quarantined(&worker->broker);
}

bool np_inflight_begin(struct np_worker *worker, uint32_t client, const char *why)
{
    struct np_client_entry *entry = entry_of(worker, client);
    struct np_scavenged what;
    if (np_load32(&entry->has_io, memory_order_relaxed) == 0 || has_let_go(worker, client)) /* relaxed: as above */
        return false;
    np_add64(&worker->board.header->io_waits, 1, memory_order_relaxed); /* relaxed: a statistic */
    np_broker_client_stopped(&worker->broker, client, &what);
    np_log(NP_LOG_INFO, "client %u (process %ld, %.31s) %s, and an io_uring of its has not ended yet: its slots wait; %llu messages announced",
           client, (long)entry->pid, entry->name, why, (unsigned long long)what.rolled_forward);
    begin(worker, client);
    np_worker_duty(worker);
    return true;
}

static void tell_slow(struct np_timer *timer)
{
    struct np_worker *worker = timer->context;
    int64_t now_ns = np_monotonic_ns(), next_ns = INT64_MAX;
    for (uint32_t client = 1; client <= worker->board.limits.clients; client++) {
        struct np_inflight *inflight = &worker->inflights.of[client];
        if (inflight->tell_at_ns > now_ns) {
            next_ns = inflight->tell_at_ns < next_ns ? inflight->tell_at_ns : next_ns;
            continue;
        }
        inflight->tell_at_ns = INT64_MAX;
        const char *reason = np_store_get(&worker->store, io_key(client)) < 0
                                 ? "its pipe was lost with a worker while the keeper had no room, so they stay away until the daemon is restarted"
                                 : "some io_uring with its token still lives: a request that has not ended, data that a peer has not "
                                   "acknowledged, or another process that has the ring or the token";
        np_log(NP_LOG_WARN, "client %u (process %ld) is gone; what it had received, and %llu slots in all that such clients held, still wait for the kernel: %s", client,
               (long)entry_of(worker, client)->pid, (unsigned long long)np_broker_count_quarantined(&worker->broker), reason);
    }
    np_timer_set(timer, next_ns);
}

/* ---------------------------------------------------------------- starting */

int np_inflights_start(struct np_worker *worker)
{
    worker->inflights.of = calloc((size_t)worker->board.limits.clients + 1, sizeof *worker->inflights.of);
    if (!worker->inflights.of)
        return np_error(-ENOMEM, "no memory to wait for the I/O of %u clients: lower --clients", worker->board.limits.clients);
    for (uint32_t client = 0; client <= worker->board.limits.clients; client++)
        worker->inflights.of[client].tell_at_ns = INT64_MAX;
    worker->inflights.slow = (struct np_timer){ .due = tell_slow, .context = worker };
    np_loop_timer_add(worker->loop, &worker->inflights.slow);
    return 0;
}

void np_inflights_take_over(struct np_worker *worker)
{
    for (uint32_t client = 1; client <= worker->board.limits.clients; client++) {
        if (!np_entry_is(&entry_of(worker, client)->state, NP_DYING))
            continue; /* np_broker_recover has ended all that have no I/O */
        if (has_let_go(worker, client))
            np_watch_give_back(worker, client, "was waited for by a worker before, until the kernel had ended its I/O");
        else
            begin(worker, client);
    }
    np_broker_count_quarantined(&worker->broker);
}
