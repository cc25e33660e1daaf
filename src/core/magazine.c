/* SPDX-License-Identifier: MIT
 *
 * Magazines: the slow half of get and put. The fast half is inline in numapool.h.
 *
 * A magazine lies in a page that a forked child finds zeroed: top, bottom and limit alike send its inline calls here, where `live` is 0.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/copy.h"
#include "core/error.h"
#include "core/fault.h"
#include "core/magazine.h"
#include "core/tell.h"
#include "core/thread_magazine.h"
#include "core/wipe.h"

static const char closed_sentence[] =
    "this magazine is closed, or belongs to the parent of this forked process: open one here";
static const char empty_sentence[] = "the pool is empty: every slot is in use, in flight or cached by another process";
static const char strict_sentence[] =
    "the pool is strict, and its slots on this node are all in use, in flight or cached by another process";
static const char stranded_sentence[] =
    "the pool is strict and has no slots on the node where this thread runs now: bind the thread to a node that has some, or open a "
    "magazine for one by its number";

/* Refills out of the depot that others do not know of yet. */
enum { UNTOLD_MAX = 16 };

static struct np_magazine *live_magazine(struct numapool_magazine *fast)
{
    struct np_magazine *magazine = (struct np_magazine *)fast;
    if (__builtin_expect(magazine != NULL && magazine->live == NP_MAGAZINE_LIVE, 1))
        return magazine;
    np_error_static(-EINVAL, closed_sentence);
    return NULL;
}

static void tally(_Atomic uint64_t *counter, uint64_t n)
{
    /* relaxed, and no read-modify-write: only the magazine's owner writes it */
    atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + n, memory_order_relaxed);
}

void np_magazine_publish_tallies(struct np_magazine *magazine)
{
    struct np_account_row *account = magazine->pool->arenas[magazine->arena].account;
    uint64_t gets = atomic_load_explicit(&magazine->gets, memory_order_relaxed);
    uint64_t puts = atomic_load_explicit(&magazine->puts, memory_order_relaxed);
    uint64_t local = atomic_load_explicit(&magazine->local, memory_order_relaxed);
    if (local > 0)
        np_count(&account->local, local);
    magazine->untold = 0;
    atomic_store_explicit(&magazine->local, 0, memory_order_relaxed);
    if ((gets | puts) == 0)
        return;
    np_count(&account->gets, gets);
    np_count(&account->puts, puts);
    atomic_store_explicit(&magazine->gets, 0, memory_order_relaxed);
    atomic_store_explicit(&magazine->puts, 0, memory_order_relaxed);
}

/* ---------------------------------------------------------------- opening and closing */

int numapool_magazine_open_abi(struct numapool_pool *pool, int node, unsigned capacity, struct numapool_magazine **result_magazine,
                               unsigned abi)
{
    unsigned arena = 0;
    int result = np_pool_check_writable(pool, "numapool_magazine_open");
    if (result < 0)
        return result;
    if (abi != NUMAPOOL_ABI)
        return np_error(-EPROTO, "this program was compiled for magazine layout %u, the library has %u: compile it again", abi,
                        NUMAPOOL_ABI);
    result = np_magazine_choose(pool, node, &arena);
    if (result < 0)
        return result;

    struct np_magazine *magazine = np_wipe_alloc(sizeof *magazine);
    if (!magazine)
        return -ENOMEM;
    magazine->pool = pool;
    magazine->wanted = capacity;
    magazine->follows = node == NUMAPOOL_OWN_NODE;
    magazine->node = NUMAPOOL_ANY_NODE; /* it has not looked yet */
    result = np_magazine_bind(magazine, arena);
    if (result < 0) {
        np_wipe_free(magazine, sizeof *magazine);
        return result;
    }
    magazine->live = NP_MAGAZINE_LIVE;
    pthread_mutex_lock(&pool->lock);
    magazine->next = pool->magazines;
    pool->magazines = magazine;
    pool->magazine_count++;
    pthread_mutex_unlock(&pool->lock);
    *result_magazine = &magazine->fast;
    return 0;
}

