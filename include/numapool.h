/* SPDX-License-Identifier: MIT
 *
 * numapool.h - fixed-size slots on the right memory node, moved between processes without a copy,
 * and never lost by anybody's death.
 *
 * Returns      0 or a count on success, a negative errno value on failure. The sentence that says what
 *              failed, on what, and what to do about it is numapool_errormsg() of the same thread.
 * Options      Every options struct begins with `size` and is initialised by its _INIT macro, so that it can
 *              grow. A non-zero byte beyond what this library knows is refused with -E2BIG.
 * timeout_ns   0: at once (-EAGAIN); > 0: at most so many nanoseconds (-ETIMEDOUT); NUMAPOOL_FOREVER.
 * Threads      client and pool: any thread. Magazine, sender, receiver: one thread at a time; they may be
 *              handed from thread to thread with the usual synchronisation (a mutex, a join).
 * Signals      Only calls marked [S] may be made from a signal handler.
 * fork         A forked child has no slots, no lanes and no mappings: every call on a handle of the parent fails with
 *              -EINVAL and a sentence, without touching what is the parent's. The child may connect anew.
 * Death        A process may be killed at any instruction of any call here. What it held comes back, what it had sent
 *              is received; the comment of each call says where the line is.
 *
 * Compiles as C99, C11 and C++11; needs no <stdatomic.h>.
 */
#ifndef NUMAPOOL_H
#define NUMAPOOL_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define NUMAPOOL_API __attribute__((visibility("default")))
/* Keeps the rare call out of the caller's loop. Not for the library, which would compile the function itself for size. */
#ifdef NUMAPOOL_BUILDING_LIBRARY
#define NUMAPOOL_COLD
#else
#define NUMAPOOL_COLD __attribute__((cold))
#endif
#define NUMAPOOL_UNLIKELY(condition) __builtin_expect(!!(condition), 0)
#else
#define NUMAPOOL_API
#define NUMAPOOL_COLD
#define NUMAPOOL_UNLIKELY(condition) (condition)
#endif

/* Layout of what the inline calls touch; compared when a magazine is opened. */
#define NUMAPOOL_ABI 1u

#define NUMAPOOL_FOREVER  INT64_MAX
#define NUMAPOOL_ANY_NODE (-1) /* whole pool, or whichever node has room */
#define NUMAPOOL_OWN_NODE (-2) /* the node of the CPU that the calling thread runs on */

#define NUMAPOOL_NAME_BYTES 48u /* longest name of a pool or channel, with its closing zero */

struct numapool_client;
struct numapool_pool;
struct numapool_sender;
struct numapool_receiver;

/* Names a slot of a pool: arena, index, generation. A name, never ownership. A struct, so that no cast mixes it up. */
typedef struct numapool_handle {
    uint64_t bits;
} numapool_handle;

/* ---------------------------------------------------------------- the process */

/* [S] Version of the library that runs, "MAJOR.MINOR.PATCH". Any thread. */
NUMAPOOL_API const char *numapool_version(void);

/* The calling thread's last failure in one sentence: what was tried, on what, and the remedy. "" before the first
 * failure. Valid until this thread's next failing call. */
NUMAPOOL_API const char *numapool_errormsg(void);

/* ---------------------------------------------------------------- client of the daemon */

/* Connects to numapoold and makes this process a client of it.
 *   socket_path  path of the daemon's socket; NULL: $NUMAPOOL_SOCKET, else $XDG_RUNTIME_DIR/numapool.sock,
 *                else /run/numapool/numapool.sock
 * 0; -ENOENT or -ECONNREFUSED: no daemon there; -EACCES: not this daemon's user; -EPROTO: a daemon of another layout;
 * -EUSERS: its client table is full; -ENOMEM, -EMFILE; -ENAMETOOLONG; -ETIMEDOUT, -EAGAIN: it does not answer, or is too busy.
 * Any thread. A process that dies at any instruction of it leaves nothing. */
NUMAPOOL_API int numapool_connect(struct numapool_client **client, const char *socket_path);

/* Ends the session. -EBUSY while a pool is open on it. The process keeps nothing. Any thread. */
NUMAPOOL_API int numapool_disconnect(struct numapool_client *client);

