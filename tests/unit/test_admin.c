/* SPDX-License-Identifier: MIT
 * Pools of the daemon made, enlarged and destroyed: the library's side, against a daemon that takes its time and breaks off. */
#include <check.h>
#include <errno.h>

#include "fake_daemon.h"
#include "numa/placement.h"
#include "numapool.h"

enum { ADMIN_TAGS_MAX = 16 };

static struct numapool_client *client;
static uint64_t tags[ADMIN_TAGS_MAX];
static unsigned tag_count, answers_under_way;

/* ---------------------------------------------------------------- help */

static bool is_admins(uint32_t operation)
{
    return operation == NP_WIRE_POOL_CREATE || operation == NP_WIRE_POOL_GROW || operation == NP_WIRE_POOL_DESTROY;
}

/* Under way so many times; each request's tag is written down. All have it in the same place. */
static void take_time(struct np_wire_answer *answer)
{
    if (!is_admins(answer->operation))
        return;
    if (tag_count < ADMIN_TAGS_MAX)
        tags[tag_count] = fake.last.of.pool_create.tag;
    answer->result = tag_count++ < answers_under_way ? NP_WIRE_UNDER_WAY : 0;
}

static void begin(void)
{
    start();
    tag_count = answers_under_way = 0;
    ck_assert_msg(numapool_connect(&client, fake.path) == 0, "%s", numapool_errormsg());
    fake.lie = take_time;
}

static void finish(void)
{
    fake.lie = NULL;
    ck_assert_int_eq(numapool_disconnect(client), 0);
    end();
}

static void all_tags_are_one(unsigned count)
{
    ck_assert_uint_eq(tag_count, count);
    for (unsigned i = 0; i < count; i++)
        ck_assert_uint_eq(tags[i], tags[0]);
    ck_assert_uint_ne(tags[0], 0);
}

static struct numapool_options some_options(void)
{
    struct numapool_options options = NUMAPOOL_OPTIONS_INIT;
    options.name = "new";
    options.slot_bytes = 128;
    options.slots = 1000;
    return options;
}

static void says(const char *what)
{
    ck_assert_msg(strstr(numapool_errormsg(), what) != NULL, "'%s' does not say '%s'", numapool_errormsg(), what);
}

/* ---------------------------------------------------------------- once, however long it takes */

START_TEST(the_same_request_is_asked_again_until_it_is_done)
{
    const struct numapool_options options = some_options();
    answers_under_way = 5;
    ck_assert_int_eq(numapool_admin_create(client, &options), 0);
    all_tags_are_one(6);
    tag_count = 0;
    ck_assert_int_eq(numapool_admin_grow(client, "new", 0, 10), 0);
    all_tags_are_one(6);
}
END_TEST

START_TEST(a_request_whose_answer_was_lost_is_the_same_on_the_next_connection)
{
    const struct numapool_options options = some_options();
    answers_under_way = 1;
    fake.hang_ups[NP_WIRE_POOL_CREATE] = 2;
    ck_assert_int_eq(numapool_admin_create(client, &options), 0);
    ck_assert_uint_eq(asked(NP_WIRE_POOL_CREATE), 4);
    all_tags_are_one(2); /* the fake writes down what it answers */
    ck_assert_uint_eq(fake.last.of.pool_create.tag, tags[0]);
    tag_count = 0;
    answers_under_way = 0;
    fake.hang_ups[NP_WIRE_POOL_DESTROY] = 1;
    ck_assert_int_eq(numapool_admin_destroy(client, "new", 0), 0);
    ck_assert_uint_eq(asked(NP_WIRE_POOL_DESTROY), 2);
}
END_TEST

START_TEST(each_call_is_a_request_of_its_own)
{
    for (unsigned i = 0; i < 3; i++)
        ck_assert_int_eq(numapool_admin_destroy(client, "new", 0), 0);
    ck_assert_uint_ne(tags[0], tags[1]);
    ck_assert_uint_ne(tags[1], tags[2]);
    ck_assert_uint_ne(tags[0], tags[2]);
}
END_TEST

