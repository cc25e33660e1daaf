/* SPDX-License-Identifier: MIT
 * The benchmark's runs: ends as processes and threads, more of them than CPUs, hooks, long operations, and what a death does. */
#include <check.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../bench/report.h"

enum { ENDS = 4, TRIPS_PER_LAP = 3 };

/* What the ends have done, in memory that all share. */
static struct scene {
    struct {
        _Atomic uint64_t operations, laps;
        pid_t process, thread;
        int cpu;
        bool joined, left;
    } ends[ENDS];
    _Alignas(128) _Atomic uint64_t token; /* goes round from end to end */
    bool joined_by_pair[ENDS];
    uint64_t chunks, before, after, wrong_order;
    bool prepared;
} *scene;

static struct bench_report *report;
static struct bench_options options;

static bool all_are_wanted(const char *name)
{
    (void)name;
    return true;
}

/* Two CPUs, or the tests of several ends say that they did not run. */
static bool find_cpus(void)
{
    cpu_set_t set;
    int found = 0;
    options = (struct bench_options){ .seconds = 0.05, .slices = 4, .cpus = { -1, -1 } };
    ck_assert_int_eq(sched_getaffinity(0, sizeof set, &set), 0);
    for (int cpu = 0; cpu < CPU_SETSIZE && found < 2; cpu++)
        if (CPU_ISSET(cpu, &set))
            options.cpus[found++] = cpu;
    if (found < 2)
        printf("NOT RUN: a benchmark of several ends, because only one CPU is allowed here\n");
    return found == 2;
}

static void set_up(void)
{
    scene = bench_shared(sizeof *scene);
    report = bench_report_open(&options);
}

static void tear_down(void)
{
    bench_report_close(report);
    bench_unshare(scene, sizeof *scene);
}

static void *open_scene(void)
{
    return scene;
}

static void close_scene(void *state)
{
    ck_assert_ptr_eq(state, scene);
}

/* ---------------------------------------------------------------- several ends */

static void join(void *state, unsigned end)
{
    ck_assert_ptr_eq(state, scene);
    scene->ends[end].joined = true;
    scene->ends[end].process = getpid();
    scene->ends[end].thread = (pid_t)syscall(SYS_gettid);
    scene->ends[end].cpu = sched_getcpu();
}

static void leave(void *state, unsigned end)
{
    (void)state;
    scene->ends[end].left = (pid_t)syscall(SYS_gettid) == scene->ends[end].thread;
}

static void pass_on(unsigned end, unsigned ends, uint64_t operations)
{
    for (uint64_t number = 0; number < operations; number++) {
        while (atomic_load_explicit(&scene->token, memory_order_acquire) != number * ends + end)
            sched_yield();
        atomic_store_explicit(&scene->token, number * ends + end + 1, memory_order_release); /* pairs with the next one's load */
    }
    atomic_fetch_add_explicit(&scene->ends[end].operations, operations, memory_order_relaxed); /* read when it has ended */
    atomic_fetch_add_explicit(&scene->ends[end].laps, 1, memory_order_relaxed);
}

static void lead_round(unsigned ends, uint64_t operations, struct bench_histogram *samples)
{
    pass_on(BENCH_LEAD, ends, operations);
    while (atomic_load_explicit(&scene->token, memory_order_acquire) != operations * ends) /* pairs with the last one's store */
        sched_yield();
    atomic_store_explicit(&scene->token, 0, memory_order_relaxed); /* relaxed: the next lap begins by a release */
    bench_histogram_add(samples, 1);
}

static void lead_four(void *state, uint64_t operations, struct bench_histogram *samples)
{
    (void)state;
    lead_round(ENDS, operations, samples);
}

static void peer_four(void *state, uint64_t operations)
{
    (void)state;
    pass_on(BENCH_PEER, ENDS, operations);
}

static void end_four(void *state, unsigned end, uint64_t operations)
{
    (void)state;
    pass_on(end, ENDS, operations);
}

static void join_pair(void *state, unsigned end)
{
    (void)state;
    scene->joined_by_pair[end] = true;
}

static void lead_pair(void *state, uint64_t operations, struct bench_histogram *samples)
{
    (void)state;
    for (uint64_t number = 0; number < operations; number++)
        bench_pause();
    bench_histogram_add(samples, 1);
}

static void peer_pair(void *state, uint64_t operations)
{
    (void)state;
    (void)operations;
}

static void peer_dies(void *state, uint64_t operations)
{
    (void)state;
    (void)operations;
    _exit(9);
}

static const struct bench_variant four = {
    .name = "four", .open = open_scene, .close = close_scene, .join = join, .leave = leave, .lead = lead_four, .peer = peer_four,
    .end = end_four, .operations = TRIPS_PER_LAP,
};
static const struct bench_variant pair = {
    .name = "pair", .open = open_scene, .close = close_scene, .join = join_pair, .lead = lead_pair, .peer = peer_pair,
};
static const struct bench_variant dying = {
    .name = "dying", .open = open_scene, .close = close_scene, .lead = lead_four, .peer = peer_dies, .end = end_four,
};
static const struct bench_row rows[] = { { "four", 0, 1, NULL, NULL, 1.5, 0, 0 } };

