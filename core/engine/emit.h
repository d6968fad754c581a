/*
 * Settled prefix -> text. Takes the canvas after each step and appends to a request's text the
 * bytes that can no longer change: up to the first end token, without special tokens, holding
 * back an unfinished UTF-8 sequence and the longest tail that could begin a stop string.
 *
 * Invariant (tested): the concatenation of all deltas equals the final text, however the steps
 * fell. Knows nothing of engines or HTTP.
 */
#ifndef UM_ENGINE_EMIT_H
#define UM_ENGINE_EMIT_H

#include "core/base/buf.h"
#include "core/engine/canvas.h"
#include "core/text/tokenizer.h"

typedef enum um_finish {
    UM_FINISH_NONE,
    UM_FINISH_STOP,   /* end token or stop string */
    UM_FINISH_LENGTH, /* budget used up */
} um_finish;

typedef struct um_emit {
    const um_tokenizer *tokenizer; /* borrowed */
    const um_stop_string *stops;   /* borrowed */
    int32_t stop_count;
    int32_t end_tokens[UM_MODEL_STOP_MAX]; /* ids that end the answer */
    int32_t end_token_count;
    int32_t budget; /* tokens at most */
    /* state */
    int32_t consumed; /* settled positions looked at */
    int32_t tokens;   /* visible tokens so far: usage.completion_tokens */
    um_buf raw;       /* bytes of consumed tokens not yet released, reserved at init, owned */
    um_finish finish;
} um_emit;

/* Reserves all memory: budget * longest token. UM_E_NOMEM. */
um_status um_emit_init(um_emit *emit, const um_tokenizer *tokenizer, const um_stop_string *stops,
                       int32_t stop_count, const int32_t *end_tokens, int32_t end_token_count,
                       int32_t budget, um_err *err);
void um_emit_deinit(um_emit *emit);

/* Reads newly settled tokens `generated[0, settled)` and appends releasable text to `out`. `last`:
 * nothing will follow, so everything held back is released (invalid UTF-8 as U+FFFD) and finish is
 * decided. After finish != NONE further calls do nothing. */
void um_emit_advance(um_emit *emit, const int32_t *generated, int32_t settled, bool last,
                     um_buf *out);

#endif
