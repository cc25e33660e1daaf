/* SPDX-License-Identifier: MIT */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "core/bell.h"
#include "core/error.h"
#include "core/pool.h"
#include "daemon/worker.h"
#include "numa/placement.h"
#include "numa/shield.h"

#define DROP_AGAIN_NS INT64_C(1000000)

#define BOARD_PATIENCE_NS  INT64_C(2000000000)
#define BOARD_PAUSE_NS     1000000
#define STORED_PATIENCE_NS INT64_C(1000000000)
/* A manager has much else to do while a machine starts, and another worker would wait as long. */
#define STORED_AT_START_NS INT64_C(10000000000)
#define STORED_SLOW_NS     INT64_C(10000000)

enum { KEEPER_PATIENCE_MS = 5000 };

/* ---------------------------------------------------------------- what the keeper keeps */

static struct np_store_key key_of(enum np_store_kind kind, uint32_t a, uint32_t b)
{
    return (struct np_store_key){ (uint32_t)kind, a, b };
}

/* Before the worker is ready it waits while the keeper's socket is full; afterwards never. */
static int send_record(struct np_worker *worker, enum np_record_verb verb, struct np_store_key key, int fd)
{
    int result = np_record_send(worker->records_fd, verb, key, fd);
    while (result == -EAGAIN && !worker->ready) {
        struct pollfd polled = { .fd = worker->records_fd, .events = POLLOUT };
        if (poll(&polled, 1, KEEPER_PATIENCE_MS) <= 0)
            break;
        result = np_record_send(worker->records_fd, verb, key, fd);
    }
    return result;
}

int np_worker_tell_ready(struct np_worker *worker)
{
    return send_record(worker, NP_RECORD_READY, (struct np_store_key){ 0 }, -1);
}

/* What is stored under a key anew need not be dropped any more: the keeper closes what the key had. */
static void forget_drop(struct np_worker *worker, struct np_store_key key)
{
    for (size_t i = 0; i < worker->drop_count; i++)
        if (memcmp(&worker->drops[i], &key, sizeof key) == 0) {
            worker->drops[i] = worker->drops[--worker->drop_count];
            return;
        }
}

static void drop_again(struct np_timer *timer)
{
    struct np_worker *worker = timer->context;
    while (worker->drop_count > 0) {
        if (np_record_send(worker->records_fd, NP_RECORD_DROP, worker->drops[worker->drop_count - 1], -1) == -EAGAIN) {
            np_timer_set(timer, np_monotonic_ns() + DROP_AGAIN_NS);
            return;
        }
        worker->drop_count--;
    }
}

void np_premises_start(struct np_worker *worker)
{
    worker->drop_again = (struct np_timer){ .due = drop_again, .context = worker };
    np_loop_timer_add(worker->loop, &worker->drop_again);
}

static void drop(struct np_worker *worker, struct np_store_key key)
{
    if (send_record(worker, NP_RECORD_DROP, key, -1) != -EAGAIN)
        return;
    if (worker->drop_count == worker->drop_room) {
        size_t room = worker->drop_room ? worker->drop_room * 2 : 64;
        struct np_store_key *more = realloc(worker->drops, room * sizeof *more);
        if (!more)
            return; /* the next worker sees that the board knows nothing of it, and drops it then */
        worker->drops = more;
        worker->drop_room = room;
    }
    worker->drops[worker->drop_count++] = key;
    np_timer_set_earlier(&worker->drop_again, np_monotonic_ns() + DROP_AGAIN_NS);
}

/* Until the service manager has what was stored last. A keeper that is stopped is not waited for again and again: meanwhile
 * nobody's death would be heard. */
static int wait_until_stored(struct np_worker *worker)
{
    int64_t patience_ns = !worker->ready ? STORED_AT_START_NS : worker->keeper_is_slow ? STORED_SLOW_NS : STORED_PATIENCE_NS;
    int64_t until_ns = np_monotonic_ns() + patience_ns;
    while (worker->stored < worker->stores) {
        struct np_record record;
        int fd, result = np_record_receive(worker->records_fd, &record, &fd);
        if (result == 1) {
            np_worker_take_record(worker, &record, fd);
            continue;
        }
        int64_t left_ns = worker->ending ? 0 : until_ns - np_monotonic_ns();
        if (result != -EAGAIN || left_ns <= 0) {
            worker->keeper_is_slow = true;
            return np_error(-EAGAIN, "the daemon's keeper %s: try again", result == -EAGAIN ? "does not answer just now" : "is gone");
        }
        struct pollfd polled = { .fd = worker->records_fd, .events = POLLIN };
        poll(&polled, 1, (int)(left_ns / 1000000) + 1);
    }
    return 0;
}

