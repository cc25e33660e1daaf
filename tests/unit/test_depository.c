/* SPDX-License-Identifier: MIT
 * What the keeper has a service manager keep: in order, acknowledged only when it is handed over, all of it or nothing. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "daemon/depository.h"

static char directory[] = "/tmp/numapool-test.XXXXXX", path[64];
static int manager;
static struct np_store store;
static struct np_depository depository;

static struct np_store_key key_of(enum np_store_kind kind, uint32_t a, uint32_t b)
{
    return (struct np_store_key){ (uint32_t)kind, a, b };
}

static void make_manager(void)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    strcpy(directory + sizeof directory - 7, "XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(directory));
    snprintf(path, sizeof path, "%s/notify", directory);
    strcpy(address.sun_path, path);
    manager = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(bind(manager, (struct sockaddr *)&address, sizeof address), 0);
    setenv("NOTIFY_SOCKET", path, 1);
    memset(&store, 0, sizeof store);
}

static void end_manager(void)
{
    np_depository_close(&depository);
    np_store_clear(&store);
    close(manager);
    unlink(path);
    rmdir(directory);
}

static void begin(const char *most)
{
    setenv("FDSTORE", most, 1);
    ck_assert_int_eq(np_depository_open(&depository, &store), 0);
    np_depository_begin(&depository);
}

static int held = -1; /* what the manager keeps */
static bool holds;    /* the next one that it is given */

/* One message; "": there is none. Its descriptors are closed, unless it holds them. */
static const char *heard(void)
{
    static char text[256];
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(sizeof(int) * 4)];
    } control;
    struct iovec part = { text, sizeof text - 1 };
    struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control };
    ssize_t bytes = recvmsg(manager, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    text[bytes > 0 ? bytes : 0] = '\0';
    struct cmsghdr *header = bytes > 0 ? CMSG_FIRSTHDR(&message) : NULL;
    if (header) {
        int fd;
        memcpy(&fd, CMSG_DATA(header), sizeof fd);
        if (holds)
            held = fd;
        else
            close(fd);
        holds = false;
    }
    return text;
}

static void keep(struct np_store_key key, uint32_t serial)
{
    int fd = memfd_create("numapool: test", MFD_CLOEXEC);
    np_depository_remove(&depository, key);
    ck_assert_int_eq(np_store_put(&store, key, fd), 0);
    np_depository_store(&depository, key, serial);
}

START_TEST(names_are_short_and_say_which_key_it_was)
{
    static const struct np_store_key keys[] = { { NP_STORE_ACCOUNT, 65534, 63 }, { NP_STORE_LANE, 65535, 0 }, { NP_STORE_META, 63, 63 },
                                                { NP_STORE_IO, 65534, 0 }, { NP_STORE_BELLS, 0, 0 } };
    char name[NP_DEPOSITORY_NAME_BYTES];
    struct np_store_key back;
    for (unsigned i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        np_depository_name(keys[i], name);
        ck_assert_uint_le(strlen(name), 14);
        ck_assert(np_depository_key(name, &back));
        ck_assert_int_eq(memcmp(&back, &keys[i], sizeof back), 0);
    }
    np_depository_name(key_of(NP_STORE_BOARD, 0, 0), name);
    ck_assert(np_depository_key(name, &back));
    ck_assert(back.a != 0 && back.b != 0); /* the layout */
}
END_TEST

START_TEST(other_names_are_not_taken_for_ours)
{
    static const char *const others[] = { "", "stored", "np1", "np1-", "np1-5", "np1-5-1", "np1-5-1-", "np1-5-01-0", "np1-5- 1-0", "np1-5-1-0x",
                                          "np1-5-1-0-0", "np2-5-1-0", "np1-a-1-0", "np1-5-100000000-0", "np1-5--1-0", "NP1-5-1-0", "np1-5-A-0" };
    struct np_store_key key;
    for (unsigned i = 0; i < sizeof others / sizeof others[0]; i++)
        ck_assert_msg(!np_depository_key(others[i], &key), "%s", others[i]);
}
END_TEST

