/* SPDX-License-Identifier: MIT
 * numapoold: the daemon's command line. */
#include <argp.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sysexits.h>
#include <unistd.h>

#include "core/error.h"
#include "daemon/config.h"
#include "daemon/keeper.h"
#include "daemon/probe.h"
#include "daemon/worker.h"
#include "numapool.h"

enum option_key {
    OPTION_CLIENTS = 256,
    OPTION_CHANNELS,
    OPTION_ENDPOINTS,
    OPTION_LANES,
    OPTION_READY_FD,
    OPTION_WORKER,
    OPTION_PROBE,
    OPTION_LOG_TO,
    OPTION_ADMIN,
    OPTION_LOOP,
    OPTION_PATROL
};

struct command_line {
    struct np_config config;
    const char *file;
    int ready_fd;
    bool is_worker;
    bool is_probe;
    int listen_fd, records_fd;
    int result; /* of the first thing wrong */
};

static const struct argp_option options[] = {
    { "pool", 'p', "SPEC", 0,
      "Make a pool: NAME,size=BYTES,count=SLOTS and, if wanted, pages=best|thp|2m|1g, fallback (smaller pages where there are not "
      "enough), magazine=SLOTS, sharers=N (processes to share what may be cached), low_watermark=SLOTS, exact (count each get and put), "
      "checks or checks=sites (find misuse). May be given "
      "several times. direct=ID:ID..., readonly=ID..., admin=ID...: users, and groups after '@', with that right. K, M and G are 2^10, 2^20 and 2^30.", 1 },
    { "config", 'c', "FILE", 0, "Read FILE: [daemon] with socket, clients, channels, endpoints, lanes, log, log_to, admin, loop, patrol; [pool NAME] with size, count, ... "
      "The command line wins over it.", 1 },
    { "socket", 's', "PATH", 0, "Listen at PATH (default: $NUMAPOOL_SOCKET, $XDG_RUNTIME_DIR/numapool.sock, /run/numapool/numapool.sock)", 2 },
    { "log", 'l', "LEVEL", 0, "error, warn, info (default) or debug", 2 },
    { "log-to", OPTION_LOG_TO, "WHERE", 0, "stderr, journal, or auto (default: the journal when systemd has connected the standard error to it)", 2 },
    { "admin", OPTION_ADMIN, "ID[:ID...]", 0, "Users, and groups after '@', who may make, enlarge and destroy pools and look at everything, as the "
      "daemon's user and root may", 2 },
    { "loop", OPTION_LOOP, "WHAT", 0, "What the daemon runs on: io_uring, epoll, or auto (default: io_uring, and epoll where the system refuses that)", 2 },
    { "patrol", OPTION_PATROL, "SECONDS", 0, "Look where all pages are that often, and bring back those that were moved (default 60; 0: never)", 2 },
    { "ready-fd", OPTION_READY_FD, "N", 0, "Write a newline to descriptor N when all pools are there and verified, and close it", 2 },
    { "clients", OPTION_CLIENTS, "N", 0, "Most clients at once (default 1024)", 3 },
    { "channels", OPTION_CHANNELS, "N", 0, "Most channels (default 1024)", 3 },
    { "endpoints", OPTION_ENDPOINTS, "N", 0, "Most senders and receivers together (default 2048)", 3 },
    { "lanes", OPTION_LANES, "N", 0, "Most lanes, one for each sender and receiver that talk (default 4096)", 3 },
    { "probe", OPTION_PROBE, NULL, 0, "Print version and fingerprints of what it shares with clients, by which a running daemon tells "
      "whether this build's worker could take over from its own (numapoolctl upgrade), and do nothing else", 3 },
    { "worker", OPTION_WORKER, "FDS", OPTION_HIDDEN, NULL, 3 },
    { 0 }
};

static const char what_it_is[] =
    "Carves pools of fixed-size slots per NUMA node, and gives back what its clients held when they die.\v"
    "Runs in the foreground until SIGTERM. Exit status: 0 ended as told; 1 the socket cannot be had; 64 an option or the file is "
    "wrong; 70 no worker becomes ready; 78 the system does not give what was asked for.";

static int parse_descriptor(const char *text, int *fd)
{
    uint64_t number;
    if (np_config_number(text, &number) < 0 || number > INT32_MAX || fcntl((int)number, F_GETFD) < 0)
        return np_error(-EINVAL, "--ready-fd: '%.20s' is no descriptor that is open here", text);
    *fd = (int)number;
    return fcntl(*fd, F_SETFD, FD_CLOEXEC) < 0 ? np_error(-errno, "--ready-fd: %s", strerror(errno)) : 0;
}

