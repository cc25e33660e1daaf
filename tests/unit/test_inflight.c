/* SPDX-License-Identifier: MIT
 * A client that is gone while the kernel may still do I/O into its slots: what goes on at once, and what waits. By hand, with the
 * broker alone; the real kernel's word is in tests/crash/inflight. */
#include "world_help.h"

/* Asked by the leak sanitizer. Who is made to die here leaves what he had, as a process would: that is no leak. */
__attribute__((visibility("default"))) int __lsan_is_turned_off(void);

int __lsan_is_turned_off(void)
{
    return 1;
}

static struct numapool_sender *open_sender(struct member *member, const char *channel)
{
    struct numapool_channel_options options = NUMAPOOL_CHANNEL_OPTIONS_INIT;
    struct numapool_sender *sender;
    options.lane_slots = 16;
    options.spin_ns = -1;
    ck_assert_int_eq(numapool_sender_open(member->pool, channel, &options, &sender), 0);
    return sender;
}

static struct numapool_receiver *open_receiver(struct member *member, const char *channel)
{
    struct numapool_channel_options options = NUMAPOOL_CHANNEL_OPTIONS_INIT;
    struct numapool_receiver *receiver;
    options.spin_ns = -1;
    ck_assert_int_eq(numapool_receiver_open(member->pool, channel, &options, &receiver), 0);
    return receiver;
}

static void send_ids(struct numapool_sender *sender, uint64_t first, uint64_t last)
{
    for (uint64_t id = first; id <= last; id++) {
        struct numapool_msg message = { .data = numapool_loan(sender), .length = 8, .id = id };
        ck_assert_ptr_nonnull(message.data);
        ck_assert_int_eq(numapool_send(sender, &message, 0), 0);
    }
}

/* Receives and releases all there is; ids are marked in seen[]. How many. */
static unsigned receive_all(struct numapool_receiver *receiver, unsigned char seen[64], unsigned *redelivered)
{
    struct numapool_msg message;
    unsigned count = 0;
    while (numapool_receive(receiver, &message, 1, 0) == 1) {
        ck_assert_uint_lt(message.id, 64);
        seen[message.id]++;
        *redelivered += (message.flags & NUMAPOOL_REDELIVERED) != 0;
        ck_assert_int_eq(numapool_release(receiver, &message, 1), 0);
        count++;
    }
    return count;
}

static void take_token(const struct member *member)
{
    np_store32(&world.board.clients[member->number].has_io, 1, memory_order_release);
}

static void stop(const struct member *member)
{
    struct np_scavenged what;
    for (unsigned i = 0; i < 2; i++) /* twice, as by a worker that died after the first time */
        np_broker_client_stopped(&world.broker, member->number, &what);
}

static uint64_t quarantined(void)
{
    uint64_t sum = 0, said = np_broker_count_quarantined(&world.broker);
    for (unsigned i = 0; i < WORLD_ARENAS; i++)
        sum += np_load64(&((struct np_arena_header *)world.meta[i])->quarantined, memory_order_relaxed);
    ck_assert_uint_eq(sum, said);
    return said;
}

START_TEST(slots_of_the_stopped_stay_his_until_the_kernel_has_let_go)
{
    make_world();
    struct member *dead = join_world(), *other = join_world();
    void *slots[WORLD_SLOTS];
    ck_assert_uint_eq(np_arena_take(&dead->pool->arenas[0].arena, slots, 60), 60);
    take_token(dead);
    stop(dead);
    assert_world(60, 0);
    ck_assert_uint_eq(quarantined(), 60);
    ck_assert_uint_eq(np_arena_take(&other->pool->arenas[0].arena, slots, WORLD_SLOTS), WORLD_SLOTS - 60); /* and no more */
    restart_broker();
    assert_world(WORLD_SLOTS, 0);
    ck_assert_uint_eq(quarantined(), 60);
    ck_assert(np_entry_is(&world.board.clients[dead->number].state, NP_DYING));
    ck_assert_uint_eq(bury(dead).slots, 60);
    ck_assert_uint_eq(quarantined(), 0);
    assert_world(WORLD_SLOTS - 60, 0);
    bury(other);
    unmake_world();
}
END_TEST

