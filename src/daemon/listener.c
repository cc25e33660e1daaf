/* SPDX-License-Identifier: MIT
 * The lock file decides who owns the path. It names the socket that its owner bound: one that is still there when the lock can be taken is a
 * dead daemon's, even if it can be connected to, which the kernel lets be so until the last io_uring of the dead worker has been taken apart. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "core/error.h"
#include "daemon/keeper.h"

enum { LOCK_TRIES_MAX = 100, LISTENER_TRIES_MAX = 200, SOCKET_TEXT_BYTES = 80, LOCK_TEXT_BYTES = 112 };
#define LISTENER_PAUSE_NS 10000000 /* LISTENER_TRIES_MAX of them, 2 s in all: for a daemon that died before it wrote which socket is its */

/* One level: where /run or a run-time directory is there, the daemon's own in it is made. */
static void make_directory(struct np_listener *listener)
{
    char directory[sizeof listener->made_directory];
    snprintf(directory, sizeof directory, "%s", listener->path);
    char *slash = strrchr(directory, '/');
    if (!slash || slash == directory)
        return;
    *slash = '\0';
    if (mkdir(directory, 0755) == 0)
        memcpy(listener->made_directory, directory, sizeof directory);
}

static int lock_once(struct np_listener *listener)
{
    int fd = open(listener->lock_path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return np_error(-errno, "cannot make the lock file '%s' (%s): choose a directory that this user may write, by --socket",
                        listener->lock_path, strerror(errno));
    /* Not flock(2): a worker that was forked and not yet executed would have that lock too, and outlive its keeper with
     * it. */
    struct flock whole = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
    if (fcntl(fd, F_SETLK, &whole) != 0) {
        int code = errno;
        close(fd);
        if (code != EAGAIN && code != EACCES)
            return np_error(-code, "cannot lock '%s': %s", listener->lock_path, strerror(code));
        return np_error(-EADDRINUSE, "another numapoold serves '%s': end it, or choose another path by --socket", listener->path);
    }
    struct stat locked, named;
    if (fstat(fd, &locked) == 0 && stat(listener->lock_path, &named) == 0 && locked.st_ino == named.st_ino &&
        locked.st_dev == named.st_dev) {
        listener->lock_fd = fd;
        return 0;
    }
    /* Its owner removed it as he ended, between our open and our lock. */
    close(fd);
    return -EAGAIN;
}

static int take_lock(struct np_listener *listener)
{
    int result = -EAGAIN;
    for (unsigned tries = 0; result == -EAGAIN && tries < LOCK_TRIES_MAX; tries++)
        result = lock_once(listener);
    if (result == -EAGAIN)
        return np_error(result, "the lock file '%s' is made and removed all the time: something else uses that name", listener->lock_path);
    if (result < 0)
        return result;
    return 0;
}

/* What tells a socket's name from another of the same path: nothing changes a socket's time of modification after its birth. */
static void describe_socket(const struct np_listener *listener, char text[SOCKET_TEXT_BYTES])
{
    struct stat status;
    text[0] = '\0';
    if (lstat(listener->path, &status) == 0 && S_ISSOCK(status.st_mode))
        snprintf(text, SOCKET_TEXT_BYTES, "socket %llu of %lld.%09ld\n", (unsigned long long)status.st_ino, (long long)status.st_mtim.tv_sec,
                 status.st_mtim.tv_nsec);
}

/* Whether the socket that is there is what the last owner of the lock bound. */
static bool is_the_dead_ones(const struct np_listener *listener)
{
    char there[SOCKET_TEXT_BYTES], written[LOCK_TEXT_BYTES];
    describe_socket(listener, there);
    ssize_t bytes = pread(listener->lock_fd, written, sizeof written - 1, 0);
    if (bytes <= 0 || !there[0])
        return false;
    written[bytes] = '\0';
    const char *line = strchr(written, '\n'); /* behind the number of the process, which is for people */
    return line && strcmp(line + 1, there) == 0;
}

static int write_lock(const struct np_listener *listener)
{
    char text[LOCK_TEXT_BYTES], socket_text[SOCKET_TEXT_BYTES];
    describe_socket(listener, socket_text);
    int bytes = snprintf(text, sizeof text, "%ld\n%s", (long)getpid(), socket_text);
    if (ftruncate(listener->lock_fd, 0) != 0 || pwrite(listener->lock_fd, text, (size_t)bytes, 0) != bytes)
        return np_error(-EIO, "cannot write '%s': is the file system full? Make room there, or choose another path by --socket",
                        listener->lock_path);
    return 0;
}

/* Whoever mistypes a path must not take another program's socket from it. 0: nobody listens there. */
static int check_nobody_listens(const struct np_listener *listener, const struct sockaddr_un *address)
{
    int code = 0;
    for (unsigned tries = 0; tries < LISTENER_TRIES_MAX; tries++) {
        int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0)
            return np_error(-errno, "cannot make a socket: %s", strerror(errno));
        code = connect(fd, (const struct sockaddr *)address, sizeof *address) == 0 ? 0 : errno;
        close(fd);
        if (code == ECONNREFUSED || code == ENOENT)
            return 0;
        if (code != 0 && code != EAGAIN)
            break;
        const struct timespec pause = { .tv_nsec = LISTENER_PAUSE_NS };
        nanosleep(&pause, NULL);
    }
    return np_error(-EADDRINUSE, "another program listens at '%s'%s%s%s: end it, or choose another path by --socket", listener->path,
                    code ? " (" : "", code ? strerror(code) : "", code ? ")" : "");
}

