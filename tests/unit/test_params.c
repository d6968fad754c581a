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
    expect_error(GIVEN(frequency_penalty, -2.5), UM_E_DEC_BELOW_MIN, "frequency_penalty", "-2.5");
    expect_error(GIVEN(frequency_penalty, 2.5), UM_E_DEC_ABOVE_MAX, "frequency_penalty", "2.5");
    expect_error(GIVEN(presence_penalty, -2.5), UM_E_DEC_BELOW_MIN, "presence_penalty", "-2.5");
    expect_error(GIVEN(presence_penalty, 2.5), UM_E_DEC_ABOVE_MAX, "presence_penalty", "2.5");
    expect_error(GIVEN(repetition_penalty, 0), UM_E_DEC_BELOW_MIN, "repetition_penalty", "above 0");
    expect_error(GIVEN(repetition_penalty, (double)NAN), UM_E_DEC_BELOW_MIN, "repetition_penalty",
                 "above 0");
    /* as float32: 0 and infinity */
    expect_error(GIVEN(repetition_penalty, 1e-50), UM_E_DEC_BELOW_MIN, "repetition_penalty",
                 "1e-06");
    expect_error(GIVEN(repetition_penalty, 1e50), UM_E_DEC_ABOVE_MAX, "repetition_penalty",
                 "1e+06");
    expect_error(GIVEN(min_tokens, -1), UM_E_INT_BELOW_MIN, "min_tokens", "-1");
    expect_error(&(um_params_given){.wants_logprobs = true, .top_logprobs = 21}, UM_E_INT_ABOVE_MAX,
                 "top_logprobs", "20");
    expect_error(&(um_params_given){.top_logprobs = -1}, UM_E_INT_BELOW_MIN, "top_logprobs", "-1");
    expect_error(GIVEN(deadline_ms, 0), UM_E_INT_BELOW_MIN, "diffusion.deadline_ms", "1");
    expect_error(GIVEN(deadline_ms, 600001), UM_E_INT_ABOVE_MAX, "diffusion.deadline_ms", "600000");
    expect_error(GIVEN(noise, -0.1), UM_E_DEC_BELOW_MIN, "diffusion.noise", "-0.1");
    expect_error(GIVEN(noise, 1.1), UM_E_DEC_ABOVE_MAX, "diffusion.noise", "1.1");
    expect_error(GIVEN(infill_length, -1), UM_E_INT_BELOW_MIN, "diffusion.infill_length", "-1");
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
    expect_error(&(um_params_given){.top_logprobs = 2}, UM_E_CONFLICT, "top_logprobs", "logprobs");
}

/* The op leaves no ids out of a filtered distribution, and asserts that nobody wants it. */
static void an_eos_rule_needs_a_confidence_of_its_own(void)
{
    um_params_given given = {.has_eos_rule = true,
                             .eos_rule = UM_EOS_CONFIDENCE,
                             .algorithm = "origin",
                             .has_temperature = true};

    expect_error(&given, UM_E_CONFLICT, "diffusion.eos_rule", "origin");
    given.temperature = 1;
    expect_error(&given, UM_E_CONFLICT, "diffusion.eos_rule", "origin");
    given.algorithm = "competing";
    expect_error(&given, UM_E_CONFLICT, "diffusion.eos_rule", "above 0");
    given.temperature = 0;
    UM_CHECK(!resolve(&given, 1).filtered);
    given.eos_rule = UM_EOS_LOGITS;
    given.temperature = 1;
    UM_CHECK(resolve(&given, 1).filtered);
}

/* ---- what surrounds the canvas --------------------------------------------------------------- */

static um_status try_place(const um_params_given *given, um_params_place place, um_params *params,
                           um_err *err)
{
    um_params_limits limits = limits_of(&with_eos_rules);

    place.field = "prompt";
    place.draft_field = "prediction";
    *err = (um_err){0};
    return um_params_resolve(given, &limits, &place, 1, params, err);
}

static um_params place(const um_params_given *given, um_params_place around)
{
    um_params params = {0};
    um_err err;

    UM_CHECK_OK(try_place(given, around, &params, &err), err);
    return params;
}

