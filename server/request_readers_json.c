/* Fields that are more than a scalar and neither prompt nor setting of diffusion. */
#include <jansson.h>
#include <string.h>

#include "core/base/mem.h"
#include "server/request_internal.h"

#define BIAS_MAX 100.0
#define TOOLS_MAX 128

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

um_status umi_read_stop_token_ids(umi_reading *reading, um_json *value, const char *label,
                                  um_err *err)
{
    um_api_request *request = reading->request;
    size_t count = json_array_size(value);

    if (count > UM_STOP_TOKENS_MAX)
        return um_fail_field(err, UM_E_ARRAY_ABOVE_MAX, label,
                             "`%s` has %zu entries; the maximum is %d", label, count,
                             UM_STOP_TOKENS_MAX);
    request->stop_token_count = (int32_t)count;
    return umi_read_ids(value, reading->rules, true, label, request->stop_tokens, err);
}

/* Of completions and Responses: how many alternatives, which says that they are wanted. In Responses
 * 0 is the default and says nothing. */
um_status umi_read_logprobs(umi_reading *reading, um_json *value, const char *label, um_err *err)
{
    um_api_request *request = reading->request;

    (void)label;
    (void)err;
    request->given.top_logprobs = json_integer_value(value);
    if (request->endpoint != UM_ENDPOINT_RESPONSES || request->given.top_logprobs > 0)
        request->given.wants_logprobs = true;
    return UM_OK;
}

um_status umi_read_best_of(umi_reading *reading, um_json *value, const char *label, um_err *err)
{
    (void)label;
    (void)err;
    reading->has_best_of = true;
    reading->best_of = json_integer_value(value);
    return UM_OK;
}

/* A decimal number below `limit`, as it is written by whoever means a token: no sign, no zeros in
 * front. -1: it is none. */
static int32_t token_of(const char *key, int32_t limit)
{
    int64_t id = 0;

    if (key[0] == '\0' || (key[0] == '0' && key[1] != '\0'))
        return -1;
    for (; *key; key++) {
        if (*key < '0' || *key > '9')
            return -1;
        id = id * 10 + (*key - '0');
        if (id >= limit)
            return -1;
    }
    return (int32_t)id;
}

static um_status read_bias(const char *key, const json_t *value, const um_api_rules *rules,
                           const char *parent, um_logit_edit *out, um_err *err)
{
    umi_label label = umi_labelled("%s.%.64s", parent, key);
    double bias = json_number_value(value);

    *out = (um_logit_edit){.token = token_of(key, rules->vocab), .repetition = 1.0f};
    if (out->token < 0)
        return um_fail_field(err, UM_E_VALUE, label.text,
                             "a key of `%s` is \"%.32s\"; token ids of this model are 0 to %d",
                             parent, key, rules->vocab - 1);
    if (out->token == rules->mask_token)
        return um_fail_field(err, UM_E_VALUE, label.text,
                             "a key of `%s` is %d, the mask token, which is never predicted",
                             parent, out->token);
    if (!json_is_number(value))
        return umi_wrong_type(value, label.text, "a number", err);
    if (!(bias >= -BIAS_MAX))
        return um_fail_field(err, UM_E_DEC_BELOW_MIN, label.text, "`%s` is %g; the minimum is %g",
                             label.text, bias, -BIAS_MAX);
    if (!(bias <= BIAS_MAX))
        return um_fail_field(err, UM_E_DEC_ABOVE_MAX, label.text, "`%s` is %g; the maximum is %g",
                             label.text, bias, BIAS_MAX);
    out->bias = (float)bias;
    return UM_OK;
}

um_status umi_read_logit_bias(umi_reading *reading, um_json *value, const char *label, um_err *err)
{
    um_api_request *request = reading->request;
    size_t count = json_object_size(value);
    um_status status = UM_OK;
    const char *key;
    json_t *bias;

    if (count > UM_BIASES_MAX)
        return um_fail_field(err, UM_E_VALUE, label, "`%s` has %zu keys; the maximum is %d", label,
                             count, UM_BIASES_MAX);
    if (count == 0)
        return UM_OK;
    request->biases = um_mem_calloc(count, sizeof(*request->biases));
    if (!request->biases)
        return um_fail_field(err, UM_E_OVERLOADED, label, "no memory for `%s`", label);
    json_object_foreach(value, key, bias)
    {
        if (status == UM_OK)
            status = read_bias(key, bias, reading->rules, label,
                               &request->biases[request->bias_count++], err);
    }
    return status;
}

/* ---- formats and calls ---------------------------------------------------------------------- */

/* chat's response_format and Responses' text.format: types that would need constrained decoding are
 * refused, since whoever asks for one trusts the answer's shape. */
