/*
 * config.json of the LLaDA family, every key of it: values of the released file, defaults of the
 * configuration class, aliases, nulls, and refusal of what the forward pass cannot do; and the
 * order in which recommended settings override each other.
 */
#include <stdio.h>
#include <sys/stat.h>

#include "core/base/buf.h"
#include "core/base/mem.h"
#include "core/model/model.h"
#include "tests/support/temp_dir.h"
#include "tests/support/tiny_checkpoint.h"
#include "tests/test.h"

/* As downloaded with LLaDA-8B-Instruct. */
static const char released[] =
    "{\"activation_type\": \"silu\", \"alibi\": false, \"alibi_bias_max\": 8.0,"
    "\"architectures\": [\"LLaDAModelLM\"], \"attention_dropout\": 0.0,"
    "\"attention_layer_norm\": false, \"attention_layer_norm_with_affine\": true,"
    "\"auto_map\": {\"AutoConfig\": \"configuration_llada.LLaDAConfig\","
    "\"AutoModel\": \"modeling_llada.LLaDAModelLM\","
    "\"AutoModelForCausalLM\": \"modeling_llada.LLaDAModelLM\"},"
    "\"bias_for_layer_norm\": false, \"block_group_size\": 1, \"block_type\": \"llama\","
    "\"d_model\": 4096, \"embedding_dropout\": 0.0, \"embedding_size\": 126464,"
    "\"eos_token_id\": 126081, \"flash_attention\": false, \"include_bias\": false,"
    "\"include_qkv_bias\": false, \"init_cutoff_factor\": null, \"init_device\": \"meta\","
    "\"init_fn\": \"mitchell\", \"init_std\": 0.02, \"input_emb_norm\": false,"
    "\"layer_norm_type\": \"rms\", \"layer_norm_with_affine\": true, \"mask_token_id\": 126336,"
    "\"max_sequence_length\": 4096, \"mlp_hidden_size\": 12288, \"mlp_ratio\": 4,"
    "\"model_type\": \"llada\", \"multi_query_attention\": null, \"n_heads\": 32,"
    "\"n_kv_heads\": 32, \"n_layers\": 32, \"pad_token_id\": 126081, \"precision\": \"amp_bf16\","
    "\"residual_dropout\": 0.0, \"rms_norm_eps\": 1e-05, \"rope\": true,"
    "\"rope_full_precision\": true, \"rope_theta\": 500000.0, \"scale_logits\": false,"
    "\"transformers_version\": \"4.46.3\", \"use_cache\": false, \"vocab_size\": 126464,"
    "\"weight_tying\": false}";

/* Family and dimensions of a config text, checked. */
static um_status read(const char *text, um_model_config *out, um_err *err)
{
    const um_family *family = NULL;
    um_json *root = NULL;
    um_status status = um_json_parse(text, strlen(text), &root, err);

    if (status == UM_OK)
        status = um_family_find(root, &family, err);
    if (status == UM_OK)
        status = family->read_config(root, out, err);
    if (status == UM_OK)
        status = um_model_config_check(out, err);
    um_json_free(root);
    return status;
}

static void the_released_config_reads_as_published(void)
{
    um_model_config c;
    um_err err = {0};

    UM_CHECK_OK(read(released, &c, &err), err);
    UM_CHECK_INT(c.width, 4096);
    UM_CHECK_INT(c.layers, 32);
    UM_CHECK_INT(c.heads, 32);
    UM_CHECK_INT(c.kv_heads, 32);
    UM_CHECK_INT(c.head_dim, 128);
    UM_CHECK_INT(c.mlp_width, 12288);
    UM_CHECK_INT(c.block_group, 1);
    UM_CHECK_INT(c.vocab, 126464);
    UM_CHECK_INT(c.vocab_rows, 126464);
    UM_CHECK_NEAR(c.norm_eps, 1e-5f, 0);
    UM_CHECK_NEAR(c.rope_theta, 500000.0, 0);
    UM_CHECK_INT(c.activation, UM_ACT_SILU);
    UM_CHECK_NEAR(c.embed_scale, 1, 0);
    UM_CHECK_NEAR(c.logit_scale, 1, 0);
    UM_CHECK(!c.tied_head && !c.qkv_bias && !c.mlp_bias && !c.norm_bias && !c.qk_norm);
    UM_CHECK_INT(c.context_max, 4096);
    UM_CHECK_INT(c.mask_token, 126336);
    UM_CHECK_INT(c.end_token, 126081);
    UM_CHECK_INT(c.turn_token, -1); /* known to the tokenizer only */
}