static void expect_place_error(const um_params_given *given, um_params_place around,
                               um_status status, const char *field, const char *word)
{
    um_params params;
    um_err err;

    UM_CHECK_STATUS(try_place(given, around, &params, &err), status);
    UM_CHECK_STR(err.field, field);
    if (!strstr(err.message, word))
        um_test_fail(__FILE__, __LINE__, "\"%s\" does not say \"%s\"", err.message, word);
}

static void keys_without_effect_around_this_canvas_are_refused(void)
{
    const um_params_place plain = {.prompt_tokens = 3}, gap = {.infill = true},
                          parts = {.infill = true, .one_block = true, .draft_tokens = 9},
                          drafted = {.draft_tokens = 9};

    expect_place_error(GIVEN(infill_length, 4), plain, UM_E_CONFLICT, "diffusion.infill_length",
                       "no effect");
    expect_place_error(GIVEN(infill_length, 0), plain, UM_E_CONFLICT, "diffusion.infill_length",
                       "no effect");
    expect_place_error(GIVEN(infill_length, 4), parts, UM_E_CONFLICT, "diffusion.infill_length",
                       "no effect");
    expect_place_error(GIVEN(noise, 0.5), plain, UM_E_CONFLICT, "diffusion.noise", "no effect");
    expect_place_error(GIVEN(noise, 0.5), parts, UM_E_CONFLICT, "diffusion.noise", "no effect");
    expect_place_error(GIVEN(noise, 0.5), gap, UM_E_CONFLICT, "diffusion.noise", "no effect");
    expect_place_error(&(um_params_given){.wants_logprobs = true}, drafted, UM_E_CONFLICT,
                       "logprobs", "prediction");
    UM_CHECK_NEAR(place(GIVEN(noise, 0.25), drafted).noise, 0.25, 0);
    UM_CHECK_NEAR(place(&(um_params_given){0}, drafted).noise, 0.5, 0);
    UM_CHECK_NEAR(place(&(um_params_given){0}, plain).noise, 0, 0);
}

static void what_must_fit_into_the_budget_is_checked_against_it(void)
{
    um_params_given given = {.has_max_tokens = true, .max_tokens = 8};

    UM_CHECK_INT(place(&given, (um_params_place){.draft_tokens = 8}).canvas_tokens, 32);
    expect_place_error(&given, (um_params_place){.draft_tokens = 9}, UM_E_VALUE, "prediction",
                       "prediction has 9 tokens; the answer has room for 8");
    expect_place_error(&given,
                       (um_params_place){.draft_tokens = 9, .infill = true, .one_block = true},
                       UM_E_VALUE, "prediction", "room for 8");
    expect_place_error(&(um_params_given){0}, (um_params_place){.draft_tokens = 129}, UM_E_VALUE,
                       "prediction", "room for 128");
    given.has_min_tokens = true;
    given.min_tokens = 8;
    UM_CHECK_INT(place(&given, (um_params_place){0}).min_tokens, 8);
    given.min_tokens = 9;
    expect_place_error(&given, (um_params_place){0}, UM_E_INT_ABOVE_MAX, "min_tokens",
                       "min_tokens is 9; the maximum is 8");
}

static void check_gap(um_params_given given, int32_t prompt_tokens, int32_t canvas, int32_t blocks,
                      bool grows)
{
    um_params params =
        place(&given, (um_params_place){.prompt_tokens = prompt_tokens, .infill = true});

    UM_CHECK(params.exact_length);
    UM_CHECK_INT(params.grows, grows);
    UM_CHECK_INT(params.max_tokens, canvas);
    UM_CHECK_INT(params.canvas_tokens, canvas);
    UM_CHECK_INT(params.block_length, 32);
    UM_CHECK_INT(params.block_count, blocks);
}