int np_worker_keep(struct np_worker *worker, struct np_store_key key, int fd)
{
    int result = send_record(worker, NP_RECORD_STORE, key, fd);
    if (result < 0) {
        close(fd);
        return result;
    }
    worker->stores++;
    if (worker->depository == NP_DEPOSITORY_KEEPING && (result = wait_until_stored(worker)) < 0) {
        close(fd);
        drop(worker, key);
        return result;
    }
    forget_drop(worker, key);
    result = np_store_put(&worker->store, key, fd);
    if (result < 0) {
        close(fd);
        drop(worker, key);
    }
    return result;
}

void np_worker_forget(struct np_worker *worker, struct np_store_key key)
{
    if (np_store_get(&worker->store, key) < 0)
        return;
    np_store_remove(&worker->store, key);
    drop(worker, key);
}

uint64_t np_premises_bytes(const struct np_worker *worker, struct np_store_key key)
{
    struct stat status;
    int fd = np_store_get(&worker->store, key);
    return fd >= 0 && fstat(fd, &status) == 0 && status.st_size > 0 ? (uint64_t)status.st_size : 0;
}

static int map_stored(struct np_worker *worker, struct np_store_key key, void **address, size_t *bytes, const char *what)
{
    int fd = np_store_get(&worker->store, key);
    if (fd < 0)
        return np_error(-ENOENT, "the keeper has no memory for %s", what);
    *bytes = np_premises_bytes(worker, key);
    return np_memory_map(address, fd, *bytes, true, false, what);
}

/* ---------------------------------------------------------------- lanes, for the broker */

static int lane_memory(void *context, uint32_t lane, size_t bytes, int *node, void **address)
{
    struct np_worker *worker = context;
    struct np_memory memory;
    char what[40];
    snprintf(what, sizeof what, "lane %u", lane);
    np_nodes_count(worker);
    int result = np_memory_create_near(&memory, what, bytes, *node, NP_PAGES_MIXED, NP_SHARED);
    *node = memory.node;
    if (result < 0)
        return result;
    result = np_worker_keep(worker, key_of(NP_STORE_LANE, lane, 0), memory.fd);
    if (result < 0) {
        np_memory_unmap(memory.address, memory.bytes);
        return result;
    }
    np_nodes_hand_over(&memory);
    *address = memory.address;
    return 0;
}

static void lane_memory_gone(void *context, uint32_t lane, void *address, size_t bytes)
{
    struct np_worker *worker = context;
    struct np_store_key key = key_of(NP_STORE_LANE, lane, 0);
    /* Its file may be longer than was asked for, by a rest of a huge page; what is mapped is all of it. */
    uint64_t mapped = np_premises_bytes(worker, key);
    np_memory_unmap(address, mapped > bytes ? mapped : bytes);
    np_worker_forget(worker, key);
}

/* ---------------------------------------------------------------- taking over */

/* The keeper waits for the end of a worker before it starts another, but does not know of the worker of a keeper before it,
 * whose memory the service manager has kept. That worker dies with its keeper (run_child in keeper.c), soon and not at once.
 * So whoever writes on the board has it locked, through a description of his own, which ends with him. */
