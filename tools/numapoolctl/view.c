/* SPDX-License-Identifier: MIT */
#include "view.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "core/error.h"
#include "numa/placement.h"

#define CALL_NS INT64_C(10000000000)
/* A worker that dies is replaced within milliseconds, one that keeps dying within a second: 2 s in all. */
#define TRIES_MAX 45u
#define TRY_PAUSE_FIRST_NS 1000000
#define TRY_PAUSE_MOST_NS 50000000

/* ---------------------------------------------------------------- asking */

static void close_descriptors(int fds[NP_WIRE_FDS_MAX])
{
    for (unsigned i = 0; i < NP_WIRE_FDS_MAX; i++)
        if (fds[i] >= 0) {
            close(fds[i]);
            fds[i] = -1;
        }
}

static int ask(struct np_view *view, struct np_wire_request *request, struct np_wire_answer *answer, int fds[NP_WIRE_FDS_MAX],
               unsigned descriptors, int64_t timeout_ns)
{
    request->magic = NP_WIRE_MAGIC;
    request->number = ++view->number;
    int result = np_wire_call(view->socket, request, answer, fds, timeout_ns);
    if (result < 0)
        return result;
    if (answer->result < 0) {
        close_descriptors(fds);
        return np_error(answer->result, "%.*s", (int)sizeof answer->sentence - 1, answer->sentence);
    }
    for (unsigned i = 0; i < descriptors; i++)
        if (fds[i] < 0) {
            close_descriptors(fds);
            return np_error(-EPROTO, "the daemon's answer lacks a descriptor: use the numapoolctl that came with it");
        }
    return answer->result;
}

/* Maps the whole of a file that should have at least so many bytes. */
static int map_whole(void **address, size_t *bytes, int fd, size_t least, const char *what)
{
    struct stat status;
    if (fstat(fd, &status) != 0)
        return np_error(-errno, "cannot see the size of %s (fstat: %s)", what, strerror(errno));
    if (status.st_size < 0 || (uint64_t)status.st_size < least)
        return np_error(-EBADMSG, "%s has %lld bytes, and %zu were expected: use the numapoolctl that came with the daemon", what,
                        (long long)status.st_size, least);
    *bytes = (size_t)status.st_size;
    return np_memory_map(address, fd, *bytes, false, false, what);
}

static int first_look(struct np_view *view, const struct np_wire_answer *answer, int board_fd)
{
    memcpy(view->uuid, answer->of.hello.uuid, sizeof view->uuid);
    int result = map_whole(&view->board_memory, &view->board_bytes, board_fd, sizeof(struct np_board_header), "the daemon's board");
    return result < 0 ? result : np_board_attach(&view->board, view->board_memory, view->board_bytes);
}

/* One connection and the LOOK that begins it. */
static int look(struct np_view *view)
{
    struct np_wire_request request = { .operation = NP_WIRE_LOOK };
    struct np_wire_answer answer;
    int fds[NP_WIRE_FDS_MAX];
    request.of.hello.layout = np_wire_layout();
    snprintf(request.of.hello.name, sizeof request.of.hello.name, "numapoolctl");
    view->socket = np_wire_connect(view->path);
    if (view->socket < 0)
        return view->socket;
    int result = ask(view, &request, &answer, fds, 2, CALL_NS);
    if (result < 0)
        return result;
    if (!view->board_memory)
        result = first_look(view, &answer, fds[0]);
    else if (memcmp(view->uuid, answer.of.hello.uuid, sizeof view->uuid) != 0)
        result = np_error(-ESTALE, "the daemon at '%s' was replaced by another while it was looked at: look again", view->path);
    close_descriptors(fds);
    return result;
}

static void hang_up(struct np_view *view)
{
    if (view->socket >= 0)
        close(view->socket);
    view->socket = -1;
}

static bool is_broken_connection(int result)
{
    return result == -EPIPE || result == -ECONNRESET || result == -ENOTCONN;
}

/* Before another try; each time for longer. */
static void pause_longer(struct timespec *pause)
{
    nanosleep(pause, NULL);
    pause->tv_nsec = pause->tv_nsec * 2 < TRY_PAUSE_MOST_NS ? pause->tv_nsec * 2 : TRY_PAUSE_MOST_NS;
}

