/* SPDX-License-Identifier: MIT
 *
 * What a pool costs beside its payload, by the kernel's count: bytes a slot, of an embedded pool and of a daemon's with a client
 * (whatever keeper, worker and client have more of once there is one); and what a pool has besides its words, for four clients
 * and eight lanes between them.
 *
 * Not counted are pages of programs and libraries, which are there once for all, and the kernel's own (page tables: 8 bytes for
 * each page of each process).
 */
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "broker/board.h"
#include "core/bell.h"
#include "daemon.h"
#include "daemon_pool.h"
#include "groups.h"
#include "numapool.h"

#define POOL_SLOTS (1u << 20)
#define WORD_BYTES 8.0 /* the floor: one word a slot, which says whose it is */
#define FIGURE_BYTES 8.3
#define CLIENTS 4u
#define RECEIVERS 4u /* on two of the clients */
#define SENDERS 2u   /* on the two others */
#define LANES (SENDERS * RECEIVERS)
#define PAGE_BYTES 4096.0
#define LINE_BYTES 64.0
#define SETTLE_NS 50000000
#define SETTLED_TIMES 2u
#define SETTLE_TRIES 600u

/* ---------------------------------------------------------------- the kernel's count */

/* What a process has, its share of what others have too. */
static double share_of_bytes(pid_t pid)
{
    static const char *const keys[] = { "Pss_Anon", "Pss_Shmem", "Shared_Hugetlb", "Private_Hugetlb" };
    char path[64], line[256], key[32];
    unsigned long long kib, sum = 0;
    snprintf(path, sizeof path, "/proc/%ld/smaps_rollup", (long)pid);
    FILE *file = fopen(path, "re");
    if (!file)
        bench_fail("%s: %s", path, strerror(errno));
    while (fgets(line, sizeof line, file))
        for (unsigned i = 0; i < sizeof keys / sizeof keys[0]; i++)
            if (sscanf(line, "%31[^:]: %llu", key, &kib) == 2 && strcmp(key, keys[i]) == 0)
                sum += kib;
    fclose(file);
    return (double)sum * 1024;
}

/* Its worker; 0: none just now. */
static pid_t child_of(pid_t pid)
{
    char path[64];
    long child = 0;
    snprintf(path, sizeof path, "/proc/%ld/task/%ld/children", (long)pid, (long)pid);
    FILE *file = fopen(path, "re");
    if (!file)
        bench_fail("%s: %s", path, strerror(errno));
    if (fscanf(file, "%ld", &child) != 1)
        child = 0;
    fclose(file);
    return (pid_t)child;
}

static double daemon_bytes(void)
{
    return share_of_bytes(bench_daemon_pid()) + share_of_bytes(child_of(bench_daemon_pid()));
}

/* ---------------------------------------------------------------- bytes a slot */

static void use(struct numapool_pool *pool)
{
    struct numapool_magazine *magazine;
    void *slots[1000];
    if (numapool_magazine_open(pool, NUMAPOOL_ANY_NODE, 0, &magazine) < 0 || numapool_get_bulk(magazine, slots, 1000) < 0 ||
        numapool_put_bulk(magazine, slots, 1000) < 0)
        bench_fail("%s", numapool_errormsg());
}

static double embedded_bytes(void)
{
    struct numapool_options options = NUMAPOOL_OPTIONS_INIT;
    struct numapool_pool *pool;
    options.name = "bench";
    options.slot_bytes = BENCH_PAYLOAD_BYTES;
    options.slots = POOL_SLOTS;
    share_of_bytes(getpid()); /* the first call's own pages */
    double before = share_of_bytes(getpid());
    if (numapool_create(&pool, &options) < 0)
        bench_fail("%s", numapool_errormsg());
    use(pool);
    return share_of_bytes(getpid()) - before;
}