static void a_gap_is_as_long_as_it_is_said_or_grows(void)
{
    check_gap((um_params_given){.has_max_tokens = true, .max_tokens = 40}, 7, 40, 2, false);
    check_gap((um_params_given){.has_infill_length = true, .infill_length = 40}, 7, 40, 2, false);
    check_gap((um_params_given){.has_infill_length = true,
                                .infill_length = 5,
                                .has_max_tokens = true,
                                .max_tokens = 40},
              7, 5, 1, false);
    check_gap((um_params_given){0}, 7, 128, 4, true);
    check_gap((um_params_given){.has_infill_length = true}, 7, 128, 4, true);
    check_gap((um_params_given){0}, 900, 100, 4, true); /* what is free */
    check_gap(
        (um_params_given){.has_infill_length = true, .has_max_tokens = true, .max_tokens = 40}, 7,
        40, 2, true);
    expect_place_error(&(um_params_given){.has_infill_length = true,
                                          .infill_length = 41,
                                          .has_max_tokens = true,
                                          .max_tokens = 40},
                       (um_params_place){.infill = true}, UM_E_INT_ABOVE_MAX,
                       "diffusion.infill_length", "41; the maximum is 40");
    expect_place_error(GIVEN(infill_length, 994),
                       (um_params_place){.prompt_tokens = 7, .infill = true}, UM_E_CONTEXT_LENGTH,
                       "prompt", "1001 (7 prompt + 994 completion)");
}

static void a_place_may_have_a_length_of_its_own(void)
{
    UM_CHECK_INT(
        place(&(um_params_given){0}, (um_params_place){.default_tokens = 33}).canvas_tokens, 64);
    UM_CHECK_INT(place(GIVEN(max_tokens, 2), (um_params_place){.default_tokens = 33}).canvas_tokens,
                 32);
    UM_CHECK_INT(
        place(&(um_params_given){0}, (um_params_place){.default_tokens = 33, .prompt_tokens = 990})
            .canvas_tokens,
        10);
}

/* A template is one block, exactly as long as its parts, with the model's pace. */
static void a_template_is_one_block_of_its_own_length(void)
{
    const um_params_place parts = {.infill = true, .one_block = true, .draft_tokens = 50};
    um_params_given given = {.has_max_tokens = true, .max_tokens = 200};
    um_params_limits limits = limits_of(&with_eos_rules);
    um_params params = place(&given, parts);
    um_err err = {0};

    UM_CHECK(params.exact_length && !params.grows);
    UM_CHECK_NEAR(params.noise, 0, 0);
    UM_CHECK_INT(params.canvas_tokens, 50);
    UM_CHECK_INT(params.block_length, 50);
    UM_CHECK_INT(params.block_count, 1);
    UM_CHECK_INT(params.steps_per_block, 50);
    UM_CHECK_INT(place(GIVEN(block_length, 20), parts).block_length, 20);
    limits.defaults.steps_per_block = 16; /* of 32: 25 of 50 */
    UM_CHECK_OK(um_params_resolve(&(um_params_given){0}, &limits, &parts, 1, &params, &err), err);
    UM_CHECK_INT(params.steps_per_block, 25);
}

/* Dream: 512 steps over 512 positions at once. A gap of open length grows in pieces all the same. */
static void where_a_model_knows_no_blocks_a_gap_grows_by_32(void)
{
    um_params_limits limits = limits_of(&with_eos_rules);
    um_params params;
    um_err err = {0};

    limits.defaults.block_length = 0;
    limits.defaults.steps_per_block = 64;
    UM_CHECK_OK(um_params_resolve(&(um_params_given){0}, &limits,
                                  &(um_params_place){.infill = true}, 1, &params, &err),
                err);
    UM_CHECK_INT(params.canvas_tokens, 128);
    UM_CHECK_INT(params.block_length, 32);
    UM_CHECK_INT(params.steps_per_block, 16);
    UM_CHECK_OK(um_params_resolve(GIVEN(max_tokens, 100), &limits,
                                  &(um_params_place){.infill = true}, 1, &params, &err),
                err);
    UM_CHECK_INT(params.block_length, 100);
    UM_CHECK_INT(params.steps_per_block, 64);
}

/* Steps beyond a block's positions mean something to a schedule by chance, but one request may not
 * ask for a thousand of them for each token. */
static void steps_of_all_blocks_together_are_bounded(void)
{
    um_params_given given = {.algorithm = "origin",
                             .has_max_tokens = true,
                             .max_tokens = 100,
                             .has_block_length = true,
                             .block_length = 1,
                             .has_steps_per_block = true,
                             .steps_per_block = 1024};

    UM_CHECK_INT(resolve(&given, 0).steps_per_block, UM_STEPS_MAX / 100);
    given.block_length = 50;
    UM_CHECK_INT(resolve(&given, 0).steps_per_block, 1024);
    given.algorithm = "low_confidence";
    UM_CHECK_INT(resolve(&given, 0).steps_per_block, 50);
}

