/*
 * The panel layout (see umi_cpu_weight): columns of a matrix stored as rows, turned so that one k
 * of all columns lies together. Works on 32-bit words, which are one f32 or a pair of bf16.
 */
#ifndef UM_KERNELS_CPU_PACK_H
#define UM_KERNELS_CPU_PACK_H

#include <string.h>

#include "kernels/tensor.h"

/* Words of a row of `count` elements; an odd bf16 at the end fills half of one. */
static inline int64_t umi_pack_words(um_dtype dtype, int64_t count)
{
    return dtype == UM_BF16 ? (count + 1) / 2 : count;
}

/* One row's `count` elements (of `dtype`, any alignment) -> word w at panel[w * panel_cols]. */
static inline void umi_pack_column(um_dtype dtype, const void *row, int64_t count, uint32_t *panel,
                                   int64_t panel_cols)
{
    const char *from = row;
    int64_t whole = dtype == UM_BF16 ? count / 2 : count;

    for (int64_t w = 0; w < whole; w++)
        memcpy(panel + w * panel_cols, from + 4 * w, 4);
    if (dtype == UM_BF16 && count % 2) {
        uint16_t last;

        memcpy(&last, from + 4 * whole, sizeof(last));
        panel[whole * panel_cols] = last;
    }
}

#endif
