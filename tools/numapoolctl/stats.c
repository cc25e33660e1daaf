/* SPDX-License-Identifier: MIT
 * stats: how pools and daemon fare. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "ctl.h"
#include "where.h"
#include "numa/plan.h"

static void add_words(json_t *row, const struct np_arena *arena)
{
    struct np_arena_census census;
    np_arena_census(arena, &census);
    /* relaxed, all of them: statistics. low_water lies where every client may write. */
    uint64_t low_water = np_load64(&arena->header->low_water, memory_order_relaxed);
    low_water = low_water > arena->slots ? arena->slots : low_water;
    np_json_add(row, "slots", arena->slots);
    np_json_add(row, "free_slots", census.free_slots);
    np_json_add(row, "held", census.held);
    np_json_add(row, "in_flight", census.sent);
    np_json_add(row, "kept", census.kept);
    np_json_add(row, "low_water", low_water);
    np_json_add(row, "high_water", arena->slots - low_water);
    np_json_add(row, "low_watermark", arena->low_watermark);
    uint64_t quarantined = np_load64(&arena->header->quarantined, memory_order_relaxed);
    np_json_add(row, "quarantined", quarantined < census.held ? quarantined : census.held);
    np_json_add(row, "lows", np_load64(&arena->header->lows, memory_order_relaxed));
    np_json_add(row, "low", np_load32(&arena->header->low, memory_order_relaxed) != 0);
    np_json_add(row, "taken", np_load64(&arena->header->taken, memory_order_relaxed));
    np_json_add(row, "given", np_load64(&arena->header->given, memory_order_relaxed));
    np_json_add(row, "empty_refills", np_load64(&arena->header->empty_refills, memory_order_relaxed));
}

static void add_account_row(json_t *row, const struct np_account_row *account)
{
    const struct { const char *key; const np_shm64 *counter; } counters[] = {
        { "refills", &account->refills },     { "flushes", &account->flushes },   { "home_returns", &account->home_returns },
        { "failures", &account->failures },   { "spilled", &account->spilled },   { "gets", &account->gets },
        { "puts", &account->puts },           { "faults", &account->faults },     { "local", &account->local },
        { "remote", &account->remote },       { "foreign", &account->foreign },   { "homeless", &account->homeless },
        { "followed", &account->followed },   { "tiered", &account->tiered },
    };
    for (size_t i = 0; i < sizeof counters / sizeof counters[0]; i++)
        np_json_add(row, counters[i].key, np_load64(counters[i].counter, memory_order_relaxed)); /* relaxed: a statistic */
}

/* What clients have counted, those that are gone and those that are there now. */
static int add_accounts(struct np_view *view, uint32_t pool, unsigned arenas, json_t *nodes)
{
    for (unsigned i = 0; i < arenas; i++)
        add_account_row(json_array_get(nodes, i), &view->board.pools[pool].arena[i].departed);
    for (uint32_t client = 1; client <= view->board.limits.clients; client++) {
        const struct np_client_entry *entry = &view->board.clients[client];
        struct np_view_account account;
        if (!np_entry_is(&entry->state, NP_ACTIVE) || (np_load64(&entry->pools, memory_order_relaxed) >> pool & 1) == 0)
            continue;
        int result = np_view_map_account(view, client, pool, &account);
        if (result == -ENOENT)
            continue;
        if (result < 0)
            return result;
        for (unsigned i = 0; i < arenas; i++)
            add_account_row(json_array_get(nodes, i), &account.rows[i]);
        np_view_unmap_account(&account);
    }
    return 0;
}

static void set_sizes(json_t *row, uint64_t page_bytes, bool transparent, uint64_t slot_bytes, uint64_t stride)
{
    uint64_t slots = np_json_count(row, "slots");
    np_json_set_count(row, "page_bytes", page_bytes);
    np_json_set_flag(row, "transparent", transparent);
    np_json_set_count(row, "slot_bytes", slot_bytes);
    np_json_set_count(row, "payload_bytes", slots * stride);
    np_json_set(row, "metadata_bytes_per_slot",
                json_real(slots > 0 ? (double)np_json_count(row, "metadata_bytes") / (double)slots : 0));
}

