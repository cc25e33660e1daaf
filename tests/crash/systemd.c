/* SPDX-License-Identifier: MIT
 *
 * A real systemd, as root and in namespaces of its own (mounts, processes, control groups), runs the unit that the documentation
 * shows; a drop-in says only where this build and its files are. Keeper and worker are killed, the service is restarted and stopped.
 * Where that cannot be had it says NOT RUN and why; tests/crash/fdstore has the same from a manager of its own.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/depository.h"
#include "harness.h"

#define SYSTEMD "/lib/systemd/systemd"
#define GROUPS "/sys/fs/cgroup"
#define UNITS "/run/units"
#define SOCKET "/run/user/0/numapool/numapool.sock"
#define LONG_NS INT64_C(15000000000)
#define POOL "pay"

enum { KILLS = 10, NOT_RUN = 77 };

/* ---------------------------------------------------------------- a world of its own */

static int write_file(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");
    if (!file)
        return -errno;
    int result = fputs(text, file) < 0 ? -EIO : 0;
    return fclose(file) == 0 ? result : -errno;
}

static int refuse(const char *what)
{
    printf("     NOT RUN: a real systemd: %s (%s)\n", what, strerror(errno));
    return NOT_RUN;
}

/* In the namespaces, before anything else is started there. 0, or why not was said. */
static int furnish(void)
{
    if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0)
        return refuse("mounts cannot be made private");
    if (mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) != 0)
        return refuse("/proc cannot be mounted");
    if (mount("cgroup2", GROUPS, "cgroup2", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) != 0)
        return refuse("control groups (version 2) cannot be mounted");
    if (mount("tmpfs", "/run", "tmpfs", 0, "mode=755") != 0)
        return refuse("a tmpfs cannot be mounted on /run");
    static const char *const directories[] = { "/run/systemd", "/run/systemd/system", "/run/user", "/run/user/0", UNITS, UNITS "/numapoold.service.d" };
    for (unsigned i = 0; i < sizeof directories / sizeof directories[0]; i++)
        if (mkdir(directories[i], 0755) != 0)
            return refuse(directories[i]);
    chmod("/run/user/0", 0700);
    return 0;
}

/* Where control groups of version 2 are; those of version 1 do not tell systemd when one is empty. */
static const char *groups(void)
{
    return access(GROUPS "/cgroup.controllers", F_OK) == 0 ? GROUPS : GROUPS "/unified";
}

/* A control group of our own, which the namespace then takes for the root of all. It is left again by its last process's end,
 * and removed by who made it. */
static int enter_group(char *group, size_t bytes)
{
    char path[160], number[16];
    snprintf(group, bytes, "%s/numapool-test.%d", groups(), (int)getpid());
    snprintf(path, sizeof path, "%s/cgroup.procs", group);
    snprintf(number, sizeof number, "%d", (int)getpid());
    if (mkdir(group, 0755) != 0)
        return refuse("no control group can be made");
    if (write_file(path, number) != 0) {
        rmdir(group);
        return refuse("the control group cannot be entered");
    }
    return 0;
}

static void leave_group(const char *group)
{
    char command[400];
    snprintf(command, sizeof command, "%s/cgroup.procs", groups());
    if (write_file(command, "0") != 0)
        perror("leaving the control group");
    snprintf(command, sizeof command, "find %.120s -depth -type d -exec rmdir {} + 2>/dev/null", group);
    for (unsigned tries = 0; tries < 20 && access(group, F_OK) == 0; tries++) {
        if (system(command) != 0)
            harness_sleep_ns(50000000);
    }
}

/* ---------------------------------------------------------------- systemd */

struct systemd {
    pid_t pid;
    struct harness_daemon daemon; /* its paths alone */
};

static bool systemctl(const char *arguments)
{
    char command[256];
    snprintf(command, sizeof command, "systemctl --user %s >>/run/systemctl.log 2>&1", arguments);
    return system(command) == 0;
}

static const char *property(const char *name)
{
    static char values[4][160];
    static unsigned turn;
    char command[160], *value = values[turn++ % 4];
    snprintf(command, sizeof command, "systemctl --user show numapoold.service --value -p %s 2>/dev/null", name);
    value[0] = '\0';
    FILE *output = popen(command, "r");
    if (output) {
        if (!fgets(value, sizeof values[0], output))
            value[0] = '\0';
        pclose(output);
    }
    value[strcspn(value, "\n")] = '\0';
    return value;
}

static bool is_running(void *context)
{
    (void)context;
    return systemctl("is-system-running");
}

