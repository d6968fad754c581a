/* What a canvas begins with and how it grows: suffix, drafts with pins and noise, gaps of open
 * length, a last step. Growth is compared with a plain loop over whole rows; the rest with rows
 * written down by hand. */
#include "tests/test.h"

#include "core/base/rng.h"
#include "core/engine/canvas.h"
#include "tests/support/random.h"

#define MASK 199
#define END 198
#define ROOM 64

static const int32_t ends[] = {197, END};
static const um_canvas_facts facts = {.mask_token = MASK, .end_tokens = ends, .end_token_count = 2};

static um_params make_params(const char *policy, int32_t tokens, int32_t block)
{
    return (um_params){
        .policy = um_policy_find(policy),
        .count = um_policy_count(um_policy_find(policy), false),
        .top_p = 1.0f,
        .max_tokens = tokens,
        .canvas_tokens = tokens,
        .block_length = block,
        .block_count = (tokens + block - 1) / block,
        .steps_per_block = block,
        .exact_length = true,
    };
}

static void open_canvas(um_canvas *canvas, const um_params *params, const um_submission *submission)
{
    um_err err = {0};

    UM_CHECK_OK(um_canvas_init(canvas, params, &facts, submission, &err), err);
}

/* `expected` is what each position holds: a digit or letter is that token, '.' a mask; `given` has
 * a 'g' where it is given. */
static void check_row(const um_canvas *canvas, const char *expected, const char *given)
{
    int32_t length = (int32_t)strlen(expected);

    UM_CHECK_INT(canvas->length, length);
    for (int32_t i = 0; i < length && i < canvas->length; i++) {
        bool masked = expected[i] == '.';

        um_test_count();
        if (canvas->tokens[i] != (masked ? MASK : expected[i]) || canvas->masked[i] != masked ||
            canvas->given[i] != (given[i] == 'g'))
            um_test_fail(__FILE__, __LINE__, "position %d of \"%s\": token %d, masked %d, given %d",
                         i, expected, canvas->tokens[i], canvas->masked[i], canvas->given[i]);
    }
}

/* The token of each character; '.' is UM_DRAFT_MASKED. */
static int32_t spell(const char *text, int32_t *tokens)
{
    int32_t count = (int32_t)strlen(text);

    for (int32_t i = 0; i < count; i++)
        tokens[i] = text[i] == '.' ? UM_DRAFT_MASKED : text[i];
    return count;
}

/* Fills every candidate of one step with `token`, as far as the canvas asks for it. */
static void step(um_canvas *canvas, int32_t token)
{
    int32_t positions[ROOM];
    um_commit commits[ROOM];
    um_select_rule rule = {0};
    int32_t count = um_canvas_candidates(canvas, positions);

    um_canvas_select_rule(canvas, &rule);
    UM_CHECK(rule.kind == UM_SELECT_COUNT && rule.count <= count);
    for (int32_t i = 0; i < rule.count; i++)
        commits[i] = (um_commit){.position = positions[i], .token = token, .confidence = 0.5f};
    um_canvas_apply(canvas, commits, rule.count);
}

static void a_suffix_is_given_and_never_filled(void)
{
    um_params params = make_params("low_confidence", 2, 2);
    um_submission submission = {.prompt = (int32_t[]){'p'},
                                .prompt_tokens = 1,
                                .suffix = (int32_t[]){'s', MASK},
                                .suffix_tokens = 2};
    int32_t positions[ROOM];
    um_canvas canvas;

    open_canvas(&canvas, &params, &submission);
    UM_CHECK_INT(canvas.length, 5);
    UM_CHECK(canvas.given[3] && canvas.given[4] && !canvas.masked[4]);
    UM_CHECK_INT(um_canvas_candidates(&canvas, positions), 2);
    UM_CHECK(positions[0] == 1 && positions[1] == 2);
    step(&canvas, 'a');
    step(&canvas, 'b');
    UM_CHECK(canvas.finished);
    UM_CHECK(canvas.tokens[1] == 'a' && canvas.tokens[2] == 'b');
    UM_CHECK(canvas.tokens[3] == 's' && canvas.tokens[4] == MASK);
    UM_CHECK_INT(canvas.settled, 2);
    um_canvas_deinit(&canvas);
}

