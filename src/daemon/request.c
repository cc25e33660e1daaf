/* SPDX-License-Identifier: MIT
 * What each request does. Numbers from messages are checked here, before anything is done with them (W4). */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "core/error.h"
#include "daemon/worker.h"
#include "numa/placement.h"

enum { SERVED_LATER = 1 << 20 }; /* no request's count is that large */

static int fd_of(const struct np_worker *worker, enum np_store_kind kind, uint32_t a, uint32_t b)
{
    int fd = np_store_get(&worker->store, (struct np_store_key){ (uint32_t)kind, a, b });
    return fd >= 0 ? fd : np_error(-ENOENT, "the daemon has no such memory (%d, %u, %u)", (int)kind, a, b);
}

static int attach(struct np_connection *connection, enum np_store_kind kind, uint32_t a, uint32_t b)
{
    int fd = fd_of(connection->worker, kind, a, b);
    if (fd >= 0)
        np_connection_attach(connection, fd, false);
    return fd < 0 ? fd : 0;
}

static int attach_readonly(struct np_connection *connection, enum np_store_kind kind, uint32_t a, uint32_t b)
{
    int fd = fd_of(connection->worker, kind, a, b);
    if (fd >= 0)
        fd = np_memory_reopen_readonly(fd);
    if (fd >= 0)
        np_connection_attach(connection, fd, true);
    return fd < 0 ? fd : 0;
}

static int active_pool(const struct np_worker *worker, uint32_t number, struct np_pool_entry **entry)
{
    if (number >= NP_POOLS_MAX || !np_entry_is(&worker->board.pools[number].state, NP_ACTIVE))
        return np_error(-EINVAL, "there is no pool number %u", number);
    *entry = &worker->board.pools[number];
    return 0;
}

/* A pool that this client has opened. */
static int opened_pool(const struct np_connection *connection, uint32_t number, struct np_pool_entry **entry)
{
    const struct np_worker *worker = connection->worker;
    int result = active_pool(worker, number, entry);
    if (result < 0)
        return result;
    uint64_t opened = np_load64(&worker->board.clients[connection->client].pools, memory_order_relaxed); /* relaxed: written here only */
    return opened >> number & 1 ? 0 : np_error(-EINVAL, "client %u has not opened pool '%s'", connection->client, (*entry)->name);
}

/* ---------------------------------------------------------------- who it is */

static int check_layout(const struct np_wire_hello *hello)
{
    if (hello->layout == np_wire_layout())
        return 0;
    return np_error(-EPROTO, "this daemon's shared memory has layout %016llx, the library of the process that connected has %016llx: use "
                             "the ones that were installed together", (unsigned long long)np_wire_layout(), (unsigned long long)hello->layout);
}

static int welcome(struct np_connection *connection)
{
    const struct np_worker *worker = connection->worker;
    struct np_wire_answer *answer = &connection->answer;
    memcpy(answer->of.hello.uuid, worker->board.header->uuid, sizeof answer->of.hello.uuid);
    answer->of.hello.limits = worker->board.limits;
    answer->of.hello.topology = np_load64(&worker->board.header->topology, memory_order_relaxed); /* relaxed: written by this thread */
    if (connection->kind == NP_CONNECTION_CLIENT) {
        answer->of.hello.client = connection->client;
        answer->of.hello.cookie = worker->board.clients[connection->client].cookie;
    }
    return 0;
}

static int reconnect(struct np_connection *connection, const struct np_wire_hello *hello)
{
    const struct np_worker *worker = connection->worker;
    if (memcmp(hello->uuid, worker->board.header->uuid, sizeof hello->uuid) != 0)
        return np_error(-ESTALE, "the daemon was restarted and its memory is gone: connect anew, and open pools anew");
    uint32_t client = hello->client;
    const struct np_client_entry *entry = client >= 1 && client <= worker->board.limits.clients ? &worker->board.clients[client] : NULL;
    if (!entry || !np_entry_is(&entry->state, NP_ACTIVE) || entry->cookie != hello->cookie ||
        entry->pid != connection->identity.pid || entry->uid != connection->identity.uid)
        return np_error(-ESTALE, "process %ld is not client %u of this daemon, or no longer is: connect anew",
                        (long)connection->identity.pid, client);
    np_watch_connect(worker->watch_of[client], connection);
    np_log(NP_LOG_DEBUG, "client %u (process %ld) is connected again", client, (long)entry->pid);
    return 0;
}

