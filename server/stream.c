#include "server/stream.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "core/base/log.h"
#include "core/base/mem.h"
#include "server/http_error.h"

/* LiteLLM's loop guard raises after 100 equal consecutive contents; a model that repeats a token
 * would trip it. From here on equal text is held until it joins the next. */
#define EQUAL_CHUNKS_MAX 50

typedef struct choice {
    uint64_t id; /* of the engine */
    um_params params;
    um_buf text;     /* streamed: not yet written; else the whole answer; owned */
    um_buf previous; /* content of the last chunk, owned */
    int equal_chunks;
    um_usage usage; /* so far */
    um_finish finish;
    bool done;
} choice;

struct um_stream {
    um_stream_options options;
    um_reply_head head;
    um_exchange *exchange; /* borrowed; NULL once answered or the client is gone */
    bool begun;            /* the 200 of a stream is out */
    um_buf line;           /* scratch for one event, owned */
    size_t count;
    size_t open;     /* choices without their last event */
    choice *choices; /* [count], owned */
};

static void make_id(um_endpoint endpoint, char *out, size_t size)
{
    unsigned char bytes[16];
    int used = snprintf(out, size, "%s", endpoint == UM_ENDPOINT_CHAT ? "chatcmpl-" : "cmpl-");

    /* Below 256 bytes getrandom neither blocks (after boot) nor returns less. */
    if (getrandom(bytes, sizeof(bytes), 0) != (ssize_t)sizeof(bytes))
        UM_FATAL("getrandom");
    for (size_t i = 0; i < sizeof(bytes); i++)
        used += snprintf(out + used, size - (size_t)used, "%02x", bytes[i]);
}

um_status um_stream_create(const um_stream_options *options, const um_submission *submissions,
                           const um_stream_frame *frames, size_t count, um_stream **out,
                           um_err *err)
{
    um_stream *stream = um_mem_zalloc(sizeof(*stream));

    (void)frames;
    *out = NULL;
    if (stream)
        stream->choices = um_mem_calloc(count, sizeof(*stream->choices));
    if (!stream || !stream->choices) {
        um_mem_free(stream);
        return um_fail(err, UM_E_OVERLOADED, "no memory for an answer with %zu choices", count);
    }
    stream->options = *options;
    stream->head = (um_reply_head){.endpoint = options->endpoint,
                                   .created = um_clock_unix_seconds(),
                                   .model = options->model,
                                   .fingerprint = options->fingerprint};
    make_id(options->endpoint, stream->head.id, sizeof(stream->head.id));
    stream->count = count;
    stream->open = count;
    for (size_t i = 0; i < count; i++) {
        stream->choices[i].params = submissions[i].params;
        stream->choices[i].usage.prompt_tokens = submissions[i].prompt_tokens;
    }
    *out = stream;
    return UM_OK;
}

void um_stream_destroy(um_stream *stream)
{
    if (!stream)
        return;
    for (size_t i = 0; i < stream->count; i++) {
        um_buf_deinit(&stream->choices[i].text);
        um_buf_deinit(&stream->choices[i].previous);
    }
    um_mem_free(stream->choices);
    um_buf_deinit(&stream->line);
    um_mem_free(stream);
}

uint64_t um_stream_id(const um_stream *stream, size_t index)
{
    return stream->choices[index].id;
}

