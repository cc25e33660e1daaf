/* SPDX-License-Identifier: MIT
 *
 * A bank file read, each entry checked and added up, in one process: the payments example's work without its way.
 */
#ifndef NP_BENCH_FLOOR_PARSE_H
#define NP_BENCH_FLOOR_PARSE_H

#include <stdint.h>

/* Reads the file so many times. How many entries there were; each of them passed the rules, and each file's control records agreed,
 * or the program ends. */
uint64_t bench_parse(const char *path, unsigned repeats);

#endif
