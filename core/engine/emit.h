/*
 * Settled prefix -> text. Looks at a request's generated positions as they settle and appends the
 * text that can no longer change: up to the first end token, without special tokens (unless they are
 * wanted), holding back an unfinished UTF-8 sequence and the longest tail that could begin a stop
 * string.
 *
 * The text is a function of the tokens alone: decode the visible tokens before the end (end token
 * or budget), replace invalid UTF-8 by U+FFFD, cut before the earliest stop string. The
 * concatenation of all pieces equals it, however the steps fell.
 *
 * Owner thread: the engine's. Knows nothing of engines or HTTP.
 */
#ifndef UM_ENGINE_EMIT_H
#define UM_ENGINE_EMIT_H

#include "core/engine/messages.h"
#include "core/text/tokenizer.h"

typedef struct um_emit_options {
    const um_tokenizer *tokenizer; /* borrowed */
    const um_stop_string *stops;   /* [stop_count] borrowed */
    int32_t stop_count;
    const int32_t *end_tokens; /* [end_token_count] borrowed: ids that end the answer */
    int32_t end_token_count;
    const int32_t *stop_tokens; /* [stop_token_count] borrowed: the request's own */
    int32_t stop_token_count;
    int32_t mask_token; /* never text, also where it survived to the end; -1: it is text */
    int32_t budget;     /* positions that make the answer, at most */
    bool keep_special;  /* special tokens other than MASK and those that end the answer are text */
    bool want_places;   /* um_emit.places is kept */
    bool full_is_stop;  /* budget used up: UM_FINISH_STOP, the answer is complete (a gap) */
} um_emit_options;

typedef struct um_emit {
    um_emit_options options;
    int32_t consumed; /* positions looked at */
    int32_t tokens;   /* visible tokens so far: usage.completion_tokens */
    int32_t *places;  /* [tokens <= budget] their positions; owned, NULL unless wanted */
    um_buf bytes;     /* unfinished UTF-8 sequence; reserved at init, owned */
    um_buf held;      /* text that could begin a stop string; reserved at init, owned */
    um_finish finish; /* != NONE: the text is complete */
} um_emit;

/* Reserves all memory. UM_E_NOMEM. */
um_status um_emit_init(um_emit *emit, const um_emit_options *options, um_err *err);
void um_emit_deinit(um_emit *emit);

/* Bytes of text that `budget` tokens can make at most. */
size_t um_emit_bytes_max(const um_tokenizer *tokenizer, int32_t budget);

/* Reads `generated` up to `settled` (everything, once the canvas is finished) and appends
 * releasable text to `out`, which must have room. At the end of the answer the rest is released
 * and finish is set; further calls do nothing. */
void um_emit_advance(um_emit *emit, const int32_t *generated, int32_t settled, um_buf *out);
/* No more positions will come: releases the rest, with `reason` unless the answer has ended. */
void um_emit_end(um_emit *emit, um_finish reason, um_buf *out);

#endif
