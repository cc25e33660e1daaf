/* SPDX-License-Identifier: MIT
 * The worker's loop accepting connections, out of descriptors and threads, and where io_uring is refused. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "loop_help.h"

#include <linux/io_uring.h>
#include <stdatomic.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "seccomp_help.h"

static struct sockaddr_un address;
static socklen_t address_bytes;
static int listener;

/* Blocking, as the daemon's is; of the abstract kind, which leaves nothing. */
static void listen_here(void)
{
    address = (struct sockaddr_un){ .sun_family = AF_UNIX };
    int length = snprintf(address.sun_path + 1, sizeof address.sun_path - 1, "numapool-test-loop-%d", (int)getpid());
    address_bytes = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)length);
    listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(bind(listener, (struct sockaddr *)&address, address_bytes), 0);
    ck_assert_int_eq(listen(listener, 512), 0);
}

static int connected(void)
{
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    ck_assert_int_ge(fd, 0);
    ck_assert_msg(connect(fd, (struct sockaddr *)&address, address_bytes) == 0, "connect: %s", strerror(errno));
    return fd;
}

/* ---------------------------------------------------------------- accepting */

static struct {
    struct np_operation operation;
    int fds[600];
    unsigned count, errors, cancel_at;
    int error;
} accepted;

static void take(struct np_operation *operation, int result)
{
    if (result < 0) {
        ck_assert(!operation->pending);
        accepted.errors++;
        accepted.error = result;
        ck_assert_msg(result == -ECANCELED || result == -EMFILE, "%s after %u", strerror(-result), accepted.count);
        return;
    }
    ck_assert_msg(operation->pending || accepted.cancel_at != 0, "it goes on accepting");
    ck_assert_msg(fcntl(result, F_GETFD) == FD_CLOEXEC, "close-on-exec");
    ck_assert_uint_lt(accepted.count, 600);
    accepted.fds[accepted.count++] = result;
    if (accepted.count == accepted.cancel_at)
        np_loop_cancel(loop, operation);
}

static void start_accepting(unsigned cancel_at)
{
    for (unsigned i = 0; i < accepted.count; i++)
        close(accepted.fds[i]);
    memset(&accepted, 0, sizeof accepted);
    accepted.cancel_at = cancel_at;
    accepted.operation.done = take;
    np_loop_accept(loop, &accepted.operation, listener);
}

START_TEST(it_accepts_everybody)
{
    if (!open_loop(_i))
        return;
    int fds[300];
    listen_here();
    start_accepting(0);
    for (unsigned i = 0; i < 200; i++) /* at once */
        fds[i] = connected();
    while (accepted.count < 200 && accepted.errors == 0)
        turn();
    for (unsigned i = 200; i < 300; i++) { /* one by one */
        fds[i] = connected();
        while (accepted.count < i + 1)
            turn();
    }
    ck_assert(accepted.operation.pending && accepted.errors == 0);
    close(fds[0]); /* before it is accepted, and after */
    fds[0] = connected();
    close(fds[0]);
    fds[0] = connected();
    while (accepted.count < 302)
        turn();
    np_loop_cancel(loop, &accepted.operation);
    while (accepted.operation.pending)
        turn();
    ck_assert_int_eq(accepted.error, -ECANCELED);
    ck_assert_uint_eq(accepted.errors, 1);
    for (unsigned i = 0; i < 300; i++)
        close(fds[i]);
    start_accepting(0);
    np_loop_cancel(loop, &accepted.operation); /* not begun */
    while (accepted.operation.pending)
        turn();
    ck_assert_uint_eq(accepted.errors, 1);
    close(listener);
    np_loop_stop(loop);
}
END_TEST

START_TEST(accepting_is_cancelled_by_who_was_accepted)
{
    if (!open_loop(_i))
        return;
    int fds[20];
    listen_here();
    for (unsigned i = 0; i < 20; i++)
        fds[i] = connected();
    start_accepting(5);
    while (accepted.operation.pending)
        turn();
    ck_assert_uint_eq(accepted.errors, 1);
    ck_assert_int_eq(accepted.error, -ECANCELED);
    unsigned before = accepted.count;
    ck_assert_uint_ge(before, 5);
    turn_for_ms(5);
    ck_assert_uint_eq(accepted.count, before);
    start_accepting(0);
    while (accepted.count < 20 - before)
        turn();
    turn_for_ms(2);
    ck_assert_msg(accepted.count == 20 - before, "and nobody is lost");
    for (unsigned i = 0; i < 20; i++)
        close(fds[i]);
    start_accepting(0);
    close(listener);
    np_loop_stop(loop);
}
END_TEST

/* The ring of a killed process ends some time after it, and until then it listens on, in vain. Whoever connects then is this
 * loop's to hear of all the same: nobody might come after him. */