#define GROUP(subject, ...) \
    { .about = "Of the tests", .variants = { subject, &pair }, .variant_count = 2, .rows = rows, .row_count = 1, __VA_ARGS__ }
static const struct bench_group processes = GROUP(&four, .ends = ENDS);
static const struct bench_group threads = GROUP(&four, .ends = ENDS, .threads = true);
static const struct bench_group long_ones = GROUP(&four, .ends = ENDS, .slices_max = 2);
static const struct bench_group sleepers = GROUP(&four, .ends = ENDS, .sleeps = true);
static const struct bench_group mortals = GROUP(&dying, .ends = ENDS);

static void assert_all_took_part(void)
{
    for (unsigned i = 0; i < ENDS; i++) {
        ck_assert_msg(scene->ends[i].joined && scene->ends[i].left, "end %u", i);
        ck_assert_int_eq(scene->ends[i].cpu, options.cpus[i % 2]);
        ck_assert_uint_gt(scene->ends[i].operations, 0);
        ck_assert_uint_eq(scene->ends[i].operations, scene->ends[0].operations);
        ck_assert_uint_eq(scene->ends[i].laps, scene->ends[0].laps);
        for (unsigned other = 0; other < i; other++)
            ck_assert_int_ne(scene->ends[i].thread, scene->ends[other].thread);
    }
}

START_TEST(ends_are_processes_each_on_its_cpu)
{
    if (!find_cpus())
        return;
    bench_run_group(&processes, &options, report, all_are_wanted);
    assert_all_took_part();
    for (unsigned i = 1; i < ENDS; i++)
        ck_assert_int_ne(scene->ends[i].process, getpid());
    ck_assert_int_eq(waitpid(-1, NULL, WNOHANG), -1); /* no child is left */
    ck_assert_uint_ge(report->count, 1);
    ck_assert_uint_eq(report->figures, report->count);
}
END_TEST

START_TEST(ends_are_threads_each_on_its_cpu)
{
    if (!find_cpus())
        return;
    bench_run_group(&threads, &options, report, all_are_wanted);
    assert_all_took_part();
    for (unsigned i = 0; i < ENDS; i++)
        ck_assert_int_eq(scene->ends[i].process, getpid());
    ck_assert_uint_ge(report->count, 1);
}
END_TEST

START_TEST(variant_without_further_ends_is_of_the_first_two)
{
    if (!find_cpus())
        return;
    bench_run_group(&processes, &options, report, all_are_wanted);
    ck_assert(scene->joined_by_pair[BENCH_LEAD] && scene->joined_by_pair[BENCH_PEER]);
    for (unsigned i = 2; i < ENDS; i++)
        ck_assert(!scene->joined_by_pair[i]);
}
END_TEST

START_TEST(lap_of_long_operations_is_as_many_as_the_variant_says)
{
    if (!find_cpus())
        return;
    bench_run_group(&long_ones, &options, report, all_are_wanted);
    ck_assert_uint_eq(scene->ends[2].operations, scene->ends[2].laps * TRIPS_PER_LAP);
    ck_assert_uint_ge(scene->ends[2].laps, 1 + 2);     /* one warms up */
    ck_assert_uint_le(scene->ends[2].laps, 1 + 2 * 2); /* twice as many are tried when they are disturbed */
}
END_TEST

START_TEST(ends_that_sleep_tell_their_cpu_time)
{
    if (!find_cpus())
        return;
    bench_run_group(&sleepers, &options, report, all_are_wanted);
    ck_assert_uint_ge(report->count, 1);
    for (unsigned i = 0; i < report->count; i++) {
        ck_assert_uint_eq(report->entries[i].ends, ENDS);
        ck_assert_uint_eq(report->entries[i].disturbed, 0);
        for (unsigned end = 0; end < ENDS; end++)
            ck_assert_double_gt(report->entries[i].cpu_ns[end], 0);
    }
}
END_TEST

START_TEST(death_of_an_end_ends_the_program_with_a_sentence)
{
    int output[2], status;
    char text[4096] = "";
    if (!find_cpus())
        return;
    ck_assert_int_eq(pipe(output), 0);
    pid_t child = fork();
    if (child == 0) {
        dup2(output[1], STDERR_FILENO);
        bench_run_group(&mortals, &options, report, all_are_wanted);
        _exit(0);
    }
    close(output[1]);
    ssize_t n = read(output[0], text, sizeof text - 1);
    ck_assert_msg(n > 0 && strstr(text, "process of another end has ended") != NULL, "%s", text);
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 1);
    close(output[0]);
}
END_TEST

/* ---------------------------------------------------------------- local */

