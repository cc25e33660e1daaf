/* SPDX-License-Identifier: MIT
 *
 * Runs each operation under callgrind, which dumps a count for it. Besides the operations of channels (channels.c, others.c)
 * those of magazines are here.
 *
 *   operations            all of them
 *   operations --list     name, what one operation is, how many were counted, what is taken off; a line each
 *   operations --build    which compiler and flags it was built with
 */
#include <linux/membarrier.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "counts.h"

#define ROUNDS 1000u
#define BULK 32u

struct numapool_pool *counts_pool;
static struct numapool_magazine *magazine;

void counts_fail(const char *what)
{
    fprintf(stderr, "%s: %s\n", what, numapool_errormsg());
    exit(EXIT_FAILURE);
}

static void run_nothing(unsigned rounds)
{
    void *one = counts_opaque(magazine);
    for (unsigned i = 0; i < rounds; i++)
        counts_opaque(one);
}

/* Alone in a function of its own, whose instructions the test looks through one by one. */
static __attribute__((noinline)) void run_inline(unsigned rounds)
{
    struct numapool_magazine *one = counts_opaque(magazine);
    for (unsigned i = 0; i < rounds; i++) {
        void *slot = counts_opaque(numapool_get(one));
        numapool_put(one, slot);
        counts_opaque(slot);
    }
}

static void run_call(unsigned rounds)
{
    struct numapool_magazine *one = counts_opaque(magazine);
    for (unsigned i = 0; i < rounds; i++) {
        void *slot = counts_opaque(numapool_get_call(one));
        numapool_put_call(one, slot);
        counts_opaque(slot);
    }
}

static void run_bulk(unsigned rounds)
{
    struct numapool_magazine *one = counts_opaque(magazine);
    void *slots[BULK];
    for (unsigned i = 0; i < rounds; i++) {
        counts_check(numapool_get_bulk(one, slots, BULK) == 0, "get_bulk");
        counts_opaque(slots);
        numapool_put_bulk(one, slots, BULK);
        counts_opaque(slots);
    }
}

static struct numapool_pool *odd_pool;
static struct numapool_magazine *odd_magazine;

/* No power of two, and its slots come from all over it. */
static void open_odd(void)
{
    enum { SLOTS = 50000, TAKEN = 45001, STEP = 25013 };
    static void *slots[TAKEN];
    struct numapool_options options = NUMAPOOL_OPTIONS_INIT;
    options.name = "odd";
    options.slot_bytes = 128;
    options.slots = SLOTS;
    counts_check(numapool_create(&odd_pool, &options) == 0, "create");
    counts_check(numapool_magazine_open(odd_pool, NUMAPOOL_ANY_NODE, 256, &odd_magazine) == 0, "magazine_open");
    for (unsigned i = 0; i < TAKEN; i++)
        counts_check((slots[i] = numapool_get(odd_magazine)) != NULL, "get");
    for (unsigned i = 0; i < TAKEN; i++)
        numapool_put(odd_magazine, slots[(unsigned long)i * STEP % TAKEN]);
}

static void close_odd(void)
{
    counts_check(numapool_magazine_close(odd_magazine) == 0 && numapool_close(odd_pool) == 0, "close");
}

static void run_bulk_scattered(unsigned rounds)
{
    struct numapool_magazine *one = counts_opaque(odd_magazine);
    void *slots[BULK];
    for (unsigned i = 0; i < rounds; i++) {
        counts_check(numapool_get_bulk(one, slots, BULK) == 0, "get_bulk");
        counts_opaque(slots);
        numapool_put_bulk(one, slots, BULK);
        counts_opaque(slots);
    }
}

/* By pointers that nobody can see through: inline calls would be inlined otherwise. */
static void run_bulk_call(unsigned rounds)
{
    int (*volatile get_bulk)(struct numapool_magazine *, void **, unsigned) = numapool_get_bulk;
    int (*volatile put_bulk)(struct numapool_magazine *, void *const *, unsigned) = numapool_put_bulk;
    struct numapool_magazine *one = counts_opaque(magazine);
    void *slots[BULK];
    for (unsigned i = 0; i < rounds; i++) {
        counts_check(get_bulk(one, slots, BULK) == 0, "get_bulk");
        counts_opaque(slots);
        put_bulk(one, slots, BULK);
        counts_opaque(slots);
    }
}

