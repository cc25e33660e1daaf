/* SPDX-License-Identifier: MIT
 * verify: is every page where it was asked for, now. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "ctl.h"
#include "where.h"

#define VERIFY_NS INT64_C(300000000000) /* a terabyte of small pages takes the kernel a while */

static json_t *describe(struct np_view *view, uint32_t pool, unsigned arena, const char *name,
                        const struct np_wire_answer *answer)
{
    const struct np_pool_entry *entry = &view->board.pools[pool];
    const uint32_t count = answer->of.verify.where_count < NP_WIRE_WHERE_MAX ? answer->of.verify.where_count
                                                                             : NP_WIRE_WHERE_MAX;
    json_t *node = np_json_object();
    np_json_set_text(node, "pool", name);
    np_json_set_count(node, "arena", arena);
    np_json_set(node, "node", json_integer(answer->of.verify.node));
    np_json_set_count(node, "page_bytes", entry->arena[arena].page_bytes);
    np_json_set_count(node, "payload_bytes",
                      entry->arena[arena].slots * np_arena_stride_of(entry->slot_bytes, entry->flags));
    np_json_set_count(node, "pages", answer->of.verify.pages);
    np_json_set(node, "where", np_ctl_where_list(answer->of.verify.where, count));
    np_json_set_count(node, "payload_misplaced", answer->of.verify.misplaced);
    np_json_set_count(node, "split_pages", answer->of.verify.split_pages);
    np_json_set_count(node, "words_pages", answer->of.verify.words_pages);
    np_json_set_count(node, "words_misplaced", answer->of.verify.words_misplaced);
    np_json_set_count(node, "lanes", answer->of.verify.lanes);
    np_json_set_count(node, "lanes_misplaced", answer->of.verify.lanes_misplaced);
    np_json_set_count(node, "misplaced_pages",
                      answer->of.verify.misplaced + answer->of.verify.words_misplaced + answer->of.verify.lanes_misplaced);
    np_json_set_text(
        node, "pages_state",
        np_ctl_place_state(np_load32(&entry->arena[arena].state, memory_order_relaxed))); /* relaxed: for people */
    return node;
}

static int verify_pool(struct np_view *view, uint32_t pool, json_t *rows)
{
    const struct np_pool_entry *entry = &view->board.pools[pool];
    char name[NUMAPOOL_NAME_BYTES];
    uint64_t sum = 0;
    json_t *row = np_json_object(), *nodes = np_json_array();
    np_view_name(name, entry->name);
    np_json_set_text(row, "pool", name);
    np_json_set(row, "nodes", nodes);
    np_json_append(rows, row);
    for (unsigned i = 0; i < np_pool_arenas(entry); i++) {
        struct np_wire_request request = { .operation = NP_WIRE_VERIFY, .of.verify = { pool, i } };
        struct np_wire_answer answer;
        int fds[NP_WIRE_FDS_MAX];
        int result = np_view_call(view, &request, &answer, fds, 0, VERIFY_NS);
        if (result < 0)
            return result;
        json_t *node = describe(view, pool, i, name, &answer);
        sum += np_json_count(node, "misplaced_pages");
        np_json_append(nodes, node);
    }
    np_json_set_count(row, "misplaced_pages", sum);
    return sum > 0 ? NP_CTL_WRONG : NP_CTL_FINE;
}

int np_ctl_verify(struct np_view *view, const char *pool, json_t *document)
{
    json_t *rows = np_json_array(), *row;
    size_t index;
    np_json_set(document, "pools", rows);
    int status = np_ctl_each_pool(view, pool, verify_pool, rows);
    np_json_set_count(document, "misplaced_pages", 0);
    json_array_foreach(rows, index, row)
        np_json_add(document, "misplaced_pages", np_json_count(row, "misplaced_pages"));
    return status;
}

/* ---------------------------------------------------------------- for people */

static const char *remedy_for(const char *state)
{
    if (strcmp(state, "stuck") == 0)
        return "the daemon could not bring them back, and its log says why (journalctl -u numapoold)";
    if (strcmp(state, "node_gone") == 0)
        return "the node is not there any more: bring its memory online again, and the daemon takes them back there";
    return "the daemon brings them back when it looks (--patrol); if it happens again, look for who moves them "
           "(migratepages, "
           "cpuset.memory_migrate, memory that goes offline, demotion: numapoolctl doctor)";
}

static void print_misplaced(const json_t *node)
{
    char name[NUMAPOOL_NAME_BYTES], where[NP_CTL_WHERE_BYTES], pages[40], payload[40], words[40], lanes[40];
    const char *state = json_string_value(json_object_get(node, "pages_state"));
    np_table_text(name, sizeof name, NP_CELL_TEXT, json_object_get(node, "pool"));
    np_ctl_where_text(where, sizeof where, json_object_get(node, "where"));
    np_table_text(pages, sizeof pages, NP_CELL_COUNT, json_object_get(node, "pages"));
    np_table_text(payload, sizeof payload, NP_CELL_COUNT, json_object_get(node, "payload_misplaced"));
    np_table_text(words, sizeof words, NP_CELL_COUNT, json_object_get(node, "words_misplaced"));
    np_table_text(lanes, sizeof lanes, NP_CELL_COUNT, json_object_get(node, "lanes_misplaced"));
    printf("pool %s, node %lld: %s of %s pages of payload are elsewhere (%s), %s of its words, %s of its lanes: %s\n", name,
           (long long)json_integer_value(json_object_get(node, "node")), payload, pages, where, words, lanes,
           remedy_for(state ? state : ""));
}

void np_ctl_verify_print(const json_t *document)
{
    static const struct np_column columns[] = {
        { "pool", "pool", NP_CELL_TEXT },
        { "node", "node", NP_CELL_NUMBER },
        { "payload_bytes", "payload", NP_CELL_BYTES },
        { "page_bytes", "page size", NP_CELL_BYTES },
        { "pages", "pages", NP_CELL_COUNT },
        { "where_text", "are on", NP_CELL_TEXT },
        { "split_pages", "split", NP_CELL_COUNT },
        { "words_pages", "of words", NP_CELL_COUNT },
        { "lanes", "lanes", NP_CELL_COUNT },
        { "misplaced_pages", "misplaced pages", NP_CELL_COUNT },
    };
    json_t *lines = np_json_array();
    size_t index, at;
    const json_t *row, *node;
    json_array_foreach(json_object_get(document, "pools"), index, row)
        json_array_foreach(json_object_get(row, "nodes"), at, node) {
            char text[NP_CTL_WHERE_BYTES];
            json_t *line = json_copy((json_t *)(uintptr_t)node);
            np_ctl_where_text(text, sizeof text, json_object_get(node, "where"));
            np_json_set_text(line, "where_text", text);
            np_json_append(lines, line);
        }
    np_table_print(columns, sizeof columns / sizeof columns[0], lines);
    json_array_foreach(lines, index, node)
        if (np_json_count(node, "misplaced_pages") > 0)
            print_misplaced(node);
    json_decref(lines);
}
