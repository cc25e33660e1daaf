/* SPDX-License-Identifier: MIT
 * What the kernel can do of what numapool uses, and what is done where it cannot. Each is tried. */
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "core/bell.h"
#include "doctor.h"

/* Names that the headers of older systems lack. */
#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008u
#endif
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif
#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77
#endif
#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif
#ifndef SYS_futex_waitv
#define SYS_futex_waitv 449
#endif

#define NEW_KERNEL "apt-get install linux-image-amd64"

enum { PAGE_BYTES = 4096 };

/* ENOSYS and EINVAL: the kernel does not know it. Anything else: somebody refuses it. */
static const char *who_refuses(int code)
{
    return code == ENOSYS || code == EINVAL || code == ENOTTY ? "this kernel has it not" : "refused, as by a seccomp filter";
}

void np_doctor_kernel(const struct np_doctor *doctor, struct np_doctor_finding *finding)
{
    char release[128];
    unsigned major = 0, minor = 0;
    struct utsname name;
    if (!np_doctor_line(doctor, "/proc/sys/kernel/osrelease", release, sizeof release))
        snprintf(release, sizeof release, "%.127s", uname(&name) == 0 ? name.release : "");
    if (sscanf(release, "%u.%u", &major, &minor) != 2) {
        np_found(finding, "cannot be told: the kernel's release is '%s'", release);
        np_means(finding, NP_DOCTOR_NOTE, "numapool is made for Linux 5.15 and later");
        return;
    }
    np_found(finding, "Linux %s", release);
    if (major > 5 || (major == 5 && minor >= 15)) {
        np_means(finding, NP_DOCTOR_OK, "5.15 or later, which numapool is made for");
        return;
    }
    np_means(finding, NP_DOCTOR_ERROR, "older than 5.15, which numapool is made for: nobody has tried it here");
    np_mend(finding, NEW_KERNEL);
}

void np_doctor_memory_files(const struct np_doctor *doctor, struct np_doctor_finding *finding)
{
    char sysctl[16];
    int sealed = memfd_create("numapool: doctor", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL), sealed_code = errno;
    int plain = sealed < 0 ? memfd_create("numapool: doctor", MFD_CLOEXEC | MFD_ALLOW_SEALING) : -1, code = errno;
    int fd = sealed >= 0 ? sealed : plain;
    if (fd < 0) {
        np_found(finding, "memfd_create is refused (%s)", strerror(code));
        np_means(finding, NP_DOCTOR_ERROR, "pools are memory files: there can be none here");
        if (np_doctor_line(doctor, "/proc/sys/vm/memfd_noexec", sysctl, sizeof sysctl) && strcmp(sysctl, "2") == 0)
            np_mend(finding, "sysctl -w vm.memfd_noexec=1");
        else if (code == EMFILE || code == ENFILE)
            np_mend(finding, "prlimit --pid $$ --nofile=65536:65536");
        else
            np_mend(finding, "docker run --security-opt seccomp=unconfined IMAGE");
        return;
    }
    if (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0) {
        np_found(finding, "memory files cannot be sealed (%s)", strerror(errno));
        np_means(finding, NP_DOCTOR_ERROR, "a client could shrink a pool under the others: no pool is made");
        np_mend(finding, "docker run --security-opt seccomp=unconfined IMAGE");
    } else if (sealed < 0) {
        np_found(finding, "memory files, sealed; without MFD_NOEXEC_SEAL (%s)", strerror(sealed_code));
        np_means(finding, NP_DOCTOR_OK,
                 "their mode of 0600 alone keeps them from being executed; Linux 6.3 and later seal that as well");
    } else {
        np_found(finding, "memory files, sealed, which nobody can execute");
        np_means(finding, NP_DOCTOR_OK, "pools and lanes are such");
    }
    close(fd);
}

