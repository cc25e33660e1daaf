/* SPDX-License-Identifier: MIT */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "numa/cgroup.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "numa/system_files.h"

enum {
    PATH_LEVELS_MAX = 256, /* of nested cgroups that are looked at */
    MOUNTS_MAX = 65536
};

struct walk {
    const char *root, *controller;
    np_cgroup_level *level;
    void *argument;
};

/* The cgroup at mount_point + relative and all above it. */
static void walk_up(const struct walk *walk, const char *mount_point, const char *relative, bool version_2)
{
    char directory[PATH_MAX];
    int used = snprintf(directory, sizeof directory, "%s%s", mount_point, strcmp(relative, "/") == 0 ? "" : relative);
    if (used < 0 || (size_t)used >= sizeof directory)
        return;
    size_t floor = strlen(mount_point);
    for (int level = 0; level < PATH_LEVELS_MAX; level++) {
        walk->level(walk->argument, directory, version_2);
        char *slash = strrchr(directory, '/');
        if (strlen(directory) <= floor || slash == NULL || slash < directory + floor)
            return;
        *slash = '\0';
    }
}

static bool list_has(char *list, const char *word)
{
    char *state = NULL;
    for (char *item = strtok_r(list, ",\n", &state); item != NULL; item = strtok_r(NULL, ",\n", &state))
        if (strcmp(item, word) == 0)
            return true;
    return false;
}

/* Splits "id parent dev ROOT POINT options [tags] - TYPE source OPTIONS". True: this hierarchy may hold the controller's limits. */
static bool is_wanted_mount(char *line, const char *controller, bool version_2, char **mount_root, char **mount_point)
{
    char *state = NULL, *field = strtok_r(line, " ", &state);
    for (int i = 0; field != NULL && strcmp(field, "-") != 0; i++) {
        if (i == 3)
            *mount_root = field;
        if (i == 4)
            *mount_point = field;
        field = strtok_r(NULL, " ", &state);
    }
    char *type = strtok_r(NULL, " ", &state);
    char *source = strtok_r(NULL, " ", &state);
    char *options = strtok_r(NULL, " ", &state);
    if (*mount_root == NULL || *mount_point == NULL || type == NULL || source == NULL || options == NULL)
        return false;
    np_system_unescape(*mount_root);
    np_system_unescape(*mount_point);
    return version_2 ? strcmp(type, "cgroup2") == 0 : strcmp(type, "cgroup") == 0 && list_has(options, controller);
}

static FILE *open_below(const char *root, const char *path)
{
    char whole[PATH_MAX];
    return snprintf(whole, sizeof whole, "%s%s", root, path) < (int)sizeof whole ? fopen(whole, "re") : NULL;
}

/* Where this cgroup is in the file system depends on what of the hierarchy is mounted, which differs in containers. */
static void search_mounts(const struct walk *walk, const char *cgroup, bool version_2)
{
    FILE *mounts = open_below(walk->root, "/proc/self/mountinfo");
    if (mounts == NULL)
        return;
    char *line = NULL;
    size_t capacity = 0;
    for (int i = 0; i < MOUNTS_MAX && getline(&line, &capacity, mounts) > 0; i++) {
        char *mount_root = NULL, *mount_point = NULL;
        if (!is_wanted_mount(line, walk->controller, version_2, &mount_root, &mount_point))
            continue;
        const char *relative = "";
        size_t length = strcmp(mount_root, "/") == 0 ? 0 : strlen(mount_root);
        if (strncmp(cgroup, mount_root, length) == 0 && (cgroup[length] == '/' || cgroup[length] == '\0') &&
            strstr(cgroup, "/..") == NULL)
            relative = cgroup + length;
        walk_up(walk, mount_point, relative, version_2);
    }
    free(line);
    fclose(mounts);
}

void np_cgroup_each_level(const char *root, const char *controller, np_cgroup_level *level, void *argument)
{
    const struct walk walk = { root, controller, level, argument };
    FILE *cgroups = open_below(root, "/proc/self/cgroup");
    if (cgroups == NULL)
        return;
    char *line = NULL;
    size_t line_capacity = 0;
    for (int i = 0; i < PATH_LEVELS_MAX && getline(&line, &line_capacity, cgroups) > 0; i++) {
        line[strcspn(line, "\n")] = '\0';
        char *controllers = strchr(line, ':');
        char *cgroup = controllers != NULL ? strchr(controllers + 1, ':') : NULL;
        if (cgroup == NULL)
            continue;
        *cgroup++ = '\0';
        controllers++;
        if (*controllers == '\0')
            search_mounts(&walk, cgroup, true);
        else if (list_has(controllers, controller))
            search_mounts(&walk, cgroup, false);
    }
    free(line);
    fclose(cgroups);
}
