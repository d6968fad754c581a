/* Plans, results, and the step that runs a plan on a model. Engine thread; owns the device copies
 * of the plan and the hidden rows, borrows the model. */
#include "core/engine/step.h"

#include "core/base/mem.h"

um_status um_plan_create(int32_t rows_max, int32_t sequences_max, um_plan **out, um_err *err)
{
    um_plan *plan = um_mem_zalloc(sizeof(*plan));
    size_t rows = (size_t)rows_max, sequences = (size_t)sequences_max;

    UM_ASSERT(rows_max > 0 && sequences_max > 0);
    *out = NULL;
    if (!plan)
        return um_fail(err, UM_E_NOMEM, "plan: no memory");
    plan->rows_max = rows_max;
    plan->sequences_max = sequences_max;
    plan->ids = um_mem_calloc(rows, sizeof(*plan->ids));
    plan->positions = um_mem_calloc(rows, sizeof(*plan->positions));
    plan->cu_seqlens = um_mem_calloc(sequences + 1, sizeof(*plan->cu_seqlens));
    plan->gather = um_mem_calloc(rows, sizeof(*plan->gather));
    plan->conditional = um_mem_calloc(rows, sizeof(*plan->conditional));
    plan->unconditional = um_mem_calloc(rows, sizeof(*plan->unconditional));
    plan->guidance = um_mem_calloc(rows, sizeof(*plan->guidance));
    plan->score_rows = um_mem_calloc(rows, sizeof(*plan->score_rows));
    plan->score_rules = um_mem_calloc(sequences, sizeof(*plan->score_rules));
    plan->select_rules = um_mem_calloc(sequences, sizeof(*plan->select_rules));
    if (!plan->ids || !plan->positions || !plan->cu_seqlens || !plan->gather ||
        !plan->conditional || !plan->unconditional || !plan->guidance || !plan->score_rows ||
        !plan->score_rules || !plan->select_rules) {
        um_plan_destroy(plan);
        return um_fail(err, UM_E_NOMEM, "plan: no memory for %d rows", rows_max);
    }
    *out = plan;
    return UM_OK;
}

void um_plan_destroy(um_plan *plan)
{
    if (!plan)
        return;
    um_mem_free(plan->ids);
    um_mem_free(plan->positions);
    um_mem_free(plan->cu_seqlens);
    um_mem_free(plan->gather);
    um_mem_free(plan->conditional);
    um_mem_free(plan->unconditional);
    um_mem_free(plan->guidance);
    um_mem_free(plan->score_rows);
    um_mem_free(plan->score_rules);
    um_mem_free(plan->select_rules);
    um_mem_free(plan);
}

um_status um_step_result_create(int32_t rows_max, int32_t sequences_max, um_step_result **out,
                                um_err *err)
{
    um_step_result *result = um_mem_zalloc(sizeof(*result));

    *out = NULL;
    if (result) {
        result->commits = um_mem_calloc((size_t)rows_max, sizeof(*result->commits));
        result->counts = um_mem_calloc((size_t)sequences_max, sizeof(*result->counts));
    }
    if (!result || !result->commits || !result->counts) {
        um_step_result_destroy(result);
        return um_fail(err, UM_E_NOMEM, "step result: no memory for %d rows", rows_max);
    }
    *out = result;
    return UM_OK;
}

void um_step_result_destroy(um_step_result *result)
{
    if (!result)
        return;
    um_mem_free(result->commits);
    um_mem_free(result->counts);
    um_mem_free(result);
}

/* Device arrays of a step: its inputs, what the ops hand on, its result. */
typedef enum um_step_array {
    STEP_IDS,
    STEP_POSITIONS,
    STEP_GATHER,
    STEP_CONDITIONAL,
    STEP_UNCONDITIONAL,
    STEP_GUIDANCE,
    STEP_SCORE_ROWS,
    STEP_SCORE_RULES,
    STEP_SELECT_RULES,
    STEP_HIDDEN,
    STEP_MIXED,
    STEP_TOKENS,
    STEP_CONFIDENCES,
    STEP_COMMITS,
    STEP_COUNTS,
    STEP_ARRAY_COUNT,
} um_step_array;

