/* SPDX-License-Identifier: MIT
 * Where the socket, the log and /proc are, or are not: full disks, read-only ones, paths too long, no permission, a log
 * that nobody
 * reads. In a mount namespace of the test's own. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

#include "limits.h"

#define PARTS(...) ((const char *const[]){ __VA_ARGS__, NULL })

static struct harness_daemon daemon_here;
static char place[96]; /* a file system of its own, below the daemon's directory */

static bool mount_place(unsigned long flags, const char *options)
{
    snprintf(place, sizeof place, "%s/place", daemon_here.directory);
    return (mkdir(place, 0755) == 0 || errno == EEXIST) && mount("limits", place, "tmpfs", flags, options) == 0;
}

static void unmount_place(void)
{
    umount2(place, MNT_DETACH);
    rmdir(place);
}

/* ---------------------------------------------------------------- the socket's place */

static void start_at(const char *socket, void (*before)(void *context), int exit_status, const char *limit,
                     const char *const *parts)
{
    int status = limits_daemon_start(&daemon_here, &(struct limits_start){ .socket = socket, .before = before });
    limits_expect_refused(&daemon_here, status, exit_status, limit, parts);
    if (status == 0)
        harness_daemon_stop(&daemon_here);
    limits_reached(limit);
}

static void be_nobody(void *context)
{
    (void)context;
    limits_become(LIMITS_NOBODY);
}