int np_view_call(struct np_view *view, struct np_wire_request *request, struct np_wire_answer *answer, int fds[NP_WIRE_FDS_MAX],
                 unsigned descriptors, int64_t timeout_ns)
{
    struct timespec pause = { .tv_nsec = TRY_PAUSE_FIRST_NS };
    int result = -EPIPE;
    for (unsigned tries = 0; tries < TRIES_MAX && is_broken_connection(result); tries++) {
        if (tries > 0)
            pause_longer(&pause);
        result = view->socket < 0 ? look(view) : 0;
        if (result >= 0)
            result = ask(view, request, answer, fds, descriptors, timeout_ns);
        if (is_broken_connection(result))
            hang_up(view);
    }
    return result;
}

int np_view_open(struct np_view *view, const char *path)
{
    struct timespec pause = { .tv_nsec = TRY_PAUSE_FIRST_NS };
    *view = (struct np_view){ .path = path, .socket = -1 };
    int result = -EPIPE;
    for (unsigned tries = 0; tries < TRIES_MAX && is_broken_connection(result); tries++) {
        if (tries > 0)
            pause_longer(&pause);
        result = look(view);
        if (is_broken_connection(result))
            hang_up(view);
    }
    if (result < 0)
        np_view_close(view);
    return result < 0 ? result : 0;
}

void np_view_close(struct np_view *view)
{
    hang_up(view);
    np_memory_unmap(view->board_memory, view->board_bytes);
    view->board_memory = NULL;
}

/* ---------------------------------------------------------------- pools */

void np_view_name(char name[NUMAPOOL_NAME_BYTES], const char *shared)
{
    memcpy(name, shared, NUMAPOOL_NAME_BYTES - 1);
    name[NUMAPOOL_NAME_BYTES - 1] = 0;
}

int np_view_find_pool(const struct np_view *view, const char *name, uint32_t *pool)
{
    for (uint32_t i = 0; i < NP_POOLS_MAX; i++) {
        const struct np_pool_entry *entry = &view->board.pools[i];
        if (np_entry_is(&entry->state, NP_ACTIVE) && strncmp(entry->name, name, sizeof entry->name) == 0) {
            *pool = i;
            return 0;
        }
    }
    return np_error(-ENOENT, "there is no pool '%s' here: numapoolctl pools lists those there are", name);
}

static int map_arena(struct np_view *view, struct np_view_pool *mapped, unsigned index)
{
    const struct np_pool_entry *entry = &view->board.pools[mapped->pool];
    struct np_wire_request request = { .operation = NP_WIRE_POOL_MEMORY, .of.pool_memory = { mapped->pool, index } };
    struct np_wire_answer answer;
    int fds[NP_WIRE_FDS_MAX];
    int result = np_view_call(view, &request, &answer, fds, 1, CALL_NS);
    if (result < 0)
        return result;
    result = map_whole(&mapped->memory[index].meta, &mapped->memory[index].bytes, fds[0], sizeof(struct np_arena_header),
                       "a pool's slot words");
    close_descriptors(fds);
    if (result < 0)
        return result;
    uint64_t slots = entry->arena[index].slots;
    if (slots == 0 || slots > NP_SLOTS_MAX)
        return np_error(-EBADMSG, "the board gives arena %u of pool number %u %llu slots", index, mapped->pool,
                        (unsigned long long)slots);
    mapped->arena_count = index + 1;
    return np_arena_attach(&mapped->arenas[index], mapped->memory[index].meta, mapped->memory[index].bytes, NULL, slots,
                           entry->slot_bytes, index, entry->arena[index].node, 0, NULL, np_board_bells(&view->board.limits), entry->flags);
}

static int gone(uint32_t pool)
{
    return np_error(-ENOENT, "pool number %u is gone", pool);
}

int np_view_map_pool(struct np_view *view, uint32_t pool, struct np_view_pool *mapped)
{
    const struct np_pool_entry *entry = &view->board.pools[pool];
    memset(mapped, 0, sizeof *mapped);
    mapped->pool = pool;
    if (!np_entry_is(&entry->state, NP_ACTIVE))
        return gone(pool);
    unsigned arenas = np_pool_arenas(entry);
    if (arenas == 0 || arenas > NP_ARENAS_MAX)
        return np_error(-EBADMSG, "the board gives pool number %u %u arenas", pool, arenas);
    for (unsigned i = 0; i < arenas; i++) {
        int result = map_arena(view, mapped, i);
        if (result < 0) {
            np_view_unmap_pool(mapped);
            return np_entry_is(&entry->state, NP_ACTIVE) ? result : gone(pool); /* destroyed while it was mapped */
        }
    }
    return 0;
}

void np_view_unmap_pool(struct np_view_pool *mapped)
{
    for (unsigned i = 0; i < NP_ARENAS_MAX; i++) {
        np_memory_unmap(mapped->memory[i].meta, mapped->memory[i].bytes);
        mapped->memory[i].meta = NULL;
    }
}

