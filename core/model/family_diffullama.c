/*
 * DiffuLLaMA (HKUNLP/DiffuLLaMA: diffusionfamily/diffullama): Llama-2-7B adapted to diffusion.
 * Nothing in its config.json says so: class, keys and tensor names are Llama's. The mask token is
 * an ordinary piece of the vocabulary, id 811.
 */
#include "core/model/config_keys.h"
#include "core/model/family_internal.h"
#include "core/model/hf_llama.h"

/* Adapted at 2,048 tokens; positions up to 4,096 are Llama's. */
#define DIFFULLAMA_CONTEXT 2048
#define DIFFULLAMA_MASK 811
#define LLAMA_BOS 1

static um_status read_config(const um_json *config, um_model_config *out, um_err *err)
{
    static const umi_hf_llama_defaults defaults = {.width = 4096,
                                                   .mlp_width = 11008,
                                                   .layers = 32,
                                                   .heads = 32,
                                                   .vocab = 32000,
                                                   .context = 2048,
                                                   .norm_eps = 1e-6,
                                                   .rope_theta = 10000.0,
                                                   .mask_token = DIFFULLAMA_MASK,
                                                   .end_token = 2};
    um_status status = umi_hf_llama_read_config(config, &defaults, out, err);

    if (status != UM_OK)
        return status;
    out->logit_shift = true;
    out->mask_is_text = true;
    out->has_first_token = true;
    if (out->context_max > DIFFULLAMA_CONTEXT)
        out->context_max = DIFFULLAMA_CONTEXT;
    return umi_read_bos(config, LLAMA_BOS, out, err);
}

/* Fine-tunes by the authors' trainer keep the names of its wrapper. */
static um_status adapt(const um_checkpoint *checkpoint, um_model_config *config, um_err *err)
{
    (void)err;
    config->naming =
        um_checkpoint_find(checkpoint, "embed_tokens.weight") ? UMI_HF_WRAPPED : UMI_HF_PLAIN;
    return UM_OK;
}

const um_family umi_family_diffullama = {
    .name = "diffullama",
    .architectures = {"LlamaForCausalLM"},
    .is_shared_architecture = true,
    /* inf_diffullama.py; greedy decoding is the authors' other sampler. */
    .defaults = {.algorithm = "origin",
                 .greedy_algorithm = "competing",
                 .block_length = 0,
                 .steps_per_block = 64,
                 .max_tokens = 256,
                 .temperature = 0.9f,
                 .top_p = 0.9f},
    .read_config = read_config,
    .adapt = adapt,
    .list_tensors = umi_hf_llama_list_tensors,
};
