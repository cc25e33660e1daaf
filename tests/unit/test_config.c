/* SPDX-License-Identifier: MIT
 * What the daemon is asked for: numbers, pools, files, and that each mistake is named where it is. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/error.h"
#include "daemon/config.h"

static struct np_config config;

static void begin(void)
{
    np_config_start(&config);
}

static int parse(const char *text)
{
    np_config_start(&config);
    return np_config_parse(&config, text, strlen(text), "x.ini");
}

static void assert_sentence_has(const char *part)
{
    ck_assert_msg(strstr(np_error_sentence(), part) != NULL, "'%s' is not in: %s", part, np_error_sentence());
}

static void assert_refused(const char *text, const char *part)
{
    ck_assert_int_eq(parse(text), -EINVAL);
    assert_sentence_has(part);
}

static void assert_spec_refused(const char *spec, const char *part)
{
    np_config_start(&config);
    ck_assert_int_eq(np_config_pool_add(&config, spec, "--pool"), -EINVAL);
    assert_sentence_has("--pool: ");
    assert_sentence_has(part);
    ck_assert_uint_eq(config.pool_count, 0);
}

/* ---------------------------------------------------------------- numbers */

START_TEST(numbers_may_have_a_suffix)
{
    static const struct {
        const char *text;
        uint64_t number;
    } good[] = { { "0", 0 }, { "128", 128 }, { "1k", 1024 }, { "1K", 1024 }, { "3M", 3 << 20 }, { "2g", UINT64_C(2) << 30 },
                 { "18446744073709551615", UINT64_MAX } };
    for (unsigned i = 0; i < sizeof good / sizeof good[0]; i++) {
        uint64_t number = 77;
        ck_assert_int_eq(np_config_number(good[i].text, &number), 0);
        ck_assert_uint_eq(number, good[i].number);
    }
}
END_TEST

START_TEST(what_is_no_number_is_refused_and_changes_nothing)
{
    static const char *const bad[] = { "", "K", "-1", "+1", " 1", "1 ", "1KB", "1.5M", "0x10", "1e6", "M1" };
    uint64_t number = 77;
    for (unsigned i = 0; i < sizeof bad / sizeof bad[0]; i++)
        ck_assert_int_eq(np_config_number(bad[i], &number), -EINVAL);
    ck_assert_int_eq(np_config_number("18446744073709551616", &number), -ERANGE);
    ck_assert_int_eq(np_config_number("18446744073709551615K", &number), -ERANGE);
    ck_assert_int_eq(np_config_number("99999999999G", &number), -ERANGE);
    ck_assert_uint_eq(number, 77);
}
END_TEST

/* ---------------------------------------------------------------- pools */

START_TEST(a_pool_is_read_from_its_text)
{
    ck_assert_int_eq(np_config_pool_add(&config, "pay,size=128,count=1M,pages=2m,fallback,magazine=512,sharers=4,exact", "--pool"), 0);
    ck_assert_uint_eq(config.pool_count, 1);
    const struct np_config_pool *pool = &config.pools[0];
    ck_assert_str_eq(pool->name, "pay");
    ck_assert_uint_eq(pool->slot_bytes, 128);
    ck_assert_uint_eq(pool->slots, 1 << 20);
    ck_assert_uint_eq(pool->flags, NUMAPOOL_HUGE_2M | NUMAPOOL_PAGES_FALLBACK | NUMAPOOL_EXACT_COUNTS);
    ck_assert_uint_eq(pool->magazine_slots, 512);
    ck_assert_uint_eq(pool->sharers, 4);
}
END_TEST

START_TEST(checks_are_off_on_or_with_sites)
{
    static const struct { const char *spec; uint64_t flags; } specs[] = {
        { "a,size=1,count=1,checks", NUMAPOOL_CHECKS },
        { "b,size=1,count=1,checks=yes", NUMAPOOL_CHECKS },
        { "c,size=1,count=1,checks=no", 0 },
        { "d,size=1,count=1,checks=sites", NUMAPOOL_CHECKS | NUMAPOOL_CHECK_SITES },
    };
    for (unsigned i = 0; i < sizeof specs / sizeof specs[0]; i++) {
        ck_assert_int_eq(np_config_pool_add(&config, specs[i].spec, "--pool"), 0);
        ck_assert_uint_eq(config.pools[i].flags, specs[i].flags);
    }
    ck_assert_int_eq(np_config_pool_add(&config, "e,size=1,count=1,checks=often", "--pool"), -EINVAL);
    ck_assert_int_eq(np_config_pool_add(&config, "e,size=1G,count=1,checks", "--pool"), -EINVAL);
}
END_TEST

