/* SPDX-License-Identifier: MIT
 * The broker: whoever dies, wherever, what he held comes back and what he had sent arrives; tables that fill and empty. */
#include "world_help.h"

#include <pthread.h>
#include <sched.h>
#include <time.h>

static struct numapool_sender *sender_of(struct member *member, const char *channel)
{
    struct numapool_channel_options options = NUMAPOOL_CHANNEL_OPTIONS_INIT;
    struct numapool_sender *sender = NULL;
    options.lane_slots = 8;
    options.magazine = member->magazine;
    ck_assert_int_eq(numapool_sender_open(member->pool, channel, &options, &sender), 0);
    return sender;
}

static struct numapool_receiver *receiver_of(struct member *member, const char *channel)
{
    struct numapool_receiver *receiver = NULL;
    ck_assert_int_eq(numapool_receiver_open(member->pool, channel, NULL, &receiver), 0);
    return receiver;
}

static void send_ids(struct numapool_sender *sender, uint64_t from, uint64_t until)
{
    for (uint64_t id = from; id < until; id++) {
        struct numapool_msg message = { .data = numapool_loan(sender), .length = 8, .id = id };
        ck_assert_ptr_nonnull(message.data);
        memcpy(message.data, &id, sizeof id);
        ck_assert_int_eq(numapool_send(sender, &message, 0), 0);
    }
}

/* Exactly those, whose flags are so; not released. */
static void receive_ids(struct numapool_receiver *receiver, struct numapool_msg *messages, uint64_t from, uint64_t until,
                        unsigned flags)
{
    unsigned n = (unsigned)(until - from);
    struct numapool_msg more;
    ck_assert_int_eq(numapool_receive(receiver, messages, n, 0), (int)n);
    for (unsigned i = 0; i < n; i++) {
        uint64_t payload;
        memcpy(&payload, messages[i].data, sizeof payload);
        ck_assert_uint_eq(messages[i].id, from + i);
        ck_assert_uint_eq(payload, from + i);
        ck_assert_uint_eq(messages[i].flags, flags);
    }
    ck_assert_int_eq(numapool_receive(receiver, &more, 1, 0), -EAGAIN);
}

static void receive_and_release(struct numapool_receiver *receiver, uint64_t from, uint64_t until, unsigned flags)
{
    struct numapool_msg messages[16];
    receive_ids(receiver, messages, from, until, flags);
    ck_assert_int_eq(numapool_release(receiver, messages, (unsigned)(until - from)), 0);
}

static void leave(struct member *member)
{
    ck_assert_int_eq(numapool_flush(member->magazine), 0);
    bury(member);
}

/* A send that ends by death after the word, before anything is announced. */
static void send_and_die_at_word(struct numapool_sender *sender, uint64_t id, unsigned after)
{
    struct np_sender_lane *lane = &sender->lanes[0];
    uint64_t position = lane->head + after, payload = id;
    char *slot = numapool_loan(sender);
    memcpy(slot, &payload, sizeof payload);
    uint64_t index;
    struct np_pool_arena *pa = np_pool_locate(sender->endpoint.pool, slot, &index);
    struct np_cell *cell = &lane->cells[position & lane->mask];
    uint64_t word = np_load64(&pa->arena.words[index], memory_order_relaxed);
    np_store64(&cell->what, np_cell_what(8, pa->arena.index, NP_CELL_LABELLED, 0), memory_order_relaxed);
    np_store64(&lane->labels[position & lane->mask].id, id, memory_order_relaxed);
    np_store64(&cell->where, np_cell_where_unannounced(position, (uint32_t)index), memory_order_relaxed);
    np_store64(&pa->arena.words[index], np_word_sent(lane->id, position, np_word_gen(word)), memory_order_release);
}

START_TEST(what_the_dead_held_comes_back)
{
    struct member *dead = join_world(), *lives = join_world();
    void *slots[150], *others[60];
    ck_assert_int_eq(numapool_get_bulk(dead->magazine, slots, 150), 0);
    ck_assert_int_eq(numapool_put_bulk(dead->magazine, slots, 20), 0); /* cached somewhere: comes back as well */
    ck_assert_int_eq(numapool_get_bulk(lives->magazine, others, 40), 0);
    uint64_t theirs = world_census().held;
    struct np_scavenged what = bury(dead);
    ck_assert_uint_ge(what.slots, 130);
    ck_assert_uint_eq(world_census().held, theirs - what.slots);
    void *all[160];
    ck_assert_int_eq(numapool_get_bulk(lives->magazine, all, 160), 0); /* whatever is free can be had */
    ck_assert_int_eq(numapool_put_bulk(lives->magazine, all, 160), 0);
    ck_assert_int_eq(numapool_put_bulk(lives->magazine, others, 40), 0);
    leave(lives);
}
END_TEST

