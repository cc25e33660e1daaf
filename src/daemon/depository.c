/* SPDX-License-Identifier: MIT */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "daemon/depository.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/error.h"
#include "daemon/log.h"
#include "service/wire.h"

#define FIRST_FD 3                 /* of what a manager passes (sd_listen_fds(3)) */
#define NAMES_BYTES_MAX 131072u    /* one variable of the environment (MAX_ARG_STRLEN), with room for its own name in NAME_PART_BYTES */
#define NAME_PART_BYTES 15u        /* the longest name, and a colon */

enum { MESSAGE_BYTES = 96, MANAGER_PATIENCE_MS = 2000 };

#define SOCKET_KIND 0xfu           /* no kind of the store: no worker is given it */

static const struct np_store_key probe_key = { 0, 0, 0 };
static const struct np_store_key board_key = { NP_STORE_BOARD, 0, 0 };

/* ---------------------------------------------------------------- names */

void np_depository_name(struct np_store_key key, char name[NP_DEPOSITORY_NAME_BYTES])
{
    if (key.kind == NP_STORE_BOARD) {
        key.a = (uint32_t)(np_wire_layout() >> 32);
        key.b = (uint32_t)np_wire_layout();
    }
    snprintf(name, NP_DEPOSITORY_NAME_BYTES, "np1-%x-%x-%x", key.kind, key.a, key.b);
}

bool np_depository_key(const char *name, struct np_store_key *key)
{
    char again[NP_DEPOSITORY_NAME_BYTES];
    if (strlen(name) >= sizeof again || sscanf(name, "np1-%8x-%8x-%8x", &key->kind, &key->a, &key->b) != 3 ||
        (key->kind >= NP_STORE_KINDS && key->kind != SOCKET_KIND))
        return false;
    snprintf(again, sizeof again, "np1-%x-%x-%x", key->kind, key->a, key->b);
    return strcmp(name, again) == 0;
}

/* ---------------------------------------------------------------- one message */

static int connect_manager(struct np_depository *depository)
{
    if (depository->socket_fd >= 0)
        close(depository->socket_fd);
    depository->socket_fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (depository->socket_fd < 0)
        return -errno;
    return connect(depository->socket_fd, (const struct sockaddr *)&depository->manager, depository->manager_bytes) == 0 ? 0 : -errno;
}

