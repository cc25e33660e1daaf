/* SPDX-License-Identifier: MIT
 * Lanes for small messages: what arrives, in what order, what a death at any access leaves, what is refused. */
#include "world_help.h"

#include <setjmp.h>

#include "channel/small.h"

static struct numapool_channel_options small_options(uint32_t lane_slots)
{
    struct numapool_channel_options options = NUMAPOOL_CHANNEL_OPTIONS_INIT;
    options.lane_slots = lane_slots;
    options.flags = NUMAPOOL_SMALL;
    return options;
}

static struct numapool_sender *open_sender(struct numapool_pool *pool, const char *channel, uint32_t lane_slots)
{
    struct numapool_channel_options options = small_options(lane_slots);
    struct numapool_sender *sender = NULL;
    ck_assert_int_eq(numapool_sender_open(pool, channel, &options, &sender), 0);
    return sender;
}

static struct numapool_receiver *open_receiver(struct numapool_pool *pool, const char *channel)
{
    struct numapool_channel_options options = small_options(0);
    struct numapool_receiver *receiver = NULL;
    ck_assert_int_eq(numapool_receiver_open(pool, channel, &options, &receiver), 0);
    return receiver;
}

/* Asked by the leak sanitizer. Who is made to die here leaves what he had, as a process would: that is no leak. */
__attribute__((visibility("default"))) int __lsan_is_turned_off(void);

int __lsan_is_turned_off(void)
{
    return 1;
}

/* A message of `length` bytes, each of which tells id and place. */
static struct numapool_msg made(unsigned char *bytes, uint32_t length, uint64_t id)
{
    for (uint32_t i = 0; i < length; i++)
        bytes[i] = (unsigned char)(id * 31 + i);
    return (struct numapool_msg){ .data = bytes, .length = length, .type = (uint16_t)(id * 7), .id = id, .key = ~id };
}

static int send_one(struct numapool_sender *sender, uint32_t length, uint64_t id)
{
    unsigned char bytes[NUMAPOOL_SMALL_BYTES];
    struct numapool_msg message = made(bytes, length, id);
    int result = numapool_send(sender, &message, 0);
    memset(bytes, 0, sizeof bytes); /* the sender's memory is his again */
    return result;
}

static void assert_is(const struct numapool_msg *message, uint32_t length, uint64_t id, unsigned flags)
{
    const unsigned char *bytes = message->data;
    ck_assert_uint_eq(message->id, id);
    ck_assert_uint_eq(message->length, length);
    ck_assert_uint_eq(message->type, (uint16_t)(id * 7));
    ck_assert_uint_eq(message->flags, flags | NUMAPOOL_IN_CELL);
    ck_assert_uint_eq(message->key, length <= 40 ? ~id : 0);
    for (uint32_t i = 0; i < length; i++)
        ck_assert_uint_eq(bytes[i], (unsigned char)(id * 31 + i));
}

/* ---------------------------------------------------------------- inside one process */

static struct numapool_pool *pool;

static void make(void)
{
    pool = make_pool(64, 0);
}

static void unmake(void)
{
    close_pool(pool);
}

START_TEST(every_length_arrives_with_every_byte_in_order)
{
    struct numapool_sender *sender = open_sender(pool, "s", 8);
    struct numapool_receiver *receiver = open_receiver(pool, "s");
    struct numapool_msg message;
    for (uint64_t id = 0; id < 49 * 7; id++) {
        uint32_t length = (uint32_t)(id % 49);
        ck_assert_int_eq(send_one(sender, length, id), 0);
        ck_assert_int_eq(numapool_receive(receiver, &message, 1, 0), 1);
        assert_is(&message, length, id, 0);
        ck_assert_int_eq(numapool_release(receiver, &message, 1), 0);
    }
    ck_assert_int_eq(numapool_sender_close(sender, NUMAPOOL_FOREVER), 0);
    ck_assert_int_eq(numapool_receiver_close(receiver), 0);
}
END_TEST

