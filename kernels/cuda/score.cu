/*
 * The second half of score: the token of a row and how sure the row is of it, from logits that
 * edits, bans and filters (score_filter.cu) have been through. A plain row is read twice: for its
 * best token and for its softmax.
 */
#include "kernels/cuda/score.cuh"

namespace score
{

/* ---- scale --------------------------------------------------------------------------------------- */

__global__ void __launch_bounds__(THREADS)
    scale_logits(float *logits, int64_t stride, int32_t vocab, float factor, float *copy,
                 int64_t copy_stride)
{
    float *row = logits + blockIdx.x * stride;

    for (int v = threadIdx.x; v < vocab; v += THREADS) {
        const float logit = row[v] * factor;

        row[v] = logit;
        if (copy)
            copy[blockIdx.x * copy_stride + v] = logit;
    }
}

/* ---- best token ------------------------------------------------------------------------------------ */

/* What one pass finds: the winner, and the two largest logits of the confidence's softmax. */
struct alignas(16) scan {
    float value; /* logit with noise */
    int32_t token;
    float first, second;
};

struct merge_scans {
    __device__ __forceinline__ scan operator()(const scan &a, const scan &b) const
    {
        const bool b_wins = b.value > a.value || (b.value == a.value && b.token < a.token);
        scan both = b_wins ? b : a;

        both.first = fmaxf(a.first, b.first);
        both.second = fmaxf(fminf(a.first, b.first), fmaxf(a.second, b.second));
        return both;
    }
};

__device__ __forceinline__ void see(scan &so_far, float value, int32_t token)
{
    if (value > so_far.value) {
        so_far.value = value;
        so_far.token = token;
    }
}

__device__ __forceinline__ void count(scan &so_far, float logit)
{
    so_far.second = fmaxf(so_far.second, fminf(so_far.first, logit));
    so_far.first = fmaxf(so_far.first, logit);
}

/* What is left of a group of logits: those that the filters keep. */
struct keep_to_cut {
    uint64_t cut;

    __device__ __forceinline__ float4 operator()(int v, float4 l) const
    {
        return make_float4(rank_of(l.x, v) <= cut ? l.x : MINUS_INFINITY,
                           rank_of(l.y, v + 1) <= cut ? l.y : MINUS_INFINITY,
                           rank_of(l.z, v + 2) <= cut ? l.z : MINUS_INFINITY,
                           rank_of(l.w, v + 3) <= cut ? l.w : MINUS_INFINITY);
    }
};

/* Those that the confidence counts. */
struct keep_counted {
    int32_t first, second; /* um_score_rule.uncounted */

