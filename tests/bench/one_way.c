/* SPDX-License-Identifier: MIT
 *
 * Messages one way between two processes that spin, one by one and by many. The payload is written whole by the sender and read whole
 * by the receiver.
 */
#include "groups.h"

#include "daemon.h"
#include "ends.h"
#include "floor/cell_ring.h"
#include "floor/index_ring.h"

/* Longer than any lap waits: nobody sleeps here. */
#define SPIN_NS INT64_C(1000000000)

static inline __attribute__((always_inline)) void lead(struct bench_ends *ends, uint64_t operations, unsigned batch,
                                                       struct bench_histogram *samples, struct bench_kind kind)
{
    struct bench_marks marks = bench_marks_begin(samples);
    for (uint64_t number = 0; number < operations;) {
        bench_ends_send_kind(ends, number, batch, kind);
        number += batch;
        bench_marks_sent(&marks, number);
    }
}

/* Receives `most` at a time, or what is there of them. */
static inline __attribute__((always_inline)) void peer(struct bench_ends *ends, uint64_t operations, unsigned most,
                                                       struct bench_kind kind)
{
    ends->sum = 0;
    for (uint64_t number = 0; number < operations;)
        number += bench_ends_receive_kind(ends, most, kind);
    bench_bytes_check(ends->name, ends->sum, operations, kind.bytes);
}

