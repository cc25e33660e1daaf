/* SPDX-License-Identifier: MIT
 * What the benchmark makes of results: JSON, comparison with an earlier one, tables, pictures' scripts. */
#include <check.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../bench/report.h"

static const struct bench_options options = { .seconds = 2, .slices = 200, .cpus = { 0, 1 } };
static char directory[PATH_MAX / 2], path[PATH_MAX];
static struct bench_report *report;

static struct bench_result result_of(const char *name, double ratio, double low, double high)
{
    static const double ns[] = { 130, 150, 140 }, floor_ns[] = { 100, 100, 100 }, ratios[] = { 1.3, 1.5, 1.4 };
    static struct bench_histogram samples, floor_samples;
    bench_histogram_clear(&samples);
    bench_histogram_clear(&floor_samples);
    for (unsigned i = 0; i < 1000; i++) {
        bench_histogram_add(&samples, 140 + i * 0.1);
        bench_histogram_add(&floor_samples, 100 + i * 0.1);
    }
    return (struct bench_result){
        .name = name, .unit = "ns", .subject_name = "trip", .floor_name = "bare \"ring\"", .sample = "one of 64", .cpus = "near",
        .params = "\"bytes\": 128", .median = 140, .p99 = 239, .p999 = 240, .floor = 100, .ratio = ratio, .floor_p99 = 199,
        .floor_p999 = 200, .ratio_max = 1.5, .p99_ratio_max = 1.1, .ratio_low = low, .ratio_high = high, .line_ns = 101,
        .cpu_ns = { 60, 50 }, .floor_cpu_ns = { 40, 30 }, .ends = 2, .slices = 3, .mixed = 4, .disturbed = 5, .slice_ns = ns,
        .slice_floor_ns = floor_ns, .slice_ratio = ratios, .samples = &samples, .floor_samples = &floor_samples,
        .floor_variant = 1,
    };
}

static void make_report(void)
{
    const struct bench_result trip = result_of("trip", 1.4, 1.3, 1.5), bare = { .name = "metadata", .unit = "bytes",
        .floor_name = "one word", .cpus = "one", .median = 8.4, .floor = 8, .ratio = 1.05 };
    report = bench_report_open(&options);
    bench_report_group(report, "trip", "A message there and back.");
    bench_report_add(report, &trip);
    bench_report_group(report, "metadata", NULL);
    bench_report_add(report, &bare);
    bench_report_end(report);
}

static void close_report(void)
{
    bench_report_close(report);
}

/* For all tests: one that ends its process cleans nothing up. */
static void make_directory(void)
{
    const char *where = getenv("TMPDIR");
    snprintf(directory, sizeof directory, "%s/bench-report-XXXXXX", where ? where : "/tmp");
    ck_assert_ptr_nonnull(mkdtemp(directory));
}

static void remove_directory(void)
{
    char command[PATH_MAX];
    snprintf(command, sizeof command, "rm -r '%s'", directory);
    ck_assert_int_eq(system(command), 0);
}

static const char *file(const char *name)
{
    snprintf(path, sizeof path, "%s/%s", directory, name);
    return path;
}

static const char *text_of(const char *name)
{
    static char text[200000];
    FILE *in = fopen(file(name), "r");
    ck_assert_msg(in != NULL, "%s is not there", path);
    text[fread(text, 1, sizeof text - 1, in)] = '\0';
    fclose(in);
    return text;
}

static double number(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    ck_assert_msg(json_is_number(value), "%s is not a number", key);
    return json_number_value(value);
}

START_TEST(json_has_every_row_with_all_that_was_found)
{
    bench_json_write(report, file("all.json"));
    json_t *list = json_load_file(path, 0, NULL);
    ck_assert_uint_eq(json_array_size(list), 2);
    const json_t *one = json_array_get(list, 0), *params = json_object_get(one, "params");
    ck_assert_str_eq(json_string_value(json_object_get(one, "name")), "trip");
    ck_assert_double_eq(number(one, "median"), 140);
    ck_assert_double_eq(number(one, "floor"), 100);
    ck_assert_double_eq(number(one, "ratio"), 1.4);
    ck_assert_double_eq(number(one, "p99"), 239);
    ck_assert_double_eq(number(one, "p999"), 240);
    ck_assert_double_eq_tol(number(one, "p99_ratio"), 239.0 / 199, 1e-5);
    ck_assert_double_eq(number(params, "bytes"), 128);
    ck_assert_double_eq(number(params, "slices"), 3);
    ck_assert_double_eq(number(params, "slices_dropped_mixed"), 4);
    ck_assert_double_eq(number(params, "slices_dropped_disturbed"), 5);
    ck_assert_double_eq_tol(number(json_object_get(one, "quantiles"), "p50"), 190, 2);
    ck_assert_double_eq_tol(number(json_object_get(one, "floor_quantiles"), "max"), 199.9, 2);
    ck_assert_double_eq(number(json_object_get(one, "quantiles"), "samples"), 1000);
    ck_assert_double_eq(json_number_value(json_array_get(json_object_get(one, "cpu_ns"), 1)), 50);
    ck_assert_double_eq(number(json_object_get(one, "target"), "ratio"), 1.5);
    ck_assert_double_eq(number(json_object_get(one, "target"), "p99_ratio"), 1.1);
    ck_assert(json_is_false(json_object_get(one, "met"))); /* the ratio is, its p99 is not */
    ck_assert_str_eq(json_string_value(json_object_get(one, "group")), "A message there and back.");
    ck_assert(json_is_null(json_object_get(json_array_get(list, 1), "met"))); /* it has no figure to reach */
    ck_assert_uint_eq(report->figures, 2);
    ck_assert_uint_eq(report->figures_met, 1);
    json_decref(list);
}
END_TEST

