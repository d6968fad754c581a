/*
 * Level portable. Any machine: tiles of 4 x 8, no FMA.
 */
#include "kernels/cpu/cpu_vec_portable.h"

#include "kernels/cpu/cpu_attention_impl.h"
#include "kernels/cpu/cpu_linear_impl.h"
#include "kernels/cpu/cpu_peak_impl.h"
#include "kernels/cpu/cpu_rowwise_impl.h"
#include "kernels/cpu/cpu_score_impl.h"

const umi_cpu_kernels umi_cpu_portable = {
    .name = "portable",
    .panel_cols = PANEL_COLS,
    .linear = linear,
    .rmsnorm = rmsnorm,
    .layernorm = layernorm,
    .rope = rope,
    .attention_bytes = attention_bytes,
    .attention_strip = attention_strip,
    .attention_begin = attention_begin,
    .attention = attention,
    .scan = scan,
    .peak_f32 = peak_f32,
    .peak_bf16 = NULL,
    .read = read_all,
};
