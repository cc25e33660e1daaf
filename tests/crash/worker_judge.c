/* SPDX-License-Identifier: MIT
 * A copy of a daemon's memory is taken over as the next worker would, judged, and summed up. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "broker/reconcile.h"
#include "channel/lane.h"
#include "channel/small.h"
#include "harness.h"
#include "numapool.h"
#include "worker_image.h"

enum { LINES_MAX = 128, FINDINGS_MAX = 4, CHANNELS_MAX = 16 };

struct judge {
    struct image *image;
    const struct image_cast *cast;
    const char *when;
    int besides;
    struct np_board board;
    struct np_broker broker;
    unsigned wrong;
    uint32_t *news; /* before, by bell */
    char lines[LINES_MAX][160];
    unsigned line_count;
};

__attribute__((format(printf, 2, 3))) static void wrong(struct judge *judge, const char *format, ...)
{
    char text[256];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    if (judge->wrong++ < FINDINGS_MAX && judge->when)
        harness_note("%s: %s", judge->when, text);
}

__attribute__((format(printf, 2, 3))) static void tell(struct judge *judge, const char *format, ...)
{
    va_list arguments;
    if (judge->line_count == LINES_MAX) {
        wrong(judge, "more than %d lines are to be told", LINES_MAX);
        return;
    }
    va_start(arguments, format);
    vsnprintf(judge->lines[judge->line_count++], sizeof judge->lines[0], format, arguments);
    va_end(arguments);
}

/* ---------------------------------------------------------------- who is who */

static int member_of(const struct judge *judge, uint32_t client)
{
    if (client == 0 || client > judge->board.limits.clients)
        return -1;
    for (unsigned i = 0; i < judge->cast->count; i++)
        if (judge->cast->members[i].pid == judge->board.clients[client].pid)
            return (int)i;
    return -1;
}

static const char *name_of(const struct judge *judge, uint32_t client)
{
    int member = member_of(judge, client);
    return member < 0 ? "another" : judge->cast->members[member].name;
}

static bool is_dead(const struct judge *judge, uint32_t client)
{
    int member = member_of(judge, client);
    return member >= 0 && (judge->cast->members[member].dead || member == judge->besides);
}

/* ---------------------------------------------------------------- taking over */

static struct image_part *part_for(struct image *image, enum image_kind kind, uint32_t number)
{
    for (unsigned i = 0; i < image->count; i++)
        if (image->parts[i].kind == kind && image->parts[i].number == number)
            return &image->parts[i];
    return NULL;
}

/* Lanes that the repair makes or ends. Those of the image are its own. */
static int lane_memory(void *context, uint32_t lane, size_t bytes, int *node, void **address)
{
    (void)context, (void)lane, (void)node;
    size_t rounded = (bytes + 4095) / 4096 * 4096;
    *address = aligned_alloc(4096, rounded);
    if (!*address)
        exit(2);
    memset(*address, 0, rounded);
    return 0;
}

static void lane_memory_gone(void *context, uint32_t lane, void *address, size_t bytes)
{
    struct judge *judge = context;
    (void)lane, (void)bytes;
    for (unsigned i = 0; i < judge->image->count; i++)
        if (judge->image->parts[i].copy == address)
            return;
    free(address);
}

static void attach_pool(struct judge *judge, uint32_t pool, struct np_pool_entry *entry)
{
    for (unsigned arena = 0; arena < np_pool_arenas(entry); arena++) {
        struct image_part *part = part_for(judge->image, IMAGE_META, pool << 8 | arena);
        if (!part || np_broker_attach_pool(&judge->broker, pool, arena, part->copy, part->bytes) < 0)
            wrong(judge, "the words of arena %u of pool %u %s", arena, pool, part ? numapool_errormsg() : "are not with the keeper");
    }
}

static void attach_pools(struct judge *judge, bool repairs)
{
    for (uint32_t pool = 0; pool < NP_POOLS_MAX; pool++) {
        struct np_pool_entry *entry = &judge->board.pools[pool];
        if (np_entry_is(&entry->state, NP_ACTIVE))
            attach_pool(judge, pool, entry);
        else if (np_entry_is(&entry->state, NP_NONE))
            continue;
        else if (!repairs)
            wrong(judge, "pool %u stays half made or half gone", pool);
        else if (np_entry_is(&entry->state, NP_DYING))
            np_broker_pool_remove(&judge->broker, pool);
        np_store32(&entry->state, np_entry_is(&entry->state, NP_ACTIVE) ? NP_ACTIVE : NP_NONE, memory_order_release);
    }
}

