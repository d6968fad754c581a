/* Bounds, alignment, initialised bytes and races of memory accesses. See ptx_check.h. */
#include "tests/fakecuda/ptx_check.h"

#include <algorithm>
#include <cinttypes>

#include "tests/fakecuda/ptx_block.h"
#include "tests/fakecuda/ptx_statistics.h"

namespace fakecuda
{

namespace
{

/* A shared stamp: interval, warp, lane. Zero is nobody: intervals start at 1. */
constexpr uint32_t LANE_BITS = 6, WARP_BITS = 5, INTERVAL_SHIFT = LANE_BITS + WARP_BITS;
constexpr uint32_t LAST_INTERVAL = (1u << (32 - INTERVAL_SHIFT)) - 1;
enum : uint32_t {
    LANE_COLLECTIVE = 32, /* the warp together: ldmatrix */
    LANE_MANY = 33,       /* several lanes of the warp read */
    LANE_MANY_WARPS = 34, /* the named warp read last, others before it with no barrier between */
    LANE_LOOSE = 35       /* atomics and single bytes: some lane */
};

uint32_t stamp(uint32_t interval, uint32_t warp, uint32_t lane)
{
    return interval << INTERVAL_SHIFT | warp << LANE_BITS | lane;
}
uint32_t stamp_lane(uint32_t s)
{
    return s & ((1u << LANE_BITS) - 1);
}
uint32_t stamp_warp(uint32_t s)
{
    return s >> LANE_BITS & ((1u << WARP_BITS) - 1);
}
uint32_t stamp_interval(uint32_t s)
{
    return s >> INTERVAL_SHIFT;
}

/* Does a barrier or __syncwarp lie between the stamped access and now? */
bool is_behind(const Warp &warp, uint32_t s)
{
    uint32_t other = stamp_warp(s);
    const Block &block = *warp.block;

    if (stamp_lane(s) == LANE_MANY_WARPS && !block.partial_barriers)
        return stamp_interval(s) < block.full_interval[other];
    return stamp_interval(s) < warp.seen[other];
}

bool conflicts(const Warp &warp, uint32_t s, uint32_t mine)
{
    if (is_behind(warp, s) || s == mine)
        return false;
    if (stamp_lane(s) == LANE_LOOSE) /* some lane of that warp: ours, for all we know */
        return stamp_lane(mine) != LANE_LOOSE && stamp_warp(s) != warp.index;
    return true;
}

std::string thread_name(uint32_t s)
{
    uint32_t lane = stamp_lane(s), first = stamp_warp(s) * LANES;

    if (lane < LANES)
        return "thread " + std::to_string(first + lane);
    if (lane == LANE_COLLECTIVE)
        return "ldmatrix of warp " + std::to_string(stamp_warp(s));
    return "a thread of warp " + std::to_string(stamp_warp(s));
}

[[noreturn]] void shared_race(Warp &warp, int lane, Touch touch, uint32_t granule, uint32_t other,
                              const char *did)
{
    warp.fault(lane, "shared race", "thread %u %s offset %u that %s %s with no barrier between",
               warp.index * LANES + uint32_t(lane), touch == Touch::read ? "reads" : "writes",
               granule * 2, thread_name(other).c_str(), did);
}

uint32_t merged_reader(const Warp &warp, uint32_t before, uint32_t mine)
{
    if (is_behind(warp, before))
        return mine;
    if (stamp_warp(before) != warp.index || stamp_lane(before) == LANE_MANY_WARPS)
        return stamp(warp.interval(), warp.index, LANE_MANY_WARPS);
    return stamp(warp.interval(), warp.index, LANE_MANY);
}

} // namespace

void SharedMemory::reset(size_t bytes)
{
    data_.assign(bytes, 0xff);
    valid_.assign(bytes, 0);
    writers_.assign(bytes / 2 + 1, 0);
    readers_.assign(bytes / 2 + 1, 0);
}

void SharedMemory::forget()
{
    std::fill(writers_.begin(), writers_.end(), 0);
    std::fill(readers_.begin(), readers_.end(), 0);
}

void SharedMemory::mark_valid(uint32_t offset, uint32_t bytes, bool valid)
{
    memset(valid_.data() + offset, valid, bytes);
}

void next_interval(Warp &warp)
{
    Block &block = *warp.block;

    if (++warp.seen[warp.index] >= LAST_INTERVAL) {
        block.shared.forget();
        for (Warp &each : block.warps)
            std::fill(each.seen.begin(), each.seen.end(), 1);
        std::fill(block.full_interval.begin(), block.full_interval.end(), 1);
    }
    update_settled(warp);
}

void update_settled(Warp &warp)
{
    const std::vector<uint32_t> &full = warp.block->full_interval;

    warp.settled = std::min(*std::min_element(warp.seen.begin(), warp.seen.end()),
                            *std::min_element(full.begin(), full.end()));
}

uint32_t shared_offset(Warp &warp, int lane, uint64_t address, uint32_t bytes)
{
    const size_t size = warp.block->shared.bytes();
    const uint64_t in_window = address >= SHARED_WINDOW ? address - SHARED_WINDOW : address;
    const uint64_t offset = in_window - SHARED_BASE;

    if (in_window < SHARED_BASE || offset > size || bytes > size - offset)
        warp.fault(lane, "shared bounds",
                   "%u bytes at offset %" PRId64 " of %zu bytes of shared memory", bytes,
                   int64_t(offset), size);
    if ((in_window & (bytes - 1)) != 0)
        warp.fault(lane, "misaligned address", "%u bytes at offset %" PRIu64 " of shared memory",
                   bytes, offset);
    return uint32_t(offset);
}

namespace
{

/* Everything but the usual case, in which nobody has touched the bytes since the last barrier. */
__attribute__((noinline)) void stamp_contended(Warp &warp, int lane, Touch touch, uint32_t unit,
                                               uint32_t mine)
{
    uint32_t &writer = warp.block->shared.writers()[unit];
    uint32_t &reader = warp.block->shared.readers()[unit];

    if (conflicts(warp, writer, mine))
        shared_race(warp, lane, touch, unit, writer, "wrote");
    if (touch == Touch::read) {
        if (reader != mine)
            reader = merged_reader(warp, reader, mine);
        return;
    }
    if (conflicts(warp, reader, mine))
        shared_race(warp, lane, touch, unit, reader, "read");
    writer = mine;
}

} // namespace

void stamp_shared(Warp &warp, int lane, Actor actor, Touch touch, uint32_t offset, uint32_t bytes)
{
    uint32_t *writers = warp.block->shared.writers(), *readers = warp.block->shared.readers();
    const bool loose = actor == Actor::loose || touch == Touch::update || bytes == 1;
    const uint32_t who = loose                  ? LANE_LOOSE
                         : actor == Actor::warp ? LANE_COLLECTIVE
                                                : uint32_t(lane);
    const uint32_t mine = stamp(warp.interval(), warp.index, who);
    const uint32_t many = stamp(warp.interval(), warp.index, LANE_MANY);
    const uint32_t many_warps = stamp(warp.interval(), warp.index, LANE_MANY_WARPS);
    const uint32_t settled = warp.settled << INTERVAL_SHIFT; /* smaller stamps are of the past */
    const uint32_t end = (offset + bytes + 1) / 2;

    for (uint32_t i = offset / 2; i < end; i++) {
        const bool again = touch == Touch::read && writers[i] < settled && /* a broadcast */
                           (readers[i] == many || readers[i] == many_warps);

        if (writers[i] < settled && readers[i] < settled)
            (touch == Touch::read ? readers : writers)[i] = mine;
        else if (!again)
            stamp_contended(warp, lane, touch, i, mine);
    }
}

namespace
{

/* A cp.async of any warp that has yet to fill some of these bytes. */
bool is_pending(const Block &block, uint32_t offset, uint32_t bytes)
{
    for (const Warp &warp : block.warps)
        for (const AsyncCopy &copy : warp.copies)
            for (int i = 0; i < LANES; i++)
                if (has(copy.lanes, i) && copy.shared_offset[i] < offset + bytes &&
                    offset < copy.shared_offset[i] + copy.bytes)
                    return true;
    return false;
}

} // namespace

void check_valid(Warp &warp, int lane, uint32_t offset, uint32_t bytes)
{
    if (warp.block->shared.valid(offset, bytes))
        return;
    warp.fault(lane, "uninitialised shared", "%u bytes at offset %u are read %s", bytes, offset,
               is_pending(*warp.block, offset, bytes)
                   ? "while cp.async still fills them: a wait_group is missing or waits for too "
                     "few groups"
                   : "that no thread has written");
}

namespace
{

void check_shared(Warp &warp, Access &access)
{
    SharedMemory &shared = warp.block->shared;
    uint32_t offsets[LANES];

    for (int i = 0; i < LANES; i++) {
        if (!has(warp.mask, i))
            continue;
        offsets[i] = shared_offset(warp, i, access.address[i], access.bytes);
        access.pointer[i] = shared.at(offsets[i]);
        stamp_shared(warp, i, Actor::lane, access.touch, offsets[i], access.bytes);
        if (access.touch == Touch::write)
            shared.mark_valid(offsets[i], access.bytes, true);
        else
            check_valid(warp, i, offsets[i], access.bytes);
    }
    count_shared(warp, warp.mask, offsets, access.bytes);
}

void check_local(Warp &warp, Access &access)
{
    const size_t size = warp.block->kernel->local_bytes;

    for (int i = 0; i < LANES; i++) {
        uint64_t address = access.address[i], offset;

        if (!has(warp.mask, i))
            continue;
        offset = (address >= LOCAL_WINDOW ? address - LOCAL_WINDOW : address) - LOCAL_BASE;
        if (offset > size || access.bytes > size - offset)
            warp.fault(i, "local bounds",
                       "%u bytes at offset %" PRId64 " of %zu bytes of local memory", access.bytes,
                       int64_t(offset), size);
        if ((address & (access.bytes - 1)) != 0)
            warp.fault(i, "misaligned address", "%u bytes at offset %" PRIu64 " of local memory",
                       access.bytes, offset);
        access.pointer[i] = warp.local + size_t(i) * size + offset;
    }
}

void check_param(Warp &warp, Access &access)
{
    std::vector<unsigned char> &params = warp.block->params;

    for (int i = 0; i < LANES; i++) {
        uint64_t address = access.address[i];
        uint64_t offset = address >= PARAM_WINDOW ? address - PARAM_WINDOW : address;

        if (!has(warp.mask, i))
            continue;
        if (access.touch != Touch::read || offset + access.bytes > params.size())
            warp.fault(i, "parameter bounds",
                       "%u bytes at offset %" PRIu64 " of %zu bytes of parameters", access.bytes,
                       offset, params.size());
        access.pointer[i] = params.data() + offset;
    }
}

Space space_of(uint64_t address)
{
    for (auto [window, space] :
         {std::pair(SHARED_WINDOW, Space::shared), std::pair(LOCAL_WINDOW, Space::local),
          std::pair(PARAM_WINDOW, Space::param)})
        if (address - window < WINDOW_SIZE)
            return space;
    return Space::global;
}

void check_generic(Warp &warp, Access &access)
{
    const uint32_t all = warp.mask;
    uint32_t left = all;

    while (left != 0) {
        Space space = space_of(access.address[__builtin_ctz(left)]);

        warp.mask = 0;
        for (int i = 0; i < LANES; i++)
            if (has(left, i) && space_of(access.address[i]) == space)
                warp.mask |= 1u << i;
        left &= ~warp.mask;
        check_access(warp, space, access);
        access.contiguous = access.contiguous && warp.mask == all;
    }
    warp.mask = all;
}

} // namespace

void check_access(Warp &warp, Space space, Access &access)
{
    switch (space) {
    case Space::generic:
        return check_generic(warp, access);
    case Space::global:
    case Space::constant:
        return check_global(warp, access);
    case Space::shared:
        return check_shared(warp, access);
    case Space::local:
        return check_local(warp, access);
    case Space::param:
        return check_param(warp, access);
    }
}

} // namespace fakecuda
