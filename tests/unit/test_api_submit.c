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
    um_tiny_options options = {.embedding_size = 258};
    char dir[UM_TEMP_PATH_BYTES];
    char *argv[] = {"--model", dir, "--backend", "ref", "--chat-template", "llama2"};
    um_buf json = {0};
    um_config config;
    um_err err = {0};

    um_temp_dir_make(dir);
    um_document_json(&json, &(um_document){.added = ADDED("256", "<s>", "true") "," ADDED(
                                               "257", "</s>", "true")});
    um_temp_dir_write(dir, "tokenizer.json", um_buf_view(&json), json.length);
    um_buf_deinit(&json);
    UM_CHECK_OK(um_tiny_checkpoint_write(dir, &options, &err), err);
    UM_CHECK_OK(um_config_load(UM_COMMAND_SERVE, 6, argv, &config, &err), err);
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

static void a_suffix_follows_the_canvas(void)
{
    um_api_request request = text_request("ab");
    um_api_work work;

    open_served();
    request.suffix = "yz!";
    request.suffix_length = 3;
    request.given = (um_params_given){.has_max_tokens = true, .max_tokens = 5};
    make(&request, &work);
    expect_ids(work.submissions[0].prompt, work.submissions[0].prompt_tokens, "ab");
    expect_ids(work.submissions[0].suffix, work.submissions[0].suffix_tokens, "yz!");
    UM_CHECK(work.submissions[0].params.exact_length);
    UM_CHECK_INT(work.submissions[0].params.canvas_tokens, 5);
    um_api_work_deinit(&work);
    /* both sides count for the context, which has 1,024 positions */
    request.given.max_tokens = 1024 - 4;
    refuse(&request, UM_E_CONTEXT_LENGTH, "prompt");
    um_served_close(&served);
}

static void a_prediction_is_the_canvas_first_draft(void)
{
    const um_message message = {.role = "user", .content = "q", .content_length = 1};
    um_message messages[] = {message};
    um_api_request request = {.endpoint = UM_ENDPOINT_CHAT,
                              .messages = messages,
                              .message_count = 1,
                              .prediction = "abc",
                              .prediction_length = 3,
                              .given = {.has_max_tokens = true, .max_tokens = 8},
                              .choices = 1};
    um_api_work work;

    open_served();
    make(&request, &work);
    expect_ids(work.submissions[0].draft, work.submissions[0].draft_tokens, "abc");
    UM_CHECK(!work.submissions[0].pinned && work.submissions[0].suffix_tokens == 0);
    UM_CHECK(!work.submissions[0].params.exact_length);
    um_api_work_deinit(&work);
    request.given.max_tokens = 2;
    refuse(&request, UM_E_VALUE, "prediction");
    um_served_close(&served);
}

#define FILE_WITH(region)                                                                          \
    "<|current_file_content|>\nab\n<|code_to_edit|>\n" region                                      \
    "<|/code_to_edit|>\nyz\n<|/current_file_content|>\n"

static void an_edit_fills_its_region_again(void)
{
    static const char text[] = FILE_WITH("o<|cursor|>ld\n"), nothing[] = FILE_WITH("");
    um_message message = {.role = "user", .content = text, .content_length = sizeof(text) - 1};
    um_api_request request = {.endpoint = UM_ENDPOINT_EDIT,
                              .messages = &message,
                              .message_count = 1,
                              .given = {.has_max_tokens = true, .max_tokens = 900},
                              .choices = 1};
    um_api_work work;

    open_served();
    make(&request, &work);
    expect_ids(work.submissions[0].prompt, work.submissions[0].prompt_tokens, "ab\n");
    expect_ids(work.submissions[0].suffix, work.submissions[0].suffix_tokens, "\nyz\n");
    expect_ids(work.submissions[0].draft, work.submissions[0].draft_tokens, "old");
    UM_CHECK_INT(work.submissions[0].params.canvas_tokens, 3); /* max_tokens is a bound */
    um_api_work_deinit(&work);
    request.given.has_infill_length = true; /* room for more than there was */
    request.given.infill_length = 7;
    make(&request, &work);
    UM_CHECK_INT(work.submissions[0].params.canvas_tokens, 7);
    um_api_work_deinit(&work);
    request.given = (um_params_given){.has_max_tokens = true, .max_tokens = 2};
    refuse(&request, UM_E_VALUE, "max_tokens");
    request.given = (um_params_given){.has_max_tokens = true, .max_tokens = 12};
    message.content = nothing; /* a gap like any other */
    message.content_length = sizeof(nothing) - 1;
    make(&request, &work);
    UM_CHECK_INT(work.submissions[0].draft_tokens, 0);
    expect_ids(work.submissions[0].suffix, work.submissions[0].suffix_tokens, "yz\n");
    UM_CHECK_INT(work.submissions[0].params.canvas_tokens, 12);
    um_api_work_deinit(&work);
    um_served_close(&served);
}

