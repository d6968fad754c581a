#include "tests/support/tiny_checkpoint.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "core/base/buf.h"
#include "core/base/mem.h"

#define TENSORS_MAX 4096
#define NUMBER_EXTRA 1000
#define NUMBERS_PER_BLOCK 16

uint32_t um_tiny_hash(uint32_t t, uint32_t k)
{
    uint32_t h = k * 2654435761u + t * 40503u + 12345u;

    h ^= h >> 16;
    h *= 2246822519u;
    h ^= h >> 13;
    h *= 3266489917u;
    return h ^ h >> 16;
}

/* Nearest, ties to even; written for finite values below 65520 only, which all of ours are. */
static uint16_t f32_to_f16(float value)
{
    int exponent;
    long significand;

    UM_ASSERT(fabsf(value) < 65520.0f);
    if (value == 0.0f)
        return signbit(value) ? 0x8000 : 0;
    frexpf(value, &exponent);
    exponent = exponent - 1 < -14 ? -14 : exponent - 1;
    significand = lrint(ldexp(fabs((double)value), 10 - exponent));
    return (uint16_t)((signbit(value) ? 0x8000 : 0) + ((exponent + 14) << 10) + (int)significand);
}

static float round_once(float value, um_dtype dtype)
{
    if (dtype == UM_BF16)
        return um_bf16_to_f32(um_f32_to_bf16(value));
    if (dtype == UM_F16)
        return um_f16_to_f32(f32_to_f16(value));
    return value;
}

static float rounded(float value, const um_tiny_options *o)
{
    return round_once(round_once(value, o->rounded_to), o->dtype);
}

um_tiny_options um_tiny_resolve(const um_tiny_options *options)
{
    um_tiny_options o = *options;

    o.width = o.width ? o.width : 16;
    o.heads = o.heads ? o.heads : 4;
    o.kv_heads = o.kv_heads ? o.kv_heads : 4;
    o.layers = o.layers ? o.layers : 2;
    o.mlp_width = o.mlp_width ? o.mlp_width : 24;
    o.context = o.context ? o.context : 1024;
    o.embedding_size = o.embedding_size ? o.embedding_size : UM_TINY_VOCAB;
    o.block_group_size = o.block_group_size ? o.block_group_size : 1;
    o.shards = o.shards ? o.shards : 1;
    o.activation = o.activation ? o.activation : "silu";
    return o;
}

typedef struct builder {
    um_tiny *tiny;
    const um_tiny_options *options;
    char prefix[64]; /* "model.transformer.blocks.0." */
} builder;

/* rows == 0: a vector. */
static um_tiny_tensor *add(builder *b, uint32_t number, int64_t rows, int64_t cols,
                           const char *leaf)
{
    um_tiny_tensor *tensor = &b->tiny->items[b->tiny->count++];
    int64_t elements = (rows ? rows : 1) * cols;
    bool is_norm = strstr(leaf, "norm.weight") || strstr(leaf, "ln_f.weight");

    UM_ASSERT(b->tiny->count <= TENSORS_MAX);
    snprintf(tensor->name, sizeof(tensor->name), "%s%s", b->prefix, leaf);
    tensor->rows = rows;
    tensor->cols = cols;
    tensor->values = um_mem_calloc((size_t)elements, sizeof(float));
    UM_ASSERT(tensor->values != NULL);
    for (int64_t k = 0; k < elements; k++) {
        double v = um_tiny_hash(number, (uint32_t)k) / 2147483648.0 - 1.0;

        tensor->values[k] = rounded((float)(is_norm ? 1.0 + 0.1 * v : 0.8 * v), b->options);
    }
    return tensor;
}

