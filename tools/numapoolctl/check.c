/* SPDX-License-Identifier: MIT
 * check: is every slot somebody's exactly once. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/error.h"
#include "ctl.h"

enum {
    FINDINGS_MAX = 1000, /* listed; more are counted */
    CHECK_TRIES = 3      /* while lanes come and go under it */
};

/* ---------------------------------------------------------------- check */

/* *changed: a lane is another by now, or the pool has grown: against what was mapped right words look wrong. */
static int check_once(struct np_view *view, uint32_t pool, struct np_check *check, bool *changed)
{
    struct np_view_pool mapped;
    struct np_view_lanes lanes;
    int result = np_view_map_pool(view, pool, &mapped);
    if (result < 0)
        return result;
    result = np_view_map_lanes(view, pool, &lanes);
    if (result < 0) {
        np_view_unmap_pool(&mapped);
        return result;
    }
    result = np_check_pool(check, &view->board, pool, mapped.arenas, mapped.arena_count, lanes.shared, NULL, NULL);
    *changed = np_view_lanes_changed(view, &lanes) || np_pool_arenas(&view->board.pools[pool]) != mapped.arena_count;
    np_view_unmap_lanes(&lanes);
    np_view_unmap_pool(&mapped);
    return result;
}

static void report(const struct np_view *view, uint32_t pool, const struct np_check *check, json_t *rows)
{
    char name[NUMAPOOL_NAME_BYTES];
    json_t *row = np_json_object(), *findings = np_json_array();
    np_view_name(name, view->board.pools[pool].name);
    np_json_set_text(row, "pool", name);
    np_json_set_count(row, "slots", check->slots);
    np_json_set_count(row, "free_slots", check->free_slots);
    np_json_set_count(row, "held", check->held);
    np_json_set_count(row, "in_flight", check->in_flight);
    np_json_set_count(row, "kept", check->kept);
    np_json_set_count(row, "wrong", check->wrong);
    np_json_set(row, "findings", findings);
    for (uint64_t i = 0; i < check->wrong && i < check->findings_capacity; i++)
        np_json_append(findings, json_string(check->findings[i].sentence));
    np_json_append(rows, row);
}

static int check_pool(struct np_view *view, uint32_t pool, json_t *rows)
{
    struct np_check check = { .findings = calloc(FINDINGS_MAX, sizeof *check.findings), .findings_capacity = FINDINGS_MAX };
    if (!check.findings)
        return np_error(-ENOMEM, "no memory for what may be found");
    int result = 0;
    bool changed = true;
    for (unsigned tries = 0; tries < CHECK_TRIES && changed && result == 0; tries++) {
        result = check_once(view, pool, &check, &changed); /* all is mapped anew */
        changed = changed && check.wrong > 0;
    }
    if (result == 0)
        report(view, pool, &check, rows);
    free(check.findings);
    return result < 0 ? result : check.wrong > 0 ? NP_CTL_WRONG : NP_CTL_FINE;
}

int np_ctl_check(struct np_view *view, const char *pool, json_t *document)
{
    json_t *rows = np_json_array(), *row;
    size_t index;
    np_json_set(document, "pools", rows);
    int status = np_ctl_each_pool(view, pool, check_pool, rows);
    np_json_set_count(document, "wrong", 0);
    json_array_foreach(rows, index, row)
        np_json_add(document, "wrong", np_json_count(row, "wrong"));
    return status;
}

static void print_sum(const json_t *row)
{
    char name[NUMAPOOL_NAME_BYTES];
    uint64_t slots = np_json_count(row, "slots"), free_slots = np_json_count(row, "free_slots");
    uint64_t held = np_json_count(row, "held"), in_flight = np_json_count(row, "in_flight"), kept = np_json_count(row, "kept");
    uint64_t missing = slots - free_slots - held - in_flight - kept;
    np_table_text(name, sizeof name, NP_CELL_TEXT, json_object_get(row, "pool"));
    printf("pool %s: %" PRIu64 " slots = %" PRIu64 " free + %" PRIu64 " held + %" PRIu64 " in flight", name, slots, free_slots, held,
           in_flight);
    if (kept > 0)
        printf(" + %" PRIu64 " kept", kept);
    if (missing > 0)
        printf(" + %" PRIu64 " in no state there is", missing);
}

void np_ctl_check_print(const json_t *document)
{
    size_t index, i;
    const json_t *row, *finding;
    json_array_foreach(json_object_get(document, "pools"), index, row) {
        uint64_t wrong = np_json_count(row, "wrong");
        const json_t *findings = json_object_get(row, "findings");
        print_sum(row);
        if (wrong == 0) {
            printf("; every slot has exactly one owner\n");
            continue;
        }
        printf("; findings: %" PRIu64 "\n", wrong);
        json_array_foreach((json_t *)(uintptr_t)findings, i, finding)
            printf("  %s\n", json_string_value(finding));
        if (wrong > json_array_size(findings))
            printf("  and %" PRIu64 " more\n", wrong - json_array_size(findings));
    }
}
