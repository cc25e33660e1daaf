/* SPDX-License-Identifier: MIT
 *
 * A pool as one process sees it: its arenas, what this process caches of them, who sleeps here. All of it private.
 *
 * Levels: magazine (a thread's) -> depot (the process's, one a node) -> arena (shared). What the first two hold stays
 * HELD by this client in the words, so no word changes until slots go to the arena or come from there.
 *
 * Bound: magazines and depots of a process together hold at most cache_slots_max slots: each magazine's capacity is taken out of
 * half of it when the magazine is opened, the depots share the other half. The pool's slots / (2 x clients) is the default.
 *
 * Locks, outermost first: pool.lock, depot.lock. Private to the process; nobody waits for another process under them.
 */
#ifndef NP_CORE_POOL_H
#define NP_CORE_POOL_H

#include <pthread.h>
#include <stdbool.h>

#include "core/account.h"
#include "core/arena.h"
#include "core/bell.h"
#include "numapool.h"

#define NP_POOL_LIVE UINT64_C(0x6c6f6f707061756e)
#define NP_MAGAZINE_LIVE UINT64_C(0x657a616761706e)
/* Capacity of magazines where nobody says one: a thread that takes a thousand slots before it gives any back never comes below its
 * magazine. Less where little is left of the process's allowance, down to LEAST, so that many threads find some. */
#define NP_MAGAZINE_SLOTS_DEFAULT 1024u
#define NP_MAGAZINE_SLOTS_LEAST 256u
#define NP_MAGAZINE_DEFAULT_SHARE 32u /* of what is left */
/* What a get of one slot takes out of an arena at most: a group, each of whose words costs a CAS. */
#define NP_ARENA_REFILL_SLOTS 64u
#define NP_MAGAZINE_SLOTS_MAX 65536u
#define NP_OUTBOUND_SLOTS 32u
/* While a node runs low a magazine holds that part of what it was granted. */
#define NP_LOW_SHARE 8u
#define NP_DEPOT_SLOTS_MAX (1u << 20)
/* A hint of new arenas that proved untrue, or could not be followed up, is followed up again no sooner than this, and
 * twice as late each time. */
#define NP_LEARN_PAUSE_NS INT64_C(2000000)
#define NP_LEARN_PAUSE_MAX_NS INT64_C(512000000)

/* The process depot of one arena: a stack of slots that are HELD by this client. */
struct np_depot {
    pthread_mutex_t lock; /* by np_depot_lock() */
    _Atomic bool busy;    /* somebody has it */
    void **slots;
    uint32_t count;
    uint32_t capacity;
};

struct np_pool_arena {
    struct np_arena arena;
    struct np_pool_arena *home;    /* the first arena of its node, whose header tells of the node; maybe itself */
    _Atomic uint64_t enough_slots; /* home: with so many free slots the node is not low and has recovered */
    unsigned sleepers;             /* threads of this process that sleep for a slot of it; under pool.lock */
    bool told_low;                 /* home: what this process has been told; under pool.lock, as in the pool */
    uint64_t told_lows;
    struct np_depot depot;
    struct np_account_row *account;
    unsigned tier; /* 1: on a memory-only node, to be spilled to */
    size_t meta_bytes;
    size_t data_map_bytes;
    size_t page_bytes;
    bool transparent;
    _Atomic uint64_t misplaced_pages; /* of payload, when this process last verified */
};

struct np_magazine;
struct np_authority;

