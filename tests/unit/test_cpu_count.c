/*
 * How many CPUs a container's limit leaves. The trees are those that Docker, Kubernetes and systemd
 * make, written below a directory of the test's own.
 */
#include "core/base/cpu_count.h"
#include "tests/support/temp_dir.h"
#include "tests/test.h"

#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILES_MAX 5
#define CGROUP "sys/fs/cgroup/"

typedef struct tree {
    const char *what;
    const char *files[FILES_MAX][2]; /* path below the root, text */
    int32_t quota;
} tree;

static const tree trees[] = {
    {"no control groups at all", {{0}}, 0},
    {"version 2, no limit",
     {{"proc/self/cgroup", "0::/\n"}, {CGROUP "cpu.max", "max 100000\n"}},
     0},
    {"version 2, in a namespace of its own",
     {{"proc/self/cgroup", "0::/\n"}, {CGROUP "cpu.max", "200000 100000\n"}},
     2},
    {"a part of a CPU is rounded up",
     {{"proc/self/cgroup", "0::/\n"}, {CGROUP "cpu.max", "250000 100000\n"}},
     3},
    {"less than one CPU is one",
     {{"proc/self/cgroup", "0::/\n"}, {CGROUP "cpu.max", "1000 100000\n"}},
     1},
    {"a service of systemd",
     {{"proc/self/cgroup", "0::/system.slice/unmask.service\n"},
      {CGROUP "system.slice/unmask.service/cpu.max", "400000 100000\n"}},
     4},
    {"the tighter limit is that of the slice above",
     {{"proc/self/cgroup", "0::/a.slice/b.service\n"},
      {CGROUP "a.slice/b.service/cpu.max", "800000 100000\n"},
      {CGROUP "a.slice/cpu.max", "150000 50000\n"}},
     3},
    {"the tighter limit is its own",
     {{"proc/self/cgroup", "0::/a.slice/b.service\n"},
      {CGROUP "a.slice/b.service/cpu.max", "100000 100000\n"},
      {CGROUP "a.slice/cpu.max", "800000 100000\n"}},
     1},
    {"version 1, no limit",
     {{"proc/self/cgroup", "3:cpu,cpuacct:/\n2:memory:/\n0::/\n"},
      {CGROUP "cpu/cpu.cfs_quota_us", "-1\n"},
      {CGROUP "cpu/cpu.cfs_period_us", "100000\n"}},
     0},
    {"version 1, the container's group mounted as the topmost, its path the machine's",
     {{"proc/self/cgroup", "12:memory:/docker/1\n4:cpuacct,cpu:/docker/1\n0::/docker/1\n"},
      {CGROUP "cpu/cpu.cfs_quota_us", "150000\n"},
      {CGROUP "cpu/cpu.cfs_period_us", "100000\n"}},
     2},
    {"version 1, seen from outside",
     {{"proc/self/cgroup", "4:cpu:/pod/c\n3:cpuset:/\n"},
      {CGROUP "cpu/pod/c/cpu.cfs_quota_us", "300000\n"},
      {CGROUP "cpu/pod/c/cpu.cfs_period_us", "50000\n"}},
     6},
    {"a hierarchy whose name only begins alike",
     {{"proc/self/cgroup", "4:cpuacct,cpuset:/\n"},
      {CGROUP "cpu/cpu.cfs_quota_us", "100000\n"},
      {CGROUP "cpu/cpu.cfs_period_us", "100000\n"}},
     0},
    {"a quota beyond all counts",
     {{"proc/self/cgroup", "0::/\n"}, {CGROUP "cpu.max", "9223372036854775807 1\n"}},
     INT32_MAX},
    {"no period", {{"proc/self/cgroup", "0::/\n"}, {CGROUP "cpu.max", "200000\n"}}, 0},
    {"a period of nothing", {{"proc/self/cgroup", "0::/\n"}, {CGROUP "cpu.max", "200000 0\n"}}, 0},
    {"lines that are none",
     {{"proc/self/cgroup", "\n0\n0:\n::\nx:cpu\n0::/\n"}, {CGROUP "cpu.max", "100000 100000"}},
     1},
    {"empty files", {{"proc/self/cgroup", ""}, {CGROUP "cpu.max", ""}}, 0},
};

