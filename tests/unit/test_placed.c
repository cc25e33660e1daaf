/* SPDX-License-Identifier: MIT
 * Pools inside a process, by each policy, on imagined nodes; and memory that had best be near somebody. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <sched.h>
#include <stdio.h>
#include <unistd.h>

#include "numa/imagined.h"
#include "numa/placement.h"
#include "numa/topology.h"
#include "pool_help.h"

#define MIB (UINT64_C(1) << 20)

/* Node 0 is too small for anything but a few slots, and 2 has no CPU. */
static const char machine[] = "node 0 memory=1M cpus=0\nnode 1 memory=64M cpus=1\nnode 2 memory=32M\n";

static char said[1024]; /* what the library has told of */

static void told(void *context, int level, const char *sentence)
{
    (void)context, (void)level;
    snprintf(said, sizeof said, "%s", sentence);
}

/* False: this machine lets no thread run on that CPU. */
static bool run_on(int cpu)
{
    cpu_set_t cpus;
    CPU_ZERO(&cpus);
    CPU_SET(cpu, &cpus);
    return sched_setaffinity(0, sizeof cpus, &cpus) == 0 && np_node_of_this_thread() == cpu;
}

static struct numapool_options order(uint32_t policy, uint64_t slot_bytes, uint64_t slots)
{
    struct numapool_options options = NUMAPOOL_OPTIONS_INIT;
    options.name = "pay";
    options.slot_bytes = slot_bytes;
    options.slots = slots;
    options.policy = policy;
    return options;
}

static struct numapool_pool *make(const struct numapool_options *options)
{
    struct numapool_pool *pool = NULL;
    said[0] = '\0';
    ck_assert_msg(numapool_create(&pool, options) == 0, "%s", numapool_errormsg());
    return pool;
}

static void assert_arena(const struct numapool_pool *pool, unsigned i, int node, uint64_t slots, unsigned tier)
{
    ck_assert_uint_lt(i, np_pool_arena_count(pool));
    ck_assert_int_eq(pool->arenas[i].arena.node, node);
    ck_assert_uint_eq(pool->arenas[i].arena.slots, slots);
    ck_assert_uint_eq(pool->arenas[i].tier, tier);
}

static void end(struct numapool_pool *pool)
{
    uint64_t misplaced = 1;
    ck_assert_int_eq(numapool_verify(pool, &misplaced), 0);
    ck_assert_uint_eq(misplaced, 0);
    ck_assert_int_eq(numapool_close(pool), 0);
    ck_assert_uint_eq(np_imagined_bytes(0), MIB); /* nothing of any node is missing */
    ck_assert_uint_eq(np_imagined_bytes(1), 64 * MIB);
    ck_assert_uint_eq(np_imagined_bytes(2), 32 * MIB);
}

START_TEST(each_policy_puts_slots_where_it_says)
{
    const uint64_t node_slots[] = { 3, 0, 5 };
    struct numapool_options options = order(NUMAPOOL_EVEN, 64, 11);
    struct numapool_pool *pool = make(&options);
    assert_arena(pool, 0, 0, 6, 0);
    assert_arena(pool, 1, 1, 5, 0);
    end(pool);
    options = order(NUMAPOOL_BY_MEMORY, 64, 130);
    pool = make(&options);
    assert_arena(pool, 0, 0, 2, 0);
    assert_arena(pool, 1, 1, 128, 0);
    end(pool);
    options = order(NUMAPOOL_EVEN, 64, 0); /* which with node_slots is EXPLICIT */
    options.node_slots = node_slots;
    options.nodes = 3;
    pool = make(&options);
    assert_arena(pool, 0, 0, 3, 0);
    assert_arena(pool, 1, 2, 5, 0);
    end(pool);
    options = order(NUMAPOOL_EVEN, 64, 10);
    options.spill_slots = 7;
    pool = make(&options);
    assert_arena(pool, 2, 2, 7, 1);
    ck_assert_str_eq(said, "");
    end(pool);
}
END_TEST

START_TEST(a_local_pool_is_where_its_maker_runs_and_grows_there)
{
    struct numapool_options options = order(NUMAPOOL_LOCAL, 64, 100);
    options.flags = NUMAPOOL_STRICT;
    if (!run_on(1))
        return;
    struct numapool_pool *pool = make(&options);
    ck_assert_uint_eq(np_pool_arena_count(pool), 1);
    assert_arena(pool, 0, 1, 100, 0);
    run_on(0);
    ck_assert_int_eq(numapool_grow(pool, NUMAPOOL_ANY_NODE, 10), 0);
    assert_arena(pool, 1, 1, 10, 0);
    ck_assert_int_eq(numapool_grow(pool, 0, 10), 0);
    assert_arena(pool, 2, 0, 10, 0);
    ASSERT_REFUSED(numapool_grow(pool, 3, 10), -EINVAL, "node 3");
    end(pool);
}
END_TEST

