/* SPDX-License-Identifier: MIT
 * What the tests of src/numa share. */
#ifndef NP_TEST_PLACEMENT_HELP_H
#define NP_TEST_PLACEMENT_HELP_H

#include <check.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/error.h"

#define KIB ((size_t)1024)
#define MIB (1024 * KIB)

static inline void not_run(const char *test, const char *why)
{
    fprintf(stderr, "\n*** NOT RUN: %s: %s ***\n\n", test, why);
}

static inline void assert_sentence_has(const char *part)
{
    ck_assert_msg(strstr(np_error_sentence(), part) != NULL, "\"%s\" lacks \"%s\"", np_error_sentence(), part);
}

/* Runs `body` in a child of its own, so that what it does to itself (filters, cgroups, death) stays there. 0: it ended
 * well. */
static inline int status_of_child(void (*body)(void *), void *argument)
{
    fflush(NULL);
    pid_t child = fork();
    ck_assert_int_ge(child, 0);
    if (child == 0) {
        signal(SIGSEGV, SIG_DFL);
        body(argument);
        _exit(0);
    }
    int status;
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    return status;
}

#endif
