/*
 * chat.completion and its chunks; edit.completion, which is the same under another name and whose
 * chunks are those of chat, so that chat clients read them.
 */
#include "core/base/json.h"
#include "server/reply_pieces.h"

/* `,"logprobs":..`: the rows not yet written, or null. */
static void put_logprobs(const um_reply_part *part, bool take, um_buf *out)
{
    if (!take) {
        um_buf_text(out, ",\"logprobs\":null");
        return;
    }
    um_buf_text(out, ",\"logprobs\":{\"content\":");
    um_logprobs_entries(part->logprobs, part->logprobs->written, out);
    um_buf_text(out, ",\"refusal\":null}");
    um_logprobs_mark_written(part->logprobs, false);
}

static void put_whole(um_reply *reply, const um_reply_part *parts, um_buf *out)
{
    umi_put_head(reply, reply->endpoint == UM_ENDPOINT_EDIT ? "edit.completion" : "chat.completion",
                 out);
    for (size_t i = 0; i < reply->count; i++) {
        um_buf_printf(out, "%s{\"index\":%zu,\"message\":{\"role\":\"assistant\",\"content\":",
                      i > 0 ? "," : "", i);
        um_json_append_string(out, parts[i].text, parts[i].length);
        um_buf_text(out, ",\"refusal\":null,\"annotations\":[]}");
        put_logprobs(&parts[i], parts[i].logprobs != NULL, out);
        um_buf_text(out, ",\"finish_reason\":");
        umi_put_finish(out, parts[i].finish);
        um_buf_char(out, '}');
    }
    umi_put_whole_end(reply, parts[0].params, out);
}

/* Roles come first, one per choice in index order: parsers of the official clients insist. */
static void put_begin(um_reply *reply, um_buf *out)
{
    for (size_t i = 0; i < reply->count; i++) {
        umi_chunk_open(reply, i, out);
        um_buf_text(out, ",\"delta\":{\"role\":\"assistant\",\"content\":\"\",\"refusal\":null},"
                         "\"logprobs\":null");
        umi_chunk_close(reply, &(um_reply_part){.index = i}, false, out);
    }
}

static void put_delta(um_reply *reply, const um_reply_part *part, um_buf *out)
{
    bool replaces = reply->mode == UM_STREAM_REPLACE;

    umi_chunk_open(reply, part->index, out);
    um_buf_text(out, ",\"delta\":{");
    if (part->length > 0 || replaces) {
        um_buf_text(out, "\"content\":");
        um_json_append_string(out, part->text, part->length);
    }
    um_buf_text(out, replaces ? ",\"tool_calls\":[]}" : "}");
    put_logprobs(part, umi_takes_logprobs(reply, part), out);
    umi_chunk_close(reply, part, false, out);
}

static void put_finish(um_reply *reply, const um_reply_part *part, um_buf *out)
{
    umi_chunk_open(reply, part->index, out);
    um_buf_text(out, ",\"delta\":{}");
    put_logprobs(part, umi_takes_logprobs(reply, part), out);
    umi_chunk_close(reply, part, true, out);
}

const um_reply_dialect um_reply_chat = {
    .endpoints = UM_ENDPOINT_CHAT | UM_ENDPOINT_EDIT,
    .id_prefix = "chatcmpl-",
    .chunk_object = "chat.completion.chunk",
    .replaces = true,
    .whole = put_whole,
    .begin = put_begin,
    .delta = put_delta,
    .finish = put_finish,
    .end = umi_chunks_end,
    .error = umi_chunks_error,
};
