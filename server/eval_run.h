/*
 * Runs the prompts of `unmask eval` through an engine, many at once, and collects the answers. It
 * is a front end of the engine like the HTTP server: same queue, same steps, same text.
 *
 *     status = um_eval_create(&engine_options, &eval, err);
 *     status = um_eval_run(eval, jobs, count, on_answer, context, &totals, err);
 *     um_eval_destroy(eval);
 *
 * One thread owns an um_eval.
 */
#ifndef UM_SERVER_EVAL_RUN_H
#define UM_SERVER_EVAL_RUN_H

#include "core/engine/engine.h"

typedef struct um_eval um_eval;

typedef struct um_eval_job {
    um_ids prompt; /* owned by whoever made the job */
    um_params params;
} um_eval_job;

/* Job `index` is complete. Jobs complete in any order. `text` is borrowed for the call. */
typedef void (*um_eval_answer_fn)(void *context, size_t index, const um_buf *text,
                                  const um_usage *usage);

typedef struct um_eval_totals {
    int64_t tokens; /* visible ones */
    int64_t steps;  /* of all requests: requests in the same step count one each */
    double seconds; /* first submission to last answer */
} um_eval_totals;

/* Starts an engine with these options; wake-up, queue and time limits are replaced by what a run
 * needs: batch_max requests run, as many wait. UM_E_NOMEM. */
um_status um_eval_create(const um_engine_options *options, um_eval **out, um_err *err);
void um_eval_destroy(um_eval *eval);

/* Blocks until every job has its answer. The error of a job or of the engine ends the run, and this
 * um_eval can run nothing more. UM_E_NOMEM, UM_E_OVERLOADED, UM_E_ENGINE. */
um_status um_eval_run(um_eval *eval, const um_eval_job *jobs, size_t count,
                      um_eval_answer_fn on_answer, void *context, um_eval_totals *out, um_err *err);

#endif
