/*
 * What a request changes about the logits: logit_bias, frequency, presence and repetition
 * penalties, and end tokens that must not come. Merged into one um_logit_edit per token.
 *
 * Frequency and presence count the tokens that are filled in on the canvas now, wherever they
 * stand; repetition looks at the prompt and the suffix, too. MASK is never counted.
 *
 * Made on the submitting thread with all the memory it will need; then the engine thread's.
 */
#ifndef UM_ENGINE_EDITS_H
#define UM_ENGINE_EDITS_H

#include "core/engine/canvas.h"
#include "core/engine/messages.h"

/* End tokens of the model and of a request together. */
#define UM_EDITS_ENDS_MAX (UM_MODEL_STOP_MAX + UM_STOP_TOKENS_MAX)

typedef struct um_edits um_edits;

/* *out is NULL where the request changes nothing. `end_tokens` are the model's. UM_E_NOMEM. */
um_status um_edits_create(const um_submission *submission, const int32_t *end_tokens,
                          int32_t end_token_count, int32_t mask_token, um_edits **out, um_err *err);
void um_edits_destroy(um_edits *edits);

/* Two overlapping runs of what was written: no token is twice in either. */
typedef struct um_edits_runs {
    int32_t count; /* written in all */
    /* where min_tokens forbids the end; empty without `early` */
    int32_t early_count; /* from the first one written */
    /* everywhere else */
    int32_t general_first;
    int32_t general_count;
} um_edits_runs;

/* The most edits that requests of `rows` positions in all can write. */
int64_t um_edits_max(int64_t rows, int64_t requests);

/* Writes the edits for a step that begins with this canvas. `early`: some of its rows lie in the
 * first min_tokens positions. */
um_edits_runs um_edits_write(um_edits *edits, const um_canvas *canvas, bool early,
                             um_logit_edit *out);

#endif
