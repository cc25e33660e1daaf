/* SPDX-License-Identifier: MIT
 * What the ledger has to say at the end. */
#ifndef PAYMENTS_REPORT_H
#define PAYMENTS_REPORT_H

#include <stdio.h>

#include "book.h"

struct report {
    const struct book *book; /* settled */
    enum book_verdict verdict;
    uint64_t entries_per_second;
    uint32_t repeats;
};

void report_print(const struct report *report, FILE *out);
/* One JSON document. 0 or -1. */
int report_print_json(const struct report *report, FILE *out);

#endif