/* A variant: sent BATCH at a time, received MOST at a time. */
#define WAY(NAME, POOL, FLAGS, BATCH, MOST, ABOUT, ...)                                                                         \
    static void *open_##NAME(void)                                                                                              \
    {                                                                                                                           \
        return bench_ends_open_as(&(struct bench_ends_options){                                                                 \
            .name = "way-" #NAME, .pool = POOL, .spin_ns = SPIN_NS, .channel_flags = FLAGS });                                  \
    }                                                                                                                           \
    static void lead_##NAME(void *state, uint64_t operations, struct bench_histogram *samples)                                  \
    {                                                                                                                           \
        lead(state, operations, BATCH, samples, (struct bench_kind){ __VA_ARGS__ });                                            \
    }                                                                                                                           \
    static void peer_##NAME(void *state, uint64_t operations)                                                                   \
    {                                                                                                                           \
        peer(state, operations, MOST, (struct bench_kind){ __VA_ARGS__ });                                                      \
    }                                                                                                                           \
    static const struct bench_variant way_##NAME = {                                                                            \
        .name = ABOUT, .open = open_##NAME, .close = bench_ends_close, .join = bench_ends_join,                                 \
        .leave = bench_ends_leave, .lead = lead_##NAME, .peer = peer_##NAME,                                                    \
    };
#define WAYS(BYTES, POOL)                                                                                                       \
    WAY(BYTES##_1, POOL, 0, 1, 1, "one way", .bytes = BYTES)                                                                    \
    WAY(BYTES##_8, POOL, 0, 8, 8, "one way by 8", .bytes = BYTES)                                                               \
    WAY(BYTES##_32, POOL, 0, 32, 32, "one way by 32", .bytes = BYTES)

WAYS(0, BENCH_POOL)
WAYS(16, BENCH_POOL_64)
WAYS(128, BENCH_POOL)
WAYS(1024, BENCH_POOL_1024)
WAYS(4096, BENCH_POOL_4096)
WAY(1_any, BENCH_POOL, 0, 1, BENCH_BATCH_MAX, "one way, received as they come", .bytes = 128)
WAY(8_any, BENCH_POOL, 0, 8, BENCH_BATCH_MAX, "one way by 8, received as they come", .bytes = 128)
WAY(keys_1, BENCH_POOL, 0, 1, 1, "one way with id and key", .bytes = 128, .keys = true)
WAY(keys_8, BENCH_POOL, 0, 8, 8, "one way by 8 with id and key", .bytes = 128, .keys = true)
WAY(keyed_8, BENCH_POOL, 0, 8, 8, "one way by 8, keyed", .bytes = 128, .keyed = true)
WAY(checks_8, BENCH_POOL_CHECKS, 0, 8, 8, "one way by 8, pool with checks", .bytes = 128)
WAY(small_16_1, BENCH_POOL, NUMAPOOL_SMALL, 1, 1, "one way in the cell", .bytes = 16, .small = true)
WAY(small_16_8, BENCH_POOL, NUMAPOOL_SMALL, 8, 8, "one way in the cell by 8", .bytes = 16, .small = true)
WAY(small_16_32, BENCH_POOL, NUMAPOOL_SMALL, 32, 32, "one way in the cell by 32", .bytes = 16, .small = true)
WAY(small_48_1, BENCH_POOL, NUMAPOOL_SMALL, 1, 1, "one way in the cell", .bytes = 48, .small = true)
WAY(small_48_8, BENCH_POOL, NUMAPOOL_SMALL, 8, 8, "one way in the cell by 8", .bytes = 48, .small = true)
WAY(small_48_32, BENCH_POOL, NUMAPOOL_SMALL, 32, 32, "one way in the cell by 32", .bytes = 48, .small = true)

#define SAMPLE "mean of 512 messages at their sender"
#define PARAMS(BYTES, BATCH) "\"bytes\": " #BYTES ", \"batch\": " #BATCH ", \"ends\": \"processes\""

/* 80 % and 70 % of the floor's messages a second are 1.25 and 1.43 times its time for one. */
static const struct bench_row rows_128[] = {
    { "one_way_128_8", 1, 4, SAMPLE, PARAMS(128, 8), 1.25, 0, 0 },
    { "one_way_128_1", 0, 3, SAMPLE, PARAMS(128, 1), 1.43, 0, 0 },
    { "one_way_128_32", 2, 5, SAMPLE, PARAMS(128, 32), 0, 0, 0 },
    { "one_way_128_8_any", 7, 4, SAMPLE, PARAMS(128, 8), 0, 0, 0 },
    { "one_way_128_1_any", 6, 3, SAMPLE, PARAMS(128, 1), 0, 0, 0 },
    { "one_way_128_8_keys", 9, 4, SAMPLE, PARAMS(128, 8), 0, 0, 0 },
    { "one_way_128_1_keys", 8, 3, SAMPLE, PARAMS(128, 1), 0, 0, 0 },
    { "one_way_128_8_keyed", 10, 4, SAMPLE, PARAMS(128, 8), 0, 0, 0 },
    { "one_way_128_8_checks", 11, 4, SAMPLE, PARAMS(128, 8), 0, 0, 0 },
};
const struct bench_group bench_one_way = {
    .about = "Messages of 128 bytes one way, written whole and read whole, between two processes that spin.",
    .variants = { &way_128_1, &way_128_8, &way_128_32, &floor_ring_way_128_1, &floor_ring_way_128_8, &floor_ring_way_128_32,
                  &way_1_any, &way_8_any, &way_keys_1, &way_keys_8, &way_keyed_8, &way_checks_8 },
    .variant_count = 12, .rows = rows_128, .row_count = 9, .ends = 2,
};

/* Three subjects and their floors: by 1, 8, 32. */
#define GROUP(NAME, BYTES, ROW, ABOUT)                                                                                          \
    static const struct bench_row rows_##BYTES[] = {                                                                            \
        { ROW "_1", 0, 3, SAMPLE, PARAMS(BYTES, 1), 0, 0, 0 },                                                                  \
        { ROW "_8", 1, 4, SAMPLE, PARAMS(BYTES, 8), 0, 0, 0 },                                                                  \
        { ROW "_32", 2, 5, SAMPLE, PARAMS(BYTES, 32), 0, 0, 0 },                                                                \
    };                                                                                                                          \
    const struct bench_group NAME = {                                                                                           \
        .about = ABOUT,                                                                                                         \
        .variants = { &way_##BYTES##_1, &way_##BYTES##_8, &way_##BYTES##_32, &floor_ring_way_##BYTES##_1,                       \
                      &floor_ring_way_##BYTES##_8, &floor_ring_way_##BYTES##_32 },                                              \
        .variant_count = 6, .rows = rows_##BYTES, .row_count = 3, .ends = 2,                                                    \
    };

GROUP(bench_one_way_16, 16, "one_way_16", "The same of 16 bytes.")
GROUP(bench_one_way_1024, 1024, "one_way_1024", "The same of 1,024 bytes.")
GROUP(bench_one_way_4096, 4096, "one_way_4096", "The same of 4,096 bytes.")
GROUP(bench_one_way_untouched, 0, "one_way_untouched", "The same, but nobody touches the payload: what handing a slot over costs.")

static const struct bench_row rows_small[] = {
    { "one_way_small_16_1", 0, 6, SAMPLE, PARAMS(16, 1), 0, 0, 0 },
    { "one_way_small_16_8", 1, 7, SAMPLE, PARAMS(16, 8), 0, 0, 0 },
    { "one_way_small_16_32", 2, 8, SAMPLE, PARAMS(16, 32), 0, 0, 0 },
    { "one_way_small_48_1", 3, 9, SAMPLE, PARAMS(48, 1), 0, 0, 0 },
    { "one_way_small_48_8", 4, 10, SAMPLE, PARAMS(48, 8), 0, 0, 0 },
    { "one_way_small_48_32", 5, 11, SAMPLE, PARAMS(48, 32), 0, 0, 0 },
};
const struct bench_group bench_one_way_small = {
    .about = "Small messages one way, in the cell: the sender's copied from where it has written them, the receiver's read where they lie.",
    .variants = { &way_small_16_1, &way_small_16_8, &way_small_16_32, &way_small_48_1, &way_small_48_8, &way_small_48_32,
                  &floor_cells_way_16_1, &floor_cells_way_16_8, &floor_cells_way_16_32, &floor_cells_way_48_1,
                  &floor_cells_way_48_8, &floor_cells_way_48_32 },
    .variant_count = 12, .rows = rows_small, .row_count = 6, .ends = 2,
};
