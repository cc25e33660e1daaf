/* SPDX-License-Identifier: MIT
 * Payments from TCP connections. The kernel puts each record into a slot, and that slot is what is sent on: a multishot receive
 * with provided buffers of one record's length, which are slots of the pool.
 *
 * A stream has no borders, and so a receive may end in the middle of a record. Then the multishot receive is cancelled and the
 * rest of this record received into the same slot, behind what is there; after it the next record begins at the beginning of
 * a slot again. What came into further slots before the cancellation was heard has to be copied. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "gateway.h"
#include "numapool/uring.h"
#include "tcp.h"

enum { CONNECTIONS_MAX = 64, RING_ENTRIES = 256, SLOTS_OFFERED = 256, GROUP = 1, TURNS_TO_SETTLE = 50 };

/* The low byte of a completion's user data; above it the connection's place. */
enum deed { DEED_ACCEPT = 1, DEED_RECEIVE, DEED_REST, DEED_CANCEL };

enum way { IN_PLACE, COMPLETED, COPIED, WAYS };

struct connection {
    bool used;
    int socket;
    uint32_t file;         /* its number */
    uint64_t records;      /* payments, refused ones too */
    uint64_t sent;
    void *slot;            /* of a record of which `have` bytes are there; NULL: none */
    unsigned have;
    bool copied;           /* some of them */
    bool receives;         /* the multishot receive is armed */
    bool is_cancelled;     /* and is to end */
    bool gets_rest;
    bool at_end;
    bool is_named, is_closed;
    uint64_t line;         /* of the closing */
    struct stream_closing closing;
};

struct listener {
    struct gateway *gateway;
    const struct listening *options;
    struct io_uring ring;
    struct numapool_bufring slots;
    int socket;
    bool accepts, accept_pauses;
    bool lacks_slots;
    uint32_t connections;  /* so far */
    unsigned open;
    uint64_t refused;
    uint64_t ways[WAYS];
    struct connection table[CONNECTIONS_MAX];
};

static struct io_uring_sqe *request(struct listener *listener, enum deed deed, size_t place)
{
    struct io_uring_sqe *entry = io_uring_get_sqe(&listener->ring);
    while (entry == NULL) { /* the queue is full: submitting empties it */
        io_uring_submit(&listener->ring);
        entry = io_uring_get_sqe(&listener->ring);
    }
    io_uring_sqe_set_data64(entry, (uint64_t)place << 8 | (uint64_t)deed);
    return entry;
}

/* ---------------------------------------------------------------- records */

static int refuse(struct listener *listener, struct connection *connection, void *slot, const char *why)
{
    listener->refused++;
    numapool_put(listener->gateway->magazine, slot);
    listener->gateway->file = connection->file;
    return outlet_finding(listener->gateway, NACHA_MALFORMED, connection->records, why);
}

static int name(struct listener *listener, struct connection *connection, const struct stream_hello *hello)
{
    char text[sizeof(hello->name) + 32];
    connection->is_named = true;
    listener->gateway->file = connection->file;
    if (hello == NULL)
        snprintf(text, sizeof(text), "connection %" PRIu32, connection->file + 1);
    else
        snprintf(text, sizeof(text), "%.*s#%016" PRIx64, (int)sizeof(hello->name), hello->name, hello->session);
    return outlet_name(listener->gateway, text);
}

/* The payment gets its number here, and so a new seal; nothing else of it is touched, and it stays where the kernel put
 * it. */
static int send_payment(struct listener *listener, struct connection *connection, struct numapool_payment *payment)
{
    const uint32_t taken = NUMAPOOL_PAYMENT_COLLECTION | NUMAPOOL_PAYMENT_NOTICE | NUMAPOOL_PAYMENT_ACCOUNT_CUT | STREAM_BAD_TRACE;
    const uint64_t id = stream_payment_id(0, connection->file, connection->records);
    numapool_payment_set_id(payment, id);
    numapool_payment_seal(payment, numapool_payment_get_flags(payment) & taken);
    connection->sent++;
    listener->gateway->payments++;
    return outlet_send(listener->gateway, payment, STREAM_PAYMENT, id, connection->records);
}

