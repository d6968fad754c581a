/*
 * A streaming read and nothing else: the rate that memory-bound kernels are compared with.
 */
#include "kernels/cuda/cuda_launch.h"
#include "kernels/cuda/device.cuh"

using namespace device;

namespace
{

constexpr int THREADS = 256;
constexpr int IN_FLIGHT = 4; /* loads of a thread before the first is used */

__device__ __forceinline__ float sum4(float4 v)
{
    return v.x + v.y + v.z + v.w;
}

__global__ void __launch_bounds__(THREADS)
    stream_read(const float4 *data, int64_t count, float *sums)
{
    __shared__ float partial[THREADS / WARP];
    const int64_t stride = static_cast<int64_t>(gridDim.x) * THREADS;
    int64_t i = static_cast<int64_t>(blockIdx.x) * THREADS + threadIdx.x;
    float sum = 0;

    for (; i + (IN_FLIGHT - 1) * stride < count; i += IN_FLIGHT * stride) {
        float4 v[IN_FLIGHT];

#pragma unroll
        for (int j = 0; j < IN_FLIGHT; j++)
            v[j] = data[i + j * stride];
#pragma unroll
        for (int j = 0; j < IN_FLIGHT; j++)
            sum += sum4(v[j]);
    }
    for (; i < count; i += stride)
        sum += sum4(data[i]);
    sum = block_sum<THREADS>(sum, partial);
    if (threadIdx.x == 0)
        sums[blockIdx.x] = sum;
}

} // namespace

cudaError_t umi_launch_read(const float *data, int64_t count, float *sums, int32_t blocks,
                            cudaStream_t stream)
{
    return launch_rows(stream_read, blocks, 1, THREADS, stream,
                       reinterpret_cast<const float4 *>(data), count / 4, sums);
}