/* The table of all bells to those who may write somewhere: with it one can ring everybody, and hide news from them. To
 * others a page of their own. */
static int give_bells(struct np_connection *connection)
{
    struct np_worker *worker = connection->worker;
    if (np_rights_is_direct(connection)) {
        connection->answer.of.hello.bells = np_board_bells(&worker->board.limits);
        return attach(connection, NP_STORE_BELLS, 0, 0);
    }
    int result = np_premises_page(worker, connection->client);
    if (result < 0)
        return result;
    np_connection_attach(connection, result, false);
    return 0;
}

/* Of a client that has nothing mapped, or says so. The connection stays. */
static void end_client(struct np_connection *connection)
{
    struct np_watch *watch = connection->worker->watch_of[connection->client];
    connection->kind = NP_CONNECTION_NEW; /* first, so that this connection stays open */
    watch->connection = NULL;
    np_watch_end(watch, "left");
}

/* One who was just admitted and gets no bells asks again as somebody new. His number would stay his as long as his
 * process may have something mapped, which for another user's is until it ends. */
static int turn_away(struct np_connection *connection, int result)
{
    char why[sizeof connection->answer.sentence];
    snprintf(why, sizeof why, "%s", np_error_sentence()); /* giving the number back may find words of its own */
    end_client(connection);
    return np_error(result, "%s", why);
}

/* A worker died after it had admitted this process and before it could say so: the number that the same tag has, or 0. */
static uint32_t admitted_before(const struct np_connection *connection, const struct np_wire_hello *hello)
{
    const struct np_worker *worker = connection->worker;
    for (uint32_t client = 1; hello->cookie != 0 && client <= worker->board.limits.clients; client++) {
        const struct np_client_entry *entry = &worker->board.clients[client];
        if (worker->watch_of[client] && entry->cookie == hello->cookie && entry->pid == connection->identity.pid &&
            entry->uid == connection->identity.uid && np_entry_is(&entry->state, NP_ACTIVE))
            return client;
    }
    return 0;
}

static int admit(struct np_connection *connection, const struct np_wire_hello *hello)
{
    uint32_t client = admitted_before(connection, hello);
    if (client == 0) {
        int result = np_watch_admit(connection, hello);
        connection->unheard = result >= 0;
        return result;
    }
    const struct np_connection *before = connection->worker->watch_of[client]->connection;
    connection->unheard = before && before->unheard; /* asked twice, and not answered yet */
    np_watch_connect(connection->worker->watch_of[client], connection);
    return (int)client;
}

static int hello(struct np_connection *connection, const struct np_wire_request *request)
{
    const struct np_wire_hello *said = &request->of.hello;
    const bool is_new = connection->kind == NP_CONNECTION_NEW;
    int result = check_layout(said);
    if (result < 0)
        return result;
    if (connection->kind == NP_CONNECTION_LOOK)
        return np_error(-EPERM, "this connection may only look: open another one to be a client");
    if (connection->kind == NP_CONNECTION_CLIENT) {
        if (said->cookie != connection->worker->board.clients[connection->client].cookie)
            return np_error(-EISCONN, "this connection is client %u's already", connection->client);
    } else if (said->client != 0) {
        result = reconnect(connection, said);
    } else if ((result = np_nodes_check_client(said->topology)) == 0) {
        result = admit(connection, said);
    }
    if (result < 0)
        return result;
    welcome(connection);
    result = give_bells(connection);
    return result < 0 && is_new && said->client == 0 ? turn_away(connection, result) : result;
}

static int look(struct np_connection *connection, const struct np_wire_request *request)
{
    int result = check_layout(&request->of.hello);
    if (result < 0)
        return result;
    if (connection->kind == NP_CONNECTION_CLIENT)
        return np_error(-EPERM, "this connection is client %u's: open another one to look", connection->client);
    /* Words, lanes and accounts of all pools are seen by it, and messages that are carried in lanes. */
    if (!np_rights_is_admin(connection))
        return np_error(-EACCES, "user %ld may not look at this daemon: its user %ld, root and its admins may (numapoold --admin)",
                        (long)connection->identity.uid, (long)geteuid());
    connection->kind = NP_CONNECTION_LOOK;
    welcome(connection);
    connection->answer.of.hello.bells = np_board_bells(&connection->worker->board.limits);
    result = attach_readonly(connection, NP_STORE_BOARD, 0, 0);
    return result < 0 ? result : attach_readonly(connection, NP_STORE_BELLS, 0, 0);
}

