/* server/api_submit: what each kind of request asks of the engine. The tokenizer gives every byte the
 * id of its value, so that expected ids can be read; '%' is the model's MASK. */
#include "tests/test.h"

#include "server/api_submit.h"
#include "tests/support/small_tokenizer.h"
#include "tests/support/temp_dir.h"
#include "tests/support/tiny_checkpoint.h"

static um_served served;

static void open_served(void)
{
    um_tiny_options options = {.embedding_size = 256};
    char dir[UM_TEMP_PATH_BYTES];
    char *argv[] = {"--model", dir, "--backend", "ref"};
    um_buf json = {0};
    um_config config;
    um_err err = {0};

    um_temp_dir_make(dir);
    um_document_json(&json, &(um_document){0});
    um_temp_dir_write(dir, "tokenizer.json", um_buf_view(&json), json.length);
    um_buf_deinit(&json);
    UM_CHECK_OK(um_tiny_checkpoint_write(dir, &options, &err), err);
    UM_CHECK_OK(um_config_load(UM_COMMAND_SERVE, 4, argv, &config, &err), err);
    UM_CHECK_OK(um_served_open(&config, NULL, NULL, &served, &err), err);
    um_config_deinit(&config);
    um_temp_dir_remove(dir);
}

static void make(const um_api_request *request, um_api_work *work)
{
    um_err err = {0};

    UM_CHECK_OK(um_api_work_make(&served, request, 7, work, &err), err);
}

static void refuse(const um_api_request *request, um_status status, const char *field)
{
    um_api_work work;
    um_err err = {0};

    UM_CHECK_STATUS(um_api_work_make(&served, request, 7, &work, &err), status);
    UM_CHECK_STR(err.field, field);
    UM_CHECK(work.count == 0 && !work.submissions);
}

static void expect_ids(const int32_t *ids, int32_t count, const char *expected)
{
    UM_CHECK_INT(count, strlen(expected));
    for (int32_t i = 0; i < count && expected[i]; i++)
        UM_CHECK_INT(ids[i], (unsigned char)expected[i]);
}

static um_api_request text_request(const char *prompt)
{
    return (um_api_request){.endpoint = UM_ENDPOINT_COMPLETIONS,
                            .prompts = {{.text = prompt, .length = strlen(prompt)}},
                            .prompt_count = 1,
                            .choices = 1};
}

static void each_prompt_has_all_its_choices(void)
{
    um_api_request request = text_request("one");
    int32_t ids[] = {'t', 'w', 'o'};
    um_api_work work;

    open_served();
    request.prompts[1] = (um_api_prompt){.ids = ids, .id_count = 3};
    request.prompt_count = 2;
    request.choices = 3;
    make(&request, &work);
    UM_CHECK_INT(work.count, 6);
    for (size_t i = 0; i < work.count; i++) {
        const um_submission *s = &work.submissions[i];

        expect_ids(s->prompt, s->prompt_tokens, i < 3 ? "one" : "two");
        UM_CHECK_INT(s->params.choice, i % 3);
        UM_CHECK_INT(s->params.seed, 7);
        UM_CHECK(!work.frames[i].lead && !work.frames[i].tail);
        UM_CHECK(s->suffix_tokens == 0 && s->draft_tokens == 0 && !s->pinned);
    }
    um_api_work_deinit(&work);
    um_served_close(&served);
}

static void an_echo_leads_with_the_prompts_text(void)
{
    um_api_request request = text_request("one");
    int32_t ids[] = {'t', 'w', 'o'};
    um_api_work work;

    open_served();
    request.prompts[1] = (um_api_prompt){.ids = ids, .id_count = 3};
    request.prompt_count = 2;
    request.echo_prompt = true;
    make(&request, &work);
    UM_CHECK_STR(work.frames[0].lead, "one");
    UM_CHECK_STR(work.frames[1].lead, "two");
    UM_CHECK_INT(work.frames[1].lead_length, 3);
    um_api_work_deinit(&work);
    um_served_close(&served);
}

static void what_a_stream_shows_decides_what_the_engine_tells(void)
{
    static const struct {
        um_stream_mode mode;
        bool guess, wants_draft, wants_guess;
    } cases[] = {
        {UM_STREAM_SETTLED, true, false, false},
        {UM_STREAM_DRAFT, false, true, false},
        {UM_STREAM_DRAFT, true, true, true},
        {UM_STREAM_REPLACE, false, true, true},
    };
    um_api_request request = text_request("x");

    open_served();
    for (size_t i = 0; i < UM_COUNT_OF(cases); i++) {
        um_api_work work;

        request.mode = cases[i].mode;
        request.draft.guess = cases[i].guess;
        make(&request, &work);
        UM_CHECK_INT(work.submissions[0].want_draft, cases[i].wants_draft);
        UM_CHECK_INT(work.submissions[0].want_guess, cases[i].wants_guess);
        um_api_work_deinit(&work);
    }
    um_served_close(&served);
}

static void stops_and_biases_are_handed_on(void)
{
    um_api_request request = text_request("x");
    um_logit_edit bias = {.token = 65};
    um_api_work work;

    open_served();
    request.stop_count = 1;
    request.stop_tokens[0] = 66;
    request.stop_token_count = 1;
    request.biases = &bias;
    request.bias_count = 1;
    make(&request, &work);
    UM_CHECK(work.submissions[0].stops == request.stops);
    UM_CHECK_INT(work.submissions[0].stop_tokens[0], 66);
    UM_CHECK_INT(work.submissions[0].stop_token_count, 1);
    UM_CHECK(work.submissions[0].biases == &bias && work.submissions[0].bias_count == 1);
    um_api_work_deinit(&work);
    um_served_close(&served);
}

static void mask_is_refused_wherever_it_is_spelled(void)
{
    um_api_request request = text_request("a");

    open_served();
    request.suffix = "5%";
    request.suffix_length = 2;
    refuse(&request, UM_E_VALUE, "suffix");
    request = text_request("%");
    refuse(&request, UM_E_VALUE, "prompt");
    um_served_close(&served);
}

static const um_test tests[] = {
    UM_TEST(each_prompt_has_all_its_choices),
    UM_TEST(an_echo_leads_with_the_prompts_text),
    UM_TEST(what_a_stream_shows_decides_what_the_engine_tells),
    UM_TEST(stops_and_biases_are_handed_on),
    UM_TEST(mask_is_refused_wherever_it_is_spelled),
};

UM_TEST_MAIN(tests)