static int send_once(const struct np_depository *depository, const char *text, int fd)
{
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(sizeof(int))];
    } control;
    struct iovec part = { (void *)(uintptr_t)text, strlen(text) };
    struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1 };
    memset(&control, 0, sizeof control);
    if (fd >= 0) {
        message.msg_control = &control;
        message.msg_controllen = sizeof control;
        control.header.cmsg_level = SOL_SOCKET;
        control.header.cmsg_type = SCM_RIGHTS;
        control.header.cmsg_len = CMSG_LEN(sizeof fd);
        memcpy(CMSG_DATA(&control.header), &fd, sizeof fd);
    }
    while (sendmsg(depository->socket_fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
        if (errno != EINTR)
            return errno == ENOBUFS || errno == ENOMEM || errno == ETOOMANYREFS ? -EAGAIN : -errno;
    return 0;
}

/* 0; -EAGAIN: later; another: there is no manager any more. One that was started anew has another socket at the same place. */
static int send_message(struct np_depository *depository, const char *text, int fd)
{
    int result = depository->socket_fd >= 0 ? send_once(depository, text, fd) : -ENOTCONN;
    if (result == 0 || result == -EAGAIN)
        return result;
    result = connect_manager(depository);
    return result == 0 ? send_once(depository, text, fd) : result;
}

static int send_store(struct np_depository *depository, struct np_store_key key, int fd)
{
    char name[NP_DEPOSITORY_NAME_BYTES], text[MESSAGE_BYTES];
    np_depository_name(key, name);
    /* FDPOLL=0: pidfds and pipes are to be there when they have hung up, which is what they are kept for. */
    snprintf(text, sizeof text, "FDSTORE=1\nFDNAME=%s\nFDPOLL=0", name);
    return send_message(depository, text, fd);
}

static int send_remove(struct np_depository *depository, struct np_store_key key)
{
    char name[NP_DEPOSITORY_NAME_BYTES], text[MESSAGE_BYTES];
    np_depository_name(key, name);
    snprintf(text, sizeof text, "FDSTOREREMOVE=1\nFDNAME=%s", name);
    return send_message(depository, text, -1);
}

/* ---------------------------------------------------------------- the queue */

static void lose(struct np_depository *depository, bool manager_is_there, const char *why);

static void push(struct np_depository *depository, struct np_deposit deposit)
{
    if (depository->first > 0 && depository->first + depository->queued == depository->room) {
        memmove(depository->queue, depository->queue + depository->first, depository->queued * sizeof *depository->queue);
        depository->first = 0;
    }
    if (depository->queued == depository->room) {
        size_t room = depository->room ? depository->room * 2 : 64;
        struct np_deposit *more = realloc(depository->queue, room * sizeof *more);
        if (!more) {
            lose(depository, false, "there is no memory to remember what it is to keep");
            return;
        }
        depository->queue = more;
        depository->room = room;
    }
    depository->queue[depository->first + depository->queued++] = deposit;
}

static void close_probe(struct np_depository *depository)
{
    if (depository->probe_read >= 0)
        close(depository->probe_read);
    if (depository->answer_read >= 0)
        close(depository->answer_read);
    depository->probe_read = depository->answer_read = -1;
}

static struct np_store_key socket_key(uint64_t inode)
{
    return (struct np_store_key){ SOCKET_KIND, (uint32_t)(inode >> 32), (uint32_t)inode };
}

static void remove_socket(struct np_depository *depository)
{
    if (depository->has_socket)
        push(depository, (struct np_deposit){ .verb = NP_DEPOSIT_REMOVE, .key = socket_key(depository->listen_inode) });
    depository->has_socket = false;
}

/* D3: the board goes first, so that what is still there is taken for nothing if the rest does not get that far. */
static void take_all_back(struct np_depository *depository)
{
    size_t at = 0;
    const struct np_store_entry *entry;
    np_depository_remove(depository, board_key);
    while ((entry = np_store_next(depository->store, &at)) != NULL)
        np_depository_remove(depository, entry->key);
    remove_socket(depository);
    push(depository, (struct np_deposit){ .verb = NP_DEPOSIT_REMOVE, .key = probe_key });
}

static void lose(struct np_depository *depository, bool manager_is_there, const char *why)
{
    size_t kept = 0;
    if (depository->state != NP_DEPOSITORY_KEEPING)
        return;
    np_log(NP_LOG_ERROR, "the service manager does not keep all descriptors any more: %s. It is told to keep none, and from now on the death of "
           "keeper and worker together loses all memory", why);
    for (size_t i = 0; i < depository->queued; i++) {
        struct np_deposit *deposit = &depository->queue[depository->first + i];
        if (deposit->serial > depository->sent_serial)
            depository->sent_serial = deposit->serial;
        if (deposit->verb != NP_DEPOSIT_STORE && deposit->verb != NP_DEPOSIT_SOCKET)
            depository->queue[depository->first + kept++] = *deposit;
    }
    depository->queued = kept;
    close_probe(depository);
    depository->probe = NP_PROBE_NONE;
    if (manager_is_there)
        take_all_back(depository);
    depository->state = NP_DEPOSITORY_LOST;
    np_depository_tell(depository, "STATUS=Serving, without the service manager's store of descriptors: it has no room (FileDescriptorStoreMax=)");
}

void np_depository_remove(struct np_depository *depository, struct np_store_key key)
{
    struct np_store_entry *entry = np_store_find(depository->store, key);
    if (depository->state != NP_DEPOSITORY_KEEPING || !entry || !entry->deposited)
        return; /* one that is still queued finds nothing to store when its turn comes, or what is there by then */
    entry->deposited = false;
    push(depository, (struct np_deposit){ .verb = NP_DEPOSIT_REMOVE, .key = key });
}

void np_depository_store(struct np_depository *depository, struct np_store_key key, uint32_t serial)
{
    if (depository->state == NP_DEPOSITORY_KEEPING)
        push(depository, (struct np_deposit){ .verb = NP_DEPOSIT_STORE, .key = key, .serial = serial });
    if (depository->state != NP_DEPOSITORY_KEEPING && serial > depository->sent_serial)
        depository->sent_serial = serial;
}

void np_depository_listen(struct np_depository *depository, int fd, uint64_t inode)
{
    if (depository->state != NP_DEPOSITORY_KEEPING || (depository->has_socket && depository->listen_inode == inode))
        return;
    remove_socket(depository);
    depository->listen_inode = inode;
    depository->has_socket = true;
    push(depository, (struct np_deposit){ .verb = NP_DEPOSIT_SOCKET, .key = socket_key(inode), .fd = fd });
}

void np_depository_tell(struct np_depository *depository, const char *text)
{
    if (depository->manager_bytes > 0)
        push(depository, (struct np_deposit){ .verb = NP_DEPOSIT_TELL, .text = text });
}

void np_depository_new_worker(struct np_depository *depository)
{
    for (size_t i = 0; i < depository->queued; i++)
        depository->queue[depository->first + i].serial = 0;
    depository->sent_serial = depository->stored_serial = 0;
}

/* ---------------------------------------------------------------- whether there is room for one more */

/* Sends one with the write end of a new pipe, whose read end is ours. */
static int send_with_pipe(struct np_depository *depository, const char *text, int *read_end)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0)
        return -EAGAIN; /* of descriptors, as a rule: some will be closed */
    int result = text ? send_message(depository, text, ends[1]) : send_store(depository, probe_key, ends[1]);
    close(ends[1]);
    if (result < 0)
        close(ends[0]);
    else
        *read_end = ends[0];
    return result;
}

