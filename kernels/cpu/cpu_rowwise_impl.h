/*
 * Row-wise ops: RMS norm, layer norm, rotary embedding. Text shared by all levels; see
 * cpu_kernels.h.
 */
#ifndef UM_KERNELS_CPU_ROWWISE_IMPL_H
#define UM_KERNELS_CPU_ROWWISE_IMPL_H

#include "kernels/cpu/cpu_kernels.h"
#include "kernels/cpu/cpu_vec.h"

/* Four running sums by position in the row, then one tree: fixed by the width alone. */
UM_INLINE float row_sum(const float *x, int64_t count)
{
    vf sum[4] = {{0}, {0}, {0}, {0}};
    int64_t i = 0;

    for (; i + 4 * VL <= count; i += 4 * VL)
        for (int part = 0; part < 4; part++)
            sum[part] = sum[part] + v_load(x + i + part * VL);
    for (; i < count; i += VL)
        sum[0] = sum[0] + v_load_n(x + i, count - i);
    return v_sum((sum[0] + sum[1]) + (sum[2] + sum[3]));
}

/* Sum of (x - center)^2, in the same order. */
UM_INLINE float square_sum(const float *x, int64_t count, float center)
{
    vf sum[4] = {{0}, {0}, {0}, {0}};
    int64_t i = 0;

    for (; i + 4 * VL <= count; i += 4 * VL)
        for (int part = 0; part < 4; part++) {
            vf v = v_load(x + i + part * VL) - center;

            sum[part] = v_fma(v, v, sum[part]);
        }
    for (; i < count; i += VL) {
        vf v = v_fill_from(v_load_n(x + i, count - i) - center, count - i, 0.0f);

        sum[0] = v_fma(v, v, sum[0]);
    }
    return v_sum((sum[0] + sum[1]) + (sum[2] + sum[3]));
}

UM_INLINE void put_element(const um_tensor *t, int64_t row, int64_t col, vf y, int64_t count)
{
    if (t->dtype == UM_BF16)
        v_store_bf16_n(um_bf16_row(t, row) + col, y, count);
    else
        v_store_n(um_f32_row(t, row) + col, y, count);
}

static void rmsnorm(const um_rmsnorm_args *args, int64_t begin, int64_t end)
{
    int64_t cols = args->out->cols;
    const float *gain = um_f32_row(args->gain, 0);

    for (int64_t row = begin; row < end; row++) {
        const float *x = um_f32_row(args->x, row);
        float mean = square_sum(x, cols, 0.0f) / (float)cols;
        vf factor = 1.0f / v_sqrt(v_set1(mean + args->eps));

        for (int64_t i = 0; i < cols; i += VL) {
            int64_t left = cols - i;
            vf y = v_load_n(x + i, left) * factor;
            vf g = v_load_n(gain + i, left);

            if (args->out->dtype == UM_BF16)
                v_store_bf16_n(um_bf16_row(args->out, row) + i, v_round_bf16(y) * g, left);
            else
                v_store_n(um_f32_row(args->out, row) + i, y * g, left);
        }
    }
}

static void layernorm(const um_layernorm_args *args, int64_t begin, int64_t end)
{
    int64_t cols = args->out->cols;
    const float *gain = um_f32_row(args->gain, 0);
    const float *bias = args->bias ? um_f32_row(args->bias, 0) : NULL;

    for (int64_t row = begin; row < end; row++) {
        const float *x = um_f32_row(args->x, row);
        float mean = row_sum(x, cols) / (float)cols;
        float variance = square_sum(x, cols, mean) / (float)cols;
        vf factor = 1.0f / v_sqrt(v_set1(variance + args->eps));

        for (int64_t i = 0; i < cols; i += VL) {
            int64_t left = cols - i;
            vf y = (v_load_n(x + i, left) - mean) * factor * v_load_n(gain + i, left);

            if (bias)
                y = y + v_load_n(bias + i, left);
            put_element(args->out, row, i, y, left);
        }
    }
}

/* `count` elements as they are, for models that rotate nothing. */
UM_INLINE void copy_elements(const float *x, const um_tensor *out, int64_t row, int64_t count)
{
    for (int64_t i = 0; i < count; i += VL)
        put_element(out, row, i, v_load_n(x + i, count - i), count - i);
}

/* One head: first' = first * cos - second * sin, second' = second * cos + first * sin. */
UM_INLINE void rotate(const float *x, const float *cos_sin, int64_t half, const um_tensor *out,
                      int64_t row, int64_t col)
{
    for (int64_t i = 0; i < half; i += VL) {
        int64_t left = half - i;
        vf c = v_load_n(cos_sin + i, left), s = v_load_n(cos_sin + half + i, left);
        vf first = v_load_n(x + i, left), second = v_load_n(x + half + i, left);

        put_element(out, row, col + i, first * c - second * s, left);
        put_element(out, row, col + half + i, second * c + first * s, left);
    }
}

static void rope(const um_rope_args *args, int64_t begin, int64_t end)
{
    int64_t dim = args->head_dim;
    int64_t q_width = args->heads * dim, v_width = args->kv_heads * dim;

    for (int64_t row = begin; row < end; row++) {
        const float *x = um_f32_row(args->qkv, row);
        const float *table;

        copy_elements(x + q_width + v_width, args->v, row, v_width);
        if (!args->cos_sin) {
            copy_elements(x, args->q, row, q_width);
            copy_elements(x + q_width, args->k, row, v_width);
            continue;
        }
        table = um_f32_row(args->cos_sin, um_i32_row(args->positions, 0)[row]);
        for (int64_t h = 0; h < args->heads; h++, x += dim)
            rotate(x, table, dim / 2, args->q, row, h * dim);
        for (int64_t h = 0; h < args->kv_heads; h++, x += dim)
            rotate(x, table, dim / 2, args->k, row, h * dim);
    }
}

#endif