static void without_noise_a_draft_stays_and_the_rest_is_filled(void)
{
    um_params params = make_params("low_confidence", 6, 6);
    int32_t draft[ROOM];
    um_submission submission = {.prompt = (int32_t[]){'p'},
                                .prompt_tokens = 1,
                                .suffix = (int32_t[]){'s'},
                                .suffix_tokens = 1,
                                .draft = draft,
                                .draft_tokens = spell("ab.d", draft)};
    int32_t accepted, rejected;
    um_canvas canvas;

    open_canvas(&canvas, &params, &submission);
    check_row(&canvas, "pab.d..s", "ggg.g..g");
    UM_CHECK_INT(canvas.settled, 2);
    while (!canvas.finished)
        step(&canvas, 'x');
    UM_CHECK_INT(canvas.step, 3);
    check_row(&canvas, "pabxdxxs", "ggg.g..g");
    um_canvas_count_draft(&canvas, true, &accepted, &rejected);
    UM_CHECK_INT(accepted, 3);
    UM_CHECK_INT(rejected, 0);
    um_canvas_deinit(&canvas);
}

/* MASK's id in a draft is a masked position, unless it is text. */
static void with_full_noise_only_pins_stay(void)
{
    um_params params = make_params("low_confidence", 4, 4);
    um_submission submission = {.draft = (int32_t[]){'a', 'b', MASK, 'd'},
                                .pinned = (uint8_t[]){0, 1, 1, 0},
                                .draft_tokens = 4};
    int32_t accepted, rejected;
    um_canvas canvas;

    params.noise = 1.0f;
    open_canvas(&canvas, &params, &submission);
    check_row(&canvas, ".b..", ".g..");
    um_canvas_count_draft(&canvas, false, &accepted, &rejected);
    UM_CHECK(accepted == 0 && rejected == 0);
    step(&canvas, 'a');
    step(&canvas, 'y');
    um_canvas_count_draft(&canvas, false, &accepted, &rejected);
    UM_CHECK(accepted == 1 && rejected == 0); /* 'd' is still open */
    step(&canvas, 'z');
    um_canvas_count_draft(&canvas, true, &accepted, &rejected);
    UM_CHECK(accepted == 1 && rejected == 1);
    check_row(&canvas, "abyz", ".g..");
    um_canvas_deinit(&canvas);
}

/* Which tokens are masked again is a function of seed, place and choice alone, and as many as the
 * share says: 4 standard deviations of 64 * 40 draws. */
static void noise_is_a_draw_of_its_own(void)
{
    um_params params = make_params("low_confidence", ROOM, ROOM);
    int32_t draft[ROOM], masked = 0, differs = 0;
    um_submission submission = {
        .prompt = (int32_t[]){'p'}, .prompt_tokens = 1, .draft = draft, .draft_tokens = ROOM};

    for (int32_t i = 0; i < ROOM; i++)
        draft[i] = 'a';
    params.noise = 0.25f;
    for (params.seed = 0; params.seed < 20; params.seed++) {
        uint8_t first[ROOM];

        for (params.choice = 0; params.choice < 2; params.choice++) {
            um_canvas canvas;

            open_canvas(&canvas, &params, &submission);
            for (int32_t i = 0; i < ROOM; i++) {
                uint32_t bits[4];

                um_philox(params.seed, 0, (uint32_t)i + 1, 0x80000003u, params.choice, bits);
                UM_CHECK_INT(canvas.masked[1 + i], (double)bits[0] + 0.5 < 0.25 * 4294967296.0);
                masked += canvas.masked[1 + i];
            }
            if (params.choice == 0)
                memcpy(first, canvas.masked + 1, ROOM);
            else
                differs += memcmp(first, canvas.masked + 1, ROOM) != 0;
            um_canvas_deinit(&canvas);
        }
    }
    UM_CHECK_NEAR(masked / (64.0 * 40.0), 0.25, 4 * 0.00856);
    UM_CHECK_INT(differs, 20);
}

static void there_is_always_something_to_do(void)
{
    um_params params = make_params("low_confidence", 4, 2);
    int32_t draft[ROOM];
    um_submission submission = {
        .draft = draft, .pinned = (uint8_t[]){0, 0, 1, 1}, .draft_tokens = spell("abcd", draft)};
    um_canvas canvas;

    open_canvas(&canvas, &params, &submission);
    check_row(&canvas, "a.cd", "g.gg"); /* the last that may change */
    step(&canvas, 'b');
    UM_CHECK(canvas.finished);
    UM_CHECK_INT(canvas.step, 1);
    UM_CHECK_INT(canvas.settled, 4);
    um_canvas_deinit(&canvas);
}

