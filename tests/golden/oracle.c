#include "tests/golden/oracle.h"

#include <math.h>
#include <string.h>

#include "core/base/mem.h"

#define EPSILON 1e-5
#define THETA 5e5

typedef struct oracle {
    um_tiny_options o;
    um_dtype compute;
    um_tiny tiny;
    int64_t rows, d, m, k, dim; /* dim: of one head */
    double *x;                  /* [rows][d] */
    double *q, *keys, *values;  /* [rows][d], [rows][k], [rows][k] */
} oracle;

static double *doubles(int64_t count)
{
    double *block = um_mem_calloc((size_t)count, sizeof(*block));

    UM_ASSERT(block != NULL);
    return block;
}

static const float *of_layer(const oracle *w, int32_t layer, const char *leaf)
{
    int32_t group = w->o.block_group_size;

    if (group > 1)
        return um_tiny_values(&w->tiny, "model.transformer.block_groups.%d.%d.%s", layer / group,
                              layer % group, leaf);
    return um_tiny_values(&w->tiny, "model.transformer.blocks.%d.%s", layer, leaf);
}

static double round_to(um_dtype dtype, double value)
{
    return dtype == UM_BF16 ? (double)um_bf16_to_f32(um_f32_to_bf16((float)value)) : value;
}

static void round_all(um_dtype dtype, double *values, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        values[i] = round_to(dtype, values[i]);
}

/* `dtype` of the result: rounded before the gain and after it. */
static void rms_norm(um_dtype dtype, const double *x, const float *gain, int64_t count, double *out)
{
    double sum = 0;

    for (int64_t i = 0; i < count; i++)
        sum += x[i] * x[i];
    for (int64_t i = 0; i < count; i++)
        out[i] = round_to(dtype, round_to(dtype, x[i] / sqrt(sum / (double)count + EPSILON)) *
                                     (double)gain[i]);
}

static void layer_norm(um_dtype dtype, const double *x, const float *gain, const float *bias,
                       int64_t count, double *out)
{
    double mean = 0, variance = 0;

    for (int64_t i = 0; i < count; i++)
        mean += x[i] / (double)count;
    for (int64_t i = 0; i < count; i++)
        variance += (x[i] - mean) * (x[i] - mean) / (double)count;
    for (int64_t i = 0; i < count; i++)
        out[i] = round_to(dtype, (x[i] - mean) / sqrt(variance + EPSILON) * (double)gain[i] +
                                     (double)bias[i]);
}

/* The model's kind of norm, with these vectors. */
static void norm(const oracle *w, const double *x, const float *gain, const float *bias,
                 double *out)
{
    if (w->o.layer_norm)
        layer_norm(w->compute, x, gain, bias, w->d, out);
    else
        rms_norm(w->compute, x, gain, w->d, out);
}

/* out = W x + b; b may be NULL. */
static void matrix(um_dtype dtype, const float *weight, const float *bias, const double *x,
                   int64_t out_count, int64_t in_count, double *out)
{
    for (int64_t r = 0; r < out_count; r++) {
        out[r] = bias ? (double)bias[r] : 0.0;
        for (int64_t c = 0; c < in_count; c++)
            out[r] += round_to(dtype, (double)weight[r * in_count + c]) * x[c];
    }
}

/* The angle is a float32 product of float32 factors, as in the reference; the rest is exact. */
static void rotate(double *head, int64_t dim, int64_t position)
{
    int64_t n = dim / 2;

    for (int64_t j = 0; j < n; j++) {
        float frequency = 1.0f / (float)pow(THETA, 2.0 * (double)j / (double)dim);
        float angle = (float)position * frequency;
        double c = cos((double)angle), s = sin((double)angle);
        double a = head[j], b = head[j + n];

        head[j] = a * c - b * s;
        head[j + n] = b * c + a * s;
    }
}

static void project(oracle *w, int32_t layer, int64_t row)
{
    double *h = doubles(w->d);
    double *q = w->q + row * w->d, *k = w->keys + row * w->k;

    norm(w, w->x + row * w->d, of_layer(w, layer, "attn_norm.weight"),
         of_layer(w, layer, "attn_norm.bias"), h);
    matrix(w->compute, of_layer(w, layer, "q_proj.weight"), of_layer(w, layer, "q_proj.bias"), h,
           w->d, w->d, q);
    matrix(w->compute, of_layer(w, layer, "k_proj.weight"), of_layer(w, layer, "k_proj.bias"), h,
           w->k, w->d, k);
    matrix(w->compute, of_layer(w, layer, "v_proj.weight"), of_layer(w, layer, "v_proj.bias"), h,
           w->k, w->d, w->values + row * w->k);
    if (w->o.qk_norm) {
        rms_norm(UM_F32, q, of_layer(w, layer, "q_norm.weight"), w->d, q);
        rms_norm(UM_F32, k, of_layer(w, layer, "k_norm.weight"), w->k, k);
    }
    for (int64_t at = 0; at < w->d; at += w->dim)
        rotate(q + at, w->dim, row);
    for (int64_t at = 0; at < w->k; at += w->dim)
        rotate(k + at, w->dim, row);
    round_all(w->compute, q, w->d);
    round_all(w->compute, k, w->k);
    round_all(w->compute, w->values + row * w->k, w->k);
    um_mem_free(h);
}

