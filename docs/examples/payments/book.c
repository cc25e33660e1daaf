/* SPDX-License-Identifier: MIT
 * The ledger's book.
 *
 * A pass is one file in one repeat. It is open from its first message until every payment and every batch that it states
 * has come; then its totals go into its file's and it is closed: whatever names it after that has been posted before. */
#include "book.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "book_set.h"
#include "nacha.h"

#define BOOK_NAME_MAX 4096u

struct pass {
    struct book_set posted_set;
    struct book_batch *batches; /* [0]: payments outside of any batch */
    size_t batch_count;
    uint64_t batches_stated;
    uint64_t posted;
    uint64_t highest_ordinal;
    uint64_t entry_hash;
    uint64_t debit_cents;
    uint64_t credit_cents;
    bool is_stated;
    struct stream_file stated;
};

struct file {
    struct book_file result;
    char *name;
    struct pass **passes; /* by repeat; NULL: not begun, &closed: done */
    size_t pass_count;
    uint64_t *malformed;
    size_t malformed_count, malformed_room;
    struct book_finding *findings;
    size_t findings_kept, findings_room;
};

struct book {
    struct file **files;
    size_t file_count;
    struct book_set statements;
    uint64_t statements_seen;
    uint64_t posted, recognised, repeated, damaged;
    bool end_is_stated;
    struct stream_end end;
};

static struct pass closed;

/* ---------------------------------------------------------------- room */

/* Makes room for one more element. 0 or -ENOMEM. */
static int reserve(void **array, size_t *room, size_t count, size_t element_bytes)
{
    if (count < *room)
        return 0;
    size_t wanted = *room != 0 ? *room * 2 : 16;
    while (wanted <= count)
        wanted *= 2;
    void *grown = realloc(*array, wanted * element_bytes);
    if (grown == NULL)
        return -ENOMEM;
    memset((char *)grown + *room * element_bytes, 0, (wanted - *room) * element_bytes);
    *array = grown;
    *room = wanted;
    return 0;
}

static struct file *file_of(struct book *book, uint32_t index)
{
    if (index >= STREAM_FILES_MAX)
        return NULL;
    if (index >= book->file_count) {
        struct file **files = realloc(book->files, (index + (size_t)1) * sizeof(struct file *));
        if (files == NULL)
            return NULL;
        memset(files + book->file_count, 0, (index + (size_t)1 - book->file_count) * sizeof(struct file *));
        book->files = files;
        book->file_count = index + (size_t)1;
    }
    if (book->files[index] == NULL) {
        book->files[index] = calloc(1, sizeof(struct file));
        if (book->files[index] != NULL)
            book->files[index]->result.control_agrees = true;
    }
    return book->files[index];
}

/* The pass, made when it is new; &closed; NULL: no memory. */
static struct pass *pass_of(struct file *file, uint32_t repeat)
{
    void *passes = file->passes;
    if (repeat >= STREAM_REPEATS_MAX || reserve(&passes, &file->pass_count, repeat, sizeof(struct pass *)) != 0)
        return NULL;
    file->passes = passes;
    if (file->passes[repeat] == NULL)
        file->passes[repeat] = calloc(1, sizeof(struct pass));
    return file->passes[repeat];
}

static struct book_batch *batch_of(struct pass *pass, uint32_t ordinal)
{
    void *batches = pass->batches;
    if (reserve(&batches, &pass->batch_count, ordinal, sizeof(struct book_batch)) != 0)
        return NULL;
    pass->batches = batches;
    return &pass->batches[ordinal];
}

static void pass_free(struct pass *pass)
{
    if (pass == NULL || pass == &closed)
        return;
    book_set_free(&pass->posted_set);
    free(pass->batches);
    free(pass);
}

struct book *book_open(void)
{
    return calloc(1, sizeof(struct book));
}

void book_close(struct book *book)
{
    if (book == NULL)
        return;
    for (size_t i = 0; i < book->file_count; i++) {
        struct file *file = book->files[i];
        if (file == NULL)
            continue;
        for (size_t repeat = 0; repeat < file->pass_count; repeat++)
            pass_free(file->passes[repeat]);
        free(file->passes);
        free((void *)(uintptr_t)file->result.batches);
        free(file->malformed);
        free(file->findings);
        free(file->name);
        free(file);
    }
    free(book->files);
    book_set_free(&book->statements);
    free(book);
}

