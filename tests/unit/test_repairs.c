/* SPDX-License-Identifier: MIT
 * Interleavings and deaths that once broke something, each made to happen. */
#include <pthread.h>
#include <setjmp.h>
#include "world_help.h"

/* Asked by the leak sanitizer. Who is made to die here leaves what he had, as a process would: that is no leak. */
__attribute__((visibility("default"))) int __lsan_is_turned_off(void);

int __lsan_is_turned_off(void)
{
    return 1;
}

static struct numapool_sender *a_sender(struct member *m, const char *channel, uint32_t slots)
{
    struct numapool_channel_options o = NUMAPOOL_CHANNEL_OPTIONS_INIT;
    struct numapool_sender *s = NULL;
    o.lane_slots = slots;
    o.spin_ns = -1;
    ck_assert_int_eq(numapool_sender_open(m->pool, channel, &o, &s), 0);
    return s;
}

static struct numapool_receiver *a_receiver(struct member *m, const char *channel)
{
    struct numapool_channel_options o = NUMAPOOL_CHANNEL_OPTIONS_INIT;
    struct numapool_receiver *r = NULL;
    o.spin_ns = -1;
    ck_assert_int_eq(numapool_receiver_open(m->pool, channel, &o, &r), 0);
    return r;
}
static void send_one(struct numapool_sender *s, uint64_t id)
{
    struct numapool_msg msg = NUMAPOOL_MSG_INIT;
    msg.data = numapool_loan(s); msg.length = 8; msg.id = id;
    ck_assert_ptr_nonnull(msg.data);
    ck_assert_int_eq(numapool_send(s, &msg, 0), 0);
}

static int no_next_lane(void *c, uint32_t e, uint64_t s, struct np_lane_grant *g)
{
    (void)c, (void)e, (void)s, (void)g;
    return np_error_static(-ENOTCONN, "gone");
}
static struct np_authority gone_authority;
static void be_gone(struct member *m, struct np_endpoint *e)
{
    gone_authority = member_authority;
    gone_authority.next_lane = no_next_lane;
    m->pool->authority = &gone_authority;
    np_add32(&e->bell->news, 1, memory_order_release);
}

START_TEST(a_send_times_out_though_news_cannot_be_asked)
{
    make_world();
    struct member *a = join_world();
    struct numapool_sender *s = a_sender(a, "c", 2);
    send_one(s, 1); send_one(s, 2);
    struct numapool_msg msg = NUMAPOOL_MSG_INIT;
    msg.data = numapool_loan(s);
    be_gone(a, &s->endpoint);
    ck_assert_int_eq(numapool_send(s, &msg, 50000000), -ETIMEDOUT);
}
END_TEST
START_TEST(a_receive_times_out_though_news_cannot_be_asked)
{
    make_world();
    struct member *a = join_world();
    struct numapool_receiver *r = a_receiver(a, "c");
    struct numapool_msg msg;
    be_gone(a, &r->endpoint);
    ck_assert_int_eq(numapool_receive(r, &msg, 1, 50000000), -ETIMEDOUT);
}
END_TEST

static struct member *sleeper, *ender, *giver;
static unsigned sleeper_step;
static void *freed_slot;

static void sleeper_hook(enum np_shm_kind kind, const volatile void *address, unsigned bytes, uint64_t value)
{
    (void)bytes, (void)value;
    struct np_arena_header *h = sleeper->pool->arenas[0].arena.header;
    if (sleeper_step == 0 && kind == NP_SHM_AND && address == &h->sleepers_summary) {
        sleeper_step = 1; /* ender has seen the map empty: now the sleeper raises its bits */
        np_shm_hook = NULL;
        np_pool_sleep_begin(sleeper->pool, NUMAPOOL_ANY_NODE);
        np_shm_hook = sleeper_hook;
    } else if (sleeper_step == 1 && kind == NP_SHM_LOAD) {
        sleeper_step = 2; /* the summary is clear. The sleeper looks, in vain; then a slot is freed */
        np_shm_hook = NULL;
        void *got;
        ck_assert_uint_eq(np_depot_get(sleeper->pool, 0, &got, 1), 0);
        ck_assert_uint_eq(np_arena_give(&giver->pool->arenas[0].arena, &freed_slot, 1), 1);
        np_shm_hook = sleeper_hook;
    }
}

