/*
 * What a prompt is made of: chat messages, the four forms of `prompt`, what stands behind a gap, and
 * a first draft of the answer.
 */
#include "server/request_internal.h"

#include <jansson.h>
#include <string.h>

#include "core/base/mem.h"

typedef struct role_row {
    const char *name;
    const char *rendered; /* what the template sees */
    bool refusals;        /* parts of type refusal are allowed */
    bool answers_tool;    /* tool_call_id is required */
} role_row;

static const role_row roles[] = {
    {.name = "system", .rendered = "system"},
    {.name = "developer", .rendered = "system"},
    {.name = "user", .rendered = "user"},
    {.name = "assistant", .rendered = "assistant", .refusals = true},
    {.name = "tool", .rendered = "tool", .answers_tool = true},
};

static const umi_part_rule plain_parts = {.types = "text"};
static const umi_part_rule assistant_parts = {.types = "text", .refusal = "refusal"};

static const role_row *find_role(const json_t *name)
{
    for (size_t i = 0; i < UM_COUNT_OF(roles); i++)
        if (umi_is_word(name, roles[i].name))
            return &roles[i];
    return NULL;
}

const char *umi_rendered_role(const um_json *name)
{
    const role_row *role = find_role(name);

    return role ? role->rendered : NULL;
}

um_status umi_need_string(const um_json *object, const char *key, const char *parent,
                          const um_json **out, um_err *err)
{
    const json_t *value = json_object_get(object, key);
    umi_label label = umi_labelled("%s.%s", parent, key);

    *out = value;
    if (!value || json_is_null(value))
        return um_fail_field(err, UM_E_MISSING, label.text, "`%s` is missing", label.text);
    if (!json_is_string(value))
        return umi_wrong_type(value, label.text, "a string", err);
    return UM_OK;
}

/* ---- content -------------------------------------------------------------------------------- */

static um_status append_part(const json_t *part, const umi_part_rule *rule, const char *label,
                             um_buf *out, um_err *err)
{
    const json_t *type, *text;
    const char *key = "text";
    um_status status;

    if (!json_is_object(part))
        return umi_wrong_type(part, label, "an object", err);
    status = umi_need_string(part, "type", label, &type, err);
    if (status != UM_OK)
        return status;
    if (rule->refusal && umi_is_word(type, rule->refusal)) {
        key = rule->refusal;
    } else if (!umi_has_word(rule->types, json_string_value(type), json_string_length(type))) {
        umi_label type_label = umi_labelled("%s.type", label);

        return um_fail_field(err, UM_E_UNSUPPORTED_VALUE, type_label.text,
                             "`%s` is \"%.32s\"; this model takes parts of type: %s",
                             type_label.text, json_string_value(type), rule->types);
    }
    status = umi_need_string(part, key, label, &text, err);
    if (status == UM_OK)
        um_buf_append(out, json_string_value(text), json_string_length(text));
    return status;
}

static um_status join_parts(json_t *object, const json_t *parts, const umi_part_rule *rule,
                            const char *label, um_err *err)
{
    um_status status = UM_OK;
    um_buf joined = {0};
    json_t *text = NULL;

    if (json_array_size(parts) == 0)
        return um_fail_field(err, UM_E_EMPTY_ARRAY, label, "`%s` is empty", label);
    for (size_t i = 0; i < json_array_size(parts) && status == UM_OK; i++) {
        umi_label part_label = umi_labelled("%s[%zu]", label, i);

        if (i > 0)
            um_buf_char(&joined, '\n');
        status = append_part(json_array_get(parts, i), rule, part_label.text, &joined, err);
    }
    if (status == UM_OK) {
        text = um_buf_failed(&joined) ? NULL : json_stringn(um_buf_view(&joined), joined.length);
        if (!text || json_object_set_new(object, "content", text) != 0)
            status = um_fail_field(err, UM_E_OVERLOADED, label, "no memory for `%s`", label);
    }
    um_buf_deinit(&joined);
    return status;
}

um_status umi_read_content(um_json *object, const umi_part_rule *parts, const char *parent,
                           const char **out, size_t *length, um_err *err)
{
    const json_t *content = json_object_get(object, "content");
    umi_label field = umi_labelled("%s.content", parent);

    if (!content || json_is_null(content))
        return um_fail_field(err, UM_E_MISSING, field.text, "`%s` is missing", field.text);
    if (json_is_array(content)) {
        um_status status = join_parts(object, content, parts, field.text, err);

        if (status != UM_OK)
            return status;
        content = json_object_get(object, "content");
    }
    if (!json_is_string(content))
        return umi_wrong_type(content, field.text, "a string or an array of text parts", err);
    *out = json_string_value(content);
    *length = json_string_length(content);
    return UM_OK;
}

