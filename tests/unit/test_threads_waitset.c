/* SPDX-License-Identifier: MIT
 * Wait-sets under load: several threads send and wake while one waits, by sleeping or by the eventfd, on receivers with bells and
 * without. A wake-up that is lost is a message that never comes: the time limit finds it. */
#include <pthread.h>

#include "waitset_help.h"

enum { CHANNELS = 3, SENDERS = 2, MESSAGES = 1500, LANE_SLOTS = 4 };
static const char *const channel_names[CHANNELS] = { "a", "b", "c" };

static struct numapool_pool *pool;
static struct numapool_waitset *waitset;
static struct numapool_receiver *receivers[CHANNELS];
static struct numapool_sender *senders[SENDERS][CHANNELS];
static _Atomic unsigned wrong, wakes;
static _Atomic bool ends;

static void expect(bool condition, const char *what)
{
    if (!condition) {
        fprintf(stderr, "%s (%s)\n", what, numapool_errormsg());
        atomic_fetch_add_explicit(&wrong, 1, memory_order_relaxed);
    }
}

/* Now and then it lets the other end fall asleep. */
static void dawdle(unsigned *random)
{
    *random = *random * 1103515245u + 12345u;
    if (*random >> 16 & 63)
        return;
    nanosleep(&(struct timespec){ 0, (*random >> 22 & 3) * 20000 }, NULL);
}

static void *send_all(void *argument)
{
    const unsigned me = *(const unsigned *)argument;
    unsigned random = me + 1;
    for (uint64_t id = 0; id < MESSAGES; id++) {
        struct numapool_sender *sender = senders[me][(random >> 16) % CHANNELS];
        struct numapool_msg message = { .length = 8, .id = id };
        expect(numapool_loan_wait(sender, &message.data, NUMAPOOL_FOREVER) == 0, "loan");
        memcpy(message.data, &id, sizeof id);
        expect(numapool_send(sender, &message, NUMAPOOL_FOREVER) == 0, "send");
        dawdle(&random);
    }
    return NULL;
}

static void *wake_often(void *argument)
{
    unsigned random = 99;
    (void)argument;
    while (!atomic_load_explicit(&ends, memory_order_acquire)) {
        expect(numapool_waitset_wake(waitset) == 0, "wake");
        atomic_fetch_add_explicit(&wakes, 1, memory_order_relaxed);
        for (unsigned i = 0; i < 20; i++)
            dawdle(&random);
    }
    return NULL;
}

static void open_all(bool foreign)
{
    struct numapool_channel_options options = without_spinning();
    options.lane_slots = LANE_SLOTS;
    pool = make_pool(256, 0);
    waitset = open_waitset();
    atomic_store_explicit(&ends, false, memory_order_relaxed);
    for (unsigned c = 0; c < CHANNELS; c++) {
        for (unsigned s = 0; s < SENDERS; s++)
            ck_assert_int_eq(numapool_sender_open(pool, channel_names[c], &options, &senders[s][c]), 0);
        receivers[c] = open_receiver(pool, channel_names[c]);
        ck_assert_int_eq(numapool_receive(receivers[c], &(struct numapool_msg){ 0 }, 1, 0), -EAGAIN);
        if (foreign)
            make_foreign(receivers[c]);
        ck_assert_int_eq(numapool_waitset_add(waitset, receivers[c], receivers[c]), 0);
    }
}

static void close_all(void)
{
    ck_assert_int_eq(numapool_waitset_close(waitset), 0);
    for (unsigned c = 0; c < CHANNELS; c++) {
        ck_assert_int_eq(numapool_receiver_close(receivers[c]), 0);
        for (unsigned s = 0; s < SENDERS; s++)
            ck_assert_int_eq(numapool_sender_close(senders[s][c], 0), 0);
    }
    close_pool(pool);
}

static unsigned receive_from(struct numapool_receiver *receiver)
{
    struct numapool_msg messages[3];
    int got = numapool_receive(receiver, messages, 3, 0);
    if (got < 0) {
        ck_assert_int_eq(got, -EAGAIN);
        return 0;
    }
    for (int i = 0; i < got; i++)
        ck_assert_mem_eq(messages[i].data, &messages[i].id, sizeof messages[i].id);
    ck_assert_int_eq(numapool_release(receiver, messages, (unsigned)got), 0);
    return (unsigned)got;
}

