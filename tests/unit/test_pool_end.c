/* SPDX-License-Identifier: MIT
 * The end of a pool, at the broker: what it is kept by, what goes with it, and that each step can be done twice. */
#include "world_help.h"

enum { OTHER_POOL = 7 };

static struct numapool_sender *sender_of(struct member *member, const char *channel)
{
    struct numapool_channel_options options = NUMAPOOL_CHANNEL_OPTIONS_INIT;
    struct numapool_sender *sender = NULL;
    options.lane_slots = 8;
    options.magazine = member->magazine;
    ck_assert_int_eq(numapool_sender_open(member->pool, channel, &options, &sender), 0);
    return sender;
}

static void send_some(struct numapool_sender *sender, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        struct numapool_msg message = { .data = numapool_loan(sender), .length = 8, .id = i };
        ck_assert_ptr_nonnull(message.data);
        ck_assert_int_eq(numapool_send(sender, &message, 0), 0);
    }
}

static void open_at(struct member *member)
{
    np_or64(&world.board.clients[member->number].pools, UINT64_C(1) << world.pool, memory_order_relaxed);
    np_or64(&world.board.clients[member->number].opened, UINT64_C(1) << world.pool, memory_order_relaxed);
}

static struct np_pool_use use_now(void)
{
    struct np_pool_use use;
    np_broker_pool_use(&world.broker, world.pool, &use);
    return use;
}

static unsigned entries_of(uint32_t pool)
{
    unsigned n = 0;
    const struct np_board *board = &world.board;
    for (uint32_t i = 1; i <= WORLD_CHANNELS; i++)
        n += !np_entry_is(&board->channels[i].state, NP_NONE) && board->channels[i].pool == pool;
    return n;
}

static unsigned endpoints_and_lanes(void)
{
    unsigned n = 0;
    for (uint32_t i = 1; i <= WORLD_ENDPOINTS; i++)
        n += !np_entry_is(&world.board.endpoints[i].state, NP_NONE);
    for (uint32_t i = 1; i <= WORLD_LANES; i++)
        n += !np_entry_is(&world.board.lanes[i].state, NP_NONE);
    return n;
}

static void free_world(void)
{
    np_broker_stop(&world.broker);
    for (unsigned i = 0; i < WORLD_ARENAS; i++) {
        munmap(world.meta[i], world.meta_bytes);
        munmap(world.data[i], WORLD_SLOTS * SLOT_BYTES);
    }
    munmap(world.board_memory, np_board_bytes(&world_limits));
    munmap(world.bells, np_board_bells(&world_limits) * sizeof *world.bells);
}

/* One who has it open, who has sent two messages that nobody has received, and died with one channel more joined. */
static void leave_messages(void)
{
    struct member *member = join_world();
    open_at(member);
    ck_assert_uint_eq(use_now().clients, 1);
    struct numapool_sender *sender = sender_of(member, "waits");
    send_some(sender, 2);
    ck_assert_uint_eq(use_now().waiting, 2);
    forget_sender(sender);
    bury(member);
}

START_TEST(a_pool_is_kept_by_who_has_it_open_and_by_what_waits_in_it)
{
    ck_assert_uint_eq(use_now().clients + use_now().waiting, 0);
    leave_messages();
    ck_assert_uint_eq(use_now().clients, 0);
    ck_assert_uint_eq(use_now().waiting, 2);
    free_world();
}
END_TEST

START_TEST(what_has_moved_on_does_not_wait)
{
    struct member *member = join_world();
    open_at(member);
    struct numapool_sender *sender = sender_of(member, "waits");
    send_some(sender, 3);
    np_or64(&np_lane_cells(world.broker.lane_memory[1])[1].what, np_cell_flag_bits(NP_CELL_SKIP), memory_order_relaxed);
    ck_assert_uint_eq(use_now().waiting, 2);
    forget_sender(sender);
    bury(member);
    free_world();
}
END_TEST

START_TEST(its_channels_lanes_and_endpoints_go_with_it_and_those_of_others_stay)
{
    leave_messages();
    struct member *member = join_world();
    open_at(member);
    struct numapool_sender *left = sender_of(member, "open");
    struct np_channel_entry *others = &world.board.channels[WORLD_CHANNELS];
    others->pool = OTHER_POOL;
    np_store32(&others->state, NP_ACTIVE, memory_order_release);
    np_store32(&world.board.pools[world.pool].state, NP_DYING, memory_order_release);
    for (unsigned twice = 0; twice < 2; twice++) {
        np_broker_pool_remove(&world.broker, world.pool);
        ck_assert_uint_eq(entries_of(world.pool), 0);
        ck_assert_uint_eq(endpoints_and_lanes(), 0);
        ck_assert_uint_eq(world.lanes_mapped, 0);
        ck_assert_uint_eq(world.broker.pools[world.pool].arena_count, 0);
    }
    ck_assert_uint_eq(entries_of(OTHER_POOL), 1);
    ck_assert_uint_eq(world.board.clients[member->number].opened >> world.pool & 1, 0);
    ck_assert_uint_eq(world.board.clients[member->number].opened >> OTHER_POOL & 1, 1);
    ck_assert_uint_eq(world.board.clients[member->number].pools, 0);
    /* A death after it has nothing of the pool to look at any more. */
    struct np_scavenged what;
    np_broker_client_gone(&world.broker, member->number, &what);
    ck_assert_uint_eq(what.slots + what.lanes + what.endpoints, 0);
    forget_sender(left);
    forget_member(member);
    free_world();
}
END_TEST

/* A worker that dies after any of the steps is followed by one that has mapped neither arenas nor lanes of the pool. */
START_TEST(a_broker_that_has_mapped_nothing_goes_on_where_another_died)
{
    leave_messages();
    np_store32(&world.board.pools[world.pool].state, NP_DYING, memory_order_release);
    for (uint32_t lane = 1; lane <= WORLD_LANES && _i > 0; lane++)
        if (!np_entry_is(&world.board.lanes[lane].state, NP_NONE)) {
            np_store32(&world.board.lanes[lane].state, NP_NONE, memory_order_release);
            munmap(world.broker.lane_memory[lane], np_lane_bytes(world.board.lanes[lane].capacity, NP_LANE_SLOTS));
            world.broker.lane_memory[lane] = NULL;
            world.lanes_mapped--;
        }
    void *lanes[WORLD_LANES + 1];
    memcpy(lanes, world.broker.lane_memory, sizeof lanes);
    np_broker_stop(&world.broker);
    start_broker();
    np_broker_pool_remove(&world.broker, world.pool);
    ck_assert_uint_eq(entries_of(world.pool) + endpoints_and_lanes(), 0);
    np_broker_recover(&world.broker);
    ck_assert_uint_eq(entries_of(world.pool) + endpoints_and_lanes(), 0);
    for (uint32_t lane = 1; lane <= WORLD_LANES; lane++)
        if (lanes[lane])
            munmap(lanes[lane], np_lane_bytes(world.board.lanes[lane].capacity, NP_LANE_SLOTS));
    free_world();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("the end of a pool");
    TCase *all = tcase_create("all");
    tcase_add_checked_fixture(all, make_world, NULL);
    tcase_add_test(all, a_pool_is_kept_by_who_has_it_open_and_by_what_waits_in_it);
    tcase_add_test(all, what_has_moved_on_does_not_wait);
    tcase_add_test(all, its_channels_lanes_and_endpoints_go_with_it_and_those_of_others_stay);
    tcase_add_loop_test(all, a_broker_that_has_mapped_nothing_goes_on_where_another_died, 0, 2);
    suite_add_tcase(suite, all);
    return run_suite(suite);
}
