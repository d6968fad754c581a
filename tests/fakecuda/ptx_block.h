/* The running block and the launch it belongs to. Private to the interpreter. */
#ifndef FAKECUDA_PTX_BLOCK_H
#define FAKECUDA_PTX_BLOCK_H

#include "tests/fakecuda/ptx_check.h"

namespace fakecuda
{

constexpr int BARRIERS = 16;

struct Barrier {
    uint32_t expected = 0; /* threads; 0: nobody is here */
    uint32_t arrived = 0;
    uint32_t ones = 0;                   /* threads that came with a true predicate (bar.red) */
    std::vector<uint32_t> lanes_waiting; /* per warp */
    std::vector<uint32_t> lanes_arrived; /* the same and those that did not wait (bar.arrive) */
};

struct Block {
    const Launch *launch = nullptr;
    const Kernel *kernel = nullptr;
    const Program *program = nullptr;
    std::vector<unsigned char> params;
    KernelStats *stats = nullptr;

    Dim index;                /* blockIdx */
    uint32_t first_stamp = 0; /* global stamps from here on are of this launch */
    uint32_t own_stamp = 0;

    SharedMemory shared;
    std::vector<Warp> warps;
    std::vector<unsigned char> registers, local;
    uint32_t threads = 0;
    uint32_t exited = 0;

    Barrier barriers[BARRIERS];
    bool partial_barriers = false;       /* one did not hold the whole block */
    std::vector<uint32_t> full_interval; /* of each warp behind the last whole barrier */

    /* The allocation that was hit last. */
    Allocation *last_hit = nullptr;
    uint64_t last_generation = ~0ull;
};

} // namespace fakecuda

#endif
