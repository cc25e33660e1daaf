/* SPDX-License-Identifier: MIT
 * Messages of the socket: the checks that stand before everything else never read beyond what has come, and refuse with a sentence. */
#include "core/error.h"
#include "fuzz.h"
#include "service/wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    /* a copy of just that length, so that a sanitizer sees a byte too many */
    uint8_t *exact = malloc(bytes ? bytes : 1);
    if (!exact)
        return 0;
    memcpy(exact, data, bytes);
    np_error_static(0, "");
    int result = np_wire_check_request(exact, bytes);
    FUZZ_MUST(result == 0 || np_error_sentence()[0] != 0);
    FUZZ_MUST(result < 0 || bytes == sizeof(struct np_wire_request));
    struct np_wire_request request = { .operation = NP_WIRE_HELLO, .number = 7 };
    np_error_static(0, "");
    result = np_wire_check_answer(exact, bytes, &request);
    FUZZ_MUST(result == 0 || np_error_sentence()[0] != 0);
    FUZZ_MUST(result < 0 || bytes == sizeof(struct np_wire_answer));
    free(exact);
    return 0;
}

#ifndef NUMAPOOL_LIBFUZZER
int main(int argc, char **argv)
{
    static const struct np_wire_request request = { .magic = NP_WIRE_MAGIC, .operation = NP_WIRE_POOL_OPEN, .number = 7 };
    static const struct np_wire_answer answer = { .magic = NP_WIRE_MAGIC, .operation = NP_WIRE_HELLO, .number = 7, .descriptors = 1 };
    const struct fuzz_seed_input seeds[] = { { &request, sizeof request }, { &answer, sizeof answer } };
    return fuzz_main(argc, argv, seeds, 2, 300000);
}
#endif
