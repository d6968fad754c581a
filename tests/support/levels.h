/*
 * Every backend and instruction set that golden tests hold to the same numbers; what this machine
 * cannot run is left out by um_backend_open. With CUDA, the shipped kernels on the fake device.
 */
#ifndef UM_TESTS_SUPPORT_LEVELS_H
#define UM_TESTS_SUPPORT_LEVELS_H

#include "kernels/backend.h"

static const um_backend_options um_test_levels[] = {
    {.name = "ref"}, /* first: always there */
    {.name = "cpu", .isa = "portable", .threads = 2},
    {.name = "cpu", .isa = "avx2", .threads = 2},
    {.name = "cpu", .isa = "avx512", .threads = 2},
    {.name = "cpu", .isa = "avx512bf16", .threads = 2},
#ifdef UM_CUDA_FAKE_PLUGIN
    {.name = "cuda", .plugin = UM_CUDA_FAKE_PLUGIN, .batch_invariant = true},
#endif
};

#endif
