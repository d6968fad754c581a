/*
 * What a checkpoint is: dimensions and facts of a model, read from config.json by its family and
 * checked against each other. A family declares facts, not code paths: the engine has no
 * `if (llada)`.
 */
#ifndef UM_MODEL_CONFIG_H
#define UM_MODEL_CONFIG_H

#include "core/base/json.h"
#include "kernels/ops.h"

#define UM_MODEL_STOP_MAX 4

typedef enum um_norm_kind {
    UM_NORM_RMS,
    UM_NORM_LAYER, /* mean and variance, gain and bias */
} um_norm_kind;

typedef struct um_model_config {
    /* transformer */
    int32_t width; /* d_model */
    int32_t layers;
    int32_t heads;
    int32_t kv_heads;
    int32_t head_dim;
    int32_t mlp_width;
    int32_t block_group; /* layers per group in tensor names; 1: no groups */
    int32_t vocab;       /* ids with a meaning */
    int32_t vocab_rows;  /* rows of embedding and head: the logit width */
    um_norm_kind norm;
    float norm_eps;
    double rope_theta;     /* rotary positions, unless: */
    int32_t position_rows; /* > 0: learned positions, added to the embedding */
    um_activation activation;
    bool gated_mlp;    /* act(gate x) * (up x), else act(up x) */
    float embed_scale; /* 1, or sqrt(width) */
    float logit_scale; /* 1, or 1/sqrt(width) */
    bool tied_head;
    bool qkv_bias;
    bool attention_out_bias;
    bool mlp_bias;
    bool head_bias;
    bool norm_bias; /* LayerNorm only */
    bool qk_norm;   /* RMS norm over the whole q and k vectors before the head split */
    int32_t naming; /* the family's own: which of its tensor names this checkpoint uses */
    /* diffusion */
    bool logit_shift;      /* the row of position i predicts position i + 1 */
    int32_t context_max;   /* positions that are served */
    int32_t context_limit; /* positions that could be: what the positions' encoding allows */
    int32_t prompt_bos;    /* put in front of a raw prompt, -1: nothing */
    int32_t mask_token;
    bool mask_is_text;    /* an ordinary token: masked positions are known by place, not by id */
    bool has_first_token; /* nothing predicts position 0: where it is masked, it becomes */
    int32_t first_token;  /* this */
    int32_t end_token;    /* end of text = padding */
    int32_t turn_token;   /* end of turn, where config.json names it; -1: see um_family */
} um_model_config;

/* Each dimension against its bound and against the others. UM_E_FORMAT or, for what our ops cannot
 * do, UM_E_UNSUPPORTED; the error names the value. */
um_status um_model_config_check(const um_model_config *config, um_err *err);

#endif