START_TEST(a_pool_without_wishes_gets_the_defaults)
{
    ck_assert_int_eq(np_config_pool_add(&config, "a,count=10,size=1", "--pool"), 0);
    ck_assert_uint_eq(config.pools[0].flags, 0);
    ck_assert_uint_eq(config.pools[0].magazine_slots, 0);
    ck_assert_uint_eq(config.pools[0].sharers, NP_CONFIG_POOL_SHARERS_DEFAULT);
}
END_TEST

START_TEST(a_pool_written_down_and_read_again_is_the_same)
{
    static const char *const specs[] = { "a,size=1,count=1", "b,size=1G,count=32K,pages=thp", "c,size=64,count=4G,pages=2m,fallback",
                                         "d,size=100,count=7,exact,magazine=1,low_watermark=12K", "e,size=100,count=7,pages=best,sharers=65534,fallback",
                                         "f,size=100,count=7,checks", "g,size=100,count=7,exact,checks=sites",
                                         "h,size=100,count=7,placement=memory,strict", "i,size=100,count=7,placement=local,strict=no",
                                         "j,size=100,count=7,placement=near:0000:3b:00.0", "k,size=100,node_slots=1000:0:5K",
                                         "l,size=100,placement=explicit,node_slots=1,node_slots=0:3,spill=7",
                                         "m,size=100,count=7,placement=even,spill=12M,exact" };
    for (unsigned i = 0; i < sizeof specs / sizeof specs[0]; i++) {
        char written[NP_CONFIG_SPEC_BYTES], again[NP_CONFIG_SPEC_BYTES];
        np_config_start(&config);
        ck_assert_int_eq(np_config_pool_add(&config, specs[i], "--pool"), 0);
        np_config_pool_spec(&config.pools[0], written);
        struct np_config_pool first = config.pools[0];
        np_config_start(&config);
        ck_assert_int_eq(np_config_pool_add(&config, written, "--pool"), 0);
        np_config_pool_spec(&config.pools[0], again);
        ck_assert_str_eq(written, again);
        ck_assert_str_eq(config.pools[0].name, first.name);
        ck_assert_uint_eq(config.pools[0].slot_bytes, first.slot_bytes);
        ck_assert_uint_eq(config.pools[0].slots, first.slots);
        ck_assert_uint_eq(config.pools[0].flags, first.flags);
        ck_assert_uint_eq(config.pools[0].magazine_slots, first.magazine_slots);
        ck_assert_uint_eq(config.pools[0].sharers, first.sharers);
        ck_assert_uint_eq(config.pools[0].low_watermark, first.low_watermark);
        ck_assert_uint_eq(config.pools[0].policy, first.policy);
        ck_assert_uint_eq(config.pools[0].nodes, first.nodes);
        ck_assert_mem_eq(config.pools[0].node_slots, first.node_slots, sizeof first.node_slots);
        ck_assert_uint_eq(config.pools[0].spill_slots, first.spill_slots);
        ck_assert_str_eq(config.pools[0].device, first.device);
    }
}
END_TEST

START_TEST(the_longest_pool_can_be_written_down)
{
    struct np_config_pool pool = { .slot_bytes = UINT64_MAX, .slots = UINT64_MAX, .flags = UINT64_MAX & ~(uint64_t)NUMAPOOL_HUGE_2M,
                                   .magazine_slots = UINT32_MAX, .sharers = UINT32_MAX, .low_watermark = UINT64_MAX };
    char spec[NP_CONFIG_SPEC_BYTES];
    memset(pool.name, 'x', sizeof pool.name - 1);
    memset(pool.device, 'd', sizeof pool.device - 1);
    pool.policy = NUMAPOOL_NEAR_DEVICE;
    pool.spill_slots = UINT64_MAX;
    pool.nodes = NP_ARENAS_MAX;
    for (unsigned i = 0; i < NP_ARENAS_MAX; i++)
        pool.node_slots[i] = NP_SLOTS_MAX;
    np_config_pool_spec(&pool, spec);
    ck_assert_ptr_nonnull(strstr(spec, ",fallback,exact"));
}
END_TEST

