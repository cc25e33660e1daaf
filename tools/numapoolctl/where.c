/* SPDX-License-Identifier: MIT */
#include "where.h"

#include <stdio.h>

json_t *np_ctl_where_list(const struct np_whereabouts *list, unsigned count)
{
    json_t *where = np_json_array();
    for (unsigned i = 0; i < count; i++) {
        if (list[i].pages == 0)
            continue;
        json_t *row = np_json_object();
        np_json_set(row, "node", list[i].node >= 0 ? json_integer(list[i].node) : json_null());
        np_json_set_count(row, "pages", list[i].pages);
        np_json_append(where, row);
    }
    return where;
}

void np_ctl_where_text(char *text, size_t bytes, const json_t *where)
{
    size_t used = 0, index;
    const json_t *row;
    text[0] = '\0';
    json_array_foreach((json_t *)(uintptr_t)where, index, row) {
        char node[24] = "nowhere", pages[40];
        const json_t *number = json_object_get(row, "node");
        if (json_is_integer(number))
            snprintf(node, sizeof node, "%lld", (long long)json_integer_value(number));
        np_table_text(pages, sizeof pages, NP_CELL_COUNT, json_object_get(row, "pages"));
        int added = snprintf(text + used, bytes - used, "%s%s: %s", index > 0 ? ", " : "", node, pages);
        if (added < 0 || (size_t)added >= bytes - used)
            return;
        used += (size_t)added;
    }
}

const char *np_ctl_place_state(uint32_t state)
{
    static const char *const names[] = { "right", "strayed", "stuck", "node_gone", "untold" };
    return state < sizeof names / sizeof names[0] ? names[state] : "unknown";
}
