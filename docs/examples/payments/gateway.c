/* SPDX-License-Identifier: MIT
 * gateway: reads payment files and puts each entry straight into a slot of the pool, where it stays until the ledger is
 * done with it. What the files state about themselves goes the same way, for the ledger to compare. */
#include <argp.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "entry.h"
#include "gateway.h"

/* A file that breaks one rule on each line is not described line by line. */
#define NOTES_MAX 100u

enum { KEY_READY_FD = 256 };

struct options {
    uint64_t repeats;
    uint64_t lane_slots;
    struct listening listening; /* address NULL: files */
    char **files;
    uint32_t file_count;
};

/* ---------------------------------------------------------------- what the reader finds */

static int on_entry(void *context, const struct nacha_entry *entry)
{
    struct gateway *gateway = context;
    struct numapool_payment *payment = outlet_slot(gateway);
    const uint64_t id = stream_payment_id(gateway->repeat, gateway->file, entry->ordinal);
    if (payment == NULL)
        return -1;
    entry_write(payment, entry, id, gateway->started_ns);
    gateway->payments++;
    return outlet_send(gateway, payment, STREAM_PAYMENT, id, entry->line);
}

static int on_batch(void *context, const struct nacha_batch *batch)
{
    struct gateway *gateway = context;
    struct stream_batch statement = {
        .repeat = gateway->repeat, .file = gateway->file, .ordinal = batch->ordinal, .number = batch->number,
        .has_control = batch->has_control, .line = batch->line, .entries = batch->entries, .addenda = batch->addenda,
        .stated = { batch->stated.entries_and_addenda, batch->stated.entry_hash, batch->stated.debit_cents,
                    batch->stated.credit_cents }
    };
    return outlet_state(gateway, STREAM_BATCH, &statement);
}

static int on_file(void *context, const struct nacha_file *file)
{
    struct gateway *gateway = context;
    struct stream_file statement = {
        .repeat = gateway->repeat, .file = gateway->file, .batches = file->batches, .has_control = file->has_control,
        .line = file->line, .entries = file->entries, .addenda = file->addenda,
        .stated = { file->stated.entries_and_addenda, file->stated.entry_hash, file->stated.debit_cents,
                    file->stated.credit_cents }
    };
    return outlet_state(gateway, STREAM_FILE, &statement);
}

static int on_finding(void *context, enum nacha_severity severity, uint64_t line, const char *sentence)
{
    struct gateway *gateway = context;
    if (gateway->repeat != 0) /* the first pass has said it all */
        return 0;
    if (severity == NACHA_NOTE && ++gateway->notes > NOTES_MAX)
        return 0;
    return outlet_finding(gateway, severity, line, sentence);
}

/* ---------------------------------------------------------------- the run */

static int send_file(struct gateway *gateway, const char *path)
{
    const struct nacha_sink sink = {
        .context = gateway, .entry = on_entry, .batch = on_batch, .file = on_file, .finding = on_finding
    };
    char sentence[80];
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    gateway->started_ns = (int64_t)now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
    gateway->notes = 0;
    if (gateway->repeat == 0 && outlet_name(gateway, path) != 0)
        return -1;
    if (nacha_read(path, &sink) != 0)
        return -1;
    if (gateway->notes <= NOTES_MAX)
        return 0;
    snprintf(sentence, sizeof(sentence), "%" PRIu64 " more warnings of this kind", gateway->notes - NOTES_MAX);
    return outlet_finding(gateway, NACHA_NOTE, 0, sentence);
}

static int send_all(struct gateway *gateway, const struct options *options)
{
    for (gateway->repeat = 0; gateway->repeat < options->repeats; gateway->repeat++)
        for (gateway->file = 0; gateway->file < options->file_count; gateway->file++)
            if (send_file(gateway, options->files[gateway->file]) != 0)
                return -1;
    struct stream_end end = { .files = options->file_count, .repeats = (uint32_t)options->repeats,
                              .payments = gateway->payments, .statements = gateway->statements + 1 };
    return outlet_state(gateway, STREAM_END, &end) != 0 || outlet_flush(gateway) != 0 ? -1 : 0;
}

