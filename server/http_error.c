/* The one table from um_status to HTTP. Pure functions; any thread. */
#include "server/http_error.h"

#include <string.h>

#include "core/base/json.h"

#define CALLER "invalid_request_error"
#define RATE "rate_limit_error"
#define OURS "server_error"

static const um_http_error table[] = {
    {UM_E_JSON, 400, CALLER, "invalid_json"},
    {UM_E_MISSING, 400, CALLER, "missing_required_parameter"},
    {UM_E_TYPE, 400, CALLER, "invalid_type"},
    {UM_E_VALUE, 400, CALLER, "invalid_value"},
    {UM_E_EMPTY_ARRAY, 400, CALLER, "empty_array"},
    {UM_E_ARRAY_ABOVE_MAX, 400, CALLER, "array_above_max_length"},
    {UM_E_STRING_ABOVE_MAX, 400, CALLER, "string_above_max_length"},
    {UM_E_INT_BELOW_MIN, 400, CALLER, "integer_below_min_value"},
    {UM_E_INT_ABOVE_MAX, 400, CALLER, "integer_above_max_value"},
    {UM_E_DEC_BELOW_MIN, 400, CALLER, "decimal_below_min_value"},
    {UM_E_DEC_ABOVE_MAX, 400, CALLER, "decimal_above_max_value"},
    {UM_E_UNSUPPORTED_PARAM, 400, CALLER, "unsupported_parameter"},
    {UM_E_UNSUPPORTED_VALUE, 400, CALLER, "unsupported_value"},
    {UM_E_UNKNOWN_PARAM, 400, CALLER, "unknown_parameter"},
    {UM_E_CONFLICT, 400, CALLER, "conflicting_parameters"},
    {UM_E_CONTEXT_LENGTH, 400, CALLER, "context_length_exceeded"},
    {UM_E_MODEL_NOT_FOUND, 404, CALLER, "model_not_found"},
    {UM_E_QUEUE_FULL, 429, RATE, "queue_full"},
    {UM_E_QUEUE_TIMEOUT, 429, RATE, "queue_timeout"},
    {UM_E_LOADING, 503, OURS, "model_loading"},
    {UM_E_DRAINING, 503, OURS, "draining"},
    {UM_E_OVERLOADED, 503, OURS, "overloaded"},
    {UM_E_NOMEM, 503, OURS, "overloaded"},
    {UM_E_SHUTDOWN, 503, OURS, "server_shutdown"},
    {UM_E_TIMEOUT, 504, OURS, "generation_timeout"},
    {UM_E_DEVICE, 500, OURS, "engine_error"},
    {UM_E_ENGINE, 503, OURS, "engine_dead"}, /* another replica may have a live one */
    {UM_E_INTERNAL, 500, OURS, "internal_error"},
};

const um_http_error *um_http_error_find(um_status status)
{
    for (size_t i = 0; i < UM_COUNT_OF(table); i++)
        if (table[i].status == status)
            return &table[i];
    return &table[UM_COUNT_OF(table) - 1];
}

static void append_text(um_buf *out, const char *text)
{
    um_json_append_string(out, text, strlen(text));
}

static void append_text_or_null(um_buf *out, const char *text)
{
    if (text && *text)
        append_text(out, text);
    else
        um_buf_text(out, "null");
}

void um_http_error_custom(const char *message, const char *type, const char *param,
                          const char *code, um_buf *out)
{
    um_buf_text(out, "{\"error\":{\"message\":");
    append_text(out, message);
    um_buf_text(out, ",\"type\":");
    append_text(out, type);
    um_buf_text(out, ",\"param\":");
    append_text_or_null(out, param);
    um_buf_text(out, ",\"code\":");
    append_text_or_null(out, code);
    um_buf_text(out, "}}");
}

void um_http_error_body(const um_err *err, um_buf *out)
{
    const um_http_error *entry = um_http_error_find(err->status);
    /* Clients raise on an empty message, so there is always one. */
    const char *message = err->message[0] ? err->message : um_status_text(err->status);

    um_http_error_custom(message, entry->type, err->field, entry->code, out);
}