static void attach_lanes(struct judge *judge)
{
    for (uint32_t client = 1; client <= judge->board.limits.clients; client++) {
        struct image_part *page = part_for(judge->image, IMAGE_PAGE, client);
        judge->broker.pages[client] = page ? (struct np_bell *)(void *)page->copy : NULL;
    }
    for (uint32_t lane = 1; lane <= judge->board.limits.lanes; lane++) {
        struct image_part *part = part_for(judge->image, IMAGE_LANE, lane);
        if (!np_entry_is(&judge->board.lanes[lane].state, NP_ACTIVE))
            continue;
        if (!part || np_broker_attach_lane(&judge->broker, lane, part->copy) < 0)
            wrong(judge, "lane %u %s", lane, part ? numapool_errormsg() : "is on the board and not with the keeper");
    }
}

/* W2: what others rely on is with the keeper. */
static void judge_stored(struct judge *judge)
{
    for (uint32_t client = 1; client <= judge->board.limits.clients; client++) {
        struct np_client_entry *entry = &judge->board.clients[client];
        if (!np_entry_is(&entry->state, NP_ACTIVE))
            continue;
        bool watched = is_dead(judge, client); /* the kernel shows no number for who is gone */
        for (unsigned i = 0; i < judge->image->watched_count; i++)
            watched |= judge->image->watched[i] == entry->pid;
        if (!watched)
            wrong(judge, "client %u (%s) is ACTIVE and its pidfd not with the keeper", client, name_of(judge, client));
        uint64_t direct = np_load64(&entry->pools, memory_order_relaxed) & ~np_load64(&entry->readonly, memory_order_relaxed);
        if (direct != 0 && !part_for(judge->image, IMAGE_ACCOUNT, client))
            wrong(judge, "client %u (%s) has pools open and no account with the keeper", client, name_of(judge, client));
    }
}

/* As their pidfds say; and of those that had to wait for the kernel, as their tokens say: nothing here does I/O. */
static void give_back_the_dead(struct judge *judge)
{
    struct np_scavenged what;
    for (uint32_t client = 1; client <= judge->board.limits.clients; client++)
        if (!np_entry_is(&judge->board.clients[client].state, NP_NONE) && is_dead(judge, client))
            np_broker_client_gone(&judge->broker, client, &what);
}

static void end_unused_pools(struct judge *judge)
{
    for (uint32_t pool = 0; pool < NP_POOLS_MAX; pool++) {
        struct np_pool_entry *entry = &judge->board.pools[pool];
        struct np_pool_use use;
        if (!np_entry_is(&entry->state, NP_ACTIVE) || !np_load32(&entry->ending, memory_order_relaxed))
            continue;
        np_broker_pool_use(&judge->broker, pool, &use);
        if (use.clients > 0)
            continue;
        np_broker_pool_remove(&judge->broker, pool);
        np_store32(&entry->state, NP_NONE, memory_order_release);
    }
}

/* ---------------------------------------------------------------- judging */

static bool is_live(const struct judge *judge, uint32_t endpoint, enum np_role role, uint32_t channel)
{
    const struct np_endpoint_entry *entry = &judge->board.endpoints[endpoint];
    return endpoint <= judge->board.limits.endpoints && np_entry_is(&entry->state, NP_ACTIVE) && entry->role == (uint32_t)role &&
           entry->channel == channel;
}

static void judge_entries(struct judge *judge)
{
    const struct np_board *board = &judge->board;
    for (uint32_t i = 1; i <= board->limits.clients; i++)
        if (np_entry_is(&board->clients[i].state, NP_FORMING) || np_entry_is(&board->clients[i].state, NP_DYING))
            wrong(judge, "client %u stays half made or half gone", i);
    for (uint32_t i = 1; i <= board->limits.endpoints; i++) {
        const struct np_endpoint_entry *entry = &board->endpoints[i];
        if (np_entry_is(&entry->state, NP_NONE))
            continue;
        if (!np_entry_is(&entry->state, NP_ACTIVE) || entry->client > board->limits.clients ||
            !np_entry_is(&board->clients[entry->client].state, NP_ACTIVE) || entry->channel > board->limits.channels ||
            !np_entry_is(&board->channels[entry->channel].state, NP_ACTIVE))
            wrong(judge, "endpoint %u is of no client or channel that is there", i);
    }
    for (uint32_t i = 1; i <= board->limits.lanes; i++) {
        const struct np_lane_entry *entry = &board->lanes[i];
        if (np_entry_is(&entry->state, NP_NONE))
            continue;
        uint32_t sender = np_load32(&entry->sender, memory_order_relaxed), receiver = np_load32(&entry->receiver, memory_order_relaxed);
        if (!np_entry_is(&entry->state, NP_ACTIVE) || !judge->broker.lane_memory[i])
            wrong(judge, "lane %u is neither there nor gone", i);
        else if ((sender && !is_live(judge, sender, NP_ROLE_SENDER, entry->channel)) ||
                 (receiver && !is_live(judge, receiver, NP_ROLE_RECEIVER, entry->channel)))
            wrong(judge, "lane %u is of ends that are gone (%u, %u)", i, sender, receiver);
        else if (!sender && !receiver && entry->kind != NP_LANE_HOME &&
                 np_lane_is_drained(judge->broker.lane_memory[i], entry->capacity, entry->kind))
            wrong(judge, "lane %u is drained, nobody's, and not gone", i);
    }
}

