/* SPDX-License-Identifier: MIT
 * The daemon's log: where it goes, what it falls back to, and that it never waits. The journal is a socket of the test's own. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "daemon/log.h"

static char directory[64], path[96], text[8192];
static int journal, errors[2], stderr_before;

static void begin(void)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    strcpy(directory, "/tmp/numapool-log-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(directory));
    snprintf(path, sizeof path, "%s/journal", directory);
    strcpy(address.sun_path, path);
    journal = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(bind(journal, (struct sockaddr *)&address, sizeof address), 0);
    ck_assert_int_eq(pipe2(errors, O_NONBLOCK | O_CLOEXEC), 0);
    stderr_before = dup(STDERR_FILENO);
    ck_assert_int_ge(dup2(errors[1], STDERR_FILENO), 0);
    unsetenv("JOURNAL_STREAM");
}

static void finish(void)
{
    dup2(stderr_before, STDERR_FILENO);
    close(stderr_before);
    close(journal);
    unlink(path);
    rmdir(directory);
}

/* One record, or the standard error's lines; "" : nothing came. */
static const char *in_journal(void)
{
    ssize_t bytes = recv(journal, text, sizeof text - 1, 0);
    text[bytes > 0 ? bytes : 0] = '\0';
    return text;
}

static const char *on_stderr(void)
{
    ssize_t bytes = read(errors[0], text, sizeof text - 1);
    text[bytes > 0 ? bytes : 0] = '\0';
    return text;
}

static void name_stream_of_stderr(void)
{
    struct stat status;
    char value[64];
    ck_assert_int_eq(fstat(STDERR_FILENO, &status), 0);
    snprintf(value, sizeof value, "%ju:%ju", (uintmax_t)status.st_dev, (uintmax_t)status.st_ino);
    setenv("JOURNAL_STREAM", value, 1);
}

START_TEST(a_record_has_the_message_and_its_fields)
{
    np_log_start("worker", NP_LOG_INFO, NP_LOG_TO_JOURNAL, path);
    np_log_of(NP_LOG_WARN, (struct np_log_about){ .pool = "pay", .client = 7, .pid = 42 }, "pool '%s' is lost", "pay");
    ck_assert_str_eq(in_journal(), "MESSAGE=pool 'pay' is lost\nPRIORITY=4\nSYSLOG_IDENTIFIER=numapoold\nNUMAPOOL_PART=worker\n"
                                   "NUMAPOOL_POOL=pay\nNUMAPOOL_CLIENT=7\nNUMAPOOL_PID=42\n");
    np_log(NP_LOG_ERROR, "all is lost");
    ck_assert_str_eq(in_journal(), "MESSAGE=all is lost\nPRIORITY=3\nSYSLOG_IDENTIFIER=numapoold\nNUMAPOOL_PART=worker\n");
    np_log(NP_LOG_DEBUG, "nobody wants to know");
    ck_assert_str_eq(in_journal(), "");
    ck_assert_str_eq(on_stderr(), "");
}
END_TEST

START_TEST(what_clients_name_themselves_makes_no_fields_and_no_lines)
{
    np_log_start("worker", NP_LOG_INFO, NP_LOG_TO_JOURNAL, path);
    np_log_of(NP_LOG_INFO, (struct np_log_about){ .pool = "a\nPRIORITY=0" }, "client (x\nPRIORITY=0\033[2J)");
    ck_assert_str_eq(in_journal(), "MESSAGE=client (x?PRIORITY=0?[2J)\nPRIORITY=6\nSYSLOG_IDENTIFIER=numapoold\nNUMAPOOL_PART=worker\n"
                                   "NUMAPOOL_POOL=a?PRIORITY=0\n");
}
END_TEST