void np_doctor_populate(const struct np_doctor *doctor, struct np_doctor_finding *finding)
{
    (void)doctor;
    void *page = mmap(NULL, PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED) {
        np_found(finding, "cannot be told: no page can be mapped (%s)", strerror(errno));
        np_means(finding, NP_DOCTOR_WARNING, "there is no memory, or no room for it in this process");
        return;
    }
    if (madvise(page, PAGE_BYTES, MADV_POPULATE_WRITE) == 0) {
        np_found(finding, "MADV_POPULATE_WRITE");
        np_means(finding, NP_DOCTOR_OK,
                 "pools are committed at once, and what there is no memory for is said and not a signal");
    } else {
        np_found(finding, "no MADV_POPULATE_WRITE (%s: %s)", strerror(errno), who_refuses(errno));
        np_means(finding, NP_DOCTOR_NOTE, "pools are committed by fallocate and by touching each page, which takes longer");
        np_mend(finding, NEW_KERNEL);
    }
    munmap(page, PAGE_BYTES);
}

/* The kernel's struct pm_scan_arg, which is younger than the headers of some systems. */
struct scan {
    uint64_t size, flags, start, end, walk_end, regions, regions_max, pages_max, inverted, mask, any, wanted;
};
_Static_assert(sizeof(struct scan) == 96, "the kernel's struct pm_scan_arg");
#define SCAN_CALL _IOWR('f', 16, struct scan)

void np_doctor_pagemap_scan(const struct np_doctor *doctor, struct np_doctor_finding *finding)
{
    (void)doctor;
    uint64_t regions[3] = { 0 };
    const uint64_t page = (uint64_t)(uintptr_t)regions / PAGE_BYTES * PAGE_BYTES;
    struct scan scan = { .size = sizeof scan,
                         .start = page,
                         .end = page + PAGE_BYTES,
                         .regions = (uintptr_t)regions,
                         .regions_max = 1,
                         .mask = 64,
                         .wanted = 64 };
    int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
    int result = fd < 0 ? -1 : ioctl(fd, SCAN_CALL, &scan), code = errno;
    if (fd >= 0)
        close(fd);
    if (result >= 0) {
        np_found(finding, "PAGEMAP_SCAN");
        np_means(finding, NP_DOCTOR_OK, "which memory is on huge pages is asked at once");
        return;
    }
    np_found(finding, "no PAGEMAP_SCAN (%s: %s)", strerror(code), fd < 0 ? "/proc/self/pagemap" : who_refuses(code));
    np_means(finding, NP_DOCTOR_OK,
             "which memory is on huge pages is read from /proc/self/smaps, which takes longer where much is mapped");
}

void np_doctor_pidfd(const struct np_doctor *doctor, struct np_doctor_finding *finding)
{
    (void)doctor;
    int pair[2], peer = -1;
    socklen_t bytes = sizeof peer;
    int own = (int)syscall(SYS_pidfd_open, getpid(), 0), code = errno;
    if (own < 0) {
        np_found(finding, "no pidfd_open (%s: %s)", strerror(code), who_refuses(code));
        np_means(finding, NP_DOCTOR_ERROR, "the daemon could not hear of a client's death, and does not admit it");
        np_mend(finding, code == ENOSYS ? NEW_KERNEL : "docker run --security-opt seccomp=unconfined IMAGE");
        return;
    }
    close(own);
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0) {
        np_found(finding, "pidfd_open; no socket can be made (%s)", strerror(errno));
        np_means(finding, NP_DOCTOR_ERROR, "clients speak with the daemon over Unix sockets");
        np_mend(finding, errno == EMFILE ? "prlimit --pid $$ --nofile=65536:65536"
                                         : "docker run --security-opt seccomp=unconfined IMAGE");
        return;
    }
    if (getsockopt(pair[0], SOL_SOCKET, SO_PEERPIDFD, &peer, &bytes) == 0) {
        np_found(finding, "pidfd_open, SO_PEERPIDFD");
        np_means(finding, NP_DOCTOR_OK, "the kernel itself says which process a client is, and when it ends");
        close(peer);
    } else {
        np_found(finding, "pidfd_open, without SO_PEERPIDFD (%s)", strerror(errno));
        np_means(finding, NP_DOCTOR_OK,
                 "a client is looked up by its number and compared by its start time; from Linux 6.5 on the kernel names "
                 "it");
    }
    close(pair[0]);
    close(pair[1]);
}

