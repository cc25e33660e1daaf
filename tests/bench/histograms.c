/* SPDX-License-Identifier: MIT
 *
 * Histograms as text: subject and floor beside each other. Bins are even on a logarithmic scale, fine where all but a
 * hundredth of the samples lie and an octave each beyond; bars are as long as the logarithm of their count; bins that are empty
 * on both sides are left out.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "figures.h"
#include "report.h"

#define FINE_BINS_MAX 20u
#define BAR_CHARACTERS 28
#define FINE_SHARE 0.99

struct bin {
    unsigned first, end; /* buckets */
};

static unsigned lowest(const struct bench_histogram *histogram)
{
    unsigned i = 0;
    while (i < BENCH_HISTOGRAM_BUCKETS && histogram->buckets[i] == 0)
        i++;
    return i;
}

/* The bucket in which that share of the samples ends. */
static unsigned bucket_at(const struct bench_histogram *histogram, double share)
{
    uint64_t below = 0, wanted = (uint64_t)ceil((double)histogram->count * share);
    unsigned i = 0;
    for (; i < BENCH_HISTOGRAM_BUCKETS - 1; i++) {
        below += histogram->buckets[i];
        if (below >= wanted)
            break;
    }
    return i;
}

static unsigned larger(unsigned a, unsigned b)
{
    return a > b ? a : b;
}

/* Up to BENCH_HISTOGRAM_BUCKETS of them; how many. */
static unsigned make_bins(const struct bench_histogram *a, const struct bench_histogram *b, struct bin *bins)
{
    const unsigned from = lowest(a) < lowest(b) ? lowest(a) : lowest(b);
    const unsigned fine_end = larger(bucket_at(a, FINE_SHARE), bucket_at(b, FINE_SHARE)) + 1;
    const unsigned end = larger(bucket_at(a, 1), bucket_at(b, 1)) + 1;
    unsigned step = 1, n = 0;
    while ((fine_end - from + step - 1) / step > FINE_BINS_MAX)
        step++;
    for (unsigned at = from; at < end;) {
        const unsigned width = at < fine_end ? step : BENCH_HISTOGRAM_STEPS;
        bins[n++] = (struct bin){ .first = at, .end = at + width < BENCH_HISTOGRAM_BUCKETS ? at + width : BENCH_HISTOGRAM_BUCKETS };
        at = bins[n - 1].end;
    }
    return n;
}

static uint64_t count_in(const struct bench_histogram *histogram, const struct bin *bin)
{
    uint64_t n = 0;
    for (unsigned i = bin->first; i < bin->end; i++)
        n += histogram->buckets[i];
    return n;
}

static void print_bar(uint64_t count, uint64_t all)
{
    char bar[BAR_CHARACTERS + 1] = "";
    if (count > 0) {
        double share = all > 1 ? log((double)count) / log((double)all) : 1;
        memset(bar, '#', (size_t)(1 + share * (BAR_CHARACTERS - 1)));
        bar[(size_t)(1 + share * (BAR_CHARACTERS - 1))] = '\0';
        printf(" %7.3f %% %-*s", 100 * (double)count / (double)all, BAR_CHARACTERS, bar);
    } else {
        printf(" %9s %-*s", "", BAR_CHARACTERS, "");
    }
}

static void print_one(const struct bench_result *result)
{
    static struct bin bins[BENCH_HISTOGRAM_BUCKETS];
    const struct bench_histogram *a = result->samples, *b = result->floor_samples;
    if (!a || !b || a->count == 0 || b->count == 0)
        return;
    const unsigned n = make_bins(a, b, bins);
    printf("\n%s, %s; a sample is %s; bars: logarithm of the count\n", result->name, result->cpus,
           result->sample ? result->sample : "one operation");
    printf("  %22s | %-*.*s | %s\n", result->unit, BAR_CHARACTERS + 10, BAR_CHARACTERS + 10,
           result->subject_name ? result->subject_name : "subject", result->floor_name);
    for (unsigned i = 0; i < n; i++) {
        char from[32], to[32];
        if (count_in(a, &bins[i]) + count_in(b, &bins[i]) == 0)
            continue;
        bench_number_write(bench_histogram_bucket_ns(bins[i].first), from, sizeof from);
        bench_number_write(bench_histogram_bucket_ns(bins[i].end), to, sizeof to);
        printf("  %10s..%10s |", from, to);
        print_bar(count_in(a, &bins[i]), a->count);
        printf(" |");
        print_bar(count_in(b, &bins[i]), b->count);
        putchar('\n');
    }
}

void bench_histograms_print(const struct bench_report *report)
{
    for (unsigned i = 0; i < report->count; i++)
        print_one(&report->entries[i]);
}
