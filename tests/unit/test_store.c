/* SPDX-License-Identifier: MIT
 * What one half of the daemon keeps for the other: nothing stored is lost, mixed up or left open, and what is no record is refused
 * without leaving a descriptor behind. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/error.h"
#include "daemon/store.h"

enum { MANY = 300, STEPS = 20000 };

static uint64_t random_state = 88172645463325252u;

static uint64_t next_random(void) /* xorshift64: the same numbers in each run */
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

static struct np_store_key key_of(enum np_store_kind kind, uint32_t a, uint32_t b)
{
    return (struct np_store_key){ (uint32_t)kind, a, b };
}

static int new_file(void)
{
    int fd = memfd_create("numapool: test", MFD_CLOEXEC);
    ck_assert_int_ge(fd, 0);
    return fd;
}

static ino_t inode_of(int fd)
{
    struct stat status;
    ck_assert_int_eq(fstat(fd, &status), 0);
    return status.st_ino;
}

static bool is_open(int fd)
{
    return fcntl(fd, F_GETFD) >= 0;
}

static unsigned open_descriptors(void)
{
    unsigned count = 0;
    DIR *directory = opendir("/proc/self/fd");
    ck_assert_ptr_nonnull(directory);
    while (readdir(directory))
        count++;
    closedir(directory);
    return count;
}

/* ---------------------------------------------------------------- the table */

START_TEST(an_empty_store_has_nothing_to_give_or_to_close)
{
    struct np_store store = { 0 };
    size_t at = 0;
    ck_assert_int_eq(np_store_get(&store, key_of(NP_STORE_BOARD, 0, 0)), -1);
    np_store_remove(&store, key_of(NP_STORE_BOARD, 0, 0));
    ck_assert_ptr_null(np_store_next(&store, &at));
    np_store_clear(&store);
}
END_TEST

START_TEST(keys_that_differ_in_one_part_are_different)
{
    const struct np_store_key keys[] = { { NP_STORE_META, 1, 2 }, { NP_STORE_DATA, 1, 2 }, { NP_STORE_META, 2, 1 },
                                         { NP_STORE_META, 1, 1 }, { NP_STORE_META, 2, 2 }, { NP_STORE_META, 0, 0 } };
    enum { KEYS = sizeof keys / sizeof keys[0] };
    struct np_store store = { 0 };
    int fds[KEYS];
    for (unsigned i = 0; i < KEYS; i++) {
        ck_assert_int_eq(np_store_get(&store, keys[i]), -1);
        ck_assert_int_eq(np_store_put(&store, keys[i], fds[i] = new_file()), 0);
    }
    for (unsigned i = 0; i < KEYS; i++)
        ck_assert_int_eq(np_store_get(&store, keys[i]), fds[i]);
    np_store_clear(&store);
    for (unsigned i = 0; i < KEYS; i++)
        ck_assert(!is_open(fds[i]));
}
END_TEST

START_TEST(a_key_stored_again_has_the_new_descriptor_and_the_old_is_closed)
{
    struct np_store store = { 0 };
    struct np_store_key key = key_of(NP_STORE_PIDFD, 7, 0);
    int first = new_file(), second = new_file();
    ck_assert_int_eq(np_store_put(&store, key, first), 0);
    ck_assert_int_eq(np_store_put(&store, key, second), 0);
    ck_assert_int_eq(np_store_get(&store, key), second);
    ck_assert_uint_eq(store.count, 1);
    ck_assert(!is_open(first));
    np_store_remove(&store, key);
    ck_assert(!is_open(second));
    ck_assert_int_eq(np_store_get(&store, key), -1);
    ck_assert_uint_eq(store.count, 0);
    np_store_clear(&store);
}
END_TEST