START_TEST(a_sleeper_is_rung_though_another_ends_its_sleep)
{
    make_world();
    sleeper = join_world();
    ender = join_world();
    giver = join_world();
    void *slots[WORLD_SLOTS];
    ck_assert_uint_eq(np_arena_take(&giver->pool->arenas[0].arena, slots, WORLD_SLOTS), WORLD_SLOTS);
    freed_slot = slots[5];
    const uint64_t arenas = np_pool_sleep_begin(ender->pool, NUMAPOOL_ANY_NODE);
    uint32_t seen = np_load32(&world.bells[sleeper->number].ring, memory_order_acquire);
    sleeper_step = 0;
    np_shm_hook = sleeper_hook;
    np_pool_sleep_end(ender->pool, arenas);
    np_shm_hook = NULL;
    ck_assert_uint_eq(sleeper_step, 2);
    ck_assert_uint_ne(np_load32(&world.bells[sleeper->number].ring, memory_order_acquire), seen);
}
END_TEST

static jmp_buf death;
static const volatile void *die_at;
static enum np_shm_kind die_kind;

static void die_hook(enum np_shm_kind kind, const volatile void *address, unsigned bytes, uint64_t value)
{
    (void)bytes, (void)value;
    if (kind == die_kind && address == die_at) {
        np_shm_hook = NULL;
        longjmp(death, 1);
    }
}

START_TEST(a_worker_killed_while_a_sender_leaves_a_lane_leaves_no_lane_behind)
{
    make_world();
    struct member *a = join_world(), *b = join_world();
    struct numapool_receiver *r1 = a_receiver(b, "c"), *r2 = a_receiver(b, "c");
    struct numapool_sender *s = a_sender(a, "c", 4);
    struct numapool_msg two[2];
    send_one(s, 1); send_one(s, 2);
    ck_assert_int_eq(numapool_receiver_close(r1), 0); /* its lane is the other's, to be drained */
    ck_assert_int_eq(numapool_receive(r2, two, 2, 0), 2);
    ck_assert_int_eq(numapool_release(r2, two, 2), 0);
    unsigned drain = 0;
    for (unsigned i = 0; i < s->lane_count; i++)
        if (np_load32(&s->lanes[i].shared->state, memory_order_relaxed) == NP_LANE_DRAIN)
            drain = i;
    struct np_lane_shared *shared = s->lanes[drain].shared;
    uint32_t lane = s->lanes[drain].id;
    ck_assert_uint_eq(np_load32(&shared->state, memory_order_relaxed), NP_LANE_DRAIN);
    die_at = &shared->sender_bell; die_kind = NP_SHM_STORE;
    if (setjmp(death) == 0) {
        np_shm_hook = die_hook;
        np_sender_sync(s);
        ck_abort_msg("the worker was to die");
    }
    np_shm_hook = NULL;
    ck_assert_uint_eq(np_load32(&shared->state, memory_order_relaxed), NP_LANE_ORPHAN);
    restart_broker();
    s->endpoint.asked_in_vain = false;
    struct numapool_msg msg;
    for (int i = 0; i < 10; i++) {
        np_sender_sync(s);
        ck_assert_int_eq(numapool_receive(r2, &msg, 1, 0), -EAGAIN);
    }
    uint64_t stamp = np_load64(&world.board.header->stamp, memory_order_relaxed);
    for (int i = 0; i < 100; i++)
        numapool_receive(r2, &msg, 1, 0);
    ck_assert_msg(np_load64(&world.board.header->stamp, memory_order_relaxed) == stamp, "lane %u is handed round: %llu changes in 100 receives", lane,
                  (unsigned long long)(np_load64(&world.board.header->stamp, memory_order_relaxed) - stamp));
    ck_assert_uint_eq(s->lane_count, 1);
    ck_assert_uint_eq(world.lanes_mapped, 1);
}
END_TEST

