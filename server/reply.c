#include "server/reply.h"

#include <stdio.h>
#include <string.h>

#include "core/base/clock.h"
#include "core/base/entropy.h"
#include "core/base/json.h"
#include "server/http_error.h"
#include "server/reply_pieces.h"

static const um_reply_dialect *const dialects[] = {
    &um_reply_chat,
    &um_reply_text,
    &um_reply_responses,
};

static void make_id(const char *prefix, char *out, size_t size)
{
    char random[33];

    um_entropy_hex(random, 16);
    snprintf(out, size, "%s%s", prefix, random);
}

um_status um_reply_open(um_reply *reply, um_err *err)
{
    for (size_t i = 0; i < UM_COUNT_OF(dialects); i++)
        if (dialects[i]->endpoints & reply->endpoint)
            reply->dialect = dialects[i];
    UM_ASSERT(reply->dialect && (reply->dialect->replaces || reply->mode != UM_STREAM_REPLACE));
    make_id(reply->dialect->id_prefix, reply->id, sizeof(reply->id));
    make_id("msg_", reply->item_id, sizeof(reply->item_id));
    reply->created = um_clock_unix_seconds();
    if (!reply->dialect->chunk_object)
        return UM_OK;
    umi_put_head(reply, reply->dialect->chunk_object, &reply->head);
    if (um_buf_failed(&reply->head))
        return um_fail(err, UM_E_OVERLOADED, "no memory for an answer");
    return UM_OK;
}

void um_reply_close(um_reply *reply)
{
    um_buf_deinit(&reply->head);
    um_buf_deinit(&reply->responses.instructions);
    um_buf_deinit(&reply->responses.metadata);
    um_buf_deinit(&reply->responses.user);
}

/* ---- pieces --------------------------------------------------------------------------------- */

void umi_put_text(um_buf *out, const char *text)
{
    um_json_append_string(out, text, strlen(text));
}

void umi_put_finish(um_buf *out, um_finish finish)
{
    um_buf_text(out, finish == UM_FINISH_NONE   ? "null"
                     : finish == UM_FINISH_STOP ? "\"stop\""
                                                : "\"length\"");
}

/* The object of chat and completions. */
static void put_usage(const um_reply *reply, um_buf *out)
{
    const um_usage *usage = &reply->usage;

    um_buf_printf(out,
                  "{\"prompt_tokens\":%d,\"completion_tokens\":%d,\"total_tokens\":%d,"
                  "\"prompt_tokens_details\":{\"cached_tokens\":0,\"audio_tokens\":0},"
                  "\"completion_tokens_details\":{\"reasoning_tokens\":0,\"audio_tokens\":0,"
                  "\"accepted_prediction_tokens\":%d,\"rejected_prediction_tokens\":%d},",
                  usage->prompt_tokens, usage->completion_tokens,
                  usage->prompt_tokens + usage->completion_tokens, usage->accepted_tokens,
                  usage->rejected_tokens);
    if (reply->endpoint & (UM_ENDPOINT_FIM | UM_ENDPOINT_EDIT)) /* Mercury's clients look here */
        um_buf_text(out, "\"reasoning_tokens\":0,\"cached_input_tokens\":0,");
    um_buf_printf(out,
                  "\"diffusion\":{\"steps\":%d,\"blocks\":%d,\"canvas_tokens\":%d,"
                  "\"revised_tokens\":0,\"cache\":\"exact\"%s}}",
                  usage->steps, usage->blocks, usage->canvas_tokens,
                  usage->ended_by_deadline ? ",\"ended_by\":\"deadline\"" : "");
}

static void put_schedule(const um_params *params, um_buf *out)
{
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
    um_buf_printf(out, ",\"order_temperature\":%g", (double)params->order_temperature);
}

static void put_sampling(const um_params *params, um_buf *out)
{
    um_buf_printf(out,
                  ",\"temperature\":%g,\"top_p\":%g,\"top_k\":%d,\"min_p\":%g,\"cfg_scale\":%g",
                  (double)params->temperature, (double)params->top_p, params->top_k,
                  (double)params->min_p, (double)params->cfg_scale);
    if (params->frequency_penalty != 0)
        um_buf_printf(out, ",\"frequency_penalty\":%g", (double)params->frequency_penalty);
    if (params->presence_penalty != 0)
        um_buf_printf(out, ",\"presence_penalty\":%g", (double)params->presence_penalty);
    if (params->repetition_penalty != 0 && params->repetition_penalty != 1)
        um_buf_printf(out, ",\"repetition_penalty\":%g", (double)params->repetition_penalty);
}

static const char *truth(bool value)
{
    return value ? "true" : "false";
}

