/* SPDX-License-Identifier: MIT
 * Lanes: what is repaired after a death at each point of a send or a release, and what a scribble can do (nothing). */
#include "pool_help.h"

#include <sys/mman.h>

#include "channel/lane.h"
#include "channel/receiver.h"
#include "channel/sender.h"

enum { LANE = 5, CAPACITY = 8, SLOTS = 100, DEAD = 4 };

static struct np_lane_shared *lane;
static struct np_arena arenas[2];
static void *meta[2];
static size_t meta_bytes;
static struct np_bell bells[4];
static struct np_lane_pool lane_pool;

static void *pages(size_t bytes)
{
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ck_assert_ptr_ne(memory, MAP_FAILED);
    return memory;
}

static void make_lane(void)
{
    meta_bytes = np_arena_meta_bytes(SLOTS, 4, 0);
    for (unsigned i = 0; i < 2; i++) {
        meta[i] = pages(meta_bytes);
        np_arena_format(meta[i], SLOTS, 64, 0, i, 0, 4, 0);
        ck_assert_int_eq(np_arena_attach(&arenas[i], meta[i], meta_bytes, NULL, SLOTS, 64, i, 0, 0, bells, 4, 0), 0);
    }
    lane = pages(np_lane_bytes(CAPACITY, NP_LANE_SLOTS));
    np_lane_format(lane, LANE, CAPACITY, NP_LANE_SLOTS, 0, 0, 1);
    lane_pool = (struct np_lane_pool){ arenas, 2, sizeof arenas[0], bells, 4 };
}

static void unmake_lane(void)
{
    for (unsigned i = 0; i < 2; i++)
        munmap(meta[i], meta_bytes);
    munmap(lane, np_lane_bytes(CAPACITY, NP_LANE_SLOTS));
}

static np_shm64 *word(uint64_t position)
{
    return &arenas[position % 2].words[position % SLOTS];
}

static struct np_cell *cell(uint64_t position)
{
    return &np_lane_cells(lane)[position % CAPACITY];
}

/* The steps of a send, by hand: message s is in slot s of arena s % 2. */
static void write_cell(uint64_t position)
{
    np_store64(&cell(position)->what, np_cell_what(16, position % 2, NP_CELL_LABELLED, 3), memory_order_relaxed);
    np_store64(&np_lane_labels(lane, CAPACITY)[position % CAPACITY].id, position, memory_order_relaxed);
    np_store64(&cell(position)->where, np_cell_where_unannounced(position, (uint32_t)(position % SLOTS)), memory_order_relaxed);
}

static void write_word(uint64_t position)
{
    np_store64(word(position), np_word_sent(LANE, position, 1), memory_order_release);
}

static void announce(uint64_t position)
{
    np_store64(&cell(position)->where, np_cell_where(position, (uint32_t)(position % SLOTS)), memory_order_release);
}

static void send(uint64_t position)
{
    write_cell(position);
    write_word(position);
    announce(position);
    np_store64(&lane->tail, position + 1, memory_order_release);
}

static void release_until(uint64_t position)
{
    np_store64(&lane->released, position, memory_order_release);
}

static bool is_announced(uint64_t position)
{
    return np_cell_is_announced(np_load64(&cell(position)->where, memory_order_relaxed), position);
}

static bool is_skipped(uint64_t position)
{
    return (np_cell_flags(np_load64(&cell(position)->what, memory_order_relaxed)) & NP_CELL_SKIP) != 0;
}

static uint64_t tail(void)
{
    return np_load64(&lane->tail, memory_order_relaxed);
}

static unsigned roll(void)
{
    return np_lane_roll_forward(lane, LANE, CAPACITY, &lane_pool, 1);
}

START_TEST(a_lane_is_a_power_of_two_within_its_limits)
{
    ck_assert_uint_eq(np_lane_capacity(0), 2);
    ck_assert_uint_eq(np_lane_capacity(2), 2);
    ck_assert_uint_eq(np_lane_capacity(3), 4);
    ck_assert_uint_eq(np_lane_capacity(1025), 2048);
    ck_assert_uint_eq(np_lane_capacity(1u << 20), 1u << 20);
    ck_assert_uint_eq(np_lane_capacity((1u << 20) + 1), 0);
    ck_assert_uint_eq(np_lane_capacity(UINT32_MAX), 0);
    ck_assert_uint_ge(np_lane_bytes(1u << 20, NP_LANE_SLOTS), NP_LANE_HEADER_BYTES + (UINT64_C(32) << 20));
}
END_TEST

