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
/* Keeps the rare call out of the caller's loop. Not for the library, which would compile the function itself for
 * size. */
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
struct numapool_waitset;
struct numapool_requester;
struct numapool_responder;
struct iovec;

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

enum numapool_log_level {
    NUMAPOOL_LOG_ERROR = 0, /* something is lost or cannot go on */
    NUMAPOOL_LOG_WARN,      /* it goes on, but somebody should look */
    NUMAPOOL_LOG_INFO,      /* what happens seldom: connected again, a pool has grown */
    NUMAPOOL_LOG_DEBUG
};

/* Who is told what the library has to say; by default nobody, and nothing is ever printed.
 *   most   the least grave level that is still told, of enum numapool_log_level
 *   write  gets one line without its end; NULL: nobody. Any thread calls it, also several at once; it may call nothing of
 *          this library but numapool_version. Warm paths log nothing.
 * Any thread; lines under way may still come to the one before. A forked child keeps it. 0; -EINVAL: level. */
NUMAPOOL_API int numapool_log_set(int most, void (*write)(void *arg, int level, const char *line), void *arg);

/* A ready one: "numapool: warning: ..." to stderr, each line by one write. arg is not looked at. */
NUMAPOOL_API void numapool_log_stderr(void *arg, int level, const char *line);

/* In a forked child: closes the descriptors that were the parent's sessions', so that the daemon sees the end of
 * those when the parent ends them. Everything else of the parent's is unusable here anyway. How many were closed; 0:
 * none, or not a forked child. Not async-signal-safe. */
NUMAPOOL_API int numapool_child(void);

/* ---------------------------------------------------------------- client of the daemon */

/* Connects to numapoold and makes this process a client of it.
 *   socket_path  path of the daemon's socket; NULL: $NUMAPOOL_SOCKET, else $XDG_RUNTIME_DIR/numapool.sock,
 *                else /run/numapool/numapool.sock
 * 0; -ENOENT or -ECONNREFUSED: no daemon there; -EACCES: no access list of the daemon names this user; -EPROTO: a
 * daemon of another layout; -EUSERS: its client table is full; -ENOMEM, -EMFILE; -ENAMETOOLONG; -ETIMEDOUT, -EAGAIN:
 * it does not answer, or is too busy. Any thread. A process that dies at any instruction of it leaves nothing. */
NUMAPOOL_API int numapool_connect(struct numapool_client **client, const char *socket_path);

/* Ends the session. -EBUSY while a pool is open on it. The process keeps nothing. Any thread. */
NUMAPOOL_API int numapool_disconnect(struct numapool_client *client);

/* The number under which the daemon's statistics list this process, 1..65534. */
NUMAPOOL_API int numapool_client_id(const struct numapool_client *client);

/* ---------------------------------------------------------------- pools */

enum numapool_flags {
    NUMAPOOL_CHECKS = 1,          /* find misuse: double put, foreign pointer, write after put (numapool_checks(7)); slower */
    NUMAPOOL_MALLOC = 2,          /* embedded: each slot is a block of malloc, for heap checkers; slower */
    NUMAPOOL_HUGE_2M = 4,         /* payload on 2 MiB pages; without FALLBACK it fails where there are not enough */
    NUMAPOOL_HUGE_1G = 8,         /* payload on 1 GiB pages; likewise */
    NUMAPOOL_HUGE_THP = 16,       /* payload on transparent huge pages */
    NUMAPOOL_PAGES_FALLBACK = 32, /* where the pages asked for are not to be had, the next smaller kind */
    NUMAPOOL_PREFAULT = 64,       /* numapool_open: page tables now, not at first touch (numapool_create: always so) */
    NUMAPOOL_READONLY = 256,      /* numapool_open: payload read-only and receiving only; needs no more than that right */
    NUMAPOOL_EXACT_COUNTS = 2048, /* count every get and put (costs as much as the push itself) */
    NUMAPOOL_CHECK_SITES = 4096,  /* with CHECKS: remember where each slot was taken and put */
    NUMAPOOL_STRICT = 8192        /* nothing comes from another node: no memory when the pool is made, no slot when a node has none left */
};

