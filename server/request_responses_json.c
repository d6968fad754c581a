/* What only Responses has: a list of items where chat has messages. */
#include <jansson.h>
#include <string.h>

#include "core/base/mem.h"
#include "server/request_internal.h"

static const umi_part_rule input_parts = {.types = "input_text"};
static const umi_part_rule output_parts = {.types = "output_text input_text", .refusal = "refusal"};

/* The system message in front of the input, which is read next. */
um_status umi_read_instructions(umi_reading *reading, um_json *value, const char *label,
                                um_err *err)
{
    (void)label;
    (void)err;
    reading->instructions = value;
    um_json_append_string(&reading->request->responses.instructions, json_string_value(value),
                          json_string_length(value));
    return UM_OK;
}

static um_status read_message_item(json_t *item, const char *label, um_message *out, um_err *err)
{
    const json_t *role;
    umi_label field = umi_labelled("%s.role", label);
    um_status status = umi_need_string(item, "role", label, &role, err);

    if (status != UM_OK)
        return status;
    out->role = umi_is_word(role, "tool") ? NULL : umi_rendered_role(role);
    if (!out->role)
        return um_fail_field(err, UM_E_VALUE, field.text,
                             "`%s` is \"%.32s\"; expected one of system, developer, user, "
                             "assistant",
                             field.text, json_string_value(role));
    return umi_read_content(item,
                            strcmp(out->role, "assistant") == 0 ? &output_parts : &input_parts,
                            label, &out->content, &out->content_length, err);
}

/* What a tool answered; its call is in the item's call_id, as in chat's tool_call_id. */
static um_status read_output_item(const json_t *item, const char *label, um_message *out,
                                  um_err *err)
{
    const json_t *value;
    um_status status = umi_need_string(item, "call_id", label, &value, err);

    if (status == UM_OK)
        status = umi_need_string(item, "output", label, &value, err);
    if (status != UM_OK)
        return status;
    out->role = "tool";
    out->content = json_string_value(value);
    out->content_length = json_string_length(value);
    return UM_OK;
}

/* Items of type reasoning are another model's thoughts: dropped, as *taken = false tells. */
static um_status read_item(json_t *item, const char *label, um_message *out, bool *taken,
                           um_err *err)
{
    const json_t *type = json_object_get(item, "type");
    umi_label field = umi_labelled("%s.type", label);

    *taken = true;
    if (!json_is_object(item))
        return umi_wrong_type(item, label, "an object", err);
    if (!type || json_is_null(type) || umi_is_word(type, "message"))
        return read_message_item(item, label, out, err);
    if (!json_is_string(type))
        return umi_wrong_type(type, field.text, "a string", err);
    if (umi_is_word(type, "function_call_output"))
        return read_output_item(item, label, out, err);
    *taken = false;
    if (umi_is_word(type, "reasoning"))
        return UM_OK;
    return um_fail_field(err, UM_E_UNSUPPORTED_VALUE, field.text,
                         "`%s` is \"%.32s\"; this model takes items of type message, "
                         "function_call_output, reasoning",
                         field.text, json_string_value(type));
}

static um_status read_items(um_api_request *request, const json_t *value, const char *label,
                            um_err *err)
{
    um_status status = UM_OK;

    for (size_t i = 0; i < json_array_size(value) && status == UM_OK; i++) {
        bool taken;

        status = read_item(json_array_get(value, i), umi_labelled("%s[%zu]", label, i).text,
                           &request->messages[request->message_count], &taken, err);
        request->message_count += taken;
    }
    if (status == UM_OK && request->message_count == 0)
        return um_fail_field(err, UM_E_EMPTY_ARRAY, label, "`%s` has no message", label);
    return status;
}

um_status umi_read_input(umi_reading *reading, um_json *value, const char *label, um_err *err)
{
    um_api_request *request = reading->request;
    size_t count = json_is_array(value) ? json_array_size(value) : 1;
    um_status status;

    if (!json_is_array(value) && !json_is_string(value))
        return umi_wrong_type(value, label, "a string or an array of items", err);
    status = umi_make_messages(request, count, reading->instructions ? 1 : 0, label, err);
    if (status != UM_OK)
        return status;
    if (reading->instructions)
        request->messages[request->message_count++] =
            (um_message){.role = "system",
                         .content = json_string_value(reading->instructions),
                         .content_length = json_string_length(reading->instructions)};
    if (json_is_array(value))
        return read_items(request, value, label, err);
    request->messages[request->message_count++] =
        (um_message){.role = "user",
                     .content = json_string_value(value),
                     .content_length = json_string_length(value)};
    return UM_OK;
}

um_status umi_read_include(umi_reading *reading, um_json *value, const char *label, um_err *err)
{
    for (size_t i = 0; i < json_array_size(value); i++) {
        const json_t *element = json_array_get(value, i);

        if (!json_is_string(element))
            return umi_wrong_type(element, umi_labelled("%s[%zu]", label, i).text, "a string", err);
        if (umi_is_word(element, "message.output_text.logprobs"))
            reading->request->given.wants_logprobs = true;
    }
    return UM_OK;
}