START_TEST(another_lane_is_refused_by_name)
{
    ck_assert_int_eq(np_lane_check(lane, LANE, CAPACITY, NP_LANE_SLOTS), 0);
    ASSERT_REFUSED(np_lane_check(lane, LANE + 1, CAPACITY, NP_LANE_SLOTS), -EBADMSG, "lane 6");
    ASSERT_REFUSED(np_lane_check(lane, LANE, CAPACITY * 2, NP_LANE_SLOTS), -EBADMSG, "lane 5");
    lane->layout++;
    ASSERT_REFUSED(np_lane_check(lane, LANE, CAPACITY, NP_LANE_SLOTS), -EPROTO, "lane 5");
    lane->magic++;
    ASSERT_REFUSED(np_lane_check(lane, LANE, CAPACITY, NP_LANE_SLOTS), -EBADMSG, "lane 5");
}
END_TEST

/* _i: where the ring stands when its sender dies. */
START_TEST(a_sender_that_died_after_its_words_has_sent)
{
    uint64_t start = (uint64_t)_i;
    for (uint64_t s = 0; s < start; s++)
        send(s);
    release_until(start);
    send(start);
    for (uint64_t s = start + 1; s < start + 4; s++) {
        write_cell(s);
        if (s > start + 1) /* all of a batch but the first */
            announce(s);
        write_word(s);
    }
    write_cell(start + 4);
    announce(start + 4); /* its word does not say so: not sent */
    for (unsigned twice = 0; twice < 2; twice++) {
        ck_assert_uint_eq(roll(), twice ? 0 : 3);
        ck_assert_uint_eq(tail(), start + 4);
        for (uint64_t s = start; s < start + 4; s++)
            ck_assert(is_announced(s));
        ck_assert(!is_announced(start + 4));
        ck_assert_uint_eq(np_load32(&lane->state, memory_order_relaxed), NP_LANE_ORPHAN);
    }
}
END_TEST

START_TEST(a_full_lane_of_the_dead_is_announced_whole_and_not_beyond)
{
    for (uint64_t s = 0; s < CAPACITY; s++)
        send(s);
    release_until(CAPACITY);
    for (uint64_t s = CAPACITY; s < 2 * CAPACITY; s++) {
        write_cell(s);
        write_word(s);
    }
    ck_assert_uint_eq(roll(), CAPACITY);
    ck_assert_uint_eq(tail(), 2 * CAPACITY);
    ck_assert_uint_eq(roll(), 0);
    ck_assert_uint_eq(tail(), 2 * CAPACITY);
}
END_TEST

START_TEST(a_sender_that_died_before_any_word_has_sent_nothing)
{
    for (uint64_t s = 0; s < 3; s++)
        write_cell(s);
    ck_assert_uint_eq(roll(), 0);
    ck_assert_uint_eq(tail(), 0);
    ck_assert(np_lane_is_drained(lane, CAPACITY, NP_LANE_SLOTS));
}
END_TEST

START_TEST(an_announced_message_that_has_moved_on_is_no_gap)
{
    send(0);
    send(1);
    np_store64(word(0), np_word_sent(LANE + 1, 0, 1), memory_order_release); /* forwarded, not yet released */
    write_cell(2);
    write_word(2);
    ck_assert_uint_eq(roll(), 1);
    ck_assert_uint_eq(tail(), 3);
}
END_TEST

