/*
 * Attention on the device: the work list and the launchers, what cuda_attention.c (host) and the
 * attention_*.cu files agree on.
 *
 * The query heads of one KV head share a tile: a tile holds UMI_ATTENTION_TILE packed rows, row p
 * being query row p / group, head p % group of the KV head. A block takes one tile against one
 * range of keys, in two passes over tiles of UMI_ATTENTION_KEYS keys: first the largest score of
 * each row, then from the last tile back to the first the weights exp(s - max) and their product
 * with V. So the weights are rounded relative to the row's own largest score, as ops.h has it,
 * which a running maximum would not give: it rounds each tile's weights relative to the largest
 * score so far. The price is the product of Q and K a second time, but for the last tile, whose
 * scores are still in registers.
 *
 * Few tiles and many keys leave most of the device idle: the keys of such a sequence are split into
 * ranges of one length, each with a maximum and a sum of its own, and a second launch adds the
 * parts in the order of the keys. The length of a range follows from the sequence's own length and
 * the model's heads alone, so no result depends on the rest of the batch or on the device.
 */
#ifndef UM_KERNELS_CUDA_ATTENTION_H
#define UM_KERNELS_CUDA_ATTENTION_H

#include <cuda_runtime_api.h>
#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define UMI_ATTENTION_TILE 64        /* packed query rows of a block */
#define UMI_ATTENTION_KEYS 64        /* keys of a step */
#define UMI_ATTENTION_PART_WIDTH 128 /* floats of a row of a part: wider heads are not split */

/* A query tile against a range of its sequence's keys; or, in the second launch, the parts of a
 * tile to be added. Rows and keys count from the sequence's first. */
typedef struct __attribute__((aligned(16))) umi_attention_item { /* two 16-byte loads */
    int32_t first; /* the sequence's first row in the batch */
    int32_t row;   /* first query row of the tile */
    int32_t rows;  /* query rows of the tile */
    int32_t key;   /* first key of the range */
    int32_t keys;  /* > 0 */
    int32_t part;  /* where its part goes; -1: the range is all keys and the result is final */
    int32_t parts; /* ranges of the tile: the second launch adds that many from `part` on */
    int32_t reserved;
} umi_attention_item;

/* Strides are in elements; tensors are f32 or bf16, all alike. Heads of KV head i are
 * [i * group, (i + 1) * group). Part n of KV head i is number n * kv_heads + i. */
typedef struct umi_attention_job {
    const void *q, *k, *v;
    void *out;
    int32_t q_stride, k_stride, v_stride, out_stride;
    const umi_attention_item *items;    /* device; one block for each KV head each */
    const umi_attention_item *combines; /* device, likewise */
    float *sums;                        /* parts [UMI_ATTENTION_TILE][PART_WIDTH] */
    float *scales; /* parts [UMI_ATTENTION_TILE][2]: max as a power of 2, sum of the weights */
    int32_t item_count;
    int32_t combine_count;
    int32_t kv_heads;
    int32_t group;
    int32_t head_dim;
    float scale;
    bool bf16;
} umi_attention_job;

/* Once for a device, before the first launch. */
cudaError_t umi_prepare_attention(void);
/* bf16 on tensor cores; head_dim 64 or 128, rows aligned to 16 bytes. */
cudaError_t umi_launch_attention_mma(const umi_attention_job *job, cudaStream_t stream);
/* f32 and bf16 on plain FMA, any head_dim and alignment. */
cudaError_t umi_launch_attention_fma(const umi_attention_job *job, cudaStream_t stream);
/* Adds the parts that one of the above left. */
cudaError_t umi_launch_attention_combine(const umi_attention_job *job, cudaStream_t stream);

#ifdef __cplusplus
}
#endif

#endif