START_TEST(by_itself_it_goes_where_systemd_has_connected_the_standard_error)
{
    np_log_start("keeper", NP_LOG_INFO, NP_LOG_TO_AUTO, path);
    np_log(NP_LOG_INFO, "ready");
    ck_assert_str_eq(on_stderr(), "numapoold keeper: info: ready\n");
    name_stream_of_stderr();
    np_log_start("keeper", NP_LOG_INFO, NP_LOG_TO_AUTO, path);
    np_log(NP_LOG_INFO, "ready");
    ck_assert_ptr_nonnull(strstr(in_journal(), "MESSAGE=ready\n"));
    ck_assert_str_eq(on_stderr(), "");
    setenv("JOURNAL_STREAM", "1:1", 1); /* of a standard error that was redirected since */
    np_log_start("keeper", NP_LOG_INFO, NP_LOG_TO_AUTO, path);
    np_log(NP_LOG_INFO, "ready");
    ck_assert_str_eq(on_stderr(), "numapoold keeper: info: ready\n");
    name_stream_of_stderr();
    np_log_start("keeper", NP_LOG_INFO, NP_LOG_TO_STDERR, path);
    np_log(NP_LOG_INFO, "ready");
    ck_assert_str_eq(on_stderr(), "numapoold keeper: info: ready\n");
    ck_assert_str_eq(in_journal(), "");
}
END_TEST

START_TEST(without_a_journal_it_goes_to_the_standard_error)
{
    np_log_start("worker", NP_LOG_INFO, NP_LOG_TO_JOURNAL, "/nonexistent/socket");
    np_log(NP_LOG_WARN, "still heard");
    ck_assert_str_eq(on_stderr(), "numapoold worker: warn: still heard\n");
}
END_TEST

/* Would it wait, this would never end: nobody reads. */
START_TEST(a_journal_that_is_stopped_does_not_stop_the_daemon_and_what_was_lost_is_counted)
{
    np_log_start("worker", NP_LOG_INFO, NP_LOG_TO_JOURNAL, path);
    for (unsigned i = 0; i < 5000; i++)
        np_log(NP_LOG_INFO, "line %u", i);
    unsigned records = 0;
    while (*in_journal())
        records++;
    ck_assert_uint_lt(records, 5000);
    np_log(NP_LOG_INFO, "again");
    char wanted[80];
    snprintf(wanted, sizeof wanted, "MESSAGE=again (%u lines before this were lost)\n", 5000 - records);
    ck_assert_msg(strncmp(in_journal(), wanted, strlen(wanted)) == 0, "'%s' does not begin '%s'", text, wanted);
    np_log(NP_LOG_INFO, "and again");
    ck_assert_ptr_nonnull(strstr(in_journal(), "MESSAGE=and again\n"));
}
END_TEST

enum { WRITERS = 2, OTHERS = 2, ROUNDS = 600, FULL = 4096 };

/* Says how often it has written, or has seen that it cannot. */
static void write_always(_Atomic unsigned *lines)
{
    np_log_start("worker", NP_LOG_INFO, NP_LOG_TO_STDERR, path);
    for (;;) {
        np_log(NP_LOG_INFO, "a line");
        atomic_fetch_add_explicit(lines, 1, memory_order_relaxed);
    }
}

/* Another program that has the same pipe. */
static void fill_always(void)
{
    static char page[FULL];
    int own = open("/proc/self/fd/2", O_WRONLY | O_NONBLOCK);
    while (own >= 0)
        (void)!write(own, page, sizeof page);
    _exit(1);
}

static bool all_go_on(_Atomic unsigned *lines)
{
    for (unsigned i = 0; i < WRITERS; i++) {
        unsigned before = atomic_load_explicit(&lines[i], memory_order_relaxed);
        time_t until = time(NULL) + 20;
        while (atomic_load_explicit(&lines[i], memory_order_relaxed) == before)
            if (time(NULL) > until)
                return false;
    }
    return true;
}

/* Several programs have the pipe, as in a container. Whoever asks whether there is room, and then writes, may find that another was
 * faster, and wait for a reader that does not come. */
