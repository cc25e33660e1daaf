/* SPDX-License-Identifier: MIT
 *
 * The verdict on slices, and a row's figures from those that count. Nothing here measures: numbers in, numbers out.
 */
#ifndef NP_BENCH_SLICES_H
#define NP_BENCH_SLICES_H

#include "bench.h"

/* A lap in which a CPU ran something else for more than this share of the time is disturbed. */
#define BENCH_IDLE_SHARE_MAX 0.03

/* How the two CPUs were to each other in a slice. ONE: the group is local. MIXED: they moved meanwhile, so the slice is dropped
 * unless there are no others. */
enum bench_state { BENCH_ONE, BENCH_NEAR, BENCH_FAR, BENCH_MIXED, BENCH_STATES };
extern const char *const bench_state_names[BENCH_STATES];

struct bench_slice {
    enum bench_state state;
    double line_ns;
    double idle[BENCH_VARIANTS_MAX]; /* share of the lap; 0 in groups that sleep */
    double ns[BENCH_VARIANTS_MAX];
    double cpu_ns[BENCH_VARIANTS_MAX][BENCH_ENDS_MAX];
};

struct bench_slices {
    struct bench_slice *at;
    unsigned count;
    unsigned wanted; /* undisturbed ones of one state */
};

/* By two round trips of a bare line, before a slice and after. */
enum bench_state bench_state_by_probes(double before_ns, double after_ns);
/* A slice is disturbed for a row when the lap of its subject or that of its floor is: what happened to others says nothing of it. */
bool bench_slice_is_disturbed(const struct bench_slice *slice, const struct bench_row *row);
/* Enough are there when each row has as many undisturbed slices of one state as were asked for. */
bool bench_slices_enough(const struct bench_slices *slices, const struct bench_row *rows, unsigned row_count);
/* A state in which the row has slices enough for figures; when there is none, the one with the most slices of any kind, and MIXED
 * where all are: a row is never missing, but such a one reaches no figure. */
bool bench_state_is_reported(const struct bench_slices *slices, const struct bench_row *row, enum bench_state state);
/* The row's medians, ratios, spreads and counts of slices go into `result`, and what slices count into its slice_ arrays, which
 * bench_slices_free frees. */
void bench_slices_row(const struct bench_slices *slices, enum bench_state state, const struct bench_row *row, unsigned ends,
                      struct bench_result *result);
void bench_slices_free(struct bench_result *result);

#endif
