/* SPDX-License-Identifier: MIT */
#include "daemon/config.h"

#include <errno.h>
#include <fcntl.h>
#include <ini.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/error.h"
#include "daemon/pool_spec.h"
#include "service/wire.h"

enum {
    FILE_BYTES_MAX = 1 << 20,
    LINE_BYTES_MAX = 190,   /* inih takes 200 with its closing bytes, and would read the rest of a longer one as a line of its own */
    SECTION_BYTES_MAX = 49, /* inih cuts what is longer */
    WHERE_BYTES = 160
};

static const char *const scalar_names[NP_CONFIG_SCALARS] = { "socket", "clients", "channels", "endpoints", "lanes", "log", "log_to", "admin",
                                                           "loop", "patrol" };
static const char *const loop_names[] = { "auto", "io_uring", "epoll" };

void np_config_start(struct np_config *config)
{
    memset(config, 0, sizeof *config);
    config->limits = (struct np_board_limits)NP_BOARD_LIMITS_DEFAULT;
    config->log_level = NP_LOG_INFO;
    config->patrol_s = NP_CONFIG_PATROL_DEFAULT_S;
}

const char *np_config_loop_name(enum np_loop_choice loop)
{
    return (unsigned)loop < sizeof loop_names / sizeof loop_names[0] ? loop_names[loop] : "?";
}

static int set_loop(struct np_config *config, const char *value, const char *where)
{
    for (unsigned i = 0; i < sizeof loop_names / sizeof loop_names[0]; i++)
        if (strcmp(value, loop_names[i]) == 0) {
            config->loop = (enum np_loop_choice)i;
            return 0;
        }
    return np_error(-EINVAL, "%s: '%.40s' is nothing that the daemon can run on: auto, io_uring or epoll", where, value);
}

static uint32_t *limit_of(struct np_config *config, enum np_config_scalar scalar)
{
    switch (scalar) {
    case NP_CONFIG_CLIENTS:
        return &config->limits.clients;
    case NP_CONFIG_CHANNELS:
        return &config->limits.channels;
    case NP_CONFIG_ENDPOINTS:
        return &config->limits.endpoints;
    default:
        return &config->limits.lanes;
    }
}

static int set_scalar(struct np_config *config, enum np_config_scalar scalar, const char *value, const char *where)
{
    uint64_t number;
    if (scalar == NP_CONFIG_SOCKET) {
        if (*value == '\0')
            return np_error(-EINVAL, "%s: the socket's path is empty", where);
        if (strlen(value) >= sizeof config->socket_path)
            return np_error(-ENAMETOOLONG, "%s: the socket's path '%.40s...' has more than %zu bytes: choose a shorter one", where,
                            value, sizeof config->socket_path - 1);
        strcpy(config->socket_path, value);
        return 0;
    }
    if (scalar == NP_CONFIG_LOG) {
        if (np_log_level_parse(value, &config->log_level) < 0)
            return np_error(-EINVAL, "%s: '%.40s' is no level of log: error, warn, info or debug", where, value);
        return 0;
    }
    if (scalar == NP_CONFIG_LOG_TO) {
        if (np_log_to_parse(value, &config->log_to) < 0)
            return np_error(-EINVAL, "%s: '%.40s' is no place for the log: auto, stderr or journal", where, value);
        return 0;
    }
    if (scalar == NP_CONFIG_LOOP)
        return set_loop(config, value, where);
    if (scalar == NP_CONFIG_ADMIN)
        return np_access_add(config->admins, NP_RIGHT_ADMIN, value, where);
    if (scalar == NP_CONFIG_PATROL) {
        if (np_config_number(value, &number) < 0 || number > NP_CONFIG_PATROL_MAX_S)
            return np_error(-EINVAL, "%s: '%.40s' is no number of seconds from one look where pages are to the next: 0 (never) to %u", where, value,
                            NP_CONFIG_PATROL_MAX_S);
        config->patrol_s = (uint32_t)number;
        return 0;
    }
    if (np_config_number(value, &number) < 0 || number == 0 || number > UINT32_MAX)
        return np_error(-EINVAL, "%s: '%.40s' is no number of %s: 1 or more, up to what numapoold(1) says; K, M and G may follow it", where,
                        value, scalar_names[scalar]);
    uint32_t *limit = limit_of(config, scalar), before = *limit;
    *limit = (uint32_t)number;
    int result = np_board_limits_check(&config->limits);
    if (result < 0) {
        *limit = before;
        return np_error_within(result, "%s", where);
    }
    return 0;
}

