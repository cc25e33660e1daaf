/* SPDX-License-Identifier: MIT
 * Broadcast and deaths: of what a dying sender sent all receivers get it or none, and every slot comes home once, whoever dies. */
#include "broadcast_help.h"
#include "world_help.h"

#include <setjmp.h>

/* Asked by the leak sanitizer. Who is made to die here leaves what he had, as a process would: that is no leak. */
__attribute__((visibility("default"))) int __lsan_is_turned_off(void);

int __lsan_is_turned_off(void)
{
    return 1;
}

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

/* Does it, killed before its n-th access. True: it ended. */
static bool ends_within(unsigned accesses, void (*act)(void *argument), void *argument)
{
    volatile bool ended = false;
    deadline = accesses;
    if (setjmp(death) == 0) {
        np_shm_hook = die_hook;
        act(argument);
        ended = true;
    }
    np_shm_hook = NULL;
    return ended;
}

static void leave(struct member *member)
{
    ck_assert_int_eq(numapool_flush(member->magazine), 0);
    bury(member);
}

static unsigned received(struct numapool_receiver *receiver, struct numapool_msg *messages)
{
    int n = numapool_receive(receiver, messages, MESSAGES_MAX, 0);
    return n > 0 ? (unsigned)n : 0;
}

struct batch {
    struct numapool_sender *sender;
    struct numapool_msg messages[3];
};

static void send_batch(void *argument)
{
    struct batch *batch = argument;
    ck_assert_int_eq(numapool_send_bulk(batch->sender, batch->messages, 3, 0), 3);
}

/* A batch of three, the sender killed before its n-th access. One receiver has been there, one joined late, one left
 * before and one dies after it: those who are there get the same number of them. */
static bool kill_sender(unsigned accesses)
{
    struct member *dead = join_world(), *lives = join_world(), *dies = join_world();
    struct batch batch = { .sender = open_sender(dead->pool) };
    struct numapool_receiver *first = open_receiver(lives->pool), *left = open_receiver(lives->pool), *late, *doomed;
    struct numapool_msg messages[MESSAGES_MAX], again[MESSAGES_MAX];
    send_ids(batch.sender, 0, 2);
    ck_assert_int_eq(numapool_receiver_close(left), 0); /* 0 and 1 unread */
    doomed = open_receiver(dies->pool);
    send_ids(batch.sender, 2, 3);
    late = open_receiver(lives->pool);
    for (uint64_t i = 0; i < 3; i++) {
        batch.messages[i] = (struct numapool_msg){ .data = numapool_loan(batch.sender), .length = 16, .type = 3, .id = 3 + i, .key = ~(3 + i) };
        memcpy(batch.messages[i].data, &batch.messages[i].id, 8);
    }
    np_endpoint_has_news(&batch.sender->endpoint);
    bool ended = ends_within(accesses, send_batch, &batch);
    unsigned already = received(first, messages); /* before the death is known: never more than all will have */
    forget_sender(batch.sender);
    forget_member(dead);
    struct np_scavenged what;
    np_broker_client_gone(&world.broker, 1, &what);
    unsigned all = already + received(first, messages + already);
    ck_assert_uint_ge(all, 3);
    ck_assert_uint_le(all, 6);
    ck_assert(!ended || all == 6);
    assert_are(messages, 0, all);
    release(first, messages, all);
    ck_assert_uint_eq(received(late, again), all - 3);
    assert_are(again, 3, all);
    assert_world(world_census().held, all - 2); /* 0 and 1 were `first`'s and of one who left: free */
    forget_receiver(doomed);
    bury(dies);
    assert_world(world_census().held, all - 3);
    assert_are(again, 3, all); /* nobody has them but `late` */
    release(late, again, all - 3);
    ck_assert_uint_eq(received(late, again) + received(first, messages), 0); /* and leave what is drained */
    assert_world(world_census().held, 0);
    ck_assert_uint_eq(world.lanes_mapped, 0);
    ck_assert_int_eq(numapool_receiver_close(first), 0);
    ck_assert_int_eq(numapool_receiver_close(late), 0);
    leave(lives);
    return ended;
}

START_TEST(of_a_dying_sender_all_get_a_message_or_none)
{
    unsigned accesses = 0;
    while (!kill_sender(accesses))
        accesses++;
    ck_assert_uint_gt(accesses, 40);
}
END_TEST

struct scene {
    struct member *sends, *reads, *lives;
    struct numapool_sender *sender;
    struct numapool_receiver *dead, *first, *late;
};

/* Three messages out: two receivers have all of them, the third, who joined after the first, two. */
static void set_scene(struct scene *scene)
{
    *scene = (struct scene){ join_world(), join_world(), join_world(), NULL, NULL, NULL, NULL };
    scene->sender = open_sender(scene->sends->pool);
    scene->dead = open_receiver(scene->reads->pool);
    scene->first = open_receiver(scene->lives->pool);
    send_ids(scene->sender, 0, 1);
    scene->late = open_receiver(scene->lives->pool);
    send_ids(scene->sender, 1, 3);
}

