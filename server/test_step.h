/*
 * --test-step: something in the place of the denoising step, for tests and measurements that need an
 * engine which stands still, breaks, or costs nothing. Without the option nothing of this is in the
 * engine's way, and no request can reach it.
 *
 *     slow:MS   a step takes that many milliseconds longer; cut short when the server stops
 *     fail:N    the N-th step of the process fails, as if the device were lost
 *     instant   no model is run: a step commits what it was asked for, one letter everywhere
 */
#ifndef UM_SERVER_TEST_STEP_H
#define UM_SERVER_TEST_STEP_H

#include "core/engine/engine.h"

typedef struct um_test_step um_test_step;

/* *out is NULL for a NULL text. UM_E_VALUE, UM_E_NOMEM. */
um_status um_test_step_open(const char *text, um_test_step **out, um_err *err);
void um_test_step_close(um_test_step *step);
/* Puts it in front of the step of these options, whose engine must end before it. NULL does nothing. */
void um_test_step_wrap(um_test_step *step, um_engine_options *options);
/* Slow steps are over at once from now on. Any thread; NULL does nothing. */
void um_test_step_release(um_test_step *step);

#endif
