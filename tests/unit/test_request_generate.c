/*
 * What a generating request can ask for beside its prompt: choices, log-probabilities, edits of the
 * logits, presets, first drafts, gaps and how a stream shows them.
 */
#include "tests/support/request_check.h"

/* The body is accepted, and `check` looks at what it became. */
#define PARSED(endpoint, body)                                                                     \
    um_api_request r;                                                                              \
    um_err err;                                                                                    \
    UM_CHECK_OK(um_test_parse(endpoint, body, true, &r, &err), err)

static void choices_are_bounded_by_the_option(void)
{
    static const um_test_refusal cases[] = {
        {UM_TEST_CHAT("\"n\":5"), UM_E_INT_ABOVE_MAX, "n"}, /* --max-n is 4 */
        {UM_TEST_CHAT("\"n\":0"), UM_E_INT_BELOW_MIN, "n"},
        {UM_TEST_CHAT("\"n\":true"), UM_E_TYPE, "n"},
    };
    static const um_test_refusal lines[] = {
        {UM_TEST_TEXT("\"n\":2,\"best_of\":3"), UM_E_UNSUPPORTED_PARAM, "best_of"},
        {UM_TEST_TEXT("\"n\":2,\"best_of\":1"), UM_E_UNSUPPORTED_PARAM, "best_of"},
    };
    PARSED(UM_ENDPOINT_COMPLETIONS, UM_TEST_TEXT("\"n\":4,\"best_of\":4"));

    UM_CHECK_INT(r.choices, 4);
    um_api_request_deinit(&r);
    UM_CHECK_OK(um_test_parse(UM_ENDPOINT_CHAT, "{" UM_TEST_USER "}", true, &r, &err), err);
    UM_CHECK_INT(r.choices, 1);
    um_api_request_deinit(&r);
    um_test_refusals(UM_ENDPOINT_CHAT, cases, UM_COUNT_OF(cases));
    um_test_refusals(UM_ENDPOINT_COMPLETIONS, lines, UM_COUNT_OF(lines));
}

static void every_sampling_field_arrives(void)
{
    PARSED(UM_ENDPOINT_CHAT,
           UM_TEST_CHAT("\"top_k\":7,\"min_p\":0.25,\"frequency_penalty\":-2,"
                        "\"presence_penalty\":1.5,\"repetition_penalty\":1.25,\"min_tokens\":3,"
                        "\"ignore_eos\":true,\"stop_token_ids\":[0,39,35],"
                        "\"skip_special_tokens\":false,\"add_generation_prompt\":false,"
                        "\"logprobs\":true,\"top_logprobs\":20,"
                        "\"diffusion\":{\"deadline_ms\":600000,\"noise\":0.75}"));

    UM_CHECK_INT(r.given.top_k, 7);
    UM_CHECK_NEAR(r.given.min_p, 0.25, 0);
    UM_CHECK(r.given.has_frequency_penalty && r.given.has_presence_penalty);
    UM_CHECK_NEAR(r.given.frequency_penalty, -2, 0);
    UM_CHECK_NEAR(r.given.presence_penalty, 1.5, 0);
    UM_CHECK(r.given.has_repetition_penalty && r.given.repetition_penalty == 1.25);
    UM_CHECK(r.given.has_min_tokens && r.given.min_tokens == 3);
    UM_CHECK(r.given.ignore_eos && r.given.keep_special_text && r.no_generation_prompt);
    UM_CHECK_INT(r.stop_token_count, 3);
    UM_CHECK_INT(r.stop_tokens[1], 39);
    UM_CHECK(r.given.wants_logprobs && r.given.top_logprobs == 20);
    UM_CHECK(r.given.has_deadline_ms && r.given.deadline_ms == 600000);
    UM_CHECK(r.given.has_noise && r.given.noise == 0.75);
    um_api_request_deinit(&r);
    UM_CHECK_OK(um_test_parse(UM_ENDPOINT_CHAT,
                              UM_TEST_CHAT("\"skip_special_tokens\":true,\"ignore_eos\":false,"
                                           "\"add_generation_prompt\":true"),
                              true, &r, &err),
                err);
    UM_CHECK(!r.given.keep_special_text && !r.given.ignore_eos && !r.no_generation_prompt);
    UM_CHECK(!r.given.wants_logprobs);
    um_api_request_deinit(&r);
}