    __device__ __forceinline__ bool leaves_out(int v) const
    {
        return v == first || v == second;
    }
    __device__ __forceinline__ float4 operator()(int v, float4 l) const
    {
        if (first >> 2 == v >> 2 || second >> 2 == v >> 2) {
            l.x = leaves_out(v) ? MINUS_INFINITY : l.x;
            l.y = leaves_out(v + 1) ? MINUS_INFINITY : l.y;
            l.z = leaves_out(v + 2) ? MINUS_INFINITY : l.z;
            l.w = leaves_out(v + 3) ? MINUS_INFINITY : l.w;
        }
        return l;
    }
};

__device__ __forceinline__ float4 with_noise(float4 l, int v, const um_score_rule &rule,
                                             int32_t position)
{
    uint32_t words[4];

    um_philox(rule.seed, rule.step, uint32_t(position), uint32_t(v) / 4, rule.choice, words);
    return make_float4(
        l.x + rule.temperature * um_gumbel(words[0]), l.y + rule.temperature * um_gumbel(words[1]),
        l.z + rule.temperature * um_gumbel(words[2]), l.w + rule.temperature * um_gumbel(words[3]));
}

/* `sampled`: what a token may be drawn from; `counted`: what the confidence's softmax is over. */
template <int UNROLL, bool NOISY, typename Sampled, typename Counted>
__device__ __forceinline__ scan scan_row(const float *row, int vocab, const um_score_rule &rule,
                                         int32_t position, Sampled sampled, Counted counted,
                                         scan (&partial)[WARPS])
{
    scan found = {MINUS_INFINITY, INT_MAX, MINUS_INFINITY, MINUS_INFINITY};

    each_group<UNROLL>(row, vocab, [&](int v, float4 l) {
        float4 z = sampled(v, l), c = counted(v, l);

        if (NOISY)
            z = with_noise(z, v, rule, position);
        see(found, z.x, v);
        see(found, z.y, v + 1);
        see(found, z.z, v + 2);
        see(found, z.w, v + 3);
        count(found, c.x);
        count(found, c.y);
        count(found, c.z);
        count(found, c.w);
    });
    return block_reduce(found, partial, merge_scans());
}

/* Where every logit is -inf the lowest id that is not banned wins. */
__device__ __forceinline__ int32_t first_allowed(int vocab, const um_score_rule &rule)
{
    for (int32_t v = 0; v < vocab && v <= UM_BANNED_MAX; v++)
        if (v != rule.banned[0] && v != rule.banned[1])
            return v;
    return 0;
}

/* The winner of a row, and of its counted ids the two largest logits. */
template <typename Counted>
__device__ __forceinline__ scan scan_rule(const float *row, int vocab, const um_score_rule &rule,
                                          int32_t position, uint64_t cut, Counted counted,
                                          scan (&partial)[WARPS])
{
    if (rule.temperature <= 0) /* the filters keep the largest */
        return scan_row<4, false>(row, vocab, rule, position, keep_all(), counted, partial);
    return scan_row<1, true>(row, vocab, rule, position, keep_to_cut{cut}, counted, partial);
}

/* ---- confidence -------------------------------------------------------------------------------------- */

/* Sum of w ln(w + 1e-10), w = exp((l - max) / T) / sum. */
template <typename Keep>
__device__ __forceinline__ float sum_entropy(const float *row, int vocab, float max,
                                             float temperature, float sum, float (&partial)[WARPS],
                                             Keep keep)
{
    float entropy = 0;

    each_group<1>(row, vocab, [&](int v, float4 l) {
        const float4 kept = keep(v, l);
        const float lanes[4] = {kept.x, kept.y, kept.z, kept.w};
        float terms[4];

#pragma unroll
        for (int i = 0; i < 4; i++) {
            const float w = expf(scaled(lanes[i], max, temperature)) / sum;

            terms[i] = w * logf(w + 1e-10f);
        }
        entropy += (terms[0] + terms[1]) + (terms[2] + terms[3]);
    });
    return block_reduce(entropy, partial, add());
}

__device__ __forceinline__ float order_draw(const um_score_rule &rule, int32_t position)
{
    uint32_t draw[4];

    um_philox(rule.seed, rule.step, uint32_t(position), UM_DRAW_ORDER, rule.choice, draw);
    return um_uniform(draw[0]);
}

/* `logit` is the token's own, -inf where it does not count. */
template <typename Counted>
__device__ __forceinline__ float confidence_of(const float *row, int vocab, int32_t kind,
                                               float temperature, scan found, float logit,
                                               Counted counted, float (&partial)[WARPS])
{
    float sum;

    if (found.first == MINUS_INFINITY)
        return kind == UM_CONFIDENCE_LOGPROB ? -FLT_MAX : 0;
    sum = sum_exp(row, vocab, found.first, temperature, partial, counted);
    if (kind == UM_CONFIDENCE_LOGPROB)
        return fmaxf(scaled(logit, found.first, temperature) - logf(sum), -FLT_MAX);
    if (kind == UM_CONFIDENCE_MARGIN)
        return (1.0f - expf(scaled(found.second, found.first, temperature))) / sum;
    if (kind == UM_CONFIDENCE_ENTROPY)
        return sum_entropy(row, vocab, found.first, temperature, sum, partial, counted);
    return expf(scaled(logit, found.first, temperature)) / sum;
}

/* ---- the row ------------------------------------------------------------------------------------------ */

struct choice {
    int32_t token;
    float confidence;
};

template <typename Counted>
__device__ __forceinline__ choice choose_row(const float *row, int vocab, const um_score_rule &rule,
                                             int32_t position, uint64_t cut, float temperature,
                                             Counted counted, scan (&scans)[WARPS],
                                             float (&partial)[WARPS])
{
    const scan found = scan_rule(row, vocab, rule, position, cut, counted, scans);
    const int32_t token = found.value > MINUS_INFINITY ? found.token : first_allowed(vocab, rule);
    const bool counts = token != rule.uncounted[0] && token != rule.uncounted[1];
    const float logit = counts ? settled(row[token]) : MINUS_INFINITY;

    if (rule.confidence == UM_CONFIDENCE_RANDOM)
        return choice{token, order_draw(rule, position)};
    return choice{token, confidence_of(row, vocab, rule.confidence, temperature, found, logit,
                                       counted, partial)};
}

/* The token's logit as it came: where edits or a ban changed it, prepare left it in `raw`. */
__device__ __forceinline__ void list_chosen(const umi_score_job &job, const um_score_rule &rule,
                                            const float *row, int32_t token, int *changed)
{
    const float *raw = job.raw + blockIdx.x * job.raw_stride;

    if (threadIdx.x == 0)
        *changed = token == rule.banned[0] ? 0 : token == rule.banned[1] ? 1 : -1;
    __syncthreads();
    for (int i = threadIdx.x; i < rule.edit_count; i += THREADS)
        if (job.edits[rule.first_edit + i].token == token)
            *changed = UM_BANNED_MAX + i;
    __syncthreads();
    if (threadIdx.x == 0) {
        um_alternative *out =
            job.alternatives + blockIdx.x * job.alternative_stride + job.alternative_count - 1;
        float logit = *changed >= 0 ? raw[*changed] : row[token];

        out->token = token;
        out->logprob = plain_logprob(settled(logit), job.plain[blockIdx.x]);
    }
}

__global__ void __launch_bounds__(THREADS, 2) choose(umi_score_job job)
{
    __shared__ scan scans[WARPS];
    __shared__ float partial[WARPS];
    __shared__ int changed;
    const um_score_row at = job.score_rows[blockIdx.x];
    const um_score_rule rule = job.rules[at.rule];
    const float *row = job.logits + blockIdx.x * job.stride;
    const uint64_t cut = job.cuts[blockIdx.x];
    choice chosen;

    if (rule.filtered)
        chosen = choose_row(row, job.vocab, rule, at.position, cut,
                            rule.temperature > 0 ? rule.temperature : 1.0f, keep_to_cut{cut}, scans,
                            partial);
    else
        chosen = choose_row(row, job.vocab, rule, at.position, cut, 1.0f,
                            keep_counted{rule.uncounted[0], rule.uncounted[1]}, scans, partial);
    if (threadIdx.x == 0) {
        job.tokens[blockIdx.x] = chosen.token;
        job.confidences[blockIdx.x] = chosen.confidence;
    }
    if (job.alternatives)
        list_chosen(job, rule, row, chosen.token, &changed);
}

} // namespace score

cudaError_t umi_launch_score_scale(float *logits, int64_t stride, int32_t rows, int32_t vocab,
                                   float scale, float *copy, int64_t copy_stride,
                                   cudaStream_t stream)
{
    if (rows == 0)
        return cudaSuccess;
    return launch_kernel(score::scale_logits, dim3(unsigned(rows)), dim3(score::THREADS), 0, stream,
                         logits, stride, vocab, scale, copy, copy_stride);
}

cudaError_t umi_launch_score_choose(const umi_score_job *job, cudaStream_t stream)
{
    if (job->rows == 0)
        return cudaSuccess;
    return launch_kernel(score::choose, dim3(unsigned(job->rows)), dim3(score::THREADS), 0, stream,
                         *job);
}
