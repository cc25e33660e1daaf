/* SPDX-License-Identifier: MIT
 *
 * Attaching as fast as is known: a process that gives three descriptors to whoever connects, which he maps. Nobody says who he
 * is, nothing is counted, checked or remembered.
 */
#ifndef NP_BENCH_FLOOR_ATTACH_H
#define NP_BENCH_FLOOR_ATTACH_H

#include <stdbool.h>
#include <stddef.h>

#include "populate.h"

#define BENCH_ATTACH_PIECES 3u

struct bench_giver;

/* Starts such a process with memory files of so many bytes, whose pages are there if `filled`. */
struct bench_giver *bench_giver_start(const size_t bytes[BENCH_ATTACH_PIECES], bool filled);
void bench_giver_stop(struct bench_giver *giver);

/* Connects, receives, maps; the page tables as well if `prefault`. */
void bench_giver_attach(const struct bench_giver *giver, bool prefault, int *connection, struct bench_memory pieces[BENCH_ATTACH_PIECES]);

#endif
