/* SPDX-License-Identifier: MIT
 * One passage of some files through gateway, validator and ledger, with the validator being killed on the way. */
#ifndef PAYMENTS_PASSAGE_H
#define PAYMENTS_PASSAGE_H

#include <jansson.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "launch.h"

#define PASSAGE_KILLS_MAX       1000u
#define PASSAGE_END_PATIENCE_MS 10000

/* What the demonstration has running. */
struct demo {
    char directory[LAUNCH_PATH_BYTES];
    char socket[LAUNCH_PATH_BYTES];
    char daemon_path[LAUNCH_PATH_BYTES], tool_path[LAUNCH_PATH_BYTES];
    char gateway_path[LAUNCH_PATH_BYTES], validator_path[LAUNCH_PATH_BYTES], ledger_path[LAUNCH_PATH_BYTES];
    char send_path[LAUNCH_PATH_BYTES];
    pid_t daemon, gateway, validator, ledger, sender;
    bool listens;      /* payments come over TCP, and are replied to */
    bool shows_progress;
    bool shows_report; /* the ledger's, to standard output */
};

struct passage {
    const char *const *files;
    size_t file_count;
    uint64_t repeats;
    uint64_t kills;
    uint64_t expected;    /* entries */
    uint64_t posted;
    uint64_t killed;
    char lane_slots[24];
    char halts[PASSAGE_KILLS_MAX * 21 + 1];
    int control;          /* our end of the ledger's control socket */
    int ledger_control;
    int report, document; /* memory files that the ledger writes */
    bool gateway_done;
    unsigned reply_port;  /* the ledger's, with demo.listens */
    json_t *result;
    int verdict;
};

/* Set by the signals that end a program. */
extern volatile sig_atomic_t passage_stopping;

/* NULL, having said why. */
struct passage *passage_new(const char *const *files, size_t file_count, uint64_t repeats, uint64_t kills);
void passage_free(struct passage *passage);

/* Runs it to its end; the ledger's report and exit status are in it then. 0 or -1, having said why. */
int passage_run(struct demo *demo, struct passage *passage);

#endif
