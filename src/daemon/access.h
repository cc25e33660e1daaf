/* SPDX-License-Identifier: MIT
 * Access lists: who may open a pool, look into it, change it. Text in, a list of numbers out, and what a list says of a
 * user.
 *
 *   ID...      users by name or number, groups by name or number after '@'; between them ':', ',' or blanks
 *   LISTS      direct=ID...;readonly=ID...;admin=ID...      as in struct numapool_options.access
 */
#ifndef NP_DAEMON_ACCESS_H
#define NP_DAEMON_ACCESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "broker/board.h"

/* Longest text of np_access_format, with its closing zero: each ID is '@', ten digits and a separator; three names before
 * them. */
#define NP_ACCESS_TEXT_BYTES (NP_ACCESS_MAX * 3 * 12u + 32)

/* "direct", "readonly", "admin"; 0: none of them. */
unsigned np_access_right_named(const char *name);
const char *np_access_right_name(unsigned right);

/* Gives `right` (one of enum np_right) to each ID of the text, besides what the list says already. `where` begins the
 * sentence. -EINVAL: no such user or group, or more than NP_ACCESS_MAX; the list is as it was. Looks names up, which may
 * wait for the name service; any thread. */
int np_access_add(struct np_access list[NP_ACCESS_MAX], unsigned right, const char *ids, const char *where);

/* The same for LISTS, into an empty list. "" and NULL: nobody. */
int np_access_parse(struct np_access list[NP_ACCESS_MAX], const char *lists, const char *where);

/* The IDs that have the right, as numbers with ':' between them; "" when nobody has. Parsing it gives the same. */
void np_access_format(const struct np_access list[NP_ACCESS_MAX], unsigned right, char *text, size_t bytes);

/* Rights (enum np_right, added up) that the list gives a user of these groups. `groups` are ascending: there may be
 * 65,536. */
unsigned np_access_rights(const struct np_access list[NP_ACCESS_MAX], uid_t uid, gid_t gid, const gid_t *groups,
                          unsigned group_count);

/* Whether the list names anybody but this user and root, who need no list. */
bool np_access_names_others(const struct np_access list[NP_ACCESS_MAX], uid_t uid);

#endif