/* By sleeping in wait, or in poll beside it. A count of messages. */
static unsigned wait_and_receive(int fd, unsigned *random, unsigned *woken)
{
    void *ready[2];
    unsigned got = 0;
    int n = numapool_waitset_wait(waitset, ready, 2, fd < 0 ? NUMAPOOL_FOREVER : 0);
    if (n == -EAGAIN && fd >= 0) {
        ck_assert_msg(is_readable(fd, 10000), "the eventfd stays silent");
        return 0;
    }
    ck_assert_int_ge(n, 0);
    *woken += n == 0;
    for (int i = 0; i < n; i++)
        got += receive_from(ready[i]);
    dawdle(random);
    return got;
}

START_TEST(no_wake_up_is_lost)
{
    const bool foreign = _i & 1, by_eventfd = _i & 2;
    unsigned numbers[SENDERS] = { 0, 1 }, random = 7, woken = 0, got = 0;
    pthread_t threads[SENDERS + 1];
    open_all(foreign);
    int fd = by_eventfd ? numapool_waitset_eventfd(waitset) : -1;
    ck_assert_int_eq(pthread_create(&threads[SENDERS], NULL, wake_often, NULL), 0);
    for (unsigned s = 0; s < SENDERS; s++)
        ck_assert_int_eq(pthread_create(&threads[s], NULL, send_all, &numbers[s]), 0);
    while (got < SENDERS * MESSAGES)
        got += wait_and_receive(fd, &random, &woken);
    atomic_store_explicit(&ends, true, memory_order_release);
    for (unsigned s = 0; s < SENDERS + 1; s++)
        ck_assert_int_eq(pthread_join(threads[s], NULL), 0);
    ck_assert_uint_eq(got, SENDERS * MESSAGES);
    ck_assert_uint_eq(atomic_load_explicit(&wrong, memory_order_relaxed), 0);
    ck_assert_uint_le(woken, atomic_load_explicit(&wakes, memory_order_relaxed));
    close_all();
}
END_TEST

/* The set alone, handed from thread to thread, with members that come and go while it is armed. */
static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;

static void *use_the_set(void *argument)
{
    struct numapool_receiver *mine = argument;
    void *ready[CHANNELS];
    for (unsigned round = 0; round < 150; round++) {
        pthread_mutex_lock(&turn);
        expect(numapool_waitset_wait(waitset, ready, CHANNELS, 0) == -EAGAIN, "wait"); /* arms */
        expect(numapool_waitset_remove(waitset, mine) == 0, "remove");
        if (round % 2)
            expect(numapool_waitset_wait(waitset, ready, CHANNELS, 0) == -EAGAIN, "wait");
        expect(numapool_waitset_add(waitset, mine, mine) == 0, "add");
        pthread_mutex_unlock(&turn);
    }
    return NULL;
}

START_TEST(an_armed_set_may_be_handed_from_thread_to_thread)
{
    pthread_t threads[CHANNELS];
    open_all(_i == 1);
    ck_assert_int_ge(numapool_waitset_eventfd(waitset), 0);
    for (unsigned c = 0; c < CHANNELS; c++)
        ck_assert_int_eq(pthread_create(&threads[c], NULL, use_the_set, receivers[c]), 0);
    for (unsigned c = 0; c < CHANNELS; c++)
        ck_assert_int_eq(pthread_join(threads[c], NULL), 0);
    ck_assert_uint_eq(atomic_load_explicit(&wrong, memory_order_relaxed), 0);
    close_all();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("threads_waitset");
    TCase *c = tcase_create("threads_waitset");
    tcase_set_timeout(c, 60); /* a sanitizer is slow */
    tcase_add_loop_test(c, no_wake_up_is_lost, 0, 4);
    tcase_add_loop_test(c, an_armed_set_may_be_handed_from_thread_to_thread, 0, 2);
    suite_add_tcase(suite, c);
    return run_suite(suite);
}
