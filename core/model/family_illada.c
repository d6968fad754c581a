/*
 * iLLaDA (GSAI-ML/iLLaDA-8B-Base, -Instruct): LLaDA's decoding on Llama's layout, trained for
 * answers of any length. Its mask is the added token <[MASK]>, id 5, which no key of config.json
 * names. Norms are RMS unless layer_norm_eps is set.
 */
#include "core/model/config_keys.h"
#include "core/model/family_internal.h"
#include "core/model/hf_llama.h"

#define ILLADA_MASK 5

static um_status read_config(const um_json *config, um_model_config *out, um_err *err)
{
    static const umi_hf_llama_defaults defaults = {.width = 4096,
                                                   .mlp_width = 14336,
                                                   .layers = 32,
                                                   .heads = 32,
                                                   .vocab = 155136,
                                                   .context = 8192,
                                                   .norm_eps = 1e-5,
                                                   .rope_theta = 10000.0,
                                                   .mask_token = ILLADA_MASK,
                                                   .end_token = 2,
                                                   .tied_head = true};
    double eps;
    um_status status = umi_hf_llama_read_config(config, &defaults, out, err);

    if (status == UM_OK)
        status = um_json_get_number(config, "layer_norm_eps", 0.0, 1.0, -1.0, &eps, err);
    if (status != UM_OK)
        return status;
    if (eps >= 0.0) {
        out->norm = UM_NORM_LAYER;
        out->norm_bias = true;
        out->norm_eps = (float)eps;
    }
    return UM_OK;
}

const um_family umi_family_illada = {
    .name = "illada",
    .architectures = {"ILLaDAForCausalLM"},
    .defaults = {.algorithm = "low_confidence",
                 .block_length = 32,
                 .steps_per_block = 0,
                 .max_tokens = 128,
                 .temperature = 0.0f,
                 .top_p = 1.0f},
    .read_config = read_config,
    .list_tensors = umi_hf_llama_list_tensors,
};
