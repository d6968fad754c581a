/*
 * Small device functions that the kernels share: bf16, groups of four neighbouring elements,
 * reductions over a block in one fixed order; and the launch that reports its own error.
 */
#ifndef UM_KERNELS_CUDA_DEVICE_CUH
#define UM_KERNELS_CUDA_DEVICE_CUH

#include <cuda_runtime.h>

#include "kernels/cuda/ptx.cuh"

namespace device
{

constexpr int WARP = 32;
constexpr unsigned FULL_MASK = 0xffffffffu;

/* ---- bf16 ---------------------------------------------------------------------------------- */

struct bf16 {
    uint16_t bits;
};

__device__ __forceinline__ float widen(float value)
{
    return value;
}
__device__ __forceinline__ float widen(bf16 value)
{
    return __uint_as_float(uint32_t{value.bits} << 16);
}

template <typename T> __device__ __forceinline__ T narrow(float value);
template <> __device__ __forceinline__ float narrow<float>(float value)
{
    return value;
}
template <> __device__ __forceinline__ bf16 narrow<bf16>(float value)
{
    return bf16{static_cast<uint16_t>(ptx::pack_bf16(value, 0.0f))};
}

/* Rounds to T and back: a rounding point of kernels/ops.h. */
template <typename T> __device__ __forceinline__ float round_to(float value)
{
    return widen(narrow<T>(value));
}

/* ---- groups of four neighbours -------------------------------------------------------------- */

/* A group is one access where the row is aligned for it (128 bits of f32, 64 of bf16); else up to
 * four, of which those at or behind `end` read 0 and are not written. */
template <bool ALIGNED> __device__ __forceinline__ float4 load4(const float *row, int at, int end)
{
    if (ALIGNED)
        return *reinterpret_cast<const float4 *>(row + at);
    return make_float4(row[at], at + 1 < end ? row[at + 1] : 0.0f,
                       at + 2 < end ? row[at + 2] : 0.0f, at + 3 < end ? row[at + 3] : 0.0f);
}

template <bool ALIGNED> __device__ __forceinline__ float4 load4(const bf16 *row, int at, int end)
{
    if (ALIGNED) {
        uint2 two = *reinterpret_cast<const uint2 *>(row + at);

        return make_float4(__uint_as_float(two.x << 16), __uint_as_float(two.x & 0xffff0000u),
                           __uint_as_float(two.y << 16), __uint_as_float(two.y & 0xffff0000u));
    }
    return make_float4(widen(row[at]), at + 1 < end ? widen(row[at + 1]) : 0.0f,
                       at + 2 < end ? widen(row[at + 2]) : 0.0f,
                       at + 3 < end ? widen(row[at + 3]) : 0.0f);
}

template <typename T>
__device__ __forceinline__ void store_single(T *row, int at, int end, float4 value)
{
    row[at] = narrow<T>(value.x);
    if (at + 1 < end)
        row[at + 1] = narrow<T>(value.y);
    if (at + 2 < end)
        row[at + 2] = narrow<T>(value.z);
    if (at + 3 < end)
        row[at + 3] = narrow<T>(value.w);
}

template <bool ALIGNED>
__device__ __forceinline__ void store4(float *row, int at, int end, float4 value)
{
    if (ALIGNED)
        *reinterpret_cast<float4 *>(row + at) = value;
    else
        store_single(row, at, end, value);
}

template <bool ALIGNED>
__device__ __forceinline__ void store4(bf16 *row, int at, int end, float4 value)
{
    if (ALIGNED)
        *reinterpret_cast<uint2 *>(row + at) =
            make_uint2(ptx::pack_bf16(value.x, value.y), ptx::pack_bf16(value.z, value.w));
    else
        store_single(row, at, end, value);
}

/* ---- reductions ------------------------------------------------------------------------------ */

__device__ __forceinline__ float warp_sum(float value)
{
    for (int step = WARP / 2; step > 0; step /= 2)
        value += __shfl_xor_sync(FULL_MASK, value, step);
    return value;
}

/* The sum over a block of THREADS, in every thread. The order depends on THREADS alone. Called by
 * all threads; `partial` may be reused after the next barrier. */
template <int THREADS> __device__ __forceinline__ float block_sum(float value, float *partial)
{
    constexpr int WARPS = THREADS / WARP;
    float sum = 0;

    value = warp_sum(value);
    if (threadIdx.x % WARP == 0)
        partial[threadIdx.x / WARP] = value;
    __syncthreads();
    for (int i = 0; i < WARPS; i++)
        sum += partial[i];
    return sum;
}

} // namespace device

/* ---- launching ------------------------------------------------------------------------------- */

/* <<<>>> with the error as the result; arguments are converted to the kernel's types. */
template <typename... Parameters, typename... Arguments>
static cudaError_t launch_kernel(void (*kernel)(Parameters...), dim3 grid, dim3 block,
                                 size_t shared_bytes, cudaStream_t stream, Arguments... arguments)
{
    cudaLaunchConfig_t config = {};

    config.gridDim = grid;
    config.blockDim = block;
    config.dynamicSmemBytes = shared_bytes;
    config.stream = stream;
    return cudaLaunchKernelEx(&config, kernel, static_cast<Parameters>(arguments)...);
}

/* Can every row of a matrix be taken four elements at a time? A missing matrix can. */
static inline bool rows_in_fours(const void *data, int64_t stride, size_t element_bytes)
{
    return reinterpret_cast<uintptr_t>(data) % (4 * element_bytes) == 0 && stride % 4 == 0;
}

static inline int ceil_div(int value, int by)
{
    return (value + by - 1) / by;
}

/* A grid of rows (x) and pieces of a row (y); nothing for no rows. */
template <typename... Parameters, typename... Arguments>
static cudaError_t launch_rows(void (*kernel)(Parameters...), int64_t rows, int pieces, int threads,
                               cudaStream_t stream, Arguments... arguments)
{
    if (rows == 0)
        return cudaSuccess;
    return launch_kernel(kernel, dim3(static_cast<unsigned>(rows), static_cast<unsigned>(pieces)),
                         dim3(static_cast<unsigned>(threads)), 0, stream, arguments...);
}

#endif
