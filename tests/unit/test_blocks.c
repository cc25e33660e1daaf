/* SPDX-License-Identifier: MIT
 * Pools of blocks of malloc: they do what other pools do, and each get is a malloc and each put a free. */
#include "pool_help.h"

#include <pthread.h>

#include "core/block.h"

static uint64_t blocks_of(const struct numapool_pool *pool)
{
    uint64_t blocks = 0;
    for (unsigned i = 0; i < np_pool_arena_count(pool); i++)
        for (uint64_t index = 0; index < pool->arenas[i].arena.slots; index++)
            blocks += np_blocks_at(pool->arenas[i].arena.blocks, index) != NULL;
    return blocks;
}

START_TEST(a_get_is_a_malloc_and_a_put_a_free)
{
    struct numapool_pool *pool = make_pool(8, NUMAPOOL_MALLOC);
    struct numapool_magazine *magazine = open_magazine(pool, 0);
    void *slots[9];
    for (unsigned i = 0; i < 8; i++) {
        slots[i] = numapool_get(magazine);
        ck_assert_ptr_nonnull(slots[i]);
        ck_assert_uint_eq((uintptr_t)slots[i] % 64, 0);
        memset(slots[i], (int)i, SLOT_BYTES);
        ck_assert_uint_eq(blocks_of(pool), i + 1);
    }
    ck_assert_ptr_null(numapool_get(magazine));
    assert_sentence_has("empty");
    for (unsigned i = 0; i < 8; i++) {
        for (unsigned b = 0; b < SLOT_BYTES; b++)
            ck_assert_int_eq(((char *)slots[i])[b], (int)i);
        ck_assert_int_eq(numapool_put(magazine, slots[i]), 0);
        ck_assert_uint_eq(blocks_of(pool), 7 - i);
    }
    ck_assert_int_eq(numapool_get_bulk(magazine, slots, 8), 0);
    ck_assert_int_eq(numapool_put_bulk(magazine, slots, 8), 0);
    ck_assert_int_eq(numapool_get_bulk(magazine, slots, 9), -EAGAIN);
    ck_assert_uint_eq(blocks_of(pool), 0);
    ck_assert_int_eq(numapool_magazine_close(magazine), 0);
    close_pool(pool);
}
END_TEST

static void count_lines(void *argument, int level, const char *line)
{
    (void)line;
    *(unsigned *)argument += level == NUMAPOOL_LOG_ERROR;
}

START_TEST(other_pointers_are_refused)
{
    unsigned told = 0;
    ck_assert_int_eq(numapool_log_set(NUMAPOOL_LOG_ERROR, count_lines, &told), 0);
    struct numapool_pool *pool = make_pool(8, NUMAPOOL_MALLOC);
    struct numapool_magazine *magazine = open_magazine(pool, 0);
    char *slot = numapool_get(magazine), mine[8];
    ck_assert_int_eq(numapool_slot_node(pool, slot), 0);
    ASSERT_REFUSED(numapool_put(magazine, slot + 64), -EINVAL, "not the beginning of a slot");
    ASSERT_REFUSED(numapool_put(magazine, mine), -EINVAL, "not the beginning of a slot");
    ck_assert_int_eq(numapool_put(magazine, slot), 0);
    ASSERT_REFUSED(numapool_put(magazine, slot), -EINVAL, "not the beginning of a slot");
    ck_assert_uint_eq(told, 3);
    ASSERT_REFUSED(numapool_slot_node(pool, slot), -EINVAL, "not the beginning of a slot");
    ck_assert_int_eq(numapool_magazine_close(magazine), 0);
    close_pool(pool);
    ck_assert_int_eq(numapool_log_set(NUMAPOOL_LOG_ERROR, NULL, NULL), 0);
}
END_TEST

START_TEST(the_table_finds_each_of_many)
{
    enum { MANY = 3000 };
    static void *slots[MANY];
    struct numapool_pool *pool = make_pool(MANY, NUMAPOOL_MALLOC);
    struct np_blocks *blocks = pool->arenas[0].arena.blocks;
    struct numapool_magazine *magazine = open_magazine(pool, 0);
    uint64_t random = 88172645463325252u;
    ck_assert_int_eq(numapool_get_bulk(magazine, slots, MANY), 0);
    for (unsigned round = 0; round < 2 * MANY; round++) { /* some go and come, so that holes are made and filled */
        random ^= random << 13, random ^= random >> 7, random ^= random << 17;
        unsigned i = (unsigned)(random % MANY);
        ck_assert_int_eq(numapool_put(magazine, slots[i]), 0);
        slots[i] = numapool_get(magazine);
    }
    for (unsigned i = 0; i < MANY; i++)
        ck_assert_ptr_eq(np_blocks_at(blocks, (uint64_t)np_blocks_index_of(blocks, slots[i])), slots[i]);
    ck_assert_int_eq(numapool_put_bulk(magazine, slots, MANY), 0);
    ck_assert_int_eq(numapool_magazine_close(magazine), 0);
    close_pool(pool);
}
END_TEST

struct ends {
    struct numapool_pool *pool;
    struct numapool_sender *sender;
    struct numapool_receiver *receiver;
};

static struct ends open_ends(unsigned arenas)
{
    struct ends ends;
    struct numapool_options options = NUMAPOOL_OPTIONS_INIT;
    uint64_t slots[2] = { 32, 32 };
    int nodes[2] = { 0, 0 };
    options.name = "pay", options.slot_bytes = SLOT_BYTES, options.flags = NUMAPOOL_MALLOC, options.slots = 32 * arenas;
    ck_assert_int_eq(np_embedded_create(&ends.pool, &options, slots, nodes, arenas), 0);
    ck_assert_int_eq(numapool_receiver_open(ends.pool, "c", NULL, &ends.receiver), 0);
    ck_assert_int_eq(numapool_sender_open(ends.pool, "c", NULL, &ends.sender), 0);
    return ends;
}

