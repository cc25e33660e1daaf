/* SPDX-License-Identifier: MIT
 * numa: who takes slots from which node, as numastat(8) has it, and what to do about it. */
#include "numa.h"

#include <errno.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/error.h"

enum { SENTENCE_BYTES = 600, KEY_INTERVAL = 640 };
#define INTERVAL_MAX_S 86400.0

const char *const np_numa_keys[NP_NUMA_COUNTERS] = { "local", "remote", "foreign", "spilled", "tiered", "homeless", "home_returns",
                                                     "followed", "refills", "failures" };

/* ---------------------------------------------------------------- the document */

void np_ctl_topology(const struct np_board_header *header, json_t *document)
{
    json_t *topology = np_json_object();
    char name[sizeof header->topology_name + 1] = { 0 };
    memcpy(name, header->topology_name, sizeof header->topology_name);
    const bool imagined = np_load64(&header->topology, memory_order_acquire) != 0; /* pairs with the store after the name */
    np_json_set_flag(topology, "emulated", imagined);
    if (imagined)
        np_json_set_text(topology, "name", name);
    else
        np_json_set(topology, "name", json_null());
    np_json_set(document, "topology", topology);
}

void np_ctl_topology_print(const json_t *document)
{
    const json_t *topology = json_object_get(document, "topology");
    char name[96];
    if (!json_is_true(json_object_get(topology, "emulated")))
        return;
    np_table_text(name, sizeof name, NP_CELL_TEXT, json_object_get(topology, "name"));
    printf("NODES ARE IMAGINED (%s): nothing here is proof\n", name);
}

/* To a tenth. */
static double per_second(uint64_t count, double seconds)
{
    const double tenths = (double)count / seconds * 10;
    return tenths < 1e15 ? (double)(uint64_t)(tenths + 0.5) / 10 : tenths / 10;
}

static void set_counts(json_t *row, const struct np_numa_counts *counts, double seconds)
{
    for (unsigned i = 0; i < NP_NUMA_COUNTERS; i++) {
        if (seconds > 0)
            np_json_set(row, np_numa_keys[i], json_real(per_second(counts->of[i], seconds)));
        else
            np_json_set_count(row, np_numa_keys[i], counts->of[i]);
    }
}

static json_t *node_row(const struct np_numa_node *node, const struct np_numa_counts *counts, double seconds)
{
    json_t *row = np_json_object();
    np_json_set(row, "node", json_integer(node->node));
    np_json_set_flag(row, "memory_only", node->memory_only);
    set_counts(row, counts, seconds);
    return row;
}

static json_t *total_row(const struct np_numa_counts *counts, double seconds)
{
    json_t *row = np_json_object();
    np_json_set_text(row, "node", "all");
    set_counts(row, counts, seconds);
    return row;
}

static void set_diagnosis(const struct np_numa_pool *pool, const struct np_numa_client *client, json_t *row)
{
    char sentence[SENTENCE_BYTES];
    enum np_diagnosis_cause cause = np_diagnosis_make(pool, client, sentence, sizeof sentence);
    if (cause == NP_CAUSE_NONE) {
        np_json_set(row, "diagnosis", json_null());
        return;
    }
    json_t *diagnosis = np_json_object();
    np_json_set_text(diagnosis, "cause", np_diagnosis_name(cause));
    np_json_set_flag(diagnosis, "as_it_should_be", cause == NP_CAUSE_RECEIVERS || cause == NP_CAUSE_RECEIVED);
    np_json_set_text(diagnosis, "sentence", sentence);
    np_json_set(row, "diagnosis", diagnosis);
}

