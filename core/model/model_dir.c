#include "core/model/model_dir.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "core/base/mem.h"
#include "core/base/utf8.h"
#include "core/model/model_settings.h"

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
    char path[UMI_PATH_BYTES];
    um_json *config = NULL;
    um_status status = umi_model_path(dir, "config.json", path, err);

    if (status == UM_OK)
        status = um_json_load(path, UMI_JSON_BYTES_MAX, &config, err);
    if (status != UM_OK)
        return status;
    status = understand_config(config, options, out, err);
    if (status != UM_OK)
        status = um_err_prefix(err, umi_file_fault(status), "%s", path);
    um_json_free(config);
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
    char path[UMI_PATH_BYTES];

    for (size_t i = 0; i < UM_COUNT_OF(files); i++) {
        um_json *root = NULL;
        um_status status = umi_model_path(dir, files[i], path, err);
        bool found;

        if (status != UM_OK)
            return status;
        if (access(path, F_OK) != 0)
            continue;
        status = um_json_load(path, UMI_JSON_BYTES_MAX, &root, err);
        if (status != UM_OK)
            return um_err_prefix(err, umi_file_fault(status), "%s", path);
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
        status = umi_model_settings_apply(dir, out, err);
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
