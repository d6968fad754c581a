/*
 * Which tokenizer a directory holds, and reading its files. The first of these that is there:
 * tokenizer.json; vocab.json + merges.txt; encoder.json + vocab.bpe; tokenizer.model. The older
 * ones hold no pipeline, so their tokenizer's class, named in tokenizer_config.json, or the model's
 * type in config.json must be one that is known.
 */
#include "core/text/tokenizer_internal.h"

#include <string.h>

#include "core/base/file.h"
#include "core/base/mem.h"

#define CONFIG_FILE_MAX ((size_t)16 << 20)

/* ---- classes ---- */

typedef enum pipeline { PIPELINE_UNKNOWN, PIPELINE_GPT2, PIPELINE_QWEN2, PIPELINE_LLAMA } pipeline;

/* tokenizer_class, or where there is none model_type */
static const struct {
    const char *name;
    pipeline pipeline;
} classes[] = {
    {"GPT2Tokenizer", PIPELINE_GPT2},
    {"GPT2TokenizerFast", PIPELINE_GPT2},
    {"Qwen2Tokenizer", PIPELINE_QWEN2},
    {"Qwen2TokenizerFast", PIPELINE_QWEN2},
    {"DreamTokenizer", PIPELINE_QWEN2},
    {"LlamaTokenizer", PIPELINE_LLAMA},
    {"LlamaTokenizerFast", PIPELINE_LLAMA},
    {"gpt2", PIPELINE_GPT2},
    {"qwen2", PIPELINE_QWEN2},
    {"Dream", PIPELINE_QWEN2},
    {"llama", PIPELINE_LLAMA},
};

static pipeline pipeline_of(const char *name)
{
    for (size_t i = 0; i < UM_COUNT_OF(classes); i++)
        if (strcmp(classes[i].name, name) == 0)
            return classes[i].pipeline;
    return PIPELINE_UNKNOWN;
}

/* ---- files ---- */

typedef struct directory {
    const char *dir;
    um_buf path;            /* owned: of the file at hand */
    umi_beside beside;      /* owned */
    const char *class_name; /* borrowed from beside.config or the family's config; NULL: none */
    um_json *model_config;  /* owned */
    um_err *err;
} directory;

static void deinit(directory *d)
{
    um_buf_deinit(&d->path);
    um_json_free(d->beside.config);
    um_json_free(d->beside.added);
    um_json_free(d->beside.special);
    um_json_free(d->model_config);
}

static um_status set_path(directory *d, const char *name)
{
    um_buf_clear(&d->path);
    um_buf_printf(&d->path, "%s/%s", d->dir, name);
    return um_buf_failed(&d->path) ? umi_vocab_no_memory(d->err) : UM_OK;
}

static um_status load_json(directory *d, const char *name, size_t bytes_max, um_json **out)
{
    um_status status = set_path(d, name);

    *out = NULL;
    return status == UM_OK ? um_json_load(um_buf_view(&d->path), bytes_max, out, d->err) : status;
}

static um_status read_file(directory *d, const char *name, size_t bytes_max, um_buf *out)
{
    um_status status = set_path(d, name);

    if (status != UM_OK)
        return status;
    status = um_file_read(um_buf_view(&d->path), bytes_max, out, d->err);
    return status == UM_OK ? UM_OK : um_err_prefix(d->err, status, "%s", um_buf_view(&d->path));
}

/* A file that may be missing: then *out stays NULL. */
static um_status load_optional(directory *d, const char *name, um_json **out)
{
    um_status status = load_json(d, name, CONFIG_FILE_MAX, out);

    return status == UM_E_NOT_FOUND ? UM_OK : status;
}

static um_status load_beside(directory *d)
{
    um_status status = load_optional(d, "tokenizer_config.json", &d->beside.config);

    if (status == UM_OK)
        status = load_optional(d, "added_tokens.json", &d->beside.added);
    if (status == UM_OK)
        status = load_optional(d, "special_tokens_map.json", &d->beside.special);
    if (status == UM_OK)
        status = load_optional(d, "config.json", &d->model_config);
    if (status != UM_OK)
        return status;
    if (um_json_get_string(d->beside.config, "tokenizer_class", NULL, &d->class_name, d->err) !=
        UM_OK)
        return um_err_prefix(d->err, UM_E_FORMAT, "%s/tokenizer_config.json", d->dir);
    if (!d->class_name &&
        um_json_get_string(d->model_config, "model_type", NULL, &d->class_name, d->err) != UM_OK)
        return um_err_prefix(d->err, UM_E_FORMAT, "%s/config.json", d->dir);
    return UM_OK;
}

/* ---- kinds ---- */

/* Each returns UM_EMPTY when its first file is not there. */
typedef um_status (*opener)(directory *d, um_tokenizer *tokenizer);

static um_status open_json(directory *d, um_tokenizer *tokenizer)
{
    um_json *root;
    um_status status = load_json(d, "tokenizer.json", UMI_FILE_MAX, &root);

    if (status == UM_E_NOT_FOUND)
        return UM_EMPTY;
    if (status != UM_OK)
        return status;
    status = umi_tokenizer_load(tokenizer, root, d->err);
    if (status != UM_OK)
        um_err_prefix(d->err, status, "%s", um_buf_view(&d->path));
    um_json_free(root);
    return status;
}

