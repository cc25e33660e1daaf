/* SPDX-License-Identifier: MIT */
#include "service/session.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "core/cancel.h"
#include "core/error.h"
#include "core/tell.h"
#include "core/wipe.h"
#include "numa/placement.h"
#include "numa/topology.h"
#include "service/inherit.h"

int np_client_check(const struct numapool_client *client)
{
    if (client && client->live == NP_CLIENT_LIVE)
        return 0;
    return np_error_static(-EINVAL, client ? "this client is disconnected, or belongs to the parent of this forked process: connect anew here"
                                           : "the client is NULL");
}

void np_session_close_descriptors(int fds[NP_WIRE_FDS_MAX])
{
    for (unsigned i = 0; i < NP_WIRE_FDS_MAX; i++) {
        if (fds[i] >= 0)
            close(fds[i]);
        fds[i] = -1;
    }
}

/* ---------------------------------------------------------------- one connection */

/* The connection, or whoever was at its other end, is gone: worth another one. */
static bool is_broken(int code)
{
    switch (-code) {
    case EPIPE:
    case ECONNRESET:
    case ECONNREFUSED:
    case ENOENT:
    case ENOTCONN:
    case EBADF:
    case ENOTSOCK:
        return true;
    default:
        return false;
    }
}

/* After any failure: an answer that comes late would be taken for the next one's. */
static void drop_connection(struct numapool_client *client, int code)
{
    /* A program that closed all its descriptors has closed ours, and its number may be somebody else's by now. */
    if (client->fd >= 0 && code != -EBADF && code != -ENOTSOCK) {
        shutdown(client->fd, SHUT_RDWR); /* a forked child may have it too, and the daemon must see the end */
        np_inherit_forget(client->fd);
        close(client->fd);
    }
    client->fd = -1;
}

/* A request and its answer on the connection that there is; what the answer says is not looked at. */
static int ask(struct numapool_client *client, struct np_wire_request *request, struct np_wire_answer *answer,
               int fds[NP_WIRE_FDS_MAX], int64_t timeout_ns)
{
    request->magic = NP_WIRE_MAGIC;
    request->number = ++client->number;
    int result = np_wire_call(client->fd, request, answer, fds, timeout_ns);
    return result == -ETIMEDOUT ? np_error_within(result, "numapoold at '%s'", client->path) : result;
}

static int round_trip(struct numapool_client *client, struct np_wire_request *request, struct np_wire_answer *answer,
                      int fds[NP_WIRE_FDS_MAX], int64_t timeout_ns)
{
    int result = ask(client, request, answer, fds, timeout_ns);
    if (result < 0)
        drop_connection(client, result);
    return result;
}

static int refusal(const struct np_wire_answer *answer)
{
    if (answer->sentence[0] == 0)
        return np_error(answer->result, "numapoold refused a request: %s", strerror(-answer->result));
    return np_error(answer->result, "%.*s", (int)sizeof answer->sentence, answer->sentence);
}

static int stale(struct numapool_client *client)
{
    if (!client->stale && client->live) /* a goodbye that is asked again may find that it was heard the first time */
        np_tell(NUMAPOOL_LOG_ERROR, "the daemon at '%s' that client %u belonged to is gone, with its memory", client->path, client->id);
    client->stale = true;
    drop_connection(client, 0);
    return np_error(-ESTALE, "the daemon at '%s' that this session was made with is gone, with its memory: close what is open on it, "
                    "disconnect and connect again", client->path);
}

int np_session_take_page(struct numapool_client *client, int fd)
{
    void *page;
    if (client->page)
        return 0;
    int result = np_memory_map(&page, fd, NP_PAGE_BYTES, true, false, "the bells of this client");
    if (result < 0)
        return result == -EINVAL ? np_error_within(-EPROTO, "numapoold at '%s'", client->path) : result;
    client->page = page;
    client->page_bytes = NP_PAGE_BYTES;
    return 0;
}

/* The table of all bells, or, where the daemon says that it has none for us, a page of our own. Each is mapped once. */
static int take_bells(struct numapool_client *client, const struct np_wire_answer *answer, int fd)
{
    uint32_t bell_count = answer->of.hello.bells;
    if (bell_count == 0)
        return np_session_take_page(client, fd);
    if (client->bells)
        return 0;
    size_t bytes = ((size_t)bell_count * sizeof(struct np_bell) + 4095) / 4096 * 4096;
    void *bells;
    int result = np_memory_map(&bells, fd, bytes, true, false, "the bells of numapoold");
    if (result < 0)
        return result == -EINVAL ? np_error_within(-EPROTO, "numapoold at '%s'", client->path) : result;
    client->bells_bytes = bytes;
    client->bell_count = bell_count;
    client->bells = bells;
    return 0;
}