int np_premises_lock(struct np_worker *worker)
{
    struct flock whole = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
    char path[40];
    snprintf(path, sizeof path, "/proc/self/fd/%d", np_store_get(&worker->store, key_of(NP_STORE_BOARD, 0, 0)));
    int fd = open(path, O_RDWR | O_CLOEXEC); /* never closed */
    if (fd < 0)
        return np_error(-errno, "cannot open the board anew (%s): the daemon needs /proc", strerror(errno));
    for (int64_t until_ns = np_monotonic_ns() + BOARD_PATIENCE_NS; fcntl(fd, F_OFD_SETLK, &whole) != 0;) {
        if (errno != EAGAIN && errno != EACCES && errno != EINTR)
            return np_error(-errno, "cannot lock the board: %s", strerror(errno));
        if (np_monotonic_ns() >= until_ns)
            return np_error(-EBUSY, "another process has the board locked: the worker of a keeper before this one does not end");
        const struct timespec pause = { .tv_nsec = BOARD_PAUSE_NS };
        nanosleep(&pause, NULL);
    }
    return 0;
}

static int take_board(struct np_worker *worker)
{
    void *memory;
    int result = map_stored(worker, key_of(NP_STORE_BOARD, 0, 0), &memory, &worker->board_bytes, "the board");
    if (result < 0)
        return result;
    np_shield_drop(memory); /* the one memory that only this daemon writes, and without which it cannot go on */
    if (((struct np_board_header *)memory)->magic == 0)
        np_board_format(memory, &worker->config->limits);
    result = np_board_attach(&worker->board, memory, worker->board_bytes);
    if (result < 0)
        return result;
    void *bells;
    size_t bytes;
    result = map_stored(worker, key_of(NP_STORE_BELLS, 0, 0), &bells, &bytes, "the bells");
    if (result < 0)
        return result;
    if (bytes < np_board_bells(&worker->board.limits) * sizeof(struct np_bell))
        return np_error(-EBADMSG, "the keeper's memory for bells is too small for the board's limits");
    worker->bells = bells;
    return 0;
}

/* A client that has a number: what is kept for it is kept until the number is free. */
static bool has_number(const struct np_board *board, uint32_t client)
{
    return client >= 1 && client <= board->limits.clients &&
           (np_entry_is(&board->clients[client].state, NP_ACTIVE) || np_entry_is(&board->clients[client].state, NP_DYING));
}

static bool is_on_board(const struct np_worker *worker, struct np_store_key key)
{
    const struct np_board *board = &worker->board;
    switch (key.kind) {
    case NP_STORE_BOARD:
    case NP_STORE_BELLS:
        return true;
    case NP_STORE_META:
    case NP_STORE_DATA:
        return key.a < NP_POOLS_MAX && np_entry_is(&board->pools[key.a].state, NP_ACTIVE) && key.b < np_pool_arenas(&board->pools[key.a]);
    case NP_STORE_ACCOUNT:
        return key.b < NP_POOLS_MAX && has_number(board, key.a) &&
               (np_load64(&board->clients[key.a].pools, memory_order_relaxed) >> key.b & 1); /* relaxed: its only writer was reaped */
    case NP_STORE_LANE:
        return key.a >= 1 && key.a <= board->limits.lanes && np_entry_is(&board->lanes[key.a].state, NP_ACTIVE);
    case NP_STORE_IO:
        return has_number(board, key.a) && np_load32(&board->clients[key.a].has_io, memory_order_relaxed) != 0; /* relaxed: as above */
    case NP_STORE_PAGE:
    case NP_STORE_PIDFD:
        return key.a >= 1 && key.a <= board->limits.clients && np_entry_is(&board->clients[key.a].state, NP_ACTIVE);
    default:
        return false;
    }
}

void np_premises_forget_strays(struct np_worker *worker)
{
    size_t at = 0;
    const struct np_store_entry *entry;
    while ((entry = np_store_next(&worker->store, &at)) != NULL)
        if (!is_on_board(worker, entry->key)) {
            np_worker_forget(worker, entry->key);
            at = 0; /* removing moves others */
        }
}

static int attach_arena(struct np_worker *worker, struct np_pool_entry *entry, unsigned arena)
{
    void *meta;
    size_t bytes;
    int result = map_stored(worker, key_of(NP_STORE_META, entry->id, arena), &meta, &bytes, "a pool's slot words");
    if (result < 0)
        return result;
    /* Clients can write the header. Where the tables behind the words lie follows from this, so it is not believed. */
    if (((const struct np_arena_header *)meta)->sleepers_max != worker->board.limits.clients + 1)
        result = np_error(-EBADMSG, "the header of arena %u was scribbled over", arena);
    else
        result = np_broker_attach_pool(&worker->broker, entry->id, arena, meta, bytes);
    if (result < 0)
        np_memory_unmap(meta, bytes);
    return result;
}

