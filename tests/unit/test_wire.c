/* SPDX-License-Identifier: MIT
 * What comes over the socket is looked at before it is believed, whatever it is and however long. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "core/bell.h"
#include "core/error.h"
#include "service/wire.h"

#define MILLISECOND_NS INT64_C(1000000)

static uint64_t random_state;

static uint64_t next_random(void) /* xorshift64: the same numbers in each run */
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

static struct np_wire_request request_of(uint32_t operation)
{
    return (struct np_wire_request){ .magic = NP_WIRE_MAGIC, .operation = operation, .number = 7 };
}

static struct np_wire_answer answer_to(const struct np_wire_request *request)
{
    return (struct np_wire_answer){ .magic = NP_WIRE_MAGIC, .number = request->number, .operation = request->operation };
}

/* ---------------------------------------------------------------- checking */

START_TEST(every_operation_is_a_request)
{
    for (uint32_t operation = 1; operation < NP_WIRE_OPERATIONS; operation++) {
        struct np_wire_request request = request_of(operation);
        ck_assert_int_eq(np_wire_check_request(&request, sizeof request), 0);
    }
}
END_TEST

START_TEST(requests_of_another_kind_are_refused_with_a_sentence)
{
    struct np_wire_request request = request_of(0);
    ck_assert_int_eq(np_wire_check_request(&request, sizeof request), -EPROTO);
    ck_assert_ptr_nonnull(strstr(np_error_sentence(), "operation 0"));
    request.operation = NP_WIRE_OPERATIONS;
    ck_assert_int_eq(np_wire_check_request(&request, sizeof request), -EPROTO);
    request = request_of(NP_WIRE_HELLO);
    request.magic ^= 1;
    ck_assert_int_eq(np_wire_check_request(&request, sizeof request), -EPROTO);
    ck_assert_ptr_nonnull(strstr(np_error_sentence(), "begins with"));
}
END_TEST

START_TEST(names_without_an_end_are_refused)
{
    struct np_wire_request request = request_of(NP_WIRE_HELLO);
    memset(request.of.hello.name, 'a', sizeof request.of.hello.name);
    ck_assert_int_eq(np_wire_check_request(&request, sizeof request), -EPROTO);
    request = request_of(NP_WIRE_POOL_OPEN);
    memset(request.of.pool_open.name, 'a', sizeof request.of.pool_open.name);
    ck_assert_int_eq(np_wire_check_request(&request, sizeof request), -EPROTO);
    request.of.pool_open.name[sizeof request.of.pool_open.name - 1] = 0;
    ck_assert_int_eq(np_wire_check_request(&request, sizeof request), 0);
    request = request_of(NP_WIRE_ENDPOINT_OPEN);
    memset(request.of.endpoint_open.channel, 'a', sizeof request.of.endpoint_open.channel);
    ck_assert_int_eq(np_wire_check_request(&request, sizeof request), -EPROTO);
    ck_assert_ptr_nonnull(strstr(np_error_sentence(), "has no end"));
}
END_TEST

/* Each message lies in memory of exactly its length, so that valgrind and ASan see a byte read beyond it. */
START_TEST(truncated_messages_are_refused_and_not_read_beyond)
{
    struct np_wire_request request = request_of(NP_WIRE_HELLO);
    struct np_wire_answer answer = answer_to(&request);
    for (size_t bytes = 0; bytes < sizeof answer; bytes++) {
        void *part = malloc(bytes ? bytes : 1);
        memcpy(part, &answer, bytes);
        ck_assert_int_eq(np_wire_check_answer(part, bytes, &request), -EPROTO);
        memcpy(part, &request, bytes < sizeof request ? bytes : sizeof request);
        if (bytes != sizeof request)
            ck_assert_int_eq(np_wire_check_request(part, bytes), -EPROTO);
        free(part);
    }
    ck_assert_int_eq(np_wire_check_request(NULL, 0), -EPROTO);
    ck_assert_int_eq(np_wire_check_answer(NULL, 0, &request), -EPROTO);
}
END_TEST