struct numapool_pool {
    uint64_t live; /* NP_POOL_LIVE; zero in a forked child and after close */
    uint64_t born; /* no two pools of a process have the same, nor do those of a forked child */
    char name[NUMAPOOL_NAME_BYTES];
    int mode; /* enum numapool_mode */
    uint32_t id;
    unsigned client;
    uint64_t flags;
    uint64_t slot_bytes; /* from one to the next */
    uint32_t magazine_slots; /* that a magazine is to hold, where who opens it does not say; 0: the default */
    unsigned sharers; /* processes to share what may be cached among */
    _Atomic unsigned arena_count;    /* np_pool_arena_count(); never shrinks */
    struct np_pool_arena *arenas;    /* [NP_ARENAS_MAX]; complete below arena_count, and where they are they stay */
    struct np_bell *bells;
    uint32_t bell_count;
    uint32_t process; /* this one's number */
    bool checks; /* every arena has a guard (guard.h) */
    int (*own_node)(void); /* node of the calling thread */
    unsigned (*distance)(int from, int to); /* between nodes, 10 to itself; NULL: all others are equally far */
    _Atomic bool has_tiers; /* some arenas are on memory-only nodes, and some are not; set once */

    pthread_mutex_t lock;
    struct np_magazine *magazines;
    unsigned magazine_count, sender_count, receiver_count;
    unsigned thread_magazine_count; /* those among them that close with their thread */
    uint64_t cache_slots_max, magazine_slots_used;
    unsigned told_arenas;
    bool told_ending;
    _Atomic int64_t learn_again_ns, learn_pause_ns; /* when a hint that there are more arenas may be followed up again */
    _Atomic uint64_t denied_hint;                   /* np_pool_growth_hint() to which the daemon had nothing to add */
    _Atomic unsigned opens;
    struct numapool_waitset *waitset; /* that waits for its events; NULL: none */

    /* who admits senders and receivers and gives lanes: the broker inside this process or the daemon */
    const struct np_authority *authority;
    void *authority_context;
    /* Adds (np_pool_add_arena) what the pool has got since; how many, 0: it has no more than are known here; -errno: that
     * cannot be found out now. NULL: all are known here always. */
    int (*learn)(struct numapool_pool *pool);
    void (*destroy)(struct numapool_pool *pool); /* unmaps and frees what the maker made */
    void *maker;
};

/* What a blocked getter asks besides the pool: its own thread's senders, for a
 * receiver of theirs may be the only one who frees anything. Owned by a sender, linked into a magazine. */
struct np_reclaimer {
    struct np_reclaimer *next;
    unsigned (*take_back)(struct np_reclaimer *self); /* released slots go into the magazine; how many */
    /* flags up; adds the words of lanes that do not ring this bell */
    void (*sleep_begin)(struct np_reclaimer *self, uint32_t bell, struct np_sleep *sleep);
    void (*sleep_end)(struct np_reclaimer *self);
};

struct np_magazine {
    struct numapool_magazine fast; /* what the inline calls see; in an exact-count pool always empty and full at once */
    uint64_t live;
    struct numapool_pool *pool;
    struct np_magazine *next;
    struct np_reclaimer *reclaimers;
    unsigned arena;
    bool follows;             /* opened for its thread's own node, wherever that is (nodes.c) */
    bool stranded;            /* it follows, the pool is STRICT, and has no slots on that node: it takes none and caches none */
    bool homeless;            /* the pool has no slots on `node` */
    bool of_thread;           /* closes when its thread ends */
    bool let_go;              /* that has ended: it closes with the last sender that uses it */
    uint32_t capacity;        /* now: what was granted, or less while its node runs low */
    uint32_t granted;         /* when it was bound to its arena */
    uint32_t wanted;          /* when it was opened; 0: the pool's default */
    uint32_t room;            /* of `slots`: granted at most */
    void **slots;
    void **top;               /* exact-count pools: the real one; fast.top is at bottom and limit at once */
    void **outbound;          /* on their way home: outbound_arenas x NP_OUTBOUND_SLOTS, as many as there were when one was last needed */
    uint32_t *outbound_count;
    unsigned outbound_arenas;
    unsigned counted_arenas;  /* for which the allowance was reckoned */
    uint32_t outbound_max;    /* of one arena, before they go: an eighth of the capacity, 1 to NP_OUTBOUND_SLOTS */
    uint64_t cache_slots;     /* taken out of the pool's allowance */
    int node;                 /* that its thread ran on when it looked last */
    unsigned looked_arenas;   /* how many there were then; 0: it has not looked since it was bound */
    unsigned order_arenas;    /* how many are in `order`; 0: it is to be made anew */
    uint8_t order[NP_ARENAS_MAX]; /* arenas, in the order in which it takes from them; its own one first */
    _Atomic uint64_t gets, puts; /* exact counts not yet in the account; written by the owner, read by statistics */
    _Atomic uint64_t local;      /* likewise, slots of its arena that came out of the depot while its thread was there */
    unsigned untold;             /* refills in `local` */
};

