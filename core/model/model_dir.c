#include "core/model/model_dir.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "core/base/mem.h"
#include "core/base/utf8.h"

#define JSON_BYTES_MAX ((size_t)1 << 20)
#define PATH_BYTES 4096
#define LENGTH_MAX (1 << 20)
#define TEMPERATURE_MAX 2.0

/* JSON getters speak of request parameters; in a checkpoint the same fault is a malformed file. */
static um_status file_fault(um_status status)
{
    return status < UM_OK && status > UM_E_NOMEM ? UM_E_FORMAT : status;
}

static um_status join(const char *dir, const char *name, char *path, um_err *err)
{
    if (snprintf(path, PATH_BYTES, "%s/%s", dir, name) >= PATH_BYTES)
        return um_fail(err, UM_E_IO, "the path of %s in %.60s... is longer than %d bytes", name,
                       dir, PATH_BYTES);
    return UM_OK;
}

/* ---- config.json --------------------------------------------------------------------------- */

/* For display: cut to fit, and nothing that a terminal would act on. */
static void copy_architecture(const um_json *config, char *out, size_t bytes)
{
    const um_json *first = um_json_element(um_json_member(config, "architectures"), 0);

    if (um_json_kind_of(first) != UM_JSON_STRING)
        return;
    snprintf(out, bytes, "%s", um_json_string_value(first, NULL));
    um_utf8_make_printable(out);
}

/* What --context asks for. */
static um_status apply_context(int32_t context, um_model_config *config, um_err *err)
{
    if (context == 0)
        return UM_OK;
    if (context > config->context_limit)
        return um_fail_field(err, UM_E_VALUE, "context",
                             "--context is %d; this model's limit is %d", context,
                             config->context_limit);
    config->context_max = context;
    return UM_OK;
}

static um_status understand_config(const um_json *config, const um_model_dir_options *options,
                                   um_model_dir *out, um_err *err)
{
    um_status status;

    copy_architecture(config, out->architecture, sizeof(out->architecture));
    status = options->family ? um_family_by_name(options->family, &out->family, err)
                             : um_family_find(config, &out->family, err);
    if (status != UM_OK)
        return status;
    out->defaults = out->family->defaults;
    status = out->family->read_config(config, &out->config, err);
    if (status == UM_OK)
        status = apply_context(options->context, &out->config, err);
    return status == UM_OK ? um_model_config_check(&out->config, err) : status;
}

static um_status read_config(const char *dir, const um_model_dir_options *options,
                             um_model_dir *out, um_err *err)
{
    char path[PATH_BYTES];
    um_json *config = NULL;
    um_status status = join(dir, "config.json", path, err);

    if (status == UM_OK)
        status = um_json_load(path, JSON_BYTES_MAX, &config, err);
    if (status != UM_OK)
        return status;
    status = understand_config(config, options, out, err);
    if (status != UM_OK)
        status = um_err_prefix(err, file_fault(status), "%s", path);
    um_json_free(config);
    return status;
}

/* ---- recommended settings ------------------------------------------------------------------ */

static um_status get_length(const um_json *root, const char *key, int64_t min, int32_t *value,
                            um_err *err)
{
    int64_t number;
    um_status status = um_json_get_int(root, key, min, LENGTH_MAX, *value, &number, err);

    *value = (int32_t)number;
    return status;
}

static um_status get_temperature(const um_json *root, float *value, um_err *err)
{
    double number;
    um_status status =
        um_json_get_number(root, "temperature", 0.0, TEMPERATURE_MAX, (double)*value, &number, err);

    *value = (float)number;
    return status;
}

/* Null, as Dream's authors write it, is none at all. */
static um_status get_top_p(const um_json *root, float *value, um_err *err)
{
    double number;
    um_status status = um_json_get_number(root, "top_p", 0.0, 1.0, (double)*value, &number, err);

    *value = (float)number;
    return status;
}

/* Hugging Face's file: its sampling keys that mean the same here. */
static um_status apply_generation_config(const um_json *root, um_model_dir *out, um_err *err)
{
    um_status status = get_length(root, "max_new_tokens", 1, &out->defaults.max_tokens, err);

    if (status == UM_OK)
        status = get_temperature(root, &out->defaults.temperature, err);
    return status == UM_OK ? get_top_p(root, &out->defaults.top_p, err) : status;
}

static um_status check_unmask_keys(const um_json *root, um_err *err)
{
    static const char *const known[] = {"algorithm",         "block_length", "steps_per_block",
                                        "max_tokens",        "temperature",  "top_p",
                                        "order_temperature", "eps"};

    for (void *it = um_json_first(root); it; it = um_json_next(root, it)) {
        size_t i = 0;

        while (i < UM_COUNT_OF(known) && strcmp(known[i], um_json_iter_key(it)) != 0)
            i++;
        if (i == UM_COUNT_OF(known))
            return um_fail(err, UM_E_FORMAT,
                           "unknown key \"%.60s\"; known are algorithm, block_length, "
                           "steps_per_block, max_tokens, temperature, top_p, order_temperature, "
                           "eps",
                           um_json_iter_key(it));
    }
    return UM_OK;
}

static um_status get_order(const um_json *root, um_model_defaults *out, um_err *err)
{
    double order, eps = (double)out->eps;
    um_status status = um_json_get_number(root, "order_temperature", 0.0, 1e6,
                                          (double)out->order_temperature, &order, err);

    if (status == UM_OK)
        status = um_json_get_number(root, "eps", 0.0, 1.0, eps, &eps, err);
    out->order_temperature = (float)order;
    out->eps = (float)eps;
    return status;
}

