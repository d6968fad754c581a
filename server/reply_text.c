/* text_completion, whole and in chunks of the same name: completions and FIM. */
#include "core/base/json.h"
#include "server/reply_pieces.h"

/* `,"text":..,"logprobs":..` */
static void put_content(const um_reply_part *part, bool take, um_buf *out)
{
    um_buf_text(out, ",\"text\":");
    um_json_append_string(out, part->text, part->length);
    um_buf_text(out, ",\"logprobs\":");
    if (!take) {
        um_buf_text(out, "null");
        return;
    }
    um_logprobs_arrays(part->logprobs, out);
    um_logprobs_mark_written(part->logprobs, false);
}

static void put_whole(um_reply *reply, const um_reply_part *parts, um_buf *out)
{
    umi_put_head(reply, "text_completion", out);
    for (size_t i = 0; i < reply->count; i++) {
        um_buf_printf(out, "%s{\"index\":%zu", i > 0 ? "," : "", i);
        put_content(&parts[i], parts[i].logprobs != NULL, out);
        um_buf_text(out, ",\"finish_reason\":");
        umi_put_finish(out, parts[i].finish);
        if (parts[i].frame) {
            um_buf_text(out, ",\"diffusion\":");
            um_buf_append(out, um_buf_view(parts[i].frame), parts[i].frame->length);
        }
        um_buf_char(out, '}');
    }
    umi_put_whole_end(reply, parts[0].params, out);
}

static void put_begin(um_reply *reply, um_buf *out)
{
    (void)reply; /* there is no chunk without text */
    (void)out;
}

static void put_delta(um_reply *reply, const um_reply_part *part, um_buf *out)
{
    umi_chunk_open(reply, part->index, out);
    put_content(part, umi_takes_logprobs(reply, part), out);
    umi_chunk_close(reply, part, false, out);
}

static void put_finish(um_reply *reply, const um_reply_part *part, um_buf *out)
{
    umi_chunk_open(reply, part->index, out);
    put_content(part, umi_takes_logprobs(reply, part), out);
    umi_chunk_close(reply, part, true, out);
}

const um_reply_dialect um_reply_text = {
    .endpoints = UM_ENDPOINT_COMPLETIONS | UM_ENDPOINT_FIM,
    .id_prefix = "cmpl-",
    .chunk_object = "text_completion",
    .replaces = true,
    .whole = put_whole,
    .begin = put_begin,
    .delta = put_delta,
    .finish = put_finish,
    .end = umi_chunks_end,
    .error = umi_chunks_error,
};
