/*
 * What a step is told and what it answers, on the tiny checkpoint: every step of shared runs is
 * computed again from the plan's own rows. The plain logits come from the forward and the head;
 * edits, log-probabilities and guesses from there on by dense loops over the vocabulary.
 */
#include "tests/test.h"

#include <stdlib.h>

#include "core/base/mem.h"
#include "tests/support/random.h"
#include "tests/support/tiny_engine.h"

#define VOCAB UM_TINY_VOCAB
#define ROWS_MAX 256
#define REQUESTS 24
#define PROMPT_MAX 6
#define PLACES UM_TINY_CANVAS_MAX

/* A request and what was computed for it; requests are told apart by their seeds. */
typedef struct subject {
    um_tiny_request request;
    int32_t prompt[PROMPT_MAX];
    uint64_t id;
    double logprobs[PLACES][VOCAB];  /* plain, in the step that filled the place */
    int32_t order[PLACES][VOCAB];    /* ids, likeliest first */
    um_draft_change guesses[PLACES]; /* of its last step */
    int32_t guess_count;
    int32_t last_step;
} subject;

typedef struct scene {
    um_tiny_engine tiny;
    subject subjects[REQUESTS];
    int32_t count;
    float logits[ROWS_MAX][VOCAB];
    int32_t edited_commits; /* whose token is not that of the plain logits */
    double worst;           /* difference of a log-probability */
    int32_t guesses;
} scene;

static scene s;

/* ---- the reference ----------------------------------------------------------------------------- */

static void *room(size_t count, size_t size)
{
    void *memory = calloc(count, size);

    if (!memory)
        abort();
    return memory;
}

/* Plain logits of every score row, by the forward and the head without edits. */
static void compute_logits(const um_plan *plan)
{
    const um_model_config *config = &um_model_get_info(s.tiny.model)->config;
    um_dtype precision = um_model_get_info(s.tiny.model)->precision;
    um_score_rule plain = {.top_p = 1, .banned = {-1, -1}, .uncounted = {-1, -1}};
    int32_t rows = plan->score_count;
    float *hidden_data = room((size_t)plan->hidden_count * (size_t)config->width, sizeof(float));
    float *mixed_data = room((size_t)rows * (size_t)config->width, sizeof(float));
    um_score_row *score_rows = room((size_t)rows, sizeof(*score_rows));
    int32_t tokens_data[ROWS_MAX];
    float confidences_data[ROWS_MAX];
    um_tensor ids = um_tensor_host(UM_I32, 1, plan->row_count, plan->ids);
    um_tensor positions = um_tensor_host(UM_I32, 1, plan->row_count, plan->positions);
    um_tensor gather = um_tensor_host(UM_I32, 1, plan->hidden_count, plan->gather);
    um_tensor hidden = um_tensor_host(UM_F32, plan->hidden_count, config->width, hidden_data);
    um_tensor mixed = um_tensor_host(precision, rows, config->width, mixed_data);
    um_tensor conditional = um_tensor_host(UM_I32, 1, rows, plan->conditional);
    um_tensor unconditional = um_tensor_host(UM_I32, 1, rows, plan->unconditional);
    um_tensor guidance = um_tensor_host(UM_F32, 1, rows, plan->guidance);
    um_tensor at = um_tensor_host(UM_BYTES, 1, rows * (int64_t)sizeof(*score_rows), score_rows);
    um_tensor rules = um_tensor_host(UM_BYTES, 1, sizeof(plain), &plain);
    um_tensor tokens = um_tensor_host(UM_I32, 1, rows, tokens_data);
    um_tensor confidences = um_tensor_host(UM_F32, 1, rows, confidences_data);
    um_tensor logits = um_tensor_host(UM_F32, rows, VOCAB, s.logits);
    um_err err = {0};

    UM_CHECK_OK(um_model_forward(s.tiny.model,
                                 &(um_forward_args){.ids = &ids,
                                                    .positions = &positions,
                                                    .cu_seqlens = plan->cu_seqlens,
                                                    .sequence_count = plan->sequence_count,
                                                    .gather = &gather,
                                                    .hidden = &hidden},
                                 &err),
                err);
    UM_CHECK_OK(um_op_mix(s.tiny.backend,
                          &(um_mix_args){.x = &hidden,
                                         .conditional = &conditional,
                                         .unconditional = &unconditional,
                                         .scales = &guidance,
                                         .out = &mixed},
                          &err),
                err);
    UM_CHECK_OK(um_op_score(s.tiny.backend,
                            &(um_score_args){.hidden = &mixed,
                                             .head = um_model_head(s.tiny.model),
                                             .scale = config->logit_scale,
                                             .vocab = VOCAB,
                                             .score_rows = &at,
                                             .rules = &rules,
                                             .rule_count = 1,
                                             .tokens = &tokens,
                                             .confidences = &confidences,
                                             .logits = &logits},
                            &err),
                err);
    free(score_rows);
    free(mixed_data);
    free(hidden_data);
}

