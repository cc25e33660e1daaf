/* SPDX-License-Identifier: MIT
 *
 * The broker's own code repairs a copy of all shared memory, as the daemon's worker does after a death (daemon/watch.c, daemon/premises.c);
 * then a fresh client of that copy takes what is left.
 *
 *   1  another worker, where the old one is dead: takes over and recovers
 *   2  the clients of the victim are gone: nothing names them, everything is somebody's
 *   3  so are all others: now nobody is left
 *   4  a fresh client takes all messages and all slots, and goes
 *   5  all slots are free
 */
#include "step_judge.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/pool.h"
#include "step_heir.h"
#include "step_hints.h"

enum { MADE_MAX = 256, LANES_MAX = 256, SENTENCE_BYTES = 320 };

struct world {
    struct step_memory *memory;
    struct np_board board; /* of the copy */
    struct np_bell *bells;
    struct np_broker broker;
    void **made; /* memory of lanes that the broker made here */
    unsigned made_count;
    void *lanes[LANES_MAX]; /* of those, the memory that each lane has now: a keeper would have it */
    bool was_sender[LANES_MAX]; /* of the lane: the victim */
    uint64_t swept; /* bit p: all words of pool p were looked at */
    uint32_t heir;
    char *sentence;
    bool is_right;
};

__attribute__((format(printf, 2, 3))) static void wrong(struct world *world, const char *format, ...)
{
    va_list arguments;
    if (!world->is_right)
        return; /* the first says most */
    world->is_right = false;
    va_start(arguments, format);
    vsnprintf(world->sentence, SENTENCE_BYTES, format, arguments);
    va_end(arguments);
}

/* ---------------------------------------------------------------- taking over */

static int lane_memory(void *context, uint32_t lane, size_t bytes, int *node, void **address)
{
    struct world *world = context;
    (void)node;
    void *memory = world->made_count < MADE_MAX && lane < LANES_MAX ? aligned_alloc(4096, (bytes + 4095) / 4096 * 4096) : NULL;
    if (!memory)
        return -ENOMEM;
    memset(memory, 0, (bytes + 4095) / 4096 * 4096);
    world->made[world->made_count++] = memory;
    world->lanes[lane] = memory;
    *address = memory;
    return 0;
}

static void lane_memory_gone(void *context, uint32_t lane, void *address, size_t bytes)
{
    struct world *world = context;
    (void)address, (void)bytes; /* kept until the end */
    if (lane < LANES_MAX)
        world->lanes[lane] = NULL;
}

static void *copy_of(struct world *world, uint32_t kind, uint32_t a, uint32_t b, size_t *bytes)
{
    struct step_region *region = step_memory_find(world->memory, kind, a, b);
    if (bytes)
        *bytes = region ? region->used : 0;
    return region ? region->copy : NULL;
}

static void attach_pool(struct world *world, uint32_t pool)
{
    struct np_pool_entry *entry = &world->board.pools[pool];
    for (unsigned arena = 0; arena < np_pool_arenas(entry); arena++) {
        size_t bytes;
        void *meta = copy_of(world, NP_STORE_META, pool, arena, &bytes);
        if (!meta)
            wrong(world, "the daemon has no words of arena %u of pool %u", arena, pool);
        else if (np_broker_attach_pool(&world->broker, pool, arena, meta, bytes) < 0)
            wrong(world, "pool %u cannot be taken over: %s", pool, numapool_errormsg());
    }
}

/* As np_premises_take_over: the words that a dead worker has half made are nobody's. */
static void attach_all(struct world *world)
{
    struct np_board *board = &world->board;
    for (uint32_t pool = 0; pool < NP_POOLS_MAX; pool++) {
        struct np_pool_entry *entry = &board->pools[pool];
        if (np_entry_is(&entry->state, NP_ACTIVE)) {
            attach_pool(world, pool);
        } else if (np_entry_is(&entry->state, NP_DYING)) {
            np_broker_pool_remove(&world->broker, pool);
            np_store32(&entry->state, NP_NONE, memory_order_release);
        } else {
            np_store32(&entry->state, NP_NONE, memory_order_release);
        }
    }
    for (uint32_t client = 1; client <= board->limits.clients; client++)
        world->broker.pages[client] = copy_of(world, NP_STORE_PAGE, client, 0, NULL);
    for (uint32_t lane = 1; lane <= board->limits.lanes; lane++) {
        void *memory = lane < LANES_MAX && world->lanes[lane] ? world->lanes[lane] : copy_of(world, NP_STORE_LANE, lane, 0, NULL);
        if (memory && np_entry_is(&board->lanes[lane].state, NP_ACTIVE) && np_broker_attach_lane(&world->broker, lane, memory) < 0)
            wrong(world, "lane %u cannot be taken over: %s", lane, numapool_errormsg());
    }
}

