/* SPDX-License-Identifier: MIT
 * One pool's settings, the same by --pool and in a file. */
#include "daemon/pool_spec.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "core/arena.h"
#include "core/error.h"
#include "core/number.h"
#include "core/pool.h"
#include "numapool.h"

int np_config_number(const char *text, uint64_t *number)
{
    return np_number_parse(text, number);
}

static int set_number(const char *where, const char *pool, const char *key, const char *value, uint64_t least, uint64_t most,
                      uint64_t *number)
{
    if (np_config_number(value, number) == 0 && *number >= least && *number <= most)
        return 0;
    return np_error(-EINVAL, "%s: %s=%.40s of pool '%s' is not a number from %" PRIu64 " to %" PRIu64 " (K, M and G may follow it)",
                    where, key, value, pool, least, most);
}

static int set_switch(const char *where, const char *pool, const char *key, const char *value, uint64_t flag, uint64_t *flags)
{
    if (!value || strcmp(value, "yes") == 0 || strcmp(value, "true") == 0 || strcmp(value, "1") == 0)
        *flags |= flag;
    else if (strcmp(value, "no") == 0 || strcmp(value, "false") == 0 || strcmp(value, "0") == 0)
        *flags &= ~flag;
    else
        return np_error(-EINVAL, "%s: %s=%.40s of pool '%s' is neither yes nor no", where, key, value, pool);
    return 0;
}

static int set_pages(const char *where, const char *pool, const char *value, uint64_t *flags)
{
    *flags &= ~(uint64_t)(NUMAPOOL_HUGE_1G | NUMAPOOL_HUGE_2M | NUMAPOOL_HUGE_THP);
    if (strcmp(value, "1g") == 0 || strcmp(value, "1G") == 0)
        *flags |= NUMAPOOL_HUGE_1G;
    else if (strcmp(value, "2m") == 0 || strcmp(value, "2M") == 0)
        *flags |= NUMAPOOL_HUGE_2M;
    else if (strcmp(value, "thp") == 0)
        *flags |= NUMAPOOL_HUGE_THP;
    else if (strcmp(value, "best") != 0)
        return np_error(-EINVAL,
                        "%s: pages=%.40s of pool '%s' is not known: 1g, 2m (hugetlb), thp (transparent) or best (whichever there are)",
                        where, value, pool);
    return 0;
}

static int set_checks(const char *where, struct np_config_pool *pool, const char *value)
{
    if (value && strcmp(value, "sites") == 0) {
        pool->flags |= NUMAPOOL_CHECKS | NUMAPOOL_CHECK_SITES;
        return 0;
    }
    int result = set_switch(where, pool->name, "checks", value, NUMAPOOL_CHECKS, &pool->flags);
    return result < 0 ? np_error_within(result, "yes, no or sites") : 0;
}

static int set_placement(const char *where, struct np_config_pool *pool, const char *value)
{
    static const char near[] = "near:";
    int policy = strncmp(value, near, sizeof near - 1) == 0 ? NUMAPOOL_NEAR_DEVICE : np_policy_named(value);
    if (policy < 0 || (policy == NUMAPOOL_NEAR_DEVICE && value[sizeof near - 2] != ':'))
        return np_error(-EINVAL, "%s: placement=%.40s of pool '%s' is not known: even, memory, local, near:DEVICE, or explicit with node_slots",
                        where, value, pool->name);
    pool->policy = (uint32_t)policy;
    if (policy != NUMAPOOL_NEAR_DEVICE)
        return 0;
    value += sizeof near - 1;
    if (!np_device_name_is_good(value))
        return np_error(-EINVAL, "%s: '%.80s', which pool '%s' is to be near, cannot be a device's name: a network interface, an nvme or block "
                        "device, or a PCI address", where, value, pool->name);
    snprintf(pool->device, sizeof pool->device, "%s", value);
    return 0;
}

