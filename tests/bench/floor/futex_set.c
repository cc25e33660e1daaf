/* SPDX-License-Identifier: MIT */
#include "futex_set.h"

#include <poll.h>
#include <sys/eventfd.h>

#include "futex.h"
#include "sleeper.h"

/* A mailbox whose number is 0 before anything was posted. */
struct box {
    _Alignas(128) _Atomic uint32_t count;
    _Alignas(128) char payload[BENCH_PAYLOAD_BYTES];
};

/* Who waits: for any of his boxes. */
struct waiter {
    _Alignas(128) _Atomic uint32_t sleeps;
    _Alignas(128) _Atomic uint32_t bell; /* the futex; rung only while he sleeps */
};

struct boxes {
    struct waiter lead, peer;
    struct box there, back[BENCH_SET_MEMBERS];
    int eventfd;
};

#define ALWAYS_INLINE inline __attribute__((always_inline))

static void *boxes_open(void)
{
    return bench_shared(sizeof(struct boxes));
}

static void boxes_close(void *state)
{
    bench_unshare(state, sizeof(struct boxes));
}

static void *boxes_open_eventfd(void)
{
    struct boxes *boxes = boxes_open();
    boxes->eventfd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (boxes->eventfd < 0)
        bench_fail("no eventfd: %m");
    return boxes;
}

static void boxes_close_eventfd(void *state)
{
    close(((struct boxes *)state)->eventfd);
    boxes_close(state);
}

static void join(void *state, unsigned end)
{
    (void)state;
    (void)end;
    bench_barrier_register();
}

static ALWAYS_INLINE bool is_full(struct box *box, uint64_t number)
{
    return atomic_load_explicit(&box->count, memory_order_acquire) == (uint32_t)(number + 1); /* pairs with fill() */
}

static ALWAYS_INLINE void fill(struct box *box, uint64_t number)
{
    bench_payload_write(box->payload, number);
    atomic_store_explicit(&box->count, (uint32_t)(number + 1), memory_order_release); /* pairs with is_full() */
    atomic_signal_fence(memory_order_seq_cst); /* the processor's order is the sleeper's barrier's to see to */
}

static ALWAYS_INLINE void post(struct box *box, struct waiter *waiter, uint64_t number)
{
    fill(box, number);
    if (atomic_load_explicit(&waiter->sleeps, memory_order_relaxed)) { /* relaxed: ordered by the sleeper's barrier */
        atomic_fetch_add_explicit(&waiter->bell, 1, memory_order_release); /* pairs with the waiter's look after its sleep */
        bench_futex_wake(&waiter->bell);
    }
}

static ALWAYS_INLINE void await(struct waiter *waiter, void *state, uint64_t number, int64_t spin_ns,
                                bool (*there)(void *state, uint64_t number))
{
    if (bench_spin(state, number, spin_ns, there))
        return;
    uint32_t seen = atomic_load_explicit(&waiter->bell, memory_order_acquire);
    atomic_store_explicit(&waiter->sleeps, 1, memory_order_seq_cst); /* before the next look */
    bench_barrier();
    while (!there(state, number)) {
        bench_futex_wait(&waiter->bell, seen);
        seen = atomic_load_explicit(&waiter->bell, memory_order_acquire);
    }
    atomic_store_explicit(&waiter->sleeps, 0, memory_order_relaxed); /* relaxed: up too long costs a vain wake */
}

static ALWAYS_INLINE bool sent(void *state, uint64_t number)
{
    return is_full(&((struct boxes *)state)->there, number);
}

/* Looks at all of them, since it does not know which will be the one. */
static ALWAYS_INLINE struct box *any_full(struct boxes *boxes, uint64_t number)
{
    struct box *full = NULL;
    for (unsigned i = 0; i < BENCH_SET_MEMBERS; i++)
        if (is_full(&boxes->back[i], number))
            full = &boxes->back[i];
    return full;
}

static ALWAYS_INLINE bool answered(void *state, uint64_t number)
{
    return any_full(state, number) != NULL;
}

static uint64_t read_sum;

