/* A request's changes to the logits, against a dense table over the vocabulary that is filled from
 * the rules' own words for every step of random canvases. */
#include "tests/test.h"

#include "core/base/mem.h"
#include "core/engine/edits.h"
#include "tests/support/random.h"

#define VOCAB 40
#define MASK 39
#define TOKENS_MAX 24
#define EDITS_MAX 4096

static const int32_t ends[] = {37, 38};

typedef struct scene {
    um_submission submission;
    int32_t prompt[TOKENS_MAX];
    int32_t suffix[TOKENS_MAX];
    int32_t stop_tokens[2];
    um_logit_edit biases[VOCAB];
} scene;

static void draw_scene(scene *s, uint64_t *random)
{
    um_submission *submission = &s->submission;
    um_params *params = &submission->params;
    bool biased = um_test_pick(random, 0, 1);

    *s = (scene){0};
    *params = (um_params){
        .canvas_tokens = um_test_pick(random, 1, TOKENS_MAX),
        .frequency_penalty =
            um_test_pick(random, 0, 1) ? (float)um_test_pick(random, -8, 8) / 4 : 0,
        .presence_penalty = um_test_pick(random, 0, 1) ? (float)um_test_pick(random, -8, 8) / 4 : 0,
        .repetition_penalty =
            um_test_pick(random, 0, 2) ? (float)um_test_pick(random, 0, 8) / 4 : 1,
        .min_tokens = um_test_pick(random, 0, 1) ? um_test_pick(random, 0, TOKENS_MAX) : 0,
        .ignore_eos = um_test_pick(random, 0, 3) == 0,
    };
    params->block_length = params->max_tokens = params->canvas_tokens;
    params->block_count = 1;
    params->count = UM_COUNT_QUOTA;
    params->steps_per_block = params->canvas_tokens;
    submission->prompt = s->prompt;
    submission->prompt_tokens = um_test_pick(random, 0, TOKENS_MAX);
    submission->suffix = s->suffix;
    submission->suffix_tokens = um_test_pick(random, 0, TOKENS_MAX);
    submission->stop_tokens = s->stop_tokens;
    submission->stop_token_count = um_test_pick(random, 0, 2);
    submission->biases = s->biases;
    for (int32_t i = 0; i < TOKENS_MAX; i++) {
        s->prompt[i] = um_test_pick(random, 0, VOCAB - 1);
        s->suffix[i] = um_test_pick(random, 0, VOCAB - 1);
    }
    s->stop_tokens[0] = um_test_pick(random, 0, MASK - 1); /* may be one of the model's */
    s->stop_tokens[1] = s->stop_tokens[0];
    for (int32_t token = 0; token < MASK && biased; token++)
        if (um_test_pick(random, 0, 5) == 0)
            s->biases[submission->bias_count++] = (um_logit_edit){
                .token = token, .bias = (float)um_test_pick(random, -100, 100), .repetition = 1};
}

static bool is_among(const int32_t *tokens, int32_t count, int32_t token)
{
    for (int32_t i = 0; i < count; i++)
        if (tokens[i] == token)
            return true;
    return false;
}

/* What the rules say of one token. */
static um_logit_edit expected_edit(const scene *s, const um_canvas *canvas, int32_t token,
                                   bool early)
{
    const um_submission *submission = &s->submission;
    const um_params *params = &submission->params;
    um_logit_edit edit = {.token = token, .repetition = 1};
    bool is_end = is_among(ends, 2, token);
    bool is_stop = is_among(s->stop_tokens, submission->stop_token_count, token);
    int32_t count = 0;

    for (int32_t i = 0; i < submission->bias_count; i++)
        if (s->biases[i].token == token)
            edit.bias = s->biases[i].bias;
    for (int32_t i = 0; i < params->canvas_tokens; i++) {
        int32_t at = submission->prompt_tokens + i;

        count += !canvas->masked[at] && canvas->tokens[at] == token && token != MASK;
    }
    if (count > 0)
        edit.bias -= (float)count * params->frequency_penalty + params->presence_penalty;
    if (params->repetition_penalty > 0 && token != MASK &&
        (count > 0 || is_among(s->prompt, submission->prompt_tokens, token) ||
         is_among(s->suffix, submission->suffix_tokens, token)))
        edit.repetition = params->repetition_penalty;
    if ((is_end && params->ignore_eos) ||
        (early && params->min_tokens > 0 && (is_end || is_stop))) {
        edit.bias = -INFINITY;
        edit.repetition = 1;
    }
    return edit;
}

