/* SPDX-License-Identifier: MIT
 *
 * What every benchmark uses: failing, CPUs, shared memory, the clock, the payload's sum.
 */
#include <errno.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "bench.h"

void bench_fail(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fputs("bench: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    exit(1);
}

void (*volatile bench_on_abort)(void);

void bench_pin(int cpu)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    if (sched_setaffinity(0, sizeof set, &set) < 0)
        bench_fail("this process may not run on CPU %d: %s", cpu, strerror(errno));
}

void *bench_shared(size_t bytes)
{
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (memory == MAP_FAILED)
        bench_fail("no %zu bytes of shared memory: %s", bytes, strerror(errno));
    return memory;
}

bool bench_has_memory(uint64_t bytes, const char *name)
{
    char line[128];
    unsigned long long available_kb = 0;
    FILE *file = bytes > 0 ? fopen("/proc/meminfo", "re") : NULL;
    if (!file)
        return true;
    while (fgets(line, sizeof line, file) && sscanf(line, "MemAvailable: %llu kB", &available_kb) != 1)
        ;
    fclose(file);
    if (available_kb == 0 || available_kb >= bytes >> 10)
        return true;
    fprintf(stderr, "bench: it takes %llu MiB, and %llu are left, so %s is not measured\n", (unsigned long long)(bytes >> 20),
            available_kb >> 10, name);
    return false;
}

void bench_unshare(void *memory, size_t bytes)
{
    munmap(memory, bytes);
}

int64_t bench_clock_cost_ns(void)
{
    static int64_t cost_ns = -1;
    if (cost_ns >= 0)
        return cost_ns;
    int64_t least_ns = INT64_MAX;
    for (unsigned round = 0; round < 100; round++) { /* the least of many, since some are interrupted */
        int64_t start_ns = bench_now_ns(), last_ns = start_ns;
        for (unsigned i = 0; i < 100; i++)
            last_ns = bench_now_ns();
        int64_t mean_ns = (last_ns - start_ns) / 100;
        least_ns = mean_ns < least_ns ? mean_ns : least_ns;
    }
    return cost_ns = least_ns;
}

void bench_payload_check(const char *variant, uint64_t sum, uint64_t operations)
{
    const uint64_t words = BENCH_PAYLOAD_BYTES / sizeof(uint64_t);
    uint64_t expected = operations * (operations - 1) / 2 * words + operations * (words * (words - 1) / 2);
    if (sum != expected)
        bench_fail("%s: the payloads that arrived add up to %llu instead of %llu", variant, (unsigned long long)sum,
                   (unsigned long long)expected);
}
