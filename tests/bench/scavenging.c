/* SPDX-License-Identifier: MIT
 *
 * How long slots of the dead are gone: a client that holds a million slots is killed, and from the moment at which the kernel
 * says that its process has ended it takes so long until who waits on the empty pool has a slot, when all of them are free. The
 * same with a client that held but one of them, so that as much has to be looked at and next to nothing freed.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon.h"
#include "daemon_pool.h"
#include "floor/sweep.h"
#include "groups.h"
#include "numapool.h"
#include "shots.h"

#define POOL_SLOTS (1u << 20)
#define POOL_NAME "mortal"
#define BULK 256u
#define SHOTS 15u
#define PATIENCE_NS INT64_C(10000000000)

/* What is left of the pool when somebody else has so many; the magazine is closed by the process's end, or by drop. */
static struct numapool_magazine *take(struct numapool_pool *pool, unsigned slots, void **taken)
{
    struct numapool_magazine *magazine;
    if (numapool_magazine_open(pool, NUMAPOOL_ANY_NODE, 0, &magazine) < 0)
        bench_fail("%s", numapool_errormsg());
    for (unsigned had = 0; had < slots; had += BULK)
        if (numapool_get_bulk(magazine, taken + had, slots - had < BULK ? slots - had : BULK) < 0)
            bench_fail("only %u of %u slots are to be had: %s", had, slots, numapool_errormsg());
    return magazine;
}

static struct numapool_pool *open_pool(struct numapool_client **client)
{
    struct numapool_pool *pool;
    if (numapool_connect(client, bench_daemon_socket()) < 0 || numapool_open(*client, POOL_NAME, 0, &pool) < 0)
        bench_fail("%s", numapool_errormsg());
    return pool;
}

static _Noreturn void hold(unsigned slots, int ready)
{
    struct numapool_client *client;
    static void *taken[POOL_SLOTS];
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    bench_unpin(); /* or its end would keep who looks for it from seeing it */
    take(open_pool(&client), slots, taken);
    if (write(ready, "", 1) != 1)
        _exit(1);
    for (;;)
        pause();
}

static pid_t start_holder(unsigned slots)
{
    int ready[2];
    char byte;
    if (pipe(ready) != 0)
        bench_fail("no pipe: %s", strerror(errno));
    fflush(NULL);
    pid_t pid = fork();
    if (pid < 0)
        bench_fail("no child process: %s", strerror(errno));
    if (pid == 0) {
        close(ready[0]);
        hold(slots, ready[1]);
    }
    close(ready[1]);
    if (read(ready[0], &byte, 1) != 1)
        bench_fail("the client that was to hold slots has ended");
    close(ready[0]);
    return pid;
}

/* Returns when the kernel has ended it; looked for without sleeping, for the daemon is not waited for either. */
static void kill_and_see(pid_t pid)
{
    int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    struct pollfd ended = { .fd = pidfd, .events = POLLIN };
    if (pidfd < 0 || kill(pid, SIGKILL) != 0)
        bench_fail("process %ld cannot be killed: %s", (long)pid, strerror(errno));
    while (poll(&ended, 1, 0) == 0)
        ;
    close(pidfd);
}

static uint64_t free_slots(struct numapool_pool *pool)
{
    struct numapool_stats stats = { .size = sizeof stats };
    if (numapool_stats_read(pool, NUMAPOOL_ANY_NODE, &stats) < 0)
        bench_fail("%s", numapool_errormsg());
    return stats.free_slots;
}

/* One death. All but `held` slots are taken by this process, which keeps none of them in its caches afterwards. */
static double scavenge_ns(unsigned held, void **taken)
{
    struct numapool_client *client;
    void *slot;
    pid_t pid = start_holder(held);
    struct numapool_pool *pool = open_pool(&client);
    struct numapool_magazine *magazine = take(pool, POOL_SLOTS - held, taken);
    if (free_slots(pool) != 0)
        bench_fail("the pool is not empty");
    kill_and_see(pid);
    const int64_t start_ns = bench_now_ns();
    if (numapool_get_wait(magazine, &slot, PATIENCE_NS) != 0)
        bench_fail("nothing came back of what the dead had held: %s", numapool_errormsg());
    /* one that did not go to sleep finds the first that are free: it is over when all are */
    numapool_put(magazine, slot);
    while (held > 1 && free_slots(pool) < held - BULK)
        ;
    const int64_t took_ns = bench_now_ns() - start_ns;
    if (numapool_put_bulk(magazine, taken, POOL_SLOTS - held) < 0 || numapool_magazine_close(magazine) < 0 || numapool_close(pool) < 0 ||
        numapool_disconnect(client) < 0)
        bench_fail("%s", numapool_errormsg());
    waitpid(pid, NULL, 0);
    return (double)took_ns;
}

/* The words were written last on another CPU, as the dead's were. */
static double sweep_ns(struct bench_sweep *sweep, unsigned held, const int cpus[2])
{
    if (cpus[1] >= 0)
        bench_pin(cpus[1]);
    bench_sweep_prepare(sweep, held);
    bench_pin(cpus[0]);
    const int64_t start_ns = bench_now_ns();
    const uint64_t freed = bench_sweep_run(sweep);
    const int64_t took_ns = bench_now_ns() - start_ns;
    if (freed != held)
        bench_fail("the sweep freed %llu words of %u", (unsigned long long)freed, held);
    return (double)took_ns;
}

static void measure(const char *name, unsigned held, struct bench_report *report, const struct bench_options *options)
{
    struct bench_shots shots = { .count = 0 };
    char params[100];
    void **taken = calloc(POOL_SLOTS, sizeof *taken);
    if (!taken)
        bench_fail("no memory for a benchmark");
    bench_pin(options->cpus[0]);
    bench_daemon_pool_make(POOL_NAME, POOL_SLOTS, bench_transparent_flags());
    struct bench_sweep *sweep = bench_sweep_open(POOL_SLOTS);
    for (unsigned i = 0; i <= SHOTS && i <= options->slices; i++) {
        double took_ns = scavenge_ns(held, taken), floor_ns = sweep_ns(sweep, held, options->cpus);
        if (i > 0) /* the first one warms */
            bench_shots_add(&shots, took_ns, floor_ns);
    }
    bench_sweep_close(sweep);
    bench_daemon_pool_end(POOL_NAME);
    free(taken);
    snprintf(params, sizeof params, "\"slots\": %u, \"held\": %u", POOL_SLOTS, held);
    struct bench_result result = { .name = name, .unit = "ns", .subject_name = "death to slots", .floor_name = "sweep of the words by CAS",
                                   .sample = "one death", .params = params };
    bench_shots_report(&shots, &result, report);
}

static void measure_all(struct bench_report *report, const struct bench_options *options)
{
    measure("scavenge_1m", POOL_SLOTS, report, options);
}

static void measure_one(struct bench_report *report, const struct bench_options *options)
{
    measure("scavenge_1m_held_1", 1, report, options);
}

const struct bench_special bench_scavenge_all = { .name = "scavenge_1m", .measure = measure_all };
const struct bench_special bench_scavenge_one = { .name = "scavenge_1m_held_1", .measure = measure_one };
