/* SPDX-License-Identifier: MIT
 *
 * Payload of any size, written whole and read whole, in subject and floor alike; `bytes` is a constant where these are inlined. Of
 * 0 bytes nothing is touched, and what arrives is counted instead.
 */
#ifndef NP_BENCH_PAYLOAD_H
#define NP_BENCH_PAYLOAD_H

#include "bench.h"

static inline __attribute__((always_inline)) void bench_bytes_write(void *payload, uint64_t number, unsigned bytes)
{
    if (bytes == 0)
        return;
    uint64_t *words = bench_opaque(payload);
    for (unsigned i = 0; i < bytes / sizeof *words; i++)
        words[i] = number + i;
    bench_opaque(words);
}

/* What is to be added up of each message that arrives. */
static inline __attribute__((always_inline)) uint64_t bench_bytes_read(const void *payload, unsigned bytes)
{
    const uint64_t *words = bench_opaque((void *)(uintptr_t)payload);
    uint64_t sum = bytes == 0;
    for (unsigned i = 0; i < bytes / sizeof *words; i++)
        sum += words[i];
    return sum;
}

/* Fails unless `sum` is what messages 0 .. operations - 1 add up to. */
static inline void bench_bytes_check(const char *variant, uint64_t sum, uint64_t operations, unsigned bytes)
{
    const uint64_t words = bytes / sizeof(uint64_t);
    uint64_t expected = bytes == 0 ? operations : operations * (operations - 1) / 2 * words + operations * (words * (words - 1) / 2);
    if (sum != expected)
        bench_fail("%s: what arrived of %llu messages adds up to %llu instead of %llu", variant, (unsigned long long)operations,
                   (unsigned long long)sum, (unsigned long long)expected);
}

/* A sender's clock: the mean of BENCH_ONE_WAY_SAMPLE messages is one sample. */
struct bench_marks {
    struct bench_histogram *samples;
    int64_t clock_cost_ns, mark_ns;
};

static inline struct bench_marks bench_marks_begin(struct bench_histogram *samples)
{
    return (struct bench_marks){ .samples = samples, .clock_cost_ns = bench_clock_cost_ns(), .mark_ns = bench_now_ns() };
}

/* After message `number` - 1, counted within the lap. */
static inline __attribute__((always_inline)) void bench_marks_sent(struct bench_marks *marks, uint64_t number)
{
    if (number % BENCH_ONE_WAY_SAMPLE != 0)
        return;
    int64_t now_ns = bench_now_ns(), took_ns = now_ns - marks->mark_ns - marks->clock_cost_ns;
    bench_histogram_add(marks->samples, took_ns > 0 ? (double)took_ns / BENCH_ONE_WAY_SAMPLE : 0);
    marks->mark_ns = now_ns;
}

#endif