START_TEST(without_a_manager_nothing_is_waited_for)
{
    unsetenv("NOTIFY_SOCKET");
    begin("100");
    ck_assert_int_eq(depository.state, NP_DEPOSITORY_NONE);
    keep(key_of(NP_STORE_LANE, 1, 0), 1);
    np_depository_tell(&depository, "READY=1");
    np_depository_turn(&depository);
    ck_assert_uint_eq(depository.stored_serial, 1);
    ck_assert_str_eq(heard(), "");
}
END_TEST

START_TEST(a_manager_that_keeps_nothing_hears_of_readiness_alone)
{
    begin("0");
    ck_assert_int_eq(depository.state, NP_DEPOSITORY_NONE);
    keep(key_of(NP_STORE_LANE, 1, 0), 1);
    np_depository_tell(&depository, "READY=1");
    np_depository_turn(&depository);
    ck_assert_uint_eq(depository.stored_serial, 1);
    ck_assert_str_eq(heard(), "READY=1");
    ck_assert_str_eq(heard(), "");
}
END_TEST

START_TEST(a_name_is_removed_before_it_is_stored_again)
{
    begin("100");
    ck_assert_int_eq(depository.state, NP_DEPOSITORY_KEEPING);
    keep(key_of(NP_STORE_LANE, 7, 0), 1);
    np_depository_turn(&depository);
    keep(key_of(NP_STORE_LANE, 7, 0), 2);
    np_depository_turn(&depository);
    ck_assert_uint_eq(depository.stored_serial, 2);
    ck_assert_str_eq(heard(), "FDSTORE=1\nFDNAME=np1-6-7-0\nFDPOLL=0");
    ck_assert_str_eq(heard(), "FDSTOREREMOVE=1\nFDNAME=np1-6-7-0");
    ck_assert_str_eq(heard(), "FDSTORE=1\nFDNAME=np1-6-7-0\nFDPOLL=0");
    ck_assert_str_eq(heard(), "");
    ck_assert_uint_eq(depository.count, 1);
}
END_TEST

START_TEST(what_is_gone_before_its_turn_is_not_stored)
{
    begin("100");
    keep(key_of(NP_STORE_LANE, 7, 0), 1);
    np_depository_remove(&depository, key_of(NP_STORE_LANE, 7, 0));
    np_store_remove(&store, key_of(NP_STORE_LANE, 7, 0));
    np_depository_turn(&depository);
    ck_assert_uint_eq(depository.stored_serial, 1);
    ck_assert_str_eq(heard(), "");
    ck_assert_uint_eq(depository.count, 0);
}
END_TEST

START_TEST(what_the_manager_does_not_take_yet_is_not_acknowledged)
{
    begin("1000");
    for (uint32_t i = 1; i <= 900; i++)
        keep(key_of(NP_STORE_LANE, i, 0), i);
    np_depository_turn(&depository);
    ck_assert(depository.blocked);
    uint32_t taken = depository.stored_serial;
    ck_assert_uint_lt(taken, 900);
    unsigned messages = 0;
    for (unsigned turns = 0; turns < 1000 && (depository.blocked || messages < 900); turns++) {
        while (heard()[0])
            messages++;
        ck_assert_uint_eq(messages, depository.stored_serial);
        np_depository_turn(&depository);
    }
    ck_assert_uint_eq(depository.stored_serial, 900);
    ck_assert_uint_eq(messages, 900);
}
END_TEST

/* A manager that does not say how many it keeps is asked about each that is more than ever before. */
static void ask_about_room(bool has_room)
{
    begin("100");
    depository.known_room = 0;
    keep(key_of(NP_STORE_LANE, 1, 0), 1);
    np_depository_turn(&depository);
    ck_assert_uint_eq(depository.stored_serial, 0); /* D2: sent, and nobody knows yet whether it was taken */
    ck_assert_str_eq(heard(), "FDSTORE=1\nFDNAME=np1-6-1-0\nFDPOLL=0");
    holds = has_room;
    ck_assert_str_eq(heard(), "FDSTORE=1\nFDNAME=np1-0-0-0\nFDPOLL=0");
    np_depository_turn(&depository);
    ck_assert_uint_eq(depository.stored_serial, 0);
    ck_assert_str_eq(heard(), "BARRIER=1");
    np_depository_turn(&depository);
    ck_assert_uint_eq(depository.stored_serial, 1);
}

