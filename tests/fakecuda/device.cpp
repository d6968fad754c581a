/* What the fake device says of itself: a small relative of an H100. And the names of errors. */
#include "tests/fakecuda/runtime.h"

#include <cstring>

#include "tests/fakecuda/fatbin.h"
#include "tests/fakecuda/ptx.h"

using namespace fakecuda;

namespace
{

struct ErrorText {
    cudaError_t error;
    const char *name;
    const char *text; /* the toolkit's own words */
};
const ErrorText error_texts[] = {
    {cudaSuccess, "cudaSuccess", "no error"},
    {cudaErrorInvalidValue, "cudaErrorInvalidValue", "invalid argument"},
    {cudaErrorMemoryAllocation, "cudaErrorMemoryAllocation", "out of memory"},
    {cudaErrorInvalidConfiguration, "cudaErrorInvalidConfiguration",
     "invalid configuration argument"},
    {cudaErrorInvalidPitchValue, "cudaErrorInvalidPitchValue", "invalid pitch argument"},
    {cudaErrorInvalidSymbol, "cudaErrorInvalidSymbol", "invalid device symbol"},
    {cudaErrorInvalidMemcpyDirection, "cudaErrorInvalidMemcpyDirection",
     "invalid copy direction for memcpy"},
    {cudaErrorInsufficientDriver, "cudaErrorInsufficientDriver",
     "CUDA driver version is insufficient for CUDA runtime version"},
    {cudaErrorMissingConfiguration, "cudaErrorMissingConfiguration",
     "__global__ function call is not configured"},
    {cudaErrorInvalidDeviceFunction, "cudaErrorInvalidDeviceFunction", "invalid device function"},
    {cudaErrorInvalidDevice, "cudaErrorInvalidDevice", "invalid device ordinal"},
    {cudaErrorInvalidResourceHandle, "cudaErrorInvalidResourceHandle", "invalid resource handle"},
    {cudaErrorNotReady, "cudaErrorNotReady", "device not ready"},
    {cudaErrorLaunchOutOfResources, "cudaErrorLaunchOutOfResources",
     "too many resources requested for launch"},
    {cudaErrorLaunchFailure, "cudaErrorLaunchFailure", "unspecified launch failure"},
    {cudaErrorNotSupported, "cudaErrorNotSupported", "operation not supported"},
};

const ErrorText *find_text(cudaError_t error)
{
    for (const ErrorText &row : error_texts)
        if (row.error == error)
            return &row;
    return nullptr;
}

void describe(cudaDeviceProp *out)
{
    memset(out, 0, sizeof *out);
    strncpy(out->name, "fake CUDA device (PTX interpreter)", sizeof out->name - 1);
    out->totalGlobalMem = switches().memory;
    out->sharedMemPerBlock = SHARED_DEFAULT;
    out->sharedMemPerBlockOptin = SHARED_LIMIT;
    out->sharedMemPerMultiprocessor = 228 * 1024;
    out->reservedSharedMemPerBlock = 1024;
    out->regsPerBlock = out->regsPerMultiprocessor = 65536;
    out->warpSize = 32;
    out->maxThreadsPerBlock = 1024;
    out->maxThreadsPerMultiProcessor = 2048;
    out->maxBlocksPerMultiProcessor = 32;
    out->maxThreadsDim[0] = out->maxThreadsDim[1] = 1024;
    out->maxThreadsDim[2] = 64;
    out->maxGridSize[0] = 2147483647;
    out->maxGridSize[1] = out->maxGridSize[2] = 65535;
    out->totalConstMem = 65536;
    out->major = DEVICE_ARCH / 10;
    out->minor = DEVICE_ARCH % 10;
    out->multiProcessorCount = static_cast<int>(switches().multiprocessors);
    out->l2CacheSize = 50 << 20;
    out->memoryBusWidth = 5120;
    out->unifiedAddressing = 1;
    out->concurrentKernels = 1;
    out->asyncEngineCount = 3;
}

struct Attribute {
    cudaDeviceAttr which;
    int cudaDeviceProp::*field;
};
const Attribute attributes[] = {
    {cudaDevAttrMultiProcessorCount, &cudaDeviceProp::multiProcessorCount},
    {cudaDevAttrComputeCapabilityMajor, &cudaDeviceProp::major},
    {cudaDevAttrComputeCapabilityMinor, &cudaDeviceProp::minor},
    {cudaDevAttrMaxThreadsPerBlock, &cudaDeviceProp::maxThreadsPerBlock},
    {cudaDevAttrMaxThreadsPerMultiProcessor, &cudaDeviceProp::maxThreadsPerMultiProcessor},
    {cudaDevAttrWarpSize, &cudaDeviceProp::warpSize},
    {cudaDevAttrL2CacheSize, &cudaDeviceProp::l2CacheSize},
    {cudaDevAttrGlobalMemoryBusWidth, &cudaDeviceProp::memoryBusWidth},
    {cudaDevAttrMaxRegistersPerMultiprocessor, &cudaDeviceProp::regsPerMultiprocessor},
};

cudaError_t read_attribute(int *value, cudaDeviceAttr which)
{
    cudaDeviceProp all;

    describe(&all);
    if (which == cudaDevAttrMaxSharedMemoryPerBlockOptin) {
        *value = static_cast<int>(all.sharedMemPerBlockOptin);
        return cudaSuccess;
    }
    if (which == cudaDevAttrMaxSharedMemoryPerMultiprocessor) {
        *value = static_cast<int>(all.sharedMemPerMultiprocessor);
        return cudaSuccess;
    }
    for (const Attribute &row : attributes)
        if (row.which == which) {
            *value = all.*row.field;
            return cudaSuccess;
        }
    report("not emulated", "device attribute %d", static_cast<int>(which));
    return cudaErrorInvalidValue;
}

cudaError_t only_device(int device)
{
    return device == 0 ? cudaSuccess : cudaErrorInvalidDevice;
}

} // namespace

extern "C" {

cudaError_t cudaGetDeviceCount(int *count)
{
    *count = 0;
    return enter([&] {
        *count = 1;
        return cudaSuccess;
    });
}

cudaError_t cudaGetDevice(int *device)
{
    return enter([&] {
        *device = 0;
        return cudaSuccess;
    });
}

cudaError_t cudaSetDevice(int device)
{
    return enter([&] { return only_device(device); });
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp *out, int device)
{
    return enter([&] {
        describe(out);
        return only_device(device);
    });
}

cudaError_t cudaDeviceGetAttribute(int *value, cudaDeviceAttr which, int device)
{
    return enter([&] { return device == 0 ? read_attribute(value, which) : only_device(device); });
}

/* Also without a device: the driver's version is then 0. */
cudaError_t cudaDriverGetVersion(int *version)
{
    *version = switches().no_device ? 0 : CUDART_VERSION;
    return cudaSuccess;
}

cudaError_t cudaRuntimeGetVersion(int *version)
{
    *version = CUDART_VERSION;
    return cudaSuccess;
}

const char *cudaGetErrorName(cudaError_t error)
{
    const ErrorText *row = find_text(error);

    return row ? row->name : "unrecognized error code";
}

const char *cudaGetErrorString(cudaError_t error)
{
    const ErrorText *row = find_text(error);

    return row ? row->text : "unrecognized error code";
}

} // extern "C"