static void blocks_without_a_mask_are_skipped(void)
{
    um_params params = make_params("low_confidence", 10, 2);
    int32_t draft[ROOM];
    um_submission submission = {.draft = draft, .draft_tokens = spell("ab.def..ij", draft)};
    um_canvas canvas;

    open_canvas(&canvas, &params, &submission);
    UM_CHECK_INT(canvas.block, 1);
    UM_CHECK_INT(canvas.block_masks, 1);
    step(&canvas, 'c');
    UM_CHECK_INT(canvas.block, 3);
    UM_CHECK_INT(canvas.block_masks, 2);
    step(&canvas, 'g');
    step(&canvas, 'h');
    UM_CHECK(canvas.finished);
    UM_CHECK_INT(canvas.blocks, 2); /* of five */
    check_row(&canvas, "abcdefghij", "gg.ggg..gg");
    um_canvas_deinit(&canvas);
}

/* A draft makes the masks fewer, and what is left is what schedules count. */
static void schedules_count_what_the_draft_left(void)
{
    um_params params = make_params("entropy", 8, 8);
    int32_t draft[ROOM], positions[ROOM];
    um_submission submission = {.draft = draft, .draft_tokens = spell("a.c.e", draft)};
    um_select_rule rule = {0};
    um_canvas canvas;

    params.steps_per_block = 2;
    open_canvas(&canvas, &params, &submission);
    um_canvas_select_rule(&canvas, &rule); /* 5 masks in 2 steps */
    UM_CHECK_INT(rule.count, 3);
    um_canvas_deinit(&canvas);
    params.count = UM_COUNT_TIME;
    params.eps = 1e-3f;
    open_canvas(&canvas, &params, &submission);
    um_canvas_select_rule(&canvas, &rule); /* trunc(5 * 0.4995) */
    UM_CHECK_INT(rule.count, 2);
    um_canvas_deinit(&canvas);
    params = make_params("competing", 8, 8);
    open_canvas(&canvas, &params, &submission);
    UM_CHECK_INT(um_canvas_candidates(&canvas, positions), 5); /* kept tokens do not compete */
    um_canvas_select_rule(&canvas, &rule);
    UM_CHECK_INT(rule.count, 4); /* trunc(5 * 7/8) stay behind */
    um_canvas_deinit(&canvas);
}

/* ---- growth ---------------------------------------------------------------------------------- */

static void a_gap_grows_by_a_block_until_a_token_ends_it(void)
{
    um_params params = make_params("low_confidence", 7, 3);
    um_submission submission = {.prompt = (int32_t[]){'p'},
                                .prompt_tokens = 1,
                                .suffix = (int32_t[]){'s', 't'},
                                .suffix_tokens = 2};
    um_canvas canvas;

    params.grows = true;
    open_canvas(&canvas, &params, &submission);
    check_row(&canvas, "p...st", "g...gg");
    for (int i = 0; i < 3; i++)
        step(&canvas, 'a');
    UM_CHECK(!canvas.finished);
    UM_CHECK_INT(canvas.settled, 3);
    check_row(&canvas, "paaa...st", "g......gg");
    step(&canvas, END);
    step(&canvas, 'b');
    UM_CHECK(!canvas.finished);
    step(&canvas, 'b');
    UM_CHECK(canvas.finished); /* one more position was allowed */
    UM_CHECK_INT(canvas.extent, 6);
    UM_CHECK_INT(canvas.blocks, 2);
    UM_CHECK_INT(canvas.length, 9);
    um_canvas_deinit(&canvas);
}

static void a_gap_grows_to_its_bound_and_not_beyond(void)
{
    um_params params = make_params("low_confidence", 7, 3);
    um_submission submission = {.suffix = (int32_t[]){'s'}, .suffix_tokens = 1};
    um_canvas canvas;

    params.grows = true;
    open_canvas(&canvas, &params, &submission);
    while (!canvas.finished)
        step(&canvas, 'a');
    check_row(&canvas, "aaaaaaas", ".......g");
    UM_CHECK_INT(canvas.step, 7);
    um_canvas_deinit(&canvas);
}

