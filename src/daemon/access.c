/* SPDX-License-Identifier: MIT */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "daemon/access.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/error.h"

enum {
    ID_BYTES = 64,               /* longest name of a user or group here, with its closing zero */
    LISTS_BYTES = 2048,          /* longest text of np_access_parse */
    NAME_SERVICE_BYTES = 1 << 16 /* for what getgrnam_r says of a group: its members too, which nobody here wants */
};

static const struct {
    const char *name;
    unsigned right;
} rights[] = { { "direct", NP_RIGHT_DIRECT }, { "readonly", NP_RIGHT_READONLY }, { "admin", NP_RIGHT_ADMIN } };

unsigned np_access_right_named(const char *name)
{
    for (unsigned i = 0; i < sizeof rights / sizeof rights[0]; i++)
        if (strcmp(rights[i].name, name) == 0)
            return rights[i].right;
    return 0;
}

const char *np_access_right_name(unsigned right)
{
    for (unsigned i = 0; i < sizeof rights / sizeof rights[0]; i++)
        if (rights[i].right == right)
            return rights[i].name;
    return "";
}

/* ---------------------------------------------------------------- who is meant */

/* 0; -ENOENT: not a number; -EINVAL: a number, and no ID. */
static int number_of(const char *text, uint32_t *id)
{
    uint64_t value = 0;
    for (const char *at = text; *at; at++) {
        if (*at < '0' || *at > '9')
            return -ENOENT;
        value = value * 10 + (uint64_t)(*at - '0');
        if (value >= UINT32_MAX) /* that one stands for "nobody" in system calls */
            return -EINVAL;
    }
    *id = (uint32_t)value;
    return 0;
}

static int look_up(const char *name, bool is_group, uint32_t *id)
{
    char *room = malloc(NAME_SERVICE_BYTES);
    if (!room)
        return -ENOMEM;
    int code, found = 0;
    if (is_group) {
        struct group group, *result = NULL;
        code = getgrnam_r(name, &group, room, NAME_SERVICE_BYTES, &result);
        found = result != NULL;
        *id = found ? group.gr_gid : 0;
    } else {
        struct passwd user, *result = NULL;
        code = getpwnam_r(name, &user, room, NAME_SERVICE_BYTES, &result);
        found = result != NULL;
        *id = found ? user.pw_uid : 0;
    }
    free(room);
    return found ? 0 : code == ENOMEM ? -ENOMEM : -ENOENT;
}

static int identify(const char *text, const char *where, struct np_access *entry)
{
    entry->is_group = *text == '@';
    const char *name = text + entry->is_group;
    int result = *name ? number_of(name, &entry->id) : -EINVAL;
    if (result == -ENOENT)
        result = look_up(name, entry->is_group, &entry->id);
    if (result == -ENOMEM)
        return np_error(-ENOMEM, "%s: no memory to look up '%s'", where, text);
    if (result < 0)
        return np_error(-EINVAL, "%s: '%s' is no %s of this system: a name or number, a group's after '@'", where, text,
                        entry->is_group ? "group" : "user");
    return 0;
}

/* ---------------------------------------------------------------- lists */

/* Entries before the end; NP_ACCESS_MAX: it is full. */
static unsigned length_of(const struct np_access list[NP_ACCESS_MAX])
{
    unsigned n = 0;
    while (n < NP_ACCESS_MAX && list[n].rights != 0)
        n++;
    return n;
}

static int add_one(struct np_access list[NP_ACCESS_MAX], unsigned right, const char *text, const char *where)
{
    struct np_access entry = { .rights = (uint16_t)right };
    int result = identify(text, where, &entry);
    if (result < 0)
        return result;
    unsigned n = length_of(list);
    for (unsigned i = 0; i < n; i++)
        if (list[i].id == entry.id && list[i].is_group == entry.is_group) {
            list[i].rights |= entry.rights;
            return 0;
        }
    if (n == NP_ACCESS_MAX)
        return np_error(-EINVAL, "%s: '%s' is one too many: %u users and groups can be listed in all; make a group of some",
                        where, text,
                        NP_ACCESS_MAX);
    list[n] = entry;
    return 0;
}

