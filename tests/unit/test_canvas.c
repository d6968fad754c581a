/* The denoising schedule as a state machine: a script commits candidates, and what the canvas then
 * asks for is compared with numbers written down from the papers' rules. */
#include "tests/test.h"

#include "core/base/mem.h"
#include "core/engine/canvas.h"

#define MASK 99

static const um_canvas_facts facts = {.mask_token = MASK};

static um_params make_params(const char *policy, int32_t tokens, int32_t block, int32_t steps)
{
    return (um_params){
        .policy = um_policy_find(policy),
        .count = um_policy_count(um_policy_find(policy), false),
        .top_p = 1.0f,
        .max_tokens = tokens,
        .canvas_tokens = tokens,
        .block_length = block,
        .block_count = (tokens + block - 1) / block,
        .steps_per_block = steps,
        .threshold = 0.9f,
        .factor = 1.0f,
    };
}

static void open_canvas(um_canvas *canvas, const um_params *params, const int32_t *prompt,
                        int32_t prompt_tokens)
{
    um_err err = {0};

    UM_CHECK_OK(um_canvas_init(canvas, params, &facts,
                               &(um_submission){.prompt = prompt, .prompt_tokens = prompt_tokens},
                               &err),
                err);
}

/* Commits `token` at the last `count` candidates; returns how many the canvas asked for. */
static int32_t commit(um_canvas *canvas, int32_t count, int32_t token)
{
    int32_t positions[256];
    um_commit commits[256];
    um_select_rule rule = {0};
    int32_t candidates = um_canvas_candidates(canvas, positions);

    um_canvas_select_rule(canvas, &rule);
    for (int32_t i = 0; i < count; i++)
        commits[i] = (um_commit){
            .position = positions[candidates - count + i], .token = token, .confidence = 0.5f};
    um_canvas_apply(canvas, commits, count);
    return rule.count;
}

/* Runs to the end, committing what is asked for; checks the counts and the number of steps. */
static void expect_counts(const um_params *params, const int32_t *expected, int32_t steps)
{
    um_canvas canvas;
    int32_t done = 0;

    open_canvas(&canvas, params, NULL, 0);
    while (!canvas.finished && done < steps) {
        um_select_rule rule = {0};

        um_canvas_select_rule(&canvas, &rule);
        UM_CHECK_INT(rule.count, expected[done]);
        commit(&canvas, rule.count, 1);
        done++;
    }
    UM_CHECK(canvas.finished);
    UM_CHECK_INT(done, steps);
    UM_CHECK_INT(canvas.step, steps);
    UM_CHECK_INT(canvas.settled, params->canvas_tokens);
    um_canvas_deinit(&canvas);
}

static void quota_gives_the_larger_steps_first(void)
{
    um_params params = make_params("low_confidence", 32, 32, 5);

    expect_counts(&params, (int32_t[]){7, 7, 6, 6, 6}, 5);
    params = make_params("low_confidence", 8, 8, 3);
    expect_counts(&params, (int32_t[]){3, 3, 2}, 3);
    params = make_params("random", 8, 4, 4);
    expect_counts(&params, (int32_t[]){1, 1, 1, 1, 1, 1, 1, 1}, 8);
}

static void steps_with_nothing_to_commit_are_not_run(void)
{
    um_params params = make_params("low_confidence", 3, 8, 8);

    expect_counts(&params, (int32_t[]){1, 1, 1}, 3);
}

static void a_cut_last_block_has_a_quota_of_its_own(void)
{
    um_params params = make_params("low_confidence", 11, 8, 2);

    expect_counts(&params, (int32_t[]){4, 4, 2, 1}, 4);
}

static void threshold_asks_for_enough_to_keep_its_step_bound(void)
{
    um_params params = make_params("threshold", 8, 8, 3);

    expect_counts(&params, (int32_t[]){3, 3, 2}, 3);
}