static void the_released_tensor_list_is_complete(void)
{
    um_model_config c;
    um_tensor_list list = {0};
    um_err err = {0};
    bool head = false, down = false;

    UM_CHECK_OK(read(released, &c, &err), err);
    UM_CHECK_OK(um_family_at(0)->list_tensors(&c, &list, &err), err);
    UM_CHECK_INT(list.count, 291);
    UM_CHECK(um_tensor_list_parameters(&list) == 8015581184u);
    for (size_t i = 0; i < list.count; i++) {
        const um_tensor_need *need = &list.items[i];

        if (strcmp(need->name, "model.transformer.ff_out.weight") == 0)
            head = need->role == UM_ROLE_HEAD && need->rows == 126464 && need->cols == 4096;
        if (strcmp(need->name, "model.transformer.blocks.31.ff_out.weight") == 0)
            down = need->role == UM_ROLE_DOWN && need->layer == 31 && need->cols == 12288;
    }
    UM_CHECK(head);
    UM_CHECK(down);
    um_tensor_list_deinit(&list);
}

/* A config of `more` keys and, where they leave them out, of those whose default is refused: both
 * ids default to 50256, which cannot be. */
static um_status read_small(const char *more, um_model_config *out, um_err *err)
{
    um_buf text = {0};
    um_status status;

    um_buf_printf(&text, "{%s,\"architectures\":[\"LLaDAModelLM\"]", more);
    if (!strstr(more, "block_type"))
        um_buf_text(&text, ",\"block_type\":\"llama\"");
    if (!strstr(more, "layer_norm_type"))
        um_buf_text(&text, ",\"layer_norm_type\":\"rms\"");
    if (!strstr(more, "\"rope\""))
        um_buf_text(&text, ",\"rope\":true");
    if (!strstr(more, "activation_type"))
        um_buf_text(&text, ",\"activation_type\":\"silu\"");
    if (!strstr(more, "eos_token_id"))
        um_buf_text(&text, ",\"eos_token_id\":50255");
    um_buf_char(&text, '}');
    status = read(um_buf_view(&text), out, err);
    um_buf_deinit(&text);
    return status;
}

static void absent_keys_take_the_defaults_of_the_class(void)
{
    um_model_config c;
    um_err err = {0};

    UM_CHECK_OK(read_small("\"eos_token_id\":50255", &c, &err), err);
    UM_CHECK_INT(c.width, 768);
    UM_CHECK_INT(c.heads, 12);
    UM_CHECK_INT(c.kv_heads, 12);
    UM_CHECK_INT(c.layers, 12);
    UM_CHECK_INT(c.mlp_width, 4 * 768);
    UM_CHECK_INT(c.vocab, 50257);
    UM_CHECK_INT(c.vocab_rows, 50304);
    UM_CHECK_INT(c.context_max, 1024);
    UM_CHECK_INT(c.mask_token, 50256);
    UM_CHECK(c.tied_head);
    UM_CHECK_NEAR(c.rope_theta, 10000, 0);
}

#define FIELD(name) offsetof(um_model_config, name)

