/* SPDX-License-Identifier: MIT
 *
 * Round trips between two processes that sleep: at once, or after the spin that is the default of a channel.
 */
#include "groups.h"
#include "ends.h"
#include "floor/futex.h"

static void *open_no_spin(void)
{
    return bench_ends_open("blocking", -1);
}

static void *open_spin(void)
{
    return bench_ends_open("blocking-spin", BENCH_SPIN_NS);
}

static const struct bench_variant no_spin = {
    .name = "blocking round trip", .open = open_no_spin, .close = bench_ends_close, .join = bench_ends_join,
    .leave = bench_ends_leave, .lead = bench_ends_trips_lead, .peer = bench_ends_trips_peer,
};
static const struct bench_variant spin = {
    .name = "blocking round trip after a spin", .open = open_spin, .close = bench_ends_close, .join = bench_ends_join,
    .leave = bench_ends_leave, .lead = bench_ends_trips_lead, .peer = bench_ends_trips_peer,
};

static const struct bench_row rows[] = {
    { "blocking_no_spin", 0, 1, "one round trip of 64", "\"bytes\": 128, \"spin_ns\": 0, \"ends\": \"processes\"", 1.1, 0, 0 },
    { "blocking_spin", 2, 3, "one round trip of 64", "\"bytes\": 128, \"spin_ns\": 20000, \"ends\": \"processes\"", 1.1, 0, 0 },
};
const struct bench_group bench_blocking = {
    .variants = { &no_spin, &floor_futex, &spin, &floor_futex_spin }, .variant_count = 4, .rows = rows, .row_count = 2,
    .ends = 2, .sleeps = true,
};
