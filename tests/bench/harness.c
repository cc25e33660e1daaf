/* SPDX-License-Identifier: MIT
 *
 * Slices: each variant of a group in turn, the verdict on the slice, and the rows made of those that count.
 */
#include <errno.h>
#include <math.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "bench.h"
#include "floor/line.h"
#include "peer.h"

/* A slice in which a process was off its CPU for more than this share of a lap is disturbed: somebody else ran there. */
#define IDLE_SHARE_MAX 0.03
/* Fewer undisturbed slices than this make no figure; when no state of the CPUs has as many, the least disturbed tenth counts
 * instead, and the result says so. */
#define SLICES_MIN 5u
/* A bare line bounces in about 100 ns within a core complex, in 400 and more between two. */
#define FAR_FROM_NS 250.0
/* Two probes of one state differ by less than this factor. */
#define PROBE_FACTOR_MAX 1.4
#define PROBE_TRIPS 2000u
#define WARM_UP_OPERATIONS 4096u
/* Waits for less busy moments: so many slices are tried for each one that is wanted. */
#define TRIES_PER_SLICE 2u

enum state { ONE, NEAR, FAR, MIXED, STATES };
static const char *const state_names[] = { "one", "near", "far", "mixed" };

struct slice {
    enum state state;
    double idle; /* the worst of its laps */
    bool disturbed;
    double line_ns;
    double ns[BENCH_VARIANTS_MAX];
};

struct run {
    const struct bench_group *group;
    const struct bench_options *options;
    void *states[BENCH_VARIANTS_MAX + 1];
    const struct bench_variant *variants[BENCH_VARIANTS_MAX + 1]; /* a pair's last is the probe */
    struct bench_peer *peer;
    double estimate_ns[BENCH_VARIANTS_MAX];
    struct bench_histogram *lap;          /* of each variant, in this slice */
    struct bench_histogram *all, *clean;  /* of each state and variant */
    struct slice *slices;
    unsigned slice_count;
};

void bench_fail(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fputs("bench: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    exit(1);
}

void bench_pin(int cpu)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    if (sched_setaffinity(0, sizeof set, &set) < 0)
        bench_fail("this process may not run on CPU %d: %s", cpu, strerror(errno));
}

void *bench_shared(size_t bytes)
{
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (memory == MAP_FAILED)
        bench_fail("no %zu bytes of shared memory: %s", bytes, strerror(errno));
    return memory;
}

void bench_unshare(void *memory, size_t bytes)
{
    munmap(memory, bytes);
}

int64_t bench_clock_cost_ns(void)
{
    static int64_t cost_ns = -1;
    if (cost_ns >= 0)
        return cost_ns;
    for (unsigned round = 0; round < 100; round++) { /* the least of many, since some are interrupted */
        int64_t start_ns = bench_now_ns(), last_ns = start_ns;
        for (unsigned i = 0; i < 100; i++)
            last_ns = bench_now_ns();
        int64_t mean_ns = (last_ns - start_ns) / 100;
        cost_ns = cost_ns < 0 || mean_ns < cost_ns ? mean_ns : cost_ns;
    }
    return cost_ns;
}

void bench_payload_check(const char *variant, uint64_t sum, uint64_t operations)
{
    const uint64_t words = BENCH_PAYLOAD_BYTES / sizeof(uint64_t);
    uint64_t expected = operations * (operations - 1) / 2 * words + operations * (words * (words - 1) / 2);
    if (sum != expected)
        bench_fail("%s: the payloads that arrived add up to %llu instead of %llu", variant, (unsigned long long)sum,
                   (unsigned long long)expected);
}

/* ---------------------------------------------------------------- one slice */

static double lap_seconds(const struct run *run)
{
    return run->options->seconds / run->options->slices / run->group->variant_count;
}

static struct bench_lap local_lap(struct run *run, unsigned variant, double seconds)
{
    const struct bench_variant *it = run->variants[variant];
    struct bench_histogram *samples = &run->lap[variant];
    const int64_t clock_cost_ns = bench_clock_cost_ns();
    struct timespec cpu_start, cpu_end;
    uint64_t chunks = 0;
    double spent_ns = 0;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &cpu_start);
    int64_t start_ns = bench_now_ns(), now_ns = start_ns, stop_ns = start_ns + (int64_t)(seconds * 1e9);
    do {
        it->chunk(run->states[variant]);
        int64_t after_ns = bench_now_ns();
        double took_ns = (double)(after_ns - now_ns - clock_cost_ns);
        took_ns = took_ns > 0 ? took_ns : 0;
        bench_histogram_add(samples, took_ns / it->operations);
        spent_ns += took_ns;
        chunks++;
        now_ns = bench_now_ns();
    } while (now_ns < stop_ns);
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &cpu_end);
    double used_ns = (double)(cpu_end.tv_sec - cpu_start.tv_sec) * 1e9 + (double)(cpu_end.tv_nsec - cpu_start.tv_nsec);
    return (struct bench_lap){ .ns = spent_ns / (double)(chunks * it->operations), .idle = 1 - used_ns / (double)(now_ns - start_ns) };
}

