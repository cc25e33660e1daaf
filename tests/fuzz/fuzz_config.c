/* SPDX-License-Identifier: MIT
 * The daemon's configuration: any text is either taken or refused with a sentence, and what is taken is within its limits. */
#include "core/error.h"
#include "daemon/config.h"
#include "fuzz.h"

static unsigned rights_in(const struct np_access *list, const struct np_access *who)
{
    unsigned i = 0;
    while (i < NP_ACCESS_MAX && list[i].rights != 0 && (list[i].id != who->id || list[i].is_group != who->is_group))
        i++;
    return i < NP_ACCESS_MAX ? list[i].rights : 0;
}

static void check_access(const struct np_access *list, const struct np_access *again)
{
    for (unsigned i = 0; i < NP_ACCESS_MAX; i++) {
        FUZZ_MUST(list[i].rights == 0 || rights_in(again, &list[i]) == list[i].rights);
        FUZZ_MUST(again[i].rights == 0 || rights_in(list, &again[i]) == again[i].rights);
    }
}

static void check_taken(const struct np_config *config)
{
    FUZZ_MUST(config->pool_count <= NP_POOLS_MAX);
    for (unsigned i = 0; i < config->pool_count; i++) {
        const struct np_config_pool *pool = &config->pools[i];
        char spec[NP_CONFIG_SPEC_BYTES];
        static struct np_config again;
        FUZZ_MUST(memchr(pool->name, 0, sizeof pool->name) != NULL && pool->name[0] != 0);
        FUZZ_MUST(pool->slot_bytes >= 1 && pool->slots >= 1);
        np_config_pool_spec(pool, spec);
        np_config_start(&again);
        FUZZ_MUST(np_config_pool_add(&again, spec, "again") == 0);
        FUZZ_MUST(again.pools[0].slot_bytes == pool->slot_bytes && again.pools[0].slots == pool->slots &&
                  again.pools[0].flags == pool->flags && strcmp(again.pools[0].name, pool->name) == 0);
        FUZZ_MUST(again.pools[0].policy == pool->policy && again.pools[0].nodes == pool->nodes &&
                  again.pools[0].spill_slots == pool->spill_slots && strcmp(again.pools[0].device, pool->device) == 0 &&
                  memcmp(again.pools[0].node_slots, pool->node_slots, sizeof pool->node_slots) == 0);
        check_access(pool->access, again.pools[0].access);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    static struct np_config config;
    np_config_start(&config);
    np_error_static(0, "");
    int result = np_config_parse(&config, (const char *)data, bytes, "fuzz.ini");
    FUZZ_MUST(result == 0 || np_error_sentence()[0] != 0);
    if (result == 0 && np_config_finish(&config) == 0)
        check_taken(&config);

    char spec[512];
    size_t length = bytes < sizeof spec - 1 ? bytes : sizeof spec - 1;
    memcpy(spec, data, length);
    spec[length] = 0;
    np_config_start(&config);
    np_error_static(0, "");
    result = np_config_pool_add(&config, spec, "--pool");
    FUZZ_MUST(result == 0 || np_error_sentence()[0] != 0);
    if (result == 0)
        check_taken(&config);
    uint64_t number;
    np_config_number(spec, &number);
    return 0;
}

#ifndef NUMAPOOL_LIBFUZZER
#define TEXT(text) { text, sizeof text - 1 }
int main(int argc, char **argv)
{
    static const struct fuzz_seed_input seeds[] = {
        TEXT("[daemon]\nsocket = /run/x.sock\nclients = 1024\nlanes=4096\nlog = info\n\n[pool pay]\nsize = 128\ncount = 1M\npages=2m\n"
             "fallback = yes\n"),
        TEXT("[pool a]\nsize=1\ncount=1\n[pool b]\nsize=1G\ncount=4294967295\nmagazine=7\nsharers=3\nexact=yes\n"),
        TEXT("pay,size=128,count=1M"),
        TEXT("pay,size=128,count=1M,direct=root:7:@8,readonly=@root:7,admin=0"),
        TEXT("[daemon]\nadmin = root 7 @8\n[pool p]\nsize=1\ncount=1\nreadonly = 7, @8\ndirect = @8:9\nreadonly = 5\n"),
        TEXT("x.y-z_9,size=64K,count=4G,pages=thp,fallback,magazine=1,sharers=65534,exact,low_watermark=4K"),
        TEXT("pay,size=128,node_slots=1000:0:5K,strict"),
        TEXT("pay,size=128,count=1M,placement=near:0000:3b:00.0,spill=64K"),
        TEXT("[pool p]\nsize=1\nplacement=explicit\nnode_slots=1:2\nnode_slots=3\n[pool q]\nsize=1\ncount=9\nplacement=memory\nstrict=yes\n"),
        TEXT("; comment\n# another\n[pool pay]\nsize = 18446744073709551615\ncount = 99999999999999999999K\n"),
    };
    return fuzz_main(argc, argv, seeds, sizeof seeds / sizeof seeds[0], 200000);
}
#endif