static int attach_pool(struct np_worker *worker, struct np_pool_entry *entry)
{
    for (unsigned arena = 0; arena < np_pool_arenas(entry); arena++) {
        int result = attach_arena(worker, entry, arena);
        /* -ENOENT: the keeper had no descriptor to spare when it was to keep them */
        if (result == -EBADMSG || result == -EPROTO || result == -ENOENT) {
            np_log(NP_LOG_ERROR, "pool '%s' cannot be taken over, and what its clients leave behind there is lost: %s", entry->name,
                   np_error_sentence());
            return 0; /* the other pools are none the worse for it */
        }
        if (result < 0)
            return result;
    }
    np_log(NP_LOG_INFO, "pool '%s' was taken over", entry->name);
    return 0;
}

static void attach_lane(struct np_worker *worker, uint32_t lane)
{
    void *memory;
    size_t bytes;
    int result = map_stored(worker, key_of(NP_STORE_LANE, lane, 0), &memory, &bytes, "a lane");
    if (result == 0 && bytes < np_lane_bytes(worker->board.lanes[lane].capacity, worker->board.lanes[lane].kind)) {
        np_memory_unmap(memory, bytes);
        result = np_error(-EBADMSG, "its memory is too small");
    } else if (result == 0) {
        result = np_broker_attach_lane(&worker->broker, lane, memory);
        if (result < 0)
            np_memory_unmap(memory, bytes);
    }
    if (result < 0) /* its ends may have scribbled over it: theirs alone is lost, and the broker clears it */
        np_log(NP_LOG_WARN, "lane %u cannot be taken over: %s", lane, np_error_sentence());
}

static void attach_page(struct np_worker *worker, uint32_t client)
{
    void *page;
    size_t bytes;
    if (np_store_get(&worker->store, key_of(NP_STORE_PAGE, client, 0)) < 0)
        return;
    int result = map_stored(worker, key_of(NP_STORE_PAGE, client, 0), &page, &bytes, "a client's bells");
    if (result < 0)
        np_log(NP_LOG_WARN, "client %u hears no news any more: %s", client, np_error_sentence());
    else
        worker->broker.pages[client] = page; /* at least NP_PAGE_BYTES: this daemon made it, and its length is sealed */
}

int np_premises_take_over(struct np_worker *worker)
{
    int result = take_board(worker);
    if (result == 0)
        result = np_nodes_start(worker);
    if (result < 0)
        return result;
    np_premises_forget_strays(worker);
    const struct np_broker_environment environment = { worker, lane_memory, lane_memory_gone, true };
    result = np_broker_start(&worker->broker, &worker->board, worker->bells, &environment);
    for (uint32_t pool = 0; result == 0 && pool < NP_POOLS_MAX; pool++) {
        struct np_pool_entry *entry = &worker->board.pools[pool];
        if (np_entry_is(&entry->state, NP_ACTIVE))
            result = attach_pool(worker, entry);
        else if (np_entry_is(&entry->state, NP_DYING))
            np_pools_end_dying(worker, entry);
        else
            np_store32(&entry->state, NP_NONE, memory_order_release); /* half made: nobody has heard of it */
    }
    for (uint32_t client = 1; result == 0 && client <= worker->board.limits.clients; client++)
        attach_page(worker, client);
    for (uint32_t lane = 1; result == 0 && lane <= worker->board.limits.lanes; lane++)
        if (np_entry_is(&worker->board.lanes[lane].state, NP_ACTIVE))
            attach_lane(worker, lane);
    return result;
}

/* ---------------------------------------------------------------- accounts */

