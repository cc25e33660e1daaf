/* SPDX-License-Identifier: MIT */
#include "daemon.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"

#define READY_WITHIN_MS 30000

static char directory[PATH_MAX], socket_path[PATH_MAX + 16];
static pid_t daemon_pid, starter_pid;

/* A forked peer inherits this exit handler but not the daemon. */
static void stop_daemon(void)
{
    if (getpid() != starter_pid || daemon_pid == 0)
        return;
    kill(daemon_pid, SIGTERM);
    waitpid(daemon_pid, NULL, 0);
    daemon_pid = 0;
    if (rmdir(directory) < 0)
        fprintf(stderr, "bench: the daemon has left something in %s\n", directory);
}

/* From a signal handler of any process that has it: what stop_daemon does, without a word. */
static void abandon_daemon(void)
{
    if (getpid() != starter_pid || daemon_pid == 0)
        return;
    kill(daemon_pid, SIGTERM);
    waitpid(daemon_pid, NULL, 0);
    rmdir(directory);
}

static void find_program(char path[PATH_MAX])
{
    const char *named = getenv("NUMAPOOLD");
    if (named) {
        snprintf(path, PATH_MAX, "%s", named);
        return;
    }
    ssize_t n = readlink("/proc/self/exe", path, PATH_MAX - 1);
    path[n > 0 ? n : 0] = '\0';
    for (int up = 0; up < 3; up++) { /* tests/bench/bench */
        char *slash = strrchr(path, '/');
        if (slash)
            *slash = '\0';
    }
    size_t length = strlen(path);
    snprintf(path + length, PATH_MAX - length, "/numapoold");
}

static _Noreturn void become_daemon(const char *program, int ready)
{
    char descriptor[16];
    sigset_t none;
    cpu_set_t all;
    memset(&all, 0xff, sizeof all);
    sched_setaffinity(0, sizeof all, &all); /* it is not one of the ends, which are pinned */
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    snprintf(descriptor, sizeof descriptor, "%d", ready);
    execl(program, program, "--socket", socket_path, "--pool", BENCH_POOL ",size=128,count=64K",
          "--pool", BENCH_TOKEN_POOL_0 ",size=128,count=1", "--pool", BENCH_TOKEN_POOL_1 ",size=128,count=1",
          "--pool", BENCH_TOKEN_POOL_2 ",size=128,count=1",
          "--pool", BENCH_POOL_64 ",size=64,count=64K", "--pool", BENCH_POOL_1024 ",size=1K,count=16K",
          "--pool", BENCH_POOL_4096 ",size=4K,count=8K", "--pool", BENCH_POOL_CHECKS ",size=128,count=64K,checks",
          "--log=warn", "--ready-fd", descriptor, (char *)NULL);
    fprintf(stderr, "bench: %s cannot be run: %s\n", program, strerror(errno));
    _exit(127);
}

const char *bench_daemon_socket(void)
{
    char program[PATH_MAX], byte;
    const char *where = getenv("TMPDIR");
    int ready[2];
    if (daemon_pid > 0)
        return socket_path;
    find_program(program);
    snprintf(directory, sizeof directory, "%s/numapool-bench-XXXXXX", where ? where : "/tmp");
    if (!mkdtemp(directory) || pipe(ready) < 0)
        bench_fail("%s: no directory for a daemon's socket: %s", directory, strerror(errno));
    snprintf(socket_path, sizeof socket_path, "%s/socket", directory);
    starter_pid = getpid();
    fflush(NULL);
    daemon_pid = fork();
    if (daemon_pid < 0)
        bench_fail("the daemon cannot be forked: %s", strerror(errno));
    if (daemon_pid == 0) {
        close(ready[0]);
        become_daemon(program, ready[1]);
    }
    close(ready[1]);
    atexit(stop_daemon);
    bench_on_abort = abandon_daemon;
    struct pollfd wait = { .fd = ready[0], .events = POLLIN };
    if (poll(&wait, 1, READY_WITHIN_MS) <= 0 || read(ready[0], &byte, 1) != 1)
        bench_fail("%s did not get ready; what it said stands above", program);
    close(ready[0]);
    return socket_path;
}

pid_t bench_daemon_pid(void)
{
    bench_daemon_socket();
    return daemon_pid;
}
