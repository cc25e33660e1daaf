/* SPDX-License-Identifier: MIT
 * Who is at the other end, and whether he still is: texts of /proc as they come, numbers that are used again, processes whose first
 * thread has left. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/error.h"
#include "daemon/identity.h"

/* ---------------------------------------------------------------- /proc/PID/stat */

#define AFTER_NAME " S 1 4242 4242 0 -1 4194560 2331 0 0 0 10 20 0 0 20 0 1 0 987654321 2500000 500 18446744073709551615"

START_TEST(the_start_time_is_field_22_whatever_the_program_is_called)
{
    static const char *const names[] = { "(cat)",   "(a b)",        "(a) S 1 2 (b)", "()", "(()", "())", "(\n)", "(x) R 1 1 1 1 1 1 1 1)",
                                         "(18 19)", "(\xff\x80 )" };
    for (unsigned i = 0; i < sizeof names / sizeof names[0]; i++) {
        char text[256];
        snprintf(text, sizeof text, "4242 %s%s\n", names[i], AFTER_NAME);
        ck_assert_uint_eq(np_identity_start_ticks_in(text), 987654321);
    }
}
END_TEST

START_TEST(a_text_that_ends_early_has_no_start_time)
{
    static const char whole[] = "4242 (a) b)" AFTER_NAME;
    size_t last = (size_t)(strstr(whole, "987654321") - whole);
    for (size_t bytes = 0; bytes < last; bytes++) {
        char *text = strndup(whole, bytes); /* of that very size, so that a sanitizer sees who reads on */
        ck_assert_uint_eq(np_identity_start_ticks_in(text), 0);
        free(text);
    }
    ck_assert_uint_eq(np_identity_start_ticks_in("no brackets at all 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23"), 0);
}
END_TEST

START_TEST(the_same_process_always_has_the_same_start_time)
{
    uint64_t ticks = np_identity_start_ticks(getpid());
    ck_assert_uint_ne(ticks, 0);
    ck_assert_uint_eq(np_identity_start_ticks(getpid()), ticks);
    ck_assert_uint_eq(np_identity_start_ticks(0), 0);
    ck_assert_uint_eq(np_identity_start_ticks(-1), 0);
}
END_TEST

/* ---------------------------------------------------------------- processes */

struct child {
    pid_t pid;
    int rope; /* it ends when this is closed */
};

static struct child start_child(void (*work)(void))
{
    int rope[2];
    char byte;
    ck_assert_int_eq(pipe2(rope, O_CLOEXEC), 0);
    pid_t pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        close(rope[1]);
        if (work)
            work();
        while (read(rope[0], &byte, 1) < 0 && errno == EINTR)
            ;
        _exit(0);
    }
    close(rope[0]);
    return (struct child){ pid, rope[1] };
}

static void end_child(struct child child)
{
    close(child.rope);
    ck_assert_int_eq(waitpid(child.pid, NULL, 0), child.pid);
}

static void wait_until_gone(int pidfd)
{
    struct pollfd polled = { .fd = pidfd, .events = POLLIN };
    ck_assert_int_eq(poll(&polled, 1, 10000), 1);
}

