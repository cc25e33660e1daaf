/* SPDX-License-Identifier: MIT
 * Where pages are, in words. */
#ifndef NP_CTL_WHERE_H
#define NP_CTL_WHERE_H

#include <stddef.h>

#include "table.h"
#include "view.h"

enum { NP_CTL_WHERE_BYTES = 256 };

/* [{"node": 0, "pages": 500}, {"node": 1, "pages": 12}]; node null: pages that are nowhere. */
json_t *np_ctl_where_list(const struct np_whereabouts *list, unsigned count);
/* The same for people: "0: 500, 1: 12". */
void np_ctl_where_text(char *text, size_t bytes, const json_t *where);
/* "right", "strayed", "stuck", "node_gone", "untold" */
const char *np_ctl_place_state(uint32_t state);

#endif
