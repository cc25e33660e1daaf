/* SPDX-License-Identifier: MIT
 * Channels inside one process: order, room, release, keep, forward, ends that come and go. */
#include "pool_help.h"

static struct numapool_pool *pool;

static void make(void)
{
    pool = make_pool(512, 0);
}

static void unmake(void)
{
    close_pool(pool);
}

static struct numapool_sender *open_sender(const char *channel, uint32_t lane_slots)
{
    struct numapool_channel_options options = NUMAPOOL_CHANNEL_OPTIONS_INIT;
    struct numapool_sender *sender = NULL;
    options.lane_slots = lane_slots;
    ck_assert_int_eq(numapool_sender_open(pool, channel, &options, &sender), 0);
    return sender;
}

static struct numapool_receiver *open_receiver(const char *channel)
{
    struct numapool_receiver *receiver = NULL;
    ck_assert_int_eq(numapool_receiver_open(pool, channel, NULL, &receiver), 0);
    return receiver;
}

static void close_sender(struct numapool_sender *sender, int left)
{
    ck_assert_int_eq(numapool_sender_close(sender, 0), left);
}

static void close_receiver(struct numapool_receiver *receiver)
{
    ck_assert_int_eq(numapool_receiver_close(receiver), 0);
}

static struct numapool_msg filled(struct numapool_sender *sender, uint64_t id)
{
    struct numapool_msg message = { .data = numapool_loan(sender), .length = 16, .type = (uint16_t)(id * 7), .id = id, .key = ~id };
    ck_assert_ptr_nonnull(message.data);
    memcpy(message.data, &id, sizeof id);
    return message;
}

static void send_ids(struct numapool_sender *sender, uint64_t from, uint64_t until)
{
    for (uint64_t id = from; id < until; id++) {
        struct numapool_msg message = filled(sender, id);
        ck_assert_int_eq(numapool_send(sender, &message, 0), 0);
    }
}

static void assert_is(const struct numapool_msg *message, uint64_t id, unsigned flags)
{
    uint64_t payload;
    memcpy(&payload, message->data, sizeof payload);
    ck_assert_uint_eq(message->id, id);
    ck_assert_uint_eq(payload, id);
    ck_assert_uint_eq(message->key, ~id);
    ck_assert_uint_eq(message->type, (uint16_t)(id * 7));
    ck_assert_uint_eq(message->length, 16);
    ck_assert_uint_eq(message->flags, flags);
}

/* Receives exactly those, in order, one call. */
static void receive_ids(struct numapool_receiver *receiver, struct numapool_msg *messages, uint64_t from, uint64_t until,
                        unsigned flags)
{
    unsigned n = (unsigned)(until - from);
    ck_assert_int_eq(numapool_receive(receiver, messages, n, 0), (int)n);
    for (unsigned i = 0; i < n; i++)
        assert_is(&messages[i], from + i, flags);
}

static void assert_nothing_there(struct numapool_receiver *receiver)
{
    struct numapool_msg message;
    ASSERT_REFUSED(numapool_receive(receiver, &message, 1, 0), -EAGAIN, "no message");
}

static void release(struct numapool_receiver *receiver, const struct numapool_msg *messages, unsigned n)
{
    ck_assert_int_eq(numapool_release(receiver, messages, n), 0);
}

START_TEST(messages_come_in_order_with_all_that_was_sent)
{
    static const uint32_t lane_slots[] = { 1, 2, 3, 8, 0 };
    struct numapool_sender *sender = open_sender("c", lane_slots[_i]);
    struct numapool_receiver *receiver = open_receiver("c");
    struct numapool_msg messages[3];
    for (uint64_t id = 0; id < 300; id += 2) {
        send_ids(sender, id, id + 2);
        receive_ids(receiver, messages, id, id + 2, 0);
        ck_assert_uint_eq(messages[1].lane_seq, messages[0].lane_seq + 1);
        release(receiver, messages, 2);
    }
    assert_nothing_there(receiver);
    ck_assert_int_eq(numapool_sender_close(sender, NUMAPOOL_FOREVER), 0);
    close_receiver(receiver);
}
END_TEST