static void sampling_fields_have_their_bounds(void)
{
    static const um_test_refusal cases[] = {
        {UM_TEST_CHAT("\"frequency_penalty\":2.5"), UM_E_DEC_ABOVE_MAX, "frequency_penalty"},
        {UM_TEST_CHAT("\"presence_penalty\":-2.5"), UM_E_DEC_BELOW_MIN, "presence_penalty"},
        {UM_TEST_CHAT("\"repetition_penalty\":0"), UM_E_DEC_BELOW_MIN, "repetition_penalty"},
        {UM_TEST_CHAT("\"repetition_penalty\":1e300"), UM_E_DEC_ABOVE_MAX, "repetition_penalty"},
        {UM_TEST_CHAT("\"min_tokens\":-1"), UM_E_INT_BELOW_MIN, "min_tokens"},
        {UM_TEST_CHAT("\"min_tokens\":1.0"), UM_E_TYPE, "min_tokens"},
        {UM_TEST_CHAT("\"stop_token_ids\":[40]"), UM_E_VALUE, "stop_token_ids[0]"},
        {UM_TEST_CHAT("\"stop_token_ids\":[1,-1]"), UM_E_VALUE, "stop_token_ids[1]"},
        {UM_TEST_CHAT("\"stop_token_ids\":[\"1\"]"), UM_E_TYPE, "stop_token_ids[0]"},
        {UM_TEST_CHAT("\"stop_token_ids\":[0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,"
                      "0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,"
                      "0]"),
         UM_E_ARRAY_ABOVE_MAX, "stop_token_ids"},
        {UM_TEST_CHAT("\"chat_template_kwargs\":1"), UM_E_TYPE, "chat_template_kwargs"},
        {UM_TEST_CHAT("\"diffusion\":{\"deadline_ms\":0}"), UM_E_INT_BELOW_MIN,
         "diffusion.deadline_ms"},
        {UM_TEST_CHAT("\"diffusion\":{\"deadline_ms\":600001}"), UM_E_INT_ABOVE_MAX,
         "diffusion.deadline_ms"},
        {UM_TEST_CHAT("\"diffusion\":{\"noise\":1.5}"), UM_E_DEC_ABOVE_MAX, "diffusion.noise"},
    };

    um_test_refusals(UM_ENDPOINT_CHAT, cases, UM_COUNT_OF(cases));
}

static void logprobs_mean_a_switch_in_chat_and_a_count_in_completions(void)
{
    static const um_test_refusal chat[] = {
        {UM_TEST_CHAT("\"top_logprobs\":2"), UM_E_CONFLICT, "top_logprobs"},
        {UM_TEST_CHAT("\"logprobs\":false,\"top_logprobs\":2"), UM_E_CONFLICT, "top_logprobs"},
        {UM_TEST_CHAT("\"logprobs\":1"), UM_E_TYPE, "logprobs"},
        {UM_TEST_CHAT("\"logprobs\":true,\"prediction\":{\"type\":\"content\",\"content\":\"x\"}"),
         UM_E_UNSUPPORTED_PARAM, "logprobs"},
    };
    static const um_test_refusal lines[] = {
        {UM_TEST_TEXT("\"logprobs\":true"), UM_E_TYPE, "logprobs"},
        {UM_TEST_TEXT("\"logprobs\":6"), UM_E_INT_ABOVE_MAX, "logprobs"},
        {UM_TEST_TEXT("\"logprobs\":0,\"echo\":true"), UM_E_CONFLICT, "echo"},
        {"{\"logprobs\":1,\"diffusion\":{\"template\":[{\"gap\":1}]}}", UM_E_UNSUPPORTED_PARAM,
         "logprobs"},
    };
    PARSED(UM_ENDPOINT_COMPLETIONS, UM_TEST_TEXT("\"logprobs\":0"));

    UM_CHECK(r.given.wants_logprobs && r.given.top_logprobs == 0);
    um_api_request_deinit(&r);
    UM_CHECK_OK(um_test_parse(UM_ENDPOINT_FIM, UM_TEST_TEXT("\"logprobs\":5"), true, &r, &err),
                err);
    UM_CHECK(r.given.wants_logprobs && r.given.top_logprobs == 5);
    um_api_request_deinit(&r);
    um_test_refusals(UM_ENDPOINT_CHAT, chat, UM_COUNT_OF(chat));
    um_test_refusals(UM_ENDPOINT_COMPLETIONS, lines, UM_COUNT_OF(lines));
}

