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

#include "nacha.h"
#include "session.h"
#include "stream.h"

/* A file that breaks one rule on each line is not described line by line. */
#define NOTES_MAX 100u

struct options {
    uint64_t repeats;
    uint64_t lane_slots;
    char **files;
    uint32_t file_count;
};

struct gateway {
    struct session session;
    struct numapool_magazine *magazine;
    struct numapool_sender *sender;
    struct numapool_msg batch[STREAM_BATCH_MESSAGES];
    unsigned batched;
    uint32_t repeat;
    uint32_t file;
    uint64_t notes;       /* on this file */
    uint64_t payments;
    uint64_t statements;
    int64_t started_ns;   /* wall clock: when this pass began */
};

/* ---------------------------------------------------------------- sending */

/* Sends what is batched, in order; waits for room. 0 or -1. */
static int flush(struct gateway *gateway)
{
    unsigned sent = 0;
    while (sent < gateway->batched) {
        int result = numapool_send_bulk(gateway->sender, gateway->batch + sent, gateway->batched - sent, SESSION_WAIT_NS);
        if (result > 0) {
            sent += (unsigned)result;
        } else if (result != -EAGAIN && result != -ETIMEDOUT) {
            session_complain(&gateway->session, "sending");
            break;
        } else if (session_stopping) {
            break;
        }
    }
    for (unsigned i = sent; i < gateway->batched; i++)
        numapool_unloan(gateway->sender, gateway->batch[i].data);
    const int result = sent == gateway->batched ? 0 : -1;
    gateway->batched = 0;
    return result;
}

/* A slot to fill, waiting while others hold them all; NULL: it is time to stop. */
static void *take_slot(struct gateway *gateway)
{
    void *slot = numapool_loan(gateway->sender);
    if (slot != NULL)
        return slot;
    /* What is batched here may be what everybody waits for. */
    if (flush(gateway) != 0)
        return NULL;
    while (!session_stopping) {
        slot = numapool_loan(gateway->sender);
        if (slot != NULL)
            return slot;
        int result = numapool_get_wait(gateway->magazine, &slot, SESSION_WAIT_NS);
        if (result == 0)
            return slot;
        if (result != -EAGAIN && result != -ETIMEDOUT) {
            session_complain(&gateway->session, "taking a slot");
            return NULL;
        }
    }
    return NULL;
}

static int put_on_its_way(struct gateway *gateway, void *slot, enum stream_type type, uint64_t id, uint64_t key)
{
    gateway->batch[gateway->batched++] = (struct numapool_msg){
        .data = slot, .length = NUMAPOOL_PAYMENT_BYTES, .type = (uint16_t)type, .id = id, .key = key
    };
    return gateway->batched == STREAM_BATCH_MESSAGES ? flush(gateway) : 0;
}

/* A statement is small and rare: it is made here and copied. */
static int state(struct gateway *gateway, enum stream_type type, void *statement)
{
    void *slot = take_slot(gateway);
    if (slot == NULL)
        return -1;
    stream_seal(statement);
    memcpy(slot, statement, NUMAPOOL_PAYMENT_BYTES);
    return put_on_its_way(gateway, slot, type, ++gateway->statements, 0);
}

/* ---------------------------------------------------------------- what the reader finds */

static void write_accounts(struct numapool_payment *payment, const struct nacha_entry *entry, uint32_t *flags)
{
    char receiver[9 + 1 + 35], originator[8 + 1 + 10];
    size_t receiver_bytes = 10 + entry->account_bytes, originator_bytes = sizeof(originator);
    int cut;
    memcpy(receiver, entry->bank, 9);
    receiver[9] = '/';
    memcpy(receiver + 10, entry->account, entry->account_bytes);
    memcpy(originator, entry->originating_bank, 8);
    originator[8] = '/';
    memcpy(originator + 9, entry->company_id, 10);
    for (size_t i = 0; i < sizeof(originator); i++)
        if (originator[i] == '\0') /* the entry is outside of any batch */
            originator[i] = ' ';
    if (entry->is_debit) {
        cut = numapool_payment_set_debit_account(payment, receiver, receiver_bytes);
        cut |= numapool_payment_set_credit_account(payment, originator, originator_bytes);
    } else {
        cut = numapool_payment_set_credit_account(payment, receiver, receiver_bytes);
        cut |= numapool_payment_set_debit_account(payment, originator, originator_bytes);
    }
    if (cut)
        *flags |= NUMAPOOL_PAYMENT_ACCOUNT_CUT;
}