static void threshold_needs_fewer_when_more_were_sure(void)
{
    um_params params = make_params("threshold", 8, 8, 4);
    um_canvas canvas;

    open_canvas(&canvas, &params, NULL, 0);
    UM_CHECK_INT(commit(&canvas, 5, 1), 2); /* 8 masks in 4 steps, but 5 were sure */
    UM_CHECK_INT(commit(&canvas, 1, 1), 1); /* 3 in 3 */
    UM_CHECK_INT(commit(&canvas, 2, 1), 1); /* 2 in 2 */
    UM_CHECK(canvas.finished);
    UM_CHECK_INT(canvas.step, 3);
    um_canvas_deinit(&canvas);
}

static void without_a_step_bound_one_is_enough(void)
{
    um_params params = make_params("factor", 4, 4, 0);

    expect_counts(&params, (int32_t[]){1, 1, 1, 1}, 4);
}

static void the_rule_carries_the_policys_numbers(void)
{
    um_params params = make_params("factor", 4, 4, 0);
    um_select_rule rule = {0};
    um_canvas canvas;

    params.reference_quirks = true;
    open_canvas(&canvas, &params, NULL, 0);
    um_canvas_select_rule(&canvas, &rule);
    UM_CHECK_INT(rule.kind, UM_SELECT_FACTOR);
    UM_CHECK_NEAR(rule.threshold, 0.9f, 0);
    UM_CHECK_NEAR(rule.factor, 1, 0);
    UM_CHECK_INT(rule.factor_quirk, 1);
    um_canvas_deinit(&canvas);
    params = make_params("threshold", 4, 4, 0);
    open_canvas(&canvas, &params, NULL, 0);
    um_canvas_select_rule(&canvas, &rule);
    UM_CHECK_INT(rule.kind, UM_SELECT_THRESHOLD);
    UM_CHECK_INT(rule.factor_quirk, 0);
    um_canvas_deinit(&canvas);
    params = make_params("random", 4, 4, 4);
    open_canvas(&canvas, &params, NULL, 0);
    um_canvas_select_rule(&canvas, &rule);
    UM_CHECK_INT(rule.kind, UM_SELECT_COUNT);
    um_canvas_deinit(&canvas);
}

static void candidates_end_with_the_active_block(void)
{
    um_params params = make_params("low_confidence", 8, 4, 4);
    int32_t positions[16];
    um_canvas canvas;

    open_canvas(&canvas, &params, (int32_t[]){7, 8}, 2);
    UM_CHECK_INT(um_canvas_candidates(&canvas, positions), 4);
    UM_CHECK_INT(positions[0], 2);
    UM_CHECK_INT(positions[3], 5);
    for (int i = 0; i < 4; i++)
        commit(&canvas, 1, 1);
    UM_CHECK_INT(canvas.block, 1);
    UM_CHECK_INT(um_canvas_candidates(&canvas, positions), 4);
    UM_CHECK_INT(positions[0], 6);
    UM_CHECK_INT(positions[3], 9);
    um_canvas_deinit(&canvas);
}

static void masks_in_the_prompt_are_filled_but_not_counted(void)
{
    um_params params = make_params("low_confidence", 4, 4, 2);
    int32_t positions[16];
    um_canvas canvas;

    open_canvas(&canvas, &params, (int32_t[]){7, MASK, 8}, 3);
    UM_CHECK_INT(canvas.given[0], 1);
    UM_CHECK_INT(canvas.given[1], 0);
    UM_CHECK_INT(canvas.given[3], 0);
    UM_CHECK_INT(um_canvas_candidates(&canvas, positions), 5);
    UM_CHECK_INT(positions[0], 1);
    UM_CHECK_INT(commit(&canvas, 2, 1), 2);
    UM_CHECK_INT(commit(&canvas, 2, 1), 2);
    UM_CHECK(canvas.finished);
    UM_CHECK_INT(canvas.tokens[1], MASK); /* the quota was used up elsewhere */
    um_canvas_deinit(&canvas);
}

