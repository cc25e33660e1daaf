/* SPDX-License-Identifier: MIT
 * Keys: the order of a key over full lanes, receivers that join and leave, lanes that are to be drained. */
#include <pthread.h>
#include <stdatomic.h>

#include "channel/keys.h"
#include "channel/receiver.h"
#include "channel_help.h"

static void make(void)
{
    pool = make_pool(512, 0);
}

static void unmake(void)
{
    close_pool(pool);
}

/* Another key in the same bucket: it has to go where the first is. */
static uint64_t colliding(struct numapool_sender *sender, uint64_t key)
{
    struct np_sender_lane *lane = np_keys_lane(sender, key);
    ck_assert_ptr_nonnull(lane);
    for (uint64_t other = key + 1; other < key + 100000; other++)
        if (np_keys_lane(sender, other) == lane)
            return other;
    ck_abort_msg("no two of 100,000 keys share a bucket");
}

START_TEST(a_key_with_unreleased_messages_stays_on_its_lane)
{
    struct numapool_sender *sender = open_sender("c", 8);
    struct numapool_receiver *receivers[3] = { open_receiver("c"), open_receiver("c"), open_receiver("c") };
    struct numapool_msg messages[8];
    unsigned had = 0;
    for (uint64_t id = 0; id < 6; id++)
        ck_assert_int_eq(send_keyed(sender, 77, id), 0);
    for (unsigned r = 0; r < 3; r++) {
        int got = numapool_receive(receivers[r], messages, 8, 0);
        ck_assert(got == 6 || got == -EAGAIN);
        for (int i = 0; i < got; i++) {
            ck_assert_uint_eq(messages[i].id, (uint64_t)i);
            ck_assert_uint_eq(messages[i].key, 77);
            ck_assert_uint_eq(messages[i].flags, NUMAPOOL_KEYED);
        }
        if (got > 0)
            ck_assert_int_eq(numapool_release(receivers[r], messages, (unsigned)got), 0);
        had += got > 0;
    }
    ck_assert_uint_eq(had, 1);
    close_sender(sender);
    for (unsigned r = 0; r < 3; r++)
        close_receiver(receivers[r]);
}
END_TEST

START_TEST(a_key_whose_messages_are_released_goes_to_receivers_in_turn)
{
    struct numapool_sender *sender = open_sender("c", 8);
    struct numapool_receiver *receivers[3] = { open_receiver("c"), open_receiver("c"), open_receiver("c") };
    unsigned counts[3] = { 0 };
    for (uint64_t id = 0; id < 30; id++) {
        ck_assert_int_eq(send_keyed(sender, 5, id), 0);
        for (unsigned r = 0; r < 3; r++)
            counts[r] += drain(receivers[r]);
    }
    for (unsigned r = 0; r < 3; r++) {
        ck_assert_uint_eq(counts[r], 10);
        close_receiver(receivers[r]);
    }
    close_sender(sender);
}
END_TEST

START_TEST(different_keys_spread_over_receivers)
{
    struct numapool_sender *sender = open_sender("c", 64);
    struct numapool_receiver *receivers[2] = { open_receiver("c"), open_receiver("c") };
    for (uint64_t id = 0; id < 64; id++)
        ck_assert_int_eq(send_keyed(sender, id % 32, id), 0);
    for (unsigned r = 0; r < 2; r++) {
        unsigned count = drain(receivers[r]);
        ck_assert_msg(count >= 24 && count <= 40, "%u of 64", count);
        close_receiver(receivers[r]);
    }
    close_sender(sender);
}
END_TEST

