/*
 * Linear layers: register tiles of up to TILE_ROWS rows by one panel, and what becomes of the sums
 * (bias, activation, residual, rounding). Text shared by all levels; see cpu_kernels.h.
 *
 * A tile keeps its sums in registers through a block of K. K is cut so that a panel's block stays
 * in the L2 cache while all row tiles pass over it; between blocks the sums wait in memory, exact,
 * so the order of summation is that of one long loop.
 */
#ifndef UM_KERNELS_CPU_LINEAR_IMPL_H
#define UM_KERNELS_CPU_LINEAR_IMPL_H

#include <string.h>

#include "kernels/cpu/cpu_kernels.h"
#include "kernels/cpu/cpu_vec.h"

enum { PANEL_COLS = VL * PANEL_VECTORS };
/* Half of a 1 MiB L2, the smallest of the CPUs with these instructions. */
#define PANEL_BLOCK_BYTES ((int64_t)512 << 10)

/* sums[row][PANEL_COLS] (+)= x[row][k_count] * panel; strides in elements. */
typedef struct tile {
    um_dtype dtype; /* of x and panel */
    int64_t rows;   /* 1 .. TILE_ROWS */
    const void *x;
    int64_t x_stride;
    const void *panel; /* laid out as in umi_cpu_weight */
    int64_t k_count;
    bool first; /* sums start at zero, else go on from what is there */
    float *sums;
    int64_t sums_stride;
} tile;

/* Two neighbours of K as one 32-bit lane, the first in the low half. */
UM_INLINE uint32_t bf16_pair(const uint16_t *x)
{
    uint32_t pair;

    memcpy(&pair, x, sizeof(pair));
    return pair;
}

/* acc += pair of x times pair of w, in every lane. Without the instruction the even product comes
 * first. */
UM_INLINE void pair_product(vf acc[PANEL_VECTORS], uint32_t pair, const vu w[PANEL_VECTORS])
{
#if UM_VEC_HAS_DOT_BF16
    for (int v = 0; v < PANEL_VECTORS; v++)
        acc[v] = v_dot_bf16(acc[v], v_set1_u(pair), w[v]);
#else
    vf even = (vf)v_set1_u(pair << 16), odd = (vf)v_set1_u(pair & 0xffff0000u);

    for (int v = 0; v < PANEL_VECTORS; v++)
        acc[v] = v_fma(even, (vf)(w[v] << 16), acc[v]);
    for (int v = 0; v < PANEL_VECTORS; v++)
        acc[v] = v_fma(odd, (vf)(w[v] & 0xffff0000u), acc[v]);
#endif
}

UM_INLINE void products_f32(int rows, const tile *t, vf acc[TILE_ROWS][PANEL_VECTORS])
{
    const float *x = t->x, *panel = t->panel;
    int64_t stride = t->x_stride, k_count = t->k_count;

    for (int64_t k = 0; k < k_count; k++, panel += PANEL_COLS) {
        vf w[PANEL_VECTORS];

        for (int v = 0; v < PANEL_VECTORS; v++)
            w[v] = v_load(panel + v * VL);
        for (int r = 0; r < rows; r++) {
            vf factor = v_set1(x[r * stride + k]);

            for (int v = 0; v < PANEL_VECTORS; v++)
                acc[r][v] = v_fma(factor, w[v], acc[r][v]);
        }
    }
}

UM_INLINE void products_bf16(int rows, const tile *t, vf acc[TILE_ROWS][PANEL_VECTORS])
{
    const uint16_t *x = t->x, *panel = t->panel;
    int64_t stride = t->x_stride, k_count = t->k_count;

    for (int64_t k = 0; k < k_count; k += 2, panel += 2 * PANEL_COLS) {
        vu w[PANEL_VECTORS];

        for (int v = 0; v < PANEL_VECTORS; v++)
            memcpy(&w[v], panel + 2 * v * VL, sizeof(w[v]));
        if (UM_LIKELY(k + 1 < k_count)) {
            for (int r = 0; r < rows; r++)
                pair_product(acc[r], bf16_pair(x + r * stride + k), w);
        } else { /* an odd K ends in half a pair: what lies behind the row is not ours */
            for (int r = 0; r < rows; r++)
                pair_product(acc[r], x[r * stride + k], w);
        }
    }
}

/* A tile whose rows and dtype are fixed at compile time, so that its sums are registers. */
UM_INLINE void run_tile_of(int rows, um_dtype dtype, const tile *t)
{
    vf acc[TILE_ROWS][PANEL_VECTORS];

    for (int r = 0; r < rows; r++)
        for (int v = 0; v < PANEL_VECTORS; v++)
            acc[r][v] = t->first ? v_set1(0.0f) : v_load(t->sums + r * t->sums_stride + v * VL);
    if (dtype == UM_BF16)
        products_bf16(rows, t, acc);
    else
        products_f32(rows, t, acc);
    for (int r = 0; r < rows; r++)
        for (int v = 0; v < PANEL_VECTORS; v++)
            v_store(t->sums + r * t->sums_stride + v * VL, acc[r][v]);
}

