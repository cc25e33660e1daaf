/* SPDX-License-Identifier: MIT
 *
 * bench [--json FILE] [--seconds S] [--slices N] [--cpus A,B] [--list] [NAME...]
 *
 * Measures the library against floors and prints a table. A NAME selects every row that begins with it; none selects all.
 */
#include <getopt.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"

static char *const *selected;
static int selected_count;

static bool is_wanted(const char *name)
{
    for (int i = 0; i < selected_count; i++)
        if (strncmp(name, selected[i], strlen(selected[i])) == 0)
            return true;
    return selected_count == 0;
}

static bool is_known(const char *prefix)
{
    for (size_t i = 0; i < bench_special_count; i++)
        if (strncmp(bench_specials[i]->name, prefix, strlen(prefix)) == 0)
            return true;
    for (size_t g = 0; g < bench_group_count; g++)
        for (unsigned i = 0; i < bench_groups[g]->row_count; i++)
            if (strncmp(bench_groups[g]->rows[i].name, prefix, strlen(prefix)) == 0)
                return true;
    return false;
}

static void list_names(void)
{
    for (size_t g = 0; g < bench_group_count; g++)
        for (unsigned i = 0; i < bench_groups[g]->row_count; i++)
            printf("%s\n", bench_groups[g]->rows[i].name);
    for (size_t i = 0; i < bench_special_count; i++)
        printf("%s\n", bench_specials[i]->name);
}

static _Noreturn void usage(FILE *to, int status)
{
    fputs("bench [--json FILE] [--seconds S] [--slices N] [--cpus A,B] [--list] [NAME...]\n"
          "    --json FILE   write the results there, as a list\n"
          "    --seconds S   time of each group of benchmarks, without what is dropped (2)\n"
          "    --slices N    slices that it is cut into (200)\n"
          "    --cpus A,B    CPUs to run on (the first two that are allowed)\n"
          "    --list        names of the benchmarks\n"
          "    NAME          a benchmark, or how the names of several begin\n", to);
    exit(status);
}

/* The first two CPUs that this process may run on; -1 for the second where there is no other. */
static void default_cpus(int cpus[2])
{
    cpu_set_t set;
    int found = 0;
    if (sched_getaffinity(0, sizeof set, &set) < 0)
        bench_fail("which CPUs there are cannot be read: %m");
    for (int cpu = 0; cpu < CPU_SETSIZE && found < 2; cpu++)
        if (CPU_ISSET(cpu, &set))
            cpus[found++] = cpu;
    if (found < 2)
        cpus[1] = -1;
}

int main(int argc, char **argv)
{
    static const struct option long_options[] = {
        { "json", required_argument, NULL, 'j' },  { "seconds", required_argument, NULL, 's' },
        { "slices", required_argument, NULL, 'n' }, { "cpus", required_argument, NULL, 'c' },
        { "list", no_argument, NULL, 'l' },         { "help", no_argument, NULL, 'h' },
        { NULL, 0, NULL, 0 },
    };
    struct bench_options options = { .seconds = 2, .slices = 200 };
    const char *json_path = NULL;
    default_cpus(options.cpus);
    for (int option; (option = getopt_long(argc, argv, "", long_options, NULL)) != -1;)
        switch (option) {
        case 'j':
            json_path = optarg;
            break;
        case 's':
            options.seconds = strtod(optarg, NULL);
            break;
        case 'n':
            options.slices = (unsigned)strtoul(optarg, NULL, 10);
            break;
        case 'c':
            if (sscanf(optarg, "%d,%d", &options.cpus[0], &options.cpus[1]) != 2)
                usage(stderr, 2);
            break;
        case 'l':
            list_names();
            return 0;
        default:
            usage(option == 'h' ? stdout : stderr, option == 'h' ? 0 : 2);
        }
    if (!(options.seconds >= 0.01 && options.seconds <= 3600) || options.slices < 1 || options.slices > BENCH_SLICES_MAX) {
        fprintf(stderr, "bench: --seconds goes from 0.01 to 3600, --slices from 1 to %u\n", BENCH_SLICES_MAX);
        return 2;
    }
    selected = argv + optind;
    selected_count = argc - optind;
    for (int i = 0; i < selected_count; i++)
        if (!is_known(selected[i])) {
            fprintf(stderr, "bench: no benchmark's name begins with '%s'; bench --list names them\n", selected[i]);
            return 2;
        }
#ifndef __OPTIMIZE__
    fputs("bench: compiled without optimisation, so the figures say nothing\n", stderr);
#endif

    struct bench_report *report = bench_report_open();
    for (size_t g = 0; g < bench_group_count; g++)
        bench_run_group(bench_groups[g], &options, report, is_wanted);
    for (size_t i = 0; i < bench_special_count; i++)
        if (is_wanted(bench_specials[i]->name))
            bench_specials[i]->measure(report, &options);
    bench_report_write(report, json_path);
    return 0;
}
