/* SPDX-License-Identifier: MIT */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "daemon/upgrade.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/bell.h"
#include "core/error.h"
#include "daemon/log.h"
#include "daemon/store.h"

/* Clients' calls wait two seconds for a worker. So long a new one may take, unless whoever asks says otherwise, that even when
 * it is not ready then, the old one is in time. */
#define LEAVE_PATIENCE_NS INT64_C(300000000)
#define START_PATIENCE_NS INT64_C(300000000) /* until there is one at all */
#define READY_PATIENCE_NS INT64_C(1200000000)
#define READY_PATIENCE_MOST_NS INT64_C(600000000000)

/* ---------------------------------------------------------------- records' memory files */

int np_upgrade_pack(const void *bytes, size_t count)
{
    int fd = memfd_create("numapool-upgrade", MFD_CLOEXEC);
    if (fd < 0)
        return np_error(-errno, "the daemon cannot make a memory file: %s", strerror(errno));
    ssize_t written = pwrite(fd, bytes, count, 0);
    if (written == (ssize_t)count)
        return fd;
    int code = written < 0 ? -errno : -EIO;
    close(fd);
    return np_error(code, "the daemon cannot write a memory file: %s", strerror(-code));
}

int np_upgrade_unpack(int fd, void *bytes, size_t count)
{
    struct stat status;
    uint32_t said;
    if (fstat(fd, &status) != 0 || status.st_size != (off_t)count || pread(fd, bytes, count, 0) != (ssize_t)count)
        return np_error(-EPROTO, "what the other half of the daemon sent of an upgrade is not of this version");
    memcpy(&said, bytes, sizeof said); /* both begin with their length */
    return said == count ? 0 : np_error(-EPROTO, "what the other half of the daemon sent of an upgrade is not of this version");
}

/* ---------------------------------------------------------------- from where */

/* The path by which this program was started, as long as it leads to it: a package will put the next version there, while
 * /proc/self/exe has followed links on the way that the next version changes. */
static void find_started_from(char path[PATH_MAX])
{
    const char *given = (const char *)getauxval(AT_EXECFN);
    struct stat by_path, own;
    size_t used = 0;
    path[0] = '\0';
    if (given && strncmp(given, "./", 2) == 0)
        given += 2;
    if (given && given[0] != '/' && getcwd(path, PATH_MAX - 1)) {
        used = strlen(path);
        path[used++] = '/';
    }
    if (given && used + strlen(given) < PATH_MAX)
        strcpy(path + used, given);
    if (path[0] && stat(path, &by_path) == 0 && stat("/proc/self/exe", &own) == 0 && by_path.st_dev == own.st_dev &&
        by_path.st_ino == own.st_ino)
        return;
    ssize_t length = readlink("/proc/self/exe", path, PATH_MAX - 1);
    path[length > 0 ? length : 0] = '\0';
}

/* ---------------------------------------------------------------- what became of it */

static void set_state(struct np_upgrade *upgrade, enum np_wire_upgrade_state state)
{
    upgrade->report.answer.state = (uint32_t)state;
    upgrade->told = false;
}

static void set_step(struct np_upgrade *upgrade, enum np_upgrade_step step, int64_t patience_ns)
{
    upgrade->step = step;
    upgrade->late = false;
    upgrade->deadline_ns = step == NP_UPGRADE_IDLE ? INT64_MAX : np_monotonic_ns() + patience_ns;
}

static void finish(struct np_upgrade *upgrade, enum np_wire_upgrade_state state)
{
    np_candidate_close(&upgrade->candidate);
    set_state(upgrade, state);
    set_step(upgrade, NP_UPGRADE_IDLE, 0);
}

/* With np_error's sentence. */
static void refuse(struct np_upgrade *upgrade)
{
    snprintf(upgrade->report.sentence, sizeof upgrade->report.sentence, "%s", np_error_sentence());
    np_log(NP_LOG_WARN, "upgrade refused, nothing was changed: %s", upgrade->report.sentence);
    finish(upgrade, NP_UPGRADE_REFUSED);
}

static void roll_back(struct np_upgrade *upgrade, const char *why)
{
    snprintf(upgrade->report.sentence, sizeof upgrade->report.sentence, "the worker of numapoold %s at %.100s %s", upgrade->of_candidate.version,
             upgrade->path, why);
    np_log(NP_LOG_WARN, "upgrade rolled back, a worker of numapoold %s goes on: %s", upgrade->of_binary.version, upgrade->report.sentence);
    finish(upgrade, NP_UPGRADE_ROLLED_BACK);
}

/* ---------------------------------------------------------------- PROBING */

