/*
 * Generation on the hash-defined tiny checkpoint against published vectors: tokens and numbers of
 * forwards that the authors' own code gives (ML-GSAI/LLaDA generate.py, NVlabs/Fast-dLLM
 * llada/generate.py) for the weights of tests/support/tiny_checkpoint.h. They are run with
 * reference_quirks, because that code may predict MASK; on every backend and instruction set of
 * this machine; alone, and all together in shared steps.
 */
#include "tests/test.h"

#include "core/base/mem.h"
#include "tests/support/levels.h"
#include "tests/support/tiny_engine.h"

typedef struct golden_case {
    const char *name;
    int32_t kv_heads;
    int32_t prompt[4];
    int32_t prompt_tokens;
    int32_t length, steps, block;
    double cfg_scale;
    um_eos_rule eos_rule;
    double threshold, factor; /* 0: not given */
    int32_t tokens[12];       /* [length] */
    int32_t forwards;
} golden_case;

#define P4 .prompt = {1, 2, 3, 4}, .prompt_tokens = 4, .length = 8
#define P2(a, b) .prompt = {a, b}, .prompt_tokens = 2, .length = 6, .steps = 6, .block = 6

static const golden_case cases[] = {
    /* LLaDA: steps, block, option */
    {"8,8 kv4", 4, P4, .steps = 8, .block = 8, .tokens = {29, 29, 29, 2, 38, 2, 1, 29},
     .forwards = 8},
    {"8,8 kv2", 2, P4, .steps = 8, .block = 8, .tokens = {28, 4, 4, 29, 29, 28, 28, 28},
     .forwards = 8},
    {"8,4 kv4", 4, P4, .steps = 8, .block = 4, .tokens = {29, 29, 29, 33, 13, 2, 21, 4},
     .forwards = 8},
    {"8,4 kv2", 2, P4, .steps = 8, .block = 4, .tokens = {28, 28, 28, 29, 28, 17, 28, 4},
     .forwards = 8},
    {"4,4 kv4", 4, P4, .steps = 4, .block = 4, .tokens = {29, 29, 29, 20, 38, 1, 17, 4},
     .forwards = 4},
    {"4,4 kv2", 2, P4, .steps = 4, .block = 4, .tokens = {28, 28, 29, 29, 28, 28, 28, 4},
     .forwards = 4},
    {"3,8 kv4", 4, P4, .steps = 3, .block = 8, .tokens = {29, 29, 29, 29, 38, 2, 1, 29},
     .forwards = 3},
    {"3,8 kv2", 2, P4, .steps = 3, .block = 8, .tokens = {28, 28, 33, 29, 29, 28, 28, 28},
     .forwards = 3},
    {"cfg 1 kv4", 4, P4, .steps = 8, .block = 8, .cfg_scale = 1,
     .tokens = {29, 39, 29, 4, 29, 5, 38, 29}, .forwards = 8},
    {"cfg 1 kv2", 2, P4, .steps = 8, .block = 8, .cfg_scale = 1,
     .tokens = {4, 17, 17, 29, 17, 17, 4, 28}, .forwards = 8},
    {"logits_eos kv4", 4, P4, .steps = 8, .block = 8, .eos_rule = UM_EOS_LOGITS,
     .tokens = {29, 29, 29, 2, 38, 2, 1, 29}, .forwards = 8},
    {"logits_eos kv2", 2, P4, .steps = 8, .block = 8, .eos_rule = UM_EOS_LOGITS,
     .tokens = {28, 4, 4, 29, 29, 28, 28, 28}, .forwards = 8},
    /* EOS options */
    {"3 26 none", 4, P2(3, 26), .tokens = {4, 28, 35, 25, 20, 27}, .forwards = 6},
    {"3 26 confidence", 4, P2(3, 26), .eos_rule = UM_EOS_CONFIDENCE,
     .tokens = {4, 28, 33, 25, 20, 27}, .forwards = 6},
    {"3 26 logits", 4, P2(3, 26), .eos_rule = UM_EOS_LOGITS, .tokens = {4, 28, 21, 25, 20, 27},
     .forwards = 6},
    {"8 12 none", 4, P2(8, 12), .tokens = {39, 27, 27, 35, 23, 32}, .forwards = 6},
    {"8 12 confidence", 4, P2(8, 12), .eos_rule = UM_EOS_CONFIDENCE,
     .tokens = {27, 27, 27, 17, 30, 32}, .forwards = 6},
    {"8 12 logits", 4, P2(8, 12), .eos_rule = UM_EOS_LOGITS, .tokens = {17, 27, 27, 27, 17, 32},
     .forwards = 6},
    {"16 16 none", 4, P2(16, 16), .tokens = {35, 29, 29, 19, 26, 6}, .forwards = 6},
    /* ties at confidence 0: the lowest position first */
    {"16 16 confidence", 4, P2(16, 16), .eos_rule = UM_EOS_CONFIDENCE,
     .tokens = {29, 35, 19, 26, 26, 28}, .forwards = 6},
    {"16 16 logits", 4, P2(16, 16), .eos_rule = UM_EOS_LOGITS, .tokens = {29, 21, 19, 16, 26, 28},
     .forwards = 6},
    /* Fast-dLLM without a cache */
    {"tau 0.9", 4, P4, .steps = 8, .block = 4, .threshold = 0.9,
     .tokens = {29, 29, 29, 33, 13, 2, 21, 4}, .forwards = 8},
    {"tau 0.5", 4, P4, .steps = 8, .block = 4, .threshold = 0.5,
     .tokens = {29, 29, 29, 33, 13, 2, 21, 4}, .forwards = 8},
    {"tau 0.3", 4, P4, .steps = 8, .block = 4, .threshold = 0.3,
     .tokens = {29, 29, 29, 33, 13, 2, 21, 4}, .forwards = 7},
    {"tau 0.2", 4, P4, .steps = 8, .block = 4, .threshold = 0.2,
     .tokens = {29, 29, 29, 33, 13, 2, 21, 4}, .forwards = 5},
    {"factor 0.5", 4, P4, .steps = 8, .block = 4, .factor = 0.5,
     .tokens = {29, 29, 29, 20, 38, 1, 17, 4}, .forwards = 6},
    {"factor 1", 4, P4, .steps = 8, .block = 4, .factor = 1,
     .tokens = {29, 29, 29, 20, 38, 1, 17, 4}, .forwards = 6},
    {"factor 2", 4, P4, .steps = 8, .block = 4, .factor = 2,
     .tokens = {29, 29, 29, 20, 38, 1, 17, 4}, .forwards = 4},
    {"0 1 quota", 4, .prompt = {0, 1}, .prompt_tokens = 2, .length = 12, .steps = 12, .block = 4,
     .tokens = {17, 6, 6, 29, 29, 29, 17, 6, 13, 29, 29, 29}, .forwards = 12},
    {"0 1 tau 0.3", 4, .prompt = {0, 1}, .prompt_tokens = 2, .length = 12, .steps = 12, .block = 4,
     .threshold = 0.3, .tokens = {6, 6, 29, 29, 29, 20, 15, 17, 36, 29, 29, 29}, .forwards = 10},
};
#define CASES ((int32_t)UM_COUNT_OF(cases))

