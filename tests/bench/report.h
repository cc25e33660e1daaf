/* SPDX-License-Identifier: MIT
 *
 * The report: what was measured, kept until the end, and what is made of it.
 */
#ifndef NP_BENCH_REPORT_H
#define NP_BENCH_REPORT_H

#include <jansson.h>

#include "bench.h"

struct bench_report_part {
    const char *name, *about; /* name: of its first row, also where that one was not asked for; about: may be NULL */
    unsigned first;           /* of its entries */
};

struct bench_report {
    struct bench_result *entries; /* all that they point to belongs to the report */
    unsigned count;
    struct bench_report_part *parts;
    unsigned part_count;
    const struct bench_options *options;
    unsigned figures, figures_met;
};

/* The entries of a part are those from its first to before this one. */
unsigned bench_report_part_end(const struct bench_report *report, unsigned part);

/* table.c: as it is measured, on standard output. */
void bench_table_begin(const struct bench_report *report);
void bench_table_row(const struct bench_result *result);
void bench_table_end(const struct bench_report *report, unsigned part);

/* histograms.c: subject and floor beside each other, after the table. */
void bench_histograms_print(const struct bench_report *report);

/* json.c */
json_t *bench_json_entry(const struct bench_report *report, unsigned part, const struct bench_result *result, json_t *machine);
void bench_json_write(const struct bench_report *report, const char *path);

/* plots.c: scripts and data of gnuplot, and pictures where it is installed. */
void bench_plots_write(const struct bench_report *report, const char *directory);

/* markdown.c: the table of docs/performance.md. */
void bench_markdown_write(const struct bench_report *report, const char *path);

/* baseline.c: an earlier JSON. It is read before anything is measured, since it may be no such file. */
json_t *bench_baseline_read(const char *path);
/* 1: the result's ratio has moved by more than both spreads (up is worse); -1: down; 0: not; and what it was and is. */
int bench_baseline_moved(const json_t *earlier, const struct bench_result *result);
void bench_baseline_compare(const struct bench_report *report, const json_t *baseline, const char *path);

/* machine.c: what the figures depend on. Never a host's name. */
struct bench_machine {
    char cpu_model[128], kernel[200], compiler[128], governor[32], pages[160];
    long cpus_online;
    int cpus[2];
};
void bench_machine_read(struct bench_machine *machine, const struct bench_options *options);

#endif