static int begin(struct np_upgrade *upgrade, const struct np_wire_upgrade *wanted)
{
    const char *path = wanted->binary[0] ? wanted->binary : upgrade->started_from;
    if (!path[0])
        return np_error(-ENOENT, "the daemon does not know from which file it was started (/proc is not mounted): name one by --binary");
    if (strlen(path) >= sizeof upgrade->path)
        return np_error(-ENAMETOOLONG, "the path of the file that the daemon was started from is too long: name one by --binary");
    strcpy(upgrade->path, path);
    int result = np_candidate_open(&upgrade->candidate, upgrade->path);
    return result < 0 ? result : np_candidate_ask(&upgrade->candidate);
}

void np_upgrade_ordered(struct np_upgrade *upgrade, uint64_t tag, int fd)
{
    struct np_upgrade_order order;
    if (upgrade->step != NP_UPGRADE_IDLE || tag == upgrade->report.tag)
        return; /* the worker that sent it is told what is under way, and its asker asks again */
    int result = fd < 0 ? np_error(-EMFILE, "the daemon's keeper has no descriptor left: raise the limit of open files (LimitNOFILE=)")
                        : np_upgrade_unpack(fd, &order, sizeof order);
    upgrade->report.tag = tag;
    upgrade->report.sentence[0] = '\0';
    memset(&upgrade->report.answer, 0, sizeof upgrade->report.answer);
    snprintf(upgrade->report.answer.keeper_version, sizeof upgrade->report.answer.keeper_version, "%s", upgrade->own.version);
    snprintf(upgrade->report.answer.version_before, sizeof upgrade->report.answer.version_before, "%s", upgrade->of_binary.version);
    set_state(upgrade, NP_UPGRADE_UNDER_WAY);
    if (result == 0) {
        order.wanted.binary[sizeof order.wanted.binary - 1] = '\0';
        upgrade->check_only = (order.wanted.flags & NP_UPGRADE_CHECK_ONLY) != 0;
        upgrade->wait_ns = order.wanted.wait_ms ? (int64_t)order.wanted.wait_ms * 1000000 : READY_PATIENCE_NS;
        if (upgrade->wait_ns > READY_PATIENCE_MOST_NS)
            upgrade->wait_ns = READY_PATIENCE_MOST_NS;
        result = begin(upgrade, &order.wanted);
        np_log(NP_LOG_INFO, "process %ld of user %lu asks %s numapoold at %s", (long)order.pid, (unsigned long)order.uid,
               upgrade->check_only ? "what is" : "to upgrade to", upgrade->path);
    }
    if (result < 0)
        refuse(upgrade);
    else
        set_step(upgrade, NP_UPGRADE_PROBING, 0);
}

static void leave(struct np_upgrade *upgrade, struct np_upgrade_worker worker)
{
    upgrade->begun_ns = np_monotonic_ns();
    upgrade->report.answer.worker_before = (int32_t)worker.pid;
    set_step(upgrade, NP_UPGRADE_LEAVING, LEAVE_PATIENCE_NS);
    if (worker.pid > 0 && np_record_send(worker.records, NP_RECORD_LEAVE, (struct np_store_key){ 0 }, -1) < 0)
        kill(worker.pid, SIGKILL); /* which loses nothing either */
    else if (worker.pid <= 0)
        set_step(upgrade, NP_UPGRADE_STARTING, START_PATIENCE_NS); /* the last has just died; the next one is the candidate's */
}

static void look_at_candidate(struct np_upgrade *upgrade, struct np_upgrade_worker worker)
{
    int result = np_candidate_look(&upgrade->candidate, &upgrade->of_candidate);
    if (result == 0)
        return;
    if (result > 0)
        result = np_probe_compare(&upgrade->own, &upgrade->of_candidate, upgrade->path);
    if (result < 0) {
        refuse(upgrade);
        return;
    }
    snprintf(upgrade->report.answer.version_after, sizeof upgrade->report.answer.version_after, "%s", upgrade->of_candidate.version);
    if (upgrade->check_only)
        finish(upgrade, NP_UPGRADE_CHECKED);
    else
        leave(upgrade, worker);
}

/* ---------------------------------------------------------------- LEAVING, STARTING */

void np_upgrade_worker_started(struct np_upgrade *upgrade, pid_t worker)
{
    upgrade->told = false;
    if (upgrade->step != NP_UPGRADE_STARTING)
        return;
    upgrade->report.answer.worker_after = (int32_t)worker;
    set_step(upgrade, NP_UPGRADE_STARTING, upgrade->wait_ns);
}