START_TEST(a_process_is_found_by_number_and_start_time)
{
    struct child child = start_child(NULL);
    uint64_t ticks = np_identity_start_ticks(child.pid);
    int pidfd = np_identity_pidfd_of_process(child.pid, ticks);
    ck_assert_int_ge(pidfd, 0);
    ck_assert_int_eq(fcntl(pidfd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    ck_assert(!np_identity_is_gone(pidfd));
    end_child(child);
    ck_assert(np_identity_is_gone(pidfd));
    close(pidfd);
}
END_TEST

START_TEST(a_number_that_is_used_again_is_another_process)
{
    struct child child = start_child(NULL);
    uint64_t ticks = np_identity_start_ticks(child.pid);
    ck_assert_int_eq(np_identity_pidfd_of_process(child.pid, ticks + 1), -ESRCH);
    ck_assert_int_eq(np_identity_pidfd_of_process(child.pid, ticks - 1), -ESRCH);
    ck_assert_int_lt(np_identity_pidfd_of_process(child.pid, 0), 0); /* one of which nothing is known is nobody */
    end_child(child);
    ck_assert_int_eq(np_identity_pidfd_of_process(child.pid, ticks), -ESRCH);
}
END_TEST

START_TEST(a_process_that_nobody_has_waited_for_is_gone)
{
    struct child child = start_child(NULL);
    uint64_t ticks = np_identity_start_ticks(child.pid);
    int pidfd = np_identity_pidfd_of_process(child.pid, ticks);
    ck_assert_int_ge(pidfd, 0);
    kill(child.pid, SIGKILL);
    wait_until_gone(pidfd);
    ck_assert(np_identity_is_gone(pidfd));
    ck_assert_int_eq(np_identity_pidfd_of_process(child.pid, ticks), -ESRCH);
    close(pidfd);
    end_child(child);
}
END_TEST

static void *live_on(void *argument)
{
    (void)argument;
    sleep(60);
    return NULL;
}

static void leave_first_thread(void)
{
    pthread_t thread;
    if (pthread_create(&thread, NULL, live_on, NULL) == 0)
        pthread_exit(NULL);
}

START_TEST(a_process_lives_as_long_as_one_of_its_threads)
{
    struct child child = start_child(leave_first_thread);
    char path[48], text[64] = "";
    snprintf(path, sizeof path, "/proc/%ld/stat", (long)child.pid);
    for (unsigned tries = 0; tries < 1000 && !strstr(text, ") Z"); tries++) { /* until the first thread has left */
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        ck_assert_int_ge(fd, 0);
        ssize_t got = read(fd, text, sizeof text - 1);
        text[got > 0 ? got : 0] = '\0';
        close(fd);
        usleep(10000);
    }
    ck_assert_ptr_nonnull(strstr(text, ") Z"));
    int pidfd = np_identity_pidfd_of_process(child.pid, np_identity_start_ticks(child.pid));
    ck_assert_int_ge(pidfd, 0);
    ck_assert(!np_identity_is_gone(pidfd));
    kill(child.pid, SIGKILL);
    wait_until_gone(pidfd);
    ck_assert(np_identity_is_gone(pidfd));
    close(pidfd);
    end_child(child);
}
END_TEST

/* The pidfd takes the last descriptor, and none is left to see when the process was started: neither /proc nor the process is to
 * blame for that. */
START_TEST(a_process_that_there_is_no_descriptor_to_watch_is_not_taken_for_gone_or_hidden)
{
    struct child child = start_child(NULL);
    uint64_t ticks = np_identity_start_ticks(child.pid);
    struct rlimit before, few;
    int lowest_free = dup(0), result;
    close(lowest_free);
    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &before), 0);
    for (unsigned left = 0; left <= 1; left++) {
        few = (struct rlimit){ (rlim_t)lowest_free + left, before.rlim_max };
        ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &few), 0);
        result = np_identity_pidfd_of_process(child.pid, ticks);
        ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &before), 0);
        ck_assert_int_eq(result, -EMFILE);
        ck_assert_ptr_nonnull(strstr(np_error_sentence(), "LimitNOFILE="));
    }
    result = np_identity_pidfd_of_process(child.pid, ticks);
    ck_assert_int_ge(result, 0);
    close(result);
    end_child(child);
}
END_TEST

/* ---------------------------------------------------------------- sockets */

static char directory[64], path[96];
static int listening;

static void listen_there(void)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    snprintf(directory, sizeof directory, "/tmp/numapool-identity-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(directory));
    snprintf(path, sizeof path, "%s/socket", directory);
    memcpy(address.sun_path, path, sizeof path);
    listening = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(bind(listening, (struct sockaddr *)&address, sizeof address), 0);
    ck_assert_int_eq(listen(listening, 4), 0);
}

static void listen_no_more(void)
{
    close(listening);
    unlink(path);
    rmdir(directory);
}

static void connect_there(void)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    memcpy(address.sun_path, path, sizeof path);
    int fd = socket(AF_UNIX, SOCK_SEQPACKET, 0); /* stays open until the process ends */
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) != 0)
        _exit(1);
}

