/*
 * The engine: requests in, refined text out. One thread owns model, canvases and plan; the front
 * end (HTTP server, generate) talks to it through this header only.
 *
 *     um_engine_submit(engine, &submission, &id, err);   // any thread; UM_E_QUEUE_FULL at once
 *     ... wake callback ...
 *     while (um_engine_next(engine, &event) == UM_OK)    // front-end thread
 *         use event.text, event.done; um_event_deinit(&event)
 *
 * Life of a request: queued -> running (joins at a step boundary) -> done (leaves at the boundary
 * where it ends). Cancel at any time; it takes effect at the next boundary. After the done event
 * the id is dead; ids are never reused.
 *
 * Scheduling: queue.h (admission) and batcher.h (steps).
 */
#ifndef UM_ENGINE_ENGINE_H
#define UM_ENGINE_ENGINE_H

#include "core/base/clock.h"
#include "core/base/mailbox.h"
#include "core/engine/canvas.h"
#include "core/engine/messages.h"
#include "core/engine/stats.h"
#include "core/engine/step.h"
#include "core/text/tokenizer.h"

typedef struct um_engine um_engine;

typedef struct um_engine_options {
    int32_t batch_max;          /* requests running at once: --max-batch */
    int32_t queue_max;          /* requests waiting: --max-queue */
    int32_t rows_per_step;      /* --rows-per-step */
    int32_t queue_timeout_ms;   /* 0: none */
    int32_t slow_step_ms;       /* longer steps are logged; 0: none */
    int32_t request_timeout_ms; /* from arrival; 0: none */
    const um_clock *clock;      /* NULL: the system's */
    um_wake_fn wake;            /* events are ready; called from the engine thread; may be NULL */
    void *wake_context;
    /* the model's facts */
    const um_tokenizer *tokenizer; /* borrowed, outlives the engine */
    int32_t context_max;
    um_canvas_facts canvas;
    bool logit_shift;                      /* the row of position i predicts position i + 1 */
    int32_t end_tokens[UM_MODEL_STOP_MAX]; /* ids that end an answer */
    int32_t end_token_count;
    int32_t eos_token;  /* what eos_rule suppresses */
    int32_t turn_token; /* likewise, -1: none */
    /* how a step is run; must take plans of um_engine_plan_limits */
    um_step_fn step;
    void *step_context;
} um_engine_options;

/* The largest plan that these options can lead to: capacities for um_step_create, and rows_max
 * for um_model_options. Reads batch_max, rows_per_step and context_max. */
um_plan_limits um_engine_plan_limits(const um_engine_options *options);

/* Reserves plan, tables and queues. UM_E_NOMEM. */
um_status um_engine_create(const um_engine_options *options, um_engine **out, um_err *err);
/* Ends what is left with UM_E_SHUTDOWN and joins the thread. Events not taken are lost; nobody may
 * call anything of this engine any more. */
void um_engine_destroy(um_engine *engine);

/* Starts the engine thread. Tests may instead call um_engine_turn themselves. UM_E_NOMEM. */
um_status um_engine_start(um_engine *engine, um_err *err);
/* One turn: take arrivals, end what is cancelled or late, admit, run one step, publish. UM_OK when
 * a step ran, UM_EMPTY when there was nothing to run, UM_E_ENGINE when the step failed: everything
 * ended with that error, and the engine refuses work from then on. Engine thread only. */
um_status um_engine_turn(um_engine *engine);

/* Any thread. UM_E_QUEUE_FULL, UM_E_DRAINING, UM_E_OVERLOADED (no memory), UM_E_ENGINE (failed).
 * Parameters are those of um_params_resolve for this prompt; ids lie in the vocabulary. Where
 * another thread takes events, one of this id may come before the call returns. */
um_status um_engine_submit(um_engine *engine, const um_submission *submission, uint64_t *id,
                           um_err *err);
/* All or none: `count` submissions that belong together take `count` places. */
um_status um_engine_submit_many(um_engine *engine, const um_submission *submissions, size_t count,
                                uint64_t *ids, um_err *err);
/* Any thread. The done event (UM_E_CANCELLED) still comes. Unknown or finished ids: nothing. */
void um_engine_cancel(um_engine *engine, uint64_t id);

/* Front-end thread (one). UM_OK or UM_EMPTY. After a wake, take until empty. */
um_status um_engine_next(um_engine *engine, um_event *event);

/* Refuse new work from now on; running and queued work goes on. Any thread. */
void um_engine_drain(um_engine *engine);
/* Drain, and end everything that is left with `status` (UM_E_SHUTDOWN) at the next boundary. Any
 * thread. */
void um_engine_abort(um_engine *engine, um_status status);

/* Current counters; any thread. */
void um_engine_stats(um_engine *engine, um_stats *out);
/* Seconds until a new request would probably start (waits.h), for Retry-After. Any thread. */
double um_engine_wait_estimate(um_engine *engine);
/* UM_OK, or the status of the step that failed, whose error `err` (may be NULL) then holds: the
 * engine has ended everything and takes nothing more. Any thread. */
um_status um_engine_failure(um_engine *engine, um_err *err);
/* The engine has work and finished no step for `seconds`. Any thread. */
bool um_engine_stalled(um_engine *engine, double seconds);

#endif