START_TEST(where_a_pool_is_to_be_is_said_by_policy_node_or_device)
{
    static const struct { const char *spec; uint32_t policy; uint64_t slots; } specs[] = {
        { "a,size=1,count=9,placement=even", NUMAPOOL_EVEN, 9 },
        { "b,size=1,count=9,placement=memory", NUMAPOOL_BY_MEMORY, 9 },
        { "c,size=1,count=9,placement=local", NUMAPOOL_LOCAL, 9 },
        { "d,size=1,count=9,placement=near:eth0", NUMAPOOL_NEAR_DEVICE, 9 },
        { "e,size=1,node_slots=1000:0:500", NUMAPOOL_EXPLICIT, 1500 },
        { "f,size=1,placement=explicit,node_slots=0:1K,node_slots=2", NUMAPOOL_EXPLICIT, 1026 },
    };
    for (unsigned i = 0; i < sizeof specs / sizeof specs[0]; i++) {
        ck_assert_msg(np_config_pool_add(&config, specs[i].spec, "--pool") == 0, "%s", numapool_errormsg());
        ck_assert_uint_eq(config.pools[i].policy, specs[i].policy);
        ck_assert_uint_eq(config.pools[i].slots, specs[i].slots);
    }
    ck_assert_str_eq(config.pools[3].device, "eth0");
    ck_assert_uint_eq(config.pools[5].nodes, 3);
    ck_assert_uint_eq(config.pools[5].node_slots[2], 2);
    static const char text[] = "[pool p]\nsize = 1\nnode_slots = 5:6\nnode_slots = 7\nstrict\n"
                               "[pool q]\nsize=1\ncount=3\nplacement = near:0000:3b:00.0\nspill = 2\n";
    np_config_start(&config);
    ck_assert_int_eq(np_config_parse(&config, text, sizeof text - 1, "x.ini"), -EINVAL); /* a switch wants its yes in a file */
    static const char right[] = "[pool p]\nsize = 1\nnode_slots = 5:6\nnode_slots = 7\nstrict = yes\n"
                                "[pool q]\nsize=1\ncount=3\nplacement = near:0000:3b:00.0\nspill = 2\n";
    np_config_start(&config);
    ck_assert_msg(np_config_parse(&config, right, sizeof right - 1, "x.ini") == 0, "%s", numapool_errormsg());
    ck_assert_uint_eq(config.pools[0].slots, 18);
    ck_assert_uint_eq(config.pools[0].flags, NUMAPOOL_STRICT);
    ck_assert_str_eq(config.pools[1].device, "0000:3b:00.0");
    ck_assert_uint_eq(config.pools[1].spill_slots, 2);
}
END_TEST

START_TEST(a_place_that_cannot_be_is_refused_by_what_is_wrong)
{
    assert_spec_refused("a,size=1,count=1,placement=here", "placement=here");
    assert_spec_refused("a,size=1,count=1,placement=near", "placement=near");
    assert_spec_refused("a,size=1,count=1,placement=near:", "device");
    assert_spec_refused("a,size=1,count=1,placement=near:../net", "'../net'");
    assert_spec_refused("a,size=1,count=1,placement=explicit", "not said where");
    assert_spec_refused("a,size=1,count=1,node_slots=1:1", "count and node_slots");
    assert_spec_refused("a,size=1,node_slots=0:0", "all 0");
    assert_spec_refused("a,size=1,node_slots", "wants a value");
    assert_spec_refused("a,size=1,node_slots=", "no list");
    assert_spec_refused("a,size=1,node_slots=1:", "no list");
    assert_spec_refused("a,size=1,node_slots=1:x", "no list");
    assert_spec_refused("a,size=1,node_slots=4G", "no list");
    assert_spec_refused("a,size=1,node_slots=1:00000000000000000000000000000000000000000000000000000000001", "no list");
    assert_spec_refused("a,size=1,node_slots=1,placement=local", "another placement");
    assert_spec_refused("a,size=1,node_slots=1,placement=even", "another placement");
    assert_spec_refused("a,size=1,count=1,strict,spill=1", "strict");
    assert_spec_refused("a,size=1,count=1,strict=perhaps", "strict=perhaps");
    assert_spec_refused("a,size=1,count=1,spill=0", "spill=0");
    char many[400] = "a,size=1,node_slots=1";
    for (unsigned i = 1; i < NP_ARENAS_MAX + 1; i++)
        strcat(many, ":1");
    assert_spec_refused(many, "nodes 0 to 63");
}
END_TEST