/* "0:500 1:12", most first; what found no room of its own there is with the last. */
static void where_text(const struct np_whereabouts where[NP_WHEREABOUTS], char *text, size_t bytes)
{
    size_t at = 0;
    snprintf(text, bytes, "-");
    for (unsigned i = 0; i < NP_WHEREABOUTS && where[i].pages > 0 && at < bytes; i++) {
        char node[16] = "none";
        if (where[i].node >= 0)
            snprintf(node, sizeof node, "%d", where[i].node);
        at += (size_t)snprintf(text + at, bytes - at, "%s%s:%llu", i > 0 ? " " : "", node, (unsigned long long)where[i].pages);
    }
}

/* Seconds since that moment of the day; null: there was none. */
static json_t *seconds_since(uint64_t unix_ns)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    uint64_t now_ns = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
    if (unix_ns == 0)
        return json_null();
    return json_real(now_ns > unix_ns ? (double)(now_ns - unix_ns) / 1e9 : 0);
}

/* Where the pages of an arena are beside where they should be, as it was when somebody looked last. */
static json_t *describe_place(const struct np_pool_entry *entry, unsigned arena)
{
    json_t *row = np_json_object(), *list = np_json_array();
    struct np_whereabouts where[NP_WHEREABOUTS];
    char text[96];
    memcpy(where, entry->arena[arena].where, sizeof where);
    for (unsigned i = 0; i < NP_WHEREABOUTS && where[i].pages > 0; i++) {
        json_t *one = np_json_object();
        np_json_set(one, "node", where[i].node >= 0 ? json_integer(where[i].node) : json_null());
        np_json_set_count(one, "pages", where[i].pages);
        np_json_append(list, one);
    }
    where_text(where, text, sizeof text);
    np_json_set(row, "node", json_integer(entry->arena[arena].node));
    np_json_set_count(row, "arena", arena);
    np_json_set_count(row, "tier", entry->arena[arena].tier);
    np_json_set_count(row, "page_bytes", entry->arena[arena].page_bytes);
    np_json_set_flag(row, "transparent", entry->arena[arena].transparent != 0);
    np_json_set(row, "where", list);
    np_json_set_text(row, "where_text", text);
    np_json_set_count(row, "misplaced_pages", entry->arena[arena].misplaced_pages);
    np_json_set_count(row, "split_pages", entry->arena[arena].split_pages);
    np_json_set_count(row, "words_pages", entry->arena[arena].words_pages);
    np_json_set_count(row, "words_misplaced_pages", entry->arena[arena].words_misplaced);
    /* relaxed, all of them: for people */
    np_json_set(row, "looked_s", seconds_since(np_load64(&entry->arena[arena].looked_unix_ns, memory_order_relaxed)));
    np_json_set_count(row, "moved_back_pages", np_load64(&entry->arena[arena].moved_back, memory_order_relaxed));
    np_json_set_text(row, "state", np_ctl_place_state(np_load32(&entry->arena[arena].state, memory_order_relaxed)));
    return row;
}

static void set_placement(const struct np_pool_entry *entry, unsigned arenas, json_t *row)
{
    json_t *places = np_json_array();
    for (unsigned i = 0; i < arenas; i++)
        np_json_append(places, describe_place(entry, i));
    const char *policy = np_policy_name(entry->policy);
    np_json_set_text(row, "placement", policy ? policy : "?");
    np_json_set_flag(row, "strict", (entry->flags & NUMAPOOL_STRICT) != 0);
    np_json_set_count(row, "spill_slots", entry->spill_slots);
    np_json_set(row, "places", places);
}