/* A whole record, in a slot of ours. 0 or -1. */
static int take_record(struct listener *listener, struct connection *connection, void *slot, enum way way)
{
    const unsigned kind = ((const unsigned char *)slot)[STREAM_KIND_OFFSET];
    listener->ways[way]++;
    if (kind == STREAM_KIND_HELLO && !connection->is_named && stream_is_sound(slot)) {
        int result = name(listener, connection, slot);
        numapool_put(listener->gateway->magazine, slot);
        return result;
    }
    if (!connection->is_named && name(listener, connection, NULL) != 0) {
        numapool_put(listener->gateway->magazine, slot);
        return -1;
    }
    if (kind == STREAM_KIND_CLOSING && !connection->is_closed && stream_is_sound(slot)) {
        connection->is_closed = true;
        connection->line = connection->records + 1;
        memcpy(&connection->closing, slot, sizeof(connection->closing));
        numapool_put(listener->gateway->magazine, slot);
        return 0;
    }
    connection->records++;
    if (connection->records > STREAM_ORDINAL_MAX)
        return refuse(listener, connection, slot, "a connection carries at most 4,294,967,295 payments: refused");
    if (connection->is_closed)
        return refuse(listener, connection, slot, "a record after the closing one: refused");
    const uint32_t problems = numapool_payment_problems(slot);
    if ((problems & NUMAPOOL_PAYMENT_BAD_VERSION) != 0)
        return refuse(listener, connection, slot, "not a payment record: refused");
    if ((problems & NUMAPOOL_PAYMENT_BAD_CHECKSUM) != 0)
        return refuse(listener, connection, slot, "its checksum is wrong: refused");
    return send_payment(listener, connection, slot);
}

/* `bytes` that have come into a slot of their own. */
static int absorb(struct listener *listener, struct connection *connection, void *slot, unsigned bytes)
{
    if (connection->slot == NULL) {
        if (bytes == STREAM_RECORD_BYTES)
            return take_record(listener, connection, slot, IN_PLACE);
        connection->slot = slot;
        connection->have = bytes;
        connection->copied = false;
        return 0;
    }
    unsigned lacking = STREAM_RECORD_BYTES - connection->have, used = bytes < lacking ? bytes : lacking;
    void *whole = connection->slot;
    memcpy((char *)whole + connection->have, slot, used);
    connection->have += used;
    connection->copied = true;
    if (used < bytes) { /* and the next record's beginning, to the beginning of this slot */
        memmove(slot, (char *)slot + used, bytes - used);
        connection->slot = slot;
        connection->have = bytes - used;
        return take_record(listener, connection, whole, COPIED);
    }
    numapool_put(listener->gateway->magazine, slot);
    if (connection->have < STREAM_RECORD_BYTES)
        return 0;
    connection->slot = NULL;
    return take_record(listener, connection, whole, COPIED);
}

/* ---------------------------------------------------------------- connections */

static int finish(struct listener *listener, struct connection *connection)
{
    struct gateway *gateway = listener->gateway;
    int result = connection->is_named ? 0 : name(listener, connection, NULL);
    gateway->file = connection->file;
    if (result == 0 && connection->slot != NULL) {
        connection->records++;
        result = refuse(listener, connection, connection->slot, "the connection ended in the middle of this record: refused");
    }
    connection->slot = NULL;
    struct stream_file statement = { .file = connection->file, .has_control = connection->is_closed, .line = connection->line,
                                     .entries = connection->sent, .stated = connection->closing.totals };
    if (result == 0)
        result = outlet_state(gateway, STREAM_FILE, &statement);
    close(connection->socket);
    connection->used = false;
    listener->open--;
    return result;
}

/* What is to be done next with a connection. */
static int go_on(struct listener *listener, struct connection *connection)
{
    const size_t place = (size_t)(connection - listener->table);
    if (connection->receives) {
        if ((connection->slot != NULL || connection->at_end) && !connection->is_cancelled) {
            connection->is_cancelled = true;
            io_uring_prep_cancel64(request(listener, DEED_CANCEL, place), (uint64_t)place << 8 | DEED_RECEIVE, 0);
        }
        return 0;
    }
    if (connection->gets_rest)
        return 0;
    if (connection->at_end)
        return finish(listener, connection);
    if (connection->slot != NULL) {
        connection->gets_rest = true;
        io_uring_prep_recv(request(listener, DEED_REST, place), connection->socket, (char *)connection->slot + connection->have,
                           STREAM_RECORD_BYTES - connection->have, MSG_WAITALL);
        return 0;
    }
    if (listener->slots.vacant_count == listener->slots.count)
        return 0; /* there are no slots: it waits */
    connection->receives = true;
    connection->is_cancelled = false;
    numapool_prep_receive(request(listener, DEED_RECEIVE, place), &listener->slots, connection->socket);
    return 0;
}

