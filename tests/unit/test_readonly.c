/* SPDX-License-Identifier: MIT
 * Those who open a pool read-only: who may, what they can do, and what their deaths leave. test_reach.c: that they can do
 * no more. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "readonly_help.h"

/* ---------------------------------------------------------------- receiving */

static void receive_numbers(struct numapool_receiver *receiver, unsigned first, unsigned count)
{
    for (unsigned done = 0; done < count;) {
        struct numapool_msg messages[8];
        int n = numapool_receive(receiver, messages, count - done < 8 ? count - done : 8, 10 * SECOND_NS);
        works(n);
        for (int i = 0; i < n; i++, done++) {
            ck_assert_uint_eq(messages[i].id, first + done);
            ck_assert_mem_eq(messages[i].data, &(uint32_t){ first + done }, sizeof(uint32_t));
        }
        works(numapool_release(receiver, messages, (unsigned)n));
    }
}

static void receive_all(void)
{
    struct numapool_receiver *receiver;
    client = connected();
    pool = opened(client, "pay", NUMAPOOL_READONLY);
    ck_assert_int_eq(numapool_pool_mode(pool), NUMAPOOL_MODE_READONLY);
    works(numapool_receiver_open(pool, "c", NULL, &receiver));
    receive_numbers(receiver, 0, 1000);
    works(numapool_receiver_close(receiver));
    works(numapool_close(pool));
    works(numapool_disconnect(client));
}

START_TEST(another_user_receives_and_releases)
{
    if (!may_change_user("another_user_receives_and_releases"))
        return;
    begin_sending();
    pid_t reader = start_as(READER, receive_all);
    send_numbers(0, 1000); /* four times the pool: what is released comes back */
    ends_well(reader);
    end_sending();
}
END_TEST

START_TEST(who_may_write_may_read_only_too)
{
    begin_sending();
    pid_t reader = start_as(getuid(), receive_all);
    send_numbers(0, 1000);
    ends_well(reader);
    end_sending();
}
END_TEST

/* ---------------------------------------------------------------- who may open what */

static void open_as_reader(void)
{
    struct numapool_pool *it;
    client = connected();
    fails(numapool_open(client, "pay", 0, &it), -EACCES, "its access list says readonly");
    fails(numapool_open(client, "other", NUMAPOOL_READONLY, &it), -EACCES, "access list does not name him");
    fails(numapool_open(client, "other", 0, &it), -EACCES, "access list does not name him");
    works(numapool_open(client, "pay", NUMAPOOL_READONLY, &it));
    works(numapool_close(it));
    works(numapool_disconnect(client));
}

static void open_as_writer(void)
{
    struct numapool_magazine *magazine;
    client = connected();
    pool = opened(client, "pay", 0);
    works(numapool_magazine_open(pool, NUMAPOOL_ANY_NODE, 0, &magazine));
    void *slot = numapool_get(magazine);
    ck_assert_ptr_nonnull(slot);
    memset(slot, 7, 128);
    works(numapool_put(magazine, slot));
    works(numapool_magazine_close(magazine));
    works(numapool_close(pool));
    works(numapool_disconnect(client));
}

static void connect_as_stranger(void)
{
    fails(numapool_connect(&client, socket_path), -EACCES, "no access list of it names user 65531");
}

static void open_as_member(void)
{
    become(MEMBER, GROUP);
    open_as_reader();
}

START_TEST(each_user_gets_what_the_lists_say)
{
    if (!may_change_user("each_user_gets_what_the_lists_say"))
        return;
    as(READER, open_as_reader);
    as(WRITER, open_as_writer);
    as(STRANGER, connect_as_stranger);
    as(0, open_as_member);
}
END_TEST

START_TEST(a_pool_is_open_in_one_way_at_a_time)
{
    struct numapool_pool *reading, *writing, *again;
    client = connected();
    reading = opened(client, "pay", NUMAPOOL_READONLY);
    writing = opened(client, "other", 0);
    fails(numapool_open(client, "pay", 0, &again), -EBUSY, "open here read-only");
    fails(numapool_open(client, "other", NUMAPOOL_READONLY, &again), -EBUSY, "open here to be written to");
    again = opened(client, "pay", NUMAPOOL_READONLY | NUMAPOOL_PREFAULT);
    ck_assert_ptr_eq(again, reading);
    works(numapool_close(again));
    works(numapool_close(reading));
    works(numapool_close(opened(client, "pay", 0)));
    works(numapool_close(writing));
    works(numapool_disconnect(client));
}
END_TEST

