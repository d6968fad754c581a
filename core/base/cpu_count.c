#include "core/base/cpu_count.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define GROUPS_BYTES 16384 /* a line for each hierarchy; paths are below 4 KiB */
#define LIMIT_BYTES 64
#define PATH_BYTES 8192

/* The file's first size - 1 bytes as text. Not um_file_read: the kernel says of these that they
 * have 0 bytes. */
static bool read_text(const char *path, char *text, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    size_t length = 0;
    ssize_t count = fd < 0 ? -1 : 1;

    while (count > 0 && length < size - 1) {
        count = read(fd, text + length, size - 1 - length);
        if (count < 0 && errno == EINTR)
            count = 1;
        else if (count > 0)
            length += (size_t)count;
    }
    if (fd >= 0)
        close(fd);
    text[length] = '\0';
    return count >= 0;
}

/* The quota's microseconds of each period's, as CPUs. "max", -1 and what is no number: 0. */
static int32_t cpus(const char *quota_text, const char *period_text)
{
    long long quota = strtoll(quota_text, NULL, 10);
    long long period = strtoll(period_text, NULL, 10);
    long long count;

    if (quota <= 0 || period <= 0)
        return 0;
    count = quota / period + (quota % period != 0);
    return count < INT32_MAX ? (int32_t)count : INT32_MAX;
}

static bool read_limit(const char *group, const char *name, char *text)
{
    char path[PATH_BYTES];

    return snprintf(path, sizeof(path), "%s/%s", group, name) < (int)sizeof(path) &&
           read_text(path, text, LIMIT_BYTES);
}

static int32_t limit_v2(const char *group)
{
    char text[LIMIT_BYTES];

    return read_limit(group, "cpu.max", text) ? cpus(text, text + strcspn(text, " ")) : 0;
}

static int32_t limit_v1(const char *group)
{
    char quota[LIMIT_BYTES];
    char period[LIMIT_BYTES];

    return read_limit(group, "cpu.cfs_quota_us", quota) &&
                   read_limit(group, "cpu.cfs_period_us", period)
               ? cpus(quota, period)
               : 0;
}

static int32_t lesser(int32_t a, int32_t b)
{
    return a == 0 || (b != 0 && b < a) ? b : a;
}

/* From the group up to where it is mounted. A container may see its own group mounted as the topmost,
 * and yet be told its path on the machine: then only the topmost is there. */
static int32_t least_limit(const char *mount, const char *group, int32_t (*limit)(const char *))
{
    char path[PATH_BYTES];
    size_t top = strlen(mount);
    int32_t least;

    if (snprintf(path, sizeof(path), "%s%s", mount, group) >= (int)sizeof(path))
        return 0;
    least = limit(path);
    for (size_t end = strlen(path); end-- > top;) {
        if (path[end] == '/') {
            path[end] = '\0';
            least = lesser(least, limit(path));
        }
    }
    return least;
}

static bool names_cpu(char *controllers)
{
    char *rest = NULL;

    for (char *name = strtok_r(controllers, ",", &rest); name; name = strtok_r(NULL, ",", &rest)) {
        if (strcmp(name, "cpu") == 0)
            return true;
    }
    return false;
}

/* A line of /proc/self/cgroup: number, controllers (none: version 2), path of the group. */
static int32_t line_quota(const char *root, char *line)
{
    char *controllers = strchr(line, ':');
    char *group = controllers ? strchr(controllers + 1, ':') : NULL;
    char mount[PATH_BYTES];
    bool unified;

    if (!group)
        return 0;
    *group++ = '\0';
    unified = *++controllers == '\0';
    if (!unified && !names_cpu(controllers))
        return 0;
    if (snprintf(mount, sizeof(mount), "%s/sys/fs/cgroup%s", root, unified ? "" : "/cpu") >=
        (int)sizeof(mount))
        return 0;
    return least_limit(mount, group, unified ? limit_v2 : limit_v1);
}

int32_t um_cpu_quota(const char *root)
{
    char path[PATH_BYTES];
    char text[GROUPS_BYTES];
    char *rest = NULL;
    int32_t least = 0;

    if (snprintf(path, sizeof(path), "%s/proc/self/cgroup", root) >= (int)sizeof(path) ||
        !read_text(path, text, sizeof(text)))
        return 0;
    for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest))
        least = lesser(least, line_quota(root, line));
    return least;
}

int32_t um_cpu_count(const char *root)
{
    cpu_set_t set;
    int32_t count = sched_getaffinity(0, sizeof(set), &set) == 0 ? CPU_COUNT(&set) : 1;
    int32_t quota = um_cpu_quota(root);

    if (quota > 0 && quota < count)
        count = quota;
    return count > 0 ? count : 1;
}