static double client_bytes(void)
{
    struct numapool_client *client;
    struct numapool_pool *pool;
    share_of_bytes(getpid());
    double before = share_of_bytes(getpid());
    if (numapool_connect(&client, bench_daemon_socket()) < 0 ||
        numapool_open(client, "footprint", NUMAPOOL_PREFAULT, &pool) < 0)
        bench_fail("%s", numapool_errormsg());
    use(pool);
    return share_of_bytes(getpid()) - before;
}

/* In a child, which stays until it is ended, so that no page of an earlier benchmark is in the count. */
static double in_child(double (*measure)(void), double (*meanwhile)(void))
{
    int ends[2];
    double bytes = 0;
    if (pipe(ends) < 0)
        bench_fail("no pipe: %s", strerror(errno));
    fflush(NULL);
    pid_t child = fork();
    if (child < 0)
        bench_fail("no child process: %s", strerror(errno));
    if (child == 0) {
        bytes = measure();
        if (write(ends[1], &bytes, sizeof bytes) == (ssize_t)sizeof bytes)
            pause();
        _exit(1);
    }
    close(ends[1]);
    if (read(ends[0], &bytes, sizeof bytes) != (ssize_t)sizeof bytes)
        bench_fail("the pool whose memory was to be measured could not be made");
    if (meanwhile)
        bytes += meanwhile();
    close(ends[0]);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    return bytes;
}

static void report_a_slot(const char *name, double bytes, struct bench_report *report)
{
    double a_slot = bytes / POOL_SLOTS - BENCH_PAYLOAD_BYTES;
    struct bench_result result = {
        .name = name, .unit = "bytes", .floor_name = "one word a slot", .cpus = "one",
        .params = "\"slots\": 1048576, \"slot_bytes\": 128", .median = a_slot, .p99 = a_slot, .p999 = a_slot, .floor = WORD_BYTES,
        .ratio = a_slot / WORD_BYTES, .median_max = FIGURE_BYTES,
    };
    bench_report_add(report, &result);
}

static void measure_embedded(struct bench_report *report, const struct bench_options *options)
{
    (void)options;
    report_a_slot("metadata", in_child(embedded_bytes, NULL), report);
}

static void measure_daemon(struct bench_report *report, const struct bench_options *options)
{
    (void)options;
    bench_daemon_admin();
    double before = daemon_bytes();
    bench_daemon_pool_make("footprint", POOL_SLOTS, bench_transparent_flags());
    report_a_slot("metadata_daemon", in_child(client_bytes, daemon_bytes) - before, report);
    bench_daemon_pool_end("footprint");
}

/* ---------------------------------------------------------------- clients and lanes */

/* Memory files that the daemon keeps: payload aside, and of words the header alone, for these are what there is for each slot. And how
 * many of them are lanes. */
static double kept_bytes(unsigned *lanes)
{
    char directory[64], path[PATH_MAX], name[256];
    double sum = 0;
    *lanes = 0;
    snprintf(directory, sizeof directory, "/proc/%ld/fd", (long)bench_daemon_pid());
    DIR *descriptors = opendir(directory);
    if (!descriptors)
        bench_fail("%s: %s", directory, strerror(errno));
    for (struct dirent *entry; (entry = readdir(descriptors));) {
        struct stat status;
        snprintf(path, sizeof path, "%s/%s", directory, entry->d_name);
        ssize_t length = readlink(path, name, sizeof name - 1);
        name[length > 0 ? length : 0] = '\0';
        if (strncmp(name, "/memfd:numapool", 15) != 0 || strstr(name, "payload") || stat(path, &status) != 0)
            continue;
        sum += strstr(name, "slot words") ? PAGE_BYTES : (double)status.st_blocks * 512;
        *lanes += strncmp(name, "/memfd:numapool: lane ", 22) == 0;
    }
    closedir(descriptors);
    return sum;
}

/* The keeper hears of what is to be kept, and of what is not any more, a moment later: longer on a machine that has much else to do. So
 * until there are so many lanes, and nothing has changed for a while. */
