/* SPDX-License-Identifier: MIT
 * A session against a daemon that lies, hangs up, goes away or comes back as another one. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "fake_daemon.h"
#include "numapool.h"

/* ---------------------------------------------------------------- help */

static struct numapool_client *connected(void)
{
    struct numapool_client *client = NULL;
    ck_assert_msg(numapool_connect(&client, fake.path) == 0, "%s", numapool_errormsg());
    return client;
}

static struct numapool_pool *opened(struct numapool_client *client)
{
    struct numapool_pool *pool = NULL;
    ck_assert_msg(numapool_open(client, "pay", 0, &pool) == 0, "%s", numapool_errormsg());
    return pool;
}

static void says(const char *what)
{
    ck_assert_msg(strstr(numapool_errormsg(), what) != NULL, "'%s' does not say '%s'", numapool_errormsg(), what);
}

static unsigned open_descriptors(void)
{
    unsigned count = 0;
    for (int fd = 0; fd < 256; fd++)
        count += fcntl(fd, F_GETFD) >= 0;
    return count;
}

static void use(struct numapool_pool *pool)
{
    struct numapool_magazine *magazine;
    ck_assert_int_eq(numapool_magazine_open(pool, NUMAPOOL_ANY_NODE, 0, &magazine), 0);
    char *slot = numapool_get(magazine);
    ck_assert_ptr_nonnull(slot);
    memset(slot, 1, STRIDE);
    ck_assert_int_eq(numapool_put(magazine, slot), 0);
    ck_assert_int_eq(numapool_magazine_close(magazine), 0);
}

/* ---------------------------------------------------------------- the ordinary way */

START_TEST(a_pool_is_opened_used_and_closed_and_nothing_is_left)
{
    unsigned before = open_descriptors();
    struct numapool_client *client = connected();
    ck_assert_int_eq(numapool_client_id(client), CLIENT);
    struct numapool_pool *pool = opened(client);
    ck_assert_uint_le(open_descriptors(), before + 2); /* the connection and its other end: memory needs none once mapped */
    ck_assert_int_eq(numapool_pool_mode(pool), NUMAPOOL_MODE_DIRECT);
    ck_assert_uint_eq(numapool_slot_bytes(pool), STRIDE);
    use(pool);
    ck_assert_int_eq(numapool_close(pool), 0);
    ck_assert_uint_eq(asked(NP_WIRE_POOL_CLOSE), 1);
    ck_assert_int_eq(numapool_disconnect(client), 0);
    ck_assert_uint_eq(asked(NP_WIRE_GOODBYE), 1);
    struct np_arena_census census;
    struct np_arena arena;
    ck_assert_int_eq(np_arena_attach(&arena, fake.meta.address, fake.meta.bytes, NULL, SLOTS, SLOT_BYTES, 0, 0, 0,
                                     fake.bells.address, np_board_bells(&limits), 0), 0);
    np_arena_census(&arena, &census);
    ck_assert_uint_eq(census.free_slots, SLOTS);
}
END_TEST

START_TEST(opening_again_gives_the_same_pool_and_wants_as_many_closes)
{
    struct numapool_client *client = connected();
    struct numapool_pool *pool = opened(client), *again = NULL;
    ck_assert_int_eq(numapool_open(client, "pay", NUMAPOOL_PREFAULT, &again), 0);
    ck_assert_ptr_eq(again, pool);
    ck_assert_uint_eq(asked(NP_WIRE_POOL_OPEN), 1);
    ck_assert_int_eq(numapool_close(pool), 0);
    use(pool);
    ck_assert_int_eq(numapool_disconnect(client), -EBUSY);
    says("'pay'");
    ck_assert_int_eq(numapool_close(pool), 0);
    ck_assert_uint_eq(asked(NP_WIRE_POOL_CLOSE), 1);
    ck_assert_int_eq(numapool_disconnect(client), 0);
}
END_TEST