static json_t *describe_client(const struct np_numa_pool *pool, const struct np_numa_client *client, double seconds)
{
    const struct passwd *user = getpwuid(client->uid);
    const struct np_numa_counts sum = np_numa_sum(pool, client);
    json_t *row = np_json_object(), *nodes = np_json_array();
    np_json_set_count(row, "client", client->number);
    np_json_set(row, "pid", json_integer(client->pid));
    np_json_set_text(row, "program", client->program);
    np_json_set_count(row, "uid", client->uid);
    np_json_set(row, "user", user ? json_string(user->pw_name) : json_null());
    np_json_set_flag(row, "readonly", client->readonly);
    np_threads_describe(&client->threads, row);
    for (unsigned i = 0; i < pool->node_count; i++)
        np_json_append(nodes, node_row(&pool->nodes[i], &client->counts[i], seconds));
    np_json_set(row, "nodes", nodes);
    np_json_set(row, "total", total_row(&sum, seconds));
    set_diagnosis(pool, client, row);
    return row;
}

static json_t *describe_pool(const struct np_numa_pool *pool, double seconds)
{
    json_t *row = np_json_object(), *nodes = np_json_array(), *clients = np_json_array(), *departed = np_json_array();
    struct np_numa_counts sum = { .of = { 0 } }, gone = { .of = { 0 } };
    uint64_t slots = 0, free_slots = 0;
    for (unsigned i = 0; i < pool->node_count; i++) {
        const struct np_numa_node *node = &pool->nodes[i];
        json_t *one = node_row(node, &node->counts, seconds);
        np_json_set_count(one, "slots", node->slots);
        np_json_set_count(one, "free_slots", node->free_slots);
        np_json_append(nodes, one);
        np_json_append(departed, node_row(node, &node->departed, seconds));
        np_numa_add(&sum, &node->counts);
        np_numa_add(&gone, &node->departed);
        slots += node->slots;
        free_slots += node->free_slots;
    }
    for (unsigned i = 0; i < pool->client_count; i++)
        np_json_append(clients, describe_client(pool, &pool->clients[i], seconds));
    json_t *total = total_row(&sum, seconds), *gone_row = np_json_object();
    np_json_set_count(total, "slots", slots);
    np_json_set_count(total, "free_slots", free_slots);
    np_json_set(gone_row, "nodes", departed);
    np_json_set(gone_row, "total", total_row(&gone, seconds));
    np_json_set_text(row, "pool", pool->name);
    np_json_set(row, "nodes", nodes);
    np_json_set(row, "total", total);
    np_json_set(row, "clients", clients);
    np_json_set(row, "departed", gone_row);
    return row;
}

void np_numa_describe(const struct np_numa *numa, json_t *document)
{
    json_t *pools = np_json_array();
    np_json_set_flag(document, "per_second", numa->seconds > 0);
    np_json_set(document, "seconds", numa->seconds > 0 ? json_real(numa->seconds) : json_null());
    np_json_set_flag(document, "threads_known", numa->topology_known);
    for (unsigned i = 0; i < numa->pool_count; i++)
        np_json_append(pools, describe_pool(&numa->pools[i], numa->seconds));
    np_json_set(document, "pools", pools);
}

int np_ctl_numa(struct np_view *view, const char *pool, json_t *document)
{
    struct np_numa numa;
    int result = np_numa_read(&numa, view, pool);
    if (result < 0)
        return result;
    np_ctl_topology(view->board.header, document);
    np_numa_describe(&numa, document);
    np_numa_free(&numa);
    return NP_CTL_FINE;
}

/* ---------------------------------------------------------------- tables */

#define COUNTS                                                                                                                     \
    { "local", "local", NP_CELL_COUNT }, { "remote", "remote", NP_CELL_COUNT }, { "foreign", "foreign", NP_CELL_COUNT },           \
        { "spilled", "spilled", NP_CELL_COUNT }, { "tiered", "tiered", NP_CELL_COUNT }, { "homeless", "homeless", NP_CELL_COUNT }, \
        { "home_returns", "home returns", NP_CELL_COUNT }, { "followed", "followed", NP_CELL_COUNT }

