/* SPDX-License-Identifier: MIT
 * Lanes whose receiver has no table of bells (it opened the pool read-only): both ends sleep and wake on the lane, also when it changes
 * hands while one sleeps, and the receiver rings nobody's bell. In place of each sleep something is done that must end it. */
#include "world_help.h"

static struct np_bell *page; /* of the foreign member */

static void must_not_ring(void *context, uint32_t bell)
{
    (void)context;
    ck_abort_msg("one without bells rings bell %u", bell);
}

static struct np_authority foreign_authority;

static struct member *join_foreign(void)
{
    struct member *member = join_world();
    page = plain_pages(NP_PAGE_BYTES);
    world.broker.pages[member->number] = page;
    np_or64(&world.board.clients[member->number].readonly, UINT64_C(1) << world.pool, memory_order_release);
    foreign_authority = member_authority;
    foreign_authority.ring = must_not_ring;
    numapool_flush(member->magazine);
    member->pool->mode = NUMAPOOL_MODE_READONLY;
    member->pool->bells = page;
    member->pool->bell_count = NP_PAGE_BELLS;
    member->pool->authority = &foreign_authority;
    return member;
}

static struct numapool_channel_options without_spinning(void)
{
    struct numapool_channel_options options = NUMAPOOL_CHANNEL_OPTIONS_INIT;
    options.spin_ns = -1;
    options.lane_slots = 4;
    return options;
}

static struct numapool_receiver *a_receiver(struct member *member)
{
    struct numapool_channel_options options = without_spinning();
    struct numapool_receiver *receiver = NULL;
    ck_assert_int_eq(numapool_receiver_open(member->pool, "c", &options, &receiver), 0);
    ck_assert(receiver->endpoint.foreign == (member->pool->mode == NUMAPOOL_MODE_READONLY));
    return receiver;
}

static struct numapool_sender *a_sender(struct member *member)
{
    struct numapool_channel_options options = without_spinning();
    struct numapool_sender *sender = NULL;
    options.magazine = member->magazine;
    ck_assert_int_eq(numapool_sender_open(member->pool, "c", &options, &sender), 0);
    return sender;
}

static int send_id(struct numapool_sender *sender, uint64_t id, int64_t timeout_ns)
{
    struct numapool_msg message = { .data = numapool_loan(sender), .length = 8, .id = id };
    ck_assert_ptr_nonnull(message.data);
    int result = numapool_send(sender, &message, timeout_ns);
    if (result < 0)
        ck_assert_int_eq(numapool_unloan(sender, message.data), 0);
    return result;
}

static void receive_one(struct numapool_receiver *receiver)
{
    struct numapool_msg message;
    ck_assert_int_eq(numapool_receive(receiver, &message, 1, 0), 1);
    ck_assert_int_eq(numapool_release(receiver, &message, 1), 0);
}

/* ---------------------------------------------------------------- scene: a direct sender, a foreign receiver */

static struct member *direct, *foreign, *other;
static struct numapool_sender *sender;
static struct numapool_receiver *receiver, *second;

static void open_scene(void)
{
    make_world();
    direct = join_world();
    foreign = join_foreign();
    other = NULL;
    second = NULL;
    sender = a_sender(direct);
    receiver = a_receiver(foreign);
}

static void fill_lane(void)
{
    uint64_t id = 0;
    while (send_id(sender, id, 0) == 0)
        id++;
    ck_assert_uint_gt(id, 0);
}

static unsigned step;
static void (*first_step)(void), (*then_step)(void);

/* Each sleep must be ended by what is done in its place. */
static int do_step(const struct np_sleep *sleep, int64_t deadline_ns)
{
    (void)deadline_ns;
    void (*now)(void) = step++ == 0 ? first_step : then_step;
    ck_assert(!np_sleep_is_over(sleep));
    ck_assert_msg(now != NULL, "it sleeps once more, and nothing is left to come");
    now();
    ck_assert_msg(np_sleep_is_over(sleep), "step %u does not end the sleep", step);
    return 0;
}

/* then: in place of the second sleep and of any further one, as of a sender that was woken by a lane which is only to be
 * drained. */
static void plan(void (*first)(void), void (*then)(void))
{
    step = 0;
    first_step = first;
    then_step = then;
    np_sleep_hook = do_step;
}

static void foreign_takes_one(void)
{
    receive_one(receiver);
}

static void second_takes_one(void)
{
    receive_one(second);
}

static void send_one(void)
{
    ck_assert_int_eq(send_id(sender, 77, 0), 0);
}

