/* SPDX-License-Identifier: MIT
 * The eventfd of a wait-set: readable whenever something is there after a wait that found nothing, however the two meet. */
#include <pthread.h>
#include <signal.h>
#include <sys/syscall.h>

#include "seccomp_help.h"
#include "waitset_help.h"

enum { SOON_MS = 10000, QUIET_MS = 5 };

static struct numapool_pool *pool;
static struct numapool_waitset *waitset;
static struct numapool_sender *sender;
static struct numapool_receiver *receiver, *other;
static char tag, other_tag;
static int fd;

static void open_set(void)
{
    pool = make_pool(1024, 0);
    waitset = open_waitset();
    sender = open_sender(pool, "a");
    receiver = open_receiver(pool, "a");
    other = open_receiver(pool, "b");
    ck_assert_int_eq(numapool_waitset_add(waitset, receiver, &tag), 0);
    ck_assert_int_eq(numapool_waitset_add(waitset, other, &other_tag), 0);
    ck_assert_int_ge(fd = numapool_waitset_eventfd(waitset), 0);
    ck_assert_int_eq(numapool_waitset_eventfd(waitset), fd);
}

static void close_set(void)
{
    np_shm_hook = NULL;
    ck_assert_int_eq(numapool_waitset_close(waitset), 0);
    ck_assert_int_eq(numapool_receiver_close(receiver), 0);
    if (other)
        ck_assert_int_eq(numapool_receiver_close(other), 0);
    ck_assert_int_ge(numapool_sender_close(sender, 0), 0);
    numapool_close(pool);
}

static void assert_nothing_there(void)
{
    void *ready[2];
    ck_assert_int_eq(numapool_waitset_wait(waitset, ready, 2, 0), -EAGAIN);
    ck_assert(!is_readable(fd, 0));
}

static void assert_ready(void *expected)
{
    void *ready[2] = { 0 };
    ck_assert_int_eq(numapool_waitset_wait(waitset, ready, 2, 0), 1);
    ck_assert_ptr_eq(ready[0], expected);
    ck_assert_msg(!is_readable(fd, 0), "a wait leaves it readable");
}

/* Until the thread has begun to sleep, as far as one can see from outside. */
static void let_it_sleep(void)
{
    nanosleep(&(struct timespec){ 0, 2000000 }, NULL);
}

/* ---------------------------------------------------------------- when it is readable */

START_TEST(it_is_readable_when_a_message_comes_and_until_the_next_wait)
{
    for (uint64_t id = 0; id < 20; id++) {
        assert_nothing_there();
        if (id % 2)
            let_it_sleep();
        send_id(sender, id);
        ck_assert(is_readable(fd, SOON_MS));
        ck_assert(is_readable(fd, 0));
        assert_ready(&tag);
        receive_id(receiver, id);
    }
}
END_TEST

START_TEST(it_is_written_once_an_arming)
{
    uint64_t count = 0;
    assert_nothing_there();
    for (uint64_t id = 0; id < 5; id++)
        send_id(sender, id);
    ck_assert(is_readable(fd, SOON_MS));
    let_it_sleep();
    ck_assert_int_eq(read(fd, &count, sizeof count), sizeof count);
    ck_assert_uint_eq(count, 1);
    for (uint64_t id = 0; id < 5; id++)
        receive_id(receiver, id);
}
END_TEST

START_TEST(it_is_quiet_while_it_is_not_armed)
{
    void *ready[2];
    send_id(sender, 1);
    ck_assert(!is_readable(fd, QUIET_MS)); /* no wait has found nothing yet */
    assert_ready(&tag);
    send_id(sender, 2);
    ck_assert(!is_readable(fd, QUIET_MS));
    receive_id(receiver, 1);
    receive_id(receiver, 2);
    ck_assert_int_eq(numapool_waitset_wait(waitset, ready, 2, 1000000), -ETIMEDOUT);
    send_id(sender, 3);
    ck_assert(!is_readable(fd, QUIET_MS)); /* one that waited does not arm */
    receive_id(receiver, 3);
}
END_TEST

