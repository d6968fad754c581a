/*
 * The default model against the sampler of its own training code: tests/golden/pocket_tokens.jsonl
 * was written by scripts/pocket/make_fixture.py (PyTorch, f32, temperature 0) and says for each of
 * its prompts which token ids the chat template gives and which tokens the answer has. Both must
 * come out here, in f32, with all requests sharing steps. Skipped only where models/pocket is not.
 */
#include "tests/test.h"

#include <unistd.h>

#include "core/base/json.h"
#include "core/base/log.h"
#include "core/base/mem.h"
#include "server/served.h"

#define MODEL "models/pocket"
#define FIXTURE "tests/golden/pocket_tokens.jsonl"
#define CASES_MAX 200
#define LINE_BYTES 8192
#define IDS_MAX 512
#define TEST_SECONDS 300

typedef struct token_row {
    int32_t ids[IDS_MAX];
    int32_t count;
} token_row;

typedef struct pocket_case {
    char prompt[LINE_BYTES];
    token_row prompt_ids;
    token_row tokens; /* up to the first end token */
    um_params_given given;
    uint64_t id; /* of its request */
    bool done;
} pocket_case;

typedef struct fixture {
    pocket_case *cases; /* owned */
    int32_t count;
} fixture;

/* ---- the file ------------------------------------------------------------------------------- */

static token_row read_ids(const um_json *root, const char *key)
{
    const um_json *array = um_json_member(root, key);
    token_row row = {.count = (int32_t)um_json_count(array)};

    UM_ASSERT(row.count <= IDS_MAX);
    for (int32_t i = 0; i < row.count; i++)
        row.ids[i] = (int32_t)um_json_int_value(um_json_element(array, (size_t)i));
    return row;
}

static void read_case(const um_json *root, pocket_case *out)
{
    const um_json *threshold = um_json_member(root, "threshold");
    int64_t block = um_json_int_value(um_json_member(root, "block"));
    int64_t per_step = um_json_int_value(um_json_member(root, "per_step"));

    snprintf(out->prompt, sizeof(out->prompt), "%s",
             um_json_string_value(um_json_member(root, "prompt"), NULL));
    out->prompt_ids = read_ids(root, "prompt_ids");
    out->tokens = read_ids(root, "tokens");
    out->given = (um_params_given){
        .has_max_tokens = true,
        .max_tokens = um_json_int_value(um_json_member(root, "canvas")),
        .has_block_length = true,
        .block_length = block,
        .has_temperature = true,
        .algorithm = "low_confidence",
    };
    if (um_json_kind_of(threshold) == UM_JSON_NULL) {
        UM_ASSERT(block % per_step == 0); /* as many in every step */
        out->given.has_steps_per_block = true;
        out->given.steps_per_block = block / per_step;
    } else {
        out->given.algorithm = "threshold";
        out->given.has_threshold = true;
        out->given.threshold = um_json_number_value(threshold);
    }
}

static fixture read_fixture(void)
{
    static char line[LINE_BYTES];
    fixture f = {0};
    FILE *file;

    if (access(MODEL "/config.json", F_OK) != 0)
        um_test_skip(MODEL " is not there");
    file = fopen(FIXTURE, "r");
    if (!file) {
        um_test_fail(__FILE__, __LINE__, "%s is missing", FIXTURE);
        return f;
    }
    f.cases = um_mem_calloc(CASES_MAX, sizeof(*f.cases));
    UM_ASSERT(f.cases);
    while (f.count < CASES_MAX && fgets(line, sizeof(line), file)) {
        um_json *root;
        um_err err = {0};

        UM_CHECK_OK(um_json_parse(line, strlen(line), &root, &err), err);
        read_case(root, &f.cases[f.count++]);
        um_json_free(root);
    }
    fclose(file);
    UM_CHECK_INT(f.count, CASES_MAX);
    return f;
}

/* ---- running -------------------------------------------------------------------------------- */

/* False: this machine lacks the instruction set. */
static bool open_model(const char *isa, um_served *served)
{
    char *words[] = {(char *)"--model", (char *)MODEL, (char *)"--precision", (char *)"f32",
                     (char *)"--isa",   (char *)isa,   (char *)"--threads",   (char *)"2"};
    um_config config;
    um_err err = {0};
    um_status status;

    um_log_set_level(UM_LOG_WARN);
    UM_CHECK_OK(um_config_load(UM_COMMAND_GENERATE, UM_COUNT_OF(words), words, &config, &err), err);
    status = um_served_open(&config, NULL, NULL, served, &err);
    um_config_deinit(&config);
    if (status == UM_E_UNSUPPORTED) {
        printf("    not on this machine: %s\n", isa);
        return false;
    }
    UM_CHECK_OK(status, err);
    return status == UM_OK;
}

