/*
 * The panel layout (see umi_cpu_weight): columns of a matrix stored as rows, turned so that one k
 * of all columns lies together. Works on 32-bit words, which are one f32 or a pair of bf16.
 */
#ifndef UM_KERNELS_CPU_PACK_H
#define UM_KERNELS_CPU_PACK_H

#include <string.h>

#include "kernels/cpu/cpu_kernels.h"

enum { UMI_STAGE_WORDS = 32 };

/* Blocks of the columns of one panel, side by side: 8 KiB, in the L1 cache while it is turned. */
typedef struct umi_stage {
    uint32_t words[UMI_PANEL_COLS_MAX][UMI_STAGE_WORDS];
} umi_stage;

/* Words of `count` elements; an odd bf16 at the end fills half of one. */
static inline int64_t umi_pack_words(um_dtype dtype, int64_t count)
{
    return dtype == UM_BF16 ? (count + 1) / 2 : count;
}

/* Elements that fill a stage. */
static inline int64_t umi_stage_elements(um_dtype dtype)
{
    return dtype == UM_BF16 ? 2 * UMI_STAGE_WORDS : UMI_STAGE_WORDS;
}

/* Word w of column c -> panel[w * panel_cols + c]. The panel is new memory, which the prefetcher
 * follows only in order: eight columns are gathered before they are written, or compilers turn the
 * loops round and write 256 bytes apart, four times slower. */
static inline void umi_turn_stage(const umi_stage *stage, int64_t words, uint32_t *panel,
                                  int64_t panel_cols)
{
    for (int64_t w = 0; w < words; w++)
        for (int64_t c = 0; c < panel_cols; c += 8) {
            uint32_t row[8];

            for (int i = 0; i < 8; i++)
                row[i] = stage->words[c + i][w];
            memcpy(panel + w * panel_cols + c, row, sizeof(row));
        }
}

#endif