/* A row has as many different entries as there are ids; the op asserts it (umi_check_score). */
static void alternatives_are_bounded_by_the_ids_of_the_model(void)
{
    static const struct {
        um_endpoint endpoint;
        const char *field, *fits, *exceeds;
    } cases[] = {
        {UM_ENDPOINT_CHAT, "top_logprobs", UM_TEST_CHAT("\"logprobs\":true,\"top_logprobs\":3"),
         UM_TEST_CHAT("\"logprobs\":true,\"top_logprobs\":4")},
        {UM_ENDPOINT_COMPLETIONS, "logprobs", UM_TEST_TEXT("\"logprobs\":3"),
         UM_TEST_TEXT("\"logprobs\":4")},
        {UM_ENDPOINT_RESPONSES, "top_logprobs", "{\"input\":\"x\",\"top_logprobs\":3}",
         "{\"input\":\"x\",\"top_logprobs\":4}"},
    };
    um_api_rules rules = um_test_rules();

    rules.vocab = 3;
    for (size_t i = 0; i < UM_COUNT_OF(cases); i++) {
        um_api_request r;
        um_err err = {0};

        UM_CHECK_OK(um_api_request_parse(cases[i].endpoint, cases[i].fits, strlen(cases[i].fits),
                                         &rules, &r, &err),
                    err);
        UM_CHECK_INT(r.given.top_logprobs, 3);
        um_api_request_deinit(&r);
        UM_CHECK_STATUS(um_api_request_parse(cases[i].endpoint, cases[i].exceeds,
                                             strlen(cases[i].exceeds), &rules, &r, &err),
                        UM_E_INT_ABOVE_MAX);
        UM_CHECK_STR(err.field, cases[i].field);
        UM_CHECK(strstr(err.message, "is 4; the maximum is 3"));
    }
}

static void a_bias_is_of_a_token_by_its_number(void)
{
    static const um_test_refusal cases[] = {
        {UM_TEST_CHAT("\"logit_bias\":[]"), UM_E_TYPE, "logit_bias"},
        {UM_TEST_CHAT("\"logit_bias\":{\"abc\":1}"), UM_E_VALUE, "logit_bias.abc"},
        {UM_TEST_CHAT("\"logit_bias\":{\"\":1}"), UM_E_VALUE, "logit_bias."},
        {UM_TEST_CHAT("\"logit_bias\":{\"40\":1}"), UM_E_VALUE, "logit_bias.40"},
        {UM_TEST_CHAT("\"logit_bias\":{\"35\":1}"), UM_E_VALUE, "logit_bias.35"}, /* MASK */
        {UM_TEST_CHAT("\"logit_bias\":{\"-1\":1}"), UM_E_VALUE, "logit_bias.-1"},
        {UM_TEST_CHAT("\"logit_bias\":{\"+1\":1}"), UM_E_VALUE, "logit_bias.+1"},
        {UM_TEST_CHAT("\"logit_bias\":{\"1 \":1}"), UM_E_VALUE, "logit_bias.1 "},
        /* twice the same token, once in disguise */
        {UM_TEST_CHAT("\"logit_bias\":{\"1\":1,\"01\":2}"), UM_E_VALUE, "logit_bias.01"},
        {UM_TEST_CHAT("\"logit_bias\":{\"18446744073709551617\":1}"), UM_E_VALUE,
         "logit_bias.18446744073709551617"},
        {UM_TEST_CHAT("\"logit_bias\":{\"1\":\"1\"}"), UM_E_TYPE, "logit_bias.1"},
        {UM_TEST_CHAT("\"logit_bias\":{\"1\":101}"), UM_E_DEC_ABOVE_MAX, "logit_bias.1"},
        {UM_TEST_CHAT("\"logit_bias\":{\"1\":-100.5}"), UM_E_DEC_BELOW_MIN, "logit_bias.1"},
    };
    um_buf body = {0};
    PARSED(UM_ENDPOINT_CHAT, UM_TEST_CHAT("\"logit_bias\":{\"0\":-100,\"39\":2.5}"));

    UM_CHECK_INT(r.bias_count, 2);
    UM_CHECK_INT(r.biases[0].token, 0);
    UM_CHECK_NEAR(r.biases[0].bias, -100, 0);
    UM_CHECK_NEAR(r.biases[0].repetition, 1, 0);
    UM_CHECK_INT(r.biases[1].token, 39);
    UM_CHECK_NEAR(r.biases[1].bias, 2.5, 0);
    um_api_request_drop_body(&r);
    UM_CHECK_INT(r.biases[1].token, 39); /* they outlive the body */
    um_api_request_deinit(&r);
    um_test_refusals(UM_ENDPOINT_CHAT, cases, UM_COUNT_OF(cases));
    /* one key more than there may be, whatever the keys are */
    um_buf_text(&body, "{" UM_TEST_USER ",\"logit_bias\":{\"0\":1");
    for (int i = 1; i <= UM_BIASES_MAX; i++)
        um_buf_printf(&body, ",\"%d\":1", i);
    um_buf_text(&body, "}}");
    UM_CHECK_STATUS(um_test_parse(UM_ENDPOINT_CHAT, um_buf_view(&body), false, &r, &err),
                    UM_E_VALUE);
    UM_CHECK_STR(err.field, "logit_bias");
    um_buf_deinit(&body);
}

