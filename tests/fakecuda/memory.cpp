/* The allocation table. See memory.h. */
#include "tests/fakecuda/memory.h"

#include <cstdlib>

namespace fakecuda
{

static void drop_stamps(Allocation &allocation)
{
    free(allocation.writers);
    free(allocation.readers);
    allocation.writers = allocation.readers = nullptr;
}

Allocation &MemoryTable::add(void *base, size_t bytes, MemoryKind kind, const char *name)
{
    Allocation allocation;

    allocation.base = reinterpret_cast<uint64_t>(base);
    allocation.bytes = bytes;
    allocation.kind = kind;
    allocation.name = name;
    generation_++;
    return allocations_[allocation.base] = allocation;
}

bool MemoryTable::remove(const void *base)
{
    auto found = allocations_.find(reinterpret_cast<uint64_t>(base));

    if (found == allocations_.end())
        return false;
    drop_stamps(found->second);
    allocations_.erase(found);
    generation_++;
    return true;
}

void MemoryTable::forget_stamps()
{
    for (auto &entry : allocations_)
        drop_stamps(entry.second);
}

Allocation *MemoryTable::nearest_below(uint64_t address)
{
    auto after = allocations_.upper_bound(address);

    return after == allocations_.begin() ? nullptr : &std::prev(after)->second;
}

Allocation *MemoryTable::find(uint64_t address)
{
    Allocation *below = nearest_below(address);

    return below && below->holds(address, 1) ? below : nullptr;
}

MemoryTable &memory()
{
    static MemoryTable *const table = new MemoryTable; /* objects unload in exit handlers */
    return *table;
}

} // namespace fakecuda
