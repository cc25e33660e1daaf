/* SPDX-License-Identifier: MIT
 *
 * Somebody who moves pages of others from outside, and other things that the scenes of pages need and a shell has not.
 *
 *   stray move PID TEXT NODE        every page of those memory files of process PID whose names have TEXT, to NODE; prints
 *                                   how many are there
 *   stray load SOCKET POOL NODE     a client that writes and reads slots of NODE and messages until SIGTERM; 1: it read
 *                                   what nobody wrote
 *   stray without-nice COMMAND...   runs it without CAP_SYS_NICE
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <numaif.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "daemon/privileges.h"
#include "numapool.h"

#define PATIENCE_NS INT64_C(20000000000)

enum { TROUBLE = 2, PAGE_BYTES = 4096, HELD = 64 };

static int trouble(const char *what)
{
    fprintf(stderr, "stray: %s: %s; %s\n", what, strerror(errno), numapool_errormsg());
    return TROUBLE;
}

/* ---------------------------------------------------------------- moving */

static long move_file(const char *path, int node)
{
    struct stat status;
    struct statfs system;
    int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &status) != 0 || fstatfs(fd, &system) != 0)
        return -1;
    const size_t bytes = (size_t)status.st_size, step = system.f_bsize > PAGE_BYTES ? (size_t)system.f_bsize : PAGE_BYTES,
                 count = bytes / step;
    char *memory = mmap(NULL, bytes, PROT_READ, MAP_SHARED, fd, 0);
    void **pages = calloc(count, sizeof *pages);
    int *nodes = calloc(count, sizeof *nodes), *told = calloc(count, sizeof *told);
    long there = 0;
    if (memory == MAP_FAILED || !pages || !nodes || !told)
        return -1;
    for (size_t i = 0; i < count; i++) {
        (void)*(volatile char *)(memory + i * step);
        pages[i] = memory + i * step;
        nodes[i] = node;
    }
    /* What is part of a huge page goes with its first part, and is refused the first time. */
    for (unsigned i = 0; i < 3; i++)
        (void)move_pages(0, count, pages, nodes, told, MPOL_MF_MOVE_ALL);
    if (move_pages(0, count, pages, NULL, told, 0) != 0)
        return -1;
    for (size_t i = 0; i < count; i++)
        there += told[i] == node;
    free(pages);
    free(nodes);
    free(told);
    munmap(memory, bytes);
    close(fd);
    return there;
}

static int move(const char *pid, const char *text, int node)
{
    char directory[64], path[400], name[256];
    long sum = 0;
    snprintf(directory, sizeof directory, "/proc/%s/fd", pid);
    DIR *list = opendir(directory);
    if (!list)
        return trouble(directory);
    for (struct dirent *entry; (entry = readdir(list)) != NULL;) {
        snprintf(path, sizeof path, "%s/%s", directory, entry->d_name);
        ssize_t length = readlink(path, name, sizeof name - 1);
        name[length > 0 ? length : 0] = '\0';
        if (strncmp(name, "/memfd:", 7) != 0 || !strstr(name, text))
            continue;
        long moved = move_file(path, node);
        if (moved < 0)
            return trouble(name);
        sum += moved;
    }
    closedir(list);
    printf("%ld\n", sum);
    return sum > 0 ? 0 : 1;
}

/* ---------------------------------------------------------------- a client at work */

static volatile sig_atomic_t ended;

static void end(int number)
{
    (void)number;
    ended = 1;
}

static bool has(const unsigned char *bytes, size_t count, unsigned char value)
{
    for (size_t i = 0; i < count; i++)
        if (bytes[i] != value)
            return false;
    return true;
}

/* Some slots are held for all of the time, written once and read again and again; others are sent round. */
static int work(struct numapool_magazine *magazine, struct numapool_sender *sender, struct numapool_receiver *receiver,
                size_t bytes)
{
    unsigned char *held[HELD];
    unsigned long rounds = 0;
    for (unsigned i = 0; i < HELD; i++) {
        if (!(held[i] = numapool_get(magazine)))
            return trouble("get");
        memset(held[i], (int)i + 1, bytes);
    }
    while (!ended) {
        unsigned i = (unsigned)(rounds++ % HELD);
        if (!has(held[i], bytes, (unsigned char)(i + 1))) {
            fprintf(stderr, "stray: slot %u has other bytes than were written\n", i);
            return 1;
        }
        struct numapool_msg message = { .data = numapool_loan(sender), .length = (uint32_t)bytes };
        if (!message.data)
            return trouble("loan");
        memset(message.data, (int)(rounds % 250), bytes);
        if (numapool_send(sender, &message, PATIENCE_NS) < 0 || numapool_receive(receiver, &message, 1, PATIENCE_NS) != 1)
            return trouble("send or receive");
        if (!has(message.data, bytes, (unsigned char)(rounds % 250))) {
            fprintf(stderr, "stray: message %lu has other bytes than were written\n", rounds);
            return 1;
        }
        if (numapool_release(receiver, &message, 1) < 0)
            return trouble("release");
        if (rounds % 16 == 0) /* all processors of a guest take turns on one of its host's */
            usleep(2000);
    }
    printf("%lu rounds\n", rounds);
    for (unsigned i = 0; i < HELD; i++)
        if (numapool_put(magazine, held[i]) < 0)
            return trouble("put");
    return 0;
}

static int load(const char *socket, const char *name, int node)
{
    struct numapool_client *client;
    struct numapool_pool *pool;
    struct numapool_magazine *magazine;
    struct numapool_sender *sender;
    struct numapool_receiver *receiver;
    struct numapool_channel_options options = NUMAPOOL_CHANNEL_OPTIONS_INIT;
    struct sigaction action = { .sa_handler = end };
    sigaction(SIGTERM, &action, NULL);
    if (numapool_connect(&client, socket) < 0 || numapool_open(client, name, 0, &pool) < 0 ||
        numapool_magazine_open(pool, node, 0, &magazine) < 0 ||
        numapool_receiver_open(pool, "round", &options, &receiver) < 0 ||
        numapool_sender_open(pool, "round", &options, &sender) < 0)
        return trouble("joining");
    int result = work(magazine, sender, receiver, (size_t)numapool_slot_bytes(pool));
    if (result == 0 &&
        (numapool_sender_close(sender, 0) < 0 || numapool_receiver_close(receiver) < 0 ||
         numapool_magazine_close(magazine) < 0 || numapool_close(pool) < 0 || numapool_disconnect(client) < 0))
        return trouble("leaving");
    return result;
}

int main(int argc, char **argv)
{
    if (argc == 5 && strcmp(argv[1], "move") == 0)
        return move(argv[2], argv[3], atoi(argv[4]));
    if (argc == 5 && strcmp(argv[1], "load") == 0)
        return load(argv[2], argv[3], atoi(argv[4]));
    if (argc > 2 && strcmp(argv[1], "without-nice") == 0) {
        if (!np_privileges_drop())
            return trouble("giving up CAP_SYS_NICE");
        execvp(argv[2], argv + 2);
        return trouble(argv[2]);
    }
    fprintf(stderr, "stray: move, load or without-nice\n");
    return TROUBLE;
}