/* ---------------------------------------------------------------- findings */

static int add_finding(struct file *file, uint32_t severity, uint64_t line, const char *text)
{
    void *array;
    file->result.findings_total++;
    if (severity >= NACHA_FAULT)
        file->result.input_at_fault = true;
    if (severity == NACHA_MALFORMED && line != 0) {
        array = file->malformed;
        if (reserve(&array, &file->malformed_room, file->malformed_count, sizeof(uint64_t)) != 0)
            return -ENOMEM;
        file->malformed = array;
        file->malformed[file->malformed_count++] = line;
    }
    if (file->findings_kept >= BOOK_FINDINGS_MAX)
        return 0;
    array = file->findings;
    if (reserve(&array, &file->findings_room, file->findings_kept, sizeof(struct book_finding)) != 0)
        return -ENOMEM;
    file->findings = array;
    struct book_finding *finding = &file->findings[file->findings_kept++];
    finding->line = line;
    finding->severity = severity;
    snprintf(finding->text, sizeof(finding->text), "%s", text);
    return 0;
}

__attribute__((format(printf, 4, 5))) static int say(struct file *file, uint32_t severity, uint64_t line,
                                                     const char *format, ...)
{
    char text[sizeof(((struct book_finding *)0)->text)];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    return add_finding(file, severity, line, text);
}

static int say_objections(struct file *file, const struct book_payment *payment)
{
    static const struct {
        uint32_t bit;
        const char *text;
    } table[] = {
        { STREAM_BAD_CHECK_DIGIT, "check digit of the receiving bank (12) is wrong" },
        { STREAM_UNKNOWN_CODE, "transaction code (2-3) is unknown" },
        { STREAM_AMOUNT_AGAINST_CODE, "amount does not go with the transaction code" },
        { STREAM_BAD_TRACE, "trace number (80-94) is not a number" },
        { STREAM_BAD_LAYOUT, "the payment record is not sound" },
    };
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
        if ((payment->objections & table[i].bit) != 0) {
            int error = say(file, NACHA_MALFORMED, payment->line, "%s: posted, but flagged (code %u, trace %015" PRIu64 ")",
                            table[i].text, payment->code, payment->trace_number);
            if (error != 0)
                return error;
        }
    return 0;
}

/* ---------------------------------------------------------------- comparing */

/* One finding for each total that is not as stated. 1: all agree; 0; -ENOMEM. */
static int compare(struct file *file, const char *record, uint64_t line, uint32_t repeat,
                   const struct stream_totals *stated, const struct stream_totals *found)
{
    const struct {
        const char *what;
        uint64_t stated, found;
    } comparisons[] = {
        { "entries and addenda", stated->entries_and_addenda, found->entries_and_addenda },
        { "entry hash", stated->entry_hash, found->entry_hash },
        { "total debit in cents", stated->debit_cents, found->debit_cents },
        { "total credit in cents", stated->credit_cents, found->credit_cents },
    };
    int agrees = 1;
    for (size_t i = 0; i < sizeof(comparisons) / sizeof(comparisons[0]); i++) {
        if (comparisons[i].stated == comparisons[i].found)
            continue;
        agrees = 0;
        if (say(file, NACHA_FAULT, line, "%s states %s %" PRIu64 ", the entries give %" PRIu64 " (repeat %" PRIu32 ")",
                record, comparisons[i].what, comparisons[i].stated, comparisons[i].found, repeat + 1) != 0)
            return -ENOMEM;
    }
    return agrees;
}

static int compare_batches(struct file *file, struct pass *pass, uint32_t repeat)
{
    int all_agree = 1;
    for (size_t i = 1; i < pass->batch_count && i <= pass->stated.batches; i++) {
        struct book_batch *batch = &pass->batches[i];
        const struct stream_totals found = { batch->posted + batch->addenda, batch->entry_hash, batch->debit_cents,
                                             batch->credit_cents };
        int agrees = 0;
        if (batch->has_control)
            agrees = compare(file, "batch control", batch->line, repeat, &batch->stated, &found);
        if (agrees < 0)
            return agrees;
        batch->agrees = agrees != 0;
        all_agree &= agrees;
    }
    return all_agree;
}

