/*
 * Attention of a strip of query rows over all keys of their sequence. Text shared by all levels;
 * see cpu_kernels.h.
 *
 * K and V of one (sequence, KV head) are packed like weights and both products run through the
 * tiles of the linear layers. The scores of a strip stay in the L2 cache, never a whole
 * sequence x sequence matrix. Rows of a strip share nothing but the packed K and V, so which rows
 * share a strip cannot be seen in the result.
 */
#ifndef UM_KERNELS_CPU_ATTENTION_IMPL_H
#define UM_KERNELS_CPU_ATTENTION_IMPL_H

#include <math.h>

#include "kernels/cpu/cpu_linear_impl.h"
#include "kernels/cpu/cpu_pack.h"

/* Start of a thread's scratch: whose K and V are packed behind it. */
typedef struct attention_packed {
    UM_ALIGNED(64) int64_t first; /* the sequence's first row; -1: nobody's */
    int32_t kv_head;
} attention_packed;

/* Where the parts lie in a thread's scratch. */
typedef struct attention_scratch {
    attention_packed *packed;
    uint32_t *k;   /* [key_panels][words of head_dim][PANEL_COLS] */
    uint32_t *v;   /* [dim_panels][words of length][PANEL_COLS] */
    float *scores; /* [strip][padded_length]; probabilities replace them in place */
    float *sums;   /* [TILE_ROWS][PANEL_COLS] */
    int64_t padded_length;
    size_t bytes;
} attention_scratch;

UM_INLINE int64_t panels_of(int64_t cols)
{
    return (cols + PANEL_COLS - 1) / PANEL_COLS;
}

enum { STRIP_ROWS = 48 };

/* Fewer rows for long sequences: 24 x 8,192 scores are 768 KiB. */
static int64_t attention_strip(int64_t length)
{
    return length <= 1024 ? STRIP_ROWS : STRIP_ROWS / 2;
}

static attention_scratch lay_out_attention(um_dtype dtype, int64_t length, int64_t head_dim,
                                           void *block)
{
    attention_scratch scratch = {.padded_length = panels_of(length) * PANEL_COLS};
    int64_t k_words = scratch.padded_length * umi_pack_words(dtype, head_dim);
    int64_t v_words = panels_of(head_dim) * PANEL_COLS * umi_pack_words(dtype, length);
    int64_t score_words = STRIP_ROWS * scratch.padded_length;
    int64_t sum_words = TILE_ROWS * PANEL_COLS;

    scratch.bytes = sizeof(*scratch.packed) +
                    (size_t)(k_words + v_words + score_words + sum_words) * sizeof(*scratch.k);
    if (block) {
        scratch.packed = block;
        scratch.k = (uint32_t *)(scratch.packed + 1);
        scratch.v = scratch.k + k_words;
        scratch.scores = (float *)(scratch.v + v_words);
        scratch.sums = scratch.scores + score_words;
    }
    return scratch;
}

static size_t attention_bytes(int64_t sequence_max, int32_t head_dim)
{
    return lay_out_attention(UM_F32, sequence_max, head_dim, NULL).bytes;
}

/* Columns are keys, K is the head's dimension. Columns behind the last key are zero. */
static void pack_k_panel(const um_attention_args *args, const umi_attention_unit *unit,
                         int64_t panel, uint32_t *to)
{
    um_dtype dtype = args->k->dtype;
    int64_t dim = args->head_dim, block = umi_stage_elements(dtype), first = panel * PANEL_COLS;
    int64_t keys = unit->length - first < PANEL_COLS ? unit->length - first : PANEL_COLS;
    umi_stage stage;

    for (int64_t i = 0; i < dim; i += block) {
        int64_t count = dim - i < block ? dim - i : block;
        int64_t at = (unit->first + first) * args->k->stride + unit->kv_head * dim + i;

        memset(&stage, 0, sizeof(stage));
        for (int64_t j = 0; j < keys; j++)
            memcpy(stage.words[j], at_element(args->k->data, at + j * args->k->stride, dtype),
                   (size_t)count * um_dtype_bytes(dtype));
        umi_turn_stage(&stage, umi_pack_words(dtype, count), to, PANEL_COLS);
        to += umi_pack_words(dtype, count) * PANEL_COLS;
    }
}

/* Columns are the head's dimension, K is the keys: rows of V as they are, bf16 ones in pairs. */
static void pack_v_panel(const um_attention_args *args, const umi_attention_unit *unit,
                         int64_t panel, void *to)
{
    int64_t col = panel * PANEL_COLS;
    int64_t cols = args->head_dim - col < PANEL_COLS ? args->head_dim - col : PANEL_COLS;

    col += unit->kv_head * args->head_dim;
    for (int64_t j = 0; j < unit->length; j++) {
        if (args->v->dtype == UM_BF16) {
            const uint16_t *from = um_bf16_row(args->v, unit->first + j) + col;
            uint16_t *pairs = (uint16_t *)to + j / 2 * 2 * PANEL_COLS + j % 2;

            for (int64_t c = 0; c < cols; c++)
                pairs[2 * c] = from[c];
        } else {
            memcpy((float *)to + j * PANEL_COLS, um_f32_row(args->v, unit->first + j) + col,
                   (size_t)cols * sizeof(float));
        }
    }
}

