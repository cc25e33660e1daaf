/* SPDX-License-Identifier: MIT
 *
 * A client is dead when the kernel says that its process is gone (its pidfd is readable: all threads have ended). Nothing
 * else makes it dead, except this: a process may become another program (execve), which drops the mappings and, the
 * socket being close-on-exec, the connection, while the pidfd stays silent. So when a connection is lost the process's
 * mappings are looked at: as long as anything of the client's is mapped, or cannot be seen, it lives.
 *
 * A client maps its account before it asks for the memory of a pool, and unmaps it last. So an account that is not
 * mapped means that none of the pool's slots can be touched any more. It is looked for several times before that is believed,
 * because the daemon may have answered POOL_OPEN and the client not yet got around to mapping.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "core/bell.h"
#include "core/error.h"
#include "daemon/worker.h"

#define FIRST_CHECK_NS    INT64_C(1000000)
#define STEADY_CHECK_NS   INT64_C(1000000000)
#define BETWEEN_CHECKS_NS INT64_C(1000000) /* so that looking at thousands does not keep the worker from its work */
#define TAKEN_OVER_CHECK_NS STEADY_CHECK_NS /* after a worker's death everybody gets so long to connect again */

enum { MISSES_TO_BE_GONE = 3, UNREADABLE_MAX = 16 /* looked at in one go */ };

static void death_heard(struct np_operation *operation, int result);

static struct np_store_key pidfd_key(uint32_t client)
{
    return (struct np_store_key){ NP_STORE_PIDFD, client, 0 };
}

static struct np_client_entry *entry_of(const struct np_watch *watch)
{
    return &watch->worker->board.clients[watch->client];
}

/* ---------------------------------------------------------------- watches */

static struct np_watch *take_watch(struct np_worker *worker, uint32_t client)
{
    struct np_watch *watch = worker->free_watches;
    if (!watch)
        return NULL;
    worker->free_watches = watch->next_free;
    watch->client = client;
    watch->connection = NULL;
    watch->check_at_ns = INT64_MAX;
    watch->checks = watch->misses = 0;
    watch->death.done = death_heard;
    worker->watch_of[client] = watch;
    return watch;
}

static void put_watch(struct np_watch *watch)
{
    watch->next_free = watch->worker->free_watches;
    watch->worker->free_watches = watch;
}

static void poll_ended(struct np_operation *operation, int result)
{
    (void)result;
    put_watch(operation->context);
}

static void release_watch(struct np_watch *watch)
{
    struct np_worker *worker = watch->worker;
    worker->watch_of[watch->client] = NULL;
    if (worker->check.watch == watch)
        worker->check.watch = NULL;
    watch->check_at_ns = INT64_MAX;
    if (!watch->death.pending) {
        put_watch(watch);
        return;
    }
    watch->death.done = poll_ended;
    np_loop_cancel(worker->loop, &watch->death);
}

static void begin_watching(struct np_watch *watch)
{
    np_loop_poll(watch->worker->loop, &watch->death, np_store_get(&watch->worker->store, pidfd_key(watch->client)), POLLIN);
}

/* ---------------------------------------------------------------- the end of a client */

void np_watch_give_back(struct np_worker *worker, uint32_t client, const char *why)
{
    struct np_client_entry *entry = &worker->board.clients[client];
    struct np_scavenged what;
    char name[sizeof entry->name];
    long pid = entry->pid;
    memcpy(name, entry->name, sizeof name);
    int64_t begun_ns = np_monotonic_ns();
    np_broker_client_gone(&worker->broker, client, &what);
    uint64_t took_ns = (uint64_t)(np_monotonic_ns() - begun_ns);
    if (took_ns > np_load64(&worker->board.header->scavenge_ns_max, memory_order_relaxed)) /* relaxed: written here only */
        np_store64(&worker->board.header->scavenge_ns_max, took_ns, memory_order_relaxed);
    for (uint32_t pool = 0; pool < NP_POOLS_MAX; pool++)
        np_premises_drop_account(worker, client, pool);
    np_premises_drop_page(worker, client);
    np_worker_forget(worker, (struct np_store_key){ NP_STORE_IO, client, 0 });
    np_log_of(NP_LOG_INFO, (struct np_log_about){ .client = client, .pid = (int32_t)pid },
           "client %u (process %ld, %s) %s: %llu slots came back, %llu messages announced, %llu to be received again, %u lanes, "
           "%u endpoints, in %llu us",
           client, pid, name, why, (unsigned long long)what.slots, (unsigned long long)what.rolled_forward,
           (unsigned long long)what.redelivered, what.lanes, what.endpoints, (unsigned long long)(took_ns / 1000));
    np_pools_end_unused(worker);
    np_worker_duty(worker);
}