struct forwarder { struct numapool_receiver *r; struct numapool_sender *s; struct numapool_msg m[8]; int n, result; };
static void *forward_all(void *c)
{
    struct forwarder *f = c;
    f->result = numapool_forward_bulk(f->r, f->m, (unsigned)f->n, f->s, 1500000000);
    return NULL;
}

START_TEST(forwarders_in_a_ring_do_not_wait_for_each_other)
{
    struct numapool_pool *pool = make_pool(1024, 0);
    struct member m = { .pool = pool };
    struct forwarder one, two;
    one.r = a_receiver(&m, "x"); two.r = a_receiver(&m, "y");
    one.s = a_sender(&m, "y", 4); two.s = a_sender(&m, "x", 4);
    for (int i = 0; i < 4; i++) send_one(two.s, i);
    for (int i = 0; i < 2; i++) send_one(one.s, 10 + i);
    ck_assert_int_eq(one.n = numapool_receive(one.r, one.m, 8, 0), 4);
    ck_assert_int_eq(two.n = numapool_receive(two.r, two.m, 8, 0), 2);
    int64_t begun = np_monotonic_ns();
    pthread_t t1, t2;
    pthread_create(&t1, NULL, forward_all, &one); pthread_create(&t2, NULL, forward_all, &two);
    pthread_join(t1, NULL); pthread_join(t2, NULL);
    ck_assert_msg(np_monotonic_ns() - begun < 1000000000, "stood still: one %d of 4, two %d of 2", one.result, two.result);
    ck_assert_int_ge(one.result, 2); ck_assert_int_eq(two.result, 2);
}
END_TEST

static _Atomic int stop_storm;
static void *storm(void *bell)
{
    while (!stop_storm) np_bell_ring(bell);
    return NULL;
}

START_TEST(timeouts_hold_while_the_bell_keeps_being_rung)
{
    make_world();
    struct member *a = join_world(), *b = join_world();
    pthread_t t;
    int result = 0;
    void *slots[WORLD_SLOTS], *slot;
    struct numapool_msg msg = NUMAPOOL_MSG_INIT;
    struct numapool_sender *s = a_sender(a, "c", 2);
    struct numapool_receiver *r = a_receiver(a, "d");
    send_one(s, 1); send_one(s, 2);
    msg.data = numapool_loan(s);
    for (unsigned i = 0; i < WORLD_ARENAS; i++)
        np_arena_take(&b->pool->arenas[i].arena, slots, WORLD_SLOTS);
    struct np_bell *bell = _i == 0 ? &world.bells[a->number] : _i == 1 ? r->endpoint.bell : s->endpoint.bell;
    pthread_create(&t, NULL, storm, bell);
    switch (_i) {
    case 0: while (numapool_get(a->magazine)) {} result = numapool_get_wait(a->magazine, &slot, 50000000); break;
    case 1: result = numapool_receive(r, &msg, 1, 50000000); break;
    case 2: result = numapool_send(s, &msg, 50000000); break;
    }
    stop_storm = 1;
    pthread_join(t, NULL);
    ck_assert_int_eq(result, -ETIMEDOUT);
}
END_TEST

START_TEST(a_worker_killed_in_its_orphan_duty_hides_no_slot)
{
    make_world();
    struct member *a = join_world(), *b = join_world(), *c = join_world();
    struct numapool_receiver *r = a_receiver(b, "c");
    struct numapool_sender *s = a_sender(a, "c", 8);
    struct numapool_msg msg[2];
    send_one(s, 1); send_one(s, 2);
    ck_assert_int_eq(numapool_receive(r, msg, 2, 0), 2);
    bury(a);
    forget_sender(s);
    while (numapool_get(c->magazine)) {}
    ck_assert_ptr_null(numapool_get(c->magazine));
    uint64_t index;
    struct np_pool_arena *pa = np_pool_locate(b->pool, msg[0].data, &index);
    die_at = &pa->arena.header->given; die_kind = NP_SHM_ADD;
    if (setjmp(death) == 0) {
        np_shm_hook = die_hook;
        numapool_release(r, msg, 1); /* the daemon is rung, and dies having freed the slot */
        ck_abort_msg("the worker was to die");
    }
    np_shm_hook = NULL;
    ck_assert_uint_eq(world_census().free_slots, 1);
    restart_broker();
    ck_assert_ptr_eq(numapool_get(c->magazine), msg[0].data);
}
END_TEST