int np_premises_account(struct np_worker *worker, uint32_t client, uint32_t pool)
{
    struct np_store_key key = key_of(NP_STORE_ACCOUNT, client, pool);
    struct np_client_entry *entry = &worker->board.clients[client];
    /* Left by who died in the middle of opening it read-only. */
    np_and64(&entry->readonly, ~(UINT64_C(1) << pool), memory_order_release);
    /* Before anything else, and again whenever it is asked again: what may hold slots is swept. */
    np_or64(&entry->opened, UINT64_C(1) << pool, memory_order_release);
    int fd = np_store_get(&worker->store, key);
    if (fd >= 0) {
        np_or64(&entry->pools, UINT64_C(1) << pool, memory_order_release); /* a predecessor may have died before this */
        return fd;
    }
    struct np_memory memory;
    char what[64];
    snprintf(what, sizeof what, "the account of client %u", client);
    int result = np_memory_create(&memory, what, NP_ACCOUNT_BYTES, -1, NP_PAGES_MIXED, NP_SHARED);
    if (result < 0)
        return result;
    np_memory_unmap(memory.address, memory.bytes);
    result = np_worker_keep(worker, key, memory.fd);
    if (result < 0)
        return result;
    np_or64(&entry->pools, UINT64_C(1) << pool, memory_order_release); /* after it was stored (W2) */
    return memory.fd;
}

void np_premises_drop_account(struct np_worker *worker, uint32_t client, uint32_t pool)
{
    struct np_pool_entry *entry = &worker->board.pools[pool];
    int fd = np_store_get(&worker->store, key_of(NP_STORE_ACCOUNT, client, pool));
    void *rows;
    /* A worker that dies here counts some twice: statistics. */
    if (fd >= 0 && np_memory_map(&rows, fd, NP_ACCOUNT_BYTES, false, false, "a client's account") == 0) {
        for (uint32_t i = 0; i < np_pool_arenas(entry); i++)
            np_account_add(&entry->arena[i].departed, (const struct np_account_row *)rows + i);
        np_memory_unmap(rows, NP_ACCOUNT_BYTES);
    }
    np_and64(&worker->board.clients[client].pools, ~(UINT64_C(1) << pool), memory_order_release);
    np_and64(&worker->board.clients[client].readonly, ~(UINT64_C(1) << pool), memory_order_release);
    np_worker_forget(worker, key_of(NP_STORE_ACCOUNT, client, pool));
}

/* ---------------------------------------------------------------- those who open read-only */

int np_premises_page(struct np_worker *worker, uint32_t client)
{
    struct np_store_key key = key_of(NP_STORE_PAGE, client, 0);
    struct np_memory memory;
    char what[64];
    int fd = np_store_get(&worker->store, key);
    if (fd >= 0 && worker->broker.pages[client])
        return fd;
    snprintf(what, sizeof what, "the bells of client %u", client);
    int result = np_memory_create(&memory, what, NP_PAGE_BYTES, -1, NP_PAGES_MIXED, NP_SHARED);
    if (result < 0)
        return result;
    result = np_worker_keep(worker, key, memory.fd);
    if (result < 0) {
        np_memory_unmap(memory.address, memory.bytes);
        return result;
    }
    if (worker->broker.pages[client]) /* of a client that had the number and was cleared by another worker's successor */
        np_memory_unmap(worker->broker.pages[client], memory.bytes);
    worker->broker.pages[client] = memory.address;
    np_store32(&worker->board.clients[client].foreign, 1, memory_order_release); /* after it was stored (W2) */
    return memory.fd;
}

void np_premises_drop_page(struct np_worker *worker, uint32_t client)
{
    np_memory_unmap(worker->broker.pages[client], np_premises_bytes(worker, key_of(NP_STORE_PAGE, client, 0)));
    worker->broker.pages[client] = NULL;
    np_worker_forget(worker, key_of(NP_STORE_PAGE, client, 0));
}

void np_premises_open_readonly(struct np_worker *worker, uint32_t client, uint32_t pool)
{
    struct np_client_entry *entry = &worker->board.clients[client];
    np_or64(&entry->readonly, UINT64_C(1) << pool, memory_order_release); /* first: who has a pool open and not this may write to it */
    np_or64(&entry->pools, UINT64_C(1) << pool, memory_order_release);
}

bool np_premises_is_readonly(const struct np_worker *worker, uint32_t client, uint32_t pool)
{
    return np_load64(&worker->board.clients[client].readonly, memory_order_relaxed) >> pool & 1; /* relaxed: written by this thread only */
}
