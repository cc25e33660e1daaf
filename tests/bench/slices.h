/* SPDX-License-Identifier: MIT
 *
 * The verdict on slices, and a row's figures from those that count. Nothing here measures: numbers in, numbers out.
 */
#ifndef NP_BENCH_SLICES_H
#define NP_BENCH_SLICES_H

#include "bench.h"

/* How the two CPUs were to each other in a slice. ONE: the group is local. MIXED: they moved meanwhile, so the slice is dropped
 * unless there are no others. */
enum bench_state { BENCH_ONE, BENCH_NEAR, BENCH_FAR, BENCH_MIXED, BENCH_STATES };
extern const char *const bench_state_names[BENCH_STATES];

struct bench_slice {
    enum bench_state state;
    double idle; /* the worst of its laps; 0 in groups that sleep */
    double line_ns;
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
bool bench_slice_is_disturbed(const struct bench_slice *slice);
/* Enough are there when as many undisturbed slices of one state are as were asked for. */
bool bench_slices_enough(const struct bench_slices *slices);
/* A state with slices enough for figures; when there is none, the one with the most slices of any kind, and MIXED where all are:
 * a row is never missing, but such a one reaches no figure. */
bool bench_state_is_reported(const struct bench_slices *slices, enum bench_state state);
/* The row's medians, ratios, spreads and counts of slices go into `result`, and what slices count into its slice_ arrays, which
 * bench_slices_free frees. */
void bench_slices_row(const struct bench_slices *slices, enum bench_state state, const struct bench_row *row, unsigned ends,
                      struct bench_result *result);
void bench_slices_free(struct bench_result *result);

#endif