START_TEST(what_the_dead_hid_between_bit_and_word_is_found)
{
    struct member *dead = join_world(), *lives = join_world();
    struct np_arena *arena = &world.broker.pools[world.pool].arenas[0];
    np_store64(&arena->level[0][0], 0, memory_order_relaxed); /* bits taken out, words not yet claimed */
    void *slots[200];
    bury(dead);
    ck_assert_uint_ne(np_load64(&arena->level[0][0], memory_order_relaxed), 0);
    ck_assert_int_eq(numapool_get_bulk(lives->magazine, slots, 200), 0);
    ck_assert_int_eq(numapool_put_bulk(lives->magazine, slots, 200), 0);
    leave(lives);
}
END_TEST

static void *wait_for_slot(void *argument)
{
    void *slot = NULL;
    return numapool_get_wait(((struct member *)argument)->magazine, &slot, NUMAPOOL_FOREVER) == 0 ? slot : NULL;
}

START_TEST(who_waits_for_a_slot_gets_one_of_the_dead)
{
    struct member *dead = join_world(), *waits = join_world();
    void *slots[WORLD_ARENAS * WORLD_SLOTS], *slot;
    pthread_t thread;
    ck_assert_int_eq(numapool_get_bulk(dead->magazine, slots, WORLD_ARENAS * WORLD_SLOTS), 0);
    ck_assert_int_eq(pthread_create(&thread, NULL, wait_for_slot, waits), 0);
    const np_shm64 *asleep = &world.broker.pools[world.pool].arenas[1].header->sleepers_summary;
    while (np_load64(asleep, memory_order_acquire) == 0)
        sched_yield();
    const struct timespec until_it_sleeps = { 0, 5000000 };
    nanosleep(&until_it_sleeps, NULL);
    bury(dead);
    pthread_join(thread, &slot);
    ck_assert_ptr_nonnull(slot);
    ck_assert_int_eq(numapool_put(waits->magazine, slot), 0);
    leave(waits);
}
END_TEST

START_TEST(killed_sender_leaves_what_its_words_say)
{
    struct member *dead = join_world(), *lives = join_world();
    struct numapool_sender *sender = sender_of(dead, "c");
    struct numapool_receiver *receiver = _i ? receiver_of(lives, "c") : NULL;
    send_ids(sender, 0, 3);
    send_and_die_at_word(sender, 3, 0);
    send_and_die_at_word(sender, 4, 1);
    ck_assert_ptr_nonnull(numapool_loan(sender)); /* and one that was not sent */
    forget_sender(sender);
    struct np_scavenged what = bury(dead);
    ck_assert_uint_eq(what.rolled_forward, 2);
    if (!receiver)
        receiver = receiver_of(lives, "c");
    assert_world(world_census().held, 5);
    receive_and_release(receiver, 0, 5, 0);
    ck_assert_int_eq(numapool_receive(receiver, &(struct numapool_msg){ 0 }, 1, 0), -EAGAIN);
    ck_assert_int_eq(numapool_receiver_close(receiver), 0);
    leave(lives);
}
END_TEST

