/*
 * Level avx512bf16. AVX-512 with the bf16 product instruction vdpbf16ps: tiles of 6 x 64.
 */
#include "kernels/cpu/cpu_vec_avx512.h"

#include "kernels/cpu/cpu_attention_impl.h"
#include "kernels/cpu/cpu_linear_impl.h"
#include "kernels/cpu/cpu_peak_impl.h"
#include "kernels/cpu/cpu_rowwise_impl.h"
#include "kernels/cpu/cpu_score_impl.h"

const umi_cpu_kernels umi_cpu_avx512bf16 = {
    .name = "avx512bf16",
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
    .peak_bf16 = peak_bf16,
    .read = read_all,
};