START_TEST(a_pool_in_use_is_not_closed)
{
    struct numapool_client *client = connected();
    struct numapool_pool *pool = opened(client);
    struct numapool_magazine *magazine;
    ck_assert_int_eq(numapool_magazine_open(pool, NUMAPOOL_ANY_NODE, 0, &magazine), 0);
    ck_assert_int_eq(numapool_close(pool), -EBUSY);
    says("1 magazines");
    ck_assert_int_eq(numapool_magazine_close(magazine), 0);
    ck_assert_int_eq(numapool_close(pool), 0);
    ck_assert_int_eq(numapool_disconnect(client), 0);
}
END_TEST

START_TEST(arguments_are_checked_before_the_daemon_is_asked)
{
    struct numapool_client *client = connected();
    struct numapool_pool *pool = NULL;
    char longest[NUMAPOOL_NAME_BYTES + 1];
    memset(longest, 'a', sizeof longest);
    longest[NUMAPOOL_NAME_BYTES] = 0;
    ck_assert_int_eq(numapool_open(client, longest, 0, &pool), -EINVAL);
    ck_assert_int_eq(numapool_open(client, "", 0, &pool), -EINVAL);
    ck_assert_int_eq(numapool_open(client, NULL, 0, &pool), -EINVAL);
    ck_assert_int_eq(numapool_open(client, "pay", NUMAPOOL_HUGE_2M, &pool), -EINVAL);
    ck_assert_int_eq(numapool_open(NULL, "pay", 0, &pool), -EINVAL);
    ck_assert_int_eq(numapool_client_id(NULL), -EINVAL);
    ck_assert_int_eq(numapool_disconnect(NULL), -EINVAL);
    ck_assert_int_eq(numapool_close(NULL), -EINVAL);
    ck_assert_uint_eq(asked(NP_WIRE_POOL_OPEN), 0);
    ck_assert_ptr_null(pool);
    ck_assert_int_eq(numapool_disconnect(client), 0);
}
END_TEST

/* ---------------------------------------------------------------- broken connections */

START_TEST(a_request_whose_connection_breaks_is_asked_again)
{
    struct numapool_client *client = connected();
    fake.hang_ups[NP_WIRE_POOL_OPEN] = 1;
    fake.hang_ups[NP_WIRE_POOL_MEMORY] = 2;
    fake.hang_ups[NP_WIRE_POOL_CLOSE] = 1;
    fake.hang_ups[NP_WIRE_GOODBYE] = 1;
    struct numapool_pool *pool = opened(client);
    use(pool);
    ck_assert_int_eq(numapool_close(pool), 0);
    ck_assert_int_eq(numapool_disconnect(client), 0);
    ck_assert_uint_eq(asked(NP_WIRE_POOL_OPEN), 2);
    ck_assert_uint_eq(asked(NP_WIRE_POOL_MEMORY), 3);
    ck_assert_uint_eq(asked(NP_WIRE_POOL_CLOSE), 2);
    ck_assert_uint_eq(asked(NP_WIRE_GOODBYE), 2);
    ck_assert_uint_eq(asked(NP_WIRE_HELLO), 6);
}
END_TEST

/* As long as the kernel has not closed a dead worker's connections, they look like a living one's. */
START_TEST(who_is_not_answered_asks_again_on_another_connection)
{
    fake.silences[NP_WIRE_HELLO] = 1;
    struct numapool_client *client = connected();
    ck_assert_uint_eq(asked(NP_WIRE_HELLO), 2);
    fake.silences[NP_WIRE_POOL_OPEN] = 1;
    struct numapool_pool *pool = opened(client);
    ck_assert_uint_eq(asked(NP_WIRE_POOL_OPEN), 2);
    ck_assert_uint_eq(asked(NP_WIRE_HELLO), 3);
    use(pool);
    ck_assert_int_eq(numapool_close(pool), 0);
    ck_assert_int_eq(numapool_disconnect(client), 0);
}
END_TEST

START_TEST(a_first_greeting_that_breaks_is_repeated)
{
    fake.hang_ups[NP_WIRE_HELLO] = 3;
    struct numapool_client *client = connected();
    ck_assert_uint_eq(asked(NP_WIRE_HELLO), 4);
    ck_assert_int_eq(numapool_disconnect(client), 0);
}
END_TEST

static void no_bells(struct np_wire_answer *answer)
{
    if (answer->operation == NP_WIRE_HELLO)
        answer->of.hello.bells = 0;
}

