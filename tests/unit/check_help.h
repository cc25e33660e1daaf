/* SPDX-License-Identifier: MIT
 * What the tests of pools with checks share: who listens to faults, and what he has heard. */
#ifndef NP_TEST_CHECK_HELP_H
#define NP_TEST_CHECK_HELP_H

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "pool_help.h"

static struct {
    unsigned count;
    struct numapool_fault last;
    char sentence[600];
} faults;

static inline void told(void *arg, const struct numapool_fault *fault)
{
    ck_assert_ptr_eq(arg, &faults);
    faults.count++;
    faults.last = *fault;
    snprintf(faults.sentence, sizeof faults.sentence, "%s", fault->sentence);
}

static inline void listen(void)
{
    memset(&faults, 0, sizeof faults);
    numapool_fault_set(told, &faults);
}

static inline void assert_told(int kind, int node, const void *address, const char *call)
{
    ck_assert_msg(faults.count == 1, "%u faults, the last: %s", faults.count, faults.sentence);
    ck_assert_msg(faults.last.kind == kind, "kind %d: %s", faults.last.kind, faults.sentence);
    ck_assert_int_eq(faults.last.node, node);
    ck_assert_ptr_eq(faults.last.address, address);
    ck_assert_str_eq(faults.last.pool, "pay");
    ck_assert_str_eq(faults.last.call, call);
    ck_assert_msg(strncmp(faults.sentence, call, strlen(call)) == 0, "%s", faults.sentence);
    faults.count = 0;
}

static inline void assert_sentence(const char *part)
{
    ck_assert_msg(strstr(faults.sentence, part) != NULL, "\"%s\" lacks \"%s\"", faults.sentence, part);
}

static inline void assert_quiet(void)
{
    ck_assert_msg(faults.count == 0, "%s", faults.sentence);
}

static inline uint64_t faults_of(struct numapool_pool *pool)
{
    struct numapool_stats stats = { .size = sizeof stats };
    ck_assert_int_eq(numapool_stats_read(pool, NUMAPOOL_ANY_NODE, &stats), 0);
    return stats.faults;
}

enum { SITES = NUMAPOOL_CHECKS | NUMAPOOL_CHECK_SITES };

/* Writes where nothing may be written, past AddressSanitizer and valgrind, which would rightly end the test. */
static inline void scribble(void *address, int byte, size_t n)
{
    char bytes[512];
    ck_assert_uint_le(n, sizeof bytes);
    memset(bytes, byte, n);
    int self = open("/proc/self/mem", O_WRONLY | O_CLOEXEC);
    ck_assert_int_ge(self, 0);
    ck_assert_int_eq(pwrite(self, bytes, n, (off_t)(uintptr_t)address), (ssize_t)n);
    close(self);
}

#endif
