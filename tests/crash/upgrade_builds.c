/* SPDX-License-Identifier: MIT */
#include "upgrade_builds.h"

#include <dirent.h>
#include <fcntl.h>
#include <jansson.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { TOOL_PATIENCE_MS = 60000 };

/* Where they were built: of before NUMAPOOL_BUILD was made to lead to the copies. */
static void built_path(char path[PATH_MAX], const char *program)
{
    static char given[PATH_MAX];
    static bool known;
    if (!known && getenv("NUMAPOOL_BUILD"))
        snprintf(given, sizeof given, "%s", getenv("NUMAPOOL_BUILD"));
    known = true;
    const char *build = given[0] ? given : NULL;
    char own[PATH_MAX] = ".";
    if (!build) { /* tests/crash/upgrade in it */
        ssize_t length = readlink("/proc/self/exe", own, sizeof own - 1);
        own[length > 0 ? length : 0] = '\0';
        for (unsigned up = 0; up < 3 && strrchr(own, '/'); up++)
            *strrchr(own, '/') = '\0';
    }
    snprintf(path, PATH_MAX, "%.3000s/%.500s", build ? build : own, program);
}

/* ---------------------------------------------------------------- the directory */

const char *builds_path(const struct builds *builds, const char *name)
{
    static char paths[4][128]; /* good for four at a time */
    static unsigned next;
    char *path = paths[next++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", builds->directory, name);
    return path;
}

static void write_file(const char *path, const void *bytes, size_t count, mode_t mode)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0700);
    if (fd < 0 || write(fd, bytes, count) != (ssize_t)count || fchmod(fd, mode) != 0) {
        perror(path);
        exit(2);
    }
    close(fd);
}

static void copy(const struct builds *builds, const char *program, const char *name)
{
    char path[PATH_MAX];
    struct stat status;
    built_path(path, program);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &status) != 0) {
        perror(path);
        exit(2);
    }
    char *bytes = malloc((size_t)status.st_size);
    if (!bytes || read(fd, bytes, (size_t)status.st_size) != status.st_size) {
        perror(path);
        exit(2);
    }
    close(fd);
    write_file(builds_path(builds, name), bytes, (size_t)status.st_size, 0755);
    free(bytes);
}

void builds_make(struct builds *builds)
{
    static const char *const impostors[] = { "silent", "hangs", "crashes", "talks", "says_other", "says_part", "fails", "leaves_child", "lingers",
                                             "worker_fails", "worker_ends", "worker_hangs", "worker_dies" };
    static const char script[] = "#!/bin/sh\nsleep 1000\n";
    char garbage[4096];
    snprintf(builds->directory, sizeof builds->directory, "/tmp/numapool-builds.XXXXXX");
    if (!mkdtemp(builds->directory)) {
        perror(builds->directory);
        exit(2);
    }
    copy(builds, "numapoold", "numapoold");
    copy(builds, "numapoolctl", "numapoolctl");
    setenv("NUMAPOOL_BUILD", builds->directory, 1); /* for the harness: its daemon is started from here */
    copy(builds, "tests/tools/numapoold_next", "next");
    copy(builds, "tests/tools/numapoold_layout", "layout");
    for (size_t i = 0; i < sizeof impostors / sizeof impostors[0]; i++)
        copy(builds, "tests/tools/impostor", impostors[i]);
    for (size_t i = 0; i < sizeof garbage; i++)
        garbage[i] = (char)(i * 151 + 7);
    write_file(builds_path(builds, "garbage"), garbage, sizeof garbage, 0755);
    memcpy(garbage, "\x7f" "ELF\2\1\1\0", 8);
    garbage[18] = 0x28; /* EM_ARM, of a 64-bit file: no kernel here runs that */
    write_file(builds_path(builds, "elsewhere"), garbage, sizeof garbage, 0755);
    write_file(builds_path(builds, "script"), script, sizeof script - 1, 0755);
    write_file(builds_path(builds, "no_program"), script, sizeof script - 1, 0644);
    write_file(builds_path(builds, "writable"), script, sizeof script - 1, 0777);
}

void builds_remove(struct builds *builds)
{
    DIR *directory = opendir(builds->directory);
    struct dirent *entry;
    while (directory && (entry = readdir(directory)))
        if (entry->d_name[0] != '.')
            unlinkat(dirfd(directory), entry->d_name, 0);
    if (directory)
        closedir(directory);
    rmdir(builds->directory);
}

