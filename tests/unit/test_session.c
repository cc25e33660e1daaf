/* SPDX-License-Identifier: MIT
 * Sessions with the real daemon, which is found in $NUMAPOOL_BUILD or two directories above this program. */
#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "numapool.h"
#include "service/wire.h"

enum { SLOTS = 4096 };
#define SECOND_NS INT64_C(1000000000)

static char program[4096], directory[64], socket_path[96];
static pid_t keeper;

/* ---------------------------------------------------------------- the daemon */

static bool find_program(void)
{
    const char *build = getenv("NUMAPOOL_BUILD");
    char own[2048];
    ssize_t length = readlink("/proc/self/exe", own, sizeof own - 1);
    if (build && *build)
        snprintf(program, sizeof program, "%s/numapoold", build);
    if (build && *build && access(program, X_OK) == 0)
        return true;
    for (unsigned up = 1; length > 0 && up <= 3; up++) {
        own[length] = 0;
        char *slash = strrchr(own, '/');
        if (!slash)
            break;
        *slash = 0;
        length = slash - own;
        snprintf(program, sizeof program, "%s/numapoold", own);
        if (access(program, X_OK) == 0)
            return true;
    }
    return false;
}

static void start_daemon(void)
{
    int ready[2];
    char number[16];
    ck_assert_int_eq(pipe(ready), 0);
    fcntl(ready[0], F_SETFD, FD_CLOEXEC);
    snprintf(number, sizeof number, "%d", ready[1]);
    keeper = fork();
    if (keeper == 0) {
        execl(program, program, "--socket", socket_path, "--pool", "pay,size=128,count=4K", "--pool", "other,size=64,count=256",
              "--log", "warn", "--ready-fd", number, (char *)NULL);
        _exit(127);
    }
    close(ready[1]);
    struct pollfd wait = { .fd = ready[0], .events = POLLIN };
    char byte;
    ck_assert_msg(poll(&wait, 1, 20000) == 1 && read(ready[0], &byte, 1) == 1, "%s did not become ready", program);
    close(ready[0]);
}

/* The keeper's only child. */
static pid_t worker(void)
{
    DIR *processes = opendir("/proc");
    struct dirent *entry;
    pid_t found = 0;
    while (found == 0 && (entry = readdir(processes)) != NULL) {
        char path[300], line[512] = "";
        int pid = atoi(entry->d_name), parent = 0;
        snprintf(path, sizeof path, "/proc/%d/stat", pid);
        FILE *file = pid > 0 ? fopen(path, "re") : NULL;
        if (!file)
            continue;
        char *end = fgets(line, sizeof line, file) ? strrchr(line, ')') : NULL; /* the name before it may hold anything */
        if (end && sscanf(end, ") %*c %d", &parent) == 1 && parent == keeper)
            found = pid;
        fclose(file);
    }
    closedir(processes);
    return found;
}

static void kill_worker(void)
{
    pid_t old = worker();
    ck_assert_int_gt(old, 0);
    ck_assert_int_eq(kill(old, SIGKILL), 0);
}

/* Nothing of it runs to the end of any handler. */
static void kill_daemon(void)
{
    pid_t old = worker();
    kill(keeper, SIGSTOP); /* so that it starts no other worker meanwhile */
    if (old > 0)
        kill(old, SIGKILL);
    kill(keeper, SIGKILL);
    waitpid(keeper, NULL, 0);
    keeper = 0;
}

