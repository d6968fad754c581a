/*
 * Batch invisibility: a request's tokens, float32 confidences, log-probabilities and drafts are the
 * same bytes whatever shares its steps, in whatever order it came, and on however many threads.
 *
 * A pool of requests (both temperatures, every policy, guidance, EOS rules, stop strings, several
 * lengths; half of them with penalties, biases, a minimum length, log-probabilities or guesses, of
 * the other half nobody wants more than tokens; half of both with gaps, drafts, pins or presets) is
 * first run one by one on one thread. Then random schedules put a handful of them together with
 * random arrivals and cancels, and every request that ends is compared with its run alone, byte for
 * byte. What a step held is counted, so that the test cannot pass by never sharing.
 */
#include "tests/support/random.h"
#include "tests/test.h"

#include "tests/support/tiny_engine.h"

#define POOL 48
#define SCHEDULES (UM_TEST_SANITIZED ? 60 : 2500) /* of each of the four main tests */
#define LEVEL_SCHEDULES (UM_TEST_SANITIZED ? 10 : 150)
#define SHARE_MIN 3 /* requests in a schedule */
#define SHARE_MAX 8
#define ROWS_PER_STEP 128
#define PROMPT_MAX 16

_Static_assert(UM_TEST_SANITIZED || 4 * SCHEDULES >= 10000, "10,000 schedules in all");

typedef struct pool {
    um_tiny_request requests[POOL];
    int32_t prompts[POOL][PROMPT_MAX];
    um_tiny_result alone[POOL];
} pool;

typedef struct counts {
    int32_t schedules;
    int32_t mixed;       /* schedules with a step of >= 3 requests of different lengths */
    int32_t compared[2]; /* results, by temperature 0 and 1 */
    int32_t cancelled;
    int32_t rows;   /* of log-probabilities compared */
    int32_t drafts; /* compared */
    int32_t wished; /* shared steps that brought alternatives back */
} counts;

static void draw_given(um_params_given *given, int32_t index, uint64_t *random)
{
    static const char *const algorithms[] = {"low_confidence", "random", "threshold", "factor"};

    *given = (um_params_given){
        .has_max_tokens = true,
        .max_tokens = um_test_pick(random, 3, 20),
        .has_temperature = true,
        .temperature = index % 2,
        .has_seed = true,
        .seed = index * 7919 + 1,
        .has_block_length = true,
        .block_length = um_test_pick(random, 2, 9),
        .algorithm = algorithms[um_test_pick(random, 0, 3)],
        .has_cfg_scale = true,
        .cfg_scale = um_test_pick(random, 1, 4) == 1 ? 1.5 : 0,
        .has_early_stop = true,
        .early_stop = um_test_pick(random, 1, 3) == 1,
        .has_reference_quirks = true,
        .reference_quirks = um_test_pick(random, 1, 4) == 1,
        .has_steps_per_block = true,
        .steps_per_block = um_test_pick(random, 1, 9),
    };
    given->has_threshold = strcmp(given->algorithm, "threshold") == 0;
    given->threshold = um_test_pick(random, 1, 9) / 10.0;
    given->has_factor = strcmp(given->algorithm, "factor") == 0;
    given->factor = um_test_pick(random, 1, 8) / 4.0;
    given->has_eos_rule = strcmp(given->algorithm, "random") != 0;
    given->eos_rule = (um_eos_rule)um_test_pick(random, UM_EOS_NONE, UM_EOS_LOGITS);
}

/* What the API has beyond the sampler, each by its own draw. */
static void draw_extras(um_tiny_request *request, uint64_t *random)
{
    um_params_given *given = &request->given;

    given->has_frequency_penalty = um_test_pick(random, 1, 2) == 1;
    given->frequency_penalty = um_test_pick(random, -8, 8) / 4.0;
    given->has_presence_penalty = um_test_pick(random, 1, 2) == 1;
    given->presence_penalty = um_test_pick(random, -8, 8) / 4.0;
    given->has_repetition_penalty = um_test_pick(random, 1, 2) == 1;
    given->repetition_penalty = um_test_pick(random, 2, 12) / 4.0;
    given->has_min_tokens = um_test_pick(random, 1, 2) == 1;
    given->min_tokens = um_test_pick(random, 1, (int32_t)given->max_tokens);
    given->ignore_eos = um_test_pick(random, 1, 4) == 1;
    given->wants_logprobs = um_test_pick(random, 1, 3) > 1;
    given->top_logprobs = given->wants_logprobs ? um_test_pick(random, 0, UM_LOGPROBS_MAX) : 0;
    request->want_draft = um_test_pick(random, 1, 2) == 1;
    request->stop_token = um_test_pick(random, 1, 2) == 1 ? um_test_pick(random, 1, 34) : 0;
    request->bias_count = um_test_pick(random, 0, UM_TINY_BIASES_MAX);
    for (int32_t i = 0; i < request->bias_count; i++)
        request->biases[i] = (um_logit_edit){.token = 9 * i + um_test_pick(random, 0, 8),
                                             .bias = (float)um_test_pick(random, -10, 10),
                                             .repetition = 1};
}

