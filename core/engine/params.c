/* Generation parameters: ranges, conflicts and defaults. No state; any thread. */
#include "core/engine/params.h"

#include <float.h>
#include <math.h>

/* What a preset sets where the model's settings say nothing of it. */
typedef struct preset_row {
    const char *algorithm;   /* NULL: the model's */
    int32_t block_length;    /* 0: the model's; only settings files say it */
    int32_t steps_per_block; /* 0: by `share` */
    int32_t share;   /* steps are a block's positions over this, rounded up; 0: the model's */
    float threshold; /* 0: UM_THRESHOLD_DEFAULT */
    bool paced;      /* a policy that ends blocks by itself gives way to an even pace */
} preset_row;

static const preset_row preset_rows[UM_PRESET_COUNT] = {
    [UM_PRESET_RECOMMENDED] = {.algorithm = NULL},
    [UM_PRESET_FAST] = {.algorithm = "threshold", .share = 4, .threshold = 0.8f},
    [UM_PRESET_BALANCED] = {.algorithm = "threshold", .share = 2, .threshold = 0.9f},
    [UM_PRESET_MAX] = {.share = 1, .paced = true},
};

/* The table's row with what the model's settings say instead. */
static preset_row row_of(um_preset preset, const um_params_limits *limits)
{
    const um_model_preset *own = &limits->defaults.presets[preset];
    preset_row row = preset_rows[preset];

    if (own->algorithm[0] != '\0') {
        row.algorithm = own->algorithm;
        row.paced = false;
    }
    if (own->block_length > 0)
        row.block_length = own->block_length;
    row.steps_per_block = own->steps_per_block;
    if (own->threshold > 0.0f)
        row.threshold = own->threshold;
    return row;
}

static um_status check_int(bool given, int64_t value, int64_t min, int64_t max, const char *field,
                           um_err *err)
{
    if (!given)
        return UM_OK;
    if (value < min)
        return um_fail_field(err, UM_E_INT_BELOW_MIN, field, "%s is %lld; the minimum is %lld",
                             field, (long long)value, (long long)min);
    if (value > max)
        return um_fail_field(err, UM_E_INT_ABOVE_MAX, field, "%s is %lld; the maximum is %lld",
                             field, (long long)value, (long long)max);
    return UM_OK;
}

static um_status check_number(bool given, double value, double min, double max, const char *field,
                              um_err *err)
{
    if (!given)
        return UM_OK;
    if (!(value >= min))
        return um_fail_field(err, UM_E_DEC_BELOW_MIN, field, "%s is %g; the minimum is %g", field,
                             value, min);
    if (!(value <= max))
        return um_fail_field(err, UM_E_DEC_ABOVE_MAX, field, "%s is %g; the maximum is %g", field,
                             value, max);
    return UM_OK;
}

/* `value` > 0, and a number in float32 too. */
static um_status check_repetition(const um_params_given *given, um_err *err)
{
    if (given->has_repetition_penalty && !(given->repetition_penalty > 0))
        return um_fail_field(err, UM_E_DEC_BELOW_MIN, "repetition_penalty",
                             "repetition_penalty is %g; it must be above 0",
                             given->repetition_penalty);
    return check_number(given->has_repetition_penalty, given->repetition_penalty,
                        UM_REPETITION_PENALTY_MIN, UM_REPETITION_PENALTY_MAX, "repetition_penalty",
                        err);
}

static um_status check_text_ranges(const um_params_given *given, um_err *err)
{
    um_status status = check_number(given->has_frequency_penalty, given->frequency_penalty,
                                    -UM_PENALTY_MAX, UM_PENALTY_MAX, "frequency_penalty", err);

    if (status == UM_OK)
        status = check_number(given->has_presence_penalty, given->presence_penalty, -UM_PENALTY_MAX,
                              UM_PENALTY_MAX, "presence_penalty", err);
    if (status == UM_OK)
        status = check_repetition(given, err);
    if (status == UM_OK)
        status =
            check_int(given->has_min_tokens, given->min_tokens, 0, INT64_MAX, "min_tokens", err);
    if (status == UM_OK)
        status = check_int(true, given->top_logprobs, 0, UM_LOGPROBS_MAX, "top_logprobs", err);
    if (status == UM_OK && given->top_logprobs > 0 && !given->wants_logprobs)
        status = um_fail_field(err, UM_E_CONFLICT, "top_logprobs",
                               "top_logprobs has no effect without logprobs");
    return status;
}

