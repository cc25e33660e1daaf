/* SPDX-License-Identifier: MIT
 * Where a pool's slots go, on machines that are made by hand. */
#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "pool_help.h"
#include "numa/plan.h"

#define GIB (UINT64_C(1) << 30)

enum { MAX = 80 };

static struct np_topology machine;
static struct np_topology_node nodes[MAX];
static uint8_t distances[MAX * MAX];
static uint64_t room[NP_NODES_MAX]; /* slots, by number */
static struct np_plan plan;

static uint64_t room_slots(const struct numapool_options *options, int node)
{
    (void)options;
    return room[node];
}

static struct np_plan_world world_of(int own_node)
{
    return (struct np_plan_world){ .topology = &machine, .own_node = own_node, .device_node = -1, .room_slots = room_slots };
}

static void no_machine(void)
{
    memset(&machine, 0, sizeof machine);
    memset(nodes, 0, sizeof nodes);
    machine.nodes = nodes;
    machine.distances = distances;
    for (unsigned i = 0; i < NP_NODES_MAX; i++)
        room[i] = UINT64_MAX;
}

static void add_node(int number, unsigned cpus, uint64_t memory_bytes)
{
    nodes[machine.count++] = (struct np_topology_node){ .number = number, .cpus = cpus, .memory_bytes = memory_bytes, .memory_allowed = true,
                                                        .cpus_allowed = true };
    for (unsigned i = 0; i < machine.count; i++)
        for (unsigned k = 0; k < machine.count; k++)
            distances[i * machine.count + k] = i == k ? 10 : 20;
}

static void set_distance(unsigned from_place, unsigned to_place, uint8_t distance)
{
    distances[from_place * machine.count + to_place] = distances[to_place * machine.count + from_place] = distance;
}

static void two_and_slow(void)
{
    no_machine();
    add_node(0, 4, 4 * GIB);
    add_node(1, 4, 4 * GIB);
    add_node(2, 0, 16 * GIB);
}

static struct numapool_options order(uint32_t policy, uint64_t slots)
{
    struct numapool_options options = NUMAPOOL_OPTIONS_INIT;
    options.name = "pay";
    options.slot_bytes = 128;
    options.slots = slots;
    options.policy = policy;
    return options;
}

static int planned(const struct numapool_options *options, int own_node)
{
    struct np_plan_world world = world_of(own_node);
    np_error_static(0, "");
    return np_plan_pool(&plan, options, &world);
}

static uint64_t sum(void)
{
    uint64_t slots = 0;
    for (unsigned i = 0; i < plan.count; i++) {
        ck_assert_uint_gt(plan.arenas[i].slots, 0);
        slots += plan.arenas[i].slots;
    }
    return slots;
}

static void assert_arena(unsigned i, int node, uint64_t slots, unsigned tier)
{
    ck_assert_uint_lt(i, plan.count);
    ck_assert_int_eq(plan.arenas[i].node, node);
    ck_assert_uint_eq(plan.arenas[i].slots, slots);
    ck_assert_uint_eq(plan.arenas[i].tier, tier);
}

static void assert_refused(int result, int code, const char *part)
{
    ck_assert_int_eq(result, code);
    ck_assert_msg(strstr(np_error_sentence(), part) != NULL, "\"%s\" lacks \"%s\"", np_error_sentence(), part);
}

/* ---------------------------------------------------------------- even, by memory, explicit */

START_TEST(even_is_the_same_on_each_ordinary_node_and_the_remainder_on_the_first)
{
    struct numapool_options options = order(NUMAPOOL_EVEN, 101);
    two_and_slow();
    ck_assert_int_eq(planned(&options, 1), 0);
    ck_assert_uint_eq(plan.count, 2);
    assert_arena(0, 0, 51, 0);
    assert_arena(1, 1, 50, 0);
    ck_assert(!plan.arenas[0].movable && plan.home == -1 && plan.note[0] == '\0');
}
END_TEST

