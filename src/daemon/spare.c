/* SPDX-License-Identifier: MIT */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "daemon/spare.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/error.h"
#include "daemon/loop_kind.h"
#include "service/wire.h"

enum { REFUSED_AT_ONCE_MAX = 64 };

static void take_back(struct np_spare *spare)
{
    if (spare->fd < 0)
        spare->fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (spare->fd < 0) /* where there is no /dev */
        spare->fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
}

void np_spare_start(struct np_spare *spare)
{
    spare->fd = -1;
    take_back(spare);
}

static void tell(int fd, int code, const char *sentence)
{
    struct np_wire_request request;
    struct np_wire_answer answer;
    ssize_t got = recv(fd, &request, sizeof request, MSG_DONTWAIT | MSG_TRUNC);
    if (got != (ssize_t)sizeof request || np_wire_check_request(&request, sizeof request) < 0)
        return;
    memset(&answer, 0, sizeof answer);
    answer.magic = NP_WIRE_MAGIC;
    answer.result = code;
    answer.number = request.number;
    answer.operation = request.operation;
    snprintf(answer.sentence, sizeof answer.sentence, "%s", sentence);
    (void)!send(fd, &answer, sizeof answer, MSG_DONTWAIT | MSG_NOSIGNAL);
}

unsigned np_spare_refuse(struct np_spare *spare, int listen_fd, int code)
{
    char sentence[NP_WIRE_SENTENCE_BYTES];
    unsigned refused = 0;
    snprintf(sentence, sizeof sentence, "%s", np_error_sentence());
    for (; refused < REFUSED_AT_ONCE_MAX; refused++) {
        if (spare->fd >= 0)
            close(spare->fd);
        spare->fd = -1;
        int fd = np_loop_accept_now(listen_fd);
        if (fd >= 0) {
            tell(fd, code, sentence);
            close(fd);
        }
        take_back(spare);
        if (fd < 0)
            break;
    }
    return refused;
}
