/* SPDX-License-Identifier: MIT
 *
 * Payload on pages of 1 GiB: made, mapped by others, looked at, refused with the number of pages and the path that mends it,
 * fallen back from as allowed, and never taken by who did not ask. A page of 1 GiB is reserved for that and given back: the
 * machine needs a gigabyte in one piece. It stands with the crash tests because making one takes seconds.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/error.h"
#include "harness.h"
#include "numa/pages.h"
#include "numa/placement.h"
#include "numa/where.h"

static const char reserved[] = "/sys/kernel/mm/hugepages/hugepages-1048576kB/nr_hugepages";

static long number_in(const char *path)
{
    long number = -1;
    FILE *file = fopen(path, "re");
    if (file && fscanf(file, "%ld", &number) != 1)
        number = -1;
    if (file)
        fclose(file);
    return number;
}

static void write_number(const char *path, long number)
{
    FILE *file = fopen(path, "we");
    if (!file)
        return;
    fprintf(file, "%ld\n", number);
    fclose(file);
}

static bool says(const char *part)
{
    if (strstr(np_error_sentence(), part))
        return true;
    harness_note("'%s' lacks '%s'", np_error_sentence(), part);
    return false;
}

static void make_and_look(int node)
{
    struct np_memory memory, more;
    struct np_where where = { 0 };
    struct np_moved moved;
    void *mapped = NULL;
    if (!harness_expect(np_memory_create(&memory, "payload", 3 << 20, node, NUMAPOOL_HUGE_1G, NP_SHARED) == 0,
                        "three megabytes take a page of 1 GiB"))
        return;
    harness_expect(memory.page_bytes == NP_GIANT_PAGE_BYTES && memory.bytes == NP_GIANT_PAGE_BYTES && !memory.transparent,
                   "and say so");
    harness_expect((uintptr_t)memory.address % NP_GIANT_PAGE_BYTES == 0, "its address is one of such a page");
    ((volatile char *)memory.address)[NP_GIANT_PAGE_BYTES - 1] = 7;
    if (harness_expect(np_memory_map(&mapped, memory.fd, memory.bytes, true, true, "payload") == 0, "others map it")) {
        harness_expect(((volatile char *)mapped)[NP_GIANT_PAGE_BYTES - 1] == 7, "and see the same bytes");
        np_memory_unmap(mapped, memory.bytes);
    }
    harness_expect(np_file_where(memory.fd, 0, memory.bytes, memory.page_bytes, false, node, &where) == 0 &&
                       where.pages == 1 && where.elsewhere == 0,
                   "it is one page, on its node");
    harness_expect(np_file_move(memory.fd, 0, memory.bytes, node, &moved) == 0 && moved.elsewhere == 0,
                   "it is looked at for moving as a whole");
    harness_expect(np_file_move(memory.fd, 0, NP_GIANT_PAGE_BYTES / 2, node, &moved) == -EINVAL, "and not in parts");
    harness_expect(np_memory_create(&more, "payload", 1 << 20, node, NUMAPOOL_HUGE_1G, NP_SHARED) == -ENOSPC,
                   "a second one is not to be had");
    harness_expect(says("needs 1 pages of 1 GiB") && says("hugepages-1048576kB/nr_hugepages") && says("reserve 1 more"),
                   "which is said with number and path");
    if (harness_expect(
            np_memory_create(&more, "payload", 4 << 20, node, NUMAPOOL_HUGE_1G | NUMAPOOL_PAGES_FALLBACK, NP_SHARED) == 0,
            "with fallback smaller ones are taken")) {
        harness_expect(more.page_bytes <= NP_HUGE_PAGE_BYTES, "and say so");
        np_memory_destroy(&more);
    }
    np_memory_destroy(&memory);
    if (harness_expect(np_memory_create(&more, "payload", NP_GIANT_PAGE_BYTES, node, 0, NP_SHARED) == 0,
                       "a gigabyte on the best pages there are")) {
        harness_expect(more.page_bytes <= NP_HUGE_PAGE_BYTES, "is not on a page of 1 GiB that somebody has reserved");
        np_memory_destroy(&more);
    }
}

static void serve(void)
{
    static const char *const verify[] = { "verify", NULL };
    struct harness_daemon daemon;
    harness_daemon_prepare(&daemon);
    if (!harness_daemon_start(&daemon, "pay,size=4096,count=1000,pages=1g"))
        return;
    harness_expect(harness_tool(&daemon, verify) == 0, "a daemon has a pool on one, and it is where it should be");
    harness_daemon_stop(&daemon);
    harness_daemon_remove(&daemon);
}

int main(int argc, char **argv)
{
    int node;
    harness_begin("giant", argc, argv);
    long before = number_in(reserved);
    if (before >= 0)
        write_number(reserved, before + 1);
    if (before < 0 || number_in(reserved) <= before || np_nodes_with_memory(&node, 1) != 1) {
        fprintf(stderr, "\n*** NOT RUN: giant: no page of 1 GiB can be reserved here (root, a gigabyte in one piece), or "
                        "there are several nodes ***\n\n");
        harness_expect(true, "there is nothing to test");
    } else {
        make_and_look(node);
        serve();
    }
    if (before >= 0)
        write_number(reserved, before);
    return harness_end();
}