static void start(void)
{
    strcpy(directory, "/tmp/numapool-session-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(directory));
    snprintf(socket_path, sizeof socket_path, "%s/socket", directory);
    start_daemon();
}

static void end(void)
{
    if (keeper > 0) {
        int status;
        kill(keeper, SIGTERM);
        ck_assert_int_eq(waitpid(keeper, &status, 0), keeper);
        ck_assert_int_eq(status, 0);
    }
    unlink(socket_path);
    strcat(socket_path, ".lock");
    unlink(socket_path);
    ck_assert_int_eq(rmdir(directory), 0);
}

/* ---------------------------------------------------------------- help */

static void works(int result)
{
    ck_assert_msg(result >= 0, "%d: %s", result, numapool_errormsg());
}

static void says(const char *what)
{
    ck_assert_msg(strstr(numapool_errormsg(), what) != NULL, "'%s' does not say '%s'", numapool_errormsg(), what);
}

static struct numapool_client *connected(void)
{
    struct numapool_client *client = NULL;
    works(numapool_connect(&client, socket_path));
    return client;
}

static struct numapool_pool *opened(struct numapool_client *client, const char *name)
{
    struct numapool_pool *pool = NULL;
    works(numapool_open(client, name, 0, &pool));
    return pool;
}

static void use(struct numapool_pool *pool)
{
    struct numapool_magazine *magazine;
    void *slots[100];
    works(numapool_magazine_open(pool, NUMAPOOL_ANY_NODE, 0, &magazine));
    works(numapool_get_bulk(magazine, slots, 100));
    for (unsigned i = 0; i < 100; i++) {
        memset(slots[i], (int)i, 128);
        works(numapool_put(magazine, slots[i]));
    }
    works(numapool_magazine_close(magazine));
}

static void send_one(struct numapool_sender *sender, uint64_t id)
{
    struct numapool_msg message = { .data = numapool_loan(sender), .length = 8, .id = id };
    ck_assert_ptr_nonnull(message.data);
    memcpy(message.data, &id, sizeof id);
    works(numapool_send(sender, &message, SECOND_NS));
}

static void receive_one(struct numapool_receiver *receiver, uint64_t id)
{
    struct numapool_msg message;
    int result = numapool_receive(receiver, &message, 1, 5 * SECOND_NS);
    ck_assert_msg(result == 1, "%d: %s", result, numapool_errormsg());
    ck_assert_uint_eq(message.id, id);
    ck_assert_mem_eq(message.data, &id, sizeof id);
    works(numapool_release(receiver, &message, 1));
}

/* ---------------------------------------------------------------- the ordinary way */

START_TEST(a_pool_of_the_daemon_is_opened_used_and_closed)
{
    struct numapool_client *client = connected();
    ck_assert_int_ge(numapool_client_id(client), 1);
    struct numapool_pool *pool = opened(client, "pay");
    ck_assert_int_eq(numapool_pool_mode(pool), NUMAPOOL_MODE_DIRECT);
    ck_assert_uint_eq(numapool_slot_bytes(pool), 128);
    use(pool);
    works(numapool_close(pool));
    works(numapool_disconnect(client));
}
END_TEST

START_TEST(an_unknown_pool_is_named)
{
    struct numapool_client *client = connected();
    struct numapool_pool *pool = NULL;
    ck_assert_int_eq(numapool_open(client, "nowhere", 0, &pool), -ENOENT);
    says("nowhere");
    ck_assert_ptr_null(pool);
    works(numapool_disconnect(client));
}
END_TEST

START_TEST(opening_again_gives_the_same_pool)
{
    struct numapool_client *client = connected();
    struct numapool_pool *pool = opened(client, "pay"), *again = NULL, *other = opened(client, "other");
    works(numapool_open(client, "pay", NUMAPOOL_PREFAULT, &again));
    ck_assert_ptr_eq(pool, again);
    ck_assert_ptr_ne(pool, other);
    ck_assert_int_eq(numapool_disconnect(client), -EBUSY);
    says("'pay'");
    says("'other'");
    works(numapool_close(pool));
    use(pool);
    works(numapool_close(pool));
    works(numapool_close(other));
    works(numapool_disconnect(client));
}
END_TEST

START_TEST(who_disconnects_keeps_nothing)
{
    struct numapool_client *client = connected(), *next = connected();
    struct numapool_pool *pool = opened(client, "pay");
    struct numapool_magazine *magazine;
    static void *slots[SLOTS];
    works(numapool_magazine_open(pool, NUMAPOOL_ANY_NODE, 0, &magazine));
    works(numapool_get_bulk(magazine, slots, SLOTS));
    works(numapool_magazine_close(magazine));
    works(numapool_close(pool));
    works(numapool_disconnect(client));
    pool = opened(next, "pay");
    works(numapool_magazine_open(pool, NUMAPOOL_ANY_NODE, 0, &magazine));
    works(numapool_get_bulk(magazine, slots, SLOTS));
    works(numapool_put_bulk(magazine, slots, SLOTS));
    works(numapool_magazine_close(magazine));
    works(numapool_close(pool));
    works(numapool_disconnect(next));
}
END_TEST

START_TEST(two_connections_of_one_process_are_two_clients)
{
    struct numapool_client *first = connected(), *second = connected();
    ck_assert_int_ne(numapool_client_id(first), numapool_client_id(second));
    struct numapool_pool *from = opened(first, "pay"), *to = opened(second, "pay");
    struct numapool_sender *sender;
    struct numapool_receiver *receiver;
    ck_assert_ptr_ne(from, to);
    works(numapool_sender_open(from, "in", NULL, &sender));
    works(numapool_receiver_open(to, "in", NULL, &receiver));
    for (uint64_t id = 1; id <= 5000; id++) {
        send_one(sender, id);
        receive_one(receiver, id);
    }
    works(numapool_receiver_close(receiver));
    works(numapool_sender_close(sender, 0));
    works(numapool_close(from));
    works(numapool_close(to));
    works(numapool_disconnect(first));
    works(numapool_disconnect(second));
}
END_TEST

/* ---------------------------------------------------------------- deaths */

START_TEST(no_daemon_is_said_with_the_path_and_the_remedy)
{
    struct numapool_client *client = NULL;
    kill_daemon();
    ck_assert_int_eq(numapool_connect(&client, socket_path), -ECONNREFUSED);
    says(socket_path);
    says("start it");
    ck_assert_int_eq(numapool_connect(&client, "/nonexistent/socket"), -ENOENT);
    says("/nonexistent/socket");
    ck_assert_ptr_null(client);
}
END_TEST

START_TEST(when_the_worker_is_killed_the_next_call_works)
{
    struct numapool_client *client = connected();
    int id = numapool_client_id(client);
    struct numapool_pool *pool = opened(client, "pay");
    struct numapool_sender *sender;
    struct numapool_receiver *receiver;
    for (uint64_t round = 1; round <= 5; round++) {
        kill_worker();
        works(numapool_sender_open(pool, "in", NULL, &sender));
        works(numapool_receiver_open(pool, "in", NULL, &receiver));
        send_one(sender, round);
        kill_worker();
        use(pool);
        receive_one(receiver, round);
        works(numapool_receiver_close(receiver));
        works(numapool_sender_close(sender, SECOND_NS));
        works(numapool_close(opened(client, "other")));
        ck_assert_int_eq(numapool_client_id(client), id);
    }
    kill_worker();
    works(numapool_close(pool));
    works(numapool_disconnect(client));
    works(numapool_disconnect(connected()));
}
END_TEST

START_TEST(what_a_killed_client_held_comes_back)
{
    struct numapool_client *client = connected();
    struct numapool_pool *pool = opened(client, "other");
    struct numapool_magazine *magazine;
    static void *slots[256];
    int holds[2];
    char byte;
    ck_assert_int_eq(pipe(holds), 0);
    pid_t child = fork();
    if (child == 0) {
        struct numapool_client *own;
        struct numapool_pool *opened_pool;
        if (numapool_connect(&own, socket_path) == 0 && numapool_open(own, "other", 0, &opened_pool) == 0 &&
            numapool_magazine_open(opened_pool, NUMAPOOL_ANY_NODE, 0, &magazine) == 0 &&
            numapool_get_bulk(magazine, slots, 256) == 0 && write(holds[1], "", 1) == 1)
            pause();
        _exit(1);
    }
    close(holds[1]);
    ck_assert_int_eq(read(holds[0], &byte, 1), 1);
    close(holds[0]);
    works(numapool_magazine_open(pool, NUMAPOOL_ANY_NODE, 0, &magazine));
    ck_assert_ptr_null(numapool_get(magazine));
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    works(numapool_get_wait(magazine, &slots[0], 5 * SECOND_NS));
    works(numapool_put(magazine, slots[0]));
    works(numapool_get_bulk(magazine, slots, 256));
    works(numapool_put_bulk(magazine, slots, 256));
    works(numapool_magazine_close(magazine));
    works(numapool_close(pool));
    works(numapool_disconnect(client));
}
END_TEST

START_TEST(a_session_that_outlives_its_daemon_is_stale_and_says_so)
{
    struct numapool_client *client = connected();
    struct numapool_pool *pool = opened(client, "pay"), *other = NULL;
    struct numapool_sender *sender = NULL;
    kill_daemon();
    use(pool);
    start_daemon();
    ck_assert_int_eq(numapool_sender_open(pool, "in", NULL, &sender), -ESTALE);
    says("'pay'");
    says("close");
    ck_assert_int_eq(numapool_open(client, "other", 0, &other), -ESTALE);
    use(pool);
    works(numapool_close(pool));
    works(numapool_disconnect(client));
    client = connected();
    pool = opened(client, "pay");
    use(pool);
    works(numapool_close(pool));
    works(numapool_disconnect(client));
}
END_TEST

START_TEST(a_forked_child_is_refused_and_may_connect_anew)
{
    struct numapool_client *client = connected();
    int id = numapool_client_id(client);
    struct numapool_pool *pool = opened(client, "pay");
    struct numapool_magazine *magazine;
    works(numapool_magazine_open(pool, NUMAPOOL_ANY_NODE, 0, &magazine));
    void *slot = numapool_get(magazine);
    ck_assert_ptr_nonnull(slot);
    pid_t child = fork();
    if (child == 0) {
        struct numapool_pool *other = NULL;
        if (numapool_client_id(client) != -EINVAL || !strstr(numapool_errormsg(), "forked") ||
            numapool_open(client, "pay", 0, &other) != -EINVAL || numapool_close(pool) != -EINVAL ||
            numapool_disconnect(client) != -EINVAL || numapool_get(magazine) != NULL || numapool_put(magazine, slot) != -EINVAL)
            _exit(1);
        struct numapool_client *own;
        if (numapool_connect(&own, socket_path) != 0 || numapool_client_id(own) == id)
            _exit(2);
        struct numapool_pool *own_pool;
        struct numapool_magazine *own_magazine;
        if (numapool_open(own, "pay", 0, &own_pool) != 0 || numapool_magazine_open(own_pool, NUMAPOOL_ANY_NODE, 0, &own_magazine) != 0)
            _exit(3);
        void *own_slot = numapool_get(own_magazine);
        if (!own_slot || numapool_put(own_magazine, own_slot) != 0 || numapool_magazine_close(own_magazine) != 0 ||
            numapool_close(own_pool) != 0 || numapool_disconnect(own) != 0)
            _exit(4);
        _exit(0);
    }
    int status;
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert_int_eq(WEXITSTATUS(status), 0);
    ck_assert_int_eq(status, 0);
    works(numapool_put(magazine, slot));
    works(numapool_magazine_close(magazine));
    use(pool);
    works(numapool_close(pool));
    works(numapool_disconnect(client));
}
END_TEST

/* As a library does whose daemon's worker died after it had admitted it and before it could say so. */
static uint32_t admitted(uint64_t tag)
{
    static uint64_t number;
    struct np_wire_request request = { .magic = NP_WIRE_MAGIC, .operation = NP_WIRE_HELLO, .number = ++number };
    struct np_wire_answer answer;
    int fds[NP_WIRE_FDS_MAX], connection = np_wire_connect(socket_path);
    request.of.hello.layout = np_wire_layout();
    request.of.hello.cookie = tag;
    ck_assert_int_ge(connection, 0);
    ck_assert_int_eq(np_wire_call(connection, &request, &answer, fds, 10 * SECOND_NS), 0);
    ck_assert_msg(answer.result == 0, "%s", answer.sentence);
    ck_assert_uint_eq(answer.of.hello.cookie, tag);
    close(fds[0]);
    return answer.of.hello.client; /* the connection stays: one that has nothing mapped and hangs up is soon gone */
}

START_TEST(who_asks_again_to_be_admitted_is_the_same_client)
{
    uint32_t first = admitted(77);
    ck_assert_uint_ne(admitted(78), first);
    kill_worker();
    ck_assert_uint_eq(admitted(77), first);
    ck_assert_uint_eq(admitted(77), first);
}
END_TEST

int main(void)
{
    if (!find_program()) {
        fprintf(stderr, "numapoold is neither in $NUMAPOOL_BUILD nor above this program: build it first\n");
        return 1;
    }
    Suite *suite = suite_create("session");
    TCase *all = tcase_create("all");
    tcase_set_timeout(all, 60);
    tcase_add_checked_fixture(all, start, end);
    tcase_add_test(all, a_pool_of_the_daemon_is_opened_used_and_closed);
    tcase_add_test(all, an_unknown_pool_is_named);
    tcase_add_test(all, opening_again_gives_the_same_pool);
    tcase_add_test(all, who_disconnects_keeps_nothing);
    tcase_add_test(all, two_connections_of_one_process_are_two_clients);
    tcase_add_test(all, who_asks_again_to_be_admitted_is_the_same_client);
    tcase_add_test(all, no_daemon_is_said_with_the_path_and_the_remedy);
    tcase_add_test(all, when_the_worker_is_killed_the_next_call_works);
    tcase_add_test(all, what_a_killed_client_held_comes_back);
    tcase_add_test(all, a_session_that_outlives_its_daemon_is_stale_and_says_so);
    tcase_add_test(all, a_forked_child_is_refused_and_may_connect_anew);
    suite_add_tcase(suite, all);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