UM_INLINE void run_tile_in(um_dtype dtype, const tile *t)
{
    switch (t->rows) {
    case 1:
        run_tile_of(1, dtype, t);
        break;
    case 2:
        run_tile_of(2, dtype, t);
        break;
    case 3:
        run_tile_of(3, dtype, t);
        break;
    case 4:
        run_tile_of(4, dtype, t);
        break;
#if UM_TILE_ROWS == 6
    case 5:
        run_tile_of(5, dtype, t);
        break;
    case 6:
        run_tile_of(6, dtype, t);
        break;
#endif
    default:
        UM_FATAL("tile of more rows than registers");
    }
}

static void run_tile(const tile *t)
{
    if (t->dtype == UM_BF16)
        run_tile_in(UM_BF16, t);
    else
        run_tile_in(UM_F32, t);
}

UM_INLINE const void *at_element(const void *data, int64_t index, um_dtype dtype)
{
    return (const char *)data + index * (dtype == UM_BF16 ? 2 : 4);
}

/* `rows` in as few tiles as the registers allow, as even as possible: 8 is 4 + 4, not 6 + 2. */
UM_INLINE int64_t tile_start(int64_t rows, int64_t tile_count, int64_t index)
{
    return rows * index / tile_count;
}
UM_INLINE int64_t tile_count_of(int64_t rows)
{
    return (rows + TILE_ROWS - 1) / TILE_ROWS;
}

UM_INLINE vf activate(um_activation activation, vf g)
{
    switch (activation) {
    case UM_ACT_SILU:
        return g / (1.0f + v_exp(-g));
    case UM_ACT_GELU:
        return 0.5f * g * (1.0f + v_erf(g * 0.70710678118654752f));
    case UM_ACT_RELU:
        return v_max(v_set1(0.0f), g);
    case UM_ACT_GELU_TANH: /* (1 + tanh u) / 2 = 1 / (1 + exp(-2u)) */
        return g / (1.0f + v_exp(-1.5957691216f * (g + 0.044715f * g * g * g)));
    }
    UM_FATAL("unknown activation");
}

UM_INLINE void put(const umi_linear_job *job, int64_t row, int64_t col, vf y, int64_t count)
{
    int64_t at = row * job->out_stride + col;

    if (job->out_dtype == UM_BF16) {
        v_store_bf16_n((uint16_t *)job->out + at, y, count);
    } else {
        float *out = (float *)job->out + at;

        v_store_n(out, job->accumulate ? v_load_n(out, count) + y : y, count);
    }
}

/* Finished sums [rows][PANEL_COLS] of one panel -> y. */
static void finish_tile(const umi_linear_job *job, int64_t panel, int64_t row, int64_t rows,
                        const float *sums)
{
    const umi_cpu_weight *weight = job->weight;
    bool gated = weight->base.kind == UM_WEIGHT_GATED;
    int64_t cols = umi_panel_outputs(weight, PANEL_COLS);
    const float *bias = weight->bias ? weight->bias + panel * PANEL_COLS : NULL;

    for (int64_t r = 0; r < rows; r++, sums += PANEL_COLS) {
        for (int64_t c = 0; c < cols; c += VL) {
            int64_t left = job->cols - panel * cols - c;
            vf y = v_load(sums + c);

            if (left <= 0)
                break;
            if (bias)
                y = y + v_load(bias + c);
            if (gated) {
                vf up = v_load(sums + cols + c);

                if (bias)
                    up = up + v_load(bias + cols + c);
                y = activate(weight->base.activation, y) * up;
            } else if (weight->base.kind == UM_WEIGHT_ACTIVATED) {
                y = activate(weight->base.activation, y);
            }
            put(job, row + r, panel * cols + c, y, left);
        }
    }
}

/* Rows [row, end) through one panel. */
static void linear_unit(const umi_linear_job *job, int64_t panel, int64_t row, int64_t end,
                        float *sums)
{
    const umi_cpu_weight *weight = job->weight;
    um_dtype dtype = weight->base.dtype;
    const char *data = (const char *)weight->panels + panel * weight->panel_bytes;
    int64_t k_bytes = PANEL_COLS * (dtype == UM_BF16 ? 2 : 4);
    int64_t k_block = PANEL_BLOCK_BYTES / k_bytes;
    int64_t tiles = tile_count_of(end - row);
    tile t = {.dtype = dtype, .x_stride = job->x_stride, .sums_stride = PANEL_COLS};

    for (int64_t k = 0; k < weight->base.in; k += k_block) {
        int64_t left = weight->base.in - k;

        t.k_count = left < k_block ? left : k_block;
        t.panel = data + k * k_bytes;
        t.first = k == 0;
        for (int64_t i = 0; i < tiles; i++) {
            int64_t start = tile_start(end - row, tiles, i);

            t.rows = tile_start(end - row, tiles, i + 1) - start;
            t.x = at_element(job->x, (row + start) * job->x_stride + k, dtype);
            t.sums = sums + start * PANEL_COLS;
            run_tile(&t);
            if (left == t.k_count)
                finish_tile(job, panel, row + start, t.rows, t.sums);
        }
    }
}

static void linear(const umi_linear_job *job, int64_t unit, float *scratch)
{
    int64_t panel = job->rows_first ? unit % job->panels : unit / job->row_chunks;
    int64_t chunk = job->rows_first ? unit / job->panels : unit % job->row_chunks;

    linear_unit(job, panel, job->rows * chunk / job->row_chunks,
                job->rows * (chunk + 1) / job->row_chunks, scratch);
}

#endif
