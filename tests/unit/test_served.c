/* server/served: a checkpoint and its tokenizer put together. The model is the tiny one with rows
 * for a byte tokenizer, in which MASK (37) is the ordinary token of '%'. */
#include "tests/test.h"

#include "server/served.h"
#include "tests/support/family_checkpoint.h"
#include "tests/support/small_tokenizer.h"
#include "tests/support/temp_dir.h"
#include "tests/support/tiny_checkpoint.h"

#define ROWS 256

static void write_tokenizer(const char *dir, const um_document *document)
{
    um_buf json = {0};

    um_document_json(&json, document);
    um_temp_dir_write(dir, "tokenizer.json", um_buf_view(&json), json.length);
    um_buf_deinit(&json);
}

static um_status open_dir(char *dir, um_served *served, um_err *err)
{
    char *argv[] = {"--model", dir, "--backend", "ref"};
    um_config config;
    um_status status;

    UM_CHECK_OK(um_config_load(UM_COMMAND_SERVE, 4, argv, &config, err), *err);
    status = um_served_open(&config, NULL, NULL, served, err);
    um_config_deinit(&config);
    um_temp_dir_remove(dir);
    return status;
}

static um_status open_with(int32_t rows, um_served *served, um_err *err)
{
    um_tiny_options options = {.embedding_size = rows};
    char dir[UM_TEMP_PATH_BYTES];

    um_temp_dir_make(dir);
    write_tokenizer(dir, &(um_document){0});
    UM_CHECK_OK(um_tiny_checkpoint_write(dir, &options, err), *err);
    return open_dir(dir, served, err);
}

static void text_never_becomes_mask(void)
{
    um_served served;
    um_ids ids = {0};
    um_err err = {0};

    UM_CHECK_OK(open_with(ROWS, &served, &err), err);
    UM_CHECK_OK(um_served_encode_text(&served, "all of it", 9, "prompt", &ids, &err), err);
    UM_CHECK_INT(ids.count, 9);
    ids.count = 0;
    UM_CHECK_STATUS(um_served_encode_text(&served, "a 100%", 6, "prompt", &ids, &err), UM_E_VALUE);
    UM_CHECK_STR(err.field, "prompt");
    UM_CHECK_STR(err.message, "prompt holds the model's mask token (id 37 at position 5)");
    um_ids_deinit(&ids);
    um_served_close(&served);
}

static void overlong_prompts_name_the_field(void)
{
    char text[2000];
    um_served served;
    um_ids ids = {0};
    um_err err = {0};

    memset(text, 'a', sizeof(text));
    UM_CHECK_OK(open_with(ROWS, &served, &err), err);
    UM_CHECK_STATUS(um_served_encode_text(&served, text, sizeof(text), "prompt", &ids, &err),
                    UM_E_CONTEXT_LENGTH);
    UM_CHECK_STR(err.field, "prompt");
    UM_CHECK(strstr(err.message, "maximum context length is 1024 tokens") != NULL);
    um_ids_deinit(&ids);
    um_served_close(&served);
}

static void a_tokenizer_with_more_ids_than_the_embedding_has_rows_is_refused(void)
{
    um_served served;
    um_err err = {0};

    UM_CHECK_STATUS(open_with(ROWS - 1, &served, &err), UM_E_FORMAT);
    UM_CHECK(strstr(err.message, "ids up to 255") && strstr(err.message, "255 rows"));
}

static void open_dream(const char *added, um_served *served)
{
    const um_family_checkpoint checkpoint = {.family = "dream", .rows = ROWS + 2};
    char dir[UM_TEMP_PATH_BYTES];
    um_err err = {0};

    um_temp_dir_make(dir);
    UM_CHECK_OK(um_family_checkpoint_write(dir, &checkpoint, &err), err);
    write_tokenizer(dir, &(um_document){.added = added});
    UM_CHECK_OK(open_dir(dir, served, &err), err);
}

/* DiffuCoder-7B-Instruct fills up with a token of its own where Dream has the end token. */
static void dreams_answers_end_at_its_padding_too(void)
{
    static const struct {
        const char *added;
        int32_t count, tokens[3];
    } cases[] = {
        {ADDED("256", "<|im_end|>", "true") "," ADDED("257", "<|dlm_pad|>", "true"),
         3,
         {35, 256, 257}},
        {ADDED("256", "<|im_end|>", "true"), 2, {35, 256}},
        {"", 1, {35}},
    };

    for (size_t i = 0; i < UM_COUNT_OF(cases); i++) {
        um_served served;

        open_dream(cases[i].added, &served);
        UM_CHECK_INT(served.engine.end_token_count, cases[i].count);
        for (int32_t t = 0; t < cases[i].count; t++)
            UM_CHECK_INT(served.engine.end_tokens[t], cases[i].tokens[t]);
        um_served_close(&served);
    }
}

/* An answer of one block may have more steps than a block that a request asks for. */
static void one_token_per_step_reaches_over_a_long_answer(void)
{
    const um_config config = {.max_tokens = 2000,
                              .tokens_per_step = 1,
                              .threshold = -1,
                              .temperature = -1,
                              .top_p = -1,
                              .order_temperature = -1};
    um_params_given given;
    um_served served;
    um_params params = {0};
    um_err err = {0};

    open_dream("", &served);
    UM_CHECK_OK(um_served_given(&served, &config, &given, &err), err);
    UM_CHECK_OK(um_params_resolve(&given, &served.limits,
                                  &(um_params_place){.prompt_tokens = 3, .field = "prompt"}, 1,
                                  &params, &err),
                err);
    UM_CHECK_INT(params.block_count, 1);
    UM_CHECK_INT(params.steps_per_block, 2000);
    um_served_close(&served);
}

static const um_test tests[] = {
    UM_TEST(text_never_becomes_mask),
    UM_TEST(overlong_prompts_name_the_field),
    UM_TEST(a_tokenizer_with_more_ids_than_the_embedding_has_rows_is_refused),
    UM_TEST(dreams_answers_end_at_its_padding_too),
    UM_TEST(one_token_per_step_reaches_over_a_long_answer),
};

UM_TEST_MAIN(tests)
