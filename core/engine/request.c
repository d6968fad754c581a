/* One request's parts put together: made on the submitting thread, run on the engine thread. */
#include "core/engine/request.h"

#include <string.h>

#include "core/base/mem.h"

static um_emit_options emit_options(const um_request *request, const um_submission *submission,
                                    const um_request_facts *facts)
{
    const um_params *params = &request->params;

    return (um_emit_options){
        .tokenizer = facts->tokenizer,
        .stops = request->stops,
        .stop_count = submission->stop_count,
        .end_tokens = facts->canvas.end_tokens,
        .end_token_count = facts->canvas.end_token_count,
        .stop_tokens = request->stop_tokens,
        .stop_token_count = submission->stop_token_count,
        .mask_token = facts->canvas.mask_is_text ? -1 : facts->canvas.mask_token,
        .budget = params->max_tokens,
        .full_is_stop = params->exact_length && !params->grows,
        .keep_special = params->keep_special_text,
        .want_places = params->logprobs > 0,
    };
}

static um_outbox_options outbox_options(const um_submission *submission,
                                        const um_tokenizer *tokenizer)
{
    const um_params *params = &submission->params;

    return (um_outbox_options){
        .text_bytes_max = um_emit_bytes_max(tokenizer, params->max_tokens),
        .result_tokens = submission->want_tokens ? params->canvas_tokens : 0,
        .logprobs = params->logprobs,
        .logprob_rows = params->logprobs > 0 ? params->max_tokens : 0,
        .draft_tokens = submission->want_draft ? params->canvas_tokens : 0,
        .draft_blocks = params->block_count,
    };
}

/* *out stays NULL for nothing. */
static bool copy(const void *items, int32_t count, size_t size, void **out)
{
    if (count == 0)
        return true;
    *out = um_mem_calloc((size_t)count, size);
    if (*out)
        memcpy(*out, items, (size_t)count * size);
    return *out != NULL;
}

/* Most requests have neither stop strings nor stop tokens, and thousands may wait. */
static um_status copy_stops(um_request *request, const um_submission *submission, um_err *err)
{
    if (copy(submission->stops, submission->stop_count, sizeof(*request->stops),
             (void **)&request->stops) &&
        copy(submission->stop_tokens, submission->stop_token_count, sizeof(*request->stop_tokens),
             (void **)&request->stop_tokens))
        return UM_OK;
    return um_fail(err, UM_E_NOMEM, "request: no memory for stops");
}

static void copy_submission(um_request *request, const um_submission *submission)
{
    const um_params *params = &submission->params;

    UM_ASSERT(submission->stop_count >= 0 && submission->stop_count <= UM_STOP_STRINGS_MAX);
    UM_ASSERT(submission->stop_token_count >= 0 &&
              submission->stop_token_count <= UM_STOP_TOKENS_MAX);
    UM_ASSERT(params->logprobs >= 0 && params->logprobs <= UM_LOGPROBS_MAX + 1);
    /* what stays of a draft was never scored */
    UM_ASSERT(params->logprobs == 0 || submission->draft_tokens == 0);
    request->owner = submission->owner;
    request->params = *params;
    request->want_guess = submission->want_draft && submission->want_guess;
    request->alternatives = request->want_guess && params->logprobs == 0 ? 1 : params->logprobs;
}

