/* SPDX-License-Identifier: MIT
 * The benchmark's arithmetic: histograms, quantiles, verdicts on slices, and rows made of them, all from given numbers. */
#include <check.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../bench/figures.h"
#include "../bench/slices.h"

enum { VALUES = 100000 };

static double values[VALUES];
static struct bench_histogram histogram;

static int compare(const void *left, const void *right)
{
    double a = *(const double *)left, b = *(const double *)right;
    return (a > b) - (a < b);
}

/* Spread over ten decades, from a picosecond to ten milliseconds, always the same. */
static void fill(void)
{
    uint64_t random = 88172645463325252u;
    bench_histogram_clear(&histogram);
    for (unsigned i = 0; i < VALUES; i++) {
        random ^= random << 13, random ^= random >> 7, random ^= random << 17;
        values[i] = pow(10, -3 + 10 * (double)(random >> 11) / (double)(UINT64_C(1) << 53));
        bench_histogram_add(&histogram, values[i]);
    }
    qsort(values, VALUES, sizeof *values, compare);
}

START_TEST(quantiles_of_a_histogram_are_the_exact_ones_within_a_step)
{
    static const double shares[] = { 0, 0.1, 0.5, 0.9, 0.99, 0.999, 0.9999, 1 };
    fill();
    for (unsigned i = 0; i < sizeof shares / sizeof *shares; i++) {
        size_t place = (size_t)(shares[i] * VALUES);
        double exact = values[place < VALUES ? place : VALUES - 1], found = bench_histogram_quantile(&histogram, shares[i]);
        /* Half a step of 64 an octave, and half of the picosecond that is the first one. */
        ck_assert_msg(fabs(found - exact) <= exact / 100 + 0.001, "%g: %g instead of %g", shares[i], found, exact);
    }
}
END_TEST

START_TEST(each_value_lies_between_the_bounds_of_its_bucket)
{
    fill();
    uint64_t below = 0;
    for (unsigned i = 0, place = 0; i + 1 < BENCH_HISTOGRAM_BUCKETS && place < VALUES; i++) {
        below += histogram.buckets[i];
        while (place < VALUES && floor(values[place] * 1000) < bench_histogram_bucket_ns(i + 1) * 1000 - 1e-6)
            place++;
        ck_assert_uint_eq(place, below);
    }
    ck_assert_uint_eq(below, histogram.count);
}
END_TEST

START_TEST(merged_histograms_are_that_of_all_samples)
{
    static struct bench_histogram both, other;
    fill();
    bench_histogram_clear(&other);
    bench_histogram_add(&other, 5e8);
    bench_histogram_clear(&both);
    bench_histogram_merge(&both, &histogram);
    bench_histogram_merge(&both, &other);
    ck_assert_uint_eq(both.count, VALUES + 1);
    ck_assert_double_eq_tol(bench_histogram_quantile(&both, 1), 5e8, 5e6);
    ck_assert_double_eq(bench_histogram_quantile(&both, 0.5), bench_histogram_quantile(&histogram, 0.5));
    bench_histogram_clear(&both);
    ck_assert_double_eq(bench_histogram_quantile(&both, 0.5), 0);
}
END_TEST

START_TEST(quantiles_of_values_lie_between_neighbours)
{
    double four[] = { 40, 10, 30, 20 }, one[] = { 7 };
    ck_assert_double_eq(bench_quantile(four, 4, 0.5), 25);
    ck_assert_double_eq(bench_quantile(four, 4, 0), 10);
    ck_assert_double_eq(bench_quantile(four, 4, 1), 40);
    ck_assert_double_eq(bench_quantile(one, 1, 0.9), 7);
    ck_assert_double_eq(bench_quantile(one, 0, 0.9), 0);
}
END_TEST

/* ---------------------------------------------------------------- slices */

START_TEST(probes_before_and_after_tell_near_from_far_and_moved)
{
    ck_assert_int_eq(bench_state_by_probes(100, 105), BENCH_NEAR);
    ck_assert_int_eq(bench_state_by_probes(130, 100), BENCH_NEAR);
    ck_assert_int_eq(bench_state_by_probes(480, 500), BENCH_FAR);
    ck_assert_int_eq(bench_state_by_probes(500, 600), BENCH_FAR);
    ck_assert_int_eq(bench_state_by_probes(100, 480), BENCH_MIXED);
    ck_assert_int_eq(bench_state_by_probes(480, 100), BENCH_MIXED);
    ck_assert_int_eq(bench_state_by_probes(100, 150), BENCH_MIXED); /* one of them was disturbed */
    ck_assert_int_eq(bench_state_by_probes(240, 260), BENCH_MIXED); /* on either side of the border */
}
END_TEST

