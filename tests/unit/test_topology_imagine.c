/* SPDX-License-Identifier: MIT
 * Imagined nodes: what "4x1G" and files say, what is wrong with those that say nothing, and that processes agree on what they imagine. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdint.h>
#include <sys/auxv.h>
#include <sys/statvfs.h>
#include <sys/wait.h>

#include "fake_root.h"
#include "numa/placement.h"
#include "numa/topology.h"
#include "placement_help.h"

#define GIB (UINT64_C(1) << 30)

static struct np_topology topology, machine;
static char secure_word[] = "secure";

/* Two nodes with memory of four, and five CPUs. */
static void make_machine(void)
{
    make_root();
    put("/sys/devices/system/node/online", "0-3\n");
    put("/sys/devices/system/node/has_memory", "1,3\n");
    put("/sys/devices/system/cpu/online", "0-1,4-6\n");
    put("/sys/devices/system/node/node0/cpulist", "0-1,4-6\n");
    ck_assert_int_eq(np_topology_read(&machine, root), 0);
}

static void drop_machine(void)
{
    np_topology_free(&topology);
    np_topology_free(&machine);
    remove_root();
}

static int imagine_short(const char *text)
{
    np_topology_free(&topology);
    return np_topology_imagine_text(&topology, text, NULL, &machine);
}

static int imagine(const char *text)
{
    np_topology_free(&topology);
    return np_topology_imagine_text(&topology, text, "x.topo", &machine);
}

static void assert_cpus(const char *expected)
{
    char text[64], *at = text;
    for (unsigned cpu = 0; cpu < topology.cpu_limit; cpu++)
        at += topology.cpu_nodes[cpu] < 0 ? sprintf(at, ".") : sprintf(at, "%d", topology.cpu_nodes[cpu]);
    *at = '\0';
    ck_assert_str_eq(text, expected);
}

/* ---------------------------------------------------------------- "4x1G" */

START_TEST(nodes_share_the_machines_cpus_in_order)
{
    ck_assert_int_eq(imagine_short("2x1G"), 0);
    ck_assert_uint_eq(topology.count, 2);
    ck_assert(topology.emulated);
    ck_assert_uint_ne(topology.fingerprint, 0);
    ck_assert_uint_eq(topology.nodes[1].memory_bytes, GIB);
    ck_assert_uint_eq(topology.nodes[0].cpus, 3);
    ck_assert_uint_eq(topology.nodes[1].cpus, 2);
    assert_cpus("00..011");
    ck_assert_uint_eq(np_topology_distance(&topology, 0, 1), 20);
    ck_assert_uint_eq(np_topology_distance(&topology, 1, 1), 10);
}
END_TEST

START_TEST(with_more_nodes_than_cpus_the_last_are_memory_only)
{
    ck_assert_int_eq(imagine_short("7x64M"), 0);
    assert_cpus("01..234");
    for (unsigned i = 0; i < 7; i++)
        ck_assert(np_topology_is_memory_only(&topology.nodes[i]) == (i >= 5));
    ck_assert_uint_eq(np_topology_distance(&topology, 0, 6), 20);
}
END_TEST

START_TEST(behind_the_plus_are_memory_only_nodes)
{
    ck_assert_int_eq(imagine_short("1x1G+1x512M+2x2T"), 0);
    ck_assert_uint_eq(topology.count, 4);
    assert_cpus("00..000");
    ck_assert_uint_eq(topology.nodes[3].memory_bytes, 2048 * GIB);
    ck_assert(np_topology_is_memory_only(&topology.nodes[1]) && np_topology_is_memory_only(&topology.nodes[3]));
    ck_assert_uint_eq(np_topology_distance(&topology, 0, 1), 30);
}
END_TEST

