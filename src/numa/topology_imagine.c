/* SPDX-License-Identifier: MIT
 * Imagined nodes: what "4x1G" or a file says, laid over the machine's CPUs and memory. numapool-topology(5) is the file's page.
 *
 * Takes text and gives a topology or a sentence with file and line; every count is bounded before anything is made of it. What the text
 * says, and nothing of the machine, goes into the fingerprint, so that processes agree which see different parts of the machine.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <ctype.h>
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/error.h"
#include "core/number.h"
#include "numa/system_files.h"
#include "numa/topology.h"

enum {
    FILE_BYTES_MAX = 64 << 10,
    IMAGINED_MAX = 64,  /* nodes: as many as a pool can have arenas */
    CPUS_MAX = 8192,
    WHERE_BYTES = 128,
    DISTANCE_OTHER = 20,
    DISTANCE_MEMORY_ONLY = 30
};

#define MEMORY_BYTES_MIN (UINT64_C(1) << 20)
#define MEMORY_BYTES_MAX (UINT64_C(64) << 40)

struct imagined_node {
    uint64_t memory_bytes;
    int number;
    bool has_cpus;      /* as the text says: named ones, or a share of the machine's */
    unsigned line;
};

struct imagined {
    struct imagined_node nodes[IMAGINED_MAX];
    unsigned count;
    int16_t cpu_nodes[CPUS_MAX];  /* place of the node that names the CPU; -1: none does */
    uint8_t distances[IMAGINED_MAX][IMAGINED_MAX]; /* by place; 0: not said */
    bool deals_cpus;              /* the machine's CPUs are dealt out to the nodes with has_cpus */
};

static int add_node(struct imagined *imagined, struct imagined_node node, const char *where)
{
    if (imagined->count == IMAGINED_MAX)
        return np_error(-EINVAL, "%s: more than %d nodes: leave some out", where, IMAGINED_MAX);
    imagined->nodes[imagined->count++] = node;
    return 0;
}

/* np_number_parse, and T. */
static int parse_memory(const char *text, uint64_t *bytes, const char *where)
{
    char number[32];
    size_t length = strlen(text);
    bool tera = length > 0 && length < sizeof number && (text[length - 1] == 'T' || text[length - 1] == 't');
    snprintf(number, sizeof number, "%.*s", tera ? (int)length - 1 : (int)sizeof number - 1, text);
    uint64_t value = 0;
    bool is_number = length < sizeof number && np_number_parse(number, &value) == 0 && (!tera || isdigit((unsigned char)number[length - 2]));
    if (is_number && tera)
        value = value <= UINT64_MAX >> 40 ? value << 40 : UINT64_MAX;
    if (!is_number || value < MEMORY_BYTES_MIN || value > MEMORY_BYTES_MAX)
        return np_error(-EINVAL, "%s: '%.40s' is no memory of a node: 1M to 64T, as in 512M, 4G", where, text);
    *bytes = value;
    return 0;
}

/* ---------------------------------------------------------------- "4x1G+1x512M" */

static bool is_short(const char *text)
{
    size_t digits = strspn(text, "0123456789");
    return digits > 0 && text[digits] == 'x';
}

static int parse_short(struct imagined *imagined, const char *text)
{
    static const char where[] = "NUMAPOOL_TOPOLOGY";
    char rest[WHERE_BYTES], *at = rest;
    if (strlen(text) >= sizeof rest)
        return np_error(-EINVAL, "%s: more than %zu characters: write the nodes into a file, and name that", where, sizeof rest - 1);
    strcpy(rest, text);
    imagined->deals_cpus = true;
    for (bool has_cpus = true; at != NULL; has_cpus = false) {
        char *group = at, *plus = strchr(group, '+');
        at = plus == NULL ? NULL : plus + 1;
        if (plus != NULL)
            *plus = '\0';
        char *x = strchr(group, 'x');
        uint64_t count = 0, bytes;
        if (x != NULL)
            *x = '\0';
        if (x == NULL || np_number_parse(group, &count) < 0 || count < 1 || count > IMAGINED_MAX)
            return np_error(-EINVAL, "%s: '%.40s' is no nodes: 1 to %d of them and what memory each has, as in 4x1G, or 2x1G+1x512M", where,
                            text, IMAGINED_MAX);
        int result = parse_memory(x + 1, &bytes, where);
        for (uint64_t i = 0; i < count && result == 0; i++)
            result = add_node(imagined, (struct imagined_node){ bytes, (int)imagined->count, has_cpus, 0 }, where);
        if (result < 0)
            return result;
    }
    return 0;
}

