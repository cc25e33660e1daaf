/* SPDX-License-Identifier: MIT
 * pool create, grow, destroy: by the library's own calls, as any admin's program. */
#include "pool.h"

#include <argp.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/error.h"
#include "core/number.h"
#include "numa/plan.h"

enum action { CREATE = 1, GROW = 2, DESTROY = 4 };

enum key { KEY_SIZE = 256, KEY_COUNT, KEY_NODE, KEY_NODE_SLOTS, KEY_PAGES, KEY_FALLBACK, KEY_MAGAZINE, KEY_SHARERS, KEY_LOW_WATERMARK,
           KEY_EXACT, KEY_CHECKS, KEY_CHECK_SITES, KEY_ACCESS, KEY_PLACEMENT, KEY_NEAR, KEY_STRICT, KEY_SPILL, KEY_WHEN_UNUSED, KEY_DISCARD, KEYS };

/* Which of the three an option is for. */
static const unsigned whose[KEYS - KEY_SIZE] = { CREATE, CREATE | GROW, GROW, CREATE, CREATE, CREATE, CREATE, CREATE, CREATE, CREATE, CREATE,
                                                 CREATE, CREATE, CREATE, CREATE, CREATE, CREATE, DESTROY, DESTROY };

static const struct argp_option pool_options[] = {
    { "size", KEY_SIZE, "BYTES", 0, "create: usable bytes of a slot", 2 },
    { "count", KEY_COUNT, "SLOTS", 0, "create: slots, evenly on all nodes or as --placement says; grow: slots more; numa: reports", 2 },
    { "node", KEY_NODE, "NODE", 0, "grow: on this node (default: by the pool's placement, numapool_placement(7))", 2 },
    { "node-slots", KEY_NODE_SLOTS, "N,N,...", 0, "create: slots on node 0, 1, ... instead of --count", 2 },
    { "pages", KEY_PAGES, "KIND", 0, "create: best (default), thp, 2m or 1g", 2 },
    { "fallback", KEY_FALLBACK, NULL, 0, "create: smaller pages where there are not enough", 2 },
    { "magazine", KEY_MAGAZINE, "SLOTS", 0, "create: default capacity of a magazine", 2 },
    { "sharers", KEY_SHARERS, "N", 0, "create: processes to share what may be cached (default 8)", 2 },
    { "low-watermark", KEY_LOW_WATERMARK, "SLOTS", 0, "create: free slots of a node below which it runs low (default: 1/16)", 2 },
    { "exact", KEY_EXACT, NULL, 0, "create: count each get and put", 2 },
    { "checks", KEY_CHECKS, NULL, 0, "create: find misuse (slower)", 2 },
    { "check-sites", KEY_CHECK_SITES, NULL, 0, "create: and remember where slots were taken and put", 2 },
    { "access", KEY_ACCESS, "LISTS", 0, "create: direct=ID:...;readonly=ID:...;admin=ID:... (ID: user, or group after '@')", 2 },
    { "placement", KEY_PLACEMENT, "POLICY", 0, "create: even (default), memory (in proportion to each node's), local (to this process) or explicit "
      "(with --node-slots)", 2 },
    { "near", KEY_NEAR, "DEVICE", 0, "create: on the node of this network card, disk or PCI address", 2 },
    { "strict", KEY_STRICT, NULL, 0, "create: no memory and no slot ever comes from another node instead", 2 },
    { "spill", KEY_SPILL, "SLOTS", 0, "create: so many besides on memory-only nodes, for when a node runs low", 2 },
    { "when-unused", KEY_WHEN_UNUSED, NULL, 0, "destroy: no new opens now, and the end when nobody has it open any more", 2 },
    { "discard", KEY_DISCARD, NULL, 0, "destroy: also when messages wait in it", 2 },
    { 0 }
};

/* ---------------------------------------------------------------- the command line */

static void take_number(const struct argp_state *state, const char *option, const char *text, uint64_t most, uint64_t *number)
{
    if (np_number_parse(text, number) < 0 || *number > most)
        argp_error(state, "--%s: '%.40s' is no number up to %llu (K, M and G may follow it)", option, text, (unsigned long long)most);
}