static const char *isa_of(const um_backend_options *at)
{
    return at->isa ? at->isa : "";
}

static um_tiny_request request_of(const golden_case *c)
{
    return (um_tiny_request){
        .prompt = c->prompt,
        .prompt_tokens = c->prompt_tokens,
        .given = {.has_max_tokens = true,
                  .max_tokens = c->length,
                  .has_temperature = true,
                  .has_steps = true,
                  .steps = c->steps,
                  .has_block_length = true,
                  .block_length = c->block,
                  .has_cfg_scale = true,
                  .cfg_scale = c->cfg_scale,
                  .has_eos_rule = true,
                  .eos_rule = c->eos_rule,
                  .has_threshold = c->threshold > 0,
                  .threshold = c->threshold,
                  .has_factor = c->factor > 0,
                  .factor = c->factor,
                  .has_early_stop = true,
                  .has_reference_quirks = true,
                  .reference_quirks = true},
    };
}

static bool open_level(um_tiny_engine *tiny, const um_backend_options *at, int32_t kv_heads)
{
    um_tiny_engine_options options = {
        .backend = *at,
        .precision = UM_PRECISION_F32,
        .checkpoint = {.kv_heads = kv_heads},
        .batch_max = CASES,
        .rows_per_step = 4096,
    };
    bool opened = um_tiny_engine_open(tiny, &options);

    if (!opened)
        printf("    not on this machine: %s %s\n", at->name, isa_of(at));
    return opened;
}