static json_t *total_of(const json_t *nodes)
{
    json_t *total = np_json_object(), *value;
    const char *key;
    size_t index;
    const json_t *row;
    np_json_set_text(total, "node", "all");
    json_array_foreach((json_t *)(uintptr_t)nodes, index, row)
        json_object_foreach((json_t *)(uintptr_t)row, key, value)
            if (json_is_integer(value) && strcmp(key, "node") != 0)
                np_json_add(total, key, (uint64_t)json_integer_value(value));
    return total;
}

static int measure_pool(struct np_view *view, uint32_t pool, json_t *rows)
{
    const struct np_pool_entry *entry = &view->board.pools[pool];
    struct np_view_pool mapped;
    char name[NUMAPOOL_NAME_BYTES];
    int result = np_view_map_pool(view, pool, &mapped);
    if (result < 0)
        return result;
    json_t *row = np_json_object(), *nodes = np_json_array();
    np_view_name(name, entry->name);
    np_json_set_text(row, "pool", name);
    np_json_set(row, "nodes", nodes);
    np_json_append(rows, row);
    for (unsigned i = 0; i < mapped.arena_count; i++) {
        json_t *node = np_json_object();
        np_json_append(nodes, node);
        np_json_set(node, "node", json_integer(mapped.arenas[i].node));
        add_words(node, &mapped.arenas[i]);
        add_account_row(node, &(struct np_account_row){ 0 }); /* so that each key is there whoever is connected */
        np_json_set_count(node, "misplaced_pages", entry->arena[i].misplaced_pages);
        np_json_set_count(node, "metadata_bytes", mapped.memory[i].bytes);
    }
    result = add_accounts(view, pool, mapped.arena_count, nodes);
    json_t *total = total_of(nodes);
    bool transparent = false;
    for (unsigned i = 0; i < mapped.arena_count; i++) {
        transparent = transparent || entry->arena[i].transparent != 0;
        set_sizes(json_array_get(nodes, i), entry->arena[i].page_bytes, entry->arena[i].transparent != 0, entry->slot_bytes,
                  np_arena_stride_of(entry->slot_bytes, entry->flags));
    }
    set_sizes(total, np_ctl_page_bytes(entry, mapped.arena_count), transparent, entry->slot_bytes, np_arena_stride_of(entry->slot_bytes, entry->flags));
    np_json_set(row, "total", total);
    set_placement(entry, mapped.arena_count, row);
    np_view_unmap_pool(&mapped);
    return result;
}

static void set_version(json_t *daemon, const char *key, const np_shm64 words[NP_BOARD_VERSION_BYTES / 8])
{
    char text[NP_BOARD_VERSION_BYTES + 1] = "";
    for (unsigned i = 0; i < NP_BOARD_VERSION_BYTES / 8; i++) {
        uint64_t word = np_load64(&words[i], memory_order_relaxed); /* relaxed: for people; torn at worst */
        memcpy(text + 8 * i, &word, sizeof word);
    }
    np_json_set_text(daemon, key, text);
}

/* What the worker runs on; and, where it would have liked to run on io_uring, what the system answered. */
static void describe_loop(const struct np_board_header *header, json_t *daemon)
{
    static const char *const names[] = { NULL, "io_uring", "epoll" };
    uint32_t loop = np_load32(&header->loop, memory_order_relaxed); /* relaxed, both: for people */
    uint32_t refusal = np_load32(&header->loop_refusal, memory_order_relaxed);
    np_json_set(daemon, "loop", loop != NP_BOARD_LOOP_UNSAID && loop < sizeof names / sizeof names[0] ? json_string(names[loop]) : json_null());
    np_json_set(daemon, "loop_refusal", refusal != 0 ? json_string(strerror((int)refusal)) : json_null());
}