static bool has_hung_up(int fd)
{
    struct pollfd polled = { .fd = fd };
    return poll(&polled, 1, 0) == 1 && (polled.revents & POLLHUP) != 0;
}

static void conclude_probe(struct np_depository *depository)
{
    bool was_refused = has_hung_up(depository->probe_read);
    close_probe(depository);
    if (was_refused) {
        depository->probe = NP_PROBE_NONE;
        lose(depository, true, "it has no room for more (FileDescriptorStoreMax= of the unit: operations.md says how many it takes)");
        return;
    }
    /* Nothing is stored between, so it has this many and one more, whose place is free again before the next is sent. */
    depository->known_room = depository->count + 1;
    depository->probe = NP_PROBE_TO_REMOVE;
}

/* 0: a step was taken; -EAGAIN: not now; another: the manager is gone. */
static int advance_probe(struct np_depository *depository)
{
    int result = 0;
    switch (depository->probe) {
    case NP_PROBE_TO_STORE:
        result = send_with_pipe(depository, NULL, &depository->probe_read);
        if (result == 0)
            depository->probe = NP_PROBE_TO_ASK;
        break;
    case NP_PROBE_TO_ASK:
        result = send_with_pipe(depository, "BARRIER=1", &depository->answer_read);
        if (result == 0)
            depository->probe = NP_PROBE_ASKED;
        break;
    case NP_PROBE_ASKED:
        if (!has_hung_up(depository->answer_read))
            return -EINPROGRESS;
        conclude_probe(depository);
        break;
    case NP_PROBE_TO_REMOVE:
        result = send_remove(depository, probe_key);
        if (result == 0)
            depository->probe = NP_PROBE_NONE;
        break;
    case NP_PROBE_NONE:
        break;
    }
    return result;
}

/* ---------------------------------------------------------------- handing over */

/* `entry`: NULL for what is in no table. */
static int hand_store(struct np_depository *depository, const struct np_deposit *deposit, struct np_store_entry *entry)
{
    if (deposit->verb == NP_DEPOSIT_SOCKET || (entry && !entry->deposited)) {
        if (depository->count >= depository->most) {
            lose(depository, true, "it keeps no more (FileDescriptorStoreMax= of the unit, or what an environment can name)");
            return 0;
        }
        int result = send_store(depository, deposit->key, entry ? entry->fd : deposit->fd);
        if (result < 0)
            return result;
        if (entry)
            entry->deposited = true;
        if (++depository->count > depository->known_room)
            depository->probe = NP_PROBE_TO_STORE;
    }
    if (deposit->serial > depository->sent_serial)
        depository->sent_serial = deposit->serial;
    return 0;
}

static int hand_over(struct np_depository *depository, const struct np_deposit *deposit)
{
    int result;
    switch (deposit->verb) {
    case NP_DEPOSIT_STORE:
        return hand_store(depository, deposit, np_store_find(depository->store, deposit->key));
    case NP_DEPOSIT_SOCKET:
        return hand_store(depository, deposit, NULL);
    case NP_DEPOSIT_REMOVE:
        result = send_remove(depository, deposit->key);
        if (result == 0 && depository->count > 0 && deposit->key.kind != probe_key.kind)
            depository->count--;
        return result;
    default:
        result = send_message(depository, deposit->text, -1);
        return result == -EAGAIN ? result : 0; /* nobody to tell */
    }
}