static void fill_file(const char *name)
{
    char path[128], block[4096] = { 0 };
    snprintf(path, sizeof path, "%s/%s", place, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    while (fd >= 0 && write(fd, block, sizeof block) > 0)
        continue;
    if (fd >= 0)
        close(fd);
}

static void places_of_socket(void)
{
    char socket[160], long_socket[400];
    if (!mount_place(0, "size=64k,nr_inodes=64,mode=755")) {
        limits_not_run("a full disk, a read-only one", "no file system may be mounted here");
    } else {
        snprintf(socket, sizeof socket, "%s/socket", place);
        fill_file("full");
        start_at(socket, NULL, EXIT_FAILURE, "full disk where the lock is",
                 PARTS(place, "is the file system full?", "--socket"));
        unmount_place();
        mount_place(0, "size=64k,nr_inodes=2,mode=755"); /* its root and one more: the lock, and no socket */
        start_at(socket, NULL, EXIT_FAILURE, "full disk where the socket is",
                 PARTS("cannot make the socket", "No space left", "--socket"));
        unmount_place();
        mount_place(MS_RDONLY, "size=64k");
        start_at(socket, NULL, EXIT_FAILURE, "read-only file system",
                 PARTS("lock file", "Read-only file system", "--socket"));
        unmount_place();
        mount_place(0, "size=64k,mode=755");
        start_at(socket, be_nobody, EXIT_FAILURE, "no permission to write there",
                 PARTS("lock file", "Permission denied", "--socket"));
        int status = limits_daemon_start(&daemon_here, &(struct limits_start){ .socket = socket });
        harness_expect(status == 0, "where there is room, and permission, the same daemon starts (%x)", (unsigned)status);
        if (status == 0)
            harness_daemon_stop(&daemon_here);
        unmount_place();
    }
    snprintf(long_socket, sizeof long_socket, "%s/%0150d", daemon_here.directory, 0);
    start_at(long_socket, NULL, EX_USAGE, "a socket's path that is too long",
             PARTS("has more than 107 bytes", "choose a shorter one"));
    snprintf(socket, sizeof socket, "%s/no/directory/socket", daemon_here.directory);
    start_at(socket, NULL, EXIT_FAILURE, "no directory for the socket",
             PARTS("lock file", "No such file or directory", "--socket"));
}

/* ---------------------------------------------------------------- a client's way to it */

struct visit {
    const char *socket;
    struct limits_answer *answer;
    bool as_nobody;
};

static int visit(void *context)
{
    struct visit *visitor = context;
    struct numapool_client *client;
    if (visitor->as_nobody)
        limits_become(LIMITS_NOBODY);
    int result = limits_keep(visitor->answer, numapool_connect(&client, visitor->socket));
    return result == 0 && numapool_disconnect(client) < 0;
}

static void visit_expect(const char *socket, bool as_nobody, int code, const char *limit, const char *const *parts)
{
    struct visit visitor = { socket, limits_answer_new(), as_nobody };
    if (limits_run(visit, &visitor) == 100)
        limits_not_run(limit, "no other user can be had here");
    else if (limits_expect_sentence(visitor.answer, code, limit, parts) && code != 0)
        limits_reached(limit);
}

static void ways_of_client(void)
{
    char long_socket[400];
    int status = limits_daemon_start(&daemon_here, &(struct limits_start){ 0 });
    if (!harness_expect(status == 0, "the daemon starts (%x)", (unsigned)status))
        return;
    snprintf(long_socket, sizeof long_socket, "%s/%0150d", daemon_here.directory, 0);
    visit_expect(long_socket, false, -ENAMETOOLONG, "a client's path that is too long",
                 PARTS("has more than 107 bytes", "a shorter one"));
    visit_expect(daemon_here.socket, true, -EACCES, "no permission on the way to the socket",
                 PARTS("may not be opened by this user", "directory"));
    visit_expect(daemon_here.log, false, -ECONNREFUSED, "a file instead of a socket",
                 PARTS("no numapoold listens", "NUMAPOOL_SOCKET"));
    visit_expect(daemon_here.socket, false, 0, "the right path", PARTS(""));
    harness_expect_nothing_left(&daemon_here);
    harness_expect(harness_daemon_stop(&daemon_here) == 0, "SIGTERM ends the daemon with status 0");
}

/* ---------------------------------------------------------------- /proc */

static void be_without_proc(void *context)
{
    (void)context;
    if (unshare(CLONE_NEWNS) != 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
        umount2("/proc", MNT_DETACH) != 0)
        _exit(100);
}

/* As on a machine where nobody sees another user's processes; the daemon is not root there. */
static void be_in_hidden_proc(void *context)
{
    (void)context;
    if (unshare(CLONE_NEWNS) != 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
        mount("proc", "/proc", "proc", 0, "hidepid=2") != 0)
        _exit(100);
    limits_become(LIMITS_NOBODY);
}

static void poor_proc(void)
{
    static const char *const for_all[] = { "--pool=" LIMITS_POOL_SPEC ",direct=0", NULL };
    struct limits_bystanders bystanders;
    int status = limits_daemon_start(&daemon_here, &(struct limits_start){ .before = be_without_proc });
    if (status >= 0 && WIFEXITED(status) && WEXITSTATUS(status) == 100) {
        limits_not_run("/proc that is not mounted, or hides processes", "no mount namespace can be had here");
        return;
    }
#ifdef __SANITIZE_ADDRESS__
    limits_not_run("no /proc", "the sanitizer itself cannot do without, and ends the process with its own status");
#else
    limits_expect_refused(&daemon_here, status, EX_CONFIG, "no /proc",
                          PARTS("cannot start a worker", "/proc must be mounted"));
    limits_reached("no /proc");
#endif
    chmod(daemon_here.directory, 0777);
    status = limits_daemon_start(&daemon_here, &(struct limits_start){ .options = for_all, .before = be_in_hidden_proc });
    if (harness_expect(status == 0, "with hidepid=2 a daemon that is not root starts (%x)", (unsigned)status) &&
        limits_bystanders_start(&bystanders, &daemon_here)) {
        /* Only one who is killed, and heard of by his pidfd, is forgotten: maps of others cannot be seen. */
        pid_t worker = harness_daemon_worker(&daemon_here);
        kill(worker, SIGKILL);
        harness_expect(harness_daemon_next_worker(&daemon_here, worker) > 0, "its worker is killed, and another takes over");
        limits_bystanders_expect(&bystanders, "hidepid=2");
        limits_bystanders_end(&bystanders, &daemon_here);
        limits_reached("/proc that hides processes");
    }
    harness_daemon_stop(&daemon_here);
    chmod(daemon_here.directory, 0700);
}

/* ---------------------------------------------------------------- the log */

static void replace_worker(struct limits_bystanders *bystanders, const char *when)
{
    pid_t worker = harness_daemon_next_worker(&daemon_here, 0), next = 0; /* one that was just killed may not be replaced yet */
    if (worker > 0)
        kill(worker, SIGKILL);
    for (unsigned i = 0; worker > 0 && next == 0 && i < 4; i++)
        next = harness_daemon_next_worker(&daemon_here, worker);
    harness_expect(next > 0, "%s: a worker is killed, and another takes over", when);
    limits_bystanders_expect(bystanders, when);
}

/* Clients that come and go make both halves write. */
static void make_lines(void)
{
    for (unsigned i = 0; i < 100; i++) {
        struct numapool_client *client;
        if (numapool_connect(&client, daemon_here.socket) == 0)
            numapool_disconnect(client);
    }
}

static void full_log(int log_fd, const char *limit)
{
    struct limits_bystanders bystanders;
    int status = limits_daemon_start(&daemon_here, &(struct limits_start){ .log_fd = log_fd });
    if (!harness_expect(status == 0, "%s: the daemon starts (%x)", limit, (unsigned)status) ||
        !limits_bystanders_start(&bystanders, &daemon_here))
        return;
    make_lines();
    replace_worker(&bystanders, limit);
    make_lines();
    limits_bystanders_end(&bystanders, &daemon_here);
    status = harness_daemon_stop(&daemon_here);
    if (harness_expect(status == 0, "%s: SIGTERM ends the daemon with status 0 (%x)", limit, (unsigned)status))
        limits_reached(limit);
}

/* Both halves write into a pipe from which the test takes a line now and then: the last room is often asked for by both. */
static void narrow_log(void)
{
    struct limits_bystanders bystanders;
    int ends[2], status;
    char lines[512];
    if (pipe2(ends, O_CLOEXEC) != 0)
        return;
    fcntl(ends[0], F_SETPIPE_SZ, 4096);
    fcntl(ends[0], F_SETFL, O_NONBLOCK);
    status = limits_daemon_start(&daemon_here, &(struct limits_start){ .log_fd = ends[1] });
    close(ends[1]);
    if (!harness_expect(status == 0, "a narrow pipe for the log: the daemon starts (%x)", (unsigned)status) ||
        !limits_bystanders_start(&bystanders, &daemon_here))
        return;
    for (unsigned i = 0; i < harness_scaled(20, 4); i++) {
        make_lines();
        (void)!read(ends[0], lines, sizeof lines);
    }
    replace_worker(&bystanders, "a narrow pipe for the log");
    close(ends[0]); /* and now nobody can read it any more */
    make_lines();
    replace_worker(&bystanders, "a pipe for the log that nobody has open to read");
    limits_bystanders_end(&bystanders, &daemon_here);
    status = harness_daemon_stop(&daemon_here);
    if (harness_expect(status == 0, "a broken pipe for the log: SIGTERM ends the daemon with status 0 (%x)",
                       (unsigned)status))
        limits_reached("a log that is read slowly, and then not at all");
}

static void poor_logs(void)
{
    char block[4096] = { 0 }, path[128];
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) == 0) {
        fcntl(ends[1], F_SETFL, O_NONBLOCK);
        while (write(ends[1], block, sizeof block) > 0 || write(ends[1], block, 1) > 0)
            continue;
        fcntl(ends[1], F_SETFL, 0); /* as a shell gives it */
        full_log(ends[1], "a log that nobody reads");
        close(ends[0]);
        close(ends[1]);
    }
    narrow_log();
    if (!mount_place(0, "size=64k,mode=755"))
        return;
    fill_file("full");
    snprintf(path, sizeof path, "%s/log", place);
    int log = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    full_log(log, "a full disk for the log");
    close(log);
    unmount_place();
}

void limits_places(void)
{
    if (unshare(CLONE_NEWNS) != 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0)
        harness_note("no mount namespace of the test's own");
    harness_daemon_prepare(&daemon_here);
    places_of_socket();
    ways_of_client();
    poor_proc();
    poor_logs();
    harness_daemon_remove(&daemon_here);
}