void np_watch_end(struct np_watch *watch, const char *why)
{
    struct np_worker *worker = watch->worker;
    uint32_t client = watch->client;
    if (watch->connection) {
        struct np_connection *connection = watch->connection;
        watch->connection = NULL;
        np_connection_close(connection);
    }
    if (strcmp(why, "left") != 0)
        np_add64(&worker->board.header->clients_died, 1, memory_order_relaxed); /* relaxed: a statistic */
    if (!np_inflight_begin(worker, client, why))
        np_watch_give_back(worker, client, why);
    np_worker_forget(worker, pidfd_key(client)); /* last: without it a client that is ACTIVE would be looked for by its number */
    release_watch(watch);
}

static void death_heard(struct np_operation *operation, int result)
{
    struct np_watch *watch = operation->context;
    int pidfd = np_store_get(&watch->worker->store, pidfd_key(watch->client));
    /* A poll that failed says nothing of the process: it is asked again. */
    if (result < 0 && pidfd >= 0 && !np_identity_is_gone(pidfd)) {
        begin_watching(watch);
        return;
    }
    np_watch_end(watch, "died");
}

/* ---------------------------------------------------------------- connected or not */

void np_watch_connect(struct np_watch *watch, struct np_connection *connection)
{
    struct np_connection *before = watch->connection;
    watch->connection = connection;
    watch->check_at_ns = INT64_MAX;
    watch->checks = watch->misses = 0;
    if (watch->worker->check.watch == watch)
        watch->worker->check.watch = NULL;
    connection->kind = NP_CONNECTION_CLIENT;
    connection->client = watch->client;
    np_store32(&entry_of(watch)->connected, 1, memory_order_relaxed); /* relaxed: for people */
    if (before && before != connection)
        np_connection_close(before);
}

static void check_at(struct np_watch *watch, int64_t at_ns)
{
    watch->check_at_ns = at_ns;
    np_timer_set_earlier(&watch->worker->checks, at_ns);
}

void np_watch_disconnect(struct np_watch *watch)
{
    watch->connection = NULL;
    watch->checks = watch->misses = 0;
    np_store32(&entry_of(watch)->connected, 0, memory_order_relaxed); /* relaxed: for people */
    check_at(watch, np_monotonic_ns() + FIRST_CHECK_NS);
}

/* ---------------------------------------------------------------- what a process without connection maps */

static void add_inode(struct np_maps_check *check, const struct np_worker *worker, struct np_store_key key)
{
    struct stat status;
    int fd = np_store_get(&worker->store, key);
    if (fd >= 0 && fstat(fd, &status) == 0)
        check->inodes[check->inode_count++] = status.st_ino;
}

static bool is_only_client_of_process(const struct np_watch *watch)
{
    const struct np_board *board = &watch->worker->board;
    for (uint32_t client = 1; client <= board->limits.clients; client++)
        if (client != watch->client && np_entry_is(&board->clients[client].state, NP_ACTIVE) &&
            board->clients[client].pid == entry_of(watch)->pid)
            return false;
    return true;
}

/* Accounts, and the page of bells of one who may not have the others, are this client's alone. The rest is shared by all:
 * it says something where the process is no other client too, as it is after it became another program that connected in
 * its turn. */
static void collect_inodes(struct np_maps_check *check, const struct np_watch *watch)
{
    const struct np_worker *worker = watch->worker;
    uint64_t pools = np_load64(&entry_of(watch)->pools, memory_order_relaxed); /* relaxed: written by this thread only */
    bool only = is_only_client_of_process(watch);
    check->inode_count = 0;
    if (only || pools == 0)
        add_inode(check, worker, (struct np_store_key){ NP_STORE_BELLS, 0, 0 });
    add_inode(check, worker, (struct np_store_key){ NP_STORE_PAGE, watch->client, 0 });
    for (uint32_t pool = 0; pool < NP_POOLS_MAX; pool++) {
        if (!(pools >> pool & 1))
            continue;
        add_inode(check, worker, (struct np_store_key){ NP_STORE_ACCOUNT, watch->client, pool });
        for (uint32_t arena = 0; only && arena < np_pool_arenas(&worker->board.pools[pool]); arena++)
            add_inode(check, worker, (struct np_store_key){ NP_STORE_META, pool, arena });
    }
}

