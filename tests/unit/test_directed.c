/* SPDX-License-Identifier: MIT
 * Messages to one receiver alone, and loans on the node of the receiver that a message goes to. */
#include "channel/receiver.h"
#include "channel/sender.h"
#include "channel_help.h"

static void make(void)
{
    pool = make_pool(512, 0);
}

static void unmake(void)
{
    close_pool(pool);
}

static int send_to(struct numapool_sender *sender, uint64_t address, uint64_t id, int64_t timeout_ns)
{
    struct numapool_msg message = loaned(sender, 0, id, 0);
    int result = numapool_send_to(sender, address, &message, timeout_ns);
    if (result < 0)
        ck_assert_int_eq(numapool_unloan(sender, message.data), 0); /* still the caller's */
    return result;
}

START_TEST(a_directed_message_comes_to_its_receiver_alone)
{
    struct numapool_sender *sender = open_sender("c", 8);
    struct numapool_receiver *receivers[3] = { open_receiver("c"), open_receiver("c"), open_receiver("c") };
    for (unsigned r = 0; r < 3; r++)
        for (uint64_t i = 0; i <= r; i++)
            ck_assert_int_eq(send_to(sender, numapool_receiver_address(receivers[r]), 10 * r + i, 0), 0);
    for (unsigned r = 0; r < 3; r++) {
        for (uint64_t i = 0; i <= r; i++)
            receive_and_release(receivers[r], 10 * r + i);
        assert_nothing_there(receivers[r]);
        close_receiver(receivers[r]);
    }
    close_sender(sender);
}
END_TEST

START_TEST(who_joins_later_can_be_sent_to_at_once)
{
    struct numapool_sender *sender = open_sender("c", 8);
    for (uint64_t id = 0; id < 30; id++) { /* beside lanes that an idle sender has still to leave */
        struct numapool_receiver *guest = open_receiver("c"), *other = open_receiver("c");
        ck_assert_int_eq(send_to(sender, numapool_receiver_address(guest), id, 0), 0);
        receive_and_release(guest, id);
        close_receiver(other);
        close_receiver(guest);
    }
    close_sender(sender);
}
END_TEST

START_TEST(lanes_that_are_to_be_left_hold_nobody_back)
{
    struct numapool_sender *sender = open_sender("c", 8);
    struct numapool_receiver *stays = open_receiver("c");
    for (unsigned i = 0; i < 12; i++) /* the sender is idle, and comes to have as many lanes to leave as it may */
        close_receiver(open_receiver("c"));
    struct numapool_receiver *late = open_receiver("c");
    ck_assert_int_eq(send_to(sender, numapool_receiver_address(late), 7, 0), 0);
    receive_and_release(late, 7);
    close_receiver(late);
    close_receiver(stays);
    close_sender(sender);
}
END_TEST

START_TEST(lanes_that_cannot_be_left_yet_are_no_proof_of_absence)
{
    struct numapool_sender *sender = open_sender("c", 8);
    struct numapool_receiver *stays = open_receiver("c");
    struct numapool_msg messages[32];
    for (unsigned i = 0; i < NP_DRAINING_LANES_MAX; i++) { /* each leaves a lane with one message on it */
        struct numapool_receiver *goes = open_receiver("c");
        ck_assert_int_eq(send_to(sender, numapool_receiver_address(goes), i, 0), 0);
        ck_assert_int_eq(send_plain(sender, 100 + 2 * i), 0);
        ck_assert_int_eq(send_plain(sender, 101 + 2 * i), 0);
        close_receiver(goes);
    }
    struct numapool_receiver *late = open_receiver("c");
    uint64_t address = numapool_receiver_address(late);
    ck_assert_int_eq(send_to(sender, address, 7, 0), -EAGAIN);
    ck_assert_int_eq(send_to(sender, address, 7, 2000000), -ETIMEDOUT);
    int got = numapool_receive(stays, messages, 32, 0);
    ck_assert_int_gt(got, 0);
    ck_assert_int_eq(numapool_release(stays, messages, (unsigned)got), 0);
    drain(stays);
    ck_assert_int_eq(send_to(sender, address, 7, 0), 0);
    receive_and_release(late, 7);
    close_receiver(late);
    ck_assert_int_eq(send_to(sender, address, 7, 0), -EHOSTUNREACH);
    close_receiver(stays);
    close_sender(sender);
}
END_TEST

