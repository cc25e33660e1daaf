/* SPDX-License-Identifier: MIT
 * Broadcast: every receiver gets everything that was sent after it joined, and every slot comes home once. */
#include "broadcast_help.h"

static struct numapool_pool *pool;

static void make(void)
{
    pool = make_pool(64, 0);
}

static void unmake(void)
{
    close_pool(pool);
}

START_TEST(every_receiver_gets_everything_sent_after_it_joined)
{
    struct numapool_sender *sender = open_sender(pool);
    struct numapool_receiver *receivers[4];
    send_ids(sender, 0, 20); /* nobody is there: they come home at once, and there is always room */
    for (unsigned joined = 0; joined < 4; joined++) {
        receivers[joined] = open_receiver(pool);
        for (unsigned round = 0; round < 5; round++) {
            uint64_t from = 100 * joined + 7 * round;
            send_ids(sender, from, from + 7);
            for (unsigned i = 0; i <= joined; i++)
                receive_and_release(receivers[i], from, from + 7);
        }
    }
    ck_assert_int_eq(numapool_sender_close(sender, 0), 0);
    for (unsigned i = 0; i < 4; i++)
        ck_assert_int_eq(numapool_receiver_close(receivers[i]), 0);
}
END_TEST

START_TEST(two_senders_have_each_its_own_order)
{
    struct numapool_sender *first = open_sender(pool), *second = open_sender(pool);
    struct numapool_receiver *receivers[2] = { open_receiver(pool), open_receiver(pool) };
    send_ids(first, 0, 3);
    send_ids(second, 10, 13);
    for (unsigned i = 0; i < 2; i++) {
        struct numapool_msg messages[6];
        uint64_t next[2] = { 0, 10 };
        ck_assert_int_eq(numapool_receive(receivers[i], messages, 6, 0), 6);
        for (unsigned m = 0; m < 6; m++)
            ck_assert_uint_eq(messages[m].id, next[messages[m].id >= 10]++);
        release(receivers[i], messages, 6);
    }
    ck_assert_int_eq(numapool_sender_close(first, 0), 0);
    ck_assert_int_eq(numapool_sender_close(second, 0), 0);
    for (unsigned i = 0; i < 2; i++)
        ck_assert_int_eq(numapool_receiver_close(receivers[i]), 0);
}
END_TEST

START_TEST(the_slowest_holds_the_sender_back_and_nothing_is_dropped)
{
    struct numapool_sender *sender = open_sender(pool);
    struct numapool_receiver *fast = open_receiver(pool), *slow = open_receiver(pool);
    struct numapool_msg kept[LANE_SLOTS];
    for (uint64_t id = 0; id < LANE_SLOTS; id++) {
        send_ids(sender, id, id + 1);
        receive_and_release(fast, id, id + 1);
    }
    ASSERT_REFUSED(send_one(sender, LANE_SLOTS), -EAGAIN, "has not released");
    receive_ids(slow, kept, 0, LANE_SLOTS);
    release(slow, kept + 1, LANE_SLOTS - 1);
    ASSERT_REFUSED(send_one(sender, LANE_SLOTS), -EAGAIN, "has not released");
    assert_are(kept, 0, 1); /* the eldest is still as it was sent */
    release(slow, kept, 1);
    send_ids(sender, LANE_SLOTS, LANE_SLOTS + 1);
    receive_and_release(fast, LANE_SLOTS, LANE_SLOTS + 1);
    receive_and_release(slow, LANE_SLOTS, LANE_SLOTS + 1);
    ck_assert_int_eq(numapool_sender_close(sender, NUMAPOOL_FOREVER), 0);
    ck_assert_int_eq(numapool_receiver_close(fast), 0);
    ck_assert_int_eq(numapool_receiver_close(slow), 0);
}
END_TEST

