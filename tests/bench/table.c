/* SPDX-License-Identifier: MIT
 *
 * The table for people, group by group as it is measured.
 */
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "figures.h"
#include "report.h"

void bench_table_begin(const struct bench_report *report)
{
    const struct bench_report_part *part = &report->parts[report->part_count - 1];
    printf("%s%s\n", report->count > 1 ? "\n" : "", part->about ? part->about : part->name);
    printf("  %-30s %-4s %10s %10s %7s %-14s %10s %8s %10s %8s  %s\n", "name", "cpus", "median", "floor", "ratio", "10 %..90 %",
           "p99", "x floor", "p99.9", "x floor", "unit and floor; figures to reach");
}

/* "; reaches 1.25" and "; not p99 1.10": each figure and what became of it. */
static void write_figures(const struct bench_result *result, char *text, size_t bytes)
{
    struct bench_figure figures[BENCH_FIGURES_MAX];
    const unsigned n = bench_figures_of(result, figures);
    size_t used = 0;
    text[0] = '\0';
    for (unsigned i = 0; i < n && used < bytes; i++) {
        char figure[48];
        bench_figure_write(&figures[i], figure, sizeof figure);
        used += (size_t)snprintf(text + used, bytes - used, "; %s %s", figures[i].met ? "reaches" : "NOT", figure);
    }
}

static void write_tail(double value, double floor, char number[32], char ratio[32])
{
    number[0] = ratio[0] = '\0';
    if (value > 0)
        bench_number_write(value, number, 32);
    if (value > 0 && floor > 0)
        snprintf(ratio, 32, "%.2f", bench_ratio(value, floor));
}

void bench_table_row(const struct bench_result *result)
{
    char median[32], floor[32], spread[48] = "", p99[32], p99_ratio[32], p999[32], p999_ratio[32], figures[256];
    bench_number_write(result->median, median, sizeof median);
    bench_number_write(result->floor, floor, sizeof floor);
    if (result->ratio_high > 0)
        snprintf(spread, sizeof spread, "%.2f..%.2f", result->ratio_low, result->ratio_high);
    write_tail(result->p99, result->floor_p99, p99, p99_ratio);
    write_tail(result->p999, result->floor_p999, p999, p999_ratio);
    write_figures(result, figures, sizeof figures);
    printf("  %-30s %-4s %10s %10s %7.3f %-14s %10s %8s %10s %8s  %s, %s%s\n", result->name, result->cpus, median, floor,
           result->ratio, spread, p99, p99_ratio, p999, p999_ratio, result->unit, result->floor_name, figures);
    fflush(stdout);
}

static void print_range(const char *before, unsigned low, unsigned high, const char *after)
{
    printf("%s%u", before, low);
    if (high != low)
        printf(" to %u", high);
    fputs(after, stdout);
}

static unsigned smaller(unsigned a, unsigned b)
{
    return a < b ? a : b;
}

static unsigned larger(unsigned a, unsigned b)
{
    return a > b ? a : b;
}

/* Of all rows in that state, from the first one on. */
static void print_slices(const struct bench_report *report, unsigned first, unsigned end)
{
    const struct bench_result *one = &report->entries[first];
    unsigned slices[2] = { UINT_MAX, 0 }, disturbed[2] = { UINT_MAX, 0 };
    bool busy = false;
    for (unsigned i = first; i < end; i++) {
        const struct bench_result *result = &report->entries[i];
        if (strcmp(result->cpus, one->cpus) != 0)
            continue;
        slices[0] = smaller(slices[0], result->slices), slices[1] = larger(slices[1], result->slices);
        disturbed[0] = smaller(disturbed[0], result->disturbed), disturbed[1] = larger(disturbed[1], result->disturbed);
        busy = busy || result->busy;
    }
    printf("  %s: ", one->cpus);
    print_range("", slices[0], slices[1], " slices");
    if (busy)
        printf(", some of them the least disturbed ones of a busy machine");
    printf("; dropped %u mixed, ", one->mixed);
    print_range("", disturbed[0], disturbed[1], " disturbed");
    if (one->line_ns > 0)
        printf("; a bare line goes and comes in %.0f ns", one->line_ns);
    putchar('\n');
}

static void print_cpu_times(const double *cpu_ns, unsigned ends)
{
    for (unsigned i = 0; i < ends; i++) {
        char number[32];
        bench_number_write(cpu_ns[i], number, sizeof number);
        printf("%s%s", i > 0 ? " + " : "", number);
    }
}

static bool is_first_of_its_state(const struct bench_report *report, unsigned first, unsigned entry)
{
    for (unsigned i = first; i < entry; i++)
        if (strcmp(report->entries[i].cpus, report->entries[entry].cpus) == 0)
            return false;
    return true;
}

void bench_table_end(const struct bench_report *report, unsigned part)
{
    const unsigned first = report->parts[part].first, end = bench_report_part_end(report, part);
    for (unsigned i = first; i < end; i++) {
        const struct bench_result *result = &report->entries[i];
        if (result->ends > 0) {
            printf("  %s, %s: CPU time an operation, by end: ", result->name, result->cpus);
            print_cpu_times(result->cpu_ns, result->ends);
            printf(" %s; its floor: ", result->unit);
            print_cpu_times(result->floor_cpu_ns, result->ends);
            printf(" %s\n", result->unit);
        }
    }
    for (unsigned i = first; i < end; i++)
        if (report->entries[i].slices > 0 && is_first_of_its_state(report, first, i))
            print_slices(report, i, end);
    fflush(stdout);
}
