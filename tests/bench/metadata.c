/* SPDX-License-Identifier: MIT
 *
 * What a pool costs beside its payload: memory that the process has more of once it has made one, by the kernel's count.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "groups.h"
#include "numapool.h"

#define POOL_SLOTS (1u << 20)
#define WORD_BYTES 8.0 /* the floor: one word a slot, which says whose it is */

static double resident_bytes(void)
{
    FILE *file = fopen("/proc/self/smaps_rollup", "re");
    char line[256];
    unsigned long long kib, sum = 0;
    if (!file)
        bench_fail("/proc/self/smaps_rollup: %m");
    while (fgets(line, sizeof line, file))
        if (sscanf(line, "Rss: %llu", &kib) == 1 || sscanf(line, "Shared_Hugetlb: %llu", &kib) == 1 ||
            sscanf(line, "Private_Hugetlb: %llu", &kib) == 1)
            sum += kib;
    fclose(file);
    return (double)sum * 1024;
}

/* Written to the pipe by a child, so that no page of an earlier benchmark is in the count. */
static double measure(void)
{
    struct numapool_options options = NUMAPOOL_OPTIONS_INIT;
    struct numapool_pool *pool;
    options.name = "bench";
    options.slot_bytes = BENCH_PAYLOAD_BYTES;
    options.slots = POOL_SLOTS;
    resident_bytes(); /* the first call's own pages */
    double before = resident_bytes();
    if (numapool_create(&pool, &options) < 0)
        bench_fail("%s", numapool_errormsg());
    double after = resident_bytes();
    if (numapool_close(pool) < 0)
        bench_fail("%s", numapool_errormsg());
    return (after - before) / POOL_SLOTS - BENCH_PAYLOAD_BYTES;
}

static void measure_metadata(struct bench_report *report, const struct bench_options *options)
{
    (void)options;
    int ends[2];
    double bytes = 0;
    if (pipe(ends) < 0)
        bench_fail("no pipe: %m");
    fflush(NULL);
    pid_t child = fork();
    if (child < 0)
        bench_fail("no child process: %m");
    if (child == 0) {
        bytes = measure();
        _exit(write(ends[1], &bytes, sizeof bytes) == (ssize_t)sizeof bytes ? 0 : 1);
    }
    close(ends[1]);
    if (read(ends[0], &bytes, sizeof bytes) != (ssize_t)sizeof bytes)
        bench_fail("the pool whose memory was to be measured could not be made");
    close(ends[0]);
    waitpid(child, NULL, 0);
    struct bench_result result = {
        .name = "metadata", .unit = "bytes", .floor_name = "one word a slot", .cpus = "one",
        .params = "\"slots\": 1048576, \"slot_bytes\": 128", .median = bytes, .p99 = bytes, .p999 = bytes, .floor = WORD_BYTES,
        .ratio = bytes / WORD_BYTES,
    };
    bench_report_add(report, &result);
}

const struct bench_special bench_metadata = { .name = "metadata", .measure = measure_metadata };