START_TEST(one_who_connects_after_a_workers_death_is_heard_of)
{
    enum { DEAD = 20, TRIALS = 5 };
    listen_here();
    for (unsigned trial = 0; trial < TRIALS; trial++) {
        pid_t dead[DEAD];
        int ready[2];
        char byte;
        ck_assert_int_eq(pipe2(ready, O_CLOEXEC), 0);
        for (unsigned i = 0; i < DEAD; i++) {
            dead[i] = fork();
            if (dead[i] == 0) {
                if (!open_loop(_i))
                    _exit(1);
                start_accepting(0);
                turn_for_ms(0); /* it is submitted */
                byte = (char)write(ready[1], "r", 1);
                for (;;)
                    np_loop_turn(loop);
            }
        }
        close(ready[1]);
        if (!open_loop(_i))
            return;
        start_accepting(0);
        turn_for_ms(1);
        for (unsigned i = 0; i < DEAD; i++)
            ck_assert_msg(read(ready[0], &byte, 1) == 1, "one of them could not listen");
        for (unsigned i = 0; i < DEAD; i++)
            kill(dead[i], SIGKILL);
        for (unsigned i = 0; i < DEAD; i++)
            ck_assert_int_eq(waitpid(dead[i], NULL, 0), dead[i]);
        int fd = connected();
        while (accepted.count == 0)
            turn();
        close(fd);
        close(ready[0]);
        start_accepting(0);
        np_loop_stop(loop);
    }
    close(listener);
}
END_TEST

static void limit_descriptors(rlim_t most)
{
    struct rlimit limit;
    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
    limit.rlim_cur = most;
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

/* The first number that is not taken, so that nothing more can be opened below it. */
static rlim_t first_free(void)
{
    int fd = fcntl(0, F_DUPFD_CLOEXEC, 0);
    ck_assert_int_ge(fd, 0);
    close(fd);
    return (rlim_t)fd;
}

/* Everything that is under way, and begins, goes on where there is no descriptor left for anything. */
START_TEST(out_of_descriptors_it_goes_on)
{
    if (getenv("NUMAPOOL_UNDER_VALGRIND")) {
        fprintf(stderr, "\n*** NOT RUN: out_of_descriptors_it_goes_on: valgrind keeps limits of its own ***\n\n");
        return;
    }
    if (!open_loop(_i))
        return;
    int ends[2], event = eventfd(0, EFD_CLOEXEC);
    char text[8];
    uint64_t count;
    struct asked before = new_asked(), receive = new_asked(), poll_in = new_asked(), cancelled = new_asked(), read_now = new_asked();
    listen_here();
    pair(ends);
    int client = connected();
    int maps = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
    np_loop_poll(loop, begin(&before), event, POLLIN);
    turn_for_ms(2);
    limit_descriptors(first_free());
    start_accepting(0);
    while (accepted.operation.pending)
        turn();
    ck_assert_msg(accepted.error == -EMFILE && accepted.count == 0, "%d", accepted.error);
    np_loop_receive(loop, begin(&receive), ends[0], text, sizeof text);
    np_loop_poll(loop, begin(&poll_in), event, POLLIN);
    np_loop_poll(loop, begin(&cancelled), event, POLLIN);
    np_loop_read(loop, begin(&read_now), maps, text, sizeof text, 0);
    turn_for_ms(15);
    ck_assert_uint_eq(before.told + receive.told + poll_in.told + cancelled.told, 0);
    ck_assert_int_eq(result_of(&read_now), sizeof text);
    np_loop_cancel(loop, &cancelled.operation);
    ck_assert_int_eq(result_of(&cancelled), -ECANCELED);
    ck_assert_int_eq(send(ends[1], "x", 1, 0), 1);
    ck_assert_int_eq(result_of(&receive), 1);
    ck_assert_int_eq(eventfd_write(event, 1), 0);
    ck_assert_int_eq(result_of(&before), POLLIN);
    ck_assert_int_eq(result_of(&poll_in), POLLIN);
    ck_assert_int_eq(read(event, &count, sizeof count), sizeof count);
    np_loop_poll(loop, begin(&poll_in), event, POLLIN);
    turn_for_ms(2);
    limit_descriptors(1024);
    turn_for_ms(15); /* now it has a descriptor */
    close(event);
    ck_assert_uint_eq(poll_in.told, 0);
    np_loop_cancel(loop, &poll_in.operation);
    ck_assert_int_eq(result_of(&poll_in), -ECANCELED);
    start_accepting(0);
    while (accepted.count < 1)
        turn();
    close(client);
    close(ends[0]);
    close(ends[1]);
    close(maps);
    close(listener);
    np_loop_stop(loop);
}
END_TEST

/* ---------------------------------------------------------------- refused */

static void in_child(void (*body)(unsigned), unsigned argument)
{
    int status;
    pid_t child = fork();
    if (child == 0) {
        body(argument);
        _exit(0);
    }
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
        fprintf(stderr, "\n*** NOT RUN: a test of refusals: seccomp filters are not to be had here ***\n\n");
    else
        ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "the child ended with %#x", (unsigned)status);
}