static struct bench_slice taken[64];

static struct bench_slices slices_of(unsigned wanted)
{
    memset(taken, 0, sizeof taken);
    return (struct bench_slices){ .at = taken, .count = 0, .wanted = wanted };
}

static void add(struct bench_slices *slices, unsigned n, enum bench_state state, double idle, double subject_ns, double floor_ns)
{
    for (unsigned i = 0; i < n; i++) {
        struct bench_slice *slice = &slices->at[slices->count++];
        *slice = (struct bench_slice){ .state = state, .line_ns = 101, .ns = { 0, subject_ns, floor_ns },
                                        .idle = { 1, idle, idle / 2 } };
        slice->cpu_ns[1][0] = subject_ns / 2;
        slice->cpu_ns[1][1] = subject_ns / 4;
        slice->cpu_ns[2][1] = floor_ns / 8;
    }
}

static const struct bench_row row = { "row", 1, 2, NULL, NULL, 0, 0, 0 };

START_TEST(mixed_and_disturbed_slices_are_dropped_and_counted)
{
    struct bench_slices slices = slices_of(10);
    struct bench_result result = { .name = "row" };
    add(&slices, 6, BENCH_NEAR, 0.01, 150, 100);
    add(&slices, 3, BENCH_MIXED, 0, 900, 100);
    add(&slices, 2, BENCH_NEAR, 0.2, 800, 100);
    add(&slices, 1, BENCH_FAR, 0, 700, 100);
    ck_assert(bench_state_is_reported(&slices, &row, BENCH_NEAR));
    ck_assert(!bench_state_is_reported(&slices, &row, BENCH_FAR));
    ck_assert(!bench_state_is_reported(&slices, &row, BENCH_MIXED));
    ck_assert(!bench_state_is_reported(&slices, &row, BENCH_ONE));
    ck_assert(!bench_slices_enough(&slices, &row, 1));
    bench_slices_row(&slices, BENCH_NEAR, &row, 2, &result);
    ck_assert_str_eq(result.cpus, "near");
    ck_assert_uint_eq(result.slices, 6);
    ck_assert_uint_eq(result.mixed, 3);
    ck_assert_uint_eq(result.disturbed, 2);
    ck_assert(!result.busy);
    ck_assert_double_eq(result.median, 150);
    ck_assert_double_eq(result.floor, 100);
    ck_assert_double_eq(result.ratio, 1.5);
    ck_assert_double_eq(result.ratio_low, 1.5);
    ck_assert_double_eq(result.ratio_high, 1.5);
    ck_assert_double_eq(result.line_ns, 101);
    ck_assert_double_eq(result.cpu_ns[0], 75);
    ck_assert_double_eq(result.cpu_ns[1], 37.5);
    ck_assert_double_eq(result.floor_cpu_ns[1], 12.5);
    bench_slices_free(&result);
}
END_TEST

START_TEST(ratio_is_the_median_of_those_within_slices)
{
    struct bench_slices slices = slices_of(5);
    struct bench_result result = { .name = "row" };
    /* The machine's pace differs fourfold between slices, which a ratio of medians would take for the subject's. */
    add(&slices, 1, BENCH_ONE, 0, 110, 100);
    add(&slices, 1, BENCH_ONE, 0, 460, 400);
    add(&slices, 1, BENCH_ONE, 0, 125, 100);
    add(&slices, 1, BENCH_ONE, 0, 130, 100);
    add(&slices, 1, BENCH_ONE, 0, 480, 400);
    ck_assert(bench_slices_enough(&slices, &row, 1));
    bench_slices_row(&slices, BENCH_ONE, &row, 1, &result);
    ck_assert_double_eq_tol(result.ratio, 1.2, 1e-9);
    ck_assert_double_eq_tol(result.ratio_low, 1.12, 1e-9);
    ck_assert_double_eq_tol(result.ratio_high, 1.28, 1e-9);
    ck_assert_double_eq_tol(result.slice_ratio[2], 1.25, 1e-9); /* in the order of the slices, whatever was sorted */
    ck_assert_double_eq(result.slice_ns[3], 130);
    ck_assert_double_eq(result.slice_floor_ns[4], 400);
    bench_slices_free(&result);
}
END_TEST

