/* SPDX-License-Identifier: MIT
 * Names of shared addresses, for traces. */
#include <stdio.h>

#include "model.h"

static bool within(const volatile void *address, const void *start, size_t bytes, size_t *offset)
{
    *offset = (size_t)((uintptr_t)address - (uintptr_t)start);
    return (uintptr_t)address >= (uintptr_t)start && *offset < bytes;
}

bool is_board(const volatile void *address)
{
    size_t offset;
    return within(address, world.board_memory, world.board_bytes, &offset);
}

bool is_shared(const volatile void *address)
{
    size_t offset;
    return within(address, world.meta, world.meta_bytes, &offset) ||
           within(address, world.lanes, (size_t)LANE_GENERATIONS_MAX * LANE_ROOM, &offset) ||
           within(address, world.bells, world_bells() * sizeof *world.bells, &offset);
}

const char *name_of_kind(enum np_shm_kind kind)
{
    static const char *const names[] = { "load", "store", "cas", "and", "or", "add", "fence" };
    return names[kind];
}

static void name_header(char *name, size_t room, size_t offset)
{
    static const struct {
        size_t offset;
        const char *name;
    } fields[] = {
        { offsetof(struct np_arena_header, taken), "taken" },
        { offsetof(struct np_arena_header, given), "given" },
        { offsetof(struct np_arena_header, low_water), "low_water" },
        { offsetof(struct np_arena_header, empty_refills), "empty_refills" },
        { offsetof(struct np_arena_header, correction), "correction" },
        { offsetof(struct np_arena_header, sleepers_summary), "sleepers_summary" },
    };
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++)
        if (fields[i].offset == offset) {
            snprintf(name, room, "arena.%s", fields[i].name);
            return;
        }
    snprintf(name, room, "arena+%zu", offset);
}

static void name_meta(char *name, size_t room, size_t offset)
{
    const struct np_arena *arena = &world.look;
    if (offset < NP_ARENA_HEADER_BYTES) {
        name_header(name, room, offset);
        return;
    }
    uint64_t word = (offset - NP_ARENA_HEADER_BYTES) / 8;
    if (word < arena->slots) {
        snprintf(name, room, "word %u", (unsigned)word);
        return;
    }
    word -= arena->slots;
    if (word < arena->sleepers_words) {
        snprintf(name, room, "sleepers %u", (unsigned)word);
        return;
    }
    word -= arena->sleepers_words;
    for (unsigned level = 0; level < arena->levels; level++) {
        if (word < arena->level_words[level]) {
            snprintf(name, room, "bits %u.%u", level, (unsigned)word);
            return;
        }
        word -= arena->level_words[level];
    }
    snprintf(name, room, "meta+%zu", offset);
}

static void name_lane(char *name, size_t room, size_t offset)
{
    static const struct {
        size_t offset;
        const char *name;
    } fields[] = {
        { offsetof(struct np_lane_shared, state), "state" },
        { offsetof(struct np_lane_shared, reclaimed), "reclaimed" },
        { offsetof(struct np_lane_shared, redelivered_until), "redelivered_until" },
        { offsetof(struct np_lane_shared, orphaned), "orphaned" },
        { offsetof(struct np_lane_shared, tail), "tail" },
        { offsetof(struct np_lane_shared, sender_registered), "sender_registered" },
        { offsetof(struct np_lane_shared, released), "released" },
        { offsetof(struct np_lane_shared, receiver_registered), "receiver_registered" },
        { offsetof(struct np_lane_shared, receiver_sleeps), "receiver_sleeps" },
        { offsetof(struct np_lane_shared, receiver_bell), "receiver_bell" },
        { offsetof(struct np_lane_shared, sender_sleeps), "sender_sleeps" },
        { offsetof(struct np_lane_shared, sender_bell), "sender_bell" },
    };
    static const char *const parts[] = { "where", "what", "id", "key" };
    unsigned piece = (unsigned)(offset / LANE_ROOM);
    offset %= LANE_ROOM;
    const struct np_lane_shared *lane = (const void *)(world.lanes + (size_t)piece * LANE_ROOM);
    if (offset >= NP_LANE_HEADER_BYTES) {
        offset -= NP_LANE_HEADER_BYTES;
        snprintf(name, room, "lane %u (%u) cell %u.%s", lane->lane, piece, (unsigned)(offset / 32), parts[offset % 32 / 8]);
        return;
    }
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++)
        if (fields[i].offset == offset) {
            snprintf(name, room, "lane %u (%u) %s", lane->lane, piece, fields[i].name);
            return;
        }
    snprintf(name, room, "lane %u (%u)+%zu", lane->lane, piece, offset);
}

static bool name_entry(char *name, size_t room, const volatile void *address, const char *table, const void *start,
                       size_t entry_bytes, size_t count)
{
    size_t offset;
    if (!within(address, start, entry_bytes * count, &offset))
        return false;
    snprintf(name, room, "board.%s %zu+%zu", table, offset / entry_bytes, offset % entry_bytes);
    return true;
}

const char *name_of_address(const volatile void *address)
{
    static char name[96];
    const struct np_board *board = &world.board;
    size_t offset;
    if (address == NULL)
        return "";
    if (within(address, world.meta, world.meta_bytes, &offset))
        name_meta(name, sizeof name, offset);
    else if (within(address, world.lanes, (size_t)LANE_GENERATIONS_MAX * LANE_ROOM, &offset))
        name_lane(name, sizeof name, offset);
    else if (within(address, world.bells, world_bells() * sizeof *world.bells, &offset))
        snprintf(name, sizeof name, "bell %zu.%s", offset / sizeof *world.bells, offset % sizeof *world.bells ? "news" : "ring");
    else if (!name_entry(name, sizeof name, address, "client", board->clients, sizeof *board->clients,
                         world.limits.clients + 1) &&
             !name_entry(name, sizeof name, address, "channel", board->channels, sizeof *board->channels,
                         world.limits.channels + 1) &&
             !name_entry(name, sizeof name, address, "endpoint", board->endpoints, sizeof *board->endpoints,
                         world.limits.endpoints + 1) &&
             !name_entry(name, sizeof name, address, "lane", board->lanes, sizeof *board->lanes, world.limits.lanes + 1)) {
        if (within(address, world.board_memory, world.board_bytes, &offset))
            snprintf(name, sizeof name, "board+%zu", offset);
        else
            snprintf(name, sizeof name, "private");
    }
    return name;
}