static void a_requests_own_stop_token_ends_a_gap_too(void)
{
    um_params params = make_params("low_confidence", 4, 1);
    um_submission submission = {.stop_tokens = (int32_t[]){'x', 'y'}, .stop_token_count = 2};
    um_canvas canvas;

    params.grows = true;
    open_canvas(&canvas, &params, &submission);
    step(&canvas, 'a');
    UM_CHECK(!canvas.finished);
    step(&canvas, 'y');
    UM_CHECK(canvas.finished);
    UM_CHECK_INT(canvas.extent, 2);
    um_canvas_deinit(&canvas);
}

static void a_gap_begins_with_the_blocks_that_its_draft_needs(void)
{
    um_params params = make_params("low_confidence", 8, 3);
    int32_t draft[ROOM];
    um_submission submission = {.suffix = (int32_t[]){'s'},
                                .suffix_tokens = 1,
                                .draft = draft,
                                .draft_tokens = spell("abcd", draft)};
    um_canvas canvas;

    params.grows = true;
    open_canvas(&canvas, &params, &submission);
    check_row(&canvas, "abcd..s", "gggg..g");
    UM_CHECK_INT(canvas.block, 1);
    step(&canvas, 'e');
    step(&canvas, 'f');
    check_row(&canvas, "abcdef..s", "gggg....g");
    um_canvas_deinit(&canvas);
}

/* How long a gap gets whose position i holds script[i]. */
static int32_t plain_growth(const int32_t *script, int32_t block, int32_t bound)
{
    int32_t length = 0;

    while (length < bound) {
        length = length + block < bound ? length + block : bound;
        for (int32_t i = 0; i < length; i++)
            if (script[i] == END || script[i] == 197)
                return length;
    }
    return bound;
}

static void growth_is_what_a_plain_loop_says(void)
{
    uint64_t random = 7;
    int32_t grown = 0, at_bound = 0;

    for (int i = 0; i < 3000; i++) {
        um_params params = make_params("low_confidence", um_test_pick(&random, 1, 24),
                                       um_test_pick(&random, 1, 6));
        int32_t around[8] = {'1', '2', '3', '4', '5', '6', '7', '8'}, script[ROOM], expected;
        um_submission submission = {.prompt = around,
                                    .prompt_tokens = um_test_pick(&random, 0, 4),
                                    .suffix = around + 4,
                                    .suffix_tokens = um_test_pick(&random, 0, 4)};
        um_canvas canvas;

        params.grows = true;
        for (int32_t k = 0; k < params.canvas_tokens; k++)
            script[k] = um_test_pick(&random, 1, 20) == 1 ? END : 'a' + um_test_pick(&random, 0, 3);
        open_canvas(&canvas, &params, &submission);
        while (!canvas.finished) {
            int32_t positions[ROOM], count = um_canvas_candidates(&canvas, positions);
            int32_t at = positions[um_test_pick(&random, 0, count - 1)];

            um_canvas_apply(&canvas,
                            &(um_commit){.position = at,
                                         .token = script[at - submission.prompt_tokens],
                                         .confidence = 1},
                            1);
        }
        expected = plain_growth(script, params.block_length, params.canvas_tokens);
        UM_CHECK_INT(canvas.extent, expected);
        UM_CHECK_INT(canvas.step, expected);
        UM_CHECK_INT(canvas.length, submission.prompt_tokens + expected + submission.suffix_tokens);
        UM_CHECK(memcmp(um_canvas_generated(&canvas), script, sizeof(*script) * (size_t)expected) ==
                 0);
        UM_CHECK(memcmp(um_canvas_generated(&canvas) + expected, around + 4,
                        sizeof(*around) * (size_t)submission.suffix_tokens) == 0);
        grown += expected > params.block_length;
        at_bound += expected == params.canvas_tokens;
        um_canvas_deinit(&canvas);
    }
    UM_CHECK(grown > 500 && at_bound > 500 && at_bound < 2500);
}

/* ---- a last step ------------------------------------------------------------------------------ */

