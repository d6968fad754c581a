#include "core/model/hf_llama.h"

#include "core/model/config_keys.h"

/* ---- config.json --------------------------------------------------------------------------- */

static um_status check_supported(const um_json *config, um_err *err)
{
    um_status status = umi_require_null(config, "rope_scaling", err);

    if (status == UM_OK)
        status = umi_require_bool(config, "use_sliding_window", false, false, err);
    if (status == UM_OK)
        status = umi_require_text(config, "hidden_act", "silu", "silu", err);
    return status;
}

static um_status read_heads(const um_json *config, const umi_hf_llama_defaults *defaults,
                            um_model_config *out, um_err *err)
{
    um_status status =
        umi_read_id(config, "num_attention_heads", 1, defaults->heads, &out->heads, err);

    if (status == UM_OK)
        status = umi_read_id(config, "num_key_value_heads", 1, out->heads, &out->kv_heads, err);
    if (status != UM_OK)
        return status;
    if (out->width % out->heads != 0)
        return um_fail_field(err, UM_E_FORMAT, "num_attention_heads",
                             "hidden_size %d does not divide into num_attention_heads %d",
                             out->width, out->heads);
    return umi_read_id(config, "head_dim", 1, out->width / out->heads, &out->head_dim, err);
}

static um_status read_dimensions(const um_json *config, const umi_hf_llama_defaults *defaults,
                                 um_model_config *out, um_err *err)
{
    um_status status = umi_read_id(config, "hidden_size", 1, defaults->width, &out->width, err);

    if (status == UM_OK)
        status =
            umi_read_id(config, "intermediate_size", 1, defaults->mlp_width, &out->mlp_width, err);
    if (status == UM_OK)
        status = umi_read_id(config, "num_hidden_layers", 1, defaults->layers, &out->layers, err);
    if (status == UM_OK)
        status = umi_read_id(config, "vocab_size", 1, defaults->vocab, &out->vocab_rows, err);
    if (status == UM_OK)
        status = umi_read_id(config, "max_position_embeddings", 1, defaults->context,
                             &out->context_limit, err);
    if (status != UM_OK)
        return status;
    out->vocab = out->vocab_rows;
    out->context_max = out->context_limit;
    return read_heads(config, defaults, out, err);
}

static um_status read_end_of_list(const um_json *list, size_t index, int32_t *out, um_err *err)
{
    const um_json *value = um_json_element(list, index);
    int64_t id = um_json_kind_of(value) == UM_JSON_INT ? um_json_int_value(value) : -1;

    if (id < 0 || id > UMI_DIMENSION_MAX)
        return um_fail_field(err, UM_E_FORMAT, "eos_token_id",
                             "eos_token_id[%zu] is not an id from 0 to %d", index,
                             UMI_DIMENSION_MAX);
    *out = (int32_t)id;
    return UM_OK;
}

/* One id, or as newer files write it a list: the end of text, and maybe the end of a turn. */
static um_status read_end_tokens(const um_json *config, int32_t fallback, um_model_config *out,
                                 um_err *err)
{
    const um_json *value = um_json_member(config, "eos_token_id");
    um_status status;

    if (um_json_kind_of(value) != UM_JSON_ARRAY)
        return umi_read_id(config, "eos_token_id", 0, fallback, &out->end_token, err);
    if (um_json_count(value) > 2)
        return um_fail_field(err, UM_E_UNSUPPORTED, "eos_token_id",
                             "eos_token_id has %zu ids; the maximum is 2", um_json_count(value));
    status = read_end_of_list(value, 0, &out->end_token, err);
    return status == UM_OK && um_json_count(value) == 2
               ? read_end_of_list(value, 1, &out->turn_token, err)
               : status;
}

static um_status read_tokens(const um_json *config, const umi_hf_llama_defaults *defaults,
                             um_model_config *out, um_err *err)
{
    um_status status =
        umi_read_id(config, "mask_token_id", 0, defaults->mask_token, &out->mask_token, err);

    return status == UM_OK ? read_end_tokens(config, defaults->end_token, out, err) : status;
}

static um_status read_numbers(const um_json *config, const umi_hf_llama_defaults *defaults,
                              um_model_config *out, um_err *err)
{
    double eps;
    um_status status =
        um_json_get_number(config, "rms_norm_eps", 0.0, 1.0, defaults->norm_eps, &eps, err);

    if (status == UM_OK)
        status = um_json_get_number(config, "rope_theta", 1.0, 1e12, defaults->rope_theta,
                                    &out->rope_theta, err);
    if (status == UM_OK)
        status = um_json_get_bool(config, "tie_word_embeddings", defaults->tied_head,
                                  &out->tied_head, err);
    if (status == UM_OK)
        status = um_json_get_bool(config, "attention_bias", false, &out->qkv_bias, err);
    if (status == UM_OK)
        status = um_json_get_bool(config, "mlp_bias", false, &out->mlp_bias, err);
    if (status != UM_OK)
        return status;
    out->norm_eps = (float)eps;
    out->attention_out_bias = out->qkv_bias;
    return UM_OK;
}

