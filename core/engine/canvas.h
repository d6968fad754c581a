/*
 * The canvas of one request: its token row (prompt, then generated positions in blocks), which
 * positions are masked, and the denoising schedule over its blocks. Knows nothing of batches,
 * text or threads: a pure state machine that is told which positions were committed.
 *
 * Positions count from the start of the row (0 = first prompt token). "Given" positions held a
 * token other than MASK at the start; guidance masks them in its unconditional row. Which positions
 * are masked is known by place: some models' MASK is an ordinary token of text.
 *
 * A block ends when none of its positions is masked or its steps are used up. A committed token is
 * never taken back; only MASK itself, where it may be predicted and is no text, leaves its position
 * masked.
 */
#ifndef UM_ENGINE_CANVAS_H
#define UM_ENGINE_CANVAS_H

#include "core/engine/params.h"

/* The model's facts that a canvas follows; as in um_model_config. */
typedef struct um_canvas_facts {
    int32_t mask_token;
    bool mask_is_text;    /* a prompt's MASK ids are text, and so is a committed one */
    bool has_first_token; /* position 0, where it is masked, becomes first_token */
    int32_t first_token;
} um_canvas_facts;

typedef struct um_canvas {
    const um_params *params; /* borrowed: lives as long as the canvas */
    um_canvas_facts facts;
    int32_t *tokens;    /* [length] owned */
    float *confidences; /* [length] owned: at the commit; 0 for prompt and masked */
    uint8_t *given;     /* [length] owned: 1 = not masked at the start */
    uint8_t *masked;    /* [length] owned: 1 = masked now */
    int32_t length;     /* prompt + generated */
    int32_t prompt_tokens;
    /* schedule state */
    int32_t block;       /* active block */
    int32_t block_step;  /* forwards done in this block */
    int32_t block_masks; /* masks in the block when it began */
    int32_t step;        /* forwards done in all: the noise counter's step word */
    int32_t settled;     /* generated positions in front of the first mask */
    bool finished;       /* no block left to denoise */
} um_canvas;

/* `prompt` is copied. UM_E_NOMEM. */
um_status um_canvas_init(um_canvas *canvas, const um_params *params, const um_canvas_facts *facts,
                         const int32_t *prompt, int32_t prompt_tokens, um_err *err);
void um_canvas_deinit(um_canvas *canvas);

/* The generated positions: [params->canvas_tokens]. */
const int32_t *um_canvas_generated(const um_canvas *canvas);

/* The rows to score in the next step: masked positions left of the active block's end, ascending;
 * with a policy whose positions compete, those of the block that are filled by now, too. Writes at
 * most `length` entries; returns the count (> 0 unless finished). */
int32_t um_canvas_candidates(const um_canvas *canvas, int32_t *positions);
/* What to commit in the next step. Fills kind, count, threshold, factor, factor_quirk,
 * order_temperature. */
void um_canvas_select_rule(const um_canvas *canvas, um_select_rule *rule);
/* True while MASK must not be predicted (always, unless reference_quirks; with them, after
 * block_length forwards of a block, so that every request ends). */
bool um_canvas_guards_mask(const um_canvas *canvas);

/* Applies one step's commits and moves the schedule on: next step, next block or finished. */
void um_canvas_apply(um_canvas *canvas, const um_commit *commits, int32_t count);

#endif
