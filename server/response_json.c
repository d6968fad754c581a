#include "server/response_json.h"

#include <string.h>

static const char *finish_name(um_finish finish)
{
    return finish == UM_FINISH_STOP ? "stop" : "length";
}

static void write_text(um_buf *out, const char *text)
{
    um_json_append_string(out, text, strlen(text));
}

static void write_head(const um_reply_head *head, const char *object, um_buf *out)
{
    um_buf_printf(out, "{\"id\":\"%s\",\"object\":\"%s\",\"created\":%lld,\"model\":", head->id,
                  object, (long long)head->created);
    write_text(out, head->model);
    um_buf_printf(out, ",\"system_fingerprint\":\"%s\"", head->fingerprint);
    if (head->endpoint == UM_ENDPOINT_CHAT)
        um_buf_text(out, ",\"service_tier\":\"default\"");
    um_buf_text(out, ",\"choices\":[");
}

static void write_usage(const um_usage *usage, um_buf *out)
{
    um_buf_printf(out,
                  "{\"prompt_tokens\":%d,\"completion_tokens\":%d,\"total_tokens\":%d,"
                  "\"prompt_tokens_details\":{\"cached_tokens\":0,\"audio_tokens\":0},"
                  "\"completion_tokens_details\":{\"reasoning_tokens\":0,\"audio_tokens\":0,"
                  "\"accepted_prediction_tokens\":0,\"rejected_prediction_tokens\":0},"
                  "\"diffusion\":{\"steps\":%d,\"blocks\":%d,\"canvas_tokens\":%d,"
                  "\"revised_tokens\":0,\"cache\":\"exact\"}}",
                  usage->prompt_tokens, usage->completion_tokens,
                  usage->prompt_tokens + usage->completion_tokens, usage->steps, usage->blocks,
                  usage->canvas_tokens);
}

static void write_settings(const um_params *params, um_buf *out)
{
    static const char *const eos_rules[] = {
        [UM_EOS_NONE] = "none", [UM_EOS_CONFIDENCE] = "confidence", [UM_EOS_LOGITS] = "logits"};

    um_buf_printf(out, "{\"algorithm\":\"%s\",\"block_length\":%d,\"steps_per_block\":",
                  params->policy->name, params->block_length);
    if (params->steps_per_block > 0)
        um_buf_printf(out, "%d", params->steps_per_block);
    else
        um_buf_text(out, "null"); /* no bound: threshold and factor end by themselves */
    if (params->count == UM_COUNT_THRESHOLD)
        um_buf_printf(out, ",\"threshold\":%g", (double)params->threshold);
    if (params->count == UM_COUNT_FACTOR)
        um_buf_printf(out, ",\"factor\":%g", (double)params->factor);
    if (params->count == UM_COUNT_TIME || params->count == UM_COUNT_INDEPENDENT)
        um_buf_printf(out, ",\"eps\":%g", (double)params->eps);
    um_buf_printf(out, ",\"top_p\":%g,\"top_k\":%d,\"min_p\":%g,\"order_temperature\":%g",
                  (double)params->top_p, params->top_k, (double)params->min_p,
                  (double)params->order_temperature);
    um_buf_printf(out,
                  ",\"temperature\":%g,\"cfg_scale\":%g,\"eos_rule\":\"%s\",\"early_stop\":%s,"
                  "\"reference_quirks\":%s,\"cache\":\"exact\",\"max_tokens\":%d,"
                  "\"canvas_tokens\":%d}",
                  (double)params->temperature, (double)params->cfg_scale,
                  eos_rules[params->eos_rule], params->early_stop ? "true" : "false",
                  params->reference_quirks ? "true" : "false", params->max_tokens,
                  params->canvas_tokens);
}

/* ",\"diffusion\":{...}}": the end of every object that has an answer's end in it. */
static void write_tail(const um_params *echo, um_buf *out)
{
    if (echo) {
        um_buf_text(out, ",\"diffusion\":");
        write_settings(echo, out);
    }
    um_buf_char(out, '}');
}

void um_reply_body(const um_reply_head *head, const um_reply_choice *choices, size_t count,
                   const um_usage *usage, const um_params *echo, um_buf *out)
{
    bool chat = head->endpoint == UM_ENDPOINT_CHAT;

    write_head(head, chat ? "chat.completion" : "text_completion", out);
    for (size_t i = 0; i < count; i++) {
        um_buf_printf(out, "%s{\"index\":%zu,", i > 0 ? "," : "", i);
        um_buf_text(out, chat ? "\"message\":{\"role\":\"assistant\",\"content\":" : "\"text\":");
        um_json_append_string(out, choices[i].text, choices[i].length);
        if (chat)
            um_buf_text(out, ",\"refusal\":null,\"annotations\":[]}");
        um_buf_printf(out, ",\"logprobs\":null,\"finish_reason\":\"%s\"}",
                      finish_name(choices[i].finish));
    }
    um_buf_text(out, "],\"usage\":");
    write_usage(usage, out);
    write_tail(echo, out);
}

static void write_chat_delta(const um_chunk *chunk, um_buf *out)
{
    um_buf_text(out, "\"delta\":{");
    if (chunk->kind == UM_CHUNK_ROLE)
        um_buf_text(out, "\"role\":\"assistant\",\"content\":\"\",\"refusal\":null");
    if (chunk->kind == UM_CHUNK_TEXT) {
        um_buf_text(out, "\"content\":");
        um_json_append_string(out, chunk->choice.text, chunk->choice.length);
    }
    um_buf_char(out, '}');
}

void um_reply_chunk(const um_reply_head *head, const um_chunk *chunk, um_buf *out)
{
    bool chat = head->endpoint == UM_ENDPOINT_CHAT;

    um_buf_text(out, "data: ");
    write_head(head, chat ? "chat.completion.chunk" : "text_completion", out);
    if (chunk->kind != UM_CHUNK_USAGE) {
        um_buf_printf(out, "{\"index\":%zu,", chunk->index);
        if (chat) {
            write_chat_delta(chunk, out);
        } else {
            um_buf_text(out, "\"text\":");
            um_json_append_string(out, chunk->choice.text, chunk->choice.length);
        }
        um_buf_text(out, ",\"logprobs\":null,\"finish_reason\":");
        if (chunk->kind == UM_CHUNK_FINISH)
            um_buf_printf(out, "\"%s\"}", finish_name(chunk->choice.finish));
        else
            um_buf_text(out, "null}");
    }
    um_buf_char(out, ']');
    if (chunk->usage) {
        um_buf_text(out, ",\"usage\":");
        write_usage(chunk->usage, out);
    } else if (chunk->with_usage) {
        um_buf_text(out, ",\"usage\":null");
    }
    write_tail(chunk->echo, out);
    um_buf_text(out, "\n\n");
}
