/* SPDX-License-Identifier: MIT
 * What others do to the nodes of a pool while a magazine takes, sleeps or follows: at each access that it makes to shared memory, and each
 * time that it looks where its thread is. Then the same with an answer of the design taken away, which must be seen. */
#include "nodes_help.h"

#include <stdio.h>

#include "core/magazine.h"

/* Asked by the leak sanitizer: a pool in which an answer was taken away is never put in order again, and cannot be closed. */
__attribute__((visibility("default"))) int __lsan_is_turned_off(void);

int __lsan_is_turned_off(void)
{
    return 1;
}

enum { EACH = 64, EACH_MAX = 1024, OTHER_CLIENT = 2, ACCESSES_MAX = 4000 };

static struct numapool_pool *pool;
static struct np_arena others[NODES_MAX]; /* another process's view */
static void *theirs[NODES_MAX][EACH_MAX];     /* what it holds */
static unsigned their_count[NODES_MAX];

/* ---------------------------------------------------------------- another process */

static void others_take(unsigned arena, unsigned n)
{
    their_count[arena] += np_arena_take(&others[arena], theirs[arena] + their_count[arena], n);
}

static void others_give(unsigned arena, unsigned n)
{
    for (; n > 0 && their_count[arena] > 0; n--)
        ck_assert_uint_eq(np_arena_give(&others[arena], &theirs[arena][--their_count[arena]], 1), 1);
}

static void make(const int *nodes, unsigned each, uint64_t flags)
{
    pool = make_nodes(nodes, each, flags);
    for (unsigned i = 0; i < np_pool_arena_count(pool); i++) {
        const struct np_arena *arena = &pool->arenas[i].arena;
        ck_assert_int_eq(np_arena_attach(&others[i], arena->header, pool->arenas[i].meta_bytes, arena->data, arena->slots, SLOT_BYTES, i, nodes[i],
                                         OTHER_CLIENT, pool->bells, pool->bell_count, flags), 0);
        their_count[i] = 0;
    }
}

/* Everything goes back where it came from, and is counted. */
static void tidy(struct numapool_magazine *magazine, void *const *slots, unsigned n)
{
    np_shm_hook = NULL;
    np_sleep_hook = NULL;
    np_mutant_now = NP_MUTANT_NONE;
    for (unsigned i = 0; i < n; i++)
        ck_assert_int_eq(numapool_put(magazine, slots[i]), 0);
    for (unsigned i = 0; i < np_pool_arena_count(pool); i++)
        others_give(i, EACH_MAX);
    close_on(magazine);
    assert_account(pool, 0, 0);
    for (unsigned i = 0; i < np_pool_arena_count(pool); i++) {
        np_pool_note_level(pool, &pool->arenas[i]);
        memset(pool->arenas[i].account, 0, sizeof *pool->arenas[i].account);
    }
    nodes_here = 0;
}

static void unmake(struct numapool_magazine *magazine, void *const *slots, unsigned n)
{
    tidy(magazine, slots, n);
    close_pool(pool);
}

/* ---------------------------------------------------------------- at an access, or a look */

static unsigned accesses, at_access; /* 0: never */
static unsigned looks, at_look, new_node;
static void (*meanwhile)(void);

static void hook(enum np_shm_kind kind, const volatile void *address, unsigned bytes, uint64_t value)
{
    (void)kind, (void)address, (void)bytes, (void)value;
    if (++accesses == at_access) {
        np_shm_hook = NULL;
        meanwhile();
        np_shm_hook = hook;
    }
}

static int own_node_moves(void)
{
    if (++looks == at_look)
        nodes_here = (int)new_node;
    return nodes_here;
}

static void begin(unsigned access, unsigned look, void (*what)(void))
{
    accesses = looks = 0;
    at_access = access;
    at_look = look;
    meanwhile = what;
    pool->own_node = own_node_moves;
    np_shm_hook = hook;
}

/* ---------------------------------------------------------------- sleeping in a STRICT pool */