static struct bench_lap pair_lap(struct run *run, unsigned variant, double seconds)
{
    double wanted = seconds * 1e9 / run->estimate_ns[variant];
    uint64_t operations = (uint64_t)(wanted / 64) * 64; /* whole batches of any size */
    struct bench_lap lap = bench_peer_run(run->peer, variant, operations < 64 ? 64 : operations, &run->lap[variant]);
    run->estimate_ns[variant] = lap.ns;
    return lap;
}

/* Round trip of a bare line between the two CPUs, now. */
static double probe_line(struct run *run)
{
    static struct bench_histogram unused;
    return bench_peer_run(run->peer, run->group->variant_count, PROBE_TRIPS, &unused).ns;
}

static enum state state_by_probes(double before_ns, double after_ns)
{
    double larger_ns = fmax(before_ns, after_ns), smaller_ns = fmin(before_ns, after_ns);
    if (larger_ns > smaller_ns * PROBE_FACTOR_MAX || (smaller_ns < FAR_FROM_NS && larger_ns >= FAR_FROM_NS))
        return MIXED;
    return smaller_ns < FAR_FROM_NS ? NEAR : FAR;
}

static void run_slice(struct run *run, unsigned number)
{
    const unsigned n = run->group->variant_count;
    struct slice *slice = &run->slices[run->slice_count++];
    double before_ns = run->peer ? probe_line(run) : 0;
    for (unsigned i = 0; i < n; i++) {
        unsigned place = number / n % 2 ? n - 1 - i : i; /* each comes first and last, and after each other one */
        unsigned variant = (place + number) % n;
        bench_histogram_clear(&run->lap[variant]);
        struct bench_lap lap = run->peer ? pair_lap(run, variant, lap_seconds(run)) : local_lap(run, variant, lap_seconds(run));
        slice->ns[variant] = lap.ns;
        if (lap.idle > slice->idle && !run->group->sleeps)
            slice->idle = lap.idle;
    }
    slice->disturbed = slice->idle > IDLE_SHARE_MAX;
    slice->state = ONE;
    if (run->peer) {
        double after_ns = probe_line(run);
        slice->state = state_by_probes(before_ns, after_ns);
        slice->line_ns = (before_ns + after_ns) / 2;
    }
    for (unsigned variant = 0; variant < n; variant++) {
        unsigned where = (unsigned)slice->state * BENCH_VARIANTS_MAX + variant;
        bench_histogram_merge(&run->all[where], &run->lap[variant]);
        if (!slice->disturbed)
            bench_histogram_merge(&run->clean[where], &run->lap[variant]);
    }
}

/* ---------------------------------------------------------------- rows */

static unsigned slices_of(const struct run *run, enum state state, bool disturbed)
{
    unsigned n = 0;
    for (unsigned i = 0; i < run->slice_count; i++)
        n += run->slices[i].state == state && run->slices[i].disturbed == disturbed;
    return n;
}

/* The idle share up to which a slice of that state counts. */
static double idle_accepted(const struct run *run, enum state state, bool busy)
{
    double *shares = calloc(run->slice_count, sizeof *shares);
    size_t n = 0;
    if (!busy || !shares) {
        free(shares);
        return IDLE_SHARE_MAX;
    }
    for (unsigned i = 0; i < run->slice_count; i++)
        if (run->slices[i].state == state)
            shares[n++] = run->slices[i].idle;
    double accepted = bench_quantile(shares, n, fmin(1, fmax(0.1, (double)SLICES_MIN / (double)n)));
    free(shares);
    return fmax(accepted, IDLE_SHARE_MAX);
}

