/* SPDX-License-Identifier: MIT
 * The ledger's book: what was posted, once and only once, and whether it is what the files state. No I/O and no shared
 * memory here, so that it can be tested alone.
 *
 * What it keeps for a payment is one bit, and that only until its file has been posted whole; what it keeps for a batch is
 * its totals, of the first repeat only. Five million entries in files of five thousand cost kilobytes. */
#ifndef PAYMENTS_BOOK_H
#define PAYMENTS_BOOK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "stream.h"

#define BOOK_FINDINGS_MAX 1000u /* sentences kept for a file; all are counted */

struct book;

struct book_payment {
    uint64_t payment_id;
    uint64_t line;
    uint64_t trace_number;
    uint64_t amount_cents;
    uint32_t bank;        /* receiving bank, eight digits */
    uint32_t batch;
    uint16_t code;
    bool is_debit;
    bool redelivered;     /* to the ledger: a ledger before this one may have seen it */
    bool repeated;        /* to the validator: a validator before this one may have seen it */
    uint32_t objections;  /* enum stream_objection */
};

enum book_outcome {
    BOOK_POSTED,
    BOOK_RECOGNISED,      /* posted before, and delivered again as announced: nothing happens */
    BOOK_DOUBLED,         /* posted before, and nothing announced it: a fault of the transport */
    BOOK_REFUSED          /* names no payment that can exist */
};

struct book_finding {
    uint64_t line;        /* 0: the file as a whole */
    uint32_t severity;    /* enum nacha_severity */
    char text[108];
};

struct book_batch {
    uint64_t posted;
    uint64_t entry_hash;
    uint64_t debit_cents;
    uint64_t credit_cents;
    bool is_stated;
    bool has_control;
    bool agrees;
    uint32_t number;
    uint64_t line;
    uint64_t sent;
    uint64_t addenda;
    struct stream_totals stated;
};

/* A file over all its repeats. */
struct book_file {
    const char *name;
    uint64_t posted;
    uint64_t entry_hash;   /* last ten digits */
    uint64_t debit_cents;
    uint64_t credit_cents;
    uint64_t missing;
    uint64_t doubled;
    uint64_t recognised;
    uint64_t objected;     /* payments that the validator objects to */
    bool control_agrees;   /* batch and file control records, in every repeat */
    bool input_at_fault;
    uint64_t passes;       /* repeats that were stated to their end */
    uint64_t passes_agreeing;
    const uint64_t *malformed_lines; /* ascending, each once */
    size_t malformed_count;
    const struct book_finding *findings; /* of the first repeat, by line */
    size_t findings_kept;
    uint64_t findings_total;
    const struct book_batch *batches;    /* of the first repeat */
    size_t batch_count;
    bool has_control;
    struct stream_totals stated;         /* of the first repeat's file control */
    uint64_t entries_and_addenda;        /* of the first repeat, posted and read */
    uint64_t first_posted, first_hash, first_debit_cents, first_credit_cents;
};

/* NULL: no memory. */
struct book *book_open(void);
void book_close(struct book *book);

/* Each is 0 or more on success; -ENOMEM; -EBADMSG for a statement that names what cannot exist. */
int book_post(struct book *book, const struct book_payment *payment); /* an enum book_outcome */
int book_name(struct book *book, uint64_t statement, const struct stream_name *name);
int book_batch_stated(struct book *book, uint64_t statement, const struct stream_batch *batch);
int book_file_stated(struct book *book, uint64_t statement, const struct stream_file *file);
int book_found(struct book *book, uint64_t statement, const struct stream_finding *finding);
int book_ended(struct book *book, uint64_t statement, const struct stream_end *end);
/* A payment or statement that arrived damaged: it counts as lost. */
void book_damaged(struct book *book);

/* The end has been stated, and as much as it states has arrived. */
bool book_is_complete(const struct book *book);
bool book_end_is_stated(const struct book *book);
uint32_t book_repeats(const struct book *book); /* 1 before the end is stated */
uint64_t book_posted(const struct book *book);
uint64_t book_recognised(const struct book *book);
uint64_t book_repeated(const struct book *book);
uint64_t book_damage(const struct book *book);
uint64_t
book_statements_missing(const struct book *book); /* batch and file records, findings; 0 before the end is stated */

enum book_verdict { BOOK_EXACT = 0, BOOK_LOST_OR_DOUBLED = 1, BOOK_INPUT_AT_FAULT = 3 };

/* Compares all, once everything has come or nothing more will. May be called once. */
int book_settle(struct book *book, enum book_verdict *verdict);
size_t book_files(const struct book *book);
/* Valid until book_close, after book_settle. */
const struct book_file *book_file(const struct book *book, size_t index);

#endif