static ALWAYS_INLINE void trip(struct boxes *boxes, uint64_t number, int64_t spin_ns)
{
    post(&boxes->there, &boxes->peer, number);
    await(&boxes->lead, boxes, number, spin_ns, answered);
    read_sum += bench_payload_read(any_full(boxes, number)->payload);
}

static void trip_sleep(void *state, uint64_t number)
{
    trip(state, number, 0);
}

static void trip_spin(void *state, uint64_t number)
{
    trip(state, number, BENCH_SPIN_NS);
}

static ALWAYS_INLINE void echo(struct boxes *boxes, uint64_t operations, int64_t spin_ns)
{
    uint64_t sum = 0;
    for (uint64_t number = 0; number < operations; number++) {
        await(&boxes->peer, boxes, number, spin_ns, sent);
        sum += bench_payload_read(boxes->there.payload);
        post(&boxes->back[number % BENCH_SET_MEMBERS], &boxes->lead, number);
    }
    bench_payload_check("bare futex", sum, operations);
}

/* Before the next lap numbers its messages from 0 again; the peer has read the last one of this. */
static void finish(struct boxes *boxes, uint64_t operations)
{
    bench_payload_check("bare futex", read_sum, operations);
    read_sum = 0;
    /* relaxed, all: the next lap's beginning orders them */
    atomic_store_explicit(&boxes->there.count, 0, memory_order_relaxed);
    for (unsigned i = 0; i < BENCH_SET_MEMBERS; i++)
        atomic_store_explicit(&boxes->back[i].count, 0, memory_order_relaxed);
}

static void lead_sleep(void *state, uint64_t operations, struct bench_histogram *samples)
{
    bench_trips(state, operations, samples, trip_sleep);
    finish(state, operations);
}

static void lead_spin(void *state, uint64_t operations, struct bench_histogram *samples)
{
    bench_trips(state, operations, samples, trip_spin);
    finish(state, operations);
}

static void peer_sleep(void *state, uint64_t operations)
{
    echo(state, operations, 0);
}

static void peer_spin(void *state, uint64_t operations)
{
    echo(state, operations, BENCH_SPIN_NS);
}

const struct bench_variant floor_futex_set = {
    .name = "bare futex of four mailboxes", .open = boxes_open, .close = boxes_close, .join = join, .lead = lead_sleep,
    .peer = peer_sleep,
};
const struct bench_variant floor_futex_set_spin = {
    .name = "bare futex of four mailboxes after 20 us", .open = boxes_open, .close = boxes_close, .join = join,
    .lead = lead_spin, .peer = peer_spin,
};

/* ---------------------------------------------------------------- eventfd */

static void trip_eventfd(void *state, uint64_t number)
{
    struct boxes *boxes = state;
    struct pollfd readable = { .fd = boxes->eventfd, .events = POLLIN };
    uint64_t count;
    post(&boxes->there, &boxes->peer, number);
    while (read(boxes->eventfd, &count, sizeof count) < 0)
        poll(&readable, 1, -1);
    read_sum += bench_payload_read(any_full(boxes, number)->payload);
}

static void lead_eventfd(void *state, uint64_t operations, struct bench_histogram *samples)
{
    bench_trips(state, operations, samples, trip_eventfd);
    finish(state, operations);
}

static void peer_eventfd(void *state, uint64_t operations)
{
    struct boxes *boxes = state;
    const uint64_t one = 1;
    uint64_t sum = 0;
    for (uint64_t number = 0; number < operations; number++) {
        await(&boxes->peer, boxes, number, 0, sent);
        sum += bench_payload_read(boxes->there.payload);
        fill(&boxes->back[number % BENCH_SET_MEMBERS], number);
        if (write(boxes->eventfd, &one, sizeof one) < 0)
            bench_fail("the eventfd cannot be written: %m");
    }
    bench_payload_check("bare eventfd", sum, operations);
}

const struct bench_variant floor_eventfd = {
    .name = "bare eventfd", .open = boxes_open_eventfd, .close = boxes_close_eventfd, .join = join, .lead = lead_eventfd,
    .peer = peer_eventfd,
};