/* DiffuGPT's and DiffuLLaMA's MASK is a word that prompts may hold, but no answer does. */
static void a_mask_that_is_text_stands_in_prompts_only(void)
{
    static const char prompt[] = "{\"prompt\":[35]}";
    static const char bias[] = "{\"prompt\":[1],\"logit_bias\":{\"35\":1}}";
    um_api_rules rules = um_test_rules();
    um_api_request r;
    um_err err = {0};

    rules.mask_is_text = true;
    UM_CHECK_OK(
        um_api_request_parse(UM_ENDPOINT_COMPLETIONS, prompt, strlen(prompt), &rules, &r, &err),
        err);
    UM_CHECK_INT(r.prompts[0].ids[0], 35);
    um_api_request_deinit(&r);
    UM_CHECK_STATUS(
        um_api_request_parse(UM_ENDPOINT_COMPLETIONS, bias, strlen(bias), &rules, &r, &err),
        UM_E_VALUE);
    UM_CHECK_STR(err.field, "logit_bias.35");
}

static void a_preset_has_three_sources(void)
{
    static const struct {
        const char *fields;
        um_preset preset;
    } cases[] = {
        {"\"seed\":1", UM_PRESET_RECOMMENDED},
        {"\"reasoning_effort\":\"none\"", UM_PRESET_FAST},
        {"\"reasoning_effort\":\"instant\"", UM_PRESET_FAST},
        {"\"reasoning_effort\":\"minimal\"", UM_PRESET_FAST},
        {"\"reasoning_effort\":\"low\"", UM_PRESET_FAST},
        {"\"reasoning_effort\":\"medium\"", UM_PRESET_RECOMMENDED},
        {"\"reasoning_effort\":\"high\"", UM_PRESET_MAX},
        {"\"reasoning_effort\":\"xhigh\"", UM_PRESET_MAX},
        {"\"reasoning_effort\":\"max\"", UM_PRESET_MAX},
        {"\"model\":\"small@balanced\"", UM_PRESET_BALANCED},
        {"\"diffusion\":{\"preset\":\"balanced\"}", UM_PRESET_BALANCED},
        /* the object beats the name, the name beats the effort */
        {"\"model\":\"small@balanced\",\"reasoning_effort\":\"max\"", UM_PRESET_BALANCED},
        {"\"model\":\"small@recommended\",\"reasoning_effort\":\"low\"", UM_PRESET_RECOMMENDED},
        {"\"model\":\"small@fast\",\"diffusion\":{\"preset\":\"recommended\"}",
         UM_PRESET_RECOMMENDED},
        {"\"reasoning_effort\":\"low\",\"diffusion\":{\"preset\":\"max\"}", UM_PRESET_MAX},
        {"\"model\":\"at@fast\"", UM_PRESET_RECOMMENDED}, /* an alias that only looks like one */
    };
    static const um_test_refusal bad[] = {
        {UM_TEST_CHAT("\"reasoning_effort\":\"Low\""), UM_E_VALUE, "reasoning_effort"},
        {UM_TEST_CHAT("\"diffusion\":{\"preset\":\"quick\"}"), UM_E_VALUE, "diffusion.preset"},
    };

    for (size_t i = 0; i < UM_COUNT_OF(cases); i++) {
        char body[256];
        um_api_request r;
        um_err err;

        snprintf(body, sizeof(body), "{" UM_TEST_USER ",%s}", cases[i].fields);
        UM_CHECK_OK(um_test_parse(UM_ENDPOINT_CHAT, body, true, &r, &err), err);
        UM_CHECK_INT(r.given.preset, cases[i].preset);
        um_api_request_deinit(&r);
    }
    um_test_refusals(UM_ENDPOINT_CHAT, bad, UM_COUNT_OF(bad));
}

