/* SPDX-License-Identifier: MIT
 * Requests and replies: the way back, in place or not, ends that leave, what comes twice. */
#include <pthread.h>

#include "channel_help.h"

static void make(void)
{
    pool = make_pool(512, 0);
}

static void unmake(void)
{
    close_pool(pool);
}

static struct numapool_requester *open_requester(void)
{
    struct numapool_requester *requester = NULL;
    ck_assert_int_eq(numapool_requester_open(pool, "sums", NULL, &requester), 0);
    return requester;
}

static struct numapool_responder *open_responder(void)
{
    struct numapool_responder *responder = NULL;
    ck_assert_int_eq(numapool_responder_open(pool, "sums", NULL, &responder), 0);
    return responder;
}

static void close_requester(struct numapool_requester *requester)
{
    ck_assert_int_eq(numapool_requester_close(requester, 0), 0);
}

static void close_responder(struct numapool_responder *responder)
{
    ck_assert_int_eq(numapool_responder_close(responder, 0), 0);
}

static int request(struct numapool_requester *requester, uint64_t id)
{
    struct numapool_msg message = loaned(numapool_requester_sender(requester), 4711, id, 0);
    return numapool_request(requester, &message, 0);
}

/* The next request, and a reply to it whose payload is `value`. */
static struct numapool_msg take_request(struct numapool_responder *responder)
{
    struct numapool_msg message;
    ck_assert_int_eq(numapool_receive(numapool_responder_receiver(responder), &message, 1, 0), 1);
    return message;
}

static int reply(struct numapool_responder *responder, const struct numapool_msg *to, uint64_t value)
{
    struct numapool_msg message = loaned(numapool_responder_sender(responder), 99, value, 0);
    int result = numapool_reply(responder, to, &message, 0);
    if (result < 0)
        ck_assert_int_eq(numapool_unloan(numapool_responder_sender(responder), message.data), 0);
    return result;
}

static int reply_in_place(struct numapool_responder *responder, const struct numapool_msg *to, uint64_t value)
{
    memcpy(to->data, &value, sizeof value);
    return numapool_reply_in_place(responder, to, 0);
}

static void take_reply(struct numapool_requester *requester, uint64_t id, uint64_t value)
{
    struct numapool_receiver *receiver = numapool_requester_receiver(requester);
    struct numapool_msg message;
    uint64_t payload;
    ck_assert_int_eq(numapool_receive(receiver, &message, 1, 0), 1);
    memcpy(&payload, message.data, sizeof payload);
    ck_assert_uint_eq(message.id, id);
    ck_assert_uint_eq(payload, value);
    release_one(receiver, &message);
}

START_TEST(replies_come_back_to_who_asked)
{
    struct numapool_requester *requesters[3] = { open_requester(), open_requester(), open_requester() };
    struct numapool_responder *responders[2] = { open_responder(), open_responder() };
    for (uint64_t round = 0; round < 40; round++) {
        for (uint64_t r = 0; r < 3; r++)
            ck_assert_int_eq(request(requesters[r], 100 * r + round), 0);
        for (unsigned r = 0, done = 0; done < 3; r++) {
            struct numapool_msg message;
            struct numapool_responder *responder = responders[r % 2];
            if (numapool_receive(numapool_responder_receiver(responder), &message, 1, 0) != 1)
                continue;
            int result = r % 3 == (unsigned)_i ? reply(responder, &message, message.id * 2) : reply_in_place(responder, &message, message.id * 2);
            ck_assert_int_eq(result, 0);
            done++;
        }
        for (uint64_t r = 0; r < 3; r++)
            take_reply(requesters[r], 100 * r + round, (100 * r + round) * 2);
    }
    for (unsigned r = 0; r < 3; r++) {
        assert_nothing_there(numapool_requester_receiver(requesters[r]));
        close_requester(requesters[r]);
    }
    close_responder(responders[0]);
    close_responder(responders[1]);
}
END_TEST

START_TEST(a_request_waits_for_a_responder)
{
    struct numapool_requester *requester = open_requester();
    ck_assert_int_eq(request(requester, 1), 0);
    struct numapool_responder *responder = open_responder();
    struct numapool_msg message = take_request(responder);
    ck_assert_int_eq(reply_in_place(responder, &message, 8), 0);
    take_reply(requester, 1, 8);
    close_requester(requester);
    close_responder(responder);
}
END_TEST

START_TEST(a_request_whose_responder_left_is_answered_by_another)
{
    struct numapool_requester *requester = open_requester();
    struct numapool_responder *first = open_responder(), *second;
    ck_assert_int_eq(request(requester, 1), 0);
    struct numapool_msg message = take_request(first);
    close_responder(first);
    second = open_responder();
    message = take_request(second);
    ck_assert_uint_eq(message.flags, NUMAPOOL_REDELIVERED);
    ck_assert_int_eq(reply(second, &message, 5), 0);
    take_reply(requester, 1, 5);
    close_requester(requester);
    close_responder(second);
}
END_TEST