START_TEST(nodes_without_memory_or_not_allowed_have_none)
{
    struct numapool_options options = order(NUMAPOOL_EVEN, 100);
    no_machine();
    add_node(0, 4, 0);
    add_node(3, 4, GIB);
    add_node(5, 4, GIB);
    nodes[2].memory_allowed = false;
    ck_assert_int_eq(planned(&options, 0), 0);
    ck_assert_uint_eq(plan.count, 1);
    assert_arena(0, 3, 100, 0);
    nodes[1].memory_allowed = false;
    assert_refused(planned(&options, 0), -EINVAL, "cpuset.mems");
}
END_TEST

START_TEST(memory_only_nodes_are_used_where_there_are_no_others)
{
    struct numapool_options options = order(NUMAPOOL_EVEN, 9);
    no_machine();
    add_node(0, 4, 0);
    add_node(1, 0, GIB);
    add_node(2, 0, GIB);
    ck_assert_int_eq(planned(&options, 0), 0);
    ck_assert_uint_eq(plan.count, 2);
    assert_arena(0, 1, 5, 0);
    assert_arena(1, 2, 4, 0);
    options.policy = NUMAPOOL_LOCAL;
    ck_assert_int_eq(planned(&options, 0), 0);
    assert_arena(0, 1, 9, 0);
}
END_TEST

START_TEST(fewer_slots_than_nodes_leave_nodes_out)
{
    struct numapool_options options = order(NUMAPOOL_EVEN, 1);
    two_and_slow();
    ck_assert_int_eq(planned(&options, 0), 0);
    ck_assert_uint_eq(plan.count, 1);
    assert_arena(0, 0, 1, 0);
}
END_TEST

START_TEST(sixty_four_nodes_can_be_had_and_one_more_is_refused)
{
    struct numapool_options options = order(NUMAPOOL_EVEN, 1000);
    no_machine();
    for (int i = 0; i < 64; i++)
        add_node(2 * i, 1, GIB);
    ck_assert_int_eq(planned(&options, 0), 0);
    ck_assert_uint_eq(plan.count, 64);
    ck_assert_uint_eq(sum(), 1000);
    assert_arena(63, 126, 15, 0);
    add_node(200, 1, GIB);
    assert_refused(planned(&options, 0), -EINVAL, "64 nodes");
}
END_TEST

/* Sums, shares and order on a thousand machines: the seed is in the message. */
START_TEST(by_memory_is_in_proportion_and_loses_no_slot)
{
    for (unsigned seed = 1; seed <= 1000; seed++) {
        unsigned state = seed;
        unsigned __int128 memory = 0;
        no_machine();
        for (int i = 0, count = 1 + rand_r(&state) % 64; i < count; i++) {
            add_node(i, 1, 1 + (uint64_t)rand_r(&state) * (unsigned)rand_r(&state));
            memory += nodes[i].memory_bytes;
        }
        struct numapool_options options = order(NUMAPOOL_BY_MEMORY, 1 + (uint64_t)(rand_r(&state) % 1000000));
        ck_assert_msg(planned(&options, 0) == 0, "seed %u: %s", seed, np_error_sentence());
        ck_assert_msg(sum() == options.slots, "seed %u: %llu of %llu", seed, (unsigned long long)sum(), (unsigned long long)options.slots);
        uint64_t given[64] = { 0 };
        for (unsigned i = 0; i < plan.count; i++)
            given[plan.arenas[i].node] = plan.arenas[i].slots;
        for (unsigned i = 0; i < machine.count; i++) {
            uint64_t share = (uint64_t)((unsigned __int128)options.slots * nodes[i].memory_bytes / memory);
            ck_assert_msg(given[i] == share || given[i] == share + 1, "seed %u, node %u: %llu, its share is %llu", seed, i,
                          (unsigned long long)given[i], (unsigned long long)share);
        }
    }
}
END_TEST

START_TEST(by_memory_leaves_out_who_would_get_nothing_and_memory_only_nodes)
{
    struct numapool_options options = order(NUMAPOOL_BY_MEMORY, 10);
    no_machine();
    add_node(0, 1, 64 * GIB);
    add_node(1, 1, GIB);
    add_node(2, 0, 512 * GIB);
    ck_assert_int_eq(planned(&options, 1), 0);
    ck_assert_uint_eq(plan.count, 1);
    assert_arena(0, 0, 10, 0);
    options.slots = 65;
    ck_assert_int_eq(planned(&options, 1), 0);
    assert_arena(0, 0, 64, 0);
    assert_arena(1, 1, 1, 0);
}
END_TEST