START_TEST(random_messages_are_judged_without_harm)
{
    const struct np_wire_request asked = request_of(NP_WIRE_NEXT_LANE);
    unsigned accepted = 0;
    random_state = 0x9e3779b97f4a7c15u;
    for (unsigned i = 0; i < 20000; i++) {
        size_t bytes = next_random() % 4 ? sizeof(struct np_wire_request) : next_random() % 1024;
        uint64_t *message = calloc(bytes / 8 + 1, 8);
        for (size_t word = 0; word < bytes / 8; word++)
            message[word] = next_random();
        if (next_random() % 2 && bytes >= 8) /* past the first check, so that the others are reached */
            message[0] = NP_WIRE_MAGIC | (next_random() % (NP_WIRE_OPERATIONS + 2)) << 32;
        int result = np_wire_check_request(message, bytes);
        ck_assert(result == 0 || result == -EPROTO);
        if (result < 0)
            ck_assert_uint_gt(strlen(np_error_sentence()), 20);
        accepted += result == 0;
        ck_assert_int_eq(np_wire_check_answer(message, bytes, &asked), -EPROTO);
        free(message);
    }
    ck_assert_uint_gt(accepted, 100);
}
END_TEST

START_TEST(an_answer_to_something_else_is_refused)
{
    struct np_wire_request request = request_of(NP_WIRE_POOL_OPEN);
    struct np_wire_answer answer = answer_to(&request);
    ck_assert_int_eq(np_wire_check_answer(&answer, sizeof answer, &request), 0);
    answer.number++;
    ck_assert_int_eq(np_wire_check_answer(&answer, sizeof answer, &request), -EPROTO);
    answer = answer_to(&request);
    answer.operation++;
    ck_assert_int_eq(np_wire_check_answer(&answer, sizeof answer, &request), -EPROTO);
    answer = answer_to(&request);
    answer.descriptors = NP_WIRE_FDS_MAX + 1;
    ck_assert_int_eq(np_wire_check_answer(&answer, sizeof answer, &request), -EPROTO);
    answer = answer_to(&request);
    answer.result = INT32_MIN; /* no errno: its absolute value is no number */
    ck_assert_int_eq(np_wire_check_answer(&answer, sizeof answer, &request), -EPROTO);
    answer = answer_to(&request);
    memset(answer.sentence, 'a', sizeof answer.sentence);
    ck_assert_int_eq(np_wire_check_answer(&answer, sizeof answer, &request), -EPROTO);
}
END_TEST

START_TEST(the_layout_has_one_fingerprint)
{
    ck_assert_uint_ne(np_wire_layout(), 0);
    ck_assert_uint_eq(np_wire_layout(), np_wire_layout());
}
END_TEST

/* ---------------------------------------------------------------- the default path */

START_TEST(the_default_path_is_the_documented_one)
{
    char path[108];
    setenv("NUMAPOOL_SOCKET", "/a/b", 1);
    setenv("XDG_RUNTIME_DIR", "/run/user/1", 1);
    ck_assert_int_eq(np_wire_default_path(path, sizeof path), 0);
    ck_assert_str_eq(path, "/a/b");
    setenv("NUMAPOOL_SOCKET", "", 1);
    ck_assert_int_eq(np_wire_default_path(path, sizeof path), 0);
    ck_assert_str_eq(path, "/run/user/1/numapool.sock");
    unsetenv("NUMAPOOL_SOCKET");
    unsetenv("XDG_RUNTIME_DIR");
    ck_assert_int_eq(np_wire_default_path(path, sizeof path), 0);
    ck_assert_str_eq(path, "/run/numapool/numapool.sock");
}
END_TEST

START_TEST(a_default_path_that_is_too_long_is_refused)
{
    char path[108], given[200];
    memset(given, 'x', sizeof given - 1);
    given[sizeof given - 1] = 0;
    setenv("NUMAPOOL_SOCKET", given, 1);
    ck_assert_int_eq(np_wire_default_path(path, sizeof path), -ENAMETOOLONG);
    ck_assert_ptr_nonnull(strstr(np_error_sentence(), "NUMAPOOL_SOCKET"));
    given[107] = 0; /* the longest that fits */
    setenv("NUMAPOOL_SOCKET", given, 1);
    ck_assert_int_eq(np_wire_default_path(path, sizeof path), 0);
    given[107] = 'x';
    given[108] = 0;
    setenv("NUMAPOOL_SOCKET", given, 1);
    ck_assert_int_eq(np_wire_default_path(path, sizeof path), -ENAMETOOLONG);
}
END_TEST

