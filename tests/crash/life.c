/* SPDX-License-Identifier: MIT */
#include "life.h"

#include <errno.h>

#define SHORT_NS 100000

int life_failed(const struct life *life, const char *call, int result)
{
    ledger_breach(life->ledger, "%s %u: %s gave %d: %s", life->name, life->start->incarnation, call, result,
                  numapool_errormsg());
    return 1;
}

bool life_is_late(int result)
{
    return result == -EAGAIN || result == -ETIMEDOUT;
}

void life_tell_phase(const struct life *life, uint32_t phase)
{
    SET(life->ledger->workers[life->start->place].phase, phase);
}

int64_t life_patience(struct life *life)
{
    return harness_below(&life->random, 4) == 0 ? 0 : 1 + harness_below(&life->random, SHORT_NS);
}

bool life_is_over(const struct life *life)
{
    return GET(life->ledger->drain) != 0;
}