static int set(struct command_line *line, const char *name, const char *value)
{
    char where[32];
    snprintf(where, sizeof where, "--%s", name);
    return np_config_set(&line->config, name, value, where, true);
}

static int take(struct command_line *line, int key, char *value)
{
    switch (key) {
    case 'p':
        return np_config_pool_add(&line->config, value, "--pool");
    case 'c':
        if (line->file)
            return np_error(-EINVAL, "--config: is given twice ('%s' and '%s'): leave one out", line->file, value);
        line->file = value;
        return 0;
    case 's':
        return set(line, "socket", value);
    case 'l':
        return set(line, "log", value);
    case OPTION_LOG_TO:
        return set(line, "log_to", value);
    case OPTION_ADMIN:
        return set(line, "admin", value);
    case OPTION_LOOP:
        return set(line, "loop", value);
    case OPTION_PATROL:
        return set(line, "patrol", value);
    case OPTION_CLIENTS:
        return set(line, "clients", value);
    case OPTION_CHANNELS:
        return set(line, "channels", value);
    case OPTION_ENDPOINTS:
        return set(line, "endpoints", value);
    case OPTION_LANES:
        return set(line, "lanes", value);
    case OPTION_READY_FD:
        return parse_descriptor(value, &line->ready_fd);
    case OPTION_PROBE:
        line->is_probe = true;
        return 0;
    case OPTION_WORKER:
        line->is_worker = true;
        return sscanf(value, "%d,%d", &line->listen_fd, &line->records_fd) == 2
                   ? 0
                   : np_error(-EINVAL, "--worker: is for the daemon's own use");
    default:
        return np_error(-EINVAL, "'%.60s' is not understood: everything is an option (numapoold --help)", value);
    }
}

static error_t parse(int key, char *value, struct argp_state *state)
{
    struct command_line *line = state->input;
    if (key == ARGP_KEY_ARG || (key > 0 && key < 0x1000000)) {
        if (line->result == 0)
            line->result = take(line, key == ARGP_KEY_ARG ? 0 : key, value);
        return 0;
    }
    return ARGP_ERR_UNKNOWN;
}

static void print_version(FILE *stream, struct argp_state *state)
{
    (void)state;
    fprintf(stream, "numapoold %s\n", numapool_version());
}

/* Some start a daemon with its standard descriptors closed. What is opened first would get their numbers, and a line of log
 * written to number 2 would go into shared memory. */
static void fill_standard_descriptors(void)
{
    int fd;
    do
        fd = open("/dev/null", O_RDWR);
    while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd > STDERR_FILENO)
        close(fd);
}

int main(int argc, char **argv)
{
    static struct command_line line; /* large for a stack */
    static const struct argp argp = { .options = options, .parser = parse, .doc = what_it_is };
    argp_program_version_hook = print_version; /* libc's variable: one of ours would be hidden from it */
    fill_standard_descriptors();
    np_config_start(&line.config);
    line.ready_fd = -1;
    argp_err_exit_status = EX_USAGE;
    if (argp_parse(&argp, argc, argv, 0, NULL, &line) != 0)
        return EX_USAGE;
    int result = line.result;
    if (result == 0 && line.is_probe) {
        struct np_probe own;
        np_probe_own(&own);
        np_probe_print(&own, stdout);
        return fflush(stdout) == 0 ? 0 : EX_IOERR;
    }
    if (result == 0 && line.file)
        result = np_config_read(&line.config, line.file);
    if (result == 0)
        result = np_config_finish(&line.config);
    if (result < 0) {
        fprintf(stderr, "numapoold: %s\n", np_error_sentence());
        return EX_USAGE;
    }
    if (line.is_worker) {
        prctl(PR_SET_NAME, "numapoold"); /* not "exe", for ps and pgrep: it was started as /proc/self/exe */
        fcntl(line.listen_fd, F_SETFD, FD_CLOEXEC);
        fcntl(line.records_fd, F_SETFD, FD_CLOEXEC);
        return np_worker_run(&line.config, line.listen_fd, line.records_fd);
    }
    return np_keeper_run(&line.config, argv[0] ? argv[0] : "numapoold", line.ready_fd);
}
