/*
 * DiffuGPT (HKUNLP/DiffuLLaMA: diffusionfamily/diffugpt-s, -m): GPT-2 adapted to diffusion. Learned
 * positions, LayerNorm, Conv1D matrices stored as [in][out], a head tied to the embedding. Releases
 * carry the names of the training wrapper (denoise_model.h.N..., embed_tokens.weight); plain GPT-2
 * names are taken too. The embedding's rows, not config.json, say how large the vocabulary is.
 */
#include <string.h>

#include "core/model/config_keys.h"
#include "core/model/family_internal.h"

#define GPT2_END 50256
#define DIFFUGPT_S_MASK 10541 /* the token "------------" */
#define DIFFUGPT_M_MASK 50257 /* a row of its own */

typedef enum diffugpt_naming {
    WRAPPED,     /* denoise_model.h.0..., embed_tokens.weight */
    TRANSFORMER, /* transformer.h.0..., transformer.wte.weight */
    BARE,        /* h.0..., wte.weight */
} diffugpt_naming;

static const struct {
    const char *body;
    const char *embedding;
} names[] = {
    [WRAPPED] = {"denoise_model.", "embed_tokens.weight"},
    [TRANSFORMER] = {"transformer.", "transformer.wte.weight"},
    [BARE] = {"", "wte.weight"},
};

/* ---- config.json --------------------------------------------------------------------------- */

static const umi_activation_name gpt2_activations[] = {{"gelu_new", UM_ACT_GELU_TANH},
                                                       {"gelu_pytorch_tanh", UM_ACT_GELU_TANH},
                                                       {"gelu", UM_ACT_GELU},
                                                       {"relu", UM_ACT_RELU}};

static um_status check_supported(const um_json *config, um_err *err)
{
    um_status status = umi_require_bool(config, "scale_attn_weights", true, true, err);

    if (status == UM_OK)
        status = umi_require_bool(config, "scale_attn_by_inverse_layer_idx", false, false, err);
    if (status == UM_OK)
        status = umi_require_bool(config, "reorder_and_upcast_attn", false, false, err);
    return status;
}

static um_status read_dimensions(const um_json *config, um_model_config *out, um_err *err)
{
    um_status status = umi_read_id(config, "n_embd", 1, 768, &out->width, err);

    if (status == UM_OK)
        status = umi_read_id(config, "n_layer", 1, 12, &out->layers, err);
    if (status == UM_OK)
        status = umi_read_id(config, "n_head", 1, 12, &out->heads, err);
    if (status == UM_OK)
        status = umi_read_id(config, "n_positions", 1, 1024, &out->position_rows, err);
    if (status == UM_OK)
        status = umi_read_id(config, "vocab_size", 1, 50257, &out->vocab_rows, err);
    if (status != UM_OK)
        return status;
    if (out->width > UMI_DIMENSION_MAX / 4 || out->width % out->heads != 0)
        return um_fail_field(err, UM_E_FORMAT, "n_head", "n_embd %d does not divide into n_head %d",
                             out->width, out->heads);
    out->kv_heads = out->heads;
    out->head_dim = out->width / out->heads;
    out->context_limit = out->context_max = out->position_rows;
    out->vocab = out->vocab_rows;
    return umi_read_id(config, "n_inner", 1, 4 * out->width, &out->mlp_width, err);
}

static um_status read_config(const um_json *config, um_model_config *out, um_err *err)
{
    double eps = 0;
    um_status status = check_supported(config, err);

    *out = (um_model_config){.norm = UM_NORM_LAYER,
                             .norm_bias = true,
                             .qkv_bias = true,
                             .attention_out_bias = true,
                             .mlp_bias = true,
                             .tied_head = true,
                             .logit_shift = true,
                             .mask_is_text = true,
                             .has_first_token = true,
                             .block_group = 1,
                             .embed_scale = 1.0f,
                             .logit_scale = 1.0f,
                             .turn_token = -1};
    if (status == UM_OK)
        status = read_dimensions(config, out, err);
    if (status == UM_OK)
        status = umi_read_activation(config, "activation_function", "gelu_new", gpt2_activations,
                                     UM_COUNT_OF(gpt2_activations), &out->activation, err);
    if (status == UM_OK)
        status = um_json_get_number(config, "layer_norm_epsilon", 0.0, 1.0, 1e-5, &eps, err);
    if (status == UM_OK)
        status = umi_read_id(config, "eos_token_id", 0, GPT2_END, &out->end_token, err);
    if (status == UM_OK)
        status = umi_read_id(config, "mask_token_id", 0,
                             out->vocab_rows > DIFFUGPT_M_MASK ? DIFFUGPT_M_MASK : DIFFUGPT_S_MASK,
                             &out->mask_token, err);
    out->norm_eps = (float)eps;
    return status == UM_OK ? umi_read_bos(config, out->end_token, out, err) : status;
}

/* ---- tensors ------------------------------------------------------------------------------- */