static void before(void *state)
{
    (void)state;
    scene->wrong_order += scene->prepared;
    scene->prepared = true;
    scene->before++;
}

static void chunk(void *state)
{
    (void)state;
    scene->wrong_order += !scene->prepared;
    scene->chunks++;
}

static void after(void *state)
{
    (void)state;
    scene->wrong_order += !scene->prepared;
    scene->prepared = false;
    scene->after++;
}

static void bare(void *state)
{
    bench_opaque(state);
}

static const struct bench_variant hooked = {
    .name = "hooked", .open = open_scene, .close = close_scene, .chunk = chunk, .before = before, .after = after, .operations = 10,
};
static const struct bench_variant unhooked = {
    .name = "bare", .open = open_scene, .close = close_scene, .chunk = bare, .operations = 10,
};
static const struct bench_row local_rows[] = { { "hooked", 0, 1, NULL, NULL, 0, 0, 0 } };
static const struct bench_group local = {
    .variants = { &hooked, &unhooked }, .variant_count = 2, .rows = local_rows, .row_count = 1,
};
static const struct bench_group long_local = {
    .variants = { &hooked, &unhooked }, .variant_count = 2, .rows = local_rows, .row_count = 1, .slices_max = 3, .sleeps = true,
};

START_TEST(each_chunk_is_between_its_hooks)
{
    find_cpus();
    bench_run_group(&local, &options, report, all_are_wanted);
    ck_assert_uint_gt(scene->chunks, 0);
    ck_assert_uint_eq(scene->before, scene->chunks);
    ck_assert_uint_eq(scene->after, scene->chunks);
    ck_assert_uint_eq(scene->wrong_order, 0);
    ck_assert_uint_eq(report->count, 1);
    ck_assert_str_eq(report->entries[0].cpus, "one");
}
END_TEST

START_TEST(lap_of_a_long_local_operation_is_one_chunk)
{
    find_cpus();
    bench_run_group(&long_local, &options, report, all_are_wanted);
    ck_assert_uint_eq(scene->chunks, 1 + 3); /* one warms up; none is disturbed, for they may sleep */
    ck_assert_uint_eq(scene->before, scene->chunks);
    ck_assert_uint_eq(scene->wrong_order, 0);
    ck_assert_uint_eq(report->entries[0].slices, 3);
    ck_assert_uint_eq(report->entries[0].samples->count, 3);
    ck_assert(!report->entries[0].busy);
}
END_TEST

static bool opened_unwanted;

static void *open_unwanted(void)
{
    opened_unwanted = true;
    return scene;
}

static bool hooked_is_wanted(const char *name)
{
    return strcmp(name, "hooked") == 0;
}

START_TEST(variants_that_no_wanted_row_needs_are_left_alone)
{
    static const struct bench_variant unwanted = { .name = "unwanted", .open = open_unwanted, .close = close_scene, .chunk = bare };
    static const struct bench_row some_rows[] = { { "unwanted", 0, 2, NULL, NULL, 0, 0, 0 }, { "hooked", 1, 2, NULL, NULL, 9, 0, 0 } };
    static const double median_max[] = { 3, 4 };
    static const struct bench_group some = {
        .variants = { &unwanted, &hooked, &unhooked }, .variant_count = 3, .rows = some_rows, .row_count = 2, .median_max = median_max,
    };
    find_cpus();
    bench_run_group(&some, &options, report, hooked_is_wanted);
    ck_assert(!opened_unwanted);
    ck_assert_uint_gt(scene->chunks, 0);
    ck_assert_uint_eq(report->count, 1);
    ck_assert_str_eq(report->entries[0].name, "hooked");
    ck_assert_str_eq(report->entries[0].floor_name, "bare");
    ck_assert_double_eq(report->entries[0].ratio_max, 9);
    ck_assert_double_eq(report->entries[0].median_max, 4);
    ck_assert_str_eq(report->parts[0].name, "unwanted"); /* the group's, whatever of it was asked for */
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("bench_ends");
    TCase *cases = tcase_create("bench_ends");
    tcase_add_checked_fixture(cases, set_up, tear_down);
    tcase_set_timeout(cases, 60);
    tcase_add_test(cases, ends_are_processes_each_on_its_cpu);
    tcase_add_test(cases, ends_are_threads_each_on_its_cpu);
    tcase_add_test(cases, variant_without_further_ends_is_of_the_first_two);
    tcase_add_test(cases, lap_of_long_operations_is_as_many_as_the_variant_says);
    tcase_add_test(cases, ends_that_sleep_tell_their_cpu_time);
    tcase_add_test(cases, death_of_an_end_ends_the_program_with_a_sentence);
    tcase_add_test(cases, each_chunk_is_between_its_hooks);
    tcase_add_test(cases, lap_of_a_long_local_operation_is_one_chunk);
    tcase_add_test(cases, variants_that_no_wanted_row_needs_are_left_alone);
    suite_add_tcase(suite, cases);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