void builds_install(const struct builds *builds, const char *name)
{
    char program[PATH_MAX];
    snprintf(program, sizeof program, strcmp(name, "next") == 0 ? "tests/tools/numapoold_next" : "%s", name);
    copy(builds, program, "incoming");
    if (rename(builds_path(builds, "incoming"), builds_path(builds, "numapoold")) != 0) {
        perror("rename");
        exit(2);
    }
}

void builds_arm_death(const struct builds *builds, unsigned after_us)
{
    char text[16];
    int length = snprintf(text, sizeof text, "%u", after_us);
    write_file(builds_path(builds, "death_us"), text, (size_t)length, 0600);
}

/* ---------------------------------------------------------------- numapoolctl */

static struct upgrade_tool run_tool(const struct harness_daemon *daemon, const char *const *arguments)
{
    char path[PATH_MAX];
    const char *argv[12] = { "numapoolctl", "--json", "--socket", daemon->socket };
    unsigned argc = 4;
    int ends[2];
    built_path(path, "numapoolctl");
    while (*arguments && argc < 11)
        argv[argc++] = *arguments++;
    if (pipe2(ends, O_CLOEXEC) != 0) {
        perror("pipe2");
        exit(2);
    }
    fflush(stdout);
    pid_t parent = getpid(), pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent)
            _exit(2);
        dup2(ends[1], STDOUT_FILENO);
        dup2(ends[1], STDERR_FILENO);
        execv(path, (char *const *)(uintptr_t)argv);
        _exit(127);
    }
    close(ends[1]);
    return (struct upgrade_tool){ pid, ends[0] };
}

/* All that it says until it ends. */
static int read_tool(struct upgrade_tool tool, char *text, size_t bytes)
{
    size_t used = 0;
    ssize_t got = 1;
    int status = -1;
    while (got > 0 && used < bytes - 1) {
        struct pollfd polled = { .fd = tool.output, .events = POLLIN };
        if (poll(&polled, 1, TOOL_PATIENCE_MS) != 1) {
            kill(tool.pid, SIGKILL);
            break;
        }
        got = read(tool.output, text + used, bytes - 1 - used);
        used += got > 0 ? (size_t)got : 0;
    }
    text[used] = '\0';
    close(tool.output);
    if (waitpid(tool.pid, &status, 0) != tool.pid || !WIFEXITED(status))
        return -1;
    return WEXITSTATUS(status);
}

struct upgrade_tool upgrade_begin(const struct harness_daemon *daemon, const char *option, const char *binary)
{
    const char *arguments[6] = { "upgrade" };
    unsigned count = 1;
    if (option)
        arguments[count++] = option;
    if (binary) {
        arguments[count++] = "--binary";
        arguments[count++] = binary;
    }
    return run_tool(daemon, arguments);
}

static void take_text(char *text, size_t bytes, const json_t *document, const char *key)
{
    const char *value = json_string_value(json_object_get(document, key));
    snprintf(text, bytes, "%s", value ? value : "");
}

struct upgrade_said upgrade_end(struct upgrade_tool tool)
{
    char text[4096];
    struct upgrade_said said = { .status = read_tool(tool, text, sizeof text) };
    json_t *document = json_loads(text, 0, NULL);
    take_text(said.done, sizeof said.done, document, "done");
    take_text(said.why, sizeof said.why, document, "why");
    take_text(said.version_before, sizeof said.version_before, document, "version_before");
    take_text(said.version_after, sizeof said.version_after, document, "version_after");
    said.worker_before = (int)json_integer_value(json_object_get(document, "worker_before"));
    said.worker_after = (int)json_integer_value(json_object_get(document, "worker_after"));
    said.took_ns = json_integer_value(json_object_get(document, "took_ns"));
    if (!document) /* a sentence, then */
        snprintf(said.why, sizeof said.why, "%.*s", (int)strcspn(text, "\n"), text);
    json_decref(document);
    return said;
}

void upgrade_working_version(const struct harness_daemon *daemon, char version[32])
{
    static const char *const arguments[] = { "stats", NULL };
    static char text[65536];
    version[0] = '\0';
    if (read_tool(run_tool(daemon, arguments), text, sizeof text) != 0)
        return;
    json_t *document = json_loads(text, 0, NULL);
    take_text(version, 32, json_object_get(document, "daemon"), "worker_version");
    json_decref(document);
}
