/* SPDX-License-Identifier: MIT */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/bell.h"
#include "core/error.h"
#include "daemon/worker.h"

#define ACCEPT_PAUSE_NS INT64_C(100000000)
#define REFUSED_MAX 8u /* connections at once of users without any right */

static void received(struct np_operation *operation, int result);
static void sent(struct np_operation *operation, int result);

int np_connections_start(struct np_worker *worker)
{
    worker->connection_count = worker->board.limits.clients + NP_CONNECTIONS_SPARE;
    worker->connections = calloc(worker->connection_count, sizeof *worker->connections);
    if (!worker->connections)
        return np_error(-ENOMEM, "no memory for %u connections: lower --clients", worker->connection_count);
    return 0;
}

/* One that is free, or that never was used: they are large, and touching them all would be a good part of a worker's start. */
static struct np_connection *next_free(struct np_worker *worker)
{
    if (!worker->free_connections && worker->connections_used < worker->connection_count) {
        struct np_connection *connection = &worker->connections[worker->connections_used++];
        connection->worker = worker;
        connection->fd = -1;
        connection->receive = (struct np_operation){ .done = received, .context = connection };
        connection->send = (struct np_operation){ .done = sent, .context = connection };
        worker->free_connections = connection;
    }
    return worker->free_connections;
}

/* ---------------------------------------------------------------- closing */

static void close_descriptors(struct np_connection *connection)
{
    for (unsigned i = 0; i < connection->fd_count; i++)
        if (connection->fd_is_ours[i])
            close(connection->fds[i]);
    connection->fd_count = 0;
}

static void close_when_idle(struct np_connection *connection)
{
    if (connection->receive.pending || connection->send.pending || connection->awaits_verify)
        return;
    close_descriptors(connection);
    close(connection->fd);
    connection->fd = -1;
    connection->next_free = connection->worker->free_connections;
    connection->worker->free_connections = connection;
}

void np_connection_close(struct np_connection *connection)
{
    if (connection->fd < 0 || connection->closing)
        return;
    connection->closing = true;
    if (connection->kind == NP_CONNECTION_CLIENT) {
        struct np_watch *watch = connection->worker->watch_of[connection->client];
        connection->kind = NP_CONNECTION_NEW;
        if (watch && watch->connection == connection)
            np_watch_disconnect(watch);
    }
    shutdown(connection->fd, SHUT_RDWR); /* ends what is pending on it */
    close_when_idle(connection);
}

/* ---------------------------------------------------------------- a request and its answer */

static void receive_next(struct np_connection *connection)
{
    np_loop_receive(connection->worker->loop, &connection->receive, connection->fd, connection->request, sizeof connection->request);
}

void np_connection_attach(struct np_connection *connection, int fd, bool ours)
{
    connection->fds[connection->fd_count] = fd;
    connection->fd_is_ours[connection->fd_count++] = ours;
}

void np_connection_answer(struct np_connection *connection, int result)
{
    struct np_wire_answer *answer = &connection->answer;
    if (result < 0) {
        close_descriptors(connection);
        snprintf(answer->sentence, sizeof answer->sentence, "%s", np_error_sentence());
        np_log(NP_LOG_DEBUG, "process %ld: operation %u: %s", (long)connection->identity.pid, answer->operation, answer->sentence);
    }
    answer->magic = NP_WIRE_MAGIC;
    answer->result = result;
    answer->descriptors = connection->fd_count;
    connection->part = (struct iovec){ answer, sizeof *answer };
    connection->message = (struct msghdr){ .msg_iov = &connection->part, .msg_iovlen = 1 };
    if (connection->fd_count > 0) {
        size_t bytes = connection->fd_count * sizeof(int);
        memset(&connection->control, 0, sizeof connection->control);
        connection->message.msg_control = &connection->control;
        connection->message.msg_controllen = CMSG_SPACE(bytes);
        connection->control.header.cmsg_level = SOL_SOCKET;
        connection->control.header.cmsg_type = SCM_RIGHTS;
        connection->control.header.cmsg_len = CMSG_LEN(bytes);
        memcpy(CMSG_DATA(&connection->control.header), connection->fds, bytes);
    }
    np_loop_send_message(connection->worker->loop, &connection->send, connection->fd, &connection->message);
}