START_TEST(a_close_asked_again_is_done)
{
    make_world();
    struct member *a = join_world();
    struct numapool_sender *s = a_sender(a, "c", 2);
    ck_assert_int_eq(np_broker_endpoint_close(&world.broker, a->number, s->endpoint.id), 0);
    ck_assert_int_eq(np_broker_endpoint_close(&world.broker, a->number, s->endpoint.id), 0);
}
END_TEST

static struct {
    struct member *f1, *f2;
    struct numapool_receiver *r1, *r2;
    struct numapool_sender *s1, *s2;
    struct numapool_msg m[2];
    const volatile void *at;
    int done;
} order;

static void order_hook(enum np_shm_kind kind, const volatile void *address, unsigned bytes, uint64_t value)
{
    (void)bytes, (void)value;
    if (order.done || kind != NP_SHM_LOAD || address != order.at)
        return;
    order.done = 1;
    np_shm_hook = NULL;
    ck_assert_int_eq(numapool_forward(order.r1, &order.m[0], order.s1, 0), 0);
    bury(order.f1);
    struct numapool_msg m;
    ck_assert_int_eq(numapool_receive(order.r2, &m, 1, 0), 1);
    ck_assert_uint_eq(m.id, 2);
    ck_assert_int_eq(numapool_forward(order.r2, &m, order.s2, 0), 0);
    np_shm_hook = order_hook;
}

START_TEST(a_dead_forwarders_messages_come_before_his_successors)
{
    make_world();
    struct member *source = join_world(), *end = join_world();
    order.f1 = join_world(); order.f2 = join_world();
    struct numapool_sender *s = a_sender(source, "in", 8);
    order.r1 = a_receiver(order.f1, "in");
    send_one(s, 1); send_one(s, 2);
    ck_assert_int_eq(numapool_receive(order.r1, order.m, 2, 0), 2);
    struct numapool_receiver *r = a_receiver(end, "out");
    order.s1 = a_sender(order.f1, "out", 8);
    order.s2 = a_sender(order.f2, "out", 8);
    order.r2 = a_receiver(order.f2, "in");
    struct numapool_msg m[1];
    ck_assert_int_eq(numapool_receive(r, m, 1, 0), -EAGAIN);
    order.at = NULL;
    for (unsigned i = 0; i < r->lane_count; i++)
        if (r->lanes[i].id == order.s2->lanes[0].id) {
            order.at = &r->lanes[i].cells[0].where;
            for (unsigned k = 0; k < r->order_count; k++)
                if (r->order[k] == i)
                    r->turn = k == 0 ? r->order_count - 1 : k - 1; /* his lane is the next in turn */
        }
    ck_assert_ptr_nonnull((void *)(uintptr_t)order.at);
    order.done = 0;
    np_shm_hook = order_hook;
    int got = numapool_receive(r, m, 1, 0);
    np_shm_hook = NULL;
    ck_assert_int_eq(order.done, 1);
    ck_assert_int_eq(got, 1);
    ck_assert_uint_eq(m[0].id, 1);
    ck_assert_int_eq(numapool_receive(r, m, 1, 0), 1);
    ck_assert_uint_eq(m[0].id, 2);
}
END_TEST