static void aliases_and_nulls_resolve(void)
{
    static const struct {
        const char *keys;
        size_t field;
        int32_t expected;
    } cases[] = {
        {"\"hidden_size\":240", FIELD(width), 240},
        {"\"hidden_size\":240,\"d_model\":240", FIELD(width), 240},
        {"\"d_model\":null,\"hidden_size\":240", FIELD(width), 240},
        {"\"num_attention_heads\":24", FIELD(heads), 24},
        {"\"num_attention_heads\":24", FIELD(kv_heads), 24},
        {"\"num_attention_heads\":24", FIELD(head_dim), 32},
        {"\"num_hidden_layers\":5", FIELD(layers), 5},
        {"\"n_kv_heads\":null", FIELD(kv_heads), 12},
        {"\"n_kv_heads\":4", FIELD(kv_heads), 4},
        {"\"n_kv_heads\":4,\"multi_query_attention\":null", FIELD(kv_heads), 4},
        {"\"multi_query_attention\":true", FIELD(kv_heads), 1},
        {"\"multi_query_attention\":true,\"n_kv_heads\":1", FIELD(kv_heads), 1},
        {"\"multi_query_attention\":false,\"n_kv_heads\":12", FIELD(kv_heads), 12},
        {"\"mlp_hidden_size\":null,\"mlp_ratio\":3", FIELD(mlp_width), 3 * 768},
        {"\"mlp_hidden_size\":100,\"mlp_ratio\":3", FIELD(mlp_width), 100},
        {"\"embedding_size\":null", FIELD(vocab_rows), 50257},
        {"\"embedding_size\":60000", FIELD(vocab_rows), 60000},
        {"\"embedding_size\":60000", FIELD(vocab), 50257},
        {"\"block_group_size\":4", FIELD(block_group), 4},
        {"\"max_sequence_length\":2048", FIELD(context_max), 2048},
        {"\"rope_scaling\":null", FIELD(context_max), 1024},
    };

    for (size_t i = 0; i < UM_COUNT_OF(cases); i++) {
        um_model_config c;
        um_err err = {0};
        int32_t value;

        UM_CHECK_OK(read_small(cases[i].keys, &c, &err), err);
        memcpy(&value, (const char *)&c + cases[i].field, sizeof(value));
        UM_CHECK_INT(value, cases[i].expected);
        if (value != cases[i].expected)
            printf("with %s\n", cases[i].keys);
    }
}

static void switches_and_scales_resolve(void)
{
    um_model_config c;
    um_err err = {0};

    UM_CHECK_OK(read_small("\"include_qkv_bias\":true", &c, &err), err);
    UM_CHECK(c.qkv_bias && !c.mlp_bias);
    UM_CHECK_OK(read_small("\"include_bias\":true,\"bias_for_layer_norm\":false", &c, &err), err);
    UM_CHECK(c.qkv_bias && c.mlp_bias && !c.norm_bias);
    UM_CHECK_OK(read_small("\"attention_layer_norm\":true", &c, &err), err);
    UM_CHECK(c.qk_norm);
    UM_CHECK_OK(read_small("\"weight_tying\":false", &c, &err), err);
    UM_CHECK(!c.tied_head);
    UM_CHECK_OK(read_small("\"input_emb_norm\":true,\"scale_logits\":true", &c, &err), err);
    UM_CHECK_NEAR(c.embed_scale, sqrt(768.0), 1e-6);
    UM_CHECK_NEAR(c.logit_scale, 1 / sqrt(768.0), 1e-9);
    UM_CHECK_OK(read_small("\"activation_type\":\"gelu\"", &c, &err), err);
    UM_CHECK_INT(c.activation, UM_ACT_GELU);
    UM_CHECK_OK(read_small("\"activation_type\":\"relu\"", &c, &err), err);
    UM_CHECK_INT(c.activation, UM_ACT_RELU);
    UM_CHECK_OK(read_small("\"rms_norm_eps\":1e-6,\"rope_theta\":5e5", &c, &err), err);
    UM_CHECK_NEAR(c.norm_eps, 1e-6f, 0);
    UM_CHECK_NEAR(c.rope_theta, 5e5, 0);
}

