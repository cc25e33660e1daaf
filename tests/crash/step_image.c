/* SPDX-License-Identifier: MIT
 *
 * Where shared memory is, the worker's descriptors say: each is a memfd whose name says what it is for. Those that share a name (arenas
 * of a pool that has grown, on one node) are told apart by their headers and lengths. While the worker is stopped this is exact.
 *
 * What the client cannot change is compared only where the worker has run.
 */
#include "step_image.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "channel/lane.h"
#include "step_words.h"

#define NAME_BEGINS "/memfd:numapool: "

size_t step_ledger_bytes(void)
{
    return sizeof(struct ledger) + STEP_LEDGER_NUMBERS * sizeof(struct ledger_message);
}

void step_ledger_clear(struct ledger *ledger)
{
    memset(ledger, 0, step_ledger_bytes());
    ledger->capacity = STEP_LEDGER_NUMBERS;
    atomic_store_explicit(&ledger->next, 1, memory_order_relaxed); /* relaxed: nobody else is at work */
    atomic_store_explicit(&ledger->allowance, STEP_LEDGER_NUMBERS, memory_order_relaxed);
}

/* ---------------------------------------------------------------- finding */

static struct step_region *region_of_inode(struct step_memory *memory, uint64_t inode)
{
    for (unsigned i = 0; i < memory->count; i++)
        if (memory->regions[i].inode == inode)
            return &memory->regions[i];
    return NULL;
}

struct step_region *step_memory_find(struct step_memory *memory, uint32_t kind, uint32_t a, uint32_t b)
{
    for (unsigned i = 0; i < memory->count; i++)
        if (memory->regions[i].kind == kind && memory->regions[i].a == a && memory->regions[i].b == b)
            return &memory->regions[i];
    return NULL;
}

static void drop(struct step_memory *memory, struct step_region *region)
{
    munmap((void *)(uintptr_t)region->live, region->bytes);
    munmap(region->image, region->bytes);
    munmap(region->copy, region->bytes);
    *region = memory->regions[--memory->count];
}

static void *private_pages(size_t bytes)
{
    void *pages = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (pages == MAP_FAILED) {
        perror("private memory");
        exit(2);
    }
    return pages;
}

/* The arena whose payload has that pool's name and at best that length, and has no payload yet. */
static bool place_payload(struct step_memory *memory, struct step_region *region, const char *pool_name)
{
    size_t least = SIZE_MAX;
    for (uint32_t pool = 0; pool < NP_POOLS_MAX; pool++) {
        const struct np_pool_entry *entry = &memory->board.pools[pool];
        if (np_entry_is(&entry->state, NP_NONE) || strncmp(entry->name, pool_name, strlen(entry->name)) != 0 ||
            pool_name[strlen(entry->name)] != '\'')
            continue;
        for (uint32_t arena = 0; arena < np_pool_arenas(entry); arena++) {
            const size_t bytes = entry->arena[arena].slots * np_arena_stride_of(entry->slot_bytes, entry->flags);
            const struct step_region *other = step_memory_find(memory, NP_STORE_DATA, pool, arena);
            if (bytes > region->bytes || region->bytes - bytes >= least || (other && other->is_seen))
                continue;
            least = region->bytes - bytes;
            region->a = pool;
            region->b = arena;
            region->used = bytes;
        }
    }
    return least != SIZE_MAX;
}

/* What the memory is for, by its name and header. False: not yet known. */
static bool identify(struct step_memory *memory, struct step_region *region, const char *name)
{
    const struct np_lane_shared *lane = (const void *)region->live;
    const struct np_arena_header *header = (const void *)region->live;
    region->used = region->bytes;
    if (strncmp(name, "the board", 9) == 0) {
        region->kind = NP_STORE_BOARD;
    } else if (sscanf(name, "the bells of client %u", &region->a) == 1) {
        region->kind = NP_STORE_PAGE;
        region->used = NP_PAGE_BYTES;
    } else if (strncmp(name, "the bells", 9) == 0) {
        region->kind = NP_STORE_BELLS;
    } else if (sscanf(name, "the account of client %u", &region->a) == 1) {
        region->kind = NP_STORE_ACCOUNT;
    } else if (sscanf(name, "lane %u", &region->a) == 1) {
        region->kind = NP_STORE_LANE;
        if (lane->magic != NP_LANE_MAGIC || lane->lane != region->a)
            return false; /* just being made */
        region->used = np_lane_bytes(lane->capacity, lane->kind);
    } else if (strncmp(name, "slot words of pool", 18) == 0) {
        region->kind = NP_STORE_META;
        if (header->magic == 0)
            return false;
        region->a = header->pool;
        region->b = header->index;
    } else if (strncmp(name, "payload of pool '", 17) == 0) {
        region->kind = NP_STORE_DATA;
        return memory->board.header && place_payload(memory, region, name + 17);
    } else {
        return false;
    }
    return region->used <= region->bytes;
}

