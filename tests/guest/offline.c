/* SPDX-License-Identifier: MIT
 *
 * A memory-only node is taken away while clients on all nodes work in slots of it, and comes back: the daemon says so
 * and goes on, no client fails, no byte changes, and verify is wrong for as long as pages are elsewhere, and right when
 * the node is there again.
 */
#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "../crash/harness.h"
#include "machine.h"

#define POOL "leaving"
#define SECOND INT64_C(1000000000)

enum { SLOT_BYTES = 4096, SLOTS_NEAR = 512, SLOTS_FAR = 4096, HELD = 96, CLIENTS = 3, BLOCKS_MAX = 64 };

static struct machine machine;
static int far_node = -1;

/* ---------------------------------------------------------------- clients */

struct shared {
    const char *socket;
    _Atomic bool over;
    _Atomic uint64_t rounds[CLIENTS];
    _Atomic uint64_t wrong, failed;
    _Atomic unsigned at_work;
    char sentence[256]; /* of the first failed call */
};

struct start {
    struct shared *shared;
    unsigned number;
};

static int failed(struct shared *shared, const char *call)
{
    if (atomic_fetch_add_explicit(&shared->failed, 1, memory_order_relaxed) ==
        0) /* relaxed: who raised it from 0 writes */
        snprintf(shared->sentence, sizeof shared->sentence, "%s: %.200s", call, numapool_errormsg());
    return 1;
}

static void fill(uint64_t *slot, uint64_t number)
{
    for (unsigned i = 0; i < SLOT_BYTES / 8; i++)
        slot[i] = number + i;
}

static bool is_filled(const uint64_t *slot, uint64_t number)
{
    for (unsigned i = 0; i < SLOT_BYTES / 8; i++)
        if (slot[i] != number + i)
            return false;
    return true;
}

/* Holds slots of the far node, and exchanges one after the other for another. */
static int work(struct shared *shared, unsigned number, struct numapool_magazine *magazine)
{
    void *slots[HELD];
    uint64_t numbers[HELD], next = (uint64_t)(number + 1) << 32;
    for (unsigned i = 0; i < HELD; i++) {
        if (!(slots[i] = numapool_get(magazine)))
            return failed(shared, "get");
        fill(slots[i], numbers[i] = next += SLOT_BYTES);
    }
    atomic_fetch_add_explicit(&shared->at_work, 1,
                              memory_order_relaxed); /* relaxed, all: numbers that are waited for */
    for (unsigned i = 0; !atomic_load_explicit(&shared->over, memory_order_relaxed); i = (i + 1) % HELD) {
        if (!is_filled(slots[i], numbers[i]))
            atomic_fetch_add_explicit(&shared->wrong, 1, memory_order_relaxed);
        if (numapool_put(magazine, slots[i]) < 0 || !(slots[i] = numapool_get(magazine)))
            return failed(shared, "put and get");
        fill(slots[i], numbers[i] = next += SLOT_BYTES);
        atomic_fetch_add_explicit(&shared->rounds[number], 1, memory_order_relaxed);
        if (i % 16 == 0)
            harness_sleep_ns(2000000); /* all of a guest's CPUs are one, and the daemon needs some of it */
    }
    for (unsigned i = 0; i < HELD; i++) {
        if (!is_filled(slots[i], numbers[i]))
            atomic_fetch_add_explicit(&shared->wrong, 1, memory_order_relaxed);
        if (numapool_put(magazine, slots[i]) < 0)
            return failed(shared, "put");
    }
    return 0;
}

static int run_client(void *context)
{
    const struct start *start = context;
    struct shared *shared = start->shared;
    struct numapool_client *client;
    struct numapool_pool *pool;
    struct numapool_magazine *magazine;
    machine_run_on_cpu(machine.cpus[start->number % machine.cpu_count]);
    if (numapool_connect(&client, shared->socket) < 0 || numapool_open(client, POOL, 0, &pool) < 0 ||
        numapool_magazine_open(pool, far_node, 0, &magazine) < 0)
        return failed(shared, "open");
    int result = work(shared, start->number, magazine);
    if (result == 0 &&
        (numapool_magazine_close(magazine) < 0 || numapool_close(pool) < 0 || numapool_disconnect(client) < 0))
        result = failed(shared, "close");
    return result;
}

