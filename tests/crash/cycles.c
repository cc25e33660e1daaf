/* SPDX-License-Identifier: MIT
 *
 * Ten thousand lives of a daemon at one path: started, said to be ready, used by a client that gets, sends and receives, and killed
 * with kill -9: keeper and worker in either order, one of them alone, at any moment, also before it is ready. None of them may fail,
 * and nothing may be left behind: no process, no memory, no file but socket and lock.
 */
#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness.h"

#define POOL      "c"
#define POOL_SPEC POOL ",size=64,count=128"
#define SOON_NS   INT64_C(20000000000)

enum {
    CYCLES = 10000,
    ROWS = 2,              /* of daemons, each at its own path, at the same time */
    EARLY_NS_MAX = 8000000, /* a daemon that is killed before it is ready lives at most so long */
    LATE_NS_MAX = 500000,
    EARLY_EVERY = 16,      /* one in so many is killed before it is ready */
    KINDS = 4,
    FAILURES_MAX = 10
};

enum kind { KEEPER_FIRST, WORKER_FIRST, KEEPER_ALONE, WORKER_ALONE };
static const char *const kind_names[KINDS] = { "keeper, then worker", "worker, then keeper", "keeper alone", "worker alone, then both" };

/* What the rows count, each for itself. */
struct row {
    struct harness_daemon daemon;
    uint64_t random;
    unsigned cycles;
    _Atomic uint32_t begun, early, failures;
    _Atomic uint32_t kinds[KINDS];
    _Atomic uint64_t start_ns_sum, start_ns_max;
    char failure[FAILURES_MAX][200];
};

#define GET(field) atomic_load_explicit(&(field), memory_order_relaxed) /* relaxed, all: read when the row has ended */
#define ADD(field, value) atomic_fetch_add_explicit(&(field), (value), memory_order_relaxed)

static const char *const options[] = { "--clients=8", "--channels=8", "--endpoints=16", "--lanes=16", NULL };

static void failed(struct row *row, const char *what, const char *why)
{
    uint32_t n = ADD(row->failures, 1);
    if (n < FAILURES_MAX)
        snprintf(row->failure[n], sizeof row->failure[n], "cycle %u: %s: %s", GET(row->begun), what, why);
}

/* ---------------------------------------------------------------- a client */

/* Its life with a daemon that is ready. NULL, or what failed. */
static const char *use(const char *socket)
{
    struct numapool_client *client;
    struct numapool_pool *pool;
    struct numapool_magazine *magazine;
    struct numapool_sender *sender;
    struct numapool_receiver *receiver;
    struct numapool_msg message = { .length = 8 };
    if (numapool_connect(&client, socket) < 0)
        return "connect";
    if (numapool_open(client, POOL, 0, &pool) < 0)
        return "open";
    if (numapool_magazine_open(pool, NUMAPOOL_ANY_NODE, 0, &magazine) < 0)
        return "magazine_open";
    void *slot = numapool_get(magazine);
    if (!slot || numapool_put(magazine, slot) < 0)
        return "get and put";
    if (numapool_sender_open(pool, "c", NULL, &sender) < 0 || numapool_receiver_open(pool, "c", NULL, &receiver) < 0)
        return "opening a channel";
    message.data = numapool_loan(sender);
    if (!message.data || numapool_send(sender, &message, 0) < 0)
        return "send";
    if (numapool_receive(receiver, &message, 1, SOON_NS) != 1 || numapool_release(receiver, &message, 1) < 0)
        return "receive";
    return NULL;
}

struct client_start {
    struct row *row;
    int done; /* a byte is written into it when all has been used; then it stays until it is killed */
};

static int be_client(void *context)
{
    struct client_start *start = context;
    const char *wrong = use(start->row->daemon.socket);
    if (wrong)
        failed(start->row, wrong, numapool_errormsg());
    if (write(start->done, "", 1) != 1)
        return 1;
    for (;;)
        pause();
}

/* ---------------------------------------------------------------- one life */

static bool has_ended(void *context)
{
    return !harness_is_alive(*(const pid_t *)context);
}

