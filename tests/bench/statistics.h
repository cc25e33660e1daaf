/* SPDX-License-Identifier: MIT */
#ifndef NP_BENCH_STATISTICS_H
#define NP_BENCH_STATISTICS_H

#include <stddef.h>
#include <stdint.h>

/* Logarithmic: 64 steps an octave, so within 1.6 %, from a picosecond to hours. */
#define BENCH_HISTOGRAM_STEPS 64u
#define BENCH_HISTOGRAM_BUCKETS (58u * BENCH_HISTOGRAM_STEPS)

struct bench_histogram {
    uint64_t count;
    uint64_t buckets[BENCH_HISTOGRAM_BUCKETS];
};

void bench_histogram_add(struct bench_histogram *histogram, double value_ns);
void bench_histogram_merge(struct bench_histogram *into, const struct bench_histogram *from);
void bench_histogram_clear(struct bench_histogram *histogram);
/* The value below which `share` (0..1) of the samples lie, 1: the largest of them; 0 when there are none. */
double bench_histogram_quantile(const struct bench_histogram *histogram, double share);

/* Where a bucket begins; the next one's beginning is its end. */
double bench_histogram_bucket_ns(unsigned bucket);

/* Of n values, which it sorts; 0 when n is 0. */
double bench_quantile(double *values, size_t n, double share);

#endif
