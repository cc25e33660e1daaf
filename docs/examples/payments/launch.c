/* SPDX-License-Identifier: MIT
 * Finding, starting and ending the programs of the demonstration. */
#include "launch.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

int launch_own_directory(char path[LAUNCH_PATH_BYTES])
{
    char own[LAUNCH_PATH_BYTES];
    ssize_t length = readlink("/proc/self/exe", own, sizeof(own) - 1);
    if (length <= 0)
        return -1;
    own[length] = '\0';
    *strrchr(own, '/') = '\0';
    memcpy(path, own, strlen(own) + 1);
    /* In a build tree the program itself lies in a directory of libtool's below the one that is meant. */
    size_t end = strlen(path);
    if (end > 6 && strcmp(path + end - 6, "/.libs") == 0)
        path[end - 6] = '\0';
    return 0;
}

static bool is_program(const char *path)
{
    struct stat status;
    return stat(path, &status) == 0 && S_ISREG(status.st_mode) && access(path, X_OK) == 0;
}

static bool is_there(char path[LAUNCH_PATH_BYTES], const char *directory, const char *below, const char *name)
{
    int length = snprintf(path, LAUNCH_PATH_BYTES, "%s%s/%s", directory, below, name);
    return length > 0 && (size_t)length < LAUNCH_PATH_BYTES && is_program(path);
}

int launch_find(const char *name, char path[LAUNCH_PATH_BYTES])
{
    static const char *const in_build[] = { "", "/docs/examples/payments", "/tools/numapoolctl" };
    static const char *const from_here[] = { "",           "/../../..",       "/../../bin",    "/../../sbin",
                                             "/../../../bin", "/../../../sbin", "/../../../../bin", "/../../../../sbin" };
    const char *build = getenv("NUMAPOOL_BUILD"), *search = getenv("PATH");
    char here[LAUNCH_PATH_BYTES];
    for (size_t i = 0; build != NULL && *build != '\0' && i < sizeof(in_build) / sizeof(in_build[0]); i++)
        if (is_there(path, build, in_build[i], name))
            return 0;
    if (launch_own_directory(here) == 0)
        for (size_t i = 0; i < sizeof(from_here) / sizeof(from_here[0]); i++)
            if (is_there(path, here, from_here[i], name))
                return 0;
    while (search != NULL && *search != '\0') {
        const char *colon = strchrnul(search, ':');
        snprintf(here, sizeof(here), "%.*s", (int)(colon - search), search);
        if (here[0] != '\0' && is_there(path, here, "", name))
            return 0;
        search = *colon == ':' ? colon + 1 : NULL;
    }
    fprintf(stderr, "payments-demo: program '%s' is neither in $NUMAPOOL_BUILD nor beside this one nor in $PATH: build it "
                    "('make') or name the build directory in NUMAPOOL_BUILD\n",
            name);
    return -1;
}

pid_t launch_start(const struct launch *launch)
{
    const pid_t parent = getpid();
    fflush(NULL);
    pid_t pid = fork();
    if (pid < 0) {
        fprintf(stderr, "payments-demo: cannot start %s: %s\n", launch->path, strerror(errno));
        return -1;
    }
    if (pid > 0)
        return pid;
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGPIPE, SIG_DFL); /* being ignored would be inherited */
    /* A terminal's go to all of the group. The demo ends its children in order; a daemon that ended first would let them
     * look for it for two seconds. */
    signal(SIGINT, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent)
        _exit(127); /* it died before the line above */
    if (launch->output >= 0)
        dup2(launch->output, STDOUT_FILENO);
    for (const int *keep = launch->inherited; keep != NULL && *keep >= 0; keep++)
        fcntl(*keep, F_SETFD, 0);
    execv(launch->path, (char *const *)(uintptr_t)launch->arguments);
    fprintf(stderr, "payments-demo: cannot run %s: %s\n", launch->path, strerror(errno));
    _exit(127);
}

int launch_wait(pid_t *pid)
{
    int status = 0;
    if (*pid <= 0)
        return 0;
    while (waitpid(*pid, &status, 0) < 0 && errno == EINTR)
        continue;
    *pid = 0;
    return status;
}

bool launch_has_ended(pid_t *pid, int *status)
{
    if (*pid <= 0 || waitpid(*pid, status, WNOHANG) != *pid)
        return false;
    *pid = 0;
    return true;
}

int launch_end(pid_t *pid, int patience_ms)
{
    const struct timespec pause = { .tv_nsec = 5000000 };
    int status = 0;
    if (*pid <= 0)
        return 0;
    kill(*pid, SIGTERM);
    for (int waited_ms = 0; waited_ms < patience_ms; waited_ms += 5) {
        if (launch_has_ended(pid, &status))
            return status;
        nanosleep(&pause, NULL);
    }
    kill(*pid, SIGKILL);
    return launch_wait(pid);
}
