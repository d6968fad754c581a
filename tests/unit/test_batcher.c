/* The plan of a step, written out by hand for small canvases, and who takes part. */
#include "tests/test.h"

#include "core/base/mem.h"
#include "core/engine/batcher.h"
#include "tests/support/byte_tokenizer.h"

#define MASK UM_BYTE_MASK

static const um_batch_facts facts = {.eos_token = UM_BYTE_END, .turn_token = UM_BYTE_TURN};

typedef struct fixture {
    um_tokenizer *tokenizer;
    um_plan *plan;
    um_request *requests[8];
    int32_t count;
} fixture;

static void open_fixture(fixture *f)
{
    const um_plan_limits limits = {.rows_max = 64, .sequences_max = 8, .edits_max = 64};
    um_err err = {0};

    *f = (fixture){.tokenizer = um_byte_tokenizer_open()};
    UM_CHECK_OK(um_plan_create(&limits, &f->plan, &err), err);
}

static void close_fixture(fixture *f)
{
    for (int32_t i = 0; i < f->count; i++)
        um_request_destroy(f->requests[i]);
    um_plan_destroy(f->plan);
    um_tokenizer_close(f->tokenizer);
}

static um_params make_params(int32_t tokens)
{
    return (um_params){
        .policy = um_policy_find("low_confidence"),
        .count = UM_COUNT_QUOTA,
        .top_p = 1.0f,
        .max_tokens = tokens,
        .canvas_tokens = tokens,
        .block_length = tokens,
        .block_count = 1,
        .steps_per_block = tokens,
        .seed = 11,
        .choice = 3,
    };
}

static um_request *add_submission(fixture *f, const um_submission *submission)
{
    static const int32_t ends[] = {UM_BYTE_END, UM_BYTE_TURN};
    um_request_facts request_facts = {
        .tokenizer = f->tokenizer,
        .canvas = {.mask_token = MASK, .end_tokens = ends, .end_token_count = 2}};
    um_err err = {0};

    UM_CHECK_OK(um_request_create(submission, &request_facts, &f->requests[f->count], &err), err);
    return f->requests[f->count++];
}

static um_request *add_request(fixture *f, const int32_t *prompt, int32_t prompt_tokens,
                               um_params params)
{
    um_submission submission = {.prompt = prompt, .prompt_tokens = prompt_tokens, .params = params};

    return add_submission(f, &submission);
}

static void check_ints(const char *what, const int32_t *actual, const int32_t *expected,
                       int32_t count)
{
    um_test_count();
    for (int32_t i = 0; i < count; i++)
        if (actual[i] != expected[i])
            um_test_fail(__FILE__, __LINE__, "%s[%d] is %d, expected %d", what, i, actual[i],
                         expected[i]);
}

static void rows_are_packed_without_padding(void)
{
    fixture f;
    um_plan *plan;
    um_request *second;

    open_fixture(&f);
    plan = f.plan;
    add_request(&f, (int32_t[]){1, 2}, 2, make_params(2));
    second = add_request(&f, (int32_t[]){3}, 1, make_params(3));
    um_canvas_apply(&second->canvas, (um_commit[]){{.position = 2, .token = 9}}, 1);
    UM_CHECK_INT(um_batcher_plan(f.requests, 2, 64, &facts, plan), 2);
    UM_CHECK_INT(plan->row_count, 8);
    check_ints("ids", plan->ids, (int32_t[]){1, 2, MASK, MASK, 3, MASK, 9, MASK}, 8);
    check_ints("positions", plan->positions, (int32_t[]){0, 1, 2, 3, 0, 1, 2, 3}, 8);
    UM_CHECK_INT(plan->sequence_count, 2);
    check_ints("cu_seqlens", plan->cu_seqlens, (int32_t[]){0, 4, 8}, 3);
    UM_CHECK_INT(plan->hidden_count, 4);
    check_ints("gather", plan->gather, (int32_t[]){2, 3, 5, 7}, 4);
    UM_CHECK_INT(plan->score_count, 4);
    check_ints("conditional", plan->conditional, (int32_t[]){0, 1, 2, 3}, 4);
    check_ints("unconditional", plan->unconditional, (int32_t[]){-1, -1, -1, -1}, 4);
    UM_CHECK_INT(plan->score_rows[3].position, 3);
    UM_CHECK_INT(plan->score_rows[3].rule, 1);
    UM_CHECK_INT(plan->request_count, 2);
    UM_CHECK_INT(plan->select_rules[1].first, 2);
    UM_CHECK_INT(plan->select_rules[1].rows, 2);
    UM_CHECK_INT(plan->select_rules[1].count, 1);
    UM_CHECK_INT(plan->select_rules[1].sequence, 1);
    UM_CHECK_INT(plan->score_rules[1].step, 1); /* the request's own, not the engine's */
    close_fixture(&f);
}

