/* SPDX-License-Identifier: MIT
 *
 * A simulator of processes that share memory, run by a seed.
 *
 * The real code of core, channel and broker runs in coroutines, one for each simulated process. Each has its own private memory;
 * shared are the buffers of `struct world` alone. Every access to them comes to the hook of core/shm.h first, where the
 * scheduler may go on with another process or end this one for ever. So a run is a function of scenario, seed and
 * kills, and can be repeated with a trace.
 *
 *   scheduler.c  coroutines, choices, time, deaths, the library's clock and system calls
 *   world.c      shared memory, the keeper, the daemon's coroutine, the questions that clients ask it
 *   oracle.c     what must hold: owners, messages
 *   rest.c       what must hold when nobody can run: sleepers, hints, the end
 *   foreign.c    processes without the table of bells
 *   actor.c      the public calls, each with what the oracle learns from it
 *   kinds.c      the same and the oracle's part for small messages and broadcast
 *   scenarios.c  what the processes do
 *   keys.c       messages with a key, and their order
 *   names.c      names of shared addresses, for traces
 *   simulate.c   batches, mutants, the command line
 */
#ifndef MODEL_H
#define MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <ucontext.h>

#include "broker/broker.h"
#include "channel/broadcast.h"
#include "channel/receiver.h"
#include "channel/sender.h"
#include "core/pool.h"
#include "numapool.h"

#define PROCESSES_MAX 24
#define SLOTS_MAX 192
#define MESSAGES_MAX 256
#define KILLS_MAX 4
#define LANES_MAX 24
#define LANE_GENERATIONS_MAX 96
#define CHANNELS_MAX 2
#define HOPS_MAX 2
#define HOLD_MAX 16
#define STACK_BYTES ((size_t)96 << 10)
#define STEPS_MAX 100000u
#define SLOT_BYTES 64u
#define FOREIGN_BELLS 2u
#define LANE_ROOM np_lane_bytes(128, NP_LANE_SMALL) /* the largest there are */

/* ---- what is to be run */

struct process;

struct role {
    const char *name;
    void (*body)(struct process *self);
    unsigned count;
    unsigned respawns; /* how often a killed one is followed by another */
    bool foreign;      /* it opened the pool read-only, and only receives (foreign.c) */
};

struct scenario {
    const char *name;
    unsigned slots;
    const unsigned *free_slots; /* at the start; the others are held by somebody who never lets go. NULL: all */
    unsigned free_count;
    unsigned sharers;
    unsigned lane_slots;
    unsigned channels;
    bool keyed; /* all messages have one key (keys.c) */
    uint32_t flags; /* of enum numapool_channel_flags, of every channel */
    struct role roles[5];
    bool one_receiver; /* on the last channel, for ever: it sees what came by one first lane in order, over forwarders' deaths */
};

extern const struct scenario scenarios[];
extern const unsigned scenario_count;

struct kill {
    unsigned process; /* 0: the daemon */
    unsigned write;   /* at its so many-th write, counted over successors of the daemon; 0: none */
};

struct run {
    const struct scenario *scenario;
    uint64_t seed;
    struct kill kills[KILLS_MAX];
    unsigned kill_count;
    bool trace;
    bool buffered; /* stores reach the others late, as x86 does it */
};

/* ---- processes */

enum process_state {
    PROCESS_NONE,
    PROCESS_RUNNABLE,
    PROCESS_SLEEPING, /* on bells */
    PROCESS_ASKING,   /* the daemon */
    PROCESS_NAPPING,  /* until a time */
    PROCESS_IDLE,     /* the daemon, without work */
    PROCESS_DONE,     /* ended by itself */
    PROCESS_DEAD
};

enum question_kind { ASK_CONNECT, ASK_OPEN, ASK_CLOSE, ASK_NEXT_LANE, ASK_LEAVE_LANE };

struct question {
    enum question_kind kind;
    bool pending;
    struct np_endpoint_request open;
    struct np_endpoint_grant opened;
    struct np_lane_grant lane;
    uint32_t endpoint, lane_id, generation;
    uint64_t stamp;
    int result;
};

struct held_message {
    struct numapool_msg message;
    int ledger;
};

struct buffered_store {
    void *address;
    uint64_t value, beneath;
    unsigned bytes;
};

#define STORE_BUFFER_MAX 12