START_TEST(explicit_is_as_it_was_said_on_memory_only_nodes_too)
{
    const uint64_t said[] = { 1000, 0, 500 }, absent[] = { 0, 0, 0, 7 };
    struct numapool_options options = order(NUMAPOOL_EXPLICIT, 0);
    two_and_slow();
    options.node_slots = said;
    options.nodes = 3;
    ck_assert_int_eq(planned(&options, 1), 0);
    ck_assert_uint_eq(plan.count, 2);
    assert_arena(0, 0, 1000, 0);
    assert_arena(1, 2, 500, 0);
    options.node_slots = absent;
    options.nodes = 4;
    assert_refused(planned(&options, 1), -EINVAL, "no such node");
    nodes[2].memory_allowed = false;
    options.node_slots = said;
    options.nodes = 3;
    assert_refused(planned(&options, 1), -EINVAL, "cpuset.mems");
    nodes[2].memory_bytes = 0;
    assert_refused(planned(&options, 1), -EINVAL, "no memory");
}
END_TEST

/* ---------------------------------------------------------------- local, near a device */

/* Four in a ring of unequal distances, and one of slow memory that is nearer than any. */
static void ring(void)
{
    no_machine();
    for (int i = 0; i < 4; i++)
        add_node(i, 2, GIB);
    add_node(4, 0, GIB);
    set_distance(0, 1, 31);
    set_distance(0, 2, 21);
    set_distance(0, 3, 21);
    set_distance(0, 4, 15);
}

START_TEST(local_is_all_on_the_own_node)
{
    struct numapool_options options = order(NUMAPOOL_LOCAL, 100);
    ring();
    for (int own = 0; own < 4; own++) {
        ck_assert_int_eq(planned(&options, own), 0);
        ck_assert_uint_eq(plan.count, 1);
        assert_arena(0, own, 100, 0);
        ck_assert(plan.arenas[0].movable && plan.home == own && plan.note[0] == '\0');
    }
}
END_TEST

START_TEST(what_does_not_fit_goes_to_the_nearest_that_has_room_by_distance)
{
    struct numapool_options options = order(NUMAPOOL_LOCAL, 100);
    ring();
    room[0] = 60;
    room[2] = 30;
    ck_assert_int_eq(planned(&options, 0), 0);
    ck_assert_uint_eq(plan.count, 3);
    assert_arena(0, 0, 60, 0);
    assert_arena(1, 2, 30, 0);
    assert_arena(2, 3, 10, 0);
    ck_assert_uint_eq(sum(), 100);
    ck_assert_str_eq(plan.note, "node 0 has room for 60 of 100 slots: 30 are on node 2, 10 on node 3");
    room[0] = 0;
    room[2] = room[3] = 0;
    ck_assert_int_eq(planned(&options, 0), 0);
    ck_assert_uint_eq(plan.count, 1);
    assert_arena(0, 1, 100, 0); /* not the memory-only node, however near */
    ck_assert_int_eq(plan.home, 0);
    ck_assert_ptr_nonnull(strstr(plan.note, "room for 0 of 100"));
}
END_TEST

START_TEST(a_splinter_is_no_arena_and_what_fits_nowhere_is_left_to_the_making)
{
    struct numapool_options options = order(NUMAPOOL_LOCAL, 160);
    ring();
    room[0] = 10;
    ck_assert_int_eq(planned(&options, 0), 0);
    ck_assert_uint_eq(plan.count, 1);
    assert_arena(0, 2, 160, 0);
    for (int i = 0; i < 5; i++)
        room[i] = 30;
    ck_assert_int_eq(planned(&options, 0), 0);
    ck_assert_uint_eq(plan.count, 1);
    assert_arena(0, 0, 160, 0);
    ck_assert(plan.arenas[0].movable);
}
END_TEST