static um_status check_canvas_ranges(const um_params_given *given, um_err *err)
{
    um_status status = check_int(given->has_deadline_ms, given->deadline_ms, 1, UM_DEADLINE_MS_MAX,
                                 "diffusion.deadline_ms", err);

    if (status == UM_OK)
        status = check_number(given->has_noise, given->noise, 0, 1, "diffusion.noise", err);
    if (status == UM_OK) /* 0 is "auto" */
        status = check_int(given->has_infill_length, given->infill_length, 0, INT64_MAX,
                           "diffusion.infill_length", err);
    return status;
}

static um_status check_ranges(const um_params_given *given, int32_t context_max, um_err *err)
{
    um_status status =
        check_int(given->has_max_tokens, given->max_tokens, 1, INT64_MAX, "max_tokens", err);

    if (status == UM_OK)
        status = check_number(given->has_temperature, given->temperature, 0, UM_TEMPERATURE_MAX,
                              "temperature", err);
    if (status == UM_OK)
        status = check_number(given->has_top_p, given->top_p, 0, 1, "top_p", err);
    if (status == UM_OK)
        status = check_int(given->has_top_k, given->top_k, -1, INT32_MAX, "top_k", err);
    if (status == UM_OK)
        status = check_number(given->has_min_p, given->min_p, 0, 1, "min_p", err);
    if (status == UM_OK)
        status = check_text_ranges(given, err);
    if (status == UM_OK)
        status = check_int(given->has_steps, given->steps, 1, UM_STEPS_MAX, "diffusion.steps", err);
    if (status == UM_OK)
        status = check_int(given->has_steps_per_block, given->steps_per_block, 1,
                           UM_STEPS_PER_BLOCK_MAX, "diffusion.steps_per_block", err);
    if (status == UM_OK)
        status = check_int(given->has_block_length, given->block_length, 1, context_max,
                           "diffusion.block_length", err);
    if (status == UM_OK)
        status =
            check_number(given->has_threshold, given->threshold, 0, 1, "diffusion.threshold", err);
    if (status == UM_OK && given->has_factor && !(given->factor > 0))
        status = um_fail_field(err, UM_E_DEC_BELOW_MIN, "diffusion.factor",
                               "diffusion.factor is %g; it must be above 0", given->factor);
    if (status == UM_OK)
        status = check_number(given->has_order_temperature, given->order_temperature, 0,
                              UM_ORDER_TEMPERATURE_MAX, "diffusion.order_temperature", err);
    if (status == UM_OK)
        status =
            check_number(given->has_eps, given->eps, UM_EPS_MIN, UM_EPS_MAX, "diffusion.eps", err);
    if (status == UM_OK)
        status = check_number(given->has_cfg_scale, given->cfg_scale, 0, UM_CFG_SCALE_MAX,
                              "diffusion.cfg_scale", err);
    return status == UM_OK ? check_canvas_ranges(given, err) : status;
}

/* What the model's settings say of one preset. */
static um_status check_preset(const um_params_limits *limits, int index, um_err *err)
{
    const um_model_preset *preset = &limits->defaults.presets[index];

    if (preset->algorithm[0] != '\0' && !um_policy_find(preset->algorithm))
        return um_fail(err, UM_E_UNSUPPORTED,
                       "the model's preset \"%s\" has algorithm \"%s\"; known are: %s",
                       um_preset_names[index], preset->algorithm, um_policy_names());
    if (preset->block_length < 0)
        return um_fail(err, UM_E_FORMAT,
                       "the model's preset \"%s\" has block_length %d; the minimum is 1",
                       um_preset_names[index], preset->block_length);
    if (preset->steps_per_block < 0 || preset->steps_per_block > UM_STEPS_PER_BLOCK_MAX)
        return um_fail(err, UM_E_FORMAT,
                       "the model's preset \"%s\" has steps_per_block %d; 1 to %d",
                       um_preset_names[index], preset->steps_per_block, UM_STEPS_PER_BLOCK_MAX);
    if (!(preset->threshold >= 0.0f && preset->threshold <= 1.0f))
        return um_fail(err, UM_E_FORMAT,
                       "the model's preset \"%s\" has threshold %g; above 0, at most 1",
                       um_preset_names[index], (double)preset->threshold);
    return UM_OK;
}

