/* SPDX-License-Identifier: MIT */
#include "step_helper.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { PATIENCE_MS = 20000 };

struct start {
    struct ledger *ledger;
    const char *socket;
    int questions, answers;
};

/* ---------------------------------------------------------------- what operations are made of */

int step_ok(const char *call, int result)
{
    if (result >= 0)
        return 0;
    fprintf(stderr, "%s: %d: %s\n", call, result, numapool_errormsg());
    return -1;
}

int step_connect(struct step_actor *actor)
{
    if (!actor->client && step_ok("numapool_connect", numapool_connect(&actor->client, actor->socket)) != 0)
        return -1;
    if (!actor->pool && step_ok("numapool_open", numapool_open(actor->client, STEP_POOL, 0, &actor->pool)) != 0)
        return -1;
    return 0;
}

/* ---------------------------------------------------------------- in the helper */

/* Its slots go back, its ends leave. */
static int finish(struct step_actor *actor)
{
    int result = 0;
    if (actor->slot_count > 0 && !actor->magazine)
        result |= step_ok("numapool_magazine_open", numapool_magazine_open(actor->pool, NUMAPOOL_ANY_NODE, 0, &actor->magazine));
    if (actor->slot_count > 0)
        result |= step_ok("numapool_put_bulk", numapool_put_bulk(actor->magazine, actor->slots, actor->slot_count));
    if (actor->waitset)
        result |= step_ok("numapool_waitset_close", numapool_waitset_close(actor->waitset));
    if (actor->requester)
        result |= step_ok("numapool_requester_close", numapool_requester_close(actor->requester, 0));
    if (actor->responder)
        result |= step_ok("numapool_responder_close", numapool_responder_close(actor->responder, 0));
    if (actor->requester || actor->responder) { /* the ends were its parts */
        actor->receivers[0] = NULL;
        actor->senders[0] = NULL;
    }
    for (unsigned i = 0; i < STEP_RECEIVERS_MAX; i++)
        if (actor->receivers[i])
            result |= step_ok("numapool_receiver_close", numapool_receiver_close(actor->receivers[i]));
    for (unsigned i = 0; i < STEP_SENDERS_MAX; i++)
        if (actor->senders[i])
            result |= step_ok("numapool_sender_close", numapool_sender_close(actor->senders[i], 0));
    if (!actor->magazine && actor->pool && numapool_pool_mode(actor->pool) == NUMAPOOL_MODE_DIRECT)
        result |= step_ok("numapool_magazine_open", numapool_magazine_open(actor->pool, NUMAPOOL_ANY_NODE, 0, &actor->magazine));
    if (actor->magazine) {
        result |= step_ok("numapool_flush", numapool_flush(actor->magazine)); /* of the process's depots too */
        result |= step_ok("numapool_magazine_close", numapool_magazine_close(actor->magazine));
    }
    *actor = (struct step_actor){ .ledger = actor->ledger, .socket = actor->socket, .incarnation = actor->incarnation + 1,
                                  .client = actor->client, .pool = actor->pool };
    return result;
}

static int as_wished(struct step_actor *actor, const struct step_question *question)
{
    switch (question->wish) {
    case STEP_WISH_PEER: return question->operation->peer(actor);
    case STEP_WISH_AGAIN: return question->operation->peer_again(actor);
    case STEP_WISH_MEANWHILE: return question->operation->meanwhile(actor);
    case STEP_WISH_BETWEEN: return question->operation->between(actor);
    case STEP_WISH_SURVIVE: return question->operation->survive(actor);
    case STEP_WISH_FINISH: return finish(actor);
    case STEP_WISH_INHERIT:
        if (step_connect(actor) != 0)
            return -1;
        step_inherit(actor->pool, actor->ledger, &question->legacy);
        return 0;
    case STEP_WISH_DESTROY:
        return step_ok("numapool_admin_destroy", numapool_admin_destroy(actor->client, question->pool, NUMAPOOL_DESTROY_DISCARD));
    }
    return -1;
}

static int helper_process(void *context)
{
    const struct start *start = context;
    struct step_actor actor = { .ledger = start->ledger, .socket = start->socket, .incarnation = 100 };
    struct step_question question;
    while (read(start->questions, &question, sizeof question) == (ssize_t)sizeof question) {
        char answer = as_wished(&actor, &question) == 0 ? 'y' : 'n';
        if (write(start->answers, &answer, 1) != 1)
            break;
    }
    return 0;
}

/* ---------------------------------------------------------------- in the tracer */

void step_helper_start(struct step_helper *helper, struct ledger *ledger, const char *socket)
{
    int questions[2], answers[2];
    if (pipe2(questions, O_CLOEXEC) < 0 || pipe2(answers, O_CLOEXEC) < 0) {
        perror("pipe2");
        _exit(2);
    }
    struct start start = { ledger, socket, questions[0], answers[1] };
    helper->pid = harness_fork(helper_process, &start);
    close(questions[0]);
    close(answers[1]);
    helper->questions = questions[1];
    helper->answers = answers[0];
}

void step_helper_end(struct step_helper *helper)
{
    if (helper->pid == 0)
        return;
    harness_kill(helper->pid);
    close(helper->questions);
    close(helper->answers);
    helper->pid = 0;
}

bool step_helper_ask(struct step_helper *helper, const struct step_question *question)
{
    struct pollfd answer = { .fd = helper->answers, .events = POLLIN };
    char byte = 'n';
    if (write(helper->questions, question, sizeof *question) != (ssize_t)sizeof *question)
        return false;
    return poll(&answer, 1, PATIENCE_MS) == 1 && read(helper->answers, &byte, 1) == 1 && byte == 'y';
}