START_TEST(either_end_may_come_first)
{
    struct numapool_msg messages[4];
    struct numapool_sender *sender = open_sender("c", 8);
    send_ids(sender, 0, 4);
    struct numapool_receiver *receiver = open_receiver("c");
    receive_ids(receiver, messages, 0, 4, 0);
    release(receiver, messages, 4);
    close_sender(sender, 0);
    struct numapool_sender *second = open_sender("c", 8);
    send_ids(second, 4, 6);
    receive_ids(receiver, messages, 4, 6, 0);
    release(receiver, messages, 2);
    close_sender(second, 0);
    close_receiver(receiver);
}
END_TEST

START_TEST(channels_of_different_names_are_apart)
{
    struct numapool_sender *one = open_sender("one", 8), *two = open_sender("two", 8);
    struct numapool_receiver *ones = open_receiver("one"), *twos = open_receiver("two");
    struct numapool_msg messages[3];
    send_ids(one, 0, 3);
    assert_nothing_there(twos);
    send_ids(two, 10, 12);
    receive_ids(ones, messages, 0, 3, 0);
    release(ones, messages, 3);
    receive_ids(twos, messages, 10, 12, 0);
    release(twos, messages, 2);
    close_sender(one, 0);
    close_sender(two, 0);
    close_receiver(ones);
    close_receiver(twos);
}
END_TEST

START_TEST(a_full_lane_says_so_and_the_slot_stays_the_callers)
{
    struct numapool_sender *sender = open_sender("c", 4);
    struct numapool_receiver *receiver = open_receiver("c");
    struct numapool_msg messages[4], more;
    send_ids(sender, 0, 4);
    more = filled(sender, 4);
    ASSERT_REFUSED(numapool_send(sender, &more, 0), -EAGAIN, "full");
    ASSERT_REFUSED(numapool_send(sender, &more, 2000000), -ETIMEDOUT, "full");
    receive_ids(receiver, messages, 0, 4, 0);
    ASSERT_REFUSED(numapool_send(sender, &more, 0), -EAGAIN, "full"); /* received is not released */
    release(receiver, messages, 1);
    ck_assert_int_eq(numapool_send(sender, &more, 0), 0);
    release(receiver, messages + 1, 3);
    receive_ids(receiver, messages, 4, 5, 0);
    release(receiver, messages, 1);
    close_sender(sender, 0);
    close_receiver(receiver);
}
END_TEST

START_TEST(a_bulk_sends_what_there_is_room_for)
{
    struct numapool_sender *sender = open_sender("c", 4);
    struct numapool_receiver *receiver = open_receiver("c");
    struct numapool_msg messages[6], received[6];
    for (uint64_t id = 0; id < 6; id++)
        messages[id] = filled(sender, id);
    ck_assert_int_eq(numapool_send_bulk(sender, messages, 6, 0), 4);
    ASSERT_REFUSED(numapool_send_bulk(sender, messages + 4, 2, 0), -EAGAIN, "full");
    receive_ids(receiver, received, 0, 4, 0);
    release(receiver, received, 4);
    ck_assert_int_eq(numapool_send_bulk(sender, messages + 4, 2, 0), 2);
    ASSERT_REFUSED(numapool_send_bulk(sender, messages, 0, 0), -EINVAL, "0 messages");
    ASSERT_REFUSED(numapool_send_bulk(sender, messages, 1, -5), -EINVAL, "-5");
    receive_ids(receiver, received, 4, 6, 0);
    release(receiver, received, 2);
    close_sender(sender, 0);
    close_receiver(receiver);
}
END_TEST