static int on_entry(void *context, const struct nacha_entry *entry)
{
    struct gateway *gateway = context;
    struct numapool_payment *payment = take_slot(gateway);
    const uint64_t id = stream_payment_id(gateway->repeat, gateway->file, entry->ordinal);
    uint32_t flags = 0;
    if (payment == NULL)
        return -1;
    numapool_payment_begin(payment);
    numapool_payment_set_id(payment, id);
    numapool_payment_set_reference(payment, entry->trace_number);
    numapool_payment_set_amount(payment, (int64_t)entry->amount_cents, "USD", 2);
    numapool_payment_set_times(payment, gateway->started_ns, entry->due_ns);
    numapool_payment_set_batch(payment, entry->batch_ordinal);
    numapool_payment_set_code(payment, entry->code);
    write_accounts(payment, entry, &flags);
    if (entry->is_debit)
        flags |= NUMAPOOL_PAYMENT_COLLECTION;
    if (entry->may_be_zero)
        flags |= NUMAPOOL_PAYMENT_NOTICE;
    if (!entry->trace_is_sound)
        flags |= STREAM_BAD_TRACE;
    numapool_payment_seal(payment, flags);
    gateway->payments++;
    return put_on_its_way(gateway, payment, STREAM_PAYMENT, id, entry->line);
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
    return state(gateway, STREAM_BATCH, &statement);
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
    return state(gateway, STREAM_FILE, &statement);
}

static int send_finding(struct gateway *gateway, enum nacha_severity severity, uint64_t line, const char *sentence)
{
    struct stream_finding statement = { .file = gateway->file, .line = line, .severity = (uint32_t)severity };
    snprintf(statement.text, sizeof(statement.text), "%s", sentence);
    return state(gateway, STREAM_FINDING, &statement);
}

static int on_finding(void *context, enum nacha_severity severity, uint64_t line, const char *sentence)
{
    struct gateway *gateway = context;
    if (gateway->repeat != 0) /* the first pass has said it all */
        return 0;
    if (severity == NACHA_NOTE && ++gateway->notes > NOTES_MAX)
        return 0;
    return send_finding(gateway, severity, line, sentence);
}

/* ---------------------------------------------------------------- the run */

static int send_name(struct gateway *gateway, const char *name)
{
    const size_t length = strnlen(name, 4096);
    struct stream_name statement;
    for (size_t offset = 0; offset < length; offset += sizeof(statement.text)) {
        const size_t left = length - offset;
        statement = (struct stream_name){ .file = gateway->file, .offset = (uint32_t)offset, .length = (uint32_t)length };
        memcpy(statement.text, name + offset, left < sizeof(statement.text) ? left : sizeof(statement.text));
        if (state(gateway, STREAM_NAME, &statement) != 0)
            return -1;
    }
    return 0;
}

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
    if (gateway->repeat == 0 && send_name(gateway, path) != 0)
        return -1;
    if (nacha_read(path, &sink) != 0)
        return -1;
    if (gateway->notes <= NOTES_MAX)
        return 0;
    snprintf(sentence, sizeof(sentence), "%" PRIu64 " more warnings of this kind", gateway->notes - NOTES_MAX);
    return send_finding(gateway, NACHA_NOTE, 0, sentence);
}

static int send_all(struct gateway *gateway, const struct options *options)
{
    for (gateway->repeat = 0; gateway->repeat < options->repeats; gateway->repeat++)
        for (gateway->file = 0; gateway->file < options->file_count; gateway->file++)
            if (send_file(gateway, options->files[gateway->file]) != 0)
                return -1;
    struct stream_end end = { .files = options->file_count, .repeats = (uint32_t)options->repeats,
                              .payments = gateway->payments, .statements = gateway->statements + 1 };
    return state(gateway, STREAM_END, &end) != 0 || flush(gateway) != 0 ? -1 : 0;
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
            result = send_all(&gateway, options);
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
    case ARGP_KEY_ARGS:
        options->files = state->argv + state->next;
        options->file_count = (uint32_t)(state->argc - state->next);
        if (options->file_count > STREAM_FILES_MAX)
            argp_error(state, "at most %" PRIu32 " files", STREAM_FILES_MAX);
        return 0;
    case ARGP_KEY_NO_ARGS:
        argp_error(state, "name a payment file");
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
        { 0 }
    };
    static const struct argp argp = { table, parse, "FILE...",
                                      "Sends the entries of NACHA (ACH) payment files through pool '" STREAM_POOL "'.",
                                      NULL, NULL, NULL };
    struct options options = { .repeats = 1 };
    argp_err_exit_status = SESSION_USAGE;
    if (argp_parse(&argp, argc, argv, 0, NULL, &options) != 0)
        return SESSION_USAGE;
    return run(&options);
}
