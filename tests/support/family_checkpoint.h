/*
 * Tiny checkpoints of the families beside LLaDA, whose weights follow from formulas, so that
 * numbers of the authors' code (tests/golden/test_families.c) can be checked without a file.
 *
 *     dream       hidden 16, 2 layers, 4 heads, 2 KV heads, MLP 24, vocabulary 40; mask 37, end 35.
 *                 v(t,k) of tiny_checkpoint.h; t counts embed; per layer input_layernorm, q, q.bias,
 *                 k, k.bias, v, v.bias, o, post_attention_layernorm, gate, up, down; norm; lm_head.
 *     diffugpt    D 32, 2 layers, 4 heads, 64 positions, vocabulary 96, tied head; mask 95
 *     diffullama  D 32, 2 layers, 4 heads, 2 KV heads, MLP 48, vocabulary 96; mask 81
 *     mmada       D 32, 2 layers, 4 heads, MLP 64, vocabulary 80; mask 40, begin 41, end 42
 *
 *     illada      the LLaDA of `like`, whose head must be tied, under Hugging Face's names; mask 5
 *
 * diffugpt, diffullama, mmada: h = FNV-1a-64 of the tensor's name, r(j) = splitmix64(h + j), and
 * u(j) = (r(j) >> 40) / 2^23 - 1; an element is offset + scale * u(j) in float32. Embeddings and
 * heads 0.6; weights of norms 1 + 0.1 u; diffugpt's positions 0.3 and biases 0.05; all else 0.4.
 */
#ifndef UM_TESTS_SUPPORT_FAMILY_CHECKPOINT_H
#define UM_TESTS_SUPPORT_FAMILY_CHECKPOINT_H

#include "tests/support/tiny_checkpoint.h"

typedef struct um_family_checkpoint {
    const char *family;
    um_dtype dtype;
    int32_t shards;
    const char *body; /* diffugpt, diffullama: other tensor names; NULL: as released. "transformer."
                       * and "" (GPT-2), "denoise_model" (DiffuLLaMA's wrapper) */
    bool stored_head; /* diffugpt: lm_head.weight is in the file, too */
    const um_tiny_options *like; /* illada */
    int32_t rows;                /* dream: instead of 40, with other weights then */
} um_family_checkpoint;

/* config.json, weights and special_tokens_map.json, into an existing directory. */
um_status um_family_checkpoint_write(const char *dir, const um_family_checkpoint *options,
                                     um_err *err);

#endif