/* Puts and removes at random; a plain array says what must be there. */
START_TEST(removing_some_loses_none_of_the_others)
{
    unsigned before = open_descriptors();
    struct np_store store = { 0 };
    int expected[MANY];
    size_t count = 0;
    memset(expected, -1, sizeof expected);
    for (unsigned step = 0; step < STEPS; step++) {
        unsigned i = (unsigned)(next_random() % MANY);
        struct np_store_key key = key_of(i % 2 ? NP_STORE_LANE : NP_STORE_ACCOUNT, i / 2, i % 3);
        if (next_random() % 5 < 2) {
            np_store_remove(&store, key);
            count -= expected[i] >= 0;
            expected[i] = -1;
        } else {
            int fd = new_file();
            ck_assert_int_eq(np_store_put(&store, key, fd), 0);
            count += expected[i] < 0;
            expected[i] = fd;
        }
        ck_assert_uint_eq(store.count, count);
        unsigned other = (unsigned)(next_random() % MANY);
        ck_assert_int_eq(np_store_get(&store, key_of(other % 2 ? NP_STORE_LANE : NP_STORE_ACCOUNT, other / 2, other % 3)),
                         expected[other]);
    }
    for (unsigned i = 0; i < MANY; i++)
        ck_assert_int_eq(np_store_get(&store, key_of(i % 2 ? NP_STORE_LANE : NP_STORE_ACCOUNT, i / 2, i % 3)), expected[i]);
    np_store_clear(&store);
    ck_assert_uint_eq(open_descriptors(), before);
}
END_TEST

START_TEST(going_through_meets_each_entry_once)
{
    struct np_store store = { 0 };
    unsigned met[MANY] = { 0 };
    for (uint32_t i = 0; i < MANY; i++)
        ck_assert_int_eq(np_store_put(&store, key_of(NP_STORE_LANE, i, 0), new_file()), 0);
    size_t at = 0;
    const struct np_store_entry *entry;
    while ((entry = np_store_next(&store, &at)) != NULL) {
        ck_assert_uint_lt(entry->key.a, MANY);
        ck_assert_int_eq(entry->fd, np_store_get(&store, entry->key));
        met[entry->key.a]++;
    }
    for (unsigned i = 0; i < MANY; i++)
        ck_assert_uint_eq(met[i], 1);
    np_store_clear(&store);
}
END_TEST

/* ---------------------------------------------------------------- the records */

static int ends[2];

static void make_ends(void)
{
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
}

static void close_ends(void)
{
    for (unsigned i = 0; i < 2; i++)
        if (ends[i] >= 0)
            close(ends[i]);
}

static void close_end(unsigned which)
{
    close(ends[which]);
    ends[which] = -1;
}