/* Where a pool's slots are. Nodes without memory, and those that this process may not use (cpusets), have none in any case;
 * memory-only nodes (no CPU of theirs is online) only those that are asked for by EXPLICIT or spill_slots, unless there
 * are no other nodes. */
enum numapool_policy {
    NUMAPOOL_EVEN = 0,   /* the same number on each node; with node_slots: EXPLICIT */
    NUMAPOOL_BY_MEMORY,  /* on each node in proportion to its memory */
    NUMAPOOL_EXPLICIT,   /* as node_slots say */
    NUMAPOOL_LOCAL,      /* all on the node of who makes it: the calling thread, or the daemon for pools of its configuration. Without
                            STRICT what does not fit there goes to the nearest node that has room, by distance */
    NUMAPOOL_NEAR_DEVICE /* all on the node of `device`; likewise */
};

struct numapool_options {
    size_t size;             /* sizeof(struct numapool_options) */
    const char *name;        /* 1..47 bytes: letters, digits, '.', '_', '-' */
    uint64_t slot_bytes;     /* usable bytes of a slot, 1..1 GiB; rounded up to whole lines (64) but with CHECKS or MALLOC */
    uint64_t slots;          /* in all, 1..2^32 - 1 a node */
    uint64_t flags;          /* of numapool_flags; 0 in the page bits: the best there is without asking */
    uint32_t magazine_slots; /* default capacity of a magazine; 0: 1,024, less where little may be cached */
    uint32_t sharers;        /* processes to share what may be cached among (half of the pool); 0: 1 embedded, 8 in a daemon */
    const uint64_t *node_slots; /* slots on node 0, 1, ... instead of evenly on all nodes; NULL: even */
    uint32_t nodes;          /* length of node_slots */
    uint32_t policy;         /* of enum numapool_policy */
    uint64_t low_watermark;  /* free slots of a node below which it runs low (events, smaller caches); 0: 1/16 of them */
    const char *access;      /* numapool_admin_create: who may open it, "direct=ID[:ID...];readonly=...;admin=..." where ID is a
                                user's name or number, or a group's after '@'; NULL: the daemon's user alone */
    const char *device;      /* NEAR_DEVICE: network interface, nvme or block device, or PCI address ("eth0", "nvme0n1", "0000:3b:00.0") */
    uint64_t spill_slots;    /* besides, evenly on the memory-only nodes: taken while a node runs low (low_watermark), until it has
                                recovered; not with STRICT */
};
#define NUMAPOOL_OPTIONS_INIT { sizeof(struct numapool_options), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 }

/* Makes a pool inside this process alone (embedded: no daemon). Its memory is committed, bound to its nodes and
 * verified before this returns. 0; -EINVAL, -E2BIG: an option, or a node without memory; -ENOMEM: the node or the
 * cgroup has not that much; -ENOSPC: no such pages and no PAGES_FALLBACK; -ENODEV: no node that this process may use
 * has memory; -EPERM, -ENOSYS: binding or looking up is refused here (seccomp); -EMFILE, -ENFILE. Any thread. A
 * process that dies in it leaves nothing. */
NUMAPOOL_API int numapool_create(struct numapool_pool **pool, const struct numapool_options *options);

/* Adds slots to an embedded pool, on a node where it has some already or not (NUMAPOOL_ANY_NODE: by its policy). Slots
 * that are in use stay where they are; magazines that are open find the new ones when theirs run out. 0; -EINVAL:
 * node, count; -ENOMEM, -ENOSPC, ... as numapool_create; -EOPNOTSUPP: a pool of the daemon (numapool_admin_grow). Any
 * thread. */
NUMAPOOL_API int numapool_grow(struct numapool_pool *pool, int node, uint64_t slots);

/* Opens a pool of the daemon. flags: 0, or NUMAPOOL_PREFAULT, NUMAPOOL_READONLY. 0; -ENOENT: no pool of that name;
 * -EACCES: the access list of the pool does not give this user that right; -ESTALE: the daemon that this session was
 * made with is gone, with its memory; -ENOTCONN, -ETIMEDOUT: it does not answer; -EBADMSG, -EPROTO: it is of another
 * kind; -ENOMEM, -EMFILE; -ESHUTDOWN: it is going to be destroyed. Any thread. Opening a pool again gives the same
 * pool and wants one more numapool_close. READONLY: payload is mapped read-only, and besides it only the lanes of
 * this process's receivers: receiver_open, receive, release and wait-sets work, everything else is -EROFS
 * (numapool_access(7)). -EBUSY: it is open here the other way. */
