/* SPDX-License-Identifier: MIT
 * Who spins before it sleeps interrupts nobody, and what it can miss by that it finds out: in a wait's first sleep, which is bounded. */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "channel/receiver.h"
#include "channel/sender.h"
#include "channel_help.h"
#include "seccomp_help.h"

#define SPIN_NS (4 * NP_BELL_SETTLE_NS)
#define WAIT_NS INT64_C(3000000) /* shorter than the sleep after settling: there is one sleep in it */

static struct numapool_sender *sender;
static struct numapool_receiver *receiver;
static struct numapool_waitset *waitset;
static unsigned sleeps;

static void open_all(int64_t spin_ns)
{
    struct numapool_channel_options options = NUMAPOOL_CHANNEL_OPTIONS_INIT;
    options.spin_ns = spin_ns;
    options.lane_slots = 2;
    pool = make_pool(64, 0);
    ck_assert_int_eq(numapool_sender_open(pool, "c", &options, &sender), 0);
    ck_assert_int_eq(numapool_receiver_open(pool, "c", &options, &receiver), 0);
    ck_assert_int_eq(numapool_waitset_open(&waitset), 0);
    ck_assert_int_eq(numapool_waitset_add(waitset, receiver, receiver), 0);
    sleeps = 0;
}

static void close_all(void)
{
    np_sleep_hook = NULL;
    ck_assert_int_eq(numapool_waitset_close(waitset), 0);
    close_receiver(receiver);
    close_sender(sender);
    close_pool(pool);
}

/* ---------------------------------------------------------------- a message that nobody was woken for */

/* As if its sender had looked at the flag before it was up, and the sleeper at the cell before the message was there. */
static void send_unheard(void)
{
    np_shm32 *flag = &sender->lanes[0].shared->receiver_sleeps;
    np_store32(flag, NP_SLEEPS_NOT, memory_order_relaxed);
    ck_assert_int_eq(send_plain(sender, 7), 0);
    np_store32(flag, NP_SLEEPS_ON_BELL, memory_order_relaxed);
}

static int miss_in_the_first_sleep(const struct np_sleep *sleep, int64_t deadline_ns)
{
    ck_assert_uint_eq(sleeps++, 0);
    ck_assert_msg(deadline_ns <= np_deadline_ns(NP_BELL_SETTLED_NS), "what was missed is slept through for ever");
    ck_assert(!np_sleep_is_over(sleep));
    send_unheard();
    ck_assert(!np_sleep_is_over(sleep));
    return -ETIMEDOUT;
}

START_TEST(what_a_settled_sleeper_missed_is_found_after_its_first_sleep)
{
    void *ready;
    open_all(SPIN_NS);
    np_sleep_hook = miss_in_the_first_sleep;
    if (_i == 0) {
        struct numapool_msg message;
        ck_assert_int_eq(numapool_receive(receiver, &message, 1, NUMAPOOL_FOREVER), 1);
        release_one(receiver, &message);
    } else {
        ck_assert_int_eq(numapool_waitset_wait(waitset, &ready, 1, NUMAPOOL_FOREVER), 1);
        struct numapool_msg message = receive_one(receiver, 7);
        release_one(receiver, &message);
    }
    ck_assert_uint_eq(sleeps, 1);
    close_all();
}
END_TEST

/* A release that nobody was woken for. */
static int release_in_the_first_sleep(const struct np_sleep *sleep, int64_t deadline_ns)
{
    struct numapool_msg message;
    np_shm32 *flag = &sender->lanes[0].shared->sender_sleeps;
    ck_assert_uint_eq(sleeps++, 0);
    ck_assert_msg(deadline_ns <= np_deadline_ns(NP_BELL_SETTLED_NS), "what was missed is slept through for ever");
    np_store32(flag, NP_SLEEPS_NOT, memory_order_relaxed);
    message = receive_one(receiver, 0);
    release_one(receiver, &message);
    np_store32(flag, NP_SLEEPS_ON_BELL, memory_order_relaxed);
    ck_assert(!np_sleep_is_over(sleep));
    return -ETIMEDOUT;
}

