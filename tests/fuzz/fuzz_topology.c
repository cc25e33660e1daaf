/* SPDX-License-Identifier: MIT
 * Files of imagined nodes, and NUMAPOOL_TOPOLOGY itself: any text is either taken or refused with a sentence, and what is taken is
 * within its limits and whole. */
#include <stdbool.h>

#include "core/error.h"
#include "fuzz.h"
#include "numa/topology.h"

static struct np_topology *machine(void)
{
    static int16_t cpu_nodes[6] = { 0, 0, -1, 0, 0, 0 };
    static struct np_topology_node node = { .cpus = 5, .memory_bytes = 1 << 30, .memory_allowed = true, .cpus_allowed = true };
    static uint8_t distance = NP_DISTANCE_SELF;
    static struct np_topology the_machine = { .count = 1, .nodes = &node, .distances = &distance, .cpu_nodes = cpu_nodes, .cpu_limit = 6 };
    return &the_machine;
}

static void check_taken(const struct np_topology *topology)
{
    int nodes[64];
    char text[200];
    unsigned with_room = 0, cpus = 0, named = 0;
    FUZZ_MUST(topology->emulated && topology->fingerprint != 0 && topology->count >= 1 && topology->count <= 64);
    for (unsigned i = 0; i < topology->count; i++) {
        const struct np_topology_node *node = &topology->nodes[i];
        FUZZ_MUST(node->number >= 0 && node->number < NP_NODES_MAX && (i == 0 || node->number > node[-1].number));
        FUZZ_MUST(node->memory_bytes == 0 || (node->memory_bytes >= 1 << 20 && node->memory_bytes <= UINT64_C(64) << 40));
        FUZZ_MUST(node->physical == 0);
        FUZZ_MUST(topology->distances[(size_t)i * topology->count + i] == NP_DISTANCE_SELF);
        for (unsigned k = 0; k < topology->count; k++)
            FUZZ_MUST(i == k || topology->distances[(size_t)i * topology->count + k] > NP_DISTANCE_SELF);
        with_room += np_topology_has_room(node);
        cpus += node->cpus;
    }
    for (unsigned cpu = 0; cpu < topology->cpu_limit; cpu++)
        named += topology->cpu_nodes[cpu] >= 0 && np_topology_find(topology, topology->cpu_nodes[cpu]) != NULL;
    FUZZ_MUST(with_room >= 1 && cpus >= 1 && named == cpus);
    FUZZ_MUST(np_topology_by_distance(topology, topology->nodes[0].number, nodes, 64) == (int)with_room);
    FUZZ_MUST(np_topology_describe(topology, text, sizeof text) == (int)strlen(text));
    FUZZ_MUST(np_topology_same(topology, topology));
}

static void try(const char *text, const char *path)
{
    struct np_topology topology;
    np_error_static(0, "");
    int result = np_topology_imagine_text(&topology, text, path, machine());
    FUZZ_MUST(result == 0 || (np_error_sentence()[0] != 0 && topology.nodes == NULL));
    if (result == 0)
        check_taken(&topology);
    np_topology_free(&topology);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    static char text[FUZZ_INPUT_BYTES_MAX + 1];
    if (bytes > FUZZ_INPUT_BYTES_MAX)
        return 0;
    memcpy(text, data, bytes);
    text[bytes] = 0;
    try(text, "fuzz.topo");
    try(text, NULL);
    return 0;
}

#ifndef NUMAPOOL_LIBFUZZER
#define TEXT(text) { text, sizeof text - 1 }
int main(int argc, char **argv)
{
    static const struct fuzz_seed_input seeds[] = {
        TEXT("4x1G"),
        TEXT("2x1G+1x512M"),
        TEXT("64x64T+"),
        TEXT("# an imagined machine\nnode 0 memory=1G cpus=0\nnode 1 memory=1G cpus=1\nnode 3 memory=512M  # memory-only\n"
             "node 4 cpus=2-3   # no memory\ndistance 0 1 = 21\ndistance 1 3=17\n"),
        TEXT("node 0 memory=64T cpus=0-8191\nnode 1023 memory=1M\ndistance 0 1023 = 255\ndistance 1023 1023 = 10\r\n"),
        TEXT("node 2 memory=1T cpus=1,2,3,5-7,9\n\n\nnode 1 memory=1024K\ndistance 1 2 = 11\ndistance 2 1 = 12"),
        TEXT("node 0 memory=1G cpus=0\nnode 0 memory=1G\ndistance 0 0 = 10\ndistance 0 9 = 20\n"),
    };
    return fuzz_main(argc, argv, seeds, sizeof seeds / sizeof seeds[0], 300000);
}
#endif
