/* SPDX-License-Identifier: MIT
 *
 * Invariants
 *   K1  There is at most one worker: another is started only after the last was reaped (waitpid) and all that it had sent was read.
 *   K2  A worker is given everything that is stored before it is told READY; until then it sends nothing that depends on it.
 *   K3  The keeper waits in one place (poll), so that a signal is always heard, whatever the worker does.
 *   K4  Where a service manager keeps descriptors (depository.h), what the worker stores is acknowledged once the manager has it.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "daemon/keeper.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

#include "core/bell.h"
#include "core/error.h"
#include "daemon/depository.h"
#include "daemon/log.h"
#include "daemon/mend.h"
#include "daemon/privileges.h"
#include "daemon/restarts.h"
#include "daemon/store.h"
#include "daemon/upgrade.h"
#include "daemon/worker.h"
#include "numa/placement.h"
#include "numa/system_files.h"
#include "numa/topology.h"

#define END_PATIENCE_NS INT64_C(5000000000)
#define SEND_RETRY_NS   INT64_C(1000000)

enum {
    WORKER_ARGUMENTS_MAX = 16 + NP_POOLS_MAX,
    ARGUMENT_BYTES = NP_CONFIG_SPEC_BYTES + 16
};

struct keeper {
    const struct np_config *config;
    const char *program;
    struct np_listener listener;
    struct np_store store;
    struct np_depository depository;
    int signal_fd;
    sigset_t signals_before;
    bool had_terminal;
    int ready_fd; /* -1: told, or nobody asked */
    bool ready_told;

    pid_t worker;           /* 0: none */
    int records;            /* our end of the socket pair; -1 */
    size_t given;           /* how far in the store the new worker has been given what is there */
    bool all_given;
    struct np_restarts restarts;
    struct np_upgrade upgrade;
    int64_t start_at_ns;    /* when there is none: start another then */
    int64_t give_again_ns;  /* 0, or when to go on giving */
    uint32_t stores;        /* records of this worker that store; the last of them has this serial number */
    uint32_t acknowledged;

    bool ending;
    int64_t end_deadline_ns;
    bool finished;
    int status;
};

/* ---------------------------------------------------------------- once, at the start */

static int make_memory(struct keeper *keeper, enum np_store_kind kind, const char *what, size_t bytes)
{
    struct np_memory memory;
    int result = np_memory_create(&memory, what, bytes, -1, NP_PAGES_MIXED, NP_SHARED);
    if (result < 0)
        return result;
    np_memory_unmap(memory.address, memory.bytes);
    const struct np_store_key key = { .kind = (uint32_t)kind };
    result = np_store_put(&keeper->store, key, memory.fd);
    if (result < 0)
        close(memory.fd);
    else
        np_depository_store(&keeper->depository, key, 0);
    return result;
}

static bool has_terminal(void)
{
    int fd = open("/dev/tty", O_RDONLY | O_NOCTTY | O_CLOEXEC);
    if (fd >= 0)
        close(fd);
    return fd >= 0;
}

static int hear_signals(struct keeper *keeper)
{
    sigset_t heard;
    keeper->had_terminal = has_terminal();
    np_worker_ending_signals(&heard);
    sigaddset(&heard, SIGCHLD);
    signal(SIGCHLD, SIG_DFL); /* ignored, as whoever started this may have left it, no worker's end would be heard of */
    signal(SIGPIPE, SIG_IGN);
    sigprocmask(SIG_BLOCK, &heard, &keeper->signals_before);
    keeper->signal_fd = signalfd(-1, &heard, SFD_CLOEXEC | SFD_NONBLOCK);
    return keeper->signal_fd < 0 ? np_error(-errno, "cannot make a signalfd: %s", strerror(errno)) : 0;
}

/* A pool, a client and a lane are descriptors here: as many as the system allows. */
static void raise_open_files(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
    }
}

/* ---------------------------------------------------------------- the worker's life */