static void log_softmax(const float *logits, double *out)
{
    double max = -HUGE_VAL, sum = 0;

    for (int32_t v = 0; v < VOCAB; v++)
        max = fmax(max, (double)logits[v]);
    for (int32_t v = 0; v < VOCAB; v++)
        sum += exp((double)logits[v] - max);
    for (int32_t v = 0; v < VOCAB; v++)
        out[v] = (double)logits[v] - max - log(sum);
}

static void sort_ids(const float *logits, int32_t *order)
{
    for (int32_t i = 0; i < VOCAB; i++) {
        int32_t at = i;

        for (; at > 0 && logits[order[at - 1]] < logits[i]; at--)
            order[at] = order[at - 1];
        order[at] = i;
    }
}

static bool is_end(const subject *x, int32_t token)
{
    return token == UM_TINY_END || token == UM_TINY_TURN ||
           (x->request.stop_token && token == x->request.stop_token);
}

/* The rules' own words, for one token of the row that predicts `place`; `row` is the request's. */
static float edited_logit(const subject *x, const um_params *params, const int32_t *row,
                          int32_t token, int32_t place, float logit)
{
    int32_t prompt = x->request.prompt_tokens, count = 0;
    bool around = false;
    float bias = 0;

    if (token == UM_TINY_MASK)
        return -INFINITY;
    for (int32_t i = 0; i < prompt; i++)
        around = around || row[i] == token;
    for (int32_t i = 0; i < params->canvas_tokens; i++)
        count += row[prompt + i] == token;
    for (int32_t i = 0; i < x->request.bias_count; i++)
        if (x->request.biases[i].token == token)
            bias = x->request.biases[i].bias;
    if (place < params->min_tokens && is_end(x, token))
        return -INFINITY;
    if (params->ignore_eos && token != x->request.stop_token && is_end(x, token))
        return -INFINITY;
    if (params->repetition_penalty > 0 && (around || count > 0))
        logit = logit > 0 ? logit / params->repetition_penalty : logit * params->repetition_penalty;
    bias -= (float)count * params->frequency_penalty + (count > 0 ? params->presence_penalty : 0);
    return logit + bias;
}

static void check_commit(subject *x, const um_params *params, const int32_t *row,
                         const um_commit *commit, int32_t score_row)
{
    const float *logits = s.logits[score_row];
    int32_t place = commit->position - x->request.prompt_tokens, best = -1;
    float best_logit = -INFINITY;

    for (int32_t v = 0; v < VOCAB; v++) {
        float l = edited_logit(x, params, row, v, place, logits[v]);

        if (l > best_logit) {
            best = v;
            best_logit = l;
        }
    }
    UM_CHECK_INT(commit->token, best);
    UM_CHECK(place >= 0 && place < params->canvas_tokens);
    log_softmax(logits, x->logprobs[place]);
    sort_ids(logits, x->order[place]);
    s.edited_commits += commit->token != x->order[place][0];
}

static void note_guess(subject *x, int32_t position, int32_t score_row)
{
    double logprobs[VOCAB];
    int32_t place = position - x->request.prompt_tokens, best = -1;
    float best_logit = -INFINITY;

    log_softmax(s.logits[score_row], logprobs);
    for (int32_t v = 0; v < VOCAB; v++)
        if (v != UM_TINY_MASK && s.logits[score_row][v] > best_logit) {
            best = v;
            best_logit = s.logits[score_row][v];
        }
    x->guesses[x->guess_count++] = (um_draft_change){
        .position = place, .token = best, .confidence = (float)exp(logprobs[best])};
}

static void watch(void *context, const um_plan *plan, const um_step_result *result)
{
    int32_t sequence = 0;

    (void)context;
    UM_CHECK(plan->score_count <= ROWS_MAX);
    compute_logits(plan);
    for (int32_t i = 0; i < plan->request_count; i++) {
        const um_select_rule *rule = &plan->select_rules[i];
        subject *x = &s.subjects[rule->seed];
        um_params params = um_tiny_engine_params(&s.tiny, &x->request);
        const int32_t *row = plan->ids + plan->cu_seqlens[sequence];
        int32_t next = 0;

        x->guess_count = 0;
        for (int32_t k = rule->first; k < rule->first + rule->rows; k++) {
            const um_commit *commit = &result->commits[rule->first + next];

            if (next < result->counts[i] && commit->position == plan->score_rows[k].position) {
                check_commit(x, &params, row, commit, k);
                next++;
            } else if (x->request.want_draft) {
                note_guess(x, plan->score_rows[k].position, k);
            }
        }
        UM_CHECK_INT(next, result->counts[i]);
        sequence += params.cfg_scale > 0 ? 2 : 1;
    }
}

