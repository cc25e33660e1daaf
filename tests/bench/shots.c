/* SPDX-License-Identifier: MIT */
#include "shots.h"

#include <sched.h>
#include <string.h>

void bench_unpin(void)
{
    cpu_set_t all;
    memset(&all, 0xff, sizeof all);
    sched_setaffinity(0, sizeof all, &all); /* the kernel takes what is allowed of it */
}

void bench_shots_add(struct bench_shots *shots, double subject_ns, double floor_ns)
{
    if (shots->count == BENCH_SHOTS_MAX)
        bench_fail("more than %u shots", BENCH_SHOTS_MAX);
    shots->subject_ns[shots->count] = subject_ns;
    shots->floor_ns[shots->count++] = floor_ns;
}

static double quantile(const double *values, unsigned count, double share)
{
    double sorted[BENCH_SHOTS_MAX];
    memcpy(sorted, values, count * sizeof *values);
    return bench_quantile(sorted, count, share);
}

void bench_shots_report(const struct bench_shots *shots, struct bench_result *result, struct bench_report *report)
{
    double ratio[BENCH_SHOTS_MAX];
    const unsigned count = shots->count;
    for (unsigned i = 0; i < count; i++)
        ratio[i] = shots->subject_ns[i] / shots->floor_ns[i];
    result->cpus = "one";
    result->slices = count;
    result->median = quantile(shots->subject_ns, count, 0.5);
    result->p99 = quantile(shots->subject_ns, count, 0.99);
    result->p999 = quantile(shots->subject_ns, count, 0.999);
    result->floor = quantile(shots->floor_ns, count, 0.5);
    result->floor_p99 = quantile(shots->floor_ns, count, 0.99);
    result->floor_p999 = quantile(shots->floor_ns, count, 0.999);
    result->ratio = quantile(ratio, count, 0.5);
    result->ratio_low = quantile(ratio, count, 0.1);
    result->ratio_high = quantile(ratio, count, 0.9);
    result->slice_ns = shots->subject_ns;
    result->slice_floor_ns = shots->floor_ns;
    result->slice_ratio = ratio;
    bench_report_add(report, result);
}

static double chunk_ns(const struct bench_variant *variant, void *state)
{
    if (variant->before)
        variant->before(state);
    const int64_t start_ns = bench_now_ns();
    variant->chunk(state);
    const int64_t took_ns = bench_now_ns() - start_ns;
    if (variant->after)
        variant->after(state);
    return (double)took_ns / variant->operations;
}

void bench_shots_run(const struct bench_variant *subject, const struct bench_variant *floor, unsigned count, struct bench_result *result,
                     struct bench_report *report, const struct bench_options *options)
{
    struct bench_shots shots = { .count = 0 };
    bench_pin(options->cpus[0]);
    void *subject_state = subject->open(), *floor_state = floor->open();
    chunk_ns(subject, subject_state); /* warm */
    chunk_ns(floor, floor_state);
    for (unsigned i = 0; i < count && i < options->slices; i++) {
        double floor_ns = i % 2 ? chunk_ns(floor, floor_state) : 0; /* each comes first as often */
        double subject_ns = chunk_ns(subject, subject_state);
        bench_shots_add(&shots, subject_ns, i % 2 ? floor_ns : chunk_ns(floor, floor_state));
    }
    subject->close(subject_state);
    floor->close(floor_state);
    result->subject_name = subject->name;
    result->floor_name = floor->name;
    bench_shots_report(&shots, result, report);
}
