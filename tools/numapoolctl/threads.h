/* SPDX-License-Identifier: MIT
 * On which nodes the threads of a process are, as /proc says. */
#ifndef NP_CTL_THREADS_H
#define NP_CTL_THREADS_H

#include <jansson.h>
#include <stdint.h>
#include <sys/types.h>

#include "numa/topology.h"

#define NP_THREADS_NODES_MAX 64u

struct np_threads {
    unsigned nodes; /* how many of them are in `at`, ascending */
    struct {
        int node; /* -1: of a CPU that is no node's here */
        unsigned threads;
    } at[NP_THREADS_NODES_MAX];
    unsigned unread; /* threads whose CPU could not be read, or whose node found no room in `at` */
    char why[160];   /* nothing of it could be read, because; "": it could */
};

/* Where each thread of the process runs, or ran last. start_ticks tells it from another that has got its number since, or has it in this
 * program's pid namespace; 0: any. `root` as in numa/system_files.h. Never fails: `why` says what could not be. */
void np_threads_look(struct np_threads *threads, const char *root, pid_t pid, uint64_t start_ticks, const struct np_topology *topology);

/* The line of /proc/PID/task/TID/stat: its processor and when it started, in clock ticks. -1: it is no such line. */
int np_threads_parse(const char *stat, uint64_t *start_ticks);

/* "0:3 1:1"; "-" where nothing could be read. */
void np_threads_text(const struct np_threads *threads, char *text, size_t bytes);

/* Sets "threads", a list of node and threads; "threads_unread"; and "threads_unreadable", a sentence or null. */
void np_threads_describe(const struct np_threads *threads, json_t *row);

#endif
