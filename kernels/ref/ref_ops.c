/*
 * Reference ops of the forward pass: embed, norm, linear, rotary embedding, attention, guidance
 * mix. Plain loops.
 */
#include "kernels/ref/ref_internal.h"

#include <math.h>

#include "core/base/mem.h"

/* An element of an f32 or bf16 tensor as f32. */
static inline float get(const um_tensor *t, int64_t row, int64_t col)
{
    return t->dtype == UM_F32 ? um_f32_row(t, row)[col] : um_bf16_to_f32(um_bf16_row(t, row)[col]);
}

/* Stores an element, rounded to the tensor's dtype: every rounding point is one of these. */
static inline void put(const um_tensor *t, int64_t row, int64_t col, float value)
{
    if (t->dtype == UM_F32)
        um_f32_row(t, row)[col] = value;
    else
        um_bf16_row(t, row)[col] = um_f32_to_bf16(value);
}

static inline float round_to(um_dtype dtype, float value)
{
    return dtype == UM_F32 ? value : um_bf16_to_f32(um_f32_to_bf16(value));
}

/* ---- weights ------------------------------------------------------------------------------ */

static void fill_weight(umi_ref_weight *weight, const um_weight_spec *spec)
{
    int64_t in = weight->base.in, row = 0;

    for (int32_t p = 0; p < spec->part_count; p++) {
        const um_tensor *part = &spec->parts[p], *bias = &spec->biases[p];
        size_t stride_bytes = (size_t)part->stride * um_dtype_bytes(part->dtype);

        for (int64_t r = 0; r < part->rows; r++) {
            float *values = weight->values + (row + r) * in;

            um_widen(part->dtype, (const char *)part->data + (size_t)r * stride_bytes, values, in);
            for (int64_t i = 0; i < in; i++)
                values[i] = round_to(spec->dtype, values[i]);
        }
        if (bias->data)
            um_widen(bias->dtype, bias->data, weight->bias + row, part->rows);
        row += part->rows;
    }
}

um_status umi_ref_weight_create(um_backend *backend, const um_weight_spec *spec, um_weight **out,
                                um_err *err)
{
    umi_ref_weight *weight;
    int64_t rows = 0, in = spec->parts[0].cols;
    bool biased = false;
    size_t count, bytes;

    (void)backend;
    for (int32_t p = 0; p < spec->part_count; p++) {
        rows += spec->parts[p].rows;
        biased = biased || spec->biases[p].data;
    }
    weight = um_mem_zalloc(sizeof(*weight));
    if (weight && um_mem_mul((size_t)rows, (size_t)in + biased, &count) &&
        um_mem_mul(count, sizeof(float), &bytes))
        weight->values = um_mem_alloc_aligned(bytes);
    if (!weight || !weight->values) {
        um_mem_free(weight);
        return um_fail(err, UM_E_NOMEM, "no memory for a weight of %lld x %lld", (long long)rows,
                       (long long)in);
    }
    weight->bias = biased ? weight->values + rows * in : NULL;
    weight->base = (um_weight){.kind = spec->kind,
                               .activation = spec->activation,
                               .dtype = spec->dtype,
                               .out = spec->kind == UM_WEIGHT_GATED ? rows / 2 : rows,
                               .in = in,
                               .bytes = bytes};
    fill_weight(weight, spec);
    *out = &weight->base;
    return UM_OK;
}

void umi_ref_weight_destroy(um_backend *backend, um_weight *weight)
{
    umi_ref_weight *ref_weight = (umi_ref_weight *)weight;

    (void)backend;
    um_mem_free_aligned(ref_weight->values, weight->bytes);
    um_mem_free(ref_weight);
}

/* ---- linear ------------------------------------------------------------------------------- */

void umi_ref_products(const umi_ref_weight *weight, int64_t first, int64_t count, const float *x,
                      float *y)
{
    int64_t in = weight->base.in;

    for (int64_t i = 0; i < count; i++) {
        const float *w = weight->values + (first + i) * in;
        float sum = 0;

        for (int64_t k = 0; k < in; k++)
            sum += w[k] * x[k];
        y[i] = weight->bias ? sum + weight->bias[first + i] : sum;
    }
}

