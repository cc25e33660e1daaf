/* SPDX-License-Identifier: MIT
 * numapoolctl numa: which sentence which figures lead to, where threads run, and what was counted since. */
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../../tools/numapoolctl/numa.h"

enum { NODES = 3, SLOTS = 4096 };

/* Nodes 0 and 1, and 2 that is memory-only; one client, whose threads are on node 0. */
static struct np_numa_node nodes[NODES];
static struct np_numa_counts counts[NODES];
static struct np_numa_client client;
static struct np_numa_pool pool;
static char said[600];

static void set_up(void)
{
    memset(counts, 0, sizeof counts);
    for (int i = 0; i < NODES; i++)
        nodes[i] = (struct np_numa_node){ .node = i, .memory_only = i == 2, .has_room = true, .slots = SLOTS };
    client = (struct np_numa_client){ .number = 7, .pid = 1234, .program = "gateway", .counts = counts };
    client.threads = (struct np_threads){ .nodes = 1, .at = { { 0, 3 } } };
    pool = (struct np_numa_pool){ .name = "pay", .node_count = NODES, .client_count = 1, .nodes = nodes, .clients = &client };
}

static enum np_diagnosis_cause diagnose(void)
{
    return np_diagnosis_make(&pool, &client, said, sizeof said);
}

#define SAYS(part) ck_assert_msg(strstr(said, part) != NULL, "'%s' does not say '%s'", said, part)

static void count(int node, enum np_numa_counter counter, uint64_t n)
{
    counts[node].of[counter] = n;
}

START_TEST(who_takes_of_its_own_node_is_told_nothing)
{
    count(0, NP_NUMA_LOCAL, 1000000);
    count(0, NP_NUMA_REFILLS, 2000);
    ck_assert_int_eq(diagnose(), NP_CAUSE_NONE);
    ck_assert_str_eq(said, "");
}
END_TEST

START_TEST(who_took_next_to_nothing_is_told_nothing)
{
    count(1, NP_NUMA_REMOTE, NP_DIAGNOSIS_SLOTS_LEAST - 1);
    ck_assert_int_eq(diagnose(), NP_CAUSE_NONE);
    count(1, NP_NUMA_REMOTE, NP_DIAGNOSIS_SLOTS_LEAST);
    ck_assert_int_eq(diagnose(), NP_CAUSE_BY_NUMBER);
}
END_TEST

START_TEST(a_tenth_is_worth_a_sentence_and_less_is_not)
{
    count(0, NP_NUMA_LOCAL, 9001);
    count(1, NP_NUMA_REMOTE, 999);
    ck_assert_int_eq(diagnose(), NP_CAUSE_NONE);
    count(0, NP_NUMA_LOCAL, 9000);
    count(1, NP_NUMA_REMOTE, 1000);
    ck_assert_int_eq(diagnose(), NP_CAUSE_BY_NUMBER);
    SAYS("takes 10 % of its slots from node 1");
}
END_TEST

START_TEST(a_magazine_of_another_node_by_number)
{
    count(0, NP_NUMA_LOCAL, 500);
    count(1, NP_NUMA_REMOTE, 9500);
    ck_assert_int_eq(diagnose(), NP_CAUSE_BY_NUMBER);
    SAYS("client 7 (gateway, process 1234) runs on node 0 and takes 95 % of its slots from node 1");
    SAYS("NUMAPOOL_OWN_NODE");
    SAYS("numactl --cpunodebind=1");
}
END_TEST

START_TEST(threads_on_several_nodes_are_said_to_be_on_none)
{
    count(1, NP_NUMA_REMOTE, 9500);
    client.threads = (struct np_threads){ .nodes = 2, .at = { { 0, 3 }, { 1, 1 } } };
    ck_assert_int_eq(diagnose(), NP_CAUSE_BY_NUMBER);
    ck_assert_ptr_null(strstr(said, "runs on"));
}
END_TEST

