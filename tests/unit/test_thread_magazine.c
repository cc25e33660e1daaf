/* SPDX-License-Identifier: MIT
 * Magazines that belong to their thread: each thread its own, given back however the thread ends. */
#include "pool_help.h"

#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* gcc's thread sanitizer loses track of the mutexes of a thread that is cancelled while it sleeps, and does not let a
 * child of several threads make threads; the leak sanitizer calls what is the parent's a leak of the child. */
#if defined(__SANITIZE_THREAD__)
enum { ENDINGS_TRIED = 2, FORKS_TRIED = 0 };
#elif defined(__SANITIZE_ADDRESS__)
enum { ENDINGS_TRIED = 3, FORKS_TRIED = 0 };
#else
enum { ENDINGS_TRIED = 3, FORKS_TRIED = 1 };
#endif

enum ending { RETURNS, EXITS, IS_CANCELLED };

struct worker {
    struct numapool_pool *pool;
    enum ending ending;
    struct numapool_magazine *magazine;
    struct numapool_sender *sender;
    sem_t ready, go_on;
    pthread_t thread;
};

/* Leaves a full magazine behind. */
static void *work(void *argument)
{
    struct worker *worker = argument;
    void *slots[64];
    worker->magazine = numapool_thread_magazine(worker->pool);
    ck_assert_ptr_nonnull(worker->magazine);
    ck_assert_int_eq(numapool_get_bulk(worker->magazine, slots, 64), 0);
    ck_assert_int_eq(numapool_put_bulk(worker->magazine, slots, 64), 0);
    ck_assert_ptr_eq(numapool_thread_magazine(worker->pool), worker->magazine);
    sem_post(&worker->ready);
    while (worker->ending == IS_CANCELLED) {
        const struct timespec pause = { 1, 0 };
        nanosleep(&pause, NULL);
    }
    while (sem_wait(&worker->go_on) != 0)
        ;
    if (worker->ending == EXITS)
        pthread_exit(NULL);
    return NULL;
}

static void begin(struct worker *worker, struct numapool_pool *pool, enum ending ending, void *(*what)(void *))
{
    *worker = (struct worker){ .pool = pool, .ending = ending };
    sem_init(&worker->ready, 0, 0);
    sem_init(&worker->go_on, 0, 0);
    ck_assert_int_eq(pthread_create(&worker->thread, NULL, what, worker), 0);
    while (sem_wait(&worker->ready) != 0)
        ;
}

static void end(struct worker *worker)
{
    if (worker->ending == IS_CANCELLED)
        pthread_cancel(worker->thread);
    sem_post(&worker->go_on);
    ck_assert_int_eq(pthread_join(worker->thread, NULL), 0);
    sem_destroy(&worker->ready);
    sem_destroy(&worker->go_on);
}

/* ---------------------------------------------------------------- threads */

START_TEST(each_thread_has_its_own_and_gives_it_back_however_it_ends)
{
    struct numapool_pool *pool = make_pool(65536, 0);
    struct worker workers[8];
    for (unsigned round = 0; round < 3; round++) {
        for (unsigned i = 0; i < 8; i++)
            begin(&workers[i], pool, (enum ending)_i, work);
        for (unsigned i = 0; i < 8; i++)
            for (unsigned j = 0; j < i; j++)
                ck_assert_ptr_ne(workers[i].magazine, workers[j].magazine);
        ck_assert_uint_eq(pool->magazine_count, 8);
        ck_assert_uint_gt(pool_census(pool).held, 0);
        for (unsigned i = 0; i < 8; i++)
            end(&workers[i]);
        ck_assert_uint_eq(pool->magazine_count, 0);
        ck_assert_uint_eq(pool->thread_magazine_count, 0);
        ck_assert_uint_eq(pool->magazine_slots_used, 0);
        assert_account(pool, 0, 0);
    }
    close_pool(pool);
}
END_TEST

START_TEST(a_pool_is_not_closed_while_another_thread_has_one)
{
    struct numapool_pool *pool = make_pool(65536, 0);
    struct worker workers[2];
    struct numapool_magazine *own = numapool_thread_magazine(pool);
    void *slot = numapool_get(own);
    for (unsigned i = 0; i < 2; i++)
        begin(&workers[i], pool, RETURNS, work);
    ASSERT_REFUSED(numapool_close(pool), -EBUSY, "3 magazines");
    assert_sentence_has("2 of the magazines");
    assert_sentence_has("numapool_thread_magazine_close");
    ck_assert_ptr_eq(numapool_thread_magazine(pool), own); /* who could not close has lost nothing */
    ck_assert_int_eq(numapool_put(own, slot), 0);
    for (unsigned i = 0; i < 2; i++)
        end(&workers[i]);
    struct numapool_magazine *other = open_magazine(pool, 0);
    ASSERT_REFUSED(numapool_close(pool), -EBUSY, "2 magazines");
    ck_assert_int_eq(numapool_magazine_close(other), 0);
    ck_assert_int_eq(numapool_close(pool), 0); /* the calling thread's own goes with it */
}
END_TEST

