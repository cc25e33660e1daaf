/* SPDX-License-Identifier: MIT
 * The worker's loop: what it promises of each operation holds on io_uring and on epoll. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "loop_help.h"

#include <linux/futex.h>
#include <sys/mman.h>
#include <sys/un.h>
#include <sys/wait.h>

static unsigned descriptors_before;

/* ---------------------------------------------------------------- receiving and sending */

START_TEST(it_receives_what_is_there_and_what_comes)
{
    if (!open_loop(_i))
        return;
    int ends[2];
    char text[8] = "";
    struct asked asked = new_asked();
    pair(ends);
    ck_assert_int_eq(send(ends[1], "here", 4, 0), 4);
    np_loop_receive(loop, begin(&asked), ends[0], text, sizeof text);
    ck_assert_msg(asked.operation.pending && asked.told == 0, "nothing is told by the call that asks");
    ck_assert_int_eq(result_of(&asked), 4);
    ck_assert_mem_eq(text, "here", 4);
    np_loop_receive(loop, begin(&asked), ends[0], text, sizeof text);
    turn_for_ms(5);
    ck_assert_msg(asked.operation.pending && asked.told == 0, "nothing was sent");
    ck_assert_int_eq(send(ends[1], "later", 5, 0), 5);
    ck_assert_int_eq(result_of(&asked), 5);
    ck_assert_mem_eq(text, "later", 5);
    np_loop_receive(loop, begin(&asked), ends[0], text, sizeof text);
    ck_assert_int_eq(send(ends[1], "much too long", 13, 0), 13);
    ck_assert_msg(result_of(&asked) == 8 && memcmp(text, "much too", 8) == 0, "as much as there is room for");
    np_loop_receive(loop, begin(&asked), ends[0], text, sizeof text);
    ck_assert_int_eq(send(ends[1], "next", 4, 0), 4);
    ck_assert_msg(result_of(&asked) == 4 && memcmp(text, "next", 4) == 0, "and the rest of it is gone");
    np_loop_receive(loop, begin(&asked), ends[0], text, sizeof text);
    turn_for_ms(2);
    close(ends[1]);
    ck_assert_msg(result_of(&asked) == 0, "its other end is closed: %d", asked.result);
    np_loop_receive(loop, begin(&asked), ends[0], text, sizeof text);
    ck_assert_int_eq(result_of(&asked), 0);
    close(ends[0]);
    np_loop_receive(loop, begin(&asked), ends[0], text, sizeof text);
    ck_assert_int_eq(result_of(&asked), -EBADF);
    int file = open("/proc/self/stat", O_RDONLY | O_CLOEXEC);
    np_loop_receive(loop, begin(&asked), file, text, sizeof text);
    ck_assert_int_eq(result_of(&asked), -ENOTSOCK);
    close(file);
    np_loop_stop(loop);
}
END_TEST

START_TEST(shutting_down_ends_what_waits)
{
    if (!open_loop(_i))
        return;
    int ends[2];
    char text[8];
    struct asked receive = new_asked(), poll_in = new_asked();
    pair(ends);
    np_loop_receive(loop, begin(&receive), ends[0], text, sizeof text);
    np_loop_poll(loop, begin(&poll_in), ends[0], POLLIN);
    turn_for_ms(2);
    ck_assert_int_eq(shutdown(ends[0], SHUT_RDWR), 0);
    ck_assert_int_eq(result_of(&receive), 0);
    ck_assert_msg(result_of(&poll_in) & POLLIN, "%#x", (unsigned)poll_in.result);
    close(ends[0]);
    close(ends[1]);
    np_loop_stop(loop);
}
END_TEST

