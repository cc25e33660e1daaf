/* SPDX-License-Identifier: MIT
 * A topology in words. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "numa/budget.h"
#include "numa/topology.h"

struct words {
    char *text;
    size_t bytes, used;
    bool is_full;
};

/* What does not fit is left out as a whole, with all that follows, behind "...". */
__attribute__((format(printf, 2, 3))) static void say(struct words *words, const char *format, ...)
{
    static const char more[] = "...";
    char piece[160];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(piece, sizeof piece, format, arguments);
    va_end(arguments);
    size_t length = strlen(piece);
    if (words->is_full)
        return;
    if (words->used + length + sizeof more > words->bytes) {
        words->is_full = true;
        if (words->used + sizeof more > words->bytes)
            return;
        memcpy(piece, more, sizeof more);
        length = sizeof more - 1;
    }
    memcpy(words->text + words->used, piece, length + 1);
    words->used += length;
}

/* "7.4 GiB": what people read in a line; exact figures are elsewhere. */
static const char *short_size(char *text, size_t bytes, uint64_t size)
{
    static const char *const units[] = { "KiB", "MiB", "GiB", "TiB" };
    uint64_t tenths = size / 1024 * 10;
    size_t unit = 0;
    if (size % 1024 != 0)
        tenths += 1;
    while (tenths >= 10240 && unit + 1 < sizeof units / sizeof units[0]) {
        tenths /= 1024;
        unit++;
    }
    if (tenths % 10 != 0 && tenths < 1000)
        snprintf(text, bytes, "%" PRIu64 ".%" PRIu64 " %s", tenths / 10, tenths % 10, units[unit]);
    else
        snprintf(text, bytes, "%" PRIu64 " %s", tenths / 10, units[unit]);
    return text;
}

/* "CPUs 0-1,4". */
static void say_cpus(struct words *words, const struct np_topology *topology, const struct np_topology_node *node)
{
    if (node->cpus == 0) {
        say(words, node->offline_cpus > 0 ? "its CPUs are offline" : "no CPUs");
        return;
    }
    unsigned named = 0;
    for (unsigned cpu = 0; cpu < topology->cpu_limit; cpu++) {
        if (topology->cpu_nodes[cpu] != node->number)
            continue;
        unsigned last = cpu;
        while (last + 1 < topology->cpu_limit && topology->cpu_nodes[last + 1] == node->number)
            last++;
        say(words, "%s%u", named > 0 ? "," : node->cpus > 1 ? "CPUs " : "CPU ", cpu);
        if (last > cpu)
            say(words, "-%u", last);
        named += last - cpu + 1;
        cpu = last;
    }
    if (node->offline_cpus > 0)
        say(words, ", %u offline", node->offline_cpus);
}

int np_topology_describe(const struct np_topology *topology, char *text, size_t bytes)
{
    struct words words = { text, bytes, 0, false };
    char size[NP_SIZE_TEXT_BYTES];
    unsigned used = 0;
    if (bytes > 0)
        text[0] = '\0';
    for (unsigned i = 0; i < topology->count; i++)
        used += np_topology_has_room(&topology->nodes[i]);
    if (topology->emulated)
        say(&words, "IMAGINED (%s), nothing here is proof: ", topology->name);
    say(&words, "%u of %u node%s: ", used, topology->count, topology->count == 1 ? "" : "s");
    const char *separator = "";
    for (unsigned i = 0; i < topology->count; i++) {
        const struct np_topology_node *node = &topology->nodes[i];
        if (!np_topology_has_room(node))
            continue;
        say(&words, "%s%d (%s, ", separator, node->number, short_size(size, sizeof size, node->memory_bytes));
        say_cpus(&words, topology, node);
        say(&words, ")");
        separator = ", ";
    }
    separator = "; not used: ";
    for (unsigned i = 0; i < topology->count; i++) {
        const struct np_topology_node *node = &topology->nodes[i];
        if (np_topology_has_room(node))
            continue;
        say(&words, "%snode %d (%s)", separator, node->number, node->memory_bytes == 0 ? "no memory" : "not allowed: cpuset.mems");
        separator = ", ";
    }
    return (int)words.used;
}

/* ---------------------------------------------------------------- differences */

static const char *next(struct words *words)
{
    return words->used > 0 ? "; " : "";
}

static void compare_node(struct words *words, const struct np_topology_node *before, const struct np_topology_node *after)
{
    char size_before[NP_SIZE_TEXT_BYTES], size_after[NP_SIZE_TEXT_BYTES];
    int node = after->number;
    if (before->memory_allowed != after->memory_allowed)
        say(words, "%snode %d is %s allowed (cpuset.mems)", next(words), node, after->memory_allowed ? "now" : "no longer");
    if (before->memory_bytes == 0 && after->memory_bytes > 0)
        say(words, "%snode %d has got memory (%s)", next(words), node, short_size(size_after, sizeof size_after, after->memory_bytes));
    else if (before->memory_bytes > 0 && after->memory_bytes == 0)
        say(words, "%snode %d has lost its memory", next(words), node);
    else if (before->memory_bytes != after->memory_bytes) {
        short_size(size_before, sizeof size_before, before->memory_bytes);
        short_size(size_after, sizeof size_after, after->memory_bytes);
        if (strcmp(size_before, size_after) != 0)
            say(words, "%snode %d has %s instead of %s", next(words), node, size_after, size_before);
    }
    if (before->cpus != after->cpus)
        say(words, "%snode %d has %u CPUs online instead of %u", next(words), node, after->cpus, before->cpus);
    else if (before->cpus_allowed != after->cpus_allowed)
        say(words, "%sthe CPUs of node %d are %s allowed", next(words), node, after->cpus_allowed ? "now" : "no longer");
}

/* Of nodes that both have. */
static bool distances_differ(const struct np_topology *before, const struct np_topology *after)
{
    for (unsigned i = 0; i < after->count; i++)
        for (unsigned k = 0; k < after->count; k++) {
            int from = after->nodes[i].number, to = after->nodes[k].number;
            if (np_topology_find(before, from) != NULL && np_topology_find(before, to) != NULL &&
                np_topology_distance(before, from, to) != after->distances[(size_t)i * after->count + k])
                return true;
        }
    return false;
}

int np_topology_difference(const struct np_topology *before, const struct np_topology *after, char *text, size_t bytes)
{
    struct words words = { text, bytes, 0, false };
    char size[NP_SIZE_TEXT_BYTES];
    if (bytes > 0)
        text[0] = '\0';
    if (before->emulated != after->emulated)
        say(&words, "nodes are %s imagined", after->emulated ? "now" : "no longer");
    for (unsigned i = 0; i < before->count; i++)
        if (np_topology_find(after, before->nodes[i].number) == NULL)
            say(&words, "%snode %d is gone", next(&words), before->nodes[i].number);
    for (unsigned i = 0; i < after->count; i++) {
        const struct np_topology_node *node = &after->nodes[i], *was = np_topology_find(before, node->number);
        if (was != NULL)
            compare_node(&words, was, node);
        else if (node->memory_bytes == 0)
            say(&words, "%snode %d has come (no memory)", next(&words), node->number);
        else
            say(&words, "%snode %d has come (%s%s)", next(&words), node->number, short_size(size, sizeof size, node->memory_bytes),
                node->memory_allowed ? "" : ", not allowed: cpuset.mems");
    }
    if (distances_differ(before, after))
        say(&words, "%sdistances are others", next(&words));
    if (words.used == 0 && !np_topology_same(before, after))
        say(&words, "CPUs are of other nodes");
    return (int)words.used;
}