NUMAPOOL_API int numapool_open(struct numapool_client *client, const char *name, uint64_t flags, struct numapool_pool **pool);

/* Makes, enlarges, destroys a pool of the daemon, for those whom its configuration lists as admin (of the daemon; for
 * the latter two, of the pool will do). -EACCES: not listed; -EEXIST, -ENOENT; -EAGAIN: another one is being made,
 * ask again; -ENOMEM, -ENOSPC, -EINVAL, -E2BIG as numapool_create; -EMFILE; -ESTALE: the daemon is another by now;
 * grow: -ESHUTDOWN: it is going to be destroyed, -EBADMSG: its slot words were scribbled over or lost; -ENOTCONN,
 * -ETIMEDOUT: no answer, and whether it was done is not known: look before you call again (numapoolctl pools), for
 * only within one call nothing is done twice, whatever happens to the daemon's worker. These wait until the memory is
 * there and verified. Any thread. A process that dies in them: it is done or it is not, and nothing is left over. */
NUMAPOOL_API int numapool_admin_create(struct numapool_client *client, const struct numapool_options *options);
NUMAPOOL_API int numapool_admin_grow(struct numapool_client *client, const char *pool, int node, uint64_t slots);
enum numapool_destroy {
    NUMAPOOL_DESTROY_WHEN_UNUSED = 1, /* refuse new opens now, destroy when the last process has closed it */
    NUMAPOOL_DESTROY_DISCARD = 2      /* also when messages wait in it; they are lost, and the log says how many */
};
/* flags of enum numapool_destroy. -EBUSY: it is open in some process (without WHEN_UNUSED), or messages wait in it
 * (without DISCARD); the sentence says how many. */
NUMAPOOL_API int numapool_admin_destroy(struct numapool_client *client, const char *pool, unsigned flags);

enum numapool_event_kind {
    NUMAPOOL_EVENT_LOW = 1,   /* a node has fewer free slots than the low watermark; value: how many there were */
    NUMAPOOL_EVENT_RECOVERED, /* it has more again (by an eighth); value: how many */
    NUMAPOOL_EVENT_GROWN,     /* the pool has more slots; value: in all */
    NUMAPOOL_EVENT_ENDING     /* the pool is going to be destroyed once nobody has it open */
};
struct numapool_event {
    size_t size;   /* sizeof(struct numapool_event), set by the caller */
    uint32_t kind; /* enum numapool_event_kind */
    int32_t node;  /* NUMAPOOL_ANY_NODE: of the whole pool */
    uint64_t value;
};
/* What has happened to the pool and this process has not been told yet. Crossings that were undone before anybody
 * looked are told as how they ended. 0; -EAGAIN, -ETIMEDOUT: nothing; -EINVAL; -EROFS: a pool that was opened
 * READONLY. Any thread; each event goes to one. */
NUMAPOOL_API int numapool_next_event(struct numapool_pool *pool, struct numapool_event *event, int64_t timeout_ns);

/* Closes it: what is cached goes back. -EBUSY while magazines, senders or receivers are open on it (the sentence
 * counts them), or it is in a wait-set. Slots still in use by the caller stay his until the process ends (daemon) or
 * vanish with the pool (embedded). */
NUMAPOOL_API int numapool_close(struct numapool_pool *pool);

enum numapool_mode { NUMAPOOL_MODE_EMBEDDED = 1, NUMAPOOL_MODE_DIRECT = 2, NUMAPOOL_MODE_READONLY = 3 };
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

