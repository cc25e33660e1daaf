/* SPDX-License-Identifier: MIT
 *
 * Who may ask for what. A user without any right may connect all the same when some list names others, for the mode of a
 * socket cannot say which: he gets one sentence, and his connections make room for others' first.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/bell.h"
#include "core/error.h"
#include "daemon/worker.h"

#define ALL_RIGHTS ((unsigned)NP_RIGHT_DIRECT | NP_RIGHT_READONLY | NP_RIGHT_ADMIN)

static bool needs_no_list(const struct np_connection *connection)
{
    return connection->identity.uid == geteuid() || connection->identity.uid == 0;
}

/* Groups are asked for anew by each question, once however many lists it looks at: a process may be in very many, and
 * whoever may connect could keep the worker busy with them. */
static struct {
    bool known;
    unsigned count;
    gid_t of[NGROUPS_MAX];
} groups; /* the worker is one thread */

static void begin_question(void)
{
    groups.known = false;
    groups.count = 0;
}

static unsigned listed(const struct np_connection *connection, const struct np_access list[NP_ACCESS_MAX])
{
    for (unsigned i = 0; i < NP_ACCESS_MAX && list[i].rights != 0 && !groups.known; i++)
        if (list[i].is_group) {
            groups.count = np_identity_groups_of_socket(connection->fd, groups.of, NGROUPS_MAX);
            groups.known = true;
        }
    return np_access_rights(list, connection->identity.uid, connection->identity.gid, groups.of, groups.count);
}

static bool is_admin(const struct np_connection *connection)
{
    return needs_no_list(connection) || listed(connection, connection->worker->config->admins) != 0;
}

static unsigned at_pool(const struct np_connection *connection, const struct np_pool_entry *pool)
{
    if (needs_no_list(connection) || connection->identity.uid == pool->uid)
        return ALL_RIGHTS;
    return listed(connection, pool->access) | (is_admin(connection) ? NP_RIGHT_ADMIN : 0u);
}

static bool at_some_pool(const struct np_connection *connection, unsigned rights)
{
    const struct np_board *board = &connection->worker->board;
    for (uint32_t i = 0; i < NP_POOLS_MAX; i++) {
        const struct np_pool_entry *pool = &board->pools[i];
        if (np_entry_is(&pool->state, NP_ACTIVE) && (at_pool(connection, pool) & rights))
            return true;
    }
    return false;
}

bool np_rights_is_admin(const struct np_connection *connection)
{
    begin_question();
    return is_admin(connection);
}

unsigned np_rights_at_pool(const struct np_connection *connection, const struct np_pool_entry *pool)
{
    begin_question();
    return at_pool(connection, pool);
}

bool np_rights_is_direct(const struct np_connection *connection)
{
    begin_question();
    return needs_no_list(connection) || at_some_pool(connection, NP_RIGHT_DIRECT);
}

bool np_rights_has_any(const struct np_connection *connection)
{
    begin_question();
    return is_admin(connection) || at_some_pool(connection, ALL_RIGHTS);
}

/* ---------------------------------------------------------------- refusals */

void np_rights_refused(const struct np_connection *connection)
{
    struct np_worker *worker = connection->worker;
    unsigned untold;
    np_add64(&worker->board.header->requests_refused, 1, memory_order_relaxed); /* relaxed: a statistic */
    bool is_due = np_log_is_due(&worker->refusals, &untold);
    if (untold > 0)
        np_log(NP_LOG_WARN, "%u more requests were refused", untold);
    if (is_due)
        np_log(NP_LOG_WARN, "process %ld of user %ld is refused: %s", (long)connection->identity.pid, (long)connection->identity.uid,
               np_error_sentence());
}

/* ---------------------------------------------------------------- the socket */

static bool names_others(const struct np_worker *worker)
{
    bool others = np_access_names_others(worker->config->admins, geteuid());
    for (uint32_t i = 0; i < NP_POOLS_MAX && !others; i++) {
        const struct np_pool_entry *pool = &worker->board.pools[i];
        if (np_entry_is(&pool->state, NP_ACTIVE))
            others = np_access_names_others(pool->access, geteuid()) || (pool->uid != geteuid() && pool->uid != 0);
    }
    return others;
}

/* Says which directory on the way to the socket lets nobody else through; it is not ours to change. */
static void look_at_the_way(const char *path)
{
    char directory[PATH_MAX];
    struct stat status;
    snprintf(directory, sizeof directory, "%s", path);
    for (char *slash = strrchr(directory, '/'); slash && slash != directory; slash = strrchr(directory, '/')) {
        *slash = '\0';
        if (stat(directory, &status) == 0 && (status.st_mode & S_IXOTH) == 0)
            np_log(NP_LOG_WARN,
                   "access lists name other users, and the directory '%s' lets none of them through (mode %03o): "
                   "allow it (chmod o+x), or choose another path by --socket", directory, (unsigned)(status.st_mode & 0777));
    }
}

void np_rights_set_socket_mode(const struct np_worker *worker)
{
    const char *path = worker->config->socket_path;
    mode_t wanted = names_others(worker) ? 0666 : 0600;
    struct stat status;
    /* The path is ours while the keeper has the lock. Another's file there was put by who may write the directory, and may
     * do that */
    if (lstat(path, &status) != 0 || !S_ISSOCK(status.st_mode) || status.st_uid != geteuid() ||
        (status.st_mode & 0777) == wanted)
        return;
    if (fchmodat(AT_FDCWD, path, wanted, AT_SYMLINK_NOFOLLOW) != 0 && chmod(path, wanted) != 0)
        np_log(NP_LOG_WARN,
               "cannot give the socket '%s' the mode %03o (%s): those whom access lists name may be unable to connect", path,
               (unsigned)wanted, strerror(errno));
    if (wanted == 0666)
        look_at_the_way(path);
}