static um_status adapt(const um_checkpoint *checkpoint, um_model_config *config, um_err *err)
{
    bool named_mask = config->mask_token != DIFFUGPT_S_MASK;

    for (size_t i = 0; i < UM_COUNT_OF(names); i++) {
        const um_checkpoint_tensor *embedding = um_checkpoint_find(checkpoint, names[i].embedding);

        if (!embedding)
            continue;
        config->naming = (int32_t)i;
        if (embedding->rank == 2 && embedding->shape[0] > 0 &&
            embedding->shape[0] <= UMI_DIMENSION_MAX)
            config->vocab = config->vocab_rows = (int32_t)embedding->shape[0];
        if (!named_mask && config->vocab_rows == DIFFUGPT_M_MASK + 1)
            config->mask_token = DIFFUGPT_M_MASK;
        config->tied_head = !um_checkpoint_find(checkpoint, "lm_head.weight");
        return UM_OK;
    }
    return um_fail(err, UM_E_FORMAT, "no embedding: neither %s nor %s nor %s is there",
                   names[0].embedding, names[1].embedding, names[2].embedding);
}

static um_status list_layer(const um_model_config *c, int32_t layer, um_tensor_list *list,
                            um_err *err)
{
    int64_t d = c->width, m = c->mlp_width;
    const struct {
        um_role role;
        int64_t rows;
        int64_t cols;
        const char *leaf;
    } tensors[] = {
        {UM_ROLE_ATTENTION_NORM, 1, d, "ln_1.weight"},
        {UM_ROLE_ATTENTION_NORM_BIAS, 1, d, "ln_1.bias"},
        {UM_ROLE_QKV, 3 * d, d, "attn.c_attn.weight"},
        {UM_ROLE_QKV_BIAS, 1, 3 * d, "attn.c_attn.bias"},
        {UM_ROLE_ATTENTION_OUT, d, d, "attn.c_proj.weight"},
        {UM_ROLE_ATTENTION_OUT_BIAS, 1, d, "attn.c_proj.bias"},
        {UM_ROLE_MLP_NORM, 1, d, "ln_2.weight"},
        {UM_ROLE_MLP_NORM_BIAS, 1, d, "ln_2.bias"},
        {UM_ROLE_UP, m, d, "mlp.c_fc.weight"},
        {UM_ROLE_UP_BIAS, 1, m, "mlp.c_fc.bias"},
        {UM_ROLE_DOWN, d, m, "mlp.c_proj.weight"},
        {UM_ROLE_DOWN_BIAS, 1, d, "mlp.c_proj.bias"},
    };
    um_status status = UM_OK;

    for (size_t i = 0; i < UM_COUNT_OF(tensors) && status == UM_OK; i++) {
        status =
            um_tensor_list_add(list, tensors[i].role, layer, tensors[i].rows, tensors[i].cols, err,
                               "%sh.%d.%s", names[c->naming].body, layer, tensors[i].leaf);
        if (status == UM_OK)
            list->items[list->count - 1].transposed = tensors[i].rows > 1;
    }
    return status;
}

static um_status list_tensors(const um_model_config *c, um_tensor_list *list, um_err *err)
{
    const char *body = names[c->naming].body;
    int64_t d = c->width;
    um_status status = um_tensor_list_add(list, UM_ROLE_EMBEDDING, 0, c->vocab_rows, d, err, "%s",
                                          names[c->naming].embedding);

    if (status == UM_OK)
        status = um_tensor_list_add(list, UM_ROLE_POSITIONS, 0, c->position_rows, d, err,
                                    "%swpe.weight", body);
    for (int32_t layer = 0; status == UM_OK && layer < c->layers; layer++)
        status = list_layer(c, layer, list, err);
    if (status == UM_OK)
        status = um_tensor_list_add(list, UM_ROLE_FINAL_NORM, 0, 1, d, err, "%sln_f.weight", body);
    if (status == UM_OK)
        status =
            um_tensor_list_add(list, UM_ROLE_FINAL_NORM_BIAS, 0, 1, d, err, "%sln_f.bias", body);
    if (status == UM_OK && !c->tied_head)
        status = um_tensor_list_add(list, UM_ROLE_HEAD, 0, c->vocab_rows, d, err, "lm_head.weight");
    return status;
}

const um_family umi_family_diffugpt = {
    .name = "diffugpt",
    .architectures = {"GPT2LMHeadModel", "DiscreteDiffusionModel"},
    .is_shared_architecture = true,
    /* inf_diffugpt.py; greedy decoding is the authors' other sampler. */
    .defaults = {.algorithm = "origin",
                 .greedy_algorithm = "competing",
                 .block_length = 0,
                 .steps_per_block = 64,
                 .max_tokens = 256,
                 .temperature = 0.95f,
                 .top_p = 0.9f},
    .read_config = read_config,
    .adapt = adapt,
    .list_tensors = list_tensors,
};
