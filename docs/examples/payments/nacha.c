/* SPDX-License-Identifier: MIT
 * What the records of a payment file mean, and which of its rules they break. */
#include "nacha.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

struct batch_header {
    uint64_t line;
    uint32_t number;
    unsigned service_class;
    bool is_sound;
    char entry_class[3];
    char company_id[10];
    char originating_bank[8];
    int64_t due_ns;
};

struct walk {
    const struct nacha_sink *sink;
    int result; /* first non-zero answer of the sink */
    bool in_batch;
    bool saw_header;
    bool saw_control;
    bool is_advice; /* ADV batches have wider amounts, in the file control too */
    struct batch_header header;
    struct nacha_batch batch;
    struct nacha_file file;
    uint64_t last_trace;
    uint64_t debits, credits; /* entries of the batch */
};

/* ---------------------------------------------------------------- rules */

unsigned nacha_check_digit(const char *eight_digits)
{
    static const unsigned weights[8] = { 3, 7, 1, 3, 7, 1, 3, 7 };
    unsigned sum = 0;
    for (unsigned i = 0; i < 8; i++)
        sum += weights[i] * (unsigned)(eight_digits[i] - '0');
    return (10 - sum % 10) % 10;
}

/* Tens: 2 checking, 3 savings, 4 general ledger, 5 loan, 8 accounting advice. Units: 1 return, 2 credit, 3 prenote,
 * 4 zero-dollar with remittance; from 5 on the same for debits, where 5 is a loan's reversal. */
bool nacha_code_is_known(unsigned code)
{
    const unsigned tens = code / 10, units = code % 10;
    if (tens >= 2 && tens <= 4)
        return (units >= 1 && units <= 4) || (units >= 6 && units <= 9);
    if (tens == 5)
        return units >= 1 && units <= 6;
    return tens == 8 && units >= 1 && units <= 8;
}

bool nacha_code_is_debit(unsigned code)
{
    return code / 10 == 8 ? code % 2 == 0 : code % 10 >= 5;
}

bool nacha_code_is_prenote(unsigned code)
{
    return code / 10 >= 2 && code / 10 <= 5 && (code % 10 == 3 || code % 10 == 8);
}

bool nacha_code_may_be_zero(unsigned code)
{
    const unsigned units = code % 10;
    return code / 10 >= 2 && code / 10 <= 5 &&
           (nacha_code_is_prenote(code) || units == 1 || units == 4 || units == 6 || units == 9);
}

bool nacha_number(const char *record, unsigned from, unsigned to, uint64_t *value)
{
    uint64_t sum = 0;
    for (unsigned i = from - 1; i < to; i++) {
        if (record[i] < '0' || record[i] > '9')
            return false;
        sum = sum * 10 + (uint64_t)(record[i] - '0');
    }
    *value = sum;
    return true;
}

static bool is_blank(const char *record, unsigned from, unsigned to)
{
    for (unsigned i = from - 1; i < to; i++)
        if (record[i] != ' ')
            return false;
    return true;
}

