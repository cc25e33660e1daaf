/* SPDX-License-Identifier: MIT
 *
 * Both ends of a pair on the lead's CPU for the length of a lap: who wakes the other sends no interrupt to another CPU, and
 * neither can run before the other has given the CPU away.
 */
#ifndef NP_BENCH_ONE_CPU_H
#define NP_BENCH_ONE_CPU_H

#include "bench.h"

struct bench_one_cpu;

/* Before the fork, by the lead, on its CPU. */
struct bench_one_cpu *bench_one_cpu_open(void);
void bench_one_cpu_close(struct bench_one_cpu *meeting);

/* Around a lap, in the peer. */
void bench_one_cpu_enter(struct bench_one_cpu *meeting);
void bench_one_cpu_leave(struct bench_one_cpu *meeting);

/* After its lap, in the lead, which would else spin on the CPU that the peer needs in order to leave. */
void bench_one_cpu_end(struct bench_one_cpu *meeting);

#endif