static void what_cannot_be_served_is_refused_by_key_and_value(void)
{
    static const struct {
        const char *keys;
        const char *first, *second; /* parts of the message */
    } cases[] = {
        {"\"block_type\":\"sequential\"", "block_type", "sequential"},
        {"\"block_type\":null", "block_type", "sequential"},
        {"\"block_type\":7", "block_type", "an integer"},
        {"\"layer_norm_type\":\"default\"", "layer_norm_type", "default"},
        {"\"layer_norm_type\":\"gemma_rms\"", "layer_norm_type", "gemma_rms"},
        {"\"layer_norm_with_affine\":false", "layer_norm_with_affine", "false"},
        {"\"rope\":false", "rope is false", "true"},
        {"\"rope\":null", "rope is false", "true"},
        {"\"rope_scaling\":{\"rope_type\":\"linear\",\"factor\":2.0}", "rope_scaling is an object",
         "only null"},
        {"\"rope_scaling\":2.0", "rope_scaling is a number", "only null"},
        {"\"alibi\":true", "alibi is true", "false"},
        {"\"activation_type\":\"swiglu\"", "activation_type", "swiglu"},
        {"\"activation_type\":null", "activation_type", "swiglu"},
        {"\"bias_for_layer_norm\":true", "bias_for_layer_norm", "true"},
        {"\"include_bias\":true", "bias_for_layer_norm", "by include_bias"},
        {"\"attention_layer_norm\":true,\"attention_layer_norm_with_affine\":false",
         "attention_layer_norm_with_affine", "false"},
        {"\"d_model\":0", "d_model is 0", "minimum is 1"},
        {"\"d_model\":-5", "d_model is -5", "minimum is 1"},
        {"\"d_model\":1e3", "d_model is a number", "an integer"},
        {"\"d_model\":\"768\"", "d_model is a string", "an integer"},
        {"\"d_model\":99999999999", "d_model is 99999999999", "maximum"},
        {"\"d_model\":70000,\"n_heads\":10", "width is 70000", "65536"},
        {"\"d_model\":240,\"hidden_size\":480", "d_model is 240", "hidden_size is 480"},
        {"\"n_heads\":7", "768 does not divide", "7"},
        {"\"n_heads\":256,\"d_model\":768", "head width 3 is odd", "pairs"},
        {"\"n_kv_heads\":5", "12 heads", "5 key/value"},
        {"\"n_kv_heads\":24", "kv_heads is 24", "12"},
        {"\"n_kv_heads\":4,\"multi_query_attention\":true", "n_kv_heads is 4", "true"},
        {"\"n_kv_heads\":4,\"multi_query_attention\":false", "n_kv_heads is 4", "false"},
        {"\"multi_query_attention\":1", "multi_query_attention", "a boolean"},
        {"\"n_layers\":2000", "layers is 2000", "1024"},
        {"\"n_layers\":10,\"block_group_size\":4", "10 layers", "groups of 4"},
        {"\"mlp_hidden_size\":2000000", "mlp_width is 2000000", "1048576"},
        {"\"mlp_ratio\":1024,\"d_model\":60000,\"n_heads\":12", "mlp_ratio", "61440000"},
        {"\"mlp_ratio\":2.5", "mlp_ratio", "an integer"},
        {"\"embedding_size\":50000", "vocab is 50257", "50000"},
        {"\"vocab_size\":9000000", "vocab is 9000000", "50304"},
        {"\"vocab_size\":9000000,\"embedding_size\":null", "vocab_rows is 9000000", "4194304"},
        {"\"mask_token_id\":50304", "mask token is 50304", "50303"},
        {"\"mask_token_id\":-1", "mask_token_id is -1", "minimum is 0"},
        {"\"eos_token_id\":60000", "end token is 60000", "50303"},
        {"\"eos_token_id\":[1,2]", "eos_token_id is an array", "an integer"},
        {"\"eos_token_id\":50256", "both 50256", "mask"},
        {"\"max_sequence_length\":0", "max_sequence_length is 0", "minimum is 1"},
        {"\"max_sequence_length\":2000000", "context is 2000000", "1048576"},
        {"\"rms_norm_eps\":0", "epsilon is 0", "0 < epsilon"},
        {"\"rms_norm_eps\":-1e-5", "rms_norm_eps", "minimum is 0"},
        {"\"rms_norm_eps\":\"x\"", "rms_norm_eps", "a number"},
        {"\"rope_theta\":1", "rotary base is 1", "1 < base"},
        {"\"rope_theta\":0.5", "rope_theta", "minimum is 1"},
        {"\"rope_theta\":1e300", "rope_theta", "maximum"},
        {"\"weight_tying\":\"no\"", "weight_tying", "a boolean"},
    };

    for (size_t i = 0; i < UM_COUNT_OF(cases); i++) {
        um_model_config c;
        um_err err = {0};
        bool named;

        UM_CHECK(read_small(cases[i].keys, &c, &err) != UM_OK);
        named = strstr(err.message, cases[i].first) && strstr(err.message, cases[i].second);
        UM_CHECK(named);
        if (!named)
            printf("%s\n  gives: %s\n", cases[i].keys, err.message);
    }
}

