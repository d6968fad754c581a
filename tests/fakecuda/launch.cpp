/*
 * What nvcc's host stubs call: registering an object's device code and launching its kernels.
 *
 * Objects register before main, and before the constructors of this library: registering only
 * writes things down. PTX is parsed at the first launch from its object.
 */
#include "tests/fakecuda/runtime.h"

#include <algorithm>
#include <map>
#include <memory>
#include <vector>

#include "tests/fakecuda/fatbin.h"
#include "tests/fakecuda/ptx.h"

namespace fakecuda
{

namespace
{

constexpr int MAX_THREADS_PER_MULTIPROCESSOR = 2048;
constexpr int MAX_BLOCKS_PER_MULTIPROCESSOR = 32;
constexpr size_t SHARED_PER_MULTIPROCESSOR = 228 * 1024;
constexpr size_t SHARED_RESERVED_PER_BLOCK = 1024;

struct Binary { /* the device code of one object */
    const void *wrapper;
    Module *module = nullptr;
    bool tried = false;
};

struct Function {
    Binary *binary;
    std::string name;
    const Kernel *kernel = nullptr;
    size_t dynamic_shared_max = SHARED_DEFAULT;
};

struct Symbol {
    Binary *binary;
    std::string name;
};

struct Configuration {
    dim3 grid, block;
    size_t shared_bytes;
    cudaStream_t stream;
};

struct State {
    std::vector<std::unique_ptr<Binary>> binaries;
    std::map<const void *, Function> functions; /* by the address of the host stub */
    std::map<const void *, Symbol> symbols;     /* by the address of the host's shadow variable */
};

State &state()
{
    static State *const state = new State; /* lives on: objects unregister in exit handlers */
    return *state;
}

thread_local std::vector<Configuration> *configurations; /* between <<<>>> and its stub */

const Module *load(Binary *binary)
{
    std::string fault;

    if (binary->tried)
        return binary->module;
    binary->tried = true;
    const std::string_view text = find_ptx(binary->wrapper, &fault);
    if (text.empty())
        report("device code", "%s", fault.c_str());
    else
        binary->module = load_module(text.data(), text.size());
    return binary->module;
}

/* Entry points are given as the stub's address or as what __cudaGetKernel made of it. */
Function *find_function(const void *entry)
{
    auto found = state().functions.find(entry);

    if (found != state().functions.end())
        return &found->second;
    for (auto &row : state().functions)
        if (&row.second == entry)
            return &row.second;
    report("unknown kernel", "%p is the stub of no registered kernel", entry);
    return nullptr;
}

const Kernel *find_code(Function *function)
{
    if (!function->kernel) {
        const Module *module = load(function->binary);

        if (!module)
            return nullptr;
        function->kernel = find_kernel(module, function->name.c_str());
        if (!function->kernel)
            report("unknown kernel", "the object's PTX has no kernel %s", function->name.c_str());
    }
    return function->kernel;
}

Dim to_dim(dim3 dim)
{
    Dim out;

    out.x = dim.x;
    out.y = dim.y;
    out.z = dim.z;
    return out;
}

cudaError_t launch_entry(const void *entry, dim3 grid, dim3 block, void **args, size_t shared_bytes,
                         cudaStream_t stream_handle)
{
    Function *function = find_function(entry);
    CUstream_st *stream = find_stream(stream_handle);

    if (!function)
        return cudaErrorInvalidDeviceFunction;
    if (!stream)
        return cudaErrorInvalidResourceHandle;
    const Kernel *kernel = find_code(function);
    if (!kernel)
        return cudaErrorInvalidDeviceFunction;
    if (launch_fails())
        return cudaErrorLaunchOutOfResources;
    if (shared_bytes > function->dynamic_shared_max) {
        report("launch limits", "%s: %zu bytes of dynamic shared memory, %zu allowed",
               kernel->display_name.c_str(), shared_bytes, function->dynamic_shared_max);
        return cudaErrorInvalidValue;
    }
    counts().launches++;
    Launch launch;
    launch.kernel = kernel;
    launch.grid = to_dim(grid);
    launch.block = to_dim(block);
    launch.dynamic_shared_bytes = shared_bytes;
    enqueue(stream, [launch, params = pack_arguments(*kernel, args)] {
        return launch_packed(launch, params);
    });
    return cudaSuccess;
}

const Variable *find_symbol(const void *shadow)
{
    auto found = state().symbols.find(shadow);

    if (found != state().symbols.end()) {
        const Module *module = load(found->second.binary);
        const Variable *variable =
            module ? find_variable(module, found->second.name.c_str()) : nullptr;

        if (variable)
            return variable;
    }
    report("unknown symbol", "%p is no __device__ or __constant__ variable", shadow);
    return nullptr;
}

} // namespace

} // namespace fakecuda

