/* SPDX-License-Identifier: MIT */
#include "statistics.h"

#include <stdlib.h>
#include <string.h>

static unsigned bucket_of(uint64_t picoseconds)
{
    if (picoseconds < BENCH_HISTOGRAM_STEPS)
        return (unsigned)picoseconds;
    unsigned octave = 63 - (unsigned)__builtin_clzll(picoseconds); /* at least 6 */
    unsigned step = (unsigned)(picoseconds >> (octave - 6)) & (BENCH_HISTOGRAM_STEPS - 1);
    unsigned bucket = (octave - 5) * BENCH_HISTOGRAM_STEPS + step;
    return bucket < BENCH_HISTOGRAM_BUCKETS ? bucket : BENCH_HISTOGRAM_BUCKETS - 1;
}

static double middle_of(unsigned bucket)
{
    if (bucket < BENCH_HISTOGRAM_STEPS)
        return bucket;
    unsigned octave = bucket / BENCH_HISTOGRAM_STEPS + 5, step = bucket % BENCH_HISTOGRAM_STEPS;
    return (double)(UINT64_C(1) << (octave - 6)) * (BENCH_HISTOGRAM_STEPS + step + 0.5);
}

void bench_histogram_add(struct bench_histogram *histogram, double value_ns)
{
    histogram->count++;
    /* what took less than the clock itself is 0 */
    histogram->buckets[bucket_of(value_ns > 0 ? (uint64_t)(value_ns * 1000) : 0)]++;
}

void bench_histogram_merge(struct bench_histogram *into, const struct bench_histogram *from)
{
    into->count += from->count;
    for (unsigned i = 0; i < BENCH_HISTOGRAM_BUCKETS; i++)
        into->buckets[i] += from->buckets[i];
}

void bench_histogram_clear(struct bench_histogram *histogram)
{
    memset(histogram, 0, sizeof *histogram);
}

double bench_histogram_quantile(const struct bench_histogram *histogram, double share)
{
    uint64_t below = 0, wanted = (uint64_t)((double)histogram->count * share);
    if (histogram->count == 0)
        return 0;
    wanted = wanted < histogram->count ? wanted : histogram->count - 1;
    for (unsigned i = 0; i < BENCH_HISTOGRAM_BUCKETS; i++) {
        below += histogram->buckets[i];
        if (below > wanted)
            return middle_of(i) / 1000;
    }
    return 0;
}

double bench_histogram_bucket_ns(unsigned bucket)
{
    if (bucket < BENCH_HISTOGRAM_STEPS)
        return bucket / 1000.0;
    unsigned octave = bucket / BENCH_HISTOGRAM_STEPS + 5, step = bucket % BENCH_HISTOGRAM_STEPS;
    return (double)(UINT64_C(1) << (octave - 6)) * (BENCH_HISTOGRAM_STEPS + step) / 1000;
}

static int compare(const void *left, const void *right)
{
    double a = *(const double *)left, b = *(const double *)right;
    return (a > b) - (a < b);
}

double bench_quantile(double *values, size_t n, double share)
{
    if (n == 0)
        return 0;
    qsort(values, n, sizeof *values, compare);
    double place = share * (double)(n - 1);
    size_t below = (size_t)place;
    if (below + 1 >= n)
        return values[n - 1];
    return values[below] + (values[below + 1] - values[below]) * (place - (double)below);
}