START_TEST(memory_is_taken_of_the_machines_nodes_in_turn)
{
    ck_assert_int_eq(imagine_short("3x1G"), 0);
    ck_assert_int_eq(np_topology_physical(&topology, 0), 1);
    ck_assert_int_eq(np_topology_physical(&topology, 1), 3);
    ck_assert_int_eq(np_topology_physical(&topology, 2), 1);
    ck_assert_int_eq(np_topology_physical(&topology, 3), -1);
    ck_assert_int_eq(np_topology_physical(&topology, -1), -1);
}
END_TEST

START_TEST(what_is_no_nodes_is_refused_with_a_sentence)
{
    static const char *const wrong[] = { "4x",    "x1G",   "0x1G",  "65x1G",   "4x1",    "4x1023K", "4x65T",      "4x1G+", "4x1G+x",  "+4x1G",  "4x1G1",
                                         "4xG",   "4x-1G", "4x1GG", "4x1G 2x1G", "4x1G+1", "4x1GT",   "1Kx1G",      "4x T",  "60x1G+5x1G", "99999999999999999999x1G", "4x99999999999999999999T",
                                         "4xT",   "" };
    for (unsigned i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        np_error_static(0, "");
        ck_assert_msg(imagine_short(wrong[i]) == -EINVAL, "'%s' is taken", wrong[i]);
        assert_sentence_has("NUMAPOOL_TOPOLOGY: ");
        ck_assert_ptr_null(topology.nodes);
    }
    char long_one[300];
    memset(long_one, '1', sizeof long_one);
    long_one[sizeof long_one - 1] = '\0';
    ck_assert_int_eq(imagine_short(long_one), -EINVAL);
    ck_assert_int_eq(imagine_short("64x64T"), 0);
    ck_assert_int_eq(imagine_short("1x1M"), 0);
}
END_TEST

/* ---------------------------------------------------------------- files */

static const char whole_file[] = "# an imagined machine\n"
                                 "node 0 memory=1G cpus=0\n"
                                 "\tnode 4 cpus=2-3,7   # no memory\r\n"
                                 "\n"
                                 "distance 0 1 = 21\n"
                                 "node 1 cpus=1 memory=1G\n"
                                 "node 3 memory=512M # memory-only\n"
                                 "distance 1 3=17\n"
                                 "distance 3 1 =18";

START_TEST(a_file_says_it_all)
{
    char text[300];
    ck_assert_msg(imagine(whole_file) == 0, "%s", np_error_sentence());
    ck_assert_uint_eq(topology.count, 4);
    static const int numbers[] = { 0, 1, 3, 4 };
    for (unsigned i = 0; i < 4; i++)
        ck_assert_int_eq(topology.nodes[i].number, numbers[i]);
    assert_cpus("0144...4");
    ck_assert_uint_eq(np_topology_distance(&topology, 0, 1), 21);
    ck_assert_uint_eq(np_topology_distance(&topology, 1, 0), 21);
    ck_assert_uint_eq(np_topology_distance(&topology, 1, 3), 17);
    ck_assert_uint_eq(np_topology_distance(&topology, 3, 1), 18);
    ck_assert_uint_eq(np_topology_distance(&topology, 0, 3), 30);
    ck_assert_uint_eq(np_topology_distance(&topology, 0, 4), 20);
    ck_assert_uint_eq(np_topology_distance(&topology, 4, 4), 10);
    ck_assert(np_topology_is_memory_only(np_topology_find(&topology, 3)));
    ck_assert(!np_topology_has_room(np_topology_find(&topology, 4)));
    ck_assert_int_ge(np_topology_describe(&topology, text, sizeof text), 0);
    ck_assert_ptr_nonnull(strstr(text, "IMAGINED"));
    ck_assert_ptr_nonnull(strstr(text, "3 of 4 nodes: 0 (1 GiB, CPU 0), 1 (1 GiB, CPU 1), 3 (512 MiB, no CPUs); not used: node 4 (no memory)"));
}
END_TEST

struct mistake {
    const char *text, *place, *part;
};