/* ---- drafts and gaps ------------------------------------------------------------------------ */

static void a_prediction_is_text_or_text_parts(void)
{
    static const um_test_refusal cases[] = {
        {UM_TEST_CHAT("\"prediction\":{}"), UM_E_MISSING, "prediction.type"},
        {UM_TEST_CHAT("\"prediction\":{\"type\":\"x\",\"content\":\"a\"}"), UM_E_VALUE,
         "prediction.type"},
        {UM_TEST_CHAT("\"prediction\":{\"type\":\"content\"}"), UM_E_MISSING, "prediction.content"},
        {UM_TEST_CHAT("\"prediction\":{\"type\":\"content\",\"content\":7}"), UM_E_TYPE,
         "prediction.content"},
        {UM_TEST_CHAT("\"prediction\":{\"type\":\"content\",\"content\":[{\"type\":\"refusal\","
                      "\"refusal\":\"x\"}]}"),
         UM_E_UNSUPPORTED_VALUE, "prediction.content[0].type"},
    };
    PARSED(UM_ENDPOINT_CHAT, UM_TEST_CHAT("\"prediction\":{\"type\":\"content\",\"content\":[{"
                                          "\"type\":\"text\",\"text\":\"a\\u0000\"},{\"type\":"
                                          "\"text\",\"text\":\"b\"}]}"));

    UM_CHECK_INT(r.prediction_length, 4);
    UM_CHECK(r.prediction && memcmp(r.prediction, "a\0\nb", 4) == 0);
    um_api_request_drop_body(&r);
    UM_CHECK(r.prediction == NULL);
    um_api_request_deinit(&r);
    UM_CHECK_OK(um_test_parse(UM_ENDPOINT_CHAT,
                              UM_TEST_CHAT("\"logprobs\":true,\"prediction\":{\"type\":"
                                           "\"content\",\"content\":\"\"}"),
                              true, &r, &err),
                err);
    UM_CHECK(r.prediction == NULL); /* "" is none */
    um_api_request_deinit(&r);
    um_test_refusals(UM_ENDPOINT_CHAT, cases, UM_COUNT_OF(cases));
}

static void a_suffix_needs_one_text_prompt(void)
{
    static const um_test_refusal cases[] = {
        {"{\"prompt\":[\"a\",\"b\"],\"suffix\":\"x\"}", UM_E_VALUE, "suffix"},
        {"{\"prompt\":[1],\"suffix\":\"x\"}", UM_E_VALUE, "suffix"},
        {"{\"suffix\":\"x\",\"diffusion\":{\"template\":[{\"gap\":1}]}}", UM_E_VALUE, "suffix"},
        {UM_TEST_TEXT("\"suffix\":7"), UM_E_TYPE, "suffix"},
        {UM_TEST_TEXT("\"suffix\":\"x\",\"echo\":true"), UM_E_CONFLICT, "echo"},
        {UM_TEST_TEXT("\"suffix\":\"x\",\"diffusion\":{\"infill_length\":0}"), UM_E_INT_BELOW_MIN,
         "diffusion.infill_length"},
        {UM_TEST_TEXT("\"suffix\":\"x\",\"diffusion\":{\"infill_length\":65}"), UM_E_INT_ABOVE_MAX,
         "diffusion.infill_length"},
        {UM_TEST_TEXT("\"suffix\":\"x\",\"diffusion\":{\"infill_length\":\"long\"}"), UM_E_VALUE,
         "diffusion.infill_length"},
        {UM_TEST_TEXT("\"suffix\":\"x\",\"diffusion\":{\"infill_length\":1.5}"), UM_E_TYPE,
         "diffusion.infill_length"},
    };
    PARSED(UM_ENDPOINT_COMPLETIONS,
           UM_TEST_TEXT("\"suffix\":\"x\\u0000y\",\"diffusion\":{\"infill_length\":\"auto\"}"));

    UM_CHECK_INT(r.suffix_length, 3);
    UM_CHECK(r.suffix && memcmp(r.suffix, "x\0y", 3) == 0);
    UM_CHECK(r.given.has_infill_length && r.given.infill_length == 0);
    um_api_request_deinit(&r);
    UM_CHECK_OK(um_test_parse(UM_ENDPOINT_COMPLETIONS,
                              "{\"prompt\":[\"a\"],\"suffix\":\"\",\"echo\":true,"
                              "\"diffusion\":{\"infill_length\":\"auto\"}}",
                              true, &r, &err),
                err);
    UM_CHECK(r.suffix == NULL && r.echo_prompt && !r.given.has_infill_length);
    um_api_request_deinit(&r);
    um_test_refusals(UM_ENDPOINT_COMPLETIONS, cases, UM_COUNT_OF(cases));
}