static void received(struct np_operation *operation, int result)
{
    struct np_connection *connection = operation->context;
    const struct np_wire_request *request = (const struct np_wire_request *)connection->request;
    if (connection->closing) {
        close_when_idle(connection);
        return;
    }
    if (result <= 0 && connection->worker->leaving)
        return; /* ours: the next worker takes over everything as it is */
    if (result <= 0) {
        np_connection_close(connection);
        return;
    }
    memset(&connection->answer, 0, sizeof connection->answer);
    if ((size_t)result == sizeof *request) {
        connection->answer.number = request->number;
        connection->answer.operation = request->operation;
    }
    int code = np_wire_check_request(connection->request, (size_t)result);
    if ((size_t)result != sizeof *request) {
        /* Whoever this is does not speak in requests, so there is no telling what an answer would be taken for. */
        np_rights_refused(connection);
        np_connection_close(connection);
        return;
    }
    if (code == 0 && connection->refused)
        code = np_error(-EACCES, "this daemon serves user %ld, and no access list of it names user %ld or a group of his: "
                        "add him (numapoold.conf: direct, readonly, admin), or run a daemon of his own", (long)geteuid(),
                        (long)connection->identity.uid);
    if (code < 0) {
        np_rights_refused(connection);
        np_connection_answer(connection, code);
        return;
    }
    if (np_request_serve(connection, request, &code))
        np_connection_answer(connection, code);
}

/* Who was admitted and is not there any more to hear of it, because it took too long, may be there on another connection,
 * under another number. Of this one nobody will ever hear, and it would stay taken as long as anything of the daemon's is
 * mapped in that process. True: it is given back, and the connection closed. */
static bool end_unheard(struct np_connection *connection)
{
    struct np_watch *watch = connection->kind == NP_CONNECTION_CLIENT ? connection->worker->watch_of[connection->client] : NULL;
    if (!connection->unheard || !watch || watch->connection != connection)
        return false;
    np_watch_end(watch, "left");
    return true;
}

static void sent(struct np_operation *operation, int result)
{
    struct np_connection *connection = operation->context;
    close_descriptors(connection);
    if (result < 0 && end_unheard(connection))
        return;
    connection->unheard = false;
    if (connection->closing)
        close_when_idle(connection);
    else if (result < 0 || connection->refused)
        np_connection_close(connection);
    else if (!connection->worker->leaving)
        receive_next(connection);
}

void np_connections_leave(struct np_worker *worker)
{
    np_loop_cancel(worker->loop, &worker->accept);
    /* Ends what waits for a request, but not before it has read one that is there; and who asks now is told at once that this
     * connection is over. */
    for (unsigned i = 0; i < worker->connections_used; i++)
        if (worker->connections[i].fd >= 0 && !worker->connections[i].closing)
            shutdown(worker->connections[i].fd, SHUT_RD);
}

bool np_connections_have_left(const struct np_worker *worker)
{
    for (unsigned i = 0; i < worker->connections_used; i++)
        if (worker->connections[i].fd >= 0 && (worker->connections[i].receive.pending || worker->connections[i].send.pending))
            return false;
    return true;
}

/* ---------------------------------------------------------------- accepting */

static struct np_connection *oldest_of(struct np_worker *worker, enum np_connection_kind kind, bool refused,
                                       const struct np_connection *except, unsigned *count)
{
    struct np_connection *oldest = NULL;
    *count = 0;
    for (unsigned i = 0; i < worker->connections_used; i++) {
        struct np_connection *connection = &worker->connections[i];
        if (connection->fd < 0 || connection->closing || connection == except || connection->kind != kind ||
            connection->refused != refused)
            continue;
        ++*count;
        if (!oldest || connection->accepted_ns < oldest->accepted_ns)
            oldest = connection;
    }
    return oldest;
}

/* Makes room for one that may have something to say: who has no right to say anything, or else who has connected longest
 * without having said who he is, or else who has looked longest, and can connect again. Clients stay: there is room for
 * all of them. */
