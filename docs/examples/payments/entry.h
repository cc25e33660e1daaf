/* SPDX-License-Identifier: MIT
 * An entry of a payment file as a payment. */
#ifndef PAYMENTS_ENTRY_H
#define PAYMENTS_ENTRY_H

#include "nacha.h"
#include "stream.h"

/* Writes and seals it where it is to lie. created_ns: wall clock, when its sender read it. */
void entry_write(struct numapool_payment *payment, const struct nacha_entry *entry, uint64_t id, int64_t created_ns);

#endif
