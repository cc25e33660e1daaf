/* SPDX-License-Identifier: MIT
 * Pools on imagined nodes: what they are given of each, whose slots a thread gets, and what a node that is full says. In children of their
 * own, since a process imagines its nodes once. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <check.h>
#include <errno.h>
#include <sched.h>

#include "fake_root.h"
#include "numa/imagined.h"
#include "numa/placement.h"
#include "numa/topology.h"
#include "numapool.h"
#include "placement_help.h"

#define MUST(condition)                                                                                                    \
    do {                                                                                                                   \
        if (!(condition)) {                                                                                                \
            fprintf(stderr, "%s:%d: not so: %s (%s)\n", __FILE__, __LINE__, #condition, np_error_sentence());              \
            _exit(1);                                                                                                      \
        }                                                                                                                  \
    } while (0)

/* Two CPUs of this machine that this process may use; the same one twice where there is just one. */
static int cpus[2], cpu_count;

static void find_cpus(void)
{
    cpu_set_t allowed;
    cpu_count = 0;
    ck_assert_int_eq(sched_getaffinity(0, sizeof allowed, &allowed), 0);
    for (int cpu = 0; cpu < CPU_SETSIZE && cpu_count < 2; cpu++)
        if (CPU_ISSET(cpu, &allowed))
            cpus[cpu_count++] = cpu;
}

static void pin(int cpu)
{
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    MUST(sched_setaffinity(0, sizeof one, &one) == 0);
}

/* Four nodes of 64 MiB with CPUs, of which two are of this machine. */
static void imagine_four(void)
{
    char text[300];
    int used = snprintf(text, sizeof text, "node 0 memory=64M cpus=%d\n", cpus[0]);
    if (cpu_count > 1)
        used += snprintf(text + used, sizeof text - (size_t)used, "node 1 memory=64M cpus=%d\n", cpus[1]);
    else
        used += snprintf(text + used, sizeof text - (size_t)used, "node 1 memory=64M cpus=8189\n");
    snprintf(text + used, sizeof text - (size_t)used, "node 2 memory=64M cpus=8190\nnode 5 memory=64M cpus=8191\n");
    put("/four", text);
    snprintf(text, sizeof text, "%s/four", root);
    setenv("NUMAPOOL_TOPOLOGY", text, 1);
}

static int make(struct numapool_pool **pool, uint64_t slot_bytes, uint64_t slots, const uint64_t *node_slots, uint32_t nodes)
{
    struct numapool_options options = NUMAPOOL_OPTIONS_INIT;
    options.name = "imagined";
    options.slot_bytes = slot_bytes;
    options.slots = slots;
    options.node_slots = node_slots;
    options.nodes = nodes;
    return numapool_create(pool, &options);
}

/* ---------------------------------------------------------------- slots */

static void spread(void *unused)
{
    static const int nodes[] = { 0, 1, 2, 5 };
    struct numapool_pool *pool;
    struct numapool_stats stats = { .size = sizeof stats };
    (void)unused;
    imagine_four();
    MUST(make(&pool, 4096, 4000, NULL, 0) == 0);
    for (unsigned i = 0; i < 4; i++) {
        MUST(numapool_stats_read(pool, nodes[i], &stats) == 0);
        MUST(stats.slots == 1000 && stats.free_slots == 1000 && stats.emulated == 1);
        MUST(stats.bytes_elsewhere == 0);
    }
    MUST(numapool_stats_read(pool, 3, &stats) < 0);
    MUST(numapool_close(pool) == 0);
}

START_TEST(a_pool_has_slots_on_each_imagined_node)
{
    ck_assert_int_eq(status_of_child(spread, NULL), 0);
}
END_TEST

static void get_near(void *unused)
{
    struct numapool_pool *pool;
    (void)unused;
    imagine_four();
    MUST(make(&pool, 4096, 4000, NULL, 0) == 0);
    for (int i = 0; i < cpu_count; i++) {
        struct numapool_magazine *magazine;
        void *slots[300];
        pin(cpus[i]);
        MUST(np_node_of_this_thread() == i);
        MUST(numapool_magazine_open(pool, NUMAPOOL_OWN_NODE, 64, &magazine) == 0);
        for (unsigned k = 0; k < 300; k++) {
            slots[k] = numapool_get(magazine);
            MUST(slots[k] != NULL && numapool_slot_node(pool, slots[k]) == i);
        }
        for (unsigned k = 0; k < 300; k++)
            numapool_put(magazine, slots[k]);
        MUST(numapool_magazine_close(magazine) == 0);
    }
    MUST(numapool_close(pool) == 0);
}

