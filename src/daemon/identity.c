/* SPDX-License-Identifier: MIT */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "daemon/identity.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "core/error.h"

#ifndef SO_PEERGROUPS
#define SO_PEERGROUPS 59
#endif

/* Of the kernel's headers from 6.5 on. */
#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77
#endif

int np_identity_of_socket(int socket, struct np_identity *identity)
{
    struct ucred credentials;
    socklen_t bytes = sizeof credentials;
    if (getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &credentials, &bytes) != 0)
        return np_error(-errno, "the kernel does not say who connected (SO_PEERCRED: %s)", strerror(errno));
    *identity = (struct np_identity){ credentials.pid, credentials.uid, credentials.gid };
    return 0;
}

static int compare_groups(const void *one, const void *other)
{
    gid_t a = *(const gid_t *)one, b = *(const gid_t *)other;
    return (a > b) - (a < b);
}

unsigned np_identity_groups_of_socket(int socket, gid_t *groups, unsigned room)
{
    socklen_t bytes = room * (socklen_t)sizeof *groups;
    if (getsockopt(socket, SOL_SOCKET, SO_PEERGROUPS, groups, &bytes) != 0)
        return 0;
    unsigned count = bytes / (unsigned)sizeof *groups, sorted = 1;
    /* The kernel has them in order, though not always in that of the numbers that are seen in another user namespace. */
    while (sorted < count && groups[sorted - 1] <= groups[sorted])
        sorted++;
    if (sorted < count)
        qsort(groups, count, sizeof *groups, compare_groups);
    return count;
}

bool np_identity_is_gone(int pidfd)
{
    struct pollfd polled = { .fd = pidfd, .events = POLLIN };
    return poll(&polled, 1, 0) == 1 && (polled.revents & (POLLIN | POLLHUP)) != 0;
}

static int cannot_watch(pid_t pid, const char *call, int error)
{
    if (error == EMFILE || error == ENFILE || error == ENOMEM)
        return np_error(-error, "cannot watch process %ld (%s: %s): raise the daemon's limit of open files (LimitNOFILE=)", (long)pid,
                        call, strerror(error));
    return np_error(-error, "cannot watch process %ld (%s: %s)", (long)pid, call, strerror(error));
}

int np_identity_pidfd_of_process(pid_t pid, uint64_t start_ticks)
{
    int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    if (pidfd < 0)
        return cannot_watch(pid, "pidfd_open", errno);
    /* The pidfd names one process for ever; whether it is the one that is meant is seen by when it was started. */
    errno = 0;
    uint64_t its_ticks = np_identity_start_ticks(pid);
    int unseen = its_ticks == 0 ? errno : 0;
    if (unseen == EMFILE || unseen == ENFILE || unseen == ENOMEM) { /* that is not /proc's fault, nor the process's */
        close(pidfd);
        return cannot_watch(pid, "/proc/PID/stat", unseen);
    }
    bool is_other = start_ticks != 0 && its_ticks != 0 && its_ticks != start_ticks;
    if (is_other || np_identity_is_gone(pidfd)) {
        close(pidfd);
        return np_error(-ESRCH, "process %ld is gone", (long)pid);
    }
    if (start_ticks == 0 || its_ticks == 0) {
        close(pidfd);
        return np_error(-EACCES, "it cannot be seen when process %ld was started (/proc/%ld/stat): /proc must be mounted and show it",
                        (long)pid, (long)pid);
    }
    return pidfd;
}

int np_identity_pidfd_of_socket(int socket, const struct np_identity *identity)
{
    int pidfd = -1;
    socklen_t bytes = sizeof pidfd;
    if (getsockopt(socket, SOL_SOCKET, SO_PEERPIDFD, &pidfd, &bytes) == 0) {
        fcntl(pidfd, F_SETFD, FD_CLOEXEC);
        return pidfd;
    }
    if (errno == EMFILE || errno == ENFILE || errno == ENOMEM)
        return cannot_watch(identity->pid, "SO_PEERPIDFD", errno);
    if (errno != ENOPROTOOPT)
        return np_error(-ESRCH, "process %ld connected and is gone", (long)identity->pid);
    if (identity->pid <= 0)
        return np_error(-EACCES, "the process that connected is in a pid namespace that cannot be seen from the daemon's: run the daemon "
                                 "in it or above it, or on Linux 6.5 or later");
    /* The start time is taken before and after: were the number used again in between, they would differ. The number was
     * used again before only if the process that connected has died, and then its end of the socket is closed soon: the
     * watch on the connection sees that. */
    return np_identity_pidfd_of_process(identity->pid, np_identity_start_ticks(identity->pid));
}

uint64_t np_identity_start_ticks_in(const char *text)
{
    /* The second field is the program's name in brackets, and may have blanks and brackets in it. */
    const char *at = strrchr(text, ')');
    for (unsigned field = 2; at && field < 22; field++) {
        at = strchr(at, ' ');
        at = at ? at + 1 : NULL;
    }
    return at ? strtoull(at, NULL, 10) : 0;
}

uint64_t np_identity_start_ticks(pid_t pid)
{
    char path[48], text[1024];
    snprintf(path, sizeof path, "/proc/%ld/stat", (long)pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    ssize_t got = read(fd, text, sizeof text - 1);
    close(fd);
    if (got <= 0)
        return 0;
    text[got] = '\0';
    return np_identity_start_ticks_in(text);
}

uint64_t np_identity_inode_in(const char *line, size_t bytes)
{
    /* "7f00-7f10 rw-s 00000000 00:01 1234   /memfd:numapool: words of ... (deleted)" */
    static const char name[] = "/memfd:numapool";
    char text[256];
    if (bytes >= sizeof text)
        bytes = sizeof text - 1;
    memcpy(text, line, bytes);
    text[bytes] = '\0';
    char *path = strchr(text, '/');
    if (!path || strncmp(path, name, sizeof name - 1) != 0)
        return 0;
    unsigned long long inode;
    return sscanf(text, "%*s %*s %*s %*s %llu", &inode) == 1 ? inode : 0;
}