static void empty_into_depots(struct np_magazine *magazine)
{
    np_depot_put(magazine->pool, magazine->arena, magazine->slots, np_magazine_count(magazine));
    *np_magazine_top(magazine) = magazine->slots;
    for (unsigned i = 0; i < magazine->outbound_arenas; i++)
        np_magazine_send_home(magazine, i);
    np_magazine_publish_tallies(magazine);
}

static void close_magazine(struct np_magazine *magazine)
{
    struct numapool_pool *pool = magazine->pool;
    empty_into_depots(magazine);
    np_magazine_unbind(magazine);
    pthread_mutex_lock(&pool->lock);
    struct np_magazine **link = &pool->magazines;
    while (*link != magazine)
        link = &(*link)->next;
    *link = magazine->next;
    pool->magazine_count--;
    pool->thread_magazine_count -= magazine->of_thread;
    pthread_mutex_unlock(&pool->lock);
    free(magazine->slots);
    free(magazine->outbound);
    free(magazine->outbound_count);
    np_wipe_free(magazine, sizeof *magazine);
}

int numapool_magazine_close(struct numapool_magazine *fast)
{
    struct np_magazine *magazine = live_magazine(fast);
    if (!magazine)
        return -EINVAL;
    if (magazine->reclaimers)
        return np_error_static(-EBUSY, "a sender gives its slots back into this magazine: close the sender first");
    if (magazine->of_thread) {
        if (np_thread_magazine_of(magazine->pool) != magazine)
            return np_error_static(-EINVAL, "this magazine is another thread's own (numapool_thread_magazine): it closes when that thread ends");
        np_thread_magazine_forget(magazine);
    }
    close_magazine(magazine);
    return 0;
}

void np_magazine_let_go(struct np_magazine *magazine)
{
    magazine->let_go = magazine->reclaimers != NULL;
    if (!magazine->let_go)
        close_magazine(magazine);
}

void np_magazine_add_reclaimer(struct np_magazine *magazine, struct np_reclaimer *reclaimer)
{
    reclaimer->next = magazine->reclaimers;
    magazine->reclaimers = reclaimer;
}

void np_magazine_drop_reclaimer(struct np_magazine *magazine, struct np_reclaimer *reclaimer)
{
    struct np_reclaimer **link = &magazine->reclaimers;
    while (*link != reclaimer)
        link = &(*link)->next;
    *link = reclaimer->next;
    if (magazine->let_go && !magazine->reclaimers)
        close_magazine(magazine);
}

/* ---------------------------------------------------------------- get */

static void take_back(struct np_magazine *magazine)
{
    for (struct np_reclaimer *reclaimer = magazine->reclaimers; reclaimer; reclaimer = reclaimer->next)
        reclaimer->take_back(reclaimer);
}

/* How many to move at once: half a magazine, but few when the arena has few left, so that nobody hoards the last ones. */
static unsigned refill_slots(const struct np_magazine *magazine)
{
    uint64_t n = magazine->capacity / 2, few = np_arena_free_hint(&magazine->pool->arenas[magazine->arena].arena) / 8;
    n = n < few ? n : few;
    return n ? (unsigned)n : 1;
}

/* n slots of its depot are in the stack. To copy them takes hardly longer than to count them where other threads count too, so they are
 * told there only now and then. */
static void note_of_depot(struct np_magazine *magazine, unsigned n)
{
    if (__builtin_expect(magazine->pool->arenas[magazine->arena].arena.node != magazine->node, 0)) {
        np_magazine_note_taken(magazine, magazine->arena, n);
        return;
    }
    tally(&magazine->local, n);
    if (++magazine->untold >= UNTOLD_MAX)
        np_magazine_publish_tallies(magazine);
}

/* Out of the depot and the arena that the magazine belongs to, or the depot alone: one slot, and some for the stack, which is empty. */
static void *refill_from_home(struct np_magazine *magazine, bool of_depot_alone)
{
    struct numapool_pool *pool = magazine->pool;
    const unsigned arena = magazine->arena, n = magazine->capacity == 0 ? 1 : refill_slots(magazine);
    void *slot, **slots = magazine->capacity == 0 ? &slot : magazine->slots;
    uint32_t got = np_depot_take(&pool->arenas[arena].depot, slots, n);
    if (got > 0) {
        note_of_depot(magazine, got);
    } else {
        got = of_depot_alone ? 0 : np_pool_refill(pool, arena, slots, n);
        np_magazine_note_taken(magazine, arena, got);
    }
    if (got == 0)
        return NULL;
    if (magazine->capacity == 0)
        return slot;
    void ***top = np_magazine_top(magazine);
    *top = magazine->slots + got - 1;
    return **top;
}