static float activate(um_activation activation, float x)
{
    switch (activation) {
    case UM_ACT_SILU:
        return x / (1.0f + expf(-x));
    case UM_ACT_GELU:
        return 0.5f * x * (1.0f + erff(x * 0.70710678f));
    case UM_ACT_RELU:
        return x > 0 || isnan(x) ? x : 0.0f;
    case UM_ACT_GELU_TANH:
        return 0.5f * x * (1.0f + tanhf(0.79788456f * (x + 0.044715f * x * x * x)));
    }
    UM_FATAL("unknown activation");
}

static float linear_element(const umi_ref_weight *weight, int64_t o, const float *x)
{
    float gate, y;

    umi_ref_products(weight, o, 1, x, &y);
    if (weight->base.kind == UM_WEIGHT_PLAIN)
        return y;
    if (weight->base.kind == UM_WEIGHT_ACTIVATED)
        return activate(weight->base.activation, y);
    gate = y;
    umi_ref_products(weight, weight->base.out + o, 1, x, &y);
    return activate(weight->base.activation, gate) * y;
}

um_status umi_ref_linear(um_backend *backend, const um_linear_args *args, um_err *err)
{
    const umi_ref_weight *weight = (const umi_ref_weight *)args->weight;
    const um_tensor *out = args->out;
    float *x = ((umi_ref *)backend)->row;

    (void)err;
    for (int64_t r = 0; r < out->rows; r++) {
        for (int64_t i = 0; i < weight->base.in; i++)
            x[i] = get(args->x, r, i);
        for (int64_t o = 0; o < out->cols; o++) {
            float y = linear_element(weight, o, x);

            put(out, r, o, args->accumulate ? get(out, r, o) + y : y);
        }
    }
    return UM_OK;
}

/* ---- row-wise ----------------------------------------------------------------------------- */

um_status umi_ref_embed(um_backend *backend, const um_embed_args *args, um_err *err)
{
    const um_tensor *out = args->out;

    (void)backend;
    (void)err;
    for (int64_t r = 0; r < out->rows; r++) {
        int32_t id = um_i32_row(args->ids, 0)[r];

        for (int64_t i = 0; i < out->cols; i++) {
            float x = args->scale * get(args->table, id, i);

            if (args->position_table)
                x += get(args->position_table, um_i32_row(args->positions, 0)[r], i);
            put(out, r, i, x);
        }
    }
    return UM_OK;
}

um_status umi_ref_rmsnorm(um_backend *backend, const um_rmsnorm_args *args, um_err *err)
{
    const um_tensor *out = args->out;
    const float *gain = um_f32_row(args->gain, 0);

    (void)backend;
    (void)err;
    for (int64_t r = 0; r < out->rows; r++) {
        const float *x = um_f32_row(args->x, r);
        float squares = 0, scale;

        for (int64_t i = 0; i < out->cols; i++)
            squares += x[i] * x[i];
        scale = 1.0f / sqrtf(squares / (float)out->cols + args->eps);
        for (int64_t i = 0; i < out->cols; i++)
            put(out, r, i, gain[i] * round_to(out->dtype, x[i] * scale));
    }
    return UM_OK;
}

um_status umi_ref_layernorm(um_backend *backend, const um_layernorm_args *args, um_err *err)
{
    const um_tensor *out = args->out;
    const float *gain = um_f32_row(args->gain, 0);
    const float *bias = args->bias ? um_f32_row(args->bias, 0) : NULL;

    (void)backend;
    (void)err;
    for (int64_t r = 0; r < out->rows; r++) {
        const float *x = um_f32_row(args->x, r);
        float mean = 0, squares = 0, scale;

        for (int64_t i = 0; i < out->cols; i++)
            mean += x[i];
        mean /= (float)out->cols;
        for (int64_t i = 0; i < out->cols; i++)
            squares += (x[i] - mean) * (x[i] - mean);
        scale = 1.0f / sqrtf(squares / (float)out->cols + args->eps);
        for (int64_t i = 0; i < out->cols; i++) {
            float y = (x[i] - mean) * scale * gain[i];

            put(out, r, i, bias ? y + bias[i] : y);
        }
    }
    return UM_OK;
}

