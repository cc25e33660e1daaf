/* SPDX-License-Identifier: MIT
 *
 * Shared memory that another process scribbles over: each input is a list of (where, what) that is stored into the words, hints,
 * lanes and bells of a pool in use, and then every operation is done. They may fail, each with a sentence; nothing may crash, hang,
 * or hand out memory that is not the pool's.
 */
#include "broker/broker.h"
#include "core/error.h"
#include "core/pool.h"
#include "fuzz.h"

enum { SLOTS = 256, LANE_SLOTS = 8 };

struct scene {
    struct numapool_pool *pool;
    struct numapool_magazine *magazine;
    struct numapool_sender *sender;
    struct numapool_receiver *receiver, *other; /* the other: of what is broadcast */
    struct np_lane_shared *lane;
    uint32_t flags;
};

/* The lane's memory, as the other end has it mapped. */
static struct np_lane_shared *find_lane(struct numapool_pool *pool)
{
    struct np_lane_grant grant;
    for (uint32_t endpoint = 1; endpoint < 8; endpoint++)
        for (grant.stamp = 0; pool->authority->next_lane(pool->authority_context, endpoint, grant.stamp, &grant) == 1;)
            if (grant.kind != NP_LANE_HOME)
                return grant.memory;
    return NULL;
}

static void build(struct scene *scene, uint32_t flags)
{
    struct numapool_options options = NUMAPOOL_OPTIONS_INIT;
    struct numapool_channel_options channel = NUMAPOOL_CHANNEL_OPTIONS_INIT;
    options.name = "fuzz";
    options.slot_bytes = 192;
    options.slots = SLOTS;
    channel.lane_slots = LANE_SLOTS;
    channel.spin_ns = -1;
    channel.flags = scene->flags = flags;
    FUZZ_MUST(numapool_create(&scene->pool, &options) == 0);
    FUZZ_MUST(numapool_magazine_open(scene->pool, NUMAPOOL_ANY_NODE, 0, &scene->magazine) == 0);
    FUZZ_MUST(numapool_sender_open(scene->pool, "c", &channel, &scene->sender) == 0);
    FUZZ_MUST(numapool_receiver_open(scene->pool, "c", &channel, &scene->receiver) == 0);
    if (flags == NUMAPOOL_BROADCAST)
        FUZZ_MUST(numapool_receiver_open(scene->pool, "c", &channel, &scene->other) == 0);
    scene->lane = find_lane(scene->pool);
    FUZZ_MUST(scene->lane != NULL);
}

static void scribble(struct scene *scene, uint64_t where, uint64_t what)
{
    struct np_arena *arena = &scene->pool->arenas[0].arena;
    struct np_cell *cells = np_lane_cells(scene->lane);
    np_shm64 *cell = (np_shm64 *)&cells[where / 16 % LANE_SLOTS]; /* small ones: the first half of them */
    switch (where % 15) {
    case 0: np_store64(&arena->words[where / 16 % SLOTS], what, memory_order_relaxed); break;
    case 1: np_store64(&arena->level[0][where / 16 % arena->level_words[0]], what, memory_order_relaxed); break;
    case 2: np_store64(&arena->level[arena->levels - 1][0], what, memory_order_relaxed); break;
    case 3: np_store64(&arena->sleepers[0], what, memory_order_relaxed); break;
    case 4: np_store64(&arena->header->sleepers_summary, what, memory_order_relaxed); break;
    case 5: np_store64(&arena->header->taken, what, memory_order_relaxed); break;
    case 6: /* half of them keep the announcement, so that the cell is believed */
        if (where / 128 % 4 == 0 && what % 2 == 0)
            what = (what & ~UINT64_C(0xffffffff)) | (uint32_t)np_load64(cell, memory_order_relaxed);
        np_store64(cell + where / 128 % 4, what, memory_order_relaxed);
        break;
    case 7: np_store64(&scene->lane->tail, what, memory_order_relaxed); break;
    case 8: np_store64(&scene->lane->released, what, memory_order_relaxed); break;
    case 9: np_store32(&scene->lane->receiver_bell, (uint32_t)what, memory_order_relaxed); break;
    case 10:
        np_store32(&scene->lane->receiver_sleeps, (uint32_t)what, memory_order_relaxed);
        np_store32(&scene->lane->sender_sleeps, (uint32_t)(what >> 32), memory_order_relaxed);
        break;
    case 11: np_store32(&scene->lane->sender_bell, (uint32_t)what, memory_order_relaxed); break;
    case 12: np_store64(&scene->lane->start, what, memory_order_relaxed); break;
    case 13: np_store32(&scene->lane->state, (uint32_t)what, memory_order_relaxed); break;
    default: np_store64(&arena->header->given, what, memory_order_relaxed);
    }
}

