/* SPDX-License-Identifier: MIT
 * The gateway's way out: slots are filled and sent to the validators in batches. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "gateway.h"

/* Sends what is batched, in order; waits for room. 0 or -1. */
int outlet_flush(struct gateway *gateway)
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
void *outlet_slot(struct gateway *gateway)
{
    void *slot = numapool_loan(gateway->sender);
    if (slot != NULL)
        return slot;
    /* What is batched here may be what everybody waits for. */
    if (outlet_flush(gateway) != 0)
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

int outlet_send(struct gateway *gateway, void *slot, enum stream_type type, uint64_t id, uint64_t key)
{
    gateway->batch[gateway->batched++] = (struct numapool_msg){
        .data = slot, .length = NUMAPOOL_PAYMENT_BYTES, .type = (uint16_t)type, .id = id, .key = key
    };
    return gateway->batched == STREAM_BATCH_MESSAGES ? outlet_flush(gateway) : 0;
}

/* A statement is small and rare: it is made here and copied. */
int outlet_state(struct gateway *gateway, enum stream_type type, void *statement)
{
    void *slot = outlet_slot(gateway);
    if (slot == NULL)
        return -1;
    stream_seal(statement);
    memcpy(slot, statement, NUMAPOOL_PAYMENT_BYTES);
    return outlet_send(gateway, slot, type, ++gateway->statements, 0);
}

int outlet_finding(struct gateway *gateway, enum nacha_severity severity, uint64_t line, const char *sentence)
{
    struct stream_finding statement = { .file = gateway->file, .line = line, .severity = (uint32_t)severity };
    snprintf(statement.text, sizeof(statement.text), "%s", sentence);
    return outlet_state(gateway, STREAM_FINDING, &statement);
}

int outlet_name(struct gateway *gateway, const char *name)
{
    const size_t length = strnlen(name, 4096);
    struct stream_name statement;
    for (size_t offset = 0; offset < length; offset += sizeof(statement.text)) {
        const size_t left = length - offset;
        statement = (struct stream_name){ .file = gateway->file, .offset = (uint32_t)offset, .length = (uint32_t)length };
        memcpy(statement.text, name + offset, left < sizeof(statement.text) ? left : sizeof(statement.text));
        if (outlet_state(gateway, STREAM_NAME, &statement) != 0)
            return -1;
    }
    return 0;
}