/* Who we are there, and the bells. */
static int take_identity(struct numapool_client *client, const struct np_wire_answer *answer, int fd)
{
    struct np_board_limits limits = answer->of.hello.limits;
    uint32_t id = answer->of.hello.client, bell_count = answer->of.hello.bells;
    if (np_board_limits_check(&limits) < 0)
        return np_error_within(-EPROTO, "numapoold at '%s' describes its tables wrongly", client->path);
    if (id == 0 || id > limits.clients || (bell_count != 0 && bell_count != np_board_bells(&limits)))
        return np_error(-EPROTO, "numapoold at '%s' gave client number %u of %u and %u bells, which do not agree: use the library "
                        "that came with it", client->path, id, limits.clients, bell_count);
    int result = take_bells(client, answer, fd);
    if (result < 0)
        return result;
    client->cookie = answer->of.hello.cookie;
    memcpy(client->uuid, answer->of.hello.uuid, sizeof client->uuid);
    client->id = id;
    return 0;
}

/* The daemon has given a number, and what came with it cannot be used here (no descriptor, no room to map): nobody will ever be the client of
 * that number, which would stay taken as long as anything of the daemon's is mapped in this process. Keeps the sentence. */
static void decline(struct numapool_client *client)
{
    struct np_wire_request goodbye = { .operation = NP_WIRE_GOODBYE };
    struct np_wire_answer answer;
    int fds[NP_WIRE_FDS_MAX];
    char why[512];
    snprintf(why, sizeof why, "%s", np_error_sentence());
    if (ask(client, &goodbye, &answer, fds, NP_SESSION_PATIENT_NS) == 0)
        np_session_close_descriptors(fds);
    np_error(0, "%s", why);
}

uint64_t np_session_new_tag(void)
{
    uint64_t tag = 0;
    while (tag == 0)
        if (getrandom(&tag, sizeof tag, GRND_NONBLOCK) != (ssize_t)sizeof tag)
            tag = (uint64_t)np_monotonic_ns() << 20 ^ (uint64_t)getpid(); /* refused, or too early in the machine's life */
    return tag;
}

/* Makes the connection and says who we are. *again: worth another try soon. */
static int say_hello(struct numapool_client *client, int64_t timeout_ns, bool *again)
{
    struct np_wire_request request = { .operation = NP_WIRE_HELLO };
    struct np_wire_answer answer;
    int fds[NP_WIRE_FDS_MAX];
    client->fd = np_wire_connect(client->path);
    if (client->fd < 0) {
        int code = client->fd;
        client->fd = -1;
        *again = is_broken(code);
        return code;
    }
    bool first = client->id == 0;
    np_inherit_note(client->fd);
    request.of.hello.layout = np_wire_layout();
    request.of.hello.cookie = client->cookie;
    memcpy(request.of.hello.uuid, client->uuid, sizeof client->uuid);
    request.of.hello.client = client->id;
    request.of.hello.topology = client->topology;
    snprintf(request.of.hello.name, sizeof request.of.hello.name, "%s", program_invocation_short_name);
    int result = ask(client, &request, &answer, fds, timeout_ns);
    if (result < 0) {
        if (first && result == -EMFILE) /* the answer has come, without what belongs to it */
            decline(client);
        drop_connection(client, result);
        *again = is_broken(result);
        return result;
    }
    if (answer.result == -ESTALE && client->id != 0)
        result = stale(client);
    else if (answer.result < 0)
        result = refusal(&answer);
    else if (answer.descriptors != 1)
        result = np_error(-EPROTO, "numapoold at '%s' gave %u descriptors for a greeting", client->path, answer.descriptors);
    else if (!first && (memcmp(answer.of.hello.uuid, client->uuid, sizeof client->uuid) != 0 || answer.of.hello.client != client->id))
        result = stale(client); /* our number there is somebody else's */
    else
        result = take_identity(client, &answer, fds[0]);
    np_session_close_descriptors(fds);
    if (result < 0 && first && answer.result >= 0)
        decline(client);
    if (result < 0)
        drop_connection(client, 0);
    else
        client->unreachable = false;
    if (result == 0 && !first)
        np_tell(NUMAPOOL_LOG_INFO, "client %u is connected to numapoold at '%s' again", client->id, client->path);
    *again = result == -EAGAIN;
    return result;
}