/* NULL, with the sentence. */
static void *nothing(struct np_magazine *magazine)
{
    struct numapool_pool *pool = magazine->pool;
    np_count(&pool->arenas[magazine->arena].account->failures, 1);
    if (magazine->stranded)
        np_error_static(-EINVAL, stranded_sentence);
    else
        np_error_static(-EAGAIN, pool->flags & NUMAPOOL_STRICT ? strict_sentence : empty_sentence);
    return NULL;
}

/* One slot for a caller whose stack is empty; the stack may be refilled by the way. */
static void *refill(struct np_magazine *magazine)
{
    struct numapool_pool *pool = magazine->pool;
    void ***top = np_magazine_top(magazine);
    np_magazine_look(magazine);
    np_magazine_adapt(magazine);
    if (magazine->stranded)
        return nothing(magazine);
    void *slot = refill_from_home(magazine, np_magazine_spills(magazine));
    if (slot)
        return slot;
    /* The stack is looked at whatever they count: a lane that is left by the way, and in a pool that counts exactly all
     * that comes back, goes there at once. */
    take_back(magazine);
    if (*top > magazine->slots)
        return *--*top;
    if (magazine->stranded) /* by the way, where what came back went to its depot */
        return nothing(magazine);
    if (np_magazine_spills(magazine) && np_magazine_take_far(magazine, &slot, 1) == 1)
        return slot;
    do {
        if (np_magazine_move(magazine) && (slot = refill_from_home(magazine, false)) != NULL)
            return slot;
        slot = np_magazine_take_anywhere(magazine); /* with capacity 0 what was taken back is in the depot */
    } while (!slot && np_pool_learn_hinted(pool));
    return slot ? slot : nothing(magazine);
}

void *np_magazine_get_slow(struct np_magazine *magazine)
{
    void ***top = np_magazine_top(magazine);
    void *slot = *top > magazine->slots ? *--*top : refill(magazine);
    if (np_magazine_is_exact(magazine) && slot)
        tally(&magazine->gets, 1);
    return slot;
}

void *numapool_get_slow(struct numapool_magazine *fast)
{
    struct np_magazine *magazine = live_magazine(fast);
    if (!magazine)
        return NULL;
    if (magazine->pool->checks)
        np_call_enter("numapool_get", __builtin_return_address(0)); /* which is inline in who called */
    return np_magazine_get_slow(magazine);
}

/* Functions of their own, so that the warm half needs no frame; they are told whose call it is. */
static __attribute__((noinline)) void *get_call_slow(struct numapool_magazine *fast, const void *return_address)
{
    struct np_magazine *magazine = live_magazine(fast);
    if (!magazine)
        return NULL;
    if (magazine->pool->checks)
        np_call_enter("numapool_get_call", return_address);
    return np_magazine_get_slow(magazine);
}

void *numapool_get_call(struct numapool_magazine *fast)
{
    if (__builtin_expect(fast->top != fast->bottom, 1))
        return numapool_get(fast);
    return get_call_slow(fast, __builtin_return_address(0));
}

