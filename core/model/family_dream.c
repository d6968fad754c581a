/*
 * Dream (DreamLM/Dream: Dream-v0-Base-7B, Dream-v0-Instruct-7B), Dream-Coder and DiffuCoder
 * (apple/ml-diffucoder): Qwen2's blocks without the causal mask, and logits that belong to the next
 * position. Defaults are those of configuration_dream.py.
 */
#include "core/model/family_internal.h"
#include "core/model/hf_llama.h"

/* max_position_embeddings is Qwen2.5's 131,072; the authors trained and speak of 2,048. */
#define DREAM_CONTEXT 2048

static um_status read_config(const um_json *config, um_model_config *out, um_err *err)
{
    static const umi_hf_llama_defaults defaults = {.width = 4096,
                                                   .mlp_width = 22016,
                                                   .layers = 32,
                                                   .heads = 32,
                                                   .vocab = 151936,
                                                   .context = 32768,
                                                   .norm_eps = 1e-6,
                                                   .rope_theta = 10000.0,
                                                   .mask_token = 151666,
                                                   .end_token = 151643};
    um_status status = umi_hf_llama_read_config(config, &defaults, out, err);

    if (status != UM_OK)
        return status;
    out->qkv_bias = true;
    out->attention_out_bias = false;
    out->logit_shift = true;
    if (out->context_max > DREAM_CONTEXT)
        out->context_max = DREAM_CONTEXT;
    return UM_OK;
}

const um_family umi_family_dream = {
    .name = "dream",
    .architectures = {"DreamModel"},
    .time_schedule = true,
    .filtered_confidence = true,
    .turn_token_text = "<|im_end|>",
    .padding_text = "<|dlm_pad|>", /* DiffuCoder-7B-Instruct and -cpGRPO */
    /* The authors' demo: entropy order, one token per step. */
    .defaults = {.algorithm = "entropy",
                 .block_length = 0,
                 .steps_per_block = 0,
                 .max_tokens = 256,
                 .temperature = 0.2f,
                 .top_p = 0.95f,
                 .eps = 1e-3f},
    .read_config = read_config,
    .list_tensors = umi_hf_llama_list_tensors,
};
