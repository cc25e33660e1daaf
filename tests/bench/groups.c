/* SPDX-License-Identifier: MIT
 *
 * The groups and specials, in the order of the report.
 */
#include "groups.h"

const struct bench_group *const bench_groups[] = {
    &bench_get_put,
    &bench_bulk,
    &bench_thousand,
    &bench_tail,
    &bench_refill,
    &bench_hand_over,
    &bench_hand_over_malloc,
    &bench_shared_1,
    &bench_shared_2,
    &bench_shared_3,
    &bench_shared_4,
    &bench_steal_alone,
    &bench_steal,
    &bench_round_trip,
    &bench_round_trip_sizes,
    &bench_round_trip_light,
    &bench_one_way,
    &bench_one_way_16,
    &bench_one_way_1024,
    &bench_one_way_4096,
    &bench_one_way_untouched,
    &bench_one_way_small,
    &bench_hand_over_processes,
    &bench_fan_in_2,
    &bench_fan_in_4,
    &bench_fan_out_2,
    &bench_fan_out_4,
    &bench_forwarding,
    &bench_blocking,
    &bench_blocking_late,
    &bench_blocking_set,
    &bench_creation,
    &bench_creation_16m,
    &bench_attach_prefault,
    &bench_attach_prefault_16m,
};
const unsigned bench_group_count = sizeof bench_groups / sizeof *bench_groups;

const struct bench_special *const bench_specials[] = {
    &bench_attach_1m,
    &bench_attach_16m,
    &bench_scavenge_all,
    &bench_scavenge_one,
    &bench_payments,
    &bench_metadata,
    &bench_metadata_daemon,
    &bench_metadata_four_clients,
    &bench_gaps,
};
const unsigned bench_special_count = sizeof bench_specials / sizeof *bench_specials;
