/*
 * What crosses the engine's border: a submission goes in, events come out. Plain data.
 */
#ifndef UM_ENGINE_MESSAGES_H
#define UM_ENGINE_MESSAGES_H

#include "core/base/buf.h"
#include "core/engine/params.h"

#define UM_DRAFT_MASKED (-1)

/* The arrays are borrowed for the call. */
typedef struct um_submission {
    const int32_t *prompt; /* in front of the canvas */
    int32_t prompt_tokens;
    const int32_t *suffix; /* behind it: infilling */
    int32_t suffix_tokens;
    /* What the canvas begins with, from its first position: token ids, UM_DRAFT_MASKED where a
     * position is masked. A share params.noise of those that are not pinned is masked again. */
    const int32_t *draft;  /* [draft_tokens <= canvas_tokens] */
    const uint8_t *pinned; /* [draft_tokens] 1: stays as it is; NULL: none */
    int32_t draft_tokens;
    um_params params; /* resolved */
    const um_stop_string *stops;
    int32_t stop_count;
    const int32_t *stop_tokens; /* end the answer, beside the model's own; <= UM_STOP_TOKENS_MAX */
    int32_t stop_token_count;
    const um_logit_edit *biases; /* <= UM_BIASES_MAX, logit_bias: repetition is 1, no token twice */
    int32_t bias_count;
    uint64_t owner;   /* hash of key or user: fairness of admission; 0 = nobody in particular */
    bool want_tokens; /* every event carries the canvas as it stands; events come every step */
    bool want_draft;  /* every event carries what each step changed; events come every step */
    bool want_guess;  /* and what the last step would put at positions that it left masked */
} um_submission;

typedef enum um_finish {
    UM_FINISH_NONE,
    UM_FINISH_STOP,   /* end token or stop string */
    UM_FINISH_LENGTH, /* budget used up */
} um_finish;

typedef struct um_usage {
    int32_t prompt_tokens;
    int32_t completion_tokens; /* visible tokens before a stop string is cut off */
    int32_t steps;             /* denoising forwards the request took part in */
    int32_t blocks;            /* blocks worked on */
    int32_t canvas_tokens;     /* generated positions */
    int32_t accepted_tokens;   /* of the draft: positions whose token stayed or came again */
    int32_t rejected_tokens;   /* of the draft: positions that have another token */
    bool ended_by_deadline;
} um_usage;

/* want_draft: one denoising step of the canvas. Step 0 is the draft that it began with. */
typedef struct um_draft_step {
    int32_t step;
    int32_t block_begin; /* the block that was active in it, from the first canvas position */
    int32_t block_end;
    int32_t length;   /* canvas positions after it: more than before where the canvas grows */
    int32_t changes;  /* how many entries of um_event.changes are its own, in order of steps */
    bool block_ended; /* it was the block's last */
} um_draft_step;

typedef struct um_draft_change {
    int32_t position; /* from the first canvas position */
    int32_t token;
    float confidence; /* a share of 1 */
    bool pinned;
} um_draft_change;

typedef struct um_event {
    uint64_t id;
    um_buf text;      /* text released since the last event, owned by the event; may be empty */
    bool started;     /* the request has taken part in a step */
    bool done;        /* the last event of this id */
    um_finish finish; /* when done and status is UM_OK */
    um_status status; /* not UM_OK: the request failed (done) */
    int32_t
        deadline_ms; /* UM_E_TIMEOUT: its own deadline passed in the queue; 0: it was the limit */
    um_err *error;   /* why it failed, owned by the event; NULL where memory was out, too */
    um_usage usage;  /* so far */
    /* want_tokens: generated positions (masked ones hold MASK) and confidences, owned by the
     * event; else NULL */
    int32_t *tokens;    /* [token_count] */
    float *confidences; /* [token_count] */
    int32_t token_count;
    /* params.logprobs > 0: a row for each visible token that the text has moved past since the last
     * event, left to right: the token's own entry, then the likeliest tokens. Rows may come ahead
     * of their text, part of which may be held back. Owned by the event. */
    um_alternative *logprobs; /* [logprob_rows][params.logprobs] */
    int32_t logprob_rows;
    /* want_draft: the steps since the last event; owned by the event */
    um_draft_step *steps; /* [step_count] */
    int32_t step_count;
    um_draft_change *changes; /* [change_count] */
    int32_t change_count;
    um_draft_change *guesses; /* [guess_count] of the last step only */
    int32_t guess_count;
} um_event;

/* Is `token` one of these? For the few ids that end an answer. */
static inline bool um_is_among(const int32_t *tokens, int32_t count, int32_t token)
{
    for (int32_t i = 0; i < count; i++)
        if (tokens[i] == token)
            return true;
    return false;
}

void um_event_deinit(um_event *event);
/* Why a request failed, also where there was no memory to say. */
um_err um_event_error(const um_event *event);

#endif
