/* SPDX-License-Identifier: MIT */
#include "numa/plan.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/error.h"

/* What a node has room for is worth an arena of its own if it is at least that part of what is wanted: magazines are bounded by
 * their arena, and those of a splinter would hold nothing. */
enum { SPLINTER_SHARE = 16 };

static const char *const policy_names[] = { "even", "memory", "explicit", "local", "near" };

const char *np_policy_name(uint32_t policy)
{
    return policy < sizeof policy_names / sizeof policy_names[0] ? policy_names[policy] : NULL;
}

int np_policy_named(const char *name)
{
    for (unsigned i = 0; i < sizeof policy_names / sizeof policy_names[0]; i++)
        if (strcmp(name, policy_names[i]) == 0)
            return (int)i;
    return -1;
}

bool np_device_name_is_good(const char *name)
{
    const char *last = strncmp(name, "/dev/", 5) == 0 ? name + 5 : name;
    size_t length = strlen(last);
    return length > 0 && strlen(name) < NP_DEVICE_BYTES && last[0] != '.' &&
           strspn(last, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._:@!-") == length;
}

/* ---------------------------------------------------------------- which nodes */

/* Whether nodes with CPUs and memory are what pools are made of: so it is unless there is none. */
static bool has_ordinary(const struct np_topology *topology)
{
    for (unsigned i = 0; i < topology->count; i++)
        if (np_topology_has_room(&topology->nodes[i]) && !np_topology_is_memory_only(&topology->nodes[i]))
            return true;
    return false;
}

static bool is_usable(const struct np_topology_node *node, bool ordinary)
{
    return np_topology_has_room(node) && !(ordinary && np_topology_is_memory_only(node));
}

/* Ascending by number. */
static unsigned usable_nodes(const struct np_topology *topology, const struct np_topology_node **nodes)
{
    const bool ordinary = has_ordinary(topology);
    unsigned count = 0;
    for (unsigned i = 0; i < topology->count && count < NP_NODES_MAX; i++)
        if (is_usable(&topology->nodes[i], ordinary))
            nodes[count++] = &topology->nodes[i];
    return count;
}

/* The same by distance. */
static unsigned usable_nodes_from(const struct np_topology *topology, int from, int *nodes)
{
    const bool ordinary = has_ordinary(topology);
    int all[NP_NODES_MAX];
    int there = np_topology_by_distance(topology, from, all, NP_NODES_MAX);
    unsigned count = 0;
    for (int i = 0; i < there && i < NP_NODES_MAX; i++) {
        const struct np_topology_node *node = np_topology_find(topology, all[i]);
        if (node && is_usable(node, ordinary))
            nodes[count++] = all[i];
    }
    return count;
}

static int no_node(const struct numapool_options *options)
{
    return np_error(-EINVAL, "pool '%s' can have slots on no node: none has memory that this process may use (cpuset.mems)", options->name);
}

/* ---------------------------------------------------------------- arenas */

static int add(struct np_plan *plan, const struct numapool_options *options, uint64_t slots, int node, unsigned tier, bool movable)
{
    if (slots == 0)
        return 0;
    if (plan->count == NP_ARENAS_MAX)
        return np_error(-EINVAL, "pool '%s' would have slots on more than %d nodes: say on which by node_slots, or make it local to one",
                        options->name, NP_ARENAS_MAX);
    if (slots > NP_SLOTS_MAX || slots > NP_ARENA_BYTES_MAX / np_arena_stride_of(options->slot_bytes, options->flags))
        return np_error(-EINVAL, "pool '%s': %llu slots of %llu bytes on node %d are too many: 2^32 - 1 slots, 64 TiB", options->name,
                        (unsigned long long)slots, (unsigned long long)options->slot_bytes, node);
    plan->arenas[plan->count++] = (struct np_plan_arena){ slots, node, tier, movable };
    return 0;
}

/* ---------------------------------------------------------------- policies */

static int place_evenly(struct np_plan *plan, const struct numapool_options *options, uint64_t slots,
                        const struct np_topology_node **nodes, unsigned count, unsigned tier)
{
    int result = 0;
    for (unsigned i = 0; i < count && result == 0; i++)
        result = add(plan, options, slots / count + (i < slots % count), nodes[i]->number, tier, false);
    return result;
}

/* Each gets its share rounded down; what is left goes, one each, to those that were rounded down by most. */
static int place_by_memory(struct np_plan *plan, const struct numapool_options *options, const struct np_topology_node **nodes,
                           unsigned count)
{
    unsigned __int128 memory = 0, rest[NP_NODES_MAX];
    uint64_t share[NP_NODES_MAX], left = options->slots;
    int result = 0;
    for (unsigned i = 0; i < count; i++)
        memory += nodes[i]->memory_bytes;
    for (unsigned i = 0; i < count; i++) {
        unsigned __int128 exactly = (unsigned __int128)options->slots * nodes[i]->memory_bytes;
        share[i] = (uint64_t)(exactly / memory); /* nodes that are usable have memory */
        rest[i] = exactly % memory;
        left -= share[i];
    }
    for (; left > 0; left--) {
        unsigned most = 0;
        for (unsigned i = 1; i < count; i++)
            if (rest[i] > rest[most])
                most = i;
        share[most]++;
        rest[most] = 0;
    }
    for (unsigned i = 0; i < count && result == 0; i++)
        result = add(plan, options, share[i], nodes[i]->number, 0, false);
    return result;
}

static int place_as_said(struct np_plan *plan, const struct numapool_options *options, const struct np_topology *topology)
{
    int result = 0;
    for (unsigned i = 0; i < options->nodes && result == 0; i++) {
        const struct np_topology_node *node = np_topology_find(topology, (int)i);
        if (options->node_slots[i] == 0)
            continue;
        if (!node || !np_topology_has_room(node))
            return np_error(-EINVAL, "pool '%s' cannot have slots on node %u: %s", options->name, i,
                            !node                     ? "there is no such node (numactl --hardware)"
                            : node->memory_bytes == 0 ? "it has no memory (numactl --hardware)"
                                                      : "this process may not use its memory (cpuset.mems)");
        result = add(plan, options, options->node_slots[i], (int)i, 0, false);
    }
    return result;
}

static void describe_overflow(struct np_plan *plan, uint64_t slots)
{
    uint64_t here = plan->arenas[0].node == plan->home ? plan->arenas[0].slots : 0;
    const unsigned first = here > 0;
    int used = snprintf(plan->note, sizeof plan->note, "node %d has room for %llu of %llu slots: ", plan->home, (unsigned long long)here,
                        (unsigned long long)slots);
    for (unsigned i = first; i < plan->count && used > 0 && (size_t)used < sizeof plan->note; i++)
        used += snprintf(plan->note + used, sizeof plan->note - (size_t)used, i == first ? "%llu are on node %d" : ", %llu on node %d",
                         (unsigned long long)plan->arenas[i].slots, plan->arenas[i].node);
}

/* On home as many as there is room for, the others on the nearest nodes that have some. */
static int place_near(struct np_plan *plan, const struct numapool_options *options, uint64_t slots, const struct np_plan_world *world)
{
    int nodes[NP_NODES_MAX], result = 0;
    const unsigned count = usable_nodes_from(world->topology, plan->home, nodes);
    uint64_t left = slots;
    if (count == 0)
        return no_node(options);
    if (options->flags & NUMAPOOL_STRICT) {
        if (nodes[0] != plan->home)
            return np_error(-EINVAL, "pool '%s' is to be on node %d and nowhere else (strict), where there is no memory that this process "
                            "may use (numactl --hardware, cpuset.mems)", options->name, plan->home);
        return add(plan, options, slots, plan->home, 0, false);
    }
    for (unsigned i = 0; i < count && left > 0 && result == 0 && plan->count < NP_ARENAS_MAX; i++) {
        uint64_t room = world->room_slots(options, nodes[i]);
        if (room < left && room < slots / SPLINTER_SHARE + 1)
            continue;
        uint64_t take = room < left ? room : left;
        result = add(plan, options, take, nodes[i], 0, true);
        left -= take;
    }
    if (result == 0 && left > 0) { /* nowhere enough, as far as can be foreseen: the making tries, and says what is wanting */
        plan->count = 0;
        return add(plan, options, slots, nodes[0], 0, true);
    }
    if (result == 0 && (plan->count > 1 || plan->arenas[0].node != plan->home))
        describe_overflow(plan, slots);
    return result;
}

static bool has_arena_on(const struct np_plan *plan, int node)
{
    for (unsigned i = 0; i < plan->count; i++)
        if (plan->arenas[i].node == node)
            return true;
    return false;
}

static int place_spill(struct np_plan *plan, const struct numapool_options *options, const struct np_topology *topology)
{
    const struct np_topology_node *nodes[NP_NODES_MAX];
    unsigned count = 0, there = 0;
    for (unsigned i = 0; i < topology->count; i++) {
        const struct np_topology_node *node = &topology->nodes[i];
        if (!np_topology_has_room(node) || !np_topology_is_memory_only(node))
            continue;
        there++;
        if (!has_arena_on(plan, node->number))
            nodes[count++] = node;
    }
    if (count == 0)
        return np_error(-EINVAL, "pool '%s' cannot spill: %s", options->name,
                        there == 0 ? "no node has memory but no CPU, or it may not be used (numactl --hardware, cpuset.mems)"
                                   : "it has other slots on each memory-only node already");
    return place_evenly(plan, options, options->spill_slots, nodes, count, 1);
}

static int near_which(const struct numapool_options *options, const struct np_plan_world *world)
{
    const struct np_topology_node *nodes[NP_NODES_MAX];
    if (options->policy == NUMAPOOL_LOCAL)
        return world->own_node;
    if (world->device_node >= 0)
        return world->device_node;
    if (usable_nodes(world->topology, nodes) == 1)
        return nodes[0]->number;
    return np_error(-ENXIO, "pool '%s' is to be near '%s', and the machine does not say on which node that is: name the node by node_slots",
                    options->name, options->device);
}

int np_plan_pool(struct np_plan *plan, const struct numapool_options *options, const struct np_plan_world *world)
{
    const struct np_topology_node *nodes[NP_NODES_MAX];
    const unsigned count = usable_nodes(world->topology, nodes);
    int result;
    memset(plan, 0, sizeof *plan);
    plan->home = -1;
    switch ((enum numapool_policy)options->policy) {
    case NUMAPOOL_EVEN:
    case NUMAPOOL_BY_MEMORY:
    default:
        result = count == 0                                ? no_node(options)
                 : options->policy == NUMAPOOL_BY_MEMORY ? place_by_memory(plan, options, nodes, count)
                                                           : place_evenly(plan, options, options->slots, nodes, count, 0);
        break;
    case NUMAPOOL_EXPLICIT:
        result = place_as_said(plan, options, world->topology);
        break;
    case NUMAPOOL_LOCAL:
    case NUMAPOOL_NEAR_DEVICE:
        plan->home = near_which(options, world);
        result = plan->home < 0 ? plan->home : place_near(plan, options, options->slots, world);
        break;
    }
    if (result == 0 && plan->count == 0)
        result = np_error(-EINVAL, "pool '%s': there is no node that it could have slots on", options->name);
    if (result == 0 && options->spill_slots > 0)
        result = place_spill(plan, options, world->topology);
    return result;
}

/* ---------------------------------------------------------------- growth */

static uint64_t slots_on(const struct np_plan *had, int node)
{
    uint64_t slots = 0;
    for (unsigned i = 0; i < had->count; i++)
        slots += had->arenas[i].node == node ? had->arenas[i].slots : 0;
    return slots;
}

static bool has_ordinary_slots_on(const struct np_plan *had, int node)
{
    for (unsigned i = 0; i < had->count; i++)
        if (had->arenas[i].node == node && had->arenas[i].tier == 0)
            return true;
    return false;
}

/* Where it has fewest, for the node's memory where that is the policy; of those alike the first. -1: there is none. */
static int neediest(const struct numapool_options *options, const struct np_plan *had, const struct np_topology *topology)
{
    const struct np_topology_node *found = NULL;
    const bool ordinary = has_ordinary(topology), weighed = options->policy == NUMAPOOL_BY_MEMORY;
    for (unsigned i = 0; i < topology->count; i++) {
        const struct np_topology_node *node = &topology->nodes[i];
        if (options->policy == NUMAPOOL_EXPLICIT ? !np_topology_has_room(node) || !has_ordinary_slots_on(had, node->number)
                                                 : !is_usable(node, ordinary))
            continue;
        unsigned __int128 here = slots_on(had, node->number), there = found ? slots_on(had, found->number) : 0;
        if (!found || here * (weighed ? found->memory_bytes : 1) < there * (weighed ? node->memory_bytes : 1))
            found = node;
    }
    return found ? found->number : -1;
}

int np_plan_growth(struct np_plan *plan, const struct numapool_options *options, const struct np_plan *had, int node, uint64_t slots,
                   const struct np_plan_world *world)
{
    const struct np_topology *topology = world->topology;
    memset(plan, 0, sizeof *plan);
    plan->home = -1;
    if (node == NUMAPOOL_ANY_NODE && (options->policy == NUMAPOOL_LOCAL || options->policy == NUMAPOOL_NEAR_DEVICE)) {
        int nodes[NP_NODES_MAX];
        plan->home = had->home;
        const unsigned count = usable_nodes_from(topology, had->home, nodes);
        const bool strict = (options->flags & NUMAPOOL_STRICT) != 0;
        /* A piece of memory is one arena: the first node that has room for all of it. */
        for (unsigned i = 0; !strict && i < count; i++)
            if (world->room_slots(options, nodes[i]) >= slots) {
                if (nodes[i] != had->home)
                    snprintf(plan->note, sizeof plan->note, "node %d has no room for %llu slots more: they are on node %d", had->home,
                             (unsigned long long)slots, nodes[i]);
                return add(plan, options, slots, nodes[i], 0, true);
            }
        return add(plan, options, slots, had->home, 0, !strict);
    }
    if (node == NUMAPOOL_ANY_NODE && (node = neediest(options, had, topology)) < 0)
        return options->policy == NUMAPOOL_EXPLICIT
                   ? np_error(-EINVAL, "pool '%s' has slots on no node that is still there and may be used: say on which it is to grow",
                              options->name)
                   : no_node(options);
    const struct np_topology_node *there = np_topology_find(topology, node);
    if (!there || !np_topology_has_room(there))
        return np_error(-EINVAL, "pool '%s' cannot have slots on node %d: it is not there, has no memory, or is not allowed (numactl --hardware, "
                        "cpuset.mems)", options->name, node);
    /* Slower memory is what is spilled to, unless it was asked for like other memory or may not be. */
    bool spilled_to = np_topology_is_memory_only(there) && has_ordinary(topology) && !has_ordinary_slots_on(had, node) &&
                      options->policy != NUMAPOOL_EXPLICIT && !(options->flags & NUMAPOOL_STRICT);
    return add(plan, options, slots, node, spilled_to, false);
}

/* ---------------------------------------------------------------- when it has no room after all */

int np_plan_node_to_try(const struct np_topology *topology, const struct np_plan *plan, unsigned arena, unsigned attempt)
{
    int nodes[NP_NODES_MAX];
    const int planned = plan->arenas[arena].node;
    if (attempt == 0)
        return planned;
    if (!plan->arenas[arena].movable)
        return -1;
    const unsigned count = usable_nodes_from(topology, plan->home, nodes);
    for (unsigned i = 0; i < count; i++)
        if (nodes[i] != planned && --attempt == 0)
            return nodes[i];
    return -1;
}