START_TEST(who_has_left_cannot_be_reached)
{
    struct numapool_sender *sender = open_sender("c", 8);
    struct numapool_receiver *stays = open_receiver("c"), *goes = open_receiver("c");
    uint64_t address = numapool_receiver_address(goes);
    ck_assert_int_eq(send_to(sender, address, 1, 0), 0);
    receive_and_release(goes, 1);
    close_receiver(goes);
    struct numapool_receiver *next = open_receiver("c"); /* may have the number of the one who left, and not his address */
    ck_assert_uint_ne(numapool_receiver_address(next), address);
    ck_assert_int_eq(send_to(sender, address, 2, 0), -EHOSTUNREACH);
    assert_sentence_has("has left");
    ck_assert_int_eq(send_to(sender, address, 2, NUMAPOOL_FOREVER), -EHOSTUNREACH);
    ck_assert_int_eq(send_to(sender, 12345, 2, 0), -EHOSTUNREACH);
    ck_assert_int_eq(send_to(sender, 0, 2, 0), -EINVAL);
    ck_assert_int_eq(send_to(sender, address, 2, -1), -EINVAL);
    assert_nothing_there(stays);
    assert_nothing_there(next);
    close_receiver(stays);
    close_receiver(next);
    close_sender(sender);
}
END_TEST

START_TEST(an_address_is_never_used_again)
{
    enum { TIMES = 200 };
    static uint64_t known[TIMES];
    for (unsigned i = 0; i < TIMES; i++) {
        struct numapool_receiver *receiver = open_receiver("c");
        known[i] = numapool_receiver_address(receiver);
        ck_assert_uint_ne(known[i], 0);
        for (unsigned j = 0; j < i; j++)
            ck_assert_uint_ne(known[j], known[i]);
        close_receiver(receiver);
    }
    ck_assert_uint_eq(numapool_receiver_address(NULL), 0);
}
END_TEST

START_TEST(what_was_directed_to_the_gone_is_passed_over_by_heirs)
{
    struct numapool_sender *sender = open_sender("c", 16);
    struct numapool_receiver *goes = open_receiver("c"), *heir = open_receiver("c");
    struct numapool_msg messages[16];
    uint64_t address = numapool_receiver_address(goes);
    for (uint64_t id = 0; id < 8; id++) /* all on his lane, every second one to him alone */
        ck_assert_int_eq(id % 2 == 0 ? send_to(sender, address, id, 0) : send_keyed(sender, 5, id), 0);
    unsigned plain_there = drain(heir); /* the key may have gone to the heir from the beginning */
    ck_assert(plain_there == 0 || plain_there == 4);
    if (_i == 1)
        ck_assert_int_gt(numapool_receive(goes, messages, 16, 0), 0);
    close_receiver(goes);
    int got = numapool_receive(heir, messages, 16, 0);
    if (plain_there == 0) {
        ck_assert_int_eq(got, 4);
        for (unsigned i = 0; i < 4; i++)
            ck_assert_uint_eq(messages[i].id, 2 * i + 1);
        ck_assert_int_eq(numapool_release(heir, messages, 4), 0);
    } else {
        ck_assert_int_eq(got, -EAGAIN);
    }
    assert_nothing_there(heir);
    close_sender(sender); /* all slots have come home */
    close_receiver(heir);
}
END_TEST

START_TEST(a_full_lane_holds_directed_messages_back)
{
    struct numapool_sender *sender = open_sender("c", 2);
    struct numapool_receiver *one = open_receiver("c"), *two = open_receiver("c");
    uint64_t address = numapool_receiver_address(one);
    ck_assert_int_eq(send_to(sender, address, 0, 0), 0);
    ck_assert_int_eq(send_to(sender, address, 1, 0), 0);
    ck_assert_int_eq(send_to(sender, address, 2, 0), -EAGAIN);
    ck_assert_int_eq(send_to(sender, address, 2, 2000000), -ETIMEDOUT);
    ck_assert_int_eq(send_plain(sender, 50), 0);
    receive_and_release(one, 0);
    ck_assert_int_eq(send_to(sender, address, 2, 0), 0);
    receive_and_release(one, 1);
    receive_and_release(one, 2);
    receive_and_release(two, 50);
    close_sender(sender);
    close_receiver(one);
    close_receiver(two);
}
END_TEST