static void guidance_adds_a_sequence_with_given_positions_masked(void)
{
    fixture f;
    um_plan *plan;
    um_request *guided;
    um_params params = make_params(2);

    open_fixture(&f);
    plan = f.plan;
    params.cfg_scale = 1.5f;
    guided = add_request(&f, (int32_t[]){1, 2}, 2, params);
    um_canvas_apply(&guided->canvas, (um_commit[]){{.position = 2, .token = 9}}, 1);
    add_request(&f, (int32_t[]){3}, 1, make_params(1));
    UM_CHECK_INT(um_batcher_plan(f.requests, 2, 64, &facts, plan), 2);
    check_ints("ids", plan->ids, (int32_t[]){1, 2, 9, MASK, MASK, MASK, 9, MASK, 3, MASK}, 10);
    check_ints("cu_seqlens", plan->cu_seqlens, (int32_t[]){0, 4, 8, 10}, 4);
    UM_CHECK_INT(plan->hidden_count, 3);
    check_ints("gather", plan->gather, (int32_t[]){3, 7, 9}, 3);
    UM_CHECK_INT(plan->score_count, 2);
    check_ints("conditional", plan->conditional, (int32_t[]){0, 2}, 2);
    check_ints("unconditional", plan->unconditional, (int32_t[]){1, -1}, 2);
    UM_CHECK_NEAR(plan->guidance[0], 1.5, 0);
    UM_CHECK_NEAR(plan->guidance[1], 0, 0);
    close_fixture(&f);
}

static void a_step_takes_requests_until_the_next_would_not_fit(void)
{
    fixture f;

    open_fixture(&f);
    for (int i = 0; i < 4; i++)
        add_request(&f, NULL, 0, make_params(10));
    UM_CHECK_INT(um_batcher_plan(f.requests, 4, 30, &facts, f.plan), 3);
    UM_CHECK_INT(um_batcher_plan(f.requests, 4, 29, &facts, f.plan), 2);
    UM_CHECK_INT(um_batcher_plan(f.requests, 4, 1000, &facts, f.plan), 4);
    UM_CHECK_INT(um_batcher_plan(f.requests, 4, 1, &facts, f.plan), 1); /* always one */
    UM_CHECK_INT(f.plan->row_count, 10);
    close_fixture(&f);
}

static void a_small_request_does_not_overtake_a_large_one(void)
{
    fixture f;

    open_fixture(&f);
    add_request(&f, NULL, 0, make_params(10));
    add_request(&f, NULL, 0, make_params(30));
    add_request(&f, NULL, 0, make_params(1));
    UM_CHECK_INT(um_batcher_plan(f.requests, 3, 20, &facts, f.plan), 1);
    close_fixture(&f);
}