START_TEST(slots_where_the_receivers_are_are_as_they_should_be)
{
    count(1, NP_NUMA_REMOTE, 9500);
    client.sends = true;
    client.receiver_nodes = 1u << 0;
    ck_assert_int_eq(diagnose(), NP_CAUSE_BY_NUMBER);
    client.receiver_nodes = 1u << 1;
    ck_assert_int_eq(diagnose(), NP_CAUSE_RECEIVERS);
    SAYS("as it should be");
}
END_TEST

START_TEST(a_node_without_slots_of_the_pool)
{
    nodes[0].slots = 0;
    count(1, NP_NUMA_REMOTE, 10000);
    count(1, NP_NUMA_HOMELESS, 10000);
    ck_assert_int_eq(diagnose(), NP_CAUSE_HOMELESS);
    SAYS("takes 100 % of its slots from node 1 because the pool has none on node 0, where it runs: "
         "numapoolctl pool grow pay --node=0 --count=4096");
    client.threads.nodes = 0; /* they cannot be seen */
    ck_assert_int_eq(diagnose(), NP_CAUSE_HOMELESS);
    SAYS("the node that its threads ran on");
}
END_TEST

START_TEST(a_node_without_memory_cannot_be_given_slots)
{
    nodes[0].slots = 0;
    nodes[0].has_room = false;
    count(1, NP_NUMA_REMOTE, 10000);
    count(1, NP_NUMA_HOMELESS, 10000);
    ck_assert_int_eq(diagnose(), NP_CAUSE_HOMELESS);
    SAYS("node 0, where it runs, has no memory: run it on node 1");
    ck_assert_ptr_null(strstr(said, "grow"));
}
END_TEST

START_TEST(a_node_that_ran_empty)
{
    count(0, NP_NUMA_LOCAL, 5000);
    count(0, NP_NUMA_FOREIGN, 5000);
    count(1, NP_NUMA_REMOTE, 5000);
    count(1, NP_NUMA_SPILLED, 5000);
    ck_assert_int_eq(diagnose(), NP_CAUSE_RAN_EMPTY);
    SAYS("took 50 % of its slots from another node, most from node 1, because node 0 had none left: "
         "numapoolctl pool grow pay --node=0 --count=4096, or give slots back sooner");
}
END_TEST

START_TEST(threads_that_move)
{
    count(0, NP_NUMA_LOCAL, 5000);
    count(1, NP_NUMA_LOCAL, 4000);
    count(1, NP_NUMA_REMOTE, 1000);
    count(0, NP_NUMA_REFILLS, 60);
    count(1, NP_NUMA_REFILLS, 40);
    count(1, NP_NUMA_FOLLOWED, 9);
    ck_assert_int_eq(diagnose(), NP_CAUSE_BY_NUMBER); /* seldom enough */
    count(1, NP_NUMA_FOLLOWED, 10);
    ck_assert_int_eq(diagnose(), NP_CAUSE_MOVING);
    SAYS("10 times a magazine followed, at 10 % of its refills");
    SAYS("pin them");
}
END_TEST

START_TEST(slots_of_a_memory_only_node_while_the_near_one_is_low)
{
    count(0, NP_NUMA_LOCAL, 5000);
    count(2, NP_NUMA_REMOTE, 5000);
    count(2, NP_NUMA_SPILLED, 5000);
    count(2, NP_NUMA_TIERED, 5000);
    count(0, NP_NUMA_FOREIGN, 5000);
    ck_assert_int_eq(diagnose(), NP_CAUSE_TIERED);
    SAYS("got 50 % of its slots from memory-only node 2 while node 0 ran low");
    SAYS("numapoolctl pool grow pay --node=0 --count=4096");
}
END_TEST