static bool are_at_work(void *context)
{
    struct shared *shared = context;
    return atomic_load_explicit(&shared->at_work, memory_order_relaxed) == CLIENTS ||
           atomic_load_explicit(&shared->failed, memory_order_relaxed) > 0;
}

struct progress {
    struct shared *shared;
    uint64_t before[CLIENTS];
};

static struct progress begin_progress(struct shared *shared)
{
    struct progress progress = { .shared = shared };
    for (unsigned i = 0; i < CLIENTS; i++)
        progress.before[i] = atomic_load_explicit(&shared->rounds[i], memory_order_relaxed);
    return progress;
}

static bool has_progressed(void *context)
{
    const struct progress *progress = context;
    for (unsigned i = 0; i < CLIENTS; i++)
        if (atomic_load_explicit(&progress->shared->rounds[i], memory_order_relaxed) < progress->before[i] + 2 * HELD)
            return false;
    return true;
}

/* ---------------------------------------------------------------- the node */

static bool write_text(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");
    bool written = file && fputs(text, file) >= 0;
    return file && fclose(file) == 0 && written;
}

/* The blocks of memory that it is made of. */
static unsigned list_blocks(int node, char blocks[][64])
{
    char path[64];
    unsigned count = 0;
    const struct dirent *entry;
    snprintf(path, sizeof path, "/sys/devices/system/node/node%d", node);
    DIR *directory = opendir(path);
    while (directory && (entry = readdir(directory)) != NULL && count < BLOCKS_MAX)
        if (strncmp(entry->d_name, "memory", 6) == 0 && entry->d_name[6] >= '0' && entry->d_name[6] <= '9')
            snprintf(blocks[count++], 64, "/sys/devices/system/memory/%.24s/state", entry->d_name);
    if (directory)
        closedir(directory);
    return count;
}

/* A page that somebody is just looking at cannot be moved away: tried again. */
static bool set_blocks(char blocks[][64], unsigned count, const char *state)
{
    unsigned done = 0;
    for (int64_t until_ns = harness_now_ns() + 20 * SECOND; done < count && harness_now_ns() < until_ns; done = 0) {
        for (unsigned i = 0; i < count; i++) {
            char now[32] = "";
            FILE *file = fopen(blocks[i], "r");
            if (file && !fgets(now, sizeof now, file))
                now[0] = '\0';
            if (file)
                fclose(file);
            done += strncmp(now, state, 2) == 0 || write_text(blocks[i], state); /* "on...", "of..." */
        }
        if (done == count)
            break;
        harness_sleep_ns(50000000);
    }
    return done == count;
}

/* ---------------------------------------------------------------- what the daemon says */

static int verify(const struct harness_daemon *daemon)
{
    static const char *const arguments[] = { "verify", NULL };
    return harness_tool(daemon, arguments);
}

static bool is_right_again(void *context)
{
    harness_sleep_ns(100000000); /* to look at all pages is work, too */
    return verify(context) == 0;
}

static bool has_said_gone(void *context)
{
    char text[32];
    snprintf(text, sizeof text, "node %d, which arena", far_node); /* "... is to be on, is not there any more" */
    return harness_daemon_said(context, text);
}

static void while_it_is_gone(const struct harness_daemon *daemon, struct shared *shared, pid_t worker)
{
    static const char *const check[] = { "check", NULL };
    struct progress progress = begin_progress(shared);
    harness_expect(machine_node_bytes(far_node, "MemTotal") == 0, "node %d has no memory now", far_node);
    harness_expect(harness_wait_until(has_progressed, &progress, 20 * SECOND), "clients go on in slots that it had");
    harness_expect(harness_wait_until(has_said_gone, (void *)(uintptr_t)daemon, 20 * SECOND),
                   "the daemon says that node %d is gone", far_node);
    harness_expect(verify(daemon) == 1, "numapoolctl verify says that pages are not where they should be");
    harness_expect(harness_tool(daemon, check) == 0, "numapoolctl check finds every word right");
    harness_expect(harness_daemon_worker(daemon) == worker, "the worker is the one that it was");
}