void umi_put_settings(const um_reply *reply, const um_params *params, um_buf *out)
{
    static const char *const eos_rules[] = {
        [UM_EOS_NONE] = "none", [UM_EOS_CONFIDENCE] = "confidence", [UM_EOS_LOGITS] = "logits"};

    put_schedule(params, out);
    put_sampling(params, out);
    um_buf_printf(out, ",\"eos_rule\":\"%s\",\"early_stop\":%s,\"reference_quirks\":%s",
                  eos_rules[params->eos_rule], truth(params->early_stop),
                  truth(params->reference_quirks));
    /* From here on only what was asked for. */
    if (params->min_tokens > 0)
        um_buf_printf(out, ",\"min_tokens\":%d", params->min_tokens);
    if (params->ignore_eos)
        um_buf_text(out, ",\"ignore_eos\":true");
    if (params->keep_special_text)
        um_buf_text(out, ",\"skip_special_tokens\":false");
    if (params->deadline_ms > 0)
        um_buf_printf(out, ",\"deadline_ms\":%d", params->deadline_ms);
    if (reply->seeded) {
        um_buf_printf(out, ",\"noise\":%g", (double)params->noise);
    } else if (params->exact_length && params->grows) {
        um_buf_text(out, ",\"infill_length\":\"auto\"");
    } else if (params->exact_length) { /* with a draft its length decides */
        um_buf_printf(out, ",\"infill_length\":%d", params->canvas_tokens);
    }
    um_buf_printf(out, ",\"cache\":\"exact\",\"max_tokens\":%d,\"canvas_tokens\":%d}",
                  params->max_tokens, params->canvas_tokens);
}

/* ---- objects with choices ------------------------------------------------------------------- */

void umi_put_head(const um_reply *reply, const char *object, um_buf *out)
{
    um_buf_printf(out, "{\"id\":\"%s\",\"object\":\"%s\",\"created\":%lld,\"model\":", reply->id,
                  object, (long long)reply->created);
    umi_put_text(out, reply->model);
    um_buf_printf(out, ",\"system_fingerprint\":\"%s\"", reply->fingerprint);
    if (reply->endpoint & (UM_ENDPOINT_CHAT | UM_ENDPOINT_EDIT))
        um_buf_text(out, ",\"service_tier\":\"default\"");
    um_buf_text(out, ",\"choices\":[");
}

static void put_echo(const um_reply *reply, const um_params *params, um_buf *out)
{
    if (!reply->echo_settings)
        return;
    um_buf_text(out, ",\"diffusion\":");
    umi_put_settings(reply, params, out);
}

void umi_put_whole_end(const um_reply *reply, const um_params *params, um_buf *out)
{
    um_buf_text(out, "],\"usage\":");
    put_usage(reply, out);
    put_echo(reply, params, out);
    um_buf_char(out, '}');
}

void umi_chunk_open(const um_reply *reply, size_t index, um_buf *out)
{
    um_buf_text(out, "data: ");
    um_buf_append(out, um_buf_view(&reply->head), reply->head.length);
    um_buf_printf(out, "{\"index\":%zu", index);
}

static void put_chunk_usage(const um_reply *reply, um_buf *out)
{
    if (reply->include_usage && reply->continuous_usage) {
        um_buf_text(out, ",\"usage\":");
        put_usage(reply, out);
    } else if (reply->include_usage) {
        um_buf_text(out, ",\"usage\":null");
    }
}

bool umi_takes_logprobs(const um_reply *reply, const um_reply_part *part)
{
    bool content = part->length > 0 && reply->mode != UM_STREAM_REPLACE;

    return part->logprobs && part->logprobs->count > part->logprobs->written &&
           (content || part->finish != UM_FINISH_NONE);
}

void umi_chunk_close(const um_reply *reply, const um_reply_part *part, bool last, um_buf *out)
{
    um_buf_text(out, ",\"finish_reason\":");
    umi_put_finish(out, part->finish);
    if (part->frame) {
        um_buf_text(out, ",\"diffusion\":");
        um_buf_append(out, um_buf_view(part->frame), part->frame->length);
    }
    um_buf_text(out, "}]");
    put_chunk_usage(reply, out);
    if (last)
        put_echo(reply, part->params, out);
    if (reply->mode == UM_STREAM_REPLACE)
        um_buf_printf(
            out,
            ",\"diffusion_meta\":{\"diffusion_content\":true,\"diffusion_progress\":%.4g},"
            "\"reasoning_summary\":null",
            part->progress);
    um_buf_text(out, "}\n\n");
}

void umi_chunks_end(um_reply *reply, um_buf *out)
{
    if (reply->include_usage) {
        um_buf_text(out, "data: ");
        um_buf_append(out, um_buf_view(&reply->head), reply->head.length);
        um_buf_text(out, "],\"usage\":");
        put_usage(reply, out);
        um_buf_text(out, "}\n\n");
    }
    um_buf_text(out, "data: [DONE]\n\n");
}

void umi_chunks_error(um_reply *reply, const um_err *err, um_buf *out)
{
    (void)reply;
    um_buf_text(out, "data: ");
    um_http_error_body(err, out);
    um_buf_text(out, "\n\ndata: [DONE]\n\n");
}
