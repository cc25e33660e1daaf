/* SPDX-License-Identifier: MIT
 *
 * A daemon of the benchmarks' own, with one pool, in a directory of its own; it ends with the program.
 */
#ifndef NP_BENCH_DAEMON_H
#define NP_BENCH_DAEMON_H

#define BENCH_POOL "bench"

/* Starts it, the first time, and returns the path of its socket. It is the numapoold that $NUMAPOOLD names, else the one of
 * the same build tree. */
const char *bench_daemon_socket(void);

#endif
