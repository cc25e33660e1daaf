/* SPDX-License-Identifier: MIT
 *
 * Every group and special, by the file that has it.
 */
#ifndef NP_BENCH_GROUPS_H
#define NP_BENCH_GROUPS_H

#include "bench.h"

/* local.c */
extern const struct bench_group bench_get_put, bench_bulk, bench_thousand;
/* refill.c */
extern const struct bench_group bench_refill;
/* hand_over.c */
extern const struct bench_group bench_hand_over, bench_hand_over_malloc;
/* shared.c */
extern const struct bench_group bench_shared_1, bench_shared_2, bench_shared_3, bench_shared_4;
/* steal.c */
extern const struct bench_group bench_steal_alone, bench_steal;
/* tail.c */
extern const struct bench_group bench_tail;
extern const struct bench_special bench_gaps;
/* messages.c */
extern const struct bench_group bench_round_trip, bench_round_trip_sizes, bench_round_trip_light;
/* one_way.c */
extern const struct bench_group bench_one_way, bench_one_way_16, bench_one_way_1024, bench_one_way_4096, bench_one_way_untouched,
    bench_one_way_small;
/* fan.c */
extern const struct bench_group bench_fan_in_2, bench_fan_in_4, bench_fan_out_2, bench_fan_out_4;
/* hand_over_lane.c */
extern const struct bench_group bench_hand_over_processes;
/* forwarding.c */
extern const struct bench_group bench_forwarding;
/* blocking.c */
extern const struct bench_group bench_blocking, bench_blocking_late;
/* blocking_set.c */
extern const struct bench_group bench_blocking_set;
/* payments.c */
extern const struct bench_special bench_payments;
/* footprint.c */
extern const struct bench_special bench_metadata, bench_metadata_daemon, bench_metadata_four_clients;
/* creation.c */
extern const struct bench_group bench_creation, bench_creation_16m;
/* attach.c */
extern const struct bench_group bench_attach_prefault, bench_attach_prefault_16m;
extern const struct bench_special bench_attach_1m, bench_attach_16m;
/* scavenging.c */
extern const struct bench_special bench_scavenge_all, bench_scavenge_one;

#endif
