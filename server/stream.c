#include "server/stream.h"

#include <math.h>
#include <string.h>

#include "core/base/log.h"
#include "core/base/mem.h"
#include "server/draft.h"
#include "server/http_error.h"
#include "server/reply.h"

/* LiteLLM's loop guard raises after 100 equal consecutive contents; a model that repeats a token
 * would trip it. From here on equal text is held until it joins the next. */
#define EQUAL_CHUNKS_MAX 50

/* Mode replace: whole texts, never two equal ones in a row, and the last is the final one. So a text
 * without a visible mask, which may turn out to be the final one, waits for the next. */
typedef struct show {
    um_buf shown; /* the last one sent */
    um_buf held;
    bool holds;
    double progress; /* of the held one */
} show;

typedef struct choice {
    uint64_t id; /* of the engine */
    um_params params;
    um_buf text; /* streamed: not yet written; else, and in mode replace, the whole answer; owned */
    size_t lead; /* so many bytes of the answer are not the canvas' */
    um_buf tail; /* what follows the canvas' text, owned */
    um_buf whole;    /* dialects that repeat the whole text at the end: it; owned */
    um_buf previous; /* content of the last chunk, owned */
    int equal_chunks;
    um_logprobs logprobs;
    um_draft *draft;   /* NULL: nobody asked; owned */
    uint64_t frame_ns; /* when the last frame went out; 0: none did */
    bool skipping;     /* frames are left out until the reader has caught up */
    show show;
    int32_t (*gaps)[2]; /* [gap_count] owned */
    size_t gap_count;
    um_usage usage; /* so far */
    um_finish finish;
    bool done;
} choice;

struct um_stream {
    um_stream_options options;
    um_reply reply;
    um_exchange *exchange; /* borrowed; NULL once answered or the client is gone */
    bool begun;            /* the 200 of a stream is out */
    um_buf line;           /* scratch for events, owned */
    um_buf frame;          /* scratch for a draft frame or a whole text, owned */
    size_t count;
    size_t open;     /* choices without their last event */
    choice *choices; /* [count], owned */
};

/* ---- life ----------------------------------------------------------------------------------- */

static um_status open_gaps(choice *c, const um_stream_frame *frame)
{
    if (!frame || frame->gap_count == 0)
        return UM_OK;
    c->gaps = um_mem_calloc(frame->gap_count, sizeof(*c->gaps));
    if (!c->gaps)
        return UM_E_OVERLOADED;
    memcpy(c->gaps, frame->gaps, frame->gap_count * sizeof(*c->gaps));
    c->gap_count = frame->gap_count;
    return UM_OK;
}

static um_status open_draft(const um_stream_options *options, const um_submission *submission,
                            choice *c, um_err *err)
{
    const um_draft_facts facts = {.tokenizer = options->tokenizer,
                                  .params = &c->params,
                                  .mask_token = options->mask_token,
                                  .end_tokens = options->end_tokens,
                                  .end_token_count = options->end_token_count,
                                  .stop_tokens = submission->stop_tokens,
                                  .stop_token_count = submission->stop_token_count,
                                  .options = options->draft};

    return submission->want_draft ? um_draft_create(&facts, &c->draft, err) : UM_OK;
}

static um_status open_choice(um_stream *stream, const um_submission *submission,
                             const um_stream_frame *frame, choice *c, um_err *err)
{
    um_status status = open_gaps(c, frame);

    c->params = submission->params;
    c->usage.prompt_tokens = submission->prompt_tokens + submission->suffix_tokens;
    c->logprobs =
        (um_logprobs){.tokenizer = stream->options.tokenizer, .width = submission->params.logprobs};
    if (frame && frame->lead) {
        um_buf_append(&c->text, frame->lead, frame->lead_length);
        c->lead = frame->lead_length;
    }
    if (frame && frame->tail)
        um_buf_append(&c->tail, frame->tail, frame->tail_length);
    if (status != UM_OK || um_buf_failed(&c->text) || um_buf_failed(&c->tail))
        return um_fail(err, UM_E_OVERLOADED, "no memory for an answer");
    return open_draft(&stream->options, submission, c, err);
}