START_TEST(what_a_receiver_kept_or_forwarded_is_skipped_by_the_next)
{
    for (uint64_t s = 0; s < 6; s++)
        send(s);
    release_until(1);
    np_store64(word(2), np_word_held(DEAD, 1), memory_order_release);
    np_store64(word(3), np_word_sent(LANE + 1, 3, 1), memory_order_release);
    np_store64(word(4), np_word_free(2), memory_order_release); /* kept and put */
    for (unsigned twice = 0; twice < 2; twice++) {
        ck_assert_uint_eq(np_lane_prepare_handover(lane, LANE, CAPACITY, &lane_pool), 2);
        for (uint64_t s = 1; s < 6; s++)
            ck_assert_int_eq(is_skipped(s), s >= 2 && s <= 4);
        ck_assert_uint_eq(np_load64(&lane->redelivered_until, memory_order_relaxed), 6);
    }
}
END_TEST

START_TEST(an_orphan_frees_what_is_released_once)
{
    for (uint64_t s = 0; s < 6; s++)
        send(s);
    release_until(2);
    roll();
    np_store64(word(3), np_word_held(DEAD, 1), memory_order_release); /* kept: not ours */
    ck_assert_uint_eq(np_lane_orphan_duty(lane, LANE, CAPACITY, &lane_pool), 2);
    ck_assert_uint_eq(np_lane_orphan_duty(lane, LANE, CAPACITY, &lane_pool), 0);
    ck_assert_uint_eq(np_word_state(np_load64(word(2), memory_order_relaxed)), NP_WORD_SENT);
    ck_assert(!np_lane_is_drained(lane, CAPACITY, NP_LANE_SLOTS));
    release_until(6);
    ck_assert_uint_eq(np_lane_orphan_duty(lane, LANE, CAPACITY, &lane_pool), 3);
    ck_assert(np_lane_is_drained(lane, CAPACITY, NP_LANE_SLOTS));
    for (uint64_t s = 0; s < 6; s++)
        ck_assert_uint_eq(np_load64(word(s), memory_order_relaxed), s == 3 ? np_word_held(DEAD, 1) : np_word_free(2));
}
END_TEST

START_TEST(repairs_of_a_scribbled_lane_end_and_touch_no_slot_of_others)
{
    static const uint64_t values[] = { 0, 1, 7, UINT64_MAX, UINT64_C(1) << 63, UINT64_C(0x100000000), CAPACITY - 1, 200 };
    enum { VALUES = sizeof values / sizeof values[0] };
    srand(7);
    for (unsigned round = 0; round < 2000; round++) {
        memset((char *)lane + 128, 0, np_lane_bytes(CAPACITY, NP_LANE_SLOTS) - 128);
        for (uint64_t s = 0; s < 4; s++)
            send(s);
        for (uint64_t s = 10; s < 20; s++)
            np_store64(word(s), s % 2 ? np_word_held(DEAD, 1) : np_word_sent(LANE + 1, s, 1), memory_order_relaxed);
        np_shm64 *raw = (np_shm64 *)lane;
        for (unsigned i = 0; i < 1 + round % 9; i++) {
            unsigned at = rand() % 2 ? 16u + (unsigned)rand() % 80u
                                     : NP_LANE_HEADER_BYTES / 8 + (unsigned)rand() % (CAPACITY * sizeof(struct np_cell) / 8);
            np_store64(&raw[at], values[(unsigned)rand() % VALUES], memory_order_relaxed);
        }
        roll();
        np_lane_prepare_handover(lane, LANE, CAPACITY, &lane_pool);
        np_lane_orphan_duty(lane, LANE, CAPACITY, &lane_pool);
        np_lane_is_drained(lane, CAPACITY, NP_LANE_SLOTS);
        np_lane_ring(lane, &lane_pool);
        if (np_lane_depth(lane, CAPACITY) > CAPACITY)
            ck_abort_msg("round %u: a lane of %u holds more", round, CAPACITY);
        for (uint64_t s = 10; s < 20; s++)
            if (np_load64(word(s), memory_order_relaxed) != (s % 2 ? np_word_held(DEAD, 1) : np_word_sent(LANE + 1, s, 1)))
                ck_abort_msg("round %u: slot %u was another's", round, (unsigned)s);
    }
}
END_TEST

/* ---------------------------------------------------------------- scribbles between live ends */

struct ends {
    struct numapool_pool *pool;
    struct numapool_sender *sender;
    struct numapool_receiver *receiver;
};

