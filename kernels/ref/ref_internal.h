/*
 * What the reference backend is made of, for its own files and for host backends that start from
 * it: `cpu` embeds umi_ref as its first member, copies umi_ref_ops and overrides slots. A backend
 * with weights of its own overrides everything that reads them: weight_create, weight_destroy,
 * linear and score.
 *
 * Numbers: plain loops in index order, everything in float32 with the rounding points of ops.h.
 * Slow on purpose; read it to know what an op means.
 */
#ifndef UM_KERNELS_REF_INTERNAL_H
#define UM_KERNELS_REF_INTERNAL_H

#include "kernels/ops_table.h"

typedef struct umi_ref {
    um_backend base;
    size_t tile_bytes;
    void *scratch; /* owned; the five arrays below lie in it */
    size_t scratch_bytes;
    float *row;     /* [width_max] one row widened to f32 */
    float *scores;  /* [sequence_max] one query against all keys */
    float *plain;   /* [vocab_max] logits of a row before edits */
    uint64_t *keys; /* [rows_max or vocab_max] order of rows or ids */
    float *tile;    /* [tile_floats] logits of a chunk of rows; of one row at a time in ref */
    int64_t tile_floats;
} umi_ref;

/* Every slot filled but measure_peak. */
extern const um_ops_table umi_ref_ops;

/* For backends that embed umi_ref: init sets all but ops, name and description; deinit frees what
 * umi_ref owns, where the table's close frees the struct as well. */
void umi_ref_init(umi_ref *ref, const um_backend_options *options);
void umi_ref_deinit(umi_ref *ref);
um_status umi_ref_reserve(um_backend *backend, const um_backend_limits *limits, um_err *err);

um_status umi_ref_weight_create(um_backend *backend, const um_weight_spec *spec, um_weight **out,
                                um_err *err);
void umi_ref_weight_destroy(um_backend *backend, um_weight *weight);
um_status umi_ref_embed(um_backend *backend, const um_embed_args *args, um_err *err);
um_status umi_ref_rmsnorm(um_backend *backend, const um_rmsnorm_args *args, um_err *err);
um_status umi_ref_layernorm(um_backend *backend, const um_layernorm_args *args, um_err *err);
um_status umi_ref_linear(um_backend *backend, const um_linear_args *args, um_err *err);
um_status umi_ref_rope(um_backend *backend, const um_rope_args *args, um_err *err);
um_status umi_ref_attention(um_backend *backend, const um_attention_args *args, um_err *err);
um_status umi_ref_mix(um_backend *backend, const um_mix_args *args, um_err *err);
um_status umi_ref_score(um_backend *backend, const um_score_args *args, um_err *err);
um_status umi_ref_select(um_backend *backend, const um_select_args *args, um_err *err);

/* A packed weight of ref: values rounded to the weight's dtype, kept as f32. */
typedef struct umi_ref_weight {
    um_weight base;
    float *values; /* [rows][in]; GATED: all gate rows, then all up rows; owned */
    float *bias;   /* [rows] or NULL; owned, behind values */
} umi_ref_weight;

/* y[i] = row first + i of the stored matrix times x, plus bias, in index order. */
void umi_ref_products(const umi_ref_weight *weight, int64_t first, int64_t count, const float *x,
                      float *y);

/* One integer whose descending order is (value descending, index ascending), unique per index, so
 * that any sort gives the one order. -0 is 0, NaN comes last. */
uint64_t umi_ref_order_key(float value, int32_t index);
int32_t umi_ref_key_index(uint64_t key);
/* Descending. */
void umi_ref_sort_keys(uint64_t *keys, int32_t count);

#endif