START_TEST(each_mistake_is_told_with_its_line)
{
    static const struct mistake mistakes[] = {
        { "", "x.topo: ", "no node" },
        { "# nothing\n", "x.topo: ", "no node" },
        { "node 0 cpus=0\n", "x.topo: ", "no node has memory" },
        { "node 0 memory=1G\n", "x.topo: ", "no node has CPUs" },
        { "node 0 memory=1G cpus=0\nnodes 1\n", "x.topo:2: ", "'nodes'" },
        { "node\n", "x.topo:1: ", "number of a node" },
        { "node 1024 memory=1G cpus=0\n", "x.topo:1: ", "0 to 1023" },
        { "node 1K memory=1G cpus=0\n", "x.topo:1: ", "'1K'" },
        { "node -1 memory=1G cpus=0\n", "x.topo:1: ", "'-1'" },
        { "\n\nnode 0\n", "x.topo:3: ", "neither" },
        { "node 0 memory=1G cpus=0\nnode 0 memory=1G\n", "x.topo:2: ", "in line 1" },
        { "node 0 memory=1G memory=1G cpus=0\n", "x.topo:1: ", "each once" },
        { "node 0 memory=1G cpus=0 cpus=1\n", "x.topo:1: ", "each once" },
        { "node 0 memory=1G cpus=0 speed=9\n", "x.topo:1: ", "'speed=9'" },
        { "node 0 memory= cpus=0\n", "x.topo:1: ", "1M to 64T" },
        { "node 0 memory=1023K cpus=0\n", "x.topo:1: ", "1M to 64T" },
        { "node 0 memory=65T cpus=0\n", "x.topo:1: ", "1M to 64T" },
        { "node 0 memory=1G cpus=\n", "x.topo:1: ", "list of CPUs" },
        { "node 0 memory=1G cpus=3-1\n", "x.topo:1: ", "list of CPUs" },
        { "node 0 memory=1G cpus=8192\n", "x.topo:1: ", "CPU 8192" },
        { "node 0 memory=1G cpus=0,0\n", "x.topo:1: ", "CPU 0 is of node 0 already" },
        { "node 0 memory=1G cpus=0\nnode 1 memory=1G cpus=0-1\n", "x.topo:2: ", "CPU 0 is of node 0 already" },
        { "node 0 memory=1G cpus=0\ndistance 0 1 = 20\n", "x.topo:2: ", "no node 1" },
        { "node 0 memory=1G cpus=0\ndistance 0 0 = 20\n", "x.topo:2: ", "10 to itself" },
        { "distance 0 1 = 10\nnode 0 memory=1G cpus=0\nnode 1 cpus=1", "x.topo:1: ", "11 to 255" },
        { "distance 0 1 = 256\nnode 0 memory=1G cpus=0\nnode 1 cpus=1", "x.topo:1: ", "no distance" },
        { "distance 0 1\nnode 0 memory=1G cpus=0\nnode 1 cpus=1", "x.topo:1: ", "no distance" },
        { "distance 0 1 = \nnode 0 memory=1G cpus=0\nnode 1 cpus=1", "x.topo:1: ", "no distance" },
        { "distance 0 = 20\nnode 0 memory=1G cpus=0\nnode 1 cpus=1", "x.topo:1: ", "no distance" },
        { "distance 0 1 = 20 30\nnode 0 memory=1G cpus=0\nnode 1 cpus=1", "x.topo:1: ", "no distance" },
        { "node 0 memory=1G cpus=0\nnode 1 cpus=1\ndistance 0 1 = 20\ndistance 0 1 = 20\n", "x.topo:4: ", "there already" },
    };
    for (unsigned i = 0; i < sizeof mistakes / sizeof mistakes[0]; i++) {
        np_error_static(0, "");
        ck_assert_msg(imagine(mistakes[i].text) == -EINVAL, "taken: %s", mistakes[i].text);
        ck_assert_msg(strncmp(np_error_sentence(), mistakes[i].place, strlen(mistakes[i].place)) == 0 &&
                          strstr(np_error_sentence(), mistakes[i].part) != NULL,
                      "\"%s\" is told of: %s", np_error_sentence(), mistakes[i].text);
        ck_assert_ptr_null(topology.nodes);
    }
}
END_TEST