/* ---------------------------------------------------------------- debts */

void np_session_owe(struct numapool_client *client, const struct np_session_debt *debt)
{
    pthread_mutex_lock(&client->calling);
    if (client->debt_count == client->debt_room) {
        unsigned room = client->debt_room ? client->debt_room * 2 : 8;
        struct np_session_debt *more = realloc(client->debts, room * sizeof *more);
        if (more) {
            client->debts = more;
            client->debt_room = room;
        }
    }
    /* without memory it is forgotten: the daemon closes the endpoint when this client leaves */
    if (client->debt_count < client->debt_room)
        client->debts[client->debt_count++] = *debt;
    pthread_mutex_unlock(&client->calling);
}

/* 0, or the connection's failure. What the daemon answers is all the same: it is closed or there is none. */
static int pay_debt(struct numapool_client *client, struct np_session_debt *debt)
{
    struct np_wire_request close_pool = { .operation = NP_WIRE_POOL_CLOSE, .of.pool_close.pool = debt->pool };
    struct np_wire_request close_endpoint = { .operation = NP_WIRE_ENDPOINT_CLOSE };
    struct np_wire_answer answer;
    int fds[NP_WIRE_FDS_MAX], result = 0;
    if (!debt->is_pool && !debt->known) {
        struct np_wire_request request = { .operation = NP_WIRE_ENDPOINT_OPEN, .of.endpoint_open = debt->request };
        result = round_trip(client, &request, &answer, fds, NP_SESSION_CALL_NS);
        if (result < 0)
            return result;
        np_session_close_descriptors(fds);
        debt->known = answer.result >= 0;
        debt->endpoint = answer.of.endpoint_open.endpoint;
        if (!debt->known)
            return 0;
    }
    close_endpoint.of.endpoint_close.endpoint = debt->endpoint;
    result = round_trip(client, debt->is_pool ? &close_pool : &close_endpoint, &answer, fds, NP_SESSION_CALL_NS);
    if (result == 0)
        np_session_close_descriptors(fds);
    return result;
}

/* In the order in which they were made: who has closed a pool has no endpoint there any more. */
static int pay_debts(struct numapool_client *client)
{
    unsigned paid = 0;
    int result = 0;
    while (paid < client->debt_count && (result = pay_debt(client, &client->debts[paid])) == 0)
        paid++;
    client->debt_count -= paid;
    if (paid > 0)
        memmove(client->debts, client->debts + paid, client->debt_count * sizeof *client->debts);
    return result;
}

/* ---------------------------------------------------------------- calls */

static void pause_before(unsigned attempt)
{
    static const long pauses_ms[] = { 0, 1, 2, 5, 10, 20 };
    const unsigned last = sizeof pauses_ms / sizeof pauses_ms[0] - 1;
    struct timespec pause = { .tv_nsec = pauses_ms[attempt < last ? attempt : last] * 1000000 };
    if (pause.tv_nsec > 0) /* a sleep of no time takes as long as the kernel's timer is inexact: longer than most requests */
        nanosleep(&pause, NULL);
}

static int try_once(struct numapool_client *client, struct np_wire_request *request, struct np_wire_answer *answer,
                    int fds[NP_WIRE_FDS_MAX], unsigned descriptors, int64_t hello_ns, int64_t call_ns, bool *again)
{
    int result = client->fd < 0 ? say_hello(client, hello_ns, again) : 0;
    if (result < 0)
        return result;
    result = pay_debts(client);
    if (result == 0)
        result = round_trip(client, request, answer, fds, call_ns);
    if (result < 0) {
        *again = is_broken(result);
        return result;
    }
    unsigned expected = request->operation == NP_WIRE_NEXT_LANE && answer->result == 0 ? 0 : descriptors;
    if (answer->result < 0)
        result = refusal(answer);
    else if (answer->descriptors != expected)
        result = np_error(-EPROTO, "numapoold answered request %u with %u descriptors instead of %u: use the library that came with it",
                          request->operation, answer->descriptors, expected);
    if (result < 0)
        np_session_close_descriptors(fds);
    *again = result == -EAGAIN;
    return result < 0 ? result : answer->result;
}