START_TEST(a_wake_makes_it_readable_and_the_wait_return_zero)
{
    void *ready[2];
    assert_nothing_there();
    let_it_sleep();
    ck_assert_int_eq(numapool_waitset_wake(waitset), 0);
    ck_assert(is_readable(fd, 0));
    ck_assert_int_eq(numapool_waitset_wait(waitset, ready, 2, NUMAPOOL_FOREVER), 0);
    ck_assert_int_eq(numapool_waitset_wake(waitset), 0); /* also while nothing is armed */
    ck_assert(is_readable(fd, 0));
    ck_assert_int_eq(numapool_waitset_wait(waitset, ready, 2, 0), 0);
    assert_nothing_there();
    ck_assert(!is_readable(fd, QUIET_MS));
}
END_TEST

START_TEST(an_event_of_a_pool_makes_it_readable)
{
    void *ready[2];
    ck_assert_int_eq(numapool_waitset_add_pool(waitset, pool, pool), 0);
    assert_nothing_there();
    np_store32(&pool->arenas[0].arena.header->ending, 1, memory_order_release);
    np_ring(&pool->arenas[0].arena.header->notices);
    ck_assert(is_readable(fd, SOON_MS));
    ck_assert_int_eq(numapool_waitset_wait(waitset, ready, 2, 0), 1);
    ck_assert_ptr_eq(ready[0], pool);
}
END_TEST

/* ---------------------------------------------------------------- while it is being armed */

/* In this thread alone: the other one makes accesses too. */
static pthread_t own_thread;
static unsigned at_step;

static void send_at_step(enum np_shm_kind kind, const volatile void *address, unsigned bytes, uint64_t value)
{
    (void)bytes;
    if (!pthread_equal(pthread_self(), own_thread))
        return;
    bool now = false;
    switch (at_step) {
    case 0: now = address == &receiver->endpoint.bell->ring; break; /* before the words are named */
    case 1: now = kind == NP_SHM_STORE && address == &receiver->lanes[0].shared->receiver_sleeps && value != 0; break;
    case 2: now = kind == NP_SHM_FENCE && value == 0 && waitset->flags_up; break; /* flags are up */
    case 3: now = kind == NP_SHM_LOAD && address == &waitset->wakes && waitset->flags_up; break; /* the second look begins */
    case 4: now = kind == NP_SHM_ADD && address == &waitset->watcher.orders && waitset->watcher.armed; break; /* it ends: armed */
    default: break;
    }
    if (!now)
        return;
    np_shm_hook = NULL;
    send_id(sender, 7);
}

START_TEST(a_message_that_comes_while_it_is_armed_is_told_by_one_of_both)
{
    void *ready[2];
    own_thread = pthread_self();
    at_step = (unsigned)_i;
    np_shm_hook = send_at_step;
    int result = numapool_waitset_wait(waitset, ready, 2, 0);
    ck_assert_msg(np_shm_hook == NULL, "the step was never made");
    ck_assert_int_eq(result, _i == 4 ? -EAGAIN : 1);
    if (result == -EAGAIN)
        ck_assert(is_readable(fd, SOON_MS));
    assert_ready(&tag);
    receive_id(receiver, 7);
}
END_TEST

static void wake_at_arming(enum np_shm_kind kind, const volatile void *address, unsigned bytes, uint64_t value)
{
    (void)bytes, (void)value;
    if (!pthread_equal(pthread_self(), own_thread) || kind != NP_SHM_ADD || address != &waitset->watcher.orders ||
        !waitset->watcher.armed)
        return;
    np_shm_hook = NULL;
    ck_assert_int_eq(numapool_waitset_wake(waitset), 0);
}

START_TEST(a_wake_that_comes_while_it_is_armed_is_told)
{
    void *ready[2];
    own_thread = pthread_self();
    np_shm_hook = wake_at_arming;
    ck_assert_int_eq(numapool_waitset_wait(waitset, ready, 2, 0), -EAGAIN);
    ck_assert(is_readable(fd, 0));
    ck_assert_int_eq(numapool_waitset_wait(waitset, ready, 2, 0), 0);
    assert_nothing_there();
}
END_TEST

/* ---------------------------------------------------------------- while it is armed */

START_TEST(a_receiver_of_an_armed_set_may_be_used_and_the_set_stays_armed)
{
    struct numapool_msg message;
    if (_i == 1)
        make_foreign(receiver);
    assert_nothing_there();
    ck_assert_int_eq(numapool_receive(receiver, &message, 1, 1000000), -ETIMEDOUT);
    let_it_sleep();
    send_id(sender, 1);
    ck_assert_msg(is_readable(fd, SOON_MS), "the receiver's own wait has taken the flags down");
    receive_id(receiver, 1);
}
END_TEST

