/*
 * OpenAI's response object and its events: the stateless core. Only standard event types come, since
 * clients throw at others; drafts ride on `response.output_text.delta` with an empty delta.
 */
#include "core/base/json.h"
#include "server/http_error.h"
#include "server/reply_pieces.h"

/* ---- pieces --------------------------------------------------------------------------------- */

/* `{"type":"output_text",...}`; part NULL: still empty. */
static void put_content(const um_reply_part *part, um_buf *out)
{
    um_buf_text(out, "{\"type\":\"output_text\",\"text\":");
    um_json_append_string(out, part ? part->text : "", part ? part->length : 0);
    um_buf_text(out, ",\"annotations\":[],\"logprobs\":");
    if (part && part->logprobs)
        um_logprobs_entries(part->logprobs, 0, out);
    else
        um_buf_text(out, "[]");
    um_buf_char(out, '}');
}

static const char *status_of(um_finish finish)
{
    return finish == UM_FINISH_LENGTH ? "incomplete" : "completed";
}

/* The message; part NULL: still empty. */
static void put_item(const um_reply *reply, const um_reply_part *part, um_buf *out)
{
    um_buf_printf(out,
                  "{\"id\":\"%s\",\"type\":\"message\",\"status\":\"%s\",\"role\":\"assistant\","
                  "\"content\":[",
                  reply->item_id, part ? status_of(part->finish) : "in_progress");
    if (part)
        put_content(part, out);
    um_buf_text(out, "]}");
}

static void put_usage(const um_usage *usage, um_buf *out)
{
    um_buf_printf(out,
                  "{\"input_tokens\":%d,\"input_tokens_details\":{\"cached_tokens\":0},"
                  "\"output_tokens\":%d,\"output_tokens_details\":{\"reasoning_tokens\":0},"
                  "\"total_tokens\":%d}",
                  usage->prompt_tokens, usage->completion_tokens,
                  usage->prompt_tokens + usage->completion_tokens);
}

static void put_json_or(const um_buf *value, const char *fallback, um_buf *out)
{
    if (value->length > 0)
        um_buf_append(out, um_buf_view(value), value->length);
    else
        um_buf_text(out, fallback);
}

/* What the request said, and what every response says. */
static void put_request(const um_reply *reply, um_buf *out)
{
    const um_responses_echo *echo = &reply->responses;
    const um_params *params = reply->params;

    um_buf_text(out, ",\"instructions\":");
    put_json_or(&echo->instructions, "null", out);
    um_buf_text(out, ",\"max_output_tokens\":");
    if (echo->max_output_tokens > 0)
        um_buf_printf(out, "%lld", (long long)echo->max_output_tokens);
    else
        um_buf_text(out, "null");
    um_buf_text(out, ",\"parallel_tool_calls\":true,\"previous_response_id\":null,"
                     "\"reasoning\":{\"effort\":");
    if (echo->effort)
        umi_put_text(out, echo->effort);
    else
        um_buf_text(out, "null");
    um_buf_printf(out,
                  ",\"summary\":null},\"store\":false,\"temperature\":%g,"
                  "\"text\":{\"format\":{\"type\":\"text\"}},\"tool_choice\":\"auto\",\"tools\":[],"
                  "\"top_logprobs\":%d,\"top_p\":%g,\"truncation\":\"disabled\",\"user\":",
                  (double)params->temperature, params->logprobs > 0 ? params->logprobs - 1 : 0,
                  (double)params->top_p);
    put_json_or(&echo->user, "null", out);
    um_buf_text(out, ",\"metadata\":");
    put_json_or(&echo->metadata, "{}", out);
}

static void put_error(const um_err *err, um_buf *out)
{
    umi_put_text(out, um_http_error_find(err->status)->code);
    um_buf_text(out, ",\"message\":");
    umi_put_text(out, err->message[0] ? err->message : um_status_text(err->status));
}

/* The response object. part NULL: nothing has been said yet; err NULL: nothing went wrong. */
static void put_response(const um_reply *reply, const um_reply_part *part, const um_err *err,
                         um_buf *out)
{
    um_buf_printf(out,
                  "{\"id\":\"%s\",\"object\":\"response\",\"created_at\":%lld,\"status\":\"%s\","
                  "\"background\":false,\"error\":",
                  reply->id, (long long)reply->created,
                  err    ? "failed"
                  : part ? status_of(part->finish)
                         : "in_progress");
    if (err) {
        um_buf_text(out, "{\"code\":");
        put_error(err, out);
        um_buf_char(out, '}');
    } else {
        um_buf_text(out, "null");
    }
    um_buf_text(out, part && part->finish == UM_FINISH_LENGTH
                         ? ",\"incomplete_details\":{\"reason\":\"max_output_tokens\"}"
                         : ",\"incomplete_details\":null");
    um_buf_text(out, ",\"model\":");
    umi_put_text(out, reply->model);
    um_buf_text(out, ",\"output\":[");
    if (part)
        put_item(reply, part, out);
    um_buf_char(out, ']');
    put_request(reply, out);
    um_buf_text(out, ",\"usage\":");
    if (part)
        put_usage(&reply->usage, out);
    else
        um_buf_text(out, "null");
    if (part && reply->echo_settings) {
        um_buf_text(out, ",\"diffusion\":");
        umi_put_settings(reply, part->params, out);
    }
    um_buf_char(out, '}');
}