static um_status open_reply(um_stream *stream, const um_submission *submissions, um_err *err)
{
    const um_stream_options *options = &stream->options;

    stream->reply = (um_reply){.endpoint = options->endpoint,
                               .mode = options->mode,
                               .model = options->model,
                               .fingerprint = options->fingerprint,
                               .count = stream->count,
                               .include_usage = options->include_usage,
                               .continuous_usage = options->continuous_usage,
                               .echo_settings = options->echo_settings,
                               .seeded = submissions[0].draft_tokens > 0,
                               .params = &stream->choices[0].params};
    if (options->endpoint == UM_ENDPOINT_RESPONSES && options->responses) {
        stream->reply.responses = *options->responses;
        *options->responses = (um_responses_echo){0};
    }
    return um_reply_open(&stream->reply, err);
}

um_status um_stream_create(const um_stream_options *options, const um_submission *submissions,
                           const um_stream_frame *frames, size_t count, um_stream **out,
                           um_err *err)
{
    um_stream *stream = um_mem_zalloc(sizeof(*stream));
    um_status status = UM_OK;

    *out = NULL;
    if (stream)
        stream->choices = um_mem_calloc(count, sizeof(*stream->choices));
    if (!stream || !stream->choices) {
        um_mem_free(stream);
        return um_fail(err, UM_E_OVERLOADED, "no memory for an answer with %zu choices", count);
    }
    stream->options = *options;
    stream->count = count;
    stream->open = count;
    for (size_t i = 0; i < count && status == UM_OK; i++)
        status = open_choice(stream, &submissions[i], frames ? &frames[i] : NULL,
                             &stream->choices[i], err);
    if (status == UM_OK)
        status = open_reply(stream, submissions, err);
    if (status != UM_OK) {
        um_stream_destroy(stream);
        return status;
    }
    *out = stream;
    return UM_OK;
}

static void close_choice(choice *c)
{
    um_buf_deinit(&c->text);
    um_buf_deinit(&c->tail);
    um_buf_deinit(&c->whole);
    um_buf_deinit(&c->previous);
    um_logprobs_deinit(&c->logprobs);
    um_draft_destroy(c->draft);
    um_buf_deinit(&c->show.shown);
    um_buf_deinit(&c->show.held);
    um_mem_free(c->gaps);
}

void um_stream_destroy(um_stream *stream)
{
    if (!stream)
        return;
    for (size_t i = 0; i < stream->count; i++)
        close_choice(&stream->choices[i]);
    um_mem_free(stream->choices);
    um_reply_close(&stream->reply);
    um_buf_deinit(&stream->line);
    um_buf_deinit(&stream->frame);
    um_mem_free(stream);
}

uint64_t um_stream_id(const um_stream *stream, size_t index)
{
    return stream->choices[index].id;
}

bool um_stream_finished(const um_stream *stream)
{
    return stream->open == 0;
}

/* ---- ends ----------------------------------------------------------------------------------- */

static void cancel_all(um_stream *stream)
{
    for (size_t i = 0; i < stream->count; i++)
        if (!stream->choices[i].done)
            um_engine_cancel(stream->options.engine, stream->choices[i].id);
}

static void client_gone(void *context)
{
    um_stream *stream = context;

    stream->exchange = NULL;
    cancel_all(stream);
}

/* The exchange is about to be answered for good: it must not call back any more. */
static um_exchange *let_go(um_stream *stream)
{
    um_exchange *exchange = stream->exchange;

    um_exchange_set_context(exchange, NULL, NULL);
    stream->exchange = NULL;
    return exchange;
}

void um_stream_refuse(um_exchange *exchange, um_engine *engine, const um_err *err)
{
    unsigned http_status = um_http_error_find(err->status)->http_status;

    if ((http_status == 429 || http_status == 503) && engine) {
        double milliseconds = ceil(um_engine_wait_estimate(engine) * 1000);

        um_exchange_retry_after(exchange, milliseconds < 30000 ? (uint32_t)milliseconds : 30000);
    }
    um_exchange_reply_error(exchange, err);
}

/* After the 200 an error is an event, then a clean end; where memory is too short even for that,
 * the connection breaks, which clients take for the failure that it is. */