/* What surrounds and fills the canvas: a gap of fixed or open length, a draft, a preset. */
static void draw_canvas(um_tiny_request *request, uint64_t *random)
{
    um_params_given *given = &request->given;

    if (um_test_pick(random, 1, 2) == 1)
        request->suffix_tokens = um_test_pick(random, 1, 8);
    for (int32_t i = 0; i < request->suffix_tokens; i++)
        request->suffix[i] = um_test_pick(random, 0, 34);
    given->has_infill_length =
        request->suffix_tokens > 0 && um_test_pick(random, 1, 2) == 1; /* auto */
    if (!given->wants_logprobs && um_test_pick(random, 1, 2) == 1)
        request->draft_tokens = um_test_pick(random, 1, (int32_t)given->max_tokens);
    for (int32_t i = 0; i < request->draft_tokens; i++) {
        request->draft[i] =
            um_test_pick(random, 1, 5) == 1 ? UM_DRAFT_MASKED : um_test_pick(random, 0, 34);
        request->pinned[i] = i > 0 && um_test_pick(random, 1, 3) == 1;
    }
    given->has_noise = request->draft_tokens > 0;
    given->noise = um_test_pick(random, 0, 4) / 4.0;
    if (um_test_pick(random, 1, 3) > 1)
        return;
    given->preset = (um_preset)um_test_pick(random, 0, UM_PRESET_COUNT - 1);
    given->algorithm = NULL;
    given->has_threshold = false;
    given->has_factor = false;
    given->has_steps_per_block = false;
}

static void draw_pool(pool *p)
{
    uint64_t random = 20250611;

    for (int32_t i = 0; i < POOL; i++) {
        um_tiny_request *request = &p->requests[i];

        *request = (um_tiny_request){.prompt = p->prompts[i],
                                     .prompt_tokens = um_test_pick(&random, 1, PROMPT_MAX)};
        for (int32_t k = 0; k < request->prompt_tokens; k++)
            p->prompts[i][k] = um_test_pick(&random, 0, 34);
        draw_given(&request->given, i, &random);
        if (um_test_pick(&random, 1, 4) == 1) {
            request->stop.length = 1;
            request->stop.bytes[0] = (char)um_test_pick(&random, 0, 34); /* ids are bytes here */
        }
        if (i / 2 % 2 == 1)
            draw_extras(request, &random);
        if (i / 4 % 2 == 1)
            draw_canvas(request, &random);
    }
}

static bool open_engine(um_tiny_engine *tiny, const char *backend, const char *isa,
                        um_precision precision, int32_t threads)
{
    um_tiny_engine_options options = {
        .backend = {.name = backend, .isa = isa, .threads = threads},
        .precision = precision,
        .checkpoint = {.kv_heads = 2},
        .batch_max = SHARE_MAX,
        .rows_per_step = ROWS_PER_STEP,
    };

    return um_tiny_engine_open(tiny, &options);
}

/* Every request of the pool by itself, on one thread. */
static void run_alone(pool *p, const char *backend, const char *isa, um_precision precision)
{
    um_tiny_engine tiny;

    draw_pool(p);
    UM_CHECK(open_engine(&tiny, backend, isa, precision, 1));
    for (int32_t i = 0; i < POOL; i++) {
        uint64_t id = um_tiny_engine_submit(&tiny, &p->requests[i]);

        while (um_tiny_engine_turn(&tiny))
            UM_CHECK_INT(tiny.step_requests, 1);
        UM_CHECK(um_tiny_engine_result(&tiny, id) != NULL);
        p->alone[i] = *um_tiny_engine_result(&tiny, id);
        UM_CHECK_INT(p->alone[i].status, UM_OK);
    }
    um_tiny_engine_close(&tiny);
}

/* Not the bytes: what lies between the fields is nobody's. */
static bool same_usage(const um_usage *a, const um_usage *b)
{
    return a->prompt_tokens == b->prompt_tokens && a->completion_tokens == b->completion_tokens &&
           a->steps == b->steps && a->blocks == b->blocks && a->canvas_tokens == b->canvas_tokens &&
           a->accepted_tokens == b->accepted_tokens && a->rejected_tokens == b->rejected_tokens &&
           a->ended_by_deadline == b->ended_by_deadline;
}