/* R2 and R3. */
static void judge_pairs(struct judge *judge)
{
    const struct np_board *board = &judge->board;
    for (uint32_t s = 1; s <= board->limits.endpoints; s++) {
        uint32_t channel = board->endpoints[s].channel;
        unsigned receivers = 0, waiting = 0;
        if (!is_live(judge, s, NP_ROLE_SENDER, channel))
            continue;
        for (uint32_t r = 0; r <= board->limits.endpoints; r++) {
            if (r > 0 && !is_live(judge, r, NP_ROLE_RECEIVER, channel))
                continue;
            receivers += r > 0;
            unsigned active = 0;
            for (uint32_t lane = 1; lane <= board->limits.lanes; lane++)
                active += np_entry_is(&board->lanes[lane].state, NP_ACTIVE) && judge->broker.lane_memory[lane] &&
                          board->lanes[lane].kind != NP_LANE_HOME &&
                          np_load32(&board->lanes[lane].sender, memory_order_relaxed) == s &&
                          np_load32(&board->lanes[lane].receiver, memory_order_relaxed) == r &&
                          np_broker_lane_state(&judge->broker, lane) == NP_LANE_ACTIVE;
            if (r > 0 && active != 1)
                wrong(judge, "sender %u and receiver %u have %u ACTIVE lanes", s, r, active);
            waiting += r == 0 ? active : 0;
        }
        if (!(board->channels[channel].flags & NUMAPOOL_BROADCAST) && waiting != (receivers == 0))
            wrong(judge, "sender %u has %u receivers, and %u ACTIVE lanes that wait for one", s, receivers, waiting);
    }
}

static void remember_news(struct judge *judge)
{
    judge->news = calloc(judge->board.limits.endpoints + 1, sizeof *judge->news);
    for (uint32_t e = 1; judge->news && e <= judge->board.limits.endpoints; e++) {
        struct np_bell *bell = np_broker_bell(&judge->broker, e);
        judge->news[e] = bell ? np_load32(&bell->news, memory_order_relaxed) : 0;
    }
}

/* Whoever has a lane asks again, for what he was not told. */
static void judge_news(struct judge *judge)
{
    for (uint32_t lane = 1; judge->news && lane <= judge->board.limits.lanes; lane++) {
        const struct np_lane_entry *entry = &judge->board.lanes[lane];
        if (!np_entry_is(&entry->state, NP_ACTIVE))
            continue;
        uint32_t ends[2] = { np_load32(&entry->sender, memory_order_relaxed), np_load32(&entry->receiver, memory_order_relaxed) };
        for (unsigned i = 0; i < 2; i++) {
            struct np_bell *bell = ends[i] && ends[i] <= judge->board.limits.endpoints ? np_broker_bell(&judge->broker, ends[i]) : NULL;
            if (bell && np_load32(&bell->news, memory_order_relaxed) == judge->news[ends[i]])
                wrong(judge, "endpoint %u has lane %u and is not told that there may be news", ends[i], lane);
        }
    }
}

static void judge_words(struct judge *judge)
{
    struct np_finding findings[FINDINGS_MAX];
    for (uint32_t pool = 0; pool < NP_POOLS_MAX; pool++) {
        struct np_broker_pool *bp = &judge->broker.pools[pool];
        struct np_check check = { .findings = findings, .findings_capacity = FINDINGS_MAX };
        if (!np_entry_is(&judge->board.pools[pool].state, NP_ACTIVE) ||
            (judge->cast->busy && strcmp(judge->cast->busy, judge->board.pools[pool].name) == 0))
            continue;
        if (np_check_pool(&check, &judge->board, pool, bp->arenas, bp->arena_count, judge->broker.lane_memory, NULL, NULL) < 0)
            wrong(judge, "pool %u cannot be checked: %s", pool, numapool_errormsg());
        if (check.free_slots + check.held + check.in_flight + check.kept != check.slots)
            wrong(judge, "pool %u: free, held, in flight and kept are not all", pool);
        for (unsigned i = 0; i < check.wrong && i < FINDINGS_MAX; i++)
            wrong(judge, "%s", findings[i].sentence);
    }
}

