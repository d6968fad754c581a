/*
 * What the environment asks of the fake device. Read once, at the first call into the runtime; a
 * test may change it later through fakecuda_set().
 */
#ifndef FAKECUDA_SWITCHES_H
#define FAKECUDA_SWITCHES_H

#include <cstddef>
#include <cstdint>
#include <string>

namespace fakecuda
{

struct Switches {
    bool reverse = false;   /* ORDER=reverse: blocks and warps from the last to the first */
    bool lazy = false;      /* LAZY=1: nothing on a stream runs before something waits for it */
    bool trap = false;      /* TRAP=1: host code that touches device memory crashes there */
    bool no_device = false; /* NO_DEVICE=1: as on a machine without a driver */
    bool no_cublas = false; /* NO_CUBLAS=1: as on a machine without cuBLAS */
    /* SPLITS=shape: the best algorithm for few columns adds up in another order than that for many,
     * as it does on a device; default: one order for all */
    bool splits_by_shape = false;
    uint64_t fail_alloc = 0;      /* FAIL_ALLOC=n: allocation or creation n fails, once */
    uint64_t fail_launch = 0;     /* FAIL_LAUNCH=n: kernel launch or product n fails, once */
    uint64_t memory = 4ull << 30; /* MEMORY=bytes */
    uint64_t multiprocessors = 8; /* SMS=n: few, so that work lists are longer than the grid */
    std::string stats;            /* STATS=1: to stderr at the end; else a file to append to */
};

const Switches &switches();
/* One switch by name; false when there is none or the value is bad. */
bool set_switch(const char *name, const char *value);

/* Counts a call; true when the switch says that this one fails. */
bool allocation_fails();
bool launch_fails();

} // namespace fakecuda

#endif
