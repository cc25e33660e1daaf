/* SPDX-License-Identifier: MIT */
#include "core/tell.h"

#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "core/error.h"

enum { LINE_BYTES = 512 };

struct listener {
    int most;
    void (*write)(void *arg, int level, const char *line);
    void *arg;
    struct listener *before; /* never freed: a line may be under way to it */
};

static _Atomic(struct listener *) listening;

int numapool_log_set(int most, void (*write)(void *arg, int level, const char *line), void *arg)
{
    if (most < NUMAPOOL_LOG_ERROR || most > NUMAPOOL_LOG_DEBUG)
        return np_error(-EINVAL, "log level %d is not known: NUMAPOOL_LOG_ERROR to NUMAPOOL_LOG_DEBUG", most);
    struct listener *listener = malloc(sizeof *listener);
    if (!listener)
        return np_error(-ENOMEM, "no memory to remember who listens to the log");
    *listener = (struct listener){ most, write, arg, atomic_load_explicit(&listening, memory_order_relaxed) }; /* relaxed: the exchange decides */
    while (!atomic_compare_exchange_weak_explicit(&listening, &listener->before, listener, memory_order_release, memory_order_relaxed))
        ; /* release: pairs with the acquire in np_tell */
    return 0;
}

void numapool_log_stderr(void *arg, int level, const char *line)
{
    static const char *const names[] = { "error", "warning", "info", "debug" };
    char text[LINE_BYTES + 64];
    (void)arg;
    int bytes = snprintf(text, sizeof text, "numapool: %s: %s\n", names[level & 3], line);
    if (bytes >= (int)sizeof text)
        bytes = (int)sizeof text - 1;
    if (bytes > 0 && write(STDERR_FILENO, text, (size_t)bytes) < 0)
        return; /* there is nobody else to tell */
}

void np_tell(int level, const char *format, ...)
{
    const struct listener *listener = atomic_load_explicit(&listening, memory_order_acquire); /* pairs with numapool_log_set */
    if (!listener || !listener->write || level > listener->most)
        return;
    char line[LINE_BYTES];
    int saved = errno;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    listener->write(listener->arg, level, line);
    errno = saved;
}
