/* SPDX-License-Identifier: MIT
 * Wait-sets: who is ready is told, in turn and until it is received; nothing that comes while the thread goes to sleep is slept
 * through; a wake ends a wait from anywhere. */
#include <pthread.h>
#include <signal.h>
#include <sys/syscall.h>

#include "channel/sender.h"
#include "seccomp_help.h"
#include "waitset_scene.h"

static void say_ending(void)
{
    struct np_arena_header *header = pool->arenas[0].arena.header;
    np_store32(&header->ending, 1, memory_order_release);
    np_ring(&header->notices);
}

/* ---------------------------------------------------------------- who is ready */

START_TEST(who_has_a_message_is_told_until_it_is_received)
{
    void *ready[CHANNELS] = { 0 };
    ck_assert_int_eq(numapool_waitset_wait(waitset, ready, CHANNELS, 0), -EAGAIN);
    send_id(senders[1], 7);
    for (unsigned i = 0; i < 3; i++) {
        ck_assert_int_eq(numapool_waitset_wait(waitset, ready, CHANNELS, i ? NUMAPOOL_FOREVER : 0), 1);
        ck_assert_ptr_eq(ready[0], &tags[1]);
    }
    struct numapool_msg message; /* received is enough, released it need not be */
    ck_assert_int_eq(numapool_receive(receivers[1], &message, 1, 0), 1);
    ck_assert_int_eq(numapool_waitset_wait(waitset, ready, CHANNELS, 0), -EAGAIN);
    ck_assert_int_eq(numapool_waitset_wait(waitset, ready, CHANNELS, 1000000), -ETIMEDOUT);
    ck_assert_int_eq(numapool_release(receivers[1], &message, 1), 0);
}
END_TEST

START_TEST(all_who_are_ready_are_told_at_once)
{
    void *ready[CHANNELS] = { 0 };
    for (unsigned i = 0; i < CHANNELS; i++)
        send_id(senders[i], i);
    ck_assert_int_eq(numapool_waitset_wait(waitset, ready, CHANNELS, 0), CHANNELS);
    for (unsigned i = 0; i < CHANNELS; i++) {
        ck_assert_ptr_eq(ready[i], &tags[i]);
        receive_id(receivers[i], i);
    }
}
END_TEST

START_TEST(the_busy_do_not_keep_others_from_their_turn)
{
    void *ready[2];
    for (unsigned i = 0; i < CHANNELS; i++)
        send_id(senders[i], i);
    for (unsigned round = 0; round < 7; round++) {
        ck_assert_int_eq(numapool_waitset_wait(waitset, ready, 1 + round % 2, 0), 1 + (int)(round % 2));
        ck_assert_ptr_eq(ready[0], &tags[round % CHANNELS]);
    }
    for (unsigned i = 0; i < CHANNELS; i++)
        receive_id(receivers[i], i);
}
END_TEST

START_TEST(looking_changes_nothing_for_the_receiver)
{
    struct numapool_sender *second = open_sender(pool, "a");
    void *ready[1];
    struct numapool_msg messages[8];
    for (uint64_t id = 0; id < 4; id++)
        send_id(id % 2 ? second : senders[0], id);
    for (unsigned i = 0; i < 3; i++)
        ck_assert_int_eq(numapool_waitset_wait(waitset, ready, 1, 0), 1);
    ck_assert_int_eq(numapool_receive(receivers[0], messages, 8, 0), 4);
    for (unsigned i = 0; i < 4; i++)
        ck_assert_uint_eq(messages[i].flags, 0);
    ck_assert_int_eq(numapool_release(receivers[0], messages, 4), 0);
    ck_assert_int_eq(numapool_sender_close(second, 0), 0);
}
END_TEST

START_TEST(a_scribbled_cell_is_left_for_receive_to_report)
{
    void *ready[1];
    struct numapool_msg message;
    send_id(senders[0], 1);
    struct np_sender_lane *lane = &senders[0]->lanes[0];
    np_store64(&lane->cells[0].what, UINT64_MAX >> 24, memory_order_release); /* an arena and a length that there is not */
    for (unsigned i = 0; i < 2; i++)
        ck_assert_int_eq(numapool_waitset_wait(waitset, ready, 1, 0), 1);
    ck_assert_int_eq(numapool_receive(receivers[0], &message, 1, 0), -EBADMSG);
    ck_assert_int_eq(numapool_waitset_wait(waitset, ready, 1, 0), -EAGAIN);
}
END_TEST

