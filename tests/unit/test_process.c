/* SPDX-License-Identifier: MIT
 *
 * The rules of numapool_process(7) that one process can show: threads that end, cancellation, signal handlers, several pools, who is
 * told what the library has to say. Those that need a daemon are in tests/crash/process.c. */
#include "pool_help.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/time.h>
#include <unistd.h>

#include "core/tell.h"

#define GET(field) atomic_load_explicit(&(field), memory_order_acquire)
#define SET(field, value) atomic_store_explicit(&(field), (value), memory_order_release)

static const int64_t LONG_NS = INT64_C(20000000000);

/* ---------------------------------------------------------------- threads that end */

static void *fill_and_end(void *argument)
{
    struct numapool_magazine *magazine = argument;
    void *slots[8];
    for (unsigned i = 0; i < 8; i++)
        ck_assert_ptr_nonnull(slots[i] = numapool_get(magazine));
    for (unsigned i = 0; i < 8; i++)
        ck_assert_int_eq(numapool_put(magazine, slots[i]), 0);
    return NULL;
}

START_TEST(a_thread_that_ends_leaves_its_magazine_to_who_closes_it)
{
    struct numapool_pool *pool = make_pool(1024, 0);
    struct numapool_magazine *magazine = open_magazine(pool, 16);
    pthread_t thread;
    ck_assert_int_eq(pthread_create(&thread, NULL, fill_and_end, magazine), 0);
    ck_assert_int_eq(pthread_join(thread, NULL), 0);
    ck_assert_ptr_ne(magazine->top, magazine->bottom); /* still full, and this thread's now */
    void *slot = numapool_get(magazine);
    ck_assert_ptr_nonnull(slot);
    ck_assert_int_eq(numapool_put(magazine, slot), 0);
    ck_assert_int_eq(numapool_magazine_close(magazine), 0);
    close_pool(pool);
}
END_TEST

/* ---------------------------------------------------------------- cancellation */

struct cancelled {
    struct numapool_pool *pool;
    struct numapool_sender *sender;
    struct numapool_receiver *receiver;
    struct numapool_magazine *magazine;
    _Atomic int waits, returned, cleaned_up;
    int result;
};

static void clean_up(void *argument)
{
    struct cancelled *cancelled = argument;
    SET(cancelled->cleaned_up, 1);
}

static void *receive_and_be_cancelled(void *argument)
{
    struct cancelled *cancelled = argument;
    struct numapool_msg message;
    pthread_cleanup_push(clean_up, cancelled);
    SET(cancelled->waits, 1);
    cancelled->result = numapool_receive(cancelled->receiver, &message, 1, LONG_NS);
    if (cancelled->result == 1)
        cancelled->result = numapool_release(cancelled->receiver, &message, 1);
    SET(cancelled->returned, 1);
    pthread_testcancel();
    pthread_cleanup_pop(0);
    return NULL;
}

static void *get_and_be_cancelled(void *argument)
{
    struct cancelled *cancelled = argument;
    void *slot = NULL;
    pthread_cleanup_push(clean_up, cancelled);
    SET(cancelled->waits, 1);
    cancelled->result = numapool_get_wait(cancelled->magazine, &slot, LONG_NS);
    if (cancelled->result == 0)
        cancelled->result = numapool_put(cancelled->magazine, slot);
    SET(cancelled->returned, 1);
    pthread_testcancel();
    pthread_cleanup_pop(0);
    return NULL;
}

static void wait_for(_Atomic int *flag)
{
    while (!GET(*flag))
        usleep(1000);
}

static void cancel_while_waiting(struct cancelled *cancelled, void *(*body)(void *), pthread_t *thread)
{
    ck_assert_int_eq(pthread_create(thread, NULL, body, cancelled), 0);
    wait_for(&cancelled->waits);
    usleep(20000);
    ck_assert_int_eq(pthread_cancel(*thread), 0);
    usleep(20000);
    ck_assert_msg(!GET(cancelled->cleaned_up), "it was cancelled in the middle of a call");
}

static void assert_cancelled_afterwards(struct cancelled *cancelled, pthread_t thread)
{
    void *how;
    ck_assert_int_eq(pthread_join(thread, &how), 0);
    ck_assert_ptr_eq(how, PTHREAD_CANCELED);
    ck_assert(GET(cancelled->returned) && GET(cancelled->cleaned_up));
    ck_assert_int_eq(cancelled->result, 0);
}

START_TEST(a_thread_cancelled_in_a_call_finishes_the_call_first)
{
    struct cancelled cancelled = { .pool = make_pool(1024, 0) };
    pthread_t thread;
    ck_assert_int_eq(numapool_sender_open(cancelled.pool, "c", NULL, &cancelled.sender), 0);
    ck_assert_int_eq(numapool_receiver_open(cancelled.pool, "c", NULL, &cancelled.receiver), 0);
    cancel_while_waiting(&cancelled, receive_and_be_cancelled, &thread);
    struct numapool_msg message = { .data = numapool_loan(cancelled.sender), .length = 1 };
    ck_assert_int_eq(numapool_send(cancelled.sender, &message, 0), 0);
    assert_cancelled_afterwards(&cancelled, thread);
    ck_assert_int_eq(numapool_receiver_close(cancelled.receiver), 0);
    ck_assert_int_eq(numapool_sender_close(cancelled.sender, 0), 0);
    close_pool(cancelled.pool);
}
END_TEST

