/* SPDX-License-Identifier: MIT */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "replies.h"

#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "numapool/uring.h"
#include "tcp.h"

enum { CONNECTIONS_MAX = 64, RING_ENTRIES = 256, SLOTS_MAX = 512, HELD_MAX = 65536, TURNS_MAX = 64, UNREAD_SLOTS_MAX = 256, NOBODY = UINT16_MAX };
#define LAST_PATIENCE_NS   INT64_C(5000000000)
#define UNREAD_PATIENCE_NS INT64_C(2000000000)

/* The low byte of a completion's user data; above it a connection's or a slot's place. */
enum deed { DEED_ACCEPT = 1, DEED_HELLO, DEED_ECHO, DEED_SEND };

/* A slot with replies, from its first one until the kernel has let go of it. */
struct parcel {
    void *slot;         /* NULL: this entry is vacant */
    unsigned bytes, sent;
    unsigned notices;   /* completions with IORING_CQE_F_NOTIF that are still to come */
    bool is_over;       /* nothing more of it is to be sent */
    uint16_t connection;
    uint16_t next;      /* on its connection */
};

struct connection {
    bool used, is_heard, fails;
    int socket;
    unsigned pending;   /* requests that name it */
    uint64_t session;
    uint32_t file;      /* UINT32_MAX: not known yet */
    uint16_t filling;   /* parcel, or NOBODY */
    uint16_t first, last; /* to be sent, in order; the first of them is being sent when `sends` */
    bool sends;
    unsigned waiting;
    uint64_t bytes;     /* sent */
};

struct replies {
    const struct session *session;
    struct numapool_magazine *magazine;
    struct io_uring ring;
    bool has_zero_copy, has_fixed_buffers;
    int socket;
    bool accepts;
    unsigned under_way; /* parcels */
    uint64_t sent, dropped;
    struct connection connections[CONNECTIONS_MAX];
    struct parcel parcels[SLOTS_MAX];
    struct known { /* the gateway's connections, by number */
        uint64_t session;
        bool is_named;
    } *known;
    struct held { /* replies to connections whose names are still to come: by another lane, which is later */
        uint32_t file;
        struct stream_reply reply;
    } *held;
    size_t held_count;
};

static struct io_uring_sqe *request(struct replies *replies, enum deed deed, size_t place)
{
    struct io_uring_sqe *entry = io_uring_get_sqe(&replies->ring);
    while (entry == NULL) {
        io_uring_submit(&replies->ring);
        entry = io_uring_get_sqe(&replies->ring);
    }
    io_uring_sqe_set_data64(entry, (uint64_t)place << 8 | (uint64_t)deed);
    return entry;
}

/* ---------------------------------------------------------------- parcels */

static void put_back(struct replies *replies, struct parcel *parcel)
{
    if (!parcel->is_over || parcel->notices > 0)
        return;
    numapool_put(replies->magazine, parcel->slot);
    parcel->slot = NULL;
    replies->under_way--;
}

static void send_first(struct replies *replies, struct connection *connection)
{
    struct parcel *parcel = &replies->parcels[connection->first];
    const size_t place = (size_t)(parcel - replies->parcels);
    struct io_uring_sqe *entry = request(replies, DEED_SEND, place);
    connection->sends = true;
    connection->pending++;
    if (replies->has_zero_copy && !replies->has_fixed_buffers)
        io_uring_prep_send_zc(entry, connection->socket, (char *)parcel->slot + parcel->sent, parcel->bytes - parcel->sent, MSG_NOSIGNAL, 0);
    else if (replies->has_zero_copy)
        numapool_prep_send_zc(entry, replies->session->pool, connection->socket, parcel->slot, parcel->sent, parcel->bytes - parcel->sent,
                              MSG_NOSIGNAL);
    else
        io_uring_prep_send(entry, connection->socket, (char *)parcel->slot + parcel->sent, parcel->bytes - parcel->sent, MSG_NOSIGNAL);
}

/* Its turn is over: what was sent of it was sent. */
static void finish_first(struct replies *replies, struct connection *connection)
{
    struct parcel *parcel = &replies->parcels[connection->first];
    connection->first = parcel->next;
    connection->waiting--;
    parcel->is_over = true;
    put_back(replies, parcel);
}

