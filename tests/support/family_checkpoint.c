#include "tests/support/family_checkpoint.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "core/base/mem.h"

#define TENSORS_MAX 64

typedef struct builder {
    um_tiny tiny;
    const um_family_checkpoint *options;
} builder;

/* rows == 0: a vector. */
UM_PRINTF(4, 5)
static um_tiny_tensor *add(builder *b, int64_t rows, int64_t cols, const char *name, ...)
{
    um_tiny_tensor *tensor = &b->tiny.items[b->tiny.count++];
    va_list arguments;

    UM_ASSERT(b->tiny.count <= TENSORS_MAX);
    va_start(arguments, name);
    vsnprintf(tensor->name, sizeof(tensor->name), name, arguments);
    va_end(arguments);
    tensor->rows = rows;
    tensor->cols = cols;
    tensor->values = um_mem_calloc((size_t)((rows ? rows : 1) * cols), sizeof(float));
    UM_ASSERT(tensor->values != NULL);
    return tensor;
}

static int64_t elements_of(const um_tiny_tensor *tensor)
{
    return (tensor->rows ? tensor->rows : 1) * tensor->cols;
}

/* ---- values from the name ------------------------------------------------------------------- */

static uint64_t fnv1a(const char *text)
{
    uint64_t h = 0xcbf29ce484222325u;

    for (; *text; text++)
        h = (h ^ (uint8_t)*text) * 0x100000001b3u;
    return h;
}