static int goodbye(struct np_connection *connection, const struct np_wire_request *request)
{
    (void)request;
    end_client(connection);
    return 0;
}

/* ---------------------------------------------------------------- pools */

static int pool_open(struct np_connection *connection, const struct np_wire_request *request)
{
    struct np_worker *worker = connection->worker;
    struct np_pool_entry *entry;
    if (!memchr(request->of.pool_open.name, '\0', sizeof request->of.pool_open.name))
        return np_error(-EINVAL, "a pool's name has at most %u bytes", NUMAPOOL_NAME_BYTES - 1);
    int result = np_broker_pool_find(&worker->broker, request->of.pool_open.name, &entry);
    if (result < 0)
        return result;
    bool readonly = request->of.pool_open.readonly != 0;
    unsigned rights = np_rights_at_pool(connection, entry);
    if (!(rights & (readonly ? NP_RIGHT_DIRECT | NP_RIGHT_READONLY : NP_RIGHT_DIRECT)))
        return np_error(-EACCES, "user %ld may not open pool '%s'%s: %s", (long)connection->identity.uid, entry->name,
                        readonly ? "" : " to write to it",
                        rights & NP_RIGHT_READONLY ? "its access list says readonly (NUMAPOOL_READONLY)"
                                                   : "its access list does not name him or a group of his (numapoold.conf: direct, readonly)");
    bool is_open = np_load64(&worker->board.clients[connection->client].pools, memory_order_relaxed) >> entry->id & 1; /* relaxed: ours */
    if (is_open && np_premises_is_readonly(worker, connection->client, entry->id) != readonly)
        return np_error(-EBUSY, "client %u has pool '%s' open %s: close it first", connection->client, entry->name,
                        readonly ? "to write to it" : "read-only");
    /* Who has it open may ask again: his answer was lost, or he learns how it has grown. */
    if (!is_open && np_load32(&entry->ending, memory_order_relaxed)) /* relaxed: written here only */
        return np_error(-ESHUTDOWN, "pool '%s' is going to be destroyed and is not opened any more", entry->name);
    result = readonly ? np_premises_page(worker, connection->client) : np_premises_account(worker, connection->client, entry->id);
    if (result < 0)
        return result;
    if (readonly)
        np_premises_open_readonly(worker, connection->client, entry->id);
    np_connection_attach(connection, result, false);
    connection->answer.of.pool_open.pool = entry->id;
    connection->answer.of.pool_open.arenas = np_pool_arenas(entry);
    connection->answer.of.pool_open.slot_bytes = entry->slot_bytes;
    connection->answer.of.pool_open.flags = entry->flags;
    connection->answer.of.pool_open.magazine_slots = entry->magazine_slots;
    connection->answer.of.pool_open.sharers = entry->sharers;
    connection->answer.of.pool_open.policy = entry->policy;
    return 0;
}

static int pool_memory(struct np_connection *connection, const struct np_wire_request *request)
{
    struct np_worker *worker = connection->worker;
    struct np_wire_answer *answer = &connection->answer;
    uint32_t pool = request->of.pool_memory.pool, arena = request->of.pool_memory.arena;
    struct np_pool_entry *entry;
    bool looks = connection->kind == NP_CONNECTION_LOOK;
    int result = looks ? active_pool(worker, pool, &entry) : opened_pool(connection, pool, &entry);
    if (result < 0)
        return result;
    if (arena >= np_pool_arenas(entry))
        return np_error(-ENXIO, "pool '%s' has %u arenas and none numbered %u", entry->name, np_pool_arenas(entry), arena);
    answer->of.pool_memory.slots = entry->arena[arena].slots;
    answer->of.pool_memory.meta_bytes = np_premises_bytes(worker, (struct np_store_key){ NP_STORE_META, pool, arena });
    answer->of.pool_memory.data_bytes = np_premises_bytes(worker, (struct np_store_key){ NP_STORE_DATA, pool, arena });
    answer->of.pool_memory.page_bytes = entry->arena[arena].page_bytes;
    answer->of.pool_memory.node = entry->arena[arena].node;
    answer->of.pool_memory.transparent = entry->arena[arena].transparent;
    answer->of.pool_memory.tier = entry->arena[arena].tier;
    if (looks)
        return attach_readonly(connection, NP_STORE_META, pool, arena);
    if (np_premises_is_readonly(worker, connection->client, pool))
        return attach_readonly(connection, NP_STORE_DATA, pool, arena);
    result = attach(connection, NP_STORE_META, pool, arena);
    return result < 0 ? result : attach(connection, NP_STORE_DATA, pool, arena);
}

