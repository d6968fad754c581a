/* Settings of diffusion that are more than a scalar, and what picks the preset. */
#include <jansson.h>
#include <string.h>

#include "core/base/mem.h"
#include "server/request_internal.h"

um_status umi_read_algorithm(umi_reading *reading, um_json *value, const char *label, um_err *err)
{
    const char *name = json_string_value(value);
    const um_policy *policy = umi_is_word(value, name) ? um_policy_find(name) : NULL;
    um_params_given *given = &reading->request->given;

    if (!policy)
        return um_fail_field(err, UM_E_UNSUPPORTED_VALUE, label,
                             "`%s` is \"%.64s\"; this model offers: %s", label, name,
                             um_policy_names());
    if (given->algorithm && strcmp(given->algorithm, policy->name) != 0)
        return umi_contradicts(label, err);
    given->algorithm = policy->name;
    return UM_OK;
}

um_status umi_read_eos_rule(umi_reading *reading, um_json *value, const char *label, um_err *err)
{
    static const char *const names[] = {
        [UM_EOS_NONE] = "none", [UM_EOS_CONFIDENCE] = "confidence", [UM_EOS_LOGITS] = "logits"};

    (void)label;
    (void)err;
    reading->request->given.has_eos_rule = true;
    for (size_t i = 0; i < UM_COUNT_OF(names); i++)
        if (umi_is_word(value, names[i]))
            reading->request->given.eos_rule = (um_eos_rule)i;
    return UM_OK;
}

/* ---- presets -------------------------------------------------------------------------------- */

bool umi_find_preset(const char *name, size_t length, um_preset *out)
{
    for (int i = 0; i < UM_PRESET_COUNT; i++) {
        if (strlen(um_preset_names[i]) == length && memcmp(um_preset_names[i], name, length) == 0) {
            *out = (um_preset)i;
            return true;
        }
    }
    return false;
}

void umi_take_preset(umi_reading *reading, um_preset preset, umi_preset_source source)
{
    if (source < reading->preset_source)
        return;
    reading->preset_source = source;
    reading->request->given.preset = preset;
}

um_status umi_read_preset(umi_reading *reading, um_json *value, const char *label, um_err *err)
{
    um_preset preset = UM_PRESET_RECOMMENDED;

    (void)label;
    (void)err;
    umi_find_preset(json_string_value(value), json_string_length(value), &preset);
    umi_take_preset(reading, preset, UM_PRESET_OF_DIFFUSION);
    return UM_OK;
}

um_status umi_read_effort(umi_reading *reading, um_json *value, const char *label, um_err *err)
{
    static const struct {
        const char *effort;
        um_preset preset;
    } rows[] = {
        {"none", UM_PRESET_FAST},          {"instant", UM_PRESET_FAST}, {"minimal", UM_PRESET_FAST},
        {"low", UM_PRESET_FAST},           {"high", UM_PRESET_MAX},     {"xhigh", UM_PRESET_MAX},
        {"medium", UM_PRESET_RECOMMENDED}, {"max", UM_PRESET_MAX},
    };

    (void)label;
    (void)err;
    for (size_t i = 0; i < UM_COUNT_OF(rows); i++) {
        if (umi_is_word(value, rows[i].effort)) {
            umi_take_preset(reading, rows[i].preset, UM_PRESET_OF_EFFORT);
            reading->request->responses.effort = rows[i].effort;
        }
    }
    return UM_OK;
}

/* ---- streams -------------------------------------------------------------------------------- */

um_status umi_read_mode(umi_reading *reading, um_json *value, const char *label, um_err *err)
{
    (void)label;
    (void)err;
    reading->has_mode = true;
    reading->request->mode = umi_is_word(value, "draft")     ? UM_STREAM_DRAFT
                             : umi_is_word(value, "replace") ? UM_STREAM_REPLACE
                                                             : UM_STREAM_SETTLED;
    return UM_OK;
}

um_status umi_read_diffusing(umi_reading *reading, um_json *value, const char *label, um_err *err)
{
    (void)label;
    (void)err;
    reading->has_diffusing = true;
    reading->diffusing = json_is_true(value);
    return UM_OK;
}