int np_config_set(struct np_config *config, const char *name, const char *value, const char *where, bool command_line)
{
    unsigned scalar = 0;
    while (scalar < NP_CONFIG_SCALARS && strcmp(name, scalar_names[scalar]) != 0)
        scalar++;
    if (scalar == NP_CONFIG_SCALARS)
        return -ENOENT;
    unsigned bit = 1u << scalar, *given = command_line ? &config->from_command_line : &config->from_file;
    if (*given & bit)
        return np_error(-EINVAL, "%s: %s is given twice: leave one out", where, name);
    *given |= bit;
    if (!command_line && (config->from_command_line & bit)) {
        /* Not used, but looked at all the same: a file that is wrong is wrong. */
        struct np_config unused;
        np_config_start(&unused);
        return set_scalar(&unused, (enum np_config_scalar)scalar, value, where);
    }
    return set_scalar(config, (enum np_config_scalar)scalar, value, where);
}

/* ---------------------------------------------------------------- files */

struct reading {
    struct np_config *config;
    const char *file;
    const char *at, *end;
    unsigned line;
    int result; /* of the first thing wrong; reading stops there */
    enum { BEFORE_SECTIONS, IN_DAEMON, IN_POOL } section;
    bool daemon_seen;
    struct np_config_pool *pool;
    unsigned pool_line;
};

static const char *where(const struct reading *reading, char text[WHERE_BYTES])
{
    snprintf(text, WHERE_BYTES, "%.120s:%u", reading->file, reading->line);
    return text;
}

static int finish_section(struct reading *reading)
{
    if (reading->section != IN_POOL)
        return 0;
    char text[WHERE_BYTES];
    snprintf(text, sizeof text, "%.120s:%u", reading->file, reading->pool_line);
    return np_pool_spec_finish(reading->pool, text);
}

/* inih says nothing of sections without keys, so they are followed here. */
static int begin_section(struct reading *reading, const char *line, size_t bytes)
{
    char name[SECTION_BYTES_MAX + 1], text[WHERE_BYTES];
    const char *close = memchr(line, ']', bytes);
    int result = finish_section(reading);
    if (result < 0)
        return result;
    where(reading, text);
    if (!close)
        return np_error(-EINVAL, "%s: the section has no closing ']'", text);
    size_t length = (size_t)(close - line - 1);
    if (length > SECTION_BYTES_MAX)
        return np_error(-EINVAL, "%s: the section's name has more than %d bytes: choose a shorter one, or use --pool", text,
                        SECTION_BYTES_MAX);
    memcpy(name, line + 1, length);
    name[length] = '\0';
    if (strcmp(name, "daemon") == 0) {
        if (reading->daemon_seen)
            return np_error(-EINVAL, "%s: there is a second [daemon]: put both into one", text);
        reading->daemon_seen = true;
        reading->section = IN_DAEMON;
        return 0;
    }
    if (strncmp(name, "pool ", 5) != 0)
        return np_error(-EINVAL, "%s: the section [%s] is not known: [daemon] and [pool NAME] are", text, name);
    result = np_pool_spec_begin(reading->config, name + 5 + strspn(name + 5, " \t"), text, &reading->pool);
    if (result < 0)
        return result;
    reading->section = IN_POOL;
    reading->pool_line = reading->line;
    return 0;
}