static void the_served_go_behind_the_others_in_order(void)
{
    um_request r[5];
    um_request *running[] = {&r[0], &r[1], &r[2], &r[3], &r[4]};
    um_request *expected[] = {&r[2], &r[3], &r[4], &r[0], &r[1]};

    um_batcher_rotate(running, 5, 2);
    UM_CHECK(memcmp(running, expected, sizeof(running)) == 0);
    um_batcher_rotate(running, 5, 5);
    UM_CHECK(memcmp(running, expected, sizeof(running)) == 0);
    um_batcher_rotate(running, 5, 0);
    UM_CHECK(memcmp(running, expected, sizeof(running)) == 0);
}

static um_score_rule rule_for(um_eos_rule eos_rule, float temperature, bool quirks)
{
    um_params params = make_params(2);
    um_score_rule rule;
    fixture f;

    open_fixture(&f);
    params.eos_rule = eos_rule;
    params.temperature = temperature;
    params.reference_quirks = quirks;
    add_request(&f, NULL, 0, params);
    um_batcher_plan(f.requests, 1, 64, &facts, f.plan);
    rule = f.plan->score_rules[0];
    close_fixture(&f);
    return rule;
}

static bool has(const int32_t pair[2], int32_t token)
{
    return pair[0] == token || pair[1] == token;
}

static void the_mask_is_banned_unless_quirks_allow_it(void)
{
    UM_CHECK(has(rule_for(UM_EOS_NONE, 0, false).banned, MASK));
    UM_CHECK(!has(rule_for(UM_EOS_NONE, 0, true).banned, MASK));
}

static void eos_rules_say_which_ids_are_banned_or_uncounted(void)
{
    um_score_rule none = rule_for(UM_EOS_NONE, 0, false);
    um_score_rule logits = rule_for(UM_EOS_LOGITS, 0, false);
    um_score_rule confidence = rule_for(UM_EOS_CONFIDENCE, 0, false);

    UM_CHECK(!has(none.banned, UM_BYTE_END) && has(none.uncounted, -1));
    UM_CHECK(has(logits.banned, UM_BYTE_END) && has(logits.banned, MASK));
    UM_CHECK(!has(logits.banned, UM_BYTE_TURN) && !has(logits.uncounted, UM_BYTE_END));
    UM_CHECK(!has(confidence.banned, UM_BYTE_END));
    UM_CHECK(has(confidence.uncounted, UM_BYTE_END) && has(confidence.uncounted, UM_BYTE_TURN));
}

static void with_quirks_a_temperature_leaves_only_the_turn_token_uncounted(void)
{
    um_score_rule cold = rule_for(UM_EOS_CONFIDENCE, 0, true);
    um_score_rule warm = rule_for(UM_EOS_CONFIDENCE, 0.5f, true);
    um_score_rule sane = rule_for(UM_EOS_CONFIDENCE, 0.5f, false);

    UM_CHECK(has(cold.uncounted, UM_BYTE_END) && has(cold.uncounted, UM_BYTE_TURN));
    UM_CHECK(!has(warm.uncounted, UM_BYTE_END) && has(warm.uncounted, UM_BYTE_TURN));
    UM_CHECK(has(sane.uncounted, UM_BYTE_END) && has(sane.uncounted, UM_BYTE_TURN));
}

static void the_noise_counter_is_the_requests_own(void)
{
    um_score_rule rule = rule_for(UM_EOS_NONE, 0.75f, false);

    UM_CHECK_INT(rule.seed, 11);
    UM_CHECK_INT(rule.choice, 3);
    UM_CHECK_INT(rule.step, 0);
    UM_CHECK_NEAR(rule.temperature, 0.75, 0);
    UM_CHECK_INT(rule.confidence, UM_CONFIDENCE_PROBABILITY);
}