static void attend_head(const oracle *w, int64_t row, int64_t head, double *out)
{
    int64_t at = head / (w->o.heads / w->o.kv_heads) * w->dim;
    const double *q = w->q + row * w->d + head * w->dim;
    double *scores = doubles(w->rows);
    double largest = (double)-INFINITY, sum = 0;

    for (int64_t j = 0; j < w->rows; j++) {
        for (int64_t i = 0; i < w->dim; i++)
            scores[j] += q[i] * w->keys[j * w->k + at + i];
        scores[j] /= sqrt((double)w->dim);
        largest = fmax(largest, scores[j]);
    }
    for (int64_t j = 0; j < w->rows; j++)
        sum += scores[j] = exp(scores[j] - largest);
    for (int64_t i = 0; i < w->dim; i++) {
        out[i] = 0;
        for (int64_t j = 0; j < w->rows; j++)
            out[i] += round_to(w->compute, scores[j]) / sum * w->values[j * w->k + at + i];
    }
    round_all(w->compute, out, w->dim);
    um_mem_free(scores);
}

static double activate(const char *name, double x)
{
    if (strcmp(name, "silu") == 0)
        return x / (1.0 + exp(-x));
    if (strcmp(name, "gelu") == 0)
        return 0.5 * x * (1.0 + erf(x / sqrt(2.0)));
    UM_ASSERT(strcmp(name, "relu") == 0);
    return x > 0 ? x : 0;
}

/* Residual of attention, then of the MLP. */
static void finish(oracle *w, int32_t layer, int64_t row)
{
    double *x = w->x + row * w->d;
    double *attended = doubles(w->d), *added = doubles(w->d), *h = doubles(w->d);
    double *gate = doubles(w->m), *up = doubles(w->m);

    for (int64_t head = 0; head < w->o.heads; head++)
        attend_head(w, row, head, attended + head * w->dim);
    matrix(w->compute, of_layer(w, layer, "attn_out.weight"), of_layer(w, layer, "attn_out.bias"),
           attended, w->d, w->d, added);
    for (int64_t i = 0; i < w->d; i++)
        x[i] += added[i];
    norm(w, x, of_layer(w, layer, "ff_norm.weight"), of_layer(w, layer, "ff_norm.bias"), h);
    matrix(w->compute, of_layer(w, layer, "ff_proj.weight"), of_layer(w, layer, "ff_proj.bias"), h,
           w->m, w->d, gate);
    matrix(w->compute, of_layer(w, layer, "up_proj.weight"), of_layer(w, layer, "up_proj.bias"), h,
           w->m, w->d, up);
    for (int64_t i = 0; i < w->m; i++)
        gate[i] = activate(w->o.activation, gate[i]) * up[i];
    round_all(w->compute, gate, w->m);
    matrix(w->compute, of_layer(w, layer, "ff_out.weight"), of_layer(w, layer, "ff_out.bias"), gate,
           w->d, w->m, added);
    for (int64_t i = 0; i < w->d; i++)
        x[i] += added[i];
    um_mem_free(attended);
    um_mem_free(added);
    um_mem_free(h);
    um_mem_free(gate);
    um_mem_free(up);
}

static void head(const oracle *w, int64_t row, double *logits)
{
    const float *weight =
        um_tiny_values(&w->tiny, w->o.tied_head ? "model.transformer.wte.weight"
                                                : "model.transformer.ff_out.weight");
    double *h = doubles(w->d);

    norm(w, w->x + row * w->d, um_tiny_values(&w->tiny, "model.transformer.ln_f.weight"),
         um_tiny_values(&w->tiny, "model.transformer.ln_f.bias"), h);
    matrix(w->compute, weight, um_tiny_values(&w->tiny, "model.transformer.ff_out.bias"), h,
           w->o.embedding_size, w->d, logits);
    if (w->o.scale_logits)
        for (int64_t v = 0; v < w->o.embedding_size; v++)
            logits[v] /= sqrt((double)w->d);
    um_mem_free(h);
}

void um_oracle_logits(const um_tiny_options *options, um_dtype compute, const int32_t *ids,
                      int64_t rows, const int32_t *wanted, int64_t wanted_count, double *logits)
{
    oracle w = {.o = um_tiny_resolve(options), .compute = compute, .rows = rows};
    const float *table;

    um_tiny_init(&w.tiny, options);
    table = um_tiny_values(&w.tiny, "model.transformer.wte.weight");
    w.d = w.o.width;
    w.m = w.o.mlp_width;
    w.dim = w.d / w.o.heads;
    w.k = w.dim * w.o.kv_heads;
    w.x = doubles(rows * w.d);
    w.q = doubles(rows * w.d);
    w.keys = doubles(rows * w.k);
    w.values = doubles(rows * w.k);
    for (int64_t i = 0; i < rows * w.d; i++)
        w.x[i] = round_to(compute, (double)table[ids[i / w.d] * w.d + i % w.d]) *
                 (w.o.input_emb_norm ? sqrt((double)w.d) : 1.0);
    for (int32_t layer = 0; layer < w.o.layers; layer++) {
        bool last = layer == w.o.layers - 1; /* then only the wanted rows matter */

        for (int64_t row = 0; row < rows; row++)
            project(&w, layer, row);
        for (int64_t i = 0; i < (last ? wanted_count : rows); i++)
            finish(&w, layer, last ? wanted[i] : i);
    }
    for (int64_t i = 0; i < wanted_count; i++)
        head(&w, wanted[i], logits + i * w.o.embedding_size);
    um_mem_free(w.x);
    um_mem_free(w.q);
    um_mem_free(w.keys);
    um_mem_free(w.values);
    um_tiny_deinit(&w.tiny);
}