START_TEST(what_cannot_be_sent_is_refused_and_the_rest_goes)
{
    struct numapool_sender *sender = open_sender("c", 8);
    struct numapool_receiver *receiver = open_receiver("c");
    struct numapool_msg good = filled(sender, 0), messages[3], bad = good;
    int foreign;
    bad.data = &foreign;
    ASSERT_REFUSED(numapool_send(sender, &bad, 0), -EINVAL, "pay");
    bad.data = (char *)good.data + 64;
    ASSERT_REFUSED(numapool_send(sender, &bad, 0), -EINVAL, "pay");
    bad.data = NULL;
    ASSERT_REFUSED(numapool_send(sender, &bad, 0), -EINVAL, "pay");
    bad = good;
    bad.length = SLOT_BYTES + 1;
    ASSERT_REFUSED(numapool_send(sender, &bad, 0), -EINVAL, "129 bytes");
    ck_assert_int_eq(numapool_send(sender, &good, 0), 0);
    ASSERT_REFUSED(numapool_send(sender, &good, 0), -EINVAL, "not this process's"); /* sent already */
    struct numapool_msg batch[3] = { filled(sender, 1), bad, filled(sender, 2) };
    ck_assert_int_eq(numapool_send_bulk(sender, batch, 3, 0), 1);
    ck_assert_int_eq(numapool_send(sender, &batch[2], 0), 0);
    receive_ids(receiver, messages, 0, 3, 0);
    release(receiver, messages, 3);
    for (uint64_t i = 0; i < pool_slots(pool); i++) { /* a slot that is free, or cached by nobody */
        bad.data = np_arena_slot(&pool->arenas[0].arena, i);
        bad.length = 1;
        if (np_word_state(np_load64(&pool->arenas[0].arena.words[i], memory_order_relaxed)) == NP_WORD_FREE)
            ck_assert_int_eq(numapool_send(sender, &bad, 0), -EINVAL);
    }
    close_sender(sender, 0);
    close_receiver(receiver);
}
END_TEST

START_TEST(what_is_longest_and_shortest_goes_through)
{
    struct numapool_sender *sender = open_sender("c", 8);
    struct numapool_receiver *receiver = open_receiver("c");
    struct numapool_msg messages[2] = { filled(sender, 0), filled(sender, 1) };
    messages[0].length = SLOT_BYTES;
    messages[1].length = 0;
    ck_assert_int_eq(numapool_send_bulk(sender, messages, 2, 0), 2);
    ck_assert_int_eq(numapool_receive(receiver, messages, 2, 0), 2);
    ck_assert_uint_eq(messages[0].length, SLOT_BYTES);
    ck_assert_uint_eq(messages[1].length, 0);
    release(receiver, messages, 2);
    close_sender(sender, 0);
    close_receiver(receiver);
}
END_TEST

START_TEST(a_loan_can_be_given_back)
{
    struct numapool_sender *sender = open_sender("c", 8);
    void *slots[600];
    unsigned n = 0;
    while (n < 600 && (slots[n] = numapool_loan(sender)) != NULL)
        n++;
    ck_assert_uint_eq(n, 512);
    ck_assert_ptr_null(numapool_loan(sender));
    assert_sentence_has("empty");
    while (n-- > 0)
        ck_assert_int_eq(numapool_unloan(sender, slots[n]), 0);
    ASSERT_REFUSED(numapool_unloan(sender, &n), -EINVAL, "pay");
    close_sender(sender, 0);
}
END_TEST

START_TEST(a_receive_in_vain_says_so)
{
    struct numapool_receiver *receiver = open_receiver("c");
    struct numapool_msg message;
    ASSERT_REFUSED(numapool_receive(receiver, &message, 1, 0), -EAGAIN, "no message");
    ASSERT_REFUSED(numapool_receive(receiver, &message, 1, 2000000), -ETIMEDOUT, "in time");
    ASSERT_REFUSED(numapool_receive(receiver, &message, 0, 0), -EINVAL, "0 messages");
    ASSERT_REFUSED(numapool_receive(receiver, &message, 1, -1), -EINVAL, "-1");
    close_receiver(receiver);
}
END_TEST