static void is_ours(struct scene *scene, const void *slot)
{
    FUZZ_MUST(np_arena_index_of(&scene->pool->arenas[0].arena, slot) >= 0);
}

static void use_received(struct scene *scene, struct numapool_receiver *receiver, bool writes)
{
    struct numapool_msg got[4];
    int count = numapool_receive(receiver, got, 4, 0);
    for (int i = 0; i < count; i++) {
        if (got[i].flags & NUMAPOOL_IN_CELL) {
            FUZZ_MUST((uintptr_t)got[i].data - (uintptr_t)scene->lane < np_lane_bytes(LANE_SLOTS, NP_LANE_SMALL) &&
                      got[i].length <= NUMAPOOL_SMALL_BYTES);
        } else {
            is_ours(scene, got[i].data);
            FUZZ_MUST(got[i].length <= numapool_slot_bytes(scene->pool));
            if (writes)
                memset(got[i].data, 1, got[i].length);
        }
        if (i % 4 == 0 && numapool_keep(receiver, &got[i]) == 0)
            numapool_put(scene->magazine, got[i].data);
        else if (i % 4 != 1 || numapool_forward(receiver, &got[i], scene->sender, 0) < 0)
            numapool_release(receiver, &got[i], 1);
    }
    FUZZ_MUST(count > 0 || np_error_sentence()[0] != 0);
}

/* `where`: something is scribbled while messages are under way. */
static void use(struct scene *scene, const uint64_t *where)
{
    struct numapool_msg message = NUMAPOOL_MSG_INIT;
    void *slots[16];
    unsigned n = 0;
    while (n < 16 && (slots[n] = numapool_get(scene->magazine)) != NULL)
        is_ours(scene, slots[n++]);
    for (unsigned i = 0; i < n; i++)
        numapool_put(scene->magazine, slots[i]);
    for (unsigned i = 0; i < 3; i++) {
        message.data = scene->flags == NUMAPOOL_SMALL ? slots : numapool_loan(scene->sender);
        if (!message.data)
            break;
        if (scene->flags != NUMAPOOL_SMALL)
            is_ours(scene, message.data);
        message.length = scene->flags == NUMAPOOL_SMALL ? 16 * (i + 1) : 192;
        if (numapool_send(scene->sender, &message, 0) < 0 && scene->flags != NUMAPOOL_SMALL)
            numapool_unloan(scene->sender, message.data);
    }
    if (where)
        scribble(scene, where[0], where[1]);
    use_received(scene, scene->receiver, true);
    if (scene->other)
        use_received(scene, scene->other, false);
    struct np_arena_census census;
    np_arena_census(&scene->pool->arenas[0].arena, &census);
    FUZZ_MUST(census.free_slots + census.held + census.sent + census.kept + census.odd == SLOTS);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    static const uint32_t flags[] = { 0, NUMAPOOL_SMALL, NUMAPOOL_BROADCAST };
    struct scene scene = { 0 };
    build(&scene, flags[bytes > 0 ? data[0] % 3 : 0]);
    use(&scene, NULL);
    for (size_t at = 0; at + 16 <= bytes && at < 16 * 24; at += 16) {
        uint64_t where[2];
        memcpy(where, data + at, sizeof where);
        use(&scene, where);
    }
    /* taken apart in the order that leaves the most to be repaired */
    numapool_sender_close(scene.sender, 0);
    numapool_receiver_close(scene.receiver);
    if (scene.other)
        numapool_receiver_close(scene.other);
    numapool_magazine_close(scene.magazine);
    FUZZ_MUST(numapool_close(scene.pool) == 0);
    return 0;
}

#ifndef NUMAPOOL_LIBFUZZER
int main(int argc, char **argv)
{
    static uint64_t plausible[64], wild[64];
    struct fuzz_random random = { 99 };
    for (unsigned i = 0; i < 64; i += 2) {
        plausible[i] = wild[i] = fuzz_next(&random);
        plausible[i + 1] = np_word_sent((unsigned)fuzz_below(&random, 4), fuzz_below(&random, 12), (unsigned)fuzz_below(&random, 3));
        wild[i + 1] = fuzz_next(&random);
    }
    const struct fuzz_seed_input seeds[] = { { plausible, sizeof plausible }, { wild, sizeof wild } };
    return fuzz_main(argc, argv, seeds, 2, 6000);
}
#endif
