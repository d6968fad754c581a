/*
 * The whole engine on the hash-defined tiny checkpoint: backend, model, step and engine, driven
 * turn by turn by the test. Problems other than a missing instruction set end the test program.
 *
 *     um_tiny_engine tiny;
 *     if (um_tiny_engine_open(&tiny, &options)) {
 *         id = um_tiny_engine_submit(&tiny, &request);
 *         while (um_tiny_engine_turn(&tiny)) continue;
 *         ... um_tiny_engine_result(&tiny, id) ...
 *         um_tiny_engine_close(&tiny);
 *     }
 */
#ifndef UM_TESTS_SUPPORT_TINY_ENGINE_H
#define UM_TESTS_SUPPORT_TINY_ENGINE_H

#include "core/engine/engine.h"
#include "tests/support/tiny_checkpoint.h"

#define UM_TINY_CANVAS_MAX 64
#define UM_TINY_RESULTS 64
#define UM_TINY_BIASES_MAX 4

typedef struct um_tiny_engine_options {
    um_backend_options backend;
    um_precision precision;
    const char *dir;            /* a checkpoint's directory; NULL: written from the next */
    um_tiny_options checkpoint; /* context: 0 is 64 here */
    bool mask_by_id;            /* masks of a prompt are known by id where the model's are not */
    int32_t batch_max;
    int32_t rows_per_step;
} um_tiny_engine_options;

typedef struct um_tiny_request {
    const int32_t *prompt;
    int32_t prompt_tokens;
    um_params_given given;
    um_stop_string stop; /* length 0: none */
    um_logit_edit biases[UM_TINY_BIASES_MAX];
    int32_t bias_count;
    int32_t stop_token; /* 0: none */
    bool want_draft;    /* with guesses */
    int32_t suffix[UM_TINY_CANVAS_MAX];
    int32_t suffix_tokens; /* 0: no infilling */
    int32_t draft[UM_TINY_CANVAS_MAX];
    uint8_t pinned[UM_TINY_CANVAS_MAX];
    int32_t draft_tokens;
} um_tiny_request;

typedef struct um_tiny_result {
    uint64_t id; /* 0: no result */
    um_status status;
    um_finish finish;
    um_usage usage;
    int32_t tokens[UM_TINY_CANVAS_MAX]; /* [usage.canvas_tokens] */
    float confidences[UM_TINY_CANVAS_MAX];
    char text[4 * UM_TINY_CANVAS_MAX];
    /* rows of the request's own width, one behind the other */
    um_alternative logprobs[UM_TINY_CANVAS_MAX * (UM_LOGPROBS_MAX + 1)];
    int32_t logprob_width;
    int32_t logprob_rows;
    /* of a draft */
    uint64_t journal;   /* hash of all that its events said */
    int32_t last_step;  /* told of */
    bool draft_differs; /* a replay of its changes was not the canvas of the same event */
    int32_t draft[UM_TINY_CANVAS_MAX];
    um_draft_change guesses[UM_TINY_CANVAS_MAX]; /* of the last event */
    int32_t guess_count;
} um_tiny_result;

/* Sees every step that was run: plan and answer. */
typedef void (*um_tiny_watch_fn)(void *context, const um_plan *plan, const um_step_result *result);

typedef struct um_tiny_engine {
    um_backend *backend;
    um_model *model;
    um_step *step;
    um_tokenizer *tokenizer;
    um_engine *engine;
    um_params_limits limits;
    um_plan_limits plan_limits;
    um_tiny_watch_fn watch; /* NULL: nobody; a test may set it */
    void *watch_context;
    /* statistics of the last step */
    int32_t step_requests;
    int32_t step_lengths;                    /* different canvas lengths among them */
    int32_t step_alternatives;               /* the most that one of them wants */
    um_tiny_result results[UM_TINY_RESULTS]; /* by id modulo UM_TINY_RESULTS */
} um_tiny_engine;

/* False when this machine lacks the instruction set. */
bool um_tiny_engine_open(um_tiny_engine *tiny, const um_tiny_engine_options *options);
void um_tiny_engine_close(um_tiny_engine *tiny);

um_params um_tiny_engine_params(const um_tiny_engine *tiny, const um_tiny_request *request);
/* Parameters resolved as the server does it. Returns the id. */
uint64_t um_tiny_engine_submit(um_tiny_engine *tiny, const um_tiny_request *request);
/* One turn; reads all events. False when there was nothing to do. */
bool um_tiny_engine_turn(um_tiny_engine *tiny);
/* So far; the id need not have ended. */
const um_tiny_result *um_tiny_engine_progress(const um_tiny_engine *tiny, uint64_t id);
/* NULL while the request has not ended. */
const um_tiny_result *um_tiny_engine_result(const um_tiny_engine *tiny, uint64_t id);

#endif