int np_magazine_wait(struct np_magazine *magazine, void **slot, int64_t timeout_ns)
{
    struct numapool_pool *pool = magazine->pool;
    struct np_sleep sleep;
    int64_t deadline_ns = np_deadline_ns(timeout_ns);
    int result = 0;
    while (!*slot && result == 0) {
        if (magazine->stranded)
            return np_error_static(-EINVAL, stranded_sentence); /* it would sleep for what never comes */
        const unsigned arena = magazine->arena;
        np_sleep_reset(&sleep);
        np_sleep_on(&sleep, &pool->bells[pool->client].ring);
        uint64_t arenas = np_pool_sleep_begin(pool, pool->flags & NUMAPOOL_STRICT ? pool->arenas[arena].arena.node : NUMAPOOL_ANY_NODE);
        if (!NP_MUTANT(GET_WAIT_POOL_ONLY))
            for (struct np_reclaimer *r = magazine->reclaimers; r; r = r->next)
                r->sleep_begin(r, pool->client, &sleep);
        bool reached = np_bell_heavy_barrier();
        if (!NP_MUTANT(SLEEP_NO_SECOND_LOOK))
            *slot = np_magazine_get(magazine);
        /* Who has followed its thread at the second look would sleep for the node that it has left. */
        if (!*slot && ((magazine->arena == arena && !magazine->stranded) || NP_MUTANT(STRICT_SLEEPS_WHERE_IT_WAS))) {
            /* also while there is more that cannot be learned of now: nobody rings when it can */
            bool bounded = !reached || np_pool_has_grown(pool);
            np_sleep_until(&sleep, bounded ? np_sooner_ns(deadline_ns, NP_BELL_BOUNDED_NS) : deadline_ns);
            result = np_monotonic_ns() < deadline_ns ? 0 : -ETIMEDOUT; /* the clock decides: a bell that others ring too may never be silent */
        }
        if (!NP_MUTANT(GET_WAIT_POOL_ONLY))
            for (struct np_reclaimer *r = magazine->reclaimers; r; r = r->next)
                r->sleep_end(r);
        np_pool_sleep_end(pool, arenas);
        if (!*slot)
            *slot = np_magazine_get(magazine);
    }
    return *slot ? 0 : np_error_static(-ETIMEDOUT, "no slot came free in time: the pool stayed empty");
}

int numapool_get_wait(struct numapool_magazine *fast, void **slot, int64_t timeout_ns)
{
    struct np_magazine *magazine = live_magazine(fast);
    if (!magazine)
        return -EINVAL;
    if (timeout_ns < 0)
        return np_error_static(-EINVAL, "timeout_ns is negative: 0 means at once, NUMAPOOL_FOREVER for ever");
    if (magazine->pool->checks)
        NP_CALL_ENTER();
    *slot = np_magazine_get(magazine);
    if (*slot || timeout_ns == 0)
        return *slot ? 0 : magazine->stranded ? -EINVAL : -EAGAIN;
    return np_magazine_wait(magazine, slot, timeout_ns);
}

/* The stack is empty, and so few are wanted that it is refilled first: so that not every bulk meets other threads at the depot.
 * Out of the depot alone: of the arena's a bulk takes no more than were asked for. How many of them came. */
static unsigned take_after_refill(struct np_magazine *magazine, void **slots, unsigned n)
{
    void ***top = np_magazine_top(magazine);
    unsigned got = np_depot_take(&magazine->pool->arenas[magazine->arena].depot, magazine->slots, refill_slots(magazine));
    note_of_depot(magazine, got);
    unsigned came = got < n ? got : n;
    *top = magazine->slots + (got - came);
    memcpy(slots, *top, came * sizeof *slots);
    return came;
}

/* Out of the depot and the arena, or of what it spills to, for the caller alone. */
static unsigned take_many(struct np_magazine *magazine, void **slots, unsigned n)
{
    struct numapool_pool *pool = magazine->pool;
    const unsigned arena = magazine->arena;
    if (magazine->stranded)
        return 0;
    unsigned got = np_magazine_spills(magazine) ? np_depot_take(&pool->arenas[arena].depot, slots, n) : np_depot_get(pool, arena, slots, n);
    np_magazine_note_taken(magazine, arena, got);
    return got > 0 || !np_magazine_spills(magazine) ? got : np_magazine_take_far(magazine, slots, n);
}

