/* SPDX-License-Identifier: MIT
 *
 * The tables of docs/performance.md: a sentence on the machine, then each group with its sentence.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "figures.h"
#include "numapool.h"
#include "report.h"

static void write_machine(FILE *file, const struct bench_report *report)
{
    struct bench_machine machine;
    bench_machine_read(&machine, report->options);
    machine.kernel[strcspn(machine.kernel, "-")] = '\0'; /* its version, without who has built it */
    fprintf(file, "numapool %s, %s, %s, %s, CPUs %d and %d of %ld, pages: %s", numapool_version(), machine.compiler,
            machine.cpu_model, machine.kernel, machine.cpus[0], machine.cpus[1], machine.cpus_online, machine.pages);
    if (machine.governor[0])
        fprintf(file, ", governor %s", machine.governor);
    fprintf(file, ".\nEach group was measured for %.4g seconds in %u slices.\n", report->options->seconds, report->options->slices);
}

static void write_ratio(FILE *file, double subject, double floor)
{
    if (subject > 0 && floor > 0)
        fprintf(file, " %.2f |", bench_ratio(subject, floor));
    else
        fputs(" |", file);
}

static void write_figures(FILE *file, const struct bench_result *result)
{
    struct bench_figure figures[BENCH_FIGURES_MAX];
    const unsigned n = bench_figures_of(result, figures);
    for (unsigned i = 0; i < n; i++) {
        char text[48];
        bench_figure_write(&figures[i], text, sizeof text);
        fprintf(file, "%s %s: %s", i > 0 ? ";" : "", text, figures[i].met ? "yes" : "**no**");
    }
    fputs(" |\n", file);
}

static void write_row(FILE *file, const struct bench_result *result)
{
    char median[32], floor[32];
    bench_number_write(result->median, median, sizeof median);
    bench_number_write(result->floor, floor, sizeof floor);
    fprintf(file, "| `%s` | %s%s | %s %s | %s %s, %s | %.2f |", result->name, result->cpus, result->busy ? " (busy)" : "", median,
            result->unit, floor, result->unit, result->floor_name, result->ratio);
    if (result->ratio_high > 0)
        fprintf(file, " %.2f..%.2f |", result->ratio_low, result->ratio_high);
    else
        fputs(" |", file);
    write_ratio(file, result->p99, result->floor_p99);
    write_ratio(file, result->p999, result->floor_p999);
    write_figures(file, result);
}

static void write_cpu_times(FILE *file, const double *cpu_ns, unsigned ends)
{
    for (unsigned i = 0; i < ends; i++) {
        char number[32];
        bench_number_write(cpu_ns[i], number, sizeof number);
        fprintf(file, "%s%s", i > 0 ? " + " : "", number);
    }
}

static void write_part(FILE *file, const struct bench_report *report, unsigned part)
{
    const unsigned first = report->parts[part].first, end = bench_report_part_end(report, part);
    const char *about = report->parts[part].about;
    if (first == end)
        return;
    fprintf(file, "%s%s\n\n", about ? "\n" : "", about ? about : "");
    fputs("| row | CPUs | numapool | floor | ratio | 10 %..90 % | p99 by its p99 | p99.9 by its p99.9 | to reach |\n"
          "|---|---|---:|---|---:|---|---:|---:|---|\n", file);
    for (unsigned i = first; i < end; i++)
        write_row(file, &report->entries[i]);
    for (unsigned i = first; i < end; i++) {
        const struct bench_result *result = &report->entries[i];
        if (result->ends == 0)
            continue;
        fprintf(file, "\nCPU time an operation of `%s`, %s, by end: ", result->name, result->cpus);
        write_cpu_times(file, result->cpu_ns, result->ends);
        fprintf(file, " %s; of its floor ", result->unit);
        write_cpu_times(file, result->floor_cpu_ns, result->ends);
        fprintf(file, " %s.\n", result->unit);
    }
}

void bench_markdown_write(const struct bench_report *report, const char *path)
{
    FILE *file = fopen(path, "we");
    if (!file)
        bench_fail("%s cannot be written: %s", path, strerror(errno));
    write_machine(file, report);
    for (unsigned part = 0; part < report->part_count; part++)
        write_part(file, report, part);
    fprintf(file, "\n%u of %u figures reached.\n", report->figures_met, report->figures);
    if (ferror(file) | fclose(file))
        bench_fail("%s cannot be written whole: %s", path, strerror(errno));
}