START_TEST(the_number_of_the_stopped_is_nobody_elses)
{
    make_world();
    struct member *dead = join_world();
    uint32_t number = dead->number;
    take_token(dead);
    stop(dead);
    struct member *next = join_world();
    ck_assert_uint_ne(next->number, number);
    bury(dead);
    struct member *third = join_world();
    ck_assert_uint_eq(third->number, number);
    ck_assert_uint_eq(np_load32(&world.board.clients[number].has_io, memory_order_relaxed), 0);
    bury(next);
    bury(third);
    unmake_world();
}
END_TEST

START_TEST(what_the_stopped_had_sent_goes_on_at_once)
{
    make_world();
    struct member *dead = join_world(), *other = join_world();
    struct numapool_sender *sender = open_sender(dead, "out");
    struct numapool_receiver *receiver = open_receiver(other, "out");
    unsigned char seen[64] = { 0 };
    unsigned redelivered = 0;
    send_ids(sender, 1, 5);
    take_token(dead);
    stop(dead);
    ck_assert_uint_eq(receive_all(receiver, seen, &redelivered), 5);
    np_broker_orphan_duty(&world.broker);
    ck_assert_uint_eq(world_census().sent, 0); /* and comes back: it was sent, not held */
    forget_sender(sender);
    bury(dead);
    ck_assert_int_eq(numapool_receiver_close(receiver), 0);
    bury(other);
    unmake_world();
}
END_TEST

START_TEST(what_the_stopped_had_received_goes_to_nobody_before_the_kernel_has_let_go)
{
    make_world();
    struct member *from = join_world(), *dead = join_world(), *other = join_world();
    struct numapool_receiver *lost = open_receiver(dead, "in");
    struct numapool_sender *sender = open_sender(from, "in");
    struct numapool_msg message[3];
    unsigned char seen[64] = { 0 };
    unsigned redelivered = 0;
    send_ids(sender, 1, 6);
    ck_assert_int_eq(numapool_receive(lost, message, 3, 0), 3); /* it sends them from their slots without a copy, say */
    struct numapool_receiver *receiver = open_receiver(other, "in");
    take_token(dead);
    stop(dead);
    ck_assert_uint_eq(receive_all(receiver, seen, &redelivered), 0);
    send_ids(sender, 7, 12); /* what comes now has another way, all of it */
    ck_assert_uint_eq(receive_all(receiver, seen, &redelivered), 6);
    restart_broker();
    ck_assert_uint_eq(receive_all(receiver, seen, &redelivered), 0);
    ck_assert_uint_eq(redelivered, 0);
    ck_assert_uint_eq(bury(dead).redelivered, 6);
    ck_assert_uint_eq(receive_all(receiver, seen, &redelivered), 6);
    ck_assert_uint_eq(redelivered, 6);
    for (unsigned id = 1; id <= 12; id++)
        ck_assert_uint_eq(seen[id], 1);
    ck_assert_int_eq(numapool_sender_close(sender, 0), 0);
    ck_assert_int_eq(numapool_receiver_close(receiver), 0);
    forget_receiver(lost);
    bury(from);
    bury(other);
    unmake_world();
}
END_TEST

START_TEST(messages_wait_for_a_receiver_while_the_only_one_is_stopped)
{
    make_world();
    struct member *from = join_world(), *dead = join_world();
    struct numapool_receiver *lost = open_receiver(dead, "in");
    struct numapool_sender *sender = open_sender(from, "in");
    unsigned char seen[64] = { 0 };
    unsigned redelivered = 0;
    send_ids(sender, 1, 3);
    take_token(dead);
    stop(dead);
    send_ids(sender, 4, 12);
    struct member *other = join_world(); /* a successor, before and after */
    struct numapool_receiver *receiver = open_receiver(other, "in");
    ck_assert_uint_eq(receive_all(receiver, seen, &redelivered), 9);
    bury(dead);
    ck_assert_uint_eq(receive_all(receiver, seen, &redelivered), 3);
    for (unsigned id = 1; id <= 12; id++)
        ck_assert_uint_eq(seen[id], 1);
    ck_assert_int_eq(numapool_sender_close(sender, 0), 0);
    ck_assert_int_eq(numapool_receiver_close(receiver), 0);
    forget_receiver(lost);
    bury(from);
    bury(other);
    unmake_world();
}
END_TEST