START_TEST(receivers_may_restart_for_ever_beside_an_idle_sender)
{
    make_world();
    struct member *a = join_world(), *b = join_world();
    struct numapool_sender *s = a_sender(a, "c", 4);
    struct numapool_receiver *steady = a_receiver(b, "c");
    struct numapool_msg msg;
    for (int i = 0; i < 100; i++) {
        struct member *m = join_world();
        struct numapool_receiver *r = NULL;
        int result = numapool_receiver_open(m->pool, "c", NULL, &r);
        ck_assert_msg(result == 0, "restart %d: %d %s", i, result, numapool_errormsg());
        ck_assert_int_eq(numapool_receive(steady, &msg, 1, 0), -EAGAIN);
        bury(m);
        forget_receiver(r);
    }
    ck_assert_uint_le(world.lanes_mapped, 9);
    for (int i = 0; i < 4; i++)
        send_one(s, i);
    struct numapool_msg m[16];
    int got = 0, more;
    while ((more = numapool_receive(steady, m + got, 1, 0)) == 1)
        got++;
    ck_assert_int_eq(got, 4);
    ck_assert_int_eq(numapool_release(steady, m, 4), 0);
    np_sender_sync(s);
    numapool_receive(steady, m, 1, 0);
    ck_assert_uint_eq(world.lanes_mapped, 1);
}
END_TEST

START_TEST(the_number_of_a_lane_that_could_not_be_taken_over_is_not_given_out)
{
    make_world();
    struct member *a = join_world(), *b = join_world(), *c = join_world();
    struct numapool_sender *s = a_sender(a, "c", 4);
    struct numapool_receiver *r = a_receiver(b, "c");
    struct numapool_msg msg;
    send_one(s, 7);
    ck_assert_int_eq(numapool_receive(r, &msg, 1, 0), 1); /* in use by b */
    struct np_lane_shared *shared = s->lanes[0].shared;
    world.broker.lane_memory[s->lanes[0].id] = NULL; /* the next worker cannot map it */
    restart_broker();
    struct numapool_msg none;
    bury(a); forget_sender(s);
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(numapool_receive(r, &none, 1, 0), -EAGAIN); /* leaves the lane that came in its place, which ends */
    ck_assert_uint_eq(world_census().sent, 1); /* in use by b */
    ck_assert_int_eq(numapool_release(r, &msg, 1), 0);
    bury(b); forget_receiver(r);
    (void)shared;
    bury(c);
    ck_assert_uint_eq(world_census().free_slots, WORLD_ARENAS * WORLD_SLOTS);
}
END_TEST

static struct { struct numapool_receiver *r; struct numapool_msg m[8]; int n; } f15;

static void release_hook(enum np_shm_kind kind, const volatile void *address, unsigned bytes, uint64_t value)
{
    (void)address, (void)bytes, (void)value;
    if (kind != NP_SHM_FENCE)
        return;
    np_shm_hook = NULL; /* the getter has looked once, and has no flag up in its lanes yet */
    ck_assert_int_eq(numapool_release(f15.r, f15.m, (unsigned)f15.n), 0);
}
static int must_not_sleep(const struct np_sleep *sleep, int64_t deadline_ns)
{
    (void)sleep, (void)deadline_ns;
    ck_abort_msg("sleeps with a slot in its magazine");
    return 0;
}

