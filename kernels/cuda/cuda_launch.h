/*
 * The launchers of the kernels that work row by row: what the host side (C) and the .cu files agree
 * on. A job is plain device pointers and sizes; a launcher chooses grid and vector width, launches
 * on the stream and returns the launch's error. Nothing is checked here: ops_check.c did. Zero rows
 * launch nothing.
 *
 * Strides are in elements. "c" is the compute dtype: bf16 where the job says so, else f32.
 */
#ifndef UM_KERNELS_CUDA_LAUNCH_H
#define UM_KERNELS_CUDA_LAUNCH_H

#include <cuda_runtime_api.h>
#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* out[r] = scale * table[ids[r]] + position_table[positions[r]] */
typedef struct umi_embed_job {
    const int32_t *ids;
    const void *table; /* c */
    int64_t table_stride;
    const int32_t *positions;
    const void *position_table; /* c; NULL: none */
    int64_t position_stride;
    float *out;
    int64_t out_stride;
    int64_t rows;
    int32_t cols;
    float scale;
    bool bf16;
} umi_embed_job;
cudaError_t umi_launch_embed(const umi_embed_job *job, cudaStream_t stream);

/* RMSNorm and LayerNorm, as ops.h says; `bias` may be NULL. */
typedef struct umi_norm_job {
    const float *x;
    int64_t x_stride;
    const float *gain;
    const float *bias;
    void *out; /* c */
    int64_t out_stride;
    int64_t rows;
    int32_t cols;
    float eps;
    bool bf16;
} umi_norm_job;
cudaError_t umi_launch_rmsnorm(const umi_norm_job *job, cudaStream_t stream);
cudaError_t umi_launch_layernorm(const umi_norm_job *job, cudaStream_t stream);

/* Splits q | k | v, rotates q and k at the rows' positions, rounds all three into their places. */
typedef struct umi_rope_job {
    const float *qkv;
    int64_t qkv_stride;
    const int32_t *positions;
    const float *cos_sin; /* [position][head_dim]: cosines | sines; NULL: no rotation */
    int64_t cos_sin_stride;
    void *q, *k, *v; /* c */
    int64_t q_stride, k_stride, v_stride;
    int64_t rows;
    int32_t heads, kv_heads, head_dim;
    bool bf16;
} umi_rope_job;
cudaError_t umi_launch_rope(const umi_rope_job *job, cudaStream_t stream);

/* What follows a product of a layer: out[r][i] = act(p[r][i] + bias[i]), and for gated layers
 * act(p[r][i] + bias[i]) * (p[r][cols + i] + bias[cols + i]). */
typedef enum umi_finish {
    UMI_FINISH_NONE, /* no activation */
    UMI_FINISH_SILU,
    UMI_FINISH_GELU,
    UMI_FINISH_RELU,
    UMI_FINISH_GELU_TANH,
} umi_finish;

typedef struct umi_finish_job {
    const float *products;
    int64_t products_stride;
    const float *bias; /* or NULL */
    void *out;         /* c */
    int64_t out_stride;
    int64_t rows;
    int32_t cols; /* of out */
    umi_finish finish;
    bool gated;
    bool accumulate; /* out += ...; f32 only */
    bool bf16;
} umi_finish_job;
cudaError_t umi_launch_finish(const umi_finish_job *job, cudaStream_t stream);

/* Guidance: out[r] = u + (scales[r] + 1) * (c - u), or c alone. */
typedef struct umi_mix_job {
    const float *x;
    int64_t x_stride;
    const int32_t *conditional;
    const int32_t *unconditional; /* < 0: none */
    const float *scales;
    void *out; /* c */
    int64_t out_stride;
    int64_t rows;
    int32_t cols;
    bool bf16;
} umi_mix_job;
cudaError_t umi_launch_mix(const umi_mix_job *job, cudaStream_t stream);

/* Reads `count` floats (a multiple of 4) once and keeps no more than a sum per block in `sums`
 * [blocks]: how fast can the device read? */
cudaError_t umi_launch_read(const float *data, int64_t count, float *sums, int32_t blocks,
                            cudaStream_t stream);

#ifdef __cplusplus
}
#endif

#endif