START_TEST(releases_out_of_order_count_when_their_elders_are_released)
{
    struct numapool_sender *sender = open_sender("c", 4);
    struct numapool_receiver *receiver = open_receiver("c");
    struct numapool_msg messages[4], more[1];
    for (uint64_t id = 0; id < 40; id += 4) {
        send_ids(sender, id, id + 4);
        receive_ids(receiver, messages, id, id + 4, 0);
        release(receiver, &messages[2], 1);
        release(receiver, &messages[1], 1);
        release(receiver, &messages[3], 1);
        more[0] = filled(sender, 99);
        ck_assert_int_eq(numapool_send(sender, more, 0), -EAGAIN);
        ck_assert_int_eq(numapool_unloan(sender, more[0].data), 0);
        release(receiver, &messages[0], 1);
    }
    send_ids(sender, 40, 44);
    receive_ids(receiver, messages, 40, 44, 0);
    release(receiver, messages, 4);
    close_sender(sender, 0);
    close_receiver(receiver);
}
END_TEST

START_TEST(what_is_released_twice_is_refused)
{
    struct numapool_sender *sender = open_sender("c", 8);
    struct numapool_receiver *receiver = open_receiver("c");
    struct numapool_msg messages[4], changed;
    send_ids(sender, 0, 4);
    receive_ids(receiver, messages, 0, 4, 0);
    release(receiver, &messages[2], 1);
    ASSERT_REFUSED(numapool_release(receiver, &messages[2], 1), -EINVAL, "twice");
    release(receiver, &messages[0], 1);
    ASSERT_REFUSED(numapool_release(receiver, &messages[0], 1), -EINVAL, "twice");
    ASSERT_REFUSED(numapool_keep(receiver, &messages[0]), -EINVAL, "message 0");
    changed = messages[1];
    changed.lane_seq += 100;
    ASSERT_REFUSED(numapool_release(receiver, &changed, 1), -EINVAL, "101");
    changed = messages[1];
    changed.lane = 7;
    ASSERT_REFUSED(numapool_release(receiver, &changed, 1), -EINVAL, "lane 7");
    struct numapool_msg pair[3] = { messages[1], messages[0], messages[3] };
    ASSERT_REFUSED(numapool_release(receiver, pair, 3), -EINVAL, "twice"); /* the one before it has been released */
    ASSERT_REFUSED(numapool_release(receiver, &messages[1], 1), -EINVAL, "twice");
    release(receiver, &messages[3], 1);
    release(receiver, messages, 0);
    close_sender(sender, 0);
    close_receiver(receiver);
}
END_TEST

START_TEST(a_kept_slot_is_mine_and_is_delivered_no_more)
{
    struct numapool_magazine *magazine = open_magazine(pool, 16);
    struct numapool_sender *sender = open_sender("c", 4);
    struct numapool_receiver *receiver = open_receiver("c");
    struct numapool_msg messages[3], wrong;
    send_ids(sender, 0, 3);
    receive_ids(receiver, messages, 0, 3, 0);
    wrong = messages[1];
    wrong.data = messages[2].data;
    ASSERT_REFUSED(numapool_keep(receiver, &wrong), -EINVAL, "message 1");
    ck_assert_int_eq(numapool_keep(receiver, &messages[1]), 0);
    ASSERT_REFUSED(numapool_keep(receiver, &messages[1]), -EINVAL, "message 1");
    ASSERT_REFUSED(numapool_release(receiver, &messages[1], 1), -EINVAL, "message 1");
    close_receiver(receiver);
    receiver = open_receiver("c");
    struct numapool_msg again[3];
    ck_assert_int_eq(numapool_receive(receiver, again, 3, 0), 2);
    assert_is(&again[0], 0, NUMAPOOL_REDELIVERED);
    assert_is(&again[1], 2, NUMAPOOL_REDELIVERED);
    release(receiver, again, 2);
    assert_is(&messages[1], 1, 0); /* still as it was */
    ck_assert_int_eq(numapool_send(sender, &messages[1], 0), 0); /* mine: it can be sent */
    receive_ids(receiver, messages, 1, 2, 0);
    ck_assert_int_eq(numapool_keep(receiver, &messages[0]), 0);
    ck_assert_int_eq(numapool_put(magazine, messages[0].data), 0);
    close_sender(sender, 0);
    close_receiver(receiver);
    ck_assert_int_eq(numapool_magazine_close(magazine), 0);
}
END_TEST

