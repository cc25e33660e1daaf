/* SPDX-License-Identifier: MIT */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "slow_file.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <poll.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "harness.h"

enum { ROOT = FUSE_ROOT_ID, FILE_NODE = 2, READ_BYTES_MAX = 65536 };
static const uint64_t file_bytes = UINT64_C(1) << 30;

struct server {
    int device;
    struct slow_file_shared *shared;
    struct waiting {
        uint64_t unique;
        uint32_t bytes;
    } waiting[SLOW_FILE_WAITING_MAX];
    unsigned count;
};

static void answer(struct server *server, uint64_t unique, int error, const void *body, size_t bytes)
{
    struct fuse_out_header header = { .len = (uint32_t)(sizeof header + bytes), .error = -error, .unique = unique };
    struct iovec parts[2] = { { &header, sizeof header }, { (void *)(uintptr_t)body, bytes } };
    (void)!writev(server->device, parts, bytes > 0 ? 2 : 1);
}

static struct fuse_attr attributes(uint64_t node)
{
    return (struct fuse_attr){ .ino = node, .size = node == FILE_NODE ? file_bytes : 0, .nlink = 1,
                               .mode = node == FILE_NODE ? S_IFREG | 0444 : S_IFDIR | 0555, .blksize = 4096 };
}

static void answer_reads(struct server *server)
{
    static char bytes[READ_BYTES_MAX];
    memset(bytes, SLOW_FILE_BYTE, sizeof bytes);
    for (unsigned i = 0; i < server->count; i++) {
        answer(server, server->waiting[i].unique, 0, bytes, server->waiting[i].bytes);
        atomic_fetch_add_explicit(&server->shared->answered, 1, memory_order_relaxed);
    }
    server->count = 0;
    atomic_store_explicit(&server->shared->waiting, 0, memory_order_release);
}

static void serve(struct server *server, const struct fuse_in_header *request, const void *body)
{
    uint64_t unique = request->unique;
    switch (request->opcode) {
    case FUSE_INIT: {
        const struct fuse_init_in *theirs = body;
        struct fuse_init_out ours = { .major = FUSE_KERNEL_VERSION, .minor = FUSE_KERNEL_MINOR_VERSION, .max_readahead = 0,
                                      .flags = theirs->flags & (FUSE_ASYNC_READ | FUSE_ASYNC_DIO), .max_background = 512,
                                      .congestion_threshold = 512, .max_write = 65536 };
        answer(server, unique, 0, &ours, sizeof ours);
        break;
    }
    case FUSE_LOOKUP: {
        struct fuse_entry_out entry = { .nodeid = FILE_NODE, .entry_valid = 3600, .attr_valid = 3600, .attr = attributes(FILE_NODE) };
        answer(server, unique, 0, &entry, sizeof entry);
        break;
    }
    case FUSE_GETATTR: {
        struct fuse_attr_out out = { .attr_valid = 3600, .attr = attributes(request->nodeid) };
        answer(server, unique, 0, &out, sizeof out);
        break;
    }
    case FUSE_OPEN: {
        struct fuse_open_out out = { .open_flags = 0 };
        answer(server, unique, 0, &out, sizeof out);
        break;
    }
    case FUSE_READ: {
        const struct fuse_read_in *in = body;
        if (server->count < SLOW_FILE_WAITING_MAX && in->size <= READ_BYTES_MAX)
            server->waiting[server->count++] = (struct waiting){ unique, in->size };
        else
            answer(server, unique, EIO, NULL, 0);
        atomic_store_explicit(&server->shared->waiting, server->count, memory_order_release);
        break;
    }
    case FUSE_FORGET:
    case FUSE_BATCH_FORGET:
    case FUSE_INTERRUPT: /* that is the point of it: it goes on waiting */
        break;
    case FUSE_FLUSH:
    case FUSE_RELEASE:
        answer(server, unique, 0, NULL, 0);
        break;
    default:
        answer(server, unique, ENOSYS, NULL, 0);
    }
}

static int run_server(void *context)
{
    static char buffer[FUSE_MIN_READ_BUFFER + 65536];
    struct server *server = context;
    for (;;) {
        struct pollfd polled = { .fd = server->device, .events = POLLIN };
        poll(&polled, 1, 1);
        if (atomic_load_explicit(&server->shared->go, memory_order_acquire))
            answer_reads(server);
        if (!(polled.revents & (POLLIN | POLLERR)))
            continue;
        ssize_t got = read(server->device, buffer, sizeof buffer);
        if (got >= (ssize_t)sizeof(struct fuse_in_header))
            serve(server, (const struct fuse_in_header *)buffer, buffer + sizeof(struct fuse_in_header));
        else if (got < 0 && errno == ENODEV)
            return 0; /* unmounted */
    }
}

const char *slow_file_start(struct slow_file *file, const char *directory)
{
    static struct server server;
    char options[96];
    *file = (struct slow_file){ 0 };
    server = (struct server){ .device = open("/dev/fuse", O_RDWR | O_CLOEXEC | O_NONBLOCK) };
    if (server.device < 0)
        return "/dev/fuse cannot be opened";
    /* Of our own, so that nothing is left mounted whatever happens. */
    if (unshare(CLONE_NEWNS) != 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0) {
        close(server.device);
        return "a mount namespace is refused (root is needed)";
    }
    snprintf(file->directory, sizeof file->directory, "%s/slow", directory);
    snprintf(file->path, sizeof file->path, "%s/file", file->directory);
    snprintf(options, sizeof options, "fd=%d,rootmode=40000,user_id=0,group_id=0", server.device);
    mkdir(file->directory, 0700);
    if (mount("slow", file->directory, "fuse.slow", MS_NOSUID | MS_NODEV, options) != 0) {
        rmdir(file->directory);
        close(server.device);
        return "a file system of FUSE cannot be mounted";
    }
    file->shared = mmap(NULL, sizeof *file->shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    server.shared = file->shared;
    file->server = harness_fork(run_server, &server);
    close(server.device);
    return NULL;
}

void slow_file_stop(struct slow_file *file)
{
    if (file->server == 0)
        return;
    umount2(file->directory, MNT_DETACH);
    harness_kill(file->server);
    rmdir(file->directory);
    munmap(file->shared, sizeof *file->shared);
    file->server = 0;
}
