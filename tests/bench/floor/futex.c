/* SPDX-License-Identifier: MIT */
#include "futex.h"

#include <linux/futex.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PAUSES_PER_LOOK 16u /* at the clock, while spinning */

struct mailbox {
    _Alignas(128) _Atomic uint32_t count; /* messages so far; the futex */
    _Alignas(128) _Atomic uint32_t sleeps;
    _Alignas(128) char payload[BENCH_PAYLOAD_BYTES];
};

struct mailboxes {
    struct mailbox there, back;
};

static void *mailboxes_open(void)
{
    return bench_shared(sizeof(struct mailboxes));
}

static void mailboxes_close(void *state)
{
    bench_unshare(state, sizeof(struct mailboxes));
}

static inline void post(struct mailbox *box, uint64_t number)
{
    bench_payload_write(box->payload, number);
    /* seq_cst twice: either this sees the sleeper or the sleeper sees the count */
    atomic_store_explicit(&box->count, (uint32_t)(number + 1), memory_order_seq_cst);
    if (atomic_load_explicit(&box->sleeps, memory_order_seq_cst))
        syscall(SYS_futex, &box->count, FUTEX_WAKE, 1, NULL, NULL, 0);
}

static inline bool posted(struct mailbox *box, uint64_t number)
{
    return atomic_load_explicit(&box->count, memory_order_seq_cst) == (uint32_t)(number + 1); /* pairs with post() */
}

static inline __attribute__((always_inline)) uint64_t await(struct mailbox *box, uint64_t number, int64_t spin_ns)
{
    if (spin_ns > 0 && !posted(box, number)) {
        int64_t stop_ns = bench_now_ns() + spin_ns;
        do
            for (unsigned i = 0; i < PAUSES_PER_LOOK && !posted(box, number); i++)
                bench_pause();
        while (!posted(box, number) && bench_now_ns() < stop_ns);
    }
    if (!posted(box, number)) {
        atomic_store_explicit(&box->sleeps, 1, memory_order_seq_cst);
        while (!posted(box, number))
            syscall(SYS_futex, &box->count, FUTEX_WAIT, (uint32_t)number, NULL, NULL, 0);
        atomic_store_explicit(&box->sleeps, 0, memory_order_relaxed); /* relaxed: up too long costs a vain wake */
    }
    return bench_payload_read(box->payload);
}

/* What this process read, to be compared with what was written. */
static uint64_t read_sum;

static inline __attribute__((always_inline)) void echo(struct mailboxes *boxes, uint64_t operations, int64_t spin_ns)
{
    uint64_t sum = 0;
    for (uint64_t number = 0; number < operations; number++) {
        sum += await(&boxes->there, number, spin_ns);
        post(&boxes->back, number);
    }
    bench_payload_check("bare futex", sum, operations);
}

static void trip(void *state, uint64_t number)
{
    struct mailboxes *boxes = state;
    post(&boxes->there, number);
    read_sum += await(&boxes->back, number, 0);
}

static void trip_spin(void *state, uint64_t number)
{
    struct mailboxes *boxes = state;
    post(&boxes->there, number);
    read_sum += await(&boxes->back, number, BENCH_SPIN_NS);
}

/* Before the next lap numbers its messages from 0 again; the peer has ended this one. */
static void finish(struct mailboxes *boxes, uint64_t operations)
{
    bench_payload_check("bare futex", read_sum, operations);
    read_sum = 0;
    atomic_store_explicit(&boxes->there.count, 0, memory_order_relaxed);
    atomic_store_explicit(&boxes->back.count, 0, memory_order_relaxed);
}

static void lead(void *state, uint64_t operations, struct bench_histogram *samples)
{
    bench_trips(state, operations, samples, trip);
    finish(state, operations);
}

static void lead_spin(void *state, uint64_t operations, struct bench_histogram *samples)
{
    bench_trips(state, operations, samples, trip_spin);
    finish(state, operations);
}

static void peer(void *state, uint64_t operations)
{
    echo(state, operations, 0);
}

static void peer_spin(void *state, uint64_t operations)
{
    echo(state, operations, BENCH_SPIN_NS);
}

const struct bench_variant floor_futex = {
    .name = "bare futex", .open = mailboxes_open, .close = mailboxes_close, .lead = lead, .peer = peer,
};
const struct bench_variant floor_futex_spin = {
    .name = "bare futex with the same spin", .open = mailboxes_open, .close = mailboxes_close, .lead = lead_spin,
    .peer = peer_spin,
};
