/* SPDX-License-Identifier: MIT */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "daemon/candidate.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/bell.h"
#include "core/error.h"
#include "daemon/privileges.h"

#define ASK_PATIENCE_NS INT64_C(5000000000)

enum { NOT_RUN = 126 }; /* as a shell's: it is there and was not run */
static const char not_run[] = "not run: ";

int np_candidate_open(struct np_candidate *candidate, const char *path)
{
    struct stat status;
    *candidate = (struct np_candidate){ .path = path, .fd = -1, .said_fd = -1, .deadline_ns = INT64_MAX };
    int fd = open(path, O_PATH | O_CLOEXEC);
    if (fd < 0)
        return np_error(-errno, "%.120s cannot be opened by the daemon: %s", path, strerror(errno));
    int result = 0;
    if (fstat(fd, &status) != 0)
        result = np_error(-errno, "%.120s cannot be looked at by the daemon: %s", path, strerror(errno));
    else if (!S_ISREG(status.st_mode))
        result = np_error(-EINVAL, "%.120s is no file: give the path of a numapoold", path);
    else if (status.st_uid != 0 && status.st_uid != geteuid())
        result = np_error(-EPERM, "%.120s belongs to user %ld, who could have it do what he likes as the daemon's user %ld: give it to root",
                          path, (long)status.st_uid, (long)geteuid());
    else if (status.st_mode & (S_IWGRP | S_IWOTH))
        result = np_error(-EPERM, "%.120s may be written by others (mode %03o): chmod go-w it", path, (unsigned)(status.st_mode & 0777));
    if (result < 0)
        close(fd);
    else
        candidate->fd = fd;
    return result;
}

/* ---------------------------------------------------------------- asking */

/* It is a stranger: it gets nothing of the keeper's but its user, no rights that the file may carry (setuid), no terminal's group,
 * and leaves no core file. */
static void run_candidate(int fd, int said_fd, pid_t parent)
{
    static const struct rlimit no_core = { 0, 0 };
    char name[] = "numapoold", option[] = "--probe", *const arguments[] = { name, option, NULL };
    sigset_t none;
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(NOT_RUN);
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    np_privileges_drop();
    setrlimit(RLIMIT_CORE, &no_core);
    signal(SIGPIPE, SIG_DFL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (null < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(said_fd, STDOUT_FILENO) < 0 || dup2(null, STDERR_FILENO) < 0)
        _exit(NOT_RUN);
    syscall(SYS_close_range, STDERR_FILENO + 1, ~0u, CLOSE_RANGE_CLOEXEC); /* what whoever started the daemon left open */
    fexecve(fd, arguments, environ);
    dprintf(STDOUT_FILENO, "%s%d\n", not_run, errno);
    _exit(NOT_RUN);
}

int np_candidate_ask(struct np_candidate *candidate)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0)
        return np_error(-errno, "the daemon cannot make a pipe: %s", strerror(errno));
    fcntl(ends[0], F_SETFL, O_NONBLOCK);
    pid_t parent = getpid(), child = fork();
    if (child == 0)
        run_candidate(candidate->fd, ends[1], parent);
    int code = errno;
    close(ends[1]);
    if (child < 0) {
        close(ends[0]);
        return np_error(-code, "the daemon cannot start another process: %s", strerror(code));
    }
    candidate->pid = child;
    candidate->said_fd = ends[0];
    candidate->deadline_ns = np_monotonic_ns() + ASK_PATIENCE_NS;
    return 0;
}

/* ---------------------------------------------------------------- what it has said */

static void stop_hearing(struct np_candidate *candidate)
{
    if (candidate->said_fd >= 0)
        close(candidate->said_fd);
    candidate->said_fd = -1;
}

/* As much as there is room for, which is a byte more than it may say. */
static void hear(struct np_candidate *candidate)
{
    ssize_t got = 1;
    while (got > 0 && candidate->said_fd >= 0 && candidate->bytes < sizeof candidate->said) {
        got = read(candidate->said_fd, candidate->said + candidate->bytes, sizeof candidate->said - candidate->bytes);
        candidate->bytes += got > 0 ? (size_t)got : 0;
    }
    if (got == 0)
        stop_hearing(candidate); /* its end is heard of by SIGCHLD */
}

