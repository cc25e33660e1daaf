/* SPDX-License-Identifier: MIT
 * The machine's topology, from /proc and /sys.
 *
 * What a file leaves open, because it is not there (no NUMA, a container that hides it), makes no sense or comes from another moment than
 * the others (a node went meanwhile), is made up for: whoever asks gets a topology that is whole, and the kernel has the last word when
 * memory is bound.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/error.h"
#include "numa/system_files.h"
#include "numa/topology.h"

enum {
    TEXT_BYTES = 64 << 10, /* /proc/self/status where there are thousands of CPUs */
    CPUS_MAX = 8192,       /* as many as Linux can be built for */
    READ_TRIES_MAX = 3,    /* nodes that come and go while they are read */
    DISTANCE_OTHER = 20
};

#define NODES "/sys/devices/system/node"
#define CPUS  "/sys/devices/system/cpu"

/* What one reading works with; too much for a stack. */
struct reading {
    const char *root;
    struct np_topology *topology;
    int cpu_end;                 /* one more than the highest number that a CPU here can have */
    char text[TEXT_BYTES];
    int numbers[CPUS_MAX];
    bool set[CPUS_MAX];          /* of the list read last */
    bool online_cpus[CPUS_MAX];
    bool allowed_cpus[CPUS_MAX];
    bool cpus_said;              /* the kernel says which are allowed */
    bool memory_said;            /* has_memory could be read */
    bool with_memory[NP_NODES_MAX];
};

static bool contains_file(const struct reading *reading, const char *path)
{
    char whole[PATH_MAX];
    return snprintf(whole, sizeof whole, "%s%s", reading->root, path) < (int)sizeof whole && access(whole, F_OK) == 0;
}

/* The numbers of a list into reading->set; how many of them are below `limit`. -EINVAL: it is no list. */
static int read_set(struct reading *reading, const char *list, int limit)
{
    memset(reading->set, 0, (size_t)limit * sizeof reading->set[0]); /* nobody looks beyond */
    int count = np_system_list_parse(list, reading->numbers, CPUS_MAX), known = 0;
    if (count < 0)
        return count;
    for (int i = 0; i < count && i < CPUS_MAX; i++)
        if (reading->numbers[i] < limit && !reading->set[reading->numbers[i]]) {
            reading->set[reading->numbers[i]] = true;
            known++;
        }
    return known;
}

/* The same of a file. -errno: it cannot be read, or is none. */
static int read_set_file(struct reading *reading, const char *path, int limit)
{
    int length = np_system_file_read(reading->root, path, reading->text, sizeof reading->text);
    return length < 0 ? length : read_set(reading, reading->text, limit);
}

/* The list behind a label of /proc/self/status, which is in reading->text. */
static int read_set_behind(struct reading *reading, const char *label, int limit)
{
    const char *line = reading->text;
    while (line != NULL && strncmp(line, label, strlen(label)) != 0) {
        line = strchr(line, '\n');
        line = line == NULL ? NULL : line + 1;
    }
    if (line == NULL)
        return -ENOENT;
    line += strlen(label);
    return read_set(reading, line + strspn(line, " \t"), limit);
}

/* ---------------------------------------------------------------- nodes */

static int make_nodes(struct reading *reading)
{
    struct np_topology *topology = reading->topology;
    bool is_node[NP_NODES_MAX];
    int count = read_set_file(reading, NODES "/online", NP_NODES_MAX);
    memcpy(is_node, reading->set, sizeof is_node);
    if (count <= 0)
        memset(is_node, 0, sizeof is_node);

    int with_memory = read_set_file(reading, NODES "/has_memory", NP_NODES_MAX);
    reading->memory_said = with_memory > 0;
    for (int i = 0; i < NP_NODES_MAX; i++) {
        reading->with_memory[i] = reading->memory_said && reading->set[i];
        is_node[i] = is_node[i] || reading->with_memory[i];
    }

    unsigned nodes = 0;
    for (int i = 0; i < NP_NODES_MAX; i++)
        nodes += is_node[i];
    if (nodes == 0) { /* no NUMA */
        is_node[0] = true;
        nodes = 1;
    }
    topology->nodes = calloc(nodes, sizeof topology->nodes[0]);
    topology->distances = malloc((size_t)nodes * nodes);
    if (topology->nodes == NULL || topology->distances == NULL)
        return -ENOMEM;
    for (int i = 0; i < NP_NODES_MAX; i++)
        if (is_node[i])
            topology->nodes[topology->count++] = (struct np_topology_node){ .number = i, .physical = i };
    return 0;
}

/* ---------------------------------------------------------------- memory */

