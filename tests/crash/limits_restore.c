/* SPDX-License-Identifier: MIT
 * What is changed on the machine, and changed back: by the test, or by a guardian when the test is gone before. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "limits.h"

enum { CHANGES_MAX = 32, REMOVE_TRIES = 2000, NO_CLOCK = 0 };

enum change_kind { CHANGE_FILE = 1, CHANGE_GROUP, CHANGE_CLOCK };

struct change {
    uint32_t kind;
    char path[PATH_MAX];
    char before[256];
    int64_t real_less_monotonic_ns; /* as it was */
};

/* Shared with the guardian. An entry counts from the store of `count` on, which is before the change itself. */
static struct changes {
    _Atomic uint32_t count;
    struct change changes[CHANGES_MAX];
} *registered;

static int guard_pipe[2] = { -1, -1 };

/* ---------------------------------------------------------------- undoing */

static bool write_text(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC | O_TRUNC);
    if (fd < 0)
        return false;
    ssize_t wrote = write(fd, text, strlen(text));
    int closed = close(fd);
    return wrote == (ssize_t)strlen(text) && closed == 0;
}

static bool read_text(const char *path, char *text, size_t bytes)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got = fd < 0 ? -1 : read(fd, text, bytes - 1);
    if (fd >= 0)
        close(fd);
    text[got > 0 ? got : 0] = '\0';
    return got >= 0;
}

static void kill_members(const char *group)
{
    char path[PATH_MAX + 16];
    long pid;
    snprintf(path, sizeof path, "%s/cgroup.procs", group);
    FILE *members = fopen(path, "re");
    while (members && fscanf(members, "%ld", &pid) == 1)
        if (pid > 1)
            kill((pid_t)pid, SIGKILL);
    if (members)
        fclose(members);
}