/* ---------------------------------------------------------------- summing up */

static void tell_clients(struct judge *judge)
{
    const struct np_board *board = &judge->board;
    for (uint32_t i = 1; i <= board->limits.clients; i++) {
        if (!np_entry_is(&board->clients[i].state, NP_ACTIVE) || member_of(judge, i) < 0)
            continue;
        tell(judge, "%s is a client", name_of(judge, i));
        for (uint32_t pool = 0; pool < NP_POOLS_MAX; pool++)
            if (np_load64(&board->clients[i].pools, memory_order_relaxed) >> pool & 1)
                tell(judge, "%s has %s open%s", name_of(judge, i), board->pools[pool].name,
                     np_load64(&board->clients[i].readonly, memory_order_relaxed) >> pool & 1 ? " read-only" : "");
    }
    for (uint32_t i = 0; i < NP_POOLS_MAX; i++)
        if (np_entry_is(&board->pools[i].state, NP_ACTIVE))
            tell(judge, "pool %s: %u arenas%s", board->pools[i].name, np_pool_arenas(&board->pools[i]),
                 np_load32(&board->pools[i].ending, memory_order_relaxed) ? ", ending" : "");
    for (uint32_t i = 1; i <= board->limits.endpoints; i++)
        if (np_entry_is(&board->endpoints[i].state, NP_ACTIVE) && member_of(judge, board->endpoints[i].client) >= 0)
            tell(judge, "%s %s %s", name_of(judge, board->endpoints[i].client),
                 board->endpoints[i].role == NP_ROLE_SENDER ? "sends on" : "receives from",
                 board->channels[board->endpoints[i].channel].name);
}

/* What is still to be received on a lane of slots, one after the other. */
static unsigned messages_of(struct judge *judge, uint32_t lane, bool with_slots, char *text, size_t bytes)
{
    struct np_lane_entry *entry = &judge->board.lanes[lane];
    struct np_lane_shared *shared = judge->broker.lane_memory[lane];
    struct np_lane_pool pool = np_broker_lane_pool(&judge->broker, judge->board.channels[entry->channel].pool);
    uint64_t released = np_lane_released_until(shared);
    unsigned count = 0;
    size_t at = 0;
    text[0] = '\0';
    if (entry->kind == NP_LANE_SMALL)
        return (unsigned)(np_lane_announced_until(shared, entry->capacity, NP_LANE_SMALL, released, released + entry->capacity) -
                          released);
    for (uint64_t position = released; position < released + entry->capacity; position++) {
        struct np_arena *arena;
        uint64_t index, start = 0;
        np_shm64 *word = np_lane_word_at(shared, entry->capacity, position, &pool, &arena, &index);
        uint64_t claim = word ? np_word_claim(np_load64(word, memory_order_relaxed)) : 0;
        if (entry->kind == NP_LANE_BROADCAST)
            start = np_load64(&shared->start, memory_order_relaxed) - 1;
        if (!word || claim != (entry->kind == NP_LANE_BROADCAST ? np_word_shared(entry->home, start + position, 0)
                                                                : np_word_sent(lane, position, 0)))
            continue;
        count++;
        if (with_slots && at + 8 < bytes)
            at += (size_t)snprintf(text + at, bytes - at, " %u", (unsigned)index);
    }
    return count;
}

static uint32_t pool_named(const struct judge *judge)
{
    for (uint32_t i = 0; i < NP_POOLS_MAX; i++)
        if (np_entry_is(&judge->board.pools[i].state, NP_ACTIVE) && strcmp(judge->board.pools[i].name, judge->cast->pool) == 0)
            return i;
    return NP_POOLS_MAX;
}

static void tell_messages(struct judge *judge, uint32_t pool, bool with_slots)
{
    unsigned counts[CHANNELS_MAX + 1] = { 0 };
    char text[100];
    for (uint32_t lane = 1; lane <= judge->board.limits.lanes; lane++) {
        struct np_lane_entry *entry = &judge->board.lanes[lane];
        if (!np_entry_is(&entry->state, NP_ACTIVE) || !judge->broker.lane_memory[lane] || entry->kind == NP_LANE_HOME ||
            judge->board.channels[entry->channel].pool != pool)
            continue;
        unsigned count = messages_of(judge, lane, with_slots, text, sizeof text);
        /* Not whether its sender is still there: one that leaves has left its lanes before it is gone, and goes on leaving when the next
         * worker is asked again. */
        if (count > 0 && with_slots)
            tell(judge, "%s: %u messages:%s", judge->board.channels[entry->channel].name, count, text);
        counts[entry->channel < CHANNELS_MAX ? entry->channel : CHANNELS_MAX] += count;
    }
    for (uint32_t channel = 1; !with_slots && channel < CHANNELS_MAX; channel++)
        if (counts[channel] > 0)
            tell(judge, "%s: %u messages", judge->board.channels[channel].name, counts[channel]);
}

