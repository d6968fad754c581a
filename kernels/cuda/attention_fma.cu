/*
 * Attention on plain float32 FMA (no TF32), for f32 and for heads that attention_mma.cu does not
 * take, of any size and alignment: see cuda_attention.h.
 *
 * A block takes at most 128 elements of the head's output: wider heads are several blocks, each
 * with the whole scores. A thread owns eight packed rows by four keys of the scores (every 16th
 * key), and the same rows by every 16th output element, so that its row maxima and sums stay with
 * the 16 lanes of its half warp.
 */
#include "kernels/cuda/cuda_attention.h"
#include "kernels/cuda/device.cuh"

namespace
{

using device::bf16;
using device::FULL_MASK;

constexpr int TILE = UMI_ATTENTION_TILE, KEYS = UMI_ATTENTION_KEYS;
constexpr int LANES = 16; /* that share rows */
constexpr int ROWS = 8;   /* of a thread */
constexpr int THREADS = TILE / ROWS * LANES;
constexpr int WIDTH = UMI_ATTENTION_PART_WIDTH; /* output elements of a block */
constexpr int DEPTH = 32;                       /* elements of Q and K in a step of the scores */
constexpr int VALUES = 32;                      /* rows of V in a step of the output */

struct Buffers {
    /* Rows four floats longer than needed lie in other banks. */
    float weights[KEYS][TILE + 4];
    union {
        struct {
            float q[TILE][DEPTH + 4], k[KEYS][DEPTH + 4];
        };
        float v[VALUES][WIDTH];
    };
};

/* What a block reads: its tile of Q, and K and V from its first key on. */
template <typename T> struct Source {
    const T *q, *k, *v;
    int q_stride, k_stride, v_stride;
    int group, count; /* packed rows */
    int keys;
    int dim;
};

__device__ __forceinline__ float4 row4(const float *row, int at)
{
    return *reinterpret_cast<const float4 *>(row + at);
}

/* scores[row][key] of the thread's rows and keys, those behind the last key -inf. */
template <typename T>
__device__ __forceinline__ void score(float (&scores)[ROWS][KEYS / LANES], Buffers &buffers,
                                      const Source<T> &from, int first)
{
    const int lane = static_cast<int>(threadIdx.x % LANES);
    const int row = static_cast<int>(threadIdx.x / LANES) * ROWS;
    const int left = from.keys - first;
    const T *keys = from.k + int64_t{first} * from.k_stride;

#pragma unroll
    for (int i = 0; i < ROWS; i++)
#pragma unroll
        for (int j = 0; j < KEYS / LANES; j++)
            scores[i][j] = 0;
    for (int d = 0; d < from.dim; d += DEPTH) {
        const int c = static_cast<int>(threadIdx.x % DEPTH);
        const bool inside = d + c < from.dim;

        __syncthreads();
        for (int r = static_cast<int>(threadIdx.x / DEPTH); r < TILE; r += THREADS / DEPTH) {
            float q = 0, k = 0;

            if (inside && r < from.count)
                q = device::widen(
                    from.q[r / from.group * from.q_stride + r % from.group * from.dim + d + c]);
            if (inside && r < left)
                k = device::widen(keys[r * from.k_stride + d + c]);
            buffers.q[r][c] = q;
            buffers.k[r][c] = k;
        }
        __syncthreads();
        for (int at = 0; at < DEPTH && d + at < from.dim; at += 4) {
            float4 k[KEYS / LANES];

#pragma unroll
            for (int j = 0; j < KEYS / LANES; j++)
                k[j] = row4(buffers.k[lane + j * LANES], at);
#pragma unroll
            for (int i = 0; i < ROWS; i++) {
                float4 q = row4(buffers.q[row + i], at);

#pragma unroll
                for (int j = 0; j < KEYS / LANES; j++) {
                    scores[i][j] = fmaf(q.x, k[j].x, scores[i][j]);
                    scores[i][j] = fmaf(q.y, k[j].y, scores[i][j]);
                    scores[i][j] = fmaf(q.z, k[j].z, scores[i][j]);
                    scores[i][j] = fmaf(q.w, k[j].w, scores[i][j]);
                }
            }
        }
    }
#pragma unroll
    for (int i = 0; i < ROWS; i++)
#pragma unroll
        for (int j = 0; j < KEYS / LANES; j++)
            if (lane + j * LANES >= left)
                scores[i][j] = -INFINITY;
}

/* scores -> 2^(unit * (score - max)), rounded to T in shared memory, summed before. */
template <typename T>
__device__ __forceinline__ void weigh(const float (&scores)[ROWS][KEYS / LANES], float unit,
                                      const float (&max)[ROWS], float (&sum)[ROWS],
                                      Buffers &buffers)
{
    const int lane = static_cast<int>(threadIdx.x % LANES);
    const int row = static_cast<int>(threadIdx.x / LANES) * ROWS;

#pragma unroll
    for (int j = 0; j < KEYS / LANES; j++)
#pragma unroll
        for (int i = 0; i < ROWS; i += 4) {
            float p[4];

#pragma unroll
            for (int e = 0; e < 4; e++) {
                p[e] = ptx::exp2_approx((scores[i + e][j] - max[i + e]) * unit);
                sum[i + e] += p[e];
                p[e] = device::round_to<T>(p[e]);
            }
            *reinterpret_cast<float4 *>(&buffers.weights[lane + j * LANES][row + i]) =
                make_float4(p[0], p[1], p[2], p[3]);
        }
}

/* out += weights v for the columns [col, col + cols) of V. */
template <typename T>
__device__ __forceinline__ void add_values(float (&out)[ROWS][WIDTH / LANES], Buffers &buffers,
                                           const Source<T> &from, int first, int col, int cols)
{
    const int lane = static_cast<int>(threadIdx.x % LANES);
    const int row = static_cast<int>(threadIdx.x / LANES) * ROWS;
    const int left = from.keys - first < KEYS ? from.keys - first : KEYS;

    for (int start = 0; start < left; start += VALUES) {
        const int rows = left - start < VALUES ? left - start : VALUES;
        const T *values = from.v + int64_t{first + start} * from.v_stride + col;

        __syncthreads();
        if (static_cast<int>(threadIdx.x) < cols)
            for (int r = 0; r < rows; r++)
                buffers.v[r][threadIdx.x] = device::widen(values[r * from.v_stride + threadIdx.x]);
        __syncthreads();
        for (int r = 0; r < rows; r++) {
            const float4 low = row4(buffers.weights[start + r], row);
            const float4 high = row4(buffers.weights[start + r], row + 4);
            const float p[ROWS] = {low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w};

#pragma unroll
            for (int j = 0; j < WIDTH / LANES; j++)
                if (j * LANES < cols) {
                    float v = lane + j * LANES < cols ? buffers.v[r][lane + j * LANES] : 0;

#pragma unroll
                    for (int i = 0; i < ROWS; i++)
                        out[i][j] = fmaf(p[i], v, out[i][j]);
                }
        }
    }
}

__device__ __forceinline__ float lanes_max(float value)
{
    for (int step = LANES / 2; step > 0; step /= 2)
        value = fmaxf(value, __shfl_xor_sync(FULL_MASK, value, step));
    return value;
}
__device__ __forceinline__ float lanes_sum(float value)
{
    for (int step = LANES / 2; step > 0; step /= 2)
        value += __shfl_xor_sync(FULL_MASK, value, step);
    return value;
}

/* The largest score of each row so far; over the whole row when it is complete. */
__device__ __forceinline__ void find_largest(const float (&scores)[ROWS][KEYS / LANES],
                                             float (&max)[ROWS], bool complete)
{
#pragma unroll
    for (int i = 0; i < ROWS; i++) {
#pragma unroll
        for (int j = 0; j < KEYS / LANES; j++)
            max[i] = fmaxf(max[i], scores[i][j]);
        if (complete)
            max[i] = lanes_max(max[i]);
    }
}

/* The thread's rows, divided by their sums, into the output, or as they are into a part. */
template <typename T>
__device__ __forceinline__ void
store(const float (&out)[ROWS][WIDTH / LANES], const float (&shift)[ROWS], const float (&sum)[ROWS],
      const umi_attention_job &job, const umi_attention_item &item, int head, int col, int cols)
{
    const int lane = static_cast<int>(threadIdx.x % LANES);
    const int row = static_cast<int>(threadIdx.x / LANES) * ROWS;

#pragma unroll
    for (int i = 0; i < ROWS; i++) {
        const int p = row + i;
        const int64_t part = (int64_t{item.part} * job.kv_heads + head) * TILE + p;
        T *to = static_cast<T *>(job.out) +
                (int64_t{item.first} + item.row + p / job.group) * job.out_stride +
                (int64_t{head} * job.group + p % job.group) * job.head_dim + col;

        if (p >= item.rows * job.group)
            continue;
        if (item.part >= 0 && lane == 0)
            reinterpret_cast<float2 *>(job.scales)[part] = make_float2(shift[i], sum[i]);
#pragma unroll
        for (int j = 0; j < WIDTH / LANES; j++) {
            const int c = lane + j * LANES;

            if (c < cols && item.part < 0)
                to[c] = device::narrow<T>(out[i][j] / sum[i]);
            else if (c < cols)
                job.sums[part * WIDTH + c] = out[i][j];
        }
    }
}

template <typename T>
__device__ __forceinline__ Source<T> find_source(const umi_attention_job &job,
                                                 const umi_attention_item &item, int head)
{
    const int64_t row = item.first + item.row, key = item.first + item.key;

    return {static_cast<const T *>(job.q) + row * job.q_stride +
                int64_t{head} * job.group * job.head_dim,
            static_cast<const T *>(job.k) + key * job.k_stride + int64_t{head} * job.head_dim,
            static_cast<const T *>(job.v) + key * job.v_stride + int64_t{head} * job.head_dim,
            job.q_stride,
            job.k_stride,
            job.v_stride,
            job.group,
            item.rows * job.group,
            item.keys,
            job.head_dim};
}

template <typename T>
__global__ void __launch_bounds__(THREADS, 2)
    attend_fma(const __grid_constant__ umi_attention_job job)
{
    static_assert(WIDTH <= THREADS, "a row of V is loaded at once");
    __shared__ __align__(16) Buffers buffers;
    const int head = static_cast<int>(blockIdx.x) % job.kv_heads;
    const umi_attention_item item = job.items[static_cast<int>(blockIdx.x) / job.kv_heads];
    const Source<T> from = find_source<T>(job, item, head);
    const int tiles = (item.keys + KEYS - 1) / KEYS, col = static_cast<int>(blockIdx.y) * WIDTH;
    const int cols = from.dim - col < WIDTH ? from.dim - col : WIDTH;
    const float unit = job.scale * 1.44269504f; /* e^x = 2^(x log2(e)) */
    float scores[ROWS][KEYS / LANES], out[ROWS][WIDTH / LANES], max[ROWS], sum[ROWS];

#pragma unroll
    for (int i = 0; i < ROWS; i++) {
        max[i] = -INFINITY;
        sum[i] = 0;
#pragma unroll
        for (int j = 0; j < WIDTH / LANES; j++)
            out[i][j] = 0;
    }
    for (int u = 0; u < 2 * tiles; u++) {
        const int key = (u < tiles ? u : 2 * tiles - 1 - u) * KEYS;

        /* At the turn the scores of the last tile are still there. */
        if (u != tiles)
            score<T>(scores, buffers, from, key);
        if (u < tiles)
            find_largest(scores, max, u == tiles - 1);
        else {
            weigh<T>(scores, unit, max, sum, buffers);
            add_values<T>(out, buffers, from, key, col, cols);
        }
    }
#pragma unroll
    for (int i = 0; i < ROWS; i++) {
        sum[i] = lanes_sum(sum[i]);
        max[i] *= unit;
    }
    store<T>(out, max, sum, job, item, head, col, cols);
}

template <typename T> cudaError_t launch(const umi_attention_job *job, cudaStream_t stream)
{
    unsigned blocks = static_cast<unsigned>(job->item_count) * static_cast<unsigned>(job->kv_heads);
    unsigned wide = static_cast<unsigned>((job->head_dim + WIDTH - 1) / WIDTH);

    return launch_kernel(attend_fma<T>, dim3(blocks, wide), dim3(THREADS), 0, stream, *job);
}

} // namespace

cudaError_t umi_launch_attention_fma(const umi_attention_job *job, cudaStream_t stream)
{
    return job->bf16 ? launch<bf16>(job, stream) : launch<float>(job, stream);
}