START_TEST(slots_that_are_given_back_on_another_node)
{
    count(1, NP_NUMA_HOME_RETURNS, 3000);
    client.receives = true;
    ck_assert_int_eq(diagnose(), NP_CAUSE_RECEIVED);
    SAYS("gave back 3000 slots on another node than theirs, most of node 1: as it should be");
    client.receives = false;
    ck_assert_int_eq(diagnose(), NP_CAUSE_HANDED_OVER);
    SAYS("without a channel");
    count(0, NP_NUMA_LOCAL, 100000);
    ck_assert_int_eq(diagnose(), NP_CAUSE_NONE);
}
END_TEST

START_TEST(the_larger_reason_is_told)
{
    count(0, NP_NUMA_FOREIGN, 2000);
    count(1, NP_NUMA_SPILLED, 2000);
    count(1, NP_NUMA_HOMELESS, 3000);
    count(1, NP_NUMA_REMOTE, 9000);
    ck_assert_int_eq(diagnose(), NP_CAUSE_BY_NUMBER); /* 4,000 */
    count(1, NP_NUMA_REMOTE, 7000);
    ck_assert_int_eq(diagnose(), NP_CAUSE_HOMELESS);
    count(1, NP_NUMA_SPILLED, 3500);
    count(1, NP_NUMA_REMOTE, 6600);
    ck_assert_int_eq(diagnose(), NP_CAUSE_RAN_EMPTY);
}
END_TEST

/* What others can write is never more than odd. */
START_TEST(any_figures_at_all_lead_to_one_bounded_sentence)
{
    static const uint64_t odd[] = { 0, 1, 99, 100, NP_DIAGNOSIS_BELIEVED_MAX, NP_DIAGNOSIS_BELIEVED_MAX + 1, INT64_MAX, UINT64_MAX };
    const unsigned seed = 20261120;
    srandom(seed);
    printf("seed %u\n", seed);
    for (int round = 0; round < 20000; round++) {
        bool believable = true;
        for (int i = 0; i < NODES; i++)
            for (unsigned c = 0; c < NP_NUMA_COUNTERS; c++) {
                const bool any = random() % 4 == 0;
                counts[i].of[c] = any ? (uint64_t)random() << (random() % 34) : odd[random() % (round % 2 ? 5 : 8)];
                believable = believable && counts[i].of[c] <= NP_DIAGNOSIS_BELIEVED_MAX;
            }
        memset(said, '#', sizeof said);
        enum np_diagnosis_cause cause = np_diagnosis_make(&pool, &client, said, 200);
        ck_assert_ptr_nonnull(memchr(said, '\0', 200));
        ck_assert_int_eq(said[200], '#');
        ck_assert_int_eq(cause == NP_CAUSE_UNBELIEVABLE, !believable);
        ck_assert_int_eq(cause == NP_CAUSE_NONE, said[0] == '\0');
        ck_assert_ptr_nonnull(np_diagnosis_name(cause));
    }
}
END_TEST

START_TEST(sums_stop_at_the_largest_number)
{
    count(0, NP_NUMA_LOCAL, UINT64_MAX - 5);
    count(1, NP_NUMA_LOCAL, 100);
    ck_assert_uint_eq(np_numa_sum(&pool, &client).of[NP_NUMA_LOCAL], UINT64_MAX);
}
END_TEST

/* ---------------------------------------------------------------- since */