/* Our own file; whoever owns the policies checks the algorithm's name and the ranges. */
static um_status apply_unmask_json(const um_json *root, um_model_dir *out, um_err *err)
{
    const char *algorithm;
    um_status status = check_unmask_keys(root, err);

    if (status == UM_OK)
        status = get_length(root, "block_length", 1, &out->defaults.block_length, err);
    if (status == UM_OK)
        status = get_length(root, "steps_per_block", 0, &out->defaults.steps_per_block, err);
    if (status == UM_OK)
        status = get_length(root, "max_tokens", 1, &out->defaults.max_tokens, err);
    if (status == UM_OK)
        status = get_temperature(root, &out->defaults.temperature, err);
    if (status == UM_OK)
        status = get_top_p(root, &out->defaults.top_p, err);
    if (status == UM_OK)
        status = get_order(root, &out->defaults, err);
    if (status == UM_OK)
        status = um_json_get_string(root, "algorithm", NULL, &algorithm, err);
    if (status != UM_OK || !algorithm)
        return status;
    out->algorithm = um_mem_strdup(algorithm);
    if (!out->algorithm)
        return um_fail(err, UM_E_NOMEM, "no memory for the algorithm's name");
    um_utf8_make_printable(out->algorithm);
    out->defaults.algorithm = out->algorithm;
    out->defaults.greedy_algorithm = NULL;
    return UM_OK;
}

/* A settings file need not exist. */
static um_status apply_file(const char *dir, const char *name,
                            um_status (*apply)(const um_json *, um_model_dir *, um_err *),
                            um_model_dir *out, um_err *err)
{
    char path[PATH_BYTES];
    um_json *root = NULL;
    um_status status = join(dir, name, path, err);

    if (status != UM_OK || access(path, F_OK) != 0)
        return status;
    status = um_json_load(path, JSON_BYTES_MAX, &root, err);
    if (status != UM_OK)
        return status;
    if (um_json_kind_of(root) != UM_JSON_OBJECT)
        status = um_fail(err, UM_E_FORMAT, "it is %s; expected an object",
                         um_json_kind_name(um_json_kind_of(root)));
    else
        status = apply(root, out, err);
    if (status != UM_OK)
        status = um_err_prefix(err, file_fault(status), "%s", path);
    um_json_free(root);
    return status;
}

/* ---- is it a diffusion model? -------------------------------------------------------------- */

/* A token is written as a string or as an object with its content. */
static bool names_mask(const um_json *root)
{
    const um_json *token = um_json_member(root, "mask_token");

    if (um_json_kind_of(token) == UM_JSON_OBJECT)
        token = um_json_member(token, "content");
    return um_json_kind_of(token) == UM_JSON_STRING;
}

/* Autoregressive models of the same class have no use for a mask token. */
static um_status check_mask_token(const char *dir, const um_model_dir *out, um_err *err)
{
    static const char *const files[] = {"special_tokens_map.json", "tokenizer_config.json"};
    char path[PATH_BYTES];

    for (size_t i = 0; i < UM_COUNT_OF(files); i++) {
        um_json *root = NULL;
        um_status status = join(dir, files[i], path, err);
        bool found;

        if (status != UM_OK)
            return status;
        if (access(path, F_OK) != 0)
            continue;
        status = um_json_load(path, JSON_BYTES_MAX, &root, err);
        if (status != UM_OK)
            return um_err_prefix(err, file_fault(status), "%s", path);
        found = names_mask(root);
        um_json_free(root);
        if (found)
            return UM_OK;
    }
    return um_fail(err, UM_E_UNSUPPORTED,
                   "%s: architectures[0] is \"%s\", which autoregressive models have too, and no "
                   "mask_token stands in %s or %s; if this is a %s model, say --family %s",
                   dir, out->architecture, files[0], files[1], out->family->name,
                   out->family->name);
}

/* Weight files, and what only they tell. */
static um_status open_weights(const char *dir, um_model_dir *out, um_err *err)
{
    um_status status = um_checkpoint_open(dir, &out->checkpoint, err);

    if (status != UM_OK || !out->family->adapt)
        return status;
    status = out->family->adapt(out->checkpoint, &out->config, err);
    if (status == UM_OK)
        status = um_model_config_check(&out->config, err);
    return status == UM_OK ? UM_OK : um_err_prefix(err, status, "%s", dir);
}

/* ---- the whole ----------------------------------------------------------------------------- */

um_status um_model_dir_open(const char *dir, const um_model_dir_options *options, um_model_dir *out,
                            um_err *err)
{
    um_status status, listed;

    *out = (um_model_dir){0};
    if (access(dir, F_OK) != 0)
        return um_fail(err, UM_E_NOT_FOUND, "%s: no such directory", dir);
    status = read_config(dir, options, out, err);
    if (status == UM_OK && out->family->is_shared_architecture && !options->family)
        status = check_mask_token(dir, out, err);
    if (status == UM_OK)
        status = apply_file(dir, "generation_config.json", apply_generation_config, out, err);
    if (status == UM_OK)
        status = apply_file(dir, "unmask.json", apply_unmask_json, out, err);
    if (status != UM_OK)
        return status;
    /* without weights, too: what a model that is not yet downloaded will need */
    status = open_weights(dir, out, err);
    listed = out->family->list_tensors(&out->config, &out->list, status == UM_OK ? err : NULL);
    if (status == UM_OK)
        status = listed;
    if (status != UM_OK)
        return status;
    status = um_weights_check(out->checkpoint, &out->list, &out->tensor_problems, err);
    return status == UM_OK ? UM_OK : um_err_prefix(err, status, "%s", dir);
}

void um_model_dir_close(um_model_dir *dir)
{
    um_checkpoint_close(dir->checkpoint);
    um_tensor_list_deinit(&dir->list);
    um_buf_deinit(&dir->tensor_problems);
    um_mem_free(dir->algorithm);
    *dir = (um_model_dir){0};
}
