/* SPDX-License-Identifier: MIT
 * np_check_pool: everything is somebody's, exactly once, or it says what is not. A small world in plain memory, broken on
 * purpose in each way. */
#include <check.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "broker/broker.h"
#include "core/error.h"

enum { POOL = 3, OTHER_POOL = 4, LANE = 1, OTHER_LANE = 2, CAPACITY = 8, FIRST_SLOTS = 100, SECOND_SLOTS = 64 };
enum { SENDER_CLIENT = 1, RECEIVER_CLIENT = 2, GONE_CLIENT = 5, FINDINGS = 4 };
enum { SLOT_BYTES = 100 }; /* no multiple of 64, so that what was asked for and what is usable differ */

static const struct np_board_limits limits = { 8, 4, 8, 8 };

static struct np_board board;
static struct np_arena arenas[2];
static struct np_lane_shared *lanes[9];
static size_t board_bytes, meta_bytes[2], lane_bytes;
static struct np_finding findings[FINDINGS];
static struct np_check check;
static uint64_t held_by[9], sent_on[9];

static void *pages(size_t bytes)
{
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ck_assert_ptr_ne(memory, MAP_FAILED);
    return memory;
}

static np_shm64 *word_at(unsigned arena, uint64_t slot)
{
    return &arenas[arena].words[slot];
}

static void set_word(unsigned arena, uint64_t slot, uint64_t word)
{
    np_store64(word_at(arena, slot), word, memory_order_relaxed);
}

static void set_cell(uint32_t lane, uint64_t position, unsigned arena, uint32_t slot)
{
    struct np_cell *cell = &np_lane_cells(lanes[lane])[position % CAPACITY];
    np_store64(&cell->what, np_cell_what(16, arena, 0, 0), memory_order_relaxed);
    np_store64(&cell->where, np_cell_where(position, slot), memory_order_release);
}

static void send_slot(uint64_t position, unsigned arena, uint32_t slot)
{
    set_cell(LANE, position, arena, slot);
    set_word(arena, slot, np_word_sent(LANE, position, 1));
}

static void make_board(void)
{
    board_bytes = np_board_bytes(&limits);
    void *memory = pages(board_bytes);
    np_board_format(memory, &limits);
    ck_assert_int_eq(np_board_attach(&board, memory, board_bytes), 0);
    for (uint32_t client = SENDER_CLIENT; client <= RECEIVER_CLIENT; client++)
        np_store32(&board.clients[client].state, NP_ACTIVE, memory_order_relaxed);
    for (uint32_t i = 1; i <= 2; i++) {
        struct np_channel_entry *channel = &board.channels[i];
        channel->pool = i == 1 ? POOL : OTHER_POOL;
        np_store32(&channel->state, NP_ACTIVE, memory_order_relaxed);
        struct np_endpoint_entry *endpoint = &board.endpoints[i];
        endpoint->role = i == 1 ? NP_ROLE_SENDER : NP_ROLE_RECEIVER;
        endpoint->client = i;
        endpoint->channel = 1;
        np_store32(&endpoint->state, NP_ACTIVE, memory_order_relaxed);
    }
}

static void make_arenas(void)
{
    struct np_pool_entry *entry = &board.pools[POOL];
    strcpy(entry->name, "pay");
    entry->id = POOL;
    entry->slot_bytes = SLOT_BYTES;
    np_store32(&entry->arenas, 2, memory_order_relaxed);
    for (unsigned i = 0; i < 2; i++) {
        uint64_t slots = i == 0 ? FIRST_SLOTS : SECOND_SLOTS;
        entry->arena[i].slots = slots;
        entry->arena[i].node = (int)i;
        meta_bytes[i] = np_arena_meta_bytes(slots, 9, 0);
        void *meta = pages(meta_bytes[i]);
        np_arena_format(meta, slots, SLOT_BYTES, POOL, i, (int)i, 9, 0);
        ck_assert_int_eq(np_arena_attach(&arenas[i], meta, meta_bytes[i], NULL, slots, SLOT_BYTES, i, (int)i, 0, NULL, 17, 0), 0);
    }
    np_store32(&entry->state, NP_ACTIVE, memory_order_relaxed);
}