static bool take_over(struct world *world)
{
    const struct np_broker_environment environment = { world, lane_memory, lane_memory_gone, true };
    size_t bytes;
    void *board = copy_of(world, NP_STORE_BOARD, 0, 0, &bytes);
    world->bells = copy_of(world, NP_STORE_BELLS, 0, 0, NULL);
    if (!board || !world->bells || np_board_attach(&world->board, board, bytes) < 0 ||
        np_broker_start(&world->broker, &world->board, world->bells, &environment) < 0) {
        wrong(world, "the board cannot be taken over: %s", numapool_errormsg());
        return false;
    }
    attach_all(world);
    return true;
}

/* ---------------------------------------------------------------- the dead */

static void client_gone(struct world *world, uint32_t client)
{
    struct np_scavenged what;
    if (np_load32(&world->board.clients[client].has_io, memory_order_relaxed) != 0) /* relaxed: nobody else is here */
        np_broker_client_stopped(&world->broker, client, &what);
    np_broker_client_gone(&world->broker, client, &what);
}

static void expect_not_named(struct world *world, uint32_t client)
{
    const struct np_board *board = &world->board;
    for (uint32_t e = 1; e <= board->limits.endpoints; e++)
        if (!np_entry_is(&board->endpoints[e].state, NP_NONE) && board->endpoints[e].client == client)
            wrong(world, "endpoint %u is still client %u's", e, client);
    for (uint32_t lane = 1; lane <= board->limits.lanes; lane++) {
        const struct np_lane_entry *entry = &board->lanes[lane];
        uint32_t ends[2] = { np_load32(&entry->sender, memory_order_relaxed), np_load32(&entry->receiver, memory_order_relaxed) };
        for (unsigned i = 0; i < 2 && np_entry_is(&entry->state, NP_ACTIVE); i++)
            if (ends[i] != 0 && (ends[i] > board->limits.endpoints || !np_entry_is(&board->endpoints[ends[i]].state, NP_ACTIVE)))
                wrong(world, "lane %u has endpoint %u, which is nobody's", lane, ends[i]);
    }
    for (uint32_t pool = 0; pool < NP_POOLS_MAX; pool++)
        for (unsigned i = 0; i < world->broker.pools[pool].arena_count; i++) {
            const struct np_arena *arena = &world->broker.pools[pool].arenas[i];
            if (np_load64(&arena->sleepers[client / 64], memory_order_relaxed) >> client % 64 & 1)
                wrong(world, "client %u sleeps in arena %u of pool %u", client, i, pool);
            for (uint64_t slot = 0; slot < arena->slots; slot++) {
                uint64_t word = np_load64(&arena->words[slot], memory_order_relaxed);
                if (np_word_state(word) == NP_WORD_HELD && np_word_owner(word) == client)
                    wrong(world, "slot %llu of pool %u is still client %u's", (unsigned long long)slot, pool, client);
            }
        }
}

/* Whether the entry is the victim's, or of anybody. */
static bool is_victim(const struct np_client_entry *entry, pid_t victim)
{
    return !np_entry_is(&entry->state, NP_NONE) && (victim == 0 || entry->pid == victim);
}

static void note_sender(struct world *world, pid_t victim)
{
    const struct np_board *board = &world->board;
    for (uint32_t lane = 1; lane <= board->limits.lanes && lane < LANES_MAX; lane++) {
        const uint32_t sender = np_load32(&board->lanes[lane].sender, memory_order_relaxed); /* relaxed: one thread */
        world->was_sender[lane] = np_entry_is(&board->lanes[lane].state, NP_ACTIVE) && board->lanes[lane].kind == NP_LANE_SLOTS &&
                                  sender > 0 && sender <= board->limits.endpoints &&
                                  is_victim(&board->clients[board->endpoints[sender].client], victim);
    }
}

