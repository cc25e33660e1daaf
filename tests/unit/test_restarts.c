/* SPDX-License-Identifier: MIT
 * When the keeper starts another worker: at once after one that was at work, seldom when that happens all the time, and not for ever
 * where none was ever ready. */
#include <check.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#include "daemon/restarts.h"

#define SECOND_NS INT64_C(1000000000)

static struct np_restarts restarts;
static int64_t now_ns;

static void begin(void)
{
    restarts = (struct np_restarts){ 0 };
    now_ns = 100 * SECOND_NS;
}

/* One worker's life. When the next begins is the time afterwards. */
static int64_t lives(bool becomes_ready, int64_t life_ns)
{
    np_restarts_born(&restarts);
    if (becomes_ready)
        np_restarts_ready(&restarts);
    now_ns += life_ns;
    int64_t pause_ns = np_restarts_after(&restarts, now_ns);
    now_ns += pause_ns > 0 ? pause_ns : 0;
    return pause_ns;
}

START_TEST(one_that_was_at_work_is_followed_at_once)
{
    begin();
    ck_assert_int_eq(lives(true, 1), 0);
    for (unsigned i = 0; i < 100; i++)
        ck_assert_int_eq(lives(true, SECOND_NS), 0);
}
END_TEST

START_TEST(a_row_of_deaths_is_followed_at_once_and_a_long_one_is_slowed_down)
{
    begin();
    for (unsigned i = 0; i < NP_RESTARTS_AT_ONCE; i++)
        ck_assert_int_eq(lives(true, 0), 0);
    for (unsigned i = 0; i < 1000; i++) {
        int64_t pause_ns = lives(true, 1000000);
        ck_assert_int_gt(pause_ns, 0);
        ck_assert_int_le(pause_ns, NP_RESTARTS_EACH_NS);
    }
    now_ns += 100 * SECOND_NS;
    for (unsigned i = 0; i < NP_RESTARTS_AT_ONCE; i++)
        ck_assert_int_eq(lives(true, 0), 0);
    ck_assert_int_gt(lives(true, 0), 0);
}
END_TEST

START_TEST(where_none_was_ever_ready_some_tries_are_enough)
{
    begin();
    int64_t before_ns = 0;
    for (unsigned i = 1; i < NP_RESTARTS_TRIES_MAX; i++) {
        int64_t pause_ns = lives(false, 1000);
        ck_assert_int_gt(pause_ns, before_ns);
        before_ns = pause_ns;
    }
    ck_assert_int_eq(lives(false, 1000), -1);
}
END_TEST

START_TEST(with_clients_it_is_tried_for_ever_and_never_waits_long)
{
    begin();
    lives(true, SECOND_NS);
    for (unsigned i = 0; i < 100; i++) {
        int64_t pause_ns = lives(false, 1000);
        ck_assert_int_gt(pause_ns, 0);
        ck_assert_int_le(pause_ns, NP_RESTARTS_PAUSE_MOST_NS);
    }
    ck_assert_int_eq(lives(true, SECOND_NS), 0);
    ck_assert_int_eq(lives(false, 1000), NP_RESTARTS_PAUSE_NS);
}
END_TEST

START_TEST(one_that_cannot_even_be_started_counts_as_not_ready)
{
    begin();
    lives(true, SECOND_NS);
    ck_assert_int_eq(np_restarts_after(&restarts, now_ns), NP_RESTARTS_PAUSE_NS);
    ck_assert_int_eq(np_restarts_after(&restarts, now_ns), 2 * NP_RESTARTS_PAUSE_NS);
}
END_TEST

START_TEST(who_gives_up_says_why)
{
    static const struct { int how, status; const char *says; } endings[] = {
        { SIGKILL, EX_CONFIG, "memory" },
        { SIGSYS, EX_CONFIG, "seccomp" },
        { SIGSEGV, EX_SOFTWARE, "report it" },
        { EX_TEMPFAIL << 8, EX_SOFTWARE, "status 75" },
        { -1, EX_SOFTWARE, "could be started" },
    };
    char sentence[320];
    begin();
    for (unsigned i = 0; i < NP_RESTARTS_TRIES_MAX; i++)
        lives(false, 0);
    for (unsigned i = 0; i < sizeof endings / sizeof endings[0]; i++) {
        ck_assert_int_eq(np_restarts_give_up(&restarts, endings[i].how, sentence, sizeof sentence), endings[i].status);
        ck_assert_msg(strstr(sentence, endings[i].says) && strstr(sentence, "5 tries"), "%s", sentence);
        ck_assert_uint_lt(strlen(sentence), sizeof sentence - 1);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("restarts");
    TCase *all = tcase_create("all");
    tcase_add_test(all, one_that_was_at_work_is_followed_at_once);
    tcase_add_test(all, a_row_of_deaths_is_followed_at_once_and_a_long_one_is_slowed_down);
    tcase_add_test(all, where_none_was_ever_ready_some_tries_are_enough);
    tcase_add_test(all, with_clients_it_is_tried_for_ever_and_never_waits_long);
    tcase_add_test(all, one_that_cannot_even_be_started_counts_as_not_ready);
    tcase_add_test(all, who_gives_up_says_why);
    suite_add_tcase(suite, all);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
