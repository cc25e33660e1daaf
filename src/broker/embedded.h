/* SPDX-License-Identifier: MIT */
#ifndef NP_BROKER_EMBEDDED_H
#define NP_BROKER_EMBEDDED_H

#include "numapool.h"

/* Copies the caller's options over the defaults and checks them; -EINVAL, -E2BIG with the sentence. */
int np_pool_options(struct numapool_options *known, const struct numapool_options *given);

/* Slots of each arena and its node; how many arenas, or -errno. Options have been checked. */
int np_pool_plan(const struct numapool_options *options, uint64_t slots[], int nodes[]);

/* An embedded pool with the arenas as planned: slots[i] on nodes[i]. Several may be on one node (tests of home return). */
int np_embedded_create(struct numapool_pool **result_pool, const struct numapool_options *options, const uint64_t *slots,
                       const int *nodes, unsigned count);

#endif
