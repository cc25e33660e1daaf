/* SPDX-License-Identifier: MIT
 *
 * What the kernel moves away from node 0: of memory bound to it, as a pool's is, and of memory that is not bound.
 *
 *   moved balancing   one thread uses both from a CPU of another node, until numa_balancing has moved some of what is not
 * bound moved demotion    the control group /sys/fs/cgroup/moved, which this process enters, has its pages reclaimed
 *
 * Prints how many pages of each are elsewhere then: "bound 0 of 1024", "free 1024 of 1024".
 */
#include <fcntl.h>
#include <numaif.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum { PAGE_BYTES = 4096, PAGES = 1024, BYTES = PAGES * PAGE_BYTES, OTHER_CPU = 2, SECONDS_MAX = 60, RECLAIMS = 8 };

static void must(bool condition, const char *what)
{
    if (condition)
        return;
    perror(what);
    exit(1);
}

static void run_on(int cpu)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    must(sched_setaffinity(0, sizeof set, &set) == 0, "sched_setaffinity");
}

static char *make(bool bound)
{
    const unsigned long node_0 = 1;
    int fd = bound ? memfd_create("bound", MFD_CLOEXEC) : -1;
    must(!bound || ftruncate(fd, BYTES) == 0, "ftruncate");
    char *memory = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, bound ? MAP_SHARED : MAP_PRIVATE | MAP_ANONYMOUS, fd, 0);
    must(memory != MAP_FAILED, "mmap");
    must(!bound || mbind(memory, BYTES, MPOL_BIND, &node_0, 64, 0) == 0, "mbind");
    must(madvise(memory, BYTES, MADV_NOHUGEPAGE) == 0, "madvise");
    memset(memory, 1, BYTES);
    return memory;
}

static unsigned elsewhere(char *memory)
{
    static void *pages[PAGES];
    static int nodes[PAGES];
    unsigned count = 0;
    for (int i = 0; i < PAGES; i++)
        pages[i] = memory + (size_t)i * PAGE_BYTES;
    must(move_pages(0, PAGES, pages, NULL, nodes, 0) == 0, "move_pages");
    for (int i = 0; i < PAGES; i++)
        count += nodes[i] > 0;
    return count;
}

static volatile int seen; /* so that what is only read is read */

static void use_from_afar(char *bound, char *unbound)
{
    const time_t until = time(NULL) + SECONDS_MAX;
    run_on(OTHER_CPU);
    while (elsewhere(unbound) < PAGES / 2 && time(NULL) < until)
        for (int round = 0; round < 16; round++)
            for (size_t i = 0; i < BYTES; i += 64)
                seen = bound[i] + unbound[i];
}

static void write_text(const char *path, const char *text, bool must_work)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    must(fd >= 0, path);
    must(write(fd, text, strlen(text)) >= 0 || !must_work, path); /* what cannot be reclaimed is an error, and no matter */
    close(fd);
}

int main(int argc, char **argv)
{
    const bool demotion = argc > 1 && strcmp(argv[1], "demotion") == 0;
    run_on(0);
    if (demotion)
        write_text("/sys/fs/cgroup/moved/cgroup.procs", "0", true);
    char *bound = make(true), *unbound = make(false);
    must(elsewhere(bound) == 0 && elsewhere(unbound) == 0, "memory of node 0");
    if (demotion)
        for (int i = 0; i < RECLAIMS; i++)
            write_text("/sys/fs/cgroup/moved/memory.reclaim", "8M", false);
    else
        use_from_afar(bound, unbound);
    printf("bound %u of %d\nfree %u of %d\n", elsewhere(bound), PAGES, elsewhere(unbound), PAGES);
    return 0;
}