static void check_result(const golden_case *c, const um_backend_options *at,
                         const um_tiny_result *result)
{
    um_test_count();
    if (!result || result->status != UM_OK) {
        um_test_fail(__FILE__, __LINE__, "%s (%s): no result", c->name, at->name);
        return;
    }
    if (result->usage.steps != c->forwards)
        um_test_fail(__FILE__, __LINE__, "%s (%s %s): %d forwards, expected %d", c->name, at->name,
                     isa_of(at), result->usage.steps, c->forwards);
    for (int32_t i = 0; i < c->length; i++)
        if (result->tokens[i] != c->tokens[i])
            um_test_fail(__FILE__, __LINE__, "%s (%s %s): token %d is %d, expected %d", c->name,
                         at->name, isa_of(at), i, result->tokens[i], c->tokens[i]);
}

static void run_alone(um_tiny_engine *tiny, const um_backend_options *at, int32_t kv_heads)
{
    for (int32_t i = 0; i < CASES; i++) {
        um_tiny_request request = request_of(&cases[i]);
        uint64_t id;

        if (cases[i].kv_heads != kv_heads)
            continue;
        id = um_tiny_engine_submit(tiny, &request);
        while (um_tiny_engine_turn(tiny))
            UM_CHECK_INT(tiny->step_requests, 1);
        check_result(&cases[i], at, um_tiny_engine_result(tiny, id));
    }
}

/* All at once; the first step holds every case. */
static void run_together(um_tiny_engine *tiny, const um_backend_options *at, int32_t kv_heads)
{
    uint64_t ids[UM_COUNT_OF(cases)];
    int32_t submitted = 0, most = 0;

    for (int32_t i = 0; i < CASES; i++) {
        um_tiny_request request = request_of(&cases[i]);

        if (cases[i].kv_heads != kv_heads)
            continue;
        ids[i] = um_tiny_engine_submit(tiny, &request);
        submitted++;
    }
    while (um_tiny_engine_turn(tiny))
        most = tiny->step_requests > most ? tiny->step_requests : most;
    UM_CHECK_INT(most, submitted);
    for (int32_t i = 0; i < CASES; i++)
        if (cases[i].kv_heads == kv_heads)
            check_result(&cases[i], at, um_tiny_engine_result(tiny, ids[i]));
}

static void run_everywhere(void (*run)(um_tiny_engine *, const um_backend_options *, int32_t))
{
    static const int32_t variants[] = {4, 2};
    um_tiny_engine tiny;

    for (size_t i = 0; i < UM_COUNT_OF(um_test_levels); i++) {
        for (size_t v = 0; v < UM_COUNT_OF(variants); v++) {
            if (!open_level(&tiny, &um_test_levels[i], variants[v]))
                continue;
            run(&tiny, &um_test_levels[i], variants[v]);
            um_tiny_engine_close(&tiny);
        }
    }
}

static void every_vector_alone(void)
{
    run_everywhere(run_alone);
}

static void every_vector_in_shared_steps(void)
{
    run_everywhere(run_together);
}

/* A plan that scores every row of the first canvas, prompt included. */
static void plan_first_canvas(um_plan *plan)
{
    static const int32_t prompt[] = {1, 2, 3, 4};
    const int32_t rows = 12;

    for (int32_t i = 0; i < rows; i++) {
        plan->ids[i] = i < 4 ? prompt[i] : UM_TINY_MASK;
        plan->positions[i] = i;
        plan->gather[i] = i;
        plan->conditional[i] = i;
        plan->unconditional[i] = -1;
        plan->score_rows[i] =
            (um_score_row){.position = i, .masked = 1}; /* prompt rows count too */
    }
    plan->cu_seqlens[1] = rows;
    plan->row_count = plan->hidden_count = plan->score_count = rows;
    plan->sequence_count = plan->request_count = plan->rule_count = 1;
    plan->score_rules[0] =
        (um_score_rule){.top_p = 1.0f, .banned = {-1, -1}, .uncounted = {-1, -1}};
    plan->select_rules[0] = (um_select_rule){.rows = rows, .kind = UM_SELECT_COUNT, .count = rows};
}

