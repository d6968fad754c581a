#include "server/api_submit.h"

#include <string.h>

#include "core/base/mem.h"
#include "server/edit_prompt.h"

#define EDIT_FIELD "messages[0].content"
#define TEMPLATE_FIELD "diffusion.template"

/* What is under way: the work, and what params_resolve has to know beside it. */
typedef struct maker {
    const um_served *served;
    const um_api_request *request;
    um_api_work *work;
    um_params_given given; /* the request's, with what its kind implies */
    um_params_place place;
    um_err *err;
} maker;

static um_status no_memory(um_err *err)
{
    return um_fail(err, UM_E_OVERLOADED, "no memory for the request");
}

/* ---- chat ----------------------------------------------------------------------------------- */

um_chat_end um_api_chat_end(const um_api_request *request)
{
    if (request->continue_final_message)
        return UM_CHAT_CONTINUE;
    return request->no_generation_prompt ? UM_CHAT_CLOSED : UM_CHAT_ANSWER;
}

static um_status make_chat(maker *m)
{
    const um_api_request *request = m->request;
    um_api_work *work = m->work;
    um_status status =
        um_served_encode_chat(m->served, request->messages, request->message_count,
                              um_api_chat_end(request), m->place.field, &work->prompts[0], m->err);

    work->prompt_count = 1;
    if (status == UM_OK && request->prediction)
        status = um_served_encode_more(m->served, request->prediction, request->prediction_length,
                                       "prediction", &work->draft, m->err);
    m->place.draft_field = "prediction";
    return status;
}

/* ---- completions and infilling --------------------------------------------------------------- */

static um_status encode_prompt(maker *m, size_t index)
{
    const um_api_prompt *prompt = &m->request->prompts[index];
    um_ids *ids = &m->work->prompts[index];

    if (prompt->text)
        return um_served_encode_text(m->served, prompt->text, prompt->length, "prompt", ids,
                                     m->err);
    for (size_t i = 0; i < prompt->id_count; i++)
        if (!um_ids_push(ids, prompt->ids[i]))
            return no_memory(m->err);
    return UM_OK;
}

/* `echo`: a text as it came, ids as the text that they are. */
static um_status echo_prompt(maker *m, size_t index)
{
    const um_api_prompt *prompt = &m->request->prompts[index];
    um_buf *lead = &m->work->leads[index];

    if (!prompt->text)
        return um_tokenizer_decode(m->served->tokenizer, prompt->ids, prompt->id_count,
                                   !m->given.keep_special_text, lead, m->err);
    um_buf_append(lead, prompt->text, prompt->length);
    return UM_OK;
}

static um_status encode_suffix(maker *m, const char *text, size_t length, const char *field)
{
    m->place.infill = true;
    return um_served_encode_more(m->served, text, length, field, &m->work->suffix, m->err);
}

static um_status make_completions(maker *m)
{
    const um_api_request *request = m->request;
    um_status status = UM_OK;

    m->work->prompt_count = request->prompt_count;
    for (size_t i = 0; i < request->prompt_count && status == UM_OK; i++) {
        status = encode_prompt(m, i);
        if (status == UM_OK && request->echo_prompt)
            status = echo_prompt(m, i);
    }
    if (status == UM_OK && request->suffix)
        status = encode_suffix(m, request->suffix, request->suffix_length, "suffix");
    return status;
}

/* ---- edit ----------------------------------------------------------------------------------- */

/* The region is filled again in as many positions as it had, unless infill_length says another
 * number: max_tokens is a bound here, since clients of this dialect send thousands. An empty region
 * is a gap like any other. */
static um_status size_region(maker *m)
{
    um_params_given *given = &m->given;
    int64_t length = (int64_t)m->work->draft.count;

    if (length == 0 || given->has_infill_length)
        return UM_OK;
    if (given->has_max_tokens && given->max_tokens < length)
        return um_fail_field(m->err, UM_E_VALUE, "max_tokens",
                             "`max_tokens` is %lld; the code to edit has %lld tokens",
                             (long long)given->max_tokens, (long long)length);
    given->has_infill_length = true;
    given->infill_length = length;
    return UM_OK;
}