static struct numapool_magazine *sleeper;
static unsigned sleeps, lost, in_vain;

static void give_one_of_node_0(void)
{
    others_give(0, 1);
}

/* A sleep begins. Who has a free slot where he is and is not going to be woken has lost a wake-up; so has he who is not woken by the next
 * that comes there. What comes to another node is nothing to him. */
static int sleep_hook(const struct np_sleep *sleep, int64_t deadline_ns)
{
    void (*access_hook)(enum np_shm_kind, const volatile void *, unsigned, uint64_t) = np_shm_hook;
    const unsigned here = arena_of(sleeper), elsewhere = 1 - here;
    (void)deadline_ns;
    np_shm_hook = NULL;
    sleeps++;
    if (!np_sleep_is_over(sleep)) {
        lost += np_arena_free_hint(&others[here]) > 0;
        others_give(elsewhere, 1);
        in_vain += np_sleep_is_over(sleep);
        others_give(here, 1);
        lost += !np_sleep_is_over(sleep);
    }
    others_give(here, 1); /* the test goes on, whatever it has found */
    np_shm_hook = access_hook;
    return 0;
}

/* Both nodes are empty; a thread of node 0 waits for a slot there. At `access` somebody frees one, at `look` the thread is found on node
 * 1. False: it made fewer accesses. */
static bool wait_once(unsigned access, unsigned look, enum np_mutant mutant)
{
    void *slot = NULL;
    sleeper = open_on(pool, NUMAPOOL_OWN_NODE, 0);
    others_take(0, EACH);
    others_take(1, EACH);
    new_node = 1;
    sleeps = lost = in_vain = 0;
    np_sleep_hook = sleep_hook;
    np_mutant_now = mutant;
    begin(access, look, give_one_of_node_0);
    ck_assert_int_eq(numapool_get_wait(sleeper, &slot, NUMAPOOL_FOREVER), 0);
    np_shm_hook = NULL;
    ck_assert_int_eq(node_of(pool, slot), pool->arenas[arena_of(sleeper)].arena.node);
    const bool reached = accesses >= access;
    ck_assert_uint_le(sleeps, 3); /* no busy loop */
    tidy(sleeper, &slot, 1);
    return reached;
}

START_TEST(a_strict_sleeper_is_woken_by_what_comes_to_its_node_alone)
{
    enum { LOOKS = 5 };
    const unsigned look = (unsigned)_i; /* 0: it stays */
    unsigned access = 1;
    make(NODES(0, 1), EACH, NUMAPOOL_STRICT);
    for (; access < ACCESSES_MAX && wait_once(access, look, NP_MUTANT_NONE); access++) {
        ck_assert_msg(lost == 0, "%u wake-ups were lost at access %u, look %u", lost, access, look);
        ck_assert_msg(in_vain == 0, "it was woken in vain at access %u, look %u", access, look);
    }
    ck_assert_uint_gt(access, 20);
    ck_assert_uint_lt(access, ACCESSES_MAX);
    close_pool(pool);
}
END_TEST

START_TEST(a_sleep_for_the_node_that_was_left_is_seen)
{
    unsigned found = 0;
    make(NODES(0, 1), EACH, NUMAPOOL_STRICT);
    for (unsigned look = 1; look < 5; look++) {
        wait_once(0, look, NP_MUTANT_STRICT_SLEEPS_WHERE_IT_WAS);
        found += lost + in_vain;
    }
    ck_assert_uint_gt(found, 0);
    close_pool(pool);
}
END_TEST

START_TEST(a_sleep_without_a_second_look_is_seen)
{
    unsigned found = 0;
    make(NODES(0, 1), EACH, NUMAPOOL_STRICT);
    for (unsigned access = 1; access < ACCESSES_MAX && wait_once(access, 0, NP_MUTANT_SLEEP_NO_SECOND_LOOK); access++)
        found += lost;
    ck_assert_uint_gt(found, 0);
    close_pool(pool);
}
END_TEST