START_TEST(killed_receiver_leaves_what_it_did_not_release)
{
    struct member *sends = join_world(), *dead = join_world(), *lives = join_world();
    struct numapool_sender *sender = sender_of(sends, "c");
    struct numapool_receiver *receiver = receiver_of(dead, "c"), *next = NULL;
    struct numapool_msg messages[8];
    if (_i)
        next = receiver_of(lives, "c");
    send_ids(sender, 0, 6);
    if (_i) { /* the two have every other message */
        ck_assert_int_eq(numapool_receive(receiver, messages, 8, 0), 3);
        ck_assert_int_eq(numapool_release(receiver, messages, 1), 0);
    } else {
        receive_ids(receiver, messages, 0, 6, 0);
        ck_assert_int_eq(numapool_release(receiver, messages, 2), 0);
        ck_assert_int_eq(numapool_release(receiver, &messages[3], 1), 0); /* before its elder: does not count yet */
    }
    forget_receiver(receiver);
    struct np_scavenged what = bury(dead);
    ck_assert_uint_eq(what.redelivered, _i ? 2 : 4);
    if (_i) {
        ck_assert_int_eq(numapool_receive(next, messages, 8, 0), 5);
        unsigned again = 0;
        for (unsigned i = 0; i < 5; i++)
            again += messages[i].flags == NUMAPOOL_REDELIVERED;
        ck_assert_uint_eq(again, 2);
        ck_assert_int_eq(numapool_release(next, messages, 5), 0);
    } else {
        next = receiver_of(lives, "c");
        receive_and_release(next, 2, 6, NUMAPOOL_REDELIVERED);
    }
    send_ids(sender, 6, 7);
    receive_and_release(next, 6, 7, 0);
    ck_assert_int_eq(numapool_sender_close(sender, 0), 0);
    ck_assert_int_eq(numapool_receiver_close(next), 0);
    leave(sends);
    leave(lives);
}
END_TEST

START_TEST(killed_keeper_and_forwarder_leave_each_message_once)
{
    struct member *sends = join_world(), *dead = join_world(), *lives = join_world();
    struct numapool_sender *sender = sender_of(sends, "a"), *onward = sender_of(dead, "b");
    struct numapool_receiver *middle = receiver_of(dead, "a"), *last = receiver_of(lives, "b");
    struct numapool_msg messages[8];
    send_ids(sender, 0, 7);
    receive_ids(middle, messages, 0, 7, 0);
    ck_assert_int_eq(numapool_forward(middle, &messages[0], onward, 0), 0);
    ck_assert_int_eq(numapool_keep(middle, &messages[2]), 0);
    ck_assert_int_eq(numapool_forward(middle, &messages[4], onward, 0), 0);
    if (_i) { /* it dies in a forward, after the word */
        struct np_sender_lane *lane = &onward->lanes[0];
        struct np_receiver_lane *from = &middle->lanes[0];
        uint64_t index, position = lane->head;
        struct np_pool_arena *pa = np_pool_locate(dead->pool, messages[5].data, &index);
        struct np_cell *cell = &lane->cells[position & lane->mask];
        uint64_t word = np_load64(&pa->arena.words[index], memory_order_relaxed);
        ck_assert(np_word_is_sent_as(word, from->id, messages[5].lane_seq));
        np_store64(&cell->what, np_cell_what(8, pa->arena.index, NP_CELL_LABELLED, 0), memory_order_relaxed);
        np_store64(&lane->labels[position & lane->mask].id, 5, memory_order_relaxed);
        np_store64(&cell->where, np_cell_where_unannounced(position, (uint32_t)index), memory_order_relaxed);
        np_store64(&pa->arena.words[index], np_word_sent(lane->id, position, np_word_gen(word)), memory_order_release);
    }
    forget_sender(onward);
    forget_receiver(middle);
    struct np_scavenged what = bury(dead);
    ck_assert_uint_eq(what.rolled_forward, _i ? 1 : 0);
    struct numapool_receiver *again = receiver_of(lives, "a");
    int n = numapool_receive(again, messages, 8, 0);
    static const uint64_t left[2][4] = { { 1, 3, 5, 6 }, { 1, 3, 6, 0 } };
    ck_assert_int_eq(n, _i ? 3 : 4);
    for (int i = 0; i < n; i++) {
        ck_assert_uint_eq(messages[i].id, left[_i][i]);
        ck_assert_uint_eq(messages[i].flags, NUMAPOOL_REDELIVERED);
    }
    ck_assert_int_eq(numapool_release(again, messages, (unsigned)n), 0);
    static const uint64_t arrived[3] = { 0, 4, 5 };
    n = numapool_receive(last, messages, 8, 0);
    ck_assert_int_eq(n, _i ? 3 : 2);
    for (int i = 0; i < n; i++)
        ck_assert_uint_eq(messages[i].id, arrived[i]);
    ck_assert_int_eq(numapool_release(last, messages, (unsigned)n), 0);
    ck_assert_int_eq(numapool_sender_close(sender, 0), 0);
    ck_assert_int_eq(numapool_receiver_close(again), 0);
    ck_assert_int_eq(numapool_receiver_close(last), 0);
    leave(sends);
    assert_world(world_census().held, 0);
    leave(lives);
}
END_TEST