START_TEST(a_wrong_pool_is_refused_by_what_is_wrong)
{
    assert_spec_refused("", "no name");
    assert_spec_refused("a b,size=1,count=1", "'a b'");
    assert_spec_refused("../a,size=1,count=1", "'../a'");
    assert_spec_refused("n2345678901234567890123456789012345678901234567890,size=1,count=1", "no name");
    assert_spec_refused("a", "has no size");
    assert_spec_refused("a,size=1", "has no count");
    assert_spec_refused("a,count=1", "has no size");
    assert_spec_refused("a,size=0,count=1", "size=0");
    assert_spec_refused("a,size=2G,count=1", "size=2G");
    assert_spec_refused("a,size=1,count=0", "count=0");
    assert_spec_refused("a,size=1,count=x", "count=x");
    assert_spec_refused("a,size=1,count=1,size=2", "given twice");
    assert_spec_refused("a,size=1,count=1,fallback,fallback", "given twice");
    assert_spec_refused("a,size,count=1", "wants a value");
    assert_spec_refused("a,size=1,count=1,pages", "wants a value");
    assert_spec_refused("a,size=1,count=1,pages=3m", "pages=3m");
    assert_spec_refused("a,size=1,count=1,colour=red", "'colour'");
    assert_spec_refused("a,size=1,count=1,exact=perhaps", "exact=perhaps");
    assert_spec_refused("a,size=1,count=1,", "no setting ''");
    assert_spec_refused("a,size=1,count=1,magazine=65537", "magazine=65537");
    assert_spec_refused("a,size=1,count=1,sharers=0", "sharers=0");
    assert_spec_refused("a,size=1,count=1,low_watermark=0", "low_watermark=0");
    assert_spec_refused("a,size=1G,count=128K", "2^46");
}
END_TEST

START_TEST(a_pool_of_a_very_long_text_is_refused)
{
    char spec[2 * NP_CONFIG_SPEC_BYTES];
    memset(spec, 'x', sizeof spec - 1);
    spec[sizeof spec - 1] = '\0';
    assert_spec_refused(spec, "more than");
}
END_TEST

START_TEST(two_pools_of_one_name_and_one_pool_too_many_are_refused)
{
    char spec[64];
    for (unsigned i = 0; i < NP_POOLS_MAX; i++) {
        snprintf(spec, sizeof spec, "p%u,size=1,count=1", i);
        ck_assert_int_eq(np_config_pool_add(&config, spec, "--pool"), 0);
    }
    ck_assert_int_eq(np_config_pool_add(&config, "p3,size=1,count=1", "--pool"), -EINVAL);
    assert_sentence_has("given twice");
    ck_assert_int_eq(np_config_pool_add(&config, "q,size=1,count=1", "--pool"), -EINVAL);
    assert_sentence_has("one too many");
    ck_assert_uint_eq(config.pool_count, NP_POOLS_MAX);
}
END_TEST

/* ---------------------------------------------------------------- files */

START_TEST(a_file_is_read)
{
    ck_assert_int_eq(parse("# for the payments\n"
                           "[daemon]\n"
                           "socket = /run/x.sock ; here\n"
                           "clients = 2K\nchannels=5\nendpoints=6\nlanes: 7\n"
                           "log = debug\n"
                           "\n"
                           "[pool pay]\r\n"
                           "size = 128\r\n"
                           "count = 1M\r\n"
                           "pages = thp\n"
                           "fallback = yes\n"
                           "exact = no\n"
                           "[pool other]\n"
                           "size=1\n"
                           "count=2"),
                     0);
    ck_assert_str_eq(config.socket_path, "/run/x.sock");
    ck_assert_uint_eq(config.limits.clients, 2048);
    ck_assert_uint_eq(config.limits.channels, 5);
    ck_assert_uint_eq(config.limits.endpoints, 6);
    ck_assert_uint_eq(config.limits.lanes, 7);
    ck_assert_int_eq(config.log_level, NP_LOG_DEBUG);
    ck_assert_uint_eq(config.pool_count, 2);
    ck_assert_str_eq(config.pools[0].name, "pay");
    ck_assert_uint_eq(config.pools[0].slots, 1 << 20);
    ck_assert_uint_eq(config.pools[0].flags, NUMAPOOL_HUGE_THP | NUMAPOOL_PAGES_FALLBACK);
    ck_assert_str_eq(config.pools[1].name, "other");
    ck_assert_uint_eq(config.pools[1].slots, 2);
}
END_TEST