START_TEST(nothing_beyond_the_message_is_read)
{
    struct numapool_sender *sender = open_sender(pool, "s", 64);
    struct numapool_receiver *receiver = open_receiver(pool, "s");
    struct numapool_msg message;
    for (uint32_t length = 1; length <= 48; length++) {
        unsigned char *bytes = malloc(length); /* a heap checker sees the byte behind it */
        struct numapool_msg sent = made(bytes, length, length);
        ck_assert_int_eq(numapool_send(sender, &sent, 0), 0);
        free(bytes);
        ck_assert_int_eq(numapool_receive(receiver, &message, 1, 0), 1);
        assert_is(&message, length, length, 0);
        ck_assert_int_eq(numapool_release(receiver, &message, 1), 0);
    }
    ck_assert_int_eq(numapool_sender_close(sender, 0), 0);
    ck_assert_int_eq(numapool_receiver_close(receiver), 0);
}
END_TEST

/* The lane is not bounded by the pool, and what is not released is not written over. */
START_TEST(room_is_what_was_released)
{
    struct numapool_sender *sender = open_sender(pool, "s", 256); /* four times the slots of the pool */
    struct numapool_receiver *receiver = open_receiver(pool, "s");
    struct numapool_msg messages[256];
    for (uint64_t id = 0; id < 256; id++)
        ck_assert_int_eq(send_one(sender, 40, id), 0);
    ASSERT_REFUSED(send_one(sender, 40, 256), -EAGAIN, "full");
    ck_assert_int_eq(numapool_receive(receiver, messages, 256, 0), 256);
    ASSERT_REFUSED(send_one(sender, 40, 256), -EAGAIN, "full");
    ck_assert_int_eq(numapool_release(receiver, messages + 1, 255), 0); /* the eldest is still read */
    ASSERT_REFUSED(send_one(sender, 40, 256), -EAGAIN, "full");
    assert_is(&messages[0], 40, 0, 0);
    ck_assert_int_eq(numapool_release(receiver, messages, 1), 0);
    ck_assert_int_eq(send_one(sender, 40, 256), 0);
    ck_assert_int_eq(numapool_sender_close(sender, 0), 1);
    ck_assert_int_eq(numapool_receiver_close(receiver), 0);
    receiver = open_receiver(pool, "s"); /* what its sender left is received by who comes next */
    ck_assert_int_eq(numapool_receive(receiver, messages, 8, 0), 1);
    assert_is(&messages[0], 40, 256, NUMAPOOL_REDELIVERED);
    ck_assert_int_eq(numapool_release(receiver, messages, 1), 0);
    ck_assert_int_eq(numapool_receiver_close(receiver), 0);
}
END_TEST

START_TEST(a_lane_has_a_megabyte_at_most)
{
    struct numapool_sender *sender = open_sender(pool, "c", 1u << 20);
    struct numapool_receiver *receiver = open_receiver(pool, "c");
    const char text[8] = "small";
    unsigned sent = 0;
    struct numapool_msg message = { .data = (void *)(uintptr_t)text, .length = sizeof text }, got[64];
    while (numapool_send(sender, &message, 0) == 0)
        sent++;
    ck_assert_uint_eq(sent, 1u << 14);
    for (int n; (n = numapool_receive(receiver, got, 64, 0)) > 0; sent -= (unsigned)n)
        ck_assert_int_eq(numapool_release(receiver, got, (unsigned)n), 0);
    ck_assert_uint_eq(sent, 0);
    ck_assert_int_eq(numapool_receiver_close(receiver), 0);
    ck_assert_int_eq(numapool_sender_close(sender, 0), 0);
}
END_TEST