/* Makes the folders of `path` below `root`. */
static void make_folders(const char *root, const char *path)
{
    char full[2 * UM_TEMP_PATH_BYTES];

    for (const char *slash = strchr(path, '/'); slash; slash = strchr(slash + 1, '/')) {
        snprintf(full, sizeof(full), "%s/%.*s", root, (int)(slash - path), path);
        mkdir(full, 0700);
    }
}

static void write_file(const char *root, const char *path, const char *text)
{
    make_folders(root, path);
    um_temp_dir_write(root, path, text, strlen(text));
}

static void limits_are_found_where_engines_put_them(void)
{
    for (size_t i = 0; i < UM_COUNT_OF(trees); i++) {
        char root[UM_TEMP_PATH_BYTES];
        int32_t quota;

        um_temp_dir_make(root);
        for (int f = 0; f < FILES_MAX && trees[i].files[f][0]; f++)
            write_file(root, trees[i].files[f][0], trees[i].files[f][1]);
        quota = um_cpu_quota(root);
        um_temp_dir_remove(root);
        um_test_count();
        if (quota != trees[i].quota)
            um_test_fail(__FILE__, __LINE__, "%s: %d CPUs, expected %d", trees[i].what, quota,
                         trees[i].quota);
    }
}

/* 64 KiB without a line break, and a path longer than any buffer: no limit, and nothing is overrun
 * (AddressSanitizer sees to that). */
static void endless_files_are_read_in_part(void)
{
    const size_t size = 65536;
    char *text = malloc(size);
    char root[UM_TEMP_PATH_BYTES];

    UM_CHECK(text != NULL);
    memset(text, 'x', size);
    um_temp_dir_make(root);
    make_folders(root, "proc/self/cgroup");
    um_temp_dir_write(root, "proc/self/cgroup", text, size);
    UM_CHECK_INT(um_cpu_quota(root), 0);
    memcpy(text, "0::/", 4);
    um_temp_dir_write(root, "proc/self/cgroup", text, size);
    UM_CHECK_INT(um_cpu_quota(root), 0);
    write_file(root, "proc/self/cgroup", "0::/\n");
    make_folders(root, CGROUP "cpu.max");
    memset(text, '1', size);
    um_temp_dir_write(root, CGROUP "cpu.max", text, size);
    UM_CHECK_INT(um_cpu_quota(root), 0); /* one number without end, and no period */
    um_temp_dir_remove(root);
    free(text);
}

static void the_count_is_that_of_the_affinity_at_most(void)
{
    char none[UM_TEMP_PATH_BYTES];
    cpu_set_t before;
    cpu_set_t one;
    size_t first = 0;

    UM_CHECK(sched_getaffinity(0, sizeof(before), &before) == 0);
    um_temp_dir_make(none);
    UM_CHECK_INT(um_cpu_count(none), CPU_COUNT(&before));
    UM_CHECK(um_cpu_count("") >= 1 && um_cpu_count("") <= CPU_COUNT(&before));
    while (!CPU_ISSET(first, &before))
        first++;
    CPU_ZERO(&one);
    CPU_SET(first, &one);
    UM_CHECK(sched_setaffinity(0, sizeof(one), &one) == 0);
    UM_CHECK_INT(um_cpu_count(none), 1);
    UM_CHECK(sched_setaffinity(0, sizeof(before), &before) == 0);
    um_temp_dir_remove(none);
}

static void the_count_is_that_of_the_quota_at_most(void)
{
    cpu_set_t set;
    char root[UM_TEMP_PATH_BYTES];

    UM_CHECK(sched_getaffinity(0, sizeof(set), &set) == 0);
    um_temp_dir_make(root);
    write_file(root, "proc/self/cgroup", "0::/\n");
    write_file(root, CGROUP "cpu.max", "100000 100000\n");
    UM_CHECK_INT(um_cpu_count(root), 1);
    write_file(root, CGROUP "cpu.max", "409600000 100000\n"); /* more than there are */
    UM_CHECK_INT(um_cpu_count(root), CPU_COUNT(&set));
    um_temp_dir_remove(root);
}

static const um_test tests[] = {
    {"limits are found where engines put them", limits_are_found_where_engines_put_them, 0},
    {"endless files are read in part", endless_files_are_read_in_part, 0},
    {"the count is that of the affinity at most", the_count_is_that_of_the_affinity_at_most, 0},
    {"the count is that of the quota at most", the_count_is_that_of_the_quota_at_most, 0},
};
UM_TEST_MAIN(tests)