START_TEST(a_full_lane_holds_its_keys_back_and_no_others)
{
    struct numapool_sender *sender = open_sender("c", 2);
    struct numapool_receiver *one = open_receiver("c"), *two = open_receiver("c");
    struct numapool_msg first;
    ck_assert_int_eq(send_keyed(sender, 1, 10), 0);
    ck_assert_int_eq(send_keyed(sender, 1, 11), 0);
    ck_assert_int_eq(send_keyed(sender, 1, 12), -EAGAIN);
    assert_sentence_has("key");
    ck_assert_int_eq(send_flagged(sender, 1, 12, NUMAPOOL_KEYED, 2000000), -ETIMEDOUT);
    ck_assert_int_eq(send_keyed(sender, 2, 20), 0);
    ck_assert_int_eq(send_plain(sender, 30), 0);
    struct numapool_receiver *with_key = numapool_receive(one, &first, 1, 0) == 1 && first.key == 1 ? one : two;
    struct numapool_receiver *other = with_key == one ? two : one;
    if (with_key == two) {
        ck_assert_uint_eq(first.id, 20);
        release_one(one, &first);
        first = receive_one(two, 10);
    } else {
        ck_assert_uint_eq(first.id, 10);
        receive_and_release(two, 20);
    }
    ck_assert_int_eq(send_keyed(sender, 1, 12), -EAGAIN); /* received is not released */
    release_one(with_key, &first);
    ck_assert_int_eq(send_keyed(sender, 1, 12), 0);
    receive_and_release(with_key, 11);
    receive_and_release(with_key, 12);
    receive_and_release(other, 30);
    close_sender(sender);
    close_receiver(one);
    close_receiver(two);
}
END_TEST

START_TEST(keys_of_one_bucket_share_its_lane_and_lose_nothing)
{
    struct numapool_sender *sender = open_sender("c", 16);
    struct numapool_receiver *receivers[2] = { open_receiver("c"), open_receiver("c") };
    ck_assert_int_eq(send_keyed(sender, 1000, 0), 0);
    uint64_t other = colliding(sender, 1000);
    for (uint64_t id = 1; id < 8; id++)
        ck_assert_int_eq(send_keyed(sender, id % 2 ? other : 1000, id), 0);
    unsigned first = drain(receivers[0]), second = drain(receivers[1]);
    ck_assert_uint_eq(first + second, 8);
    ck_assert(first == 0 || second == 0);
    close_sender(sender);
    close_receiver(receivers[0]);
    close_receiver(receivers[1]);
}
END_TEST

/* Two receivers, a message of the key at `gone`, who leaves: its lane is to be drained at `heir`. */
static void make_heir(struct numapool_sender *sender, struct numapool_receiver **heir, uint64_t key, uint64_t id, bool received)
{
    struct numapool_receiver *gone = open_receiver("c");
    struct numapool_msg message;
    *heir = open_receiver("c");
    ck_assert_int_eq(send_keyed(sender, key, id), 0);
    if (numapool_receive(*heir, &message, 1, 0) == 1) { /* the other way round */
        struct numapool_receiver *swap = gone;
        gone = *heir;
        *heir = swap;
    } else if (received) {
        message = receive_one(gone, id);
    }
    close_receiver(gone);
}

START_TEST(a_key_waits_until_a_lane_that_changed_hands_is_drained)
{
    struct numapool_sender *sender = open_sender("c", 8);
    struct numapool_receiver *heir;
    struct numapool_msg message;
    make_heir(sender, &heir, 9, 100, _i & 1);
    ck_assert_int_eq(send_keyed(sender, 9, 101), -EAGAIN); /* its lane takes no more, and no other may have it */
    ck_assert_int_eq(send_keyed(sender, 8, 200), 0);
    message = receive_one(heir, 100);
    ck_assert(message.flags & NUMAPOOL_KEYED);
    ck_assert_int_eq(send_keyed(sender, 9, 101), -EAGAIN);
    release_one(heir, &message);
    ck_assert_int_eq(send_keyed(sender, 9, 101), 0);
    receive_and_release(heir, 200);
    receive_and_release(heir, 101);
    close_sender(sender);
    close_receiver(heir);
}
END_TEST

START_TEST(lanes_to_be_drained_are_received_first)
{
    struct numapool_sender *sender = open_sender("c", 8);
    struct numapool_receiver *heir;
    make_heir(sender, &heir, 9, 100, false);
    for (uint64_t id = 0; id < 4; id++)
        ck_assert_int_eq(send_plain(sender, id), 0);
    struct numapool_receiver *third = open_receiver("c"), *fourth = open_receiver("c");
    ck_assert_int_eq(send_keyed(sender, 9, 101), -EAGAIN);
    heir->turn = (unsigned)_i; /* whose turn it would have been otherwise */
    receive_and_release(heir, 100);
    for (uint64_t id = 0; id < 4; id++)
        receive_and_release(heir, id);
    close_sender(sender);
    close_receiver(heir);
    close_receiver(third);
    close_receiver(fourth);
}
END_TEST