START_TEST(strict_stays_whether_there_is_room_or_not)
{
    struct numapool_options options = order(NUMAPOOL_LOCAL, 100);
    options.flags = NUMAPOOL_STRICT;
    ring();
    room[0] = 0;
    ck_assert_int_eq(planned(&options, 0), 0);
    assert_arena(0, 0, 100, 0);
    ck_assert(!plan.arenas[0].movable);
    ck_assert_int_eq(np_plan_node_to_try(&machine, &plan, 0, 0), 0);
    ck_assert_int_eq(np_plan_node_to_try(&machine, &plan, 0, 1), -1);
    nodes[0].memory_allowed = false;
    assert_refused(planned(&options, 0), -EINVAL, "strict");
    options.flags = 0;
    room[2] = 100;
    ck_assert_int_eq(planned(&options, 0), 0);
    assert_arena(0, 2, 100, 0);
}
END_TEST

START_TEST(what_cannot_be_made_is_tried_on_each_node_once_by_distance)
{
    static const int expected[] = { 0, 2, 3, 1, -1, -1 };
    struct numapool_options options = order(NUMAPOOL_LOCAL, 100);
    ring();
    ck_assert_int_eq(planned(&options, 0), 0);
    for (unsigned i = 0; i < sizeof expected / sizeof expected[0]; i++)
        ck_assert_int_eq(np_plan_node_to_try(&machine, &plan, 0, i), expected[i]);
    plan.arenas[0].node = 3; /* planned elsewhere: the home is tried then too, and nothing twice */
    static const int others[] = { 3, 0, 2, 1, -1 };
    for (unsigned i = 0; i < sizeof others / sizeof others[0]; i++)
        ck_assert_int_eq(np_plan_node_to_try(&machine, &plan, 0, i), others[i]);
    options.policy = NUMAPOOL_EVEN;
    ck_assert_int_eq(planned(&options, 0), 0);
    ck_assert_int_eq(np_plan_node_to_try(&machine, &plan, 1, 0), 1);
    ck_assert_int_eq(np_plan_node_to_try(&machine, &plan, 1, 1), -1);
}
END_TEST

START_TEST(near_a_device_is_on_its_node)
{
    struct numapool_options options = order(NUMAPOOL_NEAR_DEVICE, 100);
    struct np_plan_world world = world_of(1);
    options.device = "eth0";
    ring();
    world.device_node = 3;
    ck_assert_int_eq(np_plan_pool(&plan, &options, &world), 0);
    ck_assert_uint_eq(plan.count, 1);
    assert_arena(0, 3, 100, 0);
    world.device_node = -1;
    assert_refused(np_plan_pool(&plan, &options, &world), -ENXIO, "'eth0'");
    no_machine();
    add_node(2, 4, GIB);
    add_node(3, 0, GIB);
    ck_assert_int_eq(np_plan_pool(&plan, &options, &world), 0); /* the only node is near enough */
    assert_arena(0, 2, 100, 0);
}
END_TEST

/* ---------------------------------------------------------------- spilling */

START_TEST(spill_slots_are_evenly_on_memory_only_nodes)
{
    struct numapool_options options = order(NUMAPOOL_EVEN, 100);
    two_and_slow();
    add_node(7, 0, GIB);
    options.spill_slots = 31;
    ck_assert_int_eq(planned(&options, 0), 0);
    ck_assert_uint_eq(plan.count, 4);
    assert_arena(2, 2, 16, 1);
    assert_arena(3, 7, 15, 1);
    ck_assert_uint_eq(sum(), 131);
}
END_TEST

START_TEST(spilling_without_memory_only_nodes_is_refused)
{
    const uint64_t said[] = { 10, 0, 10 };
    struct numapool_options options = order(NUMAPOOL_EVEN, 100);
    options.spill_slots = 10;
    no_machine();
    add_node(0, 1, GIB);
    assert_refused(planned(&options, 0), -EINVAL, "no CPU");
    two_and_slow();
    options.policy = NUMAPOOL_EXPLICIT;
    options.node_slots = said;
    options.nodes = 3;
    assert_refused(planned(&options, 0), -EINVAL, "already");
}
END_TEST