START_TEST(closing_it_before_the_thread_ends_and_opening_it_again)
{
    struct numapool_pool *pool = make_pool(65536, 0);
    ck_assert_int_eq(numapool_thread_magazine_close(pool), 0); /* there is none */
    for (unsigned i = 0; i < 3; i++) {
        struct numapool_magazine *magazine = numapool_thread_magazine(pool);
        ck_assert_int_eq(numapool_put(magazine, numapool_get(magazine)), 0);
        ck_assert_int_eq(i == 1 ? numapool_magazine_close(magazine) : numapool_thread_magazine_close(pool), 0);
        ck_assert_uint_eq(pool->magazine_count, 0);
    }
    ASSERT_REFUSED(numapool_thread_magazine_close(NULL), -EINVAL, "NULL");
    ck_assert_ptr_null(numapool_thread_magazine(NULL));
    close_pool(pool);
}
END_TEST

START_TEST(a_thread_cannot_close_anothers)
{
    struct numapool_pool *pool = make_pool(65536, 0);
    struct worker worker;
    begin(&worker, pool, RETURNS, work);
    ASSERT_REFUSED(numapool_magazine_close(worker.magazine), -EINVAL, "another thread");
    ck_assert_ptr_ne(numapool_thread_magazine(pool), worker.magazine);
    ASSERT_REFUSED(numapool_magazine_close(worker.magazine), -EINVAL, "another thread");
    end(&worker);
    ck_assert_int_eq(numapool_thread_magazine_close(pool), 0);
    close_pool(pool);
}
END_TEST

static void *two_slots(void *argument)
{
    struct worker *worker = argument;
    struct numapool_magazine *magazine = numapool_thread_magazine(worker->pool);
    void *slots[2];
    for (unsigned i = 0; i < 2; i++)
        ck_assert_ptr_nonnull(slots[i] = numapool_get(magazine));
    sem_post(&worker->ready);
    while (sem_wait(&worker->go_on) != 0)
        ;
    ck_assert_int_eq(numapool_put_bulk(magazine, slots, 2), 0);
    for (unsigned round = 0; round < 1000; round++) {
        for (unsigned i = 0; i < 2; i++)
            ck_assert_ptr_nonnull(slots[i] = numapool_get(magazine)); /* what the others have put is not hoarded */
        ck_assert_int_eq(numapool_put_bulk(magazine, slots, 2), 0);
    }
    return NULL;
}

START_TEST(the_second_get_of_every_thread_of_a_small_pool_succeeds)
{
    struct numapool_pool *pool = make_pool(32, 0);
    struct worker workers[8];
    for (unsigned i = 0; i < 8; i++)
        begin(&workers[i], pool, RETURNS, two_slots);
    for (unsigned i = 0; i < 8; i++)
        sem_post(&workers[i].go_on);
    for (unsigned i = 0; i < 8; i++)
        ck_assert_int_eq(pthread_join(workers[i].thread, NULL), 0);
    close_pool(pool);
}
END_TEST

/* ---------------------------------------------------------------- pools */

START_TEST(another_pool_at_the_same_address_has_another_magazine)
{
    struct numapool_pool *before = NULL;
    unsigned again = 0;
    for (unsigned i = 0; i < 50; i++) {
        struct numapool_pool *pool = make_pool(4096, 0);
        struct numapool_magazine *magazine = numapool_thread_magazine(pool);
        void *slot = numapool_get(magazine);
        ck_assert_int_eq(numapool_slot_node(pool, slot), 0); /* a slot of this pool */
        ck_assert_int_eq(numapool_put(magazine, slot), 0);
        again += pool == before;
        before = pool;
        ck_assert_int_eq(numapool_close(pool), 0);
    }
    ck_assert_uint_gt(again, 0); /* else nothing was tried */
}
END_TEST

START_TEST(a_thread_has_one_of_each_of_many_pools)
{
    enum { POOLS = 20 };
    struct numapool_pool *pools[POOLS];
    struct numapool_magazine *magazines[POOLS];
    for (unsigned i = 0; i < POOLS; i++)
        magazines[i] = numapool_thread_magazine(pools[i] = make_pool(4096, 0));
    for (unsigned round = 0; round < 3; round++)
        for (unsigned i = 0; i < POOLS; i++) {
            unsigned which = (i * 7 + round) % POOLS;
            ck_assert_ptr_eq(numapool_thread_magazine(pools[which]), magazines[which]);
            void *slot = numapool_get(magazines[which]);
            ck_assert_int_eq(numapool_slot_node(pools[which], slot), 0);
            ck_assert_int_eq(numapool_put(magazines[which], slot), 0);
        }
    for (unsigned i = 0; i < POOLS; i++)
        ck_assert_int_eq(numapool_close(pools[(i * 3) % POOLS]), 0);
}
END_TEST

/* ---------------------------------------------------------------- senders, forks */

static void *open_sender(void *argument)
{
    struct worker *worker = argument;
    struct numapool_channel_options options = NUMAPOOL_CHANNEL_OPTIONS_INIT;
    worker->magazine = options.magazine = numapool_thread_magazine(worker->pool);
    ck_assert_int_eq(numapool_sender_open(worker->pool, "a", &options, &worker->sender), 0);
    struct numapool_msg message = NUMAPOOL_MSG_INIT;
    ck_assert_ptr_nonnull(message.data = numapool_loan(worker->sender));
    ck_assert_int_eq(numapool_send(worker->sender, &message, 0), 0);
    sem_post(&worker->ready);
    return NULL;
}

