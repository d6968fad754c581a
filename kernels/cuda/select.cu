/*
 * Which rows of a sequence a step commits. One block a sequence: it sorts the rows by a 64-bit key
 * that is unique, decides by the rule how far down the order goes, and writes what is committed in
 * ascending position. Keys lie in shared memory, those of long sequences in global memory.
 */
#include "core/base/rng.h"
#include "kernels/cuda/cuda_score.h"
#include "kernels/cuda/device.cuh"

namespace selection
{

constexpr int THREADS = 256;
constexpr int WARPS = THREADS / device::WARP;

/* What a rule sees: its own rows, from 0. */
struct sequence {
    um_select_rule rule;
    const um_score_row *rows;
    const int32_t *tokens;
    const float *confidences;
    um_commit *commits;
};

/* ---- order ------------------------------------------------------------------------------------- */

__device__ __forceinline__ uint32_t draw(const sequence &s, int row, uint32_t purpose)
{
    uint32_t words[4];

    um_philox(s.rule.seed, s.rule.step, uint32_t(s.rows[row].position), purpose, s.rule.choice,
              words);
    return words[0];
}

/* Descending keys are (value descending, row ascending); -0 is 0, NaN comes last. */
__device__ __forceinline__ uint64_t row_key(const sequence &s, int row)
{
    float value = s.confidences[row];
    uint32_t bits;

    if (s.rule.order_temperature > 0)
        value = value / s.rule.order_temperature + um_gumbel(draw(s, row, UM_DRAW_RANK));
    bits = __float_as_uint(value + 0.0f);
    bits = bits & 0x80000000u ? ~bits : bits | 0x80000000u;
    if (value != value)
        bits = 0;
    return uint64_t{bits} << 32 | uint32_t(~row);
}

/* One step of the network: of each two neighbours by `mask` the larger key comes first. */
__device__ __forceinline__ void sort_step(uint64_t *keys, int count, int mask)
{
    for (int i = threadIdx.x; i < count; i += THREADS) {
        const int other = i ^ mask;

        if (other > i && other < count && keys[other] > keys[i]) {
            const uint64_t key = keys[i];

            keys[i] = keys[other];
            keys[other] = key;
        }
    }
    __syncthreads();
}

/* Descending: the bitonic network whose every comparison points the same way, so that what is
 * missing behind `count` counts as smallest and never moves. */
__device__ __forceinline__ void sort_keys(uint64_t *keys, int count)
{
    for (int size = 2; size < 2 * count; size *= 2) {
        sort_step(keys, count, size - 1);
        for (int mask = size / 4; mask > 0; mask /= 2)
            sort_step(keys, count, mask);
    }
}

/* ---- how far ------------------------------------------------------------------------------------- */

/* Does rank r (from 1) with confidence w pass the rule on its own? */
__device__ __forceinline__ bool passes(const um_select_rule &rule, int r, float w)
{
    if (rule.kind == UM_SELECT_THRESHOLD)
        return w >= rule.threshold;
    if (rule.kind == UM_SELECT_FACTOR)
        return (float(r) + 1.0f) * (1.0f - w) <= rule.factor;
    return false;
}

/* How many ranks are committed: the quota or minimum, then as far as each one passes. */
__device__ __forceinline__ int ranks_of(const sequence &s, const uint64_t *keys, int *first_failing)
{
    const int rows = s.rule.rows, least = min(s.rule.count, rows);
    int failing = rows;

    if (threadIdx.x == 0)
        *first_failing = rows;
    __syncthreads();
    for (int i = least + int(threadIdx.x); i < rows && failing == rows; i += THREADS)
        if (!passes(s.rule, i + 1, s.confidences[~uint32_t(keys[i])]))
            failing = i;
    if (failing < rows)
        atomicMin(first_failing, failing);
    __syncthreads();
    failing = *first_failing;
    if (s.rule.kind == UM_SELECT_FACTOR && s.rule.factor_quirk && rows >= 2 && failing == rows - 1)
        return rows;
    return failing;
}

/* The least key that is committed. Called by the whole block. */
__device__ __forceinline__ uint64_t last_key(const sequence &s, uint64_t *keys, int *first_failing)
{
    const int rows = s.rule.rows;
    int ranks;

    for (int i = threadIdx.x; i < rows; i += THREADS)
        keys[i] = row_key(s, i);
    __syncthreads();
    sort_keys(keys, rows);
    if (s.rule.kind == UM_SELECT_COMPETING) /* equal confidences pass together */
        return s.rule.count < rows ? keys[rows - 1 - s.rule.count] & ~uint64_t{0xffffffffu}
                                   : UINT64_MAX;
    ranks = ranks_of(s, keys, first_failing);
    return ranks > 0 ? keys[ranks - 1] : UINT64_MAX;
}

/* ---- commits -------------------------------------------------------------------------------------- */

__device__ __forceinline__ bool is_committed(const sequence &s, int row, uint64_t last)
{
    if (s.rule.kind == UM_SELECT_INDEPENDENT)
        return um_uniform(draw(s, row, UM_DRAW_COMMIT)) < s.rule.threshold;
    if (s.rule.kind == UM_SELECT_COMPETING && !s.rows[row].masked)
        return false;
    return row_key(s, row) >= last;
}

/* Commits in the order of rows; returns how many. `totals` is a number for each warp. */
__device__ __forceinline__ int write_commits(const sequence &s, uint64_t last, int (&totals)[WARPS])
{
    const int lane = threadIdx.x % device::WARP, warp = threadIdx.x / device::WARP;
    int written = 0;

    for (int base = 0; base < s.rule.rows; base += THREADS) {
        const int row = base + int(threadIdx.x);
        const bool commits = row < s.rule.rows && is_committed(s, row, last);
        const unsigned ballot = __ballot_sync(device::FULL_MASK, commits);
        int at = written + __popc(ballot & ((1u << lane) - 1));

        if (lane == 0)
            totals[warp] = __popc(ballot);
        __syncthreads();
        for (int i = 0; i < WARPS; i++) {
            at += i < warp ? totals[i] : 0;
            written += totals[i];
        }
        if (commits)
            s.commits[at] =
                um_commit{s.rule.sequence, s.rows[row].position, s.tokens[row], s.confidences[row]};
        __syncthreads();
    }
    return written;
}

__global__ void __launch_bounds__(THREADS, 1) select_rows(umi_select_job job)
{
    __shared__ uint64_t shared_keys[UMI_SELECT_SHARED_ROWS];
    __shared__ int first_failing;
    __shared__ int totals[WARPS];
    const um_select_rule rule = job.rules[blockIdx.x];
    const sequence s = {rule, job.score_rows + rule.first, job.tokens + rule.first,
                        job.confidences + rule.first, job.commits + rule.first};
    uint64_t *keys = rule.rows <= UMI_SELECT_SHARED_ROWS ? shared_keys : job.keys + rule.first;
    uint64_t last = 0;
    int written;

    if (rule.kind != UM_SELECT_INDEPENDENT)
        last = last_key(s, keys, &first_failing);
    written = write_commits(s, last, totals);
    if (threadIdx.x == 0)
        job.counts[blockIdx.x] = written;
}

} // namespace selection

cudaError_t umi_launch_select(const umi_select_job *job, cudaStream_t stream)
{
    if (job->rule_count == 0)
        return cudaSuccess;
    return launch_kernel(selection::select_rows, dim3(unsigned(job->rule_count)),
                         dim3(selection::THREADS), 0, stream, *job);
}
