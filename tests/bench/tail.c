/* SPDX-License-Identifier: MIT
 *
 * The worst of single gets. In a stream of 1,008 gets and as many puts each 16 gets are timed together, since the clock's own step
 * is longer than one of them; and gaps: how often a loop of gets and puts is held up for more than a microsecond, against a
 * loop that only reads the clock, which is held up by the machine alone.
 */
#include <stdlib.h>
#if defined(__x86_64__)
#include <x86intrin.h>
#endif

#include "groups.h"
#include "numapool.h"

#define POOL_SLOTS (1u << 20)
#define TOGETHER 16u
#define STREAM (63u * TOGETHER)
#define STACK_SLOTS (2u * STREAM)

struct stream {
    struct numapool_pool *pool;
    struct numapool_magazine *magazine;
    void **top; /* of the bare stack */
    void *stack[STACK_SLOTS];
    unsigned count;
    void *held[STREAM];
};

static void *open_stream(bool pool, unsigned magazine_slots)
{
    struct stream *stream = calloc(1, sizeof *stream);
    struct numapool_options options = NUMAPOOL_OPTIONS_INIT;
    if (!stream)
        bench_fail("no memory for a stream of gets");
    stream->top = stream->stack;
    while (stream->top < stream->stack + STACK_SLOTS) {
        *stream->top = stream->top; /* any addresses: nothing looks at what they point to */
        stream->top++;
    }
    options.name = "bench";
    options.slot_bytes = BENCH_PAYLOAD_BYTES;
    options.slots = POOL_SLOTS;
    if (pool && (numapool_create(&stream->pool, &options) < 0 ||
                 numapool_magazine_open(stream->pool, NUMAPOOL_OWN_NODE, magazine_slots, &stream->magazine) < 0))
        bench_fail("%s", numapool_errormsg());
    return stream;
}

static void *open_pool(void)
{
    return open_stream(true, 0);
}

static void *open_pool_256(void)
{
    return open_stream(true, 256);
}

static void *open_bare(void)
{
    return open_stream(false, 0);
}

static void put_all(struct stream *stream)
{
    for (unsigned i = 0; i < stream->count; i++) {
        if (stream->pool)
            numapool_put(stream->magazine, stream->held[i]);
        else
            *stream->top++ = stream->held[i];
    }
    stream->count = 0;
}

static void close_stream(void *state)
{
    struct stream *stream = state;
    put_all(stream);
    if (stream->pool && (numapool_magazine_close(stream->magazine) < 0 || numapool_close(stream->pool) < 0))
        bench_fail("%s", numapool_errormsg());
    free(stream);
}

static void before(void *state)
{
    struct stream *stream = state;
    if (stream->count == STREAM)
        put_all(stream);
    bench_opaque(stream);
}

static void gets(void *state)
{
    struct stream *stream = bench_opaque(state);
    struct numapool_magazine *magazine = stream->magazine;
    void **held = stream->held + stream->count;
    for (unsigned i = 0; i < TOGETHER; i++)
        held[i] = numapool_get(magazine);
    stream->count += TOGETHER;
    bench_opaque(stream);
}

static void pops(void *state)
{
    struct stream *stream = bench_opaque(state);
    void **held = stream->held + stream->count;
    for (unsigned i = 0; i < TOGETHER; i++)
        held[i] = *--stream->top;
    stream->count += TOGETHER;
    bench_opaque(stream);
}

static const struct bench_variant stream_gets = {
    .name = "16 gets", .open = open_pool, .close = close_stream, .chunk = gets, .before = before, .operations = 1,
};
static const struct bench_variant stream_gets_256 = {
    .name = "16 gets, magazine of 256", .open = open_pool_256, .close = close_stream, .chunk = gets, .before = before, .operations = 1,
};
static const struct bench_variant stream_pops = {
    .name = "16 bare pops", .open = open_bare, .close = close_stream, .chunk = pops, .before = before, .operations = 1,
};