static double settled_bytes(unsigned wanted_lanes)
{
    const struct timespec settle = { .tv_nsec = SETTLE_NS };
    unsigned lanes, same = 0;
    double last = -1;
    for (unsigned tries = 0; tries < SETTLE_TRIES; tries++) {
        nanosleep(&settle, NULL);
        const double now = kept_bytes(&lanes);
        same = lanes == wanted_lanes && now == last ? same + 1 : 0;
        last = now;
        if (same == SETTLED_TIMES)
            return now;
    }
    bench_fail("the daemon's keeper has %u lanes instead of %u", lanes, wanted_lanes);
}

/* With lanes for so many messages. Everything is closed again. */
static double four_clients_bytes(unsigned lane_slots)
{
    struct numapool_channel_options options = NUMAPOOL_CHANNEL_OPTIONS_INIT;
    struct numapool_client *clients[CLIENTS];
    struct numapool_pool *pools[CLIENTS];
    struct numapool_sender *senders[SENDERS];
    struct numapool_receiver *receivers[RECEIVERS];
    const double before = settled_bytes(0);
    int result = 0;
    options.lane_slots = lane_slots;
    bench_daemon_pool_make("four", 4096, bench_transparent_flags());
    for (unsigned i = 0; i < CLIENTS && result >= 0; i++)
        if ((result = numapool_connect(&clients[i], bench_daemon_socket())) >= 0)
            result = numapool_open(clients[i], "four", 0, &pools[i]);
    for (unsigned i = 0; i < RECEIVERS && result >= 0; i++)
        result = numapool_receiver_open(pools[i % 2], "lanes", &options, &receivers[i]);
    for (unsigned i = 0; i < SENDERS && result >= 0; i++)
        result = numapool_sender_open(pools[2 + i], "lanes", &options, &senders[i]);
    if (result < 0)
        bench_fail("%s", numapool_errormsg());
    const double bytes = settled_bytes(LANES) - before;
    for (unsigned i = 0; i < SENDERS && result >= 0; i++)
        result = numapool_sender_close(senders[i], 1000000000);
    for (unsigned i = 0; i < RECEIVERS && result >= 0; i++)
        result = numapool_receiver_close(receivers[i]);
    for (unsigned i = 0; i < CLIENTS && result >= 0; i++)
        if ((result = numapool_close(pools[i])) >= 0)
            result = numapool_disconnect(clients[i]);
    if (result < 0)
        bench_fail("%s", numapool_errormsg());
    bench_daemon_pool_end("four");
    return bytes;
}

static void measure_four_clients(struct bench_report *report, const struct bench_options *options)
{
    (void)options;
    bench_daemon_admin();
    /* cells are what grows with a lane's length: without them it is as long as two lengths say */
    double bytes = 2 * four_clients_bytes(128) - four_clients_bytes(256);
    /* of tables that a daemon has from its start */
    bytes += sizeof(struct np_pool_entry) + CLIENTS * sizeof(struct np_client_entry) + sizeof(struct np_channel_entry) +
             (SENDERS + RECEIVERS) * sizeof(struct np_endpoint_entry) + LANES * sizeof(struct np_lane_entry) +
             (CLIENTS + SENDERS + RECEIVERS) * sizeof(struct np_bell);
    const double floor_bytes = LINE_BYTES * (2 * LANES + CLIENTS);
    struct bench_result result = {
        .name = "metadata_4_clients_8_lanes", .unit = "bytes", .floor_name = "a line for each end of a lane and each client", .cpus = "one",
        .params = "\"clients\": 4, \"lanes\": 8, \"cells\": false, \"words\": false", .median = bytes, .p99 = bytes, .p999 = bytes,
        .floor = floor_bytes, .ratio = bytes / floor_bytes, .median_max = 65536,
    };
    bench_report_add(report, &result);
}

const struct bench_special bench_metadata = { .name = "metadata", .measure = measure_embedded };
const struct bench_special bench_metadata_daemon = { .name = "metadata_daemon", .measure = measure_daemon };
const struct bench_special bench_metadata_four_clients = { .name = "metadata_4_clients_8_lanes", .measure = measure_four_clients };
