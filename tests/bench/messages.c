/* SPDX-License-Identifier: MIT
 *
 * Round trips between two processes that spin. The payload is written whole by the sender and read whole by the receiver.
 */
#include "groups.h"

#include "daemon.h"
#include "ends.h"
#include "floor/cell_ring.h"
#include "floor/index_ring.h"
#include "floor/line.h"
#include "floor/mailbox.h"

/* Longer than any lap waits: nobody sleeps here. */
#define SPIN_NS INT64_C(1000000000)

static inline __attribute__((always_inline)) void trip(struct bench_ends *ends, uint64_t number, struct bench_kind kind)
{
    bench_ends_send_kind(ends, number, 1, kind);
    bench_ends_receive_kind(ends, 1, kind);
}

static inline __attribute__((always_inline)) void echo(struct bench_ends *ends, uint64_t operations, struct bench_kind kind)
{
    ends->sum = 0;
    for (uint64_t number = 0; number < operations; number++) {
        bench_ends_receive_kind(ends, 1, kind);
        bench_ends_send_kind(ends, number, 1, kind);
    }
    bench_bytes_check(ends->name, ends->sum, operations, kind.bytes);
}

/* Instead of releasing the message and answering by another: rewrites it, and sends it back where it lies. */
static inline __attribute__((always_inline)) void echo_in_place(struct bench_ends *ends, uint64_t operations, struct bench_kind kind)
{
    ends->sum = 0;
    for (uint64_t number = 0; number < operations; number++) {
        struct numapool_msg message;
        if (__builtin_expect(numapool_receive(ends->receiver, &message, 1, BENCH_TIMEOUT_NS) != 1, 0))
            bench_fail("%s: %s", ends->name, numapool_errormsg());
        ends->sum += bench_bytes_read(message.data, kind.bytes);
        bench_bytes_write(message.data, number, kind.bytes);
        if (__builtin_expect(numapool_forward(ends->receiver, &message, ends->sender, BENCH_TIMEOUT_NS) < 0, 0))
            bench_fail("%s: %s", ends->name, numapool_errormsg());
    }
    bench_bytes_check(ends->name, ends->sum, operations, kind.bytes);
}