static void make_lane(uint32_t lane, uint32_t channel)
{
    struct np_lane_entry *entry = &board.lanes[lane];
    lane_bytes = np_lane_bytes(CAPACITY, NP_LANE_SLOTS);
    lanes[lane] = pages(lane_bytes);
    np_lane_format(lanes[lane], lane, CAPACITY, NP_LANE_SLOTS, 0, board.channels[channel].pool, channel);
    entry->channel = channel;
    entry->capacity = CAPACITY;
    entry->generation = 1;
    np_store32(&entry->state, NP_ACTIVE, memory_order_relaxed);
}

/* On the lane: 0 .. 19 long gone; 20, 21 released and not yet taken back; 22 there; 23 kept by the receiver; 24 there; 25
 * sent and not yet announced. */
static void make_world(void)
{
    memset(lanes, 0, sizeof lanes);
    make_board();
    make_arenas();
    make_lane(LANE, 1);
    make_lane(OTHER_LANE, 2);
    np_store32(&board.lanes[LANE].sender, 1, memory_order_relaxed);
    np_store32(&board.lanes[LANE].receiver, 2, memory_order_relaxed);
    for (uint64_t slot = 0; slot < 5; slot++)
        set_word(0, slot, np_word_held(SENDER_CLIENT, 0));
    for (uint32_t i = 0; i < 6; i++)
        send_slot(20 + i, i % 2, 10 + i);
    set_word(1, 13, np_word_held(RECEIVER_CLIENT, 1));
    struct np_cell *last = &np_lane_cells(lanes[LANE])[25 % CAPACITY];
    np_store64(&last->where, np_cell_where_unannounced(25, 15), memory_order_relaxed);
    np_store64(&lanes[LANE]->tail, 25, memory_order_relaxed);
    np_store64(&lanes[LANE]->released, 22, memory_order_relaxed);
}

static void end_world(void)
{
    munmap(board.header, board_bytes);
    for (unsigned i = 0; i < 2; i++)
        munmap(arenas[i].header, meta_bytes[i]);
    for (uint32_t lane = LANE; lane <= OTHER_LANE; lane++)
        munmap(lanes[lane], lane_bytes);
}

static void run_check(void)
{
    check = (struct np_check){ .findings = findings, .findings_capacity = FINDINGS };
    ck_assert_int_eq(np_check_pool(&check, &board, POOL, arenas, 2, lanes, held_by, sent_on), 0);
}

static void assert_right(void)
{
    run_check();
    ck_assert_msg(check.wrong == 0, "%s", findings[0].sentence);
}

static void assert_one_finding(const char *part, const char *where)
{
    run_check();
    ck_assert_uint_eq(check.wrong, 1);
    ck_assert_msg(strstr(findings[0].sentence, "pool pay") == findings[0].sentence, "%s", findings[0].sentence);
    ck_assert_msg(strstr(findings[0].sentence, part) && strstr(findings[0].sentence, where), "\"%s\" lacks \"%s\" or \"%s\"",
                  findings[0].sentence, part, where);
    ck_assert_uint_lt(strlen(findings[0].sentence), sizeof findings[0].sentence - 1);
}

START_TEST(healthy_pool_has_no_findings_and_its_sums_add_up)
{
    assert_right();
    ck_assert_uint_eq(check.slots, FIRST_SLOTS + SECOND_SLOTS);
    ck_assert_uint_eq(check.held, 6);
    ck_assert_uint_eq(check.in_flight, 5);
    ck_assert_uint_eq(check.free_slots, FIRST_SLOTS + SECOND_SLOTS - 11);
    ck_assert_uint_eq(held_by[SENDER_CLIENT], 5);
    ck_assert_uint_eq(held_by[RECEIVER_CLIENT], 1);
    ck_assert_uint_eq(sent_on[LANE], 5);
}
END_TEST