/* cos_sin NULL: copied only. */
static void rotate_head(const float *x, const float *cos_sin, int64_t half, const um_tensor *out,
                        int64_t row, int64_t col)
{
    for (int64_t j = 0; j < 2 * half && !cos_sin; j++)
        put(out, row, col + j, x[j]);
    for (int64_t j = 0; j < half && cos_sin; j++) {
        float c = cos_sin[j], s = cos_sin[half + j];

        put(out, row, col + j, x[j] * c - x[j + half] * s);
        put(out, row, col + half + j, x[j + half] * c + x[j] * s);
    }
}

um_status umi_ref_rope(um_backend *backend, const um_rope_args *args, um_err *err)
{
    int64_t dim = args->head_dim, half = dim / 2;
    int64_t q_width = args->heads * dim, k_width = args->kv_heads * dim;

    (void)backend;
    (void)err;
    for (int64_t r = 0; r < args->qkv->rows; r++) {
        const float *q = um_f32_row(args->qkv, r), *k = q + q_width, *v = k + k_width;
        const float *cos_sin =
            args->cos_sin ? um_f32_row(args->cos_sin, um_i32_row(args->positions, 0)[r]) : NULL;

        for (int64_t col = 0; col < q_width; col += dim)
            rotate_head(q + col, cos_sin, half, args->q, r, col);
        for (int64_t col = 0; col < k_width; col += dim)
            rotate_head(k + col, cos_sin, half, args->k, r, col);
        for (int64_t col = 0; col < k_width; col++)
            put(args->v, r, col, v[col]);
    }
    return UM_OK;
}

um_status umi_ref_mix(um_backend *backend, const um_mix_args *args, um_err *err)
{
    const um_tensor *out = args->out;

    (void)backend;
    (void)err;
    for (int64_t r = 0; r < out->rows; r++) {
        int32_t unconditional = um_i32_row(args->unconditional, 0)[r];
        float scale = um_f32_row(args->scales, 0)[r] + 1.0f;
        const float *c = um_f32_row(args->x, um_i32_row(args->conditional, 0)[r]);
        const float *u = unconditional < 0 ? NULL : um_f32_row(args->x, unconditional);

        for (int64_t i = 0; i < out->cols; i++)
            put(out, r, i, u ? u[i] + scale * (c[i] - u[i]) : c[i]);
    }
    return UM_OK;
}

/* ---- attention ---------------------------------------------------------------------------- */

/* One query head of one row against keys [begin, end). */
static void attend(const um_attention_args *args, int64_t row, int64_t head, int64_t begin,
                   int64_t end, float *scores)
{
    int64_t dim = args->head_dim, q_col = head * dim;
    int64_t k_col = head / (args->heads / args->kv_heads) * dim;
    float max = -INFINITY, sum = 0;

    for (int64_t j = begin; j < end; j++) {
        float dot = 0;

        for (int64_t i = 0; i < dim; i++)
            dot += get(args->q, row, q_col + i) * get(args->k, j, k_col + i);
        scores[j - begin] = dot * args->scale;
        max = fmaxf(max, scores[j - begin]);
    }
    for (int64_t j = 0; j < end - begin; j++) {
        float p = expf(scores[j] - max);

        sum += p;
        scores[j] = round_to(args->q->dtype, p);
    }
    for (int64_t i = 0; i < dim; i++) {
        float o = 0;

        for (int64_t j = begin; j < end; j++)
            o += scores[j - begin] * get(args->v, j, k_col + i);
        put(args->out, row, q_col + i, o / sum);
    }
}

um_status umi_ref_attention(um_backend *backend, const um_attention_args *args, um_err *err)
{
    float *scores = ((umi_ref *)backend)->scores;

    (void)err;
    for (int32_t s = 0; s < args->sequence_count; s++)
        for (int64_t r = args->cu_seqlens[s]; r < args->cu_seqlens[s + 1]; r++)
            for (int64_t h = 0; h < args->heads; h++)
                attend(args, r, h, args->cu_seqlens[s], args->cu_seqlens[s + 1], scores);
    return UM_OK;
}
