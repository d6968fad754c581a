/*
 * The canvas of one request: its token row (prompt, generated positions in blocks, suffix), which
 * positions are masked, and the denoising schedule over its blocks. Knows nothing of batches,
 * text or threads: a pure state machine that is told which positions were committed.
 *
 * Positions count from the start of the row (0 = first prompt token). "Given" positions held a
 * token other than MASK at the start; guidance masks them in its unconditional row. A suffix is
 * given as it is, MASK in it included: nothing behind the canvas is ever filled in. Which positions
 * are masked is known by place: some models' MASK is an ordinary token of text.
 *
 * A canvas may begin with a draft. Of its tokens that are not pinned each is masked again with
 * probability params.noise, by a draw of its own (UM_DRAW_NOISE at step 0). Where nothing is masked
 * after that, the last position that is not pinned is.
 *
 * A block ends when none of its positions is masked or its steps are used up; one that begins
 * without a mask is skipped. A canvas that grows begins with one block, or as many as its draft
 * needs; when all are done and none of its positions ends the answer, the suffix moves up and the
 * next block begins, until there are params.canvas_tokens positions. A committed token is
 * never taken back; only MASK itself, where it may be predicted and is no text, leaves its position
 * masked.
 */
#ifndef UM_ENGINE_CANVAS_H
#define UM_ENGINE_CANVAS_H

#include "core/engine/messages.h"

/* The model's facts that a canvas follows; as in um_model_config. */
typedef struct um_canvas_facts {
    int32_t mask_token;
    bool mask_is_text;    /* a prompt's MASK ids are text, and so is a committed one */
    bool has_first_token; /* position 0, where it is masked, becomes first_token */
    int32_t first_token;
    const int32_t *end_tokens; /* [end_token_count] borrowed: ids that end an answer */
    int32_t end_token_count;
} um_canvas_facts;

typedef struct um_canvas {
    const um_params *params; /* borrowed: lives as long as the canvas */
    um_canvas_facts facts;
    int32_t *tokens;    /* [length] owned */
    float *confidences; /* [length] owned: at the commit; 0 for what was there and for masked */
    uint8_t *given;     /* [length] owned: 1 = not masked at the start */
    uint8_t *masked;    /* [length] owned: 1 = masked now */
    int32_t length;     /* prompt + extent + suffix */
    int32_t prompt_tokens;
    int32_t extent; /* generated positions by now: params->canvas_tokens unless it grows */
    int32_t suffix_tokens;
    int32_t *draft; /* [draft_tokens] owned: what may change of it, else UM_DRAFT_MASKED */
    int32_t draft_tokens;
    const int32_t *stop_tokens; /* the request's own end tokens; borrowed like params */
    int32_t stop_token_count;
    /* schedule state */
    int32_t block;       /* active block */
    int32_t block_step;  /* forwards done in this block */
    int32_t block_masks; /* masks in the block when it began */
    int32_t step;        /* forwards done in all: the noise counter's step word */
    int32_t settled;     /* generated positions in front of the first mask */
    int32_t blocks;      /* worked on */
    int32_t last_block;  /* that was worked on; -1: none */
    bool hurries;        /* the coming step is the last one */
    bool finished;       /* no block left to denoise */
} um_canvas;

/* Reserves all that it will ever need and copies prompt, suffix, draft and pins; the submission's
 * params are not read, its stop tokens are borrowed. A canvas whose every position is pinned is the caller's fault.
 * UM_E_NOMEM. */
um_status um_canvas_init(um_canvas *canvas, const um_params *params, const um_canvas_facts *facts,
                         const um_submission *submission, um_err *err);
void um_canvas_deinit(um_canvas *canvas);

/* The generated positions: [extent]. */
const int32_t *um_canvas_generated(const um_canvas *canvas);
/* Of the draft's tokens that were not pinned: how many stand there now, and how many have another
 * one. Masked positions are neither, but rejected where `over`. */
void um_canvas_count_draft(const um_canvas *canvas, bool over, int32_t *accepted,
                           int32_t *rejected);

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

/* Makes the coming step the last one: everything that is masked is a candidate and is committed,
 * and the canvas does not grow any more. False, and nothing changes, where the coming step is the
 * last one anyway. Not once finished. */
bool um_canvas_hurry(um_canvas *canvas);

/* Applies one step's commits and moves the schedule on: next step, next block or finished. */
void um_canvas_apply(um_canvas *canvas, const um_commit *commits, int32_t count);

#endif