/* What a dead sender had announced ahead of its word was not sent: nobody may see it. */
static void expect_only_sent(struct world *world)
{
    for (uint32_t lane = 1; lane <= world->board.limits.lanes && lane < LANES_MAX; lane++) {
        const struct np_lane_entry *entry = &world->board.lanes[lane];
        struct np_lane_shared *shared = world->broker.lane_memory[lane];
        if (!world->was_sender[lane] || !shared || !np_entry_is(&entry->state, NP_ACTIVE))
            continue;
        const struct np_lane_pool pool = np_broker_lane_pool(&world->broker, world->board.channels[entry->channel].pool);
        const uint64_t released = np_load64(&shared->released, memory_order_relaxed); /* relaxed, all: one thread */
        const uint64_t until = np_lane_announced_until(shared, entry->capacity, entry->kind, released, released + entry->capacity);
        for (uint64_t position = released; position < until; position++) {
            struct np_arena *arena;
            uint64_t slot;
            const np_shm64 *word = np_lane_word_at(shared, entry->capacity, position, &pool, &arena, &slot);
            const struct step_region *meta = word ? step_memory_find(world->memory, NP_STORE_META, world->board.channels[entry->channel].pool,
                                                                     arena->index) : NULL;
            if (!meta)
                continue;
            const uint64_t was = np_load64((const np_shm64 *)(meta->image + NP_ARENA_HEADER_BYTES) + slot, memory_order_relaxed);
            if (np_word_state(was) == NP_WORD_HELD && np_word_state(np_load64(word, memory_order_relaxed)) == NP_WORD_FREE)
                wrong(world, "message %llu of lane %u is announced, and was not sent", (unsigned long long)position, lane);
        }
    }
}

static void repair(struct world *world, const struct step_case *of)
{
    if (of->worker_dead) {
        np_broker_recover(&world->broker);
        world->swept = UINT64_MAX;
    }
    for (uint32_t client = 1; client <= world->board.limits.clients; client++) {
        const struct np_client_entry *entry = &world->board.clients[client];
        if (!is_victim(entry, of->victim))
            continue;
        world->swept |= np_load64(&entry->opened, memory_order_relaxed); /* relaxed: one thread */
        client_gone(world, client);
    }
}

static void expect_right(struct world *world, const char *when)
{
    const struct np_board *board = &world->board;
    for (uint32_t client = 1; client <= board->limits.clients; client++)
        if (np_entry_is(&board->clients[client].state, NP_NONE))
            expect_not_named(world, client);
    struct np_finding finding;
    for (uint32_t pool = 0; pool < NP_POOLS_MAX; pool++) {
        struct np_broker_pool *view = &world->broker.pools[pool];
        struct np_check check = { .findings = &finding, .findings_capacity = 1 };
        if (!view->mapped)
            continue;
        int result = np_check_pool(&check, board, pool, view->arenas, view->arena_count, world->broker.lane_memory, NULL, NULL);
        if (result < 0)
            wrong(world, "%s pool %u cannot be checked: %s", when, pool, numapool_errormsg());
        else if (check.wrong > 0)
            wrong(world, "%s %s", when, finding.sentence);
        else if (check.free_slots + check.held + check.in_flight != check.slots)
            wrong(world, "%s pool %u has %llu slots: %llu free, %llu held, %llu in flight", when, pool, (unsigned long long)check.slots,
                  (unsigned long long)check.free_slots, (unsigned long long)check.held, (unsigned long long)check.in_flight);
    }
}

static void everybody_gone(struct world *world, const char *when)
{
    for (uint32_t client = 1; client <= world->board.limits.clients; client++)
        if (is_victim(&world->board.clients[client], 0))
            client_gone(world, client);
    expect_right(world, when);
}

/* ---------------------------------------------------------------- a fresh client of the copy */

static int endpoint_open(void *context, const struct np_endpoint_request *request, struct np_endpoint_grant *grant)
{
    struct world *world = context;
    return np_broker_endpoint_open(&world->broker, world->heir, request, grant);
}

static int endpoint_close(void *context, uint32_t endpoint)
{
    struct world *world = context;
    return np_broker_endpoint_close(&world->broker, world->heir, endpoint);
}

