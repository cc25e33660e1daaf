/* SPDX-License-Identifier: MIT
 *
 * What the figures depend on, as the kernel tells it.
 */
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "report.h"

/* The first line of a file without its end; empty where there is none. */
static void read_line(const char *path, char *text, size_t bytes)
{
    FILE *file = fopen(path, "re");
    text[0] = '\0';
    if (!file)
        return;
    if (fgets(text, (int)bytes, file))
        text[strcspn(text, "\n")] = '\0';
    fclose(file);
}

/* "model name : AMD EPYC" */
static void read_cpu_model(char *text, size_t bytes)
{
    char line[256];
    FILE *file = fopen("/proc/cpuinfo", "re");
    snprintf(text, bytes, "unknown");
    while (file && fgets(line, sizeof line, file)) {
        const char *colon = strchr(line, ':');
        if (colon && (strncmp(line, "model name", 10) == 0 || strncmp(line, "CPU part", 8) == 0)) {
            line[strcspn(line, "\n")] = '\0';
            snprintf(text, bytes, "%s", colon + (colon[1] == ' ' ? 2 : 1));
            break;
        }
    }
    if (file)
        fclose(file);
}

/* "always [madvise] never": the one in brackets. */
static void read_choice(const char *path, char *text, size_t bytes)
{
    char line[128];
    read_line(path, line, sizeof line);
    const char *from = strchr(line, '['), *to = from ? strchr(from, ']') : NULL;
    snprintf(text, bytes, "%.*s", to ? (int)(to - from - 1) : 4, to ? from + 1 : "none");
}

void bench_machine_read(struct bench_machine *machine, const struct bench_options *options)
{
    struct utsname kernel;
    char path[96], transparent[24], shared[24], huge[24];
    memset(machine, 0, sizeof *machine);
    machine->cpus[0] = options->cpus[0];
    machine->cpus[1] = options->cpus[1];
    machine->cpus_online = sysconf(_SC_NPROCESSORS_ONLN);
    read_cpu_model(machine->cpu_model, sizeof machine->cpu_model);
    if (uname(&kernel) == 0)
        snprintf(machine->kernel, sizeof machine->kernel, "%s %s %s", kernel.sysname, kernel.release, kernel.machine);
#ifdef __clang__
    snprintf(machine->compiler, sizeof machine->compiler, "%s", __VERSION__);
#else
    snprintf(machine->compiler, sizeof machine->compiler, "gcc %s", __VERSION__);
#endif
    snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%d/cpufreq/scaling_governor", options->cpus[0]);
    read_line(path, machine->governor, sizeof machine->governor);
    read_choice("/sys/kernel/mm/transparent_hugepage/enabled", transparent, sizeof transparent);
    read_choice("/sys/kernel/mm/transparent_hugepage/shmem_enabled", shared, sizeof shared);
    read_line("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages", huge, sizeof huge);
    snprintf(machine->pages, sizeof machine->pages, "%ld KiB; %s free of 2 MiB; transparent ones: %s, of shared memory: %s",
             sysconf(_SC_PAGESIZE) / 1024, huge[0] ? huge : "0", transparent, shared);
}
