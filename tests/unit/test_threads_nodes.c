/* SPDX-License-Identifier: MIT
 * Threads that wander between the nodes of a pool, each with its magazine, put what others got elsewhere, and wait: after that every slot of
 * every magazine and depot is of its node, none is lost, and what was counted adds up. */
#include "nodes_help.h"

#include <pthread.h>
#include <sched.h>
#include <stdio.h>

enum { THREADS = 4, HELD_MAX = 48, SHELVES = 64 };

static struct numapool_pool *pool;
static unsigned rounds, nodes;
static _Atomic unsigned wrong;
static _Atomic uint64_t refilled; /* slots that came out of depots and arenas, as the threads themselves count them */
static _Atomic bool over;

/* Where threads leave slots for each other. */
static _Atomic(void *) shelves[SHELVES];

static void expect(bool condition, const char *what)
{
    if (!condition) {
        fprintf(stderr, "%s (%s)\n", what, numapool_errormsg());
        atomic_fetch_add_explicit(&wrong, 1, memory_order_relaxed);
    }
}

struct wanderer {
    unsigned number;
    bool waits;
};

static unsigned next(unsigned *random)
{
    return (*random = *random * 1103515245u + 12345u) >> 8;
}

/* M1, by the magazine's owner. */
static unsigned strays(const struct numapool_magazine *of)
{
    const struct np_magazine *magazine = (const struct np_magazine *)of;
    unsigned count = 0;
    for (void *const *slot = magazine->slots; slot < magazine->fast.top; slot++)
        count += np_arena_index_of(&pool->arenas[magazine->arena].arena, *slot) < 0;
    return count;
}

static size_t stack_of(const struct numapool_magazine *magazine)
{
    return (size_t)(magazine->top - magazine->bottom);
}

static void *wander(void *argument)
{
    const struct wanderer *self = argument;
    struct numapool_magazine *magazine = NULL;
    void *held[HELD_MAX];
    unsigned n = 0, random = 4711 + self->number;
    uint64_t came = 0;
    nodes_here = (int)(self->number % nodes);
    expect(numapool_magazine_open(pool, NUMAPOOL_OWN_NODE, self->number % 2 ? 16 : 0, &magazine) == 0, "open");
    for (unsigned round = 0; round < rounds; round++) {
        if (next(&random) % 64 == 0)
            nodes_here = (int)(next(&random) % nodes);
        const unsigned what = next(&random) % 8;
        if (what < 4 && n < HELD_MAX) {
            const bool refills = magazine->top == magazine->bottom;
            void *slot = NULL;
            if (self->waits && refills && what == 0)
                (void)numapool_get_wait(magazine, &slot, 100000);
            else
                slot = numapool_get(magazine);
            came += slot && refills ? 1 + stack_of(magazine) : 0;
            if (slot) {
                memcpy(slot, &self->number, sizeof self->number); /* two owners at once would race */
                held[n++] = slot;
            }
        } else if (what < 7 && n > 0) {
            const unsigned which = next(&random) % n;
            expect(memcmp(held[which], &self->number, sizeof self->number) == 0, "a slot had two owners");
            /* acq_rel: what the one wrote into the slot is over before the other does */
            void *other = atomic_exchange_explicit(&shelves[next(&random) % SHELVES], held[which], memory_order_acq_rel);
            held[which] = held[--n];
            if (other)
                expect(numapool_put(magazine, other) == 0, "put");
        } else if (n > 3) {
            expect(numapool_put_bulk(magazine, held + n - 3, 3) == 0, "put_bulk");
            n -= 3;
        }
        if (next(&random) % 512 == 0) {
            expect(strays(magazine) == 0, "a magazine has slots of another node");
            numapool_flush(magazine);
        }
    }
    expect(numapool_put_bulk(magazine, held, n) == 0 || n == 0, "put_bulk");
    expect(strays(magazine) == 0, "a magazine has slots of another node");
    expect(numapool_magazine_close(magazine) == 0, "close");
    atomic_fetch_add_explicit(&refilled, came, memory_order_relaxed);
    return NULL;
}

/* Tries to close the pool under those who follow. */
static void *closer(void *argument)
{
    (void)argument;
    while (!atomic_load_explicit(&over, memory_order_relaxed)) {
        expect(numapool_close(pool) == -EBUSY, "a pool was closed under its magazines");
        sched_yield();
    }
    return NULL;
}

