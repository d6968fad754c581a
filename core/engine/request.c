/* One request's parts put together: made on the submitting thread, run on the engine thread. */
#include "core/engine/request.h"

#include <string.h>

#include "core/base/mem.h"

um_status um_request_create(const um_submission *submission, const um_request_facts *facts,
                            um_request **out, um_err *err)
{
    const um_params *params = &submission->params;
    um_request *request = um_mem_zalloc(sizeof(*request));
    um_emit_options emit;
    um_status status;

    UM_ASSERT(submission->stop_count >= 0 && submission->stop_count <= UM_STOP_STRINGS_MAX);
    *out = NULL;
    if (!request)
        return um_fail(err, UM_E_NOMEM, "request: no memory for %zu bytes", sizeof(*request));
    request->owner = submission->owner;
    request->params = *params;
    if (submission->stop_count > 0)
        memcpy(request->stops, submission->stops,
               (size_t)submission->stop_count * sizeof(*request->stops));
    status = um_canvas_init(&request->canvas, &request->params, &facts->canvas, submission->prompt,
                            submission->prompt_tokens, err);
    if (status != UM_OK)
        goto done;
    emit = (um_emit_options){
        .tokenizer = facts->tokenizer,
        .stops = request->stops,
        .stop_count = submission->stop_count,
        .end_tokens = facts->end_tokens,
        .end_token_count = facts->end_token_count,
        .mask_token = facts->canvas.mask_is_text ? -1 : facts->canvas.mask_token,
        .budget = params->max_tokens,
    };
    status = um_emit_init(&request->emit, &emit, err);
    if (status != UM_OK)
        goto done;
    status = um_outbox_create(um_emit_bytes_max(facts->tokenizer, params->max_tokens),
                              submission->want_tokens ? params->canvas_tokens : 0, &request->outbox,
                              err);
    if (status != UM_OK)
        goto done;
    *out = request;
    request = NULL;
done:
    um_request_destroy(request);
    return status;
}

void um_request_destroy(um_request *request)
{
    if (!request)
        return;
    um_canvas_deinit(&request->canvas);
    um_emit_deinit(&request->emit);
    um_outbox_destroy(request->outbox);
    um_mem_free(request);
}

int32_t um_request_rows(const um_request *request)
{
    return request->canvas.length * (request->params.cfg_scale > 0.0f ? 2 : 1);
}

void um_request_advance(um_request *request, const um_commit *commits, int32_t count, um_buf *text)
{
    um_canvas *canvas = &request->canvas;

    um_canvas_apply(canvas, commits, count);
    um_emit_advance(&request->emit, um_canvas_generated(canvas),
                    canvas->finished ? request->params.canvas_tokens : canvas->settled, text);
}

bool um_request_finished(const um_request *request)
{
    return request->canvas.finished ||
           (request->params.early_stop && request->emit.finish != UM_FINISH_NONE);
}

um_usage um_request_usage(const um_request *request)
{
    const um_canvas *canvas = &request->canvas;

    return (um_usage){
        .prompt_tokens = canvas->prompt_tokens,
        .completion_tokens = request->emit.tokens,
        .steps = canvas->step,
        /* a finished canvas stands behind its last block */
        .blocks = canvas->block + (!canvas->finished && canvas->block_step > 0),
        .canvas_tokens = request->params.canvas_tokens,
    };
}