static void queue_filling(struct replies *replies, struct connection *connection)
{
    const uint16_t place = connection->filling;
    if (place == NOBODY)
        return;
    connection->filling = NOBODY;
    replies->parcels[place].next = NOBODY;
    if (connection->first == NOBODY)
        connection->first = place;
    else
        replies->parcels[connection->last].next = place;
    connection->last = place;
    connection->waiting++;
}

static void close_connection(struct replies *replies, struct connection *connection)
{
    queue_filling(replies, connection);
    while (connection->first != NOBODY) {
        struct parcel *parcel = &replies->parcels[connection->first];
        replies->dropped += (parcel->bytes - parcel->sent) / sizeof(struct stream_reply);
        finish_first(replies, connection);
    }
    close(connection->socket);
    connection->used = false;
}

/* ---------------------------------------------------------------- connections */

static void accept_next(struct replies *replies)
{
    unsigned vacant = 0;
    for (size_t i = 0; i < CONNECTIONS_MAX; i++)
        vacant += !replies->connections[i].used;
    if (replies->accepts || vacant == 0)
        return;
    replies->accepts = true;
    io_uring_prep_accept(request(replies, DEED_ACCEPT, 0), replies->socket, NULL, NULL, SOCK_CLOEXEC);
}

static void welcome(struct replies *replies, int socket)
{
    struct connection *connection = replies->connections;
    int one = 1;
    while (connection->used)
        connection++;
    setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)); /* a reply is not to wait for the next */
    *connection = (struct connection){ .used = true, .socket = socket, .file = UINT32_MAX, .filling = NOBODY, .first = NOBODY,
                                       .last = NOBODY, .pending = 1 };
    io_uring_prep_recv(request(replies, DEED_HELLO, (size_t)(connection - replies->connections)), socket, &connection->session,
                       sizeof(connection->session), MSG_WAITALL);
}

static void hear(struct replies *replies, struct connection *connection, int result)
{
    connection->fails |= result != (int)sizeof(connection->session);
    if (connection->fails)
        return;
    connection->is_heard = true;
    for (uint32_t file = 0; file < STREAM_FILES_MAX; file++)
        if (replies->known[file].session == connection->session && connection->session != 0)
            connection->file = file;
    connection->pending++;
    io_uring_prep_send(request(replies, DEED_ECHO, (size_t)(connection - replies->connections)), connection->socket, &connection->session,
                       sizeof(connection->session), MSG_NOSIGNAL | MSG_WAITALL);
}

void replies_name(struct replies *replies, uint32_t file, const char *name)
{
    const char *mark = strrchr(name, '#');
    uint64_t session;
    size_t kept = 0;
    if (file >= STREAM_FILES_MAX)
        return;
    if (mark == NULL || sscanf(mark, "#%16" SCNx64, &session) != 1)
        session = 0;
    replies->known[file] = (struct known){ session, true };
    for (size_t i = 0; i < CONNECTIONS_MAX && session != 0; i++)
        if (replies->connections[i].used && replies->connections[i].is_heard && replies->connections[i].session == session)
            replies->connections[i].file = file;
    for (size_t i = 0; i < replies->held_count; i++)
        if (replies->held[i].file == file)
            replies_add(replies, file, &replies->held[i].reply);
        else
            replies->held[kept++] = replies->held[i];
    replies->held_count = kept;
}

/* A vacant parcel with a slot; NOBODY: the pool is empty, or so much is under way already. */
static uint16_t begin_parcel(struct replies *replies, uint16_t connection)
{
    for (uint16_t i = 0; i < SLOTS_MAX; i++) {
        if (replies->parcels[i].slot != NULL)
            continue;
        void *slot = numapool_get(replies->magazine);
        if (slot == NULL)
            return NOBODY;
        replies->parcels[i] = (struct parcel){ .slot = slot, .connection = connection, .next = NOBODY };
        replies->under_way++;
        return i;
    }
    return NOBODY;
}

/* A slot for the connection's next replies. Waits while it has too many unread, or all slots are under way, as long as it
 * reads: who does not would hold up everybody's payments. */