static void what_is_said_of_the_text_is_handed_on(void)
{
    um_params_given given = {.has_frequency_penalty = true,
                             .frequency_penalty = 0.5,
                             .has_presence_penalty = true,
                             .presence_penalty = -0.5,
                             .has_repetition_penalty = true,
                             .repetition_penalty = 1.25,
                             .has_min_tokens = true,
                             .min_tokens = 3,
                             .ignore_eos = true,
                             .keep_special_text = true,
                             .wants_logprobs = true,
                             .top_logprobs = 20,
                             .has_deadline_ms = true,
                             .deadline_ms = 600000};
    um_params params = resolve(&given, 1);

    UM_CHECK_NEAR(params.frequency_penalty, 0.5, 0);
    UM_CHECK_NEAR(params.presence_penalty, -0.5, 0);
    UM_CHECK_NEAR(params.repetition_penalty, 1.25, 0);
    UM_CHECK_INT(params.min_tokens, 3);
    UM_CHECK(params.ignore_eos && params.keep_special_text);
    UM_CHECK_INT(params.logprobs, 21);
    UM_CHECK_INT(params.deadline_ms, 600000);
    UM_CHECK_INT(resolve(&(um_params_given){.wants_logprobs = true}, 1).logprobs, 1);
    UM_CHECK_INT(resolve(&(um_params_given){0}, 1).logprobs, 0);
}

/* The ops take float32 and assert their ranges (umi_check_score, umi_check_select): a request must not
 * reach them with a number that leaves its range when it is rounded. */
static void what_float32_cannot_hold_stays_in_range(void)
{
    um_params params = resolve(GIVEN(top_p, 1e-50), 1);

    UM_CHECK_NEAR(params.top_p, 1, 0);
    UM_CHECK_INT(params.top_k, 1);
    UM_CHECK_NEAR(resolve(GIVEN(min_p, 1e-40), 1).min_p, 0x1p-126, 0);
    UM_CHECK_NEAR(resolve(GIVEN(min_p, 1e-300), 1).min_p, 0x1p-126, 0);
    UM_CHECK_NEAR(resolve(GIVEN(min_p, 0), 1).min_p, 0, 0);
    UM_CHECK_NEAR(resolve(GIVEN(factor, 1e300), 1).factor, 0x1.fffffep127, 0);
}

/* ---- presets --------------------------------------------------------------------------------- */

static void check_preset(const um_params *params, const char *policy, int32_t block, int32_t steps,
                         double threshold)
{
    UM_CHECK_STR(params->policy->name, policy);
    UM_CHECK_INT(params->block_length, block);
    UM_CHECK_INT(params->steps_per_block, steps);
    UM_CHECK_NEAR(params->threshold, threshold, 1e-7);
}

static void presets_are_the_rows_of_the_api(void)
{
    um_params_limits limits = limits_of(&with_eos_rules);
    um_params params;

    limits.defaults.block_length = 30; /* quarters and halves are rounded up */
    um_params_preset(&limits, UM_PRESET_FAST, &params);
    check_preset(&params, "threshold", 30, 8, 0.8);
    um_params_preset(&limits, UM_PRESET_BALANCED, &params);
    check_preset(&params, "threshold", 30, 15, 0.9);
    um_params_preset(&limits, UM_PRESET_MAX, &params);
    check_preset(&params, "low_confidence", 30, 30, 0.9);
    limits.defaults.steps_per_block = 10;
    um_params_preset(&limits, UM_PRESET_RECOMMENDED, &params);
    check_preset(&params, "low_confidence", 30, 10, 0.9);
    um_params_preset(&limits, UM_PRESET_MAX, &params);
    check_preset(&params, "low_confidence", 30, 30, 0.9);
    limits.defaults.algorithm = "threshold";
    um_params_preset(&limits, UM_PRESET_RECOMMENDED, &params);
    check_preset(&params, "threshold", 30, 10, 0.9);
    um_params_preset(&limits, UM_PRESET_MAX, &params); /* one position per step */
    check_preset(&params, "low_confidence", 30, 30, 0.9);
}

