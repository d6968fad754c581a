/*
 * The slots a backend fills. Seen by tensor.c, backend.c, ops.c and the backends only.
 *
 * `ref` fills every slot on host memory; `cpu` starts as a copy of ref's table and overrides.
 * All slots are required unless marked optional. Kernels may assume checked arguments
 * (ops_check.c) and never allocate: scratch comes from reserve.
 *
 * Kernel names say op, dtype, instruction set and tile: linear_bf16_avx512bf16_6x64 is a linear
 * layer in bf16 with a register tile of 6 rows by 64 columns.
 */
#ifndef UM_KERNELS_OPS_TABLE_H
#define UM_KERNELS_OPS_TABLE_H

#include "kernels/ops.h"

typedef struct um_ops_table {
    void (*close)(um_backend *backend); /* frees the backend itself */
    /* `limits` already include those of earlier calls; on failure the old scratch stays. */
    um_status (*reserve)(um_backend *backend, const um_backend_limits *limits, um_err *err);
    /* memory */
    void *(*alloc)(um_backend *backend,
                   size_t bytes); /* zeroed, 64-byte aligned; NULL: none left */
    void (*release)(um_backend *backend, void *data, size_t bytes);
    um_status (*upload)(um_backend *backend, void *to, const void *from, size_t bytes, um_err *err);
    um_status (*download)(um_backend *backend, void *to, const void *from, size_t bytes,
                          um_err *err);
    /* weights */
    um_status (*weight_create)(um_backend *backend, const um_weight_spec *spec, um_weight **out,
                               um_err *err);
    void (*weight_destroy)(um_backend *backend, um_weight *weight);
    /* forward */
    um_status (*embed)(um_backend *backend, const um_embed_args *args, um_err *err);
    um_status (*rmsnorm)(um_backend *backend, const um_rmsnorm_args *args, um_err *err);
    um_status (*layernorm)(um_backend *backend, const um_layernorm_args *args, um_err *err);
    um_status (*linear)(um_backend *backend, const um_linear_args *args, um_err *err);
    um_status (*rope)(um_backend *backend, const um_rope_args *args, um_err *err);
    um_status (*attention)(um_backend *backend, const um_attention_args *args, um_err *err);
    um_status (*mix)(um_backend *backend, const um_mix_args *args, um_err *err);
    /* decode */
    um_status (*score)(um_backend *backend, const um_score_args *args, um_err *err);
    um_status (*select)(um_backend *backend, const um_select_args *args, um_err *err);
    /* optional: NULL means UM_E_UNSUPPORTED */
    um_status (*measure_peak)(um_backend *backend, double seconds, um_peak *out, um_err *err);
} um_ops_table;

/* First member of every backend's own struct. */
struct um_backend {
    const um_ops_table *ops;
    char name[32];
    char description[128];
    bool is_host;
    bool is_batch_invariant;
    um_backend_limits limits; /* reserved so far; kept by backend.c, zero at first */
};

/* First member of every backend's own packed weight. */
struct um_weight {
    um_weight_kind kind;
    um_activation activation;
    um_dtype dtype;
    int64_t out; /* width of y */
    int64_t in;
    size_t bytes;
};

/* The reference table, complete; kernels/ref. `tile_bytes` as in um_backend_options. */
um_status umi_ref_open(const um_backend_options *options, um_backend **out, um_err *err);
/* kernels/cpu */
um_status umi_cpu_open(const um_backend_options *options, um_backend **out, um_err *err);

#endif