static json_t *line_of(const json_t *row)
{
    json_t *line = json_copy((json_t *)(uintptr_t)row);
    char text[48], number[16];
    if (!line) {
        fprintf(stderr, "numapoolctl: no memory for the answer\n");
        exit(NP_CTL_TROUBLE);
    }
    np_table_text(number, sizeof number, NP_CELL_NUMBER, json_object_get(row, "node"));
    snprintf(text, sizeof text, "%s%s", number, json_is_true(json_object_get(row, "memory_only")) ? ", memory only" : "");
    np_json_set_text(line, "node_text", text);
    return line;
}

/* Of what the tables show. */
static bool has_counted(const json_t *row)
{
    for (unsigned i = 0; i < NP_NUMA_REFILLS; i++)
        if (json_number_value(json_object_get(row, np_numa_keys[i])) != 0)
            return true;
    return false;
}

static void set_who(json_t *line, const char *key, json_t *value)
{
    np_json_set(line, key, value ? json_incref(value) : json_string(""));
}

/* A line for each node that something was counted of; who it is stands in the first of them. */
static void append_client_lines(json_t *lines, const json_t *client, const json_t *nodes)
{
    static const char *const who[] = { "client", "pid", "program", "user", "threads_text" };
    size_t index, found = 0;
    const json_t *node;
    json_array_foreach((json_t *)(uintptr_t)nodes, index, node) {
        const bool is_last = index + 1 == json_array_size(nodes);
        if (!has_counted(node) && !(is_last && found == 0))
            continue;
        json_t *line = line_of(node);
        if (!has_counted(node))
            np_json_set_text(line, "node_text", "-");
        for (size_t i = 0; i < sizeof who / sizeof who[0]; i++)
            set_who(line, who[i], found > 0 ? NULL : json_object_get(client, who[i]));
        np_json_append(lines, line);
        found++;
    }
}

static void print_sentences(const json_t *clients)
{
    char text[SENTENCE_BYTES];
    size_t index;
    const json_t *client;
    json_array_foreach((json_t *)(uintptr_t)clients, index, client) {
        const json_t *unreadable = json_object_get(client, "threads_unreadable");
        const json_t *sentence = json_object_get(json_object_get(client, "diagnosis"), "sentence");
        if (json_is_string(unreadable)) {
            np_table_text(text, sizeof text, NP_CELL_TEXT, unreadable);
            printf("client %" JSON_INTEGER_FORMAT ": on which nodes its threads run cannot be seen: %s\n",
                   json_integer_value(json_object_get(client, "client")), text);
        }
        if (json_is_string(sentence)) {
            np_table_text(text, sizeof text, NP_CELL_TEXT, sentence);
            printf("%s\n", text);
        }
    }
}

static void print_pool(const json_t *pool)
{
    static const struct np_column node_columns[] = { { "node_text", "node", NP_CELL_TEXT }, { "slots", "slots", NP_CELL_COUNT },
                                                     { "free_slots", "free", NP_CELL_COUNT }, COUNTS };
    static const struct np_column client_columns[] = { { "client", "client", NP_CELL_NUMBER }, { "pid", "pid", NP_CELL_NUMBER },
                                                       { "program", "program", NP_CELL_TEXT }, { "user", "user", NP_CELL_TEXT },
                                                       { "threads_text", "threads on", NP_CELL_TEXT },
                                                       { "node_text", "node", NP_CELL_TEXT }, COUNTS };
    json_t *lines = np_json_array(), *clients = json_object_get(pool, "clients"), *departed = json_object_get(pool, "departed");
    char name[NUMAPOOL_NAME_BYTES];
    size_t index;
    const json_t *row;
    json_array_foreach(json_object_get(pool, "nodes"), index, row)
        np_json_append(lines, line_of(row));
    np_json_append(lines, line_of(json_object_get(pool, "total")));
    np_table_text(name, sizeof name, NP_CELL_TEXT, json_object_get(pool, "pool"));
    printf("pool %s\n", name);
    np_table_print(node_columns, sizeof node_columns / sizeof node_columns[0], lines);
    json_decref(lines);

    lines = np_json_array();
    json_array_foreach(clients, index, row)
        append_client_lines(lines, row, json_object_get(row, "nodes"));
    if (has_counted(json_object_get(departed, "total"))) {
        json_t *gone = np_json_object();
        np_json_set_text(gone, "client", "gone");
        append_client_lines(lines, gone, json_object_get(departed, "nodes"));
        json_decref(gone);
    }
    if (json_array_size(lines) > 0) {
        putchar('\n');
        np_table_print(client_columns, sizeof client_columns / sizeof client_columns[0], lines);
    }
    json_decref(lines);
    print_sentences(clients);
}

