/* SPDX-License-Identifier: MIT
 * Ends that come and go while others send: lanes are added, moved, drained and dropped under senders that hold on to some of them, and what was
 * released is loaned again, put, kept or sent on meanwhile. A ledger knows of every slot whose it is. */
#include "channel_help.h"

enum { SENDERS = 3, RECEIVERS = 20, ENTRIES = 4096, HELD = 24, BATCH = 6, ROUNDS = 3000 };

enum entry_state { NOBODYS, OURS, SENT, RECEIVED };

struct entry {
    void *data;
    enum entry_state state;
};

struct place { /* of a receiver, and what it has received and not released */
    struct numapool_receiver *receiver;
    struct numapool_msg held[HELD];
    unsigned count;
};

static struct entry entries[ENTRIES];
static unsigned entry_count;
static struct numapool_sender *senders[SENDERS];
static struct place places[RECEIVERS];
static uint64_t received; /* messages */
static uint64_t seed;

static unsigned below(unsigned n)
{
    seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (unsigned)((seed >> 33) % n);
}

/* A slot that somebody was just given: it was nobody's. */
static unsigned enter(void *data)
{
    unsigned id = ENTRIES;
    for (unsigned i = 0; i < entry_count; i++) {
        if (entries[i].state == NOBODYS)
            id = i;
        else if (entries[i].data == data) /* asserting each would cost more than all the rest */
            ck_abort_msg("%p was given out while it was somebody's", data);
    }
    if (id == ENTRIES) {
        ck_assert_uint_lt(entry_count, ENTRIES);
        id = entry_count++;
    }
    entries[id] = (struct entry){ data, OURS };
    memcpy(data, &id, sizeof id);
    return id;
}

static struct numapool_msg message_of(void *data, unsigned id)
{
    return (struct numapool_msg){ .data = data, .length = 16, .type = 1, .id = below(2) ? id + 1 : 0, .key = below(2) ? id : 0,
                                  .flags = below(8) == 0 ? NUMAPOOL_KEYED : 0 };
}

static void send_some(struct numapool_sender *sender)
{
    struct numapool_msg messages[BATCH];
    void *slots[BATCH];
    unsigned ids[BATCH];
    int n = (int)(1 + below(BATCH)), sent;
    if (below(2)) {
        n = numapool_loan_bulk(sender, slots, (unsigned)n);
    } else {
        const struct numapool_msg like = { .length = 16 };
        slots[0] = below(4) ? numapool_loan(sender) : numapool_loan_for(sender, &like);
        n = slots[0] ? 1 : -EAGAIN;
    }
    if (n < 0)
        return;
    for (int i = 0; i < n; i++) {
        ids[i] = enter(slots[i]);
        messages[i] = message_of(slots[i], ids[i]);
    }
    sent = n == 1 && below(2) ? numapool_send(sender, messages, 0) : numapool_send_bulk(sender, messages, (unsigned)n, 0);
    if (n == 1 && sent == 0)
        sent = 1;
    ck_assert_msg(sent > 0 || sent == -EAGAIN, "%s", numapool_errormsg());
    for (int i = 0; i < n; i++) {
        entries[ids[i]].state = i < sent ? SENT : NOBODYS;
        if (i >= sent)
            ck_assert_int_eq(numapool_unloan(sender, slots[i]), 0);
    }
}

static void receive_some(struct place *place, unsigned n)
{
    struct numapool_msg messages[BATCH];
    n = n < HELD - place->count ? n : HELD - place->count;
    int got = n > 0 ? numapool_receive(place->receiver, messages, n, 0) : 0;
    ck_assert_msg(got >= 0 || got == -EAGAIN, "%s", numapool_errormsg());
    for (int i = 0; i < got; i++) {
        unsigned id;
        memcpy(&id, messages[i].data, sizeof id);
        ck_assert_uint_lt(id, entry_count);
        ck_assert_ptr_eq(entries[id].data, messages[i].data);
        ck_assert_int_eq(entries[id].state, SENT);
        ck_assert(messages[i].id == 0 || messages[i].id == id + 1);
        ck_assert(messages[i].key == 0 || messages[i].key == id);
        entries[id].state = RECEIVED;
        place->held[place->count++] = messages[i];
    }
    received += got > 0 ? (unsigned)got : 0;
}

