/* SPDX-License-Identifier: MIT
 *
 * A daemon of the benchmarks' own, with its pools, in a directory of its own; it ends with the program.
 */
#ifndef NP_BENCH_DAEMON_H
#define NP_BENCH_DAEMON_H

#include <sys/types.h>

#define BENCH_POOL "bench"              /* slots of 128 bytes */
#define BENCH_POOL_64 "bench-64"        /* of 64: the least that a slot takes is a line */
#define BENCH_POOL_1024 "bench-1024"
#define BENCH_POOL_4096 "bench-4096"
#define BENCH_POOL_CHECKS "bench-checks" /* of 128, with checks */
/* Of one slot each. */
#define BENCH_TOKEN_POOL_0 "token-0"
#define BENCH_TOKEN_POOL_1 "token-1"
#define BENCH_TOKEN_POOL_2 "token-2"

/* Starts it, the first time, and returns the path of its socket. It is the numapoold that $NUMAPOOLD names, else the one of
 * the same build tree. */
const char *bench_daemon_socket(void);

/* Its keeper; started if it is not running. */
pid_t bench_daemon_pid(void);

#endif
