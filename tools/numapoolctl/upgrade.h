/* SPDX-License-Identifier: MIT
 * numapoolctl upgrade. */
#ifndef NP_CTL_UPGRADE_H
#define NP_CTL_UPGRADE_H

#include <argp.h>
#include <stdbool.h>
#include <stdint.h>

#include "table.h"

struct np_ctl_upgrade_order {
    bool given; /* one of the options */
    bool check_only;
    const char *binary; /* NULL: the file that the daemon was started from */
    uint32_t wait_ms;   /* 0: the daemon's default */
};

/* The options; its input is the order. */
extern const struct argp np_ctl_upgrade_argp;

/* NP_CTL_FINE; NP_CTL_WRONG: refused or rolled back, and the document says why; -errno with the sentence. */
int np_ctl_upgrade(const struct np_ctl_upgrade_order *order, const char *socket_path, json_t *document);
void np_ctl_upgrade_print(const json_t *document);

#endif
