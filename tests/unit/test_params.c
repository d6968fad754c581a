/* Generation parameters: every range and conflict with its error field, and what the defaults
 * resolve to. Expected numbers are written out, not computed. */
#include "tests/test.h"

#include "core/engine/params.h"

static const um_family with_eos_rules = {.name = "llada", .has_eos_rules = true};
static const um_family without_eos_rules = {.name = "plain", .has_eos_rules = false};

static um_params_limits limits_of(const um_family *family)
{
    return (um_params_limits){
        .family = family,
        .defaults = {.algorithm = "low_confidence",
                     .block_length = 32,
                     .steps_per_block = 0,
                     .max_tokens = 128,
                     .temperature = 0.25f,
                     .top_p = 1.0f},
        .context_max = 1000,
    };
}

static void expect_error(const um_params_given *given, um_status status, const char *field,
                         const char *word)
{
    um_params_limits limits = limits_of(&with_eos_rules);
    um_params params;
    um_err err = {0};

    UM_CHECK_STATUS(um_params_check(given, &limits, &err), status);
    UM_CHECK_STR(err.field, field);
    if (!strstr(err.message, word))
        um_test_fail(__FILE__, __LINE__, "\"%s\" does not say \"%s\"", err.message, word);
    err = (um_err){0};
    UM_CHECK_STATUS(um_params_resolve(given, &limits,
                                      &(um_params_place){.prompt_tokens = 10, .field = "prompt"}, 1,
                                      &params, &err),
                    status);
    UM_CHECK_STR(err.field, field);
}

static um_params resolve(const um_params_given *given, int32_t prompt_tokens)
{
    um_params_limits limits = limits_of(&with_eos_rules);
    um_params params = {0};
    um_err err = {0};

    UM_CHECK_OK(
        um_params_resolve(given, &limits,
                          &(um_params_place){.prompt_tokens = prompt_tokens, .field = "messages"},
                          77, &params, &err),
        err);
    return params;
}

#define GIVEN(name, value) (&(um_params_given){.has_##name = true, .name = (value)})

static void ranges_are_checked_with_field_value_and_bound(void)
{
    expect_error(GIVEN(max_tokens, 0), UM_E_INT_BELOW_MIN, "max_tokens", "0");
    expect_error(GIVEN(temperature, -0.1), UM_E_DEC_BELOW_MIN, "temperature", "-0.1");
    expect_error(GIVEN(temperature, 2.1), UM_E_DEC_ABOVE_MAX, "temperature", "2.1");
    expect_error(GIVEN(steps, 0), UM_E_INT_BELOW_MIN, "diffusion.steps", "minimum is 1");
    expect_error(GIVEN(steps, 8193), UM_E_INT_ABOVE_MAX, "diffusion.steps", "8192");
    expect_error(GIVEN(steps_per_block, 0), UM_E_INT_BELOW_MIN, "diffusion.steps_per_block", "1");
    expect_error(GIVEN(steps_per_block, 1025), UM_E_INT_ABOVE_MAX, "diffusion.steps_per_block",
                 "1024");
    expect_error(GIVEN(block_length, 0), UM_E_INT_BELOW_MIN, "diffusion.block_length", "1");
    expect_error(GIVEN(block_length, 1001), UM_E_INT_ABOVE_MAX, "diffusion.block_length", "1000");
    expect_error(GIVEN(threshold, -0.5), UM_E_DEC_BELOW_MIN, "diffusion.threshold", "-0.5");
    expect_error(GIVEN(threshold, 1.5), UM_E_DEC_ABOVE_MAX, "diffusion.threshold", "1.5");
    expect_error(GIVEN(factor, 0.0), UM_E_DEC_BELOW_MIN, "diffusion.factor", "above 0");
    expect_error(GIVEN(cfg_scale, -1.0), UM_E_DEC_BELOW_MIN, "diffusion.cfg_scale", "-1");
    expect_error(GIVEN(cfg_scale, 20.5), UM_E_DEC_ABOVE_MAX, "diffusion.cfg_scale", "20.5");
    expect_error(GIVEN(temperature, (double)NAN), UM_E_DEC_BELOW_MIN, "temperature", "nan");
    expect_error(GIVEN(factor, (double)NAN), UM_E_DEC_BELOW_MIN, "diffusion.factor", "nan");
}