START_TEST(what_cannot_be_directed_is_refused)
{
    struct numapool_sender *sender = open_sender("c", 8);
    struct numapool_receiver *receiver = open_receiver("c");
    struct numapool_msg message = loaned(sender, 0, 1, 0), bad = message;
    bad.length = SLOT_BYTES + 1;
    ASSERT_REFUSED(numapool_send_to(sender, numapool_receiver_address(receiver), &bad, 0), -EINVAL, "does not fit");
    bad = message;
    bad.data = &bad;
    ASSERT_REFUSED(numapool_send_to(sender, numapool_receiver_address(receiver), &bad, 0), -EINVAL, "pay");
    ck_assert_int_eq(numapool_send_to(NULL, 1, &message, 0), -EINVAL);
    ck_assert_int_eq(numapool_unloan(sender, message.data), 0);
    close_sender(sender);
    close_receiver(receiver);
}
END_TEST

/* ---------------------------------------------------------------- loans for a receiver */

static int node_of_thread;

static int pretended_node(void)
{
    return node_of_thread;
}

/* Two arenas that this process takes for two nodes, and itself for a thread on the first. */
static void make_two_nodes(void)
{
    pool = make_pool_of_arenas(2, 128);
    pool->arenas[1].arena.node = 1;
    pool->own_node = pretended_node;
    node_of_thread = 0;
}

static struct numapool_receiver *open_receiver_on(int node)
{
    node_of_thread = node;
    struct numapool_receiver *receiver = open_receiver("c");
    node_of_thread = 0;
    return receiver;
}

static struct numapool_msg loaned_for(struct numapool_sender *sender, uint64_t key, uint64_t id, uint16_t flags)
{
    struct numapool_msg message = { .length = 16, .flags = flags, .id = id, .key = key };
    message.data = numapool_loan_for(sender, &message);
    ck_assert_ptr_nonnull(message.data);
    memcpy(message.data, &id, sizeof id);
    return message;
}

START_TEST(a_loan_for_the_next_message_is_on_its_receivers_node)
{
    struct numapool_sender *sender = open_sender("c", 8);
    struct numapool_receiver *receivers[2] = { open_receiver_on(0), open_receiver_on(1) };
    int last = -1;
    for (uint64_t id = 0; id < 200; id++) {
        struct numapool_msg message = loaned_for(sender, 0, id, 0), received;
        ck_assert_int_eq(numapool_send(sender, &message, 0), 0);
        int node = numapool_slot_node(pool, message.data);
        ck_assert_int_eq(numapool_receive(receivers[1 - node], &received, 1, 0), -EAGAIN);
        receive_and_release(receivers[node], id);
        ck_assert_int_ne(node, last);
        last = node;
    }
    close_sender(sender);
    close_receiver(receivers[0]);
    close_receiver(receivers[1]);
}
END_TEST

START_TEST(a_loan_for_a_busy_key_is_where_its_messages_are)
{
    struct numapool_sender *sender = open_sender("c", 32);
    struct numapool_receiver *receivers[2] = { open_receiver_on(0), open_receiver_on(1) };
    struct numapool_msg first = loaned_for(sender, 3, 0, NUMAPOOL_KEYED);
    int node = numapool_slot_node(pool, first.data);
    ck_assert_int_eq(numapool_send(sender, &first, 0), 0);
    for (uint64_t id = 1; id < 9; id++) {
        struct numapool_msg message = loaned_for(sender, 3, id, NUMAPOOL_KEYED);
        ck_assert_int_eq(numapool_slot_node(pool, message.data), node);
        ck_assert_int_eq(numapool_send(sender, &message, 0), 0);
        ck_assert_int_eq(send_plain(sender, 99), 0);
    }
    ck_assert_uint_eq(drain(receivers[0]) + drain(receivers[1]), 17);
    close_sender(sender);
    close_receiver(receivers[0]);
    close_receiver(receivers[1]);
}
END_TEST

