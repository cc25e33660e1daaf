/* SPDX-License-Identifier: MIT
 * Finding, starting and ending the programs of the demonstration. */
#ifndef PAYMENTS_LAUNCH_H
#define PAYMENTS_LAUNCH_H

#include <stdbool.h>
#include <sys/types.h>

#define LAUNCH_PATH_BYTES 4096u

/* Where a program is: in the build directory ($NUMAPOOL_BUILD), beside this program, where `make install` puts it from
 * here, or in $PATH. 0 or -1, having said where it was looked for. */
int launch_find(const char *name, char path[LAUNCH_PATH_BYTES]);

struct launch {
    const char *path;
    const char *const *arguments; /* with the program's name, closed by NULL */
    int output;                   /* standard output, or -1: as here */
    const int *inherited;         /* descriptors that it is to find open under the same number, closed by -1; or NULL */
};

/* Its pid, or -1 having said why. The child gets SIGTERM if this process dies. */
pid_t launch_start(const struct launch *launch);

/* Waits for it; its wait status. 0 when there is none (pid 0 or less). */
int launch_wait(pid_t *pid);
/* True when it has ended; then *status is set and *pid is 0. */
bool launch_has_ended(pid_t *pid, int *status);
/* SIGTERM, some patience, SIGKILL. Its wait status. */
int launch_end(pid_t *pid, int patience_ms);

/* The directory of this program, without a closing slash. 0 or -1. */
int launch_own_directory(char path[LAUNCH_PATH_BYTES]);

#endif
