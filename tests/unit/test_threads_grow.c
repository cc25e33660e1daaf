/* SPDX-License-Identifier: MIT
 * A pool that grows while many threads use it: each slot has one owner, each message comes once, each event is told once, and who
 * looks at statistics meanwhile disturbs nobody. For the thread sanitizer above all. */
#include "pool_help.h"

#include <pthread.h>
#include <sched.h>
#include <stdio.h>

enum { WORKERS = 4, GROWTHS = 12, ROUNDS = 6000, MESSAGES = 6000 };

static struct numapool_pool *pool;
static _Atomic unsigned wrong; /* threads count here what the test then asserts on: Check's asserts are for its own thread */
static _Atomic bool over;
static _Atomic unsigned grown_told, low_told, recovered_told;

static void expect(bool condition, const char *what)
{
    if (!condition) {
        fprintf(stderr, "%s (%s)\n", what, numapool_errormsg());
        atomic_fetch_add_explicit(&wrong, 1, memory_order_relaxed);
    }
}

static bool is_over(void)
{
    return atomic_load_explicit(&over, memory_order_acquire);
}

/* Slots begin with the number of who has them; written and checked without atomics, so that the sanitizer sees two
 * owners. */
static void *take_and_give(void *argument)
{
    const uint64_t me = 1 + (uint64_t)(uintptr_t)argument;
    struct numapool_magazine *magazine = numapool_thread_magazine(pool);
    void *slots[200];
    unsigned held = 0, random = (unsigned)me;
    for (unsigned round = 0; round < ROUNDS; round++) {
        random = random * 1103515245u + 12345u;
        if (random >> 16 & 1 && held < 200) {
            void *slot = numapool_get(magazine);
            if (slot) {
                memcpy(slot, &me, sizeof me);
                slots[held++] = slot;
            }
        } else if (held > 0) {
            unsigned which = (random >> 17) % held;
            uint64_t owner;
            memcpy(&owner, slots[which], sizeof owner);
            expect(owner == me, "a slot had two owners");
            expect(numapool_put(magazine, slots[which]) == 0, "put");
            slots[which] = slots[--held];
        }
        if ((random >> 18) % 500 == 0)
            numapool_flush(magazine);
        if (round % 64 == 0)
            sched_yield();
    }
    expect(numapool_put_bulk(magazine, slots, held) == 0, "put_bulk");
    return NULL; /* and its magazine is closed by that */
}

static void *send_all(void *argument)
{
    struct numapool_sender *sender = argument;
    for (uint64_t id = 0; id < MESSAGES; id++) {
        struct numapool_msg message = { .id = id, .length = sizeof id };
        expect(numapool_loan_wait(sender, &message.data, NUMAPOOL_FOREVER) == 0, "loan");
        memcpy(message.data, &id, sizeof id);
        expect(numapool_send(sender, &message, NUMAPOOL_FOREVER) == 0, "send");
    }
    return NULL;
}

static void *receive_all(void *argument)
{
    struct numapool_receiver *receiver = argument;
    for (uint64_t id = 0; id < MESSAGES;) {
        struct numapool_msg messages[8];
        int n = numapool_receive(receiver, messages, 8, NUMAPOOL_FOREVER);
        expect(n > 0, "receive");
        for (int i = 0; i < n; i++, id++) {
            uint64_t payload;
            memcpy(&payload, messages[i].data, sizeof payload);
            expect(messages[i].id == id && payload == id, "a message was not the next");
        }
        expect(n <= 0 || numapool_release(receiver, messages, (unsigned)n) == 0, "release");
    }
    return NULL;
}

static void *hear(void *argument)
{
    (void)argument;
    while (!is_over()) {
        struct numapool_event event = { .size = sizeof event };
        if (numapool_next_event(pool, &event, 2000000) < 0)
            continue;
        _Atomic unsigned *told = event.kind == NUMAPOOL_EVENT_GROWN ? &grown_told :
                                 event.kind == NUMAPOOL_EVENT_LOW   ? &low_told :
                                                                      &recovered_told;
        atomic_fetch_add_explicit(told, 1, memory_order_relaxed);
    }
    return NULL;
}

static void *look(void *argument)
{
    (void)argument;
    while (!is_over()) {
        struct numapool_stats stats = { .size = sizeof stats };
        expect(numapool_stats_read(pool, NUMAPOOL_ANY_NODE, &stats) == 0, "stats");
        expect(stats.free_slots + stats.held + stats.in_flight <= stats.slots, "more slots than there are");
        sched_yield();
    }
    return NULL;
}

static void *grow_often(void *argument)
{
    (void)argument;
    for (unsigned i = 0; i < GROWTHS; i++) {
        expect(numapool_grow(pool, 0, i % 3 == 0 ? 2048 : 100) == 0, "grow");
        for (unsigned pause = 0; pause < 200; pause++)
            sched_yield();
    }
    return NULL;
}

START_TEST(a_pool_grows_under_load)
{
    pthread_t workers[WORKERS], hearers[2], looker, grower, sending, receiving;
    struct numapool_sender *sender;
    struct numapool_receiver *receiver;
    struct numapool_event event = { .size = sizeof event };
    pool = make_pool(_i ? 40 : 400, _i == 2 ? NUMAPOOL_EXACT_COUNTS : 0);
    ck_assert_int_eq(numapool_receiver_open(pool, "a", NULL, &receiver), 0);
    ck_assert_int_eq(numapool_sender_open(pool, "a", NULL, &sender), 0);
    for (unsigned i = 0; i < 2; i++)
        ck_assert_int_eq(pthread_create(&hearers[i], NULL, hear, NULL), 0);
    ck_assert_int_eq(pthread_create(&looker, NULL, look, NULL), 0);
    for (uintptr_t i = 0; i < WORKERS; i++)
        ck_assert_int_eq(pthread_create(&workers[i], NULL, take_and_give, (void *)i), 0);
    ck_assert_int_eq(pthread_create(&sending, NULL, send_all, sender), 0);
    ck_assert_int_eq(pthread_create(&receiving, NULL, receive_all, receiver), 0);
    ck_assert_int_eq(pthread_create(&grower, NULL, grow_often, NULL), 0);
    pthread_join(grower, NULL);
    for (unsigned i = 0; i < WORKERS; i++)
        pthread_join(workers[i], NULL);
    pthread_join(sending, NULL);
    pthread_join(receiving, NULL);
    atomic_store_explicit(&over, true, memory_order_release);
    for (unsigned i = 0; i < 2; i++)
        pthread_join(hearers[i], NULL);
    pthread_join(looker, NULL);
    ck_assert_uint_eq(atomic_load_explicit(&wrong, memory_order_relaxed), 0);
    unsigned told = atomic_load_explicit(&grown_told, memory_order_relaxed);
    while (numapool_next_event(pool, &event, 0) == 0)
        told += event.kind == NUMAPOOL_EVENT_GROWN;
    ck_assert_uint_ge(told, 1);
    ck_assert_uint_le(told, GROWTHS);
    ck_assert_uint_eq(pool_slots(pool), (_i ? 40 : 400) + 4 * 2048 + 8 * 100);
    ck_assert_int_eq(numapool_sender_close(sender, 0), 0);
    ck_assert_int_eq(numapool_receiver_close(receiver), 0);
    close_pool(pool);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("threads of a growing pool");
    TCase *all = tcase_create("all");
    tcase_set_timeout(all, 120);
    tcase_add_loop_test(all, a_pool_grows_under_load, 0, 3);
    suite_add_tcase(suite, all);
    return run_suite(suite);
}
