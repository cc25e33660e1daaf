/* SPDX-License-Identifier: MIT
 *
 * What the command line asks for.
 */
#ifndef NP_BENCH_OPTIONS_H
#define NP_BENCH_OPTIONS_H

#include "bench.h"

struct bench_command {
    struct bench_options options;
    const char *json, *markdown, *plots, *baseline; /* NULL: not asked for */
    bool histograms, list;
    char *const *names; /* what to measure; none: everything */
    int name_count;
};

/* Ends the program with a sentence on what cannot be done, or with the help that was asked for. */
void bench_command_parse(struct bench_command *command, int argc, char **argv);
/* A name selects the row that is called so; else every row that begins with it. */
bool bench_is_selected(const struct bench_command *command, const char *name);
/* The names of everything, and what they should reach. */
void bench_list(void);

#endif
