/* SPDX-License-Identifier: MIT
 *
 * What the worker has to do with its own replacement: it hands the order on to the keeper, and tells whoever asks what the keeper says
 * became of it. It remembers nothing that its successor is not told, so it may die at any time in between.
 *
 * Only the daemon's own user and root may: an admin may make pools, which is less than choosing the moment at which another program is
 * run as the daemon's user, let alone that program.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "core/error.h"
#include "daemon/worker.h"

/* ---------------------------------------------------------------- the keeper's word */

static void tell_version(np_shm64 words[NP_BOARD_VERSION_BYTES / 8], const char *version)
{
    char text[NP_BOARD_VERSION_BYTES] = "";
    snprintf(text, sizeof text, "%s", version);
    for (unsigned i = 0; i < NP_BOARD_VERSION_BYTES / 8; i++) {
        uint64_t word;
        memcpy(&word, text + 8 * i, sizeof word);
        np_store64(&words[i], word, memory_order_relaxed); /* relaxed: for people; torn at worst */
    }
}

void np_upgrade_tell_board(struct np_worker *worker)
{
    struct np_board_header *header = worker->board.header;
    if (!header)
        return; /* not taken over yet: told when it is */
    tell_version(header->worker_version, numapool_version());
    tell_version(header->keeper_version, worker->upgrade.answer.keeper_version);
    np_store64(&header->upgrades, worker->upgrade.upgrades, memory_order_relaxed); /* relaxed: a statistic */
}

void np_upgrade_heard(struct np_worker *worker, int fd)
{
    struct np_upgrade_report report;
    int result = fd < 0 ? np_error(-EMFILE, "a report of the keeper did not arrive: raise the limit of open files (LimitNOFILE=)")
                        : np_upgrade_unpack(fd, &report, sizeof report);
    if (result < 0) {
        np_log(NP_LOG_WARN, "%s", np_error_sentence());
        return;
    }
    worker->upgrade = report;
    if (report.tag == worker->upgrade_asked)
        worker->upgrade_asked = 0;
    np_upgrade_tell_board(worker);
}

/* ---------------------------------------------------------------- the request */

static int check(const struct np_connection *connection, const struct np_wire_upgrade *wanted)
{
    uid_t uid = connection->identity.uid;
    if (uid != geteuid() && uid != 0)
        return np_error(-EACCES, "user %ld may not upgrade this daemon: its own user %ld and root may, for it is to run another program as "
                        "that user", (long)uid, (long)geteuid());
    if (wanted->tag == 0)
        return np_error(-EINVAL, "a request to upgrade has a tag that is not 0");
    if (wanted->flags & ~(uint32_t)NP_UPGRADE_CHECK_ONLY)
        return np_error(-EINVAL, "flags %#x of an upgrade are not known: CHECK_ONLY is", wanted->flags);
    if (wanted->binary[0] != '\0' && wanted->binary[0] != '/')
        return np_error(-EINVAL, "'%.100s' is no absolute path: the daemon's directory is not that of who asks", wanted->binary);
    return 0;
}

static int hand_on(struct np_connection *connection, const struct np_wire_upgrade *wanted)
{
    struct np_worker *worker = connection->worker;
    struct np_upgrade_order order = { .bytes = sizeof order, .uid = (uint32_t)connection->identity.uid,
                                      .pid = (int32_t)connection->identity.pid, .wanted = *wanted };
    int fd = np_upgrade_pack(&order, sizeof order);
    if (fd < 0)
        return fd;
    struct np_store_key tag = { .a = (uint32_t)wanted->tag, .b = (uint32_t)(wanted->tag >> 32) };
    int result = np_record_send(worker->records_fd, NP_RECORD_UPGRADE, tag, fd);
    close(fd);
    if (result == 0)
        worker->upgrade_asked = wanted->tag;
    return result == 0 || result == -EAGAIN ? NP_WIRE_UNDER_WAY : result;
}

static uint32_t count_clients(const struct np_board *board)
{
    uint32_t count = 0;
    for (uint32_t client = 1; client <= board->limits.clients; client++)
        count += np_entry_is(&board->clients[client].state, NP_ACTIVE) != 0;
    return count;
}

int np_request_upgrade(struct np_connection *connection, const struct np_wire_request *request)
{
    struct np_worker *worker = connection->worker;
    const struct np_wire_upgrade *wanted = &request->of.upgrade;
    const struct np_upgrade_report *report = &worker->upgrade;
    int result = check(connection, wanted);
    if (result < 0)
        return result;
    bool under_way = report->answer.state == NP_UPGRADE_UNDER_WAY;
    if (report->tag != wanted->tag && (under_way || (worker->upgrade_asked != 0 && worker->upgrade_asked != wanted->tag)))
        return np_error(-EBUSY, "somebody else's upgrade of this daemon is under way: wait for its end (the daemon's log tells it)");
    if (report->tag != wanted->tag)
        return worker->upgrade_asked == wanted->tag ? NP_WIRE_UNDER_WAY : hand_on(connection, wanted);
    if (under_way)
        return NP_WIRE_UNDER_WAY;
    connection->answer.of.upgrade = report->answer;
    connection->answer.of.upgrade.clients = count_clients(&worker->board);
    memcpy(connection->answer.sentence, report->sentence, sizeof connection->answer.sentence);
    connection->answer.sentence[sizeof connection->answer.sentence - 1] = '\0';
    return 0;
}
