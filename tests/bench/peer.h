/* SPDX-License-Identifier: MIT
 *
 * The other process of a pair.
 */
#ifndef NP_BENCH_PEER_H
#define NP_BENCH_PEER_H

#include "bench.h"

struct bench_peer;

struct bench_lap {
    double ns;       /* an operation, from the common start until both ends are done */
    double idle;     /* share of the time that one of them was off its CPU, the worse of the two */
};

/* Forks it; its variants are joined here and there when this returns. */
struct bench_peer *bench_peer_start(const struct bench_variant *const *variants, unsigned variant_count, void *const *states,
                                    const struct bench_options *options);
/* Runs `operations` of a variant between the two. */
struct bench_lap bench_peer_run(struct bench_peer *peer, unsigned variant, uint64_t operations, struct bench_histogram *samples);
/* Both leave; the peer ends. */
void bench_peer_stop(struct bench_peer *peer);

#endif
