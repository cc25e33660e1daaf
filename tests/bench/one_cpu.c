/* SPDX-License-Identifier: MIT */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "one_cpu.h"

#include <sched.h>
#include <stdatomic.h>

struct bench_one_cpu {
    int cpu;                                  /* the lead's */
    int home;                                 /* the peer's, outside of laps; its own */
    _Alignas(128) _Atomic uint32_t laps_left; /* by the peer */
    uint32_t laps_seen;                       /* the lead's own */
};

struct bench_one_cpu *bench_one_cpu_open(void)
{
    struct bench_one_cpu *meeting = bench_shared(sizeof *meeting);
    meeting->cpu = sched_getcpu();
    return meeting;
}

void bench_one_cpu_close(struct bench_one_cpu *meeting)
{
    bench_unshare(meeting, sizeof *meeting);
}

void bench_one_cpu_enter(struct bench_one_cpu *meeting)
{
    meeting->home = sched_getcpu();
    bench_pin(meeting->cpu);
}

void bench_one_cpu_leave(struct bench_one_cpu *meeting)
{
    bench_pin(meeting->home);
    atomic_fetch_add_explicit(&meeting->laps_left, 1, memory_order_release); /* pairs with the lead's acquire */
}

void bench_one_cpu_end(struct bench_one_cpu *meeting)
{
    meeting->laps_seen++;
    while (atomic_load_explicit(&meeting->laps_left, memory_order_acquire) != meeting->laps_seen) /* pairs with leave */
        sched_yield();
}