/* ---------------------------------------------------------------- lanes */

int np_view_pool_of_lane(const struct np_view *view, uint32_t lane)
{
    const struct np_lane_entry *entry = &view->board.lanes[lane];
    if (!np_entry_is(&entry->state, NP_ACTIVE) || entry->channel == 0 || entry->channel > view->board.limits.channels)
        return -1;
    uint32_t pool = view->board.channels[entry->channel].pool;
    return pool < NP_POOLS_MAX ? (int)pool : -1;
}

static int map_lane(struct np_view *view, uint32_t lane, struct np_view_lanes *lanes)
{
    const struct np_lane_entry *entry = &view->board.lanes[lane];
    struct np_wire_request request = { .operation = NP_WIRE_LANE_MEMORY, .of.lane_memory.lane = lane };
    struct np_wire_answer answer;
    int fds[NP_WIRE_FDS_MAX];
    void *memory;
    lanes->of[lane].generation = entry->generation;
    uint32_t capacity = entry->capacity;
    int result = np_view_call(view, &request, &answer, fds, 1, CALL_NS);
    if (result < 0)
        return result == -ENOENT ? 0 : result; /* it was ended meanwhile */
    if (capacity < NP_LANE_SLOTS_MIN || capacity > NP_LANE_SLOTS_MAX)
        result = np_error(-EBADMSG, "the board gives lane %u room for %u messages", lane, capacity);
    else
        result = map_whole(&memory, &lanes->of[lane].bytes, fds[0], NP_LANE_HEADER_BYTES, "a lane");
    close_descriptors(fds);
    if (result < 0)
        return result;
    bool is_it = entry->generation == lanes->of[lane].generation && np_view_pool_of_lane(view, lane) >= 0 &&
                 lanes->of[lane].bytes >= np_lane_bytes(capacity, entry->kind);
    if (is_it)
        lanes->shared[lane] = memory;
    else
        np_memory_unmap(memory, lanes->of[lane].bytes);
    return 0;
}

int np_view_map_lanes(struct np_view *view, uint32_t pool, struct np_view_lanes *lanes)
{
    lanes->limit = view->board.limits.lanes;
    lanes->shared = calloc((size_t)lanes->limit + 1, sizeof *lanes->shared);
    lanes->of = calloc((size_t)lanes->limit + 1, sizeof *lanes->of);
    int result = lanes->shared && lanes->of ? 0 : np_error(-ENOMEM, "no memory for a table of %u lanes", lanes->limit);
    for (uint32_t lane = 1; result == 0 && lane <= lanes->limit; lane++)
        if (np_view_pool_of_lane(view, lane) == (int)pool)
            result = map_lane(view, lane, lanes);
    if (result < 0)
        np_view_unmap_lanes(lanes);
    return result;
}

void np_view_unmap_lanes(struct np_view_lanes *lanes)
{
    for (uint32_t lane = 1; lanes->shared && lanes->of && lane <= lanes->limit; lane++)
        np_memory_unmap(lanes->shared[lane], lanes->of[lane].bytes);
    free(lanes->shared);
    free(lanes->of);
    lanes->shared = NULL;
    lanes->of = NULL;
}

bool np_view_lanes_changed(const struct np_view *view, const struct np_view_lanes *lanes)
{
    for (uint32_t lane = 1; lane <= lanes->limit; lane++)
        if (lanes->shared[lane] && (np_view_pool_of_lane(view, lane) < 0 ||
                                    view->board.lanes[lane].generation != lanes->of[lane].generation))
            return true;
    return false;
}

/* ---------------------------------------------------------------- accounts */

int np_view_map_account(struct np_view *view, uint32_t client, uint32_t pool, struct np_view_account *account)
{
    struct np_wire_request request = { .operation = NP_WIRE_ACCOUNT_MEMORY, .of.account_memory = { client, pool } };
    struct np_wire_answer answer;
    int fds[NP_WIRE_FDS_MAX];
    int result = np_view_call(view, &request, &answer, fds, 1, CALL_NS);
    if (result < 0)
        return result;
    result = map_whole(&account->memory, &account->bytes, fds[0], NP_ACCOUNT_BYTES, "a client's account");
    account->rows = account->memory;
    close_descriptors(fds);
    return result;
}

void np_view_unmap_account(struct np_view_account *account)
{
    np_memory_unmap(account->memory, account->bytes);
    account->memory = NULL;
}
