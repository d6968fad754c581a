/*
 * Who takes part in the next denoising step, and the plan for it.
 *
 * The unit of scheduling is a request's whole row set for this step (its canvas; twice with
 * guidance). A step takes requests in least-recently-served order (a newcomer joins at the tail)
 * until the next one would exceed rows_per_step, but always at least one. So between two turns a
 * request waits at most ceil(2 * sum min(r_i, B) / B) + 1 steps.
 *
 * Rows are packed without padding. Nothing here looks at tokens except to copy them.
 */
#ifndef UM_ENGINE_BATCHER_H
#define UM_ENGINE_BATCHER_H

#include "core/engine/plan.h"
#include "core/engine/request.h"

/* Facts the plan needs about the model. */
typedef struct um_batch_facts {
    int32_t eos_token;  /* what eos_rule suppresses */
    int32_t turn_token; /* likewise; -1: none */
    bool logit_shift;   /* the row of position i predicts position i + 1 */
} um_batch_facts;

/* `running` [count > 0], least recently served first: writes the plan for the first of them and
 * returns how many take part (index in the plan = index in `running`). */
int32_t um_batcher_plan(um_request *const *running, int32_t count, int32_t rows_per_step,
                        const um_batch_facts *facts, um_plan *plan);
/* After the step: the first `served` go behind the others, order kept. */
void um_batcher_rotate(um_request **running, int32_t count, int32_t served);

#endif
