/*
 * What a denoising step is told and what it answers: plain host data, the contract between the
 * batcher, which writes plans, and the step, which runs them.
 *
 * A plan's arrays lie in one block, and so do a result's: a device copy has the same layout, so that
 * a step costs one copy to the device and one back. Each part lies at an offset that depends on the
 * capacities alone, but the alternatives, which follow the commits in use. What varies most in
 * length comes last; only the part in use is copied.
 *
 * A score row of a request has its general rule, or where min_tokens forbids the end of the answer
 * its second one.
 *
 * Owner thread: the engine's. Nothing is allocated after creation.
 */
#ifndef UM_ENGINE_PLAN_H
#define UM_ENGINE_PLAN_H

#include "kernels/ops.h"

typedef struct um_plan_limits {
    int32_t rows_max;      /* packed rows of a step */
    int32_t sequences_max; /* sequences of a step; a guided request has two; likewise score rules */
    int32_t edits_max;     /* logit edits of all requests of a step together */
} um_plan_limits;

typedef enum um_plan_part {
    UM_PLAN_IDS,
    UM_PLAN_POSITIONS,
    UM_PLAN_CU_SEQLENS,
    UM_PLAN_GATHER,
    UM_PLAN_CONDITIONAL,
    UM_PLAN_UNCONDITIONAL,
    UM_PLAN_GUIDANCE,
    UM_PLAN_SCORE_ROWS,
    UM_PLAN_SCORE_RULES,
    UM_PLAN_SELECT_RULES,
    UM_PLAN_EDITS, /* last: most steps have none */
    UM_PLAN_PART_COUNT,
} um_plan_part;

typedef struct um_plan_layout {
    size_t offset[UM_PLAN_PART_COUNT]; /* bytes from the block's start, 64-byte aligned */
    size_t bytes;                      /* of the block */
} um_plan_layout;

typedef struct um_plan {
    um_plan_limits limits; /* capacities, fixed at creation */
    um_plan_layout layout;
    char *block; /* owned; the pointers below lead into it */
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
    int32_t *conditional;      /* [rows_max] index into gather */
    int32_t *unconditional;    /* [rows_max] index into gather, -1: no guidance */
    float *guidance;           /* [rows_max] cfg_scale */
    um_score_row *score_rows;  /* [rows_max] */
    int32_t alternative_count; /* entries of each row in the result; 0: nobody wants them */
    /* request_count general rules, then the second ones */
    int32_t rule_count;
    um_score_rule *score_rules; /* [sequences_max] */
    /* per participating request */
    int32_t request_count;
    um_select_rule *select_rules; /* [sequences_max]; .sequence = the request's index in the plan */
    int32_t edit_count;
    um_logit_edit *edits; /* [edits_max] */
} um_plan;

um_plan_layout um_plan_layout_of(const um_plan_limits *limits);
/* UM_E_NOMEM. */
um_status um_plan_create(const um_plan_limits *limits, um_plan **out, um_err *err);
void um_plan_destroy(um_plan *plan);
/* Empties it. */
void um_plan_clear(um_plan *plan);
/* Bytes of the block in use: up to the last edit. */
size_t um_plan_bytes_used(const um_plan *plan);

typedef struct um_step_result {
    char *block;        /* owned: counts, commits, alternatives */
    int32_t *counts;    /* [sequences_max] */
    um_commit *commits; /* [rows_max]; request i's at [select_rules[i].first, +counts[i]) */
} um_step_result;

/* Where the commits begin in a result's block, and behind those of so many score rows the
 * alternatives; its size. */
size_t um_step_result_commits_offset(const um_plan_limits *limits);
size_t um_step_result_alternatives_offset(const um_plan_limits *limits, int32_t score_count);
size_t um_step_result_bytes(const um_plan_limits *limits, int32_t score_count,
                            int32_t alternative_count);
/* Room for the most alternatives. UM_E_NOMEM. */
um_status um_step_result_create(const um_plan_limits *limits, um_step_result **out, um_err *err);
void um_step_result_destroy(um_step_result *result);
/* Of the score row `row` of the plan that was run: [alternative_count], as um_op_score has them. */
um_alternative *um_step_result_alternatives(const um_step_result *result, const um_plan *plan,
                                            int32_t row);

#endif
