/*
 * Device and pinned memory, and the copies between them. Device memory is host memory in mappings
 * of its own that end at a guard page; what is outside of the allocations is not mapped. New memory
 * is filled with 0xff: NaN in every floating-point type.
 */
#include "tests/fakecuda/runtime.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <map>
#include <sys/mman.h>
#include <unistd.h>
#include <vector>

namespace fakecuda
{

namespace
{

constexpr size_t ALIGNMENT = 256; /* as cudaMalloc promises */
constexpr int FILL = 0xff;

struct Mapping {
    unsigned char *start;
    size_t bytes; /* usable; a guard page follows */
};

struct State {
    std::map<void *, Mapping> device; /* by what cudaMalloc returned */
    int access_depth = 0;
};

State &state()
{
    static State *const state = new State; /* lives on: freed by nobody, used by exit handlers */
    return *state;
}

size_t round_up(size_t bytes, size_t unit)
{
    return (bytes + unit - 1) / unit * unit;
}

void protect_all(int protection)
{
    for (const auto &entry : state().device)
        mprotect(entry.second.start, entry.second.bytes, protection);
}

cudaError_t allocate_device(void **out, size_t bytes)
{
    fakecuda_counts &now = counts();
    const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
    const size_t padded = round_up(bytes, ALIGNMENT), usable = round_up(padded, page);

    *out = nullptr;
    if (bytes == 0)
        return cudaSuccess;
    if (allocation_fails() || bytes > switches().memory ||
        now.device_bytes > switches().memory - bytes)
        return cudaErrorMemoryAllocation;
    void *mapped = mmap(nullptr, usable + page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mapped == MAP_FAILED)
        return cudaErrorMemoryAllocation;
    Mapping mapping = {static_cast<unsigned char *>(mapped), usable};
    mprotect(mapping.start, usable, PROT_READ | PROT_WRITE);
    unsigned char *base = mapping.start + usable - padded;
    memset(base, FILL, padded);
    memory().add(base, bytes, MemoryKind::device);
    state().device[base] = mapping;
    if (switches().trap && state().access_depth == 0)
        mprotect(mapping.start, usable, PROT_NONE);
    now.live_allocations++;
    now.device_allocations++;
    now.device_bytes += bytes;
    now.device_bytes_peak = std::max(now.device_bytes_peak, now.device_bytes);
    now.largest_allocation = std::max(now.largest_allocation, static_cast<uint64_t>(bytes));
    *out = base;
    return cudaSuccess;
}

cudaError_t free_device(void *base)
{
    if (!base)
        return cudaSuccess;
    auto found = state().device.find(base);
    if (found == state().device.end()) {
        report("invalid free", "cudaFree of %p, where no allocation begins", base);
        return cudaErrorInvalidValue;
    }
    drain_all(); /* cudaFree waits for work that may use the memory */
    counts().device_bytes -= memory().find(base)->bytes;
    counts().live_allocations--;
    counts().frees++;
    memory().remove(base);
    munmap(found->second.start, found->second.bytes + static_cast<size_t>(sysconf(_SC_PAGESIZE)));
    state().device.erase(found);
    return cudaSuccess;
}

cudaError_t allocate_pinned(void **out, size_t bytes)
{
    *out = nullptr;
    if (bytes == 0)
        return cudaSuccess;
    if (allocation_fails())
        return cudaErrorMemoryAllocation;
    *out = aligned_alloc(ALIGNMENT, round_up(bytes, ALIGNMENT));
    if (!*out)
        return cudaErrorMemoryAllocation;
    memset(*out, FILL, bytes);
    memory().add(*out, bytes, MemoryKind::pinned);
    counts().live_allocations++;
    counts().pinned_allocations++;
    return cudaSuccess;
}

cudaError_t free_pinned(void *base)
{
    if (!base)
        return cudaSuccess;
    const Allocation *allocation = memory().find(base);
    if (!allocation || allocation->kind != MemoryKind::pinned ||
        allocation->base != reinterpret_cast<uint64_t>(base)) {
        report("invalid free", "cudaFreeHost of %p, where no pinned allocation begins", base);
        return cudaErrorInvalidValue;
    }
    drain_all();
    memory().remove(base);
    free(base);
    counts().live_allocations--;
    counts().frees++;
    return cudaSuccess;
}

/* ---- copies ------------------------------------------------------------------------------ */

/* Rows of `width` bytes; a plain copy has one. */
struct Copy {
    unsigned char *to;
    size_t to_pitch;
    const unsigned char *from;
    size_t from_pitch;
    size_t width;
    size_t height;

