/* SPDX-License-Identifier: MIT
 *
 * The figures that a result should reach.
 */
#ifndef NP_BENCH_FIGURES_H
#define NP_BENCH_FIGURES_H

#include "bench.h"

#define BENCH_FIGURES_MAX 4u

struct bench_figure {
    const char *key;   /* of the value in the JSON: "p99_ratio" */
    const char *short_name; /* in a table: "p99" */
    double value, max;
    bool met;
};

/* By a floor of nothing at all: by the least that the histograms tell from it. */
double bench_ratio(double subject, double floor);

/* Those that were set; how many. */
unsigned bench_figures_of(const struct bench_result *result, struct bench_figure figures[BENCH_FIGURES_MAX]);

/* The same of a row that has not been measured. */
unsigned bench_figures_of_row(const struct bench_group *group, unsigned row, struct bench_figure figures[BENCH_FIGURES_MAX]);

/* "1.25", "p99 1.10": as tables and lists write it. */
void bench_figure_write(const struct bench_figure *figure, char *text, size_t bytes);

/* A number for people: 0.526, 174, 1,204,311. */
void bench_number_write(double number, char *text, size_t bytes);

#endif
