/*
 * Rotary embedding fused with the split of q | k | v and the write of K and V: one block per row.
 * Elements j and j + head_dim/2 of a head turn together; a thread has four such pairs.
 */
#include "kernels/cuda/cuda_launch.h"
#include "kernels/cuda/device.cuh"

using namespace device;

namespace
{

constexpr int THREADS = 256;

/* Rounds `count` elements into their place. */
template <typename T, bool ALIGNED>
__device__ __forceinline__ void copy_row(const float *from, T *to, int count)
{
    for (int i = 4 * static_cast<int>(threadIdx.x); i < count; i += 4 * THREADS)
        store4<ALIGNED>(to, i, count, load4<ALIGNED>(from, i, count));
}

template <typename T, bool ALIGNED>
__device__ __forceinline__ void rotate_heads(const float *from, const float *cos_sin, T *to,
                                             int heads, int head_dim)
{
    const int half = head_dim / 2, groups = (half + 3) / 4;

    for (int i = static_cast<int>(threadIdx.x); i < heads * groups; i += THREADS) {
        const int head = i / groups, at = 4 * (i % groups);
        const float *x = from + head * head_dim;
        T *out = to + head * head_dim;
        float4 low = load4<ALIGNED>(x, at, half), high = load4<ALIGNED>(x + half, at, half);
        float4 c = load4<ALIGNED>(cos_sin, at, half), s = load4<ALIGNED>(cos_sin + half, at, half);

        store4<ALIGNED>(out, at, half,
                        make_float4(low.x * c.x - high.x * s.x, low.y * c.y - high.y * s.y,
                                    low.z * c.z - high.z * s.z, low.w * c.w - high.w * s.w));
        store4<ALIGNED>(out + half, at, half,
                        make_float4(high.x * c.x + low.x * s.x, high.y * c.y + low.y * s.y,
                                    high.z * c.z + low.z * s.z, high.w * c.w + low.w * s.w));
    }
}

template <typename T, bool ALIGNED>
__global__ void __launch_bounds__(THREADS) rope(const umi_rope_job job)
{
    const int64_t row = blockIdx.x;
    const int q_width = job.heads * job.head_dim, kv_width = job.kv_heads * job.head_dim;
    const float *from = job.qkv + row * job.qkv_stride;
    T *q = static_cast<T *>(job.q) + row * job.q_stride;
    T *k = static_cast<T *>(job.k) + row * job.k_stride;
    T *v = static_cast<T *>(job.v) + row * job.v_stride;

    if (job.cos_sin) {
        const float *cos_sin = job.cos_sin + job.positions[row] * job.cos_sin_stride;

        rotate_heads<T, ALIGNED>(from, cos_sin, q, job.heads, job.head_dim);
        rotate_heads<T, ALIGNED>(from + q_width, cos_sin, k, job.kv_heads, job.head_dim);
    } else {
        copy_row<T, ALIGNED>(from, q, q_width);
        copy_row<T, ALIGNED>(from + q_width, k, kv_width);
    }
    copy_row<T, ALIGNED>(from + q_width + kv_width, v, kv_width);
}

bool is_aligned(const umi_rope_job *job)
{
    size_t bytes = job->bf16 ? sizeof(bf16) : sizeof(float);

    return job->head_dim % 8 == 0 && rows_in_fours(job->qkv, job->qkv_stride, sizeof(float)) &&
           rows_in_fours(job->cos_sin, job->cos_sin_stride, sizeof(float)) &&
           rows_in_fours(job->q, job->q_stride, bytes) &&
           rows_in_fours(job->k, job->k_stride, bytes) &&
           rows_in_fours(job->v, job->v_stride, bytes);
}

} // namespace

cudaError_t umi_launch_rope(const umi_rope_job *job, cudaStream_t stream)
{
    bool aligned = is_aligned(job);
    auto kernel = job->bf16 ? (aligned ? rope<bf16, true> : rope<bf16, false>)
                            : (aligned ? rope<float, true> : rope<float, false>);

    return launch_rows(kernel, job->rows, 1, THREADS, stream, *job);
}