void um_stream_fail(um_stream *stream, const um_err *err)
{
    um_err told = *err;
    um_exchange *exchange;

    cancel_all(stream);
    if (!stream->exchange)
        return;
    um_log(UM_LOG_WARN, "request_failed", "id=\"%s\" status=%s message=\"%s\"",
           um_exchange_request_id(stream->exchange), um_status_name(err->status), err->message);
    exchange = let_go(stream);
    if (!stream->begun) {
        um_stream_refuse(exchange, stream->options.engine, err);
        return;
    }
    if (told.status == UM_E_ENGINE) /* for who can still go elsewhere; here something broke */
        told.status = UM_E_DEVICE;
    um_buf_clear(&stream->line);
    stream->reply.dialect->error(&stream->reply, &told, &stream->line);
    if (um_buf_failed(&stream->line)) {
        um_exchange_stream_abort(exchange);
        return;
    }
    um_exchange_stream_write(exchange, um_buf_view(&stream->line), stream->line.length);
    um_exchange_stream_end(exchange);
}

static void fail_memory(um_stream *stream)
{
    um_err err = {0};

    um_fail(&err, UM_E_OVERLOADED, "no memory for the answer");
    um_stream_fail(stream, &err);
}

/* A prompt counts once, whatever the number of its choices. */
static um_usage total_usage(const um_stream *stream)
{
    size_t each = stream->options.choices_per_prompt > 0 ? stream->options.choices_per_prompt : 1;
    um_usage total = {0};

    for (size_t i = 0; i < stream->count; i++) {
        const um_usage *usage = &stream->choices[i].usage;

        total.prompt_tokens += i % each == 0 ? usage->prompt_tokens : 0;
        total.completion_tokens += usage->completion_tokens;
        total.steps += usage->steps;
        total.blocks += usage->blocks;
        total.canvas_tokens += usage->canvas_tokens;
        total.accepted_tokens += usage->accepted_tokens;
        total.rejected_tokens += usage->rejected_tokens;
        total.ended_by_deadline = total.ended_by_deadline || usage->ended_by_deadline;
    }
    return total;
}

/* ---- writing -------------------------------------------------------------------------------- */

/* What stream->line holds goes out. False when it could not be built: the stream has ended then. */
static bool write_line(um_stream *stream)
{
    if (um_buf_failed(&stream->line)) {
        fail_memory(stream);
        return false;
    }
    um_exchange_stream_write(stream->exchange, um_buf_view(&stream->line), stream->line.length);
    um_buf_deinit(&stream->line); /* thousands of streams may be silent for long */
    return true;
}

static um_reply_part part_of(um_stream *stream, size_t index)
{
    choice *c = &stream->choices[index];

    return (um_reply_part){.index = index,
                           .text = "",
                           .logprobs = c->params.logprobs > 0 ? &c->logprobs : NULL,
                           .params = &c->params};
}

static bool write_delta(um_stream *stream, const um_reply_part *part)
{
    if (stream->options.continuous_usage)
        stream->reply.usage = total_usage(stream);
    stream->reply.dialect->delta(&stream->reply, part, &stream->line);
    if (part->logprobs && part->logprobs->failed)
        stream->line.failed = true;
    return write_line(stream);
}

/* Roles, or whatever else comes first. */
static void begin(um_stream *stream)
{
    static const char accepted[] = ": accepted\n\n";

    stream->begun = true;
    um_exchange_stream_begin(stream->exchange);
    um_exchange_stream_write(stream->exchange, accepted, sizeof(accepted) - 1);
    stream->reply.usage = total_usage(stream);
    stream->reply.dialect->begin(&stream->reply, &stream->line);
    write_line(stream);
}

static bool same_text(const um_buf *a, const um_buf *b)
{
    return a->length == b->length && memcmp(um_buf_view(a), um_buf_view(b), a->length) == 0;
}

static void swap(um_buf *a, um_buf *b)
{
    um_buf old = *a;

    *a = *b;
    *b = old;
}

/* ---- settled text and draft frames ---------------------------------------------------------- */

static bool text_is_due(const um_stream *stream, const choice *c)
{
    return c->text.length > 0 &&
           (c->done ||
            (um_exchange_unsent(stream->exchange) <= UM_STREAM_UNSENT_MAX &&
             (c->equal_chunks < EQUAL_CHUNKS_MAX || !same_text(&c->text, &c->previous))));
}