static void conclude(struct np_worker *worker, bool mapped)
{
    struct np_maps_check *check = &worker->check;
    struct np_watch *watch = check->watch;
    close(check->fd);
    check->fd = -1;
    check->watch = NULL;
    if (watch) {
        watch->misses = mapped ? 0 : watch->misses + 1;
        watch->checks++;
        if (watch->misses >= MISSES_TO_BE_GONE) {
            np_watch_end(watch, "became another program");
        } else {
            int64_t pause_ns = FIRST_CHECK_NS;
            for (unsigned i = 0; i < watch->checks; i++)
                pause_ns = pause_ns * 10 > STEADY_CHECK_NS ? STEADY_CHECK_NS : pause_ns * 10;
            check_at(watch, np_monotonic_ns() + pause_ns);
        }
    }
    np_timer_set_earlier(&worker->checks, np_monotonic_ns() + BETWEEN_CHECKS_NS);
}

/* True when one of ours is in the whole lines of the buffer; keeps the rest. */
static bool look_through(struct np_maps_check *check, size_t bytes)
{
    char *line = check->buffer, *end = check->buffer + bytes, *newline;
    while ((newline = memchr(line, '\n', (size_t)(end - line))) != NULL) {
        uint64_t inode = np_identity_inode_in(line, (size_t)(newline - line));
        for (unsigned i = 0; inode != 0 && i < check->inode_count; i++)
            if (check->inodes[i] == inode)
                return true;
        line = newline + 1;
    }
    check->kept = (size_t)(end - line);
    if (check->kept == sizeof check->buffer)
        check->kept = 0; /* no line is that long: a path is at most 4 KiB */
    memmove(check->buffer, line, check->kept);
    return false;
}

static void read_more(struct np_worker *worker)
{
    struct np_maps_check *check = &worker->check;
    np_loop_read(worker->loop, &check->read, check->fd, check->buffer + check->kept, (unsigned)(sizeof check->buffer - check->kept),
                 check->offset);
}

static void maps_read(struct np_operation *operation, int result)
{
    struct np_worker *worker = operation->context;
    struct np_maps_check *check = &worker->check;
    if (!check->watch || result < 0) {
        conclude(worker, true); /* what cannot be seen may be there */
        return;
    }
    if (result == 0) {
        /* No program has no mappings at all: the process's first thread has left, or is just leaving, and the others may
         * go on. */
        conclude(worker, check->offset == 0);
        return;
    }
    check->offset += (uint64_t)result;
    if (look_through(check, check->kept + (size_t)result))
        conclude(worker, true);
    else
        read_more(worker);
}

/* The next that is due, in turn; NULL: none is, and the timer is set for the next that will be. */
static struct np_watch *next_to_check(struct np_worker *worker, int64_t now_ns)
{
    uint32_t clients = worker->board.limits.clients;
    int64_t next_ns = INT64_MAX;
    for (uint32_t i = 0; i < clients; i++) {
        uint32_t client = (worker->check.turn + i) % clients + 1;
        const struct np_watch *watch = worker->watch_of[client];
        if (!watch || watch->check_at_ns == INT64_MAX)
            continue;
        if (watch->check_at_ns <= now_ns) {
            worker->check.turn = client % clients;
            return worker->watch_of[client];
        }
        if (watch->check_at_ns < next_ns)
            next_ns = watch->check_at_ns;
    }
    np_timer_set(&worker->checks, next_ns);
    return NULL;
}

static void start_next_check(struct np_worker *worker)
{
    struct np_maps_check *check = &worker->check;
    for (unsigned tries = 0; check->fd < 0; tries++) {
        struct np_watch *watch = tries < UNREADABLE_MAX ? next_to_check(worker, np_monotonic_ns()) : NULL;
        char path[48];
        if (!watch) {
            if (tries == UNREADABLE_MAX)
                np_timer_set(&worker->checks, np_monotonic_ns() + BETWEEN_CHECKS_NS);
            return;
        }
        watch->check_at_ns = INT64_MAX;
        snprintf(path, sizeof path, "/proc/%ld/maps", (long)entry_of(watch)->pid);
        check->fd = open(path, O_RDONLY | O_CLOEXEC);
        /* The number may be another process's by now; then the pidfd is readable, and that is heard anyway. */
        if (check->fd < 0 || np_identity_is_gone(np_store_get(&worker->store, pidfd_key(watch->client)))) {
            if (check->fd >= 0)
                close(check->fd);
            check->fd = -1;
            check_at(watch, np_monotonic_ns() + STEADY_CHECK_NS);
            continue;
        }
        collect_inodes(check, watch);
        check->watch = watch;
        check->offset = 0;
        check->kept = 0;
        read_more(worker);
    }
}

static void checks_due(struct np_timer *timer)
{
    start_next_check(timer->context);
}

/* ---------------------------------------------------------------- admitting */