static um_status refuse_class(directory *d, const char *file, const char *known)
{
    return um_fail(d->err, UM_E_UNSUPPORTED,
                   "%s/%s: the tokenizer's class (in tokenizer_config.json, else model_type in "
                   "config.json) is %.64s; with this file %s is supported",
                   d->dir, file, d->class_name ? d->class_name : "nothing", known);
}

/* The class is only asked where the names do not tell. */
static um_status open_pair(directory *d, um_tokenizer *tokenizer, const char *vocab_name,
                           const char *merges_name, pipeline kind)
{
    umi_vocab_files files = {.vocab_name = vocab_name, .merges_name = merges_name};
    um_buf merges = {0};
    um_json *vocab;
    um_status status = load_json(d, vocab_name, UMI_FILE_MAX, &vocab);

    if (status == UM_E_NOT_FOUND)
        return UM_EMPTY;
    if (status == UM_OK)
        status = read_file(d, merges_name, UMI_FILE_MAX, &merges);
    if (status == UM_OK)
        status = load_beside(d);
    if (status != UM_OK)
        goto done;
    if (d->class_name)
        kind = pipeline_of(d->class_name);
    if (kind != PIPELINE_GPT2 && kind != PIPELINE_QWEN2) {
        status = refuse_class(d, vocab_name, "GPT2Tokenizer or Qwen2Tokenizer");
        goto done;
    }
    files.vocab = vocab;
    files.merges = &merges;
    files.regex = kind == PIPELINE_GPT2 ? UMI_GPT2_REGEX : UMI_QWEN2_REGEX;
    files.nfc = kind == PIPELINE_QWEN2;
    status = umi_json_require(d->beside.config, "tokenizer_config.json", "add_prefix_space", false,
                              d->err);
    if (status == UM_OK)
        status = umi_vocab_merges_load(tokenizer, &files, &d->beside, d->err);
    if (status != UM_OK)
        um_err_prefix(d->err, status, "%s", d->dir);
done:
    um_json_free(vocab);
    um_buf_deinit(&merges);
    return status;
}

static um_status open_vocab_merges(directory *d, um_tokenizer *tokenizer)
{
    return open_pair(d, tokenizer, "vocab.json", "merges.txt", PIPELINE_UNKNOWN);
}

static um_status open_gpt2_names(directory *d, um_tokenizer *tokenizer)
{
    return open_pair(d, tokenizer, "encoder.json", "vocab.bpe", PIPELINE_GPT2);
}

static um_status open_model(directory *d, um_tokenizer *tokenizer)
{
    static const char name[] = "tokenizer.model";
    um_buf model = {0};
    um_status status = read_file(d, name, UMI_MODEL_FILE_MAX, &model);

    if (status == UM_E_NOT_FOUND)
        status = UM_EMPTY;
    if (status == UM_OK)
        status = load_beside(d);
    if (status != UM_OK)
        goto done;
    if (d->class_name && pipeline_of(d->class_name) != PIPELINE_LLAMA) {
        status = refuse_class(d, name, "LlamaTokenizer");
        goto done;
    }
    /* "legacy": a mark in front of every text, not only of what follows a special token */
    status = umi_json_require(d->beside.config, "tokenizer_config.json", "legacy", true, d->err);
    if (status == UM_OK)
        status = umi_json_require(d->beside.config, "tokenizer_config.json", "add_prefix_space",
                                  true, d->err);
    if (status == UM_OK)
        status = umi_sentencepiece_load(tokenizer, (const uint8_t *)um_buf_view(&model),
                                        model.length, &d->beside, d->err);
    if (status != UM_OK)
        um_err_prefix(d->err, status, "%s", d->dir);
done:
    um_buf_deinit(&model);
    return status;
}

/* ---- the calls ---- */

um_status um_tokenizer_open(const char *dir, um_tokenizer **out, um_err *err)
{
    static const opener kinds[] = {open_json, open_vocab_merges, open_gpt2_names, open_model};
    um_err problem = {0}; /* a file that may be missing is none of the caller's errors */
    directory d = {.dir = dir, .err = &problem};
    um_tokenizer *tokenizer = um_mem_zalloc(sizeof(*tokenizer));
    um_status status = tokenizer ? UM_EMPTY : umi_vocab_no_memory(&problem);

    *out = NULL;
    for (size_t i = 0; i < UM_COUNT_OF(kinds) && status == UM_EMPTY; i++)
        status = kinds[i](&d, tokenizer);
    if (status == UM_EMPTY)
        status = um_fail(&problem, UM_E_NOT_FOUND,
                         "%s: there is no tokenizer: neither tokenizer.json, vocab.json with "
                         "merges.txt, encoder.json with vocab.bpe, nor tokenizer.model",
                         dir);
    if (status == UM_OK)
        *out = tokenizer;
    else
        um_tokenizer_close(tokenizer);
    if (status != UM_OK && err)
        *err = problem;
    deinit(&d);
    return status;
}

um_status um_tokenizer_parse(const char *json, size_t length, um_tokenizer **out, um_err *err)
{
    um_tokenizer *tokenizer = um_mem_zalloc(sizeof(*tokenizer));
    um_json *root = NULL;
    um_status status =
        tokenizer ? um_json_parse(json, length, &root, err) : umi_vocab_no_memory(err);

    *out = NULL;
    if (status == UM_OK)
        status = umi_tokenizer_load(tokenizer, root, err);
    um_json_free(root);
    if (status == UM_OK)
        *out = tokenizer;
    else
        um_tokenizer_close(tokenizer);
    return status == UM_E_JSON ? um_err_prefix(err, UM_E_FORMAT, "tokenizer.json") : status;
}