void np_ctl_numa_print(const json_t *document)
{
    size_t index;
    const json_t *pool;
    np_ctl_topology_print(document);
    if (!json_is_true(json_object_get(document, "threads_known")))
        printf("the daemon's nodes cannot be read here, so threads are on no node: set NUMAPOOL_TOPOLOGY as it has it\n");
    if (json_is_true(json_object_get(document, "per_second")))
        printf("counts per second, in the last %.1f s\n", json_number_value(json_object_get(document, "seconds")));
    json_array_foreach(json_object_get(document, "pools"), index, pool) {
        if (index > 0)
            putchar('\n');
        print_pool(pool);
    }
}

/* ---------------------------------------------------------------- again and again */

static const struct argp_option numa_options[] = {
    { "interval", KEY_INTERVAL, "SECONDS", 0, "numa: what was counted in each interval, per second (with --count: so many times)", 4 },
    { 0 }
};

static error_t take_option(int key, char *text, struct argp_state *state)
{
    struct np_ctl_numa_order *order = state->input;
    char *end;
    if (key != KEY_INTERVAL)
        return ARGP_ERR_UNKNOWN;
    order->given = true;
    order->interval_s = strtod(text, &end);
    if (end == text || *end != '\0' || !(order->interval_s >= 0.01 && order->interval_s <= INTERVAL_MAX_S))
        argp_error(state, "--interval: '%.40s' is no number of seconds from 0.01 to %.0f", text, INTERVAL_MAX_S);
    return 0;
}

const struct argp np_ctl_numa_argp = { numa_options, take_option, NULL, NULL, NULL, NULL, NULL };

static int report(const struct np_numa *numa, const struct np_board_header *header, bool json, bool is_first)
{
    json_t *document = np_json_object();
    np_ctl_topology(header, document);
    np_numa_describe(numa, document);
    int result = 0;
    if (json && json_dumpf(document, stdout, JSON_COMPACT | JSON_REAL_PRECISION(12)) != 0)
        result = np_error(-EIO, "cannot write the answer");
    if (json || !is_first)
        putchar('\n'); /* one document a line */
    if (!json)
        np_ctl_numa_print(document);
    json_decref(document);
    if (fflush(stdout) != 0 && result == 0)
        result = np_error(-EIO, "cannot write the answer: %s", strerror(errno));
    return result;
}

int np_ctl_numa_watch(struct np_view *view, const struct np_ctl_numa_order *order, const char *pool, bool json)
{
    const time_t whole = (time_t)order->interval_s;
    const struct timespec interval = { .tv_sec = whole, .tv_nsec = (long)((order->interval_s - (double)whole) * 1e9) };
    struct np_numa before, now, since;
    int result = np_numa_read(&before, view, pool);
    if (result < 0)
        return result;
    for (uint64_t done = 0; result == 0 && (order->count == 0 || done < order->count); done++) {
        nanosleep(&interval, NULL);
        result = np_numa_read(&now, view, pool);
        if (result < 0)
            break;
        result = np_numa_copy(&since, &now);
        if (result == 0) {
            np_numa_subtract(&since, &before);
            result = report(&since, view->board.header, json, done == 0);
            np_numa_free(&since);
        }
        np_numa_free(&before);
        before = now;
    }
    np_numa_free(&before);
    return result;
}
