/* SPDX-License-Identifier: MIT
 * channels: who sends to whom, and how far each lane has come. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "channel/endpoint.h"
#include "core/error.h"
#include "ctl.h"

static const char *lane_state_text(uint32_t state)
{
    static const char *const names[] = { "none", "active", "drain", "orphan", "closed" };
    return state < sizeof names / sizeof names[0] ? names[state] : "unknown";
}

static const char *lane_kind_text(uint32_t kind)
{
    static const char *const names[] = { "slots", "small", "broadcast", "home" };
    return kind < sizeof names / sizeof names[0] ? names[kind] : "unknown";
}

/* The client behind an endpoint and his pid, both null when there is nobody. */
static void set_end(const struct np_view *view, json_t *row, const char *client_key, const char *pid_key, uint32_t endpoint)
{
    uint32_t client = 0;
    if (endpoint != 0 && endpoint <= view->board.limits.endpoints &&
        np_entry_is(&view->board.endpoints[endpoint].state, NP_ACTIVE))
        client = view->board.endpoints[endpoint].client;
    bool known = client != 0 && client <= view->board.limits.clients;
    np_json_set(row, client_key, known ? json_integer(client) : json_null());
    np_json_set(row, pid_key, known ? json_integer(view->board.clients[client].pid) : json_null());
}

static void set_node(json_t *row, const char *key, int node)
{
    np_json_set(row, key, node >= 0 ? json_integer(node) : json_null());
}

static json_t *describe_lane(const struct np_view *view, uint32_t lane, struct np_lane_shared *shared)
{
    const struct np_lane_entry *entry = &view->board.lanes[lane];
    uint32_t capacity = entry->capacity;
    json_t *row = np_json_object();
    np_json_set_count(row, "lane", lane);
    np_json_set_count(row, "generation", entry->generation);
    np_json_set_text(row, "kind", lane_kind_text(entry->kind));
    np_json_set_text(row, "state", lane_state_text(np_load32(&shared->state, memory_order_acquire)));
    set_end(view, row, "sender_client", "sender_pid", np_load32(&entry->sender, memory_order_acquire));
    set_end(view, row, "receiver_client", "receiver_pid", np_load32(&entry->receiver, memory_order_acquire));
    set_node(row, "node", entry->node); /* of its memory */
    set_node(row, "receiver_node", (int)np_load32(&shared->receiver_node, memory_order_relaxed) - 1);
    np_json_set_count(row, "capacity", capacity);
    np_json_set_count(row, "depth", entry->kind == NP_LANE_HOME ? 0 : np_lane_depth(shared, capacity)); /* its lanes have them */
    /* relaxed, all of them: shown to people */
    np_json_set_count(row, "sent", np_load64(&shared->tail, memory_order_relaxed));
    np_json_set_count(row, "released", np_load64(&shared->released, memory_order_relaxed));
    np_json_set_count(row, "redelivered", np_load64(&entry->redelivered, memory_order_relaxed));
    np_json_set_count(row, "rolled_forward", np_load64(&entry->rolled_forward, memory_order_relaxed));
    np_json_set_flag(row, "sender_sleeps", np_load32(&shared->sender_sleeps, memory_order_relaxed) != 0);
    np_json_set_flag(row, "receiver_sleeps", np_load32(&shared->receiver_sleeps, memory_order_relaxed) != 0);
    return row;
}

static uint64_t count_ends(const struct np_view *view, uint32_t channel, enum np_role role)
{
    uint64_t count = 0;
    for (uint32_t i = 1; i <= view->board.limits.endpoints; i++) {
        const struct np_endpoint_entry *endpoint = &view->board.endpoints[i];
        count += np_entry_is(&endpoint->state, NP_ACTIVE) && endpoint->channel == channel && endpoint->role == (uint32_t)role;
    }
    return count;
}

