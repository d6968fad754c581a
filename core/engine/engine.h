/*
 * The engine: requests in, refined text out. One thread owns model, slots and plan; the front end
 * (HTTP server, generate, eval) talks to it through this header only.
 *
 *     um_engine_submit(engine, &submission, &id, err);   // any thread; UM_E_QUEUE_FULL at once
 *     ... wake callback ...
 *     while (um_engine_next(engine, &event) == UM_OK)    // front-end thread
 *         use event.text, event.done; um_engine_event_deinit(&event)
 *
 * Life of a request: queued -> running (joins at a step boundary) -> done (leaves at the boundary
 * where it ends). Cancel at any time; it takes effect within one step. After the done event the id
 * is dead.
 *
 * Scheduling (batcher.h): a step takes whole row sets of requests, least recently served first,
 * until the next would exceed rows_per_step, but always at least one.
 */
#ifndef UM_ENGINE_ENGINE_H
#define UM_ENGINE_ENGINE_H

#include "core/base/clock.h"
#include "core/base/mailbox.h"
#include "core/engine/outbox.h"
#include "core/engine/params.h"
#include "core/engine/stats.h"
#include "core/engine/step.h"

typedef struct um_engine um_engine;

typedef struct um_engine_options {
    int32_t batch_max;          /* requests running at once: --max-batch */
    int32_t queue_max;          /* requests waiting: --max-queue */
    int32_t rows_per_step;      /* --rows-per-step */
    int32_t queue_timeout_ms;   /* 0: none */
    int32_t request_timeout_ms; /* from arrival; 0: none */
    const um_clock *clock;      /* NULL: the system's */
    um_wake_fn wake;            /* events are ready; called from the engine thread; may be NULL */
    void *wake_context;
    /* the model's facts */
    const um_tokenizer *tokenizer; /* borrowed, outlives the engine */
    um_params_limits limits;
    int32_t mask_token;
    int32_t end_tokens[UM_MODEL_STOP_MAX];
    int32_t end_token_count;
    int32_t eos_token;  /* what eos_rule suppresses */
    int32_t turn_token; /* likewise, -1: none */
    /* how a step is run */
    um_step_fn step;
    void *step_context;
} um_engine_options;

um_status um_engine_create(const um_engine_options *options, um_engine **out, um_err *err);
/* Ends running requests with UM_E_SHUTDOWN, joins the thread if started. */
void um_engine_destroy(um_engine *engine);

/* Starts the engine thread. Tests may instead call um_engine_turn themselves. */
um_status um_engine_start(um_engine *engine, um_err *err);
/* One turn: take commands, expire, admit, run one step, publish. UM_OK when a step ran, UM_EMPTY
 * when there was nothing to do. Engine thread only. */
um_status um_engine_turn(um_engine *engine);

typedef struct um_submission {
    const int32_t *prompt; /* borrowed for the call */
    int32_t prompt_tokens;
    um_params params; /* resolved */
    const um_stop_string *stops;
    int32_t stop_count;
    uint64_t owner;
    bool want_tokens; /* the done event carries tokens and confidences of the canvas */
} um_submission;

/* Any thread. UM_E_QUEUE_FULL, UM_E_DRAINING, UM_E_OVERLOADED (no memory), UM_E_ENGINE (failed). */
um_status um_engine_submit(um_engine *engine, const um_submission *submission, uint64_t *id,
                           um_err *err);
/* All or none: `count` submissions that belong together take `count` places. */
um_status um_engine_submit_many(um_engine *engine, const um_submission *submissions, size_t count,
                                uint64_t *ids, um_err *err);
/* Any thread. The done event (UM_E_CANCELLED) still comes. Unknown or finished ids: nothing. */
void um_engine_cancel(um_engine *engine, uint64_t id);

typedef struct um_event {
    uint64_t id;
    um_buf text;  /* newly released text, owned by the event; may be empty */
    bool started; /* the request took part in a step */
    bool done;
    um_finish finish; /* when done and error.status == UM_OK */
    um_err error;
    um_usage usage;
    int32_t *tokens;    /* done and want_tokens: [token_count], owned by the event */
    float *confidences; /* likewise */
    int32_t token_count;
} um_event;

/* Front-end thread (one). UM_OK or UM_EMPTY. */
um_status um_engine_next(um_engine *engine, um_event *event);
void um_event_deinit(um_event *event);

/* Refuse new work from now on; running and queued work goes on. Any thread. */
void um_engine_drain(um_engine *engine);
/* Ends everything that is left with `status` (UM_E_SHUTDOWN). Any thread. */
void um_engine_abort(um_engine *engine, um_status status);

/* Current counters; any thread. */
void um_engine_stats(um_engine *engine, um_stats *out);
/* Seconds until a new request would probably start, from the recent rate: for Retry-After. */
double um_engine_wait_estimate(um_engine *engine);
/* No step finished for `seconds` with work queued or running: /health says engine_dead. */
bool um_engine_stalled(um_engine *engine, double seconds);

#endif