static struct ends open_ends(unsigned senders_lane_slots)
{
    struct ends ends = { .pool = make_pool(256, 0) };
    struct numapool_channel_options options = NUMAPOOL_CHANNEL_OPTIONS_INIT;
    options.lane_slots = senders_lane_slots;
    options.spin_ns = -1;
    ck_assert_int_eq(numapool_sender_open(ends.pool, "c", &options, &ends.sender), 0);
    ck_assert_int_eq(numapool_receiver_open(ends.pool, "c", &options, &ends.receiver), 0);
    return ends;
}

static void close_ends(struct ends *ends)
{
    ck_assert_int_eq(numapool_sender_close(ends->sender, 0), 0);
    ck_assert_int_eq(numapool_receiver_close(ends->receiver), 0);
    close_pool(ends->pool);
}

static void send_to(struct ends *ends, uint64_t from, uint64_t until)
{
    for (uint64_t id = from; id < until; id++) {
        struct numapool_msg message = { .data = numapool_loan(ends->sender), .length = 8, .id = id };
        ck_assert_ptr_nonnull(message.data);
        ck_assert_int_eq(numapool_send(ends->sender, &message, 0), 0);
    }
}

START_TEST(a_scribbled_cell_is_reported_and_passed_over)
{
    static const struct {
        uint64_t where, what; /* put over the cell's upper half, and its description */
    } scribbles[] = { { UINT64_C(256), 8 },
                      { UINT64_C(0xffffffff), 8 },
                      { 0, UINT64_C(1) << 48 },
                      { 0, UINT64_C(0xff) << 48 },
                      { 0, SLOT_BYTES + 1 },
                      { 0, UINT32_MAX } };
    struct ends ends = open_ends(8);
    struct numapool_msg messages[4];
    const unsigned at_once = _i % 2 ? 4 : 1, which = (unsigned)_i / 2;
    send_to(&ends, 0, 4);
    struct np_cell *scribbled = &ends.sender->lanes[0].cells[1];
    np_store64(&scribbled->where, scribbles[which].where << 32 | 2, memory_order_relaxed);
    np_store64(&scribbled->what, scribbles[which].what, memory_order_relaxed);
    unsigned got = 0, reported = 0;
    for (unsigned calls = 0; calls < 8; calls++) {
        struct numapool_msg some[4];
        int result = numapool_receive(ends.receiver, some, at_once, 0);
        if (result == -EBADMSG) {
            assert_sentence_has("message 1");
            assert_sentence_has("pay");
            reported++;
        }
        for (int i = 0; i < result; i++)
            messages[got++] = some[i];
    }
    ck_assert_uint_eq(got, 3);
    ck_assert_uint_eq(reported, 1);
    ck_assert_uint_eq(messages[0].id, 0);
    ck_assert_uint_eq(messages[1].id, 2);
    ck_assert_uint_eq(messages[2].id, 3);
    ck_assert_int_eq(numapool_release(ends.receiver, messages, 3), 0);
    close_ends(&ends); /* and its slot came back too */
}
END_TEST

START_TEST(a_scribbled_release_mark_harms_nobody_else)
{
    static const uint64_t marks[] = { 3, 0, UINT64_MAX, UINT64_C(1) << 63, 1000, 2 };
    struct ends ends = open_ends(4);
    struct numapool_msg messages[4], more = { .length = 1 };
    send_to(&ends, 0, 2);
    ck_assert_int_eq(numapool_receive(ends.receiver, messages, 2, 0), 2);
    ck_assert_int_eq(numapool_release(ends.receiver, messages, 2), 0);
    send_to(&ends, 2, 4);
    ck_assert_int_eq(numapool_receive(ends.receiver, messages, 2, 0), 2);
    np_shm64 *mark = &ends.sender->lanes[0].shared->released;
    for (unsigned i = 1; i < sizeof marks / sizeof marks[0]; i++) {
        np_store64(mark, marks[i], memory_order_relaxed);
        ck_assert_ptr_nonnull(more.data = numapool_loan(ends.sender));
        int result = numapool_send(ends.sender, &more, 0);
        ck_assert(result == 0 || result == -EAGAIN);
        if (result == 0) {
            struct numapool_msg got;
            ck_assert_int_eq(numapool_receive(ends.receiver, &got, 1, 0), 1);
            ck_assert_ptr_eq(got.data, more.data);
            ck_assert_int_eq(numapool_keep(ends.receiver, &got), 0);
        }
        ck_assert_int_eq(numapool_unloan(ends.sender, more.data), 0);
        for (unsigned m = 0; m < 2; m++) { /* what is unreleased is not given to another */
            uint64_t index = (uint64_t)np_arena_index_of(&ends.pool->arenas[0].arena, messages[m].data);
            ck_assert_uint_eq(np_word_state(np_load64(&ends.pool->arenas[0].arena.words[index], memory_order_relaxed)),
                              NP_WORD_SENT);
        }
    }
    ck_assert_int_eq(numapool_release(ends.receiver, messages, 2), 0);
    close_ends(&ends);
}
END_TEST