/* ---------------------------------------------------------------- a file */

/* The next word of a line, ended by a zero byte; NULL: none. */
static char *next_word(char **line)
{
    char *word = *line + strspn(*line, " \t\r");
    if (*word == '\0')
        return NULL;
    char *end = word + strcspn(word, " \t\r");
    *line = *end == '\0' ? end : end + 1;
    *end = '\0';
    return word;
}

static int parse_number(const char *text, int most, int *number)
{
    uint64_t value;
    if (text == NULL || !isdigit((unsigned char)text[strlen(text) - (*text != '\0')]) || np_number_parse(text, &value) < 0 ||
        value > (uint64_t)most)
        return -EINVAL;
    *number = (int)value;
    return 0;
}

static int place_of(const struct imagined *imagined, int number)
{
    for (unsigned i = 0; i < imagined->count; i++)
        if (imagined->nodes[i].number == number)
            return (int)i;
    return -1;
}

static int parse_cpus(struct imagined *imagined, const char *list, int place, const char *where)
{
    int cpus[CPUS_MAX];
    int count = np_system_list_parse(list, cpus, CPUS_MAX);
    if (count <= 0 || count > CPUS_MAX)
        return np_error(-EINVAL, "%s: '%.40s' is no list of CPUs, as in 0-3,8", where, list);
    for (int i = 0; i < count; i++) {
        if (cpus[i] >= CPUS_MAX)
            return np_error(-EINVAL, "%s: CPU %d: CPUs are 0 to %d", where, cpus[i], CPUS_MAX - 1);
        if (imagined->cpu_nodes[cpus[i]] >= 0)
            return np_error(-EINVAL, "%s: CPU %d is of node %d already: a CPU is of one node", where, cpus[i],
                            imagined->nodes[imagined->cpu_nodes[cpus[i]]].number);
        imagined->cpu_nodes[cpus[i]] = (int16_t)place;
    }
    return 0;
}

static int parse_node(struct imagined *imagined, char *line, unsigned number, const char *where)
{
    struct imagined_node node = { .line = number };
    const char *word = next_word(&line);
    if (parse_number(word, NP_NODES_MAX - 1, &node.number) < 0)
        return np_error(-EINVAL, "%s: '%.40s' is no number of a node: 0 to %d, as in node 0 memory=1G cpus=0-1", where, word ? word : "",
                        NP_NODES_MAX - 1);
    int known = place_of(imagined, node.number);
    if (known >= 0)
        return np_error(-EINVAL, "%s: node %d is there already, in line %u: say all of it in one", where, node.number,
                        imagined->nodes[known].line);
    int place = (int)imagined->count, result = add_node(imagined, node, where);
    if (result < 0)
        return result;
    struct imagined_node *made = &imagined->nodes[place];
    while ((word = next_word(&line)) != NULL) {
        if (strncmp(word, "memory=", 7) == 0 && made->memory_bytes == 0)
            result = parse_memory(word + 7, &made->memory_bytes, where);
        else if (strncmp(word, "cpus=", 5) == 0 && !made->has_cpus) {
            result = parse_cpus(imagined, word + 5, place, where);
            made->has_cpus = true;
        } else
            result = np_error(-EINVAL, "%s: '%.40s': a node has memory=SIZE and cpus=LIST, each once", where, word);
        if (result < 0)
            return result;
    }
    if (made->memory_bytes == 0 && !made->has_cpus)
        return np_error(-EINVAL, "%s: node %d has neither memory nor CPUs: give it memory=SIZE, cpus=LIST or both", where, node.number);
    return 0;
}