static void the_first_canvas_has_the_published_confidences(void)
{
    static const double confidences[] = {.555601, .266632, .372882, .325811, .422485, .475970,
                                         .272213, .158776, .248804, .146810, .384472, .474122};
    static const int32_t tokens[] = {4, 13, 5, 29, 29, 29, 29, 20, 20, 38, 29, 29};
    um_tiny_engine tiny;
    um_plan *plan = NULL;
    um_step_result *result = NULL;
    um_err err = {0};

    for (size_t i = 0; i < UM_COUNT_OF(um_test_levels); i++) {
        if (!open_level(&tiny, &um_test_levels[i], 4))
            continue;
        UM_CHECK_OK(um_plan_create(&tiny.plan_limits, &plan, &err), err);
        UM_CHECK_OK(um_step_result_create(&tiny.plan_limits, &result, &err), err);
        plan_first_canvas(plan);
        UM_CHECK_OK(um_step_run(tiny.step, plan, result, &err), err);
        UM_CHECK_INT(result->counts[0], 12);
        for (int32_t k = 0; k < 12; k++) {
            UM_CHECK_INT(result->commits[k].position, k);
            UM_CHECK_INT(result->commits[k].token, tokens[k]);
            /* printed with six digits; observed 5e-7, which is their rounding */
            UM_CHECK_NEAR(result->commits[k].confidence, confidences[k], 2e-6);
        }
        um_step_result_destroy(result);
        um_plan_destroy(plan);
        um_tiny_engine_close(&tiny);
    }
}

/* Runs select on one row of confidences. Returns how many were committed. */
static int32_t count_selected(um_backend *backend, const float *confidences, int32_t rows,
                              um_select_rule rule)
{
    const um_score_row score_rows[4] = {{0, 0, 1}, {1, 0, 1}, {2, 0, 1}, {3, 0, 1}};
    const int32_t tokens[4] = {5, 6, 7, 8};
    um_tensor device[6] = {0};
    const struct {
        um_dtype dtype;
        int64_t count;
        const void *from; /* NULL: an output */
    } parts[6] = {
        {UM_I32, rows, tokens},
        {UM_F32, rows, confidences},
        {UM_BYTES, rows * (int64_t)sizeof(*score_rows), score_rows},
        {UM_BYTES, (int64_t)sizeof(rule), &rule},
        {UM_BYTES, rows * (int64_t)sizeof(um_commit), NULL},
        {UM_I32, 1, NULL},
    };
    um_select_args args = {&device[0], &device[1], &device[2], &device[3],
                           1,          &device[4], &device[5]};
    int32_t count = -1;
    um_err err = {0};

    for (int i = 0; i < 6; i++) {
        UM_CHECK_OK(um_tensor_create(backend, parts[i].dtype, 1, parts[i].count, &device[i], &err),
                    err);
        if (parts[i].from)
            UM_CHECK_OK(um_tensor_upload(backend, &device[i], parts[i].from, parts[i].count, &err),
                        err);
    }
    UM_CHECK_OK(um_op_select(backend, &args, &err), err);
    UM_CHECK_OK(um_tensor_download(backend, &device[5], &count, 1, &err), err);
    for (int i = 0; i < 6; i++)
        um_tensor_destroy(backend, &device[i]);
    return count;
}

