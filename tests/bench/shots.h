/* SPDX-License-Identifier: MIT
 *
 * What specials have in common that measure a subject and its floor one after the other, several times.
 */
#ifndef NP_BENCH_SHOTS_H
#define NP_BENCH_SHOTS_H

#include "bench.h"

#define BENCH_SHOTS_MAX 64u

struct bench_shots {
    unsigned count;
    double subject_ns[BENCH_SHOTS_MAX], floor_ns[BENCH_SHOTS_MAX];
};

/* For a child that is none of the ends: on any CPU again. */
void bench_unpin(void);

/* One of each, taken shortly after each other. */
void bench_shots_add(struct bench_shots *shots, double subject_ns, double floor_ns);

/* Medians, their ratio's median and spread: into what `result` has besides (names, unit, figures), which goes to the report. */
void bench_shots_report(const struct bench_shots *shots, struct bench_result *result, struct bench_report *report);

/* So many chunks, or fewer where the options want fewer slices, of a local subject and of its floor in turn, each with what comes before and after it, and the report. The names
 * of both are the variants'. */
void bench_shots_run(const struct bench_variant *subject, const struct bench_variant *floor, unsigned count, struct bench_result *result,
                     struct bench_report *report, const struct bench_options *options);

#endif