START_TEST(what_was_counted_since)
{
    struct np_numa_counts was_counts[NODES] = { { .of = { 0 } } };
    struct np_numa_client was_client = client;
    struct np_numa_pool was_pool = pool, now_pool = pool;
    struct np_numa was = { .at_ns = 1000000000, .pool_count = 1, .pools = &was_pool };
    struct np_numa now = { .at_ns = 3500000000, .pool_count = 1, .pools = &now_pool };
    was_client.counts = was_counts;
    was_pool.clients = &was_client;
    was_counts[0].of[NP_NUMA_LOCAL] = 100;
    was_counts[1].of[NP_NUMA_LOCAL] = 50; /* more than now: somebody writes there */
    count(0, NP_NUMA_LOCAL, 130);
    count(1, NP_NUMA_LOCAL, 40);
    count(2, NP_NUMA_REMOTE, 7);
    np_numa_subtract(&now, &was);
    ck_assert(now.seconds == 2.5);
    ck_assert_uint_eq(counts[0].of[NP_NUMA_LOCAL], 30);
    ck_assert_uint_eq(counts[1].of[NP_NUMA_LOCAL], 0);
    ck_assert_uint_eq(counts[2].of[NP_NUMA_REMOTE], 7);
    was_client.admitted_unix_ns = 1; /* another one, which had that number before */
    np_numa_subtract(&now, &was);
    ck_assert_uint_eq(counts[0].of[NP_NUMA_LOCAL], 30);
    was_pool.tag = 1; /* and another pool */
    was_client.admitted_unix_ns = 0;
    np_numa_subtract(&now, &was);
    ck_assert_uint_eq(counts[0].of[NP_NUMA_LOCAL], 30);
}
END_TEST

START_TEST(a_copy_is_whole_and_apart)
{
    struct np_numa from = { .pool_count = 1, .pools = &pool }, copy;
    count(1, NP_NUMA_SPILLED, 11);
    ck_assert_int_eq(np_numa_copy(&copy, &from), 0);
    count(1, NP_NUMA_SPILLED, 12);
    ck_assert_uint_eq(copy.pools[0].clients[0].counts[1].of[NP_NUMA_SPILLED], 11);
    ck_assert_str_eq(copy.pools[0].name, "pay");
    np_numa_free(&copy);
}
END_TEST

/* ---------------------------------------------------------------- threads */

#define FIELDS_BEFORE_START "S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18"
#define FIELDS_BETWEEN "20 21 22 23 24 25 26 27 28 29 30 31 32 33 34 35"

START_TEST(a_line_of_stat_is_read_whatever_the_program_is_called)
{
    static const char *const names[] = { "pay", "a b", ") S 1 2 3", "((", "" };
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char line[400];
        uint64_t ticks = 0;
        snprintf(line, sizeof line, "77 (%s) " FIELDS_BEFORE_START " 4711 " FIELDS_BETWEEN " 5 0 0\n", names[i]);
        ck_assert_int_eq(np_threads_parse(line, &ticks), 5);
        ck_assert_uint_eq(ticks, 4711);
    }
}
END_TEST

START_TEST(what_is_no_line_of_stat_is_told)
{
    static const char *const lines[] = { "", "77", "77 (pay)", "77 (pay) S 1 2 3\n", "77 (pay) " FIELDS_BEFORE_START " 4711 " FIELDS_BETWEEN,
                                         "77 (pay) " FIELDS_BEFORE_START " 4711 " FIELDS_BETWEEN " x", "77 (pay) " FIELDS_BEFORE_START " 4711 " FIELDS_BETWEEN " -3",
                                         "77 (pay) " FIELDS_BEFORE_START " 4711 " FIELDS_BETWEEN " 99999999999999999999" };
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        uint64_t ticks;
        ck_assert_msg(np_threads_parse(lines[i], &ticks) == -1, "'%s'", lines[i]);
    }
}
END_TEST

static char root[] = "/tmp/numapool-threads-XXXXXX";

static void write_stat(const char *place, int cpu)
{
    char path[200];
    snprintf(path, sizeof path, "%s/proc/77/%s/stat", root, place);
    FILE *file = fopen(path, "w");
    ck_assert_ptr_nonnull(file);
    fprintf(file, "77 (pay) " FIELDS_BEFORE_START " 4711 " FIELDS_BETWEEN " %d 0\n", cpu);
    fclose(file);
}