static void a_template_is_the_prompt(void)
{
    static const um_test_refusal cases[] = {
        {"{\"diffusion\":{\"template\":[]}}", UM_E_EMPTY_ARRAY, "diffusion.template"},
        {"{\"diffusion\":{\"template\":null}}", UM_E_MISSING, "prompt"},
        {"{\"diffusion\":{\"template\":{}}}", UM_E_TYPE, "diffusion.template"},
        {"{\"diffusion\":{\"template\":[{\"text\":\"a\"}]}}", UM_E_VALUE, "diffusion.template"},
        {"{\"diffusion\":{\"template\":[7]}}", UM_E_TYPE, "diffusion.template[0]"},
        {"{\"diffusion\":{\"template\":[{\"gap\":1},{}]}}", UM_E_VALUE, "diffusion.template[1]"},
        {"{\"diffusion\":{\"template\":[{\"gap\":1,\"text\":\"a\"}]}}", UM_E_VALUE,
         "diffusion.template[0]"},
        {"{\"diffusion\":{\"template\":[{\"gap\":1,\"x\":1}]}}", UM_E_VALUE,
         "diffusion.template[0]"},
        {"{\"diffusion\":{\"template\":[{\"gap\":\"1\"}]}}", UM_E_TYPE,
         "diffusion.template[0].gap"},
        {"{\"diffusion\":{\"template\":[{\"gap\":0}]}}", UM_E_INT_BELOW_MIN,
         "diffusion.template[0].gap"},
        {"{\"diffusion\":{\"template\":[{\"gap\":65}]}}", UM_E_INT_ABOVE_MAX,
         "diffusion.template[0].gap"},
        {"{\"diffusion\":{\"template\":[{\"gap\":4294967297}]}}", UM_E_INT_ABOVE_MAX,
         "diffusion.template[0].gap"},
        {"{\"diffusion\":{\"template\":[{\"text\":1}]}}", UM_E_TYPE, "diffusion.template[0].text"},
        {UM_TEST_TEXT("\"diffusion\":{\"template\":[{\"gap\":1}]}"), UM_E_CONFLICT,
         "diffusion.template"},
        {"{\"echo\":true,\"diffusion\":{\"template\":[{\"gap\":1}]}}", UM_E_CONFLICT, "echo"},
    };
    um_buf body = {0};
    PARSED(UM_ENDPOINT_COMPLETIONS, "{\"diffusion\":{\"template\":[{\"text\":\"a\"},{\"gap\":64},"
                                    "{\"gap\":1},{\"text\":\"\"}]}}");

    UM_CHECK_INT(r.prompt_count, 0);
    UM_CHECK_INT(r.part_count, 4);
    UM_CHECK_STR(r.parts[0].text, "a");
    UM_CHECK(r.parts[1].text == NULL && r.parts[1].gap == 64 && r.parts[2].gap == 1);
    UM_CHECK(r.parts[3].text && r.parts[3].length == 0);
    um_api_request_deinit(&r);
    um_test_refusals(UM_ENDPOINT_COMPLETIONS, cases, UM_COUNT_OF(cases));
    um_buf_text(&body, "{\"diffusion\":{\"template\":[{\"gap\":1}");
    for (int i = 1; i <= UM_TEMPLATE_PARTS_MAX; i++)
        um_buf_text(&body, ",{\"gap\":1}");
    um_buf_text(&body, "]}}");
    UM_CHECK_STATUS(um_test_parse(UM_ENDPOINT_COMPLETIONS, um_buf_view(&body), false, &r, &err),
                    UM_E_ARRAY_ABOVE_MAX);
    um_buf_deinit(&body);
}

