/*
 * Kernels with one planted bug each, and the same kernels without it. All have the signature
 * (in, out, n); planted.cpp launches them with what each needs.
 */
#include <assert.h>
#include <stdint.h>

#define PLANTED(name)                                                                              \
    template <bool BUG> __device__ __forceinline__ void name(const float *in, float *out, int n);  \
    extern "C" __global__ void name##_good(const float *in, float *out, int n)                     \
    {                                                                                              \
        name<false>(in, out, n);                                                                   \
    }                                                                                              \
    extern "C" __global__ void name##_bad(const float *in, float *out, int n)                      \
    {                                                                                              \
        name<true>(in, out, n);                                                                    \
    }                                                                                              \
    template <bool BUG> __device__ __forceinline__ void name(const float *in, float *out, int n)

static __device__ __forceinline__ uint32_t shared_address(const void *pointer)
{
    return uint32_t(__cvta_generic_to_shared(pointer));
}
static __device__ __forceinline__ void copy_async(void *to, const void *from)
{
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(shared_address(to)), "l"(from)
                 : "memory");
}
static __device__ __forceinline__ void commit()
{
    asm volatile("cp.async.commit_group;" ::: "memory");
}
template <int N> static __device__ __forceinline__ void wait_group()
{
    asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
}
/* The sum of a lane's elements of four 8 x 8 matrices that lie one behind the other. */
static __device__ __forceinline__ float sum_of_tile(const void *tile)
{
    const char *row = static_cast<const char *>(tile) + (threadIdx.x & 31) * 16;
    uint32_t r[4];

    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(shared_address(row))
                 : "memory");
    return float(r[0] & 255) + float(r[1] & 255) + float(r[2] & 255) + float(r[3] & 255);
}

/* The sum of a block of up to 1024 threads, by warps and shared memory. */
PLANTED(missing_syncthreads)
{
    __shared__ float partial[32];
    float sum = in[threadIdx.x];

    for (int distance = 16; distance > 0; distance /= 2)
        sum += __shfl_xor_sync(0xffffffffu, sum, distance);
    if (threadIdx.x % 32 == 0)
        partial[threadIdx.x / 32] = sum;
    if (!BUG)
        __syncthreads();
    sum = 0;
    for (int w = 0; w < int(blockDim.x / 32); w++)
        sum += partial[w];
    out[threadIdx.x] = sum;
}

/* A tile goes through shared memory, zeros first as in a ragged tile. */
PLANTED(missing_sync_after_wait)
{
    __shared__ __align__(128) float4 tile[128];

    tile[threadIdx.x] = make_float4(0, 0, 0, 0);
    __syncthreads();
    copy_async(&tile[threadIdx.x], in + 4 * threadIdx.x);
    commit();
    wait_group<0>();
    if (!BUG)
        __syncthreads();
    out[threadIdx.x] = sum_of_tile(tile + 32 * ((threadIdx.x / 32 + 1) % 4));
}

PLANTED(missing_sync_before_refill)
{
    __shared__ __align__(128) float4 tile[128];
    float sum = 0;

    for (int step = 0; step < 2; step++) {
        copy_async(&tile[threadIdx.x], in + 4 * threadIdx.x);
        commit();
        wait_group<0>();
        __syncthreads();
        sum += sum_of_tile(tile + 32 * ((threadIdx.x / 32 + 1) % 4));
        if (!BUG)
            __syncthreads();
    }
    out[threadIdx.x] = sum;
}

PLANTED(missing_syncwarp)
{
    __shared__ float values[128];

    values[threadIdx.x] = in[threadIdx.x];
    if (!BUG)
        __syncwarp();
    out[threadIdx.x] = values[threadIdx.x ^ 1];
}

/* Launched with two blocks. */
PLANTED(two_blocks_one_word)
{
    out[(BUG ? 0 : blockIdx.x * blockDim.x) + threadIdx.x] = in[threadIdx.x];
}

PLANTED(wait_one_group_too_few)
{
    __shared__ __align__(128) float4 tile[256];

    copy_async(&tile[threadIdx.x], in + 4 * threadIdx.x);
    commit();
    copy_async(&tile[128 + threadIdx.x], in + 4 * threadIdx.x);
    commit();
    wait_group<BUG ? 1 : 0>();
    __syncthreads();
    out[threadIdx.x] = sum_of_tile(tile + 128) + tile[0].x;
    if (BUG)
        wait_group<0>();
}

PLANTED(shared_write_out_of_bounds)
{
    __shared__ float values[128];

    values[threadIdx.x + (BUG ? n : 0)] = in[threadIdx.x];
    __syncthreads();
    out[threadIdx.x] = values[threadIdx.x];
}

/* The bug is in the launch: 64 bytes too few. */
PLANTED(dynamic_shared_too_small)
{
    extern __shared__ float dynamic[];

    dynamic[threadIdx.x] = in[threadIdx.x];
    __syncthreads();
    out[threadIdx.x] = dynamic[threadIdx.x ^ 1];
}

/* n rows of 128. */
PLANTED(global_read_of_next_row)
{
    float sum = 0;

    for (int row = 0; row < n; row++)
        sum += in[128 * (row + (BUG ? 1 : 0)) + threadIdx.x];
    out[threadIdx.x] = sum;
}

/* n = 100 pieces of 16 bytes in tiles of 32. */
PLANTED(ragged_tail_read_out_of_bounds)
{
    __shared__ __align__(128) float4 tile[128];
    const bool inside = int(threadIdx.x) < n;

    if (!inside)
        tile[threadIdx.x] = make_float4(0, 0, 0, 0);
    if (inside || BUG)
        copy_async(&tile[threadIdx.x], in + 4 * threadIdx.x);
    commit();
    wait_group<0>();
    __syncthreads();
    out[threadIdx.x] = sum_of_tile(tile + 96);
}

