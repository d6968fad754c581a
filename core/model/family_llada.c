/*
 * LLaDA (ML-GSAI/LLaDA: LLaDA-8B-Base, LLaDA-8B-Instruct, LLaDA-1.5 and models of that class):
 * OLMo-style config keys, Llama-style blocks. Defaults are those of the configuration class
 * (configuration_llada.py), which describe a generic model: a released config.json sets nearly
 * every key, and one that relies on the defaults is refused where they name an unsupported part.
 */
#include "core/model/config_keys.h"
#include "core/model/family_internal.h"

#include <math.h>
#include <string.h>

/* ---- config.json --------------------------------------------------------------------------- */

/* What our forward pass has no other form of. rope_full_precision is not among them: it tells the
 * reference to rotate in float32, which we always do. rope_scaling is no key of the authors' class;
 * who writes it expects other angles than ours. */
static um_status check_supported(const um_json *config, um_err *err)
{
    um_status status = umi_require_text(config, "block_type", "llama", "sequential", err);

    if (status == UM_OK)
        status = umi_require_text(config, "layer_norm_type", "rms", "default", err);
    if (status == UM_OK)
        status = umi_require_bool(config, "layer_norm_with_affine", true, true, err);
    if (status == UM_OK)
        status = umi_require_bool(config, "rope", true, false, err);
    if (status == UM_OK)
        status = umi_require_null(config, "rope_scaling", err);
    if (status == UM_OK)
        status = umi_require_bool(config, "alibi", false, false, err);
    return status;
}

static um_status read_heads(const um_json *config, um_model_config *out, um_err *err)
{
    const um_json *shared = um_json_member(config, "multi_query_attention");
    int64_t heads = 0, kv_heads = 0;
    bool multi_query = false;
    um_status status = umi_read_aliased(config, "n_heads", "num_attention_heads", 12, &heads, err);

    if (status == UM_OK)
        status = um_json_get_int(config, "n_kv_heads", 1, UMI_DIMENSION_MAX, 0, &kv_heads, err);
    if (status == UM_OK)
        status = um_json_get_bool(config, "multi_query_attention", false, &multi_query, err);
    if (status != UM_OK)
        return status;
    /* The class refuses the pair unless both say the same; null leaves it to n_kv_heads. */
    if (kv_heads && um_json_kind_of(shared) == UM_JSON_BOOL &&
        kv_heads != (multi_query ? 1 : heads))
        return um_fail_field(err, UM_E_CONFLICT, "n_kv_heads",
                             "n_kv_heads is %lld, which contradicts multi_query_attention %s",
                             (long long)kv_heads, multi_query ? "true" : "false");
    if (!kv_heads)
        kv_heads = multi_query ? 1 : heads;
    UM_ASSERT(heads > 0);
    out->heads = (int32_t)heads;
    out->kv_heads = (int32_t)kv_heads;
    if (out->width % out->heads != 0)
        return um_fail_field(err, UM_E_FORMAT, "n_heads",
                             "d_model %d does not divide into %d heads", out->width, out->heads);
    out->head_dim = out->width / out->heads;
    return UM_OK;
}

static um_status read_dimensions(const um_json *config, um_model_config *out, um_err *err)
{
    int64_t width = 0, layers = 0, mlp = 0, ratio = 0, group = 0;
    um_status status = umi_read_aliased(config, "d_model", "hidden_size", 768, &width, err);

    if (status == UM_OK)
        status = umi_read_aliased(config, "n_layers", "num_hidden_layers", 12, &layers, err);
    if (status == UM_OK)
        status = um_json_get_int(config, "mlp_ratio", 1, 1024, 4, &ratio, err);
    if (status == UM_OK)
        status = um_json_get_int(config, "mlp_hidden_size", 1, UMI_DIMENSION_MAX, 0, &mlp, err);
    if (status == UM_OK)
        status = um_json_get_int(config, "block_group_size", 1, UMI_DIMENSION_MAX, 1, &group, err);
    if (status != UM_OK)
        return status;
    if (!mlp)
        mlp = ratio * width;
    if (mlp > UMI_DIMENSION_MAX)
        return um_fail_field(err, UM_E_FORMAT, "mlp_ratio",
                             "mlp_ratio %lld times d_model %lld is %lld; the maximum is %d",
                             (long long)ratio, (long long)width, (long long)mlp, UMI_DIMENSION_MAX);
    out->width = (int32_t)width;
    out->layers = (int32_t)layers;
    out->mlp_width = (int32_t)mlp;
    out->block_group = (int32_t)group;
    return read_heads(config, out, err);
}