static void must(bool held, const char *what)
{
    if (held)
        return;
    fprintf(stderr, "child: not so: %s; %s\n", what, np_error_sentence());
    _exit(1);
}

static const struct refusal {
    long call;
    int code;
} refusals[] = {
    { SYS_io_uring_setup, EPERM },    /* a filter of a container, kernel.io_uring_disabled */
    { SYS_io_uring_setup, ENOSYS },   /* a kernel without */
    { SYS_io_uring_setup, EACCES },
    { SYS_io_uring_setup, ENOMEM },   /* before 5.12, by RLIMIT_MEMLOCK */
    { SYS_io_uring_enter, EPERM },    /* it can be made and not used */
    { SYS_io_uring_register, EPERM }, /* it can be used: only what is asked of it remains unknown */
};

static void choose_refused(unsigned which)
{
    const struct refusal *refusal = &refusals[which];
    struct np_loop *made = NULL;
    if (!refuse_call((uint32_t)refusal->call, SECCOMP_RET_ERRNO | (uint32_t)refusal->code))
        _exit(77);
    must(np_loop_start(&made, 10, NP_LOOP_AUTO) == 0, "it starts");
    bool usable = refusal->call == SYS_io_uring_register && np_loop_kind(made) == NP_LOOP_IO_URING;
    must(usable || np_loop_kind(made) == NP_LOOP_EPOLL, "on epoll");
    must(usable || np_loop_refusal(made) == refusal->code || access("/proc/sys/kernel/io_uring_disabled", F_OK) == 0, "and says why");
    np_loop_stop(made);
    if (usable)
        return;
    must(np_loop_start(&made, 10, NP_LOOP_IO_URING) < 0, "whoever insists is refused");
    must(strstr(np_error_sentence(), "io_uring_disabled") && strstr(np_error_sentence(), "--loop="), "with what to do about it");
    must(np_loop_start(&made, 10, NP_LOOP_EPOLL) == 0 && np_loop_refusal(made) == 0, "whoever does not ask is not refused");
    np_loop_stop(made);
}

START_TEST(where_io_uring_is_refused_epoll_is_taken)
{
    in_child(choose_refused, (unsigned)_i);
}
END_TEST

/* ---------------------------------------------------------------- without a thread, without futex_waitv */

static void work_without(unsigned which)
{
    static char bytes[64];
    np_shm32 word = 0;
    bool threads = which == 1;
    /* glibc falls back from clone3 to clone at ENOSYS. */
    if (!threads && (!refuse_call(SYS_clone3, SECCOMP_RET_ERRNO | ENOSYS) || !refuse_call(SYS_clone, SECCOMP_RET_ERRNO | EAGAIN)))
        _exit(77);
    if (threads && !refuse_call(SYS_futex_waitv, SECCOMP_RET_ERRNO | EPERM))
        _exit(77);
    struct asked asked = new_asked();
    must(np_loop_start(&loop, 10, NP_LOOP_EPOLL) == 0, "it starts");
    must(!np_loop_has_futex(loop), "it does not promise to hear of futexes");
    int maps = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
    np_loop_read(loop, begin(&asked), maps, bytes, sizeof bytes, 0);
    must(asked.told == 0, "nothing is told by the call that asks");
    while (asked.told == 0)
        must(np_loop_turn(loop) == 0, "a turn");
    must(asked.result == sizeof bytes, "it reads files");
    np_loop_futex_wait(loop, begin(&asked), &word, 0);
    while (asked.told == 0)
        must(np_loop_turn(loop) == 0, "a turn");
    must(asked.result == -ENOSYS, "who asks for a futex all the same hears that there is none");
    np_loop_stop(loop);
}

START_TEST(epoll_does_without_threads_and_without_futex_waitv)
{
    in_child(work_without, (unsigned)_i);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("loop_limits");
    TCase *tests = tcase_create("loop_limits");
    tcase_set_timeout(tests, 60);
    tcase_add_loop_test(tests, it_accepts_everybody, 0, LOOPS);
    tcase_add_loop_test(tests, accepting_is_cancelled_by_who_was_accepted, 0, LOOPS);
    tcase_add_loop_test(tests, one_who_connects_after_a_workers_death_is_heard_of, 0, LOOPS);
    tcase_add_loop_test(tests, out_of_descriptors_it_goes_on, 0, LOOPS);
    tcase_add_loop_test(tests, where_io_uring_is_refused_epoll_is_taken, 0, (int)(sizeof refusals / sizeof refusals[0]));
    tcase_add_loop_test(tests, epoll_does_without_threads_and_without_futex_waitv, 0, 2);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failures = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failures == 0 ? 0 : 1;
}
