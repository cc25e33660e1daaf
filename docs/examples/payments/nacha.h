/* SPDX-License-Identifier: MIT
 * Reads NACHA (ACH) files of any size in constant memory and hands out what they say, record by record. A faulty file is
 * read to its end: each fault is named by its line, and everything that is beyond doubt is handed out all the same. */
#ifndef PAYMENTS_NACHA_H
#define PAYMENTS_NACHA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NACHA_RECORD_BYTES 94u
#define NACHA_BUFFER_BYTES 65536u
#define NACHA_BATCHES_MAX  999999u /* six digits in a file control record */
/* Entry hashes are kept to ten decimal digits, as the control records do. */
#define NACHA_HASH_MODULUS UINT64_C(10000000000)

/* ---------------------------------------------------------------- lines */

enum nacha_defect {
    NACHA_WHOLE,        /* 94 characters */
    NACHA_SHORT,        /* fewer: blanks were added on the right */
    NACHA_LONG,         /* more, and not only blanks: text is its beginning */
    NACHA_LONG_BLANKS,  /* more, but only blanks */
    NACHA_FOREIGN       /* 94 characters, not all of them printable ASCII; those read '?' */
};

struct nacha_line {
    uint64_t number;        /* from 1 */
    uint64_t length_bytes;  /* as in the file, without its line end */
    enum nacha_defect defect;
    char text[NACHA_RECORD_BYTES];
};

/* Cuts a file into lines. LF, CRLF or nothing after the last; records that follow each other without any line end are
 * recognised by their file header and are numbered as if they had one. Blank lines are passed over. */
struct nacha_reader {
    int file;
    bool at_end;
    bool unbroken;      /* no line ends: 94 characters each */
    uint64_t lines;     /* so far, blank ones too */
    size_t begin, end;  /* what is unread in the buffer */
    char buffer[NACHA_BUFFER_BYTES];
};

/* 0 or -errno; -EISDIR and -EINVAL: not a regular file. */
int nacha_reader_open(struct nacha_reader *reader, const char *path);
void nacha_reader_close(struct nacha_reader *reader);
/* 1, 0 at the end of the file, or -errno. */
int nacha_reader_next(struct nacha_reader *reader, struct nacha_line *line);

/* ---------------------------------------------------------------- what a file says */

struct nacha_totals {
    uint64_t entries_and_addenda;
    uint64_t entry_hash;
    uint64_t debit_cents;
    uint64_t credit_cents;
};

struct nacha_entry {
    uint64_t line;
    uint64_t ordinal;         /* which entry of the file, from 1 */
    uint32_t batch_ordinal;   /* which batch of the file, from 1; 0: outside of any */
    uint16_t code;            /* transaction code */
    bool is_debit;
    bool may_be_zero;         /* a prenote, a notification, a remittance advice: its amount may be 0 */
    bool trace_is_sound;
    uint64_t trace_number;
    uint64_t amount_cents;
    const char *bank;         /* receiving bank: eight digits and the check digit */
    const char *account;      /* not terminated */
    size_t account_bytes;
    const char *company_id;   /* of its batch: ten characters */
    const char *originating_bank; /* of its batch: eight characters */
    int64_t due_ns;           /* effective entry date of its batch, 0 unknown */
};

/* A batch that has ended: what its control record states beside what was read. */
struct nacha_batch {
    uint64_t line;            /* of the control record, or where it was missed */
    uint32_t ordinal;
    uint32_t number;          /* as its header has it */
    bool has_control;         /* a readable one */
    uint64_t entries;         /* handed out */
    uint64_t addenda;         /* read */
    struct nacha_totals stated;
};

struct nacha_file {
    uint64_t line;            /* of the control record */
    uint64_t lines;           /* records in the file, filler not counted */
    bool has_control;
    uint32_t batches;         /* read */
    uint32_t stated_batches;
    uint64_t stated_blocks;
    uint64_t entries;
    uint64_t addenda;
    struct nacha_totals stated;
};

enum nacha_severity {
    NACHA_NOTE = 1,      /* accepted with a warning */
    NACHA_FAULT = 2,     /* the file contradicts itself or its rules */
    NACHA_MALFORMED = 3  /* this record is not one */
};

/* Where the contents go. A sink that returns non-zero ends the reading, and that is returned. What the pointers in an
 * entry point at lives until the sink returns. */
struct nacha_sink {
    void *context;
    int (*entry)(void *context, const struct nacha_entry *entry);
    int (*batch)(void *context, const struct nacha_batch *batch);
    int (*file)(void *context, const struct nacha_file *file);
    /* line 0: the file as a whole. sentence does not name the file. */
    int (*finding)(void *context, enum nacha_severity severity, uint64_t line, const char *sentence);
};

/* Reads a whole file. 0: read to its end, faults or not; a file that cannot be read is a finding too, and `file` is always
 * called last. Else what the sink returned. */
int nacha_read(const char *path, const struct nacha_sink *sink);

/* ---------------------------------------------------------------- rules */

/* The check digit of eight digits of a routing number: weights 3, 7, 1. */
unsigned nacha_check_digit(const char *eight_digits);
bool nacha_code_is_known(unsigned code);
bool nacha_code_is_debit(unsigned code);
/* Prenotes, zero-dollar remittances and returns. */
bool nacha_code_may_be_zero(unsigned code);
/* Prenotes must not carry money. */
bool nacha_code_is_prenote(unsigned code);

/* Positions as the rules print them, from 1 and inclusive. False when not all digits; up to 19 of them. */
bool nacha_number(const char *record, unsigned from, unsigned to, uint64_t *value);

#endif
