/*
 * The prompt of a request: chat messages, or one of the four forms of `prompt`.
 */
#include "server/request_internal.h"

#include <jansson.h>
#include <string.h>

#include "core/base/mem.h"

#define MESSAGES_MAX 2048

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

static const role_row *find_role(const json_t *name)
{
    for (size_t i = 0; i < UM_COUNT_OF(roles); i++)
        if (umi_is_word(name, roles[i].name))
            return &roles[i];
    return NULL;
}

/* A member that must be there, not null, and a string. */
static um_status need_string(const json_t *object, const char *key, const char *parent,
                             const json_t **out, um_err *err)
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

static um_status append_part(const json_t *part, const role_row *role, const char *label,
                             um_buf *out, um_err *err)
{
    const json_t *type, *text;
    const char *key;
    um_status status;

    if (!json_is_object(part))
        return umi_wrong_type(part, label, "an object", err);
    status = need_string(part, "type", label, &type, err);
    if (status != UM_OK)
        return status;
    key = json_string_value(type);
    if (!umi_is_word(type, "text") && !(role->refusals && umi_is_word(type, "refusal"))) {
        umi_label type_label = umi_labelled("%s.type", label);

        return um_fail_field(err, UM_E_UNSUPPORTED_VALUE, type_label.text,
                             "`%s` is \"%.32s\"; this model takes parts of type \"text\"",
                             type_label.text, key);
    }
    status = need_string(part, key, label, &text, err);
    if (status == UM_OK)
        um_buf_append(out, json_string_value(text), json_string_length(text));
    return status;
}

/* Text parts are joined with one newline; the joined text takes the parts' place in the body, which
 * thereby owns it. */
static um_status join_parts(json_t *message, const json_t *parts, const role_row *role,
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
        status = append_part(json_array_get(parts, i), role, part_label.text, &joined, err);
    }
    if (status == UM_OK) {
        text = um_buf_failed(&joined) ? NULL : json_stringn(um_buf_view(&joined), joined.length);
        if (!text || json_object_set_new(message, "content", text) != 0)
            status = um_fail_field(err, UM_E_OVERLOADED, label, "no memory for `%s`", label);
    }
    um_buf_deinit(&joined);
    return status;
}

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

static um_status read_content(json_t *message, const role_row *role, const char *label,
                              um_message *out, um_err *err)
{
    const json_t *content = json_object_get(message, "content");
    umi_label field = umi_labelled("%s.content", label);

    if (!content || json_is_null(content))
        return um_fail_field(err, UM_E_MISSING, field.text, "`%s` is missing", field.text);
    if (json_is_array(content)) {
        um_status status = join_parts(message, content, role, field.text, err);

        if (status != UM_OK)
            return status;
        content = json_object_get(message, "content");
    }
    if (!json_is_string(content))
        return umi_wrong_type(content, field.text, "a string or an array of text parts", err);
    out->content = json_string_value(content);
    out->content_length = json_string_length(content);
    return UM_OK;
}

static um_status read_message(json_t *message, const char *label, um_message *out, um_err *err)
{
    const json_t *value;
    const role_row *role;
    um_status status;

    if (!json_is_object(message))
        return umi_wrong_type(message, label, "an object", err);
    status = need_string(message, "role", label, &value, err);
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
        status = need_string(message, "tool_call_id", label, &value, err);
    if (status == UM_OK)
        status = refuse_calls(message, label, err);
    if (status == UM_OK)
        status = read_content(message, role, label, out, err);
    out->role = role->rendered;
    return status;
}

um_status umi_read_messages(umi_reading *reading, um_json *value, const char *label, um_err *err)
{
    size_t count = json_array_size(value);
    um_status status = UM_OK;

    if (!json_is_array(value))
        return umi_wrong_type(value, label, "an array of messages", err);
    if (count == 0)
        return um_fail_field(err, UM_E_EMPTY_ARRAY, label, "`%s` is empty", label);
    if (count > MESSAGES_MAX)
        return um_fail_field(err, UM_E_ARRAY_ABOVE_MAX, label,
                             "`%s` has %zu entries; the maximum is %d", label, count, MESSAGES_MAX);
    reading->request->messages = um_mem_calloc(count, sizeof(*reading->request->messages));
    if (!reading->request->messages)
        return um_fail_field(err, UM_E_OVERLOADED, label, "no memory for %zu messages", count);
    reading->request->message_count = count;
    for (size_t i = 0; i < count && status == UM_OK; i++) {
        umi_label message_label = umi_labelled("%s[%zu]", label, i);

        status = read_message(json_array_get(value, i), message_label.text,
                              &reading->request->messages[i], err);
    }
    return status;
}

/* ---- prompt --------------------------------------------------------------------------------- */

static um_status refuse_id(const json_t *element, const um_api_rules *rules, const char *label,
                           size_t index, um_err *err)
{
    long long id = json_integer_value(element);
    umi_label field = umi_labelled("%s[%zu]", label, index);

    if (!json_is_integer(element))
        return umi_wrong_type(element, field.text, "a token id like the others", err);
    if (id == rules->mask_token)
        return um_fail_field(err, UM_E_VALUE, field.text,
                             "`%s` is %lld, the mask token, which a prompt cannot hold", field.text,
                             id);
    return um_fail_field(err, UM_E_VALUE, field.text,
                         "`%s` is %lld; token ids of this model are 0 to %d", field.text, id,
                         rules->vocab - 1);
}

static um_status read_ids(const json_t *array, const um_api_rules *rules, const char *label,
                          um_api_prompt *out, um_err *err)
{
    size_t count = json_array_size(array);

    if (count == 0)
        return um_fail_field(err, UM_E_EMPTY_ARRAY, label, "`%s` is empty", label);
    out->ids = um_mem_calloc(count, sizeof(*out->ids));
    if (!out->ids)
        return um_fail_field(err, UM_E_OVERLOADED, label, "no memory for %zu token ids", count);
    out->id_count = count;
    for (size_t i = 0; i < count; i++) {
        const json_t *element = json_array_get(array, i);
        json_int_t id = json_integer_value(element);

        if (!json_is_integer(element) || id < 0 || id >= rules->vocab || id == rules->mask_token)
            return refuse_id(element, rules, label, i, err);
        out->ids[i] = (int32_t)id;
    }
    return UM_OK;
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
        if (texts)
            read_text(element, &reading->request->prompts[i]);
        else
            status =
                read_ids(element, reading->rules, field.text, &reading->request->prompts[i], err);
        reading->request->prompt_count = i + 1;
    }
    return status;
}

um_status umi_read_prompt(umi_reading *reading, um_json *value, const char *label, um_err *err)
{
    const json_t *first = json_array_get(value, 0);

    if (json_is_array(value) && !first)
        return um_fail_field(err, UM_E_EMPTY_ARRAY, label, "`%s` is empty", label);
    if (json_is_string(first) || json_is_array(first))
        return read_list(reading, value, label, err);
    reading->request->prompt_count = 1;
    if (json_is_string(value)) {
        read_text(value, &reading->request->prompts[0]);
        return UM_OK;
    }
    if (json_is_integer(first))
        return read_ids(value, reading->rules, label, &reading->request->prompts[0], err);
    return umi_wrong_type(value, label,
                          "a string, an array of strings, an array of token ids or an array of "
                          "arrays of token ids",
                          err);
}