START_TEST(a_sender_that_goes_on_with_a_lane_to_be_drained_does_not_put_others_off_for_ever)
{
    struct numapool_sender *wrong = open_sender("c", 4);
    struct numapool_receiver *heir;
    make_heir(wrong, &heir, 9, 0, false);
    struct numapool_sender *other = open_sender("c", 4);
    ck_assert_int_eq(send_plain(other, 1000), 0);
    ck_assert_int_eq(send_plain(wrong, 0), 0); /* hears of the change, and then does as if it had not */
    for (unsigned i = 0; i < wrong->lane_count; i++)
        wrong->lanes[i].state = wrong->lanes[i].state == NP_LANE_DRAIN ? NP_LANE_ACTIVE : NP_LANE_DRAIN;
    bool came = false;
    for (unsigned round = 0; round < 32 && !came; round++) {
        struct numapool_msg message;
        ck_assert_int_eq(numapool_receive(heir, &message, 1, 0), 1);
        came = message.id == 1000;
        release_one(heir, &message);
        ck_assert_int_eq(send_plain(wrong, 0), 0);
    }
    ck_assert(came);
    drain(heir);
    for (unsigned i = 0; i < wrong->lane_count; i++)
        wrong->lanes[i].state = wrong->lanes[i].state == NP_LANE_DRAIN ? NP_LANE_ACTIVE : NP_LANE_DRAIN;
    close_sender(wrong);
    close_sender(other);
    close_receiver(heir);
}
END_TEST

START_TEST(a_forwarded_message_keeps_its_key)
{
    struct numapool_sender *sender = open_sender("c", 8), *on = open_sender("d", 8);
    struct numapool_receiver *middle = open_receiver("c"), *ends[2] = { open_receiver("d"), open_receiver("d") };
    for (uint64_t id = 0; id < 4; id++)
        ck_assert_int_eq(send_keyed(sender, 4, id), 0);
    struct numapool_msg messages[4];
    ck_assert_int_eq(numapool_receive(middle, messages, 4, 0), 4);
    ck_assert_int_eq(numapool_forward(middle, &messages[0], on, 0), 0);
    ck_assert_int_eq(numapool_forward_bulk(middle, messages + 1, 3, on, 0), 3);
    unsigned place = numapool_receive(ends[0], messages, 4, 0) == 4 ? 0 : 1;
    if (place == 1)
        ck_assert_int_eq(numapool_receive(ends[1], messages, 4, 0), 4);
    for (unsigned i = 0; i < 4; i++) {
        ck_assert_uint_eq(messages[i].id, i);
        ck_assert_uint_eq(messages[i].key, 4);
        ck_assert_uint_eq(messages[i].flags, NUMAPOOL_KEYED);
    }
    ck_assert_int_eq(numapool_release(ends[place], messages, 4), 0);
    close_sender(sender);
    close_sender(on);
    close_receiver(middle);
    close_receiver(ends[0]);
    close_receiver(ends[1]);
}
END_TEST

START_TEST(a_bulk_of_all_kinds_goes_in_order_as_far_as_it_can)
{
    struct numapool_sender *sender = open_sender("c", 4);
    struct numapool_receiver *one = open_receiver("c"), *two = open_receiver("c");
    struct numapool_msg messages[10];
    for (uint64_t id = 0; id < 10; id++) /* k k . . k k k k k k of one key, on lanes of 4 */
        messages[id] = loaned(sender, 6, id, id == 2 || id == 3 ? 0 : NUMAPOOL_KEYED);
    int sent = numapool_send_bulk(sender, messages, 10, 0);
    ck_assert_int_ge(sent, 4);
    ck_assert_int_le(sent, 6); /* the key's lane is full then; how the others share the two lanes is not said */
    ck_assert_int_eq(numapool_send_bulk(sender, messages + sent, 10 - (unsigned)sent, 0), -EAGAIN);
    for (uint64_t next_keyed = 0, rounds = 0; sent < 10 || rounds < 2; rounds += sent == 10) {
        struct numapool_receiver *receivers[2] = { one, two };
        for (unsigned r = 0; r < 2; r++) {
            struct numapool_msg got[4];
            int n = numapool_receive(receivers[r], got, 4, 0);
            for (int i = 0; i < n; i++) {
                if (got[i].flags & NUMAPOOL_KEYED) {
                    next_keyed += next_keyed == 2 ? 2 : 0;
                    ck_assert_uint_eq(got[i].id, next_keyed++);
                } else {
                    ck_assert(got[i].id == 2 || got[i].id == 3);
                }
                release_one(receivers[r], &got[i]);
            }
        }
        if (sent < 10)
            sent += numapool_send_bulk(sender, messages + sent, 10 - (unsigned)sent, 0);
    }
    close_sender(sender);
    close_receiver(one);
    close_receiver(two);
}
END_TEST

