/* SPDX-License-Identifier: MIT */
#include "line.h"

#include <stdatomic.h>

/* Even: the lead's turn. Both write it, so that one transfer of the line carries the turn. */
struct line {
    _Alignas(128) _Atomic uint64_t turn;
};

static void *line_open(void)
{
    return bench_shared(sizeof(struct line));
}

static void line_close(void *state)
{
    bench_unshare(state, sizeof(struct line));
}

/* release and acquire: each turn hands over what was written before it, as a message would */
static inline void pass(struct line *line, uint64_t mine)
{
    atomic_store_explicit(&line->turn, mine + 1, memory_order_release);
}

static inline void await(struct line *line, uint64_t mine)
{
    while (atomic_load_explicit(&line->turn, memory_order_acquire) != mine)
        bench_pause();
}

static void trip(void *state, uint64_t number)
{
    pass(state, number * 2);
    await(state, number * 2 + 2);
}

static void lead(void *state, uint64_t operations, struct bench_histogram *samples)
{
    bench_trips(state, operations, samples, trip);
    atomic_store_explicit(&((struct line *)state)->turn, 0, memory_order_relaxed); /* relaxed: the peer has ended this lap */
}

static void peer(void *state, uint64_t operations)
{
    for (uint64_t number = 0; number < operations; number++) {
        await(state, number * 2 + 1);
        pass(state, number * 2 + 1);
    }
}

const struct bench_variant floor_line = {
    .name = "bare line", .open = line_open, .close = line_close, .lead = lead, .peer = peer,
};