static int pool_close(struct np_connection *connection, const struct np_wire_request *request)
{
    struct np_pool_entry *entry;
    int result = active_pool(connection->worker, request->of.pool_close.pool, &entry);
    if (result == 0) {
        np_premises_drop_account(connection->worker, connection->client, request->of.pool_close.pool);
        np_pools_end_unused(connection->worker);
    }
    return result;
}

static int verify(struct np_connection *connection, const struct np_wire_request *request)
{
    struct np_pool_entry *entry = NULL;
    int result = active_pool(connection->worker, request->of.verify.pool, &entry);
    if (result < 0)
        return result;
    if (request->of.verify.arena >= np_pool_arenas(entry))
        return np_error(-ENXIO, "pool '%.47s' has no arena %u", entry->name, request->of.verify.arena);
    np_verify_begin(connection, request->of.verify.pool, request->of.verify.arena);
    return SERVED_LATER;
}

/* ---------------------------------------------------------------- channels */

static int endpoint_open(struct np_connection *connection, const struct np_wire_request *request)
{
    struct np_pool_entry *entry;
    int result = opened_pool(connection, request->of.endpoint_open.pool, &entry);
    if (result < 0)
        return result;
    return np_broker_endpoint_open(&connection->worker->broker, connection->client, &request->of.endpoint_open,
                                   &connection->answer.of.endpoint_open);
}

static int check_endpoint(const struct np_connection *connection, uint32_t endpoint)
{
    if (endpoint >= 1 && endpoint <= connection->worker->board.limits.endpoints)
        return 0;
    return np_error(-EINVAL, "there is no endpoint number %u", endpoint);
}

static int check_lane(const struct np_connection *connection, uint32_t lane)
{
    if (lane >= 1 && lane <= connection->worker->board.limits.lanes)
        return 0;
    return np_error(-EINVAL, "there is no lane number %u", lane);
}

static int endpoint_close(struct np_connection *connection, const struct np_wire_request *request)
{
    uint32_t endpoint = request->of.endpoint_close.endpoint;
    int result = check_endpoint(connection, endpoint);
    if (result == 0)
        result = np_broker_endpoint_close(&connection->worker->broker, connection->client, endpoint);
    np_worker_duty(connection->worker);
    return result;
}

static int next_lane(struct np_connection *connection, const struct np_wire_request *request)
{
    struct np_worker *worker = connection->worker;
    struct np_lane_grant grant;
    int result = check_endpoint(connection, request->of.next_lane.endpoint);
    if (result == 0)
        result = np_broker_next_lane(&worker->broker, connection->client, request->of.next_lane.endpoint, request->of.next_lane.stamp,
                                     &grant);
    if (result <= 0)
        return result;
    connection->answer.of.next_lane.stamp = grant.stamp;
    connection->answer.of.next_lane.lane = grant.lane;
    connection->answer.of.next_lane.generation = grant.generation;
    connection->answer.of.next_lane.capacity = grant.capacity;
    connection->answer.of.next_lane.state = grant.state;
    connection->answer.of.next_lane.kind = grant.kind;
    connection->answer.of.next_lane.home = grant.home;
    connection->answer.of.next_lane.peer = grant.peer;
    connection->answer.of.next_lane.peer_generation = grant.peer_generation;
    /* The answer's own: the lane may end, and its number be another descriptor's, before the loop has sent the answer. */
    int fd = fd_of(worker, NP_STORE_LANE, grant.lane, 0);
    if (fd >= 0 && (fd = fcntl(fd, F_DUPFD_CLOEXEC, 0)) < 0)
        fd = np_error(-errno, "the daemon has no descriptor to spare for lane %u: raise LimitNOFILE=", grant.lane);
    if (fd < 0)
        return fd;
    np_connection_attach(connection, fd, true);
    return 1;
}