START_TEST(a_stopped_forwarder_has_sent_what_he_forwarded_and_keeps_what_he_had_not)
{
    make_world();
    struct member *from = join_world(), *dead = join_world(), *other = join_world();
    struct numapool_receiver *lost = open_receiver(dead, "in");
    struct numapool_sender *way = open_sender(dead, "out"), *sender = open_sender(from, "in");
    struct numapool_receiver *last = open_receiver(other, "out");
    struct numapool_msg message[4];
    unsigned char seen[64] = { 0 };
    unsigned redelivered = 0;
    send_ids(sender, 1, 4);
    ck_assert_int_eq(numapool_receive(lost, message, 4, 0), 4);
    ck_assert_int_eq(numapool_forward_bulk(lost, message, 2, way, 0), 2);
    take_token(dead);
    stop(dead);
    ck_assert_uint_eq(receive_all(last, seen, &redelivered), 2);
    struct numapool_receiver *receiver = open_receiver(other, "in");
    ck_assert_uint_eq(receive_all(receiver, seen, &redelivered), 0);
    bury(dead);
    ck_assert_uint_eq(receive_all(receiver, seen, &redelivered), 2);
    for (unsigned id = 1; id <= 4; id++)
        ck_assert_uint_eq(seen[id], 1);
    ck_assert_int_eq(numapool_sender_close(sender, 0), 0);
    ck_assert_int_eq(numapool_receiver_close(receiver), 0);
    ck_assert_int_eq(numapool_receiver_close(last), 0);
    forget_receiver(lost);
    forget_sender(way);
    bury(from);
    bury(other);
    unmake_world();
}
END_TEST

START_TEST(a_sender_may_leave_while_its_receiver_is_stopped)
{
    make_world();
    struct member *from = join_world(), *dead = join_world(), *other = join_world();
    struct numapool_receiver *lost = open_receiver(dead, "in");
    struct numapool_sender *sender = open_sender(from, "in");
    unsigned char seen[64] = { 0 };
    unsigned redelivered = 0;
    send_ids(sender, 1, 3);
    take_token(dead);
    stop(dead);
    ck_assert_int_eq(numapool_sender_close(sender, 0), 3);
    bury(from);
    restart_broker();
    struct numapool_receiver *receiver = open_receiver(other, "in");
    ck_assert_uint_eq(receive_all(receiver, seen, &redelivered), 0);
    bury(dead);
    ck_assert_uint_eq(receive_all(receiver, seen, &redelivered), 3);
    ck_assert_int_eq(numapool_receiver_close(receiver), 0);
    forget_receiver(lost);
    bury(other);
    unmake_world();
}
END_TEST

static int send_keyed(struct numapool_sender *sender, uint64_t id)
{
    struct numapool_msg message = { .data = numapool_loan(sender), .length = 8, .id = id, .key = 7, .flags = NUMAPOOL_KEYED };
    ck_assert_ptr_nonnull(message.data);
    int result = numapool_send(sender, &message, 0);
    if (result < 0)
        ck_assert_int_eq(numapool_unloan(sender, message.data), 0);
    return result;
}

START_TEST(a_key_keeps_its_order_past_a_stopped_receiver)
{
    make_world();
    struct member *from = join_world(), *dead = join_world(), *other = join_world();
    struct numapool_receiver *lost = open_receiver(dead, "in");
    struct numapool_sender *sender = open_sender(from, "in");
    struct numapool_msg message;
    for (uint64_t id = 1; id <= 3; id++)
        ck_assert_int_eq(send_keyed(sender, id), 0);
    struct numapool_receiver *receiver = open_receiver(other, "in");
    take_token(dead);
    stop(dead);
    ck_assert_int_eq(send_keyed(sender, 4), -EAGAIN); /* its elders wait for the kernel */
    ck_assert_int_eq(numapool_receive(receiver, &message, 1, 0), -EAGAIN);
    bury(dead);
    for (uint64_t id = 1; id <= 3; id++) {
        ck_assert_int_eq(numapool_receive(receiver, &message, 1, 0), 1);
        ck_assert_uint_eq(message.id, id);
        ck_assert_int_eq(numapool_release(receiver, &message, 1), 0);
    }
    ck_assert_int_eq(send_keyed(sender, 4), 0);
    ck_assert_int_eq(numapool_receive(receiver, &message, 1, 0), 1);
    ck_assert_uint_eq(message.id, 4);
    ck_assert_int_eq(numapool_release(receiver, &message, 1), 0);
    ck_assert_int_ge(numapool_sender_close(sender, 0), 0);
    ck_assert_int_eq(numapool_receiver_close(receiver), 0);
    forget_receiver(lost);
    bury(from);
    bury(other);
    unmake_world();
}
END_TEST

