/*
 * The allocation table: every address a kernel or a copy may touch. The runtime adds and removes
 * what cudaMalloc and cudaMallocHost hand out; loading a module adds its variables; the checker
 * asks. Device addresses are host addresses. Not thread-safe: the runtime holds its lock, also
 * around launch().
 */
#ifndef FAKECUDA_MEMORY_H
#define FAKECUDA_MEMORY_H

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>

namespace fakecuda
{

enum class MemoryKind {
    device,   /* cudaMalloc, __device__ variables: kernels read and write it */
    constant, /* __constant__ variables: kernels only read it */
    pinned    /* cudaMallocHost: host side only; a kernel that is given it is at fault */
};

struct Allocation {
    uint64_t base = 0;
    size_t bytes = 0;
    MemoryKind kind = MemoryKind::device;
    std::string name; /* of a variable; empty for cudaMalloc */

    /* One stamp per 2 bytes: which block wrote and read them last (ptx_check.cpp). Zeroed, made at
     * the first access by a kernel; nullptr before. */
    uint32_t *writers = nullptr;
    uint32_t *readers = nullptr;

    bool holds(uint64_t address, size_t count) const
    {
        return address >= base && address - base <= bytes && count <= bytes - (address - base);
    }
};

class MemoryTable
{
  public:
    /* The range must not overlap another. The memory stays the caller's. */
    Allocation &add(void *base, size_t bytes, MemoryKind kind, const char *name = "");
    /* False: no allocation begins there (an invalid free). */
    bool remove(const void *base);

    /* The allocation that holds `address` (its end excluded), or nullptr. */
    Allocation *find(uint64_t address);
    Allocation *find(const void *address)
    {
        return find(reinterpret_cast<uint64_t>(address));
    }
    /* The last allocation that begins at or before `address`, for "N bytes behind ..." messages. */
    Allocation *nearest_below(uint64_t address);

    /* Rises with every add and remove: whoever caches an Allocation pointer compares it. */
    uint64_t generation() const
    {
        return generation_;
    }
    /* Empties all stamps, when their numbers start again. */
    void forget_stamps();

  private:
    std::map<uint64_t, Allocation> allocations_;
    uint64_t generation_ = 0;
};

/* The one table of the process. */
MemoryTable &memory();

} // namespace fakecuda

#endif
