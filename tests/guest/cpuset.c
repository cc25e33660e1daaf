/* SPDX-License-Identifier: MIT
 *
 * What a control group does not allow is not used, and said: a daemon and an embedded pool in a cpuset of node 0 have
 * all their memory there; a pool that wants another node is refused; and when the group is given the other node the
 * daemon uses it after a SIGHUP.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../crash/harness.h"
#include "look.h"

#define GROUPS "/sys/fs/cgroup"
#define GROUP GROUPS "/numapool-test"
#define SECOND INT64_C(1000000000)

static struct machine machine;
static int other_node;

static bool write_file(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    bool written = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
    if (fd >= 0)
        close(fd);
    return written;
}

static void enter_group(void)
{
    if (!write_file(GROUP "/cgroup.procs", "0"))
        _exit(3);
}

static bool make_group(void)
{
    return write_file(GROUPS "/cgroup.subtree_control", "+cpuset") && (mkdir(GROUP, 0755) == 0 || errno == EEXIST) &&
           write_file(GROUP "/cpuset.mems", "0");
}

/* ---------------------------------------------------------------- a daemon */

/* Where the slots of pool 0 are by the board, and its pages by this process, which is not in the group. */
static void expect_all_on_node_0(const struct harness_daemon *daemon)
{
    struct numapool_client *client;
    struct numapool_pool *pool;
    struct machine_pages pages = { 0 };
    unsigned arenas = 0, elsewhere = 0;
    if (!harness_expect(numapool_connect(&client, daemon->socket) == 0 &&
                            numapool_open(client, "allowed", NUMAPOOL_PREFAULT, &pool) == 0,
                        "a client outside of the group joins"))
        return;
    for (; arenas < np_pool_arena_count(pool); arenas++)
        elsewhere += pool->arenas[arenas].arena.node != 0;
    int looked = look_at_pages(pool, &pages);
    harness_expect(arenas == 1 && elsewhere == 0, "the pool has slots on node 0 alone (%u arenas)", arenas);
    harness_expect(looked == 0 && pages.looked_at > 0 && pages.on[0] == pages.looked_at,
                   "and all its %llu pages are there (%llu)", (unsigned long long)pages.looked_at,
                   (unsigned long long)pages.on[0]);
    harness_expect(numapool_close(pool) == 0 && numapool_disconnect(client) == 0, "it leaves");
}

static bool has_heard(void *context)
{
    char text[64];
    snprintf(text, sizeof text, "node %d is now allowed", other_node);
    return harness_daemon_said(context, text);
}

static bool grow(const struct harness_daemon *daemon)
{
    struct numapool_client *client;
    if (numapool_connect(&client, daemon->socket) < 0)
        return false;
    int result = numapool_admin_grow(client, "allowed", other_node, 1000);
    if (result < 0)
        harness_note("%s", numapool_errormsg());
    numapool_disconnect(client);
    return result == 0;
}

static void confined_daemon(void)
{
    struct harness_daemon daemon;
    char text[64];
    harness_daemon_prepare(&daemon);
    harness_confine = enter_group;
    bool started = harness_daemon_start(&daemon, "allowed,size=256,count=20000");
    harness_confine = NULL;
    if (harness_expect(started, "a daemon starts in a group whose cpuset.mems is 0")) {
        snprintf(text, sizeof text, "node %d (not allowed: cpuset.mems)", other_node);
        harness_expect(harness_daemon_said(&daemon, text), "its log says: %s", text);
        expect_all_on_node_0(&daemon);
        harness_expect(!grow(&daemon), "the pool cannot grow on node %d", other_node);
        snprintf(text, sizeof text, "0,%d", other_node);
        harness_expect(write_file(GROUP "/cpuset.mems", text), "the group is given node %d", other_node);
        kill(daemon.keeper, SIGHUP);
        harness_expect(harness_wait_until(has_heard, &daemon, 20 * SECOND), "after a SIGHUP the daemon has noticed");
        harness_expect(grow(&daemon), "and the pool grows there");
        const char *const verify[] = { "verify", NULL };
        harness_expect(harness_tool(&daemon, verify) == 0, "every page is where it should be");
        harness_expect(harness_daemon_stop(&daemon) == 0, "SIGTERM ends the daemon with status 0");
        write_file(GROUP "/cpuset.mems", "0");
    }
    harness_daemon_remove(&daemon);
}

static void refused_daemon(void)
{
    struct harness_daemon daemon;
    char spec[64];
    snprintf(spec, sizeof spec, "refused,size=256,node_slots=0:%s1000", other_node > 1 ? "0:" : "");
    harness_daemon_prepare(&daemon);
    harness_confine = enter_group;
    bool started = harness_daemon_start(&daemon, spec);
    harness_confine = NULL;
    harness_expect(!started && harness_daemon_said(&daemon, "cpuset.mems"),
                   "a pool on node %d: the daemon does not start, and says why", other_node);
    if (started)
        harness_daemon_stop(&daemon);
    harness_daemon_remove(&daemon);
}

/* ---------------------------------------------------------------- embedded */

static int embedded(void *context)
{
    uint64_t node_slots[MACHINE_NODES_MAX] = { 0 };
    struct numapool_options options = NUMAPOOL_OPTIONS_INIT;
    struct numapool_pool *pool;
    struct machine_pages pages = { 0 };
    (void)context;
    enter_group();
    options.name = "embedded";
    options.slot_bytes = 256;
    options.slots = 20000;
    if (numapool_create(&pool, &options) < 0) {
        harness_note("create: %s", numapool_errormsg());
        return 1;
    }
    if (look_at_pages(pool, &pages) < 0 || pages.looked_at == 0 || pages.on[0] != pages.looked_at ||
        np_pool_arena_count(pool) != 1)
        return 2;
    numapool_close(pool);
    node_slots[other_node] = 100;
    options.node_slots = node_slots;
    options.nodes = MACHINE_NODES_MAX;
    options.policy = NUMAPOOL_EXPLICIT;
    if (numapool_create(&pool, &options) == 0)
        return 3;
    harness_note("%s", numapool_errormsg());
    return strstr(numapool_errormsg(), "cpuset.mems") ? 0 : 4;
}

/* What is allowed there, as libnuma sees it. */
static int judge_by_libnuma(void *context)
{
    char path[PATH_MAX];
    (void)context;
    enter_group();
    harness_program_path(path, sizeof path, "tests/unit/test_topology_libnuma");
    execl(path, path, (char *)NULL);
    perror(path);
    return 127;
}

int main(int argc, char **argv)
{
    harness_begin("cpuset", argc, argv);
    machine_read(&machine);
    machine_tell(&machine);
    for (unsigned i = 0; i < machine.node_count; i++)
        if (machine.nodes[i].number > 0 && machine.nodes[i].cpu_count > 0 && machine.nodes[i].memory_bytes > 0)
            other_node = machine.nodes[i].number;
    if (!harness_expect(other_node > 0 && make_group(), "there is another node, and a control group can be made"))
        return harness_end();
    confined_daemon();
    refused_daemon();
    int status = harness_join(harness_fork(embedded, NULL), 20 * SECOND);
    harness_expect(status == 0, "an embedded pool of a process in the group is on node 0, and cannot be elsewhere (%d)",
                   status >> 8);
    status = harness_join(harness_fork(judge_by_libnuma, NULL), 20 * SECOND);
    harness_expect(status == 0, "libnuma in the group sees the same nodes allowed (%d)", status >> 8);
    rmdir(GROUP);
    return harness_end();
}