static void a_models_settings_override_presets(void)
{
    um_params_limits limits = limits_of(&with_eos_rules);
    um_err err = {0};
    um_params params;

    limits.defaults.presets[UM_PRESET_FAST] = (um_model_preset){.threshold = 0.5f};
    limits.defaults.presets[UM_PRESET_BALANCED] =
        (um_model_preset){.algorithm = "factor", .block_length = 16, .steps_per_block = 5};
    limits.defaults.presets[UM_PRESET_MAX] = (um_model_preset){.algorithm = "threshold"};
    limits.defaults.presets[UM_PRESET_RECOMMENDED] = (um_model_preset){.block_length = 64};
    UM_CHECK_OK(um_params_limits_check(&limits, &err), err);
    um_params_preset(&limits, UM_PRESET_FAST, &params);
    check_preset(&params, "threshold", 32, 8, 0.5);
    um_params_preset(&limits, UM_PRESET_BALANCED, &params);
    check_preset(&params, "factor", 16, 5, 0.9);
    um_params_preset(&limits, UM_PRESET_MAX, &params);
    check_preset(&params, "threshold", 32, 32, 0.9);
    um_params_preset(&limits, UM_PRESET_RECOMMENDED, &params);
    check_preset(&params, "low_confidence", 64, 64, 0.9);
}

static void single_keys_override_presets(void)
{
    um_params_given given = {.preset = UM_PRESET_FAST, .has_threshold = true, .threshold = 0.25};
    um_params params = resolve(&given, 0);

    check_preset(&params, "threshold", 32, 8, 0.25);
    given = (um_params_given){.preset = UM_PRESET_FAST, .algorithm = "entropy"};
    params = resolve(&given, 0);
    check_preset(&params, "entropy", 32, 8, 0.8);
    given = (um_params_given){
        .preset = UM_PRESET_FAST, .has_steps_per_block = true, .steps_per_block = 20};
    params = resolve(&given, 0);
    check_preset(&params, "threshold", 32, 20, 0.8);
    given =
        (um_params_given){.preset = UM_PRESET_FAST, .has_block_length = true, .block_length = 8};
    params = resolve(&given, 0);
    check_preset(&params, "threshold", 8, 2, 0.8);
    expect_error(&(um_params_given){.preset = UM_PRESET_FAST,
                                    .has_order_temperature = true,
                                    .order_temperature = 1},
                 UM_E_CONFLICT, "diffusion.order_temperature", "threshold");
}

static void a_models_presets_are_checked_at_start(void)
{
    const um_model_preset bad[] = {{.algorithm = "entropy_bound"},
                                   {.block_length = -1},
                                   {.steps_per_block = 1025},
                                   {.threshold = NAN}};

    for (size_t i = 0; i < UM_COUNT_OF(bad); i++) {
        um_params_limits limits = limits_of(&with_eos_rules);
        um_err err = {0};

        limits.defaults.presets[UM_PRESET_BALANCED] = bad[i];
        UM_CHECK_STATUS(um_params_limits_check(&limits, &err),
                        i == 0 ? UM_E_UNSUPPORTED : UM_E_FORMAT);
        UM_CHECK(strstr(err.message, "balanced") != NULL);
    }
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
    UM_TEST(an_eos_rule_needs_a_confidence_of_its_own),
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
    UM_TEST(keys_without_effect_around_this_canvas_are_refused),
    UM_TEST(what_must_fit_into_the_budget_is_checked_against_it),
    UM_TEST(a_gap_is_as_long_as_it_is_said_or_grows),
    UM_TEST(a_place_may_have_a_length_of_its_own),
    UM_TEST(a_template_is_one_block_of_its_own_length),
    UM_TEST(where_a_model_knows_no_blocks_a_gap_grows_by_32),
    UM_TEST(steps_of_all_blocks_together_are_bounded),
    UM_TEST(what_is_said_of_the_text_is_handed_on),
    UM_TEST(what_float32_cannot_hold_stays_in_range),
    UM_TEST(presets_are_the_rows_of_the_api),
    UM_TEST(a_models_settings_override_presets),
    UM_TEST(single_keys_override_presets),
    UM_TEST(a_models_presets_are_checked_at_start),
};
UM_TEST_MAIN(tests)
