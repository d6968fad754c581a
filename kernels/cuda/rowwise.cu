/*
 * Kernels in which no element depends on another of its row: embedding, guidance mix, what follows
 * a product. Blocks share out rows (x) and pieces of a row (y), a thread has four neighbours.
 */
#include "kernels/cuda/cuda_launch.h"
#include "kernels/cuda/device.cuh"

using namespace device;

namespace
{

constexpr int THREADS = 256;
constexpr int PIECE = 4 * THREADS; /* elements of a block */

/* First element of a thread's four. */
__device__ __forceinline__ int first_element()
{
    return PIECE * static_cast<int>(blockIdx.y) + 4 * static_cast<int>(threadIdx.x);
}

/* ---- embedding -------------------------------------------------------------------------------- */

template <typename T, bool ALIGNED>
__global__ void __launch_bounds__(THREADS) embed(const umi_embed_job job)
{
    const int at = first_element();
    const T *from = static_cast<const T *>(job.table) + job.ids[blockIdx.x] * job.table_stride;
    float *out = job.out + blockIdx.x * job.out_stride;
    float4 v;

    if (at >= job.cols)
        return;
    v = load4<ALIGNED>(from, at, job.cols);
    v = make_float4(job.scale * v.x, job.scale * v.y, job.scale * v.z, job.scale * v.w);
    if (job.position_table) {
        const T *place = static_cast<const T *>(job.position_table) +
                         job.positions[blockIdx.x] * job.position_stride;
        float4 p = load4<ALIGNED>(place, at, job.cols);

        v = make_float4(v.x + p.x, v.y + p.y, v.z + p.z, v.w + p.w);
    }
    store4<ALIGNED>(out, at, job.cols, v);
}

/* ---- guidance --------------------------------------------------------------------------------- */

template <typename T, bool ALIGNED>
__global__ void __launch_bounds__(THREADS) mix(const umi_mix_job job)
{
    const int at = first_element();
    const int unconditional = job.unconditional[blockIdx.x];
    const float *c = job.x + job.conditional[blockIdx.x] * job.x_stride;
    T *out = static_cast<T *>(job.out) + blockIdx.x * job.out_stride;
    float4 v;

    if (at >= job.cols)
        return;
    v = load4<ALIGNED>(c, at, job.cols);
    if (unconditional >= 0) {
        const float scale = job.scales[blockIdx.x] + 1.0f;
        float4 u = load4<ALIGNED>(job.x + unconditional * job.x_stride, at, job.cols);

        v.x = u.x + scale * (v.x - u.x);
        v.y = u.y + scale * (v.y - u.y);
        v.z = u.z + scale * (v.z - u.z);
        v.w = u.w + scale * (v.w - u.w);
    }
    store4<ALIGNED>(out, at, job.cols, v);
}

/* ---- what follows a product -------------------------------------------------------------------- */

__device__ __forceinline__ float activate(umi_finish finish, float x)
{
    switch (finish) {
    case UMI_FINISH_SILU:
        return x / (1.0f + expf(-x));
    case UMI_FINISH_GELU:
        return 0.5f * x * (1.0f + erff(x * 0.70710678f));
    case UMI_FINISH_RELU:
        return x > 0.0f || isnan(x) ? x : 0.0f;
    case UMI_FINISH_GELU_TANH:
        return 0.5f * x * (1.0f + tanhf(0.79788456f * (x + 0.044715f * x * x * x)));
    default:
        return x;
    }
}

/* Products with their bias. */
template <bool ALIGNED>
__device__ __forceinline__ float4 biased4(const float *products, const float *bias, int at, int end)
{
    float4 v = load4<ALIGNED>(products, at, end);

    if (bias) {
        float4 b = load4<ALIGNED>(bias, at, end);

        v = make_float4(v.x + b.x, v.y + b.y, v.z + b.z, v.w + b.w);
    }
    return v;
}

template <typename T, bool ALIGNED>
__global__ void __launch_bounds__(THREADS) finish(const umi_finish_job job)
{
    const int at = first_element();
    const float *products = job.products + blockIdx.x * job.products_stride;
    T *out = static_cast<T *>(job.out) + blockIdx.x * job.out_stride;
    float4 v;

    if (at >= job.cols)
        return;
    v = biased4<ALIGNED>(products, job.bias, at, job.cols);
    v.x = activate(job.finish, v.x);
    v.y = activate(job.finish, v.y);
    v.z = activate(job.finish, v.z);
    v.w = activate(job.finish, v.w);
    if (job.gated) {
        const float *bias = job.bias ? job.bias + job.cols : nullptr;
        float4 up = biased4<ALIGNED>(products + job.cols, bias, at, job.cols);

        v = make_float4(v.x * up.x, v.y * up.y, v.z * up.z, v.w * up.w);
    }
    if (job.accumulate) {
        float4 old = load4<ALIGNED>(out, at, job.cols);

        v = make_float4(old.x + v.x, old.y + v.y, old.z + v.z, old.w + v.w);
    }
    store4<ALIGNED>(out, at, job.cols, v);
}

size_t element_bytes(bool is_bf16)
{
    return is_bf16 ? sizeof(bf16) : sizeof(float);
}

} // namespace

cudaError_t umi_launch_embed(const umi_embed_job *job, cudaStream_t stream)
{
    size_t bytes = element_bytes(job->bf16);
    bool aligned = job->cols % 4 == 0 && rows_in_fours(job->table, job->table_stride, bytes) &&
                   rows_in_fours(job->position_table, job->position_stride, bytes) &&
                   rows_in_fours(job->out, job->out_stride, sizeof(float));
    auto kernel = job->bf16 ? (aligned ? embed<bf16, true> : embed<bf16, false>)
                            : (aligned ? embed<float, true> : embed<float, false>);

    return launch_rows(kernel, job->rows, ceil_div(job->cols, PIECE), THREADS, stream, *job);
}

cudaError_t umi_launch_mix(const umi_mix_job *job, cudaStream_t stream)
{
    bool aligned = job->cols % 4 == 0 && rows_in_fours(job->x, job->x_stride, sizeof(float)) &&
                   rows_in_fours(job->out, job->out_stride, element_bytes(job->bf16));
    auto kernel = job->bf16 ? (aligned ? mix<bf16, true> : mix<bf16, false>)
                            : (aligned ? mix<float, true> : mix<float, false>);

    return launch_rows(kernel, job->rows, ceil_div(job->cols, PIECE), THREADS, stream, *job);
}

cudaError_t umi_launch_finish(const umi_finish_job *job, cudaStream_t stream)
{
    bool aligned = job->cols % 4 == 0 &&
                   rows_in_fours(job->products, job->products_stride, sizeof(float)) &&
                   rows_in_fours(job->bias, 0, sizeof(float)) &&
                   rows_in_fours(job->out, job->out_stride, element_bytes(job->bf16));
    auto kernel = job->bf16 ? (aligned ? finish<bf16, true> : finish<bf16, false>)
                            : (aligned ? finish<float, true> : finish<float, false>);

    return launch_rows(kernel, job->rows, ceil_div(job->cols, PIECE), THREADS, stream, *job);
}