static void bounds_themselves_are_allowed(void)
{
    um_params_limits limits = limits_of(&with_eos_rules);
    um_params_given low = {.has_max_tokens = true,
                           .max_tokens = 1,
                           .has_temperature = true,
                           .has_steps = true,
                           .steps = 1,
                           .has_block_length = true,
                           .block_length = 1,
                           .has_threshold = true,
                           .has_cfg_scale = true};
    um_params_given high = {.has_temperature = true,
                            .temperature = 2,
                            .has_steps = true,
                            .steps = 8192,
                            .has_threshold = true,
                            .threshold = 1,
                            .has_cfg_scale = true,
                            .cfg_scale = 20,
                            .has_block_length = true,
                            .block_length = 1000};
    um_err err = {0};

    UM_CHECK_OK(um_params_check(&low, &limits, &err), err);
    UM_CHECK_OK(um_params_check(&high, &limits, &err), err);
}

static void conflicts_name_the_key_without_effect(void)
{
    expect_error(
        &(um_params_given){
            .has_steps = true, .steps = 8, .has_steps_per_block = true, .steps_per_block = 8},
        UM_E_CONFLICT, "diffusion.steps_per_block", "diffusion.steps");
    expect_error(
        &(um_params_given){
            .has_threshold = true, .threshold = 0.5, .has_factor = true, .factor = 1},
        UM_E_CONFLICT, "diffusion.factor", "diffusion.threshold");
    expect_error(
        &(um_params_given){.has_threshold = true, .threshold = 0.5, .algorithm = "low_confidence"},
        UM_E_CONFLICT, "diffusion.threshold", "low_confidence");
    expect_error(&(um_params_given){.has_factor = true, .factor = 1, .algorithm = "threshold"},
                 UM_E_CONFLICT, "diffusion.factor", "threshold");
    expect_error(&(um_params_given){.has_eos_rule = true,
                                    .eos_rule = UM_EOS_CONFIDENCE,
                                    .algorithm = "random"},
                 UM_E_CONFLICT, "diffusion.eos_rule", "random");
}

static void an_unknown_algorithm_is_answered_with_the_known_ones(void)
{
    expect_error(&(um_params_given){.algorithm = "entropy_bound"}, UM_E_UNSUPPORTED_VALUE,
                 "diffusion.algorithm",
                 "low_confidence, margin, entropy, random, threshold, factor, origin, competing");
}

static void a_family_without_eos_rules_refuses_them(void)
{
    um_params_limits limits = limits_of(&without_eos_rules);
    um_err err = {0};

    UM_CHECK_STATUS(um_params_check(GIVEN(eos_rule, UM_EOS_LOGITS), &limits, &err),
                    UM_E_UNSUPPORTED_VALUE);
    UM_CHECK_STR(err.field, "diffusion.eos_rule");
    UM_CHECK_OK(um_params_check(GIVEN(eos_rule, UM_EOS_NONE), &limits, &err), err);
}

static void nothing_given_is_the_models_recommendation(void)
{
    um_params params = resolve(&(um_params_given){0}, 100);

    UM_CHECK_STR(params.policy->name, "low_confidence");
    UM_CHECK_INT(params.max_tokens, 128);
    UM_CHECK_INT(params.canvas_tokens, 128);
    UM_CHECK_INT(params.block_length, 32);
    UM_CHECK_INT(params.block_count, 4);
    UM_CHECK_INT(params.steps_per_block, 32);
    UM_CHECK_NEAR(params.temperature, 0.25, 0);
    UM_CHECK_NEAR(params.cfg_scale, 0, 0);
    UM_CHECK(params.eos_rule == UM_EOS_NONE);
    UM_CHECK(params.early_stop);
    UM_CHECK(!params.reference_quirks);
    UM_CHECK_INT(params.seed, 77);
}

static void a_threshold_or_factor_alone_chooses_the_algorithm(void)
{
    um_params threshold = resolve(GIVEN(threshold, 0.5), 0), factor = resolve(GIVEN(factor, 2), 0);

    UM_CHECK_STR(threshold.policy->name, "threshold");
    UM_CHECK_NEAR(threshold.threshold, 0.5, 0);
    UM_CHECK_INT(threshold.steps_per_block, 0);
    UM_CHECK_STR(factor.policy->name, "factor");
    UM_CHECK_NEAR(factor.factor, 2, 0);
    UM_CHECK_INT(factor.steps_per_block, 0);
}