static void add_block(builder *b, const um_tiny_options *o, int32_t block)
{
    int64_t d = o->width, k = o->width / o->heads * o->kv_heads, m = o->mlp_width;
    uint32_t number = 1 + 9 * (uint32_t)block;
    uint32_t extra = NUMBER_EXTRA + NUMBERS_PER_BLOCK * (uint32_t)block;

    if (o->block_group_size > 1)
        snprintf(b->prefix, sizeof(b->prefix), "model.transformer.block_groups.%d.%d.",
                 block / o->block_group_size, block % o->block_group_size);
    else
        snprintf(b->prefix, sizeof(b->prefix), "model.transformer.blocks.%d.", block);
    add(b, number, 0, d, "attn_norm.weight");
    add(b, number + 1, d, d, "q_proj.weight");
    add(b, number + 2, k, d, "k_proj.weight");
    add(b, number + 3, k, d, "v_proj.weight");
    add(b, number + 4, d, d, "attn_out.weight");
    add(b, number + 5, 0, d, "ff_norm.weight");
    add(b, number + 6, m, d, "ff_proj.weight");
    add(b, number + 7, m, d, "up_proj.weight");
    add(b, number + 8, d, m, "ff_out.weight");
    if (o->qkv_bias || o->linear_bias) {
        add(b, extra, 0, d, "q_proj.bias");
        add(b, extra + 1, 0, k, "k_proj.bias");
        add(b, extra + 2, 0, k, "v_proj.bias");
    }
    if (o->linear_bias) {
        add(b, extra + 3, 0, d, "attn_out.bias");
        add(b, extra + 4, 0, m, "ff_proj.bias");
        add(b, extra + 5, 0, m, "up_proj.bias");
        add(b, extra + 6, 0, d, "ff_out.bias");
    }
    if (o->layer_norm) {
        add(b, extra + 9, 0, d, "attn_norm.bias");
        add(b, extra + 10, 0, d, "ff_norm.bias");
    }
    if (o->qk_norm) {
        add(b, extra + 7, 0, d, "q_norm.weight");
        add(b, extra + 8, 0, k, "k_norm.weight");
    }
}

void um_tiny_init(um_tiny *tiny, const um_tiny_options *options)
{
    um_tiny_options o = um_tiny_resolve(options);
    uint32_t number_last = 1 + 9 * (uint32_t)o.layers;
    builder b = {.tiny = tiny, .options = &o, .prefix = "model.transformer."};
    builder root = b;

    tiny->count = 0;
    tiny->items = um_mem_calloc(TENSORS_MAX, sizeof(*tiny->items));
    UM_ASSERT(tiny->items != NULL);
    add(&root, 0, o.embedding_size, o.width, "wte.weight");
    for (int32_t block = 0; block < o.layers; block++)
        add_block(&b, &o, block);
    add(&root, number_last, 0, o.width, "ln_f.weight");
    if (o.layer_norm)
        add(&root, NUMBER_EXTRA - 2, 0, o.width, "ln_f.bias");
    if (!o.tied_head) {
        um_tiny_tensor *head =
            add(&root, number_last + 1, o.embedding_size, o.width, "ff_out.weight");

        for (int32_t i = 0; i < o.width; i++) {
            float *value = &head->values[UM_TINY_MASK * o.width + i];

            *value = rounded((float)(o.mask_head_scale * (double)*value), &o);
        }
    }
    if (o.linear_bias && !o.tied_head)
        add(&root, NUMBER_EXTRA - 1, 0, o.embedding_size, "ff_out.bias");
}

void um_tiny_deinit(um_tiny *tiny)
{
    for (size_t i = 0; i < tiny->count; i++)
        um_mem_free(tiny->items[i].values);
    um_mem_free(tiny->items);
    *tiny = (um_tiny){0};
}

const float *um_tiny_values(const um_tiny *tiny, const char *name, ...)
{
    char text[96];
    va_list arguments;

    va_start(arguments, name);
    vsnprintf(text, sizeof(text), name, arguments);
    va_end(arguments);
    for (size_t i = 0; i < tiny->count; i++)
        if (strcmp(tiny->items[i].name, text) == 0)
            return tiny->items[i].values;
    return NULL;
}

static const char *boolean(bool value)
{
    return value ? "true" : "false";
}

