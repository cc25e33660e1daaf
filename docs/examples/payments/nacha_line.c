/* SPDX-License-Identifier: MIT
 * Cutting a payment file into records of 94 characters. */
#include "nacha.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Reads more behind what is unread. 0 or -errno. */
static int fill(struct nacha_reader *reader)
{
    if (reader->begin > 0) {
        memmove(reader->buffer, reader->buffer + reader->begin, reader->end - reader->begin);
        reader->end -= reader->begin;
        reader->begin = 0;
    }
    while (!reader->at_end && reader->end < NACHA_BUFFER_BYTES) {
        ssize_t got = read(reader->file, reader->buffer + reader->end, NACHA_BUFFER_BYTES - reader->end);
        if (got > 0)
            reader->end += (size_t)got;
        else if (got == 0)
            reader->at_end = true;
        else if (errno != EINTR)
            return -errno;
    }
    return 0;
}

/* Some banks send records without line ends: the header's own fields say where the next one begins. */
static bool looks_unbroken(const struct nacha_reader *reader)
{
    const char *start = reader->buffer;
    return reader->end > NACHA_RECORD_BYTES && memchr(start, '\n', NACHA_RECORD_BYTES + 1) == NULL && start[0] == '1' &&
           memcmp(start + 34, "094", 3) == 0 && (start[94] == '5' || start[94] == '9');
}

int nacha_reader_open(struct nacha_reader *reader, const char *path)
{
    struct stat status;
    int error;
    *reader = (struct nacha_reader){ .file = -1 };
    /* O_NONBLOCK: opening a FIFO that nobody writes must not hang; for a regular file it means nothing. */
    reader->file = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (reader->file < 0)
        return -errno;
    if (fstat(reader->file, &status) != 0)
        error = -errno;
    else if (!S_ISREG(status.st_mode))
        error = S_ISDIR(status.st_mode) ? -EISDIR : -EINVAL;
    else
        error = fill(reader);
    if (error != 0) {
        nacha_reader_close(reader);
        return error;
    }
    reader->unbroken = looks_unbroken(reader);
    return 0;
}

void nacha_reader_close(struct nacha_reader *reader)
{
    if (reader->file >= 0)
        close(reader->file);
    reader->file = -1;
}

/* Bytes of a well-formed UTF-8 character of more than one byte, or 1 for anything else. */
static size_t character_bytes(const unsigned char *text, size_t left)
{
    size_t want = text[0] >= 0xc2 && text[0] <= 0xdf ? 2 : (text[0] & 0xf0) == 0xe0 ? 3 : (text[0] & 0xf8) == 0xf0 ? 4 : 1;
    if (want > left)
        return 1;
    for (size_t i = 1; i < want; i++)
        if ((text[i] & 0xc0) != 0x80)
            return 1;
    return want;
}

static bool all_printable(const char *text, size_t length)
{
    unsigned bad = 0;
    for (size_t i = 0; i < length; i++)
        bad |= (unsigned)((signed char)text[i] < 0x20) | (unsigned)(text[i] == 0x7f);
    return bad == 0;
}

/* Lays a line out as a record and says what is wrong with it. Lengths are counted in characters, since a name with an
 * accent in UTF-8 has more bytes than that. */
static void take(struct nacha_line *line, const char *text, size_t stored, uint64_t length)
{
    line->length_bytes = length;
    line->defect = NACHA_WHOLE;
    if (length == NACHA_RECORD_BYTES && all_printable(text, NACHA_RECORD_BYTES)) {
        memcpy(line->text, text, NACHA_RECORD_BYTES);
        return;
    }
    size_t characters = 0;
    bool foreign = false;
    bool blank_rest = stored == length;
    for (size_t i = 0; i < stored; characters++) {
        size_t bytes = character_bytes((const unsigned char *)text + i, stored - i);
        bool printable = text[i] >= 0x20 && text[i] < 0x7f;
        if (characters < NACHA_RECORD_BYTES) {
            line->text[characters] = (char)(printable ? text[i] : '?');
            foreign |= !printable;
        } else {
            blank_rest &= text[i] == ' ';
        }
        i += bytes;
    }
    if (characters > NACHA_RECORD_BYTES || stored < length) {
        line->defect = blank_rest ? NACHA_LONG_BLANKS : NACHA_LONG;
    } else if (characters < NACHA_RECORD_BYTES) {
        memset(line->text + characters, ' ', NACHA_RECORD_BYTES - characters);
        line->defect = NACHA_SHORT;
    } else if (foreign) {
        line->defect = NACHA_FOREIGN;
    }
}

/* A line longer than the buffer: keeps its beginning, passes over the rest. */
static int take_huge(struct nacha_reader *reader, struct nacha_line *line)
{
    char beginning[NACHA_RECORD_BYTES];
    uint64_t length = 0;
    memcpy(beginning, reader->buffer + reader->begin, sizeof(beginning));
    for (;;) {
        const char *start = reader->buffer + reader->begin;
        const char *end = memchr(start, '\n', reader->end - reader->begin);
        if (end != NULL) {
            length += (uint64_t)(end - start);
            reader->begin += (size_t)(end - start) + 1;
            break;
        }
        length += reader->end - reader->begin;
        reader->begin = reader->end;
        if (reader->at_end)
            break;
        int error = fill(reader);
        if (error != 0)
            return error;
    }
    take(line, beginning, sizeof(beginning), length);
    return 1;
}

int nacha_reader_next(struct nacha_reader *reader, struct nacha_line *line)
{
    for (;;) {
        const char *start = reader->buffer + reader->begin;
        size_t unread = reader->end - reader->begin;
        const char *end = reader->unbroken ? NULL : memchr(start, '\n', unread);
        size_t length;
        if (end == NULL && !reader->at_end && unread < NACHA_BUFFER_BYTES && !(reader->unbroken && unread >= 256)) {
            int error = fill(reader);
            if (error != 0)
                return error;
            continue;
        }
        if (unread == 0)
            return 0;
        line->number = ++reader->lines;
        if (reader->unbroken) {
            length = unread < NACHA_RECORD_BYTES ? unread : NACHA_RECORD_BYTES;
            reader->begin += length;
            while (length > 0 && (start[length - 1] == '\n' || start[length - 1] == '\r'))
                length--;
        } else if (end != NULL) {
            length = (size_t)(end - start);
            reader->begin += length + 1;
        } else if (unread == NACHA_BUFFER_BYTES) {
            return take_huge(reader, line);
        } else {
            length = unread;
            reader->begin = reader->end;
        }
        if (length > 0 && start[length - 1] == '\r')
            length--;
        /* Blank lines, and the end-of-file character of older systems. */
        size_t ink = 0;
        while (ink < length && (start[ink] == ' ' || start[ink] == '\t' || start[ink] == 0x1a))
            ink++;
        if (ink < length) {
            take(line, start, length, length);
            return 1;
        }
    }
}