START_TEST(a_receiver_that_leaves_holds_nothing_back)
{
    struct numapool_sender *sender = open_sender(pool);
    struct numapool_receiver *stays = open_receiver(pool), *leaves = open_receiver(pool);
    struct numapool_msg messages[LANE_SLOTS];
    send_ids(sender, 0, LANE_SLOTS);
    receive_and_release(stays, 0, LANE_SLOTS);
    ck_assert_int_eq(numapool_receive(leaves, messages, 3, 0), 3);
    ck_assert_int_eq(send_one(sender, LANE_SLOTS), -EAGAIN);
    ck_assert_int_eq(numapool_receiver_close(leaves), 0);
    send_ids(sender, LANE_SLOTS, LANE_SLOTS + 5);
    receive_and_release(stays, LANE_SLOTS, LANE_SLOTS + 5);
    ck_assert_int_eq(numapool_sender_close(sender, NUMAPOOL_FOREVER), 0);
    ck_assert_int_eq(numapool_receiver_close(stays), 0);
}
END_TEST

/* A getter of the sender's magazine finds what only one had who has left. */
START_TEST(slots_of_one_who_left_can_be_had_without_a_send)
{
    struct numapool_channel_options options = broadcasting();
    struct numapool_magazine *magazine = open_magazine(pool, 4);
    struct numapool_sender *sender = NULL;
    void *slots[64], *more;
    unsigned got = 0;
    options.magazine = magazine;
    ck_assert_int_eq(numapool_sender_open(pool, "b", &options, &sender), 0);
    struct numapool_receiver *receiver = open_receiver(pool);
    send_ids(sender, 0, LANE_SLOTS);
    while ((more = numapool_get(magazine)) != NULL)
        slots[got++] = more;
    ck_assert_uint_le(got, 64 - LANE_SLOTS);
    ck_assert_int_eq(numapool_receiver_close(receiver), 0);
    ck_assert_int_eq(numapool_get_wait(magazine, &more, 0), 0);
    ck_assert_int_eq(numapool_put(magazine, more), 0);
    ck_assert_int_eq(numapool_put_bulk(magazine, slots, got), 0);
    ck_assert_int_eq(numapool_sender_close(sender, 0), 0);
    ck_assert_int_eq(numapool_magazine_close(magazine), 0);
}
END_TEST

START_TEST(what_others_read_is_not_kept_nor_forwarded)
{
    struct numapool_sender *sender = open_sender(pool), *plain;
    struct numapool_receiver *receiver = open_receiver(pool);
    struct numapool_msg messages[2];
    ck_assert_int_eq(numapool_sender_open(pool, "plain", NULL, &plain), 0);
    send_ids(sender, 0, 1);
    receive_ids(receiver, messages, 0, 1);
    ASSERT_REFUSED(numapool_keep(receiver, messages), -EINVAL, "copy it");
    ASSERT_REFUSED(numapool_forward(receiver, messages, plain, 0), -EINVAL, "copy it");
    release(receiver, messages, 1);
    ASSERT_REFUSED(numapool_release(receiver, messages, 1), -EINVAL, "not an unreleased");
    struct numapool_msg elsewhere = { .data = messages, .length = 1 }, twice = { .data = numapool_loan(sender), .length = 999 };
    ASSERT_REFUSED(numapool_send(sender, &elsewhere, 0), -EINVAL, "not the beginning");
    ASSERT_REFUSED(numapool_send(sender, &twice, 0), -EINVAL, "does not fit");
    twice.length = 8;
    struct numapool_msg both[2] = { twice, twice };
    ck_assert_int_eq(numapool_send_bulk(sender, both, 2, 0), 1); /* the second was broadcast already */
    ck_assert_int_eq(numapool_receive(receiver, messages, 2, 0), 1);
    release(receiver, messages, 1);
    ck_assert_int_eq(numapool_sender_close(plain, 0), 0);
    ck_assert_int_eq(numapool_sender_close(sender, 0), 0);
    ck_assert_int_eq(numapool_receiver_close(receiver), 0);
}
END_TEST

START_TEST(what_one_received_can_be_forwarded_to_all)
{
    struct numapool_sender *first = NULL, *sender = open_sender(pool);
    struct numapool_receiver *middle = NULL, *receivers[2] = { open_receiver(pool), open_receiver(pool) };
    struct numapool_msg messages[3];
    ck_assert_int_eq(numapool_sender_open(pool, "plain", NULL, &first), 0);
    ck_assert_int_eq(numapool_receiver_open(pool, "plain", NULL, &middle), 0);
    send_ids(first, 0, 3);
    ck_assert_int_eq(numapool_receive(middle, messages, 3, 0), 3);
    ck_assert_int_eq(numapool_forward_bulk(middle, messages, 3, sender, 0), 3);
    for (unsigned i = 0; i < 2; i++)
        receive_and_release(receivers[i], 0, 3);
    ck_assert_int_eq(numapool_sender_close(first, 0), 0);
    ck_assert_int_eq(numapool_sender_close(sender, 0), 0);
    ck_assert_int_eq(numapool_receiver_close(middle), 0);
    for (unsigned i = 0; i < 2; i++)
        ck_assert_int_eq(numapool_receiver_close(receivers[i]), 0);
}
END_TEST

