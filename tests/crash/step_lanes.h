/* SPDX-License-Identifier: MIT
 * What operations on messages have in common: ends are opened, messages composed, sent and received with the ledger's
 * marks. */
#ifndef NUMAPOOL_TESTS_CRASH_STEP_LANES_H
#define NUMAPOOL_TESTS_CRASH_STEP_LANES_H

#include "step.h"

#define STEP_LANES_POOL "size=128,count=128"
#define STEP_PATIENCE_NS INT64_C(10000000000)

/* A word on standard error; -1. */
int step_failed(const struct step_actor *actor, const char *call, int result);

/* ---- ends */

/* As step_connect, but the pool is open for reading and receiving alone. A peer that does so is a fresh one. */
int step_connect_readonly(struct step_actor *actor);
/* Connects first, if that has not been done. lane_slots, flags: of the channel's options. spin_ns is -1: who waits sleeps
 * at once. */
int step_open_sender(struct step_actor *actor, unsigned which, const char *channel, uint32_t lane_slots, uint32_t flags);
int step_open_receiver(struct step_actor *actor, unsigned which, const char *channel, uint32_t flags);
/* From here on those that are opened spin before they sleep. */
void step_spin(int64_t spin_ns);

/* ---- messages; each returns 0 or -1 */

/* Composes n in actor->messages from `first` on: slots, payload, numbers; with the mark "about to". */
int step_compose(struct step_actor *actor, unsigned which, unsigned first, unsigned n);
/* Composes n and sends them on sender `which`. */
int step_send(struct step_actor *actor, unsigned which, unsigned n);
/* The same with this key, KEYED. */
int step_send_keyed(struct step_actor *actor, unsigned which, uint64_t key);
/* Receives n on receiver `which` into actor->messages from `first` on, with the ledger's marks. */
int step_receive(struct step_actor *actor, unsigned which, unsigned first, unsigned n);
/* Releases n of them. */
int step_release(struct step_actor *actor, unsigned which, unsigned first, unsigned n);
/* Leaves it. */
int step_close_receiver(struct step_actor *actor, unsigned which);
int step_close_sender(struct step_actor *actor, unsigned which);
/* "The end sleeps", as one that has just raised its flags: who does something for it rings it. */
int step_sleep_receiver(struct step_actor *actor, unsigned which);
int step_sleep_sender(struct step_actor *actor, unsigned which);

/* For `survive`: the peer goes on as if nothing had happened. Its receivers get all that was sent to them, with the
 * ledger's marks; its sender 0 sends one more, where its lane has room. Who had fallen asleep must have been rung, by the
 * dead or for him. */
int step_survive_receiving(struct step_actor *peer);
int step_survive_sending(struct step_actor *peer);

/* Shared by more than one file: the peer opens receiver 0 on "a"; the peer opens sender 0 on "a", with lanes of 8, and
 * sends 3. */
int step_peer_receives(struct step_actor *peer);
int step_peer_sends_three(struct step_actor *peer);
int step_opens_receiver(struct step_actor *stepped);
/* The same behind a spin, and by a client that can only read. */
#define STEP_SPIN_NS INT64_C(20000) /* the default: behind it a wait settles */
int step_opens_spinning(struct step_actor *stepped);
int step_opens_only_reading(struct step_actor *stepped);
/* `run`: receives one message, however long that takes. */
int step_waits_for_one(struct step_actor *stepped);

/* ---- marks of who is stepped: as few instructions as may be */

static inline struct ledger_message *step_entry(const struct step_actor *actor, unsigned which)
{
    return &actor->ledger->messages[actor->messages[which].id];
}

static inline void step_mark(_Atomic uint8_t *mark)
{
    /* relaxed: read after this process's death, or while it is stopped */
    atomic_store_explicit(mark, 1, memory_order_relaxed);
}

static inline void step_sent(const struct step_actor *actor, unsigned first, unsigned n)
{
    for (unsigned i = first; i < first + n; i++)
        step_mark(&step_entry(actor, i)->sent);
}

/* Received; `unmarked` where it is not said to be redelivered. */
static inline void step_seen(const struct step_actor *actor, enum ledger_channel channel, unsigned first, unsigned n)
{
    for (unsigned i = first; i < first + n; i++) {
        struct ledger_message *entry = step_entry(actor, i);
        atomic_fetch_add_explicit(&entry->received[channel], 1, memory_order_relaxed); /* relaxed, both: as step_mark */
        if ((actor->messages[i].flags & NUMAPOOL_REDELIVERED) == 0)
            atomic_fetch_add_explicit(&entry->unmarked[channel], 1, memory_order_relaxed);
    }
}

static inline void step_finishing(const struct step_actor *actor, enum ledger_channel channel, unsigned first, unsigned n)
{
    for (unsigned i = first; i < first + n; i++)
        step_mark(&step_entry(actor, i)->about_to_finish[channel]);
}

static inline void step_finished(const struct step_actor *actor, enum ledger_channel channel, unsigned first, unsigned n)
{
    for (unsigned i = first; i < first + n; i++)
        step_mark(&step_entry(actor, i)->finished[channel]);
}

/* ---- for judges */

/* What lies on a lane of a repaired copy and is not released, by the messages' numbers. */
struct step_lane {
    uint32_t lane, kind, sender, receiver;
    uint64_t first;    /* position of numbers[0]; of a broadcast that of the home */
    bool began;        /* of a broadcast: something was sent since it was made */
    unsigned count;
    uint64_t numbers[STEP_MESSAGES_MAX], keys[STEP_MESSAGES_MAX];
};
/* Reads the lane if it belongs to the channel and is no home. Messages whose word has moved on are left out of plain
 * lanes; of a broadcast each must be SHARED. False: it is no such lane. A breach is noted where a cell is not what its
 * word says. */
bool step_read_lane(struct np_broker *broker, struct ledger *ledger, uint32_t lane, const char *channel,
                    struct step_lane *read);
/* How often the number lies on lanes of the channel. */
unsigned step_on_channel(struct np_broker *broker, struct ledger *ledger, const char *channel, uint64_t number);

#endif