static void take_node_slots(const struct argp_state *state, struct np_ctl_pool_order *order, char *text)
{
    char *rest = text;
    for (char *part = strsep(&rest, ","); part; part = strsep(&rest, ",")) {
        if (order->options.nodes == NP_ARENAS_MAX)
            argp_error(state, "--node-slots: at most %d nodes", NP_ARENAS_MAX);
        take_number(state, "node-slots", part, NP_SLOTS_MAX, &order->node_slots[order->options.nodes++]);
    }
    order->options.node_slots = order->node_slots;
}

static void take_pages(const struct argp_state *state, struct np_ctl_pool_order *order, const char *text)
{
    if (strcmp(text, "1g") == 0 || strcmp(text, "1G") == 0)
        order->options.flags |= NUMAPOOL_HUGE_1G;
    else if (strcmp(text, "2m") == 0 || strcmp(text, "2M") == 0)
        order->options.flags |= NUMAPOOL_HUGE_2M;
    else if (strcmp(text, "thp") == 0)
        order->options.flags |= NUMAPOOL_HUGE_THP;
    else if (strcmp(text, "best") != 0)
        argp_error(state, "--pages: '%.40s' is not known: 1g, 2m (hugetlb), thp (transparent) or best (whichever there are)", text);
}

static void take_placement(const struct argp_state *state, struct np_ctl_pool_order *order, const char *text)
{
    int policy = np_policy_named(text);
    if (policy < 0 || policy == NUMAPOOL_NEAR_DEVICE)
        argp_error(state, "--placement: '%.40s' is not known: even, memory, local or explicit; or --near=DEVICE", text);
    order->options.policy = (uint32_t)policy;
}

static error_t take_option(int key, char *text, struct argp_state *state)
{
    struct np_ctl_pool_order *order = state->input;
    uint64_t number = 0;
    if (key < KEY_SIZE || key >= KEYS)
        return ARGP_ERR_UNKNOWN;
    order->given |= 1u << (key - KEY_SIZE);
    switch (key) {
    case KEY_SIZE:
        take_number(state, "size", text, UINT64_MAX, &order->options.slot_bytes);
        break;
    case KEY_COUNT:
        take_number(state, "count", text, UINT64_MAX, &order->options.slots);
        break;
    case KEY_NODE:
        take_number(state, "node", text, NP_ARENAS_MAX * 16, &number);
        order->node = (int)number;
        break;
    case KEY_NODE_SLOTS:
        take_node_slots(state, order, text);
        break;
    case KEY_PAGES:
        take_pages(state, order, text);
        break;
    case KEY_FALLBACK:
        order->options.flags |= NUMAPOOL_PAGES_FALLBACK;
        break;
    case KEY_MAGAZINE:
        take_number(state, "magazine", text, UINT32_MAX, &number);
        order->options.magazine_slots = (uint32_t)number;
        break;
    case KEY_SHARERS:
        take_number(state, "sharers", text, UINT32_MAX, &number);
        order->options.sharers = (uint32_t)number;
        break;
    case KEY_LOW_WATERMARK:
        take_number(state, "low-watermark", text, UINT64_MAX, &order->options.low_watermark);
        break;
    case KEY_EXACT:
        order->options.flags |= NUMAPOOL_EXACT_COUNTS;
        break;
    case KEY_CHECKS:
        order->options.flags |= NUMAPOOL_CHECKS;
        break;
    case KEY_CHECK_SITES:
        order->options.flags |= NUMAPOOL_CHECKS | NUMAPOOL_CHECK_SITES;
        break;
    case KEY_ACCESS:
        order->options.access = text;
        break;
    case KEY_PLACEMENT:
        take_placement(state, order, text);
        break;
    case KEY_NEAR:
        order->options.policy = NUMAPOOL_NEAR_DEVICE;
        order->options.device = text;
        break;
    case KEY_STRICT:
        order->options.flags |= NUMAPOOL_STRICT;
        break;
    case KEY_SPILL:
        take_number(state, "spill", text, UINT64_MAX, &order->options.spill_slots);
        break;
    case KEY_WHEN_UNUSED:
        order->destroy_flags |= NUMAPOOL_DESTROY_WHEN_UNUSED;
        break;
    default:
        order->destroy_flags |= NUMAPOOL_DESTROY_DISCARD;
        break;
    }
    return 0;
}