START_TEST(nothing_is_written)
{
    ck_assert_int_eq(mprotect(board.header, board_bytes, PROT_READ), 0);
    for (unsigned i = 0; i < 2; i++)
        ck_assert_int_eq(mprotect(arenas[i].header, meta_bytes[i], PROT_READ), 0);
    for (uint32_t lane = LANE; lane <= OTHER_LANE; lane++)
        ck_assert_int_eq(mprotect(lanes[lane], lane_bytes, PROT_READ), 0);
    assert_right();
}
END_TEST

START_TEST(word_of_no_state_is_found)
{
    set_word(1, 63, UINT64_C(9) << 60 | 5);
    assert_one_finding("state 9", "node 1, slot 63");
    ck_assert_uint_eq(check.free_slots + check.held + check.in_flight, check.slots - 1);
}
END_TEST

START_TEST(free_word_that_names_an_owner_is_found)
{
    set_word(0, 99, UINT64_C(3) << 44);
    assert_one_finding("is free and yet names an owner", "slot 99");
}
END_TEST

START_TEST(held_word_that_names_a_message_is_found)
{
    set_word(0, 50, np_word_held(SENDER_CLIENT, 0) | UINT64_C(7) << 16);
    assert_one_finding("seq 7", "slot 50");
}
END_TEST

START_TEST(slot_of_a_client_that_does_not_live_is_found)
{
    set_word(0, 51, np_word_held(GONE_CLIENT, 2));
    assert_one_finding("names no live client", "held by client 5");
}
END_TEST

START_TEST(slot_of_a_dying_client_is_no_finding)
{
    np_store32(&board.clients[GONE_CLIENT].state, NP_DYING, memory_order_relaxed);
    set_word(0, 51, np_word_held(GONE_CLIENT, 2));
    assert_right();
    ck_assert_uint_eq(held_by[GONE_CLIENT], 1);
}
END_TEST

START_TEST(clients_beyond_the_table_are_found)
{
    set_word(0, 51, np_word_held(65535, 2));
    set_word(0, 52, np_word_held(0, 2));
    run_check();
    ck_assert_uint_eq(check.wrong, 2);
    ck_assert_uint_eq(check.held, 8);
}
END_TEST

START_TEST(message_on_no_lane_is_found)
{
    set_word(0, 52, np_word_sent(7, 22, 0));
    assert_one_finding("names no lane of this pool", "sent on lane 7");
}
END_TEST

START_TEST(message_beyond_the_table_of_lanes_is_found)
{
    set_word(0, 52, np_word_sent(65535, 22, 0));
    assert_one_finding("names no lane of this pool", "lane 65535");
}
END_TEST

START_TEST(message_on_a_lane_of_another_pool_is_found)
{
    set_word(0, 52, np_word_sent(OTHER_LANE, 0, 0));
    assert_one_finding("names no lane of this pool", "lane 2");
}
END_TEST

START_TEST(message_far_behind_its_lane_is_found)
{
    np_store64(&lanes[LANE]->tail, 1000, memory_order_relaxed);
    np_store64(&lanes[LANE]->released, 1000, memory_order_relaxed);
    for (uint32_t i = 0; i < 6; i++)
        set_word(i % 2, 10 + i, np_word_free(1));
    set_word(0, 52, np_word_sent(LANE, 1000 - 2 * CAPACITY - 1, 0));
    assert_one_finding("not near its lane's tail", "slot 52");
}
END_TEST

START_TEST(message_from_before_the_first_is_found)
{
    np_store64(&lanes[LANE]->tail, 0, memory_order_relaxed);
    np_store64(&lanes[LANE]->released, 0, memory_order_relaxed);
    for (uint32_t i = 0; i < 6; i++)
        set_word(i % 2, 10 + i, np_word_free(1));
    set_word(0, 52, np_word_sent(LANE, NP_WORD_SEQ_MASK, 0));
    assert_one_finding("not near its lane's tail", "slot 52");
}
END_TEST

START_TEST(message_far_ahead_of_its_lane_is_found)
{
    set_word(0, 52, np_word_sent(LANE, 25 + CAPACITY + 1, 0));
    assert_one_finding("not near its lane's tail", "seq 34");
}
END_TEST