/* Adds a pass to its file, in whatever state it is. */
static int fold(struct file *file, struct pass *pass, uint32_t repeat)
{
    struct book_file *result = &file->result;
    const struct stream_totals found = { pass->posted + pass->stated.addenda, pass->entry_hash, pass->debit_cents,
                                         pass->credit_cents };
    int agrees = 0;
    if (pass->is_stated) {
        agrees = compare_batches(file, pass, repeat);
        if (agrees < 0)
            return agrees;
        int file_agrees = 0;
        if (pass->stated.has_control != 0)
            file_agrees = compare(file, "file control", pass->stated.line, repeat, &pass->stated.stated, &found);
        if (file_agrees < 0)
            return file_agrees;
        agrees &= file_agrees;
    }
    result->passes += pass->is_stated;
    result->passes_agreeing += agrees == 1;
    result->control_agrees &= agrees == 1;
    result->posted += pass->posted;
    result->entry_hash = (result->entry_hash + pass->entry_hash) % NACHA_HASH_MODULUS;
    result->debit_cents += pass->debit_cents;
    result->credit_cents += pass->credit_cents;
    const uint64_t sent = pass->is_stated ? pass->stated.entries : pass->highest_ordinal;
    if (sent > pass->posted)
        result->missing += sent - pass->posted;
    if (repeat != 0)
        return 0;
    result->has_control = pass->stated.has_control != 0;
    result->stated = pass->stated.stated;
    result->entries_and_addenda = found.entries_and_addenda;
    result->first_posted = pass->posted;
    result->first_hash = pass->entry_hash;
    result->first_debit_cents = pass->debit_cents;
    result->first_credit_cents = pass->credit_cents;
    result->batches = pass->batches;
    result->batch_count = pass->batch_count < (size_t)pass->stated.batches + 1 ? pass->batch_count
                                                                                : (size_t)pass->stated.batches + 1;
    pass->batches = NULL;
    return 0;
}

static int close_if_whole(struct file *file, struct pass *pass, uint32_t repeat)
{
    if (!pass->is_stated || pass->posted < pass->stated.entries || pass->batches_stated < pass->stated.batches)
        return 0;
    int error = fold(file, pass, repeat);
    pass_free(pass);
    file->passes[repeat] = &closed;
    return error;
}

/* ---------------------------------------------------------------- what arrives */

static enum book_outcome seen_before(struct book *book, struct file *file, const struct book_payment *payment)
{
    if (payment->redelivered) {
        book->recognised++;
        file->result.recognised++;
        return BOOK_RECOGNISED;
    }
    file->result.doubled++;
    return BOOK_DOUBLED;
}

int book_post(struct book *book, const struct book_payment *payment)
{
    const uint32_t repeat = stream_id_repeat(payment->payment_id);
    const uint64_t ordinal = stream_id_ordinal(payment->payment_id);
    if (ordinal == 0 || payment->batch > NACHA_BATCHES_MAX)
        return BOOK_REFUSED;
    struct file *file = file_of(book, stream_id_file(payment->payment_id));
    struct pass *pass = file != NULL ? pass_of(file, repeat) : NULL;
    if (pass == NULL)
        return -ENOMEM;
    if (pass == &closed)
        return (int)seen_before(book, file, payment);
    struct book_batch *batch = batch_of(pass, payment->batch);
    if (batch == NULL)
        return -ENOMEM;
    int added = book_set_add(&pass->posted_set, ordinal);
    if (added < 0)
        return added;
    if (added == 0)
        return (int)seen_before(book, file, payment);
    const uint64_t debit_cents = payment->is_debit ? payment->amount_cents : 0;
    const uint64_t credit_cents = payment->is_debit ? 0 : payment->amount_cents;
    book->posted++;
    book->repeated += payment->repeated;
    batch->posted++;
    batch->entry_hash = (batch->entry_hash + payment->bank) % NACHA_HASH_MODULUS;
    batch->debit_cents += debit_cents;
    batch->credit_cents += credit_cents;
    pass->posted++;
    pass->entry_hash = (pass->entry_hash + payment->bank) % NACHA_HASH_MODULUS;
    pass->debit_cents += debit_cents;
    pass->credit_cents += credit_cents;
    if (ordinal > pass->highest_ordinal)
        pass->highest_ordinal = ordinal;
    if (payment->objections != 0) {
        file->result.objected++;
        file->result.input_at_fault = true;
        if (repeat == 0 && say_objections(file, payment) != 0)
            return -ENOMEM;
    }
    int error = close_if_whole(file, pass, repeat);
    return error != 0 ? error : (int)BOOK_POSTED;
}

