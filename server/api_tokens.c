#include "server/api_tokens.h"

#include "core/base/utf8.h"
#include "server/api_job.h"
#include "server/app.h"

/* ---- answers (thread pool) ------------------------------------------------------------------- */

/* The bytes of each token alone; what is not UTF-8 by itself shows as U+FFFD. */
static void write_token_texts(const um_tokenizer *tokenizer, const um_ids *ids, um_buf *out)
{
    um_buf text = {0};

    um_buf_char(out, '[');
    for (size_t i = 0; i < ids->count; i++) {
        size_t length;
        const uint8_t *bytes = um_tokenizer_bytes(tokenizer, ids->data[i], &length);

        um_buf_clear(&text);
        um_utf8_append_lossy(&text, (const char *)bytes, length);
        um_buf_text(out, i > 0 ? "," : "");
        um_json_append_string(out, um_buf_view(&text), text.length);
    }
    um_buf_char(out, ']');
    out->failed = out->failed || um_buf_failed(&text);
    um_buf_deinit(&text);
}

static void write_ids(const um_ids *ids, um_buf *out)
{
    um_buf_char(out, '[');
    for (size_t i = 0; i < ids->count; i++)
        um_buf_printf(out, i > 0 ? ",%d" : "%d", ids->data[i]);
    um_buf_char(out, ']');
}

static um_status check_answer(const um_buf *answer, um_err *err)
{
    return um_buf_failed(answer) ? um_fail(err, UM_E_OVERLOADED, "no memory for the answer")
                                 : UM_OK;
}

static um_status encode(const um_served *served, const um_api_request *request, um_ids *ids,
                        um_err *err)
{
    bool text = request->prompt_count > 0;
    bool around = request->has_add_special_tokens ? request->add_special_tokens : text;

    if (text)
        return um_served_tokenize_text(served, request->prompts[0].text, request->prompts[0].length,
                                       around, ids, err);
    return um_served_tokenize_chat(served, request->messages, request->message_count,
                                   um_api_chat_end(request), around, ids, err);
}

static um_status tokenize(um_api_job *job, um_err *err)
{
    const um_served *served = &job->app->served;
    um_buf *out = &job->answer;
    um_ids ids = {0};
    um_status status = encode(served, &job->request, &ids, err);

    if (status == UM_OK) {
        um_buf_printf(out, "{\"count\":%zu,\"max_model_len\":%d,\"tokens\":", ids.count,
                      served->limits.context_max);
        write_ids(&ids, out);
        um_buf_text(out, ",\"token_strs\":");
        if (job->request.return_token_strs)
            write_token_texts(served->tokenizer, &ids, out);
        else
            um_buf_text(out, "null");
        um_buf_char(out, '}');
        status = check_answer(out, err);
    }
    um_ids_deinit(&ids);
    return status;
}

/* A body of a few MiB can name a long token a million times. */
static um_status check_text_size(const um_tokenizer *tokenizer, const um_api_prompt *prompt,
                                 um_err *err)
{
    size_t bytes = 0, length;

    for (size_t i = 0; i < prompt->id_count; i++) {
        um_tokenizer_bytes(tokenizer, prompt->ids[i], &length);
        bytes += length;
    }
    if (bytes > UM_DETOKENIZE_BYTES_MAX)
        return um_fail_field(err, UM_E_ARRAY_ABOVE_MAX, "tokens",
                             "`tokens` make a text of %zu bytes; the maximum is %zu", bytes,
                             UM_DETOKENIZE_BYTES_MAX);
    return UM_OK;
}

/* Special tokens are shown, but for those that tokenize puts in front of every text: so that what it
 * gave comes back as the text that it got. */
static um_status detokenize(um_api_job *job, um_err *err)
{
    const um_served *served = &job->app->served;
    const um_api_prompt *prompt = &job->request.prompts[0];
    um_ids front = {0};
    um_buf text = {0};
    um_status status = check_text_size(served->tokenizer, prompt, err);
    size_t skip = 0;

    if (status == UM_OK)
        status = um_served_tokenize_text(served, "", 0, true, &front, err);
    while (status == UM_OK && skip < front.count && skip < prompt->id_count &&
           prompt->ids[skip] == front.data[skip])
        skip++;
    if (status == UM_OK && prompt->id_count > skip)
        status = um_tokenizer_decode(served->tokenizer, prompt->ids + skip, prompt->id_count - skip,
                                     false, &text, err);
    if (status == UM_OK) {
        um_buf_text(&job->answer, "{\"prompt\":");
        um_json_append_string(&job->answer, um_buf_view(&text), text.length);
        um_buf_char(&job->answer, '}');
        status = check_answer(&job->answer, err);
    }
    um_buf_deinit(&text);
    um_ids_deinit(&front);
    return status;
}

/* ---- routes --------------------------------------------------------------------------------- */

static void refuse(um_app *app, um_exchange *exchange, const um_err *err)
{
    (void)app;
    um_exchange_reply_error(exchange, err);
}

static void finish(um_api_job *job)
{
    if (job->err.status == UM_OK)
        um_exchange_reply(job->exchange, 200, "application/json", um_buf_view(&job->answer),
                          job->answer.length);
    else
        refuse(job->app, job->exchange, &job->err);
}

void um_api_tokenize(void *app, um_exchange *exchange)
{
    static const um_api_job_kind kind = {
        .endpoint = UM_ENDPOINT_TOKENIZE, .prepare = tokenize, .finish = finish, .refuse = refuse};

    um_api_job_begin(app, &kind, exchange);
}

void um_api_detokenize(void *app, um_exchange *exchange)
{
    static const um_api_job_kind kind = {.endpoint = UM_ENDPOINT_DETOKENIZE,
                                         .prepare = detokenize,
                                         .finish = finish,
                                         .refuse = refuse};

    um_api_job_begin(app, &kind, exchange);
}