/* DiffuLLaMA's 64 steps belong to its own sampler; they would make threshold commit 8 of 512 a step. */
static void steps_recommended_for_another_policy_do_not_bound_threshold(void)
{
    um_params_limits limits = limits_of(&without_eos_rules);
    um_params params;
    um_err err = {0};

    limits.defaults.steps_per_block = 4;
    UM_CHECK_OK(um_params_resolve(GIVEN(threshold, 0.5), &limits,
                                  &(um_params_place){.prompt_tokens = 0, .field = "prompt"}, 1,
                                  &params, &err),
                err);
    UM_CHECK_INT(params.steps_per_block, 0);
    UM_CHECK_OK(um_params_resolve(GIVEN(factor, 2), &limits,
                                  &(um_params_place){.prompt_tokens = 0, .field = "prompt"}, 1,
                                  &params, &err),
                err);
    UM_CHECK_INT(params.steps_per_block, 0);
    UM_CHECK_OK(um_params_resolve(&(um_params_given){.algorithm = "random"}, &limits,
                                  &(um_params_place){.prompt_tokens = 0, .field = "prompt"}, 1,
                                  &params, &err),
                err);
    UM_CHECK_INT(params.steps_per_block, 4);
    limits.defaults.algorithm = "threshold"; /* then they are its own */
    UM_CHECK_OK(um_params_resolve(GIVEN(threshold, 0.5), &limits,
                                  &(um_params_place){.prompt_tokens = 0, .field = "prompt"}, 1,
                                  &params, &err),
                err);
    UM_CHECK_INT(params.steps_per_block, 4);
}

static void fast_dllms_own_settings_fill_in(void)
{
    UM_CHECK_NEAR(resolve(&(um_params_given){.algorithm = "threshold"}, 0).threshold, 0.9f, 0);
    UM_CHECK_NEAR(resolve(&(um_params_given){.algorithm = "factor"}, 0).factor, 1, 0);
}

static void the_canvas_is_whole_blocks(void)
{
    um_params params = resolve(GIVEN(max_tokens, 33), 100);
    int32_t begin, end;

    UM_CHECK_INT(params.max_tokens, 33);
    UM_CHECK_INT(params.block_count, 2);
    UM_CHECK_INT(params.canvas_tokens, 64);
    um_params_block(&params, 1, &begin, &end);
    UM_CHECK_INT(begin, 32);
    UM_CHECK_INT(end, 64);
}

static void the_last_block_is_cut_where_the_context_ends(void)
{
    um_params params = resolve(GIVEN(max_tokens, 33), 960);
    int32_t begin, end;

    UM_CHECK_INT(params.canvas_tokens, 40);
    UM_CHECK_INT(params.block_count, 2);
    um_params_block(&params, 1, &begin, &end);
    UM_CHECK_INT(begin, 32);
    UM_CHECK_INT(end, 40);
    UM_CHECK_INT(resolve(GIVEN(max_tokens, 1), 999).canvas_tokens, 1);
}

static void a_recommended_length_is_cut_to_the_free_context(void)
{
    um_params params = resolve(&(um_params_given){0}, 995);

    UM_CHECK_INT(params.max_tokens, 5);
    UM_CHECK_INT(params.canvas_tokens, 5);
}

static void expect_context_error(const um_params_given *given, int32_t prompt_tokens,
                                 const char *message)
{
    um_params_limits limits = limits_of(&with_eos_rules);
    um_params params;
    um_err err = {0};

    UM_CHECK_STATUS(
        um_params_resolve(given, &limits,
                          &(um_params_place){.prompt_tokens = prompt_tokens, .field = "messages"},
                          1, &params, &err),
        UM_E_CONTEXT_LENGTH);
    UM_CHECK_STR(err.field, "messages");
    UM_CHECK_STR(err.message, message);
}