static void evict_silent(struct np_worker *worker, const struct np_connection *except)
{
    unsigned count;
    struct np_connection *oldest = oldest_of(worker, NP_CONNECTION_NEW, true, except, &count);
    if (!oldest)
        oldest = oldest_of(worker, NP_CONNECTION_NEW, false, except, &count);
    if (!oldest)
        oldest = oldest_of(worker, NP_CONNECTION_LOOK, false, except, &count);
    if (oldest)
        np_connection_close(oldest);
}

/* Strangers' connections are few, however many they make: theirs make room for theirs. */
static void bound_refused(struct np_worker *worker, const struct np_connection *newest)
{
    unsigned count;
    struct np_connection *oldest = oldest_of(worker, NP_CONNECTION_NEW, true, newest, &count);
    if (newest->refused && count >= REFUSED_MAX)
        np_connection_close(oldest);
}

/* With np_error's sentence. */
static void tell_unaccepted(struct np_worker *worker)
{
    unsigned untold;
    bool is_due = np_log_is_due(&worker->unaccepted, &untold);
    if (untold > 0)
        np_log(NP_LOG_WARN, "%u more connections were not accepted", untold);
    if (is_due)
        np_log(NP_LOG_WARN, "a connection is not accepted: %s", np_error_sentence());
}

/* Tried again after a while. Without a descriptor nobody could be served for as long as nobody leaves: who has waited for that long is
 * told so. The first time nobody is, for who has just connected has not asked for anything that could be answered. */
static void not_accepted(struct np_worker *worker, int code)
{
    if (code != -ECONNABORTED && code != -EINTR) {
        np_error(code, "the daemon cannot accept a connection (%s): %s", strerror(-code),
                 code == -EMFILE   ? "raise its limit of open files (LimitNOFILE=), or let other clients leave"
                 : code == -ENFILE ? "raise the system's limit of open files (sysctl fs.file-max)"
                                   : "free memory");
        tell_unaccepted(worker);
    }
    if ((code == -EMFILE || code == -ENFILE) && worker->accept_failed)
        np_spare_refuse(&worker->spare, worker->listen_fd, code);
    worker->accept_failed = true;
}

static void accepted(struct np_operation *operation, int result)
{
    struct np_worker *worker = operation->context;
    if (worker->leaving) {
        if (result >= 0)
            close(result); /* who that is tries again */
        return;
    }
    if (result < 0) {
        not_accepted(worker, result);
        if (!operation->pending)
            np_timer_set(&worker->accept_again, np_monotonic_ns() + ACCEPT_PAUSE_NS);
        return;
    }
    worker->accept_failed = false;
    struct np_connection *connection = next_free(worker);
    struct np_identity identity;
    if (!connection || np_identity_of_socket(result, &identity) < 0) {
        if (!connection)
            np_error(-EUSERS, "all %u connections are taken: raise the limit (--clients)", worker->connection_count);
        tell_unaccepted(worker);
        close(result);
        evict_silent(worker, NULL);
        return;
    }
    worker->free_connections = connection->next_free;
    connection->fd = result;
    connection->kind = NP_CONNECTION_NEW;
    connection->client = 0;
    connection->closing = connection->awaits_verify = connection->unheard = false;
    connection->identity = identity;
    connection->refused = !np_rights_has_any(connection);
    connection->accepted_ns = np_monotonic_ns();
    connection->fd_count = 0;
    receive_next(connection);
    bound_refused(worker, connection);
    if (!next_free(worker))
        evict_silent(worker, connection);
}

static void accept_again(struct np_timer *timer)
{
    np_connections_accept(timer->context);
}

void np_connections_accept(struct np_worker *worker)
{
    if (!worker->accept.done) {
        np_spare_start(&worker->spare);
        worker->accept = (struct np_operation){ .done = accepted, .context = worker };
        worker->accept_again = (struct np_timer){ .due = accept_again, .context = worker };
        np_loop_timer_add(worker->loop, &worker->accept_again);
    }
    np_loop_accept(worker->loop, &worker->accept, worker->listen_fd);
}