/* YYMMDD; the two digits of the year count from 2000, ACH files being exchanged for days and not kept for decades. */
static bool parse_date(const char *record, unsigned from, int64_t *when_ns)
{
    static const unsigned char month_days[12] = { 31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
    uint64_t year, month, day;
    if (!nacha_number(record, from, from + 1, &year) || !nacha_number(record, from + 2, from + 3, &month) ||
        !nacha_number(record, from + 4, from + 5, &day))
        return false;
    if (month < 1 || month > 12 || day < 1 || day > month_days[month - 1])
        return false;
    struct tm date = { .tm_year = (int)year + 100, .tm_mon = (int)month - 1, .tm_mday = (int)day };
    *when_ns = (int64_t)timegm(&date) * INT64_C(1000000000);
    return true;
}

/* ---------------------------------------------------------------- telling the sink */

__attribute__((format(printf, 4, 5))) static void find(struct walk *walk, enum nacha_severity severity, uint64_t line,
                                                       const char *format, ...)
{
    char sentence[160];
    va_list arguments;
    if (walk->result != 0)
        return;
    va_start(arguments, format);
    vsnprintf(sentence, sizeof(sentence), format, arguments);
    va_end(arguments);
    walk->result = walk->sink->finding(walk->sink->context, severity, line, sentence);
}

static void end_batch(struct walk *walk, uint64_t line)
{
    if (!walk->in_batch)
        return;
    walk->in_batch = false;
    walk->batch.line = line;
    if (walk->header.service_class == 220 && walk->debits > 0)
        find(walk, NACHA_FAULT, walk->header.line, "service class 220 says credits only, but %" PRIu64 " debits follow",
             walk->debits);
    if (walk->header.service_class == 225 && walk->credits > 0)
        find(walk, NACHA_FAULT, walk->header.line, "service class 225 says debits only, but %" PRIu64 " credits follow",
             walk->credits);
    if (walk->result == 0)
        walk->result = walk->sink->batch(walk->sink->context, &walk->batch);
}

/* ---------------------------------------------------------------- records */

static const char *file_header_problem(const char *record)
{
    uint64_t ignored;
    int64_t date_ns;
    if (memcmp(record + 34, "094", 3) != 0)
        return "record size (35-37) is not 094";
    if (!parse_date(record, 24, &date_ns))
        return "date (24-29) is not one";
    if (!is_blank(record, 30, 33) && !nacha_number(record, 30, 33, &ignored))
        return "time (30-33) is not one";
    return NULL;
}

static const char *batch_header_problem(const char *record, struct batch_header *header)
{
    uint64_t value;
    if (!nacha_number(record, 2, 4, &value))
        return "service class (2-4) is not a number";
    header->service_class = (unsigned)value;
    if (value != 200 && value != 220 && value != 225 && value != 280)
        return "service class (2-4) is none of 200, 220, 225, 280";
    for (unsigned i = 50; i < 53; i++)
        if (record[i] < 'A' || record[i] > 'Z')
            return "entry class (51-53) is not three letters";
    if (!nacha_number(record, 88, 94, &value))
        return "batch number (88-94) is not a number";
    header->number = (uint32_t)value;
    return NULL;
}

static bool class_is_one_of(const struct batch_header *header, const char (*classes)[4], size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (memcmp(header->entry_class, classes[i], 3) == 0)
            return true;
    return false;
}

static bool class_is_known(const struct batch_header *header)
{
    static const char classes[][4] = { "ACK", "ADV", "ARC", "ATX", "BOC", "CCD", "CIE", "COR", "CTX", "DNE", "ENR", "IAT",
                                       "MTE", "POP", "POS", "PPD", "RCK", "SHR", "TEL", "TRC", "TRX", "WEB", "XCK" };
    return class_is_one_of(header, classes, sizeof(classes) / sizeof(classes[0]));
}

static bool class_moves_no_money(const struct batch_header *header)
{
    static const char classes[][4] = { "ACK", "ATX", "COR", "DNE", "ENR" };
    return class_is_one_of(header, classes, sizeof(classes) / sizeof(classes[0]));
}

static void read_batch_header(struct walk *walk, const struct nacha_line *line, const char **problem)
{
    if (walk->in_batch) {
        find(walk, NACHA_FAULT, line->number, "the batch before this one has no control record");
        end_batch(walk, line->number);
    }
    walk->header = (struct batch_header){ .line = line->number };
    if (walk->file.batches >= NACHA_BATCHES_MAX) {
        *problem = "more batches than a file control record can count: the entries that follow belong to none";
        return;
    }
    *problem = batch_header_problem(line->text, &walk->header);
    memcpy(walk->header.entry_class, line->text + 50, 3);
    memcpy(walk->header.company_id, line->text + 40, 10);
    memcpy(walk->header.originating_bank, line->text + 79, 8);
    if (!parse_date(line->text, 70, &walk->header.due_ns))
        walk->header.due_ns = 0;
    walk->header.is_sound = *problem == NULL;
    if (walk->header.is_sound && !class_is_known(&walk->header))
        find(walk, NACHA_FAULT, line->number, "entry class (51-53) is '%.3s', which the rules do not know",
             walk->header.entry_class);
    walk->is_advice |= memcmp(walk->header.entry_class, "ADV", 3) == 0;
    walk->batch = (struct nacha_batch){ .ordinal = ++walk->file.batches, .number = walk->header.number };
    walk->in_batch = true;
    walk->last_trace = 0;
    walk->debits = walk->credits = 0;
}

/* What must be right for the entry to be posted at all: code, bank and amount. */
static const char *entry_problem(const char *record, const struct batch_header *header, struct nacha_entry *entry)
{
    uint64_t value;
    const bool is_advice = memcmp(header->entry_class, "ADV", 3) == 0;
    if (!nacha_number(record, 2, 3, &value))
        return "transaction code (2-3) is not a number";
    entry->code = (uint16_t)value;
    if (!nacha_number(record, 4, 11, &value))
        return "receiving bank (4-11) is not a number";
    if (!nacha_number(record, is_advice ? 28 : 30, 39, &entry->amount_cents))
        return is_advice ? "amount (28-39) is not a number" : "amount (30-39) is not a number";
    entry->bank = record + 3;
    entry->account = record + 12;
    entry->account_bytes = is_advice ? 15 : 17;
    if (memcmp(header->entry_class, "IAT", 3) == 0) {
        entry->account = record + 39;
        entry->account_bytes = 35;
    }
    while (entry->account_bytes > 0 && entry->account[entry->account_bytes - 1] == ' ')
        entry->account_bytes--;
    entry->trace_is_sound = nacha_number(record, 80, 94, &entry->trace_number);
    if (!entry->trace_is_sound)
        entry->trace_number = 0;
    return NULL;
}

static void hand_out_entry(struct walk *walk, const struct nacha_line *line, struct nacha_entry *entry)
{
    entry->line = line->number;
    entry->ordinal = ++walk->file.entries;
    entry->is_debit = nacha_code_is_debit(entry->code);
    entry->may_be_zero = nacha_code_may_be_zero(entry->code) || class_moves_no_money(&walk->header);
    entry->company_id = walk->header.company_id;
    entry->originating_bank = walk->header.originating_bank;
    entry->due_ns = walk->header.due_ns;
    if (walk->in_batch) {
        entry->batch_ordinal = walk->batch.ordinal;
        walk->batch.entries++;
        walk->debits += entry->is_debit;
        walk->credits += !entry->is_debit;
    }
    if (walk->result == 0)
        walk->result = walk->sink->entry(walk->sink->context, entry);
}

static void read_entry(struct walk *walk, const struct nacha_line *line, const char **problem)
{
    struct nacha_entry entry = { .line = 0 };
    uint64_t addenda;
    *problem = entry_problem(line->text, &walk->header, &entry);
    if (*problem == NULL && line->defect == NACHA_SHORT && !entry.trace_is_sound)
        /* Nobody can tell whether characters are missing at the end or before the amount. */
        *problem = "trace number is cut off, fields may be shifted: not posted";
    if (*problem != NULL)
        return;
    if (!walk->in_batch)
        find(walk, NACHA_FAULT, line->number, "this entry is outside of any batch");
    if (walk->in_batch && walk->header.is_sound && memcmp(walk->header.entry_class, "IAT", 3) == 0 &&
        !nacha_number(line->text, 13, 16, &addenda))
        find(walk, NACHA_NOTE, line->number, "number of addenda (13-16) is '%.4s' and not a number", line->text + 12);
    if (entry.trace_is_sound && memcmp(walk->header.entry_class, "ADV", 3) != 0) {
        if (entry.trace_number <= walk->last_trace)
            find(walk, NACHA_NOTE, line->number, "trace number %015" PRIu64 " does not ascend", entry.trace_number);
        walk->last_trace = entry.trace_number;
    }
    hand_out_entry(walk, line, &entry);
}

static void read_addenda(struct walk *walk, const struct nacha_line *line, const char **problem)
{
    uint64_t value;
    walk->file.addenda++;
    if (walk->in_batch)
        walk->batch.addenda++;
    else
        find(walk, NACHA_FAULT, line->number, "this addendum is outside of any batch");
    if (!nacha_number(line->text, 2, 3, &value))
        *problem = "addenda type (2-3) is not a number";
    else if (line->defect == NACHA_SHORT && !nacha_number(line->text, 88, 94, &value))
        *problem = "entry's sequence (88-94) is not complete";
}

/* Both control records are: count, hash, debits, credits, one behind the other. */
static const char *totals_problem(const char *record, unsigned from, unsigned count_digits, unsigned amount_digits,
                                  struct nacha_totals *totals)
{
    const unsigned hash = from + count_digits, debit = hash + 10, credit = debit + amount_digits;
    /* Twenty digits of cents may be more than 64 bits hold. */
    const unsigned skip = amount_digits > 19 ? amount_digits - 19 : 0;
    if (!nacha_number(record, from, hash - 1, &totals->entries_and_addenda))
        return "entry and addenda count is not a number";
    if (!nacha_number(record, hash, debit - 1, &totals->entry_hash))
        return "entry hash is not a number";
    if (!nacha_number(record, debit + skip, credit - 1, &totals->debit_cents) || (skip > 0 && record[debit - 1] != '0'))
        return "total debit is not a number";
    if (!nacha_number(record, credit + skip, credit + amount_digits - 1, &totals->credit_cents) ||
        (skip > 0 && record[credit - 1] != '0'))
        return "total credit is not a number";
    return NULL;
}

static void read_batch_control(struct walk *walk, const struct nacha_line *line, const char **problem)
{
    uint64_t number = 0, service_class = 0;
    if (!walk->in_batch) {
        find(walk, NACHA_FAULT, line->number, "this batch control record has no batch");
        return;
    }
    *problem = totals_problem(line->text, 5, 6, memcmp(walk->header.entry_class, "ADV", 3) == 0 ? 20 : 12,
                              &walk->batch.stated);
    if (*problem == NULL && !nacha_number(line->text, 88, 94, &number))
        *problem = "batch number (88-94) is not a number";
    if (*problem == NULL && !nacha_number(line->text, 2, 4, &service_class))
        *problem = "service class (2-4) is not a number";
    walk->batch.has_control = *problem == NULL;
    if (*problem == NULL && walk->header.is_sound && number != walk->header.number)
        find(walk, NACHA_FAULT, line->number, "batch number %" PRIu64 " is not that of its header, %" PRIu32, number,
             walk->header.number);
    if (*problem == NULL && walk->header.is_sound && service_class != walk->header.service_class)
        find(walk, NACHA_FAULT, line->number, "service class %" PRIu64 " is not that of its header, %u", service_class,
             walk->header.service_class);
    end_batch(walk, line->number);
}

static void read_file_control(struct walk *walk, const struct nacha_line *line, const char **problem)
{
    uint64_t batches = 0;
    if (walk->in_batch) {
        find(walk, NACHA_FAULT, line->number, "the batch before this record has no control record");
        end_batch(walk, line->number);
    }
    if (walk->saw_control) {
        find(walk, NACHA_FAULT, line->number, "a second file control record");
        return;
    }
    walk->saw_control = true;
    walk->file.line = line->number;
    *problem = totals_problem(line->text, 14, 8, walk->is_advice ? 20 : 12, &walk->file.stated);
    if (*problem == NULL && !nacha_number(line->text, 2, 7, &batches))
        *problem = "batch count (2-7) is not a number";
    if (*problem == NULL && !nacha_number(line->text, 8, 13, &walk->file.stated_blocks))
        *problem = "block count (8-13) is not a number";
    walk->file.stated_batches = (uint32_t)batches;
    walk->file.has_control = *problem == NULL;
}

/* ---------------------------------------------------------------- the file */

/* A line of nines. The last one of a file is sometimes cut off; a control record never has nines up to its blanks. */
static bool is_filler(const char *record)
{
    unsigned nines = 0;
    while (nines < NACHA_RECORD_BYTES && record[nines] == '9')
        nines++;
    return nines > 55 && is_blank(record, nines + 1, NACHA_RECORD_BYTES);
}

/* True for a record too short or too long that could be some other record shifted: nothing of it is believed. */
static bool refuse_length(struct walk *walk, const struct nacha_line *line)
{
    if (line->defect != NACHA_LONG)
        return false;
    find(walk, NACHA_MALFORMED, line->number, "%" PRIu64 " characters instead of 94", line->length_bytes);
    return true;
}

static void note_defect(struct walk *walk, const struct nacha_line *line, const char *problem)
{
    if (problem != NULL) {
        if (line->defect == NACHA_SHORT)
            find(walk, NACHA_MALFORMED, line->number, "%" PRIu64 " characters instead of 94, and %s", line->length_bytes,
                 problem);
        else
            find(walk, NACHA_MALFORMED, line->number, "%s", problem);
    } else if (line->defect == NACHA_SHORT) {
        find(walk, NACHA_NOTE, line->number, "short by %" PRIu64 " trailing blanks: accepted",
             NACHA_RECORD_BYTES - line->length_bytes);
    } else if (line->defect == NACHA_LONG_BLANKS) {
        find(walk, NACHA_NOTE, line->number, "longer than 94 characters by trailing blanks: accepted");
    } else if (line->defect == NACHA_FOREIGN) {
        find(walk, NACHA_NOTE, line->number, "characters that are not ASCII were read as '?'");
    }
}

static void read_record(struct walk *walk, const struct nacha_line *line)
{
    const char *problem = NULL;
    if (line->text[0] == '9' && is_filler(line->text))
        return;
    walk->file.lines++;
    if (refuse_length(walk, line))
        return;
    if (!walk->saw_header && line->text[0] != '1') {
        find(walk, NACHA_FAULT, line->number, "the file does not begin with a file header (record type 1)");
        walk->saw_header = true;
    }
    if (walk->saw_control && line->text[0] != '9')
        find(walk, NACHA_FAULT, line->number, "a record after the file control record");
    switch (line->text[0]) {
    case '1':
        if (walk->saw_header)
            find(walk, NACHA_FAULT, line->number, "a file header in the middle of the file");
        walk->saw_header = true;
        problem = file_header_problem(line->text);
        break;
    case '5':
        read_batch_header(walk, line, &problem);
        break;
    case '6':
        read_entry(walk, line, &problem);
        break;
    case '7':
        read_addenda(walk, line, &problem);
        break;
    case '8':
        read_batch_control(walk, line, &problem);
        break;
    case '9':
        read_file_control(walk, line, &problem);
        break;
    default:
        problem = "its first character names no record type (1, 5, 6, 7, 8, 9)";
    }
    note_defect(walk, line, problem);
}

static void end_file(struct walk *walk, uint64_t lines)
{
    if (walk->in_batch) {
        find(walk, NACHA_FAULT, lines, "the file ends within a batch");
        end_batch(walk, lines);
    }
    if (walk->file.lines == 0)
        find(walk, NACHA_FAULT, 0, "there is no record in it");
    else if (!walk->saw_control)
        find(walk, NACHA_FAULT, lines, "the file ends without a file control record (type 9)");
    if (walk->file.has_control && walk->file.stated_batches != walk->file.batches)
        find(walk, NACHA_FAULT, walk->file.line, "file control states %" PRIu32 " batches, the file has %" PRIu32,
             walk->file.stated_batches, walk->file.batches);
    if (walk->file.has_control && walk->file.stated_blocks != (walk->file.lines + 9) / 10)
        find(walk, NACHA_NOTE, walk->file.line, "file control states %" PRIu64 " blocks of ten, the file has %" PRIu64,
             walk->file.stated_blocks, (walk->file.lines + 9) / 10);
}

int nacha_read(const char *path, const struct nacha_sink *sink)
{
    struct walk walk = { .sink = sink };
    struct nacha_reader reader;
    struct nacha_line line;
    int got = nacha_reader_open(&reader, path);
    if (got == -EISDIR) {
        find(&walk, NACHA_FAULT, 0, "it is a directory: name the files in it");
    } else if (got == -EINVAL) {
        find(&walk, NACHA_FAULT, 0, "it is not a regular file");
    } else if (got != 0) {
        find(&walk, NACHA_FAULT, 0, "cannot be opened: %s", strerror(-got));
    } else {
        while (walk.result == 0 && (got = nacha_reader_next(&reader, &line)) > 0)
            read_record(&walk, &line);
        if (got < 0)
            find(&walk, NACHA_FAULT, reader.lines, "cannot be read further: %s", strerror(-got));
        end_file(&walk, reader.lines);
        nacha_reader_close(&reader);
    }
    if (walk.result == 0)
        walk.result = sink->file(sink->context, &walk.file);
    return walk.result;
}
