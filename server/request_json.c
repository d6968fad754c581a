/* A whole body: JSON, model, the fields of the tables, and what they have to do with each other. */
#include "server/request_json.h"

#include <jansson.h>
#include <string.h>

#include "core/base/mem.h"
#include "server/request_internal.h"

/* ---- model ---------------------------------------------------------------------------------- */

static bool is_served(const char *name, size_t length, const um_api_rules *rules)
{
    if (strlen(rules->model_id) == length && memcmp(rules->model_id, name, length) == 0)
        return true;
    for (size_t i = 0; i < rules->model_alias_count; i++)
        if (strlen(rules->model_aliases[i]) == length &&
            memcmp(rules->model_aliases[i], name, length) == 0)
            return true;
    return false;
}

/* "id" or "id@preset"; an id may hold an @ itself. */
static um_status check_model(umi_reading *reading, const json_t *body, um_err *err)
{
    const json_t *value = json_object_get(body, "model");
    const char *name = json_string_value(value);
    size_t length = json_string_length(value), at = length;
    um_preset preset;

    if (!value || json_is_null(value))
        return UM_OK; /* the only model there is */
    if (!name)
        return umi_wrong_type(value, "model", "a string", err);
    if (length == 0 || is_served(name, length, reading->rules))
        return UM_OK;
    while (at > 0 && name[at - 1] != '@')
        at--;
    if (at > 0 && is_served(name, at - 1, reading->rules) &&
        umi_find_preset(name + at, length - at, &preset)) {
        umi_take_preset(reading, preset, UM_PRESET_OF_MODEL);
        return UM_OK;
    }
    return um_fail_field(err, UM_E_MODEL_NOT_FOUND, "model",
                         "The model `%.128s` does not exist; this server has `%.128s`", name,
                         reading->rules->model_id);
}

/* ---- what fields have to do with each other -------------------------------------------------- */

static um_status check_stream(umi_reading *reading, um_err *err)
{
    um_api_request *request = reading->request;
    const char *label = "diffusion.stream";

    if (request->has_stream_options && !request->stream)
        return um_fail_field(err, UM_E_VALUE, "stream_options",
                             "`stream_options` is only allowed when `stream` is true");
    if (reading->has_diffusing && reading->has_mode &&
        reading->diffusing != (request->mode == UM_STREAM_REPLACE))
        return umi_contradicts("diffusing", err);
    if (reading->diffusing && !reading->has_mode) {
        request->mode = UM_STREAM_REPLACE;
        label = "diffusing";
    }
    if (request->mode != UM_STREAM_SETTLED && !request->stream)
        return um_fail_field(err, UM_E_VALUE, label,
                             "`%s`: drafts are only shown when `stream` is true", label);
    return UM_OK;
}

/* The positions of a template and of a prediction that are not the model's have no log-probability
 * of a choice. */
static um_status check_filled(const um_api_request *request, um_err *err)
{
    const char *filled = request->part_count > 0 ? "diffusion.template" : "prediction";

    if (request->part_count > 0 && request->prompt_count > 0)
        return um_fail_field(err, UM_E_CONFLICT, "diffusion.template",
                             "`diffusion.template` is the prompt: it excludes `prompt`");
    if (request->part_count > 0 && request->echo_prompt)
        return um_fail_field(err, UM_E_CONFLICT, "echo",
                             "`echo` has no effect with `diffusion.template`, whose texts are "
                             "part of the answer");
    if (request->given.wants_logprobs && (request->part_count > 0 || request->prediction))
        return um_fail_field(err, UM_E_UNSUPPORTED_PARAM, "logprobs",
                             "`logprobs` is not supported with `%s`, whose tokens the model did "
                             "not choose",
                             filled);
    return UM_OK;
}

static um_status check_lines(const umi_reading *reading, um_err *err)
{
    const um_api_request *request = reading->request;

    if (request->echo_prompt && (request->suffix || request->given.wants_logprobs))
        return um_fail_field(err, UM_E_CONFLICT, "echo", "`echo` is not possible with `%s`",
                             request->suffix ? "suffix" : "logprobs");
    if (reading->has_best_of && reading->best_of != request->choices)
        return um_fail_field(err, UM_E_UNSUPPORTED_PARAM, "best_of",
                             "`best_of` is %lld; it must equal `n`, which is %lld",
                             (long long)reading->best_of, (long long)request->choices);
    return UM_OK;
}