/* The sender takes back what was released, and nothing else. */
START_TEST(what_was_kept_or_forwarded_is_lent_to_nobody_else)
{
    struct numapool_sender *first = open_sender("a", 8), *second = open_sender("b", 8);
    struct numapool_receiver *middle = open_receiver("a"), *last = open_receiver("b");
    struct numapool_msg messages[3], arrived;
    void *slots[512];
    unsigned n = 0;
    send_ids(first, 0, 3);
    receive_ids(middle, messages, 0, 3, 0);
    ck_assert_int_eq(numapool_keep(middle, &messages[0]), 0);
    ck_assert_int_eq(numapool_forward(middle, &messages[1], second, 0), 0);
    release(middle, &messages[2], 1);
    while (n < 512 && (slots[n] = numapool_loan(first)) != NULL) {
        ck_assert_ptr_ne(slots[n], messages[0].data);
        ck_assert_ptr_ne(slots[n], messages[1].data);
        n++;
    }
    ck_assert_uint_eq(n, 510);
    receive_ids(last, &arrived, 1, 2, 0);
    assert_is(&messages[0], 0, 0);
    release(last, &arrived, 1);
    while (n > 0)
        ck_assert_int_eq(numapool_unloan(first, slots[--n]), 0);
    ck_assert_int_eq(numapool_unloan(first, messages[0].data), 0);
    close_sender(first, 0);
    close_sender(second, 0);
    close_receiver(middle);
    close_receiver(last);
}
END_TEST

START_TEST(a_forwarded_message_arrives_once_and_leaves_its_lane)
{
    struct numapool_sender *first = open_sender("a", 8), *second = open_sender("b", 8);
    struct numapool_receiver *middle = open_receiver("a"), *last = open_receiver("b");
    struct numapool_msg messages[8], arrived[8];
    send_ids(first, 0, 8);
    receive_ids(middle, messages, 0, 8, 0);
    for (unsigned i = 0; i < 4; i++)
        ck_assert_int_eq(numapool_forward(middle, &messages[i], second, 0), 0);
    ASSERT_REFUSED(numapool_forward(middle, &messages[1], second, 0), -EINVAL, "message 1");
    ASSERT_REFUSED(numapool_release(middle, &messages[1], 1), -EINVAL, "message 1");
    close_receiver(middle);
    receive_ids(last, arrived, 0, 4, 0);
    middle = open_receiver("a");
    receive_ids(middle, messages, 4, 8, NUMAPOOL_REDELIVERED);
    messages[0].type = 77;
    messages[0].length = 3;
    ck_assert_int_eq(numapool_forward_bulk(middle, messages, 4, second, 0), 4);
    assert_nothing_there(middle);
    ck_assert_int_eq(numapool_receive(last, arrived + 4, 8, 0), 4);
    ck_assert_uint_eq(arrived[4].type, 77);
    ck_assert_uint_eq(arrived[4].length, 3);
    for (unsigned i = 5; i < 8; i++)
        assert_is(&arrived[i], i, 0);
    release(last, arrived, 8);
    close_sender(first, 0);
    close_sender(second, 0);
    close_receiver(middle);
    close_receiver(last);
}
END_TEST

START_TEST(a_forward_onto_a_full_lane_stops_and_nothing_is_lost)
{
    struct numapool_sender *first = open_sender("a", 128), *second = open_sender("b", 32);
    struct numapool_receiver *middle = open_receiver("a"), *last = open_receiver("b");
    struct numapool_msg messages[100], arrived[100];
    send_ids(first, 0, 100);
    receive_ids(middle, messages, 0, 100, 0);
    ck_assert_int_eq(numapool_forward_bulk(middle, messages, 100, second, 0), 32);
    ASSERT_REFUSED(numapool_forward(middle, &messages[32], second, 0), -EAGAIN, "full");
    ASSERT_REFUSED(numapool_forward(middle, &messages[32], second, 2000000), -ETIMEDOUT, "full");
    for (unsigned done = 32; done < 100;) {
        receive_ids(last, arrived, done - 32, done, 0);
        release(last, arrived, 32);
        unsigned some = 100 - done < 32 ? 100 - done : 32;
        ck_assert_int_eq(numapool_forward_bulk(middle, messages + done, 100 - done, second, 0), (int)some);
        done += some;
        if (done == 100) {
            receive_ids(last, arrived, 100 - some, 100, 0);
            release(last, arrived, some);
        }
    }
    close_sender(first, 0);
    close_sender(second, 0);
    close_receiver(middle);
    close_receiver(last);
}
END_TEST

