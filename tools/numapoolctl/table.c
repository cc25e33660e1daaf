/* SPDX-License-Identifier: MIT */
#include "table.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CELL_BYTES = 96 };

/* ---------------------------------------------------------------- tables */

static void count_text(char *text, size_t bytes, uint64_t value)
{
    char digits[32];
    int length = snprintf(digits, sizeof digits, "%" PRIu64, value);
    size_t at = 0;
    for (int i = 0; i < length && at + 2 < bytes; i++) {
        if (i > 0 && (length - i) % 3 == 0)
            text[at++] = ',';
        text[at++] = digits[i];
    }
    text[at] = 0;
}

static void bytes_text(char *text, size_t bytes, uint64_t value)
{
    static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB" };
    unsigned unit = 0;
    uint64_t whole = value, rest = 0;
    while (whole >= 1024 && unit < 4) {
        if ((rest != 0 || whole % 1024 != 0) && whole < 10 * 1024)
            break; /* one digit would say too little */
        rest |= whole % 1024;
        whole /= 1024;
        unit++;
    }
    snprintf(text, bytes, "%s%" PRIu64 " %s", rest != 0 ? "~" : "", whole, units[unit]);
}

static void seconds_text(char *text, size_t bytes, double seconds)
{
    uint64_t whole = seconds > 0 ? (uint64_t)seconds : 0;
    if (whole < 60)
        snprintf(text, bytes, "%.1f s", seconds);
    else if (whole < 3600)
        snprintf(text, bytes, "%" PRIu64 " min %" PRIu64 " s", whole / 60, whole % 60);
    else if (whole < 86400)
        snprintf(text, bytes, "%" PRIu64 " h %" PRIu64 " min", whole / 3600, whole / 60 % 60);
    else
        snprintf(text, bytes, "%" PRIu64 " d %" PRIu64 " h", whole / 86400, whole / 3600 % 24);
}

/* Names come from other processes: nothing in them may command the terminal. */
static void plain_text(char *text, size_t bytes, const char *value)
{
    size_t at = 0;
    for (; *value && at + 1 < bytes; value++) {
        const unsigned char byte = (unsigned char)*value, next = (unsigned char)value[1];
        bool is_wide = byte == 0xc2 && next >= 0x80 && next <= 0x9f; /* U+0080 to U+009F: \033[ has another name there */
        text[at++] = byte < 0x20 || byte == 0x7f || is_wide ? '?' : *value;
        value += is_wide;
    }
    text[at] = 0;
}

void np_table_text(char *text, size_t bytes, enum np_cell_kind kind, const json_t *value)
{
    if (!value || json_is_null(value))
        snprintf(text, bytes, "-");
    else if (json_is_boolean(value))
        snprintf(text, bytes, "%s", json_is_true(value) ? "yes" : "no");
    else if (json_is_string(value))
        plain_text(text, bytes, json_string_value(value));
    else if (kind == NP_CELL_COUNT && json_is_real(value) && json_real_value(value) > 0 && json_real_value(value) < 9.95)
        snprintf(text, bytes, "%.1f", json_real_value(value)); /* a rate */
    else if (kind == NP_CELL_COUNT && json_is_real(value))
        count_text(text, bytes, json_real_value(value) < 1e18 ? (uint64_t)(json_real_value(value) + 0.5) : (uint64_t)1e18);
    else if (kind == NP_CELL_COUNT)
        count_text(text, bytes, (uint64_t)json_integer_value(value));
    else if (kind == NP_CELL_BYTES)
        bytes_text(text, bytes, (uint64_t)json_integer_value(value));
    else if (kind == NP_CELL_SECONDS)
        seconds_text(text, bytes, json_number_value(value));
    else if (kind == NP_CELL_RATIO)
        snprintf(text, bytes, "%.2f", json_number_value(value));
    else
        snprintf(text, bytes, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
}

static void print_cell(const char *text, size_t width, int is_text, int is_last)
{
    if (is_text && is_last)
        printf("%s\n", text);
    else
        printf(is_text ? "%-*s%s" : "%*s%s", (int)width, text, is_last ? "\n" : "  ");
}

void np_table_print(const struct np_column *columns, size_t count, const json_t *rows)
{
    char text[CELL_BYTES];
    size_t widths[32], index;
    const json_t *row;
    for (size_t c = 0; c < count; c++) {
        widths[c] = strlen(columns[c].heading);
        json_array_foreach((json_t *)(uintptr_t)rows, index, row) {
            np_table_text(text, sizeof text, columns[c].kind, json_object_get(row, columns[c].key));
            widths[c] = strlen(text) > widths[c] ? strlen(text) : widths[c];
        }
    }
    for (size_t c = 0; c < count; c++)
        print_cell(columns[c].heading, widths[c], columns[c].kind == NP_CELL_TEXT, c + 1 == count);
    json_array_foreach((json_t *)(uintptr_t)rows, index, row)
        for (size_t c = 0; c < count; c++) {
            np_table_text(text, sizeof text, columns[c].kind, json_object_get(row, columns[c].key));
            print_cell(text, widths[c], columns[c].kind == NP_CELL_TEXT, c + 1 == count);
        }
}

/* ---------------------------------------------------------------- documents */

static json_t *must(json_t *value)
{
    if (value)
        return value;
    fprintf(stderr, "numapoolctl: no memory for the answer\n");
    exit(2);
}

json_t *np_json_object(void)
{
    return must(json_object());
}

json_t *np_json_array(void)
{
    return must(json_array());
}

void np_json_set(json_t *object, const char *key, json_t *value)
{
    if (json_object_set_new(object, key, must(value)) != 0)
        must(NULL);
}

void np_json_set_count(json_t *object, const char *key, uint64_t value)
{
    /* jansson's integers are signed; nothing that is counted here comes near, only what was scribbled over */
    np_json_set(object, key, json_integer(value > INT64_MAX ? INT64_MAX : (json_int_t)value));
}

void np_json_set_text(json_t *object, const char *key, const char *value)
{
    char replaced[512];
    json_t *text = json_string(value);
    if (!text) { /* not UTF-8 */
        size_t at = 0;
        for (; value[at] && at + 1 < sizeof replaced; at++)
            replaced[at] = (unsigned char)value[at] < 0x80 ? value[at] : '?';
        replaced[at] = 0;
        text = json_string(replaced);
    }
    np_json_set(object, key, text);
}

void np_json_set_flag(json_t *object, const char *key, int value)
{
    np_json_set(object, key, json_boolean(value));
}

void np_json_append(json_t *array, json_t *value)
{
    if (json_array_append_new(array, must(value)) != 0)
        must(NULL);
}

uint64_t np_json_count(const json_t *object, const char *key)
{
    return (uint64_t)json_integer_value(json_object_get(object, key));
}

void np_json_add(json_t *object, const char *key, uint64_t value)
{
    const uint64_t sum = np_json_count(object, key) + value;
    np_json_set_count(object, key, sum < value ? UINT64_MAX : sum); /* of counts that clients can write */
}
