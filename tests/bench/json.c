/* SPDX-License-Identifier: MIT
 *
 * The results as a JSON list. Each stands by itself, with the machine it was measured on, so that lists can be put together.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "figures.h"
#include "numapool.h"
#include "report.h"

static void set(json_t *object, const char *key, json_t *value)
{
    if (!value || json_object_set_new(object, key, value) < 0)
        bench_fail("no memory for the report, or no text in %s", key);
}

static json_t *params_of(const struct bench_result *result)
{
    char text[512];
    json_error_t error;
    int length = snprintf(text, sizeof text, "{%s}", result->params ? result->params : "");
    json_t *params = length < (int)sizeof text ? json_loads(text, 0, &error) : NULL;
    if (!params)
        bench_fail("the params of %s are not the inside of a JSON object: %s", result->name, result->params);
    set(params, "floor", json_string(result->floor_name));
    if (result->subject_name)
        set(params, "subject", json_string(result->subject_name));
    set(params, "cpus", json_string(result->cpus));
    if (result->sample)
        set(params, "sample", json_string(result->sample));
    if (result->slices > 0) {
        set(params, "slices", json_integer(result->slices));
        set(params, "slices_dropped_mixed", json_integer(result->mixed));
        set(params, "slices_dropped_disturbed", json_integer(result->disturbed));
        set(params, "machine_busy", json_boolean(result->busy));
    }
    if (result->ratio_high > 0) {
        set(params, "ratio_p10", json_real(result->ratio_low));
        set(params, "ratio_p90", json_real(result->ratio_high));
    }
    if (result->line_ns > 0)
        set(params, "bare_line_ns", json_real(result->line_ns));
    return params;
}

static json_t *quantiles_of(const struct bench_histogram *histogram)
{
    static const struct {
        const char *name;
        double share;
    } quantiles[] = { { "p50", 0.5 }, { "p90", 0.9 }, { "p99", 0.99 }, { "p999", 0.999 }, { "p9999", 0.9999 }, { "max", 1 } };
    if (!histogram)
        return json_null();
    json_t *object = json_object();
    set(object, "samples", json_integer((json_int_t)histogram->count));
    for (size_t i = 0; i < sizeof quantiles / sizeof *quantiles; i++)
        set(object, quantiles[i].name, json_real(bench_histogram_quantile(histogram, quantiles[i].share)));
    return object;
}

static json_t *times_of(const double *cpu_ns, unsigned ends)
{
    json_t *list = json_array();
    for (unsigned i = 0; i < ends; i++)
        json_array_append_new(list, json_real(cpu_ns[i]));
    return list;
}

static void set_figures(json_t *one, const struct bench_result *result)
{
    struct bench_figure figures[BENCH_FIGURES_MAX];
    const unsigned n = bench_figures_of(result, figures);
    json_t *target = json_object();
    bool met = true;
    for (unsigned i = 0; i < n; i++) {
        set(target, figures[i].key, json_real(figures[i].max));
        met = met && figures[i].met;
    }
    set(one, "target", target);
    set(one, "met", n > 0 ? json_boolean(met) : json_null());
}

json_t *bench_json_entry(const struct bench_report *report, unsigned part, const struct bench_result *result, json_t *machine)
{
    json_t *one = json_object();
    const char *about = report->parts[part].about;
    set(one, "name", json_string(result->name));
    set(one, "params", params_of(result));
    set(one, "unit", json_string(result->unit));
    set(one, "median", json_real(result->median));
    set(one, "p99", json_real(result->p99));
    set(one, "p999", json_real(result->p999));
    set(one, "floor", json_real(result->floor));
    set(one, "ratio", json_real(result->ratio));
    set(one, "floor_p99", json_real(result->floor_p99));
    set(one, "floor_p999", json_real(result->floor_p999));
    set(one, "p99_ratio", json_real(result->floor_p99 > 0 ? bench_ratio(result->p99, result->floor_p99) : 0));
    set(one, "p999_ratio", json_real(result->floor_p999 > 0 ? bench_ratio(result->p999, result->floor_p999) : 0));
    set_figures(one, result);
    set(one, "quantiles", quantiles_of(result->samples));
    set(one, "floor_quantiles", quantiles_of(result->floor_samples));
    if (result->ends > 0) {
        set(one, "cpu_ns", times_of(result->cpu_ns, result->ends));
        set(one, "floor_cpu_ns", times_of(result->floor_cpu_ns, result->ends));
    }
    set(one, "group", json_string(about ? about : report->parts[part].name));
    set(one, "machine", json_incref(machine));
    return one;
}

static json_t *machine_of(const struct bench_report *report)
{
    struct bench_machine machine;
    json_t *object = json_object();
    bench_machine_read(&machine, report->options);
    set(object, "cpu", json_string(machine.cpu_model));
    set(object, "cpus_online", json_integer(machine.cpus_online));
    set(object, "cpus_used", json_pack("[i, i]", machine.cpus[0], machine.cpus[1]));
    set(object, "kernel", json_string(machine.kernel));
    set(object, "compiler", json_string(machine.compiler));
    set(object, "numapool", json_string(numapool_version()));
    set(object, "pages", json_string(machine.pages));
    set(object, "governor", machine.governor[0] ? json_string(machine.governor) : json_null());
    set(object, "seconds", json_real(report->options->seconds));
    set(object, "slices", json_integer(report->options->slices));
    return object;
}

void bench_json_write(const struct bench_report *report, const char *path)
{
    json_t *list = json_array(), *machine = machine_of(report);
    for (unsigned part = 0; part < report->part_count; part++)
        for (unsigned i = report->parts[part].first; i < bench_report_part_end(report, part); i++)
            if (json_array_append_new(list, bench_json_entry(report, part, &report->entries[i], machine)) < 0)
                bench_fail("no memory for the report");
    if (json_dump_file(list, path, JSON_INDENT(2) | JSON_REAL_PRECISION(6)) < 0)
        bench_fail("%s cannot be written: %s", path, strerror(errno));
    json_decref(machine);
    json_decref(list);
}