static int next_lane(void *context, uint32_t endpoint, uint64_t stamp, struct np_lane_grant *grant)
{
    struct world *world = context;
    return np_broker_next_lane(&world->broker, world->heir, endpoint, stamp, grant);
}

static int leave_lane(void *context, uint32_t endpoint, uint32_t lane, uint32_t generation)
{
    struct world *world = context;
    return np_broker_leave_lane(&world->broker, world->heir, endpoint, lane, generation);
}

static void unmap_lane(void *context, struct np_lane_shared *memory, uint32_t capacity, uint32_t kind)
{
    (void)context, (void)memory, (void)capacity, (void)kind; /* the broker's own */
}

static void ring(void *context, uint32_t bell)
{
    struct world *world = context;
    if (bell == NP_BELL_OF_DAEMON)
        np_broker_orphan_duty(&world->broker);
}

static const struct np_authority authority = { endpoint_open, endpoint_close, next_lane, leave_lane, unmap_lane, ring };

static int node_zero(void)
{
    return 0;
}

static void nothing_to_unmap(struct numapool_pool *pool)
{
    (void)pool;
}

/* The pool as the client would have it after numapool_open. */
static int open_pool(struct world *world, uint32_t number, struct numapool_pool *pool, struct np_account_row *account)
{
    const struct np_pool_entry *entry = &world->board.pools[number];
    const uint32_t arenas = np_pool_arenas(entry);
    memcpy(pool->name, entry->name, sizeof pool->name);
    pool->mode = NUMAPOOL_MODE_DIRECT;
    pool->id = number;
    pool->client = world->heir;
    pool->flags = entry->flags;
    pool->slot_bytes = np_arena_stride_of(entry->slot_bytes, entry->flags);
    pool->magazine_slots = entry->magazine_slots;
    pool->bells = world->bells;
    pool->bell_count = world->broker.bell_count;
    pool->own_node = node_zero;
    pool->authority = &authority;
    pool->authority_context = world;
    pool->destroy = nothing_to_unmap;
    pool->opens = 1;
    for (uint32_t i = 0; i < arenas; i++) {
        struct np_pool_arena *pa = &pool->arenas[i];
        void *meta = copy_of(world, NP_STORE_META, number, i, &pa->meta_bytes);
        void *data = copy_of(world, NP_STORE_DATA, number, i, &pa->data_map_bytes);
        if (!meta || !data)
            return -ENOENT;
        pa->account = account + i;
        int result = np_arena_attach(&pa->arena, meta, pa->meta_bytes, data, entry->arena[i].slots, entry->slot_bytes, i, entry->arena[i].node,
                                     world->heir, world->bells, world->broker.bell_count, entry->flags);
        if (result < 0)
            return result;
    }
    atomic_store_explicit(&pool->arena_count, arenas, memory_order_relaxed); /* relaxed: one thread */
    return np_pool_start(pool, entry->sharers ? entry->sharers : 1);
}

static void inherit(struct world *world, uint32_t number, const struct step_case *of)
{
    struct numapool_pool *pool = calloc(1, sizeof *pool);
    struct np_account_row *account = aligned_alloc(NP_CACHE_LINE, NP_ACCOUNT_BYTES);
    struct np_pool_arena *arenas = aligned_alloc(NP_CACHE_LINE, NP_ARENAS_MAX * sizeof *arenas);
    struct ledger *before = world->memory->ledger_image, *after = world->memory->ledger_copy;
    if (!pool || !account || !arenas)
        exit(2);
    memset(account, 0, NP_ACCOUNT_BYTES);
    memset(arenas, 0, NP_ARENAS_MAX * sizeof *arenas);
    pool->arenas = arenas;
    np_or64(&world->board.clients[world->heir].opened, UINT64_C(1) << number, memory_order_relaxed); /* relaxed: one thread */
    if (open_pool(world, number, pool, account) < 0) {
        wrong(world, "the heir cannot open pool %u: %s", number, numapool_errormsg());
    } else {
        struct step_legacy legacy = step_legacy_of(&world->board, number);
        step_inherit(pool, after, &legacy);
        if (strcmp(pool->name, STEP_POOL) == 0 && !of->operation->only_judge)
            step_compare(&legacy, of->operation->forwards, before, after);
        if (numapool_close(pool) < 0)
            wrong(world, "the heir cannot close pool %u: %s", number, numapool_errormsg());
    }
    free(arenas);
    free(account);
    free(pool);
    if (atomic_load_explicit(&after->breaches, memory_order_relaxed) > 0)
        wrong(world, "%s", after->breach[0]);
}

