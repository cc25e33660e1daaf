/* SPDX-License-Identifier: MIT
 * Channels of pools with checks: what was sent, released, kept or forwarded is no more the caller's, and who thinks so is told. */
#include "check_help.h"

struct ends {
    struct numapool_pool *pool;
    struct numapool_magazine *magazine;
    struct numapool_sender *sender;
    struct numapool_receiver *receiver;
};

static struct ends open_ends(uint64_t flags)
{
    struct ends ends = { .pool = make_pool(64, flags) };
    ends.magazine = open_magazine(ends.pool, 0);
    ck_assert_int_eq(numapool_receiver_open(ends.pool, "c", NULL, &ends.receiver), 0);
    ck_assert_int_eq(numapool_sender_open(ends.pool, "c", NULL, &ends.sender), 0);
    return ends;
}

static void close_ends(struct ends *ends)
{
    ck_assert_int_eq(numapool_sender_close(ends->sender, 0), 0);
    ck_assert_int_eq(numapool_receiver_close(ends->receiver), 0);
    ck_assert_int_eq(numapool_magazine_close(ends->magazine), 0);
    close_pool(ends->pool);
}

static struct numapool_msg send_one(struct ends *ends, uint64_t id)
{
    struct numapool_msg message = NUMAPOOL_MSG_INIT;
    message.data = numapool_loan(ends->sender);
    ck_assert_ptr_nonnull(message.data);
    memset(message.data, (int)id, SLOT_BYTES);
    message.length = SLOT_BYTES;
    message.id = id;
    ck_assert_int_eq(numapool_send(ends->sender, &message, 0), 0);
    return message;
}

static struct numapool_msg receive_one(struct ends *ends, uint64_t id)
{
    struct numapool_msg message;
    ck_assert_int_eq(numapool_receive(ends->receiver, &message, 1, 0), 1);
    ck_assert_uint_eq(message.id, id);
    ck_assert_int_eq(((unsigned char *)message.data)[SLOT_BYTES - 1], (int)id);
    return message;
}

START_TEST(what_was_sent_is_put_or_sent_no_more)
{
    listen();
    struct ends ends = open_ends(SITES);
    struct numapool_msg sent = send_one(&ends, 1);
    ck_assert_int_eq(numapool_put(ends.magazine, sent.data), -EINVAL);
    assert_sentence("is a message, sent by numapool_send at test_checks_channel(+0x");
    assert_told(NUMAPOOL_FAULT_DOUBLE_PUT, 0, sent.data, "numapool_put");
    ck_assert_int_eq(numapool_send(ends.sender, &sent, 0), -EINVAL);
    assert_told(NUMAPOOL_FAULT_DOUBLE_PUT, 0, sent.data, "numapool_send");
    ck_assert_int_eq(numapool_unloan(ends.sender, sent.data), -EINVAL);
    assert_told(NUMAPOOL_FAULT_DOUBLE_PUT, 0, sent.data, "numapool_unloan");
    struct numapool_msg two[2] = { sent, sent };
    two[0].data = numapool_get(ends.magazine);
    ck_assert_int_eq(numapool_send_bulk(ends.sender, two, 2, 0), 1);
    assert_told(NUMAPOOL_FAULT_DOUBLE_PUT, 0, sent.data, "numapool_send_bulk");
    struct numapool_msg got[2];
    ck_assert_int_eq(numapool_receive(ends.receiver, got, 2, 0), 2);
    ck_assert_int_eq(numapool_release(ends.receiver, got, 2), 0);
    assert_quiet();
    close_ends(&ends);
}
END_TEST

START_TEST(a_second_release_is_told)
{
    listen();
    struct ends ends = open_ends(SITES);
    send_one(&ends, 1), send_one(&ends, 2);
    struct numapool_msg first = receive_one(&ends, 1), second = receive_one(&ends, 2);
    ck_assert_int_eq(numapool_release(ends.receiver, &second, 1), 0);
    ck_assert_int_eq(numapool_release(ends.receiver, &second, 1), -EINVAL);
    assert_told(NUMAPOOL_FAULT_DOUBLE_PUT, 0, second.data, "numapool_release");
    ck_assert_int_eq(numapool_release(ends.receiver, &first, 1), 0);
    ck_assert_int_eq(numapool_put(ends.magazine, first.data), -EINVAL);
    assert_sentence("is a message, released by numapool_release at test_checks_channel(+0x");
    assert_told(NUMAPOOL_FAULT_DOUBLE_PUT, 0, first.data, "numapool_put");
    ck_assert_int_eq(numapool_keep(ends.receiver, &first), -EINVAL);
    assert_told(NUMAPOOL_FAULT_DOUBLE_PUT, 0, first.data, "numapool_keep");
    ck_assert_int_eq(numapool_forward(ends.receiver, &first, ends.sender, 0), -EINVAL);
    assert_told(NUMAPOOL_FAULT_DOUBLE_PUT, 0, first.data, "numapool_forward");
    close_ends(&ends);
}
END_TEST