START_TEST(a_stored_descriptor_arrives_with_its_key)
{
    struct np_record record;
    int sent = new_file(), got;
    ck_assert_int_eq(np_record_send(ends[0], NP_RECORD_STORE, key_of(NP_STORE_META, 3, 4), sent), 0);
    ck_assert_int_eq(np_record_receive(ends[1], &record, &got), 1);
    ck_assert_uint_eq(record.verb, NP_RECORD_STORE);
    ck_assert_uint_eq(record.key.kind, NP_STORE_META);
    ck_assert_uint_eq(record.key.a, 3);
    ck_assert_uint_eq(record.key.b, 4);
    ck_assert_int_ne(got, sent);
    ck_assert_uint_eq(inode_of(got), inode_of(sent));
    ck_assert_int_eq(fcntl(got, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    close(sent);
    close(got);
}
END_TEST

START_TEST(the_other_records_bring_no_descriptor)
{
    static const enum np_record_verb verbs[] = { NP_RECORD_DROP, NP_RECORD_READY, NP_RECORD_END };
    struct np_record record;
    int fd;
    for (unsigned i = 0; i < 3; i++)
        ck_assert_int_eq(np_record_send(ends[0], verbs[i], key_of(NP_STORE_LANE, i, 0), -1), 0);
    for (unsigned i = 0; i < 3; i++) {
        ck_assert_int_eq(np_record_receive(ends[1], &record, &fd), 1);
        ck_assert_uint_eq(record.verb, verbs[i]);
        ck_assert_uint_eq(record.key.a, i);
        ck_assert_int_eq(fd, -1);
    }
}
END_TEST

START_TEST(nobody_waits)
{
    struct np_record record;
    int fd, result;
    unsigned sent = 0;
    ck_assert_int_eq(np_record_receive(ends[1], &record, &fd), -EAGAIN);
    ck_assert_int_eq(fd, -1);
    while ((result = np_record_send(ends[0], NP_RECORD_DROP, key_of(NP_STORE_LANE, sent, 0), -1)) == 0)
        ck_assert_uint_lt(sent++, 1000000);
    ck_assert_int_eq(result, -EAGAIN);
    ck_assert_uint_gt(sent, 0);
    for (unsigned i = 0; i < sent; i++) {
        ck_assert_int_eq(np_record_receive(ends[1], &record, &fd), 1);
        ck_assert_uint_eq(record.key.a, i);
    }
    ck_assert_int_eq(np_record_send(ends[0], NP_RECORD_READY, key_of(0, 0, 0), -1), 0);
}
END_TEST

START_TEST(many_descriptors_arrive_in_order_and_none_is_left_open)
{
    unsigned before = open_descriptors(), sent = 0, received = 0;
    ino_t inodes[MANY];
    while (received < MANY) {
        int fd = sent < MANY ? new_file() : -1;
        if (fd >= 0) {
            inodes[sent] = inode_of(fd);
            int result = np_record_send(ends[0], NP_RECORD_STORE, key_of(NP_STORE_ACCOUNT, sent, ~sent), fd);
            close(fd);
            sent += result == 0;
            if (result == 0)
                continue;
            ck_assert_int_eq(result, -EAGAIN);
        }
        struct np_record record;
        ck_assert_int_eq(np_record_receive(ends[1], &record, &fd), 1);
        ck_assert_uint_eq(record.key.a, received);
        ck_assert_uint_eq(record.key.b, ~received);
        ck_assert_uint_eq(inode_of(fd), inodes[received]);
        close(fd);
        received++;
    }
    ck_assert_uint_eq(open_descriptors(), before);
}
END_TEST

START_TEST(what_was_sent_before_the_sender_died_is_still_received)
{
    struct np_record record;
    int sent = new_file(), got;
    ck_assert_int_eq(np_record_send(ends[0], NP_RECORD_STORE, key_of(NP_STORE_PIDFD, 9, 0), sent), 0);
    ino_t inode = inode_of(sent);
    close(sent);
    close_end(0);
    ck_assert_int_eq(np_record_receive(ends[1], &record, &got), 1);
    ck_assert_uint_eq(inode_of(got), inode);
    close(got);
    ck_assert_int_eq(np_record_receive(ends[1], &record, &got), 0);
    ck_assert_int_eq(got, -1);
}
END_TEST

START_TEST(who_sends_to_the_dead_is_told_and_not_killed)
{
    close_end(1);
    ck_assert_int_eq(np_record_send(ends[0], NP_RECORD_READY, key_of(0, 0, 0), -1), -EPIPE);
    ck_assert_int_gt(strlen(np_error_sentence()), 0);
}
END_TEST

/* Sends `bytes` of a good record with a descriptor, changed by the caller. */
static void send_bytes(const void *bytes, size_t length, int fd)
{
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(sizeof(int))];
    } control;
    struct iovec part = { (void *)(uintptr_t)bytes, length };
    struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1 };
    memset(&control, 0, sizeof control);
    if (fd >= 0) {
        message.msg_control = &control;
        message.msg_controllen = sizeof control;
        control.header = (struct cmsghdr){ .cmsg_len = CMSG_LEN(sizeof fd), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS };
        memcpy(CMSG_DATA(&control.header), &fd, sizeof fd);
    }
    ck_assert_int_eq(sendmsg(ends[0], &message, 0), (ssize_t)length);
}

static struct np_record good_record(void)
{
    struct np_record record;
    int fd;
    ck_assert_int_eq(np_record_send(ends[0], NP_RECORD_DROP, key_of(NP_STORE_LANE, 1, 0), -1), 0);
    ck_assert_int_eq(np_record_receive(ends[1], &record, &fd), 1);
    return record;
}

