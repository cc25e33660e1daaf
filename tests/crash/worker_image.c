/* SPDX-License-Identifier: MIT */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "worker_image.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "channel/lane.h"
#include "core/arena.h"
#include "core/bell.h"
#include "harness.h"

enum { POOLS_WATCHED = 4, ALIGNMENT = 4096 };

#define SETTLE_NS INT64_C(10000000000)

/* ---------------------------------------------------------------- finding */

static struct image_part *part_of(struct image *image, uint64_t inode)
{
    for (unsigned i = 0; i < image->count; i++)
        if (image->parts[i].inode == inode)
            return &image->parts[i];
    return NULL;
}

static enum image_kind kind_of(const char *name, uint32_t *number)
{
    *number = 0;
    if (strncmp(name, "the board", 9) == 0)
        return IMAGE_BOARD;
    if (strncmp(name, "the bells ", 10) == 0 && sscanf(name, "the bells of client %u", number) == 0)
        return IMAGE_BELLS;
    if (sscanf(name, "the bells of client %u", number) == 1)
        return IMAGE_PAGE;
    if (sscanf(name, "the account of client %u", number) == 1)
        return IMAGE_ACCOUNT;
    if (sscanf(name, "lane %u", number) == 1)
        return IMAGE_LANE;
    return strncmp(name, "slot words", 10) == 0 ? IMAGE_META : 0;
}