/* ---------------------------------------------------------------- growing */

static int grown(const struct numapool_options *options, int node, uint64_t slots)
{
    struct np_plan had = plan;
    struct np_plan_world world = world_of(-1);
    np_error_static(0, "");
    return np_plan_growth(&plan, options, &had, node, slots, &world);
}

START_TEST(growth_follows_the_policy)
{
    struct numapool_options options = order(NUMAPOOL_EVEN, 101);
    two_and_slow();
    ck_assert_int_eq(planned(&options, 0), 0);
    ck_assert_int_eq(grown(&options, NUMAPOOL_ANY_NODE, 8), 0);
    ck_assert_uint_eq(plan.count, 1);
    assert_arena(0, 1, 8, 0);

    nodes[1].memory_bytes = 8 * GIB;
    options = order(NUMAPOOL_BY_MEMORY, 90); /* 30 and 60 */
    ck_assert_int_eq(planned(&options, 0), 0);
    plan.arenas[1].slots = 61;
    ck_assert_int_eq(grown(&options, NUMAPOOL_ANY_NODE, 8), 0);
    assert_arena(0, 0, 8, 0); /* 30 on 4 GiB are less than 61 on 8 */

    const uint64_t said[] = { 0, 10, 5 };
    options = order(NUMAPOOL_EXPLICIT, 0);
    options.node_slots = said;
    options.nodes = 3;
    ck_assert_int_eq(planned(&options, 0), 0);
    ck_assert_int_eq(grown(&options, NUMAPOOL_ANY_NODE, 8), 0);
    assert_arena(0, 2, 8, 0); /* of the nodes that it is on */
}
END_TEST

START_TEST(local_pools_grow_at_home_or_next_to_it)
{
    struct numapool_options options = order(NUMAPOOL_LOCAL, 100);
    ring();
    ck_assert_int_eq(planned(&options, 0), 0);
    ck_assert_int_eq(grown(&options, NUMAPOOL_ANY_NODE, 10), 0);
    assert_arena(0, 0, 10, 0);
    ck_assert_int_eq(plan.home, 0);
    ck_assert_int_eq(planned(&options, 0), 0);
    room[0] = 9;
    ck_assert_int_eq(grown(&options, NUMAPOOL_ANY_NODE, 10), 0);
    assert_arena(0, 2, 10, 0);
    ck_assert_ptr_nonnull(strstr(plan.note, "node 0 has no room"));
    options.flags = NUMAPOOL_STRICT;
    ck_assert_int_eq(planned(&options, 0), 0);
    ck_assert_int_eq(grown(&options, NUMAPOOL_ANY_NODE, 10), 0);
    assert_arena(0, 0, 10, 0);
    ck_assert(!plan.arenas[0].movable);
}
END_TEST

START_TEST(growth_on_a_node_that_was_named_stays_there)
{
    struct numapool_options options = order(NUMAPOOL_LOCAL, 100);
    ring();
    ck_assert_int_eq(planned(&options, 0), 0);
    room[3] = 0;
    ck_assert_int_eq(grown(&options, 3, 10), 0);
    assert_arena(0, 3, 10, 0);
    ck_assert(!plan.arenas[0].movable);
    ck_assert_int_eq(planned(&options, 0), 0);
    assert_refused(grown(&options, 9, 10), -EINVAL, "node 9");
}
END_TEST

START_TEST(growth_on_slow_memory_is_to_spill_to_unless_it_was_asked_for_like_other_memory)
{
    const uint64_t said[] = { 10, 0, 10 };
    struct numapool_options options = order(NUMAPOOL_EVEN, 100);
    two_and_slow();
    ck_assert_int_eq(planned(&options, 0), 0);
    ck_assert_int_eq(grown(&options, 2, 10), 0);
    assert_arena(0, 2, 10, 1);
    options.flags = NUMAPOOL_STRICT;
    ck_assert_int_eq(planned(&options, 0), 0);
    ck_assert_int_eq(grown(&options, 2, 10), 0);
    assert_arena(0, 2, 10, 0);
    options = order(NUMAPOOL_EXPLICIT, 0);
    options.node_slots = said;
    options.nodes = 3;
    ck_assert_int_eq(planned(&options, 0), 0);
    ck_assert_int_eq(grown(&options, 2, 10), 0);
    assert_arena(0, 2, 10, 0);
}
END_TEST