START_TEST(what_does_not_fit_is_on_the_next_node_and_is_told)
{
    struct numapool_options options = order(NUMAPOOL_LOCAL, 65536, 100);
    if (!run_on(0))
        return;
    struct numapool_pool *pool = make(&options);
    ck_assert_uint_eq(np_pool_arena_count(pool), 1);
    assert_arena(pool, 0, 1, 100, 0);
    ck_assert_ptr_nonnull(strstr(said, "100 are on node 1"));
    end(pool);
}
END_TEST

/* 62 MiB are more than any node has room for by the plan's reckoning, which sets some aside; but node 1 has it. */
START_TEST(what_fails_in_the_making_is_made_on_the_next_node_and_is_told)
{
    struct numapool_options options = order(NUMAPOOL_LOCAL, 65536, 992);
    struct np_plan plan;
    if (!run_on(0))
        return;
    ck_assert_int_eq(np_pool_plan(&plan, &options, 0), 0);
    ck_assert_int_eq(plan.arenas[0].node, 0);
    struct numapool_pool *pool = make(&options);
    ck_assert_uint_eq(np_pool_arena_count(pool), 1);
    assert_arena(pool, 0, 1, 992, 0);
    ck_assert_ptr_nonnull(strstr(said, "to be on node 0 are on node 1"));
    end(pool);
}
END_TEST

START_TEST(where_no_node_has_room_nothing_is_left_and_the_first_is_named)
{
    struct numapool_options options = order(NUMAPOOL_LOCAL, 65536, 2000);
    struct numapool_pool *pool = NULL;
    if (!run_on(0))
        return;
    ASSERT_REFUSED(numapool_create(&pool, &options), -ENOMEM, "node 0");
    assert_sentence_has("no other node");
    options = order(NUMAPOOL_LOCAL, 65536, 100);
    options.flags = NUMAPOOL_STRICT;
    ASSERT_REFUSED(numapool_create(&pool, &options), -ENOMEM, "node 0");
    options = order(NUMAPOOL_EVEN, 65536, 100);
    ASSERT_REFUSED(numapool_create(&pool, &options), -ENOMEM, "node 0");
    ck_assert_uint_eq(np_imagined_bytes(0), MIB);
    ck_assert_uint_eq(np_imagined_bytes(1), 64 * MIB);
}
END_TEST

START_TEST(memory_near_somebody_is_there_or_anywhere)
{
    struct np_memory memory;
    for (int node = 0; node <= 2; node++) {
        ck_assert_int_eq(np_memory_create_near(&memory, "a lane", 40000, node, NP_PAGES_MIXED, NP_SHARED), 0);
        ck_assert_int_eq(memory.node, node);
        ck_assert_uint_lt(np_imagined_bytes(node), node == 0 ? MIB : node == 1 ? 64 * MIB : 32 * MIB);
        np_memory_destroy(&memory);
    }
    ck_assert_int_eq(np_memory_create_near(&memory, "a lane", 2 * MIB, 0, NP_PAGES_MIXED, NP_PRIVATE), 0);
    ck_assert_int_eq(memory.node, -1); /* no room there, and had all the same */
    np_memory_destroy(&memory);
    ck_assert_int_eq(np_memory_create_near(&memory, "a lane", 4096, -1, NP_PAGES_MIXED, NP_PRIVATE), 0);
    ck_assert_int_eq(memory.node, -1);
    np_memory_destroy(&memory);
    ck_assert_int_eq(np_memory_create_near(&memory, "a lane", 4096, 700, NP_PAGES_MIXED, NP_PRIVATE), 0);
    ck_assert_int_ge(memory.node, -1); /* a node that there is not: near whatever is nearest, which nobody knows */
    np_memory_destroy(&memory);
    ck_assert_uint_eq(np_imagined_bytes(0), MIB);
}
END_TEST

static Suite *suite(void)
{
    Suite *suite = suite_create("placed");
    TCase *tests = tcase_create("imagined");
    tcase_set_timeout(tests, 30);
    tcase_add_test(tests, each_policy_puts_slots_where_it_says);
    tcase_add_test(tests, a_local_pool_is_where_its_maker_runs_and_grows_there);
    tcase_add_test(tests, what_does_not_fit_is_on_the_next_node_and_is_told);
    tcase_add_test(tests, what_fails_in_the_making_is_made_on_the_next_node_and_is_told);
    tcase_add_test(tests, where_no_node_has_room_nothing_is_left_and_the_first_is_named);
    tcase_add_test(tests, memory_near_somebody_is_there_or_anywhere);
    suite_add_tcase(suite, tests);
    return suite;
}

int main(void)
{
    char path[] = "/tmp/numapool-machine-XXXXXX";
    int fd = mkstemp(path);
    if (fd < 0 || write(fd, machine, sizeof machine - 1) != sizeof machine - 1 || setenv("NUMAPOOL_TOPOLOGY", path, 1) != 0)
        return EXIT_FAILURE;
    close(fd);
    if (!run_on(0) || !run_on(1))
        puts("NOT RUN: what is local to CPU 0 or 1: this process may not run on both");
    numapool_log_set(NUMAPOOL_LOG_WARN, told, NULL);
    int result = np_topology() ? run_suite(suite()) : EXIT_FAILURE;
    unlink(path);
    return result;
}
