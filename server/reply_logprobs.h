/*
 * Log-probabilities of a choice: rows come from the engine ahead of their text and wait here until
 * a content chunk takes them along. Two shapes: OpenAI's `content` entries (chat, Responses) and the
 * four parallel arrays of completions.
 *
 * Running out of memory shows in `failed`.
 */
#ifndef UM_SERVER_REPLY_LOGPROBS_H
#define UM_SERVER_REPLY_LOGPROBS_H

#include "core/base/buf.h"
#include "core/text/tokenizer.h"
#include "kernels/ops.h"

typedef struct um_logprobs {
    const um_tokenizer *tokenizer; /* borrowed */
    int32_t width;                 /* entries of a row: the token's own, then the likeliest */
    um_buf rows;                   /* um_alternative[count][width], owned */
    size_t count;
    size_t written; /* rows that a chunk has had */
    /* of text_offset: what the written rows have added to the text */
    int64_t characters;
    um_buf partial, text; /* owned: an unfinished character; scratch */
    bool failed;          /* memory was out */
} um_logprobs;

void um_logprobs_deinit(um_logprobs *logprobs);
void um_logprobs_add(um_logprobs *logprobs, const um_alternative *rows, int32_t count);

/* `[{"token","logprob","bytes","top_logprobs"},...]` of the rows from `first` on. */
void um_logprobs_entries(um_logprobs *logprobs, size_t first, um_buf *out);
/* `{"tokens","token_logprobs","top_logprobs","text_offset"}` of the rows not yet written. */
void um_logprobs_arrays(um_logprobs *logprobs, um_buf *out);
/* All rows have been written. `keep`: they will be asked for once more. */
void um_logprobs_mark_written(um_logprobs *logprobs, bool keep);

#endif