static int call_until(struct numapool_client *client, struct np_wire_request *request, struct np_wire_answer *answer,
                      int fds[NP_WIRE_FDS_MAX], unsigned descriptors, int64_t patience_ns)
{
    /* Whoever is brief stands in a send or a receive. While a worker is being replaced the keeper's socket takes connections
     * that nobody answers yet. */
    bool brief = patience_ns <= NP_SESSION_BRIEF_NS, once = client->unreachable && brief;
    int64_t hello_ns = brief ? NP_SESSION_PROBE_NS : NP_SESSION_ASK_AGAIN_NS, call_ns = brief ? NP_SESSION_BRIEF_NS : NP_SESSION_ASK_AGAIN_NS;
    bool may_ask_again = !brief;
    const int64_t begun_ns = np_monotonic_ns();
    int64_t deadline_ns = np_deadline_ns(once ? 0 : patience_ns);
    for (unsigned attempt = 0;; attempt++) {
        bool again = false;
        if (client->stale)
            return stale(client);
        pause_before(attempt);
        int result = try_once(client, request, answer, fds, descriptors, hello_ns, call_ns, &again);
        if (result >= 0)
            return result;
        if (result == -ETIMEDOUT && client->fd < 0 && may_ask_again && np_monotonic_ns() - begun_ns < NP_SESSION_CALL_NS) {
            may_ask_again = false;
            hello_ns = call_ns = NP_SESSION_CALL_NS - NP_SESSION_ASK_AGAIN_NS;
            continue;
        }
        if (result == -ETIMEDOUT && client->fd < 0)
            client->unreachable = true;
        if (!again)
            return result;
        /* the second try is always made: the first may only have found that the old connection had broken long ago */
        if (attempt == 0 || np_monotonic_ns() < deadline_ns)
            continue;
        if (result == -EAGAIN)
            return result;
        if (!client->unreachable)
            np_tell(NUMAPOOL_LOG_WARN, "numapoold at '%s' does not answer client %u: what is mapped goes on working", client->path, client->id);
        client->unreachable = true;
        return np_error_within(-ENOTCONN, "lost numapoold at '%s'; what is mapped here goes on working", client->path);
    }
}

int np_session_call(struct numapool_client *client, struct np_wire_request *request, struct np_wire_answer *answer,
                    int fds[NP_WIRE_FDS_MAX], unsigned descriptors, int64_t patience_ns)
{
    int cancel = np_cancel_defer();
    pthread_mutex_lock(&client->calling);
    int result = call_until(client, request, answer, fds, descriptors, patience_ns);
    pthread_mutex_unlock(&client->calling);
    np_cancel_restore(cancel);
    return result;
}

/* Who connects hears at once of a daemon that is not there. One whose worker dies while it answers is waited for. */
static int greet(struct numapool_client *client)
{
    const bool first = client->id == 0;
    const int64_t begun_ns = np_monotonic_ns();
    int64_t deadline_ns = np_deadline_ns(NP_SESSION_PATIENT_NS), hello_ns = NP_SESSION_ASK_AGAIN_NS;
    for (unsigned attempt = 0;; attempt++) {
        bool again = false;
        pause_before(attempt);
        int result = say_hello(client, hello_ns, &again);
        if (result == -ETIMEDOUT && client->fd < 0 && hello_ns == NP_SESSION_ASK_AGAIN_NS && np_monotonic_ns() - begun_ns < NP_SESSION_CALL_NS) {
            hello_ns = NP_SESSION_CALL_NS - NP_SESSION_ASK_AGAIN_NS;
            continue;
        }
        if (result == 0 || !again || (first && (result == -ENOENT || result == -ECONNREFUSED)))
            return result;
        if (np_monotonic_ns() < deadline_ns)
            continue;
        if (result == -EAGAIN)
            return result;
        return first ? np_error(-ECONNREFUSED, "numapoold at '%s' breaks every connection: its log says why", client->path)
                     : np_error_within(-ENOTCONN, "lost numapoold at '%s'; what is mapped here goes on working", client->path);
    }
}

int np_session_want_bells(struct numapool_client *client)
{
    int result = 0;
    pthread_mutex_lock(&client->calling);
    if (!client->bells) {
        drop_connection(client, 0);
        result = greet(client);
    }
    if (result == 0 && !client->bells)
        result = np_error(-EACCES, "the daemon at '%s' lets this user write to no pool", client->path);
    pthread_mutex_unlock(&client->calling);
    return result;
}

int np_session_check(struct numapool_client *client)
{
    pthread_mutex_lock(&client->calling);
    int result = client->stale ? stale(client) : 0;
    pthread_mutex_unlock(&client->calling);
    return result;
}

