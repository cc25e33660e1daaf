/* SPDX-License-Identifier: MIT
 * clients: who is there, and who holds how much of what. */
#include <errno.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/error.h"
#include "ctl.h"
#include "numa.h"

/* What one sweep of a pool counts, by client and by lane. */
struct holdings {
    uint64_t *held, *sent;
};

static int count_holdings(struct np_view *view, uint32_t pool, const struct holdings *holdings)
{
    struct np_view_pool mapped;
    struct np_check check = { 0 };
    int result = np_view_map_pool(view, pool, &mapped);
    if (result < 0)
        return result;
    result = np_check_pool(&check, &view->board, pool, mapped.arenas, mapped.arena_count, NULL, holdings->held, holdings->sent);
    np_view_unmap_pool(&mapped);
    return result;
}

static uint64_t sent_by(const struct np_view *view, uint32_t client, const uint64_t *sent)
{
    uint64_t sum = 0;
    for (uint32_t lane = 1; lane <= view->board.limits.lanes; lane++) {
        if (sent[lane] == 0)
            continue;
        uint32_t sender = np_load32(&view->board.lanes[lane].sender, memory_order_acquire);
        if (sender != 0 && sender <= view->board.limits.endpoints && view->board.endpoints[sender].client == client)
            sum += sent[lane];
    }
    return sum;
}

static const char *state_text(uint32_t state)
{
    static const char *const names[] = { "none", "forming", "active", "dying" };
    return state < sizeof names / sizeof names[0] ? names[state] : "unknown";
}

static json_t *describe_client(const struct np_view *view, uint32_t number)
{
    struct np_threads threads;
    const struct np_client_entry *entry = &view->board.clients[number];
    struct timespec now;
    char program[sizeof entry->name + 1] = { 0 };
    json_t *row = np_json_object();
    clock_gettime(CLOCK_REALTIME, &now);
    uint64_t now_ns = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
    const struct passwd *user = getpwuid(entry->uid);
    memcpy(program, entry->name, sizeof entry->name);
    np_json_set_count(row, "client", number);
    np_json_set(row, "pid", json_integer(entry->pid));
    np_json_set_text(row, "program", program);
    np_json_set_count(row, "uid", entry->uid);
    np_json_set_count(row, "gid", entry->gid);
    np_json_set(row, "user", user ? json_string(user->pw_name) : json_null());
    np_json_set_text(row, "state", state_text(np_load32(&entry->state, memory_order_acquire)));
    np_json_set_flag(row, "has_io", np_load32(&entry->has_io, memory_order_relaxed) != 0); /* relaxed, both: shown to people */
    np_json_set_flag(row, "connected", np_load32(&entry->connected, memory_order_relaxed) != 0);
    np_json_set(row, "age_s", json_real(now_ns > entry->admitted_unix_ns ? (double)(now_ns - entry->admitted_unix_ns) / 1e9 : 0));
    np_numa_threads(view, number, &threads);
    np_threads_describe(&threads, row);
    np_json_set_count(row, "held", 0);
    np_json_set_count(row, "in_flight", 0);
    np_json_set(row, "pools", np_json_array());
    return row;
}

static bool is_there(const struct np_client_entry *entry)
{
    uint32_t state = np_load32(&entry->state, memory_order_acquire); /* pairs with the release store of `state` */
    return state == NP_ACTIVE || state == NP_DYING;
}

/* The row of a client in the document, made when there is none yet. */
static json_t *row_of(const struct np_view *view, json_t *rows, uint32_t client)
{
    size_t index;
    json_t *row;
    json_array_foreach(rows, index, row)
        if (np_json_count(row, "client") == client)
            return row;
    row = describe_client(view, client);
    np_json_append(rows, row);
    return row;
}

static int add_pool(struct np_view *view, uint32_t pool, json_t *rows)
{
    char name[NUMAPOOL_NAME_BYTES];
    struct holdings holdings = { calloc((size_t)view->board.limits.clients + 1, sizeof *holdings.held),
                                 calloc((size_t)view->board.limits.lanes + 1, sizeof *holdings.sent) };
    int result = holdings.held && holdings.sent ? count_holdings(view, pool, &holdings)
                                                : np_error(-ENOMEM, "no memory to count what clients hold");
    np_view_name(name, view->board.pools[pool].name);
    for (uint32_t client = 1; result == 0 && client <= view->board.limits.clients; client++) {
        const struct np_client_entry *entry = &view->board.clients[client];
        bool opened = (np_load64(&entry->pools, memory_order_relaxed) >> pool & 1) != 0; /* relaxed: shown to people */
        if (!is_there(entry) || (!opened && holdings.held[client] == 0))
            continue;
        json_t *row = row_of(view, rows, client), *part = np_json_object();
        uint64_t in_flight = sent_by(view, client, holdings.sent);
        np_json_set_text(part, "pool", name);
        np_json_set_count(part, "held", holdings.held[client]);
        np_json_set_count(part, "in_flight", in_flight);
        np_json_set_flag(part, "readonly", (np_load64(&entry->readonly, memory_order_relaxed) >> pool & 1) != 0); /* relaxed: as above */
        np_json_append(json_object_get(row, "pools"), part);
        np_json_add(row, "held", holdings.held[client]);
        np_json_add(row, "in_flight", in_flight);
    }
    free(holdings.held);
    free(holdings.sent);
    return result;
}

int np_ctl_clients(struct np_view *view, const char *pool, json_t *document)
{
    json_t *rows = np_json_array();
    np_json_set(document, "clients", rows);
    for (uint32_t client = 1; !pool && client <= view->board.limits.clients; client++)
        if (is_there(&view->board.clients[client]))
            np_json_append(rows, describe_client(view, client));
    return np_ctl_each_pool(view, pool, add_pool, rows);
}

void np_ctl_clients_print(const json_t *document)
{
    static const struct np_column columns[] = {
        { "client", "client", NP_CELL_NUMBER }, { "pid", "pid", NP_CELL_NUMBER },       { "program", "program", NP_CELL_TEXT },
        { "user", "user", NP_CELL_TEXT },       { "state", "state", NP_CELL_TEXT },     { "connected", "connected", NP_CELL_TEXT },
        { "threads_text", "threads on", NP_CELL_TEXT },
        { "age_s", "age", NP_CELL_SECONDS },    { "pool", "pool", NP_CELL_TEXT },       { "held", "held", NP_CELL_COUNT },
        { "in_flight", "in flight", NP_CELL_COUNT },
    };
    json_t *lines = np_json_array(), *row, *part;
    size_t index, i;
    json_array_foreach(json_object_get(document, "clients"), index, row) {
        json_t *pools = json_object_get(row, "pools");
        if (json_array_size(pools) == 0)
            np_json_append(lines, json_incref(row));
        json_array_foreach(pools, i, part) {
            json_t *line = json_copy(row);
            np_json_append(lines, line);
            json_object_update(line, part);
        }
    }
    np_table_print(columns, sizeof columns / sizeof columns[0], lines);
    json_decref(lines);
}
