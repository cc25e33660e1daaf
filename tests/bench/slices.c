/* SPDX-License-Identifier: MIT */
#include "slices.h"

#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

/* Fewer undisturbed slices than this make no figure, unless fewer were asked for; when no state of the CPUs has as many, the
 * least disturbed tenth counts instead, and the result says so. */
#define SLICES_MIN 5u
/* A bare line bounces in about 100 ns within a core complex, in 400 and more between two. */
#define FAR_FROM_NS 250.0
/* Two probes of one state differ by less than this factor. */
#define PROBE_FACTOR_MAX 1.4

const char *const bench_state_names[BENCH_STATES] = { "one", "near", "far", "mixed" };

enum bench_state bench_state_by_probes(double before_ns, double after_ns)
{
    double larger_ns = fmax(before_ns, after_ns), smaller_ns = fmin(before_ns, after_ns);
    if (larger_ns > smaller_ns * PROBE_FACTOR_MAX || (smaller_ns < FAR_FROM_NS && larger_ns >= FAR_FROM_NS))
        return BENCH_MIXED;
    return smaller_ns < FAR_FROM_NS ? BENCH_NEAR : BENCH_FAR;
}

static double idle_of(const struct bench_slice *slice, const struct bench_row *row)
{
    return fmax(slice->idle[row->subject], slice->idle[row->floor]);
}

bool bench_slice_is_disturbed(const struct bench_slice *slice, const struct bench_row *row)
{
    return idle_of(slice, row) > BENCH_IDLE_SHARE_MAX;
}

static unsigned count_of(const struct bench_slices *slices, const struct bench_row *row, enum bench_state state, bool disturbed)
{
    unsigned n = 0;
    for (unsigned i = 0; i < slices->count; i++)
        n += slices->at[i].state == state && bench_slice_is_disturbed(&slices->at[i], row) == disturbed;
    return n;
}

static unsigned count_all(const struct bench_slices *slices, enum bench_state state)
{
    unsigned n = 0;
    for (unsigned i = 0; i < slices->count; i++)
        n += slices->at[i].state == state;
    return n;
}

static unsigned least(const struct bench_slices *slices)
{
    return slices->wanted < SLICES_MIN ? slices->wanted : SLICES_MIN;
}

bool bench_slices_enough(const struct bench_slices *slices, const struct bench_row *rows, unsigned row_count)
{
    for (enum bench_state state = BENCH_ONE; state < BENCH_MIXED; state++) {
        bool enough = true;
        for (unsigned i = 0; i < row_count && enough; i++)
            enough = count_of(slices, &rows[i], state, false) >= slices->wanted;
        if (enough)
            return true;
    }
    return false;
}

bool bench_state_is_reported(const struct bench_slices *slices, const struct bench_row *row, enum bench_state state)
{
    enum bench_state most = BENCH_MIXED;
    unsigned most_slices = 0;
    bool any = false;
    for (enum bench_state other = BENCH_ONE; other < BENCH_MIXED; other++) {
        any = any || count_of(slices, row, other, false) >= least(slices);
        if (count_all(slices, other) > most_slices) {
            most = other;
            most_slices = count_all(slices, other);
        }
    }
    return any ? state != BENCH_MIXED && count_of(slices, row, state, false) >= least(slices) : state == most && slices->count > 0;
}

/* The idle share up to which a slice of that state counts. */
static double idle_accepted(const struct bench_slices *slices, const struct bench_row *row, enum bench_state state, double *scratch)
{
    size_t n = 0;
    for (unsigned i = 0; i < slices->count; i++)
        if (slices->at[i].state == state)
            scratch[n++] = idle_of(&slices->at[i], row);
    double accepted = bench_quantile(scratch, n, fmin(1, fmax(0.1, (double)SLICES_MIN / (double)n)));
    return fmax(accepted, BENCH_IDLE_SHARE_MAX);
}

static double quantile_of(const double *values, size_t n, double share, double *scratch)
{
    memcpy(scratch, values, n * sizeof *values);
    return bench_quantile(scratch, n, share);
}

/* Of a member of each slice that counts, by its offset. */
static double median_of(const struct bench_slice *const *slices, size_t n, size_t offset, double *scratch)
{
    for (size_t i = 0; i < n; i++)
        memcpy(&scratch[i], (const char *)slices[i] + offset, sizeof *scratch);
    return bench_quantile(scratch, n, 0.5);
}

void bench_slices_row(const struct bench_slices *slices, enum bench_state state, const struct bench_row *row, unsigned ends,
                      struct bench_result *result)
{
    const size_t room = (size_t)slices->count + 1;
    const unsigned clean = count_of(slices, row, state, false);
    double *subject_ns = calloc(4 * room, sizeof *subject_ns);
    const struct bench_slice **counted = calloc(room, sizeof *counted);
    if (!subject_ns || !counted)
        bench_fail("no memory for %u slices", slices->count);
    double *floor_ns = subject_ns + room, *ratio = floor_ns + room, *scratch = ratio + room;
    const bool busy = clean < least(slices) || state == BENCH_MIXED;
    const double accepted = busy ? idle_accepted(slices, row, state, scratch) : BENCH_IDLE_SHARE_MAX;
    size_t n = 0;
    for (unsigned i = 0; i < slices->count; i++) {
        const struct bench_slice *slice = &slices->at[i];
        if (slice->state != state || idle_of(slice, row) > accepted)
            continue;
        subject_ns[n] = slice->ns[row->subject];
        floor_ns[n] = slice->ns[row->floor];
        ratio[n] = subject_ns[n] / floor_ns[n];
        counted[n++] = slice;
    }
    result->cpus = bench_state_names[state];
    result->busy = busy;
    result->slices = (unsigned)n;
    result->disturbed = count_all(slices, state) - (unsigned)n;
    result->mixed = state == BENCH_MIXED ? 0 : count_all(slices, BENCH_MIXED);
    result->median = quantile_of(subject_ns, n, 0.5, scratch);
    result->floor = quantile_of(floor_ns, n, 0.5, scratch);
    result->ratio = quantile_of(ratio, n, 0.5, scratch);
    result->ratio_low = quantile_of(ratio, n, 0.1, scratch);
    result->ratio_high = quantile_of(ratio, n, 0.9, scratch);
    result->line_ns = median_of(counted, n, offsetof(struct bench_slice, line_ns), scratch);
    for (unsigned end = 0; end < ends && end < BENCH_ENDS_MAX; end++) {
        const size_t at = offsetof(struct bench_slice, cpu_ns) + end * sizeof(double), variant = BENCH_ENDS_MAX * sizeof(double);
        result->cpu_ns[end] = median_of(counted, n, at + row->subject * variant, scratch);
        result->floor_cpu_ns[end] = median_of(counted, n, at + row->floor * variant, scratch);
    }
    result->slice_ns = subject_ns;
    result->slice_floor_ns = floor_ns;
    result->slice_ratio = ratio;
    free(counted);
}

void bench_slices_free(struct bench_result *result)
{
    free((void *)(uintptr_t)result->slice_ns); /* the others lie in the same memory */
    result->slice_ns = result->slice_floor_ns = result->slice_ratio = NULL;
}
