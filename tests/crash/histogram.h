/* SPDX-License-Identifier: MIT
 * Times in a log-linear histogram: 16 steps for each doubling, so a quantile is right to 1/16. */
#ifndef NUMAPOOL_TESTS_CRASH_HISTOGRAM_H
#define NUMAPOOL_TESTS_CRASH_HISTOGRAM_H

#include <stdint.h>

enum { HISTOGRAM_STEPS = 16, HISTOGRAM_DOUBLINGS = 36 };

struct histogram {
    uint64_t count, most;
    uint64_t counts[HISTOGRAM_DOUBLINGS * HISTOGRAM_STEPS];
};

void histogram_add(struct histogram *histogram, uint64_t value);
/* The least value that `thousandths` of 1,000 values are not above, as far as steps tell; the greatest for 1,000. */
uint64_t histogram_quantile(const struct histogram *histogram, unsigned thousandths);
/* A line for each doubling: "   128 us  ########   1,234". Values are nanoseconds. */
void histogram_print(const struct histogram *histogram, const char *title);

#endif