static um_status make_edit(maker *m)
{
    const um_message *message = &m->request->messages[0];
    um_api_work *work = m->work;
    um_edit_prompt parts;
    um_status status =
        um_edit_prompt_parse(message->content, message->content_length, &parts, m->err);

    if (status != UM_OK)
        return status;
    work->prompt_count = 1;
    status = um_served_encode_text(m->served, um_buf_view(&parts.before), parts.before.length,
                                   EDIT_FIELD, &work->prompts[0], m->err);
    if (status == UM_OK)
        status = encode_suffix(m, um_buf_view(&parts.after), parts.after.length, EDIT_FIELD);
    if (status == UM_OK)
        status = um_served_encode_more(m->served, um_buf_view(&parts.region), parts.region.length,
                                       EDIT_FIELD, &work->draft, m->err);
    if (status == UM_OK)
        status = size_region(m);
    m->place.draft_field = EDIT_FIELD;
    um_edit_prompt_deinit(&parts);
    return status;
}

/* ---- template ------------------------------------------------------------------------------- */

/* Joins the texts of parts [*at, ...) up to the next gap. */
static void join_texts(const um_api_request *request, size_t *at, um_buf *out)
{
    um_buf_clear(out);
    for (; *at < request->part_count && request->parts[*at].text; ++*at)
        um_buf_append(out, request->parts[*at].text, request->parts[*at].length);
}

static um_status add_gap(maker *m, int32_t length)
{
    um_api_work *work = m->work;
    int32_t begin = (int32_t)work->draft.count;

    if (begin + (int64_t)length > m->served->limits.context_max)
        return um_fail_field(m->err, UM_E_CONTEXT_LENGTH, TEMPLATE_FIELD,
                             "This model's maximum context length is %d tokens; the request needs "
                             "more and exceeds the context window.",
                             m->served->limits.context_max);
    for (int32_t i = 0; i < length; i++)
        if (!um_ids_push(&work->draft, UM_DRAFT_MASKED))
            return no_memory(m->err);
    work->gaps[work->gap_count][0] = begin;
    work->gaps[work->gap_count][1] = begin + length;
    work->gap_count++;
    return UM_OK;
}

/* Everything between the first and the last gap stands on the canvas. `text` is scratch. */
static um_status fill_template(maker *m, um_buf *text)
{
    const um_api_request *request = m->request;
    um_api_work *work = m->work;
    size_t at = 0;
    um_status status;

    join_texts(request, &at, &work->leads[0]);
    status = um_served_encode_text(m->served, um_buf_view(&work->leads[0]), work->leads[0].length,
                                   TEMPLATE_FIELD, &work->prompts[0], m->err);
    while (at < request->part_count && status == UM_OK) {
        status = add_gap(m, request->parts[at++].gap);
        join_texts(request, &at, text);
        if (status == UM_OK && at < request->part_count && text->length > 0)
            status = um_served_encode_more(m->served, um_buf_view(text), text->length,
                                           TEMPLATE_FIELD, &work->draft, m->err);
    }
    if (status == UM_OK) {
        um_buf_append(&work->tail, um_buf_view(text), text->length);
        status = encode_suffix(m, um_buf_view(text), text->length, TEMPLATE_FIELD);
    }
    return status;
}

/* The texts are pinned and every gap is filled to its end. */
static um_status make_template(maker *m)
{
    um_api_work *work = m->work;
    um_buf text = {0};
    um_status status;

    if (m->given.has_max_tokens || m->given.has_infill_length)
        return um_fail_field(m->err, UM_E_CONFLICT,
                             m->given.has_max_tokens ? "max_tokens" : "diffusion.infill_length",
                             "the gaps of `" TEMPLATE_FIELD "` say how much is filled in");
    work->gaps = um_mem_calloc(m->request->part_count, sizeof(*work->gaps));
    if (!work->gaps)
        return no_memory(m->err);
    work->prompt_count = 1;
    status = fill_template(m, &text);
    if (status == UM_OK && um_buf_failed(&text))
        status = no_memory(m->err);
    um_buf_deinit(&text);
    if (status != UM_OK)
        return status;
    work->pinned = um_mem_calloc(work->draft.count, sizeof(*work->pinned));
    if (!work->pinned)
        return no_memory(m->err);
    for (size_t i = 0; i < work->draft.count; i++)
        work->pinned[i] = work->draft.data[i] != UM_DRAFT_MASKED;
    m->given.ignore_eos = true; /* an end in a gap would hide the texts behind it */
    m->place.one_block = true;
    m->place.draft_field = TEMPLATE_FIELD;
    return UM_OK;
}

/* ---- submissions ----------------------------------------------------------------------------- */

static um_status make_tokens(maker *m)
{
    if (m->request->part_count > 0)
        return make_template(m);
    switch (m->request->endpoint) {
    case UM_ENDPOINT_CHAT:
    case UM_ENDPOINT_RESPONSES:
        return make_chat(m);
    case UM_ENDPOINT_EDIT:
        return make_edit(m);
    case UM_ENDPOINT_COMPLETIONS:
    case UM_ENDPOINT_FIM:
        return make_completions(m);
    case UM_ENDPOINT_TOKENIZE:
    case UM_ENDPOINT_DETOKENIZE:
        break;
    }
    UM_FATAL("the endpoint generates nothing");
}