/* Misuse that a pool with NUMAPOOL_CHECKS has found. */
enum numapool_fault_kind {
    NUMAPOOL_FAULT_DOUBLE_PUT = 1,   /* put, sent or released already */
    NUMAPOOL_FAULT_FOREIGN_POINTER,  /* no address of this pool */
    NUMAPOOL_FAULT_MISALIGNED,       /* inside a slot */
    NUMAPOOL_FAULT_NOT_HELD,         /* another process's, or a message's */
    NUMAPOOL_FAULT_STALE_HANDLE,     /* its slot was freed since */
    NUMAPOOL_FAULT_WRITE_AFTER_PUT,  /* written to between put and the next get */
    NUMAPOOL_FAULT_OVERRUN           /* written beyond its usable bytes */
};
struct numapool_fault {
    int kind;             /* enum numapool_fault_kind */
    int node;             /* of the slot, or -1 */
    uint64_t slot;        /* its number on that node */
    const void *address;  /* as given */
    const char *pool;
    const char *call;     /* that found it: "numapool_put" */
    const char *sentence; /* all of it, with the sites where CHECK_SITES knows them */
};
/* Who is told of faults, besides the log (error). Called on the thread that made the call, which then fails with
 * -EINVAL and has not been done (a get whose slot was written to after its put goes on; a stale handle is -ESTALE).
 * NULL: nobody. It may abort(). Any thread. */
NUMAPOOL_API void numapool_fault_set(void (*told)(void *arg, const struct numapool_fault *fault), void *arg);

/* ---------------------------------------------------------------- I/O into slots */

/* The payload of the pool as at most n pieces of at most 1 GiB, each of whole slots, for IORING_REGISTER_BUFFERS (or
 * any other way to register memory). How many there are in all; more after the pool has grown, at the end. -EROFS,
 * -EINVAL. */
NUMAPOOL_API int numapool_pool_iovecs(const struct numapool_pool *pool, struct iovec *pieces, unsigned n);

/* Number of the piece that the slot lies in: buf_index of READ_FIXED, WRITE_FIXED and SEND_ZC. -EINVAL: not a slot. */
NUMAPOOL_API int numapool_buf_index(const struct numapool_pool *pool, const void *slot);

/* A descriptor to register as a fixed file with every io_uring that does I/O into slots: as long as any such ring
 * lives, in whatever process, the kernel may still write into slots of this client, and the daemon gives none of them
 * to others before the last one has let go of it (numapool_io(3)). The same one at each call; it stays the library's.
 * -ENOTCONN, -ETIMEDOUT, -EAGAIN, -ESTALE; -EMFILE: here or in the daemon; -EIO: the daemon has lost it, connect
 * anew. Any thread. */
NUMAPOOL_API int numapool_io_token(struct numapool_client *client);

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

/* The calling thread's own magazine of this pool, for its own node: opened at the first call, closed when the thread
 * ends (or, where senders that use it go on elsewhere, with the last of them). Costs a look-up: keep it. NULL: as
 * numapool_magazine_open (numapool_errormsg). */
NUMAPOOL_API struct numapool_magazine *numapool_thread_magazine(struct numapool_pool *pool);

/* Closes the calling thread's magazine of this pool before its end; numapool_close does it too. 0, also when there is
 * none. */
NUMAPOOL_API int numapool_thread_magazine_close(struct numapool_pool *pool);

NUMAPOOL_API NUMAPOOL_COLD void *numapool_get_slow(struct numapool_magazine *magazine);
NUMAPOOL_API NUMAPOOL_COLD int numapool_put_slow(struct numapool_magazine *magazine, void *slot);

/* A slot, or NULL: the pool is empty (numapool_errormsg). Never blocks. Warm: a pop. Contents are whatever was there.
 */
static inline void *numapool_get(struct numapool_magazine *magazine)
{
    void **top = magazine->top;
    if (NUMAPOOL_UNLIKELY(top == magazine->bottom))
        return numapool_get_slow(magazine);
    magazine->top = top - 1;
    return top[-1];
}

/* Gives a slot back, to the node that it belongs to. Warm: a push, which looks at nothing but whether the address
 * lies in the pool; giving back twice, or an address inside a slot, goes unseen until later. 0; -EINVAL: no address
 * of this pool, or a forked child. */
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

/* Like numapool_get, but waits while the pool is empty. Slots that other threads and processes have in their magazines
 * are not waited for: they come when those overflow, are flushed or closed, or when the node runs low. 0; -EAGAIN,
 * -ETIMEDOUT; -EINVAL. */
