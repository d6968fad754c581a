#include "core/model/model_settings.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "core/base/mem.h"
#include "core/base/utf8.h"

#define LENGTH_MAX (1 << 20)
#define TEMPERATURE_MAX 2.0
#define THRESHOLD_MIN 1e-6

um_status umi_file_fault(um_status status)
{
    return status < UM_OK && status > UM_E_NOMEM ? UM_E_FORMAT : status;
}

um_status umi_model_path(const char *dir, const char *name, char *path, um_err *err)
{
    if (snprintf(path, UMI_PATH_BYTES, "%s/%s", dir, name) >= UMI_PATH_BYTES)
        return um_fail(err, UM_E_IO, "the path of %s in %.60s... is longer than %d bytes", name,
                       dir, UMI_PATH_BYTES);
    return UM_OK;
}

/* ---- files beside the checkpoint ------------------------------------------------------------ */

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

static um_status check_keys(const um_json *object, const char *const *known, size_t count,
                            um_err *err)
{
    um_buf names = {0};

    for (void *it = um_json_first(object); it; it = um_json_next(object, it)) {
        size_t i = 0;

        while (i < count && strcmp(known[i], um_json_iter_key(it)) != 0)
            i++;
        if (i < count)
            continue;
        for (i = 0; i < count; i++)
            um_buf_printf(&names, "%s%s", i > 0 ? ", " : "", known[i]);
        um_fail(err, UM_E_FORMAT, "unknown key \"%.60s\"; known are %s", um_json_iter_key(it),
                um_buf_view(&names));
        um_buf_deinit(&names);
        return UM_E_FORMAT;
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

/* Keys that are not there leave what a weaker word said. */
static um_status get_preset(const um_json *object, um_model_preset *out, um_err *err)
{
    static const char *const known[] = {"algorithm", "block_length", "steps_per_block",
                                        "threshold"};
    double threshold = (double)out->threshold;
    const char *algorithm;
    um_status status = check_keys(object, known, UM_COUNT_OF(known), err);

    if (status == UM_OK)
        status = get_length(object, "block_length", 1, &out->block_length, err);
    if (status == UM_OK)
        status = get_length(object, "steps_per_block", 1, &out->steps_per_block, err);
    if (status == UM_OK)
        status =
            um_json_get_number(object, "threshold", THRESHOLD_MIN, 1.0, threshold, &threshold, err);
    out->threshold = (float)threshold;
    if (status == UM_OK)
        status = um_json_get_string(object, "algorithm", NULL, &algorithm, err);
    if (status != UM_OK || !algorithm)
        return status;
    if (strlen(algorithm) >= sizeof(out->algorithm))
        return um_fail(err, UM_E_FORMAT, "algorithm is %zu bytes long; at most %zu",
                       strlen(algorithm), sizeof(out->algorithm) - 1);
    snprintf(out->algorithm, sizeof(out->algorithm), "%s", algorithm);
    um_utf8_make_printable(out->algorithm);
    return UM_OK;
}

static um_status get_presets(const um_json *root, um_model_defaults *out, um_err *err)
{
    const um_json *presets = um_json_member(root, "presets");
    um_status status = UM_OK;

    if (um_json_kind_of(presets) == UM_JSON_NULL)
        return UM_OK;
    if (um_json_kind_of(presets) != UM_JSON_OBJECT)
        return um_fail(err, UM_E_FORMAT, "presets is %s; expected an object",
                       um_json_kind_name(um_json_kind_of(presets)));
    status = check_keys(presets, um_preset_names, UM_PRESET_COUNT, err);
    for (int i = 0; i < UM_PRESET_COUNT && status == UM_OK; i++) {
        const um_json *preset = um_json_member(presets, um_preset_names[i]);

        if (um_json_kind_of(preset) == UM_JSON_NULL)
            continue;
        if (um_json_kind_of(preset) != UM_JSON_OBJECT)
            return um_fail(err, UM_E_FORMAT, "presets.%s is %s; expected an object",
                           um_preset_names[i], um_json_kind_name(um_json_kind_of(preset)));
        status = get_preset(preset, &out->presets[i], err);
        if (status != UM_OK)
            return um_err_prefix(err, status, "presets.%s", um_preset_names[i]);
    }
    return status == UM_OK ? UM_OK : um_err_prefix(err, status, "presets");
}

/* Our own keys; whoever owns the policies checks the algorithm's name and the ranges. */
um_status umi_model_settings_read(const um_json *root, um_model_dir *out, um_err *err)
{
    static const char *const known[] = {"algorithm",         "block_length", "steps_per_block",
                                        "max_tokens",        "temperature",  "top_p",
                                        "order_temperature", "eps",          "presets"};
    const char *algorithm;
    um_status status = check_keys(root, known, UM_COUNT_OF(known), err);

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
        status = get_presets(root, &out->defaults, err);
    if (status == UM_OK)
        status = um_json_get_string(root, "algorithm", NULL, &algorithm, err);
    if (status != UM_OK || !algorithm)
        return status;
    um_mem_free(out->algorithm); /* a weaker word's */
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
    char path[UMI_PATH_BYTES];
    um_json *root = NULL;
    um_status status = umi_model_path(dir, name, path, err);

    if (status != UM_OK || access(path, F_OK) != 0)
        return status;
    status = um_json_load(path, UMI_JSON_BYTES_MAX, &root, err);
    if (status != UM_OK)
        return status;
    if (um_json_kind_of(root) != UM_JSON_OBJECT)
        status = um_fail(err, UM_E_FORMAT, "it is %s; expected an object",
                         um_json_kind_name(um_json_kind_of(root)));
    else
        status = apply(root, out, err);
    if (status != UM_OK)
        status = um_err_prefix(err, umi_file_fault(status), "%s", path);
    um_json_free(root);
    return status;
}

/* ---- the table that is built in -------------------------------------------------------------- */

/* The directory's own name, without a slash at its end. */
static void base_name(const char *dir, char *out, size_t bytes)
{
    size_t end = strlen(dir), begin;

    while (end > 1 && dir[end - 1] == '/')
        end--;
    for (begin = end; begin > 0 && dir[begin - 1] != '/';)
        begin--;
    snprintf(out, bytes, "%.*s", (int)(end - begin), dir + begin);
}

/* How many of an entry's conditions hold; -1 when one does not. */
static int match(const um_json *conditions, const um_model_dir *model, const char *name)
{
    const um_model_config *c = &model->config;
    const struct {
        const char *key;
        int64_t value;
    } numbers[] = {{"width", c->width}, {"layers", c->layers}, {"vocab_rows", c->vocab_rows}};
    const um_json *family = um_json_member(conditions, "family");
    const um_json *wanted = um_json_member(conditions, "name");
    int matched = 1;

    UM_ASSERT(um_json_kind_of(family) == UM_JSON_STRING);
    if (strcmp(um_json_string_value(family, NULL), model->family->name) != 0)
        return -1;
    for (size_t i = 0; i < UM_COUNT_OF(numbers); i++) {
        const um_json *number = um_json_member(conditions, numbers[i].key);

        if (number && um_json_int_value(number) != numbers[i].value)
            return -1;
        matched += number != NULL;
    }
    if (wanted && !strcasestr(name, um_json_string_value(wanted, NULL)))
        return -1;
    /* a longer name is the closer match: "diffucoder-7b-base" over "diffucoder" */
    return matched + (wanted ? 100 + (int)strlen(um_json_string_value(wanted, NULL)) : 0);
}

/* The entry that says most about this model, if any does. */
static um_status apply_builtin(const char *dir, um_model_dir *out, um_err *err)
{
    um_json *best = NULL;
    um_status status = UM_OK;
    char name[256];
    int most = -1;

    base_name(dir, name, sizeof(name));
    for (size_t i = 0; umi_builtin_models[i] && status == UM_OK; i++) {
        um_json *entry = NULL;
        int matched = -1;

        status = um_json_parse(umi_builtin_models[i], strlen(umi_builtin_models[i]), &entry, err);
        if (status == UM_OK)
            matched = match(um_json_member(entry, "match"), out, name);
        if (matched > most) {
            um_json_free(best);
            best = entry;
            most = matched;
        } else {
            um_json_free(entry);
        }
    }
    if (status == UM_OK && best)
        status = umi_model_settings_read(um_json_member(best, "recommended"), out, err);
    um_json_free(best);
    return status;
}

um_status umi_model_settings_apply(const char *dir, um_model_dir *out, um_err *err)
{
    um_status status = apply_file(dir, "generation_config.json", apply_generation_config, out, err);

    if (status == UM_OK)
        status = apply_builtin(dir, out, err);
    if (status == UM_OK)
        status = apply_file(dir, "unmask.json", umi_model_settings_read, out, err);
    return status;
}