/* Not done before somebody else of this process has been served. */
static void wait_for_others(struct np_wire_answer *answer)
{
    if (is_admins(answer->operation))
        answer->result = asked(NP_WIRE_POOL_OPEN) > 0 ? 0 : NP_WIRE_UNDER_WAY;
}

static void *open_aside(void *argument)
{
    struct numapool_pool *pool;
    while (asked(NP_WIRE_POOL_CREATE) < 3)
        sched_yield();
    int result = numapool_open(client, "pay", 0, &pool);
    *(int *)argument = result < 0 ? result : numapool_close(pool);
    return NULL;
}

START_TEST(other_threads_are_served_while_memory_is_made)
{
    const struct numapool_options options = some_options();
    pthread_t thread;
    int result = -1;
    fake.lie = wait_for_others;
    ck_assert_int_eq(pthread_create(&thread, NULL, open_aside, &result), 0);
    ck_assert_int_eq(numapool_admin_create(client, &options), 0);
    pthread_join(thread, NULL);
    ck_assert_int_eq(result, 0);
}
END_TEST

/* ---------------------------------------------------------------- what is said, and what is not */

START_TEST(all_options_reach_the_daemon)
{
    const uint64_t node_slots[] = { 0, 30, 12 };
    struct numapool_options options = some_options();
    const struct np_wire_pool *said = &fake.last.of.pool_create;
    options.slots = 0;
    options.node_slots = node_slots;
    options.nodes = 3;
    options.flags = NUMAPOOL_PAGES_FALLBACK | NUMAPOOL_EXACT_COUNTS;
    options.magazine_slots = 17;
    options.sharers = 5;
    options.low_watermark = 9;
    options.access = "direct=1000:@5;admin=7";
    ck_assert_msg(numapool_admin_create(client, &options) == 0, "%s", numapool_errormsg());
    ck_assert_str_eq(said->name, "new");
    ck_assert_str_eq(said->access, options.access);
    ck_assert_uint_eq(said->slot_bytes, 128);
    ck_assert_uint_eq(said->flags, options.flags);
    ck_assert_uint_eq(said->low_watermark, 9);
    ck_assert_uint_eq(said->magazine_slots, 17);
    ck_assert_uint_eq(said->sharers, 5);
    ck_assert_uint_eq(said->nodes, 3);
    ck_assert_mem_eq(said->node_slots, node_slots, sizeof node_slots);
    ck_assert_uint_eq(said->policy, NUMAPOOL_EXPLICIT);
    ck_assert_int_eq(said->own_node, np_node_of_this_thread());
    options.node_slots = NULL;
    options.slots = 5;
    options.policy = NUMAPOOL_NEAR_DEVICE;
    options.device = "0000:3b:00.0";
    options.spill_slots = 3;
    ck_assert_msg(numapool_admin_create(client, &options) == 0, "%s", numapool_errormsg());
    ck_assert_uint_eq(said->policy, NUMAPOOL_NEAR_DEVICE);
    ck_assert_str_eq(said->device, "0000:3b:00.0");
    ck_assert_uint_eq(said->spill_slots, 3);
    ck_assert_uint_eq(said->nodes, 0);
    ck_assert_int_eq(numapool_admin_grow(client, "new", NUMAPOOL_ANY_NODE, 77), 0);
    ck_assert_int_eq(fake.last.of.pool_grow.node, NUMAPOOL_ANY_NODE);
    ck_assert_uint_eq(fake.last.of.pool_grow.slots, 77);
    ck_assert_int_eq(numapool_admin_destroy(client, "new", NUMAPOOL_DESTROY_DISCARD), 0);
    ck_assert_uint_eq(fake.last.of.pool_destroy.flags, NUMAPOOL_DESTROY_DISCARD);
    ck_assert_str_eq(fake.last.of.pool_destroy.name, "new");
}
END_TEST

