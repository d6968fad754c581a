/*
 * What the engine has to tell about one request, level-triggered: text released so far, and the
 * end. The engine adds, the front end takes everything at once; many additions may be taken as
 * one, none is lost, and memory is bounded by the request's own budget, so a slow client can never
 * stall a step. Reference-counted by its two sides; internally locked.
 */
#ifndef UM_ENGINE_OUTBOX_H
#define UM_ENGINE_OUTBOX_H

#include <pthread.h>

#include "core/base/buf.h"
#include "core/base/status.h"
#include "core/engine/emit.h"

typedef struct um_usage {
    int32_t prompt_tokens;
    int32_t completion_tokens; /* visible tokens before a stop string is cut off */
    int32_t steps;             /* denoising forwards the request took part in */
    int32_t blocks;            /* blocks worked on */
    int32_t canvas_tokens;     /* generated positions */
} um_usage;

typedef struct um_outbox {
    pthread_mutex_t lock;
    int32_t references;
    uint64_t id;
    bool announced; /* its id is in the engine's ready list */
    um_buf text;    /* released, not yet taken; reserved at creation */
    bool started;   /* took part in a step */
    bool done;
    um_finish finish; /* valid when done and status is UM_OK */
    um_err error;     /* status != UM_OK: the request failed */
    um_usage usage;   /* current; final when done */
    /* final result for callers that want tokens (generate, eval, tests); NULL unless asked for */
    int32_t *tokens;    /* [canvas_tokens] */
    float *confidences; /* [canvas_tokens] */
    int32_t token_count;
} um_outbox;

um_status um_outbox_create(uint64_t id, size_t text_bytes_max, int32_t result_tokens,
                           um_outbox **out, um_err *err);
void um_outbox_release(um_outbox *outbox); /* drops one reference */

#endif