/* Prepares a zeroed pool whose name, mode, client, geometry, arenas and bells are set. -ENOMEM. */
int np_pool_start(struct numapool_pool *pool, unsigned clients);

/* How many arenas there are; others may be added at any time, by another thread of this process. */
static inline unsigned np_pool_arena_count(const struct numapool_pool *pool)
{
    /* pairs with the release store of np_pool_add_arena: what is below the count is complete */
    return atomic_load_explicit(&pool->arena_count, memory_order_acquire);
}

/* Makes pool->arenas[np_pool_arena_count()], which the maker has attached, one of the pool's: with a depot, a share in
 * what may be cached, and whoever sleeps for a slot is woken. One thread at a time. -ENOMEM: it is none of the pool's. */
int np_pool_add_arena(struct numapool_pool *pool);

/* Asks for arenas that are not known here yet: as pool->learn. */
int np_pool_learn(struct numapool_pool *pool);
/* The same where arena 0 hints that there are some, and not too often, for a hint may lie. True: one or more came. */
bool np_pool_learn_hinted(struct numapool_pool *pool);

/* How many arenas there are, as arena 0 hints; below it the notices there, which are bumped after that has changed: so
 * the same hint means the same. 0: nobody hints. */
static inline uint64_t np_pool_growth_hint(const struct numapool_pool *pool)
{
    const struct np_arena_header *header = pool->arenas[0].arena.header;
    if (!pool->learn || !header)
        return 0;
    uint32_t notices = np_load32(&header->notices, memory_order_acquire); /* pairs with np_notice_growth */
    return (uint64_t)np_load32(&header->arenas, memory_order_relaxed) << 32 | notices; /* relaxed: the daemon's word decides */
}

/* Whether arena 0 hints at more arenas than are known here, and the daemon has not said that this is not so. Relaxed: its
 * answer is asked for again at worst. */
static inline bool np_pool_has_grown(const struct numapool_pool *pool)
{
    uint64_t hint = np_pool_growth_hint(pool);
    return hint >> 32 > np_pool_arena_count(pool) && hint != atomic_load_explicit(&pool->denied_hint, memory_order_relaxed);
}

/* Between nodes: 10 to itself, as the kernel has it. */
static inline unsigned np_pool_distance(const struct numapool_pool *pool, int from, int to)
{
    return from == to ? 10 : pool->distance ? pool->distance(from, to) : 20;
}

/* Whether the pool has slots on that node. */
static inline bool np_pool_has_node(const struct numapool_pool *pool, int node)
{
    for (unsigned i = 0, count = np_pool_arena_count(pool); i < count; i++)
        if (pool->arenas[i].arena.node == node)
            return true;
    return false;
}

/* Whether the arena's node runs low: then nobody caches more than he must. One load of a line that seldom changes. */
static inline bool np_pool_is_low(const struct np_pool_arena *pa)
{
    return np_load32(&pa->home->arena.header->low, memory_order_relaxed) != 0; /* relaxed: a hint */
}

/* After slots were moved out of an arena or into it: has its node run low, or recovered? */
void np_pool_note_level(struct numapool_pool *pool, struct np_pool_arena *pa);

/* event.c: whether numapool_next_event has something to tell now. Asks the daemon where a hint says that the pool has
 * grown. */
