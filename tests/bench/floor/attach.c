/* SPDX-License-Identifier: MIT */
#include "attach.h"

#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../bench.h"
#include "../shots.h"

struct bench_giver {
    pid_t pid;
    struct sockaddr_un address;
    socklen_t address_bytes;
    size_t bytes[BENCH_ATTACH_PIECES];
};


static void give(int connection, const int fds[BENCH_ATTACH_PIECES])
{
    char byte = 0;
    struct iovec part = { &byte, 1 };
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(BENCH_ATTACH_PIECES * sizeof(int))];
    } control = { .header = { .cmsg_len = CMSG_LEN(BENCH_ATTACH_PIECES * sizeof(int)), .cmsg_level = SOL_SOCKET,
                              .cmsg_type = SCM_RIGHTS } };
    struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control };
    memcpy(CMSG_DATA(&control.header), fds, BENCH_ATTACH_PIECES * sizeof(int));
    if (sendmsg(connection, &message, MSG_NOSIGNAL) != 1)
        fprintf(stderr, "bench: descriptors cannot be given: %s\n", strerror(errno));
}

static _Noreturn void give_for_ever(int listener, const size_t bytes[BENCH_ATTACH_PIECES], bool filled, int ready)
{
    struct bench_memory memory[BENCH_ATTACH_PIECES];
    int fds[BENCH_ATTACH_PIECES];
    bench_unpin(); /* like a daemon, wherever there is time */
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (unsigned i = 0; i < BENCH_ATTACH_PIECES; i++) {
        if (filled) {
            bench_memory_make(&memory[i], bytes[i], BENCH_PAGES_SHARED);
            fds[i] = memory[i].fd;
        } else if ((fds[i] = memfd_create("bench", MFD_CLOEXEC)) < 0 || ftruncate(fds[i], (off_t)bytes[i]) != 0) {
            bench_fail("no memory file: %s", strerror(errno));
        }
    }
    if (write(ready, "", 1) != 1)
        _exit(1);
    for (;;) {
        int connection = accept(listener, NULL, NULL);
        if (connection < 0)
            _exit(1);
        give(connection, fds);
        close(connection);
    }
}

struct bench_giver *bench_giver_start(const size_t bytes[BENCH_ATTACH_PIECES], bool filled)
{
    static unsigned number;
    struct bench_giver *giver = calloc(1, sizeof *giver);
    int listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0), ready[2];
    char byte;
    if (!giver || listener < 0 || pipe(ready) != 0)
        bench_fail("no socket: %s", strerror(errno));
    giver->address.sun_family = AF_UNIX; /* a name without a file */
    int length = snprintf(giver->address.sun_path + 1, sizeof giver->address.sun_path - 1, "numapool-bench-%d-%u", (int)getpid(), number++);
    giver->address_bytes = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)length);
    memcpy(giver->bytes, bytes, sizeof giver->bytes);
    if (bind(listener, (struct sockaddr *)&giver->address, giver->address_bytes) != 0 || listen(listener, 16) != 0)
        bench_fail("no socket: %s", strerror(errno));
    fflush(NULL);
    giver->pid = fork();
    if (giver->pid < 0)
        bench_fail("no child process: %s", strerror(errno));
    if (giver->pid == 0) {
        close(ready[0]);
        give_for_ever(listener, bytes, filled, ready[1]);
    }
    close(listener);
    close(ready[1]);
    if (read(ready[0], &byte, 1) != 1)
        bench_fail("the process that gives descriptors did not get ready");
    close(ready[0]);
    return giver;
}

void bench_giver_stop(struct bench_giver *giver)
{
    kill(giver->pid, SIGKILL);
    waitpid(giver->pid, NULL, 0);
    free(giver);
}

static void receive(int connection, int fds[BENCH_ATTACH_PIECES])
{
    char byte;
    struct iovec part = { &byte, 1 };
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(BENCH_ATTACH_PIECES * sizeof(int))];
    } control;
    struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control };
    if (recvmsg(connection, &message, MSG_CMSG_CLOEXEC) != 1 || message.msg_controllen < CMSG_LEN(BENCH_ATTACH_PIECES * sizeof(int)))
        bench_fail("the descriptors did not come: %s", strerror(errno));
    memcpy(fds, CMSG_DATA(&control.header), BENCH_ATTACH_PIECES * sizeof(int));
}

void bench_giver_attach(const struct bench_giver *giver, bool prefault, int *connection, struct bench_memory pieces[BENCH_ATTACH_PIECES])
{
    int fds[BENCH_ATTACH_PIECES];
    *connection = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (*connection < 0 || connect(*connection, (const struct sockaddr *)&giver->address, giver->address_bytes) != 0)
        bench_fail("the process that gives descriptors is not there: %s", strerror(errno));
    receive(*connection, fds);
    for (unsigned i = 0; i < BENCH_ATTACH_PIECES; i++) {
        bench_memory_reserve(&pieces[i], giver->bytes[i]);
        if (mmap(pieces[i].address, pieces[i].bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fds[i], 0) == MAP_FAILED)
            bench_fail("%zu bytes cannot be mapped: %s", pieces[i].bytes, strerror(errno));
        close(fds[i]);
        if (prefault)
            bench_memory_populate(pieces[i].address, pieces[i].bytes);
    }
}