START_TEST(a_dead_sender_is_heard_out_before_its_successor)
{
    struct member *dead = join_world(), *successor = join_world(), *lives = join_world();
    struct numapool_receiver *receiver = receiver_of(lives, "c");
    struct numapool_sender *sender = sender_of(dead, "c"), *next = sender_of(successor, "c");
    send_ids(next, 10, 12);
    send_ids(sender, 0, 3);
    forget_sender(sender);
    bury(dead);
    struct numapool_msg messages[8];
    ck_assert_int_eq(numapool_receive(receiver, messages, 8, 0), 3);
    for (uint64_t i = 0; i < 3; i++)
        ck_assert_uint_eq(messages[i].id, i);
    ck_assert_int_eq(numapool_release(receiver, messages, 3), 0);
    receive_and_release(receiver, 10, 12, 0);
    ck_assert_int_eq(numapool_sender_close(next, 0), 0);
    ck_assert_int_eq(numapool_receiver_close(receiver), 0);
    leave(successor);
    leave(lives);
}
END_TEST

START_TEST(both_ends_dead_leaves_the_messages_for_the_next)
{
    struct member *sends = join_world(), *receives = join_world();
    struct numapool_sender *sender = sender_of(sends, "c");
    struct numapool_receiver *receiver = receiver_of(receives, "c");
    struct numapool_msg messages[8];
    send_ids(sender, 0, 4);
    ck_assert_int_eq(numapool_receive(receiver, messages, 2, 0), 2);
    forget_sender(sender);
    forget_receiver(receiver);
    bury(_i ? sends : receives);
    bury(_i ? receives : sends);
    assert_world(0, 4);
    struct member *lives = join_world();
    receiver = receiver_of(lives, "c");
    receive_and_release(receiver, 0, 4, NUMAPOOL_REDELIVERED);
    ck_assert_int_eq(numapool_receiver_close(receiver), 0);
    leave(lives);
}
END_TEST

/* Each step of a worker's death while it buried a client: a new one starts from the board. */
START_TEST(another_worker_ends_what_a_dead_one_began)
{
    struct member *sends = join_world(), *receives = join_world(), *lives = join_world();
    struct numapool_sender *sender = sender_of(sends, "c");
    struct numapool_receiver *receiver = receiver_of(receives, "c");
    struct numapool_msg messages[8];
    struct np_scavenged what = { 0 };
    send_ids(sender, 0, 3);
    send_and_die_at_word(sender, 3, 0);
    ck_assert_int_eq(numapool_receive(receiver, messages, 2, 0), 2);
    uint32_t sender_id = sender->endpoint.id, receiver_id = receiver->endpoint.id;
    np_store32(&world.board.clients[sends->number].state, NP_DYING, memory_order_release);
    np_store32(&world.board.clients[receives->number].state, NP_DYING, memory_order_release);
    if (_i >= 1)
        np_broker_endpoint_gone(&world.broker, sender_id, &what);
    if (_i >= 2)
        np_broker_endpoint_gone(&world.broker, receiver_id, &what);
    if (_i >= 3)
        np_broker_sweep(&world.broker, world.pool, NP_WORD_HELD, sends->number);
    forget_sender(sender);
    forget_receiver(receiver);
    forget_member(sends);
    forget_member(receives);
    restart_broker();
    restart_broker();
    assert_world(0, 4);
    receiver = receiver_of(lives, "c");
    ck_assert_int_eq(numapool_receive(receiver, messages, 8, 0), 4);
    for (uint64_t i = 0; i < 4; i++)
        ck_assert_uint_eq(messages[i].id, i);
    ck_assert_int_eq(numapool_release(receiver, messages, 4), 0);
    ck_assert_int_eq(numapool_receiver_close(receiver), 0);
    leave(lives);
}
END_TEST

START_TEST(a_restart_of_the_worker_disturbs_nobody)
{
    struct member *one = join_world(), *two = join_world();
    struct numapool_sender *sender = sender_of(one, "c");
    struct numapool_receiver *receiver = receiver_of(two, "c");
    for (uint64_t id = 0; id < 30; id += 3) {
        send_ids(sender, id, id + 3);
        restart_broker();
        receive_and_release(receiver, id, id + 3, 0);
    }
    ck_assert_int_eq(numapool_sender_close(sender, 0), 0);
    ck_assert_int_eq(numapool_receiver_close(receiver), 0);
    leave(one);
    leave(two);
}
END_TEST