START_TEST(what_a_dead_or_departed_sender_left_is_told)
{
    void *ready[1];
    send_id(senders[2], 5);
    ck_assert_int_eq(numapool_sender_close(senders[2], 0), 1);
    ck_assert_int_eq(numapool_waitset_wait(waitset, ready, 1, NUMAPOOL_FOREVER), 1);
    ck_assert_ptr_eq(ready[0], &tags[2]);
    receive_id(receivers[2], 5);
    ck_assert_int_eq(numapool_waitset_wait(waitset, ready, 1, 0), -EAGAIN); /* and leaves the lane by the way */
    senders[2] = open_sender(pool, "c");
}
END_TEST

START_TEST(a_pool_is_ready_while_it_has_events)
{
    void *ready[2];
    struct numapool_event event = { .size = sizeof event };
    ck_assert_int_eq(numapool_waitset_add_pool(waitset, pool, pool), 0);
    ck_assert_int_eq(numapool_waitset_wait(waitset, ready, 2, 0), -EAGAIN);
    say_ending();
    for (unsigned i = 0; i < 2; i++) {
        ck_assert_int_eq(numapool_waitset_wait(waitset, ready, 2, NUMAPOOL_FOREVER), 1);
        ck_assert_ptr_eq(ready[0], pool);
    }
    ck_assert_int_eq(numapool_next_event(pool, &event, 0), 0);
    ck_assert_uint_eq(event.kind, NUMAPOOL_EVENT_ENDING);
    ck_assert_int_eq(numapool_waitset_wait(waitset, ready, 2, 1000000), -ETIMEDOUT);
    ASSERT_REFUSED(numapool_waitset_add_pool(waitset, pool, NULL), -EEXIST, "wait-set already");
}
END_TEST

/* ---------------------------------------------------------------- while it goes to sleep */

static unsigned sleeps;
static struct numapool_sender *latecomer;

/* In place of the sleep: what happens now must be one of the things slept on. */
static int send_as_it_sleeps(const struct np_sleep *sleep, int64_t deadline_ns)
{
    (void)deadline_ns;
    ck_assert(!np_sleep_is_over(sleep));
    send_id(senders[sleeps % CHANNELS], sleeps);
    ck_assert_msg(np_sleep_is_over(sleep), "it sleeps on while a message is there");
    sleeps++;
    return 0;
}

START_TEST(a_message_sent_as_it_falls_asleep_wakes_it)
{
    void *ready[1];
    /* _i 1: as receivers of a pool that is open read-only */
    for (unsigned i = 0; i < CHANNELS && _i == 1; i++)
        make_foreign(receivers[i]);
    np_sleep_hook = send_as_it_sleeps;
    for (unsigned i = 0; i < 2 * CHANNELS; i++) {
        ck_assert_int_eq(numapool_waitset_wait(waitset, ready, 1, NUMAPOOL_FOREVER), 1);
        ck_assert_uint_eq(sleeps, i + 1);
        ck_assert_ptr_eq(ready[0], &tags[i % CHANNELS]);
        receive_id(receivers[i % CHANNELS], i);
    }
}
END_TEST

static struct numapool_sender *of_kind;
static uint32_t kind_flags;

static int send_of_kind_as_it_sleeps(const struct np_sleep *sleep, int64_t deadline_ns)
{
    uint64_t payload = 5;
    struct numapool_msg message = { .data = kind_flags == NUMAPOOL_SMALL ? &payload : numapool_loan(of_kind), .length = 8, .id = 6 };
    (void)deadline_ns;
    ck_assert(!np_sleep_is_over(sleep));
    ck_assert_int_eq(numapool_send(of_kind, &message, 0), 0);
    ck_assert_msg(np_sleep_is_over(sleep), "it sleeps on while a message is there");
    return 0;
}