/* "distance 0 1 = 21", blanks about the = or not. In the second reading, when all nodes are known. */
static int parse_distance(struct imagined *imagined, char *line, const char *where)
{
    char *equals = strchr(line, '=');
    int numbers[3] = { -1, -1, -1 }, places[2];
    if (equals != NULL)
        *equals++ = '\0';
    bool is_one = equals != NULL && parse_number(next_word(&line), NP_NODES_MAX - 1, &numbers[0]) == 0 &&
                  parse_number(next_word(&line), NP_NODES_MAX - 1, &numbers[1]) == 0 && next_word(&line) == NULL &&
                  parse_number(next_word(&equals), NP_DISTANCE_FAR, &numbers[2]) == 0 && next_word(&equals) == NULL;
    if (!is_one)
        return np_error(-EINVAL, "%s: this is no distance, as in distance 0 1 = 21", where);
    for (int i = 0; i < 2; i++) {
        places[i] = place_of(imagined, numbers[i]);
        if (places[i] < 0)
            return np_error(-EINVAL, "%s: there is no node %d in this file: add it, or leave its distance out", where, numbers[i]);
    }
    if (places[0] == places[1] ? numbers[2] != NP_DISTANCE_SELF : numbers[2] <= NP_DISTANCE_SELF)
        return np_error(-EINVAL, "%s: %d is no distance from node %d to %d: %d to itself, 11 to %d to others", where, numbers[2], numbers[0],
                        numbers[1], NP_DISTANCE_SELF, NP_DISTANCE_FAR);
    uint8_t *distance = &imagined->distances[places[0]][places[1]];
    if (*distance != 0)
        return np_error(-EINVAL, "%s: the distance from node %d to %d is there already: leave one of them out", where, numbers[0], numbers[1]);
    *distance = (uint8_t)numbers[2];
    return 0;
}

static int parse_line(struct imagined *imagined, char *line, unsigned number, const char *where, bool distances)
{
    line[strcspn(line, "#")] = '\0';
    const char *word = next_word(&line);
    if (word == NULL)
        return 0;
    if (strcmp(word, "node") == 0)
        return distances ? 0 : parse_node(imagined, line, number, where);
    if (strcmp(word, "distance") == 0)
        return distances ? parse_distance(imagined, line, where) : 0;
    return np_error(-EINVAL, "%s: '%.40s': a line begins with node or distance, or is a comment behind #", where, word);
}

static int parse_file(struct imagined *imagined, const char *text, const char *path)
{
    char where[WHERE_BYTES];
    size_t length = strlen(text);
    char *copy = malloc(length + 1);
    if (copy == NULL)
        return np_error(-ENOMEM, "no memory to read %.100s (%zu bytes): free some", path, length + 1);
    int result = 0;
    /* Distances in a second reading, when all nodes are known. */
    for (int reading = 0; reading < 2 && result == 0; reading++) {
        memcpy(copy, text, length + 1);
        unsigned number = 0;
        char *line = copy;
        while (line != NULL && result == 0) {
            char *end = strchr(line, '\n');
            if (end != NULL)
                *end = '\0';
            snprintf(where, sizeof where, "%.*s:%u", WHERE_BYTES - 16, path, ++number);
            result = parse_line(imagined, line, number, where, reading == 1);
            line = end == NULL ? NULL : end + 1;
        }
    }
    free(copy);
    if (result < 0)
        return result;
    bool has_memory = false, has_cpus = false;
    for (unsigned i = 0; i < imagined->count; i++) {
        has_memory = has_memory || imagined->nodes[i].memory_bytes > 0;
        has_cpus = has_cpus || imagined->nodes[i].has_cpus;
    }
    if (!has_memory || !has_cpus)
        return np_error(-EINVAL, "%.100s: %s: there must be one, as in node 0 memory=1G cpus=0", path,
                        has_memory ? "no node has CPUs" : has_cpus ? "no node has memory" : "there is no node");
    return 0;
}

/* ---------------------------------------------------------------- the fingerprint */

static uint64_t mix(uint64_t hash, uint64_t value) /* FNV-1a, a byte after the other */
{
    for (int i = 0; i < 8; i++)
        hash = (hash ^ (value >> (8 * i) & 0xff)) * UINT64_C(0x100000001b3);
    return hash;
}