static void kill_daemon(struct row *row, enum kind kind, pid_t worker)
{
    struct harness_daemon *daemon = &row->daemon;
    if (worker > 0 && (kind == WORKER_FIRST || kind == WORKER_ALONE))
        kill(worker, SIGKILL);
    if (kind == WORKER_ALONE) { /* the next one may be there, or be starting, or not */
        harness_sleep_ns(harness_below(&row->random, LATE_NS_MAX));
        worker = harness_daemon_worker(daemon);
    }
    kill(daemon->keeper, SIGKILL);
    if (kind == KEEPER_FIRST && worker > 0)
        kill(worker, SIGKILL);
    waitpid(daemon->keeper, NULL, 0);
    if (worker > 0 && !harness_wait_until(has_ended, &worker, SOON_NS))
        failed(row, "a worker does not end", "its keeper was killed");
    daemon->keeper = 0;
}

static void live_once(struct row *row)
{
    int ends[2];
    char byte;
    enum kind kind = harness_below(&row->random, KINDS);
    ADD(row->begun, 1);
    ADD(row->kinds[kind], 1);
    if (harness_below(&row->random, EARLY_EVERY) == 0) {
        int ready;
        harness_daemon_launch(&row->daemon, POOL_SPEC, options, &ready);
        ADD(row->early, 1);
        harness_sleep_ns(harness_below(&row->random, EARLY_NS_MAX));
        kill_daemon(row, kind, harness_daemon_worker(&row->daemon));
        close(ready);
        return;
    }
    int64_t begun_ns = harness_now_ns();
    if (!harness_daemon_start_with(&row->daemon, POOL_SPEC, options)) {
        failed(row, "start", "it did not say ready");
        return;
    }
    uint64_t took_ns = (uint64_t)(harness_now_ns() - begun_ns);
    ADD(row->start_ns_sum, took_ns);
    if (took_ns > GET(row->start_ns_max))
        atomic_store_explicit(&row->start_ns_max, took_ns, memory_order_relaxed);
    if (pipe(ends) < 0) {
        failed(row, "pipe", strerror(errno));
        return;
    }
    struct client_start start = { row, ends[1] };
    pid_t client = harness_fork(be_client, &start), worker = harness_daemon_worker(&row->daemon);
    close(ends[1]);
    if (read(ends[0], &byte, 1) != 1)
        failed(row, "the client", "it has ended");
    close(ends[0]);
    bool client_first = harness_below(&row->random, 2);
    if (client_first)
        harness_kill(client);
    harness_sleep_ns(harness_below(&row->random, 4) == 0 ? harness_below(&row->random, LATE_NS_MAX) : 0);
    kill_daemon(row, kind, worker);
    if (!client_first)
        harness_kill(client);
}

static int live_often(void *context)
{
    struct row *row = context;
    for (unsigned i = 0; i < row->cycles && GET(row->failures) < FAILURES_MAX; i++)
        live_once(row);
    return 0;
}

/* ---------------------------------------------------------------- what is left */

/* Kibibytes of the system's memory that are in files of memory. */
static long shared_kib(void)
{
    char line[128];
    long kib = -1;
    FILE *file = fopen("/proc/meminfo", "r");
    while (file && fgets(line, sizeof line, file))
        if (sscanf(line, "Shmem: %ld", &kib) == 1)
            break;
    if (file)
        fclose(file);
    return kib;
}

/* Files in the directory of a row's daemon. */
static unsigned files_of(const struct row *row)
{
    DIR *directory = opendir(row->daemon.directory);
    unsigned n = 0;
    while (directory && readdir(directory))
        n++;
    if (directory)
        closedir(directory);
    return n - 2; /* itself and its parent */
}

/* Processes whose command line has that text. */
static unsigned processes_with(const char *text)
{
    char path[64], line[4096];
    DIR *processes = opendir("/proc");
    struct dirent *entry;
    unsigned n = 0;
    while (processes && (entry = readdir(processes))) {
        if (entry->d_name[0] < '1' || entry->d_name[0] > '9')
            continue;
        snprintf(path, sizeof path, "/proc/%.20s/cmdline", entry->d_name);
        FILE *file = fopen(path, "r");
        size_t length = file ? fread(line, 1, sizeof line - 1, file) : 0;
        if (file)
            fclose(file);
        for (size_t i = 0; i < length; i++)
            if (line[i] == '\0')
                line[i] = ' ';
        line[length] = '\0';
        n += atoi(entry->d_name) != getpid() && strstr(line, text) != NULL;
    }
    if (processes)
        closedir(processes);
    return n;
}

static bool are_gone(void *directory)
{
    return processes_with(directory) == 0;
}

