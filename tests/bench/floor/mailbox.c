/* SPDX-License-Identifier: MIT */
#include "mailbox.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "../payload.h"

#define BYTES_MAX 4096u
#define MAILBOX_INLINE static inline __attribute__((always_inline))

struct mailbox {
    _Alignas(128) _Atomic uint64_t count; /* messages so far; the last one is in `payload` */
    char payload[BYTES_MAX];              /* beginning on the line of the count: a short one comes with it */
};

/* Private to each process but for the boxes. */
struct mailboxes {
    struct mailbox *there, *back;
    uint64_t position, sum;
    _Alignas(64) char own[BYTES_MAX];
};

static void *mailboxes_open(void)
{
    struct mailboxes *boxes = aligned_alloc(64, sizeof *boxes);
    if (!boxes)
        bench_fail("no memory for mailboxes");
    memset(boxes, 0, sizeof *boxes);
    boxes->there = bench_shared(sizeof *boxes->there);
    boxes->back = bench_shared(sizeof *boxes->back);
    return boxes;
}

static void mailboxes_close(void *state)
{
    struct mailboxes *boxes = state;
    bench_unshare(boxes->there, sizeof *boxes->there);
    bench_unshare(boxes->back, sizeof *boxes->back);
    free(boxes);
}

/* The other end is done with the message before: it has answered it. */
MAILBOX_INLINE void post(struct mailboxes *boxes, struct mailbox *box, uint64_t number, unsigned bytes)
{
    bench_bytes_write(boxes->own, number, bytes);
    memcpy(box->payload, boxes->own, bytes);
    atomic_store_explicit(&box->count, boxes->position + 1, memory_order_release); /* pairs with the acquire of fetch() */
}

MAILBOX_INLINE void fetch(struct mailboxes *boxes, struct mailbox *box, unsigned bytes)
{
    while (atomic_load_explicit(&box->count, memory_order_acquire) != boxes->position + 1)
        ;
    memcpy(boxes->own, box->payload, bytes);
    boxes->sum += bench_bytes_read(boxes->own, bytes);
}

MAILBOX_INLINE void trip(struct mailboxes *boxes, uint64_t number, unsigned bytes)
{
    post(boxes, boxes->there, number, bytes);
    fetch(boxes, boxes->back, bytes);
    boxes->position++;
}

MAILBOX_INLINE void echo(struct mailboxes *boxes, uint64_t operations, unsigned bytes)
{
    boxes->sum = 0;
    for (uint64_t number = 0; number < operations; number++, boxes->position++) {
        fetch(boxes, boxes->there, bytes);
        post(boxes, boxes->back, number, bytes);
    }
    bench_bytes_check("mailbox", boxes->sum, operations, bytes);
}

#define MAILBOX(BYTES)                                                                                                          \
    static void trip_##BYTES(void *state, uint64_t number)                                                                      \
    {                                                                                                                           \
        trip(state, number, BYTES);                                                                                             \
    }                                                                                                                           \
    static void lead_##BYTES(void *state, uint64_t operations, struct bench_histogram *samples)                                 \
    {                                                                                                                           \
        struct mailboxes *boxes = state;                                                                                        \
        boxes->sum = 0;                                                                                                         \
        bench_trips(state, operations, samples, trip_##BYTES);                                                                  \
        bench_bytes_check("mailbox", boxes->sum, operations, BYTES);                                                            \
    }                                                                                                                           \
    static void peer_##BYTES(void *state, uint64_t operations)                                                                  \
    {                                                                                                                           \
        echo(state, operations, BYTES);                                                                                         \
    }                                                                                                                           \
    const struct bench_variant floor_mailbox_##BYTES = {                                                                        \
        .name = "copies through a mailbox", .open = mailboxes_open, .close = mailboxes_close, .lead = lead_##BYTES,             \
        .peer = peer_##BYTES,                                                                                                   \
    };

MAILBOX(16)
MAILBOX(128)
MAILBOX(1024)
MAILBOX(4096)