/* The worker parses the same options as the keeper did: what the keeper made of command line and file, in one form. */
static void exec_worker(const struct keeper *keeper, int records)
{
    static char text[WORKER_ARGUMENTS_MAX][ARGUMENT_BYTES];
    const char *arguments[WORKER_ARGUMENTS_MAX + 1];
    const struct np_config *config = keeper->config;
    unsigned n = 0;
    snprintf(text[n++], ARGUMENT_BYTES, "%.200s", keeper->program);
    snprintf(text[n++], ARGUMENT_BYTES, "--worker=%d,%d", keeper->listener.socket_fd, records);
    snprintf(text[n++], ARGUMENT_BYTES, "--socket=%s", config->socket_path);
    snprintf(text[n++], ARGUMENT_BYTES, "--clients=%u", config->limits.clients);
    snprintf(text[n++], ARGUMENT_BYTES, "--channels=%u", config->limits.channels);
    snprintf(text[n++], ARGUMENT_BYTES, "--endpoints=%u", config->limits.endpoints);
    snprintf(text[n++], ARGUMENT_BYTES, "--lanes=%u", config->limits.lanes);
    snprintf(text[n++], ARGUMENT_BYTES, "--patrol=%u", config->patrol_s);
    snprintf(text[n++], ARGUMENT_BYTES, "--log=%s", np_log_level_name(config->log_level));
    snprintf(text[n++], ARGUMENT_BYTES, "--log-to=%s", np_log_to_name(config->log_to));
    if (config->loop != NP_LOOP_AUTO)
        snprintf(text[n++], ARGUMENT_BYTES, "--loop=%s", np_config_loop_name(config->loop));
    char admins[NP_ACCESS_TEXT_BYTES];
    np_access_format(config->admins, NP_RIGHT_ADMIN, admins, sizeof admins);
    if (admins[0])
        snprintf(text[n++], ARGUMENT_BYTES, "--admin=%s", admins);
    for (unsigned i = 0; i < config->pool_count; i++) {
        char spec[NP_CONFIG_SPEC_BYTES];
        np_config_pool_spec(&config->pools[i], spec);
        snprintf(text[n++], ARGUMENT_BYTES, "--pool=%s", spec);
    }
    for (unsigned i = 0; i < n; i++)
        arguments[i] = text[i];
    arguments[n] = NULL;
    if (np_upgrade_binary(&keeper->upgrade) >= 0) {
        fexecve(np_upgrade_binary(&keeper->upgrade), (char *const *)(uintptr_t)arguments, environ);
        np_log(NP_LOG_ERROR, "cannot start a worker of the build that was upgraded to (fexecve: %s)", strerror(errno));
        _exit(EX_OSERR);
    }
    execv("/proc/self/exe", (char *const *)(uintptr_t)arguments);
    np_log(NP_LOG_ERROR, "cannot start a worker (execv of /proc/self/exe: %s): /proc must be mounted", strerror(errno));
    _exit(keeper->restarts.may_have_clients ? EX_OSERR : EX_CONFIG);
}

static void run_child(const struct keeper *keeper, int records, pid_t parent)
{
    /* A worker without its keeper has nobody to keep what it makes. It sees the closed socket pair; this is for one that
     * is stuck. */
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(EX_OSERR);
    np_privileges_drop(); /* also of a build that would not do it itself */
    sigprocmask(SIG_SETMASK, &keeper->signals_before, NULL);
    int inherited[] = { keeper->listener.socket_fd, records };
    for (unsigned i = 0; i < 2; i++)
        if (fcntl(inherited[i], F_SETFD, 0) != 0)
            _exit(EX_OSERR);
    exec_worker(keeper, records);
}

static void finish(struct keeper *keeper, int status)
{
    keeper->finished = true;
    keeper->status = status;
}

/* `how`: what waitpid said of the worker that has ended, or -1: none could be started. */
static void start_later(struct keeper *keeper, int how)
{
    char sentence[320];
    int64_t pause_ns = np_restarts_after(&keeper->restarts, np_monotonic_ns());
    if (pause_ns < 0) {
        int status = np_restarts_give_up(&keeper->restarts, how, sentence, sizeof sentence);
        np_log(NP_LOG_ERROR, "%s", sentence);
        finish(keeper, status);
        return;
    }
    if (keeper->restarts.failed == NP_RESTARTS_TRIES_MAX)
        np_log(NP_LOG_ERROR, "no worker becomes ready any more, in %u tries: it is tried on; clients go on with what they have mapped, and "
               "what needs the daemon waits", keeper->restarts.failed);
    keeper->start_at_ns = np_monotonic_ns() + pause_ns;
}

