/* SPDX-License-Identifier: MIT */
#include "futex.h"

#include "../one_cpu.h"
#include "sleeper.h"

struct mailbox {
    _Alignas(128) _Atomic uint32_t count; /* messages so far; the futex */
    _Alignas(128) _Atomic uint32_t sleeps;
    _Alignas(128) char payload[BENCH_PAYLOAD_BYTES];
};

struct mailboxes {
    struct mailbox there, back;
    struct bench_one_cpu *meeting; /* where both ends are on one CPU */
};

/* One way of doing it; a constant wherever it is used, so that each variant is compiled for itself. */
struct way {
    int64_t spin_ns, think_ns;
    bool fenced;  /* both ends fence, instead of the sleeper's barrier for both */
    bool empty;   /* no payload */
    bool one_cpu;
};

#define ALWAYS_INLINE inline __attribute__((always_inline))

static void *mailboxes_open(void)
{
    return bench_shared(sizeof(struct mailboxes));
}

static void *mailboxes_open_one_cpu(void)
{
    struct mailboxes *boxes = mailboxes_open();
    boxes->meeting = bench_one_cpu_open();
    return boxes;
}

static void mailboxes_close(void *state)
{
    struct mailboxes *boxes = state;
    if (boxes->meeting)
        bench_one_cpu_close(boxes->meeting);
    bench_unshare(state, sizeof(struct mailboxes));
}

static void join(void *state, unsigned end)
{
    (void)state;
    (void)end;
    bench_barrier_register();
}

static ALWAYS_INLINE void post(struct mailbox *box, uint64_t number, struct way way)
{
    if (!way.empty)
        bench_payload_write(box->payload, number);
    if (way.fenced) {
        /* seq_cst twice: either this sees the sleeper or the sleeper sees the count */
        atomic_store_explicit(&box->count, (uint32_t)(number + 1), memory_order_seq_cst);
        if (atomic_load_explicit(&box->sleeps, memory_order_seq_cst))
            bench_futex_wake(&box->count);
        return;
    }
    atomic_store_explicit(&box->count, (uint32_t)(number + 1), memory_order_release); /* pairs with posted() */
    atomic_signal_fence(memory_order_seq_cst); /* the processor's order is the sleeper's barrier's to see to */
    if (atomic_load_explicit(&box->sleeps, memory_order_relaxed)) /* relaxed: ordered by that barrier */
        bench_futex_wake(&box->count);
}

static inline bool posted(void *state, uint64_t number)
{
    struct mailbox *box = state;
    return atomic_load_explicit(&box->count, memory_order_acquire) == (uint32_t)(number + 1); /* pairs with post() */
}

static ALWAYS_INLINE uint64_t await(struct mailbox *box, uint64_t number, struct way way)
{
    if (!bench_spin(box, number, way.spin_ns, posted)) {
        atomic_store_explicit(&box->sleeps, 1, memory_order_seq_cst); /* before the next look; pairs with post()'s store */
        if (!way.fenced)
            bench_barrier();
        while (!posted(box, number))
            bench_futex_wait(&box->count, (uint32_t)number);
        atomic_store_explicit(&box->sleeps, 0, memory_order_relaxed); /* relaxed: up too long costs a vain wake */
    }
    return way.empty ? 0 : bench_payload_read(box->payload);
}

static void check(uint64_t sum, uint64_t operations, struct way way)
{
    if (!way.empty)
        bench_payload_check("bare futex", sum, operations);
}

/* What this process read, to be compared with what was written. */
static uint64_t read_sum;

static ALWAYS_INLINE void trip(struct mailboxes *boxes, uint64_t number, struct way way)
{
    post(&boxes->there, number, way);
    read_sum += await(&boxes->back, number, way);
}

static ALWAYS_INLINE void echo(struct mailboxes *boxes, uint64_t operations, struct way way)
{
    uint64_t sum = 0;
    if (way.one_cpu)
        bench_one_cpu_enter(boxes->meeting);
    for (uint64_t number = 0; number < operations; number++) {
        sum += await(&boxes->there, number, way);
        if (way.think_ns > 0)
            bench_think(way.think_ns);
        post(&boxes->back, number, way);
    }
    if (way.one_cpu)
        bench_one_cpu_leave(boxes->meeting);
    check(sum, operations, way);
}

/* Before the next lap numbers its messages from 0 again; the peer has read the last one of this. */
static void finish(struct mailboxes *boxes, uint64_t operations, struct way way)
{
    if (way.one_cpu)
        bench_one_cpu_end(boxes->meeting);
    check(read_sum, operations, way);
    read_sum = 0;
    /* relaxed, both: the next lap's beginning orders them */
    atomic_store_explicit(&boxes->there.count, 0, memory_order_relaxed);
    atomic_store_explicit(&boxes->back.count, 0, memory_order_relaxed);
}

#define FLOOR(suffix, label, open_boxes, ...)                                                              \
    static const struct way way_##suffix = { __VA_ARGS__ };                                                \
    static void trip_##suffix(void *state, uint64_t number)                                                \
    {                                                                                                      \
        trip(state, number, way_##suffix);                                                                 \
    }                                                                                                      \
    static void lead_##suffix(void *state, uint64_t operations, struct bench_histogram *samples)           \
    {                                                                                                      \
        bench_trips(state, operations, samples, trip_##suffix);                                            \
        finish(state, operations, way_##suffix);                                                           \
    }                                                                                                      \
    static void peer_##suffix(void *state, uint64_t operations)                                            \
    {                                                                                                      \
        echo(state, operations, way_##suffix);                                                             \
    }                                                                                                      \
    const struct bench_variant floor_futex##suffix = {                                                     \
        .name = label, .open = open_boxes, .close = mailboxes_close, .join = join, .lead = lead_##suffix,  \
        .peer = peer_##suffix,                                                                             \
    }

FLOOR(, "bare futex", mailboxes_open, .fenced = true);
FLOOR(_barrier, "bare futex with a barrier", mailboxes_open, .spin_ns = 0);
FLOOR(_spin_2us, "bare futex after 2 us", mailboxes_open, .spin_ns = 2000);
FLOOR(_spin_20us, "bare futex after 20 us", mailboxes_open, .spin_ns = 20000);
FLOOR(_spin_100us, "bare futex after 100 us", mailboxes_open, .spin_ns = 100000);
FLOOR(_late, "bare futex after 20 us in vain", mailboxes_open, .spin_ns = BENCH_SPIN_NS, .think_ns = BENCH_THINK_NS, .fenced = true);
FLOOR(_one_cpu, "bare futex, one CPU", mailboxes_open_one_cpu, .fenced = true, .one_cpu = true);
FLOOR(_one_cpu_spin, "bare futex after 20 us, one CPU", mailboxes_open_one_cpu, .spin_ns = BENCH_SPIN_NS, .fenced = true, .one_cpu = true);
FLOOR(_empty, "bare futex without a payload", mailboxes_open, .fenced = true, .empty = true);
