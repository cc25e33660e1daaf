/* SPDX-License-Identifier: MIT */
#include "core/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "numapool.h"

static _Thread_local char buffer[512];
static _Thread_local const char *sentence = "";

int np_error(int code, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(buffer, sizeof buffer, format, arguments);
    va_end(arguments);
    sentence = buffer;
    return code;
}

int np_error_static(int code, const char *text)
{
    sentence = text;
    return code;
}

int np_error_within(int code, const char *format, ...)
{
    char whole[sizeof buffer];
    va_list arguments;
    va_start(arguments, format);
    int used = vsnprintf(whole, sizeof whole, format, arguments);
    va_end(arguments);
    if (used < 0)
        return code;
    if ((size_t)used < sizeof whole)
        snprintf(whole + used, sizeof whole - (size_t)used, ": %s", sentence);
    memcpy(buffer, whole, sizeof whole);
    sentence = buffer;
    return code;
}

const char *np_error_sentence(void)
{
    return sentence;
}

const char *numapool_errormsg(void)
{
    return sentence;
}
