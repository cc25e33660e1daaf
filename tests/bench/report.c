/* SPDX-License-Identifier: MIT
 *
 * Keeps the results: copies of all that they point to.
 */
#include "report.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "figures.h"

static void *checked(void *memory)
{
    if (!memory)
        bench_fail("no memory for the report");
    return memory;
}

static const char *copy_text(const char *text)
{
    return text ? checked(strdup(text)) : NULL;
}

static const double *copy_values(const double *values, unsigned n)
{
    return values ? memcpy(checked(malloc((n + 1) * sizeof *values)), values, n * sizeof *values) : NULL;
}

static const struct bench_histogram *copy_histogram(const struct bench_histogram *histogram)
{
    return histogram ? memcpy(checked(malloc(sizeof *histogram)), histogram, sizeof *histogram) : NULL;
}

struct bench_report *bench_report_open(const struct bench_options *options)
{
    struct bench_report *report = checked(calloc(1, sizeof *report));
    report->options = options;
    return report;
}

unsigned bench_report_part_end(const struct bench_report *report, unsigned part)
{
    return part + 1 < report->part_count ? report->parts[part + 1].first : report->count;
}

static void end_part(const struct bench_report *report)
{
    if (report->part_count > 0)
        bench_table_end(report, report->part_count - 1);
}

void bench_report_group(struct bench_report *report, const char *name, const char *about)
{
    end_part(report);
    report->parts = checked(realloc(report->parts, (report->part_count + 1) * sizeof *report->parts));
    report->parts[report->part_count++] =
        (struct bench_report_part){ .name = copy_text(name), .about = copy_text(about), .first = report->count };
}

void bench_report_add(struct bench_report *report, const struct bench_result *result)
{
    struct bench_figure figures[BENCH_FIGURES_MAX];
    if (report->part_count == 0)
        bench_report_group(report, result->name, NULL);
    report->entries = checked(realloc(report->entries, (report->count + 1) * sizeof *report->entries));
    struct bench_result *entry = &report->entries[report->count++];
    *entry = *result;
    entry->name = copy_text(result->name);
    entry->unit = copy_text(result->unit);
    entry->subject_name = copy_text(result->subject_name);
    entry->floor_name = copy_text(result->floor_name);
    entry->sample = copy_text(result->sample);
    entry->params = copy_text(result->params);
    entry->cpus = copy_text(result->cpus);
    entry->slice_ns = copy_values(result->slice_ns, result->slices);
    entry->slice_floor_ns = copy_values(result->slice_floor_ns, result->slices);
    entry->slice_ratio = copy_values(result->slice_ratio, result->slices);
    entry->samples = copy_histogram(result->samples);
    entry->floor_samples = copy_histogram(result->floor_samples);
    const unsigned n = bench_figures_of(entry, figures);
    for (unsigned i = 0; i < n; i++) {
        report->figures++;
        report->figures_met += figures[i].met;
    }
    if (report->parts[report->part_count - 1].first == report->count - 1)
        bench_table_begin(report); /* not before: a part may have nothing to show */
    bench_table_row(entry);
}

void bench_report_end(struct bench_report *report)
{
    end_part(report);
}

void bench_report_summary(const struct bench_report *report)
{
    printf("%u of %u figures reached\n", report->figures_met, report->figures);
}

static void free_all(const void *const *pointers, size_t n)
{
    for (size_t i = 0; i < n; i++)
        free((void *)(uintptr_t)pointers[i]);
}

void bench_report_close(struct bench_report *report)
{
    for (unsigned i = 0; i < report->count; i++) {
        const struct bench_result *entry = &report->entries[i];
        const void *const pointers[] = { entry->name, entry->unit, entry->subject_name, entry->floor_name, entry->sample,
                                         entry->params, entry->cpus, entry->slice_ns, entry->slice_floor_ns,
                                         entry->slice_ratio, entry->samples, entry->floor_samples };
        free_all(pointers, sizeof pointers / sizeof *pointers);
    }
    for (unsigned i = 0; i < report->part_count; i++)
        free_all((const void *const[]){ report->parts[i].name, report->parts[i].about }, 2);
    free(report->entries);
    free(report->parts);
    free(report);
}