static uint64_t fingerprint(const struct imagined *imagined, const unsigned *order, const uint8_t *distances)
{
    uint64_t hash = mix(UINT64_C(0xcbf29ce484222325), imagined->count);
    hash = mix(hash, imagined->deals_cpus);
    for (unsigned i = 0; i < imagined->count; i++) {
        const struct imagined_node *node = &imagined->nodes[order[i]];
        hash = mix(mix(mix(hash, (uint64_t)node->number), node->memory_bytes), node->has_cpus);
        for (uint64_t cpu = 0; cpu < CPUS_MAX; cpu++)
            if (imagined->cpu_nodes[cpu] == (int)order[i])
                hash = mix(hash, cpu);
    }
    for (unsigned i = 0; i < imagined->count * imagined->count; i++)
        hash = mix(hash, distances[i]);
    return hash != 0 ? hash : 1; /* 0 is the machine's */
}

/* ---------------------------------------------------------------- laid over the machine */

static uint8_t distance_of(const struct imagined *imagined, unsigned from, unsigned to)
{
    if (imagined->distances[from][to] != 0)
        return imagined->distances[from][to];
    if (imagined->distances[to][from] != 0)
        return imagined->distances[to][from];
    if (from == to)
        return NP_DISTANCE_SELF;
    return imagined->nodes[from].has_cpus && imagined->nodes[to].has_cpus ? DISTANCE_OTHER : DISTANCE_MEMORY_ONLY;
}

/* In order, so many to each, one more to the first ones where they do not come out even. */
static void deal_cpus(struct imagined *imagined, const struct np_topology *machine)
{
    unsigned cpus = 0, takers = 0, dealt = 0, cpu = 0;
    for (unsigned i = 0; i < machine->cpu_limit; i++)
        cpus += machine->cpu_nodes[i] >= 0;
    for (unsigned i = 0; i < imagined->count; i++)
        takers += imagined->nodes[i].has_cpus;
    for (unsigned i = 0; i < imagined->count; i++) {
        if (!imagined->nodes[i].has_cpus)
            continue;
        unsigned share = cpus / takers + (dealt++ < cpus % takers);
        for (; share > 0; cpu++)
            if (machine->cpu_nodes[cpu] >= 0) {
                imagined->cpu_nodes[cpu] = (int16_t)i;
                share--;
            }
    }
}

static void fill_node(struct np_topology *topology, const struct imagined *imagined, unsigned place, unsigned from,
                      const struct np_topology *machine, const cpu_set_t *allowed)
{
    const struct imagined_node *node = &imagined->nodes[from];
    struct np_topology_node *made = &topology->nodes[place];
    *made = (struct np_topology_node){ .number = node->number, .memory_bytes = node->memory_bytes, .physical = -1 };
    for (unsigned cpu = 0; cpu < topology->cpu_limit; cpu++) {
        if (imagined->cpu_nodes[cpu] != (int)from)
            continue;
        topology->cpu_nodes[cpu] = (int16_t)node->number;
        made->cpus++;
        made->cpus_allowed = made->cpus_allowed || (cpu < CPU_SETSIZE && CPU_ISSET(cpu, allowed));
    }
    unsigned with_room = 0;
    for (unsigned i = 0; i < machine->count; i++)
        with_room += np_topology_has_room(&machine->nodes[i]);
    made->memory_allowed = with_room > 0;
    unsigned skip = with_room > 0 ? place % with_room : 0;
    for (unsigned i = 0; i < machine->count && with_room > 0; i++)
        if (np_topology_has_room(&machine->nodes[i]) && skip-- == 0) {
            made->physical = machine->nodes[i].number;
            break;
        }
}