START_TEST(every_kind_of_lane_wakes_it)
{
    static const uint32_t kinds[] = { NUMAPOOL_SMALL, NUMAPOOL_BROADCAST };
    struct numapool_channel_options options = without_spinning();
    struct numapool_receiver *receiver = NULL;
    void *ready[1];
    options.flags = kind_flags = kinds[_i % 2];
    ck_assert_int_eq(numapool_receiver_open(pool, "kind", &options, &receiver), 0);
    ck_assert_int_eq(numapool_sender_open(pool, "kind", &options, &of_kind), 0);
    ck_assert_int_eq(numapool_waitset_add(waitset, receiver, receiver), 0);
    ck_assert_int_eq(numapool_waitset_wait(waitset, ready, 1, 0), -EAGAIN);
    if (_i >= 2)
        make_foreign(receiver);
    np_sleep_hook = send_of_kind_as_it_sleeps;
    for (unsigned i = 0; i < 2; i++) { /* and it stays until it is received */
        ck_assert_int_eq(numapool_waitset_wait(waitset, ready, 1, NUMAPOOL_FOREVER), 1);
        ck_assert_ptr_eq(ready[0], receiver);
    }
    receive_id(receiver, 6);
    ck_assert_int_eq(numapool_waitset_wait(waitset, ready, 1, 0), -EAGAIN);
    ck_assert_int_eq(numapool_waitset_remove(waitset, receiver), 0);
    ck_assert_int_eq(numapool_receiver_close(receiver), 0);
    ck_assert_int_eq(numapool_sender_close(of_kind, 0), 0);
}
END_TEST

/* Nobody sleeps any more: a sender is not to ring. */
START_TEST(who_is_awake_is_not_rung)
{
    void *ready[1];
    for (unsigned i = 0; i < CHANNELS && _i == 1; i++)
        make_foreign(receivers[i]);
    ck_assert_int_eq(numapool_waitset_wait(waitset, ready, 1, 1000000), -ETIMEDOUT);
    for (unsigned i = 0; i < CHANNELS; i++) {
        struct np_lane_shared *lane = receivers[i]->lanes[0].shared;
        uint32_t bell = np_load32(&receivers[i]->endpoint.bell->ring, memory_order_relaxed);
        uint32_t ring = np_load32(&lane->receiver_ring, memory_order_relaxed);
        send_id(senders[i], 9);
        ck_assert_uint_eq(np_load32(&receivers[i]->endpoint.bell->ring, memory_order_relaxed), bell);
        ck_assert_uint_eq(np_load32(&lane->receiver_ring, memory_order_relaxed), ring);
        receive_id(receivers[i], 9);
    }
}
END_TEST

static int must_not_sleep(const struct np_sleep *sleep, int64_t deadline_ns)
{
    (void)sleep, (void)deadline_ns;
    ck_abort_msg("it sleeps though something is there");
    return 0;
}

static void send_before_its_flag(enum np_shm_kind kind, const volatile void *address, unsigned bytes, uint64_t value)
{
    (void)bytes, (void)value;
    if (kind != NP_SHM_STORE || address != &receivers[2]->lanes[0].shared->receiver_sleeps)
        return;
    np_shm_hook = NULL; /* the set has looked, and this receiver's flag is not up yet: nobody rings */
    send_id(senders[2], 3);
}

START_TEST(a_message_sent_before_the_flags_is_found_by_the_second_look)
{
    void *ready[1];
    np_shm_hook = send_before_its_flag;
    np_sleep_hook = must_not_sleep;
    ck_assert_int_eq(numapool_waitset_wait(waitset, ready, 1, NUMAPOOL_FOREVER), 1);
    ck_assert_ptr_eq(ready[0], &tags[2]);
    receive_id(receivers[2], 3);
}
END_TEST

static void sender_comes_with_the_barrier(enum np_shm_kind kind, const volatile void *address, unsigned bytes, uint64_t value)
{
    (void)address, (void)bytes;
    if (kind != NP_SHM_FENCE || value != 0 || !waitset->flags_up)
        return;
    np_shm_hook = NULL; /* flags are up, the second look is to come: it asks for the news, and gets a lane without a flag */
    latecomer = open_sender(pool, "b");
}

