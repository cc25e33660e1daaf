/* SPDX-License-Identifier: MIT
 *
 * Messages between two processes that spin: round trip, and one way one by one and by eight. The payload is written whole by
 * the sender and read whole by the receiver.
 */
#include "groups.h"
#include "ends.h"
#include "floor/index_ring.h"
#include "floor/line.h"

/* Longer than any lap waits: nobody sleeps here. */
#define SPIN_NS INT64_C(1000000000)

static void *open_trip(void)
{
    return bench_ends_open("round-trip", SPIN_NS);
}

static void *open_one_way_1(void)
{
    return bench_ends_open("one-way-1", SPIN_NS);
}

static void *open_one_way_8(void)
{
    return bench_ends_open("one-way-8", SPIN_NS);
}

static inline __attribute__((always_inline)) void one_way_lead(struct bench_ends *ends, uint64_t operations, unsigned batch,
                                                               struct bench_histogram *samples)
{
    const int64_t clock_cost_ns = bench_clock_cost_ns();
    int64_t mark_ns = bench_now_ns();
    for (uint64_t number = 0; number < operations;) {
        bench_ends_send(ends, number, batch);
        number += batch;
        if (number % BENCH_ONE_WAY_SAMPLE == 0) {
            int64_t now_ns = bench_now_ns();
            bench_histogram_add(samples, (double)(now_ns - mark_ns - clock_cost_ns) / BENCH_ONE_WAY_SAMPLE);
            mark_ns = now_ns;
        }
    }
}

static inline __attribute__((always_inline)) void one_way_peer(struct bench_ends *ends, uint64_t operations, unsigned batch)
{
    ends->sum = 0;
    for (uint64_t number = 0; number < operations;)
        number += bench_ends_receive(ends, batch);
    bench_payload_check(ends->name, ends->sum, operations);
}

static void lead_1(void *state, uint64_t operations, struct bench_histogram *samples)
{
    one_way_lead(state, operations, 1, samples);
}

static void peer_1(void *state, uint64_t operations)
{
    one_way_peer(state, operations, 1);
}

static void lead_8(void *state, uint64_t operations, struct bench_histogram *samples)
{
    one_way_lead(state, operations, 8, samples);
}

static void peer_8(void *state, uint64_t operations)
{
    one_way_peer(state, operations, 8);
}

static const struct bench_variant trip = {
    .name = "round trip", .open = open_trip, .close = bench_ends_close, .join = bench_ends_join, .leave = bench_ends_leave,
    .lead = bench_ends_trips_lead, .peer = bench_ends_trips_peer,
};
static const struct bench_variant one_way_1 = {
    .name = "one way", .open = open_one_way_1, .close = bench_ends_close, .join = bench_ends_join, .leave = bench_ends_leave,
    .lead = lead_1, .peer = peer_1,
};
static const struct bench_variant one_way_8 = {
    .name = "one way by 8", .open = open_one_way_8, .close = bench_ends_close, .join = bench_ends_join, .leave = bench_ends_leave,
    .lead = lead_8, .peer = peer_8,
};

#define SAMPLE_TRIP "one round trip of 64"
#define SAMPLE_ONE_WAY "mean of 512 messages at their sender"

static const struct bench_row trip_rows[] = {
    { "round_trip_128", 0, 1, SAMPLE_TRIP, "\"bytes\": 128, \"ends\": \"processes\"", 1.1, 1.1, 0 },
    { "round_trip_128_line", 0, 2, SAMPLE_TRIP, "\"bytes\": 128, \"ends\": \"processes\"", 0, 0, 0 },
};
const struct bench_group bench_round_trip = {
    .variants = { &trip, &floor_index_ring_trip, &floor_line }, .variant_count = 3, .rows = trip_rows, .row_count = 2,
    .ends = 2,
};

static const struct bench_row one_way_rows[] = {
    { "one_way_8", 0, 1, SAMPLE_ONE_WAY, "\"bytes\": 128, \"batch\": 8, \"ends\": \"processes\"", 1.25, 0, 0 },
    { "one_way_1", 2, 3, SAMPLE_ONE_WAY, "\"bytes\": 128, \"batch\": 1, \"ends\": \"processes\"", 1.43, 0, 0 },
};
const struct bench_group bench_one_way = {
    .variants = { &one_way_8, &floor_index_ring_one_way_8, &one_way_1, &floor_index_ring_one_way }, .variant_count = 4,
    .rows = one_way_rows, .row_count = 2, .ends = 2,
};
