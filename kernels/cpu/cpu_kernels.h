/*
 * What one instruction-set level offers: a table of kernels over units of work, filled by
 * cpu_avx512bf16.c, cpu_avx512.c, cpu_avx2.c and cpu_portable.c from the same *_impl.h texts.
 * cpu_backend.c splits the work into units, which the threads of the pool take, each with scratch
 * memory of its own.
 *
 * Batch invariance rests on these rules: an output element is summed over K in one accumulator,
 * in order; units, row chunks and tiles only decide who computes an element and when.
 */
#ifndef UM_KERNELS_CPU_KERNELS_H
#define UM_KERNELS_CPU_KERNELS_H

#include "kernels/cpu/cpu_threads.h"
#include "kernels/ops_table.h"

#define UMI_HEAD_DIM_MAX 256
/* Rows that a thread takes through one panel before the next: bounds the accumulators kept between
 * blocks of K (256 x 64 floats, 64 KiB), and reads weights once per 256 rows. */
#define UMI_ROW_CHUNK 256
#define UMI_PANEL_COLS_MAX 64

/* A packed matrix: panels of `panel_cols` columns of y, contiguous one after the other.
 *   f32:  [panel][k][panel_cols]
 *   bf16: [panel][(k + 1) / 2][panel_cols][2], an odd last k paired with zero
 * A GATED panel holds panel_cols / 2 gate columns, then the up columns of the same outputs, so that
 * the product of both is in registers at once. Missing columns are zero. */
typedef struct umi_cpu_weight {
    um_weight base;
    void *panels; /* owned */
    size_t panels_bytes;
    float *bias; /* [panel_count][panel_cols], owned, or NULL */
    size_t bias_bytes;
    int64_t panel_count;
    int64_t panel_bytes;
} umi_cpu_weight;

typedef struct umi_linear_job {
    const void *x; /* [rows][in], dtype of the weight */
    int64_t x_stride;
    int64_t rows;
    int64_t cols;       /* the first so many of y, at most all */
    int64_t panels;     /* of these columns */
    int64_t row_chunks; /* rows are cut into this many even chunks; a unit is a (panel, chunk) */
    bool rows_first;    /* units run through the panels of a chunk, else the chunks of a panel */
    const umi_cpu_weight *weight;
    void *out;
    int64_t out_stride;
    um_dtype out_dtype;
    bool accumulate;
} umi_linear_job;

/* One unit of attention: rows [row, row + rows) of a sequence against all its keys, for the query
 * heads of one KV head. */
typedef struct umi_attention_unit {
    int64_t first; /* packed row of the sequence's first position */
    int64_t length;
    int64_t row; /* inside the sequence */
    int64_t rows;
    int32_t kv_head;
} umi_attention_unit;

#define UMI_HISTOGRAM 2048

/* What the scan of one row of logits needs besides. */
typedef struct umi_score_scratch {
    uint64_t histogram[UMI_HISTOGRAM];
    float edited[]; /* [vocab_max] logits that edits overwrote */
} umi_score_scratch;

typedef struct umi_cpu_kernels {
    const char *name; /* "avx512bf16" */
    int32_t panel_cols;
    /* A unit below panels * row_chunks; scratch of UMI_ROW_CHUNK * UMI_PANEL_COLS_MAX floats. */
    void (*linear)(const umi_linear_job *job, int64_t unit, float *scratch);
    /* Rows [begin, end). */
    void (*rmsnorm)(const um_rmsnorm_args *args, int64_t begin, int64_t end);
    void (*layernorm)(const um_layernorm_args *args, int64_t begin, int64_t end);
    void (*rope)(const um_rope_args *args, int64_t begin, int64_t end);
    /* Scratch that attention needs for sequences of that length, in bytes. */
    size_t (*attention_bytes)(int64_t sequence_max, int32_t head_dim);
    /* Rows of a unit for sequences of that length. */
    int64_t (*attention_strip)(int64_t length);
    /* Before a call's first unit, for every thread's scratch: it holds no packed K and V yet. */
    void (*attention_begin)(void *scratch);
    void (*attention)(const um_attention_args *args, const umi_attention_unit *unit, void *scratch);
    /* Token, confidence and alternatives of row `row` from W h + b [vocab], which it overwrites. */
    void (*scan)(const um_score_args *args, int64_t row, float *logits, umi_score_scratch *scratch);
    /* Register-only loops for `unmask bench`; they return the FLOP done. */
    double (*peak_f32)(int64_t iterations);
    double (*peak_bf16)(int64_t iterations);          /* NULL: no product instruction for bf16 */
    double (*read)(const float *data, int64_t count); /* some function of all the data */
} umi_cpu_kernels;

extern const umi_cpu_kernels umi_cpu_portable;
#if defined(__x86_64__)
extern const umi_cpu_kernels umi_cpu_avx2;
extern const umi_cpu_kernels umi_cpu_avx512;
extern const umi_cpu_kernels umi_cpu_avx512bf16;
#endif

/* Columns of y that one panel holds. */
static inline int64_t umi_panel_outputs(const umi_cpu_weight *weight, int64_t panel_cols)
{
    return weight->base.kind == UM_WEIGHT_GATED ? panel_cols / 2 : panel_cols;
}

/* Packs and frees weights; the level only decides the panel width. */
um_status umi_cpu_weight_create(const umi_cpu_kernels *kernels, umi_pool *pool,
                                const um_weight_spec *spec, um_weight **out, um_err *err);
void umi_cpu_weight_destroy(um_weight *weight);

#endif