START_TEST(the_kernel_says_who_connected)
{
    struct child child = start_child(connect_there);
    struct np_identity identity;
    int fd = accept4(listening, NULL, NULL, SOCK_CLOEXEC);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(np_identity_of_socket(fd, &identity), 0);
    ck_assert_int_eq(identity.pid, child.pid);
    ck_assert_uint_eq(identity.uid, geteuid());
    ck_assert_uint_eq(identity.gid, getegid());
    int pidfd = np_identity_pidfd_of_socket(fd, &identity);
    ck_assert_int_ge(pidfd, 0);
    ck_assert_int_eq(fcntl(pidfd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    ck_assert(!np_identity_is_gone(pidfd));
    end_child(child);
    ck_assert(np_identity_is_gone(pidfd));
    close(pidfd);
    close(fd);
}
END_TEST

START_TEST(who_connected_and_died_is_never_taken_for_alive)
{
    struct child child = start_child(connect_there);
    struct np_identity identity;
    int fd = accept4(listening, NULL, NULL, SOCK_CLOEXEC);
    ck_assert_int_ge(fd, 0);
    end_child(child);
    ck_assert_int_eq(np_identity_of_socket(fd, &identity), 0);
    int pidfd = np_identity_pidfd_of_socket(fd, &identity);
    if (pidfd >= 0) { /* later kernels name the dead too */
        ck_assert(np_identity_is_gone(pidfd));
        close(pidfd);
    } else {
        ck_assert_int_eq(pidfd, -ESRCH);
    }
    close(fd);
}
END_TEST

START_TEST(what_is_no_socket_is_nobody)
{
    struct np_identity identity;
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    ck_assert_int_lt(np_identity_of_socket(fd, &identity), 0);
    ck_assert(!np_identity_is_gone(-1)); /* what cannot be asked is not dead */
    close(fd);
}
END_TEST

/* ---------------------------------------------------------------- /proc/PID/maps */

static uint64_t inode_in(const char *line)
{
    size_t bytes = strlen(line);
    char *exact = malloc(bytes ? bytes : 1); /* without a zero behind it */
    ck_assert_ptr_nonnull(exact);
    memcpy(exact, line, bytes);
    uint64_t inode = np_identity_inode_in(exact, bytes);
    free(exact);
    return inode;
}

START_TEST(only_memory_files_of_numapool_count)
{
    ck_assert_uint_eq(inode_in("7f00a000-7f00b000 rw-s 00000000 00:01 1234                       "
                               "/memfd:numapool: words of pool 'p' on node 0 (deleted)"), 1234);
    ck_assert_uint_eq(inode_in("7f00a000-7f00b000 r--s 00000000 00:01 18446744073709551615 /memfd:numapool: lane 7 (deleted)"), UINT64_MAX);
    ck_assert_uint_eq(inode_in("7f00a000-7f00b000 rw-s 00000000 00:01 1234 /memfd:other (deleted)"), 0);
    ck_assert_uint_eq(inode_in("7f00a000-7f00b000 rw-s 00000000 00:01 1234 /memfd:numapoo"), 0);
    ck_assert_uint_eq(inode_in("7f00a000-7f00b000 r-xp 00000000 fe:00 1234 /usr/lib/libc.so.6"), 0);
    ck_assert_uint_eq(inode_in("7f00a000-7f00b000 r-xp 00000000 fe:00 1234 /tmp/x/memfd:numapool: lane 7"), 0);
    ck_assert_uint_eq(inode_in("7f00a000-7f00b000 rw-p 00000000 00:00 0 [heap]"), 0);
    ck_assert_uint_eq(inode_in("7f00a000-7f00b000 rw-p 00000000 00:00 0"), 0);
}
END_TEST

START_TEST(lines_that_are_cut_off_or_far_too_long_are_no_harm)
{
    static const char whole[] = "7f00a000-7f00b000 rw-s 00000000 00:01 1234 /memfd:numapool: lane 7 (deleted)";
    size_t named = (size_t)(strstr(whole, "/memfd:numapool") - whole) + strlen("/memfd:numapool");
    for (size_t bytes = 0; bytes < sizeof whole; bytes++) {
        char *text = strndup(whole, bytes);
        ck_assert_uint_eq(inode_in(text), bytes >= named ? 1234 : 0);
        free(text);
    }
    char *longest = malloc(8193);
    ck_assert_ptr_nonnull(longest);
    memset(longest, 'x', 8192);
    longest[8192] = '\0';
    ck_assert_uint_eq(inode_in(longest), 0);
    memcpy(longest, whole, sizeof whole - 1);
    ck_assert_uint_eq(inode_in(longest), 1234);
    free(longest);
    ck_assert_uint_eq(inode_in("/memfd:numapool"), 0);
}
END_TEST

START_TEST(a_mapping_is_found_in_the_real_file)
{
    static const char *const names[] = { "numapool: test", "others: test" };
    uint64_t inodes[2];
    unsigned found[2] = { 0 };
    void *memory[2];
    for (unsigned i = 0; i < 2; i++) {
        struct stat status;
        int fd = memfd_create(names[i], MFD_CLOEXEC);
        ck_assert_int_eq(ftruncate(fd, 4096), 0);
        ck_assert_int_eq(fstat(fd, &status), 0);
        inodes[i] = status.st_ino;
        memory[i] = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);
        ck_assert_ptr_ne(memory[i], MAP_FAILED);
        close(fd);
    }
    FILE *maps = fopen("/proc/self/maps", "re");
    char *line = NULL;
    size_t room = 0;
    ssize_t bytes;
    ck_assert_ptr_nonnull(maps);
    while ((bytes = getline(&line, &room, maps)) > 0)
        for (unsigned i = 0; i < 2; i++)
            found[i] += np_identity_inode_in(line, (size_t)bytes - 1) == inodes[i];
    free(line);
    fclose(maps);
    ck_assert_uint_eq(found[0], 1);
    ck_assert_uint_eq(found[1], 0);
    for (unsigned i = 0; i < 2; i++)
        munmap(memory[i], 4096);
}
END_TEST

static bool kernel_has_pidfds(void)
{
    int pidfd = (int)syscall(SYS_pidfd_open, getpid(), 0);
    if (pidfd >= 0)
        close(pidfd);
    return pidfd >= 0 || errno != ENOSYS;
}

int main(void)
{
    Suite *suite = suite_create("identity");
    TCase *times = tcase_create("start times");
    tcase_add_test(times, the_start_time_is_field_22_whatever_the_program_is_called);
    tcase_add_test(times, a_text_that_ends_early_has_no_start_time);
    tcase_add_test(times, the_same_process_always_has_the_same_start_time);
    suite_add_tcase(suite, times);
    TCase *processes = tcase_create("processes");
    tcase_set_timeout(processes, 30);
    tcase_add_test(processes, a_process_is_found_by_number_and_start_time);
    tcase_add_test(processes, a_number_that_is_used_again_is_another_process);
    tcase_add_test(processes, a_process_that_nobody_has_waited_for_is_gone);
    tcase_add_test(processes, a_process_lives_as_long_as_one_of_its_threads);
    tcase_add_test(processes, a_process_that_there_is_no_descriptor_to_watch_is_not_taken_for_gone_or_hidden);
    if (kernel_has_pidfds())
        suite_add_tcase(suite, processes);
    else
        printf("NOT RUN: the tests of processes, for pidfd_open is refused here (valgrind knows no such call)\n");
    TCase *sockets = tcase_create("sockets");
    tcase_add_checked_fixture(sockets, listen_there, listen_no_more);
    tcase_add_test(sockets, the_kernel_says_who_connected);
    tcase_add_test(sockets, who_connected_and_died_is_never_taken_for_alive);
    tcase_add_test(sockets, what_is_no_socket_is_nobody);
    suite_add_tcase(suite, sockets);
    TCase *maps = tcase_create("mappings");
    tcase_add_test(maps, only_memory_files_of_numapool_count);
    tcase_add_test(maps, lines_that_are_cut_off_or_far_too_long_are_no_harm);
    tcase_add_test(maps, a_mapping_is_found_in_the_real_file);
    suite_add_tcase(suite, maps);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
