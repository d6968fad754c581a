/*
 * One denoising step for one batch: a plan in, committed positions out.
 *
 * The plan is plain host data written by the batcher: packed rows of whole sequences, which rows
 * to score, by what rule, and what to commit. um_step_run uploads it, runs the model's forward,
 * mixes guidance, scores and selects on the backend, and downloads one small result. The engine
 * calls it through um_step_fn, so that tests can put a scripted step in its place.
 *
 * Every row takes the same way (hidden in f32, mix, head), guided or not, so that its bits do not
 * depend on whether another request of the step is guided.
 *
 * Owner thread: the engine's. Nothing is allocated after um_step_create.
 */
#ifndef UM_ENGINE_STEP_H
#define UM_ENGINE_STEP_H

#include "core/model/model.h"

typedef struct um_plan {
    /* capacities, fixed at creation */
    int32_t rows_max;
    int32_t sequences_max;
    /* packed rows */
    int32_t row_count;
    int32_t *ids;       /* [rows_max] */
    int32_t *positions; /* [rows_max] 0.. inside each sequence */
    int32_t sequence_count;
    int32_t *cu_seqlens; /* [sequences_max + 1] */
    /* hidden rows to keep after the forward: conditional and unconditional rows of each score row */
    int32_t hidden_count;
    int32_t *gather; /* [rows_max] packed row of each hidden row */
    /* rows to score */
    int32_t score_count;
    int32_t *conditional;     /* [rows_max] index into gather */
    int32_t *unconditional;   /* [rows_max] index into gather, -1: no guidance */
    float *guidance;          /* [rows_max] cfg_scale */
    um_score_row *score_rows; /* [rows_max] */
    /* per participating request */
    int32_t request_count;
    um_score_rule *score_rules; /* [sequences_max] */
    um_select_rule
        *select_rules; /* [sequences_max]; .sequence = index of the request in the plan */
} um_plan;

typedef struct um_step_result {
    um_commit *commits; /* [rows_max]; request i's at [select_rules[i].first, +counts[i]) */
    int32_t *counts;    /* [sequences_max] */
} um_step_result;

um_status um_plan_create(int32_t rows_max, int32_t sequences_max, um_plan **out, um_err *err);
void um_plan_destroy(um_plan *plan);
um_status um_step_result_create(int32_t rows_max, int32_t sequences_max, um_step_result **out,
                                um_err *err);
void um_step_result_destroy(um_step_result *result);

/* Runs a step of at least one request. An error means that the device is lost: the engine fails
 * all requests. */
typedef um_status (*um_step_fn)(void *context, const um_plan *plan, um_step_result *result,
                                um_err *err);

typedef struct um_step um_step;
/* `model` is borrowed and was opened for at least rows_max rows. UM_E_NOMEM. */
um_status um_step_create(um_model *model, int32_t rows_max, int32_t sequences_max, um_step **out,
                         um_err *err);
void um_step_destroy(um_step *step);
/* um_step_fn with context = um_step *. */
um_status um_step_run(void *step, const um_plan *plan, um_step_result *result, um_err *err);

#endif