/* Who connected before he might write to any pool greets once more when he opens the first that he may. */
START_TEST(who_is_given_the_bells_later_waits_for_a_worker_too)
{
    fake.lie = no_bells;
    struct numapool_client *client = connected();
    fake.lie = NULL;
    fake.hang_ups[NP_WIRE_HELLO] = 3;
    struct numapool_pool *pool = opened(client);
    use(pool);
    ck_assert_uint_eq(asked(NP_WIRE_HELLO), 5);
    ck_assert_int_eq(numapool_close(pool), 0);
    ck_assert_int_eq(numapool_disconnect(client), 0);
}
END_TEST

static void is_client_no_more(struct np_wire_answer *answer)
{
    if (answer->operation == NP_WIRE_HELLO) {
        answer->result = -ESTALE;
        answer->descriptors = 0;
    }
}

static void count_errors(void *count, int level, const char *line)
{
    (void)line;
    *(unsigned *)count += level == NUMAPOOL_LOG_ERROR;
}

/* A worker that dies between hearing it and answering is followed by one that knows no such client. */
START_TEST(a_goodbye_that_was_heard_and_not_answered_is_no_error)
{
    unsigned errors = 0;
    struct numapool_client *client = connected();
    ck_assert_int_eq(numapool_log_set(NUMAPOOL_LOG_ERROR, count_errors, &errors), 0);
    fake.hang_ups[NP_WIRE_GOODBYE] = 1;
    fake.lie = is_client_no_more;
    ck_assert_int_eq(numapool_disconnect(client), 0);
    ck_assert_uint_eq(asked(NP_WIRE_HELLO), 2);
    ck_assert_uint_eq(errors, 0);
    numapool_log_set(NUMAPOOL_LOG_ERROR, NULL, NULL);
}
END_TEST

START_TEST(a_program_that_closes_all_descriptors_goes_on)
{
    struct numapool_client *client = connected();
    close(client->fd);
    struct numapool_pool *pool = opened(client);
    close(client->fd); /* and its number goes to another file */
    int other = open("/dev/null", O_RDWR | O_CLOEXEC);
    ck_assert_int_eq(other, client->fd);
    ck_assert_int_eq(numapool_close(pool), 0);
    struct stat status;
    ck_assert_int_eq(fstat(other, &status), 0);
    ck_assert_msg(S_ISCHR(status.st_mode), "a descriptor of the program's own was closed");
    close(other);
    ck_assert_int_eq(numapool_disconnect(client), 0);
}
END_TEST

START_TEST(a_daemon_that_is_gone_is_said_and_the_memory_goes_on_working)
{
    struct numapool_client *client = connected();
    struct numapool_pool *pool = opened(client), *other;
    stop_daemon();
    int64_t begin_ns = np_monotonic_ns();
    ck_assert_int_eq(numapool_open(client, "other", 0, &other), -ENOTCONN);
    ck_assert_int_ge(np_monotonic_ns() - begin_ns, NP_SESSION_PATIENT_NS);
    says(fake.path);
    says("goes on working");
    use(pool);
    begin_ns = np_monotonic_ns();
    ck_assert_int_eq(numapool_close(pool), 0);
    ck_assert_int_eq(numapool_disconnect(client), 0);
    ck_assert_int_lt(np_monotonic_ns() - begin_ns, NP_SESSION_PATIENT_NS / 2);
    listen_again();
}
END_TEST

START_TEST(a_daemon_that_comes_back_in_time_is_found_again)
{
    struct numapool_client *client = connected();
    struct numapool_pool *pool = opened(client);
    stop_daemon();
    listen_again();
    ck_assert_int_eq(numapool_close(pool), 0);
    ck_assert_uint_eq(asked(NP_WIRE_POOL_CLOSE), 1);
    ck_assert_int_eq(numapool_disconnect(client), 0);
}
END_TEST