static void an_explicit_length_beyond_the_context_is_an_error(void)
{
    um_params_given huge = {.has_max_tokens = true, .max_tokens = INT64_MAX};

    expect_context_error(GIVEN(max_tokens, 41), 960,
                         "This model's maximum context length is 1000 tokens; the request needs "
                         "1001 (960 prompt + 41 completion) and exceeds the context window.");
    expect_context_error(&huge, 1,
                         "This model's maximum context length is 1000 tokens; the request needs "
                         "9223372036854775808 (1 prompt + 9223372036854775807 completion) and "
                         "exceeds the context window.");
    expect_context_error(&(um_params_given){0}, 1000,
                         "This model's maximum context length is 1000 tokens; the request needs "
                         "1001 (1000 prompt + 1 completion) and exceeds the context window.");
}

static void steps_are_shared_over_the_blocks_rounded_up(void)
{
    um_params_given given = {.has_steps = true, .has_max_tokens = true, .max_tokens = 96};

    given.steps = 6;
    UM_CHECK_INT(resolve(&given, 0).steps_per_block, 2);
    given.steps = 7;
    UM_CHECK_INT(resolve(&given, 0).steps_per_block, 3);
    given.steps = 1;
    UM_CHECK_INT(resolve(&given, 0).steps_per_block, 1);
    given.steps = 8192;
    UM_CHECK_INT(resolve(&given, 0).steps_per_block, 32);
}

static void steps_per_block_above_the_block_act_as_its_length(void)
{
    UM_CHECK_INT(resolve(GIVEN(steps_per_block, 1024), 0).steps_per_block, 32);
    UM_CHECK_INT(resolve(GIVEN(steps_per_block, 31), 0).steps_per_block, 31);
}

static void a_seed_is_kept_bit_for_bit(void)
{
    UM_CHECK(resolve(GIVEN(seed, -1), 0).seed == UINT64_MAX);
    UM_CHECK(resolve(GIVEN(seed, 5), 0).seed == 5);
}

static void a_models_recommendation_is_checked_at_start(void)
{
    um_params_limits limits = limits_of(&with_eos_rules);
    um_err err = {0};

    UM_CHECK_OK(um_params_limits_check(&limits, &err), err);
    limits.defaults.algorithm = "entropy_bound";
    UM_CHECK_STATUS(um_params_limits_check(&limits, &err), UM_E_UNSUPPORTED);
    UM_CHECK(strstr(err.message, "entropy") != NULL);
    limits = limits_of(&with_eos_rules);
    limits.defaults.block_length = -1;
    UM_CHECK_STATUS(um_params_limits_check(&limits, &err), UM_E_FORMAT);
    limits = limits_of(&with_eos_rules);
    limits.defaults.temperature = NAN;
    UM_CHECK_STATUS(um_params_limits_check(&limits, &err), UM_E_FORMAT);
    limits = limits_of(&with_eos_rules);
    limits.defaults.eps = 0.1f;
    UM_CHECK_OK(um_params_limits_check(&limits, &err), err);
    limits.defaults.eps = 0.2f;
    UM_CHECK_STATUS(um_params_limits_check(&limits, &err), UM_E_FORMAT);
}

static const um_test tests[] = {
    UM_TEST(ranges_are_checked_with_field_value_and_bound),
    UM_TEST(bounds_themselves_are_allowed),
    UM_TEST(conflicts_name_the_key_without_effect),
    UM_TEST(an_unknown_algorithm_is_answered_with_the_known_ones),
    UM_TEST(a_family_without_eos_rules_refuses_them),
    UM_TEST(nothing_given_is_the_models_recommendation),
    UM_TEST(a_threshold_or_factor_alone_chooses_the_algorithm),
    UM_TEST(steps_recommended_for_another_policy_do_not_bound_threshold),
    UM_TEST(fast_dllms_own_settings_fill_in),
    UM_TEST(the_canvas_is_whole_blocks),
    UM_TEST(the_last_block_is_cut_where_the_context_ends),
    UM_TEST(a_recommended_length_is_cut_to_the_free_context),
    UM_TEST(an_explicit_length_beyond_the_context_is_an_error),
    UM_TEST(steps_are_shared_over_the_blocks_rounded_up),
    UM_TEST(steps_per_block_above_the_block_act_as_its_length),
    UM_TEST(a_seed_is_kept_bit_for_bit),
    UM_TEST(a_models_recommendation_is_checked_at_start),
};
UM_TEST_MAIN(tests)
