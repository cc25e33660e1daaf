/* SPDX-License-Identifier: MIT
 * Processes that live on while others are killed: the peer, who has the other ends, and the heir. */
#ifndef NUMAPOOL_TESTS_CRASH_STEP_HELPER_H
#define NUMAPOOL_TESTS_CRASH_STEP_HELPER_H

#include <sys/types.h>

#include "step.h"
#include "step_heir.h"

enum step_wish {
    STEP_WISH_PEER,      /* operation->peer */
    STEP_WISH_AGAIN,     /* operation->peer_again */
    STEP_WISH_MEANWHILE, /* operation->meanwhile */
    STEP_WISH_BETWEEN,   /* operation->between */
    STEP_WISH_SURVIVE,   /* operation->survive */
    STEP_WISH_FINISH,    /* close what it has open but for the pool */
    STEP_WISH_INHERIT,   /* step_inherit */
    STEP_WISH_DESTROY    /* the pool of that name */
};

struct step_question {
    enum step_wish wish;
    const struct step_operation *operation;
    struct step_legacy legacy;
    char pool[NUMAPOOL_NAME_BYTES];
};

struct step_helper {
    pid_t pid; /* 0: there is none */
    int questions, answers;
};

void step_helper_start(struct step_helper *helper, struct ledger *ledger, const char *socket);
void step_helper_end(struct step_helper *helper);
/* Whether it did as was wished. */
bool step_helper_ask(struct step_helper *helper, const struct step_question *question);

#endif