struct um_step {
    um_model *model;     /* borrowed */
    um_backend *backend; /* borrowed */
    um_tensor arrays[STEP_ARRAY_COUNT];
};

um_status um_step_create(um_model *model, int32_t rows_max, int32_t sequences_max, um_step **out,
                         um_err *err)
{
    const um_model_info *info = um_model_get_info(model);
    const int64_t rows = rows_max, requests = sequences_max;
    const struct {
        um_dtype dtype;
        int64_t rows;
        int64_t cols;
    } shapes[STEP_ARRAY_COUNT] = {
        [STEP_IDS] = {UM_I32, 1, rows},
        [STEP_POSITIONS] = {UM_I32, 1, rows},
        [STEP_GATHER] = {UM_I32, 1, rows},
        [STEP_CONDITIONAL] = {UM_I32, 1, rows},
        [STEP_UNCONDITIONAL] = {UM_I32, 1, rows},
        [STEP_GUIDANCE] = {UM_F32, 1, rows},
        [STEP_SCORE_ROWS] = {UM_BYTES, 1, rows * (int64_t)sizeof(um_score_row)},
        [STEP_SCORE_RULES] = {UM_BYTES, 1, requests * (int64_t)sizeof(um_score_rule)},
        [STEP_SELECT_RULES] = {UM_BYTES, 1, requests * (int64_t)sizeof(um_select_rule)},
        [STEP_HIDDEN] = {UM_F32, rows, info->config.width},
        [STEP_MIXED] = {info->precision, rows, info->config.width},
        [STEP_TOKENS] = {UM_I32, 1, rows},
        [STEP_CONFIDENCES] = {UM_F32, 1, rows},
        [STEP_COMMITS] = {UM_BYTES, 1, rows * (int64_t)sizeof(um_commit)},
        [STEP_COUNTS] = {UM_I32, 1, requests},
    };
    um_step *step = um_mem_zalloc(sizeof(*step));
    um_status status = UM_OK;

    UM_ASSERT(rows_max > 0 && sequences_max > 0);
    *out = NULL;
    if (!step)
        return um_fail(err, UM_E_NOMEM, "step: no memory for %zu bytes", sizeof(*step));
    step->model = model;
    step->backend = um_model_backend(model);
    for (int i = 0; i < STEP_ARRAY_COUNT && status == UM_OK; i++)
        status = um_tensor_create(step->backend, shapes[i].dtype, shapes[i].rows, shapes[i].cols,
                                  &step->arrays[i], err);
    if (status != UM_OK) {
        um_step_destroy(step);
        return status;
    }
    *out = step;
    return UM_OK;
}

void um_step_destroy(um_step *step)
{
    if (!step)
        return;
    for (int i = 0; i < STEP_ARRAY_COUNT; i++)
        um_tensor_destroy(step->backend, &step->arrays[i]);
    um_mem_free(step);
}

/* The first `count` elements of a one-row array, as this step uses them. */
static um_tensor front(const um_step *step, um_step_array array, int64_t count)
{
    return um_tensor_view(&step->arrays[array], 0, 1, 0, count);
}

static um_tensor front_rows(const um_step *step, um_step_array array, int64_t rows)
{
    const um_tensor *tensor = &step->arrays[array];

    return um_tensor_view(tensor, 0, rows, 0, tensor->cols);
}

static um_status upload_plan(um_step *step, const um_plan *plan, um_err *err)
{
    const struct {
        um_step_array array;
        const void *from;
        int64_t count;
    } parts[] = {
        {STEP_IDS, plan->ids, plan->row_count},
        {STEP_POSITIONS, plan->positions, plan->row_count},
        {STEP_GATHER, plan->gather, plan->hidden_count},
        {STEP_CONDITIONAL, plan->conditional, plan->score_count},
        {STEP_UNCONDITIONAL, plan->unconditional, plan->score_count},
        {STEP_GUIDANCE, plan->guidance, plan->score_count},
        {STEP_SCORE_ROWS, plan->score_rows, plan->score_count * (int64_t)sizeof(*plan->score_rows)},
        {STEP_SCORE_RULES, plan->score_rules,
         plan->request_count * (int64_t)sizeof(*plan->score_rules)},
        {STEP_SELECT_RULES, plan->select_rules,
         plan->request_count * (int64_t)sizeof(*plan->select_rules)},
    };
    um_status status = UM_OK;

    for (size_t i = 0; i < UM_COUNT_OF(parts) && status == UM_OK; i++)
        status = um_tensor_upload(step->backend, &step->arrays[parts[i].array], parts[i].from,
                                  parts[i].count, err);
    return status;
}

