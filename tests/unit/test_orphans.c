/* SPDX-License-Identifier: MIT
 * Lanes of the dead beside a receiver that lives and calls nothing: it must not keep them. */
#include "world_help.h"

/* Asked by the leak sanitizer. Who dies here leaves what he had, as a process would: that is no leak. */
__attribute__((visibility("default"))) int __lsan_is_turned_off(void);

int __lsan_is_turned_off(void)
{
    return 1;
}

static unsigned ended, left;

/* As in a daemon's client, whose mapping is its own: it stays when the lane ends. */
static void lane_gone_here(void *context, uint32_t lane, void *address, size_t bytes)
{
    (void)context, (void)lane, (void)address, (void)bytes;
    world.lanes_mapped--;
    ended++;
}

static struct np_authority counting;

static int count_leaving(void *context, uint32_t endpoint, uint32_t lane, uint32_t generation)
{
    left++;
    return member_authority.leave_lane(context, endpoint, lane, generation);
}

static void make_world_of_processes(void)
{
    make_world();
    world.broker.environment.ends_map_themselves = true;
    world.broker.environment.lane_memory_gone = lane_gone_here;
    ended = left = 0;
}

static struct numapool_receiver *join_as_receiver(struct member *member)
{
    struct numapool_receiver *receiver = NULL;
    counting = member_authority;
    counting.leave_lane = count_leaving;
    member->pool->authority = &counting;
    ck_assert_int_eq(numapool_receiver_open(member->pool, "c", NULL, &receiver), 0);
    return receiver;
}

static struct numapool_sender *join_as_sender(struct member *member, uint32_t flags)
{
    struct numapool_channel_options options = NUMAPOOL_CHANNEL_OPTIONS_INIT;
    struct numapool_sender *sender = NULL;
    options.lane_slots = 4;
    options.flags = flags;
    ck_assert_int_eq(numapool_sender_open(member->pool, "c", &options, &sender), 0);
    return sender;
}

static void send_one(struct numapool_sender *sender, uint64_t id)
{
    struct numapool_msg message = { .data = numapool_loan(sender), .length = 8, .id = id };
    ck_assert_ptr_nonnull(message.data);
    ck_assert_int_eq(numapool_send(sender, &message, 0), 0);
}

static void come_and_die(bool sends, uint64_t id)
{
    struct member *member = join_world();
    struct numapool_sender *sender = join_as_sender(member, 0);
    if (sends)
        send_one(sender, id);
    bury(member);
    forget_sender(sender);
}

static unsigned lanes_known(const struct numapool_receiver *receiver)
{
    unsigned known = 0;
    for (unsigned i = 0; i < receiver->lane_count; i++)
        known += receiver->lanes[i].shared != NULL;
    return known;
}

START_TEST(senders_come_and_die_for_ever_beside_a_receiver_that_calls_nothing)
{
    make_world_of_processes();
    struct member *silent = join_world();
    struct numapool_receiver *receiver = join_as_receiver(silent);
    struct numapool_msg message;
    for (unsigned i = 0; i < 100; i++) {
        come_and_die(false, 0);
        ck_assert_uint_le(world.lanes_mapped, 1);
    }
    struct member *last = join_world();
    struct numapool_sender *sender = join_as_sender(last, 0);
    send_one(sender, 7);
    ck_assert_int_eq(numapool_receive(receiver, &message, 1, 0),
                     1); /* it hears of what there is, and of nothing that is over */
    ck_assert_uint_eq(message.id, 7);
    ck_assert_uint_eq(lanes_known(receiver), 1);
    ck_assert_int_eq(numapool_release(receiver, &message, 1), 0);
}
END_TEST

START_TEST(a_lane_that_ended_before_it_was_asked_for_is_let_go_of)
{
    make_world_of_processes();
    struct member *silent = join_world(), *dying = join_world(), *other = join_world();
    struct numapool_receiver *receiver = join_as_receiver(silent);
    struct numapool_sender *first = join_as_sender(dying, 0);
    struct numapool_msg message;
    ck_assert_int_eq(numapool_receive(receiver, &message, 1, 0), -EAGAIN);
    ck_assert_uint_eq(lanes_known(receiver), 1);
    bury(dying);
    forget_sender(first);
    ck_assert_uint_eq(ended, 1);
    struct numapool_sender *second = join_as_sender(other, 0); /* with a lane of the same number, and another generation */
    send_one(second, 9);
    ck_assert_int_eq(numapool_receive(receiver, &message, 1, 0), 1);
    ck_assert_uint_eq(message.id, 9);
    ck_assert_int_eq(numapool_release(receiver, &message, 1), 0);
    ck_assert_int_eq(numapool_receive(receiver, &message, 1, 0), -EAGAIN);
    ck_assert_uint_eq(lanes_known(receiver), 1);
    ck_assert_uint_eq(receiver->orphan_count, 0);
}
END_TEST

