/* SPDX-License-Identifier: MIT */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "daemon/store.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/error.h"

#define RECORD_MAGIC 0x4e504b31u /* "NPK1" */

enum { ROOM_MIN = 64 };

/* ---------------------------------------------------------------- the table */

static size_t home_of(const struct np_store *store, struct np_store_key key)
{
    uint64_t hash = ((uint64_t)key.kind << 56 ^ (uint64_t)key.a << 28 ^ key.b) * UINT64_C(0x9e3779b97f4a7c15);
    return (size_t)(hash >> 32) & (store->room - 1);
}

static bool same(struct np_store_key x, struct np_store_key y)
{
    return x.kind == y.kind && x.a == y.a && x.b == y.b;
}

/* Where the key is, or the vacant place where it would go. There always is one: the table is never more than half full. */
static size_t place_of(const struct np_store *store, struct np_store_key key)
{
    size_t at = home_of(store, key);
    while (store->entries[at].key.kind != 0 && !same(store->entries[at].key, key))
        at = (at + 1) & (store->room - 1);
    return at;
}

static int grow(struct np_store *store)
{
    struct np_store larger = { .room = store->room ? store->room * 2 : ROOM_MIN, .count = store->count };
    larger.entries = calloc(larger.room, sizeof *larger.entries);
    if (!larger.entries)
        return np_error(-ENOMEM, "no memory for a table of %zu descriptors", larger.room / 2);
    for (size_t i = 0; i < store->room; i++)
        if (store->entries[i].key.kind != 0)
            larger.entries[place_of(&larger, store->entries[i].key)] = store->entries[i];
    free(store->entries);
    *store = larger;
    return 0;
}

int np_store_put(struct np_store *store, struct np_store_key key, int fd)
{
    if ((store->count + 1) * 2 > store->room) {
        int result = grow(store);
        if (result < 0)
            return result;
    }
    struct np_store_entry *entry = &store->entries[place_of(store, key)];
    if (entry->key.kind != 0)
        close(entry->fd);
    else
        store->count++;
    *entry = (struct np_store_entry){ .key = key, .fd = fd };
    return 0;
}

struct np_store_entry *np_store_find(const struct np_store *store, struct np_store_key key)
{
    if (store->room == 0)
        return NULL;
    struct np_store_entry *entry = &store->entries[place_of(store, key)];
    return entry->key.kind != 0 ? entry : NULL;
}

int np_store_get(const struct np_store *store, struct np_store_key key)
{
    const struct np_store_entry *entry = np_store_find(store, key);
    return entry ? entry->fd : -1;
}

void np_store_remove(struct np_store *store, struct np_store_key key)
{
    if (store->room == 0)
        return;
    size_t hole = place_of(store, key), mask = store->room - 1;
    if (store->entries[hole].key.kind == 0)
        return;
    close(store->entries[hole].fd);
    store->count--;
    /* Those behind it move up unless that would take them before their home, so that no search ends too early. */
    for (size_t at = (hole + 1) & mask; store->entries[at].key.kind != 0; at = (at + 1) & mask) {
        size_t home = home_of(store, store->entries[at].key);
        if (((at - home) & mask) >= ((at - hole) & mask)) {
            store->entries[hole] = store->entries[at];
            hole = at;
        }
    }
    store->entries[hole].key.kind = 0;
}

void np_store_clear(struct np_store *store)
{
    for (size_t i = 0; i < store->room; i++)
        if (store->entries[i].key.kind != 0)
            close(store->entries[i].fd);
    free(store->entries);
    *store = (struct np_store){ 0 };
}

const struct np_store_entry *np_store_next(const struct np_store *store, size_t *at)
{
    while (*at < store->room) {
        const struct np_store_entry *entry = &store->entries[(*at)++];
        if (entry->key.kind != 0)
            return entry;
    }
    return NULL;
}

/* ---------------------------------------------------------------- the records */

static int send_record(int socket, struct np_record record, int fd)
{
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(sizeof(int))];
    } control;
    memset(&control, 0, sizeof control);
    struct iovec part = { &record, sizeof record };
    struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1 };
    if (fd >= 0) {
        message.msg_control = &control;
        message.msg_controllen = sizeof control;
        control.header.cmsg_level = SOL_SOCKET;
        control.header.cmsg_type = SCM_RIGHTS;
        control.header.cmsg_len = CMSG_LEN(sizeof fd);
        memcpy(CMSG_DATA(&control.header), &fd, sizeof fd);
    }
    ssize_t sent;
    do
        sent = sendmsg(socket, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    if (sent == (ssize_t)sizeof record)
        return 0;
    /* ETOOMANYREFS: too many descriptors are on their way in sockets; some will arrive. */
    if (errno == EAGAIN || errno == ENOBUFS || errno == ENOMEM || errno == ETOOMANYREFS)
        return np_error(-EAGAIN, "the daemon's keeper has no room for a descriptor just now: try again");
    return np_error(-errno, "the other half of the daemon does not take records: %s", strerror(errno));
}

int np_record_send(int socket, enum np_record_verb verb, struct np_store_key key, int fd)
{
    return send_record(socket, (struct np_record){ .magic = RECORD_MAGIC, .verb = (uint32_t)verb, .key = key }, fd);
}

int np_record_send_mend(int socket, enum np_record_verb verb, struct np_store_key key, const struct np_mend *mend)
{
    return send_record(socket, (struct np_record){ .magic = RECORD_MAGIC, .verb = (uint32_t)verb, .key = key, .mend = *mend }, -1);
}

int np_record_receive(int socket, struct np_record *record, int *fd)
{
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(sizeof(int))];
    } control;
    struct iovec part = { record, sizeof *record };
    struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control };
    *fd = -1;
    ssize_t got;
    do
        got = recvmsg(socket, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    while (got < 0 && errno == EINTR);
    if (got < 0)
        return errno == EAGAIN ? -EAGAIN : errno == ECONNRESET ? 0 : np_error(-errno, "cannot receive a record: %s", strerror(errno));
    if (got == 0)
        return 0;
    const struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    if (header && header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS && header->cmsg_len == CMSG_LEN(sizeof(int)))
        memcpy(fd, CMSG_DATA(header), sizeof *fd);
    if (got != (ssize_t)sizeof *record || record->magic != RECORD_MAGIC) {
        if (*fd >= 0)
            close(*fd);
        *fd = -1;
        return np_error(-EPROTO, "what came is not a record of this version");
    }
    if (record->verb == NP_RECORD_STORE && *fd < 0)
        return np_error(-EMFILE, "a descriptor did not arrive: raise the limit of open files (LimitNOFILE=)");
    return 1;
}