/* What its receivers have released comes back, and by the way it is found where the pool has nothing; meanwhile somebody frees a slot of the
 * node that was left. */
static unsigned taken_away(struct np_reclaimer *self)
{
    (void)self;
    nodes_here = 7;
    np_magazine_look((struct np_magazine *)sleeper);
    others_give(0, 1);
    return 0;
}

START_TEST(a_strict_getter_that_is_found_where_nothing_is_while_it_takes_back_gets_nothing)
{
    make(NODES(0, 1), EACH, NUMAPOOL_STRICT);
    sleeper = open_on(pool, NUMAPOOL_OWN_NODE, 0);
    others_take(0, EACH);
    struct np_reclaimer receiver = { .take_back = taken_away };
    np_magazine_add_reclaimer((struct np_magazine *)sleeper, &receiver);
    ck_assert_ptr_null(numapool_get(sleeper));
    ck_assert_ptr_nonnull(strstr(numapool_errormsg(), "strict"));
    ck_assert_uint_eq(np_arena_free_hint(&others[0]), 1);
    np_magazine_drop_reclaimer((struct np_magazine *)sleeper, &receiver);
    unmake(sleeper, NULL, 0);
}
END_TEST

/* ---------------------------------------------------------------- spilling */

static unsigned strays(const struct numapool_magazine *of)
{
    const struct np_magazine *magazine = (const struct np_magazine *)of;
    unsigned count = 0;
    for (void *const *slot = magazine->slots; slot < magazine->fast.top; slot++)
        count += np_arena_index_of(&pool->arenas[magazine->arena].arena, *slot) < 0;
    return count;
}

static void node_0_recovers(void)
{
    others_give(0, EACH_MAX);
    np_pool_note_level(pool, &pool->arenas[0]);
}

static void node_0_runs_low(void)
{
    others_take(0, EACH_MAX - their_count[0]);
    np_pool_note_level(pool, &pool->arenas[0]);
}

/* A get while node 0 is low, which recovers at an access (or the other way round). */
static bool spill_once(unsigned access, bool recovers, unsigned *stray)
{
    void *slots[3];
    struct numapool_magazine *magazine = open_on(pool, NUMAPOOL_OWN_NODE, 2);
    if (recovers)
        node_0_runs_low();
    others_give(0, 1); /* low, but not empty */
    begin(access, 0, recovers ? node_0_recovers : node_0_runs_low);
    for (unsigned i = 0; i < 3; i++)
        ck_assert_ptr_nonnull(slots[i] = numapool_get(magazine));
    np_shm_hook = NULL;
    *stray += strays(magazine);
    const bool reached = accesses >= access;
    assert_sums(pool);
    ck_assert_uint_eq(SUM(pool, local) + SUM(pool, remote), 3 + (unsigned)(magazine->top - magazine->bottom));
    tidy(magazine, slots, 3);
    return reached;
}

START_TEST(a_node_may_recover_or_run_low_while_a_far_slot_is_on_its_way)
{
    unsigned access = 1, stray = 0;
    make(NODES(0, 1), EACH, 0);
    make_far(pool, 1);
    while (access < ACCESSES_MAX && spill_once(access, _i == 0, &stray))
        access++;
    ck_assert_uint_eq(stray, 0);
    ck_assert_uint_gt(access, 20);
    ck_assert_uint_lt(access, ACCESSES_MAX);
    close_pool(pool);
}
END_TEST

/* ---------------------------------------------------------------- drift */

/* A thread goes to and fro between two nodes, gets, and puts what others hand it of both, while node 0 is low or not. Slots that are found in
 * a magazine of another node; refills that were not where the thread was. */