static uint64_t splitmix(uint64_t x)
{
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

/* `name` is the released one, whatever the tensor is called in this file. */
static void fill_by_name(um_tiny_tensor *tensor, const char *name, float offset, float scale)
{
    uint64_t h = fnv1a(name);

    for (int64_t j = 0; j < elements_of(tensor); j++) {
        float u = (float)(splitmix(h + (uint64_t)j) >> 40) / 8388608.0f - 1.0f;

        tensor->values[j] = offset + scale * u;
    }
}

/* A tensor called `prefix` + `leaf` whose values belong to `released` + `leaf`. */
static void add_named(builder *b, int64_t rows, int64_t cols, const char *prefix,
                      const char *released, const char *leaf, float offset, float scale)
{
    char name[96];

    snprintf(name, sizeof(name), "%s%s", released, leaf);
    fill_by_name(add(b, rows, cols, "%s%s", prefix, leaf), name, offset, scale);
}

/* ---- the families --------------------------------------------------------------------------- */

static void build_diffugpt(builder *b, const char **config)
{
    static const int32_t d = 32, vocab = 96;
    bool wrapped = !b->options->body;
    const char *body = wrapped ? "denoise_model." : b->options->body;
    char prefix[64], released[64];

    if (wrapped)
        fill_by_name(add(b, vocab, d, "embed_tokens.weight"), "embed_tokens.weight", 0, 0.6f);
    else
        fill_by_name(add(b, vocab, d, "%swte.weight", body), "embed_tokens.weight", 0, 0.6f);
    if (b->options->stored_head)
        fill_by_name(add(b, vocab, d, "lm_head.weight"), "embed_tokens.weight", 0, 0.6f);
    add_named(b, 64, d, body, "denoise_model.", "wpe.weight", 0, 0.3f);
    for (int32_t i = 0; i < 2; i++) {
        snprintf(prefix, sizeof(prefix), "%sh.%d.", body, i);
        snprintf(released, sizeof(released), "denoise_model.h.%d.", i);
        add_named(b, 0, d, prefix, released, "ln_1.weight", 1, 0.1f);
        add_named(b, 0, d, prefix, released, "ln_1.bias", 0, 0.05f);
        add_named(b, d, 3 * d, prefix, released, "attn.c_attn.weight", 0, 0.4f);
        add_named(b, 0, 3 * d, prefix, released, "attn.c_attn.bias", 0, 0.05f);
        add_named(b, d, d, prefix, released, "attn.c_proj.weight", 0, 0.4f);
        add_named(b, 0, d, prefix, released, "attn.c_proj.bias", 0, 0.05f);
        add_named(b, 0, d, prefix, released, "ln_2.weight", 1, 0.1f);
        add_named(b, 0, d, prefix, released, "ln_2.bias", 0, 0.05f);
        add_named(b, d, 4 * d, prefix, released, "mlp.c_fc.weight", 0, 0.4f);
        add_named(b, 0, 4 * d, prefix, released, "mlp.c_fc.bias", 0, 0.05f);
        add_named(b, 4 * d, d, prefix, released, "mlp.c_proj.weight", 0, 0.4f);
        add_named(b, 0, d, prefix, released, "mlp.c_proj.bias", 0, 0.05f);
    }
    add_named(b, 0, d, body, "denoise_model.", "ln_f.weight", 1, 0.1f);
    add_named(b, 0, d, body, "denoise_model.", "ln_f.bias", 0, 0.05f);
    *config = "{\"architectures\":[\"GPT2LMHeadModel\"],\"model_type\":\"gpt2\",\"n_embd\":32,"
              "\"n_layer\":2,\"n_head\":4,\"n_positions\":64,\"vocab_size\":96,\"n_inner\":null,"
              "\"activation_function\":\"gelu_new\",\"layer_norm_epsilon\":1e-05,"
              "\"bos_token_id\":50,\"eos_token_id\":94,\"mask_token_id\":95}\n";
}

static void build_diffullama(builder *b, const char **config)
{
    static const int32_t d = 32, k = 16, m = 48, vocab = 96;
    const char *body = b->options->body ? b->options->body : "model";
    char prefix[64], released[64];

    if (b->options->body)
        fill_by_name(add(b, vocab, d, "embed_tokens.weight"), "model.embed_tokens.weight", 0, 0.6f);
    else
        add_named(b, vocab, d, "", "", "model.embed_tokens.weight", 0, 0.6f);
    for (int32_t i = 0; i < 2; i++) {
        snprintf(prefix, sizeof(prefix), "%s.layers.%d.", body, i);
        snprintf(released, sizeof(released), "model.layers.%d.", i);
        add_named(b, 0, d, prefix, released, "input_layernorm.weight", 1, 0.1f);
        add_named(b, d, d, prefix, released, "self_attn.q_proj.weight", 0, 0.4f);
        add_named(b, k, d, prefix, released, "self_attn.k_proj.weight", 0, 0.4f);
        add_named(b, k, d, prefix, released, "self_attn.v_proj.weight", 0, 0.4f);
        add_named(b, d, d, prefix, released, "self_attn.o_proj.weight", 0, 0.4f);
        add_named(b, 0, d, prefix, released, "post_attention_layernorm.weight", 1, 0.1f);
        add_named(b, m, d, prefix, released, "mlp.gate_proj.weight", 0, 0.4f);
        add_named(b, m, d, prefix, released, "mlp.up_proj.weight", 0, 0.4f);
        add_named(b, d, m, prefix, released, "mlp.down_proj.weight", 0, 0.4f);
    }
    snprintf(prefix, sizeof(prefix), "%s.", body);
    add_named(b, 0, d, prefix, "model.", "norm.weight", 1, 0.1f);
    add_named(b, vocab, d, "", "", "lm_head.weight", 0, 0.6f);
    *config = "{\"architectures\":[\"LlamaForCausalLM\"],\"model_type\":\"llama\","
              "\"hidden_size\":32,\"intermediate_size\":48,\"num_hidden_layers\":2,"
              "\"num_attention_heads\":4,\"num_key_value_heads\":2,\"vocab_size\":96,"
              "\"max_position_embeddings\":256,\"rms_norm_eps\":1e-05,\"rope_theta\":10000.0,"
              "\"rope_scaling\":null,\"hidden_act\":\"silu\",\"attention_bias\":false,"
              "\"mlp_bias\":false,\"tie_word_embeddings\":false,\"bos_token_id\":1,"
              "\"eos_token_id\":2,\"mask_token_id\":81}\n";
}

static void build_mmada(builder *b, const char **config)
{
    static const int32_t d = 32, m = 64, vocab = 80;
    char prefix[64];

    add_named(b, vocab, d, "", "", "model.transformer.wte.weight", 0, 0.6f);
    for (int32_t i = 0; i < 2; i++) {
        snprintf(prefix, sizeof(prefix), "model.transformer.blocks.%d.", i);
        add_named(b, 0, d, prefix, prefix, "attn_norm.weight", 1, 0.1f);
        add_named(b, d, d, prefix, prefix, "q_proj.weight", 0, 0.4f);
        add_named(b, d, d, prefix, prefix, "k_proj.weight", 0, 0.4f);
        add_named(b, d, d, prefix, prefix, "v_proj.weight", 0, 0.4f);
        add_named(b, d, d, prefix, prefix, "attn_out.weight", 0, 0.4f);
        add_named(b, 0, d, prefix, prefix, "ff_norm.weight", 1, 0.1f);
        add_named(b, m, d, prefix, prefix, "ff_proj.weight", 0, 0.4f);
        add_named(b, m, d, prefix, prefix, "up_proj.weight", 0, 0.4f);
        add_named(b, d, m, prefix, prefix, "ff_out.weight", 0, 0.4f);
    }
    add_named(b, 0, d, "", "", "model.transformer.ln_f.weight", 1, 0.1f);
    add_named(b, vocab, d, "", "", "model.transformer.ff_out.weight", 0, 0.6f);
    *config = "{\"architectures\":[\"MMadaModelLM\"],\"model_type\":\"mmada\",\"d_model\":32,"
              "\"n_layers\":2,\"n_heads\":4,\"n_kv_heads\":4,\"mlp_hidden_size\":64,"
              "\"max_sequence_length\":256,\"rope\":true,\"rope_theta\":500000.0,"
              "\"rope_full_precision\":true,\"include_bias\":false,\"include_qkv_bias\":false,"
              "\"bias_for_layer_norm\":false,\"activation_type\":\"silu\",\"block_type\":\"llama\","
              "\"layer_norm_type\":\"rms\",\"rms_norm_eps\":1e-05,\"weight_tying\":false,"
              "\"block_group_size\":1,\"vocab_size\":80,\"embedding_size\":80,"
              "\"llm_vocab_size\":56,\"codebook_size\":16,\"new_vocab_size\":80,"
              "\"num_new_special_tokens\":0,\"mask_token_id\":40,\"bos_token_id\":41,"
              "\"eos_token_id\":42,\"pad_token_id\":42}\n";
}

/* The tensor's number is its place in the list. */
static void add_numbered(builder *b, int64_t rows, int64_t cols, const char *prefix,
                         const char *leaf)
{
    uint32_t t = (uint32_t)b->tiny.count;
    um_tiny_tensor *tensor = add(b, rows, cols, "%s%s", prefix, leaf);

    for (int64_t k = 0; k < elements_of(tensor); k++) {
        double v = um_tiny_hash(t, (uint32_t)k) / 2147483648.0 - 1.0;

        tensor->values[k] = (float)(strstr(leaf, "norm") ? 1.0 + 0.1 * v : 0.8 * v);
    }
}

static void build_dream(builder *b, const char **config)
{
    static const int32_t d = 16, k = 8, m = 24, mask = 37;
    static char text[1024];
    int32_t vocab = b->options->rows ? b->options->rows : 40;
    char prefix[64];

    add_numbered(b, vocab, d, "model.", "embed_tokens.weight");
    for (int32_t i = 0; i < 2; i++) {
        snprintf(prefix, sizeof(prefix), "model.layers.%d.", i);
        add_numbered(b, 0, d, prefix, "input_layernorm.weight");
        add_numbered(b, d, d, prefix, "self_attn.q_proj.weight");
        add_numbered(b, 0, d, prefix, "self_attn.q_proj.bias");
        add_numbered(b, k, d, prefix, "self_attn.k_proj.weight");
        add_numbered(b, 0, k, prefix, "self_attn.k_proj.bias");
        add_numbered(b, k, d, prefix, "self_attn.v_proj.weight");
        add_numbered(b, 0, k, prefix, "self_attn.v_proj.bias");
        add_numbered(b, d, d, prefix, "self_attn.o_proj.weight");
        add_numbered(b, 0, d, prefix, "post_attention_layernorm.weight");
        add_numbered(b, m, d, prefix, "mlp.gate_proj.weight");
        add_numbered(b, m, d, prefix, "mlp.up_proj.weight");
        add_numbered(b, d, m, prefix, "mlp.down_proj.weight");
    }
    add_numbered(b, 0, d, "model.", "norm.weight");
    add_numbered(b, vocab, d, "", "lm_head.weight");
    memset(b->tiny.items[b->tiny.count - 1].values + mask * d, 0, (size_t)d * sizeof(float));
    snprintf(text, sizeof(text),
             "{\"architectures\":[\"DreamModel\"],\"model_type\":\"Dream\",\"hidden_size\":16,"
             "\"intermediate_size\":24,\"num_hidden_layers\":2,\"num_attention_heads\":4,"
             "\"num_key_value_heads\":2,\"vocab_size\":%d,\"max_position_embeddings\":131072,"
             "\"rms_norm_eps\":1e-06,\"rope_theta\":1000000.0,\"rope_scaling\":null,"
             "\"hidden_act\":\"silu\",\"tie_word_embeddings\":false,\"use_sliding_window\":false,"
             "\"sliding_window\":null,\"mask_token_id\":37,\"pad_token_id\":35,"
             "\"eos_token_id\":35,\"bos_token_id\":35}\n",
             vocab);
    *config = text;
}

/* LLaDA's tensors with other names; the values stay where they are. */
static void rename_tensor(um_tiny_tensor *tensor)
{
    static const char *const leaves[][2] = {
        {"attn_norm.", "input_layernorm."}, {"q_proj.", "self_attn.q_proj."},
        {"k_proj.", "self_attn.k_proj."},   {"v_proj.", "self_attn.v_proj."},
        {"attn_out.", "self_attn.o_proj."}, {"ff_norm.", "post_attention_layernorm."},
        {"ff_proj.", "mlp.gate_proj."},     {"up_proj.", "mlp.up_proj."},
        {"ff_out.", "mlp.down_proj."}};
    char leaf[32];
    int layer;

    if (sscanf(tensor->name, "model.transformer.blocks.%d.%31s", &layer, leaf) == 2) {
        for (size_t i = 0; i < UM_COUNT_OF(leaves); i++)
            if (strncmp(leaf, leaves[i][0], strlen(leaves[i][0])) == 0)
                snprintf(tensor->name, sizeof(tensor->name), "model.layers.%d.%s%s", layer,
                         leaves[i][1], leaf + strlen(leaves[i][0]));
    } else if (strstr(tensor->name, "wte")) {
        snprintf(tensor->name, sizeof(tensor->name), "model.embed_tokens.weight");
    } else {
        UM_ASSERT(sscanf(tensor->name, "model.transformer.ln_f.%31s", leaf) == 1);
        snprintf(tensor->name, sizeof(tensor->name), "model.norm.%s", leaf);
    }
}

static void build_illada(builder *b, const char **config)
{
    um_tiny_options o = um_tiny_resolve(b->options->like);
    static char text[1024];

    UM_ASSERT(o.tied_head && o.block_group_size == 1);
    um_tiny_deinit(&b->tiny);
    um_tiny_init(&b->tiny, &o);
    for (size_t i = 0; i < b->tiny.count; i++)
        rename_tensor(&b->tiny.items[i]);
    snprintf(text, sizeof(text),
             "{\"architectures\":[\"ILLaDAForCausalLM\"],\"hidden_size\":%d,"
             "\"intermediate_size\":%d,\"num_hidden_layers\":%d,\"num_attention_heads\":%d,"
             "\"num_key_value_heads\":%d,\"vocab_size\":%d,\"max_position_embeddings\":%d,"
             "\"rms_norm_eps\":1e-05,\"layer_norm_eps\":%s,\"rope_theta\":500000.0,"
             "\"rope_scaling\":null,\"hidden_act\":\"silu\",\"attention_bias\":%s,"
             "\"mlp_bias\":%s,\"tie_word_embeddings\":true,\"eos_token_id\":[35,36]}\n",
             o.width, o.mlp_width, o.layers, o.heads, o.kv_heads, o.embedding_size, o.context,
             o.layer_norm ? "1e-05" : "null", o.linear_bias ? "true" : "false",
             o.linear_bias ? "true" : "false");
    *config = text;
}

um_status um_family_checkpoint_write(const char *dir, const um_family_checkpoint *options,
                                     um_err *err)
{
    static const struct {
        const char *family;
        void (*build)(builder *b, const char **config);
    } families[] = {{"dream", build_dream},
                    {"diffugpt", build_diffugpt},
                    {"diffullama", build_diffullama},
                    {"mmada", build_mmada},
                    {"illada", build_illada}};
    builder b = {.options = options};
    const char *config = NULL;
    char path[512];
    um_status status;
    FILE *file;

    b.tiny.items = um_mem_calloc(TENSORS_MAX, sizeof(*b.tiny.items));
    UM_ASSERT(b.tiny.items != NULL);
    for (size_t i = 0; i < UM_COUNT_OF(families); i++)
        if (strcmp(families[i].family, options->family) == 0)
            families[i].build(&b, &config);
    UM_ASSERT(config != NULL);
    status = um_tiny_write(dir, config, &b.tiny, options->dtype, options->shards, err);
    um_tiny_deinit(&b.tiny);
    snprintf(path, sizeof(path), "%s/special_tokens_map.json", dir);
    file = fopen(path, "w");
    if (file && (fputs("{\"mask_token\": \"<mask>\"}\n", file) < 0 || fclose(file) != 0))
        file = NULL;
    if (!file && status == UM_OK)
        status = um_fail(err, UM_E_IO, "cannot write %s", path);
    return status;
}