static void describe_daemon(const struct np_view *view, json_t *document)
{
    const struct np_board_header *header = view->board.header;
    const struct { const char *key; const np_shm64 *counter; } counters[] = {
        { "worker_starts", &header->worker_starts },
        { "clients_admitted", &header->clients_admitted },
        { "clients_died", &header->clients_died },
        { "slots_scavenged", &header->slots_scavenged },
        { "messages_rolled_forward", &header->messages_rolled_forward },
        { "messages_redelivered", &header->messages_redelivered },
        { "requests_refused", &header->requests_refused },
        { "scavenge_ns_max", &header->scavenge_ns_max },
        { "io_waits", &header->io_waits },
        { "pages_lost", &header->pages_lost },
        { "upgrades", &header->upgrades },
        { "depository", &header->depository },
        { "patrol_rounds", &header->patrol_rounds },
        { "pages_moved_back", &header->pages_moved_back },
        { "nodes_gone", &header->nodes_gone },
    };
    struct timespec now;
    json_t *daemon = np_json_object();
    clock_gettime(CLOCK_REALTIME, &now);
    uint64_t now_ns = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
    double age_s = now_ns > header->created_unix_ns ? (double)(now_ns - header->created_unix_ns) / 1e9 : 0;
    np_json_set(daemon, "age_s", json_real(age_s));
    for (size_t i = 0; i < sizeof counters / sizeof counters[0]; i++)
        np_json_set_count(daemon, counters[i].key, np_load64(counters[i].counter, memory_order_relaxed)); /* relaxed: a statistic */
    set_version(daemon, "worker_version", header->worker_version);
    set_version(daemon, "keeper_version", header->keeper_version);
    describe_loop(header, daemon);
    np_json_set(daemon, "patrol_s", seconds_since(np_load64(&header->patrol_unix_ns, memory_order_relaxed))); /* relaxed: for people */
    np_json_set(document, "daemon", daemon);
}

int np_ctl_stats(struct np_view *view, const char *pool, json_t *document)
{
    json_t *rows = np_json_array();
    describe_daemon(view, document);
    np_ctl_topology(view->board.header, json_object_get(document, "daemon"));
    np_json_set(document, "pools", rows);
    return np_ctl_each_pool(view, pool, measure_pool, rows);
}

/* Nothing, where there is none. */
static void print_patrol(const json_t *daemon)
{
    char rounds[40], ago[40], moved[40];
    const uint64_t gone = np_json_count(daemon, "nodes_gone");
    np_table_text(rounds, sizeof rounds, NP_CELL_COUNT, json_object_get(daemon, "patrol_rounds"));
    np_table_text(ago, sizeof ago, NP_CELL_SECONDS, json_object_get(daemon, "patrol_s"));
    np_table_text(moved, sizeof moved, NP_CELL_COUNT, json_object_get(daemon, "pages_moved_back"));
    if (np_json_count(daemon, "patrol_rounds") > 0)
        printf("patrol: %s rounds, the last %s ago; pages moved back: %s\n", rounds, ago, moved);
    for (unsigned node = 0; node < 63; node++)
        if (gone >> node & 1)
            printf("NODE %u IS GONE, and pools have slots there\n", node);
}

static void print_daemon(const json_t *daemon)
{
    static const struct np_column parts[] = {
        { "age_s", "old", NP_CELL_SECONDS },
        { "worker_version", "worker", NP_CELL_TEXT },
        { "worker_starts", "worker starts", NP_CELL_COUNT },
        { "clients_admitted", "clients admitted", NP_CELL_COUNT },
        { "clients_died", "died", NP_CELL_COUNT },
        { "slots_scavenged", "slots scavenged", NP_CELL_COUNT },
        { "messages_rolled_forward", "messages rolled forward", NP_CELL_COUNT },
        { "messages_redelivered", "redelivered", NP_CELL_COUNT },
    };
    char text[64];
    printf("daemon:");
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        np_table_text(text, sizeof text, parts[i].kind, json_object_get(daemon, parts[i].key));
        printf("%s %s %s", i > 0 ? "," : "", text, parts[i].heading);
    }
    const char *loop = json_string_value(json_object_get(daemon, "loop")), *refusal = json_string_value(json_object_get(daemon, "loop_refusal"));
    if (loop)
        printf(", on %s", loop);
    if (refusal)
        printf(" (io_uring: %s)", refusal);
    static const char is_kept[] = ", every descriptor with the service manager too";
    static const char is_lost[] = "\nthe service manager has no room for all descriptors (FileDescriptorStoreMax=): the death of keeper "
                                  "and worker together loses all memory";
    json_int_t depository = json_integer_value(json_object_get(daemon, "depository")); /* as in the document: 1 kept, 2 lost */
    puts(depository == 1 ? is_kept : depository == 2 ? is_lost : "");
    print_patrol(daemon);
}