NUMAPOOL_API int numapool_get_wait(struct numapool_magazine *magazine, void **slot, int64_t timeout_ns);

/* All n slots (1..2^20), or none: -EAGAIN (slots[] may have been written to). */
NUMAPOOL_API int numapool_get_bulk(struct numapool_magazine *magazine, void **slots, unsigned n);

/* All n back. -EINVAL: one is not a slot of this pool; the others have been put. */
NUMAPOOL_API int numapool_put_bulk(struct numapool_magazine *magazine, void *const *slots, unsigned n);

/* Both are inline (numapool/bulk.h) where the magazine has as many, or room for them. What it has not goes to these, and who
 * cannot inline calls the functions above. */
NUMAPOOL_API NUMAPOOL_COLD int numapool_get_bulk_slow(struct numapool_magazine *magazine, void **slots, unsigned n);
NUMAPOOL_API NUMAPOOL_COLD int numapool_put_bulk_slow(struct numapool_magazine *magazine, void *const *slots, unsigned n);

/* Gives all that this magazine and this process cache back to the pool now, for a thread that will be idle. */
NUMAPOOL_API int numapool_flush(struct numapool_magazine *magazine);

/* ---------------------------------------------------------------- channels */

/* A message is described beside its payload; one struct for all directions. */
struct numapool_msg {
    void *data;        /* the slot; small messages: send copies from here, receive points into the lane */
    uint32_t length;   /* bytes of payload in it, at most slot_bytes */
    uint16_t type;     /* the application's */
    uint16_t flags;    /* of numapool_msg_flags; send looks at KEYED alone */
    uint64_t id;       /* the application's */
    uint64_t key;      /* the application's; of small messages only those of at most 40 bytes carry it */
    uint64_t lane_seq; /* receive: its number on its lane */
    uint32_t lane;     /* receive: which lane of this receiver */
    uint32_t reserved; /* 0 */
};

#define NUMAPOOL_MSG_INIT { 0, 0, 0, 0, 0, 0, 0, 0, 0 }

enum numapool_msg_flags {
    NUMAPOOL_KEYED = 1,       /* messages of this sender with the same key keep their order, whoever receives them */
    NUMAPOOL_REDELIVERED = 2, /* a receiver that died or left may have seen it before */
    NUMAPOOL_IN_CELL = 4      /* a small message: data points into the lane, and there is no slot to keep */
};

enum numapool_channel_flags {
    NUMAPOOL_SMALL = 1,    /* messages of at most 48 bytes, carried in the lane itself without a slot (numapool_small(3)) */
    NUMAPOOL_BROADCAST = 2 /* every receiver gets every message that was sent after it joined (at most 64 receivers,
                              numapool_broadcast(3)); not together with SMALL */
};
#define NUMAPOOL_SMALL_BYTES 48u

struct numapool_channel_options {
    size_t size;            /* sizeof(struct numapool_channel_options) */
    uint32_t lane_slots;    /* messages a lane holds, rounded up to a power of two, 2..2^20; 0: 1024; less in a small pool, 2^14 where SMALL */
    uint32_t flags;         /* of numapool_channel_flags: all ends of a channel the same */
    int64_t spin_ns;        /* spin so long before sleeping; 0: 20,000; negative: never spin */
    struct numapool_magazine *magazine; /* sender: take loans from it and give slots back into it (same thread); NULL: own */
};
#define NUMAPOOL_CHANNEL_OPTIONS_INIT { sizeof(struct numapool_channel_options), 0, 0, 0, 0 }

/* Joins a channel of the pool as a sender. The channel is made by whoever comes first. Messages go to the receivers
 * in turn; with no receiver they wait on the lane for the next. options may be NULL. 0; -EINVAL, -E2BIG; -ENOSPC: a
 * table of the daemon is full; -ESTALE: the daemon is another; -ENOTCONN, -ETIMEDOUT, -EAGAIN: it does not answer;
 * -EBADMSG, -EPROTO; -ENOMEM. */