static void wander(enum np_mutant mutant, unsigned *stray, unsigned *astray)
{
    void *held[64];
    unsigned n = 0, random = 7;
    make(NODES(0, 1, 2), EACH, 0);
    make_far(pool, 2);
    struct numapool_magazine *magazine = open_on(pool, NUMAPOOL_OWN_NODE, 2);
    np_mutant_now = mutant;
    *stray = *astray = 0;
    for (unsigned round = 0; round < 4000; round++) {
        random = random * 1103515245u + 12345u;
        if ((random >> 16) % 16 == 0)
            nodes_here = (int)(random >> 20) % 2;
        if (n > 40 || (n > 0 && random >> 27 & 1)) {
            const unsigned which = (random >> 8) % n;
            ck_assert_int_eq(numapool_put(magazine, held[which]), 0);
            held[which] = held[--n];
        } else {
            const bool refills = magazine->top == magazine->bottom;
            ck_assert_ptr_nonnull(held[n++] = numapool_get(magazine));
            *astray += refills && pool->arenas[arena_of(magazine)].arena.node != nodes_here;
        }
        *stray += strays(magazine);
    }
    if (mutant == NP_MUTANT_NONE)
        unmake(magazine, held, n);
    np_mutant_now = NP_MUTANT_NONE; /* what drifts is never put in order again */
}

START_TEST(slots_of_a_magazine_are_of_its_node_and_it_is_on_its_threads)
{
    unsigned stray, astray;
    wander(NP_MUTANT_NONE, &stray, &astray);
    ck_assert_uint_eq(stray, 0);
    ck_assert_uint_eq(astray, 0);
}
END_TEST

START_TEST(drift_is_seen_where_nothing_goes_home)
{
    unsigned stray, astray;
    wander(NP_MUTANT_NO_HOME_RETURN, &stray, &astray);
    ck_assert_uint_gt(stray, 0);
}
END_TEST

START_TEST(a_magazine_that_stays_is_seen)
{
    unsigned stray, astray;
    wander(NP_MUTANT_MAGAZINE_STAYS, &stray, &astray);
    ck_assert_uint_gt(astray, 0);
}
END_TEST

START_TEST(far_slots_in_the_magazine_are_seen)
{
    make(NODES(0, 1), EACH_MAX, 0); /* of a pool so large a magazine has room while its node is low */
    make_far(pool, 1);
    struct numapool_magazine *magazine = open_on(pool, NUMAPOOL_OWN_NODE, 0);
    node_0_runs_low();
    for (unsigned mutated = 0; mutated < 2; mutated++) {
        np_mutant_now = mutated ? NP_MUTANT_SPILL_INTO_STACK : NP_MUTANT_NONE;
        void *slot = numapool_get(magazine);
        np_mutant_now = NP_MUTANT_NONE;
        ck_assert_ptr_nonnull(slot);
        ck_assert_int_eq(node_of(pool, slot), 1);
        ck_assert_int_eq(strays(magazine) > 0, mutated);
        ck_assert_int_eq(numapool_put(magazine, slot), 0);
    }
    void *rest[EACH];
    unsigned n = 0;
    while (strays(magazine) > 0)
        rest[n++] = numapool_get(magazine);
    unmake(magazine, rest, n);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("nodes_meet");
    TCase *meet = tcase_create("meet"), *drift = tcase_create("drift");
    tcase_add_loop_test(meet, a_strict_sleeper_is_woken_by_what_comes_to_its_node_alone, 0, 5);
    tcase_add_test(meet, a_strict_getter_that_is_found_where_nothing_is_while_it_takes_back_gets_nothing);
    tcase_add_test(meet, a_sleep_for_the_node_that_was_left_is_seen);
    tcase_add_test(meet, a_sleep_without_a_second_look_is_seen);
    tcase_add_loop_test(meet, a_node_may_recover_or_run_low_while_a_far_slot_is_on_its_way, 0, 2);
    suite_add_tcase(suite, meet);
    tcase_add_test(drift, slots_of_a_magazine_are_of_its_node_and_it_is_on_its_threads);
    tcase_add_test(drift, drift_is_seen_where_nothing_goes_home);
    tcase_add_test(drift, a_magazine_that_stays_is_seen);
    tcase_add_test(drift, far_slots_in_the_magazine_are_seen);
    suite_add_tcase(suite, drift);
    return run_suite(suite);
}