static void accept_next(struct listener *listener)
{
    if (listener->accepts || listener->accept_pauses || listener->open == CONNECTIONS_MAX || listener->connections == STREAM_FILES_MAX ||
        (listener->options->connections > 0 && listener->connections >= listener->options->connections))
        return;
    listener->accepts = true;
    io_uring_prep_accept(request(listener, DEED_ACCEPT, 0), listener->socket, NULL, NULL, SOCK_CLOEXEC);
}

static void welcome(struct listener *listener, int socket)
{
    struct connection *connection = listener->table;
    while (connection->used)
        connection++;
    *connection = (struct connection){ .used = true, .socket = socket, .file = listener->connections++ };
    listener->open++;
}

/* ---------------------------------------------------------------- completions */

static int received(struct listener *listener, struct connection *connection, const struct io_uring_cqe *completion)
{
    void *slot = numapool_bufring_take(&listener->slots, completion);
    if ((completion->flags & IORING_CQE_F_MORE) == 0)
        connection->receives = false;
    if (completion->res > 0 && slot != NULL)
        return absorb(listener, connection, slot, (unsigned)completion->res);
    if (slot != NULL)
        numapool_put(listener->gateway->magazine, slot);
    if (completion->res == -EINVAL) { /* of no connection's making */
        fprintf(stderr, "gateway: this kernel has no multishot receive: %s\n", numapool_ring_refusal(completion->res));
        return -1;
    }
    if (completion->res == -ENOBUFS)
        listener->lacks_slots = true;
    else if (completion->res != -ECANCELED && completion->res != -EINTR && completion->res != -EAGAIN)
        connection->at_end = true; /* the end, or an error of this connection */
    return 0;
}

static int got_rest(struct listener *listener, struct connection *connection, int result)
{
    connection->gets_rest = false;
    if (result <= 0 && result != -EINTR && result != -EAGAIN)
        connection->at_end = true;
    if (result > 0)
        connection->have += (unsigned)result;
    if (connection->have < STREAM_RECORD_BYTES)
        return 0;
    void *whole = connection->slot;
    connection->slot = NULL;
    return take_record(listener, connection, whole, connection->copied ? COPIED : COMPLETED);
}

static int handle(struct listener *listener, const struct io_uring_cqe *completion)
{
    struct connection *connection = &listener->table[completion->user_data >> 8];
    int result = 0;
    switch ((enum deed)(completion->user_data & 0xff)) {
    case DEED_ACCEPT:
        listener->accepts = false;
        if (completion->res >= 0)
            welcome(listener, completion->res);
        else
            listener->accept_pauses = completion->res != -ECONNABORTED && completion->res != -EINTR; /* no descriptor is left, say */
        return 0;
    case DEED_RECEIVE:
        result = received(listener, connection, completion);
        break;
    case DEED_REST:
        result = got_rest(listener, connection, completion->res);
        break;
    case DEED_CANCEL:
        return 0;
    }
    return result;
}

/* The kernel gets slots again: those that receivers have given back, too. */
static void fill(struct listener *listener)
{
    if (numapool_bufring_fill(&listener->slots) > 0)
        return;
    void *slot = numapool_loan(listener->gateway->sender);
    if (slot != NULL && numapool_put(listener->gateway->magazine, slot) == 0)
        numapool_bufring_fill(&listener->slots);
}

/* Waits a while for completions, and sees to all there are. */
static int take_turn(struct listener *listener)
{
    struct __kernel_timespec patience = { .tv_nsec = listener->lacks_slots ? 1000000 : SESSION_WAIT_NS };
    struct io_uring_cqe *completion;
    listener->lacks_slots = false;
    int result = io_uring_submit_and_wait_timeout(&listener->ring, &completion, 1, &patience, NULL);
    if (result < 0 && result != -ETIME && result != -EINTR && result != -EAGAIN && result != -EBUSY) {
        fprintf(stderr, "gateway: waiting for connections: %s: %s\n", strerror(-result), numapool_ring_refusal(result));
        return -1;
    }
    if (result == -ETIME)
        listener->accept_pauses = false;
    while (io_uring_peek_cqe(&listener->ring, &completion) == 0) {
        struct io_uring_cqe copy = *completion;
        io_uring_cqe_seen(&listener->ring, completion);
        if (handle(listener, &copy) != 0)
            return -1;
    }
    return 0;
}

