/* SPDX-License-Identifier: MIT
 * A directory of builds of numapoold, and of what only looks like one; and numapoolctl upgrade with what it says. */
#ifndef NUMAPOOL_TESTS_CRASH_UPGRADE_BUILDS_H
#define NUMAPOOL_TESTS_CRASH_UPGRADE_BUILDS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "harness.h"

#define BUILDS_NEXT_VERSION "99.1.0"

struct builds {
    char directory[64];
};

/* numapoold and numapoolctl (as they were built), next (of another version), layout (whose shared memory means something else), and files that are no
 * numapoold. Exits when they cannot be made. */
void builds_make(struct builds *builds);
void builds_remove(struct builds *builds);
const char *builds_path(const struct builds *builds, const char *name);
/* As a package does: another file, "numapoold" or "next", is put where the daemon was started from. */
void builds_install(const struct builds *builds, const char *name);
/* The next worker of worker_dies is to die so long after its start; once. */
void builds_arm_death(const struct builds *builds, unsigned after_us);

/* What numapoolctl upgrade said. */
struct upgrade_said {
    int status;     /* its exit status; -1: it was killed, or did not end */
    char done[24];  /* as in its JSON; "": it said none */
    char why[300];
    char version_before[32], version_after[32];
    int worker_before, worker_after;
    int64_t took_ns;
};

/* Begins; its output is to be read by upgrade_end. `option` and `binary` may be NULL. */
struct upgrade_tool {
    pid_t pid;
    int output;
};
struct upgrade_tool upgrade_begin(const struct harness_daemon *daemon, const char *option, const char *binary);
struct upgrade_said upgrade_end(struct upgrade_tool tool);

/* Who works now, as numapoolctl stats says. */
void upgrade_working_version(const struct harness_daemon *daemon, char version[32]);

#endif