START_TEST(room_that_a_settled_sleeper_missed_is_found_after_its_first_sleep)
{
    open_all(SPIN_NS);
    for (uint64_t id = 0; id < 2; id++)
        ck_assert_int_eq(send_plain(sender, id), 0);
    np_sleep_hook = release_in_the_first_sleep;
    ck_assert_int_eq(send_flagged(sender, 0, 2, 0, NUMAPOOL_FOREVER), 0);
    ck_assert_uint_eq(sleeps, 1);
    for (uint64_t id = 1; id < 3; id++) {
        struct numapool_msg message = receive_one(receiver, id);
        release_one(receiver, &message);
    }
    close_all();
}
END_TEST

/* ---------------------------------------------------------------- who is interrupted */

static int second_sleep_is_for_ever(const struct np_sleep *sleep, int64_t deadline_ns)
{
    (void)sleep;
    if (sleeps++ == 0)
        return -ETIMEDOUT;
    ck_assert_uint_eq(sleeps, 2);
    ck_assert_int_eq(deadline_ns, INT64_MAX);
    ck_assert_int_eq(send_plain(sender, 7), 0);
    ck_assert(np_sleep_is_over(sleep)); /* the flag is up again: it was rung */
    return 0;
}

START_TEST(who_was_not_rung_in_its_first_sleep_sleeps_on_for_as_long_as_it_takes)
{
    struct numapool_msg message;
    if (!np_bell_heavy_barrier()) {
        fprintf(stderr, "\n*** NOT RUN: who_was_not_rung_in_its_first_sleep_sleeps_on_for_as_long_as_it_takes: no membarrier here ***\n\n");
        return;
    }
    open_all(SPIN_NS);
    np_sleep_hook = second_sleep_is_for_ever;
    ck_assert_int_eq(numapool_receive(receiver, &message, 1, NUMAPOOL_FOREVER), 1);
    ck_assert_uint_eq(sleeps, 2);
    release_one(receiver, &message);
    close_all();
}
END_TEST

static void wait_once(void)
{
    struct numapool_msg message;
    void *ready;
    ck_assert_int_eq(numapool_receive(receiver, &message, 1, WAIT_NS), -ETIMEDOUT);
    ck_assert_int_eq(numapool_waitset_wait(waitset, &ready, 1, WAIT_NS), -ETIMEDOUT);
}

/* In a thread of its own: its filter is not that of who closes the pool, which has barriers too. */
static void *wait_without_barrier(void *argument)
{
    (void)argument;
    if (!refuse_call(SYS_membarrier, SECCOMP_RET_KILL_PROCESS))
        fprintf(stderr, "\n*** NOT RUN: who_spins_first_and_sleeps_once_interrupts_nobody: no seccomp filters here ***\n\n");
    else
        wait_once();
    return NULL;
}

START_TEST(who_spins_first_and_sleeps_once_interrupts_nobody)
{
    pthread_t thread;
    open_all(SPIN_NS);
    ck_assert_int_eq(pthread_create(&thread, NULL, wait_without_barrier, NULL), 0);
    pthread_join(thread, NULL);
    close_all();
}
END_TEST

/* The other half: without a spin there is nothing in which stores would settle. */
START_TEST(who_does_not_spin_has_the_barrier)
{
    open_all(_i == 0 ? -1 : NP_BELL_SETTLE_NS);
    if (refuse_call(SYS_membarrier, SECCOMP_RET_KILL_PROCESS))
        wait_once();
    else
        kill(getpid(), SIGSYS);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("settle");
    TCase *settled = tcase_create("settled");
    tcase_set_timeout(settled, 10);
    tcase_add_loop_test(settled, what_a_settled_sleeper_missed_is_found_after_its_first_sleep, 0, 2);
    tcase_add_test(settled, room_that_a_settled_sleeper_missed_is_found_after_its_first_sleep);
    tcase_add_test(settled, who_was_not_rung_in_its_first_sleep_sleeps_on_for_as_long_as_it_takes);
    tcase_add_test(settled, who_spins_first_and_sleeps_once_interrupts_nobody);
    tcase_add_loop_test_raise_signal(settled, who_does_not_spin_has_the_barrier, SIGSYS, 0, 2);
    suite_add_tcase(suite, settled);
    return run_suite(suite);
}
