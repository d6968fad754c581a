/* See plan.h. */
#include "core/engine/plan.h"

#include <string.h>

#include "core/base/mem.h"

#define PART_ALIGN ((size_t)64)

static size_t align_up(size_t bytes)
{
    return (bytes + PART_ALIGN - 1) & ~(PART_ALIGN - 1);
}

um_plan_layout um_plan_layout_of(const um_plan_limits *limits)
{
    const size_t rows = (size_t)limits->rows_max, sequences = (size_t)limits->sequences_max;
    const size_t bytes[UM_PLAN_PART_COUNT] = {
        [UM_PLAN_IDS] = rows * sizeof(int32_t),
        [UM_PLAN_POSITIONS] = rows * sizeof(int32_t),
        [UM_PLAN_CU_SEQLENS] = (sequences + 1) * sizeof(int32_t),
        [UM_PLAN_GATHER] = rows * sizeof(int32_t),
        [UM_PLAN_CONDITIONAL] = rows * sizeof(int32_t),
        [UM_PLAN_UNCONDITIONAL] = rows * sizeof(int32_t),
        [UM_PLAN_GUIDANCE] = rows * sizeof(float),
        [UM_PLAN_SCORE_ROWS] = rows * sizeof(um_score_row),
        [UM_PLAN_SCORE_RULES] = sequences * sizeof(um_score_rule),
        [UM_PLAN_SELECT_RULES] = sequences * sizeof(um_select_rule),
        [UM_PLAN_EDITS] = (size_t)limits->edits_max * sizeof(um_logit_edit),
    };
    um_plan_layout layout = {.bytes = 0};

    UM_ASSERT(limits->rows_max > 0 && limits->sequences_max > 0 && limits->edits_max >= 0);
    for (int part = 0; part < UM_PLAN_PART_COUNT; part++) {
        layout.offset[part] = layout.bytes;
        layout.bytes += align_up(bytes[part]);
    }
    return layout;
}

static void *part_of(const um_plan *plan, um_plan_part part)
{
    return plan->block + plan->layout.offset[part];
}

um_status um_plan_create(const um_plan_limits *limits, um_plan **out, um_err *err)
{
    um_plan *plan = um_mem_zalloc(sizeof(*plan));

    *out = NULL;
    if (plan) {
        plan->limits = *limits;
        plan->layout = um_plan_layout_of(limits);
        plan->block = um_mem_alloc_aligned(plan->layout.bytes);
    }
    if (!plan || !plan->block) {
        um_plan_destroy(plan);
        return um_fail(err, UM_E_NOMEM, "plan: no memory for %d rows", limits->rows_max);
    }
    memset(plan->block, 0, plan->layout.bytes); /* padding is copied too */
    plan->ids = part_of(plan, UM_PLAN_IDS);
    plan->positions = part_of(plan, UM_PLAN_POSITIONS);
    plan->cu_seqlens = part_of(plan, UM_PLAN_CU_SEQLENS);
    plan->gather = part_of(plan, UM_PLAN_GATHER);
    plan->conditional = part_of(plan, UM_PLAN_CONDITIONAL);
    plan->unconditional = part_of(plan, UM_PLAN_UNCONDITIONAL);
    plan->guidance = part_of(plan, UM_PLAN_GUIDANCE);
    plan->score_rows = part_of(plan, UM_PLAN_SCORE_ROWS);
    plan->score_rules = part_of(plan, UM_PLAN_SCORE_RULES);
    plan->select_rules = part_of(plan, UM_PLAN_SELECT_RULES);
    plan->edits = part_of(plan, UM_PLAN_EDITS);
    *out = plan;
    return UM_OK;
}

void um_plan_destroy(um_plan *plan)
{
    if (!plan)
        return;
    um_mem_free_aligned(plan->block, plan->layout.bytes);
    um_mem_free(plan);
}

void um_plan_clear(um_plan *plan)
{
    plan->row_count = 0;
    plan->sequence_count = 0;
    plan->cu_seqlens[0] = 0;
    plan->hidden_count = 0;
    plan->score_count = 0;
    plan->alternative_count = 0;
    plan->rule_count = 0;
    plan->request_count = 0;
    plan->edit_count = 0;
}

size_t um_plan_bytes_used(const um_plan *plan)
{
    return plan->layout.offset[UM_PLAN_EDITS] + (size_t)plan->edit_count * sizeof(*plan->edits);
}

size_t um_step_result_commits_offset(const um_plan_limits *limits)
{
    return align_up((size_t)limits->sequences_max * sizeof(int32_t));
}

size_t um_step_result_alternatives_offset(const um_plan_limits *limits, int32_t score_count)
{
    return um_step_result_commits_offset(limits) + (size_t)score_count * sizeof(um_commit);
}

size_t um_step_result_bytes(const um_plan_limits *limits, int32_t score_count,
                            int32_t alternative_count)
{
    return um_step_result_alternatives_offset(limits, score_count) +
           (size_t)score_count * (size_t)alternative_count * sizeof(um_alternative);
}

um_status um_step_result_create(const um_plan_limits *limits, um_step_result **out, um_err *err)
{
    um_step_result *result = um_mem_zalloc(sizeof(*result));

    *out = NULL;
    if (result)
        result->block =
            um_mem_zalloc(um_step_result_bytes(limits, limits->rows_max, UM_ALTERNATIVES_MAX + 1));
    if (!result || !result->block) {
        um_step_result_destroy(result);
        return um_fail(err, UM_E_NOMEM, "step result: no memory for %d rows", limits->rows_max);
    }
    result->counts = (int32_t *)(void *)result->block;
    result->commits = (um_commit *)(void *)(result->block + um_step_result_commits_offset(limits));
    *out = result;
    return UM_OK;
}

void um_step_result_destroy(um_step_result *result)
{
    if (!result)
        return;
    um_mem_free(result->block);
    um_mem_free(result);
}

um_alternative *um_step_result_alternatives(const um_step_result *result, const um_plan *plan,
                                            int32_t row)
{
    char *first =
        result->block + um_step_result_alternatives_offset(&plan->limits, plan->score_count);

    UM_ASSERT(row >= 0 && row < plan->score_count);
    return (um_alternative *)(void *)first + (size_t)row * (size_t)plan->alternative_count;
}
