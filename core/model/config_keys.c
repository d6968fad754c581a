#include "core/model/config_keys.h"

#include <string.h>

#include "core/base/buf.h"

um_status umi_read_id(const um_json *config, const char *key, int64_t min, int64_t fallback,
                      int32_t *out, um_err *err)
{
    int64_t value;
    um_status status = um_json_get_int(config, key, min, UMI_DIMENSION_MAX, fallback, &value, err);

    *out = (int32_t)value;
    return status;
}

um_status umi_read_bos(const um_json *config, int32_t fallback, um_model_config *out, um_err *err)
{
    const um_json *value = um_json_member(config, "bos_token_id");

    out->prompt_bos = -1;
    if (value && um_json_kind_of(value) == UM_JSON_NULL)
        return UM_OK;
    return umi_read_id(config, "bos_token_id", 0, fallback, &out->prompt_bos, err);
}

um_status umi_read_aliased(const um_json *config, const char *key, const char *alias,
                           int64_t fallback, int64_t *out, um_err *err)
{
    int64_t by_key, by_alias;
    um_status status = um_json_get_int(config, key, 1, UMI_DIMENSION_MAX, 0, &by_key, err);

    if (status == UM_OK)
        status = um_json_get_int(config, alias, 1, UMI_DIMENSION_MAX, 0, &by_alias, err);
    if (status != UM_OK)
        return status;
    if (by_key && by_alias && by_key != by_alias)
        return um_fail_field(err, UM_E_CONFLICT, key, "%s is %lld but its alias %s is %lld", key,
                             (long long)by_key, alias, (long long)by_alias);
    *out = by_key ? by_key : by_alias ? by_alias : fallback;
    return UM_OK;
}

um_status umi_require_text(const um_json *config, const char *key, const char *wanted,
                           const char *fallback, um_err *err)
{
    const char *value;
    um_status status = um_json_get_string(config, key, fallback, &value, err);

    if (status == UM_OK && strcmp(value, wanted) != 0)
        return um_fail_field(err, UM_E_UNSUPPORTED, key,
                             "%s is \"%.60s\"%s; only \"%s\" is supported", key, value,
                             um_json_member(config, key) ? "" : " when absent", wanted);
    return status;
}

um_status umi_require_bool(const um_json *config, const char *key, bool wanted, bool fallback,
                           um_err *err)
{
    bool value;
    um_status status = um_json_get_bool(config, key, fallback, &value, err);

    if (status == UM_OK && value != wanted)
        return um_fail_field(err, UM_E_UNSUPPORTED, key, "%s is %s%s; only %s is supported", key,
                             value ? "true" : "false",
                             um_json_member(config, key) ? "" : " when absent",
                             wanted ? "true" : "false");
    return status;
}

um_status umi_require_null(const um_json *config, const char *key, um_err *err)
{
    um_json_kind kind = um_json_kind_of(um_json_member(config, key));

    if (kind == UM_JSON_NULL)
        return UM_OK;
    return um_fail_field(err, UM_E_UNSUPPORTED, key, "%s is %s; only null is supported", key,
                         um_json_kind_name(kind));
}

um_status umi_read_activation(const um_json *config, const char *key, const char *fallback,
                              const umi_activation_name *known, size_t known_count,
                              um_activation *out, um_err *err)
{
    const char *value;
    um_buf names = {0};
    um_status status = um_json_get_string(config, key, fallback, &value, err);

    if (status != UM_OK)
        return status;
    for (size_t i = 0; i < known_count; i++) {
        if (strcmp(known[i].name, value) == 0) {
            *out = known[i].activation;
            return UM_OK;
        }
    }
    for (size_t i = 0; i < known_count; i++)
        um_buf_printf(&names, "%s%s", i ? ", " : "", known[i].name);
    status =
        um_fail_field(err, UM_E_UNSUPPORTED, key, "%s is \"%.60s\"%s; known are %s", key, value,
                      um_json_member(config, key) ? "" : " when absent", um_buf_view(&names));
    um_buf_deinit(&names);
    return status;
}
