/*
 * JSON of replies: the response object, and the chunks of a stream as SSE events. Writes text;
 * knows nothing of connections. Shapes: OpenAI's chat.completion, chat.completion.chunk and
 * text_completion, with `usage.diffusion` and, on request, `diffusion` beside them.
 *
 * What official clients' parsers demand is kept here: `role` in the first chunk only, `delta` {} in
 * the finish chunk, own data never inside `delta`, one line per event, no event names.
 *
 * Running out of memory shows in um_buf_failed of the output.
 */
#ifndef UM_SERVER_RESPONSE_JSON_H
#define UM_SERVER_RESPONSE_JSON_H

#include "core/engine/outbox.h"
#include "core/engine/params.h"
#include "server/request_json.h"

/* What every object of one response repeats. */
typedef struct um_reply_head {
    um_endpoint endpoint;
    char id[48];
    int64_t created;         /* Unix seconds */
    const char *model;       /* borrowed */
    const char *fingerprint; /* borrowed */
} um_reply_head;

typedef struct um_reply_choice {
    const char *text;
    size_t length;
    um_finish finish;
} um_reply_choice;

/* The whole response. `echo` (may be NULL): the settings to report as `diffusion`. */
void um_reply_body(const um_reply_head *head, const um_reply_choice *choices, size_t count,
                   const um_usage *usage, const um_params *echo, um_buf *out);

typedef enum um_chunk_kind {
    UM_CHUNK_ROLE, /* chat only: the first of a choice */
    UM_CHUNK_TEXT,
    UM_CHUNK_FINISH,
    UM_CHUNK_USAGE, /* no choices */
} um_chunk_kind;

typedef struct um_chunk {
    um_chunk_kind kind;
    size_t index;
    um_reply_choice choice;
    bool with_usage;       /* the stream reports usage: null in chunks that have none */
    const um_usage *usage; /* may be NULL */
    const um_params *echo; /* may be NULL */
} um_chunk;

/* "data: {...}\n\n" */
void um_reply_chunk(const um_reply_head *head, const um_chunk *chunk, um_buf *out);

#endif