static struct entry *entry_of(const struct numapool_msg *message)
{
    unsigned id;
    memcpy(&id, message->data, sizeof id);
    ck_assert_uint_lt(id, entry_count);
    ck_assert_ptr_eq(entries[id].data, message->data);
    return &entries[id];
}

static void finish_one(struct place *place, unsigned which)
{
    struct numapool_msg message = place->held[which];
    struct entry *entry = entry_of(&message);
    struct numapool_sender *sender = senders[below(SENDERS)];
    unsigned how = which > 0 ? below(2) : below(8); /* released in order: what waits for an elder may come again */
    if (which > 0 && !sender)
        return;
    if (how == 0 && sender) {
        int result = numapool_forward(place->receiver, &message, sender, 0);
        ck_assert_msg(result == 0 || result == -EAGAIN, "%s", numapool_errormsg());
        if (result < 0)
            return;
        entry->state = SENT;
    } else if (how == 1 && sender) {
        ck_assert_int_eq(numapool_keep(place->receiver, &message), 0);
        entry->state = NOBODYS;
        ck_assert_int_eq(numapool_unloan(sender, message.data), 0);
    } else {
        entry->state = NOBODYS;
        release_one(place->receiver, &message);
    }
    place->count--;
    memmove(&place->held[which], &place->held[which + 1], (place->count - which) * sizeof place->held[0]);
}

static void open_or_close_receiver(struct place *place)
{
    if (!place->receiver) {
        place->receiver = open_receiver("c");
        return;
    }
    for (unsigned i = 0; i < place->count; i++)
        entry_of(&place->held[i])->state = SENT; /* somebody else gets them */
    place->count = 0;
    close_receiver(place->receiver);
    place->receiver = NULL;
}

static void open_or_close_sender(unsigned which)
{
    if (senders[which])
        ck_assert_int_ge(numapool_sender_close(senders[which], 0), 0);
    senders[which] = senders[which] ? NULL : open_sender("c", 2u << below(7));
}

static void turn_over(uint64_t flags, unsigned arenas)
{
    pool = arenas > 1 ? make_pool_of_arenas(arenas, 512) : make_pool(1024, flags);
    memset(entries, 0, sizeof entries);
    memset(places, 0, sizeof places);
    memset(senders, 0, sizeof senders);
    entry_count = 0;
    received = 0;
    for (unsigned round = 0; round < ROUNDS; round++) {
        struct numapool_sender *sender = senders[below(SENDERS)];
        struct place *place = &places[below(RECEIVERS)];
        if (below(40) == 0)
            open_or_close_receiver(place);
        if (below(400) == 0)
            open_or_close_sender(below(SENDERS));
        if (sender && sender == senders[0] && below(3) == 0)
            sender = NULL; /* rather idle */
        for (unsigned i = below(4); sender && i > 0; i--)
            if (sender == senders[0] || sender == senders[1] || sender == senders[2])
                send_some(sender);
        if (place->receiver)
            receive_some(place, 1 + below(BATCH));
        for (unsigned i = below(8); place->receiver && place->count > 0 && i > 0; i--)
            finish_one(place, below(3) ? 0 : below(place->count));
    }
    for (unsigned i = 0; i < RECEIVERS; i++)
        if (places[i].receiver)
            open_or_close_receiver(&places[i]);
    open_or_close_receiver(&places[0]);
    do {
        for (unsigned i = 0; i < places[0].count; i++) {
            entry_of(&places[0].held[i])->state = NOBODYS;
            release_one(places[0].receiver, &places[0].held[i]);
        }
        places[0].count = 0;
        receive_some(&places[0], BATCH);
    } while (places[0].count > 0);
    for (unsigned i = 0; i < entry_count; i++)
        ck_assert_msg(entries[i].state == NOBODYS, "message %u was lost", i);
    for (unsigned i = 0; i < SENDERS; i++)
        if (senders[i])
            open_or_close_sender(i);
    close_receiver(places[0].receiver);
    ck_assert_uint_gt(received, ROUNDS / 16);
    close_pool(pool);
}