um_status umi_read_prediction(umi_reading *reading, um_json *value, const char *label, um_err *err)
{
    um_api_request *request = reading->request;
    const json_t *type;
    const char *text = NULL;
    size_t length = 0;
    um_status status = umi_need_string(value, "type", label, &type, err);

    if (status == UM_OK && !umi_is_word(type, "content")) {
        umi_label field = umi_labelled("%s.type", label);

        return um_fail_field(err, UM_E_VALUE, field.text, "`%s` is \"%.32s\"; expected content",
                             field.text, json_string_value(type));
    }
    if (status == UM_OK)
        status = umi_read_content(value, &plain_parts, label, &text, &length, err);
    if (status == UM_OK && length > 0) {
        request->prediction = text;
        request->prediction_length = length;
    }
    return status;
}

/* ---- messages ------------------------------------------------------------------------------- */

/* Fields of a message that belong to function calling, which no template here can express. */
static um_status refuse_calls(const json_t *message, const char *label, um_err *err)
{
    static const char *const keys[] = {"tool_calls", "function_call"};

    for (size_t i = 0; i < UM_COUNT_OF(keys); i++) {
        const json_t *value = json_object_get(message, keys[i]);
        umi_label field;

        if (!value || json_is_null(value) || (json_is_array(value) && json_array_size(value) == 0))
            continue;
        field = umi_labelled("%s.%s", label, keys[i]);
        return um_fail_field(err, UM_E_UNSUPPORTED_PARAM, field.text,
                             "`%s` is not supported: this model has no syntax for calls",
                             field.text);
    }
    return UM_OK;
}

static um_status read_message(json_t *message, const char *label, um_message *out, um_err *err)
{
    const json_t *value;
    const role_row *role;
    um_status status;

    if (!json_is_object(message))
        return umi_wrong_type(message, label, "an object", err);
    status = umi_need_string(message, "role", label, &value, err);
    if (status != UM_OK)
        return status;
    role = find_role(value);
    if (!role) {
        umi_label field = umi_labelled("%s.role", label);

        return um_fail_field(err, UM_E_VALUE, field.text,
                             "`%s` is \"%.32s\"; expected one of system, developer, user, "
                             "assistant, tool",
                             field.text, json_string_value(value));
    }
    if (role->answers_tool)
        status = umi_need_string(message, "tool_call_id", label, &value, err);
    if (status == UM_OK)
        status = refuse_calls(message, label, err);
    if (status == UM_OK)
        status = umi_read_content(message, role->refusals ? &assistant_parts : &plain_parts, label,
                                  &out->content, &out->content_length, err);
    out->role = role->rendered;
    return status;
}

um_status umi_make_messages(um_api_request *request, size_t count, size_t more, const char *label,
                            um_err *err)
{
    if (count == 0)
        return um_fail_field(err, UM_E_EMPTY_ARRAY, label, "`%s` is empty", label);
    if (count > UM_MESSAGES_MAX)
        return um_fail_field(err, UM_E_ARRAY_ABOVE_MAX, label,
                             "`%s` has %zu entries; the maximum is %d", label, count,
                             UM_MESSAGES_MAX);
    request->messages = um_mem_calloc(count + more, sizeof(*request->messages));
    if (!request->messages)
        return um_fail_field(err, UM_E_OVERLOADED, label, "no memory for %zu messages", count);
    return UM_OK;
}

um_status umi_read_messages(umi_reading *reading, um_json *value, const char *label, um_err *err)
{
    um_api_request *request = reading->request;
    size_t count = json_array_size(value);
    um_status status;

    if (request->prompt_count > 0)
        return umi_contradicts(label, err);
    status = umi_make_messages(request, count, 0, label, err);
    if (status != UM_OK)
        return status;
    request->message_count = count;
    for (size_t i = 0; i < count && status == UM_OK; i++) {
        umi_label message_label = umi_labelled("%s[%zu]", label, i);

        status =
            read_message(json_array_get(value, i), message_label.text, &request->messages[i], err);
    }
    return status;
}

um_status umi_read_edit_message(umi_reading *reading, um_json *value, const char *label,
                                um_err *err)
{
    umi_label field = umi_labelled("%s[0].role", label);
    um_status status;

    if (json_array_size(value) > 1)
        return um_fail_field(err, UM_E_ARRAY_ABOVE_MAX, label,
                             "`%s` has %zu entries; an edit takes one user message", label,
                             json_array_size(value));
    status = umi_read_messages(reading, value, label, err);
    if (status == UM_OK && strcmp(reading->request->messages[0].role, "user") != 0)
        return um_fail_field(err, UM_E_VALUE, field.text,
                             "`%s` is \"%s\"; an edit takes one user message", field.text,
                             reading->request->messages[0].role);
    return status;
}

/* ---- prompt --------------------------------------------------------------------------------- */

