/* SPDX-License-Identifier: MIT
 *
 * Round trips between two processes that sleep, by how long they spin before: when the answer is there at once, when it
 * comes only after the spin, and when both are on one CPU.
 */
#include "groups.h"
#include "ends.h"
#include "floor/futex.h"
#include "one_cpu.h"

#define SAMPLE "one round trip of 64"

#define OPENS(suffix, name, spin_ns)                  \
    static void *open_##suffix(void)                  \
    {                                                 \
        return bench_ends_open(name, spin_ns);        \
    }
OPENS(spin_0, "blocking", -1)
OPENS(spin_2us, "blocking-2us", 2000)
OPENS(spin_20us, "blocking-20us", 20000)
OPENS(spin_100us, "blocking-100us", 100000)
OPENS(late, "blocking-late", BENCH_SPIN_NS)

#define TRIPS(variant, label)                                                                                  \
    static const struct bench_variant variant = {                                                              \
        .name = label, .open = open_##variant, .close = bench_ends_close, .join = bench_ends_join,             \
        .leave = bench_ends_leave, .lead = bench_ends_trips_lead, .peer = bench_ends_trips_peer,               \
    }
TRIPS(spin_0, "round trip, asleep");
TRIPS(spin_2us, "round trip, after 2 us");
TRIPS(spin_20us, "round trip, after 20 us");
TRIPS(spin_100us, "round trip, after 100 us");

static const struct bench_row rows[] = {
    { "blocking_spin_0", 0, 1, SAMPLE, "\"bytes\": 128, \"spin_ns\": 0, \"ends\": \"processes\"", 1.1, 0, 0 },
    { "blocking_spin_0_barrier", 0, 2, SAMPLE, "\"bytes\": 128, \"spin_ns\": 0, \"ends\": \"processes\"", 0, 0, 0 },
    { "blocking_spin_2us", 3, 4, SAMPLE, "\"bytes\": 128, \"spin_ns\": 2000, \"ends\": \"processes\"", 1.1, 0, 0 },
    { "blocking_spin_20us", 5, 6, SAMPLE, "\"bytes\": 128, \"spin_ns\": 20000, \"ends\": \"processes\"", 1.1, 0, 0 },
    { "blocking_spin_100us", 7, 8, SAMPLE, "\"bytes\": 128, \"spin_ns\": 100000, \"ends\": \"processes\"", 1.1, 0, 0 },
};
const struct bench_group bench_blocking = {
    .about = "A message and its answer between two processes that spin so long and then sleep; the answer comes at once.",
    .variants = { &spin_0, &floor_futex, &floor_futex_barrier, &spin_2us, &floor_futex_spin_2us, &spin_20us,
                  &floor_futex_spin_20us, &spin_100us, &floor_futex_spin_100us },
    .variant_count = 9, .rows = rows, .row_count = 5, .ends = 2, .sleeps = true,
};

/* ---------------------------------------------------------------- the answer takes longer than the spin */

static void late_peer(void *state, uint64_t operations)
{
    struct bench_ends *ends = state;
    ends->sum = 0;
    for (uint64_t number = 0; number < operations; number++) {
        bench_ends_receive(ends, 1);
        bench_think(BENCH_THINK_NS);
        bench_ends_send(ends, number, 1);
    }
    bench_payload_check(ends->name, ends->sum, operations);
}

static const struct bench_variant late = {
    .name = "round trip, the spin in vain", .open = open_late, .close = bench_ends_close, .join = bench_ends_join,
    .leave = bench_ends_leave, .lead = bench_ends_trips_lead, .peer = late_peer,
};

/* ---------------------------------------------------------------- both on one CPU */

static struct bench_one_cpu *meetings[2]; /* of the two variants: without and with a spin */

static void *open_one_cpu(void)
{
    meetings[0] = bench_one_cpu_open();
    return bench_ends_open("blocking-one-cpu", -1);
}

static void *open_one_cpu_spin(void)
{
    meetings[1] = bench_one_cpu_open();
    return bench_ends_open("blocking-one-cpu-spin", BENCH_SPIN_NS);
}

static struct bench_one_cpu **meeting_of(void *state)
{
    return &meetings[((struct bench_ends *)state)->spin_ns > 0];
}

static void one_cpu_close(void *state)
{
    bench_one_cpu_close(*meeting_of(state));
    bench_ends_close(state);
}

static void one_cpu_lead(void *state, uint64_t operations, struct bench_histogram *samples)
{
    bench_ends_trips_lead(state, operations, samples);
    bench_one_cpu_end(*meeting_of(state));
}

static void one_cpu_peer(void *state, uint64_t operations)
{
    bench_one_cpu_enter(*meeting_of(state));
    bench_ends_trips_peer(state, operations);
    bench_one_cpu_leave(*meeting_of(state));
}

static const struct bench_variant one_cpu = {
    .name = "round trip, one CPU", .open = open_one_cpu, .close = one_cpu_close, .join = bench_ends_join,
    .leave = bench_ends_leave, .lead = one_cpu_lead, .peer = one_cpu_peer,
};
static const struct bench_variant one_cpu_spin = {
    .name = "round trip, after 20 us, one CPU", .open = open_one_cpu_spin, .close = one_cpu_close, .join = bench_ends_join,
    .leave = bench_ends_leave, .lead = one_cpu_lead, .peer = one_cpu_peer,
};

static const struct bench_row late_rows[] = {
    { "blocking_late", 0, 1, SAMPLE, "\"bytes\": 128, \"spin_ns\": 20000, \"answer_ns\": 50000, \"ends\": \"processes\"",
      1.1, 0, 0 },
    { "blocking_one_cpu", 2, 3, SAMPLE, "\"bytes\": 128, \"spin_ns\": 0, \"ends\": \"processes on one CPU\"", 1.1, 0, 0 },
    { "blocking_one_cpu_spin_20us", 4, 5, SAMPLE, "\"bytes\": 128, \"spin_ns\": 20000, \"ends\": \"processes on one CPU\"",
      1.1, 0, 0 },
};
const struct bench_group bench_blocking_late = {
    .about = "A message and its answer between two processes whose spin is in vain: it takes 50 us, or needs the CPU.",
    .variants = { &late, &floor_futex_late, &one_cpu, &floor_futex_one_cpu, &one_cpu_spin, &floor_futex_one_cpu_spin },
    .variant_count = 6, .rows = late_rows, .row_count = 3, .ends = 2, .sleeps = true,
};