/* Only if somebody has looked. */
static void print_places(const json_t *places)
{
    static const struct np_column columns[] = {
        { "node", "pages of node", NP_CELL_NUMBER },   { "tier", "tier", NP_CELL_NUMBER },
        { "page_bytes", "page size", NP_CELL_BYTES },  { "where_text", "are on", NP_CELL_TEXT },
        { "misplaced_pages", "misplaced", NP_CELL_COUNT }, { "words_misplaced_pages", "of words", NP_CELL_COUNT },
        { "split_pages", "split", NP_CELL_COUNT }, { "moved_back_pages", "moved back", NP_CELL_COUNT }, { "looked_s", "looked at ago", NP_CELL_SECONDS },
        { "state", "state", NP_CELL_TEXT },
    };
    size_t index;
    const json_t *place;
    bool looked = false;
    json_array_foreach((json_t *)(uintptr_t)places, index, place)
        looked = looked || json_is_real(json_object_get(place, "looked_s"));
    if (looked)
        np_table_print(columns, sizeof columns / sizeof columns[0], places);
}

void np_ctl_stats_print(const json_t *document)
{
    static const struct np_column columns[] = {
        { "node", "node", NP_CELL_NUMBER },
        { "slots", "slots", NP_CELL_COUNT },
        { "free_slots", "free", NP_CELL_COUNT },
        { "held", "held", NP_CELL_COUNT },
        { "in_flight", "in flight", NP_CELL_COUNT },
        { "quarantined", "quarantined", NP_CELL_COUNT },
        { "low_water", "low water", NP_CELL_COUNT },
        { "high_water", "high water", NP_CELL_COUNT },
        { "lows", "ran low", NP_CELL_COUNT },
        { "refills", "refills", NP_CELL_COUNT },
        { "flushes", "flushes", NP_CELL_COUNT },
        { "home_returns", "home returns", NP_CELL_COUNT },
        { "failures", "failures", NP_CELL_COUNT },
        { "faults", "faults", NP_CELL_COUNT },
        { "page_bytes", "page size", NP_CELL_BYTES },
        { "slot_bytes", "slot size", NP_CELL_BYTES },
        { "metadata_bytes_per_slot", "metadata B/slot", NP_CELL_RATIO },
    };
    size_t index;
    const json_t *row;
    np_ctl_topology_print(json_object_get(document, "daemon"));
    print_daemon(json_object_get(document, "daemon"));
    json_array_foreach(json_object_get(document, "pools"), index, row) {
        char name[NUMAPOOL_NAME_BYTES];
        json_t *lines = np_json_array(), *node;
        size_t i;
        np_table_text(name, sizeof name, NP_CELL_TEXT, json_object_get(row, "pool"));
        printf("\npool %s: placement %s%s\n", name, json_string_value(json_object_get(row, "placement")),
               json_is_true(json_object_get(row, "strict")) ? ", strict" : "");
        json_array_foreach(json_object_get(row, "nodes"), i, node)
            np_json_append(lines, json_incref(node));
        np_json_append(lines, json_incref(json_object_get(row, "total")));
        np_table_print(columns, sizeof columns / sizeof columns[0], lines);
        json_decref(lines);
        print_places(json_object_get(row, "places"));
    }
}