START_TEST(a_message_whose_slot_was_changed_is_told)
{
    listen();
    struct ends ends = open_ends(SITES);
    send_one(&ends, 1);
    struct numapool_msg message = receive_one(&ends, 1), changed = message;
    changed.data = numapool_get(ends.magazine);
    ck_assert_int_eq(numapool_release(ends.receiver, &changed, 1), -EINVAL);
    assert_told(NUMAPOOL_FAULT_DOUBLE_PUT, 0, changed.data, "numapool_release");
    assert_sentence("is no message any more");
    ck_assert_int_eq(numapool_keep(ends.receiver, &changed), -EINVAL);
    assert_told(NUMAPOOL_FAULT_DOUBLE_PUT, 0, changed.data, "numapool_keep");
    ck_assert_int_eq(numapool_put(ends.magazine, changed.data), 0);
    ck_assert_int_eq(numapool_release(ends.receiver, &message, 1), 0);
    close_ends(&ends);
}
END_TEST

START_TEST(a_receivers_overrun_is_told_at_its_release)
{
    listen();
    struct ends ends = open_ends(SITES);
    send_one(&ends, 1);
    struct numapool_msg message = receive_one(&ends, 1);
    scribble((char *)message.data + SLOT_BYTES, 1, 1);
    ck_assert_int_eq(numapool_release(ends.receiver, &message, 1), -EINVAL);
    assert_told(NUMAPOOL_FAULT_OVERRUN, 0, message.data, "numapool_release");
    ck_assert_int_eq(numapool_release(ends.receiver, &message, 1), 0);
    assert_quiet();
    close_ends(&ends);
}
END_TEST

START_TEST(a_write_after_release_names_the_release)
{
    listen();
    struct ends ends = open_ends(SITES);
    send_one(&ends, 1);
    struct numapool_msg message = receive_one(&ends, 1), second = message;
    second.data = numapool_get(ends.magazine);
    second.id = 2;
    memset(second.data, 2, SLOT_BYTES);
    ck_assert_int_eq(numapool_release(ends.receiver, &message, 1), 0);
    ck_assert_int_eq(numapool_send(ends.sender, &second, 0), 0); /* by which the first is taken back */
    scribble((char *)message.data + 5, 1, 1);
    void *slot;
    do
        slot = numapool_get(ends.magazine);
    while (slot && slot != message.data);
    ck_assert_ptr_eq(slot, message.data);
    assert_sentence("put by numapool_release at test_checks_channel(+0x");
    assert_told(NUMAPOOL_FAULT_WRITE_AFTER_PUT, 0, slot, "numapool_get");
    second = receive_one(&ends, 2);
    ck_assert_int_eq(numapool_release(ends.receiver, &second, 1), 0);
    ck_assert_int_eq(numapool_sender_close(ends.sender, 0), 0);
    ck_assert_int_eq(numapool_receiver_close(ends.receiver), 0);
    ck_assert_int_eq(numapool_magazine_close(ends.magazine), 0);
    ck_assert_int_eq(numapool_close(ends.pool), 0);
}
END_TEST

START_TEST(everything_that_is_allowed_is_quiet)
{
    listen();
    struct ends ends = open_ends(_i ? SITES : NUMAPOOL_CHECKS);
    struct numapool_sender *onward;
    struct numapool_receiver *last;
    ck_assert_int_eq(numapool_receiver_open(ends.pool, "d", NULL, &last), 0);
    ck_assert_int_eq(numapool_sender_open(ends.pool, "d", NULL, &onward), 0);
    for (unsigned round = 0; round < 300; round++) {
        uint64_t id = round & 127;
        send_one(&ends, id);
        struct numapool_msg message = receive_one(&ends, id), again;
        switch (round % 4) {
        case 0:
            ck_assert_int_eq(numapool_keep(ends.receiver, &message), 0);
            ck_assert_int_eq(numapool_put(ends.magazine, message.data), 0);
            break;
        case 1:
            ck_assert_int_eq(numapool_forward(ends.receiver, &message, onward, 0), 0);
            ck_assert_int_eq(numapool_receive(last, &again, 1, 0), 1);
            ck_assert_int_eq(numapool_release(last, &again, 1), 0);
            break;
        case 2:
            ck_assert_int_eq(numapool_keep(ends.receiver, &message), 0);
            ck_assert_int_eq(numapool_send(ends.sender, &message, 0), 0);
            again = receive_one(&ends, id);
            ck_assert_int_eq(numapool_release(ends.receiver, &again, 1), 0);
            break;
        default:
            ck_assert_int_eq(numapool_release(ends.receiver, &message, 1), 0);
        }
        void *slots[5];
        ck_assert_int_eq(numapool_get_bulk(ends.magazine, slots, 5), 0);
        memset(slots[2], 7, SLOT_BYTES);
        ck_assert_int_eq(numapool_put_bulk(ends.magazine, slots, 5), 0);
        void *loaned = numapool_loan(ends.sender);
        ck_assert_int_eq(numapool_unloan(ends.sender, loaned), 0);
    }
    void *slots[65];
    ck_assert_int_eq(numapool_get_bulk(ends.magazine, slots, 65), -EAGAIN); /* what it took goes back */
    assert_quiet();
    ck_assert_uint_eq(faults_of(ends.pool), 0);
    ck_assert_int_eq(numapool_sender_close(onward, 0), 0);
    ck_assert_int_eq(numapool_receiver_close(last), 0);
    close_ends(&ends);
}
END_TEST

