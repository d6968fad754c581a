/*
 * What the kernels of score share: a row of logits as the rules want it, the walk of a block over
 * it, reductions over the block, and the order of ids. One block of THREADS works on one row, so
 * the order of every sum depends on the vocabulary alone.
 */
#ifndef UM_KERNELS_CUDA_SCORE_CUH
#define UM_KERNELS_CUDA_SCORE_CUH

#include <cfloat>
#include <climits>
#include <cstring>

#include "core/base/rng.h"
#include "kernels/cuda/cuda_score.h"
#include "kernels/cuda/device.cuh"

namespace score
{

constexpr int THREADS = 512;
constexpr int WARPS = THREADS / device::WARP;
constexpr float MINUS_INFINITY = -INFINITY;

/* ---- logits --------------------------------------------------------------------------------- */

/* NaN as -inf, +inf as the largest float. */
__device__ __forceinline__ float settled(float logit)
{
    return logit == logit ? fminf(logit, FLT_MAX) : MINUS_INFINITY;
}

__device__ __forceinline__ float4 settled(float4 l)
{
    return make_float4(settled(l.x), settled(l.y), settled(l.z), settled(l.w));
}

/* Ids from v on; those behind the vocabulary read -inf. */
__device__ __forceinline__ float4 load_group(const float *row, int v, int vocab)
{
    if (v + 4 <= vocab)
        return settled(*reinterpret_cast<const float4 *>(row + v));
    return settled(make_float4(row[v], v + 1 < vocab ? row[v + 1] : MINUS_INFINITY,
                               v + 2 < vocab ? row[v + 2] : MINUS_INFINITY, MINUS_INFINITY));
}

/* Calls f(v, logits) for this thread's groups of four ids from v on: 128 bits a load, UNROLL
 * of them before the first is used. */
template <int UNROLL, typename F>
__device__ __forceinline__ void each_group(const float *row, int vocab, F f)
{
    constexpr int STEP = 4 * THREADS;
    int v = 4 * int(threadIdx.x);

    if (UNROLL > 1)
        for (; v + (UNROLL - 1) * STEP + 4 <= vocab; v += UNROLL * STEP) {
            float4 groups[UNROLL];

#pragma unroll
            for (int i = 0; i < UNROLL; i++)
                groups[i] = *reinterpret_cast<const float4 *>(row + v + i * STEP);
#pragma unroll
            for (int i = 0; i < UNROLL; i++)
                f(v + i * STEP, settled(groups[i]));
        }
#pragma unroll 1
    for (; v < vocab; v += STEP)
        f(v, load_group(row, v, vocab));
}

__device__ __forceinline__ float largest(float4 l)
{
    return fmaxf(fmaxf(l.x, l.y), fmaxf(l.z, l.w));
}

/* ---- reductions ------------------------------------------------------------------------------ */

/* The lane's value that lies `step` lanes away, whatever type of whole words it has. */
template <typename T> __device__ __forceinline__ T shuffle_xor(T value, int step)
{
    uint32_t words[sizeof(T) / 4];

    static_assert(sizeof(T) % 4 == 0, "whole words only");
    memcpy(words, &value, sizeof(T));
    for (uint32_t &word : words)
        word = __shfl_xor_sync(device::FULL_MASK, word, step);
    memcpy(&value, words, sizeof(T));
    return value;
}

/* op over all threads, in every thread; op must not care which operand comes first. Called by the
 * whole block; `partial` is free again at return. */
template <typename T, typename Op>
__device__ __forceinline__ T block_reduce(T value, T (&partial)[WARPS], Op op)
{
    const int lane = threadIdx.x % device::WARP;

    for (int step = device::WARP / 2; step > 0; step /= 2)
        value = op(value, shuffle_xor(value, step));
    if (lane == 0)
        partial[threadIdx.x / device::WARP] = value;
    __syncthreads();
    value = partial[lane % WARPS];
    for (int step = WARPS / 2; step > 0; step /= 2)
        value = op(value, shuffle_xor(value, step));
    __syncthreads();
    return value;
}

struct add {
    template <typename T> __device__ __forceinline__ T operator()(T a, T b) const
    {
        return a + b;
    }
};

struct larger {
    __device__ __forceinline__ float operator()(float a, float b) const
    {
        return fmaxf(a, b);
    }
};

/* ---- order ----------------------------------------------------------------------------------- */

/* A number that grows as the logit falls; -0 and +0 have the same. Not for NaN. */
__device__ __forceinline__ uint32_t falling(float logit)
{
    uint32_t bits = __float_as_uint(logit + 0.0f);

    return bits & 0x80000000u ? bits : ~bits & 0x7fffffffu;
}

__device__ __forceinline__ float logit_of(uint32_t falling)
{
    return __uint_as_float(falling & 0x80000000u ? falling : ~falling & 0x7fffffffu);
}

/* Where an id stands in (logit descending, id ascending), as a number: no two ids have the same. */
__device__ __forceinline__ uint64_t rank_of(float logit, int v)
{
    return uint64_t{falling(logit)} << 32 | uint32_t(v);
}

constexpr uint64_t ALL_RANKS = UINT64_MAX;
constexpr uint64_t ALL_TIES = 0xffffffffu; /* with a logit: every id that has it */

/* ---- softmax --------------------------------------------------------------------------------- */

/* (l - max) / T; at temperature 1 without the division. */
__device__ __forceinline__ float scaled(float logit, float max, float temperature)
{
    float distance = logit - max;

    return temperature == 1.0f ? distance : distance / temperature;
}

/* Sum of exp((l - max) / T) over the ids that `keep` leaves above -inf. A thread adds some hundred
 * terms, the block then adds threads: a long tail of small terms is not lost. */
template <typename Keep>
__device__ __forceinline__ float sum_exp(const float *row, int vocab, float max, float temperature,
                                         float (&partial)[WARPS], Keep keep)
{
    float sum = 0;

    each_group<4>(row, vocab, [&](int v, float4 l) {
        l = keep(v, l);
        sum += (expf(scaled(l.x, max, temperature)) + expf(scaled(l.y, max, temperature))) +
               (expf(scaled(l.z, max, temperature)) + expf(scaled(l.w, max, temperature)));
    });
    return block_reduce(sum, partial, add());
}

__device__ __forceinline__ float plain_logprob(float logit, umi_score_plain plain)
{
    return logit == MINUS_INFINITY ? -FLT_MAX : fmaxf(logit - plain.max - plain.log_sum, -FLT_MAX);
}

struct keep_all {
    __device__ __forceinline__ float4 operator()(int, float4 l) const
    {
        return l;
    }
};

} // namespace score

#endif