static int bind_path(struct np_listener *listener)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    struct stat there;
    if (strlen(listener->path) >= sizeof address.sun_path)
        return np_error(-ENAMETOOLONG, "the socket's path '%s' has more than %zu bytes: choose a shorter one, by --socket", listener->path, sizeof address.sun_path - 1);
    strcpy(address.sun_path, listener->path);
    if (lstat(listener->path, &there) == 0) {
        if (!S_ISSOCK(there.st_mode))
            return np_error(-EEXIST, "'%s' is there and is no socket: remove it, or choose another path by --socket", listener->path);
        int result = is_the_dead_ones(listener) ? 0 : check_nobody_listens(listener, &address);
        if (result < 0)
            return result;
        unlink(listener->path);
    }
    /* Not O_NONBLOCK: some kernels' io_uring would then say -EAGAIN instead of waiting for a connection. */
    listener->socket_fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (listener->socket_fd < 0)
        return np_error(-errno, "cannot make a socket: %s", strerror(errno));
    mode_t before = umask(0177);
    int result = bind(listener->socket_fd, (struct sockaddr *)&address, sizeof address);
    int code = errno;
    umask(before);
    if (result != 0)
        return np_error(-code, "cannot make the socket '%s' (%s): make room for it, or choose another path by --socket", listener->path,
                        strerror(code));
    if (listen(listener->socket_fd, SOMAXCONN) != 0)
        return np_error(-errno, "cannot listen at '%s': %s", listener->path, strerror(errno));
    return 0;
}

uint64_t np_listener_inode(const struct np_listener *listener)
{
    struct stat status;
    return stat(listener->path, &status) == 0 ? (uint64_t)status.st_ino : 0;
}

/* One that listens elsewhere would be a daemon that nobody finds. */
static int take_given(struct np_listener *listener, int given_fd, uint64_t given_inode)
{
    struct sockaddr_un address = { 0 };
    socklen_t bytes = sizeof address - 1; /* so that the path has an end */
    if (given_inode != 0 && np_listener_inode(listener) != given_inode) {
        close(given_fd);
        return bind_path(listener);
    }
    if (getsockname(given_fd, (struct sockaddr *)&address, &bytes) != 0 || address.sun_family != AF_UNIX ||
        strcmp(address.sun_path, listener->path) != 0)
        return np_error(-EINVAL, "the socket that the service manager passed listens at '%s', and --socket says '%s': make them the same",
                        address.sun_path, listener->path);
    listener->socket_fd = given_fd;
    listener->socket_is_others = given_inode == 0;
    int flags = fcntl(given_fd, F_GETFL); /* some kernels' io_uring says -EAGAIN instead of waiting for a connection */
    return flags >= 0 && fcntl(given_fd, F_SETFL, flags & ~O_NONBLOCK) == 0 ? 0 : np_error(-errno, "the socket that was passed: %s", strerror(errno));
}

int np_listener_open(struct np_listener *listener, const char *path, int given_fd, uint64_t given_inode)
{
    *listener = (struct np_listener){ .path = path, .lock_fd = -1, .socket_fd = -1 };
    snprintf(listener->lock_path, sizeof listener->lock_path, "%s.lock", path);
    make_directory(listener);
    int result = take_lock(listener);
    if (result == 0)
        result = given_fd >= 0 ? take_given(listener, given_fd, given_inode) : bind_path(listener);
    if (result == 0)
        result = write_lock(listener);
    if (result < 0)
        np_listener_close(listener, given_fd >= 0);
    return result;
}

void np_listener_close(struct np_listener *listener, bool socket_stays)
{
    if (listener->socket_fd >= 0) {
        if (!listener->socket_is_others && !socket_stays)
            unlink(listener->path);
        close(listener->socket_fd);
    }
    if (listener->lock_fd >= 0) {
        unlink(listener->lock_path); /* before it is unlocked, so that nobody locks what is about to go */
        close(listener->lock_fd);
    }
    if (listener->made_directory[0])
        rmdir(listener->made_directory);
    listener->socket_fd = listener->lock_fd = -1;
}