START_TEST(a_getter_cancelled_while_it_waits_gets_its_slot_and_loses_none)
{
    struct cancelled cancelled = { .pool = make_pool(8, 0) };
    struct numapool_magazine *own = open_magazine(cancelled.pool, 1);
    void *slots[8];
    pthread_t thread;
    cancelled.magazine = open_magazine(cancelled.pool, 1);
    ck_assert_int_eq(numapool_get_bulk(own, slots, 8), 0);
    cancel_while_waiting(&cancelled, get_and_be_cancelled, &thread);
    ck_assert_int_eq(numapool_put_bulk(own, slots, 8), 0);
    assert_cancelled_afterwards(&cancelled, thread);
    ck_assert_int_eq(numapool_magazine_close(own), 0);
    ck_assert_int_eq(numapool_magazine_close(cancelled.magazine), 0);
    close_pool(cancelled.pool);
}
END_TEST

/* ---------------------------------------------------------------- signals */

static _Atomic unsigned long signals_heard;
static _Atomic int version_differs;

static void hear(int number)
{
    (void)number;
    static const char *first;
    const char *version = numapool_version(); /* [S] */
    first = first ? first : version;
    if (version != first)
        SET(version_differs, 1);
    atomic_fetch_add_explicit(&signals_heard, 1, memory_order_acq_rel);
}

static void signals_every_us(unsigned period_us)
{
    const struct sigaction action = { .sa_handler = period_us ? hear : SIG_IGN }; /* no SA_RESTART: every wait is interrupted */
    const struct itimerval timer = { { 0, period_us }, { 0, period_us } };
    ck_assert_int_eq(sigaction(SIGALRM, &action, NULL), 0);
    ck_assert_int_eq(setitimer(ITIMER_REAL, &timer, NULL), 0);
}

START_TEST(signals_neither_end_a_wait_nor_lose_anything)
{
    struct numapool_pool *pool = make_pool(64, 0);
    struct numapool_sender *sender;
    struct numapool_receiver *receiver;
    struct numapool_channel_options options = NUMAPOOL_CHANNEL_OPTIONS_INIT;
    struct numapool_msg message = NUMAPOOL_MSG_INIT;
    struct numapool_magazine *magazine = open_magazine(pool, 1);
    void *slots[64], *slot;
    options.spin_ns = -1;
    options.lane_slots = 2;
    ck_assert_int_eq(numapool_sender_open(pool, "c", &options, &sender), 0);
    ck_assert_int_eq(numapool_receiver_open(pool, "c", &options, &receiver), 0);
    SET(signals_heard, 0);
    signals_every_us(500);
    ck_assert_int_eq(numapool_receive(receiver, &message, 1, 30000000), -ETIMEDOUT);
    for (unsigned i = 0; i < 2; i++) {
        message = (struct numapool_msg){ .data = numapool_loan(sender), .length = 1, .id = i };
        ck_assert_int_eq(numapool_send(sender, &message, 0), 0);
    }
    message.data = numapool_loan(sender);
    ck_assert_int_eq(numapool_send(sender, &message, 30000000), -ETIMEDOUT);
    ck_assert_int_eq(numapool_unloan(sender, message.data), 0);
    unsigned n = 0;
    while ((slot = numapool_get(magazine)) != NULL)
        slots[n++] = slot;
    ck_assert_int_eq(numapool_get_wait(magazine, &slot, 30000000), -ETIMEDOUT);
    signals_every_us(0);
    ck_assert_uint_gt(GET(signals_heard), 3);
    ck_assert(!GET(version_differs));
    ck_assert_int_eq(numapool_put_bulk(magazine, slots, n), 0);
    for (unsigned i = 0; i < 2; i++) {
        ck_assert_int_eq(numapool_receive(receiver, &message, 1, 0), 1);
        ck_assert_uint_eq(message.id, i);
        ck_assert_int_eq(numapool_release(receiver, &message, 1), 0);
    }
    ck_assert_int_eq(numapool_receiver_close(receiver), 0);
    ck_assert_int_eq(numapool_sender_close(sender, 0), 0);
    ck_assert_int_eq(numapool_magazine_close(magazine), 0);
    close_pool(pool);
}
END_TEST

/* ---------------------------------------------------------------- several pools */