    size_t to_bytes() const
    {
        return (height - 1) * to_pitch + width;
    }
    size_t from_bytes() const
    {
        return (height - 1) * from_pitch + width;
    }
};

bool is_device(const void *address)
{
    const Allocation *allocation = memory().find(address);

    return allocation && allocation->kind != MemoryKind::pinned;
}

bool is_pinned(const void *address)
{
    const Allocation *allocation = memory().find(address);

    return allocation && allocation->kind == MemoryKind::pinned;
}

bool is_known(cudaMemcpyKind kind)
{
    return kind == cudaMemcpyHostToHost || kind == cudaMemcpyHostToDevice ||
           kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice ||
           kind == cudaMemcpyDefault;
}

/* Where source and destination are and how far they reach must fit what was said. */
bool check_copy(const Copy &copy, cudaMemcpyKind kind)
{
    const bool to_device = is_device(copy.to), from_device = is_device(copy.from);

    if (kind != cudaMemcpyDefault) {
        bool wants_to = kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice;
        bool wants_from = kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice;

        if (wants_to != to_device || wants_from != from_device) {
            report(
                "copy kind", "cudaMemcpyKind %d, but %p is %s memory and the source %p %s memory",
                static_cast<int>(kind), static_cast<void *>(copy.to), to_device ? "device" : "host",
                static_cast<const void *>(copy.from), from_device ? "device" : "host");
            return false;
        }
    }
    for (const void *end :
         {static_cast<const void *>(copy.to), static_cast<const void *>(copy.from)}) {
        const Allocation *allocation = memory().find(end);
        size_t bytes = end == copy.to ? copy.to_bytes() : copy.from_bytes();

        if (allocation && !allocation->holds(reinterpret_cast<uint64_t>(end), bytes)) {
            report("copy bounds", "%zu bytes from %p reach beyond its allocation of %zu bytes",
                   bytes, end, allocation->bytes);
            return false;
        }
    }
    return true;
}

void count_copy(bool to_device, bool from_device, size_t bytes)
{
    fakecuda_counts &now = counts();

    if (to_device && from_device) {
        now.copies_on_device++;
        now.bytes_on_device += bytes;
    } else if (to_device) {
        now.copies_to_device++;
        now.bytes_to_device += bytes;
    } else if (from_device) {
        now.copies_to_host++;
        now.bytes_to_host += bytes;
    }
}

void move_rows(const Copy &copy)
{
    for (size_t row = 0; row < copy.height; row++)
        memmove(copy.to + row * copy.to_pitch, copy.from + row * copy.from_pitch, copy.width);
}

/* Ordinary host memory is read before the call returns, as the driver does. */
Work staged(Copy copy)
{
    std::vector<unsigned char> stage(copy.width * copy.height);
    Copy fill = copy;

    fill.to = stage.data();
    fill.to_pitch = copy.width;
    move_rows(fill);
    return [copy, stage = std::move(stage)]() mutable {
        copy.from = stage.data();
        copy.from_pitch = copy.width;
        move_rows(copy);
        return true;
    };
}

cudaError_t copy_rows(const Copy &copy, cudaMemcpyKind kind, cudaStream_t handle, bool wait)
{
    CUstream_st *stream = find_stream(handle);

    if (!stream)
        return cudaErrorInvalidResourceHandle;
    if (!is_known(kind))
        return cudaErrorInvalidMemcpyDirection;
    if (copy.width == 0 || copy.height == 0)
        return cudaSuccess;
    if ((copy.height > 1 && (copy.to_pitch < copy.width || copy.from_pitch < copy.width)))
        return cudaErrorInvalidPitchValue;
    if (!check_copy(copy, kind))
        return cudaErrorInvalidValue;
    const bool to_device = is_device(copy.to), from_device = is_device(copy.from);
    count_copy(to_device, from_device, copy.width * copy.height);
    if (!from_device && !is_pinned(copy.from))
        enqueue(stream, staged(copy));
    else
        enqueue(stream, [copy] {
            move_rows(copy);
            return true;
        });
    /* Nothing tells a caller when ordinary host memory has been written, so the call waits. */
    if (wait || (!to_device && !is_pinned(copy.to)))
        return wait_for(stream);
    return cudaSuccess;
}

Copy plain(void *to, const void *from, size_t bytes)
{
    return Copy{static_cast<unsigned char *>(to),
                bytes,
                static_cast<const unsigned char *>(from),
                bytes,
                bytes,
                1};
}

cudaError_t fill_device(void *to, int value, size_t bytes, cudaStream_t handle)
{
    CUstream_st *stream = find_stream(handle);

    if (!stream)
        return cudaErrorInvalidResourceHandle;
    if (bytes == 0)
        return cudaSuccess;
    if (!check_device_range(to, bytes, "cudaMemset"))
        return cudaErrorInvalidValue;
    counts().memsets++;
    enqueue(stream, [to, value, bytes] {
        memset(to, value, bytes);
        return true;
    });
    return cudaSuccess;
}

} // namespace

DeviceAccess::DeviceAccess()
{
    if (state().access_depth++ == 0 && switches().trap)
        protect_all(PROT_READ | PROT_WRITE);
}

DeviceAccess::~DeviceAccess()
{
    if (--state().access_depth == 0 && switches().trap)
        protect_all(PROT_NONE);
}

bool check_device_range(const void *base, size_t bytes, const char *what)
{
    const Allocation *allocation = memory().find(base);

    if (!allocation || allocation->kind == MemoryKind::pinned) {
        report("device pointer", "%s: %p is no device memory", what, base);
        return false;
    }
    if (!allocation->holds(reinterpret_cast<uint64_t>(base), bytes)) {
        report("device bounds", "%s: %zu bytes from %p reach beyond its allocation of %zu bytes",
               what, bytes, base, allocation->bytes);
        return false;
    }
    return true;
}

} // namespace fakecuda

