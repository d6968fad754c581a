/* Global memory: the allocation table, alignment, races between blocks. See ptx_check.h. */
#include <cinttypes>
#include <cstdlib>

#include "tests/fakecuda/ptx_block.h"
#include "tests/fakecuda/ptx_statistics.h"

namespace fakecuda
{

namespace
{

/* A global stamp counts from the first of its launch: several blocks, atomics of some block, then
 * one number for each block. Smaller stamps are of launches before. */
enum : uint32_t { STAMP_MANY, STAMP_ATOMIC };

const char *verb_of(Touch touch)
{
    return touch == Touch::read ? "read" : touch == Touch::write ? "write" : "atomic update";
}

/* Says what is at the address instead of an allocation that holds all of the access. */
[[noreturn]] void bounds_fault(Warp &warp, int lane, uint64_t address, const Access &access)
{
    const char *verb = verb_of(access.touch);
    Allocation *inside = memory().find(address), *below = memory().nearest_below(address);

    if (inside && inside->kind == MemoryKind::pinned)
        warp.fault(lane, "host pointer", "%u-byte %s at 0x%" PRIx64 " in pinned host memory",
                   access.bytes, verb, address);
    if (inside && inside->kind == MemoryKind::constant && inside->holds(address, access.bytes))
        warp.fault(lane, "constant memory", "%u-byte %s in constant %s", access.bytes, verb,
                   inside->name.c_str());
    if (inside || (below && address - below->base - below->bytes < 4096)) {
        const Allocation &near = inside ? *inside : *below;

        warp.fault(lane, "global bounds",
                   "%u-byte %s at offset %" PRIu64 " of an allocation of %zu bytes%s%s",
                   access.bytes, verb, address - near.base, near.bytes,
                   near.name.empty() ? "" : ": ", near.name.c_str());
    }
    warp.fault(lane, address < 65536 ? "null pointer" : "host pointer",
               "%u-byte %s at 0x%" PRIx64 ", which no device allocation holds (host memory, freed, "
               "or far out of bounds)",
               access.bytes, verb, address);
}

void make_stamps(Allocation &allocation)
{
    const size_t count = allocation.bytes / 2 + 1;

    allocation.writers = static_cast<uint32_t *>(calloc(count, sizeof(uint32_t)));
    allocation.readers = static_cast<uint32_t *>(calloc(count, sizeof(uint32_t)));
    if (!allocation.writers || !allocation.readers)
        abort();
}

/* nullptr: the range is not all inside one allocation that may be touched so. */
Allocation *lookup(Block &block, uint64_t address, uint64_t bytes, Touch touch)
{
    Allocation *hit = block.last_hit;

    if (block.last_generation != memory().generation() || !hit || !hit->holds(address, bytes)) {
        hit = memory().find(address);
        block.last_generation = memory().generation();
        block.last_hit = hit;
    }
    if (!hit || !hit->holds(address, bytes) || hit->kind == MemoryKind::pinned ||
        (hit->kind == MemoryKind::constant && touch != Touch::read))
        return nullptr;
    if (!hit->writers)
        make_stamps(*hit);
    return hit;
}

/* The whole 2-byte units of an access: two blocks may write neighbouring single bytes. */
struct Units {
    uint64_t begin, end;
    Units(uint64_t offset, uint64_t bytes) : begin((offset + 1) / 2), end((offset + bytes) / 2)
    {
    }
};

bool writer_conflicts(const Block &block, uint32_t writer)
{
    return (writer > block.first_stamp + STAMP_ATOMIC) & (writer != block.own_stamp);
}

bool reader_conflicts(const Block &block, uint32_t reader)
{
    return (reader >= block.first_stamp) & (reader != block.own_stamp);
}

bool range_conflicts(const Block &block, const Allocation &hit, Units units, Touch touch)
{
    uint32_t bad = 0;

    for (uint64_t i = units.begin; i < units.end; i++)
        bad |= writer_conflicts(block, hit.writers[i]);
    for (uint64_t i = units.begin; touch != Touch::read && i < units.end; i++)
        bad |= reader_conflicts(block, hit.readers[i]);
    return bad;
}

void stamp_range(const Block &block, Allocation &hit, Units units, Touch touch)
{
    const uint32_t first = block.first_stamp, own = block.own_stamp;
    uint32_t *writers = hit.writers, *readers = hit.readers;

    switch (touch) {
    case Touch::read:
        for (uint64_t i = units.begin; i < units.end; i++)
            readers[i] = ((readers[i] < first) | (readers[i] == own)) ? own : first + STAMP_MANY;
        break;
    case Touch::write:
        for (uint64_t i = units.begin; i < units.end; i++)
            writers[i] = own;
        break;
    case Touch::update:
        for (uint64_t i = units.begin; i < units.end; i++)
            writers[i] = writers[i] == own ? own : first + STAMP_ATOMIC;
        break;
    }
}

[[noreturn]] void race_fault(Warp &warp, int lane, const Allocation &hit, Units units, Touch touch)
{
    const Block &block = *warp.block;
    uint64_t i = units.begin;

    while (!range_conflicts(block, hit, Units(2 * i, 2), touch))
        i++;

    const bool wrote = writer_conflicts(block, hit.writers[i]);
    const uint32_t other = (wrote ? hit.writers[i] : hit.readers[i]) - block.first_stamp;
    const uint32_t linear = other - 2, columns = block.launch->grid.x, rows = block.launch->grid.y;
    char name[64] = "several blocks";

    if (other != STAMP_MANY)
        snprintf(name, sizeof name, "block (%u,%u,%u)", linear % columns, linear / columns % rows,
                 linear / columns / rows);
    warp.fault(lane, "block race",
               "%s at offset %" PRIu64 " of an allocation of %zu bytes that %s %s in this launch",
               verb_of(touch), 2 * i, hit.bytes, name, wrote ? "wrote" : "read");
}

bool is_contiguous(const Access &access)
{
    uint64_t differs = 0;

    for (uint64_t i = 0; i < LANES; i++)
        differs |= access.address[i] ^ (access.address[0] + i * access.bytes);
    return differs == 0;
}

/* One run of memory by `lane` or, from lane 0 on, by all lanes. False: not inside an allocation. */
bool check_run(Warp &warp, int lane, const Access &access, uint64_t bytes)
{
    const uint64_t address = access.address[lane];
    Allocation *hit = lookup(*warp.block, address, bytes, access.touch);

    if (!hit || (address & (access.alignment - 1)) != 0)
        return false;

    const Units units(address - hit->base, bytes);

    if (range_conflicts(*warp.block, *hit, units, access.touch))
        race_fault(warp, lane + int((units.begin * 2 + hit->base - address) / access.bytes), *hit,
                   units, access.touch);
    stamp_range(*warp.block, *hit, units, access.touch);
    return true;
}

} // namespace

void check_global(Warp &warp, Access &access)
{
    access.contiguous = warp.mask == ALL_LANES && access.touch != Touch::update &&
                        is_contiguous(access) &&
                        check_run(warp, 0, access, uint64_t{access.bytes} * LANES);
    for (int i = 0; i < LANES && !access.contiguous; i++) {
        if (!has(warp.mask, i))
            continue;
        if ((access.address[i] & (access.alignment - 1)) != 0)
            warp.fault(i, "misaligned address", "%u-byte %s at 0x%" PRIx64, access.alignment,
                       verb_of(access.touch), access.address[i]);
        if (!check_run(warp, i, access, access.bytes))
            bounds_fault(warp, i, access.address[i], access);
    }
    for (int i = 0; i < LANES; i++)
        access.pointer[i] = reinterpret_cast<unsigned char *>(access.address[i]);
    count_global(warp, access);
}

} // namespace fakecuda
