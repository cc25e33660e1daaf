/* SPDX-License-Identifier: MIT
 *
 * What the daemon tells people: one line each, on the standard error or in the systemd journal. Never waits for who reads it, since
 * neither a full pipe nor a stopped journald may stop the daemon: so the journal is spoken to in its native protocol
 * (systemd's JOURNAL_NATIVE_PROTOCOL: a datagram of FIELD=value lines), without waiting, which libsystemd's calls do.
 */
#ifndef NP_DAEMON_LOG_H
#define NP_DAEMON_LOG_H

#include <stdbool.h>
#include <stdint.h>

enum np_log_level { NP_LOG_ERROR, NP_LOG_WARN, NP_LOG_INFO, NP_LOG_DEBUG };

enum np_log_to {
    NP_LOG_TO_AUTO,   /* the journal when the standard error leads there anyway (JOURNAL_STREAM), else the standard error */
    NP_LOG_TO_STDERR,
    NP_LOG_TO_JOURNAL /* what it does not take goes to the standard error */
};

#define NP_LOG_JOURNAL_SOCKET "/run/systemd/journal/socket"

/* `who`: "keeper" or "worker"; must live for ever, as must journal_path. */
void np_log_start(const char *who, enum np_log_level level, enum np_log_to to, const char *journal_path);

/* "numapoold worker: info: ...", in the journal without that, which its fields say. A line that is not taken at once is
 * counted, and the next one says how many were lost. */
__attribute__((format(printf, 2, 3))) void np_log(enum np_log_level level, const char *format, ...);

/* Fields of the journal: NUMAPOOL_POOL, NUMAPOOL_CLIENT, NUMAPOOL_PID. NULL or 0: none. */
struct np_log_about {
    const char *pool;
    uint32_t client;
    int32_t pid;
};
__attribute__((format(printf, 3, 4))) void np_log_of(enum np_log_level level, struct np_log_about about, const char *format, ...);

/* What others can make happen as often as they like is told ten times in ten seconds. True: it is to be told now; *untold is how many
 * were not in the period before, once in each period, and else 0. */
struct np_log_limit {
    int64_t since_ns;
    unsigned told, untold;
};
bool np_log_is_due(struct np_log_limit *limit, unsigned *untold);

/* "error", "warn", "info", "debug". */
const char *np_log_level_name(enum np_log_level level);
/* "auto", "stderr", "journal". */
const char *np_log_to_name(enum np_log_to to);

/* 0, or -EINVAL without a sentence: the caller knows where the text comes from. */
int np_log_level_parse(const char *text, enum np_log_level *level);
int np_log_to_parse(const char *text, enum np_log_to *to);

#endif