/* More than the stack has, or a magazine whose stack is not to be looked at: closed, or of a pool that counts or checks. */
static __attribute__((noinline)) int get_bulk_slow(struct numapool_magazine *fast, void **slots, unsigned n, const void *return_address)
{
    struct np_magazine *magazine = live_magazine(fast);
    if (!magazine)
        return -EINVAL;
    if (n == 0 || n > 1u << 20)
        return np_error(-EINVAL, "get_bulk of %u slots: 1 to 1048576 can be had at once", n);
    if (magazine->pool->checks)
        np_call_enter("numapool_get_bulk", return_address);
    void ***top = np_magazine_top(magazine);
    unsigned got = 0;
    for (bool more = true; got < n && more;) {
        unsigned count = np_magazine_count(magazine);
        unsigned came = n - got < count ? n - got : count; /* the stack, then the levels below, then whatever can be found */
        *top -= came;
        memcpy(slots + got, *top, came * sizeof *slots);
        if (came == 0) {
            np_magazine_look(magazine);
            np_magazine_adapt(magazine);
        }
        if (came == 0 && n - got <= magazine->capacity / 4)
            came = take_after_refill(magazine, slots + got, n - got);
        if (came == 0)
            came = take_many(magazine, slots + got, n - got);
        if (came == 0 && (slots[got] = refill(magazine)) != NULL)
            came = 1;
        got += came;
        more = came > 0;
    }
    if (got == n) {
        if (np_magazine_is_exact(magazine))
            tally(&magazine->gets, n);
        return 0;
    }
    for (unsigned i = 0; i < got; i++)
        np_magazine_return(magazine, slots[i]);
    if (magazine->stranded)
        return np_error_static(-EINVAL, stranded_sentence);
    return np_error(-EAGAIN, "pool '%s' has not %u slots left%s", magazine->pool->name, n,
                    magazine->pool->flags & NUMAPOOL_STRICT ? " on this node, and is strict" : "");
}

int numapool_get_bulk_slow(struct numapool_magazine *fast, void **slots, unsigned n)
{
    return get_bulk_slow(fast, slots, n, __builtin_return_address(0)); /* numapool_get_bulk is inline in who called */
}

int numapool_get_bulk(struct numapool_magazine *fast, void **slots, unsigned n)
{
    if (__builtin_expect(fast != NULL, 1)) {
        void **top = fast->top;
        /* n - 1: none is not a number of slots, and is told so below */
        if (__builtin_expect((size_t)(n - 1) < (size_t)(top - fast->bottom), 1)) {
            fast->top = top -= n;
            np_copy_pointers(slots, top, n);
            return 0;
        }
    }
    return get_bulk_slow(fast, slots, n, __builtin_return_address(0));
}

/* ---------------------------------------------------------------- put */

int np_magazine_return(struct np_magazine *magazine, void *slot)
{
    if ((uintptr_t)slot - magazine->fast.base < magazine->fast.span) {
        if (np_magazine_count(magazine) >= magazine->capacity) {
            if (magazine->follows && np_magazine_look(magazine))
                return np_magazine_return(magazine, slot); /* which is another node's now */
            np_magazine_adapt(magazine);
            if (magazine->capacity == 0) {
                np_depot_put(magazine->pool, magazine->arena, &slot, 1);
                return 0;
            }
            if (np_magazine_count(magazine) >= magazine->capacity) {
                np_magazine_spill(magazine, magazine->capacity / 2);
                np_magazine_publish_tallies(magazine);
            }
        }
        *(*np_magazine_top(magazine))++ = slot;
        return 0;
    }
    uint64_t index;
    struct np_pool_arena *pa = np_pool_locate(magazine->pool, slot, &index);
    if (!pa)
        return np_error(-EINVAL, "%p is not the beginning of a slot of pool '%s': it was not put", slot, magazine->pool->name);
    if (NP_MUTANT(NO_HOME_RETURN) && np_magazine_count(magazine) < magazine->capacity)
        *(*np_magazine_top(magazine))++ = slot;
    else if (pa->arena.index == magazine->arena) /* a block of malloc, which is nowhere near the others */
        np_depot_put(magazine->pool, magazine->arena, &slot, 1);
    else
        np_magazine_put_outbound(magazine, pa->arena.index, slot);
    return 0;
}

/* A user's put of one slot that the magazine cannot simply take. */
int np_magazine_put_slow(struct np_magazine *magazine, void *slot)
{
    int result = magazine->pool->checks ? np_guard_put(magazine->pool, slot) : 0;
    if (result == 0)
        result = np_magazine_return(magazine, slot);
    if (result == -EINVAL && (magazine->pool->flags & NUMAPOOL_MALLOC) != 0)
        np_tell(NUMAPOOL_LOG_ERROR, "%s", np_error_sentence()); /* whoever looks for such mistakes seldom looks at what a put returns */
    if (result == 0 && np_magazine_is_exact(magazine))
        tally(&magazine->puts, 1);
    return result;
}