static void submit(um_engine *engine, const um_served *served, pocket_case *c)
{
    um_submission submission = {
        .prompt = c->prompt_ids.ids, .prompt_tokens = c->prompt_ids.count, .want_tokens = true};
    um_err err = {0};

    UM_CHECK_OK(um_params_resolve(&c->given, &served->limits,
                                  &(um_params_place){.prompt_tokens = (int32_t)c->prompt_ids.count,
                                                     .field = "prompt"},
                                  1, &submission.params, &err),
                err);
    UM_CHECK_OK(um_engine_submit(engine, &submission, &c->id, &err), err);
}

/* The tokens of a complete canvas, cut at its first end token, are those of the fixture. */
static void check_tokens(const um_served *served, const pocket_case *c, const um_event *event)
{
    int32_t end = 0;
    bool at_end = false;

    UM_CHECK_STATUS(event->status, UM_OK);
    while (end < event->token_count && !at_end) {
        for (int32_t i = 0; i < served->engine.end_token_count; i++)
            at_end |= event->tokens[end] == served->engine.end_tokens[i];
        end += !at_end;
    }
    um_test_count();
    if (end != c->tokens.count ||
        memcmp(event->tokens, c->tokens.ids, (size_t)end * sizeof(*event->tokens)) != 0)
        um_test_fail(__FILE__, __LINE__, "\"%s\" (%s, canvas %d): %d tokens, expected %d: \"%s\"",
                     c->prompt, c->given.algorithm, (int)c->given.max_tokens, end, c->tokens.count,
                     um_buf_view(&event->text));
}

static void take_events(um_engine *engine, const um_served *served, fixture *f)
{
    um_event event;

    while (um_engine_next(engine, &event) == UM_OK) {
        for (int32_t i = 0; event.done && i < f->count; i++) {
            if (f->cases[i].id == event.id) {
                f->cases[i].done = true;
                check_tokens(served, &f->cases[i], &event);
            }
        }
        um_event_deinit(&event);
    }
}

/* Every `stride`-th case, all of them together. */
static void check_cases(const char *isa, int32_t stride)
{
    fixture f = read_fixture();
    um_served served;
    um_engine *engine = NULL;
    um_err err = {0};

    if (open_model(isa, &served)) {
        served.engine.queue_max = CASES_MAX;
        UM_CHECK_OK(um_engine_create(&served.engine, &engine, &err), err);
        for (int32_t i = 0; i < f.count; i += stride)
            submit(engine, &served, &f.cases[i]);
        while (um_engine_turn(engine) == UM_OK)
            take_events(engine, &served, &f);
        for (int32_t i = 0; i < f.count; i += stride)
            UM_CHECK(f.cases[i].done);
        um_engine_destroy(engine);
        um_served_close(&served);
    }
    um_mem_free(f.cases);
}

/* ---- tests ---------------------------------------------------------------------------------- */

static void prompts_become_the_ids_that_training_saw(void)
{
    fixture f = read_fixture();
    um_served served;

    if (open_model("auto", &served)) {
        for (int32_t i = 0; i < f.count; i++) {
            const pocket_case *c = &f.cases[i];
            um_ids ids = {0};
            um_err err = {0};

            UM_CHECK_OK(
                um_served_encode_prompt(&served, false, c->prompt, strlen(c->prompt), &ids, &err),
                err);
            UM_CHECK_INT(ids.count, c->prompt_ids.count);
            UM_CHECK(ids.count == (size_t)c->prompt_ids.count &&
                     memcmp(ids.data, c->prompt_ids.ids, ids.count * sizeof(*ids.data)) == 0);
            um_ids_deinit(&ids);
        }
        um_served_close(&served);
    }
    um_mem_free(f.cases);
}

/* Kernels are several times slower under a sanitizer. */
static void every_answer_has_the_tokens_of_the_training_code(void)
{
    check_cases("auto", UM_TEST_SANITIZED ? 20 : 1);
}

static void some_answers_on_every_instruction_set(void)
{
    check_cases("avx512", 20);
    check_cases("avx2", 20);
    check_cases("portable", UM_TEST_SANITIZED ? 100 : 40);
}

static const um_test tests[] = {
    UM_TEST(prompts_become_the_ids_that_training_saw),
    {"every_answer_has_the_tokens_of_the_training_code",
     every_answer_has_the_tokens_of_the_training_code, TEST_SECONDS},
    {"some_answers_on_every_instruction_set", some_answers_on_every_instruction_set, TEST_SECONDS},
};
UM_TEST_MAIN(tests)
