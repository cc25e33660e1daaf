/* SPDX-License-Identifier: MIT
 * The path that a dead daemon leaves: taken over though its socket is still listened on, and never from anybody else. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/error.h"
#include "daemon/keeper.h"

static char directory[64], path[96], lock[112];

static void make_directory(void)
{
    snprintf(directory, sizeof directory, "/tmp/numapool-listener.XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(directory));
    snprintf(path, sizeof path, "%s/socket", directory);
    snprintf(lock, sizeof lock, "%s.lock", path);
}

static void remove_directory(void)
{
    unlink(path);
    unlink(lock);
    ck_assert_int_eq(rmdir(directory), 0);
}

static int listen_there(void)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    strcpy(address.sun_path, path);
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    ck_assert_int_eq(listen(fd, 4), 0);
    return fd;
}

/* One descriptor goes with a byte (SCM_RIGHTS). */
static void pass(int by, int fd, bool receive, int *received)
{
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(sizeof(int))];
    } control = { .header = { .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof fd) } };
    char byte = 0;
    struct iovec part = { &byte, 1 };
    struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control };
    memcpy(CMSG_DATA(&control.header), &fd, sizeof fd);
    if ((receive ? recvmsg(by, &message, MSG_CMSG_CLOEXEC) : sendmsg(by, &message, 0)) == 1 && receive)
        memcpy(received, CMSG_DATA(&control.header), sizeof *received);
}

/* A keeper that has the path, and is killed. Its socket, which stays open here as a ring of its worker's would keep it. */
static int outlive_a_keeper(void)
{
    struct np_listener listener;
    int ends[2], ours = -1;
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    pid_t keeper = fork();
    if (keeper == 0) {
        if (np_listener_open(&listener, path, -1, 0) < 0)
            _exit(1);
        pass(ends[1], listener.socket_fd, false, NULL);
        pause();
    }
    close(ends[1]);
    pass(ends[0], -1, true, &ours);
    ck_assert_int_ge(ours, 0);
    kill(keeper, SIGKILL);
    waitpid(keeper, NULL, 0);
    close(ends[0]);
    return ours;
}

START_TEST(a_dead_daemons_socket_that_is_still_listened_on_is_taken_over)
{
    struct np_listener listener;
    struct stat before, after;
    int of_the_dead = outlive_a_keeper();
    ck_assert_int_eq(chmod(path, 0666), 0); /* as where access lists name others */
    ck_assert_int_eq(stat(path, &before), 0);
    ck_assert_msg(np_listener_open(&listener, path, -1, 0) == 0, "%s", np_error_sentence());
    ck_assert_int_eq(stat(path, &after), 0);
    ck_assert(before.st_ino != after.st_ino || before.st_mtim.tv_sec != after.st_mtim.tv_sec || before.st_mtim.tv_nsec != after.st_mtim.tv_nsec);
    np_listener_close(&listener, false);
    ck_assert_int_ne(access(path, F_OK), 0);
    ck_assert_int_ne(access(lock, F_OK), 0);
    close(of_the_dead);
}
END_TEST

START_TEST(another_programs_socket_at_the_path_of_a_dead_daemon_stays)
{
    struct np_listener listener;
    struct stat before, after;
    int of_the_dead = outlive_a_keeper();
    ck_assert_int_eq(unlink(path), 0);
    int others = listen_there();
    ck_assert_int_eq(stat(path, &before), 0);
    ck_assert_int_eq(np_listener_open(&listener, path, -1, 0), -EADDRINUSE);
    ck_assert_ptr_nonnull(strstr(np_error_sentence(), "another program listens"));
    ck_assert_int_eq(stat(path, &after), 0);
    ck_assert_uint_eq(before.st_ino, after.st_ino);
    close(others);
    close(of_the_dead);
}
END_TEST

START_TEST(a_lock_file_with_anything_in_it_gives_no_right_to_a_socket)
{
    static const char *const texts[] = { "", "1\n", "1\nsocket 0 of 0.0\n" };
    struct np_listener listener;
    int others = listen_there();
    for (unsigned i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        int fd = open(lock, O_RDWR | O_CREAT | O_TRUNC, 0600);
        ck_assert_int_eq((int)write(fd, texts[i], strlen(texts[i])), (int)strlen(texts[i]));
        close(fd);
        ck_assert_int_eq(np_listener_open(&listener, path, -1, 0), -EADDRINUSE);
    }
    close(others);
    ck_assert_msg(np_listener_open(&listener, path, -1, 0) == 0, "%s", np_error_sentence()); /* nobody listens there any more */
    np_listener_close(&listener, false);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("listener");
    TCase *tests = tcase_create("listener");
    tcase_set_timeout(tests, 60);
    tcase_add_checked_fixture(tests, make_directory, remove_directory);
    tcase_add_test(tests, a_dead_daemons_socket_that_is_still_listened_on_is_taken_over);
    tcase_add_test(tests, another_programs_socket_at_the_path_of_a_dead_daemon_stays);
    tcase_add_test(tests, a_lock_file_with_anything_in_it_gives_no_right_to_a_socket);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
