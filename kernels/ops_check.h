/*
 * What every op demands of its arguments, the same for all backends. Called by ops.c before the
 * slot. Mistakes of the caller end the process; only umi_check_weight, whose shapes come from a
 * checkpoint, returns an error. Contents of tensors (ids, rows, rules) are checked where they are
 * in host memory.
 */
#ifndef UM_KERNELS_OPS_CHECK_H
#define UM_KERNELS_OPS_CHECK_H

#include "kernels/ops.h"

/* UM_E_FORMAT, UM_E_UNSUPPORTED. */
um_status umi_check_weight(const um_weight_spec *spec, um_err *err);

void umi_check_embed(const um_backend *backend, const um_embed_args *args);
void umi_check_rmsnorm(const um_rmsnorm_args *args);
void umi_check_layernorm(const um_layernorm_args *args);
void umi_check_linear(const um_backend *backend, const um_linear_args *args);
void umi_check_rope(const um_backend *backend, const um_rope_args *args);
void umi_check_attention(const um_backend *backend, const um_attention_args *args);
void umi_check_mix(const um_backend *backend, const um_mix_args *args);
void umi_check_score(const um_backend *backend, const um_score_args *args);
void umi_check_select(const um_backend *backend, const um_select_args *args);

#endif
