/*
 * Checkpoints with Hugging Face's Llama names: config keys (hidden_size, ...) and tensors
 * (model.layers.N.self_attn.q_proj.weight, ...). Dream, DiffuLLaMA and iLLaDA differ in class
 * defaults and in a few facts only.
 */
#ifndef UM_MODEL_HF_LLAMA_H
#define UM_MODEL_HF_LLAMA_H

#include "core/model/family.h"

/* What a configuration class says where config.json is silent. */
typedef struct umi_hf_llama_defaults {
    int32_t width;
    int32_t mlp_width;
    int32_t layers;
    int32_t heads;
    int32_t vocab;
    int32_t context; /* max_position_embeddings */
    double norm_eps;
    double rope_theta;
    int32_t mask_token;
    int32_t end_token;
    bool tied_head;
} umi_hf_llama_defaults;

/* Dimensions and facts; what our forward has no form of (rope_scaling, a sliding window, another
 * activation than silu) is refused. `logit_shift` and `qkv_bias` of families that have it always
 * are the caller's to set. */
um_status umi_hf_llama_read_config(const um_json *config, const umi_hf_llama_defaults *defaults,
                                   um_model_config *out, um_err *err);
/* Names as above; with naming UMI_HF_WRAPPED those of DiffuLLaMA's training wrapper
 * (denoise_model.layers..., embed_tokens.weight). */
um_status umi_hf_llama_list_tensors(const um_model_config *config, um_tensor_list *list,
                                    um_err *err);

typedef enum umi_hf_naming {
    UMI_HF_PLAIN,
    UMI_HF_WRAPPED,
} umi_hf_naming;

#endif