struct process {
    unsigned index;
    unsigned role, instance, respawns_left;
    char name[24];
    enum process_state state;
    ucontext_t context;
    void *stack;
    uint64_t accesses, writes;
    unsigned kill_at; /* write; 0: never */
    unsigned priority;
    bool wrote_last;

    const struct np_sleep *sleep; /* SLEEPING: until one of these words has changed */
    int64_t deadline_ns;
    struct question question;

    unsigned client; /* number; 0: not connected */
    bool reaped;     /* its death has been dealt with */
    uint64_t death_due_step;

    struct numapool_pool *pool;
    struct numapool_magazine *magazine;
    struct numapool_sender *sender;
    struct numapool_receiver *receiver;

    /* the oracle's */
    bool in_call;
    uint64_t call_begin, call_end;
    unsigned order_next; /* of the next message that it sends or forwards */
    struct held_message held[HOLD_MAX];
    unsigned held_count;
    const volatile void *cas_address; /* a CAS whose outcome is not known before the next access */
    uint64_t cas_before, cas_wanted;
    struct {
        uint32_t lane, generation;
        unsigned order, from;
        bool any;
    } seen[LANES_MAX];
    struct {
        const void *lane;
        unsigned order;
    } source[LANES_MAX]; /* of each first lane, the last message that came over a forwarder */
    bool leaving;
    uint64_t joined; /* when its receiver had joined */
    unsigned last_order[PROCESSES_MAX]; /* of what each sender has broadcast, the last that it received */

    struct buffered_store stores[STORE_BUFFER_MAX];
    unsigned store_count;
};

/* ---- the oracle's books */

struct slot_book {
    int user;    /* process that has it from get or keep; -1 */
    int reader;  /* process that has received it; -1 */
    int message; /* ledger entry that is in flight in it; -1 */
    int intended; /* ledger entry that is being sent in it; -1 */
    int keeper;  /* process that is keeping it; -1 */
    uint64_t stamp; /* what its user wrote into it */
    uint64_t free_since;
    int freer;   /* process; -1: free from the start */
    numapool_handle handle;
    bool has_handle, freed_since;
};

struct message_book {
    unsigned sender; /* process */
    unsigned order[HOPS_MAX], from[HOPS_MAX];
    unsigned slot;
    const void *first_lane;
    unsigned hop;       /* channel on which it is */
    bool sent[HOPS_MAX];
    bool returned[HOPS_MAX];
    unsigned seen[HOPS_MAX];
    bool release_begun;
    bool finished[HOPS_MAX];
    bool kept;
    uint64_t id;
};

/* A small message or a broadcast (kinds.c). */
struct kind_message {
    unsigned sender; /* process */
    unsigned order;  /* of that sender */
    unsigned slot;
    uint64_t id, begun; /* begun: when its sending began */
    uint32_t seen, released; /* by processes, as bits */
    bool sent, returned, finished;
};

/* ---- the world */

struct world {
    struct run run;
    uint64_t random;
    uint64_t step;
    int64_t now_ns;
    bool running, failed, draining;
    char failure[400];

    struct process processes[PROCESSES_MAX]; /* 0: the daemon */
    unsigned process_count;
    struct process *current;
    ucontext_t scheduler;
    unsigned daemon_starts;
    uint64_t daemon_writes; /* of all daemons so far */
    bool killed_any;

    /* strategy */
    bool by_priority;
    unsigned switch_one_in;
    struct {
        unsigned process;
        uint64_t access;
    } changes[4];
    unsigned change_count;
    unsigned lowest;
    unsigned death_delay;
    unsigned bounded_waits;

    /* shared memory */
    struct np_board_limits limits;
    void *board_memory;
    size_t board_bytes;
    struct np_board board;
    struct np_bell *bells;
    uint32_t bell_count;
    void *meta;
    size_t meta_bytes;
    char *data;
    char *lanes; /* LANE_GENERATIONS_MAX pieces, never used again in a run: a client may have an old one mapped */
    unsigned lanes_used;
    struct np_arena look; /* the oracle's view of the arena */

    /* what the keeper remembers over a daemon's death */
    struct np_lane_shared *kept_lanes[LANES_MAX];
    int kept_clients[PROCESSES_MAX + 4]; /* by number: process, or -1 */

    struct np_broker *broker; /* the present daemon's */
    uint32_t daemon_seen;

    struct slot_book slots[SLOTS_MAX];
    struct message_book messages[MESSAGES_MAX];
    unsigned message_count;
    struct kind_message kind_messages[MESSAGES_MAX];
    unsigned kind_message_count;
};