/* The number under which the daemon's statistics list this process, 1..65534. */
NUMAPOOL_API int numapool_client_id(const struct numapool_client *client);

/* ---------------------------------------------------------------- pools */

enum numapool_flags {
    NUMAPOOL_HUGE_2M = 4,         /* payload on 2 MiB pages; without FALLBACK it fails where there are not enough */
    NUMAPOOL_HUGE_THP = 16,       /* payload on transparent huge pages */
    NUMAPOOL_PAGES_FALLBACK = 32, /* where the pages asked for are not to be had, the next smaller kind */
    NUMAPOOL_PREFAULT = 64,       /* numapool_open: page tables now, not at first touch (numapool_create: always so) */
    NUMAPOOL_EXACT_COUNTS = 2048  /* count every get and put (costs as much as the push itself) */
};

struct numapool_options {
    size_t size;             /* sizeof(struct numapool_options) */
    const char *name;        /* 1..47 bytes: letters, digits, '.', '_', '-' */
    uint64_t slot_bytes;     /* usable bytes of a slot, 1..1 GiB; rounded up to whole cache lines (64) */
    uint64_t slots;          /* in all, 1..2^32 - 1 a node */
    uint64_t flags;          /* of numapool_flags; 0 in the page bits: the best there is without asking */
    uint32_t magazine_slots; /* default capacity of a magazine; 0: 256, less in a small pool */
    uint32_t clients;        /* processes to share what may be cached among (half of the pool); 0: 1 embedded, 8 in a daemon */
    const uint64_t *node_slots; /* slots on node 0, 1, ... instead of evenly on all nodes; NULL: even */
    uint32_t nodes;          /* length of node_slots */
    uint32_t reserved;       /* 0 */
};
#define NUMAPOOL_OPTIONS_INIT { sizeof(struct numapool_options), 0, 0, 0, 0, 0, 0, 0, 0, 0 }

/* Makes a pool inside this process alone (embedded: no daemon). Its memory is committed, bound to its nodes and verified
 * before this returns. 0; -EINVAL, -E2BIG: an option, or a node without memory; -ENOMEM: the node or the cgroup has not
 * that much; -ENOSPC: no such pages and no PAGES_FALLBACK; -ENODEV: no node that this process may use has memory; -EPERM,
 * -ENOSYS: binding or looking up is refused here (seccomp); -EMFILE, -ENFILE. Any thread. A process that dies in it leaves
 * nothing. */
NUMAPOOL_API int numapool_create(struct numapool_pool **pool, const struct numapool_options *options);

/* Opens a pool of the daemon. flags: 0 or NUMAPOOL_PREFAULT. 0; -ENOENT: no pool of that name; -EACCES; -ESTALE: the daemon
 * that this session was made with is gone, with its memory; -ENOTCONN, -ETIMEDOUT: it does not answer; -EBADMSG, -EPROTO:
 * it is of another kind; -ENOMEM, -EMFILE. Any thread. Opening a pool again gives the same pool and wants one more
 * numapool_close. */
NUMAPOOL_API int numapool_open(struct numapool_client *client, const char *name, uint64_t flags, struct numapool_pool **pool);

/* Closes it: what is cached goes back. -EBUSY while magazines, senders or receivers are open on it: the sentence counts
 * them. Slots still in use by the caller stay his until the process ends (daemon) or vanish with the pool (embedded). */
NUMAPOOL_API int numapool_close(struct numapool_pool *pool);

enum numapool_mode { NUMAPOOL_EMBEDDED = 1, NUMAPOOL_DIRECT = 2 };
/* One of enum numapool_mode; -EINVAL: not an open pool. Any thread. */
NUMAPOOL_API int numapool_pool_mode(const struct numapool_pool *pool);

/* Usable bytes of each slot; slots are 64-byte aligned. 0: not an open pool. Any thread. */
NUMAPOOL_API uint64_t numapool_slot_bytes(const struct numapool_pool *pool);

/* NUMA node that the slot belongs to for life; -EINVAL: not a slot of this pool. */
NUMAPOOL_API int numapool_slot_node(const struct numapool_pool *pool, const void *slot);