/* ---------------------------------------------------------------- connecting */

static char directory[64];

static void make_directory(void)
{
    strcpy(directory, "/tmp/numapool-wire-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(directory));
}

static void remove_directory(void)
{
    char path[96];
    snprintf(path, sizeof path, "%s/socket", directory);
    unlink(path);
    rmdir(directory);
}

static const char *socket_path(void)
{
    static char path[96];
    snprintf(path, sizeof path, "%s/socket", directory);
    return path;
}

static int bound_socket(int type)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    strcpy(address.sun_path, socket_path());
    int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    return fd;
}

static void fails_saying(int code, const char *what, const char *remedy)
{
    int result = np_wire_connect(socket_path());
    ck_assert_int_eq(result, code);
    ck_assert_msg(strstr(np_error_sentence(), what) != NULL, "'%s' does not say '%s'", np_error_sentence(), what);
    ck_assert_msg(strstr(np_error_sentence(), remedy) != NULL, "'%s' does not say '%s'", np_error_sentence(), remedy);
}

START_TEST(no_daemon_is_said_with_its_path_and_the_remedy)
{
    fails_saying(-ENOENT, socket_path(), "start it");
    int listening = bound_socket(SOCK_SEQPACKET); /* what a killed daemon leaves */
    fails_saying(-ECONNREFUSED, socket_path(), "start it");
    close(listening);
    fails_saying(-ECONNREFUSED, socket_path(), "NUMAPOOL_SOCKET");
}
END_TEST

START_TEST(something_else_that_listens_is_not_taken_for_the_daemon)
{
    int listening = bound_socket(SOCK_STREAM);
    ck_assert_int_eq(listen(listening, 1), 0);
    fails_saying(-EPROTO, "is not numapoold", "NUMAPOOL_SOCKET");
    close(listening);
}
END_TEST

START_TEST(a_socket_of_another_user_is_said)
{
    int listening = bound_socket(SOCK_SEQPACKET);
    ck_assert_int_eq(listen(listening, 1), 0);
    ck_assert_int_eq(chmod(socket_path(), 0), 0);
    uid_t user = geteuid();
    if (user == 0) /* who may open everything */
        ck_assert_int_eq(seteuid(65534), 0);
    fails_saying(-EACCES, socket_path(), "user");
    ck_assert_int_eq(seteuid(user), 0);
    close(listening);
}
END_TEST

START_TEST(a_path_too_long_for_a_socket_is_said)
{
    char path[300];
    memset(path, 'y', sizeof path - 1);
    path[sizeof path - 1] = 0;
    ck_assert_int_eq(np_wire_connect(path), -ENAMETOOLONG);
    ck_assert_ptr_nonnull(strstr(np_error_sentence(), "shorter"));
}
END_TEST

/* ---------------------------------------------------------------- calls */

/* The other end: reads one request, then sends what the test wants, or nothing. */
struct peer {
    int socket;
    const void *message;
    size_t bytes;
    unsigned descriptors;
    bool hangs_up, silent;
};

static void *answer_once(void *argument)
{
    struct peer *peer = argument;
    struct np_wire_request request;
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(4 * sizeof(int))];
    } control = { 0 };
    if (recv(peer->socket, &request, sizeof request, 0) <= 0)
        return NULL;
    if (peer->hangs_up)
        close(peer->socket);
    if (peer->hangs_up || peer->silent)
        return NULL;
    struct iovec part = { (void *)(uintptr_t)peer->message, peer->bytes };
    struct msghdr header = { .msg_iov = &part, .msg_iovlen = 1 };
    if (peer->descriptors > 0) {
        header.msg_control = &control;
        header.msg_controllen = CMSG_SPACE(peer->descriptors * sizeof(int));
        struct cmsghdr *rights = CMSG_FIRSTHDR(&header);
        *rights = (struct cmsghdr){ CMSG_LEN(peer->descriptors * sizeof(int)), SOL_SOCKET, SCM_RIGHTS };
        for (unsigned i = 0; i < peer->descriptors; i++) {
            int some = STDERR_FILENO;
            memcpy(CMSG_DATA(rights) + i * sizeof some, &some, sizeof some);
        }
    }
    sendmsg(peer->socket, &header, MSG_NOSIGNAL);
    return NULL;
}

