/* SPDX-License-Identifier: MIT
 * Slot words: what is put into one comes out again, and nothing of one field leaks into another. */
#include <check.h>
#include <stdlib.h>

#include "core/word.h"

static const unsigned owners[] = { 0, 1, 2, 255, 256, 65534, 65535 };
static const unsigned generations[] = { 0, 1, 255, 256, 65534, 65535 };
static const uint64_t positions[] = { 0,
                                      1,
                                      (UINT64_C(1) << 20) - 1,
                                      UINT64_C(1) << 20,
                                      NP_WORD_SEQ_MASK - 1,
                                      NP_WORD_SEQ_MASK };

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

START_TEST(zeroed_memory_is_free_slots)
{
    ck_assert_uint_eq(np_word_state(0), NP_WORD_FREE);
    ck_assert_uint_eq(np_word_free(0), 0);
    ck_assert_uint_eq(np_word_owner(np_word_free(65535)), 0);
    ck_assert_uint_eq(np_word_seq(np_word_free(65535)), 0);
    ck_assert_uint_eq(np_word_gen(np_word_free(65535)), 65535);
}
END_TEST

START_TEST(held_words_say_who_and_which_generation)
{
    for (unsigned o = 0; o < COUNT_OF(owners); o++)
        for (unsigned g = 0; g < COUNT_OF(generations); g++) {
            uint64_t word = np_word_held(owners[o], generations[g]);
            ck_assert_uint_eq(np_word_state(word), NP_WORD_HELD);
            ck_assert_uint_eq(np_word_owner(word), owners[o]);
            ck_assert_uint_eq(np_word_gen(word), generations[g]);
            ck_assert_uint_eq(np_word_seq(word), 0);
            for (unsigned other = 0; other < COUNT_OF(owners); other++)
                ck_assert_int_eq(np_word_is_held_by(word, owners[other]), o == other);
        }
}
END_TEST

START_TEST(sent_words_say_which_message_of_which_lane)
{
    for (unsigned o = 0; o < COUNT_OF(owners); o++)
        for (unsigned p = 0; p < COUNT_OF(positions); p++)
            for (unsigned g = 0; g < COUNT_OF(generations); g++) {
                uint64_t word = np_word_sent(owners[o], positions[p], generations[g]);
                ck_assert_uint_eq(np_word_state(word), NP_WORD_SENT);
                ck_assert_uint_eq(np_word_owner(word), owners[o]);
                ck_assert_uint_eq(np_word_seq(word), positions[p]);
                ck_assert_uint_eq(np_word_gen(word), generations[g]);
                ck_assert(!np_word_is_held_by(word, owners[o]));
                for (unsigned other = 0; other < COUNT_OF(positions); other++)
                    ck_assert_int_eq(np_word_is_sent_as(word, owners[o], positions[other]), p == other);
                for (unsigned other = 0; other < COUNT_OF(owners); other++)
                    ck_assert_int_eq(np_word_is_sent_as(word, owners[other], positions[p]), o == other);
            }
}
END_TEST

START_TEST(positions_beyond_the_sequence_are_told_apart_within_a_lane)
{
    const uint64_t far = (UINT64_C(5) << NP_WORD_SEQ_BITS) + 3, lane_slots_max = UINT64_C(1) << 20;
    uint64_t word = np_word_sent(9, far, 1);
    ck_assert(np_word_is_sent_as(word, 9, far));
    ck_assert(!np_word_is_sent_as(word, 9, far - lane_slots_max));
    ck_assert(!np_word_is_sent_as(word, 9, far + lane_slots_max));
    ck_assert(!np_word_is_sent_as(word, 9, far + 1));
    ck_assert_uint_eq(np_word_owner(word), 9);
    ck_assert_uint_eq(np_word_state(word), NP_WORD_SENT);
}
END_TEST

START_TEST(freeing_forgets_the_owner_and_goes_one_generation_on)
{
    for (unsigned g = 0; g < COUNT_OF(generations); g++) {
        const uint64_t words[] = { np_word_free(generations[g]), np_word_held(65535, generations[g]),
                                   np_word_sent(65535, NP_WORD_SEQ_MASK, generations[g]) };
        for (unsigned i = 0; i < COUNT_OF(words); i++)
            ck_assert_uint_eq(np_word_freed(words[i]), np_word_free((generations[g] + 1) % 65536));
    }
}
END_TEST

START_TEST(numbers_too_large_do_not_change_the_state)
{
    ck_assert_uint_eq(np_word_state(np_word_held(UINT32_MAX, UINT32_MAX)), NP_WORD_HELD);
    ck_assert_uint_eq(np_word_seq(np_word_held(UINT32_MAX, UINT32_MAX)), 0);
    ck_assert_uint_eq(np_word_state(np_word_sent(UINT32_MAX, UINT64_MAX, UINT32_MAX)), NP_WORD_SENT);
    ck_assert_uint_eq(np_word_state(np_word_free(UINT32_MAX)), NP_WORD_FREE);
}
END_TEST

START_TEST(a_claim_is_the_word_without_its_generation)
{
    for (unsigned g = 0; g < COUNT_OF(generations); g++) {
        ck_assert_uint_eq(np_word_claim(np_word_held(7, generations[g])), np_word_held(7, 0));
        ck_assert_uint_eq(np_word_claim(np_word_sent(7, 12, generations[g])), np_word_sent(7, 12, 0));
    }
    ck_assert_uint_ne(np_word_claim(np_word_held(7, 0)), np_word_claim(np_word_sent(7, 0, 0)));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("word");
    TCase *words = tcase_create("words");
    tcase_add_test(words, zeroed_memory_is_free_slots);
    tcase_add_test(words, held_words_say_who_and_which_generation);
    tcase_add_test(words, sent_words_say_which_message_of_which_lane);
    tcase_add_test(words, positions_beyond_the_sequence_are_told_apart_within_a_lane);
    tcase_add_test(words, freeing_forgets_the_owner_and_goes_one_generation_on);
    tcase_add_test(words, numbers_too_large_do_not_change_the_state);
    tcase_add_test(words, a_claim_is_the_word_without_its_generation);
    suite_add_tcase(suite, words);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
