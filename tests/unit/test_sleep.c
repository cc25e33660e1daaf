/* SPDX-License-Identifier: MIT
 * Sleeping on several words: whichever is rung wakes, nothing that was rung before is slept through, and where the kernel has no
 * such call the sleeper looks again soon. */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "pool_help.h"
#include "seccomp_help.h"

#define LONG_NS INT64_C(20000000000) /* longer than any test may take */

static np_shm32 words[NP_SLEEP_WORDS_MAX + 1];

static struct np_sleep on_words(unsigned n, bool own)
{
    struct np_sleep sleep;
    np_sleep_reset(&sleep);
    for (unsigned i = 0; i < n; i++)
        (own && i % 2 ? np_sleep_on_own : np_sleep_on)(&sleep, &words[i]);
    return sleep;
}

static void ring_word(unsigned which, bool own)
{
    (own && which % 2 ? np_ring_own : np_ring)(&words[which]);
}

static void skip(const char *what, const char *why)
{
    fprintf(stderr, "\n*** NOT RUN: %s: %s ***\n\n", what, why);
}

/* ---------------------------------------------------------------- who rings wakes */

static np_shm32 asleep;

static void *sleep_for_ever(void *argument)
{
    const struct np_sleep *sleep = argument;
    np_store32(&asleep, 1, memory_order_release);
    while (!np_sleep_is_over(sleep))
        np_sleep_until(sleep, INT64_MAX);
    return NULL;
}

START_TEST(whichever_word_is_rung_wakes)
{
    static const struct {
        unsigned words, rung;
    } cases[] = { { 1, 0 }, { 2, 0 }, { 2, 1 }, { 128, 0 }, { 128, 64 }, { 128, 127 } };
    for (unsigned own = 0; own < 2; own++) {
        struct np_sleep sleep = on_words(cases[_i].words, own);
        pthread_t thread;
        np_store32(&asleep, 0, memory_order_relaxed);
        ck_assert_int_eq(pthread_create(&thread, NULL, sleep_for_ever, &sleep), 0);
        while (!np_load32(&asleep, memory_order_acquire))
            sched_yield();
        const struct timespec until_it_sleeps = { 0, 3000000 };
        nanosleep(&until_it_sleeps, NULL);
        ring_word(cases[_i].rung, own);
        pthread_join(thread, NULL); /* a ring that wakes nobody is found by the time limit */
    }
}
END_TEST

START_TEST(what_was_rung_before_is_not_slept_through)
{
    for (unsigned n = 1; n <= NP_SLEEP_WORDS_MAX; n = n * 2) {
        struct np_sleep sleep = on_words(n, true);
        ck_assert(!np_sleep_is_over(&sleep));
        ring_word(n - 1, true);
        ck_assert(np_sleep_is_over(&sleep));
        ck_assert_int_eq(np_sleep_until(&sleep, INT64_MAX), 0);
    }
}
END_TEST

START_TEST(a_sleep_ends_at_its_deadline)
{
    struct np_sleep sleep = on_words((unsigned)_i, true);
    ck_assert_int_eq(np_sleep_until(&sleep, np_deadline_ns(2000000)), -ETIMEDOUT);
    ck_assert_int_eq(np_sleep_until(&sleep, np_monotonic_ns() - 1), -ETIMEDOUT);
}
END_TEST

START_TEST(another_process_wakes_by_shared_words)
{
    np_shm32 *shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    ck_assert_ptr_ne(shared, MAP_FAILED);
    pid_t child = fork();
    if (child == 0) {
        struct np_sleep sleep;
        np_sleep_reset(&sleep);
        np_sleep_on_own(&sleep, &words[0]);
        np_sleep_on(&sleep, &shared[16]);
        np_store32(&shared[32], 1, memory_order_release);
        while (!np_sleep_is_over(&sleep))
            np_sleep_until(&sleep, INT64_MAX);
        _exit(0);
    }
    while (!np_load32(&shared[32], memory_order_acquire))
        sched_yield();
    const struct timespec until_it_sleeps = { 0, 3000000 };
    nanosleep(&until_it_sleeps, NULL);
    np_ring(&shared[16]);
    int status;
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert_int_eq(status, 0);
    munmap(shared, 4096);
}
END_TEST

/* ---------------------------------------------------------------- more than the kernel takes */

START_TEST(more_words_than_fit_are_looked_at_again_soon)
{
    struct np_sleep sleep = on_words(NP_SLEEP_WORDS_MAX + 1, false);
    ck_assert(sleep.crowded);
    ck_assert_int_eq(np_sleep_until(&sleep, np_deadline_ns(LONG_NS)), 0);
    ck_assert_int_eq(np_sleep_until(&sleep, np_monotonic_ns() - 1), -ETIMEDOUT);
}
END_TEST