START_TEST(what_is_no_record_is_refused_and_its_descriptor_closed)
{
    struct np_record good = good_record(), record;
    uint8_t bytes[sizeof good + 1] = { 0 };
    int file = new_file(), fd;
    unsigned before = open_descriptors();
    for (size_t length = 1; length <= sizeof bytes; length++) {
        memcpy(bytes, &good, sizeof good);
        if (length == sizeof good)
            bytes[0] ^= 1; /* of the right length, and another magic number */
        send_bytes(bytes, length, file);
        int result = np_record_receive(ends[1], &record, &fd);
        if (length > sizeof good)
            ck_assert_int_ne(result, 0); /* one that is too long may pass for one of the right length, but is no end */
        else
            ck_assert_int_eq(result, -EPROTO);
        if (fd >= 0)
            close(fd);
        ck_assert(length > sizeof good || fd == -1);
        ck_assert_uint_eq(open_descriptors(), before);
    }
    good_record(); /* the next one is understood */
    close(file);
}
END_TEST

START_TEST(a_store_without_descriptor_says_which_key_it_was)
{
    struct np_record record;
    int fd;
    ck_assert_int_eq(np_record_send(ends[0], NP_RECORD_STORE, key_of(NP_STORE_LANE, 5, 0), -1), 0);
    ck_assert_int_eq(np_record_receive(ends[1], &record, &fd), -EMFILE);
    ck_assert_uint_eq(record.key.kind, NP_STORE_LANE);
    ck_assert_uint_eq(record.key.a, 5);
    ck_assert_int_eq(fd, -1);
}
END_TEST

START_TEST(a_receiver_without_free_descriptors_goes_on_when_it_has_some)
{
    struct np_record record;
    struct rlimit before, none;
    int file = new_file(), fd;
    for (unsigned i = 0; i < 2; i++)
        ck_assert_int_eq(np_record_send(ends[0], NP_RECORD_STORE, key_of(NP_STORE_PIDFD, i, 0), file), 0);
    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &before), 0);
    none = before;
    none.rlim_cur = 0; /* what is open stays open */
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &none), 0);
    int result = np_record_receive(ends[1], &record, &fd);
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &before), 0);
    ck_assert_int_eq(result, -EMFILE);
    ck_assert_ptr_nonnull(strstr(np_error_sentence(), "LimitNOFILE"));
    ck_assert_uint_eq(record.key.a, 0);
    ck_assert_int_eq(np_record_receive(ends[1], &record, &fd), 1);
    ck_assert_uint_eq(record.key.a, 1);
    ck_assert_uint_eq(inode_of(fd), inode_of(file));
    close(fd);
    close(file);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("store");
    TCase *table = tcase_create("table");
    tcase_add_test(table, an_empty_store_has_nothing_to_give_or_to_close);
    tcase_add_test(table, keys_that_differ_in_one_part_are_different);
    tcase_add_test(table, a_key_stored_again_has_the_new_descriptor_and_the_old_is_closed);
    tcase_add_test(table, removing_some_loses_none_of_the_others);
    tcase_add_test(table, going_through_meets_each_entry_once);
    suite_add_tcase(suite, table);
    TCase *records = tcase_create("records");
    tcase_add_checked_fixture(records, make_ends, close_ends);
    tcase_add_test(records, a_stored_descriptor_arrives_with_its_key);
    tcase_add_test(records, the_other_records_bring_no_descriptor);
    tcase_add_test(records, nobody_waits);
    tcase_add_test(records, many_descriptors_arrive_in_order_and_none_is_left_open);
    tcase_add_test(records, what_was_sent_before_the_sender_died_is_still_received);
    tcase_add_test(records, who_sends_to_the_dead_is_told_and_not_killed);
    tcase_add_test(records, what_is_no_record_is_refused_and_its_descriptor_closed);
    tcase_add_test(records, a_store_without_descriptor_says_which_key_it_was);
    if (!getenv("NUMAPOOL_UNDER_VALGRIND"))
        tcase_add_test(records, a_receiver_without_free_descriptors_goes_on_when_it_has_some);
    else
        printf("NOT RUN: a receiver without free descriptors, for valgrind keeps a limit of its own\n");
    suite_add_tcase(suite, records);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
