/* SPDX-License-Identifier: MIT
 * Tests that reserve huge pages, or use them all up, come one after the other, though `make check` runs several programs at once. */
#ifndef NP_TEST_HUGE_HELP_H
#define NP_TEST_HUGE_HELP_H

#include <fcntl.h>
#include <sys/file.h>

/* Until this process and its children end. Where there is nothing to lock there are no huge pages. */
static inline void have_huge_pages_alone(void)
{
    int fd = open("/sys/kernel/mm/hugepages", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0)
        (void)!flock(fd, LOCK_EX);
}

#endif
