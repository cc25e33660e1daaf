/* SPDX-License-Identifier: MIT
 *
 * Runs a group: each of its variants in turn in each slice, until slices enough are undisturbed.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"
#include "floor/line.h"
#include "peer.h"
#include "slices.h"

#define BENCH_ROWS_MAX 64u
#define PROBE_TRIPS 2000u
/* A probe that was disturbed says nothing of where the CPUs are: it is made again, so often. */
#define PROBES_MAX 4u
#define WARM_UP_OPERATIONS 4096u
/* Waits for less busy moments: so many slices are tried for each one that is wanted, and so much more time is spent. */
#define TRIES_PER_SLICE 2u
#define TIME_FACTOR_MAX 4.0
/* Groups of long operations take the slices that they need, within reason. */
#define LONG_TIME_FACTOR_MAX 20.0
#define TIME_MORE_S 1.0
/* No operation takes less, whatever a lap that was too short to be timed made of it. */
#define LEAST_NS 0.05

struct run {
    const struct bench_group *group;
    const struct bench_options *options;
    void *states[BENCH_VARIANTS_MAX + 1];
    const struct bench_variant *variants[BENCH_VARIANTS_MAX + 1]; /* the last of several ends is the probe */
    struct bench_peers *peers;
    double estimate_ns[BENCH_VARIANTS_MAX];
    struct bench_histogram *lap;         /* of each variant, in this slice */
    struct bench_histogram *all, *clean; /* of each state and variant */
    struct bench_slices slices;
};

/* ---------------------------------------------------------------- one slice */

static double lap_seconds(const struct run *run)
{
    return run->options->seconds / run->options->slices / run->group->variant_count;
}

static double thread_cpu_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

static uint64_t operations_of(const struct bench_variant *variant)
{
    return variant->operations > 0 ? variant->operations : 1;
}

/* One chunk. What its hooks do is in no clock. */
static double run_chunk(const struct bench_variant *variant, void *state, int64_t clock_cost_ns, struct bench_histogram *samples)
{
    if (variant->before)
        variant->before(state);
    int64_t start_ns = bench_now_ns();
    variant->chunk(state);
    double took_ns = (double)(bench_now_ns() - start_ns - clock_cost_ns);
    if (variant->after)
        variant->after(state);
    took_ns = took_ns > 0 ? took_ns : 0;
    bench_histogram_add(samples, took_ns / (double)operations_of(variant));
    return took_ns;
}

/* Chunks until the time is over. */
static struct bench_lap chunks_lap(struct run *run, unsigned variant)
{
    const int64_t clock_cost_ns = bench_clock_cost_ns();
    const double cpu_start_ns = thread_cpu_ns();
    const int64_t start_ns = bench_now_ns(), stop_ns = start_ns + (int64_t)(lap_seconds(run) * 1e9);
    double spent_ns = 0, operations = 0;
    int64_t now_ns;
    do {
        spent_ns += run_chunk(run->variants[variant], run->states[variant], clock_cost_ns, &run->lap[variant]);
        operations += (double)operations_of(run->variants[variant]);
        now_ns = bench_now_ns();
    } while (now_ns < stop_ns);
    double used_ns = thread_cpu_ns() - cpu_start_ns;
    return (struct bench_lap){ .ns = fmax(spent_ns / operations, LEAST_NS), .idle = 1 - used_ns / (double)(now_ns - start_ns),
                               .cpu_ns = { used_ns / operations } };
}

/* One chunk, long enough for the CPU's clock to be read around it alone. */
static struct bench_lap long_lap(struct run *run, unsigned variant)
{
    const struct bench_variant *it = run->variants[variant];
    if (it->before)
        it->before(run->states[variant]);
    const double cpu_start_ns = thread_cpu_ns();
    const int64_t start_ns = bench_now_ns();
    it->chunk(run->states[variant]);
    const double took_ns = (double)(bench_now_ns() - start_ns), used_ns = thread_cpu_ns() - cpu_start_ns;
    if (it->after)
        it->after(run->states[variant]);
    const double operations = (double)operations_of(it);
    bench_histogram_add(&run->lap[variant], took_ns / operations);
    return (struct bench_lap){ .ns = took_ns / operations, .idle = 1 - used_ns / took_ns, .cpu_ns = { used_ns / operations } };
}

static struct bench_lap ends_lap(struct run *run, unsigned variant)
{
    uint64_t operations = operations_of(run->variants[variant]);
    if (run->group->slices_max == 0) {
        double wanted = lap_seconds(run) * 1e9 / fmax(run->estimate_ns[variant], LEAST_NS);
        operations = (uint64_t)(wanted / 64) * 64; /* whole batches of any size */
        operations = operations < 64 ? 64 : operations;
    }
    struct bench_lap lap = bench_peers_run(run->peers, variant, operations, &run->lap[variant]);
    run->estimate_ns[variant] = lap.ns;
    return lap;
}