START_TEST(another_daemon_makes_the_session_stale_for_ever)
{
    struct numapool_client *client = connected();
    struct numapool_pool *pool = opened(client), *other = NULL;
    struct numapool_sender *sender;
    stop_daemon();
    memset(fake.uuid, 2, sizeof fake.uuid);
    listen_again();
    ck_assert_int_eq(numapool_sender_open(pool, "in", NULL, &sender), -ESTALE);
    says("'pay'");
    says("close");
    ck_assert_int_eq(numapool_open(client, "other", 0, &other), -ESTALE);
    says("connect again");
    ck_assert_int_eq(numapool_open(client, "pay", 0, &other), -ESTALE);
    unsigned connections = atomic_load_explicit(&fake.connections, memory_order_acquire);
    use(pool);
    ck_assert_int_eq(numapool_close(pool), 0);
    ck_assert_int_eq(numapool_disconnect(client), 0);
    ck_assert_uint_eq(atomic_load_explicit(&fake.connections, memory_order_acquire), connections);
    client = connected();
    ck_assert_int_eq(numapool_close(opened(client)), 0);
    ck_assert_int_eq(numapool_disconnect(client), 0);
}
END_TEST

/* A receiver that nobody here knows of would be given messages that it never reads. */
START_TEST(an_endpoint_whose_closing_was_not_heard_is_closed_later)
{
    struct numapool_client *client = connected();
    struct numapool_pool *pool = opened(client), *other;
    struct numapool_sender *sender;
    ck_assert_msg(numapool_sender_open(pool, "in", NULL, &sender) == 0, "%s", numapool_errormsg());
    stop_daemon();
    ck_assert_int_eq(numapool_sender_close(sender, 0), 0);
    ck_assert_uint_eq(asked(NP_WIRE_ENDPOINT_CLOSE), 0);
    ck_assert_int_eq(numapool_sender_open(pool, "in", NULL, &sender), -ENOTCONN);
    listen_again();
    ck_assert_int_eq(numapool_open(client, "other", 0, &other), 0);
    ck_assert_uint_eq(asked(NP_WIRE_ENDPOINT_CLOSE), 2); /* of the first, and of the one whose opening nobody answered */
    ck_assert_uint_eq(asked(NP_WIRE_ENDPOINT_OPEN), 2);
    ck_assert_int_eq(numapool_close(other), 0);
    ck_assert_int_eq(numapool_close(pool), 0);
    ck_assert_int_eq(numapool_disconnect(client), 0);
}
END_TEST

/* ---------------------------------------------------------------- lies */


static void lie_about_arenas(struct np_wire_answer *a) { if (a->operation == NP_WIRE_POOL_OPEN) a->of.pool_open.arenas = 65; }
static void lie_no_arenas(struct np_wire_answer *a) { if (a->operation == NP_WIRE_POOL_OPEN) a->of.pool_open.arenas = 0; }
static void lie_slot_bytes(struct np_wire_answer *a) { if (a->operation == NP_WIRE_POOL_OPEN) a->of.pool_open.slot_bytes = UINT64_MAX; }
static void lie_no_slot_bytes(struct np_wire_answer *a) { if (a->operation == NP_WIRE_POOL_OPEN) a->of.pool_open.slot_bytes = 0; }
static void lie_pool_number(struct np_wire_answer *a) { if (a->operation == NP_WIRE_POOL_OPEN) a->of.pool_open.pool = NP_POOLS_MAX; }
static void lie_no_account(struct np_wire_answer *a) { if (a->operation == NP_WIRE_POOL_OPEN) a->descriptors = 0; }
static void lie_many_arenas(struct np_wire_answer *a) { if (a->operation == NP_WIRE_POOL_OPEN) a->of.pool_open.arenas = 33; }
static void lie_no_slots(struct np_wire_answer *a) { if (a->operation == NP_WIRE_POOL_MEMORY) a->of.pool_memory.slots = 0; }
static void lie_more_slots(struct np_wire_answer *a) { if (a->operation == NP_WIRE_POOL_MEMORY) a->of.pool_memory.slots = SLOTS + 1; }
static void lie_fewer_slots(struct np_wire_answer *a) { if (a->operation == NP_WIRE_POOL_MEMORY) a->of.pool_memory.slots = SLOTS - 1; }
static void lie_wild_slots(struct np_wire_answer *a) { if (a->operation == NP_WIRE_POOL_MEMORY) a->of.pool_memory.slots = UINT64_MAX / 64; }
static void lie_data_bytes(struct np_wire_answer *a) { if (a->operation == NP_WIRE_POOL_MEMORY) a->of.pool_memory.data_bytes += 4096; }
static void lie_odd_data_bytes(struct np_wire_answer *a) { if (a->operation == NP_WIRE_POOL_MEMORY) a->of.pool_memory.data_bytes += 1; }
static void lie_few_data_bytes(struct np_wire_answer *a) { if (a->operation == NP_WIRE_POOL_MEMORY) a->of.pool_memory.data_bytes = 4096; }
static void lie_meta_bytes(struct np_wire_answer *a) { if (a->operation == NP_WIRE_POOL_MEMORY) a->of.pool_memory.meta_bytes = 4096; }
static void lie_no_meta(struct np_wire_answer *a) { if (a->operation == NP_WIRE_POOL_MEMORY) a->of.pool_memory.meta_bytes = 0; }
static void lie_page_bytes(struct np_wire_answer *a) { if (a->operation == NP_WIRE_POOL_MEMORY) a->of.pool_memory.page_bytes = 0; }
static void lie_node(struct np_wire_answer *a) { if (a->operation == NP_WIRE_POOL_MEMORY) a->of.pool_memory.node = -7; }
static void lie_one_memory(struct np_wire_answer *a) { if (a->operation == NP_WIRE_POOL_MEMORY) a->descriptors = 1; }

