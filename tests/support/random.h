/*
 * Random numbers of tests: splitmix64 (Steele, Lea and Flood), the same on every machine, so that a
 * seed names a case.
 */
#ifndef UM_TESTS_RANDOM_H
#define UM_TESTS_RANDOM_H

#include <stdint.h>

static inline uint64_t um_test_draw(uint64_t *state)
{
    uint64_t z = *state += 0x9E3779B97F4A7C15u;

    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return z ^ z >> 31;
}

/* One of low..high. */
static inline int32_t um_test_pick(uint64_t *state, int32_t low, int32_t high)
{
    return low + (int32_t)(um_test_draw(state) % (uint64_t)(high - low + 1));
}

#endif
