/* SPDX-License-Identifier: MIT
 * A lane that its sender leaves, or that stays behind when the sender closes, is the broker's from that call on: words of released messages are
 * then the broker's to free. So the sender has taken them all back before: else the same slot would come to two. */
#include "channel/sender.h"

#include "channel_help.h"

static struct np_authority authority; /* the embedded one, but that it looks at the words first */
static const struct np_authority *honest;
static unsigned closings, leavings;
static uint64_t sent_at_call;

/* Words that say SENT on that lane; 0: on any. */
static uint64_t sent_on(uint32_t lane)
{
    const struct np_arena *arena = &pool->arenas[0].arena;
    uint64_t sent = 0;
    for (uint64_t i = 0; i < arena->slots; i++) {
        uint64_t word = np_load64(&arena->words[i], memory_order_relaxed);
        unsigned state = np_word_state(word);
        sent += (state == NP_WORD_SENT || state == NP_WORD_SHARED) && (lane == 0 || np_word_owner(word) == lane);
    }
    return sent;
}

static int look_and_close(void *context, uint32_t endpoint)
{
    closings++;
    sent_at_call = sent_on(0);
    return honest->endpoint_close(context, endpoint);
}

static int look_and_leave(void *context, uint32_t endpoint, uint32_t lane, uint32_t generation)
{
    leavings++;
    sent_at_call = sent_on(lane);
    return honest->leave_lane(context, endpoint, lane, generation);
}

static void set_up(void)
{
    pool = make_pool(4096, 0);
    honest = pool->authority;
    authority = *honest;
    authority.endpoint_close = look_and_close;
    authority.leave_lane = look_and_leave;
    closings = leavings = 0;
    sent_at_call = UINT64_MAX;
}

static void tear_down(void)
{
    close_pool(pool);
}

enum { MANY = 200, FEW = 70 };

static void send_many(struct numapool_sender *sender, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        ck_assert_int_eq(send_plain(sender, i), 0);
}

/* Receives so many and releases them. */
static void receive_many(struct numapool_receiver *receiver, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        struct numapool_msg message;
        ck_assert_int_eq(numapool_receive(receiver, &message, 1, 0), 1);
        release_one(receiver, &message);
    }
}

START_TEST(a_sender_that_closes_has_taken_back_what_was_released)
{
    struct numapool_sender *sender = open_sender("c", 512);
    struct numapool_receiver *receiver = open_receiver("c");
    send_many(sender, MANY);
    receive_many(receiver, MANY - FEW);
    pool->authority = &authority;
    ck_assert_int_eq(numapool_sender_close(sender, 0), FEW);
    pool->authority = honest;
    ck_assert_uint_eq(closings, 1);
    ck_assert_uint_eq(sent_at_call, FEW); /* and nothing that was released */
    receive_many(receiver, FEW);
    close_receiver(receiver);
}
END_TEST

START_TEST(a_broadcasting_sender_that_closes_has_taken_back_what_was_released_by_all)
{
    struct numapool_channel_options options = NUMAPOOL_CHANNEL_OPTIONS_INIT;
    struct numapool_sender *sender;
    struct numapool_receiver *receivers[2];
    options.flags = NUMAPOOL_BROADCAST;
    for (unsigned i = 0; i < 2; i++)
        ck_assert_int_eq(numapool_receiver_open(pool, "c", &options, &receivers[i]), 0);
    ck_assert_int_eq(numapool_sender_open(pool, "c", &options, &sender), 0);
    send_many(sender, MANY);
    receive_many(receivers[0], MANY);
    receive_many(receivers[1], MANY);
    pool->authority = &authority;
    numapool_sender_close(sender, 0);
    pool->authority = honest;
    ck_assert_uint_eq(closings, 1);
    ck_assert_uint_eq(sent_at_call, 0);
    close_receiver(receivers[0]);
    close_receiver(receivers[1]);
}
END_TEST

START_TEST(a_sender_that_leaves_a_drained_lane_has_taken_back_what_was_released_on_it)
{
    struct numapool_sender *sender = open_sender("c", 512);
    struct numapool_receiver *stays = open_receiver("c"), *leaves = open_receiver("c");
    send_many(sender, MANY);
    close_receiver(leaves); /* its half is to be drained by the other one */
    ck_assert_uint_eq(drain(stays), MANY);
    pool->authority = &authority;
    ck_assert_int_eq(send_plain(sender, 1), 0); /* hears that it is to leave */
    np_sender_take_back_all(sender);
    pool->authority = honest;
    ck_assert_uint_eq(leavings, 1);
    ck_assert_uint_eq(sent_at_call, 0);
    receive_and_release(stays, 1);
    close_sender(sender);
    close_receiver(stays);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("leaving");
    TCase *lanes = tcase_create("lanes");
    tcase_add_checked_fixture(lanes, set_up, tear_down);
    tcase_add_test(lanes, a_sender_that_closes_has_taken_back_what_was_released);
    tcase_add_test(lanes, a_broadcasting_sender_that_closes_has_taken_back_what_was_released_by_all);
    tcase_add_test(lanes, a_sender_that_leaves_a_drained_lane_has_taken_back_what_was_released_on_it);
    suite_add_tcase(suite, lanes);
    return run_suite(suite);
}
