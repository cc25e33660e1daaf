/* SPDX-License-Identifier: MIT
 * What several of doctor's findings read. */
#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "doctor.h"
#include "numa/system_files.h"

enum { ENTRIES_MAX = 1024, STATUS_BYTES = NP_SYSTEM_TEXT_BYTES };

/* In place: the first line of it, from its first to its last visible character. */
static void first_line(char *text)
{
    text[strcspn(text, "\n")] = '\0';
    size_t blanks = strspn(text, " \t"), length = strlen(text);
    while (length > blanks && (text[length - 1] == ' ' || text[length - 1] == '\t'))
        length--;
    memmove(text, text + blanks, length - blanks);
    text[length - blanks] = '\0';
    for (char *at = text; *at; at++)
        if (*at < ' ' || *at > '~')
            *at = '?';
}

bool np_doctor_line(const struct np_doctor *doctor, const char *path, char *line, size_t capacity)
{
    line[0] = '\0';
    if (np_system_file_read(doctor->root, path, line, capacity) < 0)
        return false;
    first_line(line);
    return true;
}

bool np_doctor_choice(const struct np_doctor *doctor, const char *path, char *choice, size_t capacity)
{
    char line[256];
    if (!np_doctor_line(doctor, path, line, sizeof line))
        return false;
    const char *from = strchr(line, '['), *to = from ? strchr(from, ']') : NULL;
    if (!to)
        return false;
    snprintf(choice, capacity, "%.*s", (int)(to - from - 1), from + 1);
    return true;
}

bool np_doctor_status(const struct np_doctor *doctor, const char *key, char *value, size_t capacity)
{
    char text[STATUS_BYTES];
    size_t length = strlen(key);
    if (np_system_file_read(doctor->root, "/proc/self/status", text, sizeof text) <= 0)
        return false;
    char *rest = text, *line;
    while ((line = strsep(&rest, "\n")) != NULL) {
        if (strncmp(line, key, length) != 0 || line[length] != ':')
            continue;
        first_line(line + length + 1);
        snprintf(value, capacity, "%s", line + length + 1);
        return true;
    }
    return false;
}

bool np_doctor_capable(const struct np_doctor *doctor, unsigned capability)
{
    char text[64];
    return np_doctor_status(doctor, "CapEff", text, sizeof text) && (strtoull(text, NULL, 16) >> capability & 1) != 0;
}

static int compare(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

bool np_doctor_each_entry(const struct np_doctor *doctor, const char *path, void (*one)(void *argument, const char *name),
                          void *argument)
{
    char whole[PATH_MAX];
    char **names = calloc(ENTRIES_MAX, sizeof *names);
    DIR *directory = snprintf(whole, sizeof whole, "%s%s", doctor->root, path) < (int)sizeof whole ? opendir(whole) : NULL;
    size_t count = 0;
    if (!directory || !names) {
        free(names);
        if (directory)
            closedir(directory);
        return false;
    }
    for (const struct dirent *entry; count < ENTRIES_MAX && (entry = readdir(directory)) != NULL;)
        if (entry->d_name[0] != '.' && (names[count] = strdup(entry->d_name)) != NULL)
            count++;
    closedir(directory);
    qsort(names, count, sizeof *names, compare);
    for (size_t i = 0; i < count; i++) {
        one(argument, names[i]);
        free(names[i]);
    }
    free(names);
    return true;
}

/* ---------------------------------------------------------------- nodes */

int np_doctor_memory_nodes(const struct np_doctor *doctor, int nodes[NP_NODES_MAX])
{
    int count = 0;
    for (unsigned i = 0; i < doctor->topology.count; i++)
        if (doctor->topology.nodes[i].memory_bytes > 0)
            nodes[count++] = doctor->topology.nodes[i].number;
    return count;
}

const char *np_doctor_list_text(char *text, size_t capacity, const int *numbers, int count)
{
    size_t used = 0;
    text[0] = '\0';
    for (int i = 0; i < count && used < capacity;) {
        int last = i;
        while (last + 1 < count && numbers[last + 1] == numbers[last] + 1)
            last++;
        used += (size_t)snprintf(text + used, capacity - used, last > i ? "%s%d-%d" : "%s%d", i ? "," : "", numbers[i],
                                 numbers[last]);
        i = last + 1;
    }
    return text;
}