START_TEST(a_bulk_does_not_take_keys_from_their_lanes)
{
    struct numapool_sender *sender = open_sender("c", 8);
    struct numapool_receiver *receivers[2] = { open_receiver("c"), open_receiver("c") };
    struct numapool_msg messages[8];
    ck_assert_int_eq(send_keyed(sender, 0, 100), 0);
    ck_assert_int_eq(send_keyed(sender, 1, 101), 0);
    for (uint64_t id = 0; id < 8; id++)
        messages[id] = loaned(sender, id % 4 / 2, id, NUMAPOOL_KEYED);
    ck_assert_int_eq(numapool_send_bulk(sender, messages, 8, 0), 8);
    for (unsigned r = 0; r < 2; r++) {
        ck_assert_int_eq(numapool_receive(receivers[r], messages, 8, 0), 5);
        for (unsigned i = 1; i < 5; i++)
            ck_assert_uint_eq(messages[i].key, messages[0].key);
        ck_assert_int_eq(numapool_release(receivers[r], messages, 5), 0);
        close_receiver(receivers[r]);
    }
    close_sender(sender);
}
END_TEST

START_TEST(a_keyed_message_that_cannot_be_sent_is_refused)
{
    struct numapool_sender *sender = open_sender("c", 4);
    struct numapool_receiver *receiver = open_receiver("c");
    struct numapool_msg messages[2] = { loaned(sender, 1, 0, NUMAPOOL_KEYED), loaned(sender, 1, 1, NUMAPOOL_KEYED) };
    void *slot = messages[1].data;
    messages[1].data = &messages;
    ck_assert_int_eq(numapool_send_bulk(sender, messages, 2, 0), 1);
    ASSERT_REFUSED(numapool_send(sender, &messages[1], 0), -EINVAL, "pay");
    messages[1].data = slot;
    messages[1].length = SLOT_BYTES + 1;
    ASSERT_REFUSED(numapool_send(sender, &messages[1], 0), -EINVAL, "does not fit");
    ck_assert_int_eq(numapool_unloan(sender, slot), 0);
    receive_and_release(receiver, 0);
    close_sender(sender);
    close_receiver(receiver);
}
END_TEST

START_TEST(order_holds_over_many_rounds_of_a_small_ring)
{
    struct numapool_sender *sender = open_sender("c", 2);
    struct numapool_receiver *receivers[2] = { open_receiver("c"), open_receiver("c") };
    uint64_t next[4] = { 0 }, seen[4] = { 0 };
    for (unsigned step = 0; step < 4000; step++) {
        uint64_t key = step * 7 % 4;
        if (send_keyed(sender, key, next[key]) == 0)
            next[key]++;
        struct numapool_msg message;
        unsigned r = step / 3 % 2;
        if (numapool_receive(receivers[r], &message, 1, 0) == 1) {
            ck_assert_uint_eq(message.id, seen[message.key]++);
            release_one(receivers[r], &message);
        }
    }
    for (unsigned r = 0; r < 2; r++) {
        struct numapool_msg message;
        while (numapool_receive(receivers[r], &message, 1, 0) == 1) {
            seen[message.key]++;
            release_one(receivers[r], &message);
        }
        close_receiver(receivers[r]);
    }
    for (unsigned key = 0; key < 4; key++) {
        ck_assert_uint_eq(seen[key], next[key]);
        ck_assert_uint_gt(seen[key], 400);
    }
    close_sender(sender);
}
END_TEST

