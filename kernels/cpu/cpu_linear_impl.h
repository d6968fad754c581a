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

/* sums[row][PANEL_COLS] (+)= x[row][k_count] * panel[k_count][PANEL_COLS], rows fixed at compile
 * time so that the sums are registers. */
UM_INLINE void tile_f32_rows(int rows, const float *x, int64_t x_stride, const float *panel,
                             int64_t k_count, bool first, float *sums, int64_t sums_stride)
{
    vf acc[TILE_ROWS][PANEL_VECTORS];

    for (int r = 0; r < rows; r++)
        for (int v = 0; v < PANEL_VECTORS; v++)
            acc[r][v] = first ? v_set1(0.0f) : v_load(sums + r * sums_stride + v * VL);
    for (int64_t k = 0; k < k_count; k++, panel += PANEL_COLS) {
        vf w[PANEL_VECTORS];

        for (int v = 0; v < PANEL_VECTORS; v++)
            w[v] = v_load(panel + v * VL);
        for (int r = 0; r < rows; r++) {
            vf factor = v_set1(x[r * x_stride + k]);

            for (int v = 0; v < PANEL_VECTORS; v++)
                acc[r][v] = v_fma(factor, w[v], acc[r][v]);
        }
    }
    for (int r = 0; r < rows; r++)
        for (int v = 0; v < PANEL_VECTORS; v++)
            v_store(sums + r * sums_stride + v * VL, acc[r][v]);
}

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

/* The same for bf16: panel[(k_count + 1) / 2][PANEL_COLS][2]. */
UM_INLINE void tile_bf16_rows(int rows, const uint16_t *x, int64_t x_stride, const uint16_t *panel,
                              int64_t k_count, bool first, float *sums, int64_t sums_stride)
{
    vf acc[TILE_ROWS][PANEL_VECTORS];

    for (int r = 0; r < rows; r++)
        for (int v = 0; v < PANEL_VECTORS; v++)
            acc[r][v] = first ? v_set1(0.0f) : v_load(sums + r * sums_stride + v * VL);
    for (int64_t k = 0; k < k_count; k += 2, panel += 2 * PANEL_COLS) {
        vu w[PANEL_VECTORS];

        for (int v = 0; v < PANEL_VECTORS; v++)
            memcpy(&w[v], panel + 2 * v * VL, sizeof(w[v]));
        if (UM_LIKELY(k + 1 < k_count)) {
            for (int r = 0; r < rows; r++)
                pair_product(acc[r], bf16_pair(x + r * x_stride + k), w);
        } else { /* an odd K ends in half a pair: what lies behind the row is not ours */
            for (int r = 0; r < rows; r++)
                pair_product(acc[r], x[r * x_stride + k], w);
        }
    }
    for (int r = 0; r < rows; r++)
        for (int v = 0; v < PANEL_VECTORS; v++)
            v_store(sums + r * sums_stride + v * VL, acc[r][v]);
}

static void tile_f32(int64_t rows, const float *x, int64_t x_stride, const float *panel,
                     int64_t k_count, bool first, float *sums, int64_t sums_stride)
{
    switch (rows) {
    case 1:
        tile_f32_rows(1, x, x_stride, panel, k_count, first, sums, sums_stride);
        break;
    case 2:
        tile_f32_rows(2, x, x_stride, panel, k_count, first, sums, sums_stride);
        break;
    case 3:
        tile_f32_rows(3, x, x_stride, panel, k_count, first, sums, sums_stride);
        break;
    case 4:
        tile_f32_rows(4, x, x_stride, panel, k_count, first, sums, sums_stride);
        break;
#if UM_TILE_ROWS == 6
    case 5:
        tile_f32_rows(5, x, x_stride, panel, k_count, first, sums, sums_stride);
        break;
    case 6:
        tile_f32_rows(6, x, x_stride, panel, k_count, first, sums, sums_stride);
        break;
#endif
    default:
        UM_FATAL("tile of more rows than registers");
    }
}

static void tile_bf16(int64_t rows, const uint16_t *x, int64_t x_stride, const uint16_t *panel,
                      int64_t k_count, bool first, float *sums, int64_t sums_stride)
{
    switch (rows) {
    case 1:
        tile_bf16_rows(1, x, x_stride, panel, k_count, first, sums, sums_stride);
        break;
    case 2:
        tile_bf16_rows(2, x, x_stride, panel, k_count, first, sums, sums_stride);
        break;
    case 3:
        tile_bf16_rows(3, x, x_stride, panel, k_count, first, sums, sums_stride);
        break;
    case 4:
        tile_bf16_rows(4, x, x_stride, panel, k_count, first, sums, sums_stride);
        break;
#if UM_TILE_ROWS == 6
    case 5:
        tile_bf16_rows(5, x, x_stride, panel, k_count, first, sums, sums_stride);
        break;
    case 6:
        tile_bf16_rows(6, x, x_stride, panel, k_count, first, sums, sums_stride);
        break;
#endif
    default:
        UM_FATAL("tile of more rows than registers");
    }
}

/* Either of the two, by dtype; K in elements, strides in elements. */
static void tile_any(um_dtype dtype, int64_t rows, const void *x, int64_t x_stride,
                     const void *panel, int64_t k_count, bool first, float *sums,
                     int64_t sums_stride)
{
    if (dtype == UM_BF16)
        tile_bf16(rows, x, x_stride, panel, k_count, first, sums, sums_stride);
    else
        tile_f32(rows, x, x_stride, panel, k_count, first, sums, sums_stride);
}

UM_INLINE const void *at_element(const void *data, int64_t index, um_dtype dtype)
{
    return (const char *)data + index * (dtype == UM_BF16 ? 2 : 4);
}

/* `rows` in as few tiles as the registers allow, as even as possible: 8 is 4 + 4, not 6 + 2. */
UM_INLINE int64_t tile_start(int64_t rows, int64_t tile_count, int64_t tile)
{
    return rows * tile / tile_count;
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

    for (int64_t k = 0; k < weight->base.in; k += k_block) {
        int64_t left = weight->base.in - k;
        int64_t k_count = left < k_block ? left : k_block;

        for (int64_t t = 0; t < tiles; t++) {
            int64_t start = tile_start(end - row, tiles, t);
            int64_t rows = tile_start(end - row, tiles, t + 1) - start;
            float *tile = sums + start * PANEL_COLS;

            tile_any(dtype, rows, at_element(job->x, (row + start) * job->x_stride + k, dtype),
                     job->x_stride, data + k * k_bytes, k_count, k == 0, tile, PANEL_COLS);
            if (left == k_count)
                finish_tile(job, panel, row + start, rows, tile);
        }
    }
}

static void linear(const umi_linear_job *job, int64_t begin, int64_t end, float *scratch)
{
    for (int64_t unit = begin; unit < end; unit++) {
        int64_t chunk = unit % job->row_chunks;

        linear_unit(job, unit / job->row_chunks, job->rows * chunk / job->row_chunks,
                    job->rows * (chunk + 1) / job->row_chunks, scratch);
    }
}

#endif