START_TEST(a_forward_that_makes_no_sense_is_refused)
{
    struct numapool_pool *other = make_pool(64, 0);
    struct numapool_sender *sender = open_sender("a", 8), *foreign;
    struct numapool_receiver *receiver = open_receiver("a");
    struct numapool_msg message;
    ck_assert_int_eq(numapool_sender_open(other, "a", NULL, &foreign), 0);
    send_ids(sender, 0, 1);
    receive_ids(receiver, &message, 0, 1, 0);
    ASSERT_REFUSED(numapool_forward(receiver, &message, foreign, 0), -EINVAL, "same pool");
    ASSERT_REFUSED(numapool_forward(receiver, &message, NULL, 0), -EINVAL, "open sender");
    ASSERT_REFUSED(numapool_forward(receiver, &message, sender, -1), -EINVAL, "timeout");
    ASSERT_REFUSED(numapool_forward_bulk(receiver, &message, 0, sender, 0), -EINVAL, "one message");
    ck_assert_int_eq(numapool_forward(receiver, &message, sender, 0), 0); /* round and round on one channel */
    receive_ids(receiver, &message, 0, 1, 0);
    release(receiver, &message, 1);
    close_sender(sender, 0);
    ck_assert_int_eq(numapool_sender_close(foreign, 0), 0);
    close_receiver(receiver);
    close_pool(other);
}
END_TEST

START_TEST(receivers_get_their_turns)
{
    struct numapool_receiver *receivers[3] = { open_receiver("c"), open_receiver("c"), open_receiver("c") };
    struct numapool_sender *senders[2] = { open_sender("c", 16), open_sender("c", 16) };
    unsigned char seen[2][30] = { { 0 } };
    for (uint64_t id = 0; id < 30; id++)
        for (unsigned s = 0; s < 2; s++)
            send_ids(senders[s], s * 1000 + id, s * 1000 + id + 1);
    for (unsigned r = 0; r < 3; r++) {
        struct numapool_msg messages[60];
        uint64_t last[2] = { 0, 0 };
        ck_assert_int_eq(numapool_receive(receivers[r], messages, 60, 0), 20);
        for (unsigned i = 0; i < 20; i++) {
            uint64_t s = messages[i].id / 1000, id = messages[i].id % 1000;
            assert_is(&messages[i], messages[i].id, 0);
            ck_assert(last[s] == 0 || id > last[s]);
            last[s] = id;
            ck_assert_uint_eq(seen[s][id]++, 0);
        }
        release(receivers[r], messages, 20);
        close_receiver(receivers[r]);
    }
    close_sender(senders[0], 0);
    close_sender(senders[1], 0);
}
END_TEST

START_TEST(what_a_leaving_receiver_has_not_released_is_delivered_again)
{
    struct numapool_sender *sender = open_sender("c", 8);
    struct numapool_receiver *receiver = open_receiver("c");
    struct numapool_msg messages[8];
    send_ids(sender, 0, 5);
    receive_ids(receiver, messages, 0, 3, 0);
    release(receiver, messages, 1);
    close_receiver(receiver);
    send_ids(sender, 5, 7); /* to nobody yet */
    receiver = open_receiver("c");
    ck_assert_int_eq(numapool_receive(receiver, messages, 8, 0), 6);
    for (uint64_t id = 1; id < 7; id++)
        assert_is(&messages[id - 1], id, id < 5 ? NUMAPOOL_REDELIVERED : 0);
    release(receiver, messages, 6);
    close_sender(sender, 0);
    close_receiver(receiver);
}
END_TEST