static uint64_t machine_bytes(struct reading *reading)
{
    uint64_t total = 0;
    if (np_system_file_read(reading->root, "/proc/meminfo", reading->text, sizeof reading->text) <= 0 ||
        !np_system_text_value(reading->text, "MemTotal", &total))
        return 0;
    return total;
}

static void read_memory(struct reading *reading)
{
    struct np_topology *topology = reading->topology;
    unsigned with_memory = 0;
    for (unsigned i = 0; i < topology->count; i++) {
        struct np_topology_node *node = &topology->nodes[i];
        char path[64];
        snprintf(path, sizeof path, NODES "/node%d/meminfo", node->number);
        uint64_t bytes = 0;
        if (np_system_file_read(reading->root, path, reading->text, sizeof reading->text) <= 0 ||
            !np_system_text_value(reading->text, "MemTotal", &bytes))
            bytes = 0;
        node->memory_bytes = bytes;
        if (!reading->memory_said)
            reading->with_memory[node->number] = bytes > 0;
        else if (!reading->with_memory[node->number])
            node->memory_bytes = 0;
        with_memory += reading->with_memory[node->number];
    }
    if (with_memory == 0) { /* whoever reads this runs in some */
        reading->with_memory[topology->nodes[0].number] = true;
        with_memory = 1;
    }
    /* The figures of a single node lag behind while a kernel sets its pages up; the machine's do not. */
    uint64_t of_machine = machine_bytes(reading), share = of_machine / with_memory;
    for (unsigned i = 0; i < topology->count; i++) {
        struct np_topology_node *node = &topology->nodes[i];
        if (reading->with_memory[node->number] && (node->memory_bytes == 0 || (with_memory == 1 && share > 0)))
            node->memory_bytes = share > 0 ? share : 1;
    }
}

/* ---------------------------------------------------------------- processors */

static void give_cpu(struct reading *reading, int cpu, struct np_topology_node *node)
{
    if (reading->topology->cpu_nodes[cpu] >= 0) /* one node said so already */
        return;
    reading->topology->cpu_nodes[cpu] = (int16_t)node->number;
    node->cpus++;
    node->cpus_allowed = node->cpus_allowed || reading->allowed_cpus[cpu];
}

/* Those that are offline keep their entry in their node's directory. */
static void count_offline(struct reading *reading)
{
    struct np_topology *topology = reading->topology;
    bool present[CPUS_MAX];
    int count = read_set_file(reading, CPUS "/present", reading->cpu_end);
    memcpy(present, reading->set, (size_t)reading->cpu_end * sizeof present[0]);
    if (count < 0 || read_set_file(reading, CPUS "/offline", reading->cpu_end) <= 0)
        return;
    unsigned guess = 0; /* neighbours are mostly of one node */
    for (int cpu = 0; cpu < reading->cpu_end; cpu++) {
        if (!reading->set[cpu] || !present[cpu])
            continue;
        for (unsigned i = 0; i < topology->count; i++) {
            unsigned place = (guess + i) % topology->count;
            char path[96];
            snprintf(path, sizeof path, NODES "/node%d/cpu%d", topology->nodes[place].number, cpu);
            if (contains_file(reading, path)) {
                topology->nodes[place].offline_cpus++;
                guess = place;
                break;
            }
        }
    }
}

static int read_cpus(struct reading *reading)
{
    struct np_topology *topology = reading->topology;
    topology->cpu_nodes = malloc(reading->cpu_end * sizeof topology->cpu_nodes[0]);
    if (topology->cpu_nodes == NULL)
        return -ENOMEM;
    for (int i = 0; i < reading->cpu_end; i++)
        topology->cpu_nodes[i] = -1;

    int online = read_set_file(reading, CPUS "/online", reading->cpu_end);
    memcpy(reading->online_cpus, reading->set, (size_t)reading->cpu_end * sizeof reading->set[0]);
    bool of_some_node = false;
    for (unsigned i = 0; i < topology->count; i++) {
        char path[64];
        snprintf(path, sizeof path, NODES "/node%d/cpulist", topology->nodes[i].number);
        if (read_set_file(reading, path, reading->cpu_end) < 0)
            continue;
        for (int cpu = 0; cpu < reading->cpu_end; cpu++)
            if (reading->set[cpu] && (online <= 0 || reading->online_cpus[cpu])) {
                give_cpu(reading, cpu, &topology->nodes[i]);
                of_some_node = true;
            }
    }
    /* No node has any: they are the first one's, those that are online or else those that this process may use. */
    const bool *all = online > 0 ? reading->online_cpus : reading->allowed_cpus;
    int limit = online > 0 || reading->cpus_said ? reading->cpu_end : 1;
    for (int cpu = 0; cpu < limit && !of_some_node; cpu++)
        if (all[cpu])
            give_cpu(reading, cpu, &topology->nodes[0]);
    count_offline(reading);

    topology->cpu_limit = reading->cpu_end;
    while (topology->cpu_limit > 0 && topology->cpu_nodes[topology->cpu_limit - 1] < 0)
        topology->cpu_limit--;
    return 0;
}