START_TEST(broadcasts_small_messages_and_replies_are_quiet)
{
    listen();
    struct numapool_pool *pool = make_pool(64, SITES);
    struct numapool_channel_options all = NUMAPOOL_CHANNEL_OPTIONS_INIT, small = NUMAPOOL_CHANNEL_OPTIONS_INIT;
    struct numapool_sender *to_all, *little;
    struct numapool_receiver *each[2], *of_little;
    struct numapool_requester *requester;
    struct numapool_responder *responder;
    struct numapool_msg message = NUMAPOOL_MSG_INIT, got, request, reply = NUMAPOOL_MSG_INIT;
    all.flags = NUMAPOOL_BROADCAST;
    small.flags = NUMAPOOL_SMALL;
    for (unsigned i = 0; i < 2; i++)
        ck_assert_int_eq(numapool_receiver_open(pool, "all", &all, &each[i]), 0);
    ck_assert_int_eq(numapool_sender_open(pool, "all", &all, &to_all), 0);
    ck_assert_int_eq(numapool_receiver_open(pool, "small", &small, &of_little), 0);
    ck_assert_int_eq(numapool_sender_open(pool, "small", &small, &little), 0);
    ck_assert_int_eq(numapool_responder_open(pool, "ask", NULL, &responder), 0);
    ck_assert_int_eq(numapool_requester_open(pool, "ask", NULL, &requester), 0);
    for (unsigned round = 0; round < 100; round++) {
        message = (struct numapool_msg)NUMAPOOL_MSG_INIT;
        message.data = numapool_loan(to_all);
        memset(message.data, 1, message.length = SLOT_BYTES);
        ck_assert_int_eq(numapool_send(to_all, &message, 0), 0);
        for (unsigned i = 0; i < 2; i++) {
            ck_assert_int_eq(numapool_receive(each[i], &got, 1, 0), 1);
            ck_assert_int_eq(((char *)got.data)[SLOT_BYTES - 1], 1);
            ck_assert_int_eq(numapool_release(each[i], &got, 1), 0);
        }
        message = (struct numapool_msg)NUMAPOOL_MSG_INIT;
        message.data = &round, message.length = sizeof round;
        ck_assert_int_eq(numapool_send(little, &message, 0), 0);
        ck_assert_int_eq(numapool_receive(of_little, &got, 1, 0), 1);
        ck_assert_int_eq(numapool_release(of_little, &got, 1), 0);
        message.data = numapool_loan(numapool_requester_sender(requester));
        ck_assert_int_eq(numapool_request(requester, &message, 0), 0);
        ck_assert_int_eq(numapool_receive(numapool_responder_receiver(responder), &request, 1, 0), 1);
        if (round % 2) {
            reply.data = numapool_loan(numapool_responder_sender(responder));
            ck_assert_int_eq(numapool_reply(responder, &request, &reply, 0), 0);
        } else {
            ck_assert_int_eq(numapool_reply_in_place(responder, &request, 0), 0);
        }
        ck_assert_int_eq(numapool_receive(numapool_requester_receiver(requester), &got, 1, 0), 1);
        ck_assert_int_eq(numapool_release(numapool_requester_receiver(requester), &got, 1), 0);
    }
    assert_quiet();
    ck_assert_int_eq(numapool_reply(responder, &request, &reply, 0), -EINVAL);
    assert_told(NUMAPOOL_FAULT_DOUBLE_PUT, 0, request.data, "numapool_reply");
    ck_assert_int_eq(numapool_requester_close(requester, 0), 0);
    ck_assert_int_eq(numapool_responder_close(responder, 0), 0);
    ck_assert_int_eq(numapool_sender_close(little, 0), 0);
    ck_assert_int_eq(numapool_receiver_close(of_little), 0);
    ck_assert_int_eq(numapool_sender_close(to_all, 0), 0);
    for (unsigned i = 0; i < 2; i++)
        ck_assert_int_eq(numapool_receiver_close(each[i]), 0);
    close_pool(pool);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("checks of channels");
    TCase *tcase = tcase_create("checks of channels");
    tcase_add_test(tcase, what_was_sent_is_put_or_sent_no_more);
    tcase_add_test(tcase, a_second_release_is_told);
    tcase_add_test(tcase, a_message_whose_slot_was_changed_is_told);
    tcase_add_test(tcase, a_receivers_overrun_is_told_at_its_release);
    tcase_add_test(tcase, a_write_after_release_names_the_release);
    tcase_add_loop_test(tcase, everything_that_is_allowed_is_quiet, 0, 2);
    tcase_add_test(tcase, broadcasts_small_messages_and_replies_are_quiet);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
