/* SPDX-License-Identifier: MIT */
#include "service/wire.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "core/error.h"
#include "core/layout.h"
#include "core/pool.h"

enum { CONNECT_SECONDS = 10 };

uint64_t np_wire_messages(void)
{
    const uint64_t layout[] = { sizeof(struct np_wire_request),
                                sizeof(struct np_wire_answer),
                                offsetof(struct np_wire_answer, sentence),
                                NP_WIRE_OPERATIONS };
    return np_fingerprint(layout, sizeof layout / sizeof layout[0]);
}

uint64_t np_wire_layout(void)
{
    const uint64_t layout[] = { np_arena_layout(),
                                np_lane_layout(),
                                np_board_layout(),
                                sizeof(struct np_account_row),
                                NP_ACCOUNT_BYTES,
                                sizeof(struct np_wire_request),
                                sizeof(struct np_wire_answer),
                                offsetof(struct np_wire_answer, sentence),
                                NP_WIRE_OPERATIONS };
    return np_fingerprint(layout, sizeof layout / sizeof layout[0]);
}

static bool is_terminated(const char *text, size_t room)
{
    return memchr(text, 0, room) != NULL;
}

int np_wire_check_request(const void *message, size_t bytes)
{
    const struct np_wire_request *request = message;
    if (bytes != sizeof *request)
        return np_error(-EPROTO, "a request has %zu bytes, this message has %zu", sizeof *request, bytes);
    if (request->magic != NP_WIRE_MAGIC)
        return np_error(-EPROTO, "a request begins with %08x, this message with %08x", NP_WIRE_MAGIC, request->magic);
    if (request->operation == 0 || request->operation >= NP_WIRE_OPERATIONS)
        return np_error(-EPROTO, "operation %u is not known to this daemon", request->operation);
    bool named = true;
    if (request->operation == NP_WIRE_HELLO || request->operation == NP_WIRE_LOOK)
        named = is_terminated(request->of.hello.name, sizeof request->of.hello.name);
    else if (request->operation == NP_WIRE_POOL_OPEN)
        named = is_terminated(request->of.pool_open.name, sizeof request->of.pool_open.name);
    else if (request->operation == NP_WIRE_ENDPOINT_OPEN)
        named = is_terminated(request->of.endpoint_open.channel, sizeof request->of.endpoint_open.channel);
    else if (request->operation == NP_WIRE_POOL_CREATE || request->operation == NP_WIRE_POOL_GROW)
        named = is_terminated(request->of.pool_create.name, sizeof request->of.pool_create.name) &&
                is_terminated(request->of.pool_create.access, sizeof request->of.pool_create.access) &&
                is_terminated(request->of.pool_create.device, sizeof request->of.pool_create.device);
    else if (request->operation == NP_WIRE_UPGRADE)
        named = is_terminated(request->of.upgrade.binary, sizeof request->of.upgrade.binary);
    else if (request->operation == NP_WIRE_POOL_DESTROY)
        named = is_terminated(request->of.pool_destroy.name, sizeof request->of.pool_destroy.name);
    return named ? 0 : np_error(-EPROTO, "the name in a request of operation %u has no end", request->operation);
}

int np_wire_check_answer(const void *message, size_t bytes, const struct np_wire_request *request)
{
    const struct np_wire_answer *answer = message;
    if (bytes != sizeof *answer || answer->magic != NP_WIRE_MAGIC || answer->number != request->number ||
        answer->operation != request->operation || answer->descriptors > NP_WIRE_FDS_MAX || answer->result < -4095 ||
        !is_terminated(answer->sentence, sizeof answer->sentence))
        return np_error(-EPROTO, "what answers on the socket does not speak this version of numapool's protocol");
    return 0;
}

int np_wire_default_path(char *path, size_t bytes)
{
    const char *given = getenv("NUMAPOOL_SOCKET"), *runtime = getenv("XDG_RUNTIME_DIR");
    int length;
    if (given && *given)
        length = snprintf(path, bytes, "%s", given);
    else if (runtime && *runtime)
        length = snprintf(path, bytes, "%s/numapool.sock", runtime);
    else
        length = snprintf(path, bytes, "/run/numapool/numapool.sock");
    if (length < 0 || (size_t)length >= bytes)
        return np_error(-ENAMETOOLONG, "the socket's path has more than %zu bytes: set NUMAPOOL_SOCKET to a shorter one", bytes - 1);
    return 0;
}

/* A stopped daemon whose queue of connections is full would let connect(2) wait for ever; send(2) is bounded by the way. */
static int bound_waiting(int fd)
{
    const struct timeval longest = { .tv_sec = CONNECT_SECONDS };
    return setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &longest, sizeof longest);
}

