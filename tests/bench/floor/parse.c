/* SPDX-License-Identifier: MIT */
#include "parse.h"

#include <stddef.h>

#include "../bench.h"
#include "docs/examples/payments/nacha.h"

#define HASH_MODULUS UINT64_C(10000000000) /* the entry hash is the last ten digits of the sum */

struct books {
    const char *path;
    struct nacha_totals totals;
    uint64_t entries, objections;
};

/* What the validator looks at: the bank's check digit, the code, the amount against the code. */
static bool is_sound(const struct nacha_entry *entry)
{
    return entry->trace_is_sound && entry->bank[8] == (char)('0' + nacha_check_digit(entry->bank)) && nacha_code_is_known(entry->code) &&
           !(nacha_code_is_prenote(entry->code) && entry->amount_cents != 0);
}

static int add_entry(void *context, const struct nacha_entry *entry)
{
    struct books *books = context;
    uint64_t bank = 0;
    for (unsigned i = 0; i < 8; i++)
        bank = bank * 10 + (uint64_t)(entry->bank[i] - '0');
    books->entries++;
    books->objections += !is_sound(entry);
    books->totals.entry_hash += bank;
    *(entry->is_debit ? &books->totals.debit_cents : &books->totals.credit_cents) += entry->amount_cents;
    return 0;
}

static int end_batch(void *context, const struct nacha_batch *batch)
{
    (void)context;
    (void)batch;
    return 0;
}

static int end_file(void *context, const struct nacha_file *file)
{
    const struct books *books = context;
    if (!file->has_control || file->stated.entry_hash != books->totals.entry_hash % HASH_MODULUS ||
        file->stated.debit_cents != books->totals.debit_cents || file->stated.credit_cents != books->totals.credit_cents)
        bench_fail("%s: its control record disagrees with its entries", books->path);
    return 0;
}

static int find(void *context, enum nacha_severity severity, uint64_t line, const char *sentence)
{
    const struct books *books = context;
    if (severity != NACHA_NOTE)
        bench_fail("%s, line %llu: %s", books->path, (unsigned long long)line, sentence);
    return 0;
}

uint64_t bench_parse(const char *path, unsigned repeats)
{
    uint64_t entries = 0;
    for (unsigned i = 0; i < repeats; i++) {
        struct books books = { .path = path };
        const struct nacha_sink sink = { &books, add_entry, end_batch, end_file, find };
        nacha_read(path, &sink);
        if (books.objections > 0)
            bench_fail("%s has %llu entries at fault", path, (unsigned long long)books.objections);
        entries += books.entries;
    }
    return entries;
}
