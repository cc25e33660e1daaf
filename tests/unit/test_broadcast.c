/* SPDX-License-Identifier: MIT
 * Broadcast: every receiver gets everything that was sent after it joined, or, of what a dying sender sent, all of them or none; and
 * every slot comes home once, whoever dies. */
#include "world_help.h"

#include <setjmp.h>

#include "channel/broadcast.h"

enum { LANE_SLOTS = 8, MESSAGES_MAX = 16 };

/* Asked by the leak sanitizer. Who is made to die here leaves what he had, as a process would: that is no leak. */
__attribute__((visibility("default"))) int __lsan_is_turned_off(void);

int __lsan_is_turned_off(void)
{
    return 1;
}

static struct numapool_channel_options broadcasting(void)
{
    struct numapool_channel_options options = NUMAPOOL_CHANNEL_OPTIONS_INIT;
    options.lane_slots = LANE_SLOTS;
    options.flags = NUMAPOOL_BROADCAST;
    options.spin_ns = -1;
    return options;
}

static struct numapool_sender *open_sender(struct numapool_pool *pool)
{
    struct numapool_channel_options options = broadcasting();
    struct numapool_sender *sender = NULL;
    ck_assert_int_eq(numapool_sender_open(pool, "b", &options, &sender), 0);
    return sender;
}

static struct numapool_receiver *open_receiver(struct numapool_pool *pool)
{
    struct numapool_channel_options options = broadcasting();
    struct numapool_receiver *receiver = NULL;
    ck_assert_int_eq(numapool_receiver_open(pool, "b", &options, &receiver), 0);
    return receiver;
}

static int send_one(struct numapool_sender *sender, uint64_t id)
{
    struct numapool_msg message = { .data = numapool_loan(sender), .length = 16, .type = 3, .id = id, .key = ~id };
    if (!message.data)
        return -EAGAIN;
    memcpy(message.data, &id, sizeof id);
    int result = numapool_send(sender, &message, 0);
    if (result < 0)
        numapool_unloan(sender, message.data);
    return result;
}

static void send_ids(struct numapool_sender *sender, uint64_t from, uint64_t until)
{
    for (uint64_t id = from; id < until; id++)
        ck_assert_int_eq(send_one(sender, id), 0);
}

static void assert_are(const struct numapool_msg *messages, uint64_t from, uint64_t until)
{
    for (uint64_t id = from; id < until; id++) {
        const struct numapool_msg *message = &messages[id - from];
        uint64_t payload;
        memcpy(&payload, message->data, sizeof payload);
        ck_assert_uint_eq(message->id, id);
        ck_assert_uint_eq(payload, id);
        ck_assert_uint_eq(message->key, ~id);
        ck_assert_uint_eq(message->type, 3);
        ck_assert_uint_eq(message->length, 16);
        ck_assert_uint_eq(message->flags, 0);
    }
}

/* Exactly those, in order. */
static void receive_ids(struct numapool_receiver *receiver, struct numapool_msg *messages, uint64_t from, uint64_t until)
{
    struct numapool_msg more;
    if (until > from)
        ck_assert_int_eq(numapool_receive(receiver, messages, (unsigned)(until - from), 0), (int)(until - from));
    assert_are(messages, from, until);
    ck_assert_int_eq(numapool_receive(receiver, &more, 1, 0), -EAGAIN);
}

static void release(struct numapool_receiver *receiver, const struct numapool_msg *messages, uint64_t n)
{
    ck_assert_int_eq(numapool_release(receiver, messages, (unsigned)n), 0);
}