static void rules_without_edits_have_none(void)
{
    fixture f;

    open_fixture(&f);
    add_request(&f, (int32_t[]){1, 2}, 2, make_params(2));
    add_request(&f, NULL, 0, make_params(3));
    um_batcher_plan(f.requests, 2, 64, &facts, f.plan);
    UM_CHECK_INT(f.plan->rule_count, 2);
    UM_CHECK_INT(f.plan->edit_count, 0);
    UM_CHECK_INT(f.plan->alternative_count, 0);
    UM_CHECK_INT(f.plan->score_rules[0].edit_count + f.plan->score_rules[1].edit_count, 0);
    close_fixture(&f);
}

/* Does the row's rule change this token's logit by exactly this? */
static bool row_has_edit(const um_plan *plan, int32_t row, int32_t token, float bias,
                         float repetition)
{
    const um_score_rule *rule = &plan->score_rules[plan->score_rows[row].rule];
    const um_logit_edit *edits = plan->edits + rule->first_edit;

    for (int32_t i = 0; i < rule->edit_count; i++)
        if (edits[i].token == token)
            return edits[i].bias == bias && edits[i].repetition == repetition;
    return false;
}

static int32_t row_edits(const um_plan *plan, int32_t row)
{
    return plan->score_rules[plan->score_rows[row].rule].edit_count;
}

static void early_rows_have_a_rule_of_their_own(void)
{
    const um_logit_edit bias = {.token = UM_BYTE_END, .bias = 3, .repetition = 1};
    um_submission submission = {.prompt = (int32_t[]){MASK, 2},
                                .prompt_tokens = 2,
                                .params = make_params(4),
                                .stop_tokens = (int32_t[]){'s'},
                                .stop_token_count = 1,
                                .biases = &bias,
                                .bias_count = 1};
    um_params guided = make_params(2);
    um_plan *plan;
    fixture f;

    open_fixture(&f);
    plan = f.plan;
    submission.params.min_tokens = 2;
    add_request(&f, NULL, 0, make_params(1));
    add_submission(&f, &submission);
    guided.cfg_scale = 1.0f;
    add_request(&f, NULL, 0, guided);
    add_submission(&f, &submission);
    UM_CHECK_INT(um_batcher_plan(f.requests, 4, 64, &facts, plan), 4);
    UM_CHECK_INT(plan->rule_count, 6);
    UM_CHECK_INT(plan->request_count, 4);
    UM_CHECK_INT(plan->score_count, 1 + 5 + 2 + 5);
    for (int32_t first = 1; first <= 8; first += 7) {
        int32_t request = first == 1 ? 1 : 3;

        UM_CHECK_INT(plan->score_rows[first].position,
                     0); /* the prompt's mask: not of the canvas */
        UM_CHECK_INT(plan->score_rows[first].rule, request);
        for (int32_t row = first + 1; row <= first + 2; row++) { /* canvas positions 0 and 1 */
            UM_CHECK_INT(plan->score_rows[row].rule, first == 1 ? 4 : 5);
            UM_CHECK_INT(row_edits(plan, row), 3);
            UM_CHECK(row_has_edit(plan, row, UM_BYTE_END, -INFINITY, 1));
            UM_CHECK(row_has_edit(plan, row, UM_BYTE_TURN, -INFINITY, 1));
            UM_CHECK(row_has_edit(plan, row, 's', -INFINITY, 1));
        }
        for (int32_t row = first + 3; row <= first + 4; row++) {
            UM_CHECK_INT(plan->score_rows[row].rule, request);
            UM_CHECK_INT(row_edits(plan, row), 1);
            UM_CHECK(row_has_edit(plan, row, UM_BYTE_END, 3, 1));
        }
        UM_CHECK_INT(plan->score_rules[plan->score_rows[first + 1].rule].seed, 11);
    }
    UM_CHECK_INT(plan->score_rules[0].edit_count + plan->score_rules[2].edit_count, 0);
    close_fixture(&f);
}

