/* SPDX-License-Identifier: MIT
 *
 * The I/O token: the write end of a pipe that the daemon watches after this process's death (daemon/inflight.h). One for each
 * client, asked for once.
 */
#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/error.h"
#include "service/inherit.h"
#include "service/session.h"

/* A program that closed all descriptors has closed this one too, and its number may be somebody else's. */
static bool is_still_ours(const struct np_session_token *token)
{
    struct stat status;
    return token->number > 0 && fstat(token->number - 1, &status) == 0 && status.st_dev == token->device &&
           status.st_ino == token->inode;
}

void np_session_drop_token(struct numapool_client *client)
{
    if (is_still_ours(&client->token)) {
        np_inherit_forget(client->token.number - 1);
        close(client->token.number - 1);
    }
    client->token.number = 0;
}

static int ask(struct numapool_client *client)
{
    struct np_wire_request request = { .operation = NP_WIRE_IO_TOKEN };
    struct np_wire_answer answer;
    struct stat status;
    int fds[NP_WIRE_FDS_MAX];
    int result = np_session_call(client, &request, &answer, fds, 1, NP_SESSION_PATIENT_NS);
    if (result < 0)
        return result;
    if (fstat(fds[0], &status) != 0 || !S_ISFIFO(status.st_mode)) {
        np_session_close_descriptors(fds);
        return np_error(-EPROTO, "numapoold gave something that is no pipe as an I/O token: use the library that came with it");
    }
    np_inherit_note(fds[0]); /* a forked child that keeps it would keep our slots from others */
    client->token = (struct np_session_token){ fds[0] + 1, status.st_dev, status.st_ino };
    return 0;
}

int numapool_io_token(struct numapool_client *client)
{
    int result = np_client_check(client);
    if (result < 0)
        return result;
    pthread_mutex_lock(&client->opening); /* so that two threads that ask first get the same one */
    result = is_still_ours(&client->token) ? 0 : ask(client);
    int fd = client->token.number - 1;
    pthread_mutex_unlock(&client->opening);
    return result < 0 ? result : fd;
}
