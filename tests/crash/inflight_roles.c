/* SPDX-License-Identifier: MIT */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "inflight_roles.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "numapool/uring.h"

static int wrong(struct trial *trial, const char *what, int code)
{
    snprintf(trial->told->sentence, sizeof trial->told->sentence, "%s: %s (%s)", what, strerror(-code), numapool_errormsg());
    SET(trial->told->wrong, 1);
    return 1;
}

/* ---------------------------------------------------------------- the client */

struct client {
    struct numapool_client *client;
    struct numapool_pool *pool;
    struct numapool_magazine *magazine;
    struct numapool_sender *sender;
    struct numapool_receiver *receiver;
    struct numapool_msg messages[MESSAGES];
    struct io_uring ring;
};

static int open_client(struct trial *trial, struct client *client)
{
    int result = numapool_connect(&client->client, trial->daemon.socket);
    if (result == 0)
        result = numapool_open(client->client, "io", 0, &client->pool);
    if (result == 0)
        result = numapool_magazine_open(client->pool, NUMAPOOL_ANY_NODE, 1, &client->magazine);
    if (result == 0)
        result = numapool_sender_open(client->pool, "in", NULL, &client->sender);
    if (result == 0)
        result = numapool_receiver_open(client->pool, "in", NULL, &client->receiver);
    for (uint64_t i = 0; result == 0 && i < MESSAGES; i++) {
        struct numapool_msg message = { .data = numapool_loan(client->sender), .length = 8, .id = i };
        result = numapool_send(client->sender, &message, 0);
    }
    if (result == 0)
        result = numapool_receive(client->receiver, client->messages, MESSAGES, 0) == MESSAGES ? 0 : -EAGAIN;
    if (result == 0)
        result = io_uring_queue_init(256, &client->ring, 0);
    if (result == 0 && trial->guarded)
        result = numapool_ring_guard(client->client, &client->ring);
    if (result == 0)
        result = numapool_ring_buffers(client->pool, &client->ring, 0);
    SET(trial->told->client, numapool_client_id(client->client));
    return result < 0 ? result : 0;
}

static int read_slowly(struct trial *trial, struct client *client)
{
    int file = open(trial->slow.path, O_RDONLY | O_DIRECT | O_CLOEXEC);
    if (file < 0)
        return -errno;
    for (int i = 0; i < READS; i++) {
        void *slot = numapool_get(client->magazine);
        int result = slot ? numapool_prep_read(io_uring_get_sqe(&client->ring), client->pool, file, slot, 0, SLOT_BYTES,
                                               (int64_t)i * SLOT_BYTES) : -ENOSPC;
        if (result < 0)
            return result;
    }
    int submitted = io_uring_submit(&client->ring);
    return submitted == READS ? 0 : -EIO;
}

static int send_to_the_deaf(struct trial *trial, struct client *client)
{
    for (int i = 0; i < SENDS; i++) {
        void *slot = numapool_get(client->magazine);
        if (!slot)
            return -ENOSPC;
        memset(slot, SENT_BYTE, SLOT_BYTES);
        int result = numapool_prep_send_zc(io_uring_get_sqe(&client->ring), client->pool, trial->socket, slot, 0, SLOT_BYTES, MSG_WAITALL);
        if (result < 0)
            return result;
        /* one after the other: a full socket takes the rest of each later, and in their order */
        result = io_uring_submit_and_wait(&client->ring, 1);
        struct io_uring_cqe *seen;
        if (result < 0 || io_uring_wait_cqe(&client->ring, &seen) < 0 || seen->res < 0)
            return -EIO;
        io_uring_cqe_seen(&client->ring, seen);
    }
    return 0;
}

/* For ever: what comes is put back at once, so that the kernel always has other slots. */
static int receive_for_ever(struct trial *trial, struct client *client)
{
    struct numapool_bufring bufring;
    struct io_uring_cqe *seen;
    int result = numapool_bufring_open(&bufring, &client->ring, client->pool, client->magazine, BUFFERS, GROUP, 0);
    if (result < 0)
        return result;
    for (bool armed = false;;) {
        if (numapool_bufring_fill(&bufring) > 0 && !armed) {
            numapool_prep_receive(io_uring_get_sqe(&client->ring), &bufring, trial->socket);
            armed = true;
        }
        result = io_uring_submit_and_wait(&client->ring, 1);
        if (result < 0 || (result = io_uring_wait_cqe(&client->ring, &seen)) < 0)
            return result;
        SET(trial->told->step, 1);
        void *slot = numapool_bufring_take(&bufring, seen);
        armed = armed && (seen->flags & IORING_CQE_F_MORE) != 0;
        if (seen->res < 0 && seen->res != -ENOBUFS)
            return seen->res;
        io_uring_cqe_seen(&client->ring, seen);
        if (slot)
            numapool_put(client->magazine, slot);
    }
}

/* A child that outlives the client, with all its descriptors or without those that matter. */
static int fork_child(struct trial *trial, struct client *client, bool cleanly)
{
    pid_t child = fork();
    if (child == 0) {
        if (cleanly && (numapool_child() < 2 || close(client->ring.ring_fd) != 0))
            _exit(1);
        SET(trial->told->child, getpid());
        for (;;)
            pause();
    }
    while (GET(trial->told->child) == 0)
        harness_sleep_ns(1000000);
    return child < 0 ? -errno : 0;
}

