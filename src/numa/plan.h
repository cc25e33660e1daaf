/* SPDX-License-Identifier: MIT
 *
 * Where a pool's slots go: its policy and the nodes there are make a list of arenas. Arithmetic alone: what the machine is like, and how
 * much its nodes have room for, is told by who asks.
 *
 * Invariants of a plan: its arenas' slots add up to what was asked for; no arena is empty; none is on a node that may not be used;
 * two are on the same node in a growth alone; those of tier 1 are on memory-only nodes and come last.
 */
#ifndef NP_NUMA_PLAN_H
#define NP_NUMA_PLAN_H

#include <stdbool.h>
#include <stdint.h>

#include "core/arena.h"
#include "numa/topology.h"
#include "numapool.h"

enum { NP_PLAN_NOTE_BYTES = 240, NP_DEVICE_BYTES = 64 };

struct np_plan_arena {
    uint64_t slots;
    int node;
    unsigned tier; /* 1: on a memory-only node, to be spilled to */
    bool movable;  /* where its node turns out to have no room for it, another will do: np_plan_node_to_try */
};

struct np_plan {
    unsigned count;
    int home; /* LOCAL, NEAR_DEVICE: the node that all of it is wanted on; else -1 */
    struct np_plan_arena arenas[NP_ARENAS_MAX];
    char note[NP_PLAN_NOTE_BYTES]; /* what is not where it was wanted, and why; "": all is */
};

struct np_plan_world {
    const struct np_topology *topology;
    int own_node;    /* of who makes the pool */
    int device_node; /* NEAR_DEVICE: of the device; -1: the machine does not say */
    /* How many slots of such a pool the node has room for. */
    uint64_t (*room_slots)(const struct numapool_options *options, int node);
};

/* A new pool. `options` have been checked (np_pool_options). 0; -EINVAL: no node will do, or one that was named will not, or more
 * arenas or slots than there can be; -ENXIO: near which node is not known. With the sentence. */
int np_plan_pool(struct np_plan *plan, const struct numapool_options *options, const struct np_plan_world *world);

/* One arena more of `slots` for a pool that has `had`, of which home is what np_plan_pool said: on `node`, or by the pool's policy
 * (NUMAPOOL_ANY_NODE): EVEN, EXPLICIT: where it has fewest (EXPLICIT: of its own nodes); BY_MEMORY: where it has fewest for the node's
 * memory; else as home says. options: name, slot_bytes, flags and policy of the pool. 0 or -EINVAL. */
int np_plan_growth(struct np_plan *plan, const struct numapool_options *options, const struct np_plan *had, int node, uint64_t slots,
                   const struct np_plan_world *world);

/* For an arena that is movable: where to try to make it, first where it was planned, then on the nearest nodes by distance from
 * plan->home. attempt: 0, 1, ...; -1: there are no more. */
int np_plan_node_to_try(const struct np_topology *topology, const struct np_plan *plan, unsigned arena, unsigned attempt);

/* "even", "memory", "explicit", "local", "near"; NULL: no such policy. */
const char *np_policy_name(uint32_t policy);
/* Of enum numapool_policy, or -1. */
int np_policy_named(const char *name);

/* Whether the text can be a device's name: 1 to 63 letters, digits and "._:@!-", maybe behind "/dev/": none that leads elsewhere in
 * sysfs, and none that has to be quoted anywhere. */
bool np_device_name_is_good(const char *name);

#endif
