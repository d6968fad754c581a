/* Generation parameters: ranges, conflicts and defaults. No state; any thread. */
#include "core/engine/params.h"

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
    return status;
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
    return UM_OK;
}

static float temperature_of(const um_params_given *given, const um_params_limits *limits)
{
    return given->has_temperature ? (float)given->temperature : limits->defaults.temperature;
}

/* Request over implication over the model's own; NULL only when the request names an unknown one. */
static const um_policy *choose_policy(const um_params_given *given, const um_params_limits *limits)
{
    const um_policy *policy;

    if (given->algorithm)
        return um_policy_find(given->algorithm);
    if (given->has_threshold)
        return um_policy_find("threshold");
    if (given->has_factor)
        return um_policy_find("factor");
    policy =
        um_policy_find(limits->defaults.greedy_algorithm && temperature_of(given, limits) == 0.0f
                           ? limits->defaults.greedy_algorithm
                           : limits->defaults.algorithm);
    UM_ASSERT(policy); /* um_params_limits_check */
    return policy;
}

static um_status no_effect(const char *field, const um_policy *policy, um_err *err)
{
    return um_fail_field(err, UM_E_CONFLICT, field,
                         "%s has no effect with diffusion.algorithm \"%s\"", field, policy->name);
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
    /* the rule lowers probabilities, which a random order never looks at */
    if (given->has_eos_rule && given->eos_rule == UM_EOS_CONFIDENCE &&
        policy->confidence == UM_CONFIDENCE_RANDOM)
        return no_effect("diffusion.eos_rule", policy, err);
    return UM_OK;
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

/* The budget of visible tokens: asked for, or recommended and cut to the free context. */
static um_status resolve_budget(const um_params_given *given, const um_params_limits *limits,
                                const um_params_place *place, int32_t *out, um_err *err)
{
    int64_t context = limits->context_max;
    int64_t free_tokens = context - place->prompt_tokens;
    int64_t wanted = given->has_max_tokens ? given->max_tokens : limits->defaults.max_tokens;

    if (!given->has_max_tokens && wanted > free_tokens)
        wanted = free_tokens < 1 ? 1 : free_tokens;
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

static int32_t ceil_div(int32_t value, int32_t by)
{
    return (value + by - 1) / by;
}

static int32_t at_most(int64_t value, int32_t bound)
{
    return value < bound ? (int32_t)value : bound;
}

/* 0 is the whole answer in one block. */
static int32_t resolve_block(const um_params_given *given, const um_params_limits *limits,
                             const um_params *params)
{
    int64_t length = given->has_block_length ? given->block_length : limits->defaults.block_length;

    return length == 0 ? params->max_tokens : at_most(length, limits->context_max);
}

/* Whole blocks, the last one cut where the context ends. */
static void lay_out_canvas(um_params *params, int32_t free_tokens)
{
    params->block_count = ceil_div(params->max_tokens, params->block_length);
    params->canvas_tokens =
        at_most((int64_t)params->block_count * params->block_length, free_tokens);
}

static int32_t resolve_steps(const um_params_given *given, const um_params_limits *limits,
                             const um_params *params)
{
    bool ends_itself = params->count == UM_COUNT_THRESHOLD || params->count == UM_COUNT_FACTOR;
    bool recommended = params->policy == um_policy_find(limits->defaults.algorithm);
    /* a pace that is recommended for another policy is no bound on threshold and factor */
    int32_t steps = ends_itself && !recommended ? 0 : limits->defaults.steps_per_block;

    if (given->has_steps)
        steps = ceil_div((int32_t)given->steps, params->block_count);
    else if (given->has_steps_per_block)
        steps = (int32_t)given->steps_per_block;
    if (steps == 0 && !ends_itself)
        steps = params->block_length;
    /* with a schedule by time or chance more steps than positions still mean something */
    if (um_count_knows_no_blocks(params->count))
        return steps;
    return at_most(steps, params->block_length);
}

static void resolve_filters(const um_params_given *given, const um_params_limits *limits,
                            um_params *params)
{
    /* the authors' competing sampler filters nothing of itself */
    double top_p = params->count == UM_COUNT_COMPETING ? 1.0 : (double)limits->defaults.top_p;
    int64_t top_k = given->has_top_k && given->top_k > 0 ? given->top_k : 0;

    if (given->has_top_p)
        top_p = given->top_p;
    if (top_p == 0.0) {
        top_p = 1.0;
        top_k = 1;
    }
    params->top_p = (float)top_p;
    params->top_k = at_most(top_k, INT32_MAX);
    params->min_p = given->has_min_p ? (float)given->min_p : 0.0f;
    params->filtered = limits->family->filtered_confidence ||
                       params->count == UM_COUNT_INDEPENDENT ||
                       (params->count == UM_COUNT_COMPETING && params->temperature > 0.0f);
}

um_status um_params_resolve(const um_params_given *given, const um_params_limits *limits,
                            const um_params_place *place, uint64_t random_seed, um_params *out,
                            um_err *err)
{
    um_params params = {0};
    um_status status = um_params_check(given, limits, err);

    UM_ASSERT(place->prompt_tokens >= 0);
    if (status == UM_OK)
        status = resolve_budget(given, limits, place, &params.max_tokens, err);
    if (status != UM_OK)
        return status;
    params.policy = choose_policy(given, limits);
    params.count = um_policy_count(params.policy, limits->family->time_schedule);
    params.block_length = resolve_block(given, limits, &params);
    lay_out_canvas(&params, limits->context_max - place->prompt_tokens);
    params.steps_per_block = resolve_steps(given, limits, &params);
    params.temperature = temperature_of(given, limits);
    resolve_filters(given, limits, &params);
    params.order_temperature = given->has_order_temperature ? (float)given->order_temperature
                                                            : limits->defaults.order_temperature;
    if (params.count != UM_COUNT_TIME && params.count != UM_COUNT_QUOTA)
        params.order_temperature = 0.0f;
    params.eps = given->has_eps ? (float)given->eps : limits->defaults.eps;
    params.threshold = (float)(given->has_threshold ? given->threshold : UM_THRESHOLD_DEFAULT);
    params.factor = (float)(given->has_factor ? given->factor : UM_FACTOR_DEFAULT);
    params.cfg_scale = given->has_cfg_scale ? (float)given->cfg_scale : 0.0f;
    params.eos_rule = given->has_eos_rule ? given->eos_rule : UM_EOS_NONE;
    params.early_stop = given->has_early_stop ? given->early_stop : true;
    params.reference_quirks = given->has_reference_quirks && given->reference_quirks;
    params.seed = given->has_seed ? (uint64_t)given->seed : random_seed;
    *out = params;
    return UM_OK;
}

void um_params_block(const um_params *params, int32_t block, int32_t *begin, int32_t *end)
{
    UM_ASSERT(block >= 0 && block < params->block_count);
    *begin = block * params->block_length;
    *end = at_most((int64_t)*begin + params->block_length, params->canvas_tokens);
}