/* May be given several times, since a line of a file is short: each goes on with the next node. */
static int set_node_slots(const char *where, struct np_config_pool *pool, const char *value)
{
    for (const char *part = value; part; part = strchr(part, ':') ? strchr(part, ':') + 1 : NULL) {
        char text[32];
        size_t bytes = strcspn(part, ":");
        uint64_t *slots = &pool->node_slots[pool->nodes];
        if (pool->nodes == NP_ARENAS_MAX)
            return np_error(-EINVAL, "%s: node_slots of pool '%s' names more than the nodes 0 to %d", where, pool->name, NP_ARENAS_MAX - 1);
        snprintf(text, sizeof text, "%.*s", (int)(bytes < sizeof text ? bytes : sizeof text - 1), part);
        if (bytes >= sizeof text || np_config_number(text, slots) < 0 || *slots > NP_SLOTS_MAX)
            return np_error(-EINVAL, "%s: node_slots=%.60s of pool '%s' is no list of numbers up to %" PRIu64 ", one a node from node 0, with ':' "
                            "between them (K, M and G may follow each)", where, value, pool->name, (uint64_t)NP_SLOTS_MAX);
        pool->slots += *slots;
        pool->nodes++;
    }
    return 0;
}

static int once(bool *has, const char *where, const char *pool, const char *key)
{
    if (*has)
        return np_error(-EINVAL, "%s: %s of pool '%s' is given twice: leave one out", where, key, pool);
    *has = true;
    return 0;
}

/* May be given several times, since a line of a file is short: each adds to the list. */
static int set_access(struct np_config_pool *pool, unsigned right, const char *key, const char *value, const char *where)
{
    char text[192];
    snprintf(text, sizeof text, "%.100s: %s of pool '%s'", where, key, pool->name);
    return np_access_add(pool->access, right, value ? value : "", text);
}

int np_pool_spec_set(struct np_config_pool *pool, const char *key, const char *value, const char *where)
{
    uint64_t number;
    int result;
    struct {
        const char *key;
        bool *has;
        bool is_switch;
    } keys[] = { { "size", &pool->has_size, false },         { "count", &pool->has_count, false },
                 { "pages", &pool->has_pages, false },       { "magazine", &pool->has_magazine, false },
                 { "sharers", &pool->has_sharers, false },   { "fallback", &pool->has_fallback, true },
                 { "exact", &pool->has_exact, true },        { "checks", &pool->has_checks, true },
                 { "low_watermark", &pool->has_low_watermark, false },
                 { "placement", &pool->has_placement, false }, { "spill", &pool->has_spill, false },
                 { "strict", &pool->has_strict, true } };
    unsigned at = 0, count = sizeof keys / sizeof keys[0], right = np_access_right_named(key);
    if (right)
        return set_access(pool, right, key, value, where);
    if (strcmp(key, "node_slots") == 0)
        return value ? set_node_slots(where, pool, value)
                     : np_error(-EINVAL, "%s: node_slots of pool '%s' wants a value: node_slots=N:N:... from node 0", where, pool->name);
    while (at < count && strcmp(key, keys[at].key) != 0)
        at++;
    if (at == count)
        return np_error(-EINVAL, "%s: pool '%s' has no setting '%.40s': size, count, pages, fallback, magazine, sharers, exact, "
                        "checks, low_watermark, placement, node_slots, strict, spill, "
                        "direct, readonly, admin",
                        where, pool->name, key);
    if (!value && !keys[at].is_switch)
        return np_error(-EINVAL, "%s: %s of pool '%s' wants a value: %s=...", where, key, pool->name, key);
    if ((result = once(keys[at].has, where, pool->name, key)) < 0)
        return result;
    switch (at) {
    case 0:
        return set_number(where, pool->name, key, value, 1, NP_STRIDE_MAX, &pool->slot_bytes);
    case 1:
        result = set_number(where, pool->name, key, value, 1, NP_SLOTS_MAX * NP_ARENAS_MAX, &number);
        pool->slots += result == 0 ? number : 0;
        return result;
    case 2:
        return set_pages(where, pool->name, value, &pool->flags);
    case 3:
        result = set_number(where, pool->name, key, value, 1, NP_MAGAZINE_SLOTS_MAX, &number);
        pool->magazine_slots = result == 0 ? (uint32_t)number : 0;
        return result;
    case 4:
        result = set_number(where, pool->name, key, value, 1, NP_CLIENTS_LIMIT, &number);
        pool->sharers = result == 0 ? (uint32_t)number : 0;
        return result;
    case 5:
        return set_switch(where, pool->name, key, value, NUMAPOOL_PAGES_FALLBACK, &pool->flags);
    case 6:
        return set_switch(where, pool->name, key, value, NUMAPOOL_EXACT_COUNTS, &pool->flags);
    case 7:
        return set_checks(where, pool, value);
    case 9:
        return set_placement(where, pool, value);
    case 10:
        return set_number(where, pool->name, key, value, 1, NP_SLOTS_MAX * NP_ARENAS_MAX, &pool->spill_slots);
    case 11:
        return set_switch(where, pool->name, key, value, NUMAPOOL_STRICT, &pool->flags);
    default:
        return set_number(where, pool->name, key, value, 1, NP_SLOTS_MAX, &pool->low_watermark);
    }
}