static void run(bool far, uint64_t flags, unsigned each)
{
    struct wanderer wanderers[THREADS];
    pthread_t threads[THREADS], closing;
    nodes = far ? 2 : 3;
    pool = make_nodes(NODES(0, 1, 2), each, flags);
    nodes_set_distance(0, 2, 30);
    nodes_set_distance(1, 2, 15);
    if (far)
        make_far(pool, 2);
    struct numapool_magazine *stays = open_on(pool, 0, 1); /* so that there always is one */
    atomic_store_explicit(&wrong, 0, memory_order_relaxed);
    atomic_store_explicit(&refilled, 0, memory_order_relaxed);
    atomic_store_explicit(&over, false, memory_order_relaxed);
    ck_assert_int_eq(pthread_create(&closing, NULL, closer, NULL), 0);
    for (unsigned i = 0; i < THREADS; i++) {
        wanderers[i] = (struct wanderer){ i, i % 2 == 0 };
        ck_assert_int_eq(pthread_create(&threads[i], NULL, wander, &wanderers[i]), 0);
    }
    for (unsigned i = 0; i < THREADS; i++)
        ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
    atomic_store_explicit(&over, true, memory_order_relaxed);
    ck_assert_int_eq(pthread_join(closing, NULL), 0);
    ck_assert_uint_eq(atomic_load_explicit(&wrong, memory_order_relaxed), 0);
    for (unsigned i = 0; i < SHELVES; i++) {
        void *slot = atomic_exchange_explicit(&shelves[i], NULL, memory_order_relaxed);
        if (slot)
            ck_assert_int_eq(numapool_put(stays, slot), 0);
    }
    close_on(stays);
    assert_all_at_home(pool);
    assert_sums(pool);
    ck_assert_uint_gt(SUM(pool, followed), 10);
    ck_assert_int_eq(SUM(pool, tiered) > 0, far);
    if (flags & NUMAPOOL_STRICT)
        ck_assert_uint_eq(SUM(pool, spilled) + SUM(pool, remote), 0);
    close_pool(pool);
}

START_TEST(threads_that_wander_leave_every_slot_at_home)
{
    static const struct {
        bool far;
        uint64_t flags;
        unsigned each;
    } pools[] = { { false, 0, 4096 }, { false, 0, 60 }, { true, 0, 60 }, { false, NUMAPOOL_STRICT, 60 }, { false, NUMAPOOL_STRICT, 4096 } };
    const char *percent = getenv("NUMAPOOL_TEST_PERCENT");
    rounds = 100000 * (percent && atoi(percent) > 0 && atoi(percent) <= 100 ? (unsigned)atoi(percent) : 100) / 100;
    run(pools[_i].far, pools[_i].flags, pools[_i].each);
}
END_TEST

/* What was counted as local or remote is what came out of depots and arenas, by the thread's own reckoning: where nobody waits, bulks or
 * is given back to. */
static void *only_get(void *argument)
{
    const struct wanderer *self = argument;
    struct numapool_magazine *magazine = NULL;
    void **held = calloc(3 * 4096, sizeof *held);
    unsigned n = 0, random = self->number;
    uint64_t came = 0;
    expect(held && numapool_magazine_open(pool, NUMAPOOL_OWN_NODE, 64, &magazine) == 0, "open");
    for (unsigned round = 0; round < 3000; round++) {
        if (next(&random) % 64 == 0)
            nodes_here = (int)(next(&random) % 4); /* 3: without slots */
        const bool refills = magazine->top == magazine->bottom;
        held[n] = numapool_get(magazine);
        came += held[n] && refills ? 1 + stack_of(magazine) : 0;
        n += held[n] != NULL;
    }
    expect(numapool_put_bulk(magazine, held, n) == 0, "put_bulk");
    expect(numapool_magazine_close(magazine) == 0, "close");
    atomic_fetch_add_explicit(&refilled, came, memory_order_relaxed);
    free(held);
    return NULL;
}

START_TEST(local_and_remote_are_what_came)
{
    struct wanderer wanderers[THREADS];
    pthread_t threads[THREADS];
    pool = make_nodes(NODES(0, 1, 2), 4096, 0);
    atomic_store_explicit(&wrong, 0, memory_order_relaxed);
    atomic_store_explicit(&refilled, 0, memory_order_relaxed);
    for (unsigned i = 0; i < THREADS; i++) {
        wanderers[i] = (struct wanderer){ i, false };
        ck_assert_int_eq(pthread_create(&threads[i], NULL, only_get, &wanderers[i]), 0);
    }
    for (unsigned i = 0; i < THREADS; i++)
        ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
    ck_assert_uint_eq(atomic_load_explicit(&wrong, memory_order_relaxed), 0);
    ck_assert_uint_eq(SUM(pool, local) + SUM(pool, remote), atomic_load_explicit(&refilled, memory_order_relaxed));
    ck_assert_uint_gt(SUM(pool, local), 0);
    ck_assert_uint_gt(SUM(pool, homeless), 0);
    assert_all_at_home(pool);
    assert_sums(pool);
    close_pool(pool);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("threads_nodes");
    TCase *threads = tcase_create("threads");
    tcase_set_timeout(threads, 120);
    tcase_add_loop_test(threads, threads_that_wander_leave_every_slot_at_home, 0, 5);
    tcase_add_loop_test(threads, local_and_remote_are_what_came, 0, 3);
    suite_add_tcase(suite, threads);
    return run_suite(suite);
}