extern struct world world;
extern bool model_membarrier_reaches; /* false: it reaches nobody, for a mutant */

/* scheduler.c */
uint64_t model_random(uint64_t below);
/* Runs it; false: world.failure says what was wrong. steps: about how many accesses it will have (where priorities
 * may change). */
bool model_run(const struct run *run, uint64_t steps);
struct process *model_spawn(unsigned role, unsigned instance, unsigned respawns, const char *name);
__attribute__((format(printf, 1, 2), noreturn)) void model_fail(const char *format, ...);
void model_block(struct process *self, enum process_state state);
bool model_is_alive(const struct process *process);

/* world.c */
void world_make(const struct scenario *scenario);
void world_unmake(void);
size_t world_bells(void);
void daemon_body(struct process *self);
bool daemon_has_work(void);
void daemon_died(void);
int client_connect(struct process *self);
void client_disconnect(struct process *self);

/* foreign.c */
bool foreign_is(const struct process *p);
struct np_bell *foreign_page(unsigned client);
void foreign_admit(uint32_t number, bool foreign);
void foreign_take_over(void);
void foreign_set_up(struct process *self, const struct np_authority *authority);
bool foreign_duty_is_due(void);
void guest_who_stays(struct process *self);

/* oracle.c */
void oracle_start(void);
void oracle_access(struct process *self, enum np_shm_kind kind, const volatile void *address, uint64_t value);
void oracle_settle(struct process *self);
void oracle_got(struct process *self, void *slot);
void oracle_said_empty(struct process *self);
void oracle_before_put(struct process *self, void *slot);
int oracle_before_send(struct process *self, void *slot, unsigned hop, int ledger);
void oracle_before_keep(struct process *self, void *slot);
void oracle_after_keep(struct process *self, int ledger);
void oracle_after_send(struct process *self, int ledger, unsigned hop, bool sent);
int oracle_received(struct process *self, const struct numapool_msg *message, unsigned hop);
void oracle_before_release(struct process *self, int ledger);
void oracle_after_release(struct process *self, const struct numapool_msg *message, int ledger);
void oracle_client_gone(struct process *process);
unsigned oracle_slot_of(const void *slot);

/* rest.c; while nobody runs */
bool sleeps_for_slot(const struct process *p);
void oracle_quiescent(void);
void oracle_end(void);

/* actor.c */
void actor_begin(struct process *self);
void actor_end(struct process *self);
void actor_connect(struct process *self);
void actor_join(struct process *self, const char *channel, bool sends);
void *actor_get(struct process *self, bool waits);
void actor_put(struct process *self, void *slot);
unsigned actor_get_bulk(struct process *self, void **slots, unsigned n);
void actor_put_bulk(struct process *self, void **slots, unsigned n);
unsigned actor_send(struct process *self, void **slots, unsigned n, int64_t timeout_ns);
int actor_receive(struct process *self, unsigned hop, unsigned n, int64_t timeout_ns);
void actor_release(struct process *self, unsigned which);      /* of held messages */
void actor_release_all(struct process *self);
void *actor_keep(struct process *self, unsigned which);
unsigned actor_forward(struct process *self, unsigned n, int64_t timeout_ns); /* the first n held */
void actor_leave_receiver(struct process *self);
void actor_leave_sender(struct process *self, int64_t drain_ns);
void drain_body(struct process *self);

/* kinds.c: small messages and broadcast, by the scenario's flags */
unsigned kinds_send(struct process *self, unsigned n, int64_t timeout_ns); /* at most 4 */
int kinds_receive(struct process *self, unsigned n, int64_t timeout_ns);
void kinds_release(struct process *self, unsigned which);
void kinds_became_shared(struct process *self, unsigned slot);
void kinds_left_shared(struct process *self, unsigned slot);
void kinds_check_shared_word(unsigned slot, uint64_t word);
void kinds_check_receiver(const struct process *p);
void kinds_check_sender(const struct process *p);
void kinds_check_end(void);

/* keys.c */
uint64_t keys_key_of(unsigned slot);
uint16_t keys_flags(void);
void keys_received(struct process *self, int ledger);

/* names.c */
const char *name_of_address(const volatile void *address);
const char *name_of_kind(enum np_shm_kind kind);
/* Memory that only the daemon writes and reads: nobody else can tell when. */
bool is_board(const volatile void *address);
bool is_shared(const volatile void *address);

#endif