START_TEST(who_asked_and_left_gets_no_reply_and_nobody_else_does)
{
    struct numapool_requester *gone = open_requester(), *stays = open_requester();
    struct numapool_responder *responder = open_responder();
    for (uint64_t id = 0; id < 3; id++)
        ck_assert_int_eq(request(gone, id), 0);
    struct numapool_msg early = take_request(responder), late = take_request(responder), in_place = take_request(responder);
    ck_assert_int_eq(reply(responder, &early, 1), 0); /* is on its way when he leaves */
    ck_assert_int_eq(numapool_requester_close(gone, 0), 2);
    ck_assert_int_eq(reply(responder, &late, 2), -EHOSTUNREACH);
    ck_assert_int_eq(reply_in_place(responder, &in_place, 3), -EHOSTUNREACH);
    ASSERT_REFUSED(reply(responder, &late, 2), -EINVAL, "not an unreleased message"); /* it has been released */
    assert_nothing_there(numapool_requester_receiver(stays));
    close_responder(responder);
    close_requester(stays);
}
END_TEST

START_TEST(replies_that_nobody_waits_for_hold_no_slots)
{
    struct numapool_requester *gone = open_requester();
    struct numapool_responder *responder = open_responder();
    for (uint64_t id = 0; id < 3; id++) {
        ck_assert_int_eq(request(gone, id), 0);
        struct numapool_msg message = take_request(responder);
        ck_assert_int_eq(reply(responder, &message, id), 0);
    }
    if (_i == 1)
        ck_assert_int_eq(numapool_responder_close(responder, 0), 3); /* they are unreleased */
    close_requester(gone);
    if (_i == 0)
        close_responder(responder);
}
END_TEST

START_TEST(a_call_gets_its_own_reply_and_releases_older_ones)
{
    struct numapool_requester *requester = open_requester();
    struct numapool_responder *responder = open_responder();
    for (uint64_t id = 0; id < 3; id++) { /* answered late: nobody has fetched the replies */
        ck_assert_int_eq(request(requester, id), 0);
        struct numapool_msg message = take_request(responder);
        ck_assert_int_eq(reply(responder, &message, id), 0);
    }
    struct numapool_msg asked = loaned(numapool_requester_sender(requester), 0, 9, 0), answer;
    int sent = -1;
    ASSERT_REFUSED(numapool_call(requester, &asked, &answer, 0, &sent), -EAGAIN, "no message");
    ck_assert_int_eq(sent, 1);
    struct numapool_msg message = take_request(responder);
    ck_assert_uint_eq(message.id, 9);
    ck_assert_int_eq(reply(responder, &message, 90), 0);
    take_reply(requester, 9, 90); /* it had taken the others off */
    close_requester(requester);
    close_responder(responder);
}
END_TEST

START_TEST(a_call_that_is_late_says_whether_it_was_sent)
{
    struct numapool_channel_options options = NUMAPOOL_CHANNEL_OPTIONS_INIT;
    struct numapool_requester *requester;
    options.lane_slots = 2;
    ck_assert_int_eq(numapool_requester_open(pool, "sums", &options, &requester), 0);
    struct numapool_msg asked, answer;
    for (int expected = 1; expected >= 0; expected--) {
        for (unsigned i = 0; i < 2 - (unsigned)expected; i++) {
            asked = loaned(numapool_requester_sender(requester), 0, i, 0);
            int sent = -1, result = numapool_call(requester, &asked, &answer, 1000000, &sent);
            ck_assert_int_eq(result, -ETIMEDOUT);
            ck_assert_int_eq(sent, i == 0 && expected == 0 ? 1 : expected);
        }
    }
    ck_assert_int_eq(numapool_unloan(numapool_requester_sender(requester), asked.data), 0); /* the last one is still the caller's */
    struct numapool_responder *responder = open_responder();
    ck_assert_uint_eq(drain(numapool_responder_receiver(responder)), 2);
    close_requester(requester);
    close_responder(responder);
}
END_TEST

static void *answer_all(void *context)
{
    struct numapool_responder *responder = open_responder();
    struct numapool_msg message;
    (void)context;
    for (;;) {
        ck_assert_int_eq(numapool_receive(numapool_responder_receiver(responder), &message, 1, NUMAPOOL_FOREVER), 1);
        uint64_t id = message.id;
        ck_assert_int_eq(id % 2 ? reply(responder, &message, id + 1) : reply_in_place(responder, &message, id + 1), 0);
        if (id >= 2000)
            break;
    }
    ck_assert_int_eq(numapool_responder_close(responder, NUMAPOOL_FOREVER), 0);
    return NULL;
}