START_TEST(positions_beyond_28_bits_are_told_apart)
{
    const uint64_t start = (UINT64_C(5) << 32) - 3; /* seq and the cells' 32 bits wrap in the run */
    for (uint32_t i = 0; i < 6; i++)
        send_slot(start + i, i % 2, 10 + i);
    set_word(1, 13, np_word_held(RECEIVER_CLIENT, 1));
    np_store64(&lanes[LANE]->tail, start + 6, memory_order_relaxed);
    np_store64(&lanes[LANE]->released, start + 1, memory_order_relaxed);
    assert_right();
    set_word(0, 53, np_word_sent(LANE, start + 4, 0));
    assert_one_finding("another slot is", "slot 53");
}
END_TEST

START_TEST(second_slot_that_claims_a_message_is_found)
{
    set_word(0, 53, np_word_sent(LANE, 24, 0));
    assert_one_finding("is named by no cell of its lane, another slot is", "slot 53");
}
END_TEST

START_TEST(second_slot_that_claims_a_released_message_is_found)
{
    set_word(0, 53, np_word_sent(LANE, 21, 0));
    assert_one_finding("is named by no cell of its lane, another slot is", "slot 53");
}
END_TEST

START_TEST(same_slot_of_another_arena_is_not_the_one_that_the_cell_names)
{
    set_word(1, 14, np_word_sent(LANE, 24, 1));
    assert_one_finding("another slot is", "node 1, slot 14");
}
END_TEST

START_TEST(cell_that_names_no_slot_is_found)
{
    set_word(0, 14, np_word_free(2));
    set_cell(LANE, 24, 0, FIRST_SLOTS);
    assert_one_finding("names no slot of the pool", "message 24: cell (slot 100 of arena 0)");
    set_cell(LANE, 24, 2, 0);
    assert_one_finding("names no slot of the pool", "arena 2");
}
END_TEST

START_TEST(cell_whose_announcement_is_missing_is_found)
{
    struct np_cell *cell = &np_lane_cells(lanes[LANE])[23 % CAPACITY];
    np_store64(&cell->where, np_cell_where_unannounced(23, 13), memory_order_relaxed);
    assert_one_finding("not announced", "message 23");
}
END_TEST

START_TEST(lane_that_released_more_than_it_was_sent_is_found)
{
    np_store64(&lanes[LANE]->released, 25 + CAPACITY + 1, memory_order_relaxed);
    assert_one_finding("more is released than was sent", "lane 1 (tail 25, released 34)");
}
END_TEST

START_TEST(lane_with_more_than_it_has_room_for_is_found)
{
    for (uint32_t i = 0; i < 6; i++)
        set_word(i % 2, 10 + i, np_word_free(1));
    np_store64(&lanes[LANE]->tail, 22 + CAPACITY + 1, memory_order_relaxed);
    assert_one_finding("more is sent than it has room for", "lane 1");
}
END_TEST

START_TEST(lane_whose_header_was_overwritten_is_found)
{
    lanes[LANE]->capacity = 1u << 20;
    assert_one_finding("does not agree with the board", "lane 1");
}
END_TEST

START_TEST(lane_that_is_not_mapped_is_judged_by_the_board_alone)
{
    struct np_lane_shared *kept = lanes[LANE];
    lanes[LANE] = NULL;
    set_word(0, 53, np_word_sent(LANE, 12345, 0));
    assert_right();
    lanes[LANE] = kept;
}
END_TEST

START_TEST(lane_whose_ends_are_not_its_channels_is_found)
{
    np_store32(&board.lanes[LANE].sender, 2, memory_order_relaxed);
    assert_one_finding("its sender is none of its channel's", "lane 1");
    np_store32(&board.lanes[LANE].sender, 1, memory_order_relaxed);
    np_store32(&board.lanes[LANE].receiver, 60000, memory_order_relaxed);
    assert_one_finding("its receiver is none of its channel's", "receiver endpoint 60000");
}
END_TEST

START_TEST(arena_whose_header_was_overwritten_is_found)
{
    arenas[1].header->slots = UINT64_MAX;
    assert_one_finding("header does not agree with the board", "node 1");
}
END_TEST