START_TEST(a_lane_that_comes_to_an_armed_set_is_heard)
{
    assert_nothing_there();
    let_it_sleep();
    struct numapool_sender *second = open_sender(pool, "b");
    ck_assert(is_readable(fd, SOON_MS)); /* for the set to look, and to arm that lane too */
    assert_nothing_there();
    send_id(second, 4);
    ck_assert(is_readable(fd, SOON_MS));
    assert_ready(&other_tag);
    receive_id(other, 4);
    ck_assert_int_eq(numapool_sender_close(second, 0), 0);
}
END_TEST

START_TEST(a_lane_that_a_receiver_of_an_armed_set_finds_itself_is_heard)
{
    struct numapool_msg message;
    assert_nothing_there();
    let_it_sleep();
    struct numapool_sender *second = open_sender(pool, "b");
    ck_assert_int_eq(numapool_receive(other, &message, 1, 0), -EAGAIN); /* which asks for the news */
    send_id(second, 4);
    ck_assert(is_readable(fd, SOON_MS));
    assert_ready(&other_tag);
    receive_id(other, 4);
    ck_assert_int_eq(numapool_sender_close(second, 0), 0);
}
END_TEST

START_TEST(members_come_and_go_while_it_is_armed)
{
    assert_nothing_there();
    let_it_sleep();
    ck_assert_int_eq(numapool_waitset_remove(waitset, other), 0);
    ck_assert(is_readable(fd, 0)); /* for the set to arm anew */
    ck_assert_int_eq(numapool_receiver_close(other), 0);
    other = NULL;
    assert_nothing_there();
    let_it_sleep();
    struct numapool_receiver *third = open_receiver(pool, "c");
    struct numapool_sender *its_sender = open_sender(pool, "c");
    send_id(its_sender, 1);
    ck_assert_int_eq(numapool_waitset_add(waitset, third, third), 0);
    ck_assert_msg(is_readable(fd, 0), "a member that has a message was added, and nobody is told");
    assert_ready(third);
    receive_id(third, 1);
    ck_assert_int_eq(numapool_waitset_remove(waitset, third), 0);
    ck_assert_int_eq(numapool_receiver_close(third), 0);
    ck_assert_int_eq(numapool_sender_close(its_sender, 0), 0);
    assert_nothing_there();
    send_id(sender, 2);
    ck_assert(is_readable(fd, SOON_MS));
    receive_id(receiver, 2);
}
END_TEST

/* A foreign receiver's lane is one of the words, and goes when its orphan is drained: the broker unmaps it here. */
START_TEST(a_lane_that_goes_while_it_is_armed_harms_nothing)
{
    struct numapool_msg message;
    struct numapool_sender *leaves = open_sender(pool, "b");
    ck_assert_int_eq(numapool_receive(other, &message, 1, 0), -EAGAIN); /* the lane is known */
    make_foreign(other);
    assert_nothing_there();
    let_it_sleep();
    ck_assert_int_eq(numapool_sender_close(leaves, 0), 0);
    for (unsigned i = 0; i < 3; i++)
        ck_assert_int_eq(numapool_receive(other, &message, 1, 0), -EAGAIN); /* learns of it, and leaves it */
    ck_assert_uint_eq(other->order_count, 0);
    ck_assert(is_readable(fd, SOON_MS));
    assert_nothing_there();
    send_id(sender, 1);
    ck_assert(is_readable(fd, SOON_MS));
    receive_id(receiver, 1);
}
END_TEST

START_TEST(it_is_closed_whatever_its_thread_does)
{
    for (unsigned round = 0; round < 3; round++) {
        struct numapool_waitset *second = open_waitset();
        struct numapool_receiver *member = open_receiver(pool, "c");
        void *ready[1];
        ck_assert_int_eq(numapool_waitset_add(second, member, NULL), 0);
        ck_assert_int_ge(numapool_waitset_eventfd(second), 0);
        if (round > 0)
            ck_assert_int_eq(numapool_waitset_wait(second, ready, 1, 0), -EAGAIN);
        if (round > 1)
            let_it_sleep();
        ck_assert_int_eq(numapool_waitset_close(second), 0);
        ck_assert_int_eq(numapool_receiver_close(member), 0);
    }
}
END_TEST