START_TEST(scribbled_bells_and_tails_ring_nobody_wrong)
{
    static const uint32_t values[] = { 0, 1, 3, 5000, UINT32_MAX };
    struct ends ends = open_ends(4);
    struct np_lane_shared *shared = ends.sender->lanes[0].shared;
    struct numapool_msg messages[4];
    send_to(&ends, 0, 1); /* both know the lane before it is scribbled over */
    ck_assert_int_eq(numapool_receive(ends.receiver, messages, 4, 0), 1);
    ck_assert_int_eq(numapool_release(ends.receiver, messages, 1), 0);
    for (unsigned i = 0; i < 25; i++) {
        np_store32(&shared->receiver_bell, values[i % 5], memory_order_relaxed);
        np_store32(&shared->sender_bell, values[i / 5], memory_order_relaxed);
        np_store32(&shared->receiver_sleeps, UINT32_MAX, memory_order_relaxed);
        np_store32(&shared->sender_sleeps, UINT32_MAX, memory_order_relaxed);
        np_store64(&shared->tail, (uint64_t)values[i % 5] << 32, memory_order_relaxed);
        np_store64(&shared->reclaimed, UINT64_MAX - i, memory_order_relaxed);
        np_store32(&shared->state, values[i % 5], memory_order_relaxed);
        send_to(&ends, i * 3, i * 3 + 3);
        ck_assert_int_eq(numapool_receive(ends.receiver, messages, 4, 1), 3);
        for (unsigned m = 0; m < 3; m++)
            ck_assert_uint_eq(messages[m].id, i * 3 + m);
        ck_assert_int_eq(numapool_release(ends.receiver, messages, 3), 0);
        ck_assert_int_eq(numapool_receive(ends.receiver, messages, 4, 100000), -ETIMEDOUT);
    }
    np_store32(&shared->state, NP_LANE_ACTIVE, memory_order_relaxed);
    close_ends(&ends);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("lane");
    TCase *repairs = tcase_create("repairs"), *scribbles = tcase_create("scribbles");
    tcase_add_checked_fixture(repairs, make_lane, unmake_lane);
    tcase_add_test(repairs, a_lane_is_a_power_of_two_within_its_limits);
    tcase_add_test(repairs, another_lane_is_refused_by_name);
    tcase_add_loop_test(repairs, a_sender_that_died_after_its_words_has_sent, 0, 20);
    tcase_add_test(repairs, a_full_lane_of_the_dead_is_announced_whole_and_not_beyond);
    tcase_add_test(repairs, a_sender_that_died_before_any_word_has_sent_nothing);
    tcase_add_test(repairs, an_announced_message_that_has_moved_on_is_no_gap);
    tcase_add_test(repairs, what_a_receiver_kept_or_forwarded_is_skipped_by_the_next);
    tcase_add_test(repairs, an_orphan_frees_what_is_released_once);
    tcase_add_test(repairs, repairs_of_a_scribbled_lane_end_and_touch_no_slot_of_others);
    tcase_add_loop_test(scribbles, a_scribbled_cell_is_reported_and_passed_over, 0, 12);
    tcase_add_test(scribbles, a_scribbled_release_mark_harms_nobody_else);
    tcase_add_test(scribbles, scribbled_bells_and_tails_ring_nobody_wrong);
    suite_add_tcase(suite, repairs);
    suite_add_tcase(suite, scribbles);
    return run_suite(suite);
}