START_TEST(sixty_four_receivers_and_no_more)
{
    struct numapool_channel_options options = broadcasting();
    struct numapool_sender *sender = open_sender(pool);
    struct numapool_receiver *receivers[NP_BROADCAST_RECEIVERS_MAX], *more;
    for (unsigned i = 0; i < NP_BROADCAST_RECEIVERS_MAX; i++)
        receivers[i] = open_receiver(pool);
    ASSERT_REFUSED(numapool_receiver_open(pool, "b", &options, &more), -ENOSPC, "can have no more");
    for (uint64_t id = 0; id < 20; id += 4) {
        send_ids(sender, id, id + 4);
        for (unsigned i = 0; i < NP_BROADCAST_RECEIVERS_MAX; i++)
            receive_and_release(receivers[i], id, id + 4);
    }
    ck_assert_int_eq(numapool_sender_close(sender, 0), 0);
    for (unsigned i = 0; i < NP_BROADCAST_RECEIVERS_MAX; i++)
        ck_assert_int_eq(numapool_receiver_close(receivers[i]), 0);
}
END_TEST

/* Many come and go while the sender does nothing; who has come gets all that is sent then. */
START_TEST(who_comes_beside_an_idle_sender_misses_nothing)
{
    struct numapool_sender *sender = open_sender(pool);
    struct numapool_receiver *receiver = NULL;
    for (unsigned i = 0; i < 40; i++) {
        receiver = open_receiver(pool);
        if (i < 39)
            ck_assert_int_eq(numapool_receiver_close(receiver), 0);
    }
    send_ids(sender, 0, 3);
    receive_and_release(receiver, 0, 3);
    ck_assert_int_eq(numapool_sender_close(sender, 0), 0);
    ck_assert_int_eq(numapool_receiver_close(receiver), 0);
}
END_TEST

START_TEST(what_a_closed_sender_left_is_read_by_all_and_freed_by_the_last)
{
    struct numapool_sender *sender = open_sender(pool);
    struct numapool_receiver *receivers[3] = { open_receiver(pool), open_receiver(pool), open_receiver(pool) };
    struct numapool_msg messages[3][4];
    send_ids(sender, 0, 4);
    ck_assert_int_eq(numapool_sender_close(sender, 0), 4);
    for (unsigned i = 0; i < 3; i++) {
        assert_account(pool, 0, 4);
        receive_ids(receivers[i], messages[i], 0, 4);
        release(receivers[i], messages[i], 4);
    }
    assert_account(pool, 0, 0);
    for (unsigned i = 0; i < 3; i++)
        ck_assert_int_eq(numapool_receiver_close(receivers[i]), 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("broadcast");
    TCase *one = tcase_create("one process");
    tcase_add_checked_fixture(one, make, unmake);
    tcase_add_test(one, every_receiver_gets_everything_sent_after_it_joined);
    tcase_add_test(one, two_senders_have_each_its_own_order);
    tcase_add_test(one, the_slowest_holds_the_sender_back_and_nothing_is_dropped);
    tcase_add_test(one, a_receiver_that_leaves_holds_nothing_back);
    tcase_add_test(one, slots_of_one_who_left_can_be_had_without_a_send);
    tcase_add_test(one, what_others_read_is_not_kept_nor_forwarded);
    tcase_add_test(one, what_one_received_can_be_forwarded_to_all);
    tcase_add_test(one, sixty_four_receivers_and_no_more);
    tcase_add_test(one, who_comes_beside_an_idle_sender_misses_nothing);
    tcase_add_test(one, what_a_closed_sender_left_is_read_by_all_and_freed_by_the_last);
    suite_add_tcase(suite, one);
    return run_suite(suite);
}