static int latecomer_sends(const struct np_sleep *sleep, int64_t deadline_ns)
{
    (void)deadline_ns;
    ck_assert_ptr_nonnull(latecomer);
    ck_assert(!np_sleep_is_over(sleep));
    send_id(latecomer, 8);
    ck_assert_msg(np_sleep_is_over(sleep), "a lane that came while it armed does not wake it");
    np_sleep_hook = NULL;
    return 0;
}

START_TEST(a_lane_that_comes_before_the_second_look_is_heard)
{
    void *ready[1];
    for (unsigned i = 0; i < CHANNELS && _i == 1; i++)
        make_foreign(receivers[i]);
    np_shm_hook = sender_comes_with_the_barrier;
    np_sleep_hook = latecomer_sends;
    ck_assert_int_eq(numapool_waitset_wait(waitset, ready, 1, NUMAPOOL_FOREVER), 1);
    ck_assert_ptr_eq(ready[0], &tags[1]);
    receive_id(receivers[1], 8);
    ck_assert_int_eq(numapool_sender_close(latecomer, 0), 0);
}
END_TEST

static int sender_comes_as_it_sleeps(const struct np_sleep *sleep, int64_t deadline_ns)
{
    (void)deadline_ns;
    latecomer = open_sender(pool, "b");
    ck_assert_msg(np_sleep_is_over(sleep), "it sleeps on, and does not know a lane of its own");
    np_sleep_hook = latecomer_sends;
    return 0;
}

START_TEST(a_lane_that_comes_as_it_falls_asleep_is_heard)
{
    void *ready[1];
    np_sleep_hook = sender_comes_as_it_sleeps;
    ck_assert_int_eq(numapool_waitset_wait(waitset, ready, 1, NUMAPOOL_FOREVER), 1);
    receive_id(receivers[1], 8);
    ck_assert_int_eq(numapool_sender_close(latecomer, 0), 0);
}
END_TEST

static int asked_lanes;

/* The daemon's worker answers late. */
static int does_not_answer(void *context, uint32_t endpoint, uint64_t stamp, struct np_lane_grant *grant)
{
    (void)context, (void)endpoint, (void)stamp, (void)grant;
    asked_lanes++;
    return -ETIMEDOUT;
}

static void news_with_the_barrier(enum np_shm_kind kind, const volatile void *address, unsigned bytes, uint64_t value)
{
    (void)address, (void)bytes;
    if (kind != NP_SHM_FENCE || value != 0 || !waitset->flags_up)
        return;
    np_shm_hook = NULL; /* the bell was rung before its word was named */
    np_add32(&receivers[1]->endpoint.bell->news, 1, memory_order_release);
}

static int sleeps_bounded(const struct np_sleep *sleep, int64_t deadline_ns)
{
    (void)sleep;
    ck_assert_int_eq(asked_lanes, 1);
    ck_assert_msg(deadline_ns <= np_deadline_ns(NP_SYNC_RETRY_MAX_NS), "it sleeps on what it asked in vain, and nobody rings again");
    np_sleep_hook = NULL;
    send_id(senders[1], 9);
    return 0;
}

START_TEST(what_the_second_look_asked_in_vain_is_asked_again)
{
    struct np_authority silent = *pool->authority;
    const struct np_authority *const real = pool->authority;
    void *ready[1];
    silent.next_lane = does_not_answer;
    pool->authority = &silent;
    np_shm_hook = news_with_the_barrier;
    np_sleep_hook = sleeps_bounded;
    ck_assert_int_eq(numapool_waitset_wait(waitset, ready, 1, NUMAPOOL_FOREVER), 1);
    pool->authority = real;
    receive_id(receivers[1], 9);
}
END_TEST

static int event_as_it_sleeps(const struct np_sleep *sleep, int64_t deadline_ns)
{
    (void)deadline_ns;
    say_ending();
    ck_assert_msg(np_sleep_is_over(sleep), "it sleeps on while an event is there");
    return 0;
}

