/*
 * What crosses the engine's border: a submission goes in, events come out. Plain data.
 */
#ifndef UM_ENGINE_MESSAGES_H
#define UM_ENGINE_MESSAGES_H

#include "core/base/buf.h"
#include "core/engine/params.h"

typedef struct um_submission {
    const int32_t *prompt; /* borrowed for the call */
    int32_t prompt_tokens;
    um_params params;            /* resolved */
    const um_stop_string *stops; /* borrowed for the call */
    int32_t stop_count;
    uint64_t owner;   /* hash of key or user: fairness of admission; 0 = nobody in particular */
    bool want_tokens; /* every event carries the canvas as it stands; events come every step */
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
} um_usage;

typedef struct um_event {
    uint64_t id;
    um_buf text;      /* text released since the last event, owned by the event; may be empty */
    bool started;     /* the request has taken part in a step */
    bool done;        /* the last event of this id */
    um_finish finish; /* when done and error.status is UM_OK */
    um_err error;     /* status != UM_OK: the request failed (done) */
    um_usage usage;   /* so far */
    /* want_tokens: generated positions (masked ones hold MASK) and confidences, owned by the
     * event; else NULL */
    int32_t *tokens;    /* [token_count] */
    float *confidences; /* [token_count] */
    int32_t token_count;
} um_event;

void um_event_deinit(um_event *event);

#endif
