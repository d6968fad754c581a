/*
 * One denoising step for one batch: a plan in, committed positions out.
 *
 * um_step_run copies the plan to the backend, runs the model's forward, mixes guidance, scores and
 * selects there, and copies one small result back: the only point where the host waits for the
 * device. The engine calls it through um_step_fn, so that tests can put a scripted step in its
 * place.
 *
 * Every row takes the same way (hidden in f32, mix, head), guided or not, so that its bits do not
 * depend on whether another request of the step is guided.
 *
 * Owner thread: the engine's. Nothing is allocated after um_step_create.
 */
#ifndef UM_ENGINE_STEP_H
#define UM_ENGINE_STEP_H

#include "core/engine/plan.h"
#include "core/model/model.h"

/* Runs a step of at least one request. An error means that the device is lost: the engine fails
 * all requests. */
typedef um_status (*um_step_fn)(void *context, const um_plan *plan, um_step_result *result,
                                um_err *err);

typedef struct um_step um_step;
/* `model` is borrowed and was opened for at least rows_max rows. Plans and results that it runs
 * have the same limits. UM_E_NOMEM. */
um_status um_step_create(um_model *model, const um_plan_limits *limits, um_step **out, um_err *err);
void um_step_destroy(um_step *step);
/* um_step_fn with context = um_step *. */
um_status um_step_run(void *step, const um_plan *plan, um_step_result *result, um_err *err);

#endif