static bool add(struct step_memory *memory, const char *path, const char *name, const struct stat *status)
{
    struct step_region region = { .inode = status->st_ino, .bytes = (size_t)status->st_size, .is_seen = true };
    if (memory->count == STEP_REGIONS_MAX || status->st_size <= 0)
        return false;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    void *live = mmap(NULL, region.bytes, PROT_READ, MAP_SHARED, fd, 0);
    close(fd);
    if (live == MAP_FAILED)
        return false;
    region.live = live;
    if (!identify(memory, &region, name)) {
        munmap(live, region.bytes);
        return false;
    }
    region.image = private_pages(region.bytes);
    region.copy = private_pages(region.bytes);
    memory->regions[memory->count++] = region;
    if (region.kind == NP_STORE_BOARD && np_board_attach(&memory->board, live, region.bytes) < 0)
        memory->board.header = NULL;
    return true;
}

/* One descriptor. Payload is looked at in a second round, once the board is known. */
static bool look_at(struct step_memory *memory, const char *path, bool second_round)
{
    char name[128];
    struct stat status;
    ssize_t length = readlink(path, name, sizeof name - 1);
    const size_t begins = sizeof NAME_BEGINS - 1;
    if (length <= (ssize_t)begins || strncmp(name, NAME_BEGINS, begins) != 0 || stat(path, &status) != 0)
        return false;
    name[length] = '\0';
    struct step_region *known = region_of_inode(memory, status.st_ino);
    if (known) {
        known->is_seen = true;
        return false;
    }
    bool is_payload = strncmp(name + begins, "payload", 7) == 0;
    return is_payload == second_round && add(memory, path, name + begins, &status);
}

bool step_memory_scan(struct step_memory *memory)
{
    char directory[48], path[PATH_MAX];
    bool changed = false;
    for (unsigned i = 0; i < memory->count; i++)
        memory->regions[i].is_seen = false;
    snprintf(directory, sizeof directory, "/proc/%d/fd", (int)memory->worker);
    for (unsigned round = 0; round < 2; round++) {
        DIR *descriptors = opendir(directory);
        struct dirent *entry;
        if (!descriptors)
            return changed;
        while ((entry = readdir(descriptors)))
            if (entry->d_name[0] != '.') {
                snprintf(path, sizeof path, "%s/%s", directory, entry->d_name);
                changed |= look_at(memory, path, round > 0);
            }
        closedir(descriptors);
    }
    for (unsigned i = memory->count; i-- > 0;)
        if (!memory->regions[i].is_seen) {
            drop(memory, &memory->regions[i]);
            changed = true;
        }
    return changed;
}

bool step_memory_open(struct step_memory *memory, pid_t worker, struct ledger *ledger)
{
    *memory = (struct step_memory){ .worker = worker, .ledger = ledger };
    memory->ledger_image = private_pages(step_ledger_bytes());
    memory->ledger_copy = private_pages(step_ledger_bytes());
    step_memory_scan(memory);
    return memory->board.header != NULL;
}

void step_memory_close(struct step_memory *memory)
{
    while (memory->count > 0)
        drop(memory, &memory->regions[memory->count - 1]);
    munmap(memory->ledger_image, step_ledger_bytes());
    munmap(memory->ledger_copy, step_ledger_bytes());
}

/* ---------------------------------------------------------------- comparing */