static void tell_words(struct judge *judge, uint32_t pool)
{
    uint64_t held[SUMMARY_NAMES_MAX] = { 0 }, others = 0, free_slots = 0, sent = 0;
    struct np_broker_pool *bp = &judge->broker.pools[pool];
    for (unsigned a = 0; a < bp->arena_count; a++)
        for (uint64_t i = 0; i < bp->arenas[a].slots; i++) {
            uint64_t word = np_load64(&bp->arenas[a].words[i], memory_order_relaxed);
            int member = member_of(judge, np_word_owner(word));
            if (np_word_state(word) == NP_WORD_FREE)
                free_slots++;
            else if (np_word_state(word) != NP_WORD_HELD)
                sent++;
            else if (member >= 0)
                held[member]++;
            else
                others++;
        }
    tell(judge, "%llu slots free, %llu sent, %llu held by others", (unsigned long long)free_slots, (unsigned long long)sent,
         (unsigned long long)others);
    for (unsigned i = 0; i < judge->cast->count; i++)
        if (held[i] > 0)
            tell(judge, "%s holds %llu slots", judge->cast->members[i].name, (unsigned long long)held[i]);
}

static int compare_lines(const void *a, const void *b)
{
    return strcmp(a, b);
}

static void sum_up(struct judge *judge, struct summary *summary, bool with_slots)
{
    size_t at = 0;
    uint32_t pool = pool_named(judge);
    tell_clients(judge);
    if (pool < NP_POOLS_MAX) {
        tell_messages(judge, pool, with_slots);
        tell_words(judge, pool);
    }
    qsort(judge->lines, judge->line_count, sizeof judge->lines[0], compare_lines);
    summary->text[0] = '\0';
    summary->hash = UINT64_C(0xcbf29ce484222325);
    for (unsigned i = 0; i < judge->line_count && at < sizeof summary->text; i++)
        at += (size_t)snprintf(summary->text + at, sizeof summary->text - at, "%s; ", judge->lines[i]);
    for (const char *c = summary->text; *c; c++)
        summary->hash = (summary->hash ^ (uint8_t)*c) * UINT64_C(0x100000001b3);
}

unsigned image_judge(struct image *image, enum image_verdict verdict, const struct image_cast *cast, int besides, bool with_slots,
                     struct summary *summary, const char *when)
{
    static struct judge judge; /* large for a stack */
    judge = (struct judge){ .image = image, .cast = cast, .when = when, .besides = besides };
    const struct np_broker_environment environment = { &judge, lane_memory, lane_memory_gone, true };
    struct image_part *board = part_for(image, IMAGE_BOARD, 0), *bells = part_for(image, IMAGE_BELLS, 0);
    summary->text[0] = '\0';
    summary->hash = 0;
    if (!board || !bells || np_board_attach(&judge.board, board->copy, board->bytes) < 0 ||
        np_broker_start(&judge.broker, &judge.board, (struct np_bell *)(void *)bells->copy, &environment) < 0) {
        wrong(&judge, "the board cannot be taken over: %s", numapool_errormsg());
        return judge.wrong;
    }
    judge_stored(&judge);
    attach_pools(&judge, verdict == IMAGE_TAKEN_OVER);
    attach_lanes(&judge);
    if (verdict == IMAGE_TAKEN_OVER) {
        remember_news(&judge);
        np_broker_recover(&judge.broker);
        give_back_the_dead(&judge);
        end_unused_pools(&judge);
    }
    judge_entries(&judge);
    judge_pairs(&judge);
    if (verdict == IMAGE_TAKEN_OVER)
        judge_news(&judge);
    judge_words(&judge);
    sum_up(&judge, summary, with_slots);
    for (uint32_t lane = 1; lane <= judge.board.limits.lanes; lane++) {
        struct image_part *part = part_for(image, IMAGE_LANE, lane);
        if (judge.broker.lane_memory[lane] && !(part && (void *)part->copy == judge.broker.lane_memory[lane]))
            free(judge.broker.lane_memory[lane]);
    }
    free(judge.news);
    np_broker_stop(&judge.broker);
    return judge.wrong;
}