/* ---- requests ---------------------------------------------------------------------------------- */

/* Greedy, so that a dense loop can say which token wins. */
static void draw_subject(subject *x, int32_t index, uint64_t *random)
{
    um_params_given *given = &x->request.given;

    *x = (subject){
        .request = {.prompt = x->prompt, .prompt_tokens = um_test_pick(random, 1, PROMPT_MAX)}};
    for (int32_t i = 0; i < x->request.prompt_tokens; i++)
        x->prompt[i] = um_test_pick(random, 0, 34);
    *given = (um_params_given){
        .has_max_tokens = true,
        .max_tokens = um_test_pick(random, 4, 20),
        .has_temperature = true,
        .has_seed = true,
        .seed = index,
        .has_block_length = true,
        .block_length = um_test_pick(random, 3, 10),
        .has_steps_per_block = true,
        .steps_per_block = um_test_pick(random, 2, 6),
        .has_cfg_scale = true,
        .cfg_scale = index % 5 == 0 ? 1.5 : 0,
        .has_frequency_penalty = index % 3 == 0,
        .frequency_penalty = um_test_pick(random, -2, 8) / 4.0,
        .has_presence_penalty = index % 4 == 0,
        .presence_penalty = um_test_pick(random, -2, 8) / 4.0,
        .has_repetition_penalty = index % 4 == 1,
        .repetition_penalty = um_test_pick(random, 2, 12) / 4.0,
        .has_min_tokens = index % 3 == 1,
        .min_tokens = um_test_pick(random, 1, 4),
        .ignore_eos = index % 6 == 5,
        .wants_logprobs = index % 2 == 0,
        .top_logprobs = index % 2 == 0 ? um_test_pick(random, 0, UM_LOGPROBS_MAX) : 0,
    };
    x->request.want_draft = index % 6 == 1 || index % 6 == 3;
    if (x->request.want_draft) /* a guess is told from the plain logits below */
        given->has_frequency_penalty = given->has_presence_penalty = given->has_repetition_penalty =
            given->has_min_tokens = given->ignore_eos = false;
    if (x->request.want_draft)
        return;
    x->request.stop_token = index % 4 == 2 ? um_test_pick(random, 1, 34) : 0;
    x->request.bias_count = um_test_pick(random, 0, UM_TINY_BIASES_MAX);
    for (int32_t i = 0; i < x->request.bias_count; i++)
        x->request.biases[i] = (um_logit_edit){.token = 9 * i + um_test_pick(random, 0, 8),
                                               .bias = (float)um_test_pick(random, -12, 8),
                                               .repetition = 1};
}

static void check_guesses(const subject *x)
{
    const um_tiny_result *result = um_tiny_engine_progress(&s.tiny, x->id);

    UM_CHECK(!result->draft_differs);
    UM_CHECK_INT(result->guess_count, x->guess_count);
    for (int32_t i = 0; i < x->guess_count; i++) {
        UM_CHECK_INT(result->guesses[i].position, x->guesses[i].position);
        UM_CHECK_INT(result->guesses[i].token, x->guesses[i].token);
        UM_CHECK_NEAR(result->guesses[i].confidence, x->guesses[i].confidence, 1e-5);
        s.guesses++;
    }
}

static void compare(double actual, double expected)
{
    s.worst = fmax(s.worst, fabs(actual - expected));
    /* observed: 1.0e-6 at values of some -5, a few units in the last place of float32 */
    UM_CHECK_NEAR(actual, expected, 5e-6);
}

/* The rows of an ended request against what its steps computed. */
static void check_rows(const subject *x)
{
    const um_tiny_result *result = um_tiny_engine_result(&s.tiny, x->id);
    int32_t width = result->logprob_width, row = 0;

    UM_CHECK_INT(result->status, UM_OK);
    UM_CHECK_INT(width, x->request.given.wants_logprobs ? x->request.given.top_logprobs + 1 : 0);
    if (width == 0) {
        UM_CHECK_INT(result->logprob_rows, 0);
        return;
    }
    UM_CHECK_INT(result->logprob_rows, result->usage.completion_tokens);
    for (int32_t place = 0; row < result->logprob_rows; place++) {
        const um_alternative *entries = result->logprobs + row * width;
        int32_t token = result->tokens[place];

        if (token == UM_TINY_MASK)
            continue;
        UM_CHECK(!is_end(x, token));
        UM_CHECK_INT(entries[0].token, token);
        compare((double)entries[0].logprob, x->logprobs[place][token]);
        for (int32_t i = 1; i < width; i++) {
            UM_CHECK_INT(entries[i].token, x->order[place][i - 1]);
            compare((double)entries[i].logprob, x->logprobs[place][entries[i].token]);
        }
        row++;
    }
}