/* A name for the slot that goes stale when the slot is freed (16-bit generation: after 65,536 frees it repeats). */
NUMAPOOL_API int numapool_handle_of(const struct numapool_pool *pool, const void *slot, numapool_handle *handle);

/* The slot that a handle names. -ESTALE: freed since; -EINVAL: never a handle of this pool. To look, not to own. */
NUMAPOOL_API int numapool_resolve(const struct numapool_pool *pool, numapool_handle handle, void **slot);

/* ---------------------------------------------------------------- magazines: get and put */

/* A private stack of slots for one thread at a time. The members are what the inline calls touch (NUMAPOOL_ABI): do
 * not change them. */
struct numapool_magazine {
    void **top;     /* one past the slot that the next get takes */
    void **bottom;  /* top there: empty, or closed */
    void **limit;   /* top there: full, closed, or a pool that counts exactly or is too small to cache */
    uintptr_t base; /* its node's payload */
    size_t span;    /* bytes of that */
};

/* Opens a magazine for a node (0.., NUMAPOOL_OWN_NODE, NUMAPOOL_ANY_NODE: the first that has slots).
 *   capacity  slots it may hold; 0: the pool's default. Less is given where the pool is small.
 * 0; -EINVAL: no such node in the pool; -ENOMEM; -EPROTO: compiled against another NUMAPOOL_ABI. */
NUMAPOOL_API int numapool_magazine_open_abi(struct numapool_pool *pool, int node, unsigned capacity,
                                            struct numapool_magazine **magazine, unsigned abi);
#define numapool_magazine_open(pool, node, capacity, magazine) \
    numapool_magazine_open_abi(pool, node, capacity, magazine, NUMAPOOL_ABI)

/* Gives its slots back and frees it. -EBUSY while a sender uses it. */
NUMAPOOL_API int numapool_magazine_close(struct numapool_magazine *magazine);

NUMAPOOL_API NUMAPOOL_COLD void *numapool_get_slow(struct numapool_magazine *magazine);
NUMAPOOL_API NUMAPOOL_COLD int numapool_put_slow(struct numapool_magazine *magazine, void *slot);

/* A slot, or NULL: the pool is empty (numapool_errormsg). Never blocks. Warm: a pop. Contents are whatever was there. */
static inline void *numapool_get(struct numapool_magazine *magazine)
{
    void **top = magazine->top;
    if (NUMAPOOL_UNLIKELY(top == magazine->bottom))
        return numapool_get_slow(magazine);
    magazine->top = top - 1;
    return top[-1];
}

/* Gives a slot back, to the node that it belongs to. Warm: a push, which looks at nothing but whether the address lies in
 * the pool; giving back twice, or an address inside a slot, goes unseen until later. 0; -EINVAL: no address of this pool,
 * or a forked child. */
static inline int numapool_put(struct numapool_magazine *magazine, void *slot)
{
    void **top = magazine->top;
    if (NUMAPOOL_UNLIKELY((top >= magazine->limit) | ((uintptr_t)slot - magazine->base >= magazine->span)))
        return numapool_put_slow(magazine, slot);
    *top = slot;
    magazine->top = top + 1;
    return 0;
}

/* The same as functions of the library, for languages that cannot inline. */
NUMAPOOL_API void *numapool_get_call(struct numapool_magazine *magazine);
NUMAPOOL_API int numapool_put_call(struct numapool_magazine *magazine, void *slot);

/* Like numapool_get, but waits while the pool is empty. 0; -EAGAIN, -ETIMEDOUT; -EINVAL. */
NUMAPOOL_API int numapool_get_wait(struct numapool_magazine *magazine, void **slot, int64_t timeout_ns);

/* All n slots (1..2^20), or none: -EAGAIN (slots[] may have been written to). */
NUMAPOOL_API int numapool_get_bulk(struct numapool_magazine *magazine, void **slots, unsigned n);

/* All n back. -EINVAL: one is not a slot of this pool; the others have been put. */
NUMAPOOL_API int numapool_put_bulk(struct numapool_magazine *magazine, void *const *slots, unsigned n);

/* Gives all that this magazine and this process cache back to the pool now, for a thread that will be idle. */
NUMAPOOL_API int numapool_flush(struct numapool_magazine *magazine);

