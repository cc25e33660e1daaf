/* SPDX-License-Identifier: MIT
 * validator: looks at each payment where it lies, flags the bad ones, and sends all of them on. May be killed at any
 * instruction: forwarding is one store, so a payment is either still on its lane, for the next validator, or already on
 * the ledger's; and flags and checksum change together. */
#include <argp.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "nacha.h"
#include "session.h"
#include "stream.h"

struct validator {
    struct session session;
    struct numapool_receiver *receiver;
    struct numapool_sender *sender;
};

/* The account on the receiving side carries the bank's nine digits in front. */
static uint32_t check_bank(const struct numapool_payment *payment, uint32_t flags)
{
    size_t length_bytes;
    const char *account = (flags & NUMAPOOL_PAYMENT_COLLECTION) != 0
                              ? numapool_payment_get_debit_account(payment, &length_bytes)
                              : numapool_payment_get_credit_account(payment, &length_bytes);
    uint64_t digits;
    if (length_bytes < 9 || !nacha_number(account, 1, 8, &digits))
        return STREAM_BAD_LAYOUT;
    return account[8] == (char)('0' + nacha_check_digit(account)) ? 0 : STREAM_BAD_CHECK_DIGIT;
}

static uint32_t check_code(const struct numapool_payment *payment)
{
    const unsigned code = numapool_payment_get_code(payment);
    if (!nacha_code_is_known(code))
        return STREAM_UNKNOWN_CODE;
    return nacha_code_is_prenote(code) && numapool_payment_get_amount_minor(payment) != 0 ? STREAM_AMOUNT_AGAINST_CODE : 0;
}

/* Leaves its verdict in the payment. False: it is damaged, and nothing in it may be touched or believed. */
static bool check(struct numapool_payment *payment, bool redelivered)
{
    const uint32_t problems = numapool_payment_problems(payment);
    const uint32_t flags = numapool_payment_get_flags(payment);
    if ((problems & (NUMAPOOL_PAYMENT_BAD_CHECKSUM | NUMAPOOL_PAYMENT_BAD_VERSION)) != 0)
        return false;
    uint32_t verdict = check_bank(payment, flags) | check_code(payment);
    if ((problems & NUMAPOOL_PAYMENT_BAD_AMOUNT) != 0)
        verdict |= STREAM_AMOUNT_AGAINST_CODE;
    if ((problems & ~(uint32_t)NUMAPOOL_PAYMENT_BAD_AMOUNT) != 0)
        verdict |= STREAM_BAD_LAYOUT;
    if (((verdict | flags) & STREAM_OBJECTIONS) != 0)
        verdict |= NUMAPOOL_PAYMENT_REJECTED;
    if (redelivered)
        verdict |= NUMAPOOL_PAYMENT_POSSIBLE_REPEAT;
    numapool_payment_flag(payment, verdict | NUMAPOOL_PAYMENT_CHECKED);
    return true;
}

/* 0 or -1. */
static int pass_on(struct validator *validator, struct numapool_msg *message)
{
    if (message->type == STREAM_PAYMENT &&
        (message->length != NUMAPOOL_PAYMENT_BYTES ||
         !check(message->data, (message->flags & NUMAPOOL_REDELIVERED) != 0)))
        message->type = STREAM_PAYMENT_DAMAGED;
    for (;;) {
        int result = numapool_forward(validator->receiver, message, validator->sender, SESSION_WAIT_NS);
        if (result == 0)
            return 0;
        if (result != -EAGAIN && result != -ETIMEDOUT) {
            session_complain(&validator->session, "forwarding");
            return -1;
        }
        if (session_stopping)
            return -1;
    }
}

static int work(struct validator *validator)
{
    struct numapool_msg messages[STREAM_BATCH_MESSAGES];
    while (!session_stopping) {
        int count = numapool_receive(validator->receiver, messages, STREAM_BATCH_MESSAGES, SESSION_WAIT_NS);
        if (count == -EAGAIN || count == -ETIMEDOUT || count == -EINTR)
            continue;
        if (count == -EBADMSG) {
            session_complain(&validator->session, "a message was passed over");
            continue;
        }
        if (count < 0) {
            session_complain(&validator->session, "receiving");
            return -1;
        }
        for (int i = 0; i < count; i++)
            if (pass_on(validator, &messages[i]) != 0)
                return session_stopping ? 0 : -1;
    }
    return 0;
}

struct options {
    uint64_t lane_slots;
    uint64_t ready_fd; /* 0: none */
};

static void tell_ready(uint64_t descriptor)
{
    if (descriptor != 0 && (write((int)descriptor, "\n", 1) != 1 || close((int)descriptor) != 0))
        fprintf(stderr, "validator: --ready-fd: %s\n", strerror(errno));
}

static int run(const struct options *options)
{
    struct validator validator = { .receiver = NULL };
    struct numapool_channel_options channel = NUMAPOOL_CHANNEL_OPTIONS_INIT;
    int result = -1;
    if (session_open(&validator.session, "validator") != 0)
        return SESSION_FAILED;
    channel.lane_slots = (uint32_t)options->lane_slots;
    /* First the way out: nothing is to be received that could not be sent on. */
    if (numapool_sender_open(validator.session.pool, STREAM_TO_LEDGER, &channel, &validator.sender) != 0)
        session_complain(&validator.session, "joining channel '" STREAM_TO_LEDGER "' as a sender");
    else if (numapool_receiver_open(validator.session.pool, STREAM_TO_VALIDATOR, NULL, &validator.receiver) != 0)
        session_complain(&validator.session, "joining channel '" STREAM_TO_VALIDATOR "' as a receiver");
    else {
        tell_ready(options->ready_fd);
        result = work(&validator);
    }
    if (validator.receiver != NULL)
        numapool_receiver_close(validator.receiver);
    if (validator.sender != NULL)
        numapool_sender_close(validator.sender, 0);
    session_close(&validator.session);
    return result == 0 ? SESSION_OK : SESSION_FAILED;
}

static error_t parse(int key, char *argument, struct argp_state *state)
{
    struct options *options = state->input;
    switch (key) {
    case 'l':
        if (session_number(argument, 2, UINT64_C(1) << 20, &options->lane_slots) != 0)
            argp_error(state, "--lane-slots takes a number from 2 to 1048576, not '%s'", argument);
        return 0;
    case 'r':
        if (session_number(argument, 1, 1 << 20, &options->ready_fd) != 0)
            argp_error(state, "--ready-fd takes a descriptor, not '%s'", argument);
        return 0;
    case ARGP_KEY_ARG:
        argp_error(state, "it takes no '%s'", argument);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

int main(int argc, char **argv)
{
    static const struct argp_option table[] = {
        { "lane-slots", 'l', "N", 0, "Messages that may be under way to the ledger (1024)", 0 },
        { "ready-fd", 'r', "N", 0, "Write a newline there, and close it, when it has joined its channels", 0 },
        { 0 }
    };
    static const struct argp argp = {
        table, parse, NULL, "Checks the payments of pool '" STREAM_POOL "' in place and sends them on, until SIGTERM.",
        NULL,  NULL,  NULL
    };
    struct options options = { 0, 0 };
    argp_err_exit_status = SESSION_USAGE;
    if (argp_parse(&argp, argc, argv, 0, NULL, &options) != 0)
        return SESSION_USAGE;
    return run(&options);
}