/* 1: new; 0: seen before; -ENOMEM, -ERANGE. */
static int first_time(struct book *book, uint64_t statement)
{
    int added = book_set_add(&book->statements, statement);
    if (added == 1)
        book->statements_seen++;
    return added;
}

int book_name(struct book *book, uint64_t statement, const struct stream_name *name)
{
    const size_t piece = sizeof(name->text);
    if (name->file >= STREAM_FILES_MAX || name->length > BOOK_NAME_MAX || name->offset >= name->length)
        return -EBADMSG;
    int fresh = first_time(book, statement);
    if (fresh <= 0)
        return fresh;
    struct file *file = file_of(book, name->file);
    if (file == NULL)
        return -ENOMEM;
    if (file->name == NULL)
        file->name = calloc(1, BOOK_NAME_MAX + 1);
    if (file->name == NULL)
        return -ENOMEM;
    const size_t left = name->length - name->offset;
    memcpy(file->name + name->offset, name->text, left < piece ? left : piece);
    return 0;
}

int book_batch_stated(struct book *book, uint64_t statement, const struct stream_batch *stated)
{
    if (stated->file >= STREAM_FILES_MAX || stated->repeat >= STREAM_REPEATS_MAX || stated->ordinal == 0 ||
        stated->ordinal > NACHA_BATCHES_MAX)
        return -EBADMSG;
    int fresh = first_time(book, statement);
    if (fresh <= 0)
        return fresh;
    struct file *file = file_of(book, stated->file);
    struct pass *pass = file != NULL ? pass_of(file, stated->repeat) : NULL;
    if (pass == NULL)
        return -ENOMEM;
    if (pass == &closed)
        return -EBADMSG;
    struct book_batch *batch = batch_of(pass, stated->ordinal);
    if (batch == NULL)
        return -ENOMEM;
    if (batch->is_stated)
        return -EBADMSG;
    batch->is_stated = true;
    batch->has_control = stated->has_control != 0;
    batch->number = stated->number;
    batch->line = stated->line;
    batch->sent = stated->entries;
    batch->addenda = stated->addenda;
    batch->stated = stated->stated;
    pass->batches_stated++;
    return close_if_whole(file, pass, stated->repeat);
}

int book_file_stated(struct book *book, uint64_t statement, const struct stream_file *stated)
{
    if (stated->file >= STREAM_FILES_MAX || stated->repeat >= STREAM_REPEATS_MAX || stated->batches > NACHA_BATCHES_MAX)
        return -EBADMSG;
    int fresh = first_time(book, statement);
    if (fresh <= 0)
        return fresh;
    struct file *file = file_of(book, stated->file);
    struct pass *pass = file != NULL ? pass_of(file, stated->repeat) : NULL;
    if (pass == NULL)
        return -ENOMEM;
    if (pass == &closed || pass->is_stated)
        return -EBADMSG;
    pass->is_stated = true;
    pass->stated = *stated;
    return close_if_whole(file, pass, stated->repeat);
}

int book_found(struct book *book, uint64_t statement, const struct stream_finding *finding)
{
    char text[sizeof(finding->text)];
    if (finding->file >= STREAM_FILES_MAX || finding->severity < NACHA_NOTE || finding->severity > NACHA_MALFORMED)
        return -EBADMSG;
    int fresh = first_time(book, statement);
    if (fresh <= 0)
        return fresh;
    struct file *file = file_of(book, finding->file);
    if (file == NULL)
        return -ENOMEM;
    memcpy(text, finding->text, sizeof(text));
    text[sizeof(text) - 1] = '\0';
    return add_finding(file, finding->severity, finding->line, text);
}