/* Packs K and V of the unit's (sequence, KV head) unless the thread's last unit was of the same. */
static void pack_keys(const um_attention_args *args, const umi_attention_unit *unit,
                      const attention_scratch *scratch)
{
    um_dtype dtype = args->q->dtype;
    int64_t dim = args->head_dim, k_words = umi_pack_words(dtype, dim) * PANEL_COLS;
    int64_t v_words = umi_pack_words(dtype, unit->length) * PANEL_COLS;

    if (scratch->packed->first == unit->first && scratch->packed->kv_head == unit->kv_head)
        return;
    for (int64_t p = 0; p < panels_of(unit->length); p++)
        pack_k_panel(args, unit, p, scratch->k + p * k_words);
    memset(scratch->v, 0, (size_t)(panels_of(dim) * v_words) * 4);
    for (int64_t p = 0; p < panels_of(dim); p++)
        pack_v_panel(args, unit, p, scratch->v + p * v_words);
    *scratch->packed = (attention_packed){.first = unit->first, .kv_head = unit->kv_head};
}

static void attention_begin(void *block)
{
    ((attention_packed *)block)->first = -1;
}

/* scores -> exp(scale * score - max), in place as f32 or bf16; returns their sum, taken before the
 * rounding, in an order fixed by the length. */
static float softmax_row(um_dtype dtype, float *scores, int64_t length, float scale)
{
    vf best = v_set1(-INFINITY), sum = v_set1(0.0f), max;

    for (int64_t j = 0; j < length; j += VL) {
        vf s = v_load(scores + j) * scale;

        best = v_max(best, v_fill_from(s, length - j, -INFINITY));
    }
    max = v_set1(v_max_lane(best));
    for (int64_t j = 0; j < length; j += VL) {
        vf p = v_exp(v_load(scores + j) * scale - max);

        p = v_fill_from(p, length - j, 0.0f);
        sum = sum + p;
        if (dtype == UM_BF16)
            v_store_bf16_n((uint16_t *)scores + j, p, VL);
        else
            v_store(scores + j, p);
    }
    return v_sum(sum);
}

/* Scores of the strip's rows for one query head. */
static void strip_scores(const um_attention_args *args, const umi_attention_unit *unit,
                         int64_t head, const attention_scratch *scratch)
{
    int64_t dim = args->head_dim, k_words = umi_pack_words(args->q->dtype, dim) * PANEL_COLS;
    int64_t tiles = tile_count_of(unit->rows);
    int64_t q_at = (unit->first + unit->row) * args->q->stride + head * dim;
    tile t = {.dtype = args->q->dtype,
              .x_stride = args->q->stride,
              .k_count = dim,
              .first = true,
              .sums_stride = scratch->padded_length};

    for (int64_t p = 0; p < panels_of(unit->length); p++)
        for (int64_t i = 0; i < tiles; i++) {
            int64_t start = tile_start(unit->rows, tiles, i);

            t.rows = tile_start(unit->rows, tiles, i + 1) - start;
            t.x = at_element(args->q->data, q_at + start * args->q->stride, t.dtype);
            t.panel = scratch->k + p * k_words;
            t.sums = scratch->scores + start * scratch->padded_length + p * PANEL_COLS;
            run_tile(&t);
        }
}

/* out = sums / total, per row of a tile. */
static void put_attention(const um_attention_args *args, int64_t row, int64_t rows, int64_t col,
                          int64_t cols, const float *sums, const float *totals)
{
    for (int64_t r = 0; r < rows; r++)
        for (int64_t c = 0; c < cols; c += VL) {
            vf y = v_load(sums + r * PANEL_COLS + c) / totals[r];

            if (args->out->dtype == UM_BF16)
                v_store_bf16_n(um_bf16_row(args->out, row + r) + col + c, y, cols - c);
            else
                v_store_n(um_f32_row(args->out, row + r) + col + c, y, cols - c);
        }
}

static void strip_output(const um_attention_args *args, const umi_attention_unit *unit,
                         int64_t head, const attention_scratch *scratch, const float *totals)
{
    um_dtype dtype = args->q->dtype;
    int64_t dim = args->head_dim, v_words = umi_pack_words(dtype, unit->length) * PANEL_COLS;
    int64_t tiles = tile_count_of(unit->rows);
    tile t = {.dtype = dtype,
              .x_stride = scratch->padded_length * (dtype == UM_BF16 ? 2 : 1),
              .k_count = unit->length,
              .first = true,
              .sums = scratch->sums,
              .sums_stride = PANEL_COLS};

    for (int64_t p = 0; p < panels_of(dim); p++)
        for (int64_t i = 0; i < tiles; i++) {
            int64_t start = tile_start(unit->rows, tiles, i);
            int64_t cols = dim - p * PANEL_COLS < PANEL_COLS ? dim - p * PANEL_COLS : PANEL_COLS;

            t.rows = tile_start(unit->rows, tiles, i + 1) - start;
            t.x = scratch->scores + start * scratch->padded_length;
            t.panel = scratch->v + p * v_words;
            run_tile(&t);
            put_attention(args, unit->first + unit->row + start, t.rows,
                          head * dim + p * PANEL_COLS, cols, scratch->sums, totals + start);
        }
}

static void attention(const um_attention_args *args, const umi_attention_unit *unit, void *block)
{
    attention_scratch scratch =
        lay_out_attention(args->q->dtype, unit->length, args->head_dim, block);
    int64_t group = args->heads / args->kv_heads;

    pack_keys(args, unit, &scratch);
    for (int64_t h = unit->kv_head * group; h < (unit->kv_head + 1) * group; h++) {
        float totals[STRIP_ROWS];

        strip_scores(args, unit, h, &scratch);
        for (int64_t r = 0; r < unit->rows; r++)
            totals[r] = softmax_row(args->q->dtype, scratch.scores + r * scratch.padded_length,
                                    unit->length, args->scale);
        strip_output(args, unit, h, &scratch, totals);
    }
}

#endif