um_status umi_read_format(umi_reading *reading, um_json *value, const char *label, um_err *err)
{
    umi_label field = umi_labelled("%s.type", label);
    const json_t *type;
    um_status status = umi_need_string(value, "type", label, &type, err);

    (void)reading;
    if (status != UM_OK || umi_is_word(type, "text"))
        return status;
    if (umi_is_word(type, "json_object") || umi_is_word(type, "json_schema"))
        return um_fail_field(err, UM_E_UNSUPPORTED_PARAM, label,
                             "`%s` \"%s\" is not supported: this build has no constrained "
                             "decoding",
                             label, json_string_value(type));
    return um_fail_field(err, UM_E_VALUE, field.text,
                         "`%s` is \"%.32s\"; expected one of: text json_object json_schema",
                         field.text, json_string_value(type));
}

um_status umi_read_tools(umi_reading *reading, um_json *value, const char *label, um_err *err)
{
    size_t count = json_array_size(value);

    (void)reading;
    if (count == 0)
        return UM_OK;
    if (count > TOOLS_MAX)
        return um_fail_field(err, UM_E_ARRAY_ABOVE_MAX, label,
                             "`%s` has %zu entries; the maximum is %d", label, count, TOOLS_MAX);
    for (size_t i = 0; i < count; i++) {
        const json_t *tool = json_array_get(value, i), *type;
        umi_label element = umi_labelled("%s[%zu]", label, i);
        umi_label field = umi_labelled("%s.type", element.text);
        um_status status;

        if (!json_is_object(tool))
            return umi_wrong_type(tool, element.text, "an object", err);
        status = umi_need_string(tool, "type", element.text, &type, err);
        if (status != UM_OK)
            return status;
        if (!umi_is_word(type, "function"))
            return um_fail_field(err, UM_E_UNSUPPORTED_VALUE, field.text,
                                 "`%s` is \"%.32s\"; the only type of tools is function",
                                 field.text, json_string_value(type));
    }
    return um_fail_field(err, UM_E_UNSUPPORTED_PARAM, label,
                         "`%s` is not supported: this model has no syntax for calls", label);
}

um_status umi_read_tool_choice(umi_reading *reading, um_json *value, const char *label, um_err *err)
{
    (void)reading;
    if (umi_is_word(value, "none") || umi_is_word(value, "auto"))
        return UM_OK;
    if (json_is_string(value) && !umi_is_word(value, "required"))
        return um_fail_field(err, UM_E_VALUE, label,
                             "`%s` is \"%.32s\"; expected one of: none auto required", label,
                             json_string_value(value));
    if (!json_is_string(value) && !json_is_object(value))
        return umi_wrong_type(value, label, "a string or an object", err);
    return um_fail_field(err, UM_E_UNSUPPORTED_PARAM, label,
                         "`%s` asks for a call, but this model has no syntax for calls", label);
}

/* ---- who and what for ----------------------------------------------------------------------- */

static size_t code_points(const char *text, size_t length)
{
    size_t count = 0;

    for (size_t i = 0; i < length; i++)
        count += ((unsigned char)text[i] & 0xc0) != 0x80;
    return count;
}

static um_status check_metadata(const json_t *object, const char *label, um_err *err)
{
    const char *key;
    json_t *member;

    if (json_object_size(object) > METADATA_PAIRS_MAX)
        return um_fail_field(err, UM_E_VALUE, label, "`%s` has %zu pairs; the maximum is %d", label,
                             json_object_size(object), METADATA_PAIRS_MAX);
    json_object_foreach((json_t *)object, key, member)
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

/* Responses repeats it. */
um_status umi_read_metadata(umi_reading *reading, um_json *value, const char *label, um_err *err)
{
    um_buf *out = &reading->request->responses.metadata;
    um_status status = check_metadata(value, label, err);
    const char *key;
    json_t *member;

    if (status != UM_OK || reading->request->endpoint != UM_ENDPOINT_RESPONSES)
        return status;
    json_object_foreach(value, key, member)
    {
        um_buf_char(out, out->length == 0 ? '{' : ',');
        um_json_append_string(out, key, strlen(key));
        um_buf_char(out, ':');
        um_json_append_string(out, json_string_value(member), json_string_length(member));
    }
    if (out->length > 0)
        um_buf_char(out, '}');
    return UM_OK;
}

um_status umi_read_user(umi_reading *reading, um_json *value, const char *label, um_err *err)
{
    um_api_request *request = reading->request;

    (void)label;
    (void)err;
    request->user = json_string_value(value);
    if (request->endpoint == UM_ENDPOINT_RESPONSES)
        um_json_append_string(&request->responses.user, request->user, json_string_length(value));
    return UM_OK;
}