START_TEST(both_states_are_reported_when_both_have_slices_enough)
{
    struct bench_slices slices = slices_of(20);
    struct bench_result near = { .name = "row" }, far = near;
    add(&slices, 7, BENCH_NEAR, 0, 150, 100);
    add(&slices, 9, BENCH_FAR, 0, 600, 500);
    ck_assert(bench_state_is_reported(&slices, &row, BENCH_NEAR) && bench_state_is_reported(&slices, &row, BENCH_FAR));
    bench_slices_row(&slices, BENCH_NEAR, &row, 2, &near);
    bench_slices_row(&slices, BENCH_FAR, &row, 2, &far);
    ck_assert_double_eq_tol(near.ratio, 1.5, 1e-9);
    ck_assert_double_eq_tol(far.ratio, 1.2, 1e-9);
    ck_assert_uint_eq(near.slices, 7);
    ck_assert_uint_eq(far.slices, 9);
    bench_slices_free(&near);
    bench_slices_free(&far);
}
END_TEST

START_TEST(busy_machine_makes_a_row_that_says_so)
{
    struct bench_slices slices = slices_of(20);
    struct bench_result result = { .name = "row" };
    add(&slices, 2, BENCH_NEAR, 0.01, 110, 100);
    add(&slices, 3, BENCH_NEAR, 0.05, 120, 100);
    add(&slices, 30, BENCH_NEAR, 0.5, 900, 100);
    ck_assert(bench_state_is_reported(&slices, &row, BENCH_NEAR));
    bench_slices_row(&slices, BENCH_NEAR, &row, 2, &result);
    ck_assert(result.busy);
    ck_assert_uint_eq(result.slices, 5); /* the least disturbed */
    ck_assert_uint_eq(result.disturbed, 30);
    ck_assert_double_eq_tol(result.ratio, 1.2, 1e-9);
    bench_slices_free(&result);
}
END_TEST

START_TEST(lap_of_another_row_disturbs_none)
{
    static const struct bench_row rows[] = { { "row", 1, 2, NULL, NULL, 0, 0, 0 }, { "other", 0, 2, NULL, NULL, 0, 0, 0 } };
    struct bench_slices slices = slices_of(6);
    struct bench_result result = { .name = "row" };
    add(&slices, 6, BENCH_NEAR, 0, 150, 100); /* variant 0 was off its CPU in each of them */
    ck_assert(bench_slices_enough(&slices, rows, 1));
    ck_assert(!bench_slices_enough(&slices, rows, 2));
    bench_slices_row(&slices, BENCH_NEAR, &rows[0], 2, &result);
    ck_assert(!result.busy);
    ck_assert_uint_eq(result.slices, 6);
    ck_assert_uint_eq(result.disturbed, 0);
    bench_slices_free(&result);
    bench_slices_row(&slices, BENCH_NEAR, &rows[1], 2, &result);
    ck_assert(result.busy);
    bench_slices_free(&result);
}
END_TEST

START_TEST(floor_that_was_disturbed_disturbs_the_row)
{
    struct bench_slices slices = slices_of(6);
    add(&slices, 1, BENCH_NEAR, 0, 150, 100);
    slices.at[0].idle[row.floor] = 0.5;
    ck_assert(bench_slice_is_disturbed(&slices.at[0], &row));
}
END_TEST

START_TEST(few_slices_are_enough_where_few_were_asked_for)
{
    struct bench_slices slices = slices_of(3);
    struct bench_result result = { .name = "row" };
    add(&slices, 2, BENCH_ONE, 0, 110, 100);
    ck_assert(!bench_slices_enough(&slices, &row, 1));
    add(&slices, 1, BENCH_ONE, 0, 110, 100);
    ck_assert(bench_slices_enough(&slices, &row, 1));
    bench_slices_row(&slices, BENCH_ONE, &row, 1, &result);
    ck_assert(!result.busy);
    bench_slices_free(&result);
}
END_TEST