START_TEST(what_may_have_found_no_room_is_not_acknowledged)
{
    ask_about_room(true);
    ck_assert_int_eq(depository.state, NP_DEPOSITORY_KEEPING);
    ck_assert_str_eq(heard(), "FDSTOREREMOVE=1\nFDNAME=np1-0-0-0");
    close(held);
}
END_TEST

START_TEST(what_found_no_room_is_taken_back_before_it_is_acknowledged)
{
    ask_about_room(false);
    ck_assert_int_eq(depository.state, NP_DEPOSITORY_LOST);
    ck_assert_int_eq(strncmp(heard(), "FDSTOREREMOVE=1", 15), 0);
}
END_TEST

START_TEST(another_workers_count_begins_anew)
{
    begin("100");
    keep(key_of(NP_STORE_LANE, 1, 0), 5);
    np_depository_new_worker(&depository); /* the last one's, which was not handed over */
    np_depository_turn(&depository);
    ck_assert_uint_eq(depository.stored_serial, 0);
    ck_assert_str_eq(heard(), "FDSTORE=1\nFDNAME=np1-6-1-0\nFDPOLL=0");
    keep(key_of(NP_STORE_LANE, 2, 0), 1);
    np_depository_turn(&depository);
    ck_assert_uint_eq(depository.stored_serial, 1);
}
END_TEST

START_TEST(without_room_for_all_the_board_is_taken_back_first)
{
    begin("3");
    keep(key_of(NP_STORE_BELLS, 0, 0), 0);
    keep(key_of(NP_STORE_BOARD, 0, 0), 0);
    keep(key_of(NP_STORE_LANE, 1, 0), 1);
    np_depository_turn(&depository);
    ck_assert_int_eq(depository.state, NP_DEPOSITORY_KEEPING);
    for (unsigned i = 0; i < 3; i++)
        ck_assert_int_eq(strncmp(heard(), "FDSTORE=1", 9), 0);
    keep(key_of(NP_STORE_LANE, 2, 0), 2);
    keep(key_of(NP_STORE_LANE, 3, 0), 3);
    np_depository_turn(&depository);
    ck_assert_int_eq(depository.state, NP_DEPOSITORY_LOST);
    ck_assert_uint_eq(depository.stored_serial, 3); /* nobody waits for what will not come */
    ck_assert_int_eq(strncmp(heard(), "FDSTOREREMOVE=1\nFDNAME=np1-1-", 29), 0);
    unsigned removed = 1;
    for (const char *text = heard(); text[0]; text = heard()) {
        ck_assert_int_ne(strncmp(text, "FDSTORE=1", 9), 0);
        removed += strncmp(text, "FDSTOREREMOVE=1", 15) == 0;
    }
    ck_assert_uint_ge(removed, 3);
    ck_assert_uint_eq(depository.count, 0);
}
END_TEST

START_TEST(a_manager_that_is_gone_is_not_waited_for)
{
    begin("100");
    close(manager);
    unlink(path);
    keep(key_of(NP_STORE_LANE, 1, 0), 1);
    np_depository_turn(&depository);
    ck_assert_int_eq(depository.state, NP_DEPOSITORY_LOST);
    ck_assert_uint_eq(depository.stored_serial, 1);
    ck_assert(!depository.blocked);
    manager = -1;
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("depository");
    TCase *all = tcase_create("all");
    tcase_add_checked_fixture(all, make_manager, end_manager);
    tcase_add_test(all, names_are_short_and_say_which_key_it_was);
    tcase_add_test(all, other_names_are_not_taken_for_ours);
    tcase_add_test(all, without_a_manager_nothing_is_waited_for);
    tcase_add_test(all, a_manager_that_keeps_nothing_hears_of_readiness_alone);
    tcase_add_test(all, a_name_is_removed_before_it_is_stored_again);
    tcase_add_test(all, what_is_gone_before_its_turn_is_not_stored);
    tcase_add_test(all, what_the_manager_does_not_take_yet_is_not_acknowledged);
    tcase_add_test(all, what_may_have_found_no_room_is_not_acknowledged);
    tcase_add_test(all, what_found_no_room_is_taken_back_before_it_is_acknowledged);
    tcase_add_test(all, another_workers_count_begins_anew);
    tcase_add_test(all, without_room_for_all_the_board_is_taken_back_first);
    tcase_add_test(all, a_manager_that_is_gone_is_not_waited_for);
    suite_add_tcase(suite, all);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