static void the_family_follows_architectures_alone(void)
{
    static const struct {
        const char *text;
        const char *reason;
    } cases[] = {
        {"{\"model_type\":\"llada\"}", "architectures[0] is absent"},
        {"{\"architectures\":[]}", "architectures[0] is absent"},
        {"{\"architectures\":\"LLaDAModelLM\"}", "architectures[0] is absent"},
        {"{\"architectures\":[7]}", "architectures[0] is an integer"},
        {"[]", "architectures[0] is absent"},
        {"{\"architectures\":[\"LLaDAMoEModelLM\"],\"model_type\":\"llada\"}",
         "\"LLaDAMoEModelLM\"; this build knows: LLaDAModelLM"},
    };

    for (size_t i = 0; i < UM_COUNT_OF(cases); i++) {
        um_model_config c;
        um_err err = {0};

        UM_CHECK(read(cases[i].text, &c, &err) != UM_OK);
        UM_CHECK(strstr(err.message, cases[i].reason) != NULL);
    }
    UM_CHECK(um_family_at(0) != NULL);
    UM_CHECK_STR(um_family_at(0)->name, "llada");
    UM_CHECK_STR(um_family_at(1)->name, "dream");
    UM_CHECK(um_family_at(6) == NULL);
}

/* ---- recommended settings ------------------------------------------------------------------- */

static void check_defaults(const char *dir, const char *algorithm, int32_t block_length,
                           int32_t steps_per_block, int32_t max_tokens, double temperature)
{
    um_model_report report;
    um_err err = {0};

    UM_CHECK_OK(um_model_inspect(dir, &(um_model_dir_options){0}, &report, &err), err);
    UM_CHECK_OK(report.problem.status, report.problem);
    UM_CHECK_STR(report.defaults.algorithm, algorithm);
    UM_CHECK_INT(report.defaults.block_length, block_length);
    UM_CHECK_INT(report.defaults.steps_per_block, steps_per_block);
    UM_CHECK_INT(report.defaults.max_tokens, max_tokens);
    UM_CHECK_NEAR(report.defaults.temperature, temperature, 1e-7);
    um_model_report_deinit(&report);
}

static void write_text(const char *dir, const char *name, const char *text)
{
    um_temp_dir_write(dir, name, text, strlen(text));
}

static void unmask_json_beats_generation_config_beats_the_family(void)
{
    char dir[UM_TEMP_PATH_BYTES];
    um_tiny_options options = {0};
    um_err err = {0};

    um_temp_dir_make(dir);
    UM_CHECK_OK(um_tiny_checkpoint_write(dir, &options, &err), err);
    check_defaults(dir, "low_confidence", 32, 0, 128, 0);
    write_text(dir, "generation_config.json",
               "{\"max_new_tokens\":64,\"temperature\":0.5,\"bos_token_id\":1,\"top_p\":null}");
    check_defaults(dir, "low_confidence", 32, 0, 64, 0.5);
    write_text(dir, "unmask.json", "{\"algorithm\":\"threshold\",\"max_tokens\":16}");
    check_defaults(dir, "threshold", 32, 0, 16, 0.5);
    write_text(dir, "unmask.json",
               "{\"block_length\":8,\"steps_per_block\":4,\"temperature\":0,\"algorithm\":null}");
    check_defaults(dir, "low_confidence", 8, 4, 64, 0);
    um_temp_dir_remove(dir);
}

static void a_preset_row_may_be_set_key_by_key(void)
{
    char dir[UM_TEMP_PATH_BYTES];
    um_tiny_options options = {0};
    um_model_report report;
    um_err err = {0};

    um_temp_dir_make(dir);
    UM_CHECK_OK(um_tiny_checkpoint_write(dir, &options, &err), err);
    write_text(dir, "unmask.json",
               "{\"presets\":{\"fast\":{\"threshold\":0.75,\"steps_per_block\":6},\"max\":null,"
               "\"balanced\":{\"algorithm\":\"factor\",\"block_length\":16}}}");
    UM_CHECK_OK(um_model_inspect(dir, &(um_model_dir_options){0}, &report, &err), err);
    UM_CHECK_OK(report.problem.status, report.problem);
    UM_CHECK_NEAR(report.defaults.presets[UM_PRESET_FAST].threshold, 0.75, 0);
    UM_CHECK_INT(report.defaults.presets[UM_PRESET_FAST].steps_per_block, 6);
    UM_CHECK_STR(report.defaults.presets[UM_PRESET_FAST].algorithm, "");
    UM_CHECK_STR(report.defaults.presets[UM_PRESET_BALANCED].algorithm, "factor");
    UM_CHECK_INT(report.defaults.presets[UM_PRESET_BALANCED].block_length, 16);
    UM_CHECK_INT(report.defaults.presets[UM_PRESET_MAX].steps_per_block, 0);
    um_model_report_deinit(&report);
    um_temp_dir_remove(dir);
}