START_TEST(no_more_than_64_nodes)
{
    char text[4096], *at = text;
    for (int i = 0; i < 64; i++)
        at += sprintf(at, "node %d memory=1M cpus=%d\n", 2 * i, i);
    ck_assert_int_eq(imagine(text), 0);
    ck_assert_uint_eq(topology.count, 64);
    sprintf(at, "node 1 memory=1M\n");
    ck_assert_int_eq(imagine(text), -EINVAL);
    assert_sentence_has("x.topo:65: more than 64 nodes");
}
END_TEST

START_TEST(files_that_are_none)
{
    char path[300], text[120];
    ck_assert_int_eq(np_topology_imagine(&topology, root), -EINVAL);
    assert_sentence_has("no ordinary file");
    snprintf(path, sizeof path, "%s/not_there", root);
    ck_assert_int_eq(np_topology_imagine(&topology, path), -ENOENT);
    assert_sentence_has("NUMAPOOL_TOPOLOGY");
    put_bytes("/zero", "node 0 memory=1G cpus=0\0\n", 25);
    snprintf(path, sizeof path, "%s/zero", root);
    ck_assert_int_eq(np_topology_imagine(&topology, path), -EINVAL);
    assert_sentence_has("zero byte");
    char *large = malloc(70000);
    memset(large, '\n', 70000);
    put_bytes("/large", large, 70000);
    free(large);
    snprintf(path, sizeof path, "%s/large", root);
    ck_assert_int_eq(np_topology_imagine(&topology, path), -EFBIG);

    /* One with a name that has more bytes than there is room for is known by its end. */
    snprintf(text, sizeof text, "/%0100d.topo", 7);
    put(text, whole_file);
    snprintf(path, sizeof path, "%s%s", root, text);
    ck_assert_int_eq(np_topology_imagine(&topology, path), 0);
    ck_assert_uint_eq(strlen(topology.name), sizeof topology.name - 1);
    ck_assert_str_eq(topology.name + sizeof topology.name - 1 - 7, "07.topo");
}
END_TEST

/* ---------------------------------------------------------------- who agrees with whom */

static uint64_t fingerprint_of(const char *text)
{
    ck_assert_msg(imagine(text) == 0, "%s", np_error_sentence());
    return topology.fingerprint;
}

START_TEST(what_is_said_is_what_is_compared)
{
    uint64_t one = fingerprint_of("node 0 memory=1G cpus=0\nnode 1 memory=1G cpus=1\n");
    ck_assert_uint_eq(one, fingerprint_of("# said otherwise\nnode 1 cpus=1 memory=1024M\ndistance 1 0 = 20\nnode 0 cpus=0 memory=1G"));
    ck_assert_uint_ne(one, fingerprint_of("node 0 memory=1G cpus=0\nnode 1 memory=1G cpus=2\n"));
    ck_assert_uint_ne(one, fingerprint_of("node 0 memory=1G cpus=0\nnode 1 memory=2G cpus=1\n"));
    ck_assert_uint_ne(one, fingerprint_of("node 0 memory=1G cpus=0\nnode 2 memory=1G cpus=1\n"));
    ck_assert_uint_ne(one, fingerprint_of("node 0 memory=1G cpus=0\nnode 1 memory=1G cpus=1\ndistance 0 1 = 21"));
    ck_assert_uint_ne(one, fingerprint_of("node 0 memory=1G cpus=0-1\nnode 1 memory=1G\ndistance 0 1 = 20"));

    /* Nothing of the machine is in it: another process may see other CPUs, or be allowed other nodes. */
    ck_assert_int_eq(imagine_short("2x1G"), 0);
    uint64_t here = topology.fingerprint;
    put("/sys/devices/system/cpu/online", "0\n");
    put("/sys/devices/system/node/has_memory", "0\n");
    np_topology_free(&machine);
    ck_assert_int_eq(np_topology_read(&machine, root), 0);
    ck_assert_int_eq(imagine_short("2x1G"), 0);
    ck_assert_uint_eq(topology.fingerprint, here);
    ck_assert(np_topology_is_memory_only(&topology.nodes[1]));
    ck_assert_int_eq(imagine_short("1x1G+1x1G"), 0);
    ck_assert_uint_ne(topology.fingerprint, here);
}
END_TEST