/* Text that waits and is due, and a frame (NULL: none), in one event where the dialect has that. */
static void write_content(um_stream *stream, size_t index, bool with_text, const um_buf *frame)
{
    choice *c = &stream->choices[index];
    bool apart = stream->reply.dialect->frames_apart, due = with_text && text_is_due(stream, c);
    um_reply_part part = part_of(stream, index), alone = part;

    part.frame = apart ? NULL : frame;
    alone.frame = frame;
    if (due) {
        part.text = um_buf_view(&c->text);
        part.length = c->text.length;
    }
    if ((due || part.frame) && !write_delta(stream, &part))
        return;
    if (due) {
        stream->options.counts->settled++;
        c->equal_chunks = same_text(&c->text, &c->previous) ? c->equal_chunks + 1 : 0;
        swap(&c->text, &c->previous); /* the old storage is used again */
        um_buf_clear(&c->text);
    }
    if (apart && frame)
        write_delta(stream, &alone);
}

/* The reader has room for a frame. After one that had to be left out the next is full. */
static bool frame_fits(const um_stream *stream, choice *c)
{
    size_t unsent = um_exchange_unsent(stream->exchange);

    if (unsent > UM_STREAM_FRAMES_MAX && !c->skipping) {
        c->skipping = true;
        um_draft_skip(c->draft);
    }
    if (unsent < UM_STREAM_FRAMES_MAX / 2)
        c->skipping = false;
    return !c->skipping;
}

static uint64_t now_of(const um_stream *stream)
{
    return um_clock_now_ns(stream->options.clock ? stream->options.clock : um_clock_system());
}

/* Frames come no more often than the client asked for, but the first at once, and the last of a
 * block always. */
static bool frame_is_due(const um_stream *stream, choice *c, bool block_ended)
{
    uint64_t interval_ns = (uint64_t)stream->options.draft.interval_ms * 1000000;

    return um_draft_has_news(c->draft) && frame_fits(stream, c) &&
           (block_ended || c->frame_ns == 0 || now_of(stream) - c->frame_ns >= interval_ns);
}

static void write_frame(um_stream *stream, size_t index, bool with_text)
{
    choice *c = &stream->choices[index];

    um_buf_clear(&stream->frame);
    if (um_draft_frame(c->draft, &stream->frame) == UM_DRAFT_FULL)
        stream->options.counts->full++;
    else
        stream->options.counts->patch++;
    c->frame_ns = now_of(stream);
    if (um_buf_failed(&stream->frame))
        fail_memory(stream);
    else
        write_content(stream, index, with_text, &stream->frame);
}

/* Tells the draft of the event's steps. With `framed`, blocks that end before the event does have a
 * frame of their own; the event's text may be of later blocks, so it does not go along. */
static void feed_draft(um_stream *stream, size_t index, const um_event *event, bool framed)
{
    choice *c = &stream->choices[index];
    const um_draft_change *changes = event->changes;

    for (int32_t i = 0; i < event->step_count && stream->exchange; i++) {
        const um_draft_step *step = &event->steps[i];

        um_draft_apply(c->draft, step, changes);
        if (step->changes > 0)
            changes += step->changes; /* of an event without changes they are NULL */
        if (framed && step->block_ended && i + 1 < event->step_count &&
            frame_is_due(stream, c, true))
            write_frame(stream, index, false);
    }
    um_draft_guess(c->draft, event->guesses, event->guess_count);
    if (event->done)
        um_draft_finish(c->draft);
}

static void advance_settled(um_stream *stream, size_t index, const um_event *event)
{
    choice *c = &stream->choices[index];
    bool shows = stream->options.mode == UM_STREAM_DRAFT && c->draft, block_ended;

    if (c->draft)
        feed_draft(stream, index, event, shows);
    if (!stream->exchange)
        return;
    block_ended = event->step_count > 0 && event->steps[event->step_count - 1].block_ended;
    if (shows &&
        (frame_is_due(stream, c, block_ended) || (c->done && um_draft_has_news(c->draft)))) {
        write_frame(stream, index, true);
    } else {
        stream->options.counts->dropped +=
            shows && event->step_count > 0 && um_draft_has_news(c->draft);
        write_content(stream, index, true, NULL);
    }
}

/* ---- whole texts ---------------------------------------------------------------------------- */

