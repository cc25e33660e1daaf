/* SPDX-License-Identifier: MIT */
#ifndef NP_BROKER_EMBEDDED_H
#define NP_BROKER_EMBEDDED_H

#include "broker/options.h"
#include "numapool.h"

/* An embedded pool with the arenas as planned: slots[i] on nodes[i]. Several may be on one node (tests of home return). */
int np_embedded_create(struct numapool_pool **result_pool, const struct numapool_options *options, const uint64_t *slots,
                       const int *nodes, unsigned count);

#endif