int np_access_add(struct np_access list[NP_ACCESS_MAX], unsigned right, const char *ids, const char *where)
{
    static const char separators[] = ":, \t";
    struct np_access before[NP_ACCESS_MAX];
    unsigned count = 0;
    int result = 0;
    memcpy(before, list, sizeof before);
    for (const char *at = ids + strspn(ids, separators); *at && result == 0; at += strspn(at, separators)) {
        char text[ID_BYTES];
        size_t bytes = strcspn(at, separators);
        if (bytes < sizeof text) {
            memcpy(text, at, bytes);
            text[bytes] = '\0';
            result = add_one(list, right, text, where);
        } else {
            result = np_error(-EINVAL, "%s: '%.40s...' has more than %d bytes, as no user or group has", where, at,
                              ID_BYTES - 1);
        }
        at += bytes;
        count++;
    }
    if (result == 0 && count == 0)
        result = np_error(-EINVAL, "%s: %s names nobody: give users, or groups after '@', or leave it out", where,
                          np_access_right_name(right));
    if (result < 0)
        memcpy(list, before, sizeof before);
    return result;
}

int np_access_parse(struct np_access list[NP_ACCESS_MAX], const char *lists, const char *where)
{
    char text[LISTS_BYTES];
    memset(list, 0, NP_ACCESS_MAX * sizeof *list);
    if (!lists)
        return 0;
    if (strlen(lists) >= sizeof text)
        return np_error(-EINVAL, "%s: the access lists '%.40s...' have more than %d bytes: make groups", where, lists,
                        LISTS_BYTES - 1);
    strcpy(text, lists);
    char *rest = text;
    for (char *part = strsep(&rest, ";"); part; part = strsep(&rest, ";")) {
        char *ids = strchr(part, '=');
        if (*part == '\0')
            continue;
        if (ids)
            *ids++ = '\0';
        unsigned right = np_access_right_named(part);
        int result = -EINVAL;
        if (right && ids)
            result = np_access_add(list, right, ids, where);
        else
            np_error(result, "%s: '%.40s' is no access list: direct=ID:ID...;readonly=...;admin=...", where, part);
        if (result < 0) {
            memset(list, 0, NP_ACCESS_MAX * sizeof *list);
            return result;
        }
    }
    return 0;
}

void np_access_format(const struct np_access list[NP_ACCESS_MAX], unsigned right, char *text, size_t bytes)
{
    size_t used = 0;
    text[0] = '\0';
    for (unsigned i = 0; i < length_of(list) && used < bytes; i++)
        if (list[i].rights & right)
            used += (size_t)snprintf(text + used, bytes - used, "%s%s%u", used ? ":" : "", list[i].is_group ? "@" : "",
                                     list[i].id);
}

static bool is_among(uint32_t id, const gid_t *groups, unsigned count)
{
    unsigned first = 0;
    while (first < count) {
        unsigned middle = first + (count - first) / 2;
        if (groups[middle] == id)
            return true;
        if (groups[middle] < id)
            first = middle + 1;
        else
            count = middle;
    }
    return false;
}

unsigned np_access_rights(const struct np_access list[NP_ACCESS_MAX], uid_t uid, gid_t gid, const gid_t *groups,
                          unsigned group_count)
{
    unsigned sum = 0;
    for (unsigned i = 0; i < length_of(list); i++) {
        bool fits = list[i].is_group ? list[i].id == gid || is_among(list[i].id, groups, group_count) : list[i].id == uid;
        sum |= fits ? list[i].rights : 0u;
    }
    return sum;
}

bool np_access_names_others(const struct np_access list[NP_ACCESS_MAX], uid_t uid)
{
    for (unsigned i = 0; i < length_of(list); i++)
        if (list[i].is_group || (list[i].id != uid && list[i].id != 0))
            return true;
    return false;
}
