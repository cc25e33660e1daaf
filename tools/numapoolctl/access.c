/* SPDX-License-Identifier: MIT
 * Who may do what with a pool, as its access list says. */
#include <grp.h>
#include <pwd.h>
#include <stdio.h>

#include "ctl.h"

static const struct {
    const char *name;
    unsigned right;
} rights[] = { { "direct", NP_RIGHT_DIRECT }, { "readonly", NP_RIGHT_READONLY }, { "admin", NP_RIGHT_ADMIN } };

/* As in the configuration: a name where the system knows one, a group after '@'. */
static json_t *id_text(const struct np_access *entry)
{
    char text[80];
    const struct passwd *user = entry->is_group ? NULL : getpwuid(entry->id);
    const struct group *group = entry->is_group ? getgrgid(entry->id) : NULL;
    const char *name = user ? user->pw_name : group ? group->gr_name : NULL;
    if (name)
        snprintf(text, sizeof text, "%s%.70s", entry->is_group ? "@" : "", name);
    else
        snprintf(text, sizeof text, "%s%u", entry->is_group ? "@" : "", entry->id);
    return json_string(text);
}

json_t *np_ctl_access(const struct np_access list[NP_ACCESS_MAX])
{
    json_t *lists = np_json_object();
    for (unsigned r = 0; r < sizeof rights / sizeof rights[0]; r++) {
        json_t *ids = np_json_array();
        for (unsigned i = 0; i < NP_ACCESS_MAX && list[i].rights != 0; i++)
            if (list[i].rights & rights[r].right)
                np_json_append(ids, id_text(&list[i]));
        np_json_set(lists, rights[r].name, ids);
    }
    return lists;
}

void np_ctl_access_print(const json_t *pools)
{
    size_t i, at;
    const json_t *pool, *id;
    json_array_foreach (pools, i, pool) {
        for (unsigned r = 0; r < sizeof rights / sizeof rights[0]; r++) {
            const json_t *ids = json_object_get(json_object_get(pool, "access"), rights[r].name);
            if (json_array_size(ids) == 0)
                continue;
            printf("%s: %s", json_string_value(json_object_get(pool, "pool")), rights[r].name);
            json_array_foreach (ids, at, id)
                printf(" %s", json_string_value(id));
            printf("\n");
        }
    }
}