static void threshold_and_factor_commit_what_fast_dllm_commits(void)
{
    static const struct {
        float confidences[4];
        int32_t rows;
        int32_t threshold, factor_quirk, factor; /* expected */
    } table[] = {
        {{.95f, .90f, .60f, .30f}, 4, 2, 2, 2},
        {{.95f, .90f, .80f, .30f}, 4, 2, 4, 3},
        {{.50f, .50f}, 2, 1, 2, 1},
        {{.10f}, 1, 1, 1, 1},
    };
    um_tiny_engine tiny;

    for (size_t i = 0; i < UM_COUNT_OF(um_test_levels); i++) {
        if (!open_level(&tiny, &um_test_levels[i], 4))
            continue;
        for (size_t k = 0; k < UM_COUNT_OF(table); k++) {
            um_select_rule rule = {
                .rows = table[k].rows, .count = 1, .threshold = .9f, .factor = 1};

            rule.kind = UM_SELECT_THRESHOLD;
            UM_CHECK_INT(count_selected(tiny.backend, table[k].confidences, table[k].rows, rule),
                         table[k].threshold);
            rule.kind = UM_SELECT_FACTOR;
            UM_CHECK_INT(count_selected(tiny.backend, table[k].confidences, table[k].rows, rule),
                         table[k].factor);
            rule.factor_quirk = 1;
            UM_CHECK_INT(count_selected(tiny.backend, table[k].confidences, table[k].rows, rule),
                         table[k].factor_quirk);
        }
        um_tiny_engine_close(&tiny);
    }
}

/* What a checkpoint that loves MASK gives. `quirks`: it may be predicted. */
static um_tiny_result run_mask_lover(const char *algorithm, bool quirks)
{
    static const int32_t prompt[] = {1, 2, 3, 4};
    um_tiny_engine_options options = {
        .backend = {.name = "ref"},
        .precision = UM_PRECISION_F32,
        .checkpoint = {.kv_heads = 4, .mask_head_scale = 40},
        .batch_max = 1,
        .rows_per_step = 64,
    };
    um_tiny_request request = {
        .prompt = prompt,
        .prompt_tokens = 4,
        .given = {.has_max_tokens = true,
                  .max_tokens = 16,
                  .has_block_length = true,
                  .block_length = 8,
                  .algorithm = algorithm,
                  .has_early_stop = true,
                  .has_reference_quirks = true,
                  .reference_quirks = quirks},
    };
    um_tiny_engine tiny;
    um_tiny_result result = {0};
    uint64_t id;
    int turns = 0;

    UM_CHECK(um_tiny_engine_open(&tiny, &options));
    id = um_tiny_engine_submit(&tiny, &request);
    while (um_tiny_engine_turn(&tiny) && turns < 1000)
        turns++;
    UM_CHECK(um_tiny_engine_result(&tiny, id) != NULL);
    if (um_tiny_engine_result(&tiny, id))
        result = *um_tiny_engine_result(&tiny, id);
    um_tiny_engine_close(&tiny);
    return result;
}

static int32_t count_masks(const um_tiny_result *result)
{
    int32_t masks = 0;

    for (int32_t i = 0; i < 16; i++)
        masks += result->tokens[i] == UM_TINY_MASK;
    return masks;
}

static void a_model_that_predicts_mask_still_ends(void)
{
    um_tiny_result guarded = run_mask_lover("low_confidence", false);
    um_tiny_result strict = run_mask_lover("low_confidence", true);
    um_tiny_result guarded_threshold = run_mask_lover("threshold", false);
    um_tiny_result strict_threshold = run_mask_lover("threshold", true);

    UM_CHECK_INT(count_masks(&guarded), 0);
    UM_CHECK_INT(guarded.usage.steps, 16);
    UM_CHECK(count_masks(&strict) > 0); /* survives, as in the authors' code */
    UM_CHECK_INT(strict.usage.steps, 16);
    UM_CHECK_INT(count_masks(&guarded_threshold), 0);
    /* the authors' loop would not end; ours guards a block after block_length forwards */
    UM_CHECK_INT(count_masks(&strict_threshold), 0);
    UM_CHECK(strict_threshold.usage.steps > 8);
}

static void an_empty_prompt_ends_too(void)
{
    um_tiny_engine_options options = {
        .backend = {.name = "ref"},
        .precision = UM_PRECISION_F32,
        .batch_max = 1,
        .rows_per_step = 64,
    };
    um_tiny_request request = {.given = {.has_max_tokens = true, .max_tokens = 8}};
    um_tiny_engine tiny;
    uint64_t id;

    UM_CHECK(um_tiny_engine_open(&tiny, &options));
    id = um_tiny_engine_submit(&tiny, &request);
    while (um_tiny_engine_turn(&tiny))
        continue;
    UM_CHECK(um_tiny_engine_result(&tiny, id) != NULL);
    um_tiny_engine_close(&tiny);
}

