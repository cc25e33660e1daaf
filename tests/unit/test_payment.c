/* SPDX-License-Identifier: MIT
 * The payment record: its bytes, its checksum, and what it finds wrong. */
#include <check.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "numapool/payment.h"

static struct numapool_payment sound_payment(void)
{
    struct numapool_payment payment;
    numapool_payment_begin(&payment);
    numapool_payment_set_id(&payment, 0x1122334455667788u);
    numapool_payment_set_reference(&payment, 121042880000001u);
    numapool_payment_set_amount(&payment, 100000, "USD", 2);
    numapool_payment_set_times(&payment, INT64_C(1700000000000000000), INT64_C(1700000000000000001));
    numapool_payment_set_batch(&payment, 7);
    numapool_payment_set_code(&payment, 22);
    numapool_payment_set_debit_account(&payment, "DE89370400440532013000", 22);
    numapool_payment_set_credit_account(&payment, "231380104/81967038518", 21);
    numapool_payment_seal(&payment, NUMAPOOL_PAYMENT_CHECKED);
    return payment;
}

START_TEST(checksum_gives_the_test_vectors_of_rfc_3720)
{
    unsigned char bytes[32];
    uint32_t (*const ways[])(uint32_t, const void *, size_t) = { numapool_payment_crc32c_portable,
                                                                 numapool_payment_crc32c };
    for (size_t way = 0; way < 2; way++) {
        memset(bytes, 0, sizeof(bytes));
        ck_assert_uint_eq(~ways[way](0xffffffffu, bytes, 32), 0x8a9136aau);
        memset(bytes, 0xff, sizeof(bytes));
        ck_assert_uint_eq(~ways[way](0xffffffffu, bytes, 32), 0x62a8ab43u);
        for (unsigned i = 0; i < 32; i++)
            bytes[i] = (unsigned char)i;
        ck_assert_uint_eq(~ways[way](0xffffffffu, bytes, 32), 0x46dd794eu);
        ck_assert_uint_eq(~ways[way](0xffffffffu, "123456789", 9), 0xe3069283u);
    }
}
END_TEST

START_TEST(fields_lie_where_the_table_says)
{
    const struct numapool_payment payment = sound_payment();
    unsigned char bytes[128];
    memcpy(bytes, &payment, sizeof(bytes));
    ck_assert_mem_eq(bytes + 4, "\x04\x00\x00\x00", 4);
    ck_assert_mem_eq(bytes + 8, "\x88\x77\x66\x55\x44\x33\x22\x11", 8);
    ck_assert_mem_eq(bytes + 24, "\xa0\x86\x01\x00\x00\x00\x00\x00", 8);
    ck_assert_mem_eq(bytes + 48, "\x07\x00\x00\x00\x16\x00\x01\x02USD\x00", 12);
    ck_assert_mem_eq(bytes + 60, "DE89370400440532013000\0\0\0\0\0\0\0\0\0\0\0\0", 34);
    ck_assert_mem_eq(bytes + 94, "231380104/81967038518\0\0\0\0\0\0\0\0\0\0\0\0\0", 34);
}
END_TEST

START_TEST(what_was_set_is_read)
{
    const struct numapool_payment payment = sound_payment();
    size_t length_bytes;
    ck_assert_uint_eq(numapool_payment_get_id(&payment), 0x1122334455667788u);
    ck_assert_uint_eq(numapool_payment_get_reference(&payment), 121042880000001u);
    ck_assert_int_eq(numapool_payment_get_amount_minor(&payment), 100000);
    ck_assert_int_eq(numapool_payment_get_created_ns(&payment), INT64_C(1700000000000000000));
    ck_assert_int_eq(numapool_payment_get_due_ns(&payment), INT64_C(1700000000000000001));
    ck_assert_uint_eq(numapool_payment_get_batch(&payment), 7);
    ck_assert_uint_eq(numapool_payment_get_code(&payment), 22);
    ck_assert_uint_eq(numapool_payment_get_minor_digits(&payment), 2);
    ck_assert_mem_eq(numapool_payment_get_currency(&payment), "USD", 3);
    ck_assert_uint_eq(numapool_payment_get_flags(&payment), NUMAPOOL_PAYMENT_CHECKED);
    ck_assert_mem_eq(numapool_payment_get_debit_account(&payment, &length_bytes), "DE89370400440532013000", 22);
    ck_assert_uint_eq(length_bytes, 22);
    ck_assert_mem_eq(numapool_payment_get_credit_account(&payment, &length_bytes), "231380104/81967038518", 21);
    ck_assert_uint_eq(length_bytes, 21);
}
END_TEST