static void *receiving_thread(void *arg)
{
    struct ends *ends = arg;
    struct numapool_magazine *magazine = open_magazine(ends->pool, 0);
    for (unsigned i = 0; i < 1000; i++) {
        struct numapool_msg message;
        ck_assert_int_eq(numapool_receive(ends->receiver, &message, 1, NUMAPOOL_FOREVER), 1);
        ck_assert_uint_eq(message.id, i);
        ck_assert_int_eq(((char *)message.data)[SLOT_BYTES - 1], (char)i);
        if (i % 3 == 0) {
            ck_assert_int_eq(numapool_keep(ends->receiver, &message), 0);
            ck_assert_int_eq(numapool_put(magazine, message.data), 0);
        } else {
            ck_assert_int_eq(numapool_release(ends->receiver, &message, 1), 0);
        }
    }
    ck_assert_int_eq(numapool_magazine_close(magazine), 0);
    return NULL;
}

START_TEST(messages_pass_between_threads)
{
    struct ends ends = open_ends(1 + (unsigned)_i);
    pthread_t thread;
    ck_assert_int_eq(pthread_create(&thread, NULL, receiving_thread, &ends), 0);
    for (unsigned i = 0; i < 1000; i++) {
        struct numapool_msg message = NUMAPOOL_MSG_INIT;
        ck_assert_int_eq(numapool_loan_wait(ends.sender, &message.data, NUMAPOOL_FOREVER), 0);
        memset(message.data, (char)i, SLOT_BYTES);
        message.length = SLOT_BYTES;
        message.id = i;
        ck_assert_int_eq(numapool_send(ends.sender, &message, NUMAPOOL_FOREVER), 0);
    }
    pthread_join(thread, NULL);
    ck_assert_int_eq(numapool_sender_close(ends.sender, 0), 0);
    ck_assert_int_eq(numapool_receiver_close(ends.receiver), 0);
    ck_assert_uint_eq(blocks_of(ends.pool), 0);
    close_pool(ends.pool);
}
END_TEST

START_TEST(messages_left_over_are_freed_with_the_pool)
{
    struct ends ends = open_ends(1);
    struct numapool_msg message = NUMAPOOL_MSG_INIT;
    for (unsigned i = 0; i < 5; i++) {
        message.data = numapool_loan(ends.sender);
        ck_assert_int_eq(numapool_send(ends.sender, &message, 0), 0);
    }
    ck_assert_int_eq(numapool_sender_close(ends.sender, 0), 5);
    ck_assert_int_eq(numapool_receiver_close(ends.receiver), 0);
    ck_assert_int_eq(numapool_close(ends.pool), 0); /* a leak checker sees the rest */
}
END_TEST

START_TEST(handles_and_statistics_are_as_usual)
{
    struct numapool_pool *pool = make_pool(8, NUMAPOOL_MALLOC);
    struct numapool_magazine *magazine = open_magazine(pool, 0);
    struct numapool_stats stats = { .size = sizeof stats };
    numapool_handle handle;
    void *slot = numapool_get(magazine), *found;
    ck_assert_uint_eq(numapool_slot_bytes(pool), SLOT_BYTES);
    ck_assert_int_eq(numapool_handle_of(pool, slot, &handle), 0);
    ck_assert_int_eq(numapool_resolve(pool, handle, &found), 0);
    ck_assert_ptr_eq(found, slot);
    ck_assert_int_eq(numapool_stats_read(pool, NUMAPOOL_ANY_NODE, &stats), 0);
    ck_assert_uint_eq(stats.held, 1);
    ck_assert_uint_eq(stats.bytes_on_node, 0); /* nobody knows where malloc's are */
    uint64_t misplaced;
    ck_assert_int_eq(numapool_verify(pool, &misplaced), 0);
    ck_assert_int_eq(numapool_put(magazine, slot), 0);
    ck_assert_int_eq(numapool_resolve(pool, handle, &found), -ESTALE);
    ck_assert_int_eq(numapool_magazine_close(magazine), 0);
    close_pool(pool);
}
END_TEST

START_TEST(a_pool_of_blocks_grows)
{
    struct numapool_pool *pool = make_pool(2, NUMAPOOL_MALLOC);
    struct numapool_magazine *magazine = open_magazine(pool, 0);
    void *slots[4];
    ck_assert_int_eq(numapool_get_bulk(magazine, slots, 2), 0);
    ck_assert_int_eq(numapool_grow(pool, 0, 2), 0);
    ck_assert_int_eq(numapool_get_bulk(magazine, slots + 2, 2), 0);
    ck_assert_uint_eq(blocks_of(pool), 4);
    ck_assert_int_eq(numapool_put_bulk(magazine, slots, 4), 0);
    ck_assert_uint_eq(blocks_of(pool), 0);
    ck_assert_int_eq(numapool_magazine_close(magazine), 0);
    close_pool(pool);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("blocks of malloc");
    TCase *tcase = tcase_create("blocks");
    tcase_add_test(tcase, a_get_is_a_malloc_and_a_put_a_free);
    tcase_add_test(tcase, other_pointers_are_refused);
    tcase_add_test(tcase, the_table_finds_each_of_many);
    tcase_add_loop_test(tcase, messages_pass_between_threads, 0, 2);
    tcase_add_test(tcase, messages_left_over_are_freed_with_the_pool);
    tcase_add_test(tcase, handles_and_statistics_are_as_usual);
    tcase_add_test(tcase, a_pool_of_blocks_grows);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