static void start_worker(struct keeper *keeper)
{
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0) {
        np_log(NP_LOG_ERROR, "cannot make a socket pair for a worker (%s): raise LimitNOFILE=", strerror(errno));
        start_later(keeper, -1);
        return;
    }
    pid_t parent = getpid(), child = fork();
    if (child == 0)
        run_child(keeper, pair[1], parent);
    close(pair[1]);
    if (child < 0) {
        np_log(NP_LOG_ERROR, "cannot start a worker (fork: %s): raise TasksMax=, or free memory", strerror(errno));
        close(pair[0]);
        start_later(keeper, -1);
        return;
    }
    keeper->worker = child;
    keeper->records = pair[0];
    keeper->given = 0;
    keeper->all_given = false;
    keeper->give_again_ns = 0;
    keeper->stores = keeper->acknowledged = 0;
    np_depository_new_worker(&keeper->depository);
    np_restarts_born(&keeper->restarts);
    np_upgrade_worker_started(&keeper->upgrade, child);
    np_log(NP_LOG_DEBUG, "worker %ld was started", (long)child);
}

/* Gives the new worker what is stored, as much as its socket takes. */
static void give(struct keeper *keeper)
{
    keeper->give_again_ns = 0;
    while (!keeper->all_given) {
        size_t next = keeper->given;
        const struct np_store_entry *entry = np_store_next(&keeper->store, &next);
        if (!entry && np_upgrade_tell(&keeper->upgrade, keeper->records) == -EAGAIN) {
            keeper->give_again_ns = np_monotonic_ns() + SEND_RETRY_NS;
            return;
        }
        const struct np_store_key all = { .a = (uint32_t)keeper->depository.state };
        int result = entry ? np_record_send(keeper->records, NP_RECORD_STORE, entry->key, entry->fd)
                           : np_record_send(keeper->records, NP_RECORD_READY, all, -1);
        if (result == -EAGAIN)
            keeper->give_again_ns = np_monotonic_ns() + SEND_RETRY_NS;
        if (result < 0)
            return; /* another error: the worker is gone, and its end is heard of by SIGCHLD */
        keeper->given = next;
        keeper->all_given = entry == NULL;
    }
}

static void tell_ready(struct keeper *keeper)
{
    np_restarts_ready(&keeper->restarts);
    if (keeper->ready_told)
        return;
    keeper->ready_told = true;
    np_log(NP_LOG_INFO, "ready at %s", keeper->config->socket_path);
    np_depository_tell(&keeper->depository, keeper->depository.state == NP_DEPOSITORY_KEEPING
                                                ? "READY=1\nSTATUS=Serving; every descriptor is with the service manager"
                                                : "READY=1\nSTATUS=Serving");
    if (keeper->ready_fd >= 0) {
        if (write(keeper->ready_fd, "\n", 1) != 1)
            np_log(NP_LOG_WARN, "cannot write to the descriptor of --ready-fd: %s", strerror(errno));
        close(keeper->ready_fd);
        keeper->ready_fd = -1;
    }
}

static void drop(struct keeper *keeper, struct np_store_key key)
{
    np_depository_remove(&keeper->depository, key);
    np_store_remove(&keeper->store, key);
}

/* The manager is given what it takes, and the worker hears how far that is. Told once more or not at all, where its socket is
 * full: it does not wait for ever. */
static void deposit(struct keeper *keeper)
{
    np_depository_turn(&keeper->depository);
    const struct np_store_key stored = { .a = keeper->depository.stored_serial, .b = (uint32_t)keeper->depository.state };
    if (keeper->worker > 0 && stored.a > keeper->acknowledged &&
        np_record_send(keeper->records, NP_RECORD_STORED, stored, -1) == 0)
        keeper->acknowledged = stored.a;
}

