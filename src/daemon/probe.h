/* SPDX-License-Identifier: MIT
 *
 * What a build of the daemon says of itself (numapoold --probe), so that a running one can tell whether that build's worker could
 * take over from its own: lines of "key value", read from a program that is not trusted to be numapoold at all.
 */
#ifndef NP_DAEMON_PROBE_H
#define NP_DAEMON_PROBE_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* Bumped when what keeper and worker say to each other (store.h's records, the worker's options, upgrade.h's order and report)
 * changes so that a keeper of the one and a worker of the other would not understand each other. */
#define NP_KEEPER_REVISION 2u

#define NP_PROBE_VERSION_BYTES 32u
#define NP_PROBE_TEXT_MAX 2048u

enum np_probe_part { NP_PROBE_ARENA, NP_PROBE_LANE, NP_PROBE_BOARD, NP_PROBE_ACCOUNT, NP_PROBE_WIRE, NP_PROBE_PARTS };

struct np_probe {
    char version[NP_PROBE_VERSION_BYTES];
    uint64_t layout; /* NP_LAYOUT_REVISION */
    uint64_t keeper; /* NP_KEEPER_REVISION */
    uint64_t shared; /* np_wire_layout(), which clients compare when they connect: all of the following together */
    uint64_t parts[NP_PROBE_PARTS]; /* so that a sentence can name what differs */
};

/* This build's. */
void np_probe_own(struct np_probe *probe);
void np_probe_print(const struct np_probe *probe, FILE *stream);
/* 0, or -EPROTO with half a sentence: what is wrong with it. Never reads beyond bytes. */
int np_probe_parse(struct np_probe *probe, const char *text, size_t bytes);
/* 0: a worker of `other`, which is at `path`, can take over what `own` has made. -EPROTO with the sentence. */
int np_probe_compare(const struct np_probe *own, const struct np_probe *other, const char *path);

#endif