int np_pool_spec_begin(struct np_config *config, const char *name, const char *where, struct np_config_pool **pool)
{
    size_t bytes = strlen(name);
    if (bytes == 0 || bytes >= NUMAPOOL_NAME_BYTES ||
        strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-") != bytes)
        return np_error(-EINVAL, "%s: '%.60s' is no name for a pool: 1 to %u letters, digits, '.', '_' and '-'", where, name,
                        NUMAPOOL_NAME_BYTES - 1);
    for (unsigned i = 0; i < config->pool_count; i++)
        if (strcmp(config->pools[i].name, name) == 0)
            return np_error(-EINVAL, "%s: pool '%s' is given twice: leave one out or name it otherwise", where, name);
    if (config->pool_count == NP_POOLS_MAX)
        return np_error(-EINVAL, "%s: pool '%s' is one too many: a daemon has at most %u", where, name, NP_POOLS_MAX);
    *pool = &config->pools[config->pool_count++];
    **pool = (struct np_config_pool){ .sharers = NP_CONFIG_POOL_SHARERS_DEFAULT };
    memcpy((*pool)->name, name, bytes + 1);
    return 0;
}

/* How many slots there are, and where, is said once. */
static int check_nodes(struct np_config_pool *pool, const char *where)
{
    if (pool->nodes > 0 && pool->has_count)
        return np_error(-EINVAL, "%s: pool '%s' has count and node_slots: leave one out", where, pool->name);
    if (pool->nodes > 0 && pool->slots == 0)
        return np_error(-EINVAL, "%s: node_slots of pool '%s' are all 0: give it some on one node at least", where, pool->name);
    if (pool->nodes > 0 && !pool->has_placement)
        pool->policy = NUMAPOOL_EXPLICIT;
    if ((pool->policy == NUMAPOOL_EXPLICIT) != (pool->nodes > 0))
        return np_error(-EINVAL, pool->nodes > 0 ? "%s: pool '%s' has node_slots and another placement: leave one out, or say placement=explicit"
                                                 : "%s: pool '%s' has placement=explicit and not said where: node_slots=N:N:... from node 0",
                        where, pool->name);
    if (pool->spill_slots > 0 && pool->flags & NUMAPOOL_STRICT)
        return np_error(-EINVAL, "%s: pool '%s' is strict, and so takes no slot from another node, and is to spill: leave one out", where,
                        pool->name);
    return 0;
}

int np_pool_spec_finish(struct np_config_pool *pool, const char *where)
{
    int result = check_nodes(pool, where);
    if (result < 0)
        return result;
    if (!pool->has_size || (!pool->has_count && pool->nodes == 0))
        return np_error(-EINVAL, "%s: pool '%s' has no %s: give it size=BYTES and count=SLOTS", where, pool->name,
                        pool->has_size ? "count" : "size");
    if (np_arena_stride_of(pool->slot_bytes, pool->flags) > NP_STRIDE_MAX)
        return np_error(-EINVAL, "%s: pool '%s' has checks, and no room for a guard behind slots of %" PRIu64 " bytes: make size 64 less",
                        where, pool->name, pool->slot_bytes);
    if (pool->slots + pool->spill_slots > NP_ARENA_BYTES_MAX / np_arena_stride_of(pool->slot_bytes, pool->flags))
        return np_error(-EINVAL, "%s: pool '%s' would have more than 2^46 bytes: make size or count smaller", where, pool->name);
    return 0;
}

static int add_parts(struct np_config_pool *pool, char *parts, const char *where)
{
    char *rest = parts;
    for (char *part = strsep(&rest, ","); part; part = strsep(&rest, ",")) {
        char *value = strchr(part, '=');
        if (value)
            *value++ = '\0';
        int result = np_pool_spec_set(pool, part, value, where);
        if (result < 0)
            return result;
    }
    return np_pool_spec_finish(pool, where);
}

int np_config_pool_add(struct np_config *config, const char *spec, const char *where)
{
    char text[NP_CONFIG_SPEC_BYTES];
    struct np_config_pool *pool;
    size_t bytes = strlen(spec);
    if (bytes >= sizeof text)
        return np_error(-EINVAL, "%s: the pool '%.40s...' is described in more than %zu bytes", where, spec, sizeof text - 1);
    memcpy(text, spec, bytes + 1);
    char *rest = text, *name = strsep(&rest, ",");
    int result = np_pool_spec_begin(config, name, where, &pool);
    if (result < 0)
        return result;
    result = rest ? add_parts(pool, rest, where) : np_pool_spec_finish(pool, where);
    if (result < 0)
        config->pool_count--;
    return result;
}

/* What says where it is to be: "" for evenly on all nodes. How long it is. */
static int format_nodes(const struct np_config_pool *pool, char text[NP_CONFIG_NODES_BYTES])
{
    int used = 0;
    text[0] = '\0';
    for (uint32_t i = 0; i < pool->nodes && i < NP_ARENAS_MAX; i++)
        used += snprintf(text + used, NP_CONFIG_NODES_BYTES - (size_t)used, "%s%" PRIu64, i == 0 ? ",node_slots=" : ":", pool->node_slots[i]);
    if (pool->policy == NUMAPOOL_NEAR_DEVICE)
        used += snprintf(text + used, NP_CONFIG_NODES_BYTES - (size_t)used, ",placement=near:%s", pool->device);
    else if (pool->policy != NUMAPOOL_EVEN && pool->policy != NUMAPOOL_EXPLICIT)
        used += snprintf(text + used, NP_CONFIG_NODES_BYTES - (size_t)used, ",placement=%s", np_policy_name(pool->policy));
    if (pool->spill_slots)
        used += snprintf(text + used, NP_CONFIG_NODES_BYTES - (size_t)used, ",spill=%" PRIu64, pool->spill_slots);
    return used + snprintf(text + used, NP_CONFIG_NODES_BYTES - (size_t)used, "%s", pool->flags & NUMAPOOL_STRICT ? ",strict" : "");
}

void np_config_pool_spec(const struct np_config_pool *pool, char spec[NP_CONFIG_SPEC_BYTES])
{
    int used = snprintf(spec, NP_CONFIG_SPEC_BYTES, "%s,size=%" PRIu64 ",pages=%s,sharers=%" PRIu32, pool->name,
                        pool->slot_bytes,
                        pool->flags & NUMAPOOL_HUGE_1G    ? "1g"
                        : pool->flags & NUMAPOOL_HUGE_2M  ? "2m"
                        : pool->flags & NUMAPOOL_HUGE_THP ? "thp"
                                                          : "best",
                        pool->sharers);
    if (pool->nodes == 0)
        used += snprintf(spec + used, NP_CONFIG_SPEC_BYTES - (size_t)used, ",count=%" PRIu64, pool->slots);
    used += format_nodes(pool, spec + used);
    if (pool->magazine_slots)
        used += snprintf(spec + used, NP_CONFIG_SPEC_BYTES - (size_t)used, ",magazine=%" PRIu32, pool->magazine_slots);
    if (pool->low_watermark)
        used += snprintf(spec + used, NP_CONFIG_SPEC_BYTES - (size_t)used, ",low_watermark=%" PRIu64, pool->low_watermark);
    used += snprintf(spec + used, NP_CONFIG_SPEC_BYTES - (size_t)used, "%s%s%s", pool->flags & NUMAPOOL_PAGES_FALLBACK ? ",fallback" : "",
             pool->flags & NUMAPOOL_EXACT_COUNTS ? ",exact" : "",
             pool->flags & NUMAPOOL_CHECK_SITES ? ",checks=sites" : pool->flags & NUMAPOOL_CHECKS ? ",checks" : "");
    for (unsigned right = NP_RIGHT_DIRECT; right <= NP_RIGHT_ADMIN; right *= 2) {
        char ids[NP_ACCESS_TEXT_BYTES];
        np_access_format(pool->access, right, ids, sizeof ids);
        if (ids[0])
            used += snprintf(spec + used, NP_CONFIG_SPEC_BYTES - (size_t)used, ",%s=%s", np_access_right_name(right), ids);
    }
}