START_TEST(it_sends_when_there_is_room)
{
    if (!open_loop(_i))
        return;
    static char bytes[4096];
    int ends[2], more[2];
    struct asked asked = new_asked();
    struct iovec part = { bytes, sizeof bytes };
    union { struct cmsghdr header; char room[CMSG_SPACE(sizeof(int))]; } control = { 0 };
    struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1 };
    unsigned sent = 0, got = 0;
    pair(ends);
    pair(more);
    for (;; sent++) {
        np_loop_send_message(loop, begin(&asked), ends[0], &message);
        turn_for_ms(1);
        if (asked.told == 0)
            break;
        ck_assert_int_eq(result_of(&asked), sizeof bytes);
        ck_assert_uint_lt(sent, 10000);
    }
    ck_assert_msg(sent > 0 && asked.operation.pending, "the socket is full after %u", sent);
    for (; got < sent; got++)
        ck_assert_int_eq(recv(ends[1], bytes, sizeof bytes, MSG_DONTWAIT), sizeof bytes);
    ck_assert_int_eq(result_of(&asked), sizeof bytes);
    ck_assert_int_eq(recv(ends[1], bytes, sizeof bytes, MSG_DONTWAIT), sizeof bytes);
    /* A descriptor goes along. */
    message.msg_control = &control;
    message.msg_controllen = sizeof control.room;
    control.header = (struct cmsghdr){ .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof(int)) };
    memcpy(CMSG_DATA(&control.header), &more[0], sizeof(int));
    np_loop_send_message(loop, begin(&asked), ends[0], &message);
    ck_assert_int_eq(result_of(&asked), sizeof bytes);
    close(more[0]);
    ck_assert_int_eq(recvmsg(ends[1], &message, MSG_CMSG_CLOEXEC), sizeof bytes);
    memcpy(&more[0], CMSG_DATA(&control.header), sizeof(int));
    ck_assert_int_eq(send(more[0], "x", 1, 0), 1);
    close(ends[1]);
    message.msg_controllen = 0;
    np_loop_send_message(loop, begin(&asked), ends[0], &message);
    ck_assert_msg(result_of(&asked) == -EPIPE, "and no signal: %d", asked.result);
    close(ends[0]);
    close(more[0]);
    close(more[1]);
    np_loop_stop(loop);
}
END_TEST

/* ---------------------------------------------------------------- files */

START_TEST(it_reads_files_at_any_place)
{
    if (!open_loop(_i))
        return;
    char bytes[100] = ""; /* filled, as far as valgrind can see: it knows nothing of what rings write */
    struct asked asked = new_asked();
    int file = memfd_create("read", MFD_CLOEXEC);
    for (unsigned i = 0; i < 1000; i++)
        ck_assert_int_eq(write(file, &(uint8_t){ (uint8_t)i }, 1), 1);
    for (unsigned at = 0; at <= 1000; at += 100) {
        np_loop_read(loop, begin(&asked), file, bytes, sizeof bytes, at);
        ck_assert_int_eq(result_of(&asked), at < 1000 ? 100 : 0);
        for (unsigned i = 0; at < 1000 && i < 100; i++)
            ck_assert_uint_eq((uint8_t)bytes[i], (uint8_t)(at + i));
    }
    close(file);
    np_loop_read(loop, begin(&asked), file, bytes, sizeof bytes, 0);
    ck_assert_int_eq(result_of(&asked), -EBADF);
    np_loop_stop(loop);
}
END_TEST

/* What epoll refuses. In pieces, as the worker reads it. */
START_TEST(it_reads_maps_of_a_process)
{
    if (!open_loop(_i))
        return;
    static char text[1 << 20];
    unsigned used = 0;
    struct asked asked = new_asked();
    int mapped = memfd_create("that is mapped here", MFD_CLOEXEC), file = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
    ck_assert_int_eq(ftruncate(mapped, 4096), 0);
    void *memory = mmap(NULL, 4096, PROT_READ, MAP_SHARED, mapped, 0);
    ck_assert_int_ge(file, 0);
    do {
        np_loop_read(loop, begin(&asked), file, text + used, 4096, used);
        ck_assert_int_ge(result_of(&asked), 0);
        used += (unsigned)asked.result;
    } while (asked.result > 0 && used < sizeof text - 4096);
    ck_assert_msg(used > 0 && strstr(text, "that is mapped here") && text[used - 1] == '\n', "%u bytes: %.300s", used, text);
    munmap(memory, 4096);
    close(mapped);
    close(file);
    np_loop_stop(loop);
}
END_TEST

/* ---------------------------------------------------------------- polls */