START_TEST(what_is_taken_back_is_found_at_once)
{
    /* _i 0: a counting pool; 1: a lane that is left by the way */
    struct numapool_pool *pool = make_pool(1024, _i % 2 == 0 ? NUMAPOOL_EXACT_COUNTS : 0);
    struct numapool_magazine *magazine = open_magazine(pool, 16), *all = open_magazine(pool, 1);
    struct member m = { .pool = pool };
    struct numapool_channel_options o = NUMAPOOL_CHANNEL_OPTIONS_INIT;
    struct numapool_sender *s = NULL;
    struct numapool_receiver *r1 = a_receiver(&m, "c"), *r2 = a_receiver(&m, "c");
    struct numapool_msg msg[8];
    void *slot;
    o.lane_slots = 8; o.spin_ns = -1; o.magazine = magazine;
    ck_assert_int_eq(numapool_sender_open(pool, "c", &o, &s), 0);
    for (int i = 0; i < 4; i++) send_one(s, i);
    ck_assert_int_eq(numapool_receiver_close(r1), 0);
    ck_assert_int_eq(np_sender_sync(s), 0);
    ck_assert_int_eq(numapool_receive(r2, msg, 8, 0), 4);
    numapool_flush(magazine);
    while (numapool_get(all)) {}
    unsigned drain = 0;
    for (unsigned i = 0; i < s->lane_count; i++)
        if (s->lanes[i].state == NP_LANE_DRAIN) drain = s->lanes[i].id;
    f15.r = r2; f15.n = 0;
    for (int i = 0; i < 4; i++)
        if (_i % 2 == 0 || r2->lanes[msg[i].lane].id == drain)
            f15.m[f15.n++] = msg[i];
    if (_i < 2) {
        ck_assert_int_eq(numapool_release(r2, f15.m, (unsigned)f15.n), 0);
        ck_assert_ptr_nonnull(numapool_get(magazine));
    } else {
        np_shm_hook = release_hook;
        np_sleep_hook = must_not_sleep;
        ck_assert_int_eq(numapool_get_wait(magazine, &slot, 500000000), 0);
    }
}
END_TEST

START_TEST(a_lane_whose_state_was_written_over_is_left_all_the_same)
{
    const uint32_t scribbled[] = { NP_LANE_ACTIVE, NP_LANE_DRAIN, NP_LANE_ORPHAN, NP_LANE_CLOSED };
    make_world();
    struct member *from = join_world(), *scribbler = join_world(), *to = join_world();
    struct numapool_sender *sender = a_sender(from, "c", 8);
    struct numapool_receiver *first = a_receiver(scribbler, "c"), *second = a_receiver(to, "c");
    const bool lives = _i >= 4;
    for (uint64_t id = 0; id < 4; id++)
        send_one(sender, id);
    if (!lives)
        numapool_sender_close(sender, 0);
    np_store32(&first->lanes[0].shared->state, scribbled[_i % 4], memory_order_release);
    bury(scribbler);
    struct numapool_msg messages[8];
    for (int turn = 0, got; turn < 8; turn++) {
        if (lives)
            send_one(sender, 4);
        while ((got = numapool_receive(second, messages, 8, 0)) > 0)
            ck_assert_int_eq(numapool_release(second, messages, (unsigned)got), 0);
    }
    ck_assert_uint_eq(second->orphan_count, 0);
    ck_assert_uint_eq(second->order_count, lives);
    ck_assert_uint_eq(world.lanes_mapped, lives);
    if (lives)
        numapool_sender_close(sender, 0);
    bury(to);
    bury(from);
    unmake_world();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("repairs");
    TCase *c = tcase_create("repairs");
    tcase_set_timeout(c, 4);
    tcase_add_test(c, a_send_times_out_though_news_cannot_be_asked);
    tcase_add_test(c, a_receive_times_out_though_news_cannot_be_asked);
    tcase_add_test(c, a_sleeper_is_rung_though_another_ends_its_sleep);
    tcase_add_test(c, a_worker_killed_while_a_sender_leaves_a_lane_leaves_no_lane_behind);
    tcase_add_test(c, forwarders_in_a_ring_do_not_wait_for_each_other);
    tcase_add_loop_test(c, timeouts_hold_while_the_bell_keeps_being_rung, 0, 3);
    tcase_add_test(c, a_worker_killed_in_its_orphan_duty_hides_no_slot);
    tcase_add_test(c, a_close_asked_again_is_done);
    tcase_add_test(c, a_dead_forwarders_messages_come_before_his_successors);
    tcase_add_test(c, receivers_may_restart_for_ever_beside_an_idle_sender);
    tcase_add_test(c, the_number_of_a_lane_that_could_not_be_taken_over_is_not_given_out);
    tcase_add_loop_test(c, what_is_taken_back_is_found_at_once, 0, 4);
    tcase_add_loop_test(c, a_lane_whose_state_was_written_over_is_left_all_the_same, 0, 8);
    suite_add_tcase(suite, c);
    return run_suite(suite);
}
