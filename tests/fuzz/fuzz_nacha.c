/* SPDX-License-Identifier: MIT
 * Payment files: whatever is in one, it is read to its end, and what is handed out is within the format's limits. */
#include <sys/mman.h>

#include "fuzz.h"
#include "nacha.h"

struct seen {
    uint64_t entries, files;
};

static int on_entry(void *context, const struct nacha_entry *entry)
{
    struct seen *seen = context;
    FUZZ_MUST(entry->ordinal == ++seen->entries);
    FUZZ_MUST(entry->line >= 1 && entry->code < 100 && entry->amount_cents <= UINT64_C(9999999999));
    FUZZ_MUST(entry->account_bytes <= 35 && entry->bank && entry->account);
    return 0;
}

static int on_batch(void *context, const struct nacha_batch *batch)
{
    (void)context;
    FUZZ_MUST(batch->stated.entry_hash < NACHA_HASH_MODULUS);
    return 0;
}

static int on_file(void *context, const struct nacha_file *file)
{
    struct seen *seen = context;
    FUZZ_MUST(++seen->files == 1 && file->entries == seen->entries);
    return 0;
}

static int on_finding(void *context, enum nacha_severity severity, uint64_t line, const char *sentence)
{
    (void)context, (void)line;
    FUZZ_MUST(severity >= NACHA_NOTE && severity <= NACHA_MALFORMED && sentence && sentence[0] != 0);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    struct seen seen = { 0, 0 };
    const struct nacha_sink sink = { &seen, on_entry, on_batch, on_file, on_finding };
    static int file = -1;
    char path[64];
    if (file < 0)
        file = memfd_create("fuzz.ach", MFD_CLOEXEC);
    snprintf(path, sizeof path, "/proc/self/fd/%d", file);
    FUZZ_MUST(ftruncate(file, 0) == 0 && pwrite(file, data, bytes, 0) == (ssize_t)bytes);
    FUZZ_MUST(nacha_read(path, &sink) == 0);
    FUZZ_MUST(seen.files == 1);
    return 0;
}

#ifndef NUMAPOOL_LIBFUZZER
static struct fuzz_seed_input read_seed(const char *name)
{
    static uint8_t store[3][FUZZ_INPUT_BYTES_MAX];
    static unsigned used;
    char path[512];
    const char *directory = getenv("NUMAPOOL_SOURCE");
    snprintf(path, sizeof path, "%s/tests/data/%s", directory ? directory : ".", name);
    FILE *file = fopen(path, "r");
    size_t bytes = file ? fread(store[used], 1, FUZZ_INPUT_BYTES_MAX, file) : 0;
    if (file)
        fclose(file);
    if (bytes == 0)
        fprintf(stderr, "no seed %s: is NUMAPOOL_SOURCE set?\n", path);
    return (struct fuzz_seed_input){ store[used++], bytes };
}

int main(int argc, char **argv)
{
    const struct fuzz_seed_input seeds[] = { read_seed("ppd-mixed-debit-credit.ach"), read_seed("iat-mixed-debit-credit.ach"),
                                             read_seed("invalid-20110729A.ach") };
    for (unsigned i = 0; i < 3; i++)
        if (seeds[i].bytes == 0)
            return 1;
    return fuzz_main(argc, argv, seeds, 3, 60000);
}
#endif