/* Stopping when nothing that shows can change any more gives the text of the whole run, sooner. */
static void an_early_end_changes_no_text(void)
{
    um_tiny_engine_options options = {
        .backend = {.name = "ref"},
        .precision = UM_PRECISION_F32,
        .batch_max = 2,
        .rows_per_step = 256,
    };
    um_tiny_engine tiny;
    int32_t ended = 0, sooner = 0;

    UM_CHECK(um_tiny_engine_open(&tiny, &options));
    for (int32_t i = 0; i < 200; i++) {
        const int32_t prompt[] = {i % 35, i / 35 + 3};
        um_tiny_request request = {
            .prompt = prompt,
            .prompt_tokens = 2,
            .given = {.has_max_tokens = true,
                      .max_tokens = 21,
                      .has_block_length = true,
                      .block_length = 4,
                      .has_temperature = true,
                      .temperature = 1,
                      .has_seed = true,
                      .seed = i,
                      .has_early_stop = true},
        };
        uint64_t whole = um_tiny_engine_submit(&tiny, &request), early;
        const um_tiny_result *a, *b;

        request.given.early_stop = true;
        early = um_tiny_engine_submit(&tiny, &request);
        while (um_tiny_engine_turn(&tiny))
            continue;
        a = um_tiny_engine_result(&tiny, whole);
        b = um_tiny_engine_result(&tiny, early);
        UM_CHECK_STR(b->text, a->text);
        UM_CHECK_INT(b->finish, a->finish);
        UM_CHECK_INT(b->usage.completion_tokens, a->usage.completion_tokens);
        UM_CHECK_INT(a->usage.steps, 24);
        ended += a->finish == UM_FINISH_STOP;
        sooner += b->usage.steps < a->usage.steps;
    }
    printf("    %d of 200 met an end token, %d ended sooner\n", ended, sooner);
    UM_CHECK(ended > 20 && sooner > 100);
    um_tiny_engine_close(&tiny);
}

static void running_out_of_memory_for_a_step_is_an_error_without_leaks(void)
{
    um_status status = UM_E_NOMEM;
    um_step *step = NULL;
    um_tiny_engine tiny;
    int failures = 0;

    UM_CHECK(open_level(&tiny, &um_test_levels[0], 4));
    for (long n = 1; status != UM_OK; n++) {
        um_mem_fail_after(n);
        status = um_step_create(tiny.model, &tiny.plan_limits, &step, NULL);
        if (status != UM_OK) {
            UM_CHECK_STATUS(status, UM_E_NOMEM);
            UM_CHECK(step == NULL);
            failures++;
        }
    }
    um_mem_fail_after(0);
    UM_CHECK_INT(failures, 7); /* the step and its six arrays */
    um_step_destroy(step);
    um_tiny_engine_close(&tiny);
}

/* After the engine is made, neither turns nor the backend under them allocate. */
static void a_turn_on_a_real_model_allocates_nothing(void)
{
    um_tiny_engine tiny;

    for (size_t i = 0; i < UM_COUNT_OF(um_test_levels); i++) {
        if (!open_level(&tiny, &um_test_levels[i], 4))
            continue;
        for (int32_t k = 0; k < CASES; k++) {
            um_tiny_request request = request_of(&cases[k]);

            um_tiny_engine_submit(&tiny, &request);
        }
        for (bool busy = true; busy;) {
            um_mem_fail_after(1);
            busy = um_engine_turn(tiny.engine) == UM_OK;
            UM_CHECK(um_mem_fail_pending());
            um_mem_fail_after(0);
        }
        um_tiny_engine_close(&tiny);
    }
}

static const um_test tests[] = {
    UM_TEST(every_vector_alone),
    UM_TEST(every_vector_in_shared_steps),
    UM_TEST(the_first_canvas_has_the_published_confidences),
    UM_TEST(threshold_and_factor_commit_what_fast_dllm_commits),
    UM_TEST(a_model_that_predicts_mask_still_ends),
    UM_TEST(an_empty_prompt_ends_too),
    UM_TEST(an_early_end_changes_no_text),
    UM_TEST(running_out_of_memory_for_a_step_is_an_error_without_leaks),
    UM_TEST(a_turn_on_a_real_model_allocates_nothing),
};
UM_TEST_MAIN(tests)