START_TEST(entries_that_were_forming_are_cleared)
{
    struct np_client_entry *entry;
    np_broker_client_add(&world.broker, &entry);
    np_store32(&world.board.lanes[3].state, NP_FORMING, memory_order_relaxed);
    world.board.lanes[3].channel = 1;
    np_store32(&world.board.channels[2].state, NP_FORMING, memory_order_relaxed);
    restart_broker();
    ck_assert(np_entry_is(&entry->state, NP_NONE));
    ck_assert(np_entry_is(&world.board.lanes[3].state, NP_NONE));
    ck_assert(np_entry_is(&world.board.channels[2].state, NP_NONE));
}
END_TEST

START_TEST(numbers_of_the_dying_are_not_given_out)
{
    struct member *one = join_world(), *two = join_world();
    np_store32(&world.board.clients[one->number].state, NP_DYING, memory_order_release);
    struct member *three = join_world();
    ck_assert_uint_ne(three->number, one->number);
    ck_assert_uint_ne(three->number, two->number);
    leave(one);
    leave(two);
    leave(three);
}
END_TEST

START_TEST(full_tables_are_refused_by_name_and_empty_again)
{
    enum { STAY = 7, LEAVE = WORLD_ENDPOINTS - STAY };
    struct member *members[WORLD_CLIENTS];
    struct np_client_entry *entry;
    struct np_pool_entry *pool;
    struct numapool_receiver *receivers[WORLD_ENDPOINTS], *more;
    struct numapool_sender *sender, *late;
    for (unsigned i = 0; i < WORLD_CLIENTS; i++)
        members[i] = join_world();
    ASSERT_REFUSED(np_broker_client_add(&world.broker, &entry), -EUSERS, "6 clients");
    ASSERT_REFUSED(np_broker_pool_add(&world.broker, "pay", &pool), -EEXIST, "pay");
    ASSERT_REFUSED(np_broker_pool_find(&world.broker, "other", &pool), -ENOENT, "other");
    static const char *const names[] = { "a", "b", "c", "d", "e" };
    for (unsigned i = 0; i < WORLD_CHANNELS; i++)
        receivers[i] = receiver_of(members[i], names[i]);
    ASSERT_REFUSED(numapool_receiver_open(members[0]->pool, names[4], NULL, &more), -ENOSPC, "channels");
    for (unsigned i = WORLD_CHANNELS; i < WORLD_ENDPOINTS; i++)
        receivers[i] = receiver_of(members[0], "a");
    ASSERT_REFUSED(numapool_receiver_open(members[0]->pool, "a", NULL, &more), -ENOSPC, "endpoints");
    for (unsigned i = 0; i < LEAVE; i++)
        ck_assert_int_eq(numapool_receiver_close(receivers[1 + i]), 0);
    sender = sender_of(members[1], "a"); /* one lane to each of 7 receivers, of 12 */
    ck_assert_uint_eq(world.lanes_mapped, STAY);
    ASSERT_REFUSED(numapool_sender_open(members[2]->pool, "a", NULL, &late), -ENOSPC, "lanes");
    send_ids(sender, 0, STAY);
    unsigned char seen[STAY] = { 0 };
    for (unsigned i = 0; i < WORLD_ENDPOINTS; i++) {
        struct numapool_msg message;
        if (i >= 1 && i <= LEAVE)
            continue;
        ck_assert_int_eq(numapool_receive(receivers[i], &message, 1, 0), 1);
        ck_assert_uint_eq(seen[message.id]++, 0);
        ck_assert_int_eq(numapool_release(receivers[i], &message, 1), 0);
        ck_assert_int_eq(numapool_receive(receivers[i], &message, 1, 0), -EAGAIN);
    }
    ck_assert_uint_eq(world.lanes_mapped, STAY); /* who could not join by halves has left nothing */
    for (unsigned i = 0; i < WORLD_ENDPOINTS; i++)
        if (i < 1 || i > LEAVE)
            ck_assert_int_eq(numapool_receiver_close(receivers[i]), 0);
    ck_assert_int_eq(numapool_sender_close(sender, 0), 0);
    for (unsigned i = 0; i < WORLD_CLIENTS; i++)
        leave(members[i]);
}
END_TEST