/* Of a sender that was given a magazine, which is its user's; its own would go to its receivers' node. */
START_TEST(plain_loans_stay_on_the_senders_node_beside_loans_for_receivers)
{
    struct numapool_channel_options options = NUMAPOOL_CHANNEL_OPTIONS_INIT;
    struct numapool_sender *sender = NULL;
    options.lane_slots = 8;
    ck_assert_int_eq(numapool_magazine_open(pool, NUMAPOOL_OWN_NODE, 0, &options.magazine), 0);
    ck_assert_int_eq(numapool_sender_open(pool, "c", &options, &sender), 0);
    struct numapool_receiver *receiver = open_receiver_on(1);
    for (uint64_t id = 0; id < 300; id++) {
        struct numapool_msg message = loaned_for(sender, 0, id, 0);
        ck_assert_int_eq(numapool_slot_node(pool, message.data), 1);
        ck_assert_int_eq(numapool_send(sender, &message, 0), 0);
        receive_and_release(receiver, id);
        void *slot = numapool_loan(sender);
        ck_assert_int_eq(numapool_slot_node(pool, slot), 0);
        ck_assert_int_eq(numapool_unloan(sender, slot), 0);
    }
    close_sender(sender);
    ck_assert_int_eq(numapool_magazine_close(options.magazine), 0);
    close_receiver(receiver);
}
END_TEST

START_TEST(a_full_node_does_not_keep_a_sender_from_loans)
{
    struct numapool_sender *sender = open_sender("c", 64);
    struct numapool_receiver *receiver = open_receiver_on(1);
    void *slots[256], *none;
    unsigned had = 0;
    struct numapool_msg message = NUMAPOOL_MSG_INIT;
    while (had < 256 && (slots[had] = numapool_loan_for(sender, &message)) != NULL)
        had++;
    ck_assert_uint_eq(had, 256); /* those of the other node too */
    ck_assert_ptr_null(numapool_loan_for(sender, &message));
    ck_assert_int_eq(numapool_loan_wait(sender, &none, 1000000), -ETIMEDOUT);
    while (had > 0)
        ck_assert_int_eq(numapool_unloan(sender, slots[--had]), 0);
    close_sender(sender);
    close_receiver(receiver);
}
END_TEST

START_TEST(nobody_waits_for_slots_that_his_own_sender_caches)
{
    struct numapool_sender *sender = open_sender("c", 8);
    struct numapool_receiver *receiver = open_receiver_on(1);
    void *slots[256], *one;
    unsigned had = 0;
    struct numapool_msg message = loaned_for(sender, 0, 0, 0); /* and fills the magazine for that node */
    while (had < 256 && (slots[had] = numapool_loan(sender)) != NULL)
        had++;
    ck_assert_uint_eq(had, 255);
    ck_assert_int_eq(numapool_unloan(sender, message.data), 0);
    ck_assert_int_eq(numapool_loan_wait(sender, &one, 0), 0);
    ck_assert_int_eq(numapool_unloan(sender, one), 0);
    while (had > 0)
        ck_assert_int_eq(numapool_unloan(sender, slots[--had]), 0);
    close_sender(sender);
    close_receiver(receiver);
}
END_TEST

START_TEST(a_scribbled_node_is_not_believed)
{
    static const uint32_t scribbles[] = { 0, 77, UINT32_MAX, INT32_MAX, (uint32_t)INT32_MAX + 1, (uint32_t)INT32_MAX + 2 };
    struct numapool_sender *sender = open_sender("c", 8);
    struct numapool_receiver *receiver = open_receiver_on(1);
    for (uint64_t id = 0; id < sizeof scribbles / sizeof scribbles[0]; id++) {
        np_store32(&sender->lanes[0].shared->receiver_node, scribbles[id], memory_order_relaxed);
        np_sender_take_back_all(sender);
        struct numapool_msg message = loaned_for(sender, 0, id, 0);
        ck_assert_int_eq(numapool_slot_node(pool, message.data), 0);
        ck_assert_int_eq(numapool_send(sender, &message, 0), 0);
        receive_and_release(receiver, id);
    }
    close_sender(sender);
    close_receiver(receiver);
}
END_TEST

START_TEST(with_one_node_a_loan_for_a_receiver_is_a_loan)
{
    struct numapool_sender *sender = open_sender("c", 8);
    struct numapool_receiver *receiver = open_receiver("c");
    for (uint64_t id = 0; id < 100; id++) {
        struct numapool_msg message = loaned_for(sender, 0, id, 0);
        ck_assert_int_eq(numapool_send(sender, &message, 0), 0);
        receive_and_release(receiver, id);
    }
    ck_assert(!sender->has_away);
    ck_assert_ptr_null(numapool_loan_for(NULL, &(struct numapool_msg)NUMAPOOL_MSG_INIT));
    close_sender(sender);
    close_receiver(receiver);
}
END_TEST