void np_depository_turn(struct np_depository *depository)
{
    int result = 0;
    depository->blocked = false;
    while (result == 0) {
        if (depository->probe != NP_PROBE_NONE) {
            result = advance_probe(depository);
        } else if (depository->queued > 0) {
            struct np_deposit deposit = depository->queue[depository->first];
            enum np_depository_state before = depository->state;
            result = hand_over(depository, &deposit);
            if (result == 0 && depository->state == before) { /* else the queue is another */
                depository->first++;
                depository->queued--;
            }
        } else {
            break;
        }
    }
    if (result < 0 && result != -EAGAIN && result != -EINPROGRESS) {
        lose(depository, false, "it does not listen any more");
        depository->probe = NP_PROBE_NONE;
        depository->queued = 0;
    }
    if (depository->probe == NP_PROBE_NONE || depository->probe == NP_PROBE_TO_REMOVE)
        depository->stored_serial = depository->sent_serial; /* D2 */
    depository->blocked = result == -EAGAIN;
}

/* ---------------------------------------------------------------- at the start */

static void find_manager(struct np_depository *depository)
{
    const char *path = getenv("NOTIFY_SOCKET");
    size_t length = path ? strlen(path) : 0;
    if (length < 2 || (path[0] != '/' && path[0] != '@') || length >= sizeof depository->manager.sun_path)
        return; /* nobody, or one that is spoken to otherwise (a virtual machine's host) */
    depository->manager.sun_family = AF_UNIX;
    memcpy(depository->manager.sun_path, path, length);
    if (path[0] == '@')
        depository->manager.sun_path[0] = '\0';
    depository->manager_bytes = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length + (path[0] == '/'));
}

static bool is_listening(int fd)
{
    int type = 0, listening = 0;
    socklen_t bytes = sizeof type;
    return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &bytes) == 0 && type == SOCK_SEQPACKET &&
           getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &bytes) == 0 && listening;
}

static bool is_of_numapool(const char *name)
{
    return name[0] == 'n' && name[1] == 'p' && name[2] >= '0' && name[2] <= '9';
}

/* Takes one descriptor that the manager passed. */
static int take(struct np_depository *depository, int fd, const char *name)
{
    struct np_store_key key;
    fcntl(fd, F_SETFD, FD_CLOEXEC);
    if (!is_of_numapool(name)) {
        if (depository->listen_fd < 0 && is_listening(fd)) {
            depository->listen_fd = fd;
            return 0;
        }
        np_log(NP_LOG_WARN, "the service manager passed a descriptor '%.60s', which is nothing of numapoold's: it is closed", name);
        close(fd);
        return 0;
    }
    uint64_t layout = np_wire_layout();
    bool known = np_depository_key(name, &key);
    if (!known || (key.kind == NP_STORE_BOARD && (key.a != (uint32_t)(layout >> 32) || key.b != (uint32_t)layout)))
        return np_error(-EPROTO, "the service manager has kept the memory of another version of numapool ('%.60s'; the layout here is %016llx): "
                        "install that version again, whose clients then go on, or give the memory up by stopping the service (systemctl "
                        "stop, not restart), and start it", name, (unsigned long long)layout);
    if (key.kind == SOCKET_KIND && depository->listen_fd < 0 && is_listening(fd)) {
        depository->listen_fd = fd;
        depository->listen_inode = (uint64_t)key.a << 32 | key.b;
        depository->has_socket = true;
        depository->count++;
        return 0;
    }
    if (key.kind == NP_STORE_BOARD)
        key = board_key;
    if (key.kind == SOCKET_KIND) {
        push(depository, (struct np_deposit){ .verb = NP_DEPOSIT_REMOVE, .key = key });
        depository->count++;
        close(fd);
        return 0;
    }
    if (key.kind == probe_key.kind || np_store_get(depository->store, key) >= 0 || np_store_put(depository->store, key, fd) < 0) {
        close(fd);
        if (key.kind == probe_key.kind)
            push(depository, (struct np_deposit){ .verb = NP_DEPOSIT_REMOVE, .key = probe_key });
        return 0;
    }
    depository->count++;
    np_store_find(depository->store, key)->deposited = true;
    return 0;
}