/* ---------------------------------------------------------------- who sleeps is woken */

START_TEST(a_foreign_receiver_is_woken_by_a_send)
{
    struct numapool_msg message;
    plan(send_one, NULL);
    ck_assert_int_eq(numapool_receive(receiver, &message, 1, NUMAPOOL_FOREVER), 1);
    ck_assert_uint_eq(message.id, 77);
    ck_assert_uint_eq(step, 1);
}
END_TEST

START_TEST(a_sender_without_room_is_woken_by_a_foreign_receiver)
{
    fill_lane();
    plan(foreign_takes_one, NULL);
    ck_assert_int_eq(send_id(sender, 5, NUMAPOOL_FOREVER), 0);
    ck_assert_uint_eq(step, 1);
}
END_TEST

static void foreign_takes_all(void)
{
    struct numapool_msg messages[4];
    int got = numapool_receive(receiver, messages, 4, 0);
    ck_assert_int_gt(got, 0);
    ck_assert_int_eq(numapool_release(receiver, messages, (unsigned)got), 0);
}

START_TEST(a_sender_that_leaves_and_waits_is_woken_by_a_foreign_receiver)
{
    fill_lane();
    plan(foreign_takes_one, foreign_takes_all);
    ck_assert_int_eq(numapool_sender_close(sender, NUMAPOOL_FOREVER), 0);
    ck_assert_uint_eq(step, 2);
}
END_TEST

/* All slots but those on the lane are somebody's. */
static void empty_pool(void)
{
    while (send_id(sender, 0, 0) == 0)
        ;
    np_arena_take(&direct->pool->arenas[0].arena, (void *[WORLD_SLOTS]){ 0 }, WORLD_SLOTS);
    np_arena_take(&direct->pool->arenas[1].arena, (void *[WORLD_SLOTS]){ 0 }, WORLD_SLOTS);
    while (numapool_get(direct->magazine))
        ;
}

START_TEST(a_getter_is_woken_by_a_foreign_receiver)
{
    void *slot = NULL;
    empty_pool();
    plan(foreign_takes_one, NULL);
    ck_assert_int_eq(numapool_get_wait(direct->magazine, &slot, NUMAPOOL_FOREVER), 0);
    ck_assert_ptr_nonnull(slot);
    ck_assert_uint_eq(step, 1);
}
END_TEST

START_TEST(nobody_is_rung_who_is_awake)
{
    struct np_lane_shared *lane = receiver->lanes[0].shared;
    struct numapool_msg message;
    np_sleep_hook = NULL;
    ck_assert_int_eq(numapool_receive(receiver, &message, 1, 1000000), -ETIMEDOUT); /* flags went up, and down again */
    fill_lane();
    ck_assert_int_eq(send_id(sender, 9, 1000000), -ETIMEDOUT);
    uint32_t rings = np_load32(&lane->receiver_ring, memory_order_relaxed) + np_load32(&lane->sender_ring, memory_order_relaxed);
    receive_one(receiver);
    send_one();
    ck_assert_uint_eq(np_load32(&lane->receiver_ring, memory_order_relaxed) + np_load32(&lane->sender_ring, memory_order_relaxed), rings);
}
END_TEST

/* A flag that names a bell, as it may be for a moment after the lane has changed hands, is no reason to ring in a table
 * that is not there. */
START_TEST(a_foreign_receiver_rings_no_bell_whatever_the_lane_says)
{
    fill_lane();
    struct np_lane_shared *lane = receiver->lanes[0].shared;
    for (uint32_t bell = 0; bell < 3; bell++) {
        np_store32(&lane->sender_bell, bell == 2 ? UINT32_MAX : bell, memory_order_relaxed);
        np_store32(&lane->sender_sleeps, bell == 2 ? UINT32_MAX : NP_SLEEPS_ON_BELL, memory_order_relaxed);
        receive_one(receiver); /* must_not_ring */
    }
}
END_TEST

/* ---------------------------------------------------------------- the lane changes hands while one sleeps */

static void close_second(void)
{
    ck_assert_int_eq(numapool_receiver_close(second), 0);
    second = NULL;
}

static void close_foreign(void)
{
    ck_assert_int_eq(numapool_receiver_close(receiver), 0);
}

/* The sender's first lane is a direct receiver's; then he leaves, and the foreign one adopts it. Lanes are full
 * throughout. */
