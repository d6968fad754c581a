/* Launches: limits, the order of blocks and warps, special registers, statistics. */
#include <algorithm>

#include "tests/fakecuda/ptx_run.h"

namespace fakecuda
{

namespace
{

std::map<std::string, KernelStats> &all_statistics()
{
    /* lives on: printed after exit handlers */
    static auto *const statistics = new std::map<std::string, KernelStats>;
    return *statistics;
}

/* One block after the other uses the same memory. */
Block &the_block()
{
    static Block *const block = new Block;
    return *block;
}

[[noreturn]] void limit_fault(const Kernel &kernel, const char *what, uint64_t value, uint64_t most)
{
    throw Report{"launch limits",
                 std::string(what) + " is " + std::to_string(value) + ", allowed is 1 to " +
                     std::to_string(most),
                 "kernel " + kernel.display_name};
}

void check_limits(const Launch &launch)
{
    const Kernel &kernel = *launch.kernel;
    const struct {
        const char *what;
        uint64_t value, most;
    } limits[] = {
        {"grid.x", launch.grid.x, INT32_MAX},
        {"grid.y", launch.grid.y, 65535},
        {"grid.z", launch.grid.z, 65535},
        {"block.x", launch.block.x, 1024},
        {"block.y", launch.block.y, 1024},
        {"block.z", launch.block.z, 64},
        {"threads of a block", launch.block.count(), 1024},
        {"threads of a block (__launch_bounds__)", launch.block.count(), kernel.max_threads},
        {"shared memory and one byte", kernel.static_shared_bytes + launch.dynamic_shared_bytes + 1,
         SHARED_LIMIT + 1},
        {"blocks", launch.grid.count(), 1u << 31},
    };

    for (const auto &limit : limits)
        if (limit.value == 0 || limit.value > limit.most)
            limit_fault(kernel, limit.what, limit.value, limit.most);
}

void fill_register(Warp &warp, uint32_t offset, uint8_t bytes, uint64_t value)
{
    unsigned char *lanes = warp.reg(offset);

    if (bytes == 0) { /* a predicate */
        uint32_t mask = value ? ALL_LANES : 0;
        memcpy(lanes, &mask, sizeof mask);
        return;
    }
    for (int i = 0; i < LANES; i++)
        memcpy(lanes + i * bytes, &value, bytes);
}

uint32_t lane_mask(Special which, int lane)
{
    const uint32_t self = 1u << lane, below = self - 1;

    switch (which) {
    case Special::lanemask_eq:
        return self;
    case Special::lanemask_lt:
        return below;
    case Special::lanemask_le:
        return below | self;
    case Special::lanemask_gt:
        return ~(below | self);
    default: /* lanemask_ge */
        return ~below;
    }
}

uint32_t special_value(const Block &block, const Warp &warp, Special which, int lane)
{
    const Launch &launch = *block.launch;
    const uint32_t thread = warp.index * LANES + uint32_t(lane);

    switch (which) {
    case Special::tid_x:
        return thread % launch.block.x;
    case Special::tid_y:
        return thread / launch.block.x % launch.block.y;
    case Special::tid_z:
        return thread / launch.block.x / launch.block.y;
    case Special::ntid_x:
        return launch.block.x;
    case Special::ntid_y:
        return launch.block.y;
    case Special::ntid_z:
        return launch.block.z;
    case Special::ctaid_x:
        return block.index.x;
    case Special::ctaid_y:
        return block.index.y;
    case Special::ctaid_z:
        return block.index.z;
    case Special::nctaid_x:
        return launch.grid.x;
    case Special::nctaid_y:
        return launch.grid.y;
    case Special::nctaid_z:
        return launch.grid.z;
    case Special::laneid:
        return uint32_t(lane);
    case Special::warpid:
        return warp.index;
    case Special::nwarpid:
        return 64;
    case Special::smid:
        return 0;
    case Special::nsmid:
        return 1;
    case Special::dynamic_smem_size:
        return uint32_t(launch.dynamic_shared_bytes);
    case Special::total_smem_size:
        return uint32_t(block.shared.bytes());
    default:
        return lane_mask(which, lane);
    }
}

bool changes_with_block(Special which)
{
    return which == Special::ctaid_x || which == Special::ctaid_y || which == Special::ctaid_z;
}

void fill_specials(Block &block, bool all)
{
    for (Warp &warp : block.warps)
        for (const SpecialUse &use : block.program->specials)
            for (int i = 0; (all || changes_with_block(use.which)) && i < LANES; i++)
                lane_set(warp.reg(use.offset), i, special_value(block, warp, use.which, i));
}

/* Sizes everything for the launch; what does not change from block to block is filled here. */
void prepare(Block &block, const Launch &launch, const std::vector<unsigned char> &params)
{
    const size_t file = launch.kernel->program->register_file_bytes;

    block.launch = &launch;
    block.kernel = launch.kernel;
    block.program = launch.kernel->program;
    block.params = params;
    block.stats = &all_statistics()[launch.kernel->display_name];
    block.threads = uint32_t(launch.block.count());
    block.last_hit = nullptr;
    block.warps.assign((block.threads + LANES - 1) / LANES, Warp());
    block.registers.assign(block.warps.size() * file, 0xcd);
    block.local.assign(block.warps.size() * LANES * launch.kernel->local_bytes, 0xff);
    for (size_t w = 0; w < block.warps.size(); w++) {
        Warp &warp = block.warps[w];
        const uint32_t lanes = std::min(block.threads - uint32_t(w) * LANES, uint32_t(LANES));

        warp.block = &block;
        warp.index = uint32_t(w);
        warp.registers = block.registers.data() + w * file;
        warp.local = block.local.data() + w * LANES * launch.kernel->local_bytes;
        warp.existing = lanes == LANES ? ALL_LANES : (1u << lanes) - 1;
        for (const Constant &constant : block.program->constants)
            fill_register(warp, constant.offset, constant.bytes, constant.value);
    }
    fill_specials(block, true);
}

void start_block(Block &block, uint64_t budget)
{
    block.shared.reset(block.kernel->static_shared_bytes + block.launch->dynamic_shared_bytes);
    block.exited = 0;
    reset_barriers(block);
    fill_specials(block, false);
    for (Warp &warp : block.warps) {
        warp.running = warp.existing;
        warp.waiting = warp.at_barrier = warp.exited = 0;
        std::fill(warp.lane_pc, warp.lane_pc + LANES, 0);
        std::fill(warp.committed, warp.committed + LANES, 0);
        warp.copies.clear();
        warp.seen.assign(block.warps.size(), 1);
        warp.settled = 1;
        warp.executed = 0;
        warp.limit = budget;
    }
}

/* Runs the block to its end; returns its warp instructions. */
uint64_t run_block(Block &block)
{
    uint64_t executed = 0;

    while (block.exited < block.threads) {
        bool ran = false;

        for (size_t i = 0; i < block.warps.size(); i++) {
            Warp &warp = block.warps[settings().reverse ? block.warps.size() - 1 - i : i];

            if (warp.running == 0)
                continue;
            run_warp(warp);
            ran = true;
        }
        if (!ran)
            fault_stuck(block);
    }
    for (const Warp &warp : block.warps)
        executed += warp.executed;
    return executed;
}

/* Stamps of global memory (ptx_check_global.cpp) rise from launch to launch. */
uint32_t take_stamps(uint64_t blocks)
{
    static uint64_t next = 1;

    if (next + blocks + 2 > UINT32_MAX) {
        memory().forget_stamps();
        next = 1;
    }
    next += blocks + 2;
    return uint32_t(next - blocks - 2);
}

void run_grid(const Launch &launch, const std::vector<unsigned char> &params)
{
    Block &block = the_block();
    const uint64_t blocks = launch.grid.count();
    uint64_t executed = 0;

    check_limits(launch);
    prepare(block, launch, params);
    block.first_stamp = take_stamps(blocks);
    block.stats->launches++;
    block.stats->blocks += blocks;
    for (uint64_t i = 0; i < blocks; i++) {
        const uint64_t b = settings().reverse ? blocks - 1 - i : i;

        block.index = Dim{uint32_t(b % launch.grid.x), uint32_t(b / launch.grid.x % launch.grid.y),
                          uint32_t(b / launch.grid.x / launch.grid.y)};
        block.own_stamp = block.first_stamp + 2 + uint32_t(b);
        start_block(block, settings().instruction_budget - executed);
        executed += run_block(block);
    }
    block.stats->warp_instructions += executed;
}

} // namespace

std::vector<unsigned char> pack_arguments(const Kernel &kernel, void *const *args)
{
    std::vector<unsigned char> params(kernel.param_bytes);

    for (size_t i = 0; i < kernel.params.size(); i++)
        memcpy(params.data() + kernel.params[i].offset, args[i], kernel.params[i].bytes);
    return params;
}

bool launch_packed(const Launch &launch, const std::vector<unsigned char> &params)
{
    try {
        run_grid(launch, params);
        return true;
    } catch (const Report &fault) {
        report(fault);
        return false;
    }
}

bool launch(const Launch &launch)
{
    return launch_packed(launch, pack_arguments(*launch.kernel, launch.args));
}

Settings &settings()
{
    static Settings settings;
    return settings;
}

const std::map<std::string, KernelStats> &statistics()
{
    return all_statistics();
}

void reset_statistics()
{
    all_statistics().clear();
}

} // namespace fakecuda