START_TEST(two_pools_of_one_name_are_two_pools)
{
    struct numapool_pool *one = make_pool(64, 0), *other = make_pool(64, 0);
    struct numapool_magazine *of_one = open_magazine(one, 1), *of_other = open_magazine(other, 1);
    struct numapool_sender *sender;
    struct numapool_receiver *receiver;
    struct numapool_msg message = NUMAPOOL_MSG_INIT;
    void *slot = numapool_get(of_one);
    ASSERT_REFUSED(numapool_put(of_other, slot), -EINVAL, "not the beginning of a slot");
    ck_assert_int_eq(numapool_sender_open(one, "c", NULL, &sender), 0);
    ck_assert_int_eq(numapool_receiver_open(other, "c", NULL, &receiver), 0);
    message.data = slot;
    ck_assert_int_eq(numapool_send(sender, &message, 0), 0);
    ck_assert_int_eq(numapool_receive(receiver, &message, 1, 0), -EAGAIN); /* a channel belongs to its pool */
    ck_assert_int_eq(numapool_receiver_close(receiver), 0);
    ck_assert_int_eq(numapool_receiver_open(one, "c", NULL, &receiver), 0);
    ck_assert_int_eq(numapool_receive(receiver, &message, 1, 0), 1);
    ck_assert_int_eq(numapool_release(receiver, &message, 1), 0);
    ck_assert_int_eq(numapool_receiver_close(receiver), 0);
    ck_assert_int_eq(numapool_sender_close(sender, 0), 0);
    ck_assert_int_eq(numapool_magazine_close(of_one), 0);
    ck_assert_int_eq(numapool_magazine_close(of_other), 0);
    close_pool(one);
    close_pool(other);
}
END_TEST

/* ---------------------------------------------------------------- who is told */

struct heard {
    unsigned lines;
    int level;
    char line[128];
};

static void listen_to(void *argument, int level, const char *line)
{
    struct heard *heard = argument;
    heard->lines++;
    heard->level = level;
    snprintf(heard->line, sizeof heard->line, "%s", line);
}

START_TEST(whoever_asked_is_told_and_nobody_else)
{
    struct heard first = { 0 }, second = { 0 };
    np_tell(NUMAPOOL_LOG_ERROR, "before anybody listens");
    ck_assert_int_eq(numapool_log_set(NUMAPOOL_LOG_INFO, listen_to, &first), 0);
    np_tell(NUMAPOOL_LOG_DEBUG, "too little to be told");
    ck_assert_uint_eq(first.lines, 0);
    np_tell(NUMAPOOL_LOG_WARN, "lane %d", 7);
    ck_assert_uint_eq(first.lines, 1);
    ck_assert_int_eq(first.level, NUMAPOOL_LOG_WARN);
    ck_assert_str_eq(first.line, "lane 7");
    ck_assert_int_eq(numapool_log_set(NUMAPOOL_LOG_DEBUG, listen_to, &second), 0);
    np_tell(NUMAPOOL_LOG_DEBUG, "to the second");
    ck_assert_uint_eq(first.lines, 1);
    ck_assert_uint_eq(second.lines, 1);
    ASSERT_REFUSED(numapool_log_set(4, listen_to, &first), -EINVAL, "level 4");
    ck_assert_int_eq(numapool_log_set(NUMAPOOL_LOG_DEBUG, NULL, NULL), 0);
    np_tell(NUMAPOOL_LOG_ERROR, "to nobody");
    ck_assert_uint_eq(first.lines + second.lines, 2);
}
END_TEST

START_TEST(the_ready_one_writes_a_line_to_stderr)
{
    int ends[2], saved = dup(STDERR_FILENO);
    char text[128] = "";
    ck_assert_int_eq(pipe(ends), 0);
    ck_assert_int_eq(numapool_log_set(NUMAPOOL_LOG_INFO, numapool_log_stderr, NULL), 0);
    dup2(ends[1], STDERR_FILENO);
    np_tell(NUMAPOOL_LOG_WARN, "the daemon does not answer");
    dup2(saved, STDERR_FILENO);
    ck_assert_int_eq(numapool_log_set(NUMAPOOL_LOG_INFO, NULL, NULL), 0);
    ck_assert_int_gt((int)read(ends[0], text, sizeof text - 1), 0);
    ck_assert_str_eq(text, "numapool: warning: the daemon does not answer\n");
    close(ends[0]);
    close(ends[1]);
    close(saved);
}
END_TEST

START_TEST(who_is_no_forked_child_closes_nothing)
{
    ck_assert_int_eq(numapool_child(), 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("process");
    TCase *rules = tcase_create("rules");
    tcase_set_timeout(rules, 60);
    tcase_add_test(rules, a_thread_that_ends_leaves_its_magazine_to_who_closes_it);
    tcase_add_test(rules, a_thread_cancelled_in_a_call_finishes_the_call_first);
    tcase_add_test(rules, a_getter_cancelled_while_it_waits_gets_its_slot_and_loses_none);
    tcase_add_test(rules, signals_neither_end_a_wait_nor_lose_anything);
    tcase_add_test(rules, two_pools_of_one_name_are_two_pools);
    tcase_add_test(rules, whoever_asked_is_told_and_nobody_else);
    tcase_add_test(rules, the_ready_one_writes_a_line_to_stderr);
    tcase_add_test(rules, who_is_no_forked_child_closes_nothing);
    suite_add_tcase(suite, rules);
    return run_suite(suite);
}