/* pad_token_id is not read: rows are packed without padding. */
static um_status read_vocabulary(const um_json *config, um_model_config *out, um_err *err)
{
    const um_json *rows = um_json_member(config, "embedding_size");
    um_status status = umi_read_id(config, "vocab_size", 1, 50257, &out->vocab, err);

    /* Absent and null differ here: absent is the class's default, null means vocab_size. */
    if (status == UM_OK)
        status = umi_read_id(config, "embedding_size", 1, rows ? out->vocab : 50304,
                             &out->vocab_rows, err);
    if (status == UM_OK)
        status = umi_read_id(config, "mask_token_id", 0, 50256, &out->mask_token, err);
    if (status == UM_OK)
        status = umi_read_id(config, "eos_token_id", 0, 50256, &out->end_token, err);
    if (status == UM_OK)
        status = umi_read_id(config, "max_sequence_length", 1, 1024, &out->context_limit, err);
    out->context_max = out->context_limit;
    out->turn_token = -1;
    return status;
}

static um_status read_norms_and_biases(const um_json *config, um_model_config *out, um_err *err)
{
    double eps;
    bool biases = false;
    um_status status = um_json_get_number(config, "rms_norm_eps", 0.0, 1.0, 1e-5, &eps, err);

    if (status == UM_OK)
        status = um_json_get_bool(config, "include_bias", false, &biases, err);
    if (status == UM_OK)
        status = um_json_get_bool(config, "include_qkv_bias", false, &out->qkv_bias, err);
    if (status == UM_OK)
        status = um_json_get_bool(config, "attention_layer_norm", false, &out->qk_norm, err);
    if (status == UM_OK)
        status = um_json_get_bool(config, "bias_for_layer_norm", biases, &out->norm_bias, err);
    if (status == UM_OK && out->qk_norm)
        status = umi_require_bool(config, "attention_layer_norm_with_affine", true, true, err);
    if (status != UM_OK)
        return status;
    out->norm_eps = (float)eps;
    out->qkv_bias |= biases;
    out->attention_out_bias = out->mlp_bias = out->head_bias = biases;
    if (out->norm_bias)
        return um_fail_field(err, UM_E_UNSUPPORTED, "bias_for_layer_norm",
                             "bias_for_layer_norm is true%s; norms with a bias are not supported",
                             um_json_kind_of(um_json_member(config, "bias_for_layer_norm")) ==
                                     UM_JSON_NULL
                                 ? " (by include_bias)"
                                 : "");
    return UM_OK;
}

static um_status read_scales(const um_json *config, um_model_config *out, um_err *err)
{
    bool scale_embeddings, scale_logits;
    um_status status = um_json_get_bool(config, "input_emb_norm", false, &scale_embeddings, err);

    if (status == UM_OK)
        status = um_json_get_bool(config, "scale_logits", false, &scale_logits, err);
    if (status == UM_OK)
        status = um_json_get_bool(config, "weight_tying", true, &out->tied_head, err);
    if (status == UM_OK)
        status =
            um_json_get_number(config, "rope_theta", 1.0, 1e12, 10000.0, &out->rope_theta, err);
    if (status != UM_OK)
        return status;
    out->embed_scale = scale_embeddings ? sqrtf((float)out->width) : 1.0f;
    out->logit_scale = scale_logits ? 1.0f / sqrtf((float)out->width) : 1.0f;
    return UM_OK;
}

/* swiglu, the class's default, halves its input, which a block with up_proj does not provide for. */
static const umi_activation_name llama_activations[] = {
    {"silu", UM_ACT_SILU}, {"gelu", UM_ACT_GELU}, {"relu", UM_ACT_RELU}};

um_status umi_llada_read_config(const um_json *config, um_model_config *out, um_err *err)
{
    um_status status = check_supported(config, err);

    *out = (um_model_config){.norm = UM_NORM_RMS, .gated_mlp = true, .prompt_bos = -1};
    if (status == UM_OK)
        status = read_dimensions(config, out, err);
    if (status == UM_OK)
        status = read_vocabulary(config, out, err);
    if (status == UM_OK)
        status = umi_read_activation(config, "activation_type", "swiglu", llama_activations,
                                     UM_COUNT_OF(llama_activations), &out->activation, err);
    if (status == UM_OK)
        status = read_norms_and_biases(config, out, err);
    if (status == UM_OK)
        status = read_scales(config, out, err);
    return status;
}

/* ---- tensors ------------------------------------------------------------------------------- */