static struct bench_lap run_lap(struct run *run, unsigned variant)
{
    bench_histogram_clear(&run->lap[variant]);
    if (run->peers)
        return ends_lap(run, variant);
    return run->group->slices_max > 0 ? long_lap(run, variant) : chunks_lap(run, variant);
}

/* Round trip of a bare line between the two CPUs, now. */
static double probe_line(struct run *run)
{
    static struct bench_histogram unused;
    struct bench_lap lap = { .idle = 1 };
    for (unsigned probe = 0; probe < PROBES_MAX && lap.idle > BENCH_IDLE_SHARE_MAX; probe++)
        lap = bench_peers_run(run->peers, run->group->variant_count, PROBE_TRIPS, &unused);
    return lap.ns;
}

static void run_slice(struct run *run, unsigned number)
{
    const unsigned n = run->group->variant_count;
    struct bench_slice *slice = &run->slices.at[run->slices.count++];
    double before_ns = run->peers ? probe_line(run) : 0;
    for (unsigned i = 0; i < n; i++) {
        unsigned place = number / n % 2 ? n - 1 - i : i; /* each comes first and last, and after each other one */
        unsigned variant = (place + number) % n;
        struct bench_lap lap = run_lap(run, variant);
        slice->ns[variant] = lap.ns;
        memcpy(slice->cpu_ns[variant], lap.cpu_ns, sizeof lap.cpu_ns);
        slice->idle[variant] = run->group->sleeps ? 0 : lap.idle;
    }
    if (run->peers) {
        double after_ns = probe_line(run);
        slice->state = bench_state_by_probes(before_ns, after_ns);
        slice->line_ns = (before_ns + after_ns) / 2;
    }
    for (unsigned variant = 0; variant < n; variant++) {
        unsigned where = (unsigned)slice->state * BENCH_VARIANTS_MAX + variant;
        bench_histogram_merge(&run->all[where], &run->lap[variant]);
        if (slice->idle[variant] <= BENCH_IDLE_SHARE_MAX)
            bench_histogram_merge(&run->clean[where], &run->lap[variant]);
    }
}

/* ---------------------------------------------------------------- a group */

static void report_row(const struct run *run, unsigned number, enum bench_state state, struct bench_report *report)
{
    const struct bench_group *group = run->group;
    const struct bench_row *row = &group->rows[number];
    const unsigned ends = group->ends > 1 ? group->ends : 1;
    struct bench_result result = {
        .name = row->name, .unit = "ns", .subject_name = run->variants[row->subject]->name,
        .floor_name = run->variants[row->floor]->name, .sample = row->sample, .params = row->params,
        .ratio_max = row->ratio_max, .p99_ratio_max = row->p99_ratio_max, .p999_ratio_max = row->p999_ratio_max,
        .median_max = group->median_max[number], .ends = group->sleeps ? ends : 0,
        .subject = row->subject, .floor_variant = row->floor,
    };
    bench_slices_row(&run->slices, state, row, ends, &result);
    const struct bench_histogram *samples = &(result.busy ? run->all : run->clean)[(unsigned)state * BENCH_VARIANTS_MAX];
    result.samples = &samples[row->subject];
    result.floor_samples = &samples[row->floor];
    result.p99 = bench_histogram_quantile(result.samples, 0.99);
    result.p999 = bench_histogram_quantile(result.samples, 0.999);
    result.floor_p99 = bench_histogram_quantile(result.floor_samples, 0.99);
    result.floor_p999 = bench_histogram_quantile(result.floor_samples, 0.999);
    bench_report_add(report, &result);
    bench_slices_free(&result);
}

static void warm_up(struct run *run, unsigned variant)
{
    if (run->group->slices_max > 0 && run->options->slices == 1)
        return; /* to see it run through, not how fast */
    if (!run->peers || run->group->slices_max > 0) {
        run_lap(run, variant);
        return;
    }
    unsigned operations = WARM_UP_OPERATIONS;
    if (run->group->sleeps || run->group->ends > 2) /* each costs a switch of the CPU or more */
        operations /= 64;
    for (unsigned round = 0; round < 2; round++)
        run->estimate_ns[variant] = bench_peers_run(run->peers, variant, operations, &run->lap[variant]).ns;
}

static void open_variants(struct run *run)
{
    const struct bench_group *group = run->group;
    unsigned n = group->variant_count;
    memcpy(run->variants, group->variants, n * sizeof *run->variants);
    if (group->ends > 1)
        run->variants[n++] = &floor_line;
    for (unsigned i = 0; i < n; i++)
        run->states[i] = run->variants[i]->open();
    if (group->ends > 1)
        run->peers = bench_peers_start(group, run->variants, n, run->states, run->options);
    for (unsigned i = 0; i < group->variant_count; i++)
        warm_up(run, i);
}