static void (*const pool_lies[])(struct np_wire_answer *) = {
    lie_about_arenas, lie_no_arenas, lie_slot_bytes, lie_no_slot_bytes, lie_pool_number, lie_no_account, lie_many_arenas,
    lie_no_slots, lie_more_slots, lie_fewer_slots, lie_wild_slots, lie_data_bytes, lie_odd_data_bytes,
    lie_few_data_bytes, lie_meta_bytes, lie_no_meta,
    lie_page_bytes, lie_node, lie_one_memory,
};

START_TEST(a_pool_described_wrongly_is_refused_and_nothing_is_left_mapped)
{
    struct numapool_client *client = connected();
    struct numapool_pool *pool = NULL;
    unsigned before = open_descriptors();
    fake.lie = pool_lies[_i];
    int result = numapool_open(client, "pay", 0, &pool);
    ck_assert_msg(result == -EBADMSG || result == -EPROTO, "lie %d: %d %s", _i, result, numapool_errormsg());
    ck_assert_uint_gt(strlen(numapool_errormsg()), 30);
    ck_assert_ptr_null(pool);
    ck_assert_uint_eq(open_descriptors(), before);
    fake.lie = NULL;
    ck_assert_int_eq(numapool_close(opened(client)), 0);
    ck_assert_int_eq(numapool_disconnect(client), 0);
}
END_TEST

static void lie_number_zero(struct np_wire_answer *a) { if (a->operation == NP_WIRE_HELLO) a->of.hello.client = 0; }
static void lie_number(struct np_wire_answer *a) { if (a->operation == NP_WIRE_HELLO) a->of.hello.client = 60000; }
static void lie_bells(struct np_wire_answer *a) { if (a->operation == NP_WIRE_HELLO) a->of.hello.bells = UINT32_MAX; }
static void lie_few_bells(struct np_wire_answer *a) { if (a->operation == NP_WIRE_HELLO) a->of.hello.bells = 1; }
static void lie_limits(struct np_wire_answer *a) { if (a->operation == NP_WIRE_HELLO) a->of.hello.limits.endpoints = UINT32_MAX; }
/* "a page of your own": but the descriptor is the table's, or of something that is no memory */
static void lie_no_page(struct np_wire_answer *a) { if (a->operation == NP_WIRE_HELLO) a->of.hello.bells = 0, a->descriptors = 0; }
static void lie_no_bells(struct np_wire_answer *a) { if (a->operation == NP_WIRE_HELLO) a->descriptors = 0; }
static void lie_magic(struct np_wire_answer *a) { if (a->operation == NP_WIRE_HELLO) a->magic++; }

static void (*const hello_lies[])(struct np_wire_answer *) = {
    lie_number_zero, lie_number, lie_bells, lie_few_bells, lie_limits, lie_no_bells, lie_no_page, lie_magic,
};

