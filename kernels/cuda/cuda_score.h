/*
 * The launchers of score and select: what cuda_score.c and the .cu files agree on. A job is plain
 * device pointers and sizes. Each row of a score is one block, each rule of a select is one block,
 * so that no result depends on what else is in the call. All of them may be launched for zero
 * rows.
 */
#ifndef UM_KERNELS_CUDA_SCORE_H
#define UM_KERNELS_CUDA_SCORE_H

#include <cuda_runtime_api.h>
#include <stdint.h>

#include "kernels/ops.h"

#ifdef __cplusplus
extern "C" {
#endif

/* More ids than any tokenizer has; bounds the sums of score_rank.cuh. */
#define UMI_SCORE_VOCAB_MAX (1 << 20)

/* Softmax of a row's logits before edits: ln w_v = l_v - max - log_sum. */
typedef struct umi_score_plain {
    float max;
    float log_sum;
} umi_score_plain;

/* One chunk of rows. Pointers to one element a row begin at the chunk's first row. */
typedef struct umi_score_job {
    float *logits;  /* [rows][stride] f32, 16-byte aligned rows; changed by edits and bans */
    int64_t stride; /* a multiple of 4 */
    int32_t rows;
    int32_t vocab;
    const um_score_row *score_rows;
    const um_score_rule *rules;
    const um_logit_edit *edits; /* NULL: no rule has edits */
    int32_t *tokens;
    float *confidences;
    um_alternative *alternatives; /* NULL: not wanted */
    int64_t alternative_stride;   /* elements */
    int32_t alternative_count;    /* at least 1 where they are wanted */
    /* Scratch. */
    uint64_t *cuts;         /* the last kept id of each row, as a rank (score.cuh) */
    umi_score_plain *plain; /* for alternatives */
    float *raw; /* [rows][raw_stride] what bans and edits have overwritten; for alternatives, NULL
                 * without */
    int64_t raw_stride; /* UM_BANNED_MAX + the most edits that a rule may have */
} umi_score_job;

/* logits *= scale, and a copy of the result to `copy` unless that is NULL. */
cudaError_t umi_launch_score_scale(float *logits, int64_t stride, int32_t rows, int32_t vocab,
                                   float scale, float *copy, int64_t copy_stride,
                                   cudaStream_t stream);
/* In this order. The likeliest tokens, all but the last entry of a row: */
cudaError_t umi_launch_score_alternatives(const umi_score_job *job, cudaStream_t stream);
/* edits, bans, and what the filters keep: */
cudaError_t umi_launch_score_prepare(const umi_score_job *job, cudaStream_t stream);
/* token and confidence, and the last alternative. */
cudaError_t umi_launch_score_choose(const umi_score_job *job, cudaStream_t stream);

/* Sequences of more rows than this are sorted in global memory. */
#define UMI_SELECT_SHARED_ROWS 4096

typedef struct umi_select_job {
    const int32_t *tokens;
    const float *confidences;
    const um_score_row *score_rows;
    const um_select_rule *rules;
    int32_t rule_count;
    um_commit *commits;
    int32_t *counts;
    uint64_t *keys; /* scratch, one a row; for sequences above UMI_SELECT_SHARED_ROWS only */
} umi_select_job;
cudaError_t umi_launch_select(const umi_select_job *job, cudaStream_t stream);

#ifdef __cplusplus
}
#endif

#endif