static void take_name(char name[32], const char said[32])
{
    size_t length = strnlen(said, 31);
    for (size_t i = 0; i < length; i++)
        name[i] = said[i] >= ' ' && said[i] < 127 ? said[i] : '?';
    memset(name + length, 0, 32 - length);
}

static int fill_entry(struct np_client_entry *entry, const struct np_connection *connection, const struct np_wire_hello *hello)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    np_store64(&entry->opened, 0, memory_order_relaxed); /* relaxed: before the state, by its release */
    entry->pid = connection->identity.pid;
    entry->uid = connection->identity.uid;
    entry->gid = connection->identity.gid;
    entry->start_ticks = np_identity_start_ticks(connection->identity.pid);
    entry->admitted_unix_ns = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
    take_name(entry->name, hello->name);
    entry->cookie = hello->cookie;
    while (entry->cookie == 0)
        if (getrandom(&entry->cookie, sizeof entry->cookie, GRND_NONBLOCK) != (ssize_t)sizeof entry->cookie)
            return np_error(-EAGAIN, "the kernel has no random numbers yet (getrandom: %s): try again", strerror(errno));
    return 0;
}

int np_watch_admit(struct np_connection *connection, const struct np_wire_hello *hello)
{
    struct np_worker *worker = connection->worker;
    struct np_client_entry *entry;
    if (!worker->free_watches)
        return np_error(-EAGAIN, "clients are leaving just now: try again");
    int pidfd = np_identity_pidfd_of_socket(connection->fd, &connection->identity);
    if (pidfd < 0)
        return pidfd;
    int result = np_broker_client_add(&worker->broker, &entry);
    if (result < 0) {
        close(pidfd);
        return result;
    }
    uint32_t client = (uint32_t)result;
    result = fill_entry(entry, connection, hello);
    if (result == 0)
        result = np_worker_keep(worker, pidfd_key(client), pidfd);
    else
        close(pidfd);
    if (result < 0) {
        np_store32(&entry->state, NP_NONE, memory_order_release);
        return result;
    }
    np_broker_client_activate(&worker->broker, client);
    struct np_watch *watch = take_watch(worker, client);
    begin_watching(watch);
    np_watch_connect(watch, connection);
    np_log_of(NP_LOG_INFO, (struct np_log_about){ .client = client, .pid = entry->pid }, "client %u is process %ld (%s)", client,
              (long)entry->pid, entry->name);
    return (int)client;
}

/* ---------------------------------------------------------------- starting */

int np_watches_start(struct np_worker *worker)
{
    unsigned count = worker->board.limits.clients + NP_CONNECTIONS_SPARE;
    worker->watches = calloc(count, sizeof *worker->watches);
    worker->watch_of = calloc(worker->board.limits.clients + 1, sizeof *worker->watch_of);
    if (!worker->watches || !worker->watch_of)
        return np_error(-ENOMEM, "no memory to watch %u clients: lower --clients", worker->board.limits.clients);
    for (unsigned i = count; i-- > 0;) {
        worker->watches[i].worker = worker;
        worker->watches[i].death.context = &worker->watches[i];
        put_watch(&worker->watches[i]);
    }
    worker->check.fd = -1;
    worker->check.read = (struct np_operation){ .done = maps_read, .context = worker };
    worker->checks = (struct np_timer){ .due = checks_due, .context = worker };
    np_loop_timer_add(worker->loop, &worker->checks);
    return 0;
}

int np_watches_take_over(struct np_worker *worker)
{
    for (uint32_t client = 1; client <= worker->board.limits.clients; client++) {
        struct np_client_entry *entry = &worker->board.clients[client];
        if (!np_entry_is(&entry->state, NP_ACTIVE))
            continue;
        np_store32(&entry->connected, 0, memory_order_relaxed); /* relaxed: for people */
        struct np_watch *watch = take_watch(worker, client);
        int pidfd = np_store_get(&worker->store, pidfd_key(client));
        if (pidfd < 0) {
            /* The keeper could not store it. The process may live all the same, and then is found again by when it
             * started. */
            pidfd = np_identity_pidfd_of_process(entry->pid, entry->start_ticks);
            int result = pidfd < 0 ? pidfd : np_worker_keep(worker, pidfd_key(client), pidfd);
            /* Anything but the kernel's word that it is gone: to take its slots away while it lives would give them two
             * owners. */
            if (result < 0 && result != -ESRCH)
                return np_error_within(result, "client %u", client);
        }
        if (pidfd < 0 || np_identity_is_gone(pidfd)) {
            np_watch_end(watch, "died");
            continue;
        }
        begin_watching(watch);
        check_at(watch, np_monotonic_ns() + TAKEN_OVER_CHECK_NS);
    }
    return 0;
}