um_status um_params_limits_check(const um_params_limits *limits, um_err *err)
{
    const um_model_defaults *defaults = &limits->defaults;

    UM_ASSERT(limits->context_max > 0);
    if (!um_policy_find(defaults->algorithm))
        return um_fail(err, UM_E_UNSUPPORTED,
                       "the model recommends algorithm \"%.64s\"; known are: %s",
                       defaults->algorithm, um_policy_names());
    if (defaults->block_length < 0 || defaults->max_tokens < 1)
        return um_fail(err, UM_E_FORMAT,
                       "the model recommends block_length %d and max_tokens %d; the minima are 0 "
                       "and 1",
                       defaults->block_length, defaults->max_tokens);
    if (defaults->steps_per_block < 0 || defaults->steps_per_block > UM_STEPS_PER_BLOCK_MAX)
        return um_fail(err, UM_E_FORMAT, "the model recommends steps_per_block %d; 0 to %d",
                       defaults->steps_per_block, UM_STEPS_PER_BLOCK_MAX);
    if (!(defaults->temperature >= 0 && defaults->temperature <= (float)UM_TEMPERATURE_MAX))
        return um_fail(err, UM_E_FORMAT, "the model recommends temperature %g; 0 to %g",
                       (double)defaults->temperature, UM_TEMPERATURE_MAX);
    if (!(defaults->top_p > 0 && defaults->top_p <= 1))
        return um_fail(err, UM_E_FORMAT, "the model recommends top_p %g; above 0, at most 1",
                       (double)defaults->top_p);
    if (!(defaults->order_temperature >= 0 &&
          defaults->order_temperature <= (float)UM_ORDER_TEMPERATURE_MAX))
        return um_fail(err, UM_E_FORMAT, "the model recommends order_temperature %g; 0 to %g",
                       (double)defaults->order_temperature, UM_ORDER_TEMPERATURE_MAX);
    if (!(defaults->eps >= 0 && defaults->eps <= (float)UM_EPS_MAX))
        return um_fail(err, UM_E_FORMAT, "the model recommends eps %g; 0 to %g",
                       (double)defaults->eps, UM_EPS_MAX);
    for (int i = 0; i < UM_PRESET_COUNT; i++)
        if (check_preset(limits, i, err) != UM_OK)
            return err ? err->status : UM_E_FORMAT;
    return UM_OK;
}

static float temperature_of(const um_params_given *given, const um_params_limits *limits)
{
    return given->has_temperature ? (float)given->temperature : limits->defaults.temperature;
}

/* Threshold and factor: how many a step fills depends on how sure it is, not on a pace. */
static bool ends_itself(um_count_rule count)
{
    return count == UM_COUNT_THRESHOLD || count == UM_COUNT_FACTOR;
}

/* Request over implication over preset over the model's own; NULL only when the request names an
 * unknown one. */
static const um_policy *choose_policy(const um_params_given *given, const um_params_limits *limits)
{
    const preset_row row = row_of(given->preset, limits);
    const um_policy *policy;

    if (given->algorithm)
        return um_policy_find(given->algorithm);
    if (given->has_threshold)
        return um_policy_find("threshold");
    if (given->has_factor)
        return um_policy_find("factor");
    if (row.algorithm)
        return um_policy_find(row.algorithm);
    policy =
        um_policy_find(limits->defaults.greedy_algorithm && temperature_of(given, limits) == 0.0f
                           ? limits->defaults.greedy_algorithm
                           : limits->defaults.algorithm);
    UM_ASSERT(policy); /* um_params_limits_check */
    if (row.paced && ends_itself(policy->count))
        return um_policy_find("low_confidence"); /* the same confidence */
    return policy;
}

