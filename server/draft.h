/*
 * The draft of one choice: what stands at each position of its canvas. Fed with the engine's steps
 * (um_event.steps, changes, guesses); gives the frames of a stream in mode draft, the whole text as
 * it stands for mode replace, and the text of a stretch of positions for the gaps of a template.
 *
 * A frame is the JSON object of `choices[i].diffusion`. A full one replaces the client's draft, a
 * patch changes it. A cell is one position: text t (null where masked) and state s:
 *   m  masked
 *   g  masked, the guess of the last step shown
 *   f  filled, and its text may still change: its bytes begin or end inside a character of which a
 *      neighbour is masked. Shown as U+FFFD, or as the characters that are whole in it
 *   d  filled for good: neither state nor text changes any more. Where a character is spread over
 *      several tokens, it stands in the last of their cells, "" in the others
 *   p  pinned by the caller
 *   e  not part of the answer, "": the first end token and all behind it, and what is filled
 *      behind the budget
 * A text that was there before an end token came in front of it is no part of the answer either, but
 * is done: the draft is cut in front of it (`len`, and `block` where that reaches over it), so that no
 * cell has to go back on its word.
 *
 * `settled` counts the cells in front of the first masked one and of the first e; its last cell does
 * not count where nothing but the beginning of a character stands in it. So the joined text of the
 * settled cells is always a prefix of the final text.
 *
 * A frame costs time in what is not settled yet, and a buffer that is used again.
 *
 * HTTP thread only.
 */
#ifndef UM_SERVER_DRAFT_H
#define UM_SERVER_DRAFT_H

#include "core/engine/messages.h"
#include "core/text/tokenizer.h"
#include "server/request_json.h"

#define UM_DRAFT_PATCHES_MAX 64 /* then comes a full frame */

typedef struct um_draft um_draft;

typedef struct um_draft_facts {
    const um_tokenizer *tokenizer; /* borrowed, outlives the draft */
    const um_params *params;       /* borrowed, outlives the draft */
    int32_t mask_token;            /* never text; -1: MASK is an ordinary token */
    const int32_t *end_tokens;     /* [end_token_count] the model's; borrowed for um_draft_create */
    int32_t end_token_count;
    const int32_t *stop_tokens; /* [stop_token_count] the request's; likewise */
    int32_t stop_token_count;
    um_draft_options options;
} um_draft_facts;

typedef enum um_draft_kind {
    UM_DRAFT_FULL,
    UM_DRAFT_PATCH,
} um_draft_kind;

/* UM_E_OVERLOADED. */
um_status um_draft_create(const um_draft_facts *facts, um_draft **out, um_err *err);
void um_draft_destroy(um_draft *draft);

/* One step, with its own step->changes changes. Guesses of the step before are gone. */
void um_draft_apply(um_draft *draft, const um_draft_step *step, const um_draft_change *changes);
/* What the step just applied would put at positions that it left masked. */
void um_draft_guess(um_draft *draft, const um_draft_change *guesses, int32_t count);
/* Nothing comes any more: what is masked now stays so and is passed over. */
void um_draft_finish(um_draft *draft);

/* A step has been applied since the last frame or show. Step 0 does not count: frames begin with
 * step 1. */
bool um_draft_has_news(const um_draft *draft);
/* Appends the frame of the last step; running out of memory shows in `out`. */
um_draft_kind um_draft_frame(um_draft *draft, um_buf *out);
/* A frame was due and did not go out: the next one will be full. */
void um_draft_skip(um_draft *draft);
/* Appends the last frame, `end`; `gaps` as in um_draft_gaps, NULL: without. */
void um_draft_end(um_draft *draft, const int32_t (*gaps)[2], size_t gap_count, um_buf *out);

/* How much of the answer is there, for mode replace. */
typedef struct um_draft_share {
    int32_t filled;
    int32_t visible; /* positions that are or may become part of the answer */
    int32_t blank;   /* shown as U+2591: masked, without a guess */
} um_draft_share;

/* Appends the text of all cells, guesses included, U+2591 for what is masked. */
um_draft_share um_draft_show(um_draft *draft, um_buf *out);
/* Appends `"gaps":["..",".."]`: the text of the cells of each [begin, end), which ascend. */
void um_draft_gaps(um_draft *draft, const int32_t (*gaps)[2], size_t gap_count, um_buf *out);

#endif