NUMAPOOL_API int numapool_sender_open(struct numapool_pool *pool, const char *channel,
                                      const struct numapool_channel_options *options, struct numapool_sender **sender);

/* Leaves. Waits drain_ns (timeout_ns rules; 0: not at all) for messages to be released; what is not released by then
 * stays on its lane and is received all the same. 0, or how many those are; -EINVAL: drain_ns is negative, and the
 * sender stays open; another -errno: the daemon refused, and the sender is gone all the same. */
NUMAPOOL_API int numapool_sender_close(struct numapool_sender *sender, int64_t drain_ns);

/* A slot to fill and send, as by numapool_get of the sender's magazine, which, where it is the sender's own, takes those of
 * the node that all its receivers run on, else of its thread's; NULL: the pool is empty, and receivers have
 * released nothing. (What they have released is taken back every 32 sends, and when there is nothing else.) */
NUMAPOOL_API void *numapool_loan(struct numapool_sender *sender);

/* Up to n slots (1..2^20) to fill and send together; how many, or -EAGAIN: none. */
NUMAPOOL_API int numapool_loan_bulk(struct numapool_sender *sender, void **slots, unsigned n);

/* One, waiting while the pool is empty. 0; -EAGAIN, -ETIMEDOUT. Any slot that this process holds may be sent,
 * wherever it came from. */
NUMAPOOL_API int numapool_loan_wait(struct numapool_sender *sender, void **slot, int64_t timeout_ns);

/* Gives a loaned slot back unsent. */
NUMAPOOL_API int numapool_unloan(struct numapool_sender *sender, void *slot);

/* A slot on the node of the receiver that the next message like this (its key and flags, or in turn) goes to, since
 * writing afar costs less than reading afar. NULL as numapool_loan. */
NUMAPOOL_API void *numapool_loan_for(struct numapool_sender *sender, const struct numapool_msg *message);

/* Sends message->data (a slot that this process holds), length, type, id, key. On 0 the slot is no longer the
 * caller's; on any error it still is. -EAGAIN, -ETIMEDOUT: every lane is full; -EINVAL: not a slot held by this
 * process, or length. Death: the message is sent at one store. Killed before it the slot comes back to the pool,
 * after it the message is received, whether this call returned or not. */
NUMAPOOL_API int numapool_send(struct numapool_sender *sender, const struct numapool_msg *message, int64_t timeout_ns);

/* Sends n (1..2^20) in order; the first k were sent, and k is returned (k < n: no room in time; k > 0). */
NUMAPOOL_API int numapool_send_bulk(struct numapool_sender *sender, const struct numapool_msg *messages, unsigned n,
                                    int64_t timeout_ns);

/* Sends to one receiver alone, whose numapool_receiver_address that is; nobody else gets the message when that one
 * goes. `key` is not carried, and KEYED not looked at; small messages: at most 40 bytes. -EHOSTUNREACH: it has left
 * or died; other errors as numapool_send. */
NUMAPOOL_API int numapool_send_to(struct numapool_sender *sender, uint64_t address, const struct numapool_msg *message, int64_t timeout_ns);

/* Joins as a receiver; errors as of numapool_sender_open. Lanes whose receiver left or died come to it with all that
 * was not released, marked REDELIVERED. */
NUMAPOOL_API int numapool_receiver_open(struct numapool_pool *pool, const char *channel,
                                        const struct numapool_channel_options *options, struct numapool_receiver **receiver);

/* Leaves. What is not released goes to the next receiver, REDELIVERED. 0; -EINVAL; -EBUSY: it is in a wait-set, and
 * still open; else the receiver is gone in any case. */
NUMAPOOL_API int numapool_receiver_close(struct numapool_receiver *receiver);

/* Up to n (1..2^20) messages that are there, in the order of each lane. A count; -EAGAIN, -ETIMEDOUT: none came;
 * -EBADMSG: another process scribbled over a cell (that one is passed over, the next call goes on). Payload stays
 * valid until release. */
NUMAPOOL_API int numapool_receive(struct numapool_receiver *receiver, struct numapool_msg *messages, unsigned n,
                                  int64_t timeout_ns);

/* Done with them: their slots go home to their sender. Any order; what is released before its elders waits for them.
 * 0; -EINVAL: not an unreleased message of this receiver (those before it have been released). */