static bool same(const um_tiny_result *a, const um_tiny_result *b)
{
    size_t count = (size_t)a->usage.canvas_tokens;

    return a->status == b->status && a->finish == b->finish && same_usage(&a->usage, &b->usage) &&
           memcmp(a->tokens, b->tokens, count * sizeof(*a->tokens)) == 0 &&
           memcmp(a->confidences, b->confidences, count * sizeof(*a->confidences)) == 0 &&
           a->logprob_rows == b->logprob_rows &&
           memcmp(a->logprobs, b->logprobs, sizeof(a->logprobs)) == 0 && a->journal == b->journal &&
           strcmp(a->text, b->text) == 0;
}

typedef struct member {
    int32_t index;   /* in the pool */
    int32_t arrival; /* turn */
    int32_t cancel;  /* turn; -1: never */
    uint64_t id;
} member;

static int32_t draw_members(member members[SHARE_MAX], uint64_t *random)
{
    int32_t count = um_test_pick(random, SHARE_MIN, SHARE_MAX);

    for (int32_t i = 0; i < count; i++)
        members[i] = (member){
            .index = um_test_pick(random, 0, POOL - 1),
            /* a few at once, the others while those run */
            .arrival = i < SHARE_MIN + 1 ? 0 : um_test_pick(random, 0, 12),
            .cancel = i > 0 && um_test_pick(random, 1, 12) == 1 ? um_test_pick(random, 1, 6) : -1,
        };
    return count;
}

static void compare(const pool *p, const um_tiny_engine *tiny, const member *m, counts *c)
{
    const um_tiny_result *result = um_tiny_engine_result(tiny, m->id);

    um_test_count();
    if (!result) {
        um_test_fail(__FILE__, __LINE__, "request %d of the pool did not end", m->index);
    } else if (result->status == UM_E_CANCELLED && m->cancel >= 0) {
        c->cancelled++;
    } else {
        c->compared[m->index % 2]++;
        c->rows += result->logprob_rows;
        c->drafts += result->last_step > 0;
        if (result->draft_differs)
            um_test_fail(__FILE__, __LINE__, "request %d of the pool: its draft is not its canvas",
                         m->index);
        if (!same(result, &p->alone[m->index]))
            um_test_fail(__FILE__, __LINE__, "request %d of the pool differs from its run alone",
                         m->index);
    }
}

static void run_schedule(const pool *p, um_tiny_engine *tiny, uint64_t *random, counts *c)
{
    member members[SHARE_MAX];
    int32_t count = draw_members(members, random);
    int32_t waiting = count;
    bool mixed = false, busy = true;

    for (int32_t turn = 0; waiting > 0 || busy; turn++) {
        for (int32_t i = 0; i < count; i++) {
            member *m = &members[i];

            if (m->arrival == turn) {
                m->id = um_tiny_engine_submit(tiny, &p->requests[m->index]);
                waiting--;
            }
            if (m->cancel == turn && turn > m->arrival)
                um_engine_cancel(tiny->engine, m->id);
        }
        tiny->step_lengths = 0;
        busy = um_tiny_engine_turn(tiny);
        c->wished += busy && tiny->step_requests > 1 && tiny->step_alternatives > 0;
        mixed = mixed || (tiny->step_requests >= 3 && tiny->step_lengths >= 3);
    }
    for (int32_t i = 0; i < count; i++)
        compare(p, tiny, &members[i], c);
    c->schedules++;
    c->mixed += mixed;
}

/* `schedules` of them on `threads` threads, against the runs alone on one. */
static void run_schedules(const char *backend, const char *isa, um_precision precision,
                          int32_t threads, int32_t schedules)
{
    static pool p;
    static um_tiny_engine tiny;
    counts c = {0};
    uint64_t random = 4711 + (uint64_t)threads;

    if (!open_engine(&tiny, backend, isa, precision, threads)) {
        printf("    not on this machine: %s %s\n", backend, isa ? isa : "");
        return;
    }
    run_alone(&p, backend, isa, precision);
    for (int32_t i = 0; i < schedules; i++)
        run_schedule(&p, &tiny, &random, &c);
    printf(
        "    %s %s, %d threads: %d schedules%s, %d of them with a step of 3 requests of different "
        "lengths or more; %d results at temperature 0 and %d at 1 compared, %d cancelled; %d rows "
        "of log-probabilities, %d drafts, %d shared steps with alternatives\n",
        um_backend_name(tiny.backend), precision == UM_PRECISION_F32 ? "f32" : "bf16", threads,
        c.schedules, UM_TEST_SANITIZED ? " (fewer, under a sanitizer)" : "", c.mixed, c.compared[0],
        c.compared[1], c.cancelled, c.rows, c.drafts, c.wished);
    UM_CHECK_INT(c.schedules, schedules);
    UM_CHECK(c.mixed >= schedules * 9 / 10);
    UM_CHECK(c.compared[0] > schedules && c.compared[1] > schedules);
    UM_CHECK(c.cancelled > 0);
    UM_CHECK(c.rows > schedules && c.drafts > schedules / 2 && c.wished > schedules);
    um_tiny_engine_close(&tiny);
}

