/*
 * A denoising step without a model: commits the first rows of every rule, as many as it asks for, at
 * confidence 0.5. Alternatives, where they are wanted, are the first ids and the token's own.
 */
#ifndef UM_TESTS_SUPPORT_FAKE_STEP_H
#define UM_TESTS_SUPPORT_FAKE_STEP_H

#include "core/engine/plan.h"

#define UM_FAKE_ECHO (-1) /* as token: the first of the request's own row */

void um_fake_step(const um_plan *plan, int32_t token, um_step_result *result);

#endif