typedef struct needed {
    um_role role;
    int64_t rows; /* 1 for vectors */
    int64_t cols;
    bool present;
    const char *leaf;
} needed;

static um_status list_block(const um_model_config *c, int32_t layer, um_tensor_list *list,
                            um_err *err)
{
    int64_t d = c->width, k = (int64_t)c->kv_heads * c->head_dim, m = c->mlp_width;
    const needed tensors[] = {
        {UM_ROLE_ATTENTION_NORM, 1, d, true, "attn_norm.weight"},
        {UM_ROLE_Q, d, d, true, "q_proj.weight"},
        {UM_ROLE_Q_BIAS, 1, d, c->qkv_bias, "q_proj.bias"},
        {UM_ROLE_K, k, d, true, "k_proj.weight"},
        {UM_ROLE_K_BIAS, 1, k, c->qkv_bias, "k_proj.bias"},
        {UM_ROLE_V, k, d, true, "v_proj.weight"},
        {UM_ROLE_V_BIAS, 1, k, c->qkv_bias, "v_proj.bias"},
        {UM_ROLE_Q_NORM, 1, d, c->qk_norm, "q_norm.weight"},
        {UM_ROLE_K_NORM, 1, k, c->qk_norm, "k_norm.weight"},
        {UM_ROLE_ATTENTION_OUT, d, d, true, "attn_out.weight"},
        {UM_ROLE_ATTENTION_OUT_BIAS, 1, d, c->attention_out_bias, "attn_out.bias"},
        {UM_ROLE_MLP_NORM, 1, d, true, "ff_norm.weight"},
        {UM_ROLE_GATE, m, d, true, "ff_proj.weight"},
        {UM_ROLE_GATE_BIAS, 1, m, c->mlp_bias, "ff_proj.bias"},
        {UM_ROLE_UP, m, d, true, "up_proj.weight"},
        {UM_ROLE_UP_BIAS, 1, m, c->mlp_bias, "up_proj.bias"},
        {UM_ROLE_DOWN, d, m, true, "ff_out.weight"},
        {UM_ROLE_DOWN_BIAS, 1, d, c->mlp_bias, "ff_out.bias"},
    };

    for (size_t i = 0; i < UM_COUNT_OF(tensors); i++) {
        const needed *t = &tensors[i];
        um_status status = UM_OK;

        if (t->present && c->block_group > 1)
            status = um_tensor_list_add(list, t->role, layer, t->rows, t->cols, err,
                                        "model.transformer.block_groups.%d.%d.%s",
                                        layer / c->block_group, layer % c->block_group, t->leaf);
        else if (t->present)
            status = um_tensor_list_add(list, t->role, layer, t->rows, t->cols, err,
                                        "model.transformer.blocks.%d.%s", layer, t->leaf);
        if (status != UM_OK)
            return status;
    }
    return UM_OK;
}

/* The head shares its leaf name with the MLP's down projection, one level higher. */
um_status umi_llada_list_tensors(const um_model_config *c, um_tensor_list *list, um_err *err)
{
    int64_t d = c->width, rows = c->vocab_rows;
    um_status status = um_tensor_list_add(list, UM_ROLE_EMBEDDING, 0, rows, d, err,
                                          "model.transformer.wte.weight");

    for (int32_t layer = 0; status == UM_OK && layer < c->layers; layer++)
        status = list_block(c, layer, list, err);
    if (status == UM_OK)
        status = um_tensor_list_add(list, UM_ROLE_FINAL_NORM, 0, 1, d, err,
                                    "model.transformer.ln_f.weight");
    if (status == UM_OK && !c->tied_head)
        status = um_tensor_list_add(list, UM_ROLE_HEAD, 0, rows, d, err,
                                    "model.transformer.ff_out.weight");
    if (status == UM_OK && !c->tied_head && c->head_bias)
        status = um_tensor_list_add(list, UM_ROLE_HEAD_BIAS, 0, 1, rows, err,
                                    "model.transformer.ff_out.bias");
    return status;
}

const um_family umi_family_llada = {
    .name = "llada",
    .architectures = {"LLaDAModelLM"},
    .has_eos_rules = true,
    .turn_token_text = "<|eot_id|>",
    /* The authors' demo: blocks of 32, one token per step, greedy. */
    .defaults = {.algorithm = "low_confidence",
                 .block_length = 32,
                 .steps_per_block = 0,
                 .max_tokens = 128,
                 .temperature = 0.0f,
                 .top_p = 1.0f},
    .read_config = umi_llada_read_config,
    .list_tensors = umi_llada_list_tensors,
};