/* ---------------------------------------------------------------- words */

START_TEST(policies_have_names_both_ways)
{
    for (uint32_t policy = 0; policy <= NUMAPOOL_NEAR_DEVICE; policy++)
        ck_assert_int_eq(np_policy_named(np_policy_name(policy)), (int)policy);
    ck_assert_ptr_null(np_policy_name(NUMAPOOL_NEAR_DEVICE + 1));
    ck_assert_int_eq(np_policy_named("evenly"), -1);
}
END_TEST

START_TEST(device_names_lead_nowhere_else)
{
    static const char *const good[] = { "eth0", "nvme0n1", "0000:3b:00.0", "/dev/nvme0n1", "bond0.100", "cciss!c0d0" };
    static const char *const bad[] = { "", "..", ".", "../eth0", "a/b", "/dev/", "/dev/../x", "eth 0", "a,b", "a\nb",
                                       "0123456789012345678901234567890123456789012345678901234567890123" };
    for (unsigned i = 0; i < sizeof good / sizeof good[0]; i++)
        ck_assert_msg(np_device_name_is_good(good[i]), "%s", good[i]);
    for (unsigned i = 0; i < sizeof bad / sizeof bad[0]; i++)
        ck_assert_msg(!np_device_name_is_good(bad[i]), "%s", bad[i]);
}
END_TEST

static Suite *suite(void)
{
    TCase *policies = tcase_create("policies"), *near = tcase_create("near"), *others = tcase_create("others");
    tcase_add_test(policies, even_is_the_same_on_each_ordinary_node_and_the_remainder_on_the_first);
    tcase_add_test(policies, nodes_without_memory_or_not_allowed_have_none);
    tcase_add_test(policies, memory_only_nodes_are_used_where_there_are_no_others);
    tcase_add_test(policies, fewer_slots_than_nodes_leave_nodes_out);
    tcase_add_test(policies, sixty_four_nodes_can_be_had_and_one_more_is_refused);
    tcase_add_test(policies, by_memory_is_in_proportion_and_loses_no_slot);
    tcase_add_test(policies, by_memory_leaves_out_who_would_get_nothing_and_memory_only_nodes);
    tcase_add_test(policies, explicit_is_as_it_was_said_on_memory_only_nodes_too);
    tcase_add_test(near, local_is_all_on_the_own_node);
    tcase_add_test(near, what_does_not_fit_goes_to_the_nearest_that_has_room_by_distance);
    tcase_add_test(near, a_splinter_is_no_arena_and_what_fits_nowhere_is_left_to_the_making);
    tcase_add_test(near, strict_stays_whether_there_is_room_or_not);
    tcase_add_test(near, what_cannot_be_made_is_tried_on_each_node_once_by_distance);
    tcase_add_test(near, near_a_device_is_on_its_node);
    tcase_add_test(others, spill_slots_are_evenly_on_memory_only_nodes);
    tcase_add_test(others, spilling_without_memory_only_nodes_is_refused);
    tcase_add_test(others, growth_follows_the_policy);
    tcase_add_test(others, local_pools_grow_at_home_or_next_to_it);
    tcase_add_test(others, growth_on_a_node_that_was_named_stays_there);
    tcase_add_test(others, growth_on_slow_memory_is_to_spill_to_unless_it_was_asked_for_like_other_memory);
    tcase_add_test(others, policies_have_names_both_ways);
    tcase_add_test(others, device_names_lead_nowhere_else);
    Suite *suite = suite_create("plan");
    suite_add_tcase(suite, policies);
    suite_add_tcase(suite, near);
    suite_add_tcase(suite, others);
    return suite;
}

int main(void)
{
    return run_suite(suite());
}
