/* SPDX-License-Identifier: MIT
 * Threads at both ends of lanes for small messages and of broadcasts: payload is written and read without atomics, so that a thread sanitizer
 * sees who reads what another writes. */
#include "pool_help.h"

#include <pthread.h>
#include <stdio.h>

enum { READERS = 3, MESSAGES = 5000, WORDS = 5, BATCH = 5 };

static struct numapool_pool *pool;
static struct numapool_channel_options options;
static _Atomic unsigned wrong;

static bool expect(bool condition, const char *what)
{
    if (!condition) {
        fprintf(stderr, "%s (%s)\n", what, numapool_errormsg());
        atomic_fetch_add_explicit(&wrong, 1, memory_order_relaxed);
    }
    return condition;
}

static void *read_all(void *argument)
{
    struct numapool_receiver *receiver = argument;
    struct numapool_msg messages[BATCH];
    uint64_t next = 0;
    while (next < MESSAGES) {
        int got = numapool_receive(receiver, messages, BATCH, INT64_C(20000000000));
        if (!expect(got > 0, "receive"))
            return NULL;
        for (int i = 0; i < got; i++, next++) {
            const uint64_t *words = messages[i].data;
            bool right = messages[i].id == next && messages[i].length == WORDS * 8;
            for (unsigned w = 0; w < WORDS; w++)
                right = right && words[w] == next * WORDS + w;
            expect(right, "a message is not the next, or not whole");
        }
        expect(numapool_release(receiver, messages, (unsigned)got) == 0, "release");
    }
    return NULL;
}

static void *send_all(void *argument)
{
    struct numapool_sender *sender = argument;
    uint64_t own[BATCH][WORDS];
    for (uint64_t next = 0; next < MESSAGES; next += BATCH) {
        struct numapool_msg messages[BATCH];
        for (unsigned i = 0; i < BATCH; i++) {
            messages[i] = (struct numapool_msg){ .data = own[i], .length = WORDS * 8, .id = next + i };
            if (options.flags != NUMAPOOL_SMALL && !expect(numapool_loan_wait(sender, &messages[i].data, INT64_C(20000000000)) == 0, "loan"))
                return NULL;
            for (unsigned w = 0; w < WORDS; w++)
                ((uint64_t *)messages[i].data)[w] = (next + i) * WORDS + w;
        }
        if (!expect(numapool_send_bulk(sender, messages, BATCH, INT64_C(20000000000)) == BATCH, "send"))
            return NULL;
    }
    return NULL;
}

static void run(uint32_t flags, unsigned readers, int64_t spin_ns)
{
    struct numapool_sender *sender;
    struct numapool_receiver *receivers[READERS];
    pthread_t threads[READERS + 1];
    options = (struct numapool_channel_options)NUMAPOOL_CHANNEL_OPTIONS_INIT;
    options.flags = flags;
    options.lane_slots = 16;
    options.spin_ns = spin_ns;
    pool = make_pool(256, 0);
    ck_assert_int_eq(numapool_sender_open(pool, "c", &options, &sender), 0);
    for (unsigned i = 0; i < readers; i++) {
        ck_assert_int_eq(numapool_receiver_open(pool, "c", &options, &receivers[i]), 0);
        ck_assert_int_eq(pthread_create(&threads[i], NULL, read_all, receivers[i]), 0);
    }
    ck_assert_int_eq(pthread_create(&threads[readers], NULL, send_all, sender), 0);
    for (unsigned i = 0; i <= readers; i++)
        ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
    ck_assert_uint_eq(atomic_load_explicit(&wrong, memory_order_relaxed), 0);
    ck_assert_int_eq(numapool_sender_close(sender, NUMAPOOL_FOREVER), 0);
    for (unsigned i = 0; i < readers; i++)
        ck_assert_int_eq(numapool_receiver_close(receivers[i]), 0);
    close_pool(pool);
}

static const int64_t spins[] = { -1, 0 };

START_TEST(small_messages_arrive_whole_and_in_order)
{
    run(NUMAPOOL_SMALL, 1, spins[_i]);
}
END_TEST

START_TEST(every_reader_gets_every_broadcast_whole_and_in_order)
{
    run(NUMAPOOL_BROADCAST, READERS, spins[_i]);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("threads at lanes");
    TCase *test = tcase_create("lanes");
    tcase_set_timeout(test, 120);
    tcase_add_loop_test(test, small_messages_arrive_whole_and_in_order, 0, 2);
    tcase_add_loop_test(test, every_reader_gets_every_broadcast_whole_and_in_order, 0, 2);
    suite_add_tcase(suite, test);
    return run_suite(suite);
}