static void write_show(um_stream *stream, size_t index, um_buf *text, double progress,
                       um_finish finish)
{
    choice *c = &stream->choices[index];
    um_reply_part part = part_of(stream, index);

    part.text = um_buf_view(text);
    part.length = text->length;
    part.progress = progress;
    part.finish = finish;
    if (!write_delta(stream, &part))
        return;
    if (finish == UM_FINISH_NONE)
        stream->options.counts->full++;
    else
        stream->options.counts->settled++;
    swap(text, &c->show.shown);
}

static void end_show(um_stream *stream, size_t index)
{
    choice *c = &stream->choices[index];

    if (c->show.holds && same_text(&c->text, &c->show.shown))
        write_show(stream, index, &c->show.held, c->show.progress, UM_FINISH_NONE);
    if (stream->exchange && !same_text(&c->text, &c->show.shown))
        write_show(stream, index, &c->text, 1, c->finish);
}

/* The text as it stands is in stream->frame. */
static void show_text(um_stream *stream, size_t index, um_draft_share share)
{
    choice *c = &stream->choices[index];
    um_buf *text = &stream->frame;
    double progress = share.visible > 0 ? (double)share.filled / share.visible : 1;

    if (c->show.holds && same_text(text, &c->show.held))
        return;
    if (share.blank > 0) {
        c->show.holds = false;
        if (!same_text(text, &c->show.shown))
            write_show(stream, index, text, progress, UM_FINISH_NONE);
        return;
    }
    if (c->show.holds)
        write_show(stream, index, &c->show.held, c->show.progress, UM_FINISH_NONE);
    else if (same_text(text, &c->show.shown))
        return;
    swap(text, &c->show.held);
    c->show.holds = true;
    c->show.progress = progress;
}

static void advance_replace(um_stream *stream, size_t index, const um_event *event)
{
    choice *c = &stream->choices[index];
    um_draft_share share;

    feed_draft(stream, index, event, false);
    if (event->done) {
        end_show(stream, index);
        return;
    }
    if (!frame_is_due(stream, c, false)) {
        stream->options.counts->dropped += event->step_count > 0 && um_draft_has_news(c->draft);
        return;
    }
    um_buf_clear(&stream->frame);
    um_buf_append(&stream->frame, um_buf_view(&c->text), c->lead);
    share = um_draft_show(c->draft, &stream->frame);
    um_buf_append(&stream->frame, um_buf_view(&c->tail), c->tail.length);
    c->frame_ns = now_of(stream);
    if (um_buf_failed(&stream->frame))
        fail_memory(stream);
    else
        show_text(stream, index, share);
}

/* ---- the ends of streams -------------------------------------------------------------------- */

/* What stands as `diffusion` beside the end of a choice, in stream->frame; NULL: nothing. */
static const um_buf *last_frame(um_stream *stream, choice *c)
{
    bool shows = stream->options.streamed && stream->options.mode == UM_STREAM_DRAFT;

    um_buf_clear(&stream->frame);
    if (!c->draft || (!shows && c->gap_count == 0))
        return NULL;
    if (shows) {
        um_draft_end(c->draft, (const int32_t(*)[2])c->gaps, c->gap_count, &stream->frame);
    } else {
        um_buf_char(&stream->frame, '{');
        um_draft_gaps(c->draft, (const int32_t(*)[2])c->gaps, c->gap_count, &stream->frame);
        um_buf_char(&stream->frame, '}');
    }
    return &stream->frame;
}

static void write_finish(um_stream *stream, size_t index)
{
    choice *c = &stream->choices[index];
    um_reply_part part = part_of(stream, index);

    part.finish = c->finish;
    part.progress = 1;
    part.frame = last_frame(stream, c);
    if (stream->reply.dialect->finish_has_text) {
        part.text = um_buf_view(&c->whole);
        part.length = c->whole.length;
    }
    stream->reply.usage = total_usage(stream);
    stream->reply.dialect->finish(&stream->reply, &part, &stream->line);
    if (um_buf_failed(&stream->frame) || c->logprobs.failed)
        fail_memory(stream);
    else
        write_line(stream);
}