static void end_child(struct np_candidate *candidate)
{
    kill(-candidate->pid, SIGKILL);
    kill(candidate->pid, SIGKILL); /* it may not have got to having a group of its own */
    candidate->deadline_ns = INT64_MAX;
}

static int why_not_run(const struct np_candidate *candidate)
{
    int code = atoi(candidate->said + sizeof not_run - 1);
    const char *why = code == ENOEXEC  ? "it is no program of this kind of machine"
                      : code == EACCES ? "nobody has made it executable (chmod +x), or its file system lets nothing run"
                      : code == ENOENT ? "it is a script, or the loader that it names is not there; a numapoold is wanted"
                                       : strerror(code);
    return np_error(-ENOEXEC, "%.120s cannot be run: %s", candidate->path, why);
}

/* Its end, in words. */
static int judge(const struct np_candidate *candidate, struct np_probe *probe)
{
    const size_t prefix = sizeof not_run - 1;
    int how = candidate->how;
    if (WIFEXITED(how) && WEXITSTATUS(how) == NOT_RUN && candidate->bytes > prefix && candidate->bytes < 32 &&
        memcmp(candidate->said, not_run, prefix) == 0)
        return why_not_run(candidate);
    if (candidate->late)
        return np_error(-ETIMEDOUT, "%.120s is no numapoold that can be asked: its --probe did not end within %d s", candidate->path,
                        (int)(ASK_PATIENCE_NS / 1000000000));
    if (WIFSIGNALED(how))
        return np_error(-EPROTO, "%.120s is no numapoold that can be asked: its --probe was ended by signal %d (%s)", candidate->path,
                        WTERMSIG(how), strsignal(WTERMSIG(how)));
    if (!WIFEXITED(how) || WEXITSTATUS(how) != 0)
        return np_error(-EPROTO, "%.120s is no numapoold that can be asked: its --probe ended with status %d (127: a library that it needs "
                        "is missing)", candidate->path, WEXITSTATUS(how));
    int result = np_probe_parse(probe, candidate->said, candidate->bytes);
    return result < 0 ? np_error_within(result, "%.120s is no numapoold that can be asked", candidate->path) : 1;
}

int np_candidate_look(struct np_candidate *candidate, struct np_probe *probe)
{
    hear(candidate);
    if (candidate->bytes == sizeof candidate->said && candidate->deadline_ns != INT64_MAX)
        end_child(candidate); /* it says too much, and might do so for ever */
    if (np_monotonic_ns() >= candidate->deadline_ns) {
        candidate->late = true;
        end_child(candidate);
    }
    siginfo_t ended = { 0 };
    if (waitid(P_PID, (id_t)candidate->pid, &ended, WEXITED | WNOHANG | WNOWAIT) != 0 || ended.si_pid == 0)
        return 0;
    kill(-candidate->pid, SIGKILL); /* children that it may have left: before it is reaped, while the group's number is its own */
    waitpid(candidate->pid, &candidate->how, 0);
    hear(candidate);
    candidate->pid = 0;
    candidate->deadline_ns = INT64_MAX;
    stop_hearing(candidate);
    if (candidate->bytes == sizeof candidate->said)
        return np_error(-EPROTO, "%.120s is no numapoold that can be asked: its --probe says more than %u bytes", candidate->path,
                        NP_PROBE_TEXT_MAX);
    return judge(candidate, probe);
}

void np_candidate_close(struct np_candidate *candidate)
{
    if (candidate->pid > 0)
        end_child(candidate);
    stop_hearing(candidate);
    if (candidate->fd >= 0)
        close(candidate->fd);
    *candidate = (struct np_candidate){ .fd = -1, .said_fd = -1, .deadline_ns = INT64_MAX };
}