/* What this process may use; all of it where the kernel does not say. */
static void read_allowed(struct reading *reading)
{
    struct np_topology *topology = reading->topology;
    bool is_said = np_system_file_read(reading->root, "/proc/self/status", reading->text, sizeof reading->text) > 0;
    bool nodes_said = is_said && read_set_behind(reading, "Mems_allowed_list:", NP_NODES_MAX) > 0;
    for (unsigned i = 0; i < topology->count; i++)
        topology->nodes[i].memory_allowed = !nodes_said || reading->set[topology->nodes[i].number];
    reading->cpus_said = is_said && read_set_behind(reading, "Cpus_allowed_list:", reading->cpu_end) > 0;
    for (int cpu = 0; cpu < reading->cpu_end; cpu++)
        reading->allowed_cpus[cpu] = !reading->cpus_said || reading->set[cpu];
}

/* ---------------------------------------------------------------- distances */

/* One row: a number for each node that is online, in their order. False: something else. */
static bool read_row(struct reading *reading, unsigned row)
{
    struct np_topology *topology = reading->topology;
    char path[64];
    snprintf(path, sizeof path, NODES "/node%d/distance", topology->nodes[row].number);
    if (np_system_file_read(reading->root, path, reading->text, sizeof reading->text) <= 0)
        return false;
    uint8_t *distances = &topology->distances[(size_t)row * topology->count];
    const char *at = reading->text;
    for (unsigned column = 0; column < topology->count; column++) {
        at += strspn(at, " \t");
        if (!isdigit((unsigned char)*at))
            return false;
        char *end;
        unsigned long distance = strtoul(at, &end, 10);
        at = end;
        /* Less than to itself is no distance. */
        if (distance < NP_DISTANCE_SELF)
            return false;
        distances[column] = (uint8_t)(distance < NP_DISTANCE_FAR ? distance : NP_DISTANCE_FAR);
    }
    at += strspn(at, " \t\n");
    return *at == '\0';
}

static void read_distances(struct reading *reading)
{
    struct np_topology *topology = reading->topology;
    for (unsigned row = 0; row < topology->count; row++) {
        if (read_row(reading, row))
            continue;
        for (unsigned column = 0; column < topology->count; column++)
            topology->distances[(size_t)row * topology->count + column] = row == column ? NP_DISTANCE_SELF : DISTANCE_OTHER;
    }
}

/* ---------------------------------------------------------------- all of it */

/* Two CPUs are looked for among two, and not among all that Linux could be built for. */
static void find_cpu_end(struct reading *reading)
{
    reading->cpu_end = CPUS_MAX;
    if (read_set_file(reading, CPUS "/possible", CPUS_MAX) <= 0)
        return;
    while (reading->cpu_end > 1 && !reading->set[reading->cpu_end - 1])
        reading->cpu_end--;
}

static int read_once(struct reading *reading)
{
    int result = make_nodes(reading);
    if (result < 0)
        return result;
    read_memory(reading);
    read_allowed(reading);
    result = read_cpus(reading);
    if (result < 0)
        return result;
    read_distances(reading);
    return 0;
}

/* Whether the nodes that are online are still those that were read. */
static bool is_still_so(struct reading *reading)
{
    int count = read_set_file(reading, NODES "/online", NP_NODES_MAX);
    if (count <= 0)
        return true;
    for (unsigned i = 0; i < reading->topology->count; i++) {
        if (!reading->set[reading->topology->nodes[i].number] && !reading->with_memory[reading->topology->nodes[i].number])
            return false;
        reading->set[reading->topology->nodes[i].number] = false;
    }
    for (int i = 0; i < NP_NODES_MAX; i++)
        if (reading->set[i])
            return false;
    return true;
}

int np_topology_read(struct np_topology *topology, const char *root)
{
    *topology = (struct np_topology){0};
    struct reading *reading = malloc(sizeof *reading); /* not zeroed: most of it is never touched */
    if (reading == NULL)
        return np_error(-ENOMEM, "no memory to read which nodes there are (%zu bytes): free some", sizeof *reading);
    reading->root = root;
    reading->topology = topology;
    reading->cpus_said = reading->memory_said = false;
    find_cpu_end(reading);
    int result = 0;
    for (int i = 0; i < READ_TRIES_MAX; i++) {
        np_topology_free(topology);
        result = read_once(reading);
        if (result < 0 || is_still_so(reading))
            break;
    }
    free(reading);
    if (result < 0) {
        np_topology_free(topology);
        return np_error(result, "no memory for what nodes there are: free some");
    }
    return 0;
}