using namespace fakecuda;

extern "C" {

/* The prototypes are in none of the toolkit's headers that a host compiler may include. */
void **__cudaRegisterFatBinary(void *wrapper);
void __cudaRegisterFatBinaryEnd(void **handle);
void __cudaUnregisterFatBinary(void **handle);
char __cudaInitModule(void **handle);
void __cudaRegisterFunction(void **handle, const char *stub, char *device_stub, const char *name,
                            int thread_limit, void *, void *, void *, void *, int *);
void __cudaRegisterVar(void **handle, char *shadow, char *device_address, const char *name, int,
                       size_t, int, int);
unsigned __cudaPushCallConfiguration(dim3 grid, dim3 block, size_t shared_bytes,
                                     CUstream_st *stream);
cudaError_t __cudaPopCallConfiguration(dim3 *grid, dim3 *block, size_t *shared_bytes, void *stream);
cudaError_t __cudaGetKernel(cudaKernel_t *out, const void *entry);
cudaError_t __cudaLaunchKernel(cudaKernel_t kernel, dim3 grid, dim3 block, void **args,
                               size_t shared_bytes, cudaStream_t stream);

void **__cudaRegisterFatBinary(void *wrapper)
{
    std::lock_guard<std::recursive_mutex> guard(runtime_lock());

    state().binaries.push_back(std::make_unique<Binary>());
    state().binaries.back()->wrapper = wrapper;
    return reinterpret_cast<void **>(state().binaries.back().get());
}

void __cudaRegisterFatBinaryEnd(void **)
{
}

char __cudaInitModule(void **)
{
    return 1;
}

void __cudaUnregisterFatBinary(void **handle)
{
    std::lock_guard<std::recursive_mutex> guard(runtime_lock());
    Binary *binary = reinterpret_cast<Binary *>(handle);
    State &all = state();

    for (auto at = all.functions.begin(); at != all.functions.end();)
        at = at->second.binary == binary ? all.functions.erase(at) : std::next(at);
    for (auto at = all.symbols.begin(); at != all.symbols.end();)
        at = at->second.binary == binary ? all.symbols.erase(at) : std::next(at);
    if (binary->module)
        unload_module(binary->module);
    all.binaries.erase(std::find_if(all.binaries.begin(), all.binaries.end(),
                                    [binary](const auto &entry) { return entry.get() == binary; }));
}

void __cudaRegisterFunction(void **handle, const char *stub, char *, const char *name, int, void *,
                            void *, void *, void *, int *)
{
    std::lock_guard<std::recursive_mutex> guard(runtime_lock());
    Function function;

    function.binary = reinterpret_cast<Binary *>(handle);
    function.name = name;
    state().functions[stub] = function;
}

void __cudaRegisterVar(void **handle, char *shadow, char *, const char *name, int, size_t, int, int)
{
    std::lock_guard<std::recursive_mutex> guard(runtime_lock());

    state().symbols[shadow] = Symbol{reinterpret_cast<Binary *>(handle), name};
}

unsigned __cudaPushCallConfiguration(dim3 grid, dim3 block, size_t shared_bytes,
                                     CUstream_st *stream)
{
    if (!configurations)
        configurations = new std::vector<Configuration>;
    configurations->push_back({grid, block, shared_bytes, stream});
    return 0;
}

cudaError_t __cudaPopCallConfiguration(dim3 *grid, dim3 *block, size_t *shared_bytes, void *stream)
{
    if (!configurations || configurations->empty())
        return remember(cudaErrorMissingConfiguration);
    const Configuration top = configurations->back();
    configurations->pop_back();
    *grid = top.grid;
    *block = top.block;
    *shared_bytes = top.shared_bytes;
    *static_cast<cudaStream_t *>(stream) = top.stream;
    return cudaSuccess;
}

cudaError_t __cudaGetKernel(cudaKernel_t *out, const void *entry)
{
    std::lock_guard<std::recursive_mutex> guard(runtime_lock());
    Function *function = find_function(entry);

    *out = reinterpret_cast<cudaKernel_t>(function);
    return function ? cudaSuccess : cudaErrorInvalidDeviceFunction;
}

cudaError_t __cudaLaunchKernel(cudaKernel_t kernel, dim3 grid, dim3 block, void **args,
                               size_t shared_bytes, cudaStream_t stream)
{
    return enter([&] { return launch_entry(kernel, grid, block, args, shared_bytes, stream); });
}

cudaError_t cudaLaunchKernel(const void *entry, dim3 grid, dim3 block, void **args,
                             size_t shared_bytes, cudaStream_t stream)
{
    return enter([&] { return launch_entry(entry, grid, block, args, shared_bytes, stream); });
}

cudaError_t cudaLaunchKernelExC(const cudaLaunchConfig_t *config, const void *entry, void **args)
{
    return enter([&] {
        if (config->numAttrs > 0) {
            report("not emulated", "launch attribute %d", static_cast<int>(config->attrs[0].id));
            return cudaErrorNotSupported;
        }
        return launch_entry(entry, config->gridDim, config->blockDim, args,
                            config->dynamicSmemBytes, config->stream);
    });
}

cudaError_t cudaFuncSetAttribute(const void *entry, cudaFuncAttribute attribute, int value)
{
    return enter([&] {
        Function *function = find_function(entry);
        const Kernel *kernel = function ? find_code(function) : nullptr;

        if (!kernel)
            return cudaErrorInvalidDeviceFunction;
        if (attribute == cudaFuncAttributePreferredSharedMemoryCarveout)
            return cudaSuccess;
        if (attribute != cudaFuncAttributeMaxDynamicSharedMemorySize || value < 0 ||
            static_cast<size_t>(value) > SHARED_LIMIT - kernel->static_shared_bytes)
            return cudaErrorInvalidValue;
        function->dynamic_shared_max = static_cast<size_t>(value);
        return cudaSuccess;
    });
}

cudaError_t cudaFuncGetAttributes(cudaFuncAttributes *out, const void *entry)
{
    return enter([&] {
        Function *function = find_function(entry);
        const Kernel *kernel = function ? find_code(function) : nullptr;

        if (!kernel)
            return cudaErrorInvalidDeviceFunction;
        *out = {};
        out->sharedSizeBytes = kernel->static_shared_bytes;
        out->localSizeBytes = kernel->local_bytes;
        out->maxThreadsPerBlock = static_cast<int>(kernel->max_threads);
        out->maxDynamicSharedSizeBytes = static_cast<int>(function->dynamic_shared_max);
        out->ptxVersion = out->binaryVersion = DEVICE_ARCH;
        return cudaSuccess;
    });
}

/* Registers are not counted: how many a kernel gets is known to ptxas alone. */
cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int *blocks, const void *entry,
                                                                   int block_threads,
                                                                   size_t shared_bytes,
                                                                   unsigned int)
{
    return enter([&] {
        Function *function = find_function(entry);
        const Kernel *kernel = function ? find_code(function) : nullptr;

        if (!kernel)
            return cudaErrorInvalidDeviceFunction;
        if (block_threads < 1 || static_cast<uint32_t>(block_threads) > kernel->max_threads)
            return cudaErrorInvalidValue;
        const size_t shared =
            kernel->static_shared_bytes + shared_bytes + SHARED_RESERVED_PER_BLOCK;
        *blocks = std::min({MAX_THREADS_PER_MULTIPROCESSOR / block_threads,
                            static_cast<int>(SHARED_PER_MULTIPROCESSOR / shared),
                            MAX_BLOCKS_PER_MULTIPROCESSOR});
        return cudaSuccess;
    });
}

cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int *blocks, const void *entry,
                                                          int block_threads, size_t shared_bytes)
{
    return cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(
        blocks, entry, block_threads, shared_bytes, cudaOccupancyDefault);
}

cudaError_t cudaGetSymbolAddress(void **out, const void *shadow)
{
    return enter([&] {
        const Variable *variable = find_symbol(shadow);

        *out = variable ? variable->address : nullptr;
        return variable ? cudaSuccess : cudaErrorInvalidSymbol;
    });
}

} // extern "C"
