/* SPDX-License-Identifier: MIT
 * Payment files: what is read from them and what is found wrong with them. */
#include "payment_files.h"

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
    TCase *rules = tcase_create("rules"), *samples = tcase_create("samples");
    TCase *faults = tcase_create("faults");
    tcase_add_test(rules, check_digit_is_that_of_real_routing_numbers);
    tcase_add_test(rules, codes_say_debit_or_credit);
    tcase_add_test(samples, sample_of_ten_thousand_records_agrees);
    tcase_add_test(samples, sample_with_debits_and_credits_agrees);
    tcase_add_test(samples, international_sample_agrees);
    tcase_add_test(samples, invalid_sample_is_posted_whole_and_its_faults_are_named);
    tcase_add_test(samples, repeats_are_summed_and_each_is_compared);
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
    suite_add_tcase(suite, faults);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
