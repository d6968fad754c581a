/*
 * A parsed request -> what the engine is asked to do: prompts, suffixes and first drafts as tokens,
 * settings resolved, and what the answer shows beside the canvas (um_stream_frame).
 *
 * The order is prompt by prompt, `n` choices each; choices of a prompt differ in the counter word of
 * their random numbers alone, so the first of them is what `n: 1` would give.
 *
 * Any thread; no state.
 */
#ifndef UM_SERVER_API_SUBMIT_H
#define UM_SERVER_API_SUBMIT_H

#include "server/request_json.h"
#include "server/served.h"
#include "server/stream.h"

typedef struct um_api_work {
    um_submission *submissions; /* [count], owned; they borrow from here and from the request */
    um_stream_frame *frames;    /* [count], owned; borrow from here */
    size_t count;               /* prompts x choices */
    /* what they borrow */
    um_ids prompts[UM_PROMPTS_MAX]; /* [prompt_count] */
    size_t prompt_count;
    um_ids suffix;
    um_ids draft;    /* UM_DRAFT_MASKED where a position is masked */
    uint8_t *pinned; /* [draft.count], or NULL: none */
    um_buf leads[UM_PROMPTS_MAX];
    um_buf tail;
    int32_t (*gaps)[2]; /* [gap_count] */
    size_t gap_count;
} um_api_work;

/* The request's body is still there; afterwards it may be dropped, but the request itself lives as
 * long as the work. `seed` counts where the request has none. On failure `out` is empty. Errors are
 * the client's (fields of the API) or UM_E_OVERLOADED. */
um_status um_api_work_make(const um_served *served, const um_api_request *request, uint64_t seed,
                           um_api_work *out, um_err *err);
void um_api_work_deinit(um_api_work *work);

/* add_generation_prompt and continue_final_message. */
um_chat_end um_api_chat_end(const um_api_request *request);

#endif