static void close_variants(struct run *run)
{
    if (run->peers)
        bench_peers_stop(run->peers);
    for (unsigned i = 0; i < run->group->variant_count + (run->group->ends > 1); i++)
        run->variants[i]->close(run->states[i]);
}

static void run_slices(struct run *run)
{
    const double factor = run->group->slices_max > 0 ? LONG_TIME_FACTOR_MAX : TIME_FACTOR_MAX;
    const int64_t stop_ns = bench_now_ns() + (int64_t)((run->options->seconds * factor + TIME_MORE_S) * 1e9);
    const unsigned tries = run->slices.wanted * TRIES_PER_SLICE;
    for (unsigned number = 0; number < tries; number++) {
        if (number > 0 && (bench_now_ns() > stop_ns || bench_slices_enough(&run->slices, run->group->rows, run->group->row_count)))
            break;
        run_slice(run, number);
    }
}

/* The part of a group that is wanted: those rows, and the variants that they need. */
struct selection {
    struct bench_group group;
    struct bench_row rows[BENCH_ROWS_MAX];
    double median_max[BENCH_ROWS_MAX];
};

static unsigned select_variant(struct bench_group *group, const struct bench_variant *variant)
{
    for (unsigned i = 0; i < group->variant_count; i++)
        if (group->variants[i] == variant)
            return i;
    group->variants[group->variant_count] = variant;
    return group->variant_count++;
}

static void select_rows(struct selection *selection, const struct bench_group *from, bool (*wanted)(const char *name))
{
    struct bench_group *group = &selection->group;
    if (from->row_count > BENCH_ROWS_MAX)
        bench_fail("the group of %s has %u rows: BENCH_ROWS_MAX is %u", from->rows[0].name, from->row_count, BENCH_ROWS_MAX);
    *group = *from;
    group->variant_count = group->row_count = 0;
    group->rows = selection->rows;
    group->median_max = selection->median_max;
    for (unsigned i = 0; i < from->row_count; i++) {
        if (!wanted(from->rows[i].name))
            continue;
        struct bench_row *row = &selection->rows[group->row_count];
        *row = from->rows[i];
        row->subject = select_variant(group, from->variants[row->subject]);
        row->floor = select_variant(group, from->variants[row->floor]);
        selection->median_max[group->row_count++] = from->median_max ? from->median_max[i] : 0;
    }
}

static void measure(struct run *run)
{
    const unsigned histograms = BENCH_STATES * BENCH_VARIANTS_MAX;
    run->slices.at = calloc((size_t)run->slices.wanted * TRIES_PER_SLICE, sizeof *run->slices.at);
    run->lap = calloc(BENCH_VARIANTS_MAX, sizeof *run->lap);
    run->all = calloc(histograms, sizeof *run->all);
    run->clean = calloc(histograms, sizeof *run->clean);
    if (!run->slices.at || !run->lap || !run->all || !run->clean)
        bench_fail("no memory for %u slices", run->slices.wanted);
    bench_pin(run->options->cpus[0]);
    open_variants(run);
    run_slices(run);
    close_variants(run);
}

void bench_run_group(const struct bench_group *group, const struct bench_options *options, struct bench_report *report,
                     bool (*wanted)(const char *name))
{
    struct selection selection;
    select_rows(&selection, group, wanted);
    if (selection.group.row_count == 0)
        return;
    if (group->ends > 1 && options->cpus[1] < 0) {
        for (unsigned i = 0; i < selection.group.row_count; i++)
            fprintf(stderr, "bench: only one CPU is allowed here, so %s is not measured\n", selection.rows[i].name);
        return;
    }
    bool has_memory = true;
    for (unsigned i = 0; i < selection.group.row_count; i++)
        has_memory = bench_has_memory(group->needs_bytes, selection.rows[i].name) && has_memory; /* each is named */
    if (!has_memory)
        return;
    const bool few = group->slices_max > 0 && group->slices_max < options->slices;
    struct run run = { .group = &selection.group, .options = options, .slices.wanted = few ? group->slices_max : options->slices };
    measure(&run);
    bench_report_group(report, group->rows[0].name, group->about);
    for (unsigned i = 0; i < selection.group.row_count; i++)
        for (enum bench_state state = BENCH_ONE; state < BENCH_STATES; state++)
            if (bench_state_is_reported(&run.slices, &selection.rows[i], state))
                report_row(&run, i, state, report);
    free(run.slices.at);
    free(run.lap);
    free(run.all);
    free(run.clean);
}