/* ---- streams -------------------------------------------------------------------------------- */

static void a_stream_shows_what_was_asked(void)
{
    static const struct {
        const char *fields;
        um_stream_mode mode;
    } cases[] = {
        {"\"stream\":true", UM_STREAM_SETTLED},
        {"\"stream\":true,\"diffusion\":{\"stream\":\"draft\"}", UM_STREAM_DRAFT},
        {"\"stream\":true,\"diffusion\":{\"stream\":\"replace\"}", UM_STREAM_REPLACE},
        {"\"stream\":true,\"diffusing\":true", UM_STREAM_REPLACE},
        {"\"stream\":true,\"diffusing\":false", UM_STREAM_SETTLED},
        {"\"stream\":true,\"diffusing\":true,\"diffusion\":{\"stream\":\"replace\"}",
         UM_STREAM_REPLACE},
        {"\"stream\":true,\"diffusing\":false,\"diffusion\":{\"stream\":\"draft\"}",
         UM_STREAM_DRAFT},
        {"\"stream\":false,\"diffusing\":false,\"diffusion\":{\"stream\":\"settled\"}",
         UM_STREAM_SETTLED},
    };
    static const um_test_refusal bad[] = {
        {UM_TEST_CHAT("\"diffusion\":{\"stream\":\"draft\"}"), UM_E_VALUE, "diffusion.stream"},
        {UM_TEST_CHAT("\"stream\":false,\"diffusion\":{\"stream\":\"replace\"}"), UM_E_VALUE,
         "diffusion.stream"},
        {UM_TEST_CHAT("\"diffusing\":true"), UM_E_VALUE, "diffusing"},
        {UM_TEST_CHAT("\"stream\":true,\"diffusing\":true,\"diffusion\":{\"stream\":\"draft\"}"),
         UM_E_CONFLICT, "diffusing"},
        {UM_TEST_CHAT("\"stream\":true,\"diffusing\":false,\"diffusion\":{\"stream\":\"replace\"}"),
         UM_E_CONFLICT, "diffusing"},
        {UM_TEST_CHAT("\"stream\":true,\"diffusion\":{\"stream\":\"all\"}"), UM_E_VALUE,
         "diffusion.stream"},
    };

    for (size_t i = 0; i < UM_COUNT_OF(cases); i++) {
        char body[256];
        um_api_request r;
        um_err err;

        snprintf(body, sizeof(body), "{" UM_TEST_USER ",%s}", cases[i].fields);
        UM_CHECK_OK(um_test_parse(UM_ENDPOINT_CHAT, body, true, &r, &err), err);
        UM_CHECK_INT(r.mode, cases[i].mode);
        UM_CHECK_INT(r.draft.interval_ms, 33);
        um_api_request_deinit(&r);
    }
    um_test_refusals(UM_ENDPOINT_CHAT, bad, UM_COUNT_OF(bad));
}

static void draft_options_are_read_and_none_is_overlooked(void)
{
    static const um_test_refusal cases[] = {
        {UM_TEST_CHAT("\"diffusion\":{\"draft\":7}"), UM_E_TYPE, "diffusion.draft"},
        {UM_TEST_CHAT("\"diffusion\":{\"draft\":{\"foo\":1}}"), UM_E_UNKNOWN_PARAM,
         "diffusion.draft.foo"},
        {UM_TEST_CHAT("\"diffusion\":{\"draft\":{\"interval_ms\":-1}}"), UM_E_INT_BELOW_MIN,
         "diffusion.draft.interval_ms"},
        {UM_TEST_CHAT("\"diffusion\":{\"draft\":{\"interval_ms\":10001}}"), UM_E_INT_ABOVE_MAX,
         "diffusion.draft.interval_ms"},
        {UM_TEST_CHAT("\"diffusion\":{\"draft\":{\"frames\":\"none\"}}"), UM_E_VALUE,
         "diffusion.draft.frames"},
        {UM_TEST_CHAT("\"diffusion\":{\"draft\":{\"guess\":1}}"), UM_E_TYPE,
         "diffusion.draft.guess"},
    };
    PARSED(UM_ENDPOINT_CHAT,
           UM_TEST_CHAT("\"stream\":true,\"diffusion\":{\"stream\":\"draft\",\"draft\":{"
                        "\"interval_ms\":0,\"frames\":\"full\",\"guess\":true,\"confidence\":true,"
                        "\"token_ids\":true}}"));

    UM_CHECK_INT(r.draft.interval_ms, 0);
    UM_CHECK(r.draft.full_only && r.draft.guess && r.draft.confidence && r.draft.token_ids);
    um_api_request_deinit(&r);
    um_test_refusals(UM_ENDPOINT_CHAT, cases, UM_COUNT_OF(cases));
}