using namespace fakecuda;

extern "C" {

cudaError_t cudaMalloc(void **out, size_t bytes)
{
    return enter([&] { return allocate_device(out, bytes); });
}

cudaError_t cudaFree(void *base)
{
    return enter([&] { return free_device(base); });
}

cudaError_t cudaHostAlloc(void **out, size_t bytes, unsigned int)
{
    return enter([&] { return allocate_pinned(out, bytes); });
}

cudaError_t cudaMallocHost(void **out, size_t bytes)
{
    return cudaHostAlloc(out, bytes, cudaHostAllocDefault);
}

cudaError_t cudaFreeHost(void *base)
{
    return enter([&] { return free_pinned(base); });
}

cudaError_t cudaMemGetInfo(size_t *free_bytes, size_t *total)
{
    return enter([&] {
        *total = switches().memory;
        *free_bytes = switches().memory - counts().device_bytes;
        return cudaSuccess;
    });
}

cudaError_t cudaMemcpy(void *to, const void *from, size_t bytes, cudaMemcpyKind kind)
{
    return enter([&] { return copy_rows(plain(to, from, bytes), kind, nullptr, true); });
}

cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream)
{
    return enter([&] { return copy_rows(plain(to, from, bytes), kind, stream, false); });
}

cudaError_t cudaMemcpy2DAsync(void *to, size_t to_pitch, const void *from, size_t from_pitch,
                              size_t width, size_t height, cudaMemcpyKind kind, cudaStream_t stream)
{
    return enter([&] {
        Copy copy = {static_cast<unsigned char *>(to),
                     to_pitch,
                     static_cast<const unsigned char *>(from),
                     from_pitch,
                     width,
                     height};

        return copy_rows(copy, kind, stream, false);
    });
}

cudaError_t cudaMemset(void *to, int value, size_t bytes)
{
    return enter([&] { return fill_device(to, value, bytes, nullptr); });
}

cudaError_t cudaMemsetAsync(void *to, int value, size_t bytes, cudaStream_t stream)
{
    return enter([&] { return fill_device(to, value, bytes, stream); });
}

} // extern "C"