/* The unit of the documentation as it is, and a drop-in. */
static bool write_units(void)
{
    static const char *const targets[] = { "default", "basic", "shutdown", "exit", "sockets", "paths", "timers" };
    const char *source = getenv("NUMAPOOL_SOURCE");
    char command[PATH_MAX + 160], program[PATH_MAX], above[PATH_MAX], text[PATH_MAX + 512], path[80];
    harness_program_path(above, sizeof above, "..");
    if (!source)
        source = above;
    harness_program_path(program, sizeof program, "numapoold");
    for (unsigned i = 0; i < sizeof targets / sizeof targets[0]; i++) {
        snprintf(path, sizeof path, UNITS "/%s.target", targets[i]);
        write_file(path, "[Unit]\nDefaultDependencies=no\n");
    }
    snprintf(text, sizeof text,
             "[Service]\nUser=\nExecStart=\nExecStart=%s --pool=" POOL ",size=128,count=4096 --socket=" SOCKET " --log-to=stderr\n"
             "StandardError=append:/run/numapoold.log\nPrivateTmp=no\nProtectHome=no\nMemorySwapMax=\nOOMScoreAdjust=\n", program);
    snprintf(command, sizeof command, "cp '%s/docs/examples/systemd/numapoold.service' " UNITS "/", source);
    return write_file(UNITS "/numapoold.service.d/test.conf", text) == 0 && system(command) == 0;
}

static void start_systemd(struct systemd *systemd)
{
    fflush(stdout);
    systemd->pid = fork();
    if (systemd->pid > 0)
        return;
    int log = open("/run/systemd.log", O_WRONLY | O_CREAT | O_APPEND, 0600);
    dup2(log, 1);
    dup2(log, 2);
    execl(SYSTEMD, SYSTEMD, "--user", (char *)NULL);
    _exit(127);
}

static void print_logs(void)
{
    fflush(stdout);
    if (system("for log in /run/systemd.log /run/systemctl.log /run/numapoold.log; do echo \"     $log\"; tail -n 15 $log | sed 's/^/     log: /'; done") != 0)
        printf("     no logs\n");
}

/* ---------------------------------------------------------------- a client */

struct member {
    struct numapool_client *client;
    struct numapool_pool *pool;
    struct numapool_sender *sender;
    struct numapool_receiver *receiver;
};

static bool join(struct member *member)
{
    return numapool_connect(&member->client, SOCKET) == 0 && numapool_open(member->client, POOL, 0, &member->pool) == 0 &&
           numapool_sender_open(member->pool, "c", NULL, &member->sender) == 0 &&
           numapool_receiver_open(member->pool, "c", NULL, &member->receiver) == 0;
}

static bool message_passes(struct member *member)
{
    struct numapool_msg message = { .length = 8, .data = numapool_loan(member->sender) };
    return message.data && numapool_send(member->sender, &message, LONG_NS) == 0 &&
           numapool_receive(member->receiver, &message, 1, LONG_NS) == 1 && numapool_release(member->receiver, &message, 1) == 0;
}

static void leave(struct member *member)
{
    if (member->receiver)
        numapool_receiver_close(member->receiver);
    if (member->sender)
        numapool_sender_close(member->sender, 0);
    if (member->pool)
        numapool_close(member->pool);
    if (member->client)
        numapool_disconnect(member->client);
}

static int slow_call(struct member *member)
{
    struct numapool_receiver *receiver;
    int result = numapool_receiver_open(member->pool, "other", NULL, &receiver);
    return result < 0 ? result : numapool_receiver_close(receiver);
}

static int hold(void *context)
{
    struct member member;
    (void)context;
    if (!join(&member) || !numapool_loan(member.sender))
        return 1;
    for (;;)
        pause();
}

struct waited {
    pid_t before;
    pid_t keeper;
};

static bool has_another_keeper(void *context)
{
    struct waited *waited = context;
    waited->keeper = (pid_t)atoi(property("MainPID"));
    return waited->keeper > 0 && waited->keeper != waited->before && strcmp(property("ActiveState"), "active") == 0;
}

static bool next_keeper(struct waited *waited)
{
    waited->before = waited->keeper;
    return harness_wait_until(has_another_keeper, waited, LONG_NS);
}

/* ---------------------------------------------------------------- what is tried */

static unsigned kills(struct systemd *systemd, struct member *member, struct waited *waited)
{
    uint64_t random = harness_seed();
    unsigned done = 0, wanted = harness_scaled(KILLS, 3);
    bool good = true;
    for (; good && done < wanted; done++) {
        systemd->daemon.keeper = waited->keeper;
        pid_t worker = harness_daemon_worker(&systemd->daemon), holder = harness_fork(hold, NULL);
        harness_sleep_ns(harness_below(&random, 20000000));
        if (worker > 0 && harness_below(&random, 2))
            kill(worker, SIGKILL);
        kill(waited->keeper, SIGKILL);
        harness_kill(holder);
        good = message_passes(member) && next_keeper(waited) && slow_call(member) == 0 && message_passes(member);
    }
    harness_expect(good, "keeper and worker are killed %u times, and the client goes on (%s)", done, good ? property("StatusText") : numapool_errormsg());
    return done;
}