START_TEST(batches_go_whole_or_as_far_as_there_is_room)
{
    struct numapool_sender *sender = open_sender(pool, "s", 8);
    struct numapool_receiver *receiver = open_receiver(pool, "s");
    unsigned char bytes[12][NUMAPOOL_SMALL_BYTES];
    struct numapool_msg sent[12], got[12];
    for (unsigned i = 0; i < 12; i++)
        sent[i] = made(bytes[i], 4 * i, i);
    ck_assert_int_eq(numapool_send_bulk(sender, sent, 5, 0), 5);
    ck_assert_int_eq(numapool_send_bulk(sender, sent + 5, 7, 0), 3);
    ck_assert_int_eq(numapool_receive(receiver, got, 12, 0), 8);
    for (unsigned i = 0; i < 8; i++)
        assert_is(&got[i], 4 * i, i, 0);
    ck_assert_int_eq(numapool_release(receiver, got, 8), 0);
    ck_assert_int_eq(numapool_sender_close(sender, NUMAPOOL_FOREVER), 0);
    ck_assert_int_eq(numapool_receiver_close(receiver), 0);
}
END_TEST

/* Between any two accesses of the sender its receiver looks. */
static struct numapool_receiver *looker;
static int looker_got;
static bool looks_now;

static void look_between(enum np_shm_kind kind, const volatile void *address, unsigned bytes, uint64_t value)
{
    (void)kind, (void)address, (void)bytes, (void)value;
    struct numapool_msg messages[8];
    if (looks_now || looker_got > 0)
        return;
    looks_now = true;
    int got = numapool_receive(looker, messages, 8, 0);
    if (got > 0) {
        looker_got = got;
        for (int i = 0; i < got; i++)
            assert_is(&messages[i], 48 - 8 * (uint32_t)i, 1 + (uint64_t)i, 0);
        ck_assert_int_eq(numapool_release(looker, messages, (unsigned)got), 0);
    }
    looks_now = false;
}

START_TEST(who_looks_while_a_batch_is_sent_gets_all_of_it_or_nothing)
{
    unsigned char bytes[4][NUMAPOOL_SMALL_BYTES];
    struct numapool_msg batch[4];
    struct numapool_sender *sender = open_sender(pool, "c", 8);
    looker = open_receiver(pool, "c");
    looker_got = 0;
    for (unsigned i = 0; i < 4; i++)
        batch[i] = made(bytes[i], 48 - 8 * i, 1 + i);
    ck_assert_int_eq(numapool_receive(looker, batch + 3, 1, 0), -EAGAIN); /* it knows its lane */
    batch[3] = made(bytes[3], 24, 4);
    np_shm_hook = look_between;
    ck_assert_int_eq(numapool_send_bulk(sender, batch, 4, 0), 4);
    np_shm_hook = NULL;
    ck_assert_int_eq(looker_got, 4);
    ck_assert_int_eq(numapool_receiver_close(looker), 0);
    ck_assert_int_eq(numapool_sender_close(sender, 0), 0);
}
END_TEST

START_TEST(what_has_no_slot_is_refused_with_a_sentence)
{
    struct numapool_sender *sender = open_sender(pool, "s", 8), *plain;
    struct numapool_receiver *receiver = open_receiver(pool, "s"), *plain_receiver;
    struct numapool_msg message;
    unsigned char bytes[64] = { 0 };
    void *slot;
    struct numapool_msg big = { .data = bytes, .length = 49 }, nowhere = { .length = 1 };
    ASSERT_REFUSED(numapool_send(sender, &big, 0), -EINVAL, "at most 48");
    ASSERT_REFUSED(numapool_send(sender, &nowhere, 0), -EINVAL, "at most 48");
    struct numapool_msg three[3] = { { .data = bytes, .length = 8, .id = 1, .key = ~UINT64_C(1), .type = 7 }, big, big };
    ck_assert_int_eq(numapool_send_bulk(sender, three, 3, 0), 1);
    np_error_static(0, "");
    ck_assert_ptr_null(numapool_loan(sender));
    assert_sentence_has("no slots");
    ASSERT_REFUSED(numapool_loan_bulk(sender, &slot, 1), -EINVAL, "no slots");
    ASSERT_REFUSED(numapool_loan_wait(sender, &slot, 0), -EINVAL, "no slots");
    ck_assert_int_eq(numapool_receive(receiver, &message, 1, 0), 1);
    ASSERT_REFUSED(numapool_keep(receiver, &message), -EINVAL, "no slot to keep");
    ck_assert_int_eq(numapool_sender_open(pool, "plain", NULL, &plain), 0);
    ASSERT_REFUSED(numapool_forward(receiver, &message, plain, 0), -EINVAL, "cannot be forwarded");
    ck_assert_int_eq(numapool_release(receiver, &message, 1), 0);

    ck_assert_int_eq(numapool_receiver_open(pool, "plain", NULL, &plain_receiver), 0);
    message = (struct numapool_msg){ .data = numapool_loan(plain), .length = 8 };
    ck_assert_int_eq(numapool_send(plain, &message, 0), 0);
    ck_assert_int_eq(numapool_receive(plain_receiver, &message, 1, 0), 1);
    ASSERT_REFUSED(numapool_forward(plain_receiver, &message, sender, 0), -EINVAL, "cannot be forwarded");
    ck_assert_int_eq(numapool_release(plain_receiver, &message, 1), 0);
    numapool_sender_close(plain, 0);
    numapool_receiver_close(plain_receiver);
    numapool_sender_close(sender, 0);
    numapool_receiver_close(receiver);
}
END_TEST