static void receive_and_release(struct numapool_receiver *receiver, uint64_t from, uint64_t until)
{
    struct numapool_msg messages[MESSAGES_MAX];
    receive_ids(receiver, messages, from, until);
    release(receiver, messages, until - from);
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

START_TEST(every_receiver_gets_everything_sent_after_it_joined)
{
    struct numapool_sender *sender = open_sender(pool);
    struct numapool_receiver *receivers[4];
    send_ids(sender, 0, 20); /* nobody is there: they come home at once, and there is always room */
    for (unsigned joined = 0; joined < 4; joined++) {
        receivers[joined] = open_receiver(pool);
        for (unsigned round = 0; round < 5; round++) {
            uint64_t from = 100 * joined + 7 * round;
            send_ids(sender, from, from + 7);
            for (unsigned i = 0; i <= joined; i++)
                receive_and_release(receivers[i], from, from + 7);
        }
    }
    ck_assert_int_eq(numapool_sender_close(sender, 0), 0);
    for (unsigned i = 0; i < 4; i++)
        ck_assert_int_eq(numapool_receiver_close(receivers[i]), 0);
}
END_TEST

START_TEST(two_senders_have_each_its_own_order)
{
    struct numapool_sender *first = open_sender(pool), *second = open_sender(pool);
    struct numapool_receiver *receivers[2] = { open_receiver(pool), open_receiver(pool) };
    send_ids(first, 0, 3);
    send_ids(second, 10, 13);
    for (unsigned i = 0; i < 2; i++) {
        struct numapool_msg messages[6];
        uint64_t next[2] = { 0, 10 };
        ck_assert_int_eq(numapool_receive(receivers[i], messages, 6, 0), 6);
        for (unsigned m = 0; m < 6; m++)
            ck_assert_uint_eq(messages[m].id, next[messages[m].id >= 10]++);
        release(receivers[i], messages, 6);
    }
    ck_assert_int_eq(numapool_sender_close(first, 0), 0);
    ck_assert_int_eq(numapool_sender_close(second, 0), 0);
    for (unsigned i = 0; i < 2; i++)
        ck_assert_int_eq(numapool_receiver_close(receivers[i]), 0);
}
END_TEST

START_TEST(the_slowest_holds_the_sender_back_and_nothing_is_dropped)
{
    struct numapool_sender *sender = open_sender(pool);
    struct numapool_receiver *fast = open_receiver(pool), *slow = open_receiver(pool);
    struct numapool_msg kept[LANE_SLOTS];
    for (uint64_t id = 0; id < LANE_SLOTS; id++) {
        send_ids(sender, id, id + 1);
        receive_and_release(fast, id, id + 1);
    }
    ASSERT_REFUSED(send_one(sender, LANE_SLOTS), -EAGAIN, "has not released");
    receive_ids(slow, kept, 0, LANE_SLOTS);
    release(slow, kept + 1, LANE_SLOTS - 1);
    ASSERT_REFUSED(send_one(sender, LANE_SLOTS), -EAGAIN, "has not released");
    assert_are(kept, 0, 1); /* the eldest is still as it was sent */
    release(slow, kept, 1);
    send_ids(sender, LANE_SLOTS, LANE_SLOTS + 1);
    receive_and_release(fast, LANE_SLOTS, LANE_SLOTS + 1);
    receive_and_release(slow, LANE_SLOTS, LANE_SLOTS + 1);
    ck_assert_int_eq(numapool_sender_close(sender, NUMAPOOL_FOREVER), 0);
    ck_assert_int_eq(numapool_receiver_close(fast), 0);
    ck_assert_int_eq(numapool_receiver_close(slow), 0);
}
END_TEST

START_TEST(a_receiver_that_leaves_holds_nothing_back)
{
    struct numapool_sender *sender = open_sender(pool);
    struct numapool_receiver *stays = open_receiver(pool), *leaves = open_receiver(pool);
    struct numapool_msg messages[LANE_SLOTS];
    send_ids(sender, 0, LANE_SLOTS);
    receive_and_release(stays, 0, LANE_SLOTS);
    ck_assert_int_eq(numapool_receive(leaves, messages, 3, 0), 3);
    ck_assert_int_eq(send_one(sender, LANE_SLOTS), -EAGAIN);
    ck_assert_int_eq(numapool_receiver_close(leaves), 0);
    send_ids(sender, LANE_SLOTS, LANE_SLOTS + 5);
    receive_and_release(stays, LANE_SLOTS, LANE_SLOTS + 5);
    ck_assert_int_eq(numapool_sender_close(sender, NUMAPOOL_FOREVER), 0);
    ck_assert_int_eq(numapool_receiver_close(stays), 0);
}
END_TEST

/* A getter of the sender's magazine finds what only one had who has left. */
START_TEST(slots_of_one_who_left_can_be_had_without_a_send)
{
    struct numapool_channel_options options = broadcasting();
    struct numapool_magazine *magazine = open_magazine(pool, 4);
    struct numapool_sender *sender = NULL;
    void *slots[64], *more;
    unsigned got = 0;
    options.magazine = magazine;
    ck_assert_int_eq(numapool_sender_open(pool, "b", &options, &sender), 0);
    struct numapool_receiver *receiver = open_receiver(pool);
    send_ids(sender, 0, LANE_SLOTS);
    while ((more = numapool_get(magazine)) != NULL)
        slots[got++] = more;
    ck_assert_uint_le(got, 64 - LANE_SLOTS);
    ck_assert_int_eq(numapool_receiver_close(receiver), 0);
    ck_assert_int_eq(numapool_get_wait(magazine, &more, 0), 0);
    ck_assert_int_eq(numapool_put(magazine, more), 0);
    ck_assert_int_eq(numapool_put_bulk(magazine, slots, got), 0);
    ck_assert_int_eq(numapool_sender_close(sender, 0), 0);
    ck_assert_int_eq(numapool_magazine_close(magazine), 0);
}
END_TEST

START_TEST(what_others_read_is_not_kept_nor_forwarded)
{
    struct numapool_sender *sender = open_sender(pool), *plain;
    struct numapool_receiver *receiver = open_receiver(pool);
    struct numapool_msg messages[2];
    ck_assert_int_eq(numapool_sender_open(pool, "plain", NULL, &plain), 0);
    send_ids(sender, 0, 1);
    receive_ids(receiver, messages, 0, 1);
    ASSERT_REFUSED(numapool_keep(receiver, messages), -EINVAL, "copy it");
    ASSERT_REFUSED(numapool_forward(receiver, messages, plain, 0), -EINVAL, "copy it");
    release(receiver, messages, 1);
    ASSERT_REFUSED(numapool_release(receiver, messages, 1), -EINVAL, "not an unreleased");
    struct numapool_msg elsewhere = { .data = messages, .length = 1 }, twice = { .data = numapool_loan(sender), .length = 999 };
    ASSERT_REFUSED(numapool_send(sender, &elsewhere, 0), -EINVAL, "not the beginning");
    ASSERT_REFUSED(numapool_send(sender, &twice, 0), -EINVAL, "does not fit");
    twice.length = 8;
    struct numapool_msg both[2] = { twice, twice };
    ck_assert_int_eq(numapool_send_bulk(sender, both, 2, 0), 1); /* the second was broadcast already */
    ck_assert_int_eq(numapool_receive(receiver, messages, 2, 0), 1);
    release(receiver, messages, 1);
    ck_assert_int_eq(numapool_sender_close(plain, 0), 0);
    ck_assert_int_eq(numapool_sender_close(sender, 0), 0);
    ck_assert_int_eq(numapool_receiver_close(receiver), 0);
}
END_TEST

START_TEST(what_one_received_can_be_forwarded_to_all)
{
    struct numapool_sender *first = NULL, *sender = open_sender(pool);
    struct numapool_receiver *middle = NULL, *receivers[2] = { open_receiver(pool), open_receiver(pool) };
    struct numapool_msg messages[3];
    ck_assert_int_eq(numapool_sender_open(pool, "plain", NULL, &first), 0);
    ck_assert_int_eq(numapool_receiver_open(pool, "plain", NULL, &middle), 0);
    send_ids(first, 0, 3);
    ck_assert_int_eq(numapool_receive(middle, messages, 3, 0), 3);
    ck_assert_int_eq(numapool_forward_bulk(middle, messages, 3, sender, 0), 3);
    for (unsigned i = 0; i < 2; i++)
        receive_and_release(receivers[i], 0, 3);
    ck_assert_int_eq(numapool_sender_close(first, 0), 0);
    ck_assert_int_eq(numapool_sender_close(sender, 0), 0);
    ck_assert_int_eq(numapool_receiver_close(middle), 0);
    for (unsigned i = 0; i < 2; i++)
        ck_assert_int_eq(numapool_receiver_close(receivers[i]), 0);
}
END_TEST

START_TEST(sixty_four_receivers_and_no_more)
{
    struct numapool_channel_options options = broadcasting();
    struct numapool_sender *sender = open_sender(pool);
    struct numapool_receiver *receivers[NP_BROADCAST_RECEIVERS_MAX], *more;
    for (unsigned i = 0; i < NP_BROADCAST_RECEIVERS_MAX; i++)
        receivers[i] = open_receiver(pool);
    ASSERT_REFUSED(numapool_receiver_open(pool, "b", &options, &more), -ENOSPC, "can have no more");
    for (uint64_t id = 0; id < 20; id += 4) {
        send_ids(sender, id, id + 4);
        for (unsigned i = 0; i < NP_BROADCAST_RECEIVERS_MAX; i++)
            receive_and_release(receivers[i], id, id + 4);
    }
    ck_assert_int_eq(numapool_sender_close(sender, 0), 0);
    for (unsigned i = 0; i < NP_BROADCAST_RECEIVERS_MAX; i++)
        ck_assert_int_eq(numapool_receiver_close(receivers[i]), 0);
}
END_TEST

/* Many come and go while the sender does nothing; who has come gets all that is sent then. */
START_TEST(who_comes_beside_an_idle_sender_misses_nothing)
{
    struct numapool_sender *sender = open_sender(pool);
    struct numapool_receiver *receiver = NULL;
    for (unsigned i = 0; i < 40; i++) {
        receiver = open_receiver(pool);
        if (i < 39)
            ck_assert_int_eq(numapool_receiver_close(receiver), 0);
    }
    send_ids(sender, 0, 3);
    receive_and_release(receiver, 0, 3);
    ck_assert_int_eq(numapool_sender_close(sender, 0), 0);
    ck_assert_int_eq(numapool_receiver_close(receiver), 0);
}
END_TEST

START_TEST(what_a_closed_sender_left_is_read_by_all_and_freed_by_the_last)
{
    struct numapool_sender *sender = open_sender(pool);
    struct numapool_receiver *receivers[3] = { open_receiver(pool), open_receiver(pool), open_receiver(pool) };
    struct numapool_msg messages[3][4];
    send_ids(sender, 0, 4);
    ck_assert_int_eq(numapool_sender_close(sender, 0), 4);
    for (unsigned i = 0; i < 3; i++) {
        assert_account(pool, 0, 4);
        receive_ids(receivers[i], messages[i], 0, 4);
        release(receivers[i], messages[i], 4);
    }
    assert_account(pool, 0, 0);
    for (unsigned i = 0; i < 3; i++)
        ck_assert_int_eq(numapool_receiver_close(receivers[i]), 0);
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

/* A batch of three, the sender killed before its n-th access. One receiver has been there, one joined late, one left before and one dies after
 * it: those who are there get the same number of them. */
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

/* The scavenger of a dead sender or receiver is killed before its n-th access, and another begins again: nothing is freed that somebody has,
 * nothing is lost. */
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
    Suite *suite = suite_create("broadcast");
    TCase *one = tcase_create("one process"), *deaths = tcase_create("deaths");
    tcase_add_checked_fixture(one, make, unmake);
    tcase_add_test(one, every_receiver_gets_everything_sent_after_it_joined);
    tcase_add_test(one, two_senders_have_each_its_own_order);
    tcase_add_test(one, the_slowest_holds_the_sender_back_and_nothing_is_dropped);
    tcase_add_test(one, a_receiver_that_leaves_holds_nothing_back);
    tcase_add_test(one, slots_of_one_who_left_can_be_had_without_a_send);
    tcase_add_test(one, what_others_read_is_not_kept_nor_forwarded);
    tcase_add_test(one, what_one_received_can_be_forwarded_to_all);
    tcase_add_test(one, sixty_four_receivers_and_no_more);
    tcase_add_test(one, who_comes_beside_an_idle_sender_misses_nothing);
    tcase_add_test(one, what_a_closed_sender_left_is_read_by_all_and_freed_by_the_last);
    tcase_add_checked_fixture(deaths, make_world, unmake_world);
    tcase_add_test(deaths, of_a_dying_sender_all_get_a_message_or_none);
    tcase_add_test(deaths, a_dead_senders_scavenger_may_die_anywhere);
    tcase_add_test(deaths, a_dead_receivers_scavenger_may_die_anywhere);
    tcase_add_test(deaths, nothing_is_sent_past_one_who_joined_while_nobody_answers);
    tcase_add_test(deaths, check_knows_what_is_broadcast);
    suite_add_tcase(suite, one);
    suite_add_tcase(suite, deaths);
    return run_suite(suite);
}
