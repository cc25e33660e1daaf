/* SPDX-License-Identifier: MIT
 * Lanes whose header somebody wrote over (the authority gives them without memory): who has such a lane hears of its states, who has it not goes on
 * without, and nothing counts for ever as a lane to be left. */
#include "pool_help.h"

#include "channel/receiver.h"
#include "channel/sender.h"

static struct np_authority authority; /* the embedded one, but for next_lane */
static const struct np_authority *honest;
static struct numapool_pool *pool;

static int next_lane_without_memory(void *context, uint32_t endpoint, uint64_t stamp, struct np_lane_grant *grant)
{
    int result = honest->next_lane(context, endpoint, stamp, grant);
    if (result > 0)
        grant->memory = NULL;
    return result;
}

static void set_up(void)
{
    pool = make_pool(256, 0);
    honest = pool->authority;
    authority = *honest;
    authority.next_lane = next_lane_without_memory;
}

static void lose_what_comes(bool lost)
{
    pool->authority = lost ? &authority : honest;
}

static struct numapool_receiver *open_receiver(void)
{
    struct numapool_receiver *receiver = NULL;
    ck_assert_int_eq(numapool_receiver_open(pool, "c", NULL, &receiver), 0);
    return receiver;
}

static void send_one(struct numapool_sender *sender, uint64_t id)
{
    struct numapool_msg message = { .data = numapool_loan(sender), .length = 8, .id = id };
    ck_assert_ptr_nonnull(message.data);
    ck_assert_int_eq(numapool_send(sender, &message, 0), 0);
}

static unsigned receive_all(struct numapool_receiver *receiver)
{
    struct numapool_msg message;
    unsigned got = 0;
    for (; numapool_receive(receiver, &message, 1, 0) == 1; got++)
        ck_assert_int_eq(numapool_release(receiver, &message, 1), 0);
    return got;
}

START_TEST(states_of_a_lane_that_is_known_are_heard)
{
    struct numapool_sender *sender;
    struct numapool_receiver *stays = open_receiver(), *leaves = open_receiver();
    ck_assert_int_eq(numapool_sender_open(pool, "c", NULL, &sender), 0);
    for (uint64_t id = 0; id < 4; id++)
        send_one(sender, id);
    ck_assert_uint_eq(sender->lane_count, 2);
    ck_assert_uint_eq(receive_all(stays), 2);
    lose_what_comes(true);
    ck_assert_int_eq(numapool_receiver_close(leaves), 0); /* its lane goes to the other, which cannot have it, and is to be drained */
    for (uint64_t id = 4; id < 8; id++)
        send_one(sender, id);
    unsigned active = 0;
    for (unsigned i = 0; i < sender->lane_count; i++)
        active += sender->lanes[i].state == NP_LANE_ACTIVE;
    ck_assert_uint_eq(active, 1);
    ck_assert_uint_eq(receive_all(stays), 4);
    lose_what_comes(false);
    ck_assert_int_eq(numapool_receiver_close(stays), 0);
    stays = open_receiver();
    ck_assert_uint_eq(receive_all(stays), 2); /* what was on the lane that could not be had */
    ck_assert_int_eq(numapool_receiver_close(stays), 0);
    ck_assert_int_eq(numapool_sender_close(sender, 0), 0);
    close_pool(pool);
}
END_TEST

START_TEST(who_joins_and_scribbles_again_and_again_keeps_nobody_from_the_sender)
{
    struct numapool_sender *sender;
    struct numapool_receiver *stays = open_receiver();
    ck_assert_int_eq(numapool_sender_open(pool, "c", NULL, &sender), 0);
    for (unsigned i = 0; i < 3 * NP_DRAINING_LANES_MAX; i++) {
        lose_what_comes(true);
        struct numapool_receiver *scribbler = open_receiver();
        send_one(sender, i);
        ck_assert_int_eq(numapool_receiver_close(scribbler), 0);
        send_one(sender, i);
        lose_what_comes(false);
    }
    ck_assert_uint_eq(receive_all(stays), 6 * NP_DRAINING_LANES_MAX);
    struct numapool_receiver *comes = open_receiver();
    send_one(sender, 1);
    send_one(sender, 2);
    ck_assert_uint_eq(receive_all(comes), 1);
    ck_assert_uint_eq(receive_all(stays), 1);
    ck_assert_int_eq(numapool_receiver_close(comes), 0);
    ck_assert_int_eq(numapool_receiver_close(stays), 0);
    ck_assert_int_eq(numapool_sender_close(sender, 0), 0);
    close_pool(pool);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("lost lane");
    TCase *lanes = tcase_create("lanes");
    tcase_add_checked_fixture(lanes, set_up, NULL);
    tcase_add_test(lanes, states_of_a_lane_that_is_known_are_heard);
    tcase_add_test(lanes, who_joins_and_scribbles_again_and_again_keeps_nobody_from_the_sender);
    suite_add_tcase(suite, lanes);
    return run_suite(suite);
}
