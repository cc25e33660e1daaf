/* SPDX-License-Identifier: MIT
 * For tests of payment files: a reader that posts into a book, samples, and files made by changing one.
 * The sample files are in $NUMAPOOL_DATA, else in tests/data of the source directory. */
#ifndef PAYMENT_FILES_H
#define PAYMENT_FILES_H

#include <check.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "book.h"
#include "nacha.h"
#include "stream.h"

/* ---------------------------------------------------------------- a reader that posts into a book */

/* Which entry gets lost or doubled on the way, by its ordinal; 0: none. */
struct mishap {
    uint64_t lost;
    uint64_t doubled;
    uint64_t redelivered;
};

struct relay {
    struct book *book;
    struct mishap mishap;
    uint32_t repeat;
    uint64_t payments, statements;
    int last_outcome;
};

static inline int relay_entry(void *context, const struct nacha_entry *entry)
{
    struct relay *relay = context;
    uint64_t bank;
    ck_assert(nacha_number(entry->bank, 1, 8, &bank));
    struct book_payment payment = {
        .payment_id = stream_payment_id(relay->repeat, 0, entry->ordinal), .line = entry->line,
        .trace_number = entry->trace_number, .amount_cents = entry->amount_cents, .bank = (uint32_t)bank,
        .batch = entry->batch_ordinal, .code = entry->code, .is_debit = entry->is_debit,
        .objections = entry->trace_is_sound ? 0 : STREAM_BAD_TRACE
    };
    if (entry->bank[8] != (char)('0' + nacha_check_digit(entry->bank)))
        payment.objections |= STREAM_BAD_CHECK_DIGIT;
    relay->payments++;
    if (entry->ordinal == relay->mishap.lost)
        return 0;
    ck_assert_int_eq(book_post(relay->book, &payment), BOOK_POSTED);
    if (entry->ordinal == relay->mishap.doubled)
        relay->last_outcome = book_post(relay->book, &payment);
    if (entry->ordinal == relay->mishap.redelivered) {
        payment.redelivered = true;
        relay->last_outcome = book_post(relay->book, &payment);
    }
    return 0;
}

static inline int relay_batch(void *context, const struct nacha_batch *batch)
{
    struct relay *relay = context;
    const struct stream_batch statement = {
        .repeat = relay->repeat, .ordinal = batch->ordinal, .number = batch->number, .has_control = batch->has_control,
        .line = batch->line, .entries = batch->entries, .addenda = batch->addenda,
        .stated = { batch->stated.entries_and_addenda, batch->stated.entry_hash, batch->stated.debit_cents,
                    batch->stated.credit_cents }
    };
    ck_assert_int_eq(book_batch_stated(relay->book, ++relay->statements, &statement), 0);
    return 0;
}

static inline int relay_file(void *context, const struct nacha_file *file)
{
    struct relay *relay = context;
    const struct stream_file statement = {
        .repeat = relay->repeat, .batches = file->batches, .has_control = file->has_control, .line = file->line,
        .entries = file->entries, .addenda = file->addenda,
        .stated = { file->stated.entries_and_addenda, file->stated.entry_hash, file->stated.debit_cents,
                    file->stated.credit_cents }
    };
    ck_assert_int_eq(book_file_stated(relay->book, ++relay->statements, &statement), 0);
    return 0;
}

static inline int relay_finding(void *context, enum nacha_severity severity, uint64_t line, const char *sentence)
{
    struct relay *relay = context;
    struct stream_finding statement = { .line = line, .severity = (uint32_t)severity };
    if (relay->repeat != 0)
        return 0;
    snprintf(statement.text, sizeof(statement.text), "%s", sentence);
    ck_assert_int_eq(book_found(relay->book, ++relay->statements, &statement), 0);
    return 0;
}

/* Reads the file as often as asked and settles the book, which the caller closes. */
static inline struct book *post_file(const char *path, uint32_t repeats, struct mishap mishap, enum book_verdict *verdict,
                              int *last_outcome)
{
    struct relay relay = { .book = book_open(), .mishap = mishap };
    const struct nacha_sink sink = { &relay, relay_entry, relay_batch, relay_file, relay_finding };
    ck_assert_ptr_nonnull(relay.book);
    for (relay.repeat = 0; relay.repeat < repeats; relay.repeat++)
        ck_assert_int_eq(nacha_read(path, &sink), 0);
    const struct stream_end end = { .files = 1, .repeats = repeats, .payments = relay.payments,
                                    .statements = relay.statements + 1 };
    ck_assert(!book_is_complete(relay.book));
    ck_assert_int_eq(book_ended(relay.book, relay.statements + 1, &end), 0);
    ck_assert_int_eq(book_is_complete(relay.book), mishap.lost == 0);
    ck_assert_int_eq(book_settle(relay.book, verdict), 0);
    if (last_outcome != NULL)
        *last_outcome = relay.last_outcome;
    return relay.book;
}

static inline const char *sample(const char *name)
{
    static char path[4096];
    const char *data = getenv("NUMAPOOL_DATA"), *source = getenv("srcdir");
    if (data != NULL)
        snprintf(path, sizeof(path), "%s/%s", data, name);
    else
        snprintf(path, sizeof(path), "%s/tests/data/%s", source != NULL ? source : ".", name);
    return path;
}

static inline const char *write_file(const void *bytes, size_t count)
{
    static char path[64];
    snprintf(path, sizeof(path), "/tmp/numapool-nacha-%ld.ach", (long)getpid());
    FILE *file = fopen(path, "wb");
    ck_assert_ptr_nonnull(file);
    ck_assert_uint_eq(fwrite(bytes, 1, count, file), count);
    ck_assert_int_eq(fclose(file), 0);
    return path;
}

/* The records of a small sound file; a test changes one and writes them. */
#define RECORDS 5
__attribute__((unused)) static const char *const small[RECORDS] = {
    "101 231380104 1210428821907181055A094101Federal Reserve Bank   My Bank Name                   ",
    "5200Name on Account                     121042882 PPDREG.SALARY      190719   1121042880000001",
    "627231380104123456789        0000000250               Debit Account           0121042880000001",
    "82000000010023138010000000000250000000000000121042882                          121042880000001",
    "9000001000001000000010023138010000000000250000000000000                                       ",
};

struct outcome {
    struct book *book;
    const struct book_file *file;
    enum book_verdict verdict;
};

/* Posts the small file with record `changed` (from 1; 0: none) replaced. */
static inline struct outcome post_changed(unsigned changed, const char *replacement, const char *line_end)
{
    char text[4096] = "";
    struct outcome outcome;
    for (unsigned i = 0; i < RECORDS; i++) {
        strcat(text, i + 1 == changed ? replacement : small[i]);
        strcat(text, line_end);
    }
    const char *path = write_file(text, strlen(text));
    outcome.book = post_file(path, 1, (struct mishap){ 0 }, &outcome.verdict, NULL);
    outcome.file = book_file(outcome.book, 0);
    unlink(path);
    return outcome;
}

#endif
