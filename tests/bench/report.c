/* SPDX-License-Identifier: MIT
 *
 * The results: a table for people as they come, and a JSON list at the end.
 */
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"

struct bench_report {
    json_t *list;
};

struct bench_report *bench_report_open(void)
{
    struct bench_report *report = calloc(1, sizeof *report);
    if (!report || (report->list = json_array()) == NULL)
        bench_fail("no memory for the report");
    printf("%-24s %-5s %9s %9s %9s %9s %7s  %-13s %s\n", "name", "cpus", "median", "p99", "p99.9", "floor", "ratio", "10 %..90 %",
           "floor is");
    return report;
}

void bench_report_group(struct bench_report *report, const char *about)
{
    (void)report;
    if (about)
        printf("%s\n", about);
}

static json_t *params_of(const struct bench_result *result)
{
    char text[512];
    json_error_t error;
    snprintf(text, sizeof text, "{%s}", result->params ? result->params : "");
    json_t *params = json_loads(text, 0, &error);
    if (!params)
        bench_fail("the params of %s are not JSON: %s", result->name, error.text);
    json_object_set_new(params, "floor", json_string(result->floor_name));
    json_object_set_new(params, "cpus", json_string(result->cpus));
    if (result->sample)
        json_object_set_new(params, "sample", json_string(result->sample));
    if (result->slices > 0) {
        json_object_set_new(params, "slices", json_integer(result->slices));
        json_object_set_new(params, "slices_dropped_mixed", json_integer(result->mixed));
        json_object_set_new(params, "slices_dropped_disturbed", json_integer(result->disturbed));
        json_object_set_new(params, "machine_busy", json_boolean(result->busy));
        json_object_set_new(params, "ratio_p10", json_real(result->ratio_low));
        json_object_set_new(params, "ratio_p90", json_real(result->ratio_high));
    }
    if (result->line_ns > 0)
        json_object_set_new(params, "bare_line_ns", json_real(result->line_ns));
    return params;
}

void bench_report_add(struct bench_report *report, const struct bench_result *result)
{
    char spread[32] = "", dropped[96] = "";
    if (result->slices > 0)
        snprintf(spread, sizeof spread, "%.2f..%.2f", result->ratio_low, result->ratio_high);
    if (result->busy)
        snprintf(dropped, sizeof dropped, "; busy machine: the %u least disturbed slices", result->slices);
    else if (result->slices > 0)
        snprintf(dropped, sizeof dropped, "; %u slices, dropped %u mixed %u disturbed", result->slices, result->mixed,
                 result->disturbed);
    printf("%-24s %-5s %9.2f %9.2f %9.2f %9.2f %7.3f  %-13s %s (%s)%s\n", result->name, result->cpus, result->median, result->p99,
           result->p999, result->floor, result->ratio, spread, result->floor_name, result->unit, dropped);
    fflush(stdout);

    json_t *one = json_object();
    json_object_set_new(one, "name", json_string(result->name));
    json_object_set_new(one, "params", params_of(result));
    json_object_set_new(one, "unit", json_string(result->unit));
    json_object_set_new(one, "median", json_real(result->median));
    json_object_set_new(one, "p99", json_real(result->p99));
    json_object_set_new(one, "p999", json_real(result->p999));
    json_object_set_new(one, "floor", json_real(result->floor));
    json_object_set_new(one, "ratio", json_real(result->ratio));
    if (json_array_append_new(report->list, one) < 0)
        bench_fail("no memory for the report");
}

void bench_report_write(const struct bench_report *report, const char *json_path)
{
    if (json_path && json_dump_file(report->list, json_path, JSON_INDENT(2) | JSON_REAL_PRECISION(6)) < 0)
        bench_fail("%s cannot be written: %s", json_path, strerror(errno));
}
