/* SPDX-License-Identifier: MIT */
#include "harness.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static struct {
    const char *name;
    uint64_t seed;
    unsigned percent;
    unsigned passed, failed;
    int64_t begun_ns;
} test;

/* ---------------------------------------------------------------- promises */

static uint64_t drawn_seed(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return ((uint64_t)now.tv_sec << 20 ^ (uint64_t)now.tv_nsec ^ (uint64_t)getpid() << 40) | 1;
}

void harness_begin(const char *name, int argc, char **argv)
{
    const char *percent = getenv("NUMAPOOL_TEST_PERCENT");
    test.name = name;
    test.percent = percent ? (unsigned)strtoul(percent, NULL, 10) : 100;
    if (test.percent < 1 || test.percent > 100)
        test.percent = 100;
    for (int i = 1; i + 1 < argc; i++)
        if (strcmp(argv[i], "--seed") == 0)
            test.seed = strtoull(argv[i + 1], NULL, 0);
    if (test.seed == 0)
        test.seed = drawn_seed();
    test.begun_ns = harness_now_ns();
    signal(SIGPIPE, SIG_IGN);
    harness_note("%s: seed %llu, %u %% of the work", name, (unsigned long long)test.seed, test.percent);
}

int harness_end(void)
{
    harness_note("%s: %.1f s, seed %llu", test.name, (double)(harness_now_ns() - test.begun_ns) / 1e9,
                 (unsigned long long)test.seed);
    printf("%u passed, %u failed\n", test.passed, test.failed);
    fflush(stdout);
    return test.failed > 0 || test.passed == 0;
}

bool harness_expect(bool kept, const char *promise, ...)
{
    va_list arguments;
    va_start(arguments, promise);
    printf("%s ", kept ? "ok  " : "FAIL");
    vprintf(promise, arguments);
    printf("\n");
    fflush(stdout);
    va_end(arguments);
    test.passed += kept;
    test.failed += !kept;
    return kept;
}

void harness_note(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    printf("     ");
    vprintf(format, arguments);
    printf("\n");
    fflush(stdout);
    va_end(arguments);
}

void harness_figure(const char *key, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    printf("FIGURE %s: ", key);
    vprintf(format, arguments);
    printf("\n");
    fflush(stdout);
    va_end(arguments);
}

unsigned harness_failed(void)
{
    return test.failed;
}

uint64_t harness_seed(void)
{
    return test.seed;
}

unsigned harness_scaled(unsigned full, unsigned least)
{
    unsigned scaled = (unsigned)((uint64_t)full * test.percent / 100);
    return scaled < least ? least : scaled;
}

uint64_t harness_random(uint64_t *state)
{
    uint64_t x = *state;
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    *state = x;
    return x * UINT64_C(0x2545f4914f6cdd1d);
}

unsigned harness_below(uint64_t *state, unsigned n)
{
    return (unsigned)((harness_random(state) >> 32) * n >> 32);
}

/* ---------------------------------------------------------------- time */

int64_t harness_now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

void harness_sleep_ns(int64_t duration_ns)
{
    struct timespec left = { duration_ns / 1000000000, duration_ns % 1000000000 };
    while (nanosleep(&left, &left) < 0 && errno == EINTR)
        continue;
}

bool harness_wait_until(bool (*condition)(void *context), void *context, int64_t timeout_ns)
{
    int64_t until_ns = harness_now_ns() + timeout_ns;
    while (!condition(context)) {
        if (harness_now_ns() >= until_ns)
            return condition(context);
        harness_sleep_ns(500000);
    }
    return true;
}

/* ---------------------------------------------------------------- processes */

void (*harness_confine)(void);

pid_t harness_fork(int (*body)(void *context), void *context)
{
    pid_t parent = getpid();
    fflush(stdout);
    pid_t pid = fork();
    if (pid < 0) {
        perror("fork");
        exit(2);
    }
    if (pid > 0)
        return pid;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(2);
    if (harness_confine)
        harness_confine();
    int status = body(context);
    fflush(stdout);
    _exit(status);
}

void harness_kill(pid_t pid)
{
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
}

int harness_join(pid_t pid, int64_t timeout_ns)
{
    int64_t until_ns = harness_now_ns() + timeout_ns;
    int status;
    for (;;) {
        pid_t ended = waitpid(pid, &status, WNOHANG);
        if (ended == pid)
            return status;
        if (ended < 0)
            return -1;
        if (harness_now_ns() >= until_ns)
            break;
        harness_sleep_ns(1000000);
    }
    harness_kill(pid);
    return -1;
}

char harness_process_state(pid_t pid)
{
    char path[40], line[512];
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    FILE *file = fopen(path, "r");
    if (!file)
        return 0;
    char *end = fgets(line, sizeof line, file) ? strrchr(line, ')') : NULL;
    fclose(file);
    return end && end[1] == ' ' ? end[2] : 0;
}

bool harness_is_alive(pid_t pid)
{
    char state = harness_process_state(pid);
    return state != 0 && state != 'Z' && state != 'X';
}