START_TEST(threads_are_counted_by_node)
{
    static const char *const directories[] = { "proc", "proc/77", "proc/77/task", "proc/77/task/77", "proc/77/task/78", "proc/77/task/79",
                                               "proc/77/task/80" };
    int16_t cpu_nodes[] = { 0, 0, 3, -1 };
    struct np_topology topology = { .cpu_nodes = cpu_nodes, .cpu_limit = 4 };
    struct np_threads threads;
    char path[200], text[64];
    strcpy(root + strlen(root) - 6, "XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(root));
    for (size_t i = 0; i < sizeof directories / sizeof directories[0]; i++) {
        snprintf(path, sizeof path, "%s/%s", root, directories[i]);
        ck_assert_int_eq(mkdir(path, 0700), 0);
    }
    write_stat(".", 1);
    write_stat("task/77", 1);
    write_stat("task/78", 2);
    write_stat("task/79", 0);
    write_stat("task/80", 9); /* a CPU that is no node's */
    np_threads_look(&threads, root, 77, 4711, &topology);
    np_threads_text(&threads, text, sizeof text);
    ck_assert_str_eq(text, "?:1 0:2 3:1");
    ck_assert_str_eq(threads.why, "");

    snprintf(path, sizeof path, "%s/proc/77/task/78/stat", root);
    unlink(path); /* it has just ended */
    np_threads_look(&threads, root, 77, 0, &topology);
    np_threads_text(&threads, text, sizeof text);
    ck_assert_str_eq(text, "?:1 0:2");
    ck_assert_uint_eq(threads.unread, 1);

    np_threads_look(&threads, root, 77, 4712, &topology); /* another process has that number here */
    ck_assert_uint_eq(threads.nodes, 0);
    ck_assert_ptr_nonnull(strstr(threads.why, "another one"));
    np_threads_look(&threads, root, 78, 0, &topology);
    ck_assert_ptr_nonnull(strstr(threads.why, "no process 78"));
    np_threads_text(&threads, text, sizeof text);
    ck_assert_str_eq(text, "-");
    snprintf(path, sizeof path, "rm -rf %s", root);
    ck_assert_int_eq(system(path), 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("diagnosis");
    TCase *sentences = tcase_create("sentences"), *since = tcase_create("since"), *threads = tcase_create("threads");
    tcase_add_checked_fixture(sentences, set_up, NULL);
    tcase_add_checked_fixture(since, set_up, NULL);
    tcase_add_test(sentences, who_takes_of_its_own_node_is_told_nothing);
    tcase_add_test(sentences, who_took_next_to_nothing_is_told_nothing);
    tcase_add_test(sentences, a_tenth_is_worth_a_sentence_and_less_is_not);
    tcase_add_test(sentences, a_magazine_of_another_node_by_number);
    tcase_add_test(sentences, threads_on_several_nodes_are_said_to_be_on_none);
    tcase_add_test(sentences, slots_where_the_receivers_are_are_as_they_should_be);
    tcase_add_test(sentences, a_node_without_slots_of_the_pool);
    tcase_add_test(sentences, a_node_without_memory_cannot_be_given_slots);
    tcase_add_test(sentences, a_node_that_ran_empty);
    tcase_add_test(sentences, threads_that_move);
    tcase_add_test(sentences, slots_of_a_memory_only_node_while_the_near_one_is_low);
    tcase_add_test(sentences, slots_that_are_given_back_on_another_node);
    tcase_add_test(sentences, the_larger_reason_is_told);
    tcase_add_test(sentences, any_figures_at_all_lead_to_one_bounded_sentence);
    tcase_add_test(sentences, sums_stop_at_the_largest_number);
    tcase_add_test(since, what_was_counted_since);
    tcase_add_test(since, a_copy_is_whole_and_apart);
    tcase_add_test(threads, a_line_of_stat_is_read_whatever_the_program_is_called);
    tcase_add_test(threads, what_is_no_line_of_stat_is_told);
    tcase_add_test(threads, threads_are_counted_by_node);
    suite_add_tcase(suite, sentences);
    suite_add_tcase(suite, since);
    suite_add_tcase(suite, threads);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