/* Everything that the worker has sent. */
static void mend(const struct keeper *keeper, const struct np_record *record)
{
    struct np_mend answer;
    np_mend(&keeper->store, record, &answer);
    /* No room in its socket: it asks again when it has waited for long enough. */
    (void)np_record_send_mend(keeper->records, NP_RECORD_MENDED, record->key, &answer);
}

/* All that has come, or as far as the first slice that is to be moved. */
static void read_records(struct keeper *keeper, bool worker_is_gone)
{
    struct np_record record;
    int fd, result;
    while ((result = np_record_receive(keeper->records, &record, &fd)) == 1 || result == -EMFILE || result == -EPROTO) {
        if (result < 0) {
            np_log(NP_LOG_ERROR, "a record of the worker: %s", np_error_sentence());
            if (result == -EMFILE) {
                drop(keeper, record.key); /* what the key had is another client's or lane's */
                np_depository_store(&keeper->depository, record.key, ++keeper->stores);
            }
            continue;
        }
        switch (record.verb) {
        case NP_RECORD_STORE:
            np_depository_remove(&keeper->depository, record.key);
            if (np_store_put(&keeper->store, record.key, fd) == 0) {
                fd = -1;
            } else {
                np_log(NP_LOG_ERROR, "%s", np_error_sentence());
                np_store_remove(&keeper->store, record.key); /* what the key had is another client's or lane's */
            }
            np_depository_store(&keeper->depository, record.key, ++keeper->stores);
            break;
        case NP_RECORD_DROP:
            drop(keeper, record.key);
            break;
        case NP_RECORD_READY:
            tell_ready(keeper);
            np_upgrade_worker_ready(&keeper->upgrade, keeper->worker);
            break;
        case NP_RECORD_MEND:
            /* It takes its time: signals are heard before the next one. Nobody waits for what a dead worker wanted moved. */
            if (fd >= 0)
                close(fd);
            if (!worker_is_gone) {
                mend(keeper, &record);
                return;
            }
            continue;
        case NP_RECORD_UPGRADE:
            np_upgrade_ordered(&keeper->upgrade, (uint64_t)record.key.b << 32 | record.key.a, fd);
            break;
        default:
            break;
        }
        if (fd >= 0)
            close(fd);
    }
}

static void worker_ended(struct keeper *keeper, int how)
{
    bool in_order = WIFEXITED(how) && WEXITSTATUS(how) == 0;
    read_records(keeper, true);
    close(keeper->records);
    keeper->records = -1;
    keeper->worker = 0;
    if (!keeper->ending && np_upgrade_worker_ended(&keeper->upgrade, how)) {
        keeper->start_at_ns = 0;
    } else if (keeper->ending || in_order) {
        finish(keeper, 0);
    } else if (WIFEXITED(how) && WEXITSTATUS(how) == EX_CONFIG && !keeper->restarts.may_have_clients) {
        finish(keeper, EX_CONFIG); /* the worker has said why. Once there may be clients, what is short now the next try may find */
    } else {
        if (WIFSIGNALED(how))
            np_log(NP_LOG_WARN, "the worker was killed by signal %d (%s): another takes over", WTERMSIG(how), strsignal(WTERMSIG(how)));
        else
            np_log(NP_LOG_WARN, "the worker ended with status %d: another takes over", WEXITSTATUS(how));
        start_later(keeper, how);
    }
}

static void reap(struct keeper *keeper)
{
    int how;
    if (keeper->worker > 0 && waitpid(keeper->worker, &how, WNOHANG) == keeper->worker)
        worker_ended(keeper, how);
}

static void begin_end(struct keeper *keeper)
{
    if (keeper->ending)
        return;
    keeper->ending = true;
    np_upgrade_stop(&keeper->upgrade);
    keeper->end_deadline_ns = np_monotonic_ns() + END_PATIENCE_NS;
    np_depository_tell(&keeper->depository, "STOPPING=1\nSTATUS=Ending");
    if (keeper->worker == 0)
        finish(keeper, 0);
    else if (!keeper->restarts.may_have_clients)
        kill(keeper->worker, SIGKILL); /* nobody has anything of it, and it hears nothing before its pools are made */
    else if (np_record_send(keeper->records, NP_RECORD_END, (struct np_store_key){ 0 }, -1) < 0)
        kill(keeper->worker, SIGTERM);
}

