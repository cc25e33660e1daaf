/* SPDX-License-Identifier: MIT */
#include "core/number.h"

#include <errno.h>

int np_number_parse(const char *text, uint64_t *number)
{
    uint64_t value = 0;
    const char *at = text;
    for (; *at >= '0' && *at <= '9'; at++)
        if (__builtin_mul_overflow(value, UINT64_C(10), &value) ||
            __builtin_add_overflow(value, (uint64_t)(*at - '0'), &value))
            return -ERANGE;
    if (at == text)
        return -EINVAL;
    unsigned shift = 0;
    switch (*at) {
    case 'k': case 'K': shift = 10; break;
    case 'm': case 'M': shift = 20; break;
    case 'g': case 'G': shift = 30; break;
    }
    if (shift)
        at++;
    if (*at != '\0')
        return -EINVAL;
    if (value > UINT64_MAX >> shift)
        return -ERANGE;
    *number = value << shift;
    return 0;
}
