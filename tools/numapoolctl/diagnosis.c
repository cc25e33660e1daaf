/* SPDX-License-Identifier: MIT
 *
 * Who is on the wrong node, and why: one sentence a client.
 *
 * A slot that was taken from another node than the thread's own counts as remote. Why it did is told by what else was counted with it: homeless
 * (the thread's node has none of this pool), spilled (its node had none left, or was low), and otherwise the magazine was that other node's: it
 * was opened so, or its thread has moved since, or it takes slots where those who receive them are.
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "numa.h"

struct figures {
    const struct np_numa_pool *pool;
    const struct np_numa_client *client;
    struct np_numa_counts sum;
    uint64_t taken, empty, by_number;
    char *text;
    size_t bytes, length;
};

const char *np_diagnosis_name(enum np_diagnosis_cause cause)
{
    static const char *const names[] = { "none", "unbelievable", "homeless", "ran_empty", "by_number", "receivers", "moving",
                                         "tiered", "handed_over", "received" };
    return names[cause];
}

static __attribute__((format(printf, 2, 3))) void say(struct figures *of, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int length = of->length < of->bytes ? vsnprintf(of->text + of->length, of->bytes - of->length, format, arguments) : 0;
    va_end(arguments);
    of->length += length > 0 ? (size_t)length : 0;
}

/* ---------------------------------------------------------------- figures */