START_TEST(a_thread_gets_slots_of_the_node_that_its_cpu_is_of)
{
    find_cpus();
    if (cpu_count < 2)
        not_run("a_thread_gets_slots_of_the_node_that_its_cpu_is_of", "of one CPU alone");
    ck_assert_int_eq(status_of_child(get_near, NULL), 0);
}
END_TEST

/* ---------------------------------------------------------------- a node's size */

static void fill(void *unused)
{
    static const uint64_t on_1[] = { 0, 160 }, too_many[] = { 0, 300 }, on_0[] = { 160 };
    struct numapool_pool *first, *second, *third;
    (void)unused;
    setenv("NUMAPOOL_TOPOLOGY", "2x16M", 1);
    MUST(make(&second, 65536, 0, too_many, 2) == -ENOMEM);
    MUST(strstr(np_error_sentence(), "node 1, which is imagined with 16 MiB (NUMAPOOL_TOPOLOGY=2x16M)") != NULL);
    MUST(make(&first, 65536, 0, on_1, 2) == 0);
    MUST(make(&second, 65536, 0, on_1, 2) == -ENOMEM);
    MUST(strstr(np_error_sentence(), "imagined") != NULL);
    MUST(make(&second, 65536, 0, on_0, 1) == 0); /* the other node has its own */
    MUST(np_imagined_bytes(0) < (16 << 20) - 160 * 65536 && np_imagined_bytes(0) > 4 << 20);
    MUST(numapool_close(first) == 0);
    MUST(np_imagined_bytes(1) == 16 << 20);
    MUST(make(&third, 65536, 0, on_1, 2) == 0);
    MUST(numapool_close(third) == 0 && numapool_close(second) == 0);
    MUST(np_imagined_bytes(0) == 16 << 20 && np_imagined_bytes(1) == 16 << 20);
    MUST(np_imagined_bytes(2) == UINT64_MAX);
    /* Growth is weighed likewise. */
    MUST(make(&first, 65536, 0, on_0, 1) == 0);
    uint64_t left = np_imagined_bytes(0);
    MUST(numapool_grow(first, 0, 160) == -ENOMEM && np_imagined_bytes(0) == left);
    MUST(numapool_grow(first, 0, 10) == 0 && np_imagined_bytes(0) < left);
    MUST(numapool_close(first) == 0 && np_imagined_bytes(0) == 16 << 20);
}

START_TEST(an_imagined_node_has_no_more_than_it_was_imagined_with)
{
    ck_assert_int_eq(status_of_child(fill, NULL), 0);
}
END_TEST

static void count(void *unused)
{
    struct np_memory memory, other;
    uint64_t kept[2] = { 0, 12 << 20 };
    (void)unused;
    setenv("NUMAPOOL_TOPOLOGY", "2x16M", 1);
    MUST(np_memory_create(&memory, "a", 4 << 20, 1, NP_PAGES_MIXED, NP_SHARED) == 0);
    MUST(memory.node == 1 && np_imagined_bytes(1) == 12 << 20);
    /* what others keep comes on top, and is replaced as a whole */
    np_imagined_keep(kept, 2);
    MUST(np_imagined_bytes(1) == 0 && np_imagined_bytes(0) == 16 << 20);
    MUST(np_memory_budget("b", 4096, 1) == -ENOMEM && np_memory_create(&other, "b", 4096, 1, 0, NP_PRIVATE) == -ENOMEM);
    MUST(np_memory_budget("b", 4096, 0) == 0 && np_imagined_bytes(0) == 16 << 20);
    kept[1] = 1 << 20;
    np_imagined_keep(kept, 2);
    MUST(np_imagined_bytes(1) == 11 << 20);
    /* unmapped without being destroyed */
    MUST(np_memory_create(&other, "a piece", 1 << 20, 1, NP_PAGES_MIXED, NP_SHARED) == 0 && np_imagined_bytes(1) == 10 << 20);
    np_memory_unmap(other.address, other.bytes);
    close(other.fd);
    MUST(np_imagined_bytes(1) == 11 << 20);
    /* handed over: unmapping it here changes nothing, giving it does */
    np_imagined_left(memory.address);
    np_memory_unmap(memory.address, memory.bytes);
    close(memory.fd);
    MUST(np_imagined_bytes(1) == 11 << 20);
    np_imagined_give(1, memory.bytes);
    MUST(np_imagined_bytes(1) == 15 << 20);
    /* of no node: nobody's */
    MUST(np_memory_create(&memory, "c", 4 << 20, -1, NP_PAGES_MIXED, NP_SHARED) == 0);
    MUST(np_imagined_bytes(0) == 16 << 20);
    np_memory_destroy(&memory);
    /* a child inherits no memory, so nothing that is counted */
    MUST(np_memory_create(&memory, "d", 4 << 20, 0, 0, NP_PRIVATE) == 0);
    pid_t child = fork();
    if (child == 0)
        _exit(np_imagined_bytes(0) == 16 << 20 && np_memory_create(&other, "e", 14 << 20, 0, 0, NP_PRIVATE) == 0 ? 0 : 1);
    int status;
    MUST(waitpid(child, &status, 0) == child && status == 0);
    np_memory_destroy(&memory);
}