START_TEST(an_empty_file_changes_nothing)
{
    ck_assert_int_eq(parse(""), 0);
    ck_assert_int_eq(parse("\n  \n# nothing\n; nothing\n"), 0);
    ck_assert_uint_eq(config.pool_count, 0);
    ck_assert_uint_eq(config.limits.clients, 1024);
}
END_TEST

START_TEST(mistakes_in_a_file_are_named_by_their_line)
{
    assert_refused("clients = 4\n", "x.ini:1: 'clients' stands before any section");
    assert_refused("[daemon]\n\ncolour = red\n", "x.ini:3: [daemon] has no setting 'colour'");
    assert_refused("[demon]\nclients = 4\n", "x.ini:1: the section [demon] is not known");
    assert_refused("[daemon]\nclients = many\n", "x.ini:2: 'many'");
    assert_refused("[daemon]\nclients = 65535\n", "x.ini:2: clients is 65535");
    assert_refused("[daemon]\nclients = 4\nclients = 5\n", "x.ini:3: clients is given twice");
    assert_refused("[daemon]\n[pool a]\nsize=1\ncount=1\n[daemon]\n", "x.ini:5: there is a second [daemon]");
    assert_refused("[daemon]\nlog = loud\n", "x.ini:2: 'loud'");
    assert_refused("[daemon]\nsocket =\n", "x.ini:2: the socket's path is empty");
    assert_refused("[pool a]\nsize=1\n[pool b]\nsize=1\ncount=1\n", "x.ini:1: pool 'a' has no count");
    assert_refused("\n[pool a]\n", "x.ini:2: pool 'a' has no size");
    assert_refused("[pool a]\nsize=1\ncount=1\n[pool a]\n", "x.ini:4: pool 'a' is given twice");
    assert_refused("[pool]\n", "x.ini:1: the section [pool]");
    assert_refused("[pool ]\n", "x.ini:1: '' is no name");
    assert_refused("[pool a\nsize=1\n", "x.ini:1: the section has no closing ']'");
    assert_refused("[pool a]\nsize 1\n", "x.ini:2: this is neither");
    assert_refused("[pool a]\nsize=1\ncolour=red\n", "x.ini:3: pool 'a' has no setting 'colour'");
    assert_refused("[pool a]\nsize=1\n size=2\n", "given twice");
    assert_refused("[pool a]\n[pool b]\n", "x.ini:1: pool 'a' has no size");
}
END_TEST

START_TEST(the_first_mistake_is_the_one_that_is_told)
{
    assert_refused("[daemon]\nclients = 0\n[nonsense]\n", "x.ini:2: ");
}
END_TEST

START_TEST(long_lines_and_names_are_not_cut_short)
{
    char text[600];
    snprintf(text, sizeof text, "[daemon]\nsocket = /%0250d\n", 0);
    assert_refused(text, "x.ini:2: the line has more than");
    snprintf(text, sizeof text, "[pool %047d]\nsize=1\ncount=1\n", 0);
    assert_refused(text, "x.ini:1: the section's name has more than");
    snprintf(text, sizeof text, "[daemon]\nsocket = /%0120d\n", 0);
    ck_assert_int_eq(parse(text), -ENAMETOOLONG);
    assert_sentence_has("x.ini:2: the socket's path");
}
END_TEST

START_TEST(zero_bytes_are_refused)
{
    static const char text[] = "[daemon]\nclients = 4\0 5\n";
    np_config_start(&config);
    ck_assert_int_eq(np_config_parse(&config, text, sizeof text - 1, "x.ini"), -EINVAL);
    assert_sentence_has("x.ini:2: there is a zero byte");
}
END_TEST

