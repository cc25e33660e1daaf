/* SPDX-License-Identifier: MIT
 * What a command found is one JSON document. Printed as it is, or as tables: a column shows one key of each row. */
#ifndef NP_CTL_TABLE_H
#define NP_CTL_TABLE_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

enum np_cell_kind {
    NP_CELL_TEXT,
    NP_CELL_NUMBER,  /* a name made of digits: no separators */
    NP_CELL_COUNT,   /* 1,234,567; a small real one: 1.5 */
    NP_CELL_BYTES,   /* 2 MiB; 100 B */
    NP_CELL_SECONDS, /* 2 d 3 h; 1.5 s */
    NP_CELL_RATIO    /* 8.13 */
};

struct np_column {
    const char *key, *heading;
    enum np_cell_kind kind;
};

/* Aligned; numbers to the right, texts to the left; what a row lacks or has as null is "-". */
void np_table_print(const struct np_column *columns, size_t count, const json_t *rows);
void np_table_text(char *text, size_t bytes, enum np_cell_kind kind, const json_t *value);

/* Building documents. None returns without its value: a program that cannot make its answer says so and ends (status 2). */
json_t *np_json_object(void);
json_t *np_json_array(void);
void np_json_set(json_t *object, const char *key, json_t *value);
void np_json_set_count(json_t *object, const char *key, uint64_t value);
void np_json_set_text(json_t *object, const char *key, const char *value);
void np_json_set_flag(json_t *object, const char *key, int value);
void np_json_append(json_t *array, json_t *value);
/* A count that is there already grows. */
void np_json_add(json_t *object, const char *key, uint64_t value);
uint64_t np_json_count(const json_t *object, const char *key);

#endif