START_TEST(an_event_as_it_falls_asleep_wakes_it)
{
    void *ready[1];
    ck_assert_int_eq(numapool_waitset_add_pool(waitset, pool, pool), 0);
    np_sleep_hook = event_as_it_sleeps;
    ck_assert_int_eq(numapool_waitset_wait(waitset, ready, 1, NUMAPOOL_FOREVER), 1);
    ck_assert_ptr_eq(ready[0], pool);
}
END_TEST

static unsigned rings;

static int ring_in_vain(const struct np_sleep *sleep, int64_t deadline_ns)
{
    (void)sleep, (void)deadline_ns;
    np_bell_ring(receivers[0]->endpoint.bell);
    if (rings++ % 1000 == 999)
        nanosleep(&(struct timespec){ 0, 1000000 }, NULL);
    return 0;
}

START_TEST(a_wait_times_out_however_often_it_is_rung)
{
    void *ready[1];
    np_sleep_hook = ring_in_vain;
    ck_assert_int_eq(numapool_waitset_wait(waitset, ready, 1, 3000000), -ETIMEDOUT);
}
END_TEST

/* ---------------------------------------------------------------- wake */

START_TEST(a_wake_ends_the_next_wait_once)
{
    void *ready[1];
    send_id(senders[0], 1);
    ck_assert_int_eq(numapool_waitset_wake(waitset), 0);
    ck_assert_int_eq(numapool_waitset_wake(waitset), 0);
    ck_assert_int_eq(numapool_waitset_wait(waitset, ready, 1, NUMAPOOL_FOREVER), 0); /* also beside messages */
    ck_assert_int_eq(numapool_waitset_wait(waitset, ready, 1, NUMAPOOL_FOREVER), 1);
    receive_id(receivers[0], 1);
    ck_assert_int_eq(numapool_waitset_wait(waitset, ready, 1, 0), -EAGAIN);
    ck_assert_int_eq(numapool_waitset_wake(waitset), 0);
    ck_assert_int_eq(numapool_waitset_wait(waitset, ready, 1, 0), 0);
}
END_TEST

static int wake_as_it_sleeps(const struct np_sleep *sleep, int64_t deadline_ns)
{
    (void)deadline_ns;
    ck_assert_int_eq(numapool_waitset_wake(waitset), 0);
    ck_assert_msg(np_sleep_is_over(sleep), "it sleeps on though it was woken");
    return 0;
}

START_TEST(a_wake_as_it_falls_asleep_is_heard)
{
    void *ready[1];
    np_sleep_hook = wake_as_it_sleeps;
    ck_assert_int_eq(numapool_waitset_wait(waitset, ready, 1, NUMAPOOL_FOREVER), 0);
}
END_TEST

static void *wait_for_ever(void *argument)
{
    void *ready[1];
    return (void *)(intptr_t)numapool_waitset_wait(argument, ready, 1, NUMAPOOL_FOREVER);
}

static void until_it_sleeps(void)
{
    while (np_load32(&receivers[0]->lanes[0].shared->receiver_sleeps, memory_order_acquire) == NP_SLEEPS_NOT)
        sched_yield();
    nanosleep(&(struct timespec){ 0, 3000000 }, NULL);
}

START_TEST(a_wake_from_another_thread_ends_the_wait)
{
    pthread_t thread;
    void *result;
    ck_assert_int_eq(pthread_create(&thread, NULL, wait_for_ever, waitset), 0);
    until_it_sleeps();
    ck_assert_int_eq(numapool_waitset_wake(waitset), 0);
    pthread_join(thread, &result);
    ck_assert_ptr_null(result);
}
END_TEST

static volatile sig_atomic_t errno_kept;

static void wake_in_handler(int number)
{
    (void)number;
    errno = 4711;
    int result = numapool_waitset_wake(waitset);
    errno_kept = result == 0 && errno == 4711;
}

