/*
 * Radix selection over a row of logits: which id stands at a given weight in the order of
 * score::rank_of? Weights are integers, so that neither the order of addition nor the number of
 * threads can move the answer. A digit costs one pass over the row; the first three settle the
 * logit, the others are needed only where equal logits must be told apart by id.
 */
#ifndef UM_KERNELS_CUDA_SCORE_RANK_CUH
#define UM_KERNELS_CUDA_SCORE_RANK_CUH

#include "kernels/cuda/score.cuh"

namespace score
{

constexpr int DIGIT_BITS = 11;
constexpr int BINS = 1 << DIGIT_BITS;
constexpr int BINS_PER_THREAD = BINS / THREADS;

/* A weight is counted in parts of 11 bits, because shared memory adds 32-bit words at once, but
 * longer ones by compare and swap, which starves where a warp meets in one bin. */
constexpr int PART_BITS = 11;
constexpr uint32_t PART_MASK = (1u << PART_BITS) - 1;

/* Each id weighs 1. */
struct count_weight {
    static constexpr int PARTS = 1;

    __device__ __forceinline__ uint64_t operator()(float) const
    {
        return 1;
    }
};

/* Probability in units of 2^-32 of the largest: floor(2^32 exp(..) + 1/2). */
struct mass_weight {
    static constexpr int PARTS = 3;

    float max, temperature;

    __device__ __forceinline__ uint64_t operator()(float logit) const
    {
        const float units = expf(scaled(logit, max, temperature)) * 0x1p32f;

        return __float2ull_rz(units) + (units - truncf(units) >= 0.5f);
    }
};
static_assert(uint64_t{UMI_SCORE_VOCAB_MAX} << PART_BITS <= UINT32_MAX, "parts could overflow");

/* What the block finds in a digit: the bin that holds the target. */
struct found_bin {
    uint64_t before; /* weight of all ids that rank before the bin */
    uint64_t weight; /* weight of the bin */
    uint32_t digit;
};

template <int PARTS> struct rank_shared {
    uint32_t bins[PARTS][BINS];
    uint64_t warp_weights[WARPS];
    found_bin found;
};

template <int PARTS>
__device__ __forceinline__ uint64_t bin_weight(const rank_shared<PARTS> &shared, int bin)
{
    uint64_t weight = 0;

    for (int part = 0; part < PARTS; part++)
        weight += uint64_t{shared.bins[part][bin]} << (PART_BITS * part);
    return weight;
}

template <int PARTS>
__device__ __forceinline__ void add_weight(rank_shared<PARTS> &shared, uint32_t bin,
                                           uint64_t weight)
{
    for (int part = 0; part < PARTS; part++) {
        uint32_t amount = uint32_t(weight >> (PART_BITS * part)) & PART_MASK;

        if (amount)
            atomicAdd(&shared.bins[part][bin], amount);
    }
}

/* The sum of `weight` over the threads before this one. */
template <int PARTS>
__device__ __forceinline__ uint64_t weight_before(rank_shared<PARTS> &shared, uint64_t weight)
{
    const int lane = threadIdx.x % device::WARP, warp = threadIdx.x / device::WARP;
    uint64_t upto = weight;

    for (int step = 1; step < device::WARP; step *= 2) {
        uint64_t lower = __shfl_up_sync(device::FULL_MASK, upto, step);

        if (lane >= step)
            upto += lower;
    }
    if (lane == device::WARP - 1)
        shared.warp_weights[warp] = upto;
    __syncthreads();
    for (int i = 0; i < WARPS; i++)
        if (i < warp)
            upto += shared.warp_weights[i];
    return upto - weight;
}

/* The one bin with before <= target < before + weight, where `before` includes `base`. */
template <int PARTS>
__device__ __forceinline__ found_bin find_bin(rank_shared<PARTS> &shared, uint64_t base,
                                              uint64_t target)
{
    const int first = BINS_PER_THREAD * int(threadIdx.x);
    uint64_t own = 0, before;

    for (int i = 0; i < BINS_PER_THREAD; i++)
        own += bin_weight(shared, first + i);
    before = base + weight_before(shared, own);
    for (int i = 0; i < BINS_PER_THREAD; i++) {
        uint64_t weight = bin_weight(shared, first + i);

        if (before <= target && target < before + weight)
            shared.found = found_bin{before, weight, uint32_t(first + i)};
        before += weight;
    }
    __syncthreads();
    return shared.found;
}

/* Weighs the ids whose rank begins with the digits found so far by their next digit. */
template <typename Weigh>
__device__ __forceinline__ void fill_bins(const float *row, int vocab, uint64_t prefix, int high,
                                          int bits, Weigh weigh, rank_shared<Weigh::PARTS> &shared)
{
    for (int part = 0; part < Weigh::PARTS; part++)
        for (int bin = threadIdx.x; bin < BINS; bin += THREADS)
            shared.bins[part][bin] = 0;
    __syncthreads();
    each_group<1>(row, vocab, [&](int v, float4 l) {
        const float lanes[4] = {l.x, l.y, l.z, l.w};

#pragma unroll
        for (int i = 0; i < 4; i++) {
            uint64_t rank = rank_of(lanes[i], v + i);

            if (v + i < vocab && (high == 64 || rank >> high == prefix))
                add_weight(shared, uint32_t(rank >> (high - bits)) & ((1u << bits) - 1),
                           weigh(lanes[i]));
        }
    });
    __syncthreads();
}

/*
 * The rank of the id that has a weight of at most `target` before it and more than that with its
 * own; there must be one. Where every id of the same logit may be kept as well, or `ties_stay`, the
 * answer is the end of those ties. Called by the whole block.
 */
template <typename Weigh>
__device__ __forceinline__ uint64_t find_rank(const float *row, int vocab, uint64_t target,
                                              bool ties_stay, Weigh weigh,
                                              rank_shared<Weigh::PARTS> &shared)
{
    uint64_t prefix = 0, before = 0;

    for (int high = 64; high > 0;) { /* 64, 53, 42, | 32, 21, 10 */
        const int end = high > 32 ? 32 : 0;
        const int bits = high - end < DIGIT_BITS ? high - end : DIGIT_BITS;
        found_bin bin;

        fill_bins(row, vocab, prefix, high, bits, weigh, shared);
        bin = find_bin(shared, before, target);
        prefix = prefix << bits | bin.digit;
        before = bin.before;
        high -= bits;
        if (high == 32 &&
            (ties_stay || before + bin.weight - weigh(logit_of(uint32_t(prefix))) <= target))
            return prefix << 32 | ALL_TIES;
    }
    return prefix;
}

} // namespace score

#endif
