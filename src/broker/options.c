/* SPDX-License-Identifier: MIT */
#include "broker/options.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

#include "core/error.h"
#include "numa/budget.h"
#include "numa/imagined.h"
#include "numa/pages.h"
#include "numa/system_files.h"

#define HUGE_1G_BYTES ((size_t)1 << 30)

/* ---------------------------------------------------------------- options */

static int check_name(const char *name)
{
    size_t length = name ? strlen(name) : 0;
    if (length == 0 || length >= NUMAPOOL_NAME_BYTES ||
        strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") != length)
        return np_error(-EINVAL, "'%.60s' cannot be a pool's name: 1 to %u letters, digits, '.', '_' or '-'", name ? name : "",
                        NUMAPOOL_NAME_BYTES - 1);
    return 0;
}

/* Flags that exclude each other. */
static int check_checks(const struct numapool_options *options)
{
    const uint64_t flags = options->flags;
    if ((flags & (NUMAPOOL_CHECKS | NUMAPOOL_MALLOC)) == (NUMAPOOL_CHECKS | NUMAPOOL_MALLOC))
        return np_error(-EINVAL, "pool '%s': NUMAPOOL_CHECKS and NUMAPOOL_MALLOC exclude each other: either the library checks its slots, "
                        "or the checker of the heap does", options->name);
    if (flags & NUMAPOOL_CHECK_SITES && !(flags & NUMAPOOL_CHECKS))
        return np_error(-EINVAL, "pool '%s': NUMAPOOL_CHECK_SITES says where misuse came from, which NUMAPOOL_CHECKS finds: give both",
                        options->name);
    if (flags & NUMAPOOL_MALLOC && flags & (NUMAPOOL_HUGE_1G | NUMAPOOL_HUGE_2M | NUMAPOOL_HUGE_THP))
        return np_error(-EINVAL, "pool '%s': blocks of malloc lie on whatever pages malloc has: NUMAPOOL_MALLOC excludes huge ones",
                        options->name);
    if (np_arena_stride_of(options->slot_bytes, flags) > NP_STRIDE_MAX)
        return np_error(-EINVAL, "pool '%s': slots of %llu bytes leave no room for a guard behind them: with NUMAPOOL_CHECKS 64 bytes less "
                        "than without can be had", options->name, (unsigned long long)options->slot_bytes);
    return 0;
}

/* What says where the slots are to be. */
static int check_placement(struct numapool_options *known)
{
    if (known->policy > NUMAPOOL_NEAR_DEVICE)
        return np_error(-EINVAL, "pool '%s': policy %u is not known here: %u is the last (enum numapool_policy)", known->name, known->policy,
                        NUMAPOOL_NEAR_DEVICE);
    if (known->policy == NUMAPOOL_EVEN && known->node_slots)
        known->policy = NUMAPOOL_EXPLICIT;
    if ((known->policy == NUMAPOOL_EXPLICIT) != (known->node_slots != NULL))
        return np_error(-EINVAL, known->node_slots ? "pool '%s': node_slots says how many slots are on each node, and another policy says so too: "
                                                     "leave one out"
                                                   : "pool '%s': NUMAPOOL_EXPLICIT wants to be told how many slots are on each node: node_slots",
                        known->name);
    if ((known->policy == NUMAPOOL_NEAR_DEVICE) != (known->device != NULL))
        return np_error(-EINVAL, known->device ? "pool '%s': a device is named, and it is not to be near one: NUMAPOOL_NEAR_DEVICE"
                                               : "pool '%s': NUMAPOOL_NEAR_DEVICE wants to be told near which: device", known->name);
    if (known->device && !np_device_name_is_good(known->device))
        return np_error(-EINVAL, "pool '%s': '%.80s' cannot be a device's name: a network interface, an nvme or block device, or a PCI address "
                        "(eth0, nvme0n1, 0000:3b:00.0)", known->name, known->device);
    if (known->spill_slots > 0 && known->flags & NUMAPOOL_STRICT)
        return np_error(-EINVAL, "pool '%s': a strict pool takes no slot from another node, and so cannot spill: give up one of both",
                        known->name);
    return 0;
}

int np_pool_options(struct numapool_options *known, const struct numapool_options *given)
{
    static const struct numapool_options defaults = NUMAPOOL_OPTIONS_INIT;
    const uint64_t flags = NUMAPOOL_HUGE_1G | NUMAPOOL_HUGE_2M | NUMAPOOL_HUGE_THP | NUMAPOOL_PAGES_FALLBACK | NUMAPOOL_PREFAULT |
                           NUMAPOOL_EXACT_COUNTS |
                           NUMAPOOL_CHECKS | NUMAPOOL_CHECK_SITES | NUMAPOOL_MALLOC | NUMAPOOL_STRICT;
    *known = defaults;
    if (!given || given->size < offsetof(struct numapool_options, magazine_slots))
        return np_error(-EINVAL, "pool options: size is %zu; begin with NUMAPOOL_OPTIONS_INIT", given ? given->size : 0);
    for (size_t i = sizeof *known; i < given->size; i++)
        if (((const char *)given)[i] != 0)
            return np_error(-E2BIG, "pool options: byte %zu is set, which this library does not know: it is older than the program", i);
    memcpy(known, given, given->size < sizeof *known ? given->size : sizeof *known);
    int result = check_name(known->name);
    if (result < 0)
        return result;
    if (known->slot_bytes < 1 || known->slot_bytes > NP_STRIDE_MAX)
        return np_error(-EINVAL, "pool '%s': slot_bytes is %llu; 1 to %llu can be had", known->name,
                        (unsigned long long)known->slot_bytes, (unsigned long long)NP_STRIDE_MAX);
    if (known->node_slots ? known->nodes < 1 || known->nodes > NP_ARENAS_MAX : known->slots < 1)
        return np_error(-EINVAL, "pool '%s': slots is %llu and node_slots has %u nodes: say how many slots", known->name,
                        (unsigned long long)known->slots, known->nodes);
    if ((known->flags & ~flags) != 0)
        return np_error(-EINVAL, "pool '%s': flags %llx has a bit that is not known here", known->name, (unsigned long long)known->flags);
    result = check_placement(known);
    return result < 0 ? result : check_checks(known);
}

/* ---------------------------------------------------------------- what nodes have room for */

enum { ASIDE_BYTES = 4 << 20 /* of an arena, for its headers and the rounding to huge pages */ };

/* Room in huge pages of that size, which are kept apart from other memory. */
static uint64_t huge_slots(uint64_t stride, int node, size_t page_bytes)
{
    uint64_t bytes = np_budget_huge_pages(NP_SYSTEM_ROOT, np_node_physical(node), page_bytes) * page_bytes, imagined = np_imagined_bytes(node);
    return (bytes < imagined ? bytes : imagined) / stride;
}

uint64_t np_pool_room_slots(const struct numapool_options *options, int node)
{
    char file[PATH_MAX];
    const uint64_t stride = np_arena_stride_of(options->slot_bytes, options->flags), many = UINT64_C(1) << 20;
    const uint64_t words_each = np_arena_meta_bytes(many, 1, options->flags) / many + 1;
    const int physical = np_node_physical(node);
    const uint64_t imagined = np_imagined_bytes(node);
    uint64_t bytes = np_budget_node_bytes(NP_SYSTEM_ROOT, physical), limit = np_budget_cgroup_bytes(NP_SYSTEM_ROOT, file, sizeof file);
    bytes = bytes < limit ? bytes : limit;
    bytes = bytes < imagined ? bytes : imagined;
    bytes -= bytes / 128; /* for page tables and file indexes, as np_budget_check reckons */
    bytes = bytes > ASIDE_BYTES ? bytes - ASIDE_BYTES : 0;
    if (options->flags & NUMAPOOL_MALLOC)
        return bytes / words_each;
    uint64_t small = bytes / (stride + words_each), words = bytes / words_each;
    uint64_t huge = huge_slots(stride, node, options->flags & NUMAPOOL_HUGE_1G ? HUGE_1G_BYTES : NP_HUGE_PAGE_BYTES);
    huge = huge < words ? huge : words;
    if (options->flags & (NUMAPOOL_HUGE_2M | NUMAPOOL_HUGE_1G) && !(options->flags & NUMAPOOL_PAGES_FALLBACK))
        return huge;
    return options->flags & NUMAPOOL_HUGE_THP || small > huge ? small : huge;
}

/* ---------------------------------------------------------------- the plan */

static int world_now(struct np_plan_world *world, int own_node)
{
    *world = (struct np_plan_world){ .topology = np_topology(), .own_node = own_node, .device_node = -1, .room_slots = np_pool_room_slots };
    return world->topology ? 0 : np_error_within(-ENODEV, "cannot find out which nodes there are");
}

int np_pool_plan(struct np_plan *plan, const struct numapool_options *options, int own_node)
{
    struct np_plan_world world;
    int result = world_now(&world, own_node);
    if (result == 0 && options->policy == NUMAPOOL_NEAR_DEVICE) {
        world.device_node = np_topology_device_node(NP_SYSTEM_ROOT, options->device);
        if (world.device_node < 0 && world.device_node != -ENXIO)
            return np_error_within(world.device_node, "pool '%s'", options->name);
        if (world.device_node < 0)
            world.device_node = -1; /* one node that may be used is near enough */
    }
    return result < 0 ? result : np_plan_pool(plan, options, &world);
}

int np_pool_plan_growth(struct np_plan *plan, const struct numapool_options *options, const struct np_plan *had, int node, uint64_t slots)
{
    struct np_plan_world world;
    int result = world_now(&world, -1);
    return result < 0 ? result : np_plan_growth(plan, options, had, node, slots, &world);
}