START_TEST(the_same_request_gives_the_same_endpoint)
{
    struct member *one = join_world(), *two = join_world();
    struct np_endpoint_request request = { .pool = world.pool, .role = NP_ROLE_SENDER, .tag = 77, .channel = "c" };
    struct np_endpoint_grant first, second, third;
    struct np_lane_grant lane;
    ck_assert_int_eq(np_broker_endpoint_open(&world.broker, one->number, &request, &first), 0);
    restart_broker();
    ck_assert_int_eq(np_broker_endpoint_open(&world.broker, one->number, &request, &second), 0);
    ck_assert_uint_eq(first.endpoint, second.endpoint);
    ck_assert_uint_eq(first.bell, second.bell);
    ck_assert_int_eq(np_broker_endpoint_open(&world.broker, two->number, &request, &third), 0);
    ck_assert_uint_ne(first.endpoint, third.endpoint);
    /* taken for a close that is asked again: it was done, the number is another's by now, and his endpoint stays */
    ck_assert_int_eq(np_broker_endpoint_close(&world.broker, two->number, first.endpoint), 0);
    ASSERT_REFUSED(np_broker_next_lane(&world.broker, two->number, first.endpoint, 0, &lane), -EINVAL, "client 2");
    ASSERT_REFUSED(np_broker_leave_lane(&world.broker, two->number, first.endpoint, 1, 1), -EINVAL, "client 2");
    ASSERT_REFUSED(np_broker_leave_lane(&world.broker, one->number, first.endpoint, 1, 1), -EINVAL, "lane 1");
    ASSERT_REFUSED(np_broker_endpoint_close(&world.broker, one->number, WORLD_ENDPOINTS + 1), -EINVAL, "endpoint");
    request.tag++;
    request.pool = 9;
    ASSERT_REFUSED(np_broker_endpoint_open(&world.broker, one->number, &request, &third), -EINVAL, "number 9");
    request.pool = UINT32_MAX;
    ASSERT_REFUSED(np_broker_endpoint_open(&world.broker, one->number, &request, &third), -EINVAL, "pool");
    request.pool = world.pool;
    request.role = 3;
    ASSERT_REFUSED(np_broker_endpoint_open(&world.broker, one->number, &request, &third), -EINVAL, "role 3");
    request.role = NP_ROLE_SENDER;
    memset(request.channel, 'x', sizeof request.channel);
    ASSERT_REFUSED(np_broker_endpoint_open(&world.broker, one->number, &request, &third), -EINVAL, "name");
    leave(one);
    leave(two);
}
END_TEST

START_TEST(ten_thousand_restarts_leave_no_lane_behind)
{
    struct member *lives = join_world(), *other = join_world();
    struct numapool_sender *sender = sender_of(lives, "c");
    struct numapool_receiver *stays = _i ? receiver_of(other, "c") : NULL;
    unsigned restarts = _i == 2 ? 1000 : 10000;
    for (uint64_t id = 0; id < restarts; id++) {
        struct member *comes = _i == 2 ? join_world() : other;
        struct numapool_receiver *receiver = NULL;
        struct numapool_msg message, got;
        if (numapool_receiver_open(comes->pool, "c", NULL, &receiver) != 0)
            ck_abort_msg("restart %u: %s", (unsigned)id, numapool_errormsg());
        message = (struct numapool_msg){ .data = numapool_loan(sender), .length = 1, .id = id };
        if (numapool_send(sender, &message, 0) != 0)
            ck_abort_msg("restart %u: %s", (unsigned)id, numapool_errormsg());
        if (id % 3 == 0 && numapool_receive(receiver, &got, 1, 0) == 1)
            numapool_release(receiver, &got, 1);
        if (_i == 2) {
            struct np_scavenged what;
            forget_receiver(receiver);
            np_broker_client_gone(&world.broker, comes->number, &what);
            forget_member(comes);
        } else {
            numapool_receiver_close(receiver);
        }
        if (world.lanes_mapped > 8)
            ck_abort_msg("restart %u: %u lanes", (unsigned)id, world.lanes_mapped);
        if (id % 2 == 1 && stays)
            while (numapool_receive(stays, &got, 1, 0) == 1)
                numapool_release(stays, &got, 1);
        if (id % 2 == 1 && !stays) {
            receiver = receiver_of(other, "c");
            while (numapool_receive(receiver, &got, 1, 0) == 1)
                numapool_release(receiver, &got, 1);
            numapool_receiver_close(receiver);
        }
    }
    if (stays)
        ck_assert_int_eq(numapool_receiver_close(stays), 0);
    ck_assert_int_eq(numapool_sender_close(sender, 0), 0);
    leave(lives);
    leave(other);
}
END_TEST