START_TEST(row_whose_slices_were_all_mixed_is_there_and_reaches_nothing)
{
    struct bench_slices slices = slices_of(3);
    struct bench_result result = { .name = "row", .ratio_max = 2 };
    struct bench_figure figures[BENCH_FIGURES_MAX];
    add(&slices, 6, BENCH_MIXED, 0, 110, 100);
    ck_assert(bench_state_is_reported(&slices, &row, BENCH_MIXED));
    ck_assert(!bench_state_is_reported(&slices, &row, BENCH_NEAR));
    bench_slices_row(&slices, BENCH_MIXED, &row, 2, &result);
    ck_assert_str_eq(result.cpus, "mixed");
    ck_assert(result.busy);
    ck_assert_uint_eq(bench_figures_of(&result, figures), 1);
    ck_assert(!figures[0].met);
    bench_slices_free(&result);
}
END_TEST

/* ---------------------------------------------------------------- figures */

START_TEST(figure_is_reached_at_its_value_and_not_beyond)
{
    struct bench_figure figures[BENCH_FIGURES_MAX];
    struct bench_result result = {
        .cpus = "near", .ratio = 1.25, .ratio_max = 1.25, .p99 = 220, .floor_p99 = 100, .p99_ratio_max = 2.1,
        .p999 = 300, .floor_p999 = 200, .p999_ratio_max = 1.5, .median = 4.8, .median_max = 4.9,
    };
    ck_assert_uint_eq(bench_figures_of(&result, figures), 4);
    ck_assert_str_eq(figures[0].key, "ratio");
    ck_assert(figures[0].met);
    ck_assert_str_eq(figures[1].key, "p99_ratio");
    ck_assert(!figures[1].met);
    ck_assert_double_eq_tol(figures[1].value, 2.2, 1e-9);
    ck_assert_str_eq(figures[2].key, "p999_ratio");
    ck_assert(figures[2].met);
    ck_assert_str_eq(figures[3].key, "median");
    ck_assert(figures[3].met);
    result.ratio = 1.2501;
    result.p99_ratio_max = result.p999_ratio_max = result.median_max = 0;
    ck_assert_uint_eq(bench_figures_of(&result, figures), 1);
    ck_assert(!figures[0].met);
}
END_TEST

START_TEST(numbers_are_written_for_people)
{
    static const struct {
        double number;
        const char *text;
    } cases[] = { { 0.5264, "0.526" }, { 9.994, "9.994" }, { 9.996, "10.00" }, { 99.96, "100.0" }, { 174.41, "174.4" },
                  { 1000, "1,000" }, { 42402.4, "42,402" }, { 1204311, "1,204,311" }, { 0, "0.000" } };
    char text[32];
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        bench_number_write(cases[i].number, text, sizeof text);
        ck_assert_str_eq(text, cases[i].text);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("bench_statistics");
    TCase *cases = tcase_create("bench_statistics");
    tcase_set_timeout(cases, 60);
    tcase_add_test(cases, quantiles_of_a_histogram_are_the_exact_ones_within_a_step);
    tcase_add_test(cases, each_value_lies_between_the_bounds_of_its_bucket);
    tcase_add_test(cases, merged_histograms_are_that_of_all_samples);
    tcase_add_test(cases, quantiles_of_values_lie_between_neighbours);
    tcase_add_test(cases, probes_before_and_after_tell_near_from_far_and_moved);
    tcase_add_test(cases, mixed_and_disturbed_slices_are_dropped_and_counted);
    tcase_add_test(cases, ratio_is_the_median_of_those_within_slices);
    tcase_add_test(cases, both_states_are_reported_when_both_have_slices_enough);
    tcase_add_test(cases, busy_machine_makes_a_row_that_says_so);
    tcase_add_test(cases, lap_of_another_row_disturbs_none);
    tcase_add_test(cases, floor_that_was_disturbed_disturbs_the_row);
    tcase_add_test(cases, few_slices_are_enough_where_few_were_asked_for);
    tcase_add_test(cases, row_whose_slices_were_all_mixed_is_there_and_reaches_nothing);
    tcase_add_test(cases, figure_is_reached_at_its_value_and_not_beyond);
    tcase_add_test(cases, numbers_are_written_for_people);
    suite_add_tcase(suite, cases);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