static int take_all(struct np_depository *depository)
{
    const char *pid = getenv("LISTEN_PID"), *count = getenv("LISTEN_FDS"), *given = getenv("LISTEN_FDNAMES");
    if (!pid || !count || strtol(pid, NULL, 10) != (long)getpid())
        return 0;
    char *names = strdup(given ? given : ""), *rest = names;
    if (!names)
        return np_error(-ENOMEM, "no memory for the names of the descriptors that the service manager passed");
    int result = 0;
    for (int i = 0, n = atoi(count); result == 0 && i < n; i++) {
        const char *name = strsep(&rest, ":");
        result = take(depository, FIRST_FD + i, name ? name : "");
    }
    free(names);
    return result;
}

int np_depository_open(struct np_depository *depository, struct np_store *store)
{
    *depository = (struct np_depository){ .store = store, .socket_fd = -1, .listen_fd = -1, .probe_read = -1, .answer_read = -1,
                                          .most = NAMES_BYTES_MAX / NAME_PART_BYTES - 2 };
    find_manager(depository);
    int result = take_all(depository);
    const char *most = getenv("FDSTORE"); /* systemd 254 and later say how many; an older one is asked */
    if (most) {
        depository->known_room = strtoul(most, NULL, 10);
        if (depository->known_room < depository->most)
            depository->most = depository->known_room;
    }
    static const char *const ours[] = { "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "NOTIFY_SOCKET", "FDSTORE" };
    for (unsigned i = 0; i < sizeof ours / sizeof ours[0]; i++)
        unsetenv(ours[i]); /* no worker is to take them for its own */
    return result;
}

/* Whether it keeps anything. It is asked as in a probe, and waited for. */
static bool keeps_anything(struct np_depository *depository)
{
    if (depository->most == 0)
        return false;
    if (depository->known_room > 0)
        return true;
    depository->probe = NP_PROBE_TO_STORE;
    int result = 0;
    while (result == 0 && depository->probe < NP_PROBE_ASKED)
        result = advance_probe(depository);
    struct pollfd polled = { .fd = depository->answer_read };
    bool has_answered = result == 0 && poll(&polled, 1, MANAGER_PATIENCE_MS) == 1;
    bool keeps = has_answered && !has_hung_up(depository->probe_read);
    if (result == 0 && !has_answered)
        np_log(NP_LOG_WARN, "the service manager has not said within %d s whether it keeps descriptors (BARRIER=1): it is taken that it does "
               "not, until the service is stopped and started", MANAGER_PATIENCE_MS / 1000);
    if (result == 0)
        send_remove(depository, probe_key); /* also of one that has not answered: it may keep it yet */
    close_probe(depository);
    depository->probe = NP_PROBE_NONE;
    depository->known_room = keeps;
    return keeps;
}

void np_depository_begin(struct np_depository *depository)
{
    struct np_store *store = depository->store;
    if (depository->manager_bytes == 0)
        return;
    if (depository->count > depository->known_room)
        depository->known_room = depository->count;
    if (!keeps_anything(depository)) {
        np_log(NP_LOG_INFO, "the service manager keeps no descriptors (FileDescriptorStoreMax=): the death of keeper and worker together loses "
               "all memory");
        return;
    }
    depository->state = NP_DEPOSITORY_KEEPING;
    if (store->count > 0 && (np_store_get(store, board_key) < 0 || np_store_get(store, (struct np_store_key){ NP_STORE_BELLS, 0, 0 }) < 0)) {
        np_log(NP_LOG_WARN, "the service manager has kept %zu descriptors and no board with them: they are given up", store->count);
        take_all_back(depository);
        np_store_clear(store);
    }
    if (store->count > 0)
        np_log(NP_LOG_INFO, "the service manager has kept %zu descriptors: the clients of the daemon before go on", store->count);
    else
        np_log(NP_LOG_INFO, "the service manager keeps every descriptor: keeper and worker may both die");
}

void np_depository_close(struct np_depository *depository)
{
    np_depository_turn(depository);
    close_probe(depository);
    if (depository->socket_fd >= 0)
        close(depository->socket_fd);
    free(depository->queue);
    depository->queue = NULL;
    depository->socket_fd = -1;
    depository->queued = 0;
}