um_status umi_hf_llama_read_config(const um_json *config, const umi_hf_llama_defaults *defaults,
                                   um_model_config *out, um_err *err)
{
    um_status status = check_supported(config, err);

    *out = (um_model_config){.norm = UM_NORM_RMS,
                             .gated_mlp = true,
                             .activation = UM_ACT_SILU,
                             .block_group = 1,
                             .embed_scale = 1.0f,
                             .logit_scale = 1.0f,
                             .turn_token = -1,
                             .prompt_bos = -1};
    if (status == UM_OK)
        status = read_dimensions(config, defaults, out, err);
    if (status == UM_OK)
        status = read_tokens(config, defaults, out, err);
    return status == UM_OK ? read_numbers(config, defaults, out, err) : status;
}

/* ---- tensors ------------------------------------------------------------------------------- */

static const char *body_of(const um_model_config *c)
{
    return c->naming == UMI_HF_WRAPPED ? "denoise_model" : "model";
}

static um_status list_layer(const um_model_config *c, int32_t layer, um_tensor_list *list,
                            um_err *err)
{
    int64_t d = c->width, k = (int64_t)c->kv_heads * c->head_dim, m = c->mlp_width;
    const struct {
        um_role role;
        int64_t rows;
        int64_t cols;
        bool present;
        const char *leaf;
    } tensors[] = {
        {UM_ROLE_ATTENTION_NORM, 1, d, true, "input_layernorm.weight"},
        {UM_ROLE_ATTENTION_NORM_BIAS, 1, d, c->norm_bias, "input_layernorm.bias"},
        {UM_ROLE_Q, d, d, true, "self_attn.q_proj.weight"},
        {UM_ROLE_Q_BIAS, 1, d, c->qkv_bias, "self_attn.q_proj.bias"},
        {UM_ROLE_K, k, d, true, "self_attn.k_proj.weight"},
        {UM_ROLE_K_BIAS, 1, k, c->qkv_bias, "self_attn.k_proj.bias"},
        {UM_ROLE_V, k, d, true, "self_attn.v_proj.weight"},
        {UM_ROLE_V_BIAS, 1, k, c->qkv_bias, "self_attn.v_proj.bias"},
        {UM_ROLE_ATTENTION_OUT, d, d, true, "self_attn.o_proj.weight"},
        {UM_ROLE_ATTENTION_OUT_BIAS, 1, d, c->attention_out_bias, "self_attn.o_proj.bias"},
        {UM_ROLE_MLP_NORM, 1, d, true, "post_attention_layernorm.weight"},
        {UM_ROLE_MLP_NORM_BIAS, 1, d, c->norm_bias, "post_attention_layernorm.bias"},
        {UM_ROLE_GATE, m, d, true, "mlp.gate_proj.weight"},
        {UM_ROLE_GATE_BIAS, 1, m, c->mlp_bias, "mlp.gate_proj.bias"},
        {UM_ROLE_UP, m, d, true, "mlp.up_proj.weight"},
        {UM_ROLE_UP_BIAS, 1, m, c->mlp_bias, "mlp.up_proj.bias"},
        {UM_ROLE_DOWN, d, m, true, "mlp.down_proj.weight"},
        {UM_ROLE_DOWN_BIAS, 1, d, c->mlp_bias, "mlp.down_proj.bias"},
    };
    um_status status = UM_OK;

    for (size_t i = 0; i < UM_COUNT_OF(tensors) && status == UM_OK; i++)
        if (tensors[i].present)
            status =
                um_tensor_list_add(list, tensors[i].role, layer, tensors[i].rows, tensors[i].cols,
                                   err, "%s.layers.%d.%s", body_of(c), layer, tensors[i].leaf);
    return status;
}

um_status umi_hf_llama_list_tensors(const um_model_config *c, um_tensor_list *list, um_err *err)
{
    int64_t d = c->width, rows = c->vocab_rows;
    um_status status = um_tensor_list_add(
        list, UM_ROLE_EMBEDDING, 0, rows, d, err,
        c->naming == UMI_HF_WRAPPED ? "embed_tokens.weight" : "model.embed_tokens.weight");

    for (int32_t layer = 0; status == UM_OK && layer < c->layers; layer++)
        status = list_layer(c, layer, list, err);
    if (status == UM_OK)
        status = um_tensor_list_add(list, UM_ROLE_FINAL_NORM, 0, 1, d, err, "%s.norm.weight",
                                    body_of(c));
    if (status == UM_OK && c->norm_bias)
        status = um_tensor_list_add(list, UM_ROLE_FINAL_NORM_BIAS, 0, 1, d, err, "%s.norm.bias",
                                    body_of(c));
    if (status == UM_OK && !c->tied_head)
        status = um_tensor_list_add(list, UM_ROLE_HEAD, 0, rows, d, err, "lm_head.weight");
    return status;
}
