/* SPDX-License-Identifier: MIT */
#include "daemon/log.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char *who_logs = "daemon";
static enum np_log_level most = NP_LOG_INFO;
static unsigned long lines_lost;

static const char *const names[] = { "error", "warn", "info", "debug" };

void np_log_start(const char *who, enum np_log_level level)
{
    who_logs = who;
    most = level;
}

const char *np_log_level_name(enum np_log_level level)
{
    return (unsigned)level < sizeof names / sizeof names[0] ? names[level] : "?";
}

int np_log_level_parse(const char *text, enum np_log_level *level)
{
    for (unsigned i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strcmp(text, names[i]) == 0) {
            *level = (enum np_log_level)i;
            return 0;
        }
    return -EINVAL;
}

void np_log(enum np_log_level level, const char *format, ...)
{
    if (level > most)
        return;
    char line[1024];
    int used = snprintf(line, sizeof line, "numapoold %s: %s: ", who_logs, np_log_level_name(level));
    va_list arguments;
    va_start(arguments, format);
    int more = vsnprintf(line + used, sizeof line - (size_t)used, format, arguments);
    va_end(arguments);
    if (more > 0)
        used = used + more < (int)sizeof line - 1 ? used + more : (int)sizeof line - 2;
    if (lines_lost > 0 && used < (int)sizeof line - 64)
        used += snprintf(line + used, sizeof line - (size_t)used - 1, " (%lu lines before this were lost)", lines_lost);
    /* What clients name themselves gets here: no line breaks or terminal codes of theirs. */
    for (int i = 0; i < used; i++)
        if ((unsigned char)line[i] < ' ' || line[i] == 127)
            line[i] = '?';
    line[used++] = '\n';
    /* A pipe that is ready takes a line this short whole; one that nobody empties must not stop the daemon. */
    struct pollfd out = { .fd = STDERR_FILENO, .events = POLLOUT };
    if (poll(&out, 1, 0) == 1 && (out.revents & POLLOUT) && write(STDERR_FILENO, line, (size_t)used) == used)
        lines_lost = 0;
    else
        lines_lost++;
}