static void bury_client(void *argument)
{
    struct np_scavenged what;
    np_broker_client_gone(&world.broker, *(uint32_t *)argument, &what);
}

/* The scavenger of a dead sender or receiver is killed before its n-th access, and another begins again: nothing is freed
 * that somebody has, nothing is lost. */
static bool kill_scavenger(bool of_sender, unsigned accesses)
{
    struct scene scene;
    struct numapool_msg first[MESSAGES_MAX], late[MESSAGES_MAX];
    set_scene(&scene);
    uint32_t dead = of_sender ? scene.sends->number : scene.reads->number;
    if (of_sender)
        forget_sender(scene.sender);
    else
        forget_receiver(scene.dead);
    forget_member(of_sender ? scene.sends : scene.reads);
    bool ended = ends_within(accesses, bury_client, &dead);
    ck_assert_uint_eq(received(scene.first, first), 3);
    assert_are(first, 0, 3);
    restart_broker();
    if (!np_entry_is(&world.board.clients[dead].state, NP_NONE))
        bury_client(&dead); /* its keeper tells again */
    assert_are(first, 0, 3);
    ck_assert_uint_eq(received(scene.late, late), 2);
    assert_are(late, 1, 3);
    release(scene.first, first, 3);
    assert_are(late, 1, 3);
    release(scene.late, late, 2);
    received(scene.first, first), received(scene.late, late);
    if (of_sender) {
        forget_receiver(scene.dead);
        bury(scene.reads);
        assert_world(world_census().held, 0);
        ck_assert_uint_eq(world.lanes_mapped, 0);
    } else {
        send_ids(scene.sender, 3, 3 + LANE_SLOTS); /* there is room for a lane's worth */
        ck_assert_int_eq(send_one(scene.sender, 99), -EAGAIN);
        receive_and_release(scene.first, 3, 3 + LANE_SLOTS);
        receive_and_release(scene.late, 3, 3 + LANE_SLOTS);
        ck_assert_int_eq(numapool_sender_close(scene.sender, 0), 0);
        leave(scene.sends);
    }
    ck_assert_int_eq(numapool_receiver_close(scene.first), 0);
    ck_assert_int_eq(numapool_receiver_close(scene.late), 0);
    leave(scene.lives);
    return ended;
}

START_TEST(a_dead_senders_scavenger_may_die_anywhere)
{
    unsigned accesses = 0;
    for (; !kill_scavenger(true, accesses); accesses++) {
        unmake_world();
        make_world();
    }
    ck_assert_uint_gt(accesses, 60);
}
END_TEST

START_TEST(a_dead_receivers_scavenger_may_die_anywhere)
{
    unsigned accesses = 0;
    for (; !kill_scavenger(false, accesses); accesses++) {
        unmake_world();
        make_world();
    }
    ck_assert_uint_gt(accesses, 60);
}
END_TEST

/* A sender that cannot ask who has joined sends nothing past him. */
static int no_answer(void *context, uint32_t endpoint, uint64_t stamp, struct np_lane_grant *grant)
{
    (void)context, (void)endpoint, (void)stamp, (void)grant;
    return np_error_static(-ENOTCONN, "the worker is being replaced");
}

static int no_leave(void *context, uint32_t endpoint, uint32_t lane, uint32_t generation)
{
    (void)context, (void)endpoint, (void)lane, (void)generation;
    return np_error_static(-ENOTCONN, "the worker is being replaced");
}

/* The broker holds back a lane from a sender that has too many to leave, and it cannot leave them just now. */
START_TEST(nothing_is_sent_past_one_whose_lane_is_held_back)
{
    struct member *sends = join_world(), *reads = join_world();
    struct numapool_sender *sender = open_sender(sends->pool);
    struct np_authority deaf = *sends->pool->authority;
    const struct np_authority *hears = sends->pool->authority;
    for (unsigned i = 0; i < NP_DRAINING_LANES_MAX; i++)
        ck_assert_int_eq(numapool_receiver_close(open_receiver(reads->pool)), 0);
    deaf.leave_lane = no_leave;
    sends->pool->authority = &deaf;
    struct numapool_receiver *joins = open_receiver(reads->pool);
    for (unsigned i = 0; i < 3; i++) {
        ASSERT_REFUSED(send_one(sender, 0), -EAGAIN, "nothing is broadcast past it");
        sender->endpoint.ask_again_ns = 0;
    }
    sends->pool->authority = hears;
    sender->endpoint.ask_again_ns = 0;
    send_ids(sender, 0, 2);
    receive_and_release(joins, 0, 2);
    ck_assert_int_eq(numapool_sender_close(sender, 0), 0);
    ck_assert_int_eq(numapool_receiver_close(joins), 0);
    leave(sends);
    leave(reads);
}
END_TEST