START_TEST(a_sender_that_outlives_the_thread_goes_on_with_its_magazine)
{
    struct numapool_pool *pool = make_pool(65536, 0);
    struct numapool_receiver *receiver;
    struct worker worker;
    struct numapool_msg message = NUMAPOOL_MSG_INIT, got[2];
    ck_assert_int_eq(numapool_receiver_open(pool, "a", NULL, &receiver), 0);
    begin(&worker, pool, RETURNS, open_sender);
    end(&worker);
    ck_assert_ptr_nonnull(message.data = numapool_loan(worker.sender)); /* handed over by the join */
    ck_assert_int_eq(numapool_send(worker.sender, &message, 0), 0);
    ck_assert_int_eq(numapool_receive(receiver, got, 2, 0), 2);
    ck_assert_int_eq(numapool_release(receiver, got, 2), 0);
    ASSERT_REFUSED(numapool_close(pool), -EBUSY, "1 senders");
    ck_assert_int_eq(numapool_sender_close(worker.sender, 0), 0);
    ck_assert_uint_eq(pool->magazine_count, 0);
    ck_assert_int_eq(numapool_receiver_close(receiver), 0);
    close_pool(pool);
}
END_TEST

static void *use_own(void *argument)
{
    struct numapool_magazine *magazine = numapool_thread_magazine(argument);
    return magazine && numapool_put(magazine, numapool_get(magazine)) == 0 ? argument : NULL;
}

static int child(struct numapool_pool *of_parent, struct numapool_magazine *magazine)
{
    void *slot = NULL, *result = NULL;
    pthread_t thread;
    if (numapool_thread_magazine(of_parent) != NULL || numapool_thread_magazine_close(of_parent) != -EINVAL)
        return 1;
    if (numapool_get(magazine) != NULL || numapool_magazine_close(magazine) != -EINVAL)
        return 2;
    struct numapool_pool *pool = make_pool(4096, 0);
    if (!use_own(pool) || pthread_create(&thread, NULL, use_own, pool) != 0 || pthread_join(thread, &result) != 0 || result != pool)
        return 3;
    slot = numapool_get(numapool_thread_magazine(pool));
    if (numapool_put(numapool_thread_magazine(pool), slot) != 0)
        return 4;
    return numapool_close(pool) == 0 ? 0 : 5;
}

static void *fork_and_end(void *argument)
{
    struct worker *worker = argument;
    worker->magazine = numapool_thread_magazine(worker->pool);
    ck_assert_ptr_nonnull(worker->magazine);
    pid_t pid = fork();
    if (pid == 0) {
        int result = child(worker->pool, worker->magazine);
        if (result != 0)
            _exit(result);
        pthread_exit(NULL); /* the child's only thread: its list is taken apart, and the process ends with 0 */
    }
    int status = -1;
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_int_eq(status, 0);
    void *slot = numapool_get(worker->magazine);
    ck_assert_int_eq(numapool_put(worker->magazine, slot), 0);
    sem_post(&worker->ready);
    return NULL;
}

START_TEST(a_forked_child_has_none_of_the_parents_and_may_have_its_own)
{
    struct numapool_pool *pool = make_pool(4096, 0);
    struct worker worker;
    begin(&worker, pool, RETURNS, fork_and_end);
    end(&worker);
    close_pool(pool);
}
END_TEST

static Suite *suite(void)
{
    Suite *suite = suite_create("thread magazines");
    TCase *threads = tcase_create("threads");
    tcase_add_loop_test(threads, each_thread_has_its_own_and_gives_it_back_however_it_ends, 0, ENDINGS_TRIED);
    tcase_add_test(threads, a_pool_is_not_closed_while_another_thread_has_one);
    tcase_add_test(threads, closing_it_before_the_thread_ends_and_opening_it_again);
    tcase_add_test(threads, a_thread_cannot_close_anothers);
    tcase_add_test(threads, the_second_get_of_every_thread_of_a_small_pool_succeeds);
    suite_add_tcase(suite, threads);
    TCase *pools = tcase_create("pools");
    tcase_add_test(pools, another_pool_at_the_same_address_has_another_magazine);
    tcase_add_test(pools, a_thread_has_one_of_each_of_many_pools);
    suite_add_tcase(suite, pools);
    TCase *others = tcase_create("senders and forks");
    tcase_add_test(others, a_sender_that_outlives_the_thread_goes_on_with_its_magazine);
    tcase_add_loop_test(others, a_forked_child_has_none_of_the_parents_and_may_have_its_own, 0, FORKS_TRIED);
    if (ENDINGS_TRIED < 3 || FORKS_TRIED < 1)
        printf("NOT RUN: forked children, or cancelled threads (sanitizers)\n");
    suite_add_tcase(suite, others);
    return suite;
}

int main(void)
{
    return run_suite(suite());
}