/* Not to be relied upon against who wants two states to look the same; there is nobody. */
static uint64_t hash_of(const void *bytes, size_t length)
{
    const uint64_t *words = bytes;
    uint64_t hash = length * UINT64_C(0x9e3779b97f4a7c15);
    for (size_t i = 0; i < length / 8; i++) {
        hash = (hash ^ words[i]) * UINT64_C(0xff51afd7ed558ccd);
        hash ^= hash >> 32;
    }
    return hash;
}

/* What the ledger says, but for the sentences of its breaches. */
static bool ledger_changed(struct step_memory *memory)
{
    const size_t head = offsetof(struct ledger, breach);
    uint32_t next = atomic_load_explicit(&memory->ledger->next, memory_order_relaxed); /* relaxed: the others are stopped */
    size_t bytes = (next < STEP_LEDGER_NUMBERS ? next : STEP_LEDGER_NUMBERS) * sizeof(struct ledger_message);
    if (memcmp(memory->ledger, memory->ledger_image, head) == 0 &&
        memcmp(memory->ledger->messages, memory->ledger_image->messages, bytes) == 0)
        return false;
    memcpy(memory->ledger_image, memory->ledger, step_ledger_bytes());
    memory->ledger_hash = hash_of(memory->ledger->messages, bytes);
    return true;
}

bool step_memory_changed(struct step_memory *memory, bool with_board, bool *told, char *sentence, size_t bytes)
{
    bool changed = false;
    sentence[0] = '\0';
    for (unsigned i = 0; i < memory->count; i++) {
        struct step_region *region = &memory->regions[i];
        if ((region->kind == NP_STORE_BOARD && !with_board) || memcmp(region->live, region->image, region->used) == 0)
            continue;
        if (region->kind == NP_STORE_META && !with_board)
            step_words_are_right(region, sentence, bytes);
        memcpy(region->image, region->live, region->used);
        region->hash = hash_of(region->image, region->used);
        changed = true;
    }
    *told = ledger_changed(memory);
    return changed;
}

uint64_t step_memory_hash(const struct step_memory *memory)
{
    uint64_t hash = 0;
    for (unsigned i = 0; i < memory->count; i++) {
        const struct step_region *region = &memory->regions[i];
        hash += (region->hash ^ region->kind << 20 ^ region->a << 8 ^ region->b) * UINT64_C(0xc4ceb9fe1a85ec53);
    }
    return hash;
}

/* ---------------------------------------------------------------- copying */

/* The table of pools is large and nearly empty. */
static void copy_board(const struct step_memory *memory, struct step_region *region)
{
    const size_t pools_begin = (size_t)((const char *)memory->board.pools - (const char *)memory->board.header);
    const struct np_pool_entry *image = (const void *)(region->image + pools_begin);
    struct np_pool_entry *copy = (void *)(region->copy + pools_begin);
    const size_t pools_end = pools_begin + NP_POOLS_MAX * sizeof *image;
    memcpy(region->copy, region->image, pools_begin);
    for (uint32_t pool = 0; pool < NP_POOLS_MAX; pool++)
        if (!np_entry_is(&image[pool].state, NP_NONE) || !np_entry_is(&copy[pool].state, NP_NONE))
            memcpy(&copy[pool], &image[pool], sizeof *copy);
    memcpy(region->copy + pools_end, region->image + pools_end, region->used - pools_end);
}

void step_memory_copy(struct step_memory *memory)
{
    for (unsigned i = 0; i < memory->count; i++) {
        struct step_region *region = &memory->regions[i];
        if (region->kind == NP_STORE_BOARD)
            copy_board(memory, region);
        else
            memcpy(region->copy, region->image, region->used);
    }
    memcpy(memory->ledger_copy, memory->ledger_image, step_ledger_bytes());
}

/* ---------------------------------------------------------------- the living */

bool step_memory_all_free(const struct step_memory *memory)
{
    for (unsigned i = 0; i < memory->count; i++) {
        const struct step_region *region = &memory->regions[i];
        if (region->kind != NP_STORE_META)
            continue;
        const struct np_arena_header *header = (const void *)region->live;
        const np_shm64 *words = (const void *)(region->live + NP_ARENA_HEADER_BYTES);
        for (uint64_t slot = 0; slot < header->slots; slot++)
            if (np_word_state(np_load64(&words[slot], memory_order_relaxed)) != NP_WORD_FREE) /* relaxed: only looked at */
                return false;
    }
    return true;
}