static void compare_run(const scene *s, const um_canvas *canvas, const um_logit_edit *edits,
                        int32_t count, bool early)
{
    um_logit_edit dense[VOCAB];
    bool seen[VOCAB] = {false};

    for (int32_t token = 0; token < VOCAB; token++)
        dense[token] = (um_logit_edit){.token = token, .repetition = 1};
    for (int32_t i = 0; i < count; i++) {
        UM_CHECK(edits[i].token >= 0 && edits[i].token < VOCAB && !seen[edits[i].token]);
        seen[edits[i].token] = true;
        dense[edits[i].token] = edits[i];
    }
    for (int32_t token = 0; token < VOCAB; token++) {
        um_logit_edit expected = expected_edit(s, canvas, token, early);

        um_test_count();
        if (dense[token].bias != expected.bias || dense[token].repetition != expected.repetition)
            um_test_fail(__FILE__, __LINE__, "token %d: bias %g repetition %g, expected %g and %g",
                         token, (double)dense[token].bias, (double)dense[token].repetition,
                         (double)expected.bias, (double)expected.repetition);
    }
}

/* Fills the canvas one position a step and compares before each. Returns whether there was anything
 * to edit at all. */
static bool run_scene(scene *s, uint64_t *random)
{
    const um_canvas_facts facts = {.mask_token = MASK};
    static um_logit_edit out[EDITS_MAX];
    um_edits *edits;
    um_canvas canvas;
    um_err err = {0};
    bool any;

    UM_CHECK_OK(um_canvas_init(&canvas, &s->submission.params, &facts, &s->submission, &err), err);
    UM_CHECK_OK(um_edits_create(&s->submission, ends, 2, MASK, &edits, &err), err);
    any = edits != NULL;
    for (int32_t step = 0; step < s->submission.params.canvas_tokens; step++) {
        bool early = um_test_pick(random, 0, 1);
        um_edits_runs runs = {0};

        if (edits) {
            um_mem_fail_after(1);
            runs = um_edits_write(edits, &canvas, early, out);
            UM_CHECK(um_mem_fail_pending());
            um_mem_fail_after(0);
        }
        UM_CHECK(runs.count <= um_edits_max(canvas.length + s->submission.suffix_tokens, 1));
        UM_CHECK(runs.general_first + runs.general_count == runs.count);
        compare_run(s, &canvas, out + runs.general_first, runs.general_count, false);
        if (early)
            compare_run(s, &canvas, out, runs.early_count, true);
        /* any order of places; a token may come again */
        for (int32_t at = um_test_pick(random, 0, canvas.length - 1);;
             at = (at + 1) % canvas.length) {
            if (at < s->submission.prompt_tokens || !canvas.masked[at])
                continue;
            canvas.masked[at] = 0;
            canvas.tokens[at] = um_test_pick(random, 0, 1) ? um_test_pick(random, 0, 5)
                                                           : um_test_pick(random, 0, 38);
            break;
        }
    }
    um_edits_destroy(edits);
    um_canvas_deinit(&canvas);
    return any;
}

static void edits_are_what_the_rules_say_of_every_token(void)
{
    uint64_t random = 77;
    scene s;
    int any = 0;

    for (int i = 0; i < 2000; i++) {
        draw_scene(&s, &random);
        any += run_scene(&s, &random);
    }
    UM_CHECK(any > 1500 && any < 2000);
}

