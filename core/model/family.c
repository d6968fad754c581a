#include "core/model/family.h"

#include <string.h>

#include "core/base/buf.h"
#include "core/model/family_internal.h"

const char *const um_preset_names[UM_PRESET_COUNT] = {
    [UM_PRESET_RECOMMENDED] = "recommended",
    [UM_PRESET_FAST] = "fast",
    [UM_PRESET_BALANCED] = "balanced",
    [UM_PRESET_MAX] = "max",
};

static const um_family *const families[] = {
    &umi_family_llada,      &umi_family_dream,    &umi_family_mmada,
    &umi_family_diffullama, &umi_family_diffugpt, &umi_family_illada,
};

const um_family *um_family_at(size_t index)
{
    return index < UM_COUNT_OF(families) ? families[index] : NULL;
}

static um_status unknown(const char *architecture, um_err *err)
{
    um_buf known = {0};
    um_status status;

    for (size_t i = 0; i < UM_COUNT_OF(families); i++)
        um_buf_printf(&known, "%s%s", i ? ", " : "", families[i]->architectures[0]);
    status = um_fail(err, UM_E_UNSUPPORTED, "architectures[0] is \"%.100s\"; this build knows: %s",
                     architecture, um_buf_view(&known));
    um_buf_deinit(&known);
    return status;
}

static bool has_architecture(const um_family *family, const char *architecture)
{
    for (size_t i = 0; i < UM_FAMILY_ARCHITECTURES_MAX && family->architectures[i]; i++)
        if (strcmp(family->architectures[i], architecture) == 0)
            return true;
    return false;
}

um_status um_family_find(const um_json *config, const um_family **out, um_err *err)
{
    const um_json *first = um_json_element(um_json_member(config, "architectures"), 0);
    const char *architecture;

    *out = NULL;
    if (um_json_kind_of(first) != UM_JSON_STRING)
        return um_fail(err, UM_E_FORMAT, "architectures[0] is %s; expected a string",
                       first ? um_json_kind_name(um_json_kind_of(first)) : "absent");
    architecture = um_json_string_value(first, NULL);
    for (size_t i = 0; i < UM_COUNT_OF(families); i++)
        if (has_architecture(families[i], architecture))
            *out = families[i];
    return *out ? UM_OK : unknown(architecture, err);
}

um_status um_family_by_name(const char *name, const um_family **out, um_err *err)
{
    um_buf known = {0};
    um_status status;

    *out = NULL;
    for (size_t i = 0; i < UM_COUNT_OF(families); i++)
        if (strcmp(families[i]->name, name) == 0)
            *out = families[i];
    if (*out)
        return UM_OK;
    for (size_t i = 0; i < UM_COUNT_OF(families); i++)
        um_buf_printf(&known, "%s%s", i ? ", " : "", families[i]->name);
    status = um_fail_field(err, UM_E_UNSUPPORTED_VALUE, "family",
                           "family is \"%.60s\"; known are %s", name, um_buf_view(&known));
    um_buf_deinit(&known);
    return status;
}