START_TEST(a_file_that_is_not_there_is_named)
{
    ck_assert_int_eq(np_config_read(&config, "/nonexistent/numapool.ini"), -ENOENT);
    assert_sentence_has("/nonexistent/numapool.ini: cannot be opened");
    ck_assert_int_eq(np_config_read(&config, "/"), -EISDIR);
}
END_TEST

START_TEST(a_file_on_disk_is_read_as_its_text)
{
    char path[] = "/tmp/numapool-config-XXXXXX";
    static const char text[] = "[pool disk]\nsize=64\ncount=3\n";
    int fd = mkstemp(path);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, text, sizeof text - 1), sizeof text - 1);
    close(fd);
    int result = np_config_read(&config, path);
    unlink(path);
    ck_assert_int_eq(result, 0);
    ck_assert_str_eq(config.pools[0].name, "disk");
}
END_TEST

/* ---------------------------------------------------------------- both */

START_TEST(the_command_line_wins_over_the_file)
{
    static const char text[] = "[daemon]\nsocket = /from/file\nlanes = 9\nlog = warn\nlog_to = journal\nloop = epoll\n[pool b]\nsize=1\ncount=1\n";
    ck_assert_int_eq(np_config_set(&config, "socket", "/from/line", "--socket", true), 0);
    ck_assert_int_eq(np_config_set(&config, "log", "error", "--log", true), 0);
    ck_assert_int_eq(np_config_pool_add(&config, "a,size=1,count=1", "--pool"), 0);
    ck_assert_int_eq(np_config_parse(&config, text, strlen(text), "x.ini"), 0);
    ck_assert_str_eq(config.socket_path, "/from/line");
    ck_assert_int_eq(config.log_level, NP_LOG_ERROR);
    ck_assert_int_eq(config.log_to, NP_LOG_TO_JOURNAL);
    ck_assert_int_eq(config.loop, NP_LOOP_EPOLL);
    ck_assert_uint_eq(config.limits.lanes, 9);
    ck_assert_uint_eq(config.pool_count, 2);
}
END_TEST

START_TEST(a_value_that_is_not_used_must_be_right_all_the_same)
{
    static const char text[] = "[daemon]\nlanes = none\n";
    ck_assert_int_eq(np_config_set(&config, "lanes", "9", "--lanes", true), 0);
    ck_assert_int_eq(np_config_parse(&config, text, strlen(text), "x.ini"), -EINVAL);
    assert_sentence_has("x.ini:2: 'none'");
    ck_assert_uint_eq(config.limits.lanes, 9);
}
END_TEST

START_TEST(a_scalar_given_twice_or_unknown_is_refused)
{
    ck_assert_int_eq(np_config_set(&config, "lanes", "9", "--lanes", true), 0);
    ck_assert_int_eq(np_config_set(&config, "lanes", "9", "--lanes", true), -EINVAL);
    assert_sentence_has("--lanes: lanes is given twice");
    ck_assert_int_eq(np_config_set(&config, "colour", "red", "--colour", true), -ENOENT);
}
END_TEST

START_TEST(a_limit_out_of_range_is_refused_and_changes_nothing)
{
    ck_assert_int_eq(np_config_set(&config, "clients", "0", "--clients", true), -EINVAL);
    np_config_start(&config);
    ck_assert_int_eq(np_config_set(&config, "clients", "65535", "--clients", true), -EINVAL);
    assert_sentence_has("--clients: clients is 65535");
    ck_assert_uint_eq(config.limits.clients, 1024);
    np_config_start(&config);
    ck_assert_int_eq(np_config_set(&config, "clients", "5G", "--clients", true), -EINVAL);
}
END_TEST

START_TEST(without_a_socket_the_default_path_is_taken)
{
    setenv("NUMAPOOL_SOCKET", "/from/environment", 1);
    ck_assert_int_eq(np_config_finish(&config), 0);
    ck_assert_str_eq(config.socket_path, "/from/environment");
    np_config_start(&config);
    char longer[200];
    memset(longer, 'x', sizeof longer - 1);
    longer[sizeof longer - 1] = '\0';
    setenv("NUMAPOOL_SOCKET", longer, 1);
    ck_assert_int_eq(np_config_finish(&config), -ENAMETOOLONG);
}
END_TEST