START_TEST(account_that_is_too_long_is_cut_and_says_so)
{
    struct numapool_payment payment = sound_payment();
    size_t length_bytes;
    ck_assert_int_eq(numapool_payment_set_debit_account(&payment, "1234567890123456789012345678901234", 34), 0);
    ck_assert_int_eq(numapool_payment_set_debit_account(&payment, "12345678901234567890123456789012345", 35), 1);
    numapool_payment_get_debit_account(&payment, &length_bytes);
    ck_assert_uint_eq(length_bytes, 34);
    numapool_payment_seal(&payment, 0);
    ck_assert_uint_eq(numapool_payment_problems(&payment), 0);
    /* The neighbour is as it was. */
    ck_assert_mem_eq(numapool_payment_get_credit_account(&payment, &length_bytes), "231380104/81967038518", 21);
}
END_TEST

START_TEST(sound_payment_has_no_problems)
{
    const struct numapool_payment payment = sound_payment();
    ck_assert_uint_eq(numapool_payment_problems(&payment), 0);
}
END_TEST

START_TEST(every_flipped_bit_is_found)
{
    struct numapool_payment payment = sound_payment();
    for (size_t bit = 0; bit < sizeof(payment) * 8; bit++) {
        unsigned char *byte = (unsigned char *)&payment + bit / 8;
        *byte ^= (unsigned char)(1u << (bit % 8));
        ck_assert_msg((numapool_payment_problems(&payment) & NUMAPOOL_PAYMENT_BAD_CHECKSUM) != 0, "bit %zu", bit);
        *byte ^= (unsigned char)(1u << (bit % 8));
    }
    ck_assert_uint_eq(numapool_payment_problems(&payment), 0);
}
END_TEST

START_TEST(flagging_keeps_it_sealed_and_touches_one_word)
{
    const struct numapool_payment before = sound_payment();
    struct numapool_payment payment = before;
    numapool_payment_flag(&payment, NUMAPOOL_PAYMENT_REJECTED | NUMAPOOL_PAYMENT_FLAG_APPLICATION(3));
    ck_assert_uint_eq(numapool_payment_problems(&payment), 0);
    ck_assert_uint_eq(numapool_payment_get_flags(&payment),
                      NUMAPOOL_PAYMENT_CHECKED | NUMAPOOL_PAYMENT_REJECTED | 0x80000u);
    ck_assert_mem_eq((const char *)&payment + 8, (const char *)&before + 8, 120);
    ck_assert_uint_eq(numapool_payment_checksum(&payment),
                      numapool_payment_checksum_with(&before, numapool_payment_get_flags(&payment)));
}
END_TEST

/* Each damage is sealed afterwards, so that only the field itself can be what is found. */
static uint32_t problems_after(void (*damage)(struct numapool_payment *), uint32_t flags)
{
    struct numapool_payment payment = sound_payment();
    damage(&payment);
    numapool_payment_seal(&payment, flags);
    return numapool_payment_problems(&payment);
}

