/* SPDX-License-Identifier: MIT
 * pools: what there is. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "ctl.h"
#include "numa/plan.h"

int np_ctl_each_pool(struct np_view *view, const char *pool, int (*one)(struct np_view *view, uint32_t pool, json_t *argument),
                     json_t *argument)
{
    uint32_t first = 0, last = NP_POOLS_MAX - 1;
    int status = NP_CTL_FINE;
    if (pool) {
        int result = np_view_find_pool(view, pool, &first);
        if (result < 0)
            return result;
        last = first;
    }
    for (uint32_t i = first; i <= last; i++) {
        if (!np_entry_is(&view->board.pools[i].state, NP_ACTIVE))
            continue;
        int result = one(view, i, argument);
        if (result == -ENOENT && !pool)
            continue;
        if (result < 0)
            return result;
        status = result > status ? result : status;
    }
    return status;
}

uint64_t np_ctl_page_bytes(const struct np_pool_entry *entry, unsigned arenas)
{
    uint64_t least = 0;
    for (unsigned i = 0; i < arenas; i++)
        if (least == 0 || entry->arena[i].page_bytes < least)
            least = entry->arena[i].page_bytes;
    return least;
}

static unsigned arenas_of(const struct np_pool_entry *entry)
{
    return np_pool_arenas(entry);
}

/* ---------------------------------------------------------------- pools */

static void set_users(const struct np_view *view, uint32_t pool, json_t *row)
{
    uint64_t clients = 0, channels = 0;
    for (uint32_t i = 1; i <= view->board.limits.clients; i++) {
        const struct np_client_entry *client = &view->board.clients[i];
        /* relaxed: only counted */
        clients += np_entry_is(&client->state, NP_ACTIVE) && (np_load64(&client->pools, memory_order_relaxed) >> pool & 1) != 0;
    }
    for (uint32_t i = 1; i <= view->board.limits.channels; i++)
        channels += np_entry_is(&view->board.channels[i].state, NP_ACTIVE) && view->board.channels[i].pool == pool;
    np_json_set_count(row, "clients", clients);
    np_json_set_count(row, "channels", channels);
}

/* A pool that was enlarged has several arenas on a node. */
static uint64_t distinct_nodes(const struct np_pool_entry *entry, unsigned arenas)
{
    uint64_t count = 0;
    for (unsigned i = 0; i < arenas; i++) {
        unsigned before = 0;
        while (before < i && entry->arena[before].node != entry->arena[i].node)
            before++;
        count += before == i;
    }
    return count;
}

/* As it was asked for, in a cell: "even", "local, strict", "even, spills". */
static const char *describe_placement(const struct np_pool_entry *entry, const char *policy, char *text, size_t bytes)
{
    snprintf(text, bytes, "%s%s%s", policy ? policy : "?", entry->flags & NUMAPOOL_STRICT ? ", strict" : "",
             entry->spill_slots > 0 ? ", spills" : "");
    return text;
}

static int list_pool(struct np_view *view, uint32_t pool, json_t *rows)
{
    const struct np_pool_entry *entry = &view->board.pools[pool];
    unsigned arenas = arenas_of(entry);
    uint64_t slots = 0, transparent = 0;
    char name[NUMAPOOL_NAME_BYTES], where[64];
    const char *policy = np_policy_name(entry->policy);
    json_t *row = np_json_object(), *nodes = np_json_array(), *tiers = np_json_array();
    for (unsigned i = 0; i < arenas; i++) {
        slots += entry->arena[i].slots;
        transparent += entry->arena[i].transparent != 0;
        np_json_append(nodes, json_integer(entry->arena[i].node));
        np_json_append(tiers, json_integer(entry->arena[i].tier));
    }
    np_view_name(name, entry->name);
    np_json_set_text(row, "pool", name);
    np_json_set_count(row, "number", pool);
    np_json_set_count(row, "slots", slots);
    np_json_set_count(row, "slot_bytes", entry->slot_bytes);
    np_json_set_count(row, "payload_bytes", slots * np_arena_stride_of(entry->slot_bytes, entry->flags));
    np_json_set_count(row, "page_bytes", np_ctl_page_bytes(entry, arenas));
    np_json_set_flag(row, "transparent", transparent > 0);
    np_json_set_flag(row, "exact_counts", (entry->flags & NUMAPOOL_EXACT_COUNTS) != 0);
    np_json_set_flag(row, "checks", (entry->flags & NUMAPOOL_CHECKS) != 0);
    np_json_set_count(row, "magazine_slots", entry->magazine_slots);
    np_json_set_count(row, "sharers", entry->sharers);
    np_json_set_count(row, "uid", entry->uid);
    np_json_set(row, "nodes", nodes);
    np_json_set(row, "tiers", tiers); /* of the same arenas: 1 where it only spills to */
    np_json_set_text(row, "placement", policy ? policy : "?");
    np_json_set_flag(row, "strict", (entry->flags & NUMAPOOL_STRICT) != 0);
    np_json_set_count(row, "spill_slots", entry->spill_slots);
    np_json_set_text(row, "where", describe_placement(entry, policy, where, sizeof where));
    np_json_set_count(row, "node_count", distinct_nodes(entry, arenas));
    np_json_set_count(row, "arenas", arenas);
    np_json_set_count(row, "low_watermark", entry->low_watermark);
    np_json_set_text(row, "state", np_load32(&entry->ending, memory_order_relaxed) ? "ending" : "open"); /* relaxed: only shown */
    np_json_set(row, "access", np_ctl_access(entry->access));
    np_json_set_count(row, "damaged", np_load32(&entry->damaged, memory_order_relaxed)); /* relaxed: only shown */
    set_users(view, pool, row);
    np_json_append(rows, row);
    return NP_CTL_FINE;
}

int np_ctl_pools(struct np_view *view, const char *pool, json_t *document)
{
    json_t *rows = np_json_array();
    np_json_set(document, "pools", rows);
    return np_ctl_each_pool(view, pool, list_pool, rows);
}

void np_ctl_pools_print(const json_t *document)
{
    static const struct np_column columns[] = {
        { "pool", "pool", NP_CELL_TEXT },           { "slots", "slots", NP_CELL_COUNT },
        { "slot_bytes", "slot size", NP_CELL_BYTES }, { "payload_bytes", "payload", NP_CELL_BYTES },
        { "page_bytes", "page size", NP_CELL_BYTES }, { "node_count", "nodes", NP_CELL_NUMBER },
        { "where", "placement", NP_CELL_TEXT },
        { "arenas", "arenas", NP_CELL_NUMBER },     { "clients", "clients", NP_CELL_COUNT },
        { "channels", "channels", NP_CELL_COUNT },  { "state", "state", NP_CELL_TEXT },
    };
    np_table_print(columns, sizeof columns / sizeof columns[0], json_object_get(document, "pools"));
    np_ctl_access_print(json_object_get(document, "pools"));
}