/* Whatever bytes come, the answer is 0 or a sentence, within the text's bounds (a sanitizer sees to that), and what was
 * accepted can be written down and read again. */
START_TEST(any_text_is_either_read_or_refused)
{
    static const char *const words[] = { "[daemon]", "[pool a]", "[pool b]", "[", "]", "\n", "\n", "\n", "size=", "count=", "1", "1M",
                                         "=", ":", ";", "#", " ", "\t", "\r", "clients=", "pages=2m", "\xef\xbb\xbf", "fallback=yes",
                                         "socket=/a", "log=info", "99999999999999999999", "x" };
    unsigned seed = 1;
    for (unsigned round = 0; round < 20000; round++) {
        char text[400];
        size_t used = 0;
        for (unsigned n = (unsigned)rand_r(&seed) % 24; n > 0; n--) {
            const char *word = words[(unsigned)rand_r(&seed) % (sizeof words / sizeof words[0])];
            size_t bytes = strlen(word);
            if (used + bytes > sizeof text)
                break;
            memcpy(text + used, word, bytes);
            used += bytes;
            if (rand_r(&seed) % 30 == 0 && used > 0)
                text[(unsigned)rand_r(&seed) % used] = (char)rand_r(&seed);
        }
        /* Exactly as large as the text, so that reading beyond it is seen. */
        char *exact = malloc(used ? used : 1);
        memcpy(exact, text, used);
        np_config_start(&config);
        int result = np_config_parse(&config, exact, used, "x.ini");
        free(exact);
        ck_assert_int_le(result, 0);
        if (result < 0) {
            assert_sentence_has("x.ini:");
            continue;
        }
        for (unsigned i = 0; i < config.pool_count; i++) {
            static struct np_config again;
            char spec[NP_CONFIG_SPEC_BYTES];
            np_config_pool_spec(&config.pools[i], spec);
            np_config_start(&again);
            ck_assert_int_eq(np_config_pool_add(&again, spec, "again"), 0);
        }
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("config");
    TCase *tests = tcase_create("config");
    tcase_add_checked_fixture(tests, begin, NULL);
    tcase_set_timeout(tests, 60);
    tcase_add_test(tests, numbers_may_have_a_suffix);
    tcase_add_test(tests, what_is_no_number_is_refused_and_changes_nothing);
    tcase_add_test(tests, a_pool_is_read_from_its_text);
    tcase_add_test(tests, checks_are_off_on_or_with_sites);
    tcase_add_test(tests, a_pool_without_wishes_gets_the_defaults);
    tcase_add_test(tests, a_pool_written_down_and_read_again_is_the_same);
    tcase_add_test(tests, the_longest_pool_can_be_written_down);
    tcase_add_test(tests, where_a_pool_is_to_be_is_said_by_policy_node_or_device);
    tcase_add_test(tests, a_place_that_cannot_be_is_refused_by_what_is_wrong);
    tcase_add_test(tests, a_wrong_pool_is_refused_by_what_is_wrong);
    tcase_add_test(tests, a_pool_of_a_very_long_text_is_refused);
    tcase_add_test(tests, two_pools_of_one_name_and_one_pool_too_many_are_refused);
    tcase_add_test(tests, a_file_is_read);
    tcase_add_test(tests, an_empty_file_changes_nothing);
    tcase_add_test(tests, mistakes_in_a_file_are_named_by_their_line);
    tcase_add_test(tests, the_first_mistake_is_the_one_that_is_told);
    tcase_add_test(tests, long_lines_and_names_are_not_cut_short);
    tcase_add_test(tests, zero_bytes_are_refused);
    tcase_add_test(tests, a_file_that_is_not_there_is_named);
    tcase_add_test(tests, a_file_on_disk_is_read_as_its_text);
    tcase_add_test(tests, the_command_line_wins_over_the_file);
    tcase_add_test(tests, a_value_that_is_not_used_must_be_right_all_the_same);
    tcase_add_test(tests, a_scalar_given_twice_or_unknown_is_refused);
    tcase_add_test(tests, a_limit_out_of_range_is_refused_and_changes_nothing);
    tcase_add_test(tests, without_a_socket_the_default_path_is_taken);
    tcase_add_test(tests, any_text_is_either_read_or_refused);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