START_TEST(a_poll_tells_once_what_there_is)
{
    if (!open_loop(_i))
        return;
    struct asked asked = new_asked(), again = new_asked();
    uint64_t count;
    int event = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK), ends[2];
    np_loop_poll(loop, begin(&asked), event, POLLIN);
    ck_assert_int_eq(result_of(&asked), POLLIN);
    turn_for_ms(2);
    ck_assert_msg(asked.told == 1, "once, though it is still so");
    ck_assert_int_eq(read(event, &count, sizeof count), sizeof count);
    np_loop_poll(loop, begin(&asked), event, POLLIN);
    np_loop_poll(loop, begin(&again), event, POLLIN);
    turn_for_ms(2);
    ck_assert_uint_eq(asked.told + again.told, 0);
    ck_assert_int_eq(eventfd_write(event, 1), 0);
    ck_assert_msg(result_of(&asked) == POLLIN && result_of(&again) == POLLIN, "both of two on one file");
    close(event);
    ck_assert_int_eq(pipe2(ends, O_CLOEXEC), 0);
    np_loop_poll(loop, begin(&asked), ends[0], 0);
    ck_assert_int_eq(write(ends[1], "x", 1), 1);
    turn_for_ms(5);
    ck_assert_msg(asked.told == 0, "bytes were not asked for");
    close(ends[1]);
    ck_assert_msg(result_of(&asked) & POLLHUP, "hanging up is told unasked");
    close(ends[0]);
    np_loop_poll(loop, begin(&asked), ends[0], POLLIN);
    ck_assert_int_eq(result_of(&asked), -EBADF);
    np_loop_stop(loop);
}
END_TEST

START_TEST(a_death_is_heard_of)
{
    if (!open_loop(_i))
        return;
    struct asked asked = new_asked();
    pid_t child = fork();
    if (child == 0)
        for (;;)
            pause();
    int pidfd = (int)syscall(SYS_pidfd_open, child, 0), other = fcntl(pidfd, F_DUPFD_CLOEXEC, 0);
    if (pidfd < 0) { /* valgrind */
        fprintf(stderr, "\n*** NOT RUN: a_death_is_heard_of: there are no pidfds here ***\n\n");
        kill(child, SIGKILL);
        waitpid(child, NULL, 0);
        np_loop_stop(loop);
        return;
    }
    np_loop_poll(loop, begin(&asked), pidfd, POLLIN);
    turn_for_ms(5);
    ck_assert_uint_eq(asked.told, 0);
    kill(child, SIGKILL);
    ck_assert_int_eq(result_of(&asked), POLLIN);
    ck_assert_int_eq(waitpid(child, NULL, 0), child);
    close(pidfd);
    close(other);
    np_loop_stop(loop);
}
END_TEST

/* ---------------------------------------------------------------- descriptors that are closed */

START_TEST(an_operation_is_about_the_file_that_it_was_given)
{
    if (!open_loop(_i))
        return;
    int ends[2], others[2];
    char text[8] = "";
    struct asked receive = new_asked(), poll_in = new_asked();
    pair(ends);
    np_loop_receive(loop, begin(&receive), ends[0], text, sizeof text);
    np_loop_poll(loop, begin(&poll_in), ends[0], POLLRDHUP);
    turn_for_ms(2);
    close(ends[0]);
    pair(others);
    ck_assert_msg(others[0] == ends[0], "the number is given out again");
    ck_assert_int_eq(send(others[1], "wrong", 5, 0), 5);
    close(others[1]);
    turn_for_ms(5);
    ck_assert_msg(receive.told == 0 && poll_in.told == 0, "what happens to another file of that number is not theirs");
    ck_assert_int_eq(send(ends[1], "right", 5, 0), 5);
    ck_assert_int_eq(result_of(&receive), 5);
    ck_assert_mem_eq(text, "right", 5);
    close(ends[1]);
    ck_assert_msg(result_of(&poll_in) & POLLRDHUP, "%#x", (unsigned)poll_in.result);
    close(others[0]);
    np_loop_stop(loop);
}
END_TEST

