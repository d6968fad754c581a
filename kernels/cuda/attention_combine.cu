/*
 * The second launch of attention, for sequences whose keys were split: adds the parts of a tile in
 * the order of the keys, each brought to the largest maximum. See cuda_attention.h.
 */
#include "kernels/cuda/cuda_attention.h"
#include "kernels/cuda/device.cuh"

namespace
{

using device::bf16;

constexpr int TILE = UMI_ATTENTION_TILE, WIDTH = UMI_ATTENTION_PART_WIDTH;
constexpr int THREADS = 128;

template <typename T>
__global__ void __launch_bounds__(THREADS) combine(const __grid_constant__ umi_attention_job job)
{
    const int head = static_cast<int>(blockIdx.x) % job.kv_heads, dim = job.head_dim;
    const umi_attention_item item = job.combines[static_cast<int>(blockIdx.x) / job.kv_heads];
    const int64_t part = int64_t{item.part} * job.kv_heads + head;
    const float2 *scales = reinterpret_cast<const float2 *>(job.scales) + part * TILE;
    const float *sums = job.sums + part * TILE * WIDTH;
    const int64_t step = int64_t{job.kv_heads} * TILE; /* rows from a part to the next */

    for (int i = static_cast<int>(threadIdx.x); i < item.rows * job.group * dim; i += THREADS) {
        const int p = i / dim, c = i % dim;
        const int64_t row = item.first + item.row + p / job.group;
        float max = -INFINITY, total = 0, value = 0;

        for (int n = 0; n < item.parts; n++)
            max = fmaxf(max, scales[n * step + p].x);
        for (int n = 0; n < item.parts; n++) {
            const float2 scale = scales[n * step + p];
            const float weight = ptx::exp2_approx(scale.x - max);

            total = fmaf(weight, scale.y, total);
            value = fmaf(weight, sums[(n * step + p) * WIDTH + c], value);
        }
        static_cast<T *>(
            job.out)[row * job.out_stride + (int64_t{head} * job.group + p % job.group) * dim + c] =
            device::narrow<T>(value / total);
    }
}

} // namespace

cudaError_t umi_launch_attention_combine(const umi_attention_job *job, cudaStream_t stream)
{
    unsigned blocks =
        static_cast<unsigned>(job->combine_count) * static_cast<unsigned>(job->kv_heads);

    return launch_kernel(job->bf16 ? combine<bf16> : combine<float>, dim3(blocks), dim3(THREADS), 0,
                         stream, *job);
}