static void broken_settings_files_are_refused(void)
{
    static const struct {
        const char *file;
        const char *text;
        const char *reason;
    } cases[] = {
        {"unmask.json", "{\"blocklength\":8}", "unknown key \"blocklength\""},
        {"unmask.json", "{\"block_length\":0}", "block_length is 0; the minimum is 1"},
        {"unmask.json", "{\"steps_per_block\":-1}", "steps_per_block is -1; the minimum is 0"},
        {"unmask.json", "{\"max_tokens\":\"8\"}", "max_tokens is a string"},
        {"unmask.json", "{\"temperature\":2.5}", "temperature is 2.5; the maximum is 2"},
        {"unmask.json", "{\"algorithm\":1}", "algorithm is an integer"},
        {"unmask.json", "{\"presets\":[]}", "presets is an array"},
        {"unmask.json", "{\"presets\":{\"quick\":{}}}",
         "presets: unknown key \"quick\"; known are recommended, fast, balanced, max"},
        {"unmask.json", "{\"presets\":{\"fast\":1}}", "presets.fast is an integer"},
        {"unmask.json", "{\"presets\":{\"fast\":{\"steps\":1}}}",
         "presets.fast: unknown key \"steps\"; known are algorithm, block_length, "
         "steps_per_block, threshold"},
        {"unmask.json", "{\"presets\":{\"fast\":{\"steps_per_block\":0}}}",
         "presets.fast: steps_per_block is 0; the minimum is 1"},
        {"unmask.json", "{\"presets\":{\"max\":{\"threshold\":1.5}}}",
         "presets.max: threshold is 1.5; the maximum is 1"},
        {"unmask.json",
         "{\"presets\":{\"fast\":{\"algorithm\":\"a name of more than 31 bytes....\"}}}",
         "presets.fast: algorithm is 32 bytes long; at most 31"},
        {"unmask.json", "[]", "it is an array"},
        {"unmask.json", "{", "JSON"},
        {"generation_config.json", "{\"max_new_tokens\":0}", "max_new_tokens is 0"},
    };
    char dir[UM_TEMP_PATH_BYTES];
    um_tiny_options options = {0};
    um_err err = {0};

    um_temp_dir_make(dir);
    UM_CHECK_OK(um_tiny_checkpoint_write(dir, &options, &err), err);
    for (size_t i = 0; i < UM_COUNT_OF(cases); i++) {
        um_model_report report;

        write_text(dir, "unmask.json", "{}");
        write_text(dir, cases[i].file, cases[i].text);
        UM_CHECK_OK(um_model_inspect(dir, &(um_model_dir_options){0}, &report, &err), err);
        UM_CHECK_STATUS(report.problem.status, UM_E_FORMAT);
        UM_CHECK(strstr(report.problem.message, cases[i].file) != NULL);
        UM_CHECK(strstr(report.problem.message, cases[i].reason) != NULL);
        um_model_report_deinit(&report);
    }
    um_temp_dir_remove(dir);
}