/* Every key of the released config.json, with our dimensions. */
static void config_text(const um_tiny_options *o, um_buf *out)
{
    um_buf_printf(out,
                  "{\n"
                  "  \"activation_type\": \"%s\",\n"
                  "  \"alibi\": false,\n"
                  "  \"alibi_bias_max\": 8.0,\n"
                  "  \"architectures\": [\"LLaDAModelLM\"],\n"
                  "  \"attention_dropout\": 0.0,\n"
                  "  \"attention_layer_norm\": %s,\n"
                  "  \"attention_layer_norm_with_affine\": true,\n"
                  "  \"bias_for_layer_norm\": false,\n"
                  "  \"block_group_size\": %d,\n"
                  "  \"block_type\": \"llama\",\n"
                  "  \"d_model\": %d,\n"
                  "  \"embedding_dropout\": 0.0,\n"
                  "  \"embedding_size\": %d,\n"
                  "  \"eos_token_id\": %d,\n"
                  "  \"flash_attention\": false,\n",
                  o->activation, boolean(o->qk_norm), o->block_group_size, o->width,
                  o->embedding_size, UM_TINY_END);
    um_buf_printf(out,
                  "  \"include_bias\": %s,\n"
                  "  \"include_qkv_bias\": %s,\n"
                  "  \"input_emb_norm\": %s,\n"
                  "  \"layer_norm_type\": \"rms\",\n"
                  "  \"layer_norm_with_affine\": true,\n"
                  "  \"mask_token_id\": %d,\n"
                  "  \"max_sequence_length\": %d,\n"
                  "  \"mlp_hidden_size\": %d,\n"
                  "  \"mlp_ratio\": 4,\n"
                  "  \"model_type\": \"llada\",\n"
                  "  \"multi_query_attention\": null,\n"
                  "  \"n_heads\": %d,\n"
                  "  \"n_kv_heads\": %d,\n"
                  "  \"n_layers\": %d,\n"
                  "  \"pad_token_id\": %d,\n",
                  boolean(o->linear_bias), boolean(o->qkv_bias), boolean(o->input_emb_norm),
                  UM_TINY_MASK, o->context, o->mlp_width, o->heads, o->kv_heads, o->layers,
                  UM_TINY_END);
    um_buf_printf(out,
                  "  \"precision\": \"amp_bf16\",\n"
                  "  \"residual_dropout\": 0.0,\n"
                  "  \"rms_norm_eps\": 1e-05,\n"
                  "  \"rope\": true,\n"
                  "  \"rope_full_precision\": true,\n"
                  "  \"rope_theta\": 500000.0,\n"
                  "  \"scale_logits\": %s,\n"
                  "  \"use_cache\": false,\n"
                  "  \"vocab_size\": %d,\n"
                  "  \"weight_tying\": %s\n"
                  "}\n",
                  boolean(o->scale_logits), UM_TINY_VOCAB, boolean(o->tied_head));
}

static um_status write_file(const char *dir, const char *name, const um_buf *text, um_err *err)
{
    char path[512];
    FILE *file;
    bool written;

    if (um_buf_failed(text))
        return um_fail(err, UM_E_NOMEM, "no memory for the text of %s", name);
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    file = fopen(path, "wb");
    if (!file)
        return um_fail(err, UM_E_IO, "cannot write %s", path);
    written = fwrite(um_buf_view(text), 1, text->length, file) == text->length;
    if (fclose(file) != 0 || !written)
        return um_fail(err, UM_E_IO, "cannot write %s", path);
    return UM_OK;
}

static void append_values(um_buf *out, const um_tiny_tensor *tensor, um_dtype dtype)
{
    int64_t elements = (tensor->rows ? tensor->rows : 1) * tensor->cols;

    for (int64_t k = 0; k < elements; k++) {
        float value = tensor->values[k];
        uint16_t half = dtype == UM_BF16 ? um_f32_to_bf16(value) : f32_to_f16(value);

        if (dtype == UM_F32)
            um_buf_append(out, &value, sizeof(value));
        else
            um_buf_append(out, &half, sizeof(half));
    }
}