static void check_text_ends(const subject *x)
{
    const um_tiny_result *result = um_tiny_engine_result(&s.tiny, x->id);

    for (int32_t i = 0; i < result->usage.canvas_tokens; i++) {
        if (x->request.given.has_min_tokens && i < x->request.given.min_tokens)
            UM_CHECK(!is_end(x, result->tokens[i]));
        if (x->request.given.ignore_eos)
            UM_CHECK(result->tokens[i] != UM_TINY_END && result->tokens[i] != UM_TINY_TURN);
    }
}

static void run_scene(const char *backend, um_precision precision)
{
    um_tiny_engine_options options = {.backend = {.name = backend, .threads = 1},
                                      .precision = precision,
                                      .checkpoint = {.kv_heads = 2},
                                      .batch_max = 6,
                                      .rows_per_step = ROWS_MAX};
    uint64_t random = 99;

    s = (scene){0};
    UM_CHECK(um_tiny_engine_open(&s.tiny, &options));
    s.tiny.watch = watch;
    for (int32_t i = 0; i < REQUESTS; i++) {
        draw_subject(&s.subjects[i], i, &random);
        s.subjects[i].id = um_tiny_engine_submit(&s.tiny, &s.subjects[i].request);
    }
    while (um_tiny_engine_turn(&s.tiny))
        for (int32_t i = 0; i < REQUESTS; i++)
            if (s.subjects[i].request.want_draft)
                check_guesses(&s.subjects[i]);
    for (int32_t i = 0; i < REQUESTS; i++) {
        check_rows(&s.subjects[i]);
        check_text_ends(&s.subjects[i]);
    }
    printf("    %s %s: worst log-probability off by %.1e; %d tokens won by edits; %d guesses\n",
           backend, precision == UM_PRECISION_F32 ? "f32" : "bf16", s.worst, s.edited_commits,
           s.guesses);
    UM_CHECK(s.edited_commits > REQUESTS);
    UM_CHECK(s.guesses > REQUESTS);
    um_tiny_engine_close(&s.tiny);
}

static void the_reference_backend(void)
{
    run_scene("ref", UM_PRECISION_F32);
    run_scene("ref", UM_PRECISION_BF16);
}

static void the_cpu_backend(void)
{
    run_scene("cpu", UM_PRECISION_F32);
    run_scene("cpu", UM_PRECISION_BF16);
}

static void more_alternatives_change_none_of_the_others(void)
{
    static um_tiny_result results[UM_LOGPROBS_MAX + 1];
    static const int32_t prompt[] = {3, 1, 4};
    um_tiny_engine_options options = {
        .backend = {.name = "cpu", .threads = 1}, .batch_max = 1, .rows_per_step = ROWS_MAX};
    um_tiny_request request = {.prompt = prompt,
                               .prompt_tokens = 3,
                               .given = {.has_max_tokens = true,
                                         .max_tokens = 12,
                                         .has_seed = true,
                                         .has_temperature = true,
                                         .temperature = 0.7,
                                         .wants_logprobs = true}};

    UM_CHECK(um_tiny_engine_open(&s.tiny, &options));
    for (int32_t top = 0; top <= UM_LOGPROBS_MAX; top++) {
        uint64_t id;

        request.given.top_logprobs = top;
        id = um_tiny_engine_submit(&s.tiny, &request);
        while (um_tiny_engine_turn(&s.tiny))
            continue;
        results[top] = *um_tiny_engine_result(&s.tiny, id);
        UM_CHECK(results[top].logprob_rows > 3);
        UM_CHECK_INT(results[top].logprob_rows, results[0].logprob_rows);
        for (int32_t row = 0; row < results[top].logprob_rows; row++) {
            const um_alternative *now = results[top].logprobs + row * (top + 1);
            const um_alternative *before = results[0].logprobs + row;

            UM_CHECK(memcmp(now, before, sizeof(*now)) == 0);
            before = top > 0 ? results[top - 1].logprobs + row * top : before;
            UM_CHECK(memcmp(now, before, (size_t)(top > 0 ? top : 1) * sizeof(*now)) == 0);
        }
    }
    um_tiny_engine_close(&s.tiny);
}

static const um_test tests[] = {
    UM_TEST(the_reference_backend),
    UM_TEST(the_cpu_backend),
    UM_TEST(more_alternatives_change_none_of_the_others),
};
UM_TEST_MAIN(tests)