/* ---- events --------------------------------------------------------------------------------- */

static void open_event(um_reply *reply, const char *type, um_buf *out)
{
    um_buf_printf(out, "event: %s\ndata: {\"type\":\"%s\",\"sequence_number\":%lld", type, type,
                  (long long)reply->sequence++);
}

static void close_event(um_buf *out)
{
    um_buf_text(out, "}\n\n");
}

/* An event about the text of the message. */
static void open_text_event(um_reply *reply, const char *type, um_buf *out)
{
    open_event(reply, type, out);
    um_buf_printf(out, ",\"item_id\":\"%s\",\"output_index\":0,\"content_index\":0",
                  reply->item_id);
}

static void put_response_event(um_reply *reply, const char *type, const um_reply_part *part,
                               const um_err *err, um_buf *out)
{
    open_event(reply, type, out);
    um_buf_text(out, ",\"response\":");
    put_response(reply, part, err, out);
    close_event(out);
}

static void put_item_event(um_reply *reply, const char *type, const um_reply_part *part,
                           um_buf *out)
{
    open_event(reply, type, out);
    um_buf_text(out, ",\"output_index\":0,\"item\":");
    put_item(reply, part, out);
    close_event(out);
}

static void put_content_event(um_reply *reply, const char *type, const um_reply_part *part,
                              um_buf *out)
{
    open_text_event(reply, type, out);
    um_buf_text(out, ",\"part\":");
    put_content(part, out);
    close_event(out);
}

static void put_whole(um_reply *reply, const um_reply_part *parts, um_buf *out)
{
    put_response(reply, &parts[0], NULL, out);
}

static void put_begin(um_reply *reply, um_buf *out)
{
    put_response_event(reply, "response.created", NULL, NULL, out);
    put_response_event(reply, "response.in_progress", NULL, NULL, out);
    put_item_event(reply, "response.output_item.added", NULL, out);
    put_content_event(reply, "response.content_part.added", NULL, out);
}

static void put_delta(um_reply *reply, const um_reply_part *part, um_buf *out)
{
    open_text_event(reply, "response.output_text.delta", out);
    um_buf_text(out, ",\"delta\":");
    um_json_append_string(out, part->text, part->length);
    um_buf_text(out, ",\"logprobs\":");
    if (umi_takes_logprobs(reply, part)) {
        um_logprobs_entries(part->logprobs, part->logprobs->written, out);
        um_logprobs_mark_written(part->logprobs, true);
    } else {
        um_buf_text(out, "[]");
    }
    if (part->frame) {
        um_buf_text(out, ",\"diffusion\":");
        um_buf_append(out, um_buf_view(part->frame), part->frame->length);
    }
    close_event(out);
}

/* Log-probabilities of what no delta had (cut off by a stop string, or special tokens), and the end
 * frame. */
static void put_last_delta(um_reply *reply, const um_reply_part *part, um_buf *out)
{
    um_reply_part last = *part;

    last.text = "";
    last.length = 0;
    if (part->frame || umi_takes_logprobs(reply, part))
        put_delta(reply, &last, out);
}

static void put_finish(um_reply *reply, const um_reply_part *part, um_buf *out)
{
    put_last_delta(reply, part, out);
    open_text_event(reply, "response.output_text.done", out);
    um_buf_text(out, ",\"text\":");
    um_json_append_string(out, part->text, part->length);
    um_buf_text(out, ",\"logprobs\":");
    if (part->logprobs)
        um_logprobs_entries(part->logprobs, 0, out);
    else
        um_buf_text(out, "[]");
    close_event(out);
    put_content_event(reply, "response.content_part.done", part, out);
    put_item_event(reply, "response.output_item.done", part, out);
    put_response_event(
        reply, part->finish == UM_FINISH_LENGTH ? "response.incomplete" : "response.completed",
        part, NULL, out);
}

static void put_end(um_reply *reply, um_buf *out)
{
    (void)reply; /* the finish has said everything */
    (void)out;
}

static void put_failure(um_reply *reply, const um_err *err, um_buf *out)
{
    open_event(reply, "error", out);
    um_buf_text(out, ",\"code\":");
    put_error(err, out);
    um_buf_text(out, ",\"param\":");
    if (err->field[0])
        umi_put_text(out, err->field);
    else
        um_buf_text(out, "null");
    close_event(out);
    put_response_event(reply, "response.failed", NULL, err, out);
}

const um_reply_dialect um_reply_responses = {
    .endpoints = UM_ENDPOINT_RESPONSES,
    .id_prefix = "resp_",
    .frames_apart = true,
    .finish_has_text = true,
    .whole = put_whole,
    .begin = put_begin,
    .delta = put_delta,
    .finish = put_finish,
    .end = put_end,
    .error = put_failure,
};
