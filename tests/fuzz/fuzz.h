/* SPDX-License-Identifier: MIT
 *
 * A small mutation fuzzer, the same for every parser. A program gives its seeds and one function; this gives the inputs, seeded, so
 * that a run can be repeated, and says which input it was when the function crashes or hangs.
 *
 *   PROGRAM [--seed N] [--inputs N]      NUMAPOOL_TEST_PERCENT scales the inputs
 *
 * The function is named as libFuzzer wants it: clang -fsanitize=fuzzer -DNUMAPOOL_LIBFUZZER fuzzes the same code with coverage.
 */
#ifndef NP_TESTS_FUZZ_H
#define NP_TESTS_FUZZ_H

#include <inttypes.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FUZZ_INPUT_BYTES_MAX 8192u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

/* What must hold whatever the input is; the program ends with the input's number. */
#define FUZZ_MUST(condition)                                                                                    \
    do {                                                                                                        \
        if (!(condition)) {                                                                                     \
            fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, #condition);                      \
            abort();                                                                                            \
        }                                                                                                       \
    } while (0)

struct fuzz_random {
    uint64_t state;
};

/* xorshift64* (Marsaglia 2003, Vigna 2016) */
static inline uint64_t fuzz_next(struct fuzz_random *random)
{
    random->state ^= random->state >> 12;
    random->state ^= random->state << 25;
    random->state ^= random->state >> 27;
    return random->state * UINT64_C(0x2545f4914f6cdd1d);
}

static inline uint64_t fuzz_below(struct fuzz_random *random, uint64_t limit)
{
    return limit ? fuzz_next(random) % limit : 0;
}

#ifndef NUMAPOOL_LIBFUZZER

static volatile uint64_t fuzz_seed, fuzz_number;

static void fuzz_report(int signal_number)
{
    char line[160];
    int length = snprintf(line, sizeof line, "signal %d at input %" PRIu64 " of seed %" PRIu64 "\n0 passed, 1 failed\n", signal_number,
                          fuzz_number, fuzz_seed);
    if (length > 0 && write(STDOUT_FILENO, line, (size_t)length) < 0)
        _exit(2);
    _exit(1);
}

/* One of a few small changes, at random. */
static size_t fuzz_mutate_once(struct fuzz_random *random, uint8_t *data, size_t bytes)
{
    static const uint64_t edges[] = { 0, 1, 0x7f, 0x80, 0xff, 0x7fff, 0xffff, 0x7fffffff, 0x80000000u, 0xffffffffu, INT64_MAX, UINT64_MAX };
    size_t at = (size_t)fuzz_below(random, bytes + 1), length = (size_t)fuzz_below(random, 16) + 1;
    switch (fuzz_below(random, 7)) {
    case 0: /* a bit */
        if (at < bytes)
            data[at] ^= (uint8_t)(1u << fuzz_below(random, 8));
        break;
    case 1: /* a byte */
        if (at < bytes)
            data[at] = (uint8_t)fuzz_next(random);
        break;
    case 2: /* an integer at an edge */
        for (size_t i = 0; at + i < bytes && i < 8; i++)
            data[at + i] = (uint8_t)(edges[fuzz_below(random, sizeof edges / sizeof edges[0])] >> (8 * i));
        break;
    case 3: /* leave some out */
        if (at + length < bytes) {
            memmove(data + at, data + at + length, bytes - at - length);
            bytes -= length;
        }
        break;
    case 4: /* write some twice */
        if (bytes + length <= FUZZ_INPUT_BYTES_MAX && at + length <= bytes) {
            memmove(data + at + length, data + at, bytes - at);
            bytes += length;
        }
        break;
    case 5: /* cut off */
        bytes = at;
        break;
    default: /* printable */
        if (at < bytes)
            data[at] = (uint8_t)(32 + fuzz_below(random, 95));
    }
    return bytes;
}

struct fuzz_seed_input {
    const void *data;
    size_t bytes;
};

/* Runs `inputs` mutated seeds; returns the exit status. */
static inline int fuzz_main(int argc, char **argv, const struct fuzz_seed_input *seeds, size_t seed_count, uint64_t inputs)
{
    const char *percent = getenv("NUMAPOOL_TEST_PERCENT");
    static uint8_t data[FUZZ_INPUT_BYTES_MAX];
    fuzz_seed = 20240229;
    if (percent && atoi(percent) > 0)
        inputs = inputs * (uint64_t)atoi(percent) / 100 + 1;
    for (int i = 1; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--seed") == 0)
            fuzz_seed = strtoull(argv[i + 1], NULL, 0);
        if (strcmp(argv[i], "--inputs") == 0)
            inputs = strtoull(argv[i + 1], NULL, 0);
    }
    static const int fatal[] = { SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGALRM };
    for (size_t i = 0; i < sizeof fatal / sizeof fatal[0]; i++)
        signal(fatal[i], fuzz_report);
    struct fuzz_random random = { fuzz_seed * UINT64_C(0x9e3779b97f4a7c15) + 1 };
    for (fuzz_number = 0; fuzz_number < inputs; fuzz_number++) {
        const struct fuzz_seed_input *seed = &seeds[fuzz_below(&random, seed_count)];
        size_t bytes = seed->bytes < sizeof data ? seed->bytes : sizeof data;
        memcpy(data, seed->data, bytes);
        for (uint64_t changes = fuzz_number < seed_count ? 0 : fuzz_below(&random, 6) + 1; changes > 0; changes--)
            bytes = fuzz_mutate_once(&random, data, bytes);
        if (fuzz_number % 256 == 0)
            alarm(60); /* a hang */
        LLVMFuzzerTestOneInput(data, bytes);
    }
    alarm(0);
    printf("%" PRIu64 " inputs of seed %" PRIu64 "\n1 passed, 0 failed\n", (uint64_t)fuzz_number, (uint64_t)fuzz_seed);
    return 0;
}
#endif

#endif