/* ---- formats and calls ---------------------------------------------------------------------- */

static void what_needs_constrained_decoding_or_calls_is_refused_by_name(void)
{
    static const char *const accepted[] = {
        UM_TEST_CHAT("\"response_format\":{\"type\":\"text\"},\"tools\":[],"
                     "\"tool_choice\":\"auto\""),
        UM_TEST_CHAT("\"tool_choice\":\"none\",\"chat_template_kwargs\":{\"x\":1}"),
    };
    static const um_test_refusal cases[] = {
        {UM_TEST_CHAT("\"response_format\":{}"), UM_E_MISSING, "response_format.type"},
        {UM_TEST_CHAT("\"response_format\":{\"type\":\"xml\"}"), UM_E_VALUE,
         "response_format.type"},
        {UM_TEST_CHAT("\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{}}"),
         UM_E_UNSUPPORTED_PARAM, "response_format"},
        {UM_TEST_CHAT("\"tools\":[7]"), UM_E_TYPE, "tools[0]"},
        {UM_TEST_CHAT("\"tools\":[{}]"), UM_E_MISSING, "tools[0].type"},
        {UM_TEST_CHAT("\"tools\":[{\"type\":\"function\"},{\"type\":\"custom\"}]"),
         UM_E_UNSUPPORTED_VALUE, "tools[1].type"},
        {UM_TEST_CHAT("\"tool_choice\":\"any\""), UM_E_VALUE, "tool_choice"},
        {UM_TEST_CHAT("\"tool_choice\":7"), UM_E_TYPE, "tool_choice"},
        {UM_TEST_CHAT("\"tool_choice\":{\"type\":\"function\",\"function\":{\"name\":\"f\"}}"),
         UM_E_UNSUPPORTED_PARAM, "tool_choice"},
        {UM_TEST_CHAT("\"parallel_tool_calls\":false"), UM_E_UNSUPPORTED_PARAM,
         "parallel_tool_calls"},
    };

    um_test_accepted(UM_ENDPOINT_CHAT, accepted, UM_COUNT_OF(accepted), "");
    um_test_refusals(UM_ENDPOINT_CHAT, cases, UM_COUNT_OF(cases));
}

static void only_an_assistants_message_is_continued(void)
{
    static const um_test_refusal cases[] = {
        {UM_TEST_CHAT("\"continue_final_message\":true"), UM_E_VALUE, "messages"},
    };
    PARSED(UM_ENDPOINT_CHAT, "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"},{\"role\":"
                             "\"assistant\",\"content\":\"b\"}],\"continue_final_message\":true}");

    UM_CHECK(r.continue_final_message);
    um_api_request_deinit(&r);
    um_test_refusals(UM_ENDPOINT_CHAT, cases, UM_COUNT_OF(cases));
}

static const um_test tests[] = {
    UM_TEST(choices_are_bounded_by_the_option),
    UM_TEST(every_sampling_field_arrives),
    UM_TEST(sampling_fields_have_their_bounds),
    UM_TEST(logprobs_mean_a_switch_in_chat_and_a_count_in_completions),
    UM_TEST(alternatives_are_bounded_by_the_ids_of_the_model),
    UM_TEST(a_bias_is_of_a_token_by_its_number),
    UM_TEST(a_mask_that_is_text_stands_in_prompts_only),
    UM_TEST(a_preset_has_three_sources),
    UM_TEST(a_prediction_is_text_or_text_parts),
    UM_TEST(a_suffix_needs_one_text_prompt),
    UM_TEST(a_template_is_the_prompt),
    UM_TEST(a_stream_shows_what_was_asked),
    UM_TEST(draft_options_are_read_and_none_is_overlooked),
    UM_TEST(what_needs_constrained_decoding_or_calls_is_refused_by_name),
    UM_TEST(only_an_assistants_message_is_continued),
};
UM_TEST_MAIN(tests)