START_TEST(findings_beyond_the_room_for_them_are_counted)
{
    for (uint64_t slot = 20; slot < 20 + FINDINGS + 3; slot++)
        set_word(0, slot, np_word_held(GONE_CLIENT, 0));
    run_check();
    ck_assert_uint_eq(check.wrong, FINDINGS + 3);
}
END_TEST

START_TEST(pool_that_is_not_there_is_refused)
{
    ck_assert_int_eq(np_check_pool(&check, &board, OTHER_POOL, arenas, 2, lanes, NULL, NULL), -ENOENT);
    ck_assert_int_eq(np_check_pool(&check, &board, 64, arenas, 2, lanes, NULL, NULL), -ENOENT);
    ck_assert_int_eq(np_check_pool(&check, &board, POOL, arenas, 1, lanes, NULL, NULL), -EINVAL);
}
END_TEST

/* ---------------------------------------------------------------- while others write */

enum { TURNS = 300000 }; /* so many that the sweep meets every state in between */

static _Atomic bool stop;
static _Atomic uint64_t turns;

/* A sender and receiver in one thread, by the legal steps and in their order, through every state in between. */
static void *traffic(void *argument)
{
    uint64_t released = 26, tail = 26;
    (void)argument;
    for (uint64_t turn = 0; !atomic_load_explicit(&stop, memory_order_relaxed); turn++) {
        uint32_t slot = 60 + (uint32_t)(turn % 20);
        uint64_t word = np_load64(word_at(0, slot), memory_order_relaxed);
        unsigned gen = np_word_gen(word);
        set_word(0, slot, np_word_held(SENDER_CLIENT, gen));
        struct np_cell *cell = &np_lane_cells(lanes[LANE])[tail % CAPACITY];
        np_store64(&cell->what, np_cell_what(16, 0, 0, 0), memory_order_relaxed);
        np_store64(&cell->where, np_cell_where_unannounced(tail, slot), memory_order_relaxed);
        np_store64(word_at(0, slot), np_word_sent(LANE, tail, gen), memory_order_release);
        np_store64(&cell->where, np_cell_where(tail, slot), memory_order_release);
        np_store64(&lanes[LANE]->tail, ++tail, memory_order_release);
        np_store64(&lanes[LANE]->released, ++released, memory_order_release);
        np_store64(word_at(0, slot), np_word_held(SENDER_CLIENT, gen), memory_order_relaxed);
        np_store64(word_at(0, slot), np_word_free(gen + 1), memory_order_release);
        atomic_store_explicit(&turns, turn, memory_order_relaxed);
    }
    return NULL;
}

START_TEST(traffic_is_no_finding)
{
    for (uint32_t i = 0; i < 6; i++)
        set_word(i % 2, 10 + i, np_word_free(1));
    np_store64(&lanes[LANE]->tail, 26, memory_order_relaxed);
    np_store64(&lanes[LANE]->released, 26, memory_order_relaxed);
    pthread_t thread;
    atomic_store_explicit(&stop, false, memory_order_relaxed);
    ck_assert_int_eq(pthread_create(&thread, NULL, traffic, NULL), 0);
    while (atomic_load_explicit(&turns, memory_order_relaxed) < TURNS) {
        run_check();
        if (check.wrong != 0 || check.free_slots + check.held + check.in_flight != check.slots)
            break;
    }
    atomic_store_explicit(&stop, true, memory_order_relaxed);
    pthread_join(thread, NULL);
    ck_assert_msg(check.wrong == 0, "%s", findings[0].sentence);
    ck_assert_uint_eq(check.free_slots + check.held + check.in_flight, check.slots);
}
END_TEST

/* Always wrong, and never the same twice: somebody is at work there. */
static void *unrest(void *argument)
{
    (void)argument;
    for (unsigned gen = 0; !atomic_load_explicit(&stop, memory_order_relaxed); gen++)
        set_word(1, 5, np_word_held(GONE_CLIENT, gen));
    return NULL;
}

