/* SPDX-License-Identifier: MIT */
#include "tcp.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define BACKLOG 64

/* Tries each address that the name has. */
static int open_socket(const char *program, const char *where, bool listens)
{
    const struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV | (listens ? AI_PASSIVE : 0) };
    struct addrinfo *found = NULL;
    char host[256] = "127.0.0.1";
    const char *colon = strrchr(where, ':'), *port = colon != NULL ? colon + 1 : where;
    int result = -1, one = 1;
    if (colon != NULL) {
        const char *from = where, *to = colon;
        if (*from == '[' && to > from && to[-1] == ']') { /* an IPv6 address */
            from++;
            to--;
        }
        snprintf(host, sizeof(host), "%.*s", (int)(to - from), from);
    }
    int unknown = getaddrinfo(host, port, &hints, &found);
    if (unknown != 0) {
        fprintf(stderr, "%s: '%s' is not [ADDRESS:]PORT: %s\n", program, where, gai_strerror(unknown));
        return -1;
    }
    errno = EADDRNOTAVAIL;
    for (const struct addrinfo *one_of = found; one_of != NULL && result < 0; one_of = one_of->ai_next) {
        int fd = socket(one_of->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd < 0)
            continue;
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
        if (listens ? bind(fd, one_of->ai_addr, one_of->ai_addrlen) == 0 && listen(fd, BACKLOG) == 0
                    : connect(fd, one_of->ai_addr, one_of->ai_addrlen) == 0)
            result = fd;
        else
            close(fd);
    }
    freeaddrinfo(found);
    if (result < 0)
        fprintf(stderr, "%s: cannot %s '%s': %s\n", program, listens ? "listen on" : "connect to", where, strerror(errno));
    return result;
}

int tcp_listen(const char *program, const char *where, uint16_t *port)
{
    struct sockaddr_storage address;
    socklen_t length = sizeof(address);
    int fd = open_socket(program, where, true);
    if (fd < 0 || getsockname(fd, (struct sockaddr *)&address, &length) != 0)
        return -1;
    *port = ntohs(address.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&address)->sin6_port
                                                : ((struct sockaddr_in *)&address)->sin_port);
    return fd;
}

int tcp_connect(const char *program, const char *where)
{
    int one = 1, fd = open_socket(program, where, false);
    if (fd >= 0)
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    return fd;
}
