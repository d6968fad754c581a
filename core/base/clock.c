#include "core/base/clock.h"

#include <time.h>

static uint64_t system_now_ns(void *context)
{
    struct timespec now;

    (void)context;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

const um_clock *um_clock_system(void)
{
    static const um_clock system_clock = {system_now_ns, NULL};

    return &system_clock;
}

int64_t um_clock_unix_seconds(void)
{
    struct timespec now;

    /* not time(): it may lag by a tick, and then say the second before */
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec;
}