START_TEST(word_that_keeps_changing_is_no_finding)
{
    pthread_t thread;
    atomic_store_explicit(&stop, false, memory_order_relaxed);
    ck_assert_int_eq(pthread_create(&thread, NULL, unrest, NULL), 0);
    while (np_word_state(np_load64(word_at(1, 5), memory_order_relaxed)) == NP_WORD_FREE)
        np_pause();
    run_check();
    atomic_store_explicit(&stop, true, memory_order_relaxed);
    pthread_join(thread, NULL);
    ck_assert_msg(check.wrong == 0, "%s", findings[0].sentence);
    ck_assert_uint_eq(check.free_slots + check.held + check.in_flight, check.slots);
}
END_TEST

START_TEST(what_is_wrong_is_found_in_the_middle_of_traffic)
{
    for (uint32_t i = 0; i < 6; i++)
        set_word(i % 2, 10 + i, np_word_free(1));
    np_store64(&lanes[LANE]->tail, 26, memory_order_relaxed);
    np_store64(&lanes[LANE]->released, 26, memory_order_relaxed);
    set_word(1, 5, np_word_held(GONE_CLIENT, 0));
    pthread_t thread;
    atomic_store_explicit(&stop, false, memory_order_relaxed);
    ck_assert_int_eq(pthread_create(&thread, NULL, traffic, NULL), 0);
    run_check();
    atomic_store_explicit(&stop, true, memory_order_relaxed);
    pthread_join(thread, NULL);
    ck_assert_uint_eq(check.wrong, 1);
    ck_assert_ptr_nonnull(strstr(findings[0].sentence, "node 1, slot 5"));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("check");
    TCase *cases = tcase_create("check");
    tcase_add_checked_fixture(cases, make_world, end_world);
    tcase_set_timeout(cases, 60);
    tcase_add_test(cases, healthy_pool_has_no_findings_and_its_sums_add_up);
    tcase_add_test(cases, nothing_is_written);
    tcase_add_test(cases, word_of_no_state_is_found);
    tcase_add_test(cases, free_word_that_names_an_owner_is_found);
    tcase_add_test(cases, held_word_that_names_a_message_is_found);
    tcase_add_test(cases, slot_of_a_client_that_does_not_live_is_found);
    tcase_add_test(cases, slot_of_a_dying_client_is_no_finding);
    tcase_add_test(cases, clients_beyond_the_table_are_found);
    tcase_add_test(cases, message_on_no_lane_is_found);
    tcase_add_test(cases, message_beyond_the_table_of_lanes_is_found);
    tcase_add_test(cases, message_on_a_lane_of_another_pool_is_found);
    tcase_add_test(cases, message_far_behind_its_lane_is_found);
    tcase_add_test(cases, message_from_before_the_first_is_found);
    tcase_add_test(cases, message_far_ahead_of_its_lane_is_found);
    tcase_add_test(cases, positions_beyond_28_bits_are_told_apart);
    tcase_add_test(cases, second_slot_that_claims_a_message_is_found);
    tcase_add_test(cases, second_slot_that_claims_a_released_message_is_found);
    tcase_add_test(cases, same_slot_of_another_arena_is_not_the_one_that_the_cell_names);
    tcase_add_test(cases, cell_that_names_no_slot_is_found);
    tcase_add_test(cases, cell_whose_announcement_is_missing_is_found);
    tcase_add_test(cases, lane_that_released_more_than_it_was_sent_is_found);
    tcase_add_test(cases, lane_with_more_than_it_has_room_for_is_found);
    tcase_add_test(cases, lane_whose_header_was_overwritten_is_found);
    tcase_add_test(cases, lane_that_is_not_mapped_is_judged_by_the_board_alone);
    tcase_add_test(cases, lane_whose_ends_are_not_its_channels_is_found);
    tcase_add_test(cases, arena_whose_header_was_overwritten_is_found);
    tcase_add_test(cases, findings_beyond_the_room_for_them_are_counted);
    tcase_add_test(cases, pool_that_is_not_there_is_refused);
    tcase_add_test(cases, traffic_is_no_finding);
    tcase_add_test(cases, word_that_keeps_changing_is_no_finding);
    tcase_add_test(cases, what_is_wrong_is_found_in_the_middle_of_traffic);
    suite_add_tcase(suite, cases);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
