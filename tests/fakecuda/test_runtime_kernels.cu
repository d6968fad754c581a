/* Kernels for test_runtime.c. Compiled three times: as the shipped objects are, with compressed
 * PTX, and without PTX; PREFIX tells the copies apart. */
#include <cuda_runtime.h>

#define JOIN(a, b) a##b
#define NAME(prefix, name) JOIN(prefix, name)

__device__ int NAME(PREFIX, counter);

static __global__ void __launch_bounds__(64) add(int *values, int count, int amount)
{
    int i = (int)(blockIdx.x * blockDim.x + threadIdx.x);

    if (i < count)
        values[i] += amount;
}

static __global__ void __launch_bounds__(32) sum_shared(const int *values, int *out)
{
    extern __shared__ int shared[];

    shared[threadIdx.x] = values[threadIdx.x];
    __syncthreads();
    if (threadIdx.x == 0) {
        int sum = 0;

        for (int i = 0; i < 32; i++)
            sum += shared[i];
        *out = sum;
    }
}

static __global__ void __launch_bounds__(32) count_calls()
{
    if (threadIdx.x == 0)
        NAME(PREFIX, counter) += 1;
}

extern "C" cudaError_t NAME(PREFIX, add)(int *values, int count, int amount, cudaStream_t stream)
{
    add<<<(unsigned)(count + 63) / 64, 64, 0, stream>>>(values, count, amount);
    return cudaGetLastError();
}

extern "C" cudaError_t NAME(PREFIX, sum_shared)(const int *values, int *out, size_t shared_bytes,
                                                bool opt_in, cudaStream_t stream)
{
    cudaLaunchConfig_t config = {};

    if (opt_in) {
        cudaError_t error = cudaFuncSetAttribute(
            sum_shared, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)shared_bytes);
        if (error != cudaSuccess)
            return error;
    }
    config.gridDim = dim3(1);
    config.blockDim = dim3(32);
    config.dynamicSmemBytes = shared_bytes;
    config.stream = stream;
    return cudaLaunchKernelEx(&config, sum_shared, values, out);
}

extern "C" cudaError_t NAME(PREFIX, count_calls)(void **where, cudaStream_t stream)
{
    count_calls<<<1, 32, 0, stream>>>();
    cudaError_t error = cudaGetLastError();

    return error == cudaSuccess ? cudaGetSymbolAddress(where, NAME(PREFIX, counter)) : error;
}

extern "C" cudaError_t NAME(PREFIX, blocks_per_multiprocessor)(int *blocks, size_t shared_bytes)
{
    return cudaOccupancyMaxActiveBlocksPerMultiprocessor(blocks, sum_shared, 32, shared_bytes);
}