static um_status refuse_id(const json_t *element, const um_api_rules *rules, const char *label,
                           um_err *err)
{
    long long id = json_integer_value(element);

    if (!json_is_integer(element))
        return umi_wrong_type(element, label, "a token id", err);
    if (id == rules->mask_token)
        return um_fail_field(err, UM_E_VALUE, label,
                             "`%s` is %lld, the mask token, which a prompt cannot hold", label, id);
    return um_fail_field(err, UM_E_VALUE, label,
                         "`%s` is %lld; token ids of this model are 0 to %d", label, id,
                         rules->vocab - 1);
}

um_status umi_read_ids(const um_json *array, const um_api_rules *rules, bool masks,
                       const char *label, int32_t *ids, um_err *err)
{
    for (size_t i = 0; i < json_array_size(array); i++) {
        const json_t *element = json_array_get(array, i);
        json_int_t id = json_integer_value(element);

        if (!json_is_integer(element) || id < 0 || id >= rules->vocab ||
            (!masks && !rules->mask_is_text && id == rules->mask_token))
            return refuse_id(element, rules, umi_labelled("%s[%zu]", label, i).text, err);
        ids[i] = (int32_t)id;
    }
    return UM_OK;
}

static um_status read_id_prompt(const json_t *array, const um_api_rules *rules, bool masks,
                                const char *label, um_api_prompt *out, um_err *err)
{
    size_t count = json_array_size(array);

    out->ids = um_mem_calloc(count, sizeof(*out->ids));
    if (!out->ids)
        return um_fail_field(err, UM_E_OVERLOADED, label, "no memory for %zu token ids", count);
    out->id_count = count;
    return umi_read_ids(array, rules, masks, label, out->ids, err);
}

static void read_text(const json_t *value, um_api_prompt *out)
{
    out->text = json_string_value(value);
    out->length = json_string_length(value);
}

/* Array of strings or of arrays of ids: the first entry decides, the others must be alike. */
static um_status read_list(umi_reading *reading, const json_t *value, const char *label,
                           um_err *err)
{
    um_api_request *request = reading->request;
    size_t count = json_array_size(value);
    bool texts = json_is_string(json_array_get(value, 0));
    um_status status = UM_OK;

    if (count > UM_PROMPTS_MAX)
        return um_fail_field(err, UM_E_ARRAY_ABOVE_MAX, label,
                             "`%s` has %zu entries; the maximum is %d", label, count,
                             UM_PROMPTS_MAX);
    for (size_t i = 0; i < count && status == UM_OK; i++) {
        const json_t *element = json_array_get(value, i);
        umi_label field = umi_labelled("%s[%zu]", label, i);

        if (texts ? !json_is_string(element) : !json_is_array(element))
            return umi_wrong_type(
                element, field.text,
                texts ? "a string like the others" : "an array of token ids like the others", err);
        if (!texts && json_array_size(element) == 0)
            return um_fail_field(err, UM_E_EMPTY_ARRAY, field.text, "`%s` is empty", field.text);
        request->prompt_count = i + 1;
        if (texts)
            read_text(element, &request->prompts[i]);
        else
            status = read_id_prompt(element, reading->rules, false, field.text,
                                    &request->prompts[i], err);
    }
    return status;
}

um_status umi_read_prompt(umi_reading *reading, um_json *value, const char *label, um_err *err)
{
    um_api_request *request = reading->request;
    const json_t *first = json_array_get(value, 0);

    if (json_is_array(value) && !first)
        return um_fail_field(err, UM_E_EMPTY_ARRAY, label, "`%s` is empty", label);
    if (json_is_string(first) || json_is_array(first))
        return read_list(reading, value, label, err);
    if (json_is_string(value))
        return umi_read_text_prompt(reading, value, label, err);
    if (json_is_integer(first)) {
        request->prompt_count = 1;
        return read_id_prompt(value, reading->rules, false, label, &request->prompts[0], err);
    }
    return umi_wrong_type(value, label,
                          "a string, an array of strings, an array of token ids or an array of "
                          "arrays of token ids",
                          err);
}

um_status umi_read_text_prompt(umi_reading *reading, um_json *value, const char *label, um_err *err)
{
    if (reading->request->prompt_count > 0)
        return umi_contradicts(label, err);
    read_text(value, &reading->request->prompts[0]);
    reading->request->prompt_count = 1;
    return UM_OK;
}

um_status umi_read_tokens(umi_reading *reading, um_json *value, const char *label, um_err *err)
{
    reading->request->prompt_count = 1;
    if (json_array_size(value) == 0)
        return UM_OK;
    return read_id_prompt(value, reading->rules, true, label, &reading->request->prompts[0], err);
}

um_status umi_read_suffix(umi_reading *reading, um_json *value, const char *label, um_err *err)
{
    um_api_request *request = reading->request;

    if (json_string_length(value) == 0)
        return UM_OK;
    if (request->prompt_count != 1 || !request->prompts[0].text)
        return um_fail_field(err, UM_E_VALUE, label, "`%s` needs `prompt` to be one text", label);
    request->suffix = json_string_value(value);
    request->suffix_length = json_string_length(value);
    return UM_OK;
}
