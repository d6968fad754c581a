/*
 * The hash-defined tiny LLaDA checkpoint: weights that follow from a formula, so that published
 * numbers (tests/golden) can be checked without carrying a file. The same files come from
 * `scripts/make_tiny_checkpoint.py --kind hash`.
 *
 *     um_tiny_options options = {.kv_heads = 2, .dtype = UM_BF16, .shards = 2};
 *     char dir[UM_TEMP_PATH_BYTES];
 *     um_temp_dir_make(dir);
 *     status = um_tiny_checkpoint_write(dir, &options, err);
 *     ... um_model_open(dir, ...) ...
 *     um_temp_dir_remove(dir);
 *
 * With uint32 arithmetic, h = k*2654435761 + t*40503 + 12345, mixed as in tiny_checkpoint.c, and
 * v(t,k) = h/2^31 - 1: tensor number t has the elements 1 + 0.1 v (norm weights) or 0.8 v (all
 * others), rounded to f32 and then to the stored dtype. t counts wte; per block attn_norm, q, k,
 * v, attn_out, ff_norm, ff_proj, up_proj, ff_out; ln_f; head. Optional tensors (biases, q and k
 * norms) have numbers from 1000 on, so that they leave the others as they are.
 *
 * Zero in an option means the value of the published vectors.
 */
#ifndef UM_TESTS_SUPPORT_TINY_CHECKPOINT_H
#define UM_TESTS_SUPPORT_TINY_CHECKPOINT_H

#include "kernels/tensor.h"

#define UM_TINY_VOCAB 40
#define UM_TINY_END 35  /* end of text = padding */
#define UM_TINY_TURN 36 /* end of turn, for tests that want one: config.json has no such key */
#define UM_TINY_MASK 37

typedef struct um_tiny_options {
    int32_t width;            /* 16 */
    int32_t heads;            /* 4 */
    int32_t kv_heads;         /* 4; the other published variant is 2 */
    int32_t layers;           /* 2 */
    int32_t mlp_width;        /* 24 */
    int32_t context;          /* 1024 */
    int32_t embedding_size;   /* rows of embedding and head: 40, the vocabulary */
    int32_t block_group_size; /* 1; more changes tensor names */
    um_dtype dtype;           /* UM_F32, UM_BF16 or UM_F16 */
    um_dtype rounded_to;      /* values are rounded to this first: equal numbers in a wider file */
    int32_t shards; /* 1: model.safetensors; more: an index, neighbouring tensors in other shards */
    bool qkv_bias;
    bool linear_bias; /* every linear: q, k, v and an untied head included */
    bool qk_norm;
    bool layer_norm; /* norms have a bias and subtract the mean: iLLaDA's variant, not LLaDA's */
    bool tied_head;
    bool scale_logits;
    bool input_emb_norm;
    const char *activation; /* "silu" */
    double mask_head_scale; /* the head's MASK row is its hash values times this: 0 */
} um_tiny_options;

/* Writes config.json, generation_config.json and the weight files into an existing directory.
 * UM_E_IO, UM_E_NOMEM. */
um_status um_tiny_checkpoint_write(const char *dir, const um_tiny_options *options, um_err *err);

/* The same tensors in memory, as stored (rounded to the dtype, widened again): what an oracle
 * computes with. */
typedef struct um_tiny_tensor {
    char name[96];
    int64_t rows; /* 0 for vectors, which are written with rank 1 */
    int64_t cols;
    float *values; /* [rows][cols], owned */
} um_tiny_tensor;

typedef struct um_tiny {
    um_tiny_tensor *items; /* owned */
    size_t count;
} um_tiny;

/* Running out of memory ends the program. */
void um_tiny_init(um_tiny *tiny, const um_tiny_options *options);
void um_tiny_deinit(um_tiny *tiny);
/* Writes config.json and the tensors, in `shards` files, in that dtype. UM_E_IO, UM_E_NOMEM. */
um_status um_tiny_write(const char *dir, const char *config, const um_tiny *tiny, um_dtype dtype,
                        int32_t shards, um_err *err);
/* The mixed h(t,k) above. */
uint32_t um_tiny_hash(uint32_t t, uint32_t k);
/* By name (printf format); NULL when this checkpoint has no such tensor. */
const float *um_tiny_values(const um_tiny *tiny, const char *name, ...) UM_PRINTF(2, 3);
/* Defaults filled in. */
um_tiny_options um_tiny_resolve(const um_tiny_options *options);

#endif
