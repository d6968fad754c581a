#include "tests/support/fake_clock.h"

static uint64_t fake_now(void *context)
{
    return ((um_fake_clock *)context)->now_ns;
}

void um_fake_clock_init(um_fake_clock *fake)
{
    *fake = (um_fake_clock){.clock = {fake_now, fake}, .now_ns = 1000000000};
}

void um_fake_clock_advance_ms(um_fake_clock *fake, uint64_t milliseconds)
{
    fake->now_ns += milliseconds * 1000000;
}
