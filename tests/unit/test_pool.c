/* SPDX-License-Identifier: MIT
 * Pools: what options are refused and why, what a pool tells about itself, handles, closing. */
#include "pool_help.h"

#include <stdio.h>

static struct numapool_options good_options(void)
{
    struct numapool_options options = NUMAPOOL_OPTIONS_INIT;
    options.name = "pay";
    options.slot_bytes = 100;
    options.slots = 64;
    return options;
}

#define REFUSED(options, code, part)                                        \
    do {                                                                    \
        struct numapool_pool *unmade = (struct numapool_pool *)8;           \
        ASSERT_REFUSED(numapool_create(&unmade, (options)), (code), (part)); \
        ck_assert_ptr_eq(unmade, (struct numapool_pool *)8);                \
    } while (0)

START_TEST(names_are_checked)
{
    static const char *const bad[] = { "", "a b", "a/b", "\n", "k\xc3\xa4se", "012345678901234567890123456789012345678901234567" };
    struct numapool_options options = good_options();
    for (unsigned i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        options.name = bad[i];
        REFUSED(&options, -EINVAL, bad[i]);
    }
    options.name = NULL;
    REFUSED(&options, -EINVAL, "name");
    static const char *const good[] = { "a", "A.b_c-9", "01234567890123456789012345678901234567890123456" };
    for (unsigned i = 0; i < sizeof good / sizeof good[0]; i++) {
        struct numapool_pool *pool;
        options.name = good[i];
        ck_assert_int_eq(numapool_create(&pool, &options), 0);
        close_pool(pool);
    }
}
END_TEST

START_TEST(each_option_out_of_range_is_refused_by_name)
{
    const uint64_t too_many[] = { UINT64_C(1) << 32 }, none[] = { 0, 0 };
    struct numapool_options options = good_options();
    options.slot_bytes = 0;
    REFUSED(&options, -EINVAL, "slot_bytes is 0");
    options.slot_bytes = (UINT64_C(1) << 30) + 1;
    REFUSED(&options, -EINVAL, "slot_bytes");
    options = good_options();
    options.slots = 0;
    REFUSED(&options, -EINVAL, "slots is 0");
    options.slots = UINT64_MAX;
    REFUSED(&options, -EINVAL, "slots");
    options = good_options();
    options.flags = 128;
    REFUSED(&options, -EINVAL, "flags");
    options.flags = UINT64_C(1) << 63;
    REFUSED(&options, -EINVAL, "flags");
    options = good_options();
    options.policy = NUMAPOOL_NEAR_DEVICE + 1;
    REFUSED(&options, -EINVAL, "policy 5");
    options.policy = NUMAPOOL_EXPLICIT;
    REFUSED(&options, -EINVAL, "node_slots");
    options.policy = NUMAPOOL_NEAR_DEVICE;
    REFUSED(&options, -EINVAL, "device");
    options.device = "../eth0";
    REFUSED(&options, -EINVAL, "'../eth0'");
    options.device = "no-such-device";
    REFUSED(&options, -ENODEV, "no-such-device");
    options.policy = NUMAPOOL_LOCAL;
    REFUSED(&options, -EINVAL, "NEAR_DEVICE");
    options.device = NULL;
    options.node_slots = too_many;
    options.nodes = 1;
    REFUSED(&options, -EINVAL, "node_slots");
    options = good_options();
    options.flags = NUMAPOOL_STRICT;
    options.spill_slots = 1;
    REFUSED(&options, -EINVAL, "strict");
    options = good_options();
    options.node_slots = too_many;
    options.nodes = 0;
    REFUSED(&options, -EINVAL, "node_slots");
    options.nodes = NP_ARENAS_MAX + 1;
    REFUSED(&options, -EINVAL, "node_slots");
    options.nodes = 1;
    REFUSED(&options, -EINVAL, "node 0");
    options.node_slots = none;
    options.nodes = 2;
    REFUSED(&options, -EINVAL, "node");
    options = good_options();
    options.slot_bytes = UINT64_C(1) << 30;
    options.slots = UINT64_C(1) << 20;
    REFUSED(&options, -EINVAL, "too many");
    options = good_options();
    options.flags = NUMAPOOL_HUGE_2M | NUMAPOOL_HUGE_THP;
    REFUSED(&options, -EINVAL, "pay");
}
END_TEST

START_TEST(more_memory_than_there_is_is_refused_and_leaves_nothing)
{
    struct numapool_options options = good_options();
    options.slot_bytes = UINT64_C(1) << 30;
    options.slots = UINT64_C(1) << 14;
    REFUSED(&options, -ENOMEM, "pay");
    options = good_options();
    struct numapool_pool *pool;
    ck_assert_int_eq(numapool_create(&pool, &options), 0);
    close_pool(pool);
}
END_TEST