PLANTED(uninitialised_shared_element)
{
    __shared__ float values[128];

    if (!BUG || threadIdx.x != 100)
        values[threadIdx.x] = in[threadIdx.x];
    __syncthreads();
    out[threadIdx.x] = values[127 - threadIdx.x];
}

PLANTED(wrong_warp_mask)
{
    out[threadIdx.x] = __shfl_xor_sync(BUG ? 0xffffu : 0xffffffffu, in[threadIdx.x], 1);
}

PLANTED(shuffle_in_divergence)
{
    float value = in[threadIdx.x];

    if (threadIdx.x % 32 < 16)
        value = __shfl_xor_sync(BUG ? 0xffffffffu : 0xffffu, value, 1) + 1;
    out[threadIdx.x] = value;
}

PLANTED(barrier_in_divergence)
{
    __shared__ float values[128];

    values[threadIdx.x] = in[threadIdx.x];
    if (!BUG || in[threadIdx.x] >= 4)
        __syncthreads();
    out[threadIdx.x] = values[threadIdx.x ^ 1];
}

PLANTED(return_before_barrier)
{
    __shared__ float values[128];

    values[threadIdx.x] = in[threadIdx.x];
    if (BUG && int(threadIdx.x) >= n)
        return;
    __syncthreads();
    out[threadIdx.x] = values[threadIdx.x];
}

PLANTED(misaligned_vector_load)
{
    const float4 four = *reinterpret_cast<const float4 *>(in + 4 * threadIdx.x + (BUG ? 1 : 0));

    out[threadIdx.x] = four.x + four.w;
}

/* The bug is in the launch. */
PLANTED(host_pointer)
{
    out[threadIdx.x] = in[threadIdx.x];
}

/* The first n of 128 columns count. */
PLANTED(tail_columns_not_masked)
{
    __shared__ float values[128];
    float sum = 0;

    values[threadIdx.x] = BUG || int(threadIdx.x) < n ? in[threadIdx.x] : 0.0f;
    __syncthreads();
    for (int i = 0; i < 128; i++)
        sum += values[i];
    out[threadIdx.x] = sum;
}

/* ---- more than the eighteen ---- */

PLANTED(block_reads_what_another_writes)
{
    out[blockIdx.x * blockDim.x + threadIdx.x] =
        BUG && blockIdx.x == 1 ? out[threadIdx.x] : in[threadIdx.x];
}

/* Neighbouring 16-bit words are different words. */
PLANTED(race_on_half_words)
{
    __shared__ uint16_t values[129];

    if (threadIdx.x == 0)
        values[128] = 0;
    values[threadIdx.x + (BUG ? threadIdx.x % 2 : 0)] = uint16_t(threadIdx.x);
    __syncthreads();
    out[threadIdx.x] = values[threadIdx.x];
}

PLANTED(race_of_several_readers)
{
    __shared__ float value;

    if (threadIdx.x == 0)
        value = in[0];
    __syncthreads();
    out[threadIdx.x] = value;
    if (!BUG)
        __syncthreads();
    if (threadIdx.x == 127)
        value = 1;
}

PLANTED(ldmatrix_without_syncwarp)
{
    __shared__ __align__(128) float4 tile[128];

    tile[threadIdx.x] = reinterpret_cast<const float4 *>(in)[threadIdx.x];
    if (!BUG)
        __syncwarp();
    out[threadIdx.x] = sum_of_tile(tile + threadIdx.x / 32 * 32);
}

PLANTED(copy_pending_at_return)
{
    __shared__ __align__(128) float4 tile[128];

    copy_async(&tile[threadIdx.x], in + 4 * threadIdx.x);
    commit();
    if (!BUG)
        wait_group<0>();
    out[threadIdx.x] = 0;
}

PLANTED(failed_assertion)
{
    assert(!BUG || in[threadIdx.x] != 77.0f);
    out[threadIdx.x] = in[threadIdx.x];
}

PLANTED(endless_loop)
{
    volatile float *flag = out + 128;

    while (BUG && *flag != 1.0f)
        ;
    out[threadIdx.x] = in[threadIdx.x];
}

PLANTED(masks_disagree)
{
    const uint32_t mask = BUG && threadIdx.x % 2 ? 0xaaaaaaaau : 0xffffffffu;

    out[threadIdx.x] = float(__ballot_sync(mask, in[threadIdx.x] > 3));
}

PLANTED(null_pointer)
{
    const float *from = in;

    if (BUG) /* hidden from the compiler */
        asm volatile("mov.b64 %0, 0;" : "=l"(from));
    out[threadIdx.x] = from[threadIdx.x];
}

PLANTED(named_barrier_for_too_many)
{
    __shared__ float values[128];

    values[threadIdx.x] = in[threadIdx.x];
    asm volatile("bar.sync 3, %0;" ::"n"(BUG ? 160 : 128) : "memory");
    out[threadIdx.x] = values[127 - threadIdx.x];
}

/* Warp 0 produces, warp 1 consumes; named barriers order just the two. */
PLANTED(named_barrier_missing)
{
    __shared__ float values[32];

    if (threadIdx.x < 32) {
        values[threadIdx.x] = in[threadIdx.x];
        asm volatile("bar.arrive 1, 64;" ::: "memory");
    } else if (threadIdx.x < 64 || BUG) {
        if (threadIdx.x < 64)
            asm volatile("bar.sync 1, 64;" ::: "memory");
        out[threadIdx.x] = values[threadIdx.x % 32];
    }
}
