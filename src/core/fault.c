/* SPDX-License-Identifier: MIT */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* dladdr */
#endif
#include "core/fault.h"

#include <dlfcn.h>
#include <errno.h>
#include <link.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/error.h"
#include "core/pool.h"
#include "core/tell.h"

enum { SENTENCE_BYTES = 500 }; /* no more than an error or a line of the log takes */

struct listener {
    void (*told)(void *arg, const struct numapool_fault *fault);
    void *arg;
    struct listener *before; /* never freed: a fault may be under way to it */
};

static _Atomic(struct listener *) listening;

static _Thread_local struct {
    const char *name;
    const char *site;
} now;

/* What shared memory says of a call is its place here. New ones at the end: processes of one daemon read each other's. */
static const char *const names[] = {
    "an unknown call",        "numapool_get",          "numapool_get_call",     "numapool_get_wait",   "numapool_get_bulk",
    "numapool_put",           "numapool_put_call",     "numapool_put_bulk",     "numapool_flush",      "numapool_magazine_close",
    "numapool_loan",          "numapool_loan_bulk",    "numapool_loan_wait",    "numapool_loan_for",   "numapool_unloan",
    "numapool_send",          "numapool_send_bulk",    "numapool_send_to",      "numapool_sender_close", "numapool_receive",
    "numapool_release",       "numapool_keep",         "numapool_forward",      "numapool_forward_bulk", "numapool_receiver_close",
    "numapool_request",       "numapool_call",         "numapool_reply",        "numapool_reply_in_place", "numapool_resolve",
    "numapool_handle_of",     "numapool_close",
};
#define NAMES (sizeof names / sizeof names[0])

/* ---------------------------------------------------------------- who */

void np_call_enter(const char *name, const void *return_address)
{
    now.name = name;
    now.site = (const char *)return_address - 1; /* in the call itself: what comes after may be of another line */
}

const char *np_call_name(void)
{
    return now.name ? now.name : names[0];
}

uint64_t np_call_who(const struct numapool_pool *pool)
{
    uint64_t call = 0;
    for (unsigned i = 1; now.name && i < NAMES && call == 0; i++)
        call = strcmp(names[i], now.name) == 0 ? i : 0;
    return (uint64_t)pool->process << 32 | (uint64_t)pool->client << 16 | call;
}

uint64_t np_call_site(const struct numapool_pool *pool)
{
    return pool->flags & NUMAPOOL_CHECK_SITES ? (uint64_t)(uintptr_t)now.site : 0;
}

/* As backtrace_symbols(3) has it, and addr2line(1) wants it. */
static void site_text(char *text, size_t bytes, uint64_t site)
{
    Dl_info about;
    if (dladdr((void *)(uintptr_t)site, &about) == 0 || !about.dli_fname) {
        snprintf(text, bytes, "%#llx", (unsigned long long)site);
        return;
    }
    const char *slash = strrchr(about.dli_fname, '/'), *file = slash ? slash + 1 : about.dli_fname;
    const ElfW(Ehdr) *image = about.dli_fbase;
    uint64_t from = image->e_type == ET_EXEC ? 0 : (uintptr_t)about.dli_fbase;
    if (about.dli_sname)
        snprintf(text, bytes, "%.40s(+%#llx, %.40s)", file, (unsigned long long)(site - from), about.dli_sname);
    else
        snprintf(text, bytes, "%.40s(+%#llx)", file, (unsigned long long)(site - from));
}

const char *np_deed_text(char text[NP_DEED_BYTES], const struct numapool_pool *pool, uint64_t who, uint64_t site)
{
    char whose[48] = "", at[104] = "";
    uint32_t process = (uint32_t)(who >> 32);
    unsigned client = (unsigned)(who >> 16 & 0xffff), call = (unsigned)(who & 0xffff);
    bool ours = process == pool->process && client == pool->client;
    if (!ours)
        snprintf(whose, sizeof whose, " of client %u (pid %u)", client, process);
    if (site != 0 && ours)
        site_text(at, sizeof at, site);
    else if (site != 0)
        snprintf(at, sizeof at, "its address %#llx", (unsigned long long)site);
    snprintf(text, NP_DEED_BYTES, "by %s%s%s%s", names[call < NAMES ? call : 0], whose, site ? " at " : "", at);
    return text;
}

/* ---------------------------------------------------------------- telling */

void numapool_fault_set(void (*told)(void *arg, const struct numapool_fault *fault), void *arg)
{
    struct listener *listener = malloc(sizeof *listener);
    if (!listener)
        return; /* whoever listened before goes on */
    *listener = (struct listener){ told, arg, atomic_load_explicit(&listening, memory_order_relaxed) }; /* relaxed: the exchange decides */
    while (!atomic_compare_exchange_weak_explicit(&listening, &listener->before, listener, memory_order_release, memory_order_relaxed))
        ; /* release: pairs with the acquire in np_fault */
}

int np_fault(struct numapool_pool *pool, const struct np_pool_arena *pa, uint64_t index, const void *address, int kind,
             const char *format, ...)
{
    char sentence[SENTENCE_BYTES];
    int used = snprintf(sentence, sizeof sentence, "%s: ", np_call_name());
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(sentence + used, sizeof sentence - (size_t)used, format, arguments);
    va_end(arguments);
    np_count(pa ? &pa->account->faults : &pool->arenas[0].account->faults, 1);
    np_tell(NUMAPOOL_LOG_ERROR, "%s", sentence);
    np_error(-EINVAL, "%s", sentence);
    const struct listener *listener = atomic_load_explicit(&listening, memory_order_acquire); /* pairs with numapool_fault_set */
    if (listener && listener->told) {
        const struct numapool_fault fault = { kind, pa ? pa->arena.node : -1, pa ? index : 0, address, pool->name, np_call_name(), sentence };
        listener->told(listener->arg, &fault);
    }
    return -EINVAL;
}