START_TEST(options_of_other_versions_are_read_or_refused)
{
    struct {
        struct numapool_options known;
        unsigned char later[16];
    } grown = { good_options(), { 0 } };
    struct numapool_pool *pool;
    grown.known.size = sizeof grown;
    ck_assert_int_eq(numapool_create(&pool, &grown.known), 0);
    close_pool(pool);
    grown.later[15] = 1;
    REFUSED(&grown.known, -E2BIG, "older than the program");
    grown.later[15] = 0;
    grown.known.size = offsetof(struct numapool_options, magazine_slots); /* a program that is older than these members */
    grown.known.magazine_slots = 1;
    ck_assert_int_eq(numapool_create(&pool, &grown.known), 0);
    ck_assert_uint_eq(pool->magazine_slots, 0);
    close_pool(pool);
    grown.known.size = 0;
    REFUSED(&grown.known, -EINVAL, "NUMAPOOL_OPTIONS_INIT");
    REFUSED(NULL, -EINVAL, "NUMAPOOL_OPTIONS_INIT");
}
END_TEST

START_TEST(channel_options_are_checked)
{
    struct {
        struct numapool_channel_options known;
        unsigned char later[8];
    } grown = { NUMAPOOL_CHANNEL_OPTIONS_INIT, { 0 } };
    struct numapool_pool *pool = make_pool(64, 0);
    struct numapool_sender *sender;
    struct numapool_receiver *receiver;
    char longest[48];
    memset(longest, 'x', 47);
    longest[47] = 0;
    ck_assert_int_eq(numapool_receiver_open(pool, longest, NULL, &receiver), 0);
    ck_assert_int_eq(numapool_receiver_close(receiver), 0);
    ASSERT_REFUSED(numapool_receiver_open(pool, "012345678901234567890123456789012345678901234567", NULL, &receiver), -EINVAL, "48");
    ASSERT_REFUSED(numapool_sender_open(pool, "", NULL, &sender), -EINVAL, "name");
    ASSERT_REFUSED(numapool_sender_open(pool, NULL, NULL, &sender), -EINVAL, "name");
    grown.known.lane_slots = (1u << 20) + 1;
    ASSERT_REFUSED(numapool_sender_open(pool, "c", &grown.known, &sender), -EINVAL, "1048577");
    grown.known.lane_slots = 2;
    grown.known.flags = 128;
    ASSERT_REFUSED(numapool_sender_open(pool, "c", &grown.known, &sender), -EINVAL, "flags");
    grown.known.flags = 0;
    grown.known.size = 3;
    ASSERT_REFUSED(numapool_sender_open(pool, "c", &grown.known, &sender), -EINVAL, "INIT");
    grown.known.size = sizeof grown;
    grown.later[7] = 1;
    ASSERT_REFUSED(numapool_sender_open(pool, "c", &grown.known, &sender), -E2BIG, "older");
    grown.later[7] = 0;
    ck_assert_int_eq(numapool_sender_open(pool, "c", &grown.known, &sender), 0);
    ck_assert_int_eq(numapool_sender_close(sender, 0), 0);
    struct numapool_pool *other = make_pool(64, 0);
    grown.known.magazine = open_magazine(other, 0);
    ASSERT_REFUSED(numapool_sender_open(pool, "c", &grown.known, &sender), -EINVAL, "magazine");
    ck_assert_int_eq(numapool_magazine_close(grown.known.magazine), 0);
    close_pool(other);
    close_pool(pool);
}
END_TEST

START_TEST(a_pool_says_what_it_is)
{
    struct numapool_options options = good_options();
    struct numapool_pool *pool;
    ck_assert_int_eq(numapool_create(&pool, &options), 0);
    ck_assert_int_eq(numapool_pool_mode(pool), NUMAPOOL_MODE_EMBEDDED);
    ck_assert_uint_eq(numapool_slot_bytes(pool), 128);
    struct numapool_magazine *magazine = open_magazine(pool, 0);
    unsigned char *slot = numapool_get(magazine);
    ck_assert_ptr_nonnull(slot);
    ck_assert_uint_eq((uintptr_t)slot % 64, 0);
    memset(slot, 0xa5, numapool_slot_bytes(pool));
    ck_assert_int_ge(numapool_slot_node(pool, slot), 0);
    ASSERT_REFUSED(numapool_slot_node(pool, slot + 1), -EINVAL, "pay");
    ASSERT_REFUSED(numapool_slot_node(pool, slot + 64), -EINVAL, "pay");
    ASSERT_REFUSED(numapool_slot_node(pool, &options), -EINVAL, "pay");
    ASSERT_REFUSED(numapool_slot_node(pool, NULL), -EINVAL, "pay");
    ck_assert_int_eq(numapool_put(magazine, slot), 0);
    ck_assert_int_eq(numapool_magazine_close(magazine), 0);
    close_pool(pool);
}
END_TEST

