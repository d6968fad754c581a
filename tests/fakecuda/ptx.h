/*
 * The PTX interpreter: loads the text that nvcc puts into an object, runs its kernels on host
 * memory one block and one warp at a time, and checks every access. What runs and what is checked:
 * README.md. Not thread-safe: the runtime holds its lock around every call.
 */
#ifndef FAKECUDA_PTX_H
#define FAKECUDA_PTX_H

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "tests/fakecuda/memory.h"
#include "tests/fakecuda/report.h"

namespace fakecuda
{

struct Dim {
    uint32_t x = 1, y = 1, z = 1;

    uint64_t count() const
    {
        return uint64_t{x} * y * z;
    }
};

struct Param {
    size_t offset = 0; /* in the kernel's parameter space */
    size_t bytes = 0;
};

struct Program; /* decoded instructions, private to the interpreter */

struct Kernel {
    std::string name;         /* as registered (mangled) */
    std::string display_name; /* demangled, without the argument list */
    std::vector<Param> params;
    size_t param_bytes = 0;
    size_t static_shared_bytes = 0;
    size_t local_bytes = 0;      /* a thread's local memory */
    uint32_t max_threads = 1024; /* product of .maxntid */
    const Program *program = nullptr;
};

/* A __device__ or __constant__ variable; its memory belongs to the module. */
struct Variable {
    std::string name;
    void *address = nullptr;
    size_t bytes = 0;
    MemoryKind kind = MemoryKind::device;
};

class Module; /* kernels and variables of one PTX text */

/* `text` need not live on. nullptr after a reported fault, e.g. an unknown instruction. Variables
 * hold their initialisers and are in the allocation table. */
Module *load_module(const char *text, size_t bytes);
void unload_module(Module *module);
/* nullptr: no such name; the caller reports it. */
const Kernel *find_kernel(const Module *module, const char *name);
const Variable *find_variable(const Module *module, const char *name);

struct Launch {
    const Kernel *kernel = nullptr;
    Dim grid, block;
    size_t dynamic_shared_bytes = 0;
    void *const *args = nullptr; /* one pointer per parameter, as cudaLaunchKernel takes them */
};

/* Launch limits that cudaFuncSetAttribute sets are the runtime's business; static + dynamic shared
 * memory above SHARED_LIMIT, more threads than max_threads and a zero dimension are refused here as
 * "launch limits". Runs to the end before it returns. False after a reported fault. */
bool launch(const Launch &launch);

/* Copies the arguments of a launch now, to run it later (streams, graphs): the result is a
 * parameter block for launch_packed. */
std::vector<unsigned char> pack_arguments(const Kernel &kernel, void *const *args);
bool launch_packed(const Launch &launch, const std::vector<unsigned char> &params);

constexpr size_t SHARED_LIMIT = 227 * 1024;
constexpr size_t SHARED_DEFAULT = 48 * 1024; /* without cudaFuncSetAttribute */

struct Settings {
    bool reverse = false; /* blocks and warps from the last to the first */
    /* A launch that runs more warp instructions is reported as "instruction budget". */
    uint64_t instruction_budget = 20ull * 1000 * 1000 * 1000;
};
Settings &settings();

/* Exact and repeatable; per kernel, summed over its launches. */
struct KernelStats {
    uint64_t launches = 0;
    uint64_t blocks = 0;
    uint64_t warp_instructions = 0;
    uint64_t mma = 0;
    uint64_t barriers = 0;       /* warps arriving at bar.sync */
    uint64_t shared_waves = 0;   /* shared memory passes, bank conflicts included */
    uint64_t shared_ideal = 0;   /* the same without conflicts */
    uint64_t global_sectors = 0; /* 32-byte sectors touched by warp accesses */
    uint64_t global_ideal = 0;   /* fewest sectors that hold as many distinct bytes */
    uint64_t bytes_read = 0;     /* global memory, lane bytes */
    uint64_t bytes_written = 0;
    uint64_t atomics = 0; /* lane operations on global memory */
};
const std::map<std::string, KernelStats> &statistics(); /* by display name */
void reset_statistics();

} // namespace fakecuda

#endif