START_TEST(where_several_words_are_refused_it_looks_again_soon)
{
    static const uint32_t refusals[] = { ENOSYS, EPERM };
    if (!refuse_call(SYS_futex_waitv, SECCOMP_RET_ERRNO | refusals[_i])) {
        skip("where_several_words_are_refused_it_looks_again_soon", "no seccomp filters here");
        return;
    }
    struct np_sleep sleep = on_words(3, true);
    ck_assert_int_eq(np_sleep_until(&sleep, INT64_MAX), 0);
    ck_assert_int_eq(np_sleep_until(&sleep, np_deadline_ns(LONG_NS)), 0);
    ck_assert_int_eq(np_sleep_until(&sleep, np_monotonic_ns() - 1), -ETIMEDOUT);
    ring_word(0, true);
    ck_assert_int_eq(np_sleep_until(&sleep, INT64_MAX), 0);
}
END_TEST

/* Older kernels know the plain call alone, and a filter may end the process for another. */
START_TEST(one_word_needs_the_plain_call_alone)
{
    if (!refuse_call(SYS_futex_waitv, SECCOMP_RET_KILL_PROCESS)) {
        skip("one_word_needs_the_plain_call_alone", "no seccomp filters here");
        return;
    }
    struct np_sleep sleep = on_words(1, false);
    ck_assert_int_eq(np_sleep_until(&sleep, np_deadline_ns(2000000)), -ETIMEDOUT);
    struct numapool_pool *pool = make_pool(64, 0); /* as one sleeps whose lanes all have bells */
    struct numapool_magazine *magazine = open_magazine(pool, 1);
    struct numapool_channel_options options = NUMAPOOL_CHANNEL_OPTIONS_INIT;
    struct numapool_sender *sender = NULL;
    struct numapool_receiver *receiver = NULL;
    struct numapool_msg message = NUMAPOOL_MSG_INIT;
    void *slots[64], *slot;
    options.spin_ns = -1;
    options.lane_slots = 2;
    options.magazine = magazine;
    ck_assert_int_eq(numapool_sender_open(pool, "c", &options, &sender), 0);
    options.magazine = NULL;
    ck_assert_int_eq(numapool_receiver_open(pool, "c", &options, &receiver), 0);
    ck_assert_int_eq(numapool_receive(receiver, &message, 1, 1000000), -ETIMEDOUT);
    for (unsigned i = 0; i < 2; i++) {
        message.data = numapool_loan(sender);
        ck_assert_int_eq(numapool_send(sender, &message, 0), 0);
    }
    message.data = numapool_loan(sender);
    ck_assert_int_eq(numapool_send(sender, &message, 1000000), -ETIMEDOUT);
    unsigned got = 0;
    while ((slots[got] = numapool_get(magazine)) != NULL)
        got++;
    ck_assert_int_eq(numapool_get_wait(magazine, &slot, 1000000), -ETIMEDOUT);
    struct numapool_msg sent[2];
    ck_assert_int_eq(numapool_unloan(sender, message.data), 0);
    ck_assert_int_eq(numapool_put_bulk(magazine, slots, got), 0);
    ck_assert_int_eq(numapool_receive(receiver, sent, 2, 0), 2);
    ck_assert_int_eq(numapool_release(receiver, sent, 2), 0);
    ck_assert_int_eq(numapool_receiver_close(receiver), 0);
    ck_assert_int_eq(numapool_sender_close(sender, 0), 0);
    ck_assert_int_eq(numapool_magazine_close(magazine), 0);
    close_pool(pool);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("sleep");
    TCase *wakes = tcase_create("wakes"), *refused = tcase_create("refused");
    tcase_set_timeout(wakes, 10);
    tcase_add_loop_test(wakes, whichever_word_is_rung_wakes, 0, 6);
    tcase_add_test(wakes, what_was_rung_before_is_not_slept_through);
    tcase_add_loop_test(wakes, a_sleep_ends_at_its_deadline, 1, 4);
    tcase_add_test(wakes, another_process_wakes_by_shared_words);
    suite_add_tcase(suite, wakes);
    tcase_set_timeout(refused, 10);
    tcase_add_test(refused, more_words_than_fit_are_looked_at_again_soon);
    tcase_add_loop_test(refused, where_several_words_are_refused_it_looks_again_soon, 0, 2);
    tcase_add_test(refused, one_word_needs_the_plain_call_alone);
    suite_add_tcase(suite, refused);
    return run_suite(suite);
}
