/* SPDX-License-Identifier: MIT
 *
 * What doctor.sh needs beside numapoolctl: a reader of its JSON, and a way to start it with something taken away.
 *
 *   doctor_help lines                         the findings of a document on the standard input: name, state, found, means
 * and remedy, with tabs between them doctor_help run [LOSS...] -- PROGRAM...   runs it with
 *     refuse=CALL:ERRNO[:ARGUMENT:VALUE]      a system call refused; where an argument (0 to 5) is given, only with that
 * value nearly-all                              every call refused with EPERM but for what starting, reading and writing
 * takes container                               Docker's filter and capabilities limit=RESOURCE:SOFT:HARD                a
 * limit, by number; -1: none user=UID                                as that user, without capabilities without=CAPABILITY
 * without this capability, by number
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <jansson.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../crash/container.h"
#include "broker/board.h"

static int lines(void)
{
    static const char *const keys[] = { "name", "state", "found", "means", "remedy" };
    json_error_t error;
    json_t *document = json_loadf(stdin, 0, &error);
    size_t i;
    const json_t *row;
    if (!document) {
        fprintf(stderr, "doctor_help: %s\n", error.text);
        return 1;
    }
    json_array_foreach (json_object_get(document, "findings"), i, row) {
        for (size_t k = 0; k < sizeof keys / sizeof keys[0]; k++) {
            const char *text = json_string_value(json_object_get(row, keys[k]));
            printf("%s%s", k ? "\t" : "", text ? text : "-");
        }
        putchar('\n');
    }
    printf("worst\t%s\n", json_string_value(json_object_get(document, "worst")));
    json_decref(document);
    return 0;
}

static int scribble_board(const char *pid, uint64_t misplaced, uint32_t state)
{
    char path[64];
    struct stat status;
    struct np_board board;
    for (int fd_of_it = 3; fd_of_it < 64; fd_of_it++) {
        snprintf(path, sizeof path, "/proc/%.20s/fd/%d", pid, fd_of_it);
        int fd = open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK);
        if (fd < 0)
            continue;
        void *memory = fstat(fd, &status) == 0 && status.st_size >= (off_t)sizeof(struct np_board_header)
                           ? mmap(NULL, (size_t)status.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0)
                           : MAP_FAILED;
        close(fd);
        if (memory == MAP_FAILED || *(const uint64_t *)memory != NP_BOARD_MAGIC ||
            np_board_attach(&board, memory, (size_t)status.st_size) < 0)
            continue;
        board.pools[0].arena[0].misplaced_pages = misplaced;
        np_store32(&board.pools[0].arena[0].state, state, memory_order_release);
        return 0;
    }
    fprintf(stderr, "doctor_help: process %s has no board\n", pid);
    return 1;
}

static bool install(struct sock_filter *code, size_t length)
{
    struct sock_fprog program = { (unsigned short)length, code };
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

static bool refuse_with(unsigned call, unsigned code, unsigned argument, unsigned value)
{
    struct sock_filter program[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, call, 0, 3),
        /* the lower half of an argument, on a little-endian machine */
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args) + 8 * argument),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | code),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    return install(program, sizeof program / sizeof program[0]);
}

static bool refuse_nearly_all(void)
{
    static const unsigned allowed[] = {
        SYS_read,       SYS_write,   SYS_openat,          SYS_close,        SYS_fstat, SYS_newfstatat,
        SYS_mmap,       SYS_munmap,  SYS_mprotect,        SYS_brk,          SYS_exit,  SYS_exit_group,
        SYS_execve,     SYS_pread64, SYS_set_tid_address, SYS_rt_sigaction,
#ifdef SYS_arch_prctl
        SYS_arch_prctl, SYS_access,
#endif
    };
    enum { COUNT = sizeof allowed / sizeof allowed[0] };
    struct sock_filter program[COUNT + 3];
    program[0] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
    for (unsigned i = 0; i < COUNT; i++)
        program[i + 1] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, allowed[i], (unsigned char)(COUNT - i), 0);
    program[COUNT + 1] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM);
    program[COUNT + 2] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    return install(program, COUNT + 3);
}

static bool become(unsigned user)
{
    return setgroups(0, NULL) == 0 && setgid(user) == 0 && setuid(user) == 0;
}

static bool lose_capability(unsigned capability)
{
    struct __user_cap_header_struct header = { _LINUX_CAPABILITY_VERSION_3, 0 };
    struct __user_cap_data_struct data[2];
    if (syscall(SYS_capget, &header, data) != 0)
        return false;
    (void)prctl(PR_CAPBSET_DROP, capability, 0, 0, 0);
    data[capability / 32].effective &= ~(1u << capability % 32);
    data[capability / 32].permitted = data[capability / 32].effective;
    data[capability / 32].inheritable = 0;
    return syscall(SYS_capset, &header, data) == 0;
}

static bool refuse(const char *name, unsigned code, bool always, unsigned argument, unsigned value)
{
    static const struct {
        const char *name;
        unsigned number;
    } calls[] = {
#define CALL(name) { #name, SYS_##name }
        CALL(fcntl),          CALL(futex_waitv),    CALL(get_mempolicy),
        CALL(getsockopt),     CALL(io_uring_enter), CALL(io_uring_register),
        CALL(io_uring_setup), CALL(ioctl),          CALL(madvise),
        CALL(mbind),          CALL(membarrier),     CALL(memfd_create),
        CALL(move_pages),     CALL(pidfd_open),     CALL(prlimit64),
        CALL(socketpair),
    };
    for (size_t i = 0; i < sizeof calls / sizeof calls[0]; i++)
        if (strcmp(calls[i].name, name) == 0)
            return always ? container_refuse(calls[i].number, (int)code)
                          : refuse_with(calls[i].number, code, argument, value);
    errno = ENOSYS;
    return false;
}

static bool lose(const char *what)
{
    unsigned a, b, c, d;
    char name[32];
    long long soft, hard;
    int count;
    if ((count = sscanf(what, "refuse=%31[^:]:%u:%u:%u", name, &b, &c, &d)) >= 2)
        return refuse(name, b, count != 4, c, d);
    if (strcmp(what, "nearly-all") == 0)
        return refuse_nearly_all();
    if (strcmp(what, "container") == 0)
        return container_enter(CONTAINER_PLAIN);
    if (sscanf(what, "limit=%u:%lld:%lld", &a, &soft, &hard) == 3) {
        struct rlimit limit = { soft < 0 ? RLIM_INFINITY : (rlim_t)soft, hard < 0 ? RLIM_INFINITY : (rlim_t)hard };
        return setrlimit((__rlimit_resource_t)a, &limit) == 0;
    }
    if (sscanf(what, "user=%u", &a) == 1)
        return become(a);
    if (sscanf(what, "without=%u", &a) == 1)
        return lose_capability(a);
    errno = EINVAL;
    return false;
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "lines") == 0)
        return lines();
    if (argc == 5 && strcmp(argv[1], "board") == 0)
        return scribble_board(argv[2], strtoull(argv[3], NULL, 10), (uint32_t)strtoul(argv[4], NULL, 10));
    int i = 2;
    for (; i < argc && strcmp(argv[i], "--") != 0; i++)
        if (!lose(argv[i])) {
            fprintf(stderr, "doctor_help: %s: %s\n", argv[i], strerror(errno));
            return 77;
        }
    if (argc > i + 1 && strcmp(argv[1], "run") == 0)
        execv(argv[i + 1], argv + i + 1);
    fprintf(stderr, "doctor_help: wrong arguments\n");
    return 64;
}
