/* SPDX-License-Identifier: MIT */
#include "daemon/log.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "core/sleep.h"

#define LIMIT_PERIOD_NS INT64_C(10000000000)

enum { LINE_BYTES = 1024, LOST_BYTES = 64, LIMIT_TOLD_MAX = 10 /* in a period */ };

static const char *who_logs = "daemon", *journal_path = NP_LOG_JOURNAL_SOCKET;
static enum np_log_level most = NP_LOG_INFO;
static unsigned long lines_lost;
static int journal_fd = -1; /* -1: the standard error */
static int stderr_fd = -1;  /* the standard error, opened anew so that writing does not wait; -1: as it is */

static const char *const level_names[] = { "error", "warn", "info", "debug" };
static const int priorities[] = { 3, 4, 6, 7 }; /* of syslog(3) */
static const char *const to_names[] = { "auto", "stderr", "journal" };

/* ---------------------------------------------------------------- words */

static int find(const char *const *names, unsigned count, const char *text)
{
    for (unsigned i = 0; i < count; i++)
        if (strcmp(text, names[i]) == 0)
            return (int)i;
    return -EINVAL;
}

const char *np_log_level_name(enum np_log_level level)
{
    return (unsigned)level < sizeof level_names / sizeof level_names[0] ? level_names[level] : "?";
}

const char *np_log_to_name(enum np_log_to to)
{
    return (unsigned)to < sizeof to_names / sizeof to_names[0] ? to_names[to] : "?";
}

int np_log_level_parse(const char *text, enum np_log_level *level)
{
    int found = find(level_names, sizeof level_names / sizeof level_names[0], text);
    if (found >= 0)
        *level = (enum np_log_level)found;
    return found < 0 ? found : 0;
}

int np_log_to_parse(const char *text, enum np_log_to *to)
{
    int found = find(to_names, sizeof to_names / sizeof to_names[0], text);
    if (found >= 0)
        *to = (enum np_log_to)found;
    return found < 0 ? found : 0;
}

/* ---------------------------------------------------------------- where to */

/* systemd says by device and inode which stream it has connected; it stays set where somebody has redirected it since. */
static bool stderr_is_journal(void)
{
    const char *stream = getenv("JOURNAL_STREAM");
    uintmax_t device, inode;
    struct stat status;
    return stream && sscanf(stream, "%" SCNuMAX ":%" SCNuMAX, &device, &inode) == 2 && fstat(STDERR_FILENO, &status) == 0 &&
           status.st_dev == device && status.st_ino == inode;
}

/* Of a pipe or terminal an opening of our own, which does not wait: the flag on the one that we were given would be everybody's who has it. */
static void open_stderr(void)
{
    struct stat status;
    if (stderr_fd >= 0)
        close(stderr_fd);
    bool may_wait = fstat(STDERR_FILENO, &status) == 0 && (S_ISFIFO(status.st_mode) || S_ISCHR(status.st_mode));
    stderr_fd = may_wait ? open("/proc/self/fd/2", O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC) : -1;
}

void np_log_start(const char *who, enum np_log_level level, enum np_log_to to, const char *path)
{
    who_logs = who;
    most = level;
    journal_path = path;
    lines_lost = 0;
    if (journal_fd >= 0)
        close(journal_fd);
    journal_fd = -1;
    open_stderr();
    if (to == NP_LOG_TO_STDERR || (to == NP_LOG_TO_AUTO && !stderr_is_journal()))
        return;
    journal_fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
}

/* ---------------------------------------------------------------- lines */

/* What clients name themselves gets here: no line breaks or terminal codes of theirs. */
static void make_printable(char *text, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        if ((unsigned char)text[i] < ' ' || text[i] == 127)
            text[i] = '?';
}

__attribute__((format(printf, 4, 5))) static void add_field(char *text, size_t room, size_t *used, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int more = vsnprintf(text + *used, room - *used - 1, format, arguments);
    va_end(arguments);
    if (more <= 0)
        return;
    size_t added = (size_t)more < room - *used - 1 ? (size_t)more : room - *used - 2;
    make_printable(text + *used, added);
    *used += added;
    text[(*used)++] = '\n';
}

