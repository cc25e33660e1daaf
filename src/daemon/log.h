/* SPDX-License-Identifier: MIT
 * What the daemon tells people: one line each on stderr. Never waits for who reads it. */
#ifndef NP_DAEMON_LOG_H
#define NP_DAEMON_LOG_H

enum np_log_level { NP_LOG_ERROR, NP_LOG_WARN, NP_LOG_INFO, NP_LOG_DEBUG };

/* `who`: "keeper" or "worker"; must live for ever. */
void np_log_start(const char *who, enum np_log_level level);

/* "numapoold worker: info: ...". A line that stderr does not take at once is counted, and the next one says how many were
 * lost. */
__attribute__((format(printf, 2, 3))) void np_log(enum np_log_level level, const char *format, ...);

/* "error", "warn", "info", "debug". */
const char *np_log_level_name(enum np_log_level level);

/* 0, or -EINVAL without a sentence: the caller knows where the text comes from. */
int np_log_level_parse(const char *text, enum np_log_level *level);

#endif