START_TEST(what_is_made_kept_and_handed_over_counts_once)
{
    ck_assert_int_eq(status_of_child(count, NULL), 0);
}
END_TEST

/* ---------------------------------------------------------------- where the memory really is */

static void look(void *unused)
{
    struct np_memory memory;
    uint64_t misplaced;
    (void)unused;
    setenv("NUMAPOOL_TOPOLOGY", "63x16M", 1); /* more than this machine has nodes, and not a multiple */
    int node = 62, physical = np_node_physical(node), real;
    unsetenv("NUMAPOOL_TOPOLOGY");
    MUST(np_topology_nodes("", &real, 1) == 1);
    setenv("NUMAPOOL_TOPOLOGY", "63x16M", 1);
    MUST(physical >= 0);
    MUST(np_memory_create(&memory, "far", 1 << 20, node, NP_PAGES_MIXED, NP_SHARED) == 0);
    MUST(np_memory_verify(memory.address, memory.bytes, 4096, node, &misplaced) == 0 && misplaced == 0);
    np_memory_destroy(&memory);
    MUST(np_memory_create(&memory, "nowhere", 4096, 63, 0, NP_SHARED) == -EINVAL);
    MUST(strstr(np_error_sentence(), "node 63") != NULL);
}

START_TEST(its_memory_is_on_the_machines_node_that_stands_for_it)
{
    ck_assert_int_eq(status_of_child(look, NULL), 0);
}
END_TEST

/* ---------------------------------------------------------------- mistakes */

static void mistake(void *unused)
{
    struct numapool_pool *pool;
    struct numapool_client *client;
    (void)unused;
    setenv("NUMAPOOL_TOPOLOGY", "4x", 1);
    MUST(make(&pool, 4096, 10, NULL, 0) == -EINVAL && strstr(np_error_sentence(), "NUMAPOOL_TOPOLOGY") != NULL);
    MUST(numapool_connect(&client, "/nowhere") == -EINVAL && strstr(np_error_sentence(), "NUMAPOOL_TOPOLOGY") != NULL);
    setenv("NUMAPOOL_TOPOLOGY", "2x16M", 1); /* mended while the process runs: the next call sees it */
    MUST(make(&pool, 4096, 10, NULL, 0) == 0 && numapool_close(pool) == 0);
}

START_TEST(a_mistake_in_the_variable_is_told_by_the_first_call)
{
    ck_assert_int_eq(status_of_child(mistake, NULL), 0);
}
END_TEST

static void start_test(void)
{
    make_root();
    find_cpus();
}

int main(void)
{
    Suite *suite = suite_create("imagined");
    TCase *pools = tcase_create("pools");
    tcase_add_checked_fixture(pools, start_test, remove_root);
    tcase_set_timeout(pools, 60);
    suite_add_tcase(suite, pools);
    tcase_add_test(pools, a_pool_has_slots_on_each_imagined_node);
    tcase_add_test(pools, a_thread_gets_slots_of_the_node_that_its_cpu_is_of);
    tcase_add_test(pools, an_imagined_node_has_no_more_than_it_was_imagined_with);
    tcase_add_test(pools, what_is_made_kept_and_handed_over_counts_once);
    tcase_add_test(pools, its_memory_is_on_the_machines_node_that_stands_for_it);
    tcase_add_test(pools, a_mistake_in_the_variable_is_told_by_the_first_call);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