/* 0; -EAGAIN: the journal has no room now; another -errno: there is none. */
static int to_journal(enum np_log_level level, const struct np_log_about *about, const char *message)
{
    char text[2 * LINE_BYTES];
    size_t used = 0;
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    if (strlen(journal_path) >= sizeof address.sun_path)
        return -ENAMETOOLONG;
    strcpy(address.sun_path, journal_path);
    add_field(text, sizeof text, &used, "MESSAGE=%s", message);
    add_field(text, sizeof text, &used, "PRIORITY=%d", priorities[level]);
    add_field(text, sizeof text, &used, "SYSLOG_IDENTIFIER=numapoold");
    add_field(text, sizeof text, &used, "NUMAPOOL_PART=%s", who_logs);
    if (about->pool)
        add_field(text, sizeof text, &used, "NUMAPOOL_POOL=%s", about->pool);
    if (about->client)
        add_field(text, sizeof text, &used, "NUMAPOOL_CLIENT=%" PRIu32, about->client);
    if (about->pid)
        add_field(text, sizeof text, &used, "NUMAPOOL_PID=%" PRId32, about->pid);
    ssize_t sent = sendto(journal_fd, text, used, MSG_NOSIGNAL | MSG_DONTWAIT, (struct sockaddr *)&address, sizeof address);
    return sent >= 0 ? 0 : errno == EWOULDBLOCK || errno == ENOBUFS ? -EAGAIN : -errno;
}

/* Nobody who reads it may stop the daemon, by not reading. Where the standard error is another user's pipe, or there is no /proc, it is
 * asked whether it is ready: the other half of the daemon may then still be first, and this one wait until somebody reads. */
static bool is_ready(int fd)
{
    struct pollfd out = { .fd = fd, .events = POLLOUT };
    return fd == stderr_fd || (poll(&out, 1, 0) == 1 && (out.revents & POLLOUT));
}

static int to_stderr(enum np_log_level level, const char *message)
{
    char line[LINE_BYTES + 128];
    int used = snprintf(line, sizeof line - 1, "numapoold %s: %s: %s", who_logs, level_names[level], message);
    used = used < (int)sizeof line - 1 ? used : (int)sizeof line - 2;
    line[used++] = '\n';
    int fd = stderr_fd >= 0 ? stderr_fd : STDERR_FILENO;
    return is_ready(fd) && write(fd, line, (size_t)used) == used ? 0 : -EAGAIN; /* a pipe takes a line this short whole or not at all */
}

static void tell(enum np_log_level level, const struct np_log_about *about, const char *format, va_list arguments)
{
    char message[LINE_BYTES];
    int used = vsnprintf(message, sizeof message - LOST_BYTES, format, arguments);
    if (used < 0)
        return;
    if (used >= (int)sizeof message - LOST_BYTES)
        used = (int)sizeof message - LOST_BYTES - 1;
    if (lines_lost > 0)
        used += snprintf(message + used, LOST_BYTES, " (%lu lines before this were lost)", lines_lost);
    make_printable(message, (size_t)used);
    int result = journal_fd >= 0 ? to_journal(level, about, message) : -ENOENT;
    if (result < 0 && result != -EAGAIN)
        result = to_stderr(level, message);
    lines_lost = result == 0 ? 0 : lines_lost + 1;
}

void np_log(enum np_log_level level, const char *format, ...)
{
    const struct np_log_about nothing = { 0 };
    va_list arguments;
    if (level > most)
        return;
    va_start(arguments, format);
    tell(level, &nothing, format, arguments);
    va_end(arguments);
}

void np_log_of(enum np_log_level level, struct np_log_about about, const char *format, ...)
{
    va_list arguments;
    if (level > most)
        return;
    va_start(arguments, format);
    tell(level, &about, format, arguments);
    va_end(arguments);
}

bool np_log_is_due(struct np_log_limit *limit, unsigned *untold)
{
    int64_t now_ns = np_monotonic_ns();
    *untold = 0;
    if (now_ns - limit->since_ns >= LIMIT_PERIOD_NS) {
        *untold = limit->untold;
        *limit = (struct np_log_limit){ .since_ns = now_ns };
    }
    if (limit->told < LIMIT_TOLD_MAX) {
        limit->told++;
        return true;
    }
    limit->untold++;
    return false;
}