static int call_peer(struct peer *peer, const struct np_wire_request *request, struct np_wire_answer *answer,
                     int fds[NP_WIRE_FDS_MAX], int64_t timeout_ns)
{
    int ends[2];
    pthread_t thread;
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
    peer->socket = ends[1];
    ck_assert_int_eq(pthread_create(&thread, NULL, answer_once, peer), 0);
    int result = np_wire_call(ends[0], request, answer, fds, timeout_ns);
    pthread_join(thread, NULL);
    close(ends[0]);
    if (!peer->hangs_up)
        close(ends[1]);
    return result;
}

static unsigned open_descriptors(void)
{
    unsigned count = 0;
    for (int fd = 0; fd < 256; fd++)
        count += fcntl(fd, F_GETFD) >= 0;
    return count;
}

START_TEST(an_answer_comes_with_its_descriptors)
{
    const struct np_wire_request request = request_of(NP_WIRE_POOL_MEMORY);
    struct np_wire_answer sent = answer_to(&request), answer;
    int fds[NP_WIRE_FDS_MAX];
    sent.descriptors = 2;
    sent.result = 5;
    struct peer peer = { .message = &sent, .bytes = sizeof sent, .descriptors = 2 };
    ck_assert_int_eq(call_peer(&peer, &request, &answer, fds, 5000 * MILLISECOND_NS), 0);
    ck_assert_int_eq(answer.result, 5);
    for (unsigned i = 0; i < 2; i++) {
        ck_assert_int_eq(fcntl(fds[i], F_GETFD), FD_CLOEXEC);
        close(fds[i]);
    }
}
END_TEST

START_TEST(a_bad_answer_is_refused_and_leaves_no_descriptor)
{
    const struct np_wire_request request = request_of(NP_WIRE_POOL_MEMORY);
    struct np_wire_answer good = answer_to(&request), other = good, answer;
    char longer[sizeof good + 64] = { 0 };
    int fds[NP_WIRE_FDS_MAX];
    other.number++;
    memcpy(longer, &good, sizeof good);
    struct peer peers[] = {
        { .message = &good, .bytes = sizeof good - 1, .descriptors = 2 },
        { .message = &good, .bytes = 1, .descriptors = 1 },
        { .message = longer, .bytes = sizeof longer, .descriptors = 2 },
        { .message = &other, .bytes = sizeof other, .descriptors = 2 },
        { .message = &other, .bytes = sizeof other, .descriptors = 4 },
    };
    unsigned before = open_descriptors();
    for (unsigned i = 0; i < sizeof peers / sizeof peers[0]; i++) {
        ck_assert_int_eq(call_peer(&peers[i], &request, &answer, fds, 5000 * MILLISECOND_NS), -EPROTO);
        ck_assert_ptr_nonnull(strstr(np_error_sentence(), "protocol"));
        ck_assert_int_eq(fds[0], -1);
        ck_assert_int_eq(fds[1], -1);
        ck_assert_uint_eq(open_descriptors(), before);
    }
}
END_TEST

START_TEST(descriptors_that_were_promised_and_did_not_come_are_missed)
{
    const struct np_wire_request request = request_of(NP_WIRE_POOL_MEMORY);
    struct np_wire_answer sent = answer_to(&request), answer;
    int fds[NP_WIRE_FDS_MAX];
    sent.descriptors = 2;
    struct peer peer = { .message = &sent, .bytes = sizeof sent, .descriptors = 1 };
    unsigned before = open_descriptors();
    ck_assert_int_eq(call_peer(&peer, &request, &answer, fds, 5000 * MILLISECOND_NS), -EMFILE);
    ck_assert_ptr_nonnull(strstr(np_error_sentence(), "limit of open files"));
    ck_assert_uint_eq(open_descriptors(), before);
}
END_TEST