NUMAPOOL_API int numapool_release(struct numapool_receiver *receiver, const struct numapool_msg *messages, unsigned n);

/* Keeps the slot: it is the caller's as if from get, and leaves the channel (no release). 0; -EINVAL. Death: at one
 * store. */
NUMAPOOL_API int numapool_keep(struct numapool_receiver *receiver, const struct numapool_msg *message);

/* Sends a received message on, without a copy and exactly once, whoever dies: one store takes it out of the one lane
 * and puts it into the other. length, type, id and key go as they are in *message. On 0 the message is gone from here
 * and wants no release; on an error it is still received and unreleased here. Both ends must be of the same pool.
 * -EAGAIN, -ETIMEDOUT: every lane of sender is full; -EINVAL. */
NUMAPOOL_API int numapool_forward(struct numapool_receiver *receiver, const struct numapool_msg *message,
                                  struct numapool_sender *sender, int64_t timeout_ns);

/* The same for n (1..) in order; the first k went, and k is returned (k > 0). The others are still received and
 * unreleased. */
NUMAPOOL_API int numapool_forward_bulk(struct numapool_receiver *receiver, const struct numapool_msg *messages, unsigned n,
                                       struct numapool_sender *sender, int64_t timeout_ns);

/* The name of this receiver for numapool_send_to, never used again; 0: not an open receiver. */
NUMAPOOL_API uint64_t numapool_receiver_address(const struct numapool_receiver *receiver);

/* ---------------------------------------------------------------- waiting on many */

/* A set of receivers and pools, of any pools, to wait on together. One thread at a time, which is also the one that
 * uses its receivers. -ENOMEM. */
NUMAPOOL_API int numapool_waitset_open(struct numapool_waitset **waitset);

/* Adds a receiver, or a pool (for its events). tag: what wait gives back for it. -EEXIST: it is in a set; -ENOSPC: at
 * most 120. A receiver must be removed before it is closed. */
NUMAPOOL_API int numapool_waitset_add(struct numapool_waitset *waitset, struct numapool_receiver *receiver, void *tag);
NUMAPOOL_API int numapool_waitset_add_pool(struct numapool_waitset *waitset, struct numapool_pool *pool, void *tag);
/* -ENOENT: it is not in this set. */
NUMAPOOL_API int numapool_waitset_remove(struct numapool_waitset *waitset, struct numapool_receiver *receiver);
NUMAPOOL_API int numapool_waitset_remove_pool(struct numapool_waitset *waitset, struct numapool_pool *pool);

/* Waits until something is there to be received, or an event. Tags of up to n that are ready, beginning after the one
 * that came first last time; how many; 0: somebody called wake. -EAGAIN, -ETIMEDOUT; -EINVAL. */
NUMAPOOL_API int numapool_waitset_wait(struct numapool_waitset *waitset, void **tags, unsigned n, int64_t timeout_ns);

/* An eventfd for poll, epoll or io_uring: readable when something is there, until the next wait. It is armed by a wait
 * with timeout 0 that returned -EAGAIN. A thread of the library writes it. The waitset's: do not close it. -ENOMEM,
 * -EMFILE, -EAGAIN (threads). */
NUMAPOOL_API int numapool_waitset_eventfd(struct numapool_waitset *waitset);

/* [S] Makes the wait that is under way, or else the next one, return 0. From any thread or a signal handler. */
NUMAPOOL_API int numapool_waitset_wake(struct numapool_waitset *waitset);

/* Removes what is in it. */
NUMAPOOL_API int numapool_waitset_close(struct numapool_waitset *waitset);

/* ---------------------------------------------------------------- request and reply */

/* Requests go to the responders of a service in turn; the reply comes back to the requester that asked. A request
 * whose responder died before it replied goes to another one (REDELIVERED): a reply may come twice, never to somebody
 * else. The library uses `key` for the way back; `id` is the caller's, and the reply has it. A service is a pair of
 * channels, NAME and NAME/reply: 41 bytes at most. Errors as numapool_sender_open. */