static void a_predicted_mask_stays_masked_and_competes_again(void)
{
    um_params params = make_params("low_confidence", 8, 4, 4);
    int32_t positions[16];
    um_canvas canvas;

    params.reference_quirks = true;
    open_canvas(&canvas, &params, NULL, 0);
    commit(&canvas, 1, MASK);
    UM_CHECK_INT(um_canvas_candidates(&canvas, positions), 4);
    UM_CHECK_NEAR(canvas.confidences[3], 0, 0);
    for (int i = 0; i < 3; i++)
        commit(&canvas, 1, 1);
    UM_CHECK_INT(canvas.block, 1); /* its steps are used up */
    UM_CHECK_INT(um_canvas_candidates(&canvas, positions), 5);
    UM_CHECK_INT(positions[0], 0);
    for (int i = 0; i < 4; i++)
        commit(&canvas, 1, 1);
    UM_CHECK(canvas.finished);
    UM_CHECK_INT(canvas.tokens[0], MASK); /* survived to the output, as in the authors' code */
    UM_CHECK_INT(canvas.settled, 0);
    um_canvas_deinit(&canvas);
}

static void with_quirks_the_guard_comes_after_block_length_forwards(void)
{
    um_params params = make_params("threshold", 4, 4, 0);
    um_canvas canvas;

    params.reference_quirks = true;
    open_canvas(&canvas, &params, NULL, 0);
    for (int i = 0; i < 4; i++) {
        UM_CHECK(!um_canvas_guards_mask(&canvas));
        commit(&canvas, 1, MASK);
    }
    UM_CHECK(um_canvas_guards_mask(&canvas));
    UM_CHECK(!canvas.finished);
    for (int i = 0; i < 4; i++)
        commit(&canvas, 1, 1);
    UM_CHECK(canvas.finished);
    um_canvas_deinit(&canvas);
    params.reference_quirks = false;
    open_canvas(&canvas, &params, NULL, 0);
    UM_CHECK(um_canvas_guards_mask(&canvas));
    um_canvas_deinit(&canvas);
}

static void settled_is_the_prefix_without_a_mask(void)
{
    um_params params = make_params("low_confidence", 4, 4, 4);
    um_canvas canvas;

    open_canvas(&canvas, &params, (int32_t[]){5}, 1);
    commit(&canvas, 1, 1); /* last position */
    commit(&canvas, 1, 1);
    UM_CHECK_INT(canvas.settled, 0);
    um_canvas_apply(&canvas, (um_commit[]){{.position = 1, .token = 6, .confidence = 0.25f}}, 1);
    UM_CHECK_INT(canvas.settled, 1);
    UM_CHECK_INT(um_canvas_generated(&canvas)[0], 6);
    UM_CHECK_NEAR(canvas.confidences[1], 0.25, 0);
    commit(&canvas, 1, 1);
    UM_CHECK_INT(canvas.settled, 4);
    um_canvas_deinit(&canvas);
}

/* Dream's schedule counts over the whole row: steps without a commit are not run, and the masks of a
 * prompt are part of the first block. */
static void a_schedule_by_time_skips_idle_steps_and_counts_the_prompts_masks(void)
{
    um_params params = make_params("entropy", 8, 8, 8);
    um_select_rule rule = {0};
    int32_t positions[16];
    um_canvas canvas;

    params.count = UM_COUNT_TIME;
    params.eps = 1e-3f;
    expect_counts(&params, (int32_t[]){1, 1, 1, 1, 1, 1, 2}, 7);
    params = make_params("entropy", 5, 5, 4);
    params.count = UM_COUNT_TIME;
    params.eps = 1e-3f;
    open_canvas(&canvas, &params, (int32_t[]){5, MASK, MASK, MASK}, 4);
    um_canvas_select_rule(&canvas, &rule); /* 8 masks in 4 steps: 1 2 2 3 */
    UM_CHECK_INT(rule.count, 1);
    UM_CHECK_INT(um_canvas_candidates(&canvas, positions), 8);
    UM_CHECK_INT(positions[0], 1);
    um_canvas_deinit(&canvas);
}