static void end_stream(um_stream *stream)
{
    stream->reply.usage = total_usage(stream);
    stream->reply.dialect->end(&stream->reply, &stream->line);
    if (write_line(stream))
        um_exchange_stream_end(let_go(stream));
}

static void advance_streamed(um_stream *stream, size_t index, const um_event *event)
{
    if (!stream->begun && (event->started || event->done))
        begin(stream);
    if (!stream->begun || !stream->exchange)
        return;
    if (stream->reply.mode == UM_STREAM_REPLACE)
        advance_replace(stream, index, event);
    else
        advance_settled(stream, index, event);
    if (stream->exchange && event->done)
        write_finish(stream, index);
    if (stream->exchange && stream->open == 0)
        end_stream(stream);
}

/* ---- as a whole ----------------------------------------------------------------------------- */

/* The parts of all choices; their frames stand in `frames`. */
static void fill_parts(um_stream *stream, um_reply_part *parts, um_buf *frames)
{
    for (size_t i = 0; i < stream->count; i++) {
        choice *c = &stream->choices[i];

        parts[i] = part_of(stream, i);
        parts[i].text = um_buf_view(&c->text);
        parts[i].length = c->text.length;
        parts[i].finish = c->finish;
        if (last_frame(stream, c)) {
            swap(&stream->frame, &frames[i]);
            parts[i].frame = &frames[i];
        }
    }
}

static void reply_whole(um_stream *stream)
{
    um_reply_part *parts = um_mem_calloc(stream->count, sizeof(*parts));
    um_buf *frames = um_mem_calloc(stream->count, sizeof(*frames));
    um_buf *body = &stream->line;
    bool failed = !parts || !frames;

    if (!failed) {
        fill_parts(stream, parts, frames);
        stream->reply.usage = total_usage(stream);
        stream->reply.dialect->whole(&stream->reply, parts, body);
        failed = um_buf_failed(body);
    }
    for (size_t i = 0; frames && i < stream->count; i++) {
        failed = failed || um_buf_failed(&frames[i]) || stream->choices[i].logprobs.failed;
        um_buf_deinit(&frames[i]);
    }
    if (failed)
        fail_memory(stream);
    else
        um_exchange_reply(let_go(stream), 200, "application/json", um_buf_view(body), body->length);
    um_mem_free(frames);
    um_mem_free(parts);
}

/* ---- events --------------------------------------------------------------------------------- */

void um_stream_attach(um_stream *stream, um_exchange *exchange, const uint64_t *ids)
{
    for (size_t i = 0; i < stream->count; i++)
        stream->choices[i].id = ids[i];
    stream->exchange = exchange;
    um_exchange_set_context(exchange, stream, client_gone);
    if (stream->options.streamed && stream->options.early_headers)
        begin(stream);
}

static bool take_news(um_stream *stream, choice *c, const um_event *event)
{
    bool keeps = stream->options.streamed && stream->reply.dialect->finish_has_text;
    size_t before = c->text.length;

    um_buf_append(&c->text, um_buf_view(&event->text), event->text.length);
    if (event->done)
        um_buf_append(&c->text, um_buf_view(&c->tail), c->tail.length);
    if (keeps)
        um_buf_append(&c->whole, um_buf_view(&c->text) + before, c->text.length - before);
    if (event->logprob_rows > 0 && c->params.logprobs > 0)
        um_logprobs_add(&c->logprobs, event->logprobs, event->logprob_rows);
    return !um_buf_failed(&c->text) && !um_buf_failed(&c->whole) && !c->logprobs.failed;
}

void um_stream_event(um_stream *stream, size_t index, um_event *event)
{
    choice *c = &stream->choices[index];

    UM_ASSERT(!c->done && event->id == c->id);
    c->usage = event->usage;
    if (event->done) {
        c->done = true;
        c->finish = event->finish;
        stream->open--;
    }
    if (!stream->exchange)
        return;
    if (event->done && event->status != UM_OK) {
        const um_err error = um_event_error(event);

        um_stream_fail(stream, &error);
        return;
    }
    if (!take_news(stream, c, event)) {
        fail_memory(stream);
    } else if (stream->options.streamed) {
        advance_streamed(stream, index, event);
    } else {
        if (c->draft)
            feed_draft(stream, index, event, false);
        if (stream->open == 0)
            reply_whole(stream);
    }
}