/* As with the pidfd of a client that has left, which the keeper has too. */
START_TEST(what_others_have_open_is_heard_of_no_more_after_the_end)
{
    if (!open_loop(_i))
        return;
    struct asked asked = new_asked();
    int event = eventfd(0, EFD_CLOEXEC), kept = fcntl(event, F_DUPFD_CLOEXEC, 0);
    np_loop_poll(loop, begin(&asked), event, POLLIN);
    turn_for_ms(2);
    close(event);
    np_loop_cancel(loop, &asked.operation);
    ck_assert_int_eq(result_of(&asked), -ECANCELED);
    ck_assert_int_eq(eventfd_write(kept, 1), 0);
    turn_for_ms(5);
    ck_assert_uint_eq(asked.told, 1);
    close(kept);
    np_loop_stop(loop);
}
END_TEST

/* ---------------------------------------------------------------- cancelling */

START_TEST(what_is_cancelled_is_told_so_once)
{
    if (!open_loop(_i))
        return;
    int ends[2];
    char text[8];
    struct asked asked = new_asked();
    pair(ends);
    np_loop_cancel(loop, begin(&asked)); /* of one that is not under way: nothing */
    turn_for_ms(2);
    ck_assert_uint_eq(asked.told, 0);
    np_loop_receive(loop, begin(&asked), ends[0], text, sizeof text);
    np_loop_cancel(loop, &asked.operation);
    ck_assert_msg(asked.told == 0 && asked.operation.pending, "nothing is told by the call that asks");
    ck_assert_msg(result_of(&asked) == -ECANCELED, "before it has begun: %d", asked.result);
    np_loop_receive(loop, begin(&asked), ends[0], text, sizeof text);
    turn_for_ms(2);
    np_loop_cancel(loop, &asked.operation);
    np_loop_cancel(loop, &asked.operation);
    ck_assert_msg(result_of(&asked) == -ECANCELED, "while it waits, and twice: %d", asked.result);
    np_loop_receive(loop, begin(&asked), ends[0], text, sizeof text);
    turn_for_ms(2);
    ck_assert_int_eq(send(ends[1], "x", 1, 0), 1);
    np_loop_cancel(loop, &asked.operation);
    int result = result_of(&asked);
    ck_assert_msg(result == -ECANCELED || result == 1, "one or the other: %d", result);
    if (result == -ECANCELED)
        ck_assert_msg(recv(ends[0], text, sizeof text, MSG_DONTWAIT) == 1, "and if it was in time, nothing is lost");
    turn_for_ms(2);
    ck_assert_uint_eq(asked.told, 1);
    close(ends[0]);
    close(ends[1]);
    np_loop_stop(loop);
}
END_TEST

/* Two that end in one turn; whoever is told first cancels the other and asks it anew. */
static struct {
    struct np_operation *other, *again;
    int fd, result;
    unsigned told;
} rivals[2];
static char rival_bytes[2][8];

static void rival_told(struct np_operation *operation, int result)
{
    unsigned self = operation->context == &rivals[1];
    rivals[self].told++;
    rivals[self].result = result;
    np_loop_cancel(loop, rivals[self].other);
}

START_TEST(one_that_ends_may_cancel_another_that_ends)
{
    if (!open_loop(_i))
        return;
    int ends[2][2];
    struct np_operation *operations[2];
    for (unsigned i = 0; i < 2; i++) {
        pair(ends[i]);
        operations[i] = calloc(1, sizeof **operations);
        *operations[i] = (struct np_operation){ .done = rival_told, .context = &rivals[i] };
    }
    for (unsigned round = 0; round < 50; round++) {
        memset(rivals, 0, sizeof rivals);
        for (unsigned i = 0; i < 2; i++) {
            rivals[i].other = operations[1 - i];
            np_loop_receive(loop, operations[i], ends[i][0], rival_bytes[i], 8);
        }
        turn_for_ms(1);
        for (unsigned i = 0; i < 2; i++)
            ck_assert_int_eq(send(ends[i][1], "x", 1, 0), 1);
        while (operations[0]->pending || operations[1]->pending)
            turn();
        for (unsigned i = 0; i < 2; i++) {
            ck_assert_uint_eq(rivals[i].told, 1);
            ck_assert(rivals[i].result == 1 || rivals[i].result == -ECANCELED);
            if (rivals[i].result == -ECANCELED)
                ck_assert_int_eq(recv(ends[i][0], rival_bytes[i], 8, MSG_DONTWAIT), 1);
        }
        ck_assert(rivals[0].result == 1 || rivals[1].result == 1);
    }
    for (unsigned i = 0; i < 2; i++) {
        close(ends[i][0]);
        close(ends[i][1]);
        free(operations[i]);
    }
    np_loop_stop(loop);
}
END_TEST

