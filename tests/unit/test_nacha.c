/* SPDX-License-Identifier: MIT
 * Payment files: what is read from them, what is found wrong with them, and the book that posts them.
 * The sample files are in $NUMAPOOL_DATA, else in tests/data of the source directory. */
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

static int relay_entry(void *context, const struct nacha_entry *entry)
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

static int relay_batch(void *context, const struct nacha_batch *batch)
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

static int relay_file(void *context, const struct nacha_file *file)
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

static int relay_finding(void *context, enum nacha_severity severity, uint64_t line, const char *sentence)
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
static struct book *post_file(const char *path, uint32_t repeats, struct mishap mishap, enum book_verdict *verdict,
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

static const char *sample(const char *name)
{
    static char path[4096];
    const char *data = getenv("NUMAPOOL_DATA"), *source = getenv("srcdir");
    if (data != NULL)
        snprintf(path, sizeof(path), "%s/%s", data, name);
    else
        snprintf(path, sizeof(path), "%s/tests/data/%s", source != NULL ? source : ".", name);
    return path;
}

static const char *write_file(const void *bytes, size_t count)
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
static const char *const small[RECORDS] = {
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
static struct outcome post_changed(unsigned changed, const char *replacement, const char *line_end)
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

/* ---------------------------------------------------------------- rules */

START_TEST(check_digit_is_that_of_real_routing_numbers)
{
    ck_assert_uint_eq(nacha_check_digit("23138010"), 4);
    ck_assert_uint_eq(nacha_check_digit("12104288"), 2);
    ck_assert_uint_eq(nacha_check_digit("02120002"), 5);
    ck_assert_uint_eq(nacha_check_digit("03130001"), 2);
    ck_assert_uint_eq(nacha_check_digit("00000000"), 0);
}
END_TEST

START_TEST(codes_say_debit_or_credit)
{
    static const unsigned credits[] = { 21, 22, 23, 24, 32, 42, 52, 81, 83, 85, 87 };
    static const unsigned debits[] = { 26, 27, 28, 29, 37, 47, 55, 56, 82, 84, 86, 88 };
    for (size_t i = 0; i < sizeof(credits) / sizeof(credits[0]); i++)
        ck_assert(nacha_code_is_known(credits[i]) && !nacha_code_is_debit(credits[i]));
    for (size_t i = 0; i < sizeof(debits) / sizeof(debits[0]); i++)
        ck_assert(nacha_code_is_known(debits[i]) && nacha_code_is_debit(debits[i]));
    ck_assert(!nacha_code_is_known(20) && !nacha_code_is_known(25) && !nacha_code_is_known(57) && !nacha_code_is_known(99));
    ck_assert(nacha_code_is_prenote(23) && nacha_code_is_prenote(38) && !nacha_code_is_prenote(22));
    ck_assert(!nacha_code_may_be_zero(22) && nacha_code_may_be_zero(24) && nacha_code_may_be_zero(26));
}
END_TEST

/* ---------------------------------------------------------------- the samples */

START_TEST(sample_of_ten_thousand_records_agrees)
{
    enum book_verdict verdict;
    struct book *book = post_file(sample("ppd-10010-records.ach"), 1, (struct mishap){ 0 }, &verdict, NULL);
    const struct book_file *file = book_file(book, 0);
    ck_assert_int_eq(verdict, BOOK_EXACT);
    ck_assert_uint_eq(file->posted, 5000);
    ck_assert_uint_eq(file->entry_hash, 5690050000);
    ck_assert_uint_eq(file->debit_cents, 0);
    ck_assert_uint_eq(file->credit_cents, 500000000);
    ck_assert_uint_eq(file->entries_and_addenda, 10000);
    ck_assert_uint_eq(file->batch_count, 5);
    ck_assert(file->control_agrees);
    ck_assert_uint_eq(file->findings_total, 0);
    book_close(book);
}
END_TEST

START_TEST(sample_with_debits_and_credits_agrees)
{
    enum book_verdict verdict;
    struct book *book = post_file(sample("ppd-mixed-debit-credit.ach"), 1, (struct mishap){ 0 }, &verdict, NULL);
    const struct book_file *file = book_file(book, 0);
    ck_assert_int_eq(verdict, BOOK_EXACT);
    ck_assert_uint_eq(file->posted, 3);
    ck_assert_uint_eq(file->entry_hash, 69414030);
    ck_assert_uint_eq(file->debit_cents, 200000000);
    ck_assert_uint_eq(file->credit_cents, 200000000);
    book_close(book);
}
END_TEST

START_TEST(international_sample_agrees)
{
    enum book_verdict verdict;
    struct book *book = post_file(sample("iat-mixed-debit-credit.ach"), 1, (struct mishap){ 0 }, &verdict, NULL);
    ck_assert_int_eq(verdict, BOOK_EXACT);
    ck_assert_uint_eq(book_file(book, 0)->posted, 2);
    ck_assert(book_file(book, 0)->control_agrees);
    book_close(book);
}
END_TEST

START_TEST(invalid_sample_is_posted_whole_and_its_faults_are_named)
{
    enum book_verdict verdict;
    struct book *book = post_file(sample("invalid-20110729A.ach"), 1, (struct mishap){ 0 }, &verdict, NULL);
    const struct book_file *file = book_file(book, 0);
    ck_assert_int_eq(verdict, BOOK_INPUT_AT_FAULT);
    ck_assert_uint_eq(file->posted, 178);
    ck_assert_uint_eq(file->entry_hash, 482135671);
    ck_assert_uint_eq(file->debit_cents, 2687100000);
    ck_assert_uint_eq(file->credit_cents, 18500);
    ck_assert(file->control_agrees);
    ck_assert_uint_eq(file->malformed_count, 1);
    ck_assert_uint_eq(file->malformed_lines[0], 1);
    book_close(book);
}
END_TEST

START_TEST(repeats_are_summed_and_each_is_compared)
{
    enum book_verdict verdict;
    struct book *book = post_file(sample("ppd-mixed-debit-credit.ach"), 50, (struct mishap){ 0 }, &verdict, NULL);
    const struct book_file *file = book_file(book, 0);
    ck_assert_int_eq(verdict, BOOK_EXACT);
    ck_assert_uint_eq(file->posted, 150);
    ck_assert_uint_eq(file->entry_hash, 69414030u * UINT64_C(50));
    ck_assert_uint_eq(file->debit_cents, UINT64_C(200000000) * 50);
    ck_assert_uint_eq(file->passes_agreeing, 50);
    ck_assert_uint_eq(file->first_posted, 3);
    book_close(book);
}
END_TEST

/* ---------------------------------------------------------------- lost, doubled, redelivered */

START_TEST(lost_entry_is_missed)
{
    enum book_verdict verdict;
    struct book *book =
        post_file(sample("ppd-10010-records.ach"), 2, (struct mishap){ .lost = 4999 }, &verdict, NULL);
    ck_assert_int_eq(verdict, BOOK_LOST_OR_DOUBLED);
    ck_assert_uint_eq(book_file(book, 0)->missing, 2);
    ck_assert_uint_eq(book_file(book, 0)->posted, 9998);
    ck_assert(!book_file(book, 0)->control_agrees);
    book_close(book);
}
END_TEST

START_TEST(doubled_entry_is_posted_once_and_reported)
{
    enum book_verdict verdict;
    int outcome;
    struct book *book =
        post_file(sample("ppd-mixed-debit-credit.ach"), 1, (struct mishap){ .doubled = 2 }, &verdict, &outcome);
    ck_assert_int_eq(outcome, BOOK_DOUBLED);
    ck_assert_int_eq(verdict, BOOK_LOST_OR_DOUBLED);
    ck_assert_uint_eq(book_file(book, 0)->doubled, 1);
    ck_assert_uint_eq(book_file(book, 0)->posted, 3);
    ck_assert_uint_eq(book_file(book, 0)->credit_cents, 200000000);
    book_close(book);
}
END_TEST

START_TEST(entry_doubled_after_its_file_is_whole_is_reported)
{
    struct book *book = book_open();
    const struct stream_file file = { .entries = 1 };
    struct book_payment payment = { .payment_id = stream_payment_id(0, 0, 1), .amount_cents = 5 };
    ck_assert_int_eq(book_post(book, &payment), BOOK_POSTED);
    ck_assert_int_eq(book_file_stated(book, 1, &file), 0);
    ck_assert_int_eq(book_post(book, &payment), BOOK_DOUBLED);
    payment.redelivered = true;
    ck_assert_int_eq(book_post(book, &payment), BOOK_RECOGNISED);
    book_close(book);
}
END_TEST

START_TEST(redelivered_entry_is_recognised_and_no_fault)
{
    enum book_verdict verdict;
    int outcome;
    struct book *book =
        post_file(sample("ppd-mixed-debit-credit.ach"), 1, (struct mishap){ .redelivered = 2 }, &verdict, &outcome);
    ck_assert_int_eq(outcome, BOOK_RECOGNISED);
    ck_assert_int_eq(verdict, BOOK_EXACT);
    ck_assert_uint_eq(book_recognised(book), 1);
    ck_assert_uint_eq(book_file(book, 0)->doubled, 0);
    book_close(book);
}
END_TEST

START_TEST(order_of_arrival_does_not_matter)
{
    struct book *book = book_open();
    const struct stream_totals stated = { 2, 20, 0, 12 };
    const struct stream_file file = { .batches = 1, .has_control = 1, .entries = 2, .stated = stated };
    const struct stream_batch batch = { .ordinal = 1, .has_control = 1, .entries = 2, .stated = stated };
    const struct stream_end end = { .files = 1, .repeats = 1, .payments = 2, .statements = 3 };
    const struct book_payment first = {
        .payment_id = stream_payment_id(0, 0, 1), .amount_cents = 5, .bank = 10, .batch = 1
    };
    const struct book_payment second = {
        .payment_id = stream_payment_id(0, 0, 2), .amount_cents = 7, .bank = 10, .batch = 1
    };
    enum book_verdict verdict;
    ck_assert_int_eq(book_ended(book, 3, &end), 0);
    ck_assert_int_eq(book_file_stated(book, 2, &file), 0);
    ck_assert_int_eq(book_post(book, &second), BOOK_POSTED);
    ck_assert_int_eq(book_batch_stated(book, 1, &batch), 0);
    ck_assert(!book_is_complete(book));
    ck_assert_int_eq(book_post(book, &first), BOOK_POSTED);
    ck_assert(book_is_complete(book));
    ck_assert_int_eq(book_settle(book, &verdict), 0);
    ck_assert_int_eq(verdict, BOOK_EXACT);
    book_close(book);
}
END_TEST

START_TEST(pass_of_which_nothing_came_is_missed)
{
    struct book *book = book_open();
    const struct stream_end end = { .files = 2, .repeats = 3, .payments = 60, .statements = 1 };
    enum book_verdict verdict;
    ck_assert_int_eq(book_ended(book, 1, &end), 0);
    ck_assert_int_eq(book_settle(book, &verdict), 0);
    ck_assert_int_eq(verdict, BOOK_LOST_OR_DOUBLED);
    ck_assert_uint_eq(book_file(book, 0)->missing, 60);
    book_close(book);
}
END_TEST

START_TEST(book_refuses_what_cannot_exist)
{
    struct book *book = book_open();
    const struct stream_batch batch = { .ordinal = UINT32_MAX };
    const struct stream_file file = { .file = STREAM_FILES_MAX };
    const struct stream_name name = { .offset = 5, .length = 4 };
    const struct stream_finding finding = { .severity = 9 };
    ck_assert_int_eq(book_post(book, &(struct book_payment){ .payment_id = 0 }), BOOK_REFUSED);
    ck_assert_int_eq(book_post(book, &(struct book_payment){ .payment_id = 1, .batch = UINT32_MAX }), BOOK_REFUSED);
    ck_assert_int_eq(book_batch_stated(book, 1, &batch), -EBADMSG);
    ck_assert_int_eq(book_file_stated(book, 1, &file), -EBADMSG);
    ck_assert_int_eq(book_name(book, 1, &name), -EBADMSG);
    ck_assert_int_eq(book_found(book, 1, &finding), -EBADMSG);
    book_close(book);
}
END_TEST

/* ---------------------------------------------------------------- faulty files */

START_TEST(line_ends_of_any_kind_give_the_same)
{
    static const char *const ends[] = { "\n", "\r\n", "" };
    for (size_t i = 0; i < 3; i++) {
        struct outcome outcome = post_changed(0, NULL, ends[i]);
        ck_assert_int_eq(outcome.verdict, BOOK_EXACT);
        ck_assert_uint_eq(outcome.file->posted, 1);
        ck_assert_uint_eq(outcome.file->debit_cents, 250);
        ck_assert_uint_eq(outcome.file->findings_total, 0);
        book_close(outcome.book);
    }
}
END_TEST

START_TEST(missing_trailing_blanks_are_a_warning_only)
{
    struct outcome outcome =
        post_changed(5, "9000001000001000000010023138010000000000250000000000000", "\n");
    ck_assert_int_eq(outcome.verdict, BOOK_EXACT);
    ck_assert_uint_eq(outcome.file->malformed_count, 0);
    ck_assert_uint_eq(outcome.file->findings_total, 1);
    ck_assert_uint_eq(outcome.file->findings[0].line, 5);
    ck_assert_uint_eq(outcome.file->findings[0].severity, NACHA_NOTE);
    book_close(outcome.book);
}
END_TEST

START_TEST(entry_that_lacks_a_character_is_named_and_not_posted)
{
    /* One blank too few before the amount: read at its place it would be 2500 and not 250. */
    struct outcome outcome = post_changed(
        3, "627231380104123456789       0000000250               Debit Account           0121042880000001", "\n");
    ck_assert_int_eq(outcome.verdict, BOOK_INPUT_AT_FAULT);
    ck_assert_uint_eq(outcome.file->posted, 0);
    ck_assert_uint_eq(outcome.file->missing, 0);
    ck_assert_uint_eq(outcome.file->malformed_count, 1);
    ck_assert_uint_eq(outcome.file->malformed_lines[0], 3);
    ck_assert(!outcome.file->control_agrees);
    book_close(outcome.book);
}
END_TEST

START_TEST(entry_with_letters_in_its_amount_is_named_and_not_posted)
{
    struct outcome outcome = post_changed(
        3, "627231380104123456789        00000O0250               Debit Account           0121042880000001", "\n");
    ck_assert_int_eq(outcome.verdict, BOOK_INPUT_AT_FAULT);
    ck_assert_uint_eq(outcome.file->posted, 0);
    ck_assert_uint_eq(outcome.file->malformed_lines[0], 3);
    book_close(outcome.book);
}
END_TEST

START_TEST(entry_with_a_wrong_check_digit_is_posted_and_named)
{
    struct outcome outcome = post_changed(
        3, "627231380105123456789        0000000250               Debit Account           0121042880000001", "\n");
    ck_assert_int_eq(outcome.verdict, BOOK_INPUT_AT_FAULT);
    ck_assert_uint_eq(outcome.file->posted, 1);
    ck_assert_uint_eq(outcome.file->objected, 1);
    ck_assert(outcome.file->control_agrees);
    ck_assert_uint_eq(outcome.file->malformed_lines[0], 3);
    book_close(outcome.book);
}
END_TEST

START_TEST(control_record_that_disagrees_is_named)
{
    struct outcome outcome = post_changed(
        4, "82000000010023138010000000000251000000000000121042882                          121042880000001", "\n");
    ck_assert_int_eq(outcome.verdict, BOOK_INPUT_AT_FAULT);
    ck_assert(!outcome.file->control_agrees);
    ck_assert_uint_eq(outcome.file->findings[0].line, 4);
    ck_assert_ptr_nonnull(strstr(outcome.file->findings[0].text, "251"));
    ck_assert_uint_eq(outcome.file->malformed_count, 0);
    book_close(outcome.book);
}
END_TEST

START_TEST(file_control_that_disagrees_is_named)
{
    struct outcome outcome = post_changed(
        5, "9000001000001000000010023138011000000000250000000000000                                       ", "\n");
    ck_assert_int_eq(outcome.verdict, BOOK_INPUT_AT_FAULT);
    ck_assert(!outcome.file->control_agrees);
    book_close(outcome.book);
}
END_TEST

START_TEST(line_that_is_no_record_is_named_and_the_rest_posted)
{
    static const char *const strange[] = { "hello", "\x01\x02\x03", "3 is no record type", "\xff\xfe" };
    for (size_t i = 0; i < sizeof(strange) / sizeof(strange[0]); i++) {
        char text[4096];
        enum book_verdict verdict;
        snprintf(text, sizeof(text), "%s\n%s\n%s\n%s\n%s\n%s\n", small[0], small[1], small[2], strange[i], small[3],
                 small[4]);
        const char *path = write_file(text, strlen(text));
        struct book *book = post_file(path, 1, (struct mishap){ 0 }, &verdict, NULL);
        ck_assert_int_eq(verdict, BOOK_INPUT_AT_FAULT);
        ck_assert_uint_eq(book_file(book, 0)->posted, 1);
        ck_assert_uint_eq(book_file(book, 0)->malformed_lines[0], 4);
        ck_assert(book_file(book, 0)->control_agrees);
        book_close(book);
        unlink(path);
    }
}
END_TEST

START_TEST(line_longer_than_the_buffer_is_one_fault)
{
    const size_t size = 3 * NACHA_BUFFER_BYTES;
    char *text = malloc(size + 1024);
    enum book_verdict verdict;
    ck_assert_ptr_nonnull(text);
    memset(text, '6', size);
    const int rest = snprintf(text + size, 1024, "\n%s\n%s\n%s\n%s\n%s", small[0], small[1], small[2], small[3], small[4]);
    const char *path = write_file(text, size + (size_t)rest);
    struct book *book = post_file(path, 1, (struct mishap){ 0 }, &verdict, NULL);
    ck_assert_int_eq(verdict, BOOK_INPUT_AT_FAULT);
    ck_assert_uint_eq(book_file(book, 0)->posted, 1);
    ck_assert_uint_eq(book_file(book, 0)->malformed_count, 1);
    ck_assert_uint_eq(book_file(book, 0)->malformed_lines[0], 1);
    book_close(book);
    unlink(path);
    free(text);
}
END_TEST

START_TEST(file_that_cannot_be_read_is_at_fault)
{
    const char *empty = write_file("", 0);
    const char *const paths[] = { empty, "/", "/nonexistent/file", "/dev/null" };
    for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
        enum book_verdict verdict;
        struct book *book = post_file(paths[i], 1, (struct mishap){ 0 }, &verdict, NULL);
        ck_assert_int_eq(verdict, BOOK_INPUT_AT_FAULT);
        ck_assert_uint_ge(book_file(book, 0)->findings_total, 1);
        book_close(book);
    }
    unlink(empty);
}
END_TEST

START_TEST(batch_without_control_record_is_at_fault)
{
    char text[4096];
    enum book_verdict verdict;
    snprintf(text, sizeof(text), "%s\n%s\n%s\n%s\n", small[0], small[1], small[2], small[4]);
    const char *path = write_file(text, strlen(text));
    struct book *book = post_file(path, 1, (struct mishap){ 0 }, &verdict, NULL);
    ck_assert_int_eq(verdict, BOOK_INPUT_AT_FAULT);
    ck_assert_uint_eq(book_file(book, 0)->posted, 1);
    ck_assert(!book_file(book, 0)->control_agrees);
    book_close(book);
    unlink(path);
}
END_TEST

START_TEST(accounting_advice_has_wider_amounts)
{
    static const char text[] =
        "101 231380104 1210428821811130000A094101Federal Reserve Bank   My Bank Name                   \n"
        "5280Company Name, In                    121042882 ADVAccounting      181114   0121042880000001\n"
        "681231380104744-5678-99    00000005000012104288211131 Name                    0011000010500001\n"
        "682231380104744-5678-99    00000025000012104288211139 Name                    0011000010500002\n"
        "828000000200462760200000000000000025000000000000000000050000Company Name, Inc  121042880000001\n"
        "90000010000010000000200462760200000000000000025000000000000000000050000                       \n";
    enum book_verdict verdict;
    const char *path = write_file(text, sizeof(text) - 1);
    struct book *book = post_file(path, 1, (struct mishap){ 0 }, &verdict, NULL);
    ck_assert_int_eq(verdict, BOOK_EXACT);
    ck_assert_uint_eq(book_file(book, 0)->debit_cents, 250000);
    ck_assert_uint_eq(book_file(book, 0)->credit_cents, 50000);
    book_close(book);
    unlink(path);
}
END_TEST

START_TEST(any_bytes_are_read_to_their_end)
{
    /* A fixed seed: what fails once fails again. */
    uint64_t random = UINT64_C(0x9e3779b97f4a7c15);
    char text[6000];
    for (unsigned round = 0; round < 300; round++) {
        enum book_verdict verdict;
        size_t count = 0;
        for (unsigned i = 0; i < RECORDS; i++)
            count += (size_t)snprintf(text + count, sizeof(text) - count, "%s\n", small[i]);
        for (unsigned change = 0; change < 1 + round % 40; change++) {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            text[random % count] = (char)(random >> 32);
        }
        const char *path = write_file(text, count);
        struct book *book = post_file(path, 2, (struct mishap){ 0 }, &verdict, NULL);
        ck_assert_int_ne(verdict, BOOK_LOST_OR_DOUBLED);
        book_close(book);
        unlink(path);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("nacha");
    TCase *rules = tcase_create("rules"), *samples = tcase_create("samples"), *posting = tcase_create("posting");
    TCase *faults = tcase_create("faults");
    tcase_add_test(rules, check_digit_is_that_of_real_routing_numbers);
    tcase_add_test(rules, codes_say_debit_or_credit);
    tcase_add_test(samples, sample_of_ten_thousand_records_agrees);
    tcase_add_test(samples, sample_with_debits_and_credits_agrees);
    tcase_add_test(samples, international_sample_agrees);
    tcase_add_test(samples, invalid_sample_is_posted_whole_and_its_faults_are_named);
    tcase_add_test(samples, repeats_are_summed_and_each_is_compared);
    tcase_add_test(posting, lost_entry_is_missed);
    tcase_add_test(posting, doubled_entry_is_posted_once_and_reported);
    tcase_add_test(posting, entry_doubled_after_its_file_is_whole_is_reported);
    tcase_add_test(posting, redelivered_entry_is_recognised_and_no_fault);
    tcase_add_test(posting, order_of_arrival_does_not_matter);
    tcase_add_test(posting, pass_of_which_nothing_came_is_missed);
    tcase_add_test(posting, book_refuses_what_cannot_exist);
    tcase_add_test(faults, line_ends_of_any_kind_give_the_same);
    tcase_add_test(faults, missing_trailing_blanks_are_a_warning_only);
    tcase_add_test(faults, entry_that_lacks_a_character_is_named_and_not_posted);
    tcase_add_test(faults, entry_with_letters_in_its_amount_is_named_and_not_posted);
    tcase_add_test(faults, entry_with_a_wrong_check_digit_is_posted_and_named);
    tcase_add_test(faults, control_record_that_disagrees_is_named);
    tcase_add_test(faults, file_control_that_disagrees_is_named);
    tcase_add_test(faults, line_that_is_no_record_is_named_and_the_rest_posted);
    tcase_add_test(faults, line_longer_than_the_buffer_is_one_fault);
    tcase_add_test(faults, file_that_cannot_be_read_is_at_fault);
    tcase_add_test(faults, batch_without_control_record_is_at_fault);
    tcase_add_test(faults, accounting_advice_has_wider_amounts);
    tcase_add_test(faults, any_bytes_are_read_to_their_end);
    suite_add_tcase(suite, rules);
    suite_add_tcase(suite, samples);
    suite_add_tcase(suite, posting);
    suite_add_tcase(suite, faults);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