static int64_t clock_ns(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static bool set_real_clock(int64_t real_ns)
{
    const struct timespec to = { real_ns / 1000000000, real_ns % 1000000000 };
    return clock_settime(CLOCK_REALTIME, &to) == 0;
}

static void undo(const struct change *change)
{
    if (change->kind == CHANGE_FILE)
        write_text(change->path, change->before);
    else if (change->kind == CHANGE_CLOCK)
        set_real_clock(change->real_less_monotonic_ns + clock_ns(CLOCK_MONOTONIC));
    for (int i = 0; change->kind == CHANGE_GROUP && i < REMOVE_TRIES; i++) {
        if (rmdir(change->path) == 0 || errno == ENOENT)
            break;
        kill_members(change->path);
        harness_sleep_ns(1000000);
    }
}

void limits_restore_all(void)
{
    uint32_t count;
    while ((count = GET(registered->count)) > 0) {
        undo(&registered->changes[count - 1]);
        SET(registered->count, count - 1);
    }
}

/* ---------------------------------------------------------------- the guardian */

static void guard_until_end(int fd)
{
    char byte;
    for (int signal_number = 1; signal_number < NSIG; signal_number++)
        signal(signal_number, SIG_IGN);
    prctl(PR_SET_NAME, "limits guardian");
    while (read(fd, &byte, 1) < 0 && errno == EINTR)
        continue;
    limits_restore_all();
    _exit(0);
}

void limits_guard(void)
{
    registered = mmap(NULL, sizeof *registered, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (registered == MAP_FAILED || pipe2(guard_pipe, O_CLOEXEC) != 0) {
        perror("limits_guard");
        exit(2);
    }
    fflush(stdout);
    pid_t guardian = fork();
    if (guardian < 0) {
        perror("fork");
        exit(2);
    }
    if (guardian == 0) {
        setsid(); /* a terminal's signals end the test, and not this */
        close(guard_pipe[1]);
        guard_until_end(guard_pipe[0]);
    }
    close(guard_pipe[0]);
}

/* ---------------------------------------------------------------- changing */

static struct change *next_change(enum change_kind kind, const char *path)
{
    uint32_t count = GET(registered->count);
    if (count == CHANGES_MAX) {
        fprintf(stderr, "limits: more than %d changes of the machine\n", CHANGES_MAX);
        exit(2);
    }
    struct change *change = &registered->changes[count];
    memset(change, 0, sizeof *change);
    change->kind = kind;
    snprintf(change->path, sizeof change->path, "%s", path);
    return change;
}

static void count_change(void)
{
    SET(registered->count, GET(registered->count) + 1);
}

static void take_back(void)
{
    SET(registered->count, GET(registered->count) - 1);
}

bool limits_change(const char *path, const char *text)
{
    struct change *change = next_change(CHANGE_FILE, path);
    if (!read_text(path, change->before, sizeof change->before))
        return false;
    count_change();
    if (write_text(path, text))
        return true;
    take_back();
    return false;
}

bool limits_clock_move(int64_t by_seconds)
{
    struct change *change = next_change(CHANGE_CLOCK, "");
    int64_t real_ns = clock_ns(CLOCK_REALTIME);
    change->real_less_monotonic_ns = real_ns - clock_ns(CLOCK_MONOTONIC);
    count_change();
    if (set_real_clock(real_ns + by_seconds * 1000000000))
        return true;
    take_back();
    return false;
}

/* ---------------------------------------------------------------- control groups */

/* This process's group in the hierarchy of a controller: "LINE:controller:/path". An empty controller is version 2. */
static bool own_group(const char *controller, char *path, size_t bytes)
{
    char line[PATH_MAX + 64];
    bool found = false;
    FILE *groups = fopen("/proc/self/cgroup", "re");
    while (groups && !found && fgets(line, sizeof line, groups)) {
        line[strcspn(line, "\n")] = '\0';
        char *controllers = strchr(line, ':'), *group = controllers ? strchr(controllers + 1, ':') : NULL;
        if (!group)
            continue;
        *group++ = '\0';
        if (strcmp(controllers + 1, controller) != 0)
            continue;
        snprintf(path, bytes, "%s", strcmp(group, "/") == 0 ? "" : group);
        found = true;
    }
    if (groups)
        fclose(groups);
    return found;
}

static bool make_in(struct limits_group *group, const char *mount, const char *own, const char *must_have)
{
    char file[PATH_MAX + 64];
    static unsigned number;
    int used = snprintf(group->path, sizeof group->path, "%s%s/numapool-limits-%ld-%u", mount, own, (long)getpid(),
                        number++);
    if (used < 0 || (size_t)used >= sizeof group->path)
        return false;
    next_change(CHANGE_GROUP, group->path);
    count_change();
    if (mkdir(group->path, 0755) == 0) {
        snprintf(file, sizeof file, "%s/%s", group->path, must_have);
        if (access(file, W_OK) == 0)
            return true;
        rmdir(group->path);
    }
    take_back();
    return false;
}

bool limits_group_make(struct limits_group *group, const char *controller)
{
    char mount[64], own[PATH_MAX];
    bool memory = strcmp(controller, "memory") == 0;
    snprintf(mount, sizeof mount, "/sys/fs/cgroup/%s", controller);
    group->version_2 = false;
    if (own_group(controller, own, sizeof own) && make_in(group, mount, own, memory ? "memory.limit_in_bytes" : "pids.max"))
        return true;
    group->version_2 = true;
    return own_group("", own, sizeof own) && make_in(group, "/sys/fs/cgroup", own, memory ? "memory.max" : "pids.max");
}

static const char *name_in(const struct limits_group *group, const char *name)
{
    static const char *const names[][2] = {
        { "memory.limit_in_bytes", "memory.max" },
        { "memory.usage_in_bytes", "memory.current" },
    };
    for (unsigned i = 0; group->version_2 && i < sizeof names / sizeof names[0]; i++)
        if (strcmp(names[i][0], name) == 0)
            return names[i][1];
    return name;
}

bool limits_group_set(const struct limits_group *group, const char *name, const char *text)
{
    char path[PATH_MAX + 64];
    snprintf(path, sizeof path, "%s/%s", group->path, name_in(group, name));
    return write_text(path, text);
}

uint64_t limits_group_get(const struct limits_group *group, const char *name)
{
    char path[PATH_MAX + 64], text[64];
    snprintf(path, sizeof path, "%s/%s", group->path, name_in(group, name));
    return read_text(path, text, sizeof text) ? strtoull(text, NULL, 10) : 0;
}

bool limits_group_enter(const struct limits_group *group, pid_t pid)
{
    char text[32];
    snprintf(text, sizeof text, "%ld", (long)pid);
    return limits_group_set(group, "cgroup.procs", text);
}

/* ---------------------------------------------------------------- whether the guardian works */

struct trial {
    char file[64];
    bool with_group;
    struct limits_answer *answer;
    struct limits_group *group; /* shared */
};

static int change_and_wait(void *context)
{
    struct trial *trial = context;
    limits_guard(); /* another one, for this process alone */
    bool changed = limits_change(trial->file, "changed");
    if (trial->with_group)
        trial->with_group = limits_group_make(trial->group, "pids");
    SET(trial->answer->number, trial->with_group);
    limits_keep(trial->answer, changed ? 0 : -1);
    limits_wait_go_on(trial->answer, 1);
    return 0;
}

static bool is_restored(void *context)
{
    const struct trial *trial = context;
    char text[32];
    struct stat status;
    return read_text(trial->file, text, sizeof text) && strcmp(text, "as it was") == 0 &&
           (!trial->with_group || stat(trial->group->path, &status) != 0);
}

void limits_guardian_works(void)
{
    char text[32];
    struct trial trial = { .file = "/tmp/numapool-limits.XXXXXX", .with_group = true, .answer = limits_answer_new() };
    trial.group = mmap(NULL, sizeof *trial.group, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    int fd = mkstemp(trial.file);
    if (trial.group == MAP_FAILED || fd < 0 || write(fd, "as it was", 9) != 9 || close(fd) != 0) {
        perror(trial.file);
        exit(2);
    }
    pid_t pid = harness_fork(change_and_wait, &trial);
    bool changed = limits_comes_to(trial.answer, 1) && read_text(trial.file, text, sizeof text) &&
         strcmp(text, "changed") == 0;
    trial.with_group = GET(trial.answer->number) != 0;
    harness_kill(pid);
    harness_expect(changed && harness_wait_until(is_restored, &trial, LIMITS_LONG_NS),
                   "what a test changed on the machine is as it was after a kill -9 of the test (a file%s)",
                   trial.with_group ? ", a control group" : "");
    unlink(trial.file);
}