um_status umi_read_frames(umi_reading *reading, um_json *value, const char *label, um_err *err)
{
    (void)label;
    (void)err;
    reading->request->draft.full_only = umi_is_word(value, "full");
    return UM_OK;
}

/* ---- gaps ----------------------------------------------------------------------------------- */

/* 1 to the context's length. */
static um_status check_gap(const json_t *value, const um_api_rules *rules, const char *label,
                           um_err *err)
{
    long long size = json_integer_value(value);

    if (size < 1)
        return um_fail_field(err, UM_E_INT_BELOW_MIN, label, "`%s` is %lld; the minimum is 1",
                             label, size);
    if (size > rules->limits->context_max)
        return um_fail_field(err, UM_E_INT_ABOVE_MAX, label, "`%s` is %lld; the maximum is %d",
                             label, size, rules->limits->context_max);
    return UM_OK;
}

um_status umi_read_infill_length(umi_reading *reading, um_json *value, const char *label,
                                 um_err *err)
{
    um_params_given *given = &reading->request->given;
    um_status status = UM_OK;

    if (!json_is_integer(value) && !umi_is_word(value, "auto"))
        return json_is_string(value)
                   ? um_fail_field(err, UM_E_VALUE, label,
                                   "`%s` is \"%.32s\"; expected an integer or \"auto\"", label,
                                   json_string_value(value))
                   : umi_wrong_type(value, label, "an integer or \"auto\"", err);
    if (json_is_integer(value))
        status = check_gap(value, reading->rules, label, err);
    given->has_infill_length = true;
    given->infill_length = json_integer_value(value); /* 0 for auto */
    return status;
}

static um_status read_part(const json_t *part, const um_api_rules *rules, const char *label,
                           um_template_part *out, um_err *err)
{
    const json_t *text = json_object_get(part, "text"), *gap = json_object_get(part, "gap");
    umi_label text_label = umi_labelled("%s.text", label),
              gap_label = umi_labelled("%s.gap", label);

    if (!json_is_object(part))
        return umi_wrong_type(part, label, "an object", err);
    if (json_object_size(part) != 1 || (!text && !gap))
        return um_fail_field(err, UM_E_VALUE, label,
                             "`%s` must have one member, \"text\" or \"gap\"", label);
    if (gap && !json_is_integer(gap))
        return umi_wrong_type(gap, gap_label.text, "an integer", err);
    if (text && !json_is_string(text))
        return umi_wrong_type(text, text_label.text, "a string", err);
    if (gap) {
        um_status status = check_gap(gap, rules, gap_label.text, err);

        out->gap = status == UM_OK ? (int32_t)json_integer_value(gap) : 0;
        return status;
    }
    out->text = json_string_value(text);
    out->length = json_string_length(text);
    return UM_OK;
}

um_status umi_read_template(umi_reading *reading, um_json *value, const char *label, um_err *err)
{
    um_api_request *request = reading->request;
    size_t count = json_array_size(value), gaps = 0;
    um_status status = UM_OK;

    if (count == 0)
        return um_fail_field(err, UM_E_EMPTY_ARRAY, label, "`%s` is empty", label);
    if (count > UM_TEMPLATE_PARTS_MAX)
        return um_fail_field(err, UM_E_ARRAY_ABOVE_MAX, label,
                             "`%s` has %zu entries; the maximum is %d", label, count,
                             UM_TEMPLATE_PARTS_MAX);
    request->parts = um_mem_calloc(count, sizeof(*request->parts));
    if (!request->parts)
        return um_fail_field(err, UM_E_OVERLOADED, label, "no memory for `%s`", label);
    request->part_count = count;
    for (size_t i = 0; i < count && status == UM_OK; i++) {
        status = read_part(json_array_get(value, i), reading->rules,
                           umi_labelled("%s[%zu]", label, i).text, &request->parts[i], err);
        gaps += !request->parts[i].text;
    }
    if (status == UM_OK && gaps == 0)
        return um_fail_field(err, UM_E_VALUE, label, "`%s` has no gap to be filled", label);
    return status;
}