/* Filled positions compete, given ones do not; a token that was filled in stays. */
static void filled_positions_go_on_competing(void)
{
    um_params params = make_params("competing", 3, 3, 3);
    um_select_rule rule = {0};
    int32_t positions[8];
    um_canvas canvas;

    open_canvas(&canvas, &params, (int32_t[]){5}, 1);
    um_canvas_select_rule(&canvas, &rule);
    UM_CHECK_INT(rule.kind, UM_SELECT_COMPETING);
    UM_CHECK_INT(rule.count, 2); /* that stay behind */
    um_canvas_apply(&canvas, (um_commit[]){{.position = 2, .token = 7, .confidence = -1}}, 1);
    UM_CHECK_INT(um_canvas_candidates(&canvas, positions), 3);
    UM_CHECK_INT(positions[0], 1);
    UM_CHECK(!canvas.masked[2] && canvas.tokens[2] == 7);
    um_canvas_select_rule(&canvas, &rule);
    UM_CHECK_INT(rule.count, 1);
    um_canvas_deinit(&canvas);
}

/* DiffuGPT: MASK is a token of text, and nothing predicts position 0. */
static void where_mask_is_text_positions_are_known_by_place(void)
{
    static const um_canvas_facts textual = {
        .mask_token = MASK, .mask_is_text = true, .has_first_token = true, .first_token = 3};
    um_params params = make_params("origin", 2, 2, 1);
    um_err err = {0};
    um_canvas canvas;

    UM_CHECK_OK(um_canvas_init(&canvas, &params, &textual,
                               &(um_submission){.prompt = (int32_t[]){MASK}, .prompt_tokens = 1},
                               &err),
                err);
    UM_CHECK(!canvas.masked[0] && canvas.given[0]);
    commit(&canvas, 2, MASK);
    UM_CHECK(canvas.finished);
    UM_CHECK_INT(canvas.settled, 2);
    UM_CHECK_INT(um_canvas_generated(&canvas)[0], MASK);
    um_canvas_deinit(&canvas);
    UM_CHECK_OK(um_canvas_init(&canvas, &params, &textual, &(um_submission){0}, &err), err);
    commit(&canvas, 2, 8);
    UM_CHECK_INT(canvas.tokens[0], 3);
    UM_CHECK_INT(canvas.tokens[1], 8);
    um_canvas_deinit(&canvas);
}

static void running_out_of_memory_is_an_error_without_leaks(void)
{
    um_params params = make_params("low_confidence", 4, 4, 4);
    um_status status = UM_E_NOMEM;
    um_canvas canvas;
    int failures = 0;

    for (long n = 1; status != UM_OK; n++) {
        um_mem_fail_after(n);
        status = um_canvas_init(&canvas, &params, &facts,
                                &(um_submission){.prompt = (int32_t[]){1},
                                                 .prompt_tokens = 1,
                                                 .draft = (int32_t[]){2},
                                                 .draft_tokens = 1},
                                NULL);
        if (status != UM_OK) {
            UM_CHECK_STATUS(status, UM_E_NOMEM);
            failures++;
        }
    }
    um_mem_fail_after(0);
    UM_CHECK_INT(failures, 5);
    um_canvas_deinit(&canvas);
}

static const um_test tests[] = {
    UM_TEST(quota_gives_the_larger_steps_first),
    UM_TEST(steps_with_nothing_to_commit_are_not_run),
    UM_TEST(a_cut_last_block_has_a_quota_of_its_own),
    UM_TEST(threshold_asks_for_enough_to_keep_its_step_bound),
    UM_TEST(threshold_needs_fewer_when_more_were_sure),
    UM_TEST(without_a_step_bound_one_is_enough),
    UM_TEST(the_rule_carries_the_policys_numbers),
    UM_TEST(candidates_end_with_the_active_block),
    UM_TEST(masks_in_the_prompt_are_filled_but_not_counted),
    UM_TEST(a_predicted_mask_stays_masked_and_competes_again),
    UM_TEST(with_quirks_the_guard_comes_after_block_length_forwards),
    UM_TEST(settled_is_the_prefix_without_a_mask),
    UM_TEST(a_schedule_by_time_skips_idle_steps_and_counts_the_prompts_masks),
    UM_TEST(filled_positions_go_on_competing),
    UM_TEST(where_mask_is_text_positions_are_known_by_place),
    UM_TEST(running_out_of_memory_is_an_error_without_leaks),
};
UM_TEST_MAIN(tests)