static um_status check_messages(const um_api_request *request, um_err *err)
{
    const um_message *last =
        request->message_count > 0 ? &request->messages[request->message_count - 1] : NULL;

    if (request->continue_final_message && last && strcmp(last->role, "assistant") != 0)
        return um_fail_field(err, UM_E_VALUE, "messages",
                             "`continue_final_message` needs the last of `messages` to be the "
                             "assistant's; it is of role \"%s\"",
                             last->role);
    return UM_OK;
}

static um_status check_together(umi_reading *reading, um_err *err)
{
    um_api_request *request = reading->request;
    um_params_given *given = &request->given;
    um_status status = check_stream(reading, err);

    if (status == UM_OK)
        status = check_filled(request, err);
    if (status == UM_OK)
        status = check_lines(reading, err);
    if (status == UM_OK)
        status = check_messages(request, err);
    if (request->has_max_completion_tokens) {
        given->has_max_tokens = true;
        given->max_tokens = request->max_completion_tokens;
    }
    if (given->has_infill_length && given->infill_length == 0 && !request->suffix &&
        request->endpoint != UM_ENDPOINT_EDIT)
        given->has_infill_length = false; /* "auto" without a gap says nothing */
    if (request->endpoint == UM_ENDPOINT_RESPONSES) {
        request->responses.wants_logprobs = given->wants_logprobs;
        request->responses.max_output_tokens = given->has_max_tokens ? given->max_tokens : 0;
    }
    return status == UM_OK ? um_params_check(given, reading->rules->limits, err) : status;
}

/* ---- the whole body ------------------------------------------------------------------------- */

static bool ran_out_of_memory(const um_api_request *request)
{
    return um_buf_failed(&request->ignored) || um_buf_failed(&request->responses.instructions) ||
           um_buf_failed(&request->responses.metadata) || um_buf_failed(&request->responses.user);
}

um_status um_api_request_parse(um_endpoint endpoint, const char *body, size_t length,
                               const um_api_rules *rules, um_api_request *out, um_err *err)
{
    umi_reading reading = {.request = out, .rules = rules};
    um_status status;

    *out = (um_api_request){
        .endpoint = endpoint, .choices = 1, .draft.interval_ms = UM_DRAFT_INTERVAL_MS};
    status = um_json_parse(body, length, &out->body, err);
    if (status == UM_OK && !json_is_object(out->body))
        status = um_fail(err, UM_E_JSON, "the request body must be a JSON object");
    if (status == UM_OK)
        status = check_model(&reading, out->body, err);
    if (status == UM_OK)
        status = umi_take_table(&umi_top_table, &reading, out->body, err);
    if (status == UM_OK)
        status = umi_take_aliases(&reading, out->body, err);
    if (status == UM_OK)
        status = umi_find_unknown(&umi_top_table, &reading, out->body, err);
    if (status == UM_OK)
        status = check_together(&reading, err);
    if (status == UM_OK && ran_out_of_memory(out))
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
    um_mem_free(request->parts);
    request->parts = NULL;
    request->part_count = 0;
    um_json_free(request->body);
    request->body = NULL;
    request->suffix = NULL;
    request->prediction = NULL;
    request->user = NULL;
}

void um_api_request_deinit(um_api_request *request)
{
    um_api_request_drop_body(request);
    um_mem_free(request->biases);
    um_buf_deinit(&request->responses.instructions);
    um_buf_deinit(&request->responses.metadata);
    um_buf_deinit(&request->responses.user);
    um_buf_deinit(&request->ignored);
    *request = (um_api_request){0};
}

const char *um_api_prompt_field(um_endpoint endpoint)
{
    switch (endpoint) {
    case UM_ENDPOINT_CHAT:
    case UM_ENDPOINT_EDIT:
        return "messages";
    case UM_ENDPOINT_RESPONSES:
        return "input";
    case UM_ENDPOINT_DETOKENIZE:
        return "tokens";
    case UM_ENDPOINT_COMPLETIONS:
    case UM_ENDPOINT_FIM:
    case UM_ENDPOINT_TOKENIZE:
        break;
    }
    return "prompt";
}
