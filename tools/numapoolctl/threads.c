/* SPDX-License-Identifier: MIT */
#include "threads.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "numa/system_files.h"
#include "table.h"

enum { FIELD_START = 22, FIELD_PROCESSOR = 39 };

/* The name of the program is between the first and the last parenthesis, and may hold blanks and parentheses of its own. */
int np_threads_parse(const char *stat, uint64_t *start_ticks)
{
    const char *at = strrchr(stat, ')');
    long processor = -1;
    if (!at)
        return -1;
    at++;
    for (unsigned field = 3; field <= FIELD_PROCESSOR; field++) {
        char *end;
        while (*at == ' ')
            at++;
        if (*at == '\0' || *at == '\n')
            return -1;
        if (field == FIELD_START)
            *start_ticks = strtoull(at, NULL, 10);
        if (field == FIELD_PROCESSOR) {
            processor = strtol(at, &end, 10);
            return end == at || processor < 0 || processor > INT_MAX ? -1 : (int)processor;
        }
        at += strcspn(at, " \n");
    }
    return -1;
}

static int node_of(const struct np_topology *topology, int cpu)
{
    return topology && (unsigned)cpu < topology->cpu_limit ? topology->cpu_nodes[cpu] : -1;
}

static void add(struct np_threads *threads, int node)
{
    unsigned i = 0;
    while (i < threads->nodes && threads->at[i].node < node)
        i++;
    if (i < threads->nodes && threads->at[i].node == node) {
        threads->at[i].threads++;
        return;
    }
    if (threads->nodes == NP_THREADS_NODES_MAX) {
        threads->unread++;
        return;
    }
    memmove(&threads->at[i + 1], &threads->at[i], (threads->nodes - i) * sizeof threads->at[0]);
    threads->at[i].node = node;
    threads->at[i].threads = 1;
    threads->nodes++;
}

/* -1: the thread has ended, or its file cannot be read. */
static int processor_of(const char *root, const char *path, uint64_t *start_ticks)
{
    char text[NP_SYSTEM_TEXT_BYTES];
    return np_system_file_read(root, path, text, sizeof text) > 0 ? np_threads_parse(text, start_ticks) : -1;
}

static bool is_it(struct np_threads *threads, const char *root, pid_t pid, uint64_t wanted_ticks)
{
    char path[64];
    uint64_t ticks = 0;
    snprintf(path, sizeof path, "/proc/%ld/stat", (long)pid);
    if (processor_of(root, path, &ticks) < 0)
        snprintf(threads->why, sizeof threads->why, "there is no process %ld here: it has ended, or is in another pid namespace", (long)pid);
    else if (wanted_ticks != 0 && ticks != wanted_ticks)
        snprintf(threads->why, sizeof threads->why, "process %ld is another one here: the client is in another pid namespace, or has ended",
                 (long)pid);
    return threads->why[0] == '\0';
}

void np_threads_look(struct np_threads *threads, const char *root, pid_t pid, uint64_t start_ticks, const struct np_topology *topology)
{
    char path[PATH_MAX], file[300];
    memset(threads, 0, sizeof *threads);
    if (!is_it(threads, root, pid, start_ticks))
        return;
    snprintf(path, sizeof path, "%s/proc/%ld/task", root, (long)pid);
    DIR *tasks = opendir(path);
    if (!tasks) {
        snprintf(threads->why, sizeof threads->why, "/proc/%ld/task cannot be read: %s", (long)pid, strerror(errno));
        return;
    }
    for (struct dirent *entry; (entry = readdir(tasks));) {
        uint64_t ticks;
        if (entry->d_name[0] == '.')
            continue;
        snprintf(file, sizeof file, "/proc/%ld/task/%.32s/stat", (long)pid, entry->d_name);
        int cpu = processor_of(root, file, &ticks);
        if (cpu < 0)
            threads->unread++;
        else
            add(threads, node_of(topology, cpu));
    }
    closedir(tasks);
}

void np_threads_text(const struct np_threads *threads, char *text, size_t bytes)
{
    size_t at = 0;
    snprintf(text, bytes, "-");
    for (unsigned i = 0; i < threads->nodes && at < bytes; i++) {
        char node[16] = "?";
        if (threads->at[i].node >= 0)
            snprintf(node, sizeof node, "%d", threads->at[i].node);
        at += (size_t)snprintf(text + at, bytes - at, "%s%s:%u", i > 0 ? " " : "", node, threads->at[i].threads);
    }
}

void np_threads_describe(const struct np_threads *threads, json_t *row)
{
    json_t *list = np_json_array();
    char text[96];
    for (unsigned i = 0; i < threads->nodes; i++) {
        json_t *one = np_json_object();
        np_json_set(one, "node", threads->at[i].node >= 0 ? json_integer(threads->at[i].node) : json_null());
        np_json_set_count(one, "threads", threads->at[i].threads);
        np_json_append(list, one);
    }
    np_threads_text(threads, text, sizeof text);
    np_json_set(row, "threads", list);
    np_json_set_text(row, "threads_text", text);
    np_json_set_count(row, "threads_unread", threads->unread);
    np_json_set(row, "threads_unreadable", threads->why[0] ? json_string(threads->why) : json_null());
}