static int leave_lane(struct np_connection *connection, const struct np_wire_request *request)
{
    uint32_t endpoint = request->of.leave_lane.endpoint, lane = request->of.leave_lane.lane;
    int result = check_endpoint(connection, endpoint);
    if (result == 0)
        result = check_lane(connection, lane);
    if (result == 0)
        result = np_broker_leave_lane(&connection->worker->broker, connection->client, endpoint, lane,
                                      request->of.leave_lane.generation);
    np_worker_duty(connection->worker);
    return result;
}

static int lane_memory(struct np_connection *connection, const struct np_wire_request *request)
{
    uint32_t lane = request->of.lane_memory.lane;
    int result = check_lane(connection, lane);
    return result < 0 ? result : attach_readonly(connection, NP_STORE_LANE, lane, 0);
}

static int account_memory(struct np_connection *connection, const struct np_wire_request *request)
{
    uint32_t client = request->of.account_memory.client, pool = request->of.account_memory.pool;
    if (client < 1 || client > connection->worker->board.limits.clients || pool >= NP_POOLS_MAX)
        return np_error(-EINVAL, "there is no client %u or no pool %u", client, pool);
    return attach_readonly(connection, NP_STORE_ACCOUNT, client, pool);
}

/* ---------------------------------------------------------------- I/O */

static int io_token(struct np_connection *connection, const struct np_wire_request *request)
{
    (void)request;
    int fd = np_inflight_token(connection->worker, connection->client);
    if (fd >= 0)
        np_connection_attach(connection, fd, true);
    return fd < 0 ? fd : 0;
}

/* ---------------------------------------------------------------- all of them */

enum { FOR_NEW = 1 << NP_CONNECTION_NEW, FOR_CLIENT = 1 << NP_CONNECTION_CLIENT, FOR_LOOK = 1 << NP_CONNECTION_LOOK };

static const struct {
    int (*serve)(struct np_connection *connection, const struct np_wire_request *request);
    unsigned whose;
} services[NP_WIRE_OPERATIONS] = {
    [NP_WIRE_HELLO] = { hello, FOR_NEW | FOR_CLIENT | FOR_LOOK },
    [NP_WIRE_LOOK] = { look, FOR_NEW | FOR_CLIENT | FOR_LOOK },
    [NP_WIRE_GOODBYE] = { goodbye, FOR_CLIENT },
    [NP_WIRE_POOL_OPEN] = { pool_open, FOR_CLIENT },
    [NP_WIRE_POOL_MEMORY] = { pool_memory, FOR_CLIENT | FOR_LOOK },
    [NP_WIRE_POOL_CLOSE] = { pool_close, FOR_CLIENT },
    [NP_WIRE_ENDPOINT_OPEN] = { endpoint_open, FOR_CLIENT },
    [NP_WIRE_ENDPOINT_CLOSE] = { endpoint_close, FOR_CLIENT },
    [NP_WIRE_NEXT_LANE] = { next_lane, FOR_CLIENT },
    [NP_WIRE_LEAVE_LANE] = { leave_lane, FOR_CLIENT },
    [NP_WIRE_LANE_MEMORY] = { lane_memory, FOR_LOOK },
    [NP_WIRE_ACCOUNT_MEMORY] = { account_memory, FOR_LOOK },
    [NP_WIRE_VERIFY] = { verify, FOR_LOOK },
    [NP_WIRE_POOL_CREATE] = { np_request_pool_create, FOR_CLIENT },
    [NP_WIRE_POOL_GROW] = { np_request_pool_grow, FOR_CLIENT },
    [NP_WIRE_POOL_DESTROY] = { np_request_pool_destroy, FOR_CLIENT },
    [NP_WIRE_IO_TOKEN] = { io_token, FOR_CLIENT },
    [NP_WIRE_UPGRADE] = { np_request_upgrade, FOR_LOOK },
};

bool np_request_serve(struct np_connection *connection, const struct np_wire_request *request, int *result)
{
    /* np_wire_check_request has seen that the operation is one of the table */
    if (!(services[request->operation].whose & 1u << connection->kind)) {
        static const char *const told[] = { "say HELLO or LOOK first", "a client may not", "a connection that looks may not" };
        *result = np_error(connection->kind == NP_CONNECTION_NEW ? -ENOTCONN : -EPERM, "operation %u is refused: %s", request->operation,
                           told[connection->kind]);
    } else {
        *result = services[request->operation].serve(connection, request);
    }
    if (*result == -EPERM || *result == -EACCES)
        np_rights_refused(connection);
    return *result != SERVED_LATER;
}
