/* SPDX-License-Identifier: MIT
 * All that a client does once, one call a step; the step that fails is done again when there is room. */
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>

#include "limits.h"

const char *const limits_step_names[LIMITS_SESSION_STEPS] = { "connect", "open", "magazine", "sender", "receiver", "send",
                                                              "receive" };

static int do_step(struct limits_session *session, unsigned step)
{
    struct numapool_msg message = { .length = 8, .id = 77 };
    int result;
    switch (step) {
    case 0:
        return numapool_connect(&session->client, session->daemon->socket);
    case 1:
        return numapool_open(session->client, LIMITS_POOL, 0, &session->pool);
    case 2:
        return numapool_magazine_open(session->pool, NUMAPOOL_ANY_NODE, 0, &session->magazine);
    case 3:
        return numapool_sender_open(session->pool, "files", NULL, &session->sender);
    case 4:
        return numapool_receiver_open(session->pool, "files", NULL, &session->receiver);
    case 5:
        message.data = numapool_loan(session->sender);
        result = message.data ? numapool_send(session->sender, &message, 0) : -EAGAIN;
        if (result < 0 && message.data)
            numapool_unloan(session->sender, message.data);
        return result;
    default:
        result = numapool_receive(session->receiver, &message, 1, LIMITS_SECOND_NS);
        return result == 1 ? numapool_release(session->receiver, &message, 1) : result;
    }
}

static int end_session(struct limits_session *session)
{
    int result = numapool_receiver_close(session->receiver);
    if (result >= 0)
        result = numapool_sender_close(session->sender, 0);
    if (result >= 0)
        result = numapool_magazine_close(session->magazine);
    if (result >= 0)
        result = numapool_close(session->pool);
    return result >= 0 ? numapool_disconnect(session->client) : result;
}

int limits_session_run(struct limits_session *session, void (*make_room)(void))
{
    for (unsigned step = 0; step < LIMITS_SESSION_STEPS; step++) {
        int result = do_step(session, step);
        if (result < 0 && GET(session->answer->number) == 0) {
            limits_keep(session->answer, result);
            SET(session->answer->number, step + 1);
            if (make_room)
                make_room();
            else
                limits_wait_go_on(session->answer, 1);
            result = do_step(session, step);
            if (step == 0 && result == 0)
                limits_wait_go_on(session->answer, 2);
        }
        if (result < 0) {
            fprintf(stderr, "%s: %d %s\n", limits_step_names[step], result, numapool_errormsg());
            return 1;
        }
    }
    SET(session->answer->step, 1);
    return end_session(session) < 0 ? 2 : 0;
}