START_TEST(the_lanes_of_a_leaving_receiver_go_to_the_others)
{
    struct numapool_sender *sender = open_sender("c", 8);
    struct numapool_receiver *stays = open_receiver("c"), *leaves = open_receiver("c");
    struct numapool_msg messages[16];
    unsigned char seen[16] = { 0 };
    send_ids(sender, 0, 10);
    ck_assert_int_eq(numapool_receive(leaves, messages, 3, 0), 3);
    close_receiver(leaves);
    send_ids(sender, 10, 13);
    for (int got; (got = numapool_receive(stays, messages, 16, 0)) > 0;) {
        for (int i = 0; i < got; i++)
            ck_assert_uint_eq(seen[messages[i].id]++, 0);
        release(stays, messages, (unsigned)got);
    }
    for (unsigned id = 0; id < 13; id++)
        ck_assert_uint_eq(seen[id], 1);
    close_sender(sender, 0);
    close_receiver(stays);
}
END_TEST

START_TEST(what_a_leaving_sender_has_sent_is_received_and_its_slots_come_back)
{
    struct numapool_sender *sender = open_sender("c", 8);
    struct numapool_msg messages[8];
    send_ids(sender, 0, 4);
    ck_assert_int_eq(numapool_sender_close(sender, 1000000), 4);
    assert_account(pool, 0, 4);
    struct numapool_receiver *receiver = open_receiver("c");
    sender = open_sender("c", 8);
    send_ids(sender, 4, 6);
    receive_ids(receiver, messages, 0, 4, 0); /* before what its successor has sent */
    release(receiver, messages, 4);
    receive_ids(receiver, messages, 4, 6, 0);
    release(receiver, messages, 2);
    close_sender(sender, 0);
    assert_account(pool, 0, 0);
    close_receiver(receiver);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("channel");
    TCase *messages = tcase_create("messages"), *ends = tcase_create("ends");
    tcase_add_checked_fixture(messages, make, unmake);
    tcase_add_checked_fixture(ends, make, unmake);
    tcase_add_loop_test(messages, messages_come_in_order_with_all_that_was_sent, 0, 5);
    tcase_add_test(messages, a_full_lane_says_so_and_the_slot_stays_the_callers);
    tcase_add_test(messages, a_bulk_sends_what_there_is_room_for);
    tcase_add_test(messages, what_cannot_be_sent_is_refused_and_the_rest_goes);
    tcase_add_test(messages, what_is_longest_and_shortest_goes_through);
    tcase_add_test(messages, a_loan_can_be_given_back);
    tcase_add_test(messages, a_receive_in_vain_says_so);
    tcase_add_test(messages, releases_out_of_order_count_when_their_elders_are_released);
    tcase_add_test(messages, what_is_released_twice_is_refused);
    tcase_add_test(messages, a_kept_slot_is_mine_and_is_delivered_no_more);
    tcase_add_test(messages, what_was_kept_or_forwarded_is_lent_to_nobody_else);
    tcase_add_test(messages, a_forwarded_message_arrives_once_and_leaves_its_lane);
    tcase_add_test(messages, a_forward_onto_a_full_lane_stops_and_nothing_is_lost);
    tcase_add_test(messages, a_forward_that_makes_no_sense_is_refused);
    tcase_add_test(ends, either_end_may_come_first);
    tcase_add_test(ends, channels_of_different_names_are_apart);
    tcase_add_test(ends, receivers_get_their_turns);
    tcase_add_test(ends, what_a_leaving_receiver_has_not_released_is_delivered_again);
    tcase_add_test(ends, the_lanes_of_a_leaving_receiver_go_to_the_others);
    tcase_add_test(ends, what_a_leaving_sender_has_sent_is_received_and_its_slots_come_back);
    suite_add_tcase(suite, messages);
    suite_add_tcase(suite, ends);
    return run_suite(suite);
}