/* Leaves the daemon in good order and lives on, its ring with it. */
static int leave(struct client *client)
{
    int result = numapool_receiver_close(client->receiver);
    if (result == 0)
        result = numapool_sender_close(client->sender, 0);
    if (result >= 0)
        result = numapool_magazine_close(client->magazine);
    if (result == 0)
        result = numapool_close(client->pool);
    return result == 0 ? numapool_disconnect(client->client) : result;
}

int inflight_client(void *context)
{
    struct trial *trial = context;
    static struct client client;
    int result = open_client(trial, &client);
    for (int i = 0; result == 0 && i < READS && trial->deed >= SHARES_ITS_RING; i++)
        result = numapool_get(client.magazine) ? 0 : -ENOSPC; /* which stay away as long as the ring does */
    if (result == 0 && trial->deed == READS_SLOWLY)
        result = read_slowly(trial, &client);
    if (result == 0 && trial->deed == SENDS_TO_THE_DEAF)
        result = send_to_the_deaf(trial, &client);
    if (result == 0 && trial->deed == RECEIVES)
        result = receive_for_ever(trial, &client);
    if (result == 0 && trial->deed == SHARES_ITS_RING)
        SET(trial->told->child, client.ring.ring_fd);
    if (result == 0 && (trial->deed == FORKS || trial->deed == FORKS_CLEANLY))
        result = fork_child(trial, &client, trial->deed == FORKS_CLEANLY);
    if (result == 0 && trial->deed == LEAVES)
        result = leave(&client);
    if (result < 0)
        return wrong(trial, "the client", result);
    SET(trial->told->step, 1);
    if (trial->deed == BECOMES_ANOTHER) {
        execl("/bin/sleep", "sleep", "60", (char *)NULL);
        return wrong(trial, "execl", -errno);
    }
    while (!GET(trial->told->go_on))
        harness_sleep_ns(1000000);
    io_uring_queue_exit(&client.ring);
    SET(trial->told->step, 2);
    for (;;)
        pause();
}

/* ---------------------------------------------------------------- the taker */

static int count_foreign(void *const *slots, int count)
{
    int foreign = 0;
    uint64_t pattern;
    memset(&pattern, PATTERN, sizeof pattern);
    for (int i = 0; i < count; i++)
        for (int at = 0; at < SLOT_BYTES / 8; at++)
            foreign += ((volatile uint64_t *)slots[i])[at] != pattern;
    return foreign;
}

/* Takes whatever it can get, again and again; watches all it has; gives it back when told. */
int inflight_taker(void *context)
{
    struct trial *trial = context;
    static void *slots[SLOTS];
    struct numapool_client *client;
    struct numapool_pool *pool;
    struct numapool_magazine *magazine;
    struct numapool_receiver *receiver;
    struct numapool_msg message;
    int result = numapool_connect(&client, trial->daemon.socket);
    if (result == 0)
        result = numapool_open(client, "io", 0, &pool);
    if (result == 0)
        result = numapool_magazine_open(pool, NUMAPOOL_ANY_NODE, 1, &magazine);
    if (result == 0)
        result = numapool_receiver_open(pool, "in", NULL, &receiver);
    if (result < 0)
        return wrong(trial, "the taker", result);
    int count = 0;
    while (GET(trial->told->take) != 2) {
        for (void *slot; count < SLOTS && (slot = numapool_get(magazine)) != NULL; count++)
            memset(slots[count] = slot, PATTERN, SLOT_BYTES);
        while (numapool_receive(receiver, &message, 1, 0) == 1) {
            numapool_release(receiver, &message, 1);
            atomic_fetch_add_explicit(&trial->told->received, 1, memory_order_acq_rel);
        }
        SET(trial->told->foreign, GET(trial->told->foreign) | count_foreign(slots, count));
        SET(trial->told->taken, count);
        struct numapool_stats stats = { .size = sizeof stats };
        if (numapool_stats_read(pool, NUMAPOOL_ANY_NODE, &stats) == 0)
            SET(trial->told->quarantined, (int)stats.quarantined);
        harness_sleep_ns(2000000);
    }
    for (int i = 0; i < count; i++)
        numapool_put(magazine, slots[i]);
    numapool_receiver_close(receiver);
    numapool_magazine_close(magazine);
    numapool_close(pool);
    result = numapool_disconnect(client);
    return result < 0 ? wrong(trial, "the taker leaving", result) : 0;
}

/* ---------------------------------------------------------------- the token itself */

int inflight_token(void *context)
{
    struct trial *trial = context;
    struct numapool_client *client;
    int result = numapool_connect(&client, trial->daemon.socket), first = numapool_io_token(client), second = numapool_io_token(client);
    if (result < 0 || first < 0 || second != first || fcntl(first, F_GETFD) != FD_CLOEXEC)
        return wrong(trial, "the same token, close-on-exec", first);
    pid_t worker = harness_daemon_worker(&trial->daemon);
    kill(worker, SIGKILL);
    if (numapool_io_token(client) != first)
        return wrong(trial, "the same with another worker", 0);
    int other = open("/dev/null", O_RDONLY | O_CLOEXEC);
    dup3(other, first, O_CLOEXEC); /* a program that closed all it had, and opened others */
    int third = numapool_io_token(client);
    if (third < 0 || third == first)
        return wrong(trial, "another for one that was closed", third);
    result = numapool_disconnect(client);
    if (result < 0 || fcntl(third, F_GETFD) != -1 || fcntl(first, F_GETFD) == -1)
        return wrong(trial, "closed at the end, and nothing else with it", result);
    return 0;
}
