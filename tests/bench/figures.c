/* SPDX-License-Identifier: MIT */
#include "figures.h"

#include <stdio.h>
#include <string.h>

#define LEAST_NS 0.001 /* one step of a histogram */

double bench_ratio(double subject, double floor)
{
    return subject / (floor > LEAST_NS ? floor : LEAST_NS);
}

unsigned bench_figures_of(const struct bench_result *result, struct bench_figure figures[BENCH_FIGURES_MAX])
{
    const struct bench_figure all[BENCH_FIGURES_MAX] = {
        { "ratio", "", result->ratio, result->ratio_max, false },
        { "p99_ratio", "p99 ", bench_ratio(result->p99, result->floor_p99), result->p99_ratio_max, false },
        { "p999_ratio", "p99.9 ", bench_ratio(result->p999, result->floor_p999), result->p999_ratio_max, false },
        { "median", "median ", result->median, result->median_max, false },
    };
    const bool mixed = result->cpus && strcmp(result->cpus, "mixed") == 0; /* says nothing of anything */
    unsigned n = 0;
    for (unsigned i = 0; i < BENCH_FIGURES_MAX; i++)
        if (all[i].max > 0) {
            figures[n] = all[i];
            figures[n].met = all[i].value <= all[i].max && !mixed;
            n++;
        }
    return n;
}

unsigned bench_figures_of_row(const struct bench_group *group, unsigned row, struct bench_figure figures[BENCH_FIGURES_MAX])
{
    const struct bench_row *it = &group->rows[row];
    const struct bench_result unmeasured = {
        .ratio_max = it->ratio_max, .p99_ratio_max = it->p99_ratio_max, .p999_ratio_max = it->p999_ratio_max,
        .median_max = group->median_max ? group->median_max[row] : 0,
    };
    return bench_figures_of(&unmeasured, figures);
}

void bench_figure_write(const struct bench_figure *figure, char *text, size_t bytes)
{
    char number[32];
    if (strcmp(figure->key, "median") == 0)
        bench_number_write(figure->max, number, sizeof number);
    else
        snprintf(number, sizeof number, "%.2f", figure->max);
    snprintf(text, bytes, "%s%s", figure->short_name, number);
}

void bench_number_write(double number, char *text, size_t bytes)
{
    char digits[40];
    const char *from = digits;
    if (number < 1000 || number > 1e15) {
        snprintf(text, bytes, number < 9.995 ? "%.3f" : number < 99.95 ? "%.2f" : "%.1f", number);
        return;
    }
    snprintf(digits, sizeof digits, "%.0f", number);
    for (size_t left = strlen(digits), n = 0; left > 0 && n + 2 < bytes; left--) {
        text[n++] = *from++;
        if (left > 1 && left % 3 == 1)
            text[n++] = ',';
        text[n] = '\0';
    }
}