/* ---------------------------------------------------------------- channels */

/* A message is described beside its payload; one struct for all directions. */
struct numapool_msg {
    void *data;        /* the slot */
    uint32_t length;   /* bytes of payload in it, at most slot_bytes */
    uint16_t type;     /* the application's */
    uint16_t flags;    /* receive: of numapool_msg_flags; send: 0 */
    uint64_t id;       /* the application's */
    uint64_t key;      /* the application's */
    uint64_t lane_seq; /* receive: its number on its lane */
    uint32_t lane;     /* receive: which lane of this receiver */
    uint32_t reserved; /* 0 */
};

#define NUMAPOOL_MSG_INIT { 0, 0, 0, 0, 0, 0, 0, 0, 0 }

enum numapool_msg_flags {
    NUMAPOOL_REDELIVERED = 2 /* a receiver that died or left may have seen it before */
};

struct numapool_channel_options {
    size_t size;            /* sizeof(struct numapool_channel_options) */
    uint32_t lane_slots;    /* messages a lane holds, rounded up to a power of two, 2..2^20; 0: 1024, less in a small pool */
    uint32_t reserved;      /* 0 */
    int64_t spin_ns;        /* spin so long before sleeping; 0: 20,000; negative: never spin */
    struct numapool_magazine *magazine; /* sender: take loans from it and give slots back into it (same thread); NULL: own */
};
#define NUMAPOOL_CHANNEL_OPTIONS_INIT { sizeof(struct numapool_channel_options), 0, 0, 0, 0 }

/* Joins a channel of the pool as a sender. The channel is made by whoever comes first. Messages go to the receivers in
 * turn; with no receiver they wait on the lane for the next. options may be NULL. 0; -EINVAL, -E2BIG; -ENOSPC: a table of
 * the daemon is full; -ESTALE: the daemon is another; -ENOTCONN, -ETIMEDOUT, -EAGAIN: it does not answer; -EBADMSG,
 * -EPROTO; -ENOMEM. */
NUMAPOOL_API int numapool_sender_open(struct numapool_pool *pool, const char *channel,
                                      const struct numapool_channel_options *options, struct numapool_sender **sender);

/* Leaves. Waits drain_ns (timeout_ns rules; 0: not at all) for messages to be released; what is not released by then stays
 * on its lane and is received all the same. 0, or how many those are; -EINVAL: drain_ns is negative, and the sender stays
 * open; another -errno: the daemon refused, and the sender is gone all the same. */
NUMAPOOL_API int numapool_sender_close(struct numapool_sender *sender, int64_t drain_ns);

/* A slot to fill and send, as by numapool_get of the sender's magazine; NULL: the pool is empty, and receivers have
 * released nothing. (What they have released is taken back every 32 sends, and when there is nothing else.) */
NUMAPOOL_API void *numapool_loan(struct numapool_sender *sender);

/* Up to n slots (1..2^20) to fill and send together; how many, or -EAGAIN: none. */
NUMAPOOL_API int numapool_loan_bulk(struct numapool_sender *sender, void **slots, unsigned n);

/* One, waiting while the pool is empty. 0; -EAGAIN, -ETIMEDOUT. Any slot that this process holds may be sent, wherever it
 * came from. */
NUMAPOOL_API int numapool_loan_wait(struct numapool_sender *sender, void **slot, int64_t timeout_ns);

/* Gives a loaned slot back unsent. */
NUMAPOOL_API int numapool_unloan(struct numapool_sender *sender, void *slot);

/* Sends message->data (a slot that this process holds), length, type, id, key. On 0 the slot is no longer the caller's; on
 * any error it still is. -EAGAIN, -ETIMEDOUT: every lane is full; -EINVAL: not a slot held by this process, or length.
 * Death: the message is sent at one store. Killed before it the slot comes back to the pool, after it the message is
 * received, whether this call returned or not. */
NUMAPOOL_API int numapool_send(struct numapool_sender *sender, const struct numapool_msg *message, int64_t timeout_ns);

/* Sends n (1..2^20) in order; the first k were sent, and k is returned (k < n: no room in time; k > 0). */
NUMAPOOL_API int numapool_send_bulk(struct numapool_sender *sender, const struct numapool_msg *messages, unsigned n,
                                    int64_t timeout_ns);