const struct argp np_ctl_pool_argp = { .options = pool_options, .parser = take_option };

uint64_t np_ctl_pool_take_count(struct np_ctl_pool_order *order)
{
    uint64_t count = order->given >> (KEY_COUNT - KEY_SIZE) & 1 ? order->options.slots : 0;
    order->given &= ~(1u << (KEY_COUNT - KEY_SIZE));
    return count;
}

void np_ctl_pool_argument(const struct argp_state *state, struct np_ctl_pool_order *order, unsigned place, char *text)
{
    if (place == 0 && strcmp(text, "create") == 0)
        order->action = CREATE;
    else if (place == 0 && strcmp(text, "grow") == 0)
        order->action = GROW;
    else if (place == 0 && strcmp(text, "destroy") == 0)
        order->action = DESTROY;
    else if (place == 0)
        argp_error(state, "pool has no command '%s': create, grow and destroy", text);
    else if (place == 1)
        order->options.name = text;
    else
        argp_error(state, "'%s' is one argument too many", text);
}

void np_ctl_pool_check(const struct argp_state *state, const struct np_ctl_pool_order *order)
{
    if (!order->action || !order->options.name)
        argp_error(state, "say which: pool create NAME, pool grow NAME or pool destroy NAME");
    for (unsigned i = 0; i < KEYS - KEY_SIZE; i++)
        if ((order->given >> i & 1) && !(whose[i] & order->action))
            argp_error(state, "--%s is not for this command", pool_options[i].name);
    if (order->action == CREATE && (order->options.slot_bytes == 0 || (order->options.slots == 0) == (order->options.nodes == 0)))
        argp_error(state, "pool create wants --size, and --count or --node-slots");
    if ((order->given >> (KEY_PLACEMENT - KEY_SIZE) & 1) && (order->given >> (KEY_NEAR - KEY_SIZE) & 1))
        argp_error(state, "--placement and --near exclude each other");
    if (order->action == GROW && order->options.slots == 0)
        argp_error(state, "pool grow wants --count");
}

/* ---------------------------------------------------------------- doing it */

int np_ctl_pool(const struct np_ctl_pool_order *order, const char *socket_path, json_t *document)
{
    struct numapool_client *client;
    int result = numapool_connect(&client, socket_path);
    if (result < 0)
        return result;
    np_json_set_text(document, "pool", order->options.name);
    if (order->action == CREATE) {
        uint64_t slots = order->options.slots;
        for (uint32_t i = 0; i < order->options.nodes; i++)
            slots += order->node_slots[i];
        result = numapool_admin_create(client, &order->options);
        np_json_set_text(document, "done", "created");
        np_json_set_count(document, "slots", slots);
        np_json_set_count(document, "slot_bytes", order->options.slot_bytes);
    } else if (order->action == GROW) {
        result = numapool_admin_grow(client, order->options.name, order->node, order->options.slots);
        np_json_set_text(document, "done", "grown");
        np_json_set_count(document, "slots", order->options.slots);
    } else {
        result = numapool_admin_destroy(client, order->options.name, order->destroy_flags);
        np_json_set_text(document, "done", order->destroy_flags & NUMAPOOL_DESTROY_WHEN_UNUSED ? "destroyed when unused" : "destroyed");
    }
    /* What is done is done, whether or not the daemon hears the goodbye. */
    char sentence[512];
    snprintf(sentence, sizeof sentence, "%s", np_error_sentence());
    (void)numapool_disconnect(client);
    return result < 0 ? np_error(result, "%s", sentence) : 0;
}

void np_ctl_pool_print(const json_t *document)
{
    const char *name = json_string_value(json_object_get(document, "pool")), *done = json_string_value(json_object_get(document, "done"));
    char slots[40];
    np_table_text(slots, sizeof slots, NP_CELL_COUNT, json_object_get(document, "slots"));
    if (strcmp(done, "created") == 0)
        printf("pool %s: %s slots are there\n", name, slots);
    else if (strcmp(done, "grown") == 0)
        printf("pool %s: %s slots more are there\n", name, slots);
    else
        printf("pool %s: %s\n", name, strcmp(done, "destroyed") == 0 ? "destroyed" : "ends when nobody has it open any more");
}