START_TEST(every_call_that_needs_more_says_so)
{
    struct numapool_receiver *receiver;
    struct numapool_sender *none;
    struct numapool_magazine *magazine;
    struct numapool_stats stats = { .size = sizeof stats };
    struct numapool_msg message;
    numapool_handle handle = { 0 };
    uint64_t pages;
    void *slot;
    begin_sending();
    struct numapool_client *other = connected();
    struct numapool_pool *readonly = opened(other, "pay", NUMAPOOL_READONLY);
    works(numapool_receiver_open(readonly, "c", NULL, &receiver));
    send_numbers(5, 1);
    ck_assert_int_eq(numapool_receive(receiver, &message, 1, 10 * SECOND_NS), 1);

    fails(numapool_magazine_open(readonly, NUMAPOOL_ANY_NODE, 0, &magazine), -EROFS, "read-only");
    fails(numapool_sender_open(readonly, "c", NULL, &none), -EROFS, "read-only");
    fails(numapool_keep(receiver, &message), -EROFS, "read-only");
    fails(numapool_forward(receiver, &message, sender, 0), -EROFS, "read-only");
    fails(numapool_handle_of(readonly, message.data, &handle), -EROFS, "read-only");
    fails(numapool_resolve(readonly, handle, &slot), -EROFS, "read-only");
    fails(numapool_stats_read(readonly, NUMAPOOL_ANY_NODE, &stats), -EROFS, "read-only");
    fails(numapool_verify(readonly, &pages), -EROFS, "read-only");
    /* and what does not, does not */
    ck_assert_uint_eq(numapool_slot_bytes(readonly), 128);
    works(numapool_slot_node(readonly, message.data));
    works(numapool_release(receiver, &message, 1));
    works(numapool_receiver_close(receiver));
    works(numapool_close(readonly));
    works(numapool_disconnect(other));
    end_sending();
}
END_TEST

/* ---------------------------------------------------------------- deaths */

static void receive_for_ever(void)
{
    struct numapool_receiver *receiver;
    struct numapool_msg message;
    client = connected();
    pool = opened(client, "pay", NUMAPOOL_READONLY);
    works(numapool_receiver_open(pool, "c", NULL, &receiver));
    while (numapool_receive(receiver, &message, 1, NUMAPOOL_FOREVER) == 1 && message.id < 10)
        works(numapool_release(receiver, &message, 1));
    raise(SIGKILL); /* with one received and not released */
}

START_TEST(what_a_killed_one_had_not_released_is_received_by_the_next)
{
    int status;
    begin_sending();
    pid_t reader = start_as(geteuid() == 0 ? READER : getuid(), receive_for_ever);
    send_numbers(0, 20);
    ck_assert_int_eq(waitpid(reader, &status, 0), reader);
    ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    struct numapool_receiver *receiver;
    struct numapool_msg messages[20];
    works(numapool_receiver_open(pool, "c", NULL, &receiver));
    unsigned count = 0;
    while (count < 10) {
        int n = numapool_receive(receiver, messages + count, 10 - count, 10 * SECOND_NS);
        works(n);
        count += (unsigned)n;
    }
    for (unsigned i = 0; i < count; i++)
        ck_assert_uint_eq(messages[i].id, 10 + i);
    ck_assert_uint_eq(messages[0].flags & NUMAPOOL_REDELIVERED, NUMAPOOL_REDELIVERED);
    works(numapool_release(receiver, messages, count));
    works(numapool_receiver_close(receiver));
    end_sending();
}
END_TEST

static void receive_two_hundred(void)
{
    struct numapool_receiver *receiver;
    client = connected();
    pool = opened(client, "pay", NUMAPOOL_READONLY);
    works(numapool_receiver_open(pool, "c", NULL, &receiver));
    receive_numbers(receiver, 0, 100); /* of one sender, and after the worker's death of another, that it must hear of */
    receive_numbers(receiver, 100, 100);
    works(numapool_receiver_close(receiver));
    works(numapool_close(pool));
    works(numapool_disconnect(client));
}

START_TEST(news_is_heard_from_the_next_worker_too)
{
    begin_sending();
    pid_t reader = start_as(geteuid() == 0 ? READER : getuid(), receive_two_hundred);
    send_numbers(0, 100);
    ck_assert_int_eq(numapool_sender_close(sender, 10 * SECOND_NS), 0);
    kill_worker();
    works(numapool_sender_open(pool, "c", NULL, &sender));
    send_numbers(100, 100);
    ends_well(reader);
    end_sending();
}
END_TEST

int main(void)
{
    if (!find_program()) {
        fprintf(stderr, "numapoold is not built: set NUMAPOOL_BUILD to where it is\n");
        return 77;
    }
    Suite *suite = suite_create("readonly");
    TCase *use = tcase_create("use");
    tcase_add_checked_fixture(use, start, end_daemon);
    tcase_set_timeout(use, 60);
    tcase_add_test(use, another_user_receives_and_releases);
    tcase_add_test(use, who_may_write_may_read_only_too);
    tcase_add_test(use, each_user_gets_what_the_lists_say);
    tcase_add_test(use, a_pool_is_open_in_one_way_at_a_time);
    tcase_add_test(use, every_call_that_needs_more_says_so);
    suite_add_tcase(suite, use);
    TCase *deaths = tcase_create("deaths");
    tcase_add_checked_fixture(deaths, start, end_daemon);
    tcase_set_timeout(deaths, 60);
    tcase_add_test(deaths, what_a_killed_one_had_not_released_is_received_by_the_next);
    tcase_add_test(deaths, news_is_heard_from_the_next_worker_too);
    suite_add_tcase(suite, deaths);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed > 0;
}