/* Two things come as SIGHUP. The terminal that the daemon was started on is gone: it ends, as programs do. Or somebody sent it, a
 * service manager's reload: the worker looks at the nodes again; one that is just being started does so anyway. */
static void hang_up(struct keeper *keeper)
{
    if (keeper->had_terminal && !has_terminal()) {
        begin_end(keeper);
        return;
    }
    if (keeper->worker > 0 && !keeper->ending && np_record_send(keeper->records, NP_RECORD_RELOAD, (struct np_store_key){ 0 }, -1) < 0)
        np_log(NP_LOG_WARN, "the worker does not hear that it is to look at the nodes again: send SIGHUP once more");
}

static void hear(struct keeper *keeper)
{
    struct signalfd_siginfo heard;
    while (read(keeper->signal_fd, &heard, sizeof heard) == (ssize_t)sizeof heard)
        if (heard.ssi_signo == SIGCHLD)
            reap(keeper);
        else if (heard.ssi_signo == SIGHUP)
            hang_up(keeper);
        else
            begin_end(keeper);
}

/* ---------------------------------------------------------------- the loop */

static int wait_ms(const struct keeper *keeper)
{
    int64_t until_ns = INT64_MAX;
    if (keeper->ending)
        until_ns = keeper->end_deadline_ns;
    else if (keeper->worker == 0)
        until_ns = keeper->start_at_ns;
    if (keeper->give_again_ns != 0 && keeper->give_again_ns < until_ns)
        until_ns = keeper->give_again_ns;
    if (!keeper->ending && np_upgrade_deadline_ns(&keeper->upgrade) < until_ns)
        until_ns = np_upgrade_deadline_ns(&keeper->upgrade);
    if (keeper->depository.blocked)
        return 1;
    if (until_ns == INT64_MAX)
        return -1;
    int64_t left_ns = until_ns - np_monotonic_ns();
    return left_ns <= 0 ? 0 : (int)((left_ns + 999999) / 1000000);
}

static void serve_upgrade(struct keeper *keeper)
{
    np_upgrade_turn(&keeper->upgrade, (struct np_upgrade_worker){ keeper->worker, keeper->records });
    if (keeper->worker > 0 && keeper->all_given)
        keeper->give_again_ns = np_upgrade_tell(&keeper->upgrade, keeper->records) == -EAGAIN ? np_monotonic_ns() + SEND_RETRY_NS : 0;
}

static void turn(struct keeper *keeper)
{
    struct pollfd polled[] = { { .fd = keeper->signal_fd, .events = POLLIN },
                               { .fd = keeper->records, .events = POLLIN },
                               { .fd = np_upgrade_descriptor(&keeper->upgrade), .events = POLLIN },
                               { .fd = keeper->depository.answer_read } };
    if (poll(polled, sizeof polled / sizeof polled[0], wait_ms(keeper)) < 0 && errno != EINTR)
        np_log(NP_LOG_ERROR, "poll: %s", strerror(errno));
    if (polled[1].revents & POLLIN)
        read_records(keeper, false);
    hear(keeper);
    deposit(keeper);
    if (keeper->finished)
        return;
    if (keeper->worker > 0 && !keeper->all_given)
        give(keeper);
    if (!keeper->ending)
        serve_upgrade(keeper);
    int64_t now_ns = np_monotonic_ns();
    if (keeper->ending) {
        if (now_ns >= keeper->end_deadline_ns && keeper->worker > 0) {
            np_log(NP_LOG_WARN, "the worker does not end: it is killed");
            kill(keeper->worker, SIGKILL);
            keeper->end_deadline_ns = INT64_MAX;
        }
    } else if (keeper->worker == 0 && now_ns >= keeper->start_at_ns) {
        start_worker(keeper);
        if (keeper->worker > 0)
            give(keeper);
    }
}