static void expect_nothing_left(struct world *world)
{
    const struct np_board *board = &world->board;
    for (uint32_t lane = 1; lane <= board->limits.lanes; lane++)
        if (np_entry_is(&board->lanes[lane].state, NP_ACTIVE) && world->is_right)
            wrong(world, "lane %u of kind %u is left over", lane, board->lanes[lane].kind);
    for (uint32_t pool = 0; pool < NP_POOLS_MAX; pool++)
        for (unsigned i = 0; i < world->broker.pools[pool].arena_count; i++) {
            struct np_arena *arena = &world->broker.pools[pool].arenas[i];
            struct np_arena_census census;
            np_arena_census(arena, &census);
            if (census.free_slots != arena->slots)
                wrong(world, "arena %u of pool %u has %llu slots, and in the end %llu are free", i, pool, (unsigned long long)arena->slots,
                      (unsigned long long)census.free_slots);
        }
}

/* ---------------------------------------------------------------- the whole */

static void take_what_is_left(struct world *world, const struct step_case *of)
{
    struct np_client_entry *entry;
    int number = np_broker_client_add(&world->broker, &entry);
    if (number < 0) {
        wrong(world, "nobody can be admitted: %s", numapool_errormsg());
        return;
    }
    world->heir = (uint32_t)number;
    np_store64(&entry->opened, 0, memory_order_relaxed); /* relaxed: one thread */
    np_broker_client_activate(&world->broker, world->heir);
    for (uint32_t pool = 0; pool < NP_POOLS_MAX && world->is_right; pool++)
        if (world->broker.pools[pool].mapped)
            inherit(world, pool, of);
    everybody_gone(world, "in the end");
    np_broker_orphan_duty(&world->broker);
    expect_nothing_left(world);
}

#ifdef NUMAPOOL_HOOKS
enum np_mutant step_mutant_of_repair;
static unsigned accesses, cut;
static jmp_buf death;

static void count_access(enum np_shm_kind kind, const volatile void *address, unsigned bytes, uint64_t value)
{
    (void)kind, (void)address, (void)bytes, (void)value;
    if (++accesses == cut)
        longjmp(death, 1);
}

/* Repairs, counting accesses; where that is to be cut short, another worker takes over and begins again. */
static void repair_or_die(struct world *world, struct step_case *of)
{
    accesses = 0;
    cut = of->cut;
    if (setjmp(death) == 0) {
        np_shm_hook = count_access;
        repair(world, of);
        np_shm_hook = NULL;
        of->accesses = accesses;
        return;
    }
    np_shm_hook = NULL;
    np_broker_stop(&world->broker);
    if (take_over(world)) {
        of->worker_dead = true;
        repair(world, of);
    }
}
#else
static void repair_or_die(struct world *world, struct step_case *of)
{
    repair(world, of);
}
#endif

bool step_judge(struct step_memory *memory, struct step_case *of, char sentence[SENTENCE_BYTES])
{
    static void *made[MADE_MAX];
    static struct world world;
    world = (struct world){ .memory = memory, .made = made, .sentence = sentence, .is_right = true };
    step_memory_copy(memory);
#ifdef NUMAPOOL_HOOKS
    np_mutant_now = step_mutant_of_repair;
#endif
    if (take_over(&world)) {
        note_sender(&world, of->victim);
        repair_or_die(&world, of);
        expect_right(&world, "after the death");
        expect_only_sent(&world);
        if (world.is_right)
            world.is_right = step_hints_are_right(&world.broker, memory, world.swept, sentence, SENTENCE_BYTES);
        if (of->operation->judge && world.is_right && of->operation->judge(&world.broker, memory->ledger_copy) != 0)
            wrong(&world, "the operation's own judge says no");
        if (world.is_right)
            everybody_gone(&world, "after the peer's death too");
        if (world.is_right)
            take_what_is_left(&world, of);
        np_broker_stop(&world.broker);
    }
#ifdef NUMAPOOL_HOOKS
    np_mutant_now = NP_MUTANT_NONE;
#endif
    for (unsigned i = 0; i < world.made_count; i++)
        free(made[i]);
    return world.is_right;
}