static int serve(struct listener *listener)
{
    while (!session_stopping && (listener->options->connections == 0 || listener->open > 0 ||
                                 listener->connections < listener->options->connections)) {
        accept_next(listener);
        if (take_turn(listener) != 0)
            return -1;
        fill(listener);
        for (size_t i = 0; i < CONNECTIONS_MAX; i++)
            if (listener->table[i].used && go_on(listener, &listener->table[i]) != 0)
                return -1;
        if (outlet_flush(listener->gateway) != 0)
            return -1;
    }
    return 0;
}

/* ---------------------------------------------------------------- begin and end */

static bool is_idle(const struct listener *listener)
{
    bool busy = listener->accepts;
    for (size_t i = 0; i < CONNECTIONS_MAX; i++)
        busy |= listener->table[i].used && (listener->table[i].receives || listener->table[i].gets_rest);
    return !busy;
}

/* Takes everything back from the kernel. What had come by then is sent on. */
static int settle(struct listener *listener)
{
    int result = 0;
    io_uring_prep_cancel64(request(listener, DEED_CANCEL, 0), 0, IORING_ASYNC_CANCEL_ALL | IORING_ASYNC_CANCEL_ANY);
    for (unsigned tries = 0; result == 0 && !is_idle(listener) && tries < TURNS_TO_SETTLE; tries++)
        result = take_turn(listener);
    int closed = numapool_bufring_close(&listener->slots);
    if (closed != 0)
        fprintf(stderr, "gateway: the ring of slots cannot be closed: %s\n", strerror(-closed));
    io_uring_queue_exit(&listener->ring);
    return closed != 0 || !is_idle(listener) ? -1 : result;
}

static int prepare(struct listener *listener)
{
    struct gateway *gateway = listener->gateway;
    const char *what = "an io_uring";
    int result = io_uring_queue_init(RING_ENTRIES, &listener->ring, IORING_SETUP_CLAMP);
    if (result == 0) {
        /* Should this process be killed, its slots wait until the kernel writes into none of them. */
        what = "the I/O token";
        result = numapool_ring_guard(gateway->session.client, &listener->ring);
        if (result == 0) {
            what = "a ring of slots";
            result = numapool_bufring_open(&listener->slots, &listener->ring, gateway->session.pool, gateway->magazine, SLOTS_OFFERED,
                                           GROUP, STREAM_RECORD_BYTES);
        }
        if (result != 0)
            io_uring_queue_exit(&listener->ring);
    }
    if (result != 0)
        fprintf(stderr, "gateway: cannot make %s (%s): %s\n", what, strerror(-result), numapool_ring_refusal(result));
    return result;
}

static int say_ready(const struct listening *options, uint16_t port)
{
    char text[16];
    int length = snprintf(text, sizeof(text), "%u\n", port);
    fprintf(stderr, "gateway: listening on port %u\n", port);
    if (options->ready_fd != 0 && (write((int)options->ready_fd, text, (size_t)length) != length || close((int)options->ready_fd) != 0)) {
        fprintf(stderr, "gateway: --ready-fd: %s\n", strerror(errno));
        return -1;
    }
    return 0;
}

int listen_for_payments(struct gateway *gateway, const struct listening *options)
{
    static struct listener listener;
    struct timespec now;
    uint16_t port;
    listener = (struct listener){ .gateway = gateway, .options = options };
    clock_gettime(CLOCK_REALTIME, &now);
    gateway->started_ns = (int64_t)now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
    listener.socket = tcp_listen("gateway", options->address, &port);
    if (listener.socket < 0 || prepare(&listener) != 0)
        return -1;
    int result = say_ready(options, port);
    if (result == 0)
        result = serve(&listener);
    if (settle(&listener) != 0)
        result = -1;
    for (size_t i = 0; result == 0 && i < CONNECTIONS_MAX; i++)
        if (listener.table[i].used)
            result = finish(&listener, &listener.table[i]);
    close(listener.socket);
    fprintf(stderr,
            "gateway: %" PRIu32 " connections; records: %" PRIu64 " came whole into a slot, %" PRIu64 " were completed in it, %" PRIu64
            " copied; %" PRIu64 " refused\n",
            listener.connections, listener.ways[IN_PLACE], listener.ways[COMPLETED], listener.ways[COPIED], listener.refused);
    struct stream_end end = { .files = listener.connections, .repeats = 1, .payments = gateway->payments,
                              .statements = gateway->statements + 1 };
    return result != 0 || outlet_state(gateway, STREAM_END, &end) != 0 || outlet_flush(gateway) != 0 ? -1 : 0;
}