static void begin_with_direct(void)
{
    ck_assert_int_eq(numapool_receiver_close(receiver), 0);
    other = join_world();
    second = a_receiver(other);
    receiver = a_receiver(foreign);
    fill_lane();
    for (unsigned i = 0; i < receiver->lane_count; i++) /* its own lane is full too, and stays */
        ck_assert_uint_eq(np_load32(&receiver->lanes[i].shared->receiver_foreign, memory_order_relaxed), 1);
}

START_TEST(a_sender_asleep_hears_that_its_receiver_is_foreign_now)
{
    begin_with_direct();
    plan(close_second, foreign_takes_all);
    ck_assert_int_eq(send_id(sender, 5, NUMAPOOL_FOREVER), 0);
    ck_assert_uint_ge(step, 2);
}
END_TEST

START_TEST(a_getter_asleep_hears_that_its_receiver_is_foreign_now)
{
    void *slot = NULL;
    begin_with_direct();
    empty_pool();
    plan(close_second, foreign_takes_all); /* the getter sleeps on its client's bell, not on its sender's */
    ck_assert_int_eq(numapool_get_wait(direct->magazine, &slot, NUMAPOOL_FOREVER), 0);
    ck_assert_uint_eq(step, 2);
}
END_TEST

START_TEST(a_sender_asleep_is_woken_by_the_direct_heir_of_a_foreign_receiver)
{
    ck_assert_int_eq(numapool_receiver_close(receiver), 0);
    receiver = a_receiver(foreign);
    other = join_world();
    second = a_receiver(other);
    fill_lane();
    plan(close_foreign, second_takes_one);
    ck_assert_int_eq(send_id(sender, 5, NUMAPOOL_FOREVER), 0);
    ck_assert_uint_ge(step, 2);
}
END_TEST

/* At one access of who falls asleep. */
static const np_shm32 *switch_at;
static enum np_shm_kind switch_kind;

static void change_hands(enum np_shm_kind kind, const volatile void *address, unsigned bytes, uint64_t value)
{
    (void)bytes, (void)value;
    if (kind != switch_kind || address != switch_at)
        return;
    np_shm_hook = NULL;
    close_second();
}

static void then_foreign_takes_all(void)
{
    ck_assert_msg(np_shm_hook == NULL, "the lane has not changed hands");
    foreign_takes_all();
}

/* A lane that is handed over between any two steps of who falls asleep: he does not sleep, or on what the new receiver
 * rings. */
static int awake_or_on_the_lane(const struct np_sleep *sleep, int64_t deadline_ns)
{
    (void)deadline_ns;
    if (!np_sleep_is_over(sleep)) {
        then_foreign_takes_all();
        ck_assert_msg(np_sleep_is_over(sleep), "it sleeps on a bell that its receiver has not");
    }
    step++;
    return 0;
}

START_TEST(a_lane_may_change_hands_at_any_step_of_falling_asleep)
{
    void *slot = NULL;
    bool getter = _i >= 5;
    begin_with_direct();
    if (getter)
        empty_pool();
    struct np_lane_shared *lane = second->lanes[0].shared;
    const np_shm32 *const places[] = { getter ? &world.bells[direct->number].ring : &sender->endpoint.bell->ring,
                                       &lane->receiver_foreign, &lane->sender_bell, &lane->sender_sleeps, &receiver->lanes[0].shared->sender_ring };
    switch_at = places[_i % 5];
    switch_kind = _i % 5 == 2 || _i % 5 == 3 ? NP_SHM_STORE : NP_SHM_LOAD;
    np_shm_hook = change_hands;
    np_sleep_hook = awake_or_on_the_lane;
    if (getter)
        ck_assert_int_eq(numapool_get_wait(direct->magazine, &slot, NUMAPOOL_FOREVER), 0);
    else
        ck_assert_int_eq(send_id(sender, 5, NUMAPOOL_FOREVER), 0);
    ck_assert_uint_ge(step, 1);
}
END_TEST

/* ---------------------------------------------------------------- deaths */

static void direct_dies(void)
{
    np_broker_client_gone(&world.broker, direct->number, &(struct np_scavenged){ 0 });
}

static void other_sends(void)
{
    other = join_world();
    ck_assert_int_eq(send_id(a_sender(other), 88, 0), 0);
}

static void foreign_dies(void)
{
    np_broker_client_gone(&world.broker, foreign->number, &(struct np_scavenged){ 0 });
}

START_TEST(a_foreign_receiver_asleep_hears_that_its_sender_died)
{
    struct numapool_msg message;
    plan(direct_dies, other_sends);
    ck_assert_int_eq(numapool_receive(receiver, &message, 1, NUMAPOOL_FOREVER), 1);
    ck_assert_uint_eq(message.id, 88);
    ck_assert_uint_ge(step, 2);
    ck_assert_uint_eq(receiver->order_count, 1); /* the orphan has been left */
}
END_TEST