static void f32_on_one_thread(void)
{
    run_schedules("cpu", NULL, UM_PRECISION_F32, 1, SCHEDULES);
}

static void f32_on_two_threads(void)
{
    run_schedules("cpu", NULL, UM_PRECISION_F32, 2, SCHEDULES);
}

static void bf16_on_one_thread(void)
{
    run_schedules("cpu", NULL, UM_PRECISION_BF16, 1, SCHEDULES);
}

static void bf16_on_two_threads(void)
{
    run_schedules("cpu", NULL, UM_PRECISION_BF16, 2, SCHEDULES);
}

static void every_instruction_set(void)
{
    static const char *const levels[] = {"portable", "avx2", "avx512", "avx512bf16"};

    for (size_t i = 0; i < UM_COUNT_OF(levels); i++) {
        run_schedules("cpu", levels[i], UM_PRECISION_F32, 2, LEVEL_SCHEDULES);
        run_schedules("cpu", levels[i], UM_PRECISION_BF16, 2, LEVEL_SCHEDULES);
    }
}

static void the_reference_backend(void)
{
    run_schedules("ref", NULL, UM_PRECISION_F32, 1, LEVEL_SCHEDULES);
    run_schedules("ref", NULL, UM_PRECISION_BF16, 1, LEVEL_SCHEDULES);
}

/* The comparison sees a difference, and temperature 1 really draws. */
static void canary_another_seed_gives_another_result(void)
{
    static pool p;
    static um_tiny_engine tiny;
    int32_t differing[2] = {0};

    run_alone(&p, "cpu", NULL, UM_PRECISION_F32);
    UM_CHECK(open_engine(&tiny, "cpu", NULL, UM_PRECISION_F32, 1));
    for (int32_t i = 0; i < POOL; i++) {
        um_tiny_request request = p.requests[i];
        uint64_t id;

        request.given.seed++;
        id = um_tiny_engine_submit(&tiny, &request);
        while (um_tiny_engine_turn(&tiny))
            continue;
        /* neither a random order nor noise on a draft */
        if ((!request.given.algorithm || strcmp(request.given.algorithm, "random") != 0) &&
            request.draft_tokens == 0)
            differing[i % 2] += !same(um_tiny_engine_result(&tiny, id), &p.alone[i]);
    }
    UM_CHECK_INT(differing[0], 0);
    UM_CHECK(differing[1] >= POOL / 4);
    um_tiny_engine_close(&tiny);
}

/* So do the wishes beyond the sampler. */
static void canary_without_edits_results_differ(void)
{
    static pool p;
    static um_tiny_engine tiny;
    int32_t differing = 0;

    run_alone(&p, "cpu", NULL, UM_PRECISION_F32);
    UM_CHECK(open_engine(&tiny, "cpu", NULL, UM_PRECISION_F32, 1));
    for (int32_t i = 0; i < POOL; i++) {
        um_tiny_request request = p.requests[i];
        const um_tiny_result *result;
        uint64_t id;

        request.bias_count = 0;
        request.given.has_frequency_penalty = request.given.has_presence_penalty = false;
        request.given.has_repetition_penalty = request.given.has_min_tokens = false;
        id = um_tiny_engine_submit(&tiny, &request);
        while (um_tiny_engine_turn(&tiny))
            continue;
        result = um_tiny_engine_result(&tiny, id);
        if (i / 2 % 2 == 0)
            UM_CHECK(same(result, &p.alone[i]));
        else
            differing += memcmp(result->tokens, p.alone[i].tokens, sizeof(result->tokens)) != 0;
    }
    UM_CHECK(differing >= POOL / 4);
    um_tiny_engine_close(&tiny);
}

static const um_test tests[] = {
    {"f32_on_one_thread", f32_on_one_thread, 300},
    {"f32_on_two_threads", f32_on_two_threads, 300},
    {"bf16_on_one_thread", bf16_on_one_thread, 300},
    {"bf16_on_two_threads", bf16_on_two_threads, 300},
    {"every_instruction_set", every_instruction_set, 300},
    {"the_reference_backend", the_reference_backend, 300},
    UM_TEST(canary_another_seed_gives_another_result),
    UM_TEST(canary_without_edits_results_differ),
};
UM_TEST_MAIN(tests)
