/* SPDX-License-Identifier: MIT
 * What a daemon is told by programs that it does not know: what another build says of itself, and what a service manager calls its
 * descriptors. Any text is either taken, and then says the same when it is written again, or refused with a sentence for people. */
#include "core/error.h"
#include "daemon/depository.h"
#include "daemon/probe.h"
#include "fuzz.h"

static void check_probe(const uint8_t *data, size_t bytes)
{
    struct np_probe probe, again, own;
    np_error_static(0, "");
    if (np_probe_parse(&probe, (const char *)data, bytes) < 0) {
        const char *sentence = np_error_sentence();
        FUZZ_MUST(sentence[0] != '\0');
        for (; *sentence; sentence++)
            FUZZ_MUST(*sentence >= ' ' && *sentence <= '~');
        return;
    }
    char *text = NULL;
    size_t length = 0;
    FILE *stream = open_memstream(&text, &length);
    FUZZ_MUST(stream != NULL);
    np_probe_print(&probe, stream);
    fclose(stream);
    FUZZ_MUST(np_probe_parse(&again, text, length) == 0);
    FUZZ_MUST(memcmp(&probe, &again, sizeof probe) == 0);
    free(text);
    np_probe_own(&own);
    np_error_static(0, "");
    FUZZ_MUST((np_probe_compare(&own, &probe, "/usr/sbin/numapoold") == 0) == (np_error_sentence()[0] == '\0'));
}

static void check_name(const uint8_t *data, size_t bytes)
{
    char name[256], again[NP_DEPOSITORY_NAME_BYTES];
    struct np_store_key key;
    size_t length = bytes < sizeof name - 1 ? bytes : sizeof name - 1;
    memcpy(name, data, length);
    name[length] = '\0';
    if (!np_depository_key(name, &key))
        return;
    FUZZ_MUST(key.kind <= 0xf); /* a kind of the store, or the listening socket's */
    np_depository_name(key, again);
    FUZZ_MUST(key.kind == NP_STORE_BOARD || strcmp(name, again) == 0); /* the board's name is of this build's layout */
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    check_probe(data, bytes);
    check_name(data, bytes);
    return 0;
}

#ifndef NUMAPOOL_LIBFUZZER
#define TEXT(text) { text, sizeof text - 1 }
int main(int argc, char **argv)
{
    static const struct fuzz_seed_input seeds[] = {
        TEXT("numapoold probe 1\nversion 0.1.0\nlayout 4\nkeeper 1\nshared 0x0123456789abcdef\narena 0x1\nlane 0x2\nboard 0x3\naccount 0x4\nwire 0x5\n"),
        TEXT("numapoold probe 1\nversion 9\nwire 1\nlane 2\nlayout 18446744073709551615\nkeeper 0\nshared 0\narena 0\nboard 0\naccount 0\nmore 7\n"),
        TEXT("numapoold probe 2\n"),
        TEXT("np1-1-89abcdef-1234567"),
        TEXT("np1-6-fff-0"),
        TEXT("np1-0-0-0"),
    };
    return fuzz_main(argc, argv, seeds, sizeof seeds / sizeof seeds[0], 200000);
}
#endif