static int run(const struct options *options)
{
    struct gateway gateway = { .batched = 0 };
    struct numapool_channel_options channel = NUMAPOOL_CHANNEL_OPTIONS_INIT;
    int result = -1;
    if (session_open(&gateway.session, "gateway") != 0)
        return SESSION_FAILED;
    channel.lane_slots = (uint32_t)options->lane_slots;
    if (numapool_magazine_open(gateway.session.pool, NUMAPOOL_ANY_NODE, 0, &gateway.magazine) != 0) {
        session_complain(&gateway.session, "opening a magazine");
    } else {
        channel.magazine = gateway.magazine;
        if (numapool_sender_open(gateway.session.pool, STREAM_TO_VALIDATOR, &channel, &gateway.sender) != 0)
            session_complain(&gateway.session, "joining channel '" STREAM_TO_VALIDATOR "'");
        else
            result = options->listening.address != NULL ? listen_for_payments(&gateway, &options->listening) : send_all(&gateway, options);
    }
    /* What is still on the lane is received without this process. */
    if (gateway.sender != NULL)
        numapool_sender_close(gateway.sender, 0);
    if (gateway.magazine != NULL)
        numapool_magazine_close(gateway.magazine);
    session_close(&gateway.session);
    return result == 0 ? SESSION_OK : SESSION_FAILED;
}

static error_t parse(int key, char *argument, struct argp_state *state)
{
    struct options *options = state->input;
    switch (key) {
    case 'r':
        if (session_number(argument, 1, STREAM_REPEATS_MAX, &options->repeats) != 0)
            argp_error(state, "--repeat takes a number from 1 to %" PRIu32 ", not '%s'", STREAM_REPEATS_MAX, argument);
        return 0;
    case 'l':
        if (session_number(argument, 2, UINT64_C(1) << 20, &options->lane_slots) != 0)
            argp_error(state, "--lane-slots takes a number from 2 to 1048576, not '%s'", argument);
        return 0;
    case 'L':
        options->listening.address = argument;
        return 0;
    case 'c':
        if (session_number(argument, 1, STREAM_FILES_MAX, &options->listening.connections) != 0)
            argp_error(state, "--connections takes a number from 1 to %" PRIu32 ", not '%s'", STREAM_FILES_MAX, argument);
        return 0;
    case KEY_READY_FD:
        if (session_number(argument, 1, 1 << 20, &options->listening.ready_fd) != 0)
            argp_error(state, "--ready-fd takes a descriptor, not '%s'", argument);
        return 0;
    case ARGP_KEY_ARGS:
        if (options->listening.address != NULL)
            argp_error(state, "--listen takes its payments from connections, not from '%s'", state->argv[state->next]);
        options->files = state->argv + state->next;
        options->file_count = (uint32_t)(state->argc - state->next);
        if (options->file_count > STREAM_FILES_MAX)
            argp_error(state, "at most %" PRIu32 " files", STREAM_FILES_MAX);
        return 0;
    case ARGP_KEY_NO_ARGS:
        if (options->listening.address == NULL)
            argp_error(state, "name a payment file, or --listen");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

int main(int argc, char **argv)
{
    static const struct argp_option table[] = {
        { "repeat", 'r', "N", 0, "Send every file N times (1)", 0 },
        { "lane-slots", 'l', "N", 0, "Messages that may be under way to a validator (1024)", 0 },
        { "listen", 'L', "[ADDRESS:]PORT", 0, "Take payments from TCP connections there (port 0: any)", 0 },
        { "connections", 'c', "N", 0, "With --listen: end when N connections have come and gone; else at SIGTERM", 0 },
        { "ready-fd", KEY_READY_FD, "FD", 0, "With --listen: write the port there, and close it", 0 },
        { 0 }
    };
    static const struct argp argp = { table, parse, "FILE...\n--listen [ADDRESS:]PORT",
                                      "Sends the entries of NACHA (ACH) payment files, or payments that come over TCP, through pool '"
                                      STREAM_POOL "'.",
                                      NULL, NULL, NULL };
    struct options options = { .repeats = 1 };
    argp_err_exit_status = SESSION_USAGE;
    if (argp_parse(&argp, argc, argv, 0, NULL, &options) != 0)
        return SESSION_USAGE;
    return run(&options);
}