/* A variant of round trips, whose other end answers by ECHO, with messages of a kind. */
#define TRIPS(NAME, POOL, FLAGS, ECHO, ABOUT, ...)                                                                              \
    static void *open_##NAME(void)                                                                                              \
    {                                                                                                                           \
        return bench_ends_open_as(&(struct bench_ends_options){                                                                 \
            .name = "trip-" #NAME, .pool = POOL, .spin_ns = SPIN_NS, .channel_flags = FLAGS });                                 \
    }                                                                                                                           \
    static void trip_##NAME(void *state, uint64_t number)                                                                       \
    {                                                                                                                           \
        trip(state, number, (struct bench_kind){ __VA_ARGS__ });                                                                \
    }                                                                                                                           \
    static void lead_##NAME(void *state, uint64_t operations, struct bench_histogram *samples)                                  \
    {                                                                                                                           \
        struct bench_ends *ends = state;                                                                                        \
        ends->sum = 0;                                                                                                          \
        bench_trips(state, operations, samples, trip_##NAME);                                                                   \
        bench_bytes_check(ends->name, ends->sum, operations, ((struct bench_kind){ __VA_ARGS__ }).bytes);                       \
    }                                                                                                                           \
    static void peer_##NAME(void *state, uint64_t operations)                                                                   \
    {                                                                                                                           \
        ECHO(state, operations, (struct bench_kind){ __VA_ARGS__ });                                                            \
    }                                                                                                                           \
    static const struct bench_variant trips_##NAME = {                                                                          \
        .name = ABOUT, .open = open_##NAME, .close = bench_ends_close, .join = bench_ends_join,                                 \
        .leave = bench_ends_leave, .lead = lead_##NAME, .peer = peer_##NAME,                                                    \
    };

TRIPS(0, BENCH_POOL, 0, echo, "round trip, payload untouched", .bytes = 0)
TRIPS(16, BENCH_POOL_64, 0, echo, "round trip", .bytes = 16)
TRIPS(128, BENCH_POOL, 0, echo, "round trip", .bytes = 128)
TRIPS(1024, BENCH_POOL_1024, 0, echo, "round trip", .bytes = 1024)
TRIPS(4096, BENCH_POOL_4096, 0, echo, "round trip", .bytes = 4096)
TRIPS(keys, BENCH_POOL, 0, echo, "round trip with id and key", .bytes = 128, .keys = true)
TRIPS(in_place, BENCH_POOL, 0, echo_in_place, "round trip, answered in place", .bytes = 128)
TRIPS(checks, BENCH_POOL_CHECKS, 0, echo, "round trip, pool with checks", .bytes = 128)
TRIPS(small_16, BENCH_POOL, NUMAPOOL_SMALL, echo, "round trip in the cell", .bytes = 16, .small = true)
TRIPS(small_48, BENCH_POOL, NUMAPOOL_SMALL, echo, "round trip in the cell", .bytes = 48, .small = true)

#define SAMPLE "one round trip of 64"
#define PARAMS(BYTES) "\"bytes\": " #BYTES ", \"ends\": \"processes\""

static const struct bench_row trip_rows[] = {
    { "round_trip_128", 0, 1, SAMPLE, PARAMS(128), 1.1, 1.1, 0 },
    { "round_trip_128_copy", 0, 2, SAMPLE, PARAMS(128), 0, 0, 0 },
    { "round_trip_128_line", 0, 3, SAMPLE, PARAMS(128), 0, 0, 0 },
    { "round_trip_128_keys", 4, 1, SAMPLE, PARAMS(128), 0, 0, 0 },
    { "round_trip_128_in_place", 5, 1, SAMPLE, PARAMS(128), 0, 0, 0 },
    { "round_trip_128_checks", 6, 1, SAMPLE, PARAMS(128), 0, 0, 0 },
};
const struct bench_group bench_round_trip = {
    .about = "Round trips of 128 bytes, written whole and read whole at each end, between two processes that spin.",
    .variants = { &trips_128, &floor_ring_trip_128, &floor_mailbox_128, &floor_line, &trips_keys, &trips_in_place, &trips_checks },
    .variant_count = 7, .rows = trip_rows, .row_count = 6, .ends = 2,
};

static const struct bench_row size_rows[] = {
    { "round_trip_16", 0, 1, SAMPLE, PARAMS(16), 0, 0, 0 },
    { "round_trip_16_copy", 0, 2, SAMPLE, PARAMS(16), 0, 0, 0 },
    { "round_trip_1024", 3, 4, SAMPLE, PARAMS(1024), 0, 0, 0 },
    { "round_trip_1024_copy", 3, 5, SAMPLE, PARAMS(1024), 0, 0, 0 },
    { "round_trip_4096", 6, 7, SAMPLE, PARAMS(4096), 0, 0, 0 },
    { "round_trip_4096_copy", 6, 8, SAMPLE, PARAMS(4096), 0, 0, 0 },
};
const struct bench_group bench_round_trip_sizes = {
    .about = "Round trips of other sizes.",
    .variants = { &trips_16, &floor_ring_trip_16, &floor_mailbox_16, &trips_1024, &floor_ring_trip_1024, &floor_mailbox_1024,
                  &trips_4096, &floor_ring_trip_4096, &floor_mailbox_4096 },
    .variant_count = 9, .rows = size_rows, .row_count = 6, .ends = 2,
};

static const struct bench_row light_rows[] = {
    { "round_trip_untouched", 0, 1, SAMPLE, PARAMS(0), 0, 0, 0 },
    { "round_trip_small_16", 2, 4, SAMPLE, PARAMS(16), 1.3, 0, 0 },
    { "round_trip_small_48", 3, 4, SAMPLE, PARAMS(48), 1.3, 0, 0 },
    { "round_trip_small_16_ring", 2, 5, SAMPLE, PARAMS(16), 0, 0, 0 },
    { "round_trip_small_48_ring", 3, 6, SAMPLE, PARAMS(48), 0, 0, 0 },
};
const struct bench_group bench_round_trip_light = {
    .about = "Round trips of messages whose payload is not touched, and of small ones that lie in the cell.",
    .variants = { &trips_0, &floor_ring_trip_0, &trips_small_16, &trips_small_48, &floor_line, &floor_cells_trip_16,
                  &floor_cells_trip_48 },
    .variant_count = 7, .rows = light_rows, .row_count = 5, .ends = 2,
};