/* ---------------------------------------------------------------- threads that come and go */

enum { KEYS = 12, EACH_KEY = 700, COMERS = 3 };

struct crowd {
    _Atomic uint64_t seen[KEYS]; /* next number of the key that has not been seen by anybody */
    _Atomic unsigned inversions, finished;
};

/* Receives, releases, leaves now and then with messages in hand, and joins again. */
static void *come_and_go(void *context)
{
    struct crowd *crowd = context;
    struct numapool_receiver *receiver = open_receiver("c");
    struct numapool_msg messages[5];
    for (unsigned round = 0; atomic_load_explicit(&crowd->finished, memory_order_acquire) == 0; round++) {
        int got = numapool_receive(receiver, messages, 1 + round % 5, 300000);
        for (int i = 0; i < got; i++) {
            _Atomic uint64_t *seen = &crowd->seen[messages[i].key];
            uint64_t before = atomic_load_explicit(seen, memory_order_relaxed);
            if (messages[i].id > before) /* a later one before this one has been seen */
                atomic_fetch_add_explicit(&crowd->inversions, 1, memory_order_relaxed);
            if (messages[i].id == before)
                atomic_store_explicit(seen, before + 1, memory_order_relaxed);
        }
        unsigned keeps = round % 7 == 0 && got > 0 ? 1 : 0;
        if (got > 0)
            ck_assert_int_eq(numapool_release(receiver, messages, (unsigned)got - keeps), 0);
        if (keeps) {
            close_receiver(receiver);
            receiver = open_receiver("c");
        }
    }
    close_receiver(receiver);
    return NULL;
}

START_TEST(order_of_each_key_holds_while_receivers_join_and_leave)
{
    static struct crowd crowd;
    pthread_t threads[COMERS];
    memset(&crowd, 0, sizeof crowd);
    struct numapool_sender *sender = open_sender("c", 8);
    for (unsigned i = 0; i < COMERS; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, come_and_go, &crowd), 0);
    for (uint64_t id = 0; id < EACH_KEY; id++)
        for (uint64_t key = 0; key < KEYS; key++)
            ck_assert_int_eq(send_flagged(sender, key, id, NUMAPOOL_KEYED, NUMAPOOL_FOREVER), 0);
    ck_assert_int_eq(numapool_sender_close(sender, NUMAPOOL_FOREVER), 0);
    atomic_store_explicit(&crowd.finished, 1, memory_order_release);
    for (unsigned i = 0; i < COMERS; i++)
        pthread_join(threads[i], NULL);
    ck_assert_uint_eq(crowd.inversions, 0);
    for (unsigned key = 0; key < KEYS; key++)
        ck_assert_uint_eq(crowd.seen[key], EACH_KEY);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("keys");
    TCase *tcase = tcase_create("keys");
    tcase_add_checked_fixture(tcase, make, unmake);
    tcase_add_test(tcase, a_key_with_unreleased_messages_stays_on_its_lane);
    tcase_add_test(tcase, a_key_whose_messages_are_released_goes_to_receivers_in_turn);
    tcase_add_test(tcase, different_keys_spread_over_receivers);
    tcase_add_test(tcase, a_full_lane_holds_its_keys_back_and_no_others);
    tcase_add_test(tcase, keys_of_one_bucket_share_its_lane_and_lose_nothing);
    tcase_add_loop_test(tcase, a_key_waits_until_a_lane_that_changed_hands_is_drained, 0, 2);
    tcase_add_loop_test(tcase, lanes_to_be_drained_are_received_first, 0, 2);
    tcase_add_test(tcase, a_sender_that_goes_on_with_a_lane_to_be_drained_does_not_put_others_off_for_ever);
    tcase_add_test(tcase, a_forwarded_message_keeps_its_key);
    tcase_add_test(tcase, a_bulk_of_all_kinds_goes_in_order_as_far_as_it_can);
    tcase_add_test(tcase, a_bulk_does_not_take_keys_from_their_lanes);
    tcase_add_test(tcase, a_keyed_message_that_cannot_be_sent_is_refused);
    tcase_add_test(tcase, order_holds_over_many_rounds_of_a_small_ring);
    tcase_add_test(tcase, order_of_each_key_holds_while_receivers_join_and_leave);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