int book_ended(struct book *book, uint64_t statement, const struct stream_end *end)
{
    if (end->files > STREAM_FILES_MAX || end->repeats > STREAM_REPEATS_MAX || book->end_is_stated)
        return -EBADMSG;
    int fresh = first_time(book, statement);
    if (fresh <= 0)
        return fresh;
    book->end_is_stated = true;
    book->end = *end;
    return 0;
}

void book_damaged(struct book *book)
{
    book->damaged++;
}

/* ---------------------------------------------------------------- the end */

bool book_end_is_stated(const struct book *book)
{
    return book->end_is_stated;
}

bool book_is_complete(const struct book *book)
{
    return book->end_is_stated && book->posted + book->damaged >= book->end.payments &&
           book->statements_seen >= book->end.statements;
}

uint32_t book_repeats(const struct book *book)
{
    return book->end_is_stated ? book->end.repeats : 1;
}

uint64_t book_posted(const struct book *book)
{
    return book->posted;
}

uint64_t book_recognised(const struct book *book)
{
    return book->recognised;
}

uint64_t book_repeated(const struct book *book)
{
    return book->repeated;
}

uint64_t book_damage(const struct book *book)
{
    return book->damaged;
}

uint64_t book_statements_missing(const struct book *book)
{
    return book->end_is_stated && book->end.statements > book->statements_seen
               ? book->end.statements - book->statements_seen
               : 0;
}

static int by_number(const void *left, const void *right)
{
    const uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;
    return (a > b) - (a < b);
}

static int by_line(const void *left, const void *right)
{
    const struct book_finding *a = left, *b = right;
    return a->line != b->line ? (a->line > b->line) - (a->line < b->line) : strcmp(a->text, b->text);
}

static int settle_file(struct file *file)
{
    struct book_file *result = &file->result;
    for (size_t repeat = 0; repeat < file->pass_count; repeat++) {
        struct pass *pass = file->passes[repeat];
        if (pass == NULL || pass == &closed)
            continue;
        int error = fold(file, pass, (uint32_t)repeat);
        pass_free(pass);
        file->passes[repeat] = &closed;
        if (error != 0)
            return error;
    }
    result->control_agrees &= result->passes > 0;
    if (file->malformed_count > 1)
        qsort(file->malformed, file->malformed_count, sizeof(uint64_t), by_number);
    for (size_t i = 0; i < file->malformed_count; i++)
        if (result->malformed_count == 0 || file->malformed[i] != file->malformed[result->malformed_count - 1])
            file->malformed[result->malformed_count++] = file->malformed[i];
    if (file->findings_kept > 1)
        qsort(file->findings, file->findings_kept, sizeof(struct book_finding), by_line);
    result->name = file->name != NULL ? file->name : "(its name was lost)";
    result->malformed_lines = file->malformed;
    result->findings = file->findings;
    result->findings_kept = file->findings_kept;
    return 0;
}

int book_settle(struct book *book, enum book_verdict *verdict)
{
    uint64_t missing = 0;
    bool at_fault = false, doubled = false;
    for (uint32_t i = 0; i < book->file_count || (book->end_is_stated && i < book->end.files); i++) {
        struct file *file = file_of(book, i);
        int error = file != NULL ? settle_file(file) : -ENOMEM;
        if (error != 0)
            return error;
        missing += file->result.missing;
        doubled |= file->result.doubled > 0;
        at_fault |= file->result.input_at_fault || !file->result.control_agrees;
    }
    /* Passes of which nothing at all arrived are known only by the sum. */
    if (book->end_is_stated && book->file_count > 0 && book->posted + missing < book->end.payments) {
        struct file *file = book->files[0];
        for (size_t i = 0; i < book->file_count; i++)
            if (book->files[i]->result.passes < book->end.repeats) {
                file = book->files[i];
                break;
            }
        file->result.missing += book->end.payments - book->posted - missing;
        missing = book->end.payments - book->posted;
    }
    const bool lost = missing > 0 || book->damaged > 0 || !book->end_is_stated || book_statements_missing(book) > 0;
    *verdict = lost || doubled ? BOOK_LOST_OR_DOUBLED : at_fault ? BOOK_INPUT_AT_FAULT : BOOK_EXACT;
    return 0;
}

size_t book_files(const struct book *book)
{
    return book->file_count;
}
const struct book_file *book_file(const struct book *book, size_t index)
{
    return &book->files[index]->result;
}