START_TEST(json_says_on_what_machine_and_never_which_host)
{
    char host[256] = "", quoted[260];
    bench_json_write(report, file("all.json"));
    json_t *list = json_load_file(path, 0, NULL);
    const json_t *machine = json_object_get(json_array_get(list, 1), "machine");
    static const char *const texts[] = { "cpu", "kernel", "compiler", "numapool", "pages" };
    for (unsigned i = 0; i < sizeof texts / sizeof *texts; i++)
        ck_assert_msg(json_is_string(json_object_get(machine, texts[i])), "%s", texts[i]);
    ck_assert_uint_eq(json_array_size(json_object_get(machine, "cpus_used")), 2);
    ck_assert_double_ge(number(machine, "cpus_online"), 1);
    ck_assert_int_eq(gethostname(host, sizeof host - 1), 0);
    snprintf(quoted, sizeof quoted, "\"%s\"", host);
    ck_assert(host[0] == '\0' || strstr(text_of("all.json"), quoted) == NULL);
    json_decref(list);
}
END_TEST

START_TEST(params_that_are_no_json_end_the_program)
{
    struct bench_result wrong = result_of("wrong", 1, 1, 1);
    wrong.params = "bytes: 128";
    bench_report_add(report, &wrong);
    bench_json_write(report, file("all.json"));
}
END_TEST

START_TEST(baseline_tells_what_moved_beyond_both_spreads)
{
    bench_json_write(report, file("all.json"));
    json_t *baseline = bench_baseline_read(path);
    const json_t *trip = json_array_get(baseline, 0), *metadata = json_array_get(baseline, 1);
    struct bench_result now = result_of("trip", 1.6, 1.52, 1.7);
    ck_assert_int_eq(bench_baseline_moved(trip, &now), 1);
    now = result_of("trip", 1.6, 1.45, 1.7); /* its spread reaches into the earlier one's */
    ck_assert_int_eq(bench_baseline_moved(trip, &now), 0);
    now = result_of("trip", 1.2, 1.1, 1.29);
    ck_assert_int_eq(bench_baseline_moved(trip, &now), -1);
    now = (struct bench_result){ .name = "metadata", .ratio = 1.06 };
    ck_assert_int_eq(bench_baseline_moved(metadata, &now), 0);
    now.ratio = 1.2;
    ck_assert_int_eq(bench_baseline_moved(metadata, &now), 1);
    json_decref(baseline);
}
END_TEST

static void write_file(const char *name, const char *text)
{
    FILE *out = fopen(file(name), "w");
    ck_assert_ptr_nonnull(out);
    fputs(text, out);
    fclose(out);
}

START_TEST(baseline_that_bench_did_not_write_ends_the_program)
{
    static const char *const texts[] = { "{", "{}", "[{\"name\": \"x\"}]", "[1]", "" };
    write_file("wrong.json", texts[_i]);
    bench_baseline_read(path);
}
END_TEST

START_TEST(table_for_documents_has_a_line_for_each_row)
{
    bench_markdown_write(report, file("table.md"));
    const char *text = text_of("table.md");
    ck_assert_ptr_nonnull(strstr(text, "\nA message there and back.\n"));
    ck_assert_ptr_nonnull(strstr(text, "| `trip` | near | 140.0 ns | 100.0 ns, bare \"ring\" | 1.40 | 1.30..1.50 | 1.20 | 1.20 |"
                                       " 1.50: yes; p99 1.10: **no** |\n"));
    ck_assert_ptr_nonnull(strstr(text, "| `metadata` | one | 8.400 bytes | 8.000 bytes, one word | 1.05 | | | | |\n"));
    ck_assert_ptr_nonnull(strstr(text, "60.00 + 50.00 ns; of its floor 40.00 + 30.00 ns"));
    ck_assert_ptr_nonnull(strstr(text, "\n1 of 2 figures reached.\n"));
}
END_TEST

START_TEST(without_gnuplot_scripts_and_data_are_there_all_the_same)
{
    ck_assert_int_eq(setenv("PATH", directory, 1), 0);
    bench_plots_write(report, directory);
    ck_assert_int_eq(access(file("trip-ratio.svg"), F_OK), -1);
    const char *script = text_of("trip.gnuplot");
    ck_assert_ptr_nonnull(strstr(script, "set output 'trip-ratio.svg'"));
    ck_assert_ptr_nonnull(strstr(script, "bare \\\"ring\\\" (trip), near"));
    ck_assert_ptr_nonnull(strstr(text_of("trip-ratio.dat"), "\n2 150 100 1.5\n"));
    ck_assert_ptr_nonnull(strstr(text_of("trip-latency.dat"), " 1\n"));
    ck_assert_int_eq(access(file("metadata.gnuplot"), F_OK), -1); /* it has nothing to draw */
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("bench_report");
    TCase *cases = tcase_create("bench_report");
    tcase_add_unchecked_fixture(cases, make_directory, remove_directory);
    tcase_add_checked_fixture(cases, make_report, close_report);
    tcase_set_timeout(cases, 60);
    tcase_add_test(cases, json_has_every_row_with_all_that_was_found);
    tcase_add_test(cases, json_says_on_what_machine_and_never_which_host);
    tcase_add_exit_test(cases, params_that_are_no_json_end_the_program, 1);
    tcase_add_test(cases, baseline_tells_what_moved_beyond_both_spreads);
    tcase_add_loop_exit_test(cases, baseline_that_bench_did_not_write_ends_the_program, 1, 0, 5);
    tcase_add_test(cases, table_for_documents_has_a_line_for_each_row);
    tcase_add_test(cases, without_gnuplot_scripts_and_data_are_there_all_the_same);
    suite_add_tcase(suite, cases);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