/* ---------------------------------------------------------------- this process's */

static void end_with(const char *what)
{
    fprintf(stderr, "%s: %s\n", what, np_error_sentence());
    _exit(1);
}

static void follow_a_file(void *argument)
{
    const char *path = argument;
    char text[200];
    setenv("NUMAPOOL_TOPOLOGY", path, 1);
    const struct np_topology *first = np_topology();
    if (first == NULL || first->count != 2 || np_topology_reload() != 0 || np_topology() != first)
        end_with("two nodes, and nothing new");
    put("/mine", "node 0 memory=1G cpus=0-63\n");
    if (np_topology() != first || np_topology_reload() != 1 || np_topology() == first || np_topology()->count != 1)
        end_with("one node");
    np_topology_difference(first, np_topology(), text, sizeof text);
    if (strstr(text, "node 5 is gone") == NULL || first->count != 2)
        end_with(text);
    put("/mine", "node zero\n");
    if (np_topology_reload() != -EINVAL || np_topology()->count != 1)
        end_with("a file with a mistake changes nothing");
    put("/mine", "node 0 memory=1G cpus=0-63\nnode 5 memory=1G\n");
    if (np_topology_reload() != 1 || np_topology() != first)
        end_with("the first one again");
}

START_TEST(a_file_that_changes_is_followed_when_asked_to)
{
    char path[128];
    put("/mine", "node 0 memory=1G cpus=0-63\nnode 5 memory=1G\n");
    snprintf(path, sizeof path, "%s/mine", root);
    ck_assert_int_eq(status_of_child(follow_a_file, path), 0);
}
END_TEST

static void use_cpus(void *unused)
{
    (void)unused;
    cpu_set_t before, one;
    if (sched_getaffinity(0, sizeof before, &before) != 0)
        end_with("affinity");
    char text[200];
    int cpus[2], count = 0;
    for (int cpu = 0; cpu < CPU_SETSIZE && count < 2; cpu++)
        if (CPU_ISSET(cpu, &before))
            cpus[count++] = cpu;
    /* the first CPU is of node 7; if there is another, no node names it, and it is of the first node that has any */
    snprintf(text, sizeof text, "node 3 memory=1G\nnode 7 memory=1G cpus=%d\nnode 5 cpus=%d\n", cpus[0], 8191);
    put("/mine", text);
    snprintf(text, sizeof text, "%s/mine", root);
    setenv("NUMAPOOL_TOPOLOGY", text, 1);
    for (int i = 0; i < count; i++) {
        CPU_ZERO(&one);
        CPU_SET(cpus[i], &one);
        if (sched_setaffinity(0, sizeof one, &one) != 0)
            end_with("to be pinned");
        if (np_node_of_this_thread() != (i == 0 ? 7 : 5))
            end_with("the node of this thread");
    }
    if (!np_topology_find(np_topology(), 7)->cpus_allowed || np_topology_find(np_topology(), 5)->cpus_allowed)
        end_with("which CPUs are allowed");
}

START_TEST(a_thread_is_on_the_node_that_names_its_cpu)
{
    ck_assert_int_eq(status_of_child(use_cpus, NULL), 0);
}
END_TEST

static void have_a_mistake(void *unused)
{
    (void)unused;
    int node;
    setenv("NUMAPOOL_TOPOLOGY", "4x", 1);
    if (np_topology() != NULL || np_nodes_with_memory(&node, 1) >= 0 || strstr(np_error_sentence(), "NUMAPOOL_TOPOLOGY") == NULL)
        end_with("a mistake");
    setenv("NUMAPOOL_TOPOLOGY", "", 1); /* as if it were not set */
    if (np_topology() == NULL || np_topology()->emulated)
        end_with("none");
}