static um_submission submission_of(const maker *m, const um_ids *prompt)
{
    const um_api_request *request = m->request;
    const um_api_work *work = m->work;

    return (um_submission){
        .prompt = prompt->data,
        .prompt_tokens = (int32_t)prompt->count,
        .suffix = work->suffix.data,
        .suffix_tokens = (int32_t)work->suffix.count,
        .draft = work->draft.data,
        .pinned = work->pinned,
        .draft_tokens = (int32_t)work->draft.count,
        .stops = request->stops,
        .stop_count = request->stop_count,
        .stop_tokens = request->stop_tokens,
        .stop_token_count = request->stop_token_count,
        .biases = request->biases,
        .bias_count = request->bias_count,
        .want_draft = request->mode != UM_STREAM_SETTLED || work->gap_count > 0,
        .want_guess = request->mode == UM_STREAM_REPLACE ||
                      (request->mode == UM_STREAM_DRAFT && request->draft.guess),
    };
}

/* All choices of prompt `index`. */
static um_status fill_choices(maker *m, size_t index, uint64_t seed, size_t choices)
{
    um_api_work *work = m->work;
    const um_ids *prompt = &work->prompts[index];
    size_t first = index * choices;
    um_submission submission;
    um_status status;

    if (prompt->count + work->suffix.count > INT32_MAX)
        return um_fail_field(m->err, UM_E_CONTEXT_LENGTH, m->place.field, "`%s` has %zu tokens",
                             m->place.field, prompt->count + work->suffix.count);
    submission = submission_of(m, prompt);
    m->place.prompt_tokens = submission.prompt_tokens + submission.suffix_tokens;
    m->place.draft_tokens = submission.draft_tokens;
    status = um_params_resolve(&m->given, &m->served->limits, &m->place, seed, &submission.params,
                               m->err);
    for (size_t i = 0; i < choices && status == UM_OK; i++) {
        submission.params.choice = (uint32_t)i;
        work->submissions[first + i] = submission;
        work->frames[first + i] = (um_stream_frame){
            .lead = work->leads[index].length > 0 ? um_buf_view(&work->leads[index]) : NULL,
            .lead_length = work->leads[index].length,
            .tail = work->tail.length > 0 ? um_buf_view(&work->tail) : NULL,
            .tail_length = work->tail.length,
            .gaps = (const int32_t(*)[2])work->gaps,
            .gap_count = work->gap_count,
        };
    }
    return status;
}

static um_status make_submissions(maker *m, uint64_t seed)
{
    um_api_work *work = m->work;
    size_t choices = (size_t)m->request->choices;
    um_status status = um_buf_failed(&work->tail) ? no_memory(m->err) : UM_OK;

    UM_ASSERT(choices >= 1 && choices <= UM_CHOICES_MAX);
    work->count = work->prompt_count * choices;
    work->submissions = um_mem_calloc(work->count, sizeof(*work->submissions));
    work->frames = um_mem_calloc(work->count, sizeof(*work->frames));
    if (!work->submissions || !work->frames)
        return no_memory(m->err);
    for (size_t i = 0; i < work->prompt_count && status == UM_OK; i++)
        status =
            um_buf_failed(&work->leads[i]) ? no_memory(m->err) : fill_choices(m, i, seed, choices);
    return status;
}

um_status um_api_work_make(const um_served *served, const um_api_request *request, uint64_t seed,
                           um_api_work *out, um_err *err)
{
    maker m = {.served = served,
               .request = request,
               .work = out,
               .given = request->given,
               .place = {.field = um_api_prompt_field(request->endpoint)},
               .err = err};
    um_status status;

    *out = (um_api_work){0};
    status = make_tokens(&m);
    if (status == UM_OK)
        status = make_submissions(&m, seed);
    if (status != UM_OK)
        um_api_work_deinit(out);
    return status;
}

void um_api_work_deinit(um_api_work *work)
{
    for (size_t i = 0; i < UM_PROMPTS_MAX; i++) {
        um_ids_deinit(&work->prompts[i]);
        um_buf_deinit(&work->leads[i]);
    }
    um_ids_deinit(&work->suffix);
    um_ids_deinit(&work->draft);
    um_buf_deinit(&work->tail);
    um_mem_free(work->pinned);
    um_mem_free(work->gaps);
    um_mem_free(work->submissions);
    um_mem_free(work->frames);
    *work = (um_api_work){0};
}