static const struct bench_row rows[] = {
    { "gets_16", 0, 2, "16 gets, with the clock", "\"magazine\": \"default\"", 0, 0, 1.5 },
    { "gets_16_magazine_256", 1, 2, "16 gets, with the clock", "\"magazine\": 256", 0, 0, 0 },
};
const struct bench_group bench_tail = {
    .about = "16 gets in a stream of 1,008 gets and puts, timed together.",
    .variants = { &stream_gets, &stream_gets_256, &stream_pops }, .variant_count = 3, .rows = rows, .row_count = 2,
};

/* ---------------------------------------------------------------- gaps */

#define GAP_NS 1000
#define LAPS 100u /* of each loop, in turn */
#define SECONDS_MIN 3.0 /* of all; in less there are too few gaps for a ratio */

static inline uint64_t ticks(void)
{
#if defined(__x86_64__)
    return __rdtsc();
#else
    return (uint64_t)bench_now_ns();
#endif
}

static double ticks_per_ns(void)
{
    int64_t start_ns = bench_now_ns(), now_ns;
    uint64_t start = ticks();
    while ((now_ns = bench_now_ns()) - start_ns < 20000000)
        ;
    return (double)(ticks() - start) / (double)(now_ns - start_ns);
}

/* Gaps a second while it gets and puts (or, without a magazine, does neither) for so long. */
static inline __attribute__((always_inline)) double gaps_of(struct numapool_magazine *magazine, double seconds, double per_ns)
{
    const uint64_t gap = (uint64_t)(GAP_NS * per_ns), start = ticks(), stop = start + (uint64_t)(seconds * 1e9 * per_ns);
    void *held[TOGETHER];
    unsigned gaps = 0, count = 0;
    uint64_t last = start;
    while (last < stop) {
        if (magazine && count < TOGETHER)
            held[count] = numapool_get(magazine);
        else if (magazine)
            numapool_put(magazine, held[count - TOGETHER]);
        count = (count + 1) % (2 * TOGETHER);
        uint64_t now = ticks();
        gaps += now - last > gap;
        last = now;
        bench_opaque(held);
    }
    return gaps / ((double)(last - start) / per_ns / 1e9);
}

static void measure_gaps(struct bench_report *report, const struct bench_options *options)
{
    const double all = options->slices > 1 && options->seconds < SECONDS_MIN ? SECONDS_MIN : options->seconds;
    const double seconds = all / (2 * LAPS);
    double subject[LAPS], empty[LAPS], subject_sum = 0, empty_sum = 0;
    bench_pin(options->cpus[0]);
    struct stream *stream = open_stream(true, 0);
    const double per_ns = ticks_per_ns();
    for (unsigned i = 0; i < LAPS; i++) {
        const bool first = i % 2 == 0;
        if (first)
            empty[i] = gaps_of(NULL, seconds, per_ns);
        subject[i] = gaps_of(stream->magazine, seconds, per_ns);
        if (!first)
            empty[i] = gaps_of(NULL, seconds, per_ns);
        subject_sum += subject[i];
        empty_sum += empty[i];
    }
    close_stream(stream);
    struct bench_result result = {
        .name = "gaps", .unit = "gaps a second", .subject_name = "gets and puts", .floor_name = "a loop that reads the clock",
        .sample = "a lap", .params = "\"gap_ns\": 1000", .cpus = "one", .slices = LAPS, .median = subject_sum / LAPS,
        .floor = empty_sum / LAPS, .ratio = empty_sum > 0 ? subject_sum / empty_sum : 1 + subject_sum, .ratio_max = 1.1,
        .p99 = bench_quantile(subject, LAPS, 0.99), .p999 = bench_quantile(subject, LAPS, 0.999),
        .floor_p99 = bench_quantile(empty, LAPS, 0.99), .floor_p999 = bench_quantile(empty, LAPS, 0.999),
    };
    bench_report_add(report, &result);
}

const struct bench_special bench_gaps = { .name = "gaps", .measure = measure_gaps };