static void a_last_step_fills_every_block_and_ends(void)
{
    um_params params = make_params("low_confidence", 6, 2);
    um_submission submission = {.prompt = (int32_t[]){'p', MASK},
                                .prompt_tokens = 2,
                                .suffix = (int32_t[]){'s'},
                                .suffix_tokens = 1};
    int32_t positions[ROOM];
    um_select_rule rule = {0};
    um_canvas canvas;

    params.reference_quirks = true;
    open_canvas(&canvas, &params, &submission);
    um_canvas_apply(&canvas, (um_commit[]){{.position = 3, .token = 'a'}}, 1);
    UM_CHECK(!um_canvas_guards_mask(&canvas));
    UM_CHECK(um_canvas_hurry(&canvas));
    UM_CHECK(um_canvas_guards_mask(&canvas)); /* a mask would stay one */
    UM_CHECK_INT(um_canvas_candidates(&canvas, positions), 6);
    UM_CHECK(positions[0] == 1 && positions[1] == 2 && positions[2] == 4 && positions[5] == 7);
    um_canvas_select_rule(&canvas, &rule);
    UM_CHECK(rule.kind == UM_SELECT_COUNT);
    UM_CHECK_INT(rule.count, 6);
    step(&canvas, 'b');
    UM_CHECK(canvas.finished);
    UM_CHECK_INT(canvas.settled, 6);
    check_row(&canvas, "pbbabbbbs", "g.......g");
    um_canvas_deinit(&canvas);
}

/* Whatever the policy's own rule is. */
static void a_last_step_is_the_same_for_every_policy(void)
{
    const um_policy *policy;

    for (size_t i = 0; (policy = um_policy_at(i)); i++) {
        um_params params = make_params(policy->name, 6, 3);
        int32_t positions[ROOM];
        um_canvas canvas;

        params.grows = true;
        params.eps = 1e-3f;
        open_canvas(&canvas, &params, &(um_submission){0});
        um_canvas_apply(&canvas, (um_commit[]){{.position = 1, .token = 'a'}}, 1);
        UM_CHECK(um_canvas_hurry(&canvas));
        UM_CHECK_INT(um_canvas_candidates(&canvas, positions), 2); /* the filled one is no more */
        step(&canvas, 'b');
        UM_CHECK(canvas.finished);
        UM_CHECK_INT(canvas.extent, 3); /* it does not grow any more */
        um_canvas_deinit(&canvas);
    }
}

/* Then nothing ends early: the request is as complete as without a deadline. */
static void a_step_that_is_the_last_anyway_stays_what_it_is(void)
{
    const um_policy *policy;

    for (size_t i = 0; (policy = um_policy_at(i)); i++) {
        um_params params = make_params(policy->name, 4, 2);
        int32_t position = 0;
        um_canvas canvas;

        params.eps = 1e-3f;
        params.steps_per_block = 2;
        open_canvas(&canvas, &params, &(um_submission){0});
        for (; position < 3; position++)
            um_canvas_apply(&canvas, &(um_commit){.position = position, .token = 'a'}, 1);
        UM_CHECK_INT(canvas.block, 1);
        UM_CHECK(!um_canvas_hurry(&canvas)); /* one mask, and one step */
        UM_CHECK(!canvas.hurries);
        um_canvas_apply(&canvas, &(um_commit){.position = position, .token = 'a'}, 1);
        UM_CHECK(canvas.finished);
        um_canvas_deinit(&canvas);
    }
}

static const um_test tests[] = {
    UM_TEST(a_suffix_is_given_and_never_filled),
    UM_TEST(without_noise_a_draft_stays_and_the_rest_is_filled),
    UM_TEST(with_full_noise_only_pins_stay),
    UM_TEST(noise_is_a_draw_of_its_own),
    UM_TEST(there_is_always_something_to_do),
    UM_TEST(blocks_without_a_mask_are_skipped),
    UM_TEST(schedules_count_what_the_draft_left),
    UM_TEST(a_gap_grows_by_a_block_until_a_token_ends_it),
    UM_TEST(a_gap_grows_to_its_bound_and_not_beyond),
    UM_TEST(a_requests_own_stop_token_ends_a_gap_too),
    UM_TEST(a_gap_begins_with_the_blocks_that_its_draft_needs),
    UM_TEST(growth_is_what_a_plain_loop_says),
    UM_TEST(a_last_step_fills_every_block_and_ends),
    UM_TEST(a_last_step_is_the_same_for_every_policy),
    UM_TEST(a_step_that_is_the_last_anyway_stays_what_it_is),
};
UM_TEST_MAIN(tests)
