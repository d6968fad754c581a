/*
 * How many CPUs the process may use: those of its affinity, and no more than the quota of its
 * control groups, which is how containers are limited and which the affinity does not show.
 * Any thread.
 */
#ifndef UM_BASE_CPU_COUNT_H
#define UM_BASE_CPU_COUNT_H

#include <stdint.h>

/* At least 1. Files are looked for below `root`: "" but in tests. */
int32_t um_cpu_count(const char *root);

/* The quota alone, in CPUs, rounded up: the least of the process's own control group and those
 * above it, versions 1 and 2, as far as they are mounted where they always are (/sys/fs/cgroup).
 * 0: none. */
int32_t um_cpu_quota(const char *root);

#endif