START_TEST(all_ends_of_a_channel_are_of_one_kind)
{
    struct numapool_channel_options both = small_options(0);
    struct numapool_sender *sender = open_sender(pool, "s", 8), *other;
    struct numapool_receiver *receiver;
    ASSERT_REFUSED(numapool_receiver_open(pool, "s", NULL, &receiver), -EINVAL, "SMALL");
    ASSERT_REFUSED(numapool_sender_open(pool, "s", NULL, &other), -EINVAL, "all its ends say the same");
    both.flags |= NUMAPOOL_BROADCAST;
    ASSERT_REFUSED(numapool_sender_open(pool, "t", &both, &other), -EINVAL, "SMALL or BROADCAST");
    ck_assert_int_eq(numapool_sender_close(sender, 0), 0);
    ck_assert_int_eq(numapool_receiver_open(pool, "s", NULL, &receiver), 0); /* it was gone with its last end */
    ck_assert_int_eq(numapool_receiver_close(receiver), 0);
}
END_TEST

START_TEST(what_is_forwarded_twice_by_mistake_releases_nothing_else)
{
    struct numapool_sender *first = open_sender(pool, "a", 8), *second = open_sender(pool, "b", 8);
    struct numapool_receiver *middle = open_receiver(pool, "a"), *last = open_receiver(pool, "b");
    struct numapool_msg messages[8];
    ck_assert_int_eq(send_one(first, 12, 0), 0);
    ck_assert_int_eq(numapool_receive(middle, messages, 1, 0), 1);
    messages[1] = messages[0];
    ck_assert_int_eq(numapool_forward_bulk(middle, messages, 2, second, 0), 2);
    for (uint64_t id = 1; id < 9; id++)
        ck_assert_int_eq(send_one(first, 12, id), 0);
    ck_assert_int_eq(numapool_receive(middle, messages, 7, 0), 7);
    ck_assert_int_eq(numapool_release(middle, messages, 7), 0);
    ck_assert_int_eq(numapool_receive(middle, messages, 1, 0), 1); /* in the cell of the one that was forwarded twice */
    assert_is(messages, 12, 8, 0);
    ck_assert_int_eq(numapool_release(middle, messages, 1), 0);
    ck_assert_int_eq(numapool_sender_close(second, 0), 2);
    ck_assert_int_eq(numapool_receiver_close(last), 0);
    ck_assert_int_eq(numapool_receiver_close(middle), 0);
    ck_assert_int_eq(numapool_sender_close(first, 0), 0);
}
END_TEST