/* Kibibytes in the memory files of one daemon. */
static long kib_of(const struct harness_daemon *daemon)
{
    char path[64], target[64];
    struct dirent *entry;
    struct stat status;
    long kib = 0;
    snprintf(path, sizeof path, "/proc/%d/fd", (int)daemon->keeper);
    DIR *descriptors = opendir(path);
    while (descriptors && (entry = readdir(descriptors))) {
        snprintf(path, sizeof path, "/proc/%d/fd/%.20s", (int)daemon->keeper, entry->d_name);
        ssize_t length = readlink(path, target, sizeof target);
        if (length > 7 && memcmp(target, "/memfd:", 7) == 0 && stat(path, &status) == 0)
            kib += (long)(status.st_size / 1024);
    }
    if (descriptors)
        closedir(descriptors);
    return kib;
}

struct growth {
    long before_kib, most_kib;
};

static bool is_small(void *context)
{
    const struct growth *growth = context;
    return shared_kib() - growth->before_kib <= growth->most_kib;
}

int main(int argc, char **argv)
{
    harness_begin("cycles", argc, argv);
    unsigned cycles = harness_scaled(CYCLES, 40);
    uint64_t random = harness_seed();
    struct row *rows = mmap(NULL, ROWS * sizeof *rows, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pid_t pids[ROWS];
    if (rows == MAP_FAILED)
        return 2;
    long before_kib = shared_kib();
    for (unsigned i = 0; i < ROWS; i++) {
        harness_daemon_prepare(&rows[i].daemon);
        rows[i].random = harness_random(&random) | 1;
        rows[i].cycles = cycles / ROWS;
        pids[i] = harness_fork(live_often, &rows[i]);
    }
    unsigned begun = 0, early = 0, failures = 0, kinds[KINDS] = { 0 };
    uint64_t start_ns_sum = 0, start_ns_max = 0;
    for (unsigned i = 0; i < ROWS; i++) {
        harness_expect(harness_join(pids[i], INT64_C(600000000000)) == 0, "row %u of daemons comes to its end", i + 1);
        begun += GET(rows[i].begun);
        early += GET(rows[i].early);
        failures += GET(rows[i].failures);
        start_ns_sum += GET(rows[i].start_ns_sum);
        start_ns_max = GET(rows[i].start_ns_max) > start_ns_max ? GET(rows[i].start_ns_max) : start_ns_max;
        for (unsigned k = 0; k < KINDS; k++)
            kinds[k] += GET(rows[i].kinds[k]);
        for (unsigned f = 0; f < GET(rows[i].failures) && f < FAILURES_MAX; f++)
            harness_note("row %u, %s", i + 1, rows[i].failure[f]);
    }
    harness_expect(begun == cycles / ROWS * ROWS && failures == 0, "%u lives of a daemon, %u of them ended before it was ready: %u failures", begun, early,
                   failures);
    for (unsigned k = 0; k < KINDS; k++)
        harness_note("killed %s: %u", kind_names[k], kinds[k]);
    harness_note("from exec to ready %.1f ms on average, %.1f ms at most", (double)start_ns_sum / 1e6 / (begun - early ? begun - early : 1),
                 (double)start_ns_max / 1e6);
    for (unsigned i = 0; i < ROWS; i++) {
        harness_expect(harness_wait_until(are_gone, rows[i].daemon.directory, SOON_NS), "no process of theirs is left (row %u)", i + 1);
        harness_expect(files_of(&rows[i]) <= 3, "no files of theirs are left but socket, lock and log (row %u: %u)", i + 1, files_of(&rows[i]));
    }
    for (unsigned i = 0; i < ROWS; i++) {
        harness_expect(harness_daemon_start_with(&rows[i].daemon, POOL_SPEC, options), "and the next one starts at its path");
        /* others may be at work on this machine, so it is not zero that is asked for */
        struct growth growth = { before_kib, kib_of(&rows[i].daemon) * (long)(begun / 10) };
        harness_expect(growth.most_kib > 0 && harness_wait_until(is_small, &growth, SOON_NS),
                       "no memory of theirs is left: the system has %ld KiB more in files of memory, each of them had %ld",
                       shared_kib() - before_kib, kib_of(&rows[i].daemon));
        harness_expect_nothing_left(&rows[i].daemon);
        harness_expect(harness_daemon_stop(&rows[i].daemon) == 0, "SIGTERM ends it with status 0");
        harness_daemon_remove(&rows[i].daemon);
    }
    harness_figure("cycles.cycles", "%u", begun);
    harness_figure("cycles.failures", "%u", failures);
    return harness_end();
}
