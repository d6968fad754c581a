/*
 * A clock that stands still until a test moves it. One thread.
 */
#ifndef UM_TESTS_SUPPORT_FAKE_CLOCK_H
#define UM_TESTS_SUPPORT_FAKE_CLOCK_H

#include "core/base/clock.h"

typedef struct um_fake_clock {
    um_clock clock; /* hand out &fake.clock; the fake must not move in memory */
    uint64_t now_ns;
} um_fake_clock;

/* Starts at one second. */
void um_fake_clock_init(um_fake_clock *fake);
void um_fake_clock_advance_ms(um_fake_clock *fake, uint64_t milliseconds);

#endif