static int lay(struct np_topology *topology, struct imagined *imagined, const struct np_topology *machine)
{
    unsigned order[IMAGINED_MAX]; /* places in the text, by number of node */
    for (unsigned i = 0; i < imagined->count; i++) {
        unsigned at = i;
        for (; at > 0 && imagined->nodes[order[at - 1]].number > imagined->nodes[i].number; at--)
            order[at] = order[at - 1];
        order[at] = i;
    }
    topology->count = imagined->count;
    topology->nodes = calloc(topology->count, sizeof topology->nodes[0]);
    topology->distances = malloc((size_t)topology->count * topology->count);
    topology->cpu_nodes = malloc(CPUS_MAX * sizeof topology->cpu_nodes[0]);
    if (topology->nodes == NULL || topology->distances == NULL || topology->cpu_nodes == NULL)
        return np_error(-ENOMEM, "no memory for %u imagined nodes: free some", imagined->count);
    for (unsigned i = 0; i < topology->count; i++)
        for (unsigned k = 0; k < topology->count; k++)
            topology->distances[(size_t)i * topology->count + k] = distance_of(imagined, order[i], order[k]);
    topology->emulated = true;
    topology->fingerprint = fingerprint(imagined, order, topology->distances);

    if (imagined->deals_cpus)
        deal_cpus(imagined, machine);
    topology->cpu_limit = CPUS_MAX;
    for (; topology->cpu_limit > 0 && imagined->cpu_nodes[topology->cpu_limit - 1] < 0; topology->cpu_limit--)
        topology->cpu_nodes[topology->cpu_limit - 1] = -1;
    for (unsigned cpu = 0; cpu < topology->cpu_limit; cpu++)
        topology->cpu_nodes[cpu] = -1;
    cpu_set_t allowed;
    if (sched_getaffinity(getpid(), sizeof allowed, &allowed) != 0)
        memset(&allowed, 0xff, sizeof allowed);
    for (unsigned i = 0; i < topology->count; i++)
        fill_node(topology, imagined, i, order[i], machine, &allowed);
    return 0;
}

int np_topology_imagine_text(struct np_topology *topology, const char *text, const char *path, const struct np_topology *machine)
{
    *topology = (struct np_topology){0};
    struct imagined *imagined = malloc(sizeof *imagined);
    if (imagined == NULL)
        return np_error(-ENOMEM, "no memory to imagine nodes (%zu bytes): free some", sizeof *imagined);
    imagined->count = 0;
    imagined->deals_cpus = false;
    memset(imagined->distances, 0, sizeof imagined->distances);
    memset(imagined->cpu_nodes, 0xff, sizeof imagined->cpu_nodes);
    int result = path == NULL ? parse_short(imagined, text) : parse_file(imagined, text, path);
    if (result == 0)
        result = lay(topology, imagined, machine);
    free(imagined);
    if (result < 0)
        np_topology_free(topology);
    return result;
}

/* ---------------------------------------------------------------- the variable */

static int read_file(const char *path, char **text)
{
    struct stat status;
    if (stat(path, &status) != 0)
        return np_error(-errno, "cannot read the imagined nodes of %.100s (%s): NUMAPOOL_TOPOLOGY is a file's path, or as in 4x1G", path,
                        strerror(errno));
    if (!S_ISREG(status.st_mode))
        return np_error(-EINVAL, "%.100s is no ordinary file: NUMAPOOL_TOPOLOGY is a file's path, or as in 4x1G", path);
    *text = malloc(FILE_BYTES_MAX + 2);
    if (*text == NULL)
        return np_error(-ENOMEM, "no memory to read %.100s (%d bytes): free some", path, FILE_BYTES_MAX + 2);
    int length = np_system_file_read("", path, *text, FILE_BYTES_MAX + 2);
    int result = 0;
    if (length < 0)
        result = np_error(length, "cannot read the imagined nodes of %.100s (%s): let this process read it", path, strerror(-length));
    else if (length > FILE_BYTES_MAX)
        result = np_error(-EFBIG, "%.100s has more than %d KiB: it is no file of nodes", path, FILE_BYTES_MAX / 1024);
    else if (strlen(*text) != (size_t)length)
        result = np_error(-EINVAL, "%.100s has a zero byte: it is no file of nodes", path);
    if (result < 0)
        free(*text);
    return result;
}

int np_topology_imagine(struct np_topology *topology, const char *text)
{
    *topology = (struct np_topology){0};
    struct np_topology machine;
    char *content = NULL;
    int result = is_short(text) ? 0 : read_file(text, &content);
    if (result < 0)
        return result;
    result = np_topology_read(&machine, NP_SYSTEM_ROOT);
    if (result == 0)
        result = np_topology_imagine_text(topology, content != NULL ? content : text, content != NULL ? text : NULL, &machine);
    np_topology_free(&machine);
    free(content);
    if (result < 0)
        return result;
    /* Of a path that is too long its end, which tells more. */
    size_t length = strlen(text), room = sizeof topology->name - 1;
    if (length <= room)
        memcpy(topology->name, text, length);
    else
        snprintf(topology->name, sizeof topology->name, "...%s", text + length - room + 3);
    return 0;
}