size_t um_stream_count(const um_stream *stream)
{
    return stream->count;
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

static void write_line(um_stream *stream)
{
    um_exchange_stream_write(stream->exchange, um_buf_view(&stream->line), stream->line.length);
    um_buf_clear(&stream->line);
}

/* After the 200 an error is an event, then a clean end; where memory is too short even for that,
 * the connection breaks, which clients take for the failure that it is. */
static void fail(um_stream *stream, const um_err *err)
{
    um_exchange *exchange;

    cancel_all(stream);
    if (!stream->exchange)
        return;
    if (!stream->begun) {
        um_stream_refuse(let_go(stream), stream->options.engine, err);
        return;
    }
    um_buf_clear(&stream->line);
    um_buf_text(&stream->line, "data: ");
    um_http_error_body(err, &stream->line);
    um_buf_text(&stream->line, "\n\ndata: [DONE]\n\n");
    if (um_buf_failed(&stream->line)) {
        um_exchange_stream_abort(let_go(stream));
        return;
    }
    write_line(stream);
    exchange = let_go(stream);
    um_exchange_stream_end(exchange);
}

static void fail_memory(um_stream *stream)
{
    um_err err = {0};

    um_fail(&err, UM_E_OVERLOADED, "no memory for the answer");
    fail(stream, &err);
}

static um_usage total_usage(const um_stream *stream)
{
    um_usage total = {0};

    for (size_t i = 0; i < stream->count; i++) {
        const um_usage *usage = &stream->choices[i].usage;

        total.prompt_tokens += usage->prompt_tokens;
        total.completion_tokens += usage->completion_tokens;
        total.steps += usage->steps;
        total.blocks += usage->blocks;
        total.canvas_tokens += usage->canvas_tokens;
    }
    return total;
}

/* ---- streamed ------------------------------------------------------------------------------- */

static void write_chunk(um_stream *stream, um_chunk_kind kind, size_t index)
{
    const um_stream_options *options = &stream->options;
    um_usage usage = total_usage(stream);
    bool usage_now =
        options->include_usage && (options->continuous_usage || kind == UM_CHUNK_USAGE);
    um_chunk chunk = {.kind = kind,
                      .index = index,
                      .with_usage = options->include_usage,
                      .usage = usage_now ? &usage : NULL};

    if (kind != UM_CHUNK_USAGE) {
        const choice *c = &stream->choices[index];

        chunk.choice = (um_reply_choice){.text = "", .finish = c->finish};
        if (kind == UM_CHUNK_TEXT) {
            chunk.choice.text = um_buf_view(&c->text);
            chunk.choice.length = c->text.length;
        }
        if (kind == UM_CHUNK_FINISH && options->echo_settings)
            chunk.echo = &c->params;
    }
    um_reply_chunk(&stream->head, &chunk, &stream->line);
    if (um_buf_failed(&stream->line))
        fail_memory(stream);
    else
        write_line(stream);
}

/* Roles come first, one per choice in index order: parsers of the official clients insist. */
static void begin(um_stream *stream)
{
    static const char accepted[] = ": accepted\n\n";

    stream->begun = true;
    um_exchange_stream_begin(stream->exchange);
    um_exchange_stream_write(stream->exchange, accepted, sizeof(accepted) - 1);
    if (stream->options.endpoint == UM_ENDPOINT_CHAT)
        for (size_t i = 0; i < stream->count && stream->exchange; i++)
            write_chunk(stream, UM_CHUNK_ROLE, i);
}

static bool same_text(const um_buf *a, const um_buf *b)
{
    return a->length == b->length && memcmp(um_buf_view(a), um_buf_view(b), a->length) == 0;
}

static void write_text(um_stream *stream, size_t index)
{
    choice *c = &stream->choices[index];
    um_buf written = c->text;
    bool equal = same_text(&c->text, &c->previous);

    if (c->text.length == 0)
        return;
    if (!c->done && (um_exchange_unsent(stream->exchange) > UM_STREAM_UNSENT_MAX ||
                     (equal && c->equal_chunks >= EQUAL_CHUNKS_MAX)))
        return;
    c->equal_chunks = equal ? c->equal_chunks + 1 : 0;
    write_chunk(stream, UM_CHUNK_TEXT, index);
    stream->options.counts->settled++;
    c->text = c->previous; /* the old storage is used again */
    um_buf_clear(&c->text);
    c->previous = written;
}

static void end_stream(um_stream *stream)
{
    static const char done[] = "data: [DONE]\n\n";

    if (stream->options.include_usage)
        write_chunk(stream, UM_CHUNK_USAGE, 0);
    if (!stream->exchange)
        return;
    um_exchange_stream_write(stream->exchange, done, sizeof(done) - 1);
    um_exchange_stream_end(let_go(stream));
}

static void advance_streamed(um_stream *stream, size_t index, const um_event *event)
{
    if (!stream->begun && (event->started || event->done))
        begin(stream);
    if (!stream->begun)
        return;
    if (stream->exchange)
        write_text(stream, index);
    if (stream->exchange && event->done)
        write_chunk(stream, UM_CHUNK_FINISH, index);
    if (stream->exchange && stream->open == 0)
        end_stream(stream);
}

/* ---- as a whole ----------------------------------------------------------------------------- */

static void reply_whole(um_stream *stream)
{
    um_reply_choice *choices = um_mem_calloc(stream->count, sizeof(*choices));
    um_usage usage = total_usage(stream);
    um_buf body = {0};

    for (size_t i = 0; choices && i < stream->count; i++) {
        const choice *c = &stream->choices[i];

        choices[i] = (um_reply_choice){
            .text = um_buf_view(&c->text), .length = c->text.length, .finish = c->finish};
    }
    if (choices)
        um_reply_body(&stream->head, choices, stream->count, &usage,
                      stream->options.echo_settings ? &stream->choices[0].params : NULL, &body);
    if (!choices || um_buf_failed(&body))
        fail_memory(stream);
    else
        um_exchange_reply(let_go(stream), 200, "application/json", um_buf_view(&body), body.length);
    um_buf_deinit(&body);
    um_mem_free(choices);
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
    if (event->done && event->error.status != UM_OK) {
        fail(stream, &event->error);
        return;
    }
    um_buf_append(&c->text, um_buf_view(&event->text), event->text.length);
    if (um_buf_failed(&c->text))
        fail_memory(stream);
    else if (stream->options.streamed)
        advance_streamed(stream, index, event);
    else if (stream->open == 0)
        reply_whole(stream);
}