static void nothing_is_made_where_nothing_is_changed(void)
{
    um_submission submission = {.params = {.canvas_tokens = 4, .repetition_penalty = 1}};
    um_edits *edits = NULL;

    um_mem_fail_after(1);
    UM_CHECK_STATUS(um_edits_create(&submission, ends, 2, MASK, &edits, NULL), UM_OK);
    UM_CHECK(um_mem_fail_pending() && edits == NULL);
    um_mem_fail_after(0);
}

/* A thousand biases, a long prompt and a long canvas, every token another one. */
static void the_bound_holds_for_the_most_edits(void)
{
    enum { BIASES = UM_BIASES_MAX, ROWS = 900 };
    const um_canvas_facts facts = {.mask_token = 100000};
    static um_logit_edit biases[BIASES];
    static um_logit_edit out[EDITS_MAX];
    static int32_t prompt[ROWS / 2], stop_tokens[UM_STOP_TOKENS_MAX];
    um_submission submission = {
        .prompt = prompt,
        .prompt_tokens = ROWS / 2,
        .stop_tokens = stop_tokens,
        .stop_token_count = UM_STOP_TOKENS_MAX,
        .biases = biases,
        .bias_count = BIASES,
        .params = {.canvas_tokens = ROWS / 2,
                   .max_tokens = ROWS / 2,
                   .block_length = ROWS / 2,
                   .block_count = 1,
                   .steps_per_block = 1,
                   .frequency_penalty = 1,
                   .repetition_penalty = 2,
                   .min_tokens = 3},
    };
    um_edits *edits;
    um_canvas canvas;
    um_edits_runs runs;
    um_err err = {0};

    for (int32_t i = 0; i < BIASES; i++)
        biases[i] = (um_logit_edit){.token = 10000 + i, .bias = 1, .repetition = 1};
    for (int32_t i = 0; i < ROWS / 2; i++)
        prompt[i] = 20000 + i;
    for (int32_t i = 0; i < UM_STOP_TOKENS_MAX; i++)
        stop_tokens[i] = 30000 + i;
    UM_CHECK_OK(um_canvas_init(&canvas, &submission.params, &facts, &submission, &err), err);
    for (int32_t i = 0; i < ROWS / 2; i++) {
        canvas.tokens[ROWS / 2 + i] = i < UM_STOP_TOKENS_MAX ? stop_tokens[i] : 40000 + i;
        canvas.masked[ROWS / 2 + i] = 0;
    }
    UM_CHECK_OK(um_edits_create(&submission, ends, 2, 100000, &edits, &err), err);
    runs = um_edits_write(edits, &canvas, true, out);
    /* every bias, every row, and the bans beside: the canvas holds the stop tokens as well */
    UM_CHECK_INT(runs.count, BIASES + ROWS + UM_STOP_TOKENS_MAX + 2);
    UM_CHECK(runs.count <= um_edits_max(ROWS, 1));
    um_edits_destroy(edits);
    um_canvas_deinit(&canvas);
}

static void running_out_of_memory_is_an_error_without_leaks(void)
{
    um_submission submission = {.params = {.canvas_tokens = 4, .presence_penalty = 1}};
    um_status status = UM_E_NOMEM;
    um_edits *edits = NULL;
    int failures = 0;

    for (long n = 1; status != UM_OK; n++) {
        um_mem_fail_after(n);
        status = um_edits_create(&submission, ends, 2, MASK, &edits, NULL);
        if (status != UM_OK) {
            UM_CHECK_STATUS(status, UM_E_NOMEM);
            UM_CHECK(edits == NULL);
            failures++;
        }
    }
    um_mem_fail_after(0);
    UM_CHECK_INT(failures, 3);
    um_edits_destroy(edits);
}

static const um_test tests[] = {
    UM_TEST(edits_are_what_the_rules_say_of_every_token),
    UM_TEST(nothing_is_made_where_nothing_is_changed),
    UM_TEST(the_bound_holds_for_the_most_edits),
    UM_TEST(running_out_of_memory_is_an_error_without_leaks),
};
UM_TEST_MAIN(tests)