START_TEST(nothing_is_sent_past_one_who_joined_while_nobody_answers)
{
    struct scene scene;
    set_scene(&scene);
    struct np_authority silent = *scene.sends->pool->authority;
    const struct np_authority *speaks = scene.sends->pool->authority;
    struct numapool_receiver *joins = open_receiver(scene.lives->pool);
    silent.next_lane = no_answer;
    scene.sends->pool->authority = &silent;
    ASSERT_REFUSED(send_one(scene.sender, 3), -EAGAIN, "nothing is broadcast past it");
    scene.sends->pool->authority = speaks;
    scene.sender->endpoint.ask_again_ns = 0;
    send_ids(scene.sender, 3, 4);
    receive_and_release(joins, 3, 4);
    receive_and_release(scene.first, 0, 4);
    receive_and_release(scene.late, 1, 4);
    receive_and_release(scene.dead, 0, 4);
    ck_assert_int_eq(numapool_sender_close(scene.sender, 0), 0);
    ck_assert_int_eq(numapool_receiver_close(scene.first), 0);
    ck_assert_int_eq(numapool_receiver_close(scene.late), 0);
    ck_assert_int_eq(numapool_receiver_close(scene.dead), 0);
    ck_assert_int_eq(numapool_receiver_close(joins), 0);
    leave(scene.sends);
    leave(scene.reads);
    leave(scene.lives);
}
END_TEST

/* ---------------------------------------------------------------- check */

static struct np_finding findings[16];

static uint64_t check(uint64_t in_flight)
{
    struct np_check check = { .findings = findings, .findings_capacity = 16 };
    ck_assert_int_eq(np_check_pool(&check, &world.board, world.pool, world.broker.pools[world.pool].arenas, WORLD_ARENAS,
                                   world.broker.lane_memory, NULL, NULL), 0);
    ck_assert_uint_eq(check.in_flight, in_flight);
    return check.wrong;
}

static void assert_found(np_shm64 *word, uint64_t value, uint64_t in_flight, const char *part)
{
    uint64_t was = np_load64(word, memory_order_relaxed);
    np_store64(word, value, memory_order_relaxed);
    uint64_t wrong = check(in_flight), found = 0;
    for (uint64_t i = 0; i < wrong; i++)
        found += strstr(findings[i].sentence, part) != NULL;
    ck_assert_msg(found > 0, "none of %u findings has \"%s\"", (unsigned)wrong, part);
    np_store64(word, was, memory_order_relaxed);
}

START_TEST(check_knows_what_is_broadcast)
{
    struct scene scene;
    struct numapool_msg messages[4];
    set_scene(&scene);
    ck_assert_uint_eq(check(3), 0);
    const struct np_sender_lane *home = np_broadcast_home(scene.sender), *lane = &scene.sender->lanes[1];
    np_shm64 *word = home->sent[1].word;
    assert_found(word, np_word_freed(np_load64(word, memory_order_relaxed)), 2, "not that broadcast any more");
    assert_found(word, np_word_shared(lane->id, 1, 0), 3, "names no broadcasting sender");
    assert_found(word, np_word_shared(home->id, 999, 0), 3, "not near its lane's tail");
    assert_found(&np_lane_cells(lane->shared)[1].where, np_cell_where(1, 99), 3, "names another slot");
    receive_and_release(scene.first, 0, 3);
    ck_assert_uint_eq(check(3), 0);
    ck_assert_int_eq(numapool_receiver_close(scene.dead), 0); /* a closed lane that its sender does not know of yet */
    ck_assert_uint_eq(check(3), 0);
    ck_assert_int_eq(numapool_sender_close(scene.sender, 0), 2);
    ck_assert_uint_eq(check(2), 0);
    ck_assert_int_eq(numapool_receive(scene.late, messages, 4, 0), 2);
    np_shm32 *receiver = &world.board.lanes[scene.late->lanes[0].id].receiver;
    np_store32(receiver, 0, memory_order_relaxed);
    ck_assert_uint_eq(check(2), 2); /* no receiver has them */
    ck_assert_msg(strstr(findings[0].sentence, "no receiver has it") != NULL, "%s", findings[0].sentence);
    np_store32(receiver, scene.late->endpoint.id, memory_order_relaxed);
    release(scene.late, messages, 2);
    ck_assert_int_eq(numapool_receiver_close(scene.late), 0);
    ck_assert_int_eq(numapool_receiver_close(scene.first), 0);
    ck_assert_uint_eq(check(0), 0);
    leave(scene.sends);
    leave(scene.reads);
    leave(scene.lives);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("broadcast and deaths");
    TCase *deaths = tcase_create("deaths");
    tcase_add_checked_fixture(deaths, make_world, unmake_world);
    tcase_add_test(deaths, of_a_dying_sender_all_get_a_message_or_none);
    tcase_add_test(deaths, a_dead_senders_scavenger_may_die_anywhere);
    tcase_add_test(deaths, a_dead_receivers_scavenger_may_die_anywhere);
    tcase_add_test(deaths, nothing_is_sent_past_one_whose_lane_is_held_back);
    tcase_add_test(deaths, nothing_is_sent_past_one_who_joined_while_nobody_answers);
    tcase_add_test(deaths, check_knows_what_is_broadcast);
    suite_add_tcase(suite, deaths);
    return run_suite(suite);
}