START_TEST(a_greeting_that_does_not_agree_is_refused)
{
    struct numapool_client *client = NULL;
    fake.lie = hello_lies[_i];
    ck_assert_msg(numapool_connect(&client, fake.path) == -EPROTO, "lie %d: %s", _i, numapool_errormsg());
    ck_assert_uint_gt(strlen(numapool_errormsg()), 30);
    ck_assert_ptr_null(client);
}
END_TEST

static void lie_stamp(struct np_wire_answer *a) { if (a->operation == NP_WIRE_NEXT_LANE) a->of.next_lane.stamp = 0; }
static void lie_lane(struct np_wire_answer *a) { if (a->operation == NP_WIRE_NEXT_LANE) a->of.next_lane.lane = LANE + 1; }
static void lie_lane_zero(struct np_wire_answer *a) { if (a->operation == NP_WIRE_NEXT_LANE) a->of.next_lane.lane = 0; }
static void lie_capacity(struct np_wire_answer *a) { if (a->operation == NP_WIRE_NEXT_LANE) a->of.next_lane.capacity = LANE_SLOTS * 1024; }
static void lie_odd_capacity(struct np_wire_answer *a) { if (a->operation == NP_WIRE_NEXT_LANE) a->of.next_lane.capacity = LANE_SLOTS - 1; }
static void lie_wild_capacity(struct np_wire_answer *a) { if (a->operation == NP_WIRE_NEXT_LANE) a->of.next_lane.capacity = UINT32_MAX; }
static void lie_state(struct np_wire_answer *a) { if (a->operation == NP_WIRE_NEXT_LANE) a->of.next_lane.state = 9; }
static void lie_bell(struct np_wire_answer *a) { if (a->operation == NP_WIRE_ENDPOINT_OPEN) a->of.endpoint_open.bell = 1u << 30; }

static void (*const lane_lies[])(struct np_wire_answer *) = {
    lie_stamp, lie_lane_zero, lie_capacity, lie_odd_capacity, lie_wild_capacity, lie_state, lie_bell,
};

START_TEST(a_lane_described_wrongly_is_refused)
{
    struct numapool_client *client = connected();
    struct numapool_pool *pool = opened(client);
    struct numapool_sender *sender = NULL;
    unsigned before = open_descriptors();
    fake.lie = lane_lies[_i];
    int result = numapool_sender_open(pool, "in", NULL, &sender);
    ck_assert_msg(result == -EBADMSG || result == -EINVAL, "lie %d: %d %s", _i, result, numapool_errormsg());
    ck_assert_uint_eq(open_descriptors(), before);
    ck_assert_int_eq(numapool_close(pool), 0);
    ck_assert_int_eq(numapool_disconnect(client), 0);
}
END_TEST

START_TEST(a_lane_whose_header_was_scribbled_over_is_left_out)
{
    struct numapool_client *client = connected();
    struct numapool_pool *pool = opened(client);
    struct numapool_sender *sender = NULL;
    unsigned before = open_descriptors();
    fake.lie = lie_lane; /* what stands in its memory does not fit what the daemon says */
    ck_assert_int_eq(numapool_sender_open(pool, "in", NULL, &sender), 0);
    ck_assert_uint_eq(open_descriptors(), before);
    struct numapool_msg message = { .data = numapool_loan(sender), .length = 1 };
    ck_assert_int_eq(numapool_send(sender, &message, 0), -EAGAIN); /* there is no other */
    ck_assert_int_eq(numapool_unloan(sender, message.data), 0);
    ck_assert_int_eq(numapool_sender_close(sender, 0), 0);
    ck_assert_int_eq(numapool_close(pool), 0);
    ck_assert_int_eq(numapool_disconnect(client), 0);
}
END_TEST

static void refuse_pool(struct np_wire_answer *answer)
{
    if (answer->operation != NP_WIRE_POOL_OPEN)
        return;
    answer->result = -ENOENT;
    answer->descriptors = 0;
    strcpy(answer->sentence, "there is no pool 'pay': start numapoold with --pool pay,...");
}

START_TEST(what_the_daemon_says_against_it_reaches_the_caller)
{
    struct numapool_client *client = connected();
    struct numapool_pool *pool = NULL;
    fake.lie = refuse_pool;
    ck_assert_int_eq(numapool_open(client, "pay", 0, &pool), -ENOENT);
    says("start numapoold with --pool");
    ck_assert_uint_eq(asked(NP_WIRE_POOL_OPEN), 1);
    ck_assert_int_eq(numapool_disconnect(client), 0);
}
END_TEST

