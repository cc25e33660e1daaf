/* SPDX-License-Identifier: MIT
 *
 * Comparison with an earlier run: ratios, since times differ by machine and hour.
 */
#include <stdio.h>
#include <string.h>

#include "report.h"

/* Of what has no slices, and so no spread of its own. */
#define OWN_SPREAD 0.02

json_t *bench_baseline_read(const char *path)
{
    json_error_t error;
    json_t *list = json_load_file(path, 0, &error), *one;
    size_t i;
    if (!list)
        bench_fail("--baseline %s: %s (line %d)", path, error.text, error.line);
    json_array_foreach(list, i, one)
        if (!json_is_string(json_object_get(one, "name")) || !json_is_number(json_object_get(one, "ratio")) ||
            !json_is_string(json_object_get(json_object_get(one, "params"), "cpus")))
            bench_fail("--baseline %s: its entry %zu is not one that bench --json writes", path, i);
    if (!json_is_array(list))
        bench_fail("--baseline %s: it is not the list that bench --json writes", path);
    return list;
}

static const json_t *find(const json_t *baseline, const struct bench_result *result)
{
    json_t *one;
    size_t i;
    json_array_foreach(baseline, i, one) {
        const char *name = json_string_value(json_object_get(one, "name"));
        const char *cpus = json_string_value(json_object_get(json_object_get(one, "params"), "cpus"));
        if (strcmp(name, result->name) == 0 && strcmp(cpus, result->cpus) == 0)
            return one;
    }
    return NULL;
}

static double number_or(const json_t *value, double otherwise)
{
    return json_is_number(value) ? json_number_value(value) : otherwise;
}

struct range {
    double ratio, low, high;
};

static struct range earlier_range(const json_t *entry)
{
    const json_t *params = json_object_get(entry, "params");
    double ratio = json_number_value(json_object_get(entry, "ratio"));
    return (struct range){ .ratio = ratio, .low = number_or(json_object_get(params, "ratio_p10"), ratio * (1 - OWN_SPREAD)),
                           .high = number_or(json_object_get(params, "ratio_p90"), ratio * (1 + OWN_SPREAD)) };
}

static struct range range_now(const struct bench_result *result)
{
    if (result->ratio_high > 0)
        return (struct range){ .ratio = result->ratio, .low = result->ratio_low, .high = result->ratio_high };
    return (struct range){ .ratio = result->ratio, .low = result->ratio * (1 - OWN_SPREAD),
                           .high = result->ratio * (1 + OWN_SPREAD) };
}

int bench_baseline_moved(const json_t *earlier, const struct bench_result *result)
{
    const struct range was = earlier_range(earlier), is = range_now(result);
    return (is.low > was.high) - (is.high < was.low);
}

void bench_baseline_compare(const struct bench_report *report, const json_t *baseline, const char *path)
{
    unsigned moved = 0, known = 0;
    printf("\nAgainst %s, what has moved by more than both spreads:\n", path);
    for (unsigned i = 0; i < report->count; i++) {
        const struct bench_result *result = &report->entries[i];
        const json_t *earlier = find(baseline, result);
        if (!earlier)
            continue;
        known++;
        int direction = bench_baseline_moved(earlier, result);
        if (direction == 0)
            continue;
        const struct range was = earlier_range(earlier), is = range_now(result);
        printf("  %-30s %-4s %.3f (%.2f..%.2f), was %.3f (%.2f..%.2f): %s\n", result->name, result->cpus, is.ratio, is.low, is.high,
               was.ratio, was.low, was.high, direction > 0 ? "slower" : "faster");
        moved++;
    }
    printf("  %u moved, %u did not, %u are not in it\n", moved, known - moved, report->count - known);
}