START_TEST(a_name_goes_stale_when_its_slot_is_freed)
{
    struct numapool_pool *pool = make_pool_of_arenas(3, 20); /* too small to cache: a put frees */
    struct numapool_magazine *magazine = open_magazine(pool, 0);
    void *slots[60], *found;
    numapool_handle handles[60];
    ck_assert_int_eq(numapool_get_bulk(magazine, slots, 60), 0);
    for (unsigned i = 0; i < 60; i++) {
        ck_assert_int_eq(numapool_handle_of(pool, slots[i], &handles[i]), 0);
        for (unsigned j = 0; j < i; j++)
            ck_assert_uint_ne(handles[i].bits, handles[j].bits);
        ck_assert_int_eq(numapool_resolve(pool, handles[i], &found), 0);
        ck_assert_ptr_eq(found, slots[i]);
    }
    ck_assert_int_eq(numapool_put_bulk(magazine, slots, 60), 0);
    ck_assert_int_eq(numapool_flush(magazine), 0);
    for (unsigned i = 0; i < 60; i++)
        ASSERT_REFUSED(numapool_resolve(pool, handles[i], &found), -ESTALE, "pay");
    ck_assert_int_eq(numapool_get_bulk(magazine, slots, 60), 0);
    for (unsigned i = 0; i < 60; i++)
        ASSERT_REFUSED(numapool_resolve(pool, handles[i], &found), -ESTALE, "freed");
    ck_assert_int_eq(numapool_put_bulk(magazine, slots, 60), 0);
    ck_assert_int_eq(numapool_magazine_close(magazine), 0);
    close_pool(pool);
}
END_TEST

START_TEST(what_was_never_a_name_is_refused)
{
    struct numapool_pool *pool = make_pool_of_arenas(2, 20), *larger = make_pool_of_arenas(3, 2000);
    struct numapool_magazine *magazine = open_magazine(larger, 0);
    struct numapool_magazine *last;
    void *slot, *found;
    numapool_handle handle = { 0 };
    ASSERT_REFUSED(numapool_resolve(pool, handle, &found), -EINVAL, "pay");
    handle.bits = UINT64_MAX;
    ASSERT_REFUSED(numapool_resolve(pool, handle, &found), -EINVAL, "pay");
    ck_assert_ptr_nonnull(slot = numapool_get(magazine));
    ASSERT_REFUSED(numapool_handle_of(pool, slot, &handle), -EINVAL, "pay");
    ASSERT_REFUSED(numapool_handle_of(larger, (char *)slot + 64, &handle), -EINVAL, "pay");
    ck_assert_int_eq(numapool_handle_of(larger, slot, &handle), 0);
    handle.bits = (handle.bits & ~(UINT64_C(0xffffffff) << 24)) | UINT64_C(20) << 24; /* one beyond the last of an arena */
    ASSERT_REFUSED(numapool_resolve(pool, handle, &found), -EINVAL, "never");
    handle.bits = UINT64_C(3) << 56; /* an arena that only the larger pool has */
    ASSERT_REFUSED(numapool_resolve(pool, handle, &found), -EINVAL, "never");
    ck_assert_int_eq(numapool_put(magazine, slot), 0);
    ck_assert_int_eq(numapool_magazine_close(magazine), 0);
    ck_assert_int_eq(numapool_magazine_open(larger, 0, 1, &last), 0);
    ck_assert_int_eq(numapool_magazine_close(last), 0);
    close_pool(larger);
    close_pool(pool);
}
END_TEST

START_TEST(a_pool_in_use_says_what_must_be_closed_first)
{
    struct numapool_pool *pool = make_pool(256, 0);
    struct numapool_magazine *magazine = open_magazine(pool, 0), *second = open_magazine(pool, 0);
    struct numapool_sender *sender;
    struct numapool_receiver *receiver;
    ck_assert_int_eq(numapool_sender_open(pool, "c", NULL, &sender), 0);
    ck_assert_int_eq(numapool_receiver_open(pool, "c", NULL, &receiver), 0);
    ASSERT_REFUSED(numapool_close(pool), -EBUSY, "1 senders and 1 receivers");
    ck_assert_int_eq(numapool_receiver_close(receiver), 0);
    ck_assert_int_eq(numapool_sender_close(sender, 0), 0);
    ASSERT_REFUSED(numapool_close(pool), -EBUSY, "2 magazines, 0 senders and 0 receivers");
    ck_assert_int_eq(numapool_magazine_close(second), 0);
    ASSERT_REFUSED(numapool_close(pool), -EBUSY, "1 magazines");
    void *slot = numapool_get(magazine); /* a close in vain leaves it as it was */
    ck_assert_ptr_nonnull(slot);
    ck_assert_int_eq(numapool_put(magazine, slot), 0);
    ck_assert_int_eq(numapool_magazine_close(magazine), 0);
    close_pool(pool);
}
END_TEST