static uint64_t lesser(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint64_t remote_by_number(const struct np_numa_counts *row)
{
    const uint64_t reason = row->of[NP_NUMA_HOMELESS] + row->of[NP_NUMA_SPILLED];
    return row->of[NP_NUMA_REMOTE] - lesser(row->of[NP_NUMA_REMOTE], reason);
}

static bool is_believable(const struct np_numa_pool *pool, const struct np_numa_client *client)
{
    for (unsigned i = 0; i < pool->node_count; i++)
        for (unsigned c = 0; c < NP_NUMA_COUNTERS; c++)
            if (client->counts[i].of[c] > NP_DIAGNOSIS_BELIEVED_MAX)
                return false;
    return true;
}

static void reckon(struct figures *of)
{
    of->sum = np_numa_sum(of->pool, of->client);
    of->taken = of->sum.of[NP_NUMA_LOCAL] + of->sum.of[NP_NUMA_REMOTE];
    of->empty = of->sum.of[NP_NUMA_SPILLED] - lesser(of->sum.of[NP_NUMA_SPILLED], of->sum.of[NP_NUMA_TIERED]);
    for (unsigned i = 0; i < of->pool->node_count; i++)
        of->by_number += remote_by_number(&of->client->counts[i]);
}

/* Of slots that were taken, or given back. */
static bool is_much(uint64_t part, uint64_t whole)
{
    return whole >= NP_DIAGNOSIS_SLOTS_LEAST && part > 0 && part >= whole / 100 * NP_DIAGNOSIS_SHARE_PERCENT;
}

static unsigned percent(uint64_t part, uint64_t whole)
{
    return whole == 0 ? 0 : part >= whole ? 100 : (unsigned)(100 * part / whole); /* both are believable */
}

/* The node with most of what `value` says; the first, where all are 0. */
static const struct np_numa_node *most(const struct figures *of, uint64_t (*value)(const struct np_numa_counts *counts))
{
    unsigned at = 0;
    for (unsigned i = 1; i < of->pool->node_count; i++)
        if (value(&of->client->counts[i]) > value(&of->client->counts[at]))
            at = i;
    return &of->pool->nodes[at];
}

#define VALUE(name, counter)                                        \
    static uint64_t name(const struct np_numa_counts *counts)       \
    {                                                               \
        return counts->of[counter];                                 \
    }
VALUE(foreign_of, NP_NUMA_FOREIGN)
VALUE(spilled_of, NP_NUMA_SPILLED)
VALUE(tiered_of, NP_NUMA_TIERED)
VALUE(homeless_of, NP_NUMA_HOMELESS)
VALUE(home_returns_of, NP_NUMA_HOME_RETURNS)

static const struct np_numa_node *find(const struct np_numa_pool *pool, int number)
{
    for (unsigned i = 0; i < pool->node_count; i++)
        if (pool->nodes[i].node == number)
            return &pool->nodes[i];
    return NULL;
}

/* The one node that its threads are on now; NULL: several, or it is not known. */
static const struct np_numa_node *only_node(const struct figures *of)
{
    const struct np_threads *threads = &of->client->threads;
    return threads->nodes == 1 ? find(of->pool, threads->at[0].node) : NULL;
}

/* A node that its threads are on and the pool has no slots on. */
static const struct np_numa_node *node_without(const struct figures *of)
{
    for (unsigned i = 0; i < of->client->threads.nodes; i++) {
        const struct np_numa_node *node = find(of->pool, of->client->threads.at[i].node);
        if (node && node->slots == 0)
            return node;
    }
    return NULL;
}

/* ---------------------------------------------------------------- sentences */

static void begin(struct figures *of)
{
    say(of, "client %u (%s, process %d) ", of->client->number, of->client->program, of->client->pid);
}

static void suggest_growth(struct figures *of, int node, uint64_t slots)
{
    say(of, "numapoolctl pool grow %s --node=%d --count=%" PRIu64, of->pool->name, node, slots);
}

static void say_homeless(struct figures *of)
{
    const struct np_numa_node *home = node_without(of), *from = most(of, homeless_of);
    say(of, "takes %u %% of its slots from node %d because ", percent(of->sum.of[NP_NUMA_HOMELESS], of->taken), from->node);
    if (!home) {
        say(of, "the pool has none on the node that its threads ran on: give it some there (numapoolctl pool grow %s --node=... --count=...), "
                "or run it on node %d", of->pool->name, from->node);
    } else if (!home->has_room) {
        say(of, "node %d, where it runs, has no memory: run it on node %d (numactl --cpunodebind=%d)", home->node, from->node, from->node);
    } else {
        say(of, "the pool has none on node %d, where it runs: ", home->node);
        suggest_growth(of, home->node, from->slots);
    }
}

static void say_ran_empty(struct figures *of)
{
    const struct np_numa_node *dry = most(of, foreign_of), *from = most(of, spilled_of);
    say(of, "took %u %% of its slots from another node, most from node %d, because node %d had none left: ", percent(of->empty, of->taken),
        from->node, dry->node);
    suggest_growth(of, dry->node, dry->slots);
    say(of, ", or give slots back sooner");
}

static void say_moving(struct figures *of)
{
    say(of, "has threads that move between nodes (%" PRIu64 " times a magazine followed, at %u %% of its refills): pin them (taskset, "
            "numactl --cpunodebind, CPUAffinity=)", of->sum.of[NP_NUMA_FOLLOWED],
        percent(of->sum.of[NP_NUMA_FOLLOWED], of->sum.of[NP_NUMA_REFILLS]));
}

/* The node itself, and whether those who receive from it are there. */
static const struct np_numa_node *by_number_from(const struct figures *of, bool *receivers)
{
    const struct np_numa_node *from = most(of, remote_by_number);
    const size_t row = (size_t)(from - of->pool->nodes);
    *receivers = row < 64 && (of->client->receiver_nodes >> row & 1) != 0;
    return from;
}

static void say_by_number(struct figures *of, const struct np_numa_node *from)
{
    const struct np_numa_node *here = only_node(of);
    if (here && here != from)
        say(of, "runs on node %d and ", here->node);
    say(of, "takes %u %% of its slots from node %d, which its magazines were opened for (by number, or for any node): open them with "
            "NUMAPOOL_OWN_NODE, or run it on node %d (numactl --cpunodebind=%d)", percent(of->by_number, of->taken), from->node, from->node,
        from->node);
}

static void say_receivers(struct figures *of, const struct np_numa_node *from)
{
    say(of, "takes %u %% of its slots from node %d, where what it sends is received: as it should be, for writing across does not wait as "
            "reading would", percent(of->by_number, of->taken), from->node);
}

static void say_tiered(struct figures *of)
{
    const struct np_numa_node *far = most(of, tiered_of), *low = most(of, foreign_of);
    say(of, "got %u %% of its slots from memory-only node %d while node %d ran low, which spilling is for; where that is too slow: ",
        percent(of->sum.of[NP_NUMA_TIERED], of->taken), far->node, low->node);
    suggest_growth(of, low->node, low->slots);
}

static void say_home_returns(struct figures *of, bool channel)
{
    const struct np_numa_node *from = most(of, home_returns_of);
    const uint64_t returns = of->sum.of[NP_NUMA_HOME_RETURNS];
    say(of, "gave back %" PRIu64 " slots on another node than theirs, most of node %d: ", returns, from->node);
    if (channel)
        say(of, "as it should be for one who receives what others on that node send");
    else
        say(of, "its threads pass them from node to node without a channel, and each goes home by itself; take and put on one node, or send them");
}

/* ---------------------------------------------------------------- choosing */

static enum np_diagnosis_cause choose_of_taken(struct figures *of)
{
    const uint64_t homeless = lesser(of->sum.of[NP_NUMA_HOMELESS], of->sum.of[NP_NUMA_REMOTE]);
    const uint64_t followed = of->sum.of[NP_NUMA_FOLLOWED];
    const bool moves = followed >= NP_DIAGNOSIS_FOLLOWED_LEAST &&
                       followed >= of->sum.of[NP_NUMA_REFILLS] / 100 * NP_DIAGNOSIS_SHARE_PERCENT;
    bool receivers;
    if (is_much(homeless, of->taken) && homeless >= of->empty && homeless >= of->by_number) {
        say_homeless(of);
        return NP_CAUSE_HOMELESS;
    }
    if (is_much(of->empty, of->taken) && of->empty >= of->by_number) {
        say_ran_empty(of);
        return NP_CAUSE_RAN_EMPTY;
    }
    if (moves) {
        say_moving(of);
        return NP_CAUSE_MOVING;
    }
    if (is_much(of->by_number, of->taken)) {
        const struct np_numa_node *from = by_number_from(of, &receivers);
        if (receivers)
            say_receivers(of, from);
        else
            say_by_number(of, from);
        return receivers ? NP_CAUSE_RECEIVERS : NP_CAUSE_BY_NUMBER;
    }
    if (is_much(of->sum.of[NP_NUMA_TIERED], of->taken)) {
        say_tiered(of);
        return NP_CAUSE_TIERED;
    }
    return NP_CAUSE_NONE;
}

enum np_diagnosis_cause np_diagnosis_make(const struct np_numa_pool *pool, const struct np_numa_client *client, char *text, size_t bytes)
{
    struct figures of = { .pool = pool, .client = client, .text = text, .bytes = bytes };
    text[0] = '\0';
    if (pool->node_count == 0)
        return NP_CAUSE_NONE;
    begin(&of);
    if (!is_believable(pool, client)) {
        say(&of, "has counts that cannot be true: something has written over them; no slot is harmed by that, but look what else it writes over");
        return NP_CAUSE_UNBELIEVABLE;
    }
    reckon(&of);
    enum np_diagnosis_cause cause = choose_of_taken(&of);
    if (cause != NP_CAUSE_NONE)
        return cause;
    const uint64_t returns = of.sum.of[NP_NUMA_HOME_RETURNS];
    if (is_much(returns, of.taken + returns)) {
        const bool channel = client->receives;
        say_home_returns(&of, channel);
        return channel ? NP_CAUSE_RECEIVED : NP_CAUSE_HANDED_OVER;
    }
    text[0] = '\0';
    return NP_CAUSE_NONE;
}