static um_status no_effect(const char *field, const um_policy *policy, um_err *err)
{
    return um_fail_field(err, UM_E_CONFLICT, field,
                         "%s has no effect with diffusion.algorithm \"%s\"", field, policy->name);
}

/* The confidence is of the distribution that tokens are drawn from. */
static bool filters_confidence(const um_params_limits *limits, um_count_rule count,
                               float temperature)
{
    return limits->family->filtered_confidence || count == UM_COUNT_INDEPENDENT ||
           (count == UM_COUNT_COMPETING && temperature > 0.0f);
}

/* The rule "confidence" leaves end tokens out of the distribution that the confidence is of. */
static um_status check_eos_rule(const um_params_given *given, const um_params_limits *limits,
                                const um_policy *policy, um_err *err)
{
    um_count_rule count = um_policy_count(policy, limits->family->time_schedule);

    if (!given->has_eos_rule || given->eos_rule != UM_EOS_CONFIDENCE)
        return UM_OK;
    /* chance alone says which positions are filled */
    if (policy->confidence == UM_CONFIDENCE_RANDOM || count == UM_COUNT_INDEPENDENT)
        return no_effect("diffusion.eos_rule", policy, err);
    if (filters_confidence(limits, count, temperature_of(given, limits)))
        return um_fail_field(err, UM_E_CONFLICT, "diffusion.eos_rule",
                             "diffusion.eos_rule \"confidence\" is not possible with "
                             "diffusion.algorithm \"%s\" at a temperature above 0",
                             policy->name);
    return UM_OK;
}

static um_status check_conflicts(const um_params_given *given, const um_params_limits *limits,
                                 const um_policy *policy, um_err *err)
{
    um_count_rule count = um_policy_count(policy, limits->family->time_schedule);

    if (given->has_steps && given->has_steps_per_block)
        return um_fail_field(err, UM_E_CONFLICT, "diffusion.steps_per_block",
                             "diffusion.steps and diffusion.steps_per_block exclude each other");
    if (given->has_threshold && given->has_factor)
        return um_fail_field(err, UM_E_CONFLICT, "diffusion.factor",
                             "diffusion.threshold and diffusion.factor exclude each other");
    if (given->has_threshold && policy->count != UM_COUNT_THRESHOLD)
        return no_effect("diffusion.threshold", policy, err);
    if (given->has_factor && policy->count != UM_COUNT_FACTOR)
        return no_effect("diffusion.factor", policy, err);
    /* a draw of positions: where the policy says how many, not which */
    if (given->has_order_temperature && given->order_temperature > 0 && count != UM_COUNT_QUOTA &&
        count != UM_COUNT_TIME)
        return no_effect("diffusion.order_temperature", policy, err);
    if (given->has_eps && count != UM_COUNT_TIME && count != UM_COUNT_INDEPENDENT)
        return no_effect("diffusion.eps", policy, err);
    return check_eos_rule(given, limits, policy, err);
}

um_status um_params_check(const um_params_given *given, const um_params_limits *limits, um_err *err)
{
    const um_policy *policy;
    um_status status = check_ranges(given, limits->context_max, err);

    if (status != UM_OK)
        return status;
    policy = choose_policy(given, limits);
    if (!policy)
        return um_fail_field(err, UM_E_UNSUPPORTED_VALUE, "diffusion.algorithm",
                             "diffusion.algorithm \"%.64s\" is not offered; this model has: %s",
                             given->algorithm, um_policy_names());
    if (given->has_eos_rule && given->eos_rule != UM_EOS_NONE && !limits->family->has_eos_rules)
        return um_fail_field(err, UM_E_UNSUPPORTED_VALUE, "diffusion.eos_rule",
                             "diffusion.eos_rule: the %s family has only \"none\"",
                             limits->family->name);
    return check_conflicts(given, limits, policy, err);
}

/* ---- the canvas ------------------------------------------------------------------------------ */

static bool is_template(const um_params_place *place)
{
    return place->infill && place->one_block;
}

