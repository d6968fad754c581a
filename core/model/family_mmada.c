/*
 * MMaDA (Gen-Verse/MMaDA: MMaDA-8B-Base, -MixCoT), its text side: LLaDA's blocks and config class
 * with a vocabulary that goes on with image codes. Ids behind the text tokens are never text; the
 * image side is not served.
 */
#include "core/model/config_keys.h"
#include "core/model/family_internal.h"

/* `<|startoftext|>`, which every prompt of the authors begins with, and the same token's id where
 * config.json says nothing. */
#define MMADA_BOS 126080

static um_status read_config(const um_json *config, um_model_config *out, um_err *err)
{
    um_status status = umi_llada_read_config(config, out, err);

    return status == UM_OK ? umi_read_bos(config, MMADA_BOS, out, err) : status;
}

const um_family umi_family_mmada = {
    .name = "mmada",
    .architectures = {"MMadaModelLM"},
    .turn_token_text = "<|eot_id|>",
    /* The authors' lm-eval script: blocks of 64, one token per step, greedy. */
    .defaults = {.algorithm = "low_confidence",
                 .block_length = 64,
                 .steps_per_block = 0,
                 .max_tokens = 256,
                 .temperature = 0.0f,
                 .top_p = 1.0f},
    .read_config = read_config,
    .list_tensors = umi_llada_list_tensors,
};
