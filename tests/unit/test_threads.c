/* SPDX-License-Identifier: MIT
 * Many threads of one process: each slot has one owner at a time, each message is done with once, whoever sleeps is woken. */
#include "pool_help.h"

#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <time.h>

enum { THREADS = 8 };

static struct numapool_pool *pool;
static _Atomic unsigned wrong; /* threads count here what the test then asserts on: Check's asserts are for its own thread */

static void expect(bool condition, const char *what)
{
    if (!condition) {
        fprintf(stderr, "%s (%s)\n", what, numapool_errormsg());
        atomic_fetch_add_explicit(&wrong, 1, memory_order_relaxed);
    }
}

static void run_threads(unsigned n, void *(*body)(void *), void *arguments, size_t bytes_each)
{
    pthread_t threads[THREADS];
    for (unsigned i = 0; i < n; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, body, (char *)arguments + i * bytes_each), 0);
    for (unsigned i = 0; i < n; i++)
        ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
    ck_assert_uint_eq(atomic_load_explicit(&wrong, memory_order_relaxed), 0);
}

/* ---------------------------------------------------------------- slots */

/* Every slot begins with the number of who has it; written and checked without atomics, so that a thread sanitizer sees two
 * owners at once. */
static void *take_and_give(void *argument)
{
    const uint64_t me = 1 + (uint64_t)((unsigned *)argument)[0];
    struct numapool_magazine *magazine = NULL;
    void *slots[40];
    unsigned held = 0, random = (unsigned)me;
    expect(numapool_magazine_open(pool, NUMAPOOL_ANY_NODE, 8, &magazine) == 0, "open");
    for (unsigned round = 0; round < 20000; round++) {
        random = random * 1103515245u + 12345u;
        if (random >> 16 & 1 && held < 40) {
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
        if ((random >> 18) % 1000 == 0)
            numapool_flush(magazine);
    }
    expect(numapool_put_bulk(magazine, slots, held) == 0, "put_bulk");
    expect(numapool_magazine_close(magazine) == 0, "close");
    return NULL;
}

START_TEST(a_slot_has_one_owner_at_a_time)
{
    static const struct {
        unsigned arenas, slots_each;
    } pools[] = { { 1, 4096 }, { 1, 70 }, { 1, 20 }, { 3, 40 }, { 2, 1000 } };
    unsigned numbers[4] = { 0, 1, 2, 3 };
    pool = make_pool_of_arenas(pools[_i].arenas, pools[_i].slots_each);
    run_threads(4, take_and_give, numbers, sizeof numbers[0]);
    close_pool(pool);
}
END_TEST

static pthread_barrier_t barrier;

static void *get_two(void *argument)
{
    struct numapool_magazine *magazine = NULL;
    (void)argument;
    expect(numapool_magazine_open(pool, NUMAPOOL_OWN_NODE, 0, &magazine) == 0, "open");
    void *first = numapool_get(magazine);
    pthread_barrier_wait(&barrier);
    void *second = numapool_get(magazine);
    expect(first != NULL && second != NULL, "a small pool failed a thread's second get");
    pthread_barrier_wait(&barrier);
    expect(numapool_put(magazine, first) == 0 && numapool_put(magazine, second) == 0, "put");
    expect(numapool_magazine_close(magazine) == 0, "close");
    return NULL;
}

START_TEST(eight_threads_of_a_small_pool_get_two_slots_each)
{
    char none[THREADS];
    for (unsigned round = 0; round < 20; round++) {
        pool = make_pool(32, 0);
        pthread_barrier_init(&barrier, NULL, THREADS);
        run_threads(THREADS, get_two, none, 1);
        pthread_barrier_destroy(&barrier);
        close_pool(pool);
    }
}
END_TEST

static void *wait_for_slots(void *argument)
{
    struct numapool_magazine *magazine = NULL;
    (void)argument;
    expect(numapool_magazine_open(pool, NUMAPOOL_ANY_NODE, 0, &magazine) == 0, "open");
    for (unsigned round = 0; round < 2000; round++) {
        void *slot = NULL;
        expect(numapool_get_wait(magazine, &slot, NUMAPOOL_FOREVER) == 0, "get_wait");
        if (round % 16 == 0)
            sched_yield();
        expect(slot && numapool_put(magazine, slot) == 0, "put");
    }
    expect(numapool_magazine_close(magazine) == 0, "close");
    return NULL;
}

START_TEST(nobody_waits_for_ever_while_slots_come_back)
{
    char none[THREADS];
    pool = make_pool(2, 0);
    run_threads(6, wait_for_slots, none, 1);
    close_pool(pool);
}
END_TEST

/* ---------------------------------------------------------------- messages */

enum { IDS_MAX = 40000, SENDERS_MAX = 3 };

static _Atomic unsigned char finished[IDS_MAX]; /* how often a message was released for good */
static _Atomic unsigned finished_count, ids, senders_at_work;

static void reset(unsigned count, unsigned senders)
{
    memset((void *)finished, 0, sizeof finished);
    atomic_store_explicit(&finished_count, 0, memory_order_relaxed);
    atomic_store_explicit(&ids, count, memory_order_relaxed);
    atomic_store_explicit(&senders_at_work, senders, memory_order_relaxed);
    atomic_store_explicit(&wrong, 0, memory_order_relaxed);
}

static bool all_finished(void)
{
    return atomic_load_explicit(&finished_count, memory_order_relaxed) >= atomic_load_explicit(&ids, memory_order_relaxed);
}

static void finish(const struct numapool_msg *message)
{
    uint64_t payload;
    memcpy(&payload, message->data, sizeof payload);
    expect(payload == message->id && message->key == ~message->id && message->id < IDS_MAX, "a message was not what was sent");
    if (message->id < IDS_MAX)
        expect(atomic_fetch_add_explicit(&finished[message->id], 1, memory_order_relaxed) == 0, "a message was done with twice");
    atomic_fetch_add_explicit(&finished_count, 1, memory_order_relaxed);
}

struct sender_plan {
    const char *channel;
    unsigned from, until;
    uint32_t lane_slots;
    unsigned rejoin_every; /* leaves and comes back; 0: stays */
};

static void *send_all(void *argument)
{
    const struct sender_plan *plan = argument;
    struct numapool_channel_options options = NUMAPOOL_CHANNEL_OPTIONS_INIT;
    struct numapool_sender *sender = NULL;
    options.lane_slots = plan->lane_slots;
    expect(numapool_sender_open(pool, plan->channel, &options, &sender) == 0, "sender_open");
    for (uint64_t id = plan->from; id < plan->until && sender; id++) {
        struct numapool_msg message = { .length = 16, .id = id, .key = ~id };
        while ((message.data = numapool_loan(sender)) == NULL)
            sched_yield();
        memcpy(message.data, &id, sizeof id);
        expect(numapool_send(sender, &message, NUMAPOOL_FOREVER) == 0, "send");
        if (plan->rejoin_every && id % plan->rejoin_every == plan->rejoin_every - 1) {
            expect(numapool_sender_close(sender, 0) >= 0, "sender_close");
            sender = NULL;
            expect(numapool_sender_open(pool, plan->channel, &options, &sender) == 0, "sender_open");
        }
    }
    atomic_fetch_sub_explicit(&senders_at_work, 1, memory_order_relaxed);
    if (sender)
        expect(numapool_sender_close(sender, 0) >= 0, "sender_close");
    return NULL;
}

struct receiver_plan {
    const char *channel, *onward; /* onward: forwards there, else releases */
    unsigned leave_every;         /* leaves with the last batch unreleased and comes back; 0: stays */
    unsigned at_once;
};

/* One batch: done with, or sent on. A part of it may be left for the next receiver. */
static void handle(const struct receiver_plan *plan, struct numapool_receiver *receiver, struct numapool_sender *onward,
                   struct numapool_msg *messages, unsigned n)
{
    for (unsigned done = 0; onward && done < n;) {
        int sent = numapool_forward_bulk(receiver, messages + done, n - done, onward, 1000000);
        expect(sent > 0 || sent == -ETIMEDOUT, "forward_bulk");
        if (sent < 0 && (sent != -ETIMEDOUT || all_finished()))
            return;
        done += sent > 0 ? (unsigned)sent : 0;
    }
    if (onward)
        return;
    for (unsigned i = 0; i < n; i++)
        finish(&messages[i]);
    if (plan->at_once > 4 && n > 2) { /* the youngest first */
        expect(numapool_release(receiver, &messages[n - 1], 1) == 0, "release");
        n--;
    }
    expect(numapool_release(receiver, messages, n) == 0, "release");
}

static void *receive_all(void *argument)
{
    const struct receiver_plan *plan = argument;
    struct numapool_receiver *receiver = NULL;
    struct numapool_sender *onward = NULL;
    struct numapool_msg messages[16];
    unsigned batches = 0;
    expect(numapool_receiver_open(pool, plan->channel, NULL, &receiver) == 0, "receiver_open");
    if (plan->onward)
        expect(numapool_sender_open(pool, plan->onward, NULL, &onward) == 0, "sender_open");
    while (receiver && !all_finished() && atomic_load_explicit(&wrong, memory_order_relaxed) == 0) {
        int got = numapool_receive(receiver, messages, plan->at_once, 2000000);
        expect(got > 0 || got == -ETIMEDOUT, "receive");
        if (got < 0)
            continue;
        if (plan->leave_every && ++batches % plan->leave_every == 0) {
            if (got > 1) /* what is done with is not delivered again, the rest is */
                handle(plan, receiver, onward, messages, (unsigned)got / 2);
            expect(numapool_receiver_close(receiver) == 0, "receiver_close");
            receiver = NULL;
            expect(numapool_receiver_open(pool, plan->channel, NULL, &receiver) == 0, "receiver_open");
            continue;
        }
        handle(plan, receiver, onward, messages, (unsigned)got);
    }
    if (onward)
        expect(numapool_sender_close(onward, 0) >= 0, "sender_close");
    if (receiver)
        expect(numapool_receiver_close(receiver) == 0, "receiver_close");
    return NULL;
}

static void run_plans(struct sender_plan *senders, unsigned sender_count, struct receiver_plan *receivers, unsigned receiver_count)
{
    pthread_t threads[THREADS];
    unsigned n = 0, until = 0;
    for (unsigned i = 0; i < sender_count; i++)
        until = senders[i].until > until ? senders[i].until : until;
    reset(until, sender_count);
    for (unsigned i = 0; i < receiver_count; i++)
        ck_assert_int_eq(pthread_create(&threads[n++], NULL, receive_all, &receivers[i]), 0);
    for (unsigned i = 0; i < sender_count; i++)
        ck_assert_int_eq(pthread_create(&threads[n++], NULL, send_all, &senders[i]), 0);
    while (n > 0)
        pthread_join(threads[--n], NULL);
    ck_assert_uint_eq(atomic_load_explicit(&wrong, memory_order_relaxed), 0);
    ck_assert_uint_eq(atomic_load_explicit(&finished_count, memory_order_relaxed), until);
    for (unsigned id = 0; id < until; id++)
        if (atomic_load_explicit(&finished[id], memory_order_relaxed) != 1)
            ck_abort_msg("message %u was done with %u times", id, (unsigned)finished[id]);
}

START_TEST(many_senders_and_receivers_lose_and_double_nothing)
{
    struct sender_plan senders[3] = { { "c", 0, 10000, 64, 0 }, { "c", 10000, 20000, 2, 0 }, { "c", 20000, 30000, 256, 0 } };
    struct receiver_plan receivers[3] = { { "c", NULL, 0, 1 }, { "c", NULL, 0, 8 }, { "c", NULL, 0, 16 } };
    pool = make_pool(2048, 0);
    run_plans(senders, 3, receivers, 3);
    close_pool(pool);
}
END_TEST

START_TEST(receivers_come_and_go_under_load)
{
    struct sender_plan senders[2] = { { "c", 0, 6000, 64, 0 }, { "c", 6000, 12000, 4, 0 } };
    struct receiver_plan receivers[3] = { { "c", NULL, 3, 4 }, { "c", NULL, 7, 8 }, { "c", NULL, 5, 16 } };
    pool = make_pool(1024, 0);
    run_plans(senders, 2, receivers, 3);
    close_pool(pool);
}
END_TEST

START_TEST(senders_come_and_go_under_load)
{
    struct sender_plan senders[3] = { { "c", 0, 3000, 16, 50 }, { "c", 3000, 6000, 4, 20 }, { "c", 6000, 9000, 64, 0 } };
    struct receiver_plan receivers[2] = { { "c", NULL, 0, 4 }, { "c", NULL, 40, 16 } };
    pool = make_pool(1024, 0);
    run_plans(senders, 3, receivers, 2);
    close_pool(pool);
}
END_TEST

START_TEST(a_chain_of_forwarders_that_come_and_go_delivers_each_once)
{
    struct sender_plan senders[2] = { { "a", 0, 6000, 32, 0 }, { "a", 6000, 12000, 128, 0 } };
    struct receiver_plan receivers[4] = { { "a", "b", 9, 8 }, { "a", "b", 5, 4 }, { "b", "c", 0, 16 }, { "c", NULL, 0, 16 } };
    pool = make_pool(1024, 0);
    run_plans(senders, 2, receivers, 4);
    close_pool(pool);
}
END_TEST

/* ---------------------------------------------------------------- sleeping and waking */

static void sleep_a_little(void)
{
    struct timespec pause = { 0, 3000000 };
    nanosleep(&pause, NULL);
}

static void *receive_slowly(void *argument)
{
    struct numapool_receiver *receiver = argument;
    for (unsigned got = 0; got < 40;) {
        struct numapool_msg messages[4];
        int n = numapool_receive(receiver, messages, 4, NUMAPOOL_FOREVER);
        expect(n > 0, "receive");
        if (n < 0)
            break;
        if (got % 8 == 0)
            sleep_a_little();
        got += (unsigned)n;
        expect(numapool_release(receiver, messages, (unsigned)n) == 0, "release");
    }
    return NULL;
}

/* _i: who is slow. Neither end spins, so that each wait is a sleep; a wake-up that is lost hangs the test. */
START_TEST(who_sleeps_is_woken)
{
    struct numapool_channel_options options = NUMAPOOL_CHANNEL_OPTIONS_INIT;
    struct numapool_sender *sender;
    struct numapool_receiver *receiver;
    pthread_t thread;
    options.lane_slots = 2;
    options.spin_ns = -1;
    pool = make_pool(_i == 2 ? 2 : 64, 0); /* with 2 slots the sender sleeps for slots, not for room */
    options.magazine = open_magazine(pool, 0);
    ck_assert_int_eq(numapool_sender_open(pool, "c", &options, &sender), 0);
    struct numapool_magazine *magazine = options.magazine;
    options.magazine = NULL;
    ck_assert_int_eq(numapool_receiver_open(pool, "c", &options, &receiver), 0);
    ck_assert_int_eq(pthread_create(&thread, NULL, receive_slowly, receiver), 0);
    for (uint64_t id = 0; id < 40; id++) {
        struct numapool_msg message = { .length = 1, .id = id };
        ck_assert_int_eq(numapool_get_wait(magazine, &message.data, NUMAPOOL_FOREVER), 0);
        if (_i == 1 && id % 4 == 0)
            sleep_a_little();
        ck_assert_int_eq(numapool_send(sender, &message, NUMAPOOL_FOREVER), 0);
    }
    ck_assert_int_eq(numapool_sender_close(sender, NUMAPOOL_FOREVER), 0);
    pthread_join(thread, NULL);
    ck_assert_uint_eq(atomic_load_explicit(&wrong, memory_order_relaxed), 0);
    ck_assert_int_eq(numapool_magazine_close(magazine), 0);
    ck_assert_int_eq(numapool_receiver_close(receiver), 0);
    close_pool(pool);
}
END_TEST

struct late {
    struct numapool_sender *sender;
    struct numapool_receiver *receiver;
};

static void *join_late(void *argument)
{
    struct late *late = argument;
    sleep_a_little();
    if (late->sender) {
        expect(numapool_receiver_open(pool, "c", NULL, &late->receiver) == 0, "receiver_open");
        struct numapool_msg message;
        expect(numapool_receive(late->receiver, &message, 1, NUMAPOOL_FOREVER) == 1, "receive");
        expect(numapool_release(late->receiver, &message, 1) == 0, "release");
    } else {
        expect(numapool_sender_open(pool, "c", NULL, &late->sender) == 0, "sender_open");
        struct numapool_msg message = { .data = numapool_loan(late->sender), .length = 1 };
        expect(numapool_send(late->sender, &message, NUMAPOOL_FOREVER) == 0, "send");
    }
    return NULL;
}

START_TEST(who_sleeps_hears_of_an_end_that_joins)
{
    struct numapool_channel_options options = NUMAPOOL_CHANNEL_OPTIONS_INIT;
    struct late late = { NULL, NULL };
    struct numapool_msg message;
    pthread_t thread;
    options.lane_slots = 2;
    options.spin_ns = -1;
    pool = make_pool(64, 0);
    if (_i) { /* a sender sleeps on a full lane that waits for a receiver */
        ck_assert_int_eq(numapool_sender_open(pool, "c", &options, &late.sender), 0);
        for (unsigned i = 0; i < 2; i++) {
            message = (struct numapool_msg){ .data = numapool_loan(late.sender), .length = 1 };
            ck_assert_int_eq(numapool_send(late.sender, &message, 0), 0);
        }
        message = (struct numapool_msg){ .data = numapool_loan(late.sender), .length = 1 };
        ck_assert_int_eq(pthread_create(&thread, NULL, join_late, &late), 0);
        ck_assert_int_eq(numapool_send(late.sender, &message, NUMAPOOL_FOREVER), 0);
    } else {
        ck_assert_int_eq(numapool_receiver_open(pool, "c", &options, &late.receiver), 0);
        ck_assert_int_eq(pthread_create(&thread, NULL, join_late, &late), 0);
        ck_assert_int_eq(numapool_receive(late.receiver, &message, 1, NUMAPOOL_FOREVER), 1);
        ck_assert_int_eq(numapool_release(late.receiver, &message, 1), 0);
    }
    pthread_join(thread, NULL);
    ck_assert_uint_eq(atomic_load_explicit(&wrong, memory_order_relaxed), 0);
    for (struct numapool_msg more; numapool_receive(late.receiver, &more, 1, 0) == 1;)
        ck_assert_int_eq(numapool_release(late.receiver, &more, 1), 0);
    ck_assert_int_eq(numapool_sender_close(late.sender, 0), 0);
    ck_assert_int_eq(numapool_receiver_close(late.receiver), 0);
    close_pool(pool);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("threads");
    TCase *slots = tcase_create("slots"), *messages = tcase_create("messages"), *sleep = tcase_create("sleep");
    tcase_set_timeout(slots, 120);
    tcase_set_timeout(messages, 120);
    tcase_set_timeout(sleep, 60);
    tcase_add_loop_test(slots, a_slot_has_one_owner_at_a_time, 0, 5);
    tcase_add_test(slots, eight_threads_of_a_small_pool_get_two_slots_each);
    tcase_add_test(slots, nobody_waits_for_ever_while_slots_come_back);
    tcase_add_test(messages, many_senders_and_receivers_lose_and_double_nothing);
    tcase_add_test(messages, receivers_come_and_go_under_load);
    tcase_add_test(messages, senders_come_and_go_under_load);
    tcase_add_test(messages, a_chain_of_forwarders_that_come_and_go_delivers_each_once);
    tcase_add_loop_test(sleep, who_sleeps_is_woken, 0, 3);
    tcase_add_loop_test(sleep, who_sleeps_hears_of_an_end_that_joins, 0, 2);
    suite_add_tcase(suite, slots);
    suite_add_tcase(suite, messages);
    suite_add_tcase(suite, sleep);
    return run_suite(suite);
}
