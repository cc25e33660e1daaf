/* SPDX-License-Identifier: MIT
 * The book: every entry is posted exactly once, and what is lost or doubled is seen. */
#include "payment_files.h"

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

int main(void)
{
    Suite *suite = suite_create("book");
    TCase *posting = tcase_create("posting");
    tcase_add_test(posting, lost_entry_is_missed);
    tcase_add_test(posting, doubled_entry_is_posted_once_and_reported);
    tcase_add_test(posting, entry_doubled_after_its_file_is_whole_is_reported);
    tcase_add_test(posting, redelivered_entry_is_recognised_and_no_fault);
    tcase_add_test(posting, order_of_arrival_does_not_matter);
    tcase_add_test(posting, pass_of_which_nothing_came_is_missed);
    tcase_add_test(posting, book_refuses_what_cannot_exist);
    suite_add_tcase(suite, posting);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