bool np_pool_has_events(struct numapool_pool *pool);
/* Names the words that are bumped after something has happened, one a node: before the look for events that comes before
 * the sleep. */
void np_pool_sleep_on_events(struct numapool_pool *pool, struct np_sleep *sleep);
/* Gives all depots back. -EBUSY when something is open. */
int np_pool_stop(struct numapool_pool *pool);

/* 0 when the pointer is a live pool of this process, else -EINVAL with the sentence. */
int np_pool_check(const struct numapool_pool *pool);

/* The same for calls that need more than payload read-only: -EROFS. `call` names it. */
int np_pool_check_writable(const struct numapool_pool *pool, const char *call);

/* The arena that a slot lies in, or NULL; *index its number there. */
struct np_pool_arena *np_pool_locate(const struct numapool_pool *pool, const void *slot, uint64_t *index);

/* The lock is held for as long as some hundred pointers are copied. To sleep and to be woken takes longer than that, so who meets another
 * there waits on his CPU for a while. */
#define NP_DEPOT_PAUSES 256u
void np_depot_lock(struct np_depot *depot);
void np_depot_unlock(struct np_depot *depot);

/* Puts slots of one arena, HELD by this client, into its depot, or into the arena where the depot is full or somebody
 * waits. */
void np_depot_put(struct numapool_pool *pool, unsigned arena, void *const *slots, unsigned n);
/* Up to n out of the depot. */
unsigned np_depot_take(struct np_depot *depot, void **slots, unsigned n);
/* Up to n out of the depot, else out of the arena. */
unsigned np_depot_get(struct numapool_pool *pool, unsigned arena, void **slots, unsigned n);
/* Out of the arena alone, for a magazine, which need not have all of them: no more than NP_ARENA_REFILL_SLOTS, so that nobody's
 * get waits for many. */
unsigned np_pool_refill(struct numapool_pool *pool, unsigned arena, void **slots, unsigned n);

/* What numapool_get and numapool_put do, for the library's own calls: what is checked then is the caller's call
 * (fault.h). */
void *np_magazine_get_slow(struct np_magazine *magazine);
int np_magazine_put_slow(struct np_magazine *magazine, void *slot);
static inline void *np_magazine_get(struct np_magazine *magazine)
{
    void **top = magazine->fast.top;
    if (__builtin_expect(top == magazine->fast.bottom, 0))
        return np_magazine_get_slow(magazine);
    magazine->fast.top = top - 1;
    return top[-1];
}
static inline int np_magazine_put(struct np_magazine *magazine, void *slot)
{
    void **top = magazine->fast.top;
    if (__builtin_expect((top >= magazine->fast.limit) | ((uintptr_t)slot - magazine->fast.base >= magazine->fast.span), 0))
        return np_magazine_put_slow(magazine, slot);
    *top = slot;
    magazine->fast.top = top + 1;
    return 0;
}
/* timeout_ns > 0, and there was none a moment ago. */
int np_magazine_wait(struct np_magazine *magazine, void **slot, int64_t timeout_ns);

/* For senders: a magazine that they give slots back into. */
void np_magazine_add_reclaimer(struct np_magazine *magazine, struct np_reclaimer *reclaimer);
void np_magazine_drop_reclaimer(struct np_magazine *magazine, struct np_reclaimer *reclaimer);

/* For senders: puts back a slot of any arena, without counting it as the user's put. */
int np_magazine_return(struct np_magazine *magazine, void *slot);

/* A thread of this process is going to sleep for slots of that node, or of any (NUMAPOOL_ANY_NODE): who frees some there rings the
 * client's bell. Which arenas these are, as bits, for the end. After begin the caller looks again before it sleeps. */
uint64_t np_pool_sleep_begin(struct numapool_pool *pool, int node);
void np_pool_sleep_end(struct numapool_pool *pool, uint64_t arenas);

#endif
