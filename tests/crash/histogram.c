/* SPDX-License-Identifier: MIT */
#include "histogram.h"

#include "harness.h"

enum { BAR_CHARACTERS = 50 };

static unsigned step_of(uint64_t value)
{
    if (value < HISTOGRAM_STEPS)
        return (unsigned)value;
    unsigned doubling = 63 - (unsigned)__builtin_clzll(value) - 3; /* of 16: 1 */
    unsigned step = (unsigned)(value >> (doubling - 1)) - HISTOGRAM_STEPS;
    return doubling < HISTOGRAM_DOUBLINGS ? doubling * HISTOGRAM_STEPS + step : HISTOGRAM_DOUBLINGS * HISTOGRAM_STEPS - 1;
}

/* The greatest value of a step. */
static uint64_t end_of(unsigned step)
{
    unsigned doubling = step / HISTOGRAM_STEPS;
    if (doubling == 0)
        return step;
    return ((uint64_t)(step % HISTOGRAM_STEPS + HISTOGRAM_STEPS + 1) << (doubling - 1)) - 1;
}

void histogram_add(struct histogram *histogram, uint64_t value)
{
    histogram->count++;
    histogram->counts[step_of(value)]++;
    if (value > histogram->most)
        histogram->most = value;
}

uint64_t histogram_quantile(const struct histogram *histogram, unsigned thousandths)
{
    uint64_t wanted = (histogram->count * thousandths + 999) / 1000, seen = 0;
    for (unsigned step = 0; step < HISTOGRAM_DOUBLINGS * HISTOGRAM_STEPS && thousandths < 1000; step++) {
        seen += histogram->counts[step];
        if (seen >= wanted && seen > 0)
            return end_of(step) < histogram->most ? end_of(step) : histogram->most;
    }
    return histogram->most;
}

void histogram_print(const struct histogram *histogram, const char *title)
{
    static const char bar[BAR_CHARACTERS + 1] = "##################################################";
    uint64_t sums[HISTOGRAM_DOUBLINGS] = { 0 }, most = 1;
    for (unsigned step = 0; step < HISTOGRAM_DOUBLINGS * HISTOGRAM_STEPS; step++)
        sums[step / HISTOGRAM_STEPS] += histogram->counts[step];
    for (unsigned i = 0; i < HISTOGRAM_DOUBLINGS; i++)
        most = sums[i] > most ? sums[i] : most;
    harness_note("%s", title);
    for (unsigned i = 0; i < HISTOGRAM_DOUBLINGS; i++)
        if (sums[i] > 0)
            harness_note("  up to %9.1f us %8llu %.*s", (double)end_of(i * HISTOGRAM_STEPS + HISTOGRAM_STEPS - 1) / 1000,
                         (unsigned long long)sums[i], (int)((sums[i] * BAR_CHARACTERS + most - 1) / most), bar);
}