/* For inih: the next line, whole, counted and looked at. */
static char *read_line(char *buffer, int room, void *context)
{
    struct reading *reading = context;
    char text[WHERE_BYTES];
    if (reading->result < 0 || reading->at == reading->end)
        return NULL;
    const char *line = reading->at, *newline = memchr(line, '\n', (size_t)(reading->end - line));
    size_t bytes = newline ? (size_t)(newline - line) : (size_t)(reading->end - line);
    reading->line++;
    reading->at = newline ? newline + 1 : reading->end;
    if (bytes > LINE_BYTES_MAX || (int)bytes + 2 > room) {
        reading->result = np_error(-EINVAL, "%s: the line has more than %d bytes: make it shorter", where(reading, text), LINE_BYTES_MAX);
        return NULL;
    }
    if (memchr(line, '\0', bytes)) {
        reading->result = np_error(-EINVAL, "%s: there is a zero byte: this is no text", where(reading, text));
        return NULL;
    }
    for (; bytes > 0 && (*line == ' ' || *line == '\t'); bytes--)
        line++; /* inih takes an indented line for more of the one before */
    memcpy(buffer, line, bytes);
    buffer[bytes] = '\n';
    buffer[bytes + 1] = '\0';
    size_t blanks = strspn(buffer, " \t\r\xef\xbb\xbf");
    if (buffer[blanks] == '[') {
        reading->result = begin_section(reading, buffer + blanks, bytes - blanks);
        if (reading->result < 0)
            return NULL;
        /* Unindented, so that inih does not take it for the going on of a value. */
        memmove(buffer, buffer + blanks, bytes - blanks + 2);
    }
    return buffer;
}

static int take_value(void *context, const char *section, const char *name, const char *value)
{
    struct reading *reading = context;
    char text[WHERE_BYTES];
    (void)section; /* begin_section knows it */
    if (reading->result < 0)
        return 0;
    where(reading, text);
    switch (reading->section) {
    case BEFORE_SECTIONS:
        reading->result = np_error(-EINVAL, "%s: '%s' stands before any section: begin with [daemon] or [pool NAME]", text, name);
        break;
    case IN_POOL:
        reading->result = np_pool_spec_set(reading->pool, name, value, text);
        break;
    case IN_DAEMON:
        reading->result = np_config_set(reading->config, name, value, text, false);
        if (reading->result == -ENOENT)
            reading->result = np_error(-EINVAL, "%s: [daemon] has no setting '%s': socket, clients, channels, endpoints, lanes, log, log_to, admin, "
                                       "loop, patrol", text, name);
        break;
    }
    return reading->result == 0;
}

int np_config_parse(struct np_config *config, const char *text, size_t bytes, const char *file)
{
    struct reading reading = { .config = config, .file = file, .at = text, .end = text + bytes };
    int line = ini_parse_stream(read_line, &reading, take_value, &reading);
    if (reading.result < 0)
        return reading.result;
    if (line > 0)
        return np_error(-EINVAL, "%.120s:%d: this is neither a [section] nor a setting = value", file, line);
    return finish_section(&reading);
}

int np_config_read(struct np_config *config, const char *file)
{
    int fd = open(file, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return np_error(-errno, "%s: cannot be opened: %s", file, strerror(errno));
    char *text = malloc(FILE_BYTES_MAX + 1);
    if (!text) {
        close(fd);
        return np_error(-ENOMEM, "%s: no memory to read it", file);
    }
    size_t bytes = 0;
    ssize_t got;
    while ((got = read(fd, text + bytes, FILE_BYTES_MAX + 1 - bytes)) > 0 && (bytes += (size_t)got) <= FILE_BYTES_MAX)
        ;
    int result;
    if (got < 0)
        result = np_error(-errno, "%s: cannot be read: %s", file, strerror(errno));
    else if (bytes > FILE_BYTES_MAX)
        result = np_error(-EFBIG, "%s: has more than %d bytes: is it the right file?", file, FILE_BYTES_MAX);
    else
        result = np_config_parse(config, text, bytes, file);
    free(text);
    close(fd);
    return result;
}

int np_config_finish(struct np_config *config)
{
    if (config->socket_path[0] == '\0') {
        int result = np_wire_default_path(config->socket_path, sizeof config->socket_path);
        if (result < 0)
            return result;
    }
    return np_board_limits_check(&config->limits);
}