START_TEST(calls_are_answered_by_another_thread)
{
    pthread_t thread;
    struct numapool_requester *requester = open_requester();
    ck_assert_int_eq(pthread_create(&thread, NULL, answer_all, NULL), 0);
    for (uint64_t id = 1; id <= 2000; id++) {
        struct numapool_msg asked = loaned(numapool_requester_sender(requester), 0, id, 0), answer;
        uint64_t payload;
        ck_assert_int_eq(numapool_call(requester, &asked, &answer, NUMAPOOL_FOREVER, NULL), 0);
        memcpy(&payload, answer.data, sizeof payload);
        ck_assert_uint_eq(payload, id + 1);
        release_one(numapool_requester_receiver(requester), &answer);
    }
    pthread_join(thread, NULL);
    close_requester(requester);
}
END_TEST

START_TEST(what_is_no_request_is_refused)
{
    struct numapool_requester *requester = open_requester();
    struct numapool_responder *responder = open_responder();
    struct numapool_sender *plain = open_sender("sums", 8);
    ck_assert_int_eq(send_plain(plain, 3), 0); /* into the service's channel, without an address */
    struct numapool_msg message = take_request(responder), wrong = message;
    ASSERT_REFUSED(reply(responder, &message, 1), -EINVAL, "no requester");
    ASSERT_REFUSED(reply_in_place(responder, &message, 1), -EINVAL, "no requester");
    release_one(numapool_responder_receiver(responder), &message);
    ASSERT_REFUSED(reply(responder, &message, 1), -EINVAL, "not an unreleased message");
    ck_assert_int_eq(request(requester, 5), 0);
    message = wrong = take_request(responder);
    wrong.data = &wrong;
    ASSERT_REFUSED(numapool_reply_in_place(responder, &wrong, 0), -EINVAL, "pay");
    wrong = message;
    wrong.length = SLOT_BYTES + 1;
    ASSERT_REFUSED(numapool_reply_in_place(responder, &wrong, 0), -EINVAL, "does not fit");
    ASSERT_REFUSED(numapool_reply(responder, &message, &message, 0), -EINVAL, "not this process's"); /* its slot is not a loan */
    ASSERT_REFUSED(numapool_reply_in_place(responder, &message, -1), -EINVAL, "negative");
    ck_assert_int_eq(reply_in_place(responder, &message, 1), 0);
    take_reply(requester, 5, 1);
    ck_assert_int_eq(numapool_requester_close(requester, -1), -EINVAL);
    ck_assert_int_eq(numapool_responder_close(responder, -1), -EINVAL);
    close_requester(requester);
    close_responder(responder);
    close_sender(plain);
}
END_TEST

START_TEST(small_requests_are_answered_by_small_replies)
{
    struct numapool_channel_options options = NUMAPOOL_CHANNEL_OPTIONS_INIT;
    struct numapool_requester *requesters[2];
    struct numapool_responder *responder;
    char text[48] = "how much is it?", answer_text[48] = "four";
    options.flags = NUMAPOOL_SMALL;
    ck_assert_int_eq(numapool_responder_open(pool, "small", &options, &responder), 0);
    for (unsigned i = 0; i < 2; i++)
        ck_assert_int_eq(numapool_requester_open(pool, "small", &options, &requesters[i]), 0);
    for (uint64_t id = 0; id < 50; id++) {
        struct numapool_msg asked = { .data = text, .length = (uint32_t)id % 41, .id = id }, answer = { .data = answer_text, .length = (uint32_t)id * 7 % 41 };
        ck_assert_int_eq(numapool_request(requesters[id % 2], &asked, 0), 0);
        struct numapool_msg got = take_request(responder);
        ck_assert_uint_eq(got.flags, NUMAPOOL_IN_CELL);
        ck_assert_uint_eq(got.length, asked.length);
        ck_assert_mem_eq(got.data, text, got.length);
        ASSERT_REFUSED(numapool_reply_in_place(responder, &got, 0), -EINVAL, "no slot");
        ck_assert_int_eq(numapool_reply(responder, &got, &answer, 0), 0);
        assert_nothing_there(numapool_requester_receiver(requesters[1 - id % 2]));
        ck_assert_int_eq(numapool_receive(numapool_requester_receiver(requesters[id % 2]), &got, 1, 0), 1);
        ck_assert_uint_eq(got.id, id);
        ck_assert_uint_eq(got.length, answer.length);
        ck_assert_mem_eq(got.data, answer_text, got.length);
        release_one(numapool_requester_receiver(requesters[id % 2]), &got);
    }
    struct numapool_msg large = { .data = text, .length = 41 };
    ASSERT_REFUSED(numapool_request(requesters[0], &large, 0), -EINVAL, "at most 40");
    struct numapool_msg asked = { .data = text, .length = 5, .id = 9 };
    ck_assert_int_eq(numapool_request(requesters[0], &asked, 0), 0);
    struct numapool_msg got = take_request(responder);
    ASSERT_REFUSED(numapool_reply(responder, &got, &large, 0), -EINVAL, "at most 40");
    ck_assert_int_eq(numapool_requester_close(requesters[0], 0), 1);
    ck_assert_int_eq(numapool_reply(responder, &got, &asked, 0), -EHOSTUNREACH);
    close_requester(requesters[1]);
    close_responder(responder);
    options.flags = NUMAPOOL_BROADCAST;
    ASSERT_REFUSED(numapool_requester_open(pool, "small", &options, &requesters[0]), -EINVAL, "BROADCAST");
    ASSERT_REFUSED(numapool_responder_open(pool, "small", &options, &responder), -EINVAL, "BROADCAST");
}
END_TEST