START_TEST(nothing_works_with_a_mistake_in_it)
{
    ck_assert_int_eq(status_of_child(have_a_mistake, NULL), 0);
}
END_TEST

/* What this program does when it is run with more rights than who runs it. */
static int look_at_variable(void)
{
    if (getauxval(AT_SECURE) == 0)
        return 77;
    return getenv("NUMAPOOL_TOPOLOGY") != NULL && np_topology() != NULL && !np_topology()->emulated ? 0 : 1;
}

static void become_nobody(void *copy)
{
    char *arguments[] = { copy, secure_word, NULL };
    setenv("NUMAPOOL_TOPOLOGY", "4x1G", 1);
    if (setgid(65534) != 0 || setuid(65534) != 0)
        _exit(2);
    execv(copy, arguments);
    _exit(77);
}

START_TEST(a_program_of_more_rights_imagines_nothing)
{
    static const char name[] = "a_program_of_more_rights_imagines_nothing";
    char directory[] = "/tmp/numapool-secure-XXXXXX", copy[64], buffer[65536];
    struct statvfs system;
    if (geteuid() != 0 || statvfs("/tmp", &system) != 0 || (system.f_flag & ST_NOSUID) != 0) {
        not_run(name, "takes root, and a /tmp that is not mounted nosuid");
        return;
    }
    ck_assert_ptr_nonnull(mkdtemp(directory));
    snprintf(copy, sizeof copy, "%s/program", directory);
    int from = open("/proc/self/exe", O_RDONLY | O_CLOEXEC), to = open(copy, O_WRONLY | O_CREAT | O_CLOEXEC, 0755);
    ck_assert(from >= 0 && to >= 0);
    for (ssize_t got; (got = read(from, buffer, sizeof buffer)) > 0;)
        ck_assert_int_eq(write(to, buffer, (size_t)got), got);
    close(from);
    close(to);
    ck_assert_int_eq(chmod(directory, 0755), 0);
    ck_assert_int_eq(chmod(copy, 04755), 0);
    int status = status_of_child(become_nobody, copy);
    remove(copy);
    rmdir(directory);
    ck_assert(WIFEXITED(status));
    if (WEXITSTATUS(status) == 77)
        not_run(name, "no more rights are given here (valgrind, no_new_privs)");
    else
        ck_assert_int_eq(WEXITSTATUS(status), 0);
}
END_TEST

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], secure_word) == 0)
        return look_at_variable();
    Suite *suite = suite_create("topology_imagine");
    TCase *texts = tcase_create("texts");
    tcase_add_checked_fixture(texts, make_machine, drop_machine);
    tcase_set_timeout(texts, 60);
    suite_add_tcase(suite, texts);
    tcase_add_test(texts, nodes_share_the_machines_cpus_in_order);
    tcase_add_test(texts, with_more_nodes_than_cpus_the_last_are_memory_only);
    tcase_add_test(texts, behind_the_plus_are_memory_only_nodes);
    tcase_add_test(texts, memory_is_taken_of_the_machines_nodes_in_turn);
    tcase_add_test(texts, what_is_no_nodes_is_refused_with_a_sentence);
    tcase_add_test(texts, a_file_says_it_all);
    tcase_add_test(texts, each_mistake_is_told_with_its_line);
    tcase_add_test(texts, no_more_than_64_nodes);
    tcase_add_test(texts, files_that_are_none);
    tcase_add_test(texts, what_is_said_is_what_is_compared);
    tcase_add_test(texts, a_file_that_changes_is_followed_when_asked_to);
    tcase_add_test(texts, a_thread_is_on_the_node_that_names_its_cpu);
    tcase_add_test(texts, nothing_works_with_a_mistake_in_it);
    tcase_add_test(texts, a_program_of_more_rights_imagines_nothing);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
