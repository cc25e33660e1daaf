/* SPDX-License-Identifier: MIT */
#include "entry.h"

#include <string.h>

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

void entry_write(struct numapool_payment *payment, const struct nacha_entry *entry, uint64_t id, int64_t created_ns)
{
    uint32_t flags = 0;
    numapool_payment_begin(payment);
    numapool_payment_set_id(payment, id);
    numapool_payment_set_reference(payment, entry->trace_number);
    numapool_payment_set_amount(payment, (int64_t)entry->amount_cents, "USD", 2);
    numapool_payment_set_times(payment, created_ns, entry->due_ns);
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
}