/* ---------------------------------------------------------------- public */

/* The path by which the daemon is found again whatever the working directory is by then. */
static int remember_path(struct numapool_client *client, const char *socket_path)
{
    char given[sizeof client->path], directory[sizeof client->path];
    if (socket_path && strlen(socket_path) >= sizeof given)
        return np_error(-ENAMETOOLONG, "the socket's path '%.100s...' has more than %zu bytes: use a shorter one", socket_path,
                        sizeof given - 1);
    if (socket_path)
        strcpy(given, socket_path);
    int result = socket_path ? 0 : np_wire_default_path(given, sizeof given);
    if (result < 0)
        return result;
    strcpy(client->path, given);
    if (given[0] != '/' && getcwd(directory, sizeof directory) && strlen(directory) + strlen(given) + 1 < sizeof client->path) {
        size_t length = strlen(directory);
        memcpy(client->path, directory, length);
        client->path[length] = '/';
        strcpy(client->path + length + 1, given);
    }
    return 0;
}

/* Nodes may have come and gone since this process looked. */
static int look_at_nodes(struct numapool_client *client)
{
    int result = np_topology_reload();
    if (result >= 0)
        client->topology = np_topology()->fingerprint;
    return result < 0 ? result : 0;
}

int numapool_connect(struct numapool_client **result_client, const char *socket_path)
{
    struct numapool_client *client = np_wipe_alloc(sizeof *client);
    if (!client)
        return -ENOMEM;
    client->fd = -1;
    client->cookie = np_session_new_tag(); /* asked again with the same, it is the same client that is admitted */
    int cancel = np_cancel_defer();
    int result = remember_path(client, socket_path);
    if (result == 0)
        result = look_at_nodes(client);
    if (result == 0) {
        np_bell_register();
        result = greet(client);
    }
    np_cancel_restore(cancel);
    if (result < 0) {
        np_wipe_free(client, sizeof *client);
        return result;
    }
    pthread_mutex_init(&client->opening, NULL);
    pthread_mutex_init(&client->calling, NULL);
    client->live = NP_CLIENT_LIVE;
    *result_client = client;
    return 0;
}

int numapool_client_id(const struct numapool_client *client)
{
    int result = np_client_check(client);
    return result < 0 ? result : (int)client->id;
}

static int still_open(const struct numapool_client *client)
{
    char names[200] = "";
    size_t used = 0;
    for (const struct np_direct_pool *open = client->pools; open && used < sizeof names; open = open->next) {
        int added = snprintf(names + used, sizeof names - used, "%s'%s'", used ? ", " : "", open->pool.name);
        used += added > 0 ? (size_t)added : 0;
    }
    return np_error(-EBUSY, "pools are open on the connection to '%s': %s%s: close them first", client->path, names,
                    used < sizeof names ? "" : "...");
}

static bool owes_an_endpoint(const struct numapool_client *client)
{
    for (unsigned i = 0; i < client->debt_count; i++)
        if (!client->debts[i].is_pool)
            return true;
    return false;
}

int numapool_disconnect(struct numapool_client *client)
{
    int result = np_client_check(client);
    if (result < 0)
        return result;
    pthread_mutex_lock(&client->opening);
    if (client->pools)
        result = still_open(client);
    else
        client->live = 0;
    pthread_mutex_unlock(&client->opening);
    if (result < 0)
        return result;
    /* A receiver that is owed would be given messages until the daemon finds out by itself that nothing is mapped here. */
    int64_t patience_ns = owes_an_endpoint(client) ? NP_SESSION_PATIENT_NS : NP_SESSION_BRIEF_NS;
    client->debt_count = 0; /* the goodbye ends every endpoint */
    np_session_drop_token(client); /* before the daemon begins to wait for it */
    struct np_wire_request request = { .operation = NP_WIRE_GOODBYE };
    struct np_wire_answer answer;
    int fds[NP_WIRE_FDS_MAX];
    /* A daemon that does not hear it finds out that nothing of its memory is mapped here any more. */
    int cancel = np_cancel_defer();
    np_session_call(client, &request, &answer, fds, 0, patience_ns);
    drop_connection(client, 0);
    np_cancel_restore(cancel);
    np_memory_unmap(client->bells, client->bells_bytes);
    np_memory_unmap(client->page, client->page_bytes);
    free(client->debts);
    pthread_mutex_destroy(&client->calling);
    pthread_mutex_destroy(&client->opening);
    np_wipe_free(client, sizeof *client);
    return 0;
}
