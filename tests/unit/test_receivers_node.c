/* SPDX-License-Identifier: MIT
 * Message slots are on the receiver's node: what a sender loans when nobody says anything, on arenas that a test takes for nodes. */
#include "nodes_help.h"

#include "channel/sender.h"

enum { SLOTS = 2048, ROUNDS = 300 };

static struct numapool_pool *pool;
static struct numapool_sender *sender;

static void begin(void)
{
    pool = make_nodes(NODES(0, 1, 2), SLOTS, 0);
}

static void finish(void)
{
    ck_assert_int_eq(numapool_sender_close(sender, 0), 0);
    assert_all_at_home(pool);
    assert_sums(pool);
    for (int node = 0; node < 3; node++) {
        struct numapool_stats stats = { .size = sizeof stats };
        ck_assert_int_eq(numapool_stats_read(pool, node, &stats), 0);
    }
    ck_assert_msg(numapool_close(pool) == 0, "%s", numapool_errormsg());
}

static struct numapool_receiver *receiver_on(int node, const char *channel)
{
    struct numapool_receiver *receiver;
    int here = nodes_here;
    nodes_here = node;
    ck_assert_msg(numapool_receiver_open(pool, channel, NULL, &receiver) == 0, "%s", numapool_errormsg());
    nodes_here = here;
    return receiver;
}

/* Lanes that a receiver gets after it was opened: it says where it runs when it takes them. */
static void takes_lanes_on(struct numapool_receiver *receiver, int node)
{
    struct numapool_msg message;
    int here = nodes_here;
    nodes_here = node;
    ck_assert_int_eq(numapool_receive(receiver, &message, 1, 0), -EAGAIN);
    nodes_here = here;
}

static void open_sender(const char *channel, const struct numapool_channel_options *options)
{
    ck_assert_msg(numapool_sender_open(pool, channel, options, &sender) == 0, "%s", numapool_errormsg());
}

static int send_one(void)
{
    struct numapool_msg message = { .data = numapool_loan(sender), .length = 8 };
    ck_assert_msg(message.data != NULL, "%s", numapool_errormsg());
    int node = node_of(pool, message.data);
    ck_assert_msg(numapool_send(sender, &message, 0) == 0, "%s", numapool_errormsg());
    return node;
}

static unsigned drain(struct numapool_receiver *receiver)
{
    struct numapool_msg messages[64];
    unsigned received = 0;
    for (int got; (got = numapool_receive(receiver, messages, 64, 0)) > 0; received += (unsigned)got)
        ck_assert_int_eq(numapool_release(receiver, messages, (unsigned)got), 0);
    return received;
}

static void close_receiver(struct numapool_receiver *receiver)
{
    ck_assert_int_eq(numapool_receiver_close(receiver), 0);
}

START_TEST(loans_are_of_the_node_of_the_only_receiver)
{
    struct numapool_receiver *receiver = receiver_on(2, "c");
    open_sender("c", NULL);
    for (unsigned i = 0; i < ROUNDS; i++) {
        ck_assert_int_eq(send_one(), 2);
        if (i % 7 == 0)
            drain(receiver);
    }
    nodes_here = 1; /* the sender's thread may wander as it likes */
    for (unsigned i = 0; i < ROUNDS; i++) {
        ck_assert_int_eq(send_one(), 2);
        drain(receiver);
    }
    close_receiver(receiver);
}
END_TEST

START_TEST(who_was_there_first_goes_to_the_receiver_when_it_comes)
{
    open_sender("c", NULL);
    for (unsigned i = 0; i < 100; i++)
        ck_assert_int_eq(send_one(), 0); /* nobody is there: of the own node */
    struct numapool_receiver *receiver = receiver_on(1, "c");
    ck_assert_int_eq(send_one(), 0); /* in this send it learns */
    for (unsigned i = 0; i < ROUNDS; i++) {
        ck_assert_int_eq(send_one(), 1);
        drain(receiver);
    }
    for (unsigned i = 0; i < 3 * NP_LANE_SLOTS_DEFAULT; i++) {
        ck_assert_int_eq(send_one(), 1);
        drain(receiver);
    }
    /* What was sent before has come home, and nobody looks for it any more. */
    ck_assert(!sender->strays && !sender->has_away);
    ck_assert_ptr_nonnull(sender->loan_lane);
    ck_assert_int_eq(numapool_flush(&sender->magazine->fast), 0);
    struct numapool_stats stats = { .size = sizeof stats };
    ck_assert_int_eq(numapool_stats_read(pool, 0, &stats), 0);
    ck_assert_uint_eq(stats.free_slots, SLOTS);
    close_receiver(receiver);
}
END_TEST

START_TEST(receivers_on_several_nodes_leave_it_to_the_thread_and_to_loan_for)
{
    struct numapool_receiver *near = receiver_on(1, "c"), *far = receiver_on(2, "c");
    open_sender("c", NULL);
    takes_lanes_on(near, 1);
    takes_lanes_on(far, 2);
    ck_assert_int_eq(send_one(), 0);
    for (unsigned i = 0; i < ROUNDS; i++) {
        struct numapool_msg message = { .length = 8 };
        message.data = numapool_loan_for(sender, &message);
        int node = node_of(pool, message.data);
        ck_assert_int_eq(numapool_send(sender, &message, 0), 0);
        unsigned by_near = drain(near), by_far = drain(far); /* with the first of all, which nobody has received yet */
        ck_assert_msg(i == 0 || (node == 1 ? by_near == 1 && by_far == 0 : node == 2 && by_far == 1 && by_near == 0),
                      "loan %u, of node %d: %u received on node 1, %u on node 2", i, node, by_near, by_far);
    }
    drain(near);
    drain(far);
    close_receiver(far);
    ck_assert_int_ne(send_one(), -1);
    for (unsigned i = 0; i < ROUNDS; i++) { /* one is left: all are on its node again */
        ck_assert_int_eq(send_one(), 1);
        drain(near);
    }
    far = receiver_on(0, "c");
    send_one();
    for (unsigned i = 0; i < ROUNDS; i++) {
        ck_assert_int_eq(send_one(), 0); /* two again: of the own node */
        drain(near);
        drain(far);
    }
    close_receiver(near);
    close_receiver(far);
}
END_TEST