START_TEST(forwarding_between_small_channels_copies)
{
    struct numapool_sender *first = open_sender(pool, "a", 8), *second = open_sender(pool, "b", 8);
    struct numapool_receiver *middle = open_receiver(pool, "a"), *last = open_receiver(pool, "b");
    struct numapool_msg messages[4];
    for (uint64_t id = 0; id < 4; id++)
        ck_assert_int_eq(send_one(first, 12, id), 0);
    ck_assert_int_eq(numapool_receive(middle, messages, 4, 0), 4);
    ck_assert_int_eq(numapool_forward_bulk(middle, messages, 4, second, 0), 4);
    ASSERT_REFUSED(numapool_release(middle, messages, 1), -EINVAL, "not an unreleased message");
    for (uint64_t id = 4; id < 12; id++)
        ck_assert_int_eq(send_one(first, 48, id), 0); /* over the cells that were copied from */
    ck_assert_int_eq(numapool_receive(last, messages, 4, 0), 4);
    for (uint64_t id = 0; id < 4; id++)
        assert_is(&messages[id], 12, id, 0);
    ck_assert_int_eq(numapool_release(last, messages, 4), 0);
    ck_assert_int_eq(numapool_sender_close(second, 0), 0);
    ck_assert_int_eq(numapool_receiver_close(last), 0);
    ck_assert_int_eq(numapool_receiver_close(middle), 0);
    ck_assert_int_eq(numapool_sender_close(first, 0), 8);
    struct numapool_receiver *drain = open_receiver(pool, "a");
    ck_assert_int_eq(numapool_receive(drain, messages, 4, 0), 4);
    ck_assert_int_eq(numapool_receiver_close(drain), 0);
    drain = open_receiver(pool, "a");
    for (unsigned i = 0; i < 2; i++) {
        ck_assert_int_eq(numapool_receive(drain, messages, 4, 0), 4);
        assert_is(&messages[0], 48, 4 + 4 * i, NUMAPOOL_REDELIVERED);
        ck_assert_int_eq(numapool_release(drain, messages, 4), 0);
    }
    ck_assert_int_eq(numapool_receiver_close(drain), 0);
}
END_TEST

START_TEST(a_scribbled_cell_is_passed_over_and_told)
{
    struct numapool_sender *sender = open_sender(pool, "s", 8);
    struct numapool_receiver *receiver = open_receiver(pool, "s");
    struct numapool_msg messages[4];
    for (uint64_t id = 0; id < 3; id++)
        ck_assert_int_eq(send_one(sender, 8, id), 0);
    np_shm64 *where = &np_small_cells(sender->lanes[0].shared)[1].where;
    np_store64(where, np_load64(where, memory_order_relaxed) | UINT64_C(0xff) << 32, memory_order_relaxed);
    ck_assert_int_eq(numapool_receive(receiver, messages, 4, 0), 1);
    ASSERT_REFUSED(numapool_receive(receiver, messages + 1, 3, 0), -EBADMSG, "255 bytes");
    ck_assert_int_eq(numapool_receive(receiver, messages + 1, 3, 0), 1);
    assert_is(&messages[1], 8, 2, 0);
    ck_assert_int_eq(numapool_release(receiver, messages, 2), 0);
    ck_assert_int_eq(numapool_sender_close(sender, NUMAPOOL_FOREVER), 0);
    ck_assert_int_eq(numapool_receiver_close(receiver), 0);
}
END_TEST

/* ---------------------------------------------------------------- deaths */

static jmp_buf death;
static unsigned deadline;

static void die_hook(enum np_shm_kind kind, const volatile void *address, unsigned bytes, uint64_t value)
{
    (void)kind, (void)address, (void)bytes, (void)value;
    if (deadline-- == 0) {
        np_shm_hook = NULL;
        longjmp(death, 1);
    }
}

/* A batch of three, the sender killed before its n-th access: all of it arrives or nothing, once, and the rest is
 * undisturbed. */