START_TEST(its_ends_are_closed_with_it_and_not_alone)
{
    struct numapool_requester *requester;
    struct numapool_responder *responder;
    ck_assert_int_eq(numapool_requester_open(pool, "s", NULL, &requester), 0);
    ck_assert_int_eq(numapool_responder_open(pool, "s", NULL, &responder), 0);
    ASSERT_REFUSED(numapool_sender_close(numapool_requester_sender(requester), 0), -EBUSY, "close that");
    ASSERT_REFUSED(numapool_receiver_close(numapool_requester_receiver(requester)), -EBUSY, "close that");
    ASSERT_REFUSED(numapool_sender_close(numapool_responder_sender(responder), 0), -EBUSY, "close that");
    ASSERT_REFUSED(numapool_receiver_close(numapool_responder_receiver(responder)), -EBUSY, "close that");
    ck_assert_int_eq(numapool_requester_close(requester, 0), 0);
    ck_assert_int_eq(numapool_responder_close(responder, 0), 0);
}
END_TEST

START_TEST(names_and_handles_are_checked)
{
    struct numapool_requester *requester = NULL;
    struct numapool_responder *responder = NULL;
    struct numapool_msg message = NUMAPOOL_MSG_INIT;
    static const char longest[] = "12345678901234567890123456789012345678901", too_long[] = "123456789012345678901234567890123456789012";
    ASSERT_REFUSED(numapool_requester_open(pool, too_long, NULL, &requester), -EINVAL, "1 to 41");
    ASSERT_REFUSED(numapool_responder_open(pool, "", NULL, &responder), -EINVAL, "1 to 41");
    ASSERT_REFUSED(numapool_requester_open(pool, NULL, NULL, &requester), -EINVAL, "1 to 41");
    ck_assert_int_eq(numapool_requester_open(pool, longest, NULL, &requester), 0);
    close_requester(requester);
    ck_assert_ptr_null(numapool_requester_sender(NULL));
    ck_assert_ptr_null(numapool_requester_receiver(NULL));
    ck_assert_ptr_null(numapool_responder_sender(NULL));
    ck_assert_ptr_null(numapool_responder_receiver(NULL));
    ck_assert_int_eq(numapool_request(NULL, &message, 0), -EINVAL);
    ck_assert_int_eq(numapool_call(NULL, &message, &message, 0, NULL), -EINVAL);
    ck_assert_int_eq(numapool_reply(NULL, &message, &message, 0), -EINVAL);
    ck_assert_int_eq(numapool_reply_in_place(NULL, &message, 0), -EINVAL);
    ck_assert_int_eq(numapool_requester_close(NULL, 0), -EINVAL);
    ck_assert_int_eq(numapool_responder_close(NULL, 0), -EINVAL);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("request");
    TCase *tcase = tcase_create("request");
    tcase_add_checked_fixture(tcase, make, unmake);
    tcase_add_loop_test(tcase, replies_come_back_to_who_asked, 0, 3);
    tcase_add_test(tcase, a_request_waits_for_a_responder);
    tcase_add_test(tcase, a_request_whose_responder_left_is_answered_by_another);
    tcase_add_test(tcase, who_asked_and_left_gets_no_reply_and_nobody_else_does);
    tcase_add_loop_test(tcase, replies_that_nobody_waits_for_hold_no_slots, 0, 2);
    tcase_add_test(tcase, a_call_gets_its_own_reply_and_releases_older_ones);
    tcase_add_test(tcase, a_call_that_is_late_says_whether_it_was_sent);
    tcase_add_test(tcase, calls_are_answered_by_another_thread);
    tcase_add_test(tcase, what_is_no_request_is_refused);
    tcase_add_test(tcase, small_requests_are_answered_by_small_replies);
    tcase_add_test(tcase, its_ends_are_closed_with_it_and_not_alone);
    tcase_add_test(tcase, names_and_handles_are_checked);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