void np_upgrade_worker_ready(struct np_upgrade *upgrade, pid_t worker)
{
    struct np_wire_upgrade_answer *answer = &upgrade->report.answer;
    if (upgrade->step != NP_UPGRADE_STARTING || answer->worker_after != (int32_t)worker)
        return;
    if (upgrade->binary >= 0)
        close(upgrade->binary);
    upgrade->binary = upgrade->candidate.fd;
    upgrade->candidate.fd = -1;
    upgrade->of_binary = upgrade->of_candidate;
    answer->took_ns = np_monotonic_ns() - upgrade->begun_ns;
    upgrade->report.upgrades++;
    np_log(NP_LOG_INFO, "numapoold %s (worker %ld) took over from %s (worker %ld) in %.1f ms", answer->version_after, (long)worker,
           answer->version_before, (long)answer->worker_before, (double)answer->took_ns / 1e6);
    finish(upgrade, NP_UPGRADE_DONE);
}

bool np_upgrade_worker_ended(struct np_upgrade *upgrade, int how)
{
    char why[80];
    switch (upgrade->step) {
    case NP_UPGRADE_LEAVING:
        if (WIFEXITED(how) && WEXITSTATUS(how) == 0)
            return false; /* somebody told it to end, and with it the daemon */
        set_step(upgrade, NP_UPGRADE_STARTING, START_PATIENCE_NS);
        return true;
    case NP_UPGRADE_STARTING:
        if (upgrade->late)
            snprintf(why, sizeof why, "was not ready within %.1f s (--wait gives it longer)", (double)upgrade->wait_ns / 1e9);
        else if (WIFSIGNALED(how))
            snprintf(why, sizeof why, "was killed by signal %d (%.30s) before it was ready", WTERMSIG(how), strsignal(WTERMSIG(how)));
        else
            snprintf(why, sizeof why, "ended with status %d before it was ready", WEXITSTATUS(how));
        roll_back(upgrade, why);
        return true;
    default:
        return false;
    }
}

/* ---------------------------------------------------------------- the keeper's turns */

int np_upgrade_binary(const struct np_upgrade *upgrade)
{
    return upgrade->step == NP_UPGRADE_STARTING ? upgrade->candidate.fd : upgrade->binary;
}

int np_upgrade_tell(struct np_upgrade *upgrade, int records)
{
    if (upgrade->told)
        return 0;
    int fd = np_upgrade_pack(&upgrade->report, sizeof upgrade->report);
    if (fd < 0)
        return fd; /* told at some later turn: a worker is not kept from its work for this */
    int result = np_record_send(records, NP_RECORD_UPGRADE, (struct np_store_key){ 0 }, fd);
    close(fd);
    upgrade->told = result == 0;
    return result;
}

int np_upgrade_descriptor(const struct np_upgrade *upgrade)
{
    return upgrade->candidate.said_fd;
}

int64_t np_upgrade_deadline_ns(const struct np_upgrade *upgrade)
{
    return upgrade->step == NP_UPGRADE_PROBING ? upgrade->candidate.deadline_ns : upgrade->deadline_ns;
}

void np_upgrade_turn(struct np_upgrade *upgrade, struct np_upgrade_worker worker)
{
    if (upgrade->step == NP_UPGRADE_PROBING) {
        look_at_candidate(upgrade, worker);
        return;
    }
    if (np_monotonic_ns() < upgrade->deadline_ns)
        return;
    if (worker.pid <= 0) {
        roll_back(upgrade, "could not be started");
        return;
    }
    np_log(NP_LOG_WARN, "upgrade: worker %ld %s: it is killed", (long)worker.pid,
           upgrade->step == NP_UPGRADE_LEAVING ? "does not leave" : "of the new build is not ready in time");
    kill(worker.pid, SIGKILL);
    upgrade->late = true;
    upgrade->deadline_ns = INT64_MAX; /* its end is heard of */
}

void np_upgrade_start(struct np_upgrade *upgrade)
{
    *upgrade = (struct np_upgrade){ .binary = -1, .deadline_ns = INT64_MAX };
    upgrade->candidate = (struct np_candidate){ .fd = -1, .said_fd = -1, .deadline_ns = INT64_MAX };
    np_probe_own(&upgrade->own);
    upgrade->of_binary = upgrade->own;
    upgrade->report.bytes = sizeof upgrade->report;
    snprintf(upgrade->report.answer.keeper_version, sizeof upgrade->report.answer.keeper_version, "%s", upgrade->own.version);
    find_started_from(upgrade->started_from);
}

void np_upgrade_stop(struct np_upgrade *upgrade)
{
    np_candidate_close(&upgrade->candidate);
    if (upgrade->binary >= 0)
        close(upgrade->binary);
    upgrade->binary = -1;
}