um_status um_request_create(const um_submission *submission, const um_request_facts *facts,
                            um_request **out, um_err *err)
{
    const um_params *params = &submission->params;
    um_request *request = um_mem_zalloc(sizeof(*request));
    um_emit_options emit;
    um_outbox_options outbox;
    um_submission own = *submission; /* with what the canvas borrows */
    um_status status;

    *out = NULL;
    if (!request)
        return um_fail(err, UM_E_NOMEM, "request: no memory for %zu bytes", sizeof(*request));
    copy_submission(request, submission);
    status = copy_stops(request, submission, err);
    own.stop_tokens = request->stop_tokens;
    if (status == UM_OK)
        status = um_canvas_init(&request->canvas, &request->params, &facts->canvas, &own, err);
    if (status != UM_OK)
        goto done;
    emit = emit_options(request, submission, facts);
    status = um_emit_init(&request->emit, &emit, err);
    if (status == UM_OK)
        status =
            um_edits_create(submission, facts->canvas.end_tokens, facts->canvas.end_token_count,
                            facts->canvas.mask_token, &request->edits, err);
    if (status == UM_OK && params->logprobs > 0) {
        request->logprobs = um_mem_calloc((size_t)params->canvas_tokens * (size_t)params->logprobs,
                                          sizeof(*request->logprobs));
        if (!request->logprobs)
            status = um_fail(err, UM_E_NOMEM, "request: no memory for log-probabilities");
    }
    outbox = outbox_options(submission, facts->tokenizer);
    if (status == UM_OK)
        status = um_outbox_create(&outbox, &request->outbox, err);
    if (status == UM_OK && submission->want_draft)
        status = um_journal_begin(submission, &request->canvas, request->outbox, err);
    if (status != UM_OK)
        goto done;
    /* positions that a canvas has yet to gain */
    for (int32_t i = 0; i < request->outbox->news.token_count; i++)
        request->outbox->news.tokens[i] = facts->canvas.mask_token;
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
    um_edits_destroy(request->edits);
    um_mem_free(request->logprobs);
    um_outbox_destroy(request->outbox);
    um_mem_free(request->stops);
    um_mem_free(request->stop_tokens);
    um_mem_free(request);
}

int32_t um_request_rows(const um_request *request)
{
    return request->canvas.length * (request->params.cfg_scale > 0.0f ? 2 : 1);
}

/* Rows and commits are both in ascending positions. */
static void keep_logprobs(um_request *request, const um_outcome *outcome)
{
    int32_t row = 0, width = request->params.logprobs;

    UM_ASSERT(outcome->alternative_count >= width);
    for (int32_t i = 0; i < outcome->commit_count; i++) {
        int32_t position = outcome->commits[i].position;
        int32_t place = position - request->canvas.prompt_tokens;
        const um_alternative *from;
        um_alternative *to;

        while (row < outcome->row_count && outcome->rows[row].position < position)
            row++;
        UM_ASSERT(row < outcome->row_count && outcome->rows[row].position == position);
        if (place < 0 || place >= request->canvas.extent)
            continue;
        from = outcome->alternatives + (size_t)row * (size_t)outcome->alternative_count;
        to = request->logprobs + (size_t)place * (size_t)width;
        to[0] = from[outcome->alternative_count - 1];
        memcpy(to + 1, from, (size_t)(width - 1) * sizeof(*to));
    }
}

void um_request_advance(um_request *request, const um_outcome *outcome, um_buf *text,
                        um_journal *journal)
{
    um_canvas *canvas = &request->canvas;
    int32_t block = canvas->block;

    um_canvas_apply(canvas, outcome->commits, outcome->commit_count);
    if (request->logprobs)
        keep_logprobs(request, outcome);
    if (request->outbox->news.steps)
        um_journal_note(journal, canvas, block, outcome, request->want_guess);
    um_emit_advance(&request->emit, um_canvas_generated(canvas),
                    canvas->finished ? canvas->extent : canvas->settled, text);
    if (canvas->finished)
        um_emit_end(&request->emit, UM_FINISH_LENGTH, text);
}

void um_request_hurry(um_request *request)
{
    if (um_canvas_hurry(&request->canvas))
        request->emit.options.full_is_stop = false;
}

bool um_request_finished(const um_request *request)
{
    return request->canvas.finished ||
           (request->params.early_stop && request->emit.finish != UM_FINISH_NONE);
}

um_usage um_request_usage(const um_request *request)
{
    const um_canvas *canvas = &request->canvas;
    um_usage usage = {
        .prompt_tokens = canvas->prompt_tokens + canvas->suffix_tokens,
        .completion_tokens = request->emit.tokens,
        .steps = canvas->step,
        .blocks = canvas->blocks,
        .canvas_tokens = canvas->extent,
        .ended_by_deadline = canvas->hurries && canvas->finished,
    };

    um_canvas_count_draft(canvas, um_request_finished(request), &usage.accepted_tokens,
                          &usage.rejected_tokens);
    return usage;
}