static void take_it_away(struct harness_daemon *daemon, struct shared *shared)
{
    static char blocks[BLOCKS_MAX][64];
    const unsigned count = list_blocks(far_node, blocks);
    const pid_t worker = harness_daemon_worker(daemon);
    struct progress progress = begin_progress(shared);
    harness_expect(harness_wait_until(has_progressed, &progress, 20 * SECOND), "clients work in slots of node %d",
                   far_node);
    harness_expect(verify(daemon) == 0, "and every page is where it should be");
    if (!harness_expect(count > 0 && set_blocks(blocks, count, "offline"),
                        "the %u blocks of node %d are taken offline under load", count, far_node))
        return;
    while_it_is_gone(daemon, shared, worker);
    harness_expect(set_blocks(blocks, count, "online_movable"), "they are online again");
    harness_expect(harness_wait_until(is_right_again, daemon, 30 * SECOND), "and every page is brought home");
    progress = begin_progress(shared);
    harness_expect(harness_wait_until(has_progressed, &progress, 20 * SECOND), "clients go on");
}

static void run(struct harness_daemon *daemon, struct shared *shared)
{
    static struct start starts[CLIENTS];
    pid_t pids[CLIENTS];
    unsigned ended = 0;
    shared->socket = daemon->socket;
    for (unsigned i = 0; i < CLIENTS; i++) {
        starts[i] = (struct start){ shared, i };
        pids[i] = harness_fork(run_client, &starts[i]);
    }
    if (harness_expect(harness_wait_until(are_at_work, shared, 20 * SECOND) &&
                           atomic_load_explicit(&shared->failed, memory_order_relaxed) == 0,
                       "clients of all nodes are at work"))
        take_it_away(daemon, shared);
    atomic_store_explicit(&shared->over, true, memory_order_relaxed);
    for (unsigned i = 0; i < CLIENTS; i++)
        ended += harness_join(pids[i], 20 * SECOND) == 0;
    uint64_t rounds = 0;
    for (unsigned i = 0; i < CLIENTS; i++)
        rounds += shared->rounds[i];
    harness_expect(ended == CLIENTS && shared->failed == 0, "no client failed (%llu; %s)",
                   (unsigned long long)shared->failed, shared->sentence[0] ? shared->sentence : "-");
    harness_expect(shared->wrong == 0, "no byte of %llu slots has changed (%llu have)", (unsigned long long)rounds,
                   (unsigned long long)shared->wrong);
    harness_note("figures: %llu slots of a node that went and came back written and read by %d clients",
                 (unsigned long long)rounds, CLIENTS);
}

int main(int argc, char **argv)
{
    static const char *const patrol[] = { "--patrol=1", NULL };
    struct harness_daemon daemon;
    char spec[128], *end = spec;
    harness_begin("offline", argc, argv);
    machine_read(&machine);
    machine_tell(&machine);
    for (unsigned i = 0; i < machine.node_count; i++)
        if (machine.nodes[i].cpu_count == 0 && machine.nodes[i].memory_bytes > 0)
            far_node = machine.nodes[i].number;
    if (!harness_expect(far_node > 0, "there is a memory-only node"))
        return harness_end();
    end += snprintf(spec, sizeof spec, POOL ",size=%d,node_slots=", SLOT_BYTES);
    for (int node = 0; node <= far_node; node++)
        end += sprintf(end, "%s%d", node ? ":" : "",
                       node == far_node               ? SLOTS_FAR
                       : machine_node(&machine, node) ? SLOTS_NEAR
                                                      : 0);
    struct shared *shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    harness_daemon_prepare(&daemon);
    if (shared != MAP_FAILED && harness_expect(harness_daemon_start_with(&daemon, spec, patrol),
                                               "the daemon starts with a pool on node %d", far_node)) {
        run(&daemon, shared);
        harness_expect_nothing_left(&daemon);
        harness_expect(harness_daemon_stop(&daemon) == 0, "SIGTERM ends the daemon with status 0");
    }
    harness_daemon_remove(&daemon);
    return harness_end();
}