static void run_wait(unsigned rounds)
{
    struct numapool_magazine *one = counts_opaque(magazine);
    for (unsigned i = 0; i < rounds; i++) {
        void *slot;
        counts_check(numapool_get_wait(one, &slot, NUMAPOOL_FOREVER) == 0, "get_wait");
        numapool_put(one, counts_opaque(slot));
    }
}

static void run_thread_magazine(unsigned rounds)
{
    struct numapool_pool *pool = counts_opaque(counts_pool);
    for (unsigned i = 0; i < rounds; i++)
        counts_opaque(numapool_thread_magazine(pool));
}

const struct counts_operation counts_local[] = {
    { "nothing", "round", NULL, 1, false, NULL, run_nothing, NULL },
    { "get_put_inline", "pair", "nothing", 1, false, NULL, run_inline, NULL },
    { "get_put_call", "pair", "nothing", 1, false, NULL, run_call, NULL },
    { "bulk_32", "slot", "nothing", BULK, false, NULL, run_bulk, NULL },
    { "bulk_32_scattered", "slot", "nothing", BULK, false, open_odd, run_bulk_scattered, close_odd },
    { "bulk_32_call", "slot", "nothing", BULK, false, NULL, run_bulk_call, NULL },
    { "get_wait_put", "pair", "nothing", 1, false, NULL, run_wait, NULL },
    { "thread_magazine", "call", "nothing", 1, false, NULL, run_thread_magazine, NULL },
    { 0 },
};

static const struct counts_operation *const groups[] = { counts_local, counts_channels, counts_others };

static void count(const struct counts_operation *operation)
{
    if (operation->open)
        operation->open();
    operation->run(ROUNDS / 10); /* warm: what is made at the first call is made, and symbols are bound */
    CALLGRIND_ZERO_STATS;
    if (!operation->halves)
        counts_on();
    operation->run(ROUNDS);
    if (!operation->halves)
        counts_off();
    CALLGRIND_DUMP_STATS_AT(operation->name);
    if (operation->close)
        operation->close();
}

static void list(const struct counts_operation *operation)
{
    printf("%s %s %u %s\n", operation->name, operation->per, ROUNDS * operation->each, operation->rest ? operation->rest : "-");
}

/* Where it is refused the library fences instead, on the warm path. */
static bool has_membarrier(void)
{
    long commands = syscall(SYS_membarrier, MEMBARRIER_CMD_QUERY, 0, 0);
    return commands > 0 && (commands & MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED) != 0;
}

static void print_build(void)
{
    if (!has_membarrier())
        printf("uncounted: membarrier(2) is refused here, and so there are fences on the warm path\n");
    else
#if !defined(HAVE_VALGRIND_CALLGRIND_H)
        printf("uncounted: built without <valgrind/callgrind.h>\n");
#elif defined(__clang__) || !defined(__GNUC__) || !defined(__x86_64__)
        printf("uncounted: built by another compiler than gcc, or for another machine than x86-64\n");
#else
        printf("gcc %d.%d x86_64 %s\n", __GNUC__, __GNUC_MINOR__, COUNTS_CFLAGS);
#endif
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "--build") == 0) {
        print_build();
        return EXIT_SUCCESS;
    }
    bool only_list = argc > 1 && strcmp(argv[1], "--list") == 0;
    if (!only_list) {
        struct numapool_options options = NUMAPOOL_OPTIONS_INIT;
        options.name = "counts";
        options.slot_bytes = 128;
        options.slots = 65536;
        counts_check(numapool_create(&counts_pool, &options) == 0, "create");
        counts_check(numapool_magazine_open(counts_pool, NUMAPOOL_ANY_NODE, 0, &magazine) == 0, "magazine_open");
    }
    for (unsigned group = 0; group < sizeof groups / sizeof *groups; group++)
        for (const struct counts_operation *operation = groups[group]; operation->name; operation++)
            (only_list ? list : count)(operation);
    if (!only_list) {
        counts_check(numapool_magazine_close(magazine) == 0, "magazine_close");
        counts_check(numapool_thread_magazine_close(counts_pool) == 0, "thread_magazine_close");
        counts_check(numapool_close(counts_pool) == 0, "close");
    }
    return EXIT_SUCCESS;
}