/* What depends on what surrounds the canvas. */
static um_status check_place(const um_params_given *given, const um_params_place *place,
                             um_err *err)
{
    if (given->has_infill_length && (!place->infill || place->one_block))
        return um_fail_field(err, UM_E_CONFLICT, "diffusion.infill_length",
                             "diffusion.infill_length has no effect without one gap to fill "
                             "(\"suffix\")");
    if (given->has_noise && (place->draft_tokens == 0 || is_template(place)))
        return um_fail_field(err, UM_E_CONFLICT, "diffusion.noise",
                             "diffusion.noise has no effect without a first draft "
                             "(\"prediction\")");
    if (given->wants_logprobs && place->draft_tokens > 0)
        return um_fail_field(err, UM_E_CONFLICT, "logprobs",
                             "logprobs and %s exclude each other: what stays of a first draft is "
                             "never scored",
                             place->draft_field);
    if (given->has_infill_length && given->has_max_tokens &&
        given->infill_length > given->max_tokens)
        return um_fail_field(err, UM_E_INT_ABOVE_MAX, "diffusion.infill_length",
                             "diffusion.infill_length is %lld; the maximum is %lld, max_tokens",
                             (long long)given->infill_length, (long long)given->max_tokens);
    return UM_OK;
}

/* How many tokens the request itself asks for; 0: it does not say. */
static int64_t asked_tokens(const um_params_given *given, const um_params_place *place)
{
    if (is_template(place))
        return place->draft_tokens;
    if (given->has_infill_length && given->infill_length > 0)
        return given->infill_length;
    return given->has_max_tokens ? given->max_tokens : 0;
}

/* The budget of visible tokens: asked for, or recommended and cut to the free context. */
static um_status resolve_budget(const um_params_given *given, const um_params_limits *limits,
                                const um_params_place *place, int32_t *out, um_err *err)
{
    int64_t context = limits->context_max;
    int64_t free_tokens = context - place->prompt_tokens;
    int64_t wanted = asked_tokens(given, place);

    if (wanted == 0) {
        wanted = place->default_tokens > 0 ? place->default_tokens : limits->defaults.max_tokens;
        if (wanted > free_tokens)
            wanted = free_tokens < 1 ? 1 : free_tokens;
    }
    if (wanted > free_tokens)
        /* clients look for these very words */
        return um_fail_field(err, UM_E_CONTEXT_LENGTH, place->field,
                             "This model's maximum context length is %lld tokens; the request "
                             "needs %llu (%d prompt + %lld completion) and exceeds the context "
                             "window.",
                             (long long)context,
                             (unsigned long long)wanted + (unsigned long long)place->prompt_tokens,
                             place->prompt_tokens, (long long)wanted);
    *out = (int32_t)wanted;
    return UM_OK;
}

/* What must fit into the budget. */
static um_status check_budget(const um_params_given *given, const um_params_place *place,
                              int32_t budget, um_err *err)
{
    if (is_template(place) && given->has_max_tokens && given->max_tokens < budget)
        budget = (int32_t)given->max_tokens;
    if (place->draft_tokens > budget)
        return um_fail_field(err, UM_E_VALUE, place->draft_field,
                             "%s has %d tokens; the answer has room for %d", place->draft_field,
                             place->draft_tokens, budget);
    if (given->has_min_tokens && given->min_tokens > budget)
        return um_fail_field(err, UM_E_INT_ABOVE_MAX, "min_tokens",
                             "min_tokens is %lld; the maximum is %d, the room for the answer",
                             (long long)given->min_tokens, budget);
    return UM_OK;
}

static int32_t ceil_div(int32_t value, int32_t by)
{
    UM_ASSERT(by > 0);
    return (value + by - 1) / by;
}

static int32_t at_most(int64_t value, int32_t bound)
{
    return value < bound ? (int32_t)value : bound;
}