static bool kill_batch(unsigned accesses)
{
    struct member *dead = join_world(), *lives = join_world();
    struct numapool_sender *sender = open_sender(dead->pool, "s", 4);
    struct numapool_receiver *receiver = open_receiver(lives->pool, "s");
    unsigned char bytes[3][NUMAPOOL_SMALL_BYTES];
    struct numapool_msg batch[3], got[8];
    volatile bool ended = false;
    ck_assert_int_eq(send_one(sender, 48, 0), 0);
    for (unsigned i = 0; i < 3; i++)
        batch[i] = made(bytes[i], 24, 1 + i);
    deadline = accesses;
    if (setjmp(death) == 0) {
        np_shm_hook = die_hook;
        ck_assert_int_eq(numapool_send_bulk(sender, batch, 3, 0), 3);
        ended = true;
    }
    np_shm_hook = NULL;
    forget_sender(sender);
    struct np_scavenged what;
    np_broker_client_gone(&world.broker, dead->number, &what);
    int n = numapool_receive(receiver, got, 8, 0);
    ck_assert_msg(n == 1 || n == 4, "%d of 4 arrive after %u accesses", n, accesses);
    ck_assert(!ended || n == 4);
    assert_is(&got[0], 48, 0, 0);
    for (int i = 1; i < n; i++)
        assert_is(&got[i], 24, (uint64_t)i, 0);
    ck_assert_int_eq(numapool_release(receiver, got, (unsigned)n), 0);
    ck_assert_int_eq(numapool_receive(receiver, got, 8, 0), -EAGAIN);
    ck_assert_int_eq(numapool_receiver_close(receiver), 0);
    forget_member(dead);
    bury(lives);
    return ended;
}

START_TEST(a_batch_whose_sender_dies_arrives_whole_or_not_at_all)
{
    unsigned accesses = 0;
    while (!kill_batch(accesses))
        accesses++;
    ck_assert_uint_gt(accesses, 15);
}
END_TEST

START_TEST(what_a_dead_receiver_had_comes_again_marked)
{
    struct member *a = join_world(), *dead = join_world(), *next = join_world();
    struct numapool_sender *sender = open_sender(a->pool, "s", 8);
    struct numapool_receiver *receiver = open_receiver(dead->pool, "s");
    struct numapool_msg got[8];
    for (uint64_t id = 0; id < 4; id++)
        ck_assert_int_eq(send_one(sender, 16, id), 0);
    ck_assert_int_eq(numapool_receive(receiver, got, 3, 0), 3);
    ck_assert_int_eq(numapool_release(receiver, got, 1), 0);
    forget_receiver(receiver);
    ck_assert_uint_eq(bury(dead).redelivered, 3);
    restart_broker();
    ck_assert_int_eq(send_one(sender, 16, 4), 0);
    receiver = open_receiver(next->pool, "s");
    ck_assert_int_eq(numapool_receive(receiver, got, 8, 0), 4);
    for (uint64_t id = 1; id < 5; id++)
        assert_is(&got[id - 1], 16, id, id < 4 ? NUMAPOOL_REDELIVERED : 0);
    forget_sender(sender);
    bury(a);
    ck_assert_uint_eq(world.lanes_mapped, 1); /* until it is drained */
    ck_assert_int_eq(numapool_release(receiver, got, 4), 0);
    ck_assert_int_eq(numapool_receive(receiver, got, 8, 0), -EAGAIN);
    ck_assert_uint_eq(world.lanes_mapped, 0);
    ck_assert_int_eq(numapool_receiver_close(receiver), 0);
    bury(next);
}
END_TEST

START_TEST(a_sender_that_leaves_a_lane_to_drain_leaves_nothing)
{
    struct member *a = join_world(), *b = join_world();
    struct numapool_sender *sender = open_sender(a->pool, "s", 8);
    struct numapool_receiver *first = open_receiver(b->pool, "s"), *second = open_receiver(b->pool, "s");
    struct numapool_msg got[8];
    for (uint64_t id = 0; id < 4; id++)
        ck_assert_int_eq(send_one(sender, 16, id), 0);
    ck_assert_int_eq(numapool_receiver_close(first), 0); /* its lane goes to the other, who has one: DRAIN */
    ck_assert_int_eq(send_one(sender, 16, 4), 0);
    int n = numapool_receive(second, got, 8, 0);
    ck_assert_int_eq(n, 5);
    ck_assert_int_eq(numapool_release(second, got, (unsigned)n), 0);
    ck_assert_int_eq(send_one(sender, 16, 5), 0);
    ck_assert_int_eq(numapool_receive(second, got, 8, 0), 1);
    ck_assert_int_eq(numapool_release(second, got, 1), 0);
    ck_assert_int_eq(numapool_sender_close(sender, NUMAPOOL_FOREVER), 0);
    ck_assert_int_eq(numapool_receiver_close(second), 0);
    bury(a);
    bury(b);
}
END_TEST