/* Of Hugging Face's Llama keys: a list of ids ends an answer at each of them. */
static void a_list_of_end_tokens_is_end_and_turn(void)
{
    static const struct {
        const char *ids;
        int32_t end, turn; /* end -1: refused */
        const char *words;
    } cases[] = {{"7", 7, -1, ""},
                 {"[7]", 7, -1, ""},
                 {"[7,9]", 7, 9, ""},
                 {"[]", -1, 0, "eos_token_id[0] is not an id"},
                 {"[7,null]", -1, 0, "eos_token_id[1] is not an id"},
                 {"[7,9,11]", -1, 0, "eos_token_id has 3 ids; the maximum is 2"},
                 {"[7,155136]", -1, 0, "turn token is 155136; expected -1 to 155135"}};
    char dir[UM_TEMP_PATH_BYTES], config[256];

    um_temp_dir_make(dir);
    for (size_t i = 0; i < UM_COUNT_OF(cases); i++) {
        um_model_report report;
        um_err err = {0};

        snprintf(config, sizeof(config),
                 "{\"architectures\":[\"ILLaDAForCausalLM\"],\"eos_token_id\":%s}", cases[i].ids);
        write_text(dir, "config.json", config);
        UM_CHECK_OK(um_model_inspect(dir, &(um_model_dir_options){0}, &report, &err), err);
        if (cases[i].end < 0) {
            UM_CHECK(strstr(report.problem.message, cases[i].words) != NULL);
        } else {
            UM_CHECK_STATUS(report.problem.status, UM_E_NOT_FOUND); /* no weights */
            UM_CHECK_INT(report.config.end_token, cases[i].end);
            UM_CHECK_INT(report.config.turn_token, cases[i].turn);
        }
        um_model_report_deinit(&report);
    }
    um_temp_dir_remove(dir);
}

/* Settings of the models' authors are built in, found by family, shape and the directory's name.
 * Dream's own generation_config.json repeats defaults of its class (temperature 0), so the built-in
 * word is the stronger one. */
static void known_models_have_their_authors_settings(void)
{
    static const char *const config =
        "{\"architectures\":[\"DreamModel\"],\"hidden_size\":3584,\"intermediate_size\":18944,"
        "\"num_hidden_layers\":28,\"num_attention_heads\":28,\"num_key_value_heads\":4,"
        "\"vocab_size\":152064,\"max_position_embeddings\":131072,\"rope_theta\":1000000.0,"
        "\"mask_token_id\":151666,\"eos_token_id\":151643}";
    static const struct {
        const char *name;
        int32_t max_tokens;
        double temperature;
    } cases[] = {{"Dream-v0-Instruct-7B", 512, 0.2},
                 {"Dream-v0-Base-7B", 256, 0.2},
                 {"Dream-Coder-v0-Instruct-7B/", 768, 0.1},
                 {"DiffuCoder-7B-Base", 256, 0.2},
                 {"DiffuCoder-7B-cpGRPO", 256, 0.3}};
    char root[UM_TEMP_PATH_BYTES], dir[UM_TEMP_PATH_BYTES + 64];

    um_temp_dir_make(root);
    for (size_t i = 0; i < UM_COUNT_OF(cases); i++) {
        um_model_report report;
        um_err err = {0};

        snprintf(dir, sizeof(dir), "%s/%s", root, cases[i].name);
        UM_CHECK(mkdir(dir, 0700) == 0);
        write_text(dir, "config.json", config);
        write_text(dir, "generation_config.json", "{\"temperature\":0.0,\"top_p\":null}");
        UM_CHECK_OK(um_model_inspect(dir, &(um_model_dir_options){0}, &report, &err), err);
        UM_CHECK_STATUS(report.problem.status, UM_E_NOT_FOUND); /* no weights */
        UM_CHECK_STR(report.defaults.algorithm, "entropy");
        UM_CHECK_INT(report.defaults.max_tokens, cases[i].max_tokens);
        UM_CHECK_NEAR(report.defaults.temperature, cases[i].temperature, 1e-7);
        UM_CHECK_NEAR(report.defaults.top_p, 0.95, 1e-7);
        UM_CHECK_INT(report.config.context_max, 2048);
        UM_CHECK_INT(report.config.context_limit, 131072);
        um_model_report_deinit(&report);
    }
    um_temp_dir_remove(root);
}

static const um_test tests[] = {
    UM_TEST(the_released_config_reads_as_published),
    UM_TEST(the_released_tensor_list_is_complete),
    UM_TEST(absent_keys_take_the_defaults_of_the_class),
    UM_TEST(aliases_and_nulls_resolve),
    UM_TEST(switches_and_scales_resolve),
    UM_TEST(what_cannot_be_served_is_refused_by_key_and_value),
    UM_TEST(the_family_follows_architectures_alone),
    UM_TEST(unmask_json_beats_generation_config_beats_the_family),
    UM_TEST(a_preset_row_may_be_set_key_by_key),
    UM_TEST(broken_settings_files_are_refused),
    UM_TEST(a_list_of_end_tokens_is_end_and_turn),
    UM_TEST(known_models_have_their_authors_settings),
};
UM_TEST_MAIN(tests)