/* The lane has room for four. One of them, to a receiver that has left, is passed over on the way to the next; that one and two more are held. */
static void pass_over_on_the_way(uint32_t flags)
{
    struct numapool_channel_options options = NUMAPOOL_CHANNEL_OPTIONS_INIT;
    struct numapool_sender *sender;
    struct numapool_receiver *receiver;
    struct numapool_msg held[4];
    uint64_t body = 7;
    options.flags = flags;
    options.lane_slots = 4;
    ck_assert_int_eq(numapool_sender_open(pool, "p", &options, &sender), 0);
    ck_assert_int_eq(numapool_receiver_open(pool, "p", &options, &receiver), 0);
    const uint64_t address = numapool_receiver_address(receiver);
    for (unsigned i = 0; i < 6; i++) {
        struct numapool_msg message = { .data = flags & NUMAPOOL_SMALL ? &body : numapool_loan(sender), .length = sizeof body, .id = i };
        if (i == 3) { /* who comes instead releases the first, and passes the second over */
            close_receiver(receiver);
            ck_assert_int_eq(numapool_receiver_open(pool, "p", &options, &receiver), 0);
            for (unsigned id = 0; id < 3; id += 2) {
                ck_assert_int_eq(numapool_receive(receiver, &held[0], 1, 0), 1);
                ck_assert_uint_eq(held[0].id, id);
                if (id == 0)
                    release_one(receiver, &held[0]);
            }
        }
        if (i == 5) {
            ck_assert_int_eq(numapool_receive(receiver, &held[1], 2, 0), 2);
            assert_nothing_there(receiver);
        }
        ck_assert_int_eq(i == 1 ? numapool_send_to(sender, address, &message, 0) : numapool_send(sender, &message, 0), 0);
    }
    ck_assert_int_eq(numapool_receive(receiver, &held[3], 1, 0), 1);
    ck_assert_uint_eq(held[3].id, 5);
    ck_assert_int_eq(numapool_release(receiver, held, 4), 0);
    close_receiver(receiver);
    close_sender(sender);
}

START_TEST(what_is_passed_over_is_room_though_what_follows_is_held)
{
    pass_over_on_the_way(0);
    pass_over_on_the_way(NUMAPOOL_SMALL);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("directed");
    TCase *directed = tcase_create("directed"), *nodes = tcase_create("nodes");
    tcase_add_checked_fixture(directed, make, unmake);
    tcase_add_test(directed, a_directed_message_comes_to_its_receiver_alone);
    tcase_add_test(directed, what_is_passed_over_is_room_though_what_follows_is_held);
    tcase_add_test(directed, who_joins_later_can_be_sent_to_at_once);
    tcase_add_test(directed, lanes_that_are_to_be_left_hold_nobody_back);
    tcase_add_test(directed, lanes_that_cannot_be_left_yet_are_no_proof_of_absence);
    tcase_add_test(directed, who_has_left_cannot_be_reached);
    tcase_add_test(directed, an_address_is_never_used_again);
    tcase_add_loop_test(directed, what_was_directed_to_the_gone_is_passed_over_by_heirs, 0, 2);
    tcase_add_test(directed, a_full_lane_holds_directed_messages_back);
    tcase_add_test(directed, what_cannot_be_directed_is_refused);
    tcase_add_test(directed, with_one_node_a_loan_for_a_receiver_is_a_loan);
    suite_add_tcase(suite, directed);
    tcase_add_checked_fixture(nodes, make_two_nodes, unmake);
    tcase_add_test(nodes, a_loan_for_the_next_message_is_on_its_receivers_node);
    tcase_add_test(nodes, a_loan_for_a_busy_key_is_where_its_messages_are);
    tcase_add_test(nodes, plain_loans_stay_on_the_senders_node_beside_loans_for_receivers);
    tcase_add_test(nodes, a_full_node_does_not_keep_a_sender_from_loans);
    tcase_add_test(nodes, nobody_waits_for_slots_that_his_own_sender_caches);
    tcase_add_test(nodes, a_scribbled_node_is_not_believed);
    suite_add_tcase(suite, nodes);
    return run_suite(suite);
}