/* 0 is the whole answer in one block. A gap of open length needs something to grow by. */
static int32_t resolve_block(const um_params_given *given, const um_params_limits *limits,
                             const um_params_place *place, const um_params *params)
{
    const preset_row row = row_of(given->preset, limits);
    int64_t length = row.block_length > 0 ? row.block_length : limits->defaults.block_length;

    if (place->one_block)
        length = 0;
    if (given->has_block_length)
        length = given->block_length;
    if (length == 0 && params->grows)
        length = at_most(UM_GROWTH_TOKENS, params->max_tokens);
    return length == 0 ? params->max_tokens : at_most(length, limits->context_max);
}

/* Whole blocks, the last one cut where the context or a gap ends. */
static void lay_out_canvas(um_params *params, int32_t free_tokens)
{
    int32_t room = params->exact_length ? params->max_tokens : free_tokens;

    params->block_count = ceil_div(params->max_tokens, params->block_length);
    params->canvas_tokens = at_most((int64_t)params->block_count * params->block_length, room);
}

static void resolve_canvas(const um_params_given *given, const um_params_limits *limits,
                           const um_params_place *place, um_params *params)
{
    params->exact_length = place->infill;
    params->grows = place->infill && !place->one_block &&
                    (given->has_infill_length ? given->infill_length == 0 : !given->has_max_tokens);
    params->block_length = resolve_block(given, limits, place, params);
    lay_out_canvas(params, limits->context_max - place->prompt_tokens);
}

/* The model's own pace for a block, 0 where it has none. Blocks that the model does not know, of a
 * growing gap or one over everything, get steps in proportion. */
static int32_t model_steps(const um_params_given *given, const um_params_limits *limits,
                           const um_params_place *place, const um_params *params)
{
    const um_model_defaults *defaults = &limits->defaults;
    int32_t own_block = defaults->block_length ? defaults->block_length : defaults->max_tokens;
    bool foreign =
        !given->has_block_length && (defaults->block_length ? place->one_block : params->grows);

    /* a pace that is recommended for another policy is no bound on threshold and factor */
    if (ends_itself(params->count) && params->policy != um_policy_find(defaults->algorithm))
        return 0;
    if (!foreign)
        return defaults->steps_per_block;
    return (int32_t)(((int64_t)defaults->steps_per_block * params->block_length + own_block - 1) /
                     own_block);
}

static int32_t resolve_steps(const um_params_given *given, const um_params_limits *limits,
                             const um_params_place *place, const um_params *params)
{
    const preset_row row = row_of(given->preset, limits);
    int32_t steps = model_steps(given, limits, place, params);

    if (given->has_steps)
        steps = ceil_div((int32_t)given->steps, params->block_count);
    else if (given->has_steps_per_block)
        steps = (int32_t)given->steps_per_block;
    else if (row.steps_per_block > 0)
        steps = row.steps_per_block;
    else if (row.share > 0)
        steps = ceil_div(params->block_length, row.share);
    if (steps == 0 && !ends_itself(params->count))
        steps = params->block_length;
    /* with a schedule by time or chance more steps than positions still mean something, but not more
     * over the whole answer than `steps` may ask for */
    if (um_count_knows_no_blocks(params->count) &&
        UM_STEPS_MAX / params->block_count > params->block_length)
        return at_most(steps, UM_STEPS_MAX / params->block_count);
    return at_most(steps, params->block_length);
}

static float resolve_threshold(const um_params_given *given, const um_params_limits *limits)
{
    const preset_row row = row_of(given->preset, limits);

    if (given->has_threshold)
        return (float)given->threshold;
    return row.threshold > 0.0f ? row.threshold : (float)UM_THRESHOLD_DEFAULT;
}

static void resolve_filters(const um_params_given *given, const um_params_limits *limits,
                            um_params *params)
{
    /* the authors' competing sampler filters nothing of itself */
    double top_p = params->count == UM_COUNT_COMPETING ? 1.0 : (double)limits->defaults.top_p;
    int64_t top_k = given->has_top_k && given->top_k > 0 ? given->top_k : 0;

    if (given->has_top_p)
        top_p = given->top_p;
    if ((float)top_p == 0.0f) { /* also a number that is too small for float32 */
        top_p = 1.0;
        top_k = 1;
    }
    params->top_p = (float)top_p;
    params->top_k = at_most(top_k, INT32_MAX);
    if (given->has_min_p && given->min_p > 0)
        params->min_p = fmaxf((float)given->min_p, FLT_MIN);
    params->filtered = filters_confidence(limits, params->count, params->temperature);
}

