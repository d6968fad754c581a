/*
 * RMSNorm and LayerNorm: one block per row. A thread's share of a row and the order in which the
 * shares are added depend on the row's length alone, not on its alignment. In place is allowed:
 * every element is read again and written by the one thread that summed it.
 */
#include "kernels/cuda/cuda_launch.h"
#include "kernels/cuda/device.cuh"

using namespace device;

namespace
{

constexpr int THREADS = 256;
constexpr int STRIDE = 4 * THREADS; /* elements that a block takes at once */

__device__ __forceinline__ float sum_squares(float4 v)
{
    return v.x * v.x + v.y * v.y + v.z * v.z + v.w * v.w;
}

template <typename T, bool ALIGNED>
__global__ void __launch_bounds__(THREADS) rmsnorm(const umi_norm_job job)
{
    __shared__ float partial[THREADS / WARP];
    const float *x = job.x + blockIdx.x * job.x_stride;
    T *out = static_cast<T *>(job.out) + blockIdx.x * job.out_stride;
    float squares = 0, scale;

    for (int i = 4 * static_cast<int>(threadIdx.x); i < job.cols; i += STRIDE)
        squares += sum_squares(load4<ALIGNED>(x, i, job.cols));
    squares = block_sum<THREADS>(squares, partial);
    scale = 1.0f / sqrtf(squares / static_cast<float>(job.cols) + job.eps);
    for (int i = 4 * static_cast<int>(threadIdx.x); i < job.cols; i += STRIDE) {
        float4 v = load4<ALIGNED>(x, i, job.cols);
        float4 gain = load4<ALIGNED>(job.gain, i, job.cols);

        v.x = gain.x * round_to<T>(v.x * scale);
        v.y = gain.y * round_to<T>(v.y * scale);
        v.z = gain.z * round_to<T>(v.z * scale);
        v.w = gain.w * round_to<T>(v.w * scale);
        store4<ALIGNED>(out, i, job.cols, v);
    }
}

/* Differences from the mean; 0 behind the end of the row. */
template <bool ALIGNED>
__device__ __forceinline__ float4 centred4(const float *x, int at, int end, float mean)
{
    float4 v = load4<ALIGNED>(x, at, end);

    v.x -= mean;
    v.y = at + 1 < end ? v.y - mean : 0.0f;
    v.z = at + 2 < end ? v.z - mean : 0.0f;
    v.w = at + 3 < end ? v.w - mean : 0.0f;
    return v;
}

template <typename T, bool ALIGNED>
__global__ void __launch_bounds__(THREADS) layernorm(const umi_norm_job job)
{
    __shared__ float partial[2][THREADS / WARP];
    const float *x = job.x + blockIdx.x * job.x_stride;
    T *out = static_cast<T *>(job.out) + blockIdx.x * job.out_stride;
    float mean = 0, squares = 0, scale;

    for (int i = 4 * static_cast<int>(threadIdx.x); i < job.cols; i += STRIDE) {
        float4 v = load4<ALIGNED>(x, i, job.cols);

        mean += v.x + v.y + v.z + v.w;
    }
    mean = block_sum<THREADS>(mean, partial[0]) / static_cast<float>(job.cols);
    for (int i = 4 * static_cast<int>(threadIdx.x); i < job.cols; i += STRIDE)
        squares += sum_squares(centred4<ALIGNED>(x, i, job.cols, mean));
    squares = block_sum<THREADS>(squares, partial[1]);
    scale = 1.0f / sqrtf(squares / static_cast<float>(job.cols) + job.eps);
    for (int i = 4 * static_cast<int>(threadIdx.x); i < job.cols; i += STRIDE) {
        float4 v = centred4<ALIGNED>(x, i, job.cols, mean);
        float4 gain = load4<ALIGNED>(job.gain, i, job.cols);
        float4 bias = make_float4(0.0f, 0.0f, 0.0f, 0.0f);

        if (job.bias)
            bias = load4<ALIGNED>(job.bias, i, job.cols);
        v.x = v.x * scale * gain.x + bias.x;
        v.y = v.y * scale * gain.y + bias.y;
        v.z = v.z * scale * gain.z + bias.z;
        v.w = v.w * scale * gain.w + bias.w;
        store4<ALIGNED>(out, i, job.cols, v);
    }
}

bool is_aligned(const umi_norm_job *job)
{
    return job->cols % 4 == 0 && rows_in_fours(job->x, job->x_stride, sizeof(float)) &&
           rows_in_fours(job->gain, 0, sizeof(float)) &&
           rows_in_fours(job->bias, 0, sizeof(float)) &&
           rows_in_fours(job->out, job->out_stride, job->bf16 ? sizeof(bf16) : sizeof(float));
}

} // namespace

cudaError_t umi_launch_rmsnorm(const umi_norm_job *job, cudaStream_t stream)
{
    bool aligned = is_aligned(job);
    auto kernel = job->bf16 ? (aligned ? rmsnorm<bf16, true> : rmsnorm<bf16, false>)
                            : (aligned ? rmsnorm<float, true> : rmsnorm<float, false>);

    return launch_rows(kernel, job->rows, 1, THREADS, stream, *job);
}

cudaError_t umi_launch_layernorm(const umi_norm_job *job, cudaStream_t stream)
{
    bool aligned = is_aligned(job);
    auto kernel = job->bf16 ? (aligned ? layernorm<bf16, true> : layernorm<bf16, false>)
                            : (aligned ? layernorm<float, true> : layernorm<float, false>);

    return launch_rows(kernel, job->rows, 1, THREADS, stream, *job);
}