static void nothing(struct numapool_payment *payment) { (void)payment; }
static void no_id(struct numapool_payment *payment) { payment->payment_id = 0; }
static void negative(struct numapool_payment *payment) { payment->amount_minor = -1; }
static void least(struct numapool_payment *payment) { payment->amount_minor = INT64_MIN; }
static void zero(struct numapool_payment *payment) { payment->amount_minor = 0; }
static void highest(struct numapool_payment *payment) { payment->amount_minor = NUMAPOOL_PAYMENT_AMOUNT_MAX; }
static void too_high(struct numapool_payment *payment) { payment->amount_minor = NUMAPOOL_PAYMENT_AMOUNT_MAX + 1; }
static void lower_case(struct numapool_payment *payment) { payment->currency[1] = 's'; }
static void many_digits(struct numapool_payment *payment) { payment->minor_digits = 5; }
static void no_debit(struct numapool_payment *payment) { payment->debit_account[0] = '\0'; }
static void hole(struct numapool_payment *payment) { payment->credit_account[3] = '\0'; }
static void control(struct numapool_payment *payment) { payment->credit_account[3] = '\n'; }
static void high_bit(struct numapool_payment *payment) { payment->debit_account[3] = (char)0xc3; }
static void early(struct numapool_payment *payment) { payment->due_ns = -1; }
static void reserved(struct numapool_payment *payment) { payment->reserved = 1; }
static void other_version(struct numapool_payment *payment) { payment->version = 2; }

START_TEST(each_wrong_field_has_its_bit)
{
    ck_assert_uint_eq(problems_after(nothing, 0x40), NUMAPOOL_PAYMENT_BAD_FLAGS);
    ck_assert_uint_eq(problems_after(no_id, 0), NUMAPOOL_PAYMENT_BAD_ID);
    ck_assert_uint_eq(problems_after(negative, NUMAPOOL_PAYMENT_NOTICE), NUMAPOOL_PAYMENT_BAD_AMOUNT);
    ck_assert_uint_eq(problems_after(least, 0), NUMAPOOL_PAYMENT_BAD_AMOUNT);
    ck_assert_uint_eq(problems_after(zero, 0), NUMAPOOL_PAYMENT_BAD_AMOUNT);
    ck_assert_uint_eq(problems_after(zero, NUMAPOOL_PAYMENT_NOTICE), 0);
    ck_assert_uint_eq(problems_after(highest, 0), 0);
    ck_assert_uint_eq(problems_after(too_high, 0), NUMAPOOL_PAYMENT_BAD_AMOUNT);
    ck_assert_uint_eq(problems_after(lower_case, 0), NUMAPOOL_PAYMENT_BAD_CURRENCY);
    ck_assert_uint_eq(problems_after(many_digits, 0), NUMAPOOL_PAYMENT_BAD_CURRENCY);
    ck_assert_uint_eq(problems_after(no_debit, 0), NUMAPOOL_PAYMENT_BAD_DEBIT_ACCOUNT);
    ck_assert_uint_eq(problems_after(hole, 0), NUMAPOOL_PAYMENT_BAD_CREDIT_ACCOUNT);
    ck_assert_uint_eq(problems_after(control, 0), NUMAPOOL_PAYMENT_BAD_CREDIT_ACCOUNT);
    ck_assert_uint_eq(problems_after(high_bit, 0), NUMAPOOL_PAYMENT_BAD_DEBIT_ACCOUNT);
    ck_assert_uint_eq(problems_after(early, 0), NUMAPOOL_PAYMENT_BAD_TIME);
    ck_assert_uint_eq(problems_after(reserved, 0), NUMAPOOL_PAYMENT_BAD_RESERVED);
    ck_assert_uint_eq(problems_after(other_version, 0), NUMAPOOL_PAYMENT_BAD_VERSION);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("payment");
    TCase *tests = tcase_create("payment");
    tcase_add_test(tests, checksum_gives_the_test_vectors_of_rfc_3720);
    tcase_add_test(tests, fields_lie_where_the_table_says);
    tcase_add_test(tests, what_was_set_is_read);
    tcase_add_test(tests, account_that_is_too_long_is_cut_and_says_so);
    tcase_add_test(tests, sound_payment_has_no_problems);
    tcase_add_test(tests, every_flipped_bit_is_found);
    tcase_add_test(tests, flagging_keeps_it_sealed_and_touches_one_word);
    tcase_add_test(tests, each_wrong_field_has_its_bit);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