START_TEST(a_pipe_that_others_fill_and_nobody_reads_stops_nobody)
{
    _Atomic unsigned *lines = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pid_t writers[WRITERS + OTHERS];
    bool went_on = true;
    ck_assert_ptr_ne(lines, MAP_FAILED);
    ck_assert_int_ge(fcntl(errors[1], F_SETPIPE_SZ, FULL), FULL);
    ck_assert_int_eq(fcntl(STDERR_FILENO, F_SETFL, 0), 0); /* as it is given to a daemon */
    for (unsigned i = 0; i < WRITERS + OTHERS; i++)
        if ((writers[i] = fork()) == 0) {
            if (i < WRITERS)
                write_always(&lines[i]);
            fill_always();
        }
    for (unsigned i = 0; i < ROUNDS && went_on; i++) {
        on_stderr();
        went_on = all_go_on(lines);
    }
    for (unsigned i = 0; i < WRITERS + OTHERS; i++) {
        kill(writers[i], SIGKILL);
        waitpid(writers[i], NULL, 0);
    }
    ck_assert(went_on);
}
END_TEST

START_TEST(what_others_can_make_happen_is_told_ten_times_and_then_counted)
{
    struct np_log_limit limit = { 0 };
    unsigned due = 0, untold = 77;
    for (unsigned i = 0; i < 1000; i++) {
        due += np_log_is_due(&limit, &untold);
        ck_assert_uint_eq(untold, 0);
    }
    ck_assert_uint_eq(due, 10);
    limit.since_ns -= INT64_C(11000000000); /* eleven seconds later */
    ck_assert(np_log_is_due(&limit, &untold));
    ck_assert_uint_eq(untold, 990);
    ck_assert(np_log_is_due(&limit, &untold));
    ck_assert_uint_eq(untold, 0);
}
END_TEST

START_TEST(a_line_that_is_too_long_is_cut)
{
    static char longest[4000];
    memset(longest, 'x', sizeof longest - 1);
    np_log_start("worker", NP_LOG_INFO, NP_LOG_TO_JOURNAL, path);
    np_log(NP_LOG_INFO, "%s", longest);
    size_t bytes = strcspn(in_journal(), "\n");
    ck_assert_uint_ge(bytes, 900);
    ck_assert_str_eq(text + bytes, "\nPRIORITY=6\nSYSLOG_IDENTIFIER=numapoold\nNUMAPOOL_PART=worker\n");
    np_log_start("worker", NP_LOG_INFO, NP_LOG_TO_STDERR, path);
    np_log(NP_LOG_INFO, "%s", longest);
    ck_assert_int_eq(on_stderr()[strlen(text) - 1], '\n');
    ck_assert_uint_eq(strcspn(text, "\n"), strlen(text) - 1);
}
END_TEST

START_TEST(its_words_are_read_and_written)
{
    static const char *const words[] = { "auto", "stderr", "journal" };
    enum np_log_to to;
    for (int i = 0; i < 3; i++) {
        ck_assert_int_eq(np_log_to_parse(words[i], &to), 0);
        ck_assert_int_eq((int)to, i);
        ck_assert_str_eq(np_log_to_name(to), words[i]);
    }
    ck_assert_int_eq(np_log_to_parse("syslog", &to), -EINVAL);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("the daemon's log");
    TCase *all = tcase_create("all");
    tcase_add_checked_fixture(all, begin, finish);
    tcase_add_test(all, a_record_has_the_message_and_its_fields);
    tcase_add_test(all, what_clients_name_themselves_makes_no_fields_and_no_lines);
    tcase_add_test(all, by_itself_it_goes_where_systemd_has_connected_the_standard_error);
    tcase_add_test(all, without_a_journal_it_goes_to_the_standard_error);
    tcase_add_test(all, a_journal_that_is_stopped_does_not_stop_the_daemon_and_what_was_lost_is_counted);
    tcase_set_timeout(all, 120);
    tcase_add_test(all, a_pipe_that_others_fill_and_nobody_reads_stops_nobody);
    tcase_add_test(all, what_others_can_make_happen_is_told_ten_times_and_then_counted);
    tcase_add_test(all, a_line_that_is_too_long_is_cut);
    tcase_add_test(all, its_words_are_read_and_written);
    suite_add_tcase(suite, all);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
