/* SPDX-License-Identifier: MIT
 *
 * Ends that never wait in the library, since they share a CPU: they try, and wait as fan.h says.
 */
#ifndef NP_BENCH_POLLING_H
#define NP_BENCH_POLLING_H

#include <errno.h>

#include "fan.h"
#include "numapool.h"

/* Sends FAN_BATCH messages of 128 bytes, numbered from `number`. */
static inline void polling_send(struct numapool_sender *sender, const char *name, uint64_t number, unsigned *looks)
{
    struct numapool_msg messages[FAN_BATCH];
    void *slots[FAN_BATCH];
    if (numapool_loan_bulk(sender, slots, FAN_BATCH) != (int)FAN_BATCH)
        bench_fail("%s: %s", name, numapool_errormsg());
    for (unsigned i = 0; i < FAN_BATCH; i++) {
        bench_payload_write(slots[i], number + i);
        messages[i] = (struct numapool_msg){ .data = slots[i], .length = BENCH_PAYLOAD_BYTES };
    }
    for (unsigned sent = 0; sent < FAN_BATCH;) {
        int result = numapool_send_bulk(sender, messages + sent, FAN_BATCH - sent, 0);
        if (result > 0)
            sent += (unsigned)result;
        else if (result == -EAGAIN)
            fan_wait(looks);
        else
            bench_fail("%s: %s", name, numapool_errormsg());
    }
}

/* How many there are, of `most`. */
static inline unsigned polling_receive(struct numapool_receiver *receiver, const char *name, struct numapool_msg *messages,
                                       unsigned most)
{
    int count = numapool_receive(receiver, messages, most, 0);
    if (count < 0 && count != -EAGAIN)
        bench_fail("%s: %s", name, numapool_errormsg());
    return count < 0 ? 0 : (unsigned)count;
}

static inline uint64_t polling_read_and_release(struct numapool_receiver *receiver, const char *name,
                                                const struct numapool_msg *messages, unsigned count)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < count; i++)
        sum += bench_payload_read(messages[i].data);
    if (numapool_release(receiver, messages, count) < 0)
        bench_fail("%s: %s", name, numapool_errormsg());
    return sum;
}

#endif