static bool begin_filling(struct replies *replies, struct connection *connection)
{
    const struct timespec pause = { .tv_nsec = 200000 };
    int64_t since_ns = session_now_ns();
    uint64_t seen = connection->bytes;
    const uint32_t file = connection->file;
    for (;;) {
        if (connection->waiting <= UNREAD_SLOTS_MAX)
            connection->filling = begin_parcel(replies, (uint16_t)(connection - replies->connections));
        if (connection->filling != NOBODY)
            return true;
        replies_run(replies); /* slots come back as peers read */
        if (connection->fails || connection->file != file || session_now_ns() - since_ns > UNREAD_PATIENCE_NS)
            return false;
        if (connection->bytes != seen) {
            seen = connection->bytes;
            since_ns = session_now_ns();
        }
        nanosleep(&pause, NULL);
    }
}

void replies_add(struct replies *replies, uint32_t file, const struct stream_reply *reply)
{
    struct connection *connection = replies->connections;
    if (file < STREAM_FILES_MAX && !replies->known[file].is_named && replies->held_count < HELD_MAX) {
        replies->held[replies->held_count++] = (struct held){ file, *reply };
        return;
    }
    while (connection < replies->connections + CONNECTIONS_MAX && !(connection->used && connection->is_heard && connection->file == file))
        connection++;
    if (connection == replies->connections + CONNECTIONS_MAX || connection->fails) {
        replies->dropped++;
        return;
    }
    if (connection->filling == NOBODY && !begin_filling(replies, connection)) {
        if (!connection->fails && connection->file == file)
            fprintf(stderr, "ledger: a sender does not read its replies, and gets no more\n");
        connection->fails |= connection->file == file;
        replies->dropped++;
        return;
    }
    struct parcel *parcel = &replies->parcels[connection->filling];
    memcpy((char *)parcel->slot + parcel->bytes, reply, sizeof(*reply));
    parcel->bytes += (unsigned)sizeof(*reply);
    replies->sent++;
    if (parcel->bytes == STREAM_RECORD_BYTES)
        queue_filling(replies, connection);
}

/* ---------------------------------------------------------------- running */

static void sent(struct replies *replies, struct parcel *parcel, const struct io_uring_cqe *completion)
{
    struct connection *connection = &replies->connections[parcel->connection];
    if ((completion->flags & IORING_CQE_F_NOTIF) != 0) {
        parcel->notices--;
        put_back(replies, parcel);
        return;
    }
    connection->pending--;
    connection->sends = false;
    if ((completion->flags & IORING_CQE_F_MORE) != 0)
        parcel->notices++;
    if (completion->res > 0) {
        parcel->sent += (unsigned)completion->res;
        connection->bytes += (unsigned)completion->res;
    } else if (completion->res == -ENOMEM && replies->has_zero_copy) {
        replies->has_zero_copy = false; /* this user may lock no more (RLIMIT_MEMLOCK counts for all his processes): by copying, from now on */
    } else if (completion->res != -EINTR && completion->res != -EAGAIN) {
        connection->fails = true;
    }
    if (parcel->sent == parcel->bytes)
        finish_first(replies, connection);
}

static void handle(struct replies *replies, const struct io_uring_cqe *completion)
{
    const size_t place = completion->user_data >> 8;
    switch ((enum deed)(completion->user_data & 0xff)) {
    case DEED_ACCEPT:
        replies->accepts = false;
        if (completion->res >= 0)
            welcome(replies, completion->res);
        break;
    case DEED_HELLO:
        replies->connections[place].pending--;
        hear(replies, &replies->connections[place], completion->res);
        break;
    case DEED_ECHO:
        replies->connections[place].pending--;
        replies->connections[place].fails |= completion->res != (int)sizeof(uint64_t);
        break;
    case DEED_SEND:
        sent(replies, &replies->parcels[place], completion);
        break;
    }
}

/* One round of sends; how many completions there were. */
static unsigned take_turn(struct replies *replies)
{
    struct io_uring_cqe *completion;
    unsigned count = 0;
    accept_next(replies);
    for (size_t i = 0; i < CONNECTIONS_MAX; i++) {
        struct connection *connection = &replies->connections[i];
        if (!connection->used)
            continue;
        if (connection->fails && connection->pending == 0) {
            close_connection(replies, connection);
            continue;
        }
        queue_filling(replies, connection);
        if (!connection->sends && !connection->fails && connection->first != NOBODY)
            send_first(replies, connection);
    }
    io_uring_submit(&replies->ring);
    for (; io_uring_peek_cqe(&replies->ring, &completion) == 0; count++) {
        struct io_uring_cqe copy = *completion;
        io_uring_cqe_seen(&replies->ring, completion);
        handle(replies, &copy);
    }
    return count;
}