/* Whoever was told may free the memory at once. */
static unsigned freed;
static void free_told(struct np_operation *operation, int result)
{
    ck_assert_int_eq(result, 1);
    freed++;
    free(operation->context);
}

START_TEST(many_at_once)
{
    if (!open_loop(_i))
        return;
    enum { MANY = 800 };
    static int ends[MANY][2];
    struct many { struct np_operation operation; char byte; };
    freed = 0;
    for (unsigned i = 0; i < MANY; i++) {
        struct many *one = calloc(1, sizeof *one);
        pair(ends[i]);
        one->operation = (struct np_operation){ .done = free_told, .context = one };
        np_loop_receive(loop, &one->operation, ends[i][0], &one->byte, 1);
    }
    turn_for_ms(2);
    for (unsigned i = 0; i < MANY; i++)
        ck_assert_int_eq(send(ends[i][1], "x", 1, 0), 1);
    while (freed < MANY)
        turn();
    for (unsigned i = 0; i < MANY; i++) {
        close(ends[i][0]);
        close(ends[i][1]);
    }
    np_loop_stop(loop);
}
END_TEST

/* ---------------------------------------------------------------- futexes */

static void wake(np_shm32 *word)
{
    syscall(SYS_futex, word, FUTEX_WAKE, INT32_MAX, NULL, NULL, 0);
}

START_TEST(it_waits_for_a_futex_of_another_process)
{
    if (!open_loop(_i))
        return;
    if (!np_loop_has_futex(loop)) {
        fprintf(stderr, "\n*** NOT RUN: it_waits_for_a_futex_of_another_process: this kernel has none for this loop ***\n\n");
        np_loop_stop(loop);
        return;
    }
    struct asked asked = new_asked();
    np_shm32 *word = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    np_loop_futex_wait(loop, begin(&asked), word, 1);
    ck_assert_msg(result_of(&asked) == -EAGAIN, "it was not so: %d", asked.result);
    for (uint32_t i = 0; i < 20; i++) {
        np_loop_futex_wait(loop, begin(&asked), word, i);
        turn_for_ms(i % 2);
        ck_assert_uint_eq(asked.told, 0);
        pid_t child = fork();
        if (child == 0) {
            np_store32(word, i + 1, memory_order_release); /* pairs with nothing: another process is waited for */
            wake(word);
            _exit(0);
        }
        int result = result_of(&asked);
        ck_assert_msg(result == 0 || result == -EAGAIN, "%d", result);
        ck_assert_int_eq(waitpid(child, NULL, 0), child);
    }
    for (unsigned i = 0; i < 20; i++) {
        np_loop_futex_wait(loop, begin(&asked), word, 20);
        if (i % 2)
            turn_for_ms(1);
        np_loop_cancel(loop, &asked.operation);
        ck_assert_int_eq(result_of(&asked), -ECANCELED);
    }
    np_loop_futex_wait(loop, begin(&asked), word, 20);
    turn_for_ms(1);
    np_loop_stop(loop); /* with one under way */
    munmap(word, 4096);
}
END_TEST

/* ---------------------------------------------------------------- timers */

static unsigned fired[4], fired_count;
static void fire(struct np_timer *timer)
{
    fired[fired_count++ % 4] = (unsigned)(uintptr_t)timer->context;
    ck_assert_msg(timer->deadline_ns == INT64_MAX, "it is unset when it is due");
    if (fired_count == 1)
        np_timer_set(timer, np_monotonic_ns() + 1000000);
}