static volatile sig_atomic_t handled_in_thread;

static void handler(int number)
{
    (void)number;
    handled_in_thread = (sig_atomic_t)syscall(SYS_gettid);
}

START_TEST(its_thread_takes_no_signals_of_the_program)
{
    sigset_t usr1, usual;
    assert_nothing_there();
    let_it_sleep();
    signal(SIGUSR1, handler);
    sigemptyset(&usr1);
    sigaddset(&usr1, SIGUSR1);
    ck_assert_int_eq(pthread_sigmask(SIG_BLOCK, &usr1, &usual), 0);
    ck_assert(!sigismember(&usual, SIGUSR1)); /* the caller's mask is as before */
    ck_assert_int_eq(kill(getpid(), SIGUSR1), 0); /* to whichever thread takes it */
    let_it_sleep();
    ck_assert_int_eq(handled_in_thread, 0);
    ck_assert_int_eq(pthread_sigmask(SIG_SETMASK, &usual, NULL), 0);
    ck_assert_int_eq(handled_in_thread, getpid());
}
END_TEST

START_TEST(it_is_written_where_the_kernel_refuses_the_calls_for_it)
{
    bool refused = refuse_call(SYS_futex_waitv, SECCOMP_RET_ERRNO | ENOSYS) &&
                   (_i == 0 || refuse_call(SYS_membarrier, SECCOMP_RET_ERRNO | EPERM));
    struct numapool_waitset *second = open_waitset(); /* a thread keeps the filters that it began with */
    if (!refused) {
        fprintf(stderr, "\n*** NOT RUN: it_is_written_where_the_kernel_refuses_the_calls_for_it: no seccomp filters here ***\n\n");
        return;
    }
    void *ready[1];
    ck_assert_int_eq(numapool_waitset_remove(waitset, receiver), 0);
    ck_assert_int_eq(numapool_waitset_add(second, receiver, &tag), 0);
    int its_fd = numapool_waitset_eventfd(second);
    ck_assert_int_eq(numapool_waitset_wait(second, ready, 1, 0), -EAGAIN);
    if (_i == 0)
        ck_assert_msg(!is_readable(its_fd, QUIET_MS), "a sleep that is bounded makes it readable in vain");
    send_id(sender, 1);
    ck_assert(is_readable(its_fd, SOON_MS));
    ck_assert_int_eq(numapool_waitset_wait(second, ready, 1, 0), 1);
    receive_id(receiver, 1);
    ck_assert_int_eq(numapool_waitset_close(second), 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("waitset_eventfd");
    TCase *readable = tcase_create("readable"), *armed = tcase_create("armed");
    TCase *all[] = { readable, armed };
    for (unsigned i = 0; i < 2; i++) {
        tcase_set_timeout(all[i], 20);
        tcase_add_checked_fixture(all[i], open_set, close_set);
        suite_add_tcase(suite, all[i]);
    }
    tcase_add_test(readable, it_is_readable_when_a_message_comes_and_until_the_next_wait);
    tcase_add_test(readable, it_is_written_once_an_arming);
    tcase_add_test(readable, it_is_quiet_while_it_is_not_armed);
    tcase_add_test(readable, a_wake_makes_it_readable_and_the_wait_return_zero);
    tcase_add_test(readable, an_event_of_a_pool_makes_it_readable);
    tcase_add_loop_test(readable, a_message_that_comes_while_it_is_armed_is_told_by_one_of_both, 0, 5);
    tcase_add_test(readable, a_wake_that_comes_while_it_is_armed_is_told);
    tcase_add_loop_test(armed, a_receiver_of_an_armed_set_may_be_used_and_the_set_stays_armed, 0, 2);
    tcase_add_test(armed, a_lane_that_comes_to_an_armed_set_is_heard);
    tcase_add_test(armed, a_lane_that_a_receiver_of_an_armed_set_finds_itself_is_heard);
    tcase_add_test(armed, members_come_and_go_while_it_is_armed);
    tcase_add_test(armed, a_lane_that_goes_while_it_is_armed_harms_nothing);
    tcase_add_test(armed, it_is_closed_whatever_its_thread_does);
    tcase_add_test(armed, its_thread_takes_no_signals_of_the_program);
    tcase_add_loop_test(armed, it_is_written_where_the_kernel_refuses_the_calls_for_it, 0, 2);
    return run_suite(suite);
}