void np_doctor_futex(const struct np_doctor *doctor, struct np_doctor_finding *finding)
{
    (void)doctor;
    uint32_t word = 0;
    struct futex_waitv words[2] = { { .val = 1, .uaddr = (uintptr_t)&word, .flags = FUTEX_32 },
                                    { .val = 1, .uaddr = (uintptr_t)&word, .flags = FUTEX_32 } };
    /* The words are not what is waited for, so it returns at once. */
    if (syscall(SYS_futex_waitv, words, 2, 0, NULL, 0) >= 0 || errno == EAGAIN) {
        np_found(finding, "futex_waitv");
        np_means(finding, NP_DOCTOR_OK, "who waits for several things sleeps until one of them is there");
        return;
    }
    np_found(finding, "no futex_waitv (%s: %s)", strerror(errno), who_refuses(errno));
    np_means(finding, NP_DOCTOR_WARNING,
             "who waits for several things, such as a slot or a message, looks every millisecond, which costs CPU and up to "
             "that much time");
    np_mend(finding, errno == ENOSYS ? NEW_KERNEL : "docker run --security-opt seccomp=unconfined IMAGE");
}

void np_doctor_membarrier(const struct np_doctor *doctor, struct np_doctor_finding *finding)
{
    (void)doctor;
    if (np_bell_register() && np_bell_heavy_barrier()) {
        np_found(finding, "membarrier GLOBAL_EXPEDITED, registered");
        np_means(finding, NP_DOCTOR_OK,
                 "senders look for sleepers by a load; who goes to sleep pays for it with some microseconds");
        return;
    }
    np_found(finding, "no membarrier GLOBAL_EXPEDITED (%s: %s)", strerror(errno), who_refuses(errno));
    np_means(finding, NP_DOCTOR_WARNING,
             "senders pay a fence for each message that somebody might sleep for, and sleepers look every millisecond");
    np_mend(finding, errno == ENOSYS || errno == EINVAL ? NEW_KERNEL : "docker run --security-opt seccomp=unconfined IMAGE");
}

/* ---------------------------------------------------------------- time */

#define CLOCKS "/sys/devices/system/clocksource/clocksource0/"

/* Those that a program reads without a system call. */
static bool is_fast_clock(const char *clock)
{
    static const char *const fast[] = {
        "tsc",   "kvm-clock", "hyperv_clocksource_tsc_page", "arch_sys_counter", "timebase", "riscv_clocksource",
        "stick", "tod"
    };
    for (size_t i = 0; i < sizeof fast / sizeof fast[0]; i++)
        if (strcmp(clock, fast[i]) == 0)
            return true;
    return false;
}

void np_doctor_clock(const struct np_doctor *doctor, struct np_doctor_finding *finding)
{
    char clock[64], available[128];
    if (!np_doctor_line(doctor, CLOCKS "current_clocksource", clock, sizeof clock)) {
        np_found(finding, "cannot be told: no " CLOCKS "current_clocksource");
        np_means(finding, NP_DOCTOR_OK, "waits with a time limit look at the clock now and then");
        return;
    }
    np_found(finding, "clock source %s", clock);
    if (is_fast_clock(clock)) {
        np_means(finding, NP_DOCTOR_OK, "read without a system call: waits with a time limit cost no more than others");
        return;
    }
    np_means(finding, NP_DOCTOR_NOTE,
             "reading it takes a system call of a microsecond or so, which waits with a time limit do a few times each");
    if (np_doctor_line(doctor, CLOCKS "available_clocksource", available, sizeof available) && strstr(available, "tsc"))
        np_mend(finding, "echo tsc > " CLOCKS "current_clocksource");
}