int numapool_put_slow(struct numapool_magazine *fast, void *slot)
{
    struct np_magazine *magazine = live_magazine(fast);
    if (!magazine)
        return -EINVAL;
    if (magazine->pool->checks)
        np_call_enter("numapool_put", __builtin_return_address(0)); /* which is inline in who called */
    return np_magazine_put_slow(magazine, slot);
}

static __attribute__((noinline)) int put_call_slow(struct numapool_magazine *fast, void *slot, const void *return_address)
{
    struct np_magazine *magazine = live_magazine(fast);
    if (!magazine)
        return -EINVAL;
    if (magazine->pool->checks)
        np_call_enter("numapool_put_call", return_address);
    return np_magazine_put_slow(magazine, slot);
}

int numapool_put_call(struct numapool_magazine *fast, void *slot)
{
    void **top = fast->top;
    if (__builtin_expect((top >= fast->limit) | ((uintptr_t)slot - fast->base >= fast->span), 0))
        return put_call_slow(fast, slot, __builtin_return_address(0));
    *top = slot;
    fast->top = top + 1;
    return 0;
}

/* A bulk of this arena. Where there is no room for it older slots make some, as for a put of one. False: not so. */
static bool put_bulk_here(struct np_magazine *magazine, void *const *slots, unsigned n)
{
    if (np_magazine_is_exact(magazine))
        return false;
    if (n > magazine->capacity - np_magazine_count(magazine)) {
        if (n > magazine->capacity / 2 || (magazine->follows && np_magazine_look(magazine)))
            return false;
        np_magazine_adapt(magazine);
        if (n > magazine->capacity / 2)
            return false;
        if (n > magazine->capacity - np_magazine_count(magazine))
            np_magazine_spill(magazine, magazine->capacity / 2);
    }
    void **top = magazine->fast.top;
    if (!np_copy_of_span(top, slots, n, magazine->fast.base, magazine->fast.span))
        return false;
    magazine->fast.top = top + n;
    return true;
}

/* More than there is room for, some of another arena or of none or an arena whose size is no power of two, or a magazine as in
 * get_bulk_slow. */
static __attribute__((noinline)) int put_bulk_slow(struct numapool_magazine *fast, void *const *slots, unsigned n,
                                                   const void *return_address)
{
    struct np_magazine *magazine = live_magazine(fast);
    int result = 0;
    if (!magazine)
        return -EINVAL;
    if (magazine->pool->checks)
        np_call_enter("numapool_put_bulk", return_address);
    if (put_bulk_here(magazine, slots, n))
        return 0;
    for (unsigned i = 0; i < n; i++) {
        int one = np_magazine_put_slow(magazine, slots[i]);
        result = one < 0 ? one : result;
    }
    return result;
}

int numapool_put_bulk_slow(struct numapool_magazine *fast, void *const *slots, unsigned n)
{
    return put_bulk_slow(fast, slots, n, __builtin_return_address(0));
}

int numapool_put_bulk(struct numapool_magazine *fast, void *const *slots, unsigned n)
{
    if (__builtin_expect(fast != NULL, 1)) {
        void **top = fast->top;
        /* Copied before it is known whose they are: above the top is nobody's. None larger than the span: each is of this
         * arena. Otherwise they still may be, and are looked at one by one. */
        if (__builtin_expect((size_t)n <= (size_t)(fast->limit - top), 1) &&
            __builtin_expect(np_copy_distances(top, slots, n, fast->base) < fast->span, 1)) {
            fast->top = top + n;
            return 0;
        }
    }
    return put_bulk_slow(fast, slots, n, __builtin_return_address(0));
}

int numapool_flush(struct numapool_magazine *fast)
{
    struct np_magazine *magazine = live_magazine(fast);
    if (!magazine)
        return -EINVAL;
    take_back(magazine);
    empty_into_depots(magazine);
    for (unsigned i = 0; i < np_pool_arena_count(magazine->pool); i++) {
        struct np_pool_arena *pa = &magazine->pool->arenas[i];
        np_depot_lock(&pa->depot);
        np_arena_give(&pa->arena, pa->depot.slots, pa->depot.count);
        pa->depot.count = 0;
        np_depot_unlock(&pa->depot);
        np_pool_note_level(magazine->pool, pa);
    }
    np_count(&magazine->pool->arenas[magazine->arena].account->flushes, 1);
    return 0;
}