START_TEST(what_cannot_be_is_refused_before_the_daemon_is_asked)
{
    static char long_name[NUMAPOOL_NAME_BYTES + 1], long_access[600];
    struct numapool_options options = some_options();
    memset(long_name, 'n', sizeof long_name - 1);
    memset(long_access, 'a', sizeof long_access - 1);
    ck_assert_int_eq(numapool_admin_create(client, NULL), -EINVAL);
    ck_assert_int_eq(numapool_admin_create(NULL, &options), -EINVAL);
    options.slot_bytes = 0;
    ck_assert_int_eq(numapool_admin_create(client, &options), -EINVAL);
    options = some_options();
    options.flags = NUMAPOOL_MALLOC;
    ck_assert_int_eq(numapool_admin_create(client, &options), -EINVAL);
    says("numapool_create");
    options = some_options();
    options.access = long_access;
    ck_assert_int_eq(numapool_admin_create(client, &options), -EINVAL);
    options = some_options();
    options.name = long_name;
    ck_assert_int_eq(numapool_admin_create(client, &options), -EINVAL);
    ck_assert_int_eq(numapool_admin_grow(client, long_name, 0, 1), -EINVAL);
    ck_assert_int_eq(numapool_admin_grow(NULL, "new", 0, 1), -EINVAL);
    ck_assert_int_eq(numapool_admin_destroy(client, "", 0), -EINVAL);
    ck_assert_int_eq(numapool_admin_destroy(client, NULL, 0), -EINVAL);
    ck_assert_uint_eq(asked(NP_WIRE_POOL_CREATE) + asked(NP_WIRE_POOL_GROW) + asked(NP_WIRE_POOL_DESTROY), 0);
}
END_TEST

static void refuse(struct np_wire_answer *answer)
{
    if (!is_admins(answer->operation))
        return;
    answer->result = -EBUSY;
    strcpy(answer->sentence, "3 clients have it open");
}

static void answer_nonsense(struct np_wire_answer *answer)
{
    if (is_admins(answer->operation))
        answer->result = 7;
}

START_TEST(a_refusal_reaches_the_caller_with_its_sentence)
{
    fake.lie = refuse;
    ck_assert_int_eq(numapool_admin_destroy(client, "new", 0), -EBUSY);
    says("3 clients have it open");
    ck_assert_uint_eq(asked(NP_WIRE_POOL_DESTROY), 1);
    fake.lie = answer_nonsense;
    ck_assert_int_eq(numapool_admin_destroy(client, "new", 0), -EPROTO);
}
END_TEST

/* ---------------------------------------------------------------- closing */

START_TEST(a_close_that_was_not_heard_is_said_again_before_the_next_request)
{
    struct numapool_pool *pool;
    ck_assert_int_eq(numapool_open(client, "pay", 0, &pool), 0);
    fake.hang_ups[NP_WIRE_POOL_CLOSE] = 1000;
    ck_assert_int_eq(numapool_close(pool), 0);
    unsigned tried = asked(NP_WIRE_POOL_CLOSE);
    ck_assert_uint_ge(tried, 2);
    fake.hang_ups[NP_WIRE_POOL_CLOSE] = 0;
    ck_assert_int_eq(numapool_admin_destroy(client, "pay", 0), 0);
    ck_assert_uint_eq(asked(NP_WIRE_POOL_CLOSE), tried + 1);
    ck_assert_int_eq(numapool_admin_destroy(client, "pay", 0), 0);
    ck_assert_uint_eq(asked(NP_WIRE_POOL_CLOSE), tried + 1);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("pools of the daemon, changed at run time");
    TCase *all = tcase_create("all");
    tcase_set_timeout(all, 60);
    tcase_add_checked_fixture(all, begin, finish);
    tcase_add_test(all, the_same_request_is_asked_again_until_it_is_done);
    tcase_add_test(all, a_request_whose_answer_was_lost_is_the_same_on_the_next_connection);
    tcase_add_test(all, each_call_is_a_request_of_its_own);
    tcase_add_test(all, other_threads_are_served_while_memory_is_made);
    tcase_add_test(all, all_options_reach_the_daemon);
    tcase_add_test(all, what_cannot_be_is_refused_before_the_daemon_is_asked);
    tcase_add_test(all, a_refusal_reaches_the_caller_with_its_sentence);
    tcase_add_test(all, a_close_that_was_not_heard_is_said_again_before_the_next_request);
    suite_add_tcase(suite, all);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