static void with_room(struct systemd *systemd)
{
    struct member member;
    struct waited waited = { 0, 0 };
    bool started = systemctl("start numapoold.service") && has_another_keeper(&waited);
    if (!harness_expect(started, "systemd starts the unit of the documentation (%s)", property("StatusText")))
        return;
    harness_expect(strcmp(property("FileDescriptorStoreMax"), "8192") == 0 && strcmp(property("NFileDescriptorStore"), "5") == 0,
                   "it keeps the daemon's descriptors (%s of %s)", property("NFileDescriptorStore"), property("FileDescriptorStoreMax"));
    if (!harness_expect(join(&member) && message_passes(&member), "a client works: %s", numapool_errormsg()))
        return;
    unsigned done = kills(systemd, &member, &waited);
    int64_t begun_ns = harness_now_ns();
    bool restarted = systemctl("restart numapoold.service");
    int64_t took_ns = harness_now_ns() - begun_ns;
    harness_expect(restarted && next_keeper(&waited) && slow_call(&member) == 0 && message_passes(&member), "systemctl restart is nothing to it (%.0f ms)",
                   (double)took_ns / 1e6);
    struct harness_look look;
    int64_t free_ns;
    uint64_t in_use = 0;
    if (harness_expect(harness_look_open(&look, SOCKET), "the daemon can be looked at")) {
        struct harness_left left = harness_look_left(&look);
        harness_expect(left.clients == 1, "of those who died with it there is nobody left (%u clients)", left.clients);
        harness_expect(np_load64(&look.board.header->depository, memory_order_relaxed) == NP_DEPOSITORY_KEEPING, "numapoolctl stats says that it is kept");
        harness_look_close(&look);
    }
    harness_figure("systemd.kills", "%u kills of both under systemd, and a restart in %.0f ms", done, (double)took_ns / 1e6);
    harness_expect(systemctl("stop numapoold.service") && strcmp(property("NFileDescriptorStore"), "0") == 0, "systemctl stop gives everything up");
    harness_expect(systemctl("start numapoold.service"), "it is started again");
    int result = slow_call(&member);
    harness_expect(result == -ESTALE, "and is another daemon: %s", numapool_errormsg());
    leave(&member);
    if (harness_look_open(&look, SOCKET)) {
        in_use = harness_wait_all_free(&look, LONG_NS, &free_ns);
        harness_look_close(&look);
    }
    harness_expect(in_use == 4096, "with all slots free (%llu)", (unsigned long long)in_use);
    systemctl("stop numapoold.service");
}

static void without_room(void)
{
    struct member members[4];
    unsigned joined = 0;
    write_file(UNITS "/numapoold.service.d/room.conf", "[Service]\nFileDescriptorStoreMax=9\n");
    harness_expect(systemctl("daemon-reload") && systemctl("start numapoold.service"), "systemd with room for 9 descriptors starts it");
    memset(members, 0, sizeof members);
    while (joined < 4 && join(&members[joined]))
        joined++;
    harness_expect(joined == 4 && strstr(property("StatusText"), "without the service manager's store"), "more do not fit, and it says so (%s)",
                   property("StatusText"));
    harness_expect(strcmp(property("NFileDescriptorStore"), "0") == 0, "systemd has nothing any more");
    harness_expect(message_passes(&members[3]), "and the daemon serves on");
    for (unsigned i = 0; i < joined; i++)
        leave(&members[i]);
    systemctl("stop numapoold.service");
}

static int live_in_it(int argc, char **argv)
{
    struct systemd systemd;
    memset(&systemd, 0, sizeof systemd);
    int result = furnish();
    if (result != 0)
        return result;
    setenv("XDG_RUNTIME_DIR", "/run/user/0", 1);
    setenv("SYSTEMD_UNIT_PATH", UNITS, 1);
    setenv("SYSTEMD_LOG_TARGET", "console", 1);
    if (!write_units())
        return refuse("its units cannot be written (NUMAPOOL_SOURCE says where the sources are)");
    start_systemd(&systemd);
    if (!harness_wait_until(is_running, NULL, LONG_NS)) {
        print_logs();
        return refuse("it does not come up here");
    }
    harness_begin("systemd", argc, argv);
    with_room(&systemd);
    without_room();
    if (harness_failed() > 0)
        print_logs();
    result = harness_end();
    kill(systemd.pid, SIGKILL);
    return result;
}

int main(int argc, char **argv)
{
    char group[128];
    int status = 0, result;
    if (access(SYSTEMD, X_OK) != 0)
        result = refuse("there is no " SYSTEMD);
    else if ((result = enter_group(group, sizeof group)) == 0) {
        fflush(stdout);
        pid_t outside = fork();
        if (outside == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            if (unshare(CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWCGROUP) != 0)
                _exit(refuse("namespaces cannot be made") + fflush(stdout));
            pid_t first = fork(); /* with it everything in there ends */
            if (first == 0) {
                prctl(PR_SET_PDEATHSIG, SIGKILL);
                exit(live_in_it(argc, argv));
            }
            waitpid(first, &status, 0);
            _exit(WIFEXITED(status) ? WEXITSTATUS(status) : 1);
        }
        waitpid(outside, &status, 0);
        result = WIFEXITED(status) ? WEXITSTATUS(status) : 1;
        leave_group(group);
    }
    if (result == NOT_RUN)
        printf("0 passed, 0 failed\n");
    return result == NOT_RUN ? 0 : result;
}
