/* SPDX-License-Identifier: MIT
 * Reading the small text files of /proc and /sys, below a root directory that tests can replace. */
#ifndef NP_NUMA_SYSTEM_FILES_H
#define NP_NUMA_SYSTEM_FILES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The root of the machine itself. */
#define NP_SYSTEM_ROOT ""

enum { NP_SYSTEM_TEXT_BYTES = 8192 };

/* Reads the file `root``path` into text, closed by a zero byte; what does not fit is left out. Its length, or -errno. */
int np_system_file_read(const char *root, const char *path, char *text, size_t capacity);

/* The number behind the word `key` in "key: 12 kB" or "key 12", in bytes where a unit is given. False: no such line. */
bool np_system_text_value(const char *text, const char *key, uint64_t *value);

/* The number that is the whole file. False: no such file, or a word such as "max". */
bool np_system_file_number(const char *root, const char *path, uint64_t *value);

/* The numbers of a list such as "0-2,5", ascending. How many there are, of which at most `capacity` are stored; -EINVAL. */
int np_system_list_parse(const char *text, int *numbers, int capacity);

/* Undoes \040 and its like in a field of mountinfo, in place. */
void np_system_unescape(char *field);

#endif
