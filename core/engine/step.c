/* The step that runs a plan on a model. Engine thread; owns the device copies of the plan and of
 * the result, and the rows between the ops; borrows the model. */
#include "core/engine/step.h"

#include "core/base/mem.h"

/* Device arrays of a step. */
typedef enum um_step_array {
    STEP_PLAN,        /* laid out as the host's plan */
    STEP_HIDDEN,      /* [rows][width] f32 */
    STEP_MIXED,       /* [rows][width] compute dtype */
    STEP_TOKENS,      /* [1][rows] i32 */
    STEP_CONFIDENCES, /* [1][rows] f32 */
    STEP_RESULT,      /* laid out as the host's result */
    STEP_ARRAY_COUNT,
} um_step_array;

struct um_step {
    um_model *model;     /* borrowed */
    um_backend *backend; /* borrowed */
    um_plan_limits limits;
    um_plan_layout layout;
    um_tensor arrays[STEP_ARRAY_COUNT];
};

um_status um_step_create(um_model *model, const um_plan_limits *limits, um_step **out, um_err *err)
{
    const um_model_info *info = um_model_get_info(model);
    const um_plan_layout layout = um_plan_layout_of(limits);
    const int64_t rows = limits->rows_max;
    const struct {
        um_dtype dtype;
        int64_t rows;
        int64_t cols;
    } shapes[STEP_ARRAY_COUNT] = {
        [STEP_PLAN] = {UM_BYTES, 1, (int64_t)layout.bytes},
        [STEP_HIDDEN] = {UM_F32, rows, info->config.width},
        [STEP_MIXED] = {info->precision, rows, info->config.width},
        [STEP_TOKENS] = {UM_I32, 1, rows},
        [STEP_CONFIDENCES] = {UM_F32, 1, rows},
        [STEP_RESULT] = {UM_BYTES, 1,
                         (int64_t)um_step_result_bytes(limits, limits->rows_max,
                                                       UM_ALTERNATIVES_MAX + 1)},
    };
    um_step *step = um_mem_zalloc(sizeof(*step));
    um_status status = UM_OK;

    *out = NULL;
    if (!step)
        return um_fail(err, UM_E_NOMEM, "step: no memory for %zu bytes", sizeof(*step));
    step->model = model;
    step->backend = um_model_backend(model);
    step->limits = *limits;
    step->layout = layout;
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

/* `count` elements of a part of the plan, on the device. */
static um_tensor plan_part(const um_step *step, um_plan_part part, um_dtype dtype, int64_t count)
{
    char *data = (char *)step->arrays[STEP_PLAN].data + step->layout.offset[part];

    return um_tensor_host(dtype, 1, count, data);
}

static um_tensor plan_structs(const um_step *step, um_plan_part part, int64_t count, size_t size)
{
    return plan_part(step, part, UM_BYTES, count * (int64_t)size);
}

static um_tensor front_rows(const um_step *step, um_step_array array, int64_t rows)
{
    const um_tensor *tensor = &step->arrays[array];

    return um_tensor_view(tensor, 0, rows, 0, tensor->cols);
}

static um_status run_forward(um_step *step, const um_plan *plan, um_err *err)
{
    um_tensor ids = plan_part(step, UM_PLAN_IDS, UM_I32, plan->row_count);
    um_tensor positions = plan_part(step, UM_PLAN_POSITIONS, UM_I32, plan->row_count);
    um_tensor gather = plan_part(step, UM_PLAN_GATHER, UM_I32, plan->hidden_count);
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

static um_status run_mix(um_step *step, const um_plan *plan, um_err *err)
{
    int64_t rows = plan->score_count;
    um_tensor hidden = front_rows(step, STEP_HIDDEN, plan->hidden_count);
    um_tensor mixed = front_rows(step, STEP_MIXED, rows);
    um_tensor conditional = plan_part(step, UM_PLAN_CONDITIONAL, UM_I32, rows);
    um_tensor unconditional = plan_part(step, UM_PLAN_UNCONDITIONAL, UM_I32, rows);
    um_tensor guidance = plan_part(step, UM_PLAN_GUIDANCE, UM_F32, rows);
    um_mix_args args = {
        .x = &hidden,
        .conditional = &conditional,
        .unconditional = &unconditional,
        .scales = &guidance,
        .out = &mixed,
    };

    return um_op_mix(step->backend, &args, err);
}

static um_status run_score(um_step *step, const um_plan *plan, um_err *err)
{
    const um_model_config *config = &um_model_get_info(step->model)->config;
    um_tensor mixed = front_rows(step, STEP_MIXED, plan->score_count);
    um_tensor score_rows =
        plan_structs(step, UM_PLAN_SCORE_ROWS, plan->score_count, sizeof(um_score_row));
    um_tensor rules =
        plan_structs(step, UM_PLAN_SCORE_RULES, plan->rule_count, sizeof(um_score_rule));
    um_tensor edits = plan_structs(step, UM_PLAN_EDITS, plan->edit_count, sizeof(um_logit_edit));
    um_tensor alternatives = um_tensor_host(
        UM_BYTES, plan->score_count, plan->alternative_count * (int64_t)sizeof(um_alternative),
        (char *)step->arrays[STEP_RESULT].data +
            um_step_result_alternatives_offset(&step->limits, plan->score_count));
    um_score_args args = {
        .hidden = &mixed,
        .head = um_model_head(step->model),
        .scale = config->logit_scale,
        .vocab = config->vocab_rows, /* the authors' softmax covers rows without a token */
        .score_rows = &score_rows,
        .rules = &rules,
        .rule_count = plan->rule_count,
        .edits = plan->edit_count ? &edits : NULL,
        .tokens = &step->arrays[STEP_TOKENS],
        .confidences = &step->arrays[STEP_CONFIDENCES],
        .alternatives = plan->alternative_count ? &alternatives : NULL,
        .alternative_count = plan->alternative_count,
    };

    return um_op_score(step->backend, &args, err);
}

static um_status run_select(um_step *step, const um_plan *plan, um_err *err)
{
    char *result = step->arrays[STEP_RESULT].data;
    um_tensor score_rows =
        plan_structs(step, UM_PLAN_SCORE_ROWS, plan->score_count, sizeof(um_score_row));
    um_tensor rules =
        plan_structs(step, UM_PLAN_SELECT_RULES, plan->request_count, sizeof(um_select_rule));
    um_tensor counts = um_tensor_host(UM_I32, 1, plan->request_count, result);
    um_tensor commits = um_tensor_host(UM_BYTES, 1, plan->score_count * (int64_t)sizeof(um_commit),
                                       result + um_step_result_commits_offset(&step->limits));
    um_select_args args = {
        .tokens = &step->arrays[STEP_TOKENS],
        .confidences = &step->arrays[STEP_CONFIDENCES],
        .score_rows = &score_rows,
        .rules = &rules,
        .rule_count = plan->request_count,
        .commits = &commits,
        .counts = &counts,
    };

    return um_op_select(step->backend, &args, err);
}

um_status um_step_run(void *context, const um_plan *plan, um_step_result *result, um_err *err)
{
    um_step *step = context;
    um_status status;

    UM_ASSERT(plan->request_count > 0 && plan->score_count > 0);
    UM_ASSERT(plan->rule_count >= plan->request_count);
    UM_ASSERT(plan->layout.bytes == step->layout.bytes);
    status = um_tensor_upload(step->backend, &step->arrays[STEP_PLAN], plan->block,
                              (int64_t)um_plan_bytes_used(plan), err);
    if (status == UM_OK)
        status = run_forward(step, plan, err);
    if (status == UM_OK)
        status = run_mix(step, plan, err);
    if (status == UM_OK)
        status = run_score(step, plan, err);
    if (status == UM_OK)
        status = run_select(step, plan, err);
    if (status == UM_OK)
        status = um_tensor_download(step->backend, &step->arrays[STEP_RESULT], result->block,
                                    (int64_t)um_step_result_bytes(&step->limits, plan->score_count,
                                                                  plan->alternative_count),
                                    err);
    return status;
}