/* The tensors whose number modulo `shards` is `shard`, as one safetensors file. */
static void shard_bytes(const um_tiny *tiny, um_dtype dtype, size_t shard, size_t shards,
                        um_buf *out)
{
    static const char *const names[] = {[UM_F32] = "F32", [UM_BF16] = "BF16", [UM_F16] = "F16"};
    um_buf header = {0}, data = {0};
    uint64_t header_bytes;

    um_buf_text(&header, "{\"__metadata__\":{\"format\":\"pt\"}");
    for (size_t i = shard; i < tiny->count; i += shards) {
        const um_tiny_tensor *tensor = &tiny->items[i];
        size_t begin = data.length;

        append_values(&data, tensor, dtype);
        um_buf_printf(&header, ",\"%s\":{\"dtype\":\"%s\",\"shape\":[", tensor->name, names[dtype]);
        if (tensor->rows)
            um_buf_printf(&header, "%lld,", (long long)tensor->rows);
        um_buf_printf(&header, "%lld],\"data_offsets\":[%zu,%zu]}", (long long)tensor->cols, begin,
                      data.length);
    }
    um_buf_char(&header, '}');
    while (header.length % 8 != 0)
        um_buf_char(&header, ' ');
    header_bytes = header.length;
    um_buf_append(out, &header_bytes, sizeof(header_bytes));
    um_buf_append(out, header.data, header.length);
    um_buf_append(out, data.data, data.length);
    out->failed |= header.failed || data.failed;
    um_buf_deinit(&header);
    um_buf_deinit(&data);
}

static void shard_name(char *out, size_t bytes, size_t shard, size_t shards)
{
    if (shards == 1)
        snprintf(out, bytes, "model.safetensors");
    else
        snprintf(out, bytes, "model-%05zu-of-%05zu.safetensors", shard + 1, shards);
}

static void index_text(const um_tiny *tiny, um_dtype dtype, size_t shards, um_buf *out)
{
    size_t elements = 0;

    for (size_t i = 0; i < tiny->count; i++)
        elements += (size_t)((tiny->items[i].rows ? tiny->items[i].rows : 1) * tiny->items[i].cols);
    um_buf_printf(out, "{\"metadata\": {\"total_size\": %zu}, \"weight_map\": {",
                  elements * um_dtype_bytes(dtype));
    for (size_t i = 0; i < tiny->count; i++) {
        char name[64];

        shard_name(name, sizeof(name), i % shards, shards);
        um_buf_printf(out, "%s\"%s\": \"%s\"", i ? ", " : "", tiny->items[i].name, name);
    }
    um_buf_text(out, "}}\n");
}

um_status um_tiny_write(const char *dir, const char *config, const um_tiny *tiny, um_dtype dtype,
                        int32_t shard_count, um_err *err)
{
    size_t shards = shard_count > 1 ? (size_t)shard_count : 1;
    um_buf text = {0};
    um_status status;

    um_buf_text(&text, config);
    status = write_file(dir, "config.json", &text, err);
    for (size_t shard = 0; status == UM_OK && shard < shards; shard++) {
        char name[64];

        shard_name(name, sizeof(name), shard, shards);
        um_buf_clear(&text);
        shard_bytes(tiny, dtype, shard, shards, &text);
        status = write_file(dir, name, &text, err);
    }
    if (status == UM_OK && shards > 1) {
        um_buf_clear(&text);
        index_text(tiny, dtype, shards, &text);
        status = write_file(dir, "model.safetensors.index.json", &text, err);
    }
    um_buf_deinit(&text);
    return status;
}

um_status um_tiny_checkpoint_write(const char *dir, const um_tiny_options *options, um_err *err)
{
    um_tiny_options o = um_tiny_resolve(options);
    um_buf text = {0};
    um_tiny tiny;
    um_status status;

    um_buf_printf(&text, "{\"eos_token_id\": %d, \"pad_token_id\": %d}\n", UM_TINY_END,
                  UM_TINY_END);
    status = write_file(dir, "generation_config.json", &text, err);
    um_tiny_init(&tiny, &o);
    um_buf_clear(&text);
    config_text(&o, &text);
    if (status == UM_OK)
        status = um_tiny_write(dir, um_buf_view(&text), &tiny, o.dtype, o.shards, err);
    um_tiny_deinit(&tiny);
    um_buf_deinit(&text);
    return status;
}
