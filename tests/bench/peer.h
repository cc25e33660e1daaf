/* SPDX-License-Identifier: MIT
 *
 * The other ends of a group: processes, or threads of this one.
 */
#ifndef NP_BENCH_PEER_H
#define NP_BENCH_PEER_H

#include "bench.h"

struct bench_peers;

struct bench_lap {
    double ns;                    /* an operation, from the common start until all ends are done */
    double idle;                  /* share of the time that a CPU ran none of the ends, the worse of the two CPUs */
    double cpu_ns[BENCH_ENDS_MAX]; /* CPU time of each end, for an operation */
};

/* Starts ends 1 and up of a group; the variants (the group's, or more of two ends) are joined everywhere when this returns. */
struct bench_peers *bench_peers_start(const struct bench_group *group, const struct bench_variant *const *variants,
                                      unsigned variant_count, void *const *states, const struct bench_options *options);
/* Runs `operations` of a variant between the ends. One without `end` is run by the first two alone. */
struct bench_lap bench_peers_run(struct bench_peers *peers, unsigned variant, uint64_t operations,
                                 struct bench_histogram *samples);
/* All leave; the others end. */
void bench_peers_stop(struct bench_peers *peers);

#endif