START_TEST(timers_are_due_once_and_not_early)
{
    if (!open_loop(_i))
        return;
    struct np_timer timers[2] = { { .due = fire, .context = (void *)1 }, { .due = fire, .context = (void *)2 } };
    struct asked asked = new_asked();
    fired_count = 0;
    int event = eventfd(0, EFD_CLOEXEC);
    np_loop_timer_add(loop, &timers[0]);
    np_loop_timer_add(loop, &timers[1]);
    int64_t begun_ns = np_monotonic_ns();
    np_timer_set(&timers[0], begun_ns + 3000000);
    while (fired_count < 1)
        turn();
    ck_assert_int_ge(np_monotonic_ns(), begun_ns + 3000000);
    ck_assert_uint_eq(fired[0], 1);
    begun_ns = np_monotonic_ns();
    np_timer_set(&timers[1], begun_ns + 9000000);
    np_timer_set_earlier(&timers[1], begun_ns + 6000000);
    np_timer_set_earlier(&timers[1], begun_ns + 20000000);
    ck_assert_int_eq(timers[1].deadline_ns, begun_ns + 6000000);
    while (fired_count < 3)
        turn();
    ck_assert_int_ge(np_monotonic_ns(), begun_ns + 6000000);
    ck_assert_msg(fired[1] + fired[2] == 3, "the one that set itself again, and the other");
    np_timer_set(&timers[0], np_monotonic_ns() + 1000000);
    np_timer_set(&timers[0], INT64_MAX);
    np_loop_poll(loop, begin(&asked), event, POLLIN);
    turn_for_ms(5);
    ck_assert_uint_eq(fired_count, 3);
    ck_assert_int_eq(eventfd_write(event, 1), 0);
    np_timer_set(&timers[0], np_monotonic_ns() - 1);
    turn();
    while (asked.told == 0 || fired_count < 4)
        turn();
    close(event);
    np_loop_stop(loop);
}
END_TEST

/* ---------------------------------------------------------------- a whole */

static void count_descriptors(void)
{
    signal(SIGPIPE, SIG_DFL);
    descriptors_before = open_descriptors();
}

/* The kernel ends a ring some time after it was closed, and its files with it. */
static void expect_no_descriptors(void)
{
    unsigned now = 0;
    for (unsigned tries = 0; tries < 1000 && (now = open_descriptors()) != descriptors_before; tries++)
        usleep(1000);
    ck_assert_uint_eq(now, descriptors_before);
}

int main(void)
{
    Suite *suite = suite_create("loop");
    TCase *tests = tcase_create("loop");
    tcase_set_timeout(tests, 60);
    tcase_add_checked_fixture(tests, count_descriptors, expect_no_descriptors);
    tcase_add_loop_test(tests, it_receives_what_is_there_and_what_comes, 0, LOOPS);
    tcase_add_loop_test(tests, shutting_down_ends_what_waits, 0, LOOPS);
    tcase_add_loop_test(tests, it_sends_when_there_is_room, 0, LOOPS);
    tcase_add_loop_test(tests, it_reads_files_at_any_place, 0, LOOPS);
    tcase_add_loop_test(tests, it_reads_maps_of_a_process, 0, LOOPS);
    tcase_add_loop_test(tests, a_poll_tells_once_what_there_is, 0, LOOPS);
    tcase_add_loop_test(tests, a_death_is_heard_of, 0, LOOPS);
    tcase_add_loop_test(tests, an_operation_is_about_the_file_that_it_was_given, 0, LOOPS);
    tcase_add_loop_test(tests, what_others_have_open_is_heard_of_no_more_after_the_end, 0, LOOPS);
    tcase_add_loop_test(tests, what_is_cancelled_is_told_so_once, 0, LOOPS);
    tcase_add_loop_test(tests, one_that_ends_may_cancel_another_that_ends, 0, LOOPS);
    tcase_add_loop_test(tests, many_at_once, 0, LOOPS);
    tcase_add_loop_test(tests, it_waits_for_a_futex_of_another_process, 0, LOOPS);
    tcase_add_loop_test(tests, timers_are_due_once_and_not_early, 0, LOOPS);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failures = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failures == 0 ? 0 : 1;
}