START_TEST(a_number_whose_generations_are_used_up_is_given_to_nobody)
{
    struct member *member = join_world();
    world.board.endpoints[1].generation = UINT32_MAX - 1;
    struct numapool_receiver *last, *next;
    ck_assert_int_eq(numapool_receiver_open(member->pool, "a", NULL, &last), 0);
    ck_assert_uint_eq(numapool_receiver_address(last), UINT64_C(0xffffffff00000001));
    ck_assert_int_eq(numapool_receiver_close(last), 0);
    ck_assert_int_eq(numapool_receiver_open(member->pool, "a", NULL, &next), 0);
    ck_assert_uint_eq(numapool_receiver_address(next), UINT64_C(0x100000002));
    ck_assert_int_eq(numapool_receiver_close(next), 0);
    bury(member);
}
END_TEST

START_TEST(boards_of_other_kinds_are_refused_by_name)
{
    struct np_board board;
    size_t bytes = np_board_bytes(&world_limits);
    struct np_board_header *header = world.board_memory;
    struct np_board_limits limits = world_limits;
    ASSERT_REFUSED(np_board_attach(&board, world.board_memory, bytes - 4096), -EBADMSG, "bytes");
    ASSERT_REFUSED(np_board_attach(&board, world.board_memory, 10), -EBADMSG, "board");
    header->layout++;
    ASSERT_REFUSED(np_board_attach(&board, world.board_memory, bytes), -EPROTO, "layout");
    header->layout--;
    header->limits.lanes = 65536;
    ASSERT_REFUSED(np_board_attach(&board, world.board_memory, bytes), -EINVAL, "65536");
    header->limits.lanes = WORLD_LANES;
    ck_assert_int_eq(np_board_attach(&board, world.board_memory, bytes), 0);
    limits.clients = 65535;
    ASSERT_REFUSED(np_board_limits_check(&limits), -EINVAL, "clients is 65535");
    limits = (struct np_board_limits){ 1, 0, 1, 1 };
    ASSERT_REFUSED(np_board_limits_check(&limits), -EINVAL, "channels is 0");
    limits = (struct np_board_limits){ 1, 1, 65536, 1 };
    ASSERT_REFUSED(np_board_limits_check(&limits), -EINVAL, "endpoints is 65536");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("broker");
    TCase *deaths = tcase_create("deaths"), *tables = tcase_create("tables");
    tcase_set_timeout(tables, 60);
    tcase_add_checked_fixture(deaths, make_world, unmake_world);
    tcase_add_checked_fixture(tables, make_world, unmake_world);
    tcase_add_test(deaths, what_the_dead_held_comes_back);
    tcase_add_test(deaths, what_the_dead_hid_between_bit_and_word_is_found);
    tcase_add_test(deaths, who_waits_for_a_slot_gets_one_of_the_dead);
    tcase_add_loop_test(deaths, killed_sender_leaves_what_its_words_say, 0, 2);
    tcase_add_loop_test(deaths, killed_receiver_leaves_what_it_did_not_release, 0, 2);
    tcase_add_loop_test(deaths, killed_keeper_and_forwarder_leave_each_message_once, 0, 2);
    tcase_add_test(deaths, a_dead_sender_is_heard_out_before_its_successor);
    tcase_add_loop_test(deaths, both_ends_dead_leaves_the_messages_for_the_next, 0, 2);
    tcase_add_loop_test(deaths, another_worker_ends_what_a_dead_one_began, 0, 4);
    tcase_add_test(deaths, a_restart_of_the_worker_disturbs_nobody);
    tcase_add_test(tables, entries_that_were_forming_are_cleared);
    tcase_add_test(tables, numbers_of_the_dying_are_not_given_out);
    tcase_add_test(tables, full_tables_are_refused_by_name_and_empty_again);
    tcase_add_test(tables, the_same_request_gives_the_same_endpoint);
    tcase_add_loop_test(tables, ten_thousand_restarts_leave_no_lane_behind, 0, 3);
    tcase_add_test(tables, a_number_whose_generations_are_used_up_is_given_to_nobody);
    tcase_add_test(tables, boards_of_other_kinds_are_refused_by_name);
    suite_add_tcase(suite, deaths);
    suite_add_tcase(suite, tables);
    return run_suite(suite);
}
