/*
 * One call of um_op_score with results in host memory, and calls whose logits a test scripts.
 */
#ifndef UM_TESTS_SCORE_FIXTURE_H
#define UM_TESTS_SCORE_FIXTURE_H

#include "tests/ops/ops_fixture.h"

typedef struct score_call {
    um_tensor hidden; /* backend memory */
    const um_weight *head;
    float scale;
    int64_t vocab;
    const um_score_row *rows; /* [hidden.rows] */
    const um_score_rule *rules;
    int32_t rule_count;
    const um_logit_edit *edits;
    int32_t edit_count;
    int32_t alternative_count;
    const um_tensor *logits; /* backend memory, or NULL */
} score_call;

typedef struct scored {
    int32_t tokens[OPS_ROWS_MAX];
    float confidences[OPS_ROWS_MAX];
    um_alternative alternatives[OPS_ROWS_MAX][UM_ALTERNATIVES_MAX + 1];
} scored;

/* No filter, no ban, temperature 0, plain probability. */
um_score_rule score_plain_rule(void);

/* Checks that nothing behind an output is written. */
void score_run(um_backend *backend, const score_call *call, scored *out);

/* Every one of `row_count` rows sees these logits, exactly: the hidden state is 1 and the head has
 * one column. Hidden, head and scale of the call are ignored. */
void score_logits(um_backend *backend, const float *logits, int64_t row_count,
                  const score_call *call, scored *out);

#endif