int np_wire_connect(const char *path)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    if (strlen(path) >= sizeof address.sun_path)
        return np_error(-ENAMETOOLONG, "the socket's path '%.100s...' has more than %zu bytes: use a shorter one", path,
                        sizeof address.sun_path - 1);
    strcpy(address.sun_path, path);
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return np_error(-errno, "cannot make a socket (%s): raise %s", strerror(errno),
                        errno == ENFILE ? "the system's limit of open files (sysctl fs.file-max)" : "this process's limit of open files");
    int result = bound_waiting(fd);
    while (result == 0) {
        result = connect(fd, (struct sockaddr *)&address, sizeof address);
        if (result == 0)
            return fd;
        if (errno == EINTR)
            result = 0;
    }
    int code = -errno;
    close(fd);
    switch (-code) {
    case ENOENT:
    case ECONNREFUSED:
        return np_error(code, "no numapoold listens at '%s': start it, or set NUMAPOOL_SOCKET to where it does", path);
    case EACCES:
        return np_error(code, "'%s' may not be opened by this user: the daemon there serves its own user alone, or a directory on the way lets no others through", path);
    case EPROTOTYPE:
        return np_error(-EPROTO, "what listens at '%s' is not numapoold: set NUMAPOOL_SOCKET to where numapoold does", path);
    case EAGAIN:
        return np_error(-ETIMEDOUT, "numapoold at '%s' did not take a connection within %d s: is it stopped?", path,
                        CONNECT_SECONDS);
    default:
        return np_error(code, "cannot connect to '%s': %s", path, strerror(-code));
    }
}

static int send_request(int socket, const struct np_wire_request *request)
{
    ssize_t sent;
    do
        sent = send(socket, request, sizeof *request, MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    if (sent == (ssize_t)sizeof *request)
        return 0;
    if (sent < 0 && errno == EAGAIN)
        return np_error(-ETIMEDOUT, "the daemon took no request within %d s: is it stopped?", CONNECT_SECONDS);
    return np_error(sent < 0 ? -errno : -EPIPE, "the daemon's connection broke");
}

static void take_descriptors(struct msghdr *header, int fds[NP_WIRE_FDS_MAX])
{
    unsigned got = 0;
    for (struct cmsghdr *control = CMSG_FIRSTHDR(header); control; control = CMSG_NXTHDR(header, control)) {
        if (control->cmsg_level != SOL_SOCKET || control->cmsg_type != SCM_RIGHTS)
            continue;
        size_t n = (control->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < n; i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(control) + i * sizeof fd, sizeof fd);
            if (got < NP_WIRE_FDS_MAX)
                fds[got++] = fd;
            else
                close(fd);
        }
    }
}

/* For poll(2), rounded up; -1: no end. */
static int left_ms(int64_t deadline_ns)
{
    if (deadline_ns == INT64_MAX)
        return -1;
    int64_t left = deadline_ns - np_monotonic_ns();
    if (left <= 0)
        return 0;
    left = left / 1000000 + (left % 1000000 != 0);
    return left > INT_MAX ? INT_MAX : (int)left;
}

int np_wire_call(int socket, const struct np_wire_request *request, struct np_wire_answer *answer, int fds[NP_WIRE_FDS_MAX],
                 int64_t timeout_ns)
{
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(sizeof(int) * NP_WIRE_FDS_MAX)];
    } control;
    int64_t deadline_ns = np_deadline_ns(timeout_ns);
    for (unsigned i = 0; i < NP_WIRE_FDS_MAX; i++)
        fds[i] = -1;
    int result = send_request(socket, request);
    if (result < 0)
        return result;
    for (;;) {
        struct pollfd poll_fd = { .fd = socket, .events = POLLIN };
        int ready = poll(&poll_fd, 1, left_ms(deadline_ns));
        if (ready < 0 && errno == EINTR)
            continue;
        if (ready < 0)
            return np_error(-errno, "cannot wait for the daemon's answer: %s", strerror(errno));
        if (ready == 0 && np_monotonic_ns() < deadline_ns)
            continue; /* the time was more than poll(2) can count */
        if (ready == 0)
            return np_error(-ETIMEDOUT, "the daemon did not answer within %lld ms: is it stopped?", (long long)(timeout_ns / 1000000));
        struct iovec part = { answer, sizeof *answer };
        struct msghdr header = { .msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control };
        ssize_t got = recvmsg(socket, &header, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
        if (got < 0 && (errno == EINTR || errno == EAGAIN))
            continue;
        if (got <= 0)
            return np_error(got < 0 ? -errno : -EPIPE, "the daemon's connection broke");
        take_descriptors(&header, fds);
        /* a message that was cut off would pass for one of the right length */
        result = np_wire_check_answer(answer, header.msg_flags & MSG_TRUNC ? 0 : (size_t)got, request);
        for (unsigned i = 0; result == 0 && i < answer->descriptors; i++)
            if (fds[i] < 0)
                result = np_error(-EMFILE, "descriptors of the daemon did not arrive: raise this process's limit of open files");
        if (result < 0)
            for (unsigned i = 0; i < NP_WIRE_FDS_MAX; i++)
                if (fds[i] >= 0) {
                    close(fds[i]);
                    fds[i] = -1;
                }
        return result;
    }
}
