/* SPDX-License-Identifier: MIT */
#include "machine.h"

#include <dirent.h>
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { PAGE_BYTES = 4096, PAGES_AT_ONCE = 512, MOVE_ALL = 4 /* MPOL_MF_MOVE_ALL, of numaif.h */ };

#define NODES "/sys/devices/system/node"

static void give_up(const char *what)
{
    perror(what);
    exit(2);
}

/* ---------------------------------------------------------------- nodes */

/* The first line of a file of the node; "": there is none. */
static void read_line(int number, const char *name, char *line, size_t bytes)
{
    char path[96];
    snprintf(path, sizeof path, NODES "/node%d/%s", number, name);
    FILE *file = fopen(path, "r");
    line[0] = '\0';
    if (!file)
        return;
    if (!fgets(line, (int)bytes, file))
        line[0] = '\0';
    fclose(file);
}

uint64_t machine_node_bytes(int number, const char *what)
{
    char path[96], line[128], label[64];
    unsigned long long kib = 0;
    snprintf(path, sizeof path, NODES "/node%d/meminfo", number);
    snprintf(label, sizeof label, " %s:", what);
    FILE *file = fopen(path, "r");
    while (file && fgets(line, sizeof line, file)) {
        const char *found = strstr(line, label);
        if (found) {
            kib = strtoull(found + strlen(label), NULL, 10);
            break;
        }
    }
    if (file)
        fclose(file);
    return kib << 10;
}

/* "0-1,4": -1 ends them. */
static unsigned read_list(const char *text, int *numbers, unsigned capacity)
{
    unsigned count = 0;
    while (*text >= '0' && *text <= '9') {
        char *end;
        long first = strtol(text, &end, 10), last = first;
        if (*end == '-')
            last = strtol(end + 1, &end, 10);
        for (long number = first; number <= last && count < capacity; number++)
            numbers[count++] = (int)number;
        text = *end == ',' ? end + 1 : end;
    }
    return count;
}

static int compare_nodes(const void *a, const void *b)
{
    return ((const struct machine_node *)a)->number - ((const struct machine_node *)b)->number;
}

static void read_node(struct machine *machine, struct machine_node *node)
{
    char line[512], *at = line;
    node->memory_bytes = machine_node_bytes(node->number, "MemTotal");
    node->free_bytes = machine_node_bytes(node->number, "MemFree");
    read_line(node->number, "cpulist", line, sizeof line);
    node->cpu_count = read_list(line, node->cpus, MACHINE_CPUS_MAX);
    for (unsigned i = 0; i < node->cpu_count && machine->cpu_count < MACHINE_CPUS_MAX; i++)
        machine->cpus[machine->cpu_count++] = node->cpus[i];
    read_line(node->number, "distance", line, sizeof line);
    for (unsigned i = 0; i < machine->node_count; i++)
        node->distance[i] = (unsigned)strtoul(at, &at, 10);
}

void machine_read(struct machine *machine)
{
    const struct dirent *entry;
    DIR *directory = opendir(NODES);
    memset(machine, 0, sizeof *machine);
    if (!directory)
        give_up(NODES);
    while ((entry = readdir(directory)) != NULL && machine->node_count < MACHINE_NODES_MAX)
        if (strncmp(entry->d_name, "node", 4) == 0 && entry->d_name[4] >= '0' && entry->d_name[4] <= '9')
            machine->nodes[machine->node_count++].number = (int)strtol(entry->d_name + 4, NULL, 10);
    closedir(directory);
    qsort(machine->nodes, machine->node_count, sizeof machine->nodes[0], compare_nodes);
    for (unsigned i = 0; i < machine->node_count; i++)
        read_node(machine, &machine->nodes[i]);
}

void machine_tell(const struct machine *machine)
{
    for (unsigned i = 0; i < machine->node_count; i++) {
        const struct machine_node *node = &machine->nodes[i];
        printf("     node %d: %u CPUs, %llu MiB, distances", node->number, node->cpu_count,
               (unsigned long long)(node->memory_bytes >> 20));
        for (unsigned other = 0; other < machine->node_count; other++)
            printf(" %u", node->distance[other]);
        printf("\n");
    }
    fflush(stdout);
}

const struct machine_node *machine_node(const struct machine *machine, int number)
{
    for (unsigned i = 0; i < machine->node_count; i++)
        if (machine->nodes[i].number == number)
            return &machine->nodes[i];
    return NULL;
}

unsigned machine_nodes_with_cpus(const struct machine *machine)
{
    unsigned count = 0;
    for (unsigned i = 0; i < machine->node_count; i++)
        count += machine->nodes[i].cpu_count > 0;
    return count;
}

int machine_node_of_cpu(const struct machine *machine, int cpu)
{
    for (unsigned i = 0; i < machine->node_count; i++)
        for (unsigned c = 0; c < machine->nodes[i].cpu_count; c++)
            if (machine->nodes[i].cpus[c] == cpu)
                return machine->nodes[i].number;
    return -1;
}

unsigned machine_distance(const struct machine *machine, int from, int to)
{
    const struct machine_node *node = machine_node(machine, from), *other = machine_node(machine, to);
    return node && other ? node->distance[other - machine->nodes] : 0;
}

void machine_run_on_cpu(int cpu)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET((size_t)cpu, &set);
    if (sched_setaffinity(0, sizeof set, &set) < 0)
        give_up("sched_setaffinity");
}

void machine_run_on_node(const struct machine *machine, int number)
{
    const struct machine_node *node = machine_node(machine, number);
    if (!node || node->cpu_count == 0) {
        fprintf(stderr, "node %d has no CPU to run on\n", number);
        exit(2);
    }
    machine_run_on_cpu(node->cpus[0]);
}

/* ---------------------------------------------------------------- pages */

static void count_status(int status, int node, struct machine_pages *pages)
{
    pages->looked_at++;
    if (status < 0 || status >= MACHINE_NODES_MAX) {
        pages->not_there++;
        return;
    }
    pages->on[status]++;
    pages->elsewhere += status != node;
}

int machine_pages_look(const void *address, size_t bytes, int node, struct machine_pages *pages)
{
    const volatile char *at = address;
    for (size_t offset = 0; offset < bytes;) {
        void *batch[PAGES_AT_ONCE];
        int status[PAGES_AT_ONCE];
        unsigned count = 0;
        for (; count < PAGES_AT_ONCE && offset < bytes; offset += PAGE_BYTES) {
            (void)at[offset];
            batch[count] = (void *)(uintptr_t)(at + offset);
            status[count++] = -ENOENT;
        }
        if (syscall(SYS_move_pages, 0, (unsigned long)count, batch, NULL, status, 0) < 0)
            return -errno;
        for (unsigned i = 0; i < count; i++)
            count_status(status[i], node, pages);
    }
    return 0;
}

int machine_page_move(void *address, int node)
{
    void *page = address;
    int status = -ENOENT;
    (void)*(const volatile char *)address;
    if (syscall(SYS_move_pages, 0, 1UL, &page, &node, &status, MOVE_ALL) < 0)
        return -errno;
    return status < 0 ? status : status == node ? 0 : -EBUSY;
}