static void describe_channel(const struct np_view *view, uint32_t channel, const struct np_view_lanes *lanes, json_t *rows)
{
    const struct np_channel_entry *entry = &view->board.channels[channel];
    char name[NUMAPOOL_NAME_BYTES];
    json_t *row = np_json_object(), *lane_rows = np_json_array();
    np_view_name(name, entry->name);
    np_json_set_text(row, "channel", name);
    np_view_name(name, view->board.pools[entry->pool].name);
    np_json_set_text(row, "pool", name);
    np_json_set_count(row, "number", channel);
    np_json_set_text(row, "kind", lane_kind_text(np_channel_kind(entry->flags)));
    np_json_set_count(row, "senders", count_ends(view, channel, NP_ROLE_SENDER));
    np_json_set_count(row, "receivers", count_ends(view, channel, NP_ROLE_RECEIVER));
    np_json_set_count(row, "depth", 0);
    np_json_set(row, "lanes", lane_rows);
    for (uint32_t lane = 1; lane <= lanes->limit; lane++) {
        if (!lanes->shared[lane] || np_view_pool_of_lane(view, lane) != (int)entry->pool ||
            view->board.lanes[lane].channel != channel || view->board.lanes[lane].generation != lanes->of[lane].generation)
            continue;
        json_t *lane_row = describe_lane(view, lane, lanes->shared[lane]);
        np_json_append(lane_rows, lane_row);
        np_json_add(row, "depth", np_json_count(lane_row, "depth"));
    }
    np_json_append(rows, row);
}

static int list_channels(struct np_view *view, uint32_t pool, json_t *rows)
{
    struct np_view_lanes lanes;
    int result = np_view_map_lanes(view, pool, &lanes);
    if (result < 0)
        return result;
    for (uint32_t channel = 1; channel <= view->board.limits.channels; channel++)
        if (np_entry_is(&view->board.channels[channel].state, NP_ACTIVE) && view->board.channels[channel].pool == pool)
            describe_channel(view, channel, &lanes, rows);
    np_view_unmap_lanes(&lanes);
    return NP_CTL_FINE;
}

int np_ctl_channels(struct np_view *view, const char *pool, json_t *document)
{
    json_t *rows = np_json_array();
    np_json_set(document, "channels", rows);
    return np_ctl_each_pool(view, pool, list_channels, rows);
}

void np_ctl_channels_print(const json_t *document)
{
    static const struct np_column columns[] = {
        { "lane", "lane", NP_CELL_NUMBER },
        { "kind", "kind", NP_CELL_TEXT },
        { "state", "state", NP_CELL_TEXT },
        { "sender_client", "from client", NP_CELL_NUMBER },
        { "sender_pid", "pid", NP_CELL_NUMBER },
        { "receiver_client", "to client", NP_CELL_NUMBER },
        { "receiver_pid", "pid", NP_CELL_NUMBER },
        { "capacity", "capacity", NP_CELL_COUNT },
        { "depth", "depth", NP_CELL_COUNT },
        { "sent", "sent", NP_CELL_COUNT },
        { "released", "released", NP_CELL_COUNT },
        { "redelivered", "redelivered", NP_CELL_COUNT },
        { "sender_sleeps", "sender sleeps", NP_CELL_TEXT },
        { "receiver_sleeps", "receiver sleeps", NP_CELL_TEXT },
    };
    size_t index;
    const json_t *row;
    if (json_array_size(json_object_get(document, "channels")) == 0)
        printf("no channels\n");
    json_array_foreach(json_object_get(document, "channels"), index, row) {
        char name[NUMAPOOL_NAME_BYTES], pool[NUMAPOOL_NAME_BYTES], depth[32], kind[16];
        np_table_text(name, sizeof name, NP_CELL_TEXT, json_object_get(row, "channel"));
        np_table_text(pool, sizeof pool, NP_CELL_TEXT, json_object_get(row, "pool"));
        np_table_text(depth, sizeof depth, NP_CELL_COUNT, json_object_get(row, "depth"));
        np_table_text(kind, sizeof kind, NP_CELL_TEXT, json_object_get(row, "kind"));
        bool plain = strcmp(kind, "slots") == 0;
        printf("%schannel %s of pool %s%s%s: senders %u, receivers %u, unreleased messages %s\n", index > 0 ? "\n" : "", name, pool, plain ? "" : ", ", plain ? "" : kind,
               (unsigned)np_json_count(row, "senders"), (unsigned)np_json_count(row, "receivers"), depth);
        np_table_print(columns, sizeof columns / sizeof columns[0], json_object_get(row, "lanes"));
    }
}