START_TEST(what_is_not_released_keeps_its_lane)
{
    make_world_of_processes();
    struct member *silent = join_world();
    struct numapool_receiver *receiver = join_as_receiver(silent);
    struct numapool_msg messages[4];
    for (uint64_t id = 1; id <= 3; id++)
        come_and_die(true, id);
    ck_assert_uint_eq(world.lanes_mapped, 3);
    for (unsigned i = 0; i < 3; i++) {
        ck_assert_int_eq(numapool_receive(receiver, &messages[i], 1, 0), 1);
        ck_assert_uint_eq(messages[i].id, i + 1); /* the elder first */
    }
    ck_assert_uint_eq(world.lanes_mapped, 3);
    ck_assert_uint_eq(world_census().sent, 3);
    ck_assert_int_eq(numapool_release(receiver, messages, 3), 0);
    np_broker_orphan_duty(&world.broker);
    ck_assert_uint_eq(world.lanes_mapped, 0);
    ck_assert_int_eq(numapool_receive(receiver, &messages[0], 1, 0), -EAGAIN);
    ck_assert_uint_eq(lanes_known(receiver), 0);
    ck_assert_uint_eq(world_census().sent, 0);
}
END_TEST

START_TEST(a_sender_that_calls_its_lane_an_orphan_is_received_from_and_asked_about_once)
{
    make_world_of_processes();
    struct member *silent = join_world(), *scribbler = join_world(), *dying = join_world();
    struct numapool_receiver *receiver = join_as_receiver(silent);
    struct numapool_sender *sender = join_as_sender(scribbler, 0), *other = join_as_sender(dying, 0);
    struct numapool_msg message;
    ck_assert_int_eq(numapool_receive(receiver, &message, 1, 0), -EAGAIN);
    np_store32(&sender->lanes[0].shared->state, NP_LANE_ORPHAN, memory_order_release);
    bury(dying); /* so that there is news, and the memory of lanes is looked at */
    forget_sender(other);
    for (uint64_t id = 1; id < 20; id++) {
        ck_assert_int_eq(numapool_receive(receiver, &message, 1, 0), -EAGAIN);
        send_one(sender, id);
        ck_assert_int_eq(numapool_receive(receiver, &message, 1, 0), 1);
        ck_assert_uint_eq(message.id, id);
        ck_assert_int_eq(numapool_release(receiver, &message, 1), 0);
        np_add32(&receiver->endpoint.bell->news, 1, memory_order_release);
    }
    ck_assert_uint_eq(left, 2); /* and about the lane that had ended */
    ck_assert_uint_eq(lanes_known(receiver), 2); /* the board calls it one to be drained, and gave its sender another */
}
END_TEST

START_TEST(a_sender_reaches_who_comes_though_many_of_its_receivers_are_in_quarantine)
{
    enum { STOPPED = 2, EACH = NP_DRAINING_LANES_MAX / STOPPED };
    make_world_of_processes();
    struct member *from = join_world(), *living = join_world(), *stopped[STOPPED], *last;
    struct numapool_sender *sender = join_as_sender(from, 0);
    struct numapool_receiver *receivers[STOPPED][EACH], *fresh, *steady = join_as_receiver(living);
    struct np_scavenged what;
    struct numapool_msg message;
    unsigned got = 0;
    for (unsigned i = 0; i < STOPPED; i++) {
        stopped[i] = join_world();
        for (unsigned k = 0; k < EACH; k++)
            receivers[i][k] = join_as_receiver(stopped[i]);
        for (unsigned k = 0; k <= EACH; k++) /* in turn; one is the steady one's */
            send_one(sender, k + 1);
        for (unsigned k = 0; k < EACH; k++) /* and not released: the kernel has them */
            got += numapool_receive(receivers[i][k], &message, 1, 0) == 1;
        np_broker_client_stopped(&world.broker, stopped[i]->number, &what);
    }
    ck_assert_uint_eq(got, STOPPED * EACH);
    last = join_world();
    fresh = join_as_receiver(last);
    send_one(sender, 100);
    send_one(sender, 101);
    ck_assert_int_eq(numapool_receive(fresh, &message, 1, 0), 1); /* one of the two */
    for (unsigned i = 0; i < STOPPED; i++) { /* the kernel has let go */
        bury(stopped[i]);
        for (unsigned k = 0; k < EACH; k++)
            forget_receiver(receivers[i][k]);
    }
    unsigned again = 0;
    struct numapool_receiver *both[2] = { fresh, steady };
    for (unsigned i = 0; i < 2; i++)
        while (numapool_receive(both[i], &message, 1, 0) == 1)
            again += (message.flags & NUMAPOOL_REDELIVERED) != 0;
    ck_assert_uint_eq(again, STOPPED * EACH);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("orphans");
    TCase *c = tcase_create("orphans");
    tcase_add_test(c, senders_come_and_die_for_ever_beside_a_receiver_that_calls_nothing);
    tcase_add_test(c, a_lane_that_ended_before_it_was_asked_for_is_let_go_of);
    tcase_add_test(c, what_is_not_released_keeps_its_lane);
    tcase_add_test(c, a_sender_that_calls_its_lane_an_orphan_is_received_from_and_asked_about_once);
    tcase_add_test(c, a_sender_reaches_who_comes_though_many_of_its_receivers_are_in_quarantine);
    suite_add_tcase(suite, c);
    return run_suite(suite);
}