void replies_run(struct replies *replies)
{
    /* A send to a peer who reads is done at once, and the next of that connection may follow: replies keep their order. */
    for (unsigned turns = 0; turns < TURNS_MAX && take_turn(replies) > 0; turns++)
        continue;
}

bool replies_are_busy(const struct replies *replies)
{
    return replies->under_way > 0;
}

/* ---------------------------------------------------------------- begin and end */

static int prepare(struct replies *replies, bool copies)
{
    const char *what = "an io_uring";
    int result = io_uring_queue_init(RING_ENTRIES, &replies->ring, IORING_SETUP_CLAMP);
    if (result == 0) {
        what = "the I/O token";
        result = numapool_ring_guard(replies->session->client, &replies->ring);
        replies->has_zero_copy = !copies && numapool_ring_can(&replies->ring, IORING_OP_SEND_ZC);
        if (result == 0 && replies->has_zero_copy) {
            what = "fixed buffers";
            result = numapool_ring_buffers(replies->session->pool, &replies->ring, 0);
            replies->has_fixed_buffers = result > 0;
            if (result == -ENOMEM) /* the payload may not be locked as a whole (RLIMIT_MEMLOCK): each send pins its page */
                result = 0;
        }
        if (result < 0)
            io_uring_queue_exit(&replies->ring);
    }
    if (result < 0)
        fprintf(stderr, "ledger: cannot make %s for replies (%s): %s\n", what, strerror(-result), numapool_ring_refusal(result));
    return result < 0 ? -1 : 0;
}

static void release_memory(struct replies *replies)
{
    if (replies != NULL) {
        free(replies->known);
        free(replies->held);
    }
    free(replies);
}

struct replies *replies_open(const struct session *session, const char *where, bool copies, uint16_t *port)
{
    struct replies *replies = calloc(1, sizeof(*replies));
    if (replies != NULL) {
        replies->known = calloc(STREAM_FILES_MAX, sizeof(*replies->known));
        replies->held = calloc(HELD_MAX, sizeof(*replies->held));
    }
    if (replies == NULL || replies->known == NULL || replies->held == NULL) {
        fprintf(stderr, "ledger: no memory for replies\n");
        release_memory(replies);
        return NULL;
    }
    replies->session = session;
    replies->socket = tcp_listen("ledger", where, port);
    if (replies->socket >= 0 && numapool_magazine_open(session->pool, NUMAPOOL_ANY_NODE, 0, &replies->magazine) != 0)
        session_complain(session, "opening a magazine for replies");
    if (replies->magazine != NULL && prepare(replies, copies) == 0) {
        fprintf(stderr, "ledger: replies on port %u, %s\n", *port, replies->has_zero_copy ? "without a copy" : "copied");
        return replies;
    }
    if (replies->magazine != NULL)
        numapool_magazine_close(replies->magazine);
    if (replies->socket >= 0)
        close(replies->socket);
    release_memory(replies);
    return NULL;
}

void replies_close(struct replies *replies)
{
    const struct timespec pause = { .tv_nsec = 1000000 };
    const int64_t until_ns = session_now_ns() + LAST_PATIENCE_NS;
    for (;;) {
        replies_run(replies);
        for (size_t i = 0; i < CONNECTIONS_MAX; i++) {
            struct connection *connection = &replies->connections[i];
            if (connection->used && connection->first == NOBODY && connection->filling == NOBODY)
                shutdown(connection->socket, SHUT_WR); /* the end, after the last reply */
        }
        if (replies->under_way == 0 || session_now_ns() >= until_ns)
            break;
        nanosleep(&pause, NULL);
    }
    fprintf(stderr, "ledger: %" PRIu64 " replies, %" PRIu64 " for nobody\n", replies->sent, replies->dropped);
    close(replies->socket);
    for (size_t i = 0; i < CONNECTIONS_MAX; i++)
        if (replies->connections[i].used)
            close(replies->connections[i].socket);
    io_uring_queue_exit(&replies->ring);
    /* A slot of which the kernel has not let go is not put back: it stays ours until the daemon knows by the token that
     * it may go. */
    numapool_magazine_close(replies->magazine);
    release_memory(replies);
}