START_TEST(a_sender_asleep_hears_that_its_foreign_receiver_died)
{
    other = join_world();
    fill_lane();
    plan(foreign_dies, NULL);
    second = NULL;
    struct numapool_msg message = { .data = numapool_loan(sender), .length = 8 };
    ck_assert_int_eq(numapool_send(sender, &message, 1), -ETIMEDOUT); /* woken, and nobody is there */
    ck_assert_uint_le(step, 1);
    np_sleep_hook = NULL;
    second = a_receiver(other);
    receive_one(second);
    ck_assert_int_eq(numapool_send(sender, &message, 0), 0);
}
END_TEST

/* A sender that died between announcing and waking has announced what the scavenger rings for. */
START_TEST(who_repairs_a_lane_rings_it_too)
{
    struct np_lane_shared *lane = receiver->lanes[0].shared;
    struct np_lane_pool pool = np_broker_lane_pool(&world.broker, world.pool);
    uint32_t receiver_ring = np_load32(&lane->receiver_ring, memory_order_relaxed);
    uint32_t sender_ring = np_load32(&lane->sender_ring, memory_order_relaxed);
    np_lane_ring(lane, &pool);
    ck_assert_uint_ne(np_load32(&lane->receiver_ring, memory_order_relaxed), receiver_ring);
    ck_assert_uint_ne(np_load32(&lane->sender_ring, memory_order_relaxed), sender_ring);
}
END_TEST

START_TEST(the_daemon_is_told_which_orphans_it_cannot_hear_of)
{
    other = join_world();
    fill_lane();
    ck_assert_uint_eq(np_broker_orphan_duty(&world.broker), 0);
    ck_assert_uint_eq(world.broker.unheard_orphans, 0);
    ck_assert_int_gt(numapool_sender_close(sender, 0), 0);
    ck_assert_uint_eq(np_broker_orphan_duty(&world.broker), 1);
    ck_assert_uint_eq(world.broker.unheard_orphans, 1);
    ck_assert_int_eq(numapool_receiver_close(receiver), 0);
    second = a_receiver(other); /* who can ring it */
    ck_assert_uint_eq(np_broker_orphan_duty(&world.broker), 1);
    ck_assert_uint_eq(world.broker.unheard_orphans, 0);
    while (np_broker_orphan_duty(&world.broker) > 0) {
        struct numapool_msg message;
        if (numapool_receive(second, &message, 1, 0) == 1)
            ck_assert_int_eq(numapool_release(second, &message, 1), 0);
    }
}
END_TEST

/* Asked by the leak sanitizer: what the dead here leave is no leak. */
__attribute__((visibility("default"))) int __lsan_is_turned_off(void);

int __lsan_is_turned_off(void)
{
    return 1;
}

int main(void)
{
    Suite *suite = suite_create("foreign");
    TCase *c = tcase_create("foreign");
    tcase_set_timeout(c, 10);
    tcase_add_checked_fixture(c, open_scene, NULL);
    tcase_add_test(c, a_foreign_receiver_is_woken_by_a_send);
    tcase_add_test(c, a_sender_without_room_is_woken_by_a_foreign_receiver);
    tcase_add_test(c, a_sender_that_leaves_and_waits_is_woken_by_a_foreign_receiver);
    tcase_add_test(c, a_getter_is_woken_by_a_foreign_receiver);
    tcase_add_test(c, nobody_is_rung_who_is_awake);
    tcase_add_test(c, a_foreign_receiver_rings_no_bell_whatever_the_lane_says);
    tcase_add_test(c, a_sender_asleep_hears_that_its_receiver_is_foreign_now);
    tcase_add_test(c, a_getter_asleep_hears_that_its_receiver_is_foreign_now);
    tcase_add_test(c, a_sender_asleep_is_woken_by_the_direct_heir_of_a_foreign_receiver);
    tcase_add_loop_test(c, a_lane_may_change_hands_at_any_step_of_falling_asleep, 0, 10);
    tcase_add_test(c, a_foreign_receiver_asleep_hears_that_its_sender_died);
    tcase_add_test(c, a_sender_asleep_hears_that_its_foreign_receiver_died);
    tcase_add_test(c, who_repairs_a_lane_rings_it_too);
    tcase_add_test(c, the_daemon_is_told_which_orphans_it_cannot_hear_of);
    suite_add_tcase(suite, c);
    return run_suite(suite);
}
