/* SPDX-License-Identifier: MIT
 * What a pool is asked to be, checked; and where its slots go on this machine. The same for a pool inside a process, of the daemon's
 * configuration and of its admins. */
#ifndef NP_BROKER_OPTIONS_H
#define NP_BROKER_OPTIONS_H

#include "numa/plan.h"
#include "numapool.h"

/* Copies the caller's options over the defaults and checks them; -EINVAL, -E2BIG with the sentence. EVEN with node_slots becomes
 * EXPLICIT. */
int np_pool_options(struct numapool_options *known, const struct numapool_options *given);

/* Where its slots go, by np_topology(); own_node: of who makes it. Options have been checked. 0 or -errno with the sentence. */
int np_pool_plan(struct np_plan *plan, const struct numapool_options *options, int own_node);

/* One arena more for a pool that has `had`, as np_plan_growth. slots have been checked to be 1 or more. */
int np_pool_plan_growth(struct np_plan *plan, const struct numapool_options *options, const struct np_plan *had, int node, uint64_t slots);

/* How many slots more of such a pool fit on a node: by its free memory, what the control groups leave, and the huge pages asked for. */
uint64_t np_pool_room_slots(const struct numapool_options *options, int node);

#endif