START_TEST(a_magazine_of_the_users_stays_where_he_has_it)
{
    struct numapool_channel_options options = NUMAPOOL_CHANNEL_OPTIONS_INIT;
    struct numapool_receiver *receiver = receiver_on(2, "c");
    options.magazine = open_on(pool, 1, 64);
    open_sender("c", &options);
    for (unsigned i = 0; i < ROUNDS; i++) {
        ck_assert_int_eq(send_one(), 1);
        drain(receiver);
    }
    close_receiver(receiver);
    ck_assert_int_eq(numapool_sender_close(sender, 0), 0);
    close_on(options.magazine);
    open_sender("c", NULL);
}
END_TEST

START_TEST(a_receivers_node_without_slots_is_none)
{
    struct numapool_receiver *receiver = receiver_on(5, "c");
    nodes_here = 1;
    open_sender("c", NULL);
    for (unsigned i = 0; i < ROUNDS; i++) {
        ck_assert_int_eq(send_one(), 1);
        drain(receiver);
    }
    close_receiver(receiver);
}
END_TEST

START_TEST(a_receiver_that_lies_about_its_node_does_no_harm)
{
    static const uint32_t lies[] = { 0, 4, 64, 65, 1000, UINT32_MAX, INT32_MAX };
    struct numapool_receiver *receiver = receiver_on(1, "c");
    open_sender("c", NULL);
    for (unsigned k = 0; k < sizeof lies / sizeof lies[0]; k++) {
        np_store32(&sender->lanes[0].shared->receiver_node, lies[k], memory_order_relaxed);
        struct numapool_receiver *other = receiver_on(1, "c"); /* lanes change: it looks again */
        for (unsigned i = 0; i < 100; i++) {
            int node = send_one();
            ck_assert(node >= 0 && node < 3);
            drain(receiver);
            drain(other);
        }
        close_receiver(other);
        drain(receiver);
    }
    close_receiver(receiver);
}
END_TEST

START_TEST(broadcasts_go_to_their_receivers_node_too)
{
    struct numapool_channel_options options = NUMAPOOL_CHANNEL_OPTIONS_INIT;
    struct numapool_receiver *receivers[2];
    options.flags = NUMAPOOL_BROADCAST;
    nodes_here = 2;
    for (unsigned i = 0; i < 2; i++)
        ck_assert_int_eq(numapool_receiver_open(pool, "c", &options, &receivers[i]), 0);
    nodes_here = 0;
    open_sender("c", &options);
    for (unsigned i = 0; i < ROUNDS; i++) {
        ck_assert_int_eq(send_one(), 2);
        drain(receivers[0]);
        drain(receivers[1]);
    }
    close_receiver(receivers[0]);
    close_receiver(receivers[1]);
}
END_TEST

START_TEST(an_empty_node_is_made_good_by_others_unless_the_pool_is_strict)
{
    static void *taken[SLOTS + 1];
    unsigned n = 0;
    struct numapool_receiver *receiver = receiver_on(1, "c");
    struct numapool_magazine *magazine = open_on(pool, 1, 64);
    pool->flags |= _i == 1 ? NUMAPOOL_STRICT : 0;
    open_sender("c", NULL);
    while (n <= SLOTS && (taken[n] = numapool_get(magazine)) != NULL && node_of(pool, taken[n]) == 1)
        n++;
    if (n <= SLOTS && taken[n])
        ck_assert_int_eq(numapool_put(magazine, taken[n]), 0);
    void *slot = numapool_loan(sender);
    if (_i == 1) {
        ck_assert_ptr_null(slot);
    } else {
        ck_assert_ptr_nonnull(slot);
        ck_assert_int_ne(node_of(pool, slot), 1);
        ck_assert_int_eq(numapool_unloan(sender, slot), 0);
    }
    while (n > 0)
        ck_assert_int_eq(numapool_put(magazine, taken[--n]), 0);
    ck_assert_int_eq(send_one(), 1);
    drain(receiver);
    close_on(magazine);
    close_receiver(receiver);
}
END_TEST

static Suite *suite(void)
{
    Suite *suite = suite_create("receivers' node");
    TCase *tests = tcase_create("loans");
    tcase_add_checked_fixture(tests, begin, finish);
    tcase_add_test(tests, loans_are_of_the_node_of_the_only_receiver);
    tcase_add_test(tests, who_was_there_first_goes_to_the_receiver_when_it_comes);
    tcase_add_test(tests, receivers_on_several_nodes_leave_it_to_the_thread_and_to_loan_for);
    tcase_add_test(tests, a_magazine_of_the_users_stays_where_he_has_it);
    tcase_add_test(tests, a_receivers_node_without_slots_is_none);
    tcase_add_test(tests, a_receiver_that_lies_about_its_node_does_no_harm);
    tcase_add_test(tests, broadcasts_go_to_their_receivers_node_too);
    tcase_add_loop_test(tests, an_empty_node_is_made_good_by_others_unless_the_pool_is_strict, 0, 2);
    suite_add_tcase(suite, tests);
    return suite;
}

int main(void)
{
    return run_suite(suite());
}
