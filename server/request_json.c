/* A whole body: JSON, model, the fields of the tables, and what they have to do with each other. */
#include "server/request_json.h"

#include <jansson.h>

#include "core/base/mem.h"
#include "server/request_internal.h"

static um_status check_model(const json_t *body, const um_api_rules *rules, um_err *err)
{
    const json_t *value = json_object_get(body, "model");
    const char *name = json_string_value(value);

    if (!value || json_is_null(value))
        return UM_OK; /* the only model there is */
    if (!name)
        return umi_wrong_type(value, "model", "a string", err);
    if (umi_is_word(value, "") || umi_is_word(value, rules->model_id))
        return UM_OK;
    for (size_t i = 0; i < rules->model_alias_count; i++)
        if (umi_is_word(value, rules->model_aliases[i]))
            return UM_OK;
    return um_fail_field(err, UM_E_MODEL_NOT_FOUND, "model",
                         "The model `%.128s` does not exist; this server has `%.128s`", name,
                         rules->model_id);
}

static um_status check_together(um_api_request *request, const um_api_rules *rules, um_err *err)
{
    if (request->has_stream_options && !request->stream)
        return um_fail_field(err, UM_E_VALUE, "stream_options",
                             "`stream_options` is only allowed when `stream` is true");
    if (request->has_max_completion_tokens) {
        request->given.has_max_tokens = true;
        request->given.max_tokens = request->max_completion_tokens;
    }
    return um_params_check(&request->given, rules->limits, err);
}

um_status um_api_request_parse(um_endpoint endpoint, const char *body, size_t length,
                               const um_api_rules *rules, um_api_request *out, um_err *err)
{
    umi_reading reading = {.request = out, .rules = rules};
    um_status status;

    *out = (um_api_request){.endpoint = endpoint};
    status = um_json_parse(body, length, &out->body, err);
    if (status == UM_OK && !json_is_object(out->body))
        status = um_fail(err, UM_E_JSON, "the request body must be a JSON object");
    if (status == UM_OK)
        status = check_model(out->body, rules, err);
    if (status == UM_OK)
        status = umi_take_table(&umi_top_table, &reading, out->body, err);
    if (status == UM_OK)
        status = umi_take_aliases(&reading, out->body, err);
    if (status == UM_OK)
        status = umi_find_unknown(&umi_top_table, &reading, out->body, err);
    if (status == UM_OK)
        status = check_together(out, rules, err);
    if (status == UM_OK && um_buf_failed(&out->ignored))
        status = um_fail(err, UM_E_OVERLOADED, "no memory for the request");
    if (status != UM_OK)
        um_api_request_deinit(out);
    return status;
}

void um_api_request_drop_body(um_api_request *request)
{
    for (size_t i = 0; i < request->prompt_count; i++)
        um_mem_free(request->prompts[i].ids);
    request->prompt_count = 0;
    um_mem_free(request->messages);
    request->messages = NULL;
    request->message_count = 0;
    um_json_free(request->body);
    request->body = NULL;
    request->user = NULL;
}

void um_api_request_deinit(um_api_request *request)
{
    um_api_request_drop_body(request);
    um_buf_deinit(&request->ignored);
    *request = (um_api_request){0};
}

const char *um_api_prompt_field(um_endpoint endpoint)
{
    return endpoint == UM_ENDPOINT_CHAT ? "messages" : "prompt";
}