/* ---------------------------------------------------------------- fork */

START_TEST(a_forked_child_is_refused_and_the_parent_goes_on)
{
    struct numapool_client *client = connected();
    struct numapool_pool *pool = opened(client), *other = NULL;
    pid_t child = fork();
    if (child == 0) {
        bool refused = numapool_client_id(client) == -EINVAL && strstr(numapool_errormsg(), "forked") &&
                       numapool_open(client, "pay", 0, &other) == -EINVAL && numapool_disconnect(client) == -EINVAL &&
                       numapool_close(pool) == -EINVAL && numapool_slot_bytes(pool) == 0;
        _exit(refused ? 0 : 1);
    }
    int status;
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert_int_eq(status, 0);
    use(pool);
    ck_assert_int_eq(numapool_close(pool), 0);
    ck_assert_int_eq(numapool_disconnect(client), 0);
}
END_TEST

/* ---------------------------------------------------------------- threads */

static void *open_and_close(void *argument)
{
    for (unsigned i = 0; i < 200; i++) {
        struct numapool_pool *pool = opened(argument);
        use(pool);
        ck_assert_int_eq(numapool_close(pool), 0);
    }
    return NULL;
}

START_TEST(threads_open_and_close_the_same_pool)
{
    struct numapool_client *client = connected();
    pthread_t threads[3];
    for (unsigned i = 0; i < 3; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, open_and_close, client), 0);
    for (unsigned i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    ck_assert_uint_eq(asked(NP_WIRE_POOL_OPEN), asked(NP_WIRE_POOL_CLOSE));
    ck_assert_int_eq(numapool_disconnect(client), 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("session against a made-up daemon");
    TCase *all = tcase_create("all");
    tcase_set_timeout(all, 60);
    tcase_add_checked_fixture(all, start, end);
    tcase_add_test(all, a_pool_is_opened_used_and_closed_and_nothing_is_left);
    tcase_add_test(all, opening_again_gives_the_same_pool_and_wants_as_many_closes);
    tcase_add_test(all, a_pool_in_use_is_not_closed);
    tcase_add_test(all, arguments_are_checked_before_the_daemon_is_asked);
    tcase_add_test(all, a_request_whose_connection_breaks_is_asked_again);
    tcase_add_test(all, a_first_greeting_that_breaks_is_repeated);
    tcase_add_test(all, who_is_not_answered_asks_again_on_another_connection);
    tcase_add_test(all, who_is_given_the_bells_later_waits_for_a_worker_too);
    tcase_add_test(all, a_goodbye_that_was_heard_and_not_answered_is_no_error);
    tcase_add_test(all, a_program_that_closes_all_descriptors_goes_on);
    tcase_add_test(all, a_daemon_that_is_gone_is_said_and_the_memory_goes_on_working);
    tcase_add_test(all, a_daemon_that_comes_back_in_time_is_found_again);
    tcase_add_test(all, another_daemon_makes_the_session_stale_for_ever);
    tcase_add_test(all, an_endpoint_whose_closing_was_not_heard_is_closed_later);
    tcase_add_loop_test(all, a_pool_described_wrongly_is_refused_and_nothing_is_left_mapped, 0,
                        (int)(sizeof pool_lies / sizeof pool_lies[0]));
    tcase_add_loop_test(all, a_greeting_that_does_not_agree_is_refused, 0, (int)(sizeof hello_lies / sizeof hello_lies[0]));
    tcase_add_loop_test(all, a_lane_described_wrongly_is_refused, 0, (int)(sizeof lane_lies / sizeof lane_lies[0]));
    tcase_add_test(all, a_lane_whose_header_was_scribbled_over_is_left_out);
    tcase_add_test(all, what_the_daemon_says_against_it_reaches_the_caller);
    tcase_add_test(all, a_forked_child_is_refused_and_the_parent_goes_on);
    tcase_add_test(all, threads_open_and_close_the_same_pool);
    suite_add_tcase(suite, all);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