/* Joins as a receiver; errors as of numapool_sender_open. Lanes whose receiver left or died come to it with all that was
 * not released, marked REDELIVERED. */
NUMAPOOL_API int numapool_receiver_open(struct numapool_pool *pool, const char *channel,
                                        const struct numapool_channel_options *options, struct numapool_receiver **receiver);

/* Leaves. What is not released goes to the next receiver, REDELIVERED. 0; -EINVAL; the receiver is gone in any case. */
NUMAPOOL_API int numapool_receiver_close(struct numapool_receiver *receiver);

/* Up to n (1..2^20) messages that are there, in the order of each lane. A count; -EAGAIN, -ETIMEDOUT: none came; -EBADMSG:
 * another process scribbled over a cell (that one is passed over, the next call goes on). Payload stays valid until
 * release. */
NUMAPOOL_API int numapool_receive(struct numapool_receiver *receiver, struct numapool_msg *messages, unsigned n,
                                  int64_t timeout_ns);

/* Done with them: their slots go home to their sender. Any order; what is released before its elders waits for them.
 * 0; -EINVAL: not an unreleased message of this receiver (those before it have been released). */
NUMAPOOL_API int numapool_release(struct numapool_receiver *receiver, const struct numapool_msg *messages, unsigned n);

/* Keeps the slot: it is the caller's as if from get, and leaves the channel (no release). 0; -EINVAL. Death: at one
 * store. */
NUMAPOOL_API int numapool_keep(struct numapool_receiver *receiver, const struct numapool_msg *message);

/* Sends a received message on, without a copy and exactly once, whoever dies: one store takes it out of the one lane and
 * puts it into the other. length, type, id and key go as they are in *message. On 0 the message is gone from here and wants
 * no release; on an error it is still received and unreleased here. Both ends must be of the same pool. -EAGAIN,
 * -ETIMEDOUT: every lane of sender is full; -EINVAL. */
NUMAPOOL_API int numapool_forward(struct numapool_receiver *receiver, const struct numapool_msg *message,
                                  struct numapool_sender *sender, int64_t timeout_ns);

/* The same for n (1..) in order; the first k went, and k is returned (k > 0). The others are still received and
 * unreleased. */
NUMAPOOL_API int numapool_forward_bulk(struct numapool_receiver *receiver, const struct numapool_msg *messages, unsigned n,
                                       struct numapool_sender *sender, int64_t timeout_ns);

/* ---------------------------------------------------------------- statistics */

struct numapool_stats {
    size_t size;         /* sizeof(struct numapool_stats), set by the caller */
    uint64_t slots;      /* in all */
    uint64_t free_slots; /* nobody's */
    uint64_t held;       /* some client's, in use or cached */
    uint64_t in_flight;  /* sent, not yet taken back by their sender */
    uint64_t low_water;  /* fewest free there ever were (counted at refill and flush) */
    uint64_t high_water; /* most not free */
    uint64_t taken;      /* slots moved out of the arena by refills, so far */
    uint64_t given;      /* slots moved back */
    uint64_t gets;       /* of this process, with EXACT_COUNTS, else 0 */
    uint64_t puts;       /* likewise */
    uint64_t refills, flushes, home_returns, failures; /* of this process */
    uint64_t page_bytes; /* of payload */
    uint64_t bytes_on_node;   /* payload where it belongs, when last verified */
    uint64_t bytes_elsewhere; /* payload that is not */
};

/* Reads the statistics of a node, or of the whole pool with NUMAPOOL_ANY_NODE. Disturbs nobody; not a snapshot of one
 * instant. -EINVAL: no such node, or size. Any thread. */
NUMAPOOL_API int numapool_stats_read(struct numapool_pool *pool, int node, struct numapool_stats *stats);

/* Asks the kernel where every page of the pool's payload and words is; *misplaced_pages are not on their node. 0; -errno of
 * move_pages. */
NUMAPOOL_API int numapool_verify(struct numapool_pool *pool, uint64_t *misplaced_pages);

#ifdef __cplusplus
}
#endif
#endif