/* Real sleeps with all words of three receivers, ended by the handler that interrupts them. */
START_TEST(a_wake_from_a_signal_handler_ends_the_wait)
{
    struct sigaction action = { .sa_handler = wake_in_handler, .sa_flags = _i == 1 ? SA_RESTART : 0 };
    pthread_t thread;
    void *result;
    ck_assert_int_eq(sigaction(SIGUSR1, &action, NULL), 0);
    ck_assert_int_eq(pthread_create(&thread, NULL, wait_for_ever, waitset), 0);
    until_it_sleeps();
    ck_assert_int_eq(pthread_kill(thread, SIGUSR1), 0);
    pthread_join(thread, &result);
    ck_assert_ptr_null(result);
    ck_assert(errno_kept);
}
END_TEST

/* A container may refuse futex_waitv, and membarrier too. */
START_TEST(it_waits_where_the_kernel_refuses_the_calls_for_it)
{
    void *ready[1];
    pthread_t thread;
    void *result;
    if (!refuse_call(SYS_futex_waitv, SECCOMP_RET_ERRNO | ENOSYS) || (_i == 1 && !refuse_call(SYS_membarrier, SECCOMP_RET_ERRNO | EPERM))) {
        fprintf(stderr, "\n*** NOT RUN: it_waits_where_the_kernel_refuses_the_calls_for_it: no seccomp filters here ***\n\n");
        return;
    }
    ck_assert_int_eq(numapool_waitset_wait(waitset, ready, 1, 2000000), -ETIMEDOUT);
    ck_assert_int_eq(pthread_create(&thread, NULL, wait_for_ever, waitset), 0);
    nanosleep(&(struct timespec){ 0, 5000000 }, NULL);
    send_id(senders[2], 1);
    pthread_join(thread, &result);
    ck_assert_int_eq((int)(intptr_t)result, 1);
    receive_id(receivers[2], 1);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("waitset");
    TCase *ready = tcase_create("ready"), *asleep = tcase_create("asleep");
    TCase *all[] = { ready, asleep };
    for (unsigned i = 0; i < 2; i++) {
        tcase_set_timeout(all[i], 10);
        tcase_add_checked_fixture(all[i], open_all, close_all);
        suite_add_tcase(suite, all[i]);
    }
    tcase_add_test(ready, who_has_a_message_is_told_until_it_is_received);
    tcase_add_test(ready, all_who_are_ready_are_told_at_once);
    tcase_add_test(ready, the_busy_do_not_keep_others_from_their_turn);
    tcase_add_test(ready, looking_changes_nothing_for_the_receiver);
    tcase_add_test(ready, a_scribbled_cell_is_left_for_receive_to_report);
    tcase_add_test(ready, what_a_dead_or_departed_sender_left_is_told);
    tcase_add_test(ready, a_pool_is_ready_while_it_has_events);
    tcase_add_loop_test(asleep, a_message_sent_as_it_falls_asleep_wakes_it, 0, 2);
    tcase_add_loop_test(asleep, every_kind_of_lane_wakes_it, 0, 4);
    tcase_add_loop_test(asleep, who_is_awake_is_not_rung, 0, 2);
    tcase_add_test(asleep, a_message_sent_before_the_flags_is_found_by_the_second_look);
    tcase_add_loop_test(asleep, a_lane_that_comes_before_the_second_look_is_heard, 0, 2);
    tcase_add_test(asleep, a_lane_that_comes_as_it_falls_asleep_is_heard);
    tcase_add_test(asleep, what_the_second_look_asked_in_vain_is_asked_again);
    tcase_add_test(asleep, an_event_as_it_falls_asleep_wakes_it);
    tcase_add_test(asleep, a_wait_times_out_however_often_it_is_rung);
    tcase_add_test(asleep, a_wake_ends_the_next_wait_once);
    tcase_add_test(asleep, a_wake_as_it_falls_asleep_is_heard);
    tcase_add_test(asleep, a_wake_from_another_thread_ends_the_wait);
    tcase_add_loop_test(asleep, a_wake_from_a_signal_handler_ends_the_wait, 0, 2);
    tcase_add_loop_test(asleep, it_waits_where_the_kernel_refuses_the_calls_for_it, 0, 2);
    return run_suite(suite);
}
