/* SPDX-License-Identifier: MIT */
#include "doom.h"

#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "harness.h"

enum { STEPS_BITS = 7, TIMER_NS_MAX = 8000, JOINING_CALLS = 4, JOINING = 16 };

/* relaxed everywhere here: what is told lies a system call or the end of a process before what looks at it */
#define SET(field, value) atomic_store_explicit(&(field), (value), memory_order_relaxed)

/* Of one thread: the one that has called doom_begin. */
static _Thread_local struct {
    struct doom_plan plan;
    struct doom_grave *grave;
    uint32_t calls;
    bool stepping;
    timer_t timer;
} own;
static volatile uint32_t steps_left;
static struct doom_grave nobodys;

void doom_draw(struct doom_plan *plan, uint64_t *random, unsigned calls_max)
{
    static const enum doom_way ways[16] = {
        DOOM_STEP, DOOM_STEP, DOOM_STEP, DOOM_STEP, DOOM_STEP,  DOOM_STEP,  DOOM_STEP,    DOOM_STEP,
        DOOM_STEP, DOOM_STEP, DOOM_STEP, DOOM_STEP, DOOM_TIMER, DOOM_TIMER, DOOM_BETWEEN, DOOM_NEVER,
    };
    bool joining = harness_below(random, JOINING) == 0;
    plan->way = ways[harness_below(random, 16)];
    plan->call = joining ? 1 + harness_below(random, JOINING_CALLS) : JOINING_CALLS + 1 + harness_below(random, calls_max);
    /* As many deaths between 2 and 4 instructions as between 64 and 128: most of what matters is near the beginning, and
     * steps cost some microseconds each. */
    uint32_t scale = UINT32_C(1) << (1 + harness_below(random, STEPS_BITS));
    plan->detail =
        plan->way == DOOM_TIMER ? 1 + harness_below(random, TIMER_NS_MAX) : scale / 2 + harness_below(random, scale / 2 + 1);
}

static int64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static void die(void)
{
    SET(own.grave->killed_ns, now_ns());
    syscall(SYS_kill, getpid(), SIGKILL);
}

/* ---------------------------------------------------------------- stepping oneself */

#if defined(__x86_64__)
/* Below the red zone, where the compiler may have something. */
static void set_trap_flag(void)
{
    __asm__ volatile("lea -128(%%rsp), %%rsp\n\tpushfq\n\torq $0x100, (%%rsp)\n\tpopfq\n\tlea 128(%%rsp), %%rsp"
                     :
                     :
                     : "memory", "cc");
}

static void clear_trap_flag(void)
{
    __asm__ volatile("lea -128(%%rsp), %%rsp\n\tpushfq\n\tandq $-257, (%%rsp)\n\tpopfq\n\tlea 128(%%rsp), %%rsp"
                     :
                     :
                     : "memory", "cc");
}
enum { CAN_STEP = 1 };
#else
static void set_trap_flag(void) {}
static void clear_trap_flag(void) {}
enum { CAN_STEP = 0 };
#endif

/* The kernel has cleared the flag for the handler, and sets it again when it returns. */
static void stepped(int number)
{
    (void)number;
    if (--steps_left == 0)
        die();
}

/* ---------------------------------------------------------------- calls */

int doom_begin(const struct doom_plan *plan, struct doom_grave *grave)
{
    const struct sigaction on_step = { .sa_handler = stepped };
    struct sigevent by_kill = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGKILL };
    own.plan = *plan;
    own.grave = grave ? grave : &nobodys;
    own.calls = 0;
    if (own.plan.way == DOOM_STEP && !CAN_STEP)
        own.plan.way = DOOM_TIMER;
    SET(own.grave->killed_ns, 0);
    SET(own.grave->calls, 0);
    SET(own.grave->in_call, 0);
    if (own.plan.way == DOOM_STEP && sigaction(SIGTRAP, &on_step, NULL) < 0)
        return -errno;
    return own.plan.way == DOOM_TIMER && timer_create(CLOCK_MONOTONIC, &by_kill, &own.timer) < 0 ? -errno : 0;
}

void doom_forgive(void)
{
    own.plan.way = DOOM_NEVER;
}

static void begin_doom(void)
{
    const struct itimerspec soon = { .it_value.tv_nsec = own.plan.detail };
    switch (own.plan.way) {
    case DOOM_BETWEEN:
        die();
        break;
    case DOOM_TIMER:
        SET(own.grave->killed_ns, now_ns() + own.plan.detail);
        timer_settime(own.timer, 0, &soon, NULL);
        break;
    case DOOM_STEP:
        steps_left = own.plan.detail;
        own.stepping = true;
        break;
    case DOOM_NEVER:
        break;
    }
}

void doom_call(void)
{
    if (!own.grave)
        return;
    if (++own.calls == own.plan.call)
        begin_doom();
    SET(own.grave->calls, own.calls);
    SET(own.grave->in_call, 1);
    if (own.stepping)
        set_trap_flag();
}

void doom_return(void)
{
    if (!own.grave)
        return;
    if (own.stepping) { /* the call had fewer instructions: dead as it returns */
        clear_trap_flag();
        die();
    }
    SET(own.grave->in_call, 0);
}
