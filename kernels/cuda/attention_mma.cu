/*
 * Attention in bf16 on tensor cores, for heads of 64 and 128 elements: see cuda_attention.h.
 *
 * A block has four warps of 16 packed query rows each. Tiles of K and V come by cp.async into two
 * buffers each, one step ahead; Q arrives in a buffer of V that is not needed yet, and is kept in
 * registers. Rows of a tile are chunks of 16 bytes, chunk c of row r at place c ^ (r mod 8): copies,
 * ldmatrix and the output then meet no bank conflict.
 */
#include "kernels/cuda/cuda_attention.h"
#include "kernels/cuda/device.cuh"

namespace
{

using device::bf16;
using device::FULL_MASK;
using device::WARP;

constexpr int TILE = UMI_ATTENTION_TILE, KEYS = UMI_ATTENTION_KEYS;
constexpr int WARP_ROWS = 16; /* of an mma */
constexpr int THREADS = TILE / WARP_ROWS * WARP;
constexpr int CHUNK = 8; /* elements of 16 bytes */
static_assert(TILE == KEYS, "tiles of Q, K and V share buffers and copy loops");

template <int DIM> constexpr int TILE_BYTES = TILE *DIM * 2;
template <int DIM> constexpr int SHARED_BYTES = 4 * TILE_BYTES<DIM>; /* K, K, V, V */

template <int DIM> __device__ __forceinline__ unsigned place(unsigned row, unsigned chunk)
{
    return (row * (DIM / CHUNK) + (chunk ^ (row % 8))) * 16;
}

/* Packed row p of a matrix whose rows hold `group` heads of interest side by side. */
template <int DIM> __device__ __forceinline__ int packed_at(int p, int group, int stride)
{
    return p / group * stride + p % group * DIM;
}

/* Starts copying a tile of `count` packed rows; the rest of it becomes zero. */
template <int DIM>
__device__ __forceinline__ void fetch(char *tile, const bf16 *from, int stride, int group,
                                      int count)
{
    constexpr int CHUNKS = DIM / CHUNK, ROWS = THREADS / CHUNKS;
    const unsigned row = threadIdx.x / CHUNKS, chunk = threadIdx.x % CHUNKS;

    tile += place<DIM>(row, chunk);
    from += chunk * CHUNK;
#pragma unroll
    for (int i = 0; i < TILE / ROWS; i++) {
        int p = static_cast<int>(row) + i * ROWS;
        bool there = p < count;

        ptx::copy_async_16(tile + i * ROWS * DIM * 2,
                           from + packed_at<DIM>(there ? p : 0, group, stride), there ? 16 : 0);
    }
}

/* scores[16 rows][64 keys] = q k^T, as the accumulators of eight products. */
template <int DIM>
__device__ __forceinline__ void score(float (&scores)[KEYS / 8][4],
                                      const uint32_t (&q)[DIM / 16][4], const char *keys,
                                      unsigned lane)
{
    unsigned row = lane % 8 + lane / 16 * 8, half = lane / 8 % 2;

#pragma unroll
    for (int n = 0; n < KEYS / 8; n++)
#pragma unroll
        for (int e = 0; e < 4; e++)
            scores[n][e] = 0;
#pragma unroll
    for (int d = 0; d < DIM / 16; d++)
#pragma unroll
        for (int n = 0; n < KEYS / 16; n++) {
            uint32_t k[4];

            ptx::load_matrices(k, keys + place<DIM>(n * 16 + row, d * 2 + half));
            ptx::multiply_bf16(scores[2 * n], q[d], k[0], k[1]);
            ptx::multiply_bf16(scores[2 * n + 1], q[d], k[2], k[3]);
        }
}

/* Keys at and behind `count` take no part. */
__device__ __forceinline__ void mask(float (&scores)[KEYS / 8][4], int count, unsigned lane)
{
#pragma unroll
    for (int n = 0; n < KEYS / 8; n++)
#pragma unroll
        for (int e = 0; e < 4; e++)
            if (n * 8 + static_cast<int>(lane) % 4 * 2 + e % 2 >= count)
                scores[n][e] = -INFINITY;
}

/* scores -> 2^(unit * score - shift); adds them to the sums of the lane's two rows. */
__device__ __forceinline__ void weigh(float (&scores)[KEYS / 8][4], float unit,
                                      const float (&shift)[2], float (&sum)[2])
{
#pragma unroll
    for (int n = 0; n < KEYS / 8; n++)
#pragma unroll
        for (int e = 0; e < 4; e++) {
            scores[n][e] = ptx::exp2_approx(fmaf(scores[n][e], unit, -shift[e / 2]));
            sum[e / 2] += scores[n][e];
        }
}

/* out[16 rows][DIM] += weights v, the weights rounded to bf16: accumulators of two products side by
 * side are the left operand of the next one. */
template <int DIM>
__device__ __forceinline__ void add_values(float (&out)[DIM / 8][4],
                                           const float (&weights)[KEYS / 8][4], const char *values,
                                           unsigned lane)
{
#pragma unroll
    for (int k = 0; k < KEYS / 16; k++) {
        uint32_t p[4] = {ptx::pack_bf16(weights[2 * k][0], weights[2 * k][1]),
                         ptx::pack_bf16(weights[2 * k][2], weights[2 * k][3]),
                         ptx::pack_bf16(weights[2 * k + 1][0], weights[2 * k + 1][1]),
                         ptx::pack_bf16(weights[2 * k + 1][2], weights[2 * k + 1][3])};

#pragma unroll
        for (int d = 0; d < DIM / 16; d++) {
            uint32_t v[4];

            ptx::load_matrices_transposed(v, values +
                                                 place<DIM>(k * 16 + lane % 16, d * 2 + lane / 16));
            ptx::multiply_bf16(out[2 * d], p, v[0], v[1]);
            ptx::multiply_bf16(out[2 * d + 1], p, v[2], v[3]);
        }
    }
}

/* Over the four lanes that share a row. */
__device__ __forceinline__ float quad_max(float value)
{
    value = fmaxf(value, __shfl_xor_sync(FULL_MASK, value, 1));
    return fmaxf(value, __shfl_xor_sync(FULL_MASK, value, 2));
}
__device__ __forceinline__ float quad_sum(float value)
{
    value += __shfl_xor_sync(FULL_MASK, value, 1);
    return value + __shfl_xor_sync(FULL_MASK, value, 2);
}

/* The warp's rows, divided by their sums, through its 16 rows of `stage` into `out`: 16 bytes a
 * lane. `to` is the tile's first row in `out`; `count` its packed rows. */
template <int DIM>
__device__ __forceinline__ void store(const float (&out)[DIM / 8][4], const float (&sum)[2],
                                      char *stage, bf16 *to, int stride, int group, int count)
{
    const unsigned warp = threadIdx.x / WARP, lane = threadIdx.x % WARP;

#pragma unroll
    for (int half = 0; half < 2; half++) {
        float factor = 1.0f / sum[half];
        unsigned row = warp * WARP_ROWS + half * 8 + lane / 4;

#pragma unroll
        for (int n = 0; n < DIM / 8; n++)
            *reinterpret_cast<uint32_t *>(stage + place<DIM>(row, n) + lane % 4 * 4) =
                ptx::pack_bf16(out[n][2 * half] * factor, out[n][2 * half + 1] * factor);
    }
    __syncwarp();
#pragma unroll
    for (int i = 0; i < WARP_ROWS * DIM / CHUNK / WARP; i++) {
        unsigned at = i * WARP + lane;
        unsigned row = warp * WARP_ROWS + at / (DIM / CHUNK), chunk = at % (DIM / CHUNK);
        int p = static_cast<int>(row);

        if (p < count)
            *reinterpret_cast<uint4 *>(to + packed_at<DIM>(p, group, stride) + chunk * CHUNK) =
                *reinterpret_cast<const uint4 *>(stage + place<DIM>(row, chunk));
    }
}

/* The warp's rows as a part: not divided, with the maximum and the sum of each row. */
template <int DIM>
__device__ __forceinline__ void store_part(const float (&out)[DIM / 8][4], const float (&shift)[2],
                                           const float (&sum)[2], float *sums, float2 *scales,
                                           int count)
{
    const unsigned warp = threadIdx.x / WARP, lane = threadIdx.x % WARP;

#pragma unroll
    for (int half = 0; half < 2; half++) {
        int row = static_cast<int>(warp * WARP_ROWS + half * 8 + lane / 4);

        if (row >= count)
            continue;
        if (lane % 4 == 0)
            scales[row] = make_float2(shift[half], sum[half]);
#pragma unroll
        for (int n = 0; n < DIM / 8; n++)
            *reinterpret_cast<float2 *>(sums + row * UMI_ATTENTION_PART_WIDTH + n * 8 +
                                        lane % 4 * 2) =
                make_float2(out[n][2 * half], out[n][2 * half + 1]);
    }
}

template <int DIM>
__global__ void __launch_bounds__(THREADS, DIM == 64 ? 4 : 2)
    attend_mma(const __grid_constant__ umi_attention_job job)
{
    extern __shared__ __align__(128) char shared[];
    constexpr int BYTES = TILE_BYTES<DIM>;
    const unsigned lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
    const int head = static_cast<int>(blockIdx.x) % job.kv_heads, group = job.group;
    const umi_attention_item item = job.items[static_cast<int>(blockIdx.x) / job.kv_heads];
    const int count = item.rows * group, tiles = (item.keys + KEYS - 1) / KEYS;
    const int64_t q_row = item.first + item.row, k_row = item.first + item.key;
    const bf16 *q_from = static_cast<const bf16 *>(job.q) + q_row * job.q_stride +
                         static_cast<int64_t>(head) * group * DIM;
    const bf16 *k_from = static_cast<const bf16 *>(job.k) + k_row * job.k_stride + head * DIM;
    const bf16 *v_from = static_cast<const bf16 *>(job.v) + k_row * job.v_stride + head * DIM;
    const float unit = job.scale * 1.44269504f; /* e^x = 2^(x log2(e)) */
    char *const keys = shared, *const values = shared + 2 * BYTES;
    /* free until step tiles + 1 is fetched, and Q is in registers by then */
    char *const queries = values + (tiles + 1) % 2 * BYTES;
    uint32_t q[DIM / 16][4];
    float scores[KEYS / 8][4], out[DIM / 8][4];
    float shift[2] = {-INFINITY, -INFINITY}, sum[2] = {0, 0};

    /* Step u works on the buffers u % 2: tile u in the first pass, then back from the last. At the
     * turn the scores of the last tile are still there and K is not needed. */
    auto fetch_step = [&](int u) {
        int tile = u < tiles ? u : 2 * tiles - 1 - u, left = item.keys - tile * KEYS;

        if (u != tiles)
            fetch<DIM>(keys + u % 2 * BYTES, k_from + int64_t{tile} * KEYS * job.k_stride,
                       job.k_stride, 1, left);
        if (u >= tiles)
            fetch<DIM>(values + u % 2 * BYTES, v_from + int64_t{tile} * KEYS * job.v_stride,
                       job.v_stride, 1, left);
        ptx::copy_async_commit();
    };

#pragma unroll
    for (int n = 0; n < DIM / 8; n++)
#pragma unroll
        for (int e = 0; e < 4; e++)
            out[n][e] = 0;
    fetch<DIM>(queries, q_from, job.q_stride, group, count);
    fetch_step(0);
    for (int u = 0; u < 2 * tiles; u++) {
        ptx::copy_async_wait<0>();
        __syncthreads();
        if (u == 0)
#pragma unroll
            for (int d = 0; d < DIM / 16; d++)
                ptx::load_matrices(
                    q[d], queries + place<DIM>(warp * WARP_ROWS + lane % 16, d * 2 + lane / 16));
        if (u + 1 < 2 * tiles)
            fetch_step(u + 1);
        if (u != tiles)
            score<DIM>(scores, q, keys + u % 2 * BYTES, lane);
        if (u < tiles) {
            if (u == tiles - 1 && item.keys % KEYS)
                mask(scores, item.keys % KEYS, lane);
#pragma unroll
            for (int n = 0; n < KEYS / 8; n++)
#pragma unroll
                for (int e = 0; e < 4; e++)
                    shift[e / 2] = fmaxf(shift[e / 2], scores[n][e]);
            if (u == tiles - 1)
#pragma unroll
                for (int half = 0; half < 2; half++)
                    shift[half] = quad_max(shift[half]) * unit;
        } else {
            weigh(scores, unit, shift, sum);
            add_values<DIM>(out, scores, values + u % 2 * BYTES, lane);
        }
    }
#pragma unroll
    for (int half = 0; half < 2; half++)
        sum[half] = quad_sum(sum[half]);
    if (item.part < 0) {
        bf16 *to = static_cast<bf16 *>(job.out) + q_row * job.out_stride +
                   static_cast<int64_t>(head) * group * DIM;

        /* The last step reads the odd buffers. */
        store<DIM>(out, sum, keys, to, job.out_stride, group, count);
    } else {
        int64_t row = (static_cast<int64_t>(item.part) * job.kv_heads + head) * TILE;

        store_part<DIM>(out, shift, sum, job.sums + row * UMI_ATTENTION_PART_WIDTH,
                        reinterpret_cast<float2 *>(job.scales) + row, count);
    }
}

template <int DIM> cudaError_t prepare()
{
    return cudaFuncSetAttribute(reinterpret_cast<const void *>(attend_mma<DIM>),
                                cudaFuncAttributeMaxDynamicSharedMemorySize, SHARED_BYTES<DIM>);
}

template <int DIM> cudaError_t launch(const umi_attention_job *job, cudaStream_t stream)
{
    unsigned blocks = static_cast<unsigned>(job->item_count) * static_cast<unsigned>(job->kv_heads);

    return launch_kernel(attend_mma<DIM>, dim3(blocks), dim3(THREADS), SHARED_BYTES<DIM>, stream,
                         *job);
}

} // namespace

cudaError_t umi_prepare_attention(void)
{
    cudaError_t error = prepare<64>();

    return error == cudaSuccess ? prepare<128>() : error;
}

cudaError_t umi_launch_attention_mma(const umi_attention_job *job, cudaStream_t stream)
{
    return job->head_dim == 64 ? launch<64>(job, stream) : launch<128>(job, stream);
}