static void report_row(struct run *run, const struct bench_row *row, enum state state, struct bench_report *report)
{
    unsigned clean = slices_of(run, state, false), n = 0;
    bool busy = clean < SLICES_MIN;
    const double accepted = idle_accepted(run, state, busy);
    double *subject = calloc(4 * (size_t)run->slice_count, sizeof *subject);
    if (!subject)
        bench_fail("no memory for %u slices", run->slice_count);
    double *floor_ns = subject + run->slice_count, *ratio = floor_ns + run->slice_count, *line = ratio + run->slice_count;
    for (unsigned i = 0; i < run->slice_count; i++) {
        const struct slice *slice = &run->slices[i];
        if (slice->state != state || slice->idle > accepted)
            continue;
        subject[n] = slice->ns[row->subject];
        floor_ns[n] = slice->ns[row->floor];
        ratio[n] = subject[n] / floor_ns[n];
        line[n++] = slice->line_ns;
    }
    const struct bench_histogram *samples =
        &(busy ? run->all : run->clean)[(unsigned)state * BENCH_VARIANTS_MAX + row->subject];
    struct bench_result result = {
        .name = row->name, .unit = "ns", .floor_name = run->variants[row->floor]->name, .sample = row->sample,
        .params = row->params, .cpus = state_names[state], .slices = n, .busy = busy,
        .disturbed = clean + slices_of(run, state, true) - n, .mixed = slices_of(run, MIXED, false) + slices_of(run, MIXED, true),
        .median = bench_quantile(subject, n, 0.5), .floor = bench_quantile(floor_ns, n, 0.5),
        .ratio = bench_quantile(ratio, n, 0.5), .ratio_low = bench_quantile(ratio, n, 0.1),
        .ratio_high = bench_quantile(ratio, n, 0.9), .line_ns = bench_quantile(line, n, 0.5),
        .p99 = bench_histogram_quantile(samples, 0.99), .p999 = bench_histogram_quantile(samples, 0.999),
    };
    bench_report_add(report, &result);
    free(subject);
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
        run->peer = bench_peer_start(run->variants, n, run->states, run->options);
    for (unsigned i = 0; i < group->variant_count; i++) {
        if (group->ends < 2) {
            local_lap(run, i, lap_seconds(run));
            continue;
        }
        unsigned warm_up = group->sleeps ? WARM_UP_OPERATIONS / 64 : WARM_UP_OPERATIONS;
        for (unsigned round = 0; round < 2; round++)
            run->estimate_ns[i] = bench_peer_run(run->peer, i, warm_up, &run->lap[i]).ns;
    }
}

static void close_variants(struct run *run)
{
    if (run->peer)
        bench_peer_stop(run->peer);
    for (unsigned i = 0; i < run->group->variant_count + (run->group->ends > 1); i++)
        run->variants[i]->close(run->states[i]);
}

/* Enough are there when as many undisturbed slices of one state are as were asked for. */
static bool has_enough(const struct run *run)
{
    for (enum state state = ONE; state < MIXED; state++)
        if (slices_of(run, state, false) >= run->options->slices)
            return true;
    return false;
}

/* A state with enough undisturbed slices; when there is none, the one with the most of any kind. */
static bool is_reported(const struct run *run, enum state state)
{
    enum state most = ONE;
    unsigned most_slices = 0;
    for (enum state other = ONE; other < MIXED; other++) {
        unsigned clean = slices_of(run, other, false), all = clean + slices_of(run, other, true);
        if (clean >= SLICES_MIN)
            return slices_of(run, state, false) >= SLICES_MIN;
        if (all > most_slices) {
            most = other;
            most_slices = all;
        }
    }
    return state == most && most_slices > 0;
}

void bench_run_group(const struct bench_group *group, const struct bench_options *options, struct bench_report *report,
                     bool (*wanted)(const char *name))
{
    const unsigned tries = options->slices * TRIES_PER_SLICE, histograms = STATES * BENCH_VARIANTS_MAX;
    bool any = false;
    for (unsigned i = 0; i < group->row_count; i++)
        any = any || wanted(group->rows[i].name);
    if (!any)
        return;
    if (group->ends > 1 && options->cpus[1] < 0) {
        fprintf(stderr, "bench: only one CPU is allowed here, so %s is not measured\n", group->rows[0].name);
        return;
    }
    struct run run = { .group = group, .options = options };
    run.slices = calloc(tries, sizeof *run.slices);
    run.lap = calloc(BENCH_VARIANTS_MAX, sizeof *run.lap);
    run.all = calloc(histograms, sizeof *run.all);
    run.clean = calloc(histograms, sizeof *run.clean);
    if (!run.slices || !run.lap || !run.all || !run.clean)
        bench_fail("no memory for %u slices", tries);
    bench_pin(options->cpus[0]);
    open_variants(&run);
    for (unsigned number = 0; number < tries && !has_enough(&run); number++)
        run_slice(&run, number);
    close_variants(&run);

    for (unsigned i = 0; i < group->row_count; i++)
        for (enum state state = ONE; wanted(group->rows[i].name) && state < MIXED; state++)
            if (is_reported(&run, state))
                report_row(&run, &group->rows[i], state, report);
    free(run.slices);
    free(run.lap);
    free(run.all);
    free(run.clean);
}
