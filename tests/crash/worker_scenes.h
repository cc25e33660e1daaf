/* SPDX-License-Identifier: MIT
 *
 * What a worker is doing when it dies: in each scene some clients stand ready, and one of them makes a call, or is killed, which gives the
 * worker something to do.
 */
#ifndef NUMAPOOL_TESTS_CRASH_WORKER_SCENES_H
#define NUMAPOOL_TESTS_CRASH_WORKER_SCENES_H

#include <stdbool.h>
#include <sys/types.h>

#include "numapool.h"

#define SCENE_POOL "scene"

enum { PARTY_ANNA, PARTY_BERT, PARTY_CARL, PARTY_COUNT, SCENE_STEPS_MAX = 14, PARTY_MESSAGES_MAX = 32, PARTY_SLOTS_MAX = 256 };

extern const char *const party_names[PARTY_COUNT];

/* A client, in its own process. */
struct party {
    const char *socket;
    struct numapool_client *client;
    struct numapool_pool *pool;
    struct numapool_magazine *magazine;
    struct numapool_sender *sender, *second_sender;
    struct numapool_receiver *receiver;
    struct numapool_msg messages[PARTY_MESSAGES_MAX];
    unsigned message_count;
    void *slots[PARTY_SLOTS_MAX];
    unsigned slot_count;
};

/* 0, or -1 with numapool_errormsg's sentence. */
typedef int (*party_call)(struct party *party);

/* Makes a request that changes nothing. */
int party_asks(struct party *party);
/* In a scene: it is killed here, and its number is free again before the scene goes on. */
int party_dies(struct party *party);

struct scene_step {
    int party;
    party_call call;
};

enum scene_kind {
    SCENE_CALL,     /* the party makes the call */
    SCENE_DEATH,    /* it is killed */
    SCENE_MID_SEND, /* it is killed between the word of a message and its announcement, in its call */
    SCENE_START     /* it is killed, and the worker too: the next one takes over */
};

struct scene {
    const char *name;
    enum scene_kind kind;
    struct scene_step before[SCENE_STEPS_MAX]; /* ended by a call that is NULL */
    struct scene_step act;
    struct scene_step waits;                   /* a call that was begun before the act and ends by it; NULL: none */
    struct scene_step after[SCENE_STEPS_MAX];  /* who lives goes on: what must have arrived is asked for */
    bool owes; /* a close that finds no worker for a while returns, and is done before the next request: that is made too */
};

extern const struct scene scenes[];
extern const unsigned scene_count;

/* ---- a party as a process */
struct actor {
    pid_t pid; /* 0: none */
    int to, from;
};
void actor_start(struct actor *actor, const char *socket);
/* Begins a call; its end is heard by actor_has_answered and taken by actor_answer. */
void actor_begin(struct actor *actor, party_call call);
bool actor_has_answered(const struct actor *actor);
/* The call's result; waits for it at most 20 s. -1 is told with the sentence and `what`. */
int actor_answer(struct actor *actor, const char *what);
void actor_end(struct actor *actor);

#endif
