/* SPDX-License-Identifier: MIT */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "numa/system_files.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int np_system_file_read(const char *root, const char *path, char *text, size_t capacity)
{
    assert(capacity > 1 && capacity <= INT_MAX);
    char whole[PATH_MAX];
    int used = snprintf(whole, sizeof whole, "%s%s", root, path);
    if (used < 0 || (size_t)used >= sizeof whole)
        return -ENAMETOOLONG;
    int fd = open(whole, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;

    size_t length = 0;
    while (length < capacity - 1) {
        ssize_t got = read(fd, text + length, capacity - 1 - length);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0) {
            int code = -errno;
            close(fd);
            return code;
        }
        if (got == 0)
            break;
        length += (size_t)got;
    }
    close(fd);
    text[length] = '\0';
    return (int)length;
}

/* strtoull takes a sign and blanks; the kernel writes neither. */
static bool number_at(const char *text, uint64_t *value, const char **end)
{
    if (!isdigit((unsigned char)*text))
        return false;
    errno = 0;
    char *stop;
    *value = strtoull(text, &stop, 10);
    *end = stop;
    return errno == 0;
}

bool np_system_text_value(const char *text, const char *key, uint64_t *value)
{
    size_t key_length = strlen(key);
    assert(key_length > 0);
    for (const char *at = strstr(text, key); at != NULL; at = strstr(at + 1, key)) {
        bool word_begins = at == text || at[-1] == '\n' || at[-1] == ' ';
        const char *next = at + key_length;
        if (!word_begins || (*next != ':' && *next != ' '))
            continue;
        next += strspn(next, ": \t");
        if (!number_at(next, value, &next))
            return false;
        if (strncmp(next, " kB", 3) == 0) {
            if (*value > UINT64_MAX / 1024)
                return false;
            *value *= 1024;
        }
        return true;
    }
    return false;
}

bool np_system_file_number(const char *root, const char *path, uint64_t *value)
{
    char text[64];
    const char *end;
    return np_system_file_read(root, path, text, sizeof text) > 0 && number_at(text, value, &end);
}

int np_system_list_parse(const char *text, int *numbers, int capacity)
{
    int count = 0;
    const char *at = text;
    while (isdigit((unsigned char)*at)) {
        uint64_t first, last;
        if (!number_at(at, &first, &at))
            return -EINVAL;
        last = first;
        if (*at == '-' && !number_at(at + 1, &last, &at))
            return -EINVAL;
        if (last < first || last > UINT16_MAX)
            return -EINVAL;
        for (uint64_t number = first; number <= last; number++) {
            if (count < capacity)
                numbers[count] = (int)number;
            count++;
        }
        if (*at == ',')
            at++;
    }
    return *at == '\0' || *at == '\n' ? count : -EINVAL;
}

void np_system_unescape(char *field)
{
    char *to = field;
    for (const char *from = field; *from != '\0'; to++) {
        bool octal = from[0] == '\\' && from[1] >= '0' && from[1] <= '3' && from[2] >= '0' && from[2] <= '7' &&
                     from[3] >= '0' && from[3] <= '7';
        *to = octal ? (char)((from[1] - '0') * 64 + (from[2] - '0') * 8 + (from[3] - '0')) : *from;
        from += octal ? 4 : 1;
    }
    *to = '\0';
}
