/* SPDX-License-Identifier: MIT
 *
 * limits.c: every limit gives a clear error and no damage (limits.h). Options: --stopped SECONDS runs the scene of the
 * stopped receiver
 * alone, for so long; --only NAME runs one group of scenes. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "limits.h"

static unsigned reached, left_out;

void limits_reached(const char *limit)
{
    reached++;
    harness_note("limit %u: %s", reached, limit);
}

void limits_not_run(const char *limit, const char *why)
{
    left_out++;
    printf("NOT RUN: %s: %s\n", limit, why);
    fflush(stdout);
}

static const struct {
    const char *name;
    void (*run)(void);
} scenes[] = {
    { "tables", limits_tables }, { "files", limits_files },   { "places", limits_places }, { "memory", limits_memory },
    { "groups", limits_groups }, { "pids", limits_pids },     { "time", limits_time },
};

static const char *option(int argc, char **argv, const char *name)
{
    for (int i = 1; i + 1 < argc; i++)
        if (strcmp(argv[i], name) == 0)
            return argv[i + 1];
    return NULL;
}

int main(int argc, char **argv)
{
    const char *stopped = option(argc, argv, "--stopped"), *only = option(argc, argv, "--only");
    harness_begin("limits", argc, argv);
    limits_guard();
    if (stopped) {
        limits_stopped_for((unsigned)strtoul(stopped, NULL, 10));
        return harness_end();
    }
    limits_guardian_works();
    for (unsigned i = 0; i < sizeof scenes / sizeof scenes[0]; i++) {
        if (only && strcmp(only, scenes[i].name) != 0)
            continue;
        int64_t begun_ns = harness_now_ns();
        harness_note("---- %s", scenes[i].name);
        scenes[i].run();
        limits_restore_all();
        harness_note("---- %s: %.1f s", scenes[i].name, (double)(harness_now_ns() - begun_ns) / 1e9);
    }
    harness_figure("limits.bystanders", "%llu messages of bystanders meanwhile, in order, none missing",
                   (unsigned long long)limits_bystanders_total());
    harness_figure("limits.limits", "%u limits reached, %u that this machine does not let be reached", reached, left_out);
    return harness_end();
}
