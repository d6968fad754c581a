/*
 * The first half of score, on logits in the tile: the likeliest tokens of the logits as they came;
 * then, in place, edits and bans, and where the filters of a rule cut. Nothing is sampled here.
 */
#include "kernels/cuda/score_rank.cuh"

namespace score
{

/* ---- alternatives ------------------------------------------------------------------------------ */

/* The first `count` ids by rank, written in their order; `count` <= UM_ALTERNATIVES_MAX. */
__device__ __forceinline__ void list_first(const float *row, int vocab, int count,
                                           umi_score_plain plain, uint64_t *ranks, int *filled,
                                           rank_shared<1> &shared, um_alternative *out)
{
    const uint64_t last = find_rank(row, vocab, uint64_t(count) - 1, false, count_weight(), shared);
    const int self = threadIdx.x;

    if (self == 0)
        *filled = 0;
    __syncthreads();
    each_group<1>(row, vocab, [&](int v, float4 l) {
        const float lanes[4] = {l.x, l.y, l.z, l.w};

#pragma unroll
        for (int i = 0; i < 4; i++)
            if (v + i < vocab && rank_of(lanes[i], v + i) <= last)
                ranks[atomicAdd(filled, 1)] = rank_of(lanes[i], v + i);
    });
    __syncthreads();
    if (self < count) {
        const uint64_t rank = ranks[self];
        int before = 0;

        for (int i = 0; i < count; i++)
            before += ranks[i] < rank;
        out[before].token = int32_t(uint32_t(rank));
        out[before].logprob = plain_logprob(logit_of(uint32_t(rank >> 32)), plain);
    }
}

__global__ void __launch_bounds__(THREADS) alternatives(umi_score_job job)
{
    __shared__ rank_shared<1> shared;
    __shared__ float partial[WARPS];
    __shared__ uint64_t ranks[UM_ALTERNATIVES_MAX];
    __shared__ int filled;
    const float *row = job.logits + blockIdx.x * job.stride;
    const int wanted = job.alternative_count - 1;
    umi_score_plain plain = {MINUS_INFINITY, 0};
    float max = MINUS_INFINITY;

    each_group<4>(row, job.vocab, [&](int, float4 l) { max = fmaxf(max, largest(l)); });
    plain.max = block_reduce(max, partial, larger());
    if (plain.max > MINUS_INFINITY)
        plain.log_sum = logf(sum_exp(row, job.vocab, plain.max, 1, partial, keep_all()));
    if (threadIdx.x == 0)
        job.plain[blockIdx.x] = plain;
    if (wanted > 0)
        list_first(row, job.vocab, wanted, plain, ranks, &filled, shared,
                   job.alternatives + blockIdx.x * job.alternative_stride);
}

/* ---- edits and bans ---------------------------------------------------------------------------- */

__device__ __forceinline__ float edited(float logit, um_logit_edit edit)
{
    logit = settled(logit);
    logit = logit > 0 ? logit / edit.repetition : logit * edit.repetition;
    return settled(logit + edit.bias);
}

/* In place; the logits as they came go to `raw` unless that is NULL, those of bans first. */
__device__ __forceinline__ void edit_row(float *row, int vocab, const um_score_rule &rule,
                                         const um_logit_edit *edits, float *raw)
{
#pragma unroll 1
    for (int i = threadIdx.x; i < rule.edit_count; i += THREADS) {
        const um_logit_edit edit = edits[rule.first_edit + i];
        const float logit = row[edit.token];

        if (raw)
            raw[UM_BANNED_MAX + i] = logit;
        row[edit.token] = edited(logit, edit);
    }
    __syncthreads();
    if (threadIdx.x == 0)
        for (int i = 0; i < UM_BANNED_MAX; i++)
            if (rule.banned[i] >= 0 && rule.banned[i] < vocab) {
                if (raw)
                    raw[i] = row[rule.banned[i]];
                row[rule.banned[i]] = MINUS_INFINITY;
            }
    __syncthreads();
}

/* ---- filters ----------------------------------------------------------------------------------- */

struct filter_shared {
    union { /* in turn */
        rank_shared<mass_weight::PARTS> mass;
        rank_shared<count_weight::PARTS> count;
    };
    float floats[WARPS];
    uint64_t longs[WARPS];
};

__device__ __forceinline__ uint64_t cut_top_p(const float *row, int vocab, float top_p,
                                              mass_weight mass, filter_shared &shared)
{
    uint64_t total = 0;

    each_group<4>(row, vocab, [&](int, float4 l) {
        total += (mass(l.x) + mass(l.y)) + (mass(l.z) + mass(l.w));
    });
    total = block_reduce(total, shared.longs, add());
    return find_rank(row, vocab, static_cast<uint64_t>(double(top_p) * double(total)), false, mass,
                     shared.mass);
}

__device__ __forceinline__ uint64_t cut_row(const float *row, int vocab, const um_score_rule &rule,
                                            filter_shared &shared)
{
    mass_weight mass = {MINUS_INFINITY, rule.temperature > 0 ? rule.temperature : 1.0f};
    uint64_t cut = ALL_RANKS;

    if (rule.temperature <= 0 && !rule.filtered) /* the best token is always kept */
        return cut;
    if (rule.top_p < 1 || rule.min_p > 0) {
        each_group<4>(row, vocab, [&](int, float4 l) { mass.max = fmaxf(mass.max, largest(l)); });
        mass.max = block_reduce(mass.max, shared.floats, larger());
        if (mass.max == MINUS_INFINITY)
            return ALL_RANKS;
    }
    if (rule.top_p < 1)
        cut = cut_top_p(row, vocab, rule.top_p, mass, shared);
    if (rule.top_k > 0 && rule.top_k < vocab)
        cut = min(cut, find_rank(row, vocab, uint64_t(rule.top_k) - 1, true, count_weight(),
                                 shared.count));
    if (rule.min_p > 0)
        cut =
            min(cut, rank_of(mass.max + mass.temperature * um_noise_log(rule.min_p), 0) | ALL_TIES);
    return cut;
}

__global__ void __launch_bounds__(THREADS, 1) prepare(umi_score_job job)
{
    __shared__ filter_shared shared;
    const um_score_rule rule = job.rules[job.score_rows[blockIdx.x].rule];
    float *row = job.logits + blockIdx.x * job.stride;
    uint64_t cut;

    edit_row(row, job.vocab, rule, job.edits,
             job.raw ? job.raw + blockIdx.x * job.raw_stride : nullptr);
    cut = cut_row(row, job.vocab, rule, shared);
    if (threadIdx.x == 0)
        job.cuts[blockIdx.x] = cut;
}

} // namespace score

cudaError_t umi_launch_score_alternatives(const umi_score_job *job, cudaStream_t stream)
{
    if (job->rows == 0)
        return cudaSuccess;
    return launch_kernel(score::alternatives, dim3(unsigned(job->rows)), dim3(score::THREADS), 0,
                         stream, *job);
}

cudaError_t umi_launch_score_prepare(const umi_score_job *job, cudaStream_t stream)
{
    if (job->rows == 0)
        return cudaSuccess;
    return launch_kernel(score::prepare, dim3(unsigned(job->rows)), dim3(score::THREADS), 0, stream,
                         *job);
}