START_TEST(nothing_is_lost_or_anybody_elses_while_ends_come_and_go)
{
    seed = (uint64_t)_i + 1;
    turn_over(0, 1);
}
END_TEST

START_TEST(the_same_where_every_get_is_counted)
{
    seed = (uint64_t)_i + 101;
    turn_over(NUMAPOOL_EXACT_COUNTS, 1);
}
END_TEST

START_TEST(the_same_where_misuse_is_checked)
{
    seed = (uint64_t)_i + 201;
    turn_over(NUMAPOOL_CHECKS, 1);
}
END_TEST

START_TEST(the_same_with_blocks_of_malloc)
{
    seed = (uint64_t)_i + 301;
    turn_over(NUMAPOOL_MALLOC, 1);
}
END_TEST

START_TEST(the_same_on_several_nodes)
{
    seed = (uint64_t)_i + 401;
    turn_over(0, 3);
}
END_TEST

/* _i: of slots or small, one at a time or several. */
START_TEST(what_is_taken_the_straight_way_overtakes_no_orphan_that_was_not_heard_of)
{
    pool = make_pool(64, 0);
    struct numapool_channel_options options = NUMAPOOL_CHANNEL_OPTIONS_INIT;
    struct numapool_receiver *receiver;
    struct numapool_sender *elder, *successor, *both[2];
    struct numapool_msg messages[4];
    const unsigned at_once = _i % 2 ? 4 : 1;
    options.flags = _i / 2 ? NUMAPOOL_SMALL : 0;
    ck_assert_int_eq(numapool_receiver_open(pool, "c", &options, &receiver), 0);
    ck_assert_int_eq(numapool_sender_open(pool, "c", &options, &successor), 0);
    ck_assert_int_eq(numapool_receive(receiver, messages, 1, 0), -EAGAIN); /* knows one lane now, and no other */
    ck_assert_int_eq(numapool_sender_open(pool, "c", &options, &elder), 0);
    both[0] = elder, both[1] = successor;
    for (unsigned i = 0; i < 2; i++) {
        uint64_t payload = i;
        struct numapool_msg message = { .data = options.flags ? (void *)&payload : numapool_loan(both[i]), .length = 8, .id = i + 1 };
        ck_assert_int_eq(numapool_send(both[i], &message, 0), 0);
        if (i == 0)
            ck_assert_int_ge(numapool_sender_close(elder, 0), 0);
    }
    for (uint64_t id = 1; id <= 2; id++) {
        ck_assert_int_eq(numapool_receive(receiver, messages, at_once, 0), 1);
        ck_assert_uint_eq(messages[0].id, id);
        ck_assert_int_eq(numapool_release(receiver, messages, 1), 0);
    }
    ck_assert_int_eq(numapool_receiver_close(receiver), 0);
    ck_assert_int_eq(numapool_sender_close(successor, 0), 0);
    close_pool(pool);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("turnover");
    TCase *ends = tcase_create("ends");
    tcase_set_timeout(ends, 120);
    tcase_add_loop_test(ends, nothing_is_lost_or_anybody_elses_while_ends_come_and_go, 0, 6);
    tcase_add_loop_test(ends, the_same_where_every_get_is_counted, 0, 2);
    tcase_add_loop_test(ends, the_same_where_misuse_is_checked, 0, 2);
    tcase_add_loop_test(ends, the_same_with_blocks_of_malloc, 0, 2);
    tcase_add_loop_test(ends, the_same_on_several_nodes, 0, 2);
    tcase_add_loop_test(ends, what_is_taken_the_straight_way_overtakes_no_orphan_that_was_not_heard_of, 0, 4);
    suite_add_tcase(suite, ends);
    return run_suite(suite);
}
