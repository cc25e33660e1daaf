/* SPDX-License-Identifier: MIT
 * Scenarios in which all messages have one key, and what must hold in them. */
#include "model.h"

uint64_t keys_key_of(unsigned slot)
{
    return world.run.scenario->keyed ? 4711 : slot;
}

uint16_t keys_flags(void)
{
    return world.run.scenario->keyed ? NUMAPOOL_KEYED : 0;
}

void keys_received(struct process *self, int ledger)
{
    const struct message_book *later = &world.messages[ledger];
    if (!world.run.scenario->keyed)
        return;
    for (unsigned i = 0; i < world.message_count; i++) {
        const struct message_book *earlier = &world.messages[i];
        if (earlier->sender == later->sender && earlier->sent[0] && earlier->order[0] < later->order[0] && earlier->seen[0] == 0)
            model_fail("%s receives message %d before message %u, which was sent before it with the same key", self->name, ledger, i);
    }
}