START_TEST(check_knows_small_messages)
{
    struct member *a = join_world(), *b = join_world();
    struct numapool_sender *sender = open_sender(a->pool, "s", 8);
    struct numapool_receiver *receiver = open_receiver(b->pool, "s");
    struct np_finding finding;
    struct np_check check = { .findings = &finding, .findings_capacity = 1 };
    struct np_broker *broker = &world.broker;
    struct np_arena *arenas = broker->pools[world.pool].arenas;
    struct numapool_msg messages[4];
    for (uint64_t id = 0; id < 3; id++)
        ck_assert_int_eq(send_one(sender, 48, id), 0);
    ck_assert_int_eq(np_check_pool(&check, &world.board, world.pool, arenas, WORLD_ARENAS, broker->lane_memory, NULL, NULL), 0);
    ck_assert_uint_eq(check.wrong, 0);
    np_shm64 *where = &np_small_cells(sender->lanes[0].shared)[1].where;
    uint64_t was = np_load64(where, memory_order_relaxed);
    np_store64(where, was | UINT64_C(0x40) << 32, memory_order_relaxed);
    ck_assert_int_eq(np_check_pool(&check, &world.board, world.pool, arenas, WORLD_ARENAS, broker->lane_memory, NULL, NULL), 0);
    ck_assert_uint_eq(check.wrong, 1);
    ck_assert_ptr_nonnull(strstr(finding.sentence, "longer than a cell"));
    np_store64(where, was, memory_order_relaxed);
    ck_assert_int_eq(numapool_receive(receiver, messages, 4, 0), 3);
    ck_assert_int_eq(numapool_release(receiver, messages, 3), 0);
    ck_assert_int_eq(numapool_sender_close(sender, 0), 0);
    ck_assert_int_eq(numapool_receiver_close(receiver), 0);
    bury(a);
    bury(b);
}
END_TEST

