/* SPDX-License-Identifier: MIT */
#include "daemon/probe.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "channel/lane.h"
#include "core/error.h"
#include "core/layout.h"
#include "core/pool.h"
#include "service/wire.h"

static const char first_line[] = "numapoold probe 1";

/* Each is a line; all must be there. */
enum key { OF_VERSION, OF_LAYOUT, OF_KEEPER, OF_SHARED, OF_FIRST_PART, KEYS = OF_FIRST_PART + NP_PROBE_PARTS };
static const char *const keys[KEYS] = { "version", "layout", "keeper", "shared", "arena", "lane", "board", "account", "wire" };

static uint64_t *number_of(struct np_probe *probe, unsigned key)
{
    switch (key) {
    case OF_LAYOUT:
        return &probe->layout;
    case OF_KEEPER:
        return &probe->keeper;
    case OF_SHARED:
        return &probe->shared;
    default:
        return &probe->parts[key - OF_FIRST_PART];
    }
}

void np_probe_own(struct np_probe *probe)
{
    const uint64_t account[] = { sizeof(struct np_account_row), NP_ACCOUNT_BYTES };
    memset(probe, 0, sizeof *probe);
    snprintf(probe->version, sizeof probe->version, "%s", numapool_version());
    probe->layout = np_layout_revision();
    probe->keeper = NP_KEEPER_REVISION;
    probe->shared = np_wire_layout();
    probe->parts[NP_PROBE_ARENA] = np_arena_layout();
    probe->parts[NP_PROBE_LANE] = np_lane_layout();
    probe->parts[NP_PROBE_BOARD] = np_board_layout();
    probe->parts[NP_PROBE_ACCOUNT] = np_fingerprint(account, sizeof account / sizeof account[0]);
    probe->parts[NP_PROBE_WIRE] = np_wire_messages();
}

void np_probe_print(const struct np_probe *probe, FILE *stream)
{
    fprintf(stream, "%s\n%s %s\n", first_line, keys[OF_VERSION], probe->version);
    for (unsigned key = OF_LAYOUT; key < KEYS; key++) {
        uint64_t number = *number_of((struct np_probe *)(uintptr_t)probe, key);
        if (key == OF_LAYOUT || key == OF_KEEPER)
            fprintf(stream, "%s %" PRIu64 "\n", keys[key], number);
        else
            fprintf(stream, "%s 0x%016" PRIx64 "\n", keys[key], number);
    }
}

/* ---------------------------------------------------------------- reading */

static int take_version(struct np_probe *probe, const char *value)
{
    size_t length = strlen(value);
    if (length == 0 || length >= sizeof probe->version)
        return np_error(-EPROTO, "its version has %zu bytes", length);
    for (size_t i = 0; i < length; i++)
        if (value[i] <= ' ' || value[i] > '~')
            return np_error(-EPROTO, "its version is no text");
    memcpy(probe->version, value, length + 1);
    return 0;
}

static int take_line(struct np_probe *probe, char *line, bool seen[KEYS])
{
    char *value = strchr(line, ' '), *end;
    if (!value)
        return np_error(-EPROTO, "it says '%.40s', which is no key and value", line);
    *value++ = '\0';
    for (unsigned key = 0; key < KEYS; key++) {
        if (strcmp(line, keys[key]) != 0)
            continue;
        if (seen[key])
            return np_error(-EPROTO, "it says twice what its %s is", keys[key]);
        seen[key] = true;
        if (key == OF_VERSION)
            return take_version(probe, value);
        errno = 0;
        *number_of(probe, key) = strtoull(value, &end, 0);
        if (*value < '0' || *value > '9' || *end != '\0' || errno != 0)
            return np_error(-EPROTO, "its %s is '%.40s', which is no number", keys[key], value);
        return 0;
    }
    return 0; /* a later version may say more */
}

/* For people: what a strange program says may be anything. */
static void make_printable(char *text)
{
    for (; *text; text++)
        if (*text < ' ' || *text > '~')
            *text = '?';
}

int np_probe_parse(struct np_probe *probe, const char *text, size_t bytes)
{
    char copy[NP_PROBE_TEXT_MAX + 1];
    bool seen[KEYS] = { false };
    memset(probe, 0, sizeof *probe);
    if (bytes == 0)
        return np_error(-EPROTO, "it says nothing");
    if (bytes > NP_PROBE_TEXT_MAX)
        return np_error(-EPROTO, "it says more than %u bytes", NP_PROBE_TEXT_MAX);
    memcpy(copy, text, bytes);
    copy[bytes] = '\0'; /* a zero byte in it ends it early: something will be missing then */
    char *rest = copy, *line = strsep(&rest, "\n");
    if (strcmp(line, first_line) != 0) {
        make_printable(line);
        return np_error(-EPROTO, "it says '%.40s' and not '%s'", line, first_line);
    }
    while ((line = strsep(&rest, "\n")) != NULL) {
        make_printable(line);
        int result = *line ? take_line(probe, line, seen) : 0;
        if (result < 0)
            return result;
    }
    for (unsigned key = 0; key < KEYS; key++)
        if (!seen[key])
            return np_error(-EPROTO, "it does not say what its %s is", keys[key]);
    return 0;
}

/* ---------------------------------------------------------------- comparing */

/* "lanes and the wire": what has another fingerprint. */
static void name_parts(const struct np_probe *own, const struct np_probe *other, char *names, size_t bytes)
{
    static const char *const parts[NP_PROBE_PARTS] = { "slot words", "lanes", "the board", "accounts", "requests" };
    unsigned named = 0;
    size_t used = 0;
    names[0] = '\0';
    for (unsigned i = 0; i < NP_PROBE_PARTS; i++)
        if (own->parts[i] != other->parts[i] && used < bytes) {
            int added = snprintf(names + used, bytes - used, "%s%s", named++ ? ", " : "", parts[i]);
            used += added > 0 ? (size_t)added : 0;
        }
    if (named == 0)
        snprintf(names, bytes, "all of it together");
}

int np_probe_compare(const struct np_probe *own, const struct np_probe *other, const char *path)
{
    static const char remedy[] = "end the programs and this daemon, and start the new one";
    char names[96];
    if (own->layout != other->layout)
        return np_error(-EPROTO, "numapoold %s at %.80s has memory layout %" PRIu64 ", this daemon's is %" PRIu64 ": %s", other->version, path,
                        other->layout, own->layout, remedy);
    name_parts(own, other, names, sizeof names);
    if (own->shared != other->shared || memcmp(own->parts, other->parts, sizeof own->parts) != 0)
        return np_error(-EPROTO, "numapoold %s at %.80s shares memory of another form with its clients (%s): %s", other->version, path, names,
                        remedy);
    if (own->keeper != other->keeper)
        return np_error(-EPROTO, "the worker of numapoold %s at %.80s speaks with its keeper in revision %" PRIu64 ", this daemon's keeper in %"
                        PRIu64 ": %s", other->version, path, other->keeper, own->keeper, remedy);
    return 0;
}