static void add_part(struct image *image, const char *path, const char *name, const struct stat *status)
{
    uint32_t number;
    enum image_kind kind = kind_of(name, &number);
    if (kind == 0 || image->count == IMAGE_PARTS_MAX)
        return;
    struct image_part part = { .kind = kind, .number = number, .inode = status->st_ino, .bytes = (size_t)status->st_size, .seen = true };
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    part.live = fd >= 0 ? mmap(NULL, part.bytes, PROT_READ, MAP_SHARED, fd, 0) : MAP_FAILED;
    if (fd >= 0)
        close(fd);
    part.last = aligned_alloc(ALIGNMENT, (part.bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT);
    part.copy = aligned_alloc(ALIGNMENT, (part.bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT);
    if (part.live == MAP_FAILED || !part.last || !part.copy) {
        perror(path);
        exit(2);
    }
    memcpy(part.last, part.live, part.bytes);
    if (kind == IMAGE_META) {
        const struct np_arena_header *header = (const void *)part.live;
        part.number = header->pool << 8 | header->index;
    }
    image->parts[image->count++] = part;
}

static void remove_part(struct image *image, unsigned i)
{
    munmap(image->parts[i].live, image->parts[i].bytes);
    free(image->parts[i].last);
    free(image->parts[i].copy);
    image->parts[i] = image->parts[--image->count];
}

static void add_watched(struct image *image, const char *fd)
{
    char path[64], line[128];
    int pid;
    snprintf(path, sizeof path, "/proc/%d/fdinfo/%.20s", (int)image->keeper, fd);
    FILE *file = fopen(path, "r");
    while (file && fgets(line, sizeof line, file))
        if (sscanf(line, "Pid: %d", &pid) == 1 && image->watched_count < IMAGE_PIDS_MAX)
            image->watched[image->watched_count++] = pid;
    if (file)
        fclose(file);
}

bool image_look(struct image *image, pid_t keeper)
{
    static const char prefix[] = "/memfd:numapool: ";
    char directory[40], path[80], target[300];
    struct dirent *entry;
    struct stat status;
    bool board = false;
    if (keeper != image->keeper)
        image_forget(image);
    image->keeper = keeper;
    image->watched_count = 0;
    for (unsigned i = 0; i < image->count; i++)
        image->parts[i].seen = false;
    snprintf(directory, sizeof directory, "/proc/%d/fd", (int)keeper);
    DIR *descriptors = opendir(directory);
    while (descriptors && (entry = readdir(descriptors))) {
        snprintf(path, sizeof path, "%s/%.20s", directory, entry->d_name);
        ssize_t length = readlink(path, target, sizeof target - 1);
        target[length > 0 ? length : 0] = '\0';
        if (strstr(target, "[pidfd]"))
            add_watched(image, entry->d_name);
        if (strncmp(target, prefix, sizeof prefix - 1) != 0 || stat(path, &status) != 0)
            continue;
        struct image_part *part = part_of(image, status.st_ino);
        if (part)
            part->seen = true;
        else
            add_part(image, path, target + sizeof prefix - 1, &status);
    }
    if (descriptors)
        closedir(descriptors);
    for (unsigned i = image->count; i-- > 0;)
        if (!image->parts[i].seen)
            remove_part(image, i);
    for (unsigned i = 0; i < image->count; i++)
        board |= image->parts[i].kind == IMAGE_BOARD;
    return board;
}

void image_forget(struct image *image)
{
    while (image->count > 0)
        remove_part(image, image->count - 1);
    image->keeper = 0;
}

/* In its one place of waiting: what it had read is done then. */
static bool keeper_waits(const struct image *image)
{
    char path[40], line[64] = "";
    snprintf(path, sizeof path, "/proc/%d/syscall", (int)image->keeper);
    FILE *file = fopen(path, "r");
    bool read = file && fgets(line, sizeof line, file);
    if (file)
        fclose(file);
    return !read || strncmp(line, "7 ", 2) == 0 || strncmp(line, "271 ", 4) == 0; /* poll, ppoll */
}

static bool keeper_is_done(void *context)
{
    int unread = 0;
    const void *const *two = context;
    return ioctl(*(const int *)two[1], SIOCOUTQ, &unread) != 0 || (unread == 0 && keeper_waits(two[0]));
}

bool image_settle(const struct image *image, int records)
{
    const void *two[2] = { image, &records };
    for (unsigned i = 0; i < 50; i++)
        if (keeper_is_done(two))
            return true;
    return harness_wait_until(keeper_is_done, two, SETTLE_NS);
}

/* ---------------------------------------------------------------- watching */

struct range {
    size_t from, to;
};

/* Most of the board's table of pools is never used here. Of an account nothing depends. */
static unsigned ranges_of(const struct image_part *part, struct range ranges[2])
{
    const size_t pools_to = sizeof(struct np_board_header) + NP_POOLS_MAX * sizeof(struct np_pool_entry);
    ranges[0] = (struct range){ 0, part->bytes };
    if (part->kind == IMAGE_ACCOUNT)
        return 0;
    if (part->kind != IMAGE_BOARD)
        return 1;
    ranges[0].to = sizeof(struct np_board_header) + POOLS_WATCHED * sizeof(struct np_pool_entry);
    ranges[1] = (struct range){ pools_to, part->bytes };
    return 2;
}

bool image_changed(struct image *image)
{
    bool changed = false;
    for (unsigned i = 0; i < image->count; i++) {
        struct image_part *part = &image->parts[i];
        struct range ranges[2];
        unsigned n = ranges_of(part, ranges);
        for (unsigned r = 0; r < n; r++) {
            size_t bytes = ranges[r].to - ranges[r].from;
            if (memcmp(part->last + ranges[r].from, part->live + ranges[r].from, bytes) == 0)
                continue;
            memcpy(part->last + ranges[r].from, part->live + ranges[r].from, bytes);
            changed = true;
        }
    }
    return changed;
}

void image_copy(struct image *image)
{
    for (unsigned i = 0; i < image->count; i++)
        memcpy(image->parts[i].copy, image->parts[i].live, image->parts[i].bytes);
}

static const struct image_part *only_part(const struct image *image, enum image_kind kind, uint32_t number)
{
    for (unsigned i = 0; i < image->count; i++)
        if (image->parts[i].kind == kind && image->parts[i].number == number)
            return &image->parts[i];
    return NULL;
}

uint64_t image_hash(const struct image *image)
{
    uint64_t hash = 0;
    for (unsigned i = 0; i < image->count; i++) {
        const struct image_part *part = &image->parts[i];
        struct range ranges[2];
        unsigned n = ranges_of(part, ranges);
        uint64_t own = (uint64_t)part->kind << 32 | part->number;
        for (unsigned r = 0; r < n; r++)
            for (size_t at = ranges[r].from / 8; at < ranges[r].to / 8; at++)
                own = (own ^ ((const uint64_t *)(const void *)part->last)[at]) * UINT64_C(0x9e3779b97f4a7c15) ^ own >> 29;
        hash += own; /* in whatever order they are found */
    }
    return hash;
}

unsigned image_sent(const struct image *image)
{
    const struct image_part *part = only_part(image, IMAGE_META, 0);
    struct np_arena arena;
    unsigned sent = 0;
    if (!part)
        return 0;
    const struct np_arena_header *header = (const void *)part->live;
    if (np_arena_attach(&arena, part->live, part->bytes, NULL, header->slots, header->slot_bytes, 0, header->node, 0, NULL,
                        UINT32_MAX, 0) < 0)
        return 0;
    for (uint64_t i = 0; i < arena.slots; i++)
        sent += np_word_state(np_load64(&arena.words[i], memory_order_relaxed)) == NP_WORD_SENT;
    return sent;
}

bool image_has_client(const struct image *image, pid_t pid)
{
    const struct image_part *part = only_part(image, IMAGE_BOARD, 0);
    struct np_board board;
    if (!part || np_board_attach(&board, part->live, part->bytes) < 0)
        return false;
    for (uint32_t client = 1; client <= board.limits.clients; client++)
        if (!np_entry_is(&board.clients[client].state, NP_NONE) && board.clients[client].pid == pid)
            return true;
    return false;
}

uint64_t image_worker_starts(const struct image *image)
{
    const struct image_part *part = only_part(image, IMAGE_BOARD, 0);
    return part ? np_load64(&((const struct np_board_header *)(const void *)part->live)->worker_starts, memory_order_relaxed) : 0;
}
