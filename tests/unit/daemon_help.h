/* SPDX-License-Identifier: MIT
 * The real daemon for a test: found in $NUMAPOOL_BUILD or above this program, on a socket in a directory that all users may
 * enter. */
#ifndef NP_TEST_DAEMON_HELP_H
#define NP_TEST_DAEMON_HELP_H

#include <check.h>
#include <dirent.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "numapool.h"

#define SECOND_NS INT64_C(1000000000)

static char program[4096], directory[64], socket_path[96];
static pid_t keeper;

static inline bool find_program(void)
{
    const char *build = getenv("NUMAPOOL_BUILD");
    char own[2048];
    ssize_t length = readlink("/proc/self/exe", own, sizeof own - 1);
    if (build && *build)
        snprintf(program, sizeof program, "%s/numapoold", build);
    if (build && *build && access(program, X_OK) == 0)
        return true;
    for (unsigned up = 1; length > 0 && up <= 4; up++) {
        own[length] = 0;
        char *slash = strrchr(own, '/');
        if (!slash)
            break;
        *slash = 0;
        length = slash - own;
        snprintf(program, sizeof program, "%s/numapoold", own);
        if (access(program, X_OK) == 0)
            return true;
    }
    return false;
}

/* Arguments besides --socket and --ready-fd; the last is NULL. */
static inline void start_daemon_with(const char *const *arguments)
{
    const char *all[32] = { program, "--socket", socket_path, "--ready-fd" };
    const char *loop = getenv("NUMAPOOL_TEST_LOOP"); /* what the daemon runs on */
    unsigned n = 4;
    int ready[2];
    char number[16];
    ck_assert_int_eq(pipe(ready), 0);
    fcntl(ready[0], F_SETFD, FD_CLOEXEC);
    snprintf(number, sizeof number, "%d", ready[1]);
    all[n++] = number;
    if (loop && *loop) {
        all[n++] = "--loop";
        all[n++] = loop;
    }
    for (; *arguments && n < 31; arguments++)
        all[n++] = *arguments;
    strcpy(directory, "/tmp/numapool-test-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(directory));
    ck_assert_int_eq(chmod(directory, 0755), 0);
    snprintf(socket_path, sizeof socket_path, "%s/socket", directory);
    keeper = fork();
    if (keeper == 0) {
        execv(program, (char *const *)(uintptr_t)all);
        _exit(127);
    }
    close(ready[1]);
    struct pollfd wait = { .fd = ready[0], .events = POLLIN };
    char byte;
    ck_assert_msg(poll(&wait, 1, 20000) == 1 && read(ready[0], &byte, 1) == 1, "%s did not become ready", program);
    close(ready[0]);
}

static inline void end_daemon(void)
{
    int status;
    ck_assert_int_eq(kill(keeper, SIGTERM), 0);
    ck_assert_int_eq(waitpid(keeper, &status, 0), keeper);
    ck_assert_int_eq(status, 0);
    ck_assert_int_eq(rmdir(directory), 0);
}

/* The keeper's only child. */
static inline pid_t worker(void)
{
    char path[64];
    int pid = 0;
    snprintf(path, sizeof path, "/proc/%d/task/%d/children", (int)keeper, (int)keeper);
    FILE *file = fopen(path, "re");
    if (file && fscanf(file, "%d", &pid) != 1)
        pid = 0;
    if (file)
        fclose(file);
    return pid;
}

static inline void pause_ms(long ms)
{
    const struct timespec pause = { ms / 1000, ms % 1000 * 1000000 };
    nanosleep(&pause, NULL);
}

static inline void kill_worker(void)
{
    pid_t old = worker();
    ck_assert_int_gt(old, 0);
    ck_assert_int_eq(kill(old, SIGKILL), 0);
    for (unsigned tries = 0; tries < 2000 && (worker() == old || worker() == 0); tries++)
        pause_ms(1);
}

/* ---------------------------------------------------------------- other users */

/* This process becomes that user's, of the group of that number and of `group` besides. It may look at its own /proc, as
 * one that was started by the user may. */
static inline void become(uid_t uid, gid_t group)
{
    ck_assert_int_eq(setgroups(1, &group), 0);
    ck_assert_int_eq(setresgid(uid, uid, uid), 0);
    ck_assert_int_eq(setresuid(uid, uid, uid), 0);
    ck_assert_int_eq(prctl(PR_SET_DUMPABLE, 1), 0);
}

static inline pid_t start_as(uid_t uid, void (*what)(void))
{
    pid_t child = fork();
    ck_assert_int_ge(child, 0);
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (uid != getuid())
            become(uid, uid);
        what();
        _exit(0);
    }
    return child;
}

static inline void ends_well(pid_t child)
{
    int status = -1;
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "the child ended with %#x", status);
}

static inline void as(uid_t uid, void (*what)(void))
{
    ends_well(start_as(uid, what));
}

static inline bool may_change_user(const char *test)
{
    if (geteuid() == 0)
        return true;
    fprintf(stderr, "\n*** NOT RUN: %s: only root may become another user ***\n\n", test);
    return false;
}

/* ---------------------------------------------------------------- calls */

static inline void works(int result)
{
    ck_assert_msg(result >= 0, "%d: %s", result, numapool_errormsg());
}

static inline void fails(int result, int code, const char *saying)
{
    ck_assert_msg(result == code, "%d instead of %d: %s", result, code, numapool_errormsg());
    ck_assert_msg(strstr(numapool_errormsg(), saying) != NULL, "'%s' does not say '%s'", numapool_errormsg(), saying);
}

static inline struct numapool_client *connected(void)
{
    struct numapool_client *client = NULL;
    works(numapool_connect(&client, socket_path));
    return client;
}

static inline struct numapool_pool *opened(struct numapool_client *client, const char *name, uint64_t flags)
{
    struct numapool_pool *pool = NULL;
    works(numapool_open(client, name, flags, &pool));
    return pool;
}

static inline uint64_t free_slots(struct numapool_pool *pool)
{
    struct numapool_stats stats = { .size = sizeof stats };
    works(numapool_stats_read(pool, NUMAPOOL_ANY_NODE, &stats));
    return stats.free_slots;
}
#endif