START_TEST(a_daemon_that_hangs_up_is_a_broken_connection)
{
    const struct np_wire_request request = request_of(NP_WIRE_GOODBYE);
    struct np_wire_answer answer;
    int fds[NP_WIRE_FDS_MAX];
    struct peer peer = { .hangs_up = true };
    int result = call_peer(&peer, &request, &answer, fds, 5000 * MILLISECOND_NS);
    ck_assert(result == -EPIPE || result == -ECONNRESET);
    int ends[2];
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
    close(ends[1]); /* before the request: no SIGPIPE either */
    result = np_wire_call(ends[0], &request, &answer, fds, MILLISECOND_NS);
    ck_assert(result == -EPIPE || result == -ECONNRESET);
    close(ends[0]);
}
END_TEST

START_TEST(a_silent_daemon_times_out_in_time)
{
    const struct np_wire_request request = request_of(NP_WIRE_GOODBYE);
    struct np_wire_answer answer;
    int fds[NP_WIRE_FDS_MAX];
    struct peer peer = { .silent = true };
    int64_t begin_ns = np_monotonic_ns();
    ck_assert_int_eq(call_peer(&peer, &request, &answer, fds, 30 * MILLISECOND_NS), -ETIMEDOUT);
    ck_assert_int_ge(np_monotonic_ns() - begin_ns, 30 * MILLISECOND_NS);
    ck_assert_ptr_nonnull(strstr(np_error_sentence(), "30 ms"));
}
END_TEST

START_TEST(random_answers_are_refused)
{
    const struct np_wire_request request = request_of(NP_WIRE_NEXT_LANE);
    struct np_wire_answer answer;
    uint64_t noise[160];
    int fds[NP_WIRE_FDS_MAX];
    unsigned before = open_descriptors();
    random_state = 88172645463325252u;
    for (unsigned round = 0; round < 300; round++) {
        for (unsigned i = 0; i < 160; i++)
            noise[i] = next_random();
        struct peer peer = { .message = noise, .bytes = 1 + next_random() % sizeof noise, .descriptors = next_random() % 5 };
        ck_assert_int_eq(call_peer(&peer, &request, &answer, fds, 5000 * MILLISECOND_NS), -EPROTO);
    }
    ck_assert_uint_eq(open_descriptors(), before);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("wire");
    TCase *checks = tcase_create("checks"), *connects = tcase_create("connects"), *calls = tcase_create("calls");
    tcase_add_test(checks, every_operation_is_a_request);
    tcase_add_test(checks, requests_of_another_kind_are_refused_with_a_sentence);
    tcase_add_test(checks, names_without_an_end_are_refused);
    tcase_add_test(checks, truncated_messages_are_refused_and_not_read_beyond);
    tcase_add_test(checks, random_messages_are_judged_without_harm);
    tcase_add_test(checks, an_answer_to_something_else_is_refused);
    tcase_add_test(checks, the_layout_has_one_fingerprint);
    tcase_add_test(checks, the_default_path_is_the_documented_one);
    tcase_add_test(checks, a_default_path_that_is_too_long_is_refused);
    tcase_add_checked_fixture(connects, make_directory, remove_directory);
    tcase_add_test(connects, no_daemon_is_said_with_its_path_and_the_remedy);
    tcase_add_test(connects, something_else_that_listens_is_not_taken_for_the_daemon);
    tcase_add_test(connects, a_socket_of_another_user_is_said);
    tcase_add_test(connects, a_path_too_long_for_a_socket_is_said);
    tcase_add_test(calls, an_answer_comes_with_its_descriptors);
    tcase_add_test(calls, a_bad_answer_is_refused_and_leaves_no_descriptor);
    tcase_add_test(calls, descriptors_that_were_promised_and_did_not_come_are_missed);
    tcase_add_test(calls, a_daemon_that_hangs_up_is_a_broken_connection);
    tcase_add_test(calls, a_silent_daemon_times_out_in_time);
    tcase_add_test(calls, random_answers_are_refused);
    suite_add_tcase(suite, checks);
    suite_add_tcase(suite, connects);
    suite_add_tcase(suite, calls);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
