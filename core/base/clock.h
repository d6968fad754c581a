/*
 * Time behind a struct, so that tests run the engine on a clock of their own. Any thread.
 */
#ifndef UM_BASE_CLOCK_H
#define UM_BASE_CLOCK_H

#include <stdint.h>

typedef struct um_clock {
    uint64_t (*now_ns)(void *context); /* monotonic, nanoseconds, arbitrary origin */
    void *context;                     /* borrowed */
} um_clock;

/* CLOCK_MONOTONIC. Static, always valid. */
const um_clock *um_clock_system(void);

static inline uint64_t um_clock_now_ns(const um_clock *clock)
{
    return clock->now_ns(clock->context);
}

/* Seconds since the Unix epoch, for `created` fields and logs. */
int64_t um_clock_unix_seconds(void);

#endif
