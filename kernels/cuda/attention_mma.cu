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

/* What a block works on. */
struct Work {
    const bf16 *q, *k, *v; /* the tile's first row of Q; the range's first key */
    int head, group;
    int count; /* packed rows */
    int keys;
    int tiles; /* of keys */
};

template <int DIM>
__device__ __forceinline__ Work find_work(const umi_attention_job &job,
                                          const umi_attention_item &item)
{
    const int head = static_cast<int>(blockIdx.x) % job.kv_heads;
    const int64_t row = item.first + item.row, key = item.first + item.key;

    return {static_cast<const bf16 *>(job.q) + row * job.q_stride + int64_t{head} * job.group * DIM,
            static_cast<const bf16 *>(job.k) + key * job.k_stride + head * DIM,
            static_cast<const bf16 *>(job.v) + key * job.v_stride + head * DIM,
            head,
            job.group,
            item.rows * job.group,
            item.keys,
            (item.keys + KEYS - 1) / KEYS};
}

/* The warp's rows, divided by their sums, through its 16 rows of `stage` into the tensor, whose row
 * `first` is the tile's first: 16 bytes a lane. */
template <int DIM>
__device__ __forceinline__ void store(const float (&out)[DIM / 8][4], const float (&sum)[2],
                                      char *stage, const umi_attention_job &job, const Work &work,
                                      int64_t first)
{
    const unsigned warp = threadIdx.x / WARP, lane = threadIdx.x % WARP;
    bf16 *to = static_cast<bf16 *>(job.out) + first * job.out_stride +
               int64_t{work.head} * work.group * DIM;

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

        if (p < work.count)
            *reinterpret_cast<uint4 *>(to + packed_at<DIM>(p, work.group, job.out_stride) +
                                       chunk * CHUNK) =
                *reinterpret_cast<const uint4 *>(stage + place<DIM>(row, chunk));
    }
}

/* The warp's rows as a part: not divided, with the maximum and the sum of each row. */
template <int DIM>
__device__ __forceinline__ void store_part(const float (&out)[DIM / 8][4], const float (&shift)[2],
                                           const float (&sum)[2], const umi_attention_job &job,
                                           const Work &work, int part)
{
    const unsigned warp = threadIdx.x / WARP, lane = threadIdx.x % WARP;
    const int64_t first = (int64_t{part} * job.kv_heads + work.head) * TILE;
    float *sums = job.sums + first * UMI_ATTENTION_PART_WIDTH;
    float2 *scales = reinterpret_cast<float2 *>(job.scales) + first;

#pragma unroll
    for (int half = 0; half < 2; half++) {
        int row = static_cast<int>(warp * WARP_ROWS + half * 8 + lane / 4);

        if (row >= work.count)
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

/*
 * Step u works on the buffers u % 2: on tile u in the first pass, then from the last tile back. At
 * the turn, step `tiles`, the scores of the last tile are still there and K is not needed.
 */
template <int DIM>
__device__ __forceinline__ void fetch_step(char *shared, const umi_attention_job &job,
                                           const Work &work, int u)
{
    const int tile = u < work.tiles ? u : 2 * work.tiles - 1 - u, key = tile * KEYS;
    char *keys = shared + u % 2 * TILE_BYTES<DIM>, *values = keys + 2 * TILE_BYTES<DIM>;

    if (u != work.tiles)
        fetch<DIM>(keys, work.k + int64_t{key} * job.k_stride, job.k_stride, 1, work.keys - key);
    if (u >= work.tiles)
        fetch<DIM>(values, work.v + int64_t{key} * job.v_stride, job.v_stride, 1, work.keys - key);
    ptx::copy_async_commit();
}

/* shift = the largest score of each of the lane's two rows so far. */
__device__ __forceinline__ void find_largest(const float (&scores)[KEYS / 8][4], float (&shift)[2])
{
#pragma unroll
    for (int n = 0; n < KEYS / 8; n++)
#pragma unroll
        for (int e = 0; e < 4; e++)
            shift[e / 2] = fmaxf(shift[e / 2], scores[n][e]);
}

template <int DIM>
__global__ void __launch_bounds__(THREADS, DIM == 64 ? 4 : 2)
    attend_mma(const __grid_constant__ umi_attention_job job)
{
    extern __shared__ __align__(128) char shared[]; /* K, K, V, V */
    const umi_attention_item item = job.items[static_cast<int>(blockIdx.x) / job.kv_heads];
    const Work work = find_work<DIM>(job, item);
    const unsigned lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
    const float unit = job.scale * 1.44269504f; /* e^x = 2^(x log2(e)) */
    /* A buffer of V that is first needed at step tiles + 1, when Q is in registers. */
    char *const queries = shared + (2 + (work.tiles + 1) % 2) * TILE_BYTES<DIM>;
    uint32_t q[DIM / 16][4];
    float scores[KEYS / 8][4], out[DIM / 8][4];
    float shift[2] = {-INFINITY, -INFINITY}, sum[2] = {0, 0};

#pragma unroll
    for (int n = 0; n < DIM / 8; n++)
#pragma unroll
        for (int e = 0; e < 4; e++)
            out[n][e] = 0;
    fetch<DIM>(queries, work.q, job.q_stride, work.group, work.count);
    fetch_step<DIM>(shared, job, work, 0);
    for (int u = 0; u < 2 * work.tiles; u++) {
        const char *keys = shared + u % 2 * TILE_BYTES<DIM>, *values = keys + 2 * TILE_BYTES<DIM>;

        ptx::copy_async_wait<0>();
        __syncthreads();
        if (u == 0)
#pragma unroll
            for (int d = 0; d < DIM / 16; d++)
                ptx::load_matrices(
                    q[d], queries + place<DIM>(warp * WARP_ROWS + lane % 16, d * 2 + lane / 16));
        if (u + 1 < 2 * work.tiles)
            fetch_step<DIM>(shared, job, work, u + 1);
        if (u != work.tiles)
            score<DIM>(scores, q, keys, lane);
        if (u == work.tiles - 1 && work.keys % KEYS)
            mask(scores, work.keys % KEYS, lane);
        if (u < work.tiles)
            find_largest(scores, shift);
        if (u == work.tiles - 1)
#pragma unroll
            for (int half = 0; half < 2; half++)
                shift[half] = quad_max(shift[half]) * unit;
        if (u >= work.tiles) {
            weigh(scores, unit, shift, sum);
            add_values<DIM>(out, scores, values, lane);
        }
    }
#pragma unroll
    for (int half = 0; half < 2; half++)
        sum[half] = quad_sum(sum[half]);
    /* The last step reads the odd buffers, so that of K is free. */
    if (item.part < 0)
        store<DIM>(out, sum, shared, job, work, item.first + item.row);
    else
        store_part<DIM>(out, shift, sum, job, work, item.part);
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