/* Board and bells. Bells first: a board that was stored is never without them. */
static int make_premises(struct keeper *keeper)
{
    const struct np_board_limits *limits = &keeper->config->limits;
    int result = make_memory(keeper, NP_STORE_BELLS, "the bells", np_board_bells(limits) * sizeof(struct np_bell));
    if (result == 0)
        result = make_memory(keeper, NP_STORE_BOARD, "the board", np_board_bytes(limits));
    return result;
}

/* Those of a keeper before. The tables are as large as they were made, whatever the configuration says now. */
static void adopt_premises(struct keeper *keeper, struct np_config *adopted)
{
    struct np_board_header header;
    int board = np_store_get(&keeper->store, (struct np_store_key){ .kind = NP_STORE_BOARD });
    if (pread(board, &header, sizeof header, 0) != (ssize_t)sizeof header || header.magic != NP_BOARD_MAGIC ||
        np_board_limits_check(&header.limits) < 0)
        return; /* nobody has used it, or the worker says what is wrong */
    if (memcmp(&header.limits, &keeper->config->limits, sizeof header.limits) != 0)
        np_log(NP_LOG_WARN, "clients, channels, endpoints and lanes stay as they were (%u, %u, %u, %u): only a daemon that was stopped and "
               "started again has others", header.limits.clients, header.limits.channels, header.limits.endpoints, header.limits.lanes);
    keeper->restarts.may_have_clients = true;
    *adopted = *keeper->config;
    adopted->limits = header.limits;
    keeper->config = adopted;
}

static void tell_rights(void)
{
    if (np_topology_machine_nodes(NP_SYSTEM_ROOT) > 1 && !np_privileges_may_move())
        np_log(NP_LOG_WARN, "pages that are moved from outside cannot be brought back: give the daemon CAP_SYS_NICE (AmbientCapabilities=CAP_SYS_NICE of the "
               "unit, --cap-add SYS_NICE of a container)");
}

int np_keeper_run(const struct np_config *config, const char *program, int ready_fd)
{
    static struct np_config adopted; /* large for a stack */
    struct keeper keeper = { .config = config, .program = program, .ready_fd = ready_fd, .signal_fd = -1, .records = -1 };
    np_log_start("keeper", config->log_level, config->log_to, NP_LOG_JOURNAL_SOCKET);
    raise_open_files();
    np_upgrade_start(&keeper.upgrade);
    int result = np_depository_open(&keeper.depository, &keeper.store);
    if (result == 0)
        result = np_listener_open(&keeper.listener, config->socket_path, keeper.depository.listen_fd, keeper.depository.listen_inode);
    if (result < 0) {
        np_log(NP_LOG_ERROR, "%s", np_error_sentence());
        return EXIT_FAILURE;
    }
    tell_rights();
    np_depository_begin(&keeper.depository);
    if (!keeper.listener.socket_is_others && np_listener_inode(&keeper.listener) != 0)
        np_depository_listen(&keeper.depository, keeper.listener.socket_fd, np_listener_inode(&keeper.listener));
    result = hear_signals(&keeper);
    if (result == 0 && keeper.store.count > 0)
        adopt_premises(&keeper, &adopted);
    else if (result == 0)
        result = make_premises(&keeper);
    if (result < 0) {
        np_log(NP_LOG_ERROR, "%s", np_error_sentence());
        keeper.status = EX_CONFIG;
        keeper.finished = true;
    }
    while (!keeper.finished)
        turn(&keeper);
    np_upgrade_stop(&keeper.upgrade);
    /* The manager keeps what it has: it lets go of it when the service is stopped, and does not when it is restarted. */
    bool is_restart = keeper.depository.state == NP_DEPOSITORY_KEEPING && keeper.status == 0; /* for all that is known here */
    np_depository_close(&keeper.depository);
    np_listener_close(&keeper.listener, is_restart);
    np_store_clear(&keeper.store);
    np_log(NP_LOG_INFO, "ended");
    return keeper.status;
}