static void penalties_count_what_is_filled_in_now(void)
{
    um_params params = make_params(4);
    um_request *request;
    um_plan *plan;
    fixture f;

    open_fixture(&f);
    plan = f.plan;
    params.frequency_penalty = 0.5f;
    params.presence_penalty = 0.25f;
    params.repetition_penalty = 2.0f;
    request = add_request(&f, (int32_t[]){'p', 'q'}, 2, params);
    um_batcher_plan(f.requests, 1, 64, &facts, plan);
    UM_CHECK_INT(row_edits(plan, 0), 2);
    UM_CHECK(row_has_edit(plan, 0, 'p', 0, 2) && row_has_edit(plan, 0, 'q', 0, 2));
    um_canvas_apply(&request->canvas,
                    (um_commit[]){{.position = 2, .token = 'q'}, {.position = 4, .token = 'q'}}, 2);
    um_batcher_plan(f.requests, 1, 64, &facts, plan);
    UM_CHECK_INT(row_edits(plan, 0), 2);
    UM_CHECK(row_has_edit(plan, 0, 'p', 0, 2));
    UM_CHECK(row_has_edit(plan, 0, 'q', -1.25f, 2));
    UM_CHECK_INT(plan->rule_count, 1);
    close_fixture(&f);
}

static void rows_have_the_most_alternatives_that_anybody_wants(void)
{
    um_submission guessing = {.params = make_params(2), .want_draft = true, .want_guess = true};
    um_params params = make_params(2);
    fixture f;

    open_fixture(&f);
    add_submission(&f, &guessing);
    um_batcher_plan(f.requests, 1, 64, &facts, f.plan);
    UM_CHECK_INT(f.plan->alternative_count, 1);
    params.logprobs = 6;
    add_request(&f, NULL, 0, params);
    params.logprobs = 3;
    add_request(&f, NULL, 0, params);
    um_batcher_plan(f.requests, 3, 64, &facts, f.plan);
    UM_CHECK_INT(f.plan->alternative_count, 6);
    close_fixture(&f);
}

static um_status create_both(void)
{
    const um_plan_limits limits = {.rows_max = 8, .sequences_max = 2};
    um_plan *plan = NULL;
    um_step_result *result = NULL;
    um_status status = um_plan_create(&limits, &plan, NULL);

    if (status == UM_OK)
        status = um_step_result_create(&limits, &result, NULL);
    um_step_result_destroy(result);
    um_plan_destroy(plan);
    return status;
}

static void running_out_of_memory_is_an_error_without_leaks(void)
{
    um_status status = UM_E_NOMEM;
    int failures = 0;

    for (long n = 1; status != UM_OK; n++) {
        um_mem_fail_after(n);
        status = create_both();
        if (status != UM_OK) {
            UM_CHECK_STATUS(status, UM_E_NOMEM);
            failures++;
        }
    }
    um_mem_fail_after(0);
    UM_CHECK_INT(failures, 2 + 2); /* every allocation of plan and result */
}

static const um_test tests[] = {
    UM_TEST(rows_are_packed_without_padding),
    UM_TEST(guidance_adds_a_sequence_with_given_positions_masked),
    UM_TEST(a_step_takes_requests_until_the_next_would_not_fit),
    UM_TEST(a_small_request_does_not_overtake_a_large_one),
    UM_TEST(the_served_go_behind_the_others_in_order),
    UM_TEST(the_mask_is_banned_unless_quirks_allow_it),
    UM_TEST(eos_rules_say_which_ids_are_banned_or_uncounted),
    UM_TEST(with_quirks_a_temperature_leaves_only_the_turn_token_uncounted),
    UM_TEST(the_noise_counter_is_the_requests_own),
    UM_TEST(rules_without_edits_have_none),
    UM_TEST(early_rows_have_a_rule_of_their_own),
    UM_TEST(penalties_count_what_is_filled_in_now),
    UM_TEST(rows_have_the_most_alternatives_that_anybody_wants),
    UM_TEST(running_out_of_memory_is_an_error_without_leaks),
};
UM_TEST_MAIN(tests)