static void resolve_text(const um_params_given *given, um_params *params)
{
    params->frequency_penalty =
        given->has_frequency_penalty ? (float)given->frequency_penalty : 0.0f;
    params->presence_penalty = given->has_presence_penalty ? (float)given->presence_penalty : 0.0f;
    params->repetition_penalty =
        given->has_repetition_penalty ? (float)given->repetition_penalty : 0.0f;
    params->min_tokens = given->has_min_tokens ? (int32_t)given->min_tokens : 0;
    params->ignore_eos = given->ignore_eos;
    params->keep_special_text = given->keep_special_text;
    params->logprobs = given->wants_logprobs ? 1 + (int32_t)given->top_logprobs : 0;
}

static void resolve_order(const um_params_given *given, const um_params_limits *limits,
                          um_params *params)
{
    params->order_temperature = given->has_order_temperature ? (float)given->order_temperature
                                                             : limits->defaults.order_temperature;
    if (params->count != UM_COUNT_TIME && params->count != UM_COUNT_QUOTA)
        params->order_temperature = 0.0f;
    params->eps = given->has_eps ? (float)given->eps : limits->defaults.eps;
    params->threshold = resolve_threshold(given, limits);
    params->factor =
        (float)fmin(given->has_factor ? given->factor : UM_FACTOR_DEFAULT, (double)FLT_MAX);
}

um_status um_params_resolve(const um_params_given *given, const um_params_limits *limits,
                            const um_params_place *place, uint64_t random_seed, um_params *out,
                            um_err *err)
{
    um_params params = {0};
    um_status status = um_params_check(given, limits, err);

    UM_ASSERT(place->prompt_tokens >= 0 && place->draft_tokens >= 0);
    UM_ASSERT(!is_template(place) || place->draft_tokens > 0);
    if (status == UM_OK)
        status = check_place(given, place, err);
    if (status == UM_OK)
        status = resolve_budget(given, limits, place, &params.max_tokens, err);
    if (status == UM_OK)
        status = check_budget(given, place, params.max_tokens, err);
    if (status != UM_OK)
        return status;
    params.policy = choose_policy(given, limits);
    params.count = um_policy_count(params.policy, limits->family->time_schedule);
    resolve_canvas(given, limits, place, &params);
    params.steps_per_block = resolve_steps(given, limits, place, &params);
    params.temperature = temperature_of(given, limits);
    resolve_filters(given, limits, &params);
    resolve_order(given, limits, &params);
    resolve_text(given, &params);
    params.cfg_scale = given->has_cfg_scale ? (float)given->cfg_scale : 0.0f;
    params.eos_rule = given->has_eos_rule ? given->eos_rule : UM_EOS_NONE;
    params.early_stop = given->has_early_stop ? given->early_stop : true;
    params.reference_quirks = given->has_reference_quirks && given->reference_quirks;
    params.deadline_ms = given->has_deadline_ms ? (int32_t)given->deadline_ms : 0;
    if (place->draft_tokens > 0 && !is_template(place))
        params.noise = (float)(given->has_noise ? given->noise : UM_NOISE_DEFAULT);
    params.seed = given->has_seed ? (uint64_t)given->seed : random_seed;
    *out = params;
    return UM_OK;
}

void um_params_preset(const um_params_limits *limits, um_preset preset, um_params *out)
{
    const um_params_given given = {.preset = preset};
    const um_params_place place = {.field = "prompt"};

    UM_ASSERT(um_params_resolve(&given, limits, &place, 0, out, NULL) == UM_OK);
}

void um_params_block(const um_params *params, int32_t block, int32_t *begin, int32_t *end)
{
    UM_ASSERT(block >= 0 && block < params->block_count);
    *begin = block * params->block_length;
    *end = at_most((int64_t)*begin + params->block_length, params->canvas_tokens);
}