/* A message to one receiver alone, a keyed one and a request carry their key beside 40 bytes. */
START_TEST(keys_addresses_and_requests_have_room_beside_forty_bytes)
{
    struct numapool_channel_options options = small_options(8);
    struct numapool_sender *sender = open_sender(pool, "s", 8);
    struct numapool_receiver *first = open_receiver(pool, "s"), *second = open_receiver(pool, "s");
    struct numapool_requester *requester = NULL;
    struct numapool_responder *responder = NULL;
    unsigned char bytes[NUMAPOOL_SMALL_BYTES] = { 7 };
    struct numapool_msg message = { .data = bytes, .length = 40, .id = 5, .key = 77, .flags = NUMAPOOL_KEYED }, got;
    char text[] = "forty-two";
    uint64_t address = numapool_receiver_address(second);
    for (unsigned i = 0; i < 4; i++) {
        ck_assert_int_eq(numapool_send_to(sender, address, &message, 0), 0);
        ck_assert_int_eq(numapool_receive(first, &got, 1, 0), -EAGAIN);
        ck_assert_int_eq(numapool_receive(second, &got, 1, 0), 1);
        ck_assert_uint_eq(got.key, address);
        ck_assert_uint_eq(got.id, 5);
        ck_assert_int_eq(numapool_release(second, &got, 1), 0);
    }
    message.length = 41;
    ASSERT_REFUSED(numapool_send_to(sender, address, &message, 0), -EINVAL, "at most 40");
    for (message.length = 40; message.length <= 48; message.length += 8) { /* both on one lane, for none is released */
        ck_assert_int_eq(numapool_send(sender, &message, 0), 0);
        ck_assert_int_eq(numapool_send(sender, &message, 0), 0);
        struct numapool_receiver *owner = numapool_receive(first, &got, 1, 0) == 1 ? first : second;
        if (owner == second)
            ck_assert_int_eq(numapool_receive(second, &got, 1, 0), 1);
        ck_assert_uint_eq(got.flags, NUMAPOOL_IN_CELL | NUMAPOOL_KEYED);
        ck_assert_uint_eq(got.key, message.length == 40 ? 77 : 0);
        ck_assert_int_eq(numapool_release(owner, &got, 1), 0);
        ck_assert_int_eq(numapool_receive(owner, &got, 1, 0), 1);
        ck_assert_int_eq(numapool_release(owner, &got, 1), 0);
    }
    ck_assert_int_eq(numapool_sender_close(sender, 0), 0);
    ck_assert_int_eq(numapool_receiver_close(first), 0);
    ck_assert_int_eq(numapool_receiver_close(second), 0);

    ck_assert_int_eq(numapool_responder_open(pool, "q", &options, &responder), 0);
    ck_assert_int_eq(numapool_requester_open(pool, "q", &options, &requester), 0);
    message = (struct numapool_msg){ .data = bytes, .length = 41, .id = 9 };
    ASSERT_REFUSED(numapool_request(requester, &message, 0), -EINVAL, "at most 40");
    message.length = 40;
    ck_assert_int_eq(numapool_request(requester, &message, 0), 0);
    ck_assert_int_eq(numapool_receive(numapool_responder_receiver(responder), &got, 1, 0), 1);
    ASSERT_REFUSED(numapool_reply_in_place(responder, &got, 0), -EINVAL, "no slot");
    ck_assert_int_eq(numapool_reply(responder, &got, &(struct numapool_msg){ .data = text, .length = sizeof text }, 0), 0);
    ck_assert_int_eq(numapool_receive(numapool_requester_receiver(requester), &got, 1, 0), 1);
    ck_assert_uint_eq(got.id, 9);
    ck_assert_str_eq(got.data, "forty-two");
    ck_assert_int_eq(numapool_release(numapool_requester_receiver(requester), &got, 1), 0);
    ck_assert_int_eq(numapool_requester_close(requester, 0), 0);
    ck_assert_int_eq(numapool_responder_close(responder, 0), 0);
    options.flags = NUMAPOOL_BROADCAST;
    ASSERT_REFUSED(numapool_requester_open(pool, "q", &options, &requester), -EINVAL, "cannot be BROADCAST");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("small");
    TCase *one = tcase_create("one process"), *deaths = tcase_create("deaths");
    tcase_add_checked_fixture(one, make, unmake);
    tcase_add_test(one, every_length_arrives_with_every_byte_in_order);
    tcase_add_test(one, nothing_beyond_the_message_is_read);
    tcase_add_test(one, room_is_what_was_released);
    tcase_add_test(one, a_lane_has_a_megabyte_at_most);
    tcase_add_test(one, batches_go_whole_or_as_far_as_there_is_room);
    tcase_add_test(one, who_looks_while_a_batch_is_sent_gets_all_of_it_or_nothing);
    tcase_add_test(one, what_has_no_slot_is_refused_with_a_sentence);
    tcase_add_test(one, all_ends_of_a_channel_are_of_one_kind);
    tcase_add_test(one, forwarding_between_small_channels_copies);
    tcase_add_test(one, what_is_forwarded_twice_by_mistake_releases_nothing_else);
    tcase_add_test(one, a_scribbled_cell_is_passed_over_and_told);
    tcase_add_test(one, keys_addresses_and_requests_have_room_beside_forty_bytes);
    tcase_add_checked_fixture(deaths, make_world, unmake_world);
    tcase_add_test(deaths, a_batch_whose_sender_dies_arrives_whole_or_not_at_all);
    tcase_add_test(deaths, what_a_dead_receiver_had_comes_again_marked);
    tcase_add_test(deaths, a_sender_that_leaves_a_lane_to_drain_leaves_nothing);
    tcase_add_test(deaths, check_knows_small_messages);
    suite_add_tcase(suite, one);
    suite_add_tcase(suite, deaths);
    return run_suite(suite);
}