/* What it was reading may not be taken back, and nobody else is to read it: its sender waits, as for one that is slow. */
START_TEST(a_broadcaster_waits_for_a_stopped_reader_and_then_goes_on)
{
    make_world();
    struct numapool_channel_options options = NUMAPOOL_CHANNEL_OPTIONS_INIT;
    struct member *from = join_world(), *dead = join_world(), *other = join_world();
    struct numapool_receiver *lost, *receiver;
    struct numapool_sender *sender;
    unsigned char seen[64] = { 0 };
    unsigned redelivered = 0, sent = 0;
    options.flags = NUMAPOOL_BROADCAST;
    options.lane_slots = 8;
    options.spin_ns = -1;
    ck_assert_int_eq(numapool_receiver_open(dead->pool, "all", &options, &lost), 0);
    ck_assert_int_eq(numapool_receiver_open(other->pool, "all", &options, &receiver), 0);
    ck_assert_int_eq(numapool_sender_open(from->pool, "all", &options, &sender), 0);
    send_ids(sender, 1, 3);
    take_token(dead);
    stop(dead);
    restart_broker();
    ck_assert_uint_eq(receive_all(receiver, seen, &redelivered), 3);
    np_broker_orphan_duty(&world.broker);
    ck_assert_uint_ge(world_census().sent, 3); /* the three are still there */
    for (; sent < 20; sent++) {
        struct numapool_msg message = { .data = numapool_loan(sender), .length = 8, .id = 10 + sent };
        ck_assert_ptr_nonnull(message.data);
        int result = numapool_send(sender, &message, 0);
        if (result < 0) {
            ck_assert_int_eq(result, -EAGAIN);
            ck_assert_int_eq(numapool_unloan(sender, message.data), 0);
            break;
        }
    }
    ck_assert_uint_eq(sent, 5); /* its lane is full */
    bury(dead);
    ck_assert_uint_eq(receive_all(receiver, seen, &redelivered), 5);
    send_ids(sender, 40, 47); /* for which there would be no room, were he still waited for */
    ck_assert_uint_eq(receive_all(receiver, seen, &redelivered), 8);
    ck_assert_int_ge(numapool_sender_close(sender, 0), 0);
    ck_assert_int_eq(numapool_receiver_close(receiver), 0);
    forget_receiver(lost);
    bury(from);
    bury(other);
    unmake_world();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("inflight");
    TCase *tests = tcase_create("inflight");
    tcase_add_test(tests, slots_of_the_stopped_stay_his_until_the_kernel_has_let_go);
    tcase_add_test(tests, the_number_of_the_stopped_is_nobody_elses);
    tcase_add_test(tests, what_the_stopped_had_sent_goes_on_at_once);
    tcase_add_test(tests, what_the_stopped_had_received_goes_to_nobody_before_the_kernel_has_let_go);
    tcase_add_test(tests, messages_wait_for_a_receiver_while_the_only_one_is_stopped);
    tcase_add_test(tests, a_stopped_forwarder_has_sent_what_he_forwarded_and_keeps_what_he_had_not);
    tcase_add_test(tests, a_sender_may_leave_while_its_receiver_is_stopped);
    tcase_add_test(tests, a_key_keeps_its_order_past_a_stopped_receiver);
    tcase_add_test(tests, a_broadcaster_waits_for_a_stopped_reader_and_then_goes_on);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
