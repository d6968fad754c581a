/* Fields that are more than a scalar, but for prompts (request_prompt_json.c). */
#include <jansson.h>
#include <string.h>

#include "server/request_internal.h"

#define METADATA_PAIRS_MAX 16
#define METADATA_KEY_MAX 64    /* code points */
#define METADATA_VALUE_MAX 512 /* code points */

static um_status add_stop(um_api_request *request, const json_t *value, const char *label,
                          um_err *err)
{
    um_stop_string *stop = &request->stops[request->stop_count];
    size_t length = json_string_length(value);

    if (!json_is_string(value))
        return umi_wrong_type(value, label, "a string", err);
    if (length == 0)
        return um_fail_field(err, UM_E_VALUE, label, "`%s` is empty", label);
    if (length > UM_STOP_STRING_BYTES_MAX)
        return um_fail_field(err, UM_E_STRING_ABOVE_MAX, label,
                             "`%s` has %zu bytes; the maximum is %d", label, length,
                             UM_STOP_STRING_BYTES_MAX);
    memcpy(stop->bytes, json_string_value(value), length);
    stop->length = (int32_t)length;
    request->stop_count++;
    return UM_OK;
}

um_status umi_read_stop(umi_reading *reading, um_json *value, const char *label, um_err *err)
{
    um_status status = UM_OK;

    if (!json_is_array(value))
        return json_is_string(value)
                   ? add_stop(reading->request, value, label, err)
                   : umi_wrong_type(value, label, "a string or an array of strings", err);
    if (json_array_size(value) > UM_STOP_STRINGS_MAX)
        return um_fail_field(err, UM_E_ARRAY_ABOVE_MAX, label,
                             "`%s` has %zu entries; the maximum is %d", label,
                             json_array_size(value), UM_STOP_STRINGS_MAX);
    for (size_t i = 0; i < json_array_size(value) && status == UM_OK; i++)
        status = add_stop(reading->request, json_array_get(value, i),
                          umi_labelled("%s[%zu]", label, i).text, err);
    return status;
}

static size_t code_points(const char *text, size_t length)
{
    size_t count = 0;

    for (size_t i = 0; i < length; i++)
        count += ((unsigned char)text[i] & 0xc0) != 0x80;
    return count;
}

um_status umi_read_metadata(umi_reading *reading, um_json *value, const char *label, um_err *err)
{
    const char *key;
    json_t *member;

    (void)reading;
    if (json_object_size(value) > METADATA_PAIRS_MAX)
        return um_fail_field(err, UM_E_VALUE, label, "`%s` has %zu pairs; the maximum is %d", label,
                             json_object_size(value), METADATA_PAIRS_MAX);
    json_object_foreach(value, key, member)
    {
        umi_label name = umi_labelled("%s.%.64s", label, key);
        size_t characters = code_points(key, strlen(key));

        if (characters > METADATA_KEY_MAX)
            return um_fail_field(err, UM_E_STRING_ABOVE_MAX, label,
                                 "a key of `%s` has %zu characters; the maximum is %d", label,
                                 characters, METADATA_KEY_MAX);
        if (!json_is_string(member))
            return umi_wrong_type(member, name.text, "a string", err);
        characters = code_points(json_string_value(member), json_string_length(member));
        if (characters > METADATA_VALUE_MAX)
            return um_fail_field(err, UM_E_STRING_ABOVE_MAX, name.text,
                                 "`%s` has %zu characters; the maximum is %d", name.text,
                                 characters, METADATA_VALUE_MAX);
    }
    return UM_OK;
}

um_status umi_read_user(umi_reading *reading, um_json *value, const char *label, um_err *err)
{
    (void)label;
    (void)err;
    reading->request->user = json_string_value(value);
    return UM_OK;
}

um_status umi_read_algorithm(umi_reading *reading, um_json *value, const char *label, um_err *err)
{
    const char *name = json_string_value(value);
    const um_policy *policy = umi_is_word(value, name) ? um_policy_find(name) : NULL;

    if (!policy)
        return um_fail_field(err, UM_E_UNSUPPORTED_VALUE, label,
                             "`%s` is \"%.64s\"; this model offers: %s", label, name,
                             um_policy_names());
    if (reading->request->given.algorithm &&
        strcmp(reading->request->given.algorithm, policy->name) != 0)
        return umi_contradicts(label, err);
    reading->request->given.algorithm = policy->name;
    return UM_OK;
}

um_status umi_read_eos_rule(umi_reading *reading, um_json *value, const char *label, um_err *err)
{
    static const char *const names[] = {
        [UM_EOS_NONE] = "none", [UM_EOS_CONFIDENCE] = "confidence", [UM_EOS_LOGITS] = "logits"};

    for (size_t i = 0; i < UM_COUNT_OF(names); i++) {
        if (umi_is_word(value, names[i])) {
            reading->request->given.has_eos_rule = true;
            reading->request->given.eos_rule = (um_eos_rule)i;
            return UM_OK;
        }
    }
    return um_fail_field(err, UM_E_VALUE, label,
                         "`%s` is \"%.64s\"; expected one of: none confidence logits", label,
                         json_string_value(value));
}