NUMAPOOL_API int numapool_requester_open(struct numapool_pool *pool, const char *service, const struct numapool_channel_options *options,
                                         struct numapool_requester **requester);
NUMAPOOL_API int numapool_requester_close(struct numapool_requester *requester, int64_t drain_ns);
/* Its ends: to loan from; to receive and release replies, and for wait-sets. They live as long as it. NULL: not open.
 */
NUMAPOOL_API struct numapool_sender *numapool_requester_sender(struct numapool_requester *requester);
NUMAPOOL_API struct numapool_receiver *numapool_requester_receiver(struct numapool_requester *requester);
/* Sends a request; as numapool_send. */
NUMAPOOL_API int numapool_request(struct numapool_requester *requester, const struct numapool_msg *request, int64_t timeout_ns);
/* Sends a request and waits for its reply, which is then received and unreleased. Replies to others (late, or twice)
 * that come meanwhile are released. -ETIMEDOUT: request->id was sent, and may still be answered, unless *sent is 0
 * (then the slot is still the caller's). */
NUMAPOOL_API int numapool_call(struct numapool_requester *requester, const struct numapool_msg *request, struct numapool_msg *reply,
                               int64_t timeout_ns, int *sent);

NUMAPOOL_API int numapool_responder_open(struct numapool_pool *pool, const char *service, const struct numapool_channel_options *options,
                                         struct numapool_responder **responder);
NUMAPOOL_API int numapool_responder_close(struct numapool_responder *responder, int64_t drain_ns);
/* Its ends: to receive requests, and for wait-sets; to loan replies from. */
NUMAPOOL_API struct numapool_receiver *numapool_responder_receiver(struct numapool_responder *responder);
NUMAPOOL_API struct numapool_sender *numapool_responder_sender(struct numapool_responder *responder);
/* Sends the reply (a slot that this process holds) to whoever sent the request, then releases the request.
 * -EHOSTUNREACH: the requester is gone; the request has been released, the slot is still the caller's. Killed in
 * between: the request goes to another responder. */
NUMAPOOL_API int numapool_reply(struct numapool_responder *responder, const struct numapool_msg *request, const struct numapool_msg *reply,
                                int64_t timeout_ns);
/* Replies with the request's own slot, written over: no other slot, no copy. The request is gone from here on 0, and by
 * one store. -EINVAL: small. */
NUMAPOOL_API int numapool_reply_in_place(struct numapool_responder *responder, const struct numapool_msg *request, int64_t timeout_ns);

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
    uint64_t quarantined;  /* held by dead processes whose I/O the kernel has not let go of yet */
    uint64_t low_watermark;
    uint64_t lows;         /* how often it ran low */
    uint64_t faults;       /* misuse found, with CHECKS; of this process */
    /* As numastat(8) has it; slots, of this process, counted when they are moved: at refills, not at each get. */
    uint64_t local;        /* of this node, taken by threads that ran on it */
    uint64_t remote;       /* of this node, taken by threads that ran elsewhere, for whatever reason */
    uint64_t foreign;      /* wanted of this node, but taken of another since none was free here, or it ran low */
    uint64_t spilled;      /* of this node, taken by who wanted another node's */
    uint64_t homeless;     /* part of remote: the thread's own node has no slots of this pool */
    uint64_t followed;     /* magazines that came to this node with their thread */
    uint64_t emulated;     /* 1: nodes are imagined (NUMAPOOL_TOPOLOGY), and prove nothing about this machine */
    uint64_t pages_moved_back; /* by the daemon, that had been moved from outside; of all processes */
};

/* Reads the statistics of a node, or of the whole pool with NUMAPOOL_ANY_NODE. Disturbs nobody; not a snapshot of one
 * instant. -EINVAL: no such node, or size. Any thread. */
NUMAPOOL_API int numapool_stats_read(struct numapool_pool *pool, int node, struct numapool_stats *stats);

/* Asks the kernel where every page of the pool's payload and words is; *misplaced_pages are not on their node. 0;
 * -errno of move_pages. */
NUMAPOOL_API int numapool_verify(struct numapool_pool *pool, uint64_t *misplaced_pages);

#ifdef __cplusplus
}
#endif

#include "numapool/bulk.h"
#endif