START_TEST(no_pool_is_refused)
{
    struct numapool_magazine *magazine;
    struct numapool_sender *sender;
    struct numapool_receiver *receiver;
    numapool_handle handle = { 0 };
    void *slot;
    ASSERT_REFUSED(numapool_close(NULL), -EINVAL, "NULL");
    ASSERT_REFUSED(numapool_pool_mode(NULL), -EINVAL, "NULL");
    ck_assert_uint_eq(numapool_slot_bytes(NULL), 0);
    ASSERT_REFUSED(numapool_slot_node(NULL, &slot), -EINVAL, "NULL");
    ASSERT_REFUSED(numapool_handle_of(NULL, &slot, &handle), -EINVAL, "NULL");
    ASSERT_REFUSED(numapool_resolve(NULL, handle, &slot), -EINVAL, "NULL");
    ASSERT_REFUSED(numapool_magazine_open(NULL, 0, 0, &magazine), -EINVAL, "NULL");
    ASSERT_REFUSED(numapool_sender_open(NULL, "c", NULL, &sender), -EINVAL, "NULL");
    ASSERT_REFUSED(numapool_receiver_open(NULL, "c", NULL, &receiver), -EINVAL, "NULL");
}
END_TEST

START_TEST(no_end_is_refused)
{
    struct numapool_msg message = { 0 };
    ck_assert_ptr_null(numapool_loan(NULL));
    assert_sentence_has("closed");
    ASSERT_REFUSED(numapool_unloan(NULL, &message), -EINVAL, "closed");
    ASSERT_REFUSED(numapool_send(NULL, &message, 0), -EINVAL, "closed");
    ASSERT_REFUSED(numapool_sender_close(NULL, 0), -EINVAL, "closed");
    ASSERT_REFUSED(numapool_receive(NULL, &message, 1, 0), -EINVAL, "closed");
    ASSERT_REFUSED(numapool_release(NULL, &message, 1), -EINVAL, "closed");
    ASSERT_REFUSED(numapool_keep(NULL, &message), -EINVAL, "closed");
    ASSERT_REFUSED(numapool_forward(NULL, &message, NULL, 0), -EINVAL, "closed");
    ASSERT_REFUSED(numapool_receiver_close(NULL), -EINVAL, "closed");
}
END_TEST

START_TEST(pools_can_be_made_and_closed_without_end)
{
    for (unsigned i = 0; i < 50; i++)
        close_pool(make_pool(64 + i, 0));
}
END_TEST

START_TEST(two_pools_share_nothing)
{
    struct numapool_pool *one = make_pool(64, 0), *two = make_pool(64, 0);
    struct numapool_magazine *ones = open_magazine(one, 0), *twos = open_magazine(two, 0);
    void *slots[64], *other = numapool_get(twos);
    ck_assert_int_eq(numapool_get_bulk(ones, slots, 64), 0);
    ck_assert_ptr_null(numapool_get(ones));
    ck_assert_ptr_nonnull(other);
    ASSERT_REFUSED(numapool_put(ones, other), -EINVAL, "pay");
    ck_assert_int_eq(numapool_put(twos, other), 0);
    ck_assert_int_eq(numapool_put_bulk(ones, slots, 64), 0);
    ck_assert_int_eq(numapool_magazine_close(ones), 0);
    ck_assert_int_eq(numapool_magazine_close(twos), 0);
    close_pool(one);
    close_pool(two);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("pool");
    TCase *options = tcase_create("options"), *life = tcase_create("life"), *handles = tcase_create("handles");
    tcase_add_test(options, names_are_checked);
    tcase_add_test(options, each_option_out_of_range_is_refused_by_name);
    tcase_add_test(options, more_memory_than_there_is_is_refused_and_leaves_nothing);
    tcase_add_test(options, options_of_other_versions_are_read_or_refused);
    tcase_add_test(options, channel_options_are_checked);
    tcase_add_test(handles, a_name_goes_stale_when_its_slot_is_freed);
    tcase_add_test(handles, what_was_never_a_name_is_refused);
    tcase_add_test(life, a_pool_says_what_it_is);
    tcase_add_test(life, a_pool_in_use_says_what_must_be_closed_first);
    tcase_add_test(life, no_pool_is_refused);
    tcase_add_test(life, no_end_is_refused);
    tcase_add_test(life, pools_can_be_made_and_closed_without_end);
    tcase_add_test(life, two_pools_share_nothing);
    suite_add_tcase(suite, options);
    suite_add_tcase(suite, handles);
    suite_add_tcase(suite, life);
    return run_suite(suite);
}