static um_status run_forward(um_step *step, const um_plan *plan, um_err *err)
{
    um_tensor ids = front(step, STEP_IDS, plan->row_count);
    um_tensor positions = front(step, STEP_POSITIONS, plan->row_count);
    um_tensor gather = front(step, STEP_GATHER, plan->hidden_count);
    um_tensor hidden = front_rows(step, STEP_HIDDEN, plan->hidden_count);
    um_forward_args args = {
        .ids = &ids,
        .positions = &positions,
        .cu_seqlens = plan->cu_seqlens,
        .sequence_count = plan->sequence_count,
        .gather = &gather,
        .hidden = &hidden,
    };

    return um_model_forward(step->model, &args, err);
}

/* From here on one-row arrays are passed whole: an op reads as many entries as it has rows. */
static um_status run_mix(um_step *step, const um_plan *plan, um_err *err)
{
    um_tensor hidden = front_rows(step, STEP_HIDDEN, plan->hidden_count);
    um_tensor mixed = front_rows(step, STEP_MIXED, plan->score_count);
    um_mix_args args = {
        .x = &hidden,
        .conditional = &step->arrays[STEP_CONDITIONAL],
        .unconditional = &step->arrays[STEP_UNCONDITIONAL],
        .scales = &step->arrays[STEP_GUIDANCE],
        .out = &mixed,
    };

    return um_op_mix(step->backend, &args, err);
}

static um_status run_score(um_step *step, const um_plan *plan, um_err *err)
{
    const um_model_config *config = &um_model_get_info(step->model)->config;
    um_tensor mixed = front_rows(step, STEP_MIXED, plan->score_count);
    um_score_args args = {
        .hidden = &mixed,
        .head = um_model_head(step->model),
        .scale = config->logit_scale,
        .vocab = config->vocab_rows, /* the authors' softmax covers rows without a token */
        .score_rows = &step->arrays[STEP_SCORE_ROWS],
        .rules = &step->arrays[STEP_SCORE_RULES],
        .rule_count = plan->request_count,
        .tokens = &step->arrays[STEP_TOKENS],
        .confidences = &step->arrays[STEP_CONFIDENCES],
    };

    return um_op_score(step->backend, &args, err);
}

static um_status run_select(um_step *step, const um_plan *plan, um_err *err)
{
    um_select_args args = {
        .tokens = &step->arrays[STEP_TOKENS],
        .confidences = &step->arrays[STEP_CONFIDENCES],
        .score_rows = &step->arrays[STEP_SCORE_ROWS],
        .rules = &step->arrays[STEP_SELECT_RULES],
        .rule_count = plan->request_count,
        .commits = &step->arrays[STEP_COMMITS],
        .counts = &step->arrays[STEP_COUNTS],
    };

    return um_op_select(step->backend, &args, err);
}

um_status um_step_run(void *context, const um_plan *plan, um_step_result *result, um_err *err)
{
    um_step *step = context;
    um_status status;

    UM_ASSERT(plan->request_count > 0 && plan->score_count > 0);
    status = upload_plan(step, plan, err);
    if (status == UM_OK)
        status = run_forward(step, plan, err);
    if (status == UM_OK)
        status = run_mix(step, plan, err);
    if (status == UM_OK)
        status = run_score(step, plan, err);
    if (status == UM_OK)
        status = run_select(step, plan, err);
    if (status == UM_OK)
        status = um_tensor_download(step->backend, &step->arrays[STEP_COMMITS], result->commits,
                                    plan->score_count * (int64_t)sizeof(*result->commits), err);
    if (status == UM_OK)
        status = um_tensor_download(step->backend, &step->arrays[STEP_COUNTS], result->counts,
                                    plan->request_count, err);
    return status;
}