#define TEXT(what)                                                                                 \
    {                                                                                              \
        .text = (what), .length = sizeof(what) - 1                                                 \
    }

static void a_template_pins_its_texts(void)
{
    static const char canvas[] = "___: __";
    um_template_part parts[] = {TEXT("ab"), TEXT("c"),  {.gap = 3}, TEXT(":"),
                                TEXT(" "),  {.gap = 2}, TEXT("!")};
    um_api_request request = {.endpoint = UM_ENDPOINT_COMPLETIONS,
                              .parts = parts,
                              .part_count = UM_COUNT_OF(parts),
                              .choices = 2};
    um_api_work work;

    open_served();
    make(&request, &work);
    UM_CHECK_INT(work.count, 2);
    for (size_t i = 0; i < work.count; i++) {
        const um_submission *s = &work.submissions[i];
        const um_stream_frame *frame = &work.frames[i];

        expect_ids(s->prompt, s->prompt_tokens, "abc");
        expect_ids(s->suffix, s->suffix_tokens, "!");
        UM_CHECK_INT(s->draft_tokens, strlen(canvas));
        for (int32_t at = 0; at < s->draft_tokens; at++) {
            UM_CHECK_INT(s->draft[at], canvas[at] == '_' ? UM_DRAFT_MASKED : canvas[at]);
            UM_CHECK_INT(s->pinned[at], canvas[at] != '_');
        }
        UM_CHECK_INT(s->params.canvas_tokens, strlen(canvas));
        UM_CHECK_INT(s->params.block_count, 1);
        UM_CHECK(s->params.ignore_eos);
        UM_CHECK_STR(frame->lead, "abc");
        UM_CHECK_STR(frame->tail, "!");
        UM_CHECK_INT(frame->gap_count, 2);
        UM_CHECK(frame->gaps[0][0] == 0 && frame->gaps[0][1] == 3);
        UM_CHECK(frame->gaps[1][0] == 5 && frame->gaps[1][1] == 7);
    }
    um_api_work_deinit(&work);
    request.given = (um_params_given){.has_max_tokens = true, .max_tokens = 7};
    refuse(&request, UM_E_CONFLICT, "max_tokens");
    request.given = (um_params_given){.has_infill_length = true};
    refuse(&request, UM_E_CONFLICT, "diffusion.infill_length");
    request.given = (um_params_given){0};
    parts[2].gap = 2000;
    refuse(&request, UM_E_CONTEXT_LENGTH, "diffusion.template");
    um_served_close(&served);
}

static void gaps_at_both_ends_need_no_texts(void)
{
    um_template_part parts[] = {{.gap = 1}, TEXT("m"), {.gap = 1}};
    um_api_request request = {.endpoint = UM_ENDPOINT_COMPLETIONS,
                              .parts = parts,
                              .part_count = UM_COUNT_OF(parts),
                              .choices = 1};
    um_api_work work;

    open_served();
    make(&request, &work);
    UM_CHECK(work.submissions[0].prompt_tokens == 0 && work.submissions[0].suffix_tokens == 0);
    UM_CHECK_INT(work.submissions[0].draft_tokens, 3);
    UM_CHECK(!work.frames[0].lead && !work.frames[0].tail);
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
    request.suffix = NULL;
    request.parts = (um_template_part[]){{.gap = 1}, TEXT("%"), {.gap = 1}};
    request.part_count = 3;
    refuse(&request, UM_E_VALUE, "diffusion.template");
    request = text_request("%");
    refuse(&request, UM_E_VALUE, "prompt");
    um_served_close(&served);
}

static const um_test tests[] = {
    UM_TEST(each_prompt_has_all_its_choices),
    UM_TEST(an_echo_leads_with_the_prompts_text),
    UM_TEST(what_a_stream_shows_decides_what_the_engine_tells),
    UM_TEST(stops_and_biases_are_handed_on),
    UM_TEST(a_suffix_follows_the_canvas),
    UM_TEST(a_prediction_is_the_canvas_first_draft),
    UM_TEST(an_edit_fills_its_region_again),
    UM_TEST(a_template_pins_its_texts),
    UM_TEST(gaps_at_both_ends_need_no_texts),
    UM_TEST(mask_is_refused_wherever_it_is_spelled),
};

UM_TEST_MAIN(tests)
